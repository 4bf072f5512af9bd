"""Outages of several endpoints, what failover should do in them, and a stage on which many callers live through them.

What should be is written in the words of the design: `Doorkeeper` is a circuit, `Round` is one attempt of a call, and
`Referee` sees every attempt as it begins and says what is wrong with it. None of them knows how the library does it.
"""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from resilient import Endpoint, clock

if TYPE_CHECKING:
    from resilient.clock import Caller, Signal

LATE = 0.25
"""Seconds past the deadline up to which an attempt may still begin."""

Answer = Literal["serves", "refuses", "denies"]
"""What an endpoint does to who connects: a denial is an answer that no policy repeats."""


@dataclass(frozen=True)
class History:
    """The life of one endpoint.

    Attributes:
        changes: when it changes, and to what; before the first it serves.
        takes: seconds of a connect that fails.
    """

    changes: tuple[tuple[float, Answer], ...] = ()
    takes: float = 0.0

    def at(self, moment: float) -> Answer:
        """Return what it does to who connects at a moment."""
        answers: list[Answer] = [answer for since, answer in self.changes if since <= moment]
        return answers[-1] if answers else "serves"

    def longest_service(self, begin: float, end: float) -> float:
        """Return for how long it serves without a break, at most, between two moments."""
        edges = [begin, *(at for at, _ in self.changes if begin < at < end), end]
        longest = since = 0.0
        for edge, following in pairwise(edges):
            since = since + following - edge if self.at(edge) == "serves" else 0.0
            longest = max(longest, since)
        return longest


class Doorkeeper:
    """The circuit of one endpoint: who may go?"""

    def __init__(self, trip_after: int, close_after: int, cooldowns: Callable[[int], float]) -> None:
        self.trip_after, self.close_after, self.cooldowns = trip_after, close_after, cooldowns
        self.chapter = 0  # who was admitted in an earlier one says nothing any more
        self.failures = self.successes = self.openings = 0
        self.is_closed = True
        self.opens_at = -inf
        self.prober: object = None
        self.is_isolated = False

    def gives_leave(self, now: float) -> bool:
        """Whether a caller may go: the circuit is closed, or has cooled down and nobody probes."""
        return not self.is_isolated and (self.is_closed or (now >= self.opens_at and self.prober is None))

    def admit(self, caller: object) -> int:
        """Let a caller go; return the chapter that it belongs to."""
        if not self.is_closed:
            self.prober = caller
        return self.chapter

    def report(self, caller: object, chapter: int, went_well: bool | None, now: float) -> None:
        """Hear how it went; None: it says nothing of the endpoint."""
        if chapter != self.chapter:
            return
        if not self.is_closed:
            self.prober = None
        if went_well is None:
            return
        if self.is_closed:
            self.failures = 0 if went_well else self.failures + 1
            if self.failures == self.trip_after:
                self._open(now)
        elif not went_well:
            self._open(now)
        else:
            self.successes += 1
            if self.successes == self.close_after:
                self.chapter += 1
                self.is_closed, self.failures, self.openings = True, 0, 0

    def isolate(self) -> None:
        """Turn everybody away."""
        self.chapter += 1
        self.is_isolated, self.is_closed, self.prober = True, False, None

    def release(self) -> None:
        """Let one caller find out how things stand."""
        self.chapter += 1
        self.is_isolated, self.successes, self.opens_at = False, 0, -inf

    def _open(self, now: float) -> None:
        self.chapter += 1
        self.openings += 1
        self.successes = 0
        self.is_closed, self.opens_at = False, now + self.cooldowns(self.openings)


# A stage.


class Killed(BaseException):
    """Ends a caller wherever it is: Ctrl-C, a cancelled task."""


@dataclass(eq=False)
class Actor:
    """One coroutine: what it waits for.

    Attributes:
        name: for messages.
        starts: when it begins.
        doomed: after how many of its steps it is killed; None: it is not.
    """

    name: str
    body: Callable[[], Coroutine[Any, Any, object]]
    starts: float = 0.0
    doomed: int | None = None
    until: float = 0.0
    signal: Signal | None = None
    steps: int = 0
    done: bool = False
    coroutine: Coroutine[Any, Any, object] | None = None
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class _Pause:
    def __await__(self) -> Generator[None, None, None]:
        yield


