"""Memcached.

Not here, because they raise nothing where nobody listens, and answer as if the key were not there: python-memcached and
python-binary-memcached.
"""

from __future__ import annotations

import struct
from typing import Any

from fake_servers import Handler, says

from .entry import NO_IPV6, ONE_ADDRESS, ONLY_WORDS, Answer, Book, Place


def _binary_or(text: bytes, status: int, words: bytes) -> Handler:
    """Answer `text`, and to a client that speaks the binary protocol an error with this status."""

    def handler(connection: Any) -> None:
        while asked := connection.recv(65_536):
            if asked[:1] == b"\x80":
                connection.sendall(struct.pack("!BBHBBHIIQ", 0x81, asked[1], 0, 0, 0, status, len(words), 0, 0) + words)
            else:
                connection.sendall(text)

    return handler


# These take every error of a read for a missing key.
SILENT: dict[str, str | None] = dict.fromkeys(("pylibmc Client", "pylibmc ClientPool", "Django PyLibMCCache"), "skip")

# Its one connection never comes up, so that the words are lost and a timeout remains.
SILENT["emcache create_client"] = "any"

# These do not pass the words on.
UNKNOWN: dict[str, str | None] = {**SILENT, "pymemcache": None, "Django PyMemcacheCache": None, "pylibmc": None}

book = Book(
    "memcached",
    answers=[
        Answer("too many connections", says(b"ERROR Too many open connections\r\n"), "not_ready", UNKNOWN),
        Answer("out of memory", says(b"SERVER_ERROR out of memory storing object\r\n"), None, SILENT),
        Answer(
            "wrong password",
            _binary_or(b"CLIENT_ERROR authentication failure\r\n", 0x20, b"Auth failure."),
            "hopeless",
            SILENT,
        ),
        Answer(
            "no password",
            _binary_or(b"CLIENT_ERROR unauthenticated\r\n", 0x20, b"Auth failure."),
            "hopeless",
            SILENT,
        ),
        Answer("a quoted refusal", says(b"SERVER_ERROR [Errno 111] Connection refused\r\n"), None, SILENT),
    ],
)


def _manners(place: Place) -> dict[str, Any]:
    return {"connect_timeout": place.timeout, "timeout": place.timeout, "default_noreply": False}


@book.entry("pymemcache Client", **ONE_ADDRESS)
def _(place: Place) -> None:
    from pymemcache import Client

    client = Client((place.host, place.port), **_manners(place))
    try:
        client.get("key")
    finally:
        client.close()


@book.entry("pymemcache PooledClient", **ONE_ADDRESS)
def _(place: Place) -> None:
    from pymemcache import PooledClient

    client = PooledClient((place.host, place.port), **_manners(place))
    try:
        client.set("key", "value")
    finally:
        client.close()


@book.entry("pymemcache HashClient", **ONE_ADDRESS)
def _(place: Place) -> None:
    from pymemcache import HashClient

    client = HashClient([(place.host, place.port)], retry_attempts=0, **_manners(place))
    try:
        client.get("key")
    finally:
        client.close()


@book.entry("pymemcache HashClient pooling", **ONE_ADDRESS)
def _(place: Place) -> None:
    from pymemcache import HashClient

    client = HashClient([(place.host, place.port)], use_pooling=True, retry_attempts=0, **_manners(place))
    try:
        client.get("key")
    finally:
        client.close()


@book.entry("pymemcache RetryingClient", **ONE_ADDRESS)
def _(place: Place) -> None:
    from pymemcache import Client
    from pymemcache.client.retrying import RetryingClient

    client = RetryingClient(Client((place.host, place.port), **_manners(place)), attempts=1)
    try:
        client.get("key")
    finally:
        client.close()


def _pylibmc(place: Place, **settings: Any) -> Any:
    import pylibmc

    milliseconds = int(place.timeout * 1000)
    behaviors = {
        "connect_timeout": milliseconds,
        "receive_timeout": milliseconds * 1000,
        "send_timeout": milliseconds * 1000,
    }
    return pylibmc.Client([place.netloc], behaviors=behaviors, **settings)


@book.entry("pylibmc Client", **NO_IPV6)
def _(place: Place) -> None:
    client = _pylibmc(place)
    client.get("key")


@book.entry("pylibmc Client binary", **NO_IPV6)
def _(place: Place) -> None:
    client = _pylibmc(place, binary=True, username="someone", password="pass")
    client.set("key", "value")


@book.entry("pylibmc ClientPool", **NO_IPV6)
def _(place: Place) -> None:
    import pylibmc

    pool = pylibmc.ClientPool(_pylibmc(place), 1)
    with pool.reserve() as client:
        client.get("key")


@book.entry("aiomcache Client")
async def _(place: Place) -> None:
    import asyncio

    import aiomcache

    client = aiomcache.Client(place.host, int(place.port))
    try:
        await asyncio.wait_for(client.get(b"key"), place.timeout)
    finally:
        await client.close()


@book.entry("emcache create_client", **ONLY_WORDS)
async def _(place: Place) -> None:
    import emcache

    client = await emcache.create_client(
        [emcache.MemcachedHostAddress(place.host, place.port)],
        timeout=place.timeout,
        connection_timeout=place.timeout,
    )
    try:
        await client.get(b"key")
    finally:
        await client.close()


@book.entry("emcache create_client password", **ONLY_WORDS)
async def _(place: Place) -> None:
    import emcache

    client = await emcache.create_client(
        [emcache.MemcachedHostAddress(place.host, place.port)],
        timeout=place.timeout,
        connection_timeout=place.timeout,
        username="someone",
        password="pass",
    )
    try:
        await client.get(b"key")
    finally:
        await client.close()


def _django(name: str, place: Place, options: dict[str, Any]) -> Any:
    from django.conf import settings

    if not settings.configured:
        settings.configure()
    import django.core.cache.backends.memcached as backends

    return getattr(backends, name)(place.netloc, {"OPTIONS": options})


@book.entry("Django PyMemcacheCache", **ONE_ADDRESS)
def _(place: Place) -> None:
    options = {"connect_timeout": place.timeout, "timeout": place.timeout, "retry_attempts": 0}
    _django("PyMemcacheCache", place, options).get("key")


@book.entry("Django PyLibMCCache", **NO_IPV6)
def _(place: Place) -> None:
    milliseconds = int(place.timeout * 1000)
    behaviors = {"connect_timeout": milliseconds, "receive_timeout": milliseconds * 1000}
    _django("PyLibMCCache", place, {"behaviors": behaviors}).get("key")
