"""Streams without an end: what one side sends is there for the other at once, and an end is seen by both."""

import hashlib
import os
import subprocess
import threading
import time

import pytest

from harness.check import passed
from harness.exchange import EXCHANGES
from harness.raw import over_tls, reset
from harness.stage import Stage

MIB = 1 << 20
# How much is sent up and down. A file system image, not a form.
LARGE = int(os.environ.get("PORTCULLIS_TEST_STREAM_MIB", "2048")) * MIB
TOML = """
[server]
https = "127.0.0.1:{https}"
plain = "127.0.0.1:{plain}"
admin = "127.0.0.1:{admin}"

[server.timeouts]
request_body = "10s"
response_body = "10s"
drain = "2s"

[server.limits]
body = "4GiB"

[tls]
development = true

[upstream.app]
servers = ["{app}"]
retries = 0

[upstream.django]
servers = ["{django}"]
timeouts = { response = "120s" }

[[route]]
path = "/api/{*rest}"
upstream = "django"
auth = "public"

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.fixture(scope="module")
def stage():
    with Stage() as app:
        yield app


@pytest.fixture(scope="module")
def gate(module_gateway, stage, django_app):
    return module_gateway(TOML, app=stage.url, django=django_app.url)


@pytest.fixture(params=list(EXCHANGES))
def version(request):
    return request.param


@pytest.fixture
def begin(gate, stage, version):
    """`begin(path, ...) -> (exchange, entered)`: a request, as its client and as the app sees it."""
    made = []

    def start(path, **options):
        client = EXCHANGES[version](gate, path, **options)
        entered = stage.next()
        made.append((client, entered))
        return client, entered

    yield start
    for client, entered in made:
        entered.leave()
        client.close()


# ---- down ----


@pytest.mark.parametrize("framing", ["chunked", "until it closes"])
def test_each_event_arrives_before_the_next_one_is_made(begin, framing):
    client, app = begin("/events", more=[("accept", "text/event-stream"), ("accept-encoding", "gzip")])
    kind = b"Transfer-Encoding: chunked\r\n" if framing == "chunked" else b"Connection: close\r\n"
    app.say(HEAD + b"Content-Type: text/event-stream\r\n" + kind + b"\r\n")
    assert client.until(lambda: client.head), "the head waits for the first event"
    assert client.head["content-type"] == "text/event-stream" and "content-length" not in client.head
    for number in range(20):
        event = b"id: %d\ndata: x\n\n" % number
        app.say(chunk(event) if framing == "chunked" else event)
        assert client.until(lambda: client.body.endswith(event), 2), f"event {number} is held back"
    for half in (b"data: half", b" an event\n\n"):
        app.say(chunk(half) if framing == "chunked" else half)
        assert client.until(lambda: client.body.endswith(half), 2), "a part of an event is held back"


def test_a_long_poll_waits_for_its_answer_and_holds_nobody_up(begin, gate, version):
    client, app = begin("/poll")
    assert not client.until(lambda: client.head or client.interims, 4)
    # Meanwhile others are served, over the same connection where it carries several requests.
    if version == "http2":
        other = EXCHANGES["http2"](gate, "/api/status/404/", client=client.client)
        assert other.until(lambda: other.ended) and other.head[":status"] == "404"
    passed(gate.get("/api/file/"))
    app.say(HEAD + b"Content-Length: 4\r\n\r\nnews")
    assert client.until(lambda: client.ended, 2) and client.body == b"news"


def test_an_early_hint_arrives_while_the_app_still_works(begin):
    client, app = begin("/hint")
    app.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
    assert client.until(lambda: client.interims, 2) and client.head is None
    assert client.interims[0][":status"] == "103" and client.interims[0]["link"] == "</a.css>; rel=preload"
    app.say(HEAD + b"Content-Length: 2\r\n\r\nok")
    assert client.until(lambda: client.ended, 2) and client.body == b"ok" and len(client.interims) == 1


def test_ranges_pass_as_they_were_asked_and_answered(begin):
    parts = b"--x\r\nContent-Range: bytes 0-1/9\r\n\r\nab\r\n--x\r\nContent-Range: bytes 4-4/9\r\n\r\ne\r\n--x--\r\n"
    for asked, status, kind, body in (
        ("bytes=4-", b"206 Partial Content", b"Content-Range: bytes 4-8/9", b"efghi"),
        ("bytes=0-1,4-4", b"206 Partial Content", b"Content-Type: multipart/byteranges; boundary=x", parts),
        ("bytes=99-", b"416 Range Not Satisfiable", b"Content-Range: bytes */9", b""),
    ):
        client, app = begin("/file", more=[("range", asked), ("if-range", '"v1"')])
        assert f"range: {asked}".encode() in app.head.lower() and b'if-range: "v1"' in app.head.lower()
        more = b'ETag: "v1"\r\nAccept-Ranges: bytes\r\nConnection: close\r\nContent-Length: %d' % len(body)
        app.say(b"HTTP/1.1 %s\r\n%s\r\n%s\r\n\r\n%s" % (status, kind, more, body))
        assert client.until(lambda: client.ended, 2) and client.body == body
        name, _, value = kind.decode().partition(": ")
        assert client.head[":status"] == status[:3].decode() and client.head[name.lower()] == value
        assert client.head["etag"] == '"v1"' and client.head["accept-ranges"] == "bytes"


# ---- up ----


def test_an_upload_without_end_arrives_as_it_is_sent_and_its_early_answer_comes_back(begin):
    client, app = begin("/upload", method="POST", upload=True)
    assert b"transfer-encoding: chunked" in app.head.lower() and b"content-length" not in app.head.lower()
    for number in range(20):
        piece = b"piece %d." % number
        client.send(piece)
        app.until(piece)
    # The app has heard enough, or reports as it goes: its answer does not wait for the end either.
    app.say(CHUNKED + chunk(b"got 20"))
    assert client.until(lambda: client.body == b"got 20", 2), "the answer waits for the end of the upload"
    client.send(b"piece 20.")
    app.until(b"piece 20.")
    app.say(chunk(b", got 21"))
    assert client.until(lambda: client.body == b"got 20, got 21", 2)
    client.end()
    app.until(b"0\r\n\r\n")
    app.say(b"0\r\n\r\n")
    assert client.until(lambda: client.ended, 2)


def test_trailers_pass_both_ways(begin):
    client, app = begin("/trailers", method="POST", upload=True, more=[("te", "trailers"), ("trailer", "x-sent")])
    client.send(b"body")
    client.end([("x-sent", "4")])
    assert b"\r\nx-sent: 4\r\n" in app.until(b"x-sent: 4\r\n\r\n").lower()
    app.say(HEAD + b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + chunk(b"hello"))
    assert client.until(lambda: client.body == b"hello", 2) and not client.ended
    app.say(b"0\r\nX-Sum: 42\r\n\r\n")
    assert client.until(lambda: client.ended, 2) and client.trailers.get("x-sum") == "42", client.trailers


@pytest.mark.parametrize("early", [False, True], ids=["asked for", "refused"])
def test_a_body_that_waits_for_100_continue_is_asked_for_by_the_app_alone(begin, early):
    client, app = begin("/expect", method="PUT", upload=True, more=[("expect", "100-continue")])
    assert b"expect: 100-continue" in app.head.lower()
    if early:
        app.say(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        assert client.until(lambda: client.head, 2) and client.head[":status"] == "413"
        assert client.interims == []
        return
    app.say(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.until(lambda: client.interims, 2) and client.interims[0][":status"] == "100"
    client.send(b"now")
    client.end()
    app.until(b"0\r\n\r\n")
    app.say(HEAD + b"Content-Length: 2\r\n\r\nok")
    assert client.until(lambda: client.ended, 2) and client.body == b"ok"


# ---- ends ----


@pytest.mark.parametrize("framing", ["length", "chunked", "reset"])
def test_an_answer_that_the_app_cuts_off_is_cut_off_for_the_client(begin, framing):
    client, app = begin("/cut")
    app.say(CHUNKED + chunk(b"x" * 100) if framing != "length" else HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 100)
    assert client.until(lambda: len(client.body) == 100, 2)
    began = time.monotonic()
    if framing == "reset":
        reset(app.connection)
    app.leave()
    assert client.cut() and time.monotonic() - began < 2
    assert client.body == b"x" * 100


@pytest.mark.parametrize("way", ["leave", "vanish"])
@pytest.mark.parametrize("when", ["before the answer", "during the answer", "during the upload"])
def test_a_client_that_leaves_is_seen_by_the_app_soon(begin, way, when):
    upload = when == "during the upload"
    client, app = begin("/leave", **({"method": "POST", "upload": True} if upload else {}))
    if upload:
        client.send(b"some")
        app.until(b"some")
    if when == "during the answer":
        app.say(CHUNKED + chunk(b"first"))
        assert client.until(lambda: client.body == b"first", 2)
    getattr(client, way)()
    took = app.left(5)
    assert took is not None and took < 2, took
    assert not app.came.endswith(b"0\r\n\r\n"), "an upload that was broken off looks whole to the app"


# ---- size ----


class Watch:
    """The highest resident memory of the gateway while the block runs, in MiB above what it was."""

    def __init__(self, gate):
        self.gate, self.before, self.most = gate, gate.rss_kib(), 0

    def __enter__(self):
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self):
        while not self._over.wait(0.05):
            self.most = max(self.most, self.gate.rss_kib())

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    @property
    def grown_mib(self):
        return (self.most - self.before) / 1024


def numbered(size):
    """Random blocks, each another than all before it."""
    block = os.urandom(MIB)
    for number in range(size // MIB):
        yield number.to_bytes(8) + block[8:]


def warm(gate):
    """What the gateway and the app keep for later is there before memory is looked at."""
    for _ in range(4):
        passed(gate.post("/api/upload/", content=bytes(8 * MIB)))
        passed(gate.get(f"/api/download/?bytes={8 * MIB}"))


@pytest.mark.timeout(400)
def test_a_large_upload_passes_with_flat_memory_and_the_same_digest(gate):
    warm(gate)
    digest = hashlib.sha256()
    with Watch(gate) as watch, over_tls(gate, timeout=60) as raw:
        raw.send(b"POST /api/upload/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % LARGE)
        for block in numbered(LARGE):
            digest.update(block)
            raw.send(block)
        told = raw.answer("POST")
    assert told.status == 200 and f'"length": {LARGE}'.encode() in told.body, told.body
    assert digest.hexdigest().encode() in told.body
    assert watch.grown_mib < 10, f"{watch.grown_mib:.1f} MiB more"


@pytest.mark.timeout(400)
def test_a_large_download_passes_with_flat_memory_and_the_same_digest(gate, stage):
    warm(gate)
    sent, got, length = hashlib.sha256(), hashlib.sha256(), 0

    def pour():
        app = stage.next()
        app.connection.settimeout(60)
        app.say(HEAD + b"Content-Length: %d\r\n\r\n" % LARGE)
        for block in numbered(LARGE):
            sent.update(block)
            app.say(block)
        app.leave()

    with Watch(gate) as watch, over_tls(gate, timeout=60) as raw:
        raw.send(b"GET /download HTTP/1.1\r\nHost: localhost\r\n\r\n")
        pouring = threading.Thread(target=pour)
        pouring.start()
        rest = raw.read_until(b"\r\n\r\n").partition(b"\r\n\r\n")[2]
        buffer = bytearray(MIB)
        got.update(rest)
        length = len(rest)
        while length < LARGE:
            size = raw.socket.recv_into(buffer)
            assert size, f"ended after {length} bytes"
            got.update(memoryview(buffer)[:size])
            length += size
        pouring.join()
    assert length == LARGE and got.digest() == sent.digest()
    assert watch.grown_mib < 10, f"{watch.grown_mib:.1f} MiB more"


@pytest.mark.timeout(400)
def test_a_large_upload_and_download_pass_over_http2(gate, need):
    warm(gate)
    size = LARGE // 4
    curl = [need("curl"), "--silent", "--show-error", "--http2", "--cacert", str(gate.ca_file)]
    digest = hashlib.sha256()
    with Watch(gate) as watch:
        upload = subprocess.Popen(
            [*curl, "--upload-file", "-", gate.https_url + "/api/upload/"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for block in numbered(size):
            digest.update(block)
            upload.stdin.write(block)
        told, _ = upload.communicate(timeout=60)
        download = subprocess.Popen([*curl, gate.https_url + f"/api/download/?bytes={size}"], stdout=subprocess.PIPE)
        got, wanted = hashlib.sha256(), hashlib.sha256()
        while block := download.stdout.read(MIB):
            got.update(block)
        assert download.wait(10) == 0
    for _ in range(size // MIB):
        wanted.update(b"0123456789abcdef" * (MIB // 16))
    assert f'"length": {size}'.encode() in told and digest.hexdigest().encode() in told, told
    assert got.digest() == wanted.digest()
    assert watch.grown_mib < 10, f"{watch.grown_mib:.1f} MiB more"
