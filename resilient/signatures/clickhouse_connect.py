"""clickhouse-connect: urllib3's or aiohttp's error lies behind a refusal; the server's answers are its own text."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ERRORS: Final = frozenset({"DatabaseError"})

SIGNATURE: Final = Signature(
    package="clickhouse_connect",
    rules=(
        Rule(
            kind="hopeless",
            classes=_ERRORS,
            text=r"^Received ClickHouse exception, code: (?:81|192|193|194|516), "
            r"|^HTTP driver received HTTP status 401\b",
        ),
        Rule(kind="not_ready", classes=_ERRORS, text=r"^HTTP driver received HTTP status 503\b"),
    ),
)
