"""curl: what its codes and its text say, for every client that passes them on.

Since 7.8x its text does not name the system's error where a connect fails, and before that the last address's only.
Source: libcurl's `curl.h` and `lib/connect.c`, 7.61 to 8.19.
"""

from __future__ import annotations

import errno
from typing import Final

from ._signature import Rule

_FAILED: Final = r"Failed to connect to \S+(?: port \d+)?(?: \(\S+ port \d+\))?(?: after \d+ ms)?(?: via \S+)?"


def rules(*classes: str, before: str = "^", after: str = "$") -> tuple[Rule, ...]:
    """Return the rules for classes that carry curl's code.

    Args:
        classes: the client's own.
        before, after: what the client puts around curl's text, as a regular expression.
    """
    own = frozenset(classes)
    return (
        Rule(kind="unresolved", classes=own, codes=frozenset({6})),
        # 51 and 60: the certificate; 58, 59, 77, 83, 90: what the client was given for it; 67: the login was denied.
        Rule(kind="hopeless", classes=own, codes=frozenset({51, 58, 59, 60, 67, 77, 83, 90})),
        Rule(
            kind="hopeless",
            classes=own,
            codes=frozenset({35}),
            text=rf"(?i){before}[^\n]*:(?:OPENSSL_internal:)?(?:wrong.version.number|unsupported.protocol"
            r"|[a-z0-9/]*.?alert.(?:protocol.version|handshake.failure|unknown.ca)|tlsv13.alert.certificate.required)",
        ),
        Rule(
            kind="refused",
            classes=own,
            codes=frozenset({7}),
            errnos=frozenset({errno.ECONNREFUSED}),
            text=rf"{before}{_FAILED}: WORDS{after}",
        ),
        Rule(
            kind="unreachable",
            classes=own,
            codes=frozenset({7}),
            errnos=frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT}),
            text=rf"{before}{_FAILED}: WORDS{after}",
        ),
        Rule(
            kind="hidden",
            classes=own,
            codes=frozenset({7}),
            text=rf"{before}{_FAILED}: Could(?:n't| not) connect to server{after}",
        ),
        Rule(
            kind="unreachable",
            classes=own,
            codes=frozenset({28}),
            text=rf"{before}(?:Connection timed out after |{_FAILED}: Timeout was reached|Resolving timed out after )",
        ),
    )
