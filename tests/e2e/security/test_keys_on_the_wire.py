"""Catalogue 59 to 63: where keys come from, and what happens when that is broken, slow, or lies."""

import concurrent.futures
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from harness.certs import ec_key, ed_key, rsa_key
from harness.ports import wait_for
from harness.tokens import b64, public_jwk, signed
from harness.upstreams import JwksServer, Listener, RawUpstream, read_head
from security.credentials import bearer
from security.wire import refused, table

ROUTES = """
[upstream.app]
servers = ["{app}"]
timeouts = { connect = "1s", response = "2s" }
retries = 0

[auth.token]
type = "jwt"
algorithms = ["RS256", "ES256", "EdDSA"]
jwks = "{jwks}"
jwks_refresh = "{refresh}"

[[route]]
path = "/open/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/me/{*rest}"
upstream = "app"
auth = ["token"]
"""
OLD, NEW = ec_key(), ec_key()


def ask(front, value):
    return front.request(target="/me/x", headers=[bearer(value)])


@table(59, ["down", "error", "garbage", "empty", "huge", "slow"])
def test_without_keys_nothing_arrives_and_open_routes_are_served_at_once(start, case):
    with JwksServer(public_jwk(OLD, "old", "ES256"), mode=case) as server:
        front = start(ROUTES, jwks=server.jwks_url, refresh="1s")
        began = time.monotonic()
        front.probe()
        assert time.monotonic() - began < 1
        value = signed(OLD, "ES256", kid="old")
        outcome = front.send(f"GET /me/x HTTP/1.1\r\nHost: localhost\r\n{bearer(value)}\r\n\r\n".encode(), longest=11)
        assert outcome.status == 503 and outcome.arrived == [] and outcome.final[0].code == "auth_unavailable", outcome
        if case != "slow":
            server.mode = "ok"
            wait_for(lambda: ask(front, value).status == 200, 15, "the keys to be fetched again", every=0.25)


def test_60_a_key_that_was_replaced_under_its_own_id_is_refused(start):
    """The same kid with another key: a token of the old key, verified before, must not live on."""
    with JwksServer(public_jwk(OLD, "one", "ES256")) as server:
        front = start(ROUTES, jwks=server.jwks_url, refresh="1s")
        value = signed(OLD, "ES256", kid="one")
        wait_for(lambda: ask(front, value).status == 200, 5, "the first key")
        server.keys[:] = [public_jwk(NEW, "one", "ES256")]
        wait_for(lambda: ask(front, value).status == 401, 6, "the replaced key to be refused", every=0.2)
        assert ask(front, signed(NEW, "ES256", kid="one")).status == 200


def test_61_forty_unknown_ids_at_once_cost_one_fetch_and_150_cost_two(start):
    with JwksServer(public_jwk(OLD, "old", "ES256")) as server:
        front = start(ROUTES, jwks=server.jwks_url, refresh="10m")
        wait_for(lambda: ask(front, signed(OLD, "ES256", kid="old")).status == 200, 5, "the first keys")
        before = server.fetches

        def one(number):
            with front.connect() as client:
                client.send(
                    f"GET /me/x HTTP/1.1\r\nHost: localhost\r\n{bearer(signed(OLD, 'ES256', kid=f'made-up-{number}'))}\r\n\r\n".encode()
                )
                return client.answer().status

        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            assert set(pool.map(one, range(40))) == {401}
            assert server.fetches - before <= 1
            assert set(pool.map(one, range(40, 150))) == {401}
        assert server.fetches - before <= 2
        assert ask(front, signed(OLD, "ES256", kid="old")).status == 200
        assert [r.target for r in front.upstream.requests if r.target == "/me/x"] == ["/me/x"] * 2


def weak_rsa():
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


