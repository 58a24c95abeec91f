"""An open WebSocket is bytes both ways, with back-pressure, until a side is done: both ends are played by the test."""

import hashlib
import os
import random
import signal
import threading
import time

import pytest

from harness.ports import wait_for
from harness.raw import over_plain, reset
from harness.stage import Stage
from harness.tunnels import KEY, TUNNELS, closing, frame

MIB = 1 << 20
TOML = """
[server]
https = "127.0.0.1:{https}"
plain = "127.0.0.1:{plain}"
admin = "127.0.0.1:{admin}"

[server.timeouts]
request_headers = "2s"
request_body = "2s"
response_body = "2s"
keep_alive = "2s"
drain = "2s"

[tls]
development = true

[upstream.stage]
servers = ["{stage}"]
timeouts = { response = "2s" }

[[route]]
path = "/stage/{*rest}"
upstream = "stage"
auth = "public"
"""


@pytest.fixture(scope="module")
def stage():
    with Stage() as app:
        yield app


@pytest.fixture(scope="module")
def gate(module_gateway, stage):
    return module_gateway(TOML, stage=stage.url)


@pytest.fixture(params=list(TUNNELS))
def version(request):
    return request.param


@pytest.fixture
def begin(gate, stage, version):
    """`begin() -> (client, app)`: a tunnel whose both ends the test plays."""
    made = []

    def start(more=(), answer=(), **options):
        client = TUNNELS[version](gate, "/stage/x", more, **options)
        app = stage.next()
        app.switch(*answer)
        made.append((client.opened(), app))
        return client, app

    yield start
    for client, app in made:
        app.leave()
        client.close()


# ---- bytes ----


def test_any_bytes_at_all_pass_both_ways_in_any_pieces(begin):
    client, app = begin()
    chance = random.Random(7)
    up, down = os.urandom(MIB), os.urandom(MIB)

    def pieces(data, send):
        at = 0
        while at < len(data):
            size = chance.choice((1, 2, 3, 7, 100, 4096, 16384, 100_000))
            send(data[at : at + size])
            at += size

    sending = threading.Thread(target=pieces, args=(down, app.say))
    sending.start()
    pieces(up, client.send)
    assert app.take(len(up)) == up
    assert client.take(len(down)) == down
    sending.join()


def test_every_close_frame_passes_whether_it_may_be_sent_or_not(begin):
    for code in (0, 999, *range(1000, 1017), 2999, 3000, 4999, 5000, 65535):
        client, app = begin()
        sent = closing(code, b"why \xe2\x9c\x93", mask=b"\x01\x02\x03\x04")
        client.send(sent)
        assert app.take(len(sent)) == sent
        answer = closing(code, b"so", mask=None)
        app.say(answer)
        app.leave()
        assert client.take(len(answer) + 1) == answer, "something else came with the app's close"


