"""clickhouse-driver: `NetworkError` of a text, made when no address was left; the server's errors by number."""

from __future__ import annotations

import errno
from typing import Final

from ._signature import Rule, Signature

HOPELESS: Final = frozenset({81, 192, 193, 194, 516})
"""UNKNOWN_DATABASE, UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, AUTHENTICATION_FAILED."""

_NETWORK: Final = frozenset({"NetworkError"})
_PLACE: Final = r" \(\S+:\d+\)$"

SIGNATURE: Final = Signature(
    package="clickhouse_driver",
    code="code",
    address=r"^Code: 210\. .* \((?P<host>\S+):(?P<port>\d+)\)$",
    rules=(
        Rule(kind="hopeless", classes=frozenset({"ServerException"}), codes=HOPELESS),
        Rule(
            kind="refused",
            classes=_NETWORK,
            errnos=frozenset({errno.ECONNREFUSED}),
            text=rf"^Code: 210\. WORDS{_PLACE}",
        ),
        Rule(
            kind="unreachable",
            classes=_NETWORK,
            errnos=frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRNOTAVAIL}),
            text=rf"^Code: 210\. WORDS{_PLACE}",
        ),
    ),
)
