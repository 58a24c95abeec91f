"""Tokens that stay out of JavaScript: the real Django with SimpleJWT, rotating refresh tokens and its blacklist, and
the real Flask with Flask-JWT-Extended, as they come.
"""

import concurrent.futures
import contextlib
import subprocess
import sys
import time

import pytest

from harness.apps import ACCESS_LOG, APPS, DjangoApp, FlaskApp
from harness.check import passed, refused, seen_by_app
from harness.ports import wait_for
from harness.single_page import COOKIE, SinglePage
from harness.tokens import bearer

# A token lives for so long.
LIFE_S = 5

SESSION = """
[session]
store = "{store}"
path = "{folder}/data/sessions.db"
"""

TOML = (
    SESSION
    + """
[upstream.django]
servers = ["{django}"]

[upstream.flask]
servers = ["{flask}"]

[auth.django-token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }
revocable = true

[auth.flask-token]
type = "jwt"
preset = "flask-jwt-extended"
secret = { env = "FLASK_SECRET_KEY" }
identity = { user = "sub", roles = ["roles"] }

[auth.session]
type = "gateway-session"
token_handler = "django"

[auth.flask-session]
type = "gateway-session"
token_handler = "flask"

[token_handler.django]
upstream = "django"
login = "/api/login/"
refresh = "/api/token/refresh/"
logout = "/api/token/blacklist/"
auth = "django-token"

[token_handler.flask]
upstream = "flask"
login = "/login"
refresh = "/refresh"
logout = "/token"
access = "/access_token"
refresh_token = "/refresh_token"
auth = "flask-token"

[[route]]
path = "/api/login/"
upstream = "django"
auth = "public"

[[route]]
path = "/api/token/{*rest}"
upstream = "django"
auth = "public"

[[route]]
path = "/api/{*rest}"
upstream = "django"
auth = ["session"]

[[route]]
path = "/api/echo/public/"
upstream = "django"
auth = "public"

[[route]]
path = "/api/echo/either/"
upstream = "django"
auth = ["django-token", "session"]

[[route]]
path = "/token-only/"
upstream = "django"
auth = ["django-token"]
strip_prefix = "/token-only"
add_prefix = "/api/echo"

[[route]]
path = "/flask/{*rest}"
upstream = "flask"
auth = ["flask-session"]
strip_prefix = "/flask"

[[route]]
path = "/flask-open/{*rest}"
upstream = "flask"
auth = "public"
strip_prefix = "/flask-open"
"""
)


@pytest.fixture(scope="module")
def django(tmp_path_factory):
    app = DjangoApp(
        tmp_path_factory.mktemp("django"), ACCESS_LOG, ROTATE_REFRESH_TOKENS="1", ACCESS_SECONDS=str(LIFE_S)
    )
    yield app
    app.stop()


@pytest.fixture(scope="module")
def flask(tmp_path_factory):
    app = FlaskApp(tmp_path_factory.mktemp("flask"), args=ACCESS_LOG, ACCESS_SECONDS=str(LIFE_S))
    yield app
    app.stop()


@pytest.fixture(scope="module")
def gate(module_gateway, django, flask):
    return module_gateway(TOML, store="memory", django=django.url, flask=flask.url)


@pytest.fixture
def page():
    """`page(gate)`: a front end, closed after the test."""
    made = []

    def open_one(gate, **options):
        made.append(SinglePage(gate, **options))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


def tokens_seen(app, gate, session, path="/api/echo/x/"):
    """The access token that the app gets for a session."""
    seen = seen_by_app(gate.get(path, headers={"Cookie": f"{COOKIE}={session}"}))
    return seen["headers"]["AUTHORIZATION"].removeprefix("Bearer ")


def test_the_browser_gets_a_cookie_and_no_token(gate, page):
    spa = page(gate)
    answer = spa.sign_in("tara")
    assert answer.json() == {} and answer.headers["cache-control"] == "no-store"
    lines = [line for line in answer.headers.get_list("set-cookie") if line.startswith(COOKIE)]
    assert len(lines) == 1
    attributes = {part.strip().lower() for part in lines[0].split(";")[1:]}
    assert {"path=/", "secure", "httponly", "samesite=lax"} <= attributes
    assert not any(part.startswith("domain") for part in attributes)
    line = gate.access_line(answer)
    assert spa.session not in str(line)


