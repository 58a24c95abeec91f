"""The cookies of a real app, with the attributes they should have had: `cookies` of an upstream."""

import re

import pytest

from harness.check import passed

REPAIRS = '[{ name = "sessionid", secure = true, same_site = "strict", max_age = "1h" }, { name = "second", http_only = true, domain = "app.example.com" }]'

TOML = """
[upstream.app]
servers = ["{django}"]
cookies = %s

[[route]]
path = "/{*rest}"
upstream = "app"
auth = "public"
"""


@pytest.fixture(scope="module")
def gate(module_gateway, django_app):
    return module_gateway(TOML % REPAIRS, django=django_app.url)


def lines(answer):
    """Every `Set-Cookie` line by the cookie's name."""
    return {line.split("=", 1)[0]: line for line in answer.headers.get_list("set-cookie")}


def sign_in(client):
    """Signs in on the app's own login page; answers with its answer."""
    page = client.get("/accounts/login/")
    field = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text).group(1)
    form = {"username": "tara", "password": "tara-password", "csrfmiddlewaretoken": field}
    answer = client.post("/accounts/login/", data=form, headers={"Referer": str(client.base_url) + "/accounts/login/"})
    assert answer.status_code == 302, answer.text
    return answer


def attributes(line):
    """A line's attributes, without name and value and without the moment in `expires`."""
    return [part for part in line.split("; ")[1:] if not part.startswith("expires=")]


def test_the_session_cookie_gets_what_it_should_have_had_and_others_stay(gate, django_app):
    with gate.client() as client, gate.client(base_url=django_app.url) as direct:
        repaired, own = lines(sign_in(client)), lines(sign_in(direct))
        assert attributes(own["sessionid"]) == ["HttpOnly", "Max-Age=1209600", "Path=/", "SameSite=Lax"]
        assert attributes(repaired["sessionid"]) == ["HttpOnly", "Path=/", "Max-Age=3600", "Secure", "SameSite=Strict"]
        assert "expires" not in repaired["sessionid"]
        assert attributes(repaired["csrftoken"]) == attributes(own["csrftoken"])
        assert passed(client.get("/notes/")).status_code == 200, "the session is the app's own"


def test_signing_out_still_takes_the_cookie_away(gate):
    with gate.client() as client:
        sign_in(client)
        token = client.cookies["csrftoken"]
        headers = {"Referer": gate.https_url + "/", "X-CSRFToken": token}
        line = lines(client.post("/accounts/logout/", headers=headers))["sessionid"]
        assert line.startswith('sessionid=""; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/'), line
        assert line.endswith("; Secure; SameSite=Strict"), line
        assert "sessionid" not in client.cookies
        assert client.get("/notes/").status_code == 302


def test_several_cookies_of_one_answer_keep_their_order_and_only_the_named_one_changes(gate):
    first, second = passed(gate.get("/api/cookies/")).headers.get_list("set-cookie")
    assert first == "first=1; HttpOnly; Path=/"
    assert second == "second=2; Path=/; SameSite=Lax; Domain=app.example.com; HttpOnly"


def test_the_gateways_own_sticky_cookie_is_not_the_apps(gateway, django_app):
    toml = TOML % '{ http_only = false, same_site = "none", max_age = "1h" }'
    gate = gateway(toml.replace("cookies =", 'balance = "cookie"\ncookies ='), django=django_app.url)
    found = lines(gate.get("/api/cookies/"))
    assert found["first"] == "first=1; Path=/; Max-Age=3600; Secure; SameSite=None"
    assert re.fullmatch(
        r"portcullis-server=[0-9a-f]{16}; Path=/; HttpOnly; SameSite=Lax; Secure", found["portcullis-server"]
    )
