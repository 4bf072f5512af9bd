"""Threads on one breaker, in every order that one preemption allows, and in many random ones.

A small scheduler lets one thread run at a time, and decides at each point where another might step in: where the clock
is read, round the breaker's lock, at each wake-up and inside the user's function. Time passes only when nobody can run.
So a caller that nobody will wake is found at once: everybody sleeps, and nobody has an alarm set.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from resilient import Backoff, CircuitBreaker, CircuitOpenError, Policy, _circuit, clock, retry_on_refused
from resilient._circuit import Circuit, Outcome, Permit, Rules
from resilient._circuit import admit as _admit
from resilient._parking import Lot, Waiter
from resilient.clock import Cancellation

if TYPE_CHECKING:
    from resilient.clock import Caller, Signal

COOLDOWN = 0.1
ENOUGH = 10.0  # seconds of play; a lost probe is replaced after 30
ROUNDS = 50  # random schedules of one story
SWITCHES = 0.15  # how often a random schedule preempts
PATIENCE = 20.0  # real seconds until a schedule that hangs is given up


class Abort(BaseException):
    """Ends a thread of a schedule that has failed."""


@dataclass(eq=False)
class Actor:
    """One thread: what it does, and what it waits for."""

    body: Callable[[], object]
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: bool = False
    until: float | None = None
    signal: Signal | None = None
    lock: Lock | None = None  # that it waits for
    holds: int = 0

    def ready(self, now: float) -> bool:
        """Whether it could run."""
        if self.done:
            return False
        if self.lock is not None:
            return self.lock.owner is None
        return self.until is None or now >= self.until or (self.signal is not None and self.signal.cancelled)


class Lock:
    """The breaker's lock, as far as the scheduler lets it be one."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.owner: Actor | None = None

    def __enter__(self) -> None:
        me = self.stage.current
        if me is None or self.stage.failure is not None:
            return
        if self.owner is not me:
            me.lock = self
            self.stage.point()
            me.lock = None
            self.owner = me
        me.holds += 1

    def _is_owned(self) -> bool:
        return self.owner is not None and self.owner is self.stage.current

    def __exit__(self, *_: object) -> None:
        me = self.stage.current
        if me is None or self.stage.failure is not None:
            return
        me.holds -= 1
        if not me.holds:
            self.owner = None
            self.stage.point()


class Stage:
    """One schedule: who runs at each point. It stands in for the clock as well."""

    def __init__(self, choose: Callable[[list[Actor], bool], int]) -> None:
        self.choose = choose
        self.time = 0.0
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self.failure: str | None = None
        self.over = threading.Semaphore(0)
        self.errors: list[BaseException] = []

    def now(self) -> float:
        """The time."""
        me = self.current
        if me is not None and not me.holds:  # under the lock, nobody could do more than look
            self.point()
        return self.time

    def sleep(self, seconds: float, cancellation: Signal | None, caller: Caller) -> None:
        """Let the others run until this one is due or has news."""
        me = self.current
        assert me is not None, "only actors sleep"
        me.until, me.signal = self.time + seconds, cancellation
        key = None if cancellation is None else cancellation._watch(self.point)
        try:
            self.point(asleep=True)
        finally:
            me.until = me.signal = None
            if cancellation is not None:
                cancellation._unwatch(key)

    async def sleep_async(self, seconds: float, cancellation: Signal | None, caller: Caller) -> None:
        """No coroutine plays here."""
        raise NotImplementedError

    def point(self, *, asleep: bool = False) -> None:
        """Let the schedule decide who goes on."""
        me = self.current
        if self.failure is not None:
            if asleep:
                raise Abort
            return
        if me is None:
            return
        following = self._next(me)
        if following is not None and following is not me:
            self.current = following
            following.go.release()
            if me.done:
                return
            me.go.acquire()
        if self.failure is not None and not me.done:
            raise Abort

    def _next(self, me: Actor) -> Actor | None:
        while True:
            ready = [actor for actor in self.actors if actor.ready(self.time)]
            if ready:
                forced = me not in ready
                if not forced:  # it comes first: to choose another is a preemption
                    ready.remove(me)
                    ready.insert(0, me)
                return ready[self.choose(ready, forced) if len(ready) > 1 else 0]
            left = [actor for actor in self.actors if not actor.done]
            if not left:
                self.over.release()
                return None
            alarms = [actor.until for actor in left if actor.until is not None and actor.until != float("inf")]
            if not alarms:
                self.fail(f"nobody will ever wake {len(left)} of {len(self.actors)} callers")
                return None
            self.time = max(self.time, min(alarms))

    def fail(self, why: str) -> None:
        """End the schedule: it has shown what is wrong."""
        self.failure = self.failure or why
        for actor in self.actors:
            if actor is not self.current:
                actor.go.release()
        self.over.release()

    def play(self, bodies: list[Callable[[], object]]) -> None:
        """Run them all to the end."""
        self.actors = [Actor(body) for body in bodies]
        threads = [threading.Thread(target=self._act, args=(actor,), daemon=True) for actor in self.actors]
        for thread in threads:
            thread.start()
        self.current = self.actors[0]
        self.current.go.release()
        assert self.over.acquire(timeout=PATIENCE), "the schedule hangs"
        for thread in threads:
            thread.join(PATIENCE)
        self.current = None
        if self.errors:
            raise self.errors[0]
        assert self.failure is None, self.failure

    def _act(self, actor: Actor) -> None:
        actor.go.acquire()
        try:
            if self.failure is None:
                actor.body()
        except Abort:
            pass
        except BaseException as error:  # it is raised where the test is
            self.errors.append(error)
        actor.done = True
        if self.failure is None:
            self.point()


