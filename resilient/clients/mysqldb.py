"""mysqlclient, imported as `MySQLdb`: its `connect`."""

from __future__ import annotations

import math
from typing import Any

from .._wrapping import name_of
from . import _mysql
from ._mysql import SCHEMES
from ._shield import Shield

__all__ = ["SCHEMES", "guard", "ping", "serves"]


def guard(thing: Any, shield: Shield) -> Any:
    """Protect `connect`, which is also `Connect` and `Connection`.

    `MySQLdb.connections.Connection` connects in its `__init__`, which cannot run twice on one object: it is no class
    that could come back as one.
    """
    import MySQLdb

    if isinstance(thing, type) or not callable(thing) or name_of(thing).rpartition(".")[2].lower() != "connect":
        return None
    return shield.protect(
        thing,
        target=_mysql.target,
        unavailable=_mysql.refusal(MySQLdb.OperationalError),
        redirect=_mysql.redirect,
    )


def ping(thing: Any) -> None:
    """Connect with a connect function, ping and leave."""
    connection = thing()
    try:
        connection.ping()
    finally:
        connection.close()


def serves(url: str, timeout: float) -> None:
    """Connect to a URL, ping and leave; `timeout` seconds bound each step of it."""
    import MySQLdb

    seconds = max(1, math.ceil(timeout))
    chosen = {"database": name} if (name := _mysql.database(url)) else {}
    connection = MySQLdb.connect(
        **_mysql.settings(url), **chosen, connect_timeout=seconds, read_timeout=seconds, write_timeout=seconds
    )
    try:
        connection.ping()
    finally:
        connection.close()
