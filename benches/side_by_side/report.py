"""Medians, paired ratios, and the Markdown that goes into a README."""

import statistics

YARDSTICK = "nginx, no checks"
PEER = "HAProxy"

# What has to be reached: row, at most how much of the CPU, and beside which row of which proxy (None: our own).
GOALS = [
    ("hs256", 1.0, "hs256", YARDSTICK),
    ("hs256", 0.7, "hs256", PEER),
    ("rs256", 0.7, "rs256", PEER),
    ("es256", 0.7, "es256", PEER),
]

# Where it is to go after that.
LATER_GOALS = [
    ("hs256", 0.85, "hs256", YARDSTICK),
    ("hs256", 0.55, "hs256", PEER),
    ("rs256", 1.05, "hs256", None),
    ("es256", 1.05, "hs256", None),
    ("new-es256", 0.6, "new-es256", PEER),
    ("forged", 0.5, "forged", PEER),
    ("forged", 1.0, "hs256", None),
    ("role", 0.5, "role", PEER),
    ("preflight", 0.6, "preflight", PEER),
    ("http2", 0.75, "http2", PEER),
    ("http2", 1.0, "http2", YARDSTICK),
    ("routes", 1.05, "hs256", None),
    ("handshake", 0.32, "handshake", PEER),
    ("messages", 0.7, "messages", PEER),
]

# WebSockets: at most how much of the peer's memory, and at least how much of its messages a second.
SOCKET_MEMORY = 1.2
MESSAGE_RATE = 0.9


def median(runs, field):
    """The median of a field over rounds, None where it was not measured."""
    values = [r[field] for r in runs if r.get(field) is not None]
    return statistics.median(values) if values else None


def ratio(runs, others, field="cpu"):
    """The median of the ratios within each round: what disturbs a round disturbs both sides of it."""
    pairs = [(a[field], b[field]) for a, b in zip(runs, others) if a.get(field) and b.get(field)]
    return statistics.median(a / b for a, b in pairs) if pairs else None


def table(rows, results):
    """One line a row and proxy. `results` maps (row key, proxy name) to its rounds."""
    lines = [
        "| work | proxy | requests/s | CPU ms per 1000 requests | p50 ms | p99 ms | memory MiB "
        "| CPU beside nginx | CPU beside HAProxy |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        for name in row.names:
            runs = results.get((row.key, name))
            if not runs:
                continue
            cells = [row.title, name]
            cells.append(number(median(runs, "rate"), 0))
            cells.append(number(median(runs, "cpu"), 1))
            cells.append(number(median(runs, "p50"), 2))
            cells.append(number(median(runs, "p99"), 2))
            cells.append(number(median(runs, "memory"), 0))
            for other in (YARDSTICK, PEER):
                cells.append(beside(name, other, runs, results.get((row.compare, other))))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def beside(name, other, runs, others):
    """The ratio cell; nothing is compared with itself, nor nginx with a proxy that does more."""
    if name == other or name == YARDSTICK or not others:
        return "–"
    return number(ratio(runs, others), 2)


def idle_table(results, what):
    """Memory of what stands idle."""
    lines = [f"| proxy | KiB for an idle {what} | beside HAProxy |", "| --- | ---: | ---: |"]
    for name, kib in results.items():
        beside_peer = kib / results[PEER] if PEER in results and name != PEER else None
        lines.append(f"| {name} | {kib:.1f} | {number(beside_peer, 2)} |")
    return "\n".join(lines)


def socket_goals(results, idle, gateway):
    """The goals for WebSockets, each held or missed, as far as they were measured."""
    lines = []
    if idle.get(gateway) and idle.get(PEER):
        got = idle[gateway] / idle[PEER]
        verdict = "held" if got <= SOCKET_MEMORY else "MISSED"
        lines.append(f"goal: idle WebSockets, memory beside {PEER} at most {SOCKET_MEMORY}: {got:.2f}, {verdict}")
    runs, others = results.get(("messages", gateway)), results.get(("messages", PEER))
    got = ratio(runs, others, "rate") if runs and others else None
    if got is not None:
        verdict = "held" if got >= MESSAGE_RATE else "MISSED"
        lines.append(f"goal: messages, a second beside {PEER} at least {MESSAGE_RATE}: {got:.2f}, {verdict}")
    return [f"- {line}" for line in lines]


def number(value, digits):
    """A figure, or a dash for what was not measured."""
    return "–" if value is None else f"{value:.{digits}f}"


def goals(results, gateway):
    """The goals, each held or missed, as far as they were measured."""
    return _verdicts("goal", GOALS, results, gateway) + _verdicts("later goal", LATER_GOALS, results, gateway)


def _verdicts(kind, wanted, results, gateway):
    lines = []
    for row, most, other_row, other in wanted:
        runs, others = results.get((row, gateway)), results.get((other_row, other or gateway))
        got = ratio(runs, others) if runs and others else None
        if got is not None:
            verdict = "held" if got <= most else "MISSED"
            beside_whom = other or f"its own {other_row}"
            lines.append(f"- {kind}: {row}, CPU beside {beside_whom} at most {most}: {got:.2f}, {verdict}")
    return lines
