"""kafka-python: the broker's answers carry its code; of a refused connect nothing is left but "unable to bootstrap"."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

NOT_READY: Final = frozenset({5, 6, 14, 15})
"""LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE."""

HOPELESS: Final = frozenset({29, 30, 31, 33, 58})
"""Topic, group and cluster authorization failed, unsupported SASL mechanism, SASL authentication failed."""

SIGNATURE: Final = Signature(
    package="kafka",
    code="errno",
    rules=(
        Rule(kind="not_ready", codes=NOT_READY),
        Rule(kind="hopeless", codes=HOPELESS),
        Rule(kind="hidden", classes=frozenset({"NoBrokersAvailable"})),  # before 3.0
        Rule(
            kind="hidden",
            classes=frozenset({"KafkaTimeoutError"}),
            text=r"^KafkaTimeoutError: (?:Unable to bootstrap from |Failed to update metadata after )",
        ),
    ),
)
