"""A gateway and a strict recording upstream for each module of the catalogue."""

import pytest

from security.wire import Front, StrictUpstream

SERVER = """
[server]
https = "127.0.0.1:{https}"
http = "127.0.0.1:{http}"
plain = "127.0.0.1:{plain}"
admin = "127.0.0.1:{admin}"
EXTRA

[server.timeouts]
tls_handshake = "2s"
request_headers = "2s"
request_body = "3s"
response_body = "3s"
keep_alive = "4s"
drain = "3s"

[server.limits]
body = "1MiB"

[tls]
development = true
"""

ROUTES = """
[upstream.app]
servers = ["{app}"]
timeouts = { connect = "1s", response = "3s" }
retries = 0

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "DJANGO_SECRET_KEY" }
identity = { user = "user_id", roles = ["roles"], email = "email", name = "name" }

[identity]
claims = { "X-Auth-City" = "city" }

[[route]]
path = "/open/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/maybe/{*rest}"
upstream = "app"
auth = { optional = ["token"] }

[[route]]
path = "/me/{*rest}"
upstream = "app"
auth = ["token"]

[[route]]
path = "/admin/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["admin"]

[[route]]
path = "/exact"
upstream = "app"
auth = "public"

[[route]]
path = "/read/{*rest}"
methods = ["GET"]
upstream = "app"
auth = "public"
"""


@pytest.fixture(scope="module")
def start(module_gateway):
    """`start(routes, extra="", upstream=…) -> Front`: a gateway whose `{app}` is a strict upstream of its own."""
    upstreams = []

    def begin(routes=ROUTES, extra="", server=SERVER, upstream=None, **places):
        if upstream is None:
            upstream = StrictUpstream()
            upstreams.append(upstream)
        gate = module_gateway(server.replace("EXTRA", extra) + routes, app=upstream.url, **places)
        return Front(gate, upstream)

    yield begin
    for upstream in upstreams:
        upstream.close()


@pytest.fixture(scope="module")
def front(start):
    """The gateway most modules share: public, optional, signed-in, admin, exact and read-only routes."""
    return start()
