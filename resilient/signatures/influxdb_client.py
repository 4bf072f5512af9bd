"""influxdb-client: urllib3's or aiohttp's error on a refusal; the server's answers by status."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ERRORS: Final = frozenset({"ApiException"})

SIGNATURE: Final = Signature(
    package="influxdb_client",
    code="status",
    rules=(
        Rule(kind="hopeless", classes=_ERRORS, codes=frozenset({401})),
        Rule(kind="not_ready", classes=_ERRORS, codes=frozenset({503})),
    ),
)
