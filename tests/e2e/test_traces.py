"""Traces as a collector gets them, decoded by OpenTelemetry's own messages, in front of the real Flask app."""

import math
import re
import signal
import socket
import ssl
import time

import httpx
import pytest

from harness.certs import Authority
from harness.check import passed, refused, seen_by_app
from harness.collector import GOOD, Collector
from harness.handover import Line, subreaper
from harness.http2 import Http2Client
from harness.ports import free_port, wait_for
from harness.tokens import bearer
from harness.tunnels import TUNNELS
from harness.upstreams import Listener, RawUpstream, WebSocketEcho

TRACING = """
[tracing]
otlp = "{otlp}"
sample = 1
"""
ROUTES = """
[upstream.flask]
servers = ["{flask}"]

[auth.token]
type = "jwt"
preset = "flask-jwt-extended"
secret = { env = "FLASK_SECRET_KEY" }
identity = { user = "sub", roles = ["roles"] }

[[route]]
path = "/login/{*rest}"
upstream = "flask"
auth = "public"

[[route]]
path = "/echo/{*rest}"
upstream = "flask"
auth = ["token"]

[[route]]
path = "/open/{*rest}"
upstream = "flask"
auth = "public"
strip_prefix = "/open"
add_prefix = "/echo"

[[route]]
path = "/staff/{*rest}"
upstream = "flask"
auth = ["token"]
roles = ["staff"]
"""
TRACE, SENDER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@pytest.fixture(scope="module")
def collector():
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def gate(module_gateway, flask_app, collector):
    return module_gateway(ROUTES + TRACING, flask=flask_app.url, otlp=collector.url)


@pytest.fixture
def token(flask_app):
    return bearer(flask_app.tokens("hana")["access_token"])


def kinds(spans):
    return sorted((span.kind, span.name) for span in spans)


def context(answer):
    """What the app was told: trace, span and flags."""
    return CONTEXT.fullmatch(seen_by_app(answer)["headers"]["TRACEPARENT"]).groups()


def spans_lost(gate, outcome):
    return gate.count("portcullis_trace_spans_total", outcome=outcome)


# ---- what a trace tells ----


def test_parents_and_children_belong_together_and_the_app_is_told_of_the_last(gate, collector, flask_app, token):
    answer = passed(gate.get("/echo/things?secret=hidden", headers={**token, "Cookie": "session=hidden-too"}))
    whole, inner = collector.of(answer)
    assert whole.kind == "SERVER" and whole.name == "GET /echo/{*rest}" and whole.parent == ""
    assert kinds(inner) == [("CLIENT", "GET"), ("INTERNAL", "authentication")]
    assert all(span.parent == whole.id and span.trace == whole.trace for span in inner)
    assert all(whole.began <= span.began <= span.ended <= whole.ended for span in inner)
    upstream, auth = sorted(inner, key=lambda span: span.kind)
    assert context(answer) == (whole.trace, upstream.id, "01")
    assert abs(whole.began / 1e9 - time.time()) < 60
    expected = {
        "http.request.method": "GET", "url.path": "/echo/things", "url.scheme": "https",
        "http.route": "/echo/{*rest}", "http.response.status_code": 200, "network.protocol.version": "1.1",
        "server.address": "localhost", "server.port": gate.ports["https"],
        "portcullis.request_id": answer.headers["x-request-id"],
    }  # fmt: skip
    assert {key: whole[key] for key in expected} == expected
    assert 0 < whole["portcullis.gateway_ms"] < 10_000 and not whole.failed
    port = int(flask_app.url.rsplit(":", 1)[1])
    assert (upstream["server.address"], upstream["server.port"]) == ("127.0.0.1", port)
    assert upstream["url.full"] == f"{flask_app.url}/echo/things"
    assert upstream["http.response.status_code"] == 200 and upstream["portcullis.upstream"] == "flask"
    assert auth["portcullis.authenticator"] == "token" and auth["portcullis.verdict"] == "ok"
    assert whole.resource["service.name"] == "portcullis" and whole.resource["service.version"]
    assert gate.access_line(answer)["trace_id"] == whole.trace


