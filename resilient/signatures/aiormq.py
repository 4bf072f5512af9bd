"""aiormq, and with it aio-pika: a refusal is the explicit cause; why a virtual host was denied is lost.

The authentication errors are raised for a reply code of 403 and for a lack of common mechanisms only (aiormq 6 and 7).
"""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

SIGNATURE: Final = Signature(
    package="aiormq",
    rules=(Rule(kind="hopeless", classes=frozenset({"AuthenticationError", "ProbableAuthenticationError"})),),
)
