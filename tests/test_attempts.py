"""The block form: what an attempt says of itself, and every way to leave or misuse a block."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import tenacity
from drivers import QUIET, Client, down, noted, notes_of, refusal

from resilient import Attempt, CallRecovered, Policy, RetriesExhausted, RetryScheduled, attempts
from resilient.testing import FakeClock, RecordedEvents

EVERY_TEN = Policy(deadline=25, backoff=tenacity.wait_fixed(10), observers=())


def test_a_block_that_succeeds_is_run_once() -> None:
    """At attempt 1."""
    seen: list[int] = []
    for attempt in attempts(policy=QUIET):
        with attempt:
            seen.append(attempt.number)
    assert seen == [1]


def test_an_attempt_has_a_number() -> None:
    """1 for the first."""
    client, seen = Client(refusal(), refusal()), []
    for attempt in attempts(policy=QUIET):
        seen.append(attempt.number)
        with attempt:
            client()
    assert seen == [1, 2, 3]


def test_an_attempt_is_entered_as_itself() -> None:
    """`with attempt as ...` gives nothing new."""
    for attempt in attempts(policy=QUIET):
        with attempt as entered:
            assert isinstance(entered, Attempt)
            assert entered is attempt


def test_elapsed_counts_from_the_start_of_the_first_attempt(fake_clock: FakeClock) -> None:
    """Pauses included, and it goes on within an attempt."""
    fake_clock.advance(1000)
    client, seen = Client(refusal(), refusal()), []
    for attempt in attempts(policy=EVERY_TEN):
        with attempt:
            seen.append(attempt.elapsed)
            fake_clock.advance(1)
            seen.append(attempt.elapsed)
            client()
    assert seen == [0, 1, 11, 12, 22, 23]


def test_remaining_counts_down_to_the_deadline(fake_clock: FakeClock) -> None:
    """Fit to be a client's own timeout."""
    client, seen = down(), []
    with pytest.raises(ConnectionRefusedError):
        for attempt in attempts(policy=EVERY_TEN):
            with attempt:
                seen.append(attempt.remaining)
                client()
    assert seen == [25, 15, 5, 0.25]


def test_remaining_is_never_zero_or_less(fake_clock: FakeClock) -> None:
    """The last attempt is made at the deadline itself, and many clients take a timeout of zero for none at all."""
    for attempt in attempts(policy=EVERY_TEN):
        with attempt:
            fake_clock.advance(24.9)
            assert attempt.remaining == 0.25
            fake_clock.advance(1000)
            assert attempt.remaining == 0.25


def test_without_a_deadline_nothing_is_said_to_remain() -> None:
    """None is what clients take for no timeout."""
    for attempt in attempts(policy=QUIET.replace(deadline=None)):
        with attempt:
            assert attempt.remaining is None


def test_the_clock_starts_with_the_loop_and_not_with_its_object(fake_clock: FakeClock) -> None:
    """An `attempts(...)` may be made long before it is used."""
    prepared = attempts(policy=EVERY_TEN)
    fake_clock.advance(100)
    for attempt in prepared:
        with attempt:
            assert attempt.elapsed == 0
            assert attempt.remaining == 25


def test_each_loop_over_one_object_is_a_call_of_its_own() -> None:
    """With all its attempts."""
    prepared, seen = attempts(policy=QUIET.replace(attempts=2)), []
    for _ in range(2):
        client = down()
        with pytest.raises(ConnectionRefusedError):
            for attempt in prepared:
                with attempt:
                    seen.append(attempt.number)
                    client()
    assert seen == [1, 2, 1, 2]


