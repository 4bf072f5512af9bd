"""psycopg_pool: its pools, in place, or their classes.

A pool connects in its own workers, and tries again by itself. So nothing is retried inside of a connect: the pool asks
the policy where it asked its own backoff. It remembers why it could not connect, and its `PoolTimeout` says so. A null
pool connects in the caller's thread or task, at once and once: there the getting of a connection is what is retried.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from .. import clock
from ..errors import CircuitOpenError
from ._psycopg_pool_attempts import Attempts, Memory
from ._shield import GUARDED, Shield, unguarded

__all__ = ["guard", "ping"]

_CHANGED = "psycopg_pool: its own backoff (1 s, doubled, up to reconnect_timeout) was replaced by the policy's"


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a pool in place, or a class of pools by a subclass of the same name."""
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

    pools = (AsyncConnectionPool, ConnectionPool)
    if isinstance(thing, type):
        if not issubclass(thing, pools):
            return None
        shield.changed(_CHANGED)
        return _subclass(thing, shield)
    if not isinstance(thing, pools):
        return None
    shield.changed(_CHANGED)
    thing.__dict__["_guarded"] = Memory(shield)
    thing.__class__ = _subclass(type(thing), shield)
    _say_timeout(thing, shield)
    return thing


def _say_timeout(pool: Any, shield: Shield) -> None:
    """Let the pool say what is true of it now; it does not decide by this any more."""
    if shield.policy.deadline is not None:
        pool.reconnect_timeout = shield.policy.deadline


def _subclass(cls: Any, shield: Shield) -> Any:
    from psycopg_pool import AsyncConnectionPool

    cls = unguarded(cls)
    guarded = _async(cls, shield) if issubclass(cls, AsyncConnectionPool) else _sync(cls, shield)
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(guarded, name, getattr(cls, name))
    setattr(guarded, GUARDED, cls)
    return guarded


# Twins, edited together.


def _sync(cls: Any, shield: Shield) -> Any:
    from psycopg import OperationalError
    from psycopg_pool import NullConnectionPool, PoolTimeout

    at_once = issubclass(cls, NullConnectionPool)

    class Guarded(cls):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._guarded = Memory(shield)
            super().__init__(*args, **kwargs)
            _say_timeout(self, shield)

        def getconn(self, timeout: float | None = None) -> Any:
            since, its = clock.now(), self.timeout if timeout is None else timeout
            try:
                return self._guarded.of(self)[2](self, timeout) if at_once else super().getconn(timeout)
            except PoolTimeout as error:
                explained = self._guarded.explain(error, since, its)
            except CircuitOpenError as opened:
                raise OperationalError(str(opened)) from opened
            raise explained from explained.__cause__

        def wait(self, timeout: float = 30.0) -> None:
            try:
                super().wait(timeout)
            except PoolTimeout as error:
                raise error from self._guarded.last

        def _connect(self, *args: Any, **kwargs: Any) -> Any:
            memory = self._guarded
            breaker = memory.of(self)[1]
            try:
                if breaker is None:
                    connection = super()._connect(*args, **kwargs)
                else:
                    connection = breaker.call(super()._connect, *args, **kwargs)
            except Exception as error:
                if not args and not kwargs:  # in a worker: a null pool's caller gets the error itself
                    memory.last = error
                raise
            memory.last = None
            return connection

        def _add_connection(self, attempt: Any, growing: bool = False) -> None:
            attempts = attempt if isinstance(attempt, Attempts) else Attempts(self._guarded, self)
            if attempts.may_go():
                super()._add_connection(attempts, growing=growing)
                attempts.ended()
                return
            with self._lock:
                self._nconns -= 1
                if growing:
                    self._growing = False
            self.reconnect_failed()

        def reconnect_failed(self) -> None:
            waiting: list[Any] = []
            with self._lock:
                if self._nconns <= 0:  # nobody is left who could bring one
                    waiting.extend(self._waiting)
                    self._waiting.clear()
            for client in waiting:
                client.fail(PoolTimeout("couldn't get a connection"))
            super().reconnect_failed()

    return Guarded


def _async(cls: Any, shield: Shield) -> Any:
    from psycopg import OperationalError
    from psycopg_pool import AsyncNullConnectionPool, PoolTimeout

    at_once = issubclass(cls, AsyncNullConnectionPool)

    class Guarded(cls):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._guarded = Memory(shield)
            super().__init__(*args, **kwargs)
            _say_timeout(self, shield)

        async def getconn(self, timeout: float | None = None) -> Any:
            since, its = clock.now(), self.timeout if timeout is None else timeout
            try:
                if at_once:
                    return await self._guarded.of(self)[2](self, timeout)
                return await super().getconn(timeout)
            except PoolTimeout as error:
                explained = self._guarded.explain(error, since, its)
            except CircuitOpenError as opened:
                raise OperationalError(str(opened)) from opened
            raise explained from explained.__cause__

        async def wait(self, timeout: float = 30.0) -> None:
            try:
                await super().wait(timeout)
            except PoolTimeout as error:
                raise error from self._guarded.last

        async def _connect(self, *args: Any, **kwargs: Any) -> Any:
            memory = self._guarded
            breaker = memory.of(self)[1]
            try:
                if breaker is None:
                    connection = await super()._connect(*args, **kwargs)
                else:
                    connection = await breaker.acall(super()._connect, *args, **kwargs)
            except Exception as error:
                if not args and not kwargs:  # in a worker: a null pool's caller gets the error itself
                    memory.last = error
                raise
            memory.last = None
            return connection

        async def _add_connection(self, attempt: Any, growing: bool = False) -> None:
            attempts = attempt if isinstance(attempt, Attempts) else Attempts(self._guarded, self)
            if attempts.may_go():
                await super()._add_connection(attempts, growing=growing)
                attempts.ended()
                return
            async with self._lock:
                self._nconns -= 1
                if growing:
                    self._growing = False
            await self.reconnect_failed()

        async def reconnect_failed(self) -> None:
            waiting: list[Any] = []
            async with self._lock:
                if self._nconns <= 0:  # nobody is left who could bring one
                    waiting.extend(self._waiting)
                    self._waiting.clear()
            for client in waiting:
                await client.fail(PoolTimeout("couldn't get a connection"))
            await super().reconnect_failed()

    return Guarded


def ping(thing: Any) -> Coroutine[Any, Any, None] | None:
    """Ask `SELECT 1` over a connection of an open pool, and give it back; a coroutine for an asynchronous pool.

    Connections that turn out to be dead are not the answer: each is put away by the pool, until a living one says it.
    """
    from psycopg_pool import AsyncConnectionPool

    if isinstance(thing, AsyncConnectionPool):
        return _ping_async(thing)
    import psycopg

    for last in [False] * thing.max_size + [True]:
        with thing.connection() as connection:
            try:
                connection.execute("select 1")
            except psycopg.OperationalError:
                if last or not connection.closed:
                    raise
            else:
                return None
    return None


async def _ping_async(pool: Any) -> None:
    import psycopg

    for last in [False] * pool.max_size + [True]:
        async with pool.connection() as connection:
            try:
                await connection.execute("select 1")
            except psycopg.OperationalError:
                if last or not connection.closed:
                    raise
            else:
                return
