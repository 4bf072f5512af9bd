"""python-tds: the server's number in `number`; a refusal is a builtin `TimeoutError` with a cause."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature
from ._sqlserver import HOPELESS, NOT_READY

SIGNATURE: Final = Signature(
    package="pytds",
    code="number",
    rules=(
        Rule(kind="hopeless", codes=HOPELESS),
        Rule(kind="not_ready", codes=NOT_READY),
        Rule(kind="hopeless", text=r"^You requested encryption but it is not supported by server$"),
    ),
)
