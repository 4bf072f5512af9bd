"""What protects a connect: a policy, a circuit, a target; and how a client says that its circuit is open."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

from .. import logs
from .._wrapping import is_async, name_of
from ..breaker import CircuitBreaker, CircuitBreakers
from ..decorators import retry_on_refused
from ..endpoint import Endpoint
from ..errors import CircuitOpenError
from ..failover import Targets
from ..policy import Policy

F = TypeVar("F", bound=Callable[..., Any])

GUARDED: Final = "_resilient"
"""In the namespace of what is made here in the place of a client's class or function: what it protects."""

Target: TypeAlias = "str | Endpoint | Callable[..., str | Endpoint]"

Redirect: TypeAlias = "Callable[[Endpoint, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]"
"""(where to, positional arguments of a connect, its others) → the arguments with which it connects there."""


class Shield:
    """What one `guard(...)` was given.

    Attributes:
        policy, breaker, target, targets: as given.
    """

    __slots__ = ("breaker", "policy", "target", "targets")

    def __init__(
        self,
        policy: Policy,
        breaker: CircuitBreaker | CircuitBreakers | None,
        target: Target | None,
        targets: Targets | None = None,
    ) -> None:
        self.targets: Targets | None = targets
        self.policy: Policy = policy
        self.breaker: CircuitBreaker | CircuitBreakers | None = breaker
        self.target: Target | None = target

    def protect(
        self,
        connect: F,
        *,
        target: Target | None,
        unavailable: Callable[[str], Exception] | None,
        redirect: Redirect | None = None,
    ) -> F:
        """Return a connect function or coroutine function protected; whatever it raised before it raises now.

        Args:
            connect: a function, coroutine function, method or class of the client.
            target: what it connects to, as the client's own settings say it; the user's `target=` comes first.
            unavailable: makes the client's own exception out of a text, for an open circuit; None where the client
                lets `ConnectionRefusedError` through, which a `CircuitOpenError` is already.
            redirect: makes `connect` go to another endpoint than its arguments say; None where it cannot.

        Raises:
            TypeError: there are `targets=`, and this connect cannot be made to go to one of them.
        """
        breaker = self.breaker
        protected: Any
        if self.targets is not None:
            if redirect is None:
                raise TypeError(
                    f"guard cannot tell {name_of(connect)} to which of targets= it should go, because it takes no host "
                    "and port: write a function that takes the endpoint, and decorate it with "
                    "retry_on_refused(targets=...)"
                )
            connect_at = _at_endpoint(connect, redirect)
            assert not isinstance(breaker, CircuitBreaker)
            protected = retry_on_refused(connect_at, policy=self.policy, targets=self.targets, breaker=breaker)
        else:
            where = self.target if self.target is not None else target
            if isinstance(breaker, CircuitBreakers) and where is None:
                breaker = None  # which circuit it would be is not known
            protected = retry_on_refused(connect, policy=self.policy, target=where, breaker=breaker)
        if unavailable is None or (breaker is None and self.targets is None):
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


def _at_endpoint(connect: Any, redirect: Redirect) -> Any:
    """Return `connect` with an endpoint to go to as its first argument."""
    if is_async(connect):

        async def connect_at_async(endpoint: Endpoint, *args: Any, **kwargs: Any) -> Any:
            args, kwargs = redirect(endpoint, args, kwargs)
            return await connect(*args, **kwargs)

        return _named_like(connect, connect_at_async)

    def connect_at(endpoint: Endpoint, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = redirect(endpoint, args, kwargs)
        return connect(*args, **kwargs)

    return _named_like(connect, connect_at)


def _named_like(connect: Any, function: Any) -> Any:
    function.__name__ = function.__qualname__ = name_of(connect)
    function.__module__ = getattr(connect, "__module__", function.__module__)
    return function


def lookalike(cls: Any, **members: Any) -> Any:
    """Return a subclass of a client's class, with these members and with the name, module and docstring of its base."""
    looks = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__, GUARDED: cls}
    return type(cls)(cls.__name__, (cls,), {**looks, **members})


def unguarded(cls: Any) -> Any:
    """Return the client's class that a `lookalike` protects; any other as it is."""
    return vars(cls).get(GUARDED, cls)
