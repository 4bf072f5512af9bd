"""What protects a connect: a policy, a circuit, a target; and how a client says that its circuit is open."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

from .. import logs
from .._wrapping import is_async
from ..breaker import CircuitBreaker, CircuitBreakers
from ..decorators import retry_on_refused
from ..endpoint import Endpoint
from ..errors import CircuitOpenError
from ..policy import Policy

F = TypeVar("F", bound=Callable[..., Any])

GUARDED: Final = "_resilient"
"""In the namespace of what is made here in the place of a client's class or function: what it protects."""

Target: TypeAlias = "str | Endpoint | Callable[..., str | Endpoint]"


class Shield:
    """What one `guard(...)` was given.

    Attributes:
        policy, breaker, target: as given.
    """

    __slots__ = ("breaker", "policy", "target")

    def __init__(self, policy: Policy, breaker: CircuitBreaker | CircuitBreakers | None, target: Target | None) -> None:
        self.policy: Policy = policy
        self.breaker: CircuitBreaker | CircuitBreakers | None = breaker
        self.target: Target | None = target

    def protect(self, connect: F, *, target: Target | None, unavailable: Callable[[str], Exception] | None) -> F:
        """Return a connect function or coroutine function protected; whatever it raised before it raises now.

        Args:
            connect: a function, coroutine function, method or class of the client.
            target: what it connects to, as the client's own settings say it; the user's `target=` comes first.
            unavailable: makes the client's own exception out of a text, for an open circuit; None where the client
                lets `ConnectionRefusedError` through, which a `CircuitOpenError` is already.
        """
        settings: dict[str, Any] = {"policy": self.policy, "target": self.target if self.target is not None else target}
        breaker = self.breaker
        if isinstance(breaker, CircuitBreakers) and settings["target"] is None:
            breaker = None  # which circuit it would be is not known
        protected: Any = retry_on_refused(connect, breaker=breaker, **settings)
        if breaker is None or unavailable is None:
            return protected  # type: ignore[no-any-return]
        if is_async(connect):

            @functools.wraps(protected)
            async def connect_async(*args: Any, **kwargs: Any) -> Any:
                try:
                    return await protected(*args, **kwargs)
                except CircuitOpenError as opened:
                    raise unavailable(str(opened)) from opened

            return connect_async  # type: ignore[return-value]

        @functools.wraps(protected)
        def connect_sync(*args: Any, **kwargs: Any) -> Any:
            try:
                return protected(*args, **kwargs)
            except CircuitOpenError as opened:
                raise unavailable(str(opened)) from opened

        return connect_sync  # type: ignore[return-value]

    def changed(self, what: str, *args: object) -> None:
        """Log, at DEBUG, what of the client's own settings was changed."""
        logs.say(logging.DEBUG, what, *args)


def lookalike(cls: Any, **members: Any) -> Any:
    """Return a subclass of a client's class, with these members and with the name, module and docstring of its base."""
    looks = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__, GUARDED: cls}
    return type(cls)(cls.__name__, (cls,), {**looks, **members})


def unguarded(cls: Any) -> Any:
    """Return the client's class that a `lookalike` protects; any other as it is."""
    return vars(cls).get(GUARDED, cls)
