# The part for Django: 3.2 and later.
import importlib
import runpy
import tempfile

import django
from django.core import management


class Endpoint(dict):
    """One address: `path` as gateway.toml writes it, and what its view asks of who comes."""


def settings_of(manage):
    """Lets manage.py prepare everything as it does for its commands, and stops before the command."""
    folder = os.path.dirname(os.path.abspath(manage))
    os.chdir(folder)
    sys.path[:] = [folder] + [place for place in sys.path if place not in ("", folder)]

    class Ready(BaseException):
        pass

    def stop(*_args, **_options):
        raise Ready()

    kept = management.execute_from_command_line
    management.execute_from_command_line = stop
    sys.argv = [manage, "check"]
    try:
        runpy.run_path(manage, run_name="__main__")
    except Ready:
        pass
    finally:
        management.execute_from_command_line = kept
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        raise Impossible(
            "manage.py names no settings: set DJANGO_SETTINGS_MODULE to the module of the app's settings"
        )
    django.setup()
    from django.conf import settings

    return settings


# ---- secrets, databases, sessions, users ----

ENGINES = (("postgres", "postgres"), ("postgis", "postgres"), ("mysql", "mysql"), ("sqlite", "sqlite"), ("spatialite", "sqlite"))
SCHEMES = {
    "postgres": ("postgres", "postgresql", "postgis", "pgsql"),
    "mysql": ("mysql", "mariadb", "mysql2", "mysqlgis"),
    "sqlite": ("sqlite", "sqlite3", "spatialite"),
}


def database(alias, settings):
    found = settings.DATABASES.get(alias) or {}
    engine = text(found.get("ENGINE")) or ""
    kind = next((kind for word, kind in ENGINES if word in engine), None)
    name = text(found.get("NAME")) or ""
    result = {"alias": alias, "engine": engine, "kind": kind, "env": None, "shown": "", "time_zone": text(found.get("TIME_ZONE"))}
    if kind is None:
        return result
    if kind == "sqlite":
        if not name or name == ":memory:" or name.startswith("file:"):
            result["kind"] = None
            return result
        path = os.path.abspath(name)
        result["shown"] = "sqlite:///" + quote(path, safe="/-._~!$&'()*+,=:@")
        result["file"] = path
    else:
        user, host = text(found.get("USER")) or "", text(found.get("HOST")) or "localhost"
        port = text(found.get("PORT")) or {"postgres": "5432", "mysql": "3306"}[kind]
        password = ":PASSWORD" if found.get("PASSWORD") else ""
        host = "localhost" if host.startswith("/") else host
        who = "%s%s@" % (quote(user, safe=""), password) if user else ""
        result["shown"] = "%s://%s%s:%s/%s" % (kind, who, host, port, quote(name, safe=""))
    for variable_name in sorted(os.environ, key=lambda one: (one != "DATABASE_URL", one)):
        try:
            parts = urlsplit(os.environ[variable_name])
            held = unquote(parts.path.lstrip("/"))
        except ValueError:
            continue
        wanted = (name, os.path.abspath(name), os.path.abspath(name).lstrip("/")) if kind == "sqlite" else (name,)
        if parts.scheme in SCHEMES[kind] and held and held in wanted:
            result["env"] = variable_name
            break
    return result


def reads_from(model, settings):
    from django.db import router

    try:
        return database(router.db_for_read(model), settings)
    except Exception:
        return database("default", settings)


