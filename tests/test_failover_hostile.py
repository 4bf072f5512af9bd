"""Failover among cancelled tasks, Ctrl-C, forks, observers that misbehave and circuits inside of circuits."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import linecache
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import trio
from drivers import QUIET, Driver, refusal
from outages import Actor, Stage
from test_breaker_hostile import Interrupt, SteppedClock, Yield, fork, has_fork, in_a_thread

from resilient import (
    Backoff,
    CircuitBreaker,
    CircuitBreakers,
    Endpoint,
    Targets,
    attempts,
    clock,
    retry_on_refused,
)
from resilient.testing import FakeClock, late_server, refused_port

A, B, C = (Endpoint.parse(f"db-{letter}:5432") for letter in "abc")
TEN = Backoff(initial=10, maximum=40, jitter="none")
PATIENT = QUIET.replace(deadline=None)


def breakers(trip_after: int = 1, **settings: Any) -> CircuitBreakers:
    """Circuits that open at the first failure and say nothing."""
    return CircuitBreakers(trip_after=trip_after, **{"cooldown": TEN, "observers": (), **settings})


def trip(circuit: CircuitBreaker) -> CircuitBreaker:
    circuit.settle(circuit.admit(), refusal("the first"))
    assert circuit.state == "open"
    return circuit


def tripped(*endpoints: Endpoint, **settings: Any) -> CircuitBreakers:
    circuits = breakers(**settings)
    for endpoint in endpoints:
        trip(circuits[endpoint])
    return circuits


def nothing_is_left(circuits: CircuitBreakers, *endpoints: Endpoint) -> None:
    for endpoint in endpoints or (A, B):
        circuit = circuits[endpoint]
        lot = circuit._lot
        assert (circuit.parked, lot._told, dict(lot._hosts)) == (0, [], {})
        assert not circuit.snapshot().probing


class Cluster:
    """Endpoints of which some are up: who tried which, and when.

    Attributes:
        up: those that serve.
        tried: all attempts.
        raised: the last error.
    """

    def __init__(self, *up: Endpoint) -> None:
        self.up: set[Endpoint] = set(up)
        self.tried: list[Endpoint] = []
        self.raised: BaseException | None = None

    def __call__(self, endpoint: Endpoint) -> str:
        self.tried.append(endpoint)
        if endpoint in self.up:
            return str(endpoint)
        self.raised = refusal(str(endpoint))
        raise self.raised

    async def connect(self, endpoint: Endpoint) -> str:
        await asyncio.sleep(0)
        return self(endpoint)


def fails(driver: Driver, function: Callable[[Endpoint], Any], **settings: Any) -> BaseException:
    """Call `function` protected at `targets`, and return the error that comes out."""
    protected = driver.protect_at(function, **settings)
    try:
        driver.run(protected)
    except Exception as error:
        return error
    raise AssertionError("it succeeded")


# Cancelled wherever it waits.


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("form", ["function", "block", "adopted"])
def test_whatever_is_thrown_into_a_coroutine_at_whatever_await(error: type[BaseException], form: str) -> None:
    """Trying the first, trying the second, parked on both, probing either: nothing is left, and others go on."""
    steps, ended, seen = 0, False, set[str]()
    while not ended:
        its_clock = SteppedClock()
        clock.put(its_clock)
        try:
            circuits, cluster = tripped(A, B), Cluster()

            async def connect(endpoint: Endpoint, cluster: Cluster = cluster) -> str:
                if len(cluster.tried) == 4:
                    cluster.up.add(endpoint)
                await Yield()
                return cluster(endpoint)

            settings: dict[str, Any] = {"policy": PATIENT, "targets": (A, B), "breaker": circuits}

            async def block(settings: dict[str, Any] = settings, connect: Any = connect) -> str:
                async for attempt in attempts(**settings):
                    with attempt:
                        return await connect(attempt.endpoint)
                raise AssertionError("the loop ended without an answer")

            if form == "block":
                coroutine: Any = block()
            elif form == "function":
                coroutine = retry_on_refused(connect, **settings)()
            else:
                adopted = retry_on_refused(lambda endpoint, connect=connect: connect(endpoint), **settings)
                circuits[A].reset()
                adopted().close()  # it is known from now on that it gives coroutines
                trip(circuits[A])
                coroutine = adopted()
            try:
                for _ in range(steps):
                    coroutine.send(None)
            except StopIteration:
                ended = True
            else:
                waits = circuits[A].parked + circuits[B].parked
                probes = circuits[A].snapshot().probing, circuits[B].snapshot().probing
                seen.add(f"parked {waits}" if waits else f"probing {probes}")
                if error is GeneratorExit:
                    coroutine.close()
                else:
                    with pytest.raises(error):
                        coroutine.throw(error())
            nothing_is_left(circuits)
            its_clock.advance(100)
            assert retry_on_refused(Cluster(B), **settings)() == str(B)
        finally:
            clock.put(None)
        steps += 1
    assert {"parked 2", "probing (True, False)", "probing (False, True)"} <= seen


@pytest.mark.parametrize("form", ["function", "block"])
@pytest.mark.parametrize("world", ["asyncio", "trio"])
@pytest.mark.parametrize("steps", range(9))
def test_a_task_cancelled_at_any_step_leaves_nothing_in_either_line(world: str, form: str, steps: int) -> None:
    """On real loops, and in real time; a second task goes on, and is served."""
    circuits = breakers(cooldown=Backoff(initial=0.001, maximum=0.001, jitter="none"))
    for endpoint in (A, B):
        trip(circuits[endpoint])
    cluster = Cluster()
    settings: dict[str, Any] = {"policy": PATIENT, "targets": (A, B), "breaker": circuits}
    sleep: Any = asyncio.sleep if world == "asyncio" else trio.sleep

    async def connect(endpoint: Endpoint) -> str:
        await sleep(0)
        return cluster(endpoint)

    async def block() -> str:
        async for attempt in attempts(**settings):
            with attempt:
                return await connect(attempt.endpoint)  # type: ignore[arg-type]
        raise AssertionError("the loop ended without an answer")

    start = block if form == "block" else retry_on_refused(connect, **settings)
    served: list[str] = []

    async def stays() -> None:
        served.append(await start())

    async def main() -> None:
        doomed, other = asyncio.ensure_future(start()), asyncio.ensure_future(stays())
        for _ in range(steps):
            await asyncio.sleep(0.0004)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        cluster.up.add(B)
        await other

    async def main_trio() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stays)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    inner.start_soon(start)
                    for _ in range(steps):
                        await trio.sleep(0.0004)
                    scope.cancel()
            cluster.up.add(B)

    asyncio.run(main()) if world == "asyncio" else trio.run(main_trio)
    assert served == [str(B)]
    nothing_is_left(circuits)


@pytest.mark.parametrize("one_loop", [False, True], ids=["each by itself", "one loop"])
def test_no_turn_is_lost_with_a_caller_that_is_killed(one_loop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After whichever of its steps: five others wait for the same two endpoints, and all are served in time."""
    host = object()
    monkeypatch.setattr(clock, "host", lambda: host if one_loop else None)
    for doomed in range(14):
        for seed in range(6):
            stage = Stage(seed)
            circuits, served = breakers(cooldown=Backoff(initial=1, maximum=1, jitter="none")), list[float]()

            async def connect(endpoint: Endpoint, stage: Stage = stage) -> str:
                await stage.sleep_async(0.125, None, stage)
                if endpoint == B and stage.now() >= 4:
                    return "connected"
                raise refusal()

            protected = retry_on_refused(connect, policy=PATIENT, targets=(A, B), breaker=circuits)

            async def call(stage: Stage = stage, protected: Any = protected, served: list[float] = served) -> None:
                await protected()
                served.append(stage.now())

            stage.play([Actor(f"caller {number}", call, doomed=None if number else doomed) for number in range(6)])
            nothing_is_left(circuits)
            assert len(served) >= 5
            assert max(served) < 4 + 1 + 2 * 0.25 + 1


