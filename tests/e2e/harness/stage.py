"""An app that a test plays itself, one request after the other."""

import base64
import contextlib
import hashlib
import queue
import threading
import time

from .upstreams import Listener, Received, read_head

FIXED = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Stage(Listener):
    """Each request is put into `entered`, and held until it is let go; one for each connection."""

    def __init__(self):
        self.entered = queue.Queue()
        super().__init__()

    def serve(self, connection):
        head, rest = read_head(connection)
        if head:
            entered = Entered(connection, head, rest)
            self.entered.put(entered)
            entered.done.wait(90)

    def next(self):
        """The request that came next."""
        return self.entered.get(timeout=10)


class Entered:
    """One request at the app: `head`, `came` (the bytes behind it so far), and the connection to answer on."""

    def __init__(self, connection, head, rest):
        self.connection, self.head, self.came = connection, head, rest
        self.done = threading.Event()
        connection.settimeout(5)

    def say(self, data):
        """Sends bytes as they are."""
        self.connection.sendall(data)

    def switch(self, *lines):
        """Answers a handshake with 101; `lines` are further headers."""
        key = Received(self.head, b"").all("sec-websocket-key")[0]
        accept = base64.b64encode(hashlib.sha1((key + FIXED).encode()).digest()).decode()
        head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        self.say("\r\n".join([*head, f"Sec-WebSocket-Accept: {accept}", *lines, "", ""]).encode())

    def until(self, mark):
        """Reads until `mark` has come; answers with all that came behind the head."""
        while mark not in self.came:
            block = self.connection.recv(65536)
            assert block, f"the gateway ended the request; before that came {self.came!r}"
            self.came += block
        return self.came

    def take(self, count):
        """Reads until so many bytes have come behind the head, and takes them away."""
        while len(self.came) < count:
            block = self.connection.recv(1 << 20)
            assert block, f"the gateway ended the connection after {len(self.came)} of {count} bytes"
            self.came += block
        taken, self.came = self.came[:count], self.came[count:]
        return taken

    def left(self, seconds=5):
        """How long it took until the gateway ended the connection, None where it did not; what comes before is kept."""
        began = time.monotonic()
        self.connection.settimeout(seconds)
        with contextlib.suppress(ConnectionError):
            while True:
                try:
                    block = self.connection.recv(65536)
                except TimeoutError:
                    return None
                if not block:
                    break
                self.came += block
        return time.monotonic() - began

    def leave(self):
        """Ends the request from the app's side."""
        self.done.set()
