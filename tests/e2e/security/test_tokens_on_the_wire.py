"""Catalogue 41 to 58: tokens that must not open anything, sent over the wire; what matters is that nothing arrives.

The deep vectors (Wycheproof, RFC 7520) are held at library level; here stands one of each kind and every spelling
of the classic ones.
"""

import base64
import hashlib
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from harness.certs import ec_key, ed_key, private_pem, public_pem, rsa_key
from harness.tokens import b64, public_jwk
from harness.upstreams import RawUpstream
from security.credentials import SECRET, bearer, claims, raw_token, sealed, text_claims, token
from security.wire import refused, spelling, table

ROUTES = """
[upstream.app]
servers = ["{app}"]
timeouts = { connect = "1s", response = "2s" }
retries = 0

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[auth.strict]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
issuer = ["https://issuer.example", "https://second.example"]
audience = ["api", "web"]

[auth.lenient]
type = "jwt"
algorithms = ["HS256"]
secret = { env = "DJANGO_SECRET_KEY" }
leeway = "30s"
identity = { user = "user_id" }

[auth.rsa]
type = "jwt"
algorithms = ["RS256"]
public_key = "{folder}/rsa.pem"

[auth.ec]
type = "jwt"
algorithms = ["ES256"]
public_key = "{folder}/ec.pem"

[auth.ed]
type = "jwt"
algorithms = ["EdDSA"]
public_key = "{folder}/ed.pem"

[auth.keys]
type = "jwt"
algorithms = ["RS256", "ES256", "EdDSA"]
jwks = "{folder}/keys.json"

[[route]]
path = "/open/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/me/{*rest}"
upstream = "app"
auth = ["token"]

[[route]]
path = "/admin/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["admin"]

[[route]]
path = "/strict/{*rest}"
upstream = "app"
auth = ["strict"]

[[route]]
path = "/lenient/{*rest}"
upstream = "app"
auth = ["lenient"]

[[route]]
path = "/rsa/{*rest}"
upstream = "app"
auth = ["rsa"]

[[route]]
path = "/ec/{*rest}"
upstream = "app"
auth = ["ec"]

[[route]]
path = "/ed/{*rest}"
upstream = "app"
auth = ["ed"]

[[route]]
path = "/keys/{*rest}"
upstream = "app"
auth = ["keys"]
"""
KEYS = {"RS256": rsa_key(), "ES256": ec_key(), "EdDSA": ed_key()}
PATHS = {"RS256": "/rsa/x", "ES256": "/ec/x", "EdDSA": "/ed/x"}


