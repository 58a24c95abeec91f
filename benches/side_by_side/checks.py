"""Before anything is measured: the proxy refuses what it must, and lets no identity be forged.

Judged by what reached a raw socket where the app stands, not by what the proxy says of itself.
"""

import base64
import json
import os
import socket
import ssl
import subprocess
import threading
import time

from .host import Failed, tool
from .proxies import ORIGIN, PREFIX, read
from .tokens import ROLE, b64url, claims

SPOOFS = ["X-Auth-User: root", "x_auth_user: root", "X.Auth_User: root", "X-Auth-Roles: admin"]


class Recorder:
    """An app that keeps the head of every request it got, byte for byte."""

    def __init__(self):
        self.heads = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            connection.settimeout(30)
            waiting = b""
            try:
                while chunk := connection.recv(65536):
                    waiting += chunk
                    while b"\r\n\r\n" in waiting:
                        head, _, waiting = waiting.partition(b"\r\n\r\n")
                        self.heads.append(head.decode("latin-1"))
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            except OSError:
                return

    def close(self):
        """Takes no more connections."""
        self.listener.close()


def client_context():
    """A TLS client that takes the certificate as it is: it was made a moment ago, for this run."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def ask(port, path, lines, method="GET"):
    """One request on a connection of its own; the status, and the TLS version and cipher."""
    context = client_context()
    head = [f"{method} {path} HTTP/1.1", f"Host: localhost:{port}", "Connection: close", *lines]
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as tls:
            tls.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
            answer = b""
            while b"\r\n" not in answer:
                chunk = tls.recv(4096)
                if not chunk:
                    raise Failed(f"connection closed without an answer to {method} {path}")
                answer += chunk
            return int(answer.split()[1]), f"{tls.version()} {tls.cipher()[0]}"


def speaks_tls_1_2(port):
    """Whether the old version is taken too: then nothing would say which one the load spoke."""
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            with context.wrap_socket(plain, server_hostname="localhost"):
                return True
    except (ssl.SSLError, ConnectionError):
        return False


def bearer(token):
    """The header line for a token."""
    return f"Authorization: Bearer {token}"


def bad_tokens(keys, algorithm):
    """What must get 401: name of the trick, header lines."""
    now = int(time.time())
    good = keys.sign(algorithm, [claims(1, now)])[0]
    head, body, signature = good.split(".")
    other = keys.sign(algorithm, [claims(2, now)])[0].split(".")[1]
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[len(raw) // 2] ^= 1
    none = keys.sign("none", [claims(1, now)])[0]
    tricks = {
        "no token": [],
        "a payload exchanged": [bearer(f"{head}.{other}.{signature}")],
        "a signature with one bit changed": [bearer(f"{head}.{body}.{b64url(bytes(raw))}")],
        "no signature": [bearer(f"{head}.{body}.")],
        "a token signed by another key": [bearer(_by_another_key(keys, algorithm, now))],
        "algorithm none": [bearer(none)],
        "algorithm none with a signature": [bearer(none + signature)],
        "an expired token": [bearer(keys.sign(algorithm, [claims(1, now, exp=now - 3600)])[0])],
        "a token without exp": [bearer(keys.sign(algorithm, [claims(1, now, exp=None)])[0])],
        "something that is no token": [bearer("not.a.token")],
        "two tokens": [bearer(good), bearer(good)],
    }
    if algorithm != "HS256":
        confused = keys.sign("HS256", [claims(1, now)], key=read(keys.public[algorithm]))[0]
        tricks["HS256 with the public key as its secret"] = [bearer(confused)]
    return tricks


def _by_another_key(keys, algorithm, now):
    if algorithm == "HS256":
        return keys.sign(algorithm, [claims(1, now)], key="another secret, as long as the first one is")[0]
    path = os.path.join(keys.folder, f"stranger-{algorithm}.key")
    kind = ["RSA", "rsa_keygen_bits:2048"] if algorithm == "RS256" else ["EC", "ec_paramgen_curve:P-256"]
    subprocess.run([tool("openssl"), "genpkey", "-algorithm", kind[0], "-pkeyopt", kind[1], "-out", path],
                   check=True, capture_output=True)
    return keys.sign(algorithm, [claims(1, now)], key=path)[0]


def check(proxy, recorder, path):
    """Everything this proxy promises, by every algorithm; returns TLS version and cipher.

    `path` gives the path asked for under a prefix.

    # Raises
    `Failed`, with every broken promise.
    """
    broken = []

    def expect(what, wanted, port, target, lines, method="GET"):
        before = len(recorder.heads)
        status, secured = ask(port, target, lines, method)
        reached = recorder.heads[before:]
        if status != wanted:
            broken.append(f"{what}: answered {status}, expected {wanted}")
        if wanted != 200 and reached:
            broken.append(f"{what}: reached the app")
        return reached, secured

    secured = None
    for algorithm in PREFIX:
        port, target = proxy.https[algorithm], path(algorithm)
        keys, now = proxy.keys, int(time.time())
        token = keys.sign(algorithm, [claims(7, now)])[0]
        reached, secured = expect(f"{algorithm}: a good token", 200, port, target, [bearer(token), *SPOOFS])
        broken += [f"{algorithm}: {p}" for p in identity_problems(proxy, reached)]
        if not secured.startswith("TLSv1.3 ") or speaks_tls_1_2(port):
            broken.append(f"{algorithm}: not TLS 1.3 alone")
        if not proxy.checks:
            continue
        for trick, lines in bad_tokens(keys, algorithm).items():
            expect(f"{algorithm}: {trick}", 401, port, target, [*lines, *SPOOFS])
        for role in ("user", "staffer", "staf", None):
            plain_user = keys.sign(algorithm, [claims(7, now, role=role)])[0]
            expect(f"{algorithm}: a token with the role {role}", 403, port, target, [bearer(plain_user)])
        # The verdict on a good token must not be lent to a bad one that came after it.
        expect(f"{algorithm}: a good token again", 200, port, target, [bearer(token)])
        forged = token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB")
        expect(f"{algorithm}: a known token forged", 401, port, target, [bearer(forged)])
        if proxy.cors:
            asks = [f"Origin: {ORIGIN}", "Access-Control-Request-Method: PUT"]
            expect(f"{algorithm}: a preflight", 204, port, target, asks, "OPTIONS")
    port = proxy.https["HS256"]
    reached, _ = expect("a public route", 200, port, "/public/page", SPOOFS)
    if proxy.checks:
        broken += [f"a public route: the app was told {n}" for n, _ in identity_headers(reached)]
        expect("a path of no route", 404, port, "/nowhere/", [])
    if broken:
        raise Failed(f"{proxy.name} does not do what is to be measured:\n  " + "\n  ".join(broken))
    return secured


def identity_headers(heads):
    """What an app under WSGI could take for an identity header, as (name, value)."""
    found = []
    for line in "\r\n".join(heads).split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        folded = name.lower().replace("_", "-").replace(".", "-")
        if colon and folded in ("x-auth-user", "x-auth-roles"):
            found.append((folded, value.strip()))
    return sorted(found)


def identity_problems(proxy, heads):
    """What is wrong with the identity that the app was told, for a good token of user-0007."""
    if len(heads) != 1:
        return [f"{len(heads)} requests reached the app instead of one"]
    user = "user-0007" if proxy.checks else "nobody"
    wanted = [("x-auth-roles", proxy.sees_role(ROLE)), ("x-auth-user", user)]
    told = identity_headers(heads)
    return [] if told == wanted else [f"the app was told {json.dumps(told)} instead of {json.dumps(wanted)}"]
