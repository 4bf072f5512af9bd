"""A client that hides what happened: the port of the target is asked, once, briefly, and by nobody's own thread."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import tenacity
import trio
from conftest import requires
from drivers import AT_ONCE, QUIET, Client, Driver, noted, notes_of, on_both_twins, on_every_driver, refusal
from fake_servers import silence
from sqlalchemy.util import greenlet_spawn

from resilient import (
    Backoff,
    CallParked,
    Cancellation,
    CircuitBreaker,
    CircuitBreakers,
    CircuitOpenError,
    Endpoint,
    Policy,
    RetriesExhausted,
    RetryScheduled,
    _asking,
    attempts,
    is_refused,
    retry_if_unreachable,
    retry_on_refused,
)
from resilient._asking import BOUND, SHARED, ask, ask_async
from resilient.signatures import Rule, Signature, forget, teach
from resilient.testing import LateServer, fake_clock, late_server, no_retries, recorded_events, refused_port


class ShyError(Exception):
    """What a client raises that says "it did not work", whatever it was."""


class SpokenError(ShyError):
    """And what the same client raises when its server has answered."""


ShyError.__module__ = SpokenError.__module__ = "shy"


@contextlib.contextmanager
def known_as_shy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its signature; what other tests have asked is forgotten, and a busy machine has all the time it takes."""
    _asking._latest.clear()
    monkeypatch.setattr(_asking, "BOUND", 10)
    other = Rule(kind="other", classes=frozenset({"SpokenError"}))
    teach(Signature(package="shy", rules=(other, Rule(kind="hidden", classes=frozenset({"ShyError"})))))
    yield
    forget("shy")


@pytest.fixture(autouse=True)
def shy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with known_as_shy(monkeypatch):
        yield


class Counting:
    """A handler that counts who came."""

    def __init__(self) -> None:
        self._connects = 0

    def __call__(self, connection: socket.socket) -> None:
        self._connects += 1
        silence(connection)

    def came(self, number: int) -> bool:
        """Whether so many came, and nobody after them: a connect is done before its server knows of it."""
        until = time.monotonic() + 2
        while self._connects < number and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.01)
        return self._connects == number


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def listening(counting: Counting) -> Iterator[LateServer]:
    with late_server(counting) as server:
        server.up()
        yield server


def at(port: int) -> Endpoint:
    return Endpoint.parse(f"127.0.0.1:{port}")


def after(seconds: float) -> None:
    """Wait until an answer is old."""
    time.sleep(seconds + 0.02)


def hidden() -> Client:
    """A client that fails for ever and never says why."""
    return Client(forever=lambda: ShyError("it did not work"))


# What the answer does.


@on_every_driver
def test_a_port_that_refuses_makes_the_error_a_refusal(driver: Driver, refused_port: int) -> None:
    """Tried again, told of and noted as one; the client's own error comes out."""
    client = hidden()
    with recorded_events() as events:
        error = driver.fail(client, policy=QUIET.replace(attempts=3), target=f"127.0.0.1:{refused_port}")
    assert error is client.raised
    assert client.calls == 3
    assert [event.kind for event in events.of(RetryScheduled)] == ["refused", "refused"]
    assert [event.kind for event in events.of(RetriesExhausted)] == ["refused"]
    note = f"resilient: gave up after 3 attempts in 0.0 s (limit 3 attempts) on 127.0.0.1:{refused_port}"
    assert notes_of(error) == noted(note)


@on_every_driver
def test_a_port_that_is_open_changes_nothing(driver: Driver, listening: LateServer, counting: Counting) -> None:
    """The error comes out after one call as it was, and nobody hears of it."""
    client, outer, cause = hidden(), KeyError("outer"), ValueError("cause")
    client._errors = [ShyError("it did not work")]
    client._errors[0].__cause__ = cause
    with recorded_events() as events:
        error = driver.fail(client, handling=outer, policy=QUIET, target=listening.target)
    assert error is client.raised
    assert client.calls == 1
    assert (error.__cause__, error.__context__) == (cause, outer)
    assert notes_of(error) == []
    assert events == []
    assert counting.came(1)


@on_every_driver
def test_recovery_after_an_answer(driver: Driver, refused_port: int) -> None:
    client = Client(ShyError(), ShyError())
    assert driver.call(client, policy=QUIET, target=f"127.0.0.1:{refused_port}") == "connected"
    assert client.calls == 3


