"""Close codes: why a handshake was refused, and why an open socket ended, over HTTP/1.1 and HTTP/2 (RFC 8441)."""

import contextlib
import json
import os
import signal
import struct
import time
from socket import SO_LINGER, SOL_SOCKET

import h2.events
import h2.settings
import httpx
import jwt
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close, Frame, Opcode

from harness.http2 import Http2Client
from harness.ports import wait_for
from harness.tokens import simplejwt
from harness.upstreams import Listener, MessageEcho, RawUpstream, WebSocketEcho
from harness.websocket import WebSocket
from security.h2wire import H2, head

TOML = """
[upstream.echo]
servers = ["{echo}"]

[upstream.raw]
servers = ["{raw}"]

[upstream.down]
servers = ["http://127.0.0.1:1"]
retries = 0

[upstream.silent]
servers = ["{silent}"]
timeouts = { response = "500ms" }

[upstream.forbids]
servers = ["{forbids}"]

[upstream.breaks]
servers = ["{breaks}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
sources = ["websocket:token", "websocket-protocol", "header:authorization"]
identity = { user = "user_id", roles = ["roles"] }

[[route]]
path = "/open/{*rest}"
upstream = "echo"
auth = "public"

[[route]]
path = "/raw/{*rest}"
upstream = "raw"
auth = ["token"]

[[route]]
path = "/me/{*rest}"
upstream = "echo"
auth = ["token"]

[[route]]
path = "/staff/{*rest}"
upstream = "echo"
auth = ["token"]
roles = ["staff"]

[[route]]
path = "/watched/{*rest}"
upstream = "echo"
auth = ["token"]
observe = true

[[route]]
path = "/close/{*rest}"
upstream = "echo"
auth = ["token"]
websocket = { refuse = "close" }

[[route]]
path = "/status/{*rest}"
upstream = "echo"
auth = ["token"]
websocket = { refuse = "status" }

[[route]]
path = "/hidden/{*rest}"
upstream = "echo"
auth = { optional = ["token"] }
websocket = { forward_token = false }

[[route]]
path = "/quiet/{*rest}"
upstream = "echo"
auth = "public"
websocket = { idle = "1s" }

[[route]]
path = "/lasting/{*rest}"
upstream = "echo"
auth = ["token"]
websocket = { close_on_expiry = false }

[[route]]
path = "/down/{*rest}"
upstream = "down"
auth = "public"

[[route]]
path = "/silent/{*rest}"
upstream = "silent"
auth = "public"

[rate_limit.few]
limit = "1/h"

[[route]]
path = "/few/{*rest}"
upstream = "echo"
auth = "public"
rate_limit = "few"

[[route]]
path = "/breaks/{*rest}"
upstream = "breaks"
auth = "public"

[[route]]
path = "/forbids/{*rest}"
upstream = "forbids"
auth = "public"
"""

FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-App: yes\r\n\r\nno"


class Silent(Listener):
    """Takes a request and says nothing."""

    def serve(self, connection):
        while connection.recv(65536):
            pass


class Breaks(WebSocketEcho):
    """Opens a socket, echoes once, and resets the connection with the next bytes that come."""

    def serve(self, connection):
        outer = self

        class Once:
            left = 2

            def recv(self, size):
                data = connection.recv(size)
                self.left -= 1
                if self.left < 0:
                    connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                    connection.close()
                    raise OSError(f"reset by {outer}")
                return data

            def sendall(self, data):
                connection.sendall(data)

        super().serve(Once())


class RawEcho(WebSocketEcho):
    """Sends every byte back as it came, and counts connections that have ended."""

    ended = 0

    def serve(self, connection):
        try:
            super().serve(connection)
        finally:
            self.ended += 1


@pytest.fixture(scope="module")
def echo():
    echo = MessageEcho()
    yield echo
    echo.server.shutdown()


@pytest.fixture(scope="module")
def raw():
    with RawEcho() as raw:
        yield raw


