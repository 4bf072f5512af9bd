"""python-arango: an error that drops what requests said; the server's answers by status."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_CLIENT: Final = frozenset({"ArangoClientError"})

SIGNATURE: Final = Signature(
    package="arango",
    code="http_code",
    rules=(
        Rule(kind="hopeless", classes=frozenset({"ArangoServerError"}), codes=frozenset({401})),
        Rule(kind="not_ready", classes=frozenset({"ArangoServerError"}), codes=frozenset({503})),
        Rule(
            kind="not_ready",
            classes=_CLIENT,
            text=r"^bad connection: .*\(Caused by ResponseError\('too many 503 error responses'\)\)$",
        ),
        Rule(kind="hidden", classes=_CLIENT, text=r"^bad connection: Can't connect to host\(s\) within limit \(\d+\)$"),
    ),
)
