"""Parking: a call that meets an open circuit waits for it, one probes for all, and success lets the others go."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any

import pytest
import trio
from drivers import QUIET, Client, Driver, down, noted, notes_of, on_every_driver, refusal

from resilient import (
    Backoff,
    CallParked,
    CallRecovered,
    Cancellation,
    CircuitBreaker,
    CircuitChanged,
    CircuitOpenError,
    Event,
    Policy,
    RetriesExhausted,
    RetryScheduled,
    attempts,
    retry_on_refused,
)
from resilient._parking import Lot, Waiter
from resilient.testing import FakeClock, RecordedEvents, no_retries

TEN = Backoff(initial=10, maximum=40, jitter="none")
"""A cooldown of 10, 20, 40 seconds."""

PATIENT = QUIET.replace(deadline=None)


def breaker(trip_after: int = 1, **settings: Any) -> CircuitBreaker:
    """A breaker that opens at the first failure and says nothing."""
    return CircuitBreaker("db", trip_after=trip_after, **{"cooldown": TEN, "observers": (), **settings})


def trip(circuit: CircuitBreaker) -> CircuitBreaker:
    circuit.settle(circuit.admit(), refusal("the first"))
    assert circuit.state == "open"
    return circuit


def given(circuit: CircuitBreaker, function: Callable[[], Any], **settings: Any) -> dict[str, Any]:
    """`retry_on_refused(breaker=circuit)`."""
    return {"function": function, "breaker": circuit, **settings}


def inside(circuit: CircuitBreaker, function: Callable[[], Any], **settings: Any) -> dict[str, Any]:
    """`@retry_on_refused` over `@circuit`."""
    return {"function": circuit(function), **settings}


both_ways = pytest.mark.parametrize("way", [given, inside], ids=["breaker=", "over @breaker"])
Way = Callable[..., dict[str, Any]]


class Server:
    """Refuses until it is up, on the test's clock.

    Attributes:
        refused: when it refused.
        served: when it served.
        most: how many connects were under way at a time, at most, while it refused.
    """

    def __init__(self, clock: FakeClock, up_at: float) -> None:
        self._clock = clock
        self._up_at = up_at
        self._lock = threading.Lock()
        self._now_inside = 0
        self.refused: list[float] = []
        self.served: list[float] = []
        self.most = 0

    @contextlib.contextmanager
    def connecting(self) -> Generator[None, None, None]:
        now = self._clock.now()
        up = now >= self._up_at
        with self._lock:
            self._now_inside += 1
            if not up:
                self.most = max(self.most, self._now_inside)
            (self.served if up else self.refused).append(now)
        try:
            yield
            if not up:
                raise refusal()
        finally:
            with self._lock:
                self._now_inside -= 1

    def connect(self) -> str:
        with self.connecting():
            time.sleep(0.001)
        return "connected"

    async def connect_asyncio(self) -> str:
        with self.connecting():
            await asyncio.sleep(0.001)
        return "connected"

    async def connect_trio(self) -> str:
        with self.connecting():
            await trio.sleep(0.001)
        return "connected"


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for another thread to get there."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.0005)


def started(*functions: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=function, daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    return threads


def joined(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(8)
        assert not thread.is_alive()


def failing(driver: Driver, into: list[BaseException], **settings: Any) -> Callable[[], None]:
    def run() -> None:
        into.append(driver.fail(**settings))

    return run


# A call that parks.


@on_every_driver
@both_ways
def test_a_call_waits_for_the_circuit_and_then_goes(driver: Driver, way: Way, fake_clock: FakeClock) -> None:
    """It makes one attempt: the probe."""
    circuit, client = trip(breaker()), Client()
    assert driver.call(**way(circuit, client, policy=QUIET)) == "connected"
    assert (fake_clock.now(), client.calls) == (10, 1)
    assert (circuit.state, circuit.parked) == ("closed", 0)


@on_every_driver
@both_ways
def test_a_call_that_opens_the_circuit_parks_on_it(driver: Driver, way: Way, fake_clock: FakeClock) -> None:
    """Its probes are its attempts, and the cooldown stands in the place of its own backoff."""
    circuit, client = breaker(), Client(refusal(), refusal())
    assert driver.call(**way(circuit, client, policy=QUIET)) == "connected"
    assert (fake_clock.now(), client.calls) == (30, 3)
    assert circuit.state == "closed"


@on_every_driver
@both_ways
def test_parking_burns_no_attempt(driver: Driver, way: Way, fake_clock: FakeClock) -> None:
    """Three attempts are three connects, with the circuit open between them."""
    circuit, client = trip(breaker()), down()
    error = driver.fail(**way(circuit, client, policy=PATIENT.replace(attempts=3)))
    assert error is client.raised
    assert (client.calls, fake_clock.now()) == (3, 70)
    assert notes_of(error) == noted("resilient: gave up after 3 attempts in 70.0 s (limit 3 attempts)")
    assert circuit.parked == 0


@on_every_driver
def test_a_call_below_the_trip_keeps_its_own_backoff(driver: Driver, fake_clock: FakeClock) -> None:
    """As if there were no breaker."""
    circuit, client = breaker(trip_after=3), Client(refusal(), refusal())
    policy = QUIET.replace(backoff=Backoff(initial=1, maximum=1, jitter="none"))
    assert driver.call(client, policy=policy, breaker=circuit) == "connected"
    assert (fake_clock.sleeps, circuit.state) == ([1, 1], "closed")


@on_every_driver
@both_ways
def test_an_answer_that_is_an_error_passes_at_once(driver: Driver, way: Way, fake_clock: FakeClock) -> None:
    """Untouched, and it closes the circuit: the endpoint answered."""
    circuit, answer = trip(breaker()), ValueError("a wrong password, say")
    error = driver.fail(**way(circuit, Client(answer), policy=QUIET))
    assert error is answer
    assert (error.__context__, error.__cause__, notes_of(error)) == (None, None, [])
    assert (circuit.state, circuit.parked, fake_clock.now()) == ("closed", 0, 10)


@on_every_driver
def test_a_rejection_that_the_client_wrapped_is_met_as_well(driver: Driver, fake_clock: FakeClock) -> None:
    """With `raise ... from`."""
    circuit, client = trip(breaker()), Client()

    def connect() -> Any:
        try:
            return circuit.call(client)
        except CircuitOpenError as error:
            raise OSError("no connection") from error

    assert driver.call(connect, policy=QUIET) == "connected"
    assert (fake_clock.now(), client.calls) == (10, 1)


@on_every_driver
def test_what_a_probe_calls_through_the_same_breaker_is_a_part_of_it(driver: Driver, fake_clock: FakeClock) -> None:
    """Given as `breaker=` and round the function as well, it would else wait for its own probe."""
    circuit = trip(CircuitBreaker("given twice", trip_after=1, cooldown=TEN, observers=()))
    fake_clock.advance(10)
    assert driver.call(circuit(Client()), policy=QUIET, breaker=circuit) == "connected"
    assert fake_clock.now() == 10
    assert (circuit.state, circuit.parked) == ("closed", 0)


@on_every_driver
@pytest.mark.parametrize("up", [True, False])
def test_a_breaker_round_a_call_that_retries_behind_it_does_not_hang(
    driver: Driver, up: bool, fake_clock: FakeClock
) -> None:
    """The wrong way round: what is inside is a part of the probe, and does not wait for it."""
    circuit = trip(CircuitBreaker("the wrong way round", trip_after=1, cooldown=TEN, observers=()))
    fake_clock.advance(10)
    client = Client() if up else down()
    protected = circuit(driver.protect(client, policy=QUIET, breaker=circuit))
    if up:
        assert driver.run(protected) == "connected"
    else:
        with pytest.raises(ConnectionRefusedError) as caught:
            driver.run(protected)
        assert caught.value is client.raised
    assert (fake_clock.now(), client.calls, circuit.parked) == (10, 1, 0)
    assert circuit.state == ("closed" if up else "open")


# How it ends.


@on_every_driver
@both_ways
def test_the_deadline_of_a_call_that_never_ran(
    driver: Driver, way: Way, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Another's probe hangs: `CircuitOpenError`, after no attempt, at the deadline."""
    circuit, client = trip(breaker()), Client()
    fake_clock.advance(10)
    circuit.admit()
    error = driver.fail(**way(circuit, client, policy=QUIET.replace(deadline=5)))
    assert isinstance(error, CircuitOpenError)
    assert (error.breaker, client.calls, fake_clock.now(), circuit.parked) == ("db", 0, 15, 0)
    assert notes_of(error) == noted("resilient: gave up after 0 attempts in 5.0 s (deadline 5 s)")
    (given_up,) = recorded_events.of(RetriesExhausted)
    assert (given_up.attempt, given_up.elapsed, given_up.reason) == (0, 5, "deadline 5 s")
    assert given_up.error_type == "resilient.errors.CircuitOpenError"


