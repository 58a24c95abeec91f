"""The shop's chat: Django Channels under daphne, its messages through Redis."""

import os
import subprocess
from pathlib import Path

import httpx

from .apps import APPS, SECRETS, App
from .session_apps import python_of


class ChannelsApp(App):
    """The chat with a fresh database and two users, `sara` (staff) and `kian` (a customer)."""

    listens = r"Listening on TCP address (127\.0\.0\.1:\d+)"
    ids = {"sara": "1", "kian": "2"}

    def __init__(self, folder, redis_url):
        python, self.database = python_of("channels"), Path(folder) / "db.sqlite3"
        env = {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DJANGO_DATABASE": str(self.database),
            "REDIS_URL": redis_url,
        }
        done = subprocess.run(
            [str(python), "-B", "manage.py", "make_users"], cwd=APPS / "channels_django",
            env={**os.environ, **SECRETS, **env}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        super().__init__("channels_django", "project.asgi:application", folder, env, python=python)

    def command(self, python, target, args):
        return [python, "-m", "daphne", "--bind", "127.0.0.1", "--port", "0", "-u", str(self.socket), *args, target]

    @property
    def upstream(self):
        """What `servers` of the gateway lists: the same after a restart."""
        return f"unix:{self.socket}"

    def tokens(self, user, path="/api/token/"):
        """`{access, refresh}` from the app's own login; from `/api/token/counter/` an access token of four seconds."""
        answer = httpx.post(self.url + path, json={"username": user, "password": f"{user}-password"}, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()
