"""Failover over random outages, against what the design says of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import pytest
import trio
from drivers import QUIET
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outages import LATE, Actor, Answer, Doorkeeper, History, Killed, Referee, Stage

from resilient import (
    Backoff,
    CallParked,
    CircuitBreakers,
    CircuitOpenError,
    Endpoint,
    Event,
    FailedOver,
    RetriesExhausted,
    RetryScheduled,
    Targets,
    attempts,
    clock,
    retry_on_refused,
)
from resilient._parking import BATCH, HEIRS, TURN
from resilient.testing import FakeClock, fake_clock

ENDPOINTS = tuple(Endpoint.parse(f"db-{letter}:5432") for letter in "abcde")
EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
"""The same each time: a gate is no place for a new history, and `make mutants` runs have to be repeatable."""

# Times are eighths of a second, whose sums are exact: a boundary is hit exactly.
eighths = st.integers(0, 160).map(lambda count: count / 8)


class Denied(Exception):
    """A wrong password, say."""


@st.composite
def histories(draw: st.DrawFn, denials: bool = True) -> History:
    """Up and down, up to six times in twenty seconds."""
    answers: st.SearchStrategy[Answer] = st.sampled_from(
        ["serves", "refuses", "refuses", "denies"][: 4 if denials else 3]
    )
    changes = draw(st.lists(st.tuples(eighths, answers), max_size=6, unique_by=lambda change: change[0]))
    down_at_first = draw(st.booleans())
    return History(
        changes=(*([(0.0, "refuses")] if down_at_first else []), *sorted(it for it in changes if it[0] > 0)),  # type: ignore[arg-type]
        takes=draw(st.sampled_from([0.0, 0.0, 0.0, 0.125, 0.5, 3.0])),
    )


@dataclass(frozen=True)
class Setting:
    """What the callers were given.

    Attributes:
        histories: of the endpoints, in their order.
        attempts, deadline, backoff: of the policy.
        trip_after, close_after, cooldown: of the circuits.
    """

    histories: tuple[History, ...]
    order: str
    attempts: int | None
    deadline: float | None
    backoff: float
    trip_after: int
    close_after: int
    cooldown: float

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return ENDPOINTS[: len(self.histories)]

    def cooldown_after(self, openings: int) -> float:
        """Doubles, up to four times the first."""
        return min(self.cooldown * 4, self.cooldown * 2.0 ** (openings - 1))

    def doors(self) -> dict[Endpoint, Doorkeeper]:
        return {it: Doorkeeper(self.trip_after, self.close_after, self.cooldown_after) for it in self.endpoints}

    def breakers(self) -> CircuitBreakers:
        cooldown = Backoff(initial=self.cooldown, maximum=self.cooldown * 4, jitter="none")
        return CircuitBreakers(
            trip_after=self.trip_after, close_after=self.close_after, cooldown=cooldown, observers=()
        )

    def policy(self, observer: Callable[[Event], None]) -> Any:
        return QUIET.replace(
            attempts=self.attempts,
            deadline=self.deadline,
            backoff=Backoff(initial=self.backoff, maximum=self.backoff, jitter="none"),
            observers=(observer,),
        )

    def patience(self, callers: int) -> float:
        """Seconds of service that no call that waits with `callers - 1` others can miss.

        Whoever is to notice may be busy with every other endpoint first, more than once, and his turn passes on.
        """
        busy = sum(history.takes for history in self.histories)
        once = busy + self.cooldown * 4 + self.backoff + HEIRS * TURN + callers * BATCH
        return 3 * self.close_after * once


@st.composite
def the_settings(draw: st.DrawFn, orders: tuple[str, ...], *, denials: bool = True) -> Setting:
    return Setting(
        histories=tuple(draw(st.lists(histories(denials), min_size=1, max_size=5))),
        order=draw(st.sampled_from(orders)),
        attempts=draw(st.sampled_from([None, None, None, 1, 2, 5])),
        deadline=draw(st.sampled_from([0.125, 1.0, 5.0, 12.0, 60.0])),
        backoff=draw(st.sampled_from([0.125, 1.0])),
        trip_after=draw(st.sampled_from([1, 1, 2, 5])),
        close_after=draw(st.sampled_from([1, 1, 2])),
        cooldown=draw(st.sampled_from([0.125, 0.5, 2.0])),
    )


# One caller: what it does, to the moment.


@dataclass(frozen=True)
class Attempt:
    """One attempt: when it began, where, and in which round of its call."""

    at: float
    endpoint: Endpoint
    round: int


class Foretold:
    """What one caller will do, call after call: every attempt, when, and how it ends."""

    def __init__(self, its: Setting) -> None:
        self.its = its
        self.doors = its.doors()
        self.current = its.endpoints[0]
        self.made: list[Attempt] = []

    def order(self) -> list[Endpoint]:
        first = self.current if self.its.order == "sticky" else self.its.endpoints[0]
        return [first, *(it for it in self.its.endpoints if it != first)]

    def call(self, now: float) -> tuple[float, object]:
        """Return when the call ends, and how: the endpoint that serves; what comes out."""
        its, start, rounds, final = self.its, now, 0, False
        last: object = CircuitOpenError
        while True:
            tried = False
            for endpoint in self.order():
                door, history = self.doors[endpoint], its.histories[its.endpoints.index(endpoint)]
                late = tried and its.deadline is not None and now - start > its.deadline + LATE
                if late or not door.gives_leave(now):
                    continue
                rounds += not tried
                tried = True
                self.made.append(Attempt(now, endpoint, rounds))
                chapter, answer = door.admit(self), history.at(now)
                if answer == "refuses":
                    now += history.takes
                    last = ConnectionRefusedError, endpoint
                door.report(self, chapter, answer != "refuses", now)
                if answer == "denies":
                    return now, (Denied, endpoint)
                if answer == "serves":
                    self.current = endpoint
                    return now, endpoint
            left = inf if its.deadline is None else start + its.deadline - now
            if tried and (final or left <= 0 or rounds == its.attempts):
                return now, last
            if tried and any(door.is_closed for door in self.doors.values()):
                final = its.backoff >= left
                now += min(its.backoff, left)
                continue
            opens_at = max(now, min(door.opens_at for door in self.doors.values()))
            if left <= 0 or opens_at > now + left:
                return now, last
            now = opens_at
            final = opens_at - start >= (inf if its.deadline is None else its.deadline)


@pytest.mark.parametrize("form", ["function", "block"])
@EXAMPLES
@given(its=the_settings(("sticky", "in_order")), gaps=st.lists(eighths, min_size=1, max_size=6))
def test_a_caller_by_itself_does_what_the_design_foretells(form: str, its: Setting, gaps: list[float]) -> None:
    """Call after call: each attempt at its moment, where and in which round, and each call's end."""
    foretold, made, rounds = Foretold(its), list[Attempt](), 1
    fake, targets = FakeClock(), Targets(*its.endpoints, order=its.order)  # type: ignore[arg-type]
    raised: list[BaseException] = []

    def observe(event: Event) -> None:
        nonlocal rounds
        if isinstance(event, (RetryScheduled, CallParked)):
            rounds = event.attempt + 1

    def connect(endpoint: Endpoint) -> Endpoint:
        made.append(Attempt(fake.now(), endpoint, rounds))
        history = its.histories[its.endpoints.index(endpoint)]
        answer = history.at(fake.now())
        if answer == "serves":
            return endpoint
        if answer == "refuses":
            fake.advance(history.takes)
        raised.append((ConnectionRefusedError if answer == "refuses" else Denied)(111, str(endpoint)))
        raise raised[-1]

    given_to = {"targets": targets, "breaker": its.breakers(), "policy": its.policy(observe)}
    protected = retry_on_refused(connect, **given_to)

    def block() -> Endpoint:
        for attempt in attempts(**given_to):
            with attempt:
                assert attempt.number == rounds
                assert attempt.endpoint is not None
                return connect(attempt.endpoint)
        raise AssertionError("the loop ended without an answer")

    clock.put(fake)
    try:
        for gap in gaps:
            fake.advance(gap)
            expected, rounds = foretold.call(fake.now()), 1
            raised.clear()
            caught: BaseException | None = None
            try:
                end: object = protected() if form == "function" else block()
            except (ConnectionRefusedError, Denied) as error:
                caught, end = error, CircuitOpenError
            if caught is not None and not isinstance(caught, CircuitOpenError):
                assert caught is raised[-1]
                end = type(caught), Endpoint.parse(caught.args[1])
            assert made == foretold.made
            assert (fake.now(), end) == expected
            assert its.order != "sticky" or targets.current == foretold.current
    finally:
        clock.put(None)


