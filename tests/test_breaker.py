"""The circuit breaker by itself: every way to put a call through it, what a call's end says, what a rejection is."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import gc
import logging
import pickle
import socket
import time
import tracemalloc
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import Context
from datetime import timedelta
from typing import Any

import pytest
import trio
from drivers import refusal

from resilient import (
    Backoff,
    CallRejected,
    CircuitBreaker,
    CircuitChanged,
    CircuitOpenError,
    Permit,
    PolicyError,
    is_refused,
    retry_on_refused,
)
from resilient.testing import FakeClock, RecordedEvents

TEN = Backoff(initial=10, maximum=80, jitter="none")
"""A cooldown of 10, 20, 40, 80 seconds: exact, so that tests can stand on either side of it."""


def breaker(trip_after: int = 1, **settings: Any) -> CircuitBreaker:
    """A breaker that opens at the first failure and says nothing."""
    return CircuitBreaker("db", trip_after=trip_after, **{"cooldown": TEN, "observers": (), **settings})


def tripped(**settings: Any) -> CircuitBreaker:
    """A breaker that has just opened."""
    circuit = breaker(**settings)
    circuit.settle(circuit.admit(), refusal())
    assert circuit.state == "open"
    return circuit


def half_open(clock: FakeClock, **settings: Any) -> CircuitBreaker:
    """A breaker whose next caller probes."""
    circuit = tripped(**settings)
    clock.advance(10)
    return circuit


def raiser(error: BaseException) -> Callable[..., Any]:
    def function(*args: object, **kwargs: object) -> None:
        raise error

    return function


def run_call(circuit: CircuitBreaker, function: Callable[[], Any]) -> Any:
    return circuit.call(function)


def run_decorated(circuit: CircuitBreaker, function: Callable[[], Any]) -> Any:
    @circuit
    def decorated() -> Any:
        return function()

    return decorated()


def run_with(circuit: CircuitBreaker, function: Callable[[], Any]) -> Any:
    with circuit:
        return function()


def run_two_steps(circuit: CircuitBreaker, function: Callable[[], Any]) -> Any:
    permit = circuit.admit()
    try:
        result = function()
    except BaseException as error:
        circuit.settle(permit, error)
        raise
    circuit.settle(permit, "success")
    return result


def run_acall(circuit: CircuitBreaker, function: Callable[[], Any]) -> Any:
    async def connect() -> Any:
        await asyncio.sleep(0)
        return function()

    return by_hand(circuit.acall(connect))


def run_call_of_coroutine(circuit: CircuitBreaker, function: Callable[[], Any]) -> Any:
    async def connect() -> Any:
        await asyncio.sleep(0)
        return function()

    return by_hand(circuit.call(connect))


def run_decorated_coroutine(circuit: CircuitBreaker, function: Callable[[], Any]) -> Any:
    @circuit
    async def decorated() -> Any:
        await asyncio.sleep(0)
        return function()

    return by_hand(decorated())


def run_async_with(circuit: CircuitBreaker, function: Callable[[], Any]) -> Any:
    async def block() -> Any:
        async with circuit:
            await asyncio.sleep(0)
            return function()

    return by_hand(block())


def by_hand(coroutine: Any) -> Any:
    """Run a coroutine that only ever yields to its loop. Without a loop, so that any `BaseException` comes out here."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value


FORMS = (
    run_call,
    run_decorated,
    run_with,
    run_two_steps,
    run_acall,
    run_call_of_coroutine,
    run_decorated_coroutine,
    run_async_with,
)
Form = Callable[[CircuitBreaker, Callable[[], Any]], Any]
in_every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__.removeprefix("run_"))


@in_every_form
def test_a_call_returns_what_the_function_returned(form: Form) -> None:
    """The same object."""
    answer = object()
    assert form(breaker(), lambda: answer) is answer


@in_every_form
def test_an_error_passes_untouched(form: Form) -> None:
    """The same object, without a context, a cause or a note."""
    error = refusal()
    with pytest.raises(ConnectionRefusedError) as caught:
        form(breaker(), raiser(error))
    assert caught.value is error
    assert (error.__context__, error.__cause__) == (None, None)
    assert not hasattr(error, "__notes__")


@in_every_form
def test_so_many_failures_in_a_row_open_it(form: Form) -> None:
    """Not one fewer."""
    circuit = breaker(trip_after=3)
    for failures in (1, 2):
        with pytest.raises(ConnectionRefusedError):
            form(circuit, raiser(refusal()))
        assert (circuit.state, circuit.snapshot().failures) == ("closed", failures)
    with pytest.raises(ConnectionRefusedError):
        form(circuit, raiser(refusal()))
    assert circuit.state == "open"


@in_every_form
def test_a_success_in_between_begins_the_count_again(form: Form) -> None:
    """Failures must be consecutive."""
    circuit = breaker(trip_after=2)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            form(circuit, raiser(refusal()))
        form(circuit, lambda: None)
        assert circuit.snapshot().failures == 0
    assert circuit.state == "closed"


@in_every_form
def test_an_open_circuit_turns_calls_away(form: Form, fake_clock: FakeClock) -> None:
    """The function is not called, until the cooldown is over."""
    circuit = tripped()
    calls: list[float] = []
    for seconds in (0, 9.5):
        fake_clock.advance(seconds)
        with pytest.raises(CircuitOpenError):
            form(circuit, lambda: calls.append(fake_clock.now()))
    fake_clock.advance(0.5)
    assert calls == []
    form(circuit, lambda: calls.append(fake_clock.now()))
    assert calls == [10]


