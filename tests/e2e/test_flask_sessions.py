"""The sessions of unmodified Flask apps: Flask-Session's on the server, and Flask's own in the cookie."""

import httpx
import pytest

from harness.check import passed, refused
from harness.ports import wait_for
from harness.session_apps import FlaskSite
from harness.session_files import environment, flask_file
from harness.visitor import CACHE_S, SLACK_S, explained, known, refused_soon

CACHE = "300ms"
SOON = 0.3 + SLACK_S
API = "/api/tickets/"
SIGNER = 'signer = true\nsecret = { env = "SECRET_KEY" }'

# Flask-Session's version, where it keeps sessions, in which database, signed or bare ids, format.
ROWS = [
    ("0.5", "sqlalchemy", "postgres", "yes", ""),
    ("0.5", "sqlalchemy", "sqlite", "", ""),
    ("0.5", "redis", "mariadb", "", ""),
    ("0.8", "sqlalchemy", "postgres", "yes", "msgpack"),
    ("0.8", "sqlalchemy", "mariadb", "", "json"),
    ("0.8", "redis", "sqlite", "yes", "json"),
    ("0.8", "redis", "postgres", "", "msgpack"),
]


def person(visit, gate):
    return visit(gate, session="session", login="/login", api=API)


def app_agrees(app, headers):
    """Whether the app itself, asked without the gateway, takes the credential."""
    return httpx.get(app.url + "/api/auth/me", headers=headers, trust_env=False, timeout=10).status_code == 200


def sign_out(visitor):
    visitor.sign_out("/logout", "/tickets")


# ---- the team with the tickets: PostgreSQL, signed ids, 31 days, several instances ----


@pytest.fixture(scope="module")
def desk(new_database, start_app):
    """Two instances of the app on one database."""
    database = new_database("postgres", "tickets")
    return [start_app(FlaskSite, database, SIGNER="yes", INSTANCE=name) for name in ("first", "second")]


@pytest.fixture(scope="module")
def gate(module_gateway, desk):
    toml = flask_file(*desk, keys=SIGNER).replace("servers = [", 'balance = "round-robin"\nservers = [')
    return module_gateway(toml, env=environment(*desk))


def test_who_signed_in_at_one_instance_is_known_in_front_of_both(gate, desk, visit):
    refused(gate.get(API), 401, "credentials_missing")
    tara = person(visit, gate).sign_in("tara")
    seen = [known(tara.ask(), desk[0], "tara") for _ in range(8)]
    assert {one["instance"] for one in seen} == {"first", "second"}, "both instances answer, with one session"
    assert seen[0]["headers"]["X_AUTH_EMAIL"] == "tara@example.com"


def test_the_session_lasts_31_days_and_no_verdict_longer(gate, desk, visit):
    tara = person(visit, gate).sign_in("tara")
    passed(tara.ask())
    days = "SELECT extract(epoch FROM max(expiry) - timezone('UTC', now())) / 86400 FROM sessions"
    assert 30.9 < float(desk[0].database.execute(days)[0][0]) <= 31.0


def test_an_hour_that_is_over_is_expired_and_not_unknown(gate, desk, visit):
    tara = person(visit, gate).sign_in("tara")
    key = tara.client.cookies["session"].rpartition(".")[0]
    change = "UPDATE sessions SET expiry = timezone('UTC', now()) {} WHERE session_id = %s"
    passed(tara.ask())
    desk[0].database.execute(change.format("- interval '1 second'"), (f"session:{key}",))
    refused_soon(tara.ask, "session_expired")
    explained(gate, API, tara.cookie, "session_expired", "expired")


def test_signing_out_at_one_instance_is_signing_out(gate, visit):
    spare = person(visit, gate).sign_in("tara")
    kept = spare.cookie
    passed(spare.ask())
    sign_out(spare)
    _, took = refused_soon(lambda: gate.get(API, headers=kept), "session_unknown")
    assert took <= CACHE_S + SLACK_S
    explained(gate, API, kept, "session_unknown")


