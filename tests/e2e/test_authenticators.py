"""Every other way to say who one is: public keys, cookies and queries, api keys, passwords, client certificates."""

import base64
import hashlib
import hmac
import ssl
import time

import argon2
import bcrypt
import httpx
import pytest

from harness.certs import Authority, ec_key, ed_key, public_pem, rsa_key
from harness.check import refused, seen_by_app
from harness.raw import over_tls
from harness.tokens import b64, bearer, signed, simplejwt

KEY = "ci-key-0123456789abcdef0123456789abcdef"
TOML = """
[tls]
development = true
client_ca = "client-ca.pem"
client_auth = "optional"

[server]
https = "127.0.0.1:{https}"
admin = "127.0.0.1:{admin}"
[server.timeouts]
drain = "5s"

[upstream.app]
servers = ["{django}"]

[auth.rs256]
type = "jwt"
algorithms = ["RS256"]
public_key = "rsa.pem"
issuer = "https://issuer.example.com"
audience = ["api", "other-api"]
identity = { user = "sub", roles = ["scope", "realm_access.roles"] }

[auth.es256]
type = "jwt"
algorithms = ["ES256"]
public_key = "ec.pem"

[auth.eddsa]
type = "jwt"
algorithms = ["EdDSA"]
public_key = "ed.pem"

[auth.in-cookie]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
sources = ["cookie:jwt", "query:token", "header:x-token"]

[auth.rotating]
type = "jwt"
preset = "simplejwt"
secret = ["new-secret-0123456789-0123456789-0123456789", "old-secret-0123456789-0123456789-0123456789"]

[auth.key]
type = "api-key"
sources = ["header:x-api-key", "query:api_key"]
keys = [{ sha256 = "{key_hash}", user = "ci", roles = ["deploy"] }]

[auth.password]
type = "basic"
htpasswd = "htpasswd"

[auth.certificate]
type = "client-certificate"
user = "san-email"
roles = { "CN=ci" = ["deploy"] }

[[route]]
path = "/rs256"
upstream = "app"
auth = ["rs256"]
add_prefix = "/api/echo"

[[route]]
path = "/es256"
upstream = "app"
auth = ["es256"]
add_prefix = "/api/echo"

[[route]]
path = "/eddsa"
upstream = "app"
auth = ["eddsa"]
add_prefix = "/api/echo"

[[route]]
path = "/cookie"
upstream = "app"
auth = ["in-cookie"]
add_prefix = "/api/echo"

[[route]]
path = "/rotating"
upstream = "app"
auth = ["rotating"]
add_prefix = "/api/echo"

[[route]]
path = "/key"
upstream = "app"
auth = ["key"]
roles = ["deploy"]
add_prefix = "/api/echo"

[[route]]
path = "/password"
upstream = "app"
auth = ["password"]
add_prefix = "/api/echo"

[[route]]
path = "/certificate"
upstream = "app"
auth = ["certificate"]
add_prefix = "/api/echo"

[[route]]
path = "/deploy"
upstream = "app"
auth = ["certificate", "key", "password"]
roles = ["deploy"]
add_prefix = "/api/echo"
"""


@pytest.fixture(scope="module")
def keys():
    return {"RS256": rsa_key(), "ES256": ec_key(), "EdDSA": ed_key()}


@pytest.fixture(scope="module")
def authority():
    return Authority("Clients")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, keys, authority):
    where = tmp_path_factory.mktemp("authenticators")
    for name, file in (("RS256", "rsa.pem"), ("ES256", "ec.pem"), ("EdDSA", "ed.pem")):
        (where / file).write_bytes(public_pem(keys[name]))
    (where / "client-ca.pem").write_bytes(authority.pem())
    bcrypted = bcrypt.hashpw(b"tara-password", bcrypt.gensalt(4)).decode()
    argoned = argon2.PasswordHasher(time_cost=1, memory_cost=64).hash("sina-password")
    (where / "htpasswd").write_text(f"tara:{bcrypted}\nsina:{argoned}\n")
    return where


