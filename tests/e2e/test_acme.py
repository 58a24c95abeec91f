"""Certificates by ACME, from Pebble: ordered, kept, renewed, refused."""

import datetime
import json
import re
import shutil
import ssl
import stat
import threading
import time

import pytest

from harness.acme import FalseCa, Front, Load, anyone, ask, pebble, shake
from harness.gateway import Gateway, run_binary
from harness.ports import free_port, seconds_until, wait_for

NAMES = ["app.example", "www.app.example"]

TOML = """
[server]
https = "127.0.0.1:{https}"
http = "127.0.0.1:{http}"
admin = "127.0.0.1:{admin}"

[server.timeouts]
drain = "5s"

[tls.acme]
domains = {names}
contact = ["ops@app.example"]
directory = "{directory}"
ca = "{ca}"
challenge = "{challenge}"

[[route]]
path = "/{*rest}"
auth = "public"
respond = { status = 200, body = "here" }
"""


class Site:
    """A CA that looks at the doors of a gateway, and the gateway's file."""

    def __init__(self, tmp_path_factory, gateway, front=False, **options):
        self.ports = {"https": free_port(), "http": free_port(), "admin": free_port()}
        self.ca = pebble(tmp_path_factory.mktemp("pebble"), self.ports["https"], self.ports["http"], **options)
        self.front = Front(self.ca, tmp_path_factory.mktemp("front")) if front else None
        self._gateway = gateway

    def close(self):
        self.ca.stop()
        if self.front:
            self.front.close()

    def places(self, challenge="tls-alpn-01", names=None, **more):
        asked = self.front or self.ca
        return {"names": json.dumps(names or NAMES), "directory": asked.directory, "ca": asked.ca_file,
                "challenge": challenge, **self.ports, **more}  # fmt: skip

    def start(self, challenge="tls-alpn-01", folder=None, names=None, toml=TOML, **more):
        return self._gateway(toml, folder=folder, **self.places(challenge, names, **more))

    def served(self, name=NAMES[0]):
        return shake(self.ports["https"], name, self.ca.trust())[0]

    def serves(self, name=NAMES[0]):
        try:
            return self.served(name)
        except OSError:
            return None