def test_a_restart_of_apps_gateway_and_database_changes_nothing(gate, desk, visit):
    tara = person(visit, gate).sign_in("tara")
    for app in desk:
        app.restart()
    known(tara.ask(), desk[0], "tara")
    gate.stop()
    gate.start()
    known(tara.ask(), desk[0], "tara")
    desk[0].database.server.restart()
    wait_for(lambda: tara.ask().status_code == 200, 5, "the session after the database's restart")


def test_an_id_that_another_key_signed_or_nobody_says_so(gate, visit):
    tara = person(visit, gate).sign_in("tara")
    key, _, signature = tara.client.cookies["session"].rpartition(".")
    other = signature[:-2] + ("A" if signature[-2] != "A" else "B") + signature[-1]
    explained(gate, API, {"Cookie": f"session={key}.{other}"}, "session_signature", "SECRET_KEY")
    answer = gate.get(API, headers={"Cookie": f"session={key}"})
    assert answer.status_code == 401 and answer.json()["code"] in ("session_signature", "session_malformed")
    refused(gate.get(API, headers={"Cookie": "session=" + "x" * 4096}), 401, answer.json()["code"])


# ---- versions, stores, formats ----


@pytest.fixture
def site(request, new_database, tmp_path, redis_server, gateway):
    version, sessions, kind, signer, format_ = request.param
    row = ROWS.index(request.param)
    app = FlaskSite(
        tmp_path, new_database(kind, f"desk{row}"), version=version, sessions=sessions,
        redis_url=redis_server.url(f"desk{row}"), SIGNER=signer, FORMAT=format_,
    )  # fmt: skip
    try:
        yield app, gateway(flask_file(app, cache=CACHE, keys=SIGNER if signer else ""), env=environment(app))
    finally:
        app.stop()


@pytest.mark.parametrize("site", ROWS, indirect=True, ids=lambda row: "-".join(filter(None, row)))
def test_a_session_lives_and_dies_at_the_gateway_as_in_flask(site, visit):
    app, gate = site
    refused(gate.get(API), 401, "credentials_missing")
    for name in ("hana", "sina"):
        known(person(visit, gate).sign_in(name).ask(), app, name)

    passer = person(visit, gate)
    passer.send("/language", language="fa", draft="d" * 20_000)
    refused(passer.ask(), 401, "session_anonymous")

    leaver = person(visit, gate).sign_in("tara")
    kept = leaver.cookie
    known(leaver.ask(), app, "tara")
    sign_out(leaver)
    refused_soon(lambda: gate.get(API, headers=kept), "session_unknown", SOON)
    assert not app_agrees(app, kept)


def test_rows_that_0_5_left_behind_are_read_beside_those_of_0_8(new_database, start_app, gateway, visit):
    database = new_database("postgres", "upgrade")
    old = start_app(FlaskSite, database, version="0.5")
    gate = gateway(flask_file(old, cache=CACHE), env=environment(old))
    before = person(visit, gate).sign_in("tara")
    known(before.ask(), old, "tara")
    old.stop()
    new = start_app(FlaskSite, database, version="0.8")
    again = gateway(flask_file(new, cache=CACHE), env=environment(new))
    for headers in (before.cookie, person(visit, again).sign_in("tara").cookie):
        # Asked at a route that the app does not see first: it would write the row anew.
        known(again.get(API, headers=headers), new, "tara")


# ---- roles and state from the app's table ----


def test_roles_and_state_come_from_the_apps_table_where_a_directory_says_so(new_database, start_app, gateway, visit):
    app = start_app(FlaskSite, new_database("mariadb", "agents"))
    gate = gateway(flask_file(app, directory=True), env=environment(app))
    name = app.spare()
    agent = person(visit, gate).sign_in(name)
    known(agent.ask(), app, name)
    refused(agent.ask("/api/supervisor/"), 403, "role_missing")
    sina = person(visit, gate).sign_in("sina")
    assert sina.client.post(f"/agents/{app.id_of(name)}/deactivate").status_code == 302
    refused_soon(agent.ask, "user_inactive")
    explained(gate, API, agent.cookie, "user_inactive", "active")
    app.database.execute("DELETE FROM agents WHERE username = %s", (name,))
    wait_for(lambda: agent.ask().json()["code"] == "user_unknown", CACHE_S + SLACK_S, "user_unknown")


# ---- Flask's own cookie ----


