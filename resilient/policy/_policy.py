"""The policy itself."""

from __future__ import annotations

import functools
import os
import random
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import tenacity
from tenacity.stop import stop_any

from .. import logs
from .._values import Frozen, frozen
from ..backoff import Backoff, seconds
from ..errors import PolicyError
from ..events import Observer
from ..logs import log_events
from ._limits import Limits, Seeded, StopStrategy, WaitStrategy, WithinDeadline
from ._retry_if import (
    RetryIf,
    RetryStrategy,
    retry_if_not_ready,
    retry_if_refused,
    retry_if_unreachable,
    retry_if_unresolved,
)

if TYPE_CHECKING:
    pass


@frozen
class Policy(Frozen):
    """When to try again, how long to wait, and when to give up.

    Frozen; compares and hashes by value (parts that are not ours by identity); pickles.

    Attributes:
        attempts: most attempts, the first call included; None for no limit. Default None: time is what a caller can
            reason about.
        deadline: seconds from the start of the first attempt; None for no limit. Default 60: a service that is not
            back after a minute needs a person. A delay that would overshoot is shortened, so that one last attempt is
            made at the deadline itself. An attempt is never cut short: give the client a timeout of its own.
        backoff: how long to wait; a `Backoff` or a tenacity wait strategy.
        retry: which errors are tried again; ours or a tenacity retry strategy. Default `retry_if_refused()`:
            a refused connect is the one failure that is always safe to retry.
        stop: a further tenacity stop strategy, or None. It is asked after each failure and again on waking.
        observers: callables that are told each event. Default: `log_events`.
        name: for logs and events, or None.

    Raises:
        PolicyError: a field is wrong; it names the field and the value.
    """

    attempts: int | None = None
    deadline: float | None = 60.0
    backoff: WaitStrategy = Backoff()  # a frozen value
    retry: RetryStrategy = retry_if_refused()  # a frozen value
    stop: StopStrategy | None = None
    observers: tuple[Observer, ...] = (log_events,)
    name: str | None = None

    def __init__(
        self,
        *,
        attempts: int | None = None,
        deadline: float | timedelta | None = 60.0,
        backoff: WaitStrategy = Backoff(),  # noqa: B008  # a frozen value
        retry: RetryStrategy = retry_if_refused(),  # noqa: B008  # a frozen value
        stop: StopStrategy | None = None,
        observers: Iterable[Observer] = (log_events,),
        name: str | None = None,
    ) -> None:
        if attempts is not None:
            if isinstance(attempts, bool) or not isinstance(attempts, int):
                raise PolicyError(f"Policy.attempts must be a whole number or None, not {attempts!r}")
            if attempts < 1:
                raise PolicyError(f"Policy.attempts must be at least 1 (the first call is attempt 1), not {attempts!r}")
        if deadline is not None:
            given, deadline = deadline, seconds("Policy.deadline", deadline)
            if deadline <= 0:
                raise PolicyError(f"Policy.deadline must be greater than 0 seconds, not {given!r}")
        for field, part, ours in (("backoff", backoff, Backoff), ("retry", retry, RetryIf), ("stop", stop, type(None))):
            if type(part) is not ours:
                from ._checks import check_strategy  # only who brings a strategy of theirs pays for it

                check_strategy(field, part)
        observers = logs.check_observers("Policy.observers", observers)
        if name is not None and (not isinstance(name, str) or not name):
            raise PolicyError(f"Policy.name must be a non-empty text or None, not {name!r}")
        self._put(
            attempts=attempts,
            deadline=deadline,
            backoff=backoff,
            retry=retry,
            stop=stop,
            observers=observers,
            name=name,
        )

    @classmethod
    def startup(cls) -> Policy:
        """For a program that starts before its services: a minute, and names and routes may still be missing."""
        return cls(name="startup", retry=retry_if_not_ready() | retry_if_unresolved() | retry_if_unreachable())

    @classmethod
    def request(cls) -> Policy:
        """For a call that somebody waits for: three attempts within a second."""
        return cls(name="request", attempts=3, deadline=1.0)

    @classmethod
    def background(cls) -> Policy:
        """For a worker that has nothing else to do: no limit, and half a minute between attempts in the end."""
        return cls(name="background", deadline=None, backoff=Backoff(maximum=30.0))

    def replace(self, **changes: Any) -> Policy:
        """Return a copy with some fields changed, checked anew."""
        unknown = changes.keys() - set(self._names())
        if unknown:
            names = ", ".join(self._names())
            raise PolicyError(f"Policy has no field {', '.join(sorted(unknown))}; it has {names}")
        values = {name: getattr(self, name) for name in self._names()}
        return Policy(**{**values, **changes})

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read a policy from a text such as "attempts=8 deadline=30s backoff=50ms..5s jitter=full".

        Keys: `attempts`, `deadline`, `backoff` (initial..maximum), `factor`, `jitter`, `retry` (comma-separated:
        refused, not_ready, unresolved, unreachable, exhausted; or never), `name`. Durations are "50ms", "30s", "5m",
        "2h" or a bare number of seconds; `none` is no limit. What is left out has its default.

        Raises:
            PolicyError: an unknown or repeated key, or a value that cannot be read.
        """
        from ._text import read

        return cls(**read(text))

    @classmethod
    def from_env(cls, prefix: str, *, default: Policy | None = None) -> Policy:
        """Read a policy from the environment variable `<prefix>_RETRY`; unset or empty gives `default`.

        Args:
            prefix: "DB" reads `DB_RETRY`.
            default: default `Policy()`.

        Raises:
            PolicyError: the variable cannot be read. It names the variable, and not what is in it.
        """
        if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", prefix):
            raise PolicyError(f"prefix must be the start of a variable's name, such as 'DB', not {prefix!r}")
        variable = f"{prefix}_RETRY"
        text = os.environ.get(variable, "")
        if not text.strip():
            return cls() if default is None else default
        try:
            return cls.parse(text)
        except PolicyError:
            pass
        # Raised out here, so that no chained error shows what is in the variable.
        raise PolicyError(
            f'environment variable {variable} is not a policy; it reads like "attempts=8 deadline=30s backoff=50ms..5s"'
        )

    def schedule(self, n: int, *, seed: int | None = None) -> list[float]:
        """Return the first `n` delays in seconds that this policy would take if every attempt failed at once.

        It is cut off by `attempts`, `stop` and the deadline, as a call would be.

        Args:
            n: how many delays at most.
            seed: makes the jitter of a `Backoff` repeatable; other strategies draw their own random numbers.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise PolicyError(f"n must be a whole number of at least 0, not {n!r}")
        wait, stop = self.wait_strategy(), self.stop_strategy()
        if seed is not None and isinstance(self.backoff, Backoff):
            uniform = random.Random(seed).random
            wait = WithinDeadline(Seeded(self.backoff, uniform), self.deadline)
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.start_time = 0.0
        elapsed = 0.0
        delays: list[float] = []
        while len(delays) < n:
            state.outcome = tenacity.Future(state.attempt_number)
            state.outcome.set_exception(ConnectionRefusedError())
            state.outcome_timestamp = elapsed
            state.upcoming_sleep = wait(state)
            if stop(state):
                break
            delays.append(state.upcoming_sleep)
            if self.deadline is not None and state.upcoming_sleep >= self.deadline - elapsed:
                break
            elapsed += state.upcoming_sleep
            state.attempt_number += 1
        return delays

    def retrying(self) -> tenacity.Retrying:
        """Return an equivalent `tenacity.Retrying`, for code that already uses tenacity.

        It retries, waits, stops, reports retries to the observers and raises the client's own error as this policy
        says. What only our own drivers do is missing: notes, cancellation, nested calls, coroutines.
        """
        from ._hooks import tell_before_sleep

        return tenacity.Retrying(
            retry=tenacity.retry_all(tenacity.retry_if_exception(_is_error), self.retry),
            stop=self.stop_strategy(),
            wait=self.wait_strategy(),
            before_sleep=functools.partial(tell_before_sleep, self),
            reraise=True,
        )

    def stop_strategy(self) -> StopStrategy:
        """Return attempts, deadline and `stop` as one tenacity stop strategy."""
        limits = Limits(self.attempts, self.deadline)
        return limits if self.stop is None else stop_any(limits, self.stop)  # type: ignore[arg-type]  # any callable works

    def wait_strategy(self) -> WaitStrategy:
        """Return `backoff` within the deadline as one tenacity wait strategy."""
        return WithinDeadline(self.backoff, self.deadline)

    def __str__(self) -> str:
        from ._text import write

        return write(self)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Policy) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return (
            self.attempts,
            self.deadline,
            self.backoff if type(self.backoff) is Backoff else id(self.backoff),
            self.retry if type(self.retry) is RetryIf else id(self.retry),
            id(self.stop),
            tuple(map(_identity, self.observers)),
            self.name,
        )

    def __repr__(self) -> str:
        unlimited = self.attempts is None and self.deadline is None and self.stop is None
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names())
        return f"Policy({'no limit, ' if unlimited else ''}{values})"


def _identity(observer: Observer) -> object:
    try:
        hash(observer)
    except TypeError:
        return id(observer)
    return observer


def _is_error(error: BaseException) -> bool:
    return isinstance(error, Exception)
