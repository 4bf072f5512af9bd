"""Failover in the ways that are rare: observers that misbehave, circuits in circuits, hidden refusals, the hand."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity
from drivers import QUIET, Driver, noted, notes_of, on_every_driver, refusal
from test_asking import ShyError, known_as_shy
from test_failover_hostile import A, B, C, Cluster, breakers, fails, nothing_is_left, trip, tripped
from test_recovery_corners import failed, nearly_full

from resilient import (
    Backoff,
    CallParked,
    Cancellation,
    CircuitBreaker,
    CircuitBreakers,
    CircuitChanged,
    CircuitOpenError,
    Endpoint,
    Event,
    FailedOver,
    Policy,
    RetriesExhausted,
    RetryScheduled,
    Targets,
    clock,
    retry_on_refused,
)
from resilient._recovery import Plan, Recovery
from resilient._traces import marks
from resilient.testing import FakeClock, RecordedEvents, late_server, no_retries, refused_port

PATIENT = QUIET.replace(deadline=None)


# Observers.


def bad(event: Event) -> None:
    raise LookupError("a bug")


@on_every_driver
def test_observers_that_raise_change_nothing(driver: Driver, fake_clock: FakeClock) -> None:
    """Of the policy and of the circuits, at every event that there is."""
    circuits, cluster = breakers(observers=(bad,)), Cluster()

    def connect(endpoint: Endpoint) -> str:
        if len(cluster.tried) == 3:
            cluster.up.add(endpoint)
        return cluster(endpoint)

    protected = driver.protect_at(connect, policy=PATIENT.replace(observers=(bad,)), targets=(A, B), breaker=circuits)
    assert driver.run(protected) == str(B)
    assert cluster.tried == [A, B, A, B]
    nothing_is_left(circuits)


@on_every_driver
@pytest.mark.parametrize("kind", [FailedOver, CallParked, CircuitChanged])
def test_no_attempt_begins_late_because_an_observer_took_its_time(
    driver: Driver, kind: type[Event], fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """A minute, where the deadline is five seconds: the call ends with what it has."""
    began: list[float] = []
    cluster = Cluster()

    def slow(event: Event) -> None:
        if isinstance(event, kind):
            fake_clock.advance(60)

    def connect(endpoint: Endpoint) -> str:
        began.append(fake_clock.now())
        return cluster(endpoint)

    circuits = breakers(observers=(slow,), cooldown=Backoff(initial=1, maximum=1, jitter="none"))
    error = fails(
        driver,
        connect,
        policy=QUIET.replace(deadline=5, observers=(slow,)),
        targets=(A, B),
        breaker=circuits,
    )
    assert error is cluster.raised
    assert max(began) <= 5.25
    (given_up,) = recorded_events.of(RetriesExhausted)
    assert given_up.target == cluster.tried[-1]
    nothing_is_left(circuits)


@on_every_driver
@pytest.mark.parametrize("cancels", [False, True])
def test_no_probe_begins_late_because_an_observer_of_its_circuit_took_its_time(
    driver: Driver, cancels: bool, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """It hears of the probe before it is made; or it ends the call."""
    cluster, cancel = Cluster(A, B), Cancellation()

    def slow(event: Event) -> None:
        if isinstance(event, CircuitChanged) and event.state == "half-open":
            cancel.cancel() if cancels else fake_clock.advance(60)

    circuits = tripped(A, B, observers=(slow,))
    settings: dict[str, Any] = {"policy": QUIET.replace(deadline=15), "breaker": circuits, "cancel": cancel}
    assert isinstance(fails(driver, cluster, targets=(A, B), **settings), CircuitOpenError)
    assert cluster.tried == []
    (given_up,) = recorded_events.of(RetriesExhausted)
    assert given_up.reason == ("cancelled" if cancels else "deadline 15 s, woken 55.00 s late")
    nothing_is_left(circuits)


@on_every_driver
def test_a_probe_that_would_begin_late_is_given_back_before_anybody_hears_that_the_call_has_ended(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """An observer that takes its time keeps nobody from probing."""
    circuits, cluster, probing = tripped(B), Cluster(), list[tuple[str, bool]]()
    fake_clock.advance(10)

    def slow(event: Event) -> None:
        if isinstance(event, FailedOver):
            probing.append((circuits[B].state, circuits[B].snapshot().probing))
            fake_clock.advance(60)
        if isinstance(event, RetriesExhausted):
            probing.append((circuits[B].state, circuits[B].snapshot().probing))

    policy = QUIET.replace(deadline=5, observers=(slow,))
    assert fails(driver, cluster, policy=policy, targets=(A, B), breaker=circuits) is cluster.raised
    assert cluster.tried == [A]
    assert probing == [("half-open", True), ("half-open", False)]


@on_every_driver
def test_a_probe_after_a_park_that_would_begin_late_is_given_back_before_anybody_hears_that_the_call_has_ended(
    driver: Driver, fake_clock: FakeClock
) -> None:
    probing: list[tuple[str, bool]] = []

    def slow(event: Event) -> None:
        if isinstance(event, CircuitChanged) and event.state == "half-open":
            fake_clock.advance(60)
        if isinstance(event, RetriesExhausted):
            probing.append((circuits[A].state, circuits[A].snapshot().probing))

    circuits = tripped(A, observers=(slow,))
    trip(circuits[B])
    circuits[B].isolate()
    policy = QUIET.replace(deadline=15, observers=(slow,))
    assert isinstance(fails(driver, Cluster(A), policy=policy, targets=(A, B), breaker=circuits), CircuitOpenError)
    assert probing == [("half-open", False)]


@on_every_driver
@pytest.mark.parametrize(("late", "tried"), [(0.25, [A, B]), (0.5, [A])])
def test_a_call_that_is_too_late_already_goes_to_no_further_endpoint(
    driver: Driver, late: float, tried: list[Endpoint], fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """The client took its time: up to a quarter of a second past the deadline the next one is tried, and told of."""
    cluster = Cluster()

    def connect(endpoint: Endpoint) -> str:
        if endpoint == A:
            fake_clock.advance(1 + late)
        return cluster(endpoint)

    error = fails(driver, connect, policy=QUIET.replace(deadline=1), targets=(A, B))
    assert (error, cluster.tried) == (cluster.raised, tried)
    assert len(recorded_events.of(FailedOver)) == len(tried) - 1


@on_every_driver
def test_an_observer_may_call_the_same_function(driver: Driver, fake_clock: FakeClock) -> None:
    """In the middle of going to the next endpoint, of parking and of a change."""
    cluster, inner, served = Cluster(B), Cluster(B), list[str]()
    busy: list[None] = []

    def observe(event: Event) -> None:
        if not busy:
            busy.append(None)
            try:
                served.append(again())
            finally:
                busy.clear()

    circuits = breakers(observers=(observe,))
    settings: dict[str, Any] = {
        "policy": PATIENT.replace(observers=(observe,)),
        "targets": Targets(A, B, order="in_order"),
        "breaker": circuits,
    }
    again = retry_on_refused(inner, **settings)
    protected = driver.protect_at(cluster, **settings)
    assert driver.run(protected) == str(B)
    assert set(served) == {str(B)}
    assert len(served) >= 2
    nothing_is_left(circuits)


class Stop(BaseException):
    """An interrupt that loops do not take for their own."""


@on_every_driver
@pytest.mark.parametrize("kind", [FailedOver, CallParked, CircuitChanged])
def test_an_interrupt_in_an_observer_gives_back_what_the_call_held(
    driver: Driver, kind: type[Event], fake_clock: FakeClock
) -> None:
    """A place in two lines, or a probe."""
    armed: list[bool] = []

    def interrupted(event: Event) -> None:
        if armed and isinstance(event, kind):
            armed.clear()
            raise Stop

    circuits = tripped(A, B, observers=(interrupted,) if kind is CircuitChanged else ())
    armed.append(True)
    if kind is FailedOver:
        fake_clock.advance(10)
    settings: dict[str, Any] = {
        "policy": PATIENT.replace(observers=(interrupted,)),
        "targets": (A, B),
        "breaker": circuits,
    }
    with pytest.raises(Stop):
        driver.run(driver.protect_at(Cluster(), **settings))
    nothing_is_left(circuits)
    fake_clock.advance(100)
    assert driver.run(driver.protect_at(Cluster(B), **settings)) == str(B)


# Circuits of the function's own.


def inside(*circuits: CircuitBreaker) -> Callable[[Endpoint], str]:
    """A client with a circuit of its own for each of A, B, C."""
    by_endpoint = dict(zip((A, B, C), circuits, strict=False))
    return lambda endpoint: by_endpoint[endpoint].call(lambda: str(endpoint))


def open_for(seconds: float, name: str = "inside") -> CircuitBreaker:
    cooldown = Backoff(initial=seconds, maximum=seconds, jitter="none")
    return trip(CircuitBreaker(name, trip_after=1, cooldown=cooldown, observers=()))


@on_every_driver
def test_a_circuit_inside_that_turns_the_call_away_is_followed_by_the_next_endpoint(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """At once, and it says nothing of the endpoint."""
    circuits = breakers()
    connect = inside(open_for(10), CircuitBreaker("b", observers=()))
    assert driver.run(driver.protect_at(connect, policy=QUIET, targets=(A, B), breaker=circuits)) == str(B)
    assert (fake_clock.now(), circuits[A].state) == (0, "closed")


@on_every_driver
@pytest.mark.parametrize(("first", "second"), [(3, 7), (7, 3)])
def test_where_every_circuit_inside_turns_the_call_away_it_waits_for_the_first_to_let_it_through(
    driver: Driver, first: float, second: float, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Whichever was met last."""
    connect = inside(open_for(first, "a"), open_for(second, "b"))
    answer = driver.run(driver.protect_at(connect, policy=QUIET.replace(deadline=20), targets=(A, B)))
    assert (answer, fake_clock.now()) == (str(A if first < second else B), 3)
    assert [event.breaker for event in recorded_events.of(CallParked)] == ["a, b"]


