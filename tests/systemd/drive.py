"""Drives the gateway's units under systemd from within its container, under load, and writes what came of it."""

import http.client
import http.server
import pathlib
import re
import socketserver
import ssl
import subprocess
import threading
import time
import traceback
import urllib.request

FOLDER = pathlib.Path("/opt/portcullis-drive")
CONFIG = pathlib.Path("/etc/portcullis/gateway.toml")
TIMES = 10
TRUST = ssl.create_default_context(cafile="/etc/portcullis/app.pem")


class App(http.server.BaseHTTPRequestHandler):
    """Answers each request after a while, so that some are always under way."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        time.sleep(0.02)
        body = b"app"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Load:
    """Clients that ask all the time: half of them on one connection as long as it is kept, half on a new one each."""

    def __init__(self, clients=8):
        self.done, self.failures, self.slowest, self._end = 0, [], 0.0, threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, keeps):
        link = None
        while not self._end.is_set():
            began = time.monotonic()
            try:
                link = self._once(link, keeps)
                failure = None
            except (OSError, http.client.HTTPException) as error:
                link, failure = None, repr(error)
            with self._lock:
                self.done += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
                if failure:
                    self.failures.append(failure)

    @staticmethod
    def _once(link, keeps):
        kept = link is not None
        link = link or http.client.HTTPSConnection("localhost", context=TRUST, timeout=20)
        try:
            link.request("GET", "/api/items")
            answer = link.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError):
            # A kept connection may end between two requests: every HTTP client asks again on a new one (RFC 9110, 9.2.2).
            if not kept:
                raise
            return Load._once(None, keeps)
        body = answer.read()
        if answer.status != 200 or body != b"app":
            raise http.client.HTTPException(f"{answer.status} {body[:200]}")
        if keeps and not answer.will_close:
            return link
        link.close()
        return None


def systemctl(*arguments):
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=90)
    if done.returncode != 0:
        raise AssertionError(f"systemctl {arguments}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def shown(name):
    return systemctl("show", "--property", name, "--value", "portcullis")


def main_process():
    return int(shown("MainPID"))


def until(what, check, seconds=20):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def generation():
    with urllib.request.urlopen("https://localhost/generation", context=TRUST, timeout=20) as answer:
        return answer.read().decode()


def ready():
    with urllib.request.urlopen("http://127.0.0.1:9090/ready", timeout=5) as answer:
        return answer.status == 200


def restart(number):
    before = main_process()
    systemctl("restart", "portcullis")
    assert main_process() != before and shown("ActiveState") == "active"


def reload(number):
    before, text = main_process(), CONFIG.read_text()
    CONFIG.write_text(re.sub(r'body = "\d+"', f'body = "{number + 1}"', text))
    systemctl("reload", "portcullis")
    until("the change is in force", lambda: generation() == str(number + 1))
    assert main_process() == before


def upgrade(number):
    before = main_process()
    systemctl("kill", "--kill-whom=main", "--signal=USR2", "portcullis")
    until("systemd knows the next process", lambda: main_process() not in (before, 0))
    until("the old one is gone", lambda: not pathlib.Path(f"/proc/{before}").exists())
    assert shown("ActiveState") == "active" and shown("NRestarts") == "0"


def under_load(say, name, step):
    with Load() as load:
        time.sleep(1)
        for number in range(TIMES):
            step(number)
            time.sleep(0.3)
        time.sleep(1)
    say(f"{name}, {TIMES} times: {load.done} requests, {len(load.failures)} failed, slowest {load.slowest:.2f} s")
    assert load.done > 200 and not load.failures, load.failures[:5]


def drive(say):
    app = Server(("127.0.0.1", 8000), App)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    say(subprocess.run(["systemctl", "--version"], capture_output=True, text=True).stdout.splitlines()[0])
    systemctl("start", "portcullis.socket", "portcullis.service")
    assert ready() and shown("ActiveState") == "active" and shown("Type") == "notify"
    status = pathlib.Path(f"/proc/{main_process()}/status").read_text()
    user = subprocess.run(["id", "-u", "portcullis"], capture_output=True, text=True).stdout.strip()
    assert re.search(r"^Uid:\t(\d+)", status, re.M)[1] == user and "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    say(f"started: ready, as user portcullis, sandboxed; systemd-analyze: {exposure()}")
    under_load(say, "systemctl restart", restart)
    under_load(say, "systemctl reload", reload)
    under_load(say, "systemctl kill --signal=USR2", upgrade)

    before = main_process()
    systemctl("kill", "--kill-whom=main", "--signal=KILL", "portcullis")
    until("it is started anew", lambda: main_process() not in (before, 0) and shown("ActiveState") == "active")
    until("it answers", lambda: generation() == str(TIMES))
    say("kill -9: started anew by systemd, and serves")

    before = main_process()
    systemctl("kill", "--kill-whom=main", "--signal=STOP", "portcullis")
    until("the watchdog ends it", lambda: main_process() not in (before, 0) and shown("ActiveState") == "active", 60)
    until("it answers", lambda: generation() == str(TIMES))
    say("stopped in its tracks: the watchdog had it started anew, and it serves")

    began = time.monotonic()
    systemctl("stop", "portcullis.service", "portcullis.socket")
    assert shown("ActiveState") == "inactive" and shown("Result") == "success" and shown("ExecMainStatus") == "0"
    say(f"systemctl stop: exit code 0 after {time.monotonic() - began:.2f} s")


def exposure():
    told = subprocess.run(["systemd-analyze", "security", "portcullis"], capture_output=True, text=True).stdout
    return told.strip().splitlines()[-1].strip() if told.strip() else "says nothing"


def main():
    lines, result = [], "failed"
    try:
        drive(lines.append)
        result = "passed"
    except Exception:
        lines += [traceback.format_exc()]
        for unit in ("portcullis.service", "portcullis.socket"):
            told = subprocess.run(["journalctl", "--no-pager", "-n", "60", "-u", unit], capture_output=True, text=True)
            lines.append(told.stdout[-6000:])
    (FOLDER / "report").write_text("\n".join([*lines, result]) + "\n")
    (FOLDER / "result").write_text(result)


if __name__ == "__main__":
    main()
