"""Reload: all or nothing, nothing in flight lost; certificates swapped under open connections."""

import os
import signal
import socket
import ssl
import threading
import time

import pytest
from cryptography import x509

from harness.certs import Authority
from harness.check import passed, refused, seen_by_app
from harness.ports import free_port, wait_for
from harness.raw import RawClient, over_tls
from harness.tokens import bearer, simplejwt

TOML = """
[upstream.app]
servers = ["{django}"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[[route]]
path = "/api/echo/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["%s"]

[[route]]
path = "/api/slow/"
upstream = "app"
auth = "public"

[[route]]
path = "/generation"
respond = { status = 200, body = "%s" }
auth = "public"
"""


def file(role="host", generation="0"):
    return TOML % (role, generation)


@pytest.fixture
def gate(gateway, django_app):
    return gateway(file(), django=django_app.url)


def generation(gate):
    return gate.get("/generation").text


def take_up(gate, text, wanted):
    """Reloads and waits until the new file answers: the file's change alone may have caused another reload before."""
    gate.reload(text, expect=None)
    wait_for(lambda: generation(gate) == wanted, 10, f"generation {wanted}", every=0.01)


def test_sighup_takes_up_new_rules_at_once(gate):
    token = bearer(simplejwt(roles=["host"]))
    passed(gate.get("/api/echo/", headers=token))
    take_up(gate, file("supervisor", "1"), "1")
    refused(gate.get("/api/echo/", headers=token), 403, "role_missing")
    take_up(gate, file("host", "2"), "2")
    passed(gate.get("/api/echo/", headers=token))


def test_a_changed_file_is_taken_up_without_a_signal(gate):
    gate.write(file(generation="by-rename"))
    wait_for(lambda: generation(gate) == "by-rename", 10, "the renamed file")
    gate.config.write_text(gate.render(file(generation="in-place")))
    wait_for(lambda: generation(gate) == "in-place", 10, "the file written in place")


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "this is = not [ toml",
        '[server]\nhtps = "x"',
        '{good}\n[[route]]\npath = "/x"\nupstream = "nobody"\nauth = "public"\n',
    ],
    ids=["empty", "syntax", "unknown key", "dangling name"],
)
def test_a_broken_file_changes_nothing_and_is_told(gate, broken):
    gate.reload(broken.replace("{good}", file(generation="never")), expect=False)
    assert generation(gate) == "0"
    passed(gate.get("/api/echo/", headers=bearer(simplejwt(roles=["host"]))))
    # The log is written a moment after the reload was counted.
    wait_for(lambda: told_loudly(gate), 5, "the log to say why the file is not taken")
    take_up(gate, file(generation="good again"), "good again")


def test_100_reloads_under_load_without_one_failed_request(gate):
    stop, failures, counts = threading.Event(), [], [0] * 4
    token = bearer(simplejwt(roles=["host", "supervisor"]))

    def load(index, http2):
        with gate.client(http2=http2) as client:
            while not stop.is_set():
                try:
                    answer = client.get("/api/echo/", headers=token)
                    if answer.status_code != 200 or answer.json()["headers"].get("X_AUTH_USER") != "7":
                        failures.append((answer.status_code, answer.text[:300]))
                except Exception as error:
                    failures.append(repr(error))
                counts[index] += 1

    threads = [threading.Thread(target=load, args=(index, index % 2 == 1)) for index in range(4)]
    for thread in threads:
        thread.start()
    descriptors = gate.open_files()
    try:
        for number in range(100):
            take_up(gate, file(("host", "supervisor")[number % 2], str(number + 1)), str(number + 1))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures[:5]
    assert all(count > 50 for count in counts), counts
    assert gate.open_files() < descriptors + 30
    assert gate.reloads()[0] >= 100


