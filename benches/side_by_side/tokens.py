"""Keys, certificate and tokens, made anew for every comparison.

Signs with the `cryptography` package where Python has it, else with the openssl command.
"""

import base64
import concurrent.futures
import hashlib
import hmac
import json
import os
import secrets
import subprocess
import time

from .host import tool

ROLE = "staff"


def b64url(data):
    """Base64url without padding, as JOSE wants it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Keys:
    """One certificate for all proxies, and one key for each algorithm."""

    def __init__(self, folder):
        self.folder = folder
        self.secret = secrets.token_hex(32)
        self.certificate = os.path.join(folder, "leaf.pem")
        self.certificate_key = os.path.join(folder, "leaf.key")
        self.private = {a: os.path.join(folder, f"{a}.key") for a in ("RS256", "ES256")}
        self.public = {a: os.path.join(folder, f"{a}.pub.pem") for a in ("RS256", "ES256")}
        self.secret_file = os.path.join(folder, "HS256.secret")
        with open(self.secret_file, "w") as out:
            out.write(self.secret)
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-days", "2", "-subj", "/CN=localhost",
                 "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                 "-addext", "basicConstraints=critical,CA:FALSE",
                 "-keyout", self.certificate_key, "-out", self.certificate)
        _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                 "-out", self.private["RS256"])
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-out", self.private["ES256"])
        for algorithm, path in self.public.items():
            _openssl("pkey", "-in", self.private[algorithm], "-pubout", "-out", path)

    def tokens(self, algorithm, count, **changes):
        """`count` different tokens of users user-0000, user-0001 and so on."""
        now = int(time.time())
        return self.sign(algorithm, [claims(n, now, **changes) for n in range(count)])

    def sign(self, algorithm, payloads, key=None):
        """Signs payloads; `key` replaces the secret or the private key file."""
        head = b64url(json.dumps({"alg": algorithm, "typ": "JWT"}, separators=(",", ":")).encode())
        inputs = [
            f"{head}.{b64url(json.dumps(p, separators=(',', ':')).encode())}" for p in payloads
        ]
        if algorithm == "none":
            signatures = [b""] * len(inputs)
        elif algorithm == "HS256":
            secret = (key or self.secret).encode()
            signatures = [hmac.digest(secret, i.encode(), hashlib.sha256) for i in inputs]
        else:
            signatures = _sign(algorithm, key or self.private[algorithm], inputs)
        return [f"{i}.{b64url(s)}" for i, s in zip(inputs, signatures)]


def claims(number, now, **changes):
    """The claims of one user's token; a change to None leaves a claim out."""
    made = {
        "sub": f"user-{number:04}",
        "role": ROLE,
        "iat": now,
        "exp": now + 86400,
        "jti": secrets.token_hex(16),
    }
    made.update(changes)
    return {k: v for k, v in made.items() if v is not None}


def _sign(algorithm, key_file, inputs):
    try:
        return _sign_with_package(algorithm, key_file, inputs)
    except ImportError:
        return _sign_with_command(algorithm, key_file, inputs)


def _sign_with_package(algorithm, key_file, inputs):
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    with open(key_file, "rb") as pem:
        key = serialization.load_pem_private_key(pem.read(), None)
    if algorithm == "RS256":
        return [key.sign(i.encode(), padding.PKCS1v15(), hashes.SHA256()) for i in inputs]
    return [raw_ecdsa(key.sign(i.encode(), ec.ECDSA(hashes.SHA256()))) for i in inputs]


def _sign_with_command(algorithm, key_file, inputs):
    argv = [tool("openssl"), "dgst", "-sha256", "-sign", key_file]

    def one(text):
        return subprocess.run(argv, input=text.encode(), capture_output=True, check=True).stdout

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        signatures = list(pool.map(one, inputs))
    return [raw_ecdsa(s) for s in signatures] if algorithm == "ES256" else signatures


def raw_ecdsa(der):
    """RFC 7518, 3.4: r and s side by side, 32 bytes each, out of the DER that libraries make."""
    at = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    halves = []
    for _ in range(2):
        length = der[at + 1]
        number = int.from_bytes(der[at + 2 : at + 2 + length], "big")
        halves.append(number.to_bytes(32, "big"))
        at += 2 + length
    return b"".join(halves)


def _openssl(*arguments):
    subprocess.run([tool("openssl"), *arguments], check=True, capture_output=True)
