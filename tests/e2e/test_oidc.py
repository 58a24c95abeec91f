"""Sign-in at an OpenID provider: the certified npm oidc-provider, in front of the real Flask, by a client that fills in
the provider's forms and by Chromium.
"""

import concurrent.futures
import time
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from websockets.exceptions import ConnectionClosed, InvalidStatus

from harness.check import passed, refused, seen_by_app
from harness.pages import chromium, fetch
from harness.ports import wait_for
from harness.provider import ENVIRONMENT, SECRET, Person, Provider, Relay, back_channel, client
from harness.upstreams import MessageEcho
from harness.websocket import WebSocket

COOKIE = "__Host-portcullis"
FLOW = "__Host-portcullis-oidc-"
OWN = "/.portcullis/oidc/company"
# An access token of the short-lived provider lives for so long.
LIFE_S = 5

TOML = """
[session]
store = "{store}"

[upstream.flask]
servers = ["{flask}"]

[upstream.echo]
servers = ["{echo}"]

[auth.company]
type = "oidc"
issuer = "{issuer}"
client_id = "gate"
client_secret = { env = "OIDC_SECRET" }
post_logout_redirect = "/goodbye"
identity = { user = "sub", roles = "roles", email = "email", name = "name" }
{more}

[[route]]
path = "/echo/{*rest}"
upstream = "flask"
auth = ["company"]

[[route]]
path = "/echo/staff/{*rest}"
upstream = "flask"
auth = ["company"]
roles = ["staff"]

[[route]]
path = "/echo/open/{*rest}"
upstream = "flask"
auth = { optional = ["company"] }

[[route]]
path = "/ws/{*rest}"
upstream = "echo"
auth = ["company"]

[[route]]
path = "/goodbye"
auth = "public"
respond = { status = 200, body = "goodbye" }
"""

ENV = {"OIDC_SECRET": SECRET}


@pytest.fixture(scope="module", autouse=True)
def _environment():
    if not (ENVIRONMENT / "node_modules").is_dir():
        missing = ENVIRONMENT.with_name("oidc-provider.missing")
        pytest.skip(missing.read_text() if missing.exists() else f"{ENVIRONMENT} is not there; tests/run makes it")


@pytest.fixture(scope="module")
def make_provider(tmp_path_factory):
    made = []

    def make():
        made.append(Provider(tmp_path_factory.mktemp("provider")))
        return made[-1]

    yield make
    for provider in made:
        provider.stop()


@pytest.fixture(scope="module")
def provider(make_provider):
    return make_provider()


@pytest.fixture(scope="module")
def echo():
    app = MessageEcho()
    yield app
    app.server.shutdown()


@pytest.fixture(scope="module")
def relays():
    made = []
    yield made
    for relay in made:
        relay.close()


@pytest.fixture(scope="module")
def gate(module_gateway, flask_app, provider, echo, relays):
    """A gateway that was there before its provider; `relays[0]` keeps what the provider tells it."""
    places = {"flask": flask_app.url, "echo": echo.url, "issuer": provider.issuer, "store": "memory", "more": ""}
    gate = module_gateway(TOML, env=ENV, wait=False, **places)
    wait_for(lambda: "ready" in gate.output(), 20, "the gateway to listen")
    passed(gate.get("/goodbye"))
    refused(gate.get("/echo/x"), 401, "credentials_missing")
    answer = gate.get("/echo/x", headers=Person.PAGE)
    assert answer.status_code == 503 and "auth_unavailable" in answer.text, answer.text
    assert int(answer.headers["retry-after"]) > 0
    relays.append(Relay(back_channel(gate)))
    provider.start([client(gate, told=relays[0].url)])
    wait_for(lambda: gate.get("/echo/x", headers=Person.PAGE).status_code == 302, 15, "the provider to be found")
    return gate


@pytest.fixture
def person():
    """`person(gate)`: somebody with a browser of their own."""
    made = []

    def person(gate):
        made.append(Person(gate))
        return made[-1]

    yield person
    for one in made:
        one.close()


def flows(one):
    """The cookies of sign-ins under way."""
    return [name for name in one.http.cookies if name.startswith(FLOW)]


