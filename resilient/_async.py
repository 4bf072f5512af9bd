"""The driver for coroutine functions: awaits the user's function and pauses its task, on asyncio or trio.

Twin of `_sync.py`, line for line; edited together and tested by one suite.
Imports asyncio or trio only when one of them is running, so it is loaded already.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from types import CoroutineType
from typing import Any

from . import clock
from ._attempt import Attempt
from ._recovery import Plan, Recovery
from .clock import LONGEST_NAP, Cancellation


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
                recovery = Recovery(plan, started, args, kwargs)
                step = recovery.failed(error)
            except RecursionError:  # no room on the stack to decide anything
                step = None
            if step is None or recovery is None:
                raise
        return await again(function, args, kwargs, recovery, step)

    return protected


class _First:
    """A coroutine that is closed with whatever was to await it: Python would warn of it, and not of what dropped it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine

    def __del__(self) -> None:
        self.coroutine.close()


def adopt(
    first: CoroutineType[Any, Any, Any],
    function: Callable[..., Any],
    plan: Plan,
    args: Any,
    kwargs: Any,
    recovery: Recovery | None = None,
) -> Any:
    """Protect a coroutine that a plain function returned, after the failed calls that `recovery` counts."""
    adopted: Any = _adopted(_First(first), function, plan, args, kwargs, recovery)
    adopted.__name__, adopted.__qualname__ = first.__name__, first.__qualname__
    return adopted


async def _adopted(
    first: _First, function: Callable[..., Any], plan: Plan, args: Any, kwargs: Any, recovery: Recovery | None
) -> Any:
    started = clock.now()
    try:
        result = await first.coroutine
    except Exception as error:
        if recovery is None:
            recovery = Recovery(plan, started, args, kwargs)
        step = recovery.failed(error)
        if step is None:
            raise
    else:
        if recovery is not None:
            recovery.succeeded()
        return result

    def attempt(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        result = function(*args, **kwargs)
        return result if type(result) is CoroutineType else _given(result)

    return await again(attempt, args, kwargs, recovery, step)


async def _given(result: Any) -> Any:
    return result


async def again(function: Callable[..., Any], args: Any, kwargs: Any, recovery: Recovery, step: float) -> Any:
    """Try again, outside the `except`, so that no attempt sees an earlier one's error as its context."""
    while True:
        recovery.release()
        await sleep(step, recovery.cancellation, recovery)
        if not recovery.woken():
            recovery.reraise()
        try:
            result = await function(*args, **kwargs)
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


class Attempts(AsyncIterator[Attempt]):
    """The attempts of one block, with their pauses between."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._attempt: Attempt | None = None
        self._started = 0.0

    async def __anext__(self) -> Attempt:
        if self._attempt is None:
            self._started = clock.now()
            self._attempt = Attempt(self._plan, self._started, None)
            return self._attempt
        pause = self._attempt._pause()
        if pause is None:
            raise StopAsyncIteration
        recovery, step = pause
        recovery.release()
        await sleep(step, recovery.cancellation, recovery)
        if not recovery.woken():
            try:
                recovery.reraise()
            except StopAsyncIteration as end:  # it would end the loop as if the block had succeeded
                raise RuntimeError("a block gave up on StopAsyncIteration") from end
        self._attempt = Attempt(self._plan, self._started, recovery)
        return self._attempt


async def sleep(seconds: float, cancellation: Cancellation | None, caller: Recovery) -> None:
    """Pause this task for `seconds`, or until `cancellation` ends it."""
    if clock.stand_in is not None:
        await clock.stand_in.sleep_async(seconds, cancellation, caller)
        return
    nap = _nap_trio if in_trio() else _nap_asyncio
    left = seconds
    while True:  # at least once: a pause of no length still lets other tasks run
        await nap(min(left, LONGEST_NAP), cancellation)
        left -= LONGEST_NAP
        if left <= 0 or (cancellation is not None and cancellation.cancelled):
            return


def in_trio() -> bool:
    """Whether this is a trio task; otherwise it is an asyncio one."""
    trio = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


async def _nap_asyncio(seconds: float, cancellation: Cancellation | None) -> None:
    import asyncio

    if cancellation is None:
        await asyncio.sleep(seconds)
        return
    loop = asyncio.get_running_loop()
    gate: asyncio.Future[None] = loop.create_future()

    def open_gate() -> None:
        if not gate.done():
            gate.set_result(None)

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(open_gate)
        except RuntimeError:  # the loop is closed, and nobody sleeps on it any more
            return

    timer = loop.call_later(seconds, open_gate)
    key = cancellation._watch(wake)
    try:
        if cancellation.cancelled:
            open_gate()
        await gate
    finally:
        timer.cancel()
        cancellation._unwatch(key)


async def _nap_trio(seconds: float, cancellation: Cancellation | None) -> None:
    import trio

    if cancellation is None:
        await trio.sleep(seconds)
        return
    token, gate = trio.lowlevel.current_trio_token(), trio.Event()

    def wake() -> None:
        try:
            token.run_sync_soon(gate.set)
        except trio.RunFinishedError:
            return

    key = cancellation._watch(wake)
    try:
        if cancellation.cancelled:
            gate.set()
        with trio.move_on_after(seconds):
            await gate.wait()
    finally:
        cancellation._unwatch(key)
