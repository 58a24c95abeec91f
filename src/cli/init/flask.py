# The part for Flask: 2.3 and later.
import hashlib

import flask
import flask.cli


def app_of(place):
    """The app that `module:app` or `module:create_app()` names, as Flask's own command line finds it."""
    sys.path[:] = [os.getcwd()] + [one for one in sys.path if one not in ("", os.getcwd())]
    try:
        flask.cli.load_dotenv()
    except Exception:
        pass
    return flask.cli.ScriptInfo(app_import_path=place, set_debug_flag=False).load_app()


# ---- sessions ----


def redis_location(client):
    """Where a Redis client connects to, and which variable holds that address."""
    pool = getattr(client, "connection_pool", None)
    held = getattr(pool, "connection_kwargs", None)
    if held is None:
        return None
    secure = "SSL" in getattr(getattr(pool, "connection_class", None), "__name__", "")
    number, hidden = int(held.get("db") or 0), bool(held.get("password"))
    who = "%s:PASSWORD@" % (text(held.get("username")) or "") if hidden else ""
    if held.get("path"):
        password = "&pass=PASSWORD" if hidden else ""
        return {"env": None, "shown": "redis+unix://%s?db=%d%s" % (held["path"], number, password), "hidden": hidden}
    host, port = text(held.get("host")) or "localhost", int(held.get("port") or 6379)
    shown = "%s://%s%s:%d/%d" % ("rediss" if secure else "redis", who, host, port, number)
    for name in sorted(os.environ):
        try:
            parts = urlsplit(os.environ[name])
            same = (parts.hostname, parts.port or 6379, int(parts.path.strip("/") or 0)) == (host.lower(), port, number)
        except ValueError:
            continue
        if same and parts.scheme == ("rediss" if secure else "redis"):
            return {"env": name, "shown": shown, "hidden": hidden}
    return {"env": None, "shown": shown, "hidden": hidden}


