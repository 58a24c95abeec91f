"""A small ticket system: Flask-Login, with sessions on the server (Flask-Session) or in Flask's own cookie.

It is configured by the environment, as teams do, and knows nothing of the gateway.
"""

import os
from datetime import timedelta

from flask import Flask, jsonify, redirect, render_template, request, session, url_for
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user, logout_user
from flask_sqlalchemy import SQLAlchemy
from werkzeug.security import check_password_hash, generate_password_hash

NAMED = [("hana", "host"), ("tara", "technician"), ("sina", "supervisor")]
SPARE = [(f"spare{number:02}", "technician") for number in range(1, 31)]

app = Flask(__name__)
app.config.update(
    SECRET_KEY=os.environ["SECRET_KEY"],
    SECRET_KEY_FALLBACKS=[key for key in os.environ.get("FALLBACKS", "").split(",") if key] or None,
    SQLALCHEMY_DATABASE_URI=os.environ["DATABASE_URL"]
    .replace("postgres://", "postgresql+psycopg://")
    .replace("mysql://", "mysql+pymysql://"),
    PERMANENT_SESSION_LIFETIME=timedelta(seconds=int(os.environ.get("LIFETIME_S", str(31 * 24 * 3600)))),
)
if os.environ.get("PROTECTION"):
    app.config.update(SESSION_PROTECTION=os.environ["PROTECTION"])
db = SQLAlchemy(app)

kind = os.environ.get("SESSIONS", "sqlalchemy")
if kind != "cookie":
    from flask_session import Session

    app.config.update(
        SESSION_TYPE=kind,
        SESSION_PERMANENT=True,
        SESSION_USE_SIGNER=os.environ.get("SIGNER") == "yes",
    )
    if kind == "sqlalchemy":
        app.config.update(SESSION_SQLALCHEMY=db, SESSION_SQLALCHEMY_TABLE="sessions")
    elif kind == "filesystem":
        app.config.update(SESSION_FILE_DIR=os.environ["SESSION_FILES"])
    else:
        import redis

        app.config.update(SESSION_REDIS=redis.from_url(os.environ["REDIS_URL"]))
    if os.environ.get("FORMAT"):
        app.config.update(SESSION_SERIALIZATION_FORMAT=os.environ["FORMAT"])
    Session(app)

logins = LoginManager(app)
logins.login_view = "login"


class Agent(UserMixin, db.Model):
    """One who works on tickets."""

    __tablename__ = "agents"

    id = db.Column(db.Integer, primary_key=True)
    username = db.Column(db.String(80), unique=True, nullable=False)
    password = db.Column(db.String(200), nullable=False)
    email = db.Column(db.String(200), nullable=False)
    role = db.Column(db.String(20), nullable=False)
    active = db.Column(db.Boolean, nullable=False, default=True)

    @property
    def is_active(self):
        return self.active


@logins.user_loader
def load_agent(key):
    """The agent of a session."""
    return db.session.get(Agent, int(key))


@app.cli.command("make-users")
def make_users():
    """Makes the tables and the agents; the password is the name with `-password` after it."""
    db.create_all()
    for key, (name, role) in enumerate(NAMED + SPARE, start=1):
        password = generate_password_hash(f"{name}-password", method="pbkdf2:sha256:1000")
        db.session.add(
            Agent(id=key, username=name, password=password, email=f"{name}@example.com", role=role, active=True)
        )
    db.session.commit()


@app.get("/")
def home():
    """A public page."""
    return "<!doctype html><title>Tickets</title><h1>Tickets</h1>"


@app.route("/login", methods=["GET", "POST"])
def login():
    """The login page."""
    if request.method == "GET":
        return render_template("login.html")
    agent = db.session.execute(db.select(Agent).filter_by(username=request.form.get("username", ""))).scalar()
    if agent is None or not check_password_hash(agent.password, request.form.get("password", "")):
        return render_template("login.html", error="Wrong name or password"), 401
    session.permanent = os.environ.get("PERMANENT") != "no"
    session["role"] = agent.role
    session["email"] = agent.email
    if not login_user(agent, remember=os.environ.get("REMEMBER") == "yes"):
        return render_template("login.html", error="This account is closed"), 401
    return redirect(url_for("tickets"))


@app.post("/logout")
@login_required
def logout():
    """Ends the session."""
    session.clear()
    logout_user()
    return redirect(url_for("home"))


@app.get("/tickets")
@login_required
def tickets():
    """The page behind the login."""
    return render_template("tickets.html")


@app.post("/language")
def language():
    """Keeps the language of anybody, signed in or not: in the session."""
    session["language"] = request.form.get("language", "fa")
    # What only fits in a large session: a draft.
    session["draft"] = request.form.get("draft", "")
    return redirect(url_for("home"))


@app.post("/agents/<int:key>/deactivate")
@login_required
def deactivate(key):
    """The supervisor's button that closes an account."""
    if current_user.role != "supervisor":
        return jsonify(error="supervisors only"), 403
    db.session.get(Agent, key).active = False
    db.session.commit()
    return redirect(url_for("tickets"))


@app.get("/api/auth/me")
def me():
    """Who the app itself believes the caller is."""
    if not current_user.is_authenticated:
        return jsonify(error="sign in"), 401
    answer = jsonify(id=current_user.id, username=current_user.username, roles=[current_user.role])
    answer.headers["X-Account"] = str(current_user.id)
    answer.headers["X-Account-Roles"] = current_user.role
    return answer


@app.get("/api/tickets/")
@app.get("/api/tickets/<path:rest>")
def api_tickets(rest=""):
    """What reached the app, and who it says the caller is by its own session."""
    signed_in = current_user.is_authenticated
    return jsonify(
        path=request.path,
        headers={key[5:]: value for key, value in request.environ.items() if key.startswith("HTTP_X_AUTH_")},
        app_user=current_user.id if signed_in else None,
        app_roles=[current_user.role] if signed_in else [],
        instance=os.environ.get("INSTANCE", ""),
    )
