"""One circuit breaker, shared by threads, event loops and plain and asynchronous code at once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeAlias, TypeVar

from .. import _circuit, clock, events, logs
from .._circuit import OUTCOMES, Circuit, CircuitState, Outcome, Permit, Rules
from .._scrub import scrub, type_name
from .._values import Value
from .._wrapping import name_of, refuse_unfit, wrap
from ..backoff import Backoff, seconds
from ..endpoint import Endpoint
from ..errors import CircuitOpenError, PolicyError
from ..events import CallRejected, Observer
from ..logs import log_events
from ..refusal import is_not_ready, kind_of, turned_away
from . import _context
from ._core import Core, retry_after

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
T = TypeVar("T")

Counts: TypeAlias = "Callable[[BaseException], object] | type[BaseException] | tuple[type[BaseException], ...]"

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


class CircuitBreaker(Core):
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

    __slots__ = ("_counts", "_last_block", "_listens")

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

        self.name: str = check_name(name)
        if not isinstance(cooldown, Backoff):
            raise PolicyError(
                f"CircuitBreaker.cooldown must be a Backoff, not {cooldown!r}: write Backoff(maximum=...)"
            )
        if cooldown.maximum == 0:
            raise PolicyError("CircuitBreaker.cooldown must be longer than 0 seconds, or probes follow back to back")
        timeout = seconds("CircuitBreaker.probe_timeout", probe_timeout)
        if timeout <= 0:
            raise PolicyError(f"CircuitBreaker.probe_timeout must be greater than 0 seconds, not {probe_timeout!r}")
        self._rules: Rules = Rules(
            trip_after=check_count("trip_after", trip_after),
            close_after=check_count("close_after", close_after),
            probe_timeout=timeout,
            cooldown=cooldown.delay,
        )
        self._counts = check_counts(counts)
        self.observers: tuple[Observer, ...] = logs.check_observers("CircuitBreaker.observers", observers)
        self._listens = any(it is not log_events for it in self.observers)
        self.target: Endpoint | None = None
        self.used_at: float = 0.0
        self.kept: bool = False
        self._last_block: Permit | None = None  # the probe of a `with` block
        _context.prepare()
        self._begin(Circuit())

    # What a person sees.

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
            retry_after=retry_after(circuit, now),
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
        now = clock.now()
        self._locked(self._turn_locked, lambda circuit: _circuit.isolate(circuit, now))

    def release(self) -> None:
        """End `isolate()`. The circuit is half-open then: the next call finds out how things stand."""
        self._locked(self._turn_locked, _circuit.release)

    def reset(self) -> None:
        """Close the circuit, whatever it was. Results of calls that are under way are not counted any more."""
        self._locked(self._turn_locked, _circuit.reset)

    # Two steps.

    def admit(self) -> Permit:
        """Ask for leave to call. Each permit is to be settled: `settle(permit, outcome)`.

        Raises:
            CircuitOpenError: the circuit is open, isolated, or another call probes.
        """
        permit = self.try_admit()
        if permit is None:
            raise self._rejected(None)
        permit._breaker = self
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
            TypeError: it is not a permit. ValueError: it is another breaker's; or there is no such outcome.
        """
        if not isinstance(permit, Permit):
            raise TypeError(f"settle takes what admit() returned, not {type(permit).__name__}")
        error = outcome if isinstance(outcome, BaseException) else None
        said = self.outcome_of(error) if error is not None else outcome
        if said not in OUTCOMES:
            raise ValueError(f"outcome must be one of {', '.join(OUTCOMES)}, or an exception, not {outcome!r}")
        if permit._breaker is not self:
            raise ValueError(f"this permit is not of circuit {self.name!r}, or not from admit()")
        with self._lock:
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
            return self._awaited(_Unstarted(self, permit, result))  # type: ignore[return-value]  # a coroutine as well
        if self.sound is not permit:
            self.vote(permit, "success")
        return result

    async def acall(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await a coroutine function through the breaker; twin of `call`."""
        permit = self.sound
        if permit is None:
            permit = self._admitted(function)
        try:
            coroutine = function(*args, **kwargs)
        except BaseException as error:
            self.vote(permit, self.outcome_of(error), error)
            raise
        return await self._awaited(_Unstarted(self, permit, coroutine))  # type: ignore[no-any-return]

    async def _awaited(self, first: _Unstarted) -> Any:
        permit, first.permit = first.permit, None
        assert permit is not None
        try:
            result = await first.coroutine
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
                    permit = self.sound
                    if permit is None:
                        permit = self._admitted(thing)
                    try:
                        result = await (thing(*args, **kwargs) if kwargs else thing(*args))
                    except BaseException as error:
                        self.vote(permit, self.outcome_of(error), error)
                        raise
                    if self.sound is not permit:
                        self.vote(permit, "success")
                    return result

                return protected_async

            # `call`, written out: a closed breaker costs half as much (measured).
            def protected(*args: Any, **kwargs: Any) -> Any:
                permit = self.sound
                if permit is None:
                    permit = self._admitted(thing)
                try:
                    result = thing(*args, **kwargs) if kwargs else thing(*args)
                except BaseException as error:
                    self.vote(permit, self.outcome_of(error), error)
                    raise
                if type(result) is CoroutineType:
                    return self._awaited(_Unstarted(self, permit, result))
                if self.sound is not permit:
                    self.vote(permit, "success")
                return result

            return protected

        return wrap(function, protect)  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        permit = self.sound
        if permit is None:
            permit = self._admitted(None)
            if permit.probe:
                self._last_block = permit
        _context.enter_block(self, permit)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        permit = _context.leave_block(self)
        if permit is None:  # it ends in another context than it began in, as generators do that a thread pool runs
            permit = self.sound or self._last_block
        if permit is not None and (error is not None or self.sound is not permit):
            self.vote(permit, "success" if error is None else self.outcome_of(error), error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def outcome_of(self, error: BaseException) -> Outcome:
        """Return what an error says of the endpoint: "failure" if it counts; "neutral" for an interrupt."""
        if not issubclass(type(error), Exception) or turned_away(error) is not None:
            return "neutral"  # also a call that another circuit turned away: it has asked nobody
        try:
            if self._counts(error):
                return "failure"
        except Exception as problem:  # noqa: BLE001  # the application's predicate must not replace the error
            logs.complain(f"counts= of circuit {self.name}", type_name(error), problem)
            if is_not_ready(error):
                return "failure"
        return "inconclusive" if kind_of(error) in ("unresolved", "unreachable") else "success"

    def _admitted(self, function: Any) -> Permit:
        permit = self.try_admit()
        if permit is None:
            raise self._rejected(function)
        self.begin_probe(permit, passes=False)
        return permit

    def _rejected(self, function: Any) -> CircuitOpenError:
        error = self.rejection()
        if self._circuit.lease_until is not None and self.makes_probe():
            who = self.name if function is None else name_of(function)
            logs.complain(f"circuit {self.name}", who, RuntimeError("it stands round something inside of it as well"))
        observers = self.observers
        if events.taps or self._listens or (observers and logs.logs_rejections()):
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


class _Unstarted:
    """A coroutine and its permit, which is given back if nobody ever awaits it."""

    __slots__ = ("breaker", "coroutine", "permit")

    def __init__(self, breaker: CircuitBreaker, permit: Permit, coroutine: Any) -> None:
        self.breaker = breaker
        self.permit: Permit | None = permit
        self.coroutine = coroutine

    def __del__(self) -> None:
        if self.permit is not None:
            self.coroutine.close()
            self.breaker.vote(self.permit, "neutral")
