"""asyncmy: errors of a number and a text, the socket's error as cause."""

from __future__ import annotations

from typing import Final

from ._mysql import signature

SIGNATURE: Final = signature("asyncmy", code="args")
