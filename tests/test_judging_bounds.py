"""The judge always ends, and soon: circles, ten thousand of anything, any graph at all."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient import find_refusal, is_hopeless, is_not_ready, is_refused, is_unreachable, is_unresolved
from resilient._causes import DEEPEST, MOST_NODES, chain
from resilient.errors import CircuitOpenError

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

PROFILE = settings(deadline=None, max_examples=100, database=None)
PREDICATES = (is_refused, is_not_ready, is_unresolved, is_unreachable, is_hopeless)
MANY = 10_000


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


# Circles.


def circle(attribute: str, length: int, *, refusal: bool) -> BaseException:
    errors = [LibraryError() for _ in range(length)]
    for one, other in zip(errors, [*errors[1:], errors[0]], strict=True):
        linked(one, **{attribute: other})
    if refusal:
        linked(errors[-1], os_error=refused())
    return errors[0]


@pytest.mark.parametrize("length", [1, 2, 3, 50])
@pytest.mark.parametrize("attribute", ["__cause__", "__context__", "reason"])
def test_a_circle_ends_and_hides_nothing(attribute: str, length: int) -> None:
    """An exception adds nothing to itself."""
    assert kinds_of(circle(attribute, length, refusal=False)) == set()
    expected = {"refused", "not_ready"} if attribute != "__context__" or length == 1 else set()
    assert kinds_of(circle(attribute, length, refusal=True)) == expected


def test_an_error_among_its_own_errors_adds_nothing() -> None:
    error = LibraryError()
    linked(error, errors=[error])
    assert kinds_of(error) == set()


# Bounds.


class CountedError(Exception):
    """Counts how many of its kind were looked at."""

    looked_at = 0

    @property
    def reason(self) -> None:
        CountedError.looked_at += 1


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    CountedError.looked_at = 0


def deep(length: int, attribute: str = "__cause__") -> BaseException:
    error: BaseException = refused()
    for _ in range(length):
        error = linked(CountedError(), **{attribute: error})
    return error


def wide(number: int) -> list[Any]:
    return [linked(CountedError(), __cause__=refused()) for _ in range(number)]


@pytest.mark.parametrize("attribute", ["__cause__", "__context__", "os_error"])
def test_a_chain_of_ten_thousand_is_looked_into_a_little_way(attribute: str) -> None:
    """And what lies beyond is no refusal."""
    assert not is_refused(deep(MANY, attribute))
    assert CountedError.looked_at <= DEEPEST + 1


def test_a_chain_as_long_as_any_real_one_is_followed_to_its_end() -> None:
    assert is_refused(deep(50))


HOLDERS: dict[str, Callable[[Any], BaseException]] = {
    "group": lambda members: ExceptionGroup("", members),
    "list": lambda members: LibraryError(members),
    "arguments": lambda members: LibraryError(*members),
    "errors": lambda members: linked(LibraryError(), errors=members),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_of_ten_thousand_members_a_thousand_are_looked_at(holder: str) -> None:
    """More cannot be judged, and what was not judged is no refusal."""
    error = HOLDERS[holder](wide(MANY))
    assert not is_refused(error)
    assert find_refusal(error) is None
    assert CountedError.looked_at <= 2 * MOST_NODES


def test_a_group_as_large_as_any_real_one_is_judged() -> None:
    assert is_refused(ExceptionGroup("", wide(200)))


def test_groups_in_groups_share_one_budget() -> None:
    inner = [ExceptionGroup("", wide(100)) for _ in range(100)]
    assert not is_refused(ExceptionGroup("", inner))
    assert CountedError.looked_at <= MOST_NODES


class LongList(list[Any]):
    """Counts how far it was read."""

    read = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.read += 1
            yield item


@pytest.mark.parametrize("holder", ["list", "errors"])
@pytest.mark.parametrize("item", [None, "text", refused()], ids=["nothing", "texts", "refusals"])
def test_a_long_list_is_not_read_to_its_end(holder: str, item: Any) -> None:
    """A bulk operation's error may carry a million rows; the judge sits inside an `except`."""
    rows = LongList([item] * 10 * MANY)
    assert not is_refused(HOLDERS[holder](rows))
    assert rows.read <= 2 * MOST_NODES


