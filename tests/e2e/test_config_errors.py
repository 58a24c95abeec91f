"""A file with mistakes: all of them at once, each with its place, what was found, what is allowed, the nearest name."""

import re

import pytest

from harness.certs import Authority
from harness.gateway import run_binary

BASE = """
[server]
https = "127.0.0.1:18443"
admin = "127.0.0.1:19090"
[tls]
development = true
[upstream.app]
servers = ["http://127.0.0.1:8000"]
[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
[cors.web]
origins = ["https://page.example.com"]
credentials = true
"""
ROUTE = """
[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""


def check(tmp_path, toml):
    file = tmp_path / "gateway.toml"
    file.write_text(toml)
    return run_binary("check", "--config", file, cwd=tmp_path)


def line_of(toml, text):
    return toml[: toml.index(text)].count("\n") + 1


def test_many_mistakes_are_told_at_once_with_line_and_column(tmp_path):
    toml = """[server]
https = "127.0.0.1:18443"
admin = "127.0.0.1:19090"
workrs = 4

[server.timeouts]
drain = "thirty seconds"

[tls]
development = "yes"

[upstream.app]
servers = ["http://127.0.0.1:8000"]

[cors.web]
origins = ["*"]
credentials = true

[[route]]
path = "api"
upstream = "app"
auth = "public"

[[route]]
path = "/x"
upstream = "ap"
auth = ["tokn"]

