"""One request and its answer, step by step, the same over HTTP/1.1 and HTTP/2: what came so far, and how it ended."""

import re
import time

import h2.errors
import h2.events

from .http2 import Http2Client
from .raw import over_tls, reset


class Exchange1:
    """Over HTTP/1.1. `interims`, `head` (a dict in lower case, with `:status`), `body`, `trailers` as far as they came."""

    def __init__(self, gate, path, method="GET", more=(), upload=False):
        self.raw, self.upload = over_tls(gate), upload
        self.interims, self.head, self.body, self.trailers = [], None, b"", {}
        self.ended = self.over = False
        self._rest = b""
        fields = [*more, *([("transfer-encoding", "chunked")] if upload else [])]
        lines = [f"{method} {path} HTTP/1.1", "host: localhost", *(f"{name}: {value}" for name, value in fields)]
        self.raw.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    def send(self, data):
        """Sends a piece of the body, as one chunk."""
        self.raw.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self, trailers=()):
        """Ends the body."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        self.raw.send(f"0\r\n{lines}\r\n".encode())

    def until(self, found, seconds=5):
        """Reads until `found()` is true; answers whether it came to be."""
        deadline = time.monotonic() + seconds
        while not found():
            left = deadline - time.monotonic()
            if left <= 0 or self.over:
                return False
            self.raw.socket.settimeout(left)
            try:
                block = self.raw.socket.recv(65536)
            except TimeoutError:
                return False
            except OSError:
                block = b""
            self.over = not block
            self._rest += block
            while self._step():
                pass
        return True

    def _step(self):
        """Takes one thing out of what has come."""
        if self.ended:
            return False
        if self.head is None:
            text, mark, rest = self._rest.partition(b"\r\n\r\n")
            if not mark:
                return False
            head, self._rest = _fields(text), rest
            if head[":status"].startswith("1"):
                self.interims.append(head)
            else:
                self.head = head
            return True
        if "transfer-encoding" in self.head:
            return self._chunk()
        self.body, self._rest = self.body + self._rest, b""
        length = self.head.get("content-length")
        self.ended = length is not None and len(self.body) >= int(length)
        return False

    def _chunk(self):
        found = re.match(rb"([0-9a-fA-F]+)[^\r\n]*\r\n", self._rest)
        if not found:
            return False
        size, start = int(found.group(1), 16), found.end()
        if size == 0:
            text, mark, _ = self._rest[start - 2 :].partition(b"\r\n\r\n")
            self.ended = bool(mark)
            self.trailers = _fields(text) if mark else {}
            return False
        if len(self._rest) < start + size + 2:
            return False
        self.body += self._rest[start : start + size]
        self._rest = self._rest[start + size + 2 :]
        return True

    def cut(self, seconds=5):
        """Whether the answer was cut off: the connection is over and the answer is not whole."""
        return self.until(lambda: self.over, seconds) and not self.ended

    def leave(self):
        """Closes the connection, as a client does that has lost interest."""
        self.raw.close()

    def vanish(self):
        """Resets the connection, as that of a client that has crashed."""
        reset(self.raw.socket)

    close = leave


def _fields(text):
    lines = text.decode("latin-1").split("\r\n")
    found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:]) if name}
    if lines[0].startswith("HTTP/"):
        found[":status"] = lines[0].split(" ")[1]
    return found


class Exchange2:
    """The same on one stream of an HTTP/2 connection."""

    def __init__(self, gate, path, method="GET", more=(), upload=False, client=None):
        self.client = client or Http2Client(gate)
        self.number = self.client.open(path, method, more, ends=not upload)

    def send(self, data):
        self.client.data(self.number, data, ends=False)

    def end(self, trailers=()):
        if trailers:
            self.client.trailers(self.number, trailers)
        else:
            self.client.data(self.number, b"")

    def until(self, found, seconds=5):
        return self.client.until(lambda _: found(), seconds)

    def _of(self, kind):
        return self.client.of(self.number, kind)

    @property
    def interims(self):
        return self.client.interims(self.number)

    @property
    def head(self):
        found = self._of(h2.events.ResponseReceived)
        return dict(found[0].headers) if found else None

    @property
    def body(self):
        return b"".join(event.data for event in self._of(h2.events.DataReceived))

    @property
    def trailers(self):
        found = self._of(h2.events.TrailersReceived)
        return dict(found[0].headers) if found else {}

    @property
    def ended(self):
        return bool(self._of(h2.events.StreamEnded))

    def cut(self, seconds=5):
        """Whether the answer was cut off: the stream was reset."""
        return self.until(lambda: self._of(h2.events.StreamReset), seconds) and not self.ended

    def leave(self):
        """Resets the stream; the connection stays."""
        self.client.h2.reset_stream(self.number, h2.errors.ErrorCodes.CANCEL)
        self.client.flush()

    def vanish(self):
        """Closes the connection under it."""
        self.client.close()

    def close(self):
        self.client.close()


EXCHANGES = {"http1": Exchange1, "http2": Exchange2}
