"""CORS that is right the first time, whatever the app behind it says (django-cors-headers there allows everything)."""

import pytest

from harness.check import refused
from harness.tokens import bearer, simplejwt

PAGE = "https://page.example.com"
TOML = """
[upstream.app]
servers = ["{django}"]

[upstream.dead]
servers = ["http://127.0.0.1:1"]
retries = 0

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[cors.web]
origins = ["https://page.example.com", "https://*.tiktrue.com", "http://localhost:3000"]
credentials = true
max_age = "10m"
expose = ["x-request-id", "x-total"]

[cors.open]
origins = ["*"]
headers = "any"

[cors.from-environment]
origins = { env = "PAGE_ORIGINS" }

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = ["token"]
cors = "web"

[[route]]
path = "/api/supervisor/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["supervisor"]
cors = "web"

[[route]]
path = "/files/upload/"
methods = ["POST"]
upstream = "app"
auth = ["token"]
cors = "web"
strip_prefix = "/files"
add_prefix = "/api"
body_limit = "64KiB"

[[route]]
path = "/dead"
upstream = "dead"
auth = "public"
cors = "web"

[[route]]
path = "/open/{*rest}"
upstream = "app"
auth = "public"
cors = "open"
add_prefix = "/api/echo"

[[route]]
path = "/environment"
upstream = "app"
auth = "public"
cors = "from-environment"
add_prefix = "/api/echo"

[[route]]
path = "/no-cors"
upstream = "app"
auth = "public"
add_prefix = "/api/echo"
"""


@pytest.fixture(scope="module")
def gate(module_gateway, django_app):
    env = {"PAGE_ORIGINS": "https://one.example.com, https://two.example.com ,"}
    return module_gateway(TOML, env=env, django=django_app.url)


@pytest.fixture(scope="module")
def token(django_app):
    return django_app.role_tokens("tara")["access"]


def preflight(gate, path, origin=PAGE, method="GET", headers=None):
    sent = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        sent["Access-Control-Request-Headers"] = headers
    return gate.request("OPTIONS", path, headers=sent)


def words(value):
    return {word.strip().lower() for word in (value or "").split(",") if word.strip()}


def allowed(answer, origin=PAGE, credentials=True):
    """The headers are there, each exactly once, and the answer says that it varies."""
    for name in ("access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers"):
        assert len(answer.headers.get_list(name)) <= 1, answer.headers
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers.get("access-control-allow-credentials") == ("true" if credentials else None)
    assert "origin" in words(answer.headers["vary"])


def not_allowed(answer):
    assert not [name for name in answer.headers if name.startswith("access-control-")], answer.headers


def test_a_preflight_is_answered_here_without_credentials(gate):
    answer = preflight(gate, "/api/echo/", headers="authorization, content-type")
    assert answer.status_code == 204 and answer.content == b""
    allowed(answer)
    assert "GET" in answer.headers["access-control-allow-methods"]
    assert {"authorization", "content-type"} <= words(answer.headers["access-control-allow-headers"])
    assert answer.headers["access-control-max-age"] == "600"
    assert gate.access_line(answer).get("upstream") in (None, "", "-"), "it never reaches the app"


def test_a_preflight_is_judged_for_the_method_it_asks_about(gate):
    allowed(preflight(gate, "/files/upload/", method="POST"))
    assert "DELETE" not in preflight(gate, "/files/upload/", method="POST").headers["access-control-allow-methods"]


@pytest.mark.parametrize("origin", [PAGE, "https://a.tiktrue.com", "https://a.b.tiktrue.com", "http://localhost:3000"])
def test_allowed_origins(gate, token, origin):
    allowed(preflight(gate, "/api/echo/", origin=origin), origin)
    allowed(gate.get("/api/echo/", headers={**bearer(token), "Origin": origin}), origin)


REFUSED = [
    "https://evil.example", "http://page.example.com", "https://page.example.com:444", "https://page.example.com.evil.example",
    "https://evilpage.example.com", "https://tiktrue.com", "https://eviltiktrue.com", "https://a.tiktrue.com.evil.example",
    "null", "http://localhost:3001", "http://127.0.0.1:3000", "https://page.example.com/", "https://PAGE.example.com/x", "file://",
    "https://a_b.tiktrue.com`evil.example", "https://user@page.example.com", "https://page.example.com, https://evil.example",
]  # fmt: skip


@pytest.mark.parametrize("origin", REFUSED)
def test_refused_origins_get_no_header_at_all(gate, token, origin):
    answer = preflight(gate, "/api/echo/", origin=origin)
    refused(answer, 403, "origin_not_allowed")
    not_allowed(answer)
    plain = gate.get("/api/echo/", headers={**bearer(token), "Origin": origin})
    not_allowed(plain)
    assert "origin" in words(plain.headers["vary"])


