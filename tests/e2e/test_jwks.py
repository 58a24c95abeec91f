"""Keys by URL and by file: rotation, an unknown key id, and an endpoint that is down, slow, huge or garbage."""

import concurrent.futures
import json
import time

import pytest

from harness.certs import ec_key, ed_key, rsa_key
from harness.check import passed, refused, seen_by_app
from harness.ports import wait_for
from harness.tokens import bearer, public_jwk, signed
from harness.upstreams import JwksServer

TOML = """
[upstream.app]
servers = ["{django}"]

[auth.token]
type = "jwt"
algorithms = ["RS256", "ES256", "EdDSA"]
jwks = "{jwks}"
jwks_refresh = "{refresh}"
jwks_stale = "{stale}"

[[route]]
path = "/api/echo/{*rest}"
upstream = "app"
auth = ["token"]

[[route]]
path = "/health/"
upstream = "app"
auth = "public"
"""


@pytest.fixture(scope="module")
def old():
    return ec_key()


@pytest.fixture(scope="module")
def new():
    return ec_key()


@pytest.fixture
def start(gateway, django_app):
    def begin(jwks, refresh="10m", stale="24h", **options):
        return gateway(TOML, django=django_app.url, jwks=jwks, refresh=refresh, stale=stale, **options)

    return begin


def get(gate, token):
    return gate.get("/api/echo/", headers=bearer(token))


def test_keys_of_every_kind_in_one_set(start):
    keys = {"RS256": rsa_key(), "ES256": ec_key(), "EdDSA": ed_key()}
    members = [public_jwk(key, name.lower(), name) for name, key in keys.items()]
    with JwksServer(*members) as server:
        gate = start(server.jwks_url)
        for name, key in keys.items():
            assert seen_by_app(get(gate, signed(key, name, kid=name.lower())))["headers"]["X_AUTH_USER"] == "7"
        wrong = signed(keys["ES256"], "ES256", kid="rs256")
        refused(get(gate, wrong), 401, "token_algorithm")
        assert server.fetches <= 2


def test_keys_from_a_file_are_taken_up_when_it_changes(start, old, new, tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [public_jwk(old, "old", "ES256")]}))
    gate = start(file)
    passed(get(gate, signed(old, "ES256", kid="old")))
    file.write_text(json.dumps({"keys": [public_jwk(new, "new", "ES256")]}))
    wait_for(lambda: get(gate, signed(new, "ES256", kid="new")).status_code == 200, 15, "the new file")
    refused(get(gate, signed(old, "ES256", kid="old")), 401, "token_key_unknown")


def test_a_rotation_is_noticed_by_the_unknown_key_id(start, old, new):
    with JwksServer(public_jwk(old, "old", "ES256")) as server:
        gate = start(server.jwks_url)
        passed(get(gate, signed(old, "ES256", kid="old")))
        server.keys[:] = [public_jwk(new, "new", "ES256"), public_jwk(old, "old", "ES256")]
        token = signed(new, "ES256", kid="new")
        wait_for(lambda: get(gate, token).status_code == 200, 15, "the new key")
        passed(get(gate, signed(old, "ES256", kid="old")))


def test_a_key_that_was_taken_out_is_refused_after_the_next_refresh_even_for_a_token_verified_before(start, old, new):
    with JwksServer(public_jwk(old, "old", "ES256")) as server:
        gate = start(server.jwks_url, refresh="1s")
        token = signed(old, "ES256", kid="old")
        passed(get(gate, token))
        server.keys[:] = [public_jwk(new, "new", "ES256")]
        wait_for(lambda: get(gate, token).status_code == 401, 15, "the old key to be refused")
        answer = get(gate, token)
        refused(answer, 401, "token_key_unknown")
        passed(get(gate, signed(new, "ES256", kid="new")))


def test_an_unknown_key_id_is_refused_and_a_storm_of_them_costs_two_fetches(start, old):
    with JwksServer(public_jwk(old, "old", "ES256")) as server:
        gate = start(server.jwks_url)
        wait_for(lambda: get(gate, signed(old, "ES256", kid="old")).status_code == 200, 10, "the first keys")
        before = server.fetches
        with gate.client() as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
            tokens = [signed(old, "ES256", kid=f"made-up-{number}") for number in range(150)]
            answers = list(pool.map(lambda token: client.get("/api/echo/", headers=bearer(token)), tokens))
        for answer in answers:
            refused(answer, 401, "token_key_unknown")
        assert server.fetches - before <= 2
        passed(get(gate, signed(old, "ES256", kid="old")))


