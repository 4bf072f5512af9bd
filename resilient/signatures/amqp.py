"""py-amqp, and with it kombu and celery: a refusal is the socket's own error; the broker's words carry its reply code.

A 403 or a 530 stands for a login, a virtual host or a queue; RabbitMQ says in the text which limits waiting may mend.
"""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

VHOST: Final = "access to vhost '.*' refused for user '.*': "
"""RabbitMQ's own words, rabbit_reader.erl, 3.7 to 4.1."""

SIGNATURE: Final = Signature(
    package="amqp",
    code="code",
    rules=(
        Rule(
            kind="not_ready",
            codes=frozenset({530, 541}),
            text=rf"^Connection\.open: \(5\d\d\) [A-Z_]+ - {VHOST}"
            r"(?:vhost '.*' is down|connection limit \(\d+\) is reached)$",
        ),
        Rule(kind="hopeless", codes=frozenset({403, 530})),
    ),
)
