"""tornado: the refusal is the socket's own, or, of its curl client, curl's; a bad status is an error."""

from __future__ import annotations

from typing import Any, Final

from . import _curl, _http
from ._signature import Rule, Signature


def _code(error: Any) -> object:
    number = getattr(error, "errno", None)  # curl's, which are smaller than any status
    return getattr(error, "code", None) if number is None else number


SIGNATURE: Final = Signature(
    package="tornado",
    code=_code,
    rules=(
        *_http.rules("HTTPClientError"),
        Rule(kind="unreachable", classes=frozenset({"HTTPTimeoutError"}), text=r"^Timeout while connecting(?: to |$)"),
        *_curl.rules("CurlError", before="^HTTP 599: "),
    ),
)
