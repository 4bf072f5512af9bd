"""multiprocessing.connection: the refusal is the socket's own; the keys of both sides may differ."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="multiprocessing",
    rules=(Rule(kind="hopeless", classes=frozenset({"AuthenticationError"})),),
)