# Several callers, in every order of steps that dice give.


@dataclass(frozen=True)
class Cast:
    """Who plays: when each caller comes and how often it calls, whether it is killed; and what is done by hand.

    Attributes:
        callers: (begin, calls, gap between them, killed at this step).
        preferred: (when, place): told to begin there.
        isolated: (when, for how long, place).
    """

    callers: tuple[tuple[float, int, float, int | None], ...]
    preferred: tuple[tuple[float, int], ...]
    isolated: tuple[tuple[float, float, int], ...]
    one_loop: bool
    seed: int


@st.composite
def casts(draw: st.DrawFn) -> Cast:
    doom = st.sampled_from([None, None, None, 1, 2, 3, 5, 8])
    return Cast(
        callers=tuple(
            draw(st.lists(st.tuples(eighths, st.integers(1, 4), eighths, doom), min_size=1, max_size=8)),
        ),
        preferred=tuple(draw(st.lists(st.tuples(eighths, st.integers(0, 4)), max_size=2))),
        isolated=tuple(draw(st.lists(st.tuples(eighths, eighths, st.integers(0, 4)), max_size=1))),
        one_loop=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32)),
    )


class Play:
    """A setting, a cast and a referee on a stage."""

    def __init__(self, its: Setting, cast: Cast) -> None:
        self.its, self.cast = its, cast
        self.stage = Stage(cast.seed)
        self.targets = Targets(*its.endpoints, order=its.order)  # type: ignore[arg-type]
        self.breakers = its.breakers()
        self.referee = Referee(its.endpoints, its.order, its.doors(), self.stage.now)
        self.connect = retry_on_refused(
            self._connect, targets=self.targets, breaker=self.breakers, policy=its.policy(self._observe)
        )
        self.wrong: list[AssertionError] = []
        self.served = 0
        self.why: dict[object, str] = {}
        self.touched: list[tuple[Endpoint, float, float]] = []

    def play(self) -> None:
        actors = [
            Actor(f"caller {number}", lambda its=its: self._calls(*its[1:3]), its[0], its[3])
            for number, its in enumerate(self.cast.callers)
        ]
        here = self.its.endpoints
        if self.its.order == "sticky":
            actors += [
                Actor("who prefers", lambda place=place: self._prefer(here[place % len(here)]), at)
                for at, place in self.cast.preferred
            ]
        actors += [
            Actor("who isolates", lambda its=its: self._isolate(here[its[2] % len(here)], its[1]), its[0])
            for its in self.cast.isolated
        ]
        host = object()
        before, clock.host = clock.host, lambda: host if self.cast.one_loop else None
        try:
            self.stage.play(actors)
        finally:
            clock.host = before
        self._check()
        assert self.referee.calls == {}
        for endpoint in here:
            circuit, door = self.breakers[endpoint], self.referee.doors[endpoint]
            lot = circuit._lot
            assert (circuit.parked, lot._told, dict(lot._hosts), circuit.snapshot().probing) == (0, [], {}, False)
            assert (circuit.state == "closed", circuit.state == "isolated") == (door.is_closed, door.is_isolated)

    async def _connect(self, endpoint: Endpoint) -> Endpoint:
        me, history = self.stage.current, self.its.histories[self.its.endpoints.index(endpoint)]
        self._check()
        self.referee.tries(me, endpoint)
        answer = history.at(self.stage.time)
        if history.takes:
            await self.stage.sleep_async(history.takes if answer == "refuses" else 0.125, None, self)
        self._check()
        if answer == "serves":
            self.referee.succeeds(me)
            return endpoint
        error = (ConnectionRefusedError if answer == "refuses" else Denied)(111, str(endpoint))
        self.referee.fails(me, error, answered=answer == "denies")
        raise error

    def _observe(self, event: Event) -> None:
        try:
            self._look(event)
        except AssertionError as error:  # what an observer raises changes nothing
            self.wrong.append(error)

    def _check(self) -> None:
        if self.wrong:
            raise self.wrong[0]
        assert self.referee.begins_at(self.targets.current)

    def _look(self, event: Event) -> None:
        me = self.stage.current
        if isinstance(event, RetryScheduled):
            self.referee.backs_off(me, event.attempt)
        elif isinstance(event, CallParked):
            self.referee.parks(me)
            assert event.attempt == self.referee.calls[me].rounds
        elif isinstance(event, RetriesExhausted):
            assert event.attempt == self.referee.calls[me].rounds
            self.why[me] = event.reason

    async def _calls(self, number: int, gap: float) -> None:
        me = self.stage.current
        for _ in range(number):
            began = self.stage.time
            self.why.pop(me, None)
            self.referee.begins(me, self.its.deadline)
            try:
                await self.connect()
                self.served += 1
            except Killed:
                self.referee.is_killed(me)
                return
            except (CircuitOpenError, ConnectionRefusedError, Denied) as error:
                self._check()
                self.referee.ends(me, error)
                if not isinstance(error, Denied):
                    self._had_no_chance(self.why[me], began)
            try:
                await self.stage.sleep_async(gap, None, self)
            except Killed:
                return

    def _had_no_chance(self, why: str, began: float) -> None:
        """Nobody who could succeed fails, but for the number of attempts that it was allowed."""
        if why.startswith("limit"):
            return
        assert self.its.deadline is not None
        end = began + self.its.deadline
        for history, endpoint in zip(self.its.histories, self.its.endpoints, strict=True):
            if any(its == endpoint and since <= end and until >= began for its, since, until in self.touched):
                continue
            service = history.longest_service(began, end)
            patience = self.its.patience(len(self.cast.callers))
            assert service <= patience, f"{endpoint} served for {service:g} s, and the call gave up: {why}"

    async def _prefer(self, endpoint: Endpoint) -> None:
        self._check()
        self.targets.prefer(endpoint)
        self.referee.prefer(endpoint)

    async def _isolate(self, endpoint: Endpoint, seconds: float) -> None:
        self.touched.append((endpoint, self.stage.time, self.stage.time + seconds))
        self.breakers[endpoint].isolate()
        self.referee.doors[endpoint].isolate()
        await self.stage.sleep_async(seconds, None, self)
        self.breakers[endpoint].release()
        self.referee.doors[endpoint].release()


