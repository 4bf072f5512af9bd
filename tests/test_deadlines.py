"""The deadline holds: whatever the policy, however long attempts take, however late the sleeper is woken.

Every way to call is compared with a model of twenty lines that knows nothing of the library.
All times are multiples of 1/64 s where results are compared exactly, so that no rounding enters.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient import Attempt, Backoff, Cancellation, Policy, attempts, retry_on_refused
from resilient import clock as resilient_clock
from resilient.testing import FakeClock

LATE = 0.25
MOST = 10

SYNC = settings(deadline=None, max_examples=50, database=None)
ASYNC = settings(deadline=None, max_examples=12, database=None)


class LateClock(FakeClock):
    """A clock on which sleepers are woken late, as in a stopped process or on a loaded event loop."""

    def __init__(self, lags: tuple[float, ...]) -> None:
        super().__init__()
        self._lags = iter(lags)

    def sleep(self, seconds: float, cancellation: Cancellation | None, caller: Any) -> None:
        super().sleep(seconds, cancellation, caller)
        self.advance(next(self._lags, 0.0))

    async def sleep_async(self, seconds: float, cancellation: Cancellation | None, caller: Any) -> None:
        await super().sleep_async(seconds, cancellation, caller)
        self.advance(next(self._lags, 0.0))


@contextlib.contextmanager
def late_clock(lags: tuple[float, ...]) -> Iterator[FakeClock]:
    clock = LateClock(lags)
    resilient_clock.put(clock)
    try:
        yield clock
    finally:
        resilient_clock.put(None)
        clock.end()


@dataclass(frozen=True)
class Story:
    """A policy and what happens to it: `failures` attempts fail, each takes its time, each sleep ends late."""

    policy: Policy
    failures: int
    durations: tuple[float, ...]
    lags: tuple[float, ...] = ()


@dataclass
class Course:
    """What came of it."""

    starts: list[float] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    recovered: bool = False


def model(story: Story) -> Course:
    policy, backoff, course = story.policy, story.policy.backoff, Course()
    assert isinstance(backoff, Backoff)
    deadline = float("inf") if policy.deadline is None else policy.deadline
    now, last = 0.0, False
    for number in range(1, MOST + 2):
        course.starts.append(now)
        now += story.durations[number - 1]
        course.recovered = number > story.failures
        if course.recovered or last or number == policy.attempts or now >= deadline:
            return course
        pause = min(backoff.maximum, backoff.initial * backoff.factor ** (number - 1))
        last = pause >= deadline - now
        course.pauses.append(min(pause, deadline - now))
        now += course.pauses[-1] + (story.lags[number - 1] if story.lags else 0.0)
        if now > deadline + LATE:
            return course
        last = last or now >= deadline
    raise AssertionError("a story ends after MOST failures")


Driver = Callable[[Policy, Callable[[], None]], None]


def call(policy: Policy, attempt: Callable[[], None]) -> None:
    retry_on_refused(policy=policy)(attempt)()


def call_async(policy: Policy, attempt: Callable[[], None]) -> None:
    @retry_on_refused(policy=policy)
    async def connect() -> None:
        attempt()

    asyncio.run(connect())


def block(policy: Policy, attempt: Callable[[], None]) -> None:
    for number, each in enumerate(attempts(policy=policy), start=1):
        with each:
            check(each, number, policy)
            attempt()


def block_async(policy: Policy, attempt: Callable[[], None]) -> None:
    async def connect() -> None:
        number = 0
        async for each in attempts(policy=policy):
            number += 1
            with each:
                check(each, number, policy)
                attempt()

    asyncio.run(connect())


def check(each: Attempt, number: int, policy: Policy) -> None:
    """What an attempt says of itself: enough time for the client, never none."""
    assert each.number == number
    if policy.deadline is None:
        assert each.remaining is None
    else:
        assert each.remaining == max(LATE, policy.deadline - each.elapsed)


def course_of(drive: Driver, story: Story) -> Course:
    """Live the story on the fake clock."""
    course = Course()
    with late_clock(story.lags) as clock:

        def attempt() -> None:
            course.starts.append(clock.now())
            clock.advance(story.durations[len(course.starts) - 1])
            if len(course.starts) <= story.failures:
                raise ConnectionRefusedError(111, "Connection refused")
            course.recovered = True

        with contextlib.suppress(ConnectionRefusedError):
            drive(story.policy, attempt)
        course.pauses = clock.sleeps
    return course


def dyadic(low: int, high: int) -> st.SearchStrategy[float]:
    """Multiples of 1/64."""
    return st.integers(low, high).map(lambda n: n / 64)


@st.composite
def stories(draw: st.DrawFn, *, late: bool = False) -> Story:
    initial, maximum = sorted((draw(dyadic(1, 64)), draw(dyadic(1, 256))))
    policy = Policy(
        attempts=draw(st.none() | st.integers(1, MOST)),
        deadline=draw(st.none() | dyadic(1, 640)),
        backoff=Backoff(initial=initial, maximum=maximum, factor=draw(st.sampled_from([1.0, 1.5, 2.0])), jitter="none"),
        observers=(),
    )
    brief_or_long = st.just(0.0) | dyadic(0, 16) | dyadic(0, 256)
    several = st.lists(brief_or_long, min_size=MOST + 1, max_size=MOST + 1).map(tuple)
    lags = draw(several) if late else ()
    return Story(policy, draw(st.integers(0, MOST)), draw(several), lags)


def story(deadline: float, initial: float, *durations: float, lags: tuple[float, ...] = ()) -> Story:
    """One that is refused to the end, with the same pause every time."""
    policy = Policy(deadline=deadline, backoff=Backoff(initial=initial, maximum=initial, jitter="none"), observers=())
    return Story(policy, MOST, (*durations, *[0.0] * MOST), lags and (*lags, *[0.0] * MOST))


on_time = [story(1.0, pause, *took) for pause, *took in [(0.25,), (0.375,), (1.0,), (2.0,), (0.5, 0.5), (0.5, 1.0)]]
too_late = [story(1.0, 0.5, lags=(lag,)) for lag in (0.5, 0.75, 0.765625, 1.0)]


@pytest.mark.parametrize("drive", [call, block])
@SYNC
@given(told=stories())
@example(told=on_time[0])
@example(told=on_time[1])
@example(told=on_time[2])
@example(told=on_time[3])
@example(told=on_time[4])
@example(told=on_time[5])
def test_a_call_takes_the_course_of_the_model(drive: Driver, told: Story) -> None:
    """Attempts start when they should, sleeps are as long as they should be, to the last bit."""
    assert course_of(drive, told) == model(told)


@pytest.mark.parametrize("drive", [call_async, block_async])
@ASYNC
@given(told=stories())
def test_a_coroutine_takes_the_course_of_the_model(drive: Driver, told: Story) -> None:
    assert course_of(drive, told) == model(told)


@pytest.mark.parametrize("drive", [call, block])
@SYNC
@given(told=stories(late=True))
@example(told=too_late[0])
@example(told=too_late[1])
@example(told=too_late[2])
@example(told=too_late[3])
def test_a_call_that_is_woken_late_takes_the_course_of_the_model(drive: Driver, told: Story) -> None:
    """A quarter of a second past the deadline is forgiven, and nothing beyond it."""
    assert course_of(drive, told) == model(told)


@pytest.mark.parametrize("drive", [call_async, block_async])
@ASYNC
@given(told=stories(late=True))
def test_a_coroutine_that_is_woken_late_takes_the_course_of_the_model(drive: Driver, told: Story) -> None:
    assert course_of(drive, told) == model(told)


@st.composite
def jittered_stories(draw: st.DrawFn) -> Story:
    """Any numbers, any jitter."""
    initial, maximum = sorted((draw(st.floats(0.01, 5)), draw(st.floats(0.01, 5))))
    policy = Policy(
        attempts=draw(st.none() | st.integers(1, MOST)),
        deadline=draw(st.floats(0.001, 10)),
        backoff=Backoff(
            initial=initial,
            maximum=maximum,
            factor=draw(st.floats(1, 4)),
            jitter=draw(st.sampled_from(["none", "full", "equal", "decorrelated"])),
        ),
        observers=(),
    )
    several = st.lists(st.just(0.0) | st.floats(0, 3), min_size=MOST + 1, max_size=MOST + 1).map(tuple)
    return Story(policy, draw(st.integers(0, MOST)), draw(several))


def check_bounds(told: Story, course: Course) -> None:
    policy = told.policy
    assert policy.deadline is not None
    assert len(course.starts) <= (policy.attempts or MOST + 1)
    assert len(course.pauses) == len(course.starts) - 1
    for number, start in enumerate(course.starts):
        assert start <= policy.deadline + 1e-9 or number == 0
    for number, pause in enumerate(course.pauses):
        woken = course.starts[number] + told.durations[number] + pause
        assert pause >= 0
        assert woken <= policy.deadline + 1e-9
        assert course.starts[number + 1] == pytest.approx(woken)
    if not course.recovered and len(course.starts) != policy.attempts:
        ended = course.starts[-1] + told.durations[len(course.starts) - 1]
        assert ended >= policy.deadline - 1e-9, "gave up before its time"


@pytest.mark.parametrize("drive", [call, block])
@SYNC
@given(told=jittered_stories())
def test_no_jitter_carries_a_call_past_its_deadline(drive: Driver, told: Story) -> None:
    """No sleep ends after it, no attempt but the first starts after it, and no call gives up before it."""
    check_bounds(told, course_of(drive, told))


@pytest.mark.parametrize("drive", [call_async, block_async])
@ASYNC
@given(told=jittered_stories())
def test_no_jitter_carries_a_coroutine_past_its_deadline(drive: Driver, told: Story) -> None:
    check_bounds(told, course_of(drive, told))


@pytest.mark.parametrize("drive", [call, call_async, block, block_async])
def test_a_delay_that_would_overshoot_gives_one_last_attempt_at_the_deadline(drive: Driver) -> None:
    """Scheduled for the deadline itself, and no other follows it, however quickly it fails."""
    course = course_of(drive, story(1.0, 0.375))
    assert course.starts == [0.0, 0.375, 0.75, 1.0]
    assert course.pauses == [0.375, 0.375, 0.25]


@pytest.mark.parametrize("drive", [call, call_async, block, block_async])
def test_an_attempt_that_outlasts_the_deadline_is_the_last(drive: Driver) -> None:
    """It is not cut short, and no pause follows it."""
    course = course_of(drive, story(1.0, 0.25, 5.0))
    assert course.starts == [0.0]
    assert course.pauses == []


@pytest.mark.parametrize("drive", [call, call_async, block, block_async])
@pytest.mark.parametrize(("lag", "number"), [(0.5, 2), (0.75, 2), (0.765625, 1)])
def test_who_is_woken_too_late_does_not_try_again(drive: Driver, lag: float, number: int) -> None:
    """Due at 0.5 s with a deadline of 1 s: at 1.25 s it may still try, a moment later it may not."""
    assert len(course_of(drive, story(1.0, 0.5, lags=(lag,))).starts) == number


def test_a_slow_observer_does_not_carry_a_sleep_past_the_deadline() -> None:
    """What it takes is taken from the sleep that follows."""
    with late_clock(()) as clock:
        backoff = Backoff(initial=2.0, maximum=2.0, jitter="none")
        policy = Policy(deadline=1.0, backoff=backoff, observers=(lambda event: clock.advance(0.125),))

        @retry_on_refused(policy=policy)
        def connect() -> float:
            if clock.now() < 0.5:
                raise ConnectionRefusedError(111, "Connection refused")
            return clock.now()

        assert connect() == 1.0
