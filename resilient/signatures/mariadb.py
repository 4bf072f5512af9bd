"""MariaDB Connector/Python: the number in `errno`, the C library's text."""

from __future__ import annotations

from typing import Final

from ._mysql import signature

SIGNATURE: Final = signature("mariadb", code="errno")
