"""The gateway as a process: its file, its ports, its log, its end."""

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
from pathlib import Path

import httpx

from .apps import SECRETS
from .certs import is_authority
from .ports import free_port, wait_for

ROOT = Path(__file__).resolve().parents[3]
BINARY = os.environ.get("PORTCULLIS_BIN") or str(ROOT / "target/debug/portcullis")
DRAIN_S = 5

# Put before a file that has no `[server]` of its own.
SERVER = """
[server]
https = "127.0.0.1:{https}"
http = "127.0.0.1:{http}"
plain = "127.0.0.1:{plain}"
admin = "127.0.0.1:{admin}"

[server.timeouts]
tls_handshake = "5s"
request_headers = "5s"
request_body = "10s"
response_body = "10s"
keep_alive = "10s"
drain = "5s"

[tls]
development = true
"""


class Result:
    """What a command said: `code`, `out`, `err`, and `text`, which is both."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.text = self.out + self.err

    def json(self):
        """The output as JSON."""
        return json.loads(self.out)

    def __repr__(self):
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


def run_binary(*args, env=None, cwd=None, timeout=30, stdin=""):
    """Runs a command of the binary to its end, with a clean environment of its own."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PORTCULLIS_")}
    done = subprocess.run(
        [BINARY, *map(str, args)], env={**clean, **SECRETS, **(env or {})}, cwd=cwd,
        capture_output=True, text=True, errors="replace", timeout=timeout, input=stdin,
    )  # fmt: skip
    return Result(done)


