"""`init` in front of the real apps: the file it writes is accepted, holds no secret, and breaks nothing."""

import ast
import re
import sys

import pytest

from harness.apps import APPS, DJANGO_SECRET_KEY, FLASK_SECRET_KEY
from harness.gateway import ROOT, run_binary
from harness.tokens import bearer, simplejwt, tampered

SCRIPTS = ROOT / "src/cli/init"
DJANGO = APPS / "django_app" / "manage.py"


def init(*args, **options):
    return run_binary("init", *args, "--python", sys.executable, **options)


@pytest.fixture(scope="module")
def django_file(django_app, tmp_path_factory):
    """What `init` writes for the Django app, in text."""
    file = tmp_path_factory.mktemp("init") / "gateway.toml"
    env = {"DJANGO_DATABASE": str(django_app.folder / "db.sqlite3")}
    done = init("--django", DJANGO, "--output", file, "--upstream", django_app.url, env=env, cwd=file.parent)
    assert done.code == 0 and "export DJANGO_SECRET_KEY=" in done.out, done
    return file


@pytest.fixture(scope="module")
def flask_file(flask_app, tmp_path_factory):
    """The same for the Flask app."""
    file = tmp_path_factory.mktemp("init") / "gateway.toml"
    done = init("--flask", "app:app", "--output", file, "--upstream", flask_app.url, cwd=APPS / "flask_app")
    assert done.code == 0 and "export FLASK_SECRET_KEY=" in done.out, done
    return file


def served(file):
    """The file with the addresses of a test."""
    text = file.read_text()
    for name, address in (("https", "0.0.0.0:8443"), ("http", "0.0.0.0:8080"), ("admin", "127.0.0.1:9090")):
        text = text.replace(f'"{address}"', f'"127.0.0.1:{{{name}}}"')
    return text


def test_the_django_file_is_accepted_and_holds_no_secret(django_file):
    text = django_file.read_text()
    assert DJANGO_SECRET_KEY not in text and 'secret    = { env = "DJANGO_SECRET_KEY" }' in text
    for line in (
        'user_table = "accounts_user"',
        'roles      = ["groups", "flags", "column:role"]',
        'path     = "/api/me/{*rest}"',
        'auth     = ["token", "session"]',
    ):
        assert line in text, text
    checked = run_binary("check", "--config", django_file)
    assert checked.code == 0 and "warning" not in checked.text, checked
    assert run_binary("test", "--config", django_file).code == 0


def test_the_django_app_works_through_its_file_as_it_does_alone(gateway, django_app, django_file):
    gate = gateway(served(django_file))
    pair = django_app.tokens("tara")
    with gate.client() as client:
        me = client.get("/api/me/", headers=bearer(pair["access"]))
        assert me.status_code == 200 and me.json() == {"id": 2, "username": "tara", "role": "technician"}
        echoed = client.get("/api/echo/x").json()
        assert echoed["path"] == "/api/echo/x" and echoed["is_secure"] is True
        for path in ("/", "/health/", "/accounts/login/", "/api/cached/", "/api/echo/", "/api/gzip/"):
            assert client.get(path).status_code == 200, path
        for code in (204, 401, 403, 404, 500):
            assert client.get(f"/api/status/{code}/").status_code == code
        assert client.get("/notes/").headers["location"] == "/accounts/login/?next=/notes/"
        assert client.post("/api/upload/", content=b"x" * 1000).json()["length"] == 1000
        signed_in = client.post("/api/token/", json={"username": "sina", "password": "sina-password"})
        assert signed_in.status_code == 200
        assert client.post("/api/token/refresh/", json={"refresh": pair["refresh"]}).status_code == 200
        assert client.post("/api/login/", json={"username": "sina", "password": "sina-password"}).status_code == 200


