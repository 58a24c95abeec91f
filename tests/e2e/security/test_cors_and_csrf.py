"""Catalogue 66, 69, 70 and 74 to 82: cookies, requests from other sites, and what a page of another origin is told."""

import pytest

from harness.gateway import run_binary
from security.conftest import SERVER
from security.credentials import bearer, token
from security.h2wire import H2
from security.wire import StrictUpstream, refused, table

PAGE = "https://page.example.com"
ROUTES = """
[upstream.app]
servers = ["{app}"]
timeouts = { connect = "1s", response = "2s" }
retries = 0

[upstream.down]
servers = ["http://127.0.0.1:1"]
retries = 0

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[auth.cookie]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
sources = ["cookie:access"]

[cors.web]
origins = ["https://page.example.com", "https://*.tiktrue.com", "http://localhost:3000"]
credentials = true

[cors.any]
origins = ["*"]

[[route]]
path = "/open/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/web/{*rest}"
upstream = "app"
auth = "public"
cors = "web"

[[route]]
path = "/me/{*rest}"
upstream = "app"
auth = ["token"]
cors = "web"

[[route]]
path = "/admin/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["admin"]
cors = "web"

[[route]]
path = "/cookie/{*rest}"
upstream = "app"
auth = ["cookie", "token"]
cors = "web"

[[route]]
path = "/plain-cookie/{*rest}"
upstream = "app"
auth = ["cookie"]

[[route]]
path = "/no-csrf/{*rest}"
upstream = "app"
auth = ["cookie"]
csrf = false

[[route]]
path = "/any/{*rest}"
upstream = "app"
auth = "public"
cors = "any"

[[route]]
path = "/read/{*rest}"
methods = ["GET"]
upstream = "app"
auth = "public"
cors = "web"

[[route]]
path = "/down"
upstream = "down"
auth = "public"
cors = "web"
"""
STAR = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\nVary: Accept-Encoding\r\n\r\nok"
REFLECTED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: https://evil.example\r\naccess-control-allow-credentials: true\r\nAccess-Control-Expose-Headers: x-secret\r\nVary: Cookie\r\nVary: Origin\r\n\r\nok"
TWICE = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Origin: https://evil.example\r\nAccess-Control-Allow-Methods: DELETE\r\n\r\nno"


@pytest.fixture(scope="module")
def front(start):
    upstream = StrictUpstream(
        replies={
            "star": STAR,
            "reflected": REFLECTED,
            "twice": TWICE,
            "error": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        }
    )
    yield start(ROUTES, upstream=upstream)
    upstream.close()


def allowed(outcome):
    """What Access-Control-Allow-Origin says, all of it."""
    return [value for answer in outcome.answers for value in answer.all("access-control-allow-origin")]


def cors_of(outcome):
    return {
        name.lower()
        for answer in outcome.answers
        for name, _ in answer.fields
        if name.lower().startswith("access-control-")
    }


# ---- 66, 70: cookies ----


@table(
    66,
    {
        "two-values": lambda good: [f"Cookie: access={good}; access=x"],
        "bad-first": lambda good: [f"Cookie: access=x; access={good}"],
        "two-lines": lambda good: [f"Cookie: access={good}", "Cookie: access=x"],
        "two-lines-bad-first": lambda good: ["Cookie: access=x", f"Cookie: access={good}"],
        "empty-and-good": lambda good: [f"Cookie: access=; access={good}"],
        "two-users": lambda good: [f"Cookie: access={good}; access={token(user_id='8')}"],
    },
)
def test_two_cookies_of_one_name_are_refused(front, case):
    outcome = front.request(target="/cookie/x", headers=case(token()))
    if outcome.arrived:
        (request,) = outcome.arrived
        assert request.one("cookie").count("access=") == 1, "only the one that was checked may go on"
    else:
        refused(outcome, 400, 401, closed=False)


@table(66, {"two-lines-h2": [("cookie", "access=x"), ("cookie", None)], "one-line-h2": [("cookie", "twice")]})
def test_two_cookies_of_one_name_over_http2_are_refused(front, case):
    since = front.watch()
    good = token()
    fields = [
        (name, f"access={good}" if value is None else f"access=x; access={good}" if value == "twice" else value)
        for name, value in case
    ]
    with H2(front.gate) as client:
        answer = client.request("/cookie/x", fields)
    assert answer.status in (400, 401), answer
    assert since()[0] == []


