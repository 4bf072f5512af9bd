"""websocket-client: the refusal is the socket's own; a handshake that was turned down carries its status."""

from __future__ import annotations

from typing import Final

from ._http import rules
from ._signature import Signature

SIGNATURE: Final = Signature(package="websocket", code="status_code", rules=rules("WebSocketBadStatusException"))
