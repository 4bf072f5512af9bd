"""The fake clock: time stands still until all who wait are waiting, and then jumps to the first who is due."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import tenacity
import trio
from drivers import DRIVERS, QUIET, Client, Driver, down, on_every_driver, refusal

from resilient import Backoff, Cancellation, Event, Policy, RetryScheduled, retry_on_refused
from resilient import clock as resilient_clock
from resilient.testing import FakeClock, RecordedEvents, fake_clock


def every(seconds: float, deadline: float | None = 100) -> Policy:
    return Policy(deadline=deadline, backoff=tenacity.wait_fixed(seconds), observers=())


def test_it_begins_at_zero_and_stands_still(fake_clock: FakeClock) -> None:
    """Real time does not move it."""
    assert (fake_clock.now(), fake_clock.waiting, fake_clock.sleeps) == (0, 0, [])
    time.sleep(0.005)
    assert fake_clock.now() == 0


def test_it_goes_forward_only(fake_clock: FakeClock) -> None:
    """By any number of seconds."""
    fake_clock.advance(2.5)
    fake_clock.advance(0)
    assert fake_clock.now() == 2.5
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="forward"):
            fake_clock.advance(wrong)
    assert fake_clock.now() == 2.5


@on_every_driver
def test_a_minute_passes_at_once(driver: Driver, fake_clock: FakeClock) -> None:
    """Whoever waits alone is never kept waiting."""
    start = time.monotonic()
    driver.fail(down(), policy=every(10, deadline=60))
    assert fake_clock.now() == 60
    assert fake_clock.sleeps == [10] * 6
    assert time.monotonic() - start < 1


@on_every_driver
def test_advancing_during_a_pause_counts_as_waiting(driver: Driver, fake_clock: FakeClock) -> None:
    """A test may push the clock instead of letting it jump."""
    with fake_clock.hold():
        thread = threading.Thread(target=lambda: driver.call(Client(refusal()), policy=every(10)))
        thread.start()
        while not fake_clock.waiting:
            time.sleep(0.0005)
        fake_clock.advance(9.5)
        time.sleep(0.01)
        assert fake_clock.waiting == 1
        fake_clock.advance(0.5)
        thread.join(5)
        assert not thread.is_alive()
    assert fake_clock.now() == 10


@on_every_driver
def test_a_held_clock_does_not_jump(driver: Driver, fake_clock: FakeClock) -> None:
    """Until the last hold ends."""
    with fake_clock.hold():
        with fake_clock.hold():
            thread = threading.Thread(target=lambda: driver.call(Client(refusal()), policy=every(10)))
            thread.start()
            time.sleep(0.02)
        time.sleep(0.02)
        assert (fake_clock.now(), fake_clock.waiting) == (0, 1)
    thread.join(5)
    assert fake_clock.now() == 10


def test_threads_and_tasks_wait_side_by_side(fake_clock: FakeClock) -> None:
    """In the order in which they are due, whatever they run on."""
    order: list[tuple[float, str]] = []

    def caller(driver: Driver, seconds: float) -> None:
        client = Client(refusal(), refusal())

        def connect() -> str:
            if client.calls:
                order.append((fake_clock.now(), str(driver)))
            return client()

        driver.call(connect, policy=every(seconds))

    with fake_clock.hold():
        threads = [
            threading.Thread(target=caller, args=(driver, seconds))
            for seconds, driver in enumerate(DRIVERS[: len(DRIVERS)], start=3)
        ]
        for thread in threads:
            thread.start()
        while fake_clock.waiting < len(threads):
            time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    expected = sorted(
        (float(seconds * times), str(driver)) for seconds, driver in enumerate(DRIVERS, start=3) for times in (1, 2)
    )
    assert sorted(order) == expected
    assert [at for at, _ in order] == sorted(at for at, _ in order)


def test_a_thread_that_is_awake_holds_up_the_clock(fake_clock: FakeClock) -> None:
    """What it does takes no time on this clock, however long it really takes."""
    seen: list[float] = []

    def busy() -> None:
        client = Client(refusal())

        def connect() -> str:
            if client.calls:
                time.sleep(0.03)
                seen.append(fake_clock.now())
            return client()

        retry_on_refused(connect, policy=every(5))()

    def patient() -> None:
        retry_on_refused(Client(refusal()), policy=every(1000, deadline=None))()

    with fake_clock.hold():
        threads = [threading.Thread(target=busy), threading.Thread(target=patient)]
        for thread in threads:
            thread.start()
        while fake_clock.waiting < 2:
            time.sleep(0.001)
    for thread in threads:
        thread.join(5)
    assert seen == [5]
    assert fake_clock.now() == 1000


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_many_tasks_share_the_clock(world: str, fake_clock: FakeClock, recorded_events: RecordedEvents) -> None:
    """All who are due at one time wake at that time."""

    @retry_on_refused(policy=every(4))
    async def connect() -> None:
        if fake_clock.now() < 8:
            raise refusal()

    async def main() -> None:
        await asyncio.gather(*(connect() for _ in range(300)))

    async def main_trio() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(connect)

    asyncio.run(main()) if world == "asyncio" else trio.run(main_trio)
    assert fake_clock.now() == 8
    assert len(recorded_events.of(RetryScheduled)) == 600


@on_every_driver
def test_a_cancellation_ends_a_pause_on_it(driver: Driver, fake_clock: FakeClock) -> None:
    """Without any time passing."""
    cancel = Cancellation()

    def observer(event: Event) -> None:
        if isinstance(event, RetryScheduled):
            threading.Timer(0.005, cancel.cancel).start()

    with fake_clock.hold():
        driver.fail(down(), policy=every(10).replace(observers=(observer,)), cancel=cancel)
    assert fake_clock.now() == 0


@on_every_driver
def test_a_pause_of_no_length_is_remembered_and_takes_no_time(driver: Driver, fake_clock: FakeClock) -> None:
    """There is nothing to jump over."""
    driver.fail(down(), policy=QUIET.replace(attempts=3))
    assert fake_clock.sleeps == [0, 0]
    assert fake_clock.now() == 0


def test_there_is_one_at_a_time(fake_clock: FakeClock) -> None:
    """Two clocks would not agree."""
    with pytest.raises(RuntimeError, match="one fake_clock at a time"):
        another().__enter__()
    assert resilient_clock.stand_in is fake_clock


another: Callable[[], Any] = fake_clock


def test_afterwards_real_time_passes_again() -> None:
    """Also where the block was left by an error."""
    with pytest.raises(KeyError), another():
        raise KeyError
    assert resilient_clock.stand_in is None
    start = time.monotonic()
    policy = QUIET.replace(backoff=Backoff(initial=0.02, maximum=0.02, jitter="none"))
    retry_on_refused(Client(refusal()), policy=policy)()
    assert time.monotonic() - start >= 0.0199


@on_every_driver
def test_whoever_still_waits_when_it_ends_is_let_go(driver: Driver) -> None:
    """A thread that a test forgot does not sleep for ever."""
    errors: list[BaseException] = []
    thread = threading.Thread(target=lambda: errors.append(driver.fail(down(), policy=every(50))))
    with another() as clock, clock.hold():
        thread.start()
        while not clock.waiting:
            time.sleep(0.0005)
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(errors[0], ConnectionRefusedError)


def test_it_does_not_jump_before_whoever_was_woken_has_come_to_it(fake_clock: FakeClock) -> None:
    """A loop that is busy for a while gets to the others first."""
    cancel = Cancellation()
    ended: dict[str, float] = {}

    async def wait(name: str, cancel: Cancellation | None) -> None:
        async def connect() -> None:
            if fake_clock.now() == 0:
                raise refusal()

        with contextlib.suppress(ConnectionRefusedError):
            await retry_on_refused(policy=every(5), cancel=cancel)(connect)()
        ended[name] = fake_clock.now()

    async def main() -> None:
        with fake_clock.hold():
            tasks = [asyncio.ensure_future(wait("other", None)), asyncio.ensure_future(wait("woken", cancel))]
            while fake_clock.waiting < 2:
                await asyncio.sleep(0)
            cancel.cancel()
            time.sleep(0.01)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert ended == {"woken": 0, "other": 5}
