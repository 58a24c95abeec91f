"""The machine: tools, free ports, processes pinned to a core and what they cost.

Every process started here is ended here, by its id, whatever happens in between.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

PROXY_CORE = 0
LOAD_CORE = 1

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# tool -> the Debian package it comes from
PACKAGES = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "openssl": "openssl",
}


class Missing(Exception):
    """Something that has to be installed or built first: exit code 2."""


class Failed(Exception):
    """The comparison would not be fair or not be true: exit code 1."""


def say(text):
    """Progress goes to stderr; stdout is the Markdown alone."""
    print(text, file=sys.stderr, flush=True)


def tool(name):
    """The path of a tool, looked for in /usr/sbin too, where Debian keeps servers."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise Missing(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return found


def need_two_cores():
    """The proxy has a core to itself, or its figures are those of its neighbours."""
    if not {PROXY_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise Missing("cores 0 and 1 are needed: one for the proxy, one for load and upstream")


def free_ports(count):
    """Ports of 127.0.0.1 that nobody listened on a moment ago, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def pinned(core):
    """For `preexec_fn`: keeps the child and all it starts on one core."""
    return lambda: os.sched_setaffinity(0, {core})


def run_pinned(argv, core, timeout):
    """Runs a load generator to its end and returns its stdout.

    A `Popen` used as context would wait for ever on an interrupt, so the child is killed first.
    """
    child = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=pinned(core)
    )
    try:
        out, err = child.communicate(timeout=timeout)
    except BaseException:
        child.kill()
        child.wait()
        raise
    if child.returncode != 0:
        raise Failed(f"{argv[0]} ended with {child.returncode}: {(err or out).strip()[-800:]}")
    return out


class Process:
    """A server on one core, with the processes it starts itself."""

    def __init__(self, name, argv, core, log):
        self.name = name
        self.log = log
        # The gateway reads settings from PORTCULLIS_*: those of the caller's shell are not meant.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PORTCULLIS_")}
        with open(log, "wb") as output:
            self.child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=pinned(core),
            )

    def wait_for_port(self, port, seconds=20):
        """Waits until the port takes a connection; tells the server's own words if it ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise Failed(f"{self.name} ended with {self.child.returncode}:\n{self.words()}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise Failed(f"{self.name} does not listen on {port} after {seconds} s:\n{self.words()}")

    def words(self):
        """The end of what the server printed."""
        with open(self.log, "rb") as log:
            return log.read()[-2000:].decode(errors="replace")

    def pids(self):
        """The server's processes: the one started, and all that descend from it."""
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                stat = _stat(int(entry))
                if stat:
                    children.setdefault(int(stat[1]), []).append(int(entry))
        family, todo = [], [self.child.pid]
        while todo:
            pid = todo.pop()
            family.append(pid)
            todo.extend(children.get(pid, []))
        return family

    def cpu_seconds(self):
        """User and system seconds of all its processes since they started."""
        stats = [_stat(pid) for pid in self.pids()]
        return sum(int(s[11]) + int(s[12]) for s in stats if s) / TICKS_PER_SECOND

    def memory_mib(self):
        """Resident memory of all its processes, added up."""
        pages = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/statm") as statm:
                    pages += int(statm.read().split()[1])
            except OSError:
                pass
        return pages * PAGE_BYTES / 2**20

    def stop(self):
        """Ends it and its descendants: asked first, then made to."""
        if self.child.poll() is not None:
            return
        began = {pid: _began(pid) for pid in self.pids()}
        self.child.terminate()
        try:
            self.child.wait(3)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        for pid, when in began.items():
            # A worker may outlive its parent; the moment it began tells it from a stranger with its id.
            if when is not None and _began(pid) == when:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


def _stat(pid):
    """The fields of /proc/PID/stat from the state on, or None when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return None


def _began(pid):
    """When a process began, in ticks since boot, or None when it is gone."""
    stat = _stat(pid)
    return stat[19] if stat and stat[0] != "Z" else None


def facts(binary):
    """What a reader needs to know to read the figures."""
    model = "unknown"
    with open("/proc/cpuinfo") as cpuinfo:
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read(), re.M)
        if found:
            model = found.group(1)
    return {
        "machine": f"{model}, {os.cpu_count()} cores, Linux {os.uname().release.split('-')[0]}",
        "Portcullis": _version([binary, "--version"], r"(\d\S*)") if binary else "left out",
        "HAProxy": _version([tool("haproxy"), "-v"], r"version (\S+)"),
        "nginx": _version([tool("nginx"), "-v"], r"nginx/(\S+)"),
        "wrk": _version([tool("wrk"), "-v"], r"wrk (?:debian/)?(\S+)"),
        "OpenSSL": _version([tool("openssl"), "version"], r"OpenSSL (\S+)"),
    }


def _version(argv, pattern):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "unknown"
