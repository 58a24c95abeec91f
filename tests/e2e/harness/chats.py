"""WebSockets of a page in a real browser: what its script sees of them, and when."""

from .ports import wait_for

OPEN = """
const [url, protocols] = arguments, seen = [];
window.chats = window.chats || [];
try {
  const socket = protocols.length ? new WebSocket(url, protocols) : new WebSocket(url);
  const note = (kind, more) => seen.push({kind, at: Date.now() / 1000, ...more});
  socket.onopen = () => note('open', {protocol: socket.protocol});
  socket.onmessage = event => note('message', {data: event.data});
  socket.onerror = () => note('error', {});
  socket.onclose = event => note('close', {code: event.code, reason: event.reason, clean: event.wasClean});
  return window.chats.push({socket, seen}) - 1;
} catch (error) { return String(error); }
"""


class Chat:
    """One `new WebSocket(url, protocols)` of the page that the browser shows."""

    def __init__(self, browser, url, *protocols):
        self.browser, self.url = browser, url
        self.number = browser.execute_script(OPEN, url, list(protocols))
        assert isinstance(self.number, int), self.number

    @property
    def seen(self):
        """Every event so far: `kind`, `at` (seconds since 1970), and what it brought."""
        return self.browser.execute_script("return window.chats[arguments[0]].seen", self.number)

    def of(self, kind):
        """The events of one kind."""
        return [event for event in self.seen if event["kind"] == kind]

    def opened(self):
        """Waits until it is open; answers with that event."""
        wait_for(lambda: self.of("open") or self.of("close"), 10, f"{self.url} to open")
        assert self.of("open"), self.seen
        return self.of("open")[0]

    def closed(self, seconds=10):
        """Waits until it is closed; answers with that event: `code`, `reason`, `clean`."""
        return wait_for(lambda: self.of("close"), seconds, f"{self.url} to close; it saw {self.seen}")[0]

    def refused(self, code, reason):
        """Asserts that nothing came but a close with this code and reason."""
        close = self.closed()
        assert (close["code"], close["reason"], close["clean"]) == (code, reason, True), self.seen
        assert not self.of("message") and not self.of("error"), self.seen
        return close

    def say(self, text):
        """Sends a text."""
        self.browser.execute_script("window.chats[arguments[0]].socket.send(arguments[1])", self.number, text)

    def heard(self, text, seconds=10):
        """Waits for a message that holds the text; answers with it."""

        def found():
            return [event["data"] for event in self.of("message") if text in event["data"]]

        return wait_for(found, seconds, f"{text!r} on {self.url}; it saw {self.seen}")[0]

    def close(self, code=1000, reason=""):
        """Closes it from the page."""
        script = "window.chats[arguments[0]].socket.close(arguments[1], arguments[2])"
        self.browser.execute_script(script, self.number, code, reason)
