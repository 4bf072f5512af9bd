"""xmlrpc.client: the refusal is the socket's own; a bad status is an error."""

from __future__ import annotations

from typing import Final

from ._http import rules
from ._signature import Signature

SIGNATURE: Final = Signature(package="xmlrpc", code="errcode", rules=rules("ProtocolError"))
