"""Catalogue 98 to 110: HTTP/2 frame by frame. A bad stream ends alone, a bad connection ends, and nobody else notices."""

import struct
import time

import hpack
import pytest

from security.credentials import bearer, token
from security.h2wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    H2,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_FLAG,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    frame,
    head,
    integer,
    literal,
    settings,
)
from security.wire import StrictUpstream, beyond_doubt, table

SMUGGLED = b"GET /open/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, ENHANCE_YOUR_CALM = 1, 3, 5, 6, 11


@pytest.fixture
def watched(front):
    """Whatever arrives during a test is beyond doubt; the gateway serves afterwards."""
    since = front.watch()

    def arrived():
        requests, faults, partials = since()
        assert not faults, faults
        for request in requests:
            beyond_doubt(request)
        return requests, partials

    yield arrived
    front.probe()


def bad(stream, client):
    """The stream or the connection was refused."""
    assert stream.reset is not None or client.over or (stream.status or 0) in (400, 401, 405, 413, 421, 431, 501), (
        stream,
        client.goaway,
        client.closed,
    )


def send(front, fields, body=None, seconds=3, payload=None, frames=b""):
    """One request of these fields; answers with the stream and the connection."""
    client = H2(front.gate)
    with client:
        client.open(fields, END_STREAM if body is None and not frames else 0, payload=payload)
        if body is not None:
            client.send(frame(DATA, END_STREAM, 1, body))
        if frames:
            client.send(frames)
        client.pump(seconds, lambda: client.stream(1).ended or client.stream(1).reset is not None or client.goaway)
        client.pump(0.05)
        return client.stream(1), client


# ---- 98: lengths and codings ----


@table(
    98,
    {
        "more": ("10", b"hello"),
        "less": ("3", b"hello" + SMUGGLED),
        "zero": ("0", SMUGGLED),
        "plus": ("+5", b"hello"),
        "hex": ("0x5", b"hello"),
        "list": ("5,5", b"hello"),
        "blank": ("", b"hello"),
        "nul": ("5\x00", b"hello"),
        "huge": ("99999999999999999999", b"hello"),
        "minus": ("-5", b"hello"),
        "crlf": ("5\r\nX-A: b", b"hello"),
    },
)
def test_a_content_length_that_lies_is_refused(front, watched, case):
    length, body = case
    stream, client = send(front, head(method="POST", more=[("content-length", length)]), body)
    bad(stream, client)
    requests, _ = watched()
    # A head that says "no body" may go on before the body that is not one shows up; the body never does.
    whole = [
        r
        for r in requests
        if not r.partial and not (length == "0" and r.body == b"" and r.one("content-length") == "0")
    ]
    assert not whole and not [r for r in requests if "smuggled" in r.target], requests


@table(
    98,
    {
        "same": [("content-length", "5")] * 2,
        "other": [("content-length", "5"), ("content-length", "6")],
        "zero": [("content-length", "0"), ("content-length", "5")],
    },
)
def test_two_content_lengths_are_refused(front, watched, case):
    stream, client = send(front, head(method="POST", more=case), b"hello")
    bad(stream, client)
    assert watched() == ([], [])


@table(98, {"get-none": ("5", None), "head": ("5", b"")})
def test_a_content_length_without_a_body_is_refused(front, watched, case):
    length, body = case
    stream, client = send(front, head(method="POST", more=[("content-length", length)]), body)
    bad(stream, client)
    assert not [r for r in watched()[0] if not r.partial]


@table(98, ["chunked", "identity", "gzip, chunked", "chunked, chunked", ""])
def test_a_transfer_encoding_is_refused(front, watched, case):
    for extra in ([], [("content-length", "5")]):
        body = b"0\r\n\r\n" + SMUGGLED
        stream, client = send(front, head(method="POST", more=[("transfer-encoding", case), *extra]), body)
        bad(stream, client)
    assert watched() == ([], [])


# ---- 99, 100: bytes in names and values ----

