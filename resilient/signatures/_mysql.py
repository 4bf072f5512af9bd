"""What MySQL's and MariaDB's servers and C libraries say, for every client but PyMySQL that passes the number on.

Numbers below 2000 are the server's, those from 2000 on the client's own; text is read only beside the latter.
Source: MySQL's error reference, MariaDB Connector/C's `pvio_socket.c` (3.3, 3.4).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final

from ._signature import Rule, Signature
from .pymysql import HOPELESS, NOT_READY

_CANNOT_CONNECT: Final = frozenset({2002, 2003})
_UNREACHABLE: Final = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, 10060, 10065)


def signature(package: str, code: str | Callable[[Any], object], text: Callable[[Any], object] = str) -> Signature:
    """Return the signature of a client whose errors carry MySQL's number."""
    return Signature(
        package=package,
        code=code,
        text=text,
        rules=(
            Rule(kind="not_ready", codes=NOT_READY),
            Rule(kind="hopeless", codes=HOPELESS),
            # Lost after the connect, also where a read timed out: something may have been sent.
            Rule(kind="other", codes=frozenset({2006, 2013})),
            Rule(kind="unresolved", codes=frozenset({2005})),
            Rule(kind="refused", codes=_CANNOT_CONNECT, text=rf"\((?:{errno.ECONNREFUSED}|10061)\)$"),
            Rule(kind="unreachable", codes=_CANNOT_CONNECT, text=rf"\((?:{'|'.join(map(str, _UNREACHABLE))})\)$"),
            # MariaDB's library waits for its connect and then tells errno from before the wait: refused by the port,
            # and by a router after three seconds, are both EINPROGRESS.
            Rule(kind="hidden", codes=_CANNOT_CONNECT, text=rf"\({errno.EINPROGRESS}\)$"),
        ),
    )
