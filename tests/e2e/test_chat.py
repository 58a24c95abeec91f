"""The shop's chat in real browsers: Django Channels behind the gateway, which tells the page why a socket was refused."""

import signal
import time

import pytest
from websockets.exceptions import ConnectionClosed

from harness.chats import Chat
from harness.gateway import SERVER
from harness.pages import PageServer, chromium
from harness.ports import free_port, wait_for
from harness.raw import over_tls
from harness.stage import Stage
from harness.tokens import simplejwt, tampered
from harness.websocket import WebSocket

TOML = """
[upstream.chat]
servers = ["{chat}"]

[upstream.gone]
servers = ["http://127.0.0.1:{gone}"]

[upstream.mute]
servers = ["{mute}"]
timeouts = { response = "1s" }

[upstream.narrow]
servers = ["{chat}"]
connections = 1
queue = "200ms"

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
sources = ["header:authorization", "websocket:token", "websocket:access", "websocket-protocol"]
directory = "users"

[directory.users]
type = "django"
database = "sqlite:///{database}"
roles = ["flags"]

[cors.shop]
origins = ["{page}"]

[[route]]
path = "/ws/admin/"
upstream = "chat"
auth = ["token"]
roles = ["staff"]
cors = "shop"

[[route]]
path = "/ws/customer/"
upstream = "chat"
auth = "public"
cors = "shop"

[[route]]
path = "/ws/mirror/"
upstream = "chat"
auth = ["token"]
cors = "shop"

[[route]]
path = "/ws/mirror/cut/"
upstream = "chat"
auth = ["token"]
cors = "shop"
websocket = { forward_token = false }

[[route]]
path = "/ws/mirror/close/"
upstream = "chat"
auth = ["token"]
websocket = { refuse = "close" }

[[route]]
path = "/ws/mirror/status/"
upstream = "chat"
auth = ["token"]
cors = "shop"
websocket = { refuse = "status" }

[[route]]
path = "/ws/mirror/endless/"
upstream = "chat"
auth = ["token"]
cors = "shop"
websocket = { close_on_expiry = false }

[[route]]
path = "/ws/gone/"
upstream = "gone"
auth = "public"
cors = "shop"

[[route]]
path = "/ws/mute/"
upstream = "mute"
auth = "public"
cors = "shop"

[[route]]
path = "/ws/mirror/narrow/"
upstream = "narrow"
auth = "public"
cors = "shop"

[[route]]
path = "/unguarded/{*rest}"
upstream = "chat"
strip_prefix = "/unguarded"
auth = "public"
cors = "shop"

[[route]]
path = "/{*rest}"
upstream = "chat"
auth = "public"
"""


@pytest.fixture(scope="module")
def pages():
    """The shop's own pages, on an origin that the file allows, and a stranger's."""
    servers = PageServer(), PageServer()
    yield servers
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def places(chat_app, pages):
    """What the file names; `mute` is an app that takes a handshake and never answers it."""
    with Stage() as mute:
        yield {
            "chat": chat_app.upstream, "database": chat_app.database, "page": pages[0].origin,
            "gone": free_port(), "mute": mute.url,
        }  # fmt: skip


@pytest.fixture(scope="module")
def gate(module_gateway, places):
    return module_gateway(TOML, **places)


@pytest.fixture(scope="module")
def tokens(chat_app):
    """The tokens of both users, from the app's own login."""
    return {user: chat_app.tokens(user) for user in ("sara", "kian")}


@pytest.fixture(scope="module")
def browsers(need, tmp_path_factory):
    """Two browsers of two people."""
    started = [chromium(need("chromium"), need("chromedriver"), tmp_path_factory.mktemp("chromium")) for _ in "ab"]
    yield started
    for browser in started:
        browser.quit()


@pytest.fixture(params=["http1", "http2"])
def version(request):
    """Over which version of HTTP the browser opens its sockets."""
    return request.param