def test_what_lies_behind_an_error_is_listed_with_few_in_hand() -> None:
    """A hundred groups of the same hundred members are two hundred and one exceptions, not ten thousand."""
    members = [refused() for _ in range(100)]
    walk = chain(ExceptionGroup("", [ExceptionGroup("", members) for _ in range(100)]))
    most = 0
    for _ in walk:
        held = [value for value in walk.gi_frame.f_locals.values() if hasattr(value, "__len__")]  # type: ignore[attr-defined]
        most = max(most, *map(len, held))
    assert most <= MOST_NODES


# Graphs.

LEAVES: list[Callable[[], Exception]] = [
    refused,
    lambda: OSError(errno.EHOSTUNREACH, "No route to host"),
    lambda: CircuitOpenError("db"),
    lambda: LibraryError("nothing"),
    lambda: KeyError("nothing"),
]
FOLLOWED = ("__cause__", "reason", "errors", "args", "members", "caught by us", "caught by others")
Shape = tuple[str, list[int]]


def catch_in(module: str, error: BaseException) -> None:
    """Give `error` the traceback of one that was caught in `module`."""
    source = "try:\n    raise error\nexcept BaseException:\n    pass\n"
    exec(source, {"__name__": module, "error": error})


def build(shapes: list[Shape], *, circular: bool) -> list[Exception]:
    """Make exceptions, each linked to earlier ones, or to any."""
    errors: list[Exception] = [leaf() for leaf in LEAVES]
    for link, targets in shapes:
        chosen = [errors[target % len(errors)] for target in targets] or [errors[0]]
        errors.append(ExceptionGroup("", chosen) if link == "members" else LibraryError())
    for at, (link, targets) in enumerate(shapes, start=len(LEAVES)):
        error, reach = errors[at], errors if circular else errors[:at]
        chosen = [reach[target % len(reach)] for target in targets] or [reach[0]]
        if link in ("__cause__", "reason"):
            setattr(error, link, chosen[0])
        elif link in ("errors", "args") and type(error) is LibraryError:
            setattr(error, link, tuple(chosen))
        elif link.startswith("caught"):
            error.__context__ = chosen[0]
            if chosen[0].__traceback__ is None:
                catch_in(__name__ if link == "caught by us" else "elsewhere", chosen[0])
    return errors


def modelled(error: BaseException) -> str | None:
    """The design's order of evidence in twenty lines: recursive, without budget, memory or guard."""
    if isinstance(error, CircuitOpenError):
        return None
    if isinstance(error, OSError):
        return "refused" if error.errno == errno.ECONNREFUSED else "unreachable"
    if isinstance(error, ExceptionGroup):
        return together(error.exceptions)
    reasons: list[Iterable[Any]] = [[error.__cause__] if error.__cause__ is not None else []]
    reasons.append([argument for argument in error.args if isinstance(argument, BaseException)])
    reasons += [[getattr(error, "reason", None)], getattr(error, "errors", ())]
    context = error.__context__
    if type(error) is LibraryError and context is not None and not error.__suppress_context__:
        trace = context.__traceback__
        reasons.append([context] if trace and trace.tb_frame.f_globals["__name__"] == __name__ else [])
    said = (together([it for it in reason if it is not None]) for reason in reasons)
    return next((kind for kind in said if kind is not None), None)


def together(errors: Iterable[BaseException]) -> str | None:
    said = {modelled(error) for error in errors}
    return None if not said or None in said else max(said, key=["refused", "unreachable"].index)  # type: ignore[arg-type]


shapes = st.lists(
    st.tuples(st.sampled_from(FOLLOWED), st.lists(st.integers(0, 30), max_size=4)), min_size=1, max_size=8
)


@PROFILE
@given(shapes)
@example([("members", [0, 1]), ("caught by us", [5])])
@example([("caught by us", [0]), ("caught by others", [5]), ("__cause__", [6])])
def test_the_verdict_on_any_small_graph_is_the_models(shapes: list[Shape]) -> None:
    """Without circles, every node."""
    for error in build(shapes, circular=False):
        kind = modelled(error)
        expected = {"refused": {"refused", "not_ready"}, "unreachable": {"unreachable"}, None: set()}[kind]
        assert kinds_of(error) == expected


@PROFILE
@given(shapes)
def test_no_graph_makes_the_judge_raise_or_contradict_itself(shapes: list[Shape]) -> None:
    """With circles of every kind: one verdict, the same each time."""
    for error in build(shapes, circular=True):
        said = kinds_of(error)
        assert said in (set(), {"refused", "not_ready"}, {"unreachable"})
        assert kinds_of(error) == said
