"""emcache: a refusal becomes a `TimeoutError` that says nothing; what the server says stands in the text as bytes."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature
from .pymemcache import NO_ROOM, REJECTED

_ERRORS: Final = frozenset({"CommandError"})
_ANSWER: Final = (
    r"^(?:Command finished with error, response returned|Fail authentication\. .* Return result) bytearray\(b'"
)

SIGNATURE: Final = Signature(
    package="emcache",
    rules=(
        Rule(kind="not_ready", classes=_ERRORS, text=rf"{_ANSWER}{NO_ROOM}(?:\\r\\n)?'\)\.?$"),
        Rule(kind="hopeless", classes=_ERRORS, text=rf"{_ANSWER}{REJECTED}(?:\\r\\n)?'\)\.?$"),
    ),
)