def cache(alias, settings):
    found = (settings.CACHES or {}).get(alias) or {}
    backend = text(found.get("BACKEND")) or ""
    places = found.get("LOCATION")
    if isinstance(places, (str, bytes)):
        places = re.split(r"[;,]", text(places))
    places = [place.strip() for place in texts(places) if place.strip()]
    options = found.get("OPTIONS") or {}
    why = None
    if not backend.endswith((".RedisCache", ".RedisCacheBackend")) or "redis" not in backend:
        why = "the cache is kept by %s, and only Redis can be read" % (backend or "nothing")
    elif found.get("KEY_FUNCTION") or options.get("KEY_FUNCTION"):
        why = "the cache has a KEY_FUNCTION of its own"
    elif options.get("COMPRESSOR") and "Identity" not in text(options["COMPRESSOR"]):
        why = "the cache compresses what it keeps"
    elif not all("Pickle" in text(options.get(name)) for name in ("SERIALIZER", "serializer") if options.get(name)):
        why = "the cache has a SERIALIZER of its own"
    elif not places:
        why = "the cache has no LOCATION"
    where = location(places[0]) if places and why is None else None
    if where and not where["shown"].startswith(("redis://", "rediss://", "unix://")):
        why, where = "the cache's LOCATION is no redis:// URL", None
    if where and where["shown"].startswith("unix://"):
        where["shown"] = "redis+unix://" + where["shown"].partition("://")[2].rpartition("@")[2]
        where["shown"] += "?pass=PASSWORD" if where["hidden"] and "?" not in where["shown"] else ""
    if why is None and options.get("PASSWORD"):
        where["hidden"] = True
        where["env"] = None
        if where["shown"].startswith("redis+unix://"):
            where["shown"] += ("&" if "?" in where["shown"] else "?") + "pass=PASSWORD"
        else:
            where["shown"] = re.sub(r"^(\w+)://(?:[^@/]*@)?", r"\1://:PASSWORD@", where["shown"])
    try:
        version = int(found.get("VERSION", 1))
    except (TypeError, ValueError):
        version = 1
    return {"location": where, "key_prefix": text(found.get("KEY_PREFIX")) or "", "version": version, "why_not": why}


def sessions(settings):
    if not any(app.startswith("django.contrib.sessions") for app in settings.INSTALLED_APPS):
        if settings.SESSION_ENGINE in ("django.contrib.sessions.backends.db", "django.contrib.sessions.backends.cached_db"):
            return None
    if not any("Session" in name and "sessions" in name for name in settings.MIDDLEWARE):
        return None
    engine = text(settings.SESSION_ENGINE)
    found = {
        "engine": engine, "kind": None, "why_not": None, "cookie": text(settings.SESSION_COOKIE_NAME),
        "age": seconds(settings.SESSION_COOKIE_AGE), "secure": bool(settings.SESSION_COOKIE_SECURE),
        "table": None, "cache": None, "database": None, "path": None,
        "authentication_backends": texts(settings.AUTHENTICATION_BACKENDS),
        "legacy_sha1": django.VERSION < (4, 0),
    }  # fmt: skip
    try:
        store = importlib.import_module(engine).SessionStore
    except Exception:
        found["why_not"] = "SESSION_ENGINE cannot be imported"
        return found
    for kind in ("cached_db", "signed_cookies", "cache", "db", "file"):
        base = "django.contrib.sessions.backends." + kind
        if any(one.__module__ == base for one in store.__mro__):
            found["kind"] = kind
            break
    own = store.__module__ != "django.contrib.sessions.backends.%s" % found["kind"]
    if found["kind"] is None:
        found["why_not"] = "SESSION_ENGINE is %s, which the gateway does not read" % engine
    elif store.__qualname__ != "SessionStore" or overrides_codec(store):
        found["why_not"] = "SESSION_ENGINE is the app's own %s, which signs in a way of its own" % full_name(store)
    elif not text(settings.SESSION_SERIALIZER).startswith("django.") and found["kind"] != "cache":
        found["why_not"] = "SESSION_SERIALIZER is the app's own %s" % text(settings.SESSION_SERIALIZER)
    if found["kind"] == "file":
        found["path"] = os.path.abspath(text(settings.SESSION_FILE_PATH) or tempfile.gettempdir())
    if found["kind"] in ("db", "cached_db"):
        try:
            model = store.get_model_class()
            found["table"] = model._meta.db_table
            found["database"] = reads_from(model, settings)
        except Exception:
            found["why_not"] = found["why_not"] or "the sessions' table is not known"
        if found["database"] and found["database"]["kind"] is None:
            found["why_not"] = found["why_not"] or "sessions are kept in %s" % found["database"]["engine"]
    if found["kind"] in ("cache", "cached_db"):
        found["cache"] = cache(settings.SESSION_CACHE_ALIAS, settings)
        if found["cache"]["why_not"]:
            found["why_not"] = found["why_not"] or found["cache"]["why_not"]
        if own and getattr(store, "cache_key_prefix", None) != "django.contrib.sessions." + found["kind"]:
            found["why_not"] = found["why_not"] or "sessions have a cache_key_prefix of their own"
    return found


