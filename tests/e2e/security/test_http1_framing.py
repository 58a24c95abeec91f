"""Catalogue 83 to 94 and 97: bytes that two parsers could read in two ways never become two requests behind the gateway."""

import time

import pytest

from security.credentials import bearer, token
from security.wire import KEY, StrictUpstream, refused, refused_or_clean, table, talk

SMUGGLED = b"GET /open/smuggled HTTP/1.1\r\nHost: localhost\r\nX-Forged: 1\r\n\r\n"
HOST = b"Host: localhost\r\n"


def post(*lines, body=b"", target=b"/open/x", version=b"1.1", method=b"POST"):
    """A request with these header lines as they are."""
    return (
        method
        + b" "
        + target
        + b" HTTP/"
        + version
        + b"\r\n"
        + HOST
        + b"".join(line + b"\r\n" for line in lines)
        + b"\r\n"
        + body
    )


def no_smuggling(outcome):
    """Nothing that stood in a body became a request."""
    assert not any("smuggled" in request.target for request in outcome.arrived), outcome
    assert not any("smuggled" in answer.body.decode("latin-1") for answer in outcome.answers), outcome
    return outcome


# ---- 83: both framings, none, the wrong version ----

CHUNKED_EMPTY = b"0\r\n\r\n"


@table(
    83,
    {
        "cl.te": post(
            b"Content-Length: %d" % (5 + len(SMUGGLED)), b"Transfer-Encoding: chunked", body=CHUNKED_EMPTY + SMUGGLED
        ),
        "te.cl": post(
            b"Transfer-Encoding: chunked",
            b"Content-Length: 4",
            body=b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n",
        ),
        "te-cl-0": post(b"Transfer-Encoding: chunked", b"Content-Length: 0", body=CHUNKED_EMPTY + SMUGGLED),
        "te-http-1.0": post(b"Transfer-Encoding: chunked", version=b"1.0", body=CHUNKED_EMPTY + SMUGGLED),
        "te-http-1.0-keep-alive": post(
            b"Connection: keep-alive", b"Transfer-Encoding: chunked", version=b"1.0", body=CHUNKED_EMPTY + SMUGGLED
        ),
        "te-cl-http-1.0": post(b"Content-Length: 5", b"Transfer-Encoding: chunked", version=b"1.0", body=CHUNKED_EMPTY),
        "get-te-cl": post(b"Content-Length: 5", b"Transfer-Encoding: chunked", method=b"GET", body=CHUNKED_EMPTY),
        "te-nominated": post(
            b"Connection: Transfer-Encoding", b"Transfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKED_EMPTY
        ),
        "cl-te-far-apart": post(
            b"Content-Length: 5", b"X-A: 1", b"X-B: 2", b"Transfer-Encoding: chunked", body=CHUNKED_EMPTY
        ),
        "te-folded-alias": post(
            b"Content-Length: 5", b"Transfer_Encoding: chunked", b"Transfer-Encoding: chunked", body=CHUNKED_EMPTY
        ),
    },
)
@pytest.mark.parametrize("door", ["plain", "https"])
def test_two_framings_are_refused(front, case, door):
    refused(no_smuggling(front.send(case, door=door, after=True)))


@table(
    83,
    {
        "te.0-options": (
            post(
                b"Transfer-Encoding: chunked",
                method=b"OPTIONS",
                body=b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n",
            ),
            SMUGGLED,
        ),
        "te.0-get": (
            post(
                b"Transfer-Encoding: chunked",
                method=b"GET",
                body=b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n",
            ),
            SMUGGLED,
        ),
        "cl.0-post": (post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED), SMUGGLED),
        "cl.0-get": (post(b"Content-Length: %d" % len(SMUGGLED), method=b"GET", body=SMUGGLED), SMUGGLED),
        "cl.0-head": (post(b"Content-Length: %d" % len(SMUGGLED), method=b"HEAD", body=SMUGGLED), SMUGGLED),
        "cl.0-delete": (post(b"Content-Length: %d" % len(SMUGGLED), method=b"DELETE", body=SMUGGLED), SMUGGLED),
        "cl-nominated": (
            post(b"Content-Length: %d" % len(SMUGGLED), b"Connection: Content-Length", body=SMUGGLED),
            SMUGGLED,
        ),
        "te-nominated": (
            post(
                b"Transfer-Encoding: chunked",
                b"Connection: Transfer-Encoding",
                body=b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n",
            ),
            SMUGGLED,
        ),
        "cl-alias-only": (post(b"Content_Length: 999", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED), SMUGGLED),
        "te-alias-only": (
            post(b"Transfer_Encoding: chunked", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
            SMUGGLED,
        ),
    },
)
def test_a_body_with_one_framing_is_a_body(front, case):
    data, body = case
    method = data.split(b" ")[0].decode()
    outcome = no_smuggling(front.send(data, after=True, methods=[method]))
    refused_or_clean(outcome, 400, 411, target="/open/x", body=body)


