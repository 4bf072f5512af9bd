"""What happened, as frozen values.

Ground floor: imports nothing of the house but `endpoint`. Texts in an event are already scrubbed.
Times are float seconds. `elapsed` counts from the start of the first attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeAlias

from .endpoint import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Event:
    """What all events have in common.

    Attributes:
        call: name of the decorated function, or "attempts" for the block form.
        policy: `Policy.name`, or None.
        target: the endpoint that was named by `target=`, or None.
        attempt: number of the attempt this event follows; the first call is attempt 1.
        elapsed: seconds since the start of the first attempt.
    """

    call: str
    policy: str | None
    target: Endpoint | None
    attempt: int
    elapsed: float

    # By hand, for all events at once: a dataclass compiles them anew for every class, at every import.
    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(tuple(self._values().items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values().items())})"

    def _values(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
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
    """

    delay: float
    kind: str | None
    error_type: str
    error_text: str
    attempts: int | None
    deadline: float | None
    heartbeat: bool


class CallRecovered(Event):
    """A call succeeded after at least one failed attempt; `attempt` is the one that succeeded."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RetriesExhausted(Event):
    """A call gave up; the error named here is the one the caller gets.

    Attributes:
        kind: what the error says of the endpoint, as in `RetryScheduled`.
        error_type: qualified name of the error's class.
        error_text: the refusal's own text, scrubbed, at most 200 characters.
        reason: the limit that ended it, in words: "deadline 60 s", "limit 3 attempts", "cancelled".
    """

    kind: str | None
    error_type: str
    error_text: str
    reason: str


Observer: TypeAlias = Callable[[Event], None]
"""A callable that is told every event of a call. What it raises is logged once and changes nothing."""

taps: tuple[Observer, ...] = ()
"""Observers of every call in the process: set by `resilient.testing.recorded_events` for the length of a test."""