def test_nothing_secret_leaves(gate, collector, token):
    answer = passed(gate.get("/echo/x?token=hidden-query", headers={**token, "Cookie": "a=hidden-cookie"}))
    collector.of(answer)
    sent = token["Authorization"].removeprefix("Bearer ").encode()
    for secret in (b"hidden-query", b"hidden-cookie", sent, sent.split(b".")[2]):
        assert secret not in collector.raw


def test_an_incoming_trace_is_kept_with_its_state(gate, collector):
    headers = {"traceparent": f"00-{TRACE}-{SENDER}-01", "tracestate": "vendor=1"}
    answer = passed(gate.get("/open/x", headers=headers))
    whole, [upstream] = collector.of(answer)
    assert (whole.trace, whole.parent, whole.state) == (TRACE, SENDER, "vendor=1")
    assert whole.flags & 0x300 == 0x300 and upstream.flags & 0x300 == 0x100
    assert whole.id != SENDER and context(answer) == (TRACE, upstream.id, "01")
    assert seen_by_app(answer)["headers"]["TRACESTATE"] == "vendor=1"


def test_what_the_sender_does_not_sample_is_passed_on_and_not_recorded(gate, collector):
    sent = f"00-{'1' * 32}-{SENDER}-00"
    answer = passed(gate.get("/open/x", headers={"traceparent": sent, "tracestate": "vendor=1"}))
    assert seen_by_app(answer)["headers"]["TRACEPARENT"] == sent
    assert seen_by_app(answer)["headers"]["TRACESTATE"] == "vendor=1"
    collector.of(passed(gate.get("/open/after")))
    time.sleep(1.5)
    assert not [span for span in collector.spans if span.trace == "1" * 32]


@pytest.mark.parametrize("sent", ["00-x", f"00-{'0' * 32}-{SENDER}-01", f"ff-{TRACE}-{SENDER}-01"])
def test_a_broken_context_begins_a_new_trace_without_the_old_state(gate, collector, sent):
    answer = passed(gate.get("/open/x", headers={"traceparent": sent, "tracestate": "vendor=1"}))
    whole, _ = collector.of(answer)
    assert whole.parent == "" and whole.state == "" and whole.trace not in sent
    assert "TRACESTATE" not in seen_by_app(answer)["headers"]


def test_refusals_have_their_code(gate, collector, token):
    for path, headers, status, code in [
        ("/echo/x", {}, 401, "credentials_missing"),
        ("/echo/x", {"Authorization": "Bearer a.b.c"}, 401, "token_malformed"),
        ("/staff/x", token, 403, "role_missing"),
        ("/nowhere", {}, 404, "no_route"),
    ]:
        answer = gate.get(path, headers=headers)
        refused(answer, status, code)
        whole, inner = collector.of(answer)
        assert whole["portcullis.code"] == code and whole["http.response.status_code"] == status
        assert not whole.failed and whole["error.type"] is None
        assert "CLIENT" not in [span.kind for span in inner]
        verdicts = [span["portcullis.verdict"] for span in inner if span.name == "authentication"]
        assert verdicts == {"no_route": [], "role_missing": ["ok"]}.get(code, [code])
    assert collector._whole(answer.headers["x-request-id"]).name == "GET"


def test_a_request_over_http2_is_told_as_one(gate, collector):
    with Http2Client(gate) as client:
        head, _ = client.answer(client.open("/open/x"))
    whole, [upstream] = collector.of_id(head["x-request-id"])
    assert whole["network.protocol.version"] == "2" and upstream["network.protocol.version"] == "1.1"


# ---- what is asked on the way ----


@pytest.mark.parametrize("version", list(TUNNELS))
def test_the_handshake_of_a_websocket_is_a_span(gateway, collector, version):
    with WebSocketEcho() as echo:
        gate = gateway(
            '[upstream.echo]\nservers = ["{echo}"]\n[[route]]\npath = "/ws"\nupstream = "echo"\nauth = "public"\n' + TRACING,
            echo=echo.url, otlp=collector.url,
        )  # fmt: skip
        before = len(collector.spans)
        tunnel = TUNNELS[version](gate, "/ws").opened()
        # While it is open still.
        spans = wait_for(lambda: [span for span in collector.spans[before:] if span["http.route"] == "/ws"], 5, "the span")
        (told,) = echo.handshakes[0].all("traceparent")
        tunnel.close()
    whole, [upstream] = collector.of_id(spans[0]["portcullis.request_id"])
    assert CONTEXT.fullmatch(told).groups() == (whole.trace, upstream.id, "01")
    assert upstream["http.response.status_code"] == 101


