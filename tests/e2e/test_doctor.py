"""`doctor` finds what an operator would look for by hand, at real apps, databases and certificates, and says what to do.

It changes nothing, and shows no secret.
"""

import email.utils
import json
import re
import socket
import time

import httpx
import pytest

from harness.apps import DJANGO_SECRET_KEY, App, DjangoApp
from harness.certs import Authority, ec_key, private_pem
from harness.collector import GOOD, Collector
from harness.gateway import run_binary
from harness.ports import free_port
from harness.services import PASSWORD, MariaDb, Postgres, Redis
from harness.session_apps import NEW_SECRET, SECRET, DjangoSite
from harness.tokens import public_jwk, simplejwt
from harness.upstreams import JwksServer, RawUpstream

# The app does not stand on the gateway's machine, so that gunicorn believes no header of it.
ELSEWHERE = ("--forwarded-allow-ips", "192.0.2.1")

HEAD = """
[server]
https = "127.0.0.1:{https}"
admin = "127.0.0.1:{admin}"

[[tls.certificate]]
cert = "shop.pem"
key = "shop.key"
"""
APP = """
[upstream.app]
servers = ["{url}"]
"""
PUBLIC = """
[[route]]
path = "/{{*rest}}"
hosts = ["{host}"]
upstream = "app"
auth = "public"
"""


class Report:
    """What one run said."""

    def __init__(self, result):
        self.result, self.code = result, result.code
        self.document = json.loads(result.out)
        self.findings = self.document["findings"]

    def of(self, check, about=""):
        """The findings of a check about something."""
        return [one for one in self.findings if one["check"] == check and about in one["about"]]

    def one(self, check, about=""):
        """The only one."""
        found = self.of(check, about)
        assert len(found) == 1, f"{check} {about!r}: {json.dumps(self.findings, indent=1)}"
        return found[0]

    def problem(self, check, about="", *words):
        """The only one is a problem, and says these words."""
        return self._is("problem", check, about, words)

    def warning(self, check, about="", *words):
        return self._is("warning", check, about, words)

    def ok(self, check, about="", *words):
        return self._is("ok", check, about, words)

    def _is(self, verdict, check, about, words):
        found = self.one(check, about)
        assert found["verdict"] == verdict, found
        told = f"{found['evidence']} {found['advice']}"
        for word in words:
            assert word in told, (word, found)
        return found

    @property
    def wrong(self):
        """What is not well."""
        return [one for one in self.findings if one["verdict"] != "ok"]


class Site:
    """A folder with a gateway.toml and a certificate that this machine trusts."""

    def __init__(self, folder):
        self.folder, self.env = folder, {}
        self.ports = {name: free_port() for name in ("https", "http", "admin")}
        self.authority = Authority()
        self.certificate("shop.example", "localhost")
        self.trust(self.authority)

    def trust(self, authority):
        """Makes an authority this machine's only root."""
        (self.folder / "roots.pem").write_bytes(authority.pem())
        self.env["SSL_CERT_FILE"] = str(self.folder / "roots.pem")

    def certificate(self, *names, days=60):
        self.authority.issue_files(self.folder, "shop", common_name=names[0], names=names, days=days)

    def write(self, *parts, **places):
        toml = "".join(parts)
        for name, value in {**self.ports, **places}.items():
            toml = toml.replace("{" + name + "}", str(value))
        (self.folder / "gateway.toml").write_text(toml.replace("{{", "{").replace("}}", "}"))

    def doctor(self, *args, **options):
        env = {**self.env, **options.pop("env", {})}
        result = run_binary(
            "doctor", "--config", self.folder / "gateway.toml", *args, cwd=self.folder, env=env, timeout=60, **options
        )
        assert PASSWORD not in result.text and DJANGO_SECRET_KEY not in result.text and SECRET not in result.text
        return result

    def report(self, *args, **options):
        return Report(self.doctor("--json", *args, **options))


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture(scope="module")
def links(tmp_path_factory):
    """The Flask app, started as wanted, stopped after the module."""
    started = []

    def start(**env):
        folder = tmp_path_factory.mktemp("links")
        started.append(App("flask_links", "app:app", folder, env, ELSEWHERE))
        return started[-1]

    yield start
    for app in started:
        app.stop()


# ---- what the app makes of host, scheme and origin ----


