"""A failing call, on every driver: how often it is tried, and what comes out in the end."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading

import pytest
import tenacity
from drivers import AT_ONCE, QUIET, Client, Driver, down, noted, notes_of, on_every_driver, refusal

from resilient import Backoff, Cancellation, Policy, RetriesExhausted, RetryScheduled, is_refused, retry_if_unresolved
from resilient.testing import FakeClock, LateServer, RecordedEvents


@on_every_driver
def test_success_returns_what_the_function_returned(driver: Driver) -> None:
    """The very object, at the first attempt, and nothing is said."""
    answer = object()
    assert driver.call(lambda: answer) is answer


@on_every_driver
def test_success_tells_nobody_anything(driver: Driver, recorded_events: RecordedEvents) -> None:
    """A call that succeeds at once is no event."""
    driver.call(Client())
    assert recorded_events == []


@on_every_driver
@pytest.mark.parametrize("answer", [None, False, 0, (), NotImplemented], ids=repr)
def test_an_answer_that_is_false_or_empty_is_success(driver: Driver, answer: object) -> None:
    """Only errors are failures."""
    client = Client(refusal())
    assert driver.call(lambda: (client(), answer)[1], policy=QUIET) is answer
    assert client.calls == 2


@on_every_driver
def test_a_refused_call_is_tried_until_it_succeeds(driver: Driver) -> None:
    """Each attempt calls the client anew."""
    client = Client(refusal(), refusal(), refusal())
    assert driver.call(client, policy=QUIET) == "connected"
    assert client.calls == 4


@on_every_driver
def test_a_server_that_comes_late_is_met(driver: Driver, late_server: LateServer) -> None:
    """Real sockets, real time, the default backoff."""
    late_server.up_after(0.05)

    def connect() -> bytes:
        with socket.create_connection((late_server.host, late_server.port), timeout=5) as connection:
            connection.sendall(b"ping")
            return connection.recv(4)

    assert driver.call(connect, policy=Policy(observers=())) == b"ping"


@on_every_driver
@pytest.mark.parametrize("attempts", [1, 2, 7])
def test_attempts_count_the_first_call(driver: Driver, attempts: int) -> None:
    """The first call is attempt 1, and the error of the last one comes out."""
    client = down()
    error = driver.fail(client, policy=QUIET.replace(attempts=attempts))
    assert client.calls == attempts
    assert error is client.raised


@on_every_driver
def test_success_at_the_last_attempt_counts(driver: Driver) -> None:
    """Nothing is given up on before it."""
    client = Client(refusal(), refusal())
    assert driver.call(client, policy=QUIET.replace(attempts=3)) == "connected"


@on_every_driver
def test_each_call_has_all_its_attempts(driver: Driver) -> None:
    """Nothing of one call is left for the next one of the same function."""
    client = down()
    driver.fail_often(3, client, policy=QUIET.replace(attempts=4))
    assert client.calls == 12


@on_every_driver
def test_the_delays_are_the_backoffs(driver: Driver, fake_clock: FakeClock) -> None:
    """One after each failed attempt but the last."""
    backoff = Backoff(initial=1, maximum=5, jitter="none")
    driver.fail(down(), policy=Policy(attempts=6, backoff=backoff, observers=()))
    assert fake_clock.sleeps == [1, 2, 4, 5, 5]


@on_every_driver
def test_a_wait_strategy_sees_the_delay_before(driver: Driver, fake_clock: FakeClock) -> None:
    """Jitter may build on it, also where a stop strategy is asked in between, when no delay is to come."""
    policy = Policy(attempts=5, backoff=lambda state: state.upcoming_sleep + 1, stop=lambda state: False, observers=())
    driver.fail(down(), policy=policy)
    assert fake_clock.sleeps == [1, 2, 3, 4]


@on_every_driver
def test_a_tenacity_wait_strategy_decides_the_delays(driver: Driver, fake_clock: FakeClock) -> None:
    """Also where it is a sum of two."""
    wait = tenacity.wait_fixed(3) + tenacity.wait_incrementing(start=1, increment=1)
    driver.fail(down(), policy=Policy(attempts=4, backoff=wait, observers=()))
    assert fake_clock.sleeps == [4, 5, 6]


@on_every_driver
def test_a_tenacity_stop_strategy_ends_the_call(driver: Driver) -> None:
    """And the note names it."""
    client = down()
    error = driver.fail(client, policy=QUIET.replace(stop=tenacity.stop_after_attempt(3)))
    assert client.calls == 3
    assert notes_of(error) == noted(
        "resilient: gave up after 3 attempts in 0.0 s (stop strategy stop_after_attempt)",
    )


@on_every_driver
def test_a_stop_strategy_sees_the_delay_to_come(driver: Driver, fake_clock: FakeClock) -> None:
    """`stop_before_delay` gives up rather than sleep past its limit."""
    policy = Policy(backoff=tenacity.wait_fixed(4), stop=tenacity.stop_before_delay(10), observers=())
    driver.fail(down(), policy=policy)
    assert fake_clock.sleeps == [4, 4]
    assert fake_clock.now() == 8


@on_every_driver
def test_a_stop_strategy_is_asked_again_on_waking(driver: Driver) -> None:
    """What happened during the pause counts: no attempt follows it."""
    enough = threading.Event()
    client = down()
    policy = Policy(backoff=AT_ONCE, stop=tenacity.stop_when_event_set(enough), observers=(lambda event: enough.set(),))
    error = driver.fail(client, policy=policy)
    assert client.calls == 1
    assert error is client.raised
    assert notes_of(error) == noted("resilient: gave up after 1 attempt in 0.0 s (stop strategy stop_when_event_set)")


@on_every_driver
def test_a_stop_strategy_sees_the_time_that_has_passed(driver: Driver, fake_clock: FakeClock) -> None:
    """Attempts and pauses both count, and on waking it is the time of waking."""
    seen: list[float | None] = []

    def connect() -> None:
        fake_clock.advance(1)
        raise refusal()

    def stop(state: tenacity.RetryCallState) -> bool:
        seen.append(state.seconds_since_start)
        return False

    driver.fail(connect, policy=Policy(attempts=2, backoff=tenacity.wait_fixed(5), stop=stop, observers=()))
    assert seen[:2] == [1, 6]


@on_every_driver
def test_a_tenacity_retry_strategy_decides_what_is_retried(driver: Driver) -> None:
    """And so what is not."""
    client = Client(KeyError("a"), KeyError("b"), ValueError("c"))
    error = driver.fail(client, policy=QUIET.replace(retry=tenacity.retry_if_exception_type(KeyError)))
    assert isinstance(error, ValueError)
    assert client.calls == 3


@on_every_driver
def test_a_retry_strategy_is_asked_once_about_an_error(driver: Driver) -> None:
    """Strategies may count, or cost."""
    asked: list[BaseException | None] = []

    def retry(state: tenacity.RetryCallState) -> bool:
        assert state.outcome is not None
        asked.append(state.outcome.exception())
        return True

    client = Client(refusal("one"), refusal("two"), refusal("three"))
    driver.fail(client, policy=QUIET.replace(retry=retry, attempts=3))
    assert [str(error) for error in asked] == [f"[Errno 111] {name}" for name in ("one", "two", "three")]


@on_every_driver
def test_try_again_is_an_error_like_any_other(driver: Driver) -> None:
    """It passes where the policy does not name it, also when it was raised out of an `except`."""
    client = Client(tenacity.TryAgain())
    error = driver.fail(client, policy=QUIET)
    assert isinstance(error, tenacity.TryAgain)
    assert client.calls == 1


@on_every_driver
def test_try_again_comes_out_itself_where_it_was_retried(driver: Driver) -> None:
    """tenacity would raise what stands behind it."""

    def connect() -> None:
        try:
            raise KeyError("behind")
        except KeyError as cause:
            raise tenacity.TryAgain from cause

    policy = QUIET.replace(attempts=2, retry=tenacity.retry_if_exception_type(tenacity.TryAgain))
    error = driver.fail(connect, policy=policy)
    assert isinstance(error, tenacity.TryAgain)
    assert isinstance(error.__cause__, KeyError)


@on_every_driver
@pytest.mark.parametrize(
    "interrupt",
    [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, type("Mine", (BaseException,), {})],
)
def test_an_interrupt_is_never_caught_counted_or_delayed(
    driver: Driver, interrupt: type[BaseException], fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Neither at the first attempt nor at a later one."""
    policy = QUIET.replace(retry=tenacity.retry_always)
    first, later = interrupt(), interrupt()
    assert driver.fail(Client(first), policy=policy) is first
    assert recorded_events == []
    assert driver.fail(Client(refusal(), later), policy=policy) is later
    assert [type(event) for event in recorded_events] == [RetryScheduled]
    assert fake_clock.sleeps == [0]
    assert later.__context__ is None
    assert notes_of(first) == notes_of(later) == []


