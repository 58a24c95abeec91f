"""Certificates by ACME for several gateways: one orders, in Redis and in PostgreSQL, and all of them serve and answer."""

import base64
import contextlib
import datetime
import itertools
import json
import shutil
import threading
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from harness.acme import Front, pebble, shake
from harness.ports import free_port, wait_for

NAMES = ["app.example", "www.app.example"]
SECRET = "all-gateways-have-this-and-nobody-else"

TOML = """
[server]
https = "127.0.0.1:{https}"
http = "127.0.0.1:{http}"
admin = "127.0.0.1:{admin}"

[server.timeouts]
drain = "5s"

[session]
store = { env = "SESSION_STORE" }

[tls.acme]
domains = {names}
directory = "{directory}"
ca = "{ca}"
challenge = "{challenge}"
shared = true
secret = { env = "ACME_SECRET" }

[[route]]
path = "/{*rest}"
auth = "public"
respond = { status = 200, body = "here" }
"""

NUMBER = itertools.count()
DOES_NOT_OPEN = "in the store of [session] does not open"
OUT = "what all gateways have by ACME cannot be had"


class RedisStore:
    """A database of a Redis, empty."""

    def __init__(self, server):
        self.server, self._name = server, f"acme-{next(NUMBER)}"
        self.address = server.url(self._name)

    def things(self):
        """What is kept, by its key."""
        with self.server.client(self._name) as client:
            return {key: client.get(key) for key in client.keys("portcullis:shelf:*")}

    def put(self, key, thing):
        with self.server.client(self._name) as client:
            client.set(key, thing)

    def lose(self):
        with self.server.client(self._name) as client:
            client.flushdb()


class PostgresStore:
    """A database of a PostgreSQL, empty."""

    def __init__(self, server):
        self.server, self.name = server, f"acme{next(NUMBER)}"
        server.database(self.name)
        self.address = server.url(f"{self.name}_app", self.name)

    def things(self):
        found = self.server.execute("SELECT key, thing FROM portcullis.shelf", database=self.name)
        return {bytes(key): bytes(thing) for key, thing in found}

    def put(self, key, thing):
        self.server.execute("UPDATE portcullis.shelf SET thing = %s WHERE key = %s", (thing, key), self.name)

    def lose(self):
        self.server.execute("DELETE FROM portcullis.shelf", database=self.name)


@pytest.fixture(params=["redis", "postgres"])
def store(request):
    """A store of the test's own: `address`, `things()`, `put()`, `server`."""
    if request.param == "redis":
        return RedisStore(request.getfixturevalue("redis_server"))
    return PostgresStore(request.getfixturevalue("postgres"))


@pytest.fixture
def redis_store(redis_server):
    return RedisStore(redis_server)


@pytest.fixture
def postgres_store(postgres):
    return PostgresStore(postgres)


class Fleet:
    """A CA that looks at one gateway's doors, and gateways on one store."""

    def __init__(self, tmp_path_factory, gateway, **options):
        # Where the CA looks.
        self.doors = {"https": free_port(), "http": free_port()}
        self.ca = pebble(tmp_path_factory.mktemp("pebble"), self.doors["https"], self.doors["http"], **options)
        self.front = Front(self.ca, tmp_path_factory.mktemp("front"))
        self.trust = self.ca.trust()
        self._gateway = gateway

    def close(self):
        self.ca.stop()
        self.front.close()

    def start(self, store, challenge="tls-alpn-01", looked_at=False, toml=TOML, secret=SECRET, **places):
        """One more gateway; the CA looks at the doors of that with `looked_at`."""
        doors = self.doors if looked_at else {}
        env = {"SESSION_STORE": store.address, "ACME_SECRET": secret}
        return self._gateway(toml, env=env, names=json.dumps(NAMES), directory=self.front.directory,
                             ca=self.front.ca_file, challenge=challenge, **doors, **places)  # fmt: skip

    def serial(self, gate, name=NAMES[0]):
        """Of what a gateway serves; `None` where handshakes are refused."""
        with contextlib.suppress(OSError):
            return shake(gate.ports["https"], name, self.trust)[0].serial_number
        return None

    def same(self, gates, other_than=None):
        """The serial that all serve, where they serve the same."""
        serials = {self.serial(gate) for gate in gates}
        return serials.pop() if len(serials) == 1 and not serials & {None, other_than} else None