def test_somebody_signs_in_and_comes_back_to_the_page_they_asked_for(gate, person):
    one = person(gate)
    sent = one.load("/echo/a%20b?x=1&y=%2F%2Fevil.example")
    assert sent.status_code == 302 and sent.headers["cache-control"] == "no-store"
    asked = {name: value for name, value in parse_qsl(urlsplit(sent.headers["location"]).query)}
    assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{gate.https_url}{OWN}/callback"
    assert asked["scope"].split() == ["openid", "profile", "email"] and asked["nonce"] and asked["state"]
    line = sent.headers["set-cookie"]
    assert line.startswith(FLOW) and line.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600")
    assert asked["state"] not in line and asked["nonce"] not in line

    page = one.sign_in("/echo/a%20b?x=1&y=%2F%2Fevil.example", "ada")
    seen = seen_by_app(page)
    assert str(page.url) == f"{gate.https_url}/echo/a%20b?x=1&y=%2F%2Fevil.example"
    headers = seen["headers"]
    assert (headers["X_AUTH_USER"], headers["X_AUTH_ROLES"]) == ("ada", "staff")
    assert (headers["X_AUTH_EMAIL"], headers["X_AUTH_NAME"]) == ("ada@example.com", "Ada Lovelace")
    assert headers["X_AUTH_METHOD"] == "company"
    assert "AUTHORIZATION" not in headers and "COOKIE" not in headers
    # A script of the page is known by the same cookie.
    assert seen_by_app(one.ask("/echo/x"))["headers"]["X_AUTH_USER"] == "ada"
    # Roles are the provider's, asked for at its UserInfo endpoint.
    passed(one.ask("/echo/staff/x"))
    other = person(gate)
    passed(other.sign_in("/echo/x", "bob"))
    refused(other.ask("/echo/staff/x"), 403, "role_missing")
    assert other.load("/echo/staff/x").status_code == 403


def test_what_is_no_page_load_is_refused_and_never_redirected(gate, person):
    one = person(gate)
    refused(one.ask("/echo/x"), 401, "credentials_missing")
    script = {"accept": "text/html", "sec-fetch-mode": "cors"}
    refused(one.ask("/echo/x", headers=script), 401, "credentials_missing")
    for method in ("POST", "PUT", "DELETE"):
        assert one.http.request(method, "/echo/x", headers=Person.PAGE).status_code == 401
    assert not flows(one)
    url = f"wss://localhost:{gate.ports['https']}/echo/x"
    with pytest.raises(InvalidStatus) as refusal:
        WebSocket(url, tls=gate.tls())
    assert refusal.value.response.status_code == 401
    # Where anyone may come in, nobody is sent away.
    passed(one.load("/echo/open/x"))


def test_the_cookie_of_a_sign_in_under_way_does_not_reach_the_app(gate, person):
    one = person(gate)
    one.load("/echo/x")
    assert flows(one)
    seen = seen_by_app(one.load("/echo/open/x", cookies={"a": "1"}))
    assert FLOW not in seen["headers"].get("COOKIE", "")


def callback_of(one, user="ada", page="/echo/x"):
    """Signs in at the provider, and gives the address that it sends the browser back to, not followed."""
    there = one.sign_in(page, user, to=f"{one.gate.https_url}{OWN}/callback")
    assert isinstance(there, str), there
    return there


def changed(url, **parameters):
    """An address with other parameters; `None` takes one out."""
    split = urlsplit(url)
    query = {**{name: values[0] for name, values in parse_qs(split.query).items()}, **parameters}
    return split._replace(query=urlencode({name: value for name, value in query.items() if value is not None})).geturl()


def test_a_code_and_a_state_are_good_for_one_time_and_one_browser(gate, person):
    one, thief = person(gate), person(gate)
    there = callback_of(one)
    kept = dict(one.http.cookies)
    # Another browser cannot use it, and neither does a page of another site sign its visitor in.
    refused(thief.ask(there), 403, "csrf_failed")
    assert thief.cookie() is None
    assert one.load(there).status_code == 303
    assert one.cookie() and not flows(one)
    # Its cookie is gone; and where somebody kept it, the provider does not take the code again.
    refused(one.ask(there), 403, "csrf_failed")
    again = {name: value for name, value in kept.items() if name.startswith(FLOW)}
    problem = refused(thief.ask(there, cookies=again), 401, "token_revoked")
    assert "code" in problem["detail"]


