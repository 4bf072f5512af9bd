"""Calls inside calls: what an inner one has just given up on passes an outer one. Attempts are not multiplied."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import tenacity
import trio
from drivers import AT_ONCE, QUIET, Client, Driver, down, noted, notes_of, on_every_driver, refusal

from resilient import (
    Cancellation,
    Policy,
    RetriesExhausted,
    RetryScheduled,
    attempts,
    retry_if_not_ready,
    retry_if_refused,
    retry_if_unresolved,
    retry_on_refused,
)
from resilient.testing import FakeClock, RecordedEvents

INNER = QUIET.replace(attempts=2, name="inner")
OUTER = QUIET.replace(attempts=3, name="outer")


# Python 3.10 has neither.
GROUP, TASK_GROUP = (("group",), ("TaskGroup",)) if sys.version_info >= (3, 11) else ((), ())


class LibraryError(Exception):
    """An error by which this module wraps what it catches, as libraries do."""


def nest(driver: Driver, client: Client, inner: Policy = INNER, outer: Policy = OUTER) -> Callable[[], Any]:
    """Return a call with a call inside, each in this driver's form."""
    call = driver.protect(client, policy=inner)

    async def await_call() -> Any:
        return await call()

    return retry_on_refused(policy=outer)(await_call if driver.is_async else lambda: call())


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@on_every_driver
def test_attempts_are_not_multiplied(driver: Driver, recorded_events: RecordedEvents) -> None:
    """The inner call's own error comes out, with the inner call's note, and only it gives up."""
    client = down()
    with pytest.raises(ConnectionRefusedError) as caught:
        driver.run(nest(driver, client))
    assert client.calls == 2
    assert caught.value is client.raised
    assert caught.value.__context__ is None
    assert notes_of(caught.value) == noted("resilient: gave up after 2 attempts in 0.0 s (limit 2 attempts)")
    assert [event.policy for event in recorded_events] == ["inner", "inner"]


