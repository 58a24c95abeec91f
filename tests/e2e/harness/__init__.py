"""What the end-to-end tests stand on: the gateway as a process, the apps, upstreams made for one purpose, tokens, keys."""