class Stage:
    """Stands in for the clock and for the event loop: runs coroutines by hand, and lets dice say who is next.

    Time passes only when nobody can run.
    """

    def __init__(self, seed: int) -> None:
        self.time = 0.0
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self._dice = random.Random(seed)

    def now(self) -> float:
        """Return the time."""
        return self.time

    def sleep(self, seconds: float, cancellation: Signal | None, caller: Caller) -> None:
        """No thread plays here."""
        raise NotImplementedError

    async def sleep_async(self, seconds: float, cancellation: Signal | None, caller: object) -> None:
        """Pause the actor."""
        me = self.current
        assert me is not None, "only actors sleep"
        me.until, me.signal = self.time + seconds, cancellation
        key = None if cancellation is None else cancellation._watch(lambda: True)
        try:
            await _Pause()
        finally:
            me.signal = None
            if cancellation is not None:
                cancellation._unwatch(key)

    def play(self, actors: Sequence[Actor], *, most: int = 20_000) -> None:
        """Run all of them to their ends.

        Raises:
            AssertionError: somebody waits for ever, or nobody ever comes to an end.
        """
        self.actors = list(actors)
        for actor in self.actors:
            actor.until, actor.coroutine = actor.starts, actor.body()
        clock.put(self)
        try:
            for _ in range(most):
                left = [actor for actor in self.actors if not actor.done]
                if not left:
                    return
                ready = [it for it in left if it.until <= self.time or (it.signal is not None and it.signal.cancelled)]
                if ready:
                    self._step(self._dice.choice(ready))
                    continue
                until = min(actor.until for actor in left)
                assert until < inf, f"nobody will ever wake {', '.join(actor.name for actor in left)}"
                self.time = until
            raise AssertionError(f"after {most} steps, it is {self.time:g}, and nobody has come to an end")
        finally:
            clock.put(None)
            for actor in self.actors:
                if actor.coroutine is not None:
                    actor.coroutine.close()

    def _step(self, actor: Actor) -> None:
        self.current, actor.until = actor, inf
        assert actor.coroutine is not None
        try:
            if actor.steps == actor.doomed:
                actor.context.run(actor.coroutine.throw, Killed())
            else:
                actor.context.run(actor.coroutine.send, None)
        except (StopIteration, Killed):
            actor.done = True
        finally:
            actor.steps += 1
            self.current = None


# What should be.


@dataclass(eq=False)
class Round:
    """What a call has done since it last paused.

    Attributes:
        order: of the endpoints, when it began; None: nobody knows.
        behind: those that it has tried or come past.
        excused: those that it may have come past, in an order that nobody knows.
    """

    order: list[Endpoint] | None
    behind: list[Endpoint] = field(default_factory=list)
    excused: set[Endpoint] = field(default_factory=set)


@dataclass(eq=False)
class Call:
    """One call, as the referee sees it."""

    began: float
    deadline: float | None
    round: Round | None = None
    preferences: int = 0  # that had been said when it began
    rounds: int = 0
    parked: bool = False
    last_end: float = -inf
    error: BaseException | None = None
    failed: set[Endpoint] = field(default_factory=set)
    at: tuple[Endpoint, int] | None = None  # where it is trying now, and in which chapter