def test_a_host_that_django_does_not_allow_is_named_with_the_setting_to_change(site, django_app):
    site.write(HEAD, APP, PUBLIC, url=django_app.url, host="shop.test")
    site.certificate("shop.test")
    report = site.report()
    found = report.problem("app.host", "upstream app", "DisallowedHost", "400", "ALLOWED_HOSTS")
    assert '"shop.test"' in found["advice"] and report.code == 1
    site.write(HEAD, APP, PUBLIC, url=django_app.url, host="shop.example.com")
    site.certificate("shop.example.com")
    report = site.report()
    report.ok("app.host")
    assert report.code == 0, report.wrong


def test_a_redirect_to_https_in_a_circle_is_found_with_the_setting_that_ends_it(site, tmp_path_factory):
    app = DjangoApp(tmp_path_factory.mktemp("django"), ELSEWHERE, DJANGO_SETTINGS_MODULE="project.redirecting")
    try:
        site.write(HEAD, APP, PUBLIC, url=app.url, host="localhost")
        report = site.report()
        report.problem("app.scheme", "", "circle", "https://localhost/", "SECURE_PROXY_SSL_HEADER")
        assert report.code == 1
    finally:
        app.stop()


def test_a_flask_app_without_proxyfix_is_found_by_its_http_addresses(site, links):
    site.write(HEAD, APP, PUBLIC, url=links().url, host="localhost")
    report = site.report()
    report.problem("app.scheme", "", "http://localhost/tickets/", "ProxyFix")
    site.write(HEAD, APP, PUBLIC, url=links(PROXY_FIX="yes").url, host="localhost")
    report = site.report()
    report.ok("app.scheme")
    assert not report.wrong, report.wrong


def test_an_app_behind_another_host_is_told_of_addresses_that_clients_do_not_know(site, links):
    app = links()
    upstream = APP + 'host = "upstream"\n'
    site.write(HEAD, upstream, PUBLIC, url=app.url, host="localhost")
    site.report().warning("app.links", "", app.address, "X-Forwarded-Host")


def test_cors_that_the_app_answers_beside_the_gateway_is_found(site, django_app):
    cors = '[cors.web]\norigins = ["https://page.example"]\ncredentials = true\n'
    route = PUBLIC + 'cors = "web"\n'
    site.write(HEAD, APP, cors, route, url=django_app.url, host="localhost")
    report = site.report()
    report.warning("app.cors", "upstream app", "https://page.example", "[cors.web]", "django-cors-headers")
    assert report.code == 0, "the gateway drops the app's, so nothing fails"


def test_an_origin_with_a_slash_at_its_end_is_shown_with_every_other_mistake(site):
    cors = '[cors.web]\norigins = ["https://page.example/"]\n'
    route = PUBLIC + 'cors = "web"\nroels = ["staff"]\n'
    site.write(HEAD, APP, cors, route, url="http://127.0.0.1:1", host="localhost")
    report = site.report()
    slash = report.one("configuration.file", "cors.web.origins")
    assert "https://page.example/" in slash["evidence"] and "without `/`" in slash["evidence"], slash
    assert "roles" in report.one("configuration.file", "roels")["advice"]
    assert report.code == 1


# ---- servers ----


def test_an_app_that_is_not_there_is_told_by_its_address(site):
    closed = free_port()
    site.write(HEAD, APP, PUBLIC, url=f"http://127.0.0.1:{closed}", host="localhost")
    report = site.report()
    report.problem("upstream.connect", "upstream app", f"127.0.0.1:{closed}", "refuses", "start the app")
    assert report.code == 1 and not report.of("app.host")


def test_a_name_that_does_not_resolve_is_told(site):
    site.write(HEAD, APP, PUBLIC, url="http://nowhere.invalid:8000", host="localhost")
    site.report().problem("upstream.resolve", "nowhere.invalid", "DNS")


