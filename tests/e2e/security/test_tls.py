"""Catalogue 111 to 119: handshakes byte by byte, certificates that do not fit, names that do not agree."""

import datetime
import os
import socket
import ssl
import struct
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.certs import Authority, ec_key, private_pem
from harness.gateway import run_binary
from harness.ports import wait_for
from harness.raw import RawClient
from harness.upstreams import Listener
from security.wire import parse_answers, table

SERVER = """
[server]
https = "127.0.0.1:{https}"
plain = "127.0.0.1:{plain}"
admin = "127.0.0.1:{admin}"

[server.timeouts]
tls_handshake = "2s"
request_headers = "2s"
keep_alive = "4s"
drain = "3s"
EXTRA
"""
CERTIFICATES = """
[[tls.certificate]]
cert = "{folder}/one.pem"
key = "{folder}/one.key"

[[tls.certificate]]
cert = "{folder}/two.pem"
key = "{folder}/two.key"

[tls]
client_ca = "{folder}/client-ca.pem"
client_auth = "optional"
"""
ROUTES = """
[upstream.app]
servers = ["{app}"]
timeouts = { connect = "1s", response = "2s" }
retries = 0

[auth.machine]
type = "client-certificate"
user = "cn"
roles = { "CN=admin" = ["admin"] }

[auth.machine-dns]
type = "client-certificate"
user = "san-dns"

[[route]]
path = "/open/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/machine/{*rest}"
upstream = "app"
auth = ["machine"]

[[route]]
path = "/dns/{*rest}"
upstream = "app"
auth = ["machine-dns"]

[[route]]
path = "/admin/{*rest}"
upstream = "app"
auth = ["machine"]
roles = ["admin"]
"""
BAD_PAIR = """
[server]
https = "127.0.0.1:0"
admin = "127.0.0.1:0"

[[tls.certificate]]
cert = "bad.pem"
key = "bad.key"

[[route]]
path = "/"
auth = "public"
respond = { status = 200 }
"""
OLD_PAIR = """
[server]
https = "127.0.0.1:{https}"
plain = "127.0.0.1:{plain}"
admin = "127.0.0.1:{admin}"

[[tls.certificate]]
cert = "{folder}/old.pem"
key = "{folder}/old.key"

[[route]]
path = "/"
auth = "public"
respond = { status = 200 }
"""
LIAR = """
[upstream.app]
servers = ["{app}"]

[upstream.liar]
servers = ["https://127.0.0.1:{liar}"]
timeouts = { connect = "1s", response = "1s" }
retries = 0

[[route]]
path = "/open/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/liar"
upstream = "liar"
auth = "public"
"""


@pytest.fixture(scope="module")
def authority():
    return Authority("Servers")


@pytest.fixture(scope="module")
def clients():
    return Authority("Clients")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, authority, clients):
    folder = tmp_path_factory.mktemp("tls")
    authority.issue_files(folder, "one", common_name="one", names=["localhost", "one.example"])
    authority.issue_files(folder, "two", common_name="two", names=["two.example"])
    (folder / "ca.pem").write_bytes(authority.pem())
    (folder / "client-ca.pem").write_bytes(clients.pem())
    return folder


@pytest.fixture(scope="module")
def front(start, folder):
    return start(ROUTES, extra=CERTIFICATES, server=SERVER, folder=folder)


def context(folder, cert=None):
    made = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if cert:
        made.load_cert_chain(*map(str, cert))
    return made


# ---- 111: versions and ciphers, asked for by hand ----


def extension(kind, data):
    return struct.pack("!HH", kind, len(data)) + data


def client_hello(
    version=0x0303,
    ciphers=(0xC02B, 0xC02F, 0xC02C, 0x1301),
    compression=b"\x00",
    versions=None,
    record=0x0301,
    name=b"localhost",
    more=b"",
    groups=(0x001D, 0x0017),
):
    """A ClientHello in its record."""
    extensions = extension(0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name)
    extensions += extension(
        10, struct.pack("!H", 2 * len(groups)) + b"".join(struct.pack("!H", group) for group in groups)
    )
    extensions += extension(11, b"\x01\x00") + extension(
        13, struct.pack("!H", 12) + bytes.fromhex("040308040401050308050501")
    )
    if versions:
        extensions += extension(43, bytes([2 * len(versions)]) + b"".join(struct.pack("!H", one) for one in versions))
    extensions += more
    suites = b"".join(struct.pack("!H", one) for one in ciphers)
    body = struct.pack("!H", version) + os.urandom(32) + b"\x00" + struct.pack("!H", len(suites)) + suites
    body += bytes([len(compression)]) + compression + struct.pack("!H", len(extensions)) + extensions
    hello = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return struct.pack("!BHH", 22, record, len(hello)) + hello


