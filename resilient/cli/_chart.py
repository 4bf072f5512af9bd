"""A policy drawn for a terminal of 80 columns: a table with bars, a time line, and what to expect."""

from __future__ import annotations

import itertools
import json
import os
import sys
from typing import Any, Final

from ..backoff import Backoff
from ..policy import Policy
from ._expected import MOST_RETRIES, Expected, bounds

_BAR: Final = 34
_LINE: Final = 64
_TAIL: Final = 2  # rows at the end of a long table
_SHOWN_WITHOUT_END: Final = 200


class Sheet:
    """One policy, one draw of its delays, and what it comes to."""

    def __init__(self, policy: Policy, expected: Expected, *, clients: int, seed: int | None) -> None:
        self._policy = policy
        self._expected = expected
        self._clients = clients
        self._seed = seed
        endless = policy.attempts is None and policy.deadline is None
        backoff = policy.backoff
        pauses = isinstance(backoff, Backoff) and backoff.maximum > 0
        most = _SHOWN_WITHOUT_END if endless or not pauses else MOST_RETRIES
        self._delays = policy.schedule(most, seed=seed)
        self._cut = len(self._delays) == most and (policy.attempts is None or policy.attempts > most + 1)
        self._at = list(itertools.accumulate(self._delays))
        self._colours = (
            sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")
        )

    def text(self, rows: int) -> str:
        """Return the sheet as lines."""
        lines = [self._paint(str(self._policy), "1"), "", *self._table(rows), "", *self._time_line(), *self._facts()]
        return "\n".join(lines)

    def json(self) -> str:
        """Return the sheet as one JSON object; durations are seconds."""
        delays = [
            {"retry": number, "delay": round(delay, 6), "at": round(at, 6), **self._range(number)}
            for number, (delay, at) in enumerate(zip(self._delays, self._at, strict=True), 1)
        ]
        expected = self._expected
        said: dict[str, Any] = {
            "policy": str(self._policy),
            "attempts": self._policy.attempts,
            "deadline": self._policy.deadline,
            "seed": self._seed,
            "clients": self._clients,
            "delays": delays,
            "complete": not self._cut,
            "expected": {
                "wait": expected.wait,
                "longest_wait": expected.longest_wait,
                "gives_up_after": expected.gives_up_after,
                "attempts": expected.attempts,
                "connects_first_minute": self._times_clients(expected.first_minute),
                "connects_each_minute": self._times_clients(expected.each_minute),
            },
        }
        return json.dumps(said, indent=2)

    def _range(self, retry: int) -> dict[str, float]:
        backoff = self._policy.backoff
        if not isinstance(backoff, Backoff):
            return {}
        low, high = bounds(backoff, retry)
        return {"from": low, "to": high}

    def _table(self, rows: int) -> list[str]:
        count = len(self._delays)
        shown = list(range(count))
        if count > rows:
            tail = min(_TAIL, rows - 1)
            shown = [*range(rows - tail), -1, *range(count - tail, count)]
        longest = max(self._delays, default=0.0)
        backoff = self._policy.backoff
        longest = max(longest, backoff.maximum if isinstance(backoff, Backoff) else 0.0)
        lines = [self._paint("attempt   delay before      at        # the delay   . what jitter leaves open", "2")]
        lines.append(f"{1:>7}   {'-':>12}  {_seconds(0.0):>9}")
        for index in shown:
            if index < 0:
                lines.append(f"{'...':>7}")
                continue
            delay = self._delays[index]
            bar = self._bar(index + 1, delay, longest)
            lines.append(f"{index + 2:>7}   {_seconds(delay):>12}  {_seconds(self._at[index]):>9}  {bar}".rstrip())
        if self._cut:
            lines.append(f"{'...':>7}   and so on")
        else:
            lines.append(f"{'':>7}   then it gives up: {self._limit()}")
        return lines

    def _bar(self, retry: int, delay: float, longest: float) -> str:
        if longest <= 0:
            return ""
        length = round(_BAR * delay / longest)
        reach = round(_BAR * self._range(retry).get("to", delay) / longest)
        return self._paint("#" * length, "36") + "." * max(0, reach - length)

    def _limit(self) -> str:
        attempts, deadline = self._policy.attempts, self._policy.deadline
        if attempts is not None and len(self._delays) + 1 >= attempts:
            return f"{attempts} attempt{'s' if attempts > 1 else ''}"
        return f"the deadline of {_short(deadline or 0.0)}"

    def _time_line(self) -> list[str]:
        end = self._at[-1] if self._at else 0.0
        if end <= 0:
            return []
        cells = [0] * (_LINE + 1)
        for at in (0.0, *self._at):
            cells[min(_LINE, int(_LINE * at / end))] += 1
        marks = "".join(" " if not n else "|" if n == 1 else str(n) if n < 10 else "+" for n in cells)
        scale = f"0{_short(end / 2):^{_LINE - 1}}"
        return [
            "attempts over time; a digit is several of them",
            f"  {self._paint(marks, '36')}".rstrip(),
            f"  {scale.rstrip():<{_LINE - 4}}{_short(end):>6}",
            "",
        ]

    def _facts(self) -> list[str]:
        expected = self._expected
        facts = {"gives up": self._end(), "notices a comeback": self._comeback()}
        first, later = self._times_clients(expected.first_minute), self._times_clients(expected.each_minute)
        who = "client connects" if self._clients == 1 else "clients connect"
        connects = "as many as it can"
        if first is not None:
            connects = f"{first:.0f} in the first minute"
            connects += "" if later is None else f", {later:.0f} in each later one"
        facts[f"{self._clients} {who}"] = connects
        width = max(map(len, facts)) + 3
        lines = [f"{what:<{width}}{text}" for what, text in facts.items()]
        if self._seed is None and self._has_jitter():
            lines += ["", "The delays are one draw of the jitter; --seed 1 draws the same ones again."]
        return lines

    def _end(self) -> str:
        after, attempts = self._expected.gives_up_after, self._expected.attempts
        if after is None:
            return "never"
        if attempts is None:
            return f"after {_short(after)}"
        count = f"{attempts:.0f} attempt{'s' if round(attempts) != 1 else ''}"
        return f"after {_short(after)} and {count}, if each fails at once"

    def _comeback(self) -> str:
        wait, longest = self._expected.wait, self._expected.longest_wait
        if wait is None or longest is None:
            return "at once: it does not pause" if len(self._delays) else "not at all: there is one attempt"
        return f"{_short(wait)} after it, on average; {_short(longest)} at most"

    def _has_jitter(self) -> bool:
        backoff = self._policy.backoff
        return isinstance(backoff, Backoff) and backoff.jitter != "none" and bool(self._delays)

    def _times_clients(self, connects: float | None) -> float | None:
        return None if connects is None else round(connects * self._clients, 1)

    def _paint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colours and text else text


def _seconds(value: float) -> str:
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def _short(value: float) -> str:
    return f"{value * 1000:.3g} ms" if value < 0.9995 else f"{value:.3g} s" if value < 1000 else f"{value:.0f} s"
