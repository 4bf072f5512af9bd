"""Which strategies can work here, and what to say of those that cannot."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final

import tenacity
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from .. import logs, refusal
from ..errors import PolicyError
from ._retry_if import retry_if_not_ready, retry_if_refused, retry_if_unreachable, retry_if_unresolved

# tenacity has classes that look at results, and all of `tenacity.asyncio` is asynchronous.
_LOOK_AT_RESULTS: Final = (
    tenacity.retry_if_result,
    tenacity.retry_if_not_result,
    tenacity.retry_unless_exception_type,
    tenacity.retry_if_not_exception_message,
)
_FACTORIES: Final = (retry_if_refused, retry_if_not_ready, retry_if_unresolved, retry_if_unreachable)
_PREDICATES: Final = {
    refusal.is_refused: "say retry_if_refused()",
    refusal.is_not_ready: "say retry_if_not_ready()",
    refusal.is_unresolved: "say retry_if_unresolved()",
    refusal.is_unreachable: "say retry_if_unreachable()",
    refusal.is_hopeless: "and waiting cannot help there",
    refusal.find_refusal: "say retry_if_not_ready()",
}
_KINDS: Final = {
    "retry": (retry_base, "a tenacity retry strategy such as retry_if_refused()"),
    "stop": (stop_base, "a tenacity stop strategy such as stop_after_attempt(5)"),
    "backoff": (wait_base, "a Backoff or a tenacity wait strategy"),
}
# Where a strategy keeps the parts it is made of; looked up in its own namespace, so that nothing is run.
_PARTS: Final = ("retries", "stops", "wait_funcs", "strategies", "predicate")


def check_strategy(field: str, strategy: Any) -> None:
    """Refuse a strategy for the field "retry", "stop" or "backoff" that cannot work, also as a part of another.

    Raises:
        PolicyError: naming the field, the strategy and what to write instead.
    """
    base, what = _KINDS[field]
    where = f"Policy.{field}"
    if isinstance(strategy, type):
        name = strategy.__name__
        if issubclass(strategy, BaseException):
            hint = f"say tenacity.retry_if_exception_type({name})"
            raise PolicyError(f"{where} must be {what}, not the exception class {name}: {hint}")
        raise PolicyError(f"{where} must be {what}, not the class {name}: call it, {name}(...)")
    if not callable(strategy):
        raise PolicyError(f"{where} must be {what}, not {strategy!r}")
    _check_function(f"{where} must be {what}", strategy)
    name = logs.name_of(strategy)
    for kind, (other, _) in _KINDS.items():
        if isinstance(strategy, other) and not isinstance(strategy, base):
            raise PolicyError(f"{where} must be {what}, and {name} is one for Policy.{kind}")
    _check_parts(where, strategy, set())


def _check_function(problem: str, function: Any, *, judges_errors: bool = False) -> None:
    """Refuse our own functions where they would answer something, and never what was meant."""
    if any(function is factory for factory in _FACTORIES):
        raise PolicyError(f"{problem}: call it, {logs.name_of(function)}()")
    for predicate, hint in _PREDICATES.items():
        if function is predicate and not judges_errors:
            raise PolicyError(f"{problem}, and {logs.name_of(function)} takes an exception: {hint}")


def _check_parts(where: str, strategy: Any, seen: set[int]) -> None:
    if id(strategy) in seen:
        return
    seen.add(id(strategy))
    name = logs.name_of(strategy)
    if isinstance(strategy, _LOOK_AT_RESULTS):
        raise PolicyError(
            f"{where} must judge errors only: {name} looks at results, and a result is always success here"
        )
    for function in (strategy, getattr(type(strategy), "__call__", None)):  # noqa: B004  # its code is looked at
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise PolicyError(
                f"{where} must be a plain function: {name} is a coroutine function, and a decision never waits"
            )
        if inspect.isgeneratorfunction(function):
            raise PolicyError(f"{where} must be a plain function: {name} is a generator function")
    for attribute, part in _parts(strategy):
        problem = f"{where}: a part of {name} must be a strategy"
        _check_function(problem, part, judges_errors=attribute == "predicate")
        if isinstance(part, type) and issubclass(part, (retry_base, stop_base, wait_base)):
            raise PolicyError(f"{where}: a part of {name} is the class {part.__name__}: call it, {part.__name__}(...)")
        if callable(part):
            _check_parts(where, part, seen)


def _parts(strategy: Any) -> list[tuple[str, Any]]:
    if isinstance(strategy, functools.partial):
        return [("func", strategy.func)]
    try:
        namespace = vars(strategy)
    except TypeError:
        return []
    found: list[tuple[str, Any]] = []
    for name in _PARTS:
        part = namespace.get(name)
        found += [(name, each) for each in (part if isinstance(part, (list, tuple)) else [part])]
    return found