def answer_to(front, data, seconds=3.0, until_close=False):
    """Sends bytes to the TLS door; answers with the first record's type (0: closed) and all bytes."""
    with socket.create_connection(("127.0.0.1", front.gate.ports["https"]), timeout=seconds) as client:
        got = b""
        try:
            client.sendall(data)
            while len(got) < 5 or until_close:
                block = client.recv(65536)
                if not block:
                    break
                got += block
        except TimeoutError:
            return -1, got
        except OSError:
            pass
        return (got[0] if got else 0), got


def test_111_the_hello_of_these_tests_is_a_good_one(front):
    kind, data = answer_to(front, client_hello())
    assert kind == 22, data


WEAK = {
    "rc4": [0x0005, 0xC011, 0xC007],
    "3des": [0x000A, 0xC012, 0xC008],
    "null": [0x0001, 0x0002, 0x003B, 0xC006, 0xC010],
    "anon": [0x0034, 0xC018, 0xC019, 0x006C, 0x00A6],
    "static-rsa": [0x002F, 0x0035, 0x003C, 0x009C, 0x009D],
    "cbc": [0xC009, 0xC013, 0xC00A, 0xC014, 0xC023, 0xC027, 0xC024, 0xC028],
    "export": [0x0003, 0x0006, 0x0008, 0x0014],
    "des": [0x0009, 0x0015],
    "dhe": [0x0033, 0x0039, 0x009E],
    "psk": [0x008C, 0x00A8],
    "none": [],
    "scsv": [0x00FF, 0x5600],
    "kerberos": [0x001E, 0x0020],
    "camellia": [0x0041, 0xC076],
    "unknown": [0xFFFE],
}


@table(111, WEAK)
def test_a_weak_cipher_is_refused(front, case):
    kind, data = answer_to(front, client_hello(ciphers=case))
    assert kind in (0, 21), data
    front.probe()


@table(111, {"ssl3": 0x0300, "tls1.0": 0x0301, "tls1.1": 0x0302, "tls0": 0x0000, "ssl2": 0x0002})
def test_an_old_version_is_refused(front, case):
    for ciphers in ([0xC02B, 0xC02F], [0xC009, 0xC013, 0x002F]):
        kind, data = answer_to(front, client_hello(version=case, ciphers=ciphers))
        assert kind in (0, 21), data
    kind, data = answer_to(front, client_hello(version=0x0303, versions=[case]))
    assert kind in (0, 21), data


def test_111_compression_is_never_chosen(front):
    kind, data = answer_to(front, client_hello(compression=b"\x01\x00", ciphers=[0xC02B, 0xC02F]))
    assert kind in (0, 21) or data[5 + 4 + 2 + 32 + 1 + data[5 + 4 + 2 + 32] + 2] == 0
    kind, _ = answer_to(front, client_hello(compression=b"\x01"))
    assert kind in (0, 21)


def test_111_renegotiation_is_refused(front, need, folder):
    """The client asks for a new handshake inside TLS 1.2: no second ServerHello, and no request served after it."""
    done = subprocess.run(
        [
            need("openssl"),
            "s_client",
            "-connect",
            f"127.0.0.1:{front.gate.ports['https']}",
            "-tls1_2",
            "-servername",
            "localhost",
            "-CAfile",
            str(folder / "ca.pem"),
            "-legacy_renegotiation",
        ],
        input=b"R\nGET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        capture_output=True,
        timeout=15,
        check=False,
    )
    assert b"RENEGOTIATING" in done.stdout + done.stderr
    assert b"HTTP/1.1 200" not in done.stdout
    front.probe()


# ---- 112, 113: bytes that are no handshake ----

