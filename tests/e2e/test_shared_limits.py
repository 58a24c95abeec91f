"""Rate limits that several gateways count together: one budget, in Redis and in PostgreSQL, and what holds without them."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.check import passed
from harness.limits import SERVER, ask, over, standing, statuses
from harness.ports import wait_for
from harness.raw import over_plain
from harness.tokens import bearer, simplejwt

SHARED = """
[session]
store = { env = "SESSION_STORE" }

[rate_limit.login]
limit = "10/h"
burst = 30
shared = true

[rate_limit.each-user]
limit = "10/h"
burst = 3
per = "user"
shared = true

[rate_limit.soon]
limit = "1/s"
burst = 2
shared = true

[rate_limit.own]
limit = "10/h"
burst = 3

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }

[[route]]
path = "/login"
auth = "public"
rate_limit = "login"
respond = { status = 200, body = "in" }

[[route]]
path = "/soon"
auth = "public"
rate_limit = "soon"
respond = { status = 200, body = "soon" }

[[route]]
path = "/mine"
auth = ["token"]
rate_limit = "each-user"
respond = { status = 200, body = "mine" }

[[route]]
path = "/own"
auth = "public"
rate_limit = "own"
respond = { status = 200, body = "own" }
"""


# What the log says once.
ALONE = "counted at this gateway alone until the store of [session] answers"


@pytest.fixture(scope="module", params=["redis", "postgres"])
def store(request):
    """The store's server, with `address`."""
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        server.address = server.url("limits")
    else:
        server = request.getfixturevalue("postgres")
        server.address = server.url("limits_app", server.database("limits").name)
    return server


@pytest.fixture(scope="module")
def three(store, module_gateway):
    """Three gateways on the store; warm."""
    gates = [module_gateway(SERVER + SHARED, env={"SESSION_STORE": store.address}) for _ in range(3)]
    for number, gate in enumerate(gates):
        wait_for(lambda gate=gate, number=number: is_warm(gate, number), 30, "the store")
    return gates


def is_warm(gate, number):
    """Whether a crowd is counted in the store: connections to it are open."""
    before = alone(gate)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda each: ask(gate, "/login", f"198.51.{number}.{each}"), range(60)))
    return alone(gate) == before


def counted_together(gate, address):
    """Whether one more request is counted in the store."""
    before = alone(gate)
    passed(ask(gate, "/login", address))
    return alone(gate) == before


def alone(gate, limit="login"):
    return gate.count("rate_limit_counted_alone_total", limit=limit)


def together(gates, work):
    """What came of `work(number)` where the store was asked each time: a busy machine may be late once."""
    for number in range(5):
        before = [alone(gate, limit) for gate in gates for limit in ("login", "soon", "each-user")]
        told = work(number)
        if [alone(gate, limit) for gate in gates for limit in ("login", "soon", "each-user")] == before:
            return told
        time.sleep(2)
    raise AssertionError("the store is never in time")


@pytest.mark.parametrize("many", [2, 3])
def test_gateways_with_one_store_share_one_budget_exactly(three, many):
    gates = three[:many]

    def crowd(address):
        request = f"GET /login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 203.0.{many}.{address}\r\n\r\n"

        def one(number):
            with over_plain(gates[number % many]) as raw:
                raw.send(request.encode())
                answer = raw.answer()
                return answer.status, int(answer.headers["ratelimit-remaining"])

        with ThreadPoolExecutor(20) as pool:
            return list(pool.map(one, range(90)))

    answers = together(gates, crowd)
    assert sorted(status for status, _ in answers) == [200] * 30 + [429] * 60
    assert sorted(left for status, left in answers if status == 200) == list(range(30))


def test_what_a_client_is_told_is_true_of_all_gateways(three):
    told = together(three, lambda number: [ask(gate, "/login", f"203.0.110.{number}") for gate in three])
    for left, answer in zip((29, 28, 27), told, strict=True):
        most, remaining, reset = standing(passed(answer))
        assert (most, remaining) == (30, left)
        assert 360 * (30 - left) - 10 <= reset <= 360 * (30 - left)


