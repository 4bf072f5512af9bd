"""psycopg2: libpq's text in an `OperationalError` whose `pgcode` is None."""

from __future__ import annotations

from typing import Final

from ._libpq import signature

SIGNATURE: Final = signature("psycopg2", code="pgcode")
