"""docker: the daemon's answer is an `APIError` with its status."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ANSWERS: Final = frozenset({"APIError"})

SIGNATURE: Final = Signature(
    package="docker",
    code="status_code",
    rules=(
        Rule(kind="not_ready", classes=_ANSWERS, codes=frozenset({503})),
        Rule(kind="hopeless", classes=_ANSWERS, codes=frozenset({401})),
    ),
)
