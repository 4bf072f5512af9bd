"""Ends a server and removes its folder, also when the program that started it is killed.

A shell beside the server: it outlives us, and knows by the end of its input that we are gone.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

# Reads the process id of the server that runs now, an empty line when none does.
# Line 7 of what a killed PostgreSQL leaves: key and id of its shared memory.
_SCRIPT = """
trap '' INT HUP TERM
while read -r line; do server=$line; done
if [ -n "$server" ]; then
  kill -INT "$server"
  for turn in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$server" || break
    [ -d /proc/self ] && [ ! -e "/proc/$server/exe" ] && break  # a zombie that nobody collects
    sleep 0.1
  done
  kill -KILL "$server"
fi
set -- "$1" $(sed -n 7p "$1/data/postmaster.pid")
[ -z "$3" ] || ipcrm -m "$3"
rm -rf "$1"
"""


class Sweeper:
    """What is left behind in `folder`, and by one server, goes at `sweep()` or when this program ends."""

    def __init__(self, folder: Path) -> None:
        self.folder: Path = folder
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "sh", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            text=True,
        )

    def watch(self, pid: int | None) -> None:
        """Name the server that runs now; None when none does."""
        with contextlib.suppress(OSError):
            print(pid or "", file=self._shell.stdin, flush=True)

    def sweep(self) -> None:
        """Sweep now, and wait for it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._shell.communicate(timeout=5)
