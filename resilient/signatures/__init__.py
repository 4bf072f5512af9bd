"""How each client library shows a refusal, as data: one file a library, one row in the table.

No client is imported here: an exception of a client proves that the client is imported already, and the top-level
package of its class is the key. Text is matched in this folder only.
A signature is loaded when a function is decorated in a program that has imported its client, or else at the first
error that needs it; whoever does neither pays for none.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from typing import Final

from .._causes import BUILTINS, package
from ._signature import LONGEST_TEXT, Kind, Rule, Signature, together

__all__ = ["LONGEST_TEXT", "TABLE", "Kind", "Rule", "Signature", "address", "find", "prepare", "together"]

TABLE: Final = ("asyncpg", "psycopg", "psycopg2", "pymysql", "redis", "sqlalchemy", "valkey")
"""The table: the top-level packages of the clients that are known, each with a file of its name here."""

_loaded: Final[dict[str, Signature]] = {}


def prepare() -> None:
    """Load the signatures of the clients that are imported, so that no failure has to open a file."""
    for name in TABLE:
        if name in sys.modules and name not in _loaded:
            with contextlib.suppress(ImportError, OSError):  # no descriptor left, or Python is shutting down
                _load(name)


def find(cls: type) -> Signature | None:
    """Return the signature of the client that an exception class belongs to, nearest base first.

    May raise what an import raises, where no descriptor is left.
    """
    for base in cls.__mro__:
        if base in BUILTINS:
            continue
        name = package(base)
        if name in TABLE:
            return _loaded.get(name) or _load(name)
    return None


def _load(name: str) -> Signature:
    signature: Signature = importlib.import_module(f"{__name__}.{name}").SIGNATURE
    return _loaded.setdefault(name, signature)


def address(exc: BaseException) -> tuple[str, int] | None:
    """Return the host and port that a client's text names, if its signature knows how. May raise."""
    signature = find(type(exc))
    if signature is None or signature.address is None:
        return None
    match = re.search(signature.address, str(exc)[:LONGEST_TEXT])
    return None if match is None else (match["host"], int(match["port"]))