@pytest.fixture(scope="module")
def places(echo, raw):
    with Silent() as silent, RawUpstream(FORBIDDEN) as forbids, Breaks() as breaks:
        named = {"silent": silent, "forbids": forbids, "breaks": breaks, "echo": echo, "raw": raw}
        yield {name: app.url for name, app in named.items()}


@pytest.fixture(scope="module")
def gate(module_gateway, places):
    return module_gateway(TOML, **places)


def opened(gate, target, origin=True, token=None, **options):
    """A socket over TLS, opened as a browser's page of the same origin opens one."""
    where = f"wss://localhost:{gate.ports['https']}{target}"
    if token:
        where += f"?token={token}"
    return WebSocket(where, tls=gate.tls(), origin=gate.https_url if origin is True else origin or None, **options)


def closed(socket, seconds=8):
    """How the other side closes a socket: number and text."""
    with pytest.raises(ConnectionClosed) as ended:
        while True:
            socket.recv(seconds)
    assert ended.value.rcvd, "no close frame came"
    return ended.value.rcvd.code, ended.value.rcvd.reason


REFUSED = {
    "none": ("/me/x", None, 4401, "credentials_missing", 401),
    "garbage": ("/me/x", "garbage", 4401, "token_malformed", 401),
    "forged": ("/me/x", simplejwt(secret="x" * 40), 4401, "token_signature", 401),
    "expired": ("/me/x", simplejwt(lifetime=-60), 4401, "token_expired", 401),
    "refresh": ("/me/x", simplejwt(token_type="refresh"), 4401, "token_claim", 401),
    "role": ("/staff/x", simplejwt(roles=["customer"]), 4403, "role_missing", 403),
    "down": ("/down/x", None, 4502, "upstream_unreachable", 502),
    "silent": ("/silent/x", None, 4502, "upstream_timeout", 504),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_browser_is_told_by_a_close_code_why_it_was_refused(gate, echo, case):
    target, token, number, code, status = REFUSED[case]
    before, counted = len(echo.handshakes), gate.count("portcullis_denials_total", code=code)
    with opened(gate, target, token=token) as socket:
        request_id = socket.response.headers["x-request-id"]
        assert "access-control-allow-origin" not in socket.response.headers
        assert socket.response.headers.get("sec-websocket-extensions") is None
        assert closed(socket) == (number, code)
    assert len(echo.handshakes) == before
    (line,) = wait_for(lambda: gate.access_lines(request_id), 3, "the line of the log")
    assert (line["status"], line["close"], line["code"]) == (status, number, code)
    assert gate.count("portcullis_denials_total", code=code) == counted + 1
    if token and len(token) > 20:
        assert token not in gate.output()
    told = gate.run_cli("why", request_id)
    assert f"({status}, as close code {number})" in told.out and f"close code {number}" in told.out


def test_a_browser_that_asks_too_often_is_closed_with_4429(gate):
    with opened(gate, "/few/x") as one:
        one.send("hello")
        assert one.recv(5) == "hello"
    with opened(gate, "/few/x") as other:
        assert closed(other) == (4429, "rate_limited")


def test_another_sites_page_is_closed_with_4403(gate):
    with opened(gate, "/open/x", origin="https://evil.example") as socket:
        assert closed(socket) == (4403, "origin_not_allowed")


def test_who_is_no_browser_gets_the_plain_status(gate):
    with pytest.raises(InvalidStatus) as refused:
        opened(gate, "/me/x", origin=False)
    answer = refused.value.response
    assert answer.status_code == 401 and json.loads(answer.body)["code"] == "credentials_missing"
    with pytest.raises(InvalidStatus) as refused:
        opened(gate, "/down/x", origin=False)
    assert refused.value.response.status_code == 502


def test_a_route_may_tell_everyone_by_a_close_code_or_nobody(gate):
    with opened(gate, "/close/x", origin=False) as socket:
        assert closed(socket) == (4401, "credentials_missing")
    with pytest.raises(InvalidStatus) as refused:
        opened(gate, "/status/x")
    assert refused.value.response.status_code == 401


def test_what_is_no_refusal_of_a_caller_keeps_its_status(gate):
    with pytest.raises(InvalidStatus) as refused:
        opened(gate, "/nowhere")
    assert refused.value.response.status_code == 404


def test_a_route_that_observes_refuses_no_handshake(gate):
    with opened(gate, "/watched/x") as socket:
        socket.send("hello")
        assert socket.recv(5) == "hello"


def test_a_refusal_of_the_app_passes_unchanged(gate):
    with pytest.raises(InvalidStatus) as refused:
        opened(gate, "/forbids/x")
    answer = refused.value.response
    assert (answer.status_code, answer.body, answer.headers["x-app"]) == (403, b"no", "yes")


def test_a_refused_handshake_chooses_the_first_subprotocol_and_never_the_token(gate):
    bad = simplejwt(lifetime=-60)
    with opened(gate, "/me/x", subprotocols=["bearer", bad]) as socket:
        assert socket.subprotocol == "bearer"
        assert closed(socket) == (4401, "token_expired")
    with opened(gate, "/me/x", subprotocols=["chat", "superchat"]) as socket:
        assert socket.subprotocol == "chat"
        assert closed(socket) == (4401, "credentials_missing")
    assert bad not in gate.output()


def test_a_socket_is_closed_with_4401_when_its_token_ends(gate, echo):
    token = simplejwt(lifetime=2)
    with opened(gate, "/me/x", token=token) as socket:
        socket.send("hello")
        assert socket.recv(5) == "hello"
        end = jwt_end(token)
        assert closed(socket) == (4401, "token_expired")
        assert 0 <= time.time() - end < 1
    wait_for(lambda: echo.ends[-1:] == [(4401, "token_expired")], 3, "the app's close frame")


def jwt_end(token):
    """When a token ends, as a Unix time."""
    import jwt

    return jwt.decode(token, options={"verify_signature": False})["exp"]


def test_a_socket_may_outlast_its_token(gate):
    with opened(gate, "/lasting/x", token=simplejwt(lifetime=1)) as socket:
        time.sleep(2)
        socket.send("still here")
        assert socket.recv(5) == "still here"


def test_a_quiet_socket_is_closed_with_1001(gate):
    with opened(gate, "/quiet/x") as socket:
        started = time.monotonic()
        assert closed(socket) == (1001, "idle")
        assert 0.9 < time.monotonic() - started < 3


def test_a_close_code_waits_for_the_end_of_a_message_under_way(gate):
    """Half of a message has come, and is echoed as it stands, when the token ends."""
    token = simplejwt(lifetime=2)
    with opened(gate, "/raw/x", token=token) as socket:
        frame = Frame(Opcode.BINARY, b"x" * 1000).serialize(mask=False)
        socket.socket.sendall(frame[:500])
        time.sleep(max(0.0, jwt_end(token) + 0.3 - time.time()))
        # Neither side's frame has ended: the rest still passes, then the close frame.
        with contextlib.suppress(OSError):
            socket.socket.sendall(frame[500:])
        assert socket.recv(5) == b"x" * 1000
        assert closed(socket) == (4401, "token_expired")


def test_a_drain_leaves_sockets_until_its_end_and_closes_them_with_1001(gateway, places):
    gate = gateway(TOML, **places)
    # The library behind Http2Client takes nothing more after GOAWAY.
    with opened(gate, "/open/x") as one, H2(gate) as client:
        client.pump(3, lambda: client.settings)
        fields = head("/open/x", "CONNECT", more=[(":protocol", "websocket"), ("sec-websocket-version", "13")])
        stream = client.stream(client.open(fields, 0))
        client.pump(3, lambda: stream.status)
        assert stream.status == 200
        started = time.monotonic()
        gate.signal(signal.SIGTERM)
        time.sleep(1)
        one.send("still here")
        assert one.recv(5) == "still here"
        assert closed(one, 20) == (1001, "draining")
        took = time.monotonic() - started
        client.pump(3, lambda: stream.body)
        assert client.goaway is not None and stream.body == b"\x88\x0a\x03\xe9draining"
        assert gate.process.wait(10) == 0
    assert 2 < took < 6


# ---- tokens stay here ----


def test_no_token_of_a_handshake_goes_on_where_the_route_says_so(gate, echo):
    token = simplejwt()
    with opened(gate, "/hidden/x?a=1&token=" + token) as socket:
        socket.send("hello")
        assert socket.recv(5) == "hello"
    assert echo.handshakes[-1].path == "/hidden/x?a=1"
    with opened(gate, "/hidden/x?token=", subprotocols=["chat", "bearer", token], origin=False):
        pass
    last = echo.handshakes[-1]
    assert last.path == "/hidden/x" and last.headers.get_all("sec-websocket-protocol") == ["chat, bearer"]
    with opened(gate, "/me/x?a=1&token=" + token):
        pass
    assert echo.handshakes[-1].path == "/me/x?a=1&token=" + token
    told = gate.explain("GET", "/hidden/x?token=" + token, extra=["--websocket"])
    for words in (gate.output(), gate.metrics_text(), json.dumps(told)):
        assert token not in words and token.split(".")[2] not in words


def test_explain_says_which_close_code_a_browser_gets(gate):
    told = json.dumps(gate.explain("GET", "/me/x", extra=["--websocket"]))
    assert "close code 4401 and `credentials_missing`" in told and "to others by the status" in told
    told = json.dumps(gate.explain("GET", "/status/x", extra=["--websocket"]))
    assert "told by the status" in told


# ---- HTTP/2 ----


def extended(client, path, more=(), origin=True, protocol="websocket"):
    """Opens a stream by an extended CONNECT."""
    client.until(lambda client: any(isinstance(event, h2.events.RemoteSettingsChanged) for event in client.events))
    fields = [(":protocol", protocol), ("sec-websocket-version", "13"), *more]
    if origin:
        fields.append(("origin", "https://localhost"))
    return client.open(path, method="CONNECT", more=fields, ends=False)


def status_of(client, number):
    assert client.until(lambda client: client.of(number, h2.events.ResponseReceived)), client.events
    return dict(client.of(number, h2.events.ResponseReceived)[0].headers)[":status"]


def headers_of(client, number):
    return dict(client.of(number, h2.events.ResponseReceived)[0].headers)


def body_of(client, number):
    return b"".join(event.data for event in client.of(number, h2.events.DataReceived))


def test_a_socket_on_a_stream_is_a_handshake_of_http_1_for_the_app(gate, raw):
    with Http2Client(gate) as client:
        number = extended(client, "/raw/x?token=" + simplejwt(), [("sec-websocket-protocol", "chat")])
        assert status_of(client, number) == "200"
        answer = headers_of(client, number)
        assert not {"connection", "upgrade", "sec-websocket-accept"} & set(answer)
        assert client.h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL) == 1
        request = raw.handshakes[-1]
        assert request.method == "GET" and request.all("x-auth-user") == ["7"]
        assert request.all("upgrade") == ["websocket"] and request.all("connection") == ["Upgrade"]
        assert len(request.all("sec-websocket-key")[0]) == 24
        frame = Frame(Opcode.TEXT, b"hello").serialize(mask=True)
        client.data(number, frame, ends=False)
        assert client.until(lambda client: body_of(client, number) == frame)
        # Far more than either window, there and back.
        pour = Frame(Opcode.BINARY, os.urandom(2 << 20)).serialize(mask=False)
        rest = pour
        while rest:
            room = min(client.h2.local_flow_control_window(number), 16384, len(rest))
            if room:
                client.data(number, rest[:room], ends=False)
                rest = rest[room:]
            else:
                assert client.until(lambda client: client.h2.local_flow_control_window(number))
        assert client.until(lambda client: len(body_of(client, number)) == len(frame) + len(pour), 20)
        assert body_of(client, number) == frame + pour
        ended = raw.ended
        client.data(number, b"", ends=True)
        wait_for(lambda: raw.ended > ended, 3, "the app's side to end")
        assert client.until(lambda client: client.of(number, h2.events.StreamEnded))


