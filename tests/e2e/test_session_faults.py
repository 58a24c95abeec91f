"""Databases and Redis that are down, frozen, restarted: 503 for those who need them, nothing for everybody else."""

import asyncio
import threading
import time

import httpx
import pytest

from harness.check import passed, refused
from harness.ports import seconds_until, wait_for
from harness.session_apps import DjangoSite, FlaskSite
from harness.session_files import django_file, environment, flask_file
from harness.tokens import bearer, simplejwt
from harness.visitor import CACHE_S, explained, known

# A refusal for want of a store comes within this time, and recovery within this time after the store is back.
LIMIT_S = 3.0
# What the README says that a gateway opens to one database at most.
POOL = 8

# What the gateway answers itself needs no app, which hangs when its store does; tokens that carry roles need no store.
MORE = """
[[route]]
path = "/known/"
respond = { status = 200, body = "known" }
auth = ["session"]

[auth.plain]
type = "jwt"
preset = "simplejwt"
secret = { env = "SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[[route]]
path = "/api/plain/{*rest}"
upstream = "app"
auth = ["plain"]
strip_prefix = "/api/plain"
"""


class Undisturbed:
    """Asks a public page and a page for tokens all the time, and remembers every answer and the longest wait."""

    def __init__(self, gate, token):
        self.gate, self.token = gate, token
        self.answers, self.longest, self.failures = 0, 0.0, []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self):
        with self.gate.client() as client:
            while not self._over.is_set():
                for path, headers in (("/", {}), ("/api/plain/", bearer(self.token))):
                    began = time.monotonic()
                    try:
                        answer = client.get(path, headers=headers)
                        if answer.status_code != 200:
                            self.failures.append((path, answer.status_code, answer.text[:200]))
                    except httpx.HTTPError as failure:
                        self.failures.append((path, repr(failure)))
                    self.longest = max(self.longest, time.monotonic() - began)
                    self.answers += 1
                time.sleep(0.02)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(10)


@pytest.fixture(scope="module")
def sites(new_database, start_app, module_gateway, redis_server):
    """By name: an app whose sessions stand in that server, and the gateway in front of it."""
    made = {}

    def site(name):
        if name not in made:
            if name == "redis":
                app = start_app(
                    FlaskSite, new_database("sqlite", "faults"), sessions="redis", redis_url=redis_server.url("faults")
                )  # fmt: skip
                toml = flask_file(app, more=MORE)
            else:
                app = start_app(DjangoSite, new_database(name, f"faults_{name}"))
                toml = django_file(app, more=MORE)
            made[name] = app, module_gateway(toml, env=environment(app))
        return made[name]

    return site


@pytest.fixture(params=["postgres", "mariadb", "redis"])
def case(request, sites, visit, redis_server):
    """The server that fails, the app, the gateway, and a function that signs somebody in."""
    app, gate = sites(request.param)
    server = redis_server if request.param == "redis" else app.database.server

    def sign_in(user="tara"):
        if request.param == "redis":
            return visit(gate, session="session", login="/login", api="/api/tickets/").sign_in(user)
        return visit(gate).sign_in(user)

    return server, app, gate, sign_in


def unavailable(person):
    """A request that needs the store: 503 in time."""
    began = time.monotonic()
    answer = person.ask()
    took = time.monotonic() - began
    refused(answer, 503, "auth_unavailable")
    assert took <= LIMIT_S, f"{took:.1f} s"
    return answer


@pytest.mark.parametrize("fault", ["down", "frozen"])
def test_a_store_that_fails_is_503_for_those_who_need_it_and_nobody_else(case, fault):
    server, app, gate, sign_in = case
    people = [sign_in() for _ in range(3)]
    known(people[0].ask(), app, "tara")
    token = simplejwt(secret=app.secret, user_id="7", roles=["host"])
    with Undisturbed(gate, token) as others:
        with getattr(server, fault)():
            # Nobody asked with this one before: no verdict is kept.
            answer = unavailable(people[1])
            assert server.folder.name not in answer.text and str(server.port) not in answer.text
            wait_for(lambda: people[0].ask().status_code == 503, CACHE_S + LIMIT_S, "the kept verdict to end")
            refused(gate.get(people[0].api), 401, "credentials_missing")
            seen = others.answers
            explained(gate, people[2].api, people[2].cookie, "auth_unavailable")
            wait_for(lambda: others.answers > seen + 10, 5, "others to be served meanwhile")
        took = seconds_until(lambda: people[0].ask().status_code == 200, LIMIT_S, "recovery")
    known(people[1].ask(), app, "tara")
    assert took <= LIMIT_S
    assert not others.failures, others.failures[:3]
    assert others.longest < 2, f"others waited {others.longest:.1f} s"


def test_a_restart_of_the_store_costs_no_session(case):
    server, app, gate, sign_in = case
    tara = sign_in()
    known(tara.ask(), app, "tara")
    server.restart()
    seconds_until(lambda: tara.ask().status_code == 200, LIMIT_S, "recovery")
    known(tara.ask(), app, "tara")


def test_a_store_that_is_down_at_the_start_is_taken_up_when_it_comes(case):
    server, app, gate, sign_in = case
    tara = sign_in()
    with server.down():
        gate.stop()
        gate.start(wait=False)
        wait_for(lambda: serves(gate), 20, "the public door")
        unavailable(tara)
        assert not gate.ready(), "/ready tells that a store is out of reach"
    seconds_until(lambda: tara.ask().status_code == 200, LIMIT_S, "recovery")
    known(tara.ask(), app, "tara")
    wait_for(gate.ready, 5, "/ready to say yes")


