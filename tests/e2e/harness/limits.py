"""Requests of clients that a trusted proxy names, and what rate limits tell them."""

from .check import refused

SERVER = """
[server]
https = "127.0.0.1:{https}"
plain = "127.0.0.1:{plain}"
admin = "127.0.0.1:{admin}"
trusted_proxies = ["127.0.0.1/32"]
[server.timeouts]
drain = "5s"
[tls]
development = true
"""


def ask(gate, path, address, headers=None, method="GET"):
    """A request of a client at this address, as the trusted proxy tells it."""
    return gate.request(method, path, door="plain", headers={"X-Forwarded-For": address, **(headers or {})})


def standing(answer):
    names = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
    return tuple(int(answer.headers[name]) for name in names)


def over(answer):
    """A refusal by a limit; tells after how many seconds to come again."""
    problem = refused(answer, 429, "rate_limited")
    wait = int(answer.headers["retry-after"])
    assert wait >= 1 and f"try again in {wait} s" in problem["detail"]
    assert answer.headers["ratelimit-remaining"] == "0"
    return wait


def statuses(answers):
    return [answer.status_code for answer in answers]
