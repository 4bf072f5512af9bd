"""ftplib: the refusal is the socket's own; the server's errors begin with their reply code."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="ftplib",
    rules=(
        Rule(kind="not_ready", classes=frozenset({"error_temp"}), text=r"^421[ -]"),
        Rule(kind="hopeless", classes=frozenset({"error_perm"}), text=r"^530[ -]"),
    ),
)