VALUES = [
    b"a\r\nX-Forged: 1",
    b"a\nX-Forged: 1",
    b"a\rb",
    b"a\x00b",
    b"a\r\n\r\n" + SMUGGLED,
    b"\x01",
    b"\x7f",
    b"\x1b[31m",
    b" a",
    b"a ",
    b"\ta",
]


@table(99, VALUES)
def test_a_value_with_control_bytes_is_refused(front, watched, case):
    stream, client = send(front, head(more=[("x-a", case)]))
    if case in (b" a", b"a ", b"\ta") and stream.status == 200:
        assert watched()[0][0].one("x-a") == "a"
        return
    bad(stream, client)
    assert watched() == ([], [])


@table(
    99,
    [
        b"x-a\r\nx-forged",
        b"x-a: b\r\nx-forged",
        b"x a",
        b"x-a:",
        b":x-a",
        b"",
        b"x\x00a",
        b"X-Upper",
        b"x-\xe9",
        b"x(a)",
        b"x-a\n",
        b"\x7f",
        b"x,a",
        b'"x"',
        b"x-a ",
        b"x-auth-user ",
        b"x-auth-user\t",
        b" x-auth-user",
        b"x-auth-user\x0b",
        b"transfer-encoding ",
        b"content-length\t",
        b"host ",
    ],
)
def test_a_name_that_is_no_name_is_refused(front, watched, case):
    """The trailing blanks among them are number 100."""
    stream, client = send(front, head(more=[(case, b"evil")]))
    if case == b'"x"' and stream.status == 200:
        assert b"evil" not in watched()[0][0].head, "left out, at the least"
        return
    bad(stream, client)
    assert watched() == ([], [])


PSEUDO = {
    "path-crlf": {"path": "/open/x HTTP/1.1\r\nX-Forged: 1\r\n\r\n"},
    "path-blank": {"path": "/open/x y"},
    "path-nul": {"path": "/open/\x00"},
    "path-tab": {"path": "/open/\tx"},
    "path-empty": {"path": ""},
    "path-relative": {"path": "open/x"},
    "path-absolute": {"path": "http://localhost/admin/x"},
    "path-star": {"path": "*"},
    "path-query-crlf": {"path": "/open/x?a=\r\nX: y"},
    "path-high": {"path": b"/open/\xff"},
    "path-dots": {"path": "/open/../admin/x"},
    "path-encoded-slash": {"path": "/open%2fx"},
    "path-double": {"path": "//admin/x"},
    "method-blank": {"method": "GET /admin/x"},
    "method-crlf": {"method": "GET / HTTP/1.1\r\nX: y\r\n\r\nGET"},
    "method-empty": {"method": ""},
    "method-nul": {"method": "G\x00T"},
    "authority-crlf": {"authority": "localhost\r\nX: y"},
    "authority-blank": {"authority": "local host"},
    "authority-userinfo": {"authority": "a@localhost"},
    "authority-path": {"authority": "localhost/x"},
    "authority-empty": {"authority": ""},
    "authority-nul": {"authority": "localhost\x00"},
    "authority-port": {"authority": "localhost:x"},
    "scheme-crlf": {"scheme": "https\r\nX: y"},
    "scheme-url": {"scheme": "https://evil.example/x?"},
    "scheme-blank": {"scheme": "ht tps"},
    "authority-comma": {"authority": "localhost,evil"},
}


@table(99, PSEUDO)
def test_a_pseudo_header_with_odd_bytes_is_refused(front, watched, case):
    stream, client = send(front, head(**case))
    bad(stream, client)
    assert watched() == ([], [])


@table(99, ["", "ftp"])
def test_an_odd_scheme_is_refused_or_believed_nowhere(front, watched, case):
    stream, client = send(front, head(scheme=case))
    requests, _ = watched()
    if stream.status == 200:
        assert requests[0].one("x-forwarded-proto") == "https"
    else:
        bad(stream, client)
        assert requests == []