@in_every_form
def test_a_probe_that_succeeds_closes_it(form: Form, fake_clock: FakeClock) -> None:
    """And everything is as it was in the beginning."""
    circuit = half_open(fake_clock)
    form(circuit, lambda: None)
    assert circuit.state == "closed"
    snapshot = circuit.snapshot()
    assert (snapshot.failures, snapshot.openings, snapshot.cooldown, snapshot.probing) == (0, 0, 0, False)


@in_every_form
def test_a_probe_that_fails_opens_it_for_longer(form: Form, fake_clock: FakeClock) -> None:
    """The cooldown grows as long as it keeps failing, up to its maximum."""
    circuit = half_open(fake_clock)
    for openings, cooldown in enumerate((20, 40, 80, 80), start=2):
        with pytest.raises(ConnectionRefusedError, match="Connection refused"):
            form(circuit, raiser(refusal()))
        snapshot = circuit.snapshot()
        assert (snapshot.state, snapshot.openings, snapshot.cooldown, snapshot.retry_after) == (
            "open",
            openings,
            cooldown,
            cooldown,
        )
        fake_clock.advance(cooldown)


@in_every_form
def test_only_one_call_probes(form: Form, fake_clock: FakeClock) -> None:
    """Whoever comes while it is under way is turned away, and so is whoever the probe itself calls."""
    circuit = half_open(fake_clock)
    turned_away: list[str] = []

    def probe() -> str:
        for other in FORMS:
            with pytest.raises(CircuitOpenError):
                other(circuit, lambda: None)
            turned_away.append(other.__name__)
        return "probed"

    assert form(circuit, probe) == "probed"
    assert len(turned_away) == len(FORMS)
    assert circuit.state == "closed"


# What the end of a call says.

NEUTRAL: tuple[BaseException, ...] = (
    KeyboardInterrupt(),
    SystemExit(1),
    asyncio.CancelledError(),
    GeneratorExit(),
    CircuitOpenError("another"),
)
INCONCLUSIVE: tuple[BaseException, ...] = (
    socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    TimeoutError(110, "Connection timed out"),
    TimeoutError("timed out"),
    OSError(113, "No route to host"),
    OSError(101, "Network is unreachable"),
)
ANSWERED: tuple[BaseException, ...] = (
    ValueError("a wrong password, say"),
    ConnectionResetError(104, "Connection reset by peer"),
    PermissionError(13, "Permission denied"),
    StopAsyncIteration(),
)


def named(errors: tuple[BaseException, ...]) -> Any:
    return pytest.mark.parametrize("error", errors, ids=[f"{type(error).__name__}{error.args}" for error in errors])


def end(form: Form, circuit: CircuitBreaker, error: BaseException) -> None:
    """Let a call end with this error, and look that it comes out."""
    caught: BaseException | None = None
    try:
        form(circuit, raiser(error))
    except BaseException as its:
        caught = its
    # Python itself makes a RuntimeError of what may not leave a coroutine.
    assert caught is error or (isinstance(caught, RuntimeError) and caught.__cause__ is error)


@in_every_form
@named(ANSWERED)
def test_any_other_error_is_an_answer(form: Form, error: BaseException, fake_clock: FakeClock) -> None:
    """It ends a run of failures, and closes a circuit that is half-open."""
    circuit = breaker(trip_after=2)
    circuit.settle(circuit.admit(), "failure")
    end(form, circuit, error)
    assert circuit.snapshot().failures == 0
    circuit = half_open(fake_clock)
    end(form, circuit, error)
    assert circuit.state == "closed"


@in_every_form
@named(INCONCLUSIVE)
def test_an_error_that_leaves_it_open_is_no_vote(form: Form, error: BaseException, fake_clock: FakeClock) -> None:
    """While closed it neither counts nor ends a run; at half-open it is a failure."""
    circuit = breaker(trip_after=2)
    circuit.settle(circuit.admit(), "failure")
    for _ in range(3):
        end(form, circuit, error)
    assert (circuit.state, circuit.snapshot().failures) == ("closed", 1)
    circuit = half_open(fake_clock)
    end(form, circuit, error)
    assert (circuit.state, circuit.snapshot().openings) == ("open", 2)


@in_every_form
@named(NEUTRAL)
def test_an_interrupt_says_nothing(form: Form, error: BaseException, fake_clock: FakeClock) -> None:
    """While closed it is no vote; a probe is given back at once, and the next caller probes."""
    circuit = breaker(trip_after=2)
    circuit.settle(circuit.admit(), "failure")
    end(form, circuit, error)
    assert (circuit.state, circuit.snapshot().failures) == ("closed", 1)
    circuit = half_open(fake_clock)
    end(form, circuit, error)
    assert (circuit.state, circuit.snapshot().probing, circuit.snapshot().openings) == ("half-open", False, 1)
    form(circuit, lambda: None)
    assert circuit.state == "closed"


def test_a_call_that_an_inner_circuit_turned_away_asked_nobody() -> None:
    """Also where the client wrapped that in an error of its own."""
    inner, outer = tripped(), breaker()

    def connect() -> None:
        try:
            inner.call(lambda: None)
        except CircuitOpenError as error:
            raise OSError("no connection") from error

    for function in (lambda: inner.call(lambda: None), connect):
        with pytest.raises(OSError):
            outer.call(function)
        assert outer.state == "closed"


def test_a_late_success_does_not_close_an_open_circuit() -> None:
    """A result from before the circuit opened is history."""
    circuit = breaker()
    early = circuit.admit()
    circuit.settle(circuit.admit(), "failure")
    assert circuit.settle(early, "success")
    assert circuit.state == "open"


