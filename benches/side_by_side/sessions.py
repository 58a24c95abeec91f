"""Django's sessions in a private PostgreSQL: a thousand users, each signed in, all by Django's own formulas.

The gateway reads them as it does in production: the row by its key, then the user with the groups.
"""

import base64
import glob
import hashlib
import hmac
import json
import os
import pwd
import shutil
import subprocess
import time

from .host import LOAD_CORE, Missing, Process, free_ports
from .proxies import PORTCULLIS_ROUTE, Portcullis

SECRET = "a SECRET_KEY of the comparison, which signs nothing else"
PASSWORD = "pbkdf2_sha256$1000000$salt$hash-of-user-{}"
SALT = "django.contrib.sessions.SessionStore"
HASH_SALT = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"


def b64(data):
    """Base64url without padding, as django.core.signing has it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b62(number):
    """django.core.signing.b62_encode."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = alphabet[digit] + digits
    return digits or "0"


def salted_hmac(salt, value):
    """django.utils.crypto.salted_hmac with SHA-256."""
    key = hashlib.sha256((salt + SECRET).encode()).digest()
    return hmac.new(key, value.encode(), hashlib.sha256)


def session_key(number):
    """The cookie of one user."""
    return hashlib.sha256(f"session {number}".encode()).hexdigest()[:32]


def session_data(number):
    """The text of one row, as `SessionBase.encode` writes it."""
    session = {
        "_auth_user_id": str(number),
        "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
        "_auth_user_hash": salted_hmac(HASH_SALT, PASSWORD.format(number)).hexdigest(),
    }
    value = b64(json.dumps(session, separators=(",", ":")).encode()) + ":" + b62(int(time.time()))
    return value + ":" + b64(salted_hmac(SALT + "signer", value).digest())


TABLES = """
create table auth_user (id serial primary key, password varchar(128) not null, last_login timestamptz,
  is_superuser boolean not null, username varchar(150) not null unique, first_name varchar(150) not null,
  last_name varchar(150) not null, email varchar(254) not null, is_staff boolean not null, is_active boolean not null,
  date_joined timestamptz not null);
create table auth_group (id serial primary key, name varchar(150) not null unique);
create table auth_user_groups (id bigserial primary key, user_id integer not null, group_id integer not null,
  unique (user_id, group_id));
create table django_session (session_key varchar(40) primary key, session_data text not null,
  expire_date timestamptz not null);
insert into auth_group (name) values ('staff');
"""


class Postgres:
    """A private PostgreSQL on the load's core, with `count` users signed in."""

    def __init__(self, setting, count):
        self.folder = setting.fresh_folder("postgres")
        (self.port,) = free_ports(1)
        # PostgreSQL refuses to run as root.
        self.as_user = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        if self.as_user:
            owner = pwd.getpwnam("nobody")
            os.chmod(setting.folder, 0o755)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self.run(postgres_tool("initdb"), "-D", self.folder + "/data", "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-sync")
        argv = [*self.as_user, postgres_tool("postgres"), "-D", self.folder + "/data", "-p", str(self.port),
                "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}", "-c", "fsync=off"]
        process = Process("postgres", argv, LOAD_CORE, os.path.join(setting.folder, "postgres.log"))
        setting.started.callback(process.stop)
        process.wait_for_port(self.port)
        self.url = f"postgres://bench@127.0.0.1:{self.port}/postgres"
        self.fill(count)

    def run(self, *argv, text=None):
        """One command of PostgreSQL's."""
        subprocess.run([*self.as_user, *argv], input=text, text=True, check=True, capture_output=True, timeout=120)

    def fill(self, count):
        """The tables and their rows."""
        lines = [TABLES]
        for n in range(1, count + 1):
            lines.append(
                f"insert into auth_user values ({n}, '{PASSWORD.format(n)}', null, false, 'user-{n}', '', '', '', true, true, now());"
                f"insert into auth_user_groups (user_id, group_id) values ({n}, 1);"
                f"insert into django_session values ('{session_key(n)}', '{session_data(n)}', now() + interval '14 days');")
        lines.append("analyze;")
        for _ in range(100):
            try:
                return self.run(postgres_tool("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-1", self.url.replace("postgres://", "postgresql://"),
                                text="\n".join(lines))
            except subprocess.CalledProcessError as failed:
                # The port is open a moment before the server takes questions.
                if "starting up" not in failed.stderr:
                    raise
                time.sleep(0.1)
        raise Missing("PostgreSQL did not start")


def postgres_tool(name):
    """A program of PostgreSQL's, which Debian keeps off the PATH."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    path = found[-1] if found else shutil.which(name)
    if path is None:
        raise Missing(f"{name} is not installed: apt-get install postgresql")
    return path


class PortcullisSessions(Portcullis):
    """Django's session cookie instead of a token; the verdict may be reused for a long time."""

    name = "Portcullis, sessions"
    cache = "10m"

    def configure(self, setting):
        argv = super().configure(setting)
        path = argv[-1]
        with open(path, "a") as out:
            out.write(SESSIONS.format(secret=SECRET, url=setting.postgres.url, cache=self.cache))
            out.write(PORTCULLIS_ROUTE.format(prefix="/session", auth="session"))
        return argv


class PortcullisColdSessions(PortcullisSessions):
    """Nothing is reused: every request asks the store and the directory."""

    name = "Portcullis, cold sessions"
    cache = "0s"


SESSIONS = """
[auth.session]
type = "django-session"
secret = "{secret}"
database = "{url}"
directory = "users"
cache = "{cache}"

[directory.users]
type = "django"
database = "{url}"
roles = ["groups"]
cache = "{cache}"
"""


def get(port, path, cookie):
    """One request with a session cookie, and an identity header that the client has no right to send."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: wrk\r\n"
        f"Accept: application/json\r\nCookie: sessionid={cookie}\r\nX-Auth-User: root\r\n\r\n"
    )
