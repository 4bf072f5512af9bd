"""The circuit breaker among threads, tasks, interrupts, forks and the collector: nothing leaks, nothing hangs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import linecache
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import programs
import pytest
import trio
from drivers import QUIET, Driver, on_every_driver, refusal

from resilient import (
    Backoff,
    CircuitBreaker,
    CircuitChanged,
    CircuitOpenError,
    attempts,
    clock,
    retry_on_refused,
)
from resilient.testing import FakeClock

TEN = Backoff(initial=10, maximum=40, jitter="none")
PATIENT = QUIET.replace(deadline=None)
has_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="requires os.fork")


def breaker(trip_after: int = 1, **settings: Any) -> CircuitBreaker:
    """A breaker that opens at the first failure and says nothing."""
    return CircuitBreaker("db", trip_after=trip_after, **{"cooldown": TEN, "observers": (), **settings})


def half_open(clock: FakeClock, **settings: Any) -> CircuitBreaker:
    """A breaker whose next caller probes."""
    circuit = breaker(**settings)
    circuit.settle(circuit.admit(), "failure")
    clock.advance(10)
    return circuit


def told_of(circuit: CircuitBreaker) -> int:
    return len(circuit._lot._told)


def run_threads(size: int, function: Callable[[], Any], seconds: float = 10) -> None:
    threads = [threading.Thread(target=function, daemon=True) for _ in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive()


# Many at once.


@pytest.mark.parametrize("form", ["call", "with", "two steps"])
def test_of_32_threads_at_a_half_open_circuit_one_is_admitted(form: str, fake_clock: FakeClock) -> None:
    """All at once, and ten times over."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(10):
            circuit = half_open(fake_clock)
            start, asked = threading.Barrier(32), threading.Barrier(32)
            admitted: list[int] = []
            rejected: list[int] = []

            def enter(
                circuit: CircuitBreaker = circuit,
                start: threading.Barrier = start,
                asked: threading.Barrier = asked,
                admitted: list[int] = admitted,
                rejected: list[int] = rejected,
            ) -> None:
                def connect() -> None:
                    admitted.append(threading.get_ident())
                    asked.wait(5)  # the probe lasts until everybody has asked

                start.wait(5)
                try:
                    if form == "call":
                        circuit.call(connect)
                    elif form == "with":
                        with circuit:
                            connect()
                    else:
                        permit = circuit.admit()
                        connect()
                        circuit.settle(permit, "success")
                except CircuitOpenError:
                    rejected.append(threading.get_ident())
                    asked.wait(5)

            run_threads(32, enter)
            assert (len(admitted), len(rejected)) == (1, 31)
            assert circuit.state == "closed"
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_of_32_tasks_at_a_half_open_circuit_one_is_admitted(world: str, fake_clock: FakeClock) -> None:
    """Those that it turned away have failed at once."""
    circuit = half_open(fake_clock)
    admitted, rejected = [], []
    sleep = asyncio.sleep if world == "asyncio" else trio.sleep

    @circuit
    async def connect() -> None:
        admitted.append(len(rejected))
        await sleep(0.01)

    async def enter() -> None:
        try:
            await connect()
        except CircuitOpenError:
            rejected.append(len(admitted))

    async def main() -> None:
        await asyncio.gather(*(enter() for _ in range(32)))

    async def main_trio() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(enter)

    asyncio.run(main()) if world == "asyncio" else trio.run(main_trio)
    assert (len(admitted), len(rejected)) == (1, 31)
    assert circuit.state == "closed"


def test_calls_through_a_closed_circuit_do_not_wait_for_each_other() -> None:
    """Eight threads are inside at once, though failures have been counted."""
    circuit = breaker(trip_after=50)
    circuit.settle(circuit.admit(), "failure")
    inside = threading.Barrier(8)

    def call() -> None:
        circuit.call(lambda: inside.wait(5))

    run_threads(8, call)
    assert not inside.broken
    assert circuit.snapshot().failures == 0


def test_failures_of_many_threads_are_all_counted() -> None:
    """None is lost, and the circuit opens once."""
    told: list[Any] = []
    circuit = breaker(trip_after=1600, observers=(told.append,))
    start = threading.Barrier(8)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def fail() -> None:
        start.wait(5)
        for _ in range(200):
            with contextlib.suppress(ConnectionRefusedError), circuit:
                raise refusal()

    try:
        run_threads(8, fail)
    finally:
        sys.setswitchinterval(interval)
    assert circuit.state == "open"
    assert [event.reason for event in told] == ["tripped"]


