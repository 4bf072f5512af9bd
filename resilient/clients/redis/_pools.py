"""Clients, pools and Sentinels: what takes its connections from a pool gets protected ones.

The client, pipelines, `client()`, pub/sub, locks, and the masters that Sentinel names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

from .._shield import GUARDED, Shield, lookalike, unguarded
from ._connections import adopt, connection_class
from ._library import Library
from ._sentinels import quieten


def client_class(cls: Any, library: Library, shield: Shield) -> Any:
    # The pool is protected as soon as the client has it: with `single_connection_client` its `__init__` connects.
    def protected(pool: Any) -> Any:
        if pool is not None and not hasattr(pool.connection_class, GUARDED):
            guard_pool(pool, library, shield)
        return pool

    return lookalike(cls, connection_pool=_seen_when_set("connection_pool", protected))


def pool_class(cls: Any, library: Library, shield: Shield) -> Any:
    def protected(its: Any) -> Any:
        return its if hasattr(its, GUARDED) else connection_class(its, library, shield)

    return lookalike(cls, connection_class=_seen_when_set("connection_class", protected))


def _seen_when_set(name: str, protected: Callable[[Any], Any]) -> property:
    """Return what takes the place of a plain attribute, and keeps what `protected` makes of each value."""

    def put(self: Any, value: Any) -> None:
        self.__dict__[name] = protected(value)

    def get(self: Any) -> Any:
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None

    return property(get, put)


def guard_pool(pool: Any, library: Library, shield: Shield) -> None:
    """Give a pool the protected connection class, and the connections that it has as well."""
    say(pool.connection_kwargs.get("retry"), library, shield)
    cls = pool.connection_class = connection_class(unguarded(pool.connection_class), library, shield)
    known = [connection for name in _POOLED for connection in list(getattr(pool, name, None) or ())]
    for connection in known:
        # With client-side caching a proxy stands before the connection.
        connection = getattr(connection, "_conn", connection)
        if isinstance(connection, library.connection.AbstractConnection):
            adopt(connection, cls)


_POOLED: Final = ("_available_connections", "_in_use_connections", "_connections")


def say(retry: Any, library: Library, shield: Shield) -> None:
    """Log what became of a client's own retry."""
    if retry is None or retry._retries == 0:
        return
    if library.is_default(retry):
        what = "%s: the client's own %d retries are off: it connects as the policy says, and no command is sent twice"
    else:
        what = "%s: the client's own %d retries are kept for commands that were sent; it connects as the policy says"
    shield.changed(what, library.name, retry._retries)


def sentinel_class(cls: Any, library: Library, shield: Shield) -> Any:
    """Return a Sentinel whose masters and replicas are guarded; each of their attempts asks every sentinel once."""

    @functools.wraps(cls.__init__)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes a method
        cls.__init__(self, *args, **kwargs)
        quieten(self, library)

    def finder(name: str) -> Any:
        find = getattr(cls, name)

        @functools.wraps(find)
        def client_for(self: Any, *args: Any, **kwargs: Any) -> Any:
            client = find(self, *args, **kwargs)
            guard_pool(client.connection_pool, library, shield)
            return client

        return client_for

    finders = {name: finder(name) for name in ("master_for", "slave_for", "replica_for") if hasattr(cls, name)}
    return lookalike(cls, __init__=__init__, **finders)
