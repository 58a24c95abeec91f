"""Names that lead where a test says: the system's resolver of one process, with a hosts file of its own.

nss_wrapper answers in the place of the system's files and DNS. Before it stands a few lines of C, so that a
resolver can hang, as one does whose name servers are not there.
"""

import os
import subprocess
from pathlib import Path

from .services import Missing, program


class Names:
    """`env` for the process that looks up; `lead(name, *addresses)`, `forget(name)`, `hang(name)`, `go_on(name)`."""

    def __init__(self, folder):
        wrapper = next(Path("/usr/lib").glob("*/libnss_wrapper.so"), None)
        if wrapper is None:
            raise Missing("libnss_wrapper.so is not installed; tests/run says how to get it")
        folder.mkdir()
        self._hosts, self._hanging, before = folder / "hosts", folder / "hanging", folder / "hang.so"
        self._hanging.mkdir()
        source = Path(__file__).with_name("names.c")
        subprocess.run([program("cc"), "-shared", "-fPIC", "-O1", "-o", before, source, "-ldl"], check=True, timeout=60)
        self._known, self._changes = {}, 0
        self._write()
        self.env = {
            "LD_PRELOAD": f"{before} {wrapper}", "NSS_WRAPPER_HOSTS": str(self._hosts),
            "HANGING_NAMES": str(self._hanging),
        }  # fmt: skip

    def lead(self, name, *addresses):
        """From now on the name has these addresses."""
        self._known[name] = addresses
        self._write()

    def forget(self, name):
        """From now on nobody knows the name."""
        self._known.pop(name, None)
        self._write()

    def hang(self, name):
        """From now on looking up the name does not end."""
        (self._hanging / name).touch()

    def go_on(self, name):
        """Those who look up the name get their answer."""
        (self._hanging / name).unlink(missing_ok=True)

    def _write(self):
        # A file without lines is none to nss_wrapper.
        lines = ["127.0.0.1 nobody-asks.test"]
        lines += [f"{address} {name}" for name, addresses in self._known.items() for address in addresses]
        fresh = self._hosts.with_name("hosts.new")
        fresh.write_text("\n".join(lines) + "\n")
        # It reads the file again when its time is another second.
        self._changes += 1
        os.utime(fresh, (10**9 + self._changes, 10**9 + self._changes))
        fresh.replace(self._hosts)