@on_both_twins
def test_the_answer_holds_for_the_deciding_and_no_longer(driver: Driver, refused_port: int) -> None:
    """The predicates never dial, so to them the error stays what it says."""
    error = driver.fail(hidden(), policy=QUIET.replace(attempts=2), target=f"127.0.0.1:{refused_port}")
    assert not is_refused(error)


@on_both_twins
def test_the_same_error_again_is_asked_again(driver: Driver, counting: Counting) -> None:
    """An error object that a client keeps says nothing of what its port will say."""
    kept = ShyError()
    client = Client(forever=lambda: kept)
    with late_server(counting) as server:

        def function() -> Any:
            if client.calls == 1:
                after(SHARED)
                server.up()
            return client()

        error = driver.fail(function, policy=QUIET.replace(attempts=5), target=server.target)
    assert error is kept
    assert client.calls == 2
    assert notes_of(error) == []


@on_both_twins
def test_another_policy_may_have_no_use_for_the_answer(driver: Driver, refused_port: int) -> None:
    client = hidden()
    policy = QUIET.replace(retry=retry_if_unreachable(), attempts=3)
    assert driver.fail(client, policy=policy, target=f"127.0.0.1:{refused_port}") is client.raised
    assert client.calls == 1


# Who is asked, and who is not.


@on_both_twins
def test_without_a_target_nobody_is_asked(
    driver: Driver, listening: LateServer, counting: Counting, refused_port: int
) -> None:
    """Least of all an address that stands in the error."""
    for port in (listening.port, refused_port):
        client = Client(forever=lambda port=port: ShyError(f"127.0.0.1:{port}: Connection refused"))  # type: ignore[misc]
        driver.fail(client, policy=QUIET)
        assert client.calls == 1
    assert counting.came(0)


@on_both_twins
def test_only_the_target_is_asked(driver: Driver, listening: LateServer, counting: Counting, refused_port: int) -> None:
    client = Client(forever=lambda: ShyError(f"could not reach 127.0.0.1:{refused_port}"))
    driver.fail(client, policy=QUIET, target=listening.target)
    assert client.calls == 1
    assert counting.came(1)


