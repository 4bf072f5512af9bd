"""A dictionary of settings, `RESILIENT`, read: a policy, a circuit breaker, a target.

Breakers are kept by name, one for the whole process, because Django makes a connection and a cache anew in each thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from ..._values import NamedTuple
from ...backoff import Backoff
from ...breaker import CircuitBreaker
from ...clients._shield import Shield
from ...endpoint import Endpoint
from ...errors import PolicyError, TargetError
from ...policy import Policy

KEYS: Final = ("breaker", "env", "policy", "target")
ENGINES: Final = ("resilient.integrations.django.mysql", "resilient.integrations.django.postgresql")

FOR_DATABASES: Final = Policy.startup().replace(deadline=10.0)
"""Ten seconds: a restart of the server takes less, and a worker of gunicorn is killed after thirty."""

FOR_CACHES: Final = Policy(attempts=1)
"""A miss costs less than waiting for a cache."""

_breakers: Final[dict[str, tuple[Mapping[str, Any], CircuitBreaker]]] = {}


class Settings(NamedTuple):
    """What a `RESILIENT` dictionary says."""

    policy: Policy
    breaker: CircuitBreaker | None
    target: Endpoint | None

    def shield(self) -> Shield:
        """Return it as what protects a connect."""
        return Shield(self.policy, self.breaker, self.target)


def of_database(alias: str, database: Mapping[str, Any]) -> Settings:
    """Read `DATABASES[alias]`.

    Raises:
        ImproperlyConfigured: it cannot be read.
    """
    where = f"DATABASES[{alias!r}]['RESILIENT']"
    return read(database.get("RESILIENT"), where, default=FOR_DATABASES)


def read(given: object, where: str, *, default: Policy) -> Settings:
    """Read a dictionary of settings; None and an empty one are the defaults.

    Args:
        given: the dictionary.
        where: where it stands, for messages.
        default: the policy where it names none.

    Raises:
        ImproperlyConfigured: it cannot be read. Says where, and echoes no value of the environment and no target.
    """
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"{where} must be a dictionary, not {type(given).__name__}")
    for key in given:
        if key not in KEYS:
            raise ImproperlyConfigured(f"{where} has {key!r}; its keys are {', '.join(KEYS)}")
    try:
        target = given.get("target")
        return Settings(
            _policy(given, default),
            _breaker(given.get("breaker"), where),
            None if target is None else Endpoint.parse(target),
        )
    except (PolicyError, TargetError, TypeError) as problem:
        raise ImproperlyConfigured(f"{where}: {problem}") from problem


def _policy(given: Mapping[str, Any], default: Policy) -> Policy:
    policy = given.get("policy", default)
    if isinstance(policy, str):
        policy = Policy.parse(policy)
    if not isinstance(policy, Policy):
        raise PolicyError(f"policy must be a text or a Policy, not {type(policy).__name__}")
    prefix = given.get("env")
    return policy if prefix is None else Policy.from_env(prefix, default=policy)


def _breaker(given: object, where: str) -> CircuitBreaker | None:
    if given is None:
        return None
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, Mapping):
        raise TypeError(
            f"breaker must be a name, or a dictionary of a name and settings, not {type(given).__name__}: "
            "Django copies its settings, and a circuit must not be copied"
        )
    settings: dict[str, Any] = dict(given)
    if isinstance(settings.get("cooldown"), str):
        backoff = Policy.parse(f"backoff={settings['cooldown']}").backoff
        assert isinstance(backoff, Backoff)
        settings["cooldown"] = backoff
    if "name" not in settings:
        raise TypeError("breaker needs a name")
    name = settings["name"]
    known = _breakers.get(name) if isinstance(name, str) else None
    if known is None:
        known = _breakers.setdefault(name, (settings, CircuitBreaker(**settings)))  # of two threads the first one's
    if known[0] != settings:
        raise ImproperlyConfigured(f"{where}: another breaker {name!r} has other settings; one name is one circuit")
    return known[1]
