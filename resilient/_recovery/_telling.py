"""What a failing call tells: its observers, the note on its last error, and what each endpoint said.

Decides nothing. It is asked by whoever decides, and holds no error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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
        if self.tried is not None and self.endpoint is not None:
            kind, evidence = self.judge(error)
            self.tried.pop(self.endpoint, None)  # the one that was tried last stands last
            self.tried[self.endpoint] = EndpointFailure(
                target=self.endpoint, kind=kind, error_type=type_name(error), error_text=describe(evidence)
            )

    def scheduled(self, error: Exception, attempt: int, now: float, delay: float) -> None:
        """Tell that another attempt follows."""
        plan = self._plan
        kind, evidence = self.judge(error)
        heartbeat = self._heard is None or now - self._heard >= HEARTBEAT
        if heartbeat:
            self._heard = now
        logs.tell(
            plan.policy.observers,
            RetryScheduled(
                call=plan.call,
                policy=plan.policy.name,
                target=self.endpoint,
                attempt=attempt,
                elapsed=now - self._started,
                delay=delay,
                kind=kind,
                error_type=type_name(error),
                error_text=describe(evidence),
                attempts=plan.policy.attempts,
                deadline=plan.policy.deadline,
                heartbeat=heartbeat,
                tried=self._failures(),
            ),
        )

    def failed_over(self, before: Endpoint | None, attempt: int, now: float) -> None:
        """Tell that the attempt goes on with another endpoint."""
        plan = self._plan
        failure = None if self.tried is None or before is None else self.tried.get(before)
        if failure is None or self.endpoint is None or not self.wanted:
            return
        logs.tell(
            plan.policy.observers,
            FailedOver(
                call=plan.call,
                policy=plan.policy.name,
                target=failure.target,
                attempt=attempt,
                elapsed=now - self._started,
                next_target=self.endpoint,
                kind=failure.kind,
                error_type=failure.error_type,
                error_text=failure.error_text,
                heartbeat=plan.beats(now),
            ),
        )

    def parked(
        self, breakers: Sequence[CircuitBreaker], error: BaseException | None, attempt: int, now: float, heartbeat: bool
    ) -> None:
        """Tell that the call waits for these circuits; `error` is its own last one."""
        if not self.wanted:
            return
        plan = self._plan
        kind, text, name = None, breakers[0].last_error or "", _CIRCUIT_OPEN
        if error is not None:
            kind, evidence = self.judge(error)
            text, name = describe(evidence), type_name(error)
        logs.tell(
            plan.policy.observers,
            CallParked(
                call=plan.call,
                policy=plan.policy.name,
                target=self.endpoint or breakers[0].target,
                attempt=attempt,
                elapsed=now - self._started,
                breaker=", ".join(breaker.name for breaker in breakers),
                parked=max(breaker.parked for breaker in breakers),
                kind=kind,
                error_type=name,
                error_text=text,
                deadline=plan.policy.deadline,
                heartbeat=heartbeat,
                tried=self._failures(),
            ),
        )

    def recovered(self, attempt: int) -> None:
        """Tell that it has succeeded after all."""
        plan = self._plan
        if self.wanted:
            logs.tell(
                plan.policy.observers,
                CallRecovered(
                    call=plan.call,
                    policy=plan.policy.name,
                    target=self.endpoint,
                    attempt=attempt,
                    elapsed=clock.now() - self._started,
                ),
            )

    def exhausted(self, error: BaseException, attempt: int, now: float, reason: str) -> None:
        """Tell that it gives up on this error, and note it there."""
        plan = self._plan
        kind, evidence = self.judge(error)
        event = RetriesExhausted(
            call=plan.call,
            policy=plan.policy.name,
            target=self.endpoint,
            attempt=attempt,
            elapsed=now - self._started,
            kind=kind,
            error_type=type_name(error),
            error_text=describe(evidence),
            reason=reason,
            tried=self._failures(),
        )
        set_note(error, f"resilient: {logs.gave_up(event)}")
        logs.tell(plan.policy.observers, event)

    def _failures(self) -> tuple[EndpointFailure, ...]:
        return () if self.tried is None else tuple(self.tried.values())
