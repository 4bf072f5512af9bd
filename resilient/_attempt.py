"""One attempt of the block form: the `with` between two pauses of a driver."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType, TracebackType

from . import clock
from ._circuit import Permit
from ._recovery import LATE, Plan, Recovery
from .breaker import CircuitBreaker
from .endpoint import Endpoint


class Attempt:
    """One attempt of the block form: `with attempt: ...`.

    Attributes:
        number: 1 for the first. With `targets=` it is the number of the round, and each endpoint has an attempt in it.
        endpoint: what is to be connected to: with `targets=` the one that is tried now, else the one of `target=`, or
            None.
    """

    __slots__ = (
        "_breaker",
        "_ended",
        "_entered",
        "_host",
        "_permit",
        "_plan",
        "_recovery",
        "_started",
        "_step",
        "endpoint",
        "number",
    )

    def __init__(
        self,
        plan: Plan,
        started: float,
        recovery: Recovery | None,
        breaker: CircuitBreaker | None = None,
        permit: Permit | None = None,
        host: Callable[[], object] | None = None,
    ) -> None:
        self._recovery = recovery
        self._entered = False
        self._ended = False
        self._host = host
        self._breaker = breaker
        self._permit = permit
        self._plan = plan
        self._started = started
        self.number: int = 1 if recovery is None else recovery.attempt
        self.endpoint: Endpoint | None = plan.endpoint
        if recovery is not None:
            self.endpoint = recovery.endpoint
        elif plan.ways and breaker is not None:
            self.endpoint = breaker.target
        self._step: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the start of the first attempt."""
        return clock.now() - self._started

    @property
    def remaining(self) -> float | None:
        """Seconds to the deadline, fit to be a client's own timeout; None if there is none.

        Never less than 0.25, because the last attempt is made at the deadline itself, and many clients take a timeout
        of zero for none at all.
        """
        deadline = self._plan.policy.deadline
        return None if deadline is None else max(LATE, deadline - self.elapsed)

    def _pause(self) -> tuple[Recovery, float] | None:
        """Tell the driver how long to pause, and for which call; None where the block has ended.

        Raises:
            RuntimeError: the block came round again without `with attempt:`, which would never end.
        """
        if not self._entered:
            if self._recovery is not None:
                self._recovery.leave()
            raise RuntimeError("the attempt was not used: write `for attempt in attempts(...): with attempt: ...`")
        return None if self._recovery is None or self._step is None else (self._recovery, self._step)

    def __del__(self) -> None:
        # The loop was left before `with attempt:`, or an interrupt came between.
        if not getattr(self, "_ended", True) and self._recovery is not None:
            self._recovery.leave()

    def __enter__(self) -> Attempt:
        if self._entered:
            raise RuntimeError("an attempt is entered once: `for attempt in attempts(...): with attempt: ...`")
        try:
            self._entered = True
        except BaseException:  # an interrupt: what it holds is given back
            if self._recovery is not None:
                self._recovery.leave()
            raise
        else:
            return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            self._ended = True
            return self._end(error, sys._getframe(1))
        except BaseException as problem:
            if self._recovery is not None:
                self._recovery.leave()
            if not isinstance(problem, RecursionError):  # an interrupt
                raise
            self._step = None  # no room on the stack to decide anything
            return False

    def _end(self, error: BaseException | None, frame: FrameType) -> bool:
        if isinstance(error, Exception):
            if self._recovery is None:
                self._recovery = Recovery(self._plan, self._started, (), {}, self._breaker, self._permit, self._host)
            self._step = self._recovery.failed(error, frame)
            return self._step is not None
        if self._recovery is not None:
            if error is None:
                self._recovery.succeeded()
            else:
                self._recovery.leave()
        elif error is None and self._permit is not None and self._breaker is not None:
            self._breaker.vote(self._permit, "success")
        return False