def test_localhost_of_which_the_app_serves_one_address_is_a_trap(site, django_app):
    addresses = {entry[4][0] for entry in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
    if len(addresses) < 2:
        pytest.skip("localhost has one address on this machine")
    port = django_app.address.rpartition(":")[2]
    site.write(HEAD, APP, PUBLIC, url=f"http://localhost:{port}", host="localhost")
    site.report().warning("upstream.connect", "", "refuses", f"127.0.0.1:{port}")


def test_an_app_that_answers_no_http_is_told_and_cannot_write_into_the_terminal(site):
    hostile = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: \x1b[2Jx\r\n\r\n"
    with RawUpstream(hostile) as app:
        site.write(HEAD, APP, PUBLIC, url=app.url, host="localhost")
        result = site.doctor()
        assert result.code == 1 and "upstream.answer" in result.out, result
        assert "\x1b" not in result.text


def test_the_health_path_and_an_app_that_fails_are_asked(site, django_app):
    health = APP + 'health = {{ path = "/health/" }}\n'
    site.write(HEAD, health, PUBLIC, url=django_app.url, host="localhost")
    site.report().ok("upstream.health", "", "/health/")
    broken = APP + 'health = {{ path = "/api/status/503/" }}\n'
    route = PUBLIC.replace("/{{*rest}}", "/api/status/500/")
    site.write(HEAD, broken, route, url=django_app.url, host="localhost")
    report = site.report()
    report.problem("upstream.health", "", "503")
    report.problem("upstream.answer", "", "500 for /api/status/500/")


def test_apps_are_asked_by_get_head_and_options_alone_and_without_a_credential(site):
    cors = '[cors.web]\norigins = ["https://page.example"]\n'
    token = '[auth.token]\ntype = "jwt"\npreset = "simplejwt"\nsecret = { env = "DJANGO_SECRET_KEY" }\n'
    route = PUBLIC.replace('"public"', '["token"]') + 'cors = "web"\n'
    with RawUpstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as app:
        site.write(HEAD, APP, cors, token, route, url=app.url, host="localhost")
        site.report("--token", simplejwt())
        assert {request.method for request in app.requests} == {"GET", "OPTIONS"}
        for request in app.requests:
            assert not request.all("authorization") and not request.all("cookie"), request


def test_clocks_apart_are_found_by_what_the_app_and_the_issuer_say(site):
    def late(_request):
        date = email.utils.formatdate(time.time() - 600, usegmt=True).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: " + date + b"\r\n\r\n"

    with RawUpstream(late) as app:
        site.write(HEAD, APP, PUBLIC, url=app.url, host="localhost")
        report = site.report()
        report.problem("clock.app", "upstream app", "behind ours", "NTP")
        assert report.code == 1


# ---- certificates, doors, files ----


@pytest.fixture
def quiet(site, links):
    """A site in front of an app that is well."""
    app = links(PROXY_FIX="yes")
    site.write(HEAD, APP, PUBLIC, url=app.url, host="localhost")
    return site


def test_a_certificate_without_the_hosts_of_the_routes_is_found(quiet):
    quiet.certificate("other.example")
    report = quiet.report()
    report.problem("certificate.names", "host localhost", "other.example", "421")
    assert report.code == 1


def test_a_certificate_that_has_expired_or_soon_will_is_found(quiet):
    quiet.certificate("localhost", days=-1)
    report = quiet.report()
    report.problem("certificate.expiry", "shop.pem", "expired")
    assert report.code == 1
    quiet.certificate("localhost", days=12)
    report = quiet.report()
    report.warning("certificate.expiry", "shop.pem", "11 days left")
    assert report.code == 0


def test_a_key_of_another_certificate_is_found_and_the_rest_is_looked_at_all_the_same(quiet):
    (quiet.folder / "shop.key").write_bytes(private_pem(ec_key()))
    report = quiet.report()
    report.problem("certificate.files", "shop.pem", "shop.key", "is not the key")
    report.ok("app.host")
    assert report.code == 1


def test_a_chain_that_clients_cannot_follow_is_found(quiet):
    chain = quiet.folder / "shop.pem"
    leaf = chain.read_bytes()
    chain.write_bytes(leaf + Authority("Stranger").pem())
    quiet.report().problem("certificate.chain", "shop.pem", "out of order")
    chain.write_bytes(leaf)
    quiet.trust(Authority("Somebody else"))
    quiet.report().warning("certificate.chain", "shop.pem", "Test CA", "intermediate")


def test_a_port_that_another_program_holds_is_found(quiet):
    with socket.create_server(("127.0.0.1", quiet.ports["https"])):
        report = quiet.report()
    report.problem("door.port", f"https 127.0.0.1:{quiet.ports['https']}", "another program")
    report.ok("door.port", "admin", "free")
    assert report.code == 1


def test_a_key_that_everybody_can_read_is_told(quiet):
    (quiet.folder / "shop.key").chmod(0o644)
    report = quiet.report()
    report.warning("file.private", "shop.key", "chmod 600")
    assert report.code == 0


EMBEDDED = """
[session]
path = "{path}"

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }

[token_handler.page]
upstream = "app"
auth = "token"
login = "/login/"

[auth.page]
type = "gateway-session"
token_handler = "page"
"""


def test_a_place_for_sessions_that_cannot_be_written_is_told_by_doctor_and_check(quiet):
    file = quiet.folder / "gateway.toml"
    good = file.read_text()
    file.write_text(good + EMBEDDED.replace("{path}", "state/portcullis.db"))
    report = quiet.report()
    report.ok("file.writable", "", "1 place")
    assert report.code == 0 and not (quiet.folder / "state").exists(), "doctor makes nothing"
    # What root could not write either.
    file.write_text(good + EMBEDDED.replace("{path}", "/dev/null/portcullis.db"))
    report = quiet.report()
    report.problem("file.writable", "[session] path /dev/null/portcullis.db", "/dev/null is no folder", "gateway's user")
    assert report.code == 1
    checked = run_binary("check", "--config", file, cwd=quiet.folder, env=quiet.env)
    assert checked.code == 0, checked
    assert "warning: [session] path /dev/null/portcullis.db cannot be written" in checked.err, checked


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (GOOD, "ok", ["without spans"]),
        ((404, "text/plain", b"no"), "warning", ["404", "4318"]),
        ((200, "text/html", b"<!doctype html>"), "warning", ["not OTLP", "4318"]),
        ((503, "text/plain", b"busy"), "warning", ["503", "start the collector"]),
        (None, "warning", ["connect", "start the collector"]),
    ],
)
def test_the_collector_of_traces_is_asked_whether_it_takes_some(quiet, answer, verdict, words):
    with Collector() as collector:
        collector.answer = answer or GOOD
        otlp = collector.url if answer else f"http://127.0.0.1:{free_port()}"
        file = quiet.folder / "gateway.toml"
        file.write_text(file.read_text() + f'[tracing]\notlp = "{otlp}"\n')
        report = quiet.report()
        found = report.one("collector.answers", otlp)
        assert found["verdict"] == verdict and report.code == 0, found
        for word in words:
            assert word in f"{found['evidence']} {found['advice']}", (word, found)
        assert not collector.spans


