"""Google's libraries: the service's answer over HTTP is a `GoogleAPICallError` with its status.

Over gRPC the status is made up from gRPC's own, and whatever there is to be seen is in the cause.
"""

from __future__ import annotations

from typing import Any, Final

from ._signature import Rule, Signature

_ANSWERS: Final = frozenset({"GoogleAPICallError"})


def _code(exc: Any) -> object:
    return getattr(getattr(exc, "response", None), "status_code", None)  # over gRPC the response is gRPC's error


SIGNATURE: Final = Signature(
    package="google",
    code=_code,
    rules=(
        Rule(kind="not_ready", classes=_ANSWERS, codes=frozenset({503})),
        Rule(kind="hopeless", classes=_ANSWERS, codes=frozenset({401})),
    ),
)
