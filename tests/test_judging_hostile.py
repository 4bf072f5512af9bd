"""Hostile exceptions: whatever a class answers, the judge raises nothing and reads what stands beside it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from resilient import find_refusal, is_hopeless, is_not_ready, is_refused, is_unreachable, is_unresolved

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

PREDICATES = (is_refused, is_not_ready, is_unresolved, is_unreachable, is_hopeless)
A_LOT = 50_000


def kinds_of(error: Any) -> set[str]:
    """Everything the judge says of it."""
    said = {predicate.__name__.removeprefix("is_") for predicate in PREDICATES if predicate(error)}
    found = find_refusal(error)
    assert (found is not None) == ("not_ready" in said)
    return said


class LibraryError(Exception):
    """An error of a library that nobody knows."""


def refused() -> ConnectionRefusedError:
    return ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


def linked(error: BaseException, **attributes: Any) -> BaseException:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def raising(name: str, error: type[BaseException] = RuntimeError) -> property:
    def get(self: object) -> Any:
        raise error(name)

    return property(get)


# Hostile classes. Each hides a refusal behind its tricks; whether it is found matters less than that nothing is raised.

OWN = "args errno winerror strerror reason orig os_error errors exceptions exception code sqlstate"
DUNDER = "notes dict cause context suppress_context traceback class module name"
HOSTILE_ATTRIBUTES = [*OWN.split(), *[f"__{name}__" for name in DUNDER.split()]]


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class UnprintableOSError(OSError):
    __str__ = __repr__ = UnprintableError.__str__


class SilentError(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class TalkativeError(Exception):
    def __getattr__(self, name: str) -> Any:
        return TalkativeError()


class ListError(Exception):
    """Claims to be a list of errors, and is none."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return list


class SilentType(type):
    """A metaclass that answers nothing about its classes."""

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)

    def refuse(cls, *args: Any) -> Any:
        raise RuntimeError

    __hash__ = __eq__ = __instancecheck__ = __subclasscheck__ = refuse


class ModulelessError(Exception):
    __module__ = 5  # type: ignore[assignment]


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class EndlessList(list[Any]):
    """A list that never ends; a judge that reads it to the end is stopped by the test."""

    def __init__(self, item: Any = None) -> None:
        super().__init__([item])
        self.read = 0

    def __iter__(self) -> Iterator[Any]:
        while self.read < A_LOT:
            self.read += 1
            yield self[0]


def hostile(kind: type[Exception], name: str) -> Any:
    return type("Hostile", (kind,), {name: raising(name)})()


def group_with(members: Any) -> Any:
    return type("Group", (ExceptionGroup,), {"exceptions": members})("", [refused()])


def endless_dict(item: Any) -> Any:
    class EndlessDict(dict[str, Any]):
        def values(self) -> Any:
            return EndlessList(item)

    return EndlessDict(a=item)


def silent_class() -> BaseException:
    return SilentType.__call__(SilentType("SilentClassError", (Exception,), {}))  # type: ignore[no-any-return]


HOSTILE: dict[str, Callable[[], Any]] = {
    **{f"{name} raises": partial(hostile, LibraryError, name) for name in HOSTILE_ATTRIBUTES},
    **{f"{name} of an OSError raises": partial(hostile, OSError, name) for name in HOSTILE_ATTRIBUTES},
    **{
        f"{name} is {value!r}": partial(linked, LibraryError(), **{name: value})
        for name in ("errno", "reason", "errors", "args", "code")
        for value in ((), "", b"x", 3)
        if name != "args" or value == ()
    },
    "unprintable": UnprintableError,
    "unprintable OSError": UnprintableOSError,
    "no attribute at all": SilentError,
    "every attribute": TalkativeError,
    "claims to be a list": ListError,
    "list in its arguments": lambda: LibraryError(ListError()),
    "metaclass": silent_class,
    "metaclass, as a cause": lambda: linked(LibraryError(), __cause__=silent_class()),
    "no module": ModulelessError,
    "unhashable errno": lambda: linked(OSError(), errno=Unhashable()),
    "unhashable winerror": lambda: linked(OSError(), winerror=Unhashable()),
    "unhashable argument": lambda: LibraryError(Unhashable()),
    "errno as a list": lambda: OSError([111], "x"),
    "empty text": lambda: OSError(""),
    "surrogates": lambda: OSError("Multiple exceptions: \ud800"),
    "a number that is too long": lambda: OSError("Multiple exceptions: [Errno " + "9" * 5000 + "]"),
    "unreadable group": lambda: type("Group", (ExceptionGroup,), {"exceptions": raising("exceptions")})(
        "", [refused()]
    ),
    "group of nothing": lambda: type("Group", (ExceptionGroup,), {"exceptions": ()})("", [refused()]),
    "endless list": lambda: LibraryError(EndlessList()),
    "endless errors": lambda: linked(LibraryError(), errors=EndlessList(refused())),
    "endless dict": lambda: LibraryError(endless_dict(refused())),
    "None": lambda: None,
    "a number": lambda: 111,
    "a text": lambda: "Connection refused",
    "a class": lambda: ConnectionRefusedError,
    "an object": object,
    "no exception, with a class that says so": lambda: type("Fake", (), {"__class__": ConnectionRefusedError})(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_exception_is_judged_without_a_sound(name: str) -> None:
    """By itself, and as cause, context, argument, attribute and member of an ordinary error."""
    thing = HOSTILE[name]()
    kinds_of(thing)
    kinds_of(LibraryError(thing, refused()))
    kinds_of(linked(LibraryError(), reason=thing))
    if issubclass(type(thing), BaseException):
        kinds_of(linked(LibraryError(), __cause__=thing))
        kinds_of(linked(LibraryError(), __context__=thing))
    if issubclass(type(thing), Exception):
        kinds_of(ExceptionGroup("", [thing, refused()]))


@pytest.mark.parametrize(
    "hostile", [UnprintableError, SilentError, ListError, silent_class, Unhashable, TalkativeError]
)
def test_a_hostile_argument_does_not_hide_what_stands_beside_it(hostile: Callable[[], Any]) -> None:
    """It says nothing itself, and what the library carries as its reason is still read."""
    assert is_refused(linked(LibraryError("no", hostile()), reason=refused()))


def test_an_unprintable_refusal_is_one() -> None:
    assert is_refused(linked(UnprintableOSError(), errno=errno.ECONNREFUSED))
    assert is_refused(type("Hostile", (ConnectionRefusedError,), {"errno": raising("errno")})())


def test_an_interrupt_from_inside_a_property_is_not_swallowed() -> None:
    """Ctrl-C while the judge looks is the user's."""
    error = type("Slow", (LibraryError,), {"reason": raising("reason", KeyboardInterrupt)})()
    with pytest.raises(KeyboardInterrupt):
        is_refused(error)