def test_changes_by_many_threads_are_told_in_order() -> None:
    """Each epoch once, whoever made it and whoever tells it."""
    told: list[CircuitChanged] = []

    def observer(event: Any) -> None:
        if isinstance(event, CircuitChanged):
            told.append(event)

    circuit = breaker(observers=(observer,), cooldown=Backoff(initial=1e-6, maximum=1e-6))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def change() -> None:
        for number in range(100):
            with contextlib.suppress(CircuitOpenError):
                circuit.settle(circuit.admit(), "failure" if number % 2 else "success")
            circuit.isolate()
            circuit.release()

    try:
        run_threads(8, change)
    finally:
        sys.setswitchinterval(interval)
    epochs = [event.epoch for event in told]
    assert epochs == sorted(set(epochs))
    assert len(epochs) > 200
    assert circuit.snapshot().epoch == epochs[-1]
    for before, after in itertools.pairwise(told):
        assert after.previous == before.state


# Cancelled wherever it waits.

STEPS = range(9)


def nothing_is_left(circuit: CircuitBreaker) -> None:
    assert circuit.parked == 0
    assert told_of(circuit) == 0
    assert not circuit.snapshot().probing
    assert circuit._lot._hosts == {}


@pytest.mark.parametrize("form", ["function", "block", "adopted"])
@pytest.mark.parametrize("way", ["breaker=", "over @breaker"])
@pytest.mark.parametrize("steps", STEPS)
def test_a_task_cancelled_at_any_step_leaves_nothing(form: Any, way: str, steps: int) -> None:
    """Neither a permit, nor a place in the line, nor the turn: parked, woken, probing, and parked again."""
    circuit = breaker(cooldown=Backoff(initial=0.001, maximum=0.001, jitter="none"))
    circuit.settle(circuit.admit(), "failure")
    inside: list[bool] = []

    async def connect() -> None:
        inside.append(True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise refusal()

    function = connect if way == "breaker=" else circuit(connect)
    settings: dict[str, Any] = {"policy": PATIENT, "breaker": circuit if way == "breaker=" else None}

    async def block() -> None:
        async for attempt in attempts(**settings):
            with attempt:
                await function()

    if form == "adopted":
        adopted = retry_on_refused(lambda: function(), **settings)
        if way == "breaker=":
            circuit.reset()
            adopted().close()  # it is known from now on that it gives coroutines
            circuit.settle(circuit.admit(), "failure")
        start: Callable[[], Any] = adopted
    else:
        start = block if form == "block" else retry_on_refused(function, **settings)

    async def main() -> None:
        task = asyncio.ensure_future(start())
        for _ in range(steps):
            await asyncio.sleep(0.0004)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    nothing_is_left(circuit)
    assert steps < 8 or inside


@pytest.mark.parametrize("form", ["function", "block"])
@pytest.mark.parametrize("steps", STEPS)
def test_a_trio_task_cancelled_at_any_step_leaves_nothing(form: Any, steps: int) -> None:
    """Twin of the last one."""
    circuit = breaker(cooldown=Backoff(initial=0.001, maximum=0.001, jitter="none"))
    circuit.settle(circuit.admit(), "failure")

    async def connect() -> None:
        await trio.lowlevel.checkpoint()
        raise refusal()

    async def block() -> None:
        async for attempt in attempts(policy=PATIENT, breaker=circuit):
            with attempt:
                await connect()

    start = block if form == "block" else retry_on_refused(connect, policy=PATIENT, breaker=circuit)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            for _ in range(steps):
                await trio.sleep(0.0004)
            nursery.cancel_scope.cancel()

    trio.run(main)
    nothing_is_left(circuit)


class Yield:
    def __await__(self) -> Any:
        yield


class SteppedClock(FakeClock):
    """A fake clock whose pauses are steps of a coroutine: each step one second."""

    async def sleep_async(self, seconds: float, cancellation: Any, caller: Any) -> None:
        until = self.now() + seconds
        while self.now() < until and not (cancellation is not None and cancellation.cancelled):
            await Yield()
            self.advance(4)


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_whatever_is_thrown_into_a_coroutine_at_whatever_await(error: type[BaseException]) -> None:
    """Parked, probing, parked after a failed probe, probing again: nothing is left."""
    steps = 0
    ended = False
    seen: set[str] = set()
    while not ended:
        its_clock = SteppedClock()
        clock.put(its_clock)
        try:
            circuit = breaker()
            circuit.settle(circuit.admit(), "failure")
            tries = 0

            async def connect(circuit: CircuitBreaker = circuit) -> None:
                nonlocal tries
                tries += 1
                await Yield()
                if tries < 3:
                    raise refusal()

            coroutine = retry_on_refused(connect, policy=PATIENT, breaker=circuit)()
            try:
                for _ in range(steps):
                    coroutine.send(None)
            except StopIteration:
                ended = True
            else:
                seen.add("probing" if circuit.snapshot().probing else "parked" if circuit.parked else "outside")
                if error is GeneratorExit:
                    coroutine.close()
                else:
                    with pytest.raises(error):
                        coroutine.throw(error())
            nothing_is_left(circuit)
        finally:
            clock.put(None)
        steps += 1
    assert steps > 10
    assert {"probing", "parked"} <= seen


# Ctrl-C.


class Interrupt(BaseException):
    """As Ctrl-C, wherever it comes."""


PLACES = (
    "_breaker.py",
    "_circuit.py",
    "_circuits.py",
    "_context.py",
    "_core.py",
    "_parking.py",
    "_recovery.py",
    "_sync.py",
    "_telling.py",
)
"""Where a call parks: lines of other rooms hold nothing."""


def in_a_thread(test: Callable[..., None]) -> Callable[..., None]:
    """Run a whole test in a thread of its own.

    An exception out of a trace function may leave CPython's record of what is being handled out of step, and the tests
    that follow would find it as the context of their errors.
    """

    @functools.wraps(test)
    def in_thread(*args: Any, **kwargs: Any) -> None:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(test, *args, **kwargs).result()

    return in_thread


def interrupted_at(line: int, function: Callable[[], Any]) -> bool:
    """Call `function` and interrupt it at this line of those it runs; return whether it came so far."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith(PLACES):
            return None
        if event == "line" and not linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip().startswith(
            "with "
        ):
            # Not between taking a lock and the block that gives it back: no signal is delivered there.
            count += 1
            if count == line:
                sys.settrace(before)
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except Interrupt:
        return True
    except ConnectionRefusedError:
        return count >= line
    finally:
        sys.settrace(before)
    return count >= line


@in_a_thread
def test_an_interrupt_at_any_line_of_a_rejection_or_a_success_leaves_a_working_circuit(fake_clock: FakeClock) -> None:
    """No lock is held afterwards, and a probe that is lost is replaced after its time."""
    line = 0
    while True:
        line += 1
        circuit = half_open(fake_clock)
        came = interrupted_at(line, lambda circuit=circuit: circuit.call(lambda: None))  # type: ignore[misc]
        fake_clock.advance(31)
        assert circuit.call(lambda: "connected") == "connected"
        assert circuit.state == "closed"
        if not came:
            break
    assert line > 20


@in_a_thread
def test_an_interrupt_at_any_line_of_a_call_that_parks_leaves_the_line(fake_clock: FakeClock) -> None:
    """Its place and its turn are free, and the next caller gets through."""
    line, left = 0, []
    while True:
        line += 1
        circuit = breaker()
        tries = iter([refusal(), refusal()])

        def connect(tries: Any = tries) -> str:
            for error in tries:
                raise error
            return "connected"

        protected = retry_on_refused(connect, policy=PATIENT, breaker=circuit)
        came = interrupted_at(line, protected)
        if circuit.parked or told_of(circuit):
            left.append(line)
        if not came:
            break
    assert line > 100
    assert left == []


PARKED = """
import os, signal, sys, threading, time
from resilient import Backoff, CircuitBreaker, Policy, retry_on_refused

circuit = CircuitBreaker("db", trip_after=1, cooldown=Backoff(initial=0.3, maximum=0.3, jitter="none"), observers=())
circuit.settle(circuit.admit(), "failure")
since = time.monotonic()
policy = Policy(deadline=20, observers=())
connect = retry_on_refused(lambda: time.monotonic() - since, policy=policy, breaker=circuit)
took = []

def other():
    while circuit.parked < 1:
        time.sleep(0.001)
    took.append(connect())

def interrupt():
    while circuit.parked < 2:
        time.sleep(0.001)
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

threads = [threading.Thread(target=other), threading.Thread(target=interrupt)]
for thread in threads:
    thread.start()
try:
    connect()
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - since < 0.28, circuit.parked)
for thread in threads:
    thread.join(10)
