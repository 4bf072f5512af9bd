"""One circuit breaker, shared by threads, event loops and plain and asynchronous code at once."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeAlias, TypeVar

from .. import _circuit, clock, events, logs
from .._circuit import OUTCOMES, Circuit, CircuitState, Outcome, Permit, Rules
from .._parking import Lot, Waiter
from .._scrub import describe, scrub
from .._values import Value
from .._wrapping import name_of, refuse_unfit, wrap
from ..backoff import Backoff, seconds
from ..endpoint import Endpoint
from ..errors import CircuitOpenError, PolicyError
from ..events import CallRejected, CircuitChanged, Observer
from ..logs import log_events
from ..refusal import is_not_ready, judge, kind_of, turned_away

if TYPE_CHECKING:
    import contextlib

    from typing_extensions import Self

P = ParamSpec("P")
T = TypeVar("T")

Counts: TypeAlias = "Callable[[BaseException], object] | type[BaseException] | tuple[type[BaseException], ...]"

HEARTBEAT: Final = 10.0
"""Seconds between two log lines that say that calls are parked."""

_forked = threading.Lock()
"""Held while a child process puts a breaker in order; its parent never takes it for long enough to fork meanwhile."""

_DEFAULT_COOLDOWN: Final = Backoff(initial=0.1, maximum=1.0)


class CircuitSnapshot(Value):
    """A circuit breaker at one moment.

    Attributes:
        name: of the breaker.
        state: "closed", "open", "half-open" or "isolated".
        epoch: number of the state; it grows by one with each change.
        failures: consecutive failures, while closed.
        openings: how often it opened since it was last closed.
        cooldown: seconds of the latest opening; 0 while closed.
        retry_after: seconds until a probe may go; 0: at once; None where that is not known.
        probing: whether a probe is under way.
        parked: how many calls wait on it in this process.
        last_error: text of the failure that opened it last, scrubbed, or None.
    """

    name: str
    state: CircuitState
    epoch: int
    failures: int
    openings: int
    cooldown: float
    retry_after: float | None
    probing: bool
    parked: int
    last_error: str | None


class CircuitBreaker:
    """Lets one call probe a dead endpoint while all others wait or fail at once.

    One breaker per dependency, shared by all its callers. Give it to `retry_on_refused(breaker=...)`, or use it alone:
    as a decorator, `with breaker:`, `async with breaker:`, `breaker.call(function, ...)`,
    `await breaker.acall(function, ...)`, or in two steps, `permit = breaker.admit()` and
    `breaker.settle(permit, outcome)`.

    Closed: calls go through; `trip_after` consecutive failures open it. Open: calls are turned away with
    `CircuitOpenError`, until the cooldown is over. Half-open: one probe at a time; its success closes the circuit, its
    failure opens it again for longer. Isolated: held open by hand.

    Args:
        name: what it protects, for events, logs and errors.
        trip_after: consecutive failures that open it. Default 5: one lost packet is no outage.
        cooldown: how long it stays open, growing while it keeps failing. Default 0.1 to 1 s: one probe a second from a
            whole process costs nobody anything, and recovery is noticed soon.
        probe_timeout: seconds until a probe that has not reported may be replaced. Default 30.
        counts: what a failure is, a predicate of the exception or exception types. Default `is_not_ready`: the
            endpoint refused, or says that it is starting up. Any other error is an answer, and a success, but for
            errors that leave it open (unresolved, unreachable, timed out): they are no vote while the circuit is
            closed, and a failure of a probe.
        close_after: consecutive successful probes that close it. Default 1.
        observers: callables that are told each event. Default: `log_events`.

    Raises:
        PolicyError: a setting is wrong; it names the setting and the value.
    """

    __slots__ = (
        "__weakref__",
        "_changes",
        "_circuit",
        "_counts",
        "_last_error",
        "_lock",
        "_lot",
        "_pid",
        "_rules",
        "_telling",
        "name",
        "observers",
        "sound",
        "target",
        "used_at",
    )

    name: str
    observers: tuple[Observer, ...]
    target: Endpoint | None
    sound: Permit | None
    used_at: float

    def __init__(
        self,
        name: str,
        *,
        trip_after: int = 5,
        cooldown: Backoff = _DEFAULT_COOLDOWN,
        probe_timeout: float | timedelta = 30.0,
        counts: Counts = is_not_ready,
        close_after: int = 1,
        observers: Iterable[Observer] = (log_events,),
    ) -> None:
        from ._settings import check_count, check_counts, check_name  # only who makes a breaker pays for it

        self.name = check_name(name)
        if not isinstance(cooldown, Backoff):
            raise PolicyError(
                f"CircuitBreaker.cooldown must be a Backoff, not {cooldown!r}: write Backoff(maximum=...)"
            )
        if cooldown.maximum == 0:
            raise PolicyError("CircuitBreaker.cooldown must be longer than 0 seconds, or probes follow back to back")
        timeout = seconds("CircuitBreaker.probe_timeout", probe_timeout)
        if timeout <= 0:
            raise PolicyError(f"CircuitBreaker.probe_timeout must be greater than 0 seconds, not {probe_timeout!r}")
        self._rules = Rules(
            trip_after=check_count("trip_after", trip_after),
            close_after=check_count("close_after", close_after),
            probe_timeout=timeout,
            cooldown=cooldown.delay,
        )
        self._counts = check_counts(counts)
        self.observers = logs.check_observers("CircuitBreaker.observers", observers)
        self.target = None
        self.used_at = 0.0
        self._last_error: str | None = None
        self._begin()
        self._set(Circuit())

    def _begin(self) -> None:
        # Re-entrant: a signal handler or a finaliser that runs in the middle may use the breaker as well.
        self._lock = threading.RLock()
        self._lot = Lot()
        self._changes: deque[CircuitChanged] = deque()
        self._telling = False
        self._pid = os.getpid()

    def _set(self, circuit: Circuit) -> None:
        self.sound = None  # first, so that an interrupt in between leaves nobody a permit of another state
        self._circuit = circuit
        if circuit.state == "closed" and not circuit.failures:
            self.sound = Permit(circuit.epoch)  # the one for all calls, until something changes: no lock is needed

    # What a person sees.

    @property
    def state(self) -> CircuitState:
        """ "closed", "open", "half-open" or "isolated"."""
        return self._circuit.state

    def snapshot(self) -> CircuitSnapshot:
        """Return the breaker as it is at this moment."""
        self._check_process()
        circuit, now = self._circuit, clock.now()
        return CircuitSnapshot(
            name=self.name,
            state=circuit.state,
            epoch=circuit.epoch,
            failures=circuit.failures,
            openings=circuit.openings,
            cooldown=circuit.cooldown,
            retry_after=_retry_after(circuit, now),
            probing=circuit.lease_until is not None,
            parked=len(self._lot),
            last_error=self._last_error,
        )

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self._circuit.state}>"

    def __reduce__(self) -> Any:
        raise TypeError("a CircuitBreaker belongs to one process and cannot be pickled: make one in each process")

    # The human hand.

    def isolate(self) -> None:
        """Hold the circuit open until `release()`: every call fails at once, and those that are parked as well."""
        self._turn(lambda circuit: _circuit.isolate(circuit, clock.now()))

    def release(self) -> None:
        """End `isolate()`. The circuit is half-open then: the next call finds out how things stand."""
        self._turn(_circuit.release)

    def reset(self) -> None:
        """Close the circuit, whatever it was. Results of calls that are under way are not counted any more."""
        self._turn(_circuit.reset)

    # Two steps.

    def admit(self) -> Permit:
        """Ask for leave to call. Each permit is to be settled: `settle(permit, outcome)`.

        Raises:
            CircuitOpenError: the circuit is open, isolated, or another call probes.
        """
        permit = self.try_admit()
        if permit is None:
            raise self._rejected(None)
        return permit

    def settle(self, permit: Permit, outcome: Outcome | BaseException) -> bool:
        """Say how an admitted call ended, once.

        Args:
            permit: what `admit()` returned.
            outcome: "success", "failure", "inconclusive" (no vote while the circuit is closed, a failure of a probe) or
                "neutral" (no vote; a probe is given back at once); or the exception that ended the call.

        Returns:
            False if the permit was settled before: it is not counted again.

        Raises:
            TypeError: it is not a permit. ValueError: there is no such outcome.
        """
        if not isinstance(permit, Permit):
            raise TypeError(f"settle takes what admit() returned, not {type(permit).__name__}")
        error = outcome if isinstance(outcome, BaseException) else None
        said = self.outcome_of(error) if error is not None else outcome
        if said not in OUTCOMES:
            raise ValueError(f"outcome must be one of {', '.join(OUTCOMES)}, or an exception, not {outcome!r}")
        with self._entered():
            if permit._settled:
                return False
            permit._settled = True
        self.vote(permit, said, error)
        return True

    # Round a call.

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function through the breaker and return what it returns; its errors pass untouched.

        Raises:
            CircuitOpenError: the function was not called.
        """
        permit = self.sound
        if permit is None:
            permit = self._admitted(function)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self.vote(permit, self.outcome_of(error), error)
            raise
        if type(result) is CoroutineType:
            return self._awaited(permit, result)  # type: ignore[return-value]  # a coroutine as well
        if self.sound is not permit:
            self.vote(permit, "success")
        return result

    async def acall(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await a coroutine function through the breaker; twin of `call`."""
        permit = self.sound
        if permit is None:
            permit = self._admitted(function)
        return await self._awaited(permit, function(*args, **kwargs))  # type: ignore[no-any-return]

    async def _awaited(self, permit: Permit, coroutine: Any) -> Any:
        try:
            result = await coroutine
        except BaseException as error:
            self.vote(permit, self.outcome_of(error), error)
            raise
        if self.sound is not permit:
            self.vote(permit, "success")
        return result

    def __call__(self, function: Callable[P, T], /) -> Callable[P, T]:
        """Decorate a function, coroutine function, method, class or callable object: each call goes through `call`."""
        refuse_unfit("a circuit breaker", function, "counted. Decorate the function that connects")

        def protect(thing: Any, coroutine: bool, bound: bool) -> Any:
            if coroutine:

                async def protected_async(*args: Any, **kwargs: Any) -> Any:
                    return await self.acall(thing, *args, **kwargs)

                return protected_async

            def protected(*args: Any, **kwargs: Any) -> Any:
                return self.call(thing, *args, **kwargs)

            return protected

        return wrap(function, protect)  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        permit = self.sound
        _push(self, self._admitted(None) if permit is None else permit)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        permit = _pop(self)
        if error is not None:
            self.vote(permit, self.outcome_of(error), error)
        elif self.sound is not permit:
            self.vote(permit, "success")

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    # What the drivers of a retried call use.

    def outcome_of(self, error: BaseException) -> Outcome:
        """Return what an error says of the endpoint: "failure" if it counts; "neutral" for an interrupt."""
        if not isinstance(error, Exception) or turned_away(error) is not None:
            return "neutral"  # also a call that another circuit turned away: it has asked nobody
        try:
            if self._counts(error):
                return "failure"
        except Exception as problem:  # noqa: BLE001  # the application's predicate must not replace the error
            logs.complain(f"counts= of circuit {self.name}", type(error).__name__, problem)
            if is_not_ready(error):
                return "failure"
        return "inconclusive" if kind_of(error) in ("unresolved", "unreachable") else "success"

    def try_admit(self) -> Permit | None:
        """Return a permit, or None where the call may not go now."""
        circuit, now = self._circuit, clock.now()
        if circuit.state == "isolated" or (circuit.state == "open" and now < circuit.until):
            return None  # the usual rejection takes no lock
        with self._entered():
            circuit, permit = _circuit.admit(self._circuit, self._rules, now)
            woken = self._change_locked(circuit, None)
            if self.sound is None and circuit.state == "closed" and not circuit.failures:
                self._set(circuit)
        self._after(woken)
        return permit

    def vote(self, permit: Permit, outcome: Outcome, error: BaseException | None = None) -> None:
        """Count the result of an admitted call."""
        if permit is self.sound and outcome != "failure":
            return  # closed and healthy: nothing to change
        text = None
        if error is not None and outcome != "success" and permit.epoch == self._circuit.epoch:
            text = describe(judge(error)[1])
        with self._entered():
            now = clock.now()
            before = self._circuit
            woken = self._change_locked(_circuit.settle(before, self._rules, permit, outcome, now), text)
        self._after(woken)

    def blocks(self) -> bool:
        """Whether a call that has just failed should park, and not try again by itself."""
        return self._circuit.state != "closed" or len(self._lot) > 0

    def reachable_before(self, moment: float) -> bool:
        """Whether the circuit may let a probe through before this moment."""
        circuit = self._circuit
        return circuit.state != "isolated" and not (circuit.state == "open" and circuit.until > moment)

    def park(self, waiter: Waiter) -> bool:
        """Let a call wait here; return whether the log should say so."""
        with self._entered():
            lot, circuit, now = self._lot, self._circuit, clock.now()
            woken = lot.enter(waiter)
            # The first of an outage, and then one in ten seconds.
            heartbeat = circuit.state != "closed" and (
                lot.announced != circuit.since or now - lot.announced_at >= HEARTBEAT
            )
            if heartbeat:
                lot.announced, lot.announced_at = circuit.since, now
        self._after(woken)
        return heartbeat

    @property
    def last_error(self) -> str | None:
        """Text of the failure that opened it last, scrubbed, or None."""
        return self._last_error

    @property
    def parked(self) -> int:
        """How many calls wait here."""
        return len(self._lot)

    def ask(self, waiter: Waiter) -> float | None:
        """Return how many seconds a parked call has to wait, infinity until it is woken; None: it may try now."""
        with self._entered():
            now, lot, circuit = clock.now(), self._lot, self._circuit
            waiter.heard = False
            woken: list[Waiter] = []
            answer: float | None
            if waiter.batch:
                answer = None
            elif circuit.state == "isolated":
                answer = float("inf")
            else:
                closed = circuit.state == "closed"
                due = lot.due(waiter, None if closed else _circuit.next_probe(circuit))
                answer = float("inf") if due is None else due - now
                if answer <= 0:
                    answer = None
                    woken = lot.release(now, waiter) if closed else lot.take_turn(waiter, now)
        self._after(woken)
        return answer

    def leave(self, waiter: Waiter) -> None:
        """Take a call out of the line; its turn passes on."""
        with self._entered():
            woken = self._lot.leave(waiter)
        self._after(woken)

    def settled(self, waiter: Waiter, outcome: Outcome) -> None:
        """Say how the attempt of a call ended that was parked here."""
        if not waiter.batch:
            return
        with self._entered():
            refused = outcome in ("failure", "inconclusive")
            woken = self._lot.settled(waiter, refused, clock.now(), self._pause)
            waiter.batch = 0
        self._after(woken)

    def rejection(self) -> CircuitOpenError:
        """Return the error for a call that may not go."""
        error = CircuitOpenError(self.name, _retry_after(self._circuit, clock.now()), self._last_error)
        error._source = self
        return error

    # Inside.

    def _pause(self) -> float:
        return self._rules.cooldown(1, 0.0)

    def _admitted(self, function: Any) -> Permit:
        permit = self.try_admit()
        if permit is None:
            raise self._rejected(function)
        return permit

    def _rejected(self, function: Any) -> CircuitOpenError:
        error = self.rejection()
        observers = self.observers
        if events.taps or any(it is not log_events for it in observers) or logs.logs_rejections():
            logs.tell(
                observers,
                CallRejected(
                    call=self.name if function is None else scrub(name_of(function)),
                    policy=None,
                    target=self.target,
                    attempt=0,
                    elapsed=0.0,
                    breaker=self.name,
                    state=self._circuit.state,
                    retry_after=error.retry_after,
                    error_text=self._last_error or "",
                ),
            )
        return error

    def _turn(self, change: Callable[[Circuit], Circuit]) -> None:
        with self._entered():
            woken = self._change_locked(change(self._circuit), None)
        self._after(woken)

    def _entered(self) -> contextlib.AbstractContextManager[object]:
        self._check_process()
        return self._lock

    def _check_process(self) -> None:
        """Put the breaker in order after a fork: nobody of the parent's waits or probes in the child."""
        if self._pid != os.getpid():
            with _forked:
                if self._pid != os.getpid():
                    self._begin()
                    self._set(_circuit.drop_probe(self._circuit))

    def _change_locked(self, circuit: Circuit, text: str | None) -> list[Waiter]:
        """Put a new circuit in the place of the old one; return whom to wake."""
        before, now = self._circuit, clock.now()
        if circuit is before:
            return []
        self._set(circuit)
        if circuit.epoch == before.epoch:
            # A probe that was given back, or the first of several: the next one may go.
            return self._lot.opened(now) if circuit.lease_until is None and before.lease_until is not None else []
        if text is not None and circuit.state == "open":
            self._last_error = text
        if circuit.state != before.state and (self.observers or events.taps):
            self._changes.append(self._changed(before, circuit, now))
        if circuit.state == "closed":
            return self._lot.closed(now)
        if circuit.state == "isolated":
            return self._lot.everybody()
        if circuit.lease_until is not None:
            return []  # the one who makes it half-open probes
        return self._lot.opened(now)

    def _changed(self, before: Circuit, circuit: Circuit, now: float) -> CircuitChanged:
        is_open = circuit.state == "open"
        return CircuitChanged(
            call=self.name,
            policy=None,
            target=self.target,
            attempt=0,
            elapsed=max(0.0, now - circuit.since),
            breaker=self.name,
            state=circuit.state,
            previous=before.state,
            epoch=circuit.epoch,
            reason=circuit.reason,
            cooldown=circuit.cooldown if is_open else 0.0,
            openings=circuit.openings,
            error_text=(self._last_error or "") if is_open else "",
        )

    def _after(self, woken: list[Waiter]) -> None:
        """Without the lock: wake who has to hear, and tell the observers what changed."""
        for waiter in woken:
            if not waiter.wake():  # its event loop is closed: its turn passes on
                self.leave(waiter)
                self.settled(waiter, "neutral")
        while self._changes:
            # One thread tells, so that the changes are told in their order; an observer that blocks or calls back
            # keeps nobody else from going on.
            mine = False
            try:
                with self._lock:
                    if self._telling or not self._changes:
                        return
                    mine = True
                    self._telling = True
                while self._changes:
                    logs.tell(self.observers, self._changes.popleft())
            finally:
                if mine:
                    self._telling = False


def _retry_after(circuit: Circuit, now: float) -> float | None:
    if circuit.state == "open":
        return max(0.0, circuit.until - now)
    if circuit.state == "isolated" or circuit.lease_until is not None:
        return None
    return 0.0


# `with breaker:` in each thread and task: a stack of (breaker, permit, what is below).

_open_blocks: Any = None


def _blocks() -> Any:
    global _open_blocks
    if _open_blocks is None:
        from contextvars import ContextVar  # loaded by who uses the block form

        with _forked:
            if _open_blocks is None:
                _open_blocks = ContextVar("resilient.breaker.blocks", default=None)
    return _open_blocks


def _push(breaker: CircuitBreaker, permit: Permit) -> None:
    blocks = _blocks()
    blocks.set((breaker, permit, blocks.get()))


def _pop(breaker: CircuitBreaker) -> Permit:
    blocks = _blocks()
    above: list[tuple[CircuitBreaker, Permit]] = []
    block = blocks.get()
    while block is not None and block[0] is not breaker:  # generators may leave their blocks in any order
        above.append(block[:2])
        block = block[2]
    if block is None:
        raise RuntimeError(f"a block of circuit {breaker.name!r} ends in another context than it began in")
    rest = block[2]
    for other, its in reversed(above):
        rest = (other, its, rest)
    blocks.set(rest)
    permit: Permit = block[1]
    return permit
