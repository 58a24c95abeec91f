"""A gateway with the embedded store is killed again and again while people sign in: whoever was answered is signed in."""

import http.client
import itertools
import json
import random
import signal
import threading
import time

import pytest

from harness.apps import FlaskApp
from harness.check import passed
from harness.ports import wait_for
from harness.single_page import COOKIE

SIGN_INS = 10_000
PEOPLE = 12
KILLS = 8
# For all of it.
MOST_S = 90

TOML = """
[session]
store = "embedded"
path = "data/sessions.db"

[upstream.flask]
servers = ["{flask}"]
connections = 64

[auth.token]
type = "jwt"
preset = "flask-jwt-extended"
secret = { env = "FLASK_SECRET_KEY" }

[auth.session]
type = "gateway-session"

[token_handler.flask]
upstream = "flask"
login = "/login"
refresh = "/refresh"
access = "/access_token"
refresh_token = "/refresh_token"
auth = "token"

[[route]]
path = "/login"
upstream = "flask"
auth = "public"

[[route]]
path = "/me"
upstream = "flask"
auth = ["session"]

[[route]]
path = "/known"
auth = ["session"]
respond = { status = 204 }
"""


class Crowd:
    """People who sign in one after the other, each on a connection of their own, until so many were answered."""

    def __init__(self, gate, wanted):
        self.port, self.wanted = gate.ports["plain"], wanted
        self.cookies, self.broken, self.wrong = [], itertools.count(), []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._person, args=(number,)) for number in range(PEOPLE)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _person(self, number):
        user = ("hana", "tara", "sina")[number % 3]
        body = json.dumps({"username": user, "password": f"{user}-password"})
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while len(self.cookies) < self.wanted and not self.over.is_set():
            try:
                link.request("POST", "/login", body, {"Content-Type": "application/json"})
                answer = link.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                # The gateway was killed before it answered: nothing was promised.
                next(self.broken)
                link.close()
                time.sleep(0.02)
                continue
            if answer.status == 200:
                self.cookies.append((user, cookie_of(answer)))
                if b"ey" in text:
                    self.wrong.append(text)
            else:
                self.wrong.append((answer.status, text))
        link.close()


def cookie_of(answer):
    """The session that an answer gave."""
    line = next(line for line in answer.headers.get_all("Set-Cookie") if line.startswith(f"{COOKIE}="))
    return line.partition("=")[2].partition(";")[0]


def not_known(gate, cookies):
    """The sessions that a gateway does not know."""
    lost, parts = [], [cookies[part::PEOPLE] for part in range(PEOPLE)]

    def look(part):
        link = http.client.HTTPConnection("127.0.0.1", gate.ports["plain"], timeout=10)
        for user, cookie in part:
            link.request("GET", "/known", headers={"Cookie": f"{COOKIE}={cookie}"})
            answer = link.getresponse()
            text = answer.read()
            if answer.status != 204:
                lost.append((user, answer.status, text))
        link.close()

    threads = [threading.Thread(target=look, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return lost


@pytest.fixture
def flask(tmp_path):
    app = FlaskApp(tmp_path, ACCESS_SECONDS="3600")
    yield app
    app.stop()


def kill(gate):
    """Without a word, and again on the same file."""
    gate.signal(signal.SIGKILL)
    gate.process.wait(10)
    gate.close_clients()
    gate.start()


def test_whoever_was_answered_is_signed_in_however_often_the_gateway_is_killed(gateway, flask):
    began = time.monotonic()
    gate = gateway(TOML, flask=flask.url)
    moments = random.Random()
    with Crowd(gate, SIGN_INS) as crowd:
        for number in range(1, KILLS + 1):
            # Somewhere in each of the parts that the kills divide the run into.
            due = int(SIGN_INS * (number - moments.random()) / KILLS)
            wait_for(lambda due=due: len(crowd.cookies) >= due, MOST_S, f"{due} sign-ins", every=0.005)
            kill(gate)
        wait_for(lambda: len(crowd.cookies) >= SIGN_INS, MOST_S, "the last sign-in", every=0.01)
        # The last of them are a moment old.
        gate.signal(signal.SIGKILL)
    gate.process.wait(10)
    gate.start()
    signed_in = time.monotonic() - began
    assert not crowd.wrong, crowd.wrong[:3]
    cookies = crowd.cookies
    assert len({cookie for _, cookie in cookies}) == len(cookies) >= SIGN_INS
    assert next(crowd.broken) >= KILLS, "the kills came while people signed in"
    lost = not_known(gate, cookies)
    assert not lost, f"{len(lost)} of {len(cookies)}: {lost[:3]}"
    for user, cookie in moments.sample(cookies, 50):
        answer = passed(gate.get("/me", door="plain", headers={"Cookie": f"{COOKIE}={cookie}"}))
        assert answer.json()["user"] == user
    took = time.monotonic() - began
    print(f"{len(cookies)} sign-ins and {KILLS + 1} kills in {signed_in:.0f} s, all found in {took:.0f} s")
    assert took < MOST_S
