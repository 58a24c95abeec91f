"""How a body and its announcement travel: lengths, trailers, Expect, early answers, ends that come too soon; tunnels."""

import base64
import os
import socket
import threading
import time

import h2.connection
import h2.events
import pytest

from harness.check import passed, refused
from harness.ports import wait_for
from harness.raw import over_plain, over_tls
from harness.tokens import simplejwt
from harness.upstreams import OK, Listener, RawUpstream, WebSocketEcho, read_head

TOML = """
[upstream.raw]
servers = ["{raw}"]

[upstream.echo]
servers = ["{echo}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }

[[route]]
path = "/private/{*rest}"
upstream = "raw"
auth = ["token"]

[[route]]
path = "/socket/{*rest}"
upstream = "echo"
auth = ["token"]

[[route]]
path = "/{*rest}"
upstream = "raw"
auth = "public"
"""
UPGRADE = (
    b"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
TRAILERS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n"
)


def answer(request):
    if request.target == "/trailers":
        return TRAILERS
    if request.target == "/not-modified":
        return b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 77\r\n\r\n'
    if request.method == "HEAD":
        return b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"
    return OK


@pytest.fixture(scope="module")
def recording():
    with RawUpstream(answer) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gate(module_gateway, recording):
    with WebSocketEcho() as echo:
        yield module_gateway(TOML, raw=recording.url, echo=echo.url)


def lengths(request):
    """What a request announced of its body."""
    return request.all("content-length"), request.all("transfer-encoding")


# ---- lengths ----


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_a_length_stays_a_length_and_no_length_becomes_chunks(gate, recording, http2):
    with gate.client(http2=http2) as client:
        passed(client.post("/", content=b"x" * 100_000))
        assert lengths(recording.last) == (["100000"], [])
        assert recording.last.body == b"x" * 100_000
        passed(client.post("/", content=(block for block in [b"ab", b"cd"])))
        assert lengths(recording.last) == ([], ["chunked"])
        assert recording.last.body.endswith(b"\r\n0\r\n\r\n") and b"ab" in recording.last.body
        passed(client.post("/", content=b""))
        assert lengths(recording.last) == (["0"], [])
        passed(client.get("/"))
        assert lengths(recording.last) == ([], [])


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_head_and_304_keep_their_length_without_a_body(gate, http2):
    with gate.client(http2=http2) as client:
        for _ in range(2):
            head = passed(client.head("/"))
            assert head.headers["content-length"] == "77" and head.content == b""
            same = client.get("/not-modified")
            assert same.status_code == 304 and same.content == b"" and same.headers["etag"] == '"1"'


