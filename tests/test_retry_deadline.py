"""The deadline holds, on every driver: the last attempt is made at it, none after it, and no pause goes past it."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import tenacity
from drivers import Client, Driver, noted, notes_of, on_both_twins, on_every_driver, oversleep, refusal

from resilient import Backoff, Policy
from resilient.testing import FakeClock


class Slow:
    """A client that takes its time to be refused, and remembers when it was called."""

    def __init__(self, clock: FakeClock, takes: float = 0.0) -> None:
        self.clock = clock
        self.takes = takes
        self.called_at: list[float] = []

    def __call__(self) -> None:
        self.called_at.append(self.clock.now())
        self.clock.advance(self.takes)
        raise refusal()


def every(seconds: float, deadline: float | None) -> Policy:
    return Policy(deadline=deadline, backoff=tenacity.wait_fixed(seconds), observers=())


@on_every_driver
def test_the_last_attempt_is_made_at_the_deadline(driver: Driver, fake_clock: FakeClock) -> None:
    """The delay that would overshoot is shortened."""
    client = Slow(fake_clock)
    driver.fail(client, policy=every(10, deadline=25))
    assert client.called_at == [0, 10, 20, 25]
    assert fake_clock.sleeps == [10, 10, 5]


@on_every_driver
def test_no_attempt_follows_the_one_at_the_deadline(driver: Driver, fake_clock: FakeClock) -> None:
    """Also where the pauses add up to the deadline exactly."""
    client = Slow(fake_clock)
    error = driver.fail(client, policy=every(10, deadline=30), target="db:5432")
    assert client.called_at == [0, 10, 20, 30]
    assert notes_of(error) == noted("resilient: gave up after 4 attempts in 30.0 s (deadline 30 s) on db:5432")


@on_every_driver
def test_one_delay_longer_than_the_deadline_still_leaves_two_attempts(driver: Driver, fake_clock: FakeClock) -> None:
    """An hour between attempts, half a second in all."""
    client = Slow(fake_clock)
    driver.fail(client, policy=every(3600, deadline=0.5))
    assert client.called_at == [0, 0.5]


@on_every_driver
def test_the_deadline_counts_from_the_start_of_the_first_attempt(driver: Driver, fake_clock: FakeClock) -> None:
    """Attempts take their part of it."""
    client = Slow(fake_clock, takes=4)
    driver.fail(client, policy=every(10, deadline=25))
    assert client.called_at == [0, 14, 25]
    assert fake_clock.sleeps == [10, 7]


@on_every_driver
@pytest.mark.parametrize("takes", [25, 26, 1000])
def test_an_attempt_that_used_the_deadline_up_is_the_last(driver: Driver, fake_clock: FakeClock, takes: float) -> None:
    """Nothing cuts it short, and nothing follows it, not even a pause."""
    client = Slow(fake_clock, takes=takes)
    error = driver.fail(client, policy=every(10, deadline=25))
    assert client.called_at == [0]
    assert fake_clock.sleeps == []
    assert notes_of(error) == noted(f"resilient: gave up after 1 attempt in {takes:.1f} s (deadline 25 s)")


@on_every_driver
def test_an_attempt_that_ends_just_before_the_deadline_has_one_more_after_it(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """There is a second left to wait."""
    client = Slow(fake_clock, takes=24)
    driver.fail(client, policy=every(10, deadline=25))
    assert client.called_at == [0, 25]


@on_every_driver
def test_success_at_the_deadline_counts(driver: Driver, fake_clock: FakeClock) -> None:
    """The last attempt is a real one."""
    assert driver.call(Client(refusal(), refusal()), policy=every(10, deadline=20)) == "connected"
    assert fake_clock.now() == 20


@on_every_driver
def test_no_deadline_means_no_limit(driver: Driver, fake_clock: FakeClock) -> None:
    """Months go by."""
    client = Client(*(refusal() for _ in range(12)))
    assert driver.call(client, policy=every(1_000_000, deadline=None)) == "connected"
    assert fake_clock.now() == 12_000_000


@on_every_driver
def test_a_deadline_may_be_a_timedelta(driver: Driver, fake_clock: FakeClock) -> None:
    """And so may be what a backoff gives."""
    client = Slow(fake_clock)
    policy = Policy(deadline=timedelta(minutes=1), backoff=lambda state: timedelta(seconds=40), observers=())  # type: ignore[arg-type,return-value]
    driver.fail(client, policy=policy)
    assert client.called_at == [0, 40, 60]


@on_every_driver
@pytest.mark.parametrize("late", [0.0, 0.1, 0.25])
def test_woken_a_little_late_the_last_attempt_is_still_made(driver: Driver, fake_clock: FakeClock, late: float) -> None:
    """Up to a quarter of a second: every machine is a little late."""
    client = Slow(fake_clock)
    oversleep(fake_clock, late)
    driver.fail(client, policy=every(10, deadline=8))
    assert client.called_at == [0, 8 + late]


@on_every_driver
@pytest.mark.parametrize("late", [0.26, 3.0, 86_400.0])
def test_woken_too_late_no_attempt_is_made(driver: Driver, fake_clock: FakeClock, late: float) -> None:
    """A process that was stopped, a laptop that slept, a loop that was busy."""
    client = Slow(fake_clock)
    oversleep(fake_clock, late)
    error = driver.fail(client, policy=every(10, deadline=8))
    assert client.called_at == [0]
    assert notes_of(error) == noted(
        f"resilient: gave up after 1 attempt in {8 + late:.1f} s (deadline 8 s, woken {late:.2f} s late)"
    )


@on_every_driver
@pytest.mark.parametrize(
    ("takes", "sleeps", "called_at"), [(2, [8, 8, 3], [0, 10, 20, 25]), (12, [0] * 3, [0, 12, 24])]
)
def test_what_a_slow_observer_takes_is_taken_from_the_pause(
    driver: Driver, fake_clock: FakeClock, takes: float, sleeps: list[float], called_at: list[float]
) -> None:
    """Also where it takes more than there is, and past the deadline nothing is tried."""
    client = Slow(fake_clock)
    driver.fail(client, policy=every(10, deadline=25).replace(observers=(lambda event: fake_clock.advance(takes),)))
    assert fake_clock.sleeps == sleeps
    assert client.called_at == called_at


@on_every_driver
def test_woken_late_long_before_the_deadline_the_call_goes_on(driver: Driver, fake_clock: FakeClock) -> None:
    """Only the deadline is held against it."""
    client = Slow(fake_clock)
    oversleep(fake_clock, 5)
    driver.fail(client, policy=every(10, deadline=40))
    assert client.called_at == [0, 15, 30]


@on_every_driver
def test_woken_late_into_the_deadline_it_is_the_last_attempt(driver: Driver, fake_clock: FakeClock) -> None:
    """A pause that was to end before the deadline and ended just after it."""
    client = Slow(fake_clock)
    oversleep(fake_clock, 5.125)
    driver.fail(client, policy=every(10, deadline=15))
    assert client.called_at == [0, 15.125]


@on_both_twins
@pytest.mark.parametrize("deadline", [0.1, 1 / 3, 7.7, 1e6])
def test_the_pauses_never_add_up_to_more_than_the_deadline(
    driver: Driver, fake_clock: FakeClock, deadline: float
) -> None:
    """Whatever the jitter and the rounding of floats, and the last attempt is at the deadline."""
    client = Slow(fake_clock)
    driver.fail(client, policy=Policy(deadline=deadline, backoff=Backoff(maximum=deadline), observers=()))
    assert client.called_at[-1] == pytest.approx(deadline)
    assert all(at < deadline for at in client.called_at[:-1])


@on_both_twins
@pytest.mark.parametrize("since", [0.1, 1e6 / 3, 1e9 + 0.1])
def test_no_attempt_is_won_by_rounding(driver: Driver, fake_clock: FakeClock, since: float) -> None:
    """On a clock that has run for long, waking at the deadline may look like waking just before it."""
    fake_clock.advance(since)
    client = Slow(fake_clock)
    for deadline in (0.1, 0.3, 0.7, 1.1):
        client.called_at.clear()
        driver.fail(client, policy=every(10, deadline=deadline))
        assert len(client.called_at) == 2


@on_every_driver
def test_attempts_and_deadline_hold_together(driver: Driver, fake_clock: FakeClock) -> None:
    """Whichever comes first."""
    client = Slow(fake_clock)
    driver.fail(client, policy=every(10, deadline=25).replace(attempts=2))
    assert client.called_at == [0, 10]


@on_every_driver
def test_a_call_has_the_whole_deadline_however_old_the_function_is(driver: Driver, fake_clock: FakeClock) -> None:
    """Each call counts from its own first attempt."""
    client = Slow(fake_clock)
    driver.fail_often(2, client, policy=every(10, deadline=15))
    assert client.called_at == [0, 10, 15, 15, 25, 30]


@on_every_driver
def test_the_real_clock_keeps_the_deadline_too(driver: Driver) -> None:
    """Within what a loaded machine is late by."""
    called_at: list[float] = []

    def connect() -> None:
        called_at.append(time.monotonic())
        raise refusal()

    driver.fail(connect, policy=Policy(deadline=0.12, backoff=Backoff(initial=0.05, maximum=0.05), observers=()))
    assert len(called_at) >= 2
    assert called_at[-1] - called_at[0] <= 0.12 + 0.25 + 0.1
