"""What a breaker's settings may be, checked when it is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .. import logs
from ..errors import PolicyError


def check_name(name: object) -> str:
    """Return the name; it is text and says something."""
    if not isinstance(name, str):
        raise PolicyError(f"CircuitBreaker.name must be a text, not {type(name).__name__}")
    if not name.strip() or not name.isprintable():
        raise PolicyError(f"CircuitBreaker.name must be printable and not empty, not {name!r}")
    return name


def check_count(field: str, value: object, owner: str = "CircuitBreaker") -> int:
    """Return a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PolicyError(f"{owner}.{field} must be a whole number, not {value!r}")
    if value < 1:
        raise PolicyError(f"{owner}.{field} must be at least 1, not {value!r}")
    return value


def check_counts(counts: Any) -> Callable[[BaseException], object]:
    """Return what a failure is, as a predicate."""
    where = "CircuitBreaker.counts"
    if isinstance(counts, type):
        counts = (counts,)
    if isinstance(counts, tuple):
        for cls in counts:
            if not (isinstance(cls, type) and issubclass(cls, Exception)):
                raise PolicyError(f"{where} must hold exception types, not {cls!r}")
        if not counts:
            raise PolicyError(f"{where} must hold at least one exception type, or nothing ever opens the circuit")
        types: tuple[type[Exception], ...] = counts
        return lambda error: isinstance(error, types)
    if not callable(counts):
        raise PolicyError(f"{where} must be a predicate such as is_not_ready, or exception types, not {counts!r}")
    for function in (counts, getattr(type(counts), "__call__", None)):  # noqa: B004
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise PolicyError(f"{where} must be a plain function: {logs.name_of(counts)} would only be started")
    predicate: Callable[[BaseException], object] = counts
    return predicate
