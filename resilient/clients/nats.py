"""nats-py: the first connect of a client.

By itself it tries each server up to sixty times, two seconds apart, tells only its `error_cb` why, and raises "no
servers" at the end; a wrong password it tries for ever. Here an attempt tries each server once: an error handler of
ours stands before the user's, and ends the attempt when all have failed. What comes after the first connect is the
client's own work: its reconnects go on in the background, as its settings say.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Coroutine
from typing import Any, Final

from ..backoff import Backoff
from ..endpoint import Endpoint
from ._shield import Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "serves"]

SCHEMES: Final = ("nats", "tls")

_SERVERS: Final = "nats://localhost:4222"


def guard(thing: Any, shield: Shield) -> Any:
    """Protect `nats.connect`, the class `NATS` by a subclass, or the connecting of a client that is there."""
    import nats
    from nats.aio.client import Client

    if isinstance(thing, Client):
        _say(shield)
        thing.__class__ = _subclass(type(thing), shield)
        return thing
    if isinstance(thing, type):
        if not issubclass(thing, Client):
            return None
        _say(shield)
        return _subclass(thing, shield)
    if inspect.unwrap(thing) is nats.connect:
        _say(shield)
        return _function(thing, shield, Client)
    return None


def _say(shield: Shield) -> None:
    shield.changed(
        "nats: the first connect is made as the policy says, each server once in an attempt; reconnects in the "
        "background go on, and reconnect_time_wait is the policy's where none is given"
    )


def _function(connect: Any, shield: Shield, client: Any) -> Any:
    async def attempt(servers: Any = _SERVERS, **options: Any) -> Any:
        made = client()
        await _attempt(made, client.connect, shield, servers, options)
        return made

    functools.update_wrapper(attempt, connect)
    return shield.protect(attempt, target=_where, unavailable=_no_servers)


def _subclass(cls: Any, shield: Shield) -> Any:
    cls = unguarded(cls)

    async def connect(self: Any, servers: Any = _SERVERS, **options: Any) -> None:
        self._server_pool.clear()  # an attempt before this one left them there
        await _attempt(self, cls.connect, shield, servers, options)

    functools.update_wrapper(connect, cls.connect)
    protected = shield.protect(
        connect, target=lambda _, *args, **kwargs: _where(*args, **kwargs), unavailable=_no_servers
    )
    return lookalike(cls, connect=protected)


async def _attempt(client: Any, connect: Any, shield: Shield, servers: Any, options: dict[str, Any]) -> None:
    """Try each server once.

    Raises:
        NoServersError: from what the last of them said; an error by which a server answered comes as it is.
    """
    import asyncio

    from nats import errors

    memory = _Memory(1 if isinstance(servers, str) else len(servers), options.pop("error_cb", None))
    if isinstance(shield.policy.backoff, Backoff):
        options.setdefault("reconnect_time_wait", shield.policy.backoff.maximum)
    try:
        await connect(client, servers, **options, error_cb=memory.error_cb)
    except (OSError, errors.Error, asyncio.TimeoutError) as error:  # on Python 3.10 the last is no OSError
        with contextlib.suppress(Exception):  # how it fails to close is not what there is to tell
            await client._close(client.DISCONNECTED, False)  # as the client itself does between two attempts
        if isinstance(error, errors.Error):
            raise
        raise errors.NoServersError from error
    memory.connected = True


class _Memory:
    """Stands before the user's error handler: ends an attempt in which every server has failed."""

    def __init__(self, servers: int, users: Any) -> None:
        self.connected = False
        self._left = servers
        self._users = users

        async def error_cb(error: Exception) -> None:
            if self._users is not None:
                await self._users(error)
            elif self.connected:
                from nats.aio import client

                await client._default_error_callback(error)
            if not self.connected:
                self._left -= 1
                if self._left <= 0:
                    raise error

        self.error_cb = error_cb


def _no_servers(text: str) -> Exception:
    from nats.errors import NoServersError

    return NoServersError(text)


def _where(servers: Any = _SERVERS, **_: Any) -> Endpoint:
    first = servers if isinstance(servers, str) else servers[0]
    scheme, found, rest = first.strip().partition("://")
    if not found:
        scheme, rest = "nats", first.strip()
    endpoint = Endpoint.parse(f"nats://{rest}")
    if scheme in ("ws", "wss"):
        return Endpoint(scheme=scheme, host=endpoint.host, port=endpoint.port)
    return endpoint


def ping(thing: Any) -> Coroutine[Any, Any, None]:
    """Send a ping over a client that is there, and wait for its answer; or connect with a function, and leave."""
    return _ping(thing)


async def _ping(thing: Any) -> None:
    if inspect.isroutine(thing):
        await (await thing()).close()
        return
    await thing.flush(5)


def serves(url: str, timeout: float) -> None:
    """Connect to a URL, log in, ping and leave, within about `timeout` seconds."""
    import asyncio

    from nats.aio.client import Client

    from ..policy import Policy

    async def hello() -> None:
        client = Client()
        shield = Shield(Policy(attempts=1), None, None)
        await _attempt(client, Client.connect, shield, url, {"connect_timeout": timeout})
        try:
            await client.flush(math.ceil(timeout))
        finally:
            await client.close()

    asyncio.run(hello())
