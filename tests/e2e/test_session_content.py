"""What may stand in a store and in a cookie besides sessions: garbage, bombs, pickles that run programs.

Each is refused with its code, in bounded time and memory, and the gateway goes on.
"""

import contextlib
import pickle
import time

import pytest

from harness import forge
from harness.check import refused
from harness.session_apps import SECRET, DjangoSite, FlaskSite
from harness.session_files import django_file, environment, flask_file
from harness.visitor import explained, known

CACHE = "100ms"
MEBIBYTE_KIB = 1024


@contextlib.contextmanager
def bounded(gate, mib=48, seconds=3):
    """The block takes no more than this time, and the gateway no more than this memory on top."""
    before, began = gate.rss_kib(), time.monotonic()
    yield
    took, grown = time.monotonic() - began, gate.rss_kib() - before
    assert took < seconds, f"{took:.1f} s"
    assert grown < mib * MEBIBYTE_KIB, f"{grown // MEBIBYTE_KIB} MiB more"


def password_of(app, user):
    table = app.user_table
    return app.database.execute(f"SELECT password FROM {table} WHERE username = %s", (user,))[0][0]


# ---- Django: rows ----


@pytest.fixture(scope="module")
def django(new_database, start_app):
    return start_app(DjangoSite, new_database("postgres", "content"))


@pytest.fixture(scope="module")
def gate(module_gateway, django):
    return module_gateway(django_file(django, cache=CACHE), env=environment(django))


@pytest.fixture
def row(django):
    """`row(text) -> headers`: a session of that content, which has a day to live."""
    made = iter(range(1000))

    def put(text):
        key = f"row{next(made):03}" + "k" * 26
        django.database.execute("DELETE FROM django_session WHERE session_key = %s", (key,))
        django.database.execute("INSERT INTO django_session VALUES (%s, %s, now() + interval '1 day')", (key, text))
        return {"Cookie": f"sessionid={key}"}

    return put


def test_a_row_written_as_django_writes_it_is_a_session(gate, django, row):
    """What the other tests change stands here unchanged: it would pass."""
    content = forge.django_user(2, password_of(django, "tara"), django.secret)
    for compress in (False, True):
        known(
            gate.get("/api/orders/", headers=row(forge.django(forge.dumps(content), django.secret, compress=compress))),
            django,
            "tara",
        )


