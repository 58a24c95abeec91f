"""A real page in Chromium, signed in through the gateway to the real Django and Flask: no token is ever in its reach.

It works past the access token's life, signs out, and then neither its old cookie nor its old token opens anything.
"""

import base64
import json
import re
import time

import pytest

from harness.apps import ACCESS_LOG, DjangoApp, FlaskApp
from harness.check import refused, seen_by_app
from harness.pages import chromium
from harness.ports import wait_for
from harness.single_page import COOKIE
from harness.token_page import HTML, TokenPage
from harness.tokens import bearer

# A token lives for so long.
LIFE_S = 6
# What a JWT looks like, anywhere.
TOKEN = re.compile(r"ey[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")

TOML = """
[session]
store = "memory"

[upstream.app]
servers = ["{app}"]

[auth.token]
type = "jwt"
preset = "{preset}"
secret = { env = "{secret}" }
revocable = true

[auth.session]
type = "gateway-session"

[token_handler.app]
upstream = "app"
login = "{login}"
refresh = "{refresh}"
logout = "{out}"
access = "/{access}"
refresh_token = "/{refresh_token}"
auth = "token"
keep_body = {keep_body}

[[route]]
path = "/"
auth = "public"
files = { dir = "{pages}" }

[[route]]
path = "{login}"
upstream = "app"
auth = "public"

[[route]]
path = "{out}"
upstream = "app"
auth = "public"

[[route]]
path = "{me}"
upstream = "app"
auth = ["session"]

[[route]]
path = "{echo}"
upstream = "app"
auth = ["session"]

[[route]]
path = "/by-token"
upstream = "app"
auth = ["token"]
strip_prefix = "/by-token"
add_prefix = "{echo}"
"""

DJANGO = {
    "preset": "simplejwt", "secret": "DJANGO_SECRET_KEY", "login": "/api/login/", "refresh": "/api/token/refresh/",
    "out": "/api/token/blacklist/", "out_method": "POST", "me": "/api/me/", "echo": "/api/echo/x/",
    "access": "access", "refresh_token": "refresh", "name": "username",
}  # fmt: skip
FLASK = {
    "preset": "flask-jwt-extended", "secret": "FLASK_SECRET_KEY", "login": "/login", "refresh": "/refresh",
    "out": "/token", "out_method": "DELETE", "me": "/me", "echo": "/echo",
    "access": "access_token", "refresh_token": "refresh_token", "name": "user",
}  # fmt: skip


@pytest.fixture(scope="module", params=[DJANGO, FLASK], ids=["django", "flask"])
def shape(request):
    """The paths and names of an app."""
    return request.param


@pytest.fixture(scope="module")
def app(shape, tmp_path_factory):
    """The app itself, whose tokens live for a moment."""
    folder, life = tmp_path_factory.mktemp("app"), str(LIFE_S)
    if shape is DJANGO:
        app = DjangoApp(folder, ACCESS_LOG, ROTATE_REFRESH_TOKENS="1", ACCESS_SECONDS=life)
    else:
        app = FlaskApp(folder, args=ACCESS_LOG, ACCESS_SECONDS=life)
    yield app
    app.stop()


@pytest.fixture(scope="module")
def start(shape, app, module_gateway, tmp_path_factory):
    """`start(keep_body)`: a gateway in front of the app, which serves the page too."""

    def make(keep_body):
        pages = tmp_path_factory.mktemp("pages")
        names = {"login": shape["login"], "out": shape["out"], "outMethod": shape["out_method"]}
        (pages / "index.html").write_text(HTML.replace("<script>", f"<script>const APP = {json.dumps(names)};", 1))
        return module_gateway(TOML, app=app.url, pages=pages, keep_body=str(keep_body).lower(), **shape)

    return make


@pytest.fixture(scope="module")
def gate(start):
    return start(keep_body=False)