GARBAGE = {
    "random": os.urandom(2000),
    "http": b"GET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "sslv2": bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + os.urandom(16),
    "record-64k": b"\x16\x03\x01\xff\xff" + bytes(65535),
    "record-too-long": b"\x16\x03\x03\x48\x01" + bytes(18433),
    "empty-records": b"\x16\x03\x01\x00\x00" * 2000,
    "alerts": b"\x15\x03\x03\x00\x02\x01\x00" * 500,
    "warning-alerts": b"\x15\x03\x03\x00\x02\x01\x5a" * 2000,
    "ccs": b"\x14\x03\x03\x00\x01\x01" * 2000,
    "app-data-first": b"\x17\x03\x03\x00\x20" + bytes(32),
    "heartbeat": b"\x18\x03\x02\x00\x03\x01\x40\x00",
    "hello-huge": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16379),
    "hello-zero": b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
    "fragment-flood": b"\x16\x03\x01\x00\x01\x01" + b"\x16\x03\x01\x00\x01\x00" * 3000,
    "ssh": b"SSH-2.0-x\r\n",
    "nul": bytes(1000),
    "server-hello": b"\x16\x03\x03\x00\x26\x02\x00\x00\x22\x03\x03" + bytes(33),
    "one-byte": b"\x16",
    "bad-version": b"\x16\x09\x09\x00\x05hello",
    "proxy": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    "name-nul": client_hello(name=b"local\x00host"),
    "name-long": client_hello(name=b"a" * 5000),
    "name-empty": client_hello(name=b""),
    "extensions-twice": client_hello(more=extension(10, b"\x00\x02\x00\x1d")),
    "extension-lies": client_hello()[:-2],
    "no-groups": client_hello(groups=()),
    "sni-ip": client_hello(name=b"127.0.0.1"),
    "sni-slash": client_hello(name=b"../../x"),
}


@table(112, GARBAGE)
def test_what_is_no_handshake_is_closed_and_harms_nobody(front, case):
    since = front.watch()
    before = front.gate.rss_kib()
    began = time.monotonic()
    kind, data = answer_to(front, case, seconds=5, until_close=True)
    assert kind != -1 or kind == 22, "still open after the handshake's time"
    assert time.monotonic() - began < 4.5
    assert b"HTTP/1.1 200" not in data
    assert since()[0] == []
    assert front.gate.rss_kib() - before < 8 * 1024


@table(113, {"silent": b"", "half": client_hello()[:60], "header": client_hello()[:5]})
def test_a_stalled_hello_is_timed_out(front, case):
    with socket.create_connection(("127.0.0.1", front.gate.ports["https"]), timeout=6) as client:
        client.sendall(case)
        began = time.monotonic()
        try:
            data = client.recv(100)
        except ConnectionError:
            data = b""
        assert data == b"" or data[0] == 21
        assert 1 < time.monotonic() - began < 4


