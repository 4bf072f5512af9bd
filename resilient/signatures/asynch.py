"""asynch, clickhouse-driver's asynchronous sibling: the server's errors by number."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature
from .clickhouse_driver import HOPELESS

SIGNATURE: Final = Signature(
    package="asynch",
    code="code",
    rules=(Rule(kind="hopeless", classes=frozenset({"ServerException"}), codes=HOPELESS),),
)
