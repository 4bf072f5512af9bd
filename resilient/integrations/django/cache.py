"""A pool of Redis connections for Django's caches that fails open: while the circuit is open, everything is a miss.

For `RedisCache`: `OPTIONS = {"pool_class": "resilient.integrations.django.cache.FailOpenConnectionPool"}`;
for django-redis: `OPTIONS = {"CONNECTION_POOL_CLASS": ...}`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import redis

from ...clients._shield import Shield
from ...endpoint import Endpoint
from ...errors import CircuitOpenError
from ...refusal import turned_away
from ._settings import FOR_CACHES, read

_TRIP_AFTER: Final = 1
"""A refused connect of a cache is known at once, and costs a miss."""


class FailOpenConnectionPool(redis.ConnectionPool):
    """A `redis.ConnectionPool` that hands out a connection to nowhere while its circuit is open.

    There, what is looked up is not found, what is stored is dropped, and `add` says that nothing was added: no lock is
    given away that no server holds. Commands that no cache sends by itself raise the client's own `ConnectionError`.

    Args:
        resilient: a dictionary like `RESILIENT` of a database. Its default policy makes one attempt; its default
            breaker is one for each server, which the first refused connect opens.
        connection_kwargs: as for `redis.ConnectionPool`.
    """

    def __init__(self, *args: Any, resilient: Any = None, **connection_kwargs: Any) -> None:
        super().__init__(*args, **connection_kwargs)
        where = _where(self)
        given = {} if resilient is None else resilient
        if isinstance(given, Mapping):
            breaker = given.get("breaker") or {}
            breaker = {"name": breaker} if isinstance(breaker, str) else breaker
            if isinstance(breaker, Mapping):
                breaker = {"name": f"cache {where}", "trip_after": _TRIP_AFTER, **breaker}
            given = {**given, "breaker": breaker}
        settings = read(given, "the setting 'resilient' of a cache", default=FOR_CACHES)
        assert settings.breaker is not None
        self._resilient_breaker = settings.breaker
        shield = Shield(settings.policy, None, settings.target or where)
        self._resilient_get = shield.protect(_get_connection, target=None, unavailable=None)

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection of the pool, or one to nowhere."""
        breaker = self._resilient_breaker
        try:
            return breaker.call(self._resilient_get, self, args, kwargs)
        except (redis.ConnectionError, redis.TimeoutError, CircuitOpenError) as error:
            opened = turned_away(error)
            if opened is None:
                if breaker.state == "closed":
                    raise
                opened = CircuitOpenError(breaker.name, last_error=breaker.snapshot().last_error)
            return _Nowhere(opened, self.connection_kwargs)

    def release(self, connection: Any) -> None:
        """Take a connection back; one to nowhere is forgotten."""
        if not isinstance(connection, _Nowhere):
            super().release(connection)


def _get_connection(pool: redis.ConnectionPool, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    return redis.ConnectionPool.get_connection(pool, *args, **kwargs)


def _where(pool: redis.ConnectionPool) -> Endpoint:
    known = pool.connection_kwargs
    if known.get("path"):
        return Endpoint(scheme="unix", path=known["path"])
    return Endpoint(scheme="redis", host=known.get("host", "localhost"), port=int(known.get("port", 6379)))


def _set(arguments: Sequence[Any]) -> Any:
    """`SET` with NX, XX or GET asks for something that is not known."""
    asks = {str(argument).upper() for argument in arguments[2:] if isinstance(argument, (str, bytes))}
    return None if asks & {"NX", "XX", "GET", "B'NX'", "B'XX'", "B'GET'"} else "OK"


def _always(answer: Any) -> Callable[[Sequence[Any]], Any]:
    return lambda _: answer


_ANSWERS: Final[dict[str, Callable[[Sequence[Any]], Any]]] = {
    **dict.fromkeys(("GET", "GETDEL", "GETEX", "GETSET"), _always(None)),
    **dict.fromkeys(("FLUSHDB", "MSET", "PSETEX", "SETEX", "UNWATCH", "WATCH"), _always("OK")),
    **dict.fromkeys(("DEL", "EXISTS", "EXPIRE", "EXPIREAT", "PERSIST"), _always(0)),
    **dict.fromkeys(("PEXPIRE", "PEXPIREAT", "SETNX", "TOUCH", "UNLINK"), _always(0)),
    **dict.fromkeys(("PTTL", "TTL"), _always(-2)),  # no such key
    "KEYS": lambda _: [],
    "MGET": lambda keys: [None] * len(keys),
    "SCAN": lambda _: [b"0", []],
    "SET": _set,
}
"""By command: what an empty server would say that drops what it is given."""


class _Nowhere(redis.Connection):
    """Stands in for a connection while there is no server; commands are not packed but answered."""

    def __init__(self, opened: CircuitOpenError, kwargs: dict[str, Any]) -> None:
        known = ("decode_responses", "encoding", "encoding_errors", "protocol")
        super().__init__(**{name: kwargs[name] for name in known if name in kwargs})
        self._opened = opened
        self._replies: deque[Any] = deque()
        self._queued: list[Any] | None = None

    def connect(self) -> None:
        """Do nothing."""

    def connect_check_health(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    def disconnect(self, *_: Any, **__: Any) -> None:
        """Forget what has not been read."""
        self.__dict__.setdefault("_replies", deque()).clear()
        self._queued = None

    def can_read(self, timeout: float | None = 0) -> bool:
        """Whether an answer is there."""
        return bool(self._replies)

    def pack_command(self, *args: Any) -> Any:
        """Return a command as it is."""
        return [args]

    def pack_commands(self, commands: Any) -> Any:
        """Return commands as they are."""
        return list(commands)

    def send_command(self, *args: Any, **_: Any) -> None:
        """Answer a command."""
        self._replies.append(self._answer(args))

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Answer commands."""
        self._replies.extend([self._answer(arguments) for arguments in command])

    def read_response(self, *_: Any, **__: Any) -> Any:
        """Return the next answer."""
        if not self._replies:
            raise redis.ConnectionError(str(self._opened)) from self._opened
        return self._replies.popleft()

    def _answer(self, command: Sequence[Any]) -> Any:
        name, *arguments = command
        name = (name.decode() if isinstance(name, bytes) else str(name)).upper()
        if name == "MULTI":
            self._queued = []
            return "OK"
        if name == "EXEC":
            queued, self._queued = self._queued or [], None
            return queued
        answer = _ANSWERS.get(name)
        if answer is None:
            raise redis.ConnectionError(str(self._opened)) from self._opened
        if self._queued is None:
            return answer(arguments)
        self._queued.append(answer(arguments))
        return "QUEUED"
