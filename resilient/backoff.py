"""How long to wait before the next attempt, with its bounds.

Pure: attempt number, previous delay and a random number in, seconds out. No clock, no lock, no I/O.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias, final, get_args

from tenacity.wait import wait_base

from ._values import Frozen, frozen
from .errors import PolicyError

if TYPE_CHECKING:
    from tenacity import RetryCallState

Jitter: TypeAlias = Literal["none", "full", "equal", "decorrelated"]
JITTERS: tuple[str, ...] = get_args(Jitter)

# The system's entropy and not the `random` module's generator: a program that calls `random.seed(0)`, and the workers
# that it forks, would otherwise wait in step, which is what jitter is there to prevent.
_system_random = random.SystemRandom().random


def seconds(field: str, value: object) -> float:
    """Read a duration at the door: an int or float of seconds, or a `timedelta`.

    Raises:
        PolicyError: it is anything else, or not finite.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PolicyError(f"{field} must be a number of seconds or a timedelta, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise PolicyError(f"{field} must be a finite number of seconds, not an integer beyond any float") from None
    if not math.isfinite(number):
        raise PolicyError(f"{field} must be a finite number of seconds, not {value!r}")
    return number + 0.0  # no minus zero


@final
@frozen
class Backoff(Frozen, wait_base):
    """Exponential backoff with jitter and hard bounds; a tenacity wait strategy.

    With `high(n) = min(maximum, initial * factor ** (n - 1))` for retry n ≥ 1, the delay before it is

    - `"none"`: high(n);
    - `"full"`: uniform in [0, high(n)];
    - `"equal"`: high(n) / 2 plus uniform in [0, high(n) / 2];
    - `"decorrelated"`: uniform in [initial, min(maximum, 3 * previous)]; the first previous delay is `initial`.

    For every n up to 10**9 and every legal field: 0 ≤ delay ≤ maximum, never NaN, no overflow, `high` never decreases,
    and at the maximum the jittered delays stay spread.

    Attributes:
        initial: seconds, `high(1)`. Default 0.05: a server that was just restarting is met soon.
        maximum: seconds, the cap. Default 1.0: the mean wait after the service is back is about 0.4 of it.
        factor: growth per retry, ≥ 1. Default 2.
        jitter: default "equal": it never fires twice at once and still spreads over half the range.

    Raises:
        PolicyError: a field is not a finite number, `initial > maximum`, `factor < 1`, an unknown jitter.
            Both `initial` and `maximum` may be 0: no wait at all.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015), for the names of the jitters.
    """

    initial: float = 0.05
    maximum: float = 1.0
    factor: float = 2.0
    jitter: Jitter = "equal"

    def __init__(
        self,
        *,
        initial: float | timedelta = 0.05,
        maximum: float | timedelta = 1.0,
        factor: float = 2.0,
        jitter: Jitter = "equal",
    ) -> None:
        initial = seconds("Backoff.initial", initial)
        maximum = seconds("Backoff.maximum", maximum)
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            raise PolicyError(f"Backoff.factor must be a number of at least 1, not {factor!r}")
        factor = seconds("Backoff.factor", factor)
        if maximum < 0:
            raise PolicyError(f"Backoff.maximum must be at least 0, not {maximum!r}")
        if initial < 0 or (initial == 0 and maximum > 0):
            raise PolicyError(
                f"Backoff.initial must be greater than 0, not {initial!r} (no wait at all: maximum=0 as well)"
            )
        if initial > maximum:
            hint = "; maximum is 1 second unless it is given" if maximum == 1 else ""
            raise PolicyError(f"Backoff.initial must not exceed maximum: {initial!r} > {maximum!r}{hint}")
        if factor < 1:
            raise PolicyError(f"Backoff.factor must be at least 1, not {factor!r}")
        if not isinstance(jitter, str) or jitter not in JITTERS:
            raise PolicyError(f"Backoff.jitter must be one of {', '.join(JITTERS)}, not {jitter!r}")
        self._put(initial=initial, maximum=maximum, factor=factor, jitter=jitter)

    # By hand: a dataclass compiles each of these at every import.
    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Backoff) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        initial, maximum, factor, jitter = self._key()
        return f"Backoff({initial=}, {maximum=}, {factor=}, {jitter=})"

    def _key(self) -> tuple[float, float, float, str]:
        return self.initial, self.maximum, self.factor, self.jitter

    def high(self, retry: int) -> float:
        """Return the upper bound of the delay before retry number `retry` ≥ 1, in seconds, before jitter."""
        if self.factor == 1.0:  # 1.0 ** n is 1 also for an n that no float can hold
            return self.initial
        try:
            return min(self.maximum, self.initial * self.factor ** (retry - 1))
        except OverflowError:
            return self._high_in_steps(retry)

    def _high_in_steps(self, retry: int) -> float:
        # The power alone overflows where its product with a tiny `initial` may not.
        grown = self.initial
        for step in range(4):
            try:
                grown *= self.factor ** ((retry - 1 + step) // 4)
            except OverflowError:
                return self.maximum
        return min(self.maximum, grown)

    def delay(self, retry: int, previous: float = 0.0, uniform: Callable[[], float] = _system_random) -> float:
        """Return the delay before retry number `retry` ≥ 1, in seconds.

        Args:
            retry: 1 for the retry after the first failed attempt.
            previous: the delay before the last retry; only "decorrelated" looks at it.
            uniform: gives a number in [0, 1).
        """
        high = self.high(retry)
        if self.jitter == "none":
            return high
        if self.jitter == "full":
            return high * uniform()
        if self.jitter == "equal":
            half = high / 2
            return min(high, half + half * uniform())  # min: half of an odd subnormal rounds up
        low = self.initial
        top = min(self.maximum, 3 * max(previous, low))
        return min(top, low + (top - low) * uniform())

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the delay after this failed attempt: tenacity's wait protocol."""
        # tenacity leaves the delay it took last in `upcoming_sleep` until a new one is known.
        return self.delay(retry_state.attempt_number, retry_state.upcoming_sleep)
