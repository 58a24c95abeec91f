"""How the app is served: threads with keep-alive, and a line for each request."""

worker_class = "gthread"
workers = 1
threads = 16
keepalive = 30
timeout = 60
graceful_timeout = 1
accesslog = "-"
access_log_format = "asked %(m)s %(U)s %(s)s"
