"""Catalogue 23 to 40: one reading of the path and of the host, and what is forwarded is what was judged.

Everything here is public but `/admin`: the hardest case, since whatever slips past the rule is served.
"""

import re
from urllib.parse import unquote_to_bytes

import pytest

from harness.raw import RawClient
from security.credentials import bearer, token
from security.h2wire import H2
from security.wire import pairs, refused, table, talk

OPEN = """
[upstream.app]
servers = ["{app}"]
timeouts = { connect = "1s", response = "3s" }
retries = 0

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"] }

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/admin/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["admin"]

[[route]]
path = "/files/{*rest}"
upstream = "app"
auth = "public"
strip_prefix = "/files"

[[route]]
path = "/added/{*rest}"
upstream = "app"
auth = "public"
strip_prefix = "/added"
add_prefix = "/inner"

[[route]]
path = "/page/{*rest}"
upstream = "app"
auth = ["token"]
unauthenticated = { redirect = "/login/?next={uri}" }

[[route]]
hosts = ["secret.example.com", "*.inner.example.com"]
path = "/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["admin"]
"""


@pytest.fixture(scope="module")
def front(start):
    return start(OPEN)


@pytest.fixture(scope="module")
def merging(start):
    return start(OPEN, extra="merge_slashes = true")


def readings(target):
    """What servers of every kind could make of a path: decoded once, twice or thrice, parameters cut, dots resolved."""
    path = target.split("?")[0].encode()
    found = set()
    for _ in range(4):
        for cut in (
            path,
            re.sub(rb";[^/]*", b"", path),
            path.split(b"#")[0],
            path.split(b"\x00")[0],
            path.replace(b"%u002e", b"."),
        ):
            for slashed in (cut, cut.replace(b"\\", b"/")):
                for trimmed in (slashed, re.sub(rb"[\x00-\x20]+", b"", slashed)):
                    parts = []
                    for part in trimmed.split(b"/"):
                        if part == b"..":
                            parts = parts[:-1]
                        elif part not in (b"", b"."):
                            parts.append(part)
                    found.add(b"/" + b"/".join(parts))
        path = unquote_to_bytes(path)
    return found


def never_admin(outcome, target):
    """Refused, or forwarded byte for byte as something no server would take for `/admin`."""
    assert outcome.status in (200, 400, 401, 404), outcome
    for request in outcome.arrived:
        if request.target == "/open/after":
            continue
        assert request.target == target, f"forwarded {request.target!r}, judged {target!r}"
        bad = [reading for reading in readings(request.target) if reading.split(b"/")[1] == b"admin"]
        assert not bad, f"{request.target!r} can be read as {bad}"
    return outcome


DOTS = [
    "/x/../admin/a",
    "/x/%2e%2e/admin/a",
    "/x/.%2e/admin/a",
    "/x/%2E./admin/a",
    "/x/%2e%2E/admin/a",
    "/../admin/a",
    "/../../../admin/a",
    "/./admin/a",
    "/x/./../admin/a",
    "/x/y/../../admin/a",
    "/%2e/admin/a",
    "/x/..",
    "/x/../",
    "/..",
    "/.",
    "/./",
    "/x/.",
    "/admin/../x",
    "/admin/./a",
    "/x/../../../../admin",
    "/files/../admin/a",
    "/files/%2e%2e/admin/a",
    "/x/..?a=b",
    "/x/%2e%2e?",
    "/files/..",
    "/.../../admin",
    "/x/..%2e/../admin/a",
]


