"""pymemcache: the refusal is the socket's own; what the server says stands in the text as bytes."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

REJECTED: Final = r"CLIENT_ERROR (?:unauthenticated|authentication failure)"
NO_ROOM: Final = r"ERROR Too many open connections"
"""Memcached's own sentences, in its text protocol; after the second it hangs up. Source: memcached 1.6."""

SIGNATURE: Final = Signature(
    package="pymemcache",
    rules=(
        Rule(
            kind="hopeless",
            classes=frozenset({"MemcacheClientError"}),
            text=r"^b'(?:unauthenticated|authentication failure)'$",
        ),
    ),
)
