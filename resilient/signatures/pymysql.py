"""PyMySQL: `OperationalError` 2003 with the socket's error in `original_exception`; the server's errors by number."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

NOT_READY: Final = frozenset({1040, 1053})
"""ER_CON_COUNT_ERROR (too many connections), ER_SERVER_SHUTDOWN."""

HOPELESS: Final = frozenset({1044, 1045, 1049, 1130, 1251, 1698, 2026, 2059})
"""Access denied to a database, access denied, unknown database, host not allowed, no such authentication protocol,
access denied without password, a TLS error, an authentication plugin that cannot be loaded."""

_ERRORS: Final = frozenset({"MySQLError"})

SIGNATURE: Final = Signature(
    package="pymysql",
    code="args",
    rules=(
        Rule(kind="not_ready", classes=_ERRORS, codes=NOT_READY),
        Rule(kind="hopeless", classes=_ERRORS, codes=HOPELESS),
        # Lost after the connect, also where a read timed out: something may have been sent.
        Rule(kind="other", classes=_ERRORS, codes=frozenset({2006, 2013})),
    ),
)
