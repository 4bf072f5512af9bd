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


def place_for(kind: type, thing: Any) -> int:
    """Return before which positional argument of `thing` a value of this kind is given: the first, or behind `self`.

    Raises:
        TypeError: it takes no such argument, has one already, or it cannot be told which of its arguments it is.
    """
    name = name_of(thing)
    if isinstance(thing, functools.partial):
        if any(isinstance(value, kind) for value in (*thing.args, *thing.keywords.values())):
            raise TypeError(
                f"{name} has been given an {kind.__name__} already, by functools.partial: it is given another one at "
                "each attempt; take that one away"
            )
        return len(thing.args) + (1 if isinstance(thing.func, MethodType) else 0)
    function, certain = thing, None
    if isinstance(thing, (classmethod, MethodType)):
        function, certain = thing.__func__, 1
    elif isinstance(thing, staticmethod):
        function, certain = thing.__func__, 0
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # some builtins do not say what they take
        return certain or 0
    given = [it for it in parameters if it.kind in (it.POSITIONAL_ONLY, it.POSITIONAL_OR_KEYWORD)]
    more = any(it.kind is it.VAR_POSITIONAL for it in parameters)
    place = _place_among(given, kind, name, isinstance(function, FunctionType)) if certain is None else certain
    if len(given) <= place and not more:
        behind = " behind the object" if place else ""
        raise TypeError(
            f"{name} takes no argument for the {kind.__name__}{behind}: with targets= it is given one at each attempt, "
            f"as in `def connect({'self, ' if place else ''}{kind.__name__.lower()}): ...`"
        )
    if len(given) > place and isinstance(given[place].default, kind):
        raise TypeError(
            f"{name} keeps an {kind.__name__}, as the default of {given[place].name}: it is given another one at each "
            "attempt; take the default away"
        )
    return place


def _place_among(given: list[inspect.Parameter], kind: type, name: str, is_function: bool) -> int:
    if not given:
        return 0
    if _is_annotated(given[0], kind):
        return 0
    if given[0].name in ("self", "cls"):
        return 1
    _, _, last = name.rpartition("<locals>.")
    if not is_function or "." not in last:
        return 0
    if len(given) > 1 and _is_annotated(given[1], kind):
        return 1
    raise TypeError(
        f"{name} stands in a class, and it cannot be told which of its arguments is the {kind.__name__}: call the "
        f"first one self, or annotate the right one, as in `{given[0].name}: {kind.__name__}`"
    )


def _is_annotated(parameter: inspect.Parameter, kind: type) -> bool:
    annotation = parameter.annotation
    if isinstance(annotation, str):
        return annotation.strip("\"'").rpartition(".")[2] == kind.__name__
    return annotation is kind


def behind(place: int, function: Any) -> Any:
    """Return `function` with its argument behind `place` others given first."""
    if place == 0:
        return function
    if place == 1:  # methods

        def given_second(it: Any, first: Any, /, *args: Any, **kwargs: Any) -> Any:
            return function(first, it, *args, **kwargs) if kwargs else function(*((first, it) + args))  # noqa: RUF005  # faster

        return given_second

    def given_later(it: Any, /, *args: Any, **kwargs: Any) -> Any:
        return function(*args[:place], it, *args[place:], **kwargs)

    return given_later


def hide_argument(place: int, protected: Any) -> None:
    """Take this positional argument out of what `inspect.signature` says: it is not for callers to give."""
    function: Any = protected.__func__ if isinstance(protected, (classmethod, staticmethod)) else protected
    if isinstance(function, (functools.partial, MethodType)):
        return
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    parameters = [*signature.parameters.values()]
    if len(parameters) > place and parameters[place].kind is not inspect.Parameter.VAR_POSITIONAL:
        del parameters[place]
        function.__signature__ = signature.replace(parameters=parameters)


def name_of(thing: Any) -> str:
    """Return the name of a callable."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    name = getattr(thing, "__qualname__", None)
    return name if isinstance(name, str) else type(thing).__qualname__
