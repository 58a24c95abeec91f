"""SIGTERM: no new connections, those in flight finish, `/ready` says so, exit 0 within the drain time."""

import json
import signal
import socket
import subprocess
import threading
import time

import httpx
import pytest

from harness.ports import wait_for
from harness.raw import over_tls

TOML = """
[upstream.app]
servers = ["{django}"]

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""


@pytest.fixture
def gate(gateway, django_app):
    return gateway(TOML, django=django_app.url)


def refuses_connections(gate):
    try:
        socket.create_connection(("127.0.0.1", gate.ports["https"]), 1).close()
    except ConnectionError:
        return True
    return False


def test_a_slow_request_in_flight_finishes_and_the_exit_is_clean(gate, need):
    answers = []

    # By curl, because httpx's HTTP/2 gives up what is in flight when it is told that the server goes away.
    def slow(version):
        url = gate.https_url + "/api/slow/?seconds=2.5"
        command = [need("curl"), "--silent", version, "--cacert", gate.ca_file, url]
        answers.append(json.loads(subprocess.run(command, capture_output=True, timeout=15).stdout))

    threads = [threading.Thread(target=slow, args=(version,)) for version in ("--http1.1", "--http2")]
    for thread in threads:
        thread.start()
    time.sleep(1)
    gate.signal(signal.SIGTERM)
    wait_for(lambda: refuses_connections(gate), 2, "new connections to be refused")
    ready = httpx.get(gate.admin_url + "/ready", trust_env=False)
    assert ready.status_code == 503 and "drain" in ready.text
    assert httpx.get(gate.admin_url + "/health", trust_env=False).status_code == 200
    for thread in threads:
        thread.join()
    assert answers == [{"slept": True}, {"slept": True}]
    assert gate.process.wait(6) == 0


def test_idle_connections_do_not_hold_it(gate):
    with over_tls(gate) as raw, gate.client(http2=True) as client:
        raw.send(b"GET /health/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw.answer().status == 200
        client.get("/health/")
        started = time.monotonic()
        gate.signal(signal.SIGTERM)
        assert gate.process.wait(4) == 0
        assert time.monotonic() - started < 3


def test_a_stuck_client_does_not_hold_it_beyond_the_drain_time(gate):
    with over_tls(gate) as raw:
        raw.send(b"GET /api/slow/?seconds=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.5)
        started = time.monotonic()
        gate.signal(signal.SIGTERM)
        assert gate.process.wait(10) == 0
        assert 3 < time.monotonic() - started < 8


def test_interrupt_ends_it_too(gate):
    gate.signal(signal.SIGINT)
    assert gate.process.wait(6) == 0


def test_a_taken_port_ends_the_start_promptly(gate, gateway):
    text = TOML.replace("{django}", "http://127.0.0.1:1")
    with pytest.raises(AssertionError, match="ended with [1-9]"):
        gateway(
            f'[server]\nhttps = "127.0.0.1:{gate.ports["https"]}"\nadmin = "127.0.0.1:{{admin}}"\n[tls]\ndevelopment = true\n'
            + text
        )


def test_after_kill_9_it_starts_again_at_once(gate):
    gate.kill()
    started = time.monotonic()
    gate.start()
    assert gate.get("/health/").status_code == 200
    assert time.monotonic() - started < 4
