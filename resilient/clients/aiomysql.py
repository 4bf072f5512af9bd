"""aiomysql: `connect`, `create_pool`, and the classes and objects of both."""

from __future__ import annotations

import math
from typing import Any

from . import _mysql
from ._mysql import SCHEMES
from ._shield import Shield

__all__ = ["SCHEMES", "guard", "ping", "serves"]


def guard(thing: Any, shield: Shield) -> Any:
    """Protect connects; in a pool, the taking of a connection."""
    import aiomysql

    return _mysql.guard_asynchronous(thing, shield, aiomysql, connects="_connect")


async def ping(thing: Any) -> None:
    """Ask `SELECT 1` over a connection of a pool, or over one of a connect function, and give it back."""
    from aiomysql.pool import Pool

    await _mysql.ping_asynchronous(thing, Pool)


def serves(url: str, timeout: float) -> None:
    """Connect to a URL, ask `SELECT 1` and leave, within about `timeout` seconds. Not in a running event loop."""
    import asyncio

    asyncio.run(asyncio.wait_for(_serves(url, timeout), timeout))


async def _serves(url: str, timeout: float) -> None:
    import aiomysql

    settings = {**_mysql.settings(url), "db": _mysql.database(url)}

    async def connect() -> Any:
        return await aiomysql.connect(**settings, connect_timeout=max(1, math.ceil(timeout)))

    await _mysql.ping_asynchronous(connect, ())