class Watched(CircuitBreaker):
    """A breaker that looks, at every change, whether it keeps what it promises."""

    stage: Stage
    probes: list[Permit]
    one_thread: bool
    was_isolated: bool = False

    def __init__(self, stage: Stage, one_thread: bool) -> None:
        self.stage, self.probes, self.one_thread = stage, [], one_thread
        super().__init__(
            "db:5432",
            trip_after=1,
            cooldown=Backoff(initial=COOLDOWN, maximum=COOLDOWN, jitter="none"),
            observers=(),
        )
        self._lock = Lock(stage)  # type: ignore[assignment]

    def _set(self, circuit: Circuit) -> None:
        before = getattr(self, "_circuit", circuit)
        if circuit.epoch < before.epoch:
            self.stage.fail(f"the epoch went back from {before.epoch} to {circuit.epoch}")
        if circuit.lease < before.lease:
            self.stage.fail(f"the lease went back from {before.lease} to {circuit.lease}")
        self.was_isolated |= circuit.state == "isolated"
        super()._set(circuit)

    def try_admit(self, *, retries: bool = False) -> Permit | None:
        permit = super().try_admit(retries=retries)
        if permit is not None and permit.probe:
            self.probes.append(permit)
            live = [probe for probe in self.probes if probe.epoch == self._circuit.epoch]
            if len(live) > 1:
                self.stage.fail(f"{len(live)} probes are under way: {live}")
        return permit

    def park(self, waiter: Waiter) -> bool:
        if self.one_thread:
            waiter.host = 1
        return super().park(waiter)

    def vote(self, permit: Permit, outcome: Outcome, error: BaseException | None = None) -> None:
        if permit in self.probes:
            self.probes.remove(permit)
        super().vote(permit, outcome, error)


@dataclass
class Server:
    """Refuses so many connects, and then answers."""

    stage: Stage
    refusals: int
    connects: int = 0

    def connect(self) -> str:
        """Connect to it."""
        self.stage.point()
        self.connects += 1
        refused = self.connects <= self.refusals
        self.stage.point()
        if refused:
            raise ConnectionRefusedError(111, "Connection refused")
        return "connected"


Bodies = list[Callable[[], object]]
Story = Callable[[Stage, Watched, Server], Bodies]

ENDLESS = Policy(deadline=None, backoff=Backoff(initial=0.01, maximum=0.01, jitter="none"), observers=())


def caller(breaker: Watched, server: Server) -> Callable[[], object]:
    """Make one that connects in the end, whatever comes before, unless it is turned away by hand."""
    connect = retry_on_refused(server.connect, policy=ENDLESS, breaker=breaker)

    def body() -> None:
        try:
            assert connect() == "connected"
        except ConnectionRefusedError:
            assert breaker.was_isolated

    return body


