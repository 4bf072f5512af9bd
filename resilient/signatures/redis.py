"""redis-py and valkey-py: a `ConnectionError` whose implicit context is the socket's own error.

Its text counts as well: django-redis raises the same error again, and its context is lost. A server cannot say it:
what servers say comes as other classes, but for one sentence of Redis's own. Read: redis-py 4.6 to 8, valkey-py 6.
"""

from __future__ import annotations

import errno
from typing import Final

from ._signature import Rule, Signature

CLUSTER_DOWN: Final = r"The cluster is down(?: and only accepts read commands)?$|Hash slot not served$"
MASTER_DOWN: Final = r"Link with MASTER is down and "
NO_ROOM: Final = r"max number of clients (?:\+ cluster connections )?reached"

_REFUSED: Final = rf"(?:{errno.ECONNREFUSED}|10061)"
_MANY: Final = rf"\[Errno {_REFUSED}\] Connect call failed \([^()]*\)"
_CONNECTING: Final = (
    rf"Error (?:{_REFUSED} connecting to \S+\. [^'\"()]*(?:\('[^'()]*', \d+(?:, \d+, \d+)?\))?\."
    rf"|Multiple exceptions: {_MANY}(?:, {_MANY})* connecting to \S+\.)"
)


def signature(package: str) -> Signature:
    """Return the signature of redis-py or of its fork."""
    return Signature(
        package=package,
        address=r"Error .*connecting to (?P<host>\S+):(?P<port>\d+)\.",
        rules=(
            Rule(kind="not_ready", classes=frozenset({"BusyLoadingError"})),
            Rule(
                kind="hopeless",
                classes=frozenset(
                    {
                        "AuthenticationError",
                        "AuthenticationWrongNumberOfArgsError",
                        "AuthorizationError",
                        "NoPermissionError",
                    }
                ),
            ),
            # It may list the sentinels that failed, and not those that answered that they know no master.
            Rule(
                kind="hopeless",
                classes=frozenset({"MasterNotFoundError"}),
                text=r"^No master found for '[^'\n]*' : <[^\n]*> - (?:auth:)?AuthenticationError\b",
            ),
            Rule(kind="hidden", classes=frozenset({"MasterNotFoundError", "SlaveNotFoundError"})),
            Rule(kind="not_ready", classes=frozenset({"ConnectionError"}), text=rf"^{NO_ROOM}$"),
            Rule(
                kind="not_ready",
                classes=frozenset({"ResponseError"}),
                text=rf"^(?:LOADING |(?:CLUSTERDOWN )?(?:{CLUSTER_DOWN})|(?:MASTERDOWN )?{MASTER_DOWN})",
            ),
            Rule(
                kind="hopeless",
                classes=frozenset({"ResponseError"}),
                text=r"^(?:(?:WRONGPASS|NOAUTH|NOPERM)\b|(?:ERR )?DB index is out of range)",
            ),
            # Both wrap a TimeoutError; only the connect is known to have sent nothing.
            Rule(kind="other", classes=frozenset({"TimeoutError"}), text=r"^Timeout (reading|writing)"),
            Rule(
                kind="refused",
                classes=frozenset({"ConnectionError"}),
                text=rf"^{_CONNECTING}$",
            ),
        ),
    )


SIGNATURE: Final = signature("redis")
