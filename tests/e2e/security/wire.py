"""A strict recording upstream, a client that sends bytes as they are, and the judge of what came through."""

import base64
import contextlib
import hashlib
import itertools
import json
import re
import threading
import time

import pytest

from harness.raw import over_plain, over_tls
from harness.upstreams import Listener

WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
FORWARDING = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.1")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")


def table(number, cases):
    """One parametrisation for a number of the catalogue: test ids name the number and the spelling."""
    if not isinstance(cases, dict):
        cases = {spelling(case): case for case in cases}
    return pytest.mark.parametrize("case", [pytest.param(case, id=f"{number}-{name}") for name, case in cases.items()])


def pairs(number, cases):
    """The same for things with what they lead to: arguments `path` and `wanted`."""
    return pytest.mark.parametrize(
        "path,wanted", [pytest.param(path, wanted, id=f"{number}-{spelling(path)}") for path, wanted in cases.items()]
    )


def spelling(case):
    """A case as a short word for a test's id."""
    text = case if isinstance(case, str) else repr(case)[2:-1] if isinstance(case, bytes) else repr(case)
    return re.sub(r"[^\x21-\x7e]", "_", text)[:60]


def fold(name):
    """A header's name as WSGI and CGI read it."""
    return re.sub(r"[-_.]", "-", name.lower())


class Ambiguous(Exception):
    """Bytes that two parsers could read in two ways."""


class Request:
    """One request as it arrived behind the gateway; `partial` when the connection ended in the middle of its body.

    `judged` is set once it is known which of the two it is: the end of a connection is seen by the recorder's own
    thread, on a busy machine later than the client has its answer.
    """

    def __init__(self, head, fields, conversation):
        self.head, self.headers, self.conversation = head, fields, conversation
        line = head.split(b"\r\n", 1)[0].decode("latin-1")
        self.method, self.target, _ = line.split(" ")
        self.body, self.trailers, self.partial, self.chunked = b"", [], False, False
        self.early, self.ended, self.judged = b"", False, threading.Event()

    def all(self, name):
        """Every value of a header; names compared as WSGI folds them."""
        return [value for key, value in self.headers if fold(key) == fold(name)]

    def one(self, name):
        """The header's only value."""
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values} in {self.head!r}"
        return values[0]

    def __repr__(self):
        return f"<{self.head!r} {self.body[:200]!r}{' PARTIAL' if self.partial else ''}>"


def fields_of(lines):
    """Header or trailer lines to pairs; strict."""
    fields = []
    for line in lines:
        found = _FIELD.fullmatch(line)
        if not found:
            raise Ambiguous(f"a bad field line {line!r}")
        fields.append((found.group(1).decode(), found.group(2).rstrip(b" \t").decode("latin-1")))
    return fields