def three_callers(stage: Stage, breaker: Watched, server: Server) -> Bodies:
    """Three callers, of whom nobody leaves before the server is back."""
    return [caller(breaker, server) for _ in range(3)]


def one_more_from_outside(stage: Stage, breaker: Watched, server: Server) -> Bodies:
    """Two that park, and one that is turned away or probes, and comes and goes as it likes."""

    def outsider() -> None:
        for _ in range(3):
            try:
                breaker.call(server.connect)
            except ConnectionRefusedError:
                stage.sleep(COOLDOWN, None, None)  # type: ignore[arg-type]

    return [caller(breaker, server), outsider, caller(breaker, server)]


def one_leaves_at_its_deadline(stage: Stage, breaker: Watched, server: Server) -> Bodies:
    """Two that stay, and one whose deadline comes when the next probe is due."""
    connect = retry_on_refused(server.connect, policy=ENDLESS.replace(deadline=2 * COOLDOWN), breaker=breaker)

    def leaver() -> None:
        with contextlib.suppress(ConnectionRefusedError):
            connect()

    return [leaver, caller(breaker, server), caller(breaker, server)]


def one_is_cancelled(stage: Stage, breaker: Watched, server: Server) -> Bodies:
    """One that stays, one that is cancelled at any time, and who cancels it."""
    cancel = Cancellation()
    connect = retry_on_refused(server.connect, policy=ENDLESS, breaker=breaker, cancel=cancel)

    def cancelled() -> None:
        with contextlib.suppress(ConnectionRefusedError):
            connect()

    return [cancelled, caller(breaker, server), cancel.cancel]


def one_is_interrupted(stage: Stage, breaker: Watched, server: Server) -> Bodies:
    """One whose call is interrupted, whether or not it is the probe, and two that stay."""

    def interrupted() -> None:
        server.connect()
        raise KeyboardInterrupt

    connect = retry_on_refused(interrupted, policy=ENDLESS, breaker=breaker)

    def body() -> None:
        with pytest.raises(KeyboardInterrupt):
            connect()

    return [body, caller(breaker, server), caller(breaker, server)]


def the_hand_resets(stage: Stage, breaker: Watched, server: Server) -> Bodies:
    """Two that park or probe while somebody closes the circuit by hand."""
    return [caller(breaker, server), caller(breaker, server), breaker.reset]


def the_hand_isolates(stage: Stage, breaker: Watched, server: Server) -> Bodies:
    """Two that park or probe while somebody isolates the circuit and releases it."""

    def hand() -> None:
        breaker.isolate()
        stage.sleep(COOLDOWN, None, None)  # type: ignore[arg-type]
        assert breaker.parked == 0
        breaker.release()

    return [caller(breaker, server), caller(breaker, server), hand]


def two_steps(stage: Stage, breaker: Watched, server: Server) -> Bodies:
    """Two that park, and one that takes a permit and says nothing of the endpoint."""

    def stepper() -> None:
        for _ in range(2):
            try:
                permit = breaker.admit()
            except CircuitOpenError:
                stage.sleep(COOLDOWN, None, None)  # type: ignore[arg-type]
            else:
                stage.point()
                assert breaker.settle(permit, "neutral")

    return [stepper, caller(breaker, server), caller(breaker, server)]


STORIES: list[Story] = [
    three_callers,
    one_more_from_outside,
    one_leaves_at_its_deadline,
    one_is_cancelled,
    one_is_interrupted,
    the_hand_resets,
    the_hand_isolates,
    two_steps,
]


def perform(
    story: Story,
    choose: Callable[[list[Actor], bool], int],
    *,
    refusals: int = 1,
    extras: int = 0,
    one_thread: bool = False,
) -> Watched:
    """Play a story once, from a circuit that has just opened; return its breaker at the end.

    `extras` more callers come last; with `one_thread` they all park as the coroutines of one event loop would.
    """
    stage = Stage(choose)
    breaker = Watched(stage, one_thread)
    server = Server(stage, refusals)
    clock.put(stage)
    try:
        with pytest.raises(ConnectionRefusedError):
            breaker.call(Server(stage, 1).connect)
        stage.play(story(stage, breaker, server) + [caller(breaker, server) for _ in range(extras)])
        at_the_end(breaker)
    finally:
        clock.put(None)
    return breaker


