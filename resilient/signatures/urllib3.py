"""urllib3: the refusal is the cause; with a `status_forcelist` a bad status is an error in the end."""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="urllib3",
    rules=(
        Rule(kind="not_ready", classes=frozenset({"ResponseError"}), text=r"^too many 503 error responses$"),
        Rule(kind="hopeless", classes=frozenset({"ResponseError"}), text=r"^too many 401 error responses$"),
    ),
)