@pytest.fixture
def site(tmp_path_factory, gateway):
    """`site(...) -> Site`, taken down after the test."""
    made = []

    def make(**options):
        made.append(Site(tmp_path_factory, gateway, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def false_ca(tmp_path_factory):
    """`false_ca(answer) -> FalseCa`."""
    made = []

    def make(answer):
        made.append(FalseCa(tmp_path_factory.mktemp("false"), answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


def lines(gate, words):
    return [line for line in gate.log_lines() if words in line.get("message", "")]


def ordered(gate):
    return len(lines(gate, "ordering a certificate"))


def kept(gate):
    """The certificate's file, and the account's."""
    (cert,) = (gate.folder / "acme").glob("*/*.pem")
    (account,) = (gate.folder / "acme").glob("*/account.json")
    return cert, account


def status(gate):
    return gate.get("/api/status", door="admin").json()


def names_of(leaf):
    from cryptography import x509

    return sorted(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName))


@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
def test_the_first_certificate_is_ordered_for_all_names_kept_and_served(site, challenge):
    site = site()
    gate = site.start(challenge)
    wait_for(site.serves, 30, "a certificate")
    for name in NAMES:
        leaf = site.served(name)
        assert names_of(leaf) == NAMES
        assert leaf.public_key().curve.name == "secp256r1"
        assert ask(site.ports["https"], name, site.ca.trust())[0] == 200
    assert ordered(gate) == 1
    cert, account = kept(gate)
    for file in (cert, account):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE((gate.folder / "acme").stat().st_mode) == 0o700
    assert json.loads(account.read_text())["contact"] == ["mailto:ops@app.example"]
    # Seen: the time that is left, what was ordered, and no private key anywhere.
    (left,) = [value for name, _, value in gate.metrics() if "certificate_not_after" in name]
    assert left == pytest.approx(leaf.not_valid_after_utc.timestamp(), abs=1)
    assert gate.count("portcullis_acme_orders_total", outcome="issued") == 1
    shown = status(gate)
    assert shown["acme"]["domains"] == NAMES and shown["acme"]["issued"] == 1 and shown["acme"]["problem"] is None
    assert shown["certificates"][0]["days_left"] in (89, 90)
    assert "a certificate was issued and serves" in gate.output()
    key = re.search(r"-----BEGIN PRIVATE KEY-----\n(\S+)", cert.read_text()).group(1)
    assert key not in gate.output() and json.loads(account.read_text())["credentials"]["key_pkcs8"] not in gate.output()


def test_without_a_certificate_handshakes_are_refused_and_the_log_says_why(site):
    site = site()
    site.ca.stop()
    gate = site.start()
    with pytest.raises(ssl.SSLError):
        shake(site.ports["https"], NAMES[0], anyone())
    line = wait_for(lambda: lines(gate, "no certificate: the order failed"), 10, "the failure in the log")[0]
    assert "cannot connect to 127.0.0.1" in line["problem"] and "handshakes are refused" in line["serves"]
    assert lines(gate, "there is no certificate yet for app.example, www.app.example")
    shown = status(gate)
    assert "cannot connect" in shown["acme"]["problem"]
    assert any("app.example" in warning and "cannot connect" in warning for warning in shown["warnings"])
    # The plain door leads there already; nothing else is served.
    answer = gate.get("/x", door="http", headers={"host": "app.example"})
    assert answer.status_code == 308
    # It is tried again soon, and found.
    site.ca.start()
    wait_for(site.serves, 60, "a certificate once the CA is there")
    assert status(gate)["acme"]["problem"] is None


def test_a_restart_orders_nothing_and_keeps_the_account_even_while_the_ca_is_down(site):
    site = site(front=True)
    gate = site.start()
    wait_for(site.serves, 30, "a certificate")
    before = site.served().serial_number
    account = kept(gate)[1].read_bytes()
    gate.stop()
    trust = site.ca.trust()
    with site.ca.down():
        gate.start()
        assert shake(site.ports["https"], NAMES[0], trust)[0].serial_number == before
        time.sleep(1)
    gate.stop()
    gate.start()
    assert shake(site.ports["https"], NAMES[0], trust)[0].serial_number == before
    assert site.front.orders() == 1 and site.front.accounts() == 1 and ordered(gate) == 1
    assert kept(gate)[1].read_bytes() == account


def test_a_further_name_is_ordered_by_a_reload_while_the_others_go_on(site):
    site = site(front=True)
    gate = site.start(names=NAMES[:1])
    wait_for(site.serves, 30, "a certificate")
    load = Load(site.ports["https"], NAMES[0], site.ca.trust())
    gate.places["names"] = json.dumps(NAMES)
    gate.reload(TOML)
    wait_for(lambda: site.serves(NAMES[1]), 30, "a certificate of both names")
    load.close()
    assert names_of(site.served()) == NAMES
    assert not load.failures and set(load.statuses) == {200}
    assert site.front.orders() == 2 and site.front.accounts() == 1
    # A reload that changes nothing about it orders nothing, nor does one back to the first name alone.
    gate.reload(TOML + "\n# the same\n")
    gate.places["names"] = json.dumps(NAMES[:1])
    gate.reload(TOML)
    time.sleep(1)
    assert site.front.orders() == 2 and site.serves()


def test_a_certificate_is_renewed_under_load_without_a_failed_request(site):
    site = site(life=15)
    gate = site.start()
    wait_for(site.serves, 30, "a certificate")
    load = Load(site.ports["https"], NAMES[0], site.ca.trust())
    wait_for(lambda: len(load.serials) >= 3, 60, "two renewals")
    load.close()
    assert not load.failures, load.failures[:5]
    assert set(load.statuses) == {200} and len(load.statuses) > 50
    assert ordered(gate) == gate.count("portcullis_acme_orders_total", outcome="issued") <= 6


def test_an_order_under_way_survives_a_reload(site):
    site = site(front=True, sleep=4)
    gate = site.start()
    wait_for(lambda: ordered(gate), 10, "an order")
    for turn in range(3):
        gate.reload(TOML + f"\n# {turn}\n")
    wait_for(site.serves, 60, "a certificate")
    assert site.front.orders() == 1


def test_gateways_that_share_the_folder_order_once(site, tmp_path):
    site = site(front=True)
    site.front.hold = threading.Event()
    shared = {"toml": TOML.replace("challenge =", f'cache = "{tmp_path}/cache"\nchallenge =')}
    first = site.start(**shared)
    wait_for(lambda: ordered(first), 10, "the first order")
    others = {"https": free_port(), "http": free_port(), "admin": free_port()}
    second = site.start(**shared, **others)
    site.front.hold.set()
    wait_for(site.serves, 60, "a certificate at the first")
    trust = site.ca.trust()

    def same():
        try:
            return shake(others["https"], NAMES[0], trust)[0].serial_number == site.served().serial_number
        except OSError:
            return False

    wait_for(same, 60, "the same certificate at the second")
    assert site.front.orders() == 1 and ordered(second) == 0


def test_any_gateway_on_the_folder_answers_the_ca_over_http(site, tmp_path):
    site = site(front=True)
    site.front.hold = threading.Event()
    shared = {"toml": TOML.replace("challenge =", f'cache = "{tmp_path}/cache"\nchallenge =')}
    # The CA comes to the second, and the first orders.
    elsewhere = {"https": free_port(), "http": free_port(), "admin": free_port()}
    first = site.start("http-01", **shared, **elsewhere)
    wait_for(lambda: ordered(first), 10, "the first order")
    second = site.start("http-01", **shared)
    site.front.hold.set()
    wait_for(site.serves, 60, "a certificate")
    assert ordered(first) == 1 and ordered(second) == 0
    assert not list(tmp_path.glob("cache/*/challenges/*"))


def test_a_wrong_answer_is_refused_and_told_with_the_cas_reason(site):
    site = site()
    # The CA looks at a door where the gateway is not.
    elsewhere = {"https": free_port(), "http": free_port()}
    gate = site.start(**elsewhere)
    line = wait_for(lambda: lines(gate, "no certificate: the order failed"), 40, "the failure")[0]
    assert "did not accept the tls-alpn-01 challenge" in line["problem"] and NAMES[0] in line["problem"]
    assert "urn:ietf:params:acme:error:" in line["problem"] and len(line["problem"]) < 700
    # A minute at least, not at once again; by then nothing is shown to anyone who claims to look.
    time.sleep(3)
    assert ordered(gate) == 1
    with pytest.raises(ssl.SSLError):
        shake(elsewhere["https"], NAMES[0], anyone(), alpn=["acme-tls/1"])
    assert gate.count("portcullis_acme_orders_total", outcome="failed") == 1
    next_at = datetime.datetime.fromisoformat(status(gate)["acme"]["next"])
    assert 30 < (next_at - datetime.datetime.now(datetime.timezone.utc)).total_seconds() < 70


def test_a_challenge_is_shown_while_it_is_pending_and_to_nobody_else(site):
    from cryptography import x509

    site = site(front=True, sleep=5)
    gate = site.start(names=NAMES[:1])
    port = site.ports["https"]

    def shown():
        try:
            return shake(port, NAMES[0].upper(), anyone(), alpn=["acme-tls/1"])
        except OSError:
            return None

    leaf, protocol = wait_for(shown, 15, "the challenge", every=0.02)
    assert protocol == "acme-tls/1" and names_of(leaf) == NAMES[:1]
    proof = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert proof.critical and proof.value.value[:2] == b"\x04\x20"
    # Neither another name, nor a browser, nor one who offers more gets it.
    for name, alpn in ((NAMES[1], ["acme-tls/1"]), (NAMES[0], ["h2", "http/1.1"]), (NAMES[0], ["acme-tls/1", "h2"])):
        with pytest.raises(ssl.SSLError):
            shake(port, name, anyone(), alpn=alpn)
    wait_for(site.serves, 30, "a certificate")
    for alpn in (["acme-tls/1"], ["acme-tls/1", "h2"]):
        context = site.ca.trust()
        try:
            leaf, protocol = shake(port, NAMES[0], context, alpn=alpn)
        except ssl.SSLError:
            continue
        assert protocol == "h2"
    assert gate.count("portcullis_acme_orders_total", outcome="issued") == 1


def test_a_token_is_answered_at_its_exact_place_while_it_is_pending(site):
    site = site(front=True, sleep=5)
    gate = site.start("http-01", names=NAMES[:1])
    wait_for(lambda: any("chal" in path for path, _ in site.front.asked), 15, "the challenge", every=0.02)
    for path in ("", "x", "../", "a" * 43):
        answer = gate.get("/.well-known/acme-challenge/" + path, door="http", headers={"host": NAMES[0]})
        assert answer.status_code in (308, 400), (path, answer.status_code)
    assert gate.get("/.well-known/acme-challenge/x", door="http", headers={"host": "evil.example"}).status_code == 421
    wait_for(site.serves, 30, "a certificate")
    # What the CA asked for, by its own word, is gone now.
    tokens = set(re.findall(r"/\.well-known/acme-challenge/([\w-]{20,})", site.ca.log()))
    assert tokens, site.ca.log()[-2000:]
    for token in tokens:
        answer = gate.get(f"/.well-known/acme-challenge/{token}", door="http", headers={"host": NAMES[0]})
        assert answer.status_code == 308


def test_a_ca_that_limits_is_left_alone_for_as_long_as_it_says(site):
    site = site(front=True)
    problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many\r\n\x1b[31m certificates " + "x" * 5000}
    site.front.refusal = (429, [("Retry-After", "7200")], problem)
    gate = site.start()
    line = wait_for(lambda: lines(gate, "no certificate: the order failed"), 20, "the failure")[0]
    assert "rateLimited" in line["problem"] or "too many" in line["problem"]
    assert len(line["problem"]) < 700 and not re.search(r"[\x00-\x1f]", line["problem"])
    next_at = datetime.datetime.fromisoformat(status(gate)["acme"]["next"])
    assert 7000 < (next_at - datetime.datetime.now(datetime.timezone.utc)).total_seconds() < 7300
    time.sleep(2)
    assert site.front.orders() == 1


def test_a_ca_that_forgot_the_account_gets_a_new_one(site):
    site = site()
    gate = site.start(names=NAMES[:1])
    wait_for(site.serves, 30, "a certificate")
    account = kept(gate)[1].read_bytes()
    with site.ca.down():
        pass
    gate.places["names"] = json.dumps(NAMES)
    gate.reload(TOML)
    wait_for(lambda: site.serves(NAMES[1]), 30, "a certificate from the CA that began anew")
    assert lines(gate, "does not know the ACME account any more")
    (new,) = (gate.folder / "acme").glob("*/account.json")
    assert new.read_bytes() != account


def test_the_ca_may_have_a_certificate_renewed_early(site):
    site = site(front=True, life=60)
    site.front.window = ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z")
    gate = site.start(names=NAMES[:1])
    wait_for(site.serves, 30, "a certificate")
    # At two thirds of its life it would be 38 to 40 seconds; a CA that never has enough waits for a third.
    took = seconds_until(lambda: ordered(gate) >= 2, 45, "an early renewal")
    assert 12 < took < 34, took
    assert lines(gate, "renewed early")
    wait_for(lambda: len(lines(gate, "a certificate was issued")) == 2, 20, "the renewal")
    time.sleep(3)
    assert site.front.orders() == 2


KEY_ID, KEY = "site-7", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
EXTERNAL = TOML.replace("challenge =", 'eab_key_id = "{key_id}"\neab_key = { env = "EAB_KEY" }\nchallenge =')


def test_an_account_belongs_to_one_of_the_cas_own_site_where_it_wants_that(site, gateway):
    site = site(front=True, keys={KEY_ID: KEY})
    gate = gateway(EXTERNAL, env={"EAB_KEY": KEY}, **site.places(key_id=KEY_ID))
    wait_for(site.serves, 30, "a certificate")
    assert site.front.accounts() == 1 and site.front.orders() == 1
    shown = gate.get("/", door="admin").text + gate.get("/api/status", door="admin").text
    assert KEY not in gate.output() + shown + kept(gate)[1].read_text()


@pytest.mark.parametrize("key_id, key, words", [
    (KEY_ID, KEY[::-1], "does not take the external account"),
    ("site-8", KEY, "does not take the external account"),
    (None, KEY, "set `eab_key_id` and `eab_key` in [tls.acme]"),
])  # fmt: skip
def test_a_wrong_or_missing_external_account_is_told_with_what_to_do(site, gateway, key_id, key, words):
    site = site(front=True, keys={KEY_ID: KEY})
    gate = gateway(EXTERNAL if key_id else TOML, env={"EAB_KEY": key}, **site.places(key_id=key_id))
    line = wait_for(lambda: lines(gate, "no certificate: the order failed"), 20, "the failure")[0]
    assert words in line["problem"] and "urn:ietf:params:acme:error:" in line["problem"], line["problem"]
    assert key not in gate.output() and site.front.accounts() == 0
    time.sleep(1)
    assert len(lines(gate, "no certificate: the order failed")) == 1


def garbage(handler):
    handler.wfile.write(b"\x00\xff not http at all \r\n\r\n" * 10)
    handler.close_connection = True


def not_acme(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"[]")


def huge(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(512):
        handler.wfile.write(b" " * 262_144)


def many_headers(handler):
    handler.send_response(200)
    for number in range(90):
        handler.send_header(f"X-{number}", "x")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def endless_wait(handler):
    handler.send_response(503)
    handler.send_header("Retry-After", "18446744073709551615")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def other_place(handler):
    text = json.dumps({name: "http://127.0.0.1:1/x" for name in ("newNonce", "newAccount", "newOrder")}).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)


@pytest.mark.parametrize("answer", [garbage, not_acme, huge, many_headers, endless_wait, other_place])
def test_whatever_a_ca_answers_the_gateway_goes_on(site, gateway, false_ca, answer):
    ca = false_ca(answer)
    gate = gateway(TOML, names=json.dumps(NAMES), directory=ca.directory, ca=ca.ca_file, challenge="tls-alpn-01")
    line = wait_for(lambda: lines(gate, "no certificate: the order failed"), 40, "the failure")[0]
    assert len(line["problem"]) < 700, line["problem"]
    assert gate.rss_kib() < 150_000
    if answer is other_place:
        assert "https alone" in line["problem"]
    time.sleep(1)
    assert ca.asked < 10
    assert gate.get("/metrics", door="admin").status_code == 200


def test_a_silent_ca_is_not_waited_for_forever(gateway, false_ca):
    ca = false_ca(lambda _: time.sleep(90))
    gate = gateway(TOML, names=json.dumps(NAMES), directory=ca.directory, ca=ca.ca_file, challenge="tls-alpn-01")
    # Nor does it hold up a stop or a reload meanwhile.
    gate.reload(TOML + "\n# the same\n")
    line = wait_for(lambda: lines(gate, "no certificate: the order failed"), 45, "the failure")[0]
    assert "no whole answer in 30s" in line["problem"]


def test_a_spoilt_cache_is_ordered_anew_and_an_unreadable_one_is_told(site):
    site = site(front=True)
    gate = site.start(names=NAMES[:1])
    wait_for(site.serves, 30, "a certificate")
    gate.stop()
    cert, account = kept(gate)
    cert.write_text("spoilt")
    account.write_text("{")
    gate.start()
    wait_for(site.serves, 30, "a new certificate")
    assert site.front.orders() == 2
    assert len(lines(gate, "is spoilt; it is ordered anew")) == 1
    # What is not ours to replace is told before anything is served or ordered.
    shutil.rmtree(cert.parent)
    cert.parent.write_text("a file")
    told = gate.run_cli("check")
    assert told.code == 1 and "tls.acme.cache" in told.text and str(cert.parent) in told.text, told
    assert site.front.orders() == 2


def test_check_orders_nothing_and_says_that_there_is_no_certificate_yet(site, tmp_path):
    site = site(front=True)
    file = tmp_path / "gateway.toml"
    text = TOML
    for name, value in site.places().items():
        text = text.replace("{" + name + "}", str(value))
    file.write_text(text)
    done = run_binary("check", "--config", file)
    assert done.code == 0 and "there is no certificate yet for app.example" in done.text, done
    assert not site.front.asked and not (tmp_path / "acme").exists()
