"""The demo's page in a real browser: who may call what, why not, and a WebSocket."""

import os
import re
import signal
import subprocess

import pytest
from selenium.webdriver.common.by import By

from harness.gateway import BINARY
from harness.pages import chromium
from harness.ports import wait_for


@pytest.fixture(scope="module")
def page_url(tmp_path_factory):
    """The address of the page of a running demo."""
    folder = tmp_path_factory.mktemp("demo")
    log = folder / "demo.log"
    env = {key: value for key, value in os.environ.items() if not key.startswith("PORTCULLIS_")}
    with log.open("wb") as out:
        demo = subprocess.Popen([BINARY, "demo"], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        found = wait_for(lambda: re.search(r"(http://localhost:\d+)/", log.read_text()), 20, "the page's address")
        yield found.group(1)
    finally:
        demo.send_signal(signal.SIGTERM)
        try:
            demo.wait(40)
        except subprocess.TimeoutExpired:
            demo.kill()
            demo.wait(5)
            raise


@pytest.fixture(scope="module")
def browser(need, tmp_path_factory, page_url):
    browser = chromium(need("chromium"), need("chromedriver"), tmp_path_factory.mktemp("chromium"))
    browser.get(page_url)
    yield browser
    browser.quit()


def click(browser, selector):
    """Clicks, and gives the cells of the row that this adds."""
    rows = len(browser.find_elements(By.CSS_SELECTOR, "#rows tr"))
    browser.find_element(By.CSS_SELECTOR, selector).click()
    wait_for(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#rows tr")) > rows, 10, f"what {selector} shows")
    first = browser.find_element(By.CSS_SELECTOR, "#rows tr")
    return [cell.text for cell in first.find_elements(By.TAG_NAME, "td")]


def test_the_page_reads_who_refused_and_why(browser):
    assert click(browser, '[data-call="/api/me/"]')[1:4] == ["401", "credentials_missing", "gateway"]
    assert click(browser, '[data-user="tara"]')[1] == "200"
    assert click(browser, '[data-call="/api/reports/"]')[1:4] == ["403", "role_missing", "gateway"]
    assert click(browser, '[data-token="refresh"]')[1:4] == ["401", "token_claim", "gateway"]
    assert click(browser, '[data-user="sina"]')[1] == "200"
    assert click(browser, '[data-call="/api/reports/"]')[1] == "200"
    assert "browser says only" in click(browser, '[data-call="/no-cors/"]')[4]


def test_its_websocket_echoes_for_a_known_caller(browser):
    click(browser, '[data-user="hana"]')
    click(browser, "#socket")
    wait_for(lambda: "echoed: hello from" in browser.find_element(By.ID, "rows").text, 10, "the echo")
