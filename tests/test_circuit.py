"""The circuit as pure functions: every row of its table, every boundary, every report that comes too late."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from resilient._circuit import (
    OUTCOMES,
    TRANSITIONS,
    Circuit,
    CircuitState,
    Outcome,
    Permit,
    Rules,
    admit,
    drop_probe,
    isolate,
    next_probe,
    release,
    reset,
    settle,
)

STATES: tuple[CircuitState, ...] = get_args(CircuitState)
REASONS = sorted({reason for _, reason in TRANSITIONS})
TIMEOUT = 30.0
NOW = 100.0


def doubling(openings: int, previous: float) -> float:
    """Seconds to stay open: 1, 2, 4 … by the number of openings alone."""
    return 2.0 ** (openings - 1)


def rules_with(trip_after: int = 3, close_after: int = 1) -> Rules:
    return Rules(trip_after=trip_after, close_after=close_after, probe_timeout=TIMEOUT, cooldown=doubling)


RULES = rules_with()

# One circuit of each state, as it stands at NOW after a history: no field has its default by chance. The open one has
# cooled down, the half-open one has no probe under way.
CLOSED = Circuit(epoch=8, reason="probe succeeded", failures=2, lease=5, since=40.0, until=50.0)
OPEN = Circuit("open", 9, "tripped", openings=2, cooldown=2.0, until=NOW, lease=5, since=90.0)
HALF_OPEN = Circuit("half-open", 10, "cooled down", openings=2, cooldown=2.0, until=NOW, lease=5, since=90.0)
ISOLATED = Circuit("isolated", 11, "isolated", openings=2, cooldown=2.0, until=NOW, lease=5, since=90.0)
EXAMPLES: dict[CircuitState, Circuit] = {
    "closed": CLOSED,
    "open": OPEN,
    "half-open": HALF_OPEN,
    "isolated": ISOLATED,
}


def probing(circuit: Circuit = HALF_OPEN, rules: Rules = RULES, now: float = NOW) -> tuple[Circuit, Permit]:
    """The circuit with a probe under way."""
    circuit, permit = admit(circuit, rules, now)
    assert permit is not None
    assert permit.probe
    return circuit, permit


def fail(circuit: Circuit, rules: Rules = RULES, now: float = NOW) -> Circuit:
    """One call that goes now and fails now."""
    circuit, permit = admit(circuit, rules, now)
    assert permit is not None
    return settle(circuit, rules, permit, "failure", now)


def report(circuit: Circuit, outcome: Outcome, now: float = NOW) -> Circuit:
    """A call that is under way ends: the probe at half-open, elsewhere one that was admitted in this epoch."""
    if circuit.state == "half-open":
        circuit, permit = probing(circuit, now=now)
        return settle(circuit, RULES, permit, outcome, now)
    return settle(circuit, RULES, Permit(circuit.epoch), outcome, now)


# What a caller does that may bring each reason about.
ACTS: dict[str, Any] = {
    "tripped": lambda circuit: report(circuit, "failure"),
    "cooled down": lambda circuit: admit(circuit, RULES, NOW)[0],
    "probe succeeded": lambda circuit: report(circuit, "success"),
    "probe failed": lambda circuit: report(circuit, "failure"),
    "isolated": lambda circuit: isolate(circuit, NOW),
    "released": release,
    "reset": reset,
}

# What each listed transition makes of the example, besides state, epoch and reason.
MADE: dict[tuple[CircuitState, str], dict[str, Any]] = {
    ("closed", "tripped"): {"failures": 0, "openings": 1, "cooldown": 1.0, "until": NOW + 1, "since": NOW},
    ("open", "cooled down"): {"lease": 6, "lease_until": NOW + TIMEOUT},
    ("half-open", "probe succeeded"): {"lease": 6, "openings": 0, "cooldown": 0.0},
    ("half-open", "probe failed"): {"lease": 6, "openings": 3, "cooldown": 4.0, "until": NOW + 4},
    ("closed", "isolated"): {"failures": 0, "since": NOW},
    ("open", "isolated"): {},
    ("half-open", "isolated"): {},
    ("isolated", "released"): {},
    ("open", "reset"): {"openings": 0, "cooldown": 0.0},
    ("half-open", "reset"): {"openings": 0, "cooldown": 0.0},
    ("isolated", "reset"): {"openings": 0, "cooldown": 0.0},
}


def test_the_table_is_the_state_machine_of_the_manual() -> None:
    """Written out once more: a row that slips in or out is seen."""
    assert TRANSITIONS == {
        ("closed", "tripped"): "open",
        ("open", "cooled down"): "half-open",
        ("half-open", "probe succeeded"): "closed",
        ("half-open", "probe failed"): "open",
        ("closed", "isolated"): "isolated",
        ("open", "isolated"): "isolated",
        ("half-open", "isolated"): "isolated",
        ("isolated", "released"): "half-open",
        ("open", "reset"): "closed",
        ("half-open", "reset"): "closed",
        ("isolated", "reset"): "closed",
    }
    assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(STATES)
    assert TRANSITIONS.keys() == MADE.keys()
    assert set(REASONS) == ACTS.keys()


def test_the_outcomes_are_four() -> None:
    assert OUTCOMES == ("success", "failure", "inconclusive", "neutral")
    assert get_args(Outcome) == OUTCOMES


@pytest.mark.parametrize(("state", "reason"), TRANSITIONS)
def test_every_row_of_the_table_is_taken(state: CircuitState, reason: str) -> None:
    """With its epoch, its reason, and what it leaves of the history."""
    before = EXAMPLES[state]
    after = ACTS[reason](before)
    assert after == before._replace(
        state=TRANSITIONS[state, reason], epoch=before.epoch + 1, reason=reason, **MADE[state, reason]
    )


# What an act changes in a state that does not know its reason: a failure is both "tripped" and "probe failed", and a
# transition or a count of the state's own follows. Everything else changes nothing.
ELSEWHERE: dict[tuple[CircuitState, str], Circuit] = {
    ("closed", "probe failed"): ACTS["tripped"](CLOSED),
    ("closed", "probe succeeded"): CLOSED._replace(failures=0),
    ("closed", "reset"): CLOSED._replace(epoch=9, failures=0),
    ("half-open", "tripped"): ACTS["probe failed"](HALF_OPEN),
    ("half-open", "cooled down"): HALF_OPEN._replace(lease=6, lease_until=NOW + TIMEOUT),
}


@pytest.mark.parametrize(
    ("state", "reason"),
    [(state, reason) for state in STATES for reason in REASONS if (state, reason) not in TRANSITIONS],
)
def test_what_is_not_in_the_table_changes_nothing(state: CircuitState, reason: str) -> None:
    """No transition is taken: the same object comes back, but for the five things said above."""
    before = EXAMPLES[state]
    after = ACTS[reason](before)
    if (state, reason) in ELSEWHERE:
        assert after == ELSEWHERE[state, reason]
        assert after.state == state or (state, after.reason) in TRANSITIONS
    else:
        assert after is before


def test_a_new_circuit_is_closed_and_has_no_history() -> None:
    assert Circuit() == ("closed", 0, "", 0, 0, 0, 0.0, 0.0, 0, None, 0.0)


def test_a_permit_says_what_it_is() -> None:
    assert repr(Permit(3)) == "Permit(epoch=3, probe=False, lease=0)"
    assert repr(Permit(3, probe=True, lease=7)) == "Permit(epoch=3, probe=True, lease=7)"
    assert Permit(3)._settled is False


def test_a_permit_cannot_take_more_than_it_has() -> None:
    with pytest.raises(AttributeError):
        Permit(3).outcome = "success"  # type: ignore[attr-defined]


# Closed.


def test_a_closed_circuit_lets_everybody_go_and_does_not_change() -> None:
    circuit, permit = admit(CLOSED, RULES, NOW)
    assert circuit is CLOSED
    assert permit is not None
    assert (permit.epoch, permit.probe, permit.lease) == (CLOSED.epoch, False, 0)


@pytest.mark.parametrize("trip_after", [1, 2, 5])
def test_it_trips_at_exactly_so_many_failures_in_a_row(trip_after: int) -> None:
    rules = rules_with(trip_after=trip_after)
    circuit = Circuit()
    for count in range(1, trip_after):
        circuit = fail(circuit, rules)
        assert (circuit.state, circuit.failures, circuit.epoch) == ("closed", count, 0)
    circuit = fail(circuit, rules)
    assert circuit == Circuit("open", 1, "tripped", openings=1, cooldown=1.0, until=NOW + 1, since=NOW)


def test_a_success_breaks_the_row_of_failures() -> None:
    circuit = report(fail(fail(Circuit())), "success")
    assert circuit == Circuit()
    assert fail(fail(circuit)).state == "closed"


def test_a_success_without_failures_makes_no_new_circuit() -> None:
    """The healthy path: the same object, so nothing has to be stored."""
    circuit = Circuit()
    assert report(circuit, "success") is circuit


@pytest.mark.parametrize("outcome", ["inconclusive", "neutral"])
def test_while_closed_it_is_no_vote(outcome: Outcome) -> None:
    """Neither does it count, nor does it break the row."""
    assert report(CLOSED, outcome) is CLOSED
    assert report(report(CLOSED, outcome), "failure").state == "open"


def test_calls_of_one_epoch_vote_however_they_overlap() -> None:
    """Three go, then three fail: the third trips, a fourth is of an older epoch."""
    circuit, permits = Circuit(), []
    for _ in range(4):
        circuit, permit = admit(circuit, RULES, NOW)
        assert permit is not None
        permits.append(permit)
    for permit in permits[:3]:
        circuit = settle(circuit, RULES, permit, "failure", NOW)
    assert circuit.state == "open"
    assert settle(circuit, RULES, permits[3], "failure", NOW) is circuit


# Open.


def test_the_cooldown_ends_at_its_very_moment_and_not_before() -> None:
    circuit = fail(Circuit(), rules_with(trip_after=1))
    just_before = NOW + 1 - 2**-20
    assert admit(circuit, RULES, NOW) == (circuit, None)
    assert admit(circuit, RULES, just_before) == (circuit, None)
    cooled, permit = admit(circuit, RULES, NOW + 1)
    assert cooled.state == "half-open"
    assert permit is not None
    assert (permit.epoch, permit.probe, permit.lease) == (cooled.epoch, True, 1)


def test_one_rejected_caller_makes_no_new_circuit() -> None:
    circuit = OPEN._replace(until=NOW + 1)
    assert admit(circuit, RULES, NOW)[0] is circuit


def test_what_was_under_way_before_changes_nothing_at_half_open() -> None:
    """An open circuit has neither successes nor a probe; if it had, half-open would begin without."""
    circuit, permit = admit(OPEN._replace(successes=1, lease_until=NOW + 5), RULES, NOW)
    assert permit is not None
    assert (circuit.successes, circuit.lease_until) == (0, NOW + TIMEOUT)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("state", ["open", "isolated"])
def test_a_circuit_that_lets_nobody_go_listens_to_nobody(state: CircuitState, outcome: Outcome) -> None:
    """Nor to a permit with the right epoch and lease: none was handed out."""
    circuit = EXAMPLES[state]._replace(lease_until=NOW)
    assert settle(circuit, RULES, Permit(circuit.epoch, probe=True, lease=5), outcome, NOW) is circuit


def test_the_cooldown_grows_with_each_opening_and_starts_anew_after_recovery() -> None:
    asked: list[tuple[int, float]] = []

    def cooldown(openings: int, previous: float) -> float:
        asked.append((openings, previous))
        return 10.0 * openings + previous

    rules = Rules(trip_after=1, close_after=1, probe_timeout=TIMEOUT, cooldown=cooldown)
    circuit, now = Circuit(), NOW
    for openings, seconds in ((1, 10.0), (2, 30.0), (3, 60.0)):
        circuit = fail(circuit, rules, now)
        assert (circuit.openings, circuit.cooldown, circuit.until) == (openings, seconds, now + seconds)
        now = circuit.until
    assert circuit.since == NOW
    circuit, permit = probing(circuit, rules, now)
    circuit = settle(circuit, rules, permit, "success", now)
    assert (circuit.openings, circuit.cooldown) == (0, 0.0)
    circuit = fail(circuit, rules, now)
    assert (circuit.openings, circuit.cooldown, circuit.until, circuit.since) == (1, 10.0, now + 10, now)
    assert asked == [(1, 0.0), (2, 10.0), (3, 30.0), (1, 0.0)]


# Half-open.


def test_among_many_callers_one_probes() -> None:
    circuit, permits = OPEN, []
    for _ in range(32):
        circuit, permit = admit(circuit, RULES, NOW)
        permits.append(permit)
    assert permits[0] is not None
    assert permits[1:] == [None] * 31
    assert circuit.lease == OPEN.lease + 1


@pytest.mark.parametrize("outcome", ["failure", "inconclusive"])
def test_a_probe_that_does_not_succeed_opens(outcome: Outcome) -> None:
    """An inconclusive one as well: half-open asks whether the endpoint answers."""
    circuit, permit = probing()
    circuit = settle(circuit, RULES, permit, outcome, NOW + 3)
    expected: dict[str, Any] = {
        "state": "open",
        "epoch": 11,
        "reason": "probe failed",
        "openings": 3,
        "cooldown": 4.0,
        "lease": 6,
    }
    assert circuit == HALF_OPEN._replace(**expected, until=NOW + 7)


def test_a_neutral_probe_is_given_back_at_once() -> None:
    """No vote, no new epoch; the next caller probes, under a number of its own."""
    circuit, permit = probing()
    given_back = settle(circuit, RULES, permit, "neutral", NOW)
    assert given_back == circuit._replace(lease_until=None)
    _, second = probing(given_back)
    assert second.lease == permit.lease + 1


def test_a_neutral_probe_does_not_take_successes_away() -> None:
    rules = rules_with(close_after=2)
    circuit, first = probing(rules=rules)
    circuit, second = probing(settle(circuit, rules, first, "success", NOW), rules)
    circuit, third = probing(settle(circuit, rules, second, "neutral", NOW), rules)
    assert settle(circuit, rules, third, "success", NOW).state == "closed"


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("first", ["success", "neutral"])
def test_a_probe_reports_once(first: Outcome, outcome: Outcome) -> None:
    """Also where the circuit is half-open still, in the same epoch: with another probe under way, and without."""
    rules = rules_with(close_after=3)
    circuit, permit = probing(rules=rules)
    circuit = settle(circuit, rules, permit, first, NOW)
    assert circuit.epoch == permit.epoch
    assert settle(circuit, rules, permit, outcome, NOW) is circuit
    circuit, _ = probing(circuit, rules)
    assert settle(circuit, rules, permit, outcome, NOW) is circuit


@pytest.mark.parametrize("close_after", [1, 2, 4])
def test_it_closes_at_exactly_so_many_successes_in_a_row(close_after: int) -> None:
    """One probe after the other; each next one may go at once."""
    rules = rules_with(close_after=close_after)
    circuit = HALF_OPEN
    for count in range(1, close_after):
        circuit, permit = probing(circuit, rules)
        circuit = settle(circuit, rules, permit, "success", NOW)
        assert (circuit.state, circuit.successes, circuit.lease_until, circuit.epoch) == ("half-open", count, None, 10)
    circuit, permit = probing(circuit, rules)
    circuit = settle(circuit, rules, permit, "success", NOW)
    assert circuit == HALF_OPEN._replace(
        state="closed", epoch=11, reason="probe succeeded", openings=0, cooldown=0.0, lease=5 + close_after
    )


def test_a_failed_probe_takes_the_successes_away() -> None:
    rules = rules_with(close_after=2)
    circuit, permit = probing(rules=rules)
    circuit, permit = probing(settle(circuit, rules, permit, "success", NOW), rules)
    circuit = settle(circuit, rules, permit, "failure", NOW)
    assert circuit.successes == 0
    circuit, permit = probing(circuit, rules, circuit.until)
    assert settle(circuit, rules, permit, "success", NOW).state == "half-open"


def test_a_lost_probe_is_replaced_at_the_very_end_of_its_lease_and_not_before() -> None:
    circuit, lost = probing()
    just_before = NOW + TIMEOUT - 2**-20
    assert admit(circuit, RULES, just_before) == (circuit, None)
    circuit, replacement = probing(circuit, now=NOW + TIMEOUT)
    assert (replacement.lease, replacement.epoch) == (lost.lease + 1, lost.epoch)
    assert circuit.lease_until == NOW + 2 * TIMEOUT


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_replaced_probe_that_reports_late_changes_nothing(outcome: Outcome) -> None:
    circuit, lost = probing()
    circuit, replacement = probing(circuit, now=NOW + TIMEOUT)
    assert settle(circuit, RULES, lost, outcome, NOW + TIMEOUT) is circuit
    assert settle(circuit, RULES, replacement, "success", NOW + TIMEOUT).state == "closed"


@pytest.mark.parametrize(("outcome", "state"), [("success", "closed"), ("failure", "open"), ("neutral", "half-open")])
def test_a_late_probe_that_nobody_replaced_counts(outcome: Outcome, state: CircuitState) -> None:
    circuit, late = probing()
    assert settle(circuit, RULES, late, outcome, NOW + 10 * TIMEOUT).state == state


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_probe_of_an_earlier_half_open_changes_nothing(outcome: Outcome) -> None:
    """It was lost, its replacement failed, the circuit cooled down again: now another one probes."""
    circuit, lost = probing()
    circuit, replacement = probing(circuit, now=NOW + TIMEOUT)
    circuit = settle(circuit, RULES, replacement, "failure", NOW + TIMEOUT)
    circuit, _ = probing(circuit, now=circuit.until)
    assert settle(circuit, RULES, lost, outcome, circuit.until) is circuit


# Epochs.


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("ago", [1, 2, 8])
@pytest.mark.parametrize("state", STATES)
def test_a_result_of_an_older_epoch_changes_nothing(state: CircuitState, ago: int, outcome: Outcome) -> None:
    """Nor under the number of the probe that is under way."""
    circuit = EXAMPLES[state]._replace(lease_until=NOW + 1)
    for permit in (Permit(circuit.epoch - ago), Permit(circuit.epoch - ago, probe=True, lease=circuit.lease)):
        assert settle(circuit, RULES, permit, outcome, NOW) is circuit


def test_a_late_success_does_not_close_an_open_circuit() -> None:
    circuit, slow = admit(Circuit(), RULES, NOW)
    assert slow is not None
    circuit = fail(fail(fail(circuit)))
    assert settle(circuit, RULES, slow, "success", NOW) is circuit
    circuit, _ = admit(circuit, RULES, circuit.until)
    assert settle(circuit, RULES, slow, "success", NOW) is circuit


def test_a_late_failure_does_not_count_against_a_circuit_that_recovered() -> None:
    rules = rules_with(trip_after=1)
    circuit, slow = admit(Circuit(), rules, NOW)
    assert slow is not None
    circuit, probe = probing(fail(circuit, rules), rules, NOW + 1)
    circuit = settle(circuit, rules, probe, "success", NOW + 1)
    assert circuit.state == "closed"
    assert settle(circuit, rules, slow, "failure", NOW + 1) is circuit


def test_results_of_calls_under_way_change_nothing_after_a_reset() -> None:
    """Also where the circuit was closed, and still is."""
    rules = rules_with(trip_after=1)
    before, slow = admit(Circuit(), rules, NOW)
    assert slow is not None
    circuit = reset(before)
    assert circuit == Circuit(epoch=1)
    assert settle(circuit, rules, slow, "failure", NOW) is circuit


# By hand.


@pytest.mark.parametrize("state", ["closed", "open", "half-open"])
def test_isolation_takes_everything_that_is_under_way(state: CircuitState) -> None:
    """Failures, successes, the probe; but not how often it opened, nor since when."""
    before = EXAMPLES[state]._replace(failures=1, successes=1, lease_until=NOW + 1)
    since = NOW if state == "closed" else before.since
    assert isolate(before, NOW) == before._replace(
        state="isolated",
        epoch=before.epoch + 1,
        reason="isolated",
        failures=0,
        successes=0,
        lease_until=None,
        since=since,
    )


@pytest.mark.parametrize("now", [NOW, NOW + 1e9])
def test_an_isolated_circuit_lets_nobody_go_however_long_it_takes(now: float) -> None:
    assert admit(ISOLATED, RULES, now) == (ISOLATED, None)


@pytest.mark.parametrize("state", ["closed", "open", "half-open"])
def test_release_puts_one_caller_to_the_probe(state: CircuitState) -> None:
    """Whatever it was before; an old probe has no say in it."""
    before, old = admit(EXAMPLES[state], RULES, NOW)
    assert old is not None
    circuit, permit = probing(release(isolate(before, NOW)))
    assert admit(circuit, RULES, NOW)[1] is None
    assert settle(circuit, RULES, old, "success", NOW) is circuit
    assert permit.lease == before.lease + 1
    assert settle(circuit, RULES, permit, "success", NOW).state == "closed"


def test_a_circuit_isolated_while_closed_opens_for_the_first_cooldown() -> None:
    circuit, permit = probing(release(isolate(Circuit(), NOW - 5)))
    circuit = settle(circuit, RULES, permit, "failure", NOW)
    assert (circuit.state, circuit.openings, circuit.cooldown, circuit.since) == ("open", 1, 1.0, NOW - 5)


def test_a_circuit_isolated_while_open_goes_on_counting_its_openings() -> None:
    circuit, permit = probing(release(isolate(OPEN, NOW)))
    circuit = settle(circuit, RULES, permit, "failure", NOW)
    assert (circuit.openings, circuit.cooldown, circuit.since) == (3, 4.0, OPEN.since)


@pytest.mark.parametrize("state", STATES)
def test_after_a_reset_everybody_goes_and_nothing_is_counted(state: CircuitState) -> None:
    before = EXAMPLES[state]._replace(failures=2, successes=1, lease_until=NOW + 1)
    circuit = reset(before)
    assert (circuit.state, circuit.epoch, circuit.failures, circuit.openings) == ("closed", before.epoch + 1, 0, 0)
    assert (circuit.cooldown, circuit.lease) == (0.0, before.lease)
    if state != "closed":
        assert (circuit.successes, circuit.lease_until, circuit.reason) == (0, None, "reset")
    assert next_probe(circuit) == float("-inf")


# When the next probe may go, and whose it is.


def test_the_next_probe_is_told_for_every_state() -> None:
    assert next_probe(CLOSED._replace(lease_until=NOW)) == float("-inf")
    assert next_probe(OPEN._replace(until=NOW + 7, lease_until=NOW)) == NOW + 7
    assert next_probe(HALF_OPEN) == float("-inf")
    assert next_probe(probing()[0]) == NOW + TIMEOUT
    assert next_probe(ISOLATED._replace(lease_until=NOW)) is None


@pytest.mark.parametrize("circuit", [OPEN._replace(until=NOW + 7), probing()[0]], ids=["open", "half-open"])
def test_at_the_time_told_a_probe_goes_and_before_it_does_not(circuit: Circuit) -> None:
    when = next_probe(circuit)
    assert when is not None
    assert admit(circuit, RULES, when - 2**-20)[1] is None
    assert admit(circuit, RULES, when)[1] is not None


def test_a_dropped_probe_has_no_say_and_the_next_one_goes_at_once() -> None:
    """After a fork: the child did not send it."""
    circuit, dropped = probing()
    child = drop_probe(circuit)
    assert child == circuit._replace(lease_until=None)
    for outcome in OUTCOMES:
        assert settle(child, RULES, dropped, outcome, NOW) is child
    child, own = probing(child)
    assert own.lease == dropped.lease + 1
    assert settle(child, RULES, dropped, "failure", NOW) is child


@pytest.mark.parametrize("state", STATES)
def test_without_a_probe_there_is_nothing_to_drop(state: CircuitState) -> None:
    assert drop_probe(EXAMPLES[state]) is EXAMPLES[state]


def test_a_probe_whose_lease_ends_at_time_zero_is_a_probe() -> None:
    """0.0 is a time and not "none"; a clock may start below it."""
    circuit, permit = probing(now=-TIMEOUT)
    assert circuit.lease_until == 0.0
    assert admit(circuit, RULES, -1.0)[1] is None
    assert next_probe(circuit) == 0.0
    assert drop_probe(circuit).lease_until is None
    assert settle(circuit, RULES, permit, "success", -1.0).state == "closed"


def test_times_below_zero_are_times() -> None:
    """The origin of a monotonic clock is undefined."""
    circuit, permit = probing(OPEN._replace(until=-NOW), now=-NOW)
    assert circuit.lease_until == TIMEOUT - NOW
    circuit = settle(circuit, RULES, permit, "failure", -NOW)
    assert circuit.until == next_probe(circuit) == circuit.cooldown - NOW
