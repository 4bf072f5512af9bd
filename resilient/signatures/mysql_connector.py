"""MySQL Connector/Python, pure and over the C library: the number in `errno`, the socket's error as cause or text."""

from __future__ import annotations

from typing import Any, Final

from ._mysql import signature
from ._signature import Rule, Signature


def _text(error: Any) -> object:
    return getattr(error, "msg", "")


_SIGNATURE: Final = signature("mysql", code="errno", text=_text)

SIGNATURE: Final = Signature(
    package=_SIGNATURE.package,
    code=_SIGNATURE.code,
    text=_SIGNATURE.text,
    rules=(
        *_SIGNATURE.rules,
        # `failover=` drops what every one of its servers said.
        Rule(
            kind="hidden", classes=frozenset({"InterfaceError"}), text=r"^Unable to connect to any of the target hosts$"
        ),
    ),
)