def test_an_expectation_that_does_not_hold_is_told_as_check_tells_it(quiet):
    file = quiet.folder / "gateway.toml"
    expect = '[[expect]]\nrequest = "GET https://localhost/x"\nanswer = { status = 403, code = "role_missing" }\n'
    file.write_text(file.read_text() + expect)
    report = quiet.report()
    report.problem("configuration.file", "expect[0]", "forward")
    report.ok("app.host")
    assert report.code == 1


def test_a_file_that_is_not_there_is_no_report_and_exit_2(site):
    result = site.doctor("--json")
    assert result.code == 2 and not result.out and "gateway.toml" in result.err, result
    (site.folder / "gateway.toml").write_text("[[[")
    report = site.report()
    assert report.code == 1 and report.of("configuration.file")


# ---- key sets ----

JWT = """
[auth.token]
type = "jwt"
algorithms = ["RS256"]
jwks = "{jwks}"
"""


@pytest.mark.parametrize(
    ("mode", "words"),
    [("down", "not HTTP"), ("error", "500"), ("garbage", "JWK Set"), ("slow", "no whole answer"), ("ok", "`algorithms`")],
)
def test_a_jwks_that_cannot_be_used_is_found_with_the_reason(site, links, mode, words):
    route = PUBLIC.replace('"public"', '["token"]')
    # The set holds a key for ES256 alone.
    with JwksServer(public_jwk(ec_key(), "a", "ES256"), mode=mode) as issuer:
        url = links(PROXY_FIX="yes").url
        site.write(HEAD, APP, JWT, route, url=url, host="localhost", jwks=issuer.jwks_url)
        report = site.report()
        report.problem("jwks.keys", "auth.token", words)
        assert report.code == 1


def test_a_jwks_that_does_not_answer_is_found(site, links):
    route = PUBLIC.replace('"public"', '["token"]')
    jwks = f"http://127.0.0.1:{free_port()}/jwks.json"
    site.write(HEAD, APP, JWT, route, url=links(PROXY_FIX="yes").url, host="localhost", jwks=jwks)
    site.report().problem("jwks.keys", "auth.token", "cannot connect", "curl")


