"""The sessions of an unmodified Django app: who signed in at its own page is known at the gateway.

For as long as Django knows them, and not longer than `cache` after that.

The app keeps its sessions in PostgreSQL here; test_django_matrix.py goes through versions, backends and databases.
"""

import pytest

from harness.check import passed, refused
from harness.ports import wait_for
from harness.session_apps import DjangoSite
from harness.session_files import django_file, environment
from harness.tokens import bearer
from harness.visitor import CACHE_S, SLACK_S, explained, known, refused_soon

OPTIONAL = """
[[route]]
path = "/api/optional/{*rest}"
upstream = "app"
auth = { optional = ["session"] }
strip_prefix = "/api/optional"
add_prefix = "/api/orders"
"""


@pytest.fixture(scope="module")
def app(new_database, start_app):
    return start_app(DjangoSite, new_database("postgres", "django"))


@pytest.fixture(scope="module")
def gate(module_gateway, app):
    return module_gateway(django_file(app, more=OPTIONAL), env=environment(app))


def test_who_signed_in_at_the_apps_own_page_is_known_with_the_roles_of_its_table(gate, app, visit):
    refused(gate.get("/api/orders/x"), 401, "credentials_missing")
    for name in ("hana", "tara", "sina"):
        seen = known(visit(gate).sign_in(name).ask(), app, name)
        assert seen["cookies"] == ["sessionid"], "the app's own cookie passes on"
        assert seen["headers"]["X_AUTH_EMAIL"] == f"{name}@example.com"


def test_roles_decide_by_the_table(gate, app, visit):
    refused(visit(gate).sign_in("tara").ask("/api/supervisor/"), 403, "role_missing")
    known(visit(gate).sign_in("sina").ask("/api/supervisor/"), app, "sina")


def test_a_role_that_changes_in_the_table_holds_within_the_cache_time(gate, app, visit):
    name = app.spare()
    person = visit(gate).sign_in(name)
    refused(person.ask("/api/supervisor/"), 403, "role_missing")
    app.database.execute("UPDATE accounts_user SET role = 'supervisor' WHERE username = %s", (name,))
    wait_for(lambda: person.ask("/api/supervisor/").status_code == 200, CACHE_S + SLACK_S, "the new role")


def test_identity_headers_of_the_client_do_not_stand_beside_the_sessions(gate, app, visit):
    tara = visit(gate).sign_in("tara")
    known(tara.ask(headers={"X-Auth-User": "3", "X_Auth_Roles": "supervisor", "x-auth_user": "3"}), app, "tara")


def test_signing_out_ends_the_session_within_the_cache_time(gate, app, visit):
    person = visit(gate).sign_in(app.spare())
    kept = person.cookie
    passed(person.ask())
    person.sign_out()
    refused_soon(lambda: gate.get("/api/orders/", headers=kept), "session_unknown")
    explained(gate, "/api/orders/", kept, "session_unknown")


def test_changing_the_password_ends_the_other_sessions_and_keeps_this_one(gate, app, visit):
    name = app.spare()
    here, there, elsewhere = (visit(gate).sign_in(name) for _ in range(3))
    passed(there.ask())
    words = {"old_password": f"{name}-password", "new_password1": "another-one-9", "new_password2": "another-one-9"}
    assert here.submit("/accounts/password/", **words).status_code == 302
    # Nothing is remembered of this one: it is refused at once, though the user was looked up a moment ago.
    explained(gate, "/api/orders/", elsewhere.cookie, "session_user_changed", "password", "SECRET_KEY")
    # A verdict of the other may be reused for a moment; the app then drops the session by itself.
    refused_soon(there.ask, "session_user_changed", or_else="session_unknown")
    known(here.ask(), app, name)


def test_a_user_whom_the_staff_deactivates_is_out_within_the_cache_time(gate, app, visit):
    name = app.spare()
    person = visit(gate).sign_in(name)
    passed(person.ask())
    sina = visit(gate).sign_in("sina")
    page = sina.client.get("/profile/").text
    assert sina.send(f"/staff/users/{app.id_of(name)}/deactivate/", page).status_code == 302
    refused_soon(person.ask, "user_inactive")
    explained(gate, "/api/orders/", person.cookie, "user_inactive", "active")


