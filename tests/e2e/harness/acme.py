"""A real ACME server for one test: Pebble, with a name server that leads every name to this machine.

Pebble rejects one nonce in twenty, reuses authorizations at random and looks at names for real. `Front` stands
before it where a test wants it to count, to refuse, or to say when to renew. `FalseCa` is none at all.
"""

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509

from .certs import Authority
from .ports import free_port, wait_for
from .services import Missing, program

HOST = "127.0.0.1"


class Pebble:
    """The CA: `directory`, `ca_file` to trust it, `roots()` of what it issues, `down()`.

    It looks at `tls_port` and `http_port`; a certificate lives `life` seconds; `sleep` is the most seconds
    before it looks. With `keys`, name to key in base64url, an account must belong to one of its own site.
    """

    def __init__(self, folder, tls_port, http_port, life=90 * 24 * 3600, sleep=0, keys=None):
        self.folder = folder
        self._program, self._names = program("pebble"), program("pebble-challtestsrv")
        # It gets a signal when the tests are killed, so that it does not outlive them.
        self._prefix = [program("setpriv"), "--pdeathsig", "KILL"]
        own = Authority("The CA's own")
        cert, key = own.issue_files(folder, "pebble", common_name="ca", names=["localhost", HOST])
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(own.pem())
        self.port, self.admin_port, self.dns_port = free_port(), free_port(), free_port()
        self._config = folder / "pebble.json"
        self._config.write_text(json.dumps({"pebble": {
            "listenAddress": f"{HOST}:{self.port}", "managementListenAddress": f"{HOST}:{self.admin_port}",
            "certificate": str(cert), "privateKey": str(key), "httpPort": http_port, "tlsPort": tls_port,
            "ocspResponderURL": "", "externalAccountBindingRequired": bool(keys), "externalAccountMACKeys": keys or {},
            "certificateValidityPeriod": life,
        }}))  # fmt: skip
        self._pace = {"PEBBLE_VA_SLEEPTIME": str(sleep)} if sleep else {"PEBBLE_VA_NOSLEEP": "1"}
        self._processes = []
        self.start()

    @property
    def directory(self):
        return f"https://{HOST}:{self.port}/dir"

    def start(self):
        """Starts it anew, with no memory of accounts and with new keys."""
        with (self.folder / "pebble.log").open("ab") as log:
            dns = f"{HOST}:{self.dns_port}"
            names = [self._names, "-dns01", dns, "-http01", "", "-https01", "", "-tlsalpn01", "",
                     "-management", f"{HOST}:{free_port()}", "-defaultIPv6", ""]  # fmt: skip
            for command in (names, [self._program, "-config", str(self._config), "-strict", "-dnsserver", dns]):
                env = {"PATH": os.environ["PATH"], **self._pace}
                self._processes.append(subprocess.Popen(
                    [*self._prefix, *command], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                ))  # fmt: skip
        try:
            wait_for(self._answers, 20, "pebble to answer")
        except AssertionError:
            self.stop()
            raise

    def stop(self):
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(10)
        self._processes.clear()

    @contextlib.contextmanager
    def down(self):
        """Not there, for as long as this lasts."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _context(self):
        return ssl.create_default_context(cafile=str(self.ca_file))

    def _answers(self):
        with contextlib.suppress(OSError):
            return self._get(self.directory)

    def _get(self, url):
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context())
        )
        with opener.open(url, timeout=5) as answer:
            return answer.read().decode()

    def trust(self):
        """A context that believes what it issues, and nothing else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self._get(f"https://{HOST}:{self.admin_port}/roots/0"))
        return context

    def log(self):
        return (self.folder / "pebble.log").read_text(errors="replace")