@table(27, ["/open/x#y", "/open/x#/../admin/x", "/admin/x#/../../open/x", "/admin#/open", "/open/x?a#b", "/open/#"])
def test_a_fragment_over_http2_is_refused_or_cut_off_before_anything_is_judged(front, watched, case):
    """The HTTP/2 library cuts a fragment off before the gateway sees the path; what is left is judged and forwarded."""
    stream, client = send(front, head(case))
    requests, _ = watched()
    if stream.status != 200:
        bad(stream, client)
        assert requests == []
    else:
        assert not case.startswith("/admin")
        assert [request.target for request in requests] == [case.split("#")[0]]


# ---- 101, 102 ----

BASE = head()
FIELDS = {
    "two-methods": [*BASE, (":method", "POST")],
    "two-paths": [*BASE, (":path", "/admin/x")],
    "two-schemes": [*BASE, (":scheme", "http")],
    "two-authorities": [*BASE, (":authority", "evil.example")],
    "late": [*BASE[:3], ("x-a", "1"), BASE[3]],
    "late-method": [BASE[1], BASE[2], BASE[3], ("x-a", "1"), BASE[0]],
    "unknown": [*BASE, (":unknown", "1")],
    "status": [*BASE, (":status", "200")],
    "no-method": BASE[1:],
    "no-path": BASE[:3],
    "no-scheme": [BASE[0], *BASE[2:]],
    "nothing": [],
    "only-fields": [("x-a", "1")],
    "host-other": [*BASE, ("host", "evil.example")],
    "host-secret": [*BASE, ("host", "127.0.0.1")],
    "two-hosts": [BASE[0], BASE[1], BASE[3], ("host", "localhost"), ("host", "evil.example")],
    "no-authority": [BASE[0], BASE[1], BASE[3]],
    "upper-pseudo": [(":METHOD", "GET"), *BASE[1:]],
    "empty-pseudo": [*BASE, (":", "1")],
    "protocol-unknown": [*BASE, (":protocol", "foo")],
}


@table(101, FIELDS)
def test_bad_pseudo_headers_are_refused(front, watched, case):
    stream, client = send(front, case)
    bad(stream, client)
    assert watched() == ([], [])


@table(
    101,
    {
        "same-host": ([*BASE, ("host", "localhost")], "localhost"),
        "host-alone": ([BASE[0], BASE[1], BASE[3], ("host", "localhost")], "localhost"),
        "with-port": ([*BASE, ("host", "localhost:80")], None),
        "upper": ([*BASE, ("host", "LOCALHOST")], None),
    },
)
def test_a_host_that_agrees_arrives_once(front, watched, case):
    fields, wanted = case
    stream, client = send(front, fields)
    requests, _ = watched()
    if wanted and stream.status == 200:
        assert requests[0].one("host") == wanted
    elif not requests:
        bad(stream, client)
    else:
        assert requests[0].one("host").lower().startswith("localhost")


@table(101, [":path", ":status", ":method", ":authority"])
def test_pseudo_headers_in_trailers_are_refused_or_left_out(front, watched, case):
    """The HTTP/2 library leaves some of them out in silence; none may be taken for anything."""
    with H2(front.gate) as client:
        client.open(head(method="POST"), 0)
        client.send(frame(DATA, 0, 1, b"hello"))
        client.open([(case, "/admin/x")], END_STREAM, 1)
        stream = client.wait(1, 3)
    whole = [request for request in watched()[0] if not request.partial]
    if stream.status == 200:
        (request,) = whole
        assert request.target == "/open/x" and request.method == "POST" and request.trailers == []
    else:
        bad(stream, client)
        assert whole == []


@table(
    102,
    {
        "connection": [("connection", "x-auth-user")],
        "close": [("connection", "close")],
        "keep-alive": [("keep-alive", "timeout=5")],
        "proxy-connection": [("proxy-connection", "close")],
        "upgrade": [("upgrade", "websocket")],
        "te-gzip": [("te", "gzip")],
        "te-list": [("te", "trailers, gzip")],
        "transfer-encoding": [("transfer-encoding", "chunked")],
        "http2-settings": [("http2-settings", "AAMAAABk")],
    },
)
def test_connection_specific_fields_are_refused(front, watched, case):
    stream, client = send(front, head(more=case))
    if case[0][0] == "http2-settings" and stream.status == 200:
        assert watched()[0][0].all("http2-settings") == []
        return
    bad(stream, client)
    assert watched() == ([], [])


