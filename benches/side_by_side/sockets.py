"""WebSockets: what an idle one costs in memory, and what a message costs in time."""

import json
import os
import subprocess
import time

from .host import LOAD_CORE, Failed, Missing, Process, pinned, run_pinned
from .proxies import HAProxy, Nginx, Portcullis

SOCKETS = 64
# Those before the counting: they fill the pools that belong to the proxy and not to a socket.
FIRST = 200
IDLE = 5000
# Two descriptors for each socket, in the proxy.
DESCRIPTORS = 20_000
PATH = "/api/socket"
# Where the load program is when the gateway is left out.
BUILT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "target", "release")


def program(setting):
    """The load program, which is built beside the gateway."""
    folder = os.path.dirname(os.path.realpath(setting.binary)) if setting.binary else BUILT
    path = os.path.join(folder, "examples", "websocket-load")
    if not os.access(path, os.X_OK):
        raise Missing(f"no load program at {path}: build it with `cargo build --release --example websocket-load`")
    return path


def start_echo(setting):
    """The app: sends every message back, on the load's core. Answers with its port."""
    log = os.path.join(setting.folder, "echo.log")
    process = Process("echo", [program(setting), "serve"], LOAD_CORE, log)
    setting.started.callback(process.stop)
    for _ in range(200):
        if process.words().startswith("listening "):
            return int(process.words().split()[1])
        time.sleep(0.02)
    raise Failed(f"the echo did not start: {process.words()}")


class NginxSockets(Nginx):
    """The same, passing upgrades on; its timeouts are for requests and must not end a socket."""

    app = "echo"

    def configure(self, setting):
        argv = super().configure(setting)
        text = replaced(argv[-1], 'proxy_set_header Connection "";', NGINX_UPGRADE)
        replaced(argv[-1], "worker_connections 10000;", f"worker_connections {DESCRIPTORS};")
        if f"worker_rlimit_nofile {DESCRIPTORS};" not in text:
            raise Failed("nginx would have too few descriptors")
        return argv


NGINX_UPGRADE = """\
proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    proxy_read_timeout 1h;
    proxy_send_timeout 1h;"""


class HAProxySockets(HAProxy):
    """The same, with the timeout that HAProxy has for sockets."""

    app = "echo"

    def configure(self, setting):
        argv = super().configure(setting)
        replaced(argv[-1], "  timeout server 60s\n", "  timeout server 60s\n  timeout tunnel 1h\n")
        return argv


class PortcullisSockets(Portcullis):
    """The same, with as many connections to the app as there are sockets."""

    app = "echo"

    def configure(self, setting):
        argv = super().configure(setting)
        replaced(argv[-1], "[upstream.app]\n", f"[upstream.app]\nconnections = {DESCRIPTORS}\n")
        return argv


ALL_THREE = (NginxSockets, HAProxySockets, PortcullisSockets)


def replaced(path, old, new):
    """Changes a configuration that was written a moment ago; the old words must be there."""
    with open(path) as file:
        text = file.read()
    if old not in text:
        raise Failed(f"{path} does not say {old!r} any more")
    text = text.replace(old, new)
    with open(path, "w") as out:
        out.write(text)
    return text


def door(setting, proxy):
    """Where a socket is opened, what is trusted, and a good token."""
    return [f"wss://localhost:{proxy.https['HS256']}{PATH}", setting.keys.certificate, setting.tokens["HS256"][1]]


def messages(setting, proxy, seconds, _round):
    """One message of 128 bytes under way on each of 64 open sockets."""
    argv = [program(setting), "messages", *door(setting, proxy), str(SOCKETS), str(seconds)]
    seen = json.loads(run_pinned(argv, LOAD_CORE, seconds + 30))
    return {**seen, "p50": seen["p50"] / 1e3, "p99": seen["p99"] / 1e3}


def kib_each(setting, proxy):
    """KiB for a socket over TLS that has had one message echoed and is quiet now."""
    child = subprocess.Popen(
        [program(setting), "idle", *door(setting, proxy)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=pinned(LOAD_CORE),
    )

    def more(count, total):
        child.stdin.write(f"{count}\n")
        child.stdin.flush()
        told = child.stdout.readline().split()
        if told != ["open", str(total)]:
            raise Failed(f"{proxy.name} did not open {total} sockets: {told}\n{proxy.process.words()}")
        time.sleep(1)
        return proxy.process.memory_mib()

    try:
        before = more(FIRST, FIRST)
        return (more(IDLE, FIRST + IDLE) - before) * 1024 / IDLE
    finally:
        child.kill()
        child.wait()
        proxy.process.stop()
