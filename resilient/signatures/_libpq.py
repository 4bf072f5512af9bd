"""What PostgreSQL and its C library write, for every client that passes libpq's text on.

libpq's own words come in the language of the process where it was built with translations, the system's words for an
errno as well, and the server's in the language of the server; only English and the process's own errno words are read.
Each pattern is anchored at the start of a clause: a server's message may quote anything, another refusal included.
Source: libpq's fe-connect.c and PostgreSQL's postmaster.c, versions 12 to 18; psycopg 3.1 to 3.3.
"""

from __future__ import annotations

import errno
from typing import Final

from ._signature import Rule, Signature

HOPELESS_STATES: Final = frozenset({"28P01", "28000", "3D000"})
"""invalid_password, invalid_authorization_specification (also: unknown role), invalid_catalog_name."""

NOT_READY_STATES: Final = frozenset({"57P03"})
"""cannot_connect_now."""

_CONNECTING: Final = frozenset({"OperationalError"})

# psycopg 3 lists its attempts in lines of this form, and puts a word of its own before libpq's sentence.
_ATTEMPT: Final = r"- host: [^\n]{0,300}?, hostaddr: (?:'[0-9A-Za-z.:%]*'|None): "
_PREFIX: Final = rf"^(?:{_ATTEMPT})?(?:connection (?:failed|is bad): )?"
# Before PostgreSQL 14 the sentence began with "could not connect", and a server's answer had none before it.
_SERVER: Final = (
    r'(?:connection to server (?:at "[^"\n]*"(?: \([^)\n]*\))?, port [^\s,]+|on socket "[^\n]*") failed: '
    r"|could not connect to server: )"
)
_ANSWER: Final = rf"{_PREFIX}{_SERVER}?FATAL:  "


def signature(package: str, code: str) -> Signature:
    """Return the signature of a client that passes libpq's text on as `OperationalError`."""
    return Signature(
        package=package,
        code=code,
        clauses=(
            r"- host: ",
            r"(?:connection (?:failed|is bad): )?connection to server "
            r"|could not (?:connect to server: |translate host name )",
        ),
        address=r'at "(?P<host>[^"\s]+)"(?: \([^)]*\))?, port (?P<port>\d+)',
        rules=(
            Rule(kind="not_ready", classes=_CONNECTING, codes=NOT_READY_STATES),
            Rule(kind="hopeless", classes=_CONNECTING, codes=HOPELESS_STATES),
            # The most frequent first: each of the texts is anchored, and only one of them can hold.
            Rule(
                kind="refused",
                classes=_CONNECTING,
                errnos=frozenset({errno.ECONNREFUSED}),
                text=rf"{_PREFIX}{_SERVER}WORDS(?: \(0x[0-9A-F]+/\d+\))?(?:\n|$)",
            ),
            Rule(
                kind="not_ready",
                classes=_CONNECTING,
                text=rf"{_ANSWER}the database system is (?:starting up|shutting down|in recovery mode"
                r"|not yet accepting connections|not accepting connections)",
            ),
            # It serves, and not as `target_session_attrs=` asks: a standby that may be promoted, say.
            Rule(
                kind="not_ready",
                classes=_CONNECTING,
                text=rf"{_PREFIX}{_SERVER}?(?:session is (?:not )?read-only|server is (?:not )?in hot standby mode"
                r"|could not make a writable connection to server )",
            ),
            Rule(
                kind="hopeless",
                classes=_CONNECTING,
                text=rf'{_ANSWER}(?:role ".*" (?:does not exist|is not permitted to log in)'
                r'|database ".*" does not exist'
                r"|no pg_hba\.conf entry for |pg_hba\.conf rejects connection for |"
                r"[A-Za-z0-9 ]+ authentication failed for user )",
            ),
            Rule(
                kind="hopeless",
                classes=_CONNECTING,
                text=rf"{_PREFIX}{_SERVER}?(?:fe_sendauth: no password supplied"
                r"|server does not support SSL, but SSL was required"
                r"|SSL error: certificate verify failed|server certificate for )",
            ),
            Rule(
                kind="unresolved",
                classes=_CONNECTING,
                text=rf"^(?:{_ATTEMPT})?(?:could not translate host name |failed to resolve host )",
            ),
            Rule(
                kind="unreachable",
                classes=_CONNECTING,
                errnos=frozenset(
                    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
                ),
                text=rf"{_PREFIX}{_SERVER}WORDS(?: \(0x[0-9A-F]+/\d+\))?(?:\n|$)",
            ),
            Rule(
                kind="unreachable",
                classes=_CONNECTING,
                text=rf"{_PREFIX}(?:{_SERVER}timeout expired|timeout expired)"
                rf"|^(?:{_ATTEMPT})?connection timeout expired",
            ),
        ),
    )