@pytest.fixture
def shop(browsers, pages, gate, version):
    """`shop(path, *protocols, browser=0) -> Chat`, opened by a page of the shop.

    A page of the gateway's own origin came over HTTP/2, and its sockets go over that connection; for a page of
    another origin there is none, and the browser makes one of HTTP/1.1.
    """
    for browser in browsers:
        browser.get(pages[0].origin + "/" if version == "http1" else gate.https_url + "/")

    def open_chat(path, *protocols, browser=0):
        return Chat(browsers[browser], gate.https_url.replace("https", "wss") + path, *protocols)

    return open_chat


def lines(gate, path):
    """The log's lines of a path."""
    return [line for line in gate.access_lines() if line["path"] == path]


def refused_line(gate, path, code):
    """The line of the refusal that came last on a path."""
    found = wait_for(lambda: [line for line in lines(gate, path) if line.get("code") == code], 5, f"a line with {code}")
    return found[-1]


# ---- who gets in ----


def test_staff_open_the_admin_chat_and_both_see_what_is_said(shop, gate, tokens, version):
    path = f"/ws/admin/?token={tokens['sara']['access']}"
    before = len(lines(gate, "/ws/admin/"))
    here, there = shop(path), shop(path.replace("?token", "?access"), browser=1)
    for chat in (here, there):
        chat.opened()
        assert chat.heard('"user"') == '{"user": "sara"}'
    here.say('{"text": "the first customer is here"}')
    for chat in (here, there):
        assert chat.heard("first customer") == '{"who": "sara", "text": "the first customer is here"}'
    there.say('{"text": "\u0633\u0644\u0627\u0645"}')
    assert "\\u0633" in here.heard("\\u0633")
    here.close(1000, "done")
    there.close(4000)
    for chat in (here, there):
        # daphne answers every close with 1000.
        assert (chat.closed()["code"], chat.closed()["clean"]) == (1000, True)
    wait_for(lambda: len(lines(gate, "/ws/admin/")) == before + 2, 5, "the lines of both sockets")
    for line in lines(gate, "/ws/admin/")[before:]:
        assert line["user"] == "1" and line["protocol"].startswith("HTTP/1" if version == "http1" else "HTTP/2"), line


def test_a_page_that_may_not_come_in_is_told_why(shop, gate, tokens):
    sara = tokens["sara"]
    for query, code, reason in (
        ("", 4401, "credentials_missing"),
        ("?jwt=" + sara["access"], 4401, "credentials_missing"),
        ("?token=" + tampered(sara["access"]), 4401, "token_signature"),
        ("?token=" + simplejwt(lifetime=-60, user_id="1"), 4401, "token_expired"),
        ("?token=" + sara["refresh"], 4401, "token_claim"),
        ("?access=" + sara["refresh"], 4401, "token_claim"),
        ("?token=" + simplejwt(user_id="99"), 4401, "user_unknown"),
        ("?token=" + tokens["kian"]["access"], 4403, "role_missing"),
    ):
        shop("/ws/admin/" + query).refused(code, reason)
        line = refused_line(gate, "/ws/admin/", reason)
        assert (line["status"], line["close"]) == (code - 4000, code), line


def test_a_token_among_the_subprotocols_opens_the_chat_or_is_refused_with_the_reason(shop, tokens):
    chat = shop("/ws/admin/", "bearer", tokens["sara"]["access"])
    assert chat.opened()["protocol"] == "bearer"
    assert chat.heard('"user"') == '{"user": "sara"}'
    chat.close()
    for token, code, reason in (
        (tampered(tokens["sara"]["access"]), 4401, "token_signature"),
        (tokens["sara"]["refresh"], 4401, "token_claim"),
        (tokens["kian"]["access"], 4403, "role_missing"),
    ):
        shop("/ws/admin/", "bearer", token).refused(code, reason)
    shop("/ws/admin/", "chat.v2", "chat.v1").refused(4401, "credentials_missing")
    named = shop("/ws/customer/", "chat.v2", "chat.v1")
    assert named.opened()["protocol"] == "chat.v2"
    named.close()


