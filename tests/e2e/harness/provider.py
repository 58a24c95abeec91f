"""The certified npm oidc-provider as a process, and somebody who signs in at its pages."""

import functools
import html
import http.server
import json
import os
import re
import subprocess
import threading
from pathlib import Path
from urllib.parse import urljoin

import httpx

from .ports import free_port, wait_for

APP = Path(__file__).resolve().parents[2] / "apps/oidc_provider/provider.mjs"
ENVIRONMENT = Path(os.environ.get("PORTCULLIS_TEST_ENVIRONMENTS", "")) / "oidc-provider"
# Debian's Node may be too old for it, so its environment has one that is not.
NODES = "node_modules/node-linux-*/bin/node"
SECRET = "a client secret of forty characters, fine"


class Provider:
    """A provider on a port of its own; not running before `start`. `issuer`: no slash at the end."""

    def __init__(self, folder):
        self.folder, self.port = Path(folder), free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self, clients, access_s=3600):
        """Starts it with these clients; everything that it knew before is gone."""
        settings = {"issuer": self.issuer, "port": self.port, "clients": clients, "access_s": access_s}
        file = self.folder / "provider.json"
        file.write_text(json.dumps(settings))
        node = next(ENVIRONMENT.glob(NODES), "node")
        with (self.folder / "provider.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(node), str(APP), str(ENVIRONMENT.resolve()), str(file)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(self.answers, 20, "the provider to answer")

    def answers(self):
        """Whether it is there."""
        assert self.process.poll() is None, (self.folder / "provider.log").read_text()[-3000:]
        try:
            return httpx.get(f"{self.issuer}/.well-known/openid-configuration", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self):
        """Ends it, and all that it knew."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def count(self, grant):
        """How many tokens were given for a kind of grant."""
        return httpx.get(f"{self.issuer}/counts", timeout=5).json().get(grant, 0)


def back_channel(gate, prefix="/.portcullis/oidc/company"):
    """Where a gateway hears of sign-outs."""
    return f"http://127.0.0.1:{gate.ports['plain']}{prefix}/back-channel-logout"


class Relay:
    """Hears what a provider tells, keeps it in `words`, and passes it on. `url`: where it listens."""

    def __init__(self, target):
        words = self.words = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                words.append(body)
                kind = {"content-type": self.headers["content-type"]}
                answer = httpx.post(target, content=body, headers=kind, timeout=10)
                self.send_response(answer.status_code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=functools.partial(self.server.serve_forever, 0.1), daemon=True).start()

    def close(self):
        """Ends it."""
        self.server.shutdown()
        self.server.server_close()


def client(*gates, name="gate", prefix="/.portcullis/oidc/company", told=None):
    """A client of the provider: the gateways are where browsers come back to, the address `told` hears of sign-outs."""
    registered = {
        "client_id": name,
        "client_secret": SECRET,
        "redirect_uris": [f"{gate.https_url}{prefix}/callback" for gate in gates],
        "post_logout_redirect_uris": [f"{gate.https_url}/goodbye" for gate in gates],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    }
    if told is not None:
        registered["backchannel_logout_uri"] = told
        registered["backchannel_logout_session_required"] = True
    return registered


class Person:
    """A browser without scripts: keeps cookies, follows redirects one by one, fills in forms."""

    PAGE = {
        "accept": "text/html,application/xhtml+xml,*/*;q=0.8",
        "sec-fetch-mode": "navigate",
        "sec-fetch-site": "none",
        "sec-fetch-dest": "document",
    }

    def __init__(self, gate):
        self.gate = gate
        self.http = gate.client()
        self.visited = []

    def close(self):
        """Closes its connections."""
        self.http.close()

    def ask(self, url, **options):
        """One request of a script, nothing followed."""
        return self.http.get(urljoin(self.gate.https_url, url), **options)

    def load(self, url, **options):
        """One page load, nothing followed."""
        answer = self.http.get(urljoin(self.gate.https_url, url), headers=self.PAGE, **options)
        self.visited.append(str(answer.url))
        return answer

    def follow(self, answer, to=None):
        """Follows redirects to the first answer that is none, or whose next address begins with `to`."""
        for _ in range(20):
            if not answer.is_redirect:
                return answer
            there = urljoin(str(answer.url), answer.headers["location"])
            if to and there.startswith(to):
                return there
            answer = self.load(there)
        raise AssertionError(f"redirected without end: {self.visited}")

    def submit(self, page, **fields):
        """Sends the page's form with these fields put in."""
        form = re.search(r"<form[^>]*action=\"([^\"]*)\"[^>]*>", page.text)
        assert form, page.text
        hidden = re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", page.text)
        values = {}
        for field in hidden:
            name, value = (re.search(rf"{what}=\"([^\"]*)\"", field) for what in ("name", "value"))
            values[name.group(1)] = html.unescape(value.group(1)) if value else ""
        action = urljoin(str(page.url), html.unescape(form.group(1)))
        return self.http.post(action, data={**values, **fields}, headers={"accept": "text/html"})

    def sign_in(self, page, user, to=None):
        """Loads a page that needs it, signs in at the provider, and gives what came back at the end."""
        login = self.follow(self.load(page))
        assert "/interaction/" in str(login.url), (login.status_code, str(login.url), login.text[:500])
        return self.follow(self.submit(login, prompt="login", login=user, password="x"), to)

    def cookie(self, name="__Host-portcullis"):
        """The value of a cookie."""
        return self.http.cookies.get(name)
