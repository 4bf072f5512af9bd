"""The circuit against a model of it, over histories that nobody thought of.

The model is written in the words of the design and in another shape than the code: it keeps no counters, but the whole
history as chapters, one for each epoch, with what happened in it. Whatever the code keeps is read off there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from itertools import takewhile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from resilient._circuit import (
    OUTCOMES,
    TRANSITIONS,
    Circuit,
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

# Times are eighths, so that sums are exact and a boundary is hit exactly.
TICK = 0.125
times = st.integers(0, 40).map(lambda ticks: ticks * TICK)


def growing(openings: int, previous: float) -> float:
    """A cooldown that tells how often and what before."""
    return openings + previous / 2


@dataclass(eq=False)
class Probe:
    """One probe in the model: until when nobody may replace it, and whether anybody waits for its report."""

    leased_until: float
    awaited: bool = True


@dataclass(eq=False)
class Chapter:
    """One epoch: what the circuit was, since when and why, the votes of its calls and its probes."""

    state: str
    why: str
    since: float
    votes: list[Outcome] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    wait: float = 0.0


@dataclass(eq=False)
class Slip:
    """A permit in the model: out of which chapter, and for which probe."""

    chapter: Chapter
    probe: Probe | None = None


def last_in_a_row(votes: list[Outcome], wanted: Outcome, breaks: Outcome) -> int:
    """How many of the one kind came since the last one of the other; further kinds are no votes."""
    return list(takewhile(lambda vote: vote != breaks, reversed(votes))).count(wanted)


class Story:
    """The model: all chapters there ever were."""

    def __init__(self, trip_after: int, close_after: int, probe_timeout: float) -> None:
        self.trip_after = trip_after
        self.close_after = close_after
        self.probe_timeout = probe_timeout
        self.chapters = [Chapter("closed", "", 0.0)]

    @property
    def present(self) -> Chapter:
        return self.chapters[-1]

    def turn(self, state: str, why: str, now: float) -> None:
        self.chapters.append(Chapter(state, why, now))
        if state == "open":
            self.present.wait = reduce(lambda wait, nth: growing(nth, wait), range(1, self.openings() + 1), 0.0)

    def openings(self) -> int:
        """Chapters "open" since the last one "closed"."""
        since = takewhile(lambda chapter: chapter.state != "closed", reversed(self.chapters))
        return [chapter.state for chapter in since].count("open")

    def last_wait(self) -> float:
        since = takewhile(lambda chapter: chapter.state != "closed", reversed(self.chapters))
        return next((chapter.wait for chapter in since if chapter.state == "open"), 0.0)

    def left_closed_at(self) -> float:
        """When the chapter began that came after one "closed" and was none itself; 0.0: never."""
        pairs = zip(self.chapters, self.chapters[1:], strict=False)
        starts = [now.since for before, now in pairs if before.state == "closed" != now.state]
        return starts[-1] if starts else 0.0

    def awaited(self) -> Probe | None:
        """The probe whose report counts: the last one, unless it has reported or was dropped."""
        return next((probe for probe in self.present.probes[-1:] if probe.awaited), None)

    def asks(self, now: float) -> Slip | None:
        if self.present.state == "closed":
            return Slip(self.present)
        if self.present.state == "open" and self.present.since + self.present.wait <= now:
            self.turn("half-open", "cooled down", now)
        under_way = self.awaited()
        if self.present.state != "half-open" or (under_way and now < under_way.leased_until):
            return None
        self.present.probes.append(Probe(now + self.probe_timeout))
        return Slip(self.present, self.present.probes[-1])

    def reports(self, slip: Slip, outcome: Outcome, now: float) -> None:
        here = self.present
        if slip.chapter is not here or slip.probe is not self.awaited():
            return
        here.votes.append(outcome)
        if here.state == "closed" and last_in_a_row(here.votes, "failure", "success") == self.trip_after:
            self.turn("open", "tripped", now)
        if slip.probe:
            slip.probe.awaited = False
            if outcome in ("failure", "inconclusive"):
                self.turn("open", "probe failed", now)
            elif here.votes.count("success") == self.close_after:
                self.turn("closed", "probe succeeded", now)

    def drops(self) -> None:
        probe = self.awaited()
        if probe:
            probe.awaited = False

    def numbers(self) -> Circuit:
        """The circuit that this history makes, as far as it can be seen: `until` is read only while open."""
        here, probe = self.present, self.awaited()
        opened = [chapter.since + chapter.wait for chapter in self.chapters if chapter.state == "open"]
        return Circuit(
            state=here.state,  # type: ignore[arg-type]
            epoch=len(self.chapters) - 1,
            reason=here.why,
            failures=last_in_a_row(here.votes, "failure", "success") if here.state == "closed" else 0,
            successes=here.votes.count("success") if here.state == "half-open" else 0,
            openings=self.openings(),
            cooldown=self.last_wait(),
            until=opened[-1] if opened else 0.0,
            lease=sum(len(chapter.probes) for chapter in self.chapters),
            lease_until=probe.leased_until if probe else None,
            since=self.left_closed_at(),
        )


class CircuitMachine(RuleBasedStateMachine):
    """Both live through the same history; permits are kept, to be settled at any later time and again."""

    permits = Bundle("permits")

    @initialize(trip_after=st.integers(1, 3), close_after=st.integers(1, 3), probe_timeout=st.sampled_from([TICK, 2.5]))
    def begin(self, trip_after: int, close_after: int, probe_timeout: float) -> None:
        self.chosen = Rules(
            trip_after=trip_after, close_after=close_after, probe_timeout=probe_timeout, cooldown=growing
        )
        self.story = Story(trip_after, close_after, probe_timeout)
        self.now = 0.0
        self.circuit = Circuit()
        self.past: list[tuple[Circuit, tuple[object, ...]]] = []
        self.under_way: dict[Permit, float] = {}

    def take(self, circuit: Circuit) -> None:
        """Go on from here; what was stays in sight."""
        before = self.circuit
        self.past = [*self.past[-9:], (before, tuple(before))]
        self.circuit = circuit
        assert circuit.epoch in (before.epoch, before.epoch + 1)
        assert circuit.lease in (before.lease, before.lease + 1)
        assert circuit.state == before.state or TRANSITIONS[before.state, circuit.reason] == circuit.state
        assert (circuit.state == before.state) <= (circuit.reason == before.reason)
        assert (circuit.state != before.state) <= (circuit.epoch > before.epoch)

    @rule(target=permits)
    def ask(self) -> object:
        """A caller comes."""
        under_way = next_probe(self.circuit)
        circuit, permit = admit(self.circuit, self.chosen, self.now)
        slip = self.story.asks(self.now)
        self.take(circuit)
        assert (permit is None) == (slip is None)
        if permit is None or slip is None:
            assert under_way is None or under_way > self.now
            return multiple()
        assert under_way is not None
        assert under_way <= self.now
        assert permit.epoch == circuit.epoch
        assert permit.probe == (slip.probe is not None) == (circuit.state == "half-open")
        if permit.probe:
            assert permit.lease == circuit.lease
            assert not any(until > self.now for other, until in self.under_way.items() if other.epoch == permit.epoch)
            self.under_way[permit] = self.now + self.chosen.probe_timeout
        return permit, slip

    @rule(target=permits, callers=st.integers(2, 8))
    def ask_together(self, callers: int) -> object:
        """Many at one moment: unless all of them go, one does at most."""
        state = self.circuit.state
        went = [permit for _ in range(callers) if (permit := self.ask()) != multiple()]
        assert len(went) == callers if state == "closed" else len(went) <= 1
        return multiple(*went)

    @rule(held=permits, outcome=st.sampled_from(OUTCOMES))
    def report(self, held: tuple[Permit, Slip], outcome: Outcome) -> None:
        """A call ends, and it may have done so before."""
        # A call through a closed circuit votes each time: that it reports once is seen to where the lock is.
        permit, slip = held
        seen = (permit.epoch, permit.probe, permit.lease)
        circuit = settle(self.circuit, self.chosen, permit, outcome, self.now)
        if permit.epoch < self.circuit.epoch or permit.lease != (self.circuit.lease if permit.probe else 0):
            assert circuit is self.circuit
        self.story.reports(slip, outcome, self.now)
        self.take(circuit)
        assert seen == (permit.epoch, permit.probe, permit.lease)
        if permit.probe:
            assert settle(circuit, self.chosen, permit, outcome, self.now) is circuit
            self.under_way.pop(permit, None)

    @rule(target=permits, outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=6))
    def call_in_turn(self, outcomes: list[Outcome]) -> object:
        """A patient caller: each call waits until it may go, and ends before the next."""
        went = []
        for outcome in outcomes:
            self.now = max(self.now, next_probe(self.circuit) or self.now)
            held = self.ask()
            if held == multiple():
                break
            went.append(held)
            self.report(held, outcome)
            self.they_agree()
        return multiple(*went)

    @rule(target=permits)
    def fail_in_a_row(self) -> object:
        """Enough for a closed circuit to open."""
        return self.call_in_turn(["failure"] * self.chosen.trip_after)

    @rule(target=permits, callers=st.integers(2, 3))
    def ask_in_turn(self, callers: int) -> object:
        """Nobody reports for now: at half-open each takes the place of the one before."""
        went = []
        for _ in range(callers):
            self.now = max(self.now, next_probe(self.circuit) or self.now)
            held = self.ask()
            went.extend([] if held == multiple() else [held])
        return multiple(*went)

    @rule(seconds=times)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([60.0, 86400.0]))
    def sleep_long(self, seconds: float) -> None:
        """The machine was stopped."""
        self.now += seconds

    @precondition(lambda self: (next_probe(self.circuit) or 0.0) > self.now)
    @rule(ticks=st.sampled_from([-1, 0]))
    def wait_for_the_next_probe(self, ticks: int) -> None:
        """To its very moment, or to just before it."""
        when = next_probe(self.circuit)
        assert when is not None
        self.now = max(self.now, when + ticks * TICK)

    @rule(act=st.sampled_from(["isolate", "release", "reset", "drop"]), first=st.booleans())
    def meddle(self, act: str, first: bool) -> None:
        """By hand, or a fork. (Drawn as one rule, so that a circuit is left alone most of the time.)"""
        if act == "release" and first:
            self.isolate()
        getattr(self, act)()

    def isolate(self) -> None:
        if self.story.present.state != "isolated":
            self.story.turn("isolated", "isolated", self.now)
        self.take(isolate(self.circuit, self.now))

    def release(self) -> None:
        if self.story.present.state == "isolated":
            self.story.turn("half-open", "released", self.now)
        self.take(release(self.circuit))

    def reset(self) -> None:
        why = self.story.present.why if self.story.present.state == "closed" else "reset"
        self.story.turn("closed", why, self.now)
        self.take(reset(self.circuit))

    def drop(self) -> None:
        self.story.drops()
        self.under_way.clear()
        self.take(drop_probe(self.circuit))

    @invariant()
    def they_agree(self) -> None:
        assert self.circuit == self.story.numbers()

    @invariant()
    def one_probe_at_most_is_under_way(self) -> None:
        """Handed out in this epoch, not yet reported, within its lease."""
        held = [permit for permit, until in self.under_way.items() if until > self.now]
        live = [permit for permit in held if permit.epoch == self.circuit.epoch]
        assert len(live) <= 1
        assert [permit.lease for permit in live] == [self.circuit.lease] * len(live)
        assert self.circuit.state == "half-open" or not live

    @invariant()
    def what_was_has_not_changed(self) -> None:
        assert all(tuple(circuit) == seen for circuit, seen in self.past)

    @invariant()
    def the_next_probe_is_told(self) -> None:
        here, probe = self.story.present, self.story.awaited()
        told: dict[str, Callable[[], float | None]] = {
            "closed": lambda: float("-inf"),
            "open": lambda: here.since + here.wait,
            "half-open": lambda: probe.leased_until if probe else float("-inf"),
            "isolated": lambda: None,
        }
        assert next_probe(self.circuit) == told[here.state]()


TestCircuitMachine = CircuitMachine.TestCase
TestCircuitMachine.settings = settings(
    max_examples=3 * settings().max_examples, stateful_step_count=40, deadline=None, database=None
)