def test_a_request_in_flight_survives_a_reload(gate):
    with over_tls(gate) as raw:
        raw.send(b"GET /api/slow/?seconds=1.5 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.3)
        take_up(gate, file(generation="1"), "1")
        assert raw.answer().status == 200


def told_loudly(gate):
    return any(str(line.get("level", "")).upper() in ("ERROR", "WARN") for line in gate.log_lines())


def said(gate, *words):
    return any(all(word in line.get("message", "") for word in words) for line in gate.log_lines())


def test_a_new_address_is_refused_as_needing_a_restart(gate):
    text = gate.config.read_text()
    for key, old, new in (
        ("server.admin", f'admin = "127.0.0.1:{gate.ports["admin"]}"', f'admin = "127.0.0.1:{free_port()}"'),
        ("server.https", f'https = "127.0.0.1:{gate.ports["https"]}"', f'https = "127.0.0.1:{free_port()}"'),
        ("server.workers", "[server]\n", "[server]\nworkers = 3\n"),
    ):
        assert old in text
        gate.reload(text.replace(old, new).replace('body = "0"', 'body = "never"'), expect=False)
        assert generation(gate) == "0"
        # By the key, because the file's change alone may cause a second refusal of the one before.
        wait_for(lambda: said(gate, key, "restart"), 5, f"the log to say why {key} is not taken")


def test_a_bad_file_at_the_start_ends_it_with_1(gateway):
    with pytest.raises(AssertionError, match="ended with 1"):
        gateway('[server]\nhtps = "127.0.0.1:1"\n')


# ---- certificates ----

CERTIFICATES = """
[server]
https = "127.0.0.1:{https}"
admin = "127.0.0.1:{admin}"
[server.timeouts]
drain = "5s"

[[tls.certificate]]
cert = "one.pem"
key = "one.key"

[[tls.certificate]]
cert = "two.pem"
key = "two.key"

[[route]]
path = "/{*rest}"
respond = { status = 200, body = "ok" }
auth = "public"
"""


def served(gate, name):
    """The serial number of the certificate served for a name (None: no SNI)."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", gate.ports["https"]), 5) as plain:
        with context.wrap_socket(plain, server_hostname=name) as secure:
            return x509.load_der_x509_certificate(secure.getpeercert(True)).serial_number


def serial(pem):
    return x509.load_pem_x509_certificate(pem.read_bytes()).serial_number


@pytest.fixture
def pairs(tmp_path):
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    authority.issue_files(tmp_path, "one", common_name="one", names=["one.example.com", "localhost"])
    authority.issue_files(tmp_path, "two", common_name="two", names=["two.example.com", "*.wild.example.com"])
    return authority, tmp_path


def test_the_certificate_is_chosen_by_name(gateway, pairs):
    _, folder = pairs
    gate = gateway(CERTIFICATES, folder=folder)
    one, two = serial(folder / "one.pem"), serial(folder / "two.pem")
    assert served(gate, "one.example.com") == one and served(gate, "two.example.com") == two
    assert served(gate, "a.wild.example.com") == two
    assert served(gate, None) == one, "the first, when the client names none"


def test_a_renewed_pair_is_taken_up_and_open_connections_go_on(gateway, pairs):
    authority, folder = pairs
    gate = gateway(CERTIFICATES, folder=folder)
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    with RawClient(gate.ports["https"], tls=context, name="one.example.com") as raw:
        raw.send(b"GET / HTTP/1.1\r\nHost: one.example.com\r\n\r\n")
        assert raw.answer().status == 200
        cert, key = authority.issue("one", names=["one.example.com", "localhost"])
        for data, path in ((key, folder / "one.key"), (cert, folder / "one.pem")):
            fresh = path.with_suffix(path.suffix + ".new")
            fresh.write_bytes(data)
            os.replace(fresh, path)
        wait_for(lambda: served(gate, "one.example.com") == serial(folder / "one.pem"), 15, "the renewed certificate")
        raw.send(b"GET / HTTP/1.1\r\nHost: one.example.com\r\n\r\n")
        assert raw.answer().status == 200


@pytest.mark.parametrize("kind", ["mismatch", "garbage", "gone"])
def test_a_bad_pair_is_refused_and_the_old_one_stays(gateway, pairs, kind):
    authority, folder = pairs
    gate = gateway(CERTIFICATES, folder=folder)
    before = serial(folder / "one.pem")
    if kind == "mismatch":
        (folder / "one.key").write_bytes(authority.issue("other")[1])
    elif kind == "garbage":
        (folder / "one.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nnonsense\n")
    else:
        (folder / "one.pem").unlink()
    time.sleep(2)
    gate.signal(signal.SIGHUP)
    time.sleep(1)
    assert served(gate, "one.example.com") == before
    cert, key = authority.issue("one", names=["one.example.com", "localhost"])
    (folder / "one.key").write_bytes(key)
    (folder / "one.pem").write_bytes(cert)
    wait_for(lambda: served(gate, "one.example.com") == serial(folder / "one.pem"), 15, "the good pair")


def test_the_development_authority_is_kept_between_starts_and_its_keys_are_private(gateway, django_app, tmp_path):
    first = gateway(file(), folder=tmp_path, django=django_app.url)
    authority = first.ca_file.read_bytes()
    keys = [path for path in (tmp_path / "certs").iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert keys and all(path.stat().st_mode & 0o777 == 0o600 for path in keys)
    first.stop()
    second = gateway(file(), folder=tmp_path, django=django_app.url)
    assert second.ca_file.read_bytes() == authority
    seen = seen_by_app(second.get("/api/echo/", headers=bearer(simplejwt(roles=["host"]))))
    assert seen["headers"]["X_AUTH_USER"] == "7"
