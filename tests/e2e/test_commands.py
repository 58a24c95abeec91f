"""The commands: check, test, explain, routes, token inspect, demo; exit codes and words that help."""

import json
import os
import re
import shlex
import signal
import subprocess
import time

import pytest

from harness.gateway import BINARY, run_binary
from harness.ports import wait_for
from harness.tokens import simplejwt, tampered

GOOD = """
[server]
https = "127.0.0.1:18443"
admin = "127.0.0.1:19090"

[tls]
development = true

[upstream.edms]
servers = ["http://127.0.0.1:8000"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[cors.web]
origins = ["https://page.example.com"]
credentials = true

[[route]]
path = "/api/v1/backup/{*rest}"
upstream = "edms"
auth = ["token"]
roles = ["staff"]
cors = "web"

[[route]]
path = "/{*rest}"
upstream = "edms"
auth = "public"
"""
EXPECTATIONS = """
[[expect]]
request = "POST https://app.example.com/api/v1/backup/restore/"
as = { user = "7", roles = ["technician"] }
answer = { status = 403, code = "role_missing" }

[[expect]]
request = "POST https://app.example.com/api/v1/backup/restore/"
as = { user = "7", roles = ["staff"] }
answer = { forward = "edms", headers = { X-Auth-User = "7", X-Auth-Roles = "staff" } }

[[expect]]
request = "GET https://app.example.com/api/v1/backup/"
answer = { status = 401, code = "credentials_missing" }

[[expect]]
request = "GET https://app.example.com/anything"
answer = { forward = "edms" }
"""


@pytest.fixture
def write(tmp_path):
    def put(toml):
        file = tmp_path / "gateway.toml"
        file.write_text(toml)
        return file

    return put


def cli(command, file, *args, **options):
    return run_binary(*command.split(), "--config", file, *args, cwd=file.parent, **options)


def test_check_is_content_with_a_good_file(write):
    result = cli("check", write(GOOD + EXPECTATIONS))
    assert result.code == 0, result


def test_check_warns_of_a_secret_in_the_file(write):
    result = cli(
        "check", write(GOOD.replace('{ env = "DJANGO_SECRET_KEY" }', '"0123456789abcdef0123456789abcdef0123456789"'))
    )
    assert result.code == 0 and "secret" in result.text and "0123456789abcdef" not in result.text


def test_test_runs_the_expectations(write):
    assert cli("test", write(GOOD + EXPECTATIONS)).code == 0
    wrong = cli("test", write(GOOD + EXPECTATIONS.replace('roles = ["technician"]', 'roles = ["staff"]')))
    assert wrong.code == 1
    assert "403" in wrong.text and "role_missing" in wrong.text and "/api/v1/backup/restore/" in wrong.text
    assert cli("check", write(GOOD + EXPECTATIONS.replace('roles = ["technician"]', 'roles = ["staff"]'))).code == 1


def test_routes_come_in_the_order_they_win(write):
    result = cli("routes", write(GOOD))
    assert result.code == 0
    assert result.out.index("/api/v1/backup/") < result.out.rindex("/{*rest}")
    assert "staff" in result.out and "public" in result.out and "edms" in result.out


def test_explain_goes_step_by_step_in_words_and_in_json(write):
    file = write(GOOD)
    token = simplejwt(roles=["technician"])
    url = "https://localhost:18443/api/v1/backup/x"
    words = cli("explain", file, "POST", url, "-H", f"Authorization: Bearer {token}")
    for part in ("/api/v1/backup/{*rest}", "token", "role_missing", "staff", "technician"):
        assert part in words.out, (part, words)
    assert token not in words.text and token.split(".")[2] not in words.text
    good = cli("explain", file, "POST", url, "-H", f"Authorization: Bearer {simplejwt(roles=['staff'])}")
    assert "X-Auth-User" in good.out and "edms" in good.out
    as_json = cli("explain", file, "POST", url, "-H", f"Authorization: Bearer {token}", "--json")
    assert "role_missing" in json.dumps(as_json.json())
    cors = cli(
        "explain",
        file,
        "OPTIONS",
        url,
        "-H",
        "Origin: https://evil.example",
        "-H",
        "Access-Control-Request-Method: POST",
    )
    assert "origin_not_allowed" in cors.out and "https://page.example.com" in cors.out


