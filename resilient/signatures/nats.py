"""nats-py: without reconnects a refusal is the socket's own error; with them nothing is left but "no servers"."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="nats",
    rules=(
        Rule(kind="hopeless", classes=frozenset({"AuthorizationError", "InvalidUserCredentialsError"})),
        Rule(kind="hopeless", text=r"^nats: 'Authorization Violation'$"),
        Rule(kind="hidden", classes=frozenset({"NoServersError"})),
        Rule(kind="not_ready", classes=frozenset({"Error"}), text=r"^nats: '?maximum connections exceeded'?$"),
    ),
)