@table(
    102,
    {
        "connect": [(":method", "CONNECT"), (":authority", "localhost:80")],
        "connect-internal": [(":method", "CONNECT"), (":authority", "127.0.0.1:22")],
        "connect-path": head(method="CONNECT"),
        "other-protocol": [*head("/open/socket", "CONNECT")[:1], (":protocol", "connect-udp"), *head("/open/socket")[1:]],
        "two-protocols": [*head("/open/socket", "CONNECT"), (":protocol", "websocket"), (":protocol", "websocket")],
        "no-version": [*head("/open/socket", "CONNECT"), (":protocol", "websocket")],
        "no-scheme": [
            *(field for field in head("/open/socket", "CONNECT") if field[0] != ":scheme"),
            (":protocol", "websocket"),
            ("sec-websocket-version", "13"),
        ],
        "no-path": [
            *(field for field in head("/open/socket", "CONNECT") if field[0] != ":path"),
            (":protocol", "websocket"),
            ("sec-websocket-version", "13"),
        ],
        "with-length": [
            *head("/open/socket", "CONNECT"),
            (":protocol", "websocket"),
            ("sec-websocket-version", "13"),
            ("content-length", "5"),
        ],
        "dots": [*head("/open/../socket", "CONNECT"), (":protocol", "websocket"), ("sec-websocket-version", "13")],
        "protocol-get": [*BASE[:1], (":protocol", "websocket"), *BASE[1:]],
        "connect-no-authority": [(":method", "CONNECT")],
    },
)
def test_connect_and_protocol_are_refused(front, watched, case):
    with H2(front.gate) as client:
        client.pump(1, lambda: client.settings)
        assert client.settings.get(8) == 1, "extended CONNECT is not announced"
        client.open(case, 0)
        client.pump(2, lambda: client.stream(1).ended or client.stream(1).reset is not None or client.goaway)
        bad(client.stream(1), client)
    assert watched() == ([], [])


# ---- 103, 104, 105: floods ----


def spend(gate):
    """CPU seconds the gateway has used."""
    with open(f"/proc/{gate.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def flood(front, frames, opening=b"", most=16, given=b"", windows=True, seconds=6.0, total=200_000):
    """Sends the same frames until the server has had enough; answers with (how often, the connection)."""
    before = front.gate.rss_kib()
    with H2(front.gate, given, windows=windows) as client:
        client.pump(1, lambda: client.acks)
        if opening:
            client.send(opening)
        sent, deadline = 0, time.monotonic() + seconds
        while sent < total and not client.over and time.monotonic() < deadline:
            batch = frames if isinstance(frames, bytes) else frames(sent)
            client.client.socket.settimeout(1)
            try:
                client.client.socket.sendall(batch)
            except TimeoutError:
                break
            except OSError:
                client.closed = True
                break
            sent += 1
            client.pump(0.0005)
        client.pump(0.5, lambda: client.over)
        grown = front.gate.rss_kib() - before
        assert grown < most * 1024, f"{grown} KiB after {sent}"
        return sent, client


@table(103, {"cancel": 8, "no-error": 0, "internal": 2})
def test_rapid_reset_is_bounded(front, watched, case):
    def batch(number):
        out = b""
        for step in range(50):
            stream = 1 + 2 * (number * 50 + step)
            out += frame(HEADERS, END_STREAM | END_HEADERS, stream, block(head("/open/reset")))
            out += frame(RST_STREAM, 0, stream, struct.pack("!I", case))
        return out

    sent, client = flood(front, batch, total=400)
    requests, _ = watched()
    assert client.over and sent * 50 < 20_000, f"{sent * 50} resets, {len(requests)} requests, GOAWAY {client.goaway}"
    assert len(requests) < 2000


@table(
    103,
    {
        "window-overflow": lambda n: frame(WINDOW_UPDATE, 0, n, struct.pack("!I", 0x7FFFFFFF)),
        "window-zero": lambda n: frame(WINDOW_UPDATE, 0, n, bytes(4)),
        "data-after-end": lambda n: frame(DATA, 0, n, b"x"),
        "headers-after-end": lambda n: frame(HEADERS, END_HEADERS | END_STREAM, n, block([("x", "y")])),
        "priority-self": lambda n: frame(PRIORITY, 0, n, struct.pack("!IB", n, 1)),
        "priority-length": lambda n: frame(PRIORITY, 0, n, b"123"),
    },
)
def test_made_you_reset_is_bounded(front, watched, case):
    def batch(number):
        out = b""
        for step in range(50):
            stream = 1 + 2 * (number * 50 + step)
            out += frame(HEADERS, END_STREAM | END_HEADERS, stream, block(head("/open/reset"))) + case(stream)
        return out

    sent, client = flood(front, batch, total=400)
    assert client.over and sent * 50 < 20_000, f"{sent * 50}, GOAWAY {client.goaway}"
    assert len(watched()[0]) < 2500


def test_103_error_resets_are_bounded(front, watched):
    def batch(number):
        return b"".join(
            frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * (number * 50 + step), block([*BASE, ("connection", "x")]))
            for step in range(50)
        )

    sent, client = flood(front, batch, total=400)
    assert client.over and sent * 50 < 20_000, f"{sent * 50}, GOAWAY {client.goaway}"
    assert watched()[0] == []


