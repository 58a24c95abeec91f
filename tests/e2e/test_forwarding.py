"""What reaches the app besides identity: who called, by which name and scheme; and every kind of server behind."""

import socket
import struct
import time

import pytest

from harness.certs import Authority
from harness.check import passed, refused, seen_by_app
from harness.raw import RawClient, over_plain, over_tls
from harness.upstreams import OK, RawUpstream, server_tls

ROUTE = """
[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""
DJANGO = '[upstream.app]\nservers = ["{django}"]\n' + ROUTE
RAW = '[upstream.app]\nservers = ["{raw}"]\n' + ROUTE
SERVER = """
[server]
https = "127.0.0.1:{https}"
plain = "127.0.0.1:{plain}"
admin = "127.0.0.1:{admin}"
%s
[server.timeouts]
drain = "5s"
[tls]
development = true
"""


@pytest.fixture(scope="module")
def gate(module_gateway, django_app):
    return module_gateway(DJANGO, django=django_app.url)


@pytest.fixture
def upstream():
    with RawUpstream() as raw:
        yield raw


@pytest.fixture(scope="module")
def recording():
    with RawUpstream() as raw:
        yield raw


@pytest.fixture(scope="module")
def raw_gate(module_gateway, recording):
    return module_gateway(RAW, raw=recording.url)


# ---- scheme, host, client ----


def test_django_believes_the_scheme_and_the_host(gate):
    seen = seen_by_app(gate.get("/api/echo/x?y=1"))
    port = gate.ports["https"]
    assert seen["is_secure"] is True
    assert seen["host"] == f"localhost:{port}"
    assert seen["absolute_uri"] == f"https://localhost:{port}/api/echo/x?y=1"
    headers = seen["headers"]
    assert headers["X_FORWARDED_PROTO"] == "https" and headers["X_FORWARDED_HOST"] == f"localhost:{port}"
    assert headers["X_FORWARDED_PORT"] == str(port) and headers["X_FORWARDED_FOR"] == "127.0.0.1"
    assert headers["TRACEPARENT"].count("-") == 3
    over = seen_by_app(gate.get("/api/echo/", door="plain"))
    assert over["is_secure"] is False and over["headers"]["X_FORWARDED_PROTO"] == "http"


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Real-IP",
        "Forwarded",
        "X_Forwarded_Proto",
        "x_real-ip",
    ],
)
def test_forwarding_headers_from_a_stranger_are_written_anew(gate, name):
    seen = seen_by_app(gate.get("/api/echo/", headers=[(name, "203.0.113.9"), (name, "forged")]))
    assert "203.0.113.9" not in str(seen) and "forged" not in str(seen)
    assert seen["headers"]["X_FORWARDED_PROTO"] == "https"


def test_a_django_form_with_login_and_csrf_works_through_the_gateway(gate):
    with gate.client(follow_redirects=True) as client:
        page = client.get("/notes/")
        assert page.url.path == "/accounts/login/"
        token = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        form = {"username": "tara", "password": "tara-password", "csrfmiddlewaretoken": token, "next": "/notes/"}
        origin = {"Origin": gate.https_url, "Referer": gate.https_url + "/accounts/login/"}
        notes = client.post("/accounts/login/", data=form, headers=origin)
        assert notes.url.path == "/notes/" and "Notes of tara" in notes.text
        token = notes.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        added = client.post("/notes/", data={"text": "a first note", "csrfmiddlewaretoken": token}, headers=origin)
        assert "<li>a first note</li>" in added.text
        assert client.post("/notes/", data={"text": "x"}, headers=origin).status_code == 403


def test_two_cookies_arrive_as_two(gate):
    cookies = gate.get("/api/cookies/").headers.get_list("set-cookie")
    assert len(cookies) == 2 and "first=1" in cookies[0] and "HttpOnly" in cookies[0] and "SameSite=Lax" in cookies[1]


# ---- trusted proxies ----


def test_a_trusted_proxy_says_who_calls(gateway, upstream):
    gate = gateway(SERVER % 'trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]' + RAW, raw=upstream.url)
    sent = {
        "X-Forwarded-For": "6.6.6.6, 198.51.100.7, 10.1.2.3", "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example.com", "X-Request-Id": "from-the-proxy-1",
    }  # fmt: skip
    answer = passed(gate.get("/", door="plain", headers=sent))
    assert answer.headers["x-request-id"] == "from-the-proxy-1"
    got = upstream.last
    assert got.all("x-forwarded-proto") == ["https"]
    assert got.all("x-forwarded-host") == ["shop.example.com"]
    assert got.all("x-request-id") == ["from-the-proxy-1"]
    assert "198.51.100.7" in got.all("x-forwarded-for")[0]
    assert "198.51.100.7" in str(gate.access_line(answer)), "the log names the client, not the proxy"
    assert "6.6.6.6" not in str(gate.access_line(answer)), "what the client itself wrote further left is not believed"


def test_forwarded_from_a_trusted_proxy_is_read_too(gateway, upstream):
    gate = gateway(SERVER % 'trusted_proxies = ["127.0.0.1/32"]' + RAW, raw=upstream.url)
    answer = passed(
        gate.get("/", door="plain", headers={"Forwarded": 'for="[2001:db8::7]:4711";proto=https;host=a.example.com'})
    )
    assert upstream.last.all("x-forwarded-proto") == ["https"]
    assert "2001:db8::7" in str(gate.access_line(answer))


def proxy_v2(source="198.51.100.20", port=4711):
    body = socket.inet_aton(source) + socket.inet_aton("203.0.113.1") + struct.pack("!HH", port, 443)
    return b"\r\n\r\n\x00\r\nQUIT\n" + bytes([0x21, 0x11]) + struct.pack("!H", len(body)) + body


@pytest.mark.parametrize(
    "prologue,client",
    [(b"PROXY TCP4 198.51.100.10 203.0.113.1 4711 443\r\n", "198.51.100.10"), (proxy_v2(), "198.51.100.20")],
    ids=["v1", "v2"],
)
def test_proxy_protocol_from_a_trusted_proxy(gateway, upstream, prologue, client):
    options = 'trusted_proxies = ["127.0.0.1/32"]\nproxy_protocol = true'
    gate = gateway(SERVER % options + RAW, raw=upstream.url)
    for connect in (over_plain, over_tls):
        with connect(gate, before=prologue) as raw:
            raw.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert raw.answer().status == 200
        assert upstream.last.all("x-forwarded-for") == [client]
    with RawClient(gate.ports["plain"], before=b"PROXY garbage\r\n") as raw:
        assert raw.ended() or b" 400 " in raw.read_until(b"\r\n"), "what is no PROXY header is not served"


# ---- doors ----


def test_http_redirects_to_https_and_serves_nothing_else(gate):
    answer = gate.get("/api/echo/?a=b", door="http")
    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://localhost:{gate.ports['https']}/api/echo/?a=b"
    posted = gate.post("/api/upload/", door="http", content=b"secret")
    assert posted.status_code == 308


def test_the_redirect_does_not_leave_for_another_host(gate):
    for target in (b"//evil.example/x", b"/\\evil.example", b"http://evil.example/"):
        with RawClient(gate.ports["http"]) as raw:
            raw.send(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = raw.answer()
            place = answer.getheader("location") or "https://localhost"
            assert answer.status == 400 or place.startswith("https://localhost"), place


def test_http2_and_http1_are_both_spoken(gate):
    for http2, version in ((True, "HTTP/2"), (False, "HTTP/1.1")):
        with gate.client(http2=http2) as client:
            answer = passed(client.get("/api/echo/a%20b/%D8%B3?q=%2Fx&q=2"))
            assert answer.http_version == version
            seen = answer.json()
            assert seen["raw_uri"] == "/api/echo/a%20b/%D8%B3?q=%2Fx&q=2", "what is forwarded is what was matched"


def test_what_is_forwarded_is_byte_for_byte_what_was_matched(raw_gate, recording):
    for target in (b"/a%20b?x=%2f%2F", b"/~tilde/a%3Bb=c", b"/?", b"/%41", b"/a?b?c&d=[]"):
        with over_plain(raw_gate) as raw:
            raw.send(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert raw.answer().status == 200
        assert recording.last.target.encode() == target


def test_hop_by_hop_headers_stay_here(raw_gate, recording):
    headers = {
        "Connection": "keep-alive, X-Private, Content-Length, Host, X-Forwarded-For", "X-Private": "1", "Keep-Alive": "timeout=5",
        "Proxy-Authorization": "Basic eA==", "TE": "trailers, gzip", "Proxy": "http://evil", "X-Kept": "yes",
        "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk",
    }  # fmt: skip
    passed(raw_gate.post("/", headers=headers, content=b"body"))
    got = recording.last
    for name in ("x-private", "keep-alive", "proxy-authorization", "proxy", "upgrade", "http2-settings"):
        assert got.all(name) == [], name
    assert got.all("x-kept") == ["yes"] and got.body == b"body" and len(got.all("host")) == 1
    assert got.all("x-forwarded-for") == ["127.0.0.1"]


def test_headers_with_underscores_or_dots_are_dropped(raw_gate, recording):
    passed(raw_gate.get("/", headers={"X_Some_Thing": "1", "X.Other": "2", "X-Fine": "3"}))
    assert recording.last.all("x-fine") == ["3"]
    assert b"x_some_thing" not in recording.last.head.lower() and b"x.other" not in recording.last.head.lower()


def test_underscore_headers_are_kept_where_the_file_says_so_but_never_an_identity(gateway, upstream):
    gate = gateway(SERVER % 'underscore_headers = "keep"' + RAW, raw=upstream.url)
    passed(gate.get("/", headers={"X_Some_Thing": "1", "X_Auth_User": "evil", "X_Forwarded_For": "6.6.6.6"}))
    assert b"x_some_thing: 1" in upstream.last.head.lower()
    assert b"evil" not in upstream.last.head and b"6.6.6.6" not in upstream.last.head


def test_many_slashes_become_one_where_the_file_says_so(gateway, upstream):
    gate = gateway(SERVER % "merge_slashes = true" + RAW, raw=upstream.url)
    with over_plain(gate) as raw:
        raw.send(b"GET /a//b///c HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw.answer().status == 200
    assert upstream.last.target == "/a/b/c"


# ---- kinds of servers ----


def test_a_unix_socket_upstream(gateway, django_app):
    gate = gateway('[upstream.app]\nservers = ["unix:{socket}"]\n' + ROUTE, socket=django_app.socket)
    assert seen_by_app(gate.get("/api/echo/"))["is_secure"] is True


def test_an_https_upstream_is_verified(gateway, tmp_path):
    authority = Authority("Upstreams")
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    (tmp_path / "other-ca.pem").write_bytes(Authority("Others").pem())
    pair = authority.issue_files(tmp_path, "app", common_name="app", names=["app.internal"])
    toml = """
