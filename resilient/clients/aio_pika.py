"""aio-pika: `connect` and the first connect of `connect_robust`.

What comes after the first connect is the robust connection's own work: it reconnects for ever, at an interval that does
not grow. That interval is taken from the policy, unless the user has chosen one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Coroutine
from typing import Any, Final

from .._wrapping import name_of
from ..backoff import Backoff
from ..endpoint import Endpoint
from ..policy import Policy
from ._shield import Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "serves"]

SCHEMES: Final = ("amqp", "amqps")

_NO_PARAMETERS: Final = frozenset(
    {
        *("client_properties", "connection_class", "host", "login", "loop", "password", "port", "ssl"),
        *("ssl_context", "ssl_options", "timeout", "virtualhost"),
    }
)
"""The arguments of `connect_robust` that are not parameters of a connection."""


def guard(thing: Any, shield: Shield) -> Any:
    """Protect `connect` or `connect_robust`; the class `Connection` by a subclass; a robust connection's own loop.

    Raises:
        TypeError: the class of robust connections: its objects connect once, and `connect_robust` makes new ones.
    """
    from aio_pika import Connection, RobustConnection

    if isinstance(thing, RobustConnection):
        thing.reconnect_interval = _interval(shield.policy)
        shield.changed("aio_pika: reconnect_interval is %g, as the policy says", thing.reconnect_interval)
        return thing
    if isinstance(thing, type):
        if issubclass(thing, RobustConnection):
            raise TypeError("guard needs aio_pika.connect_robust in the place of this class")
        return _subclass(thing, shield) if issubclass(thing, Connection) else None
    name = name_of(thing).rpartition(".")[2] if callable(thing) else ""
    if name == "connect" and inspect.iscoroutinefunction(thing):
        return shield.protect(thing, target=_where, unavailable=_error())
    if name == "connect_robust":
        return _robust(thing, shield)
    return None


def _error() -> Any:
    from aio_pika.exceptions import AMQPConnectionError

    return AMQPConnectionError


def _where(url: Any = None, *, host: str = "localhost", port: int = 5672, ssl: bool = False, **_: Any) -> Endpoint:
    """Return where `connect` connects to with these arguments."""
    if url is not None:
        from yarl import URL

        url = URL(url)
        scheme = "amqps" if url.scheme == "amqps" else "amqp"
        return Endpoint(scheme=scheme, host=url.host, port=url.port or (5671 if scheme == "amqps" else 5672))
    return Endpoint(scheme="amqps" if ssl else "amqp", host=host, port=port)


def _interval(policy: Policy) -> float:
    return policy.backoff.maximum if isinstance(policy.backoff, Backoff) else 1.0


def _robust(connect: Any, shield: Shield) -> Any:
    interval = _interval(shield.policy)
    shield.changed(
        "aio_pika: the first connect is made as the policy says, and fail_fast is on for it; "
        "reconnect_interval is %g where none is given",
        interval,
    )

    @functools.wraps(connect)
    async def connect_robust(url: Any = None, **kwargs: Any) -> Any:
        ours = {"fail_fast": "1"}
        if "reconnect_interval" not in kwargs and "reconnect_interval" not in str(url or ""):
            ours["reconnect_interval"] = str(interval)
        if url is None or kwargs.keys() - _NO_PARAMETERS:
            return await connect(url, **{**kwargs, **ours})
        from yarl import URL

        # aio-pika 9 looks into the query of a URL only where no such argument is given beside it.
        return await connect(URL(url).update_query(ours), **kwargs)

    return shield.protect(connect_robust, target=_where, unavailable=_error())


def _subclass(cls: Any, shield: Shield) -> Any:
    cls = unguarded(cls)
    connect = shield.protect(cls.connect, target=lambda self, *_, **__: _where(self.url), unavailable=_error())
    return lookalike(cls, connect=connect)


def ping(thing: Any) -> Coroutine[Any, Any, None]:
    """Open a channel on a connection that is there, and close it; or connect with a function, and leave."""
    return _ping(thing)


async def _ping(thing: Any) -> None:
    if inspect.isroutine(thing):
        await (await thing()).close()
        return
    channel = await thing.channel()
    await channel.close()


def serves(url: str, timeout: float) -> None:
    """Connect to a URL, log in and leave, within about `timeout` seconds."""
    import asyncio

    from aio_pika import connect

    async def hello() -> None:
        await (await connect(url, timeout=timeout)).close()

    asyncio.run(hello())
