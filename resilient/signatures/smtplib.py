"""smtplib: the refusal is the socket's own; the server's errors by reply code."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="smtplib",
    code="smtp_code",
    rules=(
        # Before any mail: later it may be an answer to what was sent.
        Rule(kind="not_ready", classes=frozenset({"SMTPConnectError", "SMTPHeloError"}), codes=frozenset({421})),
        # Not 454, a temporary failure.
        Rule(
            kind="hopeless",
            classes=frozenset({"SMTPAuthenticationError"}),
            codes=frozenset({530, 534, 535, 538}),
        ),
    ),
)
