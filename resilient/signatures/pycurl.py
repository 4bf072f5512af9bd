"""pycurl: curl's code and text as `args`."""

from __future__ import annotations

from typing import Any, Final

from ._curl import rules
from ._signature import Signature


def _text(error: Any) -> object:
    return error.args[1] if len(error.args) > 1 else ""


SIGNATURE: Final = Signature(package="pycurl", code="args", text=_text, rules=rules("error"))