@on_every_driver
def test_a_limit_ends_a_round_whose_last_endpoint_was_turned_away_by_a_circuit_inside(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """With the error of the endpoint that was dialled, and with no further attempt."""
    circuit, tried = open_for(10), list[Endpoint]()

    def connect(endpoint: Endpoint) -> str:
        tried.append(endpoint)
        if endpoint == B:
            circuit.call(refusal)
        raise refusal("dialled")

    error = fails(driver, connect, policy=QUIET.replace(attempts=1), targets=(A, B))
    assert (str(error), tried, fake_clock.now()) == (str(refusal("dialled")), [A, B], 0)
    (event,) = recorded_events.of(RetriesExhausted)
    assert event.reason == "limit 1 attempt"
    assert [(it.target, it.error_type) for it in event.tried] == [
        (A, "ConnectionRefusedError"),
        (B, "resilient.errors.CircuitOpenError"),
    ]


def test_where_a_circuit_inside_ends_the_last_round_nothing_is_paused_and_no_further_leave_is_asked_for(
    fake_clock: FakeClock,
) -> None:
    circuits = breakers(trip_after=5)
    plan = Plan(QUIET.replace(attempts=1), "connect", None, None, circuits, Targets(A, B))
    its = Recovery(plan, clock.now(), (), {}, circuits[A], circuits[A].sound)
    assert (failed(its, refusal()), its.enter(0), its.endpoint) == (0, None, B)
    assert failed(its, open_for(10).rejection()) == 0  # the error of its own is raised outside of this one's handler
    assert (its.enter(0), its.over, its.endpoint) == (None, True, B)
    with pytest.raises(ConnectionRefusedError):
        its.reraise()


@on_every_driver
def test_a_pause_follows_a_round_whose_last_endpoint_was_turned_away_by_a_circuit_inside(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """As it follows one in which all of them failed."""
    circuit, tried = open_for(10), list[tuple[Endpoint, float]]()

    def connect(endpoint: Endpoint) -> str:
        tried.append((endpoint, fake_clock.now()))
        if endpoint == B:
            circuit.call(refusal)
        if len(tried) == 1:
            raise refusal()
        return str(endpoint)

    policy = QUIET.replace(backoff=Backoff(initial=3, maximum=3, jitter="none"))
    protected = driver.protect_at(connect, policy=policy, targets=(A, B), breaker=breakers(trip_after=5))
    assert driver.run(protected) == str(A)
    assert tried == [(A, 0), (B, 0), (A, 3)]


@on_every_driver
def test_a_round_in_which_circuits_inside_turned_away_from_every_endpoint_is_no_attempt(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Also where an earlier round has failed: the call waits for them, and then makes its second attempt."""
    circuits = [open_for(60, "a"), open_for(60, "b")]
    for circuit in circuits:
        circuit.reset()
    tried: list[tuple[Endpoint, float]] = []

    def connect(endpoint: Endpoint) -> str:
        tried.append((endpoint, fake_clock.now()))
        if len(tried) <= 2:
            raise refusal()
        if len(tried) == 3:
            for circuit in circuits:
                trip(circuit)
        return circuits[endpoint == B].call(lambda: str(endpoint))

    policy = QUIET.replace(attempts=2, deadline=None, backoff=Backoff(initial=3, maximum=3, jitter="none"))
    protected = driver.protect_at(connect, policy=policy, targets=(A, B), breaker=breakers(trip_after=5))
    assert driver.run(protected) == str(A)
    assert tried == [(A, 0), (B, 0), (A, 3), (B, 3), (A, 63)]
    assert [event.breaker for event in recorded_events.of(CallParked)] == ["a, b"]


@on_every_driver
def test_an_isolated_circuit_inside_does_not_keep_a_call_from_waiting_for_another(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """Which cools down in time."""
    isolated = CircuitBreaker("b", observers=())
    isolated.isolate()
    connect = inside(open_for(3, "a"), isolated)
    assert driver.run(driver.protect_at(connect, policy=QUIET.replace(deadline=20), targets=(A, B))) == str(A)
    assert fake_clock.now() == 3


@on_every_driver
def test_a_circuit_inside_and_an_endpoints_own_are_waited_for_together(driver: Driver, fake_clock: FakeClock) -> None:
    """The endpoint whose circuit is open was come past, and may be the first to serve."""
    circuits = tripped(A, cooldown=Backoff(initial=3, maximum=3, jitter="none"))
    connect = inside(CircuitBreaker("a", observers=()), open_for(7, "b"))
    assert driver.run(driver.protect_at(connect, policy=QUIET, targets=(A, B), breaker=circuits)) == str(A)
    assert fake_clock.now() == 3


@on_every_driver
def test_circuits_that_stand_round_the_function_as_well_are_passed_as_one(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """The same ones, given twice: a probe is made once, and is not turned away by itself."""
    circuits, cluster = tripped(A, B), Cluster(B)
    protected = driver.protect_at(
        lambda endpoint: circuits[endpoint].call(lambda: cluster(endpoint)),
        policy=PATIENT,
        targets=(A, B),
        breaker=circuits,
    )
    assert driver.run(protected) == str(B)
    assert (cluster.tried, fake_clock.now()) == ([A, B], 10)
    assert [circuits[A].state, circuits[B].state] == ["open", "closed"]
    nothing_is_left(circuits)


# Between a failure and the next endpoint.


class Forgotten:
    """A connection that a client left in its frame: it goes with the frame, and somebody hears of it."""

    def __init__(self, going: Callable[[], object]) -> None:
        self._going = going

    def connect(self) -> None:
        raise refusal("the first")

    def __del__(self) -> None:
        self._going()


@on_every_driver
def test_a_circuit_that_changes_its_mind_before_the_call_gets_there_ends_the_round(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """The call gives up on its own last error, and a call around it knows that it did."""
    circuits, tried = tripped(B), list[Endpoint]()
    fake_clock.advance(10)

    def connect(endpoint: Endpoint) -> None:
        tried.append(endpoint)
        connection = Forgotten(circuits[B].isolate)
        connection.connect()

    one = QUIET.replace(attempts=1)
    inner = retry_on_refused(connect, policy=one, targets=(A, B), breaker=circuits)
    error = driver.fail(inner, policy=QUIET.replace(attempts=3))
    assert str(error) == "[Errno 111] the first"
    assert tried == [A]
    assert [event.reason for event in recorded_events.of(RetriesExhausted)] == ["limit 1 attempt"]
    assert recorded_events.of(FailedOver) == []


def test_what_it_gave_up_on_between_two_endpoints_is_marked_with_the_frame_it_leaves_by(fake_clock: FakeClock) -> None:
    """By which a call around it knows it again."""
    circuits = tripped(B)
    fake_clock.advance(10)
    plan = Plan(QUIET.replace(attempts=1), "connect", None, None, circuits, Targets(A, B))
    its = Recovery(plan, clock.now(), (), {}, circuits[A], circuits[A].sound)
    assert failed(its, refusal()) == 0
    circuits[B].isolate()
    assert (its.enter(0), its.over) == (None, True)
    try:
        its.reraise()
    except ConnectionRefusedError as error:
        found = [frame for _, frame in marks(error)]
    assert found == [sys._getframe()]
    del found  # in a circle with this frame


def refused_by_a(fake_clock: FakeClock, policy: Policy) -> tuple[Recovery, CircuitBreakers]:
    """A call that A has refused and that would go on with B, but B's circuit is isolated in this moment."""
    circuits = breakers(trip_after=5)
    plan = Plan(policy, "connect", None, None, circuits, Targets(A, B))
    its = Recovery(plan, clock.now(), (), {}, circuits[A], circuits[A].sound)
    assert failed(its, refusal()) == 0
    circuits[B].isolate()
    return its, circuits


def test_a_round_that_ends_between_two_endpoints_is_followed_by_a_pause(fake_clock: FakeClock) -> None:
    """And holds neither a frame nor the error for longer than it has to."""
    policy = QUIET.replace(backoff=Backoff(initial=3, maximum=3, jitter="none"))
    its, circuits = refused_by_a(fake_clock, policy)
    assert (its.enter(0), its.over) == (3, False)
    assert (its._frame, its._state.outcome) == (None, None)
    fake_clock.advance(3)
    assert (its.woken(), its.endpoint, its.attempt) == (None, A, 2)
    its.succeeded()
    circuits[B].reset()
    nothing_is_left(circuits)


def test_a_strategy_that_fails_between_two_endpoints_ends_the_call_and_is_named(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    policy = QUIET.replace(stop=lambda state: bool(1 // 0), observers=(told.append,), name="P")
    its, _ = refused_by_a(fake_clock, policy)
    assert (its.enter(0), its.over) == (None, True)
    assert [event.reason for event in told] == ["the policy failed with ZeroDivisionError"]
    (record,) = caplog.records
    assert "policy P of connect" in record.getMessage()
    with pytest.raises(ConnectionRefusedError):
        its.reraise()


def test_a_round_of_which_no_endpoint_was_dialled_begins_anew_at_once(fake_clock: FakeClock) -> None:
    """A circuit inside has turned the call away at A, and B's has just been isolated: there is no error of its own."""
    circuits = breakers()
    plan = Plan(QUIET, "connect", None, None, circuits, Targets(A, B))
    its = Recovery(plan, clock.now(), (), {}, circuits[A], circuits[A].sound)
    assert failed(its, open_for(10).rejection()) == 0
    circuits[B].isolate()
    assert (its.enter(0), its.over) == (0, False)
    assert (its.woken(), its.endpoint, its.attempt) == (None, A, 1)
    its.leave()
    circuits[B].reset()
    nothing_is_left(circuits)


@on_every_driver
def test_a_cancelled_call_goes_to_no_further_endpoint(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Not even at once."""
    cancel, cluster = Cancellation(), Cluster(B)

    def connect(endpoint: Endpoint) -> str:
        cancel.cancel()
        return cluster(endpoint)

    error = fails(driver, connect, policy=QUIET, targets=(A, B), cancel=cancel)
    assert (error, cluster.tried) == (cluster.raised, [A])
    assert [event.reason for event in recorded_events.of(RetriesExhausted)] == ["cancelled"]


@on_every_driver
def test_a_cancellation_ends_a_wait_for_two_at_once(driver: Driver) -> None:
    """From another thread, and nothing is left in either line or in the cancellation."""
    cancel, circuits, cluster = Cancellation(), breakers(), Cluster()

    def observe(event: Event) -> None:
        if isinstance(event, CallParked):
            threading.Timer(0.02, cancel.cancel).start()

    policy = PATIENT.replace(observers=(observe,))
    error = fails(driver, cluster, policy=policy, targets=(A, B), breaker=circuits, cancel=cancel)
    assert (error, cluster.tried) == (cluster.raised, [A, B])
    assert cancel._wakers == {}
    nothing_is_left(circuits)


# The hand.


@on_every_driver
def test_an_isolated_endpoint_is_passed_over(driver: Driver, fake_clock: FakeClock) -> None:
    """And is not waited for, where the other one is open."""
    circuits, cluster = tripped(B), Cluster(A, B)
    circuits[A].isolate()
    targets = Targets(A, B)
    protected = driver.protect_at(cluster, policy=QUIET, targets=targets, breaker=circuits)
    assert [driver.run(protected), fake_clock.now(), targets.current] == [str(B), 10, B]
    circuits[A].release()
    assert driver.run(protected) == str(B)
    assert cluster.tried == [B, B]


@on_every_driver
def test_where_all_are_isolated_a_call_ends_at_once(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """It says so of each."""
    circuits, cluster = breakers(), Cluster(A, B)
    for endpoint in (A, B):
        circuits[endpoint].isolate()
    error = fails(driver, cluster, policy=PATIENT, targets=(A, B), breaker=circuits)
    assert isinstance(error, CircuitOpenError)
    assert (cluster.tried, fake_clock.sleeps) == ([], [])
    (given_up,) = recorded_events.of(RetriesExhausted)
    assert given_up.reason == f"circuit {A} is isolated; circuit {B} is isolated"


@on_every_driver
def test_isolating_the_last_of_those_that_a_call_waits_for_ends_it(driver: Driver, fake_clock: FakeClock) -> None:
    """Isolating the first does not."""
    circuits, cluster, isolated = breakers(), Cluster(), list[Endpoint]()

    def hand() -> None:
        for endpoint in (A, B):
            while circuits[endpoint].parked < 1:
                time.sleep(0.0005)
            circuits[endpoint].isolate()
            isolated.append(endpoint)

    with fake_clock.hold():
        thread = threading.Thread(target=hand, daemon=True)
        thread.start()
        error = fails(driver, cluster, policy=PATIENT, targets=(A, B), breaker=circuits)
        thread.join(5)
    assert (error, isolated, fake_clock.now()) == (cluster.raised, [A, B], 0)
    nothing_is_left(circuits)


@on_every_driver
def test_with_retries_switched_off_the_first_error_comes_out(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """No other endpoint is tried, no event, no note; an open circuit is passed over all the same."""
    cluster = Cluster()
    with no_retries():
        error = fails(driver, cluster, policy=QUIET, targets=(A, B))
        assert (error, cluster.tried, notes_of(error)) == (cluster.raised, [A], [])
        assert list(recorded_events) == []
        protected = driver.protect_at(Cluster(B), policy=QUIET, targets=(A, B), breaker=tripped(A))
        assert driver.run(protected) == str(B)
        error = fails(driver, cluster, policy=QUIET, targets=(A, B), breaker=tripped(A, B))
        assert isinstance(error, CircuitOpenError)
    assert (fake_clock.now(), recorded_events.of(RetriesExhausted)) == (0, [])


# Several lines at a time.


@on_every_driver
def test_a_call_that_failed_everywhere_waits_for_whichever_lets_it_through_first(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """And not for the first that was given, nor for the one that it has just tried."""
    circuits, cluster = tripped(A), Cluster(B)
    fake_clock.advance(10)
    circuits[A].settle(circuits[A].admit(), "failure")  # until 30
    trip(circuits[B])  # until 20
    fake_clock.advance(5)
    protected = driver.protect_at(cluster, policy=PATIENT, targets=(A, B, C), breaker=circuits)  # C: until 25
    assert (driver.run(protected), fake_clock.now()) == (str(B), 20)
    assert cluster.tried == [C, B]
    nothing_is_left(circuits, A, B, C)


@on_every_driver
def test_a_call_is_woken_by_the_last_of_its_circuits_as_by_the_first(driver: Driver) -> None:
    """At once, in real time: the first one will not let anybody through for a minute."""
    circuits = tripped(A, cooldown=Backoff(initial=60, maximum=60, jitter="none"))
    trip(circuits[B])

    def observe(event: Event) -> None:
        if isinstance(event, CallParked):
            threading.Timer(0.02, circuits[B].reset).start()

    begun = time.monotonic()
    policy = PATIENT.replace(observers=(observe,))
    assert driver.run(driver.protect_at(Cluster(B), policy=policy, targets=(A, B), breaker=circuits)) == str(B)
    assert time.monotonic() - begun < 30
    nothing_is_left(circuits)


def waiting(circuits: Any, host: object = None) -> Recovery:
    """A call that is parked on A and B."""
    plan = Plan(PATIENT, "connect", None, None, circuits, Targets(A, B))
    its = Recovery(plan, clock.now(), (), {}, plan.first(), host=None if host is None else lambda: host)
    assert its.enter(None) is not None
    return its


def test_a_caller_that_one_circuit_lets_go_hands_on_its_turn_at_the_other(fake_clock: FakeClock) -> None:
    """It had both; the next one probes, and nobody waits for who has gone."""
    circuits = tripped(A, B)
    first, second = waiting(circuits, "one loop"), waiting(circuits, "one loop")
    assert [circuits[it]._lot._told[0] for it in (A, B)] == [place[1] for place in first._circuits._places]  # type: ignore[union-attr]
    fake_clock.advance(10)
    circuits[B].settle(circuits[B].admit(), "success")
    assert first.woken() is None
    assert first.endpoint == B
    assert (circuits[A].parked, circuits[B].parked) == (1, 1)
    assert circuits[A]._lot._told == [second._circuits._places[0][1]]  # type: ignore[union-attr]
    assert second.woken() is None
    assert second.endpoint == A  # it is due there, and B's next batch is not
    first.succeeded()
    second.leave()
    nothing_is_left(circuits)


def test_who_is_let_go_by_one_circuit_passes_over_none_that_is_closed_before_it(fake_clock: FakeClock) -> None:
    """The order of the endpoints holds among those that serve; and the other circuit hears that it went elsewhere."""
    circuits = tripped(A, B)
    first, second = waiting(circuits), waiting(circuits)
    fake_clock.advance(10)
    probes = [circuits[it].admit() for it in (A, B)]
    circuits[A].settle(probes[0], "success")
    assert first.woken() is None
    circuits[B].settle(probes[1], "success")
    assert [place[1].batch for place in second._circuits._places] == [0, 1]  # type: ignore[union-attr]
    assert second.woken() is None
    assert (first.endpoint, second.endpoint) == (A, A)
    assert circuits[B]._lot._settled == 1
    for call in (first, second):
        call.succeeded()
    nothing_is_left(circuits)


def test_a_caller_that_two_circuits_let_go_counts_for_both(fake_clock: FakeClock) -> None:
    """Who goes to the one has come back for the other, so that the others are not kept waiting there."""
    circuits = tripped(A, B)
    calls = [waiting(circuits) for _ in range(4)]
    fake_clock.advance(10)
    probes = [circuits[it].admit() for it in (A, B)]
    circuits[A].settle(probes[0], "success")
    circuits[B].settle(probes[1], "success")
    assert calls[0].woken() is None
    assert calls[0].endpoint == A
    assert [circuits[it]._lot._size for it in (A, B)] == [1, 2]  # the next batch of B is on its way
    calls[0].succeeded()
    gone = 1
    for _ in range(4):
        for call in calls[gone:]:
            if call.woken() is None:
                call.succeeded()
                gone += 1
    assert (gone, fake_clock.now()) == (4, 10)
    nothing_is_left(circuits)


# What is hidden.


@pytest.fixture
def shy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with known_as_shy(monkeypatch):
        yield


@on_every_driver
@pytest.mark.usefixtures("shy")
def test_each_endpoints_own_port_is_asked(driver: Driver, recorded_events: RecordedEvents) -> None:
    """The first refuses, so the second is tried; its port is open, so what it said was no refusal, and comes out."""
    errors: list[ShyError] = []

    def connect(endpoint: Endpoint) -> None:
        errors.append(ShyError(str(endpoint)))
        raise errors[-1]

    with refused_port() as dead, late_server() as late:
        late.up()
        circuits, targets = breakers(), Targets(f"127.0.0.1:{dead}", late.target)
        error = fails(driver, connect, policy=QUIET, targets=targets, breaker=circuits)
        assert error is errors[-1]
        assert [str(it) for it in errors] == [f"127.0.0.1:{dead}", late.target]
        assert [(event.target, event.kind) for event in recorded_events.of(FailedOver)] == [
            (targets.endpoints[0], "refused")
        ]
        assert [circuits[it].state for it in targets.endpoints] == ["open", "closed"]
        assert notes_of(error) == []


@on_every_driver
@pytest.mark.usefixtures("shy")
def test_refusals_that_are_hidden_are_all_told_of(driver: Driver, recorded_events: RecordedEvents) -> None:
    """In the end it is the client's own last error that comes out, and it says what each endpoint said."""

    def connect(endpoint: Endpoint) -> None:
        raise ShyError("it did not work")

    with refused_port() as first, refused_port() as second:
        targets = f"127.0.0.1:{first}", f"127.0.0.1:{second}"
        error = fails(driver, connect, policy=QUIET.replace(attempts=2), targets=targets)
    assert type(error) is ShyError
    (given_up,) = recorded_events.of(RetriesExhausted)
    assert [(str(it.target), it.kind) for it in given_up.tried] == [(it, "refused") for it in targets]
    assert len(recorded_events.of(RetryScheduled)) == 1
    assert len(notes_of(error)) == len(noted("one"))


# Nothing is left.


def test_a_refusal_that_was_hidden_is_not_told_of_the_same_error_raised_again(shy: None, fake_clock: FakeClock) -> None:
    """Some clients keep one exception object; the second time, the port was open."""
    told: list[Any] = []
    policy = QUIET.replace(retry=tenacity.retry_if_exception_type(ShyError), observers=(told.append,))
    its = Recovery(Plan(policy, "connect", A, None), clock.now(), (), {})
    error = ShyError("it did not work")
    for refused in (True, False):
        assert failed(its, error) == 0
        assert its.question == A
        assert its.answered(refused) == 0
        assert its.woken() is None
    assert [event.kind for event in told] == ["refused", None]


class Refused(ConnectionRefusedError):
    """A refusal that can be watched: builtin errors take no weak references."""


class Witness:
    """Lives as long as the frame it was made in."""


ENDINGS: dict[str, dict[str, Any]] = {
    "by attempts": {"policy": QUIET.replace(attempts=3)},
    "by deadline, parked": {"policy": QUIET.replace(deadline=35), "trip_after": 1},
    "cancelled": {"policy": QUIET.replace(attempts=3), "cancel": True},
}


@on_every_driver
@pytest.mark.parametrize("ending", ENDINGS)
def test_failed_calls_leave_no_frame_no_error_and_no_garbage(
    driver: Driver, ending: str, fake_clock: FakeClock
) -> None:
    """Nor a place in a line: a thousand of them."""
    settings = dict(ENDINGS[ending])
    circuits = breakers(trip_after=settings.pop("trip_after", 10**9))
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    if settings.pop("cancel", False):
        settings["cancel"] = Cancellation()

    def connect(endpoint: Endpoint) -> None:
        witness = Witness()
        alive.add(witness)
        error = Refused(111, str(endpoint))
        alive.add(error)
        try:
            raise error
        finally:
            del error

    protected = driver.protect_at(connect, targets=(A, B), breaker=circuits, **settings)
    number = 1000 if driver == Driver("sync", "function") else 50

    def main() -> None:
        for _ in range(number):
            with contextlib.suppress(ConnectionRefusedError):
                protected()
            fake_clock.advance(100)

    async def main_async() -> None:
        for _ in range(number):
            with contextlib.suppress(ConnectionRefusedError):
                await protected()
            fake_clock.advance(100)

    if ending == "by deadline, parked" and driver.world != "sync":
        number = 5
    gc.collect()
    gc.disable()
    try:
        driver.run(main_async if driver.is_async else main)
        assert len(alive) == 0
    finally:
        gc.enable()
    nothing_is_left(circuits)


def test_failed_calls_make_no_circles(fake_clock: FakeClock) -> None:
    """The collector finds nothing after a hundred of them, with their parking and their endpoints."""
    circuits, cluster = breakers(), Cluster()
    protected = retry_on_refused(cluster, policy=QUIET.replace(deadline=35), targets=(A, B), breaker=circuits)

    def fail() -> None:
        with contextlib.suppress(ConnectionRefusedError):
            protected()
        cluster.raised = None
        fake_clock.advance(100)

    fail()
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            fail()
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("driver", [Driver("sync", "function"), Driver("sync", "block")], ids=str)
def test_where_the_stack_is_nearly_full_a_call_goes_on_or_its_error_flies_as_it_is(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no half of a decision, and no probe is lost."""
    now = clock.now
    ends: set[Any] = set()
    went_on: list[int] = []
    for left in range(150):
        cluster, late = Cluster(B), [0.0]
        circuits = tripped(A, B)
        clock.now = lambda late=late: now() + late[0]  # type: ignore[misc]
        late[0] = 100
        protected = driver.protect_at(cluster, policy=Policy(), targets=(A, B), breaker=circuits)
        try:
            ends.add(nearly_full(left, protected))
            went_on.append(left)
        except ConnectionRefusedError as error:
            ends.add(("refused", error is cluster.raised, len(cluster.tried), len(notes_of(error))))
        except RecursionError:
            ends.add(("not called", cluster.raised is None))
        finally:
            clock.now = now
        nothing_is_left(circuits)
    assert {str(B), ("not called", True)} <= ends <= {str(B), ("refused", True, 1, 0), ("not called", True)}
    assert went_on
    assert [record.getMessage() for record in caplog.records if "ignored" in record.getMessage()] == []


@pytest.mark.parametrize("driver", [Driver("sync", "function"), Driver("sync", "block")], ids=str)
def test_where_the_stack_is_nearly_full_a_probe_that_is_refused_comes_back_or_is_not_taken(driver: Driver) -> None:
    """To give it back takes room as well."""
    now = clock.now
    ends: set[tuple[str, str]] = set()
    for left in range(100):
        circuits, cluster = tripped(A, B), Cluster()
        protected = driver.protect_at(cluster, policy=QUIET.replace(attempts=1), targets=(A, B), breaker=circuits)
        clock.now = lambda: now() + 100
        try:
            nearly_full(left, protected)
        except (ConnectionRefusedError, RecursionError) as error:
            ends.add((type(error).__name__, circuits[A].state))
        finally:
            clock.now = now
        nothing_is_left(circuits)
    assert ends == {("ConnectionRefusedError", "open"), ("RecursionError", "open")}


def test_a_call_that_has_interrupted_a_change_of_a_circuit_does_not_wait_there_and_says_why(
    fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """A signal handler, say: what it interrupted goes on when it has ended."""
    circuits = tripped(A, B)
    connect = retry_on_refused(Cluster(), policy=QUIET, targets=(A, B), breaker=circuits)
    with circuits[B]._lock, pytest.raises(CircuitOpenError):
        connect()
    (event,) = recorded_events.of(RetriesExhausted)
    assert event.reason == f"circuit {A}, {B} is being changed by the code that was interrupted for this call"
    nothing_is_left(circuits, A)
