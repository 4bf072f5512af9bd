"""pylibmc: libmemcached's own codes, each with a class; none says why a connect failed.

Source: libmemcached's `return.h`, 1.0.16 to 1.1; pylibmc 1.6.
"""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="pylibmc",
    rules=(
        Rule(kind="unresolved", classes=frozenset({"HostLookupError"})),
        # 3, and 35 and 47 for two seconds after it: the server is not even tried again.
        Rule(kind="hidden", classes=frozenset({"ConnectionError", "ServerDead", "ServerDown"})),
        Rule(
            kind="hopeless",
            classes=frozenset({"Error"}),
            text=r"^error (?:40|41) from memcached_[a-z_]+(?:\(.*\))?: AUTHENTICATION ",
        ),
    ),
)
