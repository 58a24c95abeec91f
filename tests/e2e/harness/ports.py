"""Free loopback ports, and waiting for something to become true."""

import socket
import time

_given = set()


def free_port():
    """A loopback port nobody listens on, never given twice in one run."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


def wait_for(condition, timeout=10.0, what="the condition", every=0.05):
    """Calls `condition` until it answers with something true, and returns that; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what}; last answer: {found!r}")
        time.sleep(every)


def seconds_until(condition, timeout, what):
    """Waits as `wait_for` does, and answers how long it took."""
    began = time.monotonic()
    wait_for(condition, timeout, what)
    return time.monotonic() - began
