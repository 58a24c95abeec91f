"""Fixtures: the real apps once a run, a gateway for a test or for a module, tools that must be there in CI."""

import contextlib
import os
import shutil

import pytest

from harness.apps import DjangoApp, FlaskApp
from harness.channels import ChannelsApp
from harness.gateway import Gateway
from harness.services import MariaDb, Missing, Postgres, Redis, Sqlite
from harness.visitor import Visitor

_live = []


@pytest.fixture(scope="session")
def django_app(tmp_path_factory):
    """The Django app under gunicorn: `.url`, `.address`, `.socket`, `.tokens(user)`, `.role_tokens(user)`."""
    app = DjangoApp(tmp_path_factory.mktemp("django"))
    yield app
    app.stop()


@pytest.fixture(scope="session")
def flask_app(tmp_path_factory):
    """The Flask app under gunicorn: `.url`, `.tokens(user)`."""
    app = FlaskApp(tmp_path_factory.mktemp("flask"))
    yield app
    app.stop()


@pytest.fixture(scope="module")
def chat_app(tmp_path_factory, redis_server):
    """The chat under daphne: `.upstream`, `.tokens(user)`, `.database`."""
    app = ChannelsApp(tmp_path_factory.mktemp("channels"), redis_server.url("channels"))
    yield app
    app.stop()


def _service(kind, **options):
    try:
        service = kind(**options)
    except Missing as missing:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say(str(missing))
    try:
        yield service
    finally:
        service.remove()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL of the run's own: `.database(name)`, `.down()`, `.frozen()`."""
    yield from _service(Postgres)


@pytest.fixture(scope="module")
def own_postgres():
    """The same for one file alone, which makes users and databases by names that others may want too."""
    yield from _service(Postgres)


@pytest.fixture(scope="session")
def mariadb():
    """A MariaDB of the run's own, with the same face."""
    yield from _service(MariaDb)


@pytest.fixture(scope="session")
def redis_server():
    """A Redis of the run's own: `.url(name)`, `.client(name)`, `.down()`, `.frozen()`."""
    yield from _service(Redis)


@pytest.fixture
def service_ahead():
    """`service_ahead(Redis, 3600)`: one of the test's own whose clock goes so many seconds ahead of ours."""
    with contextlib.ExitStack() as stack:

        def start(kind, seconds):
            return stack.enter_context(contextlib.contextmanager(_service)(kind, ahead_s=seconds))

        yield start


@pytest.fixture(scope="session")
def new_database(request, tmp_path_factory):
    """`new_database("postgres", "name")`: a fresh database at one of `postgres`, `mariadb`, `sqlite`."""

    def make(kind, name):
        if kind == "sqlite":
            return Sqlite(tmp_path_factory.mktemp("sqlite"), name)
        return request.getfixturevalue(kind).database(name)

    return make


@pytest.fixture(scope="module")
def start_app(tmp_path_factory):
    """`start_app(DjangoSite, database, ...)`: one of the session apps, stopped after the module."""
    started = []

    def start(kind, database, **options):
        started.append(kind(tmp_path_factory.mktemp("app"), database, **options))
        return started[-1]

    yield start
    # All at once: each takes a second to let its requests end.
    for app in started:
        app.end()
    for app in started:
        app.stop()


@pytest.fixture
def visit():
    """`visit(gate, ...) -> Visitor`: somebody with a browser of their own, closed after the test."""
    made = []

    def person(*args, **options):
        made.append(Visitor(*args, **options))
        return made[-1]

    yield person
    for visitor in made:
        visitor.close()


@contextlib.contextmanager
def _gateways(tmp_path_factory):
    started = []

    def start(toml, env=None, args=(), folder=None, **places):
        gate = Gateway(folder or tmp_path_factory.mktemp("gateway"), toml, env=env, args=args, **places)
        started.append(gate)
        _live.append(gate)
        return gate

    try:
        yield start
        for gate in started:
            gate.stop()
    finally:
        for gate in started:
            gate.kill()
            _live.remove(gate)


@pytest.fixture
def gateway(tmp_path_factory):
    """`gateway(toml, env=None, args=(), folder=None, **places) -> Gateway`, stopped after the test.

    The toml's `{https} {http} {plain} {admin}` become free ports, and `{name}` what `name=` gave. A toml
    without `[server]` gets the harness's own. At the end SIGTERM must end it with exit code 0.
    """
    with _gateways(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def module_gateway(tmp_path_factory):
    """The same for a whole module."""
    with _gateways(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def need():
    """`need("promtool")`: the tool's path. Where it is missing CI fails, elsewhere the test is skipped aloud."""

    def path(tool):
        found = shutil.which(tool)
        if found is None:
            say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            say(f"{tool} is not installed; tests/run says how to get it")
        return found

    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what the gateways wrote."""
    report = yield
    if report.failed:
        for gate in _live:
            report.sections.append((f"gateway {gate.config}", gate.output()[-6000:]))
    return report
