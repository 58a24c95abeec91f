"""Servers by name: addresses that change under load, names that nobody knows, a resolver that hangs."""

import os
import time

import httpx
import pytest

from harness.certs import Authority
from harness.check import passed, refused
from harness.members import Load, Member
from harness.names import Names
from harness.ports import free_port, seconds_until, wait_for
from harness.raw import RawClient
from harness.services import Missing
from harness.upstreams import RawUpstream, WebSocketEcho, server_tls

NAME = "app.test"
APP = """
[upstream.app]
servers = ["{scheme}://app.test:{port}"]
{keys}
[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""
OTHER = """
[upstream.other]
servers = ["{other}"]

[[route]]
path = "/other/{*rest}"
upstream = "other"
auth = "public"
"""
# The gateway asks the resolver every five seconds, give or take a tenth, and one second after a failed connection.
ASKED_AGAIN_S, ASKED_SOON_S = 8, 5


@pytest.fixture
def names(tmp_path):
    """What names lead to, for the gateway of this test."""
    try:
        names = Names(tmp_path / "names")
    except Missing as missing:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say(str(missing))
    yield names
    names.go_on(NAME)


@pytest.fixture
def members(tmp_path):
    """`members(count)`: servers at one port of different addresses, ended after the test."""
    made, port = [], free_port()

    def make(count):
        for number in range(2, 2 + count):
            made.append(Member(tmp_path / f"member-{number}", f"127.0.0.{number}", port))
        return made

    yield make
    for member in made:
        member.kill()


def before(gateway, names, port, more="", keys="", scheme="http", **places):
    """A gateway in front of the name."""
    return gateway(APP + more, env=names.env, port=port, keys=keys, scheme=scheme, **places)


def addresses(gate):
    """Those that the admin address shows."""
    known = of_name(gate)["addresses"]
    return sorted(address.rpartition(":")[0] for address in known)


def of_name(gate):
    servers = gate.get("/api/status", door="admin").json()["servers"]
    return next(known["name"] for known in servers if NAME in known["server"])


def told(gate, words):
    """The log lines about the name that hold these words."""
    return [line for line in gate.log_lines() if line.get("name") == NAME and words in str(line)]


def ask(gate):
    """One request, as one client sends it."""
    return gate.get("/", door="plain")


def test_a_name_that_moves_under_load_takes_every_request_along_and_fails_none(gateway, names, members):
    old, new = members(2)
    names.lead(NAME, old.host)
    gate = before(gateway, names, old.port)
    with Load(gate) as load:
        wait_for(lambda: load.since()[old.name] > 50, 10, "the old one to answer")
        names.lead(NAME, new.host)
        took = seconds_until(lambda: addresses(gate) == [new.host], ASKED_AGAIN_S, "the new address")
        # Answers that were under way are counted a moment later.
        time.sleep(0.5)
        mark = len(load.answers)
        wait_for(lambda: load.since(mark)[new.name] > 200, 10, "the new one to answer")
        assert load.since(mark)[old.name] == 0, load.since(mark)
        # Nothing leads there any more, so that it may go.
        old.kill()
        mark = len(load.answers)
        wait_for(lambda: len(load.answers) > mark + 200, 10, "it to go on without the old one")
    assert not load.failed(), load.failed()[:5]
    assert took < ASKED_AGAIN_S
    assert len(told(gate, "has these addresses now")) == 2
    assert gate.count("portcullis_upstream_addresses") == 1
    assert gate.count("portcullis_upstream_lookup_failures_total") == 0


def test_connections_that_rest_at_a_gone_address_are_closed(gateway, names):
    port = free_port()
    with RawUpstream(host="127.0.0.2", port=port) as old, RawUpstream(host="127.0.0.3", port=port) as new:
        names.lead(NAME, old.host)
        gate = before(gateway, names, port)
        passed(ask(gate))
        assert len(old._open) == 1
        names.lead(NAME, new.host)
        wait_for(lambda: not old._open, ASKED_AGAIN_S, "the idle connection to be closed")
        passed(ask(gate))
        assert (len(old.requests), len(new.requests)) == (1, 1)


def test_an_app_that_is_replaced_at_another_address_is_found_within_seconds(gateway, names, members):
    old, new = members(2)
    names.lead(NAME, old.host)
    gate = before(gateway, names, old.port)
    passed(ask(gate))
    names.lead(NAME, new.host)
    old.kill()
    refused(ask(gate), 502, "upstream_unreachable")
    took = seconds_until(lambda: ask(gate).text == new.name, ASKED_SOON_S, "the new one")
    assert took < ASKED_SOON_S


def test_addresses_stay_in_use_while_nobody_knows_the_name(gateway, names, members):
    [member] = members(1)
    names.lead(NAME, member.host)
    gate = before(gateway, names, member.port)
    passed(ask(gate))
    names.forget(NAME)
    failures = lambda: gate.count("portcullis_upstream_lookup_failures_total")  # noqa: E731
    with Load(gate, clients=2) as load:
        wait_for(lambda: failures() >= 2, 2 * ASKED_AGAIN_S, "the resolver to fail twice")
        assert addresses(gate) == [member.host]
    assert load.answers and not load.failed(), load.failed()[:5]
    # A reload keeps them too, and so do connections that are new.
    gate.reload(gate.config.read_text() + "\n# Nothing new.\n")
    member.kill()
    member.start()
    with httpx.Client(base_url=gate.plain_url, trust_env=False) as client:
        assert client.get("/").text == member.name
    assert len(told(gate, "stay in use")) == 1
    assert told(gate, "stay in use")[0]["level"].lower() == "warn"
    warnings = gate.get("/api/status", door="admin").json()["warnings"]
    assert any(NAME in warning and "does not resolve" in warning for warning in warnings), warnings
    names.lead(NAME, member.host)
    wait_for(lambda: told(gate, "resolves again"), ASKED_AGAIN_S, "the name to be known")
    assert of_name(gate)["problem"] is None


def test_a_name_that_is_unknown_at_the_start_is_refused_with_words_and_found_when_it_appears(gateway, names, members):
    member, other = members(2)
    gate = before(gateway, names, member.port, OTHER, other=other.url)
    answer = ask(gate)
    assert "address is not known" in refused(answer, 502, "upstream_unreachable")["detail"]
    line = gate.access_line(answer)
    assert "does not resolve" in str(line) and NAME in str(line), line
    assert len(told(gate, "requests for it are refused until it does")) == 1
    for _ in range(10):
        answer = ask(gate)
        assert answer.status_code in (502, 503), answer
        passed(gate.get("/other/", door="plain"))
    refused(answer, 503, "upstream_down")
    assert "retry-after" in answer.headers
    names.lead(NAME, member.host)
    wait_for(lambda: ask(gate).status_code == 200, ASKED_SOON_S, "the app to be found")
    assert ask(gate).text == member.name


def test_requests_take_turns_at_the_addresses_of_a_name_and_pass_over_one_that_is_gone(gateway, names, members):
    three = members(3)
    names.lead(NAME, *(member.host for member in three))
    gate = before(gateway, names, three[0].port, keys="retries = 0\n")
    with Load(gate, clients=12) as load:
        wait_for(lambda: len(load.since()) == 3, 30, "all three to answer")
        assert addresses(gate) == [member.host for member in three]
        # Those under way at it are lost with it, where nothing is retried.
        names.lead(NAME, *(member.host for member in three[1:]))
        wait_for(lambda: len(addresses(gate)) == 2, ASKED_AGAIN_S, "two to be left")
        time.sleep(0.5)
        mark = len(load.answers)
        three[0].kill()
        wait_for(lambda: len(load.answers) > mark + 200, 10, "the two to go on")
        assert set(load.since(mark)) == {member.name for member in three[1:]}
        # An address at which nobody listens costs nobody an answer.
        names.lead(NAME, *(member.host for member in three))
        wait_for(lambda: len(addresses(gate)) == 3, ASKED_AGAIN_S, "three again")
        mark = len(load.answers)
        wait_for(lambda: len(load.answers) > mark + 200, 10, "the two to go on")
        three[0].start()
        wait_for(lambda: load.since(mark)[three[0].name] > 10, 90, "the third to get its share")
    assert not load.failed(), load.failed()[:5]
    assert gate.count("portcullis_upstream_server_up") == 1


def test_a_lookup_that_hangs_holds_up_nobody_else(gateway, names, members):
    member, other = members(2)
    names.lead(NAME, member.host)
    names.lead("other.test", other.host)
    names.hang(NAME)
    gate = before(gateway, names, member.port, OTHER, other=f"http://other.test:{other.port}")
    with httpx.Client(base_url=gate.plain_url, trust_env=False, timeout=10) as client, Load(gate, clients=3) as waiting:
        slowest = 0
        for _ in range(200):
            began = time.monotonic()
            assert client.get("/other/").text == other.name
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.02)
        # The time to connect is two seconds; who waited for the resolver took as long.
        assert slowest < 2, "another app waited for the resolver"
    assert {status for status, _ in waiting.answers} <= {502, 503}
    gate.reload(gate.config.read_text() + "\n# A reload begins no second question.\n")
    passed(gate.get("/other/", door="plain"))
    names.go_on(NAME)
    wait_for(lambda: ask(gate).status_code == 200, ASKED_AGAIN_S, "the app to be found")
    # Once it is known, no request waits for the resolver.
    names.hang(NAME)
    known = of_name(gate)["lookup_failures"]
    with Load(gate, clients=2) as load:
        wait_for(lambda: of_name(gate)["lookup_failures"] >= known + 2, 15, "two failures")
    assert load.answers and not load.failed(), load.failed()[:5]
    assert "did not answer within" in of_name(gate)["problem"]


def test_tls_verifies_the_name_at_whichever_address(gateway, names, tmp_path):
    authority, port = Authority(), free_port()
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    right = server_tls(*authority.issue_files(tmp_path, "right", common_name="right", names=[NAME]))
    wrong = server_tls(*authority.issue_files(tmp_path, "wrong", common_name="wrong", names=["127.0.0.4"]))
    with (
        RawUpstream(tls=right, host="127.0.0.2", port=port) as old,
        RawUpstream(tls=right, host="127.0.0.3", port=port) as new,
        RawUpstream(tls=wrong, host="127.0.0.4", port=port) as false,
    ):
        names.lead(NAME, old.host)
        keys = f'tls = {{ ca = "{tmp_path / "ca.pem"}" }}\nhost = "upstream"\neject = false\n'
        gate = before(gateway, names, port, keys=keys, scheme="https")
        passed(ask(gate))
        assert old.last.all("host") == [f"{NAME}:{port}"]
        names.lead(NAME, new.host)
        wait_for(lambda: addresses(gate) == [new.host], ASKED_AGAIN_S, "the new address")
        passed(ask(gate))
        assert (len(old.requests), len(new.requests)) == (1, 1)
        names.lead(NAME, false.host)
        wait_for(lambda: addresses(gate) == [false.host], ASKED_AGAIN_S, "the false one")
        refused(ask(gate), 502, "upstream_unreachable")
        assert not false.requests


def test_open_websockets_stay_where_they_are_and_new_ones_go_to_the_new_address(gateway, names):
    port = free_port()
    with WebSocketEcho(host="127.0.0.2", port=port) as old, WebSocketEcho(host="127.0.0.3", port=port) as new:
        names.lead(NAME, old.host)
        gate = before(gateway, names, port)
        with RawClient(gate.ports["plain"]) as first:
            shake(first)
            names.lead(NAME, new.host)
            wait_for(lambda: addresses(gate) == [new.host], ASKED_AGAIN_S, "the new address")
            with RawClient(gate.ports["plain"]) as second:
                shake(second)
                assert (len(old.handshakes), len(new.handshakes)) == (1, 1)
                # Longer than from one look at idle connections to the next.
                time.sleep(1)
                echo(first)
                echo(second)


def shake(socket):
    """Opens a WebSocket."""
    socket.send(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert b" 101 " in socket.read_until(b"\r\n\r\n")
    echo(socket)


def echo(socket):
    """Sends a frame and reads it back."""
    frame = b"\x81\x84\x00\x00\x00\x00word"
    socket.send(frame)
    assert socket.read_until(b"word") == frame


def test_checks_ask_at_the_address_that_the_name_has_now(gateway, names, members):
    well, ill = members(2)
    ill.mood = "ill"
    names.lead(NAME, well.host)
    health = 'health = { path = "/health", every = "300ms", timeout = "1s", healthy = 2, unhealthy = 2 }\n'
    gate = before(gateway, names, well.port, keys=health)
    wait_for(lambda: gate.count("upstream_checks_total", outcome="passed") > 2, 5, "checks")
    assert gate.count("upstream_checks_total", outcome="failed") == 0
    names.lead(NAME, ill.host)
    wait_for(lambda: ask(gate).status_code == 503, ASKED_AGAIN_S + 2, "it to be left out")
    ill.mood = "well"
    wait_for(lambda: ask(gate).status_code == 200, 5, "it to be back")
    assert ask(gate).text == ill.name


def test_doctor_looks_at_every_address_of_a_name(gateway, names, members):
    one, two = members(2)
    names.lead(NAME, one.host, two.host)
    gate = before(gateway, names, one.port)
    two.kill()
    found = gate.run_cli("doctor", "--json")
    assert one.host in found.out and two.host in found.out, found
    assert "the app listens on 1 of them" in found.out, found
