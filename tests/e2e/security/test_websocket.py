"""Catalogue 120 to 125: no tunnel before the caller is let in and the app has said 101, and none that fills memory."""

import os
import socket
import time

import pytest

from harness.ports import wait_for
from harness.upstreams import Listener, read_head
from security.conftest import SERVER
from security.credentials import sealed, token
from security.wire import KEY, StrictUpstream, accept_for, switching, table

ROUTES = """
[upstream.app]
servers = ["{app}"]
timeouts = { connect = "1s", response = "1s" }
retries = 0

[upstream.pour]
servers = ["{pour}"]
timeouts = { connect = "1s", response = "1s" }

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[auth.cookie]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
sources = ["cookie:access"]

[cors.web]
origins = ["https://page.example.com"]
credentials = true

[[route]]
path = "/open/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/me/{*rest}"
upstream = "app"
auth = ["token"]

[[route]]
path = "/staff/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["staff"]

[[route]]
path = "/cookie/{*rest}"
upstream = "app"
auth = ["cookie"]
cors = "web"

[[route]]
path = "/none/{*rest}"
upstream = "app"
auth = "public"
websocket = false

[[route]]
path = "/pour/{*rest}"
upstream = "pour"
auth = "public"
"""


class Pour(Listener):
    """After the 101: `/pour/down` sends without end, `/pour/up` never reads, `/pour/drop` ends the connection."""

    def serve(self, connection):
        head = read_head(connection)[0]
        key = [line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: ")][
            0
        ]
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept_for(key)
            + b"\r\n\r\n"
        )
        if b"/pour/down" in head:
            connection.settimeout(20)
            for _ in range(1024):
                connection.sendall(bytes(65536))
        elif b"/pour/up" in head:
            time.sleep(8)
        elif b"/pour/count" in head:
            count = 0
            while count < 64 << 20:
                block = connection.recv(1 << 20)
                if not block:
                    return
                count += len(block)
            connection.sendall(b"%d" % count)
        elif b"/pour/drop" in head:
            connection.sendall(b"\x88\x02\x03\xe8")


