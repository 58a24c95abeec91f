"""A real browser: a page on another origin calls through the gateway and reads what it may, refusals included."""

import json

import pytest

from harness.certs import Authority
from harness.pages import PageServer, chromium, fetch
from harness.tokens import bearer, simplejwt
from harness.upstreams import server_tls

TOML = """
[upstream.app]
servers = ["{django}"]

[upstream.flask]
servers = ["{flask}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[auth.flask-token]
type = "jwt"
preset = "flask-jwt-extended"
secret = { env = "FLASK_SECRET_KEY" }

[cors.web]
origins = ["{page}", "{secure_page}"]
credentials = true
headers = ["authorization", "content-type", "x-csrf-token"]
expose = ["x-request-id", "x-refused-by"]

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = ["token"]
cors = "web"

[[route]]
path = "/api/supervisor/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["supervisor"]
cors = "web"

[[route]]
path = "/login/cookie"
upstream = "flask"
auth = "public"
cors = "web"

[[route]]
path = "/me"
upstream = "flask"
auth = ["flask-token"]
cors = "web"

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The allowed page, a stranger's, and an allowed one over https: the same site as the gateway, another origin."""
    pair = Authority().issue_files(tmp_path_factory.mktemp("pages"), "page", common_name="page", names=["localhost"])
    servers = PageServer(), PageServer(), PageServer(server_tls(*pair))
    yield servers
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def gate(module_gateway, django_app, flask_app, pages):
    return module_gateway(
        TOML, django=django_app.url, flask=flask_app.url, page=pages[0].origin, secure_page=pages[2].origin
    )


@pytest.fixture(scope="module")
def browser(need, tmp_path_factory):
    browser = chromium(need("chromium"), need("chromedriver"), tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.quit()


@pytest.fixture
def page(browser, pages):
    """The page whose origin is allowed."""
    browser.get(pages[0].origin + "/")
    return browser


@pytest.fixture
def stranger(browser, pages):
    """The page whose origin is not."""
    browser.get(pages[1].origin + "/")
    return browser


def test_an_allowed_page_reads_data_with_a_token_after_its_preflight(page, gate):
    answer = fetch(page, gate.https_url + "/api/echo/", headers=bearer(simplejwt()), credentials="include")
    assert answer.get("status") == 200 and answer["type"] == "cors", answer
    assert json.loads(answer["body"])["headers"]["X_AUTH_USER"] == "7"
    assert answer["requestId"]


def test_a_page_reads_the_code_of_a_401_and_a_403_across_origins(page, gate):
    for headers, path, status, code in (
        ({}, "/api/echo/", 401, "credentials_missing"),
        (bearer(simplejwt(lifetime=-60)), "/api/echo/", 401, "token_expired"),
        (bearer(simplejwt(roles=["host"])), "/api/supervisor/report/", 403, "role_missing"),
    ):
        answer = fetch(page, gate.https_url + path, headers=headers)
        assert answer.get("status") == status, answer
        assert json.loads(answer["body"])["code"] == code and answer["refusedBy"] == "gateway"


def test_a_page_reads_the_apps_own_refusals_too(page, gate):
    answer = fetch(page, gate.https_url + "/api/status/404/", headers=bearer(simplejwt()))
    assert (answer.get("status"), answer["refusedBy"]) == (404, "app")


def test_a_cookie_login_across_origins_works_and_unsafe_methods_need_the_double_submit(browser, pages, gate):
    browser.get(pages[2].origin + "/")
    body = json.dumps({"username": "sina", "password": "sina-password"})
    login = fetch(
        browser, gate.https_url + "/login/cookie", method="POST", body=body,
        headers={"Content-Type": "application/json"}, credentials="include",
    )  # fmt: skip
    assert login.get("status") == 200, login
    me = fetch(browser, gate.https_url + "/me", credentials="include")
    assert me.get("status") == 200 and json.loads(me["body"])["user"] == "sina", me
    csrf = browser.execute_script("return document.cookie").split("csrf_access_token=")[1].split(";")[0]
    for headers, status in (({}, 403), ({"X-CSRF-TOKEN": csrf}, 200)):
        answer = fetch(browser, gate.https_url + "/me", method="POST", headers=headers, credentials="include")
        assert answer.get("status") == status, answer
    without = fetch(browser, gate.https_url + "/me")
    assert without["status"] == 401 and json.loads(without["body"])["code"] == "credentials_missing"


def test_a_strangers_page_gets_nothing_neither_by_preflight_nor_without(stranger, gate):
    for headers in (bearer(simplejwt()), {}):
        answer = fetch(stranger, gate.https_url + "/api/echo/", headers=headers)
        assert "Failed to fetch" in answer.get("error", ""), answer
    refused = [line for line in gate.access_lines() if line.get("code") == "origin_not_allowed"]
    assert refused, "the preflight was refused by the gateway"


def test_a_header_that_is_not_listed_fails_the_preflight(page, gate):
    answer = fetch(page, gate.https_url + "/api/echo/", headers={**bearer(simplejwt()), "X-Not-Listed": "1"})
    assert "Failed to fetch" in answer.get("error", ""), answer


def test_a_page_load_without_a_token_shows_the_small_html_page(page, gate):
    page.get(gate.https_url + "/api/echo/")
    assert "credentials_missing" in page.page_source
    page.get(gate.https_url + "/")
    assert "Home of the app" in page.page_source


def test_an_app_page_on_the_gateways_own_origin_calls_without_cors(page, gate):
    page.get(gate.https_url + "/")
    answer = fetch(page, "/api/echo/", headers=bearer(simplejwt()))
    assert answer["status"] == 200 and answer["type"] == "basic"
