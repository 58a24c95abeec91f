"""The dashboard in a real browser: live, by keyboard, on a phone, in light and dark, without scripts, under attack."""

import base64
import contextlib
import json
import time

import httpx
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from harness.apps import ACCESS_LOG, DjangoApp
from harness.check import passed, refused
from harness.pages import PageServer, chromium
from harness.ports import wait_for
from harness.single_page import SinglePage
from harness.tokens import bearer, simplejwt

# Stands in the file, and must stand nowhere else.
PLAIN_SECRET = "a-secret-in-plain-text-of-more-than-32-bytes"

TOML = """
[session]
store = "memory"

[upstream.django]
servers = ["{django}"]
health = { path = "/health/", every = "1s" }

[upstream.dead]
servers = ["http://127.0.0.1:1"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = [{ env = "DJANGO_SECRET_KEY" }, "a-secret-in-plain-text-of-more-than-32-bytes"]
identity = { user = "user_id", roles = ["roles"] }
revocable = true

[auth.far]
type = "jwt"
jwks = "http://127.0.0.1:1/keys"
algorithms = ["RS256"]
issuer = "https://issuer.example.com"
identity = { user = "sub" }

[auth.session]
type = "gateway-session"
token_handler = "django"

[token_handler.django]
upstream = "django"
login = "/api/login/"
refresh = "/api/token/refresh/"
logout = "/api/token/blacklist/"
auth = "token"

[rate_limit.slow]
limit = "600/m"

[[route]]
path = "/api/login/"
upstream = "django"
auth = "public"
rate_limit = ["slow"]

[[route]]
path = "/api/{*rest}"
upstream = "django"
auth = ["session", "token"]

[[route]]
path = "/api/supervisor/{*rest}"
upstream = "django"
auth = ["token"]
roles = ["supervisor"]

[[route]]
path = "/far/{*rest}"
upstream = "django"
auth = ["far"]

[[route]]
path = "/watched/"
upstream = "django"
auth = ["token"]
observe = true
strip_prefix = "/watched"
add_prefix = "/health"

[[route]]
path = "/dead"
upstream = "dead"
auth = "public"

[[route]]
path = "/health/"
upstream = "django"
auth = "public"
"""

ADMIN = '\n[admin]\ntoken = { env = "ADMIN_TOKEN" }\n'
TOKEN = "admin-token-0123456789"

CHAPTERS = ("traffic", "refusals", "routes", "servers", "keys", "configuration", "sessions")


@pytest.fixture(scope="module")
def django(tmp_path_factory):
    app = DjangoApp(tmp_path_factory.mktemp("django"), ACCESS_LOG)
    yield app
    app.stop()


@pytest.fixture(scope="module")
def gate(module_gateway, django):
    return module_gateway(TOML, django=django.url)


@pytest.fixture(scope="module")
def driver(need, tmp_path_factory):
    browser = chromium(need("chromium"), need("chromedriver"), tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.quit()


@pytest.fixture
def browser(driver):
    """A wide window in light, with scripts and without anything left from the test before."""
    look(driver, 1280, "light")
    driver.get("about:blank")
    driver.get_log("browser")
    yield driver
    driver.get("about:blank")
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {}})


