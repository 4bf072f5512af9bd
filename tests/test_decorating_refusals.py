"""What cannot be decorated is refused at decoration, saying what to do instead."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from drivers import QUIET

from resilient import Cancellation, Endpoint, Policy, TargetError, attempts, retry_on_refused


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Generating:
    def __call__(self) -> Iterator[int]:
        yield 1

    def method(self) -> Iterator[int]:
        yield 1


class AsyncGenerating:
    async def __call__(self) -> AsyncIterator[int]:
        yield 1


GENERATORS = {
    "generator function": generator,
    "async generator function": async_generator,
    "context manager": contextlib.contextmanager(generator),
    "async context manager": contextlib.asynccontextmanager(async_generator),
    "partial of a generator function": functools.partial(functools.partial(generator)),
    "partial of a context manager": functools.partial(contextlib.contextmanager(generator)),
    "wrapped generator function": functools.wraps(generator)(lambda: generator()),
    "wrapped partial of a generator function": functools.wraps(functools.partial(generator))(lambda: generator()),
    "generator method": Generating().method,
    "class method": classmethod(generator),
    "static method": staticmethod(async_generator),
    "static context manager": staticmethod(contextlib.contextmanager(generator)),
    "cached generator function": functools.lru_cache(generator),
    "object whose call is a generator function": Generating(),
    "object whose call is an async generator function": AsyncGenerating(),
}


@pytest.mark.parametrize("thing", GENERATORS.values(), ids=GENERATORS)
def test_a_generator_function_is_refused(thing: Any) -> None:
    """Its body runs after the call has returned: nothing in it would be retried."""
    with pytest.raises(TypeError, match=r"generator function.*for attempt in attempts"):
        retry_on_refused(thing)


@pytest.mark.parametrize(
    "thing", [None, 5, object(), [], property(generator), asyncio], ids=lambda thing: type(thing).__name__
)
def test_what_cannot_be_called_is_refused(thing: Any) -> None:
    """And named by its type only."""
    with pytest.raises(TypeError, match=f"something to call, not {type(thing).__name__}"):
        retry_on_refused(thing)


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Policy(), "policy"),
        ("db:5432", "target"),
        (Endpoint(host="db", port=5432), "target"),
        (Cancellation(), "cancel"),
    ],
)
def test_a_setting_in_the_place_of_the_function_is_told_its_name(thing: Any, name: str) -> None:
    """It is forgotten easily."""
    with pytest.raises(TypeError, match=f"by name: .*{name}="):
        retry_on_refused(thing)


def test_a_second_argument_is_refused() -> None:
    """Settings have names."""
    with pytest.raises(TypeError, match="by name"):
        retry_on_refused(len, Policy())  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        attempts(Policy())  # type: ignore[call-arg]


@pytest.mark.parametrize("protect", [retry_on_refused, attempts])
@pytest.mark.parametrize("setting", ["attempts", "deadline", "retries", "stop", "wait", "max_attempts", "thing"])
def test_an_unknown_setting_is_refused_and_the_policy_pointed_to(protect: Any, setting: str) -> None:
    """Most of them are fields of a policy."""
    with pytest.raises(TypeError, match=rf"{protect.__name__} has no setting {setting!r}.*polic"):
        protect(**{setting: 3})


@pytest.mark.parametrize("protect", [retry_on_refused, attempts])
@pytest.mark.parametrize(
    "settings",
    [
        {"policy": None},
        {"policy": "attempts=3"},
        {"policy": Policy},
        {"policy": {"attempts": 3}},
        {"cancel": True},
        {"cancel": Cancellation},
        {"target": 5432},
        {"target": ("db", 5432)},
        {"target": b"db:5432"},
        {"target": timedelta(seconds=1)},
    ],
    ids=repr,
)
def test_a_setting_of_the_wrong_type_is_refused(protect: Any, settings: dict[str, Any]) -> None:
    """Where it is given, and by name."""
    (name,) = settings
    with pytest.raises(TypeError, match=name):
        protect(**settings)


@pytest.mark.parametrize("protect", [retry_on_refused, attempts, lambda **settings: retry_on_refused(len, **settings)])
def test_a_target_that_cannot_be_read_is_refused_where_it_is_given(protect: Any) -> None:
    """And its password is not repeated."""
    with pytest.raises(TargetError) as caught:
        protect(target="postgresql://me:hunter2@/app")
    assert "hunter2" not in str(caught.value)


def test_a_refused_decoration_calls_nothing() -> None:
    """Neither the function, nor the target."""
    with pytest.raises(TypeError):
        retry_on_refused(policy=QUIET, target=lambda: 1 / 0)(5)
