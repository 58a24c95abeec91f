"""Tokens made by hand: the ones a test needs that no app would issue."""

import base64
import json
import time

import jwt

from .apps import DJANGO_SECRET_KEY
from .certs import private_pem


def b64(data):
    """base64url without padding; takes bytes, or anything JSON can hold."""
    if not isinstance(data, bytes):
        data = json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def simplejwt(secret=DJANGO_SECRET_KEY, lifetime=3600, headers=None, **claims):
    """An access token as SimpleJWT 5.5 writes it; `claims` add to it or replace, None takes one away."""
    now = int(time.time())
    payload = {
        "token_type": "access", "exp": now + lifetime, "iat": now, "jti": "0" * 32, "user_id": "7", **claims,
    }  # fmt: skip
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, secret, algorithm="HS256", headers=headers)


def signed(key, algorithm, kid=None, lifetime=3600, **claims):
    """A token signed with a private key (an object of `cryptography`)."""
    now = int(time.time())
    payload = {"sub": "7", "exp": now + lifetime, "iat": now, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, private_pem(key), algorithm=algorithm, headers={"kid": kid} if kid else None)


def tampered(token):
    """The same token saying something else, under the old signature."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["user_id"] = "1"
    claims["roles"] = ["supervisor"]
    return ".".join([head, b64(claims), signature])


def public_jwk(key, kid, algorithm):
    """The public half as a member of a JWKS."""
    kind = {"R": jwt.algorithms.RSAAlgorithm, "P": jwt.algorithms.RSAAlgorithm, "E": jwt.algorithms.ECAlgorithm}
    converter = jwt.algorithms.OKPAlgorithm if algorithm == "EdDSA" else kind[algorithm[0]]
    member = json.loads(converter.to_jwk(key.public_key()))
    member.pop("key_ops", None)
    return {**member, "kid": kid, "alg": algorithm, "use": "sig"}


def bearer(token):
    """The header a client sends."""
    return {"Authorization": f"Bearer {token}"}