def look(browser, width, scheme, height=900):
    """How wide the window is, and which colours the system prefers."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def shoot(browser, file):
    """The whole page as a picture."""
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    file.write_bytes(base64.b64decode(shot["data"]))


def text(browser, selector):
    return browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)


def unfold(browser, open=True):
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = arguments[0])", open)


def is_live(browser):
    return wait_for(lambda: text(browser, "#line") == "Live", 10, "the page to be live")


def traffic(gate, count=3):
    """Some of everything."""
    for _ in range(count):
        passed(gate.get("/health/"))
        passed(gate.get("/watched/"))
        refused(gate.get("/api/echo/"), 401, "credentials_missing")
        refused(gate.get("/api/supervisor/report/", headers=bearer(simplejwt(roles=["host"]))), 403, "role_missing")
        refused(gate.get("/nowhere"), 404, "no_route")
    gate.get("/dead")
    gate.get("/far/", headers=bearer(simplejwt()))


# ---- what the page is ----


def test_the_page_loads_without_an_error_and_without_a_request_to_anyone_else(browser, gate):
    traffic(gate)
    browser.get(gate.admin_url + "/")
    is_live(browser)
    assert browser.get_log("browser") == []
    loaded = browser.execute_script("return performance.getEntries().map(entry => entry.name)")
    loaded = [name for name in loaded if "://" in name]
    assert any(name.endswith("/dashboard.js") for name in loaded)
    assert all(name.startswith(gate.admin_url + "/") for name in loaded), loaded
    for chapter in CHAPTERS:
        assert len(text(browser, f"#{chapter}")) > 40, chapter
    assert browser.execute_script("return document.querySelectorAll('svg[role=img][aria-label]').length") == 4
    policy = gate.get("/", door="admin").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_the_page_is_whole_without_scripts(browser, gate):
    traffic(gate)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(gate.admin_url + "/")
    page = browser.page_source
    for words in ("role_missing", "was refused: role_missing (403)", "Requests each minute", "/api/supervisor/{*rest}",
                  "any role of: supervisor", "127.0.0.1:1", "Days left", "limit slow: 600/m"):  # fmt: skip
        assert words in page, words


def test_values_change_while_one_looks_and_what_is_unfolded_stays_so(browser, gate):
    browser.get(gate.admin_url + "/")
    is_live(browser)
    traffic(gate, 1)

    def shown():
        return int(text(browser, "#cause-role_missing .count") or 0)

    codes = gate.get("/api/refusals/codes", door="admin").json()["codes"]
    before = next(row["refused"] for row in codes if row["code"] == "role_missing")
    wait_for(lambda: shown() == before, 10, "the refusals to be shown")
    browser.execute_script("const d = document.querySelector('#cause-role_missing summary'); d.focus(); d.click()")
    traffic(gate, 5)
    wait_for(lambda: shown() == before + 5, 10, "the count to grow")
    assert "role_missing (403)" in text(browser, "#cause-role_missing pre")
    state = browser.execute_script(
        "return [document.activeElement.closest('li')?.id, document.querySelector('#cause-role_missing details').open]"
    )
    assert state == ["cause-role_missing", True]
    rates = text(browser, '[data-part="now"]')
    assert "Requests a second" in rates
    wait_for(
        lambda: browser.execute_script("return document.querySelector('svg .bar.plain').getAttribute('d')") != "",
        10, "a bar to be drawn",
    )  # fmt: skip
    unfold(browser)
    last = gate.get("/api/refusals", door="admin").json()["refusals"][0]["request_id"]
    wait_for(lambda: last in text(browser, "#refusals"), 10, "the last refusal to be listed")


def test_a_reload_that_is_refused_is_told_with_its_mistakes_and_the_next_that_works_clears_it(browser, gate):
    browser.get(gate.admin_url + "/")
    is_live(browser)
    try:
        gate.reload(TOML.replace('path = "/dead"', 'path = "dead"'), expect=False)
        wait_for(lambda: "refused" in text(browser, "#configuration"), 10, "the refused reload to be shown")
        told = text(browser, "#configuration")
        assert 'route[' in told and "gateway.toml:" in told, told
        assert "The last reload was refused" in text(browser, '[data-part="attention"]')
        status = gate.get("/api/status", door="admin").json()["configuration"]["last_reload"]
        assert status["worked"] is False and "gateway.toml:" in status["problems"][0]
    finally:
        gate.reload(TOML)
    wait_for(lambda: "taken up" in text(browser, "#configuration"), 10, "the reload to be shown")


# ---- what stands in it that others wrote ----


def test_what_others_write_is_shown_and_never_run(browser, gate):
    user = "<img src=x onerror=\"document.title='run'\">\u202egpj.exe"
    refused(gate.get("/api/supervisor/%3Cscript%3E/", headers=bearer(simplejwt(user_id=user, roles=[]))), 403, "role_missing")
    refused(gate.get("/" + "%3Cb%3E" * 900), 404, "no_route")
    long_id = "<script>document.title='run'</script>" + "x" * 10_000
    gate.get("/api/echo/?x=<script>", headers=bearer(simplejwt(user_id=long_id, lifetime=-5)))
    browser.get(gate.admin_url + "/?user=" + "%3Cscript%3Edocument.title%3D1%3C/script%3E")
    is_live(browser)
    unfold(browser)
    wait_for(lambda: "onerror" in text(browser, "#refusals"), 10, "the user's name to be shown")
    assert browser.title == "Portcullis"
    assert browser.execute_script("return document.querySelectorAll('img, section script, b').length") == 0
    assert "\u202e" not in browser.page_source
    assert browser.execute_script("return document.getElementById('user').value").startswith("<script>")
    assert browser.get_log("browser") == []
    # Neither on the page nor in what it is made of.
    for path in ("/", "/api/refusals", "/api/refusals/codes", "/api/configuration", "/api/status", "/api/routes"):
        body = gate.get(path, door="admin").text
        assert PLAIN_SECRET not in body, path
        assert "x" * 1_000 not in body, path


def test_the_configuration_is_shown_without_its_secrets(gate):
    told = gate.get("/api/configuration", door="admin").json()
    assert told["file"].endswith("gateway.toml")
    assert told["values"]["auth"]["token"]["secret"] == [{"env": "DJANGO_SECRET_KEY"}, "…"]
    assert told["values"]["server"]["underscore_headers"] == "drop", "a default"


# ---- keyboard ----


def focused(browser):
    return browser.execute_script(
        "const a = document.activeElement;"
        "return {text: a.innerText, name: a.ariaLabel, id: a.id, visible: a.matches(':focus-visible'),"
        " outline: getComputedStyle(a).outlineStyle}"
    )


def press(browser, *keys):
    ActionChains(browser).send_keys(*keys).perform()


def tab_to(browser, wanted, most=80):
    """Goes on with Tab to what is wanted; everything on the way shows that it has the focus."""
    for _ in range(most):
        press(browser, Keys.TAB)
        here = focused(browser)
        assert here["visible"] and here["outline"] != "none", here
        if wanted(here):
            return here
    raise AssertionError("it cannot be reached by keyboard")


def test_a_session_is_found_and_revoked_by_keyboard_alone(browser, gate):
    person, other = SinglePage(gate), SinglePage(gate)
    person.sign_in("tara")
    other.sign_in("sina")
    passed(person.get("/api/echo/"))
    browser.get(gate.admin_url + "/")
    is_live(browser)
    press(browser, Keys.TAB)
    assert focused(browser)["text"] == "To the content"
    press(browser, Keys.ENTER)
    shown = gate.get("/api/sessions", door="admin").json()["sessions"]
    user = next(row["user"] for row in shown if row["user"])
    tab_to(browser, lambda here: here["id"] == "user")
    press(browser, user, Keys.ENTER)
    wait_for(lambda: text(browser, "#found").count("Revoke all of this user") == 1, 10, "the user's sessions")
    rows = browser.execute_script("return document.querySelectorAll('#found tbody tr').length")
    assert rows == sum(row["user"] == user for row in shown) == 1
    tab_to(browser, lambda here: (here["name"] or "").startswith("Revoke the session of"))
    press(browser, Keys.ENTER)
    assert "Revoke this session" in text(browser, "#sure")
    # The first button leaves it; Escape does too.
    press(browser, Keys.ESCAPE)
    assert len(gate.get("/api/sessions", door="admin").json()["sessions"]) == 2
    tab_back = focused(browser)
    assert (tab_back["name"] or "").startswith("Revoke the session of"), "the focus comes back"
    press(browser, Keys.ENTER)
    tab_to(browser, lambda here: here["text"] == "Revoke")
    press(browser, Keys.ENTER)
    wait_for(lambda: text(browser, "#said") == "1 session was revoked.", 10, "the answer")
    assert focused(browser)["id"] == "said"
    left = gate.get("/api/sessions", door="admin").json()["sessions"]
    assert [row["user"] for row in left] == [row["user"] for row in shown if row["user"] != user]
    answers = {page: page.get("/api/echo/").status_code for page in (person, other)}
    assert sorted(answers.values()) == [200, 401]
    assert browser.get_log("browser") == []


# ---- eyes ----

# Texts that cannot be read well against what is behind them (WCAG 2.2, 1.4.3).
FAINT = """
const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
const rgba = colour => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
};
const behind = element => {
  let layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
  let seen = [255, 255, 255];
  for (const [r, g, b, a] of layers.reverse()) seen = [r, g, b].map((part, i) => part * a + seen[i] * (1 - a));
  return seen;
};
const light = colour => {
  const [r, g, b] = colour.map(part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const faint = new Map();
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let count = 0;
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.nodeValue.trim() || !element.checkVisibility() || element.closest('noscript, script')) continue;
  count++;
  const [one, two] = [light(rgba(getComputedStyle(element).color).slice(0, 3)), light(behind(element))];
  const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
  if (contrast < 4.5) faint.set(element.className + ' ' + walk.currentNode.nodeValue.slice(0, 40), contrast);
}
return [count, [...faint]];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_read_on_a_phone_and_a_desk_in_light_and_dark(browser, gate, tmp_path, width, scheme):
    person = SinglePage(gate)
    person.sign_in("tara")
    traffic(gate)
    look(browser, width, scheme, height=740 if width < 600 else 900)
    browser.get(gate.admin_url + "/")
    is_live(browser)
    wait_for(lambda: "role_missing" in text(browser, ".causes"), 10, "the refusals to be shown")
    unfold(browser)
    count, faint = browser.execute_script(FAINT)
    assert count > 200 and faint == []
    wide = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1] == width, wide
    # Nothing sticks out of its card either.
    out = browser.execute_script(
        "return [...document.querySelectorAll('section *')].filter(one => !one.closest('.scroll, svg, thead') || "
        " (innerWidth < 600 && !one.closest('svg, thead'))).filter(one => one.checkVisibility() && "
        " one.getBoundingClientRect().right > one.closest('section').getBoundingClientRect().right)"
        ".map(one => one.outerHTML.slice(0, 90))"
    )
    assert out == []
    # No table on a desk hides a column, such as the one to revoke by.
    hidden = browser.execute_script(
        "return [...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth)"
        ".map(one => one.querySelector('caption').textContent + ' ' + one.scrollWidth + ' of ' + one.clientWidth)"
    )
    assert hidden == []
    unfold(browser, open=False)
    shoot(browser, tmp_path / f"dashboard-{width}-{scheme}.png")
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, back[4:-1].split(","))) > 380) == (scheme == "light"), back
    if width < 600:
        small = browser.execute_script(
            "return [...document.querySelectorAll('nav a, button:not([hidden]), summary, input')]"
            ".filter(one => one.checkVisibility() && one.getBoundingClientRect().height < 24).length"
        )
        assert small == 0, "too small for a finger"