@pytest.mark.parametrize(
    ("ahead_s", "leeway", "verdict", "side"),
    [
        (3600, "30s", "problem", "ahead of"),
        (-3600, "30s", "problem", "behind"),
        (20, "30s", "warning", "ahead of"),
        (20, "10s", "problem", "ahead of"),
    ],
)
def test_an_issuer_with_another_clock_is_told_by_what_its_tokens_are_given(
    site, links, ahead_s, leeway, verdict, side
):
    route = PUBLIC.replace('"public"', '["token"]')
    jwt = JWT.replace("RS256", "ES256") + f'leeway = "{leeway}"\n'
    with JwksServer(public_jwk(ec_key(), "a", "ES256"), ahead_s=ahead_s) as issuer:
        url = links(PROXY_FIX="yes").url
        site.write(HEAD, APP, jwt, route, url=url, host="localhost", jwks=issuer.jwks_url)
        report = site.report()
    report.ok("jwks.keys", "auth.token")
    assert getattr(report, verdict)("clock.jwks", "auth.token", side, "NTP") in report.wrong
    assert abs(ahead_s) - 5 < apart(report.one("clock.jwks")) <= abs(ahead_s)
    assert report.code == (1 if verdict == "problem" else 0)


def apart(found):
    """The seconds by which a finding says that clocks are apart."""
    return int(re.match(r"its clock is (\d+) s ", found["evidence"]).group(1))


# ---- databases, caches, secrets ----

SESSIONS = """
[auth.session]
type = "django-session"
secret = { env = "SECRET_KEY" }
database = { env = "DATABASE_URL" }
directory = "people"

[directory.people]
type = "django"
database = { env = "DATABASE_URL" }
user_table = "accounts_user"
roles = ["column:role"]
"""
BEHIND_LOGIN = PUBLIC.replace('"public"', '["session"]')


@pytest.fixture(scope="module")
def members(new_database, start_app):
    """The Django app with sessions in PostgreSQL, one of them somebody's."""
    app = start_app(DjangoSite, new_database("postgres", "doctor"))
    with httpx.Client(base_url=app.url, trust_env=False) as client:
        page = client.get("/accounts/login/").text
        hidden = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        form = {"username": "tara", "password": "tara-password", "remember": "on", "csrfmiddlewaretoken": hidden}
        assert client.post("/accounts/login/", data=form).status_code == 302
        app.cookie = client.cookies["sessionid"]
    return app


@pytest.fixture
def signed(site, members):
    """A site in front of that app."""
    site.write(HEAD, APP, SESSIONS, BEHIND_LOGIN, url=members.url, host="localhost")
    site.env.update(SECRET_KEY=SECRET, DATABASE_URL=members.database.reader_url)
    return site


def test_a_wrong_secret_is_found_by_the_sessions_that_the_app_has_stored(signed):
    signed.report().ok("secret.sessions", "auth.session")
    report = signed.report(env={"SECRET_KEY": NEW_SECRET})
    report.problem("secret.sessions", "auth.session", "none of the newest", "SECRET_KEY")
    assert report.code == 1


def test_a_wrong_secret_is_found_by_a_cookie_and_a_token_that_should_be_good(signed, members):
    cookie = f"sessionid={members.cookie}"
    report = signed.report("--cookie", "-", stdin=cookie)
    report.ok("secret.cookie", "auth.session")
    report = signed.report("--cookie", cookie, env={"SECRET_KEY": NEW_SECRET})
    found = report.problem("secret.cookie", "auth.session", "session_signature", "SECRET_KEY")
    assert members.cookie not in json.dumps(found)
    token = '[auth.token]\ntype = "jwt"\npreset = "simplejwt"\nsecret = { env = "SECRET_KEY" }\n'
    route = PUBLIC.replace('"public"', '["token"]')
    signed.write(HEAD, APP, token, route, url=members.url, host="localhost")
    good = simplejwt(SECRET)
    signed.report("--token", good).ok("secret.token")
    report = signed.report("--token", good, env={"SECRET_KEY": NEW_SECRET})
    report.problem("secret.token", "", "auth.token", "signature")
    assert good not in report.result.text


