"""Small app servers, each a process of its own that can be killed and started again at the same place; and clients
that ask them without end.

Run as a program it is the server: `members.py HOST PORT FOLDER`. What it does is read from the file `mood` in the
folder at each request: `well`, `ill` (its `/health` says 503), `broken` (it closes connections without an answer).
"""

import signal
import socketserver
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx

from .ports import free_port, wait_for


class Member:
    """One such server: `url`, `kill()`, `start()`, `mood`."""

    def __init__(self, folder, host="127.0.0.1", port=None):
        self.folder, self.host, self.port = Path(folder), host, port or free_port()
        self.url = f"http://{self.host}:{self.port}"
        self.folder.mkdir()
        self.mood = "well"
        self.process = None
        self.start()

    @property
    def name(self):
        """What its answers say."""
        return f"{self.host}:{self.port}"

    @property
    def mood(self):
        return (self.folder / "mood").read_text()

    @mood.setter
    def mood(self, mood):
        fresh = self.folder / "mood.new"
        fresh.write_text(mood)
        fresh.replace(self.folder / "mood")

    def start(self):
        """Starts it and waits until it listens."""
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.members", self.host, str(self.port), str(self.folder)],
            cwd=Path(__file__).resolve().parents[1],
        )
        wait_for(ready.exists, 20, "a member to listen", every=0.01)

    def kill(self):
        """Ends it as a crash would: without a word to anyone."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)


class Load:
    """Some clients that ask one request after another, until the block ends: `statuses`, `names`."""

    def __init__(self, gate, clients=6, method="GET"):
        self.gate, self.method = gate, method
        self.answers, self._over = [], threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self):
        with httpx.Client(base_url=self.gate.plain_url, trust_env=False, timeout=10) as client:
            while not self._over.is_set():
                answer = client.request(self.method, "/")
                self.answers.append((answer.status_code, answer.text))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(15)

    def since(self, mark=0):
        """How often each server answered since a mark, which is a length of `answers`."""
        return Counter(text for _, text in self.answers[mark:])

    def failed(self):
        """What was no 200."""
        return [answer for answer in self.answers if answer[0] != 200]


def _serve(host, port, folder):
    mood = folder / "mood"

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while True:
                line = self.rfile.readline()
                length = 0
                while (field := self.rfile.readline()) not in (b"\r\n", b""):
                    if field.lower().startswith(b"content-length:"):
                        length = int(field.split(b":")[1])
                if not line:
                    return
                self.rfile.read(length)
                now = mood.read_text()
                if now == "broken":
                    return
                ill = now == "ill" and line.startswith(b"GET /health ")
                body = f"{host}:{port}".encode()
                head = f"HTTP/1.1 {'503 Ill' if ill else '200 OK'}\r\nContent-Length: {len(body)}\r\n\r\n"
                self.wfile.write(head.encode() + body)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_):
            """A peer that goes away is no error here."""

    with Server((host, port), Handler) as server:
        (folder / "ready").write_text("")
        server.serve_forever()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
