"""The apps with a login page stand alone: whatever fails behind the gateway did not fail here.

The gateway's routes are all public in this file, so that what answers is the app.
"""

import pytest

from harness.session_apps import DjangoSite, FlaskSite

PUBLIC = """
[upstream.app]
servers = ["{app}"]

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""


def me(visitor):
    """What the app's own account endpoint says."""
    return visitor.gate.get("/api/auth/me", headers=visitor.cookie)


@pytest.mark.parametrize("version", ["4.2", "newest"])
def test_django_signs_in_and_out_by_itself(version, new_database, start_app, module_gateway, visit):
    app = start_app(DjangoSite, new_database("sqlite", "alone"), version=version)
    gate = module_gateway(PUBLIC, app=app.upstream)
    assert gate.get("/api/auth/me").status_code == 401
    tara = visit(gate).sign_in("tara")
    assert me(tara).json()["user"] == {"roles": ["technician"], "active": True}
    seen = gate.get("/api/orders/x", headers=tara.cookie).json()
    assert seen["headers"] == {} and seen["app_user"] == 2 and seen["app_roles"] == ["technician"]

    name = app.spare()
    harmed, elsewhere = visit(gate).sign_in(name), visit(gate).sign_in(name)
    words = {"old_password": f"{name}-password", "new_password1": "another-one-9", "new_password2": "another-one-9"}
    assert elsewhere.submit("/accounts/password/", **words).status_code == 302
    assert me(elsewhere).status_code == 200 and me(harmed).status_code == 401

    sina = visit(gate).sign_in("sina")
    page = sina.client.get("/profile/").text
    assert sina.send(f"/staff/users/{app.id_of(name)}/deactivate/", page).status_code == 302
    assert me(elsewhere).status_code == 401

    kept = tara.cookie
    tara.sign_out()
    assert gate.get("/api/auth/me", headers=kept).status_code == 401


@pytest.mark.parametrize(("version", "sessions"), [("0.5", "redis"), ("0.8", "sqlalchemy"), ("0.8", "cookie")])
def test_flask_signs_in_and_out_by_itself(
    version, sessions, new_database, start_app, module_gateway, visit, redis_server
):
    app = start_app(
        FlaskSite, new_database("sqlite", "alone"), version=version, sessions=sessions, redis_url=redis_server.url("session-apps")
    )
    gate = module_gateway(PUBLIC, app=app.upstream)
    tara = visit(gate, session="session", login="/login").sign_in("tara")
    assert me(tara).json() == {"id": 2, "username": "tara", "roles": ["technician"]}
    anonymous = visit(gate, session="session")
    anonymous.send("/language", language="fa")
    assert me(anonymous).status_code == 401
    kept = tara.cookie
    tara.sign_out("/logout", "/tickets")
    # Flask's own cookie cannot be called back: the app itself takes it until it ends.
    assert gate.get("/api/auth/me", headers=kept).status_code == (200 if sessions == "cookie" else 401)