def test_token_inspect_says_in_words_what_is_wrong(write):
    file = write(GOOD)
    good = cli("token inspect", file, simplejwt(roles=["staff"]))
    assert good.code == 0 and "user_id" in good.out and "HS256" in good.out
    for token, word in (
        (simplejwt(lifetime=-7200), "expired"),
        (tampered(simplejwt()), "signature"),
        (simplejwt(token_type="refresh"), "refresh"),
        ("not-a-token", "malformed"),
    ):
        result = cli("token inspect", file, token)
        assert word in result.text.lower(), (word, result)


def test_help_names_every_command():
    result = run_binary("--help")
    assert result.code == 0
    for command in ("run", "init", "check", "test", "explain", "why", "routes", "token", "demo", "completions", "man"):
        assert command in result.out
    assert run_binary("--version").out.startswith("portcullis ")
    assert run_binary("no-such-command").code not in (0, None)


def test_the_environment_overrides_the_file(write):
    bad = cli("check", write(GOOD), env={"PORTCULLIS_SERVER__HTTPS": "not an address"})
    assert bad.code == 1 and "PORTCULLIS_SERVER__HTTPS" in bad.text


# ---- demo ----


def demo_lines(text):
    """The curl commands as printed, a line each, with continued lines joined and prompts dropped."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = []
    for line in joined.splitlines():
        line = re.sub(r"\x1b\[[0-9;]*m", "", line).strip().removeprefix("$ ")
        if re.match(r"(TOKEN=|[A-Z_]+=\$\()?\(?curl ", line) or re.match(r"[A-Z_]+=\"?\$\(curl ", line):
            found.append(line)
    return found


def test_the_demo_serves_the_five_curl_lines_as_printed(tmp_path, need):
    need("curl")
    log = tmp_path / "demo.log"
    env = {key: value for key, value in os.environ.items() if not key.startswith("PORTCULLIS_")}
    with log.open("wb") as out:
        demo = subprocess.Popen(
            [BINARY, "demo"], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        wait_for(lambda: len(demo_lines(log.read_text())) >= 5 or demo.poll() is not None, 20, "five curl lines")
        time.sleep(0.5)
        text = log.read_text()
        lines = demo_lines(text)
        assert demo.poll() is None and len(lines) == 5, text
        statuses = []
        for line in lines:
            # As printed, in a shell; only -i is added, so that the status can be seen.
            done = subprocess.run(
                ["bash", "-c", line.replace("curl ", "curl -sS --max-time 10 -w '\\nstatus=%{http_code}\\n' ", 1)],
                cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30,
            )  # fmt: skip
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            found = re.findall(r"status=(\d+)", done.stdout)
            assert found, (line, done.stdout)
            statuses.append(int(found[-1]))
            expected = re.search(r"#.*?\b([1-5]\d\d)\b", line)
            if expected:
                assert statuses[-1] == int(expected.group(1)), (line, done.stdout)
        assert 200 in statuses and 401 in statuses and 403 in statuses, list(zip(lines, statuses))
    finally:
        demo.send_signal(signal.SIGTERM)
        try:
            code = demo.wait(40)
        except subprocess.TimeoutExpired:
            demo.kill()
            demo.wait(5)
            raise
    assert code == 0


def test_quoting_of_printed_lines_survives_a_shell():
    """The test's own reading of lines, so that a failure above is the demo's."""
    text = "  $ curl -k https://localhost:8443/ \\\n      -H 'A: b'   # 200\nother\n"
    assert demo_lines(text) == ["curl -k https://localhost:8443/ -H 'A: b'   # 200"]
    assert shlex.split(demo_lines(text)[0], comments=True)[-1] == "A: b"
