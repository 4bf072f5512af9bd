"""psycopg 3: libpq's text in an `OperationalError` whose `sqlstate` is None."""

from __future__ import annotations

from typing import Final

from ._libpq import signature

SIGNATURE: Final = signature("psycopg", code="sqlstate")