def test_what_comes_back_changed_is_refused(gate, person):
    for parameters, status, code in [
        ({"state": "x" * 43}, 403, "csrf_failed"),
        ({"state": None}, 400, "bad_request"),
        ({"iss": "https://evil.example"}, 401, "token_issuer"),
        ({"iss": None}, 401, "token_issuer"),
        ({"code": "x"}, 401, "token_revoked"),
        ({"code": None}, 400, "bad_request"),
        ({"error": "access_denied"}, 400, "bad_request"),
        ({"code": None, "error": "access_denied"}, 403, "user_not_allowed"),
        ({"code": None, "error": "login_required"}, 401, "credentials_missing"),
        ({"code": None, "error": "temporarily_unavailable"}, 503, "auth_unavailable"),
    ]:
        one = person(gate)
        refused(one.ask(changed(callback_of(one), **parameters)), status, code)
        assert one.cookie() is None, parameters
    one = person(gate)
    there = callback_of(one)
    refused(one.ask(f"{there}&state=x"), 400, "bad_request")
    # A person reads a page, without the provider's words on it.
    page = one.load(changed(there, code=None, error="access_denied", error_description="<b>Call 0900</b>"))
    assert page.status_code == 403 and "text/html" in page.headers["content-type"] and "0900" not in page.text


def test_a_sign_in_leads_to_no_other_origin(gate, person):
    for bad in [
        "https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "/%09/evil.example",
        "/.//evil.example", "/a/..//evil.example", "javascript:alert(1)", "evil.example", f"{OWN}/logout", "",
    ]:  # fmt: skip
        one = person(gate)
        login = f"{OWN}/login?{urlencode({'next': bad})}"
        there = one.sign_in(login, "ada", to=f"{gate.https_url}{OWN}/callback")
        assert one.load(there).headers["location"] == "/", bad
    one = person(gate)
    there = one.sign_in(f"{OWN}/login?next=%2Fecho%2Fopen%3Fa%3Db", "ada", to=f"{gate.https_url}{OWN}/callback")
    assert one.load(there).headers["location"] == "/echo/open?a=b"


def test_several_tabs_sign_in_and_no_more_than_a_few_are_under_way(gate, person):
    one = person(gate)
    first, second = one.load("/echo/first"), one.load("/echo/second")
    assert len(flows(one)) == 2
    login = one.follow(second)
    page = one.follow(one.submit(login, prompt="login", login="ada", password="x"))
    assert page.url.path == "/echo/second"
    # The provider knows by now who it is.
    assert one.follow(first).url.path == "/echo/first"
    many = person(gate)
    for number in range(12):
        many.load(f"/echo/{number}")
    assert len(flows(many)) == 8


def test_a_session_of_before_ends_with_a_new_sign_in(gate, person):
    one = person(gate)
    passed(one.sign_in("/echo/x", "ada"))
    before = one.cookie()
    passed(one.follow(one.load(f"{OWN}/login?next=/echo/x")))
    assert one.cookie() != before
    refused(gate.get("/echo/x", headers={"cookie": f"{COOKIE}={before}"}), 401, "session_unknown")


def test_signing_out_ends_the_session_here_and_at_the_provider(gate, provider, person):
    one = person(gate)
    passed(one.sign_in("/echo/x", "ada"))
    held = one.cookie()
    # Not by a link on another site, nor by its form.
    refused(one.ask(f"{OWN}/logout", headers={"sec-fetch-site": "cross-site"}), 403, "csrf_failed")
    foreign = one.http.post(f"{OWN}/logout", headers={"origin": "https://evil.example"})
    refused(foreign, 403, "csrf_failed")
    passed(one.ask("/echo/x"))

    gone = one.load(f"{OWN}/logout")
    assert gone.status_code == 303 and one.cookie() is None
    asked = parse_qs(urlsplit(gone.headers["location"]).query)
    assert gone.headers["location"].startswith(f"{provider.issuer}/session/end?")
    assert asked["id_token_hint"] and asked["client_id"] == ["gate"]
    refused(gate.get("/echo/x", headers={"cookie": f"{COOKIE}={held}"}), 401, "session_unknown")
    confirm = one.follow(gone)
    goodbye = one.follow(one.submit(confirm, logout="yes"))
    assert str(goodbye.url).startswith(f"{gate.https_url}/goodbye") and goodbye.text == "goodbye"
    # The provider has forgotten them too: it asks who they are.
    assert "/interaction/" in str(one.follow(one.load("/echo/x")).url)
    # Who has no session is sent to the same page.
    assert person(gate).load(f"{OWN}/logout").headers["location"] == "/goodbye"


def leave_at_provider(one, provider):
    """Signs out at the provider itself, at no gateway."""
    confirm = one.load(f"{provider.issuer}/session/end")
    done = one.submit(confirm, logout="yes")
    assert done.status_code in (200, 302, 303), done.text


