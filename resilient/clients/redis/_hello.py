"""Say hello: connect anew, PING and leave. Neither policy nor the client's own retry makes it try again."""

from __future__ import annotations

import importlib
from typing import Any

from .._shield import unguarded
from ._library import PACKAGES, Library, library


def ping(thing: Any) -> Any:
    """Connect anew as a client or pool would, send PING, and leave; of an asynchronous one a coroutine comes back.

    Neither policy nor the client's own retry makes it try again.

    Raises:
        TypeError: it is neither client nor pool.
    """
    library = Library.of(thing)
    pool = getattr(thing, "connection_pool", thing)
    if library is None or not isinstance(pool, library.connection.ConnectionPool):
        if library is not None and isinstance(thing, library.cluster_client):
            return thing.ping(target_nodes="random")
        raise TypeError(f"{type(thing).__name__} is neither client nor pool of redis-py or valkey-py")
    settings = {**pool.connection_kwargs, "retry": library.no_retry(), "retry_on_error": []}
    connection = unguarded(pool.connection_class)(**settings)
    return _say_hello_async(connection) if library.is_async else _say_hello(connection)


def _say_hello(connection: Any) -> None:
    try:
        connection.connect()
        connection.send_command("PING", check_health=False)
        connection.read_response()
    finally:
        connection.disconnect()


async def _say_hello_async(connection: Any) -> None:
    try:
        await connection.connect()
        await connection.send_command("PING", check_health=False)
        await connection.read_response()
    finally:
        await connection.disconnect(nowait=True)


def serves(url: str, timeout: float) -> None:
    """Connect to a `redis://` or `valkey://` URL, log in and PING once, in about `timeout` seconds.

    Raises:
        ImportError: neither redis-py nor valkey-py is installed.
    """
    name = _installed()
    known = library(name, False)
    scheme, colon, rest = url.partition(":")
    if name == "redis":
        scheme = {"valkey": "redis", "valkeys": "rediss"}.get(scheme.lower(), scheme.lower())
    limits = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": known.no_retry()}
    pool = known.connection.ConnectionPool.from_url(f"{scheme}{colon}{rest}", **limits)
    _say_hello(pool.make_connection())


def _installed() -> str:
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        return name
    raise ImportError('neither redis nor valkey is installed: pip install "resilient-connect[redis]"')
