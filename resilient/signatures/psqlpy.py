"""psqlpy, over Rust's tokio-postgres: everything is text, behind the words of its pool."""

from __future__ import annotations

import errno
from typing import Final

from ._signature import Rule, Signature

_POOL: Final = frozenset({"BaseConnectionPoolError"})
_BEFORE: Final = r"^Database engine pool exception: Error occurred while creating a new object: "
_SOCKET: Final = rf"{_BEFORE}error connecting to server: [^:\n]+ \(os error "
_ANSWER: Final = rf"{_BEFORE}db error: FATAL: "

SIGNATURE: Final = Signature(
    package="psqlpy",
    rules=(
        Rule(kind="refused", classes=_POOL, text=rf"{_SOCKET}(?:{errno.ECONNREFUSED}|10061)\)$"),
        Rule(
            kind="unreachable",
            classes=_POOL,
            text=rf"{_SOCKET}(?:{errno.EHOSTUNREACH}|{errno.ENETUNREACH}|{errno.ETIMEDOUT}|10060|10065)\)$",
        ),
        Rule(
            kind="unresolved",
            classes=_POOL,
            text=rf"{_BEFORE}error connecting to server: failed to lookup address information: ",
        ),
        Rule(
            kind="not_ready",
            classes=_POOL,
            text=rf"{_ANSWER}the database system is (?:starting up|shutting down|in recovery mode"
            r"|not yet accepting connections|not accepting connections)",
        ),
        Rule(
            kind="hopeless",
            classes=_POOL,
            text=rf'{_ANSWER}(?:role ".*" (?:does not exist|is not permitted to log in)|database ".*" does not exist'
            r"|no pg_hba\.conf entry for |pg_hba\.conf rejects connection for |"
            r"[A-Za-z0-9 ]+ authentication failed for user )",
        ),
    ),
)