@table(
    65,
    {
        "other-name": "Access={}",
        "suffix": "access2={}",
        "prefix": "xaccess={}",
        "inside-quoted": 'x="access={}"',
        "inside-value": "x=access={}",
        "bracket": "access[]={}",
        "host-prefix": "__Host-access={}",
        "quoted": 'access="{}"x',
        "truncated": "access={}"[:-1] + "x",
        "blank-name": "acc ess={}",
        "comma": "a=b, access={}x",
        "tab": "a=b;\tacces={}",
    },
)
def test_a_cookie_of_another_name_is_no_credential(front, case):
    refused(
        front.request(target="/plain-cookie/x", headers=["Cookie: " + case.replace("{}", token())]),
        400,
        401,
        closed=False,
    )


@table(
    70,
    {
        "100k": "a=" + "b" * 100_000,
        "3000": "; ".join(f"c{n}=v" for n in range(30_000)),
        "just-over": "a=" + "b" * 70_000,
    },
)
def test_cookies_without_end_are_refused(front, case):
    refused(front.request(headers=[f"Cookie: {case}"]), 400, 431)


# ---- 69: requests with a cookie from other sites ----

CROSS = {
    "foreign": ["Origin: https://evil.example"],
    "null": ["Origin: null"],
    "suffix": ["Origin: http://localhost.evil.example"],
    "scheme": ["Origin: https://localhost"],
    "port": ["Origin: http://localhost:1"],
    "prefix": ["Origin: http://evil-localhost"],
    "page-http": ["Origin: http://page.example.com"],
    "page-suffix": ["Origin: https://page.example.com.evil.example"],
    "fetch-site": ["Sec-Fetch-Site: cross-site"],
    "fetch-site-same-site": ["Sec-Fetch-Site: same-site"],
    "referer": ["Referer: https://evil.example/localhost"],
    "referer-userinfo": ["Referer: http://localhost@evil.example/"],
    "referer-query": ["Referer: https://evil.example/?http://localhost/"],
    "origin-empty": ["Origin: "],
    "two-origins": ["Origin: http://localhost", "Origin: https://evil.example"],
    "list": ["Origin: http://localhost https://evil.example"],
    "both": ["Origin: https://evil.example", "Referer: http://localhost/", "Sec-Fetch-Site: same-origin"],
    "fetch-over-origin": ["Origin: https://evil.example", "Sec-Fetch-Site: none"],
    "origin-path": ["Origin: http://localhost/x"],
    "two-fetch-sites": ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"],
}


