"""neo4j: the first address's error as cause, the others in the text; the server's errors by their names."""

from __future__ import annotations

from typing import Any, Final

from ._signature import Rule, Signature

_MIXED: Final = "mixed"


def _reason(line: str) -> str:
    """Return why one address failed: the errno if there is one, since asyncio's words name the address."""
    return (line.partition(" (reason ")[2] or line).partition("]")[0]


def _code(error: Any) -> object:
    """Return the server's name of its error, or a word of ours where several addresses failed in several ways."""
    code = getattr(error, "code", None)
    if code is None and type(error).__name__ == "ServiceUnavailable":
        first, *lines = str(error).split("\n")
        if first.startswith("Couldn't connect to ") and len(set(map(_reason, lines))) > 1:
            return _MIXED
    return code


SIGNATURE: Final = Signature(
    package="neo4j",
    code=_code,
    address=r"^Couldn't connect to (?P<host>[^\s\[\]]+):(?P<port>\d+) \(",
    rules=(
        Rule(
            kind="hopeless",
            codes=frozenset(
                {
                    "Neo.ClientError.Security.Unauthorized",
                    "Neo.ClientError.Database.DatabaseNotFound",
                }
            ),
        ),
        Rule(
            kind="not_ready",
            codes=frozenset(
                {
                    "Neo.TransientError.General.DatabaseUnavailable",
                    "Neo.TransientError.Database.DatabaseUnavailable",
                    "Neo.ClientError.Cluster.NotALeader",
                }
            ),
        ),
        Rule(kind="other", codes=frozenset({_MIXED})),
    ),
)
