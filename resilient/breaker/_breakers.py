"""One breaker per endpoint, bounded in number and idle time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from .. import clock
from ..backoff import Backoff, seconds
from ..endpoint import Endpoint
from ..errors import PolicyError
from ..events import Observer
from ._breaker import CircuitBreaker, CircuitSnapshot, Counts

_LOOK_AT_MOST: Final = 16
"""How many of the oldest breakers are looked at when room is made: to find one that is closed and has nobody parked."""


class CircuitBreakers:
    """One `CircuitBreaker` per endpoint: `breakers["db:5432"]`, or `breaker=` beside a callable `target=`.

    A breaker is made when its endpoint is first asked for, and named after it. The one that was unused for longest is
    dropped when there are too many; one that nobody has used for `idle_timeout` is dropped when a new one is made.
    Breakers that are open or have parked callers are kept before others.

    Args:
        max_breakers: most breakers at a time. Default 1024, at most 2 KiB each.
        idle_timeout: seconds without use after which a breaker is forgotten; None: never. Default 600.
        settings: of each `CircuitBreaker`.

    Raises:
        PolicyError: a setting is wrong; it names the setting and the value.
    """

    __slots__ = ("_breakers", "_idle", "_lock", "_most", "_pid", "_settings")

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            max_breakers: int = 1024,
            idle_timeout: float | timedelta | None = 600.0,
            trip_after: int = 5,
            cooldown: Backoff = ...,
            probe_timeout: float | timedelta = 30.0,
            counts: Counts = ...,
            close_after: int = 1,
            observers: Iterable[Observer] = ...,
        ) -> None: ...

    else:

        def __init__(
            self, *, max_breakers: int = 1024, idle_timeout: float | timedelta | None = 600.0, **settings: Any
        ) -> None:
            from ._settings import check_count  # only who makes a breaker pays for it

            self._most = check_count("max_breakers", max_breakers, "CircuitBreakers")
            self._idle: float | None = None
            if idle_timeout is not None:
                self._idle = seconds("CircuitBreakers.idle_timeout", idle_timeout)
                if self._idle <= 0:
                    raise PolicyError(
                        f"CircuitBreakers.idle_timeout must be greater than 0 seconds, not {idle_timeout!r}"
                    )
            if "name" in settings:
                raise PolicyError("CircuitBreakers.name is not a setting: each breaker is named after its endpoint")
            try:
                checked = CircuitBreaker("checked", **settings)
            except TypeError:
                known = (
                    "trip_after, cooldown, probe_timeout, counts, close_after, observers, max_breakers, idle_timeout"
                )
                raise PolicyError(f"CircuitBreakers has no setting {', '.join(settings)}; it has {known}") from None
            self._settings = {**settings, "observers": checked.observers}  # given as an iterator, they are read once
            self._breakers: OrderedDict[Endpoint, CircuitBreaker] = OrderedDict()
            self._lock = threading.Lock()
            self._pid = os.getpid()

    _settings: dict[str, Any]
    _breakers: OrderedDict[Endpoint, CircuitBreaker]
    _idle: float | None
    _most: int
    _lock: threading.Lock
    _pid: int

    def __getitem__(self, key: str | Endpoint) -> CircuitBreaker:
        """Return the breaker of an endpoint, made if there is none.

        Raises:
            TargetError: the key is no target.
        """
        endpoint = Endpoint.parse(key)
        breaker = self._breakers.get(endpoint)
        if breaker is not None:
            breaker.used_at = clock.now()
            with contextlib.suppress(KeyError):  # dropped meanwhile, by another thread
                self._breakers.move_to_end(endpoint)
            return breaker
        if self._pid != os.getpid():  # forked: another thread of the parent's may have held the lock
            self._lock, self._pid = threading.Lock(), os.getpid()
        with self._lock:
            return self._breakers.get(endpoint) or self._make_locked(endpoint)

    def keep(self, key: str | Endpoint) -> CircuitBreaker:
        """Return the breaker of an endpoint, as `[key]` does, and drop others before it: somebody holds on to it.

        Raises:
            TargetError: the key is no target.
        """
        breaker = self[key]
        breaker.kept = True
        return breaker

    def __len__(self) -> int:
        return len(self._breakers)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, (str, Endpoint)) and Endpoint.parse(key) in self._breakers

    def __repr__(self) -> str:
        return f"<CircuitBreakers {len(self)} of at most {self._most}>"

    def __reduce__(self) -> Any:
        raise TypeError("CircuitBreakers belong to one process and cannot be pickled: make them in each process")

    def snapshot(self) -> list[CircuitSnapshot]:
        """Return a `CircuitSnapshot` of each breaker there is."""
        return [breaker.snapshot() for _, breaker in self._oldest(None)]

    def _make_locked(self, endpoint: Endpoint) -> CircuitBreaker:
        now = clock.now()
        if self._idle is not None:
            self._drop_idle_locked(now - self._idle)
        if len(self._breakers) >= self._most:
            self._drop_one_locked()
        breaker = CircuitBreaker(str(endpoint), **self._settings)
        breaker.target, breaker.used_at = endpoint, now
        self._breakers[endpoint] = breaker
        return breaker

    def _drop_idle_locked(self, before: float) -> None:
        for endpoint, breaker in self._oldest():
            if breaker.used_at > before:
                return
            if not breaker.parked and not breaker.kept and breaker.state != "isolated":
                self._breakers.pop(endpoint, None)

    def _drop_one_locked(self) -> None:
        oldest = self._oldest()
        for endpoint, breaker in oldest:
            if breaker.state == "closed" and not breaker.parked and not breaker.kept:
                self._breakers.pop(endpoint, None)
                return
        self._breakers.pop(oldest[0][0], None)

    def _oldest(self, most: int | None = _LOOK_AT_MOST) -> list[tuple[Endpoint, CircuitBreaker]]:
        """List the breakers that were not used for longest, that first."""
        while True:
            try:
                return list(islice(self._breakers.items(), most))
            except (RuntimeError, KeyError):  # another thread has just used one, and it moved to the end
                continue
