"""SECRET_KEY changes under live sessions: with the old key listed nobody notices; without it the operator is told."""

import time

import pytest

from harness.check import passed, refused
from harness.ports import wait_for
from harness.session_apps import NEW_SECRET, SECRET, DjangoSite, FlaskSite
from harness.session_files import django_file, environment, flask_file
from harness.visitor import explained, known

BOTH = '[{ env = "NEW_KEY" }, { env = "SECRET_KEY" }]'
NEW = '[{ env = "NEW_KEY" }]'
ENV = {"NEW_KEY": NEW_SECRET}
SUSPECTED = "portcullis_auth_secret_change_suspected"
LISTED = """
[auth.listed]
type = "django-session"
secret = {secret}
database = { env = "DATABASE_URL" }
directory = "users"
cache = "100ms"

[[route]]
path = "/listed/{*rest}"
upstream = "app"
auth = ["listed"]
strip_prefix = "/listed"
"""


def suspected(gate):
    """The authenticators whose metric says that a secret may have changed."""
    return [labels["authenticator"] for sample, labels, value in gate.metrics() if sample == SUSPECTED and value == 1]


def listing(secret):
    """A second authenticator for the same sessions, at a route of its own."""
    return LISTED.replace("{secret}", secret)


@pytest.mark.parametrize("engine", ["db", "signed_cookies"])
def test_with_the_old_key_as_fallback_in_app_and_gateway_nobody_is_signed_out(
    engine, new_database, start_app, gateway, visit
):
    app = start_app(DjangoSite, new_database("sqlite", f"rotation_{engine}"), engine=engine)
    gate = gateway(django_file(app, cache="100ms"), env={**environment(app), **ENV})
    people = [visit(gate).sign_in("tara") for _ in range(6)]
    kept = [one.cookie for one in people]
    for headers in kept:
        known(gate.get("/api/orders/", headers=headers), app, "tara")
    gate.reload(django_file(app, cache="100ms", secret=BOTH))
    app.restart({"SECRET_KEY": NEW_SECRET, "FALLBACKS": SECRET})
    for headers in kept:
        seen = passed(gate.get("/api/orders/", headers=headers)).json()["headers"]
        assert seen["X_AUTH_USER"] == "2" and seen["X_AUTH_ROLES"] == "technician", seen
    known(visit(gate).sign_in("sina").ask(), app, "sina")
    assert suspected(gate) == []


@pytest.mark.timeout(240)
def test_who_forgot_the_old_key_hears_of_it_and_who_listed_it_does_not(new_database, start_app, gateway, visit):
    app = start_app(DjangoSite, new_database("sqlite", "alarm"))
    before = django_file(app, cache="100ms") + listing('{ env = "SECRET_KEY" }')
    gate = gateway(before, env={**environment(app), **ENV})
    kept = [visit(gate).sign_in("tara").cookie for _ in range(12)]

    def statuses():
        """How the live sessions fare: without the old key, and with it."""
        time.sleep(0.2)
        return tuple({gate.get(path, headers=one).status_code for one in kept} for path in ("/api/orders/", "/listed/"))

    began = time.monotonic()
    while time.monotonic() - began < 6:
        assert statuses() == ({200}, {200})
    assert suspected(gate) == []
    gate.reload(django_file(app, cache="100ms", secret=NEW) + listing(BOTH))
    wait_for(lambda: statuses() == ({401}, {200}) and suspected(gate), 60, "the alarm")
    assert suspected(gate) == ["session"], "who knows both keys goes on"
    explained(gate, "/api/orders/", kept[0], "session_signature", "another key", "SECRET_KEY")
    loud = [line for line in gate.log_lines() if line.get("authenticator") == "session" and line["level"] == "error"]
    assert len(loud) == 1 and "was SECRET_KEY changed at" in loud[0]["message"], loud
    assert "was SECRET_KEY changed at" in gate.get("/", door="admin").text
    app.restart({"SECRET_KEY": NEW_SECRET, "FALLBACKS": SECRET})
    known(visit(gate).sign_in("sina").ask(), app, "sina")


@pytest.mark.parametrize("engine", ["db", "signed_cookies"])
def test_without_the_old_key_every_session_is_refused_for_its_signature(
    engine, new_database, start_app, gateway, visit
):
    app = start_app(DjangoSite, new_database("sqlite", f"forgotten_{engine}"), engine=engine)
    gate = gateway(django_file(app, cache="100ms"), env={**environment(app), **ENV})
    kept = [visit(gate).sign_in("tara").cookie for _ in range(3)]
    for headers in kept:
        passed(gate.get("/api/orders/", headers=headers))
    gate.reload(django_file(app, cache="100ms", secret=NEW))
    app.restart({"SECRET_KEY": NEW_SECRET})
    for headers in kept:
        refused(gate.get("/api/orders/", headers=headers), 401, "session_signature")
    explained(gate, "/api/orders/", kept[0], "session_signature", "another key", "SECRET_KEY")
    # Whoever signs in anew is known.
    known(visit(gate).sign_in("tara").ask(), app, "tara")


def test_a_key_that_changed_in_the_app_alone_is_named_as_such(new_database, start_app, gateway, visit):
    app = start_app(DjangoSite, new_database("sqlite", "app_alone"))
    gate = gateway(django_file(app, cache="100ms"), env=environment(app))
    app.restart({"SECRET_KEY": NEW_SECRET})
    person = visit(gate).sign_in("tara")
    explained(gate, "/api/orders/", person.cookie, "session_signature", "is SECRET_KEY the same in the app and here?")


def test_flasks_cookie_lives_through_a_rotation_with_the_old_key_listed(new_database, start_app, gateway, visit):
    app = start_app(FlaskSite, new_database("sqlite", "rotation_flask"), sessions="cookie")
    gate = gateway(flask_file(app), env={**environment(app), **ENV})
    kept = visit(gate, session="session", login="/login").sign_in("tara").cookie
    known(gate.get("/api/tickets/", headers=kept), app, "tara")
    gate.reload(flask_file(app).replace('secret = { env = "SECRET_KEY" }', f"secret = {BOTH}"))
    app.restart({"SECRET_KEY": NEW_SECRET, "FALLBACKS": SECRET})
    known(gate.get("/api/tickets/", headers=kept), app, "tara")
    gate.reload(flask_file(app).replace('secret = { env = "SECRET_KEY" }', f"secret = {NEW}"))
    explained(gate, "/api/tickets/", kept, "session_signature", "another key", "SECRET_KEY")