REFUSALS = {
    "426": b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno",
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
    "101-h2c": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "101-no-upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "101-no-accept": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "101-bad-accept": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    "101-no-connection": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
    + accept_for(KEY)
    + b"\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "302": b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    "401": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture(scope="module")
def front(start):
    replies = {f"no-{name}": reply for name, reply in REFUSALS.items()}
    replies["protocol-unasked"] = lambda request: switching(request, b"Sec-WebSocket-Protocol: evil\r\n")
    upstream = StrictUpstream(replies=replies)
    with Pour() as pour:
        yield start(ROUTES, upstream=upstream, pour=pour.url)
    upstream.close()


def handshake(target="/open/socket", *lines, connection="Upgrade", version="13", key=KEY.decode()):
    """A handshake as a client that is no browser sends it."""
    base = [
        f"Connection: {connection}",
        "Upgrade: websocket",
        f"Sec-WebSocket-Version: {version}",
        f"Sec-WebSocket-Key: {key}",
    ]
    return (
        b"".join(line.encode() + b"\r\n" for line in (f"GET {target} HTTP/1.1", "Host: localhost", *base, *lines))
        + b"\r\n"
    )


def untouched(outcome, *statuses):
    assert outcome.arrived == [], outcome
    assert 101 not in [answer.status for answer in outcome.answers], outcome
    assert outcome.status in statuses, outcome
    return outcome


def closed_at_once(outcome, number, code):
    """A browser's handshake was refused: taken, and nothing followed but the close frame that says why."""
    assert outcome.arrived == [], outcome
    head, _, rest = outcome.raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ") and accept_for(KEY) in head, outcome
    payload = number.to_bytes(2, "big") + code.encode()
    assert rest == bytes([0x88, len(payload)]) + payload, outcome
    assert b"access-control" not in head.lower() and b"set-cookie" not in head.lower(), outcome


BAD = {
    "none": ("/me/socket", []),
    "garbage": ("/me/socket", ["Authorization: Bearer garbage"]),
    "expired": ("/me/socket?token=" + token(exp=1), []),
    "refresh": ("/me/socket?token=" + token(token_type="refresh"), []),
    "forged": ("/me/socket?token=" + sealed({"alg": "HS256"}, {"user_id": "1"}, b"other"), []),
    "wrong-name": ("/me/socket?jwt=" + token(), []),
    "wrong-case": ("/me/socket?Token=" + token(), []),
    "cookie": ("/me/socket", [f"Cookie: token={token()}"]),
    "dots": ("/open/../me/socket?token=" + token(), []),
    "fragment": ("/me/socket#?token=" + token(), []),
    "twice": (f"/me/socket?token={token()}&token={token(user_id='8')}", []),
    "both-names": (f"/me/socket?token={token(exp=1)}&access=x", []),
    "protocol": ("/me/socket", [f"Sec-WebSocket-Protocol: bearer, {token()}"]),
    "none-alg": ("/me/socket?token=" + sealed({"alg": "none"}, {"user_id": "7"}), []),
    "semicolon": ("/me/socket?a=1;token=" + token(), []),
}


@table(120, BAD)
def test_a_handshake_without_a_good_token_never_reaches_the_app(front, case):
    target, lines = case
    untouched(front.send(handshake(target, *lines), longest=3), 400, 401)


@table(120, {name: case for name, case in BAD.items() if name not in ("dots", "fragment")})
def test_a_browsers_handshake_without_a_good_token_never_reaches_the_app(front, case):
    target, lines = case
    outcome = front.send(handshake(target, *lines, "Origin: http://localhost"), longest=3)
    code = outcome.raw.rpartition(b"\x11\x31")[2].decode()
    assert code == "credentials_missing" or code.startswith("token_"), outcome
    closed_at_once(outcome, 4401, code)


def test_120_a_good_token_without_the_role_is_403(front):
    untouched(front.send(handshake("/staff/socket?token=" + token(roles=["host"])), longest=3), 403)


@table(120, ["token", "access"])
def test_a_good_token_in_the_query_opens_a_tunnel(front, case):
    outcome = front.send(handshake(f"/me/socket?{case}={token()}&room=1"), longest=2)
    assert outcome.answers[0].status == 101, outcome
    (request,) = outcome.arrived
    assert request.one("x-auth-user") == "7"


def test_120_a_token_in_the_query_of_an_ordinary_request_is_not_read(front):
    outcome = front.request(target=f"/me/x?token={token()}")
    untouched(outcome, 401)


@table(120, ["/none/socket", "/nowhere"])
def test_a_route_without_websockets_opens_no_tunnel(front, case):
    outcome = front.send(handshake(case), longest=3)
    assert 101 not in [answer.status for answer in outcome.answers], outcome
    assert all(request.all("upgrade") == [] for request in outcome.arrived)


ORIGINS = [
    "https://evil.example",
    "null",
    "http://page.example.com",
    "https://page.example.com.evil.example",
    "https://page.example.com:444",
    "https://evil.page.example.com",
    "file://",
    "https://localhost",
    "http://localhost:1",
    "https://page.example.com/",
    "https://page.example.com, https://evil.example",
    "",
    "http://localhost.evil.example",
    "https://PAGE.example.com.",
]


@table(121, ORIGINS)
@pytest.mark.parametrize("path", ["/cookie/socket", "/open/socket"])
def test_a_socket_from_another_site_is_refused(front, path, case):
    lines = [f"Origin: {case}", f"Cookie: access={token()}", "Sec-Fetch-Site: cross-site"]
    closed_at_once(front.send(handshake(path, *lines), longest=3), 4403, "origin_not_allowed")


@table(121, {"same": "http://localhost", "allowed": "https://page.example.com"})
def test_a_socket_from_its_own_site_or_an_allowed_one_opens(front, case):
    outcome = front.send(handshake("/cookie/socket", f"Origin: {case}", f"Cookie: access={token()}"), longest=2)
    assert outcome.answers[0].status == 101, outcome


@table(
    121,
    {
        "two": ["Origin: http://localhost", "Origin: https://evil.example"],
        "two-other": ["Origin: https://evil.example", "Origin: http://localhost"],
    },
)
def test_two_origins_are_refused(front, case):
    untouched(front.send(handshake("/cookie/socket", *case, f"Cookie: access={token()}"), longest=3), 400, 403)


@table(122, REFUSALS)
def test_an_app_that_does_not_switch_gets_no_tunnel(front, case, request):
    name = request.node.callspec.id.split("122-")[1]
    smuggled = b"GET /staff/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    outcome = front.send([handshake(f"/open/no-{name}"), smuggled], longest=3)
    assert 101 not in [answer.status for answer in outcome.answers], outcome
    assert not [r for r in outcome.arrived if "smuggled" in r.target], outcome
    assert outcome.status in (502, int(name[:3])), outcome
    for arrived in outcome.arrived:
        assert b"smuggled" not in arrived.body


def test_122_a_protocol_that_nobody_offered_is_not_echoed(front):
    outcome = front.send(handshake("/open/protocol-unasked"), longest=2)
    assert b"evil" not in outcome.raw, outcome


def test_123_a_token_in_the_url_is_never_written_to_the_log(front):
    secret = token()
    front.send(handshake(f"/me/socket?token={secret}"), longest=2)
    front.send(handshake(f"/me/socket?access=bad.{secret}"), longest=2)
    front.request(target=f"/open/x?token={secret}")
    time.sleep(0.3)
    log = front.gate.output()
    assert secret not in log and secret.split(".")[2] not in log


# ---- 124, 125 ----


def opened(front, target):
    client = front.connect()
    client.send(handshake(target))
    client.socket.settimeout(5)
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.socket.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return client


def test_124_a_pour_that_nobody_reads_stays_in_the_app(front):
    before = front.gate.rss_kib()
    with opened(front, "/pour/down"):
        time.sleep(1.5)
        assert front.gate.rss_kib() - before < 10 * 1024


def test_124_a_pour_that_the_app_does_not_read_stays_in_the_client(front):
    before = front.gate.rss_kib()
    with opened(front, "/pour/up") as client:
        client.socket.settimeout(1.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 << 20:
                sent += client.socket.send(bytes(1 << 20))
        assert sent < 32 << 20
        assert front.gate.rss_kib() - before < 10 * 1024


def test_124_64_mib_pass_through_a_tunnel_in_constant_memory(front):
    before = front.gate.rss_kib()
    with opened(front, "/pour/count") as client:
        client.socket.settimeout(30)
        block = os.urandom(1 << 20)
        for _ in range(64):
            client.socket.sendall(block)
        assert client.socket.recv(100) == b"%d" % (64 << 20)
    assert front.gate.rss_kib() - before < 10 * 1024


def test_124_when_the_app_goes_the_client_is_told_and_the_other_way_round(front):
    with opened(front, "/pour/drop") as client:
        client.socket.settimeout(3)
        data = b""
        while block := client.socket.recv(100):
            data += block
        assert data == b"\x88\x02\x03\xe8"
    client = opened(front, "/open/socket")
    request = front.upstream.requests[-1]
    client.socket.shutdown(socket.SHUT_RDWR)
    client.close()
    wait_for(lambda: request.ended, 3, "the app's side of the tunnel to end")


def test_124_a_quiet_tunnel_outlives_the_timeouts_of_requests(front):
    with opened(front, "/open/socket") as client:
        time.sleep(5)
        client.send(b"still here")
        client.socket.settimeout(3)
        assert client.socket.recv(100) == b"still here"


def test_125_a_reload_keeps_tunnels(front):
    with opened(front, "/open/socket") as client:
        front.gate.reload(
            SERVER.replace("EXTRA", "") + ROUTES + '\n[[route]]\npath = "/new"\nupstream = "app"\nauth = "public"\n'
        )
        client.send(b"still here")
        client.socket.settimeout(3)
        assert client.socket.recv(100) == b"still here"
