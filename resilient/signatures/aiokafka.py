"""aiokafka: the broker's answers carry its code; of a refused connect nothing is left but "unable to bootstrap"."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature
from .kafka import HOPELESS, NOT_READY

SIGNATURE: Final = Signature(
    package="aiokafka",
    code="errno",
    rules=(
        Rule(kind="not_ready", codes=NOT_READY),
        Rule(kind="hopeless", codes=HOPELESS),
        Rule(
            kind="hidden",
            classes=frozenset({"KafkaConnectionError"}),
            text=r"^KafkaConnectionError: Unable to bootstrap from ",
        ),
    ),
)