def table_location(app, interface):
    """Where the table of sessions is."""
    bind = app.config.get("SESSION_SQLALCHEMY_BIND_KEY") or None
    database = app.config.get("SESSION_SQLALCHEMY") or getattr(interface, "client", None) or getattr(interface, "db", None)
    given = app.config.get("SQLALCHEMY_DATABASE_URI")
    if bind:
        given = (app.config.get("SQLALCHEMY_BINDS") or {}).get(bind)
        given = given.get("url") if isinstance(given, dict) else given
    try:
        with app.app_context():
            url = database.engines[bind].url
    except Exception:
        try:
            from sqlalchemy.engine import make_url

            url = make_url(given)
        except Exception:
            return None
    kinds = {"postgresql": "postgres", "postgres": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
    kind = kinds.get(url.drivername.split("+")[0])
    if kind is None:
        return None
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            return None
        path = quote(os.path.abspath(url.database), safe="/-._~!$&'()*+,=:@")
        return {"env": None, "shown": "sqlite:///" + path, "hidden": False}
    who = ""
    if url.username:
        who = "%s%s@" % (quote(text(url.username), safe=""), ":PASSWORD" if url.password else "")
    port = url.port or {"postgres": 5432, "mysql": 3306}[kind]
    shown = "%s://%s%s:%d/%s" % (kind, who, url.host or "localhost", port, quote(url.database or "", safe=""))
    return {"env": variable(given), "shown": shown, "hidden": bool(url.password)}


def files(interface):
    """The folder of cachelib, and the hash that names its files."""
    try:
        path = os.path.abspath(interface.cache._get_filename("x"))
    except Exception:
        return {}
    hashes = {hashlib.new(kind, b"x").hexdigest(): kind for kind in ("sha256", "md5")}
    folder, name = os.path.split(path)
    if name not in hashes:
        return {}
    return {"store": {"env": None, "shown": "file://" + folder, "hidden": False}, "file_names": hashes[name]}


def sessions(app):
    config, interface = app.config, app.session_interface
    name = full_name(type(interface))
    found = {
        "interface": name, "kind": None, "why_not": None, "cookie": text(config.get("SESSION_COOKIE_NAME")) or "session",
        "lifetime": seconds(app.permanent_session_lifetime), "store": None, "table": None,
        "key_prefix": text(getattr(interface, "key_prefix", config.get("SESSION_KEY_PREFIX", "session:"))),
        "signer": bool(getattr(interface, "use_signer", config.get("SESSION_USE_SIGNER", False))),
    }  # fmt: skip
    if isinstance(interface, flask.sessions.SecureCookieSessionInterface):
        found["kind"] = "cookie"
        plain = flask.sessions.SecureCookieSessionInterface
        own = ("salt", "key_derivation", "open_session", "get_signing_serializer")
        digest = getattr(interface.digest_method, "__wrapped__", interface.digest_method)
        usual = getattr(plain.digest_method, "__wrapped__", plain.digest_method)
        if overrides(type(interface), plain, *own) or digest is not usual or interface.serializer is not plain.serializer:
            found["why_not"] = "the app signs its session cookie in a way of its own (%s)" % name
    elif name.startswith("flask_session."):
        client = getattr(interface, "client", None) or getattr(interface, "redis", None)
        if "Redis" in name:
            found.update(kind="redis", store=redis_location(client))
        elif "SqlAlchemy" in name or "SQLAlchemy" in name:
            table = text(config.get("SESSION_SQLALCHEMY_TABLE")) or "sessions"
            schema = text(config.get("SESSION_SQLALCHEMY_SCHEMA"))
            found.update(kind="table", store=table_location(app, interface), table="%s.%s" % (schema, table) if schema else table)
        elif "FileSystem" in name:
            found.update(kind="files", **files(interface))
        else:
            found["why_not"] = "SESSION_TYPE is %s, and only redis, sqlalchemy and filesystem can be read" % text(config.get("SESSION_TYPE"))
        if found["kind"] and found["store"] is None:
            found["why_not"] = "the address of the sessions' store is not known"
    else:
        found["why_not"] = "the app keeps sessions in a way of its own (%s)" % name
    return found


# ---- tokens, cross-origin rules ----


def tokens(app):
    manager = app.extensions.get("flask-jwt-extended")
    if manager is None:
        return None
    from flask_jwt_extended.config import config
    from flask_jwt_extended.default_callbacks import default_decode_key_callback

    with app.test_request_context("/"):
        given = lambda name, default=None: getattr(config, name, default)  # noqa: E731
        algorithms = texts(given("decode_algorithms")) or texts(given("algorithm"))
        symmetric = all(name.startswith("HS") for name in algorithms)
        key, public, why_not = None, None, None
        try:
            key, public = (config.decode_key, False) if symmetric else (None, True)
        except Exception:
            why_not = "JWT_SECRET_KEY and SECRET_KEY are not set"
        if getattr(manager, "_decode_key_callback", None) is not default_decode_key_callback:
            why_not = "the app finds the key of a token by a decode_key_loader of its own"
        if not given("access_expires"):
            why_not = "JWT_ACCESS_TOKEN_EXPIRES is off, and the gateway takes no token without an end"
        form = bool(app.config.get("JWT_CSRF_CHECK_FORM"))
        return {
            "algorithms": algorithms, "same_key": text(key) == text(app.config.get("SECRET_KEY")), "secret": secret(key),
            "public": public, "locations": texts(given("token_location")), "header_name": text(given("header_name")),
            "header_type": text(given("header_type")), "cookie": text(given("access_cookie_name")),
            "query": text(given("query_string_name")), "query_prefix": text(given("query_string_value_prefix")) or "",
            "csrf": bool(given("cookie_csrf_protect")),
            "csrf_usual": not form and text(given("access_csrf_header_name")).lower() == "x-csrf-token"
            and sorted(texts(given("csrf_methods") or given("csrf_request_methods"))) == ["DELETE", "PATCH", "POST", "PUT"],
            "user_claim": text(given("identity_claim_key")), "audience": texts(given("decode_audience")),
            "issuer": texts(given("decode_issuer")), "leeway": seconds(given("leeway")) or 0, "why_not": why_not,
        }  # fmt: skip


def option(options, name):
    return options.get(name) if isinstance(options, dict) else getattr(options, name, None)


def pattern_of(value):
    """A pattern of Flask-CORS: `(text, whether it is a regular expression)`."""
    if hasattr(value, "pattern"):
        return text(value.pattern), True
    value = text(value)
    return value, any(sign in value for sign in "*\\]?$^[()")


def cors(app):
    """The rule of Flask-CORS for the whole app, where there is one, and the paths that it is for."""
    found = []
    for function in app.after_request_funcs.get(None, []):
        resources = free(function).get("resources")
        if of_library(function, "flask_cors/extension.py") and isinstance(resources, (list, tuple)):
            found.extend(resources)
    if not found:
        return None, [], 0
    path, options = found[0]
    origins = [pattern_of(one) for one in option(options, "origins") or []] or [(".*", True)]
    anyone = bool(option(options, "allow_all_origins")) or any(one in (".*", "*") for one, _regex in origins)
    exact = [one for one, regex in origins if not regex]
    headers = [pattern_of(one) for one in texts_or_patterns(option(options, "allow_headers"))]
    listed = lambda value: [one.strip() for one in (text(value) or "").split(",") if one.strip()]  # noqa: E731
    rule = {
        "any": anyone, "origins": exact, "origins_env": list_variable(exact),
        "regexes": [] if anyone else [one for one, regex in origins if regex],
        "credentials": bool(option(options, "supports_credentials")),
        "headers": [one.lower() for one, regex in headers if not regex],
        "any_header": not headers or any(regex for _one, regex in headers),
        "expose": [one.lower() for one in listed(option(options, "expose_headers"))],
        "methods": None, "max_age": seconds(option(options, "max_age")), "private_network": False,
    }  # fmt: skip
    methods = sorted(one.upper() for one in listed(option(options, "methods")))
    if methods and methods != ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]:
        rule["methods"] = methods
    return rule, [path for path, _options in found], len(found)


