"""A real app that is restarted with another secret under a stream of logins: who knows both keys goes on, who does not is told aloud."""

import re
import time

import pytest

from harness.apps import FLASK_SECRET_KEY, FlaskApp
from harness.ports import wait_for
from harness.tokens import bearer

NEW_SECRET_KEY = "another-flask-test-key-that-is-long-enough-9876543210zyxwvutsr"

TOML = """
[upstream.flask]
servers = ["unix:{socket}"]

[auth.one-key]
type = "jwt"
preset = "flask-jwt-extended"
secret = { env = "FLASK_SECRET_KEY" }
identity = { user = "sub" }

[auth.both-keys]
type = "jwt"
preset = "flask-jwt-extended"
secret = [{ env = "NEW_SECRET_KEY" }, { env = "FLASK_SECRET_KEY" }]
identity = { user = "sub" }

[[route]]
path = "/login"
upstream = "flask"
auth = "public"

[[route]]
path = "/me"
upstream = "flask"
auth = ["one-key"]

[[route]]
path = "/echo"
upstream = "flask"
auth = ["both-keys"]
"""

METRIC = "portcullis_auth_secret_change_suspected"


def sign_in_and_ask(gate, user="tara"):
    """One login through the gateway and one request by each authenticator: their statuses, or None while the app restarts."""
    answer = gate.post("/login", json={"username": user, "password": f"{user}-password"})
    if answer.status_code != 200:
        assert answer.json()["code"] == "upstream_unreachable", answer.text
        return None
    token = bearer(answer.json()["access_token"])
    return gate.get("/me", headers=token).status_code, gate.get("/echo", headers=token).status_code


def suspected(gate):
    """The authenticators whose metric says 1."""
    return [labels["authenticator"] for name, labels, value in gate.metrics() if name == METRIC and value == 1]


@pytest.mark.timeout(240)
def test_a_restart_with_another_secret_is_told_aloud_unless_both_keys_are_listed(gateway, tmp_path):
    flask = FlaskApp(tmp_path)
    try:
        gate = gateway(TOML, env={"NEW_SECRET_KEY": NEW_SECRET_KEY}, socket=flask.socket)
        began = time.monotonic()
        while time.monotonic() - began < 15:
            assert sign_in_and_ask(gate) == (200, 200)
            time.sleep(0.2)
        assert suspected(gate) == []
        assert {labels["authenticator"] for name, labels, _ in gate.metrics() if name == METRIC} == {
            "one-key",
            "both-keys",
        }

        flask.stop()
        flask = FlaskApp(tmp_path, secret=NEW_SECRET_KEY)
        wait_for(lambda: sign_in_and_ask(gate), 20, "the app to be back")
        wait_for(lambda: sign_in_and_ask(gate) == (401, 200) and suspected(gate), 90, "the alarm", every=0.2)
        assert suspected(gate) == ["one-key"], "who knows both keys goes on"
    finally:
        flask.stop()

    told = [line for line in gate.log_lines() if "SECRET_KEY" in str(line.get("message"))]
    assert len(told) == 1 and told[0]["level"].lower() == "error", told
    text = told[0]["message"]
    assert "[auth.one-key]" in text and "add the old key to `secret`" in text
    assert re.search(r"changed at \d\d:\d\d:\d\d UTC", text), text

    page = gate.get("/", door="admin").text
    banner = re.search(r'<p class="alarm" role="alert">(.*?)</p>', page)
    assert banner and "was SECRET_KEY changed at" in banner.group(1) and "[auth.one-key]" in banner.group(1)
    rows = shown(gate, "/api/status")["secret_changes"]
    assert [row["authenticator"] for row in rows] == ["one-key"]
    assert rows[0]["question"] == text
    assert gate.get("/ready", door="admin").status_code == 200, "an alarm sends nobody away"
    assert FLASK_SECRET_KEY not in gate.output() and NEW_SECRET_KEY not in gate.output()


def shown(gate, path):
    """What the admin address says as JSON."""
    answer = gate.get(path, door="admin")
    assert answer.status_code == 200, answer.text
    return answer.json()
