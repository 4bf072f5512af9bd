"""vertica-python: an error that hides why no address could be connected to; the server's answers are text."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ERRORS: Final = frozenset({"ConnectionError"})
_ANSWER: Final = r"^Severity: [A-Z]+, Message: .*, Sqlstate: "

SIGNATURE: Final = Signature(
    package="vertica_python",
    rules=(
        Rule(kind="hopeless", classes=_ERRORS, text=rf"{_ANSWER}(?:28000|28P01|3D000)\b"),
        Rule(kind="not_ready", classes=_ERRORS, text=rf"{_ANSWER}57V03\b"),
        Rule(
            kind="hidden",
            classes=_ERRORS,
            text=r"^Failed to establish a connection to the primary server or any backup address\.$",
        ),
    ),
)
