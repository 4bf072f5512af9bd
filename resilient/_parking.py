"""Who waits on a circuit, whose turn it is, who wakes when.

Knows no circuit, no lock and no clock: the breaker calls in here under its lock, tells the time and when the next probe
may go, and wakes those that are handed back after it has let go of its lock.

While the circuit is open, one caller has the turn to probe. The first callers of up to two more threads or event loops
are told as well, each to go a quarter of a second later than the one before: a turn that is not taken, because its
thread or loop stands still, passes on without its owner's help. Everybody else only waits.
When the circuit closes, the callers are released in batches: 1, 2, 4, 8 and so on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final

from .clock import Cancellation

TURN: Final = 0.25
"""Seconds after which a turn that was not taken is the next one's as well."""

HEIRS: Final = 3
"""How many callers are told of the next probe, each of another thread or loop: the owner of the turn and two more."""

BATCH: Final = 0.05
"""Seconds after which the next batch is released, whether or not half of the last one has settled."""

RECENT: Final = 1.0
"""Seconds after a batch within which the circuit's opening is laid to it."""

MEMORY: Final = 10.0
"""Seconds for which the size of a batch that was refused is remembered."""


class Waiter:
    """One parked caller. It stands in for the call's `Cancellation`: news for it ends its pause like a cancellation."""

    __slots__ = ("_cancellation", "_wake", "batch", "heard", "host", "told")

    def __init__(self, cancellation: Cancellation | None, host: object = None) -> None:
        self._cancellation = cancellation
        self._wake: Callable[[], object] | None = None
        # Who can run on its own: an event loop, or else this caller, which blocks its thread.
        # One caller of each host is told of a turn, and a host that stands still does not keep it from the others.
        self.host: object = self if host is None else host
        self.told: bool = False
        self.heard: bool = False
        self.batch: int = 0

    @property
    def cancelled(self) -> bool:
        """Whether there is news: the pause is over."""
        return self.heard or (self._cancellation is not None and self._cancellation.cancelled)

    def _watch(self, wake: Callable[[], object]) -> object:
        self._wake = wake
        return None if self._cancellation is None else self._cancellation._watch(wake)

    def _unwatch(self, key: object) -> None:
        self._wake = None
        if self._cancellation is not None:
            self._cancellation._unwatch(key)

    def wake(self) -> bool:
        """End its pause, from any thread; False if its event loop is closed and it will never wake."""
        self.heard = True
        wake = self._wake
        return wake is None or wake() is not False


