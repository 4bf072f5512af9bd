"""paho-mqtt: a refusal is the socket's own error; `publish` and `subscribe` raise the text of the broker's answer.

Every answer that is a no begins with "Connection Refused": in MQTT 3 that is how a wrong password is called.
"""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ERRORS: Final = frozenset({"MQTTException"})

SIGNATURE: Final = Signature(
    package="paho",
    rules=(
        Rule(
            kind="not_ready",
            classes=_ERRORS,
            text=r"^(?:Connection Refused: broker unavailable\.|Server unavailable|Server busy)$",
        ),
        Rule(
            kind="hopeless",
            classes=_ERRORS,
            text=r"^(?:Connection Refused: (?:bad user name or password|not authorised)\."
            r"|Bad user name or password|Not authorized|Banned|Bad authentication method)$",
        ),
    ),
)