def test_loops_over_one_object_may_be_nested_and_interleaved() -> None:
    """Nothing of a call is kept in the object."""
    prepared = attempts(policy=QUIET)
    one, other = iter(prepared), iter(prepared)
    client_one, client_other = Client(refusal()), Client(refusal(), refusal())
    seen: list[tuple[str, int]] = []
    for name, loop, client in [("one", one, client_one), ("other", other, client_other)] * 3:
        for attempt in loop:
            with attempt:
                seen.append((name, attempt.number))
                client()
            break
    assert seen == [("one", 1), ("other", 1), ("one", 2), ("other", 2), ("other", 3)]


@pytest.mark.parametrize("leave", ["break", "return", "continue"])
def test_leaving_a_block_early_is_success(leave: str, recorded_events: RecordedEvents) -> None:
    """In whatever way."""
    client, seen = Client(refusal()), []

    def block() -> None:
        for attempt in attempts(policy=QUIET):
            with attempt:
                seen.append(attempt.number)
                client()
                if leave == "break":
                    break
                if leave == "return":
                    return
                continue

    block()
    assert seen == [1, 2]
    assert [type(event) for event in recorded_events] == [RetryScheduled, CallRecovered]


def test_a_loop_that_is_left_between_attempts_is_left() -> None:
    """Somebody else decided; nothing is waited for, and nothing is said."""
    client = down()
    for attempt in attempts(policy=QUIET):
        if attempt.number == 3:
            break
        with attempt:
            client()
    assert client.calls == 2


def test_an_error_that_the_block_handles_itself_is_success(recorded_events: RecordedEvents) -> None:
    """It never reached the attempt."""
    seen: list[int] = []
    for attempt in attempts(policy=QUIET):
        with attempt:
            seen.append(attempt.number)
            with contextlib.suppress(ConnectionRefusedError):
                raise refusal()
    assert seen == [1]
    assert recorded_events == []


def test_an_error_swallowed_outside_the_attempt_ends_the_loop() -> None:
    """It had been given up on, or was never to be retried: the loop does not start over."""
    seen: list[int] = []
    for attempt in attempts(policy=QUIET.replace(attempts=2)):
        with contextlib.suppress(ConnectionRefusedError, ValueError), attempt:
            seen.append(attempt.number)
            raise refusal()
    for attempt in attempts(policy=QUIET):
        with contextlib.suppress(ValueError), attempt:
            seen.append(attempt.number)
            raise ValueError
    assert seen == [1, 2, 1]


def test_an_interrupt_swallowed_outside_the_attempt_ends_the_loop() -> None:
    """It was none of our business, and is not made so."""
    seen: list[int] = []
    for attempt in attempts(policy=QUIET):
        with contextlib.suppress(KeyboardInterrupt), attempt:
            seen.append(attempt.number)
            raise KeyboardInterrupt
    assert seen == [1]


def test_an_error_beside_the_attempt_is_not_retried() -> None:
    """Only what is inside `with attempt:` is protected."""
    client = down()
    with pytest.raises(ConnectionRefusedError) as caught:
        for attempt in attempts(policy=QUIET):
            with attempt:
                pass
            client()
    assert client.calls == 1
    assert notes_of(caught.value) == []


def test_forgetting_the_with_is_said_before_the_loop_never_ends() -> None:
    """When the block comes round again."""
    with pytest.raises(RuntimeError, match="with attempt:"):
        for _ in attempts(policy=QUIET):
            pass


def test_forgetting_the_with_is_said_to_coroutines_too() -> None:
    """The twin says the same."""

    async def main() -> None:
        async for _ in attempts(policy=QUIET):
            pass

    with pytest.raises(RuntimeError, match="with attempt:"):
        asyncio.run(main())


def test_an_attempt_is_entered_once() -> None:
    """The second block would not be protected."""
    with pytest.raises(RuntimeError, match="entered once"):
        for attempt in attempts(policy=QUIET):
            with attempt:
                pass
            with attempt:
                pass


def test_an_attempt_cannot_be_entered_again_inside_itself() -> None:
    """It would count an error twice."""
    with pytest.raises(RuntimeError, match="entered once"):
        for attempt in attempts(policy=QUIET):
            with attempt, attempt:
                pass


