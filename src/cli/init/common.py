# Run by `portcullis init` with the app's own interpreter, before the part for Django or Flask.
# Reads settings, changes nothing, and never prints a secret: only the name of the environment
# variable that holds it. Python 3.6 and later.
import json
import os
import re
import sys
import traceback
from urllib.parse import quote, unquote, urlsplit

MARKER = "portcullis-init-findings:"
MOST_ENDPOINTS = 2000
DEEPEST = 12
NAME = re.compile(r"[^A-Za-z0-9_]")

# Apps print while they are imported. Their output goes to stderr, and stdout is kept for the findings.
answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)


class Impossible(Exception):
    """What stops the look at the app, in words for a person."""


def finish(findings):
    findings["python"] = "%d.%d.%d" % sys.version_info[:3]
    answer.write(MARKER + "\n" + json.dumps(findings, default=str) + "\n")
    answer.flush()
    # Threads that the app has started must not hold up the end.
    sys.stderr.flush()
    os._exit(0)


def start(look):
    """Runs the look; what stops it goes to stderr."""
    try:
        finish(look())
    except Impossible as why:
        sys.stderr.write("%s\n" % why)
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)


def text(value):
    """A value as text: None stays None."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def texts(value):
    """A string or some strings, as a list."""
    if value is None:
        return []
    if isinstance(value, (str, bytes)):
        return [text(value)]
    try:
        return [text(one) for one in value]
    except TypeError:
        return [text(value)]


def seconds(value):
    """Whole seconds of a number or a timedelta; None where there is none."""
    if value is None or isinstance(value, bool):
        return None
    value = value.total_seconds() if hasattr(value, "total_seconds") else value
    try:
        return max(0, int(value))
    except (TypeError, ValueError, OverflowError):
        return None


def variable(value):
    """The name of the environment variable with this very value; of several, the likeliest."""
    value = text(value)
    if not value or len(value) < 8:
        return None
    names = [name for name, held in os.environ.items() if held == value]
    words = ("SECRET", "KEY", "TOKEN", "URL", "DSN", "REDIS", "DATABASE")
    names.sort(key=lambda name: (not any(word in name.upper() for word in words), len(name), name))
    return names[0] if names else None


def secret(value):
    """What may be told of a secret: where it is kept, and whether it is too short to sign tokens."""
    value = text(value)
    if not value:
        return None
    return {
        "env": variable(value),
        "short": len(value.encode("utf-8")) < 32,
        "insecure": value.startswith("django-insecure-"),
    }


def list_variable(values):
    """The name of the variable that holds these values, split on commas."""
    values = [value.strip() for value in values]
    if not values:
        return None
    for name in sorted(os.environ):
        if [part.strip() for part in os.environ[name].split(",") if part.strip()] == values:
            return name
    return None


def location(url):
    """A URL without its password, and where the whole of it is kept."""
    url = text(url)
    if not url:
        return None
    try:
        parts = urlsplit(url)
        hidden = parts.password is not None or "password=" in parts.query.lower()
        host = parts.netloc.rpartition("@")[2]
        user = parts.username or ""
    except ValueError:
        return None
    shown = url
    if hidden:
        # A query may hold a password as well, under names that differ: it is left out.
        shown = "%s://%s:PASSWORD@%s%s" % (parts.scheme, user, host, parts.path)
    return {"env": variable(url), "shown": shown, "hidden": hidden}


def of_library(function, path):
    """Whether a function's code stands in a file whose path ends so."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename.replace(os.sep, "/").endswith(path)


def free(function):
    """The variables that a closure holds."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    held = {}
    for name, cell in zip(getattr(code, "co_freevars", ()), cells or ()):
        try:
            held[name] = cell.cell_contents
        except ValueError:
            pass
    return held


def wrappers(function):
    """A function and what it wraps, outermost first."""
    seen = []
    while function is not None and len(seen) < 32 and function not in seen:
        seen.append(function)
        function = getattr(function, "__wrapped__", None)
    return seen


def overrides(kind, base, *names):
    """Whether a class replaces one of these methods of its base."""
    return any(getattr(kind, name, None) is not getattr(base, name, None) for name in names)


def full_name(thing):
    thing = thing if hasattr(thing, "__qualname__") else type(thing)
    return "%s.%s" % (getattr(thing, "__module__", "?"), getattr(thing, "__qualname__", "?"))


def literal(part):
    """A segment of a path as it is written in a URL."""
    return quote(unquote(part), safe="-._~!$&'()*+,=:@")


def braces(name):
    return "{" + (NAME.sub("_", name) or "part") + "}"


def starred(name):
    return "{*" + (NAME.sub("_", name) or "rest") + "}"