@pytest.fixture(scope="module")
def trap():
    """Where a careless verifier would go for keys; nobody may come."""
    with RawUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def front(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name, file in (("RS256", "rsa.pem"), ("ES256", "ec.pem"), ("EdDSA", "ed.pem")):
        (folder / file).write_bytes(public_pem(KEYS[name]))
    (folder / "keys.json").write_text(json.dumps({"keys": [public_jwk(key, name, name) for name, key in KEYS.items()]}))
    return start(ROUTES, folder=folder)


def subject(**change):
    now = int(time.time())
    return {
        name: value for name, value in {"sub": "7", "exp": now + 3600, "iat": now, **change}.items() if value is not ...
    }


def signed(algorithm, key=None, headers=None, **change):
    return jwt.encode(subject(**change), private_pem(key or KEYS[algorithm]), algorithm=algorithm, headers=headers)


def not_let_in(front, value, target="/me/x", statuses=(401,)):
    return refused(front.request(target=target, headers=[bearer(value)]), *statuses, closed=False)


@table(41, ["/me/x", "/rsa/x", "/ec/x", "/ed/x", "/keys/x", "/strict/x", "/lenient/x"])
def test_good_tokens_are_good(front, case):
    good = {
        "/rsa/x": lambda: signed("RS256"),
        "/ec/x": lambda: signed("ES256"),
        "/ed/x": lambda: signed("EdDSA"),
        "/keys/x": lambda: signed("ES256", headers={"kid": "ES256"}),
        "/strict/x": lambda: token(iss="https://issuer.example", aud="api"),
    }.get(case, token)()
    outcome = front.request(target=case, headers=[bearer(good)])
    assert outcome.status == 200 and outcome.arrived[0].one("x-auth-user") == "7", outcome


ALGS = [
    "none",
    "None",
    "NONE",
    "nOnE",
    "none ",
    "",
    None,
    ["none"],
    ["HS256"],
    0,
    True,
    {},
    "HS256 ",
    "hs256",
    "HS512",
    "HS384",
    "RS256",
    "ES256",
    "EdDSA",
    "A128KW",
    "dir",
    "HS1",
    "unknown",
    "HS256\x00",
    "none\x00HS256",
    ...,
]


@pytest.mark.parametrize("signature", ["none", "good", "junk"])
@table(41, {spelling(repr(alg)): alg for alg in ALGS})
def test_an_algorithm_that_is_not_the_keys_is_refused(front, case, signature):
    head = {"typ": "JWT"} if case is ... else {"alg": case, "typ": "JWT"}
    value = sealed(head, claims())
    if signature != "good":
        value = value.rsplit(".", 1)[0] + "." + ("" if signature == "none" else "AAAA")
    not_let_in(front, value)
    if signature != "good":
        for path in PATHS.values():
            not_let_in(front, value, path)


def confusions(key):
    """Every shape in which a public key has been taken for an HMAC secret."""
    public = key.public_key()
    pem = public_pem(key)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    shapes = {
        "pem": pem,
        "pem-stripped": pem.strip(),
        "pem-crlf": pem.replace(b"\n", b"\r\n"),
        "pem-one-line": pem.replace(b"\n", b""),
        "pem-double-end": pem + b"\n",
        "der": der,
        "base64": base64.b64encode(der),
        "body": b"".join(pem.splitlines()[1:-1]),
    }
    name = {v: k for k, v in KEYS.items()}[key]
    shapes["jwk"] = json.dumps(public_jwk(key, name, name)).encode()
    if name == "RS256":
        numbers = public.public_numbers()
        shapes["modulus"] = numbers.n.to_bytes(256, "big")
        shapes["pkcs1"] = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
        shapes["pkcs1-der"] = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    if name == "ES256":
        shapes["point"] = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    if name == "EdDSA":
        shapes["raw"] = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    shapes["empty"] = b""
    return shapes


@table(
    42, {f"{name}-{shape}": (name, secret) for name, key in KEYS.items() for shape, secret in confusions(key).items()}
)
def test_a_public_key_is_never_a_secret(front, case):
    name, secret = case
    for alg in ("HS256", "HS512", name):
        digest = hashlib.sha512 if alg == "HS512" else hashlib.sha256
        value = sealed({"alg": alg, "typ": "JWT", "kid": name}, subject(), secret, digest)
        not_let_in(front, value, PATHS[name])
        not_let_in(front, value, "/keys/x")


@table(43, ["RS384", "RS512", "PS256", "PS512"])
def test_another_algorithm_of_the_family_is_refused(front, case):
    value = jwt.encode(subject(), private_pem(KEYS["RS256"]), algorithm=case, headers={"kid": "RS256"})
    not_let_in(front, value, "/rsa/x")
    not_let_in(front, value, "/keys/x")


@table(43, [("HS384", hashlib.sha384), ("HS512", hashlib.sha512), ("HS256", hashlib.sha512), ("HS512", hashlib.sha256)])
def test_another_hmac_is_refused(front, case):
    alg, digest = case
    not_let_in(front, sealed({"alg": alg}, claims(), digest=digest))


KIDS = [
    "unknown",
    "",
    "../../../../dev/null",
    "/dev/null",
    "' OR '1'='1",
    "'; DROP TABLE keys; --",
    "RS256\x00",
    " ES256",
    "ES256 ",
    "es256",
    "k" * 6000,
    7,
    None,
    True,
    ["ES256"],
    {"kid": "ES256"},
    "http://127.0.0.1/keys",
    "file:///etc/passwd",
    "%2e%2e",
    "$(id)",
    "\u202eES256",
]


@table(44, {spelling(repr(kid)): kid for kid in KIDS})
def test_an_odd_key_id_opens_nothing(front, case):
    payload = subject()
    head = {"alg": "HS256", "typ": "JWT", "kid": case}
    for secret in (b"", b"\x00", SECRET, b"null"):
        not_let_in(front, sealed(head, payload, secret), "/keys/x")
    signature_input = f"{b64({'alg': 'ES256', 'kid': case})}.{b64(payload)}"
    der = KEYS["ES256"].sign(signature_input.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(der)
    outcome = front.request(
        target="/keys/x", headers=[bearer(f"{signature_input}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}")]
    )
    if case is None:
        return  # no key id is not an odd one: the token may be checked against the set
    refused(outcome, 401, closed=False)


@table(45, ["jku", "x5u", "x5c", "jwk", "x5t", "kid-url", "all"])
def test_keys_that_a_token_brings_are_ignored(front, trap, case):
    evil = rsa_key()
    member = public_jwk(evil, "evil", "RS256")
    heads = {
        "jku": {"jku": f"{trap.url}/jwks.json"},
        "x5u": {"x5u": f"{trap.url}/cert.pem"},
        "jwk": {"jwk": member},
        "kid-url": {"kid": f"{trap.url}/jwks.json"},
        "x5c": {
            "x5c": [
                base64.b64encode(
                    evil.public_key().public_bytes(
                        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
                    )
                ).decode()
            ]
        },
        "x5t": {"x5t": "AAAA"},
    }
    head = {key: value for one in heads.values() for key, value in one.items()} if case == "all" else heads[case]
    value = jwt.encode(subject(), private_pem(evil), algorithm="RS256", headers=head)
    for path in ("/rsa/x", "/keys/x", "/me/x"):
        not_let_in(front, value, path)
    assert trap.connections == 0, "a key was fetched from where the token said"


@table(
    46,
    {
        "unknown": {"crit": ["exp"]},
        "empty": {"crit": []},
        "not-a-list": {"crit": "exp"},
        "null": {"crit": None},
        "b64-false": {"b64": False, "crit": ["b64"]},
        "b64-alone": {"b64": False},
        "zip": {"zip": "DEF"},
        "nested": {"cty": "JWT"},
        "crit-present": {"crit": ["x"], "x": 1},
        "p2c": {"p2c": 10_000_000, "p2s": "AAAA", "alg": "PBES2-HS256+A128KW"},
        "enc": {"enc": "A128GCM"},
    },
)
def test_critical_and_strange_headers_are_refused(front, case):
    outcome = front.request(target="/me/x", headers=[bearer(sealed({"alg": "HS256", "typ": "JWT", **case}, claims()))])
    if "crit" in case or case.get("b64") is False or "zip" in case or "p2c" in case or "enc" in case:
        refused(outcome, 401, closed=False)
    else:
        assert outcome.status in (200, 401)


@table(
    46,
    {
        "jwe": "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA",
        "jwe-pbes2": b64({"alg": "PBES2-HS256+A128KW", "p2c": 2000000000, "p2s": "AAAA", "enc": "A128GCM"})
        + ".AAAA.AAAA.AAAA.AAAA",
        "nested": None,
    },
)
def test_an_encrypted_or_nested_token_is_refused(front, case):
    value = case or sealed({"alg": "HS256", "cty": "JWT"}, token().encode())
    began = time.monotonic()
    not_let_in(front, value)
    assert time.monotonic() - began < 1.5


TIMES = [
    '"9999999999"',
    "[9999999999]",
    "null",
    "true",
    "false",
    "NaN",
    "Infinity",
    "1e999",
    "-1",
    "-9999999999",
    "{}",
    '""',
    "0",
    "-0",
    "1e-5",
    "0x7fffffff",
    "+9999999999",
    "09999999999",
    "9999999999.",
    "9999999999e",
]


PAST = ["-1", "-9999999999", "0", "-0", "1e-5"]  # as a start these are in the past, which is no fault


@table(
    47,
    {
        f"{claim}-{time}": (claim, time)
        for claim in ("exp", "nbf")
        for time in TIMES
        if claim == "exp" or time not in PAST
    },
)
def test_a_time_that_is_no_time_is_never_absent(front, case):
    claim, value = case
    not_let_in(front, raw_token(text_claims(**{claim: value})))
    not_let_in(front, raw_token(text_claims(**{claim: value})), "/lenient/x")


@table(
    47,
    {
        "two-exp": ("exp", "1", "9999999999"),
        "two-exp-other": ("exp", "9999999999", "1"),
        "same": ("exp", "9999999999", "9999999999"),
        "two-types": ("token_type", '"refresh"', '"access"'),
        "escaped": ("\\u0065xp", "1", "1"),
    },
)
def test_a_member_that_comes_twice_is_refused(front, case):
    name, first, second = case
    text = text_claims()[:-1].replace(f'"{name}":', '"other":')
    not_let_in(front, raw_token(f'{text},"{name}":{first},"{name}":{second}}}'))


def test_53_of_a_user_named_twice_the_gateway_takes_the_one_that_the_app_takes(front):
    """Python's reader takes the last; whoever takes the first lets gateway and app see two users in one token."""
    text = text_claims(user_id='"7"')[:-1] + ',"user_id":"8"}'
    outcome = front.request(target="/me/x", headers=[bearer(raw_token(text))])
    if outcome.status == 200:
        assert outcome.arrived[0].one("x-auth-user") == "8"
    else:
        refused(outcome, 401, closed=False)


@table(
    48,
    [
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e308",
        "1e18",
        "99999999999999999999999999999",
        "253402300800",
        "9999999999.5",
    ],
)
def test_a_huge_time_overflows_nothing(front, case):
    for path in ("/me/x", "/lenient/x"):
        outcome = front.request(target=path, headers=[bearer(raw_token(text_claims(exp=case)))])
        assert outcome.status in (200, 401), outcome
        refused(front.request(target=path, headers=[bearer(raw_token(text_claims(nbf=case)))]), 401, closed=False)


def test_49_a_token_without_an_end_is_refused(front):
    not_let_in(front, token(exp=...))
    not_let_in(front, token(exp=...), "/lenient/x")


@table(
    49,
    {
        "exp-in": ("exp", -20, 200),
        "exp-out": ("exp", -40, 401),
        "nbf-in": ("nbf", 20, 200),
        "nbf-out": ("nbf", 45, 401),
    },
)
def test_leeway_is_the_same_for_both_ends_and_bounded(front, case):
    name, offset, status = case
    value = token(**{name: int(time.time()) + offset})
    assert front.request(target="/lenient/x", headers=[bearer(value)]).status == status
    if offset < 0 or name == "nbf":
        not_let_in(front, value)


def test_49_expiry_is_judged_for_each_request_of_a_connection(front):
    value = bearer(token(exp=int(time.time()) + 2))
    data = f"GET /me/x HTTP/1.1\r\nHost: localhost\r\n{value}\r\n\r\n".encode()
    with front.connect() as client:
        client.send(data)
        assert client.answer().status == 200
        deadline = time.monotonic() + 3.4
        statuses = []
        while time.monotonic() < deadline:
            time.sleep(0.2)
            client.send(data)
            statuses.append(client.answer().status)
    assert statuses[-1] == 401 and sorted(statuses) == statuses, statuses


GOOD = {"iss": "https://issuer.example", "aud": "api"}
PARTIES = {
    "iss-missing": {**GOOD, "iss": ...},
    "iss-other": {**GOOD, "iss": "https://evil.example"},
    "iss-list": {**GOOD, "iss": ["https://issuer.example"]},
    "iss-prefix": {**GOOD, "iss": "https://issuer.example.evil"},
    "iss-slash": {**GOOD, "iss": "https://issuer.example/"},
    "iss-case": {**GOOD, "iss": "https://ISSUER.example"},
    "iss-null": {**GOOD, "iss": None},
    "iss-object": {**GOOD, "iss": {"https://issuer.example": 1}},
    "iss-blank": {**GOOD, "iss": " https://issuer.example"},
    "iss-short": {**GOOD, "iss": "https://issuer"},
    "aud-missing": {**GOOD, "aud": ...},
    "aud-other": {**GOOD, "aud": "evil"},
    "aud-others": {**GOOD, "aud": ["evil", "other"]},
    "aud-nested": {**GOOD, "aud": [["api"]]},
    "aud-super": {**GOOD, "aud": "apis"},
    "aud-comma": {**GOOD, "aud": "api,web"},
    "aud-blank": {**GOOD, "aud": "api web"},
    "aud-null": {**GOOD, "aud": None},
    "aud-object": {**GOOD, "aud": {"api": True}},
    "aud-empty": {**GOOD, "aud": []},
    "aud-case": {**GOOD, "aud": "API"},
    "aud-number": {**GOOD, "aud": 1},
    "aud-true": {**GOOD, "aud": True},
}


@table(50, PARTIES)
def test_another_issuer_or_audience_is_refused(front, case):
    not_let_in(front, token(**case), "/strict/x")


@table(50, {"list": {**GOOD, "aud": ["evil", "api"]}, "second": {"iss": "https://second.example", "aud": "web"}})
def test_a_list_with_ours_in_it_is_ours(front, case):
    assert front.request(target="/strict/x", headers=[bearer(token(**case))]).status == 200


@table(51, ["refresh", "Access", "access ", "", None, ["access"], True, ..., "sliding", "access\x00"])
def test_a_token_of_another_kind_is_refused(front, case):
    not_let_in(front, token(token_type=case))


ROLES = [
    "user",
    "administrator",
    "Admin",
    "ADMIN",
    "admin ",
    " admin",
    "admin,user",
    "user,admin",
    "superadmin",
    "adm\u0456n",
    "\uff41dmin",
    "admin\x00",
    "*",
    "admi",
    "",
    "%61dmin",
    "a\u0301dmin",
    "admin\u200b",
    "role:admin",
    '"admin"',
    '["admin"]',
]


@table(52, ROLES)
@pytest.mark.parametrize("shape", ["list", "string"])
def test_only_the_very_role_is_the_role(front, shape, case):
    not_let_in(front, token(roles=[case] if shape == "list" else case), "/admin/x", (401, 403))


@table(
    52,
    {
        "object": {"admin": True},
        "object-list": [{"name": "admin"}],
        "nested": [["admin"]],
        "true": True,
        "number": 1,
        "null": None,
        "list-null": [None, True],
    },
)
def test_a_role_of_an_odd_type_is_no_role(front, case):
    not_let_in(front, token(roles=case), "/admin/x", (401, 403))


@table(
    52,
    ["role", "Roles", "ROLES", "groups", "scope", "realm_access", "permissions", "roles ", "is_admin", "x-auth-roles"],
)
def test_a_role_in_another_claim_is_no_role(front, case):
    value = {"roles": ["admin"]} if case == "realm_access" else ["admin"]
    not_let_in(front, token(**{case: value}), "/admin/x", (401, 403))


def test_52_the_role_itself_is_let_in(front):
    for roles in (["admin"], ["x", "admin"], "admin"):
        assert front.request(target="/admin/x", headers=[bearer(token(roles=roles))]).status == 200


def deep(depth):
    return '{"a":' * depth + "1" + "}" * depth


BROKEN = {
    "trailing": text_claims() + "x",
    "trailing-object": text_claims() + "{}",
    "trailing-nul": text_claims() + "\x00",
    "trailing-comma": text_claims()[:-1] + ",}",
    "bom": "\ufeff" + text_claims(),
    "bad-utf8": text_claims(name='"X"').encode().replace(b"X", b"\xff"),
    "lone-surrogate": text_claims(name='"\\ud800"'),
    "deep-4000": text_claims()[:-1] + ',"a":' + deep(4000) + "}",
    "deep-list": text_claims()[:-1] + ',"a":' + "[" * 3000 + "]" * 3000 + "}",
    "array": "[" + text_claims() + "]",
    "string": json.dumps(text_claims()),
    "empty": "",
    "null": "null",
    "number": "7",
    "single-quotes": text_claims().replace('"', "'"),
    "comment": text_claims()[:-1] + "/* x */}",
    "nan": text_claims()[:-1] + ',"x":NaN}',
    "control": text_claims(name='"a\x01b"'),
    "utf16": text_claims().encode("utf-16"),
    "unquoted": "{exp:9999999999}",
    "half": text_claims()[:-1],
}


@table(53, BROKEN)
def test_json_that_is_broken_is_refused(front, case):
    not_let_in(front, raw_token(case), statuses=(401, 431))


@table(
    53,
    {
        "two-alg": b'{"alg":"none","alg":"HS256"}',
        "two-alg-2": b'{"alg":"HS256","alg":"none"}',
        "trailing": b'{"alg":"HS256"}x',
        "deep": ('{"alg":"HS256","a":' + deep(3000) + "}").encode(),
        "bom": '\ufeff{"alg":"HS256"}'.encode(),
        "array": b'[{"alg":"HS256"}]',
        "two-kid": b'{"alg":"HS256","kid":"a","kid":"b"}',
    },
)
def test_a_head_that_is_broken_is_refused(front, case):
    not_let_in(front, raw_token(text_claims(), head=case), statuses=(401, 431))


def ecdsa(r, s, size=32):
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
L = 2**252 + 27742317777372353535851937790883648493


def ed_malleable(good):
    return good[:32] + ((int.from_bytes(good[32:], "little") + L) % 2**256).to_bytes(32, "little")


SIGNATURES = {
    "ec-zero": ("ES256", lambda good: bytes(64)),
    "ec-r-zero": ("ES256", lambda good: bytes(32) + good[32:]),
    "ec-s-zero": ("ES256", lambda good: good[:32] + bytes(32)),
    "ec-r-n": ("ES256", lambda good: ecdsa(N, 1)),
    "ec-s-n": ("ES256", lambda good: good[:32] + ecdsa(N, 0)[:32]),
    "ec-r-p": ("ES256", lambda good: ecdsa(P, 1)),
    "ec-ones": ("ES256", lambda good: b"\xff" * 64),
    "ec-der": (
        "ES256",
        lambda good: utils.encode_dss_signature(int.from_bytes(good[:32], "big"), int.from_bytes(good[32:], "big")),
    ),
    "ec-truncated": ("ES256", lambda good: good[:63]),
    "ec-padded": ("ES256", lambda good: good + b"\x00"),
    "ec-padded-halves": ("ES256", lambda good: b"\x00" + good[:32] + b"\x00" + good[32:]),
    "ec-empty": ("ES256", lambda good: b""),
    "ec-swapped": ("ES256", lambda good: good[32:] + good[:32]),
    "ec-one-bit": ("ES256", lambda good: good[:-1] + bytes([good[-1] ^ 1])),
    "rsa-zero": ("RS256", lambda good: bytes(256)),
    "rsa-one": ("RS256", lambda good: bytes(255) + b"\x01"),
    "rsa-short": ("RS256", lambda good: good[1:]),
    "rsa-long": ("RS256", lambda good: b"\x00" + good),
    "rsa-empty": ("RS256", lambda good: b""),
    "rsa-tail": ("RS256", lambda good: good + b"\x00"),
    "rsa-max": ("RS256", lambda good: b"\xff" * 256),
    "ed-zero": ("EdDSA", lambda good: bytes(64)),
    "ed-small-order": ("EdDSA", lambda good: b"\x01" + bytes(63)),
    "ed-s-plus-l": ("EdDSA", ed_malleable),
    "ed-truncated": ("EdDSA", lambda good: good[:63]),
    "ed-empty": ("EdDSA", lambda good: b""),
    "ed-padded": ("EdDSA", lambda good: good + b"\x00"),
    "ed-small-order-2": ("EdDSA", lambda good: bytes(32) + bytes(32)),
    "hs-empty": ("HS256", lambda good: b""),
    "hs-short": ("HS256", lambda good: good[:31]),
    "hs-half": ("HS256", lambda good: good[:16]),
    "hs-long": ("HS256", lambda good: good + b"\x00"),
    "hs-zero": ("HS256", lambda good: bytes(32)),
    "hs-one-bit": ("HS256", lambda good: bytes([good[0] ^ 1]) + good[1:]),
}


@table(54, SIGNATURES)
def test_a_signature_that_is_not_the_signature_is_refused(front, case):
    name, change = case
    value = token() if name == "HS256" else signed(name)
    head, body, signature = value.split(".")
    good = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    not_let_in(front, f"{head}.{body}.{b64(change(good))}", PATHS.get(name, "/me/x"))


def test_54_an_rsa_signature_with_sloppy_padding_is_refused(front):
    value = f"{b64({'alg': 'RS256'})}.{b64(subject())}"
    pss = KEYS["RS256"].sign(value.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    sha1 = KEYS["RS256"].sign(value.encode(), padding.PKCS1v15(), hashes.SHA1())
    for signature in (pss, sha1):
        not_let_in(front, f"{value}.{b64(signature)}", "/rsa/x")


def tail_changed(value):
    """Another last letter that decodes to the same bytes: 32 bytes leave two bits over."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return value[:-1] + alphabet[alphabet.index(value[-1]) ^ 1]


@table(
    55,
    {
        "padding": lambda t: t + "=",
        "padding-2": lambda t: t + "==",
        "padding-head": lambda t: t.replace(".", "=.", 1),
        "standard": lambda t: t.replace("-", "+").replace("_", "/") if set("-_") & set(t) else t + "+",
        "blank": lambda t: t[:10] + " " + t[10:],
        "tab": lambda t: t[:10] + "\t" + t[10:],
        "dot": lambda t: t + ".",
        "dots": lambda t: t.replace(".", ".."),
        "lead-dot": lambda t: "." + t,
        "tail": tail_changed,
        "two-parts": lambda t: t.rsplit(".", 1)[0],
        "one-part": lambda t: t.split(".")[0],
        "empty-parts": lambda t: "..",
        "percent": lambda t: t.replace(".", "%2E"),
        "nul": lambda t: t + "%00",
        "quoted": lambda t: f'"{t}"',
        "semicolon": lambda t: t + ";",
        "five": lambda t: t + ".AAAA.AAAA",
        "single-quoted": lambda t: f"'{t}'",
        "high": lambda t: t[:-1] + "\u00e9",
    },
)
def test_base64_is_read_in_one_way(front, case):
    for _ in range(4):
        value = case(token(jti=str(time.monotonic_ns())))
        outcome = front.request(target="/me/x", headers=[f"Authorization: Bearer {value}".encode("latin-1")])
        refused(outcome, 400, 401, closed=False)


@table(
    56,
    {
        "twice": lambda t: [bearer(t), bearer(t)],
        "good-bad": lambda t: [bearer(t), bearer("x")],
        "bad-good": lambda t: ["Authorization: Basic eDp5", bearer(t)],
        "comma": lambda t: [f"Authorization: Bearer {t}, Bearer {t}"],
        "comma-2": lambda t: [f"Authorization: Bearer {t},{t}"],
        "scheme": lambda t: [f"Authorization: Token {t}"],
        "jwt-scheme": lambda t: [f"Authorization: JWT {t}"],
        "basic": lambda t: [f"Authorization: Basic {t}"],
        "none": lambda t: [f"Authorization: {t}"],
        "no-blank": lambda t: [f"Authorization: Bearer{t}"],
        "colon": lambda t: [f"Authorization: Bearer: {t}"],
        "bearer-twice": lambda t: [f"Authorization: Bearer Bearer {t}"],
        "empty": lambda t: ["Authorization: Bearer "],
        "only-scheme": lambda t: ["Authorization: Bearer"],
        "equals": lambda t: [f"Authorization: Bearer token={t}"],
        "quoted": lambda t: [f'Authorization: Bearer "{t}"'],
        "bearerx": lambda t: [f"Authorization: Bearerx {t}"],
        "alias": lambda t: [f"Authorization_: Bearer {t}"],
        "long": lambda t: [f"Authorization: Bearer {'x' * 17000}"],
        "long-valid": lambda t: [bearer(token(pad="x" * 14000))],
    },
)
def test_authorization_is_read_in_one_way(front, case):
    refused(front.request(target="/me/x", headers=case(token())), 400, 401, closed=False)


@table(56, ["bearer", "BEARER", "bEaReR"])
def test_the_schemes_case_does_not_matter(front, case):
    assert front.request(target="/me/x", headers=[f"Authorization: {case} {token()}"]).status == 200


@table(
    57,
    {
        "query": ("/me/x?token={}", [], b""),
        "query-access": ("/me/x?access={}", [], b""),
        "query-access-token": ("/me/x?access_token={}", [], b""),
        "query-authorization": ("/me/x?Authorization=Bearer%20{}", [], b""),
        "cookie": ("/me/x", ["Cookie: token={}; access={}; jwt={}"], b""),
        "form": ("/me/x", ["Content-Type: application/x-www-form-urlencoded"], b"access_token={}"),
        "x-access-token": ("/me/x", ["X-Access-Token: {}"], b""),
        "x-authorization": ("/me/x", ["X-Authorization: Bearer {}"], b""),
        "proxy": ("/me/x", ["Proxy-Authorization: Bearer {}"], b""),
        "x-auth-token": ("/me/x", ["X-Auth-Token: {}"], b""),
        "underscore": ("/me/x", ["HTTP_AUTHORIZATION: Bearer {}"], b""),
        "path": ("/me/{}", [], b""),
        "websocket-protocol": ("/me/x", ["Sec-WebSocket-Protocol: bearer, {}"], b""),
        "fragment": ("/me/x", ["Referer: http://localhost/#token={}"], b""),
        "x-original": ("/me/x", ["X-Original-Authorization: Bearer {}"], b""),
    },
)
def test_a_token_anywhere_else_is_not_read(front, case):
    target, lines, body = case
    good = token()
    body = body.replace(b"{}", good.encode())
    lines = [line.replace("{}", good) for line in lines] + ([f"Content-Length: {len(body)}"] if body else [])
    refused(front.request("POST" if body else "GET", target.replace("{}", good), lines, body), 401, closed=False)


def polyglots():
    head, body, signature = token().split(".")
    flat = json.dumps({"payload": body, "protected": head, "signature": signature})
    evil = b64(claims(user_id="1"))
    return {
        "flattened": flat,
        "flattened-no-blanks": flat.replace(" ", ""),
        "general": json.dumps({"payload": body, "signatures": [{"protected": head, "signature": signature}]}).replace(
            " ", ""
        ),
        "polyglot": '{"'
        + f"{head}.{evil}."
        + '":"","protected":"'
        + head
        + '","payload":"'
        + body
        + '","signature":"'
        + signature
        + '"}',
        "unprotected": json.dumps({"payload": body, "header": {"alg": "none"}, "signature": ""}).replace(" ", ""),
        "base64": base64.b64encode(flat.encode()).decode(),
        "jwe-json": '{"protected":"AAAA","recipients":[],"iv":"AAAA","ciphertext":"AAAA","tag":"AAAA"}',
    }


@table(58, list(polyglots()))
def test_other_serialisations_are_refused(front, case):
    not_let_in(front, polyglots()[case])


def test_64_an_unknown_user_and_a_bad_signature_are_not_told_apart_by_more_than_their_code(front):
    """Timing is not measured over loopback: the comparison is constant-time by its library, held in review."""
    bodies = set()
    for user in ("7", "no-such-user"):
        outcome = not_let_in(front, sealed({"alg": "HS256"}, claims(user_id=user), b"another secret"))
        problem = json.loads(outcome.final[0].body)
        problem.pop("request_id")
        bodies.add(json.dumps(problem, sort_keys=True))
    assert len(bodies) == 1, bodies
