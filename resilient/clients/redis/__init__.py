"""redis-py and valkey-py, plain and asynchronous: the connection class, where sockets are opened and hands are shaken.

The pool gets a subclass of its connection class, so that whatever takes its connections from there is protected. The
client's own retry would wrap each command and connect again each time; it goes on only where the user chose it, only
for commands that were sent, and never after a connect that has given up.
Read and run: redis-py 8.1, valkey-py 6.2; read: redis-py 5.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final

from .._shield import Shield, unguarded
from ._clusters import cluster_class, guard_cluster
from ._connections import adopt, connection_class
from ._hello import ping, serves
from ._library import Library
from ._pools import client_class, guard_pool, pool_class, say, sentinel_class
from ._sentinels import quieten

__all__ = ["SCHEMES", "guard", "ping", "serves"]

SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys")


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a client, pool, Sentinel or cluster, one of their classes, a connection class, or a `from_url`.

    None for what does not connect.
    """
    library = Library.of(thing)
    if library is None:
        return None
    if inspect.ismethod(thing) and isinstance(thing.__self__, type) and thing.__name__ == "from_url":
        cls = _class(thing.__self__, library, shield)
        return None if cls is None else getattr(cls, thing.__name__)
    if inspect.isfunction(thing) and thing.__name__ == "from_url":
        return _factory(thing, library, shield)
    if isinstance(thing, type):
        return _class(thing, library, shield)
    return _object(thing, library, shield)


def _class(cls: type, library: Library, shield: Shield) -> Any:
    bare = unguarded(cls)
    if issubclass(bare, library.client):
        say(library.default, library, shield)
        return client_class(bare, library, shield)
    if issubclass(bare, library.connection.ConnectionPool):
        return pool_class(bare, library, shield)
    if issubclass(bare, library.connection.AbstractConnection):
        return connection_class(bare, library, shield)
    if issubclass(bare, library.sentinel.Sentinel):
        say(library.default, library, shield)
        return sentinel_class(bare, library, shield)
    if issubclass(bare, library.cluster_client):
        return cluster_class(bare, library, shield)
    return None


def _object(thing: Any, library: Library, shield: Shield) -> Any:
    if isinstance(thing, library.connection.ConnectionPool):
        guard_pool(thing, library, shield)
    elif isinstance(thing, library.client):
        guard_pool(thing.connection_pool, library, shield)
    elif isinstance(thing, library.connection.AbstractConnection):
        adopt(thing, connection_class(unguarded(type(thing)), library, shield))
    elif isinstance(thing, library.sentinel.Sentinel):
        thing.__class__ = sentinel_class(unguarded(type(thing)), library, shield)
        quieten(thing, library)
    elif isinstance(thing, library.cluster_client):
        guard_cluster(thing, library, shield)
    else:
        return None
    return thing


def _factory(function: Any, library: Library, shield: Shield) -> Any:
    """`redis.from_url`: what it returns is guarded."""

    @functools.wraps(function)
    def from_url(*args: Any, **kwargs: Any) -> Any:
        return _object(function(*args, **kwargs), library, shield)

    return from_url