def test_the_log_names_the_rule_that_is_missing(gate):
    answer = preflight(gate, "/api/echo/", origin="https://www.new.example")
    not_allowed(answer)
    gate.access_line(answer)
    line = next(text for text in gate.output().splitlines() if "https://www.new.example" in text)
    assert "cors.web" in line and "https://page.example.com" in line, line
    assert "origin_not_allowed" == gate.explained_code(
        "OPTIONS", "/api/echo/", {"Origin": "https://www.new.example", "Access-Control-Request-Method": "GET"}
    )


def test_the_apps_own_cors_headers_are_overruled(gate, token):
    direct = gate.get("/no-cors", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" in direct.headers, "django-cors-headers really allows everything"
    answer = gate.get("/api/echo/", headers={**bearer(token), "Origin": PAGE})
    allowed(answer)
    assert words(answer.headers["access-control-expose-headers"]) == {"x-request-id", "x-total"}
    not_allowed(gate.get("/api/echo/", headers={**bearer(token), "Origin": "https://evil.example"}))
    assert "origin" in words(gate.get("/api/echo/", headers=bearer(token)).headers["vary"])


def test_every_answer_of_the_gateway_can_be_read_across_origins(gate, token):
    origin = {"Origin": PAGE}
    answers = [
        (refused, gate.get("/api/echo/", headers=origin), 401, "credentials_missing"),
        (refused, gate.get("/api/echo/", headers={**origin, **bearer(simplejwt(lifetime=-9))}), 401, "token_expired"),
        (refused, gate.get("/api/supervisor/report/", headers={**origin, **bearer(token)}), 403, "role_missing"),
        (refused, gate.get("/files/upload/", headers={**origin, **bearer(token)}), 405, "method_not_allowed"),
        (refused, gate.post("/files/upload/", headers={**origin, **bearer(token)}, content=b"x" * 70000), 413, "body_too_large"),
        (refused, gate.get("/dead", headers=origin), 502, "upstream_unreachable"),
    ]  # fmt: skip
    for check, answer, status, code in answers:
        check(answer, status, code)
        allowed(answer)


def test_a_404_can_be_read_across_origins_whoever_made_it(gate, token):
    nowhere = gate.get("/nowhere", headers={"Origin": PAGE})
    refused(nowhere, 404, "no_route")
    allowed(nowhere)
    app = gate.get("/api/status/404/", headers={**bearer(token), "Origin": PAGE})
    assert app.status_code == 404 and app.headers["x-refused-by"] == "app"
    allowed(app)
    crash = gate.get("/api/status/500/", headers={**bearer(token), "Origin": PAGE})
    assert crash.status_code == 500 and crash.headers["x-refused-by"] == "app"
    allowed(crash)


def test_any_other_options_is_an_ordinary_request(gate, token):
    refused(gate.request("OPTIONS", "/api/echo/", headers={"Origin": PAGE}), 401, "credentials_missing")
    no_origin = {"Access-Control-Request-Method": "GET"}
    refused(gate.request("OPTIONS", "/api/echo/", headers=no_origin), 401, "credentials_missing")
    assert gate.request("OPTIONS", "/api/echo/", headers={**bearer(token), **no_origin}).status_code == 200
    answer = gate.request("OPTIONS", "/api/echo/", headers={**bearer(token), "Origin": PAGE})
    assert answer.status_code == 200 and answer.json()["method"] == "OPTIONS"
    got = gate.get("/api/echo/", headers={"Origin": PAGE, "Access-Control-Request-Method": "GET"})
    refused(got, 401, "credentials_missing")


def test_star_allows_anyone_and_never_with_credentials(gate):
    answer = gate.get("/open/x", headers={"Origin": "https://anyone.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    asked = preflight(gate, "/open/x", origin="https://anyone.example", headers="x-custom, x-other")
    assert words(asked.headers["access-control-allow-headers"]) == {"x-custom", "x-other"}


def test_headers_that_are_not_listed_are_not_allowed(gate):
    answer = preflight(gate, "/api/echo/", headers="x-secret-thing")
    assert "x-secret-thing" not in words(answer.headers.get("access-control-allow-headers"))
    private = gate.request(
        "OPTIONS", "/api/echo/",
        headers={"Origin": PAGE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Private-Network": "true"},
    )  # fmt: skip
    assert "access-control-allow-private-network" not in private.headers


def test_origins_from_the_environment(gate):
    for origin in ("https://one.example.com", "https://two.example.com"):
        allowed(gate.get("/environment", headers={"Origin": origin}), origin, credentials=False)
    not_allowed(gate.get("/environment", headers={"Origin": PAGE}))
