"""Whoever cancels a task, presses Ctrl-C or forks during a pause meets no resistance and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from drivers import AT_ONCE, QUIET, Client, Driver, down, refusal

import resilient
from resilient import Backoff, Cancellation, Policy, retry_on_refused
from resilient.testing import FakeClock, RecordedEvents

A_MINUTE = Policy(backoff=Backoff(initial=60, maximum=60, jitter="none"), deadline=None, observers=())

on_asyncio = pytest.mark.parametrize(
    "driver", [Driver("asyncio", form) for form in ("function", "block", "adopted")], ids=str
)
on_trio = pytest.mark.parametrize("driver", [Driver("trio", form) for form in ("function", "block")], ids=str)
with_and_without = pytest.mark.parametrize("cancel", [None, Cancellation()], ids=["bare", "with a Cancellation"])


def pending_timers(loop: asyncio.AbstractEventLoop) -> list[Any]:
    return [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]


@on_asyncio
@with_and_without
@pytest.mark.parametrize("steps", range(1, 6))
def test_a_task_that_is_cancelled_ends_at_once_wherever_it_waits(
    driver: Driver, cancel: Cancellation | None, steps: int, recorded_events: RecordedEvents
) -> None:
    """After so many turns of the loop. No task and no timer is left."""

    async def main() -> None:
        task = asyncio.ensure_future(driver.protect(down(), policy=A_MINUTE, cancel=cancel)())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.__context__ is None or isinstance(caught.value.__context__, asyncio.CancelledError)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert pending_timers(asyncio.get_running_loop()) == []

    asyncio.run(main())
    assert len(recorded_events) == 1
    assert cancel is None or cancel._wakers == {}


@on_asyncio
def test_a_task_that_is_cancelled_before_it_began_calls_nothing(driver: Driver) -> None:
    """And drops no coroutine unawaited, of which Python would warn."""
    client = down()

    async def main() -> None:
        task = asyncio.ensure_future(driver.protect(client, policy=A_MINUTE)())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()
    assert client.calls == 0
    assert [str(warning.message) for warning in warned] == []


@on_asyncio
@with_and_without
def test_a_task_that_is_cancelled_between_two_short_pauses_ends(driver: Driver, cancel: Cancellation | None) -> None:
    """Pauses of no length are points of cancellation, too."""
    client = down()

    async def main() -> None:
        task = asyncio.ensure_future(driver.protect(client, policy=QUIET, cancel=cancel)())
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert client.calls > 2


@on_asyncio
@with_and_without
def test_a_timeout_around_a_call_ends_its_pause(driver: Driver, cancel: Cancellation | None) -> None:
    """A cancellation from outside, and no error of the client."""

    async def main() -> float:
        start = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(driver.protect(down(), policy=A_MINUTE, cancel=cancel)(), 0.01)
        return time.monotonic() - start

    assert asyncio.run(main()) < 0.5


@on_asyncio
@with_and_without
def test_a_coroutine_that_is_closed_in_its_pause_is_closed(driver: Driver, cancel: Cancellation | None) -> None:
    """`GeneratorExit` passes, and nothing is awaited on its way out."""

    async def main() -> None:
        protected = driver.protect(down(), policy=A_MINUTE, cancel=cancel)()
        protected.send(None)
        protected.close()
        for timer in pending_timers(asyncio.get_running_loop()):
            timer.cancel()

    asyncio.run(main())
    assert cancel is None or cancel._wakers == {}


@on_trio
@with_and_without
def test_a_cancelled_scope_ends_a_pause_at_once(driver: Driver, cancel: Cancellation | None) -> None:
    """`trio.Cancelled` is neither caught nor counted, and its scope catches it."""

    async def main() -> tuple[bool, float]:
        start = time.monotonic()
        with trio.move_on_after(0.01) as scope:
            await driver.protect(down(), policy=A_MINUTE, cancel=cancel)()
        return scope.cancelled_caught, time.monotonic() - start

    caught, took = trio.run(main)
    assert caught
    assert took < 0.5
    assert cancel is None or cancel._wakers == {}


@on_trio
def test_a_cancelled_scope_ends_an_attempt(driver: Driver, recorded_events: RecordedEvents) -> None:
    """Inside the function: not an error of the client's."""

    async def main() -> bool:
        @retry_on_refused(policy=A_MINUTE)
        async def connect() -> None:
            await trio.sleep(60)

        with trio.CancelScope() as scope:
            scope.cancel()
            await connect()
        return scope.cancelled_caught

    assert trio.run(main)
    assert recorded_events == []