def test_pipelined_requests_are_answered_in_their_order(gate, recording):
    with over_tls(gate) as raw:
        body = b"POST /one HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
        raw.send(body + b"GET /private/x HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"GET /two HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert [raw.answer().status for _ in range(3)] == [200, 401, 200]
    assert [request.target for request in recording.requests[-2:]] == ["/one", "/two"]


# ---- trailers ----


def test_trailers_of_a_request_pass_and_never_forge_anything(gate, recording):
    with over_tls(gate) as raw:
        raw.send(
            b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n\r\n"
            b"5\r\nhello\r\n0\r\nX-Sum: 42\r\nX-Auth-User: evil\r\nX_Auth_User: evil\r\nAuthorization: evil\r\n"
            b"Content-Length: 7\r\nX-Forwarded-For: evil\r\n\r\n"
        )
        assert raw.answer().status in (200, 400)
    received = recording.last.head + recording.last.body
    assert b"evil" not in received and b"Content-Length: 7" not in received


def test_trailers_of_an_answer_pass_over_http2(gate):
    # httpx reads no trailers, but a client that is told of them must still get the body whole.
    with gate.client(http2=True) as client:
        assert passed(client.get("/trailers", headers={"TE": "trailers"})).text == "hello"


# ---- Expect: 100-continue ----

EXPECT = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


class Reluctant(Listener):
    """Answers each head with `final` and never asks for the body; keeps what came after the head."""

    def __init__(self, final):
        self.final, self.after = final, b""
        super().__init__()

    def serve(self, connection):
        head, self.after = read_head(connection)
        connection.sendall(self.final)
        connection.settimeout(1)
        try:
            while block := connection.recv(65536):
                self.after += block
        except TimeoutError:
            pass


def test_a_refused_upload_gets_its_refusal_and_no_100(gate):
    with over_tls(gate) as raw:
        raw.send(EXPECT % b"/private/x")
        data = raw.read_until(b"}")
        assert data.startswith(b"HTTP/1.1 401") and b"100 Continue" not in data
    # What was announced is not read as the next request, whether it comes or not.
    with over_tls(gate) as raw:
        raw.send(EXPECT % b"/private/x")
        raw.read_until(b"}")
        try:
            raw.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            rest = raw.read_until(b"\r\n\r\n")
        except ConnectionError:
            rest = b""
        assert b" 200 " not in rest


def test_the_apps_final_answer_to_expect_arrives_without_the_body_being_sent(gateway):
    final = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
    with Reluctant(final) as app:
        gate = gateway('[upstream.app]\nservers = ["{raw}"]\n[[route]]\npath = "/"\nupstream = "app"\nauth = "public"\n', raw=app.url)
        with over_tls(gate) as raw:
            raw.send(EXPECT % b"/")
            data = raw.read_until(b"no", 400)
            assert data.startswith(b"HTTP/1.1 417") and b"100 Continue" not in data, data
        assert app.after == b""


# ---- ends that come too soon ----


def test_an_upload_that_breaks_off_is_never_completed_towards_the_app(gate, recording):
    before = len(recording.requests)
    for send in (
        b"POST /cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nonly this",
        b"POST /cut HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ):
        with over_tls(gate) as raw:
            raw.send(send)
            time.sleep(0.2)

    def body():
        yield b"only this"
        time.sleep(0.2)
        raise ZeroDivisionError

    with gate.client(http2=True) as client, pytest.raises(ZeroDivisionError):
        client.post("/cut", content=body())
    cut = wait_for(lambda: len(recording.requests) == before + 3 and recording.requests[-3:], 5, "three cut uploads")
    for request in cut:
        length = request.all("content-length")
        assert not request.body.endswith(b"0\r\n\r\n"), request
        assert not length or len(request.body) < int(length[0]), request


def test_an_answer_before_the_upload_is_over_arrives(gateway):
    class Hasty(Listener):
        def serve(self, connection):
            read_head(connection)
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nConnection: close\r\n\r\nenoug")
            time.sleep(0.3)

    with Hasty() as app:
        gate = gateway('[upstream.app]\nservers = ["{raw}"]\n[[route]]\npath = "/"\nupstream = "app"\nauth = "public"\n', raw=app.url)
        with over_tls(gate) as raw:
            raw.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nsome")
            assert raw.answer("POST").status == 403
        # By frames, because neither httpx nor the curl of Debian 12 reads an answer that comes before its upload is over.
        with over_tls(gate, alpn=("h2",)) as raw:
            upload = h2.connection.H2Connection()
            upload.initiate_connection()
            fields = {":method": "POST", ":scheme": "https", ":authority": "localhost", ":path": "/"}
            upload.send_headers(1, list(fields.items()))
            upload.send_data(1, b"some")
            raw.send(upload.data_to_send())
            events = []
            while not any(isinstance(event, h2.events.StreamEnded) for event in events):
                events += upload.receive_data(raw.socket.recv(65536))
            head = next(event for event in events if isinstance(event, h2.events.ResponseReceived))
            assert (b":status", b"403") in head.headers


def test_servers_that_hang_up_after_each_answer_without_a_word_cost_nobody_an_answer(gateway):
    def once(request, connection):
        connection.sendall(OK)
        return None

    with RawUpstream(once, takes_connection=True) as app:
        gate = gateway('[upstream.app]\nservers = ["{raw}"]\n[[route]]\npath = "/"\nupstream = "app"\nauth = "public"\n', raw=app.url)
        for _ in range(30):
            passed(gate.get("/"))
        seen = len(app.requests)
        for _ in range(30):
            # Where the end comes after a POST was written, nobody can tell whether it was begun: it fails.
            time.sleep(0.02)
            passed(gate.post("/", content=b"x"))
        assert len(app.requests) == seen + 30, "no POST was sent twice"


def test_a_client_that_leaves_lets_the_app_go(gateway):
    gone = threading.Event()

    class Endless(Listener):
        def serve(self, connection):
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            try:
                while True:
                    connection.sendall(b"data: tick\n\n")
                    time.sleep(0.05)
            except OSError:
                gone.set()

    with Endless() as app:
        gate = gateway('[upstream.app]\nservers = ["{raw}"]\n[[route]]\npath = "/"\nupstream = "app"\nauth = "public"\n', raw=app.url)
        for http2 in (False, True):
            gone.clear()
            with gate.client(http2=http2) as client, client.stream("GET", "/") as told:
                next(told.iter_lines())
            assert gone.wait(5), "the app goes on for nobody"


# ---- tunnels ----


def tunnel(gate, token=None, early=b"", door=over_tls):
    raw = door(gate)
    query = b"?token=" + token.encode() if token else b""
    raw.send(b"GET /socket/x" + query + b" HTTP/1.1\r\n" + UPGRADE + early)
    return raw


def echoed(raw, message):
    back = b""
    while len(back) < len(message):
        block = raw.socket.recv(65536)
        assert block, back
        back += block
    return back == message


def test_a_tunnel_needs_a_token_and_survives_reloads(gate):
    with tunnel(gate) as raw:
        assert raw.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 401")
    # Without TLS, as Python's sockets with it do not send and receive at the same time.
    with tunnel(gate, simplejwt(), door=over_plain) as raw:
        assert raw.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101")
        raw.send(b"before")
        assert echoed(raw, b"before")
        gate.reload(TOML)
        big = os.urandom(300_000)
        sender = threading.Thread(target=raw.send, args=(big,))
        sender.start()
        assert echoed(raw, big)
        sender.join()


def test_bytes_behind_the_handshake_arrive_after_the_101(gate):
    with tunnel(gate, simplejwt(), early=b"early bird") as raw:
        head = raw.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        rest = head.partition(b"\r\n\r\n")[2]
        assert rest == b"early bird" or echoed(raw, b"early bird"[len(rest) :])


def test_a_tunnel_ends_with_the_token(gate):
    with tunnel(gate, simplejwt(lifetime=3)) as raw:
        assert raw.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101")
        raw.send(b"still")
        assert echoed(raw, b"still")
        started = time.monotonic()
        while raw.socket.recv(65536):
            pass
        assert time.monotonic() - started < 6


def test_when_one_side_closes_the_other_is_closed(gate):
    with tunnel(gate, simplejwt()) as raw:
        raw.read_until(b"\r\n\r\n")
        wait_for(lambda: gate.count("portcullis_websockets") > gate.count("websockets_opened"), 5, "an open tunnel")
        raw.socket.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: gate.count("portcullis_websockets") == gate.count("websockets_opened"), 5, "no tunnel to be open")


# ---- sticky cookies ----

STICKY = """
[upstream.app]
servers = ["{one}", "{two}"]
balance = "cookie"
[[route]]
path = "/"
upstream = "app"
auth = "public"
"""


def test_a_sticky_client_moves_on_when_its_server_dies_and_stays_there(gateway):
    with RawUpstream() as first, RawUpstream() as second:
        gate = gateway(STICKY, one=first.url, two=second.url)
        with gate.client() as client:
            passed(client.get("/"))
            home, other = (first, second) if first.requests else (second, first)
            cookie = client.cookies.jar.__iter__().__next__()
            assert cookie.secure and cookie.has_nonstandard_attr("HttpOnly")
            assert str(home.port) not in base64.b64encode(cookie.value.encode()).decode() + cookie.value
            passed(client.get("/"))
            assert len(home.requests) == 2
            assert not home.last.all("cookie"), "the gateway's own cookie stays here"
            home.close()
            for _ in range(4):
                passed(client.get("/"))
            assert len(other.requests) == 4


def test_a_sticky_cookie_that_is_made_up_is_replaced(gateway):
    with RawUpstream() as first, RawUpstream() as second:
        gate = gateway(STICKY, one=first.url, two=second.url)
        name = gate.get("/").headers["set-cookie"].partition("=")[0]
        told = gate.get("/", headers={"Cookie": f"{name}=../../etc; mine=1"})
        assert passed(told).headers["set-cookie"].startswith(name + "=")
        last = [upstream.last for upstream in (first, second) if upstream.requests]
        assert any(request.all("cookie") == ["mine=1"] for request in last)
        refused(gate.request("DELETE", "/nowhere"), 404, "no_route")