def test_a_loop_that_has_ended_stays_ended() -> None:
    """As Python asks of iterators."""
    loop = iter(attempts(policy=QUIET.replace(attempts=1)))
    with pytest.raises(ConnectionRefusedError), next(loop):
        raise refusal()
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(loop)


def test_a_stop_iteration_that_ends_in_a_pause_does_not_end_the_loop_in_silence() -> None:
    """Out of `__next__` it would look like success."""
    policy = QUIET.replace(
        retry=tenacity.retry_if_exception_type(StopIteration),
        backoff=tenacity.wait_fixed(0.001),
        stop=lambda state: not state.upcoming_sleep,  # on waking
    )

    def block() -> None:
        for attempt in attempts(policy=policy):
            with attempt:
                raise StopIteration

    with pytest.raises((StopIteration, RuntimeError)):
        block()


def test_the_settings_are_those_of_the_decorator(recorded_events: RecordedEvents) -> None:
    """A target callable has no arguments to be called with."""
    with pytest.raises(ConnectionRefusedError) as caught:
        for attempt in attempts(policy=QUIET.replace(attempts=2, name="mine"), target=lambda: "db:5432"):
            with attempt:
                raise refusal()
    assert {(event.call, event.policy, str(event.target)) for event in recorded_events} == {
        ("attempts", "mine", "db:5432")
    }
    assert notes_of(caught.value) == noted("resilient: gave up after 2 attempts in 0.0 s (limit 2 attempts) on db:5432")


def test_a_block_in_a_generator_works(recorded_events: RecordedEvents) -> None:
    """A fixture, or a dependency of a web framework: the connect is retried, the rest is not."""
    client = Client(refusal())

    @contextlib.contextmanager
    def connection() -> Iterator[str]:
        for attempt in attempts(policy=QUIET):
            with attempt:
                answer = client()
        yield answer

    with pytest.raises(ValueError, match="the user's"), connection() as answer:
        assert answer == "connected"
        raise ValueError("the user's")
    assert [type(event) for event in recorded_events] == [RetryScheduled, CallRecovered]


def test_the_attempts_of_one_loop_may_run_in_different_threads(recorded_events: RecordedEvents) -> None:
    """A web framework runs a plain generator in whichever thread of its pool is free."""
    loop, client = iter(attempts(policy=QUIET.replace(attempts=4))), down()
    errors: list[BaseException] = []

    def make_one() -> None:
        try:
            with next(loop):
                client()
        except ConnectionRefusedError as error:
            errors.append(error)
        except StopIteration:
            return

    for _ in range(5):
        thread = threading.Thread(target=make_one)
        thread.start()
        thread.join()
    assert client.calls == 4
    assert errors == [client.raised]
    assert [type(event) for event in recorded_events] == [RetryScheduled] * 3 + [RetriesExhausted]


def test_an_async_loop_is_awaited_between_attempts() -> None:
    """Other tasks run while it waits, also where there is nothing to wait for."""
    order: list[str] = []

    async def ticking() -> None:
        for _ in range(3):
            order.append("tick")
            await asyncio.sleep(0)

    async def main() -> None:
        client = Client(refusal(), refusal())
        ticker = asyncio.ensure_future(ticking())
        async for attempt in attempts(policy=QUIET):
            with attempt:
                order.append("attempt")
                client()
        await ticker

    asyncio.run(main())
    assert order[:5] == ["attempt", "tick", "attempt", "tick", "attempt"]


def test_the_object_tells_sync_from_async_by_its_loop() -> None:
    """One object serves both."""
    prepared: Any = attempts(policy=QUIET)

    async def main() -> list[int]:
        seen = []
        async for attempt in prepared:
            with attempt:
                seen.append(attempt.number)
        return seen

    assert asyncio.run(main()) == [1]
    for attempt in prepared:
        with attempt:
            assert attempt.number == 1
