"""pg8000: the server's answer is a dictionary in `args`; a refusal has the socket's error as cause."""

from __future__ import annotations

from typing import Any, Final

from ._libpq import HOPELESS_STATES, NOT_READY_STATES
from ._signature import Rule, Signature


def _state(error: Any) -> object:
    fields = error.args[0] if error.args else None
    return fields.get("C") if type(fields) is dict else None


SIGNATURE: Final = Signature(
    package="pg8000",
    code=_state,
    rules=(
        Rule(kind="not_ready", codes=NOT_READY_STATES),
        Rule(kind="hopeless", codes=HOPELESS_STATES),
        Rule(kind="hopeless", classes=frozenset({"InterfaceError"}), text=r"^Server refuses SSL$"),
    ),
)