def strict_head(head):
    """Parses a head (without its blank line) as the strictest of servers would."""
    lines = head.split(b"\r\n")
    if b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b""):
        raise Ambiguous("a bare CR or LF in the head")
    if not _REQUEST_LINE.fullmatch(lines[0]):
        raise Ambiguous(f"a bad request line {lines[0]!r}")
    fields = fields_of(lines[1:])

    def values(name):
        return [value for key, value in fields if fold(key) == name]

    if len(values("host")) != 1 or not values("host")[0]:
        raise Ambiguous(f"Host {values('host')}")
    lengths, codings = values("content-length"), values("transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise Ambiguous(f"two framings {lengths} {codings}")
    if lengths and not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise Ambiguous(f"Content-Length {lengths}")
    if codings and codings[0] != "chunked":
        raise Ambiguous(f"Transfer-Encoding {codings}")
    return fields, int(lengths[0]) if lengths else None, bool(codings)


class StrictUpstream(Listener):
    """Records every request, and whatever is not a request, with nothing forgiven.

    `answer(request)` gives the bytes to send; None closes the connection. `replies` maps the last
    segment of a path to the bytes of its answer. A WebSocket handshake gets its 101 and an echo.
    `on_head(request, connection)` may answer before the body is read; when it says True that was all.
    """

    def __init__(self, answer=None, replies=None, on_head=None, **kind):
        self.answer = answer or self.default_answer
        self.replies, self.on_head = replies or {}, on_head
        self.requests, self.faults, self.partials, self.conversations = [], [], [], []
        self._numbers = itertools.count(1)
        super().__init__(**kind)
        self.socket.listen(1024)

    def default_answer(self, request):
        """200, with the target as the body."""
        name = request.target.split("?")[0].rstrip("/").rsplit("/", 1)[-1]
        if name in self.replies:
            return self.replies[name]
        body = request.target.encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
        return head if request.method == "HEAD" else head + body

    def serve(self, connection):
        talk = bytearray()
        self.conversations.append(talk)
        buffer = bytearray()

        def more():
            block = connection.recv(65536)
            if not block:
                raise EOFError
            talk.extend(block)
            buffer.extend(block)

        def line():
            while (end := buffer.find(b"\n")) < 0:
                if len(buffer) > 1 << 20:
                    raise Ambiguous("an endless line")
                more()
            text = bytes(buffer[: end + 1])
            del buffer[: end + 1]
            if not text.endswith(b"\r\n") or b"\r" in text[:-2]:
                raise Ambiguous(f"a line that does not end in CRLF alone {text!r}")
            return text[:-2]

        request = None
        try:
            while True:
                request = None
                while (end := buffer.find(b"\r\n\r\n")) < 0:
                    if len(buffer) > 1 << 20:
                        raise Ambiguous("an endless head")
                    more()
                head = bytes(buffer[:end])
                del buffer[: end + 4]
                fields, length, chunked = strict_head(head)
                request = Request(head, fields, talk)
                request.chunked = chunked
                request.number = next(self._numbers)
                self.requests.append(request)
                if [value for value in request.all("upgrade") if value.lower() == "websocket"]:
                    request.judged.set()
                    if self.tunnel(request, connection, bytes(buffer)):
                        return
                    continue
                if self.on_head and self.on_head(request, connection):
                    request.judged.set()
                    return
                if request.all("expect"):
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                if chunked:
                    while True:
                        size = line()
                        if not _CHUNK_SIZE.fullmatch(size):
                            raise Ambiguous(f"a chunk's size line {size!r}")
                        size = int(size, 16)
                        if size == 0:
                            break
                        while len(buffer) < size + 2:
                            more()
                        if buffer[size : size + 2] != b"\r\n":
                            raise Ambiguous("a chunk that does not end in CRLF")
                        request.body += bytes(buffer[:size])
                        del buffer[: size + 2]
                    trailers = []
                    while text := line():
                        trailers.append(text)
                    request.trailers = fields_of(trailers)
                elif length:
                    while len(buffer) < length:
                        more()
                    request.body = bytes(buffer[:length])
                    del buffer[:length]
                done, request = request, None
                done.judged.set()
                answer = self.answer(done)
                if answer is None:
                    return
                connection.sendall(answer)
                if re.search(rb"(?i)\r\nconnection: *close\r\n", answer.split(b"\r\n\r\n")[0] + b"\r\n"):
                    return
        except Ambiguous as fault:
            self.faults.append((str(fault), bytes(talk)))
            if request is not None:
                request.judged.set()
            with contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except (EOFError, OSError):
            if request is not None:
                request.partial = True
                request.body += bytes(buffer)
                self.partials.append(request)
                request.judged.set()
            elif buffer:
                self.partials.append(bytes(buffer))

    def tunnel(self, request, connection, rest):
        """101 and an echo, unless `replies` has something else for this path; says whether the connection is a tunnel now."""
        name = request.target.split("?")[0].rsplit("/", 1)[-1]
        request.early = rest
        if name in self.replies:
            reply = self.replies[name]
            reply = reply(request) if callable(reply) else reply
            connection.sendall(reply)
            if not reply.startswith(b"HTTP/1.1 101"):
                return False
        else:
            connection.sendall(switching(request) + rest)
        with contextlib.suppress(OSError):
            while block := connection.recv(65536):
                request.body += block
                connection.sendall(block)
        request.ended = True
        return True


def accept_for(key):
    """RFC 6455's Sec-WebSocket-Accept."""
    return base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID).digest())


def switching(request, extra=b""):
    """The 101 that an app answers a handshake with."""
    key = (request.all("sec-websocket-key") or [""])[0].encode()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_for(key) + b"\r\n" + extra + b"\r\n"
    )


class Answer:
    """One answer as the client read it."""

    def __init__(self, status, fields, body, whole):
        self.status, self.fields, self.body, self.whole = status, fields, body, whole

    def all(self, name):
        """Every value of a header."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name, default=None):
        """The header's first value."""
        return (self.all(name) or [default])[0]

    @property
    def code(self):
        """The refusal's code, or None."""
        try:
            return json.loads(self.body).get("code")
        except (ValueError, AttributeError):
            return None

    def __repr__(self):
        return f"<{self.status} {self.code or self.body[:80]!r}{'' if self.whole else ' CUT'}>"


