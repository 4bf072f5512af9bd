"""Meeting an open circuit in the ways that are rare: switched off, cancelled, nested, closed meanwhile, interrupted."""

from __future__ import annotations

from typing import Any

import pytest
from drivers import QUIET, Client, Driver, notes_of, on_every_driver, refusal
from test_parking import breaker, trip

from resilient import (
    CallParked,
    Cancellation,
    CircuitBreaker,
    CircuitOpenError,
    RetriesExhausted,
    retry_if_refused,
    retry_on_refused,
)
from resilient.testing import FakeClock, RecordedEvents, no_retries


@on_every_driver
def test_with_retries_switched_off_what_a_circuit_says_comes_out_at_once(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Of a breaker round the function as of one beside it, with no event and no note."""
    circuit = trip(breaker())
    with no_retries():
        for error in (
            driver.fail(circuit(Client()), policy=QUIET),
            driver.fail(Client(), policy=QUIET, breaker=circuit),
        ):
            assert isinstance(error, CircuitOpenError)
            assert notes_of(error) == []
    assert (fake_clock.now(), circuit.parked) == (0, 0)
    assert recorded_events.of(CallParked) == recorded_events.of(RetriesExhausted) == []


@on_every_driver
def test_a_call_that_is_cancelled_already_does_not_park(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """It has no attempt, and says why."""
    circuit, client, stop = trip(breaker()), Client(), Cancellation()
    stop.cancel()
    error = driver.fail(client, policy=QUIET, breaker=circuit, cancel=stop)
    assert isinstance(error, CircuitOpenError)
    assert [event.reason for event in recorded_events.of(RetriesExhausted)] == ["cancelled"]
    assert recorded_events.of(CallParked) == []
    assert (client.calls, fake_clock.now(), circuit.parked) == (0, 0, 0)


@on_every_driver
def test_what_an_inner_call_gave_up_on_at_a_circuit_passes_through_an_outer_one(
    driver: Driver, fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its time is over; the outer policy says that it has no effect."""
    circuit = trip(breaker())
    inner = retry_on_refused(Client(), policy=QUIET.replace(deadline=5), breaker=circuit)
    error = driver.fail(inner, policy=QUIET.replace(deadline=60, name="outer"))
    assert isinstance(error, CircuitOpenError)
    assert fake_clock.now() == 0  # the cooldown is longer than the inner call's deadline
    assert [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]


@on_every_driver
def test_an_outer_call_may_ask_for_multiplied_retries_at_a_circuit(driver: Driver, fake_clock: FakeClock) -> None:
    """With `exhausted=True` it parks where the inner one gave up."""
    circuit, client = trip(breaker()), Client()
    inner = retry_on_refused(client, policy=QUIET.replace(deadline=5), breaker=circuit)
    policy = QUIET.replace(deadline=60, retry=retry_if_refused(exhausted=True))
    assert driver.call(inner, policy=policy) == "connected"
    assert (fake_clock.now(), client.calls) == (10, 1)


@on_every_driver
def test_a_circuit_that_has_closed_meanwhile_is_tried_again_at_once_and_only_once(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """An old error that is kept and raised for ever is no circuit's word any more."""
    circuit = trip(breaker())
    with pytest.raises(CircuitOpenError) as kept:
        circuit.admit()
    circuit.reset()
    calls: list[None] = []

    def connect() -> Any:
        calls.append(None)
        raise kept.value

    error = driver.fail(connect, policy=QUIET.replace(deadline=None))
    assert error is kept.value
    assert len(calls) == 2
    assert (fake_clock.now(), circuit.parked) == (0, 0)


def test_a_call_out_of_the_middle_of_a_breakers_own_work_is_turned_away(
    fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """As a signal handler's: it cannot wait for what it has interrupted."""
    circuit = trip(breaker())
    with circuit._lock, pytest.raises(CircuitOpenError):
        retry_on_refused(Client(), policy=QUIET, breaker=circuit)()
    assert "interrupted" in recorded_events.of(RetriesExhausted)[0].reason
    assert recorded_events.of(CallParked) == []
    fake_clock.advance(10)
    assert circuit.call(lambda: "connected") == "connected"
    assert circuit.parked == 0


def test_what_is_reported_in_the_middle_of_a_breakers_own_work_counts_after_it() -> None:
    """Votes of a signal handler or finaliser are not lost."""
    circuit = breaker()
    with circuit._lock:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                circuit.call(Client(refusal()))
        assert circuit.state == "closed"
    with pytest.raises(CircuitOpenError, match="Connection refused"):
        circuit.admit()
    assert circuit.state == "open"


def test_a_parked_call_that_has_not_run_says_what_the_breaker_counted_last(
    fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Or nothing, if nobody said what it was."""
    for outcome, text in ((refusal("the first"), "[Errno 111] the first"), ("failure", "")):
        recorded_events.clear()
        circuit = CircuitBreaker("db", trip_after=1, observers=())
        circuit.settle(circuit.admit(), outcome)  # type: ignore[arg-type]
        retry_on_refused(Client(), policy=QUIET, breaker=circuit)()
        (parked,) = recorded_events.of(CallParked)
        assert (parked.kind, parked.error_type, parked.error_text, parked.attempt, parked.parked) == (
            None,
            "resilient.errors.CircuitOpenError",
            text,
            0,
            1,
        )