@in_every_form
def test_a_late_success_of_a_call_does_not_close_it_either(form: Form, fake_clock: FakeClock) -> None:
    """Nor is it taken for the probe that is under way."""
    circuit = breaker()

    def slow() -> None:
        circuit.settle(circuit.admit(), "failure")
        fake_clock.advance(10)
        circuit.admit()

    form(circuit, slow)
    assert (circuit.state, circuit.snapshot().probing) == ("half-open", True)


def test_a_late_failure_does_not_open_a_circuit_that_was_reset() -> None:
    """Nor is it counted."""
    circuit = breaker()
    early = circuit.admit()
    circuit.reset()
    circuit.settle(early, "failure")
    assert (circuit.state, circuit.snapshot().failures) == ("closed", 0)


def test_a_probe_that_hangs_is_replaced(fake_clock: FakeClock) -> None:
    """After `probe_timeout`; what it says in the end changes nothing."""
    circuit = half_open(fake_clock, probe_timeout=30)
    hung = circuit.admit()
    fake_clock.advance(29.5)
    with pytest.raises(CircuitOpenError):
        circuit.admit()
    fake_clock.advance(0.5)
    second = circuit.admit()
    assert second.probe
    circuit.settle(hung, "success")
    assert circuit.state == "half-open"
    circuit.settle(second, "failure")
    assert circuit.state == "open"
    circuit.settle(hung, "success")
    assert circuit.state == "open"


def test_several_successful_probes_may_be_asked_for(fake_clock: FakeClock) -> None:
    """One after another."""
    circuit = half_open(fake_clock, close_after=3)
    for _ in range(2):
        assert circuit.call(lambda: "answered") == "answered"
        assert circuit.state == "half-open"
    circuit.call(lambda: None)
    assert circuit.state == "closed"


# counts=


@pytest.mark.parametrize(
    "counts",
    [ValueError, (ValueError, KeyError), lambda error: isinstance(error, ValueError), lambda error: [error.args]],
    ids=["a type", "types", "a predicate", "something true"],
)
def test_what_a_failure_is_can_be_said(counts: Any) -> None:
    """With exception types, or a predicate whose answer is taken for its truth."""
    circuit = breaker(counts=counts)
    with pytest.raises(UnicodeError):
        circuit.call(raiser(UnicodeError("a subclass of ValueError")))
    assert circuit.state == "open"


def test_what_is_not_counted_is_an_answer() -> None:
    """Also a refusal, where only another type counts."""
    circuit = breaker(counts=KeyError)
    with pytest.raises(ConnectionRefusedError):
        circuit.call(raiser(refusal()))
    assert circuit.state == "closed"


def test_a_timeout_counts_where_it_is_said_to(fake_clock: FakeClock) -> None:
    """Before it is looked at whether it is a vote at all."""
    circuit = breaker(counts=TimeoutError)
    with pytest.raises(TimeoutError):
        circuit.call(raiser(TimeoutError("timed out")))
    assert circuit.state == "open"


def test_a_predicate_is_never_asked_about_an_interrupt() -> None:
    """Even one that counts everything."""
    circuit = breaker(counts=lambda error: True)
    for error in NEUTRAL:
        end(run_call, circuit, error)
    assert circuit.state == "closed"


def test_a_predicate_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The client's own error comes out, a refusal still counts, and the log says it once."""

    class OddlyNamedProblem(Exception):
        pass

    def judges(error: BaseException) -> bool:
        raise OddlyNamedProblem

    circuit = breaker(trip_after=2, counts=judges)
    for error in (refusal(), ValueError("an answer"), refusal(), refusal()):
        with pytest.raises(type(error)) as caught:
            circuit.call(raiser(error))
        assert caught.value is error
    assert circuit.state == "open"
    said = [record for record in caplog.records if "OddlyNamedProblem" in record.getMessage()]
    assert [record.levelno for record in said] == [logging.ERROR] * 2  # one for each type of error
    assert "counts= of circuit db" in said[0].getMessage()


# The decorator.


class Client:
    """A class with a method of every kind behind one breaker, that says with which arguments it was called."""

    circuit = breaker()

    @circuit
    def method(self, number: int, *, word: str = "") -> tuple[object, ...]:
        """A docstring."""
        return "method", type(self), number, word

    @circuit
    async def coroutine(self, number: int) -> tuple[object, ...]:
        return "coroutine", type(self), number

    @circuit
    @classmethod
    def class_inside(cls, number: int) -> tuple[object, ...]:
        return "class_inside", cls, number

    @classmethod
    @circuit
    def class_outside(cls, number: int) -> tuple[object, ...]:
        return "class_outside", cls, number

    @circuit
    @staticmethod
    def static_inside(number: int) -> tuple[object, ...]:
        return "static_inside", number

    @staticmethod
    @circuit
    def static_outside(number: int) -> tuple[object, ...]:
        return "static_outside", number

    def __call__(self, number: int) -> tuple[object, ...]:
        return "called", type(self), number