def at_the_end(breaker: Watched) -> None:
    """Hold what is left against what should be: nobody has stayed behind."""
    snapshot, lot = breaker.snapshot(), breaker._lot
    assert breaker.stage.time < ENOUGH, "somebody waited until the lease of a probe ran out"
    assert snapshot.parked == 0
    assert not lot._told
    assert not lot._hosts
    assert not snapshot.probing
    assert not breaker.probes
    if snapshot.state == "closed":
        assert breaker.sound is not None or snapshot.failures


def schedules(preemptions: int) -> Iterator[Callable[[list[Actor], bool], int]]:
    """Yield choosers, each for another schedule of so many preemptions at most, until there is no other."""
    prefix: list[int] = []
    while True:
        taken: list[tuple[int, int, bool]] = []  # how many could run, who was chosen, whether one had to be

        def choose(
            ready: list[Actor],
            forced: bool,
            taken: list[tuple[int, int, bool]] = taken,
            prefix: list[int] = prefix,
        ) -> int:
            chosen = prefix[len(taken)] if len(taken) < len(prefix) else 0
            taken.append((len(ready), chosen, forced))
            return chosen

        yield choose
        prefix = _following(taken, preemptions)
        if not prefix:
            return


def _following(taken: list[tuple[int, int, bool]], bound: int) -> list[int]:
    spent, costs = 0, [0]
    for _, chosen, forced in taken:
        spent += bool(chosen and not forced)
        costs.append(spent)
    for at in range(len(taken) - 1, -1, -1):
        number, chosen, forced = taken[at]
        if chosen + 1 < number and costs[at] + (not forced) <= bound:
            return [it[1] for it in taken[:at]] + [chosen + 1]
    return []


def at_random(seed: int) -> Callable[[list[Actor], bool], int]:
    """Return a chooser that lets another thread step in now and then."""
    dice = random.Random(seed)

    def choose(ready: list[Actor], forced: bool) -> int:
        return dice.randrange(len(ready)) if forced or dice.random() < SWITCHES else 0

    return choose


@pytest.mark.parametrize("story", STORIES)
def test_no_single_preemption_loses_a_caller_or_makes_a_second_probe(story: Story) -> None:
    """Every schedule with one preemption ends with nobody parked, no probe under way, and all callers answered."""
    played = 0
    for choose in schedules(preemptions=1):
        perform(story, choose, refusals=0)
        played += 1
    assert played > 20


@pytest.mark.parametrize("one_thread", [False, True], ids=["threads", "one loop"])
@pytest.mark.parametrize("story", STORIES)
def test_no_random_schedule_loses_a_caller_or_makes_a_second_probe(story: Story, one_thread: bool) -> None:
    """The same with more callers than are told of their turn, more refusals and any number of preemptions."""
    for seed in range(ROUNDS):
        perform(story, at_random(seed), refusals=seed % 4, extras=2, one_thread=one_thread)


def test_the_scheduler_finds_a_caller_that_nobody_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of the check: a turn that is not passed on is seen."""
    monkeypatch.setattr(Lot, "_tell_heirs", lambda self: [])
    with pytest.raises(AssertionError, match="nobody will ever wake"):
        perform(three_callers, at_random(0))


def test_the_scheduler_finds_a_second_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of the check: without the lease, two callers probe at once in some schedule."""

    def admit_all(circuit: Circuit, rules: Rules, now: float) -> tuple[Circuit, Permit | None]:
        return _admit(circuit._replace(lease_until=None), rules, now)

    monkeypatch.setattr(_circuit, "admit", admit_all)
    with pytest.raises(AssertionError, match="probes are under way"):
        for choose in schedules(preemptions=1):
            perform(one_more_from_outside, choose)


def test_the_scheduler_finds_a_breaker_without_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of the check: a lock that locks nobody out is seen."""
    monkeypatch.setattr(Lock, "__enter__", lambda self: self.stage.point())
    monkeypatch.setattr(Lock, "__exit__", lambda self, *_: self.stage.point())
    with pytest.raises((AssertionError, ValueError, KeyError)):
        for seed in range(20 * ROUNDS):
            perform(one_more_from_outside, at_random(seed), extras=2)
