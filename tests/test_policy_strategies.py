"""Strategies in a policy: which of tenacity's and of the application's it takes, and which it refuses at once."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
import tenacity
import tenacity.asyncio

import resilient
from resilient import (
    Backoff,
    Policy,
    PolicyError,
    is_hopeless,
    is_not_ready,
    is_refused,
    is_unreachable,
    is_unresolved,
    retry_if_not_ready,
    retry_if_refused,
    retry_if_unreachable,
    retry_if_unresolved,
)

State = tenacity.RetryCallState


def plain(retry_state: State) -> bool:
    return True


async def later(retry_state: State) -> bool:
    return True


async def judged_later(error: BaseException) -> bool:
    return True


def in_turn(retry_state: State) -> Iterator[bool]:
    yield True


async def in_turn_later(retry_state: State) -> AsyncIterator[bool]:
    yield True


class CalledLater:
    async def __call__(self, retry_state: State) -> bool:
        return True


class CalledInTurn:
    def __call__(self, retry_state: State) -> Iterator[bool]:
        yield True


class Holder:
    async def method(self, retry_state: State) -> bool:
        return True


ANY: Any = tenacity.retry_any
FACTORY: Any = retry_if_refused
FOREIGN = tenacity.retry_if_exception_type(OSError)
LATER: Any = later
OURS = retry_if_refused()
RESULT = tenacity.retry_if_result(bool)
JUDGED_LATER: Any = judged_later

REFUSED: dict[str, tuple[str, Any]] = {
    "coroutine function": ("retry", later),
    "partial of one": ("retry", functools.partial(later)),
    "partial of a partial of one": ("retry", functools.partial(functools.partial(later))),
    "coroutine method": ("retry", Holder().method),
    "coroutine __call__": ("retry", CalledLater()),
    "partial of a coroutine __call__": ("retry", functools.partial(CalledLater())),
    "generator function": ("retry", in_turn),
    "async generator function": ("retry", in_turn_later),
    "generator __call__": ("retry", CalledInTurn()),
    "async strategy": ("retry", tenacity.asyncio.retry_if_exception(judged_later)),
    "async joined with |": ("retry", OURS | tenacity.asyncio.retry_if_exception(judged_later)),
    "async joined with &": ("retry", OURS & tenacity.asyncio.retry_if_exception(judged_later)),
    "async predicate": ("retry", tenacity.retry_if_exception(JUDGED_LATER)),
    "async in retry_any": ("retry", ANY(OURS, later)),
    "async deep inside": ("retry", tenacity.retry_all(FOREIGN, ANY(FOREIGN, ANY(functools.partial(later))))),
    "result": ("retry", RESULT),
    "not result": ("retry", tenacity.retry_if_not_result(bool)),
    "unless exception": ("retry", tenacity.retry_unless_exception_type(KeyError)),
    "not message": ("retry", tenacity.retry_if_not_exception_message("no")),
    "subclass of result": ("retry", type("Mine", (tenacity.retry_if_result,), {})(bool)),
    "result joined with |": ("retry", OURS | RESULT),
    "result joined with |, first": ("retry", RESULT | OURS),
    "result joined with &": ("retry", OURS & RESULT),
    "result nested": ("retry", (OURS | FOREIGN) & (FOREIGN | (FOREIGN & RESULT))),
    "class": ("retry", tenacity.retry_if_exception_type),
    "exception class": ("retry", ConnectionRefusedError),
    "class in retry_any": ("retry", ANY(OURS, tenacity.retry_if_exception_type)),
    "factory": ("retry", retry_if_refused),
    "factory, not ready": ("retry", retry_if_not_ready),
    "factory in retry_any": ("retry", ANY(OURS, retry_if_refused)),
    "factory as a predicate": ("retry", tenacity.retry_if_exception(FACTORY)),
    "predicate": ("retry", is_refused),
    "predicate in retry_any": ("retry", ANY(OURS, is_refused)),
    "stop coroutine": ("stop", later),
    "stop coroutine joined": ("stop", tenacity.stop_after_attempt(3) | tenacity.stop_any(LATER)),
    "stop coroutine joined with &": ("stop", tenacity.stop_after_attempt(3) & LATER),
    "stop class": ("stop", tenacity.stop_after_attempt),
    "wait coroutine": ("backoff", later),
    "wait coroutine added": ("backoff", Backoff() + LATER),
    "wait coroutine in wait_combine": ("backoff", tenacity.wait_combine(Backoff(), LATER)),
    "wait coroutine in wait_chain": ("backoff", tenacity.wait_chain(Backoff(), LATER)),
    "wait partial": ("backoff", functools.partial(later)),
    "wait generator": ("backoff", in_turn),
    "wait class": ("backoff", tenacity.wait_none),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_strategy_that_cannot_work_is_refused_at_once(name: str) -> None:
    """Also as a part of another; the message names the field."""
    field, strategy = REFUSED[name]
    with pytest.raises(PolicyError, match=rf"Policy\.{field}\b"):
        Policy(**{field: strategy})


SWAPPED: list[tuple[str, Any]] = [
    ("retry", tenacity.stop_after_attempt(3)),
    ("retry", Backoff()),
    ("retry", tenacity.wait_fixed(1)),
    ("stop", retry_if_refused()),
    ("stop", tenacity.retry_if_exception_type(OSError)),
    ("stop", Backoff()),
    ("backoff", retry_if_refused()),
    ("backoff", tenacity.stop_after_delay(3)),
]


@pytest.mark.parametrize(
    ("field", "strategy"), SWAPPED, ids=lambda value: value if isinstance(value, str) else type(value).__name__
)
def test_a_strategy_in_the_place_of_another_kind_is_refused(field: str, strategy: Any) -> None:
    """A stop strategy given as `retry` would answer, and mean something else."""
    with pytest.raises(PolicyError, match=rf"Policy\.{field}\b"):
        Policy(**{field: strategy})


PREDICATES = [is_refused, is_not_ready, is_unresolved, is_unreachable, is_hopeless]


@pytest.mark.parametrize("predicate", PREDICATES, ids=lambda value: value.__name__)
def test_who_gives_a_predicate_is_told_what_to_write(predicate: Any) -> None:
    """And what the message names exists."""
    with pytest.raises(PolicyError, match=predicate.__name__) as caught:
        Policy(retry=predicate)
    words = [word.strip("():,.").removeprefix("tenacity.") for word in str(caught.value).split()]
    for word in words:
        if word.startswith("retry_if"):
            assert hasattr(resilient, word) or hasattr(tenacity, word)


ACCEPTED: dict[str, tuple[str, Any]] = {
    "by type": ("retry", FOREIGN),
    "any": ("retry", tenacity.retry_any(FOREIGN, OURS)),
    "all": ("retry", FOREIGN & OURS),
    "either": ("retry", OURS | FOREIGN),
    "by cause": ("retry", tenacity.retry_if_exception_cause_type(OSError)),
    "by message": ("retry", tenacity.retry_if_exception_message(match="no")),
    "not by type": ("retry", tenacity.retry_if_not_exception_type(KeyError)),
    "by predicate": ("retry", tenacity.retry_if_exception(is_refused)),
    "by a predicate of its own": ("retry", tenacity.retry_if_exception(lambda error: True)),
    "by lambda": ("retry", lambda state: True),
    "partial": ("retry", functools.partial(plain)),
    "never": ("retry", tenacity.retry_never),
    "always": ("retry", tenacity.retry_always),
    "stop": ("stop", tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(3)),
    "stop all": ("stop", tenacity.stop_after_attempt(3) & tenacity.stop_before_delay(3)),
    "stop lambda": ("stop", plain),
    "stop never": ("stop", tenacity.stop_never),
    "wait": ("backoff", tenacity.wait_fixed(1) + tenacity.wait_random(0, 1)),
    "wait chain": ("backoff", tenacity.wait_chain(tenacity.wait_fixed(1), Backoff())),
    "wait lambda": ("backoff", lambda state: 1.0),
    "wait exponential": ("backoff", tenacity.wait_exponential_jitter()),
    **{f"mock as {field}": (field, Mock(return_value=1)) for field in ("retry", "stop", "backoff")},
    **{f"magic mock as {field}": (field, MagicMock(return_value=1)) for field in ("retry", "stop", "backoff")},
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_strategy_that_can_work_is_taken_as_it_is(name: str) -> None:
    """A mock, too, which answers to every attribute with another mock that does the same."""
    field, strategy = ACCEPTED[name]
    assert getattr(Policy(**{field: strategy}), field) is strategy


def test_a_part_that_is_used_often_is_looked_at_once() -> None:
    """Not twice as often with every storey above it."""
    looks = 0

    class Counted(tenacity.retry_base):
        def __getattribute__(self, name: str) -> Any:
            nonlocal looks
            looks += 1
            return super().__getattribute__(name)

        def __call__(self, retry_state: State) -> bool:
            return True

    strategy: tenacity.retry_base = Counted()
    for _ in range(10):
        strategy = tenacity.retry_any(strategy, strategy)
    looks = 0
    Policy(retry=strategy)
    assert 0 < looks < 50


def test_a_strategy_that_holds_itself_is_taken() -> None:
    circular = tenacity.retry_any(OURS)
    circular.retries = (OURS, circular)
    Policy(retry=circular)


@pytest.mark.parametrize("exhausted", [1, None, "yes"])
def test_opting_in_is_true_or_false(exhausted: Any) -> None:
    for factory in (retry_if_refused, retry_if_not_ready, retry_if_unresolved, retry_if_unreachable):
        with pytest.raises(PolicyError):
            factory(exhausted=exhausted)


def test_ours_joined_are_ours_again() -> None:
    """A value, which compares and hashes as one, and prints as what was written."""
    either = retry_if_refused() | retry_if_unresolved()
    assert either == retry_if_unresolved() | retry_if_refused()
    assert hash(either) == hash(retry_if_unresolved() | retry_if_refused())
    assert retry_if_not_ready() & retry_if_refused() == retry_if_refused()
    never = retry_if_refused() & retry_if_unresolved()
    opted = retry_if_refused(exhausted=True) & retry_if_unresolved(exhausted=True)
    for strategy in (either, never, opted, opted | either):
        assert eval(repr(strategy), vars(resilient)) == strategy
