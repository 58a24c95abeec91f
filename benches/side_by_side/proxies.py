"""The three proxies, each configured for the same work as its own manual would have it done.

Portcullis and HAProxy check the token (signature, algorithm, expiry), check the role, clean and set the identity
headers. nginx checks nothing: it ends TLS, sets headers and forwards, and is the yardstick.
What may tip the balance is left to the peers: HAProxy has a port for each algorithm, so that it need not choose one
per request; the role is a single string, as 2.6 reads no lists; nginx makes no request id (it would cost it a tenth
more), and HAProxy sends none back.
"""

import os

from .host import LOAD_CORE, PROXY_CORE, Process, free_ports, tool

PREFIX = {"HS256": "/api", "RS256": "/rs", "ES256": "/es"}
ORIGIN = "https://app.example.com"
MANY_ROUTES = 10_000


def extra_routes(count):
    """The names of the routes beyond the usual five."""
    return [f"/s{n}" for n in range(count - 5)]


class Proxy:
    """A running proxy. `https` is the port for each algorithm."""

    name = ""
    checks = True  # looks at tokens at all
    cors = True  # answers preflights itself
    app = "upstream"  # which app of the setting it stands before

    def __init__(self, setting, upstream, routes=5):
        self.folder = setting.fresh_folder(self.name)
        self.keys = setting.keys
        self.upstream = upstream
        self.routes = routes
        ports = free_ports(4)
        self.https = dict(zip(PREFIX, ports))
        self.spare = ports[3]
        self.process = None
        argv = self.configure(setting)
        self.process = Process(self.name, argv, PROXY_CORE, os.path.join(self.folder, "output.log"))
        setting.started.callback(self.process.stop)
        for port in set(self.https.values()):
            self.process.wait_for_port(port)

    def write(self, name, text):
        """Writes one of the proxy's own files and returns its path."""
        path = os.path.join(self.folder, name)
        with open(path, "w") as out:
            out.write(text)
        return path

    def configure(self, setting):
        """Writes the configuration and returns the command line."""
        raise NotImplementedError

    def sees_role(self, role):
        """What the app gets to read as the caller's roles."""
        raise NotImplementedError


class Nginx(Proxy):
    """TLS, headers and forwarding; no check of any kind."""

    name = "nginx, no checks"
    checks = False
    cors = False

    def configure(self, setting):
        port = self.https["HS256"]
        self.https = dict.fromkeys(PREFIX, port)
        paths = [f"{p}/" for p in PREFIX.values()] + ["/public/", "/health"]
        paths += [f"{p}/" for p in extra_routes(self.routes)]
        locations = "\n".join(f"    location ^~ {p} {{ proxy_pass http://app; }}" for p in paths)
        config = self.write("nginx.conf", NGINX.format(
            common=nginx_common(self.folder), upstream=self.upstream, port=port, keys=self.keys,
            locations=locations))
        return [tool("nginx"), "-p", self.folder, "-c", config]

    def sees_role(self, role):
        return "none"


def nginx_common(folder):
    """What the proxy and the app that nginx plays have in common."""
    user = "user root;" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temp = "\n".join(f"  {k}_temp_path {folder}/{k};" for k in kinds)
    head = NGINX_HEAD.format(user=user, folder=folder)
    return head + "http {\n" + temp + "\n" + NGINX_HTTP


NGINX_HEAD = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
"""

NGINX_HTTP = """\
  access_log off;
  server_tokens off;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
