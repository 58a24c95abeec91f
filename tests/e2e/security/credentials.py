"""Tokens for the catalogue: good ones, and ones put together piece by piece."""

import hashlib
import hmac
import json
import time

from harness.apps import DJANGO_SECRET_KEY
from harness.tokens import b64

SECRET = DJANGO_SECRET_KEY.encode()


def claims(**change):
    """A SimpleJWT payload; None in `change` is written as null, `...` takes the claim away."""
    now = int(time.time())
    payload = {"token_type": "access", "exp": now + 3600, "iat": now, "jti": "0" * 32, "user_id": "7", **change}
    return {name: value for name, value in payload.items() if value is not ...}


def sealed(head, payload, secret=SECRET, digest=hashlib.sha256):
    """Signs with HMAC; head and payload may be objects, or bytes to be taken as they are."""
    signed = f"{b64(head)}.{b64(payload)}"
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), digest).digest())}"


def token(**change):
    """A well-signed HS256 token with these claims."""
    return sealed({"alg": "HS256", "typ": "JWT"}, claims(**change))


def raw_token(text, head=b'{"alg":"HS256","typ":"JWT"}'):
    """A well-signed token whose payload is this very text."""
    return sealed(head, text if isinstance(text, bytes) else text.encode())


def text_claims(**change):
    """The good payload as text, where `change` gives the raw JSON of a member."""
    payload = claims()
    parts = {name: json.dumps(value) for name, value in payload.items()}
    parts.update(change)
    return "{" + ",".join(f'"{name}":{value}' for name, value in parts.items()) + "}"


def bearer(value):
    """The header line."""
    return f"Authorization: Bearer {value}"