@table(69, CROSS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_an_unsafe_request_with_a_cookie_from_another_site_is_refused(front, case, method):
    headers = [*case, f"Cookie: access={token()}", "Content-Length: 0"]
    outcome = front.request(method, "/cookie/x", headers)
    refused(outcome, 400, 403, closed=False)
    if outcome.status == 403:
        assert outcome.final[0].code in ("csrf_failed", "origin_not_allowed")


@table(
    69,
    {
        "same": ["Origin: http://localhost"],
        "page": [f"Origin: {PAGE}"],
        "wildcard": ["Origin: https://app.tiktrue.com"],
        "fetch-same": ["Sec-Fetch-Site: same-origin", "Origin: http://localhost"],
        "referer": ["Referer: http://localhost/page?x"],
        "page-fetch": [f"Origin: {PAGE}", "Sec-Fetch-Site: cross-site"],
    },
)
def test_an_unsafe_request_with_a_cookie_from_its_own_or_an_allowed_origin_passes(front, case):
    outcome = front.request("POST", "/cookie/x", [*case, f"Cookie: access={token()}", "Content-Length: 0"])
    assert outcome.status == 200 and len(outcome.arrived) == 1, outcome


@table(69, {"get": "GET", "head": "HEAD"})
def test_reading_from_another_site_is_no_forgery(front, case):
    outcome = front.request(
        case, "/cookie/x", ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site", f"Cookie: access={token()}"]
    )
    assert outcome.status == 200 and allowed(outcome) == [], outcome


@table(69, ["POST", "DELETE"])
def test_a_bearer_token_is_exempt_from_csrf_but_a_cookie_beside_it_is_not_used(front, case):
    outcome = front.request(case, "/me/x", ["Origin: https://evil.example", bearer(token()), "Content-Length: 0"])
    assert outcome.status == 200 and allowed(outcome) == [], outcome
    outcome = front.request(
        case,
        "/cookie/x",
        ["Origin: https://evil.example", f"Cookie: access={token()}", bearer("x.y.z"), "Content-Length: 0"],
    )
    refused(outcome, 400, 401, 403, closed=False)


def test_69_csrf_is_off_only_where_the_file_says_so(front):
    headers = ["Origin: https://evil.example", f"Cookie: access={token()}", "Content-Length: 0"]
    refused(front.request("POST", "/plain-cookie/x", headers), 403, closed=False)
    assert front.request("POST", "/no-csrf/x", headers).status == 200


@table(69, ["X-HTTP-Method-Override: GET", "X_Method_Override: GET"])
def test_another_method_in_a_header_does_not_make_a_post_safe(front, case):
    headers = ["Origin: https://evil.example", f"Cookie: access={token()}", "Content-Length: 0", case]
    refused(front.request("POST", "/cookie/x", headers), 403, closed=False)


# ---- 74: origins ----

TRICKS = [
    "https://page.example.com.evil.example",
    "https://evilpage.example.com",
    "https://page.example.comevil.example",
    "https://page.example.com:443.evil.example",
    "https://page-example.com",
    "https://pageXexample.com",
    "http://page.example.com",
    "https://page.example.com:8443",
    "https://page.example.com:444",
    "https://page.example.com/",
    "https://page.example.com/x",
    "https://page.example.com?x",
    "https://page.example.com#x",
    "https://page.example.com.",
    "https://user@page.example.com",
    "https://page.example.com@evil.example",
    "https://evil.example/https://page.example.com",
    "https://evil.example#https://page.example.com",
    "https://evil.example?https://page.example.com",
    "null",
    "NULL",
    "*",
    "",
    " ",
    "https://page.example.com,https://evil.example",
    "https://page.example.com https://evil.example",
    "https://evil.example, https://page.example.com",
    "https://page.example.com`evil.example",
    "https://page.example.com_.evil.example",
    "https://page.example.com%00.evil.example",
    "https://page.example.com%60.evil.example",
    "https://page.example.com!.evil.example",
    "https://page.example.com{.evil.example",
    "file://page.example.com",
    "file://",
    "chrome-extension://page.example.com",
    "//page.example.com",
    "page.example.com",
    "https:/page.example.com",
    "https:page.example.com",
    "https://xn--page-example-com",
    "https://\u0440age.example.com",
    "https://tiktrue.com",
    "https://.tiktrue.com",
    "https://eviltiktrue.com",
    "https://a.tiktrue.com.evil.example",
    "https://evil.example/.tiktrue.com",
    "https://evil.example?.tiktrue.com",
    "https://a_b.tiktrue.com:1",
    "https://evil.example\\.tiktrue.com",
    "http://localhost:3001",
    "http://localhost",
    "http://localhost:30000",
    "https://localhost:3000",
    "http://127.0.0.1:3000",
    "https://page.example.com\\",
    "wss://page.example.com",
    "http://localhost:3000.evil.example",
]


def test_74_there_are_45_tricks_and_more():
    assert len(set(TRICKS)) >= 45


@table(74, TRICKS)
def test_a_trick_origin_is_allowed_nothing(front, case):
    origin = b"Origin: " + case.encode()
    for method, extra in (("GET", []), ("OPTIONS", ["Access-Control-Request-Method: GET"])):
        outcome = front.request(method, "/web/x", [origin, *extra])
        assert allowed(outcome) == [] and "access-control-allow-credentials" not in cors_of(outcome), outcome


@table(
    74,
    {
        "nul": b"https://page.example.com\x00.evil.example",
        "cr": b"https://page.example.com\r",
        "tab": b"https://page.example.com\t.evil.example",
        "high": b"https://page.example.com\xff",
        "nul-only": b"\x00",
    },
)
def test_an_origin_with_odd_bytes_is_allowed_nothing(front, case):
    outcome = front.request("GET", "/web/x", [b"Origin: " + case])
    assert allowed(outcome) == [], outcome


@table(
    74,
    {
        "two": [f"Origin: {PAGE}", "Origin: https://evil.example"],
        "two-2": ["Origin: https://evil.example", f"Origin: {PAGE}"],
    },
)
def test_two_origins_are_allowed_nothing(front, case):
    outcome = front.request("GET", "/web/x", case)
    assert allowed(outcome) == [], outcome
    outcome = front.request("OPTIONS", "/web/x", [*case, "Access-Control-Request-Method: GET"])
    assert allowed(outcome) == [] and outcome.arrived == [], outcome


@table(74, [PAGE, "https://a.tiktrue.com", "https://a.b.tiktrue.com", "http://localhost:3000"])
def test_a_good_origin_is_allowed_by_name(front, case):
    outcome = front.request("GET", "/web/x", [f"Origin: {case}"])
    assert allowed(outcome) == [case] and outcome.final[0].get("access-control-allow-credentials") == "true"


# ---- 75 ----


@table(
    75,
    {
        "star-credentials": '[cors.bad]\norigins = ["*"]\ncredentials = true\n',
        "star-among": '[cors.bad]\norigins = ["https://a.example", "*"]\ncredentials = true\n',
        "null": '[cors.bad]\norigins = ["null"]\n',
        "path": '[cors.bad]\norigins = ["https://a.example/x"]\n',
        "half-label": '[cors.bad]\norigins = ["https://*a.example"]\n',
        "star-tld": '[cors.bad]\norigins = ["https://*"]\n',
        "scheme-star": '[cors.bad]\norigins = ["*://a.example"]\n',
        "no-scheme": '[cors.bad]\norigins = ["a.example"]\n',
        "empty": '[cors.bad]\norigins = [""]\n',
    },
)
def test_a_rule_that_is_open_to_all_with_credentials_is_refused(front, tmp_path, case):
    file = tmp_path / "gateway.toml"
    file.write_text(front.gate.render(SERVER.replace("EXTRA", "") + ROUTES + case))
    result = run_binary("check", "--config", file)
    assert result.code == 1 and "cors.bad" in result.text, result


def test_75_a_star_without_credentials_never_speaks_of_them(front):
    outcome = front.request("GET", "/any/x", ["Origin: https://evil.example"])
    assert "access-control-allow-credentials" not in cors_of(outcome) and len(allowed(outcome)) == 1


# ---- 76, 77 ----


@table(76, ["star", "reflected", "twice"])
@pytest.mark.parametrize("origin", [PAGE, "https://evil.example", None], ids=["allowed", "evil", "none"])
def test_the_apps_own_cors_headers_are_overruled(front, case, origin):
    outcome = front.request("GET", f"/web/{case}", [f"Origin: {origin}"] if origin else [])
    assert allowed(outcome) == ([PAGE] if origin == PAGE else []), outcome
    assert b"x-secret" not in outcome.raw.lower() and "access-control-allow-methods" not in cors_of(outcome)
    if origin != PAGE:
        assert cors_of(outcome) == set(), outcome


@table(77, {"none": [], "good": [f"Origin: {PAGE}"], "evil": ["Origin: https://evil.example"]})
@pytest.mark.parametrize(
    "target", ["/web/x", "/web/star", "/web/reflected", "/me/x", "/admin/x", "/down", "/web/error", "/web/%00"]
)
def test_vary_origin_is_on_every_answer(front, target, case):
    outcome = front.request("GET", target, case)
    vary = [word.strip().lower() for value in outcome.final[0].all("vary") for word in value.split(",")]
    if target != "/web/%00":
        assert vary.count("origin") == 1, outcome
    if target == "/web/star":
        assert "accept-encoding" in vary
    if target == "/web/reflected":
        assert "cookie" in vary


# ---- 78 to 81 ----


@table(
    78,
    {
        "plain": ("/me/x", [], b""),
        "with-token": ("/me/x", [bearer("x.y.z")], b""),
        "admin": ("/admin/x", [], b""),
        "body": ("/me/x", ["Content-Length: 41"], b"GET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n  "),
        "chunked": ("/me/x", ["Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        "cookie": ("/cookie/x", ["Cookie: access=x"], b""),
    },
)
def test_a_preflight_is_answered_here(front, case):
    target, lines, body = case
    headers = [
        f"Origin: {PAGE}",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization, content-type",
        *lines,
    ]
    outcome = front.request("OPTIONS", target, headers, body, after=True)
    assert outcome.final[0].status == 204 and allowed(outcome) == [PAGE], outcome
    assert all(request.target == "/open/after" for request in outcome.arrived), outcome
    assert len(outcome.final) <= 2


def test_78_a_preflight_of_a_foreign_origin_is_refused_here(front):
    outcome = front.request(
        "OPTIONS", "/web/x", ["Origin: https://evil.example", "Access-Control-Request-Method: POST"]
    )
    refused(outcome, 403, closed=False)
    assert outcome.final[0].code == "origin_not_allowed" and cors_of(outcome) == set()


@table(
    79,
    {
        "bare": [],
        "origin": [f"Origin: {PAGE}"],
        "foreign": ["Origin: https://evil.example"],
        "no-origin": ["Access-Control-Request-Method: GET"],
        "headers-only": [f"Origin: {PAGE}", "Access-Control-Request-Headers: x"],
        "empty-method": [f"Origin: {PAGE}", "Access-Control-Request-Method: "],
        "alias": [f"Origin: {PAGE}", "Access_Control_Request_Method: GET"],
        "empty-origin": ["Origin: ", "Access-Control-Request-Method: GET"],
    },
)
def test_options_that_is_no_preflight_is_an_ordinary_request(front, case):
    outcome = front.request("OPTIONS", "/me/x", case)
    assert outcome.arrived == [] and outcome.status in (400, 401, 403), outcome


@table(79, ["/open/x", "/plain-cookie/x"])
def test_a_preflight_on_a_route_without_cors_is_an_ordinary_request(front, case):
    outcome = front.request("OPTIONS", case, [f"Origin: {PAGE}", "Access-Control-Request-Method: GET"])
    if case == "/open/x":
        assert [r.method for r in outcome.arrived] == ["OPTIONS"], outcome
    else:
        refused(outcome, 401, 403, closed=False)
    assert cors_of(outcome) == set()


@table(80, ["GET", "POST", "HEAD", "DELETE"])
def test_another_method_with_a_preflights_headers_is_an_ordinary_request(front, case):
    headers = [
        f"Origin: {PAGE}",
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Headers: x",
        *(["Content-Length: 0"] if case == "POST" else []),
    ]
    refused(front.request(case, "/me/x", headers), 401, closed=False)


@table(
    81,
    [
        "x-auth-user",
        "x-auth-roles, authorization",
        "x-evil",
        "authorization, x-forwarded-for",
        "*",
        "x-auth-user\tx",
        "cookie",
        "authorization,,x-evil",
    ],
)
def test_headers_that_the_rule_does_not_name_are_not_allowed(front, case):
    outcome = front.request(
        "OPTIONS",
        "/web/x",
        [f"Origin: {PAGE}", "Access-Control-Request-Method: POST", f"Access-Control-Request-Headers: {case}"],
    )
    given = ",".join(outcome.final[0].all("access-control-allow-headers")).lower()
    for word in ("x-auth", "x-evil", "x-forwarded", "*", "cookie"):
        assert word not in given, outcome
    assert outcome.arrived == []


@table(81, {"get": "GET", "put": "PUT"})
def test_a_private_network_is_not_granted(front, case):
    outcome = front.request(
        "OPTIONS",
        "/web/x",
        [f"Origin: {PAGE}", f"Access-Control-Request-Method: {case}", "Access-Control-Request-Private-Network: true"],
    )
    assert "access-control-allow-private-network" not in cors_of(outcome)


def test_81_a_method_that_the_route_does_not_take_is_not_allowed(front):
    outcome = front.request("OPTIONS", "/read/x", [f"Origin: {PAGE}", "Access-Control-Request-Method: DELETE"])
    assert outcome.arrived == [] and "DELETE" not in ",".join(outcome.final[0].all("access-control-allow-methods")), (
        outcome
    )


# ---- 82 ----


@table(
    82,
    {
        "401": ("GET", "/me/x", []),
        "403": ("GET", "/admin/x", None),
        "405": ("DELETE", "/read/x", []),
        "413": ("POST", "/web/x", ["Content-Length: 9000000"]),
        "502": ("GET", "/down", []),
        "500": ("GET", "/web/error", []),
        "csrf": ("POST", "/cookie/x", ["Content-Length: 0"]),
    },
)
def test_a_page_can_read_why_it_was_refused(front, case):
    method, target, lines = case
    lines = [bearer(token(roles=["host"]))] if lines is None else lines
    outcome = front.request(method, target, [f"Origin: {PAGE}", *lines])
    assert outcome.status >= 400 and allowed(outcome) == [PAGE], outcome
    assert "x-request-id" in ",".join(outcome.final[0].all("access-control-expose-headers")).lower()
    evil = front.request(method, target, ["Origin: https://evil.example", *lines])
    assert cors_of(evil) == set(), evil
