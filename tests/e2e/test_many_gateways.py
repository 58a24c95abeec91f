"""Several gateways that act as one: the same file, one store; the real Django with rotating refresh tokens behind them.

And one gateway that is killed, whose sessions are in a file.
"""

import concurrent.futures
import signal
import time

import pytest
from websockets.exceptions import ConnectionClosed

from harness.apps import ACCESS_LOG, DjangoApp
from harness.check import passed, refused, seen_by_app
from harness.ports import wait_for
from harness.single_page import COOKIE, SinglePage
from harness.tokens import bearer, simplejwt
from harness.upstreams import MessageEcho
from harness.websocket import WebSocket

LIFE_S = 5

TOML = """
[session]
store = { env = "SESSION_STORE" }
path = "{data}"

[upstream.django]
servers = ["{django}"]

[upstream.echo]
servers = ["{echo}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
revocable = true

[auth.plain-token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }

[auth.session]
type = "gateway-session"

[token_handler.django]
upstream = "django"
login = "/api/login/"
refresh = "/api/token/refresh/"
logout = "/api/token/blacklist/"
auth = "token"

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
path = "/token/"
upstream = "django"
auth = ["token"]
strip_prefix = "/token"
add_prefix = "/api/echo"

[[route]]
path = "/plain/"
upstream = "django"
auth = ["plain-token"]
strip_prefix = "/plain"
add_prefix = "/api/echo"

[[route]]
path = "/ws/{*rest}"
upstream = "echo"
auth = ["session", "token"]
"""


@pytest.fixture(scope="module")
def django(tmp_path_factory):
    app = DjangoApp(
        tmp_path_factory.mktemp("django"), ACCESS_LOG, ROTATE_REFRESH_TOKENS="1", ACCESS_SECONDS=str(LIFE_S)
    )
    yield app
    app.stop()


@pytest.fixture(scope="module")
def echo():
    echo = MessageEcho()
    yield echo
    echo.server.shutdown()


@pytest.fixture(scope="module", params=["redis", "postgres"])
def store(request):
    """The store's server, with `address`."""
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        server.address = server.url("many-gateways")
    else:
        server = request.getfixturevalue("postgres")
        database = server.database("portcullis")
        server.address = server.url("portcullis_app", database.name)
    return server


@pytest.fixture(scope="module")
def pair(store, module_gateway, tmp_path_factory, django, echo):
    """Two gateways on the store."""
    places = {"django": django.url, "echo": echo.url, "data": "data/unused.db"}
    env = {"SESSION_STORE": store.address}
    return [module_gateway(TOML, env=env, **places) for _ in range(2)]


@pytest.fixture
def page():
    made = []

    def open_one(gate):
        made.append(SinglePage(gate))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


def at(gate, session, path="/api/me/"):
    """A session's request at a gateway."""
    return gate.get(path, headers={"Cookie": f"{COOKIE}={session}"})


def within_a_second(check, what):
    """Waits for what another gateway is told: a second, and what a busy machine takes to ask."""
    return wait_for(check, 1.5, what, every=0.02)


def socket_of(gate, headers):
    """An open WebSocket."""
    where = f"wss://localhost:{gate.ports['https']}/ws/x"
    return WebSocket(where, tls=gate.tls(), origin=gate.https_url, headers=headers)


def closed(socket, seconds):
    """How it is closed."""
    with pytest.raises(ConnectionClosed) as ended:
        while True:
            socket.recv(seconds)
    assert ended.value.rcvd, "no close frame came"
    return ended.value.rcvd.code, ended.value.rcvd.reason


def test_a_session_is_known_at_both_and_ends_at_both(pair, page):
    one, other = pair
    spa = page(one)
    spa.sign_in("tara")
    for gate in (one, other):
        assert passed(at(gate, spa.session)).json()["username"] == "tara"
    kept = spa.session
    passed(spa.post("/api/token/blacklist/", json={}))
    refused(at(one, kept), 401, "session_unknown")
    within_a_second(lambda: at(other, kept).status_code == 401, "the end at the other gateway")


