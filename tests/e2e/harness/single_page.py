"""A front end of one page, as its browser sees the gateway: cookies kept, tokens never seen."""

import re

COOKIE = "__Host-portcullis"


class SinglePage:
    """Somebody with a browser of their own at one gateway; its requests come from the gateway's own origin."""

    def __init__(self, gate, **options):
        self.gate = gate
        self.client = gate.client(**options)
        self.session = None

    def close(self):
        """Closes its connections."""
        self.client.close()

    @property
    def cookie(self):
        """The header that carries the session."""
        return {"Cookie": f"{COOKIE}={self.session}"} if self.session else {}

    def request(self, method, path, headers=None, **options):
        """One request, as the page makes it."""
        self.client.cookies.clear()
        own = {"Origin": self.gate.https_url, "Sec-Fetch-Site": "same-origin", **self.cookie, **(headers or {})}
        answer = self.client.request(method, path, headers=own, **options)
        self.take(answer)
        return answer

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, **options):
        return self.request("POST", path, **options)

    def take(self, answer):
        """Keeps or drops the cookie as a browser would."""
        for line in answer.headers.get_list("set-cookie"):
            if line.startswith(f"{COOKIE}="):
                self.session = re.match(rf"{COOKIE}=([^;]*)", line).group(1) or None

    def sign_in(self, user, path="/api/login/"):
        """Signs in with name and password, and gives the answer."""
        answer = self.post(path, json={"username": user, "password": f"{user}-password"})
        assert answer.status_code == 200, answer.text
        assert self.session, dict(answer.headers)
        return answer