@on_every_driver
def test_it_is_said_once_that_the_outer_policy_has_no_effect(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """Once for a decorated function, however often it is called, with both names."""
    call = nest(driver, down())
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            driver.run(call)
    (said,) = warnings_in(caplog)
    assert "has no effect" in said
    assert said.index("outer") < said.index("inner")


@on_every_driver
def test_three_storeys_are_not_multiplied_either(driver: Driver) -> None:
    """The innermost decides."""
    client = down()
    call = nest(driver, client)

    async def await_call() -> Any:
        return await call()

    with pytest.raises(ConnectionRefusedError):
        driver.run(retry_on_refused(policy=OUTER)(await_call if driver.is_async else call))
    assert client.calls == 2


@on_every_driver
@pytest.mark.parametrize(
    "retry",
    [
        retry_if_refused(exhausted=True),
        retry_if_refused(exhausted=True) | retry_if_unresolved(),
        retry_if_unresolved() | retry_if_not_ready(exhausted=True),
        retry_if_refused(exhausted=True) | tenacity.retry_if_exception_type(KeyError),
        tenacity.retry_if_exception_type(KeyError) | retry_if_refused(exhausted=True),
        tenacity.retry_if_exception_type(OSError) & retry_if_refused(exhausted=True),
        tenacity.retry_any(tenacity.retry_any(retry_if_refused(exhausted=True))),
    ],
    ids=["alone", "ours | ours", "ours | ours, right", "ours | theirs", "theirs | ours", "theirs & ours", "deep"],
)
def test_who_opts_in_has_attempts_multiplied(driver: Driver, retry: Any, caplog: pytest.LogCaptureFixture) -> None:
    """And one note, the outer call's."""
    client = down()
    with pytest.raises(ConnectionRefusedError) as caught:
        driver.run(nest(driver, client, outer=OUTER.replace(retry=retry)))
    assert client.calls == 6
    assert notes_of(caught.value) == noted("resilient: gave up after 3 attempts in 0.0 s (limit 3 attempts)")
    assert warnings_in(caplog) == []


@on_every_driver
def test_an_outer_call_retries_what_an_inner_one_does_not(driver: Driver) -> None:
    """The inner call let it pass at once, and did not give up."""
    client = down()
    with pytest.raises(ConnectionRefusedError):
        driver.run(nest(driver, client, inner=INNER.replace(retry=retry_if_unresolved())))
    assert client.calls == 3


@on_every_driver
def test_an_outer_call_retries_its_own_refusals(driver: Driver) -> None:
    """After the inner call has recovered, and after an inner call gave up and somebody handled it."""
    replica, call = down(), nest(driver, down())
    inner = driver.protect(Client(refusal()), policy=INNER)

    async def connect_async() -> Any:
        await inner()
        with contextlib.suppress(ConnectionRefusedError):
            await call()
        return replica()

    def connect() -> Any:
        inner()
        with contextlib.suppress(ConnectionRefusedError):
            call()
        return replica()

    with pytest.raises(ConnectionRefusedError):
        driver.run(retry_on_refused(policy=OUTER)(connect_async if driver.is_async else connect))
    assert replica.calls == 3


@on_every_driver
@pytest.mark.parametrize("how", ["cause", "stripped cause", "context", "argument", "carrier", *GROUP])
def test_what_was_given_up_on_is_looked_for_along_the_chain(driver: Driver, how: str) -> None:
    """However the application or a library wrapped it."""
    client = down()
    call = driver.protect(client, policy=INNER)

    def wrap(error: ConnectionRefusedError) -> Exception:
        if how == "argument":
            return LibraryError("no connection", error)
        if how == "carrier":
            wrapped = LibraryError("no connection")
            wrapped.reason = error  # type: ignore[attr-defined]
            return wrapped
        if how == "group":
            return ExceptionGroup("no connection", [error])  # noqa: F821
        return LibraryError("no connection")

    def behind(error: ConnectionRefusedError) -> ConnectionRefusedError | None:
        if how == "stripped cause":  # some keep errors without their frames, which hold memory
            return error.with_traceback(None)
        return error if how == "cause" else None

    def connect() -> None:
        try:
            call()
        except ConnectionRefusedError as error:
            if how == "context":
                raise wrap(error)  # noqa: B904
            raise wrap(error) from behind(error)

    async def connect_async() -> None:
        try:
            await call()
        except ConnectionRefusedError as error:
            if how == "context":
                raise wrap(error)  # noqa: B904
            raise wrap(error) from behind(error)

    with pytest.raises((LibraryError, Exception), match="no connection"):
        driver.run(retry_on_refused(policy=OUTER)(connect_async if driver.is_async else connect))
    assert client.calls == 2


@pytest.mark.parametrize("clock", ["real", "fake"])
def test_a_function_that_calls_itself_is_inside_itself(clock: str, request: pytest.FixtureRequest) -> None:
    """As one does that falls back to a replica; also where the clock is too coarse to tell the two apart."""
    if clock == "fake":
        request.getfixturevalue("fake_clock")
    client = down()

    @retry_on_refused(policy=INNER)
    def connect(replicas: int) -> Any:
        return connect(replicas - 1) if replicas else client()

    with pytest.raises(ConnectionRefusedError):
        connect(2)
    assert client.calls == 2


@pytest.mark.parametrize("clock", ["real", "fake"])
def test_a_call_in_another_thread_is_still_inside(clock: str, request: pytest.FixtureRequest) -> None:
    """Who waits for its result has it inside; also where the clock is too coarse to tell the two apart."""
    if clock == "fake":
        request.getfixturevalue("fake_clock")
    client = down()
    inner = retry_on_refused(client, policy=INNER)
    with ThreadPoolExecutor(1) as pool, pytest.raises(ConnectionRefusedError):
        retry_on_refused(policy=OUTER)(lambda: pool.submit(inner).result())()
    assert client.calls == 2


def test_a_call_in_an_executor_of_the_loop_is_still_inside() -> None:
    """A coroutine round a plain client."""
    client = down()
    inner = retry_on_refused(client, policy=INNER)

    @retry_on_refused(policy=OUTER)
    async def connect() -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, inner)

    with pytest.raises(ConnectionRefusedError):
        asyncio.run(connect())
    assert client.calls == 2


