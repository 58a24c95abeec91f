"""The apps stand alone: whatever fails behind the gateway did not fail here."""

import httpx
import jwt

from harness.apps import DJANGO_SECRET_KEY, FLASK_SECRET_KEY
from harness.tokens import bearer


def test_simplejwt_tokens_carry_a_user_id_and_no_roles(django_app):
    pair = django_app.tokens("tara")
    claims = jwt.decode(pair["access"], DJANGO_SECRET_KEY, algorithms=["HS256"])
    assert claims["user_id"] == "2" and claims["token_type"] == "access" and "roles" not in claims
    assert jwt.decode(pair["refresh"], DJANGO_SECRET_KEY, algorithms=["HS256"])["token_type"] == "refresh"
    me = httpx.get(django_app.url + "/api/me/", headers=bearer(pair["access"]), trust_env=False)
    assert me.json() == {"id": 2, "username": "tara", "role": "technician"}


def test_the_second_login_issues_tokens_with_roles(django_app):
    claims = jwt.decode(django_app.role_tokens("sina")["access"], DJANGO_SECRET_KEY, algorithms=["HS256"])
    assert claims["roles"] == ["supervisor", "staff"] and claims["city"] == "Tehran"


def test_the_django_app_reads_both_spellings_as_one_header(django_app):
    seen = httpx.get(django_app.url + "/api/echo/", headers={"X_Auth_User": "evil"}, trust_env=False).json()
    assert seen["headers"]["X_AUTH_USER"] == "evil", "the app must be as trusting as old apps are"
    assert seen["is_secure"] is False


def test_flask_jwt_extended_takes_headers_and_cookies(flask_app):
    pair = flask_app.tokens("tara")
    claims = jwt.decode(pair["access_token"], FLASK_SECRET_KEY, algorithms=["HS256"])
    assert claims["sub"] == "tara" and claims["type"] == "access" and claims["roles"] == ["technician"]
    with httpx.Client(base_url=flask_app.url, trust_env=False) as client:
        assert client.get("/me", headers=bearer(pair["access_token"])).json()["user"] == "tara"
        client.post("/login/cookie", json={"username": "sina", "password": "sina-password"})
        assert client.get("/me").json()["user"] == "sina"
        assert client.post("/me").status_code == 401
        assert client.post("/me", headers={"X-CSRF-TOKEN": client.cookies["csrf_access_token"]}).status_code == 200


def test_the_app_makes_every_kind_of_answer(django_app):
    with httpx.Client(base_url=django_app.url, trust_env=False) as client:
        for code in (204, 401, 403, 404, 500):
            assert client.get(f"/api/status/{code}/").status_code == code
        part = client.get("/api/file/", headers={"Range": "bytes=10-19"})
        assert part.status_code == 206 and len(part.content) == 10
        assert client.get("/api/cached/", headers={"If-None-Match": '"version-1"'}).status_code == 304
        assert client.get("/api/gzip/", headers={"Accept-Encoding": "gzip"}).headers["content-encoding"] == "gzip"
        assert client.get("/notes/").headers["location"] == "/accounts/login/?next=/notes/"
        assert len(client.get("/api/download/?bytes=100000").content) == 100000
        assert client.post("/api/upload/", content=b"x" * 100000).json()["length"] == 100000