@settings(EXAMPLES, max_examples=120)
@given(its=the_settings(("sticky", "in_order", "shuffled")), cast=casts())
def test_no_outage_makes_callers_break_a_rule(its: Setting, cast: Cast) -> None:
    """Where an attempt goes, when it begins, who probes, who waits, who fails, and that nobody stays behind."""
    Play(its, cast).play()


# The drivers themselves, on the clock that users have for their tests.


class Crowd:
    """Callers in threads or tasks: what each of them did, in words, by rounds."""

    def __init__(self, its: Setting, fake: FakeClock) -> None:
        self.its, self.fake = its, fake
        self.rounds: list[list[Endpoint]] = []
        self.served = 0
        self.failovers = 0
        self.breakers = its.breakers()
        self.settings: dict[str, Any] = {
            "targets": Targets(*its.endpoints, order=its.order),  # type: ignore[arg-type]
            "breaker": self.breakers,
            "policy": its.policy(self._observe).replace(attempts=None, deadline=None),
        }

    def _caller(self) -> object:
        return threading.current_thread() if self.tasks is None else self.tasks()

    def call_in(self, world: str, callers: int) -> None:
        """Let so many call once."""
        self.tasks: Callable[[], object] | None = None
        self.now: dict[object, list[Endpoint]] = {}
        if world == "sync":
            connect = retry_on_refused(self._connect, **self.settings)
            threads = [threading.Thread(target=connect, daemon=True) for _ in range(callers)]
            with self.fake.hold():
                for thread in threads:
                    thread.start()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()
            return

        async def connect_async(endpoint: Endpoint) -> None:
            self._connect(endpoint)

        call = retry_on_refused(connect_async, **self.settings)

        async def main() -> None:
            await asyncio.gather(*(call() for _ in range(callers)))

        async def main_trio() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(callers):
                    nursery.start_soon(call)

        if world == "asyncio":
            self.tasks = asyncio.current_task
            asyncio.run(main())
        else:
            self.tasks = trio.lowlevel.current_task
            trio.run(main_trio)

    def _connect(self, endpoint: Endpoint) -> None:
        me = self._caller()
        self.now.setdefault(me, []).append(endpoint)
        if self.its.histories[self.its.endpoints.index(endpoint)].at(self.fake.now()) != "serves":
            raise ConnectionRefusedError(111, str(endpoint))
        self.rounds.append(self.now.pop(me))
        self.served += 1

    def _observe(self, event: Event) -> None:
        me = self._caller()
        if isinstance(event, FailedOver):
            self.failovers += 1
        if isinstance(event, (RetryScheduled, CallParked)) and me in self.now:
            self.rounds.append(self.now.pop(me))


