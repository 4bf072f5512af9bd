"""Attempts, deadline and backoff as tenacity stop and wait strategies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from tenacity.stop import stop_base
from tenacity.wait import wait_base

from .. import logs
from ..backoff import Backoff
from ..errors import PolicyError

if TYPE_CHECKING:
    from tenacity import RetryCallState

StopStrategy: TypeAlias = "stop_base | Callable[[RetryCallState], bool]"
WaitStrategy: TypeAlias = "wait_base | Callable[[RetryCallState], float]"


class Limits(stop_base):
    """Stop at so many attempts, or at the deadline."""

    def __init__(self, attempts: int | None, deadline: float | None) -> None:
        self.attempts = attempts
        self.deadline = deadline

    def __call__(self, retry_state: RetryCallState) -> bool:
        if self.attempts is not None and retry_state.attempt_number >= self.attempts:
            return True
        # A sum of pauses that ends at the deadline may fall short of it by a rounding error.
        return self.deadline is not None and (retry_state.seconds_since_start or 0.0) >= self.deadline * (1 - 1e-12)


class WithinDeadline(wait_base):
    """Wait as another strategy says, and not beyond the deadline."""

    def __init__(self, wait: WaitStrategy, deadline: float | None) -> None:
        self.wait = wait
        self.deadline = deadline

    def __call__(self, retry_state: RetryCallState) -> float:
        delay = self.wait(retry_state)
        if isinstance(delay, timedelta):
            delay = delay.total_seconds()
        if not isinstance(delay, (int, float)) or not delay >= 0 or (delay == float("inf") and self.deadline is None):
            raise PolicyError(
                f"backoff {logs.name_of(self.wait)} must give a number of seconds of at least 0, not {delay!r}"
            )
        if self.deadline is None:
            return delay
        return min(delay, max(0.0, self.deadline - (retry_state.seconds_since_start or 0.0)))


class Seeded(wait_base):
    """A backoff whose jitter is repeatable."""

    def __init__(self, backoff: Backoff, uniform: Callable[[], float]) -> None:
        self.backoff = backoff
        self.uniform = uniform

    def __call__(self, retry_state: RetryCallState) -> float:
        return self.backoff.delay(retry_state.attempt_number, retry_state.upcoming_sleep, self.uniform)
