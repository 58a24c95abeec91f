"""Session payloads that no app would write, signed with the app's own key: what a thief of the key or a bug leaves."""

import base64
import hashlib
import hmac
import json
import os
import struct
import time
import zlib

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ROW_SALT = "django.contrib.sessions.SessionStore"
COOKIE_SALT = "django.contrib.sessions.backends.signed_cookies"


def b64(data):
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def base62(number):
    """As django.core.signing writes it."""
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = DIGITS[rest] + digits
    return digits or "0"


def segment(payload, compress):
    """The payload as both frameworks put it before the signature."""
    return "." + b64(zlib.compress(payload, 9)) if compress else b64(payload)


def django(payload, secret, salt=ROW_SALT, compress=False):
    """django.core.signing.dumps for bytes."""
    value = f"{segment(payload, compress)}:{base62(int(time.time()))}"
    key = hashlib.sha256((salt + "signer" + secret).encode()).digest()
    return f"{value}:{b64(hmac.new(key, value.encode(), 'sha256').digest())}"


def django_hash(password, secret):
    """AbstractBaseUser.get_session_auth_hash."""
    salt = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"
    key = hashlib.sha256((salt + secret).encode()).digest()
    return hmac.new(key, password.encode(), "sha256").hexdigest()


def django_user(user_id, password, secret):
    """The content of the session of somebody signed in."""
    return {
        "_auth_user_id": str(user_id),
        "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
        "_auth_user_hash": django_hash(password, secret),
    }


def flask(payload, secret, compress=False):
    """The value of Flask's own cookie for bytes."""
    stamp = struct.pack(">Q", int(time.time())).lstrip(b"\0")
    value = f"{segment(payload, compress)}.{b64(stamp)}"
    key = hmac.new(secret.encode(), b"cookie-session", "sha1").digest()
    return f"{value}.{b64(hmac.new(key, value.encode(), 'sha1').digest())}"


def dumps(data):
    """JSON as the frameworks write it."""
    return json.dumps(data, separators=(",", ":")).encode()


def bomb(limit):
    """JSON that is as large as compressed text of `limit` characters can make it."""
    size = limit * 700
    return b'{"_user_id":"2","_auth_user_id":"2","x":"' + b"0" * size + b'"}'


class Touch:
    """Pickles to something that makes a file when it is read: what a stolen Redis would serve."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return os.system, (f"touch '{self.file}'",)