@pytest.fixture(scope="module")
def cookie_app(new_database, start_app):
    return start_app(FlaskSite, new_database("sqlite", "cookie"), sessions="cookie")


@pytest.fixture(scope="module")
def cookie_gate(module_gateway, cookie_app):
    return module_gateway(flask_file(cookie_app), env=environment(cookie_app))


def test_flasks_own_cookie_is_read_small_or_compressed(cookie_gate, cookie_app, visit):
    for name in ("hana", "tara", "sina"):
        one = person(visit, cookie_gate).sign_in(name)
        known(one.ask(), cookie_app, name)
        one.send("/language", language="fa", draft="the same words " * 100)
        assert one.client.cookies["session"].startswith("."), "now it is compressed"
        known(one.ask(), cookie_app, name)


def test_flasks_own_cookie_anonymous_touched_or_garbage(cookie_gate, visit):
    passer = person(visit, cookie_gate)
    passer.send("/language", language="fa")
    explained(cookie_gate, API, passer.cookie, "session_anonymous", "signed in")
    value = person(visit, cookie_gate).sign_in("tara").client.cookies["session"]
    body, time, signature = value.rsplit(".", 2)
    touched = {"Cookie": f"session={body[:-1]}{'A' if body[-1] != 'A' else 'B'}.{time}.{signature}"}
    explained(cookie_gate, API, touched, "session_signature", "SECRET_KEY")
    for other in ("garbage", "x" * 4096, f"{body}.{time}"):
        answer = cookie_gate.get(API, headers={"Cookie": f"session={other}"})
        assert answer.status_code == 401, answer.text
        assert answer.json()["code"] in ("session_malformed", "session_signature"), answer.text


def test_flasks_own_cookie_expires_by_its_age(new_database, start_app, gateway, visit):
    app = start_app(FlaskSite, new_database("sqlite", "age"), sessions="cookie", LIFETIME_S="3")
    gate = gateway(flask_file(app, keys='lifetime = "3s"'), env=environment(app))
    kept = person(visit, gate).sign_in("tara").cookie
    known(gate.get(API, headers=kept), app, "tara")
    # Seconds are whole in this cookie: it is good in its third second, and over in its fourth.
    refused_soon(lambda: gate.get(API, headers=kept), "session_expired", 4 + SLACK_S)
    explained(gate, API, kept, "session_expired", "expired")
    assert not app_agrees(app, kept)


def test_what_flask_cannot_call_back_the_gateway_can_by_the_directory(new_database, start_app, gateway, visit):
    app = start_app(FlaskSite, new_database("sqlite", "closed"), sessions="cookie")
    gate = gateway(flask_file(app, directory=True), env=environment(app))
    name = app.spare()
    agent = person(visit, gate).sign_in(name)
    known(agent.ask(), app, name)
    app.database.execute("UPDATE agents SET active = 0 WHERE username = %s", (name,))
    # Flask's own cookie rests on nothing that could be asked again: the directory's `cache` of 5 s holds.
    refused_soon(agent.ask, "user_inactive", 5 + SLACK_S)


# ---- files, and what Flask-Login adds ----


@pytest.mark.parametrize("version", ["0.5", "0.8"])
def test_sessions_in_files_live_and_die_at_the_gateway_as_in_flask(
    version, new_database, start_app, gateway, visit, tmp_path
):
    database, folder = new_database("sqlite", f"files{version[-1]}"), tmp_path / "sessions"
    app = start_app(FlaskSite, database, version=version, sessions="filesystem", SESSION_FILES=str(folder))
    gate = gateway(flask_file(app, cache=CACHE), env=environment(app))
    tara = person(visit, gate).sign_in("tara")
    known(tara.ask(), app, "tara")
    for cookie in ("../tara", "x" * 43, "..%2f..%2fetc%2fpasswd"):
        assert gate.get(API, headers={"Cookie": f"session={cookie}"}).status_code == 401, cookie
    kept = tara.cookie
    sign_out(tara)
    refused_soon(lambda: gate.get(API, headers=kept), "session_unknown", SOON)
    assert not app_agrees(app, kept)


