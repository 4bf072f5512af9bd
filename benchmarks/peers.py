"""The same function, protected by each library in the way its manual shows, and by hand.

A peer that is not installed is left out, and the table's head says so.
"""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable
from typing import Any

Decorator = Callable[[Any], Any]


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    """Protect by hand, and do nothing about it: the least a decorator that looks at exceptions can cost."""

    @functools.wraps(function)
    def protected(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception:  # the cost of being ready for one is what is measured
            raise

    return protected


def bare_async(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a coroutine function."""

    @functools.wraps(function)
    async def protected(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except Exception:
            raise

    return protected


def clocked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Read the clock before the call: the least for a decorator that keeps a deadline from the first attempt on."""

    @functools.wraps(function)
    def protected(*args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise error from TimeoutError(started)

    return protected


def clocked_async(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a coroutine function."""

    @functools.wraps(function)
    async def protected(*args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        try:
            return await function(*args, **kwargs)
        except Exception as error:
            raise error from TimeoutError(started)

    return protected


def by_hand(function: Callable[[], Any]) -> Callable[[], Any]:
    """Try again at once, without limit: what a failing call costs before any library comes in."""

    @functools.wraps(function)
    def protected() -> Any:
        while True:
            try:
                return function()
            except ConnectionRefusedError:
                continue

    return protected


def others() -> dict[str, Decorator]:
    """Return the decorators of the peers that are installed, each told to retry refused connections."""
    found: dict[str, Decorator] = {}
    for name, make in (("tenacity", _tenacity), ("stamina", _stamina), ("backoff", _backoff)):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        found[name] = make(library)
    return found


def _tenacity(tenacity: Any) -> Decorator:
    return tenacity.retry(  # type: ignore[no-any-return]
        retry=tenacity.retry_if_exception_type(ConnectionRefusedError),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=1.0),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    )


def _stamina(stamina: Any) -> Decorator:
    return stamina.retry(on=ConnectionRefusedError, attempts=None, timeout=60.0)  # type: ignore[no-any-return]


def _backoff(backoff: Any) -> Decorator:
    return backoff.on_exception(  # type: ignore[no-any-return]
        backoff.expo, ConnectionRefusedError, max_time=60, factor=0.05, max_value=1.0
    )
