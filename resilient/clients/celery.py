"""Celery: an application's own connections to its broker, and its settings for them, from a policy.

Its results backend is another client, with settings of its own, and is left as it is.
"""

from __future__ import annotations

from typing import Any, Final

from . import kombu
from ._shield import Shield

__all__ = ["guard", "ping"]

_SHORTEST: Final = 4.0
"""Seconds that Celery gives each connect by default (broker_connection_timeout)."""


def guard(thing: Any, shield: Shield) -> Any:
    """Protect an application in place: what it publishes, and what its workers do about their broker."""
    from celery import Celery

    if not isinstance(thing, Celery):
        return None
    numbers = kombu.numbers(shield.policy)
    settings = {
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": numbers["max_retries"],
        "task_publish_retry": True,
        "task_publish_retry_policy": numbers,
    }
    if shield.policy.deadline is not None and shield.policy.deadline < _SHORTEST:
        settings["broker_connection_timeout"] = shield.policy.deadline
    thing.conf.update(settings)
    shield.changed("celery: %s are the policy's", ", ".join(sorted(settings)))
    thing.amqp.Connection = kombu.subclass(thing.amqp.Connection, shield)
    return thing


def ping(thing: Any) -> None:
    """Connect once to the broker of an application, and leave."""
    kombu.ping(thing.connection_for_read())
