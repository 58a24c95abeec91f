"""Servers that fail are left out and come back: by what their requests say, and by checks."""

import signal
import time
from collections import Counter

import httpx
import pytest

from harness.certs import Authority
from harness.check import passed, refused
from harness.gateway import Gateway
from harness.members import Load, Member
from harness.ports import seconds_until, wait_for
from harness.upstreams import RawUpstream, server_tls

ROUTE = """
[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""
THREE = '[upstream.app]\nservers = ["{one}", "{two}", "{three}"]\n'
CHECKS = 'health = { path = "/health", every = "300ms", timeout = "1s", healthy = 2, unhealthy = 2 }\n'
SHORT = 'eject = { failures = 3, time = "1s" }\n'


@pytest.fixture
def three(tmp_path):
    """Three servers of one app."""
    members = []
    try:
        for name in ("one", "two", "three"):
            members.append(Member(tmp_path / name))
        yield members
    finally:
        for member in members:
            member.kill()


def before(gateway, members, keys) -> Gateway:
    """A gateway in front of the three."""
    return gateway(THREE + keys + ROUTE, **dict(zip(("one", "two", "three"), (one.url for one in members))))


def state(gate, member):
    """How a server stands, as the admin address says."""
    servers = gate.get("/api/status", door="admin").json()["servers"]
    return next(known["state"] for known in servers if known["server"] == member.url)


def told(gate, member, words):
    """The log lines about a server that hold these words."""
    lines = gate.log_lines()
    return [line for line in lines if line.get("server") == member.url and words in str(line)]


def up(gate, member):
    return gate.count("portcullis_upstream_server_up", server=member.url)


def test_a_server_killed_under_load_costs_nobody_an_answer_and_comes_back(gateway, three):
    gate = before(gateway, three, SHORT)
    lost = three[1]
    with Load(gate) as load:
        wait_for(lambda: len(load.since()) == 3, 5, "all three to answer")
        lost.kill()
        wait_for(lambda: state(gate, lost) == "ejected", 5, "it to be left out")
        mark = len(load.answers)
        assert up(gate, lost) == 0 and gate.count("upstream_server_up") == 2
        wait_for(lambda: len(load.answers) > mark + 100, 10, "the others to go on")
        assert load.since(mark)[lost.name] == 0
        lost.start()
        mark = len(load.answers)
        # Its time has doubled with each trial that failed meanwhile.
        wait_for(lambda: load.since(mark)[lost.name] > 5, 10, "it to come back")
        assert state(gate, lost) == "returning" and up(gate, lost) == 1
    assert not load.failed(), load.failed()[:5]
    assert len(told(gate, lost, "left out")) == 1 and len(told(gate, lost, "is back")) == 1
    assert gate.count("upstream_ejections_total", server=lost.url) >= 1
    assert "failures" in told(gate, lost, "left out")[0]


@pytest.mark.parametrize("checks", ["", CHECKS], ids=["by requests", "by checks"])
def test_with_every_server_dead_clients_hear_so_at_once_and_the_app_is_back_by_itself(gateway, three, checks):
    gate = before(gateway, three, 'eject = { failures = 3, time = "10s" }\n' + checks)
    passed(gate.get("/", door="plain"))
    for member in three:
        member.kill()

    def all_out():
        gate.get("/", door="plain")
        return not any(up(gate, member) for member in three)

    wait_for(all_out, 10, "all to be left out")
    slow = []
    for _ in range(30):
        began = time.monotonic()
        answer = gate.get("/", door="plain")
        slow.append(time.monotonic() - began)
        # Now and then one goes to see whether a server is there again.
        assert answer.status_code in (502, 503)
        if answer.status_code == 503:
            refused(answer, 503, "upstream_down")
            assert int(answer.headers["retry-after"]) >= 1
    assert sorted(slow)[-4] < 0.05, slow
    assert gate.get("/", door="plain").status_code in (502, 503)
    for member in three:
        member.start()
    back = lambda: gate.get("/", door="plain").status_code == 200  # noqa: E731
    assert seconds_until(back, 10, "the app to be back") < 2
    wait_for(lambda: {gate.get("/", door="plain").text for _ in range(30)} == {m.name for m in three}, 25, "all of them")


def test_a_server_whose_check_says_503_gets_no_request_until_it_is_well(gateway, three):
    gate = before(gateway, three, 'balance = "round-robin"\n' + CHECKS)
    ill = three[2]
    wait_for(lambda: gate.count("checks_total", server=ill.url, outcome="passed"), 5, "its first check")
    ill.mood = "ill"
    wait_for(lambda: state(gate, ill) == "down", 5, "it to be left out")
    names = Counter(gate.get("/", door="plain").text for _ in range(40))
    assert set(names) == {three[0].name, three[1].name}
    assert gate.count("upstream_checks_total", server=ill.url, outcome="failed") >= 2
    page = gate.get("/", door="admin").text
    assert "OUT: down (its answer was 503)" in page
    ill.mood = "well"
    took = seconds_until(lambda: state(gate, ill) == "returning", 5, "it to come back")
    assert took < 2, "two checks in a row, 0.3 s apart"
    assert ill.name in {gate.get("/", door="plain").text for _ in range(40)}
    (out,), (back,) = told(gate, ill, "left out"), told(gate, ill, "is back")
    assert "its answer was 503" in str(out) and "passes its checks" in str(back)


def test_a_server_that_hangs_is_found_by_its_checks(gateway, three):
    gate = before(gateway, three, 'balance = "round-robin"\n' + CHECKS)
    hung = three[1]
    assert len({gate.get("/", door="plain").text for _ in range(9)}) == 3
    hung.process.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: state(gate, hung) == "down", 8, "it to be left out")
        (line, *_) = wait_for(lambda: told(gate, hung, "left out"), 5, "the log to tell")
        assert "no answer within 1s" in str(line)
        began = time.monotonic()
        for _ in range(30):
            passed(gate.get("/", door="plain"))
        assert time.monotonic() - began < 2
    finally:
        hung.process.send_signal(signal.SIGCONT)
    wait_for(lambda: state(gate, hung) == "returning", 8, "it to come back")


def test_a_server_that_flaps_is_left_out_for_longer_each_time(gateway, three):
    gate = before(gateway, three, 'eject = { failures = 3, time = "400ms" }\n')
    flapping = three[0]
    flapping.mood = "broken"
    with Load(gate, clients=3) as load:
        wait_for(lambda: gate.count("ejections_total", server=flapping.url) >= 3, 10, "three ejections")
        flapping.mood = "well"
        wait_for(lambda: state(gate, flapping) == "returning", 10, "it to come back")
        flapping.mood = "broken"
        again = wait_for(lambda: told(gate, flapping, "left out")[1:], 15, "it to be left out again")
    assert not load.failed(), "idempotent requests go elsewhere"
    assert again[0]["time"] == "3.2s", "remembered: 0.4, 0.8, 1.6 and now 3.2 s"


def test_one_server_alone_is_answered_for_and_found_again(gateway, tmp_path):
    member = Member(tmp_path / "only")
    try:
        gate = gateway(f'[upstream.app]\nservers = ["{member.url}"]\n' + ROUTE)
        member.mood = "broken"
        for _ in range(12):
            refused(gate.get("/", door="plain"), 502, "upstream_unreachable")
        assert state(gate, member) == "in", "it takes connections, and there is nowhere else to go"
        member.kill()
        codes = [gate.get("/", door="plain") for _ in range(8)]
        assert [answer.status_code for answer in codes[:3]] == [502] * 3
        refused(codes[-1], 503, "upstream_down")
        member.mood = "well"
        member.start()
        back = lambda: gate.get("/", door="plain").status_code == 200  # noqa: E731
        assert seconds_until(back, 5, "it to be found again") < 2
    finally:
        member.kill()


def test_retries_never_double_the_load(gateway):
    with RawUpstream(answer=lambda _: None) as one, RawUpstream(answer=lambda _: None) as two:
        servers = f'[upstream.app]\nservers = ["{one.url}", "{two.url}"]\neject = false\n'
        gate = gateway(servers + ROUTE)
        began = time.monotonic()
        for _ in range(150):
            refused(gate.get("/", door="plain"), 502, "upstream_unreachable")
        seconds = time.monotonic() - began
        retries = gate.count("upstream_retries_total")
        assert 50 <= retries <= 50 + 150 / 5 + 5 * seconds + 1
        assert gate.count("retries_withheld_total") == 150 - retries
        assert len(one.requests) + len(two.requests) == 150 + retries


def test_a_check_goes_the_way_that_requests_go_and_says_who_asks(gateway, tmp_path):
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    pair = authority.issue_files(tmp_path, "app", common_name="app", names=["127.0.0.1"])
    with RawUpstream(tls=server_tls(*pair)) as safe, RawUpstream(unix=tmp_path / "app.sock") as near:
        toml = """
