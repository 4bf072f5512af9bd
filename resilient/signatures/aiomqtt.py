"""aiomqtt: the socket's error is hidden behind `from None`; the broker's answer is a reason code.

Every answer that is a no begins with "Connection refused": in MQTT 3 that is how a wrong password is called.
"""

from __future__ import annotations

from typing import Any, Final

from ._signature import Rule, Signature

_ANSWERS: Final = frozenset({"MqttConnectError"})


def _code(exc: Any) -> object:
    code = getattr(exc, "rc", None)
    return getattr(code, "value", code)


SIGNATURE: Final = Signature(
    package="aiomqtt",
    code=_code,
    vouches=True,
    rules=(
        # Server unavailable; in MQTT 5: unavailable, busy.
        Rule(kind="not_ready", classes=_ANSWERS, codes=frozenset({3, 136, 137})),
        # Bad user name or password, not authorised; in MQTT 5 with "banned" and "bad authentication method".
        Rule(kind="hopeless", classes=_ANSWERS, codes=frozenset({4, 5, 134, 135, 138, 140})),
        Rule(kind="other", classes=_ANSWERS),
        Rule(kind="other", classes=frozenset({"MqttError"}), text=r"^Operation timed out$"),  # after the connect
    ),
)
