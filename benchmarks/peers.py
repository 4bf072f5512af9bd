"""The same function, protected by each library in the way its manual shows, and by hand.

A peer that is not installed is left out, and the table's head says so.
"""

from __future__ import annotations

import datetime
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


Breaker = Callable[[int, float], Decorator]
"""(failures that open it, seconds it stays open) → a decorator with a circuit breaker of its own."""


def breakers(*, asynchronous: bool = False) -> dict[str, Breaker]:
    """Return the circuit breakers of the peers that are installed, for functions or for coroutine functions.

    Each opens after so many consecutive failures as far as it can: interlock counts a rate in a window of that size.
    """
    found: dict[str, Breaker] = {}
    for name, make in (
        ("pybreaker", None if asynchronous else _pybreaker),  # it knows Tornado's coroutines only
        ("circuitbreaker", _circuitbreaker),
        ("purgatory", _purgatory_async if asynchronous else _purgatory),
        ("aiobreaker", _aiobreaker),
        ("interlock", _interlock),
    ):
        if make is None:
            continue
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        found[name] = functools.partial(make, library)
    return found


def _pybreaker(pybreaker: Any, failures: int, seconds: float) -> Decorator:
    return pybreaker.CircuitBreaker(fail_max=failures, reset_timeout=seconds)  # type: ignore[no-any-return]


def _circuitbreaker(circuitbreaker: Any, failures: int, seconds: float) -> Decorator:
    return circuitbreaker.CircuitBreaker(  # type: ignore[no-any-return]
        failure_threshold=failures, recovery_timeout=seconds, expected_exception=ConnectionRefusedError
    )


def _purgatory(purgatory: Any, failures: int, seconds: float) -> Decorator:
    factory = purgatory.SyncCircuitBreakerFactory(default_threshold=failures, default_ttl=seconds)
    return factory("service")  # type: ignore[no-any-return]


def _purgatory_async(purgatory: Any, failures: int, seconds: float) -> Decorator:
    factory = purgatory.AsyncCircuitBreakerFactory(default_threshold=failures, default_ttl=seconds)
    return factory("service")  # type: ignore[no-any-return]


def _aiobreaker(aiobreaker: Any, failures: int, seconds: float) -> Decorator:
    return aiobreaker.CircuitBreaker(  # type: ignore[no-any-return]
        fail_max=failures, timeout_duration=datetime.timedelta(seconds=seconds)
    )


def _interlock(interlock: Any, failures: int, seconds: float) -> Decorator:
    config = interlock.Config(
        window_size=failures,
        minimum_number_of_calls=failures,
        failure_rate_threshold=1.0,
        permitted_calls_in_half_open=1,
        wait_duration_in_open=seconds,
    )
    return interlock.CircuitBreaker(name="service", config=config)  # type: ignore[no-any-return]