def test_the_gateway_refuses_what_the_django_app_would(gateway, django_app, django_file):
    gate = gateway(served(django_file))
    pair = django_app.tokens("tara")
    preflight = {
        "Origin": "https://page.example.com",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    with gate.client() as client:
        for headers, code in (
            ({}, "credentials_missing"),
            (bearer(tampered(pair["access"])), "token_signature"),
            (bearer(pair["refresh"]), "token_claim"),
            (bearer(simplejwt(user_id="999")), "user_unknown"),
        ):
            answer = client.get("/api/me/", headers=headers)
            assert answer.status_code == 401 and answer.json()["code"] == code, (code, answer.text)
        # The app lets every origin in, which no rule says: it goes on answering preflights.
        allowed = client.options("/api/me/", headers=preflight)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://page.example.com"


def test_the_session_of_the_apps_own_login_passes(gateway, django_file):
    gate = gateway(served(django_file))
    with gate.client(follow_redirects=False) as client:
        assert client.get("/api/me/").json()["code"] == "credentials_missing"
        page = client.get("/accounts/login/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page).group(1)
        form = {"username": "hana", "password": "hana-password", "csrfmiddlewaretoken": token}
        done = client.post("/accounts/login/", data=form, headers={"Origin": gate.https_url})
        assert done.status_code == 302, done.text
        me = client.get("/api/me/")
        assert me.status_code == 200 and me.json()["username"] == "hana", me.text


def test_the_flask_file_is_accepted_and_the_app_works_through_it(gateway, flask_app, flask_file):
    text = flask_file.read_text()
    assert FLASK_SECRET_KEY not in text and 'preset = "flask-jwt-extended"' in text
    checked = run_binary("check", "--config", flask_file)
    assert checked.code == 0 and "warning" not in checked.text, checked
    gate = gateway(served(flask_file))
    pair = flask_app.tokens("tara")
    with gate.client() as client:
        assert client.get("/me", headers=bearer(pair["access_token"])).json()["user"] == "tara"
        assert client.get("/me").json()["code"] == "credentials_missing"
        assert client.get("/me", headers=bearer(pair["refresh_token"])).json()["code"] == "token_claim"
        assert client.get("/echo/a/b").json()["path"] == "/echo/a/b"
        client.post("/login/cookie", json={"username": "sina", "password": "sina-password"})
        assert client.get("/me").json()["user"] == "sina"
        assert client.post("/me").status_code in (401, 403)
        assert client.post("/me", headers={"X-CSRF-TOKEN": client.cookies["csrf_access_token"]}).status_code == 200
        assert client.get("/boom").status_code == 500


def test_what_the_app_lacks_is_told_with_what_to_do(tmp_path):
    missing = run_binary("init", "--django", tmp_path / "manage.py", cwd=tmp_path)
    assert missing.code == 1 and "manage.py" in missing.err, missing
    (tmp_path / "manage.py").write_text("import os\nraise RuntimeError('no ' + 'settings here')\n")
    broken = init("--django", tmp_path / "manage.py", cwd=tmp_path)
    assert broken.code == 1 and "no settings here" in broken.err and "--python" in broken.err, broken
    none = run_binary("init", "--flask", "app:app", "--python", tmp_path / "python", cwd=tmp_path)
    assert none.code == 1 and "--python" in none.err, none
    assert not (tmp_path / "gateway.toml").exists()


def test_a_file_that_is_there_stays(tmp_path):
    first = run_binary("init", cwd=tmp_path)
    assert first.code == 0 and (tmp_path / "gateway.toml").read_text() == (ROOT / "gateway.toml").read_text()
    again = run_binary("init", cwd=tmp_path)
    assert again.code == 1 and "--force" in again.err
    assert run_binary("init", "--force", cwd=tmp_path).code == 0
    assert run_binary("init", "--output", "-", cwd=tmp_path).out == (ROOT / "gateway.toml").read_text()
    assert run_binary("init", "--host", "app.example.com", cwd=tmp_path).code == 2


# ---- the scripts themselves ----


@pytest.mark.parametrize("name", ["common.py", "django.py", "flask.py"])
def test_the_scripts_are_python_of_3_6(name):
    ast.parse((SCRIPTS / name).read_text(), feature_version=(3, 6))


def script(name):
    """The functions of a script that ask nothing of the framework."""
    text = (SCRIPTS / name).read_text()
    held = {"re": re, "text": str}
    source = (SCRIPTS / "common.py").read_text() + "\n" + text
    wanted = {"groups_of", "from_regex", "from_route", "literal", "braces", "starred", "path_of", "location"}
    for node in ast.parse(source).body:
        name = getattr(node, "name", "")
        assigned = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        if name in wanted or set(assigned) & {"NAME", "CONVERTER", "PART", "ONE_SEGMENT"}:
            exec(compile(ast.Module([node], []), str(SCRIPTS / "x.py"), "exec"), held)  # noqa: S102
    from urllib.parse import quote, unquote, urlsplit

    held.update(quote=quote, unquote=unquote, urlsplit=urlsplit, variable=lambda _value: None)
    return held


@pytest.mark.parametrize(
    "regex, path",
    [
        (r"^users/$", "users/"),
        (r"^users/(?P<pk>[^/.]+)/$", "users/{pk}/"),
        (r"^users/(?P<pk>\d+)/edit/$", "users/{pk}/edit/"),
        (r"^files/(?P<path>.*)$", "files/{*path}"),
        (r"^users\.(?P<format>[a-z0-9]+)/?$", "{part1}/"),
        (r"^users(?P<format>\.[a-z0-9]+/?)$", "{*rest}"),
        (r"^(?:en|de)/about/$", "{part1}/about/"),
        (r"^articles/(?P<year>[0-9]{4})/$", "articles/{year}/"),
        (r"^page-(\d+)/$", "{part1}/"),
        (r"^admin/", "admin/{*rest}"),
        (r"^.*$", "{*rest}"),
        (r"^(?P<x>a/b)/c$", "{*x}"),
        (r"^(?P<x>\w+)?/c$", "{*x}"),
        ("^caf\u00e9/$", "caf%C3%A9/"),
    ],
)
def test_a_regular_expression_becomes_a_path_that_is_no_narrower(regex, path):
    segments, _is_open = script("django.py")["from_regex"](regex)
    assert "/".join(segments) == path


def test_routes_of_both_frameworks_become_paths():
    django = script("django.py")["from_route"]
    assert "/".join(django("users/<int:pk>/files/<path:rest>")[0]) == "users/{pk}/files/{*rest}"
    assert "/".join(django("a-<slug:x>/b/")[0]) == "{x}/b/"
    assert "/".join(django("odd/<yyyy:year>/")[0]) == "odd/{*year}"
    flask = script("flask.py")["path_of"]
    assert flask("/users/<int(min=1):id>/x") == "/users/{id}/x"
    assert flask("/files/<path:name>") == "/files/{*name}"
    assert flask("/odd/<thing:name>/x") == "/odd/{*name}"


def test_an_address_is_told_without_its_password():
    told = script("django.py")["location"]
    assert told("redis://user:s3cret@cache:6379/1")["shown"] == "redis://user:PASSWORD@cache:6379/1"
    assert told("redis://cache:6379/1") == {"env": None, "shown": "redis://cache:6379/1", "hidden": False}
    assert "s3cret" not in str(told("redis://cache:6379/1?password=s3cret"))
