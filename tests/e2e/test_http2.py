"""HTTP/2 from a client that sees everything: interim answers, Expect, trailers, ends that come too soon, idle connections."""

import threading
import time
from email.utils import parsedate_to_datetime

import h2.errors
import h2.events
import pytest

from harness.http2 import Http2Client
from harness.ports import wait_for
from harness.raw import over_tls
from harness.upstreams import OK, Listener, RawUpstream, read_head
from security.h2wire import H2

TOML = """
[server]
https = "127.0.0.1:{https}"
plain = "127.0.0.1:{plain}"
admin = "127.0.0.1:{admin}"

[server.timeouts]
request_headers = "2s"
keep_alive = "2s"

[tls]
development = true

[upstream.raw]
servers = ["{raw}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }

[[route]]
path = "/private/{*rest}"
upstream = "raw"
auth = ["token"]

[[route]]
path = "/fixed"
respond = { status = 200, body = "fixed" }
auth = "public"

[[route]]
path = "/{*rest}"
upstream = "raw"
auth = "public"
"""
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </%d.css>; rel=preload\r\n\r\n"
AWKWARD_HINT = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-Auth-User: 7\r\n"
    b"Content-Length: 9\r\nTE: x\r\n\r\n"
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Slow:
    """Lets a test say when an app goes on."""

    def __init__(self):
        self.go = threading.Event()


SLOW = Slow()


def answer(request, connection):
    path = request.target
    if path == "/hints":
        return b"".join(HINT % number for number in range(3)) + OK
    if path == "/hint-and-wait":
        connection.sendall(HINT % 0)
        assert SLOW.go.wait(8)
        connection.sendall(HINT % 1)
        return OK
    if path == "/awkward-hint":
        return AWKWARD_HINT + OK
    if path == "/big-hints":
        return (b"HTTP/1.1 103 Early Hints\r\nX-Big: " + b"x" * 3000 + b"\r\n\r\n") * 20 + OK
    if path == "/102":
        return b"HTTP/1.1 102 Processing\r\n\r\n" + OK
    if path == "/trailers":
        return CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 42\r\nX-Auth-User: 7\r\nContent-Length: 5\r\n\r\n"
    if path == "/cut":
        return b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nonly this"
    if path == "/cut-chunked":
        return CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"5\r\nhello\r\n"
    if path == "/204":
        return b"HTTP/1.1 204 No Content\r\nETag: \"1\"\r\n\r\n"
    return OK


@pytest.fixture(scope="module")
def app():
    with RawUpstream(answer, takes_connection=True) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gate(module_gateway, app):
    return module_gateway(TOML, raw=app.url)


class Asker(Listener):
    """Reads a head, says `first`, then reads what comes and says `then`."""

    def __init__(self, first, then=b""):
        self.first, self.then, self.after = first, then, b""
        super().__init__()

    def serve(self, connection):
        _, self.after = read_head(connection)
        connection.sendall(self.first)
        connection.settimeout(2)
        try:
            while b"hello" not in self.after and (block := connection.recv(65536)):
                self.after += block
        except TimeoutError:
            pass
        connection.sendall(self.then)


ROUTE = '[upstream.app]\nservers = ["{raw}"]\n[[route]]\npath = "/"\nupstream = "app"\nauth = "public"\n'


def order(client, number):
    """The kinds of what came on a stream, in order."""
    kinds = (h2.events.InformationalResponseReceived, h2.events.ResponseReceived, h2.events.DataReceived, h2.events.StreamEnded)
    return [type(event).__name__ for event in client.of(number, kinds)]


# ---- interim answers ----


def test_every_early_hint_arrives_before_the_answer_and_none_after(gate):
    with Http2Client(gate) as client:
        for _ in range(2):
            number = client.open("/hints")
            head, body = client.answer(number)
            assert head[":status"] == "200" and body == b"ok"
            told = client.interims(number)
            assert [hint[":status"] for hint in told] == ["103"] * 3
            assert [hint["link"] for hint in told] == [f"</{index}.css>; rel=preload" for index in range(3)]
            assert order(client, number)[:4] == ["InformationalResponseReceived"] * 3 + ["ResponseReceived"]


def test_an_early_hint_arrives_while_the_app_still_thinks(gate):
    SLOW.go.clear()
    with Http2Client(gate) as client:
        number = client.open("/hint-and-wait")
        try:
            assert client.until(lambda client: client.interims(number), 4), "the hint waits for the answer"
            assert not client.of(number, h2.events.ResponseReceived)
        finally:
            SLOW.go.set()
        client.answer(number)
        assert len(client.interims(number)) == 2


