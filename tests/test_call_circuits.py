"""The circuits of one call by themselves: who is tried next, where it waits, what a result is counted for."""

from __future__ import annotations

from typing import Any

import pytest
from drivers import refusal
from test_failover_hostile import A, B, C, breakers, trip

from resilient import Cancellation, CircuitBreaker, CircuitBreakers
from resilient._parking import Waiter
from resilient._recovery._circuits import Circuits
from resilient.testing import FakeClock

Place = tuple[CircuitBreaker, Waiter]


def circuits_of(*own: CircuitBreaker, cancellation: Cancellation | None = None) -> Circuits:
    """The circuits of a call that has just been refused by the first of its endpoints."""
    return Circuits(own, own[0] if own else None, None, cancellation, None)


def three(*tripped: Any) -> tuple[CircuitBreaker, CircuitBreaker, CircuitBreaker]:
    made: CircuitBreakers = breakers()
    for endpoint in tripped:
        trip(made[endpoint])
    return made[A], made[B], made[C]


def recover(circuit: CircuitBreaker) -> None:
    """Somebody else's probe succeeds."""
    circuit.settle(circuit.admit(), "success")


def places_of(circuits: Circuits) -> list[Place]:
    return circuits._places


def let_go_by(circuit: CircuitBreaker, circuits: Circuits) -> Waiter:
    """The call, parked, is in the first batch of a circuit that has closed."""
    recover(circuit)
    assert circuits.ask() is None
    let_go = circuits._let_go
    assert let_go is not None
    assert let_go[0] is circuit
    assert let_go[1].batch
    return let_go[1]


# Going.


def test_a_round_begins_with_the_circuit_that_closed_and_passes_over_those_before_it(fake_clock: FakeClock) -> None:
    a, b, c = three(A, B, C)
    circuits = circuits_of(a, b, c)
    circuits.park((a, b, c))
    fake_clock.advance(10)
    probe = a.admit()
    let_go_by(b, circuits)
    circuits.begin_round((a, b, c))
    assert circuits.left == [b, c]  # A is being probed
    a.settle(probe, "neutral")
    circuits.begin_round((a, b, c))
    assert circuits.left == [b, a, c]


def test_who_has_the_turn_to_probe_keeps_to_the_order_of_the_endpoints(fake_clock: FakeClock) -> None:
    """The turn at B is its own, and A would let it go as well."""
    a, b, _ = three(A, B)
    circuits_of(a).park((a,))
    circuits = circuits_of(a, b)
    circuits.park((a, b))
    fake_clock.advance(10)
    assert circuits.ask() is None
    assert circuits._let_go == places_of(circuits)[1]
    circuits.begin_round((a, b))
    assert circuits.left == [a, b]


def test_a_circuit_inside_that_closed_changes_nothing_in_the_order(fake_clock: FakeClock) -> None:
    a, b, inside = three(A, B, C)
    circuits = circuits_of(a, b)
    circuits.park((a, b, inside))
    fake_clock.advance(10)
    let_go_by(inside, circuits)
    circuits.begin_round((a, b))
    assert circuits.left == [a, b]


def test_who_goes_by_leave_of_its_own_circuit_has_not_yet_come_back_for_one_inside(fake_clock: FakeClock) -> None:
    """What the attempt says is said of both: refused again, the others stay parked there."""
    a, inside, _ = three(B)
    circuits = circuits_of(a)
    circuits.park((inside,))
    fake_clock.advance(10)
    waiter = let_go_by(inside, circuits)
    circuits.begin_round((a,))
    assert circuits.admit() is True
    assert waiter.batch
    circuits.settle("failure", refusal("again"))
    assert not waiter.batch
    assert inside._lot._ceiling == 1


def test_where_no_circuit_gives_leave_there_is_none(fake_clock: FakeClock) -> None:
    a, b, _ = three(A, B)
    circuits = circuits_of(a, b)
    circuits.begin_round((a, b))
    assert circuits.admit() is False
    assert (circuits.left, circuits.permit) == ([], None)


