"""Private database servers: each in a temporary folder, on a free loopback port, ended by its id.

Servers that refuse to run as root run as their own system user, or as `nobody`. A server takes what a test
does to it (`stop`, `start`, `freeze`, `thaw`) and is put right again by `down()` and `frozen()`.
"""

import contextlib
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pymysql
import redis

from .ports import free_port, wait_for

PASSWORD = "private-to-the-tests"


class Missing(Exception):
    """A server program is not installed."""


def program(*names):
    """The path of the first of these programs that there is; Debian keeps PostgreSQL's off the PATH."""
    folders = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *folders])
    for name in names:
        found = shutil.which(name, path=search)
        if found:
            return found
    raise Missing(f"{names[0]} is not installed; tests/run says how to get it")


def unprivileged(user):
    """The words before a command that make it run as `user`, or as `nobody`; none where we are not root.

    The server gets a signal when the tests are killed, so that none outlives them.
    """
    setpriv = program("setpriv")
    if os.getuid() != 0:
        return [setpriv, "--pdeathsig", "KILL"], None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        entry = pwd.getpwnam("nobody")
    ids = ["--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid), "--clear-groups"]
    return [setpriv, *ids, "--pdeathsig", "KILL"], entry


def ahead(folder, seconds):
    """The variables that make the clock of a program go so many seconds ahead of ours, behind it where negative."""
    library = folder / "clock.so"
    subprocess.run(
        [program("cc"), "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, Path(__file__).parent / "clock.c"],
        check=True, timeout=60,
    )  # fmt: skip
    library.chmod(0o644)
    return {"LD_PRELOAD": str(library), "CLOCK_AHEAD_S": str(seconds)}


def family(pid):
    """A process and all that come from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found.extend(child for child, of in parents.items() if of == parent)
    return found


class Service:
    """One server: `port`, `folder`; started when made. Its clock is ours, or goes `ahead_s` seconds ahead of it."""

    name = user = ""

    def __init__(self, ahead_s=0):
        self._as, entry = unprivileged(self.user)
        self.folder = Path(tempfile.mkdtemp(prefix=f"portcullis-{self.name}-"))
        if entry:
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self.port = free_port()
        self.process = None
        self._log = self.folder / "server.log"
        try:
            self._env = {**os.environ, **(ahead(self.folder, ahead_s) if ahead_s else {})}
            self.prepare()
            self.start()
        except BaseException:
            self.remove()
            raise

    def run(self, *command, timeout=60):
        """Runs a command as the server's user."""
        done = subprocess.run(
            [*self._as, *map(str, command)], cwd=self.folder, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        assert done.returncode == 0, f"{command[0]}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self):
        """Starts it with the data it had, and waits until it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._as, *map(str, self.command())],
                cwd=self.folder, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(self._answers, 60, f"{self.name} to answer", every=0.05)

    def _answers(self):
        assert self.process.poll() is None, f"{self.name} ended:\n{self.log()[-3000:]}"
        try:
            return self.answers()
        except (psycopg.Error, pymysql.Error, redis.RedisError, OSError):
            return False

    def stop(self):
        """Ends it as an operator would who is in a hurry: connections are cut, data is kept."""
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.process.send_signal(self.fast)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def restart(self):
        """Stops and starts it."""
        self.stop()
        self.start()

    def freeze(self):
        """Leaves every connection open and answers nothing: a disk that hangs, a machine that swaps."""
        for pid in family(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        """Lets it go on."""
        for pid in reversed(family(self.process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def down(self):
        """Stopped inside the block, started again after it."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def frozen(self):
        """Frozen inside the block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def remove(self):
        """Ends it and takes its folder away."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        """All that the server has written."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""


class Database:
    """One database of a server: `url` is the app's, `reader_url` may SELECT and nothing else."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.url = server.url(f"{name}_app", name)
        self.reader_url = server.url(f"{name}_reader", name)

    def execute(self, statement, parameters=()):
        """Runs one statement as the server's administrator; answers with the rows, if there are any."""
        return self.server.execute(statement, parameters, self.name)

    def connections(self):
        """How many connections the reader has open, as the server counts them."""
        return self.server.connections(f"{self.name}_reader")


class Postgres(Service):
    """PostgreSQL, with `pg_stat_statements` loaded."""

    name, user, fast = "postgres", "postgres", signal.SIGINT

    def prepare(self):
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.run(
            program("initdb"), "-D", self.folder / "data", "-U", "admin", "--pwfile", secret,
            "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip

    def command(self):
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder,
            "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "80",
            "shared_buffers": "32MB", "shared_preload_libraries": "pg_stat_statements", "timezone": "Asia/Tehran",
        }  # fmt: skip
        given = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return [program("postgres"), "-D", self.folder / "data", *given]

    def url(self, user, database):
        return f"postgres://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def answers(self):
        return self.execute("SELECT 1") == [(1,)]

    def execute(self, statement, parameters=(), database="postgres"):
        """Runs one statement as the administrator."""
        with psycopg.connect(self.url("admin", database), autocommit=True, connect_timeout=5) as link:
            done = link.execute(statement, parameters or None)
            return done.fetchall() if done.description else None

    def database(self, name):
        """A fresh database with its two users."""
        for user in (f"{name}_app", f"{name}_reader"):
            self.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
        self.execute(f"CREATE DATABASE {name} OWNER {name}_app")
        made = Database(self, name)
        made.execute("CREATE EXTENSION pg_stat_statements")
        made.execute(
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {name}_app IN SCHEMA public GRANT SELECT ON TABLES TO {name}_reader"
        )
        return made

    def connections(self, user):
        """How many connections a user has."""
        return self.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", (user,))[0][0]


class MariaDb(Service):
    """MariaDB."""

    name, user, fast = "mariadb", "mysql", signal.SIGTERM

    def prepare(self):
        (self.folder / "none.cnf").write_text("[mariadbd]\n")
        self.run(
            program("mariadb-install-db"), f"--defaults-file={self.folder}/none.cnf", f"--datadir={self.folder}/data",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
        )  # fmt: skip

    def command(self):
        return [
            program("mariadbd", "mysqld"), f"--defaults-file={self.folder}/none.cnf", f"--datadir={self.folder}/data",
            "--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self.folder}/sock",
            f"--pid-file={self.folder}/pid", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M",
            "--skip-name-resolve", "--max-connections=80", "--default-time-zone=+03:30", "--performance-schema=OFF",
        ]  # fmt: skip

    def url(self, user, database):
        return f"mysql://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def answers(self):
        return self.execute("SELECT 1") == ((1,),)

    def execute(self, statement, parameters=(), database=None):
        """Runs one statement as the administrator."""
        link = pymysql.connect(
            unix_socket=f"{self.folder}/sock", user="root", database=database, autocommit=True, connect_timeout=5
        )
        with contextlib.closing(link), link.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else None

    def database(self, name):
        """A fresh database with its two users."""
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        for user, rights in ((f"{name}_app", "ALL"), (f"{name}_reader", "SELECT")):
            self.execute(f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
            self.execute(f"GRANT {rights} ON {name}.* TO {user}@'127.0.0.1'")
        return Database(self, name)

    def connections(self, user):
        """How many connections a user has."""
        return self.execute("SELECT count(*) FROM information_schema.processlist WHERE user = %s", (user,))[0][0]


class Redis(Service):
    """Redis, with a password; what it holds survives a restart."""

    name, user, fast = "redis", "redis", signal.SIGTERM

    def prepare(self):
        self.databases = {"": 0}

    def command(self):
        return [
            program("redis-server"), "--bind", "127.0.0.1", "--port", self.port, "--dir", self.folder,
            "--requirepass", PASSWORD, "--appendonly", "yes", "--appendfsync", "always", "--save", "",
            "--databases", "256",
        ]  # fmt: skip

    def url(self, name=""):
        """The address of a database; each name has one of its own."""
        database = self.databases.setdefault(name, len(self.databases))
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def client(self, name=""):
        """A client for the tests themselves."""
        return redis.Redis.from_url(self.url(name), socket_timeout=5)

    def answers(self):
        with self.client() as client:
            return client.ping()

    def connections(self):
        """How many clients it has, this question's own not counted."""
        with self.client() as client:
            return len(client.client_list()) - 1


class Sqlite:
    """A file as a database, with the same face as a server's."""

    def __init__(self, folder, name):
        self.name = name
        self.file = Path(folder) / f"{name}.sqlite3"
        self.url = self.reader_url = f"sqlite:///{self.file}"

    def execute(self, statement, parameters=()):
        """Runs one statement; `%s` stands for a parameter, as at the servers."""
        with contextlib.closing(sqlite3.connect(self.file, timeout=10)) as link, link:
            return link.execute(statement.replace("%s", "?"), parameters).fetchall()