@on_trio
@with_and_without
def test_a_pause_is_slept_once_on_a_clock_of_trios_own(driver: Driver, cancel: Cancellation | None) -> None:
    """`MockClock` jumps where the system's clock stands; nobody should sleep on it until that agrees."""
    policy = A_MINUTE.replace(backoff=Backoff(initial=0.7, maximum=0.7, jitter="none"))

    async def main() -> tuple[str, float]:
        start = trio.current_time()
        answer = await driver.protect(Client(refusal()), policy=policy, cancel=cancel)()
        return answer, trio.current_time() - start

    answer, slept = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert answer == "connected"
    assert slept == pytest.approx(0.7)


@on_asyncio
def test_a_sleeper_on_the_fake_clock_is_cancelled_as_well(driver: Driver, fake_clock: FakeClock) -> None:
    """And does not hold up the others after it, whoever keeps its task."""

    async def main() -> str:
        with fake_clock.hold():
            doomed = asyncio.ensure_future(driver.protect(down(), policy=A_MINUTE)())
            other = asyncio.ensure_future(driver.protect(Client(refusal()), policy=A_MINUTE)())
            while fake_clock.waiting < 2:
                await asyncio.sleep(0)
            doomed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await doomed
        answer: str = await other
        return answer

    start = time.monotonic()
    assert asyncio.run(main()) == "connected"
    assert fake_clock.now() == 60
    assert time.monotonic() - start < 0.9


PROGRAM = """
import asyncio, os, signal, sys, time
import {world}
from resilient import *

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job does not have

started = time.monotonic()

def announce(event):
    print(type(event).__name__, flush=True)

def refuse():
    raise ConnectionRefusedError(111, "Connection refused")

async def refuse_async():
    refuse()

policy = Policy(backoff=Backoff(initial=60, maximum=60), observers=(announce,))
cancel = {cancel}
try:
    {call}
except BaseException as error:
    print(type(error).__name__, time.monotonic() - started < 5, flush=True)
    raise
"""
CALLS = {
    "sync": "retry_on_refused(refuse, policy=policy, cancel=cancel)()",
    "asyncio": "asyncio.run(retry_on_refused(refuse_async, policy=policy, cancel=cancel)())",
    "trio": "trio.run(retry_on_refused(refuse_async, policy=policy, cancel=cancel))",
}


def python(program: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(resilient.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.parametrize(
    ("world", "cancel"), [("sync", "Cancellation()"), ("asyncio", "Cancellation()"), ("trio", "None")]
)
def test_ctrl_c_ends_a_pause_and_the_program(world: str, cancel: str) -> None:
    """A real SIGINT to a real program."""
    program = PROGRAM.format(world="sys" if world == "sync" else world, call=CALLS[world], cancel=cancel)
    with python(program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "RetryScheduled\n"
        time.sleep(0.03)  # let it fall asleep
        process.send_signal(signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=10)
        finally:
            process.kill()
    assert output == "KeyboardInterrupt True\n"
    assert process.returncode == -signal.SIGINT
    assert "gave up" not in errors


def test_a_child_that_is_forked_in_a_pause_goes_on_by_itself() -> None:
    """Parent and child both come out of it, whoever else was waiting in other threads."""
    program = """
    import os, threading, time
    from resilient import *

    children = []
    def fork(event):
        if isinstance(event, RetryScheduled) and threading.current_thread() is threading.main_thread() and not children:
            children.append(os.fork())

    cancel = Cancellation()
    calls = []
    @retry_on_refused(policy=Policy(backoff=Backoff(initial=0.05, maximum=0.05), observers=(fork,)), cancel=cancel)
    def connect():
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionRefusedError(111, "Connection refused")
        return os.getpid()

    @retry_on_refused(policy=Policy(backoff=Backoff(initial=9, maximum=9), observers=()), cancel=cancel)
    def other():
        raise ConnectionRefusedError(111, "Connection refused")

    thread = threading.Thread(target=lambda: cancelled(other), daemon=True)
    def cancelled(call):
        try:
            call()
        except ConnectionRefusedError:
            pass

    thread.start()
    while not cancel._wakers:
        time.sleep(0.001)
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and on: forking beside threads
    assert connect() == os.getpid()
    cancel.cancel()
    if not children[0]:
        os._exit(7)
    thread.join(1)
    assert not thread.is_alive()
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7
    print("both")
    """
    with python(textwrap.dedent(program)) as process:
        output, errors = process.communicate(timeout=10)
    assert (output, errors) == ("both\n", "")


def test_an_interrupt_in_an_observer_comes_out() -> None:
    """It is not the observer's error but the user's wish."""

    def interrupted(event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retry_on_refused(down(), policy=Policy(backoff=AT_ONCE, observers=(interrupted,)))()
