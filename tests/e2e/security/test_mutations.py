"""Random mutations of HTTP/1 bytes: whatever reaches the app can be read in one way and was let in.

`PORTCULLIS_MUTATIONS` says how many (2,000 unless told; 100,000 for a long run), `PORTCULLIS_MUTATION_SEED` where to
begin. A mutation is made from its number alone, so that a failure names what to send again.
"""

import concurrent.futures
import os
import random
import re

import pytest

from security.credentials import bearer, token
from security.test_bad_replies import ROUTES as WILD_ROUTES
from security.test_bad_replies import Wild
from security.test_paths_and_hosts import readings
from security.wire import FORWARDING, KEY, fold, parse_answers

COUNT = int(os.environ.get("PORTCULLIS_MUTATIONS", "2000"))
SEED = int(os.environ.get("PORTCULLIS_MUTATION_SEED", "1"))
AT_ONCE = 12
COUNTED = "counted"  # what may be wrong only because an answer was not waited for
EVIL = b"X-Auth-User: evil-1\r\nX_Auth_Roles: admin\r\n"
HIDDEN = b"GET /admin/hidden HTTP/1.1\r\nHost: localhost\r\n" + EVIL + b"\r\n"
GOOD = bearer(token(roles=["host"])).encode()
BASES = [
    b"GET /open/x?a=b HTTP/1.1\r\nHost: localhost\r\n" + EVIL + b"Cookie: a=b\r\n\r\n",
    b"POST /open/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n" + EVIL + b"\r\nhello",
    b"POST /open/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Auth-User: evil-1\r\n\r\n",
    b"POST /open/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    b"POST /open/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(HIDDEN)
    + HIDDEN
    + b"\r\n0\r\n\r\n",
    b"GET /me/x HTTP/1.1\r\nHost: localhost\r\n"
    + GOOD
    + b"\r\n"
    + EVIL
    + b"Connection: keep-alive, X-Auth-User\r\n\r\n",
    b"GET /admin/x HTTP/1.1\r\nHost: localhost\r\n" + GOOD + b"\r\nX-Original-URL: /open\r\n" + EVIL + b"\r\n",
    b"GET http://localhost/open/x HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\r\n"
    + HIDDEN,
    b"GET /open/socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    + KEY
    + b"\r\n\r\n"
    + HIDDEN,
    b"POST /open/x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello" + HIDDEN,
    b"OPTIONS /admin/x HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\n\r\n",
    b"GET /open/x HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n" + HIDDEN,
]
WORDS = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b"\x0b",
    b"\x85",
    b"\xa0",
    b";",
    b",",
    b"/",
    b"..",
    b"%2e",
    b"%2f",
    b"//",
    b"\\",
    b"#",
    b"?",
    b"_",
    b"-",
    b"0",
    b"5",
    b"ff",
    b"\r\n ",
    b"\r\n\r\n",
    b"\n\n",
    b"0\r\n\r\n",
    b"chunked",
    b"identity, chunked",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"content_length: 9\r\n",
    b"Host: evil.example\r\n",
    b"X-Auth-User: evil-1\r\n",
    b"x_auth-user: evil-1\r\n",
    b"X.Auth.User: evil-1\r\n",
    b"Connection: Host, X-Auth-User, Content-Length\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b" HTTP/1.1\r\n",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"TE: trailers\r\n",
    b"Expect: 100-continue\r\n",
    b"Trailer: X-Auth-User\r\n",
    b"X-Forwarded-For: 6.6.6.6\r\n",
    b"+",
    b"0x",
    b"\xff",
    b"\xc0\xae",
    b"\x7f",
    b"GET ",
    b"POST ",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