def test_a_stream_that_is_reset_ends_the_apps_side(gate, echo):
    with Http2Client(gate) as client:
        number = extended(client, "/open/x")
        assert status_of(client, number) == "200"
        ended = len(echo.ends)
        client.h2.reset_stream(number, 8)
        client.flush()
        wait_for(lambda: len(echo.ends) > ended, 3, "the app's side to end")
        other = extended(client, "/open/x")
        assert status_of(client, other) == "200"


def test_an_app_that_breaks_off_breaks_the_clients_side_off(gate):
    frame = Frame(Opcode.TEXT, b"hello").serialize(mask=False)
    with Http2Client(gate) as client:
        number = extended(client, "/breaks/x")
        assert status_of(client, number) == "200"
        client.data(number, frame, ends=False)
        assert client.until(lambda client: body_of(client, number) == frame)
        client.data(number, frame, ends=False)
        assert client.until(lambda client: client.of(number, h2.events.StreamReset)), client.events
        assert client.of(number, h2.events.StreamReset)[0].error_code == 8
        assert not client.of(number, h2.events.StreamEnded)
    with opened(gate, "/breaks/x") as one:
        one.socket.sendall(frame)
        assert one.recv(5) == "hello"
        one.socket.sendall(frame)
        with pytest.raises(ConnectionClosed) as ended:
            one.recv(5)
        assert ended.value.rcvd is None


