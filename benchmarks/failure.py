"""The call that is refused first: what a failed attempt costs beyond the attempt itself, with no sleep in it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import tenacity

from resilient import Backoff, Policy, log_events, retry_on_refused

from . import peers
from .report import Row
from .sampling import Spread, Timer, side_by_side, spread

TITLE: Final = (
    "The call that is refused first and then succeeds, no sleep, over tenacity (a loop by hand taken off both)"
)

BOUND: Final = 1.0
ROUNDS: Final = 120
MANY: Final = 5

_NO_WAIT: Final = Backoff(initial=0.0, maximum=0.0, jitter="none")


def measure() -> Iterator[Row]:
    """Measure one refused attempt and five, without observers and with logging."""
    with _sleepless():
        yield from _rows("engine only", _ours(), _tenacity(), BOUND, _others())
    with _sleepless(), cheap_handler() as logger:
        ours, theirs = _ours(log_events), _tenacity(before_sleep=tenacity.before_sleep_log(logger, logging.WARNING))
        yield from _rows("with logging", ours, theirs, None, {})


def _rows(
    what: str,
    ours: peers.Decorator,
    theirs: peers.Decorator,
    bound: float | None,
    others: dict[str, peers.Decorator],
) -> Iterator[Row]:
    decorators = (peers.by_hand, theirs, ours, *others.values())
    timers = [Timer(protect(refused_first(times)), unroll=1) for times in (1, MANY) for protect in decorators]
    once: list[list[float]] = []
    many: list[list[float]] = []
    for taken in side_by_side(timers, ROUNDS):
        first, then = taken[: len(decorators)], taken[len(decorators) :]
        once.append([its - first[0] for its in first])
        many.append([its - then[0] for its in then])
    further = [
        [(then - first) / (MANY - 1) for first, then in zip(*columns, strict=True)]
        for columns in zip(once, many, strict=True)
    ]
    for name, rounds in (
        (f"a call with 1 refused attempt, {what}", once),
        (f"a call with {MANY} refused attempts, {what}", many),
        (f"each further refused attempt, {what}", further),
    ):
        yield Row(
            what=name,
            bound=bound,
            measured=_over_tenacity(rounds, 2),
            peers={other: _over_tenacity(rounds, index) for index, other in enumerate(others, 3)},
            note=f"ours {_microseconds(rounds, 2)} µs, tenacity {_microseconds(rounds, 1)} µs",
        )


def _over_tenacity(rounds: list[list[float]], index: int) -> Spread:
    return spread(taken[index] / taken[1] for taken in rounds if taken[1] > 0)


def _microseconds(rounds: list[list[float]], index: int) -> str:
    return f"{spread(taken[index] for taken in rounds).median * 1e6:.1f}"


def refused_first(times: int) -> Callable[[], bool]:
    """Return a connect that is refused so many times and then works, over and over."""
    left = times

    def connect() -> bool:
        nonlocal left
        if left:
            left -= 1
            raise ConnectionRefusedError(111, "Connection refused")
        left = times
        return True

    return connect


def _ours(*observers: Any) -> peers.Decorator:
    return retry_on_refused(policy=Policy(backoff=_NO_WAIT, observers=observers))


def _tenacity(**settings: Any) -> peers.Decorator:
    """The least that tenacity can do: no limit, no wait, and a sleep that is none."""
    return tenacity.retry(  # type: ignore[no-any-return,call-overload,unused-ignore]
        retry=tenacity.retry_if_exception_type(ConnectionRefusedError),
        sleep=_no_sleep,
        **{"wait": tenacity.wait_none(), **settings},
    )


def _others() -> dict[str, peers.Decorator]:
    found = {"tenacity with a deadline": _tenacity(stop=tenacity.stop_before_delay(60), reraise=True)}
    with contextlib.suppress(ImportError):
        import stamina

        stamina.instrumentation.set_on_retry_hooks([])
        found["stamina"] = stamina.retry(
            on=ConnectionRefusedError, attempts=None, timeout=60.0, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0
        )
    with contextlib.suppress(ImportError):
        import backoff

        found["backoff"] = backoff.on_exception(
            backoff.constant, ConnectionRefusedError, interval=0, jitter=None, max_time=60, logger=None
        )
    return found


def _no_sleep(seconds: float) -> None:
    """Stand for `time.sleep`."""


@contextlib.contextmanager
def _sleepless() -> Iterator[None]:
    """Spare stamina and backoff, which cannot be told how to sleep, a system call for no time at all."""
    sleep = time.sleep
    time.sleep = _no_sleep  # type: ignore[assignment]
    try:
        yield
    finally:
        time.sleep = sleep


class _CheapHandler(logging.Handler):
    """Puts the message together, as any handler does, and writes it nowhere."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()


@contextlib.contextmanager
def cheap_handler() -> Iterator[logging.Logger]:
    """Give the library's logger one handler that writes nowhere, and take it away again."""
    logger = logging.getLogger("resilient")
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [_CheapHandler()], False
    try:
        yield logger
    finally:
        logger.handlers, logger.propagate = handlers, propagate
