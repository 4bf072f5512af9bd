"""kombu: the connecting of a `Connection`, and of those that its pools make.

Where kombu connects by itself (at the first use of a channel, in `connect()`, in `ensure_connection()` without
arguments) the policy decides, in the place of kombu's own loop. Where a caller brings numbers or callbacks of its own,
as Celery's worker does, kombu's loop goes on, and takes from the policy what the caller left out.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final

from ..backoff import Backoff
from ..breaker import CircuitBreakers
from ..endpoint import Endpoint
from ..policy import Policy
from ._shield import Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "numbers", "ping", "serves", "subclass"]

SCHEMES: Final = ("amqp", "amqps")

_PARAMETERS: Final = ("errback", "max_retries", "interval_start", "interval_step", "interval_max", "callback")
"""Of `_ensure_connection`, in their order; kombu 5.0 to 5.7."""


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a connection or a pool of connections in place, or the class `Connection` by a subclass."""
    from kombu.connection import Connection, ConnectionPool

    if isinstance(thing, type):
        return subclass(thing, shield) if issubclass(thing, Connection) else None
    if isinstance(thing, Connection):
        return _adopt(thing, shield)
    if isinstance(thing, ConnectionPool):
        return _adopt_pool(thing, shield)
    return None


def numbers(policy: Policy) -> dict[str, Any]:
    """Return a policy in kombu's words. kombu's delays grow by steps, and have no jitter."""
    initial, maximum, doublings = 0.05, 1.0, 4.0
    if isinstance(policy.backoff, Backoff):
        initial, maximum = policy.backoff.initial, policy.backoff.maximum
        factor = policy.backoff.factor
        doublings = math.log(maximum / initial, factor) if initial > 0 and factor > 1 else 1.0
    retries = None if policy.attempts is None else policy.attempts - 1
    if policy.deadline is not None and maximum > 0:
        within = math.ceil(policy.deadline / maximum) + math.ceil(doublings)
        retries = within if retries is None else min(retries, within)
    return {
        "max_retries": retries,
        "interval_start": initial,
        "interval_step": (maximum - initial) / max(doublings, 1.0),
        "interval_max": maximum,
    }


def subclass(cls: Any, shield: Shield) -> Any:
    """Return a subclass of a connection class, of the same name, that connects as the policy says."""
    cls = unguarded(cls)
    shield.changed("kombu: its own retries of a connect are off where no caller asks for them")
    factory, ensure = cls._connection_factory, cls._ensure_connection

    def attempt(self: Any) -> Any:
        try:
            return factory(self)
        except self.recoverable_connection_errors:
            self.maybe_switch_next()
            raise

    attempt.__name__, attempt.__qualname__ = "connect", f"{cls.__qualname__}.connect"
    dial: Any = shield.protect(attempt, target=_where, unavailable=None)  # it lets errors of sockets through
    filled = numbers(shield.policy)

    @functools.wraps(ensure)
    def _ensure_connection(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.connected:
            return self._connection
        given = {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}
        reraise = given.get("reraise_as_library_errors", True)
        told = {name for name in _PARAMETERS if given.get(name) is not None}
        if told - {"max_retries"} or (told and reraise):
            limits = {} if "max_retries" in given else {"timeout": shield.policy.deadline}
            return ensure(self, **{**filled, **limits, **given})  # `max_retries=None` says: for ever
        with self._reraise_as_library_errors() if reraise else self._dummy_context():
            return dial(self)

    @functools.wraps(factory)
    def _connection_factory(self: Any) -> Any:
        breaker, where = shield.breaker, shield.target
        if isinstance(breaker, CircuitBreakers):
            breaker = breaker[where(self) if callable(where) else where or _where(self)]
        return factory(self) if breaker is None else breaker.call(factory, self)

    @functools.wraps(cls.Pool)
    def Pool(self: Any, limit: Any = None, **kwargs: Any) -> Any:  # noqa: N802  # kombu's name
        from kombu.connection import ConnectionPool

        return _pool_class(ConnectionPool, shield)(self, limit, **kwargs)

    @functools.wraps(cls._extract_failover_opts)
    def _extract_failover_opts(self: Any) -> dict[str, Any]:
        return {}  # of `transport_options`, where Celery puts its publish retry policy

    ours = (_ensure_connection, _connection_factory, _extract_failover_opts, Pool)
    names = {function.__name__: function for function in ours}
    return lookalike(cls, **names)


def _adopt(connection: Any, shield: Shield) -> Any:
    connection.__class__ = subclass(type(connection), shield)
    return connection


def _pool_class(cls: Any, shield: Shield) -> Any:
    cls = unguarded(cls)

    @functools.wraps(cls.new)
    def new(self: Any) -> Any:
        return _adopt(cls.new(self), shield)

    return lookalike(cls, new=new)


def _adopt_pool(pool: Any, shield: Shield) -> Any:
    from kombu.utils.functional import lazy

    _adopt(pool.connection, shield)
    pool.__class__ = _pool_class(type(pool), shield)
    resource = pool._resource
    with resource.mutex:  # those that are made already, and the promises to make one
        promise: Any = lazy
        made = [promise(pool.new) if isinstance(it, lazy) else _adopt(it, shield) for it in resource.queue]
        resource.queue.clear()  # a list or a deque, by version
        resource.queue.extend(made)
    for connection in pool._dirty:
        _adopt(connection, shield)
    return pool


def _where(connection: Any) -> Endpoint:
    """Return where a connection connects to now; of several hosts the one whose turn it is."""
    scheme = {"pyamqp": "amqp", "librabbitmq": "amqp"}.get(connection.transport_cls, connection.transport_cls or "amqp")
    port = connection.port or connection.get_transport_cls().default_port
    return Endpoint(scheme=str(scheme), host=connection.hostname or "localhost", port=int(port))


def ping(thing: Any) -> None:
    """Connect once with the settings of a connection or pool, to the first of its hosts that answers, and leave."""
    connection = getattr(thing, "connection", thing) if hasattr(thing, "acquire") else thing
    fresh = connection.clone()
    try:
        for last in [False] * (len(fresh.alt or ()) - 1) + [True]:
            try:
                fresh._connection_factory()
            except fresh.recoverable_connection_errors:
                if last:
                    raise
                fresh.maybe_switch_next()
            else:
                return
    finally:
        fresh.release()


def serves(url: str, timeout: float) -> None:
    """Connect to a URL, log in and leave; `timeout` seconds bound each step of it."""
    from kombu.connection import Connection

    connection: Any = Connection(url, connect_timeout=timeout)  # type: ignore[no-untyped-call,unused-ignore]
    ping(connection)
