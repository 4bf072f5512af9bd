"""Meeting an open circuit in the ways that are rare: switched off, cancelled, nested, closed meanwhile, interrupted."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
import tenacity
from drivers import QUIET, Client, Driver, down, noted, notes_of, on_every_driver, refusal
from test_parking import PATIENT, TEN, breaker, trip
from test_recovery_corners import failed, plan_of

from resilient import (
    Backoff,
    CallParked,
    Cancellation,
    CircuitBreaker,
    CircuitBreakers,
    CircuitChanged,
    CircuitOpenError,
    Endpoint,
    Policy,
    RetriesExhausted,
    RetryScheduled,
    clock,
    retry_if_refused,
    retry_on_refused,
)
from resilient._recovery import Recovery
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
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
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
    assert recorded_events.of(CallParked) == []


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


class Forgotten:
    """A connection that a client left in its frame: it goes with the frame, and somebody hears of it."""

    def __init__(self, going: Callable[[], object]) -> None:
        self._going = going

    def connect(self) -> None:
        raise refusal()

    def __del__(self) -> None:
        self._going()


@on_every_driver
@pytest.mark.parametrize("reason", ["cancelled", "circuit db is isolated"])
def test_a_call_hears_what_happens_between_its_failure_and_its_parking(
    driver: Driver, reason: str, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """It ends with its own error, and without a pause."""
    circuit, cancel = breaker(), Cancellation()
    going = cancel.cancel if reason == "cancelled" else circuit.isolate

    def connect() -> None:
        connection = Forgotten(going)
        connection.connect()

    error = driver.fail(connect, policy=QUIET, breaker=circuit, cancel=cancel)
    assert type(error) is ConnectionRefusedError
    assert error.__context__ is None
    assert (fake_clock.now(), set(fake_clock.sleeps), circuit.parked) == (0, {0}, 0)
    (given_up,) = recorded_events.of(RetriesExhausted)
    assert (given_up.attempt, given_up.reason) == (1, reason)
    assert recorded_events.of(CallParked) == []


@on_every_driver
@pytest.mark.parametrize("parked", [False, True])
def test_a_probe_that_goes_through_its_own_breaker_is_made_once(
    driver: Driver, parked: bool, fake_clock: FakeClock
) -> None:
    """Whether its turn has come already or it has to wait for it."""
    circuit, client = trip(CircuitBreaker("round itself", trip_after=1, cooldown=TEN, observers=())), Client()
    if not parked:
        fake_clock.advance(10)
    entered: list[float] = []

    def connect() -> Any:
        entered.append(fake_clock.now())
        return circuit.call(client)

    assert driver.call(connect, policy=QUIET, breaker=circuit) == "connected"
    assert (entered, client.calls, circuit.state) == ([10], 1, "closed")
    assert fake_clock.sleeps == ([10] if parked else [])


@on_every_driver
def test_what_the_client_made_of_a_rejection_comes_out_of_a_call_that_never_ran(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """The same object, at its deadline, after another's probe has hung."""
    circuit, raised = trip(breaker()), list[Exception]()
    fake_clock.advance(10)
    circuit.admit()

    def connect() -> Any:
        try:
            circuit.call(list)
        except CircuitOpenError as rejection:
            raised.append(OSError("no connection"))
            raise raised[-1] from rejection

    error = driver.fail(connect, policy=QUIET.replace(deadline=5))
    assert [error] == raised
    assert (type(error.__cause__), fake_clock.now()) == (CircuitOpenError, 15)
    assert notes_of(error) == noted("resilient: gave up after 0 attempts in 5.0 s (deadline 5 s)")