def test_the_app_gets_the_token_and_never_the_cookie(gate, page):
    spa = page(gate)
    spa.sign_in("tara")
    assert passed(spa.get("/api/me/")).json()["username"] == "tara"
    seen = seen_by_app(spa.get("/api/echo/x/", headers={"Cookie": f"a=1; {COOKIE}={spa.session}; b=2"}))
    assert seen["headers"]["COOKIE"] == "a=1; b=2"
    assert seen["headers"]["X_AUTH_USER"] == "2" and seen["headers"]["X_AUTH_METHOD"] == "session"
    assert seen["headers"]["X_AUTH_ROLES"] == "technician"
    assert seen["headers"]["AUTHORIZATION"].startswith("Bearer ey")
    # Not on routes that do not ask for it either, and not beside a cookie of odd bytes.
    for line in (f"{COOKIE}={spa.session}", f"x=é; {COOKIE}={spa.session}"):
        seen = seen_by_app(gate.get("/api/echo/public/", headers={"Cookie": line.encode("latin-1")}))
        assert COOKIE not in seen["headers"].get("COOKIE", "") and "AUTHORIZATION" not in seen["headers"]


def test_what_the_page_still_keeps_of_its_old_token_does_no_harm(gate, page):
    spa = page(gate)
    spa.sign_in("tara")
    for path in ("/api/echo/x/", "/api/echo/either/"):
        for word in ("Bearer undefined", "Bearer null", "Bearer ey.J.x"):
            seen = seen_by_app(spa.get(path, headers={"Authorization": word}))
            told = seen["headers"]["AUTHORIZATION"]
            assert told.startswith("Bearer ey") and len(told) > 90


def test_a_bad_password_begins_no_session(gate, page):
    spa = page(gate)
    answer = spa.post("/api/login/", json={"username": "tara", "password": "wrong"})
    assert answer.status_code == 401 and answer.headers["x-refused-by"] == "app"
    assert "set-cookie" not in answer.headers and spa.session is None


def test_sessions_that_are_none_are_refused_by_name(gate):
    def with_cookie(value):
        return gate.get("/api/me/", headers={"Cookie": f"{COOKIE}={value}"})

    refused(gate.get("/api/me/"), 401, "credentials_missing")
    refused(with_cookie("short"), 401, "session_malformed")
    refused(with_cookie("A" * 43), 401, "session_unknown")
    refused(gate.get("/api/me/", headers={"Cookie": f"{COOKIE}=a; {COOKIE}=b"}), 401, "session_malformed")


def test_another_apps_session_is_not_taken(gate, page):
    spa = page(gate)
    spa.sign_in("tara", "/flask-open/login")
    assert passed(spa.get("/flask/me")).json()["user"] == "tara"
    refused(spa.get("/api/me/"), 401, "session_unknown")


def test_signing_in_anew_ends_the_session_before(gate, page):
    spa = page(gate)
    spa.sign_in("tara")
    before = spa.session
    spa.sign_in("hana")
    assert spa.session != before
    refused(gate.get("/api/me/", headers={"Cookie": f"{COOKIE}={before}"}), 401, "session_unknown")
    assert passed(spa.get("/api/me/")).json()["username"] == "hana"
    # A value that somebody planted is never taken over.
    planted = "B" * 43
    other = page(gate)
    other.session = planted
    other.sign_in("tara")
    assert other.session != planted


def test_it_works_past_the_access_tokens_life(gate, page, django):
    spa = page(gate)
    spa.sign_in("tara")
    first = tokens_seen(django, gate, spa.session)
    end = time.monotonic() + 2 * LIFE_S
    seen = {first}
    while time.monotonic() < end:
        assert passed(spa.get("/api/me/")).json()["username"] == "tara"
        seen.add(tokens_seen(django, gate, spa.session))
        time.sleep(0.4)
    assert len(seen) >= 3, "the token was never renewed"
    # After a rest longer than a token's life too.
    time.sleep(LIFE_S + 1)
    assert passed(spa.get("/api/me/")).json()["username"] == "tara"


def test_a_hundred_requests_at_the_instant_of_expiry_renew_once(gate, page, django):
    spa = page(gate)
    spa.sign_in("hana")
    assert passed(spa.get("/api/me/"))
    time.sleep(LIFE_S + 1)
    before = django.asked("POST /api/token/refresh/")
    headers = spa.cookie
    with gate.client() as client, concurrent.futures.ThreadPoolExecutor(50) as crowd:
        asked = [crowd.submit(client.get, "/api/me/", headers=headers) for _ in range(100)]
        answers = [one.result() for one in asked]
    assert [answer.status_code for answer in answers] == [200] * 100
    assert django.asked("POST /api/token/refresh/") == before + 1


def test_the_front_ends_own_refresh_is_answered_here(gate, page, django):
    spa = page(gate)
    spa.sign_in("tara")
    before = django.asked("POST /api/token/refresh/")
    answer = spa.post("/api/token/refresh/", json={"refresh": "undefined"})
    assert answer.status_code == 200 and answer.json() == {}
    assert django.asked("POST /api/token/refresh/") == before
    spa.session = "A" * 43
    refused(spa.post("/api/token/refresh/", json={}), 401, "session_unknown")
    # Without a session it is the app's affair.
    tokens = django.tokens("tara")
    answer = gate.post("/api/token/refresh/", json={"refresh": tokens["refresh"]})
    assert set(answer.json()) == {"access", "refresh"}