def overrides_codec(store):
    from django.contrib.sessions.backends.base import SessionBase

    return overrides(store, SessionBase, "encode", "decode", "key_salt")


ROLE = re.compile(r"^(?:.*_)?(?:role|roles|role_name|user_type|usertype|user_role|account_type|position|user_level)$")


def users(settings):
    from django.contrib.auth import get_user_model

    model = get_user_model()
    meta = model._meta
    pk = meta.pk
    kinds = {"AutoField": "integer", "BigAutoField": "integer", "SmallAutoField": "integer", "UUIDField": "uuid"}
    kind = kinds.get(pk.get_internal_type()) or ("integer" if "Integer" in pk.get_internal_type() else "text")
    columns, groups = [], False
    for field in meta.get_fields():
        if getattr(field, "many_to_many", False) and field.name == "groups":
            through = getattr(getattr(field, "remote_field", None), "through", None)
            related = getattr(field.related_model, "_meta", None)
            plain = related is not None and related.label == "auth.Group"
            groups = plain and through is not None and through._meta.db_table == meta.db_table + "_groups"
        elif getattr(field, "concrete", False) and not field.is_relation and ROLE.match(field.name):
            if field.get_internal_type() in ("CharField", "TextField"):
                choices = [text(value) for value, _label in (getattr(field, "flatchoices", None) or [])]
                columns.append({"column": field.column, "values": choices[:20]})
    names = set(field.name for field in meta.get_fields())
    from django.contrib.auth.base_user import AbstractBaseUser

    return {
        "model": meta.label, "table": meta.db_table, "pk": pk.column, "pk_kind": kind, "columns": columns[:4],
        "groups": groups, "flags": bool({"is_staff", "is_superuser"} & names),
        "database": reads_from(model, settings),
        "own_hash": overrides(model, AbstractBaseUser, "get_session_auth_hash"),
        "inactive_may_pass": any("AllowAllUsers" in backend for backend in settings.AUTHENTICATION_BACKENDS),
    }  # fmt: skip


def simplejwt(settings, found_users):
    try:
        from rest_framework_simplejwt.settings import api_settings
    except Exception:
        return None
    given = lambda name, default=None: getattr(api_settings, name, default)  # noqa: E731
    key = given("SIGNING_KEY")
    classes = [full_name(kind) for kind in given("AUTH_TOKEN_CLASSES", ())]
    kinds = [text(getattr(kind, "token_type", None)) for kind in given("AUTH_TOKEN_CLASSES", ())]
    cookie = None
    try:
        if getattr(settings, "REST_AUTH", None) and settings.REST_AUTH.get("USE_JWT"):
            cookie = text(settings.REST_AUTH.get("JWT_AUTH_COOKIE"))
    except Exception:
        cookie = None
    return {
        "algorithm": text(given("ALGORITHM")), "same_key": text(key) == text(settings.SECRET_KEY),
        "secret": secret(key), "verifying_key": bool(given("VERIFYING_KEY")),
        "jwk_url": location(given("JWK_URL")), "header_types": texts(given("AUTH_HEADER_TYPES")),
        "header_name": text(given("AUTH_HEADER_NAME")), "user_claim": text(given("USER_ID_CLAIM")),
        "user_field": text(given("USER_ID_FIELD")), "by_primary_key": given("USER_ID_FIELD") in ("pk", found_users and found_users["pk"]),
        "type_claim": text(given("TOKEN_TYPE_CLAIM")), "types": kinds, "classes": classes,
        "jti_claim": text(given("JTI_CLAIM")), "audience": texts(given("AUDIENCE")), "issuer": texts(given("ISSUER")),
        "leeway": seconds(given("LEEWAY")) or 0,
        "revoke_claim": text(given("REVOKE_TOKEN_CLAIM")) if given("CHECK_REVOKE_TOKEN", False) else None,
        "checks_active": bool(given("CHECK_USER_IS_ACTIVE", True)), "stateless": False, "cookie": cookie,
    }  # fmt: skip