@pytest.mark.parametrize("way", ["task", "gather", "shield", "wait_for", *TASK_GROUP])
def test_a_call_in_another_asyncio_task_is_still_inside(way: str) -> None:
    """However the task is waited for."""
    client = down()

    @retry_on_refused(policy=INNER)
    async def inner() -> Any:
        await asyncio.sleep(0)
        return client()

    @retry_on_refused(policy=OUTER)
    async def connect() -> Any:
        if way == "gather":
            await asyncio.gather(asyncio.sleep(0), inner())
        elif way == "TaskGroup":
            async with asyncio.TaskGroup() as group:
                group.create_task(inner())
        elif way == "task":
            await asyncio.ensure_future(inner())
        else:
            await (asyncio.shield(inner()) if way == "shield" else asyncio.wait_for(inner(), 60))

    with pytest.raises(Exception, match=r"Connection refused|TaskGroup"):
        asyncio.run(connect())
    assert client.calls == 2


def test_a_call_in_a_trio_nursery_is_still_inside() -> None:
    """Its error comes in a group."""
    client = down()

    @retry_on_refused(policy=INNER)
    async def inner() -> Any:
        return client()

    @retry_on_refused(policy=OUTER)
    async def connect() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inner)

    with pytest.raises(Exception, match="nursery"):
        trio.run(connect)
    assert client.calls == 2


def test_blocks_and_functions_nest_in_either_order() -> None:
    """A block in a function, and a function in a block."""
    client = down()

    def block(policy: Policy, call: Callable[[], Any]) -> None:
        for attempt in attempts(policy=policy):
            with attempt:
                call()

    with pytest.raises(ConnectionRefusedError):
        block(OUTER, retry_on_refused(client, policy=INNER))
    with pytest.raises(ConnectionRefusedError):
        retry_on_refused(policy=OUTER)(lambda: block(INNER, client))()
    assert client.calls == 4


@on_every_driver
def test_a_cached_error_is_retried_each_time_it_is_raised(driver: Driver) -> None:
    """Some clients keep one object. That a call gave up on it once says nothing of the next call."""
    cached = refusal()
    client = Client(forever=lambda: cached)
    driver.fail_often(4, client, policy=OUTER)
    assert client.calls == 12
    assert notes_of(cached) == noted("resilient: gave up after 3 attempts in 0.0 s (limit 3 attempts)")


@pytest.mark.usefixtures("fake_clock")
@pytest.mark.parametrize("driver", [Driver("sync", "function"), Driver("sync", "block")], ids=str)
def test_a_cached_error_is_retried_on_a_clock_that_stands_still(driver: Driver) -> None:
    """As on a machine whose clock ticks every 16 ms: two calls begin and end at one time, one after the other.

    Plain functions only: a coroutine that has ended does not say who awaited it.
    """
    cached = refusal()
    client = Client(forever=lambda: cached)
    driver.fail(client, policy=INNER)
    driver.fail(client, policy=OUTER)
    assert client.calls == 5


@pytest.mark.usefixtures("fake_clock")
def test_a_cached_error_is_retried_by_the_next_call_of_the_same_function() -> None:
    """Two decorated calls in one frame, on a clock that stands still: neither is inside the other."""
    cached = refusal()
    first, second = Client(cached), Client(cached)
    with contextlib.suppress(ConnectionRefusedError):
        retry_on_refused(lambda: first(), policy=QUIET.replace(attempts=1))()
    assert retry_on_refused(lambda: second(), policy=OUTER)() == "connected"
    assert second.calls == 2


