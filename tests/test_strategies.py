"""The application's own code in a policy, on every driver: whatever it does, the client's own error comes out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

import pytest
import tenacity
from drivers import (
    AT_ONCE,
    DRIVERS,
    QUIET,
    Client,
    Driver,
    down,
    noted,
    notes_of,
    on_both_twins,
    on_every_driver,
    refusal,
)

from resilient import CallRecovered, Event, Policy, RetriesExhausted, RetryScheduled, retry_if_refused, retry_on_refused
from resilient.testing import FakeClock, RecordedEvents


class Awaitable:
    """What a strategy gives that was written for an asynchronous engine."""

    def __await__(self) -> Generator[None, None, bool]:
        yield
        return True


class Undecided:
    def __bool__(self) -> bool:
        raise ZeroDivisionError("is it true?")


def raising(problem: Exception) -> Callable[..., Any]:
    def strategy(state: tenacity.RetryCallState) -> Any:
        raise problem

    return strategy


def giving(answer: object) -> Callable[..., Any]:
    def strategy(state: tenacity.RetryCallState) -> Any:
        return answer

    return strategy


@pytest.fixture(autouse=True)
def _said_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is said once in a process; here once in a test."""
    monkeypatch.setattr("resilient.logs._complaints", set())


FAULTS: dict[str, dict[str, Any]] = {
    "retry raises": {"retry": raising(LookupError("a bug"))},
    "retry raises a refusal": {"retry": raising(refusal("not the client's"))},
    "retry raises what cannot be shown": {"retry": raising(type("Dumb", (Exception,), {"__str__": None})())},
    "retry gives an awaitable": {"retry": giving(Awaitable())},
    "retry gives what is neither true nor false": {"retry": giving(Undecided())},
    "a part of retry raises": {"retry": retry_if_refused() & raising(LookupError("a bug"))},
    "stop raises": {"stop": raising(LookupError("a bug"))},
    "stop gives what is neither true nor false": {"stop": giving(Undecided())},
    "backoff raises": {"backoff": raising(LookupError("a bug"))},
    "backoff gives NaN": {"backoff": giving(float("nan"))},
    "backoff gives a negative number": {"backoff": giving(-0.001)},
    "backoff gives a negative timedelta": {"backoff": giving(timedelta(seconds=-1))},
    "backoff gives minus infinity": {"backoff": giving(float("-inf"))},
    "backoff gives infinity without a deadline": {"backoff": giving(float("inf")), "deadline": None},
    "backoff gives more than any float without a deadline": {"backoff": giving(10**400), "deadline": None},
    "backoff gives a text": {"backoff": giving("1")},
    "backoff gives nothing": {"backoff": giving(None)},
    "backoff gives a complex number": {"backoff": giving(1j)},
    "backoff gives an awaitable": {"backoff": giving(Awaitable())},
}


