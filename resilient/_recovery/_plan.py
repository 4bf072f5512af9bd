"""What is known of a call before it is made."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .. import logs, signatures
from .._scrub import scrub
from ..breaker import CircuitBreaker, CircuitBreakers
from ..clock import Cancellation
from ..endpoint import Endpoint
from ..policy import Policy, RetryIf
from ._engine import Engine, engine_of

if TYPE_CHECKING:
    from ..failover import Targets

HEARTBEAT: Final = 10.0
"""Seconds between two lines of one call, or of one failover, that a quiet log shows."""

Target: TypeAlias = "str | Endpoint | Callable[..., str | Endpoint]"
"""What a call connects to: a text, an `Endpoint`, or a callable of the call's arguments that gives one."""


class Plan:
    """What is known of a call before it is made; shared by all calls of one decorated function."""

    __slots__ = (
        "_heard",
        "breaker",
        "breakers",
        "call",
        "cancellation",
        "endpoint",
        "engine",
        "find_target",
        "gives_coroutines",
        "multiplies",
        "policy",
        "starts",
        "targets",
        "warned",
        "ways",
    )

    def __init__(
        self,
        policy: Policy,
        call: str,
        target: Target | None,
        cancellation: Cancellation | None,
        breaker: CircuitBreaker | CircuitBreakers | None = None,
        targets: Targets | None = None,
    ) -> None:
        self.policy: Policy = policy
        self.call: str = scrub(call)
        self.cancellation: Cancellation | None = cancellation
        self.endpoint: Endpoint | None = None
        self.find_target: Callable[..., str | Endpoint] | None = None
        if callable(target):
            self.find_target = target
            with contextlib.suppress(OSError):  # no descriptor left
                Endpoint.parse("[::1]:1")  # loads what an IPv6 address needs, so that no failure has to
        elif target is not None:
            self.endpoint = Endpoint.parse(target)
        self.breakers: CircuitBreakers | None = None
        self.breaker: CircuitBreaker | None = None
        if isinstance(breaker, CircuitBreakers):
            self.breakers = breaker
        else:
            self.breaker = breaker
        self.targets: Targets | None = targets
        self.ways: tuple[CircuitBreaker, ...] = ()
        if targets is not None:
            if self.breakers is None:
                self.breakers = CircuitBreakers()
            self.ways = tuple(map(self.breakers.keep, targets.endpoints))
        starts = [(way, (way.target,)) for way in self.ways]
        self.starts: tuple[tuple[CircuitBreaker, tuple[Endpoint | None, ...]], ...] = tuple(starts)
        if targets is not None and targets.order == "shuffled":
            self.starts = _Anywhere(starts)
        self._heard = float("-inf")
        self.gives_coroutines: bool = False
        self.engine: Engine = engine_of(policy)
        signatures.prepare()
        self.multiplies: bool = _opted_in(policy.retry)
        self.warned: bool = False

    @property
    def title(self) -> str:
        """The policy, by its name, and its call, for a log line."""
        name = self.policy.name
        return f"of {self.call}" if name is None else f"{scrub(name)} of {self.call}"

    def without_self(self) -> Plan:
        """Return this plan for the function of a bound method: its target is asked without the object."""
        ask = self.find_target
        if ask is None:
            return self
        return Plan(
            self.policy,
            self.call,
            lambda _, *args, **kwargs: ask(*args, **kwargs),
            self.cancellation,
            self.breaker if self.breakers is None else self.breakers,  # empty ones are false
        )

    def first(self) -> CircuitBreaker:
        """Return the circuit of the endpoint that a new call tries first."""
        assert self.targets is not None
        return self.starts[self.targets.current_place][0]

    def beats(self, now: float) -> bool:
        """Whether a quiet log should show that a call goes to another endpoint: once in ten seconds."""
        beats = now - self._heard >= HEARTBEAT
        if beats:
            self._heard = now
        return beats

    def ask_for_target(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Endpoint | None:
        """Return the target of a call, or None where the callable that should name it fails: it changes nothing."""
        ask = self.find_target
        if ask is None:
            return self.endpoint
        try:
            return Endpoint.parse(ask(*args, **kwargs))
        except Exception as problem:  # noqa: BLE001  # isolated like an observer
            logs.complain(logs.name_of(ask), "target=", problem)
            return None

    def breaker_for(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CircuitBreaker | None:
        """Return the breaker of a call: the one there is, or that of its endpoint; None: it has none."""
        if self.ways:
            return self.first()
        if self.breakers is None:
            return self.breaker
        endpoint = self.ask_for_target(args, kwargs)
        return None if endpoint is None else self.breakers[endpoint]


class _Anywhere(tuple[Any, ...]):
    """Whichever place is asked for, it gives any: so that the calls that begin at one place need not ask which."""

    __slots__ = ()

    def __getitem__(self, _: Any) -> Any:
        return super().__getitem__(int(random.random() * len(self)))


def _opted_in(strategy: object) -> bool:
    """Whether `retry_if_refused(exhausted=True)` stands anywhere in a retry strategy."""
    if isinstance(strategy, RetryIf):
        return strategy.exhausted
    parts = getattr(strategy, "retries", ())
    return isinstance(parts, (tuple, list)) and any(map(_opted_in, parts))
