"""How the app is served: threads with keep-alive, and every header that came, as older servers did."""

worker_class = "gthread"
workers = 1
threads = 8
keepalive = 30
timeout = 60
graceful_timeout = 1
header_map = "dangerous"