@pytest.fixture(scope="module")
def browser(need, tmp_path_factory):
    browser = chromium(need("chromium"), need("chromedriver"), tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.quit()


@pytest.fixture
def page(browser, gate):
    """The page, open, with nobody signed in."""
    page = TokenPage(browser, gate.https_url + "/")
    yield page
    browser.delete_all_cookies()
    browser.execute_script("localStorage.clear()")


def no_token_in(page):
    """Nothing that a script can reach is a token, or the session; it has reached something."""
    everything = page.everything()
    assert not TOKEN.search(everything), TOKEN.search(everything)
    session = page.cookie(COOKIE)
    assert session is None or session["value"] not in everything
    return everything


def token_of(gate, shape, page):
    """The access token that the app gets for the page's session: no page sees it, the app tells it."""
    session = page.cookie(COOKIE)["value"]
    seen = seen_by_app(gate.get(shape["echo"], headers={"Cookie": f"{COOKIE}={session}"}))
    return seen["headers"]["AUTHORIZATION"].removeprefix("Bearer ")


def end_of(token):
    """When a token ends, in seconds since 1970."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"]


def fresh_token_of(gate, shape, page):
    """The same where it is so new that nobody renews it behind this request."""
    token = token_of(gate, shape, page)
    return token if end_of(token) - time.time() > LIFE_S * 0.6 else None


def name(shape, told):
    """Whom the app believes to see."""
    assert told["status"] == 200, told
    return json.loads(told["body"])[shape["name"]]


def test_a_page_that_could_see_tokens_is_found_out(start, shape, browser):
    """The same page at a gateway that leaves the tokens in the answer: what looks for them finds them."""
    gate = start(keep_body=True)
    page = TokenPage(browser, gate.https_url + "/")
    page.sign_in("tara")
    everything = page.everything()
    assert len(TOKEN.findall(everything)) >= 4, "in the login's answer and in localStorage, two of each"
    browser.execute_script("localStorage.clear()")
    browser.delete_all_cookies()


def test_a_page_signs_in_works_past_the_tokens_life_and_signs_out_without_ever_seeing_a_token(
    gate, shape, app, page
):
    before = app.asked(f"POST {shape['refresh']}")
    assert page.ask(shape["me"])["status"] == 401
    page.sign_in("tara")
    answer = json.loads(page.everything())[0][-1]
    assert (answer["path"], json.loads(answer["body"])) == (shape["login"], {})
    cookie = page.cookie(COOKIE)
    assert cookie["httpOnly"] and cookie["secure"] and cookie["path"] == "/" and cookie["sameSite"] == "Lax"
    no_token_in(page)

    first = token_of(gate, shape, page)
    end = time.monotonic() + 2 * LIFE_S + 1
    while time.monotonic() < end:
        assert name(shape, page.ask(shape["me"])) == "tara"
        time.sleep(0.3)
    last = wait_for(lambda: fresh_token_of(gate, shape, page), 2 * LIFE_S, "a token that is new", every=0.2)
    assert first != last and end_of(last) > end_of(first) + LIFE_S / 2
    assert app.asked(f"POST {shape['refresh']}") >= before + 2, "the token was renewed behind the page"
    no_token_in(page)

    session = page.cookie(COOKIE)["value"]
    assert gate.get("/by-token", headers=bearer(last)).status_code == 200, "until then it is good"
    page.sign_out()
    assert page.cookie(COOKIE) is None
    assert page.ask(shape["me"])["status"] == 401
    refused(gate.get(shape["me"], headers={"Cookie": f"{COOKIE}={session}"}), 401, "session_unknown")
    refused(gate.get("/by-token", headers=bearer(last)), 401, "token_revoked")
    assert end_of(last) > time.time(), "it was refused though its time was not over"
    assert "signed out" in no_token_in(page)


def test_a_hundred_requests_of_a_page_at_the_instant_of_expiry_cause_one_refresh(gate, shape, app, page):
    page.sign_in("hana")
    for _ in range(2):
        token = token_of(gate, shape, page)
        before = app.asked(f"POST {shape['refresh']}")
        statuses = page.ask_at(end_of(token) * 1000, shape["me"], 100)
        assert statuses == [200] * 100
        assert app.asked(f"POST {shape['refresh']}") == before + 1
        assert token_of(gate, shape, page) != token
    no_token_in(page)
    page.sign_out()


def test_a_page_that_is_loaded_anew_is_still_signed_in_and_one_without_the_cookie_is_not(gate, shape, browser, page):
    page.sign_in("sina")
    again = TokenPage(browser, gate.https_url + "/")
    assert name(shape, again.ask(shape["me"])) == "sina"
    no_token_in(again)
    session = again.cookie(COOKIE)
    browser.delete_all_cookies()
    assert again.ask(shape["me"])["status"] == 401
    # It was not signed out: the session is there, and no script could have kept it.
    assert gate.get(shape["me"], headers={"Cookie": f"{COOKIE}={session['value']}"}).status_code == 200
