"""SimpleJWT's tokens from the real Django app: who passes, who does not, what the app is told; `explain` agrees."""

import base64
import hashlib
import hmac
import json
import time

import pytest

from harness.apps import DJANGO_SECRET_KEY
from harness.check import passed, refused, seen_by_app
from harness.tokens import b64, bearer, simplejwt, tampered

TOML = """
[upstream.app]
servers = ["{django}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles", "scope"], email = "email", name = "name" }

[identity]
claims = { "X-Auth-City" = "city" }

[[route]]
path = "/api/token/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/api/login/"
upstream = "app"
auth = "public"

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = ["token"]

[[route]]
path = "/api/supervisor/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["supervisor"]

[[route]]
path = "/api/backup/restore/"
upstream = "app"
auth = ["token"]
roles = { any = ["staff", "supervisor"], none = ["host"] }
claims = { city = ["Tehran", "Isfahan"] }

[[route]]
path = "/api/echo/one-user/"
upstream = "app"
auth = ["token"]
users = ["3"]

[[route]]
path = "/api/echo/open/"
upstream = "app"
auth = "public"

[[route]]
path = "/api/echo/optional/"
upstream = "app"
auth = { optional = ["token"] }

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""


@pytest.fixture(scope="module")
def gate(module_gateway, django_app):
    return module_gateway(TOML, django=django_app.url)


@pytest.fixture(scope="module")
def people(django_app):
    """Tokens with roles, by name."""
    return {name: django_app.role_tokens(name) for name in ("hana", "tara", "sina")}


def test_a_token_that_simplejwt_issued_through_the_gateway_passes(gate):
    pair = gate.post("/api/token/", json={"username": "tara", "password": "tara-password"}).json()
    me = passed(gate.get("/api/me/", headers=bearer(pair["access"]))).json()
    assert me == {"id": 2, "username": "tara", "role": "technician"}, "the app still does its own check"
    again = gate.post("/api/token/refresh/", json={"refresh": pair["refresh"]}).json()
    passed(gate.get("/api/me/", headers=bearer(again["access"])))


def cases():
    """name, the headers to send (given the tokens of the three users), path, status, code."""
    hour = 3600
    return [
        ("good", lambda t: bearer(t["tara"]["access"]), "/api/echo/", 200, None),
        ("good scheme in small letters", lambda t: {"Authorization": "bearer " + t["tara"]["access"]}, "/api/echo/", 200, None),
        ("missing", lambda t: {}, "/api/echo/", 401, "credentials_missing"),
        ("another scheme", lambda t: {"Authorization": "Digest x=y"}, "/api/echo/", 401, "credentials_missing"),
        ("refresh token", lambda t: bearer(t["tara"]["refresh"]), "/api/echo/", 401, "token_claim"),
        ("expired", lambda t: bearer(simplejwt(lifetime=-hour)), "/api/echo/", 401, "token_expired"),
        ("expired by one second, leeway 0", lambda t: bearer(simplejwt(lifetime=-1)), "/api/echo/", 401, "token_expired"),
        ("not yet valid", lambda t: bearer(simplejwt(nbf=int(time.time()) + hour)), "/api/echo/", 401, "token_not_yet_valid"),
        ("tampered", lambda t: bearer(tampered(t["tara"]["access"])), "/api/echo/", 401, "token_signature"),
        ("another secret", lambda t: bearer(simplejwt(secret="another-secret-" * 4)), "/api/echo/", 401, "token_signature"),
        ("garbage", lambda t: bearer("not.a.token"), "/api/echo/", 401, "token_malformed"),
        ("scheme alone", lambda t: {"Authorization": "Bearer"}, "/api/echo/", 401, None),
        ("bearer twice", lambda t: {"Authorization": "Bearer Bearer " + t["tara"]["access"]}, "/api/echo/", 401, "token_malformed"),
        ("in quotes", lambda t: bearer('"' + t["tara"]["access"] + '"'), "/api/echo/", 401, "token_malformed"),
        ("too long", lambda t: bearer("a" * 17000), "/api/echo/", 401, "token_malformed"),
        ("alg none", lambda t: bearer(unsigned()), "/api/echo/", 401, "token_algorithm"),
        ("alg HS512", lambda t: bearer(hs512()), "/api/echo/", 401, "token_algorithm"),
        ("no expiry", lambda t: bearer(simplejwt(exp=None)), "/api/echo/", 401, None),
        ("no user", lambda t: bearer(simplejwt(user_id=None)), "/api/echo/", 401, None),
        ("wrong role", lambda t: bearer(t["tara"]["access"]), "/api/supervisor/report/", 403, "role_missing"),
        ("no role at all", lambda t: bearer(simplejwt()), "/api/supervisor/report/", 403, "role_missing"),
        ("right role", lambda t: bearer(t["sina"]["access"]), "/api/supervisor/report/", 200, None),
        ("expired with the right role", lambda t: bearer(simplejwt(lifetime=-hour, roles=["supervisor"])), "/api/supervisor/report/", 401, "token_expired"),
        ("role of another case", lambda t: bearer(simplejwt(roles=["Supervisor"])), "/api/supervisor/report/", 403, "role_missing"),
        ("role that contains it", lambda t: bearer(simplejwt(roles=["not-supervisor"])), "/api/supervisor/report/", 403, "role_missing"),
        ("roles as one string", lambda t: bearer(simplejwt(roles="supervisor")), "/api/supervisor/report/", 200, None),
        ("a role of two words", lambda t: bearer(simplejwt(roles="no supervisor")), "/api/supervisor/report/", 403, "role_missing"),
        ("roles in a scope", lambda t: bearer(simplejwt(scope="driver supervisor")), "/api/supervisor/report/", 200, None),
        ("claims hold", lambda t: bearer(t["sina"]["access"]), "/api/backup/restore/", 200, None),
        ("claim mismatch", lambda t: bearer(simplejwt(roles=["staff"], city="Shiraz")), "/api/backup/restore/", 403, "claim_mismatch"),
        ("claim missing", lambda t: bearer(simplejwt(roles=["staff"])), "/api/backup/restore/", 403, "claim_mismatch"),
        ("a role that none of", lambda t: bearer(simplejwt(roles=["staff", "host"], city="Tehran")), "/api/backup/restore/", 403, "role_missing"),
        ("the user named", lambda t: bearer(t["sina"]["access"]), "/api/echo/one-user/", 200, None),
        ("a user not named", lambda t: bearer(t["tara"]["access"]), "/api/echo/one-user/", 403, "user_not_allowed"),
        ("optional, nobody", lambda t: {}, "/api/echo/optional/", 200, None),
        ("optional, somebody", lambda t: bearer(t["tara"]["access"]), "/api/echo/optional/", 200, None),
        ("optional, a bad token", lambda t: bearer(simplejwt(lifetime=-hour)), "/api/echo/optional/", 401, "token_expired"),
        ("public, whatever is sent", lambda t: bearer("junk"), "/api/echo/open/", 200, None),
    ]  # fmt: skip


def unsigned():
    """alg none, with no signature."""
    return f"{b64({'alg': 'none', 'typ': 'JWT'})}.{b64({'user_id': '1', 'token_type': 'access', 'exp': 9999999999})}."


def hs512():
    """Rightly signed with the right secret, by an algorithm that is not listed."""
    head = b64({"alg": "HS512", "typ": "JWT"}) + "." + b64({"user_id": "1", "token_type": "access", "exp": 9999999999})
    return head + "." + b64(hmac.new(DJANGO_SECRET_KEY.encode(), head.encode(), hashlib.sha512).digest())


@pytest.mark.parametrize("name,headers,path,status,code", cases(), ids=[case[0] for case in cases()])
def test_each_token_gets_its_verdict_and_explain_says_the_same(gate, people, name, headers, path, status, code):
    sent = headers(people)
    answer = gate.get(path, headers=sent)
    explained = gate.explained_code("GET", path, sent)
    if status == 200:
        passed(answer)
        assert explained is None
        return
    problem = refused(answer, status, code or answer.json()["code"])
    assert problem["code"] == explained
    if status == 401:
        challenge = answer.headers["www-authenticate"]
        assert challenge.lower().startswith("bearer")
        assert ('error="invalid_token"' in challenge) == problem["code"].startswith("token_"), challenge
    token = sent.get("Authorization", "").removeprefix("Bearer ")
    if len(token) > 20:
        told = answer.text + str(answer.headers)
        assert not any(len(part) > 20 and part in told for part in (token, *token.split(".")))


def test_the_detail_of_a_refusal_helps_an_honest_developer(gate, people):
    late = gate.get("/api/echo/", headers=bearer(simplejwt(lifetime=-3 * 3600))).json()["detail"]
    assert "expired" in late and "3 h" in late and "T" in late, late
    refresh = gate.get("/api/echo/", headers=bearer(people["tara"]["refresh"])).json()["detail"]
    assert "refresh" in refresh, "a refresh token used as access is named"
    twice = gate.get("/api/echo/", headers={"Authorization": "Bearer Bearer " + people["tara"]["access"]})
    assert "twice" in twice.json()["detail"].lower() or "Bearer Bearer" in twice.json()["detail"]
    quoted = gate.get("/api/echo/", headers=bearer('"' + people["tara"]["access"] + '"')).json()["detail"]
    assert "quote" in quoted.lower()


def test_the_app_is_told_who_calls(gate, people):
    seen = seen_by_app(gate.get("/api/echo/", headers=bearer(people["sina"]["access"])))["headers"]
    assert seen["X_AUTH_USER"] == "3"
    assert seen["X_AUTH_ROLES"] == "staff,supervisor", "sorted, with commas"
    assert seen["X_AUTH_EMAIL"] == "sina@example.com"
    assert seen["X_AUTH_NAME"] == "Sina Azadi"
    assert seen["X_AUTH_METHOD"] == "token"
    assert seen["X_AUTH_CITY"] == "Tehran"
    assert seen["AUTHORIZATION"].startswith("Bearer "), "the app's own credential passes on"


def test_values_that_a_header_cannot_hold_are_percent_encoded(gate):
    token = simplejwt(roles=["a,b", "c%d"], name="سینا", city="x\r\nX-Auth-User: 1")
    seen = seen_by_app(gate.get("/api/echo/", headers=bearer(token)))["headers"]
    assert seen["X_AUTH_USER"] == "7"
    assert seen["X_AUTH_ROLES"] == "a%2Cb,c%25d"
    assert seen["X_AUTH_NAME"] == "%D8%B3%DB%8C%D9%86%D8%A7"
    assert seen["X_AUTH_CITY"] == "x%0D%0AX-Auth-User: 1"


SPELLINGS = [
    "X-Auth-User", "x-auth-user", "X_Auth_User", "X-Auth_User", "x_auth-user", "X_AUTH_USER", "x-Auth_uSer",
    "X-Auth-Roles", "X_Auth_Roles", "X-Auth-Email", "X_Auth-Name", "X-Auth-Method", "X-Auth-City", "X_Auth_City",
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_no_spelling_of_an_identity_header_reaches_the_app(gate, people, spelling, http2):
    with gate.client(http2=http2) as client:
        for path, token in (
            ("/api/echo/", people["tara"]["access"]),
            ("/api/echo/open/", None),
            ("/api/echo/optional/", None),
        ):
            headers = [(spelling, "forged"), (spelling, "forged-again")] + (
                list(bearer(token).items()) if token else []
            )
            seen = seen_by_app(client.get(path, headers=headers))["headers"]
            assert "forged" not in json.dumps(seen)
            assert seen.get("X_AUTH_USER") == ("2" if token else None)
            assert seen.get("X_AUTH_ROLES") == ("technician" if token else None)


def test_naming_an_identity_header_in_connection_does_not_remove_it(gate, people):
    for named in ("X-Auth-User", "x_auth_user, X-Auth-Roles", "close, X-Forwarded-Proto, X-Auth-User"):
        headers = {**bearer(people["sina"]["access"]), "Connection": named}
        seen = seen_by_app(gate.get("/api/echo/", headers=headers))
        assert seen["headers"]["X_AUTH_USER"] == "3" and seen["headers"]["X_AUTH_ROLES"] == "staff,supervisor"
        assert seen["headers"]["X_FORWARDED_PROTO"] == "https"


def test_the_same_header_twice_is_malformed(gate, people):
    twice = [("Authorization", f"Bearer {people['tara']['access']}")] * 2
    refused(gate.get("/api/echo/", headers=twice), 401, "token_malformed")


def test_a_token_where_the_route_does_not_look_is_not_read(gate, people):
    token = people["tara"]["access"]
    refused(gate.get(f"/api/echo/?token={token}&access={token}"), 401, "credentials_missing")
    refused(gate.get("/api/echo/", headers={"Cookie": f"access={token}"}), 401, "credentials_missing")
    refused(gate.get("/api/echo/", headers={"X-Authorization": f"Bearer {token}"}), 401, "credentials_missing")


def test_a_token_expires_on_a_kept_connection_though_it_was_verified_before(gate):
    token = simplejwt(lifetime=3)
    with gate.client() as client:
        passed(client.get("/api/echo/", headers=bearer(token)))
        time.sleep(3.2)
        refused(client.get("/api/echo/", headers=bearer(token)), 401, "token_expired")


def test_a_token_that_differs_in_one_letter_never_shares_a_verdict(gate, people):
    token = people["tara"]["access"]
    for _ in range(3):
        passed(gate.get("/api/echo/", headers=bearer(token)))
    last = "A" if token[-2] != "A" else "B"
    refused(gate.get("/api/echo/", headers=bearer(token[:-2] + last + token[-1])), 401, "token_signature")
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    other = ".".join([head, b64({**claims, "roles": ["supervisor"]}), signature])
    refused(gate.get("/api/supervisor/report/", headers=bearer(other)), 401, "token_signature")
