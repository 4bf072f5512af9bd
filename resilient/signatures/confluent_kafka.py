"""confluent-kafka: librdkafka's error, with its code and its English text, is the first argument of `KafkaException`.

What it raises by itself says only that no broker answered. An `error_cb` is told more, but of one address of a name at
a time: it is believed where the broker was named by that very address. Source: librdkafka 2.x, rdkafka_broker.c.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from ._signature import Rule, Signature
from .kafka import HOPELESS, NOT_READY

_TRANSPORT, _RESOLVE, _ALL_BROKERS_DOWN, _TIMED_OUT, _SSL, _AUTHENTICATION = -195, -193, -187, -185, -181, -169

_AFTER: Final = r"failed: WORDS \(after \d+ms in state CONNECT[^()]*(?:\(s\)[^()]*)?\)$"
_REFUSED: Final = frozenset({errno.ECONNREFUSED})


def _code(exc: Any) -> object:
    return exc.args[0].code() if exc.args and hasattr(exc.args[0], "code") else None


def _text(exc: Any) -> object:
    return exc.args[0].str() if exc.args and hasattr(exc.args[0], "str") else ""


SIGNATURE: Final = Signature(
    package="cimpl",
    code=_code,
    text=_text,
    rules=(
        Rule(kind="not_ready", codes=NOT_READY),
        Rule(kind="hopeless", codes=HOPELESS | {_AUTHENTICATION}),
        Rule(
            kind="hopeless",
            codes=frozenset({_SSL}),
            text=r"^\S+: SSL handshake failed: error:[^ ]*[^:]*::(?:wrong version number|certificate verify failed)",
        ),
        Rule(kind="unresolved", codes=frozenset({_RESOLVE})),
        Rule(
            kind="refused",
            codes=frozenset({_TRANSPORT}),
            errnos=_REFUSED,
            text=rf"^(?:[a-z_]+://)?(?P<where>[0-9A-Fa-f.:\[\]]+:\d+)/\S+: Connect to ipv[46]#(?P=where) {_AFTER}",
        ),
        Rule(
            kind="hidden",
            codes=frozenset({_TRANSPORT}),
            errnos=_REFUSED,
            text=rf"^(?:[a-z_]+://)?\S+/\S+: Connect to ipv[46]#\S+ {_AFTER}",
        ),
        Rule(
            kind="hidden",
            codes=frozenset({_TRANSPORT, _TIMED_OUT}),
            # The last: a request that has not found its broker yet, so that it was not sent.
            text=r"^(?:Failed to get metadata: Local: |Failed while waiting for controller: Local: Timed out)",
        ),
        Rule(kind="hidden", codes=frozenset({_ALL_BROKERS_DOWN})),
    ),
)