def test_each_try_has_a_span_and_a_context_of_its_own(gateway, collector):
    with RawUpstream() as good:
        gate = gateway(
            '[upstream.app]\nservers = ["{dead}", "{good}"]\nretries = 1\nbalance = "round-robin"\n'
            '[[route]]\npath = "/{*rest}"\nupstream = "app"\nauth = "public"\n' + TRACING,
            dead=f"http://127.0.0.1:{free_port()}", good=good.url, otlp=collector.url,
        )  # fmt: skip
        retried = []
        for _ in range(4):
            whole, inner = collector.of(passed(gate.get("/x")))
            (told,) = good.last.all("traceparent")
            last = max(inner, key=lambda span: span.began)
            assert CONTEXT.fullmatch(told).groups() == (whole.trace, last.id, "01")
            retried += [sorted(inner, key=lambda span: span.began)] if len(inner) == 2 else []
    first, second = retried[0]
    assert first.failed and first["error.type"] == "upstream_unreachable"
    assert first["http.request.resend_count"] is None and second["http.request.resend_count"] == 1
    assert first.id != second.id and not second.failed


def test_an_app_that_is_gone_is_an_error(gateway, collector):
    gate = gateway(ROUTES + TRACING, flask=f"http://127.0.0.1:{free_port()}", otlp=collector.url)
    answer = gate.get("/open/x")
    refused(answer, 502, "upstream_unreachable")
    whole, inner = collector.of(answer)
    assert whole.failed and whole["error.type"] == whole["portcullis.code"] == "upstream_unreachable"
    assert inner and all(span.failed for span in inner)


def test_questions_to_stores_stand_under_what_asked_them(gateway, collector, flask_app, token, redis_server):
    people = RawUpstream(
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{"id": "hana", "roles": ["x"]}'
    )
    stores = """
[session]
store = "{redis}"
[rate_limit.calls]
limit = "100/s"
shared = true
[directory.people]
type = "endpoint"
url = "{people}/me"
user = "/id"
roles = "/roles"
"""
    toml = ROUTES.replace('preset = "flask', 'directory = "people"\npreset = "flask')
    toml = toml.replace('path = "/echo/{*rest}"', 'path = "/echo/{*rest}"\nrate_limit = "calls"')
    with people:
        gate = gateway(
            toml + stores + TRACING,
            flask=flask_app.url, otlp=collector.url, redis=redis_server.url("traces"), people=people.url,
        )  # fmt: skip
        whole, inner = collector.of(passed(gate.get("/echo/x", headers=token)))
    (auth,) = [span for span in inner if span.name == "authentication"]
    stored = [span for span in inner if span.name == "store"]
    limit, directory = sorted(stored, key=lambda span: span["db.system.name"] or "~")
    assert (limit["db.system.name"], limit.parent) == ("redis", whole.id)
    assert directory["portcullis.store"] == f"{people.url}/me" and directory.parent == auth.id


# ---- how many ----


def test_the_ratio_is_held(gateway, collector, flask_app):
    gate = gateway(ROUTES + TRACING.replace("sample = 1", "sample = 0.25"), flask=flask_app.url, otlp=collector.url)
    count = 800
    sampled = {"00": 0, "01": 0}
    for _ in range(count):
        sampled[context(gate.get("/open/x"))[2]] += 1
    # Six standard deviations.
    margin = 6 * math.sqrt(count * 0.25 * 0.75)
    assert abs(sampled["01"] - count * 0.25) < margin, sampled
    wait_for(lambda: spans_lost(gate, "exported") == 2 * sampled["01"], 5, "every sampled request, and no other")


def test_without_the_table_nothing_is_sampled_and_contexts_are_passed_on(gateway, flask_app):
    gate = gateway(ROUTES, flask=flask_app.url)
    assert context(gate.get("/open/x"))[2] == "00"
    sent = f"00-{TRACE}-{SENDER}-01"
    assert context(gate.get("/open/x", headers={"traceparent": sent})) == (TRACE, SENDER, "01")
    assert gate.count("portcullis_trace_spans_total") == 0


