"""SECRET_KEY changes under live sessions: with the old key listed nobody notices; without it the operator is told."""

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


def suspected(gate, name="session"):
    """Whether the metric says that a secret may have changed."""
    return any(
        value == 1 for sample, labels, value in gate.metrics() if sample == SUSPECTED and name in labels.values()
    )


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
    assert not suspected(gate)


@pytest.mark.parametrize("engine", ["db", "signed_cookies"])
def test_without_the_old_key_every_session_is_refused_and_the_operator_hears_of_it(
    engine, new_database, start_app, gateway, visit
):
    app = start_app(DjangoSite, new_database("sqlite", f"alarm_{engine}"), engine=engine)
    gate = gateway(django_file(app, cache="100ms"), env={**environment(app), **ENV})
    kept = [visit(gate).sign_in("tara").cookie for _ in range(12)]
    for headers in kept * 2:
        passed(gate.get("/api/orders/", headers=headers))
    assert not suspected(gate)
    app.restart({"SECRET_KEY": NEW_SECRET})
    gate.reload(django_file(app, cache="100ms", secret=NEW))
    for headers in kept * 2:
        refused(gate.get("/api/orders/", headers=headers), 401, "session_signature")
    explained(gate, "/api/orders/", kept[0], "session_signature", "another key", "SECRET_KEY")
    wait_for(lambda: suspected(gate), 15, "the alarm")
    loud = [
        line for line in gate.log_lines() if "SECRET_KEY" in str(line) and str(line.get("level")).lower() == "error"
    ]
    assert len(loud) == 1, loud
    assert "SECRET_KEY" in gate.get("/", door="admin").text
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
