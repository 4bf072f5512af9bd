"""One breaker per endpoint: which one a call gets, which are kept, and how many there are at most."""

from __future__ import annotations

import copy
import functools
import pickle
import threading
import time
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest
from drivers import QUIET, Client, Driver, on_every_driver, refusal

from resilient import (
    Backoff,
    CallParked,
    CircuitBreaker,
    CircuitBreakers,
    CircuitOpenError,
    Endpoint,
    PolicyError,
    TargetError,
    attempts,
    retry_on_refused,
)
from resilient.testing import FakeClock, RecordedEvents

TEN = Backoff(initial=10, maximum=10, jitter="none")
ONCE = QUIET.replace(attempts=1)


def breakers(**settings: Any) -> CircuitBreakers:
    """Breakers that open at the first failure and say nothing."""
    return CircuitBreakers(**{"trip_after": 1, "cooldown": TEN, "observers": (), **settings})


def trip(circuit: CircuitBreaker) -> CircuitBreaker:
    circuit.settle(circuit.admit(), refusal())
    assert circuit.state == "open"
    return circuit


# The mapping.


def test_an_endpoint_has_one_breaker() -> None:
    """However it is written; another endpoint has another."""
    circuits = breakers()
    circuit = circuits["db:5432"]
    assert circuits["db:5432"] is circuit
    assert circuits["postgresql://me:sesame@db/"] is circuits["postgresql://db:5432"]
    assert circuits[Endpoint.parse("db:5432")] is circuit
    assert circuits["db:5433"] is not circuit
    assert (circuit.name, circuit.target) == ("db:5432", Endpoint.parse("db:5432"))


def test_its_name_tells_no_secret() -> None:
    """It goes to logs."""
    circuits = breakers()
    assert "sesame" not in circuits["postgresql://me:sesame@db/"].name
    assert "sesame" not in repr(circuits)


def test_asking_whether_there_is_one_makes_none() -> None:
    """Nor does a length, a repr or a snapshot."""
    circuits = breakers(max_breakers=7)
    assert "db:5432" not in circuits
    assert 5432 not in circuits
    assert len(circuits) == 0
    trip(circuits["db:5432"])
    assert "db:5432" in circuits
    assert Endpoint.parse("db:5432") in circuits
    assert repr(circuits) == "<CircuitBreakers 1 of at most 7>"
    assert [(snapshot.name, snapshot.state) for snapshot in circuits.snapshot()] == [("db:5432", "open")]


def test_a_key_that_is_no_target_is_refused() -> None:
    """As everywhere else, and no breaker is made."""
    circuits = breakers()
    with pytest.raises(TargetError):
        circuits["db:port"]
    assert len(circuits) == 0


def test_each_has_the_settings() -> None:
    """And its own circuit."""
    circuits = breakers(trip_after=2)
    first, second = circuits["a:1"], circuits["b:1"]
    for circuit in (first, second, first):
        circuit.settle(circuit.admit(), "failure")
    assert (first.state, second.state) == ("open", "closed")


def test_threads_that_ask_at_once_get_the_same_breaker() -> None:
    """One is made."""
    circuits = breakers()
    barrier = threading.Barrier(16)
    got: list[list[CircuitBreaker]] = []

    def ask() -> None:
        barrier.wait()
        got.append([circuits[f"db:{port}"] for port in range(1, 51)])

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(got) == 16
    assert all(list(map(id, its)) == list(map(id, got[0])) for its in got)


# Which are kept.


def test_the_one_that_was_unused_for_longest_is_dropped() -> None:
    """To ask for it is to use it."""
    circuits = breakers(max_breakers=3)
    for host in "abc":
        circuits[f"{host}:1"]
    circuits["a:1"]
    circuits["d:1"]
    assert [f"{host}:1" in circuits for host in "abcd"] == [True, False, True, True]
    assert len(circuits) == 3


def test_a_circuit_that_is_open_is_kept_before_others() -> None:
    """It knows something; a closed one is made again at no loss."""
    circuits = breakers(max_breakers=3)
    opened = trip(circuits["a:1"])
    isolated = circuits["b:1"]
    isolated.isolate()
    for port in range(1, 50):
        circuits[f"c:{port}"]
    assert circuits["a:1"] is opened
    assert circuits["b:1"] is isolated
    assert len(circuits) == 3


def test_where_all_are_open_the_oldest_goes() -> None:
    """There are never more than the bound."""
    circuits = breakers(max_breakers=3)
    for host in "abcde":
        trip(circuits[f"{host}:1"])
    assert [f"{host}:1" in circuits for host in "abcde"] == [False, False, True, True, True]


