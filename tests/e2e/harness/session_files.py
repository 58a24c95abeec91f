"""gateway.toml for the apps with a login page, and what the gateway's environment then holds."""

SESSION_COOKIES = {"django": "sessionid", "flask": "session"}

# Routes that every one of these gateways has: the app's own pages are public, its API is not.
ROUTES = """
[upstream.app]
servers = [{servers}]

[[route]]
path = "/api/orders/{*rest}"
upstream = "app"
auth = [{auth}]

[[route]]
path = "/api/tickets/{*rest}"
upstream = "app"
auth = [{auth}]

[[route]]
path = "/api/supervisor/"
upstream = "app"
auth = [{auth}]
roles = ["supervisor"]

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""

DIRECTORY = """
[directory.users]
type = "django"
database = { env = "DATABASE_URL" }
user_table = "{user_table}"
roles = [{roles}]
"""

TOKEN = """
[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "SECRET_KEY" }
directory = "users"
"""

BACKENDS = {
    "db": 'database = { env = "DATABASE_URL" }',
    "cached_db": 'database = { env = "DATABASE_URL" }\nredis = { env = "REDIS_URL" }',
    "cache": 'redis = { env = "REDIS_URL" }',
    "file": "",
    "signed_cookies": "",
}


def environment(*apps, secret=None):
    """What the gateway is given by its environment: the reader's database URL, never the app's own."""
    app = apps[0]
    return {
        "SECRET_KEY": secret or app.secret,
        "DATABASE_URL": app.database.reader_url,
        **({"REDIS_URL": app.redis_url} if app.redis_url else {}),
    }


def fill(toml, **places):
    """Puts values into places of the text; the harness's own (`{https}` and the like) stay."""
    for name, value in places.items():
        toml = toml.replace("{" + name + "}", value)
    return toml


def quoted(names):
    """Names as the inside of a TOML list."""
    return ", ".join(f'"{name}"' for name in names)


def django_file(app, cache=None, auth=("token", "session"), more="", secret='{ env = "SECRET_KEY" }', keys=""):
    """Sessions of the app's backend, its SimpleJWT tokens, and its user table for both."""
    session = "\n".join(
        [
            "[auth.session]",
            'type = "django-session"',
            f"secret = {secret}",
            f'backend = "{app.engine}"',
            BACKENDS[app.engine],
            f'path = "{app.settings["SESSION_FILES"]}"' if app.engine == "file" else "",
            'directory = "users"',
            f'cache = "{cache}"' if cache else "",
            keys,
        ]
    )
    roles = "column:role" if app.users == "custom" else "groups"
    directory = fill(DIRECTORY, user_table=app.user_table, roles=quoted([roles]))
    routes = fill(ROUTES, servers=quoted([app.upstream]), auth=quoted(auth))
    return "\n".join([session, TOKEN, directory, routes, more])


def flask_file(*apps, cache=None, auth=("session",), more="", keys="", directory=False):
    """Sessions of the app's store (or its cookie), with roles from the session or, with `directory`, from its table."""
    app = apps[0]
    if app.sessions == "cookie":
        kind, store = "flask-cookie", 'secret = { env = "SECRET_KEY" }'
    else:
        source = "REDIS_URL" if app.sessions == "redis" else "DATABASE_URL"
        kind, store = "flask-session", f'store = {{ env = "{source}" }}'
    if app.sessions == "filesystem":
        store = f'store = "file:{app.settings["SESSION_FILES"]}"'
    roles = 'identity = { roles = ["role"], email = "email" }'
    session = "\n".join(
        [
            "[auth.session]",
            f'type = "{kind}"',
            store,
            'directory = "agents"' if directory else roles,
            f'cache = "{cache}"' if cache and kind == "flask-session" else "",
            keys,
        ]
    )
    parameter = "?" if app.database.url.startswith("mysql") else "$1"
    table = "\n".join(
        [
            "[directory.agents]",
            'type = "sql"',
            'database = { env = "DATABASE_URL" }',
            f'query = "select username, email, role as roles, active from agents where id = {parameter}"',
        ]
    )
    routes = fill(ROUTES, servers=quoted([one.upstream for one in apps]), auth=quoted(auth))
    return "\n".join([session, table if directory else "", routes, more])
