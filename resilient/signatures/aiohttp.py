"""aiohttp: the refusal is asyncio's own; a bad status is an error if that is asked for, and of a WebSocket always."""

from __future__ import annotations

from typing import Final

from ._http import rules
from ._signature import Signature

SIGNATURE: Final = Signature(package="aiohttp", code="status", rules=rules("ClientResponseError"))
