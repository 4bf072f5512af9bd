"""This library's own error, of a server that was asked by hand."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ASKED: Final = frozenset({"NotServingError"})

SIGNATURE: Final = Signature(
    package="resilient",
    code="kind",
    rules=(
        Rule(kind="not_ready", classes=_ASKED, codes=frozenset({"not_ready"})),
        Rule(kind="hopeless", classes=_ASKED, codes=frozenset({"hopeless", "wrong_protocol"})),
    ),
)
