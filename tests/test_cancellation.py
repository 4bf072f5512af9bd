"""A `Cancellation` ends every pause at once, from wherever it is called, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from drivers import DRIVERS, QUIET, Client, Driver, down, noted, notes_of, on_every_driver, refusal

from resilient import (
    Backoff,
    Cancellation,
    CircuitBreaker,
    Event,
    Policy,
    RetriesExhausted,
    RetryScheduled,
    retry_on_refused,
)
from resilient.testing import RecordedEvents

A_MINUTE = Policy(backoff=Backoff(initial=60, maximum=60, jitter="none"), deadline=None, observers=())
PROMPT = 0.5
"""Seconds, where a pause would take a minute; on a machine that has nothing else to do it is under a millisecond."""


def cancelling(cancel: Cancellation) -> Callable[[Event], None]:
    """Return an observer that cancels as soon as a pause is announced."""

    def observer(event: Event) -> None:
        if isinstance(event, RetryScheduled):
            cancel.cancel()

    return observer


class Once:
    """Calls `action` 10 ms after a pause was announced, in a thread of its own, and remembers when."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action
        self.at = 0.0
        self.timer = threading.Timer(0.01, self.fire)

    def __call__(self, event: Event) -> None:
        if isinstance(event, RetryScheduled):
            self.timer.start()

    def fire(self) -> None:
        self.at = time.monotonic()
        self.action()


def late(since: float) -> float:
    return time.monotonic() - since


@on_every_driver
def test_another_thread_ends_a_pause_at_once(driver: Driver) -> None:
    """With the last error, as the client left it, and no waker is kept."""
    cancel, client = Cancellation(), down()
    once = Once(cancel.cancel)
    error = driver.fail(client, policy=A_MINUTE.replace(observers=(once,)), cancel=cancel)
    assert late(once.at) < PROMPT
    assert error is client.raised
    assert error.__context__ is None
    assert notes_of(error) == noted("resilient: gave up after 1 attempt in 0.0 s (cancelled)")
    assert cancel._wakers == {}


@on_every_driver
def test_another_thread_ends_a_pause_behind_a_closed_circuit_as_well(driver: Driver) -> None:
    """The call waits for its own time then, and not in the line of the circuit."""
    cancel, client = Cancellation(), down()
    once = Once(cancel.cancel)
    circuit = CircuitBreaker("db", observers=())
    begun = time.monotonic()
    policy = A_MINUTE.replace(observers=(once,))
    assert driver.fail(client, policy=policy, cancel=cancel, breaker=circuit) is client.raised
    assert (circuit.state, circuit.parked) == ("closed", 0)
    assert late(begun) < 30


@on_every_driver
def test_an_observer_ends_a_pause_before_it_begins(driver: Driver) -> None:
    """Between the decision to pause and the pause."""
    cancel, client, start = Cancellation(), down(), time.monotonic()
    driver.fail(client, policy=A_MINUTE.replace(observers=(cancelling(cancel),)), cancel=cancel)
    assert late(start) < PROMPT
    assert client.calls == 1
    assert cancel._wakers == {}


@on_every_driver
def test_the_function_itself_may_cancel_its_call(driver: Driver, recorded_events: RecordedEvents) -> None:
    """The attempt in which it does so is the last, and nothing is scheduled."""
    cancel, client = Cancellation(), down()

    def connect() -> None:
        if client.calls == 2:
            cancel.cancel()
        client()

    driver.fail(connect, policy=QUIET, cancel=cancel)
    assert client.calls == 3
    assert [type(event) for event in recorded_events] == [RetryScheduled, RetryScheduled, RetriesExhausted]


@on_every_driver
def test_success_counts_also_when_cancelled(driver: Driver) -> None:
    """Whoever has the connection may keep it."""
    cancel, client = Cancellation(), Client(refusal())

    def connect() -> str:
        answer = client()
        cancel.cancel()
        return answer

    assert driver.call(connect, policy=QUIET, cancel=cancel) == "connected"
    assert driver.call(connect, policy=QUIET, cancel=cancel) == "connected"


@on_every_driver
def test_an_error_that_is_not_retried_passes_untouched_also_when_cancelled(driver: Driver) -> None:
    """Nobody gave up on it."""
    cancel, mine = Cancellation(), ValueError("not a refusal")
    cancel.cancel()
    assert driver.fail(Client(mine), policy=QUIET, cancel=cancel) is mine
    assert notes_of(mine) == []


@on_every_driver
def test_a_call_with_a_cancellation_that_nobody_uses_waits_its_time(driver: Driver) -> None:
    """Real time, and the wakers are gone after each pause."""
    cancel = Cancellation()
    backoff = Backoff(initial=0.02, maximum=0.02, jitter="none")
    start = time.monotonic()
    policy = QUIET.replace(backoff=backoff)
    assert driver.call(Client(refusal(), refusal()), policy=policy, cancel=cancel) == "connected"
    assert 0.0399 <= late(start) < 0.04 + PROMPT
    assert cancel._wakers == {}


