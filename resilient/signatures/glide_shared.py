"""Valkey GLIDE, async and sync: its core's text only, in which every address has an error of its own.

The core puts a colon into whatever a server says, and a word of its own before most of it, so that no server can say
what the system says. Measured: valkey-glide 2.6; source: its glide-core, `standalone_client.rs`.
"""

from __future__ import annotations

import errno
from typing import Final

from ._signature import Rule, Signature
from .redis import CLUSTER_DOWN, MASTER_DOWN, NO_ROOM

_ERRORS: Final = frozenset({"ClosingError", "RequestError"})

_ALONE: Final = (
    r"(?:Standalone connect failed - IoError: )?(?:Received error for address `[^`\n]*`: |Received errors:\n)"
)
_CLUSTER: Final = (
    r"Failed to create initial connections - IoError: Failed to refresh both connections - IoError: "
    r'Node: ReadyToDialAddress\("[^"\n]*"\) received errors: `'
)
_REFUSED: Final = r"WORDS \(os error \d+\)"
_ANSWER: Final = rf"^(?:{_ALONE}(?:\S+:\d+: )?|{_CLUSTER})?"
_SIGNALLED: Final = r"An error was signalled by the server: - "

SIGNATURE: Final = Signature(
    package="glide_shared",
    rules=(
        Rule(
            kind="not_ready",
            classes=_ERRORS,
            text=rf"{_ANSWER}{_SIGNALLED}(?:BusyLoadingError: |ClusterDown: (?:{CLUSTER_DOWN.replace('$', '')})"
            rf"|MasterDown: {MASTER_DOWN}|ResponseError: {NO_ROOM})",
        ),
        Rule(kind="hopeless", classes=_ERRORS, text=rf"{_ANSWER}(?:WRONGPASS|NOAUTH|NOPERM): "),
        Rule(
            kind="refused",
            classes=_ERRORS,
            errnos=frozenset({errno.ECONNREFUSED}),
            text=rf"^(?:{_ALONE}(?:(?:\S+:\d+: )?{_REFUSED}\n?)+|{_CLUSTER}{_REFUSED}`(?:, `{_REFUSED}`)*)$",
        ),
    ),
)
