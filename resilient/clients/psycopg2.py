"""psycopg2: `connect`, and the pools of `psycopg2.pool`."""

from __future__ import annotations

import functools
import math
import time
from typing import Any

from .._wrapping import name_of
from ..endpoint import Endpoint
from . import _libpq
from ._libpq import SCHEMES, redirect
from ._shield import Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "redirect", "serves", "target"]


def guard(thing: Any, shield: Shield) -> Any:
    """Protect `connect`; a pool in place, or a class of pools by a subclass of the same name.

    `psycopg2.extensions.connection` connects in its `__init__`, which cannot run twice on one object: it is no class
    that could come back as one.
    """
    import psycopg2
    from psycopg2.pool import AbstractConnectionPool

    if isinstance(thing, type):
        return _subclass(thing, shield) if issubclass(thing, AbstractConnectionPool) else None
    if isinstance(thing, AbstractConnectionPool):
        thing.__class__ = _subclass(type(thing), shield)
        return thing
    if callable(thing) and name_of(thing).rpartition(".")[2] == "connect":
        return shield.protect(thing, target=target, unavailable=psycopg2.OperationalError, redirect=redirect)
    return None


def _subclass(cls: Any, shield: Shield) -> Any:
    """Protect what takes a connection out of the pool, because a pool for threads is locked while it connects."""
    import psycopg2

    cls = unguarded(cls)

    def where(pool: Any, *_: Any, **__: Any) -> Endpoint:
        return target(*pool._args, **pool._kwargs)

    protect = functools.partial(shield.protect, target=where, unavailable=psycopg2.OperationalError)
    connect = protect(cls._connect)

    def _connect(self: Any, key: Any = None) -> Any:
        # Without a key it is one of the first connections, made in the constructor; else `getconn` is protected.
        return connect(self) if key is None else cls._connect(self, key)

    members = {"_connect": functools.wraps(cls._connect)(_connect)}
    if hasattr(cls, "getconn"):  # AbstractConnectionPool has none
        members["getconn"] = protect(cls.getconn)
    return lookalike(cls, **members)


def target(dsn: str | None = None, *_: Any, **settings: Any) -> Endpoint:
    """Return where libpq would connect to with these arguments: the first of several hosts, PGHOST and PGPORT included.

    Raises:
        TargetError: that is not known.
    """
    from psycopg2.extensions import parse_dsn

    known = dict(parse_dsn(dsn)) if dsn else {}
    known |= {key: value for key, value in settings.items() if value is not None}
    return _libpq.find(known)


def ping(thing: Any) -> None:
    """Ask `SELECT 1` over a connection of a pool, or over one of a connect function, and give it back."""
    from psycopg2 import OperationalError
    from psycopg2.pool import AbstractConnectionPool

    if not isinstance(thing, AbstractConnectionPool):
        connection = thing()
        try:
            _ask(connection)
        finally:
            connection.close()
        return
    for last in [False] * thing.maxconn + [True]:  # one that is dead is not the answer
        connection = thing.getconn()
        try:
            _ask(connection)
        except OperationalError:
            if last or not connection.closed:
                raise
        else:
            return
        finally:
            thing.putconn(connection)


def _ask(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select 1")


def serves(url: str, timeout: float) -> None:
    """Connect to a URL, ask `SELECT 1` and leave, within about `timeout` seconds (2 at least: libpq's own limit)."""
    import psycopg2

    ends = time.monotonic() + timeout
    connection = psycopg2.connect(_libpq.as_libpq_reads(url, _KNOWN), connect_timeout=max(2, math.ceil(timeout)))
    try:
        with _libpq.cut_off(connection.fileno(), ends - time.monotonic()):
            _ask(connection)
    finally:
        connection.close()


_KNOWN = frozenset(
    {
        "application_name",
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "dbname",
        "fallback_application_name",
        "gssencmode",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "load_balance_hosts",
        "options",
        "passfile",
        "password",
        "port",
        "require_auth",
        "service",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslpassword",
        "sslrootcert",
        "sslsni",
        "tcp_user_timeout",
        "target_session_attrs",
        "user",
    }
)
"""The settings of libpq that a URL's query may have."""
