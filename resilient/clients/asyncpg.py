"""asyncpg: `connect`, and pools by what they connect with."""

from __future__ import annotations

import functools
import inspect
import os
import time
from typing import Any
from urllib.parse import parse_qs, unquote

from .._wrapping import name_of
from ..endpoint import Endpoint
from . import _libpq
from ._libpq import SCHEMES
from ._shield import Shield

__all__ = ["SCHEMES", "guard", "ping", "redirect", "serves", "target"]


def guard(thing: Any, shield: Shield) -> Any:
    """Protect `connect`, what `create_pool` and `Pool` make, and a pool, in place, by what its `connect=` set."""
    from asyncpg.pool import Pool

    if isinstance(thing, Pool):
        thing._connect = _protect(_connect_of(thing), shield)
        return thing
    if isinstance(thing, type):
        return _subclass(thing, shield) if issubclass(thing, Pool) else None
    name = name_of(thing).rpartition(".")[2] if callable(thing) else ""
    if name == "connect":
        return _protect(thing, shield)
    return _factory(thing, shield) if name == "create_pool" else None


def _connect_of(pool: Any) -> Any:
    try:
        return pool._connect
    except AttributeError:
        raise TypeError(_TOO_OLD) from None


_TOO_OLD = "guard can protect a pool of asyncpg 0.30 or newer: an older one does not say how it connects"


def _protect(connect: Any, shield: Shield) -> Any:
    connect = getattr(connect, "_unguarded", connect)
    protected: Any = shield.protect(connect, target=target, unavailable=None, redirect=redirect)
    if not isinstance(protected, functools.partial):
        protected._unguarded = connect
    return protected


def _factory(create_pool: Any, shield: Shield) -> Any:
    if "connect" not in inspect.signature(create_pool).parameters:
        raise TypeError(_TOO_OLD)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        return guard(create_pool(*args, **kwargs), shield)

    return functools.update_wrapper(guarded, create_pool)


def _subclass(cls: Any, shield: Shield) -> Any:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        cls.__init__(self, *args, **kwargs)
        guard(self, shield)

    named: dict[str, Any] = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(cls)(cls.__name__, (cls,), {**named, "__slots__": (), "__init__": functools.wraps(cls.__init__)(init)})


def target(dsn: str | None = None, *, host: Any = None, port: Any = None, **_: Any) -> Endpoint:
    """Return where asyncpg would connect to with these arguments, its environment included; the first of several hosts.

    Raises:
        TargetError: that is not known.
    """
    authority, query = (dsn or "").partition("://")[2].partition("?")[::2]
    hosts = unquote(authority.partition("/")[0].rpartition("@")[2]).split(",")[0]
    words = {key: values[-1] for key, values in parse_qs(query).items()}
    its_host, its_port = _split(hosts)
    host = host or its_host or words.get("host") or os.environ.get("PGHOST")
    port = port or its_port or words.get("port") or os.environ.get("PGPORT") or 5432
    # Without a host it tries the usual sockets, and at last this one.
    return _libpq.at(_libpq.first(host or "localhost"), _libpq.first(port))


def redirect(
    endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a connect that go to this endpoint: by name, they count more than a DSN."""
    args, kwargs = _libpq.redirect(endpoint, args, kwargs)
    kwargs.pop("hostaddr", None)  # which is libpq's
    return args, kwargs


def _split(text: str) -> tuple[str, str]:
    """Split "host:port"; either may be missing, and IPv6 stands in brackets."""
    host, bracket, port = text.partition("]")
    if not bracket:
        host, _, port = text.partition(":")
    return host.removeprefix("["), port.removeprefix(":")


async def ping(thing: Any) -> None:
    """Ask `SELECT 1` over a connection of a pool, which is opened first, or over one of a connect function."""
    from asyncpg.pool import Pool

    if isinstance(thing, Pool):
        await thing
        async with thing.acquire() as connection:
            await connection.fetchval("select 1")
        return
    connection = await thing()
    try:
        await connection.fetchval("select 1")
    finally:
        await connection.close()


def serves(url: str, timeout: float) -> None:
    """Connect to a URL, ask `SELECT 1` and leave, within about `timeout` seconds. Not in a running event loop."""
    import asyncio

    asyncio.run(_serves(_libpq.as_libpq_reads(url, _KNOWN), timeout))


_KNOWN = frozenset(
    {
        "database",
        "dbname",
        "gsslib",
        "host",
        "krbsrvname",
        "passfile",
        "password",
        "port",
        "service",
        "servicefile",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "target_session_attrs",
        "user",
    }
)
"""What asyncpg reads in a URL's query; it would hand the rest to the server as settings."""


async def _serves(url: str, timeout: float) -> None:
    import asyncpg

    ends = time.monotonic() + timeout
    connection: Any = await asyncpg.connect(url, timeout=timeout)  # pyright: ignore[reportArgumentType]  # any number
    try:
        await connection.fetchval("select 1", timeout=max(0.1, ends - time.monotonic()))
    finally:
        connection.terminate()