def serves(gate):
    """Whether the public door answers."""
    try:
        return gate.get("/").status_code == 200
    except (httpx.TransportError, AssertionError):
        return False


def test_faults_over_and_over_leave_no_connection_behind(case):
    server, app, gate, sign_in = case
    people = [sign_in() for _ in range(4)]
    count = server.connections if server.name == "redis" else app.database.connections
    passed(people[0].ask())

    async def ask_many(number):
        async with httpx.AsyncClient(base_url=gate.plain_url, trust_env=False, timeout=20) as client:
            wanted = [people[n % len(people)] for n in range(number)]
            return await asyncio.gather(*(client.get("/known/", headers=one.cookie) for one in wanted))

    files = gate.open_files()
    for _ in range(3):
        with server.frozen():
            # Until no verdict is kept any more, and everyone has waited for the store in vain.
            wait_for(lambda: {answer.status_code for answer in asyncio.run(ask_many(40))} == {503}, 10, "503 for all")
        seconds_until(lambda: people[0].ask().status_code == 200, LIMIT_S, "recovery")
    server.restart()
    seconds_until(lambda: people[0].ask().status_code == 200, LIMIT_S, "recovery")
    asyncio.run(ask_many(40))
    # Redis counts the app's connections too.
    spare = 12 if server.name == "redis" else 0
    wait_for(lambda: count() <= POOL + spare, 5, "the connections to be few")
    wait_for(lambda: gate.open_files() <= files + POOL, 15, "the gateway's own descriptors to be few")


def test_one_store_out_of_two_does_not_take_the_others_users_along(
    new_database, start_app, gateway, visit, redis_server
):
    """Sessions in Redis, the directory in MariaDB: tokens need the directory alone."""
    app = start_app(
        DjangoSite, new_database("mariadb", "two_stores"), engine="cache", redis_url=redis_server.url("faults-cache")
    )  # fmt: skip
    gate = gateway(django_file(app), env=environment(app))
    tara = visit(gate).sign_in("tara")
    access = gate.post("/api/token/", json={"username": "tara", "password": "tara-password"}).json()["access"]
    with redis_server.down():
        unavailable(tara)
        known(gate.get("/api/orders/x", headers=bearer(access)), app, "tara", method="token")
    seconds_until(lambda: tara.ask().status_code == 200, LIMIT_S, "recovery")


@pytest.mark.parametrize("fault", ["down", "frozen"])
def test_a_cache_in_front_of_the_table_that_fails_signs_nobody_out(
    fault, new_database, start_app, gateway, visit, redis_server
):
    """`cached_db`: the table has every session, too."""
    app = start_app(
        DjangoSite, new_database("postgres", f"cached_{fault}"), engine="cached_db", redis_url=redis_server.url("faults-cached")
    )  # fmt: skip
    gate = gateway(django_file(app, cache="100ms", more=MORE), env=environment(app))
    tara = visit(gate).sign_in("tara")
    passed(tara.ask("/known/"))
    time.sleep(0.2)
    with getattr(redis_server, fault)():
        began = time.monotonic()
        answer = tara.ask("/known/")
        assert time.monotonic() - began <= LIMIT_S
        assert answer.status_code in (200, 503), answer.text
        assert gate.get("/known/", headers={"Cookie": "sessionid=" + "u" * 32}).status_code in (401, 503)
    seconds_until(lambda: tara.ask("/known/").status_code == 200, LIMIT_S, "recovery")


def calls(app, table):
    """How many statements with this table the gateway's user has had answered."""
    question = (
        "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid "
        "WHERE rolname = %s AND query ILIKE %s"
    )
    return app.database.execute(question, (f"{app.database.name}_reader", f"%{table}%"))[0][0]


def test_200_first_requests_with_one_session_are_one_question(sites, visit):
    app, gate = sites("postgres")
    tara = visit(gate).sign_in("tara")
    before = calls(app, "django_session"), calls(app, "accounts_user")

    async def ask_all():
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=gate.plain_url, trust_env=False, timeout=30, limits=limits) as client:
            asked = [asyncio.create_task(client.get("/api/orders/", headers=tara.cookie)) for _ in range(200)]
            # All of them wait for the one answer, which comes when the database goes on.
            await asyncio.sleep(0.8)
            app.database.server.thaw()
            return await asyncio.gather(*asked)

    with app.database.server.frozen():
        answers = asyncio.run(ask_all())
    assert [answer.status_code for answer in answers] == [200] * 200
    assert {answer.json()["headers"]["X_AUTH_USER"] for answer in answers} == {"2"}
    after = calls(app, "django_session"), calls(app, "accounts_user")
    assert after[0] - before[0] == 1, "one question for the session"
    assert after[1] - before[1] == 1, "and one for the user"


def test_a_crowd_of_sessions_is_served_through_a_few_connections(sites, visit):
    app, gate = sites("postgres")
    people = [visit(gate).sign_in(name) for name in ("hana", "tara", "sina") for _ in range(5)]
    most = [0]

    async def ask_all():
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(base_url=gate.plain_url, trust_env=False, timeout=30, limits=limits) as client:
            asked = [client.get("/known/", headers=one.cookie) for one in people for _ in range(20)]
            return await asyncio.gather(*asked)

    watch = threading.Event()

    def count():
        while not watch.wait(0.05):
            most[0] = max(most[0], app.database.connections())

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    answers = asyncio.run(ask_all())
    watch.set()
    thread.join(5)
    assert [answer.text for answer in answers] == ["known"] * len(answers)
    assert 1 <= most[0] <= POOL, f"{most[0]} connections"
