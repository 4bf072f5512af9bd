"""curl_cffi: curl's code, its text in a sentence; a bad status is an error after `raise_for_status`."""

from __future__ import annotations

from typing import Any, Final

from . import _curl, _http
from ._signature import Rule, Signature

_UPGRADE: Final = r"Failed to perform, curl: \(22\) Refused WebSocket upgrade:"


def _code(error: Any) -> object:
    number = getattr(error, "code", None)
    return int(number) if isinstance(number, int) and number else _http.status_of_response(error)


SIGNATURE: Final = Signature(
    package="curl_cffi",
    code=_code,
    rules=(
        *_http.rules("HTTPError"),
        Rule(kind="not_ready", classes=frozenset({"CurlError"}), text=rf"^{_UPGRADE} 503\."),
        Rule(kind="hopeless", classes=frozenset({"CurlError"}), text=rf"^{_UPGRADE} 401\."),
        *_curl.rules("CurlError", before=r"^Failed to [a-z ]+, curl: \(\d+\) ", after=r"\. See https://curl\.se/"),
    ),
)
