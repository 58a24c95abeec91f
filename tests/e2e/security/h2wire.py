"""An HTTP/2 client that sends the frames it is told to, right or wrong."""

import json
import struct
import time

import hpack

from harness.raw import over_tls

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_FLAG = 1, 1, 4, 8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """One frame; `length` may lie."""
    size = len(payload) if length is None else length
    return struct.pack("!I", size)[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def settings(**values):
    """A SETTINGS frame's payload from numbers: `settings(s3=100)`."""
    return b"".join(struct.pack("!HI", int(name[1:]), value) for name, value in values.items())


def literal(name, value):
    """A field as an HPACK literal without indexing, never Huffman: any bytes pass."""
    name, value = (text if isinstance(text, bytes) else text.encode() for text in (name, value))
    return b"\x00" + integer(len(name)) + name + integer(len(value)) + value


def integer(number, bits=7):
    """An HPACK integer in a byte of its own."""
    limit = (1 << bits) - 1
    if number < limit:
        return bytes([number])
    out, number = bytes([limit]), number - limit
    while number >= 128:
        out, number = out + bytes([number % 128 + 128]), number // 128
    return out + bytes([number])


def block(fields):
    """A header block of literals."""
    return b"".join(literal(name, value) for name, value in fields)


def head(path="/open/x", method="GET", authority="localhost", scheme="https", more=()):
    """The fields of an ordinary request."""
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path), *more]


class Stream:
    """What came back on one stream."""

    def __init__(self):
        self.blocks, self.body, self.ended, self.reset = [], b"", False, None

    @property
    def headers(self):
        """The final answer's fields."""
        for fields in self.blocks:
            if not dict(fields).get(":status", "1").startswith("1"):
                return fields
        return []

    @property
    def status(self):
        """The final answer's status, or None."""
        found = dict(self.headers).get(":status")
        return int(found) if found else None

    @property
    def code(self):
        """The refusal's code."""
        try:
            return json.loads(self.body).get("code")
        except (ValueError, AttributeError):
            return None

    def all(self, name):
        """Every value of a header."""
        return [value for key, value in self.headers if key == name]

    def __repr__(self):
        return f"<{self.status} {self.code or self.body[:60]!r} ended={self.ended} reset={self.reset}>"


class H2:
    """One connection. What the server says gathers in `streams`, `goaway`, `settings`, `pongs`, `closed`."""

    def __init__(self, gate, given=b"", name="localhost", preface=PREFACE, windows=True, timeout=10, connect=None):
        self.client = connect or over_tls(gate, alpn=("h2",), name=name, timeout=timeout)
        self.decoder = hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 24
        self.streams, self.settings = {}, {}
        self.goaway, self.closed, self.pongs, self.acks = None, False, 0, 0
        self.windows, self.next_id = windows, 1
        self._buffer, self._pending = b"", b""
        if preface:
            self.send(preface + frame(SETTINGS, 0, 0, given))

    def send(self, data):
        """Bytes as they are; a connection that is gone is noted, not raised."""
        try:
            self.client.socket.settimeout(10)
            self.client.socket.sendall(data)
        except OSError:
            self.closed = True

    def stream(self, number):
        """What came back on this stream so far."""
        return self.streams.setdefault(number, Stream())

    def open(self, fields, flags=END_STREAM, number=None, payload=None):
        """Sends one HEADERS frame; answers with the stream's number."""
        if number is None:
            number, self.next_id = self.next_id, self.next_id + 2
        self.send(frame(HEADERS, flags | END_HEADERS, number, block(fields) if payload is None else payload))
        return number

    def request(self, path="/open/x", more=(), method="GET", body=None, trailers=None, seconds=6, **named):
        """A whole request; waits for its end and answers with the stream."""
        number = self.open(head(path, method, more=more, **named), 0 if body is not None or trailers else END_STREAM)
        if body is not None:
            self.send(frame(DATA, 0 if trailers else END_STREAM, number, body))
        if trailers:
            self.open(trailers, END_STREAM, number)
        return self.wait(number, seconds)

    def wait(self, number, seconds=6):
        """Reads until the stream has ended one way or another."""
        self.pump(seconds, lambda: self.stream(number).ended or self.stream(number).reset is not None)
        return self.stream(number)

    def pump(self, seconds, until=lambda: False):
        """Reads frames for so long, or until something is true, or the connection ends."""
        deadline = time.monotonic() + seconds
        while not until() and not self.closed:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self.client.socket.settimeout(left)
            try:
                data = self.client.socket.recv(65536)
            except TimeoutError:
                return
            except OSError:
                data = b""
            if not data:
                self.closed = True
                return
            self._buffer += data
            while len(self._buffer) >= 9:
                size = int.from_bytes(self._buffer[:3], "big")
                if len(self._buffer) < 9 + size:
                    break
                kind, flags = self._buffer[3], self._buffer[4]
                number = int.from_bytes(self._buffer[5:9], "big") & 0x7FFFFFFF
                payload, self._buffer = self._buffer[9 : 9 + size], self._buffer[9 + size :]
                self._take(kind, flags, number, payload)

    def _take(self, kind, flags, number, payload):
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                key, value = struct.unpack("!HI", payload[at : at + 6])
                self.settings[key] = value
            self.send(frame(SETTINGS, ACK))
        elif kind == SETTINGS:
            self.acks += 1
        elif kind == PING and flags & ACK:
            self.pongs += 1
        elif kind == PING:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaway = struct.unpack("!I", payload[4:8])[0]
        elif kind == RST_STREAM:
            self.stream(number).reset = struct.unpack("!I", payload)[0]
        elif kind == DATA:
            if flags & PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            self.stream(number).body += payload
            if self.windows and payload:
                more = struct.pack("!I", len(payload))
                self.send(frame(WINDOW_UPDATE, 0, 0, more) + frame(WINDOW_UPDATE, 0, number, more))
            if flags & END_STREAM:
                self.stream(number).ended = True
        elif kind in (HEADERS, CONTINUATION):
            if flags & PADDED and kind == HEADERS:
                payload = payload[1 : len(payload) - payload[0]]
            if flags & PRIORITY_FLAG and kind == HEADERS:
                payload = payload[5:]
            self._pending += payload
            if kind == HEADERS:
                self._ends = flags & END_STREAM
            if flags & END_HEADERS:
                fields = [(str(name), str(value)) for name, value in self.decoder.decode(self._pending)]
                self._pending = b""
                self.stream(number).blocks.append(fields)
                if self._ends:
                    self.stream(number).ended = True

    @property
    def over(self):
        """Whether the server has had enough: GOAWAY with an error, or the connection is closed."""
        return self.closed or bool(self.goaway)

    def close(self):
        self.client.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
