"""Two implementations of the WebSocket protocol on either side of the gateway: what one sends is what the other gets."""

import threading

import pytest
from websockets.exceptions import ConnectionClosedError

from harness.peers import (
    CODES,
    RUST_CODES,
    PythonServer,
    Relay,
    RustServer,
    python_visit,
    rust_visit,
    visiting,
)
from harness.ports import wait_for
from harness.stage import Stage
from harness.tunnels import TUNNELS, closing, frame

MIB = 1 << 20
SERVERS = ("python", "rust", "packed")
TOML = "".join(
    f'''
[upstream.{name}]
servers = ["http://127.0.0.1:{{{name}}}"]

[[route]]
path = "/{name}/{{*rest}}"
upstream = "{name}"
auth = "public"
'''
    for name in ("stage", *SERVERS, *(f"relayed-{server}" for server in SERVERS))
)


@pytest.fixture(scope="module")
def stage():
    with Stage() as app:
        yield app


@pytest.fixture(scope="module")
def servers():
    """One server of each implementation, and one that compresses; each behind a relay that keeps what passes, too."""
    made = {"python": PythonServer(), "rust": RustServer(), "packed": PythonServer(compression="deflate")}
    relays = {name: Relay(server.port) for name, server in made.items()}
    yield made, relays
    for one in (*relays.values(), *made.values()):
        one.close()


@pytest.fixture(scope="module")
def gate(module_gateway, stage, servers):
    made, relays = servers
    ports = {name: server.port for name, server in made.items()}
    ports |= {f"relayed-{name}": relay.port for name, relay in relays.items()}
    return module_gateway(TOML, stage=stage.port, **ports)


@pytest.fixture(params=list(TUNNELS))
def version(request):
    return request.param


PAIRS = [
    ("python", "python"),
    ("python", "rust"),
    ("rust", "python"),
    ("rust", "rust"),
    ("packed", "packed"),
    ("packed", "rust"),
]


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_what_either_implementation_sends_arrives_unchanged(gate, servers, client, server):
    made, relays = servers
    codes = RUST_CODES if "rust" in (client, server) else CODES
    before, behind = Relay(gate.ports["plain"]), relays[server]
    behind.passed.clear()
    made[server].closed.clear()
    url = f"ws://127.0.0.1:{before.port}/relayed-{server}/x?room=1"
    with before:
        if client == "rust":
            rust_visit(url, codes)
        else:
            python_visit(url, codes, compression="deflate" if client == "packed" else None)
        sent, arrived = before.settled(), behind.settled()
    assert len(sent) == len(arrived) == 3 + 2 * len(codes)
    for number, (here, there) in enumerate(zip(sent, arrived)):
        assert here == there, f"connection {number}: other bytes behind the gateway than before it"
    if client == server == "packed":
        assert sent[0][0][0] & 0x40, "nothing was compressed"
        assert len(sent[0][0]) < 4 * MIB, "nothing was compressed"
    wanted = sorted((code, f"{code} \u2713") for code in codes for _ in range(2))
    wait_for(lambda: len(proper(made[server])) == len(wanted), 5, "the server's account of every close")
    closed = proper(made[server])
    # A client that answers a close may leave the reason out.
    assert sorted(code for code, _ in closed) == [code for code, _ in wanted], closed
    assert {told for told in wanted} <= set(closed), closed


def proper(server):
    """The closes that came with a code, as the server saw them."""
    return [told for told in server.closed if told[0] not in (1005, 1006)]


BAD = {
    "reserved bit 1": (frame(1, b"hello", reserved=4), 1002),
    "reserved bit 3": (frame(2, b"hello", reserved=1), 1002),
    "no mask": (frame(1, b"hello", mask=None), 1002),
    "bad UTF-8": (frame(1, b"\xff\xfe"), 1007),
    "bad UTF-8 across fragments": (frame(1, b"\xe2\x9c", last=False) + frame(0, b"x"), 1007),
    "a ping too long": (frame(9, b"x" * 126), 1002),
    "a ping in fragments": (frame(9, b"x", last=False), 1002),
    "an unknown opcode": (frame(3, b"x"), 1002),
    "an unknown control opcode": (frame(11, b"x"), 1002),
    "a continuation of nothing": (frame(0, b"x"), 1002),
    "a text within a text": (frame(1, b"x", last=False) + frame(1, b"y"), 1002),
    "a close of one byte": (frame(8, b"\x03"), 1002),
    "a close with 1005": (closing(1005), 1002),
    "a close with 999": (closing(999), 1002),
    "a close with bad UTF-8": (closing(1000, b"\xff"), 1007),
}


@pytest.mark.parametrize("server", ["python", "rust"])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_frame_is_passed_on_for_the_app_to_judge(gate, version, server, bad):
    sent, code = BAD[bad]
    client = TUNNELS[version](gate, f"/{server}/x").opened()
    client.send(frame(1, b"good"))
    assert client.take(6) == b"\x81\x04good"
    client.send(sent)
    told = client.take(2, 5)
    if server == "python" or told:
        assert told[:1] == b"\x88", told
        number = int.from_bytes(client.take(2), "big")
        assert number == code or server == "rust", (number, code)
    client.send(closing(code))
    client.finish()
    assert client.ended() is not None
    client.close()


def test_a_bad_frame_of_the_app_is_passed_on_for_the_client_to_judge(gate, stage):
    for bad, code in (
        (b"\xc1\x01x", 1002),
        (b"\x81\x81\0\0\0\0x", 1002),
        (b"\x81\x02\xff\xfe", 1007),
        (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002),
    ):
        url = f"ws://localhost:{gate.ports['plain']}/stage/x"

        def play(bad=bad):
            app = stage.next()
            app.switch()
            app.say(bad)
            assert app.take(2)[:1] == b"\x88"
            app.leave()

        played = threading.Thread(target=play)
        played.start()
        with visiting(url) as peer:
            with pytest.raises(ConnectionClosedError) as closed:
                peer.recv(timeout=5)
            assert closed.value.sent.code == code, closed.value
        played.join(10)