def test_anybody_opens_the_customer_chat_and_two_visitors_see_each_other(shop, tokens):
    nobody, kian = shop("/ws/customer/"), shop(f"/ws/customer/?token={tokens['kian']['access']}", browser=1)
    assert nobody.heard('"user"') == '{"user": ""}' and kian.heard('"user"') == '{"user": "kian"}'
    kian.say('{"text": "is it in stock?"}')
    assert nobody.heard("in stock") == '{"who": "kian", "text": "is it in stock?"}'
    nobody.close()
    kian.close()


def test_a_page_of_a_strange_origin_is_told_so(browsers, pages, gate, tokens):
    browsers[0].get(pages[1].origin + "/")
    for path in (f"/ws/admin/?token={tokens['sara']['access']}", "/ws/customer/"):
        Chat(browsers[0], gate.https_url.replace("https", "wss") + path).refused(4403, "origin_not_allowed")


# ---- how an open socket ends ----


def test_a_token_that_expires_ends_the_chat_within_a_second(shop, gate, chat_app, version):
    asked = time.time()
    token = chat_app.tokens("sara", "/api/token/counter/")["access"]
    chat = shop(f"/ws/admin/?token={token}")
    chat.heard('"user"')
    chat.say('{"text": "still here"}')
    chat.heard("still here")
    close = chat.closed(8)
    assert (close["code"], close["reason"], close["clean"]) == (4401, "token_expired", True), close
    # The token's `exp` is a whole second, at or before four seconds from now.
    assert asked + 2.9 < close["at"] < time.time() and close["at"] < asked + 5.5, (asked, close)
    shop(f"/ws/admin/?token={token}").refused(4401, "token_expired")


def test_where_the_route_says_so_a_chat_outlives_its_token(shop, chat_app):
    chat = shop(f"/ws/mirror/endless/?token={chat_app.tokens('sara', '/api/token/counter/')['access']}")
    chat.heard("path")
    time.sleep(5.5)
    chat.say("still here")
    chat.heard("still here")
    chat.close()


def test_the_apps_own_close_comes_with_its_code(shop, tokens):
    for code in (4404, 1000, 3000):
        chat = shop(f"/ws/mirror/?token={tokens['kian']['access']}")
        chat.heard("path")
        chat.say(f"close {code}")
        close = chat.closed()
        assert (close["code"], close["clean"]) == (code, True), close


def test_a_redeploy_closes_1001_when_its_time_to_drain_is_over(gateway, places, browsers, version):
    gate = gateway(SERVER.replace('drain = "5s"', 'drain = "3s"') + TOML, **{**places, "page": "https://x.example"})
    browsers[0].get(gate.https_url + "/")
    chat = Chat(browsers[0], gate.https_url.replace("https", "wss") + "/ws/customer/")
    chat.heard('"user"')
    began = time.time()
    gate.signal(signal.SIGTERM)
    time.sleep(1)
    chat.say('{"text": "still served"}')
    chat.heard("still served")
    close = chat.closed(6)
    assert close["code"] == 1001 and close["clean"], close
    assert 1.5 < close["at"] - began < 3.5, close["at"] - began
    assert gate.process.wait(4) == 0


def test_an_app_that_is_down_is_4502(shop, gate):
    shop("/ws/gone/").refused(4502, "upstream_unreachable")
    line = refused_line(gate, "/ws/gone/", "upstream_unreachable")
    assert (line["status"], line["close"]) == (502, 4502), line


def test_an_app_that_does_not_answer_is_4502_and_one_that_is_full_is_4503(shop):
    shop("/ws/mute/").refused(4502, "upstream_timeout")
    only = shop("/ws/mirror/narrow/")
    only.heard("path")
    shop("/ws/mirror/narrow/").refused(4503, "upstream_busy")
    only.say("still here")
    only.heard("still here")
    only.close()


def test_a_refusal_of_the_apps_own_passes_as_it_came(shop, gate):
    # Without the gateway's rules the app closes before it accepts: a page learns nothing.
    close = shop("/unguarded/ws/admin/").closed()
    assert (close["code"], close["clean"]) == (1006, False), close
    answer = answered(gate, "/unguarded/ws/admin/")
    assert answer.status == 403 and answer.headers["X-Refused-By"] == "app", answer


