"""Where a wheel keeps its server, and how to say that there is none."""

from __future__ import annotations

import importlib.util
from pathlib import Path


class ServerError(RuntimeError):
    """A server could not be prepared, started or stopped. The message says which, why, and what to do."""


def find_in_wheel(package: str, pattern: str) -> Path:
    """Find a file or folder of an installed package without importing the package.

    Raises:
        ServerError: the wheel is missing, or has no server for this machine.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(folder).absolute().glob(pattern)):
            return path
    state = "is not installed" if spec is None else "has no server for this machine (Linux and macOS have one)"
    raise ServerError(f'{package.replace("_", "-")} {state}: pip install "resilient-connect[demo]"')
