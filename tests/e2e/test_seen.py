"""What can be seen from outside: metrics, the log, the admin door, the signed assertion."""

import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import jwt
import pytest

from harness.certs import ec_key, private_pem
from harness.check import passed, refused, seen_by_app
from harness.ports import wait_for
from harness.raw import over_tls
from harness.tokens import bearer, simplejwt

TOML = """
[upstream.app]
servers = ["{django}"]

[upstream.dead]
servers = ["http://127.0.0.1:1"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"], email = "email", name = "name" }
sources = ["header:authorization", "query:token"]

[identity]
assertion = { header = "X-Auth-Assertion", key = "assertion.key", ttl = "60s", audience = "django" }

[cors.web]
origins = ["https://page.example.com"]

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = ["token"]
cors = "web"

[[route]]
path = "/api/supervisor/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["supervisor"]

[[route]]
path = "/dead"
upstream = "dead"
auth = "public"

[[route]]
path = "/health/"
upstream = "app"
auth = "public"
"""


@pytest.fixture(scope="module")
def gate(module_gateway, django_app, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen")
    (folder / "assertion.key").write_bytes(private_pem(ec_key()))
    (folder / "assertion.key").chmod(0o600)
    return module_gateway(TOML, folder=folder, django=django_app.url)


# ---- metrics ----


def test_promtool_is_content_with_the_metrics(gate, need):
    promtool = need("promtool")
    passed(gate.get("/health/"))
    refused(gate.get("/api/echo/"), 401, "credentials_missing")
    refused(gate.get("/dead"), 502, "upstream_unreachable")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=gate.metrics_text(), capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def grown(gate, action):
    """What the action changed in the metrics: (name, labels) to the difference."""

    def all_now():
        return {(name, tuple(sorted(labels.items()))): value for name, labels, value in gate.metrics()}

    before = all_now()
    action()
    time.sleep(0.2)
    return {
        (name, labels): value - before.get((name, labels), 0)
        for (name, labels), value in all_now().items()
        if value != before.get((name, labels), 0)
    }


def has(changes, *words, by=1):
    """Whether a counter whose name and label values hold all words grew by this much."""
    for (name, labels), change in changes.items():
        text = name + " " + " ".join(value for _, value in labels)
        if change >= by and all(word in text for word in words):
            return True
    raise AssertionError(
        f"nothing with {words} grew by {by}:\n" + "\n".join(f"{key}: {value}" for key, value in changes.items())
    )


def test_requests_are_counted_by_route_method_and_status_class(gate):
    changes = grown(gate, lambda: [gate.get("/health/") for _ in range(3)])
    has(changes, "requests", "total", "/health/", "2xx", by=3)
    changes = grown(gate, lambda: gate.get("/dead"))
    has(changes, "requests", "/dead", "5xx")


def test_a_request_is_under_way_from_its_head_on_until_it_is_over_or_its_client_left(gate):
    def under_way():
        return [value for name, _, value in gate.metrics() if name == "portcullis_requests_in_flight"]

    credentials = bearer(simplejwt())
    with ThreadPoolExecutor() as pool:
        slow = [pool.submit(gate.get, "/api/slow/?seconds=2", headers=credentials) for _ in range(3)]
        wait_for(lambda: under_way() == [3], 5, "three requests to be under way")
        for answer in slow:
            passed(answer.result())
    wait_for(lambda: under_way() == [0], 5, "all three to be over")
    with over_tls(gate) as raw:
        raw.send(
            "GET /api/slow/?seconds=3 HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: {credentials['Authorization']}\r\n\r\n".encode()
        )
        wait_for(lambda: under_way() == [1], 2, "another one to be under way")
    wait_for(lambda: under_way() == [0], 2, "the request of a client that left to be over")


def test_verdicts_are_counted_by_authenticator_and_code(gate):
    has(
        grown(gate, lambda: gate.get("/api/echo/", headers=bearer(simplejwt(lifetime=-60)))),
        "auth",
        "token",
        "token_expired",
    )
    has(grown(gate, lambda: gate.get("/api/supervisor/report/", headers=bearer(simplejwt()))), "role_missing")


def test_preflights_are_counted_by_verdict(gate):
    def ask(origin):
        return gate.request("OPTIONS", "/api/echo/", headers={"Origin": origin, "Access-Control-Request-Method": "GET"})

    good = grown(gate, lambda: ask("https://page.example.com"))
    bad = grown(gate, lambda: ask("https://evil.example"))
    has(good, "preflight"), has(bad, "preflight")
    assert {key for key in good if "preflight" in key[0]} != {key for key in bad if "preflight" in key[0]}


def test_what_behaviour_md_lists_is_there(gate):
    text = gate.metrics_text()
    names = set(re.findall(r"^# HELP (\S+)", text, re.M))
    for words in (
        ("requests",), ("auth",), ("preflight",), ("gateway", "seconds"), ("upstream", "seconds"), ("connections",), ("websocket",),
        ("bytes",), ("retries",), ("certificate",), ("reload",), ("build_info",),
    ):  # fmt: skip
        assert any(all(word in name for word in words) for name in names), (words, sorted(names))
    assert any("not_after" in name for name in names) and any("reload" in name and "last" in name for name in names), (
        sorted(names)
    )


def test_labels_come_from_the_configuration_only(gate):
    for number in range(50):
        gate.get(
            f"/nowhere/{number}", headers={"Host": f"localhost:{gate.ports['https']}", "User-Agent": f"agent-{number}"}
        )
        gate.request(f"METHOD{number}", "/health/")
        gate.get(
            "/api/echo/",
            headers={"Origin": f"https://o{number}.example", **bearer(simplejwt(user_id=f"person-{number}"))},
        )
    text = gate.metrics_text()
    for word in ("/nowhere/7", "METHOD7", "o7.example", "person-7", "agent-7"):
        assert word not in text
    assert len(text.splitlines()) < 3000


# ---- log ----


def test_the_log_has_one_json_line_a_request_with_everything_in_it(gate):
    token = simplejwt(user_id="42", roles=["host"])
    answer = passed(gate.post("/api/echo/deep?secret=hidden&x=1", headers=bearer(token), content=b"12345"))
    line = gate.access_line(answer)
    assert line["status"] == 200 and line["method"] == "POST" and line["path"] == "/api/echo/deep"
    text = json.dumps(line)
    for value in (answer.headers["x-request-id"], "127.0.0.1", "/api/{*rest}", '"42"', '"token"'):
        assert value in text, (value, line)
    assert "hidden" not in text
    assert (
        any("upstream" in key for key in line)
        and sum("ms" in key or "seconds" in key or "us" in key for key in line) >= 2
    ), line
    assert sum("bytes" in key for key in line) >= 1, line
    assert len(gate.access_lines(answer.headers["x-request-id"])) == 1
    denied = gate.get("/api/echo/", headers=bearer(simplejwt(lifetime=-60)))
    assert gate.access_line(denied)["code"] == "token_expired"


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_request_whose_client_leaves_before_it_is_answered_has_its_line_too(gate, need, version):
    changes = grown(gate, lambda: leave(gate, need, version))
    has(changes, "requests_total", "/api/{*rest}", "4xx")
    has(changes, "answers_cut_off", "/api/{*rest}")
    line = [line for line in gate.log_lines() if line.get("path") == "/api/slow/"][-1]
    assert (line["status"], line["cut_off"], line["user"], line["response_bytes"]) == (499, True, "7", 0)
    assert line["level"] == "info" and "code" not in line
    # What was waited for the app is the app's time.
    assert line["app_ms"] > 700 and line["gateway_ms"] < 500


def leave(gate, need, version):
    """Asks for what takes three seconds, and does not wait for it."""
    command = [need("curl"), "--silent", version, "--cacert", gate.ca_file, "--max-time", "1"]
    authorization = "Authorization: " + bearer(simplejwt())["Authorization"]
    done = subprocess.run(
        [*command, "-H", authorization, gate.https_url + "/api/slow/?seconds=3"], capture_output=True, timeout=15
    )
    assert done.returncode == 28, "curl gives up by itself"


def test_no_token_secret_or_query_value_is_ever_written(gate):
    good, late = simplejwt(user_id="9"), simplejwt(lifetime=-60)
    cookie = "sessionid=cookie-value-that-is-secret"
    for token in (good, late):
        gate.get("/api/echo/", headers={**bearer(token), "Cookie": cookie})
        gate.get(f"/api/echo/?token={token}&password=hunter2hunter2")
    gate.get("/nowhere?token=" + good)
    last = gate.get("/api/echo/", headers={"Authorization": "Basic c2VjcmV0OnNlY3JldHNlY3JldA=="})
    gate.access_line(last)
    written = gate.output()
    for secret in (
        good,
        late,
        good.split(".")[2],
        late.split(".")[2],
        "hunter2hunter2",
        "cookie-value-that-is-secret",
        "c2VjcmV0OnNl",
        "django-test-key",
    ):
        assert secret not in written


def test_what_a_client_sends_cannot_forge_a_log_line(gate):
    gate.get("/nowhere/%22%7D%0a%7B%22forged%22:1%7D")
    answer = gate.get("/nowhere", headers={"User-Agent": '"}{"forged":1}', "Referer": '"}'})
    gate.access_line(answer)
    assert not any("forged" in line for line in gate.log_lines())
    assert "\x1b" not in gate.output()


# ---- admin ----


def test_the_admin_door_tells_health_and_readiness(gate):
    for path in ("/health", "/ready", "/metrics"):
        assert gate.get(path, door="admin").status_code == 200
    assert gate.get("/metrics", door="admin").headers["content-type"].startswith("text/plain")


def test_nothing_of_the_admin_stands_on_the_public_door(gate):
    for path in ("/metrics", "/ready", "/.well-known/jwks.json", "/api/../metrics"):
        assert gate.get(path).status_code in (400, 404)


def test_the_admin_door_is_not_for_other_hosts_or_pages(gate):
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        assert httpx.get(gate.admin_url + "/metrics", headers=headers, trust_env=False).status_code in (400, 403, 421)


def test_an_admin_token_is_asked_for_where_one_is_set(gateway, django_app):
    toml = TOML.replace(
        'assertion = { header = "X-Auth-Assertion", key = "assertion.key", ttl = "60s", audience = "django" }', ""
    )
    gate = gateway(
        toml + '\n[admin]\ntoken = { env = "ADMIN_TOKEN" }\n',
        env={"ADMIN_TOKEN": "admin-token-0123456789"},
        django=django_app.url,
    )
    assert gate.get("/metrics", door="admin").status_code == 401
    assert gate.get("/metrics", door="admin", headers=bearer("wrong")).status_code == 401
    assert gate.get("/metrics", door="admin", headers=bearer("admin-token-0123456789")).status_code == 200
    assert gate.get("/ready", door="admin").status_code == 200, "a probe needs no token"


# ---- the assertion ----


def test_the_assertion_verifies_with_the_key_the_admin_door_shows(gate):
    keys = gate.get("/.well-known/jwks.json", door="admin").json()["keys"]
    assert all("d" not in key for key in keys), "public halves only"
    token = simplejwt(user_id="42", roles=["host", "admin"], email="x@example.com", name="X")
    seen = seen_by_app(gate.get("/api/echo/", headers=[*bearer(token).items(), ("X-Auth-Assertion", "forged")]))
    assertion = seen["headers"]["X_AUTH_ASSERTION"]
    head = jwt.get_unverified_header(assertion)
    key = next(jwt.PyJWK(key) for key in keys if key["kid"] == head["kid"])
    claims = jwt.decode(
        assertion, key.key, algorithms=[head["alg"]], audience="django", options={"require": ["exp", "iat", "sub"]}
    )
    assert claims["sub"] == "42" and sorted(claims["roles"]) == ["admin", "host"] and claims["email"] == "x@example.com"
    assert 0 < claims["exp"] - time.time() <= 61
    assert "X_AUTH_ASSERTION" not in httpx.get(gate.https_url + "/health/", verify=gate.tls(), trust_env=False).text


def test_why_tells_of_a_recent_refusal(gate):
    answer = gate.get("/api/supervisor/report/", headers=bearer(simplejwt(roles=["host"])))
    identifier = refused(answer, 403, "role_missing")["request_id"]
    gate.access_line(answer)
    result = gate.run_cli("why", identifier)
    assert result.code == 0, result
    assert "role_missing" in result.text and "supervisor" in result.text and "host" in result.text
    unknown = gate.run_cli("why", "00000000-0000-7000-8000-000000000000")
    assert unknown.code != 0 and "00000000" in unknown.text
