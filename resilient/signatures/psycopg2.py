"""psycopg2: libpq's text in an `OperationalError` whose `pgcode` is None."""

from __future__ import annotations

import errno
from typing import Final

from ._libpq import signature
from ._signature import Rule, Signature

_SIGNATURE: Final = signature("psycopg2", code="pgcode")
_UNREACHABLE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRNOTAVAIL})
_ASKS: Final = r"\n\tIs the server running on that host and accepting TCP/IP connections\?\n"

SIGNATURE: Final = Signature(
    package="psycopg2",
    code="pgcode",
    clauses=_SIGNATURE.clauses,
    address=_SIGNATURE.address,
    rules=(
        *_SIGNATURE.rules,
        # Its asynchronous connections (aiopg) lose libpq's first words, up to "failed: "; a server's answer still
        # begins with its severity.
        Rule(
            kind="refused",
            classes=frozenset({"OperationalError"}),
            errnos=frozenset({errno.ECONNREFUSED}),
            text=rf"^WORDS{_ASKS}",
        ),
        Rule(kind="unreachable", classes=frozenset({"OperationalError"}), errnos=_UNREACHABLE, text=rf"^WORDS{_ASKS}"),
    ),
)