@on_every_driver
@both_ways
def test_the_deadline_of_a_call_that_ran(
    driver: Driver, way: Way, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """It gets its own last error: the same object, with a note, as it was."""
    circuit, client = breaker(), down()
    error = driver.fail(**way(circuit, client, policy=QUIET.replace(deadline=35)))
    assert error is client.raised
    assert error.__context__ is None
    # It ran at 0, 10 and 30; the circuit stays open until 70.
    assert (client.calls, fake_clock.now(), circuit.parked) == (3, 30, 0)
    reason = "deadline 35 s, and circuit db is open for longer"
    assert notes_of(error) == noted(f"resilient: gave up after 3 attempts in 30.0 s ({reason})")
    (given_up,) = recorded_events.of(RetriesExhausted)
    assert (given_up.attempt, given_up.kind, given_up.reason) == (3, "refused", reason)


@on_every_driver
@both_ways
def test_a_circuit_that_stays_open_beyond_the_deadline_is_not_waited_for(
    driver: Driver, way: Way, fake_clock: FakeClock
) -> None:
    """The call ends at once."""
    circuit, client = trip(breaker()), Client()
    error = driver.fail(**way(circuit, client, policy=QUIET.replace(deadline=9.5)))
    assert isinstance(error, CircuitOpenError)
    assert (fake_clock.now(), client.calls, fake_clock.sleeps) == (0, 0, [])


@on_every_driver
@both_ways
def test_a_circuit_that_cools_down_at_the_deadline_is_waited_for(
    driver: Driver, way: Way, fake_clock: FakeClock
) -> None:
    """One last attempt is scheduled for the deadline itself."""
    circuit, client = trip(breaker()), Client()
    assert driver.call(**way(circuit, client, policy=QUIET.replace(deadline=10))) == "connected"
    assert fake_clock.now() == 10


@on_every_driver
@both_ways
def test_an_isolated_circuit_is_not_waited_for(
    driver: Driver, way: Way, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Nobody knows for how long it is."""
    circuit, client = breaker(), Client()
    circuit.isolate()
    error = driver.fail(**way(circuit, client, policy=PATIENT))
    assert isinstance(error, CircuitOpenError)
    assert (client.calls, fake_clock.sleeps, circuit.parked) == (0, [], 0)
    (given_up,) = recorded_events.of(RetriesExhausted)
    assert (given_up.attempt, given_up.reason) == (0, "circuit db is isolated")


@on_every_driver
@both_ways
@pytest.mark.parametrize("ran", [False, True], ids=["never ran", "ran"])
def test_isolating_it_ends_the_calls_that_are_parked(
    driver: Driver, way: Way, ran: bool, fake_clock: FakeClock
) -> None:
    """At once, with `CircuitOpenError`, or with its own last error."""
    circuit, client = breaker(), down()
    if not ran:
        trip(circuit)
    errors: list[BaseException] = []
    with fake_clock.hold():
        threads = started(failing(driver, errors, **way(circuit, client, policy=PATIENT)))
        wait_until(lambda: circuit.parked and fake_clock.waiting)
        circuit.isolate()
        joined(threads)
    assert (fake_clock.now(), circuit.parked, client.calls) == (0, 0, int(ran))
    assert errors[0] is client.raised if ran else isinstance(errors[0], CircuitOpenError)


@on_every_driver
@both_ways
@pytest.mark.parametrize("ran", [False, True], ids=["never ran", "ran"])
def test_a_cancellation_ends_the_calls_that_are_parked(
    driver: Driver, way: Way, ran: bool, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """From any thread, at once, with the last error."""
    circuit, client, cancel = breaker(), down(), Cancellation()
    if not ran:
        trip(circuit)
    errors: list[BaseException] = []
    with fake_clock.hold():
        threads = started(failing(driver, errors, **way(circuit, client, policy=PATIENT, cancel=cancel)))
        wait_until(lambda: circuit.parked and fake_clock.waiting)
        cancel.cancel()
        joined(threads)
    assert (fake_clock.now(), circuit.parked, client.calls) == (0, 0, int(ran))
    assert errors[0] is client.raised if ran else isinstance(errors[0], CircuitOpenError)
    (given_up,) = recorded_events.of(RetriesExhausted)
    assert (given_up.attempt, given_up.reason) == (int(ran), "cancelled")
    assert cancel._wakers == {}


@on_every_driver
def test_a_cancelled_call_does_not_park(driver: Driver, fake_clock: FakeClock) -> None:
    """There is nothing it may wait for."""
    cancel = Cancellation()
    cancel.cancel()
    error = driver.fail(Client(), policy=PATIENT, breaker=trip(breaker()), cancel=cancel)
    assert isinstance(error, CircuitOpenError)
    assert fake_clock.sleeps == []


@on_every_driver
def test_without_retries_nobody_parks(driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents) -> None:
    """`no_retries()` means: no pause, no event, no note."""
    with no_retries():
        error = driver.fail(Client(), policy=PATIENT, breaker=trip(breaker()))
    assert isinstance(error, CircuitOpenError)
    assert (fake_clock.sleeps, notes_of(error), recorded_events.of(RetriesExhausted)) == ([], [], [])


@on_every_driver
def test_a_stop_strategy_is_asked_on_waking(driver: Driver, fake_clock: FakeClock) -> None:
    """With the parked time in the elapsed time; the turn it does not take is another's."""
    circuit, client = trip(breaker()), Client()
    policy = PATIENT.replace(stop=lambda state: state.outcome_timestamp - state.start_time >= 10)
    error = driver.fail(client, policy=policy, breaker=circuit)
    assert isinstance(error, CircuitOpenError)
    assert (client.calls, fake_clock.now(), circuit.parked) == (0, 10, 0)
    assert not circuit.snapshot().probing


@on_every_driver
@both_ways
def test_the_error_of_a_parked_call_holds_nothing(driver: Driver, way: Way, fake_clock: FakeClock) -> None:
    """Its frames are cleared while it waits: no socket stays open."""

    class Socket:
        pass

    gone: list[weakref.ref[Socket]] = []
    alive: list[bool] = []

    def connect() -> str:
        if gone:
            alive.append(gone[0]() is not None)
            return "connected"
        socket = Socket()
        gone.append(weakref.ref(socket))
        raise refusal()

    gc.disable()
    try:
        assert driver.call(**way(breaker(), connect, policy=QUIET)) == "connected"
    finally:
        gc.enable()
    assert alive == [False]


# What is told.


@on_every_driver
def test_a_parked_call_is_told(driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents) -> None:
    """Once for each time it parks, with its own last error, or the circuit's."""
    circuit = trip(breaker())
    policy = QUIET.replace(deadline=100)
    driver.call(Client(refusal("the second")), policy=policy, breaker=circuit, target="db:5432")
    first, second = recorded_events.of(CallParked)
    assert (first.attempt, first.elapsed, first.kind, first.error_type) == (
        0,
        0,
        None,
        "resilient.errors.CircuitOpenError",
    )
    assert "the first" in first.error_text
    assert (second.attempt, second.elapsed, second.kind) == (1, 10, "refused")
    assert (second.error_type, second.error_text) == ("ConnectionRefusedError", "[Errno 111] the second")
    for event in (first, second):
        assert (event.breaker, event.parked, event.deadline, str(event.target)) == ("db", 1, 100, "db:5432")
    assert (first.heartbeat, second.heartbeat) == (True, True)
    assert recorded_events.of(RetryScheduled) == []
    (recovered,) = recorded_events.of(CallRecovered)
    assert (recovered.attempt, recovered.elapsed) == (2, 30)


@on_every_driver
def test_a_call_that_parked_and_then_connected_has_recovered(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """At its first attempt."""
    driver.call(Client(), policy=QUIET, breaker=trip(breaker()))
    (recovered,) = recorded_events.of(CallRecovered)
    assert (recovered.attempt, recovered.elapsed) == (1, 10)


@pytest.mark.parametrize("callers", [1, 30])
def test_an_outage_is_one_line_in_the_log_however_many_wait(
    callers: int, fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """And then at most one in ten seconds."""
    circuit = trip(breaker(cooldown=Backoff(initial=3, maximum=3, jitter="none")))
    server = Server(fake_clock, 25)
    connect = retry_on_refused(server.connect_asyncio, policy=Policy(deadline=None), breaker=circuit)

    async def main() -> None:
        await asyncio.gather(*(connect() for _ in range(callers)))

    asyncio.run(main())
    lines = [record for record in caplog.records if " for its next probe" in record.getMessage()]
    assert len(lines) == 3  # at 0, and after 10 and 20 seconds
    assert {line.levelno for line in lines} == {logging.WARNING}
    assert "circuit db is open" in lines[0].getMessage()


def test_each_outage_has_its_line(fake_clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """Also where the next follows at once."""
    circuit = breaker(cooldown=Backoff(initial=1, maximum=1, jitter="none"))
    for _ in range(3):
        trip(circuit)
        retry_on_refused(Client(), policy=Policy(), breaker=circuit)()
    assert fake_clock.now() == 3
    assert sum("for its next probe" in record.getMessage() for record in caplog.records) == 3


@pytest.mark.parametrize("problem", ["blocks", "raises", "calls back"])
def test_changes_are_told_in_order_whatever_an_observer_does(problem: str, fake_clock: FakeClock) -> None:
    """One that blocks keeps nobody from going on: what happens meanwhile is told when it is done."""
    go, blocked = threading.Event(), threading.Event()
    told: list[tuple[int, str]] = []

    def observer(event: Any) -> None:
        if problem == "blocks" and event.epoch == 1:
            blocked.set()
            assert go.wait(5)
        told.append((event.epoch, event.state))
        if problem == "raises":
            raise LookupError("of the observer's own")
        if problem == "calls back":
            circuit.snapshot()
            with contextlib.suppress(CircuitOpenError):
                circuit.settle(circuit.admit(), "neutral")

    circuit = breaker(observers=(observer,))
    threads = started(lambda: circuit.settle(circuit.admit(), "failure"))
    if problem == "blocks":
        assert blocked.wait(5)
    else:
        joined(threads)
    client = Client()
    assert retry_on_refused(client, policy=QUIET, breaker=circuit)() == "connected"
    circuit.isolate()
    circuit.reset()
    assert circuit.state == "closed"
    if problem == "blocks":
        assert told == []
    go.set()
    joined(threads)
    wait_until(lambda: len(told) >= 5)
    assert told == [(1, "open"), (2, "half-open"), (3, "closed"), (4, "isolated"), (5, "closed")]


# Many callers, one probe.


def run_tasks(world: str, main_tasks: list[Callable[[], Any]]) -> None:
    async def main() -> None:
        await asyncio.gather(*(task() for task in main_tasks))

    async def main_trio() -> None:
        async with trio.open_nursery() as nursery:
            for task in main_tasks:
                nursery.start_soon(task)

    asyncio.run(main()) if world == "asyncio" else trio.run(main_trio)


@pytest.mark.parametrize("world", ["threads", "asyncio", "trio"])
@both_ways
def test_twenty_callers_make_one_probe_at_a_time_and_burn_no_attempts(
    world: str, way: Way, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Three attempts are enough for an outage of many probes, because the turn goes round."""
    circuit, server = trip(breaker()), Server(fake_clock, 150)
    policy = PATIENT.replace(attempts=3)
    function = {"threads": server.connect, "asyncio": server.connect_asyncio, "trio": server.connect_trio}[world]
    settings = way(circuit, function, policy=policy)
    connect = retry_on_refused(settings.pop("function"), **settings)
    if world == "threads":
        with fake_clock.hold():
            threads = started(*[connect] * 20)
            wait_until(lambda: circuit.parked == fake_clock.waiting == 20)
        joined(threads)
    else:
        run_tasks(world, [connect] * 20)
    assert server.refused == [10, 30, 70, 110]
    assert server.most == 1
    assert len(server.served) == 20
    assert server.served[0] == 150
    assert server.served[-1] < 151
    assert recorded_events.of(RetriesExhausted) == []
    assert (circuit.state, circuit.parked) == ("closed", 0)


def test_threads_and_both_kinds_of_loops_share_one_circuit(
    fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """One probe at a time for all of them, and success lets all of them go."""
    circuit, server = trip(breaker()), Server(fake_clock, 100)
    protect = functools.partial(retry_on_refused, policy=PATIENT, breaker=circuit)
    connect, on_asyncio, on_trio = map(protect, (server.connect, server.connect_asyncio, server.connect_trio))
    with fake_clock.hold():
        threads = started(
            *[connect] * 5,
            *[lambda: run_tasks("asyncio", [on_asyncio] * 5)] * 2,
            *[lambda: run_tasks("trio", [on_trio] * 5)] * 2,
        )
        wait_until(lambda: circuit.parked == fake_clock.waiting == 25)
    joined(threads)
    assert server.refused == [10, 30, 70]
    assert server.most == 1
    assert len(server.served) == 25
    assert server.served[-1] < 112
    assert circuit.parked == 0


def test_a_call_that_comes_to_a_healthy_circuit_does_not_wait_for_the_parked_ones(fake_clock: FakeClock) -> None:
    """It has not failed."""
    circuit = trip(breaker())
    with fake_clock.hold():
        threads = started(*[retry_on_refused(lambda: None, policy=PATIENT, breaker=circuit)] * 3)
        wait_until(lambda: circuit.parked == 3)
        circuit.reset()
        assert retry_on_refused(Client(), policy=PATIENT, breaker=circuit)() == "connected"
    joined(threads)


class Crowd:
    """Calls that stay inside until they are let go, and what they are told there."""

    def __init__(self, circuit: CircuitBreaker, size: int) -> None:
        self.inside = 0
        self.arrived = 0
        self.error: BaseException | None = None
        self._gate = asyncio.Event()
        self._circuit = circuit
        connect = retry_on_refused(self._connect, policy=PATIENT, breaker=circuit)
        self.tasks = [asyncio.ensure_future(connect()) for _ in range(size)]

    async def _connect(self) -> None:
        self.inside += 1
        self.arrived += 1
        gate = self._gate
        try:
            await gate.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.inside -= 1

    async def settled(self) -> int:
        """Wait until everybody who comes has come; return how many are inside."""
        before, quiet = -1, 0
        while quiet < 5:
            await asyncio.sleep(0.001)
            quiet = quiet + 1 if self.arrived == before else 0
            before = self.arrived
        return self.inside

    async def let_go(self, error: BaseException | None = None) -> int:
        """Let everybody inside go; return how many came in their place."""
        gate, self._gate, self.error = self._gate, asyncio.Event(), error
        gate.set()
        return await self.settled()

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        assert self._circuit.parked == 0


def test_success_lets_the_others_go_in_doubling_batches(fake_clock: FakeClock) -> None:
    """The probe; then 1, 2, 4, 8, each when those before it have come back."""
    circuit = trip(breaker())

    async def main() -> list[int]:
        crowd = Crowd(circuit, 40)
        await crowd.settled()
        fake_clock.advance(10)
        sizes = [await crowd.settled()]
        while circuit.parked:
            sizes.append(await crowd.let_go())
        await crowd.let_go()
        assert all(task.done() for task in crowd.tasks)
        return sizes

    with fake_clock.hold():
        assert asyncio.run(main()) == [1, 1, 2, 4, 8, 16, 8]
    assert fake_clock.now() == 10


def test_half_of_a_batch_is_enough_for_the_next(fake_clock: FakeClock) -> None:
    """The other half may take its time."""
    lot, waiters = crowded_lot(40)
    batches = [batch_of(lot.closed(0))]
    batches.append(batch_of(lot.settled(batches[-1][0], False, 0, lambda: 10)))
    batches.append(batch_of(lot.settled(batches[-1][0], False, 0, lambda: 10)))
    four = batches[-1]
    assert [len(batch) for batch in batches] == [1, 2, 4]
    assert batch_of(lot.settled(four[0], False, 0, lambda: 10)) == []
    eight = batch_of(lot.settled(four[1], False, 0, lambda: 10))
    assert len(eight) == 8
    # Those of an earlier batch that come back late release nobody.
    for late in four[2:]:
        assert lot.settled(late, False, 0, lambda: 10) == []
    assert len(lot) == 40 - 15
    assert len(waiters) == 40


def crowded_lot(size: int) -> tuple[Lot, list[Waiter]]:
    """A lot with so many callers, and those."""
    lot, waiters = Lot(), [Waiter(None) for _ in range(size)]
    for waiter in waiters:
        lot.enter(waiter)
    return lot, waiters


def batch_of(woken: list[Waiter]) -> list[Waiter]:
    return [waiter for waiter in woken if waiter.batch]


def test_a_batch_that_hangs_is_followed_by_the_next_after_a_while(fake_clock: FakeClock) -> None:
    """After 50 ms each."""
    circuit = trip(breaker())

    async def main() -> list[int]:
        crowd = Crowd(circuit, 40)
        await crowd.settled()
        fake_clock.advance(10)
        await crowd.settled()
        sizes = [await crowd.let_go()]
        while circuit.parked:
            fake_clock.advance(0.03125)
            assert await crowd.settled() == sizes[-1]
            fake_clock.advance(0.03125)
            sizes.append(await crowd.settled())
        await crowd.let_go()
        assert all(task.done() for task in crowd.tasks)
        return sizes

    with fake_clock.hold():
        assert asyncio.run(main()) == [1, 1 + 2, 1 + 2 + 4, 1 + 2 + 4 + 8, 1 + 2 + 4 + 8 + 16, 39]


def test_if_a_batch_is_refused_the_others_stay_parked(fake_clock: FakeClock) -> None:
    """For a cooldown, though the circuit is closed; then it begins with one again."""
    circuit = breaker(trip_after=9)
    for _ in range(9):
        circuit.settle(circuit.admit(), refusal())

    async def main() -> None:
        crowd = Crowd(circuit, 40)
        await crowd.settled()
        fake_clock.advance(10)
        assert await crowd.settled() == 1
        assert [await crowd.let_go() for _ in range(3)] == [1, 2, 4]
        arrived = crowd.arrived
        assert await crowd.let_go(refusal()) == 0
        assert circuit.state == "closed"
        assert circuit.parked == 40 - 4
        fake_clock.advance(9.5)
        assert await crowd.settled() == 0
        assert crowd.arrived == arrived
        fake_clock.advance(0.5)
        assert [await crowd.settled(), await crowd.let_go()] == [1, 2]
        await crowd.end()

    with fake_clock.hold():
        asyncio.run(main())


def test_if_the_circuit_opens_again_the_others_stay_parked(fake_clock: FakeClock) -> None:
    """Until its next probe succeeds."""
    circuit = trip(breaker())

    async def main() -> None:
        crowd = Crowd(circuit, 40)
        await crowd.settled()
        fake_clock.advance(10)
        assert await crowd.settled() == 1
        assert [await crowd.let_go() for _ in range(3)] == [1, 2, 4]
        assert await crowd.let_go(refusal()) == 0
        assert circuit.state == "open"
        assert circuit.parked == 40 - 4
        fake_clock.advance(10)
        assert [await crowd.settled(), await crowd.let_go()] == [1, 1]
        await crowd.end()

    with fake_clock.hold():
        asyncio.run(main())


# The turn.


@pytest.mark.parametrize("how", ["deadline", "cancel", "task"])
def test_an_owner_that_leaves_passes_its_turn_on_at_once(how: str, fake_clock: FakeClock) -> None:
    """The next one probes when a probe may go, and not a quarter of a second later."""
    circuit, cancel, at = trip(breaker()), Cancellation(), []
    fake_clock.advance(10)
    circuit.admit()  # a probe that never reports: another may go 30 seconds later

    async def connect() -> None:
        at.append(fake_clock.now())

    async def main() -> None:
        policy = PATIENT.replace(deadline=5) if how == "deadline" else PATIENT
        with fake_clock.hold():
            owner = asyncio.ensure_future(retry_on_refused(connect, policy=policy, breaker=circuit, cancel=cancel)())
            while fake_clock.waiting < 1:
                await asyncio.sleep(0.001)
            other = asyncio.ensure_future(retry_on_refused(connect, policy=PATIENT, breaker=circuit)())
            while fake_clock.waiting < 2:
                await asyncio.sleep(0.001)
            {"deadline": lambda: fake_clock.advance(5), "cancel": cancel.cancel, "task": owner.cancel}[how]()
            with pytest.raises((CircuitOpenError, asyncio.CancelledError)):
                await owner
        await other

    asyncio.run(main())
    assert at == [40]
    assert (circuit.state, circuit.parked) == ("closed", 0)


def blocked_asyncio(connect: Callable[[], Any], parked: threading.Event, end: threading.Event) -> None:
    """Park a task on a loop that stands still."""

    async def main() -> None:
        task = asyncio.ensure_future(connect())
        await asyncio.sleep(0.02)
        parked.set()
        end.wait(5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())


def blocked_trio(connect: Callable[[], Any], parked: threading.Event, end: threading.Event) -> None:
    """Twin of `blocked_asyncio`."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            await trio.sleep(0.02)
            parked.set()
            end.wait(5)
            nursery.cancel_scope.cancel()

    trio.run(main)


def stopped_asyncio(connect: Callable[[], Any], parked: threading.Event, end: threading.Event) -> None:
    """Park a task on a loop that is not run any more."""
    loop = asyncio.new_event_loop()

    async def some_time() -> None:
        await asyncio.sleep(0.02)

    task = loop.create_task(connect())
    loop.run_until_complete(some_time())
    parked.set()
    end.wait(5)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


def closed_asyncio(connect: Callable[[], Any], parked: threading.Event, end: threading.Event) -> None:
    """Park a task on a loop that is closed."""
    loop = asyncio.new_event_loop()

    async def some_time() -> None:
        await asyncio.sleep(0.02)

    coroutine = connect()
    task = loop.create_task(coroutine)
    loop.run_until_complete(some_time())
    loop.close()
    parked.set()
    end.wait(5)
    task._log_destroy_pending = False
    with contextlib.suppress(RuntimeError):
        coroutine.close()


SHORT = Backoff(initial=0.05, maximum=0.05, jitter="none")
STANDSTILLS = (blocked_asyncio, blocked_trio, stopped_asyncio, closed_asyncio)


@pytest.mark.parametrize("standstill", STANDSTILLS, ids=lambda it: it.__name__)
def test_a_turn_that_is_not_taken_is_the_next_threads_after_a_quarter_of_a_second(standstill: Any) -> None:
    """Its owner's loop stands still, and cannot pass it on."""
    # Long enough for a loop on a loaded machine to stand still before it is over.
    circuit = trip(breaker(cooldown=Backoff(initial=0.3, maximum=0.3, jitter="none")))
    since = time.monotonic()
    parked, end = threading.Event(), threading.Event()

    async def connect_async() -> None:
        pass

    threads = started(lambda: standstill(retry_on_refused(connect_async, policy=PATIENT, breaker=circuit), parked, end))
    assert parked.wait(5)
    assert circuit.parked == 1
    try:
        connect = retry_on_refused(
            lambda: time.monotonic() - since, policy=PATIENT.replace(deadline=3), breaker=circuit
        )
        assert 0.54 <= connect() < 2.5
    finally:
        end.set()
        joined(threads)
    assert circuit.state == "closed"
    assert circuit.parked == 0


def test_a_call_that_blocks_its_own_loop_does_not_wait_for_a_task_on_it() -> None:
    """A plain call in a coroutine parks the thread of the task that has the turn."""
    circuit = trip(breaker(cooldown=SHORT))

    async def connect_async() -> None:
        pass

    async def main() -> None:
        task = asyncio.ensure_future(retry_on_refused(connect_async, policy=PATIENT, breaker=circuit)())
        await asyncio.sleep(0.01)
        assert circuit.parked == 1
        assert retry_on_refused(Client(), policy=QUIET.replace(deadline=1), breaker=circuit)() == "connected"
        await task

    asyncio.run(main())


def test_a_second_loop_in_a_thread_does_not_wait_for_a_task_of_the_first() -> None:
    """The first one was stopped while a task was parked on it."""
    circuit = trip(breaker(cooldown=SHORT))

    async def connect() -> str:
        return "connected"

    protected = retry_on_refused(connect, policy=PATIENT.replace(deadline=1), breaker=circuit)
    first = asyncio.new_event_loop()
    task = first.create_task(protected())
    first.run_until_complete(asyncio.sleep(0.01))
    assert circuit.parked == 1
    try:
        assert asyncio.run(protected()) == "connected"
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            first.run_until_complete(task)
        first.close()


def test_three_loops_that_stand_still_do_not_hold_up_a_fourth_thread() -> None:
    """However many turns are not taken, they pass on."""
    circuit = trip(breaker(cooldown=SHORT))
    end = threading.Event()

    async def connect_async() -> None:
        pass

    threads: list[threading.Thread] = []
    for _ in range(3):
        parked = threading.Event()
        threads += started(
            functools.partial(
                stopped_asyncio, retry_on_refused(connect_async, policy=PATIENT, breaker=circuit), parked, end
            )
        )
        assert parked.wait(5)
    try:
        assert retry_on_refused(Client(), policy=QUIET.replace(deadline=1.5), breaker=circuit)() == "connected"
    finally:
        end.set()
        joined(threads)


# The block form.


@pytest.mark.parametrize("world", ["sync", "asyncio", "trio"])
def test_a_block_counts_its_attempts_without_the_parked_time(world: str, fake_clock: FakeClock) -> None:
    """`attempt.number` and `attempt.elapsed`."""
    circuit, seen = trip(breaker()), []

    def sync() -> None:
        for attempt in attempts(policy=PATIENT, breaker=circuit):
            with attempt:
                seen.append((attempt.number, attempt.elapsed))
                if attempt.number < 3:
                    raise refusal()

    async def main() -> None:
        async for attempt in attempts(policy=PATIENT, breaker=circuit):
            with attempt:
                seen.append((attempt.number, attempt.elapsed))
                if attempt.number < 3:
                    raise refusal()

    sync() if world == "sync" else asyncio.run(main()) if world == "asyncio" else trio.run(main)
    assert seen == [(1, 10), (2, 30), (3, 70)]


def test_a_block_that_is_left_leaves_the_line() -> None:
    """By a `break` after an attempt that was to be tried again: nobody waits there, and nobody has the turn."""
    circuit = breaker()
    for attempt in attempts(policy=PATIENT, breaker=circuit):
        with attempt:
            raise refusal()
        break
    del attempt
    gc.collect()
    assert circuit.parked == 0


def test_a_block_that_is_not_used_says_so_and_gives_its_probe_back(fake_clock: FakeClock) -> None:
    """`with attempt:` was forgotten."""
    circuit = trip(breaker())
    with pytest.raises(RuntimeError, match="the attempt was not used"):
        for _ in attempts(policy=PATIENT, breaker=circuit):
            pass
    assert not circuit.snapshot().probing


# Functions that return coroutines.


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_an_adopted_coroutine_parks_its_task_and_not_the_thread(world: str) -> None:
    """Once it is known that the function gives coroutines."""
    circuit = breaker(cooldown=SHORT)
    ticks = 0

    async def connect() -> str:
        return "connected"

    protected = retry_on_refused(lambda: connect(), policy=QUIET, breaker=circuit)
    sleep = asyncio.sleep if world == "asyncio" else trio.sleep

    async def tick() -> None:
        nonlocal ticks
        while circuit.state != "closed":
            ticks += 1
            await sleep(0.001)

    async def main() -> None:
        assert await protected() == "connected"
        trip(circuit)
        coroutine = protected()
        if world == "asyncio":
            ticking = asyncio.ensure_future(tick())
            assert await coroutine == "connected"
            await ticking
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick)
                assert await coroutine == "connected"

    asyncio.run(main()) if world == "asyncio" else trio.run(main)
    assert ticks > 5


# An interrupt where it parks.


@on_every_driver
@both_ways
@pytest.mark.parametrize("ran", [False, True], ids=["never ran", "ran"])
def test_an_interrupt_while_parking_is_told_leaves_the_line(
    driver: Driver, way: Way, ran: bool, fake_clock: FakeClock
) -> None:
    """Ctrl-C may come while the log line is being written."""

    def observer(event: Event) -> None:
        if isinstance(event, CallParked):
            raise KeyboardInterrupt

    circuit = breaker()
    if not ran:
        trip(circuit)
    settings = way(circuit, down(), policy=PATIENT.replace(observers=(observer,)))
    try:
        error: BaseException = driver.fail(**settings)
    except KeyboardInterrupt as interrupt:  # some loops let it out themselves
        error = interrupt
    assert isinstance(error, KeyboardInterrupt)
    assert circuit.parked == 0


def test_a_change_is_told_before_a_parked_call_goes_on(fake_clock: FakeClock, recorded_events: RecordedEvents) -> None:
    """Events of one caller come in the order in which things happen to it."""
    circuit = breaker()
    retry_on_refused(Client(refusal()), policy=QUIET, breaker=circuit)()
    assert [
        event.state if isinstance(event, CircuitChanged) else type(event).__name__ for event in recorded_events
    ] == ["open", "CallParked", "half-open", "closed", "CallRecovered"]
