"""Upstreams made for one purpose: one that records raw bytes, one that echoes a tunnel, one that serves keys."""

import base64
import contextlib
import hashlib
import json
import re
import socket
import ssl
import threading
import time
from email.utils import formatdate

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"


class Listener:
    """A threaded TCP server on a loopback port, a free one where none is given; `serve(connection)` is called for
    each connection."""

    def __init__(self, tls=None, unix=None, host="127.0.0.1", port=0):
        self.host = host
        if unix:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(str(unix))
            self.socket.listen(64)
            self.port = None
        else:
            self.socket = socket.create_server((host, port), backlog=128)
            self.port = self.socket.getsockname()[1]
        self.tls = tls
        self.connections = 0
        self._open = set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        """Where it listens, as the gateway's file wants it."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def _accept(self):
        while not self._closed:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            connection.settimeout(30)
            self.serve(connection)
        except (OSError, ValueError, IndexError):
            pass
        finally:
            self._open.discard(connection)
            with contextlib.suppress(OSError):
                connection.close()

    def serve(self, connection):
        """What to do with one connection."""
        raise NotImplementedError

    def close(self):
        """Stops listening and drops what is open."""
        self._closed = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def read_head(connection, already=b""):
    """Reads to the end of a head; answers with the head (blank line included) and what came after it."""
    data = already
    while b"\r\n\r\n" not in data:
        block = connection.recv(65536)
        if not block:
            return (data, b"") if data else (b"", b"")
        data += block
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def receive(connection):
    """What comes next; nothing where the other side has ended the connection, in whichever way."""
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def read_body(connection, head, rest):
    """Reads the body that a head announces; answers with the raw bytes (chunk framing included) and what came after."""
    lowered = head.lower()
    if b"\r\ntransfer-encoding: chunked" in lowered:
        # The last chunk, its trailers and a blank line. Good enough for bodies that look unlike that.
        while not re.search(rb"(^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n$", rest):
            block = receive(connection)
            if not block:
                break
            rest += block
        return rest, b""
    length = 0
    for line in lowered.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(rest) < length:
        block = receive(connection)
        if not block:
            break
        rest += block
    return rest[:length], rest[length:]


class Received:
    """One request as it arrived: `head` and `body` in raw bytes."""

    def __init__(self, head, body):
        self.head, self.body = head, body
        lines = head.decode("latin-1").split("\r\n")
        self.request_line = lines[0]
        self.method, self.target = (lines[0].split(" ") + ["", ""])[:2]
        self.headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if ":" in line]

    def all(self, name):
        """Every value of a header, names compared the way WSGI folds them (`-` and `_`, any case)."""
        wanted = name.lower().replace("_", "-")
        return [value for key, value in self.headers if key.lower().replace("_", "-") == wanted]

    def __repr__(self):
        return f"Received({self.head!r}, {len(self.body)} bytes of body)"


class RawUpstream(Listener):
    """Records every request, and answers with `answer`: bytes, or a function of the request that returns bytes.

    None as the answer closes the connection without one; `{"raw": [...]}` is not needed: a function may
    also take the connection (`answer(request, connection)`) when `takes_connection` is set.
    """

    def __init__(self, answer=OK, takes_connection=False, **kind):
        self.answer, self.takes_connection = answer, takes_connection
        self.requests = []
        super().__init__(**kind)

    def serve(self, connection):
        rest = b""
        while True:
            head, rest = read_head(connection, rest)
            if not head:
                return
            body, rest = read_body(connection, head, rest)
            request = Received(head, body)
            self.requests.append(request)
            answer = self.answer
            if callable(answer):
                answer = answer(request, connection) if self.takes_connection else answer(request)
            if answer is None:
                return
            connection.sendall(answer)
            if b"connection: close" in answer.lower():
                return

    @property
    def last(self):
        """The request that came last."""
        return self.requests[-1]


class WebSocketEcho(Listener):
    """Answers an upgrade with 101 and sends every byte back as it came."""

    def __init__(self, **kind):
        self.handshakes = []
        super().__init__(**kind)

    def serve(self, connection):
        head, rest = read_head(connection)
        if not head:
            return
        request = Received(head, b"")
        self.handshakes.append(request)
        key = (request.all("sec-websocket-key") or [""])[0]
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n" + rest
        )
        while block := connection.recv(65536):
            connection.sendall(block)


class MessageEcho:
    """An app by the library `websockets`: sends every message back, and keeps handshakes and how sockets ended."""

    def __init__(self):
        self.handshakes, self.ends = [], []
        self.server = serve(self.handle, "127.0.0.1", 0, compression=None, process_request=self._keep)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.socket.getsockname()[1]}"

    def _keep(self, _, request):
        """Keeps it before the answer goes out, so that it is there for whoever has the answer."""
        self.handshakes.append(request)

    def handle(self, socket):
        try:
            for message in socket:
                socket.send(message)
        except ConnectionClosed:
            pass
        self.ends.append((socket.close_code, socket.close_reason))


class JwksServer(Listener):
    """Serves a key set, and the discovery document that names it. `mode` is "ok", "down" (closes at once), "error" (500), "slow", "huge", "garbage", "empty".

    With `ahead_s` it says what time it is: so many seconds later than here.
    """

    def __init__(self, *keys, mode="ok", slow_seconds=20, ahead_s=None, **kind):
        self.keys, self.mode, self.slow_seconds, self.ahead_s = list(keys), mode, slow_seconds, ahead_s
        self.fetches = 0
        super().__init__(**kind)

    @property
    def jwks_url(self):
        """Where the set is."""
        return f"{self.url}/jwks.json"

    def serve(self, connection):
        rest = b""
        while True:
            head, rest = read_head(connection, rest)
            if not head:
                return
            self.fetches += 1
            if self.mode == "down":
                return
            if self.mode == "slow":
                time.sleep(self.slow_seconds)
            if self.mode == "huge":
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"keys":[')
                for _ in range(2048):
                    connection.sendall(b'{"kty":"oct","kid":"' + b"x" * 65536 + b'"},')
                return
            body = json.dumps({"keys": self.keys}).encode()
            if b" /.well-known/openid-configuration " in head:
                body = json.dumps({"issuer": self.url, "jwks_uri": self.jwks_url}).encode()
            status = b"200 OK"
            if self.mode == "garbage":
                body = b"<html>\x00\xff not keys"
            elif self.mode == "empty":
                body = b""
            elif self.mode == "error":
                status, body = b"500 Internal Server Error", b"{}"
            date = b""
            if self.ahead_s is not None:
                date = f"\r\nDate: {formatdate(time.time() + self.ahead_s, usegmt=True)}".encode()
            connection.sendall(
                b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json" + date + b"\r\nContent-Length: "
                + str(len(body)).encode() + b"\r\n\r\n" + body
            )  # fmt: skip


def server_tls(cert_file, key_file, client_ca=None):
    """A context for an upstream that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