# ---- a collector in trouble ----


def lost_lines(gate):
    return [line for line in gate.log_lines() if line.get("message") == "traces are lost"]


def quick(gate, count):
    """So many requests, each answered as if there were no collector."""
    for _ in range(count):
        began = time.monotonic()
        passed(gate.get("/open/x"))
        assert time.monotonic() - began < 2


def test_a_collector_that_is_down_costs_spans_and_is_told_once(gateway, flask_app):
    port = free_port()
    gate = gateway(ROUTES + TRACING, flask=flask_app.url, otlp=f"http://127.0.0.1:{port}")
    quick(gate, 5)
    wait_for(lambda: spans_lost(gate, "failed") == 10, 15, "the loss to be counted")
    quick(gate, 5)
    wait_for(lambda: spans_lost(gate, "failed") == 20, 15, "the second loss to be counted")
    (line,) = lost_lines(gate)
    assert line["level"] == "warn" and "connect" in line["problem"]
    with Collector(port) as back:
        back.of(gate.get("/open/x"))
        wait_for(lambda: "traces are taken again" in gate.output(), 5, "the log to tell")
    assert spans_lost(gate, "failed") == 20


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, "text/html", b"<!doctype html><title>Not here</title>"), "not OTLP"),
        ((200, "application/json", b"[[["), "not OTLP"),
        ((404, "text/plain", b"no"), "404"),
        ((302, "text/plain", b""), "302"),
        ((200, "application/x-protobuf", b"\xff" * 2_000_000), ""),
    ],
)
def test_a_collector_that_answers_garbage_costs_spans(gateway, flask_app, answer, words):
    with Collector() as collector:
        collector.answer = answer
        gate = gateway(ROUTES + TRACING, flask=flask_app.url, otlp=collector.url)
        quick(gate, 3)
        wait_for(lambda: spans_lost(gate, "failed") == 6, 15, "the loss to be counted")
        (line,) = wait_for(lambda: lost_lines(gate), 5, "the log to tell")
        assert words in line["problem"]
        collector.answer = GOOD
        collector.of(gate.get("/open/x"))


def test_a_collector_that_is_busy_for_a_moment_costs_no_span(gateway, flask_app):
    with Collector() as collector:
        collector.first = [(503, "text/plain", b"busy"), (429, "text/plain", b"busy")]
        gate = gateway(ROUTES + TRACING, flask=flask_app.url, otlp=collector.url)
        quick(gate, 3)
        wait_for(lambda: spans_lost(gate, "exported") == 6, 15, "the third try")
        assert collector.posts == 3 and spans_lost(gate, "failed") == spans_lost(gate, "dropped") == 0
        assert not lost_lines(gate)


def test_a_collector_that_is_started_anew_costs_no_span(gateway, flask_app):
    port = free_port()
    gate = gateway(ROUTES + TRACING, flask=flask_app.url, otlp=f"http://127.0.0.1:{port}")
    answer = passed(gate.get("/open/x"))
    time.sleep(1.5)
    with Collector(port) as back:
        back.of(answer)
    assert spans_lost(gate, "failed") == 0 and not lost_lines(gate)