[upstream.app]
servers = ["{url}"]
tls = { ca = "{folder}/ca.pem", server_name = "app.internal" }

[upstream.wrong-ca]
servers = ["{url}"]
tls = { ca = "{folder}/other-ca.pem", server_name = "app.internal" }

[upstream.wrong-name]
servers = ["{url}"]
tls = { ca = "{folder}/ca.pem", server_name = "other.internal" }

[[route]]
path = "/"
upstream = "app"
auth = "public"

[[route]]
path = "/wrong-ca"
upstream = "wrong-ca"
auth = "public"

[[route]]
path = "/wrong-name"
upstream = "wrong-name"
auth = "public"
"""
    with RawUpstream(tls=server_tls(*pair)) as upstream:
        gate = gateway(toml, url=upstream.url, folder=tmp_path)
        passed(gate.get("/"))
        assert len(upstream.requests) == 1
        refused(gate.get("/wrong-ca"), 502, "upstream_unreachable")
        refused(gate.get("/wrong-name"), 502, "upstream_unreachable")
        assert len(upstream.requests) == 1


def test_an_upstream_that_wants_a_client_certificate_gets_it(gateway, tmp_path):
    authority = Authority("Upstreams")
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    pair = authority.issue_files(tmp_path, "app", common_name="app", names=["localhost", "127.0.0.1"])
    authority.issue_files(tmp_path, "gateway", common_name="gateway", client=True)
    toml = """
