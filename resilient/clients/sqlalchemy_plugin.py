"""SQLAlchemy's way to guard an engine without code: `?plugin=resilient` in its URL, or `plugins=["resilient"]`.

SQLAlchemy loads it by the entry point "resilient" of the group "sqlalchemy.plugins".
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import PolicyError
from ..policy import Policy
from . import guard

_SETTINGS: Final = ("resilient_breaker", "resilient_env", "resilient_policy")


class ResilientPlugin:
    """A plugin as SQLAlchemy's `CreateEnginePlugin` says; each engine that it meets is guarded.

    Its settings, in the URL's query or as arguments of `create_engine`:
    `resilient_policy`: a text that `Policy.parse` reads, as an argument also a `Policy`;
    `resilient_env`: "DB" reads the policy from the environment variable DB_RETRY, and falls back to `resilient_policy`;
    `resilient_breaker`, as an argument only: a `CircuitBreaker` or `CircuitBreakers`.

    Raises:
        PolicyError: the policy cannot be read.
    """

    def __init__(self, url: Any, kwargs: dict[str, Any]) -> None:
        self.url = url
        given = {name: url.query[name] for name in _SETTINGS[1:] if name in url.query}
        given |= {name: kwargs.pop(name) for name in _SETTINGS if name in kwargs}
        policy = given.get("resilient_policy")
        if isinstance(policy, str):
            policy = Policy.parse(policy)
        elif isinstance(policy, tuple):
            raise PolicyError("the URL has resilient_policy twice")
        self._policy: Policy | None = policy
        if (prefix := given.get("resilient_env")) is not None:
            self._policy = Policy.from_env(prefix, default=policy)
        self._breaker = given.get("resilient_breaker")

    def update_url(self, url: Any) -> Any:
        """Return the URL without the settings, which a driver would not know."""
        return url.difference_update_query(_SETTINGS)

    def handle_dialect_kwargs(self, dialect_cls: Any, dialect_args: dict[str, Any]) -> None:
        """Change nothing."""

    def handle_pool_kwargs(self, pool_cls: Any, pool_args: dict[str, Any]) -> None:
        """Change nothing."""

    def engine_created(self, engine: Any) -> None:
        """Guard the engine."""
        guard(engine, policy=self._policy, breaker=self._breaker)