def test_a_user_has_one_budget_at_all_gateways_and_a_network_of_64_bits_too(three):
    def user(number):
        token, other = bearer(simplejwt(user_id=f"{number}71")), bearer(simplejwt(user_id=f"{number}72"))
        answers = [ask(gate, "/mine", "203.0.113.12", token) for gate in three]
        return [*answers, ask(three[0], "/mine", "203.0.113.12", other), ask(three[0], "/mine", "203.0.113.13", token)]

    *answers, last = together(three, user)
    assert statuses(answers) == [200] * 4
    over(last)

    def network(number):
        return [ask(three[each % 3], "/login", f"2001:db8:2:{number}::{each:x}") for each in range(31)]

    *answers, last = together(three, network)
    assert statuses(answers) == [200] * 30
    over(last)


def test_a_limit_that_is_not_shared_is_each_gateways_own_beside_it(three):
    for gate in three:
        assert statuses(ask(gate, "/own", "203.0.113.14") for _ in range(4)) == [200] * 3 + [429]


def test_without_the_store_each_gateway_counts_alone_and_no_request_waits(three, store):
    gates = three[:2]
    wait_for(lambda: all(is_warm(gate, number + 20) for number, gate in enumerate(gates)), 30, "the store")
    for number in range(20):
        passed(ask(gates[number % 2], "/login", "203.0.113.20"))
    before, said = [alone(gate) for gate in gates], [gate.output().count(ALONE) for gate in gates]
    with store.down():
        began = time.monotonic()
        for gate in gates:
            # Each goes on from the ten that it saw itself.
            answers = [ask(gate, "/login", "203.0.113.20") for _ in range(25)]
            assert statuses(answers) == [200] * 20 + [429] * 5
            assert 350 <= over(answers[-1]) <= 360
        assert time.monotonic() - began < 8
        assert [alone(gate) - was for gate, was in zip(gates, before, strict=True)] == [25, 25]
        for gate, was in zip(gates, said, strict=True):
            assert gate.output().count(ALONE) == was + 1, "one line, however many requests"
            assert gate.ready(), "a gateway that counts alone serves"
    for number, gate in enumerate(gates):
        wait_for(lambda gate=gate, number=number: counted_together(gate, f"198.51.100.{number + 10}"), 10, "the store")
        wait_for(lambda gate=gate: "over all gateways again" in gate.output(), 5, "the log")


def test_a_store_that_hangs_holds_no_request_up(three, store):
    gate = three[2]
    with store.frozen():
        times = []
        for _ in range(40):
            began = time.monotonic()
            passed(ask(gate, "/login", f"203.0.113.{100 + len(times)}"))
            times.append(time.monotonic() - began)
    assert max(times) < 1.5, max(times)
    assert sorted(times)[30] < 0.1, "nearly all are counted without asking"
    wait_for(lambda: counted_together(gate, "198.51.100.30"), 10, "the store")


def test_the_store_holds_no_address_and_no_name_and_forgets_by_itself(module_gateway, redis_server):
    gate = module_gateway(SERVER + SHARED, env={"SESSION_STORE": redis_server.url("limits-kept")})
    client = redis_server.client("limits-kept")
    wait_for(lambda: counted_together(gate, "203.0.113.30"), 10, "the store")
    passed(ask(gate, "/mine", "203.0.113.30", bearer(simplejwt(user_id="tara-of-the-users"))))
    keys = client.keys("*")
    assert len(keys) >= 2
    for key in keys:
        assert key.startswith(b"portcullis:limit:") and len(key) == 39
        assert b"203" not in client.get(key)[:3] and 0 < client.pttl(key) <= 30 * 360_000
    assert b"tara" not in b"".join(keys) + b"".join(client.mget(keys))
    passed(ask(gate, "/soon", "203.0.113.31"))
    there = len(client.keys("*"))
    wait_for(lambda: len(client.keys("*")) < there, 5, "the account that is whole to go")


def test_a_flood_of_addresses_takes_no_memory_here_and_little_there(module_gateway, redis_server):
    gate = module_gateway(SERVER + SHARED, env={"SESSION_STORE": redis_server.url("limits-flood")})
    client = redis_server.client("limits-flood")

    def flood(network):
        with over_plain(gate) as raw:
            for number in range(1_500):
                address = f"198.{network}.{number >> 8}.{number & 255}"
                raw.send(f"GET /login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n\r\n".encode())
                assert raw.answer().status == 200

    flood(18)
    before, there, keys = gate.rss_kib(), client.info("memory")["used_memory"], client.dbsize()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(flood, (19, 20)))
    assert gate.rss_kib() - before < 4 * 1024
    more = client.dbsize() - keys
    assert more >= 2_900 and more + alone(gate) >= 3_000
    assert (client.info("memory")["used_memory"] - there) / more < 250
    client.flushdb()
