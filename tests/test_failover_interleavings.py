"""Threads that wait for two circuits at a time, in every order that one preemption allows, and in many random ones.

Played on the stage of `test_interleavings`: a caller that nobody will wake is found at once, and so is a second probe.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from test_interleavings import (
    COOLDOWN,
    ENDLESS,
    ROUNDS,
    Actor,
    Bodies,
    Server,
    Stage,
    Watched,
    at_random,
    at_the_end,
    schedules,
)

from resilient import Cancellation, CircuitBreakers, Endpoint, Targets, clock, retry_on_refused
from resilient._recovery._circuits import Circuits

A, B = Endpoint.parse("db-a:5432"), Endpoint.parse("db-b:5432")
NEVER = 10**9
"""Refusals of a server that does not come back."""


class Cluster:
    """Two endpoints whose circuits have just opened, on a stage."""

    def __init__(self, stage: Stage, refusals: tuple[int, int], one_thread: bool) -> None:
        self.stage = stage
        self.targets = Targets(A, B)
        self.breakers = CircuitBreakers()
        self.servers: dict[Endpoint, Server] = {}
        self.watched: dict[Endpoint, Watched] = {}
        for endpoint, refused in zip((A, B), refusals, strict=True):
            watched = self.watched[endpoint] = Watched(stage, one_thread)
            watched.target = endpoint
            self.breakers._breakers[endpoint] = watched
            self.servers[endpoint] = Server(stage, refused)
            with pytest.raises(ConnectionRefusedError):
                watched.call(Server(stage, 1).connect)
        assert self.breakers[A] is self.watched[A]

    def connect(self, endpoint: Endpoint) -> str:
        return self.servers[endpoint].connect()

    def protect(self, function: Callable[[Endpoint], Any] | None = None, **settings: Any) -> Callable[[], Any]:
        given = {"policy": ENDLESS, "targets": self.targets, "breaker": self.breakers, **settings}
        return retry_on_refused(function or self.connect, **given)

    def caller(self) -> Callable[[], object]:
        """Make one that connects in the end, whatever comes before, unless it is turned away by hand everywhere."""
        connect = self.protect()

        def body() -> None:
            try:
                assert connect() == "connected"
            except ConnectionRefusedError:
                assert all(watched.was_isolated for watched in self.watched.values())

        return body


Story = Callable[[Cluster], Bodies]


def three_callers(cluster: Cluster) -> Bodies:
    """Three that park on both, of whom nobody leaves before one is back."""
    return [cluster.caller() for _ in range(3)]


def one_circuit_is_probed_from_outside(cluster: Cluster) -> Bodies:
    """Two that park on both, and one that probes the second, comes and goes as it likes."""

    def outsider() -> None:
        for _ in range(3):
            try:
                cluster.watched[B].call(cluster.servers[B].connect)
            except ConnectionRefusedError:
                cluster.stage.sleep(COOLDOWN, None, None)  # type: ignore[arg-type]

    return [cluster.caller(), outsider, cluster.caller()]


def one_leaves_at_its_deadline(cluster: Cluster) -> Bodies:
    """Two that stay, and one whose deadline comes when the next probes are due."""
    connect = cluster.protect(policy=ENDLESS.replace(deadline=2 * COOLDOWN))

    def leaver() -> None:
        with contextlib.suppress(ConnectionRefusedError):
            connect()

    return [leaver, cluster.caller(), cluster.caller()]


def one_is_cancelled(cluster: Cluster) -> Bodies:
    """One that stays, one that is cancelled at any time, and who cancels it."""
    cancel = Cancellation()
    connect = cluster.protect(cancel=cancel)

    def cancelled() -> None:
        with contextlib.suppress(ConnectionRefusedError):
            connect()

    return [cancelled, cluster.caller(), cancel.cancel]


def one_is_interrupted(cluster: Cluster) -> Bodies:
    """One whose attempt is interrupted, wherever it is made, and two that stay."""

    def interrupted(endpoint: Endpoint) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            cluster.connect(endpoint)
        raise KeyboardInterrupt

    connect = cluster.protect(interrupted)

    def body() -> None:
        with pytest.raises(KeyboardInterrupt):
            connect()

    return [body, cluster.caller(), cluster.caller()]


def the_hand_is_at_both(cluster: Cluster) -> Bodies:
    """Two that park or probe while somebody isolates the first, closes the second, and releases the first."""

    def hand() -> None:
        cluster.watched[A].isolate()
        cluster.watched[B].reset()
        cluster.stage.sleep(COOLDOWN, None, None)  # type: ignore[arg-type]
        cluster.watched[A].release()

    return [cluster.caller(), cluster.caller(), hand]


def both_are_isolated(cluster: Cluster) -> Bodies:
    """Two that park or probe while somebody isolates both: nobody waits any longer."""

    def hand() -> None:
        cluster.watched[A].isolate()
        cluster.watched[B].isolate()
        cluster.stage.sleep(COOLDOWN, None, None)  # type: ignore[arg-type]
        assert [watched.parked for watched in cluster.watched.values()] == [0, 0]

    return [cluster.caller(), cluster.caller(), hand]


def one_prefers_the_other(cluster: Cluster) -> Bodies:
    """Two that park or probe, and somebody who tells all to begin with the second."""
    return [cluster.caller(), cluster.caller(), lambda: cluster.targets.prefer(B)]


STORIES: list[Story] = [
    three_callers,
    one_circuit_is_probed_from_outside,
    one_leaves_at_its_deadline,
    one_is_cancelled,
    one_is_interrupted,
    the_hand_is_at_both,
    both_are_isolated,
    one_prefers_the_other,
]


def perform(
    story: Story,
    choose: Callable[[list[Actor], bool], int],
    *,
    refusals: tuple[int, int],
    extras: int = 0,
    one_thread: bool = False,
) -> Cluster:
    """Play a story once; `extras` more callers come last; with `one_thread` they park as coroutines of one loop."""
    stage = Stage(choose)
    clock.put(stage)
    try:
        cluster = Cluster(stage, refusals, one_thread)
        stage.play(story(cluster) + [cluster.caller() for _ in range(extras)])
        for watched in cluster.watched.values():
            at_the_end(watched)
    finally:
        clock.put(None)
    return cluster


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("refusals", [(0, 0), (NEVER, 0)], ids=["both are back", "one is back"])
def test_no_single_preemption_loses_a_caller_or_makes_a_second_probe(story: Story, refusals: tuple[int, int]) -> None:
    """Every schedule with one preemption ends with nobody parked, no probe under way, and all callers answered."""
    played = 0
    for choose in schedules(preemptions=1):
        perform(story, choose, refusals=refusals)
        played += 1
    assert played > 20


@pytest.mark.parametrize("one_thread", [False, True], ids=["threads", "one loop"])
@pytest.mark.parametrize("story", STORIES)
def test_no_random_schedule_loses_a_caller_or_makes_a_second_probe(story: Story, one_thread: bool) -> None:
    """The same with more callers than are told of their turn, more refusals and any number of preemptions."""
    backs = [(0, 2), (2, 0), (NEVER, 1), (1, NEVER), (3, 3)]
    for seed in range(ROUNDS):
        perform(story, at_random(seed), refusals=backs[seed % len(backs)], extras=2, one_thread=one_thread)


def test_the_scheduler_finds_a_turn_that_is_kept_in_the_line_that_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of the check: who is let go by one circuit and stays in the line of the other keeps its turn there."""
    monkeypatch.setattr(Circuits, "leave_lines", lambda self: setattr(self, "waiting", False))
    with pytest.raises(AssertionError):
        for seed in range(ROUNDS):
            perform(three_callers, at_random(seed), refusals=(NEVER, 1), extras=2)