# ---- who may ----


def test_with_a_token_the_page_works_by_the_browsers_own_login_and_the_token_is_in_no_address(browser, gateway, django):
    gate = gateway(TOML + ADMIN, env={"ADMIN_TOKEN": TOKEN}, django=django.url)
    for path in ("/", "/dashboard.js", "/api/events", "/api/traffic", "/api/configuration", "/api/refusals/codes"):
        assert gate.get(path, door="admin").status_code == 401, path
    person = SinglePage(gate)
    person.sign_in("tara")
    login = base64.b64encode(f"admin:{TOKEN}".encode()).decode()
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Authorization": f"Basic {login}"}})
    browser.get(gate.admin_url + "/")
    is_live(browser)
    browser.execute_script("document.querySelector('[data-revoke=session]').click()")
    browser.execute_script("document.querySelector('#sure button[value=yes]').click()")
    wait_for(lambda: "1 session was revoked" in text(browser, "#said"), 10, "the answer")
    assert person.get("/api/echo/").status_code == 401
    assert TOKEN not in browser.page_source
    names = browser.execute_script("return performance.getEntries().map(entry => entry.name).concat(location.href)")
    assert not any(TOKEN in name for name in names)
    shown = gate.get("/api/configuration", door="admin", headers=bearer(TOKEN)).text
    assert TOKEN not in shown and "ADMIN_TOKEN" in shown