def cors(settings):
    if not any("corsheaders" in name and "CorsMiddleware" in name for name in settings.MIDDLEWARE):
        return None, None
    try:
        from corsheaders.conf import conf
        from corsheaders.defaults import default_methods
    except Exception:
        return None, None
    origins = texts(conf.CORS_ALLOWED_ORIGINS)
    methods = [name.upper() for name in texts(conf.CORS_ALLOW_METHODS)]
    patterns = [getattr(one, "pattern", one) for one in conf.CORS_ALLOWED_ORIGIN_REGEXES]
    found = {
        "any": bool(conf.CORS_ALLOW_ALL_ORIGINS), "origins": origins, "origins_env": list_variable(origins),
        "regexes": texts(patterns), "credentials": bool(conf.CORS_ALLOW_CREDENTIALS),
        "headers": [name.lower() for name in texts(conf.CORS_ALLOW_HEADERS)], "any_header": False,
        "expose": [name.lower() for name in texts(conf.CORS_EXPOSE_HEADERS)],
        "methods": None if sorted(methods) == sorted(default_methods) else methods,
        "max_age": seconds(conf.CORS_PREFLIGHT_MAX_AGE),
        "private_network": bool(getattr(conf, "CORS_ALLOW_PRIVATE_NETWORK", False)),
    }  # fmt: skip
    return found, conf.CORS_URLS_REGEX


# ---- addresses ----

LANGUAGE = "{language}/"
CONVERTER = re.compile(r"<(?:(?P<converter>[^>:]+):)?(?P<name>[^>]+)>")


def from_route(route):
    """The segments of a `path()` route; `(segments, is the rest open)`."""
    segments = []
    for part in route.split("/"):
        found = CONVERTER.search(part)
        if found is None:
            segments.append(literal(part) if part else "")
        elif found.group("converter") == "path" or (found.group("converter") or "str") not in (
            "str", "int", "slug", "uuid", None,
        ):  # fmt: skip
            return segments + [starred(found.group("name"))], True
        else:
            segments.append(braces(found.group("name")))
    return segments, False


