"""How the app is served: threads with keep-alive, and every header that came, as older servers did."""

worker_class = "gthread"
workers = 1
threads = 16
keepalive = 30
timeout = 60
graceful_timeout = 1
# `X_Auth_User` and `X-Auth-User` both become HTTP_X_AUTH_USER: what a WSGI server did for years, and
# what the gateway must be safe in front of.
header_map = "dangerous"
