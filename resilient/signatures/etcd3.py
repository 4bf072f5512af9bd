"""etcd3: a broken channel is one error without a cause of its own; gRPC's stands behind it by chance."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="etcd3", rules=(Rule(kind="hidden", classes=frozenset({"ConnectionFailedError"})),)
)