def test_signing_out_ends_session_and_token(gate, page, django):
    spa = page(gate)
    spa.sign_in("tara")
    kept, token = spa.session, tokens_seen(django, gate, spa.session)
    passed(gate.get("/token-only/", headers=bearer(token)))
    before = django.asked("POST /api/token/blacklist/")
    answer = passed(spa.post("/api/token/blacklist/", json={"refresh": "undefined"}))
    assert django.asked("POST /api/token/blacklist/") == before + 1
    assert spa.session is None
    line = next(line for line in answer.headers.get_list("set-cookie") if line.startswith(COOKIE))
    assert "max-age=0" in line.lower()
    refused(gate.get("/api/me/", headers={"Cookie": f"{COOKIE}={kept}"}), 401, "session_unknown")
    refused(gate.get("/token-only/", headers=bearer(token)), 401, "token_revoked")


def test_signing_out_does_not_wait_for_the_apps_consent(gate, page, django, flask):
    spa = page(gate)
    spa.sign_in("tara", "/flask-open/login")
    kept = spa.session
    # The app's address takes DELETE alone.
    answer = spa.post("/flask/token")
    assert answer.status_code == 200 and answer.json() == {} and spa.session is None
    refused(gate.get("/flask/me", headers={"Cookie": f"{COOKIE}={kept}"}), 401, "session_unknown")


def test_flask_renews_and_signs_out_with_bearer_tokens(gate, page, flask):
    spa = page(gate)
    answer = spa.sign_in("sina", "/flask-open/login")
    assert answer.json() == {}
    token = tokens_seen(flask, gate, spa.session, "/flask/echo/x")
    time.sleep(LIFE_S + 1)
    before = flask.asked("POST /refresh")
    assert passed(spa.get("/flask/me")).json() == {"user": "sina", "roles": ["supervisor", "staff"]}
    assert flask.asked("POST /refresh") == before + 1
    newer = tokens_seen(flask, gate, spa.session, "/flask/echo/x")
    assert newer != token
    passed(spa.request("DELETE", "/flask/token"))
    assert spa.session is None
    # The app was told which token.
    answer = gate.get("/flask-open/me", headers=bearer(newer))
    assert answer.status_code == 401 and answer.headers["x-refused-by"] == "app"


def test_a_renewal_that_the_app_refuses_ends_the_session(gate, page, django):
    spa = page(gate)
    spa.sign_in("hana")
    with closed_account(django, "hana"):
        time.sleep(LIFE_S + 1)
        problem = refused(spa.get("/api/me/"), 401, "session_expired")
        assert "hana" not in str(problem)
        refused(spa.get("/api/me/"), 401, "session_unknown")


@contextlib.contextmanager
def closed_account(app, user):
    """The user's account is not active inside the block."""

    def set_active(active):
        code = f"from accounts.models import User; User.objects.filter(username={user!r}).update(is_active={active})"
        subprocess.run(
            [sys.executable, "manage.py", "shell", "-c", code], cwd=APPS / "django_app", env=app._env, check=True,
            timeout=60, capture_output=True,
        )  # fmt: skip

    set_active(False)
    try:
        yield
    finally:
        set_active(True)


def test_other_sites_can_neither_act_nor_sign_in_or_out(gate, page):
    spa = page(gate)
    spa.sign_in("tara")
    evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for method, path in (
        ("POST", "/api/echo/x/"), ("DELETE", "/api/echo/x/"),
        ("POST", "/api/token/blacklist/"), ("POST", "/api/token/refresh/"),
    ):  # fmt: skip
        refused(spa.request(method, path, headers=evil), 403, "csrf_failed")
        refused(gate.request(method, path, headers=spa.cookie), 403, "csrf_failed")
    assert passed(spa.get("/api/me/", headers=evil)).json()["username"] == "tara"
    answer = gate.post("/api/login/", headers=evil, json={"username": "hana", "password": "hana-password"})
    refused(answer, 403, "csrf_failed")
    # A client that is no browser signs in without showing anything.
    answer = gate.post("/api/login/", json={"username": "hana", "password": "hana-password"})
    assert answer.status_code == 200 and answer.json() == {}


def test_a_renewal_before_the_end_is_made_behind_a_request(gate, page, django):
    spa = page(gate)
    spa.sign_in("tara")
    time.sleep(LIFE_S / 2 + 0.5)
    asked = django.asked("POST /api/token/refresh/")
    passed(spa.get("/api/me/"))
    wait_for(lambda: django.asked("POST /api/token/refresh/") > asked, 5, "a renewal behind the request")
