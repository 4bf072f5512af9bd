"""What lies behind an exception, link by link: the judge's floor, without the judge."""

from __future__ import annotations

import asyncio
import builtins
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from resilient import _causes
from resilient._causes import (
    BUILTINS,
    CARRIERS,
    DEEPEST,
    MOST_CLASSES,
    MOST_NODES,
    anatomy,
    behind,
    chain,
    is_exception,
    package,
    wrapped_context,
)

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

NAMES = (
    "reason",
    "orig",
    "os_error",
    "original_exception",
    "original_error",
    "inner",
    "inner_exception",
    "real_error",
    "exception",
    "errors",
    "exceptions",
)


class LibraryError(Exception):
    """An error of a library, and this module is the library."""


class SilentType(type):
    """A metaclass that answers nothing about its classes."""

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)


class SpyList(list[Any]):
    """A list that goes on for ever and counts what was read."""

    read = 0

    def __iter__(self) -> Iterator[Any]:
        while True:
            self.read += 1
            yield self[0]


def having(error: BaseException, /, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def raising(error: type[BaseException]) -> property:
    def get(self: object) -> Any:
        raise error

    return property(get)


def a_class(name: str, *bases: type, module: str = "lib.errors") -> Any:
    return type(name, bases or (Exception,), {"__module__": module})


def caught_in(module: object, error: BaseException | None = None) -> BaseException:
    """An error that was caught by a frame of this module; `...`: of none."""
    namespace: dict[str, Any] = {"error": error or ValueError("inner")}
    if module is not ...:
        namespace["__name__"] = module
    exec("try:\n    raise error\nexcept BaseException:\n    pass", namespace)
    caught: BaseException = namespace["error"]
    return caught


def wrapping(cls: Any, context: BaseException | None, *, cause: Any = None, suppressed: bool = False) -> Any:
    return having(cls(), __context__=context, __cause__=cause, __suppress_context__=suppressed)


def spread(error: BaseException, *, vouched: bool = False) -> list[list[BaseException]]:
    return list(behind(error, vouched=vouched))


def many(number: int) -> list[BaseException]:
    return [KeyError(index) for index in range(number)]


def test_the_bounds_are_numbers_that_were_chosen() -> None:
    """Fifty times what a real chain has; a tenth of Python's own recursion limit; more classes than a program has."""
    assert (MOST_NODES, DEEPEST, MOST_CLASSES) == (1000, 100, 1024)


# Classes.


def test_an_exception_is_one_by_its_class_whatever_it_claims() -> None:
    claims = type("Claims", (), {"__class__": property(lambda self: ValueError)})()
    denies = type("Denies", (Exception,), {"__class__": property(lambda self: list)})()
    assert isinstance(claims, ValueError)
    assert not is_exception(claims)
    assert is_exception(denies)
    assert is_exception(KeyboardInterrupt())
    assert not is_exception(ValueError)
    assert not is_exception(None)


def test_the_builtin_exceptions_are_all_there_and_nothing_else() -> None:
    assert {BaseException, Exception, OSError, ConnectionRefusedError, KeyboardInterrupt, UserWarning} <= BUILTINS
    assert all(issubclass(cls, BaseException) and getattr(builtins, cls.__name__, None) for cls in BUILTINS)
    assert not BUILTINS & {object, int, type}
    assert LibraryError not in BUILTINS


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (ValueError, None),
        (object, None),
        (int, "builtins"),
        (a_class("A", module="lib"), "lib"),
        (a_class("A", module="lib.deep.errors"), "lib"),
        (a_class("A", module="builtins"), "builtins"),
        (having(a_class("A"), __module__=5), None),
        (having(a_class("A"), __module__=None), None),
        (having(a_class("A"), __module__=type("Text", (str,), {})("lib")), None),
        (socket.gaierror, "socket"),
    ],
)
def test_the_package_of_a_class_is_the_first_part_of_its_module(cls: type, expected: str | None) -> None:
    """A builtin exception has none, and a module that is no text names none."""
    assert package(cls) == expected


def test_a_class_belongs_to_the_packages_of_all_its_bases() -> None:
    base = a_class("Base", OSError, module="lib.errors")
    assert anatomy(a_class("Child", base, module="app")).packages == {"app", "lib"}
    assert anatomy(having(a_class("Child", base), __module__=5)).packages == {"lib"}
    assert anatomy(ValueError).packages == set()


