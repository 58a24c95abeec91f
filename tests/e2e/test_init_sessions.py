"""The file that `init` writes for an app with a login page, as it stands: who signs in at the app is known."""

import re

import httpx
import pytest

from harness.apps import APPS
from harness.check import passed, refused
from harness.gateway import run_binary
from harness.ports import wait_for
from harness.session_apps import DjangoSite, FlaskSite
from harness.tokens import bearer


@pytest.fixture
def written(tmp_path, gateway):
    """`written(app, "--django", "manage.py") -> Gateway` with the file that `init` wrote for the app's own settings."""

    def start(app, *which):
        file = tmp_path / "gateway.toml"
        done = run_binary(
            "init", *which, "--python", app.python, "--upstream", app.url, "--output", file,
            env=app.settings, cwd=APPS / app.name, timeout=60,
        )  # fmt: skip
        assert done.code == 0, done
        text = file.read_text()
        assert app.secret not in text and "private-to-the-tests" not in text
        for name, address in (("https", "0.0.0.0:8443"), ("http", "0.0.0.0:8080"), ("admin", "127.0.0.1:9090")):
            text = text.replace(f'"{address}"', f'"127.0.0.1:{{{name}}}"')
        # The operator's part: the environment that the file asks for, with a database user who may only read.
        names = set(re.findall(r'env = "(\w+)"', text))
        env = {name: app.secret if "SECRET" in name else app.database.reader_url for name in names}
        folder = tmp_path / "gateway"
        folder.mkdir()
        return gateway(text, env=env, folder=folder)

    return start


def test_djangos_file_knows_who_signed_in_by_session_and_by_token(new_database, start_app, written, visit):
    app = start_app(DjangoSite, new_database("postgres", "init_django"))
    gate = written(app, "--django", "manage.py")
    refused(gate.get("/api/auth/me"), 401, "credentials_missing")
    tara = visit(gate, api="/api/auth/me").sign_in("tara")
    answer = passed(tara.ask())
    assert answer.json()["username"] == "tara"
    line = gate.access_line(answer)
    assert line["user"] == "2" and line["authenticator"] == "session", line
    access = httpx.post(
        app.url + "/api/token/", json={"username": "sina", "password": "sina-password"}, trust_env=False
    ).json()["access"]
    assert passed(gate.get("/api/auth/me", headers=bearer(access))).json()["username"] == "sina"
    kept = tara.cookie
    tara.sign_out()
    # While the verdict is reused it is the app that refuses.
    wait_for(
        lambda: gate.get("/api/auth/me", headers=kept).headers["x-refused-by"] == "gateway", 3, "the gateway's own"
    )
    refused(gate.get("/api/auth/me", headers=kept), 401, "session_unknown")


def test_flasks_file_knows_who_signed_in_and_keeps_nobody_out_before_it_is_told_to(
    new_database, start_app, written, visit
):
    app = start_app(FlaskSite, new_database("postgres", "init_flask"), SIGNER="yes")
    gate = written(app, "--flask", "app:app")
    assert gate.get("/").status_code == 200
    assert gate.get("/api/auth/me").headers["x-refused-by"] == "app"
    tara = visit(gate, session="session", login="/login", api="/api/tickets/").sign_in("tara")
    seen = passed(tara.ask()).json()
    assert seen["headers"]["X_AUTH_USER"] == "2" and seen["app_user"] == 2, seen
    kept = tara.cookie
    tara.sign_out("/logout", "/tickets")
    assert gate.get("/api/tickets/", headers=kept).json()["headers"].get("X_AUTH_USER") is None
