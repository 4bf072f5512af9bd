"""pulsar-client: it tries again by itself until its time is over, and says no more than that."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="_pulsar",
    rules=(
        Rule(kind="hopeless", classes=frozenset({"AuthenticationError", "AuthorizationError"})),
        Rule(kind="hidden", classes=frozenset({"ConnectError", "RetryableError", "Timeout"})),
    ),
)