def texts_or_patterns(value):
    if value is None:
        return []
    return [value] if isinstance(value, str) or hasattr(value, "pattern") else list(value)


def takes(paths, path):
    for one in paths:
        pattern, _regex = pattern_of(one)
        try:
            if re.match(pattern, path):
                return True
        except re.error:
            continue
    return False


# ---- addresses ----

PART = re.compile(r"<(?:(?P<converter>[a-zA-Z_][a-zA-Z0-9_]*)(?:\([^)]*\))?:)?(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)>")
ONE_SEGMENT = ("default", "string", "int", "float", "uuid", "any", None)
LOGIN = re.compile(r"^(?:.*[-_.])?(?:log-?in|sign-?in|log-?out|sign-?out|register|sign-?up|refresh|token|forgot|reset)(?:[-_.].*)?$", re.I)


def path_of(rule):
    segments = []
    for part in rule.split("/"):
        found = list(PART.finditer(part))
        if not found:
            segments.append(literal(part) if part else "")
        elif any(one.group("converter") not in ONE_SEGMENT for one in found):
            return "/".join(segments + [starred(found[0].group("name"))])
        else:
            segments.append(braces(found[0].group("name")))
    return "/".join(segments)


def judge(function, endpoint):
    """The decorators of one view function."""
    for one in wrappers(function):
        if of_library(one, "flask_jwt_extended/view_decorators.py"):
            held = free(one)
            usual = held.get("locations") is None and held.get("verify_type", True)
            if held.get("refresh"):
                endpoint.update(kind="login", why="it takes a refresh token")
            elif not usual or "optional" not in held:
                endpoint.update(kind="api", why="the view looks for its token in a way of its own")
            else:
                level = "optional" if held["optional"] else "required"
                endpoint.update(kind="api", accepts=["token"], level=level, why="" if level == "required" else "the token is optional")
            return
        if of_library(one, "flask_login/utils.py"):
            endpoint.update(kind="page", why="the app's own login guards it")
            return


def judge_view(view, methods, endpoint):
    kind = next((getattr(one, "view_class", None) for one in wrappers(view) if getattr(one, "view_class", None)), None)
    judge(view, endpoint)
    if kind is None or endpoint["kind"] != "view":
        return
    looked = []
    for name in sorted(methods - {"OPTIONS", "HEAD"}):
        function = getattr(kind, name.lower(), None)
        one = dict(endpoint)
        if function is not None:
            judge(function, one)
        looked.append(one)
    order = {"public": 0, "optional": 1, "required": 2}
    if looked:
        endpoint.update(min(looked, key=lambda one: order[one["level"]]))


def looks():
    app = app_of(sys.argv[1])
    rule, cors_paths, cors_rules = cors(app)
    endpoints, truncated = [], False
    for one in app.url_map.iter_rules():
        if len(endpoints) >= MOST_ENDPOINTS:
            truncated = True
            break
        endpoint = {"path": path_of(one.rule), "level": "public", "accepts": [], "kind": "view", "view": text(one.endpoint), "why": "", "cors": False}
        try:
            view = app.view_functions.get(one.endpoint)
            if view is not None:
                judge_view(view, set(one.methods or ()), endpoint)
        except Exception as error:
            endpoint.update(level="public", why="its view could not be read (%s)" % type(error).__name__)
        if one.endpoint == "static" or text(one.endpoint).endswith(".static"):
            endpoint["kind"] = "static"
        elif endpoint["kind"] == "view" and any(LOGIN.match(word) for word in one.rule.strip("/").split("/")[-2:]):
            endpoint["kind"] = "login"
        endpoint["cors"] = takes(cors_paths, re.sub(r"\{\*?\w+\}", "1", endpoint["path"]))
        endpoints.append(endpoint)
    login = getattr(app, "login_manager", None)
    proxied = "ProxyFix" in type(app.wsgi_app).__name__
    fallbacks = [secret(one) for one in app.config.get("SECRET_KEY_FALLBACKS") or []]
    try:
        from importlib.metadata import version

        number = version("flask")
    except Exception:
        number = text(getattr(flask, "__version__", ""))
    return {
        "framework": "flask", "version": number, "secret": secret(app.config.get("SECRET_KEY")),
        "fallbacks": [one for one in fallbacks if one][:10], "sessions": sessions(app), "login": login is not None,
        "protection": text(app.config.get("SESSION_PROTECTION", getattr(login, "session_protection", None))),
        "remember_cookie": text(app.config.get("REMEMBER_COOKIE_NAME", "remember_token")),
        "login_view": text(getattr(login, "login_view", None)), "tokens": tokens(app), "cors": rule, "cors_rules": cors_rules,
        "cors_elsewhere": rule is None and "flask_cors" in sys.modules,
        "proxy_fix": proxied, "secure_cookie": bool(app.config.get("SESSION_COOKIE_SECURE")),
        "endpoints": endpoints, "truncated": truncated,
    }  # fmt: skip


start(looks)