def test_an_app_that_dies_ends_the_chat_and_then_is_4502(shop, chat_app):
    chat = shop("/ws/customer/")
    chat.heard('"user"')
    chat_app.process.kill()
    chat_app.process.wait(5)
    try:
        assert chat.closed(5)["code"] == 1006
        shop("/ws/customer/").refused(4502, "upstream_unreachable")
    finally:
        chat_app.socket.unlink(missing_ok=True)
        chat_app.start()
    again = shop("/ws/customer/")
    again.heard('"user"')
    again.close()


# ---- who is no browser, and what a route may say ----


HANDSHAKE = """GET {path} HTTP/1.1
Host: localhost:{port}
Connection: Upgrade
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

""".replace("\n", "\r\n")


def answered(gate, path):
    """The whole answer to a handshake by a client that is no browser: `.status`, `.headers`, `.body`."""
    with over_tls(gate) as client:
        client.send(HANDSHAKE.format(path=path, port=gate.ports["https"]).encode())
        return client.answer()


def test_a_client_that_is_no_browser_reads_the_plain_status(gate, tokens):
    for query, status, code in (
        ("", 401, b"credentials_missing"),
        ("?token=" + tokens["sara"]["refresh"], 401, b"token_claim"),
        ("?token=" + tokens["kian"]["access"], 403, b"role_missing"),
    ):
        answer = answered(gate, "/ws/admin/" + query)
        assert answer.status == status and code in answer.body, answer
        assert answer.headers["X-Refused-By"] == "gateway" and "Sec-WebSocket-Accept" not in answer.headers


def test_a_route_that_says_close_closes_for_everyone(gate, tokens):
    url = gate.https_url.replace("https", "wss") + "/ws/mirror/close/?token=" + tokens["sara"]["refresh"]
    with WebSocket(url, tls=gate.tls()) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=5)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "token_claim")


def test_a_route_that_says_status_gives_it_to_a_browser_too(shop, gate):
    close = shop("/ws/mirror/status/").closed()
    assert (close["code"], close["clean"]) == (1006, False), close
    line = refused_line(gate, "/ws/mirror/status/", "credentials_missing")
    assert line["status"] == 401 and "close" not in line, line


# ---- the token itself ----


@pytest.mark.parametrize("route", ["", "cut/"])
def test_the_app_sees_the_token_only_where_it_is_to_go_on(shop, tokens, route):
    token = tokens["sara"]["access"]
    asked = f"/ws/mirror/{route}?room=1&token={token}&x=%20y"
    seen = shop(asked).heard("path")
    assert f"\npath /ws/mirror/{route}\n" in "\n" + seen
    if route:
        assert token not in seen and "\nquery room=1&x=%20y\n" in seen, seen
    else:
        assert f"\nquery room=1&token={token}&x=%20y\n" in seen, seen
    assert "\nx-auth-user: 1\n" in seen + "\n" and "\nx-auth-roles: " in seen, seen
    by_protocol = shop(f"/ws/mirror/{route}", "bearer", token).heard("path")
    assert (token in by_protocol) == (not route), by_protocol
    assert "\noffered bearer" in by_protocol, by_protocol


def test_no_token_is_in_what_the_gateway_writes_and_shows(shop, gate, tokens):
    known = [tokens["sara"]["access"], tokens["kian"]["access"], tokens["sara"]["refresh"]]
    bad = [tampered(tokens["sara"]["access"]), simplejwt(lifetime=-60, user_id="1")]
    for path in ("/ws/admin/", "/ws/mirror/", "/ws/mirror/cut/", "/ws/gone/", "/ws/nowhere/"):
        for token in known + bad:
            for chat in (shop(f"{path}?token={token}"), shop(path, "bearer", token)):
                wait_for(lambda: chat.of("open") or chat.of("close"), 10, "an end or a beginning")
                chat.close()
    shown = [gate.output(), gate.metrics_text(), gate.get("/api/refusals", door="admin").text]
    refusals = [line["request_id"] for line in gate.access_lines() if "code" in line]
    shown += [gate.run_cli("why", number).text for number in refusals[-12:]]
    for token in known + bad:
        _, body, signature = token.split(".")
        for text in shown:
            assert body not in text and signature not in text