@on_both_twins
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_strategy_ends_the_call_with_the_clients_own_error(
    driver: Driver, fault: str, recorded_events: RecordedEvents
) -> None:
    """After one attempt: no strategy, no retry. The error is untouched but for its note."""
    client = down()
    error = driver.fail(client, policy=QUIET.replace(**FAULTS[fault]))
    assert error is client.raised
    assert client.calls == 1
    assert (error.__context__, error.__cause__) == (None, None)
    assert [type(event) for event in recorded_events] == [RetriesExhausted]
    assert len(notes_of(error)) == len(noted("one"))
    assert all("the policy failed with " in note for note in notes_of(error))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_strategy_is_said_once(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """As an ERROR of one line, however often it is asked."""
    DRIVERS[0].fail_often(3, down(), policy=QUIET.replace(**FAULTS[fault]))
    said = [record for record in caplog.records if record.name == "resilient"]
    assert [record.levelno for record in said] == [logging.ERROR]
    assert "is ignored" in said[0].getMessage()
    assert said[0].exc_info is None
    assert len(said[0].getMessage().splitlines()) == 1


@on_every_driver
def test_a_faulty_strategy_after_some_retries_lets_the_last_error_out(driver: Driver) -> None:
    """The last one, not the first."""
    client = down()

    def backoff(state: tenacity.RetryCallState) -> float:
        return 0 if state.attempt_number < 4 else float("nan")

    assert driver.fail(client, policy=QUIET.replace(backoff=backoff)) is client.raised
    assert client.calls == 4


@on_every_driver
def test_a_stop_strategy_that_fails_only_on_waking_ends_the_call(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """Outside the `except` of the driver, and still without a trace on the error."""
    client, asked = down(), []

    def stop(state: tenacity.RetryCallState) -> bool:
        asked.append(state.attempt_number)
        if len(asked) == 2:
            raise LookupError("a bug")
        return False

    error = driver.fail(client, policy=QUIET.replace(stop=stop))
    assert error is client.raised
    assert client.calls == 1
    assert error.__context__ is None
    assert "LookupError: a bug" in caplog.text


@on_every_driver
def test_an_error_the_policy_fails_on_is_marked_as_given_up(driver: Driver) -> None:
    """An outer call must not go on where this one stopped."""
    client = down()
    inner = driver.protect(client, policy=QUIET.replace(backoff=giving("soon")))

    async def await_inner() -> Any:
        return await inner()

    outer = retry_on_refused(policy=QUIET.replace(attempts=5))(await_inner if driver.is_async else inner)
    with pytest.raises(ConnectionRefusedError):
        driver.run(outer)
    assert client.calls == 1


@on_both_twins
@pytest.mark.parametrize("delay", [0, 0.0, 2, 2.5, timedelta(milliseconds=1500), True], ids=repr)
def test_a_backoff_may_give_any_number_or_a_timedelta(driver: Driver, delay: Any, fake_clock: FakeClock) -> None:
    """What tenacity's own engine takes."""
    assert driver.call(Client(refusal()), policy=QUIET.replace(backoff=giving(delay))) == "connected"
    expected = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
    assert fake_clock.sleeps == [expected]


@on_every_driver
def test_an_infinite_backoff_within_a_deadline_waits_for_the_deadline(driver: Driver, fake_clock: FakeClock) -> None:
    """It is shortened like any other."""
    driver.fail(down(), policy=QUIET.replace(backoff=giving(float("inf")), deadline=9))
    assert fake_clock.sleeps == [9]


@on_every_driver
def test_an_observer_that_raises_changes_nothing(driver: Driver) -> None:
    """Neither the number of attempts, nor the error, nor what the others are told."""
    told: list[type[Event]] = []

    def broken(event: Event) -> None:
        raise ConnectionRefusedError("the observer's own")

    observers = (broken, lambda event: told.append(type(event)), broken)
    client = down()
    error = driver.fail(client, policy=QUIET.replace(attempts=3, observers=observers))
    assert error is client.raised
    assert error.__context__ is None
    assert client.calls == 3
    assert told == [RetryScheduled, RetryScheduled, RetriesExhausted]


@on_every_driver
def test_an_observer_that_raises_does_not_spoil_success(driver: Driver) -> None:
    """Not even when it is told of the recovery."""
    told: list[type[Event]] = []

    def broken(event: Event) -> None:
        told.append(type(event))
        raise LookupError("a bug")

    assert driver.call(Client(refusal()), policy=QUIET.replace(observers=(broken,))) == "connected"
    assert told == [RetryScheduled, CallRecovered]


@on_every_driver
def test_an_observer_that_raises_is_logged_once_per_kind(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """Once for each kind of event and error, in all calls together."""

    def broken(event: Event) -> None:
        raise LookupError("a bug") if event.attempt != 2 else KeyError("another")

    driver.fail_often(3, down(), policy=QUIET.replace(attempts=4, observers=(broken,)))
    said = sorted(record.getMessage() for record in caplog.records)
    assert len(said) == 3
    assert "RetriesExhausted" in said[0]
    assert "LookupError: a bug" in said[0]
    assert "KeyError: 'another'" in said[1]
    assert "LookupError: a bug" in said[2]


@on_every_driver
def test_an_observer_may_make_protected_calls_itself(driver: Driver) -> None:
    """Nothing is locked while it is told."""
    answers: list[str] = []
    policy = Policy(attempts=2, backoff=AT_ONCE, observers=())

    def report(event: Event) -> None:
        answers.append(retry_on_refused(policy=policy)(Client(refusal()))())

    driver.fail(down(), policy=QUIET.replace(attempts=2, observers=(report,)))
    assert answers == ["connected", "connected"]


@on_every_driver
def test_a_strategy_sees_the_arguments_of_the_call(driver: Driver) -> None:
    """As in tenacity. Blocks have none."""
    seen: list[tuple[Any, ...]] = []

    def retry(state: tenacity.RetryCallState) -> bool:
        seen.append((state.args, state.kwargs))
        return False

    driver.fail(down(), policy=QUIET.replace(retry=retry))
    assert seen == [((), {})]


@on_every_driver
def test_a_faulty_strategy_in_many_threads_lets_every_error_out(driver: Driver) -> None:
    """Each caller gets the error of its own client."""
    policy = QUIET.replace(backoff=raising(LookupError("a bug")))
    failures: list[bool] = []
    gate = threading.Barrier(8)

    def caller() -> None:
        client = down()
        gate.wait()
        failures.append(driver.fail(client, policy=policy) is client.raised)

    threads = [threading.Thread(target=caller) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [True] * 8
