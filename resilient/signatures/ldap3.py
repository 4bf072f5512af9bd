"""ldap3: a refusal is an instance of `ConnectionRefusedError` without an errno; on several addresses only text.

The server's answer is a result code where `raise_exceptions` is set, and its name in a text where it is not.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from ._signature import Rule, Signature

_OPENING: Final = frozenset({"LDAPSocketOpenError"})
_ANSWERS: Final = frozenset({"LDAPOperationResult"})
_BIND: Final = frozenset({"LDAPBindError"})
_BIND_TEXT: Final = "^automatic bind not successful - "


def _text(exc: Any) -> object:
    """Return the text; of several addresses a line each: they are pairs of an error and an address."""
    history = exc.args[1] if len(exc.args) == 2 else None
    return "\n".join(str(error) for error, _ in history) if isinstance(history, list) and history else str(exc)


SIGNATURE: Final = Signature(
    package="ldap3",
    code="result",
    text=_text,
    clauses=(r".",),
    rules=(
        Rule(
            kind="refused",
            classes=_OPENING,
            errnos=frozenset({errno.ECONNREFUSED}),
            text=r"^socket connection error while opening: \[Errno \d+\] WORDS$",
        ),
        Rule(
            kind="unreachable",
            classes=_OPENING,
            errnos=frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRNOTAVAIL}),
            text=r"^socket connection error while opening: (?:\[Errno \d+\] WORDS|timed out)$",
        ),
        Rule(
            kind="hopeless",
            classes=_OPENING,
            text=r"^\W*socket ssl wrapping error: \[SSL: (?:CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER)\]",
        ),
        Rule(kind="not_ready", classes=_ANSWERS, codes=frozenset({51, 52})),  # busy, unavailable
        Rule(kind="hopeless", classes=_ANSWERS, codes=frozenset({48, 49})),  # inappropriate or invalid credentials
        Rule(kind="not_ready", classes=_BIND, text=rf"{_BIND_TEXT}(?:busy|unavailable)$"),
        Rule(kind="hopeless", classes=_BIND, text=rf"{_BIND_TEXT}(?:inappropriateAuthentication|invalidCredentials)$"),
        Rule(kind="hidden", classes=frozenset({"LDAPServerPoolExhaustedError"})),
    ),
)