class Lot:
    """The parked callers of one circuit. All methods are called under the breaker's lock."""

    __slots__ = (
        "_batch",
        "_ceiling",
        "_floor",
        "_hosts",
        "_line",
        "_next_batch",
        "_refused_at",
        "_settled",
        "_size",
        "_told",
        "announced",
        "announced_at",
    )

    def __init__(self) -> None:
        # Ordered dicts, whose first entry is found at once also after many others were taken out before it.
        self._line: OrderedDict[Waiter, None] = OrderedDict()
        self._hosts: OrderedDict[object, OrderedDict[Waiter, None]] = OrderedDict()
        self._told: list[Waiter] = []
        self._floor = float("-inf")  # before this, nobody's turn has come
        self._batch = 0  # number of the batch that was released last
        self._size = 0  # how many it has; 0: none was released since the circuit closed
        self._settled = 0  # how many of them have come back
        self._ceiling: int | None = None  # where batches no longer double, after one was refused
        self._refused_at = float("-inf")
        self._next_batch = float("-inf")
        self.announced: float | None = None
        self.announced_at: float = float("-inf")

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self._line

    def enter(self, waiter: Waiter) -> list[Waiter]:
        """Put a caller at the end of the line; return whom to wake."""
        waiter.told = False
        its = self._hosts.get(waiter.host)
        if its is None:
            its = self._hosts[waiter.host] = OrderedDict()
        its[waiter] = None
        self._line[waiter] = None
        return [told for told in self._tell_heirs() if told is not waiter]

    def leave(self, waiter: Waiter) -> list[Waiter]:
        """Take a caller out of the line; return whom to wake."""
        was_told = waiter.told
        self._remove(waiter)
        told = self._tell_heirs()
        return self._told.copy() if was_told else told

    def due(self, waiter: Waiter, probe_at: float | None) -> float | None:
        """Return when this caller may go: at `probe_at`, if it has the turn; None: only when it is told.

        `probe_at` is None for a closed circuit: then it is the next batch that it waits for.
        """
        if not waiter.told:
            return None
        late = TURN * self._told.index(waiter)
        return (self._next_batch if probe_at is None else max(probe_at, self._floor)) + late

    def take_turn(self, waiter: Waiter, now: float) -> list[Waiter]:
        """Let the owner of the turn go, to probe; return whom to wake."""
        for late in self._told[: self._told.index(waiter)]:  # they have let their time pass
            late.told = False
            self._told.remove(late)
            if late.host in self._hosts:
                self._hosts.move_to_end(late.host)
        self._remove(waiter)
        self._floor = now + TURN  # until then, its probe is under way or the turn is the next one's
        return self._tell_heirs()

    def opened(self, now: float) -> list[Waiter]:
        """Return who has to hear that the next probe is due at another time."""
        if self._size and now - self._next_batch < RECENT:
            self._halve(now)
        self._size, self._floor = 0, now
        return self._told.copy()

    def closed(self, now: float) -> list[Waiter]:
        """Begin to release the callers; return whom to wake."""
        if now - self._refused_at > MEMORY:
            self._ceiling = None
        self._size = 0
        return self.release(now)

    def release(self, now: float, first: Waiter | None = None) -> list[Waiter]:
        """Release the next batch, `first` among them; return whom to wake."""
        if self._size == 0:
            size = 1
        elif self._ceiling is None or self._size * 2 <= self._ceiling:
            size = self._size * 2
        else:
            size = self._size + 1
        batch: list[Waiter] = [] if first is None else [first]
        for waiter in self._line:
            if len(batch) >= size:
                break
            if waiter is not first:
                batch.append(waiter)
        if not batch:
            return []
        self._batch += 1
        self._size, self._settled, self._next_batch = len(batch), 0, now + BATCH
        for waiter in batch:
            self._remove(waiter)
            waiter.batch = self._batch
        self._tell_heirs()
        return batch + self._told

    def settled(self, waiter: Waiter, refused: bool, now: float, pause: Callable[[], float]) -> list[Waiter]:
        """Count the result of a released caller; return whom to wake.

        If a batch is refused, the others stay parked for `pause()` seconds, and it begins with one again.
        """
        if not waiter.batch or self._size == 0:
            return []
        if refused:
            self._halve(now)
            self._size = 0
            self._next_batch = now + pause()
            return self._told.copy()
        if waiter.batch != self._batch:
            return []
        self._settled += 1
        if self._settled * 2 < self._size or (self._ceiling is not None and self._size >= self._ceiling):
            return []
        return self.release(now)

    def everybody(self) -> list[Waiter]:
        """Return all who wait."""
        return list(self._line)

    def _remove(self, waiter: Waiter) -> None:
        # Takes what it finds: an interrupt may have kept the caller from being entered as a whole.
        self._line.pop(waiter, None)
        host = self._hosts.get(waiter.host)
        if host is not None:
            host.pop(waiter, None)
            if host:
                self._hosts.move_to_end(waiter.host)  # the turn goes round
            else:
                del self._hosts[waiter.host]
        waiter.told = False
        if waiter in self._told:
            self._told.remove(waiter)

    def _halve(self, now: float) -> None:
        self._ceiling = max(1, self._size // 2)
        self._refused_at = now

    def _tell_heirs(self) -> list[Waiter]:
        """Tell the first callers of as many threads as there should be heirs; return the new ones."""
        new: list[Waiter] = []
        if len(self._told) >= min(HEIRS, len(self._hosts)):
            return new
        told = {waiter.host for waiter in self._told}
        for host in list(islice(self._hosts, HEIRS + 1)):
            if host not in told and len(self._told) < HEIRS:
                waiter = next(iter(self._hosts[host]))
                waiter.told = True
                self._told.append(waiter)
                new.append(waiter)
        return new
