"""The same promises on routes of other kinds: observed ones, files, presets of identity names, assertions, key files."""

import jwt
import pytest

from harness.certs import ec_key, private_pem
from security.conftest import ROUTES
from security.credentials import bearer, token
from security.wire import fold, refused, table

EVIL = "evil-1"
OBSERVED = (
    ROUTES
    + """
[[route]]
path = "/watched/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["admin"]
observe = true

[[route]]
path = "/set/{*rest}"
upstream = "app"
auth = ["token"]
request_headers = { set = { "X-Team" = "blue" }, remove = ["X-Unwanted"] }

[[route]]
path = "/files/{*rest}"
auth = "public"
files = { dir = "{folder}/public" }

[[route]]
path = "/said"
auth = "public"
respond = { status = 200, body = "said" }
"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "public" / "deep").mkdir(parents=True)
    (folder / "public" / "a.txt").write_text("public a")
    (folder / "public" / "deep" / "b.txt").write_text("public b")
    (folder / "secret.txt").write_text("top-secret")
    (folder / "publicity").mkdir()
    (folder / "publicity" / "c.txt").write_text("top-secret")
    (folder / "assertion.key").write_bytes(private_pem(ec_key()))
    (folder / "assertion.key").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def front(start, folder):
    return start(OBSERVED, folder=folder)


ROLE = [bearer(token(roles=["host"]))]


@table(
    8,
    {
        "none": [],
        "bad": [bearer("x.y.z")],
        "expired": [bearer(token(exp=1))],
        "role": ROLE,
        "refresh": [bearer(token(token_type="refresh"))],
    },
)
def test_an_observed_route_lets_through_but_never_as_somebody_it_is_not(front, case):
    forged = [f"X-Auth-User: {EVIL}", f"X_Auth_User: {EVIL}", f"X-Auth-Roles: {EVIL}", "Connection: X-Auth-User"]
    outcome = front.request(target="/watched/x", headers=[*case, *forged])
    assert outcome.status == 200, outcome
    (request,) = outcome.arrived
    assert EVIL.encode() not in request.head
    assert request.all("x-auth-user") in ([], ["7"] if case == ROLE else []), request.head


@table(23, ["/watched/../admin/x", "/watched/%2e%2e/admin/x", "/watched//x"])
def test_an_observed_route_does_not_forgive_what_can_be_read_in_two_ways(front, case):
    refused(front.request(target=case), closed=False)


@table(1, ["X-Team", "x_team", "X-TEAM"])
def test_a_header_that_the_route_sets_is_the_routes(front, case):
    outcome = front.request(target="/set/x", headers=[bearer(token()), f"{case}: red"])
    (request,) = outcome.arrived
    assert request.one("x-team") == "blue"


FILES = [
    "/files/../secret.txt",
    "/files/%2e%2e/secret.txt",
    "/files/..%2fsecret.txt",
    "/files/deep/../../secret.txt",
    "/files//etc/passwd",
    "/files/%2fetc/passwd",
    "/files/\\..\\secret.txt",
    "/files/a.txt%00.png",
    "/files/../publicity/c.txt",
    "/files/deep/%2e%2e/%2e%2e/secret.txt",
    "/files/%252e%252e/secret.txt",
    "/files/....//secret.txt",
    "/files/.%2e/secret.txt",
    "/filesecret.txt",
    "/files/a.txt/",
    "/files/a.txt/../../secret.txt",
    "/files;/../secret.txt",
    "/files/c:secret.txt",
    "/files/file:%2F%2F/etc/passwd",
]


@table(23, FILES)
def test_files_outside_their_folder_are_never_served(front, case):
    outcome = front.request(target=case)
    assert b"top-secret" not in outcome.raw and b"root:" not in outcome.raw, outcome
    assert outcome.status in (301, 308, 400, 403, 404), outcome


def test_23_files_inside_their_folder_are_served(front):
    assert front.request(target="/files/a.txt").final[0].body == b"public a"
    assert front.request(target="/files/deep/b.txt").final[0].body == b"public b"


@table(90, {"files": b"/files/a.txt", "respond": b"/said"})
def test_a_body_sent_to_a_route_without_an_app_is_never_a_request(front, case):
    hidden = b"GET /open/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for data in (
        b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden,
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(hidden) + hidden + b"\r\n0\r\n\r\n",
    ):
        outcome = front.send(b"POST " + case + b" HTTP/1.1\r\nHost: localhost\r\n" + data, after=True)
        assert all("smuggled" not in request.target for request in outcome.arrived), outcome
        assert len(outcome.final) <= 2


# ---- names of identity headers that the file chooses ----

PRESETS = {
    "remote-user": ('preset = "remote-user"', "Remote-User", "Remote-Groups"),
    "forwarded": ('preset = "forwarded"', "X-Forwarded-User", "X-Forwarded-Groups"),
    "own": ('user = "X-My-User"\nroles = "X-My-Roles"\nstrip = ["X-Legacy-User"]', "X-My-User", "X-My-Roles"),
}


@pytest.fixture(scope="module", params=list(PRESETS))
def named(start, request):
    lines, user, roles = PRESETS[request.param]
    return start(ROUTES.replace("[identity]\nclaims", f"[identity]\n{lines}\nclaims")), user, roles


@pytest.mark.parametrize("joint", ["-", "_", ".", "mixed"])
@pytest.mark.parametrize("letters", [str.lower, str.upper, str.title])
def test_2_names_that_the_file_chooses_are_guarded_alike(named, joint, letters):
    front, user, roles = named
    for target, headers in (("/open/x", []), ("/me/x", [bearer(token(roles=["editor"]))])):
        for name in (user, roles, "X-Legacy-User" if user == "X-My-User" else user):
            spelled = letters(name.replace("-", "_", 1) if joint == "mixed" else name.replace("-", joint))
            outcome = front.request(target=target, headers=[*headers, f"{spelled}: {EVIL}", f"Connection: {name}"])
            (request,) = outcome.arrived
            assert EVIL.encode() not in request.head, request.head
            assert [fold(key) for key, _ in request.headers].count(fold(user)) == (1 if headers else 0), request.head
            assert request.all(user) == (["7"] if headers else [])


@pytest.fixture(scope="module")
def asserted(start, folder):
    identity = f'[identity]\nassertion = {{ header = "X-Auth-Assertion", key = "{folder}/assertion.key", ttl = "60s", audience = "app" }}\nclaims'
    return start(ROUTES.replace("[identity]\nclaims", identity))


@table(1, ["X-Auth-Assertion", "x_auth_assertion", "X-Auth_Assertion"])
def test_a_forged_assertion_never_arrives(asserted, case):
    forged = jwt.encode({"sub": "admin", "aud": "app"}, "x" * 32, algorithm="HS256")
    outcome = asserted.request(target="/open/x", headers=[f"{case}: {forged}"])
    assert outcome.arrived[0].all("x-auth-assertion") == []
    outcome = asserted.request(
        target="/me/x", headers=[bearer(token()), f"{case}: {forged}", "Connection: X-Auth-Assertion"]
    )
    value = outcome.arrived[0].one("x-auth-assertion")
    assert value != forged and jwt.decode(value, options={"verify_signature": False}, audience="app")["sub"] == "7"


# ---- trusted proxies and the PROXY protocol: nobody is trusted by default, and only the right-most stranger counts ----


@pytest.fixture(scope="module")
def behind(start):
    return start(extra='trusted_proxies = ["127.0.0.0/8"]')


@table(
    9,
    {
        "spoofed-left": (["X-Forwarded-For: 10.9.9.9, 198.51.100.7"], "198.51.100.7"),
        "two-lines": (["X-Forwarded-For: 10.9.9.9", "X-Forwarded-For: 198.51.100.7"], "198.51.100.7"),
        "loopback-right": (["X-Forwarded-For: 10.9.9.9, 198.51.100.7, 127.0.0.1"], "198.51.100.7"),
    },
)
def test_behind_a_trusted_proxy_the_right_most_stranger_is_the_client(behind, case):
    lines, client = case
    since = behind.watch()
    with behind.connect() as raw:
        raw.send(
            ("GET /open/x HTTP/1.1\r\nHost: localhost\r\n" + "".join(line + "\r\n" for line in lines) + "\r\n").encode()
        )
        assert raw.answer().status == 200
    (request,), faults, _ = since()
    assert not faults
    chain = [part.strip() for part in request.one("x-forwarded-for").split(",")]
    assert chain[0] == client and "10.9.9.9" not in chain, request.head


JUNK = [
    "garbage",
    "1.2.3.4.5",
    "127.0.0.1; DROP",
    "unknown",
    "_hidden",
    "::ffff:999.1.1.1",
    ",",
    "[::1",
    "1.2.3.4:99999999",
    '"><script>',
    "0x7f000001",
    "\t",
    "198.51.100.7, garbage",
]


@table(9, JUNK)
def test_a_malformed_chain_from_a_trusted_proxy_is_not_passed_on(behind, case):
    since = behind.watch()
    with behind.connect() as raw:
        raw.send(
            f"GET /open/x HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {case}\r\nX-Forwarded-Proto: {case}\r\nX-Forwarded-Port: {case}\r\n\r\n".encode()
        )
        status = raw.answer().status
    requests, faults, _ = since()
    assert not faults and status in (200, 400)
    for request in requests:
        assert request.one("x-forwarded-proto") in ("http", "https"), request.head
        assert request.one("x-forwarded-port").isdecimal()
        assert "garbage" not in request.one("x-forwarded-for") and "script" not in str(request.headers), request.head


@table(
    9,
    [
        "PROXY TCP4 6.6.6.6 1.1.1.1 1 2\r\n",
        "\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c\x06\x06\x06\x06\x01\x01\x01\x01\x00\x01\x00\x02",
    ],
)
def test_a_proxy_header_that_nobody_asked_for_is_refused(front, case):
    outcome = front.send(case.encode("latin-1") + b"GET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert outcome.arrived == [] and outcome.status in (400, None), outcome
