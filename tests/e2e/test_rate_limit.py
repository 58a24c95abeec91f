"""Rate limits: who counts for whom, what a client over its limit gets, and what a reload keeps."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.check import passed, refused
from harness.limits import SERVER, ask, over, standing, statuses
from harness.pages import PageServer, chromium, fetch
from harness.ports import wait_for
from harness.raw import over_plain
from harness.tokens import bearer, simplejwt
from harness.upstreams import RawUpstream, WebSocketEcho

TOML = """
[upstream.app]
servers = ["{django}"]

[upstream.raw]
servers = ["{raw}"]

[upstream.sockets]
servers = ["{sockets}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[cors.web]
origins = ["{page}"]
expose = ["x-request-id", "x-refused-by", "retry-after", "ratelimit-remaining"]

[rate_limit.login]
limit = "10/h"
burst = 3

[rate_limit.soon]
limit = "1/s"
burst = 2

[rate_limit.each-user]
limit = "10/h"
burst = 3
per = "user"

[rate_limit.each-key]
limit = "10/h"
burst = 2
per = "header:X-Api-Key"

[rate_limit.wide]
limit = "1000/h"

[[route]]
path = "/login"
auth = "public"
rate_limit = "login"
respond = { status = 200, body = "in" }
cors = "web"

[[route]]
path = "/soon"
auth = "public"
rate_limit = "soon"
respond = { status = 200, body = "soon" }

[[route]]
path = "/guarded"
auth = ["token"]
rate_limit = "login"
respond = { status = 200, body = "guarded" }

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = ["token"]
rate_limit = "each-user"

[[route]]
path = "/api/token/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/anyone"
auth = { optional = ["token"] }
rate_limit = "each-user"
respond = { status = 200, body = "anyone" }

[[route]]
path = "/key"
auth = "public"
rate_limit = "each-key"
respond = { status = 200, body = "key" }

[[route]]
path = "/both"
auth = "public"
rate_limit = ["wide", "each-key"]
respond = { status = 200, body = "both" }

[[route]]
path = "/own"
upstream = "raw"
auth = "public"
rate_limit = "login"

[[route]]
path = "/watched/{*rest}"
upstream = "app"
auth = ["token"]
rate_limit = ["login", "each-user"]
observe = true
strip_prefix = "/watched"
add_prefix = "/api/echo"

[[route]]
path = "/socket"
upstream = "sockets"
auth = "public"
rate_limit = "login"

[[route]]
path = "/free"
auth = "public"
respond = { status = 200, body = "free" }
"""

OWN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRateLimit-Limit: 77\r\nX-RateLimit-Limit: 88\r\n\r\nok"


@pytest.fixture(scope="module")
def page():
    server = PageServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def gate(module_gateway, django_app, page):
    with RawUpstream(OWN) as raw, WebSocketEcho() as sockets:
        yield module_gateway(
            SERVER + TOML, django=django_app.url, raw=raw.url, sockets=sockets.url, page=page.origin
        )  # fmt: skip


# ---- by address ----


def test_an_address_gets_its_burst_and_is_told_where_it_stands(gate):
    for left in (2, 1, 0):
        answer = passed(ask(gate, "/login", "192.0.2.1"))
        most, remaining, reset = standing(answer)
        assert (most, remaining) == (3, left)
        assert 360 * (3 - left) - 10 <= reset <= 360 * (3 - left)
    answer = ask(gate, "/login", "192.0.2.1")
    assert 350 <= over(answer) <= 360
    assert 1070 <= standing(answer)[2] <= 1080
    line = gate.access_line(answer)
    assert (line["code"], line["client"]) == ("rate_limited", "192.0.2.1")


def test_one_address_does_not_touch_another(gate):
    flood = [ask(gate, "/login", "192.0.2.2") for _ in range(60)]
    assert statuses(flood) == [200] * 3 + [429] * 57
    passed(ask(gate, "/login", "192.0.2.3"))
    passed(ask(gate, "/free", "192.0.2.2"))
    assert "ratelimit-limit" not in ask(gate, "/free", "192.0.2.2").headers


def test_an_address_that_no_trusted_proxy_tells_is_not_believed(gateway):
    gate = gateway(
        '[rate_limit.login]\nlimit = "10/h"\nburst = 2\n[[route]]\npath = "/login"\nauth = "public"\n'
        'rate_limit = "login"\nrespond = { status = 200 }\n'
    )
    assert statuses(ask(gate, "/login", f"192.0.2.{n}") for n in range(4)) == [200, 200, 429, 429]


def test_an_ipv6_network_of_64_bits_counts_as_one(gate):
    same = [ask(gate, "/login", f"2001:db8:1:1:{n:x}::{n:x}") for n in range(1, 6)]
    assert statuses(same) == [200] * 3 + [429] * 2
    passed(ask(gate, "/login", "2001:db8:1:2::1"))


def test_an_ipv4_address_in_ipv6_form_is_itself(gate):
    spelt = ["192.0.2.4", "::ffff:192.0.2.4", "::ffff:c000:204", "192.0.2.4"]
    assert statuses(ask(gate, "/login", address) for address in spelt) == [200, 200, 200, 429]


def test_who_waits_as_long_as_told_passes(gate):
    assert statuses(ask(gate, "/soon", "192.0.2.5") for _ in range(2)) == [200, 200]
    wait = over(ask(gate, "/soon", "192.0.2.5"))
    assert wait == 1
    time.sleep(wait)
    passed(ask(gate, "/soon", "192.0.2.5"))


def test_requests_at_the_same_moment_pass_no_more_than_the_burst(gate):
    def one(_):
        with over_plain(gate) as raw:
            raw.send(b"GET /login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.6\r\n\r\n")
            return raw.answer().status

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(40)))
    assert sorted(answers) == [200] * 3 + [429] * 37


def test_the_connection_of_a_refused_request_is_kept(gate):
    with over_plain(gate) as raw:
        for _ in range(6):
            raw.send(b"GET /login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
            last = raw.answer()
        assert last.status == 429
        raw.send(b"GET /free HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw.answer().status == 200


def test_bad_tokens_are_slowed_before_they_are_looked_at(gate):
    before = gate.count("auth_verdicts", authenticator="token")
    bad = bearer(simplejwt(secret="another-secret-that-is-long-enough-0123456789"))
    answers = [ask(gate, "/guarded", "192.0.2.8", bad) for _ in range(10)]
    assert statuses(answers) == [401] * 3 + [429] * 7
    assert standing(answers[0])[:2] == (3, 2), "a 401 tells the standing too"
    assert gate.count("auth_verdicts", authenticator="token") == before + 3
    over(ask(gate, "/guarded", "192.0.2.8", bearer(simplejwt())))


# ---- by user and by header ----


def test_a_user_counts_wherever_the_user_comes_from(gate, django_app):
    tara = bearer(django_app.role_tokens("tara")["access"])
    sina = bearer(django_app.role_tokens("sina")["access"])
    answers = [ask(gate, "/api/echo/", f"192.0.2.{n}", tara) for n in range(20, 25)]
    assert statuses(answers) == [200] * 3 + [429] * 2
    passed(ask(gate, "/api/echo/", "192.0.2.20", sina))
    refused(ask(gate, "/api/echo/", "192.0.2.20"), 401, "credentials_missing")
    refused(ask(gate, "/api/echo/", "192.0.2.20"), 401, "credentials_missing")


def test_nobody_signed_in_counts_by_address(gate):
    assert statuses(ask(gate, "/anyone", "192.0.2.30") for _ in range(4)) == [200] * 3 + [429]
    passed(ask(gate, "/anyone", "192.0.2.31"))
    passed(ask(gate, "/anyone", "192.0.2.30", bearer(simplejwt(user_id="930"))))


def test_a_header_counts_by_its_value_and_without_it_the_address_does(gate):
    key = {"X-Api-Key": "one-secret-key"}
    answers = [ask(gate, "/key", f"192.0.2.{n}", key) for n in range(40, 43)]
    assert statuses(answers) == [200, 200, 429]
    passed(ask(gate, "/key", "192.0.2.40", {"X-Api-Key": "another"}))
    assert statuses(ask(gate, "/key", "192.0.2.44") for _ in range(3)) == [200, 200, 429]
    gate.access_line(answers[-1])
    assert "one-secret-key" not in gate.output()


def test_of_several_limits_the_tightest_is_told(gate):
    answer = passed(ask(gate, "/both", "192.0.2.50"))
    assert standing(answer)[:2] == (2, 1)
    passed(ask(gate, "/both", "192.0.2.50"))
    assert standing(ask(gate, "/both", "192.0.2.50"))[:2] == (2, 0)
    over(ask(gate, "/both", "192.0.2.50"))


# ---- what does not count, and what is not refused ----


def test_the_apps_own_word_of_a_limit_is_replaced(gate):
    answer = passed(ask(gate, "/own", "192.0.2.60"))
    assert answer.headers.get_list("ratelimit-limit") == ["3"]
    assert answer.headers["x-ratelimit-limit"] == "88"


def test_preflights_and_explanations_do_not_count(gate, page):
    preflight = {"Origin": page.origin, "Access-Control-Request-Method": "GET"}
    for _ in range(5):
        answer = ask(gate, "/login", "192.0.2.61", preflight, method="OPTIONS")
        assert answer.status_code == 204 and "ratelimit-limit" not in answer.headers
    for _ in range(5):
        told = gate.explain("GET", "/login", extra=["--from", "192.0.2.61"])
        assert "limit login" in json.dumps(told) and "10/h per ip, 3 at once" in json.dumps(told)
    assert statuses(ask(gate, "/login", "192.0.2.61") for _ in range(4)) == [200] * 3 + [429]


def test_a_route_that_observes_counts_and_refuses_nobody(gate):
    before = gate.count("rate_limited_total", limit="login"), gate.count("rate_limited_total", limit="each-user")
    token = bearer(simplejwt(user_id="962"))
    answers = [ask(gate, "/watched/", "192.0.2.62", token) for _ in range(5)]
    for answer in answers:
        seen = passed(answer).json()
        assert seen["headers"]["X_AUTH_USER"] == "962", "the app is told who it is"
        assert "ratelimit-limit" not in answer.headers
    assert "rate_limited" in json.dumps(gate.access_line(answers[-1]))
    after = gate.count("rate_limited_total", limit="login"), gate.count("rate_limited_total", limit="each-user")
    assert after == (before[0] + 2, before[1] + 2)
    assert gate.count("observed_denials_total", code="rate_limited") >= 2
    over(ask(gate, "/login", "192.0.2.62"))


def test_what_was_over_is_counted_and_why_tells_the_limit(gate):
    before = gate.count("rate_limited_total", limit="login")
    answers = [ask(gate, "/login", "192.0.2.63") for _ in range(5)]
    assert gate.count("rate_limited_total", limit="login") == before + 2
    assert gate.count("rate_limit_accounts", limit="login") >= 1
    told = gate.run_cli("why", answers[-1].headers["x-request-id"])
    assert "limit login: 10/h per ip, 3 at once; counted for 192.0.2.63" in told.text, told


# ---- other ways in ----


def test_over_http2_too(gate):
    with gate.client(http2=True, headers={"X-Forwarded-For": "192.0.2.70"}) as client:
        answers = [client.get("/login") for _ in range(5)]
    assert statuses(answers) == [200] * 3 + [429] * 2
    assert answers[-1].http_version == "HTTP/2"
    over(answers[-1])


def test_a_websocket_counts_once_by_its_handshake(gate):
    def handshake():
        raw = over_plain(gate)
        raw.send(
            b"GET /socket HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.71\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        return raw, raw.read_until(b"\r\n\r\n")

    sockets = []
    for _ in range(3):
        raw, head = handshake()
        sockets.append(raw)
        assert head.startswith(b"HTTP/1.1 101"), head
    for _ in range(10):
        sockets[0].send(b"\x81\x85\x00\x00\x00\x00hello")
        assert sockets[0].read_until(b"hello").endswith(b"hello")
    raw, head = handshake()
    sockets.append(raw)
    assert head.startswith(b"HTTP/1.1 429") and b"retry-after: " in head.lower(), head
    for raw in sockets:
        raw.close()


def test_a_page_of_an_allowed_origin_reads_the_429(gate, page, need, tmp_path):
    browser = chromium(need("chromium"), need("chromedriver"), tmp_path)
    try:
        browser.get(page.origin + "/")
        for _ in range(3):
            assert fetch(browser, gate.https_url + "/login").get("status") == 200
        answer = fetch(browser, gate.https_url + "/login")
        assert answer.get("status") == 429 and answer["type"] == "cors", answer
        assert json.loads(answer["body"])["code"] == "rate_limited" and answer["refusedBy"] == "gateway"
        script = "const done = arguments[1]; fetch(arguments[0]).then(a => done(a.headers.get('retry-after')))"
        assert int(browser.execute_async_script(script, gate.https_url + "/login")) > 300
    finally:
        browser.quit()


# ---- reload and memory ----


def test_a_reload_keeps_the_count_of_a_limit_that_did_not_change(gateway):
    def file(generation, burst):
        return SERVER + (
            '[rate_limit.kept]\nlimit = "10/h"\nburst = 2\n[rate_limit.changed]\nlimit = "10/h"\nburst = %d\n'
            '[[route]]\npath = "/kept"\nauth = "public"\nrate_limit = "kept"\nrespond = { status = 200 }\n'
            '[[route]]\npath = "/changed"\nauth = "public"\nrate_limit = "changed"\nrespond = { status = 200 }\n'
            '[[route]]\npath = "/generation"\nauth = "public"\nrespond = { status = 200, body = "%d" }\n'
        ) % (burst, generation)

    gate = gateway(file(0, 2))
    for path in ("/kept", "/changed"):
        assert statuses(ask(gate, path, "192.0.2.80") for _ in range(3)) == [200, 200, 429]
    gate.reload(file(1, 3), expect=None)
    wait_for(lambda: gate.get("/generation", door="plain").text == "1", 10, "the new file")
    over(ask(gate, "/kept", "192.0.2.80"))
    passed(ask(gate, "/changed", "192.0.2.80"))
    assert gate.count("rate_limited_total", limit="changed") == 1, "what was counted stays"


def test_a_flood_of_addresses_takes_no_memory(gate):
    def flood(network):
        with over_plain(gate) as raw:
            for number in range(2_500):
                address = f"198.{network}.{number >> 8}.{number & 255}"
                raw.send(f"GET /login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n\r\n".encode())
                assert raw.answer().status == 200

    for _ in range(4):
        ask(gate, "/login", "192.0.2.90")
    flood(18)
    before = gate.rss_kib()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(flood, (19, 20)))
    assert gate.rss_kib() - before < 4 * 1024
    assert gate.count("rate_limit_accounts", limit="login") > 7_000
    over(ask(gate, "/login", "192.0.2.90"))