# Ctrl-C.

PLACES = ("_sync.py", "_attempt.py", "_recovery.py", "_circuits.py", "_plan.py", "failover.py", "_core.py")

NEVER_THERE = ("with ", "try:")
"""No signal is delivered on a line that does nothing, nor between taking a lock and the block that gives it back."""


Line = tuple[str, int]


def lines_of(function: Callable[[], Any], interrupt_at: int | None = None) -> list[Line]:
    """Call `function` and return the lines that it ran there, up to the one at which it was interrupted."""
    ran: list[Line] = []

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.endswith(PLACES) or frame.f_code.co_name == "__del__":  # what is raised there is lost anyway
            return None
        if event == "line" and not linecache.getline(name, frame.f_lineno).strip().startswith(NEVER_THERE):
            ran.append((name, frame.f_lineno))
            if len(ran) - 1 == interrupt_at:
                sys.settrace(before)
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(Interrupt):
            contextvars.copy_context().run(function)
    finally:
        sys.settrace(before)
    return ran


class Alone(FakeClock):
    """A clock for one caller who has nobody to wait for."""

    def sleep(self, seconds: float, cancellation: Any, caller: Any) -> None:
        key = None if cancellation is None else cancellation._watch(lambda: True)
        self.advance(seconds)
        if cancellation is not None:
            cancellation._unwatch(key)