def test_an_early_hint_says_nothing_of_the_apps_connection_or_the_caller(gate):
    with Http2Client(gate) as client:
        number = client.open("/awkward-hint")
        assert client.answer(number)[1] == b"ok"
        (hint,) = client.interims(number)
        assert hint == {":status": "103", "link": "</a.css>"}


def test_other_interim_answers_pass_too(gate):
    with Http2Client(gate) as client:
        number = client.open("/102")
        assert client.answer(number)[1] == b"ok"
        assert [hint[":status"] for hint in client.interims(number)] == ["102"]


def test_interim_answers_are_bounded_in_bytes(gate):
    with Http2Client(gate) as client:
        number = client.open("/big-hints")
        assert client.answer(number)[1] == b"ok"
        assert 1 <= len(client.interims(number)) <= 6


def test_a_client_that_resets_its_stream_during_early_hints_harms_nobody(gate):
    SLOW.go.clear()
    with Http2Client(gate) as client:
        number = client.open("/hint-and-wait")
        assert client.until(lambda client: client.interims(number), 4)
        client.h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        client.flush()
        SLOW.go.set()
        other = client.open("/hints")
        assert client.answer(other)[1] == b"ok" and len(client.interims(other)) == 3
        assert len(client.interims(number)) == 1


# ---- Expect: 100-continue ----

EXPECT = [("expect", "100-continue"), ("content-length", "5")]


def test_100_continue_comes_when_the_app_asks_for_the_body(gateway):
    with Asker(b"HTTP/1.1 100 Continue\r\n\r\n", OK) as app, Http2Client(gateway(ROUTE, raw=app.url)) as client:
        number = client.open("/", "POST", EXPECT, ends=False)
        assert client.until(lambda client: client.interims(number), 4), "no 100"
        assert app.after == b""
        client.data(number, b"hello")
        head, _ = client.answer(number)
        assert head[":status"] == "200" and app.after == b"hello"
        assert [interim[":status"] for interim in client.interims(number)] == ["100"]


def test_100_continue_comes_after_a_while_from_an_app_that_never_says_it(gateway):
    with Asker(b"", OK) as app, Http2Client(gateway(ROUTE, raw=app.url)) as client:
        number = client.open("/", "POST", EXPECT, ends=False)
        began = time.monotonic()
        assert client.until(lambda client: client.interims(number), 4), "no 100"
        assert time.monotonic() - began > 0.5, "the body is asked for before the app had its time to object"
        client.data(number, b"hello")
        assert client.answer(number)[0][":status"] == "200" and app.after == b"hello"


def test_a_refused_upload_gets_its_refusal_and_no_100_over_http2(gate):
    with Http2Client(gate) as client:
        number = client.open("/private/x", "POST", EXPECT, ends=False)
        head, _ = client.answer(number)
        assert head[":status"] == "401" and client.interims(number) == []


def test_the_apps_final_answer_to_expect_arrives_without_a_100(gateway):
    final = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
    with Asker(final) as app, Http2Client(gateway(ROUTE, raw=app.url)) as client:
        number = client.open("/", "POST", EXPECT, ends=False)
        head, body = client.answer(number)
        assert head[":status"] == "417" and body == b"no" and client.interims(number) == []
        assert app.after == b""


# ---- bodies and trailers ----


def test_trailers_pass_both_ways_and_forge_nothing(gate, app):
    with Http2Client(gate) as client:
        number = client.open("/trailers", "POST", [("te", "trailers"), ("trailer", "x-sum")], ends=False)
        client.data(number, b"hello", ends=False)
        client.trailers(number, [("x-sum", "42"), ("x-auth-user", "evil"), ("authorization", "evil"), ("host", "evil")])
        head, body = client.answer(number)
        assert head[":status"] == "200" and body == b"hello"
        (trailers,) = client.of(number, h2.events.TrailersReceived)
        assert dict(trailers.headers) == {"x-sum": "42"}
    sent = app.last.body.lower()
    assert sent.endswith(b"0\r\nx-sum: 42\r\n\r\n") and b"evil" not in app.last.head + sent


@pytest.mark.parametrize("path", ["/cut", "/cut-chunked"])
def test_an_answer_that_was_cut_off_is_reset_and_the_connection_goes_on(gate, path):
    with Http2Client(gate) as client:
        number = client.open(path)
        assert client.until(lambda client: client.of(number, h2.events.StreamReset))
        (reset,) = client.of(number, h2.events.StreamReset)
        assert reset.error_code == h2.errors.ErrorCodes.INTERNAL_ERROR
        assert not client.of(number, h2.events.StreamEnded)
        assert client.answer(client.open("/"))[1] == b"ok"


