"""imaplib: the refusal is the socket's own; the server's errors begin with a response code (RFC 5530)."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ERRORS: Final = frozenset({"error"})

SIGNATURE: Final = Signature(
    package="imaplib",
    rules=(
        Rule(kind="not_ready", classes=_ERRORS, text=r"^(?:b['\"])?\[UNAVAILABLE\]"),
        Rule(
            kind="hopeless",
            classes=_ERRORS,
            text=r"^(?:b['\"])?\[(?:AUTHENTICATIONFAILED|AUTHORIZATIONFAILED|EXPIRED)\]",
        ),
    ),
)
