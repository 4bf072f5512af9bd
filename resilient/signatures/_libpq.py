"""What PostgreSQL and its C library write, for every client that passes libpq's text on.

libpq's own words come in the language of the process where it was built with translations, the system's words for an
errno as well, and the server's in the language of the server; only English and the process's own errno words are read.
Source: libpq's fe-connect.c and PostgreSQL's postmaster.c, versions 12 to 18.
"""

from __future__ import annotations

import errno
from typing import Final

from ._signature import Rule, Signature

_CONNECTING: Final = frozenset({"OperationalError"})

HOPELESS_STATES: Final = frozenset({"28P01", "28000", "3D000"})
"""invalid_password, invalid_authorization_specification (also: unknown role), invalid_catalog_name."""

NOT_READY_STATES: Final = frozenset({"57P03"})
"""cannot_connect_now."""


def signature(package: str, code: str) -> Signature:
    """Return the signature of a client that passes libpq's text on as `OperationalError`."""
    return Signature(
        package=package,
        code=code,
        # One clause an address; before PostgreSQL 14 the sentence began with "could not connect".
        clauses=r"connection to server (at|on socket) |could not connect to server: ",
        address=r'at "(?P<host>[^"\s]+)"(?: \([^)]*\))?, port (?P<port>\d+)',
        rules=(
            Rule(kind="not_ready", classes=_CONNECTING, codes=NOT_READY_STATES),
            Rule(kind="hopeless", classes=_CONNECTING, codes=HOPELESS_STATES),
            Rule(
                kind="not_ready",
                classes=_CONNECTING,
                text=r"FATAL:  the database system is (starting up|not yet accepting connections|shutting down|in recovery mode|not accepting connections)",
            ),
            Rule(
                kind="hopeless",
                classes=_CONNECTING,
                text=r'FATAL:  (password authentication failed for user|role ".*" does not exist|database ".*" does not exist'
                r"|no pg_hba\.conf entry for|pg_hba\.conf rejects connection for|.* authentication failed for user)"
                r"|fe_sendauth: no password supplied|server does not support SSL, but SSL was required"
                r"|SSL error: certificate verify failed|server certificate for .* does not match host name",
            ),
            Rule(
                kind="unresolved",
                classes=_CONNECTING,
                text=r"could not translate host name|failed to resolve host|Name or service not known|Temporary failure in name resolution",
            ),
            Rule(kind="refused", classes=_CONNECTING, errnos=frozenset({errno.ECONNREFUSED})),
            Rule(
                kind="unreachable",
                classes=_CONNECTING,
                errnos=frozenset(
                    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
                ),
            ),
            Rule(kind="unreachable", classes=_CONNECTING, text=r"timeout expired|connection timeout"),
        ),
    )