print("passed on", 0.29 < took[0] < 0.5, circuit.state)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="requires a signal that a process can send itself")
def test_ctrl_c_in_the_thread_that_has_the_turn_passes_it_on() -> None:
    """It comes out at once; the other thread probes when the circuit has cooled down."""
    done = programs.run(PARKED)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["interrupted True 1", "passed on True closed"]


def test_a_signal_handler_may_use_the_breaker() -> None:
    """Also where it interrupts the breaker itself, with its lock held."""
    circuit = breaker()
    before = signal.signal(signal.SIGINT, lambda *_: circuit.isolate())
    now, raised = clock.now, False

    def interrupting_now() -> float:
        nonlocal raised
        if not raised:
            raised = True
            signal.raise_signal(signal.SIGINT)
        return now()

    clock.now = interrupting_now
    try:
        circuit.release()
        circuit.isolate()
    finally:
        clock.now = now
        signal.signal(signal.SIGINT, before)
    assert raised
    assert circuit.state == "isolated"


# Fork.


FORKED = """
import faulthandler, os, sys, threading, time, warnings
from resilient import *

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and on warns of forking beside threads
faulthandler.dump_traceback_later(8, exit=True)
circuit = CircuitBreaker("db", trip_after=1, cooldown=Backoff(initial=0.05, maximum=0.05, jitter="none"), observers=())
policy = Policy(deadline=5, observers=())
connect = retry_on_refused(lambda: "connected", policy=policy, breaker=circuit)

def in_child(check):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        check()
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
"""


