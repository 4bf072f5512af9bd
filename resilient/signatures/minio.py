"""minio: the server's answer is an error code, or a status alone where it is none of S3's."""

from __future__ import annotations

from typing import Any, Final

from ._signature import Rule, Signature
from .botocore import WRONG_KEY


def _code(exc: Any) -> object:
    status = getattr(exc, "status_code", None) or getattr(getattr(exc, "response", None), "status", None)
    return status if status in (401, 503) else getattr(exc, "code", None)


SIGNATURE: Final = Signature(
    package="minio",
    code=_code,
    rules=(
        Rule(kind="not_ready", codes=frozenset({503})),
        Rule(kind="hopeless", codes=WRONG_KEY | {401}),
    ),
)
