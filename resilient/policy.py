"""What the user chose, in tenacity's words.

Frozen values, checked when they are built. Nothing here sleeps, calls the user's function or looks at a clock.
"""

from __future__ import annotations

import functools
import inspect
import os
import random
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import tenacity
from tenacity.retry import retry_base
from tenacity.stop import stop_any, stop_base
from tenacity.wait import wait_base

from . import logs, refusal
from .backoff import Backoff, seconds
from .errors import PolicyError
from .events import Observer
from .logs import log_events
from .signatures import Kind

if TYPE_CHECKING:
    from tenacity import RetryCallState

RetryStrategy: TypeAlias = "retry_base | Callable[[RetryCallState], bool]"
StopStrategy: TypeAlias = "stop_base | Callable[[RetryCallState], bool]"
WaitStrategy: TypeAlias = "wait_base | Callable[[RetryCallState], float]"


@dataclass(frozen=True, slots=True)
class RetryIf(retry_base):
    """Retry errors of some kinds; a tenacity retry strategy. Built by the `retry_if_…` functions, joined by `|` and `&`.

    Attributes:
        kinds: what an error must say of its endpoint.
        exhausted: also where a decorated call inside has just given up on it.
    """

    kinds: frozenset[Kind]
    exhausted: bool = False

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Answer tenacity: is the outcome an error of these kinds?"""
        outcome = retry_state.outcome
        if outcome is None:
            return False
        error = outcome.exception()
        return error is not None and refusal.kind_of(error) in self.kinds

    def __or__(self, other: Any) -> Any:
        if isinstance(other, RetryIf):  # a value again, which compares and prints as one
            return RetryIf(self.kinds | other.kinds, self.exhausted or other.exhausted)
        return super(RetryIf, self).__or__(other)

    def __and__(self, other: Any) -> Any:
        if isinstance(other, RetryIf):
            return RetryIf(self.kinds & other.kinds, self.exhausted and other.exhausted)
        return super(RetryIf, self).__and__(other)

    def __repr__(self) -> str:
        inside = "exhausted=True" if self.exhausted else ""
        words = _words(self.kinds)
        return (
            " | ".join(f"retry_if_{word}({inside})" for word in words) or "retry_if_refused() & retry_if_unresolved()"
        )


def retry_if_refused(*, exhausted: bool = False) -> RetryIf:
    """Retry if a connection was refused.

    Args:
        exhausted: retry also where a decorated call inside has just given up. Attempts are multiplied then.
    """
    return _retry_if(("refused",), exhausted)


def retry_if_not_ready(*, exhausted: bool = False) -> RetryIf:
    """Retry if a connection was refused, or the server said that it is starting up, loading or shutting down."""
    return _retry_if(("refused", "not_ready"), exhausted)


def retry_if_unresolved(*, exhausted: bool = False) -> RetryIf:
    """Retry if the host's name did not resolve."""
    return _retry_if(("unresolved",), exhausted)


def retry_if_unreachable(*, exhausted: bool = False) -> RetryIf:
    """Retry if host or network could not be reached, or the connect timed out."""
    return _retry_if(("unreachable",), exhausted)


def _retry_if(kinds: tuple[Kind, ...], exhausted: object) -> RetryIf:
    if not isinstance(exhausted, bool):
        raise PolicyError(f"exhausted must be True or False, not {exhausted!r}")
    return RetryIf(frozenset(kinds), exhausted)


_WORDS: Final[dict[str, frozenset[Kind]]] = {
    "refused": frozenset({"refused"}),
    "not_ready": frozenset({"refused", "not_ready"}),
    "unresolved": frozenset({"unresolved"}),
    "unreachable": frozenset({"unreachable"}),
}
"""The words of `retry=` in a policy's text, as in `retry_if_…`."""


def _words(kinds: frozenset[Kind]) -> list[str]:
    return [word for word, its in _WORDS.items() if its <= kinds and not (word == "refused" and "not_ready" in kinds)]


