"""Things that can be called, and how a protected one takes their place: functions, methods, partials, objects.

Looks at what it is given and never calls it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any


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


Protect = Callable[[Any, bool, bool], Callable[..., Any]]
"""(function, is it a coroutine function, is it the function of a bound method) → the protected function."""


def wrap(thing: Any, protect: Protect, *, bound: bool = False) -> Any:
    """Return `thing` protected, as the kind of thing that it was."""
    # What others look into comes back as what it was.
    if isinstance(thing, (classmethod, staticmethod)):
        return type(thing)(wrap(thing.__func__, protect))
    if type(thing) is functools.partial:
        partial = functools.partial(wrap(thing.func, protect, bound=bound), *thing.args, **thing.keywords)
        vars(partial).update(vars(thing))
        return partial
    if type(thing) is MethodType:
        return MethodType(wrap(thing.__func__, protect, bound=True), thing.__self__)
    protected: Any = protect(thing, is_async(thing), bound)
    if not hasattr(type(thing), "__get__") or isinstance(thing, type):
        protected = Protected(protected)
    if isinstance(thing, FunctionType):
        vars(protected).update(vars(thing))
    for name in functools.WRAPPER_ASSIGNMENTS:
        value = getattr(thing, name, None)
        # An object may answer any name with anything, and a function takes only text for its own.
        if name == "__doc__" or isinstance(value, str) or (value is not None and name not in _TEXTS):
            setattr(protected, name, value)
    protected.__wrapped__ = thing
    return protected


_TEXTS = ("__module__", "__name__", "__qualname__")


def is_async(thing: Any) -> bool:
    """Whether calling it gives a coroutine: a coroutine function, or an object with an async `__call__`."""
    if inspect.iscoroutinefunction(thing):
        return True
    return not isinstance(thing, type) and inspect.iscoroutinefunction(getattr(type(thing), "__call__", None))  # noqa: B004


def refuse_unfit(who: str, thing: Any, hint: str) -> None:
    """Refuse what cannot be called, and generator functions.

    Raises:
        TypeError: `who` cannot protect it; for a generator function, with `hint`.
    """
    if isinstance(thing, (classmethod, staticmethod)):
        thing = thing.__func__
    if not callable(thing):
        raise TypeError(f"{who} needs something to call, not {type(thing).__name__}")
    inner = thing
    for _ in range(100):  # bounded: `__wrapped__` may lead in a circle
        called = inner if isinstance(inner, type) else getattr(type(inner), "__call__", None)  # noqa: B004
        if any(inspect.isgeneratorfunction(it) or inspect.isasyncgenfunction(it) for it in (inner, called)):
            raise TypeError(
                f"{name_of(thing)} is a generator function: its body runs after the call has returned, so no refusal "
                f"in it could be {hint}"
            )
        inner = inner.func if isinstance(inner, functools.partial) else getattr(inner, "__wrapped__", None)
        if inner is None:
            return


def name_of(thing: Any) -> str:
    """Return the name of a callable."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    name = getattr(thing, "__qualname__", None)
    return name if isinstance(name, str) else type(thing).__qualname__
