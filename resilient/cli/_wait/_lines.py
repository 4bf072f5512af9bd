"""A wait as lines: for a log what changes, and a heartbeat; on a terminal one live line a target."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ._books import SERVES, Row
from ._screens import Screen
from ._why import why

if TYPE_CHECKING:
    from ._options import Options

HEARTBEAT: Final = 10.0
"""Seconds of silence after which a log is told that we are still here."""

FRAME: Final = 0.1
"""Seconds between two pictures on a terminal."""

_MOST_NAMED: Final = 5


class Log(Screen):
    """Lines about what changes, and a heartbeat."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._said_at = 0.0

    def begin(self, rows: Sequence[Row]) -> None:
        super().begin(rows)
        for row in rows:
            if row.only_accepts:
                self.line(f"{row.name}: no driver for it is installed, so a port that accepts counts")
            elif self.options.volume > 0:
                self.line(f"{row.name} is asked {row.how}")

    def failed(self, row: Row, elapsed: float, delay: float, *, news: bool) -> None:
        if self.options.volume > 0:
            self._say(f"{row.name}: {row.why()}; attempt {row.asked}, next in {delay:.2f} s", elapsed)
        elif news:
            self._say(f"{row.name}: {row.why()}; trying {self._how_long(elapsed)}", elapsed)

    def changed(self, row: Row) -> None:
        if row.state == "answers":
            long = f"waiting until it has done so for {self.options.stable_for:g} s"
            self._say(f"{row.name} {row.serves_how}; {long}", row.elapsed)
        elif row.state == "serves":
            self._say(f"{row.name} {row.serves_how}, after {row.elapsed:.1f} s{_connects(row)}", row.elapsed)

    def tick(self, elapsed: float) -> float:
        quiet = elapsed - self._said_at
        if quiet < HEARTBEAT:
            return HEARTBEAT - quiet
        waiting = [row for row in self.rows if not row.over]
        named = ", ".join(f"{row.name} ({row.why()})" for row in waiting[:_MOST_NAMED])
        more = f" and {len(waiting) - _MOST_NAMED} more" if len(waiting) > _MOST_NAMED else ""
        self._say(f"still waiting after {elapsed:.0f} s for {named}{more}; {self._how_long(elapsed)}", elapsed)
        return HEARTBEAT

    def end(self, code: int, elapsed: float) -> None:
        super().end(code, elapsed)
        if code != SERVES and (seen := why(self.options.targets, self.rows)) is not None:
            row, found = seen
            self.line(f"{found.endpoint}: {found.meaning} ({found.code})")
            self.line(f"help: {found.help}")
            hosts = " ".join(name.partition(" ")[0] for name in row.name.split(", "))
            self.line(f"to see more: resilient doctor {hosts}")

    def hand_over(self, command: str) -> None:
        if self.options.volume > 0:
            self.line(f"running {os.path.basename(command)}")

    def _say(self, text: str, elapsed: float) -> None:
        self._said_at = max(self._said_at, elapsed)
        self.line(text)

    def _how_long(self, elapsed: float) -> str:
        deadline = self.options.policy.deadline
        if deadline is None:
            return "without a limit"
        left = deadline - elapsed
        return f"for {left:.0f} s more" if left >= 1 else "once more"


class Live(Log):
    """One line a target, drawn over and over; for a terminal."""

    _COLOURS: Final = {"serves": "32", "answers": "36", "waiting": "33", "hopeless": "31", "timed out": "31"}

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._drawn = 0
        self._next = 0.0
        self._elapsed = 0.0
        self._colours = not os.environ.get("NO_COLOR")

    def failed(self, row: Row, elapsed: float, delay: float, *, news: bool) -> None:
        if self.options.volume > 0:
            self._erase()
            super().failed(row, elapsed, delay, news=news)

    def changed(self, row: Row) -> None:
        self._next = 0.0

    def tick(self, elapsed: float) -> float:
        self._elapsed = elapsed
        if elapsed >= self._next:
            self._draw()
            self._next = elapsed + FRAME
        return self._next - elapsed

    def end(self, code: int, elapsed: float) -> None:
        self._elapsed = elapsed
        self._draw()
        self._drawn = 0
        super().end(code, elapsed)

    def stopped(self, number: int) -> None:
        self._draw()
        self._drawn = 0
        super().stopped(number)

    def _draw(self) -> None:
        columns, lines = _size()
        room = max(1, lines - 2)
        rows = list(self.rows)
        if len(rows) > room:  # who still waits is what there is to see
            rows = sorted(rows, key=lambda row: row.over)[: room - 1]
        width = min(40, max((len(row.name) for row in rows), default=0))
        picture = [self._row(row, width, columns) for row in rows]
        if len(rows) < len(self.rows):
            serving = sum(row.state == "serves" for row in self.rows)
            picture.append(f"and {len(self.rows) - len(rows)} more; {serving} of {len(self.rows)} serve")
        back = self._back()
        self._drawn = len(picture)  # before it is written: a signal mostly comes out of the writing
        self.write(back + "".join(f"{line}\033[K\n" for line in picture) + "\033[J")

    def _row(self, row: Row, width: int, columns: int) -> str:
        elapsed = row.elapsed if row.over else self._elapsed
        detail = row.why()
        if row.state == "serves":
            told = (row.serves_how.removeprefix("serves"), _connects(row).removeprefix(", "))
            detail = ", ".join(filter(None, told))
        if row.state == "answers":
            detail = f"has to go on for {self.options.stable_for:g} s"
        head = f"{row.name[:width]:<{width}}  "
        tail = f"  {elapsed:5.1f} s  {detail}"
        state = f"{row.state:<9}"
        tail = tail[: max(0, columns - 1 - len(head) - len(state))]
        if self._colours:
            state = f"\033[{self._COLOURS[row.state]}m{state}\033[0m"
        return f"{head}{state}{tail}"

    def _back(self) -> str:
        return f"\r\033[{self._drawn}A" if self._drawn else ""

    def _erase(self) -> None:
        if self._drawn:
            back, self._drawn = self._back(), 0
            self.write(f"{back}\033[J")
        self._next = 0.0


def _size() -> tuple[int, int]:
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        columns, lines = 0, 0
    return columns or 80, lines or 24


def _connects(row: Row) -> str:
    return f", {row.asked} connects" if row.asked > 1 else ""
