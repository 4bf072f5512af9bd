"""The driver for coroutine functions: awaits the user's function and pauses its task, on asyncio or trio.

Twin of `_sync.py`, line for line; edited together and tested by one suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from types import CoroutineType
from typing import Any

from . import clock
from ._attempt import Attempt
from ._circuit import Permit
from ._recovery import Plan, Recovery
from .breaker import CircuitBreaker
from .endpoint import Endpoint


def protect(function: Callable[..., Any], plan: Plan) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the coroutine function `function` with its refusals retried as planned."""

    async def protected(*args: Any, **kwargs: Any) -> Any:
        started = clock.now()
        try:
            # As in `_sync`: without keywords, `**{}` would build a second dict for nothing.
            return await (function(*args, **kwargs) if kwargs else function(*args))
        except Exception as error:
            recovery = None
            try:
                recovery = Recovery(plan, started, args, kwargs, host=clock.host)
                step = recovery.failed(error)
            except RecursionError:  # no room on the stack to decide anything
                step = None
            if step is None or recovery is None:
                raise
        return await again(function, args, kwargs, recovery, step)

    return protected


def protect_by_circuit(
    function: Callable[..., Any], plan: Plan, breaker: CircuitBreaker
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the coroutine function `function` with its refusals retried as planned, behind a circuit breaker."""

    async def protected(*args: Any, **kwargs: Any) -> Any:
        permit = breaker.sound
        if permit is None:
            return await call(function, plan, breaker, args, kwargs)
        started = clock.now()
        try:
            result = await (function(*args, **kwargs) if kwargs else function(*args))
        except Exception as error:
            recovery = None
            try:
                recovery = Recovery(plan, started, args, kwargs, breaker, permit, clock.host)
                step = recovery.failed(error)
            except RecursionError:  # no room on the stack to decide anything
                step = None
            if step is None or recovery is None:
                raise
        else:
            if breaker.sound is not permit:  # something changed meanwhile, or one failure is to be forgotten
                breaker.vote(permit, "success")
            return result
        return await again(function, args, kwargs, recovery, step)

    return protected


def protect_by_endpoint(function: Callable[..., Any], plan: Plan) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return `function` with its refusals retried as planned, each call behind the breaker of its endpoint."""
    plain = protect(function, plan)

    async def protected(*args: Any, **kwargs: Any) -> Any:
        breaker = plan.breaker_for(args, kwargs)
        return await (plain(*args, **kwargs) if breaker is None else call(function, plan, breaker, args, kwargs))

    return protected


def protect_by_targets(function: Callable[..., Any], plan: Plan) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the coroutine function `function` with its refusals retried as planned, at the endpoint it has come to.

    Its first argument is that endpoint.
    """
    # As behind one circuit, written out once more: that one would be over its bound if it looked for its endpoint.
    starts, targets = plan.starts, plan.targets
    assert targets is not None

    async def protected(*args: Any, **kwargs: Any) -> Any:
        breaker, its = starts[targets.current_place]
        permit = breaker.sound
        if permit is None:
            return await call(function, plan, breaker, args, kwargs)
        started = clock.now()
        try:
            # Joined by hand: what a call joins by itself costs half of the bare wrapper (measured).
            result = await (function(*its, *args, **kwargs) if kwargs else function(*(its + args)))
        except Exception as error:
            recovery = None
            try:
                recovery = Recovery(plan, started, args, kwargs, breaker, permit, clock.host)
                step = recovery.failed(error)
            except RecursionError:  # no room on the stack to decide anything
                step = None
            if step is None or recovery is None:
                raise
        else:
            if breaker.sound is not permit:  # something changed meanwhile, or one failure is to be forgotten
                breaker.vote(permit, "success")
            return result
        return await again(function, args, kwargs, recovery, step)

    return protected


async def call(function: Callable[..., Any], plan: Plan, breaker: CircuitBreaker, args: Any, kwargs: Any) -> Any:
    """Call `function` as soon as its circuit lets it, and again as planned."""
    recovery = Recovery(plan, clock.now(), args, kwargs, breaker, host=clock.host)
    return await again(function, args, kwargs, recovery, None)


class _First:
    """A coroutine that is closed with whatever was to await it: Python would warn of it, and not of what dropped it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], recovery: Recovery | None) -> None:
        self.coroutine = coroutine
        self.recovery = recovery

    def __del__(self) -> None:
        self.coroutine.close()
        if self.recovery is not None and not self.recovery.over:  # it was never awaited
            self.recovery.leave()


