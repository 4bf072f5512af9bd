"""Timing things side by side on a machine that is not quiet.

A round times every member of a small group once, in random order, each for about a millisecond; a ratio is taken within
a round, and the median over many rounds is what counts. What slows the machine for longer than a round then slows all.
The clock is the thread's own processor time where that is fine enough, so another program's turn does not count.
The garbage collector is off while a clock runs and runs between rounds, so nobody pays for another's rubbish.
"""

from __future__ import annotations

import gc
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

NOW: Final = time.thread_time if time.get_clock_info("thread_time").resolution <= 1e-6 else time.perf_counter
"""Seconds. On Windows the processor's time is told in steps of 16 ms, so it is the wall's there."""

SAMPLE: Final = 0.001
"""Seconds one sample lasts: long beside the clock's resolution, short beside a scheduler's time slice."""

UNROLL: Final = 20
"""Calls that are written out in one turn of a loop, so that the loop itself is no part of the figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The middle of many measurements: median and quartiles."""

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Iterable[float]) -> Spread:
    """Return median and quartiles."""
    numbers = sorted(values)
    if len(numbers) < 2:
        return Spread(median=numbers[0], low=numbers[0], high=numbers[0], rounds=1)
    low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return Spread(median=median, low=low, high=high, rounds=len(numbers))


_SYNC: Final = """
def loop(subject, turns, now, repeat):
    started = now()
    for _ in repeat(None, turns):
        {calls}
    return now() - started
"""
_ASYNC: Final = "async " + _SYNC.strip()


class Timer:
    """Times calls of one subject, in a loop that is compiled for it alone.

    A loop shared by all subjects would let the interpreter specialise its call for the first and not for the others.

    Args:
        subject: what is called.
        call: the call, as source; the callable is named `subject` there.
        run: drives the loop's coroutine, where the call is awaited; None for a plain call.
        unroll: how often the call is written out. 1 for calls that take many microseconds.
        names: what else the call's source may name.
    """

    def __init__(
        self,
        subject: Callable[..., Any],
        call: str = "subject()",
        *,
        run: Callable[[Any], float] | None = None,
        unroll: int = UNROLL,
        **names: object,
    ) -> None:
        template = _SYNC if run is None else _ASYNC
        namespace: dict[str, Any] = dict(names)
        exec(template.format(calls="; ".join([call] * unroll)), namespace)
        self._loop = namespace["loop"]
        self._subject = subject
        self._run = run
        self._unroll = unroll
        self._turns = 0

    def _time(self, turns: int) -> float:
        seconds = self._loop(self._subject, turns, NOW, itertools.repeat)
        return seconds if self._run is None else self._run(seconds)

    def warm_up(self) -> None:
        """Let caches fill, and find out how many turns make one sample."""
        turns = 1
        while (seconds := self._time(turns)) < SAMPLE and turns < 1 << 24:
            turns *= 2
        self._turns = max(1, round(turns * SAMPLE / seconds))
        self._time(self._turns)

    def sample(self) -> float:
        """Return seconds per call."""
        if not self._turns:
            self.warm_up()
        return self._time(self._turns) / (self._turns * self._unroll)


@contextmanager
def collector_off() -> Iterator[None]:
    """Take what exists out of the collector's sight, and switch it off."""
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
        gc.collect()


def side_by_side(group: Sequence[Timer], rounds: int) -> list[tuple[float, ...]]:
    """Sample every timer once a round, in random order; return seconds per call, in the group's order."""
    order = list(range(len(group)))
    measured: list[tuple[float, ...]] = []
    with collector_off():
        for timer in group:
            timer.warm_up()
        for _ in range(rounds):
            random.shuffle(order)
            taken = [0.0] * len(group)
            for index in order:
                taken[index] = group[index].sample()
                gc.collect(0)  # the youngest only: a full collection empties the free lists that a call lives on
            measured.append(tuple(taken))
    return measured


def ratio(base: Timer, subject: Timer, rounds: int) -> Spread:
    """Return how many times the time of `base` a call of `subject` takes."""
    return spread(its / bare for bare, its in side_by_side((base, subject), rounds))


_TURNS: Final = """
def take_turns(subjects, turns, shuffle, wall, processor):
    order = list(enumerate(subjects))
    times = [([], []) for _ in subjects]
    for _ in range(turns):
        shuffle(order)
        for number, subject in order:
            busy = processor()
            started = wall()
            {call}
            passed = wall() - started
            busy = processor() - busy
            times[number][0].append(passed)
            times[number][1].append(busy)
    return times
"""


@dataclass(frozen=True, slots=True)
class Both:
    """Seconds of one call: on the wall, and of this thread's processor."""

    wall: float
    processor: float


def in_turn(
    subjects: Sequence[Callable[[], Any]], rounds: int, turns: int, *, run: Callable[[Any], Any] | None = None
) -> list[tuple[Both, ...]]:
    """Time calls that wait for another process, one of each subject at a time, in random order.

    The medians of so many turns are a round: what is preempted, here or there, is one call among many. The subjects
    should be as many of one kind as of another, because the interpreter specialises what they share for all of them.

    Args:
        subjects: functions without arguments, or coroutine functions.
        rounds: how many.
        turns: calls of each subject in one round.
        run: drives a coroutine; None for plain functions.
    """
    namespace: dict[str, Any] = {}
    text = _TURNS.strip().format(call="subject()" if run is None else "await subject()")
    exec(text if run is None else f"async {text}", namespace)
    measured: list[tuple[Both, ...]] = []
    with collector_off():
        for number in range(rounds + 1):
            times = namespace["take_turns"](subjects, turns, random.shuffle, time.perf_counter, NOW)
            if run is not None:
                times = run(times)
            gc.collect(0)
            if number:  # the first fills caches
                measured.append(tuple(Both(*map(statistics.median, taken)) for taken in times))
    return measured


def drive(coroutine: Any) -> float:
    """Run a coroutine that never suspends, without an event loop; return what it returned."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return float(finished.value)
    raise RuntimeError("the coroutine suspended: it needs an event loop")
