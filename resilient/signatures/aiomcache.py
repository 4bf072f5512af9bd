"""aiomcache: the refusal is asyncio's own; what the server says stands in the text as bytes."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature
from .pymemcache import NO_ROOM, REJECTED

_ERRORS: Final = frozenset({"ClientException"})

SIGNATURE: Final = Signature(
    package="aiomcache",
    rules=(
        Rule(kind="not_ready", classes=_ERRORS, text=rf"^[a-z_ ]+ failed: b'{NO_ROOM}\\r\\n'$"),
        Rule(kind="hopeless", classes=_ERRORS, text=rf"^[a-z_ ]+ failed: b'{REJECTED}\\r\\n'$"),
    ),
)