def test_a_group_is_one_by_name_so_that_the_backport_counts() -> None:
    def is_group(cls: type) -> bool:
        return anatomy(cls).group

    assert is_group(BaseExceptionGroup)
    assert is_group(ExceptionGroup)
    assert is_group(type("Mine", (ExceptionGroup,), {}))
    assert is_group(a_class("Mine", a_class("BaseExceptionGroup", module="exceptiongroup")))
    assert not any(map(is_group, (Exception, BaseException, LibraryError, a_class("ExceptionGroup"))))


def test_an_attribute_that_a_class_makes_up_is_asked_for() -> None:
    """By a property, by `__getattr__`, by `__getattribute__`, or by a slot; the instance's own are found beside it."""
    inner = KeyError(1)

    class Slotted(LibraryError):
        __slots__ = ("reason",)

    class Property(LibraryError):
        reason = property(lambda _: inner)

    class Dynamic(LibraryError):
        def __getattr__(self, name: str) -> Any:
            if name != "reason":
                raise AttributeError(name)
            return inner

    class Overriding(LibraryError):
        def __getattribute__(self, name: str) -> Any:
            return inner if name == "reason" else super().__getattribute__(name)

    slotted = Slotted()
    slotted.reason = inner
    for error in (slotted, Property(), Dynamic(), Overriding(), having(LibraryError(), reason=inner)):
        assert spread(error) == [[inner]]
        assert spread(having(error, orig=(other := KeyError(2)))) == [[inner], [other]]


def test_a_class_is_asked_for_what_it_has_or_may_have_and_for_nothing_else() -> None:
    """Each attribute that is asked for in vain takes its time."""

    class Property(LibraryError):
        orig = property(lambda _: None)
        reason = None

    class Dynamic(LibraryError):
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

    assert anatomy(LibraryError).carriers == ()
    assert anatomy(type("Child", (Property,), {})).carriers == ("reason", "orig")
    assert anatomy(type("Child", (Dynamic,), {})).carriers == NAMES


def test_what_is_known_of_classes_is_bounded() -> None:
    """A program may make exception classes for ever."""
    for _ in range(MOST_CLASSES + 10):
        anatomy(a_class("Passing"))
        assert len(_causes._anatomies) <= MOST_CLASSES