@table(104, {"full": b"a" * 8000, "empty": b"", "one": b"\x00"})
def test_a_continuation_flood_is_bounded(front, watched, case):
    payload = literal("x-a", case) if case else b""
    opening = frame(HEADERS, END_STREAM, 1, block(BASE))
    sent, client = flood(front, frame(CONTINUATION, 0, 1, payload) * 20, opening, total=5000)
    assert client.over and sent * 20 < 50_000, f"{sent * 20} frames, GOAWAY {client.goaway}"
    assert watched()[0] == []


FLOODS = {
    "settings": frame(SETTINGS, 0, 0, settings(s3=100)) * 50,
    "settings-empty": frame(SETTINGS) * 50,
    "ping": frame(PING, 0, 0, b"12345678") * 50,
    "priority": frame(PRIORITY, 0, 1, struct.pack("!IB", 3, 1)) * 50,
    "window-update": frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 1)) * 50,
    "unknown-frames": frame(0x99, 0, 0, b"x" * 100) * 50,
    "settings-table": frame(SETTINGS, 0, 0, settings(s1=0)) * 25 + frame(SETTINGS, 0, 0, settings(s1=65536)) * 25,
    "settings-ack": frame(SETTINGS, ACK) * 50,
    "ping-ack": frame(PING, ACK, 0, b"12345678") * 50,
}


@table(105, FLOODS)
def test_a_flood_of_small_frames_costs_little(front, watched, case):
    before = spend(front.gate)
    sent, _ = flood(front, case, total=600, seconds=4)
    assert spend(front.gate) - before < 6, "seconds of CPU for a flood of 30,000 frames at most"
    assert watched()[0] == []


def test_105_a_flood_that_reads_no_answers_is_bounded(front, watched):
    """PING and SETTINGS whose answers nobody reads: the answers must not pile up."""
    before = front.gate.rss_kib()
    with H2(front.gate) as client:
        client.client.socket.settimeout(1)
        sent = 0
        try:
            while sent < 200_000:
                client.client.socket.sendall((frame(PING, 0, 0, b"12345678") + frame(SETTINGS)) * 500)
                sent += 1000
        except OSError:
            pass
        assert front.gate.rss_kib() - before < 16 * 1024
    assert watched()[0] == []


def test_105_empty_data_frames_are_bounded(front, watched):
    opening = frame(HEADERS, END_HEADERS, 1, block(head(method="POST")))
    before = spend(front.gate)
    sent, client = flood(front, frame(DATA, 0, 1, b"") * 100, opening, total=2000, seconds=4)
    assert (
        client.over or client.stream(1).reset is not None or client.stream(1).status or spend(front.gate) - before < 5
    ), sent
    assert not [r for r in watched()[0] if not r.partial]


