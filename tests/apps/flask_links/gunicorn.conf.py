"""How the app is served."""

worker_class = "gthread"
workers = 1
threads = 4
graceful_timeout = 1