def test_what_is_known_of_a_class_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last place there is: an error is to cost microseconds."""
    monkeypatch.setattr(_causes, "MOST_CLASSES", 3)
    _causes._anatomies.clear()
    classes = [a_class("A"), a_class("B"), a_class("C")]
    known = [anatomy(cls) for cls in classes]
    for cls, its in zip(classes, known, strict=True):
        assert anatomy(cls) is its


# The order of what lies behind.


def test_the_order_is_cause_then_args_then_attributes_then_context() -> None:
    cause, argument, attribute, context = KeyError(1), KeyError(2), KeyError(3), caught_in(__name__)
    error = having(LibraryError(argument), reason=attribute, __context__=context, __cause__=cause)
    error.__suppress_context__ = False
    assert spread(error) == [[cause], [argument], [attribute], [context]]


def test_a_cause_that_has_been_looked_at_is_left_out() -> None:
    """The rest stands in its order; what is vouched for is still not followed past a cause."""
    cause, argument, context = KeyError(1), KeyError(2), caught_in(__name__)
    error = having(LibraryError(argument), __context__=context, __cause__=cause)
    assert list(behind(error, vouched=True, cause=False)) == [[argument]]
    error.__suppress_context__ = False
    assert list(behind(error, cause=False)) == [[argument], [context]]


def test_nothing_lies_behind_a_plain_error() -> None:
    for error in (LibraryError(), ValueError("text"), OSError(111, "no"), LibraryError("text", 5, None, ("a", 2))):
        assert spread(error) == []


def test_the_attributes_are_read_in_the_order_of_the_table() -> None:
    inner = {name: KeyError(name) for name in NAMES}
    error = having(LibraryError(), **dict(reversed(inner.items())))
    assert CARRIERS == NAMES
    assert spread(error) == [[inner[name]] for name in NAMES]


@pytest.mark.parametrize("name", ["previous", "cause", "context", "__notes__", "error", "last_error"])
def test_other_attributes_are_history(name: str) -> None:
    assert spread(having(LibraryError(), **{name: KeyError()})) == []


def test_attributes_of_a_builtin_error_are_not_read() -> None:
    """No builtin carries an error there, whoever put it."""
    inner = KeyError()
    assert spread(having(ValueError(inner), reason=KeyError())) == [[inner]]
    assert spread(having(a_class("Mine", ValueError)(), reason=inner)) == [[inner]]


def test_the_arguments_stand_for_one_reason_together() -> None:
    one, two, three = many(3)
    assert spread(LibraryError(one, "text", [two, 5], {"host": three})) == [[one, two, three]]


@pytest.mark.parametrize(
    "holder", [list, tuple, lambda members: dict(enumerate(members))], ids=["list", "tuple", "dict"]
)
def test_a_plain_container_gives_its_members(holder: Any) -> None:
    """The values of a dict, and what is no exception is left out; one inside another is not looked into."""
    one, two = many(2)
    assert spread(having(LibraryError(), errors=holder([one, "text", [KeyError()], two, None]))) == [[one, two]]
    assert spread(having(LibraryError(), errors=holder([]))) == []
    assert spread(having(LibraryError(), errors=holder(["text"]))) == []


def test_other_containers_give_nothing() -> None:
    """An iterator would be used up by looking, and the keys of a dict are hosts."""
    one = KeyError()
    for value in ({one}, frozenset({one}), iter([one]), {one: "text"}, "text", 5, True):
        assert spread(having(LibraryError(), errors=value)) == []


def test_a_class_is_no_exception() -> None:
    assert spread(having(LibraryError(ValueError), reason=ValueError, errors=[ValueError])) == []


def test_an_attribute_that_is_false_or_none_is_passed_over() -> None:
    inner = having(type("EmptyError", (Exception,), {"__bool__": lambda self: False})())
    assert spread(having(LibraryError(), reason=None, orig=inner)) == [[inner]]


@pytest.mark.parametrize(
    "holder", [list, tuple, lambda members: dict(enumerate(members))], ids=["list", "tuple", "dict"]
)
def test_a_container_is_read_up_to_the_bound_or_not_at_all(holder: Any) -> None:
    """Half a list of hosts is no evidence."""
    full = many(MOST_NODES)
    assert spread(having(LibraryError(), errors=holder(full))) == [full]
    assert spread(having(LibraryError(), errors=holder([*full, "text"]))) == []


def test_an_endless_container_is_left_just_past_the_bound() -> None:
    endless = SpyList([KeyError()])
    assert spread(having(LibraryError(), errors=endless)) == []
    assert endless.read == MOST_NODES + 1


def test_arguments_are_read_up_to_the_bound_or_not_at_all() -> None:
    """The attributes are still read."""
    full, inner = many(MOST_NODES), KeyError()
    assert spread(having(LibraryError(*full), reason=inner)) == [full, [inner]]
    assert spread(having(LibraryError(*full, 5), reason=inner)) == [[inner]]
    assert spread(LibraryError(*many(1))) != []


@pytest.mark.parametrize("name", NAMES)
def test_a_property_that_raises_hides_only_itself(name: str) -> None:
    """The names before and after it are read."""
    inner = {its: KeyError(its) for its in NAMES if its != name}
    error = type("HostileError", (LibraryError,), {name: raising(RuntimeError)})()
    assert spread(having(error, **inner)) == [[each] for each in inner.values()]


def test_a_property_that_is_interrupted_lets_the_interrupt_through() -> None:
    """Ctrl-C is nobody's evidence."""
    with pytest.raises(KeyboardInterrupt):
        spread(type("SlowError", (LibraryError,), {"reason": raising(KeyboardInterrupt)})())


def test_what_is_looked_up_is_not_made() -> None:
    """A class that answers every name is believed, and one without the name is no error."""
    inner = KeyError()
    error = type("TalkativeError", (Exception,), {"__getattr__": lambda self, name: inner})()
    assert spread(error) == [[inner]] * len(NAMES)


