"""requests: the refusal stands behind urllib3's errors; a bad status is an error after `raise_for_status`."""

from __future__ import annotations

from typing import Final

from ._http import rules, status_of_response
from ._signature import Signature

SIGNATURE: Final = Signature(package="requests", code=status_of_response, rules=rules("HTTPError"))