def fork(program: str) -> list[str]:
    done = programs.run(FORKED + program)
    assert done.stderr == ""
    return done.stdout.splitlines()


@has_fork
def test_a_child_that_is_forked_while_a_call_is_inside_works() -> None:
    """The probe is the parent's; the child makes its own, and what it finds changes nothing for the parent."""
    assert fork(
        """
circuit.settle(circuit.admit(), "failure")
time.sleep(0.06)
permit = circuit.admit()

def check():
    assert not circuit.snapshot().probing
    circuit.settle(circuit.admit(), "failure")
    assert circuit.state == "open"
    time.sleep(0.06)
    assert connect() == "connected"
    assert circuit.state == "closed"
    circuit.settle(permit, "success")

print(in_child(check))
print(circuit.state, circuit.snapshot().probing)
circuit.settle(permit, "success")
print(circuit.state)
"""
    ) == ["0", "half-open True", "closed"]


@has_fork
def test_a_child_that_is_forked_while_another_thread_holds_the_lock_works() -> None:
    """It has a lock of its own, and so have the breakers of endpoints."""
    assert fork(
        """
circuits = CircuitBreakers(trip_after=1, observers=())
circuits["a:1"]
held, end = threading.Event(), threading.Event()

def hold():
    with circuit._lock, circuits._lock:
        held.set()
        end.wait(5)

thread = threading.Thread(target=hold)
thread.start()
held.wait()

def check():
    circuit.settle(circuit.admit(), "failure")
    assert circuit.state == "open"
    assert connect() == "connected"
    circuits["b:1"].isolate()
    assert len(circuits) == 2

print(in_child(check))
end.set()
thread.join()
print(circuit.state, len(circuits))
"""
    ) == ["0", "closed 1"]


@has_fork
def test_a_child_that_is_forked_while_calls_are_parked_has_none_of_them() -> None:
    """They are threads of the parent, and go on there."""
    assert fork(
        """
circuit.settle(circuit.admit(), "failure")
time.sleep(0.06)
permit = circuit.admit()
results = []
threads = [threading.Thread(target=lambda: results.append(connect())) for _ in range(5)]
for thread in threads:
    thread.start()
while circuit.parked < 5:
    time.sleep(0.001)

def check():
    assert circuit.snapshot().parked == 0
    assert connect() == "connected"

print(in_child(check))
print(circuit.parked)
circuit.settle(permit, "success")
for thread in threads:
    thread.join(5)
print(results, circuit.parked)
"""
    ) == ["0", "5", str(["connected"] * 5) + " 0"]