def test_a_database_user_without_rights_is_told_with_table_and_grant(signed, members):
    database = members.database
    reader = "doctor_reader"
    try:
        for table in ("django_session", "accounts_user"):
            database.execute(f"REVOKE SELECT ON {table} FROM {reader}")
        report = signed.report()
        for about, table in (("auth.session", "django_session"), ("directory.people", "accounts_user")):
            report.problem("store.answers", about, "PostgreSQL", f"GRANT SELECT ON {table} TO", reader)
        assert report.code == 1
    finally:
        for table in ("django_session", "accounts_user"):
            database.execute(f"GRANT SELECT ON {table} TO {reader}")
    report = signed.report()
    report.ok("store.answers", "auth.session")
    assert [one["about"].partition(",")[0] for one in report.of("clock.store")] == ["auth.session", "directory.people"]


def test_a_database_that_is_not_there_or_takes_another_password_is_told_without_it(signed, members):
    url = members.database.reader_url
    report = signed.report(env={"DATABASE_URL": url.replace(PASSWORD, "a-wrong-one")})
    report.problem("store.answers", "auth.session", "password")
    assert "a-wrong-one" not in report.result.text
    port = url.rpartition(":")[2].partition("/")[0]
    report = signed.report(env={"DATABASE_URL": url.replace(port, str(free_port()))})
    report.problem("store.answers", "auth.session", "cannot be reached")


FLASK = """
[auth.session]
type = "flask-session"
store = { env = "REDIS_URL" }
identity = { user = "_user_id" }
"""


def test_a_redis_that_wants_a_password_or_gives_no_right_is_told(site, links, redis_server):
    app = links(PROXY_FIX="yes")
    site.write(HEAD, APP, FLASK, BEHIND_LOGIN, url=app.url, host="localhost")
    good = redis_server.url("doctor")
    report = site.report(env={"REDIS_URL": good})
    report.ok("store.answers", "auth.session")
    report.ok("clock.store", "auth.session")
    report = site.report(env={"REDIS_URL": good.replace(f":{PASSWORD}@", "")})
    report.problem("store.answers", "auth.session", "password")
    with redis_server.client() as client:
        client.acl_setuser("weak", enabled=True, passwords=[f"+{PASSWORD}"], keys=["other:*"], commands=["+get"])
    try:
        report = site.report(env={"REDIS_URL": good.replace(f":{PASSWORD}@", f"weak:{PASSWORD}@")})
        report.problem("store.answers", "auth.session", "+getrange")
        assert report.code == 1
    finally:
        with redis_server.client() as client:
            client.acl_deluser("weak")


HANDLER = """
[session]
store = {{ env = "STORE_URL" }}

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = {{ env = "DJANGO_SECRET_KEY" }}

[auth.cookie]
type = "gateway-session"

[token_handler.app]
upstream = "app"
login = "/api/token/"
refresh = "/api/token/refresh/"
auth = "token"
"""


def test_the_gateways_own_store_is_looked_at_and_nothing_is_made_there(site, links, new_database):
    database = new_database("postgres", "doctorown")
    route = PUBLIC.replace('"public"', '["cookie"]')
    site.write(HEAD, APP, HANDLER, route, url=links(PROXY_FIX="yes").url, host="localhost")
    schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'portcullis'"
    report = site.report(env={"STORE_URL": database.url})
    report.ok("store.answers", "session")
    report = site.report(env={"STORE_URL": database.reader_url})
    report.problem("store.answers", "session", "GRANT CREATE ON DATABASE", "doctorown_reader")
    assert database.execute(schemas) == [(0,)], "doctor makes no schema"


AGENTS = """
[auth.jwt]
type = "jwt"
preset = "simplejwt"
secret = {{ env = "DJANGO_SECRET_KEY" }}
directory = "agents"

[directory.agents]
type = "sql"
database = {{ env = "STORE_URL" }}
query = "select cast({parameter} as char(20)) as username, true as active"
"""
# What asks the server: the file's parts, the authenticators of the route, and whose clock is told.
ASKED = {
    Redis: (FLASK.replace("REDIS_URL", "STORE_URL") + HANDLER, ["session", "cookie"], {"auth.session", "session"}),
    Postgres: (AGENTS + HANDLER, ["jwt", "cookie"], {"directory.agents", "session"}),
    MariaDb: (AGENTS, ["jwt"], {"directory.agents"}),
}


