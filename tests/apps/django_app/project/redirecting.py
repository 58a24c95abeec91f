"""The same settings of a team that has turned on the redirect to https and forgot the proxy before the app."""

from project.settings import *  # noqa: F403

SECURE_SSL_REDIRECT = True
SECURE_PROXY_SSL_HEADER = None
