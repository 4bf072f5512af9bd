"""pymemcache: the method of its `Client` that opens the socket, in pools and in hashed clients as well.

A refused connect comes out as it is, and so does an open circuit: `CircuitOpenError` is a `ConnectionRefusedError`.
Read and run: pymemcache 4.0; read: 3.5.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import socket
from typing import Any, Final

from ..endpoint import Endpoint
from ._shield import GUARDED, Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "serves"]

SCHEMES: Final = ("memcached", "memcache")


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a `Client`, `PooledClient`, `HashClient` or `RetryingClient`, ready or, but for the last, as a class."""
    Client, PooledClient, HashClient, RetryingClient = _classes()  # noqa: N806

    if isinstance(thing, type):
        if issubclass(thing, Client):
            return _client_class(thing, shield)
        if issubclass(thing, (PooledClient, HashClient)):
            bare = unguarded(thing)
            client_class = _client_class(bare.client_class, shield)
            if not issubclass(thing, HashClient):
                return lookalike(bare, client_class=client_class)
            return lookalike(bare, client_class=client_class, add_server=_add_server(bare, shield))
        return None
    if isinstance(thing, Client):
        _guard_client(thing, shield)
    elif isinstance(thing, PooledClient):
        thing.client_class = _client_class(thing.client_class, shield)
        for client in (*thing.client_pool.used, *thing.client_pool.free):
            _guard_client(client, shield)
    elif isinstance(thing, HashClient):
        thing.client_class = _client_class(thing.client_class, shield)
        for client in thing.clients.values():
            guard(client, shield)
    elif isinstance(thing, RetryingClient):
        _guard_retrying(thing, shield)
    else:
        return None
    return thing


def _classes() -> tuple[Any, Any, Any, Any]:
    client = importlib.import_module("pymemcache.client.base")
    hashed = importlib.import_module("pymemcache.client.hash")
    retrying = importlib.import_module("pymemcache.client.retrying")  # since 3.5
    return client.Client, client.PooledClient, hashed.HashClient, retrying.RetryingClient


def _client_class(cls: Any, shield: Shield) -> Any:
    bare = unguarded(cls)
    connect: Any = shield.protect(bare._connect, target=_where, unavailable=None, redirect=_redirect)

    @functools.wraps(bare._connect)
    def _connect(self: Any) -> None:
        connect(self)

    setattr(_connect, GUARDED, bare._connect)
    return lookalike(bare, _connect=_connect)


def _guard_client(client: Any, shield: Shield) -> None:
    bare = getattr(type(client)._connect, GUARDED, type(client)._connect)
    connect: Any = shield.protect(bare, target=_where, unavailable=None, redirect=_redirect)
    client._connect = functools.partial(connect, client)


def _add_server(cls: Any, shield: Shield) -> Any:
    """A pool that a hashed client makes takes its clients' class only afterwards, and is guarded then."""

    @functools.wraps(cls.add_server)
    def add_server(self: Any, *args: Any, **kwargs: Any) -> None:
        before = set(map(id, self.clients.values()))
        cls.add_server(self, *args, **kwargs)
        for client in self.clients.values():
            if id(client) not in before:
                guard(client, shield)

    return add_server


def _guard_retrying(client: Any, shield: Shield) -> None:
    """Its own attempts are for commands: a connect that has given up ends them."""
    guard(client._client, shield)
    refused = (ConnectionRefusedError, socket.gaierror)
    known = client._do_not_retry_for or ()
    if not set(refused) <= set(known):
        client._do_not_retry_for = (*known, *(cls for cls in refused if cls not in known))
        shield.changed("pymemcache: RetryingClient's own attempts are off for refused connects, and kept for commands")


def _redirect(
    endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args[0].server = endpoint.path if endpoint.path is not None else (endpoint.host, endpoint.port)
    return args, kwargs


def _where(client: Any) -> Endpoint:
    server = client.server
    if isinstance(server, (tuple, list)):
        return Endpoint(scheme="memcached", host=server[0], port=int(server[1]))
    return Endpoint(scheme="unix", path=os.path.abspath(server))


# Saying hello.


def ping(thing: Any) -> None:
    """Connect anew as a client would, ask each server for its version, and leave.

    Raises:
        TypeError: it is no client.
    """
    Client, PooledClient, HashClient, RetryingClient = _classes()  # noqa: N806

    if isinstance(thing, RetryingClient):
        thing = thing._client
    if isinstance(thing, HashClient):
        for client in thing.clients.values():
            ping(client)
        return
    if not isinstance(thing, (Client, PooledClient)):
        raise TypeError(f"{type(thing).__name__} is no client of pymemcache")
    names = ("connect_timeout", "timeout", "no_delay", "socket_module", "socket_keepalive", "tls_context")
    settings = {name: getattr(thing, name) for name in names if hasattr(thing, name)}
    with contextlib.closing(Client(thing.server, **settings)) as client:
        client.version()


def serves(url: str, timeout: float) -> None:
    """Connect to a `memcached://` URL and ask for its version, in about `timeout` seconds."""
    endpoint = Endpoint.parse(url)
    where = (endpoint.host, endpoint.port)
    with contextlib.closing(_classes()[0](where, connect_timeout=timeout, timeout=timeout)) as client:
        client.version()
