"""python-consul and py-consul: the agent's answer is a status and a body in one text."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="consul",
    rules=(
        Rule(kind="not_ready", classes=frozenset({"ConsulException"}), text=r"^(?:503\b|500 No cluster leader\b)"),
        Rule(kind="hopeless", classes=frozenset({"ACLDisabled", "ACLPermissionDenied"})),
    ),
)
