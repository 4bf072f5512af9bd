"""`retry_on_refused` and `attempts`: def or async def? Chosen once, at decoration.

Looks at what it is given and hands it to one of the two drivers; it never calls it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from . import _async, _sync
from ._attempt import Attempt
from ._recovery import Plan, Target
from ._wrapping import behind, hide_argument, name_of, place_for, refuse_unfit, wrap
from .breaker import CircuitBreaker, CircuitBreakers
from .clock import Cancellation
from .endpoint import Endpoint
from .policy import Policy

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")

Several: TypeAlias = "Targets | str | Iterable[str | Endpoint]"
"""Endpoints that serve the same: `Targets`, a text that names several, or several texts and endpoints."""

_DEFAULT = Policy()


if TYPE_CHECKING:  # a Protocol is dear to build, and only type checkers look at this one
    from .failover import Order, Targets

    class Decorator(Protocol):
        """What `retry_on_refused(...)` returns: a decorator that keeps the exact signature."""

        @overload
        def __call__(self, thing: classmethod[C, P, T], /) -> classmethod[C, P, T]: ...
        @overload
        def __call__(self, thing: staticmethod[P, T], /) -> staticmethod[P, T]: ...
        @overload
        def __call__(self, thing: Callable[P, T], /) -> Callable[P, T]: ...

    class FailoverDecorator(Protocol):
        """What `retry_on_refused(targets=...)` returns: a decorator that takes the endpoint out of the signature."""

        @overload
        def __call__(self, thing: classmethod[C, Concatenate[Endpoint, P], T], /) -> classmethod[C, P, T]: ...
        @overload
        def __call__(self, thing: staticmethod[Concatenate[Endpoint, P], T], /) -> staticmethod[P, T]: ...
        @overload
        def __call__(self, thing: Callable[Concatenate[Endpoint, P], T], /) -> Callable[P, T]: ...
        @overload
        def __call__(self, thing: Callable[Concatenate[C, Endpoint, P], T], /) -> Callable[Concatenate[C, P], T]: ...


@overload
def retry_on_refused(
    thing: classmethod[C, P, T],
    /,
    *,
    policy: Policy = ...,
    target: Target | None = None,
    breaker: CircuitBreaker | CircuitBreakers | None = None,
    cancel: Cancellation | None = None,
) -> classmethod[C, P, T]: ...
@overload
def retry_on_refused(
    thing: staticmethod[P, T],
    /,
    *,
    policy: Policy = ...,
    target: Target | None = None,
    breaker: CircuitBreaker | CircuitBreakers | None = None,
    cancel: Cancellation | None = None,
) -> staticmethod[P, T]: ...
@overload
def retry_on_refused(
    thing: Callable[P, T],
    /,
    *,
    policy: Policy = ...,
    target: Target | None = None,
    breaker: CircuitBreaker | CircuitBreakers | None = None,
    cancel: Cancellation | None = None,
) -> Callable[P, T]: ...
@overload
def retry_on_refused(
    *,
    policy: Policy = ...,
    target: Target | None = None,
    breaker: CircuitBreaker | CircuitBreakers | None = None,
    cancel: Cancellation | None = None,
) -> Decorator: ...
@overload
def retry_on_refused(
    *,
    targets: Several,
    order: Order = ...,
    policy: Policy = ...,
    breaker: CircuitBreakers | None = None,
    cancel: Cancellation | None = None,
) -> FailoverDecorator: ...
@overload
def retry_on_refused(
    thing: Callable[Concatenate[Endpoint, P], T],
    /,
    *,
    targets: Several,
    order: Order = ...,
    policy: Policy = ...,
    breaker: CircuitBreakers | None = None,
    cancel: Cancellation | None = None,
) -> Callable[P, T]: ...
def retry_on_refused(
    *things: Any,
    policy: Policy = _DEFAULT,
    target: Target | None = None,
    targets: Several | None = None,
    order: Order | None = None,
    breaker: CircuitBreaker | CircuitBreakers | None = None,
    cancel: Cancellation | None = None,
    **unknown: Any,
) -> Any:
    """Call a function again when its connection is refused, as the policy says.

    Use it bare (`@retry_on_refused`), with settings (`@retry_on_refused(policy=...)`), or on an imported function
    (`connect = retry_on_refused(psycopg.connect)`). It takes a function, a coroutine function, a class (a factory comes
    back), a callable object, a `functools.partial`, a method, `classmethod` and `staticmethod` in either order, and a
    function that returns a coroutine object. Every other awaitable is returned as it is.

    Success returns what the function returned. An error that the policy does not retry passes at once, untouched. On
    giving up, the client's own last error is raised, with a note (Python 3.11 and on). `BaseException` is never caught.

    Args:
        policy: when to try again and when to give up; default `Policy()`: a refused connect, for a minute.
        target: what the function connects to, for events, logs and the note: "db:5432", a URL, a DSN, `unix:///path`,
            `env:NAME`, an `Endpoint`, or a callable of the call's arguments that gives one of these.
        targets: in the place of `target`, several endpoints that serve the same: texts, a text that names several, or
            `Targets`. The function gets an `Endpoint` as its first argument, after `self`, and its own arguments
            follow. An endpoint that the policy would try again is followed by the next one at once; the backoff comes
            when all have failed, and that is one attempt. Each endpoint has a circuit of its own.
        order: of `targets`, where a call begins: "sticky" (default), with the one that worked last; "in_order", with
            the first; "shuffled".
        breaker: a `CircuitBreaker`, or `CircuitBreakers` beside a `target=` that says which. While its circuit is open,
            the call makes no attempt: it parks until the circuit changes, or its deadline comes. With `targets=`, the
            `CircuitBreakers` of their circuits; default: new ones. An endpoint whose circuit is open is passed over.
        cancel: a `Cancellation` that ends every pause.

    Raises:
        CircuitOpenError: at a call, if no circuit let it run before its deadline, or at once if it is isolated.
        TypeError: it is not callable, or a generator function; or an unknown setting is given.
        TargetError: `target` cannot be read.
    """
    _refuse_unknown("retry_on_refused", unknown)
    if len(things) > 1:
        raise TypeError("retry_on_refused takes one function; settings are given by name, as in policy=...")
    for thing in things:
        if isinstance(thing, Policy):
            raise TypeError("give the policy by name: retry_on_refused(policy=...)")
        if isinstance(thing, (str, Endpoint)):
            raise TypeError("give the target by name: retry_on_refused(target=...)")
        if isinstance(thing, Cancellation):
            raise TypeError("give the cancellation by name: retry_on_refused(cancel=...)")
        if isinstance(thing, (CircuitBreaker, CircuitBreakers)):
            raise TypeError("give the breaker by name: retry_on_refused(breaker=...)")
    check("retry_on_refused", policy, target, breaker, cancel, finds_target=targets is not None)
    several = check_targets("retry_on_refused", target, targets, order, breaker)

    def decorate(thing: Any) -> Any:
        refuse_unfit("retry_on_refused", thing, _INSTEAD)
        function = thing.__func__ if isinstance(thing, (classmethod, staticmethod)) else thing
        place = 0 if several is None else place_for(Endpoint, thing)
        return _protect(thing, Plan(policy, name_of(function), target, cancel, breaker, several), place)

    if things:
        return decorate(things[0])
    if target is not None and not callable(target):
        target = Endpoint.parse(target)  # a wrong target is said here, and not where the function is defined
    return decorate


class attempts:  # noqa: N801  # it reads as a call: `for attempt in attempts(...)`
    """The block form: try a block again when a connection in it is refused.

        for attempt in attempts(policy=..., target=...):
            with attempt:
                connection = connect(timeout=attempt.remaining)

    In a coroutine it is `async for attempt in attempts(...)`, and still `with attempt`.
    The loop ends after the first block that succeeds; errors leave it as they leave a decorated function.
    Each loop over it is a call of its own.

    Args:
        policy: when to try again and when to give up; default `Policy()`.
        target: what the block connects to, for events, logs and the note; a callable is called without arguments.
        targets, order: as for `retry_on_refused`; the endpoint that is to be tried is `attempt.endpoint`.
        breaker: as for `retry_on_refused`.
        cancel: a `Cancellation` that ends every pause.

    Raises:
        TypeError: an unknown setting is given.
        TargetError: `target` cannot be read.
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            policy: Policy = ...,
            target: Target | None = None,
            targets: Several | None = None,
            order: Order | None = None,
            breaker: CircuitBreaker | CircuitBreakers | None = None,
            cancel: Cancellation | None = None,
        ) -> None: ...

    else:

        def __init__(
            self,
            *,
            policy: Policy = _DEFAULT,
            target: Target | None = None,
            targets: Several | None = None,
            order: Order | None = None,
            breaker: CircuitBreaker | CircuitBreakers | None = None,
            cancel: Cancellation | None = None,
            **unknown: Any,
        ) -> None:
            _refuse_unknown("attempts", unknown)
            check("attempts", policy, target, breaker, cancel, finds_target=targets is not None)
            several = check_targets("attempts", target, targets, order, breaker)
            self._plan = Plan(policy, "attempts", target, cancel, breaker, several)

    _plan: Plan

    def __iter__(self) -> Iterator[Attempt]:
        return _sync.Attempts(self._plan)

    def __aiter__(self) -> AsyncIterator[Attempt]:
        return _async.Attempts(self._plan)