[upstream.app]
servers = ["{url}"]
tls = { ca = "{folder}/ca.pem", cert = "{folder}/gateway.pem", key = "{folder}/gateway.key" }
"""
    with RawUpstream(tls=server_tls(*pair, client_ca=tmp_path / "ca.pem")) as upstream:
        gate = gateway(toml + ROUTE, url=upstream.url, folder=tmp_path)
        passed(gate.get("/"))


def test_a_dead_server_costs_nobody_an_answer(gateway, upstream):
    gate = gateway('[upstream.app]\nservers = ["http://127.0.0.1:1", "{raw}"]\n' + ROUTE, raw=upstream.url)
    for _ in range(20):
        passed(gate.get("/"))
        passed(gate.post("/", content=b"x"))
    assert len(upstream.requests) == 40


def test_a_post_that_a_server_may_have_begun_is_never_sent_twice(gateway):
    with RawUpstream(answer=lambda request: None) as first, RawUpstream(answer=lambda request: None) as second:
        toml = '[upstream.app]\nservers = ["{one}", "{two}"]\nretries = 1\n' + ROUTE
        gate = gateway(toml, one=first.url, two=second.url)
        refused(gate.post("/", content=b"x"), 502, "upstream_unreachable")
        assert len(first.requests) + len(second.requests) == 1
        refused(gate.get("/"), 502, "upstream_unreachable")
        assert len(first.requests) + len(second.requests) == 3, "GET is idempotent: tried once more"


def test_the_host_the_app_sees(gateway, upstream):
    toml = """
