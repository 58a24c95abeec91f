"""What is sent: requests prepared beforehand, sent by wrk or h2load from the load's core."""

import json
import os
import re
import time

from .host import LOAD_CORE, Failed, run_pinned, tool
from .proxies import ORIGIN

CONNECTIONS = 64
REPLAY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "replay.lua")


def get(port, path, token):
    """One request of the main load, with an identity header that the client has no right to send."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: wrk\r\n"
        f"Accept: application/json\r\nAuthorization: Bearer {token}\r\nX-Auth-User: root\r\n\r\n"
    )


def preflight(port, path):
    """What a browser asks before a cross-origin request with a token."""
    return (
        f"OPTIONS {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: wrk\r\nAccept: */*\r\n"
        f"Origin: {ORIGIN}\r\nAccess-Control-Request-Method: PUT\r\n"
        "Access-Control-Request-Headers: authorization,content-type\r\n\r\n"
    )


def write_requests(folder, name, requests):
    """Writes a file that replay.lua reads, and returns its path."""
    path = os.path.join(folder, name)
    with open(path, "w") as out:
        out.write("".join(r + "\0" for r in requests))
    return path


def wrk(port, file, seconds, refused=False):
    """64 connections kept alive, the file's requests in turn; `refused` says which answers are right."""
    out = run_pinned(
        [tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "5s",
         "-s", REPLAY, f"https://localhost:{port}/", "--", file],
        LOAD_CORE, seconds + 30)
    seen = json.loads(out.strip().rpartition("\n")[2])
    wrong = seen["requests"] - seen["refused"] if refused else seen["refused"]
    if wrong or seen["broken"] or not seen["requests"]:
        raise Failed(f"not the answers expected: {seen}")
    return {
        "requests": seen["requests"],
        "seconds": seen["microseconds"] / 1e6,
        "p50": seen["p50"] / 1e3,
        "p99": seen["p99"] / 1e3,
    }


def h2load(port, path, token, seconds, folder, options):
    """h2load for a time. It knows no changing headers: one token a run."""
    log = os.path.join(folder, "h2load.log")
    if os.path.exists(log):
        os.unlink(log)
    out = run_pinned(
        [tool("h2load"), "-t1", "-D", str(seconds), "--log-file", log, *_headers(token), *options,
         f"https://localhost:{port}{path}"],
        LOAD_CORE, seconds + 30)
    with open(log) as lines:
        took = sorted(int(line.split("\t")[2]) for line in lines)
    requests = _all_good(out)
    return {
        "requests": requests,
        "seconds": float(seconds),
        "p50": _percentile(took, 50) / 1e3,
        "p99": _percentile(took, 99) / 1e3,
    }


def handshakes(port, path, token, seconds):
    """New connections without a session to resume, one request on each."""
    batch = 100
    done, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        out = run_pinned(
            [tool("h2load"), "-t1", "--h1", "-n", str(batch), "-c", str(batch), *_headers(token),
             f"https://localhost:{port}{path}"],
            LOAD_CORE, 60)
        done += _all_good(out)
    return {"requests": done, "seconds": time.monotonic() - began, "p50": None, "p99": None}


def _headers(token):
    return ["-H", f"authorization: Bearer {token}", "-H", "x-auth-user: root"]


def _all_good(out):
    """The number of answers, when all of them were 2xx over TLS 1.3."""
    good = re.search(r"^status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx$", out, re.M)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", out)
    if not good or not int(good.group(1)) or not failed or any(map(int, failed.groups())):
        raise Failed(f"h2load did not get the answers expected:\n{out}")
    if "TLS Protocol: TLSv1.3" not in out:
        raise Failed(f"h2load did not speak TLS 1.3:\n{out}")
    return int(good.group(1))


def _percentile(ordered, percent):
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