def test_a_renewal_at_all_at_once_calls_the_app_once(pair, page, django):
    one, other = pair
    spa = page(one)
    spa.sign_in("tara")
    passed(at(other, spa.session))
    for _ in range(2):
        time.sleep(LIFE_S + 1)
        before = django.asked("POST /api/token/refresh/")
        headers = spa.cookie
        with one.client() as first, other.client() as second, concurrent.futures.ThreadPoolExecutor(40) as crowd:
            asked = [crowd.submit(client.get, "/api/me/", headers=headers) for client in [first, second] * 20]
            assert [asking.result().status_code for asking in asked] == [200] * 40
        assert django.asked("POST /api/token/refresh/") == before + 1


def test_what_is_revoked_at_one_is_refused_at_the_other_within_a_second(pair, page):
    one, other = pair
    mine, jti = simplejwt(user_id="9", jti="a" * 32), "b" * 32
    single = simplejwt(user_id="8", jti=jti)
    for token in (mine, single):
        for gate in pair:
            passed(gate.get("/token/", headers=bearer(token)))
    told = one.run_cli("sessions", "revoke", "--jti", jti)
    assert told.code == 0, told
    refused(one.get("/token/", headers=bearer(single)), 401, "token_revoked")
    within_a_second(
        lambda: other.get("/token/", headers=bearer(single)).status_code == 401, "the token's end at the other"
    )
    passed(other.get("/token/", headers=bearer(mine)))
    time.sleep(1)
    assert other.run_cli("sessions", "revoke", "--user", "9").code == 0
    refused(other.get("/token/", headers=bearer(mine)), 401, "token_revoked")
    within_a_second(lambda: one.get("/token/", headers=bearer(mine)).status_code == 401, "the user's end at the other")
    # Where nobody said that tokens may be revoked, they are not looked for.
    passed(one.get("/plain/", headers=bearer(mine)))


def test_sessions_are_listed_and_ended_by_an_operator(pair, page):
    one, other = pair
    spa, more = page(one), page(other)
    spa.sign_in("sina")
    more.sign_in("sina")
    listed = other.run_cli("sessions", "list", "--user", "3", "--json").json()["sessions"]
    assert len(listed) == 2 and {row["handler"] for row in listed} == {"django"}
    assert spa.session not in str(listed) and more.session not in str(listed)
    text = one.run_cli("sessions", "list", "--user", "3")
    assert text.code == 0 and "2 sessions" in text.out
    told = one.run_cli("sessions", "revoke", "--session", listed[0]["session"][:12])
    assert told.code == 0 and "1 session ended" in told.out, told
    left = one.run_cli("sessions", "list", "--user", "3", "--json").json()["sessions"]
    assert [row["session"] for row in left] == [listed[1]["session"]]
    told = other.run_cli("sessions", "revoke", "--user", "3", "--json")
    assert told.code == 0 and told.json() == {"ended": 1}, told
    for session in (spa.session, more.session):
        refused(at(other, session), 401, "session_unknown")
        within_a_second(lambda session=session: at(one, session).status_code == 401, "the end at the other")
    assert one.run_cli("sessions", "revoke", "--session", "none-begins-so").code == 1
    assert one.run_cli("sessions", "revoke").code == 2


def test_the_admin_address_takes_revocations_from_no_page(pair):
    one, _ = pair
    body = {"user": "nobody"}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}):
        assert one.post("/api/revocations", door="admin", headers=headers, json=body).status_code == 403
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert one.post("/api/revocations", door="admin", headers=form, content=b"user=1").status_code == 415
    assert one.get("/api/revocations", door="admin").status_code == 405
    assert one.post("/api/revocations", door="admin", json={}).status_code == 400
    assert one.post("/api/revocations", door="admin", json=body).json() == {"ended": 0}


