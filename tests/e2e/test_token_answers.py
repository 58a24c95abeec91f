"""Odd answers to a sign-in: whatever an app writes, no token that the gateway is to keep reaches the page or the log."""

import gzip
import json
import time

import pytest

from harness.check import refused
from harness.single_page import COOKIE, SinglePage
from harness.tokens import simplejwt
from harness.upstreams import RawUpstream

TOML = """
[session]
store = "memory"

[upstream.app]
servers = ["{app}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }

[auth.session]
type = "gateway-session"

[token_handler.app]
upstream = "app"
login = "/login/"
refresh = "/refresh/"
logout = "/logout/"
auth = "token"

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = ["session"]

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""

REFRESH = "refresh-" + "r" * 30


def answer(body, status="200 OK", kind="application/json", extra=""):
    """An app's answer."""
    body = body if isinstance(body, bytes) else body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chunked(body):
    """The same in pieces of 7 bytes, with a token in a trailer."""
    parts = [body[at : at + 7].encode() for at in range(0, len(body), 7)]
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n"
    return head + pieces + b"0\r\nx-t: " + REFRESH.encode() + b"\r\n\r\n"


@pytest.fixture(scope="module")
def app():
    with RawUpstream() as app:
        yield app


@pytest.fixture(scope="module")
def gate(module_gateway, app):
    return module_gateway(TOML, app=app.url)


@pytest.fixture
def spa(gate):
    spa = SinglePage(gate)
    yield spa
    spa.close()


def tokens(**more):
    return {"access": simplejwt(user_id="7"), "refresh": REFRESH, **more}


def sign_in(spa, app, given):
    app.answer = given
    return spa.post("/login/", json={"username": "tara", "password": "x"})


def is_free_of_tokens(gate, got):
    seen = got.content + str(got.headers.raw).encode()
    assert b"eyJ" not in seen and b"refresh-r" not in seen, seen[:300]
    gate.access_line(got)
    log = gate.output()
    assert "eyJ" not in log and "refresh-r" not in log


def good_answers():
    said = json.dumps(tokens(name="tara"))
    yield "created", answer(said, "201 Created")
    yield "in pieces", chunked(said)
    yield "by another name", answer(said, kind="text/html; charset=utf-8")
    yield "as text", answer(said, kind="text/plain")
    yield "identity twice", answer(said, extra="Content-Encoding: identity\r\n")
    half = "\\ud800"
    yield "a name that is half a character", answer(said[:-1] + f', "{half}": 1' + "}")
    first = said.replace('"access"', '"\\u0061ccess"')
    yield "names twice", answer(first[:-1] + "," + said[1:])


@pytest.mark.parametrize("given", [pytest.param(given, id=name) for name, given in good_answers()])
def test_tokens_are_cut_out_however_the_answer_is_written(gate, app, spa, given):
    got = sign_in(spa, app, given)
    assert got.status_code in (200, 201) and got.json()["name"] == "tara"
    assert spa.session and got.headers["cache-control"] == "no-store"
    is_free_of_tokens(gate, got)


@pytest.mark.parametrize("path", ["/%6Cogin/", "/login%2F", "/%6c%6f%67%69%6e/"])
def test_the_path_of_the_sign_in_is_known_in_every_spelling(gate, app, spa, path):
    app.answer = answer(json.dumps(tokens(name="tara")))
    got = spa.post(path, json={"username": "tara", "password": "x"})
    assert got.status_code == 400 or got.json() == {"name": "tara"}
    is_free_of_tokens(gate, got)


def unreadable_answers():
    said = json.dumps(tokens())
    yield "compressed", answer(gzip.compress(said.encode()), extra="Content-Encoding: gzip\r\n")
    twice = "Content-Encoding: identity\r\nContent-Encoding: gzip\r\n"
    yield "compressed by a second line", answer(gzip.compress(said.encode()), extra=twice)
    yield "too large", answer(json.dumps(tokens(more="x" * 300_000)))
    yield "too large by another name", answer(json.dumps(tokens(more="x" * 300_000)), kind="text/html")
    yield "a mark before it", answer(b"\xef\xbb\xbf" + said.encode())
    yield "bytes that are no text", answer(said[:-1].encode() + b',"a":"\xff"}')
    yield "a token that is too long", answer(json.dumps(tokens(access="eyJ" + "a" * 20_000)))
    yield "a refresh token alone", answer(json.dumps({"refresh": REFRESH}))
    access = simplejwt(user_id="7")
    yield "a token at two places", answer(json.dumps({"access": access, "token": access, "refresh": REFRESH}))
    yield "a token elsewhere", answer(json.dumps({"token": access}))
    yield "a token as text", answer(access, kind="text/plain")
    yield "a token in a form", answer(f"a=b&access={access}&c=d", kind="application/x-www-form-urlencoded")
    yield "JSON behind a guard", answer(")]}',\n" + said)
    yield "many JWTs", answer(json.dumps(["eyJh.eyJz.s"] * 16 + [access]))
    yield "a token that auth refuses", answer(json.dumps(tokens(access=simplejwt(secret="x" * 40))))


@pytest.mark.parametrize("given", [pytest.param(given, id=name) for name, given in unreadable_answers()])
def test_an_answer_that_may_hold_tokens_and_cannot_be_cut_is_refused(gate, app, spa, given):
    got = sign_in(spa, app, given)
    refused(got, 502, "upstream_invalid")
    assert spa.session is None and COOKIE not in str(got.headers.raw)
    is_free_of_tokens(gate, got)


@pytest.mark.parametrize(
    "given",
    [
        answer('{"second_factor": true}'),
        answer(json.dumps({"second_factor": simplejwt(secret="another key of the app, for this step")})),
        answer("<form>wrong password</form>", kind="text/html"),
        answer("", "204 No Content"),
        answer("", "302 Found", extra="Location: /\r\n"),
        answer('{"detail": "wrong"}', "401 Unauthorized"),
    ],
    ids=["second factor", "a JWT for it", "page", "nothing", "redirect", "wrong"],
)
def test_an_answer_that_signs_nobody_in_passes_as_it_is(gate, app, spa, given):
    got = sign_in(spa, app, given)
    assert got.content == given.split(b"\r\n\r\n", 1)[1] and spa.session is None


def test_a_refusal_that_repeats_the_refresh_token_leaves_no_trace_of_it(gate, app, spa):
    short = simplejwt(user_id="7", lifetime=1)
    sign_in(spa, app, answer(json.dumps({"access": short, "refresh": REFRESH})))
    app.answer = answer(json.dumps({"detail": f"the token {REFRESH} is no good"}), "401 Unauthorized")
    time.sleep(1.5)
    got = spa.get("/api/x")
    refused(got, 401, "session_expired")
    is_free_of_tokens(gate, got)
    assert any("401" in line.get("note", "") for line in gate.log_lines())
