"""Wait until a target serves: a handshake or a ping through the real driver, and not a port that merely accepts."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from . import clock, logs
from ._scrub import describe
from .backoff import Backoff, seconds
from .breaker import CircuitBreakers
from .clients import client_of, driver_for
from .clients._extras import how_to_install
from .decorators import retry_on_refused
from .endpoint import Endpoint
from .errors import NotServingError, PolicyError, WaitTimeoutError
from .failover import Targets, split
from .policy import Policy
from .refusal import kind_of

__all__ = ["wait_for", "wait_for_async"]

LONGEST_HELLO: Final = 5.0
"""Seconds that one connect and its hello are given, where a driver takes a timeout."""

SOON: Final = Backoff(maximum=0.4)
"""How often it is asked: a server that begins to serve is noticed within 0.5 s (measured: 0.13 s in the mean, 0.28 s at
most, over 20 recoveries of a PostgreSQL; with the cap of `Policy.startup()`, 1 s, 0.39 s and 0.74 s)."""

STABLE_PAUSE: Final = 0.25
"""Seconds between two hellos to a server that is to stay up for a while."""


def wait_for(
    target: object,
    *,
    timeout: float | timedelta | None = 60.0,
    policy: Policy | None = None,
    stable_for: float | timedelta = 0.0,
) -> None:
    """Return when a target serves: it has answered a handshake or a ping through its own driver.

    Waits while the connection is refused, the server says that it is starting up, the name does not resolve, nothing
    answers in time, or the connection ends at once; fails at once where waiting cannot help.

    Args:
        target: a URL with credentials as the driver reads it, "host:port", "unix:///path", "env:NAME", an `Endpoint`;
            `Targets`, or a text that names several hosts: then one of them that serves is enough, asked for in the
            order of `retry_on_refused(targets=...)`; an engine, client or pool that `guard` knows; or a function that
            connects, whose result is closed.
        timeout: seconds; it replaces the policy's deadline. None: no limit.
        policy: how often to try and who is told; default `Policy.startup()`, with pauses of 0.4 s at most.
        stable_for: seconds for which it must go on serving before it counts.

    Raises:
        WaitTimeoutError: it did not serve in time; `last_error` is what came last.
        TargetError: the text cannot be read.
        TypeError: it is nothing that can be waited for here; an asynchronous client needs `wait_for_async`.
        PolicyError: a number makes no sense.
        Exception: the client's own, at once, where waiting cannot help: a wrong password, an unknown database.
    """
    wait = _Wait(target, timeout, policy, stable_for)

    def attempt(endpoint: Endpoint | None = None) -> None:
        wait.hello_sync(endpoint)
        since = clock.now()
        while (left := wait.still_to_be_stable(since)) > 0:
            clock.sleep(left, None, wait)
            wait.hello_sync(endpoint)

    try:
        wait.protect(attempt)()
    except Exception as error:
        wait.reraise(error)
        raise


async def wait_for_async(
    target: object,
    *,
    timeout: float | timedelta | None = 60.0,
    policy: Policy | None = None,
    stable_for: float | timedelta = 0.0,
) -> None:
    """Return when a target serves, as `wait_for` does, without stopping the event loop; on asyncio or trio.

    Args:
        target: as for `wait_for`, and asynchronous clients, engines and pools. What can only be asked by blocking is
            asked on a thread.
        timeout: as for `wait_for`.
        policy: as for `wait_for`.
        stable_for: as for `wait_for`.

    Raises:
        WaitTimeoutError: it did not serve in time; and whatever else `wait_for` raises.
    """
    wait = _Wait(target, timeout, policy, stable_for)

    async def attempt(endpoint: Endpoint | None = None) -> None:
        await wait.hello_async(endpoint)
        since = clock.now()
        while (left := wait.still_to_be_stable(since)) > 0:
            await clock.sleep_async(left, None, wait)
            await wait.hello_async(endpoint)

    try:
        await wait.protect(attempt)()
    except Exception as error:
        wait.reraise(error)
        raise


class _Wait:
    """One wait: how to say hello, for how long, and what its end means."""

    def __init__(
        self, target: object, timeout: float | timedelta | None, policy: Policy | None, stable_for: float | timedelta
    ) -> None:
        chosen = Policy.startup().replace(backoff=SOON) if policy is None else policy
        if not isinstance(chosen, Policy):
            raise TypeError(f"policy must be a Policy, not {type(policy).__name__}")
        self.policy = chosen.replace(deadline=timeout, retry=_is_worth_waiting)
        self.stable_for = seconds("stable_for", stable_for)
        if self.stable_for < 0:
            raise PolicyError(f"stable_for must be 0 seconds or more, not {stable_for!r}")
        self.endpoint: Endpoint | None = None
        self.targets: Targets | None = None  # where one of several is enough
        self.hellos: dict[Endpoint | None, Callable[[float], Any]] = {}
        self.name: str
        self._ask(target)
        self.over: bool = False  # as a caller of `clock.sleep`
        self.started = clock.now()

    def _ask(self, target: object) -> None:
        if isinstance(target, (str, Endpoint, Targets)):
            texts = target.endpoints if isinstance(target, Targets) else (target,)
            several = [its for text in texts for its in split(text)]
            self.hellos = {endpoint: hello_to(text, endpoint) for endpoint, text in several}
            if len(several) > 1:
                self.targets = target if isinstance(target, Targets) else Targets(target)
                self.name = str(self.targets)
            else:
                self.endpoint, _ = several[0]
                self.hellos[None] = self.hellos[self.endpoint]
                self.name = str(self.endpoint)
            return
        client = client_of(target)
        self.name = getattr(target, "__qualname__", None) or type(target).__qualname__
        if client is not None and not inspect.isroutine(target) and not isinstance(target, type):
            self.hellos[None] = lambda _: client.ping(target)
        elif callable(target):
            self.hellos[None] = lambda _: target()
        else:
            raise TypeError(
                f"wait_for does not know how to ask {type(target).__name__} whether it serves: give it a URL, a "
                "client, pool or engine that guard() knows, or a function that connects"
            )

    def hello_sync(self, endpoint: Endpoint | None) -> None:
        """Say hello and leave."""
        result = self.hellos[endpoint](self.hello_timeout())
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError(f"{self.name} is asynchronous: use `await wait_for_async(...)`")
        close = getattr(result, "close", None)  # of a function that connects
        if callable(close):
            close()

    async def hello_async(self, endpoint: Endpoint | None) -> None:
        """Say hello and leave; what blocks does so on a thread."""
        result = await _on_a_thread(self.hellos[endpoint], self.hello_timeout())
        if inspect.isawaitable(result):
            result = await result
        for name in ("aclose", "close"):
            close = getattr(result, name, None)
            if callable(close):
                closing = close()
                if inspect.isawaitable(closing):
                    await closing
                return

    def protect(self, attempt: Callable[[Endpoint | None], Any]) -> Callable[[], Any]:
        if self.targets is not None:
            attempt.__qualname__ = "wait_for"
            return retry_on_refused(attempt, policy=self.policy, targets=self.targets, breaker=_never_open())
        attempt.__qualname__ = "wait_for" if self.endpoint is not None else f"wait_for {self.name}"
        return retry_on_refused(functools.partial(attempt, None), policy=self.policy, target=self.endpoint)

    def remaining(self) -> float | None:
        deadline = self.policy.deadline
        return None if deadline is None else self.started + deadline - clock.now()

    def hello_timeout(self) -> float:
        remaining = self.remaining()
        return LONGEST_HELLO if remaining is None else min(LONGEST_HELLO, max(0.25, remaining))

    def still_to_be_stable(self, since: float) -> float:
        """Return seconds until the next hello, or 0: it has served for long enough."""
        now = clock.now()
        left = since + self.stable_for - now
        remaining = self.remaining()
        if left > 0 and remaining is not None and remaining <= 0:
            raise WaitTimeoutError(
                f"{self.name} has served for {now - since:.2f} s only, of the {self.stable_for:g} s that were asked "
                f"for, after {now - self.started:.1f} s",
                elapsed=now - self.started,
            )
        return min(left, STABLE_PAUSE)

    def reraise(self, error: Exception) -> None:
        """Raise the error that says what the end of the waiting means, if the client's own does not."""
        if not isinstance(error, WaitTimeoutError) and worth_waiting(error):
            elapsed = clock.now() - self.started
            raise WaitTimeoutError(
                f"{self.name} did not serve within {elapsed:.1f} s; last: {describe(error)}",
                elapsed=elapsed,
                last_error=error,
            ) from error


