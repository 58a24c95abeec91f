"""People with a browser: they sign in at the app's own pages, through the gateway."""

import re

from .check import refused
from .ports import seconds_until

# How long a session may still be taken for good after the app ended it: `cache`, and the time a slow machine needs.
CACHE_S = 2.0
SLACK_S = 1.0


class Visitor:
    """One person: keeps the cookies that the app sets; `api` is the path behind the gateway's rules."""

    def __init__(self, gate, session="sessionid", login="/accounts/login/", api="/api/orders/"):
        self.gate, self.session, self.login, self.api = gate, session, login, api
        self.client = gate.client()

    def submit(self, path, **fields):
        """Opens a page and sends its form, as a browser does: with its hidden fields and the page's address."""
        page = self.client.get(path)
        assert page.status_code == 200, f"{path}: {page.status_code} {page.text[:300]}"
        return self.send(path, page.text, **fields)

    def send(self, path, page="", **fields):
        """Sends a form to the path; `page` is the text it stands in."""
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
        where = {"Origin": self.gate.https_url, "Referer": self.gate.https_url + path}
        return self.client.post(path, data={**hidden, **fields}, headers=where)

    def sign_in(self, user, password=None, remember=True):
        """Signs in; the app must send the person on, and set its cookie."""
        fields = {"username": user, "password": password or f"{user}-password"}
        answer = self.submit(self.login, **fields, **({"remember": "on"} if remember else {}))
        assert answer.status_code == 302, f"{answer.status_code} {answer.text[:600]}"
        assert self.session in self.client.cookies, answer.headers
        return self

    def sign_out(self, path="/accounts/logout/", page="/profile/"):
        """Signs out with the button of a page."""
        opened = self.client.get(page)
        assert opened.status_code == 200, opened
        answer = self.send(path, opened.text)
        assert answer.status_code == 302, answer
        return self

    @property
    def cookie(self):
        """The session's cookie as a header, for requests by hand and for `explain`."""
        return {"Cookie": f"{self.session}={self.client.cookies[self.session]}"}

    def ask(self, path=None, headers=None):
        """A request to the API with the session's cookie alone, outside the browser: cookies stay as they are."""
        return self.gate.get(path or self.api, headers={**self.cookie, **(headers or {})})

    def close(self):
        self.client.close()


def known(answer, app, user, method="session"):
    """The gateway let the request through and told the app who it is; the app, asked by itself, agrees."""
    assert answer.status_code == 200, f"{answer.status_code} {answer.text[:500]}"
    seen = answer.json()
    told = seen["headers"]
    assert told["X_AUTH_USER"] == str(app.id_of(user)), told
    assert told["X_AUTH_ROLES"] == app.role_of(user), told
    assert told["X_AUTH_METHOD"] == method, told
    if method == "session":
        assert seen["app_user"] == app.id_of(user) and seen["app_roles"] == [app.role_of(user)], seen
    return seen


def refused_soon(ask, code, within=CACHE_S + SLACK_S, status=401, or_else=None):
    """Asks until it is refused, which must come within the time; answers with the refusal and how long it took.

    `or_else` is the code where the app, which sees requests while a verdict is reused, has ended the session itself.
    """
    last = []

    def no_longer():
        last[:] = [ask()]
        return last[0].status_code != 200

    took = seconds_until(no_longer, within, f"{code} instead of 200")
    refused(last[0], status, or_else if or_else and last[0].json()["code"] == or_else else code)
    return last[0], took


def explained(gate, path, headers, code, *words):
    """`explain` gives the same code as live traffic, and tells the operator something that has these words in it."""
    refused(gate.get(path, headers=headers), 503 if code == "auth_unavailable" else 401, code)
    told = gate.explain("GET", path, headers)
    assert told["code"] == code, told
    text = f"{told['detail']} {told['note']}".lower()
    for word in words:
        assert word.lower() in text, (word, told["detail"], told["note"])
    value = headers.get("Cookie", headers.get("Authorization", "")).partition("=")[2]
    assert not value or value not in str(told), "the credential itself is shown"
    return told