def test_dunder_attributes_are_read_past_what_a_class_makes_of_them() -> None:
    inner = KeyError()
    names = ("args", "__cause__", "__context__", "__suppress_context__", "__traceback__")
    cls = type("HidingError", (Exception,), {name: raising(RuntimeError) for name in names})
    error = cls.__new__(cls, inner)
    assert spread(error) == [[inner]]


# Groups.


def test_a_group_has_its_members_only() -> None:
    """Neither its cause nor its context, or a group with one other member could pass."""
    one, two = many(2)
    group = having(ExceptionGroup("two", [one, two]), __cause__=KeyError(), __context__=caught_in(__name__))
    assert spread(having(group, reason=KeyError()), vouched=True) == [[one, two]]


@pytest.mark.parametrize(
    "exceptions", [(), [], None, "text", raising(RuntimeError)], ids=["()", "[]", "None", "text", "raises"]
)
def test_a_group_without_members_has_nothing(exceptions: Any) -> None:
    cls = type("Group", (ExceptionGroup,), {"exceptions": exceptions})
    group = having(cls("", [KeyError()]), __cause__=KeyError())
    if isinstance(exceptions, property):
        with pytest.raises(RuntimeError):
            spread(group)
    else:
        assert spread(group) == []


def test_a_class_that_only_bears_the_name_of_a_group_has_no_members() -> None:
    assert spread(a_class("BaseExceptionGroup")(KeyError())) == []


def test_a_group_that_is_too_large_has_nothing() -> None:
    full = many(MOST_NODES)
    assert spread(ExceptionGroup("", full)) == [full]
    assert spread(ExceptionGroup("", [*full, KeyError()])) == []


# The implicit context.

LIB = a_class("LibError")


def test_a_context_counts_where_the_library_caught_it() -> None:
    for module in ("lib", "lib.errors", "lib.other.deep"):
        context = caught_in(module)
        assert wrapped_context(wrapping(LIB, context), LIB, vouched=False) is context


@pytest.mark.parametrize(
    "module", ["app", "library", "lib_errors", "", None, 5, ..., type("Text", (str,), {})("lib")], ids=repr
)
def test_a_context_that_somebody_else_caught_does_not_count(module: object) -> None:
    """Not even where a signature vouches."""
    error = wrapping(LIB, caught_in(module))
    assert wrapped_context(error, LIB, vouched=False) is None
    assert wrapped_context(error, LIB, vouched=True) is None


def test_the_package_of_a_base_may_have_caught_it() -> None:
    context, child = caught_in("lib.connection"), a_class("Child", LIB, module="app")
    assert wrapped_context(wrapping(child, context), child, vouched=False) is context


def test_no_context_is_none() -> None:
    assert wrapped_context(LIB(), LIB, vouched=True) is None


@pytest.mark.parametrize("cls", [ValueError, OSError, KeyboardInterrupt, asyncio.CancelledError, socket.gaierror])
def test_nothing_wraps_into_a_builtin_or_an_interrupt_or_a_name_error(cls: Any) -> None:
    """Whoever caught it, vouched for or not."""
    for context in (KeyError(), caught_in(package(cls) or "builtins")):
        for vouched in (False, True):
            assert wrapped_context(wrapping(cls, context), cls, vouched=vouched) is None
        assert spread(wrapping(cls, context)) == []


@pytest.mark.parametrize("name", ["CancelledError", "Cancelled", "gaierror"])
def test_nothing_wraps_into_a_class_of_such_a_name(name: str) -> None:
    """trio's, anyio's, and what a client calls its own; a name that only begins so is another matter."""
    context = caught_in("lib")
    cls, other = a_class(name), a_class(f"{name}Too")
    assert wrapped_context(wrapping(cls, context), cls, vouched=False) is None
    assert wrapped_context(wrapping(cls, context), cls, vouched=True) is None
    assert wrapped_context(wrapping(other, context), other, vouched=False) is context


@pytest.mark.parametrize("vouched", [False, True])
@pytest.mark.parametrize("suppressed", [False, True])
@pytest.mark.parametrize("caused", [False, True])
def test_a_suppressed_context_counts_only_where_a_signature_vouches(
    vouched: bool, suppressed: bool, caused: bool
) -> None:
    """And only after `from None`: after `from cause` the cause is what the library has to say."""
    context = caught_in("lib")
    cause = KeyError() if caused else None
    error = wrapping(LIB, context, cause=cause, suppressed=suppressed)
    counts = not suppressed or (vouched and not caused)
    assert wrapped_context(error, LIB, vouched=vouched) is (context if counts else None)
    assert spread(error, vouched=vouched) == [[cause]] * caused + [[context]] * counts


