"""Catalogue 130 to 137: signals, broken files, full disks, no descriptors left. The process serves on, or says why not."""

import os
import resource
import signal
import socket
import subprocess
import threading
import time

import httpx
import pytest

from harness.apps import SECRETS
from harness.gateway import BINARY, run_binary
from harness.ports import free_port, wait_for
from security.conftest import ROUTES, SERVER
from security.credentials import bearer, claims, sealed, token
from security.wire import Front, StrictUpstream, refused, table

GET = b"GET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def own(gateway):
    """`own(routes=…) -> Front`: a gateway that a test may harm."""
    upstreams = []

    def begin(routes=ROUTES, extra="", upstream=None, **places):
        upstream = upstream or StrictUpstream()
        upstreams.append(upstream)
        return Front(gateway(SERVER.replace("EXTRA", extra) + routes, app=upstream.url, **places), upstream)

    yield begin
    for upstream in upstreams:
        upstream.close()


def file_of(toml, **places):
    """A whole file for a port nobody uses."""
    for name in ("https", "http", "plain", "admin"):
        toml = toml.replace("{" + name + "}", str(places.get(name) or free_port()))
    return toml.replace("{app}", places.get("app", "http://127.0.0.1:1")).replace("EXTRA", "")


# ---- 130 ----


@table(
    130,
    {
        "half-head": b"GET /open/x HT",
        "half-body": b"POST /open/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx",
        "idle": b"",
        "socket": b"GET /open/socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    },
)
def test_sigterm_ends_it_in_time_even_with_stuck_clients(own, case):
    slow = StrictUpstream(answer=lambda request: time.sleep(0.8) or b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
    front = own(upstream=slow)
    stuck = [front.connect() for _ in range(5)]
    for client in stuck:
        client.send(case)
    with front.connect() as working:
        working.send(GET)
        time.sleep(0.2)
        began = time.monotonic()
        front.gate.signal(signal.SIGTERM)
        assert working.answer().body == b"slow", "what is in flight is finished"
    front.gate.process.wait(8)
    assert front.gate.process.returncode == 0 and time.monotonic() - began < 5.5
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", front.gate.ports["plain"]), timeout=1)
    for client in stuck:
        client.close()


# ---- 131, 132 ----


def load(front, ended, failures, answers):
    """Keeps asking on fresh and kept connections."""
    while not ended.is_set():
        try:
            with front.connect(timeout=5) as client:
                for _ in range(20):
                    client.send(GET)
                    answer = client.answer()
                    answers.append(answer.status)
                    if answer.status != 200:
                        failures.append(answer.body)
                    if ended.is_set():
                        break
        except OSError as failure:
            failures.append(failure)


def test_131_reloads_under_load_fail_nothing_and_really_change_the_rules(own):
    front = own()
    ended, failures, answers = threading.Event(), [], []
    workers = [threading.Thread(target=load, args=(front, ended, failures, answers)) for _ in range(3)]
    for worker in workers:
        worker.start()
    base = SERVER.replace("EXTRA", "")
    try:
        for number in range(4):
            front.gate.reload(
                base + ROUTES + f'\n[[route]]\npath = "/new-{number}"\nupstream = "app"\nauth = "public"\n'
            )
            # The write and the signal are two reasons to reload: the one counted may have read the file before this one.
            wait_for(lambda: front.request(target=f"/new-{number}").status == 200, 5, "the new route")
            assert front.request(target=f"/new-{number - 1}").status == 404
        front.gate.reload(
            base
            + ROUTES.replace(
                'secret = { env = "DJANGO_SECRET_KEY" }', 'secret = "another-secret-that-is-long-enough-0123456789"'
            )
        )
        wait_for(lambda: front.request(target="/me/x", headers=[bearer(token())]).status == 401, 5, "the new secret")
        fresh = sealed({"alg": "HS256"}, claims(), b"another-secret-that-is-long-enough-0123456789")
        assert front.request(target="/me/x", headers=[bearer(fresh)]).status == 200
    finally:
        ended.set()
        for worker in workers:
            worker.join()
    assert not failures and len(answers) > 50, failures[:3]


def test_131_ten_reloads_in_a_second_leak_nothing(own):
    front = own()
    front.probe()
    files, before = front.gate.open_files(), front.gate.rss_kib()
    for number in range(10):
        front.gate.write(
            SERVER.replace("EXTRA", "")
            + ROUTES
            + f'\n[[route]]\npath = "/n{number}"\nupstream = "app"\nauth = "public"\n'
        )
        front.gate.signal(signal.SIGHUP)
        time.sleep(0.1)
    wait_for(lambda: front.request(target="/n9").status == 200, 5, "the last file to be served")
    assert front.gate.open_files() <= files + 6 and front.gate.rss_kib() - before < 12 * 1024


BROKEN = {
    "syntax": "[[route\n",
    "empty": "",
    "no-routes": "[server]\n",
    "unknown-key": ROUTES + "\n[surprise]\nx = 1\n",
    "dangling": ROUTES + '\n[[route]]\npath = "/z"\nupstream = "gone"\nauth = "public"\n',
    "no-auth": ROUTES + '\n[[route]]\npath = "/z"\nupstream = "app"\n',
    "missing-certificate": ROUTES + '\n[[tls.certificate]]\ncert = "gone.pem"\nkey = "gone.key"\n',
    "binary": "\x00\x01\x02",
    "huge": "# " + "x" * (20 << 20),
    "deep": "a = " + "[" * 5000 + "]" * 5000,
    "port-changed-type": ROUTES.replace("[upstream.app]", "[upstream.app]\nconnections = -1"),
}


@pytest.fixture(scope="module")
def reloading(start):
    return start()


@table(132, BROKEN)
def test_a_broken_file_is_refused_aloud_and_the_old_one_serves(reloading, case):
    gate = reloading.gate
    base = (
        ""
        if case in ("", "\x00\x01\x02") or case.startswith(("[server]\n", "[[route\n"))
        else SERVER.replace("EXTRA", "")
    )
    before = len(gate.output())
    gate.reload("#\n" + base + case if case.startswith("[server]") else (base + case or "\n"), expect=False)
    reloading.probe()
    assert reloading.request(target="/me/x").status == 401
    assert len(gate.output()) > before
    assert gate.get("/ready", door="admin").status_code == 200
    gate.reload(SERVER.replace("EXTRA", "") + ROUTES)
    reloading.probe()


# ---- 133 ----


def test_133_kill_9_under_load_and_a_new_start_serve_within_four_seconds(own):
    front = own()
    ended = threading.Event()
    worker = threading.Thread(target=load, args=(front, ended, [], []))
    worker.start()
    time.sleep(0.3)
    front.gate.kill()
    began = time.monotonic()
    front.gate.start()
    front.probe()
    assert time.monotonic() - began < 4
    ended.set()
    worker.join()


@table(133, ["https", "plain", "admin", "http"])
def test_a_port_that_is_taken_ends_the_start_promptly(tmp_path, case):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "gateway.toml").write_text(file_of(SERVER + ROUTES, **{case: port}))
        began = time.monotonic()
        result = run_binary("run", "--config", tmp_path / "gateway.toml", cwd=tmp_path, timeout=10)
        assert result.code not in (0, 101) and time.monotonic() - began < 4
        assert str(port) in result.text and "panicked" not in result.text, result


# ---- 134: nowhere to write the log ----


def run_with_log(tmp_path, app, out):
    """A gateway whose log goes to `out`; answers with the process and its ports."""
    ports = {name: free_port() for name in ("https", "http", "plain", "admin")}
    (tmp_path / "gateway.toml").write_text(file_of(SERVER + ROUTES, app=app, **ports))
    process = subprocess.Popen(
        [BINARY, "run", "--config", str(tmp_path / "gateway.toml")],
        cwd=tmp_path,
        env={**os.environ, **SECRETS},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out,
    )

    def serves():
        assert process.poll() is None, f"ended with {process.returncode}"
        try:
            return httpx.get(f"http://127.0.0.1:{ports['plain']}/open/x", trust_env=False, timeout=3).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(serves, 8, "the gateway to serve")
    return process, ports


@table(134, ["full-disk", "stalled-pipe", "dead-reader"])
def test_requests_go_on_when_the_log_cannot_be_written(tmp_path, case):
    reader = None
    if case == "full-disk":
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, out = os.pipe()
    with StrictUpstream() as upstream:
        process, ports = run_with_log(tmp_path, upstream.url, out)
        try:
            os.close(out)
            if case == "dead-reader":
                os.close(reader)
                reader = None
            with httpx.Client(base_url=f"http://127.0.0.1:{ports['plain']}", trust_env=False, timeout=3) as client:
                worst = 0
                for number in range(1200):
                    began = time.monotonic()
                    assert client.get("/open/x" + "a" * 200, headers={"User-Agent": "b" * 200}).status_code == 200, (
                        number
                    )
                    worst = max(worst, time.monotonic() - began)
            assert worst < 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(8) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(5)
            if reader is not None:
                os.close(reader)


# ---- 136: no descriptors left ----


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_136_without_descriptors_it_neither_dies_nor_spins_and_recovers(own):
    front = own()
    front.probe()
    soft, hard = resource.prlimit(front.gate.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(front.gate.pid, resource.RLIMIT_NOFILE, (front.gate.open_files() + 10, hard))
    clients = []
    try:
        for _ in range(60):
            clients.append(front.connect())
        time.sleep(0.3)
        spent = cpu_seconds(front.gate.pid)
        time.sleep(1.2)
        assert cpu_seconds(front.gate.pid) - spent < 0.6, "a busy loop while there are no descriptors"
        assert front.gate.process.poll() is None
    finally:
        for client in clients:
            client.close()

    def serves():
        try:
            front.probe()
            return True
        except (AssertionError, OSError):
            return False

    try:
        wait_for(serves, 6, "the gateway to serve again", every=0.2)
    finally:
        resource.prlimit(front.gate.pid, resource.RLIMIT_NOFILE, (soft, hard))


# ---- 137: what is refused at start ----

GOOD_ROUTE = '\n[[route]]\npath = "/z"\nupstream = "app"\nauth = "public"\n'
REFUSED = {
    "weak-hmac": ROUTES.replace('{ env = "DJANGO_SECRET_KEY" }', '"short"'),
    "empty-hmac": ROUTES.replace('{ env = "DJANGO_SECRET_KEY" }', '""'),
    "star-credentials": ROUTES + '[cors.x]\norigins = ["*"]\ncredentials = true\n',
    "null-origin": ROUTES + '[cors.x]\norigins = ["null"]\n',
    "no-auth": ROUTES + '[[route]]\npath = "/z"\nupstream = "app"\n',
    "dots": ROUTES + GOOD_ROUTE.replace("/z", "/a/../z"),
    "encoded-dots": ROUTES + GOOD_ROUTE.replace("/z", "/a/%2e%2e/z"),
    "double-slash": ROUTES + GOOD_ROUTE.replace("/z", "//z"),
    "no-slash": ROUTES + GOOD_ROUTE.replace("/z", "z"),
    "bad-upstream": ROUTES.replace('servers = ["{app}"]', 'servers = ["ftp://x"]'),
    "upstream-path": ROUTES.replace('servers = ["{app}"]', 'servers = ["http://x/y?z"]'),
    "no-servers": ROUTES.replace('servers = ["{app}"]', "servers = []"),
    "crlf-header": ROUTES.replace("[identity]", '[identity]\nuser = "X-User\\r\\nEvil"'),
    "host-as-identity": ROUTES.replace("[identity]", '[identity]\nuser = "Host"'),
    "length-as-identity": ROUTES.replace("[identity]", '[identity]\nuser = "Content-Length"'),
    "same-identity": ROUTES.replace("[identity]", '[identity]\nuser = "X-A"\nroles = "x_a"'),
    "no-keys": ROUTES.replace('secret = { env = "DJANGO_SECRET_KEY" }\n', ""),
    "negative-time": ROUTES.replace('connect = "1s"', 'connect = "-1s"'),
    "none-algorithm": ROUTES.replace('preset = "simplejwt"', 'preset = "simplejwt"\nalgorithms = ["none"]'),
    "wrong-key-type": ROUTES.replace('preset = "simplejwt"', 'preset = "simplejwt"\nalgorithms = ["RS256"]'),
    "same-routes": ROUTES + GOOD_ROUTE + GOOD_ROUTE,
    "dangling-auth": ROUTES + GOOD_ROUTE.replace('"public"', '["gone"]'),
    "roles-on-public": ROUTES + GOOD_ROUTE.rstrip() + '\nroles = ["admin"]\n',
    "admin-open": ROUTES,
    "unset-env": ROUTES.replace("DJANGO_SECRET_KEY", "NOT_SET_ANYWHERE"),
    "password-in-address": ROUTES + '[tracing]\notlp = "http://user:password@127.0.0.1:4318"\n',
    "negative-size": ROUTES + GOOD_ROUTE.rstrip() + "\nbody_limit = -1\n",
    "jwks-http": ROUTES.replace('secret = { env = "DJANGO_SECRET_KEY" }', 'jwks = "ftp://x/keys"'),
    "empty-auth": ROUTES + GOOD_ROUTE.replace('"public"', "[]"),
    "trusted-junk": ROUTES,
    "response-crlf": ROUTES + GOOD_ROUTE.rstrip() + '\nresponse_headers = { set = { "X-A" = "a\\r\\nb: c" } }\n',
    "redirect-crlf": ROUTES
    + '[[route]]\npath = "/z"\nauth = "public"\nredirect = { to = "/a\\r\\nb: c", status = 302 }\n',
}


@table(137, REFUSED)
def test_a_file_that_would_be_unsafe_is_refused_at_start(tmp_path, request, case):
    name = request.node.callspec.id.split("137-")[1]
    toml = file_of(SERVER + case)
    if name == "admin-open":
        toml = toml.replace('admin = "127.0.0.1:', 'admin = "0.0.0.0:')
    if name == "trusted-junk":
        toml = toml.replace("[server]\n", '[server]\ntrusted_proxies = ["everybody"]\n')
    (tmp_path / "gateway.toml").write_text(toml)
    result = run_binary("check", "--config", tmp_path / "gateway.toml", cwd=tmp_path, timeout=10)
    assert result.code == 1 and "panicked" not in result.text, result
    assert "gateway.toml" in result.text or "NOT_SET_ANYWHERE" in result.text, result


def test_137_the_file_these_are_made_from_is_good(tmp_path):
    (tmp_path / "gateway.toml").write_text(file_of(SERVER + ROUTES))
    assert run_binary("check", "--config", tmp_path / "gateway.toml", cwd=tmp_path, timeout=10).code == 0