def test_a_result_is_counted_once() -> None:
    (circuit,) = [breakers(trip_after=3)[A]]
    circuits = circuits_of(circuit)
    circuits.begin_round((circuit,))
    assert circuits.admit() is True
    for _ in range(3):
        circuits.settle("failure", refusal("once"))
    assert (circuit.snapshot().failures, circuits.permit) == (1, None)


def test_a_call_without_a_circuit_says_nothing_of_any() -> None:
    assert circuits_of().outcome_of(refusal("somebody")) == "neutral"


def test_a_circuit_inside_is_waited_for_alone_where_the_call_has_one_endpoint(fake_clock: FakeClock) -> None:
    """Also while the call's own has opened under it."""
    a, inside, _ = three(A, B)
    assert circuits_of(a).turning_away(inside) == (inside,)


def test_circuits_inside_are_waited_for_with_those_of_the_endpoints_that_are_not_closed(fake_clock: FakeClock) -> None:
    a, b, inside = three(A, C)
    circuits = circuits_of(a, b)
    circuits.inside = [inside]
    assert circuits.turning_away(inside) == (a, inside)


# Waiting.


def test_a_call_in_one_line_is_called_there(fake_clock: FakeClock) -> None:
    a, _, _ = three(A)
    circuits = circuits_of(a)
    circuits.park((a,))
    ((_, waiter),) = places_of(circuits)
    assert circuits.signal is waiter


def test_a_call_in_several_lines_hears_of_its_cancellation_once(fake_clock: FakeClock) -> None:
    a, b, _ = three(A, B)
    cancellation = Cancellation()
    circuits = circuits_of(a, b, cancellation=cancellation)
    circuits.park((a, b))
    heard: list[str] = []
    circuits.signal._watch(lambda: heard.append("news"))
    cancellation.cancel()
    assert (heard, circuits.signal.cancelled) == (["news"], True)


@pytest.mark.parametrize("busy", [A, B])
def test_a_call_cannot_wait_where_it_has_interrupted_a_change(busy: Any, fake_clock: FakeClock) -> None:
    """As a signal handler does that runs in the middle of one; it takes no place in a further line."""
    a, b, _ = three(A, B)
    circuits = circuits_of(a, b)
    with {A: a, B: b}[busy]._lock:
        assert circuits.park((a, b)) is None
    assert len(places_of(circuits)) == (1 if busy == A else 2)


@pytest.mark.parametrize(("first", "second", "said"), [(0, 1, True), (1, 0, True), (0, 0, False), (1, 1, True)])
def test_the_log_says_that_a_call_waits_if_one_of_its_circuits_has_not_said_so(
    first: int, second: int, said: bool, fake_clock: FakeClock
) -> None:
    """Each says so for the first that waits for it."""
    a, b, _ = three(A, B)
    for circuit, new in ((a, first), (b, second)):
        if not new:
            circuits_of(circuit).park((circuit,))
    assert circuits_of(a, b).park((a, b)) is said


def test_of_several_circuits_a_call_names_the_one_that_may_let_it_go_first(fake_clock: FakeClock) -> None:
    a, b, c = three(A)
    fake_clock.advance(1)
    trip(b)
    a.isolate()
    assert circuits_of(a, b).waited_for() is b
    assert circuits_of(a, b, c).waited_for() is c
    a.reset()
    trip(a)
    fake_clock.advance(1)
    trip(c)
    assert circuits_of(c, a, b).waited_for() is a


def test_a_call_names_a_circuit_in_whose_line_it_stands(fake_clock: FakeClock) -> None:
    """And not one that it may go through."""
    a, inside, _ = three(A)
    fake_clock.advance(1)
    trip(inside)
    circuits = circuits_of(a)
    assert circuits.waited_for() is a
    circuits.park((inside,))
    assert circuits.waited_for() is inside


def test_a_call_without_a_circuit_names_none() -> None:
    assert circuits_of().waited_for() is None