@pytest.mark.parametrize("order", ["patient first", "impatient first"])
def test_two_callers_that_share_a_future_both_keep_their_retries(order: str) -> None:
    """As in a client that connects once for all who ask: they get one error object."""
    calls = {"patient": 0, "impatient": 0}

    async def main() -> None:
        shared: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def share(name: str, turns: int) -> None:
            calls[name] += 1
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.shield(shared)

        first = 5 if order == "impatient first" else 0
        patient = retry_on_refused(policy=OUTER)(lambda: share("patient", first))
        impatient = retry_on_refused(policy=QUIET.replace(attempts=1))(lambda: share("impatient", 5 - first))
        tasks = [asyncio.ensure_future(patient()), asyncio.ensure_future(impatient())]
        await asyncio.sleep(0)
        shared.set_exception(refusal())
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert calls == {"patient": 3, "impatient": 1}


def test_an_error_an_earlier_call_gave_up_on_is_retried_when_it_is_raised_anew() -> None:
    """It was given up on before this attempt began."""
    client = down()
    with pytest.raises(ConnectionRefusedError) as caught:
        retry_on_refused(client, policy=INNER)()
    again = Client(forever=lambda: caught.value)
    with pytest.raises(ConnectionRefusedError):
        retry_on_refused(again, policy=OUTER)()
    assert again.calls == 3


def test_names_in_the_warning_forge_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """A policy's name is the user's, but it may come out of a file."""
    inner = retry_on_refused(down(), policy=Policy(attempts=1, name="in\nner", observers=()))
    with pytest.raises(ConnectionRefusedError):
        retry_on_refused(policy=Policy(backoff=AT_ONCE, name="out\r\nERROR er", observers=()))(inner)()
    (said,) = warnings_in(caplog)
    assert len(said.splitlines()) == 1


def test_an_inner_call_that_was_cancelled_has_given_up(recorded_events: RecordedEvents) -> None:
    """Who cancels means all of it."""
    cancel, client = Cancellation(), down()
    cancel.cancel()
    with pytest.raises(ConnectionRefusedError):
        retry_on_refused(policy=OUTER)(retry_on_refused(client, policy=INNER, cancel=cancel))()
    assert client.calls == 1
    assert [type(event) for event in recorded_events] == [RetriesExhausted]


@on_every_driver
def test_an_inner_call_that_ended_in_a_pause_has_given_up(driver: Driver, recorded_events: RecordedEvents) -> None:
    """Its error is raised again after the pause, and is not the outer call's."""
    client = down()
    inner = INNER.replace(backoff=tenacity.wait_fixed(1e-6), stop=lambda state: not state.upcoming_sleep)
    with pytest.raises(ConnectionRefusedError):
        driver.run(nest(driver, client, inner=inner))
    assert client.calls == 1
    assert [(event.policy, type(event)) for event in recorded_events] == [
        ("inner", RetryScheduled),
        ("inner", RetriesExhausted),
    ]


@on_every_driver
def test_what_was_given_up_on_in_an_earlier_attempt_is_retried_in_a_later_one(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """Where the client keeps the error of a call that it made before, and such calls still fail."""
    kept: list[BaseException] = []
    calls = 0

    def connect() -> str:
        nonlocal calls
        calls += 1
        fake_clock.advance(1)
        if calls == 4:
            return "connected"
        with pytest.raises(ConnectionRefusedError) as caught:
            retry_on_refused(down(), policy=INNER)()
        kept.append(caught.value)
        fake_clock.advance(1)
        if calls == 3:
            raise kept[1]
        raise refusal()

    assert driver.call(connect, policy=OUTER.replace(attempts=4)) == "connected"
    assert calls == 4


@pytest.mark.usefixtures("fake_clock")
@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_a_cached_error_is_retried_by_the_same_coroutine_function_on_a_clock_that_stands_still(world: Any) -> None:
    """It cannot be told who awaited whom; of the same function it is taken for an earlier call."""
    cached = refusal()
    client = Client(forever=lambda: cached)
    Driver(world, "function").fail_often(2, client, policy=OUTER)
    assert client.calls == 6