# ---- 106: header bombs ----


@table(106, {"indexed-big": 4000, "indexed-small": 40, "cookie-crumbs": 0})
def test_an_hpack_bomb_is_bounded(front, watched, case):
    before = front.gate.rss_kib()
    if case:
        seed = b"\x40" + integer(3) + b"x-b" + integer(case) + b"a" * case
        payload = block(BASE) + seed + b"\xbe" * 12_000
    else:
        seed = b"\x40" + integer(6) + b"cookie" + integer(1) + b"a"
        payload = block(BASE) + seed + b"\xbe" * 14_000
    with H2(front.gate) as client:
        client.open(None, END_STREAM, payload=payload)
        client.pump(3, lambda: client.stream(1).ended or client.stream(1).reset is not None or client.over)
        bad(client.stream(1), client)
        assert front.gate.rss_kib() - before < 24 * 1024
    assert watched()[0] == []


@table(106, {"one-byte": b"\xbe", "crumbs": b"\xbe"})
def test_many_streams_of_one_byte_headers_behind_a_closed_window_are_bounded(front, watched, request, case):
    """HTTP/2 Bomb: each field costs one byte on the wire; the answers' window is closed so that nothing goes away."""
    name = b"cookie" if "crumbs" in request.node.name else b"x-b"
    seed = b"\x40" + integer(len(name)) + name + integer(60) + b"a" * 60
    before = front.gate.rss_kib()
    with H2(front.gate, settings(s4=0)) as client:
        for number in range(100):
            client.open(None, END_STREAM, payload=block(BASE) + (seed if number == 0 else b"") + case * 8000)
            client.pump(0.001)
        client.pump(1.5, lambda: client.over)
        assert front.gate.rss_kib() - before < 32 * 1024, f"{front.gate.rss_kib() - before} KiB"
    assert watched()[0] == []


@table(106, {"101-fields": 101, "300-fields": 300})
def test_too_many_fields_are_refused(front, watched, case):
    stream, client = send(front, head(more=[(f"x-{number}", "1") for number in range(case)]))
    bad(stream, client)
    assert watched() == ([], [])


@table(106, {"70k": 70_000, "200k": 200_000})
def test_a_head_over_the_limit_is_refused(front, watched, case):
    payload = block(BASE) + literal("x-a", b"a" * case)
    with H2(front.gate) as client:
        chunks = [payload[at : at + 16_000] for at in range(0, len(payload), 16_000)]
        data = frame(HEADERS, END_STREAM, 1, chunks[0])
        for number, chunk in enumerate(chunks[1:], 2):
            data += frame(CONTINUATION, END_HEADERS if number == len(chunks) else 0, 1, chunk)
        client.send(data)
        client.pump(3, lambda: client.stream(1).ended or client.stream(1).reset is not None or client.over)
        bad(client.stream(1), client)
    assert watched() == ([], [])


# ---- 107: readers that do not read ----


@pytest.fixture(scope="module")
def big(start):
    body = b"z" * (4 << 20)
    upstream = StrictUpstream(replies={"big": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body})
    yield start(upstream=upstream)
    upstream.close()


@table(107, {"window-zero": 0, "small": 1000})
def test_a_hundred_answers_that_nobody_reads_stay_in_the_app(big, case):
    before = big.gate.rss_kib()
    with H2(big.gate, settings(s4=case), windows=False) as client:
        for _ in range(100):
            client.open(head("/open/big"))
        client.pump(2)
        grown = big.gate.rss_kib() - before
        assert grown < 40 * 1024, f"{grown} KiB for 100 stalled streams"
        big.probe()
        client.pump(
            6,
            lambda: (
                client.over
                or all(client.stream(n).reset is not None or client.stream(n).ended for n in range(1, 200, 2))
            ),
        )
        assert client.over or all(
            client.stream(n).reset is not None or client.stream(n).status in (502, 503) for n in range(1, 200, 2)
        ), "stalled streams are never let go"