def groups_of(regex):
    """A regular expression with each group, nested ones too, as `{name}`, or `{*name}` where it may take a `/`."""
    out, at, count = "", 0, 0
    while at < len(regex):
        if regex[at] == "\\":
            out += regex[at : at + 2]
            at += 2
            continue
        if regex[at] == "[":
            end = at + 1
            while end < len(regex) and (regex[end] != "]" or end == at + 1 or regex[end - 1] == "\\"):
                end += 1
            out += regex[at : end + 1]
            at = end + 1
            continue
        if regex[at] != "(":
            out += regex[at]
            at += 1
            continue
        depth, end, inside = 0, at, False
        while end < len(regex):
            if regex[end] == "\\":
                end += 1
            elif inside:
                inside = regex[end] != "]"
            elif regex[end] == "[":
                inside = True
                # `[]…]` and `[^]…]` hold the bracket itself.
                end += 2 if regex[end + 1 : end + 2] == "^" and regex[end + 2 : end + 3] == "]" else 0
                end += 1 if regex[end + 1 : end + 2] == "]" else 0
            elif regex[end] == "(":
                depth += 1
            elif regex[end] == ")":
                depth -= 1
                if depth == 0:
                    break
            end += 1
        body = regex[at + 1 : end]
        name = re.match(r"\?P<(\w+)>", body)
        inner = body[name.end() :] if name else re.sub(r"^\?:", "", body)
        count += 1
        word = name.group(1) if name else "part%d" % count
        # A class such as [^/] cannot take a slash; `.`, `/` and negated classes without it can.
        without = re.sub(r"\\.", "", re.sub(r"\[\^[^\]]*/[^\]]*\]", "", inner))
        slashed = "/" in without or "." in re.sub(r"\[[^\]]*\]", "", without) or "[^" in without
        end += 1
        again = regex[end : end + 1]
        if again and again in "?*+{":
            slashed = True
            end = regex.find("}", end) + 1 or len(regex) if again == "{" else end + 1
        out += ("\0*%s\0" if slashed else "\0%s\0") % word
        at = end
    return out


def from_regex(regex):
    """The segments of a regular expression, as far as they can be told; wider where they cannot."""
    regex = regex[1:] if regex.startswith("^") else regex
    ends = regex.endswith(("$", r"\Z", r"\z"))
    regex = re.sub(r"(\$|\\Z|\\z)$", "", regex)
    optional = regex.endswith("/?")
    regex = regex[:-1] if optional else regex
    segments = []
    for part in groups_of(regex).split("/"):
        whole = re.match(r"^\0(\*?)(\w+)\0$", part)
        plain = re.sub(r"\\(.)", r"\1", part)
        if whole and whole.group(1):
            return segments + [starred(whole.group(2))], True
        if whole:
            segments.append(braces(whole.group(2)))
        elif "\0*" in part:
            # Such as `users\0*format\0`: what follows may be anything.
            return segments + ["{*rest}"], True
        elif "\0" in part or re.search(r"(?<!\\)[.\[\]^$*+?{}|()]", part) or re.search(r"\\[a-zA-Z0-9]", part):
            if re.search(r"(?<!\\)\.(?!\Z)|\[\^(?![^\]]*/)|(?<!\\)\.\Z|\\[SDW]|(?<!\\)\|", part):
                return segments + ["{*rest}"], True
            segments.append("{part%d}" % (len(segments) + 1))
        else:
            segments.append(literal(plain) if plain else "")
    if not ends and (not segments or segments[-1] != ""):
        # Without an end the last segment is a beginning: it takes whatever follows.
        return segments[:-1] + ["{*rest}"], True
    if not ends:
        return segments[:-1] + ["{*rest}"], True
    return segments, False


SUFFIX = re.compile(r"(?:\\\.\(\?P<format>[^)]*\)/\?\$?|<drf_format_suffix\w*:format>)$")


def suffixed(pattern):
    """The pattern without the `.json` or the like that REST framework lets follow; None without one."""
    raw = text(getattr(pattern, "_route", None) or getattr(pattern, "_regex", "") or "")
    base = SUFFIX.sub("", raw)
    if base == raw:
        return None
    if getattr(pattern, "_route", None) is not None:
        return "/".join(from_route(base)[0])
    return "/".join(from_regex(base + "$")[0])


def pieces(pattern, is_include):
    """What a pattern adds to the path: a list of alternatives of `(text, is the rest open)`."""
    from django.urls import resolvers

    if isinstance(pattern, resolvers.LocalePrefixPattern):
        plain = [("", False)] if not pattern.prefix_default_language else []
        return plain + [(LANGUAGE, False)]
    route = getattr(pattern, "_route", None)
    if isinstance(pattern, resolvers.RoutePattern) and route is not None:
        segments, is_open = from_route(text(route))
    else:
        regex = text(getattr(pattern, "_regex", "") or "")
        if is_include and not regex.endswith(("$", r"\Z")):
            regex += "$" if regex.endswith("/") or not regex.strip("^") else ""
        segments, is_open = from_regex(regex)
    return [("/".join(segments), is_open)]


