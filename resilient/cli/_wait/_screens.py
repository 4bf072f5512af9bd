"""How a wait is shown, always on stderr. Here: nothing but why it failed, which the other screens build on.

What is printed has no secrets left; a reader who is gone does not end the wait.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ._books import HOPELESS, SERVES, Row

if TYPE_CHECKING:
    from ._options import Options

_FOREVER: Final = 3600.0


class Screen:
    """Shows why it failed, and nothing else: what `-q` asks for. The others build on it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.rows: Sequence[Row] = ()

    def begin(self, rows: Sequence[Row]) -> None:
        """Show what is waited for."""
        self.rows = rows

    def failed(self, row: Row, elapsed: float, delay: float, *, news: bool) -> None:
        """Show that an attempt failed and when the next one is."""

    def changed(self, row: Row) -> None:
        """Show that a target has come to another state."""

    def tick(self, elapsed: float) -> float:
        """Show that time passes; returns seconds until this wants to be called again."""
        return _FOREVER

    def end(self, code: int, elapsed: float) -> None:
        """Show what it came to."""
        if code == SERVES:
            return
        for row in self.rows:
            if row.state == "hopeless" and (code == HOPELESS or self.options.any_serves):
                self.complain(f"{row.name}: waiting cannot help: {row.problem}")
            elif row.state == "timed out":
                last = f"; last: {row.why()}" if row.problem else ", and gave no answer at all"
                self.complain(f"{row.name} did not serve within {row.elapsed:.1f} s{last}")
        if self.options.command:
            self.complain("the command is not run")

    def hand_over(self, command: str) -> None:
        """Show that the command takes over; its arguments may be secrets."""

    def stopped(self, number: int) -> None:
        """Show that a signal ended it."""
        self.complain(f"stopped by {signal.Signals(number).name}")

    def complain(self, text: str) -> None:
        """Show what went wrong."""
        self.line(text)

    def line(self, text: str) -> None:
        """Print a line."""
        self.write(f"resilient wait: {text}\n")

    def write(self, text: str) -> None:
        """Write to stderr, if anybody is there."""
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):  # a closed pipe, a closed stream, or none at all
            sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for as long as this process lives


def screen_for(options: Options) -> Screen:
    """Return the screen that these options and this stderr ask for."""
    if options.style == "json":
        from ._json import Json

        return Json(options)
    if options.volume < 0:
        return Screen(options)
    from ._lines import Live, Log

    return Live(options) if _is_terminal() else Log(options)


def _is_terminal() -> bool:
    try:
        return os.name == "posix" and os.environ.get("TERM", "dumb") != "dumb" and sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False