# ---- 108: limits and the state machine (h2spec in short) ----


def test_108_the_stream_limit_is_announced_and_enforced(big):
    with H2(big.gate, settings(s4=0), windows=False) as client:
        client.pump(1, lambda: client.settings)
        limit = client.settings[3]
        assert 1 <= limit <= 256
        seen = len(big.upstream.requests)
        for _ in range(limit + 40):
            client.open(head("/open/big"))
        client.pump(1.5)
        over = [n for n in range(1, 2 * (limit + 40), 2) if client.stream(n).reset is not None]
        assert client.over or len(over) >= 40, len(over)
        assert len(big.upstream.requests) - seen <= limit
    big.probe()


CONNECTION_ERRORS = {
    "data-on-0": frame(DATA, 0, 0, b"x"),
    "headers-on-0": frame(HEADERS, END_HEADERS, 0, block(BASE)),
    "even-stream": frame(HEADERS, END_HEADERS | END_STREAM, 2, block(BASE)),
    "big-frame": frame(DATA, 0, 1, b"x" * 20_000),
    "settings-length": frame(SETTINGS, 0, 0, b"12345"),
    "settings-stream": frame(SETTINGS, 0, 1, b""),
    "settings-ack-payload": frame(SETTINGS, ACK, 0, b"123456"),
    "push": frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)),
    "ping-length": frame(PING, 0, 0, b"1234"),
    "ping-stream": frame(PING, 0, 1, b"12345678"),
    "rst-idle": frame(RST_STREAM, 0, 99, bytes(4)),
    "rst-length": frame(RST_STREAM, 0, 1, b"123"),
    "window-zero": frame(WINDOW_UPDATE, 0, 0, bytes(4)),
    "window-overflow": frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 0x7FFFFFFF)) * 2,
    "window-length": frame(WINDOW_UPDATE, 0, 0, b"123"),
    "continuation-alone": frame(CONTINUATION, END_HEADERS, 1, b""),
    "settings-push-2": frame(SETTINGS, 0, 0, settings(s2=2)),
    "settings-window": frame(SETTINGS, 0, 0, settings(s4=0x80000000)),
    "settings-frame-size": frame(SETTINGS, 0, 0, settings(s5=1)),
    "settings-frame-size-big": frame(SETTINGS, 0, 0, settings(s5=0x1000000)),
    "padding": frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\xff" + block(BASE)[:20]),
    "hpack-index": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\x0f"),
    "hpack-truncated": frame(HEADERS, END_HEADERS | END_STREAM, 1, block(BASE)[:-3]),
    "hpack-table": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe1\xff\x7f" + block(BASE)),
    "interleaved": frame(HEADERS, END_STREAM, 1, block(BASE)) + frame(PING, 0, 0, b"12345678"),
    "interleaved-stream": frame(HEADERS, END_STREAM, 1, block(BASE))
    + frame(HEADERS, END_STREAM | END_HEADERS, 3, block(BASE)),
    "goaway-stream": frame(GOAWAY, 0, 1, bytes(8)),
    "goaway-length": frame(GOAWAY, 0, 0, b"1234"),
    "data-idle": frame(DATA, 0, 1, b"x"),
    "window-idle": frame(WINDOW_UPDATE, 0, 77, struct.pack("!I", 1)),
    "priority-on-0": frame(PRIORITY, 0, 0, bytes(5)),
    "descending": frame(HEADERS, END_HEADERS | END_STREAM, 9, block(BASE))
    + frame(HEADERS, END_HEADERS | END_STREAM, 3, block(BASE)),
    "h1-in-h2": b"GET /open/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "huffman-eos": frame(HEADERS, END_HEADERS | END_STREAM, 1, block(BASE) + b"\x00\x01x\x84\xff\xff\xff\xff"),
}


@table(108, CONNECTION_ERRORS)
def test_a_broken_connection_is_ended(front, watched, case):
    with H2(front.gate) as client:
        client.pump(1, lambda: client.acks)
        client.send(case)
        client.pump(3, lambda: client.over)
        assert client.over, f"the connection goes on; {client.streams}"
    assert not [r for r in watched()[0] if "smuggled" in r.target]


