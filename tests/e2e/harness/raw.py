"""A client that sends the bytes it is told to, and reads answers one by one."""

import http.client
import socket
import ssl
import struct


class RawClient:
    """One connection. `door` is a port of the gateway; with `tls` (a context) it is the TLS door."""

    def __init__(self, port, tls=None, name="localhost", alpn=("http/1.1",), before=b"", timeout=15):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        if before:
            self.socket.sendall(before)
        if tls:
            if alpn:
                tls.set_alpn_protocols(list(alpn))
            self.socket = tls.wrap_socket(self.socket, server_hostname=name)

    def send(self, data):
        """Sends bytes as they are."""
        self.socket.sendall(data)

    def answer(self, method="GET"):
        """Reads one answer: `.status`, `.headers` (every field), `.body`."""
        response = http.client.HTTPResponse(self.socket, method=method)
        response.begin()
        response.body = response.read()
        return response

    def read_until(self, mark, limit=1 << 20):
        """Reads until `mark` has come, or the connection ends."""
        data = b""
        while mark not in data and len(data) < limit:
            block = self.socket.recv(65536)
            if not block:
                break
            data += block
        return data

    def ended(self):
        """Whether the other side has closed: nothing more comes."""
        try:
            return self.socket.recv(1) == b""
        except (ConnectionError, ssl.SSLError):
            return True

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def over_tls(gate, **options):
    """A raw connection to the public door of a gateway."""
    return RawClient(gate.ports["https"], tls=gate.tls(), **options)


def over_plain(gate, **options):
    """A raw connection to the door without TLS."""
    return RawClient(gate.ports["plain"], **options)


def reset(connection):
    """Closes a socket with RST, as that of a process that has crashed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