METHODS: tuple[tuple[Callable[[], Any], tuple[object, ...]], ...] = (
    (lambda: Client().method(1, word="x"), ("method", Client, 1, "x")),
    (lambda: Client.method(Client(), 1), ("method", Client, 1, "")),
    (lambda: by_hand(Client().coroutine(1)), ("coroutine", Client, 1)),
    (lambda: Client.class_inside(1), ("class_inside", Client, 1)),
    (lambda: Client().class_outside(1), ("class_outside", Client, 1)),
    (lambda: Client.static_inside(1), ("static_inside", 1)),
    (lambda: Client().static_outside(1), ("static_outside", 1)),
    (lambda: Client.circuit(Client())(1), ("called", Client, 1)),
    (lambda: Client.circuit(Client().__call__)(1), ("called", Client, 1)),
    (lambda: Client.circuit(functools.partial(Client(), 1))(), ("called", Client, 1)),
    (lambda: Client.circuit(functools.partial(Client().method, word="y"))(1), ("method", Client, 1, "y")),
)


@pytest.mark.parametrize(("method", "result"), METHODS, ids=[str(number) for number in range(len(METHODS))])
def test_every_kind_of_callable_goes_through_it(method: Callable[[], Any], result: object) -> None:
    """With its arguments, and with what it is bound to; an isolated circuit turns it away."""
    assert method() == result
    Client.circuit.isolate()
    try:
        with pytest.raises(CircuitOpenError):
            method()
    finally:
        Client.circuit.reset()


def test_a_class_becomes_a_factory() -> None:
    """Whose failures count."""
    circuit = breaker()

    class Connection:
        def __init__(self, host: str) -> None:
            self.host = host
            if host == "down":
                raise refusal()

    connect = circuit(Connection)
    assert connect("up").host == "up"
    with pytest.raises(ConnectionRefusedError):
        connect("down")
    assert circuit.state == "open"


def test_a_decorated_function_keeps_its_name() -> None:
    """And its docstring and what it wraps."""
    method = Client.method
    assert (method.__name__, method.__doc__, method.__module__) == ("method", "A docstring.", __name__)
    assert method.__wrapped__.__name__ == "method"  # type: ignore[attr-defined]
    assert asyncio.iscoroutinefunction(Client.coroutine)


def test_a_function_that_returns_a_coroutine_is_judged_by_its_end() -> None:
    """A lambda round one, say."""
    circuit = breaker()

    async def connect() -> None:
        raise refusal()

    decorated = circuit(lambda: connect())
    coroutine = decorated()
    assert circuit.snapshot().failures == 0
    with pytest.raises(ConnectionRefusedError):
        by_hand(coroutine)
    assert circuit.state == "open"


def test_any_other_awaitable_is_returned_as_it_is() -> None:
    """A client that is awaitable and more must come back whole."""

    class Pool:
        def __await__(self) -> Generator[None, None, str]:
            yield
            return "connected"

    pool = Pool()
    assert breaker()(lambda: pool)() is pool


