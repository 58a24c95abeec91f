"""Two independent WebSocket implementations, each as server and as client: Python's websockets, and tokio-tungstenite."""

import contextlib
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.server import serve

from .gateway import BINARY, ROOT
from .ports import wait_for
from .upstreams import Listener, read_head
from .websocket import WebSocket

RUST = [folder / "examples" / "websocket-peer" for folder in (Path(BINARY).parent, ROOT / "target/debug")]
LONGEST = 16 << 20
WANTED = "chat.v2"
# Those that an endpoint may send (RFC 6455 §7.4, and 1012 to 1014 of its registry), and the last of each range.
CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
# tokio-tungstenite does not know 1014.
RUST_CODES = [code for code in CODES if code != 1014]
# `one two three` in three fragments, with control frames between them.
FRAGMENTS = [
    Frame(Opcode.TEXT, b"one ", fin=False),
    Frame(Opcode.PING, b"between"),
    Frame(Opcode.CONT, b"two ", fin=False),
    Frame(Opcode.PONG, b"unasked"),
    Frame(Opcode.CONT, b"three"),
]


def rust_peer():
    """The path of the program by tokio-tungstenite. Where it was not built CI fails, elsewhere the test is skipped aloud."""
    for path in RUST:
        if path.exists():
            return path
    say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    return say(f"{RUST[0]} is not there: cargo build --example websocket-peer")


def send_fragments(peer):
    """The server's side of the library sends them; its thread reads meanwhile, which plain TCP bears."""
    with peer.protocol_mutex:
        for frame in FRAGMENTS:
            peer.protocol.send_frame(frame)
        for data in peer.protocol.data_to_send():
            peer.socket.sendall(data)


class PythonServer:
    """Sends back what comes; `fragments` and `close CODE REASON` are orders. `closed`: the code and reason of each socket."""

    def __init__(self, compression=None):
        self.closed = []
        options = {
            "compression": compression,
            "max_size": 4 * LONGEST,
            "close_timeout": 3,
            "select_subprotocol": self._choose,
        }
        self.server = serve(self._answer, "127.0.0.1", 0, **options)
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _choose(self, _, offered):
        return WANTED if WANTED in offered else None

    def _answer(self, peer):
        try:
            while True:
                message = peer.recv()
                if message == "fragments":
                    send_fragments(peer)
                elif isinstance(message, str) and message.startswith("close "):
                    code, _, reason = message.removeprefix("close ").partition(" ")
                    peer.close(int(code), reason)
                else:
                    peer.send(message)
        except ConnectionClosed as closed:
            told = closed.rcvd or closed.sent
            self.closed.append((told.code, told.reason) if told else (1006, ""))

    def close(self):
        self.server.shutdown()


class RustServer:
    """The same, by tokio-tungstenite."""

    def __init__(self):
        self.process = subprocess.Popen([rust_peer(), "serve"], stdout=subprocess.PIPE, text=True, errors="replace")
        self.port = int(self.process.stdout.readline().split()[1])
        self.closed, self.failed = [], []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "closed":
                code, _, reason = rest.partition(" ")
                self.closed.append((int(code), reason))
            else:
                self.failed.append(rest)

    def close(self):
        self.process.terminate()
        self.process.wait(5)


def rust_visit(url, codes):
    """Every check by tokio-tungstenite as the client."""
    done = subprocess.run([rust_peer(), "visit", url, *map(str, codes)], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == 3 + 2 * len(codes), done.stdout


@contextlib.contextmanager
def visiting(url, **options):
    """A socket of Python's websockets; it is left without a close."""
    peer = WebSocket(url, **{"compression": None, "max_size": 4 * LONGEST, "close_timeout": 3, **options})
    try:
        yield peer
    finally:
        peer.drop()


def python_visit(url, codes, compression=None):
    """The same checks by Python's websockets."""
    with visiting(url, compression=compression) as peer:
        for length in (0, 1, 125, 126, 127, 65535, 65536, 1_000_003, LONGEST):
            text = "a\u00e9\u2713\U0001f642" * (length // 10)
            text += "x" * (length - len(text.encode()))
            binary = (bytes(range(256)) * (length // 256 + 1))[:length]
            for message in (binary, text):
                peer.send(message)
                assert peer.recv(timeout=20) == message, length
    with visiting(url, compression=compression) as peer:
        peer.send_frames(FRAGMENTS)
        assert peer.recv(timeout=5) == "one two three"
        peer.send("fragments")
        assert peer.recv_fragments(timeout=5) == ["one ", "two ", "three"]
        peer.ping(b"x" * 125, timeout=5)
    with visiting(url, compression=compression, subprotocols=["chat.v1", WANTED]) as peer:
        assert peer.subprotocol == WANTED
    for code in codes:
        reason = f"{code} \u2713"
        with visiting(url, compression=compression) as peer:
            peer.send(f"close {code} {reason}")
            try:
                peer.recv(timeout=5)
                raise AssertionError(f"{code}: no close")
            except ConnectionClosed as closed:
                assert (closed.rcvd.code, closed.rcvd.reason) == (code, reason)
        with visiting(url, compression=compression) as peer:
            peer.close(code, reason)
            assert peer.protocol.close_rcvd.code == code


class Relay(Listener):
    """Passes connections on to a port, and keeps what went each way behind the heads: `passed`, a list of [up, down]."""

    def __init__(self, port):
        self.target, self.passed = port, []
        super().__init__()

    def serve(self, connection):
        onward = socket.create_connection(("127.0.0.1", self.target), 10)
        connection.settimeout(120)
        onward.settimeout(120)
        kept = [bytearray(), bytearray()]
        head, rest = read_head(connection)
        onward.sendall(head + rest)
        kept[0] += rest
        self.passed.append(kept)
        answer, rest = read_head(onward)
        connection.sendall(answer + rest)
        kept[1] += rest
        down = threading.Thread(target=self._pump, args=(onward, connection, kept[1]), daemon=True)
        down.start()
        self._pump(connection, onward, kept[0])
        down.join()
        onward.close()

    def _pump(self, source, target, kept):
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 18):
                kept += block
                target.sendall(block)
            target.shutdown(socket.SHUT_WR)

    def settled(self):
        """Waits until nothing is open any more; answers with what passed."""
        wait_for(lambda: not self._open, 10, "the sockets to end")
        return [(bytes(up), bytes(down)) for up, down in self.passed]