def _protect(thing: Any, plan: Plan, place: int) -> Any:
    without_self = plan.without_self()

    def protect(function: Any, coroutine: bool, bound: bool) -> Callable[..., Any]:
        its = without_self if bound else plan
        if its.ways:
            function = behind(place, function)
            if coroutine:
                return _async.protect_by_targets(function, its)
            return _sync.protect_by_targets(function, its, _async.adopt)
        if its.breaker is not None:
            if coroutine:
                return _async.protect_by_circuit(function, its, its.breaker)
            return _sync.protect_by_circuit(function, its, its.breaker, _async.adopt)
        if its.breakers is not None:
            if coroutine:
                return _async.protect_by_endpoint(function, its)
            return _sync.protect_by_endpoint(function, its, _async.adopt)
        return _async.protect(function, its) if coroutine else _sync.protect(function, its, _async.adopt)

    protected = wrap(thing, protect)
    if plan.ways:
        hide_argument(place, protected)  # from frameworks that look at what is to be given
    return protected


def check(
    who: str, policy: object, target: object, breaker: object, cancel: object, *, finds_target: bool = False
) -> None:
    """Refuse settings of the wrong type. `who` takes them; `finds_target`: it needs no target to choose a circuit by.

    Raises:
        TypeError: a setting has the wrong type, or says nothing without another one.
    """
    if not isinstance(policy, Policy):
        hint = "Policy.parse(...) reads a text" if isinstance(policy, str) else "see resilient.Policy"
        raise TypeError(f"policy must be a Policy, not {type(policy).__name__}: {hint}")
    if cancel is not None and not isinstance(cancel, Cancellation):
        raise TypeError(f"cancel must be a Cancellation, not {type(cancel).__name__}")
    if breaker is not None and not isinstance(breaker, (CircuitBreaker, CircuitBreakers)):
        hint = f"write CircuitBreaker({breaker!r})" if isinstance(breaker, str) else "see resilient.CircuitBreaker"
        raise TypeError(f"breaker must be a CircuitBreaker or CircuitBreakers, not {type(breaker).__name__}: {hint}")
    if isinstance(breaker, CircuitBreakers) and target is None and not finds_target:
        raise TypeError(f"{who}: breaker= is CircuitBreakers, so target= must say which: give a callable, or a text")


