"""ncclient: why a socket could not be opened is dropped."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="ncclient",
    rules=(
        Rule(kind="hopeless", classes=frozenset({"AuthenticationError"})),
        Rule(kind="hidden", classes=frozenset({"SSHError"}), text=r"^Could not open socket to \S+$"),
    ),
)