def socket(gate, one):
    """An open WebSocket of somebody's."""
    headers = {"Cookie": f"{COOKIE}={one.cookie()}"}
    url = f"wss://localhost:{gate.ports['https']}/ws/x"
    return WebSocket(url, tls=gate.tls(), origin=gate.https_url, headers=headers)


def test_what_the_provider_ends_is_over_here_and_open_sockets_with_it(gate, provider, person, relays):
    one, other = person(gate), person(gate)
    passed(one.sign_in("/echo/x", "ada"))
    passed(other.sign_in("/echo/x", "ada"))
    with socket(gate, one) as mine, socket(gate, other) as theirs:
        leave_at_provider(one, provider)
        with pytest.raises(ConnectionClosed) as closed:
            mine.recv(timeout=5)
        assert closed.value.rcvd.code == 4401
        refused(one.ask("/echo/x"), 401, "session_unknown")
        # The same user's session in another browser is another one at the provider.
        passed(other.ask("/echo/x"))
        theirs.send("still there")
        assert "still there" in theirs.recv(timeout=5)
    # The provider's word is good for one time.
    form = {"content-type": "application/x-www-form-urlencoded"}
    again = gate.post(f"{OWN}/back-channel-logout", content=relays[0].words[-1], headers=form)
    assert "used before" in refused(again, 400, "bad_request")["detail"]
    passed(one.sign_in("/echo/x", "ada"))


def test_a_word_that_is_not_the_providers_ends_nothing(gate, person):
    one = person(gate)
    passed(one.sign_in("/echo/x", "ada"))
    door = f"{OWN}/back-channel-logout"
    form = {"content-type": "application/x-www-form-urlencoded"}
    for body in ["", "logout_token=", "logout_token=a.b.c", "logout_token=x&logout_token=y", "x" * 70_000]:
        answer = gate.post(door, content=body, headers=form)
        assert answer.status_code in (400, 413), (body[:40], answer.status_code)
    refused(gate.post(door, json={"logout_token": "x"}), 400, "bad_request")
    assert gate.get(door).status_code == 405
    passed(one.ask("/echo/x"))


def test_commands_know_the_paths_of_a_sign_in(gate):
    routes = gate.run_cli("routes").out
    for step in ("login", "callback", "logout", "back-channel-logout"):
        assert f"{OWN}/{step}" in routes and "sign-in of auth.company" in routes
    assert gate.run_cli("check").code == 0
    explained = gate.run_cli("explain", "GET", f"{gate.https_url}{OWN}/callback?code=c&state=s")
    assert "sign-in of auth.company" in explained.text, explained
    assert gate.explained_code("GET", f"{gate.https_url}/echo/x") == "credentials_missing"


def test_nothing_secret_is_logged(gate, person):
    one = person(gate)
    there = callback_of(one)
    query = parse_qs(urlsplit(there).query)
    passed(one.follow(one.load(there)))
    said = gate.output()
    for secret in [SECRET, one.cookie(), query["code"][0], query["state"][0]]:
        assert secret not in said


@pytest.fixture(scope="module")
def short(module_gateway, make_provider, flask_app, redis_server, echo):
    """Two gateways with one store, and a provider whose access tokens are short-lived and go on to the app."""
    provider = make_provider()
    places = {"flask": flask_app.url, "echo": echo.url, "issuer": provider.issuer, "store": redis_server.url("oidc")}
    more = 'forward_token = "access"\nrefresh_before = "1s"'
    gates = [module_gateway(TOML, env=ENV, more=more, wait=False, **places) for _ in range(2)]
    for gate in gates:
        wait_for(lambda gate=gate: "ready" in gate.output(), 20, "the gateway to listen")
    provider.start([client(*gates, told=back_channel(gates[1]))], access_s=LIFE_S)
    for gate in gates:
        found = lambda gate=gate: gate.get("/echo/x", headers=Person.PAGE).status_code == 302
        wait_for(found, 15, "the provider to be found")
    return provider, *gates


def at(gate, one, path="/echo/x"):
    """A request with somebody's session at a gateway."""
    return gate.get(path, headers={"cookie": f"{COOKIE}={one.cookie()}"})