@on_both_twins
@pytest.mark.parametrize(
    "error",
    [
        SpokenError("wrong password"),
        ValueError("no client's error"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        TimeoutError("timed out"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_says_something_asks_nobody(
    driver: Driver, error: Exception, listening: LateServer, counting: Counting
) -> None:
    driver.fail(Client(error), policy=QUIET.replace(attempts=1), target=listening.target)
    assert counting.came(0)


@on_both_twins
def test_evidence_behind_a_hidden_error_counts_first(driver: Driver, listening: LateServer, counting: Counting) -> None:
    def shy_of_a_refusal() -> ShyError:
        error = ShyError()
        error.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return error

    client = Client(forever=shy_of_a_refusal)
    driver.fail(client, policy=QUIET.replace(attempts=2), target=listening.target)
    assert client.calls == 2
    assert counting.came(0)


@on_both_twins
def test_a_group_that_has_a_hidden_error_is_not_one(driver: Driver, refused_port: int) -> None:
    """What the other member says is not known to be the same."""
    error = OSError()
    error.exceptions = [ShyError(), ConnectionRefusedError(errno.ECONNREFUSED, "")]  # type: ignore[attr-defined]
    client = Client(error)
    driver.fail(client, policy=QUIET, target=f"127.0.0.1:{refused_port}")
    assert client.calls == 1


@on_both_twins
def test_whoever_does_not_try_again_asks_nobody(driver: Driver, listening: LateServer, counting: Counting) -> None:
    cancelled = Cancellation()
    cancelled.cancel()
    driver.fail(hidden(), policy=QUIET, target=listening.target, cancel=cancelled)
    with no_retries():
        driver.fail(hidden(), policy=QUIET, target=listening.target)
    assert counting.came(0)
    assert not _asking._latest


@on_both_twins
def test_a_target_may_be_a_function_of_the_call(driver: Driver, refused_port: int) -> None:
    client = hidden()
    driver.fail(client, policy=QUIET.replace(attempts=2), target=lambda: f"127.0.0.1:{refused_port}")
    assert client.calls == 2


@on_both_twins
def test_a_target_function_is_called_once_for_all_questions_of_a_call(driver: Driver, refused_port: int) -> None:
    """It may cost something, and what is asked next is the port that was asked first."""
    client, called = hidden(), []

    def target() -> str:
        called.append(client.calls)
        return f"127.0.0.1:{refused_port}"

    driver.fail(client, policy=QUIET.replace(attempts=3), target=target)
    assert client.calls == 3
    assert called == [1]


@on_both_twins
def test_a_target_function_that_fails_asks_nobody(driver: Driver) -> None:
    client = hidden()

    def target() -> str:
        raise LookupError("no such setting")

    assert driver.fail(client, policy=QUIET, target=target) is client.raised
    assert client.calls == 1


@on_both_twins
def test_asking_does_not_multiply_nested_calls(driver: Driver, refused_port: int) -> None:
    client, target = hidden(), f"127.0.0.1:{refused_port}"
    inner = retry_on_refused(policy=QUIET.replace(attempts=2), target=target)(client)
    error = driver.fail(inner, policy=QUIET.replace(attempts=3), target=target)
    assert error is client.raised
    assert client.calls == 2


# With a circuit.


@on_every_driver
def test_a_refusing_port_counts_as_a_failure_and_an_open_one_as_a_success(
    driver: Driver, refused_port: int, listening: LateServer
) -> None:
    for port, state in ((refused_port, "open"), (listening.port, "closed")):
        breaker = CircuitBreaker("db", trip_after=1, observers=())
        driver.fail(hidden(), policy=QUIET.replace(attempts=1), target=f"127.0.0.1:{port}", breaker=breaker)
        assert breaker.state == state


@on_both_twins
def test_each_endpoint_has_its_own_circuit(driver: Driver, refused_port: int) -> None:
    breakers = CircuitBreakers(trip_after=1, observers=())
    endpoint = at(refused_port)
    driver.fail(hidden(), policy=QUIET.replace(attempts=1), target=lambda: endpoint, breaker=breakers)
    assert breakers[endpoint].state == "open"


@on_both_twins
def test_a_probe_whose_error_hides_reopens_the_circuit(driver: Driver, refused_port: int) -> None:
    """Parked, woken for the probe, asked, parked again, until the deadline."""
    breaker = CircuitBreaker(
        "db", trip_after=1, cooldown=Backoff(initial=0.05, maximum=0.05, jitter="none"), observers=()
    )
    client = hidden()
    policy = QUIET.replace(deadline=0.4, backoff=AT_ONCE)
    driver.fail(client, policy=policy, target=f"127.0.0.1:{refused_port}", breaker=breaker)
    assert 3 <= client.calls <= 12
    assert breaker.state in ("open", "half-open")


@on_both_twins
def test_a_circuit_that_turned_the_call_away_is_not_doubted(
    driver: Driver, listening: LateServer, counting: Counting
) -> None:
    """Whoever hides its word has dialled nobody, so nobody asks; what comes out is the call's own last error."""
    circuit, own, calls = CircuitBreaker("inner", observers=()), refusal(), 0
    circuit.isolate()

    def connect() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise own
        try:
            circuit.call(lambda: None)
        except CircuitOpenError as error:
            raise ShyError from error

    assert driver.fail(connect, policy=QUIET, target=listening.target) is own
    assert calls == 2
    assert counting.came(0)


@on_every_driver
def test_a_call_that_parks_for_a_hidden_refusal_says_so(driver: Driver, refused_port: int) -> None:
    breaker = CircuitBreaker("db", trip_after=1, cooldown=Backoff(initial=10, maximum=10, jitter="none"), observers=())
    policy = QUIET.replace(deadline=25)
    with fake_clock(), recorded_events() as events:
        driver.fail(hidden(), policy=policy, target=f"127.0.0.1:{refused_port}", breaker=breaker)
    assert {event.kind for event in events.of(CallParked)} == {"refused"}


# What is told afterwards.


@on_every_driver
def test_a_call_that_is_cancelled_in_its_pause_still_knows_the_answer(driver: Driver, refused_port: int) -> None:
    """The pause comes after the deciding, and the reason is told after the pause."""
    cancelled, client = Cancellation(), hidden()

    def going(event: object) -> None:
        if isinstance(event, RetryScheduled):
            cancelled.cancel()

    policy = Policy(backoff=Backoff(initial=30, maximum=30), observers=(going,))
    with recorded_events() as events:
        error = driver.fail(client, policy=policy, target=f"127.0.0.1:{refused_port}", cancel=cancelled)
    assert error is client.raised
    assert client.calls == 1
    assert [(event.kind, event.reason) for event in events.of(RetriesExhausted)] == [("refused", "cancelled")]


@on_every_driver
def test_an_answer_is_not_told_of_the_same_error_when_it_comes_again(driver: Driver, counting: Counting) -> None:
    """A client that keeps its error, and a policy that retries it whatever the port says."""
    kept, calls = ShyError(), 0
    policy = QUIET.replace(retry=tenacity.retry_if_exception_type(ShyError), attempts=3)
    with late_server(counting) as server, recorded_events() as events:

        def connect() -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                after(SHARED)
                server.up()
            raise kept

        driver.fail(connect, policy=policy, target=server.target)
    assert [event.kind for event in events.of(RetryScheduled)] == ["refused", None]
    assert [event.kind for event in events.of(RetriesExhausted)] == [None]


@on_every_driver
def test_an_answer_is_not_told_of_the_same_error_when_nobody_asks(driver: Driver, refused_port: int) -> None:
    """A cancelled call does not; what it says of its error is what the error says."""
    kept, stop = ShyError(), Cancellation()
    client = Client(forever=lambda: kept)

    def connect() -> None:
        if client.calls == 1:
            stop.cancel()
        client()

    policy = QUIET.replace(retry=tenacity.retry_if_exception_type(ShyError))
    with recorded_events() as events:
        driver.fail(connect, policy=policy, target=f"127.0.0.1:{refused_port}", cancel=stop)
    assert [(event.kind, event.reason) for event in events.of(RetriesExhausted)] == [(None, "cancelled")]


@on_every_driver
def test_a_clear_error_after_a_hidden_one_is_decided_on_once(driver: Driver, refused_port: int) -> None:
    """The question is put once, and not again with what comes after it."""
    client = Client(ShyError(), refusal(), refusal())
    with recorded_events() as events:
        assert driver.call(client, policy=QUIET, target=f"127.0.0.1:{refused_port}") == "connected"
    assert [event.attempt for event in events.of(RetryScheduled)] == [1, 2, 3]
    assert [endpoint for _, endpoint in _asking._latest] == [at(refused_port)]


class Witness:
    """An observer that keeps all the frames it is called from alive, so that no other can have the place of one."""

    def __init__(self) -> None:
        self.frames: list[FrameType] = []

    def __call__(self, event: object) -> None:
        self.frames.append(sys._getframe())


@on_both_twins
@pytest.mark.parametrize("refusing", [True, False])
def test_what_is_given_up_on_after_an_answer_is_not_multiplied_outside(
    driver: Driver, refusing: bool, refused_port: int, listening: LateServer
) -> None:
    """The inner call marks its error by a frame that the error comes through."""
    client, witness = hidden(), Witness()
    target = f"127.0.0.1:{refused_port}" if refusing else listening.target
    policy = Policy(retry=tenacity.retry_if_exception_type(ShyError), backoff=AT_ONCE, attempts=2, observers=(witness,))
    if driver.is_async:

        async def connect() -> None:
            client()

        inner = retry_on_refused(policy=policy, target=target)(connect)

        @retry_on_refused(policy=policy.replace(attempts=3))
        async def outer() -> None:
            await inner()

        with pytest.raises(ShyError):
            asyncio.run(outer())
    else:
        protected = retry_on_refused(policy=policy, target=target)(client)
        driver.fail(protected, policy=policy.replace(attempts=3))
    assert client.calls == 2


# What an answer is.


def test_a_stale_unix_socket_refuses() -> None:
    with tempfile.TemporaryDirectory(prefix="r") as folder:
        path = str(Path(folder) / "s")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            assert not ask(Endpoint.parse(f"unix://{path}"))
            after(SHARED)
        assert ask(Endpoint.parse(f"unix://{path}"))
        assert not ask(Endpoint.parse(f"unix://{path}-that-is-missing"))


def test_a_name_that_does_not_resolve_does_not_refuse() -> None:
    assert not ask(Endpoint.parse("nowhere.invalid:5432"))


def resolving(monkeypatch: pytest.MonkeyPatch, *places: tuple[int, Any]) -> None:
    infos = [(family, socket.SOCK_STREAM, 6, "", address) for family, address in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)


def test_every_address_must_refuse(monkeypatch: pytest.MonkeyPatch, listening: LateServer) -> None:
    with refused_port() as one, refused_port() as other:
        down = [(socket.AF_INET, ("127.0.0.1", port)) for port in (one, other)]
        resolving(monkeypatch, *down)
        assert ask(Endpoint.parse("db:1"))
        for place in range(3):
            places = list(down)
            places.insert(place, (socket.AF_INET, ("127.0.0.1", listening.port)))
            resolving(monkeypatch, *places)
            assert not ask(Endpoint.parse(f"db:{place + 2}"))
        resolving(monkeypatch)
        assert not ask(Endpoint.parse("db:9"))


class Elsewhere(socket.socket):
    """A socket of a machine that has no IPv6, as far as connecting goes."""

    def connect(self, address: Any) -> None:
        if self.family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        super().connect(address)


def test_an_address_that_this_machine_cannot_use_says_nothing(
    monkeypatch: pytest.MonkeyPatch, refused_port: int
) -> None:
    """`localhost` is ::1 as well in many a container without IPv6."""
    monkeypatch.setattr(socket, "socket", Elsewhere)
    six = (socket.AF_INET6, ("::1", refused_port, 0, 0))
    resolving(monkeypatch, six, (socket.AF_INET, ("127.0.0.1", refused_port)))
    assert ask(Endpoint.parse("db:1"))
    resolving(monkeypatch, six)
    assert not ask(Endpoint.parse("db:2"))


class Narcissus(socket.socket):
    """A socket that happens to get the very port it connects to as its own."""

    def connect(self, address: Any) -> None:
        self.bind(address)
        super().connect(address)


def test_a_connect_that_met_itself_met_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(socket, "socket", Narcissus)
    assert ask(at(port))


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue is full: a connect gets no answer."""
    from corpus.servers import full_port

    with full_port() as port:
        yield port


def test_silence_is_no_refusal_and_takes_a_quarter_of_a_second(monkeypatch: pytest.MonkeyPatch, full_port: int) -> None:
    monkeypatch.setattr(_asking, "BOUND", BOUND)
    started = time.monotonic()
    assert not ask(at(full_port))
    assert BOUND - 0.01 <= time.monotonic() - started < 2


class Hanging:
    """A resolver that hangs until it is let go; the bound is the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[int] = []
        self.free = threading.Event()
        self._resolve = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)
        monkeypatch.setattr(_asking, "BOUND", BOUND)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(threading.get_ident())
        self.free.wait(10)
        return self._resolve(*args, **kwargs)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    found = Hanging(monkeypatch)
    yield found
    found.free.set()


def test_a_resolver_that_hangs_is_left_alone(hanging: Hanging, refused_port: int) -> None:
    """Its time is the connect's; nobody waits a second time, and no second thread hangs beside it."""
    started = time.monotonic()
    assert not ask(at(refused_port))
    assert BOUND - 0.01 <= time.monotonic() - started < 2
    started = time.monotonic()
    assert not any(ask(at(refused_port)) for _ in range(20))
    assert time.monotonic() - started < BOUND
    assert len(hanging.calls) == 1


def test_a_late_answer_is_no_and_then_asked_anew(hanging: Hanging, refused_port: int) -> None:
    question = _asking.put(at(refused_port))
    time.sleep(BOUND + 0.05)
    hanging.free.set()
    while not question._answered:
        time.sleep(0.001)
    assert not question.refused
    after(SHARED)
    assert ask(at(refused_port))


# Its bounds, on a clock that is set by hand.


class HandClock:
    """What `_asking` takes for real time. All its numbers are exact in binary, so that an edge is an edge."""

    def __init__(self) -> None:
        self.seconds = 1024.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def hand_clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    clock = HandClock()
    monkeypatch.setattr(_asking, "monotonic", clock)
    monkeypatch.setattr(_asking, "BOUND", 0.25)
    monkeypatch.setattr(_asking, "SHARED", 0.125)
    return clock


def test_the_bounds_are_numbers_that_were_chosen() -> None:
    """A quarter of a second is what a call waits at most; a tenth is what an answer is worth."""
    assert (BOUND, SHARED, _asking.MOST_KEPT) == (0.25, 0.1, 256)


def test_a_question_has_a_quarter_of_a_second(hand_clock: HandClock) -> None:
    """Then nobody waits for it any more, and it stays unanswered, and young, as long as its resolver hangs."""
    question = _asking.Question()
    assert (question.left, question.cancelled, question.old) == (0.25, False, False)
    hand_clock.seconds += 0.125
    assert (question.left, question.cancelled, question.old) == (0.125, False, False)
    hand_clock.seconds += 0.125
    assert (question.left, question.cancelled, question.old) == (0, True, False)
    hand_clock.seconds += 3600
    assert (question.left, question.cancelled, question.old) == (0, True, False)
    assert question.refused is False


def test_an_answer_is_shared_for_a_tenth_of_a_second(hand_clock: HandClock) -> None:
    question = _asking.Question()
    question.answer(True)
    assert (question.refused, question.cancelled, question.old) == (True, True, False)
    hand_clock.seconds += 0.0625
    assert not question.old
    hand_clock.seconds += 0.0625
    assert question.old


@pytest.mark.parametrize(("seconds", "expected"), [(0.125, True), (0.25, False), (0.5, False)])
def test_a_refusal_counts_until_the_time_is_up(hand_clock: HandClock, seconds: float, expected: bool) -> None:
    question = _asking.Question()
    hand_clock.seconds += seconds
    question.answer(True)
    assert question.refused is expected


def test_the_first_answer_counts(hand_clock: HandClock) -> None:
    """A second one makes the first neither another nor younger."""
    for first in (True, False):
        question = _asking.Question()
        question.answer(first)
        hand_clock.seconds += 0.125
        question.answer(not first)
        assert question.refused is first
        assert question.old


def test_an_answer_wakes_who_waits_and_nobody_who_has_gone() -> None:
    woken: list[str] = []
    question = _asking.Question()
    question._watch(lambda: woken.append("first"))
    gone = question._watch(lambda: woken.append("gone"))
    question._watch(lambda: woken.append("last"))
    question._unwatch(gone)
    question._unwatch(gone)
    question.answer(False)
    question.answer(False)
    assert woken == ["first", "last"]


@pytest.mark.parametrize("form", ["coroutine", "greenlet"])
def test_an_answer_that_is_there_is_given_without_a_pause(
    form: str, monkeypatch: pytest.MonkeyPatch, refused_port: int
) -> None:
    """A coroutine that ends at its first step has not let its event loop wait."""
    monkeypatch.setattr(_asking, "SHARED", 10)
    assert ask(at(refused_port))
    asked = ask_async(at(refused_port)) if form == "coroutine" else greenlet_spawn(ask, at(refused_port))
    with pytest.raises(StopIteration) as end:
        asked.send(None)
    assert end.value.value is True


def test_what_is_kept_is_forgotten_when_it_is_too_much_and_old(
    monkeypatch: pytest.MonkeyPatch, hand_clock: HandClock
) -> None:
    """Neither before, nor what was answered just now, nor what is still being asked."""
    answered: list[bool] = [True]
    monkeypatch.setattr(_asking, "_start", lambda question, _: question.answer(False) if answered[0] else None)

    def kept() -> list[int | None]:
        return [endpoint.port for _, endpoint in _asking._latest]

    answered[0] = False
    _asking.put(at(1))
    answered[0] = True
    for port in range(2, _asking.MOST_KEPT):
        _asking.put(at(port))
    hand_clock.seconds += 0.125
    _asking.put(at(1000))
    assert len(kept()) == _asking.MOST_KEPT
    _asking.put(at(1001))
    assert kept() == [1, 1000, 1001]


def test_an_answer_is_asked_for_on_a_thread_that_keeps_no_program_alive(hanging: Hanging) -> None:
    _asking.put(at(1))
    while not hanging.calls:
        time.sleep(0.001)
    (thread,) = (thread for thread in threading.enumerate() if thread.ident in hanging.calls)
    assert (thread.name, thread.daemon) == ("resilient-asking", True)


# One address.


def test_an_address_is_not_dialled_when_no_time_is_left(monkeypatch: pytest.MonkeyPatch, refused_port: int) -> None:
    """Not even without waiting: there is no socket for it."""
    address = ("127.0.0.1", refused_port)
    assert _asking._dial(socket.AF_INET, address, BOUND) is True
    monkeypatch.setattr(socket, "socket", None)
    for seconds in (0.0, -0.5, -1.0):
        assert _asking._dial(socket.AF_INET, address, seconds) is False


def test_dialling_ends_in_its_time(full_port: int) -> None:
    """Or a thread would hang for minutes, and no other would ask this endpoint."""
    started = time.monotonic()
    assert _asking._dial(socket.AF_INET, ("127.0.0.1", full_port), 0.05) is False
    assert time.monotonic() - started < 2


class Nameless(socket.socket):
    """A socket of a system where a unix socket's ends both go without a name."""

    def getsockname(self) -> Any:
        return ""

    def getpeername(self) -> Any:
        return ""


def test_a_unix_socket_never_meets_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="r") as folder, socket.socket(socket.AF_UNIX) as server:
        path = str(Path(folder) / "s")
        server.bind(path)
        server.listen()
        monkeypatch.setattr(socket, "socket", Nameless)
        assert not ask(Endpoint.parse(f"unix://{path}"))


# By whom, how often.


def test_one_answer_serves_a_crowd_of_threads(listening: LateServer, counting: Counting) -> None:
    gate, answers = threading.Barrier(50), []

    def caller() -> None:
        gate.wait()
        answers.append(ask(at(listening.port)))

    threads = [threading.Thread(target=caller) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [False] * 50
    assert counting.came(1)


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_one_answer_serves_a_crowd_of_tasks(world: str, listening: LateServer, counting: Counting) -> None:
    answers: list[bool] = []

    async def caller() -> None:
        answers.append(await ask_async(at(listening.port)))

    async def main() -> None:
        await asyncio.gather(*(caller() for _ in range(500)))

    async def main_trio() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(caller)

    asyncio.run(main()) if world == "asyncio" else trio.run(main_trio)
    assert answers == [False] * 500
    assert counting.came(1)


def test_an_answer_gets_old(listening: LateServer, counting: Counting) -> None:
    started = time.monotonic()
    assert not ask(at(listening.port))
    assert counting.came(1)
    listening.down()
    said = ask(at(listening.port))
    assert not said or time.monotonic() - started >= SHARED
    after(SHARED)
    assert ask(at(listening.port))
    assert counting.came(1)


def test_two_that_ask_anew_at_once_ask_once(monkeypatch: pytest.MonkeyPatch, refused_port: int) -> None:
    """Both have found the old answer when the first hangs its question behind it."""
    started: list[object] = []
    monkeypatch.setattr(_asking, "_start", lambda question, _: (started.append(question), question.answer(True)))
    old = _asking.put(at(refused_port))
    after(SHARED)
    first = _asking.put(at(refused_port))
    _asking._latest[os.getpid(), at(refused_port)] = old
    assert _asking.put(at(refused_port)) is first
    assert started == [old, first]


def test_it_is_never_the_callers_thread_that_resolves_and_dials(
    monkeypatch: pytest.MonkeyPatch, refused_port: int
) -> None:
    seen: set[int] = set()
    resolve, dial = socket.getaddrinfo, _asking._dial
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: (seen.add(threading.get_ident()), resolve(*a, **k))[1])
    monkeypatch.setattr(_asking, "_dial", lambda *a: (seen.add(threading.get_ident()), dial(*a))[1])
    assert ask(at(refused_port))
    after(SHARED)
    assert asyncio.run(ask_async(at(refused_port)))
    assert len(seen) >= 1
    assert threading.get_ident() not in seen


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_an_event_loop_goes_on_meanwhile(world: str, hanging: Hanging) -> None:
    ticks = 0

    async def tick(sleep: Callable[[float], Any]) -> None:
        nonlocal ticks
        while True:
            await sleep(0.01)
            ticks += 1

    async def main() -> None:
        task = asyncio.create_task(tick(asyncio.sleep))
        assert not await ask_async(at(1))
        task.cancel()

    async def main_trio() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick, trio.sleep)
            assert not await ask_async(at(1))
            nursery.cancel_scope.cancel()

    asyncio.run(main()) if world == "asyncio" else trio.run(main_trio)
    assert ticks >= 5


def test_a_greenlet_of_sqlalchemys_lets_its_loop_go_on(hanging: Hanging) -> None:
    """Its async dialects call plain functions on the loop's thread; both the question and the pause are awaited."""
    ticks, client = 0, Client(ShyError(), ConnectionRefusedError(errno.ECONNREFUSED, ""))
    threading.Timer(0.1, hanging.free.set).start()
    policy = QUIET.replace(backoff=Backoff(initial=0.2, maximum=0.2, jitter="none"))

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def main(port: int) -> object:
        task = asyncio.create_task(tick())
        result = await greenlet_spawn(retry_on_refused(policy=policy, target=f"127.0.0.1:{port}")(client))
        task.cancel()
        return result

    with refused_port() as port:
        assert asyncio.run(main(port)) == "connected"
    assert client.calls == 3
    assert ticks >= 20


def test_a_cancelled_greenlet_of_sqlalchemys_ends_in_its_pause(refused_port: int) -> None:
    client = hidden()
    policy = QUIET.replace(backoff=Backoff(initial=30, maximum=30))
    protected = retry_on_refused(policy=policy, target=f"127.0.0.1:{refused_port}")(client)

    async def main() -> None:
        await asyncio.wait_for(greenlet_spawn(protected), 0.5)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(main())
    assert client.calls == 1


@on_every_driver
def test_a_fake_clock_does_not_hurry_a_real_port(driver: Driver, refused_port: int) -> None:
    client = hidden()
    policy = Policy(deadline=30, backoff=Backoff(initial=10, maximum=10, jitter="none"), observers=())
    with fake_clock() as clock:
        driver.fail(client, policy=policy, target=f"127.0.0.1:{refused_port}")
    assert client.calls == 4
    assert clock.sleeps == [10, 10, 10]


# Ended on the way.


def test_a_task_that_is_cancelled_gives_its_permit_back(hanging: Hanging) -> None:
    breaker = CircuitBreaker("db", trip_after=1, observers=())
    client = hidden()

    @retry_on_refused(policy=QUIET, target="127.0.0.1:1", breaker=breaker)
    async def connect() -> None:
        client()

    async def main() -> None:
        task = asyncio.create_task(connect())
        while not hanging.calls:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert breaker.snapshot().failures == 0
    assert breaker.state == "closed"
    assert client.calls == 1


def test_an_interrupt_while_asking_is_untouched(monkeypatch: pytest.MonkeyPatch, refused_port: int) -> None:
    """And whoever else waits for the answer gets it."""

    class Interrupted:
        def __init__(self, **_: Any) -> None: ...

        def start(self) -> None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading, "Thread", Interrupted)
        client = hidden()
        with pytest.raises(KeyboardInterrupt):
            retry_on_refused(policy=QUIET, target=f"127.0.0.1:{refused_port}")(client)()
        assert not ask(at(refused_port))
    assert client.calls == 1
    after(SHARED)
    assert ask(at(refused_port))