@pytest.fixture
def alone() -> Iterator[Alone]:
    its = Alone()
    clock.put(its)
    yield its
    clock.put(None)


class Interrupted:
    """A call that is refused by both of two endpoints, parks, is refused again, parks, and is served."""

    def __init__(self, form: str) -> None:
        self.circuits, self.cluster = breakers(), Cluster()
        self.settings: dict[str, Any] = {"policy": PATIENT, "targets": (A, B), "breaker": self.circuits}
        self.call = self._block if form == "block" else retry_on_refused(self._connect, **self.settings)

    def _connect(self, endpoint: Endpoint) -> str:
        if len(self.cluster.tried) == 4:
            self.cluster.up.add(endpoint)
        return self.cluster(endpoint)

    def _block(self) -> str:
        for attempt in attempts(**self.settings):
            with attempt:
                return self._connect(attempt.endpoint)  # type: ignore[arg-type]
        raise AssertionError("the loop ended without an answer")

    def probing(self) -> bool:
        return any(self.circuits[endpoint].snapshot().probing for endpoint in (A, B))

    def check(self, clock: FakeClock) -> None:
        """Its places and its turns are free, no lock is held, and the next caller gets through."""
        for endpoint in (A, B):
            lot = self.circuits[endpoint]._lot
            assert (len(lot), lot._told, dict(lot._hosts)) == (0, [], {})
        clock.advance(100)
        for endpoint in (A, B):
            connect = retry_on_refused(Cluster(endpoint), policy=PATIENT, targets=(endpoint,), breaker=self.circuits)
            assert connect() == str(endpoint)


@in_a_thread
@pytest.mark.parametrize("form", ["function", "block"])
def test_an_interrupt_at_any_line_of_a_call_with_two_endpoints_leaves_both_lines(form: str, alone: Alone) -> None:
    """When the line runs for the first time, and when it runs for the last."""
    its = Interrupted(form)
    ran = lines_of(its.call)
    assert its.cluster.tried == [A, B, A, B, A]
    places = {ran.index(line) for line in set(ran)} | {len(ran) - 1 - ran[::-1].index(line) for line in set(ran)}
    assert len(places) > 200
    if form == "block":  # all but its own driver is the same
        places = {place for place in places if ran[place][0].endswith(("_sync.py", "_attempt.py"))}
    lost: set[str] = set()
    interrupted = 0
    for place in sorted(places):
        its = Interrupted(form)
        reached = lines_of(its.call, place)
        interrupted += len(reached) == place + 1
        if its.probing():
            lost.add(linecache.getline(*reached[-1]).strip())
        its.check(alone)
    assert interrupted >= len(places) - 9  # a line may run once in ten seconds only, or the first time
    # Before its block begins, an attempt gives the probe back when it is collected; here the client's errors hold it.
    assert lost <= (set() if form == "function" else {"if self._entered:", "return self"})


# Fork.

PARKED_ON_TWO = """
circuits = CircuitBreakers(trip_after=1, cooldown=Backoff(initial=0.05, maximum=0.05, jitter="none"), observers=())
targets = Targets("a:1", "b:1")
connect = retry_on_refused(lambda endpoint: str(endpoint), policy=policy, targets=targets, breaker=circuits)
both = [circuits[it] for it in targets.endpoints]
for circuit in both:
    circuit.settle(circuit.admit(), "failure")
time.sleep(0.06)
permits = [circuit.admit() for circuit in both]
"""


@has_fork
def test_a_child_that_is_forked_while_calls_are_parked_on_two_has_none_of_them() -> None:
    """They are threads of the parent, and go on there."""
    assert fork(
        PARKED_ON_TWO
        + """
results = []
threads = [threading.Thread(target=lambda: results.append(connect())) for _ in range(5)]
for thread in threads:
    thread.start()
while min(circuit.parked for circuit in both) < 5:
    time.sleep(0.001)

def check():
    assert [circuit.snapshot().parked for circuit in both] == [0, 0]
    assert connect() == "a:1"
    assert [circuit.state for circuit in both] == ["closed", "half-open"]

print(in_child(check))
print([circuit.parked for circuit in both])
both[1].settle(permits[1], "success")
for thread in threads:
    thread.join(5)
print(set(results), len(results), [circuit.parked for circuit in both], both[0].state)
"""
    ) == ["0", "[5, 5]", "{'b:1'} 5 [0, 0] half-open"]


