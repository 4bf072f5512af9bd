"""coredis: a `ConnectionError` whose explicit cause is the socket's own error; the server's errors by class.

Its task groups wrap both in exception groups. Read: coredis 6.9.
"""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature
from .redis import CLUSTER_DOWN, MASTER_DOWN, NO_ROOM

SIGNATURE: Final = Signature(
    package="coredis",
    rules=(
        Rule(kind="not_ready", classes=frozenset({"BusyLoadingError"})),
        Rule(kind="hopeless", classes=frozenset({"AuthenticationError", "AuthorizationError"})),
        Rule(kind="not_ready", classes=frozenset({"ConnectionError"}), text=rf"^{NO_ROOM}$"),
        Rule(kind="not_ready", classes=frozenset({"ClusterDownError"}), text=rf"^(?:{CLUSTER_DOWN})"),
        Rule(kind="not_ready", classes=frozenset({"ResponseError"}), text=rf"^MASTERDOWN {MASTER_DOWN}"),
        # What its sentinels said is lost.
        Rule(kind="hidden", classes=frozenset({"PrimaryNotFoundError", "ReplicaNotFoundError"})),
    ),
)