"""

NGINX = """\
{common}
  upstream app {{
    server 127.0.0.1:{upstream};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} ssl http2 backlog=4096;
    server_name localhost;
    ssl_certificate {keys.certificate};
    ssl_certificate_key {keys.certificate_key};
    ssl_protocols TLSv1.3;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto https;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Port $server_port;
    proxy_set_header X-Auth-User nobody;
    proxy_set_header X-Auth-Roles none;
{locations}
  }}
}}
"""


class HAProxy(Proxy):
    """Every check, in HAProxy's own rules."""

    name = "HAProxy"

    def configure(self, setting):
        pem = self.write("leaf.pem", read(self.keys.certificate) + read(self.keys.certificate_key))
        needs = [(f"{p}/", "staff") for p in PREFIX.values()]
        needs += [("/public/", "public"), ("/health", "public")]
        needs += [(f"{p}/", "staff") for p in extra_routes(self.routes)]
        routes = self.write("routes.map", "".join(f"{p} {need}\n" for p, need in needs))
        key = {"HS256": self.keys.secret, **self.keys.public}
        parts = [HAPROXY_HEAD]
        for algorithm, port in self.https.items():
            parts.append(HAPROXY_DOOR.format(
                algorithm=algorithm, port=port, pem=pem, routes=routes, origin=ORIGIN,
                key=key[algorithm], upstream=self.upstream,
                missing=refusal(401, "credentials_missing", "Bearer"),
                invalid=refusal(401, "token_signature", 'Bearer error=\\"invalid_token\\"'),
                expired=refusal(401, "token_expired", 'Bearer error=\\"invalid_token\\"'),
                forbidden=refusal(403, "role_missing", None)))
        parts.append(HAPROXY_PUBLIC.format(upstream=self.upstream))
        config = self.write("haproxy.cfg", "".join(parts))
        return [tool("haproxy"), "-db", "-q", "-f", config]

    def sees_role(self, role):
        return role


def read(path):
    """A whole text file."""
    with open(path) as text:
        return text.read()


def refusal(status, code, challenge):
    """An answer made by HAProxy, as telling as the gateway's own."""
    body = (f'{{"type":"about:blank","title":"Refused","status":{status},"code":"{code}",'
            f'"detail":"The request was refused: {code}."}}')
    extra = f' hdr WWW-Authenticate "{challenge}"' if challenge else ""
    return (f"http-request return status {status} content-type application/problem+json "
            f"string '{body}' hdr Cache-Control no-store{extra}")


HAPROXY_HEAD = """\
global
  nbthread 1
  maxconn 8000
  ssl-default-bind-options ssl-min-ver TLSv1.3

defaults
  mode http
  timeout connect 2s
  timeout client 75s
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 75s
  http-reuse always
  option http-restrict-req-hdr-names delete
"""

# `jwt_verify` answers 1 for good, 0 and negative numbers for all else. The algorithm and the key are
# fixed here, never taken from the token.
HAPROXY_DOOR = """
frontend door_{algorithm}
  bind 127.0.0.1:{port} ssl crt {pem} alpn h2,http/1.1 backlog 4096
  http-request set-var(txn.need) path,map_beg({routes},none)
  http-request return status 404 if {{ var(txn.need) -m str none }}
  http-request return status 204 hdr Access-Control-Allow-Origin "%[req.hdr(origin)]" hdr Access-Control-Allow-Methods "GET, POST, PUT, DELETE" hdr Access-Control-Allow-Headers "authorization, content-type" hdr Access-Control-Allow-Credentials true hdr Access-Control-Max-Age 7200 hdr Vary Origin if METH_OPTIONS {{ req.hdr(origin) -m str {origin} }} {{ req.hdr(access-control-request-method) -m found }}
  http-request del-header x-auth- -m beg
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Request-Id %[uuid()]
  use_backend public if {{ var(txn.need) -m str public }}
  default_backend checked_{algorithm}

backend checked_{algorithm}
  http-request set-var(txn.bearer) http_auth_bearer
  {missing} unless {{ var(txn.bearer) -m found }}
  {invalid} if {{ req.fhdr_cnt(authorization) gt 1 }}
  {invalid} unless {{ var(txn.bearer),jwt_header_query('$.alg') -m str {algorithm} }}
  {invalid} unless {{ var(txn.bearer),jwt_verify({algorithm},"{key}") -m int 1 }}
  http-request set-var(txn.expires) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  {expired} unless {{ var(txn.expires) -m found }}
  {expired} unless {{ var(txn.expires),sub(txn.now) -m int gt 0 }}
  http-request set-var(txn.role) var(txn.bearer),jwt_payload_query('$.role')
  {forbidden} unless {{ var(txn.role) -m str staff }}
  http-request set-header X-Auth-User %[var(txn.bearer),jwt_payload_query('$.sub')]
  http-request set-header X-Auth-Roles %[var(txn.role)]
  server app 127.0.0.1:{upstream}
"""