def test_a_generator_function_is_refused_at_decoration() -> None:
    """What it connects to is asked after the call has returned."""
    circuit = breaker()

    def plain() -> Generator[None, None, None]:
        yield

    async def asynchronous() -> AsyncGenerator[None, None]:
        yield

    for function in (plain, asynchronous, contextlib.contextmanager(plain)):
        with pytest.raises(TypeError, match="generator function"):
            circuit(function)
    with pytest.raises(TypeError, match="something to call"):
        circuit(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", [CircuitBreaker.call, CircuitBreaker.acall], ids=["call", "acall"])
def test_arguments_are_handed_on(form: Any) -> None:
    """Also such as have the names of the breaker's own."""

    async def connect(self: object, function: object, permit: object = None) -> tuple[object, ...]:
        return self, function, permit

    assert by_hand(form(breaker(), connect, 1, function=2, permit=3)) == (1, 2, 3)


@pytest.mark.parametrize("form", ["decorated", "acall"])
def test_a_coroutine_function_called_with_wrong_arguments_gives_its_probe_back(
    form: str, fake_clock: FakeClock
) -> None:
    """It raises before there is anything to await."""
    circuit = half_open(fake_clock)

    async def connect(host: str) -> None:
        raise AssertionError("never called")

    with pytest.raises(TypeError, match="host"):
        by_hand(circuit(connect)() if form == "decorated" else circuit.acall(connect))  # type: ignore[call-arg]
    assert not circuit.snapshot().probing


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_coroutine_that_is_dropped_before_it_began_gives_its_probe_back(fake_clock: FakeClock) -> None:
    """As a task does that is cancelled before its first step."""
    circuit = half_open(fake_clock)

    async def connect() -> None:
        raise AssertionError("never awaited")

    async def main() -> None:
        task = asyncio.ensure_future(circuit(lambda: connect())())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    gc.collect()
    assert not circuit.snapshot().probing


# The block.


def test_blocks_nest() -> None:
    """Of one breaker and of several, each with its own permit."""
    first, second = breaker(), breaker()
    with first, second, first:
        pass
    with pytest.raises(ConnectionRefusedError), first, second, first:
        raise refusal()
    assert (first.state, second.state) == ("open", "open")


def test_a_block_gives_the_breaker() -> None:
    """For `as`."""
    circuit = breaker()
    with circuit as given:
        assert given is circuit

    async def main() -> None:
        async with circuit as given:
            assert given is circuit

    by_hand(main())


def test_a_block_that_is_turned_away_leaves_the_outer_ones_alone(fake_clock: FakeClock) -> None:
    """The permit of the outer block is settled by the outer block."""
    circuit = half_open(fake_clock)
    with circuit:
        with pytest.raises(CircuitOpenError), circuit:
            raise AssertionError("it was let in")
        assert circuit.snapshot().probing
    assert circuit.state == "closed"


@pytest.mark.parametrize("world", ["asyncio", "trio"])
@pytest.mark.parametrize("asynchronous", [True, False], ids=["async with", "with"])
def test_blocks_of_tasks_side_by_side_keep_their_own_permits(
    world: str, asynchronous: bool, fake_clock: FakeClock
) -> None:
    """Those that began before the outage change nothing; the one that probes closes the circuit."""
    circuit = breaker()
    states: list[str] = []

    async def task(rounds: int) -> None:
        sleep = asyncio.sleep if world == "asyncio" else trio.sleep
        if asynchronous:
            async with circuit:
                for _ in range(rounds):
                    await sleep(0)
        else:
            with circuit:
                for _ in range(rounds):
                    await sleep(0)
        states.append(circuit.state)

    async def main() -> None:
        async def outage() -> None:
            sleep = asyncio.sleep if world == "asyncio" else trio.sleep
            await sleep(0)
            await sleep(0)
            circuit.settle(circuit.admit(), "failure")
            for _ in range(30):
                await sleep(0)
            fake_clock.advance(10)
            await task(5)

        tasks = [functools.partial(task, rounds) for rounds in (10, 15, 20, 25)]
        if world == "asyncio":
            await asyncio.gather(*(start() for start in tasks), outage())
        else:
            async with trio.open_nursery() as nursery:
                for start in (*tasks, outage):
                    nursery.start_soon(start)

    asyncio.run(main()) if world == "asyncio" else trio.run(main)
    assert states == ["open"] * 4 + ["closed"]


def test_generators_may_leave_their_blocks_in_any_order() -> None:
    """Each settles a permit of its own breaker."""
    circuits = [breaker() for _ in range(3)]

    def inside(circuit: CircuitBreaker) -> Generator[None, None, None]:
        with circuit:
            yield

    generators = [inside(circuit) for circuit in circuits]
    for generator in generators:
        next(generator)
    for number in (0, 2, 1):
        with pytest.raises(ConnectionRefusedError):
            generators[number].throw(refusal())
    assert [circuit.state for circuit in circuits] == ["open"] * 3


def test_a_block_may_end_in_another_context() -> None:
    """As a generator's does that a thread pool runs: its result counts, and a probe is not lost."""
    circuit = breaker(trip_after=1)
    Context().run(circuit.__enter__)
    assert not circuit.__exit__(ConnectionRefusedError, refusal(), None)
    assert circuit.state == "open"
    circuit.release()
    circuit.isolate()
    circuit.release()
    Context().run(circuit.__enter__)
    assert circuit.snapshot().probing
    circuit.__exit__(None, None, None)
    assert circuit.state == "closed"


def test_a_block_swallows_nothing() -> None:
    """Whatever leaves it."""
    circuit = breaker()
    error = refusal()
    circuit.__enter__()
    assert not circuit.__exit__(type(error), error, None)
    assert circuit.state == "open"


# Two steps.


def test_a_permit_is_settled_once(fake_clock: FakeClock) -> None:
    """The second time is told so, and not counted."""
    circuit = breaker(trip_after=2)
    permit = circuit.admit()
    assert circuit.settle(permit, "failure")
    assert not circuit.settle(permit, "failure")
    assert circuit.snapshot().failures == 1
    circuit = half_open(fake_clock)
    permit = circuit.admit()
    assert circuit.settle(permit, "neutral")
    assert not circuit.settle(permit, "success")
    assert circuit.state == "half-open"


def test_each_call_has_a_permit_of_its_own() -> None:
    """Also through a healthy circuit."""
    circuit = breaker(trip_after=2)
    first, second = circuit.admit(), circuit.admit()
    assert first is not second
    assert circuit.settle(first, "failure")
    assert circuit.settle(second, "failure")
    assert circuit.state == "open"


@pytest.mark.parametrize(
    ("outcome", "failures", "probed"),
    [
        ("success", 0, "closed"),
        ("failure", 2, "open"),
        ("inconclusive", 1, "open"),
        ("neutral", 1, "half-open"),
        (refusal(), 2, "open"),
        (ValueError(), 0, "closed"),
        (TimeoutError(), 1, "open"),
        (KeyboardInterrupt(), 1, "half-open"),
    ],
    ids=repr,
)
def test_an_outcome_is_said_in_a_word_or_with_the_error(
    outcome: Any, failures: int, probed: str, fake_clock: FakeClock
) -> None:
    """Through a closed circuit with one failure, and as a probe."""
    circuit = breaker(trip_after=3)
    circuit.settle(circuit.admit(), "failure")
    circuit.settle(circuit.admit(), outcome)
    assert circuit.snapshot().failures == failures
    circuit = half_open(fake_clock)
    permit = circuit.admit()
    assert (permit.probe, permit.epoch) == (True, circuit.snapshot().epoch)
    circuit.settle(permit, outcome)
    assert circuit.state == probed


def test_settling_something_else_is_refused_and_settles_nothing() -> None:
    """A mistyped outcome leaves the permit to be settled."""
    circuit = breaker()
    permit = circuit.admit()
    for thing in (None, "permit", circuit):
        with pytest.raises(TypeError, match=r"what admit\(\) returned"):
            circuit.settle(thing, "success")  # type: ignore[arg-type]
    for outcome in ("failed", "", None, True, ValueError):
        with pytest.raises(ValueError, match="success, failure, inconclusive, neutral"):
            circuit.settle(permit, outcome)  # type: ignore[arg-type]
    assert circuit.settle(permit, "failure")
    assert circuit.state == "open"


# The human hand.


@pytest.mark.parametrize("before", ["closed", "open", "half-open", "isolated"])
def test_isolated_it_turns_everybody_away_until_it_is_released(before: str, fake_clock: FakeClock) -> None:
    """However long that is, and whatever it was before."""
    circuit = breaker()
    if before in ("open", "half-open"):
        circuit = tripped()
    early = None
    if before == "half-open":
        fake_clock.advance(10)
        early = circuit.admit()
    if before == "isolated":
        circuit.isolate()
    circuit.isolate()
    fake_clock.advance(1e6)
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit()
    assert caught.value.retry_after is None
    if early is not None:
        circuit.settle(early, "success")
    assert circuit.state == "isolated"
    circuit.release()
    assert (circuit.state, circuit.snapshot().retry_after) == ("half-open", 0)
    assert circuit.admit().probe


def test_release_changes_nothing_else(fake_clock: FakeClock) -> None:
    """Only an isolated circuit is released."""
    for circuit in (breaker(), tripped()):
        before = circuit.snapshot()
        circuit.release()
        assert circuit.snapshot() == before


@pytest.mark.parametrize("before", ["closed", "open", "half-open", "isolated"])
def test_reset_closes_it(before: str, fake_clock: FakeClock) -> None:
    """Whatever it was; failures begin at none."""
    circuit = breaker(trip_after=2)
    circuit.settle(circuit.admit(), "failure")
    if before == "open":
        circuit.settle(circuit.admit(), "failure")
    if before in ("half-open", "isolated"):
        circuit.isolate()
    if before == "half-open":
        circuit.release()
    assert circuit.state == before
    circuit.reset()
    snapshot = circuit.snapshot()
    assert (snapshot.state, snapshot.failures, snapshot.openings) == ("closed", 0, 0)
    circuit.settle(circuit.admit(), "failure")
    assert circuit.state == "closed"


def test_a_snapshot_tells_how_things_stand(fake_clock: FakeClock) -> None:
    """In each state."""
    circuit = breaker()
    start = circuit.snapshot()
    assert (start.name, start.state, start.epoch, start.parked, start.last_error) == ("db", "closed", 0, 0, None)
    assert (start.retry_after, start.probing, start.cooldown) == (0, False, 0)
    with pytest.raises(ConnectionRefusedError):
        circuit.call(raiser(refusal("db is down")))
    fake_clock.advance(4)
    opened = circuit.snapshot()
    assert (opened.state, opened.epoch, opened.openings, opened.cooldown) == ("open", 1, 1, 10)
    assert (opened.retry_after, opened.probing, opened.last_error) == (6, False, "[Errno 111] db is down")
    fake_clock.advance(60)
    assert circuit.snapshot().retry_after == 0
    circuit.admit()
    probed = circuit.snapshot()
    assert (probed.state, probed.epoch, probed.retry_after, probed.probing) == ("half-open", 2, None, True)
    with pytest.raises(AttributeError):
        probed.state = "closed"  # type: ignore[misc]


def test_its_repr_names_it_and_its_state() -> None:
    """For a person."""
    assert repr(tripped()) == "<CircuitBreaker 'db' open>"


def test_it_belongs_to_one_process() -> None:
    """And says so, instead of being copied with a lock."""
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="belongs to one process"):
            copied(breaker())