@pytest.mark.parametrize("case", ["none", "expired", "role", "down"])
def test_a_refused_stream_is_closed_as_a_connection_is(gate, echo, case):
    target, token, number, code, status = REFUSED[case]
    before = len(echo.handshakes)
    with Http2Client(gate) as client:
        path = target + (f"?token={token}" if token else "")
        stream = extended(client, path, [("sec-websocket-protocol", "chat")])
        assert status_of(client, stream) == "200"
        answer = headers_of(client, stream)
        assert answer["sec-websocket-protocol"] == "chat" and "x-request-id" in answer
        frame = Frame(Opcode.CLOSE, Close(number, code).serialize()).serialize(mask=False)
        assert client.until(lambda client: body_of(client, stream) == frame), client.events
        client.data(stream, Frame(Opcode.CLOSE, Close(number, "").serialize()).serialize(mask=True))
        assert client.until(lambda client: client.of(stream, h2.events.StreamEnded)), client.events
    assert len(echo.handshakes) == before
    (line,) = wait_for(lambda: gate.access_lines(answer["x-request-id"]), 3, "the line of the log")
    assert (line["status"], line["close"], line["protocol"]) == (status, number, "HTTP/2")


def test_over_http2_too_others_get_the_status_and_the_apps_refusal_passes(gate):
    with Http2Client(gate) as client:
        number = extended(client, "/me/x", origin=False)
        headers, body = client.answer(number)
        assert headers[":status"] == "401" and json.loads(body)["code"] == "credentials_missing"
        number = extended(client, "/forbids/x")
        headers, body = client.answer(number)
        assert (headers[":status"], body) == ("403", b"no")


@pytest.mark.parametrize("fields", [{"protocol": "connect-udp"}, {"more": [("sec-websocket-version", "12")]}])
def test_other_extended_connects_are_refused(gate, fields):
    with Http2Client(gate) as client:
        number = extended(client, "/open/x", **fields)
        assert client.until(lambda client: client.of(number, h2.events.ResponseReceived)), client.events
        assert status_of(client, number) == "400"


def test_a_token_that_ends_closes_a_stream_too(gate):
    token = simplejwt(lifetime=2)
    with Http2Client(gate) as client:
        number = extended(client, "/me/x?token=" + token)
        assert status_of(client, number) == "200"
        assert client.until(lambda client: body_of(client, number), 5)
        assert body_of(client, number) == b"\x88\x0f\x11\x31token_expired"
        assert 0 <= time.time() - jwt_end(token) < 1


def test_reloads_leave_sockets_alone(gateway, places):
    gate = gateway(TOML, **places)
    with opened(gate, "/open/x") as socket:
        for turn in range(3):
            gate.reload(TOML + f"# {turn}\n")
            socket.send("hello")
            assert socket.recv(5) == "hello"
    assert httpx.get(gate.admin_url + "/health", trust_env=False).status_code == 200
