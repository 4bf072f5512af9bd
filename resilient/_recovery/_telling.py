"""What a failing call tells: its observers, the note on its last error, and what each endpoint said.

Decides nothing. It is asked by whoever decides, and holds no error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .. import clock, events, logs
from .._scrub import describe, type_name
from .._traces import set_note
from ..breaker import CircuitBreaker
from ..endpoint import Endpoint
from ..errors import CircuitOpenError
from ..events import (
    CallParked,
    CallRecovered,
    EndpointFailure,
    FailedOver,
    RetriesExhausted,
    RetryScheduled,
)
from ..refusal import judge
from ..signatures import Kind
from ._plan import HEARTBEAT, Plan

_CIRCUIT_OPEN: Final = f"{CircuitOpenError.__module__}.{CircuitOpenError.__qualname__}"


class Telling:
    """What one failing call tells.

    Attributes:
        endpoint: what the attempt connects to, where that is known.
        refused: an error that hides a refusal, where the port, asked, refused.
        tried: what each of several endpoints said last, the latest at the end; None where the call has not several.
    """

    __slots__ = ("_heard", "_plan", "_started", "endpoint", "refused", "tried")

    def __init__(self, plan: Plan, started: float) -> None:
        self._plan = plan
        self._started = started
        self._heard: float | None = None
        self.endpoint: Endpoint | None = plan.endpoint
        self.refused: BaseException | None = None
        self.tried: dict[Endpoint, EndpointFailure] | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return bool(self._plan.policy.observers or events.taps)

    def judge(self, error: BaseException) -> tuple[Kind | None, BaseException]:
        """Return what an error says of its endpoint, and the evidence for it."""
        return ("refused", error) if error is self.refused else judge(error)

    def remember(self, error: Exception) -> None:
        """Keep what this endpoint, one of several, said last."""
        assert self.tried is not None
        assert self.endpoint is not None
        self.tried.pop(self.endpoint, None)  # the one that was tried last stands last
        self.tried[self.endpoint] = EndpointFailure(target=self.endpoint, **self._said(error))

    def scheduled(self, error: Exception, attempt: int, now: float, delay: float) -> None:
        """Tell that another attempt follows."""
        policy = self._plan.policy
        heartbeat = self._heard is None or now - self._heard >= HEARTBEAT
        if heartbeat:
            self._heard = now
        event = RetryScheduled(
            **self._call(attempt, now),
            **self._said(error),
            delay=delay,
            attempts=policy.attempts,
            deadline=policy.deadline,
            heartbeat=heartbeat,
            tried=self._failures(),
        )
        logs.tell(policy.observers, event)

    def failed_over(self, attempt: int, now: float) -> None:
        """Tell that the attempt goes on with this endpoint, after what the one before has said."""
        if not self.wanted:
            return
        assert self.endpoint is not None
        event = FailedOver(
            **{**self._call(attempt, now), **vars(self._failures()[-1])},
            next_target=self.endpoint,
            heartbeat=self._plan.beats(now),
        )
        logs.tell(self._plan.policy.observers, event)

    def parked(
        self, breakers: Sequence[CircuitBreaker], error: BaseException | None, attempt: int, now: float, heartbeat: bool
    ) -> None:
        """Tell that the call waits for these circuits; `error` is its own last one."""
        if not self.wanted:
            return
        policy = self._plan.policy
        unread = {"kind": None, "error_type": _CIRCUIT_OPEN, "error_text": breakers[0].last_error or ""}
        event = CallParked(
            **{**self._call(attempt, now), "target": self.endpoint or breakers[0].target},
            **(unread if error is None else self._said(error)),
            breaker=", ".join(breaker.name for breaker in breakers),
            parked=max(breaker.parked for breaker in breakers),
            deadline=policy.deadline,
            heartbeat=heartbeat,
            tried=self._failures(),
        )
        logs.tell(policy.observers, event)

    def recovered(self, attempt: int) -> None:
        """Tell that it has succeeded after all."""
        if self.wanted:
            logs.tell(self._plan.policy.observers, CallRecovered(**self._call(attempt, clock.now())))

    def exhausted(self, error: BaseException, attempt: int, now: float, reason: str) -> None:
        """Tell that it gives up on this error, and note it there."""
        event = RetriesExhausted(**self._call(attempt, now), **self._said(error), reason=reason, tried=self._failures())
        set_note(error, f"resilient: {logs.gave_up(event)}")
        logs.tell(self._plan.policy.observers, event)

    # What several events have in common.

    def _call(self, attempt: int, now: float) -> dict[str, Any]:
        plan = self._plan
        return {
            "call": plan.call,
            "policy": plan.policy.name,
            "target": self.endpoint,
            "attempt": attempt,
            "elapsed": now - self._started,
        }

    def _said(self, error: BaseException) -> dict[str, Any]:
        kind, evidence = self.judge(error)
        return {"kind": kind, "error_type": type_name(error), "error_text": describe(evidence)}

    def _failures(self) -> tuple[EndpointFailure, ...]:
        return () if self.tried is None else tuple(self.tried.values())