@pytest.fixture
def fleet(tmp_path_factory, gateway):
    """`fleet(...) -> Fleet`, taken down after the test."""
    made = []

    def make(**options):
        made.append(Fleet(tmp_path_factory, gateway, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def lines(gate, words):
    return [line for line in gate.log_lines() if words in line.get("message", "") + line.get("problem", "")]


def ordered(gate):
    return len(lines(gate, "ordering a certificate"))


def issued(gates):
    return sum(gate.count("portcullis_acme_orders_total", outcome="issued") for gate in gates)


def secrets_of(gate):
    """Every form of the private keys that a gateway has in its folder."""
    (cert,) = (gate.folder / "acme").glob("*/*.pem")
    (account,) = (gate.folder / "acme").glob("*/account.json")
    key = load_pem_private_key(cert.read_bytes(), None)
    number = key.private_numbers().private_value.to_bytes(32, "big")
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    text = json.loads(account.read_text())["credentials"]["key_pkcs8"]
    return [b"PRIVATE KEY", b"CERTIFICATE", number, number.hex().encode(), pkcs8, pkcs8[-40:], base64.b64encode(pkcs8)[:60],
            text.encode(), base64.urlsafe_b64decode(text + "=="), SECRET.encode()]  # fmt: skip


def test_three_gateways_order_once_and_what_the_store_has_is_sealed(fleet, store):
    fleet = fleet()
    gates = [fleet.start(store, looked_at=number == 0) for number in range(3)]
    serial = wait_for(lambda: fleet.same(gates), 60, "one certificate at all gateways")
    assert fleet.front.orders() == 1 and fleet.front.accounts() == 1
    assert issued(gates) == sum(map(ordered, gates)) == 1
    orderer = next(gate for gate in gates if ordered(gate))
    things = store.things()
    assert len(things) == 2, things.keys()
    for secret in secrets_of(orderer):
        for key, thing in things.items():
            assert secret not in thing and secret not in (key if isinstance(key, bytes) else key.encode())
        assert all(secret.decode("latin-1") not in gate.output() for gate in gates)
    # One that starts with an empty disk has it without an order, whether the CA is there or not.
    with fleet.ca.down():
        gates[1].stop()
        shutil.rmtree(gates[1].folder / "acme")
        gates[1].start()
        wait_for(lambda: fleet.serial(gates[1]) == serial, 15, "the certificate of the store")
        assert list((gates[1].folder / "acme").glob("*/*.pem")), "a copy is kept"
        # And serves what it has where the store is not there either.
        gates[1].stop()
        with store.server.down():
            gates[1].start(wait=False)
            wait_for(lambda: fleet.serial(gates[1]) == serial, 15, "its own copy")
    assert fleet.front.orders() == 1


@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
def test_a_gateway_that_does_not_order_answers_the_ca(fleet, store, challenge):
    fleet = fleet()
    fleet.front.hold = threading.Event()
    first = fleet.start(store, challenge)
    wait_for(lambda: ordered(first), 15, "the order of the first")
    second = fleet.start(store, challenge, looked_at=True)
    fleet.front.hold.set()
    wait_for(lambda: fleet.same([first, second]), 60, "one certificate at both")
    assert ordered(first) == 1 and ordered(second) == 0 and fleet.front.orders() == 1
    # Nothing is left of the answers.
    assert len(store.things()) == 2
    wait_for(lambda: not shows(second), 10, "the end of the answers")


def shows(gate):
    """Whether it answers a handshake that only looks."""
    from harness.acme import anyone

    with contextlib.suppress(OSError):
        return shake(gate.ports["https"], NAMES[0], anyone(), alpn=["acme-tls/1"])[1] == "acme-tls/1"
    return False


def test_another_gateway_takes_over_from_one_that_is_killed_while_it_orders(fleet, store):
    fleet = fleet()
    fleet.front.hold = threading.Event()
    first = fleet.start(store)
    wait_for(lambda: ordered(first), 15, "the order of the first")
    others = [fleet.start(store, looked_at=number == 0) for number in range(2)]
    time.sleep(7)
    assert sum(map(ordered, others)) == 0
    first.kill()
    fleet.front.hold.set()
    wait_for(lambda: fleet.same(others), 75, "a certificate at the others")
    assert sum(map(ordered, others)) == issued(others) == 1
    # With the account that the first had made; and that one takes what they got when it is back.
    assert fleet.front.accounts() == 1
    first.start()
    wait_for(lambda: fleet.same([first, *others]), 20, "the same certificate at the first")
    assert sum(map(ordered, [first, *others])) == 2


def test_one_that_stops_while_it_orders_gives_its_turn_back(fleet, redis_store):
    fleet = fleet()
    fleet.front.hold = threading.Event()
    first = fleet.start(redis_store)
    wait_for(lambda: ordered(first), 15, "the order of the first")
    second = fleet.start(redis_store, looked_at=True)
    first.stop()
    wait_for(lambda: ordered(second), 15, "the order of the second")
    fleet.front.hold.set()
    wait_for(lambda: fleet.serial(second), 30, "a certificate")


def test_a_renewal_is_one_for_all(fleet, postgres_store):
    fleet = fleet(life=45)
    gates = [fleet.start(postgres_store, looked_at=number == 0) for number in range(3)]
    before = wait_for(lambda: fleet.same(gates), 40, "one certificate at all gateways")
    assert fleet.front.orders() == 1
    wait_for(lambda: fleet.same(gates, other_than=before), 60, "the next one at all gateways")
    assert fleet.front.orders() == 2 and issued(gates) == sum(map(ordered, gates)) == 2


def test_a_ca_that_said_no_to_one_is_left_alone_by_all(fleet, store):
    fleet = fleet()
    problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates"}
    fleet.front.refusal = (429, [("Retry-After", "7200")], problem)
    gates = [fleet.start(store) for _ in range(3)]

    def state(gate):
        return gate.get("/api/status", door="admin").json()["acme"]

    def known():
        return all("too many certificates" in (state(gate)["problem"] or "") for gate in gates)

    wait_for(known, 40, "the CA's word at all gateways")
    for gate in gates:
        left = datetime.datetime.fromisoformat(state(gate)["next"]) - datetime.datetime.now(datetime.timezone.utc)
        assert 6900 < left.total_seconds() < 7300, left
    time.sleep(6)
    assert fleet.front.orders() == 1 == sum(map(ordered, gates))
    # Nor does one that is new ask.
    fleet.front.refusal = None
    fourth = fleet.start(store)
    gates.append(fourth)
    wait_for(known, 20, "the CA's word at a new gateway")
    assert fleet.front.orders() == 1 and ordered(fourth) == 0


def test_changed_bytes_are_refused_and_told_and_what_serves_goes_on(fleet, redis_store):
    fleet, store = fleet(), redis_store
    gates = [fleet.start(store, looked_at=number == 0) for number in range(2)]
    serial = wait_for(lambda: fleet.same(gates), 60, "one certificate at both gateways")
    things = store.things()
    # The certificate is the larger of both.
    (account, small), (certificate, large) = sorted(things.items(), key=lambda item: len(item[1]))
    changed = bytes([*large[:100], large[100] ^ 1, *large[101:]])
    for thing in (changed, small, large[:50], b"", b"\x01", b"-----BEGIN PRIVATE KEY-----", b"\x00" * 300_000):
        store.put(certificate, thing)
        time.sleep(3.5)
    for gate in gates:
        assert fleet.serial(gate) == serial and lines(gate, DOES_NOT_OPEN), gate.output()[-3000:]
        assert len(lines(gate, DOES_NOT_OPEN)) <= 6
    store.put(certificate, large)
    for gate in gates:
        wait_for(lambda gate=gate: lines(gate, "is there again"), 20, "that it is well again")
    assert fleet.front.orders() == 1 and all(fleet.serial(gate) == serial for gate in gates)


def test_without_the_store_nothing_is_ordered_and_it_is_told_once(fleet, store):
    fleet = fleet()
    with store.server.down():
        gate = fleet.start(store, looked_at=True)
        wait_for(lambda: lines(gate, OUT), 15, "a word in the log")
        time.sleep(8)
        assert len([line for line in lines(gate, "nothing is ordered until it does") if line["level"] == "WARN"]) <= 2
        assert ordered(gate) == 0 and not fleet.front.asked
        problem = gate.get("/api/status", door="admin").json()["acme"]["problem"]
        assert "the store of [session] gives no answer" in problem, problem
    wait_for(lambda: fleet.serial(gate), 60, "a certificate once the store is there")
    wait_for(lambda: gate.get("/api/status", door="admin").json()["acme"]["problem"] is None, 15, "no problem")
    assert fleet.front.orders() == 1
    serial = fleet.serial(gate)
    with store.server.frozen():
        time.sleep(5)
        assert fleet.serial(gate) == serial
    # What a store lost is put there again by who has it.
    store.lose()
    wait_for(lambda: len(store.things()) >= 1, 20, "the certificate in the store again")
    other = fleet.start(store)
    wait_for(lambda: fleet.serial(other) == serial, 20, "the same certificate at another")
    assert fleet.front.orders() == 1


def test_a_certificate_from_before_they_shared_is_taken_over(fleet, redis_store):
    fleet = fleet()
    alone = TOML.replace("shared = true\n", "").replace('secret = { env = "ACME_SECRET" }\n', "")
    first = fleet.start(redis_store, looked_at=True, toml=alone)
    serial = wait_for(lambda: fleet.serial(first), 40, "a certificate")
    assert not redis_store.things()
    first.reload(TOML)
    second = fleet.start(redis_store)
    wait_for(lambda: fleet.same([first, second]) == serial, 30, "the same at both")
    assert fleet.front.orders() == 1 and fleet.front.accounts() == 1


def test_another_secret_opens_nothing_and_a_list_changes_it_without_an_order(fleet, redis_store):
    fleet = fleet()
    first = fleet.start(redis_store, looked_at=True)
    serial = wait_for(lambda: fleet.serial(first), 40, "a certificate")
    both = TOML.replace("secret = {", 'secret = [{ env = "NEW_SECRET" }, {').replace('"ACME_SECRET" }', '"ACME_SECRET" }]')
    second = fleet._gateway(both, env={"SESSION_STORE": redis_store.address, "ACME_SECRET": SECRET, "NEW_SECRET": "n" * 40},
                            names=json.dumps(NAMES), directory=fleet.front.directory, ca=fleet.front.ca_file,
                            challenge="tls-alpn-01")  # fmt: skip
    wait_for(lambda: fleet.serial(second) == serial, 20, "what the older secret opens")
    fleet.front.hold = threading.Event()
    third = fleet.start(redis_store, secret="x" * 40)
    wait_for(lambda: lines(third, DOES_NOT_OPEN), 15, "a word in the log")
    assert fleet.serial(third) is None and SECRET not in third.output() and "x" * 40 not in third.output()
    assert fleet.serial(first) == serial
    fleet.front.hold.set()