@pytest.fixture(scope="module")
def remembering(new_database, start_app):
    """The app under strong protection, with a login that remembers."""
    env = {"PROTECTION": "strong", "PERMANENT": "no", "REMEMBER": "yes"}
    return start_app(FlaskSite, new_database("sqlite", "strong"), sessions="cookie", **env)


@pytest.fixture(scope="module")
def strong(module_gateway, remembering):
    keys = 'session_protection = "strong"\nremember_cookie = "remember_token"'
    return module_gateway(flask_file(remembering, keys=keys), env=environment(remembering))


def test_under_strong_protection_a_session_is_good_for_the_browser_that_began_it(strong, remembering, visit):
    tara = person(visit, strong).sign_in("tara")
    known(tara.ask(), remembering, "tara")
    stolen = {**tara.cookie, "User-Agent": "another-browser/1.0"}
    told = explained(strong, API, stolen, "session_anonymous", "strong", "user-agent")
    assert "another-browser" not in str(told["detail"])
    # What strong protection refuses no cookie may remember, and the app says the same.
    both = f"{stolen['Cookie']}; remember_token={tara.client.cookies['remember_token']}"
    refused(strong.get(API, headers={**stolen, "Cookie": both}), 401, "session_anonymous")
    assert strong.get("/api/auth/me", headers={**stolen, "Cookie": both}).headers["x-refused-by"] == "app"
    known(tara.ask(), remembering, "tara")


def test_whom_flask_login_remembers_the_gateway_knows_as_the_app_does(strong, remembering, visit):
    tara = person(visit, strong).sign_in("tara")
    token = tara.client.cookies["remember_token"]
    remembered = {"Cookie": f"remember_token={token}"}
    seen = known_by_cookie(strong.get(API, headers=remembered))
    assert seen["app_user"] == remembering.id_of("tara"), "the app got the cookie too"
    user, _, digest = token.rpartition("|")
    for other in (f"3|{digest}", f"{user}|{digest.upper()}", f"{user}|{digest[:-2]}"):
        explained(strong, API, {"Cookie": f"remember_token={other}"}, "session_signature", "SECRET_KEY")
    explained(strong, API, {"Cookie": "remember_token=garbage"}, "session_malformed", "flask-login")
    # The session that names a user comes first.
    sina = person(visit, strong).sign_in("sina")
    both = {"Cookie": f"{sina.cookie['Cookie']}; remember_token={token}"}
    known(strong.get(API, headers=both), remembering, "sina")
    # The browser's own cookies, after a sign-out: nobody.
    tara.sign_out("/logout", "/tickets")
    assert "remember_token" not in tara.client.cookies
    refused(tara.client.get(API), 401, "credentials_missing")


def test_a_remember_cookie_is_no_credential_where_the_file_does_not_say_so(cookie_gate, remembering, strong, visit):
    token = person(visit, strong).sign_in("tara").client.cookies["remember_token"]
    refused(cookie_gate.get(API, headers={"Cookie": f"remember_token={token}"}), 401, "credentials_missing")


def test_a_remembered_caller_keeps_the_visitors_session(new_database, start_app, gateway, visit):
    app = start_app(FlaskSite, new_database("sqlite", "remember"), sessions="cookie", REMEMBER="yes")
    gate = gateway(flask_file(app, keys='remember_cookie = "remember_token"'), env=environment(app))
    token = person(visit, gate).sign_in("tara").client.cookies["remember_token"]
    passer = person(visit, gate)
    passer.send("/language", language="fa")
    cookies = {"Cookie": f"{passer.cookie['Cookie']}; remember_token={token}"}
    answer = gate.get(API, headers=cookies)
    assert known_by_cookie(answer)["app_user"] == app.id_of("tara")
    assert answer.headers["set-cookie"].startswith("session="), "the app goes on with the visitor's session"
    bad = {"Cookie": f"{passer.cookie['Cookie']}; remember_token={token[:-1]}"}
    refused(gate.get(API, headers=bad), 401, "session_signature")


def known_by_cookie(answer):
    """The answer of the app to Tara, whom a cookie remembers: a user without roles."""
    seen = passed(answer).json()
    assert seen["headers"]["X_AUTH_USER"] == "2" and not seen["headers"].get("X_AUTH_ROLES"), seen
    return seen