@table(
    108,
    {
        "data-closed": frame(DATA, END_STREAM, 1, b"x"),
        "headers-closed": frame(HEADERS, END_HEADERS | END_STREAM, 1, block(BASE)),
        "self-dependency": frame(
            HEADERS, END_HEADERS | END_STREAM | PRIORITY_FLAG, 3, struct.pack("!IB", 3, 1) + block(BASE)
        ),
    },
)
def test_a_frame_on_a_finished_stream_makes_no_request(front, watched, case):
    with H2(front.gate) as client:
        assert client.request("/open/first").status == 200
        client.send(case)
        client.pump(0.5, lambda: client.over)
    assert len([r for r in watched()[0] if r.target != "/open/first"]) <= 1


@table(108, {"junk": b"GET / HTTP/1.1\r\n\r\n", "half": PREFACE[:10] + b"xxxxxxxxxxxxxxxxxxxxxx", "zeros": bytes(100)})
def test_a_bad_preface_is_closed(front, watched, case):
    with H2(front.gate, preface=b"") as client:
        client.send(case)
        client.pump(4, lambda: client.over)
        assert client.over
    assert watched()[0] == []


# ---- 109, 110 ----


@table(109, {"trailers-without-end": 0, "two-trailers": 1})
def test_trailers_that_do_not_end_are_refused(front, watched, case):
    with H2(front.gate) as client:
        client.open(head(method="POST"), 0)
        client.send(frame(DATA, 0, 1, b"hello"))
        client.open([("x-sum", "1")], 0, 1)
        if case:
            client.open([("x-sum", "2")], END_STREAM, 1)
        client.pump(2, lambda: client.stream(1).ended or client.stream(1).reset is not None or client.over)
        bad(client.stream(1), client)
    assert not [r for r in watched()[0] if not r.partial]


def test_109_goaway_and_settings_together_harm_nobody(front, watched):
    with H2(front.gate) as client:
        client.open(head("/open/one"))
        client.send(
            frame(GOAWAY, 0, 0, bytes(8))
            + frame(SETTINGS, 0, 0, settings(s4=0))
            + frame(SETTINGS, 0, 0, settings(s4=65535))
            + frame(GOAWAY, 0, 0, bytes(8))
        )
        client.pump(1, lambda: client.closed)
    assert all(r.target == "/open/one" for r in watched()[0])


@table(110, {"two": ["a=1", "b=2"], "many": [f"c{n}=v{n}" for n in range(40)], "split-identity": ["a=1; x=y", "b=2"]})
def test_cookie_crumbs_become_one_line(front, watched, case):
    stream, _ = send(front, head(more=[("cookie", crumb) for crumb in case]))
    assert stream.status == 200
    (request,) = watched()[0]
    assert request.one("cookie") == "; ".join(case)


def test_110_a_good_connection_serves_many_good_requests(front, watched):
    good = bearer(token()).split(": ", 1)[1]
    with H2(front.gate) as client:
        client.pump(1, lambda: client.settings)
        encoder = hpack.Encoder()
        for number in range(60):
            fields = head(f"/me/{number}", more=[("authorization", good)])
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * number, encoder.encode(fields)))
        client.pump(5, lambda: all(client.stream(1 + 2 * n).ended for n in range(60)))
        assert [client.stream(1 + 2 * n).body.decode() for n in range(60)] == [f"/me/{n}" for n in range(60)]
    assert len(watched()[0]) == 60


def test_110_an_upload_over_http2_arrives_whole(front, watched):
    with H2(front.gate) as client:
        client.open(head(method="POST"), 0)
        for _ in range(4):
            client.send(frame(DATA, PADDED, 1, b"\x05" + b"d" * 10_000 + bytes(5)))
        client.send(frame(DATA, END_STREAM, 1, b""))
        assert client.wait(1).status == 200
    (request,) = watched()[0]
    assert request.body == b"d" * 40_000 and not request.partial
