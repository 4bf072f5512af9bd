"""PyMySQL: its `Connection`, which `pymysql.connect` is another name of."""

from __future__ import annotations

import math
from typing import Any

from . import _mysql
from ._mysql import SCHEMES
from ._shield import Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "serves"]


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a class of connections by a subclass of the same name, or a connection's reconnects in place."""
    from pymysql.connections import Connection

    if isinstance(thing, Connection):
        thing.__class__ = _subclass(type(thing), shield)
        return thing
    if isinstance(thing, type) and issubclass(thing, Connection):
        return _subclass(thing, shield)
    return None


def _subclass(cls: Any, shield: Shield) -> Any:
    from pymysql.err import OperationalError

    cls = unguarded(cls)
    connect = shield.protect(
        cls.connect,
        target=_mysql.of_connection,
        unavailable=_mysql.refusal(OperationalError),
        redirect=_mysql.redirect_connection,
    )
    return lookalike(cls, connect=connect)


def ping(thing: Any) -> None:
    """Ping the server over a connection that is there, connecting again if need be; or connect, ping and leave."""
    from pymysql.connections import Connection
    from pymysql.err import Error

    if isinstance(thing, Connection):
        try:
            thing.ping(reconnect=False)
        except Error:  # it has died meanwhile, or was never connected
            thing.connect()
            thing.ping(reconnect=False)
        return
    with thing() as connection:
        connection.ping(reconnect=False)


def serves(url: str, timeout: float) -> None:
    """Connect to a URL, ping and leave; `timeout` seconds bound each step of it."""
    import pymysql

    seconds = max(1, math.ceil(timeout))
    connection: Any = pymysql.connect(
        **_mysql.settings(url),
        database=_mysql.database(url),
        connect_timeout=seconds,
        read_timeout=seconds,
        write_timeout=seconds,
    )
    try:
        connection.ping(reconnect=False)
    finally:
        connection.close()
