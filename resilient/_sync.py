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
from .breaker import CircuitBreaker
from .endpoint import Endpoint


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


def protect_by_circuit(
    function: Callable[..., Any], plan: Plan, breaker: CircuitBreaker, adopt: Callable[..., Any]
) -> Callable[..., Any]:
    """Return `function` with its refusals retried as planned, behind a circuit breaker."""

    def protected(*args: Any, **kwargs: Any) -> Any:
        permit = breaker.sound
        if permit is None:
            return call(function, plan, breaker, adopt, args, kwargs)
        started = clock.now()
        try:
            result = function(*args, **kwargs) if kwargs else function(*args)
        except Exception as error:
            recovery = None
            try:
                recovery = Recovery(plan, started, args, kwargs, breaker, permit)
                step = recovery.failed(error)
            except RecursionError:  # no room on the stack to decide anything
                step = None
            if step is None or recovery is None:
                raise
        else:
            if type(result) is not CoroutineType:
                if breaker.sound is not permit:  # something changed meanwhile, or one failure is to be forgotten
                    breaker.vote(permit, "success")
                return result
            plan.gives_coroutines = True
            return adopt(result, function, plan, args, kwargs, None, breaker, permit)
        result = again(function, args, kwargs, recovery, step)
        return adopt(result, function, plan, args, kwargs, recovery) if type(result) is CoroutineType else result

    return protected


def protect_by_endpoint(function: Callable[..., Any], plan: Plan, adopt: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` with its refusals retried as planned, each call behind the breaker of its endpoint."""
    plain = protect(function, plan, adopt)

    def protected(*args: Any, **kwargs: Any) -> Any:
        breaker = plan.breaker_for(args, kwargs)
        return plain(*args, **kwargs) if breaker is None else call(function, plan, breaker, adopt, args, kwargs)

    return protected


def protect_by_targets(function: Callable[..., Any], plan: Plan, adopt: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` with its refusals retried as planned, at the endpoint that its call has come to.

    Its first argument is that endpoint.
    """
    # As behind one circuit, written out once more: that one would be over its bound if it looked for its endpoint.
    starts, targets = plan.starts, plan.targets
    assert targets is not None

    def protected(*args: Any, **kwargs: Any) -> Any:
        breaker, its = starts[targets.current_place]
        permit = breaker.sound
        if permit is None:
            return call(function, plan, breaker, adopt, args, kwargs)
        started = clock.now()
        try:
            # Joined by hand: what a call joins by itself costs half of the bare wrapper (measured).
            result = function(*its, *args, **kwargs) if kwargs else function(*(its + args))
        except Exception as error:
            recovery = None
            try:
                recovery = Recovery(plan, started, args, kwargs, breaker, permit)
                step = recovery.failed(error)
            except RecursionError:  # no room on the stack to decide anything
                step = None
            if step is None or recovery is None:
                raise
        else:
            if type(result) is not CoroutineType:
                if breaker.sound is not permit:  # something changed meanwhile, or one failure is to be forgotten
                    breaker.vote(permit, "success")
                return result
            plan.gives_coroutines = True
            return adopt(result, function, plan, args, kwargs, None, breaker, permit)
        result = again(function, args, kwargs, recovery, step)
        return adopt(result, function, plan, args, kwargs, recovery) if type(result) is CoroutineType else result

    return protected


def call(
    function: Callable[..., Any], plan: Plan, breaker: CircuitBreaker, adopt: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    """Call `function` as soon as its circuit lets it, and again as planned."""
    if plan.gives_coroutines:  # not to park the thread of an event loop
        return adopt(None, function, plan, args, kwargs, None, breaker)
    recovery = Recovery(plan, clock.now(), args, kwargs, breaker)
    result = again(function, args, kwargs, recovery, None)
    if type(result) is not CoroutineType:
        return result
    plan.gives_coroutines = True
    return adopt(result, function, plan, args, kwargs, recovery)


def again(function: Callable[..., Any], args: Any, kwargs: Any, recovery: Recovery, step: float | None) -> Any:
    """Try again, outside the `except`, so that no attempt sees an earlier one's error as its context."""
    try:
        while True:
            wait(recovery, step)
            try:
                result = function(*recovery.arguments, **kwargs)
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
    except BaseException:  # also an interrupt: its place, its turn and its permit are given back
        recovery.leave()
        raise


def wait(recovery: Recovery, step: float | None) -> None:
    """Ask, pause or park this thread until the next attempt may be made; raises the last error where none follows."""
    if (endpoint := recovery.question) is not None:
        step = recovery.answered(ask(endpoint))
        if recovery.over:
            recovery.reraise()
    recovery.release()
    step = recovery.enter(step)
    while step is not None:
        clock.sleep(step, recovery.signal, recovery)
        step = recovery.woken()
    if recovery.over:
        recovery.reraise()


class Attempts(Iterator[Attempt]):
    """The attempts of one block, with their pauses between."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._attempt: Attempt | None = None
        self._started = 0.0

    def __next__(self) -> Attempt:
        if self._attempt is None:
            self._started = clock.now()
            breaker = self._plan.breaker_for((), {})
            permit = None if breaker is None else breaker.sound
            if breaker is None or permit is not None:
                self._attempt = Attempt(self._plan, self._started, None, breaker, permit)
                return self._attempt
            recovery = Recovery(self._plan, self._started, (), {}, breaker)
            step = None
        else:
            pause = self._attempt._pause()
            if pause is None:
                raise StopIteration
            recovery, step = pause
        try:
            wait(recovery, step)
            self._attempt = Attempt(self._plan, self._started, recovery)
        except StopIteration as end:  # it would end the loop as if the block had succeeded
            raise RuntimeError("a block gave up on StopIteration") from end
        except BaseException:
            recovery.leave()
            raise
        return self._attempt


def ask(endpoint: Endpoint) -> bool:
    """Ask a port whether it refuses; "no" where that cannot be asked any more."""
    try:
        from . import _asking
    except (ImportError, OSError):  # no descriptor left, or Python is shutting down
        return False
    return _asking.ask(endpoint)