HAPROXY_PUBLIC = """
backend public
  server app 127.0.0.1:{upstream}
"""


class Portcullis(Proxy):
    """Every check, by the same gateway.toml that an operator would write."""

    name = "Portcullis"
    access_log = False

    def configure(self, setting):
        port = self.https["HS256"]
        self.https = dict.fromkeys(PREFIX, port)
        keys = self.keys
        parts = [PORTCULLIS_HEAD.format(
            port=port, admin=self.spare, access=str(self.access_log).lower(), keys=keys,
            upstream=self.upstream, origin=ORIGIN)]
        for algorithm, path in keys.public.items():
            parts.append(PORTCULLIS_KEY.format(name=algorithm.lower(), algorithm=algorithm, path=path))
        owners = [(prefix, algorithm.lower()) for algorithm, prefix in PREFIX.items()]
        owners += [(prefix, "hs256") for prefix in extra_routes(self.routes)]
        parts += [PORTCULLIS_ROUTE.format(prefix=p, auth=a) for p, a in owners]
        parts.append(PORTCULLIS_PUBLIC)
        config = self.write("gateway.toml", "".join(parts))
        return [setting.binary, "run", "--config", config]

    def sees_role(self, role):
        return role


class PortcullisLogging(Portcullis):
    """The same, writing a line for every request to a file."""

    name = "Portcullis, access log"
    access_log = True


PORTCULLIS_HEAD = """\
[server]
https = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
workers = 1

[tls]
min_version = "1.3"

[[tls.certificate]]
cert = "{keys.certificate}"
key = "{keys.certificate_key}"

[log]
access = {access}

[upstream.app]
servers = ["http://127.0.0.1:{upstream}"]

[cors.web]
origins = ["{origin}"]
credentials = true

[auth.hs256]
type = "jwt"
algorithms = ["HS256"]
secret = {{ file = "{keys.secret_file}" }}
identity = {{ user = "sub", roles = ["role"] }}
"""

PORTCULLIS_KEY = """
[auth.{name}]
type = "jwt"
algorithms = ["{algorithm}"]
public_key = "{path}"
identity = {{ user = "sub", roles = ["role"] }}
"""

PORTCULLIS_ROUTE = """
[[route]]
path = "{prefix}/{{*rest}}"
upstream = "app"
auth = ["{auth}"]
roles = ["staff"]
cors = "web"
"""

PORTCULLIS_PUBLIC = """
[[route]]
path = "/public/{*rest}"
upstream = "app"
auth = "public"

[[route]]
path = "/health"
upstream = "app"
auth = "public"
"""


UPSTREAM = """\
{common}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    default_type application/octet-stream;
    location / {{ return 200 "{body}"; }}
  }}
}}
"""


def start_upstream(setting):
    """The app: nginx on the load's core, answering every request with the same 1 KiB."""
    folder = setting.fresh_folder("upstream")
    (port,) = free_ports(1)
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as out:
        out.write(UPSTREAM.format(common=nginx_common(folder), port=port, body="0123456789abcdef" * 64))
    process = Process("upstream", [tool("nginx"), "-p", folder, "-c", path], LOAD_CORE,
                      os.path.join(folder, "output.log"))
    setting.started.callback(process.stop)
    process.wait_for_port(port)
    return port