class Referee:
    """Sees all that happens and says at once what should not.

    Args:
        endpoints: in the order in which they were given.
        order: "sticky", "in_order", "shuffled".
        doors: the circuit of each.
        now: the clock.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], order: str, doors: dict[Endpoint, Doorkeeper], now: Callable[[], float]
    ) -> None:
        self.endpoints, self.order, self.doors, self.now = list(endpoints), order, doors, now
        self.current = self.endpoints[0]
        self.preferred: Endpoint | None = None
        self.preferences = 0
        self._either: Endpoint | None = None
        self.calls: dict[object, Call] = {}
        self.attempts: dict[Endpoint, int] = dict.fromkeys(endpoints, 0)
        self.probes = 0
        self.failovers = 0
        self.parked = 0

    def begins(self, caller: object, deadline: float | None) -> None:
        """Hear of a new call."""
        self.calls[caller] = Call(self.now(), deadline, preferences=self.preferences)

    def tries(self, caller: object, endpoint: Endpoint) -> None:
        """Hear of an attempt that begins."""
        call, door, now = self.calls[caller], self.doors[endpoint], self.now()
        assert door.gives_leave(now), f"{endpoint} turns calls away, and is tried"
        limit = inf if call.deadline is None else call.began + call.deadline + LATE
        assert now <= limit, f"an attempt begins {now - limit:g} s too late"
        if call.round is None:
            call.round = Round(self._order())
            call.rounds += 1
        else:
            assert call.round.behind
            assert now == call.last_end, "time has passed between two endpoints of one round"
            assert endpoint not in call.round.behind, f"{endpoint} is tried twice in one round"
            self.failovers += 1
        self._is_next(call, endpoint)
        call.parked = False
        call.at = endpoint, door.admit(caller)
        self.attempts[endpoint] += 1
        self.probes += not door.is_closed

    def _order(self) -> list[Endpoint] | None:
        if self.order == "shuffled":
            return None
        if self.order == "in_order":
            return self.endpoints
        return [self.current, *(it for it in self.endpoints if it != self.current)]

    def _is_next(self, call: Call, endpoint: Endpoint) -> None:
        """It is the first that gives leave, of those that this round has not come past."""
        assert call.round is not None
        its = call.round
        if its.order is None:
            its.behind.append(endpoint)
            its.excused.update(it for it, door in self.doors.items() if not door.gives_leave(self.now()))
            return
        wrong: list[str] = []
        for order in (its.order, self._order()):  # while it failed, others may have found a better one
            assert order is not None
            before = [it for it in order[: order.index(endpoint)] if it not in its.behind]
            leaving = [it for it in before if self.doors[it].gives_leave(self.now())]
            if not leaving:
                its.behind += [*before, endpoint]
                return
            wrong += map(str, leaving)
        # Who waited, and was let go by a circuit that closed, probes no other before.
        let_go = call.parked and self.doors[endpoint].is_closed
        closed = [it for it in before if self.doors[it].is_closed and not self.doors[it].is_isolated]
        assert let_go, f"{endpoint} is tried, and {', '.join(wrong)} stands before it"
        assert not closed, f"{endpoint} is tried, and {', '.join(map(str, closed))} stands before it and is closed"
        its.behind += [*(it for it in before if not self.doors[it].gives_leave(self.now())), endpoint]

    def fails(self, caller: object, error: BaseException | None, *, answered: bool = False) -> None:
        """Hear that the attempt has ended with an error of the client's; None: it was killed."""
        call = self.calls[caller]
        assert call.at is not None
        endpoint, chapter = call.at
        call.at, call.last_end, call.error = None, self.now(), error
        call.failed.add(endpoint)
        self.doors[endpoint].report(caller, chapter, None if error is None else answered, self.now())

    def succeeds(self, caller: object) -> None:
        """Hear that the attempt has succeeded: sticky calls stay there, if this one came past where they began."""
        call = self.calls[caller]
        assert call.at is not None
        assert call.round is not None
        endpoint, chapter = call.at
        self.doors[endpoint].report(caller, chapter, True, self.now())
        del self.calls[caller]
        if self.order == "sticky" and endpoint != self.current and self.current in call.round.behind:
            if self.preferred == self.current and self.current not in call.failed:
                return  # it is preferred, and has not refused
            if self.preferences == call.preferences:
                self.current = endpoint
            else:  # somebody has spoken since it began: it may hold what it saw for older than that, or for newer
                self._either = endpoint

    def begins_at(self, endpoint: Endpoint) -> bool:
        """Whether it may be here that sticky calls begin."""
        if endpoint == self._either:
            self.current = endpoint
        self._either = None
        return self.order != "sticky" or endpoint == self.current

    def backs_off(self, caller: object, attempt: int) -> None:
        """Hear that a call takes its backoff."""
        self._round_ends(caller)
        assert attempt == self.calls[caller].rounds, "attempts are rounds"
        assert any(door.is_closed for door in self.doors.values()), "every circuit is open, and the call does not park"

    def parks(self, caller: object) -> None:
        """Hear that a call parks."""
        now, call = self.now(), self.calls[caller]
        self._round_ends(caller)
        others = any(other.parked for other in self.calls.values())  # who may be about to be let go there, in batches
        free = [str(it) for it, door in self.doors.items() if door.is_closed]
        assert others or not free, f"it parks, and {', '.join(free)} is closed"
        call.parked = True
        self.parked += 1
        assert call.deadline is None or now <= call.began + call.deadline

    def _round_ends(self, caller: object) -> None:
        call, now = self.calls[caller], self.now()
        if call.round is None:
            return
        past = {*call.round.behind, *call.round.excused}
        missed = [it for it in self.endpoints if it not in past and self.doors[it].gives_leave(now)]
        late = call.deadline is not None and now > call.began + call.deadline + LATE
        assert late or not missed, f"a pause comes before {', '.join(map(str, missed))} was tried"
        call.round = None

    def ends(self, caller: object, error: BaseException) -> None:
        """Hear that the call has raised: its own last error, or that no circuit let it run; in time."""
        call, now = self.calls.pop(caller), self.now()
        if call.rounds:
            assert error is call.error, "another error than the client's last comes out"
        limit = inf if call.deadline is None else call.began + call.deadline
        assert now <= max(limit, call.last_end), f"the call ends {now - limit:g} s after its deadline"

    def is_killed(self, caller: object) -> None:
        """Hear that the call was killed: what it held is free."""
        call = self.calls.pop(caller)
        if call.at is not None:
            endpoint, chapter = call.at
            self.doors[endpoint].report(caller, chapter, None, self.now())

    # By hand.

    def prefer(self, endpoint: Endpoint) -> None:
        """Hear that calls should begin there."""
        self._either, self.current, self.preferred = None, endpoint, endpoint
        self.preferences += 1
