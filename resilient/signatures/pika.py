"""pika: a refusal stands in `args[0].exception`; what the broker said is the repr of another error.

It calls every end of the connection during the login "probable"; only a broker that gave its code is believed.
"""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature
from .amqp import VHOST

_OPENING: Final = frozenset({"ProbableAccessDeniedError", "ProbableAuthenticationError"})
_CLOSED: Final = r"^ConnectionClosedByBroker: "

SIGNATURE: Final = Signature(
    package="pika",
    rules=(
        Rule(
            kind="not_ready",
            classes=_OPENING,
            text=rf"{_CLOSED}\(5(?:30|41)\) [\"'][A-Z_]+ - {VHOST}"
            r"(?:vhost '.*' is down|connection limit \(\d+\) is reached)[\"']$",
        ),
        Rule(kind="hopeless", classes=_OPENING, text=rf"{_CLOSED}\((?:403|530)\) "),
        Rule(kind="hopeless", classes=frozenset({"AuthenticationError"})),
    ),
)
