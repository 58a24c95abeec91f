"""Refusals that can be understood: whose they are, in the form the caller reads, traceable."""

import uuid

import pytest

from harness.check import passed, refused
from harness.raw import over_plain, over_tls
from harness.tokens import bearer, simplejwt
from harness.upstreams import RawUpstream

TOML = """
[upstream.app]
servers = ["{django}"]

[upstream.odd]
servers = ["{odd}"]
timeouts = { connect = "1s", response = "1s" }
retries = 0

[upstream.dead]
servers = ["http://127.0.0.1:1"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = ["token"]

[[route]]
path = "/api/status/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/files/upload/"
methods = ["POST", "PUT"]
upstream = "app"
auth = "public"
strip_prefix = "/files"
add_prefix = "/api"
body_limit = "100KiB"

[[route]]
path = "/dashboard/{*rest}"
upstream = "app"
auth = ["token"]
unauthenticated = { redirect = "/accounts/login/?next={uri}" }

[[route]]
path = "/odd/{*rest}"
upstream = "odd"
auth = "public"

[[route]]
path = "/dead"
upstream = "dead"
auth = "public"
"""

BROKEN = {
    "/odd/close": None,
    "/odd/garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "/odd/half": b"HTTP/1.1 200 OK\r\nContent-Le",
}


def odd(request, connection):
    path = request.target.split("?")[0]
    if path == "/odd/hang":
        connection.recv(1)
        return None
    if path == "/odd/half":
        connection.sendall(BROKEN[path])
        return None
    return BROKEN.get(path)


@pytest.fixture(scope="module")
def gate(module_gateway, django_app):
    with RawUpstream(odd, takes_connection=True) as upstream:
        yield module_gateway(TOML, django=django_app.url, odd=upstream.url)


def test_whose_refusal_it_was_is_said(gate):
    for status in (401, 403, 404, 500):
        answer = gate.get(f"/api/status/{status}/")
        assert (answer.status_code, answer.headers["x-refused-by"]) == (status, "app")
    assert gate.get("/api/status/401/").json() == {"detail": "the app says 401"}, "the app's body is untouched"
    refused(gate.get("/api/echo/"), 401, "credentials_missing")
    passed(gate.get("/api/echo/", headers=bearer(simplejwt())))


def test_a_page_load_gets_a_small_html_page(gate):
    for headers in (
        {"Sec-Fetch-Mode": "navigate", "Accept": "*/*"},
        {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
    ):
        answer = gate.get("/api/echo/", headers=headers)
        assert answer.status_code == 401 and answer.headers["x-refused-by"] == "gateway"
        assert answer.headers["content-type"].startswith("text/html")
        assert "credentials_missing" in answer.text and answer.headers["x-request-id"] in answer.text
        assert answer.headers.get("x-content-type-options") == "nosniff"
    refused(gate.get("/api/echo/", headers={"Accept": "application/json, text/html;q=0.5"}), 401, "credentials_missing")


def test_an_html_page_escapes_what_the_client_sent(gate):
    answer = gate.get("/nowhere/%3Cscript%3Ealert(1)%3C/script%3E", headers={"Accept": "text/html"})
    assert answer.status_code in (400, 404) and "<script>" not in answer.text


def test_unauthenticated_page_loads_are_sent_to_the_login(gate):
    answer = gate.get(
        "/dashboard/reports?month=5&x=a%26b", headers={"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
    )
    assert answer.status_code in (302, 303, 307)
    assert answer.headers["location"] == "/accounts/login/?next=%2Fdashboard%2Freports%3Fmonth%3D5%26x%3Da%2526b"
    assert "no-store" in answer.headers["cache-control"]
    refused(gate.get("/dashboard/reports", headers={"Accept": "application/json"}), 401, "credentials_missing")


def test_no_route_and_wrong_method(gate):
    refused(gate.get("/nowhere"), 404, "no_route")
    answer = gate.request("DELETE", "/files/upload/")
    refused(answer, 405, "method_not_allowed")
    assert {word.strip() for word in answer.headers["allow"].split(",")} >= {"POST", "PUT"}
    assert gate.explained_code("DELETE", "/files/upload/") == "method_not_allowed"
    assert gate.explained_code("GET", "/nowhere") == "no_route"


def test_a_wrong_method_never_falls_through_to_a_wider_route(gateway, django_app):
    wide = '[[route]]\npath = "/{*rest}"\nupstream = "app"\nauth = "public"\n'
    narrow = '[[route]]\npath = "/api/echo/{id}/"\nmethods = ["POST"]\nupstream = "app"\nauth = "public"\n'
    gate = gateway(f'[upstream.app]\nservers = ["{django_app.url}"]\n' + wide + narrow)
    passed(gate.get("/api/echo/"))
    passed(gate.post("/api/echo/7/"))
    answer = gate.get("/api/echo/7/")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_a_body_over_the_limit_is_413_whether_announced_or_not(gate):
    refused(gate.post("/files/upload/", content=b"x" * 200_000), 413, "body_too_large")
    chunks = (b"x" * 10_000 for _ in range(20))
    refused(gate.post("/files/upload/", content=chunks), 413, "body_too_large")
    passed(gate.post("/files/upload/", content=b"x" * 100_000))


def test_limits_of_the_head(gate):
    refused(gate.get("/nowhere?" + "q" * 9000), 414, "target_too_long")
    refused(gate.get("/nowhere", headers={"X-Big": "x" * 70_000}), 431, "headers_too_large")
    refused(gate.get("/nowhere", headers=[(f"X-{number}", "1") for number in range(150)]), 431, "headers_too_large")


@pytest.mark.parametrize(
    "path",
    [
        "/api/../admin",
        "/api/%2e%2e/x",
        "/api/a%2fb",
        "/api/a%5cb",
        "/api/a\\b",
        "/api/%00",
        "/api/%252e%252e/",
        "/api//x",
        "/api/./x",
        "/api/%ff",
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_refused(gate, path):
    with over_tls(gate) as raw:
        raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = raw.answer()
        assert answer.status == 400 and b'"ambiguous_path"' in answer.body, (answer.status, answer.body)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_framing_that_two_parsers_could_read_in_two_ways_is_refused_and_closed(gate, head):
    with over_plain(gate) as raw:
        raw.send(head)
        answer = raw.answer()
        assert answer.status == 400
        assert raw.ended(), "the connection is closed"


def test_what_goes_wrong_behind_the_gateway_has_its_own_code(gate):
    refused(gate.get("/dead"), 502, "upstream_unreachable")
    refused(gate.get("/odd/close"), 502, "upstream_unreachable")
    refused(gate.get("/odd/garbage"), 502, "upstream_invalid")
    assert gate.get("/odd/half").status_code == 502
    refused(gate.get("/odd/hang"), 504, "upstream_timeout")
    passed(gate.get("/api/status/200/"))


def test_the_request_id_is_made_here_and_said_to_client_app_and_log(gate):
    answer = gate.get("/api/echo/", headers={**bearer(simplejwt()), "X-Request-Id": "chosen-by-the-client"})
    made = answer.headers["x-request-id"]
    assert uuid.UUID(made).version == 7
    assert answer.json()["headers"]["X_REQUEST_ID"] == made
    assert gate.access_line(answer)["status"] == 200


def test_a_head_that_does_not_end_is_cut_off(gate):
    with over_plain(gate) as raw:
        raw.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        data = raw.read_until(b"\0")
        assert data == b"" or b" 408 " in data.split(b"\r\n")[0]
