"""websockets: the refusal is the socket's own; a handshake that was turned down carries its status."""

from __future__ import annotations

from typing import Any, Final

from ._http import rules, status_of_response
from ._signature import Signature


def _status(error: Any) -> object:
    return getattr(error, "status_code", None) or status_of_response(error)


SIGNATURE: Final = Signature(package="websockets", code=_status, rules=rules("InvalidStatus", "InvalidStatusCode"))