@pytest.mark.parametrize("world", ["sync", "asyncio", "trio"])
@settings(EXAMPLES, max_examples=15)
@given(its=the_settings(("sticky", "in_order", "shuffled"), denials=False), callers=st.integers(1, 6))
def test_threads_and_tasks_are_all_served_in_the_end(world: str, its: Setting, callers: int) -> None:
    """With no limit, whoever serves last serves all; no round tries an endpoint twice, or out of its order."""
    last = its.histories[-1]
    its = replace(its, histories=(*its.histories[:-1], replace(last, changes=(*last.changes, (30.0, "serves")))))
    with fake_clock() as fake:
        crowd = Crowd(its, fake)
        crowd.call_in(world, callers)
    assert crowd.served == callers
    assert crowd.failovers == sum(len(attempts) - 1 for attempts in crowd.rounds)
    for attempts_made in crowd.rounds:
        assert len(set(attempts_made)) == len(attempts_made)
        if its.order == "in_order":
            assert attempts_made == sorted(attempts_made, key=its.endpoints.index)
    for endpoint in its.endpoints:
        lot = crowd.breakers[endpoint]._lot
        assert (len(lot), lot._told, dict(lot._hosts)) == (0, [], {})
        assert not crowd.breakers[endpoint].snapshot().probing