def adopt(
    first: CoroutineType[Any, Any, Any] | None,
    function: Callable[..., Any],
    plan: Plan,
    args: Any,
    kwargs: Any,
    recovery: Recovery | None = None,
    breaker: CircuitBreaker | None = None,
    permit: Permit | None = None,
) -> Any:
    """Protect a coroutine that a plain function returned, after the failed calls that `recovery` counts.

    Without a `first` one, the function has not been called yet: its circuit is open.
    """

    def attempt(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        result = function(*args, **kwargs)
        return result if type(result) is CoroutineType else _given(result)

    if first is None:
        assert breaker is not None
        return call(attempt, plan, breaker, args, kwargs)
    adopted: Any = _adopted(_First(first, recovery), attempt, plan, args, kwargs, recovery, breaker, permit)
    adopted.__name__, adopted.__qualname__ = first.__name__, first.__qualname__
    return adopted


async def _adopted(
    first: _First,
    attempt: Callable[..., Any],
    plan: Plan,
    args: Any,
    kwargs: Any,
    recovery: Recovery | None,
    breaker: CircuitBreaker | None,
    permit: Permit | None,
) -> Any:
    first.recovery, started = None, clock.now()
    try:
        result = await first.coroutine
    except Exception as error:
        try:
            if recovery is None:
                recovery = Recovery(plan, started, args, kwargs, breaker, permit, clock.host)
            step = recovery.failed(error)
        except RecursionError:  # no room on the stack to decide anything
            step = None
        if step is None or recovery is None:
            if recovery is not None:
                recovery.leave()
            raise
    except BaseException:
        if recovery is not None:
            recovery.leave()
        raise
    else:
        if recovery is not None:
            recovery.succeeded()
        elif breaker is not None and permit is not None and breaker.sound is not permit:
            breaker.vote(permit, "success")
        return result
    return await again(attempt, args, kwargs, recovery, step)


async def _given(result: Any) -> Any:
    return result


async def again(function: Callable[..., Any], args: Any, kwargs: Any, recovery: Recovery, step: float | None) -> Any:
    """Try again, outside the `except`, so that no attempt sees an earlier one's error as its context."""
    try:
        while True:
            await wait(recovery, step)
            try:
                result = await function(*recovery.arguments, **kwargs)
            except Exception as error:
                try:
                    following = recovery.failed(error)
                except RecursionError:  # no room on the stack to decide anything
                    following = None
                if following is None:
                    raise
                step = following
            else:
                recovery.succeeded()
                return result
    except BaseException:  # also an interrupt: its place, its turn and its permit are given back
        recovery.leave()
        raise


async def wait(recovery: Recovery, step: float | None) -> None:
    """Ask, pause or park this task until the next attempt may be made; raises the last error where none follows."""
    if (endpoint := recovery.question) is not None:
        step = recovery.answered(await ask_async(endpoint))
        if recovery.over:
            recovery.reraise()
    recovery.release()
    step = recovery.enter(step)
    while step is not None:
        await clock.sleep_async(step, recovery.signal, recovery)
        step = recovery.woken()
    if recovery.over:
        recovery.reraise()


class Attempts(AsyncIterator[Attempt]):
    """The attempts of one block, with their pauses between."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._attempt: Attempt | None = None
        self._started = 0.0

    async def __anext__(self) -> Attempt:
        if self._attempt is None:
            self._started = clock.now()
            breaker = self._plan.breaker_for((), {})
            permit = None if breaker is None else breaker.sound
            if breaker is None or permit is not None:
                self._attempt = Attempt(self._plan, self._started, None, breaker, permit, clock.host)
                return self._attempt
            recovery = Recovery(self._plan, self._started, (), {}, breaker, host=clock.host)
            step = None
        else:
            pause = self._attempt._pause()
            if pause is None:
                raise StopAsyncIteration
            recovery, step = pause
        try:
            await wait(recovery, step)
            self._attempt = Attempt(self._plan, self._started, recovery)
        except StopAsyncIteration as end:  # it would end the loop as if the block had succeeded
            raise RuntimeError("a block gave up on StopAsyncIteration") from end
        except BaseException:
            recovery.leave()
            raise
        return self._attempt


async def ask_async(endpoint: Endpoint) -> bool:
    """Ask a port whether it refuses; "no" where that cannot be asked any more."""
    try:
        from . import _asking
    except (ImportError, OSError):  # no descriptor left, or Python is shutting down
        return False
    return await _asking.ask_async(endpoint)
