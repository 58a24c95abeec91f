"""Flask-JWT-Extended in front of the real Flask app: header, cookie, double submit; and two apps at one gateway."""

import pytest

from harness.check import passed, refused, seen_by_app
from harness.tokens import bearer, simplejwt

TOML = """
[upstream.flask]
servers = ["{flask}"]

[upstream.django]
servers = ["{django}"]

[auth.flask-token]
type = "jwt"
preset = "flask-jwt-extended"
secret = { env = "FLASK_SECRET_KEY" }
identity = { user = "sub", roles = ["roles"] }

[auth.django-token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[[route]]
path = "/login/{*rest}"
upstream = "flask"
auth = "public"

[[route]]
path = "/me"
upstream = "flask"
auth = ["flask-token"]

[[route]]
path = "/echo/{*rest}"
upstream = "flask"
auth = ["flask-token"]

[[route]]
path = "/both/{*rest}"
upstream = "django"
auth = ["django-token", "flask-token"]
strip_prefix = "/both"
add_prefix = "/api/echo"

[[route]]
path = "/staff/{*rest}"
upstream = "flask"
auth = ["flask-token"]
roles = ["staff"]
strip_prefix = "/staff"
add_prefix = "/echo"
"""


@pytest.fixture(scope="module")
def gate(module_gateway, flask_app, django_app):
    return module_gateway(TOML, flask=flask_app.url, django=django_app.url)


@pytest.fixture
def signed_in(gate):
    """A client with the cookies of `sina`, as Flask set them through the gateway."""
    with gate.client() as client:
        answer = client.post("/login/cookie", json={"username": "sina", "password": "sina-password"})
        cookies = dict(part.split(";")[0].split("=", 1) for part in answer.headers.get_list("set-cookie"))
        assert {"access_token_cookie", "csrf_access_token", "refresh_token_cookie"} <= set(cookies)
        client.cookies.clear()
        client.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        yield client, cookies


def test_a_token_in_the_header_passes_and_needs_no_double_submit(gate, flask_app):
    token = flask_app.tokens("tara")["access_token"]
    assert passed(gate.get("/me", headers=bearer(token))).json() == {"user": "tara", "roles": ["technician"]}
    passed(gate.post("/me", headers=bearer(token)))
    seen = seen_by_app(gate.get("/echo", headers=bearer(token)))
    assert seen["headers"]["X_AUTH_USER"] == "tara" and seen["headers"]["X_AUTH_METHOD"] == "flask-token"


def test_its_refresh_token_is_refused_as_access(gate, flask_app):
    token = flask_app.tokens("tara")["refresh_token"]
    refused(gate.get("/me", headers=bearer(token)), 401, "token_claim")
    assert gate.explained_code("GET", "/me", bearer(token)) == "token_claim"


def test_the_cookie_signs_in_for_safe_methods(signed_in):
    client, _ = signed_in
    assert passed(client.get("/me")).json()["user"] == "sina"


def test_an_unsafe_method_with_the_cookie_needs_the_double_submit(gate, signed_in):
    client, cookies = signed_in
    same = {"Origin": gate.https_url}
    refused(client.post("/me", headers=same), 403, "csrf_failed")
    refused(client.post("/me", headers={**same, "X-CSRF-TOKEN": "wrong"}), 403, "csrf_failed")
    passed(client.post("/me", headers={**same, "X-CSRF-TOKEN": cookies["csrf_access_token"]}))
    explained = gate.explained_code("POST", "/me", {**same, "Cookie": client.headers["cookie"]})
    assert explained == "csrf_failed"


def test_the_double_submit_does_not_excuse_another_origin(signed_in):
    client, cookies = signed_in
    headers = {"X-CSRF-TOKEN": cookies["csrf_access_token"], "Origin": "https://evil.example"}
    refused(client.post("/me", headers=headers), 403, "csrf_failed")


def test_one_cookie_name_with_two_values_is_malformed(gate, signed_in):
    _, cookies = signed_in
    both = f"access_token_cookie={cookies['access_token_cookie']}; access_token_cookie=other"
    refused(gate.get("/me", headers={"Cookie": both}), 401, "token_malformed")


def test_of_several_authenticators_any_will_do(gate, flask_app, django_app):
    by_flask = seen_by_app(gate.get("/both/x", headers=bearer(flask_app.tokens("tara")["access_token"])))
    assert (by_flask["headers"]["X_AUTH_USER"], by_flask["headers"]["X_AUTH_METHOD"]) == ("tara", "flask-token")
    by_django = seen_by_app(gate.get("/both/x", headers=bearer(django_app.tokens("tara")["access"])))
    assert (by_django["headers"]["X_AUTH_USER"], by_django["headers"]["X_AUTH_METHOD"]) == ("2", "django-token")
    assert by_django["path"] == "/api/echo/x"


def test_where_none_is_valid_the_first_credential_is_named(gate):
    refused(gate.get("/both/x", headers=bearer(simplejwt(lifetime=-60))), 401, "token_expired")
    refused(gate.get("/both/x"), 401, "credentials_missing")


def test_one_apps_token_does_not_open_the_other(gate, django_app):
    answer = gate.get("/me", headers=bearer(django_app.tokens("sina")["access"]))
    refused(answer, 401, "token_signature")


def test_flask_roles_hold(gate, flask_app):
    refused(gate.get("/staff/x", headers=bearer(flask_app.tokens("tara")["access_token"])), 403, "role_missing")
    seen = seen_by_app(gate.get("/staff/x", headers=bearer(flask_app.tokens("sina")["access_token"])))
    assert seen["path"] == "/echo/x" and seen["headers"]["X_AUTH_ROLES"] == "staff,supervisor"
