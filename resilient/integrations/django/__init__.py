"""Django: database backends that wait well, `manage.py wait_for_db`, a cache that fails open, a system check.

`ENGINE = "resilient.integrations.django.postgresql"` (or `.mysql`) needs nothing else. The command and the check come
with the app: `INSTALLED_APPS += ["resilient.integrations.django"]`.
"""

from __future__ import annotations

from ...breaker import CircuitBreaker

__all__ = ["breaker_of"]


def breaker_of(alias: str = "default") -> CircuitBreaker | None:
    """Return the circuit breaker of a database, as its `RESILIENT` settings describe it; None where they name none.

    Raises:
        ImproperlyConfigured: the settings cannot be read.
        ConnectionDoesNotExist: there is no such database.
    """
    from django.db import connections

    from ._settings import of_database

    return of_database(alias, connections[alias].settings_dict).breaker