def bad_members():
    """Members that must be left out, each with a token that it would verify."""
    weak, good, other = weak_rsa(), ec_key(), ec_key()
    shared = public_jwk(good, "x", "ES256")
    secret = b"0123456789abcdef0123456789abcdef"
    return {
        "oct": ({"kty": "oct", "kid": "x", "k": b64(secret), "alg": "HS256"}, None),
        "rsa-1024": (public_jwk(weak, "x", "RS256"), (weak, "RS256")),
        "use-enc": ({**shared, "use": "enc"}, (good, "ES256")),
        "key-ops": ({**{k: v for k, v in shared.items() if k != "use"}, "key_ops": ["encrypt"]}, (good, "ES256")),
        "alg-other": ({**shared, "alg": "ES384"}, (good, "ES256")),
        "off-curve": ({**shared, "y": b64(bytes(31) + b"\x01")}, (good, "ES256")),
        "no-kty": ({k: v for k, v in shared.items() if k != "kty"}, (good, "ES256")),
        "x-short": ({**shared, "x": "AA"}, (good, "ES256")),
        "curve-other": ({**shared, "crv": "P-521"}, (good, "ES256")),
        "not-an-object": ("text", (good, "ES256")),
        "null": (None, (good, "ES256")),
        "other-key": (public_jwk(other, "x", "ES256"), (good, "ES256")),
        "kid-number": ({**shared, "kid": 7}, (good, "ES256")),
        "infinity": (
            {"kty": "EC", "crv": "P-256", "kid": "x", "x": b64(bytes(32)), "y": b64(bytes(32))},
            (good, "ES256"),
        ),
        "ed-short": ({"kty": "OKP", "crv": "Ed25519", "kid": "x", "x": b64(bytes(31))}, (ed_key(), "EdDSA")),
        "private": ({**shared, "d": "AAAA", "x": 7}, (good, "ES256")),
        "rsa-e-1": ({**public_jwk(rsa_key(), "x", "RS256"), "e": "AQ"}, (rsa_key(), "RS256")),
        "x25519": ({"kty": "OKP", "crv": "X25519", "kid": "x", "x": b64(bytes(32))}, (ed_key(), "EdDSA")),
    }


@pytest.fixture(scope="module")
def members():
    return bad_members()


@pytest.fixture(scope="module")
def one_by_one(start):
    with JwksServer(public_jwk(OLD, "old", "ES256")) as server:
        front = start(ROUTES, jwks=server.jwks_url, refresh="1s")
        wait_for(lambda: ask(front, signed(OLD, "ES256", kid="old")).status == 200, 5, "the first keys")
        yield front, server


def test_62_broken_members_are_left_out_one_by_one_and_good_ones_used(one_by_one, members):
    front, server = one_by_one
    renamed = []
    for name, (member, _) in members.items():
        renamed.append(
            {**member, "kid": name if isinstance(member.get("kid"), str) else member.get("kid")}
            if isinstance(member, dict)
            else member
        )
    good = ec_key()
    server.keys[:] = [*renamed, public_jwk(good, "good", "ES256")]
    wait_for(
        lambda: ask(front, signed(good, "ES256", kid="good")).status == 200,
        6,
        "the good key among broken ones",
        every=0.2,
    )
    for name, (_, signer) in members.items():
        if signer:
            refused(ask(front, by_hand(*signer, name)), 401, closed=False)
    secret = "0123456789abcdef0123456789abcdef"
    refused(
        ask(
            front,
            jwt.encode({"sub": "7", "exp": int(time.time()) + 99}, secret, algorithm="HS256", headers={"kid": "oct"}),
        ),
        401,
        closed=False,
    )


def by_hand(key, algorithm, kid):
    """A token whose key PyJWT may find too weak to sign with."""
    if algorithm != "RS256":
        return signed(key, algorithm, kid=kid)
    text = f"{b64({'alg': algorithm, 'kid': kid})}.{b64({'sub': '7', 'exp': int(time.time()) + 99})}"
    return f"{text}.{b64(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def test_62_two_members_of_one_id_are_no_way_in(one_by_one):
    front, server = one_by_one
    first, second, good = ec_key(), rsa_key(), ec_key()
    server.keys[:] = [
        public_jwk(first, "twice", "ES256"),
        public_jwk(second, "twice", "RS256"),
        public_jwk(good, "good", "ES256"),
    ]
    wait_for(lambda: ask(front, signed(good, "ES256", kid="good")).status == 200, 6, "the good key", every=0.2)
    stranger = signed(ec_key(), "ES256", kid="twice")
    refused(ask(front, stranger), 401, closed=False)


class Redirect(Listener):
    """Answers every request with a redirect to `to`."""

    def __init__(self, to):
        self.to, self.asked = to, 0
        super().__init__()

    def serve(self, connection):
        while read_head(connection)[0]:
            self.asked += 1
            connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {self.to}\r\nContent-Length: 0\r\n\r\n".encode())


@table(63, ["http-other-port", "file", "scheme-relative"])
def test_a_redirect_to_another_origin_is_not_followed(start, case):
    evil = ec_key()
    body = json.dumps({"keys": [public_jwk(evil, "evil", "ES256")]}).encode()
    with RawUpstream(
        answer=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    ) as other:
        to = {
            "http-other-port": f"http://127.0.0.1:{other.port}/keys",
            "file": "file:///etc/passwd",
            "scheme-relative": f"//127.0.0.1:{other.port}/keys",
        }[case]
        with Redirect(to) as server:
            front = start(ROUTES, jwks=f"{server.url}/jwks.json", refresh="1s")
            outcome = ask(front, signed(evil, "ES256", kid="evil"))
            refused(outcome, 503, 401, closed=False)
            assert server.asked >= 1 and other.connections == 0