GARBAGE = {
    "empty": "",
    "words": "garbage",
    "colons": "::::",
    "not base62": "e30:!!!:abc",
    "a pickle of old": "gASVKAAAAAAAAAB9lIwNX2F1dGhfdXNlcl9pZJSMATKUcy4=",
    "another key's": forge.django(b'{"_auth_user_id":"2"}', "another key"),
    "another salt's": forge.django(b'{"_auth_user_id":"2"}', SECRET, salt=forge.COOKIE_SALT),
    "a megabyte": "x" * (1 << 20),
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_row_with_garbage_is_refused_and_costs_little(gate, row, text):
    headers = row(text)
    with bounded(gate):
        answer = gate.get("/api/orders/", headers=headers)
    assert answer.status_code == 401, answer.text
    code = answer.json()["code"]
    assert code in ("session_malformed", "session_signature"), answer.text
    told = gate.explain("GET", "/api/orders/", headers)
    assert told["code"] == code and told["note"], told


SIGNED = {
    "not JSON": b"garbage",
    "a list": b"[]",
    "null": b"null",
    "nested deeply": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not text": b"\xff\xfe\x00",
    "a pickle": pickle.dumps({"_auth_user_id": "2"}),
}


@pytest.mark.parametrize("payload", SIGNED.values(), ids=SIGNED.keys())
def test_a_row_signed_with_the_right_key_around_nonsense_is_refused(gate, django, row, payload):
    headers = row(forge.django(payload, django.secret, compress=len(payload) > 1000))
    with bounded(gate):
        refused(gate.get("/api/orders/", headers=headers), 401, "session_malformed")
    explained(gate, "/api/orders/", headers, "session_malformed")


@pytest.mark.parametrize("missing", ["_auth_user_id", "_auth_user_backend", "_auth_user_hash"])
def test_a_session_that_lacks_a_part_of_the_login_signs_nobody_in(gate, django, row, missing):
    content = forge.django_user(2, password_of(django, "tara"), django.secret)
    del content[missing]
    refused(
        gate.get("/api/orders/", headers=row(forge.django(forge.dumps(content), django.secret))),
        401,
        "session_anonymous",
    )


def test_a_session_with_another_users_hash_is_refused(gate, django, row):
    content = forge.django_user(3, password_of(django, "tara"), django.secret)
    headers = row(forge.django(forge.dumps(content), django.secret))
    refused(gate.get("/api/orders/", headers=headers), 401, "session_user_changed")
    upper = forge.django_user(2, password_of(django, "tara"), django.secret)
    upper["_auth_user_hash"] = upper["_auth_user_hash"].upper()
    refused(
        gate.get("/api/orders/", headers=row(forge.django(forge.dumps(upper), django.secret))),
        401,
        "session_user_changed",
    )


def test_a_bomb_in_a_row_does_not_grow_in_the_gateway(gate, django, row):
    packed = forge.django(b'{"x":"' + b"0" * (100 << 20) + b'"}', django.secret, compress=True)
    headers = row(packed)
    with bounded(gate):
        for _ in range(5):
            refused(gate.get("/api/orders/", headers=headers), 401, "session_malformed")


# ---- Django: signed cookies ----


@pytest.fixture(scope="module")
def cookies(new_database, start_app):
    return start_app(DjangoSite, new_database("sqlite", "cookies"), engine="signed_cookies")


@pytest.fixture(scope="module")
def cookie_gate(module_gateway, cookies):
    return module_gateway(django_file(cookies, cache=CACHE), env=environment(cookies))


def test_a_cookie_of_4_kib_is_read_and_its_bomb_is_not(cookie_gate, cookies):
    def sign(payload):
        return {"Cookie": "sessionid=" + forge.django(payload, cookies.secret, forge.COOKIE_SALT, compress=True)}

    content = forge.django_user(2, password_of(cookies, "tara"), cookies.secret)
    known(
        cookie_gate.get("/api/orders/", headers=sign(forge.dumps({**content, "draft": "word " * 2000}))),
        cookies,
        "tara",
    )
    headers = sign(forge.bomb(4000))
    assert len(headers["Cookie"]) < 4096
    with bounded(cookie_gate):
        for _ in range(20):
            refused(cookie_gate.get("/api/orders/", headers=headers), 401, "session_malformed")
    explained(cookie_gate, "/api/orders/", headers, "session_malformed")


# ---- Flask: cookies ----


@pytest.fixture(scope="module")
def flask(new_database, start_app):
    return start_app(FlaskSite, new_database("sqlite", "flask_cookies"), sessions="cookie")


@pytest.fixture(scope="module")
def flask_gate(module_gateway, flask):
    return module_gateway(flask_file(flask), env=environment(flask))


def test_flasks_cookie_of_4_kib_is_read_and_its_bomb_is_not(flask_gate, flask):
    def sign(payload, compress=True):
        return {"Cookie": "session=" + forge.flask(payload, flask.secret, compress)}

    content = {"_user_id": "2", "role": "technician", "_fresh": True, "draft": "word " * 2000}
    known(flask_gate.get("/api/tickets/", headers=sign(forge.dumps(content))), flask, "tara")
    headers = sign(forge.bomb(4000))
    assert len(headers["Cookie"]) < 4096
    with bounded(flask_gate):
        for _ in range(20):
            refused(flask_gate.get("/api/tickets/", headers=headers), 401, "session_malformed")
    explained(flask_gate, "/api/tickets/", headers, "session_malformed")
    for payload in (b"[]", b"garbage", b"\xff", b'{"_user_id":' + b"[" * 50_000):
        refused(flask_gate.get("/api/tickets/", headers=sign(payload)), 401, "session_malformed")


# ---- pickles in Redis ----


def pickles(file):
    """Hostile ones by every door that the format has, and broken ones."""
    name = str(file).encode()
    return {
        "reduce": pickle.dumps(forge.Touch(file)),
        "in a dict": pickle.dumps({"_auth_user_id": "2", "_user_id": "2", "x": forge.Touch(file)}),
        "protocol 0": pickle.dumps({"_user_id": forge.Touch(file)}, protocol=0),
        "inst": b"(S'touch " + name + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'touch " + name + b"'\no.",
        "persistent id": b"Psomething\n.",
        "cut": pickle.dumps({"_user_id": "2", "_auth_user_id": "2"})[:-4],
        "huge length": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",
        "nested": b"(" * 200_000 + b".",
        "an integer": b"12345",
        "nothing": b"",
        "words": b"garbage",
    }


NAMES = list(pickles("x"))


@pytest.fixture(scope="module")
def cached(new_database, start_app, redis_server):
    return start_app(
        DjangoSite, new_database("sqlite", "cached"), engine="cache", redis_url=redis_server.url("content-cache")
    )  # fmt: skip


@pytest.fixture(scope="module")
def cached_gate(module_gateway, cached):
    return module_gateway(django_file(cached, cache=CACHE), env=environment(cached))


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_pickle_in_djangos_cache_is_refused_and_never_run(name, cached_gate, cached, redis_server, tmp_path):
    file, key = tmp_path / "made-by-a-pickle", "p" * 32
    with redis_server.client("content-cache") as client:
        client.set(f":1:django.contrib.sessions.cache{key}", pickles(file)[name], ex=60)
    headers = {"Cookie": f"sessionid={key}"}
    time.sleep(0.15)
    with bounded(cached_gate):
        answer = cached_gate.get("/api/orders/", headers=headers)
    code = answer.json()["code"]
    assert answer.status_code == 401 and code in ("session_malformed", "session_unknown"), answer.text
    assert cached_gate.explained_code("GET", "/api/orders/", headers) == code
    assert not file.exists(), "the pickle was run"


def test_a_plain_pickle_in_djangos_cache_is_a_session(cached_gate, cached, redis_server):
    content = forge.django_user(2, password_of(cached, "tara"), cached.secret)
    for protocol in (0, 2, 4, 5):
        key = f"{protocol}" * 32
        with redis_server.client("content-cache") as client:
            client.set(f":1:django.contrib.sessions.cache{key}", pickle.dumps(content, protocol), ex=60)
        known(cached_gate.get("/api/orders/", headers={"Cookie": f"sessionid={key}"}), cached, "tara")


@pytest.fixture(scope="module")
def desk(new_database, start_app, redis_server):
    return start_app(FlaskSite, new_database("sqlite", "desk"), sessions="redis", redis_url=redis_server.url("content-desk"))


@pytest.fixture(scope="module")
def desk_gate(module_gateway, desk):
    return module_gateway(flask_file(desk, cache=CACHE), env=environment(desk))


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_pickle_of_flask_session_is_refused_and_never_run(name, desk_gate, redis_server, tmp_path):
    file, key = tmp_path / "made-by-a-pickle", "p" * 43
    with redis_server.client("content-desk") as client:
        client.set(f"session:{key}", pickles(file)[name], ex=60)
    headers = {"Cookie": f"session={key}"}
    time.sleep(0.15)
    with bounded(desk_gate):
        answer = desk_gate.get("/api/tickets/", headers=headers)
    code = answer.json()["code"]
    assert answer.status_code == 401 and code in ("session_malformed", "session_unknown"), answer.text
    if name in ("reduce", "in a dict", "protocol 0"):
        explained(desk_gate, "/api/tickets/", headers, "session_malformed", "system")
    assert not file.exists(), "the pickle was run"


def test_what_another_program_keeps_in_the_same_redis_is_no_session(desk_gate, redis_server):
    with redis_server.client("content-desk") as client:
        client.delete("session:" + "l" * 43)
        client.rpush("session:" + "l" * 43, "a list")
    answer = desk_gate.get("/api/tickets/", headers={"Cookie": "session=" + "l" * 43})
    assert answer.status_code in (401, 503), answer.text
    assert desk_gate.get("/").status_code == 200


# ---- many ----


def test_a_million_unknown_ids_would_not_fill_the_memory(gate):
    """A slice of the million: memory must not grow with their number."""
    for number in range(200):
        gate.get("/api/orders/", headers={"Cookie": f"sessionid=warm{number:028}"})
    with bounded(gate, mib=16, seconds=60):
        for number in range(3000):
            answer = gate.get("/api/orders/", headers={"Cookie": f"sessionid=many{number:028}"})
            assert answer.status_code == 401