def test_a_circuit_with_parked_callers_is_kept(fake_clock: FakeClock) -> None:
    """They would wait for a breaker that nobody asks any more: also where nobody has used it for long."""
    circuits = breakers(max_breakers=2, idle_timeout=60)
    circuit = trip(circuits["a:1"])
    with fake_clock.hold():
        thread = threading.Thread(target=retry_on_refused(lambda: None, policy=QUIET, breaker=circuit))
        thread.start()
        while not fake_clock.waiting:
            time.sleep(0.0005)
        assert circuit.parked == 1
        circuit.used_at = -1000.0  # nobody has asked for it in a long time
        for port in range(1, 10):
            circuits[f"b:{port}"]
        assert circuits["a:1"] is circuit
    thread.join(5)
    assert not thread.is_alive()


def test_a_breaker_that_nobody_uses_is_forgotten(fake_clock: FakeClock) -> None:
    """After the idle time, when another is made."""
    circuits = breakers(idle_timeout=60)
    circuits["a:1"]
    fake_clock.advance(30)
    circuits["b:1"]
    fake_clock.advance(29)
    circuits["c:1"]
    assert len(circuits) == 3
    fake_clock.advance(2)
    circuits["b:1"]
    assert len(circuits) == 3
    circuits["d:1"]
    assert [f"{host}:1" in circuits for host in "abcd"] == [False, True, True, True]


def test_a_use_keeps_it(fake_clock: FakeClock) -> None:
    """For another idle time."""
    circuits = breakers(idle_timeout=timedelta(minutes=1))
    circuit = circuits["a:1"]
    for port in range(1, 10):
        fake_clock.advance(59)
        assert circuits["a:1"] is circuit
        circuits[f"b:{port}"]
    assert len(circuits) == 3


def test_no_idle_time_is_for_ever(fake_clock: FakeClock) -> None:
    """Then only their number is bounded."""
    circuits = breakers(idle_timeout=None)
    circuits["a:1"]
    fake_clock.advance(1e9)
    circuits["b:1"]
    assert len(circuits) == 2


def test_a_circuit_that_was_isolated_by_hand_stays_so(fake_clock: FakeClock) -> None:
    """However long nobody calls it: that is until `release()`."""
    circuits = breakers(idle_timeout=60)
    circuits["a:1"].isolate()
    fake_clock.advance(61)
    circuits["b:1"]
    assert circuits["a:1"].state == "isolated"


