"""The apps with a login page of their own, on the framework versions that tests/environments pins."""

import os
import subprocess
from pathlib import Path

import pytest

from .apps import APPS, App
from .gateway import BINARY
from .ports import wait_for

SECRET = "session-test-key-that-is-long-enough-0123456789abcdefghijklmnop"
NEW_SECRET = "session-test-key-that-came-after-it-0123456789abcdefghijklmnop"


def python_of(environment):
    """The interpreter of `django-4.2`, `flask-session-0.8`, …

    Where none was made CI fails and elsewhere the test is skipped aloud; where the machine has no Python that the
    framework runs on, the test is skipped and says so.
    """
    folder = Path(os.environ.get("PORTCULLIS_TEST_ENVIRONMENTS") or Path(BINARY).parents[1] / "test-environments")
    python = folder / environment / "bin" / "python"
    if python.exists():
        return python
    told = folder / f"{environment}.missing"
    words = told.read_text().strip() if told.exists() else f"{folder / environment} is not there; tests/run makes it"
    say = pytest.fail if os.environ.get("CI") == "true" and "no Python" not in words else pytest.skip
    return say(words)


class SessionApp(App):
    """One of the apps; its users are `hana` (host), `tara` (technician), `sina` (supervisor, staff), some to spare."""

    ids = {"hana": 1, "tara": 2, "sina": 3}
    roles = {"hana": "host", "tara": "technician", "sina": "supervisor"}

    def __init__(self, name, target, folder, environment, database, env):
        self.database, self.python = database, python_of(environment)
        self.secret = env["SECRET_KEY"]
        # What the app is configured by, and `init` reads.
        self.settings = env = {**env, "DATABASE_URL": database.url}
        if not getattr(database, "prepared", False):
            done = subprocess.run(
                [str(self.python), "-B", *self.preparation], cwd=APPS / name, env={**os.environ, **env},
                capture_output=True, text=True, timeout=90,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            database.prepared, database.spares = True, iter(range(1, 41))
        super().__init__(name, target, folder, env, python=self.python)

    @property
    def upstream(self):
        """What `servers` of the gateway lists: the same after a restart."""
        return f"unix:{self.socket}"

    def spare(self):
        """The name of a technician whom no other test knows; `id_of` tells the id."""
        return f"spare{next(self.database.spares):02}"

    def id_of(self, user):
        """The user's id."""
        return self.ids.get(user) or 3 + int(user.removeprefix("spare"))

    def role_of(self, user):
        """The user's role."""
        return self.roles.get(user, "technician")

    def asked(self, path):
        """How often a path was asked for since the app was started; a request is counted when it was answered."""
        return self.log().count(f" {path} ")

    def wait_asked(self, path, times):
        """Waits until a path was asked for so often."""
        wait_for(lambda: self.asked(path) >= times, 10, f"{times} questions for {path}")


class DjangoSite(SessionApp):
    """The Django app: `version` is `4.2`, `5.2`, `newest`; `users` is `custom` (a role column) or `stock` (groups)."""

    preparation = ["manage.py", "make_users"]

    def __init__(self, folder, database, version="5.2", engine="db", users="custom", redis_url=None, **env):
        self.version, self.engine, self.users = version, engine, users
        self.redis_url = redis_url
        self.user_table = "accounts_user" if users == "custom" else "auth_user"
        env = {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "SECRET_KEY": SECRET,
            "SESSION_ENGINE": engine,
            "USER_MODEL": "accounts.User" if users == "custom" else "auth.User",
            **({"REDIS_URL": redis_url} if redis_url else {}),
            **env,
        }
        super().__init__("session_django", "project.wsgi:application", folder, f"django-{version}", database, env)

    def deactivate(self, user):
        """Ends an account behind the app's back, as a colleague with a database client does."""
        no = "0" if self.database.url.startswith(("mysql", "sqlite")) else "false"
        self.database.execute(f"UPDATE {self.user_table} SET is_active = {no} WHERE username = %s", (user,))


class FlaskSite(SessionApp):
    """The Flask app: `sessions` is `sqlalchemy`, `redis` or `cookie`; `version` that of Flask-Session."""

    preparation = ["-m", "flask", "--app", "app", "make-users"]

    def __init__(self, folder, database, version="0.8", sessions="sqlalchemy", redis_url=None, **env):
        self.version, self.sessions, self.redis_url = version, sessions, redis_url
        env = {
            "SECRET_KEY": SECRET,
            "SESSIONS": sessions,
            **({"REDIS_URL": redis_url} if redis_url else {}),
            **env,
        }
        super().__init__("session_flask", "app:app", folder, f"flask-session-{version}", database, env)