def worth_waiting(error: BaseException) -> bool:
    """Whether a hello that failed so may succeed later: it is not hopeless, and not a mistake in the program."""
    kind = kind_of(error)
    if kind is not None:
        return kind != "hopeless"
    return isinstance(error, (OSError, EOFError)) or (isinstance(error, Exception) and not _is_a_mistake(error))


def _is_a_mistake(error: Exception) -> bool:
    """Whether it is one of Python's own errors, which no client raises for what its server does."""
    return type(error).__module__ == "builtins"


def _is_worth_waiting(state: Any) -> bool:
    return worth_waiting(state.outcome.exception())


def _never_open() -> CircuitBreakers:
    """Return circuits that leave the pace to the policy: somebody waits, and tries again and again."""
    return CircuitBreakers(trip_after=1_000_000_000, observers=())


def hello_to(text: str, endpoint: Endpoint) -> Callable[[float], Any]:
    """Return what says hello to a text: its driver, or a few bytes by hand, or a connect and no more."""
    driver = driver_for(endpoint.scheme) if "://" in text else None
    if driver is not None:
        from ._handshakes._doubts import Doubted

        return Doubted(functools.partial(driver.serves, text), endpoint)
    from ._handshakes import HANDSHAKES, PATIENCE, shake

    if endpoint.scheme not in HANDSHAKES:
        advice = f" ({how})" if (how := how_to_install(endpoint.scheme)) else ""
        what = "wait_for %s: no driver for it is installed%s, so a port that accepts counts"
        logs.say(logging.WARNING, what, endpoint, advice)

    patience: float | None = None

    def hello(timeout: float) -> None:
        nonlocal patience
        answer = shake(endpoint, timeout=timeout, patience=patience)
        if answer.kind == "closed":  # once is enough to know it for a proxy: it has to hold out longer from now on
            patience = PATIENCE
        if answer.kind != "serves":
            raise NotServingError(f"{endpoint}: {answer.text}", answer.kind)

    return hello


async def _on_a_thread(function: Callable[[float], Any], timeout: float) -> Any:
    if clock.in_trio():
        import trio

        return await trio.to_thread.run_sync(function, timeout, abandon_on_cancel=True)
    import asyncio

    return await asyncio.to_thread(function, timeout)
