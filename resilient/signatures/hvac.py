"""hvac: Vault's answers are classes; a token that it does not know is a 403."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="hvac",
    rules=(
        Rule(kind="not_ready", classes=frozenset({"VaultDown"})),  # 503: sealed, or in maintenance
        Rule(kind="hopeless", classes=frozenset({"Forbidden", "Unauthorized"})),
    ),
)