def test_113_a_dribbled_hello_is_timed_out_and_200_half_open_ones_slow_nobody(front, folder):
    clients = []
    hello = client_hello()
    try:
        for _ in range(200):
            client = socket.create_connection(("127.0.0.1", front.gate.ports["https"]), timeout=5)
            client.sendall(hello[:80])
            clients.append(client)
        slowest = 0
        for _ in range(10):
            began = time.monotonic()
            with RawClient(front.gate.ports["https"], tls=context(folder)) as good:
                good.send(b"GET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert good.answer().status == 200
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1, f"a good client waited {slowest:.2f} s"
        closed, began = False, time.monotonic()
        for byte in hello[80:-1]:
            try:
                clients[0].sendall(bytes([byte]))
            except OSError:
                closed = True
                break
            time.sleep(0.15)
        assert closed and time.monotonic() - began < 5, f"{len(hello)} bytes"
        wait_for(lambda: front.gate.open_files() < 100, 5, "the half-open connections to be closed")
    finally:
        for client in clients:
            client.close()


# ---- 114: names ----


@table(
    114,
    {
        "one-two": ("one.example", "two.example", 421),
        "two-one": ("two.example", "one.example", 421),
        "same": ("one.example", "localhost", 200),
        "two": ("two.example", "two.example", 200),
    },
)
def test_the_name_of_the_handshake_and_the_host_must_agree(front, folder, case):
    name, host, status = case
    with RawClient(front.gate.ports["https"], tls=context(folder), name=name) as client:
        client.send(f"GET /open/x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert client.answer().status == status


@table(114, ["TLSv1_2", "TLSv1_3"])
def test_a_session_resumed_under_another_name_opens_nothing(front, folder, case):
    made = context(folder)
    made.minimum_version = made.maximum_version = getattr(ssl.TLSVersion, case)
    with RawClient(front.gate.ports["https"], tls=made, name="one.example") as client:
        client.send(b"GET /open/x HTTP/1.1\r\nHost: one.example\r\n\r\n")
        assert client.answer().status == 200
        session = client.socket.session
    made.check_hostname = False
    raw = socket.create_connection(("127.0.0.1", front.gate.ports["https"]), timeout=5)
    with made.wrap_socket(raw, server_hostname="two.example", session=session) as again:
        again.sendall(b"GET /open/x HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n")
        data = b""
        while block := again.recv(65536):
            data += block
    assert parse_answers(data)[0].status == 421, data


def test_114_early_data_is_not_offered(front, need, folder):
    done = subprocess.run(
        [
            need("openssl"),
            "s_client",
            "-connect",
            f"127.0.0.1:{front.gate.ports['https']}",
            "-tls1_3",
            "-servername",
            "localhost",
            "-CAfile",
            str(folder / "ca.pem"),
            "-ign_eof",
            "-quiet",
            "-msg",
        ],
        input=b"GET /open/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        capture_output=True,
        timeout=15,
        check=False,
    )
    shown = subprocess.run(
        [
            need("openssl"),
            "s_client",
            "-connect",
            f"127.0.0.1:{front.gate.ports['https']}",
            "-tls1_3",
            "-servername",
            "localhost",
            "-CAfile",
            str(folder / "ca.pem"),
            "-ign_eof",
        ],
        input=b"GET /open/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        capture_output=True,
        timeout=15,
        check=False,
    ).stdout
    assert b"HTTP/1.1 200" in done.stdout + shown
    assert b"Max Early Data: 0" in shown or b"Max Early Data" not in shown, shown


# ---- 115, 116: certificates that do not fit ----


def broken_pairs(folder):
    one, two = (folder / "one.pem").read_bytes(), (folder / "two.key").read_bytes()
    key = (folder / "one.key").read_bytes()
    return {
        "mismatch": (one, two),
        "missing-cert": (None, key),
        "missing-key": (one, None),
        "garbage-cert": (b"not a certificate", key),
        "garbage-key": (one, b"not a key"),
        "empty-cert": (b"", key),
        "empty-key": (one, b""),
        "swapped": (key, one),
        "truncated": (one[: len(one) // 2], key),
        "der-junk": (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key),
    }


@table(
    115,
    [
        "mismatch",
        "missing-cert",
        "missing-key",
        "garbage-cert",
        "garbage-key",
        "empty-cert",
        "empty-key",
        "swapped",
        "truncated",
        "der-junk",
    ],
)
def test_a_pair_that_does_not_fit_is_refused_at_start_with_a_reason(folder, tmp_path, case):
    for stem, data in zip(("bad.pem", "bad.key"), broken_pairs(folder)[case]):
        if data is not None:
            (tmp_path / stem).write_bytes(data)
            (tmp_path / stem).chmod(0o600)
    (tmp_path / "gateway.toml").write_text(BAD_PAIR)
    for command in ("check", "run"):
        result = run_binary(command, "--config", tmp_path / "gateway.toml", cwd=tmp_path, timeout=10)
        assert result.code not in (0, 101, -6) and "panicked" not in result.text, result
        assert "bad.pem" in result.text or "bad.key" in result.text, result
        assert "-----" not in result.text


def test_115_a_pair_that_does_not_fit_at_reload_leaves_the_old_one_serving(front, folder):
    good = (folder / "two.key").read_bytes()
    try:
        (folder / "two.key").write_bytes((folder / "one.key").read_bytes())
        time.sleep(1.5)
        with RawClient(front.gate.ports["https"], tls=context(folder), name="two.example") as client:
            client.send(b"GET /open/x HTTP/1.1\r\nHost: two.example\r\n\r\n")
            assert client.answer().status == 200
    finally:
        (folder / "two.key").write_bytes(good)
    front.probe()


def test_116_an_expired_certificate_is_loud(gateway, tmp_path):
    Authority("Old").issue_files(tmp_path, "old", common_name="old", names=["localhost"], days=-1)
    gate = gateway(OLD_PAIR, folder=tmp_path)
    wait_for(lambda: "expired" in gate.output().lower(), 5, "the log to say so")
    assert [value for name, _, value in gate.metrics() if "not_after" in name and 0 < value < time.time()]


# ---- 117 ----


@table(117, [["foo"], ["h3"], ["http/1.0", "spdy/3"], ["h2c"], ["http/1.1 "]])
def test_an_alpn_without_overlap_is_refused_or_nothing_chosen(front, folder, case):
    made = context(folder)
    made.set_alpn_protocols(case)
    raw = socket.create_connection(("127.0.0.1", front.gate.ports["https"]), timeout=5)
    try:
        with made.wrap_socket(raw, server_hostname="localhost") as client:
            assert client.selected_alpn_protocol() is None
    except ssl.SSLError:
        pass


def test_117_http1_on_an_http2_connection_is_closed_and_the_other_way_round(front, folder):
    since = front.watch()
    for protocol, data in (
        ("h2", b"GET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("http/1.1", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    ):
        with RawClient(front.gate.ports["https"], tls=context(folder), alpn=(protocol,), timeout=5) as client:
            client.send(data)
            got = client.read_until(b"\x00\x00\x00\x00\x00\x00never")
            assert b"HTTP/1.1 200" not in got
    assert since()[0] == []


# ---- 118: client certificates ----


def client_pair(
    folder,
    clients,
    stem,
    common_name,
    dns=(),
    ca=None,
    usage=ExtendedKeyUsageOID.CLIENT_AUTH,
    days=(-2, 20),
    attributes=(),
):
    key = ec_key()
    now = datetime.datetime.now(datetime.timezone.utc)
    issuer = ca or clients
    names = [
        x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)
        for name in ([common_name] if isinstance(common_name, str) else common_name)
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*attributes, *names]))
        .issuer_name(issuer.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    if dns:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in dns]), critical=False
        )
    certificate = builder.sign(issuer.key, hashes.SHA256())
    cert_file, key_file = folder / f"{stem}.pem", folder / f"{stem}.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(private_pem(key))
    return cert_file, key_file


def with_certificate(front, folder, pair, target, headers=()):
    since = front.watch()
    data = b""
    try:
        with RawClient(front.gate.ports["https"], tls=context(folder, pair)) as client:
            client.send(
                f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
                + b"".join(line + b"\r\n" for line in headers)
                + b"\r\n"
            )
            while block := client.socket.recv(65536):
                data += block
    except (ssl.SSLError, ConnectionError):
        pass
    answers = parse_answers(data)
    return (answers[0].status if answers else None), since()[0]


def test_118_a_good_client_certificate_is_known(front, folder, clients, tmp_path):
    status, (request,) = with_certificate(front, folder, client_pair(tmp_path, clients, "good", "admin"), "/admin/x")
    assert status == 200 and request.one("x-auth-user") == "admin" and request.one("x-auth-roles") == "admin"


@table(
    118,
    {
        "nul": "admin\x00.evil",
        "nul-first": "\x00admin",
        "blank": "admin ",
        "comma": "admin,CN=admin",
        "upper": "ADMIN",
        "escaped": "x\\,CN=admin",
        "newline": "x\nCN=admin",
        "plus": "x+CN=admin",
        "two": ["x", "admin"],
        "two-other": ["admin", "x"],
        "empty": "",
        "unicode": "\u0430dmin",
    },
)
def test_an_odd_name_in_a_client_certificate_is_nobody_elses(front, folder, clients, tmp_path, case):
    pair = client_pair(tmp_path, clients, "odd", case)
    status, requests = with_certificate(front, folder, pair, "/admin/x")
    assert status in (401, 403, None) and requests == [], (status, requests)
    status, requests = with_certificate(front, folder, pair, "/machine/x")
    for request in requests:
        assert request.one("x-auth-user") != "admin" or case == ["admin", "x"], request


@table(
    118, {"other-ca": "ca", "server-usage": "usage", "expired": "expired", "not-yet": "early", "self-signed": "self"}
)
def test_a_client_certificate_that_is_not_ours_is_refused(front, folder, clients, tmp_path, case):
    other = Authority("Others")
    how = {
        "ca": {"ca": other},
        "usage": {"usage": ExtendedKeyUsageOID.SERVER_AUTH},
        "expired": {"days": (-9, -2)},
        "early": {"days": (2, 9)},
        "self": {"ca": Authority("admin")},
    }[case]
    status, requests = with_certificate(
        front, folder, client_pair(tmp_path, clients, "bad", "admin", **how), "/admin/x"
    )
    assert status in (None, 401) and requests == [], (status, requests)


@table(118, ["X-SSL-Client-Cert", "X-SSL-Client-S-DN", "X-Client-Cert", "Client-Cert", "X-Forwarded-Client-Cert"])
def test_a_certificate_in_a_header_is_none(front, folder, case):
    status, requests = with_certificate(front, folder, None, "/admin/x", [f"{case}: CN=admin".encode()])
    assert status == 401 and requests == []


# ---- 119: a plain answer before the app's handshake ----


class Impatient(Listener):
    """Sends an answer as soon as somebody connects, before any TLS."""

    def serve(self, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nplain!")
        connection.recv(65536)
        time.sleep(0.3)


class PlainAlert(Listener):
    """Answers the handshake in plain text."""

    def serve(self, connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nplain!")


@table(119, {"before": Impatient, "instead": PlainAlert})
def test_a_plain_answer_of_a_tls_app_is_502(start, folder, case):
    with case() as liar:
        front = start(LIAR, extra="[tls]\ndevelopment = true\n", server=SERVER, liar=liar.port)
        outcome = front.request(target="/liar")
        assert outcome.status in (502, 504) and b"plain!" not in outcome.raw, outcome