class Walk:
    """Walks the patterns through include(), bounded in depth and number."""

    def __init__(self, cors_regex):
        self.endpoints, self.truncated = [], False
        try:
            self.cors = re.compile(cors_regex) if cors_regex is not None else None
        except (TypeError, re.error):
            self.cors = None

    def walk(self, patterns, prefix, depth, spaces):
        from django.urls import resolvers

        for entry in patterns:
            if len(self.endpoints) >= MOST_ENDPOINTS or depth > DEEPEST:
                self.truncated = True
                return
            is_include = isinstance(entry, resolvers.URLResolver)
            base = None if is_include else suffixed(entry.pattern)
            if base is not None:
                self.add_suffixed(prefix + base, entry.callback, spaces)
                continue
            for piece, is_open in pieces(entry.pattern, is_include):
                path = prefix + piece
                if is_include and not is_open:
                    inner = spaces + [entry.app_name] if entry.app_name else spaces
                    try:
                        below = entry.url_patterns
                    except Exception:
                        self.truncated = True
                        continue
                    self.walk(below, path, depth + 1, inner)
                elif is_include:
                    # What stands behind an open part cannot be told apart.
                    self.add(path, None, spaces)
                else:
                    self.add(path, entry.callback, spaces)

    def add_suffixed(self, path, view, spaces):
        """Addresses such as `users.json`: of those that strangers may use, one for each format."""
        kind = getattr(view, "cls", None)
        formats = [text(getattr(one, "format", None)) for one in getattr(kind, "renderer_classes", None) or []]
        if path.endswith("}"):
            return self.add(path, view, spaces)
        for name in formats[:8]:
            if name and re.match(r"^[a-z0-9]+$", name):
                self.add("%s.%s" % (path, name), view, spaces)
                # Beside the address without a suffix it has no voice of its own.
                self.endpoints[-1]["kind"] = "static"
                if self.endpoints[-1]["level"] == "required":
                    self.endpoints.pop()

    def add(self, path, view, spaces):
        path = "/" + path.lstrip("/")
        endpoint = Endpoint(path=path, level="public", accepts=[], kind="view", view="", why="", cors=False)
        try:
            if view is not None:
                judge_view(view, endpoint)
        except Exception as error:
            endpoint.update(level="public", why="its view could not be read (%s)" % type(error).__name__)
        if "admin" in spaces:
            endpoint.update(level="public", kind="admin")
        if path.startswith("/" + LANGUAGE) and endpoint["level"] == "public" and "." not in path:
            # Any segment would be a language: what is public below one is under the last route anyway.
            return
        example = re.sub(r"\{\*?\w+\}", "1", path)
        endpoint["cors"] = bool(self.cors and self.cors.match(example))
        self.endpoints.append(endpoint)


LOGIN_VIEWS = (
    "rest_framework_simplejwt.views.TokenViewBase", "rest_framework.authtoken.views.ObtainAuthToken",
    "dj_rest_auth.views.LoginView", "dj_rest_auth.views.LogoutView", "dj_rest_auth.views.PasswordResetView",
    "dj_rest_auth.views.PasswordResetConfirmView", "dj_rest_auth.registration.views.RegisterView",
    "django.contrib.auth.views.LoginView", "django.contrib.auth.views.LogoutView",
    "django.contrib.auth.views.RedirectURLMixin",
)  # fmt: skip