@pytest.mark.parametrize("ahead_s", [3600, -3600])
@pytest.mark.parametrize("kind", ASKED)
def test_a_store_with_another_clock_is_told_whoever_asks_it(site, links, service_ahead, kind, ahead_s):
    server = service_ahead(kind, ahead_s)
    toml, auth, whose = ASKED[kind]
    url = server.url(1) if kind is Redis else server.database("clocks").url
    route = PUBLIC.replace('"public"', json.dumps(auth))
    app = links(PROXY_FIX="yes").url
    parameter = "?" if kind is MariaDb else "$1"
    site.write(HEAD, APP, toml, route, url=app, host="localhost", parameter=parameter)
    report = site.report(env={"STORE_URL": url})
    assert {one["about"].partition(",")[0] for one in report.of("clock.store")} == whose
    for found in report.of("clock.store"):
        assert found["verdict"] == "problem" and "NTP" in found["advice"] and "30 s" in found["advice"], found
        assert ("ahead of ours" if ahead_s > 0 else "behind ours") in found["evidence"], found
        assert 3590 < apart(found) <= 3600, found
    problems = [one["check"] for one in report.wrong if one["verdict"] == "problem"]
    assert problems == ["clock.store"] * len(whose) and report.code == 1, report.wrong


# ---- the whole ----

WHOLE = """
[server]
https = "127.0.0.1:{https}"
http = "127.0.0.1:{http}"
admin = "127.0.0.1:{admin}"

[[tls.certificate]]
cert = "shop.pem"
key = "shop.key"

[session]
store = {{ env = "REDIS_URL" }}

[upstream.app]
servers = ["{django}"]
health = {{ path = "/" }}

[upstream.links]
servers = ["{flask}"]

[auth.session]
type = "django-session"
secret = {{ env = "SECRET_KEY" }}
database = {{ env = "DATABASE_URL" }}
directory = "people"

[auth.tickets]
type = "flask-session"
store = {{ env = "REDIS_URL" }}
identity = {{ user = "_user_id" }}
cookie = "tickets"

[auth.issuer]
type = "jwt"
algorithms = ["ES256"]
jwks = "{jwks}"
revocable = true

[directory.people]
type = "django"
database = {{ env = "DATABASE_URL" }}
user_table = "accounts_user"
roles = ["column:role"]

[cors.web]
origins = ["https://page.example"]
credentials = true

[[route]]
path = "/api/{{*rest}}"
hosts = ["localhost"]
upstream = "app"
auth = ["session", "issuer"]
cors = "web"

[[route]]
path = "/{{*rest}}"
hosts = ["localhost"]
upstream = "app"
auth = "public"

[[route]]
path = "/tickets/{{*rest}}"
hosts = ["localhost"]
upstream = "links"
auth = ["tickets"]
"""


def test_where_all_is_well_every_finding_is_ok_whether_the_gateway_runs_or_not(
    site, members, links, redis_server, gateway
):
    with JwksServer(public_jwk(ec_key(), "a", "ES256")) as issuer:
        site.env.update(
            SECRET_KEY=SECRET, DATABASE_URL=members.database.reader_url, REDIS_URL=redis_server.url("doctor-members")
        )
        places = {"django": members.url, "flask": links(PROXY_FIX="yes").url, "jwks": issuer.jwks_url}
        site.write(WHOLE, **places)
        before = members.database.execute("SELECT count(*) FROM django_session")
        report = site.report("--cookie", f"sessionid={members.cookie}")
        assert report.code == 0 and not report.wrong, json.dumps(report.wrong, indent=1)
        assert report.document["verdict"] == "ok" and report.document["version"] == 1
        seen = {one["check"] for one in report.findings}
        assert {
            "configuration.file", "file.readable", "gateway.ready", "door.port", "certificate.expiry", "upstream.resolve",
            "upstream.connect", "upstream.answer", "upstream.health", "app.host", "app.scheme", "app.cors", "clock.app",
            "clock.store", "store.answers", "secret.sessions", "secret.cookie", "jwks.keys",
        } <= seen  # fmt: skip
        assert members.database.execute("SELECT count(*) FROM django_session") == before

        gateway(WHOLE.replace("{{", "{").replace("}}", "}"), env=site.env, folder=site.folder, **places)
        report = site.report()
        assert report.code == 0 and not report.wrong, json.dumps(report.wrong, indent=1)
        report.ok("gateway.ready", "", "is ready")
        report.ok("door.redirect", "", "308", "https://localhost")
        for one in report.of("door.port"):
            assert one["evidence"] == "held by the gateway that runs", one

        words = site.doctor()
        assert words.code == 0 and "0 problems" in words.out and "app.host" in words.out, words
        assert "\x1b" not in words.out
