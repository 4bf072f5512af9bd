"""What reaches the wire: the connects of many callers, counted where they are made."""

from __future__ import annotations

import threading
from types import TracebackType

from .. import CircuitBreaker, is_refused
from ._servers import LocalServer


class Wire:
    """Counts the connects of a crowd: `with wire:` stands round the one place that dials, and dials once.

    Attributes:
        dials: connects, whatever became of them.
        refused: those that were refused.
        most: how many were under way at one time, at most, while the server was given up on: while the circuit was not
            closed, or, without a breaker, while the server was down. A caller's first connect does not count if it did
            not have to wait for it: those are the ones that find the server dead.
        parked: how many callers were parked when the last of these connects began, and then when each later one began,
            each number once. It falls by a batch at a time, and one of a batch dials before the next batch is let out.
    """

    def __init__(self, breaker: CircuitBreaker | None, server: LocalServer) -> None:
        self.dials: int = 0
        self.refused: int = 0
        self.most: int = 0
        self.parked: list[int] = []
        self._breaker = breaker
        self._server = server
        self._now = 0
        self._lock = threading.Lock()
        self._mine = threading.local()

    def waited(self) -> None:
        """Note that the caller of this thread had to wait: its next connect is not its first, or was let out."""
        self._mine.waited = True

    def __enter__(self) -> None:
        counts = self._given_up and getattr(self._mine, "waited", False)
        parked = 0 if self._breaker is None else self._breaker.snapshot().parked
        with self._lock:
            self.dials += 1
            self._now += counts
            self.most = max(self.most, self._now)
            if counts:
                self.parked = [parked]
            elif parked not in self.parked:
                self.parked.append(parked)
        self._mine.counts = counts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        refused = error is not None and is_refused(error)
        with self._lock:
            self.refused += refused
            self._now -= self._mine.counts

    @property
    def _given_up(self) -> bool:
        return self._server.ready_at is None if self._breaker is None else self._breaker.state != "closed"
