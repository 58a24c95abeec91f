"""An HTTP/2 client that shows everything in its order: interim answers, data, trailers, resets."""

import time

import h2.config
import h2.connection
import h2.errors
import h2.events

from harness.raw import over_tls


class Http2Client:
    """One connection over TLS. What comes gathers in `events`, in the order in which it came."""

    def __init__(self, gate, **options):
        self.raw = over_tls(gate, alpn=("h2",), **options)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.events, self.closed = [], False
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        """Sends what the library has ready."""
        self.raw.send(self.h2.data_to_send())

    def open(self, path, method="GET", more=(), ends=True):
        """Sends a request's head; answers with the stream's number."""
        number = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path), *more]
        self.h2.send_headers(number, fields, end_stream=ends)
        self.flush()
        return number

    def data(self, number, data, ends=True):
        """Sends a piece of a body."""
        self.h2.send_data(number, data, end_stream=ends)
        self.flush()

    def trailers(self, number, fields):
        """Ends a request with trailers."""
        self.h2.send_headers(number, fields, end_stream=True)
        self.flush()

    def until(self, found, seconds=8):
        """Reads until `found(self)` is true; answers whether it came to be."""
        deadline = time.monotonic() + seconds
        while not found(self):
            left = deadline - time.monotonic()
            if left <= 0 or self.closed:
                return False
            self.raw.socket.settimeout(left)
            try:
                data = self.raw.socket.recv(65536)
            except TimeoutError:
                return False
            except OSError:
                data = b""
            self.closed = not data
            for event in self.h2.receive_data(data) if data else []:
                self.events.append(event)
                if isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.flush()
        return True

    def of(self, number, kind):
        """The events of one kind on one stream."""
        return [event for event in self.events if isinstance(event, kind) and event.stream_id == number]

    def answer(self, number, seconds=8):
        """Waits for the whole answer on a stream; answers with its (headers, body). One that was reset before is none."""
        over = self.until(lambda self: self.of(number, (h2.events.StreamEnded, h2.events.StreamReset)), seconds)
        assert over and self.of(number, h2.events.StreamEnded), self.events
        (head,) = self.of(number, h2.events.ResponseReceived)
        body = b"".join(event.data for event in self.of(number, h2.events.DataReceived))
        return dict(head.headers), body

    def interims(self, number):
        """The interim answers of a stream: a list of their headers."""
        return [dict(event.headers) for event in self.of(number, h2.events.InformationalResponseReceived)]

    def close(self):
        self.raw.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
