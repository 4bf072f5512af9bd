"""The books of a wait: what is known of each target, and whether it is over.

Pure: reports in, a state out. No clock, no lock, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SERVES: Final = 0
HOPELESS: Final = 1
TIMED_OUT: Final = 124  # as timeout(1) has it

BY_A_CONNECT: Final = "by a connect"
"""How a target is asked that names no protocol, or one of which no first word is known."""

KINDS: Final = {
    "refused": "connection refused",
    "not_ready": "not ready yet",
    "unresolved": "name not resolved",
    "unreachable": "not reachable",
    "hopeless": "waiting cannot help",
}


class Row:
    """What is known of one target.

    Attributes:
        name: as it is shown.
        how: how it is asked, in words.
        only_accepts: an open port has to do.
        state: "waiting", "answers" (and has to go on for a while), "serves", "hopeless" or "timed out".
        kind: what its last failure says of it, or None.
        problem: that failure in its own words, fit to show.
        error_type: the name of that error's class.
        asked: how often it was asked.
        elapsed: seconds until it came to the state that it is in.
    """

    __slots__ = ("asked", "elapsed", "error_type", "how", "kind", "name", "only_accepts", "problem", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.how = ""
        self.only_accepts = False
        self.state = "waiting"
        self.kind: str | None = None
        self.problem = ""
        self.error_type = ""
        self.asked = 0
        self.elapsed = 0.0

    @property
    def serves_how(self) -> str:
        """What it does when it serves, in words: of a plain connect no more is known."""
        return "accepts connections" if self.how == BY_A_CONNECT else "serves"

    @property
    def over(self) -> bool:
        """Whether nothing more will be heard of it."""
        return self.state not in ("waiting", "answers")

    def failed(self, elapsed: float, kind: str | None, problem: str, error_type: str) -> bool:
        """Enter a failure that does not end it. Returns whether that is news."""
        news = self.state != "waiting" or self.kind != kind or not self.problem
        if news:
            self.elapsed = elapsed
        self.state, self.kind, self.problem, self.error_type = "waiting", kind, problem, error_type
        return news

    def came_to(self, state: str, elapsed: float) -> bool:
        """Enter another state. Returns whether that is news."""
        news = self.state != state
        if news:
            self.state, self.elapsed = state, elapsed
        return news

    def why(self) -> str:
        """Say in a few words why it does not serve."""
        if self.state == "answers":
            return "serves, and not for long enough yet"
        kind = KINDS.get(self.kind or "", "")
        if not kind or kind.casefold() in self.problem.casefold():
            return self.problem or "no answer yet"
        return f"{kind} ({self.problem})" if self.problem else kind


def verdict(rows: Sequence[Row], *, any_serves: bool) -> int | None:
    """Return the exit status that these states come to, or None while it is open."""
    states = [row.state for row in rows]
    if any_serves:
        if "serves" in states:
            return SERVES
        if not all(row.over for row in rows):
            return None
        return TIMED_OUT if "timed out" in states else HOPELESS
    if "hopeless" in states:
        return HOPELESS
    if not all(row.over for row in rows):
        return None
    return TIMED_OUT if "timed out" in states else SERVES