@table(83, [b"POST", b"PUT"])
def test_no_framing_at_all_is_no_body(front, case):
    """0.CL: what follows a POST without a length is the next request."""
    outcome = front.send(post(method=case), after=True)
    assert [r.target for r in outcome.arrived] in (["/open/x", "/open/after"], []), outcome
    assert all(r.body == b"" for r in outcome.arrived)
    assert outcome.status in (200, 411, 400)


@table(
    83,
    {
        "get-10-body": post(version=b"1.0", body=SMUGGLED),
        "get-10-cl": post(b"Content-Length: 3", version=b"1.0", body=b"abc"),
    },
)
def test_http_1_0_ends_with_its_answer(front, case):
    outcome = no_smuggling(front.send(case))
    assert len(outcome.arrived) <= 1 and len(outcome.final) == 1, outcome
    assert outcome.closed


# ---- 84: Transfer-Encoding beside Content-Length, 48 spellings ----

SPELLINGS = [
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"\tTransfer-Encoding: chunked",
    b"Transfer-Encoding:chunked",
    b"Transfer-Encoding:  chunked",
    b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: chunked ",
    b"Transfer-Encoding: chunked\t",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding:\x0cchunked",
    b"Transfer-Encoding: \x00chunked",
    b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: CHUNKED",
    b"Transfer-Encoding: Chunked",
    b"transfer-encoding: chunked",
    b"TRANSFER-ENCODING: chunked",
    b"tRANSFER-eNCODING: chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunkedx",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding:",
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding: ,",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: 'chunked'",
    b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: chunked; x",
    b"Transfer-Encoding: chun\xc4\xb8ed",
    b"Transfer-Encoding: \xa0chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: chunked\r\n x",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"Transfer-Encoding\r\n: chunked",
    b"Transfer-Encoding\xa0: chunked",
    b"Transfer-Encoding\x00: chunked",
]


def test_84_there_are_48_spellings():
    assert len(set(SPELLINGS)) == 48


@table(84, SPELLINGS)
def test_a_transfer_encoding_beside_a_content_length_is_refused(front, case):
    body = CHUNKED_EMPTY + SMUGGLED
    data = post(b"Content-Length: %d" % len(body), case, body=body)
    refused(no_smuggling(front.send(data, after=True)), 400, 501)


