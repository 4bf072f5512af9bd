"""What the parsers of all commands have in common: none repeats a secret, and durations are read as in a policy."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Final, NoReturn

from .._scrub import scrub
from ..policy import Policy

_LONGEST_LINE: Final = 1_000


class Parser(argparse.ArgumentParser):
    """argparse's, whose errors repeat what they cannot read: after a wrong option that may be a URL with a password."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit with 2."""
        super().error("\n".join(scrub(line, _LONGEST_LINE) for line in message.split("\n")))


class Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse's, which asks shutil for the width, once for each option: an import that costs a tenth of a start."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, **{"width": _columns(), **settings})


def _columns() -> int:
    try:
        columns = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        columns = 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1).columns
        except (OSError, ValueError):
            columns = 0
    return min(100, (columns or 80) - 2)


def deadline(text: str) -> Policy:
    """Read a duration, as the deadline of a policy: there None is a value.

    Raises:
        PolicyError: it is none.
    """
    from shlex import quote

    return Policy.parse(f"deadline={quote(text)}")