[upstream.app]
servers = ["{safe}"]
health = { path = "/up?deep=1", every = "200ms", host = "app.example" }
tls = { ca = "{folder}/ca.pem" }
[upstream.near]
servers = ["unix:{folder}/app.sock"]
health = { path = "/up", every = "200ms" }
"""
        gate = gateway(toml + ROUTE, folder=tmp_path, safe=safe.url)
        wait_for(lambda: len(safe.requests) > 1 and len(near.requests) > 1, 5, "checks")
        assert safe.last.request_line == "GET /up?deep=1 HTTP/1.1" and safe.last.all("host") == ["app.example"]
        assert near.last.request_line == "GET /up HTTP/1.1" and near.last.all("host") == ["localhost"]
        for asked in (safe.last, near.last):
            assert asked.all("connection") == ["close"]
            assert asked.all("user-agent")[0].startswith("portcullis-check/")
        assert gate.count("checks_total", outcome="failed") == 0


def test_a_reload_forgets_nothing_about_servers_that_stay_and_ends_the_checks_of_others(gateway, tmp_path):
    ill = b"HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n"
    health = 'health = { path = "/up", every = "200ms", healthy = 50 }\n'
    with RawUpstream() as well, RawUpstream(answer=ill) as other, RawUpstream() as third:
        def file(*servers):
            listed = ", ".join(f'"{server.url}"' for server in servers)
            return f'[upstream.app]\nservers = [{listed}]\n{health}' + ROUTE

        gate = gateway(file(well, other))
        wait_for(lambda: gate.count("server_up", server=other.url) == 0, 5, "it to be left out")
        gate.reload(file(well, other, third))
        assert gate.count("server_up", server=other.url) == 0 and gate.count("server_up") == 2
        gate.reload(file(third))
        time.sleep(0.3)
        asked = len(well.requests), len(other.requests)
        time.sleep(0.6)
        assert (len(well.requests), len(other.requests)) == asked
