"""A WebSocket client whose one socket is read and written by one thread: whoever calls it.

The library's own blocking client reads in a thread of its own while the caller writes. On a TLS socket the two meet in
OpenSSL, and once in some thousand handshakes the request is lost: no test may rest on that. Here the library has the
protocol alone (RFC 6455, without I/O), and bytes move only within a call; so what the other side says between two
calls waits in the system, a ping too.
"""

import codecs
import contextlib
import socket
import time
from collections import deque

from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import enable_client_permessage_deflate
from websockets.frames import CloseCode, Opcode
from websockets.http11 import USER_AGENT, Response
from websockets.protocol import State
from websockets.uri import parse_uri

DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class WebSocket:
    """An open socket; as a context it is closed with 1000 at the end.

    `response` is the answer to the handshake. A handshake that is refused raises `websockets.exceptions.InvalidStatus`
    with the whole answer; a socket that is closed raises `ConnectionClosed` with both sides' close frames. `tls` is a
    context, `headers` are further ones of the handshake, `max_size` is that of a message in bytes. Times are seconds.
    """

    def __init__(
        self, url, *, tls=None, origin=None, subprotocols=None, headers=(), compression="deflate", max_size=1 << 20,
        open_timeout=10, close_timeout=10,
    ):  # fmt: skip
        self.close_timeout = close_timeout
        self.response = None
        self._messages, self._parts, self._decoder, self._pongs = deque(), [], None, []
        where, until = parse_uri(url), time.monotonic() + open_timeout
        assert where.secure == bool(tls), f"{url} and tls={tls} do not go together"
        extensions = enable_client_permessage_deflate(None) if compression == "deflate" else None
        self.protocol = ClientProtocol(
            where, origin=origin, subprotocols=subprotocols, extensions=extensions, max_size=max_size
        )
        self.socket = socket.create_connection((where.host, where.port), open_timeout)
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                self.socket = tls.wrap_socket(self.socket, server_hostname=where.host)
            self._shake_hands(headers, until)
        except BaseException:
            self.socket.close()
            raise

    def _shake_hands(self, headers, until):
        request = self.protocol.connect()
        request.headers.update(headers)
        request.headers.setdefault("User-Agent", USER_AGENT)
        self.protocol.send_request(request)
        self._flush(until)
        while self.response is None and self.protocol.handshake_exc is None:
            self._read(until)
        if self.protocol.handshake_exc is not None:
            raise self.protocol.handshake_exc

    @property
    def subprotocol(self):
        """The subprotocol that the other side chose, None where it chose none."""
        return self.protocol.subprotocol

    @property
    def close_code(self):
        """The number of the other side's close frame: 1006 where none came, None while it is open."""
        return self.protocol.close_code

    def send(self, message):
        """Sends a text (`str`) or bytes."""
        if isinstance(message, str):
            self._say(self.protocol.send_text, message.encode())
        else:
            self._say(self.protocol.send_binary, message)

    def send_frames(self, frames):
        """Sends frames as they are."""

        def write():
            for frame in frames:
                self.protocol.send_frame(frame)

        self._say(write)

    def recv(self, timeout=None):
        """The next message, text or bytes as it was sent; TimeoutError where none comes."""
        parts = self.recv_fragments(timeout)
        return (b"" if isinstance(parts[0], bytes) else "").join(parts)

    def recv_fragments(self, timeout=None):
        """The next message, in the fragments in which it came."""
        until = _until(timeout)
        while not self._messages:
            if self.protocol.state is State.CLOSING:
                # One side has said that it ends: the other side ends the connection (RFC 6455 §7.1.1).
                self._see_out()
            if self.protocol.state is State.CLOSED:
                raise self.protocol.close_exc
            self._read(until)
        return self._messages.popleft()

    def ping(self, data, timeout):
        """Sends a ping, and waits for its pong."""
        self._say(self.protocol.send_ping, data)
        until = _until(timeout)
        while data not in self._pongs:
            if self.protocol.state is State.CLOSED:
                raise self.protocol.close_exc
            self._read(until)
        self._pongs.remove(data)

    def close(self, code=CloseCode.NORMAL_CLOSURE, reason=""):
        """Closes it, and waits until the other side has ended the connection."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(code, reason)
            with contextlib.suppress(OSError):
                self._flush(time.monotonic() + self.close_timeout)
        self._see_out()

    def drop(self):
        """Ends the connection without a close frame."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._over()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(CloseCode.NORMAL_CLOSURE if kind is None else CloseCode.INTERNAL_ERROR)

    def _say(self, write, *what):
        """Writes by the protocol, and sends it."""
        if self.protocol.state is not State.OPEN:
            self._see_out()
            raise self.protocol.close_exc
        write(*what)
        try:
            self._flush(None)
        except OSError as lost:
            self._over()
            raise self.protocol.close_exc from lost

    def _flush(self, until):
        """Sends what the protocol has to send. Its end of the stream is the end of the socket, which `_over` makes."""
        self.socket.settimeout(_left(until))
        for data in self.protocol.data_to_send():
            if data:
                self.socket.sendall(data)

    def _read(self, until):
        """Reads once, and takes in what came."""
        self.socket.settimeout(_left(until))
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            raise
        except OSError:
            data = b""
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
        self._take_in(self.protocol.events_received())
        # What answers a ping or a close may find nobody any more; then the next read says so.
        with contextlib.suppress(OSError):
            self._flush(until)
        if self.protocol.state is State.CLOSED:
            self.socket.close()

    def _take_in(self, events):
        for event in events:
            if isinstance(event, Response):
                self.response = event
            elif event.opcode is Opcode.PONG:
                self._pongs.append(bytes(event.data))
            elif event.opcode in DATA:
                self._gather(event)

    def _gather(self, frame):
        """Puts a message together. A text that is not UTF-8 fails the connection (RFC 6455 §8.1)."""
        if frame.opcode is not Opcode.CONT:
            self._parts = []
            self._decoder = codecs.getincrementaldecoder("utf-8")() if frame.opcode is Opcode.TEXT else None
        try:
            data = bytes(frame.data)
            self._parts.append(self._decoder.decode(data, frame.fin) if self._decoder else data)
        except UnicodeDecodeError as wrong:
            self.protocol.fail(CloseCode.INVALID_DATA, f"{wrong.reason} at position {wrong.start}")
            return
        if frame.fin:
            self._messages.append(self._parts)

    def _see_out(self):
        """Waits for the end of the connection, and makes it where the other side does not in time."""
        until = time.monotonic() + self.close_timeout
        with contextlib.suppress(TimeoutError):
            while self.protocol.state is not State.CLOSED:
                self._read(until)
        self._over()

    def _over(self):
        """Closes the socket, and lets the protocol know."""
        self.socket.close()
        self.protocol.receive_eof()


def _until(seconds):
    """When a wait of so many seconds ends; None waits as long as it takes."""
    return None if seconds is None else time.monotonic() + seconds


def _left(until):
    """The seconds that are left; TimeoutError where none are."""
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("nothing came in time")
    return left