@on_every_driver
def test_an_attempt_does_not_see_the_error_before_it(driver: Driver) -> None:
    """Not as the error that is being handled, and not as the context of its own."""
    handled: list[BaseException | None] = []
    client = down()

    def connect() -> None:
        handled.append(sys.exc_info()[1])
        client()

    error = driver.fail(connect, policy=QUIET.replace(attempts=3))
    assert handled == [None, None, None]
    assert error.__context__ is None


@on_every_driver
def test_fifty_attempts_take_no_deeper_stack_than_two(driver: Driver) -> None:
    """Attempts are made in a loop."""
    depths: set[int] = set()

    def connect() -> None:
        frame, depth = sys._getframe(), 0
        while frame.f_back is not None:
            frame, depth = frame.f_back, depth + 1
        depths.add(depth)
        raise refusal()

    driver.fail(connect, policy=QUIET.replace(attempts=50))
    assert max(depths) - min(depths) <= 1


@on_every_driver
def test_no_retries_lets_the_first_error_out_as_it_is(
    driver: Driver, no_retries: None, recorded_events: RecordedEvents
) -> None:
    """No pause, no event, no note."""
    client = down()
    error = driver.fail(client)
    assert error is client.raised
    assert client.calls == 1
    assert recorded_events == []
    assert notes_of(error) == []


