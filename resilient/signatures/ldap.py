"""python-ldap: libldap's result is a class, its errno stands in a dict; which is hardly ever that of the connect."""

from __future__ import annotations

import errno
from typing import Any, Final

from ._signature import Rule, Signature

_DOWN: Final = frozenset({errno.ENOTCONN, errno.EINPROGRESS, errno.ECONNREFUSED})
"""Which of them it is depends on libldap; so it is as well where the server went away later."""


def _told(exc: Any, name: str) -> object:
    told = exc.args[0] if exc.args else None
    return told.get(name) if isinstance(told, dict) else None


SIGNATURE: Final = Signature(
    package="ldap",
    code=lambda exc: _told(exc, "errno"),
    text=lambda exc: _told(exc, "info") or "",
    rules=(
        Rule(kind="not_ready", classes=frozenset({"BUSY", "UNAVAILABLE"})),
        Rule(kind="hopeless", classes=frozenset({"INAPPROPRIATE_AUTH", "INVALID_CREDENTIALS"})),
        # Nothing but the system's words: TLS would say something of its own.
        Rule(kind="hidden", classes=frozenset({"SERVER_DOWN"}), codes=_DOWN, errnos=_DOWN, text="^(?:WORDS)?$"),
    ),
)