class Gateway:
    """One running gateway.

    `https_url`, `http_url`, `plain_url`, `admin_url`: no slash at the end. `ports`: name to number.
    `folder`: where gateway.toml stands. `config`: that file. A port is a free one unless it is given as a place.
    """

    def __init__(self, folder, toml, env=None, args=(), wait=True, **places):
        self.folder = Path(folder)
        self.config = self.folder / "gateway.toml"
        self.ports = {name: places.pop(name, None) or free_port() for name in ("https", "http", "plain", "admin")}
        self.places = places
        self.env, self.args = env or {}, list(args)
        self.process = None
        self._clients = {}
        self._stdout, self._stderr = self.folder / "stdout.log", self.folder / "stderr.log"
        self.write(toml)
        self.start(wait)

    # ---- the file ----

    def render(self, toml):
        """Fills the places: `{https}`, `{http}`, `{plain}`, `{admin}`, `{folder}`, and what was given by name."""
        if toml and "[server]" not in toml:
            toml = SERVER + toml
        for name, value in {"folder": self.folder, **self.ports, **self.places}.items():
            toml = toml.replace("{" + name + "}", str(value))
        return toml

    def write(self, toml):
        """Writes the file whole, by rename, as careful editors do."""
        fresh = self.folder / "gateway.toml.new"
        fresh.write_text(self.render(toml))
        fresh.replace(self.config)

    @property
    def https_url(self):
        return f"https://localhost:{self.ports['https']}"

    @property
    def http_url(self):
        return f"http://localhost:{self.ports['http']}"

    @property
    def plain_url(self):
        return f"http://localhost:{self.ports['plain']}"

    @property
    def admin_url(self):
        return f"http://127.0.0.1:{self.ports['admin']}"

    @property
    def ca_file(self):
        """The development CA's certificate."""
        for file in sorted((self.folder / "certs").glob("*")):
            if is_authority(file):
                return file
        raise AssertionError(f"no CA among {sorted((self.folder / 'certs').glob('*'))}")

    # ---- the process ----

    def start(self, wait=True):
        """Starts the process; waits for `/ready` unless told not to."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PORTCULLIS_")}
        with self._stdout.open("ab") as out, self._stderr.open("ab") as err:
            self.process = subprocess.Popen(
                [BINARY, "run", "--config", str(self.config), *self.args],
                cwd=self.folder, env={**clean, **SECRETS, **self.env}, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip
        if wait:
            try:
                wait_for(self.ready, 20, "the gateway to be ready", every=0.03)
            except BaseException as failure:
                self.kill()
                if isinstance(failure, AssertionError) and "the gateway ended" not in str(failure):
                    raise AssertionError(f"{failure}\n{self.output()[-6000:]}") from None
                raise

    def ready(self):
        """Whether `/ready` answers 200; fails when the process has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.output()}")
        try:
            return httpx.get(self.admin_url + "/ready", trust_env=False, timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def pid(self):
        return self.process.pid

    def signal(self, number):
        """Sends a signal."""
        self.process.send_signal(number)

    def rss_kib(self):
        """Resident memory in KiB."""
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text()).group(1))

    def open_files(self):
        """How many descriptors are open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def kill(self):
        """Ends it at once."""
        self.close_clients()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def stop(self):
        """Sends SIGTERM and expects exit code 0 within the drain time."""
        self.close_clients()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DRAIN_S + 5)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"SIGTERM did not end the gateway:\n{self.output()[-4000:]}") from None
        assert self.process.returncode == 0, f"exit {self.process.returncode}:\n{self.output()[-4000:]}"

    def reload(self, toml, expect=True):
        """Writes the file and sends SIGHUP; waits until the log says that this reload is taken, or refused.

        `expect=None` does not wait. The counters would not do: the file is watched too, and the reload that an
        earlier change brings is counted as well.
        """
        before = self.hangups()
        self.write(toml)
        self.signal(signal.SIGHUP)
        if expect is None:
            return
        index = 0 if expect else 1
        wait_for(
            lambda: self.hangups()[index] > before[index],
            10, f"a reload that is {'taken' if expect else 'refused'}; those by SIGHUP were {before}",
        )  # fmt: skip

    def hangups(self):
        """How many reloads by SIGHUP were taken and how many refused, as the log tells them."""
        lines = [line for line in self.output().splitlines() if "SIGHUP" in line]
        return tuple(
            sum(f"the configuration was {told}" in line for line in lines) for told in ("reloaded", "not taken")
        )

    def reloads(self):
        """How many reloads were taken and how many refused, as the metrics count them."""
        good = bad = 0
        for name, labels, value in self.metrics():
            if "reload" in name and name.endswith("_total"):
                words = " ".join(labels.values())
                if re.search(r"ok|success|taken|applied|accepted", words):
                    good += value
                elif re.search(r"fail|refused|error|rejected", words):
                    bad += value
        return good, bad

    # ---- clients ----

    def tls(self, cert=None):
        """A context that trusts the development CA; `cert` is a pair of files."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if cert:
            context.load_cert_chain(*map(str, cert))
        return context

    def client(self, http2=False, cert=None, base_url=None, **options):
        """A client of its own for the public door; close it, or use it as a context."""
        return httpx.Client(
            base_url=base_url or self.https_url, verify=self.tls(cert), http2=http2, http1=not http2,
            trust_env=False, timeout=options.pop("timeout", 30), **options,
        )  # fmt: skip

    def request(self, method, path, door="https", **options):
        """One request over a kept HTTP/1.1 connection; `door` is `https`, `plain`, `http` or `admin`."""
        if door not in self._clients:
            base = getattr(self, f"{door}_url")
            verify = self.tls() if door == "https" else True
            self._clients[door] = httpx.Client(base_url=base, verify=verify, trust_env=False, timeout=30)
        client = self._clients[door]
        client.cookies.clear()
        return client.request(method, path, **options)

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, **options):
        return self.request("POST", path, **options)

    def close_clients(self):
        """Closes what `request` kept open."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    # ---- what it says ----

    def output(self):
        """Everything it has written."""
        return self._stdout.read_text(errors="replace") + self._stderr.read_text(errors="replace")

    def log_lines(self):
        """Every JSON line of the log, with a nested `fields` object laid open."""
        lines = []
        for text in self.output().splitlines():
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict):
                    if isinstance(line.get("fields"), dict):
                        line = {**line, **line["fields"]}
                    lines.append(line)
        return lines

    def access_lines(self, request_id=None):
        """The lines that tell of a request, all of them or those of one id."""
        lines = [line for line in self.log_lines() if "status" in line and "method" in line and "path" in line]
        return [line for line in lines if request_id is None or request_id in line.values()]

    def access_line(self, answer):
        """The line of the request that got this answer."""
        wanted = answer.headers["x-request-id"]
        return wait_for(lambda: self.access_lines(wanted), 5, f"the log line of {wanted}")[0]

    def metrics_text(self):
        """What Prometheus scrapes."""
        answer = self.get("/metrics", door="admin")
        assert answer.status_code == 200, answer.text
        return answer.text

    def metrics(self):
        """The samples: name, labels, value."""
        samples = []
        for line in self.metrics_text().splitlines():
            found = re.fullmatch(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?", line)
            if found:
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found.group(2) or ""))
                samples.append((found.group(1), labels, float(found.group(3))))
        return samples

    def count(self, name, **labels):
        """The sum of the samples whose name contains `name` and whose labels hold these values."""
        return sum(
            value
            for sample, found, value in self.metrics()
            if name in sample
            and not sample.endswith(("_bucket", "_sum"))
            and all(found.get(key) == wanted for key, wanted in labels.items())
        )

    # ---- commands ----

    def run_cli(self, command, *args, **options):
        """Runs another command of the binary with this gateway's file and secrets."""
        env = {**self.env, **options.pop("env", {})}
        return run_binary(command, "--config", self.config, *args, env=env, cwd=self.folder, **options)

    def explain(self, method, path, headers=None, extra=()):
        """`explain --json` of a request at the public door."""
        url = path if "://" in path else self.https_url + path
        given = headers.items() if isinstance(headers, dict) else headers or ()
        options = [word for name, value in given for word in ("-H", f"{name}: {value}")]
        result = self.run_cli("explain", method, url, *options, *extra, "--json")
        try:
            return result.json()
        except ValueError:
            raise AssertionError(f"explain gave no JSON: {result!r}") from None

    def explained_code(self, method, path, headers=None):
        """The code that `explain` names for a request, or None where it would be forwarded."""
        return outcome_code(self.explain(method, path, headers))


def outcome_code(explained):
    """The refusal's code in what `explain --json` wrote: at the top, or in the object that tells the outcome."""
    if "code" in explained:
        return explained["code"]
    for key in ("outcome", "answer", "verdict", "decision", "result", "refusal"):
        inner = explained.get(key)
        if isinstance(inner, dict):
            return inner.get("code")
    raise AssertionError(f"no outcome in {explained}")
