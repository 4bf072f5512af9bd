"""Programs that tests run in a process of their own, and where need be in namespaces of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from conftest import requires

HERE = Path(__file__).resolve().parent


def run(
    program: str, *arguments: str, behind: Sequence[str] = (), variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in this Python; it may import what stands in this folder. `behind` is put before its command line.

    What a developer's environment says to PostgreSQL's clients (PGHOST, PGSSLMODE, ...) is forgotten.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), *sys.path]), **(variables or {})}
    return subprocess.run(
        [*behind, sys.executable, "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=120,
    )


def mounted(source: Path, target: str, *, own_network: bool = False) -> list[str]:
    """Return what to run a program `behind`, so that it sees `source` in the place of `target`.

    Ends the test where this machine gives no leave to.
    """
    if sys.platform != "linux" or shutil.which("unshare") is None:
        requires("unshare, of Linux")
    network = ["-n"] if own_network else []
    for namespaces in (["-m"], ["-rm"]) if os.geteuid() == 0 else (["-rm"],):
        behind = [
            *("unshare", *namespaces, *network),
            *("sh", "-c", f'mount --bind "$0" {target} && exec "$@"', str(source)),
        ]
        if subprocess.run([*behind, "true"], capture_output=True, check=False).returncode == 0:
            return behind
    return requires("leave to unshare namespaces and to mount in them")