def test_a_collector_behind_tls_is_checked_against_the_roots_of_the_machine(gateway, flask_app, tmp_path):
    trusted, stranger = Authority(), Authority("Another CA")
    (tmp_path / "roots.pem").write_bytes(trusted.pem())
    taken = {}
    for name, authority in (("trusted", trusted), ("stranger", stranger)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(
            *authority.issue_files(tmp_path, name, common_name="collector", names=["127.0.0.1"])
        )
        with Collector(tls=context) as collector:
            gate = gateway(
                ROUTES + TRACING, flask=flask_app.url, otlp=collector.url,
                env={"SSL_CERT_FILE": str(tmp_path / "roots.pem")},
            )  # fmt: skip
            quick(gate, 1)
            wait_for(lambda gate=gate: spans_lost(gate, "exported") + spans_lost(gate, "failed") == 2, 15, "the outcome")
            taken[name] = spans_lost(gate, "exported"), len(collector.spans)
            if name == "stranger":
                (line,) = lost_lines(gate)
                assert "certificate" in line["problem"], line
    assert taken == {"trusted": (2, 2), "stranger": (0, 0)}


class Nonsense(Listener):
    """Answers what is no HTTP."""

    def serve(self, connection):
        connection.recv(65536)
        connection.sendall(b"\x00\xffNONSENSE\r\n\r\n")


def test_a_collector_that_speaks_no_http_costs_spans(gateway, flask_app):
    with Nonsense() as nonsense:
        gate = gateway(ROUTES + TRACING, flask=flask_app.url, otlp=nonsense.url)
        quick(gate, 3)
        wait_for(lambda: spans_lost(gate, "failed") == 6, 15, "the loss to be counted")
        wait_for(lambda: lost_lines(gate), 5, "the log to tell")


def test_a_collector_that_hangs_slows_no_request_and_does_not_hold_the_stop(gateway, flask_app):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        gate = gateway(
            ROUTES + TRACING, flask=flask_app.url, otlp=f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
        quick(gate, 20)
        wait_for(lambda: spans_lost(gate, "failed") > 0, 10, "a batch to be given up")
        quick(gate, 5)
        began = time.monotonic()
        gate.stop()
        assert time.monotonic() - began < 8


# ---- stop and reload ----


def test_what_waits_is_exported_at_the_stop(gateway, flask_app):
    with Collector() as collector:
        gate = gateway(ROUTES + TRACING, flask=flask_app.url, otlp=collector.url)
        answers = [gate.get("/open/x") for _ in range(20)]
        gate.signal(signal.SIGTERM)
        gate.close_clients()
        assert gate.process.wait(8) == 0
        # Whoever waits for it now waits for nothing that is still to come.
        assert len({collector._whole(answer.headers["x-request-id"]).id for answer in answers}) == 20


def test_a_process_that_hands_over_exports_what_it_sampled_and_the_next_goes_on(gateway, flask_app):
    with Collector() as collector, subreaper():
        line = Line(gateway(ROUTES + TRACING, flask=flask_app.url, otlp=collector.url))
        try:
            before = passed(line.gate.get("/open/before"))
            old, new = line.pid, line.upgrade()
            assert line.ends(old) == 0
            # Whoever waits for it now waits for nothing that is still to come.
            assert collector._whole(before.headers["x-request-id"])
            line.gate.close_clients()
            collector.of(passed(line.gate.get("/open/after")))
            assert new != old and set(line.stop()) == {0}
        finally:
            line.kill()


def test_a_reload_turns_traces_on_moves_them_and_turns_them_off(gateway, flask_app):
    with Collector() as one, Collector() as other:
        gate = gateway(ROUTES, flask=flask_app.url, otlp=one.url, other=other.url)
        passed(gate.get("/open/x"))
        gate.reload(ROUTES + TRACING)
        last = gate.get("/open/x")
        gate.reload(ROUTES + TRACING.replace("{otlp}", "{other}"))
        other.of(gate.get("/open/x"))
        one.of(last)
        gate.reload(ROUTES)
        assert context(gate.get("/open/x"))[2] == "00"
        time.sleep(1.5)
        roots = [sum(span.kind == "SERVER" for span in collector.spans) for collector in (one, other)]
        assert roots == [1, 1]


def test_a_reload_with_a_mistake_in_the_table_changes_nothing(gateway, flask_app):
    with Collector() as collector:
        gate = gateway(ROUTES + TRACING, flask=flask_app.url, otlp=collector.url)
        gate.reload(ROUTES + TRACING.replace("sample = 1", "sample = 7"), expect=False)
        assert "tracing.sample" in gate.output() and "out of range" in gate.output()
        collector.of(gate.get("/open/x"))


def test_a_password_in_the_address_is_refused_and_not_repeated(gateway, flask_app, collector):
    gate = gateway(ROUTES, flask=flask_app.url, otlp=collector.url)
    gate.reload(ROUTES + '[tracing]\notlp = "http://me:hidden@127.0.0.1:4318"\n', expect=False)
    assert "tracing.otlp" in gate.output() and "hidden" not in gate.output()
    assert httpx.get(gate.admin_url + "/ready", trust_env=False).status_code == 200