def test_a_hundred_thousand_endpoints_stay_within_the_bound() -> None:
    """In number and in memory."""
    circuits = breakers(max_breakers=100)
    endpoints = [
        Endpoint(scheme="tcp", host=f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", port=1) for n in range(2_000)
    ]
    for endpoint in endpoints[:1_000]:
        circuits[endpoint]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for endpoint in endpoints[1_000:]:
            circuits[endpoint]
        # All the breakers there were are gone; those of now are measured.
        assert tracemalloc.get_traced_memory()[0] - before < 100 * 2_500
    finally:
        tracemalloc.stop()
    for n in range(100_000):
        circuits[endpoints[n % 2_000]]
    assert len(circuits) == 100


# As `breaker=`.


@on_every_driver
def test_a_callable_target_says_which_breaker(driver: Driver) -> None:
    """Each call anew."""
    circuits = breakers()
    hosts = ["a:1"]
    client = Client(refusal())
    settings: dict[str, Any] = {"policy": ONCE, "target": lambda: hosts[0], "breaker": circuits}
    assert isinstance(driver.fail(client, **settings), ConnectionRefusedError)
    assert (circuits["a:1"].state, client.calls) == ("open", 1)
    circuits["a:1"].isolate()
    assert isinstance(driver.fail(client, **settings), CircuitOpenError)
    assert client.calls == 1
    hosts[0] = "b:1"
    assert driver.call(client, **settings) == "connected"
    assert (circuits["b:1"].state, len(circuits)) == ("closed", 2)


@on_every_driver
@pytest.mark.parametrize("refused", [0, 1, 2])
def test_a_callable_target_is_asked_once_a_call(driver: Driver, refused: int) -> None:
    """Before the first attempt; it may be one that takes its turn, and another answer would name another breaker."""
    circuits = breakers(trip_after=9)
    hosts = ["a:1", "b:1", "c:1"]
    client = Client(*(refusal() for _ in range(refused)))
    driver.call(client, policy=QUIET, target=lambda: hosts.pop(0), breaker=circuits)
    assert hosts == ["b:1", "c:1"]


@on_every_driver
def test_a_text_as_target_says_so_too(driver: Driver) -> None:
    """Then it is always the same one."""
    circuits = breakers()
    driver.fail(Client(refusal()), policy=ONCE, target="a:1", breaker=circuits)
    assert circuits["a:1"].state == "open"


@pytest.mark.parametrize("kind", ["function", "method", "bound method", "coroutine", "partial"])
def test_a_target_is_asked_with_the_arguments(kind: str) -> None:
    """Of the call; without the object, where it is given a method that is bound already."""
    circuits = breakers()

    class Pool:
        def connect(self, host: str) -> None:
            raise refusal()

    def connect(host: str) -> None:
        raise refusal()

    async def connect_async(host: str) -> None:
        raise refusal()

    def protect(function: Any, target: Any = lambda host: host) -> Any:
        return retry_on_refused(function, policy=ONCE, target=target, breaker=circuits)

    def call() -> None:
        if kind == "function":
            protect(connect)("a:1")
        elif kind == "method":
            protect(Pool.connect, lambda pool, host: host)(Pool(), "a:1")
        elif kind == "bound method":
            protect(Pool().connect)("a:1")
        elif kind == "partial":
            protect(functools.partial(connect, "a:1"))()
        else:
            Driver("asyncio", "function").run(lambda: protect(connect_async)("a:1"))

    with pytest.raises(ConnectionRefusedError):
        call()
    assert circuits["a:1"].state == "open"
    circuits["a:1"].isolate()
    with pytest.raises(CircuitOpenError):
        call()


@on_every_driver
def test_a_target_that_raises_costs_the_breaker_and_not_the_call(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """The call goes through without one, refusals are retried, and the log says it once."""

    def find_nothing() -> str:
        raise LookupError(f"of {driver}")

    find_nothing.__qualname__ = f"find_nothing of {driver}"
    circuits = breakers()
    client = Client(refusal(), refusal())
    assert driver.call(client, policy=QUIET, target=find_nothing, breaker=circuits) == "connected"
    assert client.calls == 3
    assert len(circuits) == 0
    assert sum(find_nothing.__qualname__ in record.getMessage() for record in caplog.records) == 1


@on_every_driver
def test_a_call_parks_on_the_breaker_of_its_endpoint(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """And its events name that endpoint."""
    circuits = breakers()
    trip(circuits["a:1"])
    client = Client()
    assert driver.call(client, policy=QUIET, target=lambda: "a:1", breaker=circuits) == "connected"
    assert (fake_clock.now(), client.calls) == (10, 1)
    (parked,) = recorded_events.of(CallParked)
    assert (parked.breaker, parked.target, parked.attempt) == ("a:1", Endpoint.parse("a:1"), 0)


def test_without_a_target_nobody_could_say_which() -> None:
    """At decoration, and where a block begins."""
    with pytest.raises(TypeError, match="retry_on_refused: breaker= is CircuitBreakers, so target= must say which"):
        retry_on_refused(breaker=breakers())
    with pytest.raises(TypeError, match="attempts: breaker= is CircuitBreakers, so target= must say which"):
        attempts(breaker=breakers())


def test_something_else_is_no_breaker() -> None:
    """And the message says what to write."""
    for form in (retry_on_refused, attempts):
        with pytest.raises(TypeError, match=r"write CircuitBreaker\('db'\)"):
            form(breaker="db")  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="must be a CircuitBreaker or CircuitBreakers, not dict"):
            form(breaker={})  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="give the breaker by name"):
        retry_on_refused(breakers())  # type: ignore[call-overload]


# Settings.


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("max_breakers", value) for value in (0, -1, True, 1.5, "3", None)),
        *(("idle_timeout", value) for value in (0, -1, float("nan"), float("inf"), True, "60")),
    ],
    ids=repr,
)
def test_a_wrong_setting_of_its_own_is_refused(field: str, value: Any) -> None:
    """The message names it and the value."""
    with pytest.raises(PolicyError, match=rf"CircuitBreakers\.{field}") as caught:
        CircuitBreakers(**{field: value})
    assert repr(value) in str(caught.value) or isinstance(value, str)


def test_a_wrong_setting_of_its_breakers_is_refused_at_once() -> None:
    """And not when the first of them is made."""
    with pytest.raises(PolicyError, match=r"CircuitBreaker\.trip_after must be at least 1, not 0"):
        CircuitBreakers(trip_after=0)
    with pytest.raises(PolicyError, match="named after its endpoint"):
        CircuitBreakers(name="db")
    with pytest.raises(PolicyError, match="no setting trip_afer; it has trip_after"):
        CircuitBreakers(trip_afer=3)


def test_observers_given_as_an_iterator_are_told_by_every_breaker() -> None:
    """Whatever is read only once is read before the first breaker takes it."""
    told: list[str] = []
    circuits = breakers(observers=iter([lambda event: told.append(event.breaker)]))
    for target in ("a:1", "b:1"):
        trip(circuits[target])
    assert told == ["a:1", "b:1"]


def test_they_belong_to_one_process() -> None:
    """And say so."""
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="belong to one process"):
            copied(breakers())