def judge_view(view, endpoint):
    kind = getattr(view, "cls", None) or getattr(view, "view_class", None)
    # `api_view` gives its class the function's name, but no `__qualname__`.
    name = getattr(kind, "__name__", None) or getattr(view, "__qualname__", "?")
    endpoint["view"] = "%s.%s" % (getattr(kind or view, "__module__", "?"), name)
    names = [full_name(one) for one in kind.__mro__] if isinstance(kind, type) else []
    if any(name in LOGIN_VIEWS for name in names):
        endpoint.update(kind="login")
        return
    if "django.contrib.auth.mixins.AccessMixin" in names or any(
        of_library(one, "django/contrib/auth/decorators.py") for one in wrappers(view)
    ):
        endpoint.update(kind="page", why="the app's own login guards it")
    if "rest_framework.views.APIView" in names:
        judge_api_view(kind, getattr(view, "initkwargs", None) or {}, endpoint)


def judge_api_view(kind, given, endpoint):
    """A view of Django REST framework: public where in doubt, for the app checks it itself."""
    from rest_framework import permissions
    from rest_framework.views import APIView

    endpoint["kind"] = "api"
    steps = ("initial", "check_permissions", "perform_authentication", "permission_denied", "dispatch", "get_authenticators")
    allowed = given.get("permission_classes", kind.permission_classes)
    asked = given.get("authentication_classes", kind.authentication_classes)
    endpoint["accepts"] = [accepted(one) for one in asked]
    refused = any(refuses_anonymous(one, permissions) for one in allowed)
    own = [name for name in steps if overrides(kind, APIView, name)]
    # The view sets of DRF itself replace `initialize_request` alone, which is not among the steps.
    if own:
        endpoint["why"] = "the view has a %s of its own" % own[0]
        endpoint["accepts"] = []
    elif overrides(kind, APIView, "get_permissions"):
        endpoint["why"] = "the view picks its permissions by itself"
        endpoint["level"] = "optional"
    elif not asked or not allowed or not refused:
        endpoint["why"] = "the view lets anonymous requests in"
        endpoint["level"] = "optional" if asked else "public"
    else:
        endpoint["level"] = "required"
    if any(one.startswith("other:") for one in endpoint["accepts"]) and endpoint["level"] != "public":
        other = next(one[6:] for one in endpoint["accepts"] if one.startswith("other:"))
        endpoint.update(level="public", why="the view takes a credential that the gateway does not know: %s" % other)


def accepted(kind):
    names = [full_name(one) for one in kind.__mro__]
    if "rest_framework.authentication.SessionAuthentication" in names:
        from rest_framework.authentication import SessionAuthentication

        if overrides(kind, SessionAuthentication, "authenticate"):
            return "other:" + full_name(kind)
        return "session-without-csrf" if overrides(kind, SessionAuthentication, "enforce_csrf") else "session"
    if names[0] == "dj_rest_auth.jwt_auth.JWTCookieAuthentication":
        return "token-cookie"
    if names[0].startswith("rest_framework_simplejwt.authentication."):
        return "token" if names[0].endswith(".JWTAuthentication") else "token-stateless"
    if "rest_framework_simplejwt.authentication.JWTAuthentication" in names:
        from rest_framework_simplejwt.authentication import JWTAuthentication

        parts = ("authenticate", "get_header", "get_raw_token", "get_validated_token", "get_user", "authenticate_header")
        if not overrides(kind, JWTAuthentication, *parts):
            return "token"
    return "other:" + full_name(kind)


def refuses_anonymous(permission, permissions):
    """Whether a permission is known to refuse whoever is not signed in."""
    if hasattr(permission, "operator_class"):
        operator = permission.operator_class.__name__
        sides = [refuses_anonymous(getattr(permission, side), permissions) for side in ("op1_class", "op2_class") if hasattr(permission, side)]
        return any(sides) if operator == "AND" else bool(sides) and all(sides) if operator == "OR" else False
    if not isinstance(permission, type):
        return False
    if issubclass(permission, permissions.DjangoModelPermissions):
        return bool(permission.authenticated_users_only) and not overrides(
            permission, permissions.DjangoModelPermissions, "has_permission"
        )
    for known in (permissions.IsAuthenticated, permissions.IsAdminUser):
        if issubclass(permission, known):
            return not overrides(permission, known, "has_permission")
    return False


