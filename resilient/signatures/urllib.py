"""urllib.request: the refusal is the `reason`; a bad status is an error."""

from __future__ import annotations

from typing import Final

from ._http import rules
from ._signature import Signature

SIGNATURE: Final = Signature(package="urllib", code="code", rules=rules("HTTPError"))