def test_open_sockets_end_with_what_opened_them(pair, page):
    one, other = pair
    spa = page(one)
    spa.sign_in("tara")
    token = simplejwt(user_id="8", jti="c" * 32)
    here, there = socket_of(one, spa.cookie), socket_of(other, spa.cookie)
    by_token, kept = socket_of(other, bearer(token)), socket_of(other, bearer(simplejwt(jti="d" * 32)))
    for socket in (here, there, by_token, kept):
        socket.send("still there")
        assert socket.recv(5)
    passed(spa.post("/api/token/blacklist/", json={}))
    assert closed(here, 1) == (4401, "session_unknown")
    assert closed(there, 2) == (4401, "session_unknown")
    assert one.run_cli("sessions", "revoke", "--jti", "c" * 32).code == 0
    assert closed(by_token, 2) == (4401, "token_revoked")
    kept.send("and this one")
    assert kept.recv(5)
    kept.close()


def test_without_the_store_those_who_need_it_get_503_and_the_others_go_on(pair, page, store):
    one, other = pair
    spa = page(one)
    spa.sign_in("tara")
    passed(at(other, spa.session))
    token = simplejwt()
    with store.down():
        time.sleep(2.5)
        for gate in pair:
            refused(at(gate, spa.session), 503, "auth_unavailable")
            passed(gate.get("/plain/", headers=bearer(token)))
            passed(gate.get("/token/", headers=bearer(token)))
        answer = one.post("/api/login/", json={"username": "tara", "password": "tara-password"})
        refused(answer, 503, "auth_unavailable")
        assert "access" not in answer.text
        # Whoever signs out hears that it did not work, and may try again.
        refused(spa.post("/api/token/blacklist/", json={}), 503, "auth_unavailable")
    for gate in pair:
        wait_for(lambda gate=gate: at(gate, spa.session).status_code == 200, 10, "the gateway to be back by itself")
    kept = spa.session
    passed(spa.post("/api/token/blacklist/", json={}))
    refused(at(one, kept), 401, "session_unknown")
    within_a_second(lambda: at(other, kept).status_code == 401, "the end at the other, after the store was back")


def test_a_gateway_that_is_killed_keeps_its_sessions_and_revocations_in_its_file(gateway, page, django, echo):
    gate = gateway(
        TOML, env={"SESSION_STORE": "embedded"}, django=django.url, echo=echo.url, data="data/sessions.db"
    )
    spa = page(gate)
    spa.sign_in("tara")
    token = simplejwt(jti="e" * 32)
    assert gate.run_cli("sessions", "revoke", "--jti", "e" * 32).code == 0
    gate.signal(signal.SIGKILL)
    gate.process.wait(10)
    gate.close_clients()
    gate.start()
    assert passed(at(gate, spa.session)).json()["username"] == "tara"
    wait_for(lambda: gate.get("/token/", headers=bearer(token)).status_code == 401, 5, "the revocation to be known")
    refused(gate.get("/token/", headers=bearer(token)), 401, "token_revoked")
    # Other commands leave the file to the gateway that runs.
    assert gate.run_cli("check").code == 0
    explained = gate.explain("GET", "/api/me/", {"Cookie": f"{COOKIE}={spa.session}"})
    assert spa.session not in str(explained) and "ey" + "J" not in str(explained)


def test_a_reload_keeps_everyone_signed_in(gateway, page, django, echo):
    gate = gateway(TOML, env={"SESSION_STORE": "memory"}, django=django.url, echo=echo.url, data="data/unused.db")
    spa = page(gate)
    spa.sign_in("tara")
    gate.reload(TOML + '\n[[route]]\npath = "/more/"\nauth = "public"\nrespond = { status = 204 }\n')
    assert gate.get("/more/").status_code == 204
    assert seen_by_app(at(gate, spa.session, "/api/echo/x/"))["headers"]["X_AUTH_USER"] == "2"