[upstream.kept]
servers = ["{raw}"]
[upstream.own]
servers = ["{raw}"]
host = "upstream"
[upstream.fixed]
servers = ["{raw}"]
host = "app.internal"
[[route]]
path = "/kept"
upstream = "kept"
auth = "public"
[[route]]
path = "/own"
upstream = "own"
auth = "public"
[[route]]
path = "/fixed"
upstream = "fixed"
auth = "public"
"""
    gate = gateway(toml, raw=upstream.url)
    for path, host in (
        ("/kept", f"localhost:{gate.ports['https']}"),
        ("/own", upstream.url.removeprefix("http://")),
        ("/fixed", "app.internal"),
    ):
        passed(gate.get(path))
        assert upstream.last.all("host") == [host]
        assert upstream.last.all("x-forwarded-host") == [f"localhost:{gate.ports['https']}"]


def test_weights_and_sticky_cookies(gateway):
    with RawUpstream() as first, RawUpstream() as second:
        toml = """
[upstream.weighted]
servers = [{ url = "{one}", weight = 3 }, "{two}"]
balance = "round-robin"
[upstream.sticky]
servers = ["{one}", "{two}"]
balance = "cookie"
[[route]]
path = "/weighted"
upstream = "weighted"
auth = "public"
[[route]]
path = "/sticky"
upstream = "sticky"
auth = "public"
"""
        gate = gateway(toml, one=first.url, two=second.url)
        for _ in range(40):
            passed(gate.get("/weighted"))
        assert (len(first.requests), len(second.requests)) == (30, 10)
        first.requests.clear(), second.requests.clear()
        with gate.client() as client:
            for _ in range(10):
                passed(client.get("/sticky"))
        assert sorted((len(first.requests), len(second.requests))) == [0, 10]


def test_a_full_upstream_answers_503_after_the_queue_time(gateway):
    def slow(request):
        time.sleep(2.5)
        return OK

    with RawUpstream(answer=slow) as upstream:
        toml = '[upstream.app]\nservers = ["{raw}"]\nconnections = 1\nqueue = "300ms"\n' + ROUTE
        gate = gateway(toml, raw=upstream.url)
        with over_tls(gate) as busy:
            busy.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.5)
            started = time.monotonic()
            refused(gate.get("/"), 503, "upstream_busy")
            assert time.monotonic() - started < 2
            assert busy.answer().status == 200