@on_every_driver
def test_a_call_that_goes_at_once_and_succeeds_has_not_recovered(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """The circuit has, and says so."""
    circuit = trip(breaker())
    fake_clock.advance(10)
    assert driver.call(Client(), policy=QUIET, breaker=circuit) == "connected"
    assert {type(event) for event in recorded_events} == {CircuitChanged}


@on_every_driver
def test_a_circuit_that_stays_open_beyond_the_deadline_of_a_call_that_ran_costs_no_pause(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """Not even one of no length: its error flies from its own handler."""
    circuit, client = breaker(), down()
    assert driver.fail(client, policy=QUIET.replace(deadline=9), breaker=circuit) is client.raised
    assert (client.calls, fake_clock.sleeps, circuit.parked) == (1, [], 0)


@on_every_driver
def test_a_circuit_that_others_open_during_a_pause_is_waited_for_on_waking(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """Before its next attempt, which is the probe."""
    circuit, client = breaker(trip_after=2), Client(refusal())
    policy = PATIENT.replace(
        backoff=Backoff(initial=1, maximum=1, jitter="none"),
        observers=(lambda event: trip(circuit) if isinstance(event, RetryScheduled) else None,),
    )
    entered: list[float] = []

    def connect() -> str:
        entered.append(fake_clock.now())
        return client()

    assert driver.call(connect, policy=policy, breaker=circuit) == "connected"
    assert (entered, fake_clock.sleeps, circuit.state) == ([0, 10], [1, 9], "closed")


@on_every_driver
def test_after_an_attempt_at_the_deadline_no_backoff_is_asked_for(driver: Driver, fake_clock: FakeClock) -> None:
    """There is no pause to come."""
    circuit, client = trip(breaker()), down()
    asked: list[float | None] = []

    def backoff(state: tenacity.RetryCallState) -> float:
        asked.append(state.seconds_since_start)
        return 1

    error = driver.fail(client, policy=QUIET.replace(deadline=10, backoff=backoff), breaker=circuit)
    assert error is client.raised
    assert (client.calls, fake_clock.now(), asked) == (1, 10, [])


@on_every_driver
def test_a_rejection_of_nobodys_passes_at_once(
    driver: Driver, recorded_events: RecordedEvents, caplog: pytest.LogCaptureFixture
) -> None:
    """One that came from another process, say: there is nothing to wait for."""
    client = Client(CircuitOpenError("db", 1.0))
    error = driver.fail(client, policy=QUIET)
    assert error is client.raised
    assert (client.calls, notes_of(error), caplog.messages, list(recorded_events)) == (1, [], [], [])


@on_every_driver
def test_a_turn_that_comes_while_parking_is_told_is_taken(driver: Driver, fake_clock: FakeClock) -> None:
    """By a slow observer; the attempt is the probe, as it would have been."""
    circuit = trip(breaker())
    policy = PATIENT.replace(
        observers=(lambda event: fake_clock.advance(10) if isinstance(event, CallParked) else None,)
    )
    assert driver.call(Client(), policy=policy, breaker=circuit) == "connected"
    assert (fake_clock.now(), fake_clock.sleeps, circuit.state, circuit.parked) == (10, [0], "closed", 0)


@on_every_driver
def test_a_call_inside_of_a_probe_says_why_it_does_not_wait_for_it(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """The breaker stands outside of the retries, and its own probe is what fails."""
    circuit, client = trip(CircuitBreaker("outside", trip_after=1, cooldown=TEN, observers=())), down()
    fake_clock.advance(10)
    protected = circuit(driver.protect(client, policy=QUIET, breaker=circuit))
    with pytest.raises(ConnectionRefusedError):
        driver.run(protected)
    assert [event.reason for event in recorded_events.of(RetriesExhausted)] == [
        "circuit outside waits for the very call that this one is a part of"
    ]
    assert client.calls == 1


def test_a_parked_call_names_its_own_target_or_else_the_breakers(
    fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """A breaker out of `CircuitBreakers` has one."""
    db, replica = Endpoint.parse("db:5432"), Endpoint.parse("replica:5432")
    for target, expected in ((None, db), ("replica:5432", replica)):
        circuit = trip(CircuitBreakers(trip_after=1, cooldown=TEN, observers=())[db])
        retry_on_refused(circuit(Client()), policy=QUIET, target=target)()
        (parked,) = recorded_events.of(CallParked)
        assert parked.target == expected
        recorded_events.clear()


@on_every_driver
def test_a_part_of_a_probe_that_waits_for_another_circuit_goes_on_as_one(driver: Driver, fake_clock: FakeClock) -> None:
    """The probe of its own circuit is still under way when it wakes, and still its own."""
    outside = trip(CircuitBreaker("outside", trip_after=1, cooldown=TEN, observers=()))
    longer = trip(breaker(cooldown=Backoff(initial=20, maximum=20, jitter="none")))
    client = Client()
    fake_clock.advance(10)
    protected = outside(driver.protect(longer(client), policy=PATIENT, breaker=outside))
    assert driver.run(protected) == "connected"
    assert (fake_clock.now(), client.calls) == (20, 1)
    assert (outside.state, longer.state) == ("closed", "closed")


def test_a_parked_call_says_how_long_it_has_taken_already(
    fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """From its own beginning."""
    fake_clock.advance(3)
    client = Client(refusal())

    def connect() -> str:
        fake_clock.advance(2)
        return client()

    retry_on_refused(connect, policy=QUIET, breaker=breaker())()
    assert [event.elapsed for event in recorded_events.of(CallParked)] == [2]


# One call by itself.


def recovery_of(circuit: CircuitBreaker, policy: Policy = PATIENT, **settings: Any) -> Recovery:
    """A call that has not asked its circuit for leave yet."""
    return Recovery(
        plan_of(policy, breaker=circuit, **settings), clock.now(), (), {}, circuit, host=settings.get("host")
    )


def test_a_call_that_may_not_begin_is_over(recorded_events: RecordedEvents) -> None:
    """Whoever drives it; it has not parked."""
    circuit = breaker()
    circuit.isolate()
    call = recovery_of(circuit)
    with pytest.raises(CircuitOpenError):
        call.enter(None)
    assert call.over is True
    assert recorded_events.of(CallParked) == []


def test_an_interrupted_probe_does_not_cost_its_loop_the_next_turn(fake_clock: FakeClock) -> None:
    """It stands in the line no more: nothing moves there when it leaves."""
    circuit = trip(breaker())
    hosts = {"A1": "A", "A2": "A", "B1": "B", "B2": "B", "C1": "C", "C2": "C", "D": "D", "E": "E"}
    calls = {name: recovery_of(circuit, host=lambda host=host: host) for name, host in hosts.items()}
    assert [call.enter(None) for call in calls.values()] == [10, inf, 10.25, inf, 10.5, inf, inf, inf]
    fake_clock.advance(10)
    assert calls["A1"].woken() is None
    for name in ("B1", "A1", "C1"):
        calls[name].leave()
    assert (calls["A2"].woken(), calls["B2"].woken()) == (0.5, inf)


def test_who_has_left_moves_nothing_by_leaving_again(fake_clock: FakeClock) -> None:
    """Its loop has others in the line."""
    circuit = trip(breaker())
    hosts = {"A1": "A", "A2": "A", "B1": "B", "B2": "B", "C1": "C", "C2": "C", "D": "D", "E": "E"}
    calls = {name: recovery_of(circuit, host=lambda host=host: host) for name, host in hosts.items()}
    for call in calls.values():
        call.enter(None)
    for name in ("A1", "B1", "A1", "C1", "D"):
        calls[name].leave()
    assert {name: calls[name].woken() for name in ("E", "A2", "B2", "C2")} == {
        "E": 10,
        "A2": 10.25,
        "B2": 10.5,
        "C2": inf,
    }


def test_who_has_given_up_in_the_line_moves_nothing_by_leaving_it(fake_clock: FakeClock) -> None:
    """At its deadline, while another's probe hangs."""
    circuit = trip(breaker())
    fake_clock.advance(10)
    circuit.admit()
    hosts = {"A1": "A", "A2": "A", "B1": "B", "B2": "B", "C1": "C", "C2": "C", "D": "D", "E": "E"}
    calls = {
        name: recovery_of(circuit, PATIENT.replace(deadline=5 if name == "B1" else None), host=lambda host=host: host)
        for name, host in hosts.items()
    }
    for call in calls.values():
        call.enter(None)
    fake_clock.advance(5)
    calls["A1"].leave()
    assert calls["B1"].woken() is None
    for name in ("C1", "B1", "D"):
        calls[name].leave()
    assert {name: calls[name].woken() for name in ("E", "A2", "B2", "C2")} == {
        "E": 25,
        "A2": 25.25,
        "B2": 25.5,
        "C2": inf,
    }


def test_the_refusal_of_a_call_that_was_let_go_keeps_the_others_waiting(fake_clock: FakeClock) -> None:
    """Also where the breaker is round the function, which then has nothing to settle but that."""
    circuit = trip(breaker())
    fake_clock.advance(10)
    probe = circuit.admit()
    first, second = (Recovery(plan_of(PATIENT), 10, (), {}) for _ in range(2))
    for call in (first, second):
        assert call.enter(failed(call, circuit.rejection())) == (30 if call is first else 30.25)
    circuit.settle(probe, "success")
    assert first.woken() is None
    assert second.woken() == pytest.approx(0.05)
    assert failed(first, refusal()) == 0
    assert second.woken() == 10


class Stop(BaseException):
    """An interrupt that loops do not take for their own."""


@on_every_driver
def test_an_interrupted_probe_is_given_back(driver: Driver, fake_clock: FakeClock) -> None:
    """It says nothing of the endpoint, and the next caller may probe at once."""
    circuit, client = trip(breaker()), Client(Stop())
    assert type(driver.fail(client, policy=QUIET, breaker=circuit)) is Stop
    assert (circuit.state, circuit.snapshot().probing, circuit.parked) == ("half-open", False, 0)
    assert driver.call(client, policy=QUIET, breaker=circuit) == "connected"
    assert fake_clock.now() == 10


def test_a_stop_strategy_that_fails_on_waking_is_named_where_no_attempt_was_made(
    fake_clock: FakeClock,
    recorded_events: RecordedEvents,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is no error of the client's that it could have failed on."""
    monkeypatch.setattr("resilient.logs._complaints", set())
    call = recovery_of(trip(breaker()), PATIENT.replace(stop=lambda state: bool(1 // 0)))
    assert call.enter(None) == 10
    fake_clock.advance(10)
    assert call.woken() is None
    with pytest.raises(CircuitOpenError):
        call.reraise()
    assert recorded_events.of(RetriesExhausted)[0].reason == "the policy failed with ZeroDivisionError"
    (said,) = caplog.messages
    assert said.startswith("policy of connect failed on ZeroDivisionError and is ignored (ZeroDivisionError")


def test_a_call_that_gives_up_in_the_line_has_left_it() -> None:
    """Before its driver says so."""
    circuit = trip(breaker())
    call = recovery_of(circuit)
    call.enter(None)
    assert circuit.parked == 1
    circuit.isolate()
    assert call.woken() is None
    assert (call.over, circuit.parked) == (True, 0)


def test_a_call_that_was_to_park_when_retries_are_switched_off_says_so(recorded_events: RecordedEvents) -> None:
    """It keeps its own error."""
    circuit, error = breaker(), refusal()
    permit = circuit.try_admit()
    call = Recovery(plan_of(PATIENT, breaker=circuit), clock.now(), (), {}, circuit, permit)
    step = failed(call, error)
    with no_retries():
        assert call.enter(step) == 0
        assert call.woken() is None
    assert recorded_events.of(RetriesExhausted)[0].reason == "no retries"
    with pytest.raises(ConnectionRefusedError) as caught:
        call.reraise()
    assert caught.value is error


def test_a_rejection_from_before_the_circuit_closed_stands_behind_those_who_still_wait(fake_clock: FakeClock) -> None:
    """They are let go in batches, and it does not overtake them."""
    circuit = trip(breaker())
    old, others = circuit.rejection(), [recovery_of(circuit) for _ in range(2)]
    for other in others:
        other.enter(None)
    fake_clock.advance(10)
    circuit.settle(circuit.admit(), "success")
    assert (circuit.state, circuit.parked) == ("closed", 1)
    call = Recovery(plan_of(PATIENT), clock.now(), (), {})
    assert call.enter(failed(call, old)) == pytest.approx(0.3)
    assert circuit.parked == 2


def test_a_stop_strategy_sees_what_the_circuit_said_where_no_attempt_was_made(fake_clock: FakeClock) -> None:
    """Or what the client made of it."""
    circuit, seen = trip(breaker()), list[Any]()
    policy = PATIENT.replace(stop=lambda state: seen.append(state.outcome.exception()))  # type: ignore[arg-type, return-value, union-attr]
    inside, given = Recovery(plan_of(policy), clock.now(), (), {}), recovery_of(circuit, policy)
    made_of_it = OSError("no connection")
    made_of_it.__cause__ = circuit.rejection()
    inside.enter(failed(inside, made_of_it))
    given.enter(None)
    fake_clock.advance(10)
    assert inside.woken() is None
    fake_clock.advance(0.5)
    assert given.woken() is None
    assert seen[0] is made_of_it
    assert type(seen[1]) is CircuitOpenError


@on_every_driver
def test_a_call_that_probes_waits_for_the_circuit_inside_that_turned_it_away_and_for_no_other(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Its own circuit would let it go at once, and it would be turned away inside again and again."""
    own = CircuitBreaker("own", trip_after=1, cooldown=TEN, observers=())
    inside = CircuitBreaker("inside", trip_after=1, cooldown=TEN, observers=())
    for circuit in (own, inside):
        circuit.settle(circuit.admit(), refusal())
        fake_clock.advance(5)
    tried: list[float] = []

    def connect() -> str:
        tried.append(fake_clock.now())
        return inside.call(lambda: "connected")

    assert driver.run(driver.protect(connect, policy=QUIET.replace(deadline=None), breaker=own)) == "connected"
    assert tried == [10, 15]
    assert [event.breaker for event in recorded_events.of(CallParked)] == ["inside"]