@has_fork
def test_a_call_that_is_forked_while_it_is_parked_on_two_ends_in_both_processes() -> None:
    """An observer forks in the middle of parking: the child has lines of its own, and stands in them."""
    assert fork(
        PARKED_ON_TWO
        + """
codes = []

def observe(event):
    if isinstance(event, CallParked) and not codes:
        codes.append(os.fork())
        if codes[0]:
            threading.Timer(0.1, lambda: both[0].settle(permits[0], "success")).start()

connect = retry_on_refused(
    lambda endpoint: str(endpoint), policy=policy.replace(observers=(observe,)), targets=targets, breaker=circuits
)
answer = connect()
left = [circuit.parked for circuit in both]
if not codes[0]:
    os._exit(0 if left == [0, 0] and answer == "a:1" else 1)
print(os.waitstatus_to_exitcode(os.waitpid(codes[0], 0)[1]), answer, left)
"""
    ) == ["0 a:1 [0, 0]"]


# Loops and threads together.


def test_two_loops_and_eight_threads_share_endpoints_and_circuits() -> None:
    """One probe at a time at each endpoint; all are served by the one that comes up."""
    cooldown = Backoff(initial=0.02, maximum=0.1, jitter="none")
    with refused_port() as dead, late_server() as late:
        targets = Targets(f"127.0.0.1:{dead}", late.target)
        circuits, policy = breakers(cooldown=cooldown), QUIET.replace(deadline=20)
        settings: dict[str, Any] = {"policy": policy, "targets": targets, "breaker": circuits}
        lock, under_way, most, served = threading.Lock(), dict.fromkeys(targets.endpoints, 0), [0], list[str]()

        @contextlib.contextmanager
        def on_the_wire(endpoint: Endpoint) -> Iterator[None]:
            with lock:
                under_way[endpoint] += 1
                if circuits[endpoint].state != "closed":
                    most[0] = max(most[0], under_way[endpoint])
            try:
                yield
            finally:
                with lock:
                    under_way[endpoint] -= 1

        @retry_on_refused(**settings)
        def connect(endpoint: Endpoint) -> None:
            with on_the_wire(endpoint):
                socket.create_connection((endpoint.host, endpoint.port), timeout=5).close()
                served.append(str(endpoint))

        @retry_on_refused(**settings)
        async def connect_async(endpoint: Endpoint) -> None:
            with on_the_wire(endpoint):
                _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
                writer.close()
                served.append(str(endpoint))

        async def loop() -> None:
            await asyncio.gather(*(connect_async() for _ in range(20)))

        for circuit in (circuits[endpoint] for endpoint in targets.endpoints):
            trip(circuit)
        runs: list[Callable[[], object]] = [lambda: asyncio.run(loop())] * 2 + [connect] * 8
        threads = [threading.Thread(target=run, daemon=True) for run in runs]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 20
        while circuits[targets.endpoints[1]].parked < 46:  # two may be probing
            assert time.monotonic() < until
            time.sleep(0.002)
        late.up()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert served == [late.target] * 48
        assert most == [1]
        assert targets.current == targets.endpoints[1]
        nothing_is_left(circuits, *targets.endpoints)


def test_a_thousand_coroutines_spare_three_dead_endpoints_and_the_one_that_comes_back() -> None:
    """Refused connects: one of each caller and endpoint, and then one probe of an endpoint in a cooldown."""
    callers, cooldown = 1000, Backoff(initial=0.1, maximum=0.4, jitter="none")
    with refused_port() as first, refused_port() as second, late_server(backlog=1024) as late:
        targets = Targets(f"127.0.0.1:{first}", f"127.0.0.1:{second}", late.target)
        circuits, refused, served = breakers(trip_after=5, cooldown=cooldown), list[Endpoint](), list[Endpoint]()
        begun = time.monotonic()

        @retry_on_refused(policy=QUIET.replace(deadline=60), targets=targets, breaker=circuits)
        async def connect(endpoint: Endpoint) -> None:
            try:
                _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            except ConnectionRefusedError:
                refused.append(endpoint)
                raise
            writer.close()
            served.append(endpoint)

        async def main() -> tuple[int, float]:
            tasks = [asyncio.ensure_future(connect()) for _ in range(callers)]
            while min(circuits[endpoint].parked for endpoint in targets.endpoints) < callers - 3:
                await asyncio.sleep(0.01)
            before, since = len(refused), time.monotonic()
            await asyncio.sleep(1)
            probes, took = len(refused) - before, time.monotonic() - since
            late.up()
            await asyncio.gather(*tasks)
            return probes, took

        probes, took = asyncio.run(main())
    assert served == [targets.endpoints[2]] * callers
    assert probes <= 3 * (took / 0.4 + 3)
    assert len(refused) <= 3 * callers + 3 * ((time.monotonic() - begun) / 0.4 + 3)
    nothing_is_left(circuits, *targets.endpoints)