@table(84, SPELLINGS)
def test_a_transfer_encoding_alone_is_chunked_or_refused(front, case):
    data = post(case, body=b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n")
    refused_or_clean(no_smuggling(front.send(data, after=True)), 400, 501, target="/open/x", body=SMUGGLED)


@table(
    84,
    [
        b"Transfer_Encoding: chunked",
        b"Transfer.Encoding: chunked",
        b"X-Transfer-Encoding: chunked",
        b"TE: chunked",
        b"Transfer-Coding: chunked",
    ],
)
def test_what_only_looks_like_a_transfer_encoding_frames_nothing(front, case):
    body = CHUNKED_EMPTY + SMUGGLED
    outcome = no_smuggling(front.send(post(b"Content-Length: %d" % len(body), case, body=body), after=True))
    refused_or_clean(outcome, 400, target="/open/x", body=body)
    for request in outcome.arrived:
        assert b"ransfer_" not in request.head and b"ransfer." not in request.head, request.head


# ---- 85: Content-Length ----

LENGTHS = [
    b"+5",
    b"-5",
    b"-0",
    b"+0",
    b"0x5",
    b"5,5",
    b"5, 5",
    b"5,6",
    b"5 5",
    b"",
    b" ",
    b"5\x00",
    b"\x005",
    b"5\x0b",
    b"5;",
    b'"5"',
    b"5.0",
    b"5e0",
    b"1e1",
    b"99999999999999999999",
    b"18446744073709551616",
    b"18446744073709551621",
    b"9223372036854775808",
    b"4294967301x",
    b"0b101",
    b"0o5",
    b"5_0",
    b"five",
    b"\xd9\xa5",
    b"\xb5",
    b"5,",
    b",5",
    b"5\t5",
    b"5L",
    b"NaN",
    b"Infinity",
    b"0" * 5000 + b"5x",
    b"5\r\n 5",
]


@table(85, LENGTHS)
def test_an_odd_content_length_is_refused(front, case):
    refused(
        no_smuggling(front.send(post(b"Content-Length: " + case, body=b"hello" + SMUGGLED), after=True)), 400, 413, 431
    )


@table(
    85,
    {
        "twice-same": [b"Content-Length: 5", b"Content-Length: 5"],
        "twice-other": [b"Content-Length: 5", b"Content-Length: 6"],
        "zero-and-five": [b"Content-Length: 0", b"Content-Length: 5"],
        "five-and-zero": [b"content-length: 5", b"CONTENT-LENGTH: 0"],
        "blank-colon": [b"Content-Length : 5"],
        "tab-colon": [b"Content-Length\t: 5"],
        "leading-blank": [b" Content-Length: 5"],
        "nul-name": [b"Content-Length\x00: 5"],
        "no-name": [b": 5"],
        "three": [b"Content-Length: 5"] * 3,
        "empty-and-five": [b"Content-Length:", b"Content-Length: 5"],
    },
)
def test_two_content_lengths_are_refused(front, case):
    outcome = no_smuggling(front.send(post(*case, body=b"hello"), after=True))
    refused(outcome, 400)


@table(
    85,
    {
        "zeros": (b"0005", b"hello"),
        "plain": (b"5", b"hello"),
        "trailing-blank": (b"5 ", b"hello"),
        "tab": (b"\t5", b"hello"),
        "zero": (b"0", b""),
        "many-zeros": (b"0" * 30 + b"5", b"hello"),
    },
)
def test_a_plain_content_length_is_read_in_one_way(front, case):
    length, body = case
    outcome = front.send(post(b"Content-Length: " + length, body=body), after=True)
    refused_or_clean(outcome, 400, target="/open/x", body=body)


@table(
    85,
    [b"Content_Length: 5", b"Content.Length: 5", b"Content-Length-: 5", b"X-Content-Length: 5", b"CONTENT_LENGTH: 0"],
)
def test_an_alias_of_content_length_frames_nothing(front, case):
    outcome = front.send(post(case), after=True)
    if outcome.arrived:
        assert [r.target for r in outcome.arrived] == ["/open/x", "/open/after"], outcome
        assert (
            b"ontent_" not in outcome.arrived[0].head.lower()
            and b"content.length" not in outcome.arrived[0].head.lower()
        )


# ---- 86: chunks ----

CHUNKS = {
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "0X": b"0X5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "leading-blank": b" 5\r\nhello\r\n0\r\n\r\n",
    "leading-tab": b"\t5\r\nhello\r\n0\r\n\r\n",
    "empty-size": b"\r\nhello\r\n0\r\n\r\n",
    "overflow": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "overflow-2": b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "overflow-3": b"fffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
    "negative-huge": b"8000000000000005\r\nhello\r\n0\r\n\r\n",
    "lf-size": b"5\nhello\r\n0\r\n\r\n",
    "lf-data": b"5\r\nhello\n0\r\n\r\n",
    "lf-last": b"5\r\nhello\r\n0\n\r\n",
    "lf-end": b"5\r\nhello\r\n0\r\n\n",
    "cr-size": b"5\rhello\r\n0\r\n\r\n",
    "wrong-end": b"5\r\nhelloXX0\r\n\r\n",
    "short": b"6\r\nhello\r\n0\r\n\r\n",
    "long": b"4\r\nhello\r\n0\r\n\r\n",
    "g": b"5g\r\nhello\r\n0\r\n\r\n",
    "nul": b"5\x00\r\nhello\r\n0\r\n\r\n",
    "quote": b'"5"\r\nhello\r\n0\r\n\r\n',
    "comma": b"5,5\r\nhello\r\n0\r\n\r\n",
    "ext-lf": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "ext-lf-smuggle": b"2;\nxx\r\n4c\r\n0\r\n\r\n" + SMUGGLED,
    "ext-cr": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "ext-nul": b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
    "cr-cr-lf": b"5\r\r\nhello\r\n0\r\n\r\n",
    "data-cr": b"5\r\nhello\r0\r\n\r\n",
    "no-crlf": b"5\r\nhello0\r\n\r\n",
    "fullwidth": "５\r\nhello\r\n0\r\n\r\n".encode(),
    "end-cr": b"5\r\nhello\r\n0\r\n\r",
    "vt": b"5\x0b\r\nhello\r\n0\r\n\r\n",
    "trailer-no-colon": b"5\r\nhello\r\n0\r\nnocolon\r\n\r\n",
    "trailer-lf": b"5\r\nhello\r\n0\r\nA: b\nC: d\r\n\r\n",
    "trailer-fold": b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
    "trailer-nul": b"5\r\nhello\r\n0\r\nA: \x00\r\n\r\n",
    "trailer-blank-colon": b"5\r\nhello\r\n0\r\nA : b\r\n\r\n",
    "last-ext-lf": b"5\r\nhello\r\n0;a\nb\r\n\r\n",
    "zeros-overflow": b"0" * 20 + b"5\r\nhello\r\n0\r\n\r\n",
    "size-blank-smuggle": b"5 \n\r\nhello\r\n0\r\n\r\n",
    "70k-extension": b"5;" + b"a" * 70_000 + b"\r\nhello\r\n0\r\n\r\n",
    "many-extensions": (b"1;" + b"x" * 4000 + b"\r\na\r\n") * 100 + b"0\r\n\r\n",
}


@table(86, CHUNKS)
def test_a_bad_chunk_ends_the_connection_and_never_a_request(front, case):
    outcome = no_smuggling(front.send(post(b"Transfer-Encoding: chunked", body=case), after=True))
    whole = [request for request in outcome.arrived if not request.partial]
    if whole:
        # Some of these may be read in one clean way by a lenient hand: zeros before a size, say.
        assert case is CHUNKS["zeros-overflow"] or case is CHUNKS["many-extensions"], (
            f"a bad chunk was passed on as whole: {outcome}"
        )
        assert whole[0].body in (b"hello", b"a" * 100)
        return
    assert outcome.closed, outcome
    assert all(answer.status in (400, 413, 408, 502) for answer in outcome.final), outcome
    assert all(request.target == "/open/x" for request in outcome.arrived), outcome


@table(
    86,
    {
        "short": b"5;a=b\r\nhello\r\n0\r\n\r\n",
        "quoted": b'5;a="b;c"\r\nhello\r\n0\r\n\r\n',
        "on-last": b"5\r\nhello\r\n0;a=b\r\n\r\n",
        "upper": b"0A\r\n0123456789\r\n0\r\n\r\n",
        "lower": b"a\r\n0123456789\r\n0\r\n\r\n",
    },
)
def test_a_chunk_extension_is_never_forwarded(front, case):
    outcome = no_smuggling(front.send(post(b"Transfer-Encoding: chunked", body=case), after=True))
    refused_or_clean(outcome, 400, target="/open/x", body=b"hello" if b"hello" in case else b"0123456789")
    for request in outcome.arrived:
        assert b"a=b" not in bytes(request.conversation).split(b"\r\n\r\n", 1)[1][:60]


# ---- 87: lines ----

LINES = {
    "fold": b"X-A: 1\r\n b",
    "fold-tab": b"X-A: 1\r\n\tb",
    "fold-first": None,
    "fold-host": b"X-A: 1\r\n Host: evil",
    "fold-smuggle": b"X-A: 1\r\n \r\n" + SMUGGLED,
    "bare-cr": b"X-A: 1\rX-B: 2",
    "bare-lf": b"X-A: 1\nX-B: 2",
    "lf-only": b"X-A: 1\n",
    "cr-cr-lf": b"X-A: 1\r",
    "nul-value": b"X-A: \x00",
    "nul-name": b"X\x00A: 1",
    "no-colon": b"X-A",
    "no-colon-value": b"X-A 1",
    "blank-colon": b"X-A : 1",
    "tab-colon": b"X-A\t: 1",
    "empty-name": b": 1",
    "empty-both": b":",
    "blank-name": b" : 1",
    "bell": b"X-A: \x07",
    "esc": b"X-A: \x1b[31m",
    "del": b"X-A: \x7f",
    "vt": b"X-A: a\x0bb",
    "colon-first": b":X-A: 1",
    "name-slash": b"X/A: 1",
    "name-at": b"X@A: 1",
    "name-bracket": b"X[A]: 1",
    "name-high": b"X\xe9A: 1",
    "name-quote": b'X"A: 1',
    "name-brace": b"{X}: 1",
    "name-blank": b"X A: 1",
    "cr-in-name": b"X\rA: 1",
    "lf-smuggle": b"X-A: 1\n\nGET /open/smuggled HTTP/1.1\nHost: localhost\n",
    "cr-smuggle": b"X-A: 1\r\rGET /open/smuggled HTTP/1.1\rHost: localhost\r\r",
    "lone-lf-end": b"X-A: 1\r\n\nX: y",
}


@table(87, LINES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_bad_header_line_is_refused(front, case, method):
    if case is None:
        data = f"{method} /open/x HTTP/1.1\r\n X: y\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
    else:
        data = post(case, b"Content-Length: 0", method=method.encode())
    refused(no_smuggling(front.send(data, after=True)), may_close_silently=True)


@table(87, {"270": 270, "257": 257, "65000": 65_000, "4k-name": 4096, "content-length-tail": 255})
def test_a_long_name_hides_nothing(front, case):
    line = b"X" * case + b"Content-Length: 0" if case == 255 else b"X" * case + b": 1"
    outcome = no_smuggling(front.send(post(line, b"Content-Length: 5", body=b"hello"), after=True))
    if outcome.arrived:
        assert outcome.arrived[0].body == b"hello"
    else:
        refused(outcome, 400, 431)


# ---- 88: trailers (identity names: 6) ----


@table(
    88,
    {
        "count": b"".join(b"X-%d: 1\r\n" % n for n in range(3000)),
        "size": b"X-A: " + b"a" * 200_000 + b"\r\n",
        "long-name": b"X" * 100_000 + b": 1\r\n",
    },
)
def test_a_flood_of_trailers_is_bounded(front, case):
    outcome = front.send(post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n" + case + b"\r\n"), after=True)
    for request in outcome.arrived:
        assert sum(len(name) + len(value) for name, value in request.trailers) <= 64 * 1024, "a flood came through"
    assert outcome.status in (200, 400, 413, 431, 502) or outcome.closed


# ---- 89: Expect ----

EXPECTS = [
    b"100-continuE",
    b"100-Continue",
    b"100-continue, x",
    b"x, 100-continue",
    b"100-continue;q=1",
    b"200-ok",
    b"y 100-continue",
    b"\x0b100-continue",
    b'"100-continue"',
    b"100-continue\r\nExpect: 100-continue",
    b"100-continue,100-continue",
    b"100 continue",
    b"",
]


@table(89, EXPECTS)
def test_an_obfuscated_expect_splits_nothing(front, case):
    data = post(b"Expect: " + case, b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED)
    outcome = no_smuggling(front.send(data, after=True))
    refused_or_clean(outcome, 400, 417, target="/open/x", body=SMUGGLED)


@table(
    89,
    {
        "401": (b"/me/x", [], 401),
        "404": (b"/nowhere", [], 404),
        "405": (b"/read/x", [], 405),
        "413": (b"/open/x", [b"X: big"], 413),
        "400-path": (b"/open/%2e%2e", [], 400),
        "bad-token": (b"/me/x", [b"Authorization: Bearer x.y.z"], 401),
    },
)
def test_a_refused_expectation_gets_its_final_status_and_no_100(front, case):
    target, lines, status = case
    length = 5_000_000 if status == 413 else len(SMUGGLED)
    data = post(b"Expect: 100-continue", b"Content-Length: %d" % length, *lines, target=target)
    outcome = front.send([data, SMUGGLED], longest=4)
    no_smuggling(outcome)
    assert outcome.status == status and 100 not in [answer.status for answer in outcome.answers], outcome
    assert outcome.arrived == [] and len(outcome.final) == 1


def test_89_get_with_expect_and_no_body(front):
    outcome = front.send(post(b"Expect: 100-continue", method=b"GET"), after=True)
    assert [r.target for r in outcome.arrived][:1] in (["/open/x"], []), outcome


# ---- 90, 91: bodies of refused requests, pipelining ----


@table(
    90,
    {
        "401": b"/me/x",
        "404": b"/nowhere/x",
        "405": b"/read/x",
        "400": b"/open/%00",
        "403": b"/admin/x",
        "dots": b"/open/..",
    },
)
@pytest.mark.parametrize("framing", ["length", "chunked", "short", "large"])
def test_the_unread_body_of_a_refused_request_is_never_a_request(front, case, framing):
    lines = [bearer(token()).encode()] if case == b"/admin/x" else []
    if framing == "length":
        data = post(b"Content-Length: %d" % len(SMUGGLED), *lines, target=case, body=SMUGGLED)
    elif framing == "chunked":
        data = post(
            b"Transfer-Encoding: chunked",
            *lines,
            target=case,
            body=b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n",
        )
    elif framing == "short":
        data = [post(b"Content-Length: %d" % len(SMUGGLED), *lines, target=case), SMUGGLED]
    else:
        body = b"a" * 300_000 + SMUGGLED
        data = post(b"Content-Length: %d" % len(body), *lines, target=case, body=body)
    outcome = no_smuggling(front.send(data, after=True))
    assert [request.target for request in outcome.arrived] in ([], ["/open/after"]), outcome
    if not (framing == "large" and outcome.raw == b"" and outcome.closed):
        assert outcome.status in (400, 401, 403, 404, 405), outcome
        assert len(outcome.final) == 1 + len(outcome.arrived), outcome


def test_91_pipelined_requests_are_each_judged_alone(front):
    good, bad = bearer(token(roles=["admin"])).encode(), bearer(token(roles=["host"])).encode()
    data = (
        post(good, method=b"GET", target=b"/admin/1")
        + post(method=b"GET", target=b"/admin/2")
        + post(method=b"GET", target=b"/open/3")
        + post(bad, method=b"GET", target=b"/admin/4")
        + post(b"X-Auth-User: evil", method=b"GET", target=b"/open/5")
    )
    outcome = front.send(data, methods=["GET"] * 5, longest=5)
    assert [answer.status for answer in outcome.final] == [200, 401, 200, 403, 200], outcome
    assert [answer.body for answer in outcome.final][2] == b"/open/3"
    assert [request.target for request in outcome.arrived] == ["/admin/1", "/open/3", "/open/5"]
    assert outcome.arrived[0].one("x-auth-user") == "7" and outcome.arrived[1].all(
        "x-auth-user"
    ) == [] == outcome.arrived[2].all("x-auth-user")


def test_91_a_bad_request_in_the_pipeline_ends_it(front):
    data = (
        post(method=b"GET", target=b"/open/1")
        + post(b"Content-Length: x", body=b"")
        + post(method=b"GET", target=b"/open/3")
    )
    outcome = front.send(data, methods=["GET"] * 3, longest=5)
    assert [answer.status for answer in outcome.final] == [200, 400], outcome
    assert outcome.closed and [request.target for request in outcome.arrived] == ["/open/1"]


def test_91_a_flood_of_pipelined_requests_is_bounded(front):
    before = front.gate.rss_kib()
    block = post(method=b"GET", target=b"/nowhere/x") * 200
    with front.connect() as client:
        client.socket.settimeout(0.5)
        sent = 0
        try:
            while sent < 64 * 1024 * 1024:
                sent += client.socket.send(block)
        except OSError:
            pass
        assert sent < 64 * 1024 * 1024, "the gateway reads requests whose answers nobody takes"
        assert front.gate.rss_kib() - before < 16 * 1024
    front.probe()


# ---- 92, 93, 94: upgrades ----


@table(
    92,
    {
        "h2c": [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"],
        "h2c-alone": [b"Connection: Upgrade", b"Upgrade: h2c"],
        "h2c-no-connection": [b"Upgrade: h2c"],
        "tls": [b"Connection: Upgrade", b"Upgrade: TLS/1.0"],
        "foo": [b"Connection: Upgrade", b"Upgrade: foo"],
        "list": [b"Connection: Upgrade", b"Upgrade: h2c, websocket"],
        "list-2": [b"Connection: Upgrade", b"Upgrade: websocket, h2c"],
        "case": [b"Connection: upgrade", b"Upgrade: H2C"],
        "ws-no-key": [b"Connection: Upgrade", b"Upgrade: websocket"],
        "ws-no-connection": [b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY],
        "ws-version": [
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 777",
            b"Sec-WebSocket-Key: " + KEY,
        ],
        "ws-bad-key": [
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: c2hvcnQ=",
        ],
        "two-upgrades": [
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Upgrade: h2c",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: " + KEY,
        ],
        "settings-alone": [b"HTTP2-Settings: AAMAAABk"],
        "websocketx": [b"Connection: Upgrade", b"Upgrade: websocketx"],
        "http-2": [b"Connection: Upgrade", b"Upgrade: HTTP/2.0"],
    },
)
def test_only_a_proper_websocket_upgrade_is_forwarded(front, case):
    outcome = front.send(post(*case, method=b"GET"), after=True)
    assert 101 not in [answer.status for answer in outcome.answers], outcome
    for request in outcome.arrived:
        assert request.all("upgrade") == [] and request.all("http2-settings") == [], request.head
        assert all("upgrade" not in value.lower() for value in request.all("connection")), request.head


@table(92, [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", b"PRI * HTTP/2.0\r\n\r\n"])
def test_http2_without_tls_is_not_spoken_by_surprise(front, case):
    since = front.watch()
    with front.connect() as client:
        talk(client, case, longest=1.5, quiet=0.3)
    requests, faults, _ = since()
    assert requests == [] and faults == []


HANDSHAKE = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY]


@pytest.fixture(scope="module")
def refusing(start):
    """An upstream that does not take upgrades at once: it waits, then answers 426."""

    def late(request):
        time.sleep(0.4)
        return b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"

    upstream = StrictUpstream(
        replies={"late": late, "no": b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno"}
    )
    yield start(upstream=upstream)
    upstream.close()


@table(
    93, {"refused-late": b"/open/late", "refused": b"/open/no", "bad-auth": b"/me/socket", "not-a-socket": b"/nowhere"}
)
def test_bytes_behind_an_upgrade_are_never_raw_bytes_upstream(refusing, case):
    outcome = refusing.send(
        post(*HANDSHAKE, method=b"GET", target=case, body=SMUGGLED.replace(b"/open/", b"/admin/")), longest=4
    )
    assert 101 not in [answer.status for answer in outcome.answers], outcome
    for request in outcome.arrived:
        assert "smuggled" not in request.target and b"smuggled" not in bytes(request.conversation), outcome
        assert request.body == b"" and request.early == b"", outcome


def test_93_bytes_behind_an_upgrade_wait_for_the_101(front):
    outcome = front.send(post(*HANDSHAKE, method=b"GET", target=b"/open/socket", body=b"early-bytes"), longest=3)
    (request,) = outcome.arrived
    assert request.early == b"", "bytes went on before the app's 101"
    if outcome.answers[0].status == 101:
        assert request.body in (b"early-bytes", b""), outcome


@table(
    94,
    {
        "length": ([b"Content-Length: %d" % len(SMUGGLED)], SMUGGLED),
        "chunked": ([b"Transfer-Encoding: chunked"], b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"),
        "zero": ([b"Content-Length: 0"], SMUGGLED),
        "short": ([b"Content-Length: 5"], b"hello" + SMUGGLED),
        "post": (None, SMUGGLED),
    },
)
@pytest.mark.parametrize("target", [b"/open/socket", b"/open/no"])
def test_an_upgrade_with_a_body_is_refused_or_framed(refusing, case, target):
    lines, body = case
    method = b"POST" if lines is None else b"GET"
    lines = [b"Content-Length: %d" % len(SMUGGLED)] if lines is None else lines
    outcome = refusing.send(post(*HANDSHAKE, *lines, method=method, target=target, body=body), longest=3)
    for request in outcome.arrived:
        if request.target == "/open/smuggled" and case[0] == [b"Content-Length: 0"]:
            continue  # no body and no tunnel: what follows is a request, and was judged as one
        assert "smuggled" not in request.target, outcome
        assert request.all("upgrade") == [] or (request.all("content-length") in ([], ["0"]) and not request.chunked), (
            outcome
        )
        assert request.early == b"", outcome


# ---- 97: request lines ----

REQUEST_LINES = [
    b"GET /open/x",
    b"GET  /open/x HTTP/1.1",
    b"GET /open/x  HTTP/1.1",
    b" GET /open/x HTTP/1.1",
    b"GET\t/open/x HTTP/1.1",
    b"GET /open/x\tHTTP/1.1",
    b"GET /open/x HTTP/1.1 ",
    b"GET /open/x HTTP/1.2",
    b"GET /open/x HTTP/2.0",
    b"GET /open/x HTTP/0.9",
    b"GET /open/x HTTP/1",
    b"GET /open/x HTTP/11",
    b"GET /open/x HTTP/1.10",
    b"GET /open/x http/1.1",
    b"GET /open/x HTTP/01.1",
    b"GET /open/x HTTP/1,1",
    b"GET /open/x HTTP /1.1",
    b"GET /open/x HTTPS/1.1",
    b"GET /open/x HTTP/+1.1",
    b"GET /open/x HTTP/1.1x",
    b"GET /open/x HTTP/1.1\x00",
    b"GET /open/x\x00 HTTP/1.1",
    b"GET /open/x y HTTP/1.1",
    b"GET",
    b"GET /open/x HTTP/1.1 GET /open/smuggled HTTP/1.1",
    b"G\x00T /open/x HTTP/1.1",
    b"GE T /open/x HTTP/1.1",
    b'"GET" /open/x HTTP/1.1',
    b"GET: /open/x HTTP/1.1",
    b"GET /open/x HTTP/9.9",
    b"(GET) /open/x HTTP/1.1",
    b"GET\x0b/open/x HTTP/1.1",
    b"GET /open/x\x0bHTTP/1.1",
    b"GET /open/\x80 HTTP/1.1",
    b"GET /open/x\rHTTP/1.1",
    b"\x16\x03\x01\x00\x05GET /open/x HTTP/1.1",
    b"/open/x",
    b"HTTP/1.1 200 OK",
    b"\x00",
    b"GET /open/x HTTP/1.1\rX: y",
    b"GET /open/x SIP/2.0",
    b"GET /open/x RTSP/1.0",
]


@table(97, REQUEST_LINES)
def test_a_bad_request_line_is_refused(front, case):
    refused(
        no_smuggling(front.send(case + b"\r\n" + HOST + b"\r\n", after=True, longest=4)),
        400,
        405,
        501,
        505,
        may_close_silently=True,
    )


@table(
    97,
    {
        "lf-line": b"GET /open/x HTTP/1.1\nHost: localhost\n\n",
        "lf-line-crlf": b"GET /open/x HTTP/1.1\nHost: localhost\r\n\r\n",
        "simple": b"GET /open/x\r\n",
        "crlf-flood": b"\r\n" * 5000 + b"GET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "long-method": b"A" * 10_000 + b" /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    },
)
def test_an_odd_beginning_is_refused(front, case):
    outcome = no_smuggling(front.send(case, longest=4))
    refused(outcome, 400, 405, 408, 414, 431, 501, 505, may_close_silently=True)


@table(97, [b"get", b"Get", b"FOO", b"M-SEARCH", b"PROPFIND", b"PRI", b"GETX", b"A" * 64])
def test_an_unusual_method_is_judged_as_it_is_written(front, case):
    """A route that takes GET alone takes nothing that only resembles it."""
    outcome = front.send(post(method=case, target=b"/read/x"), after=True)
    assert not [r for r in outcome.arrived if r.target == "/read/x"], outcome
    assert outcome.status in (400, 405, 501, 505), outcome
