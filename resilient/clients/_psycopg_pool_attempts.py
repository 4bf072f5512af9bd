"""What a pool of psycopg_pool knows of its connects, and how the policy decides about its own attempts at them."""

from __future__ import annotations

import sys
from typing import Any

from .. import clock
from .._recovery import Plan, Recovery
from .._traces import release_frames
from ..breaker import CircuitBreaker, CircuitBreakers
from ..endpoint import Endpoint
from ..errors import CircuitOpenError, TargetError
from . import psycopg as _psycopg
from ._shield import Shield, unguarded


class Memory:
    """What one pool knows of its connects.

    Attributes:
        last: why it could not connect the last time; None where it could.
    """

    def __init__(self, shield: Shield) -> None:
        self.shield = shield
        self.last: Exception | None = None
        self.made: tuple[Plan, CircuitBreaker | None, Any] | None = None

    def of(self, pool: Any) -> tuple[Plan, CircuitBreaker | None, Any]:
        """Return the plan of a connect of the pool, its circuit, and what protects the getting of a connection."""
        if self.made is None:
            shield, where = self.shield, self._where(pool)
            breaker = shield.breaker
            if isinstance(breaker, CircuitBreakers):
                breaker = None if where is None else breaker[where]
            policy = shield.policy
            if policy.deadline is None or pool.timeout < policy.deadline:
                policy = policy.replace(deadline=max(pool.timeout, 0.001))
            get = unguarded(type(pool)).getconn
            protected = Shield(policy, None, where).protect(get, target=None, unavailable=None)
            self.made = Plan(shield.policy, f"psycopg_pool {pool.name}", where, None), breaker, protected
        return self.made

    def _where(self, pool: Any) -> Endpoint | None:
        given = self.shield.target
        if given is not None and not callable(given):
            return Endpoint.parse(given)
        if callable(pool.conninfo) or callable(pool.kwargs):  # asked anew for each connect
            return None
        try:
            return Endpoint.parse((given or _psycopg.target)(pool.conninfo or "", **(pool.kwargs or {})))
        except TargetError:
            return None

    def explain(self, error: Exception, since: float, timeout: float) -> Exception:
        """Return the pool's own error with what it knows of the cause."""
        if self.last is None:
            return error
        if clock.now() - since < timeout - 0.1:
            error = type(error)("couldn't get a connection: the pool gave up connecting, its policy has ended")
        error.__cause__ = self.last
        return error


class Attempts:
    """The attempts at one connection of a pool: stands where the pool has its own backoff, and asks the policy."""

    def __init__(self, memory: Memory, pool: Any) -> None:
        self.delay = 0.0
        self.failed = False
        self._memory = memory
        self._plan = memory.of(pool)[0]
        self._started = clock.now()
        self._recovery: Recovery | None = None
        self._counted = False

    def may_go(self) -> bool:
        """Say, before an attempt, whether it may be made: the policy is asked again after each pause."""
        self.failed = False
        if self._counted and self._recovery is not None:
            self._recovery.woken()
            return not self._recovery.over
        return True

    def time_to_give_up(self, now: float) -> bool:
        """Decide, where the pool handles the error of a connect, what follows it."""
        error = sys.exc_info()[1] or self._memory.last
        assert isinstance(error, Exception)
        self.failed, self._counted = True, False
        if isinstance(error, CircuitOpenError):
            return self._circuit_is_open(error)
        if self._recovery is None:
            self._recovery = Recovery(self._plan, self._started, (), {})
        step = self._recovery.failed(error)
        if self._recovery.question is not None:  # its port could be asked; a worker of the pool has no time to
            step = self._recovery.answered(refused=False)
        self._counted = step is not None
        self.delay = step or 0.0
        return step is None

    def _circuit_is_open(self, opened: CircuitOpenError) -> bool:
        """No attempt was made: come back when the circuit may let one through, if that is in time."""
        breaker, deadline = getattr(opened, "_source", None), self._plan.policy.deadline
        self.delay = max(opened.retry_after or 0.0, 0.02)
        if not clock.patience or getattr(breaker, "state", None) == "isolated":
            return True
        return deadline is not None and clock.now() + self.delay > self._started + deadline

    def update_delay(self, now: float) -> None:
        """Do nothing: the delay is known already."""

    def ended(self) -> None:
        """Tell how an attempt went."""
        if self._memory.last is not None and self.failed:
            release_frames(self._memory.last, handled=sys.exc_info()[1])
        if not self.failed and self._recovery is not None:
            self._recovery.succeeded()
