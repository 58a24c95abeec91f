"""Processes that follow one another: load that tells each failure, a stand-in for systemd, and who is left behind."""

import contextlib
import ctypes
import fcntl
import http.client
import os
import signal
import socket
import subprocess
import threading
import time

import httpx

from .apps import SECRETS
from .gateway import BINARY
from .ports import wait_for

PR_SET_CHILD_SUBREAPER = 36


class Load:
    """Requests over kept and fresh connections until stopped. Nothing is asked twice: whatever goes wrong is told."""

    def __init__(self, gate, path, headers=None, kept=3, fresh=2, http2=None):
        self.gate, self.path, self.headers = gate, path, headers or {}
        self.failures, self.served, self.connections = [], 0, 0
        self._stop, self._lock, self._tls = threading.Event(), threading.Lock(), gate.tls()
        workers = [(self._keep, (pause,)) for pause in (0, 0.02, 0.3)[:kept]] + [(self._fresh, ())] * fresh
        if http2:
            workers.append((self._by_curl, (http2,)))
        self._threads = [threading.Thread(target=work, args=args) for work, args in workers]

    def _open(self):
        with self._lock:
            self.connections += 1
        return http.client.HTTPSConnection("localhost", self.gate.ports["https"], context=self._tls, timeout=20)

    def _ask(self, connection, **more):
        try:
            connection.request("GET", self.path, headers={**self.headers, **more})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise AssertionError(f"{answer.status} {body[:300]}")
            with self._lock:
                self.served += 1
            return not answer.will_close
        except Exception as error:
            self.failures.append((time.monotonic(), repr(error)))
            return False

    def _keep(self, pause):
        connection = self._open()
        while not self._stop.is_set():
            if not self._ask(connection):
                connection.close()
                connection = self._open()
            time.sleep(pause)
        connection.close()

    def _fresh(self):
        while not self._stop.is_set():
            connection = self._open()
            self._ask(connection)
            connection.close()

    def _by_curl(self, curl):
        urls = [f"{self.gate.https_url}{self.path}"] * 50
        options = [word for name, value in self.headers.items() for word in ("--header", f"{name}: {value}")]
        told = [word for _ in urls for word in ("--output", "/dev/null")]
        while not self._stop.is_set():
            done = subprocess.run(
                [curl, "--silent", "--show-error", "--http2", "--cacert", self.gate.ca_file, *options, *told,
                 "--write-out", "%{http_code} %{http_version}\n", *urls],
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            if done.returncode or set(done.stdout.split("\n")) != {"200 2", ""}:
                self.failures.append((time.monotonic(), f"curl: {done.returncode} {done.stderr} {done.stdout}"))
            with self._lock:
                self.served += len(urls)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        wait_for(lambda: self.served > 20, 20, "the load to begin")
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def subreaper():
    """While it lasts, processes whose parents have ended become this one's, so that their ends can be seen."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


class Line:
    """A gateway and the processes that took over from it, the newest last."""

    def __init__(self, gate):
        self.gate, self.pids, self._codes = gate, [gate.pid], {}

    @property
    def pid(self):
        """The process that is the gateway."""
        return self.pids[-1]

    def process(self):
        """Who the admin address says it is."""
        try:
            return self.gate.get("/api/status", door="admin").json()["process"]
        except (httpx.HTTPError, OSError) as error:
            # The process that goes may have taken the connection and end now.
            return error

    def upgrade(self, within=20):
        """Sends SIGUSR2 and waits until another process is the gateway."""
        os.kill(self.pid, signal.SIGUSR2)
        found = wait_for(self._next, within, "another process to take over")
        self.pids.append(found)
        return found

    def _next(self):
        found = self.process()
        return found if isinstance(found, int) and found not in self.pids else None

    def ends(self, pid, within=15):
        """Waits for a process that handed over, and answers with its exit code."""
        if pid == self.gate.process.pid:
            return self.gate.process.wait(within)
        if pid not in self._codes:
            ended = wait_for(lambda: _waited(pid), within, f"{pid} to end")
            self._codes[pid] = os.waitstatus_to_exitcode(ended[1])
        return self._codes[pid]

    def stop(self):
        """Ends the newest, and answers with the exit codes of all."""
        self.gate.close_clients()
        os.kill(self.pid, signal.SIGTERM)
        return [self.ends(pid) for pid in self.pids]

    def kill(self):
        """Ends whatever is left."""
        for pid in set(self.pids[1:]) - self._codes.keys():
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _waited(pid):
    found, status = os.waitpid(pid, os.WNOHANG)
    return (found, status) if found else None


class Notified:
    """The socket to which a service tells how it stands."""

    def __init__(self, folder):
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self._told = []

    def told(self):
        """Every message so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._told.append(self._socket.recv(4096).decode())
        return self._told

    def await_(self, *words, within=10):
        """Waits for a message that has all these words."""
        return wait_for(
            lambda: [one for one in self.told() if all(word in one for word in words)],
            within, f"{words} to be told; told was {self._told}",
        )  # fmt: skip

    def close(self):
        self._socket.close()


class Activator:
    """Plays systemd for a gateway that was made with `wait=None`: opens the sockets, keeps them, starts and stops."""

    # Passes descriptors 50, 51, ... as 3, 4, ..., under the process's own number.
    SCRIPT = 'export LISTEN_PID=$$; at=3; for from in $DESCRIPTORS; do eval "exec $at<&$from $from<&-"; at=$((at + 1)); done; unset DESCRIPTORS; exec "$@"'

    def __init__(self, gate, names, env=None):
        """`names`: by door, what its socket is called."""
        self.gate, self.names, self.env = gate, names, env or {}
        self.sockets = {door: socket.create_server(("127.0.0.1", gate.ports[door]), backlog=4096) for door in names}

    def start(self, wait=True):
        """Starts the gateway as a service manager does."""
        gate = self.gate
        descriptors = [fcntl.fcntl(one, fcntl.F_DUPFD, 50) for one in self.sockets.values()]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PORTCULLIS_")}
        given = {
            "LISTEN_FDS": str(len(descriptors)),
            "LISTEN_FDNAMES": ":".join(self.names.values()),
            "DESCRIPTORS": " ".join(map(str, descriptors)),
        }
        with gate._stdout.open("ab") as out, gate._stderr.open("ab") as err:
            gate.process = subprocess.Popen(
                ["bash", "-c", self.SCRIPT, "bash", BINARY, "run", "--config", str(gate.config)],
                cwd=gate.folder, env={**clean, **SECRETS, **gate.env, **given, **self.env}, stdin=subprocess.DEVNULL,
                stdout=out, stderr=err, pass_fds=descriptors,
            )  # fmt: skip
        for one in descriptors:
            os.close(one)
        if wait:
            wait_for(gate.ready, 20, "the gateway to be ready", every=0.02)

    def restart(self):
        """As `systemctl restart`: SIGTERM, the end, and a new start. The sockets stay open."""
        self.gate.close_clients()
        self.gate.signal(signal.SIGTERM)
        assert self.gate.process.wait(15) == 0
        self.start(wait=False)

    def close(self):
        for one in self.sockets.values():
            one.close()