@pytest.mark.parametrize("one_loop", [False, True], ids=["each by itself", "one loop"])
def test_who_waits_for_three_is_let_go_in_batches(one_loop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, two, four: never many more than have come back, to whichever endpoint it was that came up."""
    host = object()
    monkeypatch.setattr(clock, "host", lambda: host if one_loop else None)
    for place in range(3):
        stage, begun, settled = Stage(place), [0], [0]
        back = (A, B, C)[place]

        async def connect(
            endpoint: Endpoint,
            stage: Stage = stage,
            back: Endpoint = back,
            begun: list[int] = begun,
            settled: list[int] = settled,
        ) -> None:
            if endpoint != back or stage.now() < 5:
                raise refusal()
            begun[0] += 1
            assert begun[0] <= 4 * settled[0] + 4
            await stage.sleep_async(0.02, None, stage)
            settled[0] += 1

        circuits = breakers(cooldown=Backoff(initial=1, maximum=1, jitter="none"))
        protected = retry_on_refused(connect, policy=PATIENT, targets=(A, B, C), breaker=circuits)
        stage.play([Actor(f"caller {number}", protected) for number in range(300)])
        assert settled == [300]
        assert stage.now() < 7
        nothing_is_left(circuits, A, B, C)


def test_while_endpoints_take_turns_nobody_fails_and_nobody_is_in_the_way() -> None:
    """Three that flap, one of them up at any time, and a hundred callers that never pause for long."""
    stage, refused, served = Stage(1), list[float](), list[float]()

    async def connect(endpoint: Endpoint) -> None:
        await stage.sleep_async(0.01, None, stage)
        if (A, B, C).index(endpoint) != int(stage.now() // 0.5) % 3:
            refused.append(stage.now())
            raise refusal()
        served.append(stage.now())

    circuits = breakers(trip_after=5, cooldown=Backoff(initial=0.05, maximum=0.2, jitter="none"))
    policy = QUIET.replace(deadline=3, backoff=Backoff(initial=0.05, maximum=0.2, jitter="none"))
    protected = retry_on_refused(connect, policy=policy, targets=(A, B, C), breaker=circuits)

    async def call() -> None:
        while stage.now() < 6:
            await protected()
            await stage.sleep_async(0.1, None, stage)

    stage.play([Actor(f"caller {number}", call) for number in range(100)], most=200_000)
    assert len(served) > 2500
    assert len(refused) < len(served)
    nothing_is_left(circuits, A, B, C)


def test_threads_that_hammer_flapping_endpoints_leave_no_circuit_stuck() -> None:
    """No permit is lost: in the end, every endpoint can be reached."""
    cooldown = Backoff(initial=0.001, maximum=0.002, jitter="none")
    circuits, cluster, over = breakers(trip_after=2, cooldown=cooldown), Cluster(A, B), threading.Event()
    policy = QUIET.replace(deadline=10, backoff=Backoff(initial=0.001, maximum=0.001))
    connect = retry_on_refused(cluster, policy=policy, targets=(A, B), breaker=circuits)
    wrong: list[BaseException] = []

    def hammer() -> None:
        try:
            while not over.is_set():
                connect()
        except BaseException as error:
            wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=hammer, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for number in range(100):
            cluster.up = [{A}, {B}, {A, B}, set[Endpoint]()][number % 4]
            time.sleep(0.004)
        cluster.up = {A, B}
        over.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
    assert len(set(cluster.tried)) == 2
    nothing_is_left(circuits)
    for endpoint in (A, B):
        assert retry_on_refused(cluster, policy=policy, targets=(endpoint,), breaker=circuits)() == str(endpoint)
        assert circuits[endpoint].state == "closed"
