"""psycopg_pool: a `PoolTimeout` that hides why no connection could be had: refused, a wrong password, or all in use."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="psycopg_pool",
    rules=(
        Rule(
            kind="hidden",
            classes=frozenset({"PoolTimeout"}),
            text=r"^(?:couldn't get a connection after|pool initialization incomplete after) [0-9.]+ sec$",
        ),
    ),
)
