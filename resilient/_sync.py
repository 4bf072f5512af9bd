"""The driver for plain functions: calls the user's function and pauses its thread.

Twin of `_async.py`, line for line; edited together and tested by one suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CoroutineType
from typing import Any

from . import clock
from ._attempt import Attempt
from ._recovery import Plan, Recovery


def protect(function: Callable[..., Any], plan: Plan, adopt: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` with its refusals retried as planned. `adopt` takes over a coroutine that it returns."""

    def protected(*args: Any, **kwargs: Any) -> Any:
        started = clock.now()
        try:
            # Most connects are called without keywords; `**{}` would build a second dict for nothing (measured: 0.15×).
            result = function(*args, **kwargs) if kwargs else function(*args)
        except Exception as error:
            recovery = None
            try:
                recovery = Recovery(plan, started, args, kwargs)
                step = recovery.failed(error)
            except RecursionError:  # no room on the stack to decide anything
                step = None
            if step is None or recovery is None:
                raise
        else:
            if type(result) is not CoroutineType:
                return result
            return adopt(result, function, plan, args, kwargs)
        result = again(function, args, kwargs, recovery, step)
        return adopt(result, function, plan, args, kwargs, recovery) if type(result) is CoroutineType else result

    return protected


def again(function: Callable[..., Any], args: Any, kwargs: Any, recovery: Recovery, step: float) -> Any:
    """Try again, outside the `except`, so that no attempt sees an earlier one's error as its context."""
    while True:
        recovery.release()
        clock.sleep(step, recovery.cancellation, recovery)
        if not recovery.woken():
            recovery.reraise()
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            try:
                following = recovery.failed(error)
            except RecursionError:  # no room on the stack to decide anything
                following = None
            if following is None:
                raise
            step = following
        else:
            if type(result) is not CoroutineType:  # of a coroutine, only its end tells
                recovery.succeeded()
            return result


class Attempts(Iterator[Attempt]):
    """The attempts of one block, with their pauses between."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._attempt: Attempt | None = None
        self._started = 0.0

    def __next__(self) -> Attempt:
        if self._attempt is None:
            self._started = clock.now()
            self._attempt = Attempt(self._plan, self._started, None)
            return self._attempt
        pause = self._attempt._pause()
        if pause is None:
            raise StopIteration
        recovery, step = pause
        recovery.release()
        clock.sleep(step, recovery.cancellation, recovery)
        if not recovery.woken():
            try:
                recovery.reraise()
            except StopIteration as end:  # it would end the loop as if the block had succeeded
                raise RuntimeError("a block gave up on StopIteration") from end
        self._attempt = Attempt(self._plan, self._started, recovery)
        return self._attempt
