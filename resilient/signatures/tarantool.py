"""tarantool: the socket's error as cause or context; the server's errors by number."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ERRORS: Final = frozenset({"DatabaseError"})

SIGNATURE: Final = Signature(
    package="tarantool",
    code="args",
    rules=(
        # ER_NO_SUCH_USER, ER_CREDS_MISMATCH (ER_PASSWORD_MISMATCH before 2.11).
        Rule(kind="hopeless", classes=_ERRORS, codes=frozenset({45, 47})),
        # ER_LOADING, which is ESTALE as an errno: no connect ends in that.
        Rule(kind="not_ready", classes=_ERRORS, codes=frozenset({116})),
        # Its pool drops what every one of its servers said.
        Rule(kind="hidden", classes=frozenset({"PoolTopologyError"}), text=r"^Can't find healthy instance in pool$"),
    ),
)
