"""redis-py and valkey-py: a `ConnectionError` whose implicit context is the socket's own error."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature


def signature(package: str) -> Signature:
    """Return the signature of redis-py or of its fork."""
    return Signature(
        package=package,
        address=r"Error .*connecting to (?P<host>\S+):(?P<port>\d+)\.",
        rules=(
            Rule(kind="not_ready", classes=frozenset({"BusyLoadingError"})),
            Rule(kind="not_ready", classes=frozenset({"ResponseError"}), text=r"^LOADING "),
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
            Rule(
                kind="hopeless",
                classes=frozenset({"ResponseError"}),
                text=r"^(WRONGPASS|NOAUTH|NOPERM)\b|DB index is out of range",
            ),
            # Both wrap a TimeoutError; only the connect is known to have sent nothing.
            Rule(kind="other", classes=frozenset({"TimeoutError"}), text=r"^Timeout (reading|writing)"),
        ),
    )


SIGNATURE: Final = signature("redis")
