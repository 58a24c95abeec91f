"""A collector of traces: takes OTLP over HTTP, decodes it with OpenTelemetry's own messages, and keeps the spans."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from .ports import wait_for

PROTOBUF = "application/x-protobuf"
GOOD = (200, PROTOBUF, ExportTraceServiceResponse().SerializeToString())


class Seen:
    """One span: `name`, `kind` (`SERVER`, `CLIENT`, `INTERNAL`), ids in hex, `attributes` as a dictionary."""

    def __init__(self, span, resource):
        self.name, self.state, self.flags = span.name, span.trace_state, span.flags
        self.kind = type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.began, self.ended = span.start_time_unix_nano, span.end_time_unix_nano
        self.failed = span.status.code == type(span.status).STATUS_CODE_ERROR
        self.attributes, self.resource = _plain(span.attributes), resource

    def __getitem__(self, key):
        return self.attributes.get(key)

    def __repr__(self):
        return f"<{self.kind} {self.name!r} {self.trace}/{self.id} of {self.parent or 'nobody'} {self.attributes}>"


def _plain(attributes):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


class Collector:
    """Listens on a free loopback port, or a given one, with TLS where a context is given.

    `answer`: (status, media type, body), and `first` those of the first messages; `delay` in seconds.
    """

    def __init__(self, port=0, tls=None):
        self.answer, self.first, self.delay, self.scheme = GOOD, [], 0, "https" if tls else "http"
        self.spans, self.raw, self.posts = [], b"", 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer._take(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}"

    def _take(self, request):
        body = request.rfile.read(int(request.headers["Content-Length"]))
        with self._lock:
            status, kind, answer = self.first.pop(0) if self.first else self.answer
            self.posts += 1
        if self.delay:
            time.sleep(self.delay)
        elif status == 200:
            self._keep(request, body)
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    def _keep(self, request, body):
        assert request.path == "/v1/traces" and request.headers["Content-Type"] == PROTOBUF
        message = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.raw += body
            for whole in message.resource_spans:
                resource = _plain(whole.resource.attributes)
                self.spans += [Seen(span, resource) for scope in whole.scope_spans for span in scope.spans]

    def of(self, answer):
        """The spans of the request that got this answer: its own, and a list of all under it."""
        return self.of_id(answer.headers["x-request-id"])

    def of_id(self, request_id):
        """The same by its id."""
        whole = wait_for(lambda: self._whole(request_id), 8, f"the span of {request_id}")
        with self._lock:
            inner = [span for span in self.spans if span.trace == whole.trace and span.id != whole.id]
        known, below = {whole.id}, []
        while fresh := [span for span in inner if span.parent in known and span.id not in known]:
            known |= {span.id for span in fresh}
            below += fresh
        return whole, below

    def _whole(self, request_id):
        with self._lock:
            found = [span for span in self.spans if span["portcullis.request_id"] == request_id]
        assert len(found) < 2, found
        return found[0] if found else None

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