def test_a_page_of_another_origin_cannot_revoke_listen_or_look(browser, gate):
    person = SinglePage(gate)
    person.sign_in("tara")
    page = PageServer()
    try:
        browser.get(page.origin + "/")
        asked = browser.execute_async_script(
            """
            const [admin, done] = arguments, how = {method: 'POST', mode: 'no-cors', credentials: 'include'};
            const users = JSON.stringify({user: '1'});
            Promise.allSettled([
              fetch(admin + '/api/revocations', {...how, body: users}),
              fetch(admin + '/api/revocations', {...how, mode: 'cors', headers: {'Content-Type': 'application/json'}, body: users}),
              fetch(admin + '/api/sessions').then(answer => answer.text()),
              new Promise((heard, failed) => {
                const events = new EventSource(admin + '/api/events');
                events.onopen = heard; events.onerror = () => { events.close(); failed(Error('refused')); };
              }),
            ]).then(all => done(all.map(one => one.status)));
            """,
            gate.admin_url,
        )
        assert asked == ["rejected"] * 4
    finally:
        page.close()
    passed(person.get("/api/echo/"))
    site = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}
    for headers in (site, {"Sec-Fetch-Site": "same-site", "Content-Type": "application/json"}):
        answer = httpx.post(gate.admin_url + "/api/revocations", headers=headers, content='{"user": "1"}', trust_env=False)
        assert answer.status_code == 403
    assert gate.get("/api/revocations?user=1", door="admin").status_code == 405, "no GET changes anything"