def test_a_user_whose_row_is_gone_is_unknown_and_the_answer_does_not_say_so(gate, app, visit):
    name = app.spare()
    person = visit(gate).sign_in(name)
    passed(person.ask())
    app.database.execute("DELETE FROM accounts_user WHERE username = %s", (name,))
    answer, _ = refused_soon(person.ask, "user_unknown")
    assert name not in answer.text and str(app.id_of(name)) not in answer.json()["detail"]
    explained(gate, "/api/orders/", person.cookie, "user_unknown", "user")


def test_a_session_that_was_not_to_be_remembered_expires_with_its_own_code(gate, app, visit):
    person = visit(gate).sign_in(app.spare(), remember=False)
    passed(person.ask())
    # It ends 3 s after the login, whatever verdict is kept.
    refused_soon(person.ask, "session_expired", within=3 + CACHE_S)
    explained(gate, "/api/orders/", person.cookie, "session_expired", "expired")


def test_a_verdict_that_is_kept_does_not_outlive_the_session_however_often_it_is_used(gate, app, visit):
    person = visit(gate).sign_in(app.spare())
    passed(person.ask())
    app.database.execute("DELETE FROM django_session WHERE session_key = %s", (person.client.cookies["sessionid"],))
    _, took = refused_soon(person.ask, "session_unknown")
    assert took <= CACHE_S + 1


def test_a_session_of_somebody_who_is_not_signed_in_is_anonymous(gate, visit):
    person = visit(gate)
    assert person.submit("/basket/", item="lamp").status_code == 302
    refused(person.ask(), 401, "session_anonymous")
    explained(gate, "/api/orders/", person.cookie, "session_anonymous", "signed in")


def test_a_key_that_nobody_has_is_unknown_and_one_that_cannot_be_is_malformed(gate):
    unknown = {"Cookie": "sessionid=" + "a" * 32}
    refused(gate.get("/api/orders/", headers=unknown), 401, "session_unknown")
    explained(gate, "/api/orders/", unknown, "session_unknown")
    for value in ("short", "x" * 4096, "a" * 32 + "é", '"' + "a" * 32, "' OR 1=1 --12345678"):
        headers = [(b"Cookie", f"sessionid={value}".encode())]
        refused(gate.get("/api/orders/", headers=headers), 401, "session_malformed")


def test_the_cookie_twice_with_two_values_is_malformed(gate, visit):
    tara = visit(gate).sign_in("tara")
    both = {"Cookie": tara.cookie["Cookie"] + "; sessionid=" + "b" * 32}
    refused(gate.get("/api/orders/", headers=both), 401, "session_malformed")
    explained(gate, "/api/orders/", both, "session_malformed")


def test_a_token_or_a_session_will_do_and_each_names_itself(gate, app, visit):
    tara = visit(gate).sign_in("tara")
    known(tara.ask(), app, "tara")
    pair = gate.post("/api/token/", json={"username": "sina", "password": "sina-password"}).json()
    known(gate.get("/api/orders/", headers=bearer(pair["access"])), app, "sina", method="token")


def test_a_form_of_another_site_does_not_ride_on_the_session(gate, app, visit):
    tara = visit(gate).sign_in("tara")
    other = {**tara.cookie, "Origin": "https://evil.example"}
    refused(gate.post("/api/orders/", headers=other), 403, "csrf_failed")


def test_where_signing_in_is_a_choice_nobody_passes_and_a_dead_session_does_not(gate, app, visit):
    assert gate.get("/api/optional/x").json()["headers"].get("X_AUTH_USER") is None
    person = visit(gate).sign_in(app.spare())
    assert person.ask("/api/optional/x").json()["headers"]["X_AUTH_ROLES"] == "technician"
    kept = person.cookie
    person.sign_out()
    refused_soon(lambda: gate.get("/api/optional/x", headers=kept), "session_unknown")


