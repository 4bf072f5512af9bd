"""When a call is over: cancelled, at its deadline, or because there is no sense in waiting for a circuit.

Reads no clock: it is told the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .. import logs
from ..breaker import CircuitBreaker
from ._plan import Plan

LATE: Final = 0.25
"""Seconds past the deadline up to which an attempt that was scheduled in time may still start."""


class Limits:
    """The limits of one failing call.

    Attributes:
        final: whether the next attempt is the last one, because the deadline has come.
    """

    __slots__ = ("_cancellation", "_deadline", "_policy", "_started", "final")

    def __init__(self, plan: Plan, started: float) -> None:
        self._policy = plan.policy
        self._deadline = plan.policy.deadline
        self._cancellation = plan.cancellation
        self._started = started
        self.final = False

    @property
    def cancelled(self) -> bool:
        """Whether the call is to end."""
        return self._cancellation is not None and self._cancellation.cancelled

    def late(self, now: float) -> bool:
        """Whether it is too late for an attempt."""
        return self._deadline is not None and now - self._started > self._deadline + LATE

    def pause(self, delay: float, now: float) -> float:
        """Return the pause before the next attempt, the last one if it ends at the deadline."""
        if self._deadline is not None and delay >= self._deadline - (now - self._started):
            self.final = True
        return delay

    def remaining(self, seconds: float, now: float) -> float:
        """Cut a time off at the deadline."""
        return seconds if self._deadline is None else min(seconds, self._started + self._deadline - now)

    def ended(self, now: float) -> str | None:
        """Say why no attempt may follow a pause, or None."""
        if self.cancelled:
            return "cancelled"
        elapsed, deadline = now - self._started, self._deadline
        if deadline is not None and elapsed > deadline + LATE:
            return f"deadline {deadline:g} s, woken {elapsed - deadline:.2f} s late"
        if deadline is not None and elapsed >= deadline:
            self.final = True
        return None

    def reached(self, attempt: int, now: float) -> str:
        """Say which limit has just ended the call."""
        attempts = self._policy.attempts
        if attempts is not None and attempt >= attempts:
            return f"limit {attempts} attempt" + ("" if attempts == 1 else "s")
        if self._deadline is not None and (self.final or now - self._started >= self._deadline):
            return f"deadline {self._deadline:g} s"
        return self.stopped()

    def stopped(self) -> str:
        """Say that the policy's own stop strategy has ended the call."""
        return f"stop strategy {logs.name_of(self._policy.stop)}"

    def without_hope(self, breakers: Iterable[CircuitBreaker], now: float) -> str | None:
        """Say why there is no sense in waiting for any of these circuits, or None."""
        reasons: list[str] = []
        for breaker in breakers:
            reason = self._no_sense_in(breaker, now)
            if reason is None:
                return None
            reasons.append(reason)
        return "; ".join(dict.fromkeys(reasons))

    def _no_sense_in(self, breaker: CircuitBreaker, now: float) -> str | None:
        if breaker.state == "isolated":
            return f"circuit {breaker.name} is isolated"
        if breaker.makes_probe():
            return f"circuit {breaker.name} waits for the very call that this one is a part of"
        deadline = self._deadline
        if deadline is None:
            return None
        if now - self._started >= deadline * (1 - 1e-12):
            return f"deadline {deadline:g} s"
        if not breaker.reachable_before(self._started + deadline):
            return f"deadline {deadline:g} s, and circuit {breaker.name} is open for longer"
        return None
