"""pika: the connecting of a `BlockingConnection`; connections with callbacks are given the policy's numbers.

pika would try again by itself as often as its parameters say (`connection_attempts`); here each attempt is one.
A connection that is there does not connect again, in any version of pika: it is thrown away.
"""

from __future__ import annotations

import copy
import math
import sys
from typing import Any, Final

from ..backoff import Backoff
from ..endpoint import Endpoint
from ..policy import Policy
from ._shield import Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "serves"]

SCHEMES: Final = ("amqp", "amqps")


def guard(thing: Any, shield: Shield) -> Any:
    """Protect `BlockingConnection` or `SelectConnection` and its like, each by a subclass of the same name.

    Raises:
        TypeError: a connection with callbacks cannot have a circuit breaker; or the class has no known way to connect.
    """
    from pika import BlockingConnection
    from pika.adapters.base_connection import BaseConnection

    if not isinstance(thing, type):
        return None
    if issubclass(thing, BlockingConnection):
        return _blocking(unguarded(thing), shield)
    if issubclass(thing, BaseConnection):
        return _with_callbacks(unguarded(thing), shield)
    return None


def _blocking(cls: Any, shield: Shield) -> Any:
    from pika.exceptions import AMQPConnectionError

    if not hasattr(cls, "_create_connection"):
        raise TypeError("this version of pika is not known to guard(): its BlockingConnection connects in another way")
    shield.changed("pika: connection_attempts is 1, whatever the parameters say: it connects as the policy says")
    original = cls._create_connection

    def connect(self: Any, configs: Any = None, *args: Any, **kwargs: Any) -> Any:
        return original(self, _once(configs), *args, **kwargs)

    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(connect, name, getattr(original, name))
    connect.__qualname__ = cls.__qualname__
    protected = shield.protect(
        connect,
        target=lambda _, configs=None, *__, **___: _where(configs),
        unavailable=AMQPConnectionError,
        redirect=_redirect,
    )
    return lookalike(cls, _create_connection=protected)


def _once(configs: Any) -> Any:
    """Return parameters, one or several, that say one attempt."""
    from pika.connection import Parameters

    if configs is None:
        configs = Parameters()
    if not isinstance(configs, Parameters):
        return [_once(config) for config in configs]
    return _changed(configs, connection_attempts=1)


def _changed(parameters: Any, **settings: Any) -> Any:
    parameters = copy.copy(parameters)
    for name, value in settings.items():
        setattr(parameters, name, value)
    return parameters


def _where(configs: Any) -> Endpoint:
    from pika.connection import Parameters

    if configs is None:
        configs = Parameters()
    first = configs if isinstance(configs, Parameters) else next(iter(configs))
    return Endpoint(scheme="amqp" if first.ssl_options is None else "amqps", host=first.host, port=first.port)


def _redirect(
    endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    from pika.connection import Parameters

    itself, configs, *others = args
    first = configs if isinstance(configs, Parameters) else next(iter(configs or (Parameters(),)))
    return (itself, _changed(first, host=endpoint.host, port=endpoint.port), *others), kwargs


def _with_callbacks(cls: Any, shield: Shield) -> Any:
    """pika's own loop, which repeats what failed below AMQP, with a pause that does not grow."""
    if shield.targets is not None:
        raise TypeError(f"pika's {cls.__name__} connects in callbacks, and cannot go to one of targets=: leave it out")
    if shield.breaker is not None:
        raise TypeError(
            f"pika's {cls.__name__} connects in callbacks, where a circuit breaker has no place: leave it out"
        )
    settings = _numbers(shield.policy)
    shield.changed("pika: connection_attempts is %d and retry_delay %g, as the policy says", *settings.values())
    original = cls.__init__

    def __init__(self: Any, parameters: Any = None, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes a method
        from pika.connection import Parameters

        if parameters is None:
            parameters = Parameters()
        original(self, _changed(parameters, **settings), *args, **kwargs)

    __init__.__doc__ = original.__doc__
    return lookalike(cls, __init__=__init__)


def _numbers(policy: Policy) -> dict[str, Any]:
    delay = policy.backoff.maximum if isinstance(policy.backoff, Backoff) else 1.0
    attempts = sys.maxsize if policy.attempts is None else policy.attempts
    if policy.deadline is not None and delay > 0:
        attempts = min(attempts, 1 + math.ceil(policy.deadline / delay))
    return {"connection_attempts": attempts, "retry_delay": delay}


def ping(thing: Any) -> None:
    """Exchange what waits on a connection that is there; or connect with a class, and leave."""
    if isinstance(thing, type):
        thing().close()
        return
    from pika.exceptions import ConnectionClosed

    if not thing.is_open:
        raise ConnectionClosed(0, "the connection is closed, and does not connect again")
    thing.process_data_events(time_limit=0)


def serves(url: str, timeout: float) -> None:
    """Connect to a URL, log in and leave, within about `timeout` seconds."""
    from pika import BlockingConnection, URLParameters

    parameters = _changed(
        URLParameters(url), connection_attempts=1, socket_timeout=timeout, stack_timeout=timeout, heartbeat=0
    )
    BlockingConnection(parameters).close()