@on_every_driver
def test_a_call_that_was_cancelled_before_it_began_makes_one_attempt(driver: Driver) -> None:
    """It might succeed; no other follows."""
    cancel = Cancellation()
    cancel.cancel()
    client = down()
    error = driver.fail(client, policy=QUIET, cancel=cancel)
    assert client.calls == 1
    assert error is client.raised
    assert notes_of(error) == noted("resilient: gave up after 1 attempt in 0.0 s (cancelled)")


@on_every_driver
def test_a_policy_for_other_errors_leaves_a_refusal_alone(driver: Driver, recorded_events: RecordedEvents) -> None:
    """At once, and nobody is told."""
    client = down()
    error = driver.fail(client, policy=QUIET.replace(retry=retry_if_unresolved()))
    assert is_refused(error)
    assert client.calls == 1
    assert recorded_events == []


@on_every_driver
def test_a_target_is_asked_for_only_after_a_failure(driver: Driver, recorded_events: RecordedEvents) -> None:
    """And then once, however often the call fails."""
    asked: list[str] = []

    def target() -> str:
        asked.append("db:5432")
        return "db:5432"

    driver.call(Client(), policy=QUIET, target=target)
    assert asked == []
    driver.fail(down(), policy=QUIET.replace(attempts=3), target=target)
    assert asked == ["db:5432"]
    assert {str(event.target) for event in recorded_events} == {"db:5432"}


@on_every_driver
@pytest.mark.parametrize("answer", [None, 5432, "no port", ZeroDivisionError()], ids=repr)
def test_a_target_callable_that_fails_changes_nothing(
    driver: Driver, answer: object, recorded_events: RecordedEvents
) -> None:
    """It is isolated like an observer: the call goes on without a target."""

    def target() -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = Client(refusal())
    assert driver.call(client, policy=QUIET, target=target) == "connected"
    assert [event.target for event in recorded_events] == [None, None]


@on_every_driver
def test_the_last_event_of_a_call_that_gave_up_names_its_error(driver: Driver, recorded_events: RecordedEvents) -> None:
    """The last one, not the first."""
    driver.fail(Client(refusal("one"), refusal("two")), policy=QUIET.replace(attempts=2))
    last = recorded_events[-1]
    assert isinstance(last, RetriesExhausted)
    assert "two" in last.error_text
