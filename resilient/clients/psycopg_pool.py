"""psycopg_pool: its pools, in place, or their classes.

A pool connects in its own workers, and tries again by itself. So nothing is retried inside of a connect: the pool asks
the policy where it asked its own backoff. It remembers why it could not connect, and its `PoolTimeout` says so. A null
pool connects in the caller's thread or task, at once and once: there the getting of a connection is what is retried.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Any

from .. import clock
from .._recovery import Plan, Recovery
from .._traces import release_frames
from ..breaker import CircuitBreaker, CircuitBreakers
from ..endpoint import Endpoint
from ..errors import CircuitOpenError, TargetError
from . import psycopg as _psycopg
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
    thing.__dict__["_guarded"] = _Memory(shield)
    thing.__class__ = _subclass(type(thing), shield)
    _say_timeout(thing, shield)
    return thing


def _say_timeout(pool: Any, shield: Shield) -> None:
    """Let the pool say what is true of it now; it does not decide by this any more."""
    if shield.policy.deadline is not None:
        pool.reconnect_timeout = shield.policy.deadline


class _Memory:
    """What one pool knows of its connects.

    Attributes:
        last: why it could not connect the last time; None where it could.
    """

    def __init__(self, shield: Shield) -> None:
        self.shield = shield
        self.last: Exception | None = None
        self.made: tuple[Plan, CircuitBreaker | None, Any] | None = None

    def of(self, pool: Any) -> tuple[Plan, CircuitBreaker | None, Any]:
        """Return the plan of a connect of the pool, its circuit, and what protects the getting of a connection."""
        if self.made is None:
            shield, where = self.shield, self._where(pool)
            breaker = shield.breaker
            if isinstance(breaker, CircuitBreakers):
                breaker = None if where is None else breaker[where]
            policy = shield.policy
            if policy.deadline is None or pool.timeout < policy.deadline:
                policy = policy.replace(deadline=max(pool.timeout, 0.001))
            get = unguarded(type(pool)).getconn
            protected = Shield(policy, None, where).protect(get, target=None, unavailable=None)
            self.made = Plan(shield.policy, f"psycopg_pool {pool.name}", where, None), breaker, protected
        return self.made

    def _where(self, pool: Any) -> Endpoint | None:
        given = self.shield.target
        if given is not None and not callable(given):
            return Endpoint.parse(given)
        if callable(pool.conninfo) or callable(pool.kwargs):  # asked anew for each connect
            return None
        try:
            return Endpoint.parse((given or _psycopg.target)(pool.conninfo or "", **(pool.kwargs or {})))
        except TargetError:
            return None

    def explain(self, error: Exception, since: float, timeout: float) -> Exception:
        """Return the pool's own error with what it knows of the cause."""
        if self.last is None:
            return error
        if clock.now() - since < timeout - 0.1:
            error = type(error)("couldn't get a connection: the pool gave up connecting, its policy has ended")
        error.__cause__ = self.last
        return error


class _Attempts:
    """The attempts at one connection of a pool: stands where the pool has its own backoff, and asks the policy."""

    def __init__(self, memory: _Memory, pool: Any) -> None:
        self.delay = 0.0
        self.failed = False
        self._memory = memory
        self._plan = memory.of(pool)[0]
        self._started = clock.now()
        self._recovery: Recovery | None = None
        self._counted = False

    def may_go(self) -> bool:
        """Say, before an attempt, whether it may be made: the policy is asked again after each pause."""
        self.failed = False
        if self._counted and self._recovery is not None:
            self._recovery.woken()
            return not self._recovery.over
        return True

    def time_to_give_up(self, now: float) -> bool:
        """Decide, where the pool handles the error of a connect, what follows it."""
        error = sys.exc_info()[1] or self._memory.last
        assert isinstance(error, Exception)
        self.failed, self._counted = True, False
        if isinstance(error, CircuitOpenError):
            return self._circuit_is_open(error)
        if self._recovery is None:
            self._recovery = Recovery(self._plan, self._started, (), {})
        step = self._recovery.failed(error)
        if self._recovery.question is not None:  # its port could be asked; a worker of the pool has no time to
            step = self._recovery.answered(refused=False)
        self._counted = step is not None
        self.delay = step or 0.0
        return step is None

    def _circuit_is_open(self, opened: CircuitOpenError) -> bool:
        """No attempt was made: come back when the circuit may let one through, if that is in time."""
        breaker, deadline = getattr(opened, "_source", None), self._plan.policy.deadline
        self.delay = max(opened.retry_after or 0.0, 0.02)
        if not clock.patience or getattr(breaker, "state", None) == "isolated":
            return True
        return deadline is not None and clock.now() + self.delay > self._started + deadline

    def update_delay(self, now: float) -> None:
        """Do nothing: the delay is known already."""

    def ended(self) -> None:
        """Tell how an attempt went."""
        if self._memory.last is not None and self.failed:
            release_frames(self._memory.last, handled=sys.exc_info()[1])
        if not self.failed and self._recovery is not None:
            self._recovery.succeeded()


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
            self._guarded = _Memory(shield)
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
            attempts = attempt if isinstance(attempt, _Attempts) else _Attempts(self._guarded, self)
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
            self._guarded = _Memory(shield)
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
            attempts = attempt if isinstance(attempt, _Attempts) else _Attempts(self._guarded, self)
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