# A rejection.


def test_a_rejection_tells_when_to_come_back(fake_clock: FakeClock) -> None:
    """And why the circuit is open."""
    circuit = breaker()
    with pytest.raises(ConnectionRefusedError):
        circuit.call(raiser(refusal("db is down")))
    fake_clock.advance(2.5)
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit()
    error = caught.value
    assert (error.breaker, error.retry_after, error.last_error) == ("db", 7.5, "[Errno 111] db is down")
    assert str(error) == "[Errno 111] circuit 'db' is open, retry after 7.5 s; last error: [Errno 111] db is down"
    assert isinstance(error, ConnectionRefusedError)
    assert not is_refused(error)
    assert (error.__cause__, error.__context__) == (None, None)


def test_the_last_error_is_scrubbed() -> None:
    """It goes to logs and to whoever catches a rejection."""
    circuit = breaker()
    with pytest.raises(ConnectionRefusedError):
        circuit.call(raiser(refusal("postgresql://me:sesame@db/ is down\nINFO forged")))
    text = circuit.snapshot().last_error
    assert text is not None
    assert "is down" in text
    assert "sesame" not in text
    assert "\n" not in text


def test_the_last_error_is_of_the_outage_that_goes_on() -> None:
    """A failure without a text does not bring back that of an earlier outage."""
    circuit = tripped()
    circuit.reset()
    circuit.settle(circuit.admit(), "failure")
    assert circuit.snapshot().last_error is None


def test_a_rejection_is_a_new_one_each_time() -> None:
    """Callers that catch it do not share a traceback."""
    circuit = tripped()
    errors = []
    for _ in range(2):
        with pytest.raises(CircuitOpenError) as caught:
            circuit.admit()
        errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_a_rejection_pickles_and_copies() -> None:
    """With all that it tells, and without the breaker."""
    with pytest.raises(CircuitOpenError) as caught:
        tripped().admit()
    error = caught.value
    error.hint = "one of the application's own"  # type: ignore[attr-defined]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is CircuitOpenError
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
        assert (again.breaker, again.retry_after, again.last_error) == (
            error.breaker,
            error.retry_after,
            error.last_error,
        )
    assert str(copy.copy(error)) == str(error)


