"""psycopg 3: the connect functions and the connection classes, plain and asynchronous; a pool is `psycopg_pool`'s."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Coroutine
from typing import Any

from .._wrapping import name_of
from ..endpoint import Endpoint
from . import _libpq
from ._libpq import SCHEMES, redirect
from ._shield import Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "redirect", "serves", "subclass", "target"]


def guard(thing: Any, shield: Shield) -> Any:
    """Protect `psycopg.connect`, `Connection.connect`, `AsyncConnection.connect`, or a connection class by its own."""
    import psycopg

    if isinstance(thing, type):
        return subclass(thing, shield) if hasattr(thing, "connect") else None
    if not _connects(thing):
        return None
    return shield.protect(thing, target=target, unavailable=psycopg.OperationalError, redirect=redirect)


def subclass(cls: Any, shield: Shield) -> Any:
    """Return a subclass of a connection class, of the same name, whose `connect` is protected."""
    import psycopg

    cls = unguarded(cls)
    connect = shield.protect(
        cls.connect.__func__,
        target=lambda _, *args, **kwargs: target(*args, **kwargs),
        unavailable=psycopg.OperationalError,
        redirect=redirect,
    )
    return lookalike(cls, connect=classmethod(connect))


def target(conninfo: str = "", **settings: Any) -> Endpoint:
    """Return where libpq would connect to with these arguments: the first of several hosts, PGHOST and PGPORT included.

    Raises:
        TargetError: that is not known.
    """
    from psycopg.conninfo import conninfo_to_dict

    known = dict(conninfo_to_dict(conninfo))
    known |= {key: value for key, value in settings.items() if value is not None}
    return _libpq.find(known)


def ping(thing: Any) -> Coroutine[Any, Any, None] | None:
    """Connect with a connect function or class, `functools.partial` of one included; ask `SELECT 1` and leave.

    A coroutine for what is asynchronous.
    """
    connect: Any = getattr(thing, "connect", thing) if isinstance(thing, type) else thing
    if _owner_is_async(connect):
        return _ping_async(connect)
    with connect() as connection:
        connection.execute("select 1")
    return None


async def _ping_async(connect: Any) -> None:
    async with await connect() as connection:
        await connection.execute("select 1")


def serves(url: str, timeout: float) -> None:
    """Connect to a URL, ask `SELECT 1` and leave, within about `timeout` seconds (2 at least: libpq's own limit)."""
    import psycopg

    ends = time.monotonic() + timeout
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    conninfo = _libpq.as_libpq_reads(url, known)
    with psycopg.connect(conninfo, connect_timeout=max(2, math.ceil(timeout)), autocommit=True) as connection:  # noqa: SIM117
        with _libpq.cut_off(connection.fileno(), ends - time.monotonic()):
            connection.execute("select 1")


def _connects(thing: Any) -> bool:
    return callable(thing) and name_of(thing).rpartition(".")[2] == "connect"


def _owner_is_async(connect: Any) -> bool:
    from .._wrapping import is_async

    while isinstance(connect, functools.partial):
        connect = connect.func
    return is_async(connect)
