"""Azure's libraries: the service's answer is an `HttpResponseError` with its status."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="azure",
    code="status_code",
    rules=(
        Rule(kind="not_ready", classes=frozenset({"HttpResponseError"}), codes=frozenset({503})),
        Rule(kind="hopeless", classes=frozenset({"HttpResponseError"}), codes=frozenset({401})),
        # A key that does not fit is a 403 with a code of its own; without a status it is a credential that failed.
        Rule(kind="hopeless", classes=frozenset({"ClientAuthenticationError"}), codes=frozenset({403})),
    ),
)