def test_where_no_thread_can_be_started_the_answer_is_no(monkeypatch: pytest.MonkeyPatch, refused_port: int) -> None:
    class Refusing:
        def __init__(self, **_: Any) -> None: ...

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "Thread", Refusing)
    client = hidden()
    started = time.monotonic()
    with pytest.raises(ShyError):
        retry_on_refused(policy=QUIET, target=f"127.0.0.1:{refused_port}")(client)()
    assert client.calls == 1
    assert time.monotonic() - started < BOUND


def test_with_no_descriptor_left_the_clients_error_comes_out(refused_port: int) -> None:
    client = hidden()
    protected = retry_on_refused(policy=QUIET, target=f"127.0.0.1:{refused_port}")(client)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(ShyError) as caught:
            protected()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert caught.value is client.raised
    assert client.calls == 1


def test_a_forked_child_asks_for_itself(hanging: Hanging, refused_port: int) -> None:
    """Its parent's thread, which was to answer, is not there."""
    if not hasattr(os, "fork"):
        requires("fork")
    question = _asking.put(at(refused_port))
    while not hanging.calls:
        time.sleep(0.001)
    child = os.fork()
    if child == 0:
        socket.getaddrinfo = hanging._resolve
        os._exit(0 if ask(at(refused_port)) else 1)
    _, status = os.waitpid(child, 0)
    hanging.free.set()
    assert os.waitstatus_to_exitcode(status) == 0
    assert not question.refused or question.left > 0


def test_answers_about_many_endpoints_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_asking, "_start", lambda question, _: question.answer(False))
    monkeypatch.setattr(_asking, "SHARED", 0)
    for port in range(1, 3 * _asking.MOST_KEPT):
        assert not ask(at(port))
    assert len(_asking._latest) <= _asking.MOST_KEPT


def test_a_chain_of_answers_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_asking, "_start", lambda question, _: question.answer(False))
    monkeypatch.setattr(_asking, "SHARED", 0)
    for _ in range(50):
        question = _asking.put(at(1))
        assert not question._following
    assert list(_asking._latest.values()) == [question]


def test_a_block_that_was_asked_for_goes_on_as_a_loop(listening: LateServer) -> None:
    """The error comes out of the `for` line, after the `with` that made it."""
    rounds = 0
    with pytest.raises(ShyError):
        for attempt in attempts(policy=QUIET, target=listening.target):
            rounds += 1
            with attempt:
                raise ShyError
    assert rounds == 1