# What a strategy must not be. tenacity has classes that look at results, and all of `tenacity.asyncio` is asynchronous.
_LOOK_AT_RESULTS: Final = (
    tenacity.retry_if_result,
    tenacity.retry_if_not_result,
    tenacity.retry_unless_exception_type,
    tenacity.retry_if_not_exception_message,
)
_PARTS: Final = ("retries", "stops", "wait_funcs", "strategies", "predicate", "func", "waits")
_FACTORIES: Final = (retry_if_refused, retry_if_not_ready, retry_if_unresolved, retry_if_unreachable)
_PREDICATES: Final = (
    refusal.is_refused,
    refusal.is_not_ready,
    refusal.is_unresolved,
    refusal.is_unreachable,
    refusal.is_hopeless,
)


def _check_strategy(field: str, strategy: Any, what: str, seen: frozenset[int] = frozenset()) -> None:
    """Refuse a strategy that cannot work here, also as a part of another."""
    if id(strategy) in seen:
        return
    if isinstance(strategy, type):
        if issubclass(strategy, BaseException):
            raise PolicyError(
                f"{field} must be {what}, not the exception class {strategy.__name__}: "
                f"say tenacity.retry_if_exception_type({strategy.__name__})"
            )
        raise PolicyError(
            f"{field} must be {what}, not the class {strategy.__name__}: call it, {strategy.__name__}(...)"
        )
    if not callable(strategy):
        raise PolicyError(f"{field} must be {what}, not {strategy!r}")
    name = logs.name_of(strategy)
    if strategy in _FACTORIES:
        raise PolicyError(f"{field} must be {what}: call it, {name}()")
    if strategy in _PREDICATES and not seen:
        raise PolicyError(
            f"{field} must be {what}, and {name} takes an exception: say retry_{name.replace('is_', 'if_', 1)}()"
        )
    if isinstance(strategy, _LOOK_AT_RESULTS):
        raise PolicyError(
            f"{field} must judge errors only: {name} looks at results, and a result is always success here"
        )
    for function in (strategy, getattr(type(strategy), "__call__", None)):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise PolicyError(
                f"{field} must be a plain function: {name} is a coroutine function, and a decision never waits"
            )
        if inspect.isgeneratorfunction(function):
            raise PolicyError(f"{field} must be a plain function: {name} is a generator function")
    seen |= {id(strategy)}
    for attribute in _PARTS:
        parts = getattr(strategy, attribute, None)
        for part in parts if isinstance(parts, (list, tuple)) else (parts,):
            if callable(part):
                _check_strategy(field, part, what, seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
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
    backoff: WaitStrategy = Backoff()  # noqa: RUF009  # a frozen value
    retry: RetryStrategy = retry_if_refused()  # noqa: RUF009  # a frozen value
    stop: StopStrategy | None = None
    observers: tuple[Observer, ...] = (log_events,)
    name: str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            attempts: int | None = None,
            deadline: float | timedelta | None = 60.0,
            backoff: WaitStrategy = ...,
            retry: RetryStrategy = ...,
            stop: StopStrategy | None = None,
            observers: Iterable[Observer] = ...,
            name: str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if self.attempts is not None:
            if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
                raise PolicyError(f"Policy.attempts must be a whole number or None, not {self.attempts!r}")
            if self.attempts < 1:
                raise PolicyError(
                    f"Policy.attempts must be at least 1 (the first call is attempt 1), not {self.attempts!r}"
                )
        if self.deadline is not None:
            deadline = seconds("Policy.deadline", self.deadline)
            if deadline <= 0:
                raise PolicyError(f"Policy.deadline must be greater than 0 seconds, not {deadline!r}")
            object.__setattr__(self, "deadline", deadline)
        _check_strategy("Policy.backoff", self.backoff, "a Backoff or a tenacity wait strategy")
        _check_strategy("Policy.retry", self.retry, "a tenacity retry strategy such as retry_if_refused()")
        if self.stop is not None:
            _check_strategy("Policy.stop", self.stop, "a tenacity stop strategy")
        if callable(self.observers) or isinstance(self.observers, (str, bytes)):
            raise PolicyError("Policy.observers must be a tuple of callables: write (observer,)")
        try:
            observers = tuple(self.observers)
        except TypeError:
            raise PolicyError(f"Policy.observers must be a tuple of callables, not {self.observers!r}") from None
        for observer in observers:
            if not callable(observer):
                raise PolicyError(f"Policy.observers must hold callables, not {observer!r}")
            if inspect.iscoroutinefunction(observer) or inspect.iscoroutinefunction(type(observer).__call__):
                raise PolicyError(
                    f"Policy.observers must be plain functions: {logs.name_of(observer)} is a coroutine function"
                )
        object.__setattr__(self, "observers", observers)
        if self.name is not None and (not isinstance(self.name, str) or not self.name):
            raise PolicyError(f"Policy.name must be a non-empty text or None, not {self.name!r}")

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
        unknown = changes.keys() - {field.name for field in fields(self)}
        if unknown:
            raise PolicyError(f"Policy has no field {', '.join(sorted(unknown))}; it has {_field_names()}")
        return replace(self, **changes)

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read a policy from a text such as "attempts=8 deadline=30s backoff=50ms..5s jitter=full".

        Keys: `attempts`, `deadline`, `backoff` (initial..maximum), `factor`, `jitter`, `retry` (comma-separated:
        refused, not_ready, unresolved, unreachable, exhausted), `name`. Durations are "50ms", "30s", "5m", "2h" or a
        bare number of seconds; `none` is no limit. What is left out has its default.

        Raises:
            PolicyError: an unknown or repeated key, or a value that cannot be read.
        """
        return _parse(text)

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
            return _parse(text)
        except PolicyError:
            problem = f'environment variable {variable} is not a policy; it reads like "attempts=8 deadline=30s backoff=50ms..5s"'
        raise PolicyError(problem)

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
            wait = _WithinDeadline(_Seeded(self.backoff, uniform), self.deadline)
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
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_error) & self.retry,
            stop=self.stop_strategy(),
            wait=self.wait_strategy(),
            before_sleep=functools.partial(_tell_before_sleep, self),
            reraise=True,
        )

    def stop_strategy(self) -> StopStrategy:
        """Return attempts, deadline and `stop` as one tenacity stop strategy."""
        limits = _Limits(self.attempts, self.deadline)
        return limits if self.stop is None else stop_any(limits, self.stop)  # type: ignore[arg-type]  # any callable works

    def wait_strategy(self) -> WaitStrategy:
        """Return `backoff` within the deadline as one tenacity wait strategy."""
        return _WithinDeadline(self.backoff, self.deadline)

    def __str__(self) -> str:
        parts = [f"attempts={_count_text(self.attempts)}", f"deadline={_duration_text(self.deadline)}"]
        if type(self.backoff) is Backoff:
            backoff = self.backoff
            parts += [
                f"backoff={_duration_text(backoff.initial)}..{_duration_text(backoff.maximum)}",
                f"factor={backoff.factor:.17g}"
                if backoff.factor != float(f"{backoff.factor:g}")
                else f"factor={backoff.factor:g}",
                f"jitter={backoff.jitter}",
            ]
        else:
            parts.append(f"backoff=<{logs.name_of(self.backoff)}>")
        if type(self.retry) is RetryIf:
            words = _words(self.retry.kinds) or ["never"]
            parts.append(f"retry={','.join([*words, 'exhausted'] if self.retry.exhausted else words)}")
        else:
            parts.append(f"retry=<{logs.name_of(self.retry)}>")
        if self.stop is not None:
            parts.append(f"stop=<{logs.name_of(self.stop)}>")
        if self.observers != (log_events,):
            parts.append(f"observers=<{','.join(map(logs.name_of, self.observers))}>")
        if self.name is not None:
            parts.append(f"name={shlex.quote(self.name)}")
        return " ".join(parts)

    def __repr__(self) -> str:
        unlimited = self.attempts is None and self.deadline is None and self.stop is None
        values = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
        return f"Policy({'no limit, ' if unlimited else ''}{values})"


def _is_error(error: BaseException) -> bool:
    return isinstance(error, Exception)


def _tell_before_sleep(policy: Policy, retry_state: RetryCallState) -> None:
    logs.tell(policy.observers, logs.event_of(retry_state, policy=policy.name, deadline=policy.deadline))


class _Limits(stop_base):
    """Stop at so many attempts, or at the deadline."""

    def __init__(self, attempts: int | None, deadline: float | None) -> None:
        self.attempts = attempts
        self.deadline = deadline

    def __call__(self, retry_state: RetryCallState) -> bool:
        if self.attempts is not None and retry_state.attempt_number >= self.attempts:
            return True
        return self.deadline is not None and (retry_state.seconds_since_start or 0.0) >= self.deadline


class _WithinDeadline(wait_base):
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


class _Seeded(wait_base):
    """A backoff whose jitter is repeatable."""

    def __init__(self, backoff: Backoff, uniform: Callable[[], float]) -> None:
        self.backoff = backoff
        self.uniform = uniform

    def __call__(self, retry_state: RetryCallState) -> float:
        return self.backoff.delay(retry_state.attempt_number, retry_state.upcoming_sleep, self.uniform)


_UNITS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_KEYS: Final = ("attempts", "deadline", "backoff", "factor", "jitter", "retry", "name")


def _field_names() -> str:
    return ", ".join(field.name for field in fields(Policy))


def _parse(text: str) -> Policy:
    if not isinstance(text, str):
        raise PolicyError(f"a policy's text must be a str, not {type(text).__name__}")
    try:
        words = shlex.split(text)
    except ValueError as problem:
        raise PolicyError(f"a policy's text has an open quote: {problem}") from None
    said: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise PolicyError(f"a policy's text is key=value, not {word!r}; the keys are {', '.join(_KEYS)}")
        if value.startswith("<") and value.endswith(">"):
            raise PolicyError(f"{key}={value} stands for a Python object, which a text cannot build: set {key} in code")
        if key not in _KEYS:
            raise PolicyError(f"a policy has no {key!r}; the keys are {', '.join(_KEYS)}")
        if key in said:
            raise PolicyError(f"{key} is given twice: {said[key]!r} and {value!r}")
        said[key] = value
    changes: dict[str, Any] = {}
    if "attempts" in said:
        changes["attempts"] = _read_count(said["attempts"])
    if "deadline" in said:
        changes["deadline"] = _read_duration("deadline", said["deadline"])
    backoff: dict[str, Any] = {}
    if "backoff" in said:
        initial, dots, maximum = said["backoff"].partition("..")
        if not dots:
            raise PolicyError(f"backoff must be initial..maximum, such as 50ms..5s, not {said['backoff']!r}")
        backoff["initial"] = _read_number("backoff", initial)
        backoff["maximum"] = _read_number("backoff", maximum)
    if "factor" in said:
        if not re.fullmatch(_NUMBER, said["factor"]):
            raise PolicyError(f"factor must be a number, not {said['factor']!r}")
        backoff["factor"] = float(said["factor"])
    if "jitter" in said:
        backoff["jitter"] = said["jitter"]
    if backoff:
        changes["backoff"] = Backoff(**backoff)
    if "retry" in said:
        changes["retry"] = _read_retry(said["retry"])
    if "name" in said:
        changes["name"] = said["name"]
    return Policy(**changes)


_NUMBER: Final = r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"


def _read_count(text: str) -> int | None:
    if text == "none":
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise PolicyError(f"attempts must be a whole number or none, not {text!r}")
    return int(text)


def _read_duration(key: str, text: str) -> float | None:
    return None if text == "none" else _read_number(key, text)


def _read_number(key: str, text: str) -> float:
    match = re.fullmatch(rf"({_NUMBER})(ms|s|m|h|)", text)
    if match is None:
        raise PolicyError(f"{key} must be a duration such as 50ms, 30s, 5m or 2h, not {text!r}")
    unit = match[match.lastindex or 0]
    number = float(match[1])
    return number / 1000 if unit == "ms" else number * _UNITS[unit]


def _read_retry(text: str) -> RetryIf:
    words = text.split(",")
    exhausted = "exhausted" in words
    words = [word for word in words if word != "exhausted"]
    if words == ["never"]:
        return RetryIf(frozenset(), exhausted)
    kinds: frozenset[Kind] = frozenset()
    for word in words:
        if word not in _WORDS:
            raise PolicyError(f"retry has no {word!r}; the words are {', '.join(_WORDS)}, exhausted and never")
        kinds |= _WORDS[word]
    if not kinds:
        raise PolicyError(f"retry must name what is retried, not only {text!r}")
    return RetryIf(kinds, exhausted)


def _count_text(count: int | None) -> str:
    return "none" if count is None else str(count)


def _duration_text(duration: float | None) -> str:
    if duration is None:
        return "none"
    if 0 < duration < 1:
        milliseconds = f"{duration * 1000:g}"
        if re.fullmatch(_NUMBER, milliseconds) and float(milliseconds) / 1000 == duration:
            return f"{milliseconds}ms"
    short = f"{duration:g}"
    return f"{short}s" if float(short) == duration else f"{duration!r}s"
