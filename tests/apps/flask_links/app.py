"""A Flask app of two pages, one of which has a slash at its end. It is told of its proxy or not."""

import os

from flask import Flask, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
if os.environ.get("PROXY_FIX") == "yes":
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)


@app.get("/")
def home():
    """A page with a link."""
    return f"<!doctype html><title>Home</title><a href=\"{url_for('tickets')}\">Tickets</a>"


@app.get("/tickets/")
def tickets():
    """Without the slash, Flask redirects here with a whole address."""
    return "<!doctype html><title>Tickets</title>"