@has_fork
def test_a_child_that_is_forked_by_an_observer_tells_its_own_changes() -> None:
    """The parent's thread that tells is not there."""
    assert fork(
        """
told, codes = [], []

def observer(event):
    told.append(event.state)
    if event.state == "isolated":
        def check():
            circuit.reset()
            assert told == ["isolated", "closed"], told
        codes.append(in_child(check))

circuit = CircuitBreaker("db", observers=(observer,))
circuit.isolate()
circuit.reset()
print(codes, told)
"""
    ) == ["[0] ['isolated', 'closed']"]


# The garbage collector.


def test_a_finaliser_may_use_the_breaker() -> None:
    """A block in a forgotten generator ends wherever the collector runs: also while the breaker holds its lock."""
    circuit = breaker()

    def forgotten() -> Any:
        with circuit:
            yield

    gc.collect()
    gc.disable()
    now = clock.now
    ended = threading.Event()

    def collecting_now() -> float:
        gc.collect()
        return now()

    def use() -> None:
        generator = forgotten()
        next(generator)
        circle: list[Any] = [generator]
        circle.append(circle)
        del generator, circle
        circuit.reset()  # its permit is history: to give it back takes the lock
        clock.now = collecting_now
        circuit.isolate()
        ended.set()

    thread = threading.Thread(target=use, daemon=True)
    try:
        thread.start()
        assert ended.wait(3), "the breaker waits for itself"
    finally:
        clock.now = now
        gc.enable()
    thread.join(3)
    assert circuit.state == "isolated"


@on_every_driver
def test_calls_that_parked_leave_no_garbage(driver: Driver, fake_clock: FakeClock) -> None:
    """Neither errors, nor frames, nor what those held."""

    class Socket:
        pass

    alive: weakref.WeakSet[Socket] = weakref.WeakSet()

    def connect() -> None:
        socket = Socket()
        alive.add(socket)
        raise refusal()

    # The error leads to the frame that caught it: the driver's run is its end.
    circuit = breaker()
    driver.fail_often(5, connect, policy=QUIET.replace(deadline=35), breaker=circuit)
    gc.collect()
    assert len(alive) == 0
    assert circuit.parked == 0


def test_a_parked_thread_holds_no_socket() -> None:
    """What the client opened is closed before it waits."""
    circuit = breaker(cooldown=Backoff(initial=0.05, maximum=0.05, jitter="none"))
    opened: list[int] = []
    closed: list[bool] = []

    def connect() -> str:
        if opened:
            try:
                os.fstat(opened[0])
            except OSError:
                closed.append(True)
            return "connected"
        client = socket.socket()
        opened.append(client.fileno())
        client.connect(("127.0.0.1", port))
        raise AssertionError("it was not refused")

    with socket.socket() as guard, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # some clients leave their socket to the collector as well
        guard.bind(("127.0.0.1", 0))
        port = guard.getsockname()[1]
        assert retry_on_refused(connect, policy=QUIET, breaker=circuit)() == "connected"
    assert closed == [True]


def test_forgotten_breakers_are_freed() -> None:
    """With nobody parked, a breaker is no circle."""
    gc.disable()
    try:
        circuit = breaker()
        circuit.settle(circuit.admit(), refusal())
        with contextlib.suppress(CircuitOpenError):
            circuit.call(lambda: None)
        gone = weakref.ref(circuit)
        del circuit
        assert gone() is None
    finally:
        gc.enable()


def test_importing_it_loads_no_event_loop() -> None:
    """Nor does using it in plain code."""
    program = """
import sys
from resilient import CircuitBreaker
circuit = CircuitBreaker("db", trip_after=1)
with circuit:
    pass
before = {"asyncio", "trio"} & set(sys.modules)
circuit.isolate()
circuit.release()
print({"trio"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "set()\n"


def test_time_that_threads_spend_inside_overlaps() -> None:
    """Eight calls of a tenth of a second take about that."""
    circuit = breaker()
    start = time.monotonic()
    run_threads(8, lambda: circuit.call(lambda: time.sleep(0.1)))
    assert time.monotonic() - start < 0.5
