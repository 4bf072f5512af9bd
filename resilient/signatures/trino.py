"""trino: requests' error lies behind a refusal; the coordinator's answers by status or name."""

from __future__ import annotations

from typing import Any, Final

from ._signature import Rule, Signature


def _name(error: Any) -> object:
    return getattr(error, "error_name", None)


SIGNATURE: Final = Signature(
    package="trino",
    code=_name,
    rules=(
        Rule(
            kind="not_ready",
            classes=frozenset({"TrinoQueryError"}),
            codes=frozenset({"SERVER_STARTING_UP", "SERVER_SHUTTING_DOWN"}),
        ),
        Rule(kind="not_ready", classes=frozenset({"Http503Error"})),
        Rule(kind="hopeless", classes=frozenset({"TrinoAuthError"})),
        Rule(kind="hopeless", classes=frozenset({"HttpError"}), text=r"^error 401\b"),
    ),
)
