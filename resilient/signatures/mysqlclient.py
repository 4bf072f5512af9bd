"""mysqlclient: `MySQLdb.OperationalError` of a number and the C library's text."""

from __future__ import annotations

from typing import Any, Final

from ._mysql import signature


def _text(error: Any) -> object:
    return error.args[1] if len(error.args) > 1 else ""


SIGNATURE: Final = signature("MySQLdb", code="args", text=_text)
