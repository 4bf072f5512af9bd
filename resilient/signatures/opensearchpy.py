"""OpenSearch: the connection's own error in `args`; the server's by HTTP status. Read: opensearch-py 2.0 to 3.2."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ERRORS: Final = frozenset({"TransportError"})

SIGNATURE: Final = Signature(
    package="opensearchpy",
    code="args",
    rules=(
        Rule(kind="not_ready", classes=_ERRORS, codes=frozenset({503})),
        Rule(kind="hopeless", classes=_ERRORS, codes=frozenset({401})),
        # What the hosts said is lost.
        Rule(
            kind="hidden",
            classes=_ERRORS,
            codes=frozenset({"N/A"}),
            text=r"^TransportError\(N/A, 'Unable to sniff hosts\.'\)$",
        ),
    ),
)
