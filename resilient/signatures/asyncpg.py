"""asyncpg: the refusal is asyncio's own; the server's answers carry their SQLSTATE."""

from __future__ import annotations

from typing import Final

from ._libpq import HOPELESS_STATES, NOT_READY_STATES
from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="asyncpg",
    code="sqlstate",
    rules=(
        Rule(kind="not_ready", classes=frozenset({"PostgresError"}), codes=NOT_READY_STATES),
        Rule(kind="hopeless", classes=frozenset({"PostgresError"}), codes=HOPELESS_STATES),
        Rule(kind="not_ready", classes=frozenset({"TargetServerAttributeNotMatched"})),
    ),
)