@pytest.mark.parametrize("path", ["/fixed", "/private/x", "/hints"])
def test_head_has_no_body_over_http2_whoever_answers(gate, path):
    with Http2Client(gate) as client:
        whole, body = client.answer(client.open(path))
        head, nothing = client.answer(client.open(path, "HEAD"))
        assert nothing == b"" and head[":status"] == whole[":status"]
        assert head["content-length"] == str(len(body))


def test_204_has_no_body_and_no_length(gate):
    with Http2Client(gate) as client:
        number = client.open("/204")
        head, body = client.answer(number)
        assert head[":status"] == "204" and head["etag"] == '"1"' and body == b"" and "content-length" not in head


@pytest.mark.parametrize("path", ["/fixed", "/private/x", "/"])
def test_every_answer_has_a_date_and_says_nothing_of_a_connection(gate, path):
    with Http2Client(gate) as client:
        head, _ = client.answer(client.open(path))
        assert abs(parsedate_to_datetime(head["date"]).timestamp() - time.time()) < 5
        assert not {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"} & set(head)


def test_a_request_whose_body_is_not_read_is_answered_whole_and_then_let_go_without_an_error(gate):
    with Http2Client(gate) as client:
        number = client.open("/fixed", "POST", ends=False)
        client.data(number, b"some", ends=False)
        assert client.until(lambda client: client.of(number, h2.events.StreamReset))
        assert order(client, number) == ["ResponseReceived", "DataReceived", "StreamEnded"]
        (reset,) = client.of(number, h2.events.StreamReset)
        assert reset.error_code == h2.errors.ErrorCodes.NO_ERROR


@pytest.mark.parametrize("code", [h2.errors.ErrorCodes.NO_ERROR, h2.errors.ErrorCodes.CANCEL])
def test_an_upload_that_its_client_resets_is_never_completed_whatever_it_says(gate, app, code):
    before = len(app.requests)
    with Http2Client(gate) as client:
        number = client.open("/upload", "POST", ends=False)
        client.data(number, b"only this", ends=False)
        time.sleep(0.2)
        client.h2.reset_stream(number, code)
        client.flush()
        (cut,) = wait_for(lambda: app.requests[before:], 5, "the upload that was cut off")
        assert b"only this" in cut.body and not cut.body.endswith(b"0\r\n\r\n"), cut.body
        assert client.answer(client.open("/"))[1] == b"ok"


def test_an_upload_waits_for_an_app_that_takes_nothing(gateway):
    """The gateway lets a client send what fits its windows and no more."""
    taken = threading.Event()

    class Lazy(Listener):
        def serve(self, connection):
            _, rest = read_head(connection)
            assert taken.wait(15)
            while not rest.endswith(b"0\r\n\r\n"):
                rest += connection.recv(65536)
            connection.sendall(OK)

    with Lazy() as app, Http2Client(gateway(ROUTE, raw=app.url)) as client:
        number = client.open("/", "POST", ends=False)
        sent, last = 0, time.monotonic()
        # What the sockets in between take in is the system's: a few MiB at most.
        while time.monotonic() - last < 1.5 and sent < 32 << 20:
            room = min(client.h2.local_flow_control_window(number), client.h2.max_outbound_frame_size)
            if room > 0:
                client.data(number, b"x" * room, ends=False)
                sent, last = sent + room, time.monotonic()
            client.until(lambda client: False, 0.001 if room else 0.2)
        assert 65_535 <= sent < 16 << 20, f"{sent} bytes for an app that takes none"
        taken.set()
        client.h2.end_stream(number)
        client.flush()
        assert client.answer(number)[0][":status"] == "200"


# ---- the connection ----


def test_a_client_that_never_says_its_preface_is_closed(gate):
    with over_tls(gate, alpn=("h2",)) as raw:
        raw.socket.settimeout(8)
        began = time.monotonic()
        while raw.socket.recv(4096):
            pass
        assert time.monotonic() - began < 6


def test_an_idle_client_is_told_to_go_and_the_connection_closes(gate):
    with H2(gate) as client:
        assert client.request("/").status == 200
        began = time.monotonic()
        client.pump(8, lambda: client.closed)
        assert client.closed and client.goaway == 0, "an idle connection stays open"
        assert time.monotonic() - began > 1.5


def test_a_connection_with_a_quiet_answer_is_not_idle(gate):
    SLOW.go.clear()
    with Http2Client(gate) as client:
        number = client.open("/hint-and-wait")
        client.until(lambda client: client.closed, 3)
        SLOW.go.set()
        assert client.answer(number)[1] == b"ok"
