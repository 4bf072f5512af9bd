"""An exception and what lies behind it.

Pure: exceptions in, exceptions out; nothing is judged, changed or held. Bounded and safe against cycles.
Whatever a hostile class answers, nothing is raised here: dunder attributes are read through `BaseException`'s own
descriptors, everything else behind a guard.
"""

from __future__ import annotations

import builtins
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Final, TypeGuard

MOST_NODES: Final = 1_000
"""How many exceptions of one chain are looked at. A real one has fewer than twenty."""

DEEPEST: Final = 100
"""How many links are followed in one line."""

CARRIERS: Final = (
    "reason",  # urllib, urllib3
    "orig",  # SQLAlchemy
    "os_error",  # aiohttp
    "original_exception",  # PyMySQL
    "original_error",
    "inner",  # Apache Thrift
    "inner_exception",  # azure-core
    "real_error",
    "exception",  # pika's connector errors
    "errors",  # cassandra-driver, elastic-transport: one per host
    "exceptions",
)
"""The attributes by which libraries carry an inner error. Not any attribute: a `.previous` is history."""

BUILTINS: Final = frozenset(
    value for value in vars(builtins).values() if isinstance(value, type) and issubclass(value, BaseException)
)

MOST_CLASSES: Final = 1_024
"""Classes whose anatomy is kept."""

_CARRIERS: Final = frozenset(CARRIERS)
_PLAIN_ACCESS: Final[tuple[object, ...]] = (object.__getattribute__, BaseException.__getattribute__)
_anatomies: Final[dict[type, Anatomy]] = {}

_args: Any = BaseException.__dict__["args"].__get__
_cause: Any = BaseException.__dict__["__cause__"].__get__
_context: Any = BaseException.__dict__["__context__"].__get__
_suppressed: Any = BaseException.__dict__["__suppress_context__"].__get__
_traceback: Any = BaseException.__dict__["__traceback__"].__get__


def is_exception(value: object) -> TypeGuard[BaseException]:
    """Whether `value` really is an exception, whatever its `__class__` claims."""
    return issubclass(type(value), BaseException)


def package(cls: type) -> str | None:
    """Return the top-level package of a class, or None for a builtin one."""
    if cls in BUILTINS or cls is object:
        return None
    module = cls.__module__
    return module.partition(".")[0] if type(module) is str else None


class Anatomy:
    """Where to look in the exceptions of one class.

    Attributes:
        packages: the top-level packages of the class and its bases, without `builtins`.
        group: whether it is the class of an exception group: the builtin one, or the backport for Python 3.10.
        carriers: those of `CARRIERS` that the class itself has, or may have.
    """

    __slots__ = ("carriers", "group", "packages")

    def __init__(self, packages: frozenset[str], group: bool, carriers: tuple[str, ...]) -> None:
        self.packages = packages
        self.group = group
        self.carriers = carriers


def anatomy(cls: type) -> Anatomy:
    """Return where to look in the exceptions of a class; kept, because an error is to cost microseconds."""
    found = _anatomies.get(cls)
    if found is None:
        bases = cls.__mro__
        anything = any("__getattr__" in vars(base) for base in bases) or cls.__getattribute__ not in _PLAIN_ACCESS
        found = Anatomy(
            frozenset(its for base in bases if (its := package(base)) is not None),
            any(base.__name__ == "BaseExceptionGroup" for base in bases),
            tuple(name for name in CARRIERS if anything or any(name in vars(base) for base in bases)),
        )
        if len(_anatomies) >= MOST_CLASSES:
            _anatomies.clear()
        _anatomies[cls] = found
    return found


def _exceptions_in(value: object) -> list[BaseException]:
    """List the exceptions that an attribute or argument holds: itself, or the members of a plain container.

    A container of more than `MOST_NODES` is not evidence: what is not read to its end cannot be judged as a whole.
    """
    its = type(value)
    if its is str or its is int or value is None:  # what is asked most, without a hash: a class may refuse it
        return []
    if is_exception(value):
        return [value]
    members: Iterable[object]
    if isinstance(value, dict):
        members = value.values()
    elif isinstance(value, (list, tuple)):
        members = value
    else:
        return []
    read = list(islice(members, MOST_NODES + 1))
    return [] if len(read) > MOST_NODES else [member for member in read if is_exception(member)]