# ---- events ----


@contextlib.contextmanager
def listening(gate, headers=None):
    """An open stream of events: its answer, and its events one by one."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        with client.stream("GET", gate.admin_url + "/api/events", headers=headers or {}) as answer:
            yield answer, events_of(answer)


def events_of(answer):
    """The sections of each event."""
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def test_a_listener_gets_the_whole_first_and_then_what_changed(gate):
    with listening(gate) as (answer, events):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        whole = next(events)
        assert {"state", "attention", "now", "charts", "refusals", "routes", "servers", "keys"} <= set(whole)
        changed = next(events)
        assert "state" in changed and "configuration" not in changed


def test_listeners_are_few_and_make_room_when_they_go(gate):
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            answer, _events = stack.enter_context(listening(gate))
            assert answer.status_code == 200
        with listening(gate) as (answer, _events):
            assert answer.status_code == 503
        assert gate.get("/health", door="admin").status_code == 200

    def there_is_room():
        with listening(gate) as (answer, _events):
            return answer.status_code == 200

    wait_for(there_is_room, 10, "room for a listener")


def test_listeners_end_with_the_gateway_and_do_not_hold_it_up(gateway, django):
    gate = gateway(TOML, django=django.url)
    with listening(gate) as (_answer, events):
        next(events)
        began = time.monotonic()
        gate.stop()
        list(events)
        assert time.monotonic() - began < 5


def test_a_listener_is_sent_away_when_the_token_changes(gateway, django):
    gate = gateway(TOML + ADMIN, env={"ADMIN_TOKEN": TOKEN}, django=django.url)
    with listening(gate, bearer(TOKEN)) as (answer, events):
        assert answer.status_code == 200
        next(events)
        gate.write(TOML + '\n[admin]\ntoken = "another-token-0123456789"\n')
        wait_for(
            lambda: gate.get("/metrics", door="admin", headers=bearer(TOKEN)).status_code == 401, 10, "the new token"
        )
        # What was on its way may still come, and then no more.
        assert len(list(events)) <= 2


def test_traffic_is_told_by_second_and_minute(gate):
    before = gate.get("/api/traffic", door="admin").json()
    traffic(gate, 4)

    def grown():
        now = gate.get("/api/traffic", door="admin").json()
        minutes = [sum(span["requests"] for span in told["minutes"]) for told in (before, now)]
        return now if minutes[1] >= minutes[0] + 22 else None

    now = wait_for(grown, 10, "the traffic to be told")
    assert len(now["minutes"]) == len(now["seconds"]) == 60
    assert now["now"]["requests_per_s"] > 0
    assert 0 < now["now"]["gateway_ms"]["p50"] <= now["now"]["gateway_ms"]["p99"]
    assert now["now"]["app_ms"]["p50"] > 0
    codes = {row["code"]: row for row in gate.get("/api/refusals/codes", door="admin").json()["codes"]}
    assert codes["credentials_missing"]["refused"] >= 4 and codes["credentials_missing"]["observed"] >= 4
    example = codes["role_missing"]["example"]
    told = gate.run_cli("why", example["request_id"])
    assert told.code == 0 and told.out.strip() == codes["role_missing"]["explanation"].strip()
