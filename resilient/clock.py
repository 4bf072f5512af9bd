"""Time: what time it is, how a thread waits, and who may cut a wait short.

Ground floor: imports nothing of the house. Every other room asks this one for the time and for a pause,
so that `resilient.testing` can stand in for it here and nowhere else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

LONGEST_NAP = 86_400.0
"""Seconds of one operating-system sleep; longer ones are taken in pieces, because system calls overflow."""

now: Callable[[], float] = time.monotonic
"""Seconds on a clock that never jumps. Called as `clock.now()`, so that a stand-in is seen at once."""


class Cancellation:
    """Ends every sleep and every park that holds it, at once and from any thread.

    Give one to `retry_on_refused(cancel=...)` or `attempts(cancel=...)`.
    After `cancel()` a call that sleeps raises its last error, a call that fails is not retried,
    and a call that has not started makes its first attempt and no other.
    It cannot be taken back; it may be called from a signal handler.
    """

    __slots__ = ("__weakref__", "_cancelled", "_wakers")

    def __init__(self) -> None:
        self._cancelled = False
        self._wakers: dict[object, Callable[[], object]] = {}

    @property
    def cancelled(self) -> bool:
        """Whether `cancel()` has been called."""
        return self._cancelled

    def cancel(self) -> None:
        """End every sleep that holds this, now and from now on."""
        # The flag first, then the wakers: a sleeper registers first and looks at the flag second,
        # so one of the two always sees the other, without a lock that a signal handler could meet.
        self._cancelled = True
        for wake in self._wakers.copy().values():
            wake()

    def _watch(self, wake: Callable[[], object]) -> object:
        """Register what wakes one sleeper; `wake` must not raise. Returns the key for `_unwatch`."""
        key = object()
        self._wakers[key] = wake
        return key

    def _unwatch(self, key: object) -> None:
        """Forget a sleeper."""
        self._wakers.pop(key, None)

    def __repr__(self) -> str:
        return f"<Cancellation {'cancelled' if self._cancelled else 'not cancelled'}>"


class Signal(Protocol):
    """What ends a pause before its time: a `Cancellation`, or whatever else has news for a sleeper."""

    @property
    def cancelled(self) -> bool:
        """Whether the pause is over."""
        ...

    def _watch(self, wake: Callable[[], object]) -> object:
        """Register what wakes the sleeper."""
        ...

    def _unwatch(self, key: object) -> None:
        """Forget it."""
        ...


class Caller(Protocol):
    """Whoever waits: one failing call."""

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        ...


class StandIn(Protocol):
    """What stands in for the system's clock in a test."""

    def now(self) -> float:
        """Seconds."""
        ...

    def sleep(self, seconds: float, cancellation: Signal | None, caller: Caller) -> None:
        """Pause this thread."""
        ...

    async def sleep_async(self, seconds: float, cancellation: Signal | None, caller: Caller) -> None:
        """Pause this task, on asyncio or trio."""
        ...


stand_in: StandIn | None = None
"""The clock of a running test, or None."""

patience: bool = True
"""False while `resilient.testing.no_retries()` is in force: nobody waits, so nobody tries again."""


def put(clock: StandIn | None) -> None:
    """Let `clock` stand in for the system's clock, or, with None, put the system's back."""
    global now, stand_in
    stand_in = clock
    now = time.monotonic if clock is None else clock.now


def sleep(seconds: float, cancellation: Signal | None, caller: Caller) -> None:
    """Pause this thread for `seconds`, or until `cancellation` ends it. Ctrl-C interrupts it."""
    if stand_in is not None:
        stand_in.sleep(seconds, cancellation, caller)
        return
    until = now() + seconds
    if cancellation is None:
        while (left := until - now()) > 0:
            time.sleep(min(left, LONGEST_NAP))
        return
    gate = threading.Lock()
    gate.acquire()

    def wake() -> None:
        try:
            gate.release()
        except RuntimeError:  # two wakers: the gate is open already
            return

    key = cancellation._watch(wake)
    try:
        while not cancellation.cancelled and (left := until - now()) > 0:
            gate.acquire(timeout=min(left, LONGEST_NAP))
    finally:
        cancellation._unwatch(key)
