"""Starts the real apps under gunicorn, each in a folder of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from .ports import wait_for

APPS = Path(__file__).resolve().parents[2] / "apps"
DJANGO_SECRET_KEY = "django-test-key-that-is-long-enough-0123456789abcdefghijklmnop"
FLASK_SECRET_KEY = "flask-test-key-that-is-long-enough-0123456789abcdefghijklmnopq"
SECRETS = {"DJANGO_SECRET_KEY": DJANGO_SECRET_KEY, "FLASK_SECRET_KEY": FLASK_SECRET_KEY}


# Has gunicorn write a line for each request.
ACCESS_LOG = ("--access-logfile", "-")


class App:
    """A gunicorn with one of the apps: `url` (no slash at its end), `address` (host:port), `socket` (a unix socket)."""

    # What the server writes when it has its port.
    listens = r"Listening at: .*?http://(127\.0\.0\.1:\d+)"

    def __init__(self, name, target, folder, env=None, args=(), python=sys.executable):
        self.name, self.folder = name, Path(folder)
        self.socket = self.folder / f"{name}.sock"
        self._log = self.folder / f"{name}.log"
        self._env = {**os.environ, **SECRETS, **(env or {}), "PYTHONDONTWRITEBYTECODE": "1"}
        self._command = self.command(str(python), target, args)
        self.start()

    def command(self, python, target, args):
        """The words that start the server on a free port and on the unix socket."""
        return [
            python, "-m", "gunicorn", "--config", "gunicorn.conf.py", "--no-control-socket",
            "--bind", "127.0.0.1:0", "--bind", f"unix:{self.socket}", *args, target,
        ]  # fmt: skip

    def start(self, env=None):
        """Starts it, with another environment where one is given; the unix socket stays, the port does not."""
        self._env.update(env or {})
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(self._command, cwd=APPS / self.name, env=self._env, stdout=log, stderr=log)
        self.address = wait_for(self._listening, 30, f"{self.name} to listen")
        self.url = f"http://{self.address}"
        wait_for(self._answers, 30, f"{self.name} to answer")

    def restart(self, env=None):
        """Stops it and starts it."""
        self.stop()
        self.start(env)

    def _listening(self):
        text = self.log()
        assert self.process.poll() is None, f"{self.name} ended:\n{text}"
        found = re.search(self.listens, text)
        return found and found.group(1)

    def _answers(self):
        try:
            return httpx.get(self.url + "/", trust_env=False, timeout=5).status_code < 600
        except httpx.TransportError:
            return False

    def asked(self, words):
        """How often a request was answered, such as `POST /login`; for an app started with `ACCESS_LOG`."""
        return self.log().count(f'"{words} HTTP/')

    def log(self):
        """All that gunicorn and the app have written."""
        return self._log.read_text(errors="replace")

    def end(self):
        """Asks gunicorn to end, and does not wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self):
        """Ends gunicorn and its workers."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)


class DjangoApp(App):
    """The Django app with a fresh database and the three users `hana` (host), `tara` (technician), `sina` (supervisor)."""

    def __init__(self, folder, args=(), **env):
        env = {
            "DJANGO_DATABASE": str(Path(folder) / "db.sqlite3"), "DJANGO_SETTINGS_MODULE": "project.settings", **env,
        }  # fmt: skip
        for command in (["migrate", "-v0"], ["make_users"]):
            subprocess.run(
                [sys.executable, "manage.py", *command],
                cwd=APPS / "django_app", env={**os.environ, **SECRETS, **env, "PYTHONDONTWRITEBYTECODE": "1"},
                check=True, timeout=60,
            )  # fmt: skip
        super().__init__("django_app", "project.wsgi:application", folder, env, args)

    def tokens(self, user, path="/api/token/"):
        """`{access, refresh}` from SimpleJWT's own view; from `/api/login/` with a `roles` claim."""
        answer = httpx.post(self.url + path, json={"username": user, "password": f"{user}-password"}, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def role_tokens(self, user):
        """The same from the app's own login, whose tokens carry roles, city, mail address and name."""
        return self.tokens(user, "/api/login/")


class FlaskApp(App):
    """The Flask app; the same three names sign in. `secret` is its `SECRET_KEY`, where not the usual one."""

    def __init__(self, folder, secret=FLASK_SECRET_KEY, args=(), **env):
        super().__init__("flask_app", "app:app", folder, {"FLASK_SECRET_KEY": secret, **env}, args)

    def tokens(self, user):
        """`{access_token, refresh_token}`."""
        answer = httpx.post(
            self.url + "/login", json={"username": user, "password": f"{user}-password"}, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        return answer.json()
