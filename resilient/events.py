"""What happened, as frozen values.

Texts in an event are already scrubbed.
Times are float seconds. `elapsed` counts from the start of the first attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ._values import Value
from .endpoint import Endpoint


class Event(Value):
    """What all events have in common.

    Attributes:
        call: name of the decorated function, or "attempts" for the block form; the breaker's name where a circuit
            changed, or rejected a block.
        policy: `Policy.name`, or None.
        target: the endpoint that was named by `target=`, or that one of `targets=` that was tried last; or None.
        attempt: number of the attempt this event follows; the first call is attempt 1, and 0 is before it.
        elapsed: seconds since the start of the first attempt; where a circuit changed, since it was last closed.
    """

    call: str
    policy: str | None
    target: Endpoint | None
    attempt: int
    elapsed: float


class EndpointFailure(Value):
    """What one of several endpoints said when it was tried last.

    Attributes:
        target: the endpoint.
        kind: what the error says of it, as in `RetryScheduled`.
        error_type: qualified name of the error's class.
        error_text: the refusal's own text, scrubbed, at most 200 characters.
    """

    target: Endpoint
    kind: str | None
    error_type: str
    error_text: str


class RetryScheduled(Event):
    """An attempt failed, and there will be another.

    Attributes:
        delay: seconds until the next attempt.
        kind: what the error says of the endpoint: "refused", "not_ready", "unresolved", "unreachable", "hopeless",
            or None where only the policy knows why it is retried.
        error_type: qualified name of the error's class.
        error_text: the refusal's own text, scrubbed, at most 200 characters.
        attempts: how many attempts the policy allows, or None.
        deadline: seconds the policy allows for the whole call, or None.
        heartbeat: True on the first retry of a call and then at most once in ten seconds:
            the events that a quiet log should show.
        tried: what each of several endpoints (`targets=`) said last, in the order in which they said it; else empty.
    """

    delay: float
    kind: str | None
    error_type: str
    error_text: str
    attempts: int | None
    deadline: float | None
    heartbeat: bool
    tried: tuple[EndpointFailure, ...] = ()


class FailedOver(Event):
    """One of several endpoints (`targets=`) failed, and the same attempt goes on with the next one at once.

    `target` is the one that failed.

    Attributes:
        next_target: the endpoint that is tried now.
        kind: what the error says of the one that failed, as in `RetryScheduled`.
        error_type: qualified name of the error's class.
        error_text: the refusal's own text, scrubbed, at most 200 characters.
        heartbeat: True at most once in ten seconds for each decorated function: what a quiet log should show.
    """

    next_target: Endpoint
    kind: str | None
    error_type: str
    error_text: str
    heartbeat: bool


class CallRecovered(Event):
    """A call succeeded after it had failed or waited; `attempt` and `target` are the ones that succeeded.

    With several endpoints (`targets=`) that is attempt 1 where the first endpoint failed and the next one served.
    """


class CallParked(Event):
    """A call waits on an open circuit, without an attempt of its own; `attempt` is the last one it made, or 0.

    Attributes:
        breaker: name of the breaker, or of each, where every one of several endpoints is open.
        parked: how many calls wait on it now, this one included.
        kind: what the call's own last error says of the endpoint, as in `RetryScheduled`; None if it has none.
        error_type: qualified name of that error's class; that of `CircuitOpenError` if the call has not run.
        error_text: that error's own text, or the last one that the breaker counted; scrubbed, at most 200 characters.
        deadline: seconds the policy allows for the whole call, or None.
        heartbeat: True for the first call that parks in an outage, and then at most once in ten seconds.
        tried: as in `RetryScheduled`.
    """

    breaker: str
    parked: int
    kind: str | None
    error_type: str
    error_text: str
    deadline: float | None
    heartbeat: bool
    tried: tuple[EndpointFailure, ...] = ()


class CallRejected(Event):
    """A circuit breaker turned a call away with `CircuitOpenError`; nothing was tried, so `attempt` is 0.

    Attributes:
        breaker: name of the breaker.
        state: "open", "half-open" or "isolated".
        retry_after: seconds until the circuit may let a probe through, or None where that is not known.
        error_text: text of the last failure that the breaker counted, scrubbed, or "".
    """

    breaker: str
    state: str
    retry_after: float | None
    error_text: str


class CircuitChanged(Event):
    """A circuit changed its state; told in the order of `epoch`.

    Attributes:
        breaker: name of the breaker.
        state: what it is now: "closed", "open", "half-open", "isolated".
        previous: what it was.
        epoch: number of the state; it grows by one with each change.
        reason: what happened: "tripped", "cooled down", "probe succeeded", "probe failed", "isolated", "released",
            "reset".
        cooldown: seconds until a probe may go, where it is open; else 0.
        openings: how often it has opened since it was last closed.
        error_text: text of the failure that opened it, scrubbed, or "".
    """

    breaker: str
    state: str
    previous: str
    epoch: int
    reason: str
    cooldown: float
    openings: int
    error_text: str


class RetriesExhausted(Event):
    """A call gave up; the error named here is the one the caller gets. `attempt` is 0 if no circuit ever let it run.

    Attributes:
        kind: what the error says of the endpoint, as in `RetryScheduled`.
        error_type: qualified name of the error's class.
        error_text: the refusal's own text, scrubbed, at most 200 characters.
        reason: the limit that ended it, in words: "deadline 60 s", "limit 3 attempts", "cancelled".
        tried: as in `RetryScheduled`.
    """

    kind: str | None
    error_type: str
    error_text: str
    reason: str
    tried: tuple[EndpointFailure, ...] = ()


Observer: TypeAlias = Callable[[Event], None]
"""A callable that is told every event of a call. What it raises is logged once and changes nothing."""

taps: tuple[Observer, ...] = ()
"""Observers of every call in the process: set by `resilient.testing.recorded_events` for the length of a test."""
