"""ADBC's PostgreSQL driver: libpq's text behind a prefix of its own, in an `OperationalError`."""

from __future__ import annotations

from typing import Any, Final

from ._libpq import signature
from ._signature import Signature

_LIBPQ: Final = signature("adbc_driver_manager", code="sqlstate")
_PREFIX: Final = "IO: [libpq] Failed to connect: "


def _text(error: Any) -> object:
    text = str(error)
    return text[len(_PREFIX) :] if text.startswith(_PREFIX) else ""


SIGNATURE: Final = Signature(
    package=_LIBPQ.package,
    text=_text,
    clauses=_LIBPQ.clauses,
    address=_LIBPQ.address,
    rules=tuple(rule for rule in _LIBPQ.rules if not rule.codes),  # it has no SQLSTATE where the connect failed
)