[[route]]
path = "/y"
upstream = "app"
"""
    result = check(tmp_path, toml)
    assert result.code == 1, result
    for mistake in (
        "workrs",
        'drain = "thirty',
        'development = "yes"',
        'origins = ["*"]',
        'path = "api"',
        'upstream = "ap"',
        '["tokn"]',
    ):
        line = line_of(toml, mistake)
        assert re.search(rf"gateway\.toml:{line}:\d+", result.text), (mistake, line, result)
    assert "workers" in result.text, "the nearest key"
    assert re.search(r"route\[?.?1?.*upstream", result.text) and '"app"' in result.text or "app" in result.text
    assert "thirty seconds" in result.text, "what was found"
    assert "auth" in result.text and re.search(r"gateway\.toml:(28|29|30|31):", result.text), (
        "a route without auth is an error"
    )


@pytest.mark.parametrize(
    "extra,words",
    [
        ('[[route]]\npath = "/a/{*rest}"\nupstream = "app"\nauth = "public"\n[[route]]\npath = "/a/{*other}"\nupstream = "app"\nauth = "public"\n', ["/a/"]),
        ('[[route]]\npath = "/a/../b"\nupstream = "app"\nauth = "public"\n', [".."]),
        ('[[route]]\npath = "/a"\nauth = "public"\n', ["upstream", "respond"]),
        ('[[route]]\npath = "/a"\nupstream = "app"\nauth = "public"\nroles = ["x"]\n', ["roles", "public"]),
        ('[[route]]\npath = "/a"\nupstream = "app"\nauth = "public"\ncors = "wbe"\n', ["wbe", "web"]),
        ('[upstream.bad]\nservers = ["ftp://x"]\n', ["ftp", "http"]),
        ('[upstream.bad]\nservers = []\n', ["servers"]),
        ('[upstream.bad]\nservers = ["http://x"]\ntimeouts = { connect = "-1s" }\n', ["-1s"]),
        ('[auth.weak]\ntype = "jwt"\nalgorithms = ["HS256"]\nsecret = "short"\n', ["secret"]),
        ('[auth.none]\ntype = "jwt"\nalgorithms = ["none"]\nsecret = "0123456789abcdef0123456789abcdef"\n', ["none", "HS256"]),
        ('[auth.misfit]\ntype = "jwt"\nalgorithms = ["RS256"]\nsecret = "0123456789abcdef0123456789abcdef"\n', ["RS256"]),
        ('[auth.keyless]\ntype = "jwt"\nalgorithms = ["RS256"]\n', ["public_key", "jwks"]),
        ('[auth.gone]\ntype = "jwt"\nalgorithms = ["RS256"]\npublic_key = "missing.pem"\n', ["missing.pem"]),
        ('[auth.unset]\ntype = "jwt"\npreset = "simplejwt"\nsecret = { env = "NOT_SET_ANYWHERE" }\n', ["NOT_SET_ANYWHERE"]),
        ('[auth.kind]\ntype = "jtw"\n', ["jtw", "jwt"]),
        ('[cors.nul]\norigins = ["null"]\n', ["null"]),
        ('[cors.path]\norigins = ["https://a.example/path"]\n', ["https://a.example/path"]),
        ('[identity]\nuser = "X-Auth\\r\\nUser"\n', ["user"]),
        ('[rate_limit.login]\nlimit = "10/m"\nshared = true\n', ["rate_limit.login.shared", "which other gateways do not see", "shared = false"]),
        ('[rate_limit.login]\nlimit = "0/s"\n', ["0", "1 to 1000000"]),
        ('[rate_limit.login]\nlimit = "10/m"\n[[route]]\npath = "/a"\nupstream = "app"\nauth = "public"\nrate_limit = "logn"\n', ["rate_limit.logn", "did you mean login"]),
        ('[session]\nstore = "mongodb://x"\n[token_handler.a]\n', ["session.store", "token_handler.a.login"]),
        ('[tracing]\nsample = 1.5\n', ["tracing.sample", "0 to 1", "tracing.otlp", "required"]),
        ('[auth.provider]\ntype = "oidc"\n', ["auth.provider.issuer", "auth.provider.client_id", "auth.provider.client_secret"]),
        ('[auth.mine]\ntype = "gateway-session"\n', ["auth.mine.token_handler"]),
        ('[auth.half]\ntype = "django-session"\nsecret = "x"\n', ["auth.half.database", "auth.half.directory"]),
        ('[directory.kind]\ntype = "djago"\n', ["djago", "django"]),
        ('[directory.where]\ntype = "django"\ndatabase = "postgers://u:p@h/db"\n', ["did you mean postgres"]),
        ('[upstream.cookies]\nservers = ["http://x"]\ncookies = { samesite = "lax" }\n', ["same_site"]),
        ('[tls.acme]\ndomains = ["*.x.example"]\n', ["tls.acme.domains[0]", "neither challenge can prove"]),
        ('[tls.acme]\ndomains = ["x.example"]\ndirectory = "http://ca"\n', ["tls.acme.directory", "https address"]),
        ('[upstream.well]\nservers = ["http://x"]\nhealth = { path = "health" }\n', ["well.health.path", "begins with /"]),
        ('[upstream.well]\nservers = ["http://x"]\nhealth = { every = "5s" }\n', ["well.health.path", "is required"]),
        ('[upstream.well]\nservers = ["http://x"]\neject = { failures = 0 }\n', ["well.eject.failures", "1 to 1000"]),
    ],
)  # fmt: skip
def test_each_mistake_says_what_is_wrong_where_and_what_to_do(tmp_path, extra, words):
    toml = BASE + ROUTE + extra
    result = check(tmp_path, toml)
    assert result.code == 1, result
    for word in words:
        assert word in result.text, (word, result)
    # Warnings, of which some are about the base, name their places too.
    errors = "\n".join(line for line in result.text.splitlines() if not line.startswith("warning"))
    places = [int(line) for line in re.findall(r"gateway\.toml:(\d+):\d+", errors)]
    first = (BASE + ROUTE).count("\n") + 1
    assert places and all(first <= line <= toml.count("\n") + 1 for line in places), result
    assert "panicked" not in result.text


def test_a_file_that_is_no_toml_and_a_file_that_is_not_there(tmp_path):
    broken = check(tmp_path, "[server\nhttps = ")
    assert broken.code == 1 and re.search(r"gateway\.toml:1:\d+", broken.text)
    gone = run_binary("check", "--config", tmp_path / "nowhere.toml", cwd=tmp_path)
    assert gone.code == 1 and "nowhere.toml" in gone.text
    binary = tmp_path / "gateway.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert run_binary("check", "--config", binary, cwd=tmp_path).code == 1


def test_run_with_a_broken_file_exits_with_1_and_says_the_same(tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text(BASE + ROUTE + '[[route]]\npath = "/x"\nupstream = "ap"\nauth = "public"\n')
    result = run_binary("run", "--config", file, cwd=tmp_path)
    assert result.code == 1 and '"ap"' in result.text and re.search(r"gateway\.toml:\d+:\d+", result.text)


def test_an_admin_address_that_is_not_loopback_needs_a_token(tmp_path):
    result = check(tmp_path, BASE.replace("127.0.0.1:19090", "0.0.0.0:19090") + ROUTE)
    assert result.code == 1 and "token" in result.text


def test_a_certificate_that_does_not_fit_its_key_is_refused_at_the_start(tmp_path):
    authority = Authority()
    authority.issue_files(tmp_path, "one", common_name="one", names=["one.example.com"])
    authority.issue_files(tmp_path, "two", common_name="two", names=["two.example.com"])
    toml = (
        BASE.replace("[tls]\ndevelopment = true\n", "")
        + ROUTE
        + '[[tls.certificate]]\ncert = "one.pem"\nkey = "two.key"\n'
    )
    result = check(tmp_path, toml)
    assert result.code == 1 and "two.key" in result.text
    missing = check(tmp_path, toml.replace("two.key", "three.key"))
    assert missing.code == 1 and "three.key" in missing.text
