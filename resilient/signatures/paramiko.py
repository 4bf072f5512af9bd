"""paramiko, and with it fabric: `SSHClient` carries its errors by address, `Transport` has them in a text only."""

from __future__ import annotations

import errno
from typing import Final

from ._signature import Rule, Signature

_ERRORS: Final = frozenset({"SSHException"})
_LOGIN: Final = frozenset({"AuthenticationException"})

SIGNATURE: Final = Signature(
    package="paramiko",
    rules=(
        # The connection ended, or nobody answered: that is no word on the password.
        Rule(kind="other", classes=_LOGIN, text=r"^Authentication (?:timeout|failed: transport )"),
        Rule(kind="hopeless", classes=_LOGIN),
        Rule(kind="hopeless", classes=frozenset({"BadHostKeyException"})),
        Rule(
            kind="refused",
            classes=_ERRORS,
            errnos=frozenset({errno.ECONNREFUSED}),
            text=r"^Unable to connect to \S+: \[Errno \d+\] WORDS$",
        ),
        Rule(
            kind="unreachable",
            classes=_ERRORS,
            errnos=frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRNOTAVAIL}),
            text=r"^Unable to connect to \S+: (?:\[Errno \d+\] WORDS|timed out)$",
        ),
    ),
)