@table(23, DOTS)
def test_dot_segments_are_refused(front, case):
    outcome = refused(front.send(f"GET {case} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()), closed=False)
    assert outcome.final[0].code == "ambiguous_path"


@table(23, DOTS)
def test_dot_segments_over_http2_are_refused(front, case):
    since = front.watch()
    with H2(front.gate) as client:
        answer = client.request(case)
    assert answer.status == 400 or answer.reset is not None, answer
    assert since()[0] == []


@table(
    24,
    [
        "/x%2fadmin/a",
        "/admin%2fa",
        "/%2fadmin/a",
        "/x/..%2fadmin/a",
        "/x%5c..%5cadmin",
        "/x\\..\\admin",
        "/\\admin/a",
        "/%5cadmin",
        "/admin%5ca",
        "/admin\\a",
        "/x/%2e%2e%2fadmin/a",
        "/x%2F..%2Fadmin",
        "/x%5C",
        "/x%2F",
        "/%2F/admin",
        "\\admin",
        "/x/..\\admin/a",
        "/x/..%5Cadmin/a",
    ],
)
def test_encoded_slashes_and_backslashes_are_refused(front, case):
    refused(front.send(f"GET {case} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()), closed=False)


SLASHES = [
    "//admin/a",
    "///admin/a",
    "/x//admin",
    "/admin//a",
    "//",
    "/x//",
    "//x",
    "/files//admin/a",
    "/files//evil.example/",
]


@table(25, SLASHES)
def test_empty_segments_are_refused_by_default(front, case):
    refused(front.send(f"GET {case} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()), closed=False)


@table(25, SLASHES)
def test_merged_slashes_are_judged_as_forwarded(merging, case):
    outcome = merging.send(f"GET {case} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    merged = re.sub("/+", "/", case)
    if merged.startswith("/admin"):
        refused(outcome, 401, closed=False)
        return
    if not outcome.arrived:
        refused(outcome, closed=False)
        return
    wanted = merged.removeprefix("/files") if merged.startswith("/files") else merged
    assert [request.target for request in outcome.arrived] == [wanted], outcome


@table(25, ["//x/..//admin/a", "/.//admin", "//%2e%2e/admin", "/x/.//a"])
def test_merging_does_not_make_dots_good(merging, case):
    refused(merging.send(f"GET {case} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()), closed=False)


@table(
    26,
    [
        "/admin;x/a",
        "/x;/../admin/a",
        "/x/..;/admin/a",
        "/admin;jsessionid=1/a",
        ";/admin/a",
        "/;/admin/a",
        "/x/..;a=b/admin/a",
        "/admin;",
        "/;admin",
        "/x/.;/a",
        "/adm;in/a",
    ],
)
def test_path_parameters_open_nothing(front, case):
    never_admin(front.send(f"GET {case} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()), case)


@table(27, ["/x#a", "/admin/a#/../x", "/x#/../admin/a", "#", "/x?a#b", "/#admin", "/x%23/../admin"])
def test_fragments_are_refused(front, case):
    refused(front.request(target=case), closed=False, may_close_silently=True)


@table(
    28,
    [
        b"/x%00",
        b"/x\x00",
        b"/admin%00/a",
        b"/%00admin/a",
        b"/x%0a",
        b"/x%0d%0aX-Auth-User:%201",
        b"/x%09",
        b"/admin%09/a",
        b"/admin%20/a",
        b"/%20admin/a",
        b"/x/%20",
        b"/x%7f",
        b"/x%1f",
        b"/x\x7f",
        b"/x\x01",
        b"/x\x0b",
        b"/admin%0a",
        b"/x%0D",
    ],
)
def test_control_characters_and_blanks_at_the_edge_are_refused(front, case):
    refused(front.send(b"GET " + case + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"), closed=False, may_close_silently=True)


@table(29, ["/%61dmin/a", "/%61%64%6d%69%6e/a", "/%61%64%6D%69%6E", "/admi%6e", "/ad%6Din/a/b?x"])
def test_an_encoded_name_is_the_name(front, case):
    refused(front.send(f"GET {case} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()), 401, closed=False)


@table(
    30,
    [
        "/x/%252e%252e/admin/a",
        "/x%252fadmin",
        "/%252e/admin",
        "/x%255c..",
        "/x%2500",
        "/x/%25252e%25252e/admin",
        "/x%25252f",
        "/x/%252e./admin/a",
        "/x%250a",
    ],
)
def test_what_is_encoded_twice_is_refused(front, case):
    refused(front.send(f"GET {case} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()), closed=False)


@table(30, ["/%2561dmin/a", "/100%25", "/%25x", "/a%2525b"])
def test_nothing_is_decoded_twice(front, case):
    outcome = front.send(f"GET {case} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert outcome.status in (200, 400), outcome
    assert [request.target for request in outcome.arrived] in ([], [case])


@table(
    31,
    [
        "/x/%c0%ae%c0%ae/admin/a",
        "/x%c0%afadmin",
        "/x/%u002e%u002e/admin",
        "/x/%ef%bc%8e%ef%bc%8e/admin",
        "/%ef%bc%8fadmin",
        "/x%e0%80%af",
        "/%ff",
        "/%80",
        "/%ed%a0%80",
        "/%zz",
        "/%",
        "/%2",
        "/x%u2215admin",
        "/%f4%90%80%80",
        "/%E2%88%95admin",
    ],
)
def test_odd_utf8_is_refused_or_passed_as_bytes(front, case):
    never_admin(front.send(f"GET {case} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()), case)


@table(31, [b"/\xff", b"/caf\xc3\xa9", b"/x\xc0\xaf..", b"/\xe2\x80\x8badmin/a"])
def test_raw_bytes_beyond_ascii_are_refused(front, case):
    refused(
        front.send(b"GET " + case + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", after=True),
        closed=False,
        may_close_silently=True,
    )


@table(
    32,
    {
        "absolute": ("http://localhost/admin/a", "localhost", 401),
        "absolute-upper": ("HTTP://LOCALHOST/admin/a", "localhost", 401),
        "other-host": ("http://other.example/x", "localhost", 400),
        "userinfo": ("http://a:b@localhost/x", "localhost", 400),
        "userinfo-host": ("http://localhost@evil.example/x", "localhost", 400),
        "double-slash": ("//localhost/admin/a", "localhost", 400),
        "no-slash": ("admin/a", "localhost", 400),
        "star": ("*", "localhost", 400),
        "dots": ("http://localhost/x/../admin/a", "localhost", 400),
        "other-port": ("http://localhost:81/x", "localhost:82", 400),
        "query": ("?a=b", "localhost", 400),
        "no-host": ("http:///x", "localhost", 400),
        "opaque": ("http:x", "localhost", 400),
        "scheme": ("ftp://localhost/x", "localhost", 400),
        "empty-path-dots": ("http://localhost/..", "localhost", 400),
        "secret-host": ("http://secret.example.com/x", "localhost", 400),
        "encoded-host": ("http://secret%2eexample.com/x", "localhost", 400),
        "both-secret": ("http://secret.example.com/x", "secret.example.com", 401),
        "javascript": ("javascript:alert(1)", "localhost", 400),
    },
)
def test_other_forms_of_the_target_obey_the_same_rules(front, case):
    target, host, status = case
    refused(front.request(target=target, headers=[f"Host: {host}"]), status, closed=False)


def test_32_an_absolute_target_is_forwarded_as_a_path_with_its_own_host(front):
    (request,) = front.request(target="http://localhost/x?y", headers=["Host: localhost"]).arrived
    assert request.target in ("/x?y", "http://localhost/x?y") and request.one("host") == "localhost"


@pairs(
    33,
    {
        "/admin": 401,
        "/admin/": 401,
        "/admin?x": 401,
        "/administrator": 200,
        "/admin.php": 200,
        "/admin-x/a": 200,
        "/filesystem": 200,
        "/files": 200,
        "/filesx/y": 200,
    },
)
def test_a_prefix_ends_at_a_segment(front, path, wanted):
    outcome = front.request(target=path)
    assert outcome.status == wanted, outcome
    assert [r.target for r in outcome.arrived] == ([] if wanted == 401 else ["/" if path == "/files" else path])


@pairs(
    34,
    {
        "/admin/a?x=/open": 401,
        "/x?/admin/a": 200,
        "/?/../admin": 200,
        "/x?a=%2e%2e/admin": 200,
        "/admin?": 401,
        "/x?a=b?c//d;e\\f": 200,
    },
)
def test_the_query_takes_no_part_in_matching(front, path, wanted):
    outcome = front.request(target=path)
    if "\\" in path and outcome.status == 400:
        return
    assert outcome.status == wanted, outcome
    assert [r.target for r in outcome.arrived] == ([] if wanted == 401 else [path])


@table(
    36,
    [
        "secret.example.com",
        "SECRET.EXAMPLE.COM",
        "Secret.Example.Com",
        "secret.example.com.",
        "secret.example.com:80",
        "SECRET.example.com:8080",
        "a.inner.example.com",
        "A.INNER.EXAMPLE.COM",
        "a.b.inner.example.com",
        "secret.example.com.:80",
    ],
)
def test_hosts_are_compared_without_case_port_or_last_dot(front, case):
    refused(front.request(target="/x", headers=[f"Host: {case}"]), 400, 401, closed=False)


@table(36, {"/Admin/a": "/Admin/a", "/ADMIN": "/ADMIN", "/x%2a": "/x%2a", "/x%2A": "/x%2A", "/%C3%a9": "/%C3%a9"})
def test_paths_keep_their_case(front, case):
    (request,) = front.request(target=case).arrived
    assert request.target == case


@pairs(
    37,
    {
        "/files/admin/a": "/admin/a",
        "/files/": "/",
        "/files": "/",
        "/files?a": "/?a",
        "/added/x": "/inner/x",
        "/added": "/inner",
        "/files/%61": "/%61",
    },
)
def test_a_rewritten_path_is_still_one_clean_path(front, path, wanted):
    outcome = front.request(target=path)
    if outcome.arrived:
        assert outcome.arrived[0].target in (wanted, "/inner/" if wanted == "/inner" else wanted), outcome
    else:
        refused(outcome, 400, 401, closed=False)


@table(
    37,
    [
        "/files..%2fadmin",
        "/files/..%2fadmin/a",
        "/files%2f/admin",
        "/files/;/admin",
        "/files/.%2e/admin",
        "/files//",
        "/files/%2e",
        "/fil%65s/../admin",
        "/added/../admin",
        "/added//admin",
    ],
)
def test_rewriting_opens_no_way_around(front, case):
    never_admin(front.request(target=case), case)
    assert front.request(target=case).status in (400, 404)


@table(37, ["/fil%65s/a", "/%66iles/admin/a"])
def test_an_encoded_prefix_is_stripped_or_refused(front, case):
    outcome = front.request(target=case)
    for request in outcome.arrived:
        assert request.target in ("/a", "/admin/a"), outcome


BAD_HOSTS = {
    "missing": [],
    "empty": ["Host:"],
    "twice": ["Host: localhost", "Host: localhost"],
    "two": ["Host: localhost", "Host: evil.example"],
    "list": ["Host: localhost, evil.example"],
    "userinfo": ["Host: a@localhost"],
    "path": ["Host: localhost/x"],
    "blank": ["Host: local host"],
    "tab": ["Host: local\thost"],
    "port-junk": ["Host: localhost:80x"],
    "port-minus": ["Host: localhost:-1"],
    "port-huge": ["Host: localhost:65536"],
    "two-ports": ["Host: localhost:80:81"],
    "port-blank": ["Host: localhost: 80"],
    "backslash": ["Host: localhost\\evil"],
    "nul": ["Host: localhost\x00.evil"],
    "hash": ["Host: localhost#"],
    "query": ["Host: localhost?x"],
    "percent": ["Host: localhost%2eevil"],
    "quote": ['Host: "localhost"'],
    "comma": ["Host: localhost,"],
    "semicolon": ["Host: localhost;x"],
    "bracket": ["Host: [::1"],
    "bracket-junk": ["Host: [::1]x"],
    "bracket-name": ["Host: [localhost]"],
    "angle": ["Host: <script>"],
    "dots": ["Host: .."],
    "dot": ["Host: ."],
    "empty-label": ["Host: a..b"],
    "only-port": ["Host: :80"],
    "latin": [b"Host: caf\xe9"],
    "alias-twice": ["Host: localhost", "Host : evil.example"],
    "fold": ["Host: localhost", " evil.example"],
    "plus-port": ["Host: localhost:+80"],
    "zone": ["Host: [fe80::1%25eth0]"],
    "dollar": ["Host: $(id)"],
    "url": ["Host: http://localhost"],
    "long": ["Host: " + "a" * 300 + ".example"],
}


@table(38, BAD_HOSTS)
def test_a_bad_host_is_refused(front, case):
    lines = [line if isinstance(line, bytes) else line.encode("latin-1") for line in case]
    data = b"GET /x HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    refused(front.send(data, after=True), 400, 421, closed=False, may_close_silently=True)


@table(38, ["X-Host", "X_Host", "HOST_", "Host_"])
def test_another_header_is_not_the_host(front, case):
    (request,) = front.request(target="/x", headers=["Host: localhost", f"{case}: evil.example"]).arrived
    assert request.one("host") == "localhost" and request.one("x-forwarded-host") == "localhost"


@table(38, ["1.0", "1.1"])
def test_a_request_without_a_host_is_refused_in_every_version(front, case):
    refused(front.send(f"GET /x HTTP/{case}\r\n\r\n".encode()), 400, 505, closed=False)


@table(
    39, ["other.example", "localhost.evil.example", "evil.localhost", "127.0.0.2", "[::2]", "xn--localhost", "localhos"]
)
def test_a_host_that_the_certificate_does_not_cover_is_misdirected(front, case):
    outcome = refused(front.request(target="/x", headers=[f"Host: {case}"], door="https"), 421, closed=False)
    assert outcome.final[0].code == "misdirected"
    since = front.watch()
    with H2(front.gate) as client:
        answer = client.request("/x", authority=case)
    assert answer.status == 421, answer
    assert since()[0] == []


@table(
    40,
    [
        "//evil.example/x",
        "/\\evil.example",
        "http://evil.example/",
        "/%0d%0aLocation:%20http://evil.example",
        "/x\r\nLocation: http://evil.example/",
        "@evil.example/",
        "https:evil.example",
        "/%5cevil.example",
        "/.evil.example/%2f..",
    ],
)
def test_the_redirect_to_https_stays_on_its_own_host(front, case):
    with RawClient(front.gate.ports["http"]) as client:
        outcome = talk(client, f"GET {case} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    for answer in outcome.answers:
        for place in answer.all("location"):
            assert re.match(rf"https://localhost:{front.gate.ports['https']}/", place), place


@table(40, ["evil.example", "evil.example:80", "localhost@evil.example", "evil.example\\", "a\tb", ""])
def test_the_redirect_to_https_believes_no_foreign_host(front, case):
    with RawClient(front.gate.ports["http"]) as client:
        outcome = talk(client, f"GET /x HTTP/1.1\r\nHost: {case}\r\nConnection: close\r\n\r\n".encode())
    for answer in outcome.answers:
        assert all("evil" not in place for place in answer.all("location")), outcome


@table(
    40,
    [
        "/page//evil.example",
        "/page/?next=//evil.example",
        "/page/x?a=b&next=http://evil.example",
        "/page/\\evil",
        "/page/@evil.example",
        "/page/%0d%0aSet-Cookie:a=b",
        "/page/x%22%3E",
    ],
)
def test_the_redirect_to_the_login_stays_here(front, case):
    headers = ["Sec-Fetch-Mode: navigate", "Accept: text/html", "X-Forwarded-Host: evil.example"]
    outcome = front.request(target=case, headers=headers)
    assert outcome.arrived == []
    (answer,) = outcome.final
    assert answer.status in (302, 303, 307, 400), outcome
    for place in answer.all("location"):
        assert place.startswith("/login/?next="), place
        assert not re.search(r"[&\s\"<>\\]|//", place.split("next=")[1]), place
        assert unquote_to_bytes(place.split("next=")[1]).decode() == case


def test_40_a_signed_in_admin_is_let_through(front):
    (request,) = front.request(target="/admin/a", headers=[bearer(token(roles=["admin"]))]).arrived
    assert request.target == "/admin/a"
