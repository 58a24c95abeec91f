"""Django's versions, session backends and databases: each with each of the others at least once, one story for all.

The three versions are 4.2, 5.2 and the newest that a Python of this machine runs; each pair of version, backend and
database stands in the twelve rows below.
"""

import httpx
import pytest

from harness.check import refused
from harness.session_apps import DjangoSite
from harness.session_files import django_file, environment
from harness.visitor import SLACK_S, explained, known, refused_soon

VERSIONS = ["4.2", "5.2", "newest"]
BACKENDS = ["db", "cached_db", "cache", "signed_cookies"]
DATABASES = ["postgres", "mariadb", "sqlite"]
ROWS = [
    (VERSIONS[(row + column) % 3], backend, database)
    for row, backend in enumerate(BACKENDS)
    for column, database in enumerate(DATABASES)
]
CACHE = "300ms"


@pytest.fixture(scope="module")
def databases(new_database):
    """One database for each version and kind, whatever the backend."""
    made = {}

    def find(version, kind):
        if (version, kind) not in made:
            made[version, kind] = new_database(kind, f"matrix_{version.replace('.', '')}")
        return made[version, kind]

    return find


@pytest.fixture
def site(request, databases, tmp_path, redis_server, gateway):
    version, backend, kind = request.param
    # A number of Redis of its own for each row, so that no row reads another's sessions.
    redis_url = redis_server.url(1 + ROWS.index(request.param))
    users = "stock" if version == "5.2" else "custom"
    key_prefix = "shop" if backend == "cache" else ""
    app = DjangoSite(
        tmp_path, databases(version, kind), version=version, engine=backend, users=users,
        redis_url=redis_url, KEY_PREFIX=key_prefix,
    )  # fmt: skip
    keys = f'key_prefix = "{key_prefix}"' if key_prefix else ""
    try:
        yield app, gateway(django_file(app, cache=CACHE, keys=keys), env=environment(app))
    finally:
        app.stop()


def app_agrees(app, headers):
    """Whether the app itself, asked without the gateway, takes the credential."""
    return httpx.get(app.url + "/api/auth/me", headers=headers, trust_env=False, timeout=10).status_code == 200


def test_every_pair_of_version_backend_and_database_is_in_the_rows():
    for left, right in ((0, 1), (0, 2), (1, 2)):
        sides = [VERSIONS, BACKENDS, DATABASES]
        assert {(row[left], row[right]) for row in ROWS} == {(a, b) for a in sides[left] for b in sides[right]}


@pytest.mark.parametrize("site", ROWS, indirect=True, ids="-".join)
def test_a_session_lives_and_dies_at_the_gateway_as_in_django(site, visit):
    app, gate = site
    soon = 0.3 + SLACK_S
    refused(gate.get("/api/orders/"), 401, "credentials_missing")
    for name in ("hana", "tara"):
        known(visit(gate).sign_in(name).ask(), app, name)

    # Somebody who only fills a basket.
    passer = visit(gate)
    passer.submit("/basket/", item="lamp")
    refused(passer.ask(), 401, "session_anonymous")

    # Another browser of the same person changes the password.
    name = app.spare()
    here, there, elsewhere = (visit(gate).sign_in(name) for _ in range(3))
    known(there.ask(), app, name)
    words = {"old_password": f"{name}-password", "new_password1": "another-one-9", "new_password2": "another-one-9"}
    assert here.submit("/accounts/password/", **words).status_code == 302
    if app.engine == "signed_cookies":
        # Two logins within one second make the same cookie: the verdict of the one is the other's.
        refused_soon(elsewhere.ask, "session_user_changed", soon)
    explained(gate, "/api/orders/", elsewhere.cookie, "session_user_changed", "password")
    refused_soon(there.ask, "session_user_changed", soon, or_else="session_unknown")
    assert not app_agrees(app, elsewhere.cookie)
    known(here.ask(), app, name)

    # The account is closed.
    app.deactivate(name)
    refused_soon(here.ask, "user_inactive", soon)
    assert not app_agrees(app, here.cookie)

    # Somebody signs out. A signed cookie cannot be called back: Django takes it until it is old, as the gateway does.
    leaver = visit(gate).sign_in(app.spare())
    kept = leaver.cookie
    assert leaver.ask().status_code == 200
    leaver.sign_out()
    if app.engine == "signed_cookies":
        assert app_agrees(app, kept) and gate.get("/api/orders/", headers=kept).status_code == 200
    else:
        refused_soon(lambda: gate.get("/api/orders/", headers=kept), "session_unknown", soon)
        assert not app_agrees(app, kept)


@pytest.mark.parametrize("site", ROWS[-1:], indirect=True, ids="-".join)
def test_a_signed_cookie_that_was_touched_or_is_none_is_told_apart(site, visit):
    app, gate = site
    value = visit(gate).sign_in("tara").client.cookies["sessionid"]
    body, time, signature = value.split(":")
    touched = {"Cookie": f"sessionid={body[:-1]}{'A' if body[-1] != 'A' else 'B'}:{time}:{signature}"}
    explained(gate, "/api/orders/", touched, "session_signature", "SECRET_KEY")
    for other in ("a" * 32, "x" * 4000, f"{body}:{time}"):
        answer = gate.get("/api/orders/", headers={"Cookie": f"sessionid={other}"})
        assert answer.json()["code"] in ("session_malformed", "session_signature"), answer.text
        assert answer.status_code == 401


def test_a_signed_cookie_expires_by_its_age(new_database, start_app, gateway, visit):
    app = start_app(DjangoSite, new_database("sqlite", "age"), engine="signed_cookies", SESSION_COOKIE_AGE="3")
    gate = gateway(django_file(app, cache=CACHE, keys='lifetime = "3s"'), env=environment(app))
    person = visit(gate).sign_in("tara")
    kept = person.cookie
    known(person.ask(), app, "tara")
    refused_soon(lambda: gate.get("/api/orders/", headers=kept), "session_expired", 3 + SLACK_S)
    explained(gate, "/api/orders/", kept, "session_expired", "expired")
    assert not app_agrees(app, kept)


@pytest.mark.parametrize("kind", ["mariadb", "sqlite"])
def test_times_without_a_zone_are_read_in_the_apps_zone(kind, new_database, start_app, gateway, visit):
    app = start_app(
        DjangoSite, new_database(kind, "zone"), USE_TZ="no", TIME_ZONE="Asia/Tehran", SHORT_SESSION_S="4"
    )  # fmt: skip
    gate = gateway(django_file(app, cache=CACHE, keys='time_zone = "Asia/Tehran"'), env=environment(app))
    person = visit(gate).sign_in("tara", remember=False)
    known(person.ask(), app, "tara")
    refused_soon(person.ask, "session_expired", 4 + SLACK_S)