def test_what_both_ends_agreed_on_is_what_they_said(begin):
    more = [
        ("Sec-WebSocket-Protocol", "chat.v1, chat.v2"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    ]
    told = [
        "Sec-WebSocket-Protocol: chat.v2",
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
        "X-Room: 7",
    ]
    client, app = begin(more, told)
    assert b"sec-websocket-protocol: chat.v1, chat.v2\r\n" in app.head.lower()
    assert b"sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n" in app.head.lower()
    if isinstance(client.head, dict):
        assert client.head["sec-websocket-protocol"] == "chat.v2" and client.head["x-room"] == "7"
        assert client.head["sec-websocket-extensions"] == "permessage-deflate; server_no_context_takeover"
        assert not {"sec-websocket-accept", "upgrade", "connection"} & set(client.head), client.head
        assert KEY.encode() not in app.head
    else:
        text = client.head.lower()
        assert b"sec-websocket-protocol: chat.v2" in text and b"x-room: 7" in text
        assert b"sec-websocket-extensions: permessage-deflate; server_no_context_takeover" in text


# ---- back-pressure ----


def test_a_pour_down_to_a_reader_that_stops_waits_in_the_app(begin, gate):
    client, app = begin()
    data = os.urandom(64 * MIB)
    before, done = gate.rss_kib(), threading.Event()

    def pour():
        app.connection.settimeout(60)
        app.say(data)
        done.set()

    threading.Thread(target=pour, daemon=True).start()
    digest = hashlib.sha256(client.take(MIB))
    # Longer than an answer may stand still: a tunnel is none.
    for _ in range(30):
        time.sleep(0.1)
        assert gate.rss_kib() - before < 10 * 1024
    assert not done.is_set(), "64 MiB went somewhere while nobody read"
    for _ in range(63):
        digest.update(client.take(MIB, 30))
    assert digest.digest() == hashlib.sha256(data).digest() and done.wait(5)
    assert gate.rss_kib() - before < 10 * 1024


def test_a_pour_up_to_an_app_that_stops_waits_in_the_client(begin, gate):
    client, app = begin()
    data = os.urandom(64 * MIB)
    before = gate.rss_kib()
    went = client.send(data, 1.5)
    assert MIB // 32 < went < 32 * MIB, f"{went} bytes went to an app that takes none"
    assert gate.rss_kib() - before < 10 * 1024
    rest = threading.Thread(target=client.send, args=(data[went:], 30))
    rest.start()
    app.connection.settimeout(30)
    digest = hashlib.sha256()
    for _ in range(64):
        digest.update(app.take(MIB))
    rest.join()
    assert digest.digest() == hashlib.sha256(data).digest()
    assert gate.rss_kib() - before < 10 * 1024


def test_tunnels_of_one_connection_do_not_mix_and_do_not_wait_for_each_other(gate, stage):
    tunnels, client = [], None
    for number in range(100):
        tunnel = TUNNELS["http2"](gate, f"/stage/{number}", client=client)
        client = tunnel.client
        app = stage.next()
        assert b"GET /stage/%d HTTP/1.1" % number in app.head
        app.switch()
        tunnels.append((tunnel.opened(), app))
    # The app of the first takes nothing, and its client says more than there is room for.
    stuck, _ = tunnels[0]
    assert stuck.send(bytes(4 * MIB), 1) < 4 * MIB
    for number, (tunnel, app) in enumerate(tunnels[1:], 1):
        word = b"socket %d" % number
        assert tunnel.send(frame(1, word), 2), "another socket's pour holds this one up"
        assert app.take(6 + len(word)) == frame(1, word)
        app.say(frame(2, word, mask=None))
    for number, (tunnel, _) in reversed(list(enumerate(tunnels[1:], 1))):
        word = b"socket %d" % number
        assert tunnel.take(2 + len(word)) == frame(2, word, mask=None)
    for _, app in tunnels:
        app.leave()
    client.close()


# ---- ends ----


def test_an_app_that_dies_ends_the_clients_side_soon(begin):
    client, app = begin()
    app.say(b"\x81\x01x")
    assert client.take(3) == b"\x81\x01x"
    reset(app.connection)
    app.leave()
    took = client.ended()
    assert took is not None and took < 2, took


def test_a_client_that_dies_ends_the_apps_side_soon(begin):
    client, app = begin()
    client.send(frame(1, b"x"))
    app.take(7)
    client.vanish()
    took = app.left()
    assert took is not None and took < 2, took


def test_a_side_that_has_said_everything_still_hears_the_other(begin, version):
    # Python's TLS cannot end one direction alone.
    client, app = begin(**({"door": over_plain} if version == "http1" else {}))
    client.send(closing(1000))
    client.finish()
    assert app.take(8) == closing(1000)
    took = app.left()
    assert took is not None and took < 2, "the app is not told that nothing more comes"
    app.say(closing(1000, b"bye", mask=None))
    app.leave()
    assert client.take(100) == closing(1000, b"bye", mask=None)
    assert client.ended() is not None


def test_an_app_that_has_said_everything_ends_the_clients_side(begin):
    client, app = begin()
    app.say(closing(1001, b"", mask=None))
    app.leave()
    assert client.take(100, 5) == closing(1001, b"", mask=None)


def test_a_quiet_tunnel_outlives_the_timeouts_of_requests(begin):
    client, app = begin()
    for _ in range(2):
        time.sleep(4)
        client.send(frame(1, b"x"))
        assert app.take(7) == frame(1, b"x")
        app.say(b"\x81\x01y")
        assert client.take(3) == b"\x81\x01y"


def test_a_hundred_reloads_keep_a_tunnel(gate, stage):
    tunnels = []
    for kind in TUNNELS.values():
        client = kind(gate, "/stage/x")
        app = stage.next()
        app.switch()
        tunnels.append((client.opened(), app))
    for number in range(100):
        gate.reload(TOML + f'[[route]]\npath = "/new/{number}"\nupstream = "stage"\nauth = "public"\n')
        if number % 10 == 9:
            for client, app in tunnels:
                client.send(frame(1, b"x"))
                assert app.take(7) == frame(1, b"x")
                app.say(b"\x81\x01y")
                assert client.take(3) == b"\x81\x01y"
    for client, app in tunnels:
        client.close()
        app.leave()
    gate.reload(TOML)


def test_at_the_end_of_a_drain_a_close_goes_in_between_two_frames_or_not_at_all(gateway, stage):
    # Over HTTP/1.1 alone: Python's h2 gives a connection up as soon as it is told that the server goes away.
    gate = gateway(TOML, stage=stage.url)
    tunnels = []
    for _ in range(3):
        client = TUNNELS["http1"](gate, "/stage/x")
        app = stage.next()
        app.switch()
        tunnels.append((client.opened(), app))
    (polite, its_app), (silent, mute_app), (halfway, slow_app) = tunnels
    slow_app.say(b"\x82\x7e\x01\x00" + b"x" * 100)
    assert len(halfway.take(104)) == 104
    began = time.monotonic()
    gate.signal(signal.SIGTERM)
    time.sleep(0.5)
    its_app.say(b"\x81\x01y")
    assert polite.take(3) == b"\x81\x01y", "the drain had only begun"
    told = polite.take(4)
    assert told[:1] == b"\x88" and told[2:4] == (1001).to_bytes(2), told
    assert 1 < time.monotonic() - began < 2.5
    polite.take(told[1] - 2)
    polite.send(closing(1001))
    # The app is told as by a client, behind a mask.
    opcode, size = its_app.take(2)
    mask = its_app.take(4)
    payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(its_app.take(size & 0x7F)))
    assert (opcode, size & 0x80, payload[:2]) == (0x88, 0x80, (1001).to_bytes(2))
    its_app.say(closing(1001, mask=None))
    assert polite.ended() is not None and its_app.left() is not None
    assert silent.take(4)[2:4] == (1001).to_bytes(2)
    # What stands in the middle of a frame is cut off, not filled with words of the gateway's.
    assert halfway.take(100) == b""
    assert gate.process.wait(5) == 0
    assert time.monotonic() - began < 3.5
    for client, app in tunnels:
        app.leave()
        client.close()


def test_none_is_counted_as_open_any_more(gate):
    wait_for(
        lambda: gate.count("portcullis_websockets") == gate.count("portcullis_websockets_opened"),
        5,
        "no open WebSocket",
    )
    assert gate.count("portcullis_websockets_opened_total") > 20