def parse_answers(data, methods=()):
    """Bytes a server sent, to answers in order; `methods` tells which were to HEAD. Strict: junk fails."""
    answers, methods = [], iter(methods)
    while data:
        head, found, rest = data.partition(b"\r\n\r\n")
        assert found, f"half an answer's head: {data[:300]!r}"
        lines = head.split(b"\r\n")
        status = re.fullmatch(rb"HTTP/1\.[01] ([1-9][0-9][0-9])(?: [^\r\n]*)?", lines[0])
        assert status, f"no status line: {lines[0]!r}"
        status = int(status.group(1))
        fields = fields_of(lines[1:])
        named = {key.lower(): value for key, value in fields}
        whole = True
        if status < 200:
            answers.append(Answer(status, fields, b"", True))
            data = rest
            if status == 101:
                break
            continue
        method = next(methods, "GET")
        if method == "HEAD" or status in (204, 304):
            body = b""
        elif "transfer-encoding" in named:
            assert "content-length" not in named, head
            assert named["transfer-encoding"].lower() == "chunked", head
            body, whole, rest = _dechunk(rest)
        elif "content-length" in named:
            assert len([1 for key, _ in fields if key.lower() == "content-length"]) == 1, head
            assert named["content-length"].isdecimal(), head
            length = int(named["content-length"])
            body, rest = rest[:length], rest[length:]
            whole = len(body) == length
        else:
            body, rest = rest, b""
        answers.append(Answer(status, fields, body, whole))
        data = rest
    return answers


def _dechunk(data):
    body = b""
    while True:
        line, found, rest = data.partition(b"\r\n")
        if not found:
            return body, False, b""
        size = int(line.split(b";")[0], 16)
        if size == 0:
            while True:
                trailer, found, rest = rest.partition(b"\r\n")
                if not found:
                    return body, False, b""
                if not trailer:
                    return body, True, rest
        body += rest[:size]
        if len(rest) < size + 2:
            return body, False, b""
        data = rest[size + 2 :]


class Outcome:
    """What came of one attack: the answers, whether the connection was closed, what arrived behind."""

    def __init__(self, raw, closed, methods):
        self.raw, self.closed, self.methods = raw, closed, methods
        self.arrived, self.faults, self.partials = [], [], []

    @property
    def answers(self):
        return parse_answers(self.raw, self.methods)

    @property
    def final(self):
        """The answers but for 1xx."""
        return [answer for answer in self.answers if answer.status >= 200]

    @property
    def status(self):
        """The first final answer's status, or None."""
        return self.final[0].status if self.final else None

    def __repr__(self):
        return f"<answers {self.raw[:600]!r} closed {self.closed}; arrived {self.arrived} faults {self.faults}>"


