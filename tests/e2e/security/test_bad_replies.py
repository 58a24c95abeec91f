"""Catalogue 95, 96 and 126 to 129: an app that misbehaves harms the request it misbehaved on, and no other."""

import socket
import struct
import threading
import time

import pytest

from harness.ports import free_port, wait_for
from harness.upstreams import Listener
from security.h2wire import DATA, H2, RST_STREAM, frame, head
from security.wire import table

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Poison: 1\r\n\r\npoison"
HTTP = b"HTTP/1.1 "

# What the app sends for one request, and what the client may get: statuses, and whether a cut answer is right too.
REPLIES = {
    "two-replies": (OK + POISON, {200, 502}),
    "reply-and-junk": (OK + b"junk" * 10, {200, 502}),
    "cl-and-te": (
        HTTP + b"200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + POISON,
        {200, 502},
    ),
    "two-lengths": (HTTP + b"200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nok" + POISON, {502}),
    "bad-length": (HTTP + b"200 OK\r\nContent-Length: +2\r\n\r\nok", {502}),
    "list-length": (HTTP + b"200 OK\r\nContent-Length: 2, 2\r\n\r\nok", {200, 502}),
    "body-on-204": (HTTP + b"204 No Content\r\nContent-Length: 6\r\n\r\npoison", {204, 502}),
    "body-on-304": (HTTP + b"304 Not Modified\r\n\r\n" + POISON, {304, 502}),
    "unasked-101": (
        HTTP + b"101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + POISON,
        {502},
    ),
    "unasked-101-h2c": (HTTP + b"101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", {502}),
    "te-gzip": (HTTP + b"200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {200, 502}),
    "te-unknown": (HTTP + b"200 OK\r\nTransfer-Encoding: x\r\n\r\nok", {200, 502}),
    "te-twice": (
        HTTP + b"200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + POISON,
        {502, 200},
    ),
    "space-colon": (HTTP + b"200 OK\r\nContent-Length : 2\r\n\r\nok", {502}),
    "fold": (HTTP + b"200 OK\r\nX-A: 1\r\n b\r\nContent-Length: 2\r\n\r\nok", {200, 502}),
    "nul-value": (HTTP + b"200 OK\r\nX-A: \x00\r\nContent-Length: 2\r\n\r\nok", {502}),
    "bare-cr": (HTTP + b"200 OK\r\nX-A: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok", {502, 200}),
    "no-colon": (HTTP + b"200 OK\r\nX-A\r\nContent-Length: 2\r\n\r\nok", {502}),
    "status-999": (HTTP + b"999 Odd\r\nContent-Length: 2\r\n\r\nok", {999, 502}),
    "status-99": (HTTP + b"99 Odd\r\nContent-Length: 2\r\n\r\nok", {502}),
    "status-0": (HTTP + b"000 Odd\r\nContent-Length: 2\r\n\r\nok", {502}),
    "status-word": (HTTP + b"OK\r\n\r\n", {502}),
    "ssh": (b"SSH-2.0-OpenSSH_9.2\r\n", {502}),
    "http-0.9": (b"<html>hello</html>", {502}),
    "garbage": (b"\x00\xff\xfe\r\n\r\n" * 20, {502}),
    "tls-alert": (b"\x15\x03\x01\x00\x02\x02\x46", {502}),
    "http-2.0": (b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", {502}),
    "h2-settings": (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", {502}),
    "300k-head": (HTTP + b"200 OK\r\nX-A: " + b"a" * 300_000 + b"\r\nContent-Length: 2\r\n\r\nok", {502}),
    "1000-fields": (
        HTTP + b"200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(1000)) + b"Content-Length: 2\r\n\r\nok",
        {502, 200},
    ),
    "early-hints": (HTTP + b"103 Early Hints\r\nLink: </a>\r\n\r\n" + OK, {200}),
    "1xx-flood": ((HTTP + b"103 Early Hints\r\nLink: </a>\r\n\r\n") * 3000 + OK, {200, 502}),
    "100-unasked": (HTTP + b"100 Continue\r\n\r\n" + OK, {200}),
    "splitting": (HTTP + b"200 OK\r\nX-A: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", {200}),
}
# Answers whose end never comes: the client must not take them for whole. (bytes, whether the app then closes)
CUT = {
    "length": HTTP + b"200 OK\r\nContent-Length: 100\r\n\r\nonly this",
    "chunk": HTTP + b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "chunk-middle": HTTP + b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello",
    "chunk-size": HTTP + b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5",
    "last-chunk": HTTP + b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "bad-chunk": HTTP + b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n\r\n" + POISON,
    "chunk-overflow": HTTP + b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nfffffffffffffffff\r\nx",
    "chunk-long": HTTP + b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
    "http-1.0-length": b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
}


class Wild(Listener):
    """Reads one head, then sends what `replies` holds for the last segment of its path, byte for byte."""

    def __init__(self):
        self.replies, self.heads = {}, []
        super().__init__()

    def serve(self, connection):
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                block = connection.recv(65536)
                if not block:
                    return
                buffer += block
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            self.heads.append(head)
            name = head.split(b" ")[1].split(b"/")[-1].decode()
            reply = self.replies.get(name, OK.replace(b"ok", name[:2].ljust(2).encode()))
            if callable(reply):
                if not reply(connection, head, buffer):
                    return
                continue
            if reply is None:
                return
            connection.sendall(reply)
            if name.startswith(("cut-", "close-")):
                return


ROUTES = """
[upstream.app]
servers = ["{app}"]
timeouts = { connect = "1s", response = "2s" }
retries = 0

[upstream.wild]
servers = ["{wild}"]
timeouts = { connect = "1s", response = "2s" }
connections = 1
retries = 0

[upstream.retrying]
servers = ["{wild}"]
timeouts = { connect = "1s", response = "2s" }
retries = 1

[upstream.down]
servers = ["http://127.0.0.1:{closed}"]
timeouts = { connect = "1s", response = "1s" }
retries = 0

[upstream.hole]
servers = ["http://127.0.0.1:{hole}"]
timeouts = { connect = "1s", response = "1s" }
retries = 0

[[route]]
path = "/open/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/wild/{*rest}"
upstream = "wild"
auth = "public"

[[route]]
path = "/retrying/{*rest}"
upstream = "retrying"
auth = "public"

[[route]]
path = "/down"
upstream = "down"
auth = "public"

[[route]]
path = "/hole"
upstream = "hole"
auth = "public"
"""


@pytest.fixture(scope="module")
def wild():
    with Wild() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def hole():
    """A port whose queue of connections is full: a connection to it is neither taken nor refused."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    time.sleep(0.1)
    yield listener.getsockname()[1]
    for one in (*fillers, listener):
        one.close()


@pytest.fixture(scope="module")
def front(start, wild, hole):
    # One worker and one connection: whatever a bad reply leaves behind, the next client would get.
    return start(ROUTES, extra="workers = 1", wild=wild.url, hole=hole, closed=free_port())


def next_is_clean(front):
    """The next two requests to the same app, one connection at most behind them, get their own answers."""
    for name in ("aa", "bb"):
        outcome = front.request(target=f"/wild/{name}")
        assert outcome.status == 200 and outcome.final[0].body == name.encode(), outcome
        assert "poison" not in outcome.raw.decode("latin-1").lower()


@table(95, REPLIES)
def test_a_bad_reply_is_502_or_clean_and_poisons_nobody(front, wild, request, case):
    reply, statuses = case
    name = request.node.callspec.id.split("95-")[1]
    wild.replies[name] = reply
    outcome = front.request(target=f"/wild/{name}")
    assert outcome.status in statuses, outcome
    assert len(outcome.final) == 1, outcome
    assert b"X-Poison" not in outcome.raw and b"x-poison" not in outcome.raw, outcome
    if outcome.status == 502:
        assert outcome.final[0].code == "upstream_invalid"
    next_is_clean(front)


@table(95, ["cl-and-te", "two-replies", "unasked-101", "body-on-204", "nul-value", "1xx-flood", "ssh"])
def test_a_bad_reply_over_http2_is_502_or_clean(front, wild, case):
    reply, statuses = REPLIES[case]
    wild.replies[case] = reply
    with H2(front.gate) as client:
        stream = client.request(f"/wild/{case}")
        assert stream.status in statuses or stream.reset is not None, stream
        assert client.request("/wild/cc").body == b"cc"
    next_is_clean(front)


@table(
    95,
    {
        "with-body": HTTP + b"200 OK\r\nContent-Length: 6\r\n\r\npoison",
        "chunked": HTTP + b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n",
        "no-length": HTTP + b"200 OK\r\n\r\npoison",
    },
)
def test_a_body_on_the_answer_to_head_is_left_out(front, wild, request, case):
    name = "head-" + request.node.callspec.id.split("95-")[1]
    wild.replies[name] = case
    outcome = front.request("HEAD", f"/wild/{name}")
    assert outcome.status in (200, 502) and b"poison" not in outcome.raw, outcome
    next_is_clean(front)


@table(96, CUT)
def test_an_answer_that_was_cut_off_is_never_whole(front, wild, request, case):
    name = "cut-" + request.node.callspec.id.split("96-")[1]
    wild.replies[name] = case
    outcome = front.request(target=f"/wild/{name}")
    if outcome.raw:
        assert outcome.status == 502 or (len(outcome.final) == 1 and not outcome.final[0].whole), outcome
    assert outcome.closed or outcome.status == 502, outcome
    assert b"oison" not in outcome.raw
    with H2(front.gate) as client:
        stream = client.request(f"/wild/{name}")
        assert stream.status == 502 or (stream.reset is not None and not stream.ended), stream
    next_is_clean(front)


def test_96_an_http_1_0_answer_that_ends_with_the_connection_is_whole(front, wild):
    wild.replies["close-10"] = b"HTTP/1.0 200 OK\r\n\r\nall of it"
    outcome = front.request(target="/wild/close-10")
    assert outcome.status == 200 and outcome.final[0].body == b"all of it", outcome


@table(
    96,
    {
        "length": [b"Content-Length: 100", b"", b"only this"],
        "chunked": [b"Transfer-Encoding: chunked", b"", b"5\r\nhello\r\n"],
        "chunk-middle": [b"Transfer-Encoding: chunked", b"", b"ff\r\nhello"],
    },
)
def test_an_upload_that_was_cut_off_is_never_completed(front, case):
    since = front.watch()
    with front.connect() as client:
        client.send(b"POST /open/x HTTP/1.1\r\nHost: localhost\r\n" + b"\r\n".join(case))
        time.sleep(0.15)
    time.sleep(0.15)
    requests, faults, _ = since()
    assert not faults
    assert not [r for r in requests if not r.partial], requests


def test_96_an_upload_over_http2_that_is_reset_is_never_completed(front):
    since = front.watch()
    with H2(front.gate) as client:
        client.open(head(method="POST"), 0)
        client.send(frame(DATA, 0, 1, b"hello"))
        client.pump(0.15)
        client.send(frame(RST_STREAM, 0, 1, struct.pack("!I", 8)))
        client.pump(0.15)
    requests, _, _ = since()
    assert not [r for r in requests if not r.partial], requests


# ---- 126: an app that is down, hangs, closes ----


def half(connection, head, rest):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")


def hang(connection, head, rest):
    connection.settimeout(6)
    connection.recv(1)


def reset(connection, head, rest):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def dribble(connection, head, rest):
    for letter in b"HTTP/1.1 200 OK\r\nX-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":
        connection.sendall(bytes([letter]))
        time.sleep(0.1)


def endless(connection, head, rest):
    for _ in range(400):
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5)
        time.sleep(0.01)


FAULTS = {
    "half": (half, {502}),
    "hang": (hang, {504}),
    "reset": (reset, {502}),
    "close": (None, {502}),
    "dribble": (dribble, {504, 502}),
    "endless-1xx": (endless, {502, 504}),
}


@table(126, FAULTS)
def test_an_app_that_fails_is_answered_inside_the_deadline(front, wild, request, case):
    reply, statuses = case
    name = "fault-" + request.node.callspec.id.split("126-")[1]
    wild.replies[name] = reply
    began = time.monotonic()
    outcome = front.request(target=f"/wild/{name}", longest=9)
    assert outcome.status in statuses or (name == "fault-endless-1xx" and outcome.closed), outcome
    assert time.monotonic() - began < 5
    next_is_clean(front)


@table(126, {"down": ("/down", 502, "upstream_unreachable"), "hole": ("/hole", 504, "upstream_timeout")})
def test_an_app_that_is_not_there_is_said_to_be(front, case):
    target, status, code = case
    began = time.monotonic()
    outcome = front.request(target=target)
    assert outcome.status in (status, 502) and outcome.final[0].code in (code, "upstream_unreachable"), outcome
    assert time.monotonic() - began < 3


# ---- 127, 128, 129 ----


def early(connection, head, rest):
    connection.sendall(b"HTTP/1.1 409 Conflict\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly")
    time.sleep(0.5)


@table(127, {"small": 100_000, "large": 900_000})
def test_an_early_reply_is_delivered(front, wild, case):
    wild.replies["early"] = early
    data = b"POST /wild/early HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % case
    outcome = front.send([data + b"a" * (case // 2)], longest=5)
    assert outcome.status == 409 and outcome.final[0].body == b"early", outcome
    next_is_clean(front)


def test_127_an_early_reply_is_delivered_over_http2(front, wild):
    wild.replies["early"] = early
    with H2(front.gate) as client:
        client.open(head("/wild/early", "POST"), 0)
        client.send(frame(DATA, 0, 1, b"a" * 10_000))
        client.pump(4, lambda: client.stream(1).status and client.stream(1).body)
        assert client.stream(1).status == 409 and client.stream(1).body == b"early", client.stream(1)


class Stale(Wild):
    """Answers the first request of a connection, and drops the connection when the next one comes."""

    def serve(self, connection):
        buffer = b""
        for number in range(2):
            while b"\r\n\r\n" not in buffer:
                block = connection.recv(65536)
                if not block:
                    return
                buffer += block
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            self.heads.append(head)
            if number == 0:
                connection.sendall(OK)
            else:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


@table(128, ["GET", "HEAD", "POST", "PATCH"])
def test_a_stale_connection_is_retried_for_idempotent_requests_alone(start, case):
    with Stale() as stale:
        front = start(ROUTES.replace('"{wild}"', '"{stale}"'), stale=stale.url, hole=1, closed=2)
        failed = 0
        for number in range(8):
            outcome = front.request(case, f"/retrying/{number}", ["Content-Length: 0"] if case[0] == "P" else [])
            sent = sum(b"/%d " % number in head for head in stale.heads)
            if case[0] == "P":
                assert sent == 1 and outcome.status in (200, 502), (outcome, sent)
                failed += outcome.status == 502
            else:
                assert outcome.status == 200 and sent <= 2, (outcome, sent)
        assert failed < 8


def test_129_an_app_that_comes_back_is_served_within_two_seconds(start):
    port = free_port()
    front = start(ROUTES, wild=f"http://127.0.0.1:{port}", hole=1, closed=2)
    assert front.request(target="/wild/xx").status == 502
    listener = Wild.__new__(Wild)
    listener.replies, listener.heads = {}, []
    server = socket.create_server(("127.0.0.1", port), backlog=64)
    listener.socket, listener.port, listener.tls, listener.connections = server, port, None, 0
    listener._open, listener._closed = set(), False
    threading.Thread(target=listener._accept, daemon=True).start()
    with listener:
        wait_for(lambda: front.request(target="/wild/xx").status == 200, 2, "the app to be served again")
        for _ in range(20):
            assert front.request(target="/wild/xx").status == 200


def test_129_sixty_hung_requests_block_no_other_route(front, wild):
    wild.replies["stuck"] = hang
    clients = []
    try:
        for _ in range(60):
            client = front.connect()
            client.send(b"GET /retrying/stuck HTTP/1.1\r\nHost: localhost\r\n\r\n")
            clients.append(client)
        for _ in range(10):
            began = time.monotonic()
            front.probe()
            assert time.monotonic() - began < 0.5
    finally:
        for client in clients:
            client.close()