@on_every_driver
def test_one_cancellation_ends_many_calls(driver: Driver) -> None:
    """In many threads, each with a loop of its own where it needs one."""
    cancel, errors = Cancellation(), []
    waiting = threading.Semaphore(0)
    policy = A_MINUTE.replace(observers=(lambda event: waiting.release(),))
    threads = [
        threading.Thread(target=lambda: errors.append(driver.fail(down(), policy=policy, cancel=cancel)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert waiting.acquire(timeout=5)
    start = time.monotonic()
    cancel.cancel()
    for thread in threads:
        thread.join(5)
    assert late(start) < PROMPT
    assert len(errors) == 6
    assert cancel._wakers == {}


@on_every_driver
def test_a_race_of_cancel_and_pause_is_never_lost(driver: Driver) -> None:
    """Whichever comes first: a waker that is registered too late would sleep for a minute."""
    start = time.monotonic()
    for delay in range(25):
        cancel = Cancellation()

        def cancel_soon(event: Event, cancel: Cancellation = cancel, delay: int = delay) -> None:
            if isinstance(event, RetryScheduled):
                threading.Thread(target=lambda: (time.sleep(delay * 2e-5), cancel.cancel())).start()

        driver.fail(down(), policy=A_MINUTE.replace(observers=(cancel_soon,)), cancel=cancel)
    assert late(start) < 25 * PROMPT


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Give a function that lets a signal handler call something in the main thread, 20 ms from now."""

    def set_alarm(action: Callable[[], object]) -> None:
        signal.signal(signal.SIGALRM, lambda number, frame: action())
        signal.setitimer(signal.ITIMER_REAL, 0.02)

    before = signal.getsignal(signal.SIGALRM)
    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@on_every_driver
def test_a_signal_handler_ends_a_pause(driver: Driver, alarm: Callable[[Callable[[], object]], None]) -> None:
    """It runs in the thread that sleeps: a lock that is held there would never be given back."""
    cancel, start = Cancellation(), time.monotonic()
    alarm(cancel.cancel)
    error = driver.fail(down(), policy=A_MINUTE, cancel=cancel)
    assert late(start) < 0.02 + PROMPT
    assert isinstance(error, ConnectionRefusedError)
    assert cancel._wakers == {}


@on_every_driver
def test_a_signal_handler_that_does_something_else_does_not_shorten_a_pause(
    driver: Driver, alarm: Callable[[Callable[[], object]], None]
) -> None:
    """The sleep goes on where it was."""
    heard: list[float] = []
    start = time.monotonic()
    alarm(lambda: heard.append(late(start)))
    backoff = Backoff(initial=0.06, maximum=0.06, jitter="none")
    assert driver.call(Client(refusal()), policy=QUIET.replace(backoff=backoff), cancel=Cancellation()) == "connected"
    assert late(start) >= 0.0599
    assert len(heard) == 1


@pytest.mark.parametrize("driver", [driver for driver in DRIVERS if driver.is_async], ids=str)
def test_a_loop_that_is_closed_does_not_trouble_who_cancels(driver: Driver) -> None:
    """Its sleepers went with it."""
    cancel = Cancellation()

    async def main() -> None:
        protected = driver.protect(down(), policy=A_MINUTE, cancel=cancel)
        if driver.world == "trio":
            with trio.move_on_after(0.01):
                await protected()
        else:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(protected(), 0.01)

    driver.run(main)
    assert cancel._wakers == {}
    cancel.cancel()


def test_a_waker_of_a_loop_that_was_left_unfinished_is_harmless() -> None:
    """A loop that was stopped in the middle and closed; its task is destroyed while it sleeps."""
    cancel = Cancellation()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    protected = retry_on_refused(lambda: refuse_async(), policy=A_MINUTE, cancel=cancel)
    task = loop.create_task(protected())
    loop.run_until_complete(asyncio.sleep(0.01))
    assert len(cancel._wakers) == 1
    loop.close()
    cancel.cancel()
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task


async def refuse_async() -> None:
    raise refusal()


def test_two_loops_in_two_threads_share_one_protected_coroutine_function() -> None:
    """Nothing of a loop is kept in the function."""
    cancel, errors = Cancellation(), []
    protected: Any = retry_on_refused(refuse_async, policy=A_MINUTE, cancel=cancel)

    def run() -> None:
        try:
            asyncio.run(protected())
        except ConnectionRefusedError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(cancel._wakers) < 2:
        time.sleep(0.001)
    start = time.monotonic()
    cancel.cancel()
    for thread in threads:
        thread.join(5)
    assert late(start) < PROMPT
    assert len(errors) == 2


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_a_thousand_coroutines_are_ended_together(world: str) -> None:
    """By one word, and none is forgotten."""
    cancel, errors = Cancellation(), []

    @retry_on_refused(policy=A_MINUTE, cancel=cancel)
    async def connect() -> None:
        raise refusal()

    async def caller() -> None:
        try:
            await connect()
        except ConnectionRefusedError as error:
            errors.append(error)

    async def main() -> None:
        tasks = [asyncio.ensure_future(caller()) for _ in range(1000)]
        while len(cancel._wakers) < 1000:
            await asyncio.sleep(0)
        cancel.cancel()
        await asyncio.gather(*tasks)

    async def main_trio() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(caller)
            while len(cancel._wakers) < 1000:
                await trio.sleep(0)
            cancel.cancel()

    start = time.monotonic()
    asyncio.run(main()) if world == "asyncio" else trio.run(main_trio)
    assert late(start) < 30  # of the minute that each of them would wait
    assert len(errors) == 1000
    assert cancel._wakers == {}


def test_a_cancellation_shows_its_state_and_stays_cancelled() -> None:
    """It cannot be taken back."""
    cancel = Cancellation()
    assert not cancel.cancelled
    assert repr(cancel) == "<Cancellation not cancelled>"
    cancel.cancel()
    cancel.cancel()
    assert cancel.cancelled
    assert repr(cancel) == "<Cancellation cancelled>"
