"""kubernetes and kubernetes_asyncio: the API server's answer is an `ApiException` with its status."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ANSWERS: Final = frozenset({"ApiException"})


def signature(package: str) -> Signature:
    """Return the signature of one of the two: both are made from one description."""
    return Signature(
        package=package,
        code="status",
        rules=(
            Rule(kind="not_ready", classes=_ANSWERS, codes=frozenset({503})),
            Rule(kind="hopeless", classes=_ANSWERS, codes=frozenset({401})),
        ),
    )


SIGNATURE: Final = signature("kubernetes")