def test_a_rejected_caller_is_not_kept() -> None:
    """Nor its error, nor what its frame held; without the help of the garbage collector."""

    class Resource:
        pass

    circuit = tripped()
    gone: list[weakref.ref[Any]] = []

    def caller() -> None:
        resource = Resource()
        gone.append(weakref.ref(resource))
        with contextlib.suppress(CircuitOpenError):
            circuit.call(lambda: resource)

    gc.disable()
    try:
        caller()
        assert gone[0]() is None
    finally:
        gc.enable()


def test_a_hundred_thousand_rejections_leave_nothing_behind() -> None:
    """Memory stays flat."""
    circuit = tripped(cooldown=Backoff(initial=1000, maximum=1000))
    function = circuit(lambda: None)

    def reject(times: int) -> None:
        for _ in range(times):
            try:
                function()
            except CircuitOpenError:
                continue
            raise AssertionError("it was let through")

    reject(100)
    tracemalloc.start()
    try:
        reject(100)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        reject(2_000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    reject(100_000)
    assert grown < 2_000


def test_a_breaker_takes_two_kibibytes_at_most() -> None:
    """In each state, with all that belongs to it alone."""
    for make in (breaker, tripped):
        make()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            breakers = [make() for _ in range(500)]
            size = (tracemalloc.get_traced_memory()[0] - before) / len(breakers)
        finally:
            tracemalloc.stop()
        assert 200 < size <= 2048


# Events and the log.


def test_changes_are_told_in_order(fake_clock: FakeClock) -> None:
    """Each with what it was, what it is, and why."""
    told: list[Any] = []
    circuit = breaker(observers=(told.append,))
    with pytest.raises(ConnectionRefusedError):
        circuit.call(raiser(refusal("db is down")))
    fake_clock.advance(10)
    with pytest.raises(ConnectionRefusedError):
        circuit.call(raiser(refusal("db is down still")))
    fake_clock.advance(20)
    circuit.call(lambda: None)
    circuit.isolate()
    circuit.release()
    circuit.reset()
    circuit.reset()
    assert all(type(event) is CircuitChanged for event in told)
    assert [(event.epoch, event.previous, event.state, event.reason) for event in told] == [
        (1, "closed", "open", "tripped"),
        (2, "open", "half-open", "cooled down"),
        (3, "half-open", "open", "probe failed"),
        (4, "open", "half-open", "cooled down"),
        (5, "half-open", "closed", "probe succeeded"),
        (6, "closed", "isolated", "isolated"),
        (7, "isolated", "half-open", "released"),
        (8, "half-open", "closed", "reset"),
    ]
    assert [event.cooldown for event in told[:5]] == [10, 0, 20, 0, 0]
    assert [event.openings for event in told[:5]] == [1, 1, 2, 2, 0]
    assert [event.elapsed for event in told[:5]] == [0, 10, 10, 30, 30]
    assert told[2].error_text == "[Errno 111] db is down still"
    assert {event.breaker for event in told} == {event.call for event in told} == {"db"}


def test_rejections_are_told_to_observers(fake_clock: FakeClock) -> None:
    """With what was not called."""
    told: list[Any] = []
    circuit = tripped(observers=(told.append,))

    @circuit
    def connect() -> None: ...

    for reject in (connect, circuit.admit, circuit.__enter__):
        with pytest.raises(CircuitOpenError):
            reject()
    rejections = told[1:]
    assert [type(event) for event in rejections] == [CallRejected] * 3
    assert [event.call.split(".")[-1] for event in rejections] == ["connect", "db", "db"]
    assert {(event.breaker, event.state, event.retry_after, event.attempt) for event in rejections} == {
        ("db", "open", 10, 0)
    }


def test_the_log_says_when_it_opens_and_when_it_closes(caplog: pytest.LogCaptureFixture, fake_clock: FakeClock) -> None:
    """An outage is one ERROR and two WARNINGs, however many probes fail in it; rejections are DEBUG."""
    caplog.set_level(logging.DEBUG, "resilient")
    circuit = CircuitBreaker("db", trip_after=1, cooldown=TEN)
    circuit.settle(circuit.admit(), refusal())
    with pytest.raises(CircuitOpenError):
        circuit.admit()
    for _ in range(5):
        fake_clock.advance(80)
        circuit.settle(circuit.admit(), refusal())
    fake_clock.advance(80)
    circuit.settle(circuit.admit(), "success")
    loud = [(record.levelname, record.getMessage()) for record in caplog.records if record.levelno > logging.DEBUG]
    assert loud == [
        ("ERROR", "circuit db: tripped ([Errno 111] Connection refused), open; one call probes in 10 s"),
        ("WARNING", "circuit db: cooled down, half-open: one call probes"),
        ("WARNING", "circuit db: probe succeeded, closed after 480.00 s"),
    ]
    assert "db: turned away, circuit db is open, retry after 10 s" in [
        record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG
    ]


def test_an_observer_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The next one is told, the circuit opens, and the client's own error comes out."""

    class PeculiarProblem(Exception):
        pass

    def broken(event: object) -> None:
        raise PeculiarProblem

    told: list[object] = []
    circuit = breaker(observers=(broken, told.append))
    with pytest.raises(ConnectionRefusedError):
        circuit.call(raiser(refusal()))
    assert circuit.state == "open"
    assert len(told) == 1
    assert sum("PeculiarProblem" in record.getMessage() for record in caplog.records) == 1


def test_an_observer_may_use_the_breaker() -> None:
    """No lock is held, and what it changes is told after what it was told."""
    told: list[tuple[int, str]] = []

    def observer(event: Any) -> None:
        if event.state == "open":
            circuit.isolate()
            circuit.snapshot()
            circuit.release()
            with contextlib.suppress(CircuitOpenError):
                circuit.call(lambda: None)
        told.append((event.epoch, event.state))

    circuit = breaker(observers=(observer,))
    circuit.settle(circuit.admit(), "failure")
    assert told == [(1, "open"), (2, "isolated"), (3, "half-open"), (4, "closed")]


def test_an_interrupt_in_an_observer_gives_the_probe_back(fake_clock: FakeClock) -> None:
    """Ctrl-C may come while the change to half-open is being told, before the probe has begun."""

    def observer(event: Any) -> None:
        if event.state == "half-open":
            raise KeyboardInterrupt

    circuit = half_open(fake_clock, observers=(observer,))
    with pytest.raises(KeyboardInterrupt):
        circuit.call(lambda: None)
    assert not circuit.snapshot().probing


def test_nothing_is_told_while_nothing_changes(recorded_events: RecordedEvents) -> None:
    """Calls through a healthy circuit are no events."""
    circuit = breaker(trip_after=2)
    circuit.call(lambda: None)
    with pytest.raises(ConnectionRefusedError):
        circuit.call(raiser(refusal()))
    circuit.call(lambda: None)
    circuit.release()
    circuit.reset()
    assert recorded_events == []


# The clock.


def test_the_wall_clock_may_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an hour, in either direction: the circuit opens and cools down as it would have."""
    wall = [1_700_000_000.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    circuit = tripped(cooldown=Backoff(initial=0.03, maximum=0.03, jitter="none"))
    for jump in (3600, -7200):
        wall[0] += jump
        with pytest.raises(CircuitOpenError) as caught:
            circuit.admit()
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= 0.03
    time.sleep(0.031)
    wall[0] -= 3600
    assert circuit.admit().probe


# Settings.

NAN, INF = float("nan"), float("inf")


class Callable_:
    async def __call__(self, error: BaseException) -> bool:
        return True


async def is_down(error: BaseException) -> bool:
    return True


WRONG: tuple[tuple[str, Any], ...] = (
    *(("trip_after", value) for value in (0, -1, True, 1.0, "5", None, NAN)),
    *(("close_after", value) for value in (0, -1, False, 1.5, "1", None)),
    *(("probe_timeout", value) for value in (0, -1.0, NAN, INF, -INF, True, "30", None, timedelta(seconds=-1))),
    *(("cooldown", value) for value in (1.0, None, "1s", Backoff, Backoff(initial=0, maximum=0))),
    *(("counts", value) for value in (3, None, "refused", (), (ValueError, 3), int, KeyboardInterrupt)),
    *(("counts", value) for value in (is_down, Callable_(), lambda error: (yield))),
    *(("observers", value) for value in (print, 3, None, (3,), "log", (is_down,))),
)


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda it: it if isinstance(it, str) else repr(it)[:30])
def test_a_wrong_setting_is_refused_when_it_is_given(field: str, value: Any) -> None:
    """The message names the setting, and the value where it is one that can be read."""
    with pytest.raises(PolicyError, match=rf"CircuitBreaker\.{field}") as caught:
        CircuitBreaker("db", **{field: value})
    if isinstance(value, (int, float)) and (field, value) != ("cooldown", 0):
        assert repr(value) in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x1b[31mb", 3, None, b"db"], ids=repr)
def test_a_wrong_name_is_refused(name: Any) -> None:
    """It goes to the log."""
    with pytest.raises(PolicyError, match=r"CircuitBreaker\.name"):
        CircuitBreaker(name)


def test_a_timedelta_is_a_duration(fake_clock: FakeClock) -> None:
    """For the time that a probe may take."""
    circuit = half_open(fake_clock, probe_timeout=timedelta(minutes=1))
    circuit.admit()
    fake_clock.advance(59)
    with pytest.raises(CircuitOpenError):
        circuit.admit()
    fake_clock.advance(1)
    assert circuit.admit().probe


def test_settings_are_given_by_name() -> None:
    """All but the breaker's own name."""
    with pytest.raises(TypeError):
        CircuitBreaker("db", 3)  # type: ignore[misc]
    with pytest.raises(TypeError):
        CircuitBreaker()  # type: ignore[call-arg]


def test_the_defaults_are_those_of_the_manual(fake_clock: FakeClock) -> None:
    """Five failures, 0.1 to 1 s, half a minute for a probe, one success."""
    circuit = CircuitBreaker("db", observers=())
    for _ in range(4):
        circuit.settle(circuit.admit(), refusal())
    assert circuit.state == "closed"
    circuit.settle(circuit.admit(), refusal())
    for _ in range(20):
        assert circuit.state == "open"
        cooldown = circuit.snapshot().cooldown
        assert 0.05 <= cooldown <= 1
        fake_clock.advance(cooldown)
        permit = circuit.admit()
        circuit.settle(permit, refusal())
    fake_clock.advance(1)
    circuit.admit()
    fake_clock.advance(29.5)
    with pytest.raises(CircuitOpenError):
        circuit.admit()
    fake_clock.advance(1)
    circuit.settle(circuit.admit(), "success")
    assert circuit.state == "closed"


def test_a_permit_says_what_it_is() -> None:
    """For a person."""
    assert repr(breaker().admit()) == "Permit(epoch=0, probe=False, lease=0)"
    assert isinstance(breaker().admit(), Permit)


def test_a_breaker_goes_where_its_name_says() -> None:
    """`retry_on_refused(CircuitBreaker(...))` is a mistake that is easily made."""
    with pytest.raises(TypeError, match="give the breaker by name"):
        retry_on_refused(breaker())  # type: ignore[call-overload]
