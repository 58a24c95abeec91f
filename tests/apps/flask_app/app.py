"""A small Flask app with Flask-JWT-Extended, tokens in the header or in cookies. It knows nothing of the gateway."""

import hashlib
import os
import time
from datetime import timedelta

from flask import Flask, Response, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jwt,
    get_jwt_identity,
    jwt_required,
    set_access_cookies,
    set_refresh_cookies,
    unset_jwt_cookies,
)

app = Flask(__name__)
app.config.update(
    SECRET_KEY=os.environ["FLASK_SECRET_KEY"],
    JWT_SECRET_KEY=os.environ["FLASK_SECRET_KEY"],
    JWT_TOKEN_LOCATION=["headers", "cookies"],
    JWT_COOKIE_CSRF_PROTECT=True,
    JWT_COOKIE_SAMESITE="Lax",
    JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=int(os.environ.get("ACCESS_SECONDS", "900"))),
)
jwt = JWTManager(app)
signed_out = set()


@jwt.token_in_blocklist_loader
def is_signed_out(_header, payload):
    """As the extension's documentation shows, but in memory."""
    return payload["jti"] in signed_out


ROLES = {"hana": ["host"], "tara": ["technician"], "sina": ["supervisor", "staff"]}


def signed_in_user():
    """The user whose name and password came as JSON, or None."""
    sent = request.get_json(silent=True) or {}
    name = sent.get("username", "")
    return name if name in ROLES and sent.get("password") == f"{name}-password" else None


@app.post("/login")
def login():
    """Tokens in the answer's body."""
    name = signed_in_user()
    if name is None:
        return jsonify(msg="Bad username or password"), 401
    claims = {"roles": ROLES[name]}
    return jsonify(
        access_token=create_access_token(name, additional_claims=claims),
        refresh_token=create_refresh_token(name, additional_claims=claims),
    )


@app.post("/login/cookie")
def login_cookie():
    """Tokens in HttpOnly cookies, with the readable cookie for the double submit beside them."""
    name = signed_in_user()
    if name is None:
        return jsonify(msg="Bad username or password"), 401
    claims = {"roles": ROLES[name]}
    answer = jsonify(login=True)
    set_access_cookies(answer, create_access_token(name, additional_claims=claims))
    set_refresh_cookies(answer, create_refresh_token(name, additional_claims=claims))
    return answer


@app.post("/refresh")
@jwt_required(refresh=True)
def refresh():
    """A new access token for a refresh token."""
    name = get_jwt_identity()
    return jsonify(access_token=create_access_token(name, additional_claims={"roles": ROLES[name]}))


@app.delete("/token")
@jwt_required()
def end_token():
    """Ends the access token."""
    signed_out.add(get_jwt()["jti"])
    return jsonify(msg="Access token revoked")


@app.post("/logout")
def logout():
    """Takes the cookies away."""
    answer = jsonify(logout=True)
    unset_jwt_cookies(answer)
    return answer


@app.route("/me", methods=["GET", "POST"])
@jwt_required()
def me():
    """Who the app itself believes the caller is."""
    return jsonify(user=get_jwt_identity(), roles=get_jwt().get("roles", []))


@app.route("/echo", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@app.route("/echo/<path:rest>", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def echo(rest=""):
    """Answers with what reached the app."""
    body = request.get_data()
    environ = request.environ
    return jsonify(
        app="flask",
        method=request.method,
        path=request.path,
        raw_uri=environ.get("RAW_URI"),
        query=environ.get("QUERY_STRING", ""),
        headers={key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")},
        host=request.host,
        is_secure=request.is_secure,
        remote_addr=request.remote_addr,
        body_length=len(body),
        body_sha256=hashlib.sha256(body).hexdigest(),
    )


@app.get("/events")
def events():
    """Server-sent events, five of them, a fifth of a second apart."""

    def stream():
        for number in range(5):
            yield f"data: {number}\n\n"
            time.sleep(0.2)

    return Response(stream(), mimetype="text/event-stream")


@app.get("/boom")
def boom():
    """An exception nobody catches."""
    raise RuntimeError("made to fail")
