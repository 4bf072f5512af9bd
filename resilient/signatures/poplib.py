"""poplib: the refusal is the socket's own; the server's errors begin with a response code (RFC 3206)."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ERRORS: Final = frozenset({"error_proto"})

SIGNATURE: Final = Signature(
    package="poplib",
    rules=(
        Rule(kind="not_ready", classes=_ERRORS, text=r"^b['\"]-ERR \[SYS/TEMP\]"),
        Rule(kind="hopeless", classes=_ERRORS, text=r"^b['\"]-ERR \[AUTH\]"),
    ),
)