def test_an_access_token_is_renewed_once_for_all_who_wait_at_all_gateways(short, person):
    provider, first, second = short
    one = person(first)
    page = seen_by_app(one.sign_in("/echo/x", "ada"))
    token = page["headers"]["AUTHORIZATION"]
    assert token.startswith("Bearer ")
    # Known at the other gateway too.
    assert seen_by_app(at(second, one))["headers"]["AUTHORIZATION"] == token
    before = provider.count("refresh_token")
    time.sleep(LIFE_S + 1)
    cookie = {"cookie": f"{COOKIE}={one.cookie()}"}
    clients = [gate.client() for gate in (first, second) for _ in range(15)]
    with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
        answers = list(pool.map(lambda client: client.get("/echo/x", headers=cookie), clients))
    for client_ in clients:
        client_.close()
    tokens = {seen_by_app(answer)["headers"]["AUTHORIZATION"] for answer in answers}
    assert len(tokens) == 1 and tokens != {token}
    assert provider.count("refresh_token") == before + 1


def test_what_the_provider_tells_one_gateway_holds_at_the_other(short, person):
    provider, first, second = short
    one = person(first)
    passed(one.sign_in("/echo/x", "bob"))
    passed(at(second, one))
    passed(at(first, one))
    renewals = provider.count("refresh_token")
    leave_at_provider(one, provider)
    wait_for(lambda: at(second, one).status_code == 401, 2, "the session to end where it was told")
    wait_for(lambda: at(first, one).status_code == 401, 1.5, "the session to end at the other gateway")
    refused(at(first, one), 401, "session_unknown")
    # By its word, and not because a renewal was refused.
    assert provider.count("refresh_token") == renewals and "the provider ended sign-ins" in second.output()


def test_an_operator_sees_and_ends_the_session(short, person):
    _, first, second = short
    one = person(first)
    passed(one.sign_in("/echo/x", "ada"))
    passed(at(second, one))
    listed = first.run_cli("sessions", "list").out
    assert "ada" in listed and "auth.company" in listed
    assert first.run_cli("sessions", "revoke", "--user", "ada").code == 0
    refused(at(first, one), 401, "session_unknown")
    wait_for(lambda: at(second, one).status_code == 401, 1.5, "the session to end at the other gateway")


def test_a_provider_that_is_down_is_told_and_what_it_refuses_afterwards_is_over(short, person):
    """The last test of these gateways: the provider forgets everything."""
    provider, first, second = short
    one = person(first)
    passed(one.sign_in("/echo/x", "ada"))
    stranger = person(first)
    there = callback_of(stranger, "bob")
    provider.stop()
    # The sign-in that was under way cannot end now, and the session goes on as long as its token.
    refused(stranger.ask(there), 503, "auth_unavailable")
    passed(at(first, one))
    time.sleep(LIFE_S + 1)
    answer = at(first, one)
    refused(answer, 503, "auth_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    provider.start([client(first, second, told=back_channel(second))], access_s=LIFE_S)
    wait_for(lambda: at(first, one).status_code == 401, 20, "the provider to refuse the session")
    refused(at(second, one), 401, "session_unknown")
    back = person(first)
    passed(wait_for(lambda: back.sign_in("/echo/x", "ada"), 20, "somebody to sign in again"))


def test_a_browser_signs_in_works_and_signs_out(gate, provider, need, tmp_path_factory):
    browser = chromium(need("chromium"), need("chromedriver"), tmp_path_factory.mktemp("chromium"))
    try:
        browser.get(f"{gate.https_url}/echo/page?tab=2")
        WebDriverWait(browser, 10).until(lambda b: b.current_url.startswith(provider.issuer))
        browser.find_element(By.NAME, "login").send_keys("ada")
        browser.find_element(By.NAME, "password").send_keys("x")
        browser.find_element(By.CSS_SELECTOR, "form button, form input[type=submit]").click()
        WebDriverWait(browser, 10).until(lambda b: b.current_url == f"{gate.https_url}/echo/page?tab=2")
        assert '"X_AUTH_USER":"ada"' in browser.page_source.replace(" ", "")
        # Its scripts are known, and see nothing of what they are known by.
        assert fetch(browser, "/echo/x")["status"] == 200
        assert browser.execute_script("return document.cookie") == ""
        names = {cookie["name"] for cookie in browser.get_cookies()}
        assert names == {COOKIE}
        browser.get(f"{gate.https_url}{OWN}/logout")
        WebDriverWait(browser, 10).until(lambda b: b.current_url.startswith(provider.issuer))
        browser.find_element(By.CSS_SELECTOR, "button[value=yes], button[name=logout]").click()
        WebDriverWait(browser, 10).until(lambda b: "/goodbye" in b.current_url)
        browser.get(f"{gate.https_url}/goodbye")
        assert fetch(browser, "/echo/x")["status"] == 401
        assert browser.get_cookies() == []
    finally:
        browser.quit()