# ---- WebSockets ----


def websockets(settings):
    """The paths of Channels' URLRouter."""
    place = text(getattr(settings, "ASGI_APPLICATION", None))
    if "channels" not in settings.INSTALLED_APPS or not place:
        return None
    try:
        module, _, name = place.rpartition(".")
        app = getattr(importlib.import_module(module), name)
        app = app.application_mapping.get("websocket")
    except Exception:
        return []
    for _step in range(16):
        if app is None or hasattr(app, "routes"):
            break
        app = getattr(app, "inner", None) or getattr(app, "application", None)
    found = []
    router_paths(getattr(app, "routes", None) or [], "", 0, found)
    return found


def router_paths(routes, prefix, depth, found):
    for entry in routes:
        if len(found) >= 200 or depth > DEEPEST:
            return
        try:
            inner = getattr(entry.callback, "routes", None)
            for piece, is_open in pieces(entry.pattern, inner is not None):
                path = prefix + piece
                if inner is not None and not is_open:
                    router_paths(inner, path, depth + 1, found)
                else:
                    found.append("/" + path.lstrip("/"))
        except Exception:
            continue


def looks():
    settings = settings_of(sys.argv[1])
    from django.urls import get_resolver

    installed = list(settings.INSTALLED_APPS)
    found_users = None
    if any(app.startswith("django.contrib.auth") for app in installed):
        found_users = users(settings)
    # The package is there in some environments without being used: only what the views name counts.
    tokens = simplejwt(settings, found_users) if "rest_framework" in installed else None
    rule, cors_regex = cors(settings)
    walk = Walk(cors_regex)
    walk.walk(get_resolver().url_patterns, "", 0, [])
    accepts = set(one for endpoint in walk.endpoints for one in endpoint["accepts"])
    issues = any(endpoint["view"].startswith("rest_framework_simplejwt.") or endpoint["kind"] == "login" for endpoint in walk.endpoints)
    if tokens is not None:
        tokens["stateless"] = "token-stateless" in accepts
        if not any(one.startswith("token") for one in accepts) and not (issues and "rest_framework_simplejwt" in installed):
            tokens = None
    fallbacks = [secret(one) for one in getattr(settings, "SECRET_KEY_FALLBACKS", [])]
    return {
        "framework": "django", "version": django.get_version(), "settings": os.environ["DJANGO_SETTINGS_MODULE"],
        "secret": secret(settings.SECRET_KEY), "fallbacks": [one for one in fallbacks if one][:10],
        "sessions": sessions(settings), "users": found_users, "tokens": tokens,
        "time_zone": None if settings.USE_TZ else text(settings.TIME_ZONE),
        "cors": rule, "cors_elsewhere": rule is None and any("cors" in name.lower() for name in settings.MIDDLEWARE), "websockets": websockets(settings),
        "allowed_hosts": texts(settings.ALLOWED_HOSTS)[:50], "trusted_origins": texts(settings.CSRF_TRUSTED_ORIGINS)[:50],
        "proxy_header": text(settings.SECURE_PROXY_SSL_HEADER[0]) if settings.SECURE_PROXY_SSL_HEADER else None,
        "forwarded_host": bool(settings.USE_X_FORWARDED_HOST), "ssl_redirect": bool(settings.SECURE_SSL_REDIRECT),
        "csrf_secure": bool(settings.CSRF_COOKIE_SECURE),
        "static_url": text(settings.STATIC_URL), "static_root": text(settings.STATIC_ROOT),
        "media_url": text(settings.MEDIA_URL), "login_url": text(settings.LOGIN_URL),
        "endpoints": walk.endpoints, "truncated": walk.truncated,
    }  # fmt: skip


start(looks)