@pytest.mark.parametrize("suppressed", [False, True])
def test_a_context_without_a_traceback_counts_only_where_a_signature_vouches(suppressed: bool) -> None:
    """Compiled clients leave none."""
    context = KeyError()
    error = wrapping(LIB, context, suppressed=suppressed)
    assert wrapped_context(error, LIB, vouched=True) is context
    assert wrapped_context(error, LIB, vouched=False) is None


def test_an_error_out_of_another_call_has_no_context() -> None:
    """The handler called something, whose error is about itself; what the handler raises is about what it handles."""
    namespace: dict[str, Any] = {"__name__": "lib", "LibError": LIB}
    exec(HANDLING, namespace)
    for name, counts in (("raises", True), ("calls", False)):
        with pytest.raises(LIB) as caught:
            namespace[name]()
        error = caught.value
        assert isinstance(error.__context__, KeyError)
        for vouched in (False, True):
            assert wrapped_context(error, LIB, vouched=vouched) is (error.__context__ if counts else None)


HANDLING = """
def fail():
    raise KeyError

def raises():
    try:
        fail()
    except KeyError:
        raise LibError

def other():
    raise LibError

def calls():
    try:
        fail()
    except KeyError:
        other()
"""


def test_nobody_vouches_unless_it_is_said() -> None:
    assert list(behind(wrapping(LIB, KeyError()))) == []


# The whole chain.


def test_the_chain_begins_with_the_error_and_goes_on_with_the_nearest() -> None:
    far, cause, argument, attribute, context = (KeyError(index) for index in range(5))
    cause.__cause__ = far
    error = having(LibraryError(argument), reason=attribute, __context__=context, __cause__=cause)
    assert list(chain(error)) == [error, cause, argument, attribute, context, far]


def test_each_link_is_met_once() -> None:
    """Also where it stands at two places, or in a circle."""
    one, two = LibraryError(1), LibraryError(2)
    having(one, reason=two, orig=two, errors=[two, two], __cause__=two, __context__=two)
    having(two, reason=one, __cause__=one)
    assert list(chain(one)) == [one, two]
    assert list(chain(two)) == [two, one]
    assert list(chain(having(LibraryError(), reason=one)))[1:] == [one, two]


def test_the_chain_follows_a_context_that_is_no_evidence() -> None:
    """Suppressed, caught by somebody else, out of a builtin or a group: it is still part of the chain."""
    context = KeyError()
    for error in (
        wrapping(LIB, context, suppressed=True),
        wrapping(LIB, caught_in("app", context)),
        wrapping(ValueError, context),
        wrapping(lambda: ExceptionGroup("", [context]), context),
    ):
        assert list(chain(error)) == [error, context]


def test_a_hostile_class_still_shows_its_context() -> None:
    context, cause = KeyError(), KeyError()
    error = SilentType.__call__(SilentType("SilentClassError", (Exception,), {}))
    BaseException.__dict__["__context__"].__set__(error, context)
    assert [id(link) for link in chain(error)] == [id(error), id(context)]
    group = type("Group", (ExceptionGroup,), {"exceptions": raising(RuntimeError)})("", [KeyError()])
    assert list(chain(having(group, __context__=context, __cause__=cause))) == [group, context]


def test_a_chain_ends_at_the_bound() -> None:
    """In the width and in the length."""
    wide = having(LibraryError(*many(MOST_NODES)))
    assert len(list(chain(wide))) == MOST_NODES
    assert len(list(chain(LibraryError(*many(MOST_NODES - 1))))) == MOST_NODES
    assert len(list(chain(LibraryError(*many(MOST_NODES - 2))))) == MOST_NODES - 1
    first = last = KeyError()
    for _ in range(2 * MOST_NODES):
        first = having(KeyError(), __cause__=first)
    links = list(chain(first))
    assert len(links) == MOST_NODES
    assert last not in links
    for link in links:  # or to let go of it would take one frame of C a link
        link.__cause__ = None
