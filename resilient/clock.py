"""Time: what time it is, how a thread, a task or a greenlet waits, and who may cut a wait short.

Ground floor: imports nothing of the house. Every other room asks this one for the time and for a pause,
so that `resilient.testing` can stand in for it here and nowhere else.
Imports asyncio or trio only when one of them is running, so it is loaded already.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

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


if TYPE_CHECKING:  # a Protocol is dear to build, and only type checkers look at these

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
    """Pause this thread or greenlet for `seconds`, or until `cancellation` ends it. Ctrl-C interrupts it."""
    if (wait_for := _greenlets()) is not None:
        wait_for(sleep_async(seconds, cancellation, caller))
    elif stand_in is None:
        nap(seconds, cancellation)
    else:
        stand_in.sleep(seconds, cancellation, caller)


async def sleep_async(seconds: float, cancellation: Signal | None, caller: Caller) -> None:
    """Pause this task for `seconds`, or until `cancellation` ends it, on asyncio or trio."""
    if stand_in is None:
        await nap_async(seconds, cancellation)
    else:
        await stand_in.sleep_async(seconds, cancellation, caller)


def nap(seconds: float, cancellation: Signal | None) -> None:
    """As `sleep`, in real time whatever stands in for it."""
    if (wait_for := _greenlets()) is not None:
        wait_for(nap_async(seconds, cancellation))
        return
    until = time.monotonic() + seconds
    if cancellation is None:
        while (left := until - time.monotonic()) > 0:
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
        while not cancellation.cancelled and (left := until - time.monotonic()) > 0:
            gate.acquire(timeout=min(left, LONGEST_NAP))
    finally:
        cancellation._unwatch(key)


async def nap_async(seconds: float, cancellation: Signal | None) -> None:
    """As `sleep_async`, in real time whatever stands in for it."""
    on_this = _nap_trio if in_trio() else _nap_asyncio
    left = seconds
    while True:  # at least once: a pause of no length still lets other tasks run
        await on_this(min(left, LONGEST_NAP), cancellation)
        left -= LONGEST_NAP
        if left <= 0 or (cancellation is not None and cancellation.cancelled):
            return


def host() -> object:
    """Return what runs this task, its event loop; None: a coroutine that is driven by hand."""
    if in_trio():
        import trio

        return trio.lowlevel.current_trio_token()
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


def in_trio() -> bool:
    """Whether this is a trio task; otherwise it is an asyncio one."""
    trio = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def _greenlets() -> Callable[[Coroutine[Any, Any, None]], object] | None:
    """Return how to await something in this greenlet, or None where it is a plain thread.

    SQLAlchemy's async dialects call plain functions in a greenlet of an event loop, which would stand still meanwhile.
    """
    concurrency: Any = sys.modules.get("sqlalchemy.util.concurrency")
    try:
        found: Callable[[Coroutine[Any, Any, None]], object] | None = (
            concurrency.await_only if concurrency is not None and concurrency.in_greenlet() else None
        )
    except Exception:  # noqa: BLE001  # greenlet is not installed, or another SQLAlchemy than 2.0 and 2.1
        return None
    return found


async def _nap_asyncio(seconds: float, cancellation: Signal | None) -> None:
    import asyncio

    if cancellation is None:
        await asyncio.sleep(seconds)
        return
    loop = asyncio.get_running_loop()
    gate: asyncio.Future[None] = loop.create_future()

    def open_gate() -> None:
        if not gate.done():
            gate.set_result(None)

    def wake() -> bool:
        try:
            loop.call_soon_threadsafe(open_gate)
        except RuntimeError:  # the loop is closed, and nobody sleeps on it any more
            return False
        return True

    timer = loop.call_later(seconds, open_gate)
    key = cancellation._watch(wake)
    try:
        if cancellation.cancelled:
            open_gate()
        await gate
    finally:
        timer.cancel()
        cancellation._unwatch(key)


async def _nap_trio(seconds: float, cancellation: Signal | None) -> None:
    import trio

    if cancellation is None:
        await trio.sleep(seconds)
        return
    token, gate = trio.lowlevel.current_trio_token(), trio.Event()

    def wake() -> bool:
        try:
            token.run_sync_soon(gate.set)
        except trio.RunFinishedError:
            return False
        return True

    key = cancellation._watch(wake)
    try:
        if cancellation.cancelled:
            gate.set()
        with trio.move_on_after(seconds):
            await gate.wait()
    finally:
        cancellation._unwatch(key)
