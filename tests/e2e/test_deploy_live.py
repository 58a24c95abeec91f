"""What deploy/ describes, run for real as far as one machine without containers can: the image's files as a
root of their own, the gateway of compose in front of the same apps and databases, the pod's probes, the unit's
commands."""

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from harness.check import passed, refused
from harness.deploy import DEPLOY, compose_folder, instructions, loads_libraries, mounted, run, update
from harness.gateway import BINARY, Gateway
from harness.ports import free_port, wait_for
from harness.services import program
from harness.session_apps import DjangoSite, FlaskSite

UNIT = DEPLOY / "systemd/portcullis.service"


# ---- the image ----


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The files of the final image, gathered by the Dockerfile's own script."""
    root = tmp_path_factory.mktemp("image")
    code, text = run(DEPLOY / "docker/image-root", BINARY, root)
    assert (code, text) == (0, "")
    root.chmod(0o755)
    return root


def test_the_image_has_no_program_but_the_gateway_and_the_loader_of_its_libraries(image):
    runnable = [
        file.relative_to(image)
        for file in image.rglob("*")
        if file.is_file() and os.access(file, os.X_OK) and ".so" not in file.name
    ]
    assert runnable == [Path("portcullis")]
    files = {file.name for file in image.rglob("*") if file.is_file()}
    wanted = {"portcullis", "ca-certificates.crt", "nsswitch.conf"}
    if loads_libraries(BINARY):
        assert files >= {*wanted, "libc.so.6"}
        assert len(files) < 10, files
    else:
        assert files == wanted


def test_the_image_alone_serves_as_its_user_and_finds_an_app_by_name(image, flask_app, tmp_path):
    """In a root that has nothing else, with the Dockerfile's own words, and the two files that Docker writes."""
    if os.getuid() != 0:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("only root may change the root folder: run the tests as root")
    final = dict(instructions(DEPLOY / "docker/Dockerfile"))
    command = [word for name in ("ENTRYPOINT", "CMD") for word in re.findall(r'"([^"]*)"', final[name])]
    etc = image / "etc/portcullis"
    etc.mkdir()
    state = image / "var/lib/portcullis"
    for own in (etc / "certs", state):
        own.mkdir(parents=True)
        os.chown(own, *map(int, final["USER"].split(":")))
    copies = [rest for word, rest in instructions(DEPLOY / "docker/Dockerfile") if word == "COPY"]
    assert f"--from=build --chown={final['USER']} /state /var/lib" in copies
    (etc / "secrets").mkdir()
    (etc / "secrets/oidc-client-secret").write_text("a-secret-that-the-provider-has-too\n")
    port, admin, app = free_port(), free_port(), flask_app.url.rpartition(":")[2]
    (image / "etc/hosts").write_text("127.0.0.1 localhost shop\n")
    (etc / "gateway.toml").write_text(f"""
[server]
https = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
[tls]
development = true
[upstream.shop]
servers = ["http://shop:{app}"]
[session]
path = "/var/lib/portcullis/sessions.db"
[auth.company]
type = "oidc"
issuer = "https://localhost:1/nobody"
client_id = "portcullis"
client_secret = {{ file = "secrets/oidc-client-secret" }}
[[route]]
path = "/{{*rest}}"
upstream = "shop"
auth = "public"
[[route]]
path = "/staff/{{*rest}}"
upstream = "shop"
auth = ["company"]
""")
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program("chroot"), f"--userspec={final['USER']}", image, *command], env={}, stdin=subprocess.DEVNULL,
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        wait_for(lambda: process.poll() is not None or answers(admin, "/ready"), 20, "the image to be ready")
        assert process.poll() is None, log.read_text()
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Uid:\s+10001\s+10001", status, re.M), status
        told = httpx.get(f"https://localhost:{port}/echo", verify=False, trust_env=False, timeout=10)
        assert passed(told).json()["host"] == f"localhost:{port}"
        assert (state / "sessions.db").stat().st_uid == 10001
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def answers(port, path):
    """Whether the admin address answers 200."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


# ---- compose ----


class Made:
    """A database that compose's own script has made, as the apps of the tests want it."""

    def __init__(self, url):
        self.url = url


