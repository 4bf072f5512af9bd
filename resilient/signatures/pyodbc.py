"""pyodbc: SQLSTATE and the driver's text; FreeTDS's, MariaDB's and PostgreSQL's drivers, measured on Linux.

The driver manager ends each message with the driver's number and the name of its own function: a text that a server
made up stands before them.
"""

from __future__ import annotations

import errno
import re
from typing import Any, Final

from ._libpq import signature
from ._signature import Rule, Signature
from ._sqlserver import HOPELESS, NOT_READY
from .pymysql import HOPELESS as HOPELESS_IN_MYSQL
from .pymysql import NOT_READY as NOT_READY_IN_MYSQL

_STATE: Final = r"^\[[0-9A-Z]{5}\] "
_ANSWERED: Final = rf"(?s){_STATE}\[(?:FreeTDS|Microsoft)\](?:\[ODBC Driver \d+ for SQL Server\])?\[SQL Server\].* "
_MARIADB: Final = rf"{_STATE}\[ma-[0-9.]+\]"
_CANNOT: Final = rf"{_MARIADB}Can't connect to server on '[^'\n]*' "
_LAST: Final = r" \(SQLDriverConnect\)"
_LIBPQ: Final = signature("pyodbc", code="args")


def _text(error: Any) -> object:
    """Return the text, or of PostgreSQL's driver libpq's part of it."""
    text = error.args[1] if len(error.args) > 1 else ""
    match = re.fullmatch(r"(?s)\[08001\] (.*) \(101\) \(SQLDriverConnect\)", text) if type(text) is str else None
    return text if match is None else match[1]


def _any_of(numbers: frozenset[int]) -> str:
    return rf"\((?:{'|'.join(map(str, sorted(numbers)))})\){_LAST}"


SIGNATURE: Final = Signature(
    package="pyodbc",
    text=_text,
    clauses=_LIBPQ.clauses,
    rules=(
        *(rule for rule in _LIBPQ.rules if not rule.codes),
        Rule(kind="hopeless", text=_ANSWERED + _any_of(HOPELESS)),
        Rule(kind="not_ready", text=_ANSWERED + _any_of(NOT_READY)),
        # FreeTDS says no more than this, of a timeout as well.
        Rule(
            kind="hidden",
            text=rf"{_STATE}\[FreeTDS\]\[SQL Server\]Unable to connect: Adaptive Server is unavailable or does not "
            rf"exist \(20009\){_LAST}$",
        ),
        Rule(kind="hopeless", text=rf"{_MARIADB}.* {_any_of(HOPELESS_IN_MYSQL)}$"),
        Rule(kind="not_ready", text=rf"{_MARIADB}.* {_any_of(NOT_READY_IN_MYSQL)}$"),
        Rule(kind="refused", text=rf"{_CANNOT}\({errno.ECONNREFUSED}\) \(2002\){_LAST}$"),
        Rule(kind="unreachable", text=rf"{_CANNOT}\((?:{errno.EHOSTUNREACH}|{errno.ETIMEDOUT})\) \(2002\){_LAST}$"),
        Rule(kind="hidden", text=rf"{_CANNOT}\({errno.EINPROGRESS}\) \(2002\){_LAST}$"),  # as in `_mysql`
    ),
)
