"""The wait itself: every target is asked on a thread of its own, and the main thread keeps the books and the deadline.

A waiter only reports. What hangs in a look-up or a driver cannot hold up the deadline, nor a signal.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from ... import clock
from ..._scrub import type_name
from ...errors import WaitTimeoutError
from ...events import Event, RetryScheduled
from ...refusal import kind_of
from ...waiting import wait_for
from ._asking import Probe
from ._books import Row, verdict
from ._signals import unheard

if TYPE_CHECKING:
    from ._options import Options, Target
    from ._screens import Screen
    from ._secrets import Mask

GRACE: Final = 0.5
"""Seconds after the deadline for the attempts that are made at the deadline itself."""

_ANSWERED: Final = "answered"
_SERVES: Final = "serves"


Report: TypeAlias = "tuple[int, float, object]"
"""The waiter's number, when it was, and what."""


class Letterbox:
    """Where waiters put their reports; the main thread alone takes them out.

    A `queue.SimpleQueue` would do, but its import costs a fiftieth of a short run.
    """

    def __init__(self) -> None:
        self._reports: deque[Report] = deque()
        self._came = threading.Event()

    def put(self, report: Report) -> None:
        self._reports.append(report)
        self._came.set()

    def take(self, timeout: float) -> Report | None:
        """Return the oldest report, or None: none came in so many seconds."""
        if not self._reports:
            self._came.wait(timeout)
        self._came.clear()  # before looking: what comes from now on sets it again
        return self._reports.popleft() if self._reports else None


class _Waiter:
    """One target, waited for on a thread."""

    def __init__(self, number: int, target: Target, options: Options, mask: Mask, reports: Letterbox) -> None:
        self._number = number
        self._options = options
        self._report = reports.put
        self.row = Row(target.name)
        self.probe = Probe(target, options, mask, self._answered)
        self.row.how, self.row.only_accepts = self.probe.how, self.probe.only_accepts

    def start(self) -> None:
        threading.Thread(target=self._run, name=self.row.name, daemon=True).start()

    def _run(self) -> None:
        options = self._options
        policy = options.policy.replace(observers=(self._failed,))
        try:
            wait_for(self.probe, timeout=policy.deadline, policy=policy, stable_for=options.stable_for)
        except BaseException as error:  # noqa: BLE001  # a waiter that ends without a word would be waited for
            self._report((self._number, clock.now(), error))
        else:
            self._report((self._number, clock.now(), _SERVES))

    def _answered(self) -> None:
        if self._options.stable_for:
            self._report((self._number, clock.now(), _ANSWERED))

    def _failed(self, event: Event) -> None:
        if isinstance(event, RetryScheduled):
            self._report((self._number, clock.now(), event))


class Watch:
    """All waiters of one command, until its verdict."""

    def __init__(self, options: Options, mask: Mask, screen: Screen) -> None:
        self._options = options
        self._screen = screen
        self._reports = Letterbox()
        self._waiters = [_Waiter(n, target, options, mask, self._reports) for n, target in enumerate(options.targets)]
        self.rows = [waiter.row for waiter in self._waiters]
        self._started = clock.now()

    def run(self) -> int:
        """Wait, and return the exit status."""
        self._screen.begin(self.rows)
        with unheard():
            for waiter in self._waiters:
                waiter.start()
        deadline = self._options.policy.deadline
        end = None if deadline is None else self._started + deadline + GRACE
        while (code := verdict(self.rows, any_serves=self._options.any_serves)) is None:
            left = self._screen.tick(clock.now() - self._started)
            if end is not None:
                left = min(left, end - clock.now())
            report = self._reports.take(max(0.0, left))
            if report is not None:
                number, at, what = report
                self._enter(self._waiters[number], at - self._started, what)
            if end is not None and clock.now() >= end:
                self._give_up()
        self._screen.end(code, clock.now() - self._started)
        return code

    def _enter(self, waiter: _Waiter, elapsed: float, what: object) -> None:
        row, probe = waiter.row, waiter.probe
        row.asked = probe.asked
        if isinstance(what, RetryScheduled):
            news = row.failed(elapsed, what.kind, probe.problem, what.error_type)
            self._screen.failed(row, elapsed, what.delay, news=news)
        elif isinstance(what, BaseException):
            self._enter_end(row, probe.text_of, elapsed, what)
        elif row.came_to("answers" if what == _ANSWERED else "serves", elapsed):
            self._screen.changed(row)

    def _enter_end(self, row: Row, fit: Callable[[BaseException], str], elapsed: float, error: BaseException) -> None:
        state = "timed out" if isinstance(error, WaitTimeoutError) else "hopeless"
        last = error.last_error if isinstance(error, WaitTimeoutError) else error
        if last is None:
            row.failed(elapsed, None, self._not_long_enough(), "")
        else:
            row.failed(elapsed, "hopeless" if last is error else kind_of(last), fit(last), type_name(last))
        if row.came_to(state, elapsed):
            self._screen.changed(row)

    def _give_up(self) -> None:
        for waiter in self._waiters:
            row = waiter.row
            row.asked = waiter.probe.asked
            if not row.over:
                if row.state == "answers":
                    row.failed(row.elapsed, None, self._not_long_enough(), "")
                row.came_to("timed out", clock.now() - self._started)
                self._screen.changed(row)

    def _not_long_enough(self) -> str:
        return f"it served, and not for {self._options.stable_for:g} s on end"