@pytest.fixture(scope="module")
def gate(module_gateway, folder, django_app):
    key_hash = hashlib.sha256(KEY.encode()).hexdigest()
    return module_gateway(TOML, folder=folder, django=django_app.url, key_hash=key_hash)


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


ISSUED = {"iss": "https://issuer.example.com", "aud": "api"}


def test_rs256_with_issuer_and_audience_passes_and_roles_are_gathered_from_every_claim(gate, keys):
    token = signed(keys["RS256"], "RS256", **ISSUED, scope="read write", realm_access={"roles": ["admin"]})
    seen = seen_by_app(gate.get("/rs256", headers=bearer(token)))["headers"]
    assert (seen["X_AUTH_USER"], seen["X_AUTH_ROLES"]) == ("7", "admin,read,write")
    listed = signed(keys["RS256"], "RS256", iss=ISSUED["iss"], aud=["x", "other-api"])
    seen_by_app(gate.get("/rs256", headers=bearer(listed)))


@pytest.mark.parametrize(
    "claims,code",
    [
        ({"iss": "https://evil.example.com"}, "token_issuer"),
        ({"iss": None}, "token_issuer"),
        ({"iss": "https://issuer.example.com/"}, "token_issuer"),
        ({"aud": "api2"}, "token_audience"),
        ({"aud": None}, "token_audience"),
        ({"aud": ["a", "b"]}, "token_audience"),
    ],
)
def test_another_issuer_or_audience_is_refused(gate, keys, claims, code):
    token = signed(keys["RS256"], "RS256", **{**ISSUED, **claims})
    refused(gate.get("/rs256", headers=bearer(token)), 401, code)
    assert gate.explained_code("GET", "/rs256", bearer(token)) == code


def test_es256_and_eddsa_pass(gate, keys):
    for name in ("ES256", "EdDSA"):
        seen = seen_by_app(gate.get(f"/{name.lower()}", headers=bearer(signed(keys[name], name))))
        assert seen["headers"]["X_AUTH_METHOD"] == name.lower()


def test_an_algorithm_that_is_not_the_keys_is_refused(gate, keys, folder):
    for token in (
        signed(keys["RS256"], "RS512", **ISSUED),
        signed(keys["RS256"], "PS256", **ISSUED),
        signed(keys["ES256"], "ES256", **ISSUED),
    ):
        refused(gate.get("/rs256", headers=bearer(token)), 401, "token_algorithm")
    forged = forged_with_public_key((folder / "rsa.pem").read_bytes())
    refused(gate.get("/rs256", headers=bearer(forged)), 401, "token_algorithm")


def forged_with_public_key(pem):
    """HS256 under the PEM of the public key (CVE-2016-5431)."""
    head = b64({"alg": "HS256", "typ": "JWT"}) + "." + b64({"sub": "1", "exp": int(time.time()) + 600, **ISSUED})
    return head + "." + b64(hmac.new(pem, head.encode(), hashlib.sha256).digest())


def test_the_default_leeway_is_thirty_seconds(gate, keys):
    seen_by_app(gate.get("/es256", headers=bearer(signed(keys["ES256"], "ES256", lifetime=-15))))
    refused(gate.get("/es256", headers=bearer(signed(keys["ES256"], "ES256", lifetime=-60))), 401, "token_expired")


def test_a_token_is_found_in_the_cookie_the_query_and_a_header_as_configured(gate):
    token = simplejwt()
    seen_by_app(gate.get("/cookie", headers={"Cookie": f"a=b; jwt={token}; c=d"}))
    seen_by_app(gate.get("/cookie", params={"token": token}))
    seen_by_app(gate.get("/cookie", headers={"X-Token": token}))
    refused(gate.get("/cookie", headers=bearer(token)), 401, "credentials_missing")


