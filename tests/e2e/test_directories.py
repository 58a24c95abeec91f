"""SimpleJWT tokens carry a user's id and nothing else: roles and state come from the app's own tables."""

import time

import httpx
import pytest

from harness.check import passed, refused
from harness.ports import wait_for
from harness.session_apps import DjangoSite
from harness.session_files import django_file, environment
from harness.tokens import bearer, simplejwt
from harness.visitor import SLACK_S, explained, known, refused_soon

CACHE_S = 1.0
FRESHER = 'cache = "1s"\n'


def tokens(app, user, password=None):
    """`{access, refresh}` from the app's own SimpleJWT."""
    sent = {"username": user, "password": password or f"{user}-password"}
    answer = httpx.post(app.url + "/api/token/", json=sent, trust_env=False, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.json()


def file_of(app, roles=None, more="", **options):
    """The app's file with a directory that is kept for one second."""
    toml = django_file(app, **options).replace("[directory.users]\n", "[directory.users]\n" + FRESHER) + more
    return toml.replace('roles = ["column:role"]', f"roles = {roles}") if roles else toml


@pytest.fixture(scope="module")
def app(new_database, start_app):
    return start_app(DjangoSite, new_database("postgres", "maintenance"))


@pytest.fixture(scope="module")
def gate(module_gateway, app):
    return module_gateway(file_of(app), env=environment(app))


def test_a_token_gets_the_role_that_stands_in_the_user_table(gate, app):
    for name in ("hana", "tara", "sina"):
        access = tokens(app, name)["access"]
        seen = known(gate.get("/api/orders/x", headers=bearer(access)), app, name, method="token")
        assert seen["headers"]["X_AUTH_EMAIL"] == f"{name}@example.com"
    refused(gate.get("/api/supervisor/", headers=bearer(tokens(app, "tara")["access"])), 403, "role_missing")
    passed(gate.get("/api/supervisor/", headers=bearer(tokens(app, "sina")["access"])))


def test_roles_that_a_signed_token_carries_count_beside_the_tables_and_no_other_claim_does(gate, app):
    odd = simplejwt(secret=app.secret, user_id="1", role="supervisor", is_staff=True, groups=["supervisor"])
    known(gate.get("/api/orders/x", headers=bearer(odd)), app, "hana", method="token")
    refused(gate.get("/api/supervisor/", headers=bearer(odd)), 403, "role_missing")
    both = gate.get("/api/orders/x", headers=bearer(simplejwt(secret=app.secret, user_id="1", roles=["guest"])))
    assert both.json()["headers"]["X_AUTH_ROLES"] == "guest,host"


def test_a_deactivated_users_token_is_refused_within_the_directorys_cache_time(gate, app):
    name = app.spare()
    headers = bearer(tokens(app, name)["access"])
    passed(gate.get("/api/orders/x", headers=headers))
    app.deactivate(name)
    _, took = refused_soon(lambda: gate.get("/api/orders/x", headers=headers), "user_inactive", CACHE_S + SLACK_S)
    assert took <= CACHE_S + SLACK_S
    explained(gate, "/api/orders/x", headers, "user_inactive", "active")


def test_a_user_who_is_not_in_the_table_is_unknown_and_the_answer_does_not_say_so(gate, app):
    headers = bearer(simplejwt(secret=app.secret, user_id="987654"))
    answer = gate.get("/api/orders/x", headers=headers)
    refused(answer, 401, "user_unknown")
    assert "987654" not in answer.text
    explained(gate, "/api/orders/x", headers, "user_unknown", "user")


@pytest.mark.parametrize("user_id", ["abc", "1 OR 1=1", "1; DROP TABLE accounts_user", "-1", "9" * 40, "é", "1\u0000"])
def test_a_user_id_that_is_none_is_unknown_and_never_a_question_of_its_own(gate, app, user_id):
    answer = gate.get("/api/orders/x", headers=bearer(simplejwt(secret=app.secret, user_id=user_id)))
    assert answer.status_code == 401, answer.text
    assert answer.json()["code"] in ("user_unknown", "token_malformed", "token_claim"), answer.text
    assert app.database.execute("SELECT count(*) FROM accounts_user")[0][0] > 3


def test_an_expired_token_of_an_inactive_user_is_expired(gate, app):
    name = app.spare()
    app.deactivate(name)
    old = bearer(simplejwt(secret=app.secret, lifetime=-60, user_id=str(app.id_of(name))))
    refused(gate.get("/api/orders/x", headers=old), 401, "token_expired")


def test_a_refresh_token_is_no_access_token_whatever_the_table_says(gate, app):
    refused(gate.get("/api/orders/x", headers=bearer(tokens(app, "sina")["refresh"])), 401, "token_claim")


def test_many_requests_of_one_user_ask_the_table_once_in_its_time(gate, app):
    headers = bearer(tokens(app, "tara")["access"])
    passed(gate.get("/api/orders/x", headers=headers))
    count = "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid "
    count += "WHERE rolname = %s AND query ILIKE '%%accounts_user%%'"
    reader = f"{app.database.name}_reader"
    before, began = app.database.execute(count, (reader,))[0][0], time.monotonic()
    while time.monotonic() - began < 3:
        passed(gate.get("/api/orders/x", headers=headers))
    asked = app.database.execute(count, (reader,))[0][0] - before
    assert 1 <= asked <= 4, f"{asked} questions in 3 s with a cache of 1 s"


@pytest.mark.parametrize("kind", ["mariadb", "sqlite"])
def test_groups_and_flags_make_roles_on_every_database(kind, new_database, start_app, gateway):
    app = start_app(DjangoSite, new_database(kind, "groups"), users="stock", version="4.2")
    gate = gateway(file_of(app), env=environment(app))
    for name in ("hana", "tara", "sina"):
        known(gate.get("/api/orders/x", headers=bearer(tokens(app, name)["access"])), app, name, method="token")
    both = file_of(app).replace('roles = ["groups"]', 'roles = ["groups", "flags"]')
    gate.reload(both)
    sina = gate.get("/api/orders/x", headers=bearer(tokens(app, "sina")["access"])).json()["headers"]
    assert {"supervisor", "staff"} <= set(sina["X_AUTH_ROLES"].split(",")) and "superuser" not in sina["X_AUTH_ROLES"]
    tara = gate.get("/api/orders/x", headers=bearer(tokens(app, "tara")["access"])).json()["headers"]
    assert "staff" not in tara["X_AUTH_ROLES"] and "technician" in tara["X_AUTH_ROLES"]
    name = app.spare()
    headers = bearer(tokens(app, name)["access"])
    passed(gate.get("/api/orders/x", headers=headers))
    app.deactivate(name)
    refused_soon(lambda: gate.get("/api/orders/x", headers=headers), "user_inactive", CACHE_S + SLACK_S)


def test_a_password_change_ends_the_tokens_of_an_app_that_checks_for_it(new_database, start_app, gateway, visit):
    app = start_app(DjangoSite, new_database("postgres", "revoking"), CHECK_REVOKE_TOKEN="yes")
    toml = file_of(app).replace("[auth.token]\n", '[auth.token]\nrevoke_claim = "hash_password"\n')
    gate = gateway(toml, env=environment(app))
    name = app.spare()
    headers = bearer(tokens(app, name)["access"])
    known(gate.get("/api/orders/x", headers=headers), app, name, method="token")
    words = {"old_password": f"{name}-password", "new_password1": "another-one-9", "new_password2": "another-one-9"}
    assert visit(gate).sign_in(name).submit("/accounts/password/", **words).status_code == 302
    refused_soon(lambda: gate.get("/api/orders/x", headers=headers), "token_revoked", CACHE_S + SLACK_S)
    assert httpx.get(app.url + "/api/auth/me", headers=headers, trust_env=False).status_code == 401
    explained(gate, "/api/orders/x", headers, "token_revoked", "password")
    renewed = bearer(tokens(app, name, "another-one-9")["access"])
    known(gate.get("/api/orders/x", headers=renewed), app, name, method="token")
    without = bearer(simplejwt(secret=app.secret, user_id=str(app.id_of(name))))
    assert gate.get("/api/orders/x", headers=without).status_code == 401


def test_a_table_or_column_that_is_not_there_is_503_and_says_what_is_wrong(app, gateway):
    headers = bearer(simplejwt(secret=app.secret, user_id="2"))
    for wrong in (
        file_of(app).replace('user_table = "accounts_user"', 'user_table = "accounts_usr"'),
        file_of(app, roles='["column:rank"]'),
    ):
        gate = gateway(wrong, env=environment(app), wait=False)
        wait_for(lambda gate=gate: answers(gate), 20, "the gateway to serve")
        word = "accounts_usr" if "accounts_usr" in wrong else "rank"
        answer = gate.get("/api/orders/x", headers=headers)
        refused(answer, 503, "auth_unavailable")
        assert word not in answer.text, "the client learns nothing of the tables"
        explained(gate, "/api/orders/x", headers, "auth_unavailable", word)


def answers(gate):
    """Whether its public door answers at all; `/ready` may well say no."""
    try:
        return gate.get("/").status_code < 600
    except (httpx.TransportError, AssertionError):
        return False


ENDPOINT = """
[directory.endpoint]
type = "endpoint"
url = "{url}/api/auth/me"
roles = "/user/roles"
user = "/id"
email = "/email"
cache = "1s"
"""


def test_an_endpoint_of_the_app_can_be_the_directory(app, gateway):
    toml = file_of(app, more=ENDPOINT).replace(
        'secret = { env = "SECRET_KEY" }\ndirectory = "users"',
        'secret = { env = "SECRET_KEY" }\ndirectory = "endpoint"',
    )
    gate = gateway(toml, env=environment(app), url=app.url)
    name = app.spare()
    headers = bearer(tokens(app, name)["access"])
    known(gate.get("/api/orders/x", headers=headers), app, name, method="token")
    asked = app.asked("/api/auth/me")
    assert asked >= 1, "the app was asked"
    refused(gate.get("/api/supervisor/", headers=headers), 403, "role_missing")
    app.deactivate(name)
    wait_for(lambda: gate.get("/api/orders/x", headers=headers).status_code == 401, CACHE_S + SLACK_S, "a refusal")
    assert gate.get("/api/orders/x", headers=headers).json()["code"] in ("user_unknown", "user_inactive")