def pebble(folder, *args, **options):
    """A `Pebble`, or a skip that says so."""
    import pytest

    try:
        return Pebble(folder, *args, **options)
    except Missing as missing:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say(str(missing))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Clients that go away are no news."""


def _serve(folder, handler):
    own = Authority("Another CA's own")
    cert, key = own.issue_files(folder, "front", common_name="ca", names=["localhost", HOST])
    ca_file = folder / "front-ca.pem"
    ca_file.write_bytes(own.pem())
    server = _Server((HOST, 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, ca_file


class Front:
    """Passes everything on to a `Pebble`, and keeps what was asked and answered in `asked`: path and status.

    `refusal`: `(status, headers, problem)` for every new order. `window`: `(start, end)`, when to renew, as text.
    `hold`: an event that new orders wait for.
    """

    def __init__(self, pebble, folder):
        self.asked, self.refusal, self.window, self.hold = [], None, None, None
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _pass(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, headers, answer = front._answer(self.command, self.path, self.headers, body, pebble)
                front.asked.append((self.path, status))
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_POST = do_HEAD = _pass

        self._server, self.ca_file = _serve(folder, Handler)
        self.directory = f"https://{HOST}:{self._server.server_port}/dir"

    def _answer(self, method, path, headers, body, pebble):
        if self.window and path.startswith("/renewal/"):
            start, end = self.window
            text = json.dumps({"suggestedWindow": {"start": start, "end": end}}).encode()
            return 200, [("Content-Type", "application/json"), ("Retry-After", "21600")], text
        if self.refusal and path == "/order-plz":
            status, more, problem = self.refusal
            nonce = self._forward("HEAD", "/nonce-plz", headers, b"", pebble)[1]
            nonces = [(name, value) for name, value in nonce if name.lower() == "replay-nonce"]
            kind = [("Content-Type", "application/problem+json")]
            return status, [*kind, *nonces, *more], json.dumps(problem).encode()
        if self.hold and path == "/order-plz":
            self.hold.wait(25)
        status, answered, text = self._forward(method, path, headers, body, pebble)
        if self.window and path == "/dir":
            directory = json.loads(text)
            directory["renewalInfo"] = self.directory.removesuffix("/dir") + "/renewal"
            text = json.dumps(directory).encode()
        return status, answered, text

    def _forward(self, method, path, headers, body, pebble):
        connection = http.client.HTTPSConnection(HOST, pebble.port, context=pebble._context(), timeout=20)
        try:
            # The Host that was asked for: Pebble makes its addresses of it.
            kept = {name: headers[name] for name in ("Host", "Content-Type", "User-Agent") if headers[name]}
            connection.request(method, path, body=body or None, headers=kept)
            answer = connection.getresponse()
            hop = {"content-length", "transfer-encoding", "connection", "date"}
            passed = [(name, value) for name, value in answer.getheaders() if name.lower() not in hop]
            return answer.status, passed, answer.read()
        finally:
            connection.close()

    def orders(self):
        """How many certificates were ordered; a nonce that was rejected is no order."""
        return sum(path == "/order-plz" and status != 400 for path, status in self.asked)

    def accounts(self):
        """How many accounts were made."""
        return sum(path == "/sign-me-up" and status == 201 for path, status in self.asked)

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class FalseCa:
    """Answers every question by `answer(handler)`, over https."""

    def __init__(self, folder, answer):
        self.asked = 0
        false = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _answer(self):
                false.asked += 1
                answer(self)

            do_GET = do_POST = do_HEAD = _answer

        self._server, self.ca_file = _serve(folder, Handler)
        self.directory = f"https://{HOST}:{self._server.server_port}/dir"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def shake(port, name, context, alpn=None):
    """Shakes hands and answers with the leaf and the protocol; raises what went wrong."""
    if alpn:
        context.set_alpn_protocols(alpn)
    with socket.create_connection((HOST, port), timeout=10) as raw:
        with context.wrap_socket(raw, server_hostname=name) as secured:
            leaf = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True))
            return leaf, secured.selected_alpn_protocol()


def anyone():
    """A context that believes every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def ask(port, name, context, path="/"):
    """One request over a connection of its own; answers with the status and the serial of the certificate."""
    with socket.create_connection((HOST, port), timeout=10) as raw:
        with context.wrap_socket(raw, server_hostname=name) as secured:
            serial = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True)).serial_number
            secured.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while block := secured.recv(65536):
                answer += block
            return int(answer.split()[1]), serial


class Load:
    """Asks again and again from a few threads until closed: `statuses`, `serials`, `failures`."""

    def __init__(self, port, name, context, threads=3):
        self.statuses, self.serials, self.failures = [], set(), []
        self._over = False
        self._threads = [
            threading.Thread(target=self._run, args=(port, name, context), daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, port, name, context):
        while not self._over:
            try:
                status, serial = ask(port, name, context)
                self.statuses.append(status)
                self.serials.add(serial)
            except (OSError, IndexError, ValueError) as failure:
                self.failures.append(repr(failure))
            time.sleep(0.02)

    def close(self):
        self._over = True
        for thread in self._threads:
            thread.join(20)