def taken_before(request, milliseconds):
    """Whether the gateway made this request's id before that time."""
    ids = request.all("x-request-id")
    made = re.fullmatch(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", ids[0] if ids else "")
    return bool(made) and int(made.group(1) + made.group(2), 16) < milliseconds


def settled(raw, methods):
    """How long to wait for more, in seconds, after these bytes: hardly, when every request has its answer."""
    try:
        answers = [answer for answer in parse_answers(raw, methods) if answer.status >= 200 or answer.status == 101]
    except (AssertionError, ValueError):
        return 0.5
    if len(answers) < max(1, len(list(methods))) or not all(answer.whole for answer in answers):
        return 0.5
    return 1.5 if any("close" in (answer.get("connection") or "").lower() for answer in answers) else 0.003


def talk(client, data, quiet=None, longest=6.0, methods=()):
    """Sends bytes (a list: with pauses between) and reads until the other side closes, or is silent after an answer."""
    for number, part in enumerate([data] if isinstance(data, bytes) else data):
        if number:
            time.sleep(0.08)
        try:
            client.socket.sendall(part)
        except OSError:
            break
    raw, closed = b"", False
    deadline = time.monotonic() + longest
    while time.monotonic() < deadline:
        left = deadline - time.monotonic()
        client.socket.settimeout(max(0.01, min((quiet or settled(raw, methods)) if raw else longest, left)))
        try:
            block = client.socket.recv(65536)
        except TimeoutError:
            break
        except OSError:
            closed = True
            break
        if not block:
            closed = True
            break
        raw += block
    return Outcome(raw, closed, methods)


class Front:
    """A gateway and the strict upstream behind it."""

    def __init__(self, gate, upstream):
        self.gate, self.upstream = gate, upstream
        self._probes = itertools.count(1)

    def connect(self, door="plain", **options):
        """A raw connection to a door."""
        return (over_plain if door == "plain" else over_tls)(self.gate, **options)

    def probe(self):
        """A good request on a connection of its own: the gateway must serve, and what came before has arrived by now."""
        target = f"/open/probe-{next(self._probes)}"
        with self.connect() as client:
            client.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            data = client.read_until(b"\x00")
        answers = parse_answers(data)
        assert [answer.status for answer in answers] == [200], f"the gateway no longer serves: {data!r}"
        assert answers[0].body == target.encode(), f"another request's answer: {data!r}"

    def watch(self):
        """From now on: a function that gives (requests, faults, partials) that came since, the probe left out.

        What the gateway took before and the recorder heard of late, as of an attack just before this one, is told by
        the time in its request id (UUIDv7). A request without such an id counts whenever it came.
        """
        began = int(time.time() * 1000)
        marks = len(self.upstream.requests), len(self.upstream.faults), len(self.upstream.partials)
        first = self.upstream.requests[-1].number if self.upstream.requests else 0

        def since():
            self.probe()
            requests = [r for r in self.upstream.requests[marks[0] :] if not r.target.startswith("/open/probe-")]
            requests = [r for r in requests if not taken_before(r, began)]
            deadline = time.monotonic() + 2
            for request in requests:
                request.judged.wait(max(0, deadline - time.monotonic()))
            late = [one for one in self.upstream.partials[marks[2] :] if isinstance(one, bytes) or one.number > first]
            late = [one for one in late if isinstance(one, bytes) or not taken_before(one, began)]
            return requests, self.upstream.faults[marks[1] :], late

        return since

    def send(self, data, door="plain", after=False, **options):
        """Sends raw bytes on a fresh connection and tells what came of it.

        With `after` a good request that asks for the connection's end follows: it must be answered in its turn or
        not at all. Whatever arrived must be beyond doubt.
        """
        if after:
            tail = b"GET /open/after HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            data = data + tail if isinstance(data, bytes) else [*data, tail]
            options.setdefault("quiet", 1.0)
        since = self.watch()
        with self.connect(door) as client:
            outcome = talk(client, data, **options)
            outcome.arrived, outcome.faults, outcome.partials = since()
            while not outcome.closed and (late := poll(client.socket, 0.001)) != b"":
                outcome.raw, outcome.closed = outcome.raw + (late or b""), late is None
        assert not outcome.faults, outcome
        for request in outcome.arrived:
            beyond_doubt(request)
        return outcome

    def request(self, method="GET", target="/open/x", headers=(), body=b"", door="plain", **options):
        """One request on a connection of its own, made of these header lines (bytes or text) as they are."""
        lines = [line if isinstance(line, bytes) else line.encode() for line in headers]
        if not any(line.lower().startswith(b"host:") for line in lines):
            lines.insert(0, b"Host: localhost")
        target = target if isinstance(target, bytes) else target.encode()
        head = b"\r\n".join([method.encode() + b" " + target + b" HTTP/1.1", *lines]) + b"\r\n\r\n"
        return self.send(head + body, door, methods=[method], **options)


def beyond_doubt(request):
    """Whatever a request arrived as, it can be read in one way, and says the truth about where it came from."""
    for name in FORWARDING:
        assert len(request.all(name)) == 1, f"{name}: {request.all(name)} in {request.head!r}"
    assert request.one("x-forwarded-for") == "127.0.0.1", request.head
    for name in ("proxy", "keep-alive", "te", "trailer", "proxy-connection", "http2-settings"):
        values = [value for value in request.all(name) if not (name == "te" and value == "trailers")]
        if name != "trailer":
            assert not values, f"{name}: {values} in {request.head!r}"
    names = [fold(key) for key, _ in request.headers]
    for name in set(names):
        if name.startswith("x-auth-"):
            assert names.count(name) == 1, f"{name} twice in {request.head!r}"


def refused(outcome, *statuses, closed=True, may_close_silently=False):
    """The attack was refused: nothing arrived, one answer with one of these statuses, and the connection ended."""
    assert outcome.arrived == [] and not outcome.partials, f"reached the app: {outcome}"
    if not (may_close_silently and outcome.raw == b"" and outcome.closed):
        assert len(outcome.final) == 1, f"answers {outcome.final} of {outcome}"
        assert outcome.status in (statuses or (400,)), outcome
        assert 100 not in [answer.status for answer in outcome.answers], outcome
    if closed:
        assert outcome.closed, f"the connection went on: {outcome}"
    return outcome


def refused_or_clean(outcome, *statuses, target, body=None):
    """Refused as above; or exactly one request for `target` arrived, read in one way, with this body."""
    if outcome.arrived == []:
        return refused(outcome, *statuses, may_close_silently=True)
    arrived = [request for request in outcome.arrived if request.target != "/open/after"]
    assert [request.target for request in arrived] == [target], outcome
    if body is not None:
        assert arrived[0].body == body, outcome
    assert len(outcome.final) == len(outcome.arrived), outcome
    return outcome


def poll(client, seconds):
    """Whatever comes within this time; None when the connection was closed."""
    client.settimeout(seconds)
    try:
        return client.recv(65536) or None
    except TimeoutError:
        return b""
    except OSError:
        return None
