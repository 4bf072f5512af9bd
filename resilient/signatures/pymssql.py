"""pymssql: a number and FreeTDS's text, in one tuple.

The number may be an earlier error's (measured, pymssql 2.4.6: it keeps the severest until a connection succeeds), so
that it counts only beside a text that begins with the server's own words. FreeTDS's begin with "DB-Lib".
"""

from __future__ import annotations

import errno
from typing import Any, Final

from ._signature import Rule, Signature
from ._sqlserver import HOPELESS, NOT_READY

_ERRORS: Final = frozenset({"Error"})
_ANSWERED: Final = r"^(?!DB-Lib error message )"
_UNAVAILABLE: Final = (
    r"^DB-Lib error message 20009, severity 9:\n"
    r"Unable to connect: TDS server is unavailable or does not exist \([^()\n]*\)\n"
    r"Net-Lib error during [^\n:]+ "
)


def _said(error: Any) -> tuple[object, ...]:
    said = error.args[0] if error.args else ()
    return said if type(said) is tuple and len(said) == 2 else (None, "")


def _number(error: Any) -> object:
    return _said(error)[0]


def _text(error: Any) -> object:
    text = _said(error)[1]
    return text.decode("utf-8", "replace") if type(text) is bytes else text


SIGNATURE: Final = Signature(
    package="pymssql",
    code=_number,
    text=_text,
    rules=(
        Rule(kind="refused", classes=_ERRORS, text=rf"{_UNAVAILABLE}\((?:{errno.ECONNREFUSED}|10061)\)\n"),
        Rule(
            kind="unreachable",
            classes=_ERRORS,
            text=rf"{_UNAVAILABLE}\((?:{errno.EHOSTUNREACH}|{errno.ENETUNREACH}|{errno.ETIMEDOUT}|10060|10065)\)\n",
        ),
        Rule(kind="hopeless", classes=_ERRORS, codes=HOPELESS, text=_ANSWERED),
        Rule(kind="not_ready", classes=_ERRORS, codes=NOT_READY, text=_ANSWERED),
    ),
)