def test_a_restart_of_app_and_gateway_changes_nothing(new_database, start_app, gateway, visit):
    app = start_app(DjangoSite, new_database("postgres", "django_restart"))
    gate = gateway(django_file(app), env=environment(app))
    tara = visit(gate).sign_in("tara")
    known(tara.ask(), app, "tara")
    app.restart()
    known(tara.ask(), app, "tara")
    gate.stop()
    gate.start()
    known(tara.ask(), app, "tara")
    app.database.server.restart()
    wait_for(lambda: tara.ask().status_code == 200, 5, "the session after the database's restart")
    known(tara.ask(), app, "tara")


def test_the_gateway_reads_and_writes_nothing(gate, app, visit):
    person = visit(gate).sign_in(app.spare())
    key = person.client.cookies["sessionid"]
    read = "SELECT session_data, expire_date FROM django_session WHERE session_key = %s"
    before = app.database.execute(read, (key,))
    passed(person.ask())
    for _ in range(3):
        refused(gate.get("/api/orders/", headers={"Cookie": "sessionid=" + "c" * 32}), 401, "session_unknown")
    assert app.database.execute(read, (key,)) == before
    rights = "SELECT DISTINCT privilege_type FROM information_schema.role_table_grants WHERE grantee = %s"
    assert app.database.execute(rights, (f"{app.database.name}_reader",)) == [("SELECT",)]


def test_the_session_never_stands_in_the_log(gate, visit):
    tara = visit(gate).sign_in("tara")
    key = tara.client.cookies["sessionid"]
    line = gate.access_line(passed(tara.ask()))
    assert "2" in map(str, line.values()) and "session" in line.values(), line
    assert key not in gate.output() and key not in gate.metrics_text()


def test_signing_out_through_a_public_route_is_known_at_once(app, gateway, visit):
    gate = gateway(django_file(app, cache="1m"), env=environment(app))
    person = visit(gate).sign_in(app.spare())
    kept = person.cookie
    passed(person.ask())
    person.sign_out()
    refused(gate.get("/api/orders/", headers=kept), 401, "session_unknown")


def test_a_backend_that_the_app_no_longer_lists_signs_nobody_in(app, start_app, gateway, visit):
    every = "django.contrib.auth.backends.AllowAllUsersModelBackend"
    usual = "django.contrib.auth.backends.ModelBackend"
    moved = start_app(DjangoSite, app.database, BACKENDS=every)
    before = gateway(django_file(app, keys=f'authentication_backends = ["{usual}"]'), env=environment(app))
    after = gateway(django_file(moved, keys=f'authentication_backends = ["{every}"]'), env=environment(moved))
    tara = visit(before).sign_in("tara")
    known(tara.ask(), app, "tara")
    explained(after, "/api/orders/", tara.cookie, "session_anonymous", usual, "authentication_backends")
    assert after.get("/api/auth/me", headers=tara.cookie).status_code == 401, "the app says the same"
    known(visit(after).sign_in("tara").ask(), moved, "tara")


def test_sessions_in_files_live_and_die_at_the_gateway_as_in_django(new_database, start_app, gateway, visit, tmp_path):
    folder = tmp_path / "sessions"
    folder.mkdir()
    database = new_database("sqlite", "django_files")
    site = start_app(DjangoSite, database, engine="file", SESSION_FILES=str(folder), SESSION_COOKIE_AGE="8")
    gate = gateway(django_file(site, cache="300ms", keys='lifetime = "8s"'), env=environment(site))
    tara = visit(gate).sign_in("tara")
    known(tara.ask(), site, "tara")
    key = tara.client.cookies["sessionid"]
    assert (folder / f"sessionid{key}").is_file()
    refused(gate.get("/api/orders/", headers={"Cookie": f"sessionid={key.upper()}"}), 401, "session_unknown")
    kept = tara.cookie
    tara.sign_out()
    refused_soon(lambda: gate.get("/api/orders/", headers=kept), "session_unknown")
    hana = visit(gate).sign_in("hana")
    passed(hana.ask())
    # By the age of the file, as Django counts it; what it then puts in its place is nobody's.
    refused_soon(hana.ask, "session_expired", within=8 + CACHE_S, or_else="session_unknown")
