"""Bodies stream both ways, whatever their kind: memory does not grow, nothing is held back, nothing is changed."""

import gzip
import hashlib
import http.client
import os
import time

import pytest

from harness.check import passed
from harness.raw import over_plain, over_tls
from harness.upstreams import RawUpstream, WebSocketEcho
from harness.websocket import WebSocket

MIB = 1024 * 1024
TOML = """
[upstream.app]
servers = ["{django}"]

[upstream.echo]
servers = ["{echo}"]

[upstream.raw]
servers = ["{raw}"]

[[route]]
path = "/socket/{*rest}"
upstream = "echo"
auth = "public"

[[route]]
path = "/no-socket"
upstream = "echo"
auth = "public"
websocket = false

[[route]]
path = "/raw/{*rest}"
upstream = "raw"
auth = "public"

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""


def awkward(request):
    path = request.target
    if path == "/raw/cut":
        return b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nonly this"
    if path == "/raw/cut-chunked":
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n"
    if path == "/raw/hints":
        return (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        )
    if path == "/raw/trailers":
        return (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n"
        )
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def gate(module_gateway, django_app):
    with WebSocketEcho() as echo, RawUpstream(awkward) as raw:
        yield module_gateway(TOML, django=django_app.url, echo=echo.url, raw=raw.url)


def blocks(size):
    block = os.urandom(65536)
    for _ in range(size // len(block)):
        yield block


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_64_mib_up_and_down_leave_memory_where_it_was(gate, http2):
    with gate.client(http2=http2, timeout=60) as client:
        passed(client.post("/api/upload/", content=b"warm"))
        passed(client.get("/api/download/", params={"bytes": MIB}))
        before = gate.rss_kib()
        digest, sent = hashlib.sha256(), 0

        def body():
            nonlocal sent
            for block in blocks(64 * MIB):
                digest.update(block)
                sent += len(block)
                yield block

        told = passed(client.post("/api/upload/", content=body())).json()
        assert told == {"length": 64 * MIB, "sha256": digest.hexdigest()}
        got = 0
        with client.stream("GET", "/api/download/", params={"bytes": 64 * MIB}) as answer:
            assert answer.headers["content-length"] == str(64 * MIB)
            for block in answer.iter_raw():
                got += len(block)
        assert got == 64 * MIB
        assert gate.rss_kib() - before < 10 * 1024


def test_a_slow_reader_does_not_fill_memory(gate):
    before = gate.rss_kib()
    with over_tls(gate) as raw:
        raw.send(b"GET /api/download/?bytes=67108864 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        raw.socket.recv(1000)
        time.sleep(2)
        assert gate.rss_kib() - before < 10 * 1024


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_events_arrive_as_they_are_made(gate, http2):
    with gate.client(http2=http2) as client, client.stream("GET", "/api/events/?count=5&every=0.3") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        arrived = []
        for line in answer.iter_lines():
            if line.startswith("id:"):
                arrived.append(time.monotonic())
    gaps = [later - earlier for earlier, later in zip(arrived, arrived[1:])]
    assert len(arrived) == 5 and all(gap > 0.15 for gap in gaps), gaps


def test_head_has_the_length_and_no_body(gate):
    answer = gate.request("HEAD", "/api/file/")
    assert passed(answer).headers["content-length"] == "1000" and answer.content == b""
    with gate.client() as client:
        client.request("HEAD", "/api/file/")
        passed(client.get("/api/file/"))


def test_204_and_304_have_no_body_and_the_connection_goes_on(gate):
    with over_tls(gate) as raw:
        for _ in range(2):
            raw.send(b"GET /api/status/204/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = raw.answer()
            assert answer.status == 204 and answer.body == b""
            raw.send(b'GET /api/cached/ HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: "version-1"\r\n\r\n')
            answer = raw.answer()
            assert answer.status == 304 and answer.body == b"" and answer.getheader("etag") == '"version-1"'


def test_a_range_passes(gate):
    answer = passed(gate.get("/api/file/", headers={"Range": "bytes=10-19"}), 206)
    assert answer.headers["content-range"] == "bytes 10-19/1000" and answer.content == bytes(range(10, 20))


def test_gzip_passes_unharmed(gate):
    with gate.client() as client, client.stream("GET", "/api/gzip/", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(answer.iter_raw())).startswith(b"the same words")


def test_chunked_both_ways(gate):
    told = passed(gate.post("/api/upload/", content=blocks(MIB))).json()
    assert told["length"] == MIB
    answer = passed(gate.get("/api/download/?bytes=100000&chunked=1"))
    assert len(answer.content) == 100000 and "content-length" not in answer.headers


@pytest.mark.parametrize("path", ["/raw/cut", "/raw/cut-chunked"])
def test_an_answer_that_was_cut_off_arrives_as_cut_off(gate, path):
    with over_plain(gate) as raw:
        raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            raw.answer()
    with gate.client(http2=True) as client:
        try:
            client.get(path)
        except Exception as error:
            assert (
                "StreamReset" in repr(error) or "Protocol" in type(error).__name__ or "Read" in type(error).__name__
            ), error
        else:
            pytest.fail("a cut answer was taken for a whole one over HTTP/2")


def test_early_hints_and_trailers_pass(gate):
    with over_plain(gate) as raw:
        raw.send(b"GET /raw/trailers HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\r\n")
        assert b"x-sum: 42" in raw.read_until(b"42\r\n\r\n").lower()
    with over_plain(gate) as raw:
        raw.send(b"GET /raw/hints HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = raw.read_until(b"\r\n\r\nok")
        assert b" 200 OK" in data and data.endswith(b"ok")
        assert b"HTTP/1.1 103" in data and b"</a.css>" in data


def test_100_continue_comes_when_the_app_answers(gate):
    with over_tls(gate) as raw:
        raw.send(b"POST /api/upload/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert b"HTTP/1.1 100" in raw.read_until(b"\r\n\r\n")
        raw.send(b"hello")
        answer = raw.answer("POST")
        assert answer.status == 200 and b'"length": 5' in answer.body


def test_a_websocket_passes_bytes_both_ways(gate):
    url = gate.https_url.replace("https", "wss") + "/socket/room?x=1"
    with WebSocket(url, tls=gate.tls(), compression=None, origin=gate.https_url, close_timeout=1) as socket:
        handshake = socket.response
        assert handshake.status_code == 101
    with over_tls(gate) as raw:
        raw.send(
            b"GET /socket/room HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head = raw.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        for message in (b"\x81\x85\x00\x00\x00\x00hello", os.urandom(100_000), b"\x00"):
            raw.send(message)
            back = b""
            while len(back) < len(message):
                back += raw.socket.recv(65536)
            assert back == message


def test_a_route_without_websockets_refuses_the_upgrade(gate):
    with over_plain(gate) as raw:
        raw.send(
            b"GET /no-socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b" 101 " not in raw.read_until(b"\r\n\r\n")


def test_a_request_body_that_stalls_is_cut_off(gate):
    with over_tls(gate) as raw:
        raw.socket.settimeout(25)
        raw.send(b"POST /api/upload/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nonly a little")
        started = time.monotonic()
        data = raw.read_until(b"\r\n\r\n")
        assert time.monotonic() - started < 20
        assert data == b"" or b" 408 " in data
