"""PyMongo, and Motor over it: no server could be selected, for reasons that are text only; answers by number.

The text ends in a description of the topology. Of that, each server's part must be what PyMongo itself writes of a
connect that failed, to its very end: an error that a server told is of another class and stands in quotes.
Measured: PyMongo 4.20, sync and async.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from ._signature import Rule, Signature

_SELECTION: Final = frozenset({"ServerSelectionTimeoutError"})
_START: Final = ", servers: ["
_SERVER: Final = (
    r"^<ServerDescription \('[^'\n]*', \d+\) server_type: Unknown, rtt: None, "
    r"error=AutoReconnect\(['\"][^\s'\"]+:\d+: \[(?:Errno|WinError) "
)
_END: Final = (
    r"\] (?:[^\[\]()'\"]+|Connect call failed \('[^'\n]*', \d+(?:, \d+, \d+)?\))"
    r"(?: \(configured timeouts: [^()'\"]*\))?['\"]\)>(?:\n|\]>$)"
)


def _code(error: Any) -> object:
    code = getattr(error, "code", None)
    if code is None:
        details = getattr(error, "details", None)
        code = details.get("code") if isinstance(details, dict) else None
    return code


def _text(error: Any) -> object:
    """Return the descriptions of the servers, one a line; of an error that was told by one, its text."""
    text = str(error)
    if type(error).__name__ != "ServerSelectionTimeoutError":
        return text
    return text.rpartition(_START)[2].replace(", <ServerDescription ", "\n<ServerDescription ")


SIGNATURE: Final = Signature(
    package="pymongo",
    code=_code,
    text=_text,
    clauses=(r"<ServerDescription ",),
    address=r"^(?P<host>[^\s,]+):(?P<port>\d+): \[(?:Errno|WinError) ",
    rules=(
        # NotWritablePrimary, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary, PrimarySteppedDown, InterruptedAtShutdown,
        # InterruptedDueToReplStateChange, ShutdownInProgress, LegacyNotPrimary.
        Rule(kind="not_ready", codes=frozenset({10107, 13435, 13436, 189, 11600, 11602, 91, 10058})),
        Rule(kind="hopeless", classes=frozenset({"OperationFailure"}), codes=frozenset({18})),
        Rule(kind="hopeless", classes=frozenset({"OperationFailure"}), codes=frozenset({8000}), text=r"^bad auth\b"),
        Rule(kind="refused", classes=_SELECTION, text=rf"{_SERVER}(?:{errno.ECONNREFUSED}|10061){_END}"),
        Rule(
            kind="unreachable",
            classes=_SELECTION,
            text=rf"{_SERVER}(?:{errno.EHOSTUNREACH}|{errno.ENETUNREACH}|{errno.ETIMEDOUT}|10060|10065){_END}",
        ),
        Rule(kind="unresolved", classes=_SELECTION, text=rf"{_SERVER}(?:-2|-3|-5|8|11001){_END}"),
    ),
)
