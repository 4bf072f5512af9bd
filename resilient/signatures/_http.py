"""HTTP: what a status says, for every client that makes an error of it."""

from __future__ import annotations

from typing import Any, Final

from ._signature import Rule

NOT_READY: Final = frozenset({503})
"""Service Unavailable. No other: behind a 502 or 504 something may have been done."""

HOPELESS: Final = frozenset({401})
"""Unauthorized."""


def rules(*classes: str) -> tuple[Rule, ...]:
    """Return the rules for the classes that a client makes of a bad status."""
    own = frozenset(classes)
    return (
        Rule(kind="not_ready", classes=own, codes=NOT_READY),
        Rule(kind="hopeless", classes=own, codes=HOPELESS),
    )


def status_of_response(error: Any) -> object:
    """Return the status of the response that an error carries."""
    return getattr(getattr(error, "response", None), "status_code", None)
