"""cassandra-driver: `NoHostAvailable` holds one error a host; what a server answered to the connect is text."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ANSWERED: Final = (
    r"^(?:Failed to initialize new connection to|Failed to authenticate to) \S+: Error from server: code="
)

SIGNATURE: Final = Signature(
    package="cassandra",
    rules=(
        Rule(kind="not_ready", classes=frozenset({"IsBootstrappingErrorMessage", "OverloadedErrorMessage"})),
        Rule(kind="hopeless", classes=frozenset({"AuthenticationFailed"})),
        Rule(kind="not_ready", classes=frozenset({"ConnectionException"}), text=rf"{_ANSWERED}(?:1001|1002) "),
        Rule(kind="hopeless", classes=frozenset({"ConnectionException"}), text=rf"{_ANSWERED}0100 "),
    ),
)
