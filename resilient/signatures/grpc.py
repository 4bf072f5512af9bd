"""gRPC: a status and a text, which a server may send as well as the channel make: a relay hands on what it met itself.

Nothing in the error tells the two apart (grpcio 1.51 to 1.85, where retries are on, as they are by default), so that
gRPC's own words for a refused connect only call for asking the port. An error that names the peer came from there.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from ._signature import Rule, Signature

_CALLS: Final = frozenset({"RpcError"})
_FROM_PEER: Final = "Error received from peer ip"  # "ipv4:127.0.0.1:50051"; without an address it may be anybody


def _code(exc: Any) -> object:
    return exc.code().name if hasattr(exc, "code") else None


def _text(exc: Any) -> object:
    if not hasattr(exc, "details") or _FROM_PEER in (exc.debug_error_string() or "")[:60]:
        return ""
    return exc.details() or ""


SIGNATURE: Final = Signature(
    package="grpc",
    code=_code,
    text=_text,
    rules=(
        Rule(kind="hopeless", classes=_CALLS, codes=frozenset({"UNAUTHENTICATED"})),
        Rule(
            kind="hidden",
            classes=_CALLS,
            codes=frozenset({"UNAVAILABLE"}),
            errnos=frozenset({errno.ECONNREFUSED}),
            text=r"^failed to connect to all addresses; last error: [A-Z]+: (?:(?:ipv[46]|unix):\S+: )?"
            r"Failed to connect to remote host: (?:connect: )?WORDS(?: \(\d+\))?$",
        ),
        # Before 1.50. A deadline that is all that is left, with `wait_for_ready`, is no such sign: a call that was sent
        # and not answered in time says the same.
        Rule(
            kind="hidden",
            classes=_CALLS,
            codes=frozenset({"UNAVAILABLE"}),
            text=r"^(?:failed to connect to all addresses|Connect Failed)$",
        ),
        Rule(kind="hidden", classes=frozenset({"FutureTimeoutError"})),  # of `channel_ready_future`
    ),
)
