"""asyncssh: a refusal is asyncio's own; what waiting cannot mend has classes."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="asyncssh",
    rules=(Rule(kind="hopeless", classes=frozenset({"HostKeyNotVerifiable", "PermissionDenied"})),),
)
