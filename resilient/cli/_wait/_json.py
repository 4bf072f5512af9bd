"""A wait as JSON, one object a line, on stderr as everything else: stdout is the command's."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from typing import Any

from ._books import SERVES, Row
from ._screens import Screen
from ._why import why


class Json(Screen):
    """One JSON object a line. Every object has `event`; those about a target have `target`."""

    def begin(self, rows: Sequence[Row]) -> None:
        super().begin(rows)
        for row in rows if self.options.volume >= 0 else ():
            self._tell("waiting", target=row.name, asked=row.how, timeout=self.options.policy.deadline)

    def failed(self, row: Row, elapsed: float, delay: float, *, news: bool) -> None:
        if self.options.volume >= 0:
            self._tell("failed", **self._facts(row), elapsed=round(elapsed, 3), next_in=round(delay, 3))

    def changed(self, row: Row) -> None:
        if self.options.volume >= 0 or row.state in ("hopeless", "timed out"):
            answered = row.state in ("serves", "answers")
            facts = {"target": row.name, "attempts": row.asked} if answered else self._facts(row)
            self._tell(row.state.replace(" ", "_"), **facts, elapsed=round(row.elapsed, 3))

    def end(self, code: int, elapsed: float) -> None:
        if code != SERVES and self.options.volume >= 0 and (seen := why(self.options.targets, self.rows)) is not None:
            row, found = seen
            self._tell("why", target=row.name, code=found.code, meaning=found.meaning, help=found.help)
        if self.options.volume >= 0 or code != SERVES:
            serving = [row.name for row in self.rows if row.state == "serves"]
            others = [row.name for row in self.rows if row.state != "serves"]
            self._tell("done", status=code, elapsed=round(elapsed, 3), serving=serving, not_serving=others)

    def hand_over(self, command: str) -> None:
        if self.options.volume >= 0:
            self._tell("command", name=os.path.basename(command))

    def stopped(self, number: int) -> None:
        self._tell("stopped", signal=signal.Signals(number).name, status=128 + number)

    def complain(self, text: str) -> None:
        self._tell("error", message=text)

    def _facts(self, row: Row) -> dict[str, Any]:
        return {
            "target": row.name,
            "attempts": row.asked,
            "kind": row.kind,
            "error": row.problem,
            "error_type": row.error_type,
        }

    def _tell(self, event: str, **facts: Any) -> None:
        self.write(json.dumps({"event": event, **facts}) + "\n")