def check_targets(who: str, target: object, targets: object, order: Order | None, breaker: object) -> Targets | None:
    """Return what `targets=` and `order=` say, or None where they are not given.

    Raises:
        TypeError: `who` was given what does not go together.
        TargetError: a target cannot be read, or they are not several endpoints that serve the same.
        ValueError: there is no such order.
    """
    if targets is None:
        if order is not None:
            raise TypeError(f"{who}: order= is about several endpoints; give targets= as well")
        return None
    if target is not None:
        raise TypeError(f"{who}: target= is one endpoint and targets= are several: give one of them")
    if isinstance(breaker, CircuitBreaker):
        raise TypeError(
            f"{who}: one CircuitBreaker cannot tell the endpoints of targets= apart: give breaker=CircuitBreakers(...)"
        )
    from .failover import Targets  # only who has several pays for it

    return Targets.of(targets, order)


_INSTEAD = (
    "retried. Decorate the function that connects and call it in the generator, or write "
    "`for attempt in attempts(...): with attempt: ...` around the connect"
)


def _refuse_unknown(name: str, unknown: dict[str, Any]) -> None:
    for key in unknown:
        raise TypeError(
            f"{name} has no setting {key!r}; it takes policy, target, targets, order, breaker, cancel; limits are the "
            "policy's"
        )