def test_a_cookie_credential_with_an_unsafe_method_must_come_from_the_same_origin(gate):
    cookie = {"Cookie": f"jwt={simplejwt()}"}
    seen_by_app(gate.post("/cookie", headers={**cookie, "Origin": gate.https_url}))
    for foreign in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        refused(gate.post("/cookie", headers={**cookie, **foreign}), 403, "csrf_failed")
    seen_by_app(gate.post("/cookie", headers={"X-Token": simplejwt(), "Origin": "https://evil.example"}))


def test_the_second_secret_of_a_list_still_verifies(gate):
    for secret in ("new", "old"):
        token = simplejwt(secret=f"{secret}-secret-0123456789-0123456789-0123456789")
        seen_by_app(gate.get("/rotating", headers=bearer(token)))
    refused(gate.get("/rotating", headers=bearer(simplejwt())), 401, "token_signature")


def test_an_api_key_passes_by_header_and_query_and_a_wrong_one_does_not(gate):
    seen = seen_by_app(gate.get("/key", headers={"X-API-Key": KEY}))["headers"]
    assert (seen["X_AUTH_USER"], seen["X_AUTH_ROLES"], seen["X_AUTH_METHOD"]) == ("ci", "deploy", "key")
    seen_by_app(gate.get("/key", params={"api_key": KEY}))
    refused(gate.get("/key", headers={"X-API-Key": KEY + "x"}), 401, "key_unknown")
    refused(gate.get("/key"), 401, "credentials_missing")
    assert gate.explained_code("GET", "/key", {"X-API-Key": "wrong"}) == "key_unknown"


def test_basic_passwords_in_bcrypt_and_argon2(gate):
    for user in ("tara", "sina"):
        seen = seen_by_app(gate.get("/password", headers=basic(user, f"{user}-password")))["headers"]
        assert (seen["X_AUTH_USER"], seen["X_AUTH_METHOD"]) == (user, "password")
    wrong = gate.get("/password", headers=basic("tara", "wrong"))
    unknown = gate.get("/password", headers=basic("nobody", "wrong"))
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json()["code"] == unknown.json()["code"], "whether a user exists is not told"
    assert wrong.json()["detail"] == unknown.json()["detail"]
    assert "basic" in gate.get("/password").headers["www-authenticate"].lower()


def test_a_client_certificate_is_an_identity(gate, authority, folder):
    pair = authority.issue_files(folder, "ci", common_name="ci", emails=["ci@example.com"], client=True)
    with gate.client(cert=pair) as client:
        seen = seen_by_app(client.get("/certificate"))["headers"]
        assert (seen["X_AUTH_USER"], seen["X_AUTH_ROLES"]) == ("ci@example.com", "deploy")
        seen_by_app(client.get("/deploy"))
    other = authority.issue_files(folder, "guest", common_name="guest", emails=["guest@example.com"], client=True)
    with gate.client(cert=other) as client:
        seen_by_app(client.get("/certificate"))
        refused(client.get("/deploy"), 403, "role_missing")
    refused(gate.get("/certificate"), 401, "certificate_missing")


def test_a_certificate_of_another_authority_is_refused_in_the_handshake(gate, tmp_path):
    stranger = Authority("Strangers").issue_files(
        tmp_path, "ci", common_name="ci", emails=["ci@example.com"], client=True
    )
    with pytest.raises((httpx.TransportError, ssl.SSLError)), gate.client(cert=stranger) as client:
        client.get("/certificate")


def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(gate):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = gate.tls()
        context.minimum_version = context.maximum_version = version
        with httpx.Client(base_url=gate.https_url, verify=context, trust_env=False) as client:
            refused(client.get("/key"), 401, "credentials_missing")
    old = gate.tls()
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        httpx.get(gate.https_url + "/key", verify=old, trust_env=False)


def test_a_host_that_the_certificate_does_not_cover_is_misdirected(gate):
    with over_tls(gate) as raw:
        raw.send(b"GET /key HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
        answer = raw.answer()
        assert answer.status == 421 and b'"misdirected"' in answer.body
