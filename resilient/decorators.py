"""`retry_on_refused` and `attempts`: def or async def? Chosen once, at decoration.

Looks at what it is given and hands it to one of the two drivers; it never calls it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from . import _async, _sync
from ._attempt import Attempt
from ._recovery import Plan, Target
from .clock import Cancellation
from .endpoint import Endpoint
from .policy import Policy

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")

_DEFAULT = Policy()


if TYPE_CHECKING:  # a Protocol is dear to build, and only type checkers look at this one

    class Decorator(Protocol):
        """What `retry_on_refused(...)` returns: a decorator that keeps the exact signature."""

        @overload
        def __call__(self, thing: classmethod[C, P, T], /) -> classmethod[C, P, T]: ...
        @overload
        def __call__(self, thing: staticmethod[P, T], /) -> staticmethod[P, T]: ...
        @overload
        def __call__(self, thing: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def retry_on_refused(
    thing: classmethod[C, P, T],
    /,
    *,
    policy: Policy = ...,
    target: Target | None = None,
    cancel: Cancellation | None = None,
) -> classmethod[C, P, T]: ...
@overload
def retry_on_refused(
    thing: staticmethod[P, T],
    /,
    *,
    policy: Policy = ...,
    target: Target | None = None,
    cancel: Cancellation | None = None,
) -> staticmethod[P, T]: ...
@overload
def retry_on_refused(
    thing: Callable[P, T],
    /,
    *,
    policy: Policy = ...,
    target: Target | None = None,
    cancel: Cancellation | None = None,
) -> Callable[P, T]: ...
@overload
def retry_on_refused(
    *, policy: Policy = ..., target: Target | None = None, cancel: Cancellation | None = None
) -> Decorator: ...
def retry_on_refused(
    *things: Any,
    policy: Policy = _DEFAULT,
    target: Target | None = None,
    cancel: Cancellation | None = None,
    **unknown: Any,
) -> Any:
    """Call a function again when its connection is refused, as the policy says.

    Use it bare (`@retry_on_refused`), with settings (`@retry_on_refused(policy=...)`), or on an imported function
    (`connect = retry_on_refused(psycopg.connect)`). It takes a function, a coroutine function, a class (a factory comes
    back), a callable object, a `functools.partial`, a method, `classmethod` and `staticmethod` in either order, and a
    function that returns a coroutine object. Every other awaitable is returned as it is.

    Success returns what the function returned. An error that the policy does not retry passes at once, untouched. On
    giving up, the client's own last error is raised, with a note (Python 3.11 and on). `BaseException` is never caught.

    Args:
        policy: when to try again and when to give up; default `Policy()`: a refused connect, for a minute.
        target: what the function connects to, for events, logs and the note: "db:5432", a URL, a DSN, `unix:///path`,
            `env:NAME`, an `Endpoint`, or a callable of the call's arguments that gives one of these.
        cancel: a `Cancellation` that ends every pause.

    Raises:
        TypeError: it is not callable, or a generator function; or an unknown setting is given.
        TargetError: `target` cannot be read.
    """
    _refuse_unknown("retry_on_refused", unknown)
    if len(things) > 1:
        raise TypeError("retry_on_refused takes one function; settings are given by name, as in policy=...")
    for thing in things:
        if isinstance(thing, Policy):
            raise TypeError("give the policy by name: retry_on_refused(policy=...)")
        if isinstance(thing, (str, Endpoint)):
            raise TypeError("give the target by name: retry_on_refused(target=...)")
        if isinstance(thing, Cancellation):
            raise TypeError("give the cancellation by name: retry_on_refused(cancel=...)")
    _check(policy, cancel)

    def decorate(thing: Any) -> Any:
        if isinstance(thing, (classmethod, staticmethod)):
            return type(thing)(decorate(thing.__func__))
        _refuse_unfit(thing)
        return _protect(thing, Plan(policy, _name_of(thing), target, cancel))

    if things:
        return decorate(things[0])
    if target is not None and not callable(target):
        target = Endpoint.parse(target)  # a wrong target is said here, and not where the function is defined
    return decorate


class attempts:  # noqa: N801  # it reads as a call: `for attempt in attempts(...)`
    """The block form: try a block again when a connection in it is refused.

        for attempt in attempts(policy=..., target=...):
            with attempt:
                connection = connect(timeout=attempt.remaining)

    In a coroutine it is `async for attempt in attempts(...)`, and still `with attempt`.
    The loop ends after the first block that succeeds; errors leave it as they leave a decorated function.
    Each loop over it is a call of its own.

    Args:
        policy: when to try again and when to give up; default `Policy()`.
        target: what the block connects to, for events, logs and the note; a callable is called without arguments.
        cancel: a `Cancellation` that ends every pause.

    Raises:
        TypeError: an unknown setting is given.
        TargetError: `target` cannot be read.
    """

    if TYPE_CHECKING:

        def __init__(
            self, *, policy: Policy = ..., target: Target | None = None, cancel: Cancellation | None = None
        ) -> None: ...

    else:

        def __init__(
            self,
            *,
            policy: Policy = _DEFAULT,
            target: Target | None = None,
            cancel: Cancellation | None = None,
            **unknown: Any,
        ) -> None:
            _refuse_unknown("attempts", unknown)
            _check(policy, cancel)
            self._plan = Plan(policy, "attempts", target, cancel)

    _plan: Plan

    def __iter__(self) -> Iterator[Attempt]:
        return _sync.Attempts(self._plan)

    def __aiter__(self) -> AsyncIterator[Attempt]:
        return _async.Attempts(self._plan)


class Protected:
    """A protected callable that does not become a method in a class body, because what it protects would not."""

    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call what is protected."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<protected {self.__wrapped__!r}>"


def _protect(thing: Any, plan: Plan) -> Any:
    # What others look into comes back as what it was.
    if type(thing) is functools.partial:
        partial = functools.partial(_protect(thing.func, plan), *thing.args, **thing.keywords)
        vars(partial).update(vars(thing))
        return partial
    if type(thing) is MethodType:
        return MethodType(_protect(thing.__func__, plan.without_self()), thing.__self__)
    protected = _async.protect(thing, plan) if _is_async(thing) else _sync.protect(thing, plan, _async.adopt)
    if not hasattr(type(thing), "__get__") or isinstance(thing, type):
        protected = Protected(protected)
    if isinstance(thing, FunctionType):
        vars(protected).update(vars(thing))
    for name in functools.WRAPPER_ASSIGNMENTS:
        value = getattr(thing, name, None)
        # An object may answer any name with anything, and a function takes only text for its own.
        if name == "__doc__" or isinstance(value, str) or (value is not None and name not in _TEXTS):
            setattr(protected, name, value)
    protected.__wrapped__ = thing  # type: ignore[union-attr]
    return protected


_TEXTS = ("__module__", "__name__", "__qualname__")


def _is_async(thing: Any) -> bool:
    if inspect.iscoroutinefunction(thing):
        return True
    return not isinstance(thing, type) and inspect.iscoroutinefunction(getattr(type(thing), "__call__", None))  # noqa: B004


def _refuse_unfit(thing: Any) -> None:
    if not callable(thing):
        raise TypeError(f"retry_on_refused needs something to call, not {type(thing).__name__}")
    inner = thing
    for _ in range(100):  # bounded: `__wrapped__` may lead in a circle
        called = inner if isinstance(inner, type) else getattr(type(inner), "__call__", None)  # noqa: B004
        if any(inspect.isgeneratorfunction(it) or inspect.isasyncgenfunction(it) for it in (inner, called)):
            raise TypeError(
                f"{_name_of(thing)} is a generator function: its body runs after the call has returned, so no refusal "
                "in it could be retried. Decorate the function that connects and call it in the generator, or write "
                "`for attempt in attempts(...): with attempt: ...` around the connect"
            )
        inner = inner.func if isinstance(inner, functools.partial) else getattr(inner, "__wrapped__", None)
        if inner is None:
            return


def _name_of(thing: Any) -> str:
    while isinstance(thing, functools.partial):
        thing = thing.func
    name = getattr(thing, "__qualname__", None)
    return name if isinstance(name, str) else type(thing).__qualname__


def _check(policy: object, cancel: object) -> None:
    if not isinstance(policy, Policy):
        hint = "Policy.parse(...) reads a text" if isinstance(policy, str) else "see resilient.Policy"
        raise TypeError(f"policy must be a Policy, not {type(policy).__name__}: {hint}")
    if cancel is not None and not isinstance(cancel, Cancellation):
        raise TypeError(f"cancel must be a Cancellation, not {type(cancel).__name__}")


_NOT_YET = {
    "breaker": "a circuit breaker (breaker=) is not part of this version",
    "targets": "failover over several endpoints (targets=) is not part of this version",
}


def _refuse_unknown(name: str, unknown: dict[str, Any]) -> None:
    for key in unknown:
        raise TypeError(
            f"{name}: {_NOT_YET[key]}"
            if key in _NOT_YET
            else f"{name} has no setting {key!r}; it takes policy, target, cancel; limits are the policy's"
        )
