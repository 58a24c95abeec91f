"""`forward`: the app itself is asked who the caller is, through an endpoint that it has anyway."""

import asyncio

import httpx
import pytest

from harness.check import passed, refused
from harness.ports import seconds_until
from harness.session_apps import DjangoSite, FlaskSite
from harness.visitor import SLACK_S, explained, refused_soon

TOML = """
[upstream.app]
servers = ["{app}"]

[auth.asked]
type = "forward"
url = "{url}/api/auth/{me}"
cache = "1s"
timeout = "{timeout}"
{identity}

[[route]]
path = "/api/orders/{*rest}"
upstream = "app"
auth = ["asked"]

[[route]]
path = "/api/tickets/{*rest}"
upstream = "app"
auth = ["asked"]

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""
BODY = 'identity = { user = "id", roles = ["user.roles"], email = "email", name = "username" }'
HEADERS = 'identity_headers = { user = "X-Account", roles = "X-Account-Roles" }'


@pytest.fixture(scope="module")
def app(new_database, start_app):
    return start_app(DjangoSite, new_database("sqlite", "asked"))


@pytest.fixture
def gate_for(gateway, app):
    def start(me="me", timeout="2s", identity=BODY, at=app):
        return gateway(TOML, app=at.upstream, url=at.url, me=me, timeout=timeout, identity=identity)

    return start


def test_the_apps_own_answer_is_the_identity(gate_for, app, visit):
    gate = gate_for()
    refused(gate.get("/api/orders/x"), 401, "credentials_missing")
    told = passed(visit(gate).sign_in("sina").ask()).json()["headers"]
    assert told["X_AUTH_USER"] == "3" and told["X_AUTH_ROLES"] == "supervisor", told
    assert told["X_AUTH_EMAIL"] == "sina@example.com" and told["X_AUTH_METHOD"] == "asked"


def test_an_answer_in_headers_is_the_identity_too(new_database, start_app, gate_for, visit):
    app = start_app(FlaskSite, new_database("sqlite", "asked_flask"))
    gate = gate_for(identity=HEADERS, at=app)
    tara = visit(gate, session="session", login="/login", api="/api/tickets/").sign_in("tara")
    told = passed(tara.ask()).json()["headers"]
    assert told["X_AUTH_USER"] == "2" and told["X_AUTH_ROLES"] == "technician", told


def test_a_refusal_of_the_app_is_a_refusal_within_the_cache_time(gate_for, app, visit):
    gate = gate_for()
    unknown = {"Cookie": "sessionid=" + "a" * 32}
    refused(gate.get("/api/orders/x", headers=unknown), 401, "session_unknown")
    person = visit(gate).sign_in(app.spare())
    passed(person.ask())
    kept = person.cookie
    person.sign_out()
    refused_soon(lambda: gate.get("/api/orders/x", headers=kept), "session_unknown", 1 + SLACK_S)
    explained(gate, "/api/orders/x", kept, "session_unknown", "401")


def test_an_app_that_fails_is_503_and_never_a_pass_or_a_401(gate_for, app, visit):
    gate = gate_for(me="broken-me")
    tara = visit(gate).sign_in("tara")
    refused(tara.ask(), 503, "auth_unavailable")
    explained(gate, "/api/orders/x", tara.cookie, "auth_unavailable", "500")
    assert gate.get("/").status_code == 200


def test_an_app_that_does_not_answer_in_time_is_503_in_time(gate_for, visit):
    gate = gate_for(me="stuck-me", timeout="500ms")
    tara = visit(gate).sign_in("tara")
    took = seconds_until(lambda: tara.ask().status_code == 503, 3, "a refusal")
    assert 0.4 <= took < 2
    refused(tara.ask(), 503, "auth_unavailable")


def test_an_endpoint_that_is_not_there_is_503(gateway, app):
    gate = gateway(TOML, app=app.upstream, url="http://127.0.0.1:9", me="me", timeout="1s", identity=BODY)
    refused(gate.get("/api/orders/x", headers={"Cookie": "sessionid=" + "a" * 32}), 503, "auth_unavailable")
    refused(gate.get("/api/orders/x"), 401, "credentials_missing")


def test_100_requests_that_wait_ask_once(gate_for, app, visit):
    gate = gate_for(me="slow-me", timeout="3s")
    tara = visit(gate).sign_in("tara")
    before = app.asked("/api/auth/slow-me")

    async def ask_all():
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=gate.plain_url, trust_env=False, timeout=20, limits=limits) as client:
            return await asyncio.gather(*(client.get("/api/orders/x", headers=tara.cookie) for _ in range(100)))

    answers = asyncio.run(ask_all())
    assert [answer.status_code for answer in answers] == [200] * 100
    assert {answer.json()["headers"]["X_AUTH_USER"] for answer in answers} == {"2"}
    app.wait_asked("/api/auth/slow-me", before + 1)
    assert app.asked("/api/auth/slow-me") - before == 1


def test_two_people_are_two_questions(gate_for, app, visit):
    gate = gate_for()
    tara, sina = visit(gate).sign_in("tara"), visit(gate).sign_in("sina")
    told = [passed(one.ask()).json()["headers"]["X_AUTH_USER"] for one in (tara, sina, tara, sina)]
    assert told == ["2", "3", "2", "3"]