@pytest.mark.parametrize("mode", ["down", "error", "slow", "huge", "garbage", "empty"])
def test_a_broken_endpoint_lets_nobody_in_blocks_nobody_else_and_heals(start, old, mode):
    with JwksServer(public_jwk(old, "old", "ES256"), mode=mode) as server:
        gate = start(server.jwks_url, refresh="1s")
        token = signed(old, "ES256", kid="old")
        started = time.monotonic()
        passed(gate.get("/health/"))
        assert time.monotonic() - started < 1.5, "a public route waits for nobody's keys"
        started = time.monotonic()
        refused(get(gate, token), 503, "auth_unavailable")
        assert time.monotonic() - started < 12
        refused(gate.get("/api/echo/"), 401, "credentials_missing")
        assert gate.rss_kib() < 300 * 1024
        server.mode = "ok"
        wait_for(lambda: get(gate, token).status_code == 200, 30, "the keys to be fetched again", every=0.25)


def test_an_outage_later_leaves_the_last_good_keys(start, old):
    with JwksServer(public_jwk(old, "old", "ES256")) as server:
        gate = start(server.jwks_url, refresh="1s")
        token = signed(old, "ES256", kid="old")
        wait_for(lambda: get(gate, token).status_code == 200, 10, "the first keys")
        server.mode = "error"
        seen = server.fetches
        wait_for(lambda: server.fetches >= seen + 2, 20, "two failed refreshes")
        passed(get(gate, token))
        passed(get(gate, signed(old, "ES256", kid="old", sub="8")))
        assert gate.count("jwks") > 0, "age and failures are counted"


def test_stale_keys_end(start, old):
    with JwksServer(public_jwk(old, "old", "ES256")) as server:
        gate = start(server.jwks_url, refresh="1s", stale="4s")
        token = signed(old, "ES256", kid="old")
        wait_for(lambda: get(gate, token).status_code == 200, 10, "the first keys")
        server.mode = "error"
        wait_for(lambda: get(gate, token).status_code == 503, 25, "the stale keys to end", every=0.25)
        refused(get(gate, token), 503, "auth_unavailable")


def test_broken_members_are_left_out_one_by_one(start, old):
    members = [
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0"}, {"kty": "EC"}, {"kid": "nothing"}, 7, "text",
        {**public_jwk(old, "enc", "ES256"), "use": "enc"}, {"kty": "EC", "crv": "P-256", "kid": "off", "x": "AA", "y": "AA"},
        public_jwk(old, "old", "ES256"),
    ]  # fmt: skip
    with JwksServer(*members) as server:
        gate = start(server.jwks_url)
        wait_for(lambda: get(gate, signed(old, "ES256", kid="old")).status_code == 200, 10, "the good key")
        refused(get(gate, signed(old, "ES256", kid="enc")), 401, "token_key_unknown")


def test_the_oidc_preset_finds_the_keys_by_discovery(gateway, django_app):
    key = rsa_key()
    with JwksServer(public_jwk(key, "one", "RS256")) as server:
        toml = """
[upstream.app]
servers = ["{django}"]

[auth.token]
type = "jwt"
preset = "oidc"
issuer = "{issuer}"
audience = "api"

[[route]]
path = "/api/echo/{*rest}"
upstream = "app"
auth = ["token"]
"""
        gate = gateway(toml, django=django_app.url, issuer=server.url)
        claims = {"iss": server.url, "aud": "api"}
        wait_for(lambda: get(gate, signed(key, "RS256", kid="one", **claims)).status_code == 200, 10, "the keys")
        refused(
            get(gate, signed(key, "RS256", kid="one", **{**claims, "iss": "https://else.example"})), 401, "token_issuer"
        )
        stranger = signed(rsa_key(), "RS256", kid="one", **claims)
        refused(get(gate, stranger), 401, "token_signature")
