"""What a policy comes to: how soon it notices that a service is back, and how often it connects.

Pure: a policy in, numbers out. Means over draws with fixed seeds, so that the same policy has the same numbers.
"""

from __future__ import annotations

import itertools
import math
import random
from typing import Final

from .._values import NamedTuple
from ..backoff import Backoff
from ..policy import Policy

MINUTE: Final = 60.0
DRAWS: Final = 40
"""Schedules that are averaged: the mean of 80 connects is then known to about one in a hundred."""

MOST_RETRIES: Final = 20_000
"""Delays of all schedules together, and of one that is drawn; what goes on for longer is worked out from the mean."""

_LATE: Final = 10**6  # a retry at which every backoff that grows has reached its maximum
_STEADY_DRAWS: Final = 20_000


class Expected(NamedTuple):
    """What is to be expected of a policy, for one caller.

    Attributes:
        wait: mean seconds from "the service is back" to the next attempt, late in an outage; None where it never
            pauses.
        longest_wait: the longest that this can take.
        first_minute: mean attempts in the first minute, the first call included; None: as many as it can.
        each_minute: mean attempts in every later minute; None where it gives up before, or as many as it can.
        gives_up_after: mean seconds until it gives up; None: never.
        attempts: mean attempts until then; None: no end, or as many as it can.
    """

    wait: float | None
    longest_wait: float | None
    first_minute: float | None
    each_minute: float | None
    gives_up_after: float | None
    attempts: float | None


def expect(policy: Policy) -> Expected:
    """Work out what a policy that was read from a text comes to."""
    backoff = policy.backoff
    if not isinstance(backoff, Backoff):
        raise TypeError("only a Backoff has numbers")
    if backoff.maximum == 0:
        known = None if policy.attempts is None else float(policy.attempts)
        after = policy.deadline if known is None else 0.0
        return Expected(None, None, known, None, after, known)
    draws = _draws(policy)
    whole = len(draws[0]) < MOST_RETRIES
    late = _steady(backoff)
    mean = sum(late) / len(late)
    grows_up = not _never_grows_up(policy, backoff)
    if not grows_up:
        late = [delay for draw in draws for delay in draw]
    total = sum(late)
    gives_up_after, attempts = _end(policy, draws, mean, whole=whole)
    in_first = [_attempts_within(MINUTE, draw) for draw in draws]
    return Expected(
        wait=sum(delay * delay for delay in late) / (2 * total) if total else None,
        longest_wait=backoff.maximum if grows_up else max(late, default=None),
        first_minute=sum(in_first) / len(draws) if whole or sum(draws[0]) >= MINUTE else MINUTE / mean,
        each_minute=MINUTE / mean if gives_up_after is None or gives_up_after > MINUTE else None,
        gives_up_after=gives_up_after,
        attempts=attempts,
    )


def _draws(policy: Policy) -> list[list[float]]:
    first = policy.schedule(MOST_RETRIES, seed=0)
    more = min(DRAWS, MOST_RETRIES // (len(first) + 1)) - 1
    return [first, *(policy.schedule(MOST_RETRIES, seed=seed) for seed in range(1, more + 1))]


def _end(policy: Policy, draws: list[list[float]], mean: float, *, whole: bool) -> tuple[float | None, float | None]:
    if policy.attempts is None and policy.deadline is None:
        return None, None
    if whole:
        return sum(map(sum, draws)) / len(draws), sum(len(draw) + 1 for draw in draws) / len(draws)
    by_count = math.inf if policy.attempts is None else policy.attempts * mean
    after = min(by_count, math.inf if policy.deadline is None else policy.deadline)
    return after, after / mean


def _never_grows_up(policy: Policy, backoff: Backoff) -> bool:
    """Whether a policy has made all its attempts before its delays are at their maximum."""
    return policy.attempts is not None and (policy.attempts < 2 or backoff.high(policy.attempts - 1) < backoff.maximum)


def bounds(backoff: Backoff, retry: int) -> tuple[float, float]:
    """Return the least and the greatest delay before retry number `retry` ≥ 1."""
    high = backoff.high(retry)
    if backoff.jitter == "full":
        return 0.0, high
    if backoff.jitter == "equal":
        return high / 2, high
    if backoff.jitter == "decorrelated":
        with_previous = backoff.initial * 3.0 ** min(retry, 600)
        return backoff.initial, min(backoff.maximum, with_previous)
    return high, high


def _steady(backoff: Backoff) -> list[float]:
    """Draw delays from late in an outage; a wait in them is half their mean square over their mean."""
    uniform = random.Random(0).random
    previous, found = backoff.maximum, list[float]()
    for _ in range(_STEADY_DRAWS):
        previous = backoff.delay(_LATE, previous, uniform)
        found.append(previous)
    return found


def _attempts_within(seconds: float, delays: list[float]) -> int:
    """Count the attempts that begin before `seconds` have passed; the first call is one."""
    return 1 + sum(at < seconds for at in itertools.accumulate(delays))
