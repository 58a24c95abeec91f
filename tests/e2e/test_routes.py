"""What a route can do besides forwarding: files, fixed answers, redirects, watching; and which route wins."""

import pytest

from harness.check import passed, refused, seen_by_app
from harness.raw import over_plain
from harness.tokens import bearer, simplejwt

TOML = """
[upstream.app]
servers = ["{django}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[security_headers]
hsts = "365d"
hsts_subdomains = true
frame = "SAMEORIGIN"
content_security_policy = "default-src 'self'"

[[route]]
path = "/files/{*rest}"
files = { dir = "site", index = "index.html", fallback = false }
auth = "public"

[[route]]
path = "/spa/{*rest}"
files = { dir = "site" }
auth = "public"

[[route]]
path = "/private-files/{*rest}"
files = { dir = "site" }
auth = ["token"]

[[route]]
path = "/teapot"
respond = { status = 418, body = "short and stout", headers = { X-Kettle = "yes" } }
auth = "public"

[[route]]
path = "/old/{*rest}"
redirect = { to = "/new/", status = 301 }
auth = "public"

[[route]]
path = "/watched/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["supervisor"]
observe = true
strip_prefix = "/watched"
add_prefix = "/api/echo"

[[route]]
path = "/api/echo/{*rest}"
upstream = "app"
auth = "public"
request_headers = { set = { X-Which = "rest" } }
response_headers = { set = { X-Added = "1" }, remove = ["X-Frame-Options"] }

[[route]]
path = "/api/echo/{id}/"
upstream = "app"
auth = "public"
request_headers = { set = { X-Which = "id" } }

[[route]]
path = "/api/echo/literal/"
upstream = "app"
auth = "public"
request_headers = { set = { X-Which = "literal" }, remove = ["X-Unwanted"] }

[[route]]
path = "/api/echo/literal/"
methods = ["POST"]
upstream = "app"
auth = "public"
request_headers = { set = { X-Which = "post" } }

[[route]]
path = "/api/echo/literal/"
hosts = ["shop.example.com"]
upstream = "app"
auth = "public"
request_headers = { set = { X-Which = "host" } }

[[route]]
path = "/admin/{*rest}"
respond = { status = 403, body = "no" }
auth = "public"
"""


@pytest.fixture(scope="module")
def gate(module_gateway, django_app, tmp_path_factory):
    folder = tmp_path_factory.mktemp("routes")
    (folder / "site/deep").mkdir(parents=True)
    (folder / "site/index.html").write_text("<h1>index</h1>")
    (folder / "site/deep/page.txt").write_text("a page of text")
    (folder / "secret.txt").write_text("outside")
    (folder / "site/link.txt").symlink_to(folder / "secret.txt")
    return module_gateway(TOML, folder=folder, django=django_app.url)


def test_files_are_served_with_type_validators_and_ranges(gate):
    answer = passed(gate.get("/files/deep/page.txt"))
    assert answer.text == "a page of text" and answer.headers["content-type"].startswith("text/plain")
    modified = answer.headers["last-modified"]
    assert gate.get("/files/deep/page.txt", headers={"If-Modified-Since": modified}).status_code == 304
    part = gate.get("/files/deep/page.txt", headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.text) == (206, "page")
    assert gate.request("HEAD", "/files/deep/page.txt").headers["content-length"] == "14"
    assert "index" in passed(gate.get("/files/")).text
    for nothing in ("/files/missing.txt", "/files/deep", "/files/deep/page.txt/x", "/files/" + "x" * 300):
        refused(gate.get(nothing), 404, "no_route")
    assert gate.post("/files/deep/page.txt").status_code == 405


def test_files_never_leave_their_folder(gate):
    for path in (
        "/files/../secret.txt",
        "/files/%2e%2e/secret.txt",
        "/files/..%2fsecret.txt",
        "/files/deep/../../secret.txt",
    ):
        with over_plain(gate) as raw:
            raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            answer = raw.answer()
            assert answer.status == 400 and b"outside" not in answer.body


def test_a_single_page_app_gets_its_index_for_every_path(gate):
    assert "index" in passed(gate.get("/spa/some/client/route")).text
    assert passed(gate.get("/spa/deep/page.txt")).text == "a page of text"


def test_files_can_be_private(gate):
    refused(gate.get("/private-files/deep/page.txt"), 401, "credentials_missing")
    passed(gate.get("/private-files/deep/page.txt", headers=bearer(simplejwt())))


def test_respond_and_redirect(gate):
    answer = gate.get("/teapot")
    assert (answer.status_code, answer.text, answer.headers["x-kettle"]) == (418, "short and stout", "yes")
    moved = gate.get("/old/place")
    assert (moved.status_code, moved.headers["location"]) == (301, "/new/")


def test_the_most_specific_route_wins_whatever_the_order(gate):
    def which(path, method="GET", host="localhost"):
        answer = gate.request(method, path, headers={"Host": f"{host}:{gate.ports['plain']}"}, door="plain")
        return seen_by_app(answer)["headers"]["X_WHICH"]

    assert which("/api/echo/a/b/c") == "rest"
    assert which("/api/echo/17/") == "id"
    assert which("/api/echo/literal/") == "literal"
    assert which("/api/echo/literal/", "POST") == "post"
    assert which("/api/echo/literal/", host="shop.example.com") == "host"
    assert which("/api/echo/literal/", host="SHOP.example.com") == "host"


def test_a_prefix_ends_at_a_segment(gate):
    assert gate.get("/admin").status_code == 403
    assert gate.get("/admin/").status_code == 403
    refused(gate.get("/administrator"), 404, "no_route")
    refused(gate.get("/ADMIN/x"), 404, "no_route")
    assert gate.get("/%61dmin/x").status_code == 403


def test_headers_are_set_and_removed_as_the_route_says(gate):
    answer = passed(gate.get("/api/echo/literal/", headers={"X-Unwanted": "1", "X-Which": "client"}))
    assert "X_UNWANTED" not in answer.json()["headers"] and answer.json()["headers"]["X_WHICH"] == "literal"
    assert gate.get("/api/echo/a/b").headers["x-added"] == "1"


def test_security_headers_are_added_where_the_app_did_not_set_them(gate):
    answer = gate.get("/files/deep/page.txt")
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["content-security-policy"] == "default-src 'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    app = gate.get("/api/echo/literal/")
    assert app.headers.get_list("x-content-type-options") == ["nosniff"]
    assert app.headers["referrer-policy"] == "same-origin", "Django's own is kept"


def test_observe_decides_and_tells_but_refuses_nobody(gate):
    forged = {"X-Auth-User": "evil", "X_Auth_Roles": "supervisor"}
    anonymous = gate.get("/watched/x", headers=forged)
    seen = seen_by_app(anonymous)["headers"]
    assert "X_AUTH_USER" not in seen and "X_AUTH_ROLES" not in seen, "as clean as ever"
    assert "credentials_missing" in str(gate.access_line(anonymous)), "the log says what would have been"
    weak = gate.get("/watched/x", headers=bearer(simplejwt(roles=["host"])))
    passed(weak)
    assert "role_missing" in str(gate.access_line(weak))
    expired = gate.get("/watched/x", headers=bearer(simplejwt(lifetime=-60)))
    assert "X_AUTH_USER" not in seen_by_app(expired)["headers"]
    assert any("observe" in (name + str(labels)) and value > 0 for name, labels, value in gate.metrics())
