"""A front end whose page signs people in, keeps all that it ever saw, and looks there for a token."""

from selenium.webdriver.common.by import By

from .ports import wait_for

# Served by the gateway: the page is of the gateway's own origin.
HTML = """<!doctype html>
<meta charset=utf-8>
<title>Shop</title>
<form><input name=username><input name=password type=password><button>Sign in</button></form>
<button id=out>Sign out</button>
<output></output>
<script>
// All that any answer told this page: status, headers, body.
const seen = [];
async function ask(path, options) {
  const answer = await fetch(path, options);
  const told = {path, status: answer.status, headers: [...answer.headers], body: await answer.text()};
  seen.push(told);
  return told;
}
function say(words) { document.querySelector('output').textContent = words; }
function keepsAsOldFrontEndsDo(told) {
  // What the front end did before there was a gateway: it keeps whatever the answer has.
  const answer = JSON.parse(told.body || '{}');
  for (const name in answer) localStorage.setItem(name, JSON.stringify(answer[name]));
}
document.querySelector('form').onsubmit = async event => {
  event.preventDefault();
  const form = Object.fromEntries(new FormData(event.target));
  const headers = {'Content-Type': 'application/json'};
  const told = await ask(APP.login, {method: 'POST', headers, body: JSON.stringify(form)});
  if (told.status === 200) keepsAsOldFrontEndsDo(told);
  say(told.status === 200 ? 'signed in' : 'refused ' + told.status);
};
document.querySelector('#out').onclick = async () => {
  const headers = {'Content-Type': 'application/json'};
  const told = await ask(APP.out, {method: APP.outMethod, headers, body: APP.outMethod === 'POST' ? '{}' : undefined});
  say(told.status === 200 ? 'signed out' : 'refused ' + told.status);
};
// Every place where a script could find a token.
async function everything() {
  const databases = indexedDB.databases ? await indexedDB.databases() : [];
  return JSON.stringify([
    seen, {...localStorage}, {...sessionStorage}, document.cookie, location.href, document.documentElement.outerHTML,
    databases, await caches.keys(), performance.getEntries().map(entry => entry.name), history.state, window.name,
  ]);
}
</script>
"""

DONE = "const done = arguments[arguments.length - 1];"


class TokenPage:
    """The page, open in a browser."""

    def __init__(self, browser, url):
        self.browser = browser
        browser.get(url)

    def says(self, words):
        """Waits until the page says so."""
        wait_for(lambda: self.browser.find_element(By.TAG_NAME, "output").text == words, 10, f"the page to say {words}")

    def sign_in(self, user):
        """Fills the form and sends it."""
        for name, text in (("username", user), ("password", f"{user}-password")):
            field = self.browser.find_element(By.NAME, name)
            field.clear()
            field.send_keys(text)
        self.browser.find_element(By.CSS_SELECTOR, "form button").click()
        self.says("signed in")

    def sign_out(self):
        """Presses the button."""
        self.browser.find_element(By.ID, "out").click()
        self.says("signed out")

    def ask(self, path, **options):
        """A request of the page's script: `path`, `status`, `headers`, `body`."""
        return self.browser.execute_async_script(f"{DONE} ask(arguments[0], arguments[1]).then(done)", path, options)

    def ask_at(self, moment_ms, path, times):
        """So many requests that the page makes at a moment of its clock; their statuses."""
        script = f"""{DONE} const [at, path, times] = arguments;
        setTimeout(() => Promise.all(Array.from({{length: times}}, () => ask(path)))
          .then(told => done(told.map(one => one.status))), at - Date.now());"""
        return self.browser.execute_async_script(script, moment_ms, path, times)

    def everything(self):
        """All that a script of the page can get hold of, as one text."""
        return self.browser.execute_async_script(f"{DONE} everything().then(done)")

    def cookie(self, name):
        """A cookie of the browser, which no script may see."""
        return next((cookie for cookie in self.browser.get_cookies() if cookie["name"] == name), None)
