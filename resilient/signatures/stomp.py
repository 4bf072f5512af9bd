"""stomp.py: why a connect failed is written to the log; the error has no text and no cause."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="stomp",
    rules=(Rule(kind="hidden", classes=frozenset({"ConnectFailedException"})),),
)