@pytest.fixture(scope="module")
def stack(tmp_path_factory, own_postgres, redis_server, start_app):
    """The databases by compose's script, both apps on them, and the gateway's file, which gets only their addresses."""
    folder = compose_folder(tmp_path_factory.mktemp("stack"))
    admin = own_postgres.url("admin", "postgres")
    env = {**os.environ, "SECRETS": str(folder / "secrets"), "POSTGRES_USER": "admin", "PGHOST": "127.0.0.1"}
    env |= {"PGPORT": str(own_postgres.port), "PGPASSWORD": admin.split(":")[2].split("@")[0]}
    env["PATH"] = f"{Path(program('psql')).parent}:{env['PATH']}"
    for times in (1, 2):
        code, text = run("sh", folder / "postgres/init.sh", env=env)
        assert (code == 0) == (times == 1), text

    def settings(name):
        lines = (folder / f"secrets/{name}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def here(url):
        return url.replace("@postgres/", f"@127.0.0.1:{own_postgres.port}/")

    django, flask = settings("django"), settings("flask")
    redis = {"DJANGO_REDIS_URL": redis_server.url("deploy-django"), "FLASK_REDIS_URL": redis_server.url("deploy-flask")}
    pages = start_app(
        DjangoSite, Made(here(django["DATABASE_URL"])), engine="cached_db", redis_url=redis["DJANGO_REDIS_URL"],
        SECRET_KEY=django["SECRET_KEY"], SHORT_SESSION_S="3600",
    )  # fmt: skip
    tickets = start_app(
        FlaskSite, Made(here(flask["DATABASE_URL"])), sessions="redis", redis_url=redis["FLASK_REDIS_URL"],
        SECRET_KEY=flask["SECRET_KEY"],
    )  # fmt: skip
    for file in (folder / "gateway/secrets").glob("*_url"):
        file.write_text(here(file.read_text()))
    toml = (folder / "gateway/gateway.toml").read_text()
    for place, there in (
        ("http://django:8000", pages.upstream), ("http://flask:8000", tickets.upstream),
        ("0.0.0.0:8443", "127.0.0.1:{https}"), ("0.0.0.0:8080", "127.0.0.1:{http}"), ("0.0.0.0:9090", "127.0.0.1:{admin}"),
    ):  # fmt: skip
        assert toml.count(place) == 1, place
        toml = toml.replace(place, there)
    token = (folder / "gateway/secrets/admin_token").read_text().strip()
    gate = Gateway(folder / "gateway", toml, env=redis)
    yield gate, pages, tickets, token
    gate.stop()


def test_the_gateway_of_compose_lets_in_who_signed_in_at_django(stack, visit):
    gate, pages, _, _ = stack
    tara = visit(gate)
    refused(gate.get("/api/orders/"), 401, "credentials_missing")
    tara.sign_in("tara")
    seen = passed(tara.ask("/api/orders/")).json()
    assert seen["headers"]["X_AUTH_USER"] == str(pages.id_of("tara")), seen
    refused(tara.ask("/api/supervisor/"), 403, "role_missing")
    sina = visit(gate).sign_in("sina")
    passed(sina.ask("/api/supervisor/"))


def test_the_gateway_of_compose_lets_in_who_signed_in_at_flask(stack):
    gate, _, tickets, _ = stack
    host = {"Host": f"tickets.localhost:{gate.ports['https']}"}
    refused(gate.get("/api/tickets/", headers=host), 401, "credentials_missing")
    form = {"username": "tara", "password": "tara-password"}
    answer = gate.request("POST", "/login", headers=host, data=form)
    assert answer.status_code == 302, answer.text[:300]
    made = next(line for line in answer.headers.get_list("set-cookie") if line.startswith("session="))
    assert "Secure" in made
    seen = passed(gate.get("/api/tickets/", headers={**host, "Cookie": made.split(";")[0]})).json()
    assert seen["headers"]["X_AUTH_USER"] == str(tickets.id_of("tara")), seen
    assert "technician" in seen["headers"]["X_AUTH_ROLES"], seen


def test_the_gateway_of_compose_may_read_the_databases_and_not_write(stack, own_postgres):
    gate, _, _, _ = stack
    url = (gate.folder / "secrets/pages_url").read_text().strip()
    env = {**os.environ, "PATH": f"{Path(program('psql')).parent}:{os.environ['PATH']}"}
    for statement, allowed in (
        ("SELECT count(*) FROM accounts_user", True),
        ("DELETE FROM accounts_user", False),
        ("CREATE TABLE mine (id int)", False),
    ):
        code, text = run("psql", "--no-psqlrc", url, "--command", statement, env=env)
        assert (code == 0) == allowed, text


def test_prometheus_gets_the_metrics_of_compose_by_its_token_alone(stack):
    gate, _, _, token = stack
    metrics = gate.admin_url + "/metrics"
    assert httpx.get(metrics, trust_env=False).status_code == 401
    answer = httpx.get(metrics, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert answer.status_code == 200 and "portcullis_store_up" in answer.text


# ---- Kubernetes ----


@pytest.fixture
def pod(tmp_path):
    """The gateway as the pod runs it, but on free ports: its ports by name, its folder."""
    toml = (mounted(tmp_path) / "gateway.toml").read_text()
    ports = {name: free_port() for name in ("https", "http", "admin")}
    # As the kubelet asks: by the address of the pod, so the admin address is not on loopback alone.
    env = {f"PORTCULLIS_SERVER__{name.upper()}": f"0.0.0.0:{port}" for name, port in ports.items()}
    assert all(f"0.0.0.0:{number}" in toml for number in (443, 80, 9090))
    process = subprocess.Popen(
        [BINARY, "run", "--config", "gateway.toml"], cwd=tmp_path, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: answers(ports["admin"], "/ready"), 20, "the pod to be ready")
        yield ports, tmp_path
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_the_probes_of_the_pod_are_answered_without_the_token(pod):
    ports, _ = pod
    assert answers(ports["admin"], "/ready") and answers(ports["admin"], "/health")
    assert not answers(ports["admin"], "/metrics")


def test_the_pod_sends_browsers_to_the_port_that_https_has(pod):
    ports, _ = pod
    moved = httpx.get(f"http://127.0.0.1:{ports['http']}/x", headers={"Host": "app.example.com"}, trust_env=False)
    assert (moved.status_code, moved.headers["location"]) == (308, f"https://app.example.com:{ports['https']}/x")


def test_the_pod_takes_up_another_config_map_without_a_restart(pod):
    ports, folder = pod

    def routes():
        token = {"Authorization": "Bearer a-token-of-the-test"}
        return httpx.get(f"http://127.0.0.1:{ports['admin']}/api/routes", headers=token, trust_env=False).text

    assert "/new" not in routes()
    added = '\n[[route]]\npath = "/new"\nauth = "public"\nrespond = { status = 200, body = "new" }\n'
    update(folder, (folder / "gateway.toml").read_text() + added)
    wait_for(lambda: "/new" in routes(), 20, "the new route")


# ---- systemd ----


def commands(name, config):
    """The words of one of the unit's commands, with the test's binary and file."""
    line = re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.M).group(1)
    named = {"/usr/local/bin/portcullis": BINARY, "/etc/portcullis/gateway.toml": str(config)}
    words = [named.get(word, word) for word in shlex.split(line)]
    assert BINARY not in words or str(config) in words, line
    return words


PUBLIC = """
[upstream.app]
servers = ["{app}"]

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""


def test_the_commands_of_the_unit_check_start_reload_and_stop(gateway, flask_app):
    gate = gateway(PUBLIC, app=flask_app.url)
    code, text = run(*commands("ExecStartPre", gate.config))
    assert code == 0, text
    assert commands("ExecStart", gate.config) == [BINARY, "run", "--config", str(gate.config)]
    passed(gate.get("/echo"))
    before = gate.reloads()
    reload = [str(gate.pid) if word == "$MAINPID" else word for word in commands("ExecReload", gate.config)]
    assert run(*reload) == (0, "")
    wait_for(lambda: gate.reloads() != before, 10, "the reload")
    assert gate.reloads()[0] == before[0] + 1
