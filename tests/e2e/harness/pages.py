"""A page on an origin of its own, and a headless Chromium to open it."""

import functools
import http.server
import threading

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

PAGE = b"<!doctype html><meta charset=utf-8><title>Page</title><h1>A page on another origin</h1>"


class PageServer:
    """Serves one empty page on a free port: `origin` is `http://localhost:PORT`, `https:` with `tls` (a context)."""

    def __init__(self, tls=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(PAGE)))
                self.end_headers()
                self.wfile.write(PAGE)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.origin = f"{'https' if tls else 'http'}://localhost:{self.server.server_port}"
        threading.Thread(target=functools.partial(self.server.serve_forever, 0.1), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def chromium(binary, driver, folder):
    """A browser with a profile of its own, that takes the development CA's certificates."""
    options = Options()
    options.binary_location = binary
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors",
        f"--user-data-dir={folder}",
    ):  # fmt: skip
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.set_script_timeout(20)
    browser.set_page_load_timeout(30)
    return browser


FETCH = """
const done = arguments[arguments.length - 1];
fetch(arguments[0], arguments[1]).then(async answer => done({
  status: answer.status, type: answer.type, body: await answer.text(),
  requestId: answer.headers.get('x-request-id'), refusedBy: answer.headers.get('x-refused-by'),
})).catch(error => done({error: String(error)}));
"""


def fetch(browser, url, **options):
    """Runs `fetch` in the page; answers with status and body, or `error` as the page sees it."""
    return browser.execute_async_script(FETCH, url, options)
