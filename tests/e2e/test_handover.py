"""Restart without loss: another process takes over (SIGUSR2), a service manager keeps the sockets (socket activation)."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from harness.apps import SECRETS, DjangoApp
from harness.check import passed
from harness.gateway import BINARY, Gateway
from harness.handover import Activator, Line, Load, Notified, subreaper
from harness.ports import wait_for
from harness.raw import over_tls
from harness.single_page import COOKIE, SinglePage
from harness.stage import Stage
from harness.tokens import bearer, simplejwt
from harness.tunnels import TUNNELS, frame

UPGRADES, RELOADS, RESTARTS = 20, 20, 10

TOML = """
[upstream.app]
servers = ["{django}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[[route]]
path = "/api/echo/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["host"]

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/generation"
respond = { status = 200, body = "first" }
auth = "public"
"""


@pytest.fixture(autouse=True)
def reaper():
    with subreaper():
        yield


@pytest.fixture
def line(gateway):
    """`line(toml, ...) -> Line`: a gateway whose followers are ended after the test, each of which must exit with 0."""
    made = []

    def start(toml, **options):
        made.append(Line(gateway(toml, **options)))
        return made[-1]

    yield start
    try:
        for one in made:
            codes = one.stop()
            assert set(codes) == {0}, dict(zip(one.pids, codes, strict=True))
    finally:
        for one in made:
            one.kill()


@pytest.fixture
def activated(tmp_path, django_app):
    """`activated(names, toml=TOML) -> Activator`: a gateway that gets its sockets from outside."""
    made = []

    def start(names, toml=TOML, **options):
        gate = Idle(tmp_path, toml, django=django_app.url)
        made.append(Activator(gate, names, **options))
        made[-1].start()
        return made[-1]

    yield start
    try:
        for one in made:
            one.gate.stop()
    finally:
        for one in made:
            one.gate.kill()
            one.close()


class Idle(Gateway):
    """A gateway that someone else starts."""

    def start(self, wait=True):
        self.env = {**self.env}


@pytest.fixture
def token():
    return bearer(simplejwt(roles=["host"]))


def said(gate, *words):
    """Whether a line of the log has all these words in its message or its fields."""
    return any(all(word in json.dumps(found) for word in words) for found in gate.log_lines())


def no_failures(load):
    assert not load.failures, (len(load.failures), load.served, load.failures[:5])


# ---- another process takes over ----


def test_20_upgrades_under_load_lose_no_request(line, django_app, token, need):
    upgraded = line(TOML, django=django_app.url)
    with Load(upgraded.gate, "/api/echo/", token, http2=need("curl")) as load:
        for _ in range(UPGRADES):
            before, served = upgraded.pid, load.served
            assert upgraded.upgrade() != before
            wait_for(lambda served=served: load.served > served + 20, 20, "the next process to serve")
    no_failures(load)
    assert len(set(upgraded.pids)) == UPGRADES + 1 and load.served > UPGRADES * 20
    # Each ends when it has drained, and none had to cut anything off.
    assert {upgraded.ends(pid) for pid in upgraded.pids[:-1]} == {0}
    assert not said(upgraded.gate, "cut off")
    started = upgraded.gate.get("/api/status", door="admin").json()
    assert started["process"] == upgraded.pid and started["draining"] is False


def test_20_reloads_under_load_lose_no_request(line, django_app, token, need):
    reloaded = line(TOML, django=django_app.url)
    gate = reloaded.gate
    with Load(gate, "/api/echo/", token, http2=need("curl")) as load:
        for number in range(RELOADS):
            gate.reload(TOML.replace('"first"', f'"{number}"'), expect=None)
            wait_for(lambda number=number: gate.get("/generation").text == str(number), 10, f"reload {number}")
    no_failures(load)
    assert reloaded.process() == gate.pid


def test_websockets_and_a_long_download_live_through_it(line, django_app):
    # More than all buffers on the way hold.
    size = 40_000_000
    with Stage() as stage:
        toml = TOML + '[upstream.stage]\nservers = ["{stage}"]\n[[route]]\npath = "/stage/{*rest}"\nupstream = "stage"\nauth = "public"\n'
        upgraded = line(toml, django=django_app.url, stage=stage.url)
        gate = upgraded.gate
        client = TUNNELS["http1"](gate, "/stage/x")
        app = stage.next()
        app.switch()
        client.opened()
        with over_tls(gate, room=65536) as raw:
            raw.send(f"GET /api/download/?bytes={size} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            taken = len(raw.read_until(b"\r\n\r\n").partition(b"\r\n\r\n")[2])
            first = upgraded.pid
            upgraded.upgrade()
            assert gate.process.poll() is None, "it ended with a download and a socket open"
            hello = frame(1, b"still here", mask=b"\x01\x02\x03\x04")
            client.send(hello)
            assert app.take(len(hello)) == hello
            # What is in flight when the drain ends is cut off, so this one is read to its end before.
            while taken < size:
                block = raw.socket.recv(1 << 20)
                assert block, f"cut off after {taken} bytes"
                taken += len(block)
        assert taken == size
        # The socket is closed with 1001 before the drain is over, as with SIGTERM.
        code = wait_for(lambda: client.take(4), 10, "a close frame")
        assert code[:1] == b"\x88" and code[2:4] == (1001).to_bytes(2, "big"), code
        app.leave()
        client.close()
        assert upgraded.ends(first) == 0


def replaced(gate, text):
    """Puts a script in the place of the binary, as a package manager does: by rename."""
    fresh = gate.folder / "portcullis.new"
    fresh.write_text(text)
    fresh.chmod(0o755)
    fresh.replace(gate.folder / "portcullis")


class Own(Gateway):
    """A gateway whose binary is its own to replace."""

    def start(self, wait=True):
        shutil.copy(BINARY, self.folder / "portcullis")
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PORTCULLIS_")}
        with self._stdout.open("ab") as out, self._stderr.open("ab") as err:
            self.process = subprocess.Popen(
                ["./portcullis", "run", "--config", "gateway.toml"],
                cwd=self.folder, env={**clean, **self.env}, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip
        wait_for(self.ready, 20, "the gateway to be ready")


@pytest.fixture
def own(tmp_path):
    gate = Own(tmp_path, OPEN)
    upgraded = Line(gate)
    yield upgraded
    try:
        assert set(upgraded.stop()) == {0}
    finally:
        upgraded.kill()
        gate.kill()


OPEN = '[[route]]\npath = "/{*rest}"\nrespond = { status = 200, body = "ok" }\nauth = "public"\n'


def test_a_next_process_that_fails_leaves_the_old_one_as_it_was(own):
    gate = own.gate
    good = gate.config.read_text()
    with Load(gate, "/") as load:
        # A configuration with a mistake.
        gate.write(OPEN.replace("respond", "respnod"))
        gate.signal(signal.SIGUSR2)
        wait_for(lambda: said(gate, "not handed over", "respnod"), 15, "the reason in the log")
        # A program that ends by itself, one that a signal ends, one that is none.
        gate.write(good)
        for text, words in (
            ("#!/bin/sh\nexit 3\n", "exit status: 3"),
            ("#!/bin/sh\nkill -ABRT $$\n", "signal: 6"),
            ("no program\n", "cannot be started"),
        ):
            replaced(gate, text)
            gate.signal(signal.SIGUSR2)
            wait_for(lambda words=words: said(gate, "not handed over", words), 15, f"{words} in the log")
        assert own.process() == gate.pid
        # And then a good one: what stands at the path is what is started.
        replaced(gate, f'#!/bin/sh\ntouch started\nexec {BINARY} "$@"\n')
        assert own.upgrade() != gate.pid
        assert (gate.folder / "started").exists()
        wait_for(lambda served=load.served: load.served > served + 20, 10, "the next process to serve")
    no_failures(load)


def test_a_next_process_that_says_nothing_is_ended_in_bounded_time(own):
    gate = own.gate
    replaced(gate, "#!/bin/sh\necho $$ > number\nexec sleep 300\n")
    began = time.monotonic()
    gate.signal(signal.SIGUSR2)
    wait_for(lambda: (gate.folder / "number").exists(), 5, "the next process")
    gate.signal(signal.SIGUSR2)
    wait_for(lambda: said(gate, "is starting already"), 5, "the second signal to be refused")
    wait_for(lambda: said(gate, "not handed over", "was not ready within"), 40, "the end of its time")
    assert 25 < time.monotonic() - began < 40
    number = int((gate.folder / "number").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert own.process() == gate.pid


def test_sigterm_ends_it_while_the_next_process_starts(own):
    gate = own.gate
    replaced(gate, "#!/bin/sh\necho $$ > number\nexec sleep 300\n")
    gate.signal(signal.SIGUSR2)
    wait_for(lambda: (gate.folder / "number").exists(), 5, "the next process")
    gate.close_clients()
    gate.signal(signal.SIGTERM)
    assert gate.process.wait(6) == 0
    number = int((gate.folder / "number").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    replaced(gate, f'#!/bin/sh\nexec {BINARY} "$@"\n')
    gate.start()
    own.pids[:] = [gate.pid]


# ---- the gateway's own sessions, in a file that one process at a time has ----

SESSIONS = """
[session]
store = "embedded"
path = "{folder}/data/sessions.db"

[upstream.app]
servers = ["{django}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }
revocable = true

[auth.session]
type = "gateway-session"
token_handler = "app"

[token_handler.app]
upstream = "app"
login = "/api/login/"
refresh = "/api/token/refresh/"
logout = "/api/token/blacklist/"
auth = "token"

[[route]]
path = "/api/login/"
upstream = "app"
auth = "public"

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = ["session"]

[[route]]
path = "/token/{*rest}"
upstream = "app"
auth = ["token"]
strip_prefix = "/token"
add_prefix = "/api"
"""


@pytest.fixture(scope="module")
def renewing_app(tmp_path_factory):
    """Its tokens live for eight seconds, and a refresh token is good once."""
    app = DjangoApp(tmp_path_factory.mktemp("django"), ROTATE_REFRESH_TOKENS="1", ACCESS_SECONDS="8")
    yield app
    app.stop()


def test_sessions_in_a_file_go_over_with_their_renewals_and_no_request_is_lost(line, renewing_app):
    upgraded = line(SESSIONS, django=renewing_app.url)
    gate = upgraded.gate
    page = SinglePage(gate)
    page.sign_in("tara")
    cookie = {"Cookie": f"{COOKIE}={page.session}"}
    revoked = bearer(simplejwt(roles=["host"], jti="taken-away"))
    good = bearer(simplejwt(roles=["host"], jti="kept"))
    assert gate.run_cli("sessions", "revoke", "--jti", "taken-away").code == 0
    assert gate.get("/token/echo/", headers=revoked).status_code == 401
    loads = [Load(gate, "/api/me/", cookie, fresh=1), Load(gate, "/token/echo/", good, kept=1, fresh=1)]
    began = time.monotonic()
    with loads[0], loads[1]:
        for _ in range(6):
            first = upgraded.pid
            upgraded.upgrade()
            served = loads[0].served
            wait_for(lambda served=served: loads[0].served > served + 20, 10, "the next process to serve")
            # What was revoked is known from the first request on.
            assert gate.get("/token/echo/", headers=revoked).status_code == 401
            assert upgraded.ends(first) == 0
            time.sleep(1)
        # Long enough for renewals, each of which takes the refresh token of the one before.
        wait_for(lambda: time.monotonic() - began > 18, 20, "renewals")
    no_failures(loads[0])
    no_failures(loads[1])
    page.close()
    again = SinglePage(gate)
    again.sign_in("sina")
    assert passed(again.get("/api/me/")).json()["username"] == "sina"
    again.close()


def test_a_session_that_begins_while_the_file_changes_hands_is_there_afterwards(line, renewing_app):
    upgraded = line(SESSIONS, django=renewing_app.url)
    pages, failures, stop = [], [], threading.Event()

    def sign_in():
        while not stop.is_set():
            page = SinglePage(upgraded.gate)
            try:
                page.sign_in("tara")
                pages.append(page.session)
            except Exception as error:
                failures.append(repr(error))
            page.close()

    threads = [threading.Thread(target=sign_in) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            upgraded.upgrade()
            time.sleep(0.5)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures[:3]
    assert len(pages) > 5
    for session in pages:
        passed(upgraded.gate.get("/api/me/", headers={"Cookie": f"{COOKIE}={session}"}))


# ---- a service manager keeps the sockets ----

# As one socket unit gives them all: by the unit's own name.
UNNAMED = dict.fromkeys(("https", "http", "plain", "admin"), "portcullis.socket")


def test_10_restarts_under_socket_activation_lose_no_request(activated, token, need):
    service = activated(UNNAMED)
    gate = service.gate
    with Load(gate, "/api/echo/", token, http2=need("curl")) as load:
        pids = set()
        for _ in range(RESTARTS):
            served = load.served
            service.restart()
            wait_for(lambda served=served: load.served > served + 20, 20, "the new process to serve")
            pids.add(gate.get("/api/status", door="admin").json()["process"])
            assert gate.pid in pids
    no_failures(load)
    assert len(pids) == RESTARTS


def test_what_connects_while_nothing_runs_is_answered_by_the_next(activated):
    service = activated(UNNAMED)
    gate = service.gate
    url, tls = gate.https_url, gate.tls()
    assert url and tls
    gate.close_clients()
    gate.signal(signal.SIGTERM)
    assert gate.process.wait(15) == 0
    answers = []

    def ask():
        with gate.client() as client:
            answers.append(client.get("/generation").text)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert not answers
    service.start()
    for thread in threads:
        thread.join()
    assert answers == ["first"] * 8


def test_names_decide_where_addresses_do_not_and_what_does_not_fit_is_told(activated):
    names = {"https": "https", "http": "http", "admin": "strange"}
    toml = TOML
    service = activated(names, toml)
    gate = service.gate
    passed(gate.get("/generation"))
    # No socket came for this one.
    assert said(gate, "server.plain", "opened here") and passed(gate.get("/generation", door="plain"))
    # By name: the file names another port than the socket has.
    gate.stop()
    text = gate.config.read_text()
    gate.config.write_text(text.replace(f'http = "127.0.0.1:{gate.ports["http"]}"', 'http = "127.0.0.1:1"'))
    service.start()
    assert gate.get("/", door="http").status_code in (301, 308)
    # And one that is left over.
    gate.stop()
    gate.config.write_text(text.replace(f'http = "127.0.0.1:{gate.ports["http"]}"\n', ""))
    service.start()
    wait_for(lambda: said(gate, "fits no address", str(gate.ports["http"])), 5, "the socket that is left over")


def test_a_descriptor_that_is_no_listening_socket_ends_the_start_in_words(activated):
    service = activated(UNNAMED)
    gate = service.gate
    gate.stop()
    one, other = os.pipe()
    done = subprocess.run(
        ["bash", "-c", f'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=https; exec 3<&{one}; exec "$@"', "bash",
         BINARY, "run", "--config", gate.config],
        pass_fds=[one], capture_output=True, text=True, timeout=20, cwd=gate.folder,
        env={**os.environ, **SECRETS},
    )  # fmt: skip
    os.close(one)
    os.close(other)
    assert done.returncode == 1 and 'socket 1 ("https") cannot be used' in done.stderr, done
    service.start()


def test_the_real_activator_of_systemd_is_understood(need, tmp_path):
    activate = need("systemd-socket-activate")
    gate = Idle(tmp_path, OPEN)
    gate._stderr.touch()
    with gate._stdout.open("wb") as log:
        gate.process = subprocess.Popen(
            [activate, *(f"--listen=127.0.0.1:{gate.ports[door]}" for door in ("https", "admin")),
             "--fdname=https:admin", BINARY, "run", "--config", gate.config],
            cwd=tmp_path, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for(gate.ready, 20, "the gateway to be ready")
        passed(gate.get("/anything"))
        assert said(gate, "server.plain", "opened here")
    finally:
        gate.stop()


# ---- what a service manager is told ----


def test_a_service_manager_is_told_how_it_stands(line, django_app, tmp_path):
    manager = Notified(tmp_path)
    environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"}
    upgraded = line(TOML, env=environment, django=django_app.url)
    gate = upgraded.gate
    manager.await_("READY=1")
    manager.await_("WATCHDOG=1")
    gate.reload(TOML)
    manager.await_("RELOADING=1", "MONOTONIC_USEC=")
    wait_for(lambda: manager.told().count("READY=1\n") + manager.told().count("READY=1") > 1, 5, "the reload's end")
    before = len(manager.told())
    fresh = upgraded.upgrade()
    manager.await_(f"MAINPID={fresh}")
    assert upgraded.ends(gate.pid) == 0
    told = manager.told()[before:]
    # The old one speaks until it hands over, the next one from then on; nobody stops.
    assert not any("STOPPING" in one for one in told), told
    after = told[next(at for at, one in enumerate(told) if "MAINPID" in one) :]
    assert any("READY=1" in one for one in after), told
    manager.await_("WATCHDOG=1")
    gate.close_clients()
    os.kill(fresh, signal.SIGTERM)
    manager.await_("STOPPING=1")
    upgraded.stop = lambda: [upgraded.ends(pid) for pid in upgraded.pids]
    manager.close()
