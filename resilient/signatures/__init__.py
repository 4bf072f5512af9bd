"""How each client library shows a refusal, as data: one file a library, one row in the table.

No client is imported here: an exception of a client proves that the client is imported already, and the top-level
package of its class is the key. Text is matched in this folder only.
"""

from __future__ import annotations

import re
from typing import Final

from .._causes import BUILTINS, package
from . import asyncpg, psycopg, psycopg2, pymysql, redis, sqlalchemy, valkey
from ._signature import LONGEST_TEXT, Kind, Rule, Signature, together

__all__ = ["LONGEST_TEXT", "TABLE", "Kind", "Rule", "Signature", "address", "find", "together"]

TABLE: Final[dict[str, Signature]] = {
    signature.package: signature
    for signature in (
        asyncpg.SIGNATURE,
        psycopg.SIGNATURE,
        psycopg2.SIGNATURE,
        pymysql.SIGNATURE,
        redis.SIGNATURE,
        sqlalchemy.SIGNATURE,
        valkey.SIGNATURE,
    )
}


def find(cls: type) -> Signature | None:
    """Return the signature of the client that an exception class belongs to, nearest base first."""
    for base in cls.__mro__:
        if base in BUILTINS:
            continue
        name = package(base)
        if name is not None and (signature := TABLE.get(name)) is not None:
            return signature
    return None


def address(exc: BaseException) -> tuple[str, int] | None:
    """Return the host and port that a client's text names, if its signature knows how. May raise."""
    signature = find(type(exc))
    if signature is None or signature.address is None:
        return None
    match = re.search(signature.address, str(exc)[:LONGEST_TEXT])
    return None if match is None else (match["host"], int(match["port"]))