def _carried(exc: BaseException, cls: type, more: tuple[str, ...]) -> Iterator[list[BaseException]]:
    """Yield what stands in `args` and in the attributes by which libraries carry the inner error."""
    arguments = _args(exc)
    if 0 < len(arguments) <= MOST_NODES:
        found: list[BaseException] = []
        for argument in arguments:
            found += _exceptions_in(argument)
        if found:
            yield found
    if cls in BUILTINS:
        return
    for name in (*_carriers_of(exc, cls), *more):
        try:
            value = getattr(exc, name, None)
            if value is not None and (found := _exceptions_in(value)):
                yield found
        except Exception:  # noqa: BLE001  # a property of the client's, or of an attacker's: no evidence there
            continue


def _carriers_of(exc: BaseException, cls: type) -> Iterable[str]:
    own = object.__getattribute__(exc, "__dict__")
    of_class = anatomy(cls).carriers
    if not own or own.keys().isdisjoint(_CARRIERS):
        return of_class
    return [name for name in CARRIERS if name in own or name in of_class]


def wrapped_context(exc: BaseException, cls: type, *, vouched: bool) -> BaseException | None:
    """Return the implicit context of `exc` where the library that raised it wrapped it, else None.

    The frame that caught the inner error must belong to the top-level package of one of the classes of the outer one:
    `try: primary() except OSError: replica()` in an application is thus not followed from the replica's error; nor is
    it where the replica's error is the application's own, because something that the handler called has raised it.

    Args:
        exc: the outer error.
        cls: its type.
        vouched: a signature says that this client hides its cause behind `from None`.
    """
    context: BaseException | None = _context(exc)
    if context is None or cls in BUILTINS or cls.__name__ in ("CancelledError", "Cancelled", "gaierror"):
        return None
    if _suppressed(exc) and (not vouched or _cause(exc) is not None):
        return None
    traceback: TracebackType | None = _traceback(context)
    if traceback is None:
        return context if vouched else None
    module = traceback.tb_frame.f_globals.get("__name__")
    if type(module) is not str or module.partition(".")[0] not in anatomy(cls).packages:
        return None
    return None if _is_of_another_call(exc, traceback) else context


def _is_of_another_call(exc: BaseException, caught: TracebackType) -> bool:
    """Whether an error came out of a call that was made while another one was being handled, which `caught` caught.

    Not where the outer one was raised by the catching frame itself, or by the end of a `with` block, or where it has
    been given the inner one's own traceback. Tried over 374 ways to connect: no refusal is lost.
    """
    catching, passed, last = caught.tb_frame, False, None
    traceback: TracebackType | None = _traceback(exc)
    while traceback is not None:
        last = traceback.tb_frame
        passed = passed or last is catching
        traceback = traceback.tb_next
    if not passed or last is None or last is catching or last.f_code.co_name in ("__exit__", "__aexit__"):
        return False
    inner = caught
    while inner.tb_next is not None:
        inner = inner.tb_next
    return last is not inner.tb_frame


def behind(
    exc: BaseException, *, vouched: bool = False, carriers: tuple[str, ...] = (), cause: bool = True
) -> Iterator[list[BaseException]]:
    """Yield what directly lies behind `exc`, the strongest evidence first.

    Each item is a list of exceptions that stand for one reason: it counts only if *every* member does.
    Without `cause` the explicit one is left out: it has been looked at.
    The order is explicit cause, `args` and carrying attributes, implicit context; a group has its members only.
    """
    cls = type(exc)
    if anatomy(cls).group:  # nothing but its members counts, or a group with one refused member could pass
        members = _exceptions_in(getattr(exc, "exceptions", ()))
        if members:
            yield members
        return
    if cause and (explicit := _cause(exc)) is not None:
        yield [explicit]
    yield from _carried(exc, cls, carriers)
    context = wrapped_context(exc, cls, vouched=vouched)
    if context is not None:
        yield [context]


def chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield `exc` and everything it carries or chains to in whatever way, each once, nearest first."""
    seen = {id(exc)}
    waiting = deque([exc])
    while waiting:
        current = waiting.popleft()
        yield current
        for link in _neighbours(current):
            if id(link) not in seen and len(seen) < MOST_NODES:
                seen.add(id(link))
                waiting.append(link)


def _neighbours(exc: BaseException) -> Iterator[BaseException]:
    try:
        for reason in behind(exc):
            yield from reason
    except Exception:  # noqa: BLE001  # a hostile class: what it carries stays unknown
        pass
    context = _context(exc)
    if context is not None:
        yield context