def mutation(number, bases=BASES):
    """The bytes of one mutation, from its number alone."""
    chance = random.Random(SEED * 1_000_003 + number)
    data = bytearray(chance.choice(bases))
    if chance.random() < 0.15:
        data += chance.choice(bases)
    for _ in range(chance.choice([1, 1, 1, 2, 2, 3, 5])):
        at = chance.randrange(len(data) + 1)
        step = chance.randrange(10)
        if step <= 3:
            data[at:at] = chance.choice(WORDS)
        elif step == 4 and data:
            data[at % len(data)] = chance.randrange(256)
        elif step == 5:
            del data[at : at + chance.choice([1, 1, 2, 5, 20])]
        elif step == 6:
            lines = bytes(data).split(b"\r\n")
            lines.insert(chance.randrange(len(lines)), chance.choice(lines))
            data = bytearray(b"\r\n".join(lines))
        elif step == 7:
            lines = bytes(data).split(b"\r\n")
            one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
            lines[one], lines[other] = lines[other], lines[one]
            data = bytearray(b"\r\n".join(lines))
        elif step == 8:
            end = chance.randrange(at, len(data) + 1)
            data[at:end] = bytes(data[at:end]).swapcase()
        else:
            ends = [found.start() for found in re.finditer(rb"\r\n", bytes(data))]
            if ends:
                where = chance.choice(ends)
                data[where : where + 2] = chance.choice(
                    [b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\x00\r\n", b"\r\n\r\n"]
                )
        if not data:
            data = bytearray(b"\r\n")
    return bytes(data)


TAIL = b"GET /open/tail HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def send(front, number, patience):
    """Sends one mutation with a good request behind it; answers with what came back."""
    with front.connect(timeout=5) as client:
        client.socket.settimeout(patience)
        raw = b""
        try:
            client.socket.sendall(mutation(number) + TAIL)
            while block := client.socket.recv(65536):
                raw += block
        except OSError:
            pass  # who has neither answered nor closed by now waits for bytes that will not come
        return raw


def violations(front, marks, answers):
    """What is wrong with what arrived since the marks."""
    requests = front.upstream.requests[marks[0] :]
    for fault, raw in front.upstream.faults[marks[1] :]:
        yield f"two readings: {fault} in {raw[-800:]!r}"
    for request in requests:
        for name in FORWARDING:
            if len(request.all(name)) != 1:
                yield f"{name} {request.all(name)} in {request}"
        if request.all("x-forwarded-for") != ["127.0.0.1"]:
            yield f"a forged address in {request}"
        names = [fold(name) for name, _ in request.headers]
        signed_in = request.all("x-auth-user") == ["7"] and GOOD.split(b" ")[-1] in request.head
        for name in names:
            if name.startswith("x-auth-") and (not signed_in or names.count(name) != 1):
                yield f"a forged {name} in {request}"
        if "evil-1" in str(request.headers) + str(request.trailers) and any(
            "evil-1" in value and fold(name).startswith("x-auth-")
            for name, value in [*request.headers, *request.trailers]
        ):
            yield f"a forged identity in {request}"
        path = request.target.split("?")[0]
        if path.startswith("/admin") or any(reading.split(b"/")[1] == b"admin" for reading in readings(path)):
            yield f"a protected path in {request}"
        if request.method in ("TRACE", "TRACK", "CONNECT"):
            yield f"a method in {request}"
    try:
        told = sum(
            1 for raw in answers for answer in parse_answers(raw) if answer.status >= 200 or answer.status == 101
        )
    except (AssertionError, ValueError) as failure:
        yield f"{COUNTED}: an answer that cannot be read: {failure}"
        return
    whole = sum(1 for request in requests if not request.partial)
    if whole > told:
        yield f"{COUNTED}: {whole} requests arrived for {told} answers: {requests}"


def marks_of(front):
    return len(front.upstream.requests), len(front.upstream.faults)


def test_no_mutation_is_ambiguous_behind_the_gateway(front):
    arrived_before = len(front.upstream.requests)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for first in range(0, COUNT, AT_ONCE * 4):
            numbers = range(first, min(COUNT, first + AT_ONCE * 4))
            marks = marks_of(front)
            answers = list(pool.map(lambda number: send(front, number, 0.2), numbers))
            if found := list(violations(front, marks, answers)):
                one_by_one(front, numbers)
                certain = [text for text in found if not text.startswith(COUNTED)]
                assert not certain, f"mutations {numbers} of seed {SEED}, together only: {certain}"
    front.probe()
    arrived = len(front.upstream.requests) - arrived_before
    assert arrived > COUNT / 4, f"only {arrived} requests of {COUNT} mutations arrived: the test has lost its teeth"


def one_by_one(front, numbers):
    """Sends a batch again with patience, to name the mutation; what does not come again was a matter of time."""
    for number in numbers:
        front.probe()
        marks = marks_of(front)
        raw = send(front, number, 1.0)
        found = list(violations(front, marks, [raw]))
        front.upstream.faults.clear()
        if found:
            pytest.fail(f"mutation {number} of seed {SEED}: {found}\nsent {mutation(number)!r}\ngot {raw!r}")


# ---- the same for what an app answers ----

POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Poison: 1\r\n\r\npoison"
REPLIES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(POISON) + POISON,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(POISON) + POISON + b"\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
]


@pytest.fixture(scope="module")
def answered(start):
    with Wild() as wild:
        routes = WILD_ROUTES.replace("{hole}", "1").replace("{closed}", "1")
        yield start(routes, extra="workers = 1", wild=wild.url), wild


def test_no_mutated_answer_is_ambiguous_or_poisons_the_next_client(answered):
    front, wild = answered
    statuses = []
    for number in range(max(1, COUNT // 8)):
        reply = mutation(number, REPLIES)
        wild.replies["mutated"] = reply
        raw = b""
        with front.connect(timeout=5) as client:
            client.send(b"GET /wild/mutated HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            client.socket.settimeout(0.12)
            try:
                while block := client.socket.recv(65536):
                    raw += block
            except OSError:
                pass  # an answer whose end the app never sends: the client goes away
        about = f"mutation {number} of seed {SEED}: {reply!r} became {raw!r}"
        try:
            answers = [answer for answer in parse_answers(raw) if answer.status >= 200]
        except (AssertionError, ValueError) as failure:
            pytest.fail(f"{failure}; {about}")
        assert len(answers) <= 1, about
        statuses += [answer.status for answer in answers]
        for name in (b"aa", b"bb"):
            outcome = front.request(target=f"/wild/{name.decode()}")
            assert outcome.status == 200 and outcome.final[0].body == name, f"{outcome}; after {about}"
    assert 200 in statuses and 502 in statuses, "the test has lost its teeth"
