"""A client's end of a WebSocket, in bytes: the same over HTTP/1.1 and over HTTP/2 (RFC 8441)."""

import socket
import struct
import time

import h2.errors
import h2.events
import h2.settings

from .http2 import Http2Client
from .raw import over_tls, reset

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def frame(opcode, payload=b"", last=True, mask=b"\x00\x00\x00\x00", reserved=0):
    """One frame of a client, masked; `mask=None` leaves the mask out, as servers do."""
    first = (0x80 if last else 0) | reserved << 4 | opcode
    bit, size = (0x80 if mask else 0), len(payload)
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not mask:
        return head + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def closing(code, reason=b"", **options):
    """A close frame."""
    return frame(8, struct.pack("!H", code) + reason, **options)


class Tunnel1:
    """Over HTTP/1.1: `head` is the text of the 101."""

    def __init__(self, gate, path, more=(), door=over_tls):
        self.raw = door(gate)
        lines = [
            f"GET {path} HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket",
            "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}", *(f"{name}: {value}" for name, value in more),
        ]  # fmt: skip
        self.raw.send("\r\n".join([*lines, "", ""]).encode())
        self.came, self.head = b"", None

    def opened(self):
        """Waits for the 101."""
        data = self.raw.read_until(b"\r\n\r\n")
        assert data.startswith(b"HTTP/1.1 101"), data
        self.head, _, self.came = data.partition(b"\r\n\r\n")
        return self

    def send(self, data, seconds=20):
        """Sends bytes; answers with how many went before the other side took no more for so long."""
        self.raw.socket.settimeout(seconds)
        sent = 0
        view = memoryview(data)
        try:
            while sent < len(data):
                sent += self.raw.socket.send(view[sent : sent + 65536])
        except TimeoutError:
            pass
        return sent

    def take(self, count, seconds=20):
        """Reads until so many bytes have come, and takes them; fewer where the other side ends before."""
        self.raw.socket.settimeout(seconds)
        parts, have = [self.came], len(self.came)
        while have < count:
            block = self.raw.socket.recv(1 << 20)
            if not block:
                break
            parts.append(block)
            have += len(block)
        whole = b"".join(parts)
        self.came = whole[count:]
        return whole[:count]

    def finish(self):
        """Says that nothing more comes."""
        self.raw.socket.shutdown(socket.SHUT_WR)

    def vanish(self):
        """Resets the connection."""
        reset(self.raw.socket)

    def ended(self, seconds=5):
        """How long it took until the other side ended it, None where it did not; what comes before is passed by."""
        began = time.monotonic()
        self.raw.socket.settimeout(seconds)
        try:
            while self.raw.socket.recv(65536):
                pass
        except TimeoutError:
            return None
        except OSError:
            pass
        return time.monotonic() - began

    def close(self):
        self.raw.close()


class Tunnel2:
    """On a stream of an HTTP/2 connection, another's (`client`) where given: `head` is the answer's fields."""

    def __init__(self, gate, path, more=(), client=None):
        self.client = client or Http2Client(gate)
        self.came, self.head = b"", None
        self._parts = []
        code = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
        told = self.client.until(lambda client: client.h2.remote_settings.get(code) == 1, 5)
        assert told, "the gateway does not offer WebSockets over HTTP/2"
        fields = [(":protocol", "websocket"), ("sec-websocket-version", "13"), *more]
        fields = [(name.lower(), value) for name, value in fields]
        self.number = self.client.open(path, "CONNECT", fields, ends=False)

    def _of(self, kind):
        return self.client.of(self.number, kind)

    def opened(self):
        """Waits for the 200."""
        assert self.client.until(lambda _: self._of(h2.events.ResponseReceived), 8), self.client.events
        self.head = dict(self._of(h2.events.ResponseReceived)[0].headers)
        assert self.head[":status"] == "200", self.head
        return self

    def send(self, data, seconds=20):
        sent, last = 0, time.monotonic()
        while sent < len(data) and time.monotonic() - last < seconds:
            room = min(self.client.h2.local_flow_control_window(self.number), 16384, len(data) - sent)
            if room:
                self.client.h2.send_data(self.number, data[sent : sent + room])
                self.client.flush()
                sent, last = sent + room, time.monotonic()
            else:
                self.client.until(lambda client: client.h2.local_flow_control_window(self.number), 0.2)
        return sent

    def _gather(self):
        """Takes the data out of what has come."""
        events, self.client.events = self.client.events, []
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.stream_id == self.number:
                self._parts.append(event.data)
            else:
                self.client.events.append(event)

    def take(self, count, seconds=20):
        self._parts = [self.came]

        def enough(_):
            self._gather()
            return sum(map(len, self._parts)) >= count or self._over()

        self.client.until(enough, seconds)
        whole = b"".join(self._parts)
        self.came = whole[count:]
        return whole[:count]

    def _over(self):
        return bool(self._of((h2.events.StreamEnded, h2.events.StreamReset)))

    def finish(self):
        self.client.h2.end_stream(self.number)
        self.client.flush()

    def vanish(self):
        self.client.h2.reset_stream(self.number, h2.errors.ErrorCodes.CANCEL)
        self.client.flush()

    def ended(self, seconds=5):
        began = time.monotonic()
        self.client.until(lambda _: self._over(), seconds)
        return time.monotonic() - began if self._over() or self.client.closed else None

    def close(self):
        self.client.close()


TUNNELS = {"http1": Tunnel1, "http2": Tunnel2}
