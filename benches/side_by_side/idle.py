"""What an idle connection costs: resident memory before and after many of them."""

import socket
import time

from .checks import client_context
from .host import Failed
from .load import get

CONNECTIONS = 1000


def kib_each(proxy, tokens):
    """KiB for a TLS connection that has had one request answered and now waits for the next."""
    context = client_context()
    port = proxy.https["HS256"]

    def connect(number):
        plain = socket.create_connection(("127.0.0.1", port), 5)
        tls = context.wrap_socket(plain, server_hostname="localhost")
        tls.sendall(get(port, "/api/items/1", tokens[number % len(tokens)]).encode())
        answer = b""
        while len(answer) < 1024:
            chunk = tls.recv(4096)
            if not chunk:
                raise Failed(f"{proxy.name} closed a connection meant to idle")
            answer += chunk
        return tls

    waiting = []
    try:
        # The first hundred fill the pools that belong to the proxy and not to a connection.
        waiting += [connect(n) for n in range(100)]
        before = proxy.process.memory_mib()
        waiting += [connect(n) for n in range(CONNECTIONS)]
        time.sleep(1)
        return (proxy.process.memory_mib() - before) * 1024 / CONNECTIONS
    finally:
        for tls in waiting:
            tls.close()
        proxy.process.stop()
