"""What type checkers know of the public names; read by mypy and pyright in strict mode, never run.

A line that must be an error carries the ignore for it, and an ignore that nothing needs is an error as well.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar, overload

import tenacity
from typing_extensions import assert_type

import resilient
from resilient import (
    Attempt,
    Backoff,
    CallParked,
    CallRecovered,
    CallRejected,
    Cancellation,
    CircuitBreaker,
    CircuitBreakers,
    CircuitChanged,
    CircuitOpenError,
    CircuitSnapshot,
    Endpoint,
    Event,
    Observer,
    Permit,
    Policy,
    RetriesExhausted,
    RetryScheduled,
    Targets,
    attempts,
    find_refusal,
    is_refused,
    log_before_sleep,
    log_events,
    retry_if_not_ready,
    retry_if_refused,
    retry_on_refused,
)
from resilient.testing import fake_clock, late_server, no_retries, recorded_events, refused_port

T = TypeVar("T")


class Connection:
    """What a client gives out."""


# A function keeps its exact signature, bare and with settings.


@retry_on_refused
def connect(host: str, port: int = 5432, *, timeout: float | None = None) -> Connection:
    return Connection()


@retry_on_refused(policy=Policy.startup(), target="db:5432", cancel=Cancellation())
def connect_set(host: str, port: int = 5432, *, timeout: float | None = None) -> Connection:
    return Connection()


assert_type(connect("db"), Connection)
assert_type(connect(host="db", port=5433, timeout=1.0), Connection)
assert_type(connect_set("db", 5433, timeout=None), Connection)
connect()  # type: ignore[call-arg]
connect(5432)  # type: ignore[arg-type]
connect("db", timeout="1s")  # type: ignore[arg-type]
connect("db", tiemout=1.0)  # type: ignore[call-arg]
connect_set()  # type: ignore[call-arg]
connect_set(5432)  # type: ignore[arg-type]
connect_set("db", tiemout=1.0)  # type: ignore[call-arg]


class Exact(Protocol):
    def __call__(self, host: str, port: int = ..., *, timeout: float | None = ...) -> Connection: ...


exact: Exact = connect
exact = connect_set
imported = retry_on_refused(connect)
assert_type(imported("db"), Connection)
imported(5432)  # type: ignore[arg-type]
configured = retry_on_refused(policy=Policy.request())(connect)
assert_type(configured("db"), Connection)
configured(5432)  # type: ignore[arg-type]
at_once = retry_on_refused(connect, policy=Policy.request(), target="db:5432")
assert_type(at_once("db"), Connection)
at_once(5432)  # type: ignore[arg-type]


# So does a coroutine function.


@retry_on_refused
async def open_connection(host: str, port: int = 5432) -> Connection:
    return Connection()


@retry_on_refused(policy=Policy.request())
async def open_set(host: str, port: int = 5432) -> Connection:
    return Connection()


async def use_coroutines() -> None:
    assert_type(await open_connection("db"), Connection)
    assert_type(await open_set("db", port=1), Connection)
    pending: Coroutine[Any, Any, Connection] = open_connection("db")
    assert_type(await pending, Connection)
    await open_connection(5432)  # type: ignore[arg-type]
    await open_set()  # type: ignore[call-arg]


# Methods are bound, in every form and either order.


class Client:
    def __init__(self, host: str, port: int = 6379) -> None:
        self.host = host

    @retry_on_refused
    def connect(self, timeout: float) -> Connection:
        return Connection()

    @retry_on_refused(policy=Policy.request())
    def connect_set(self, timeout: float) -> Connection:
        return Connection()

    @retry_on_refused
    async def open(self, timeout: float) -> Connection:
        return Connection()

    @classmethod
    @retry_on_refused
    def make(cls, host: str) -> Client:
        return cls(host)

    @classmethod
    @retry_on_refused(policy=Policy.request())
    def make_set(cls, host: str) -> Client:
        return cls(host)

    @retry_on_refused
    @classmethod
    def make_outside(cls, host: str) -> Client:
        return cls(host)

    @retry_on_refused(policy=Policy.request())
    @classmethod
    def make_outside_set(cls, host: str) -> Client:
        return cls(host)

    @staticmethod
    @retry_on_refused
    def probe(host: str) -> bool:
        return True

    @retry_on_refused
    @staticmethod
    def probe_outside(host: str) -> bool:
        return True

    @retry_on_refused(policy=Policy.request())
    @staticmethod
    def probe_outside_set(host: str) -> bool:
        return True


client = Client("db")
assert_type(client.connect(1.0), Connection)
assert_type(client.connect(timeout=1.0), Connection)
assert_type(client.connect_set(1.0), Connection)
assert_type(Client.connect(client, 1.0), Connection)
assert_type(Client.make("db"), Client)
assert_type(Client.make_set("db"), Client)
assert_type(client.make_outside("db"), Client)
assert_type(Client.make_outside_set("db"), Client)
assert_type(Client.probe("db"), bool)
assert_type(client.probe_outside("db"), bool)
assert_type(Client.probe_outside_set("db"), bool)
client.connect()  # type: ignore[call-arg]
client.connect("1s")  # type: ignore[arg-type]
client.connect_set("1s")  # type: ignore[arg-type]
Client.make(5432)  # type: ignore[arg-type]
Client.make_set(5432)  # type: ignore[arg-type]
Client.make_outside(5432)  # type: ignore[arg-type]
Client.probe(5432)  # type: ignore[arg-type]
Client.probe_outside(5432)  # type: ignore[arg-type]


async def use_method() -> None:
    assert_type(await client.open(1.0), Connection)
    await client.open("1s")  # type: ignore[arg-type]


# A class becomes a factory, a callable object and a partial become functions.

factory = retry_on_refused(Client)
assert_type(factory("db", port=1), Client)
factory(5432)  # type: ignore[arg-type]
factory_set = retry_on_refused(policy=Policy.request())(Client)
assert_type(factory_set("db"), Client)
factory_set()  # type: ignore[call-arg]


class Connector:
    def __call__(self, host: str) -> Connection:
        return Connection()


class AsyncConnector:
    async def __call__(self, host: str) -> Connection:
        return Connection()


called = retry_on_refused(Connector())
assert_type(called("db"), Connection)
called(5432)  # type: ignore[arg-type]


async def use_callable() -> None:
    assert_type(await retry_on_refused(AsyncConnector())("db"), Connection)


assert_type(retry_on_refused(functools.partial(connect, "db"))(), Connection)
assert_type(retry_on_refused(lambda: Connection())(), Connection)


# Generics, overloads and callables as arguments.


@retry_on_refused
def first(items: list[T]) -> T:
    return items[0]


@retry_on_refused(policy=Policy.request())
def first_set(items: list[T]) -> T:
    return items[0]


assert_type(first([1]), int)
assert_type(first(["a"]), str)
assert_type(first_set([1]), int)


@overload
def fetch(key: str) -> str: ...
@overload
def fetch(key: int) -> int: ...
@retry_on_refused
def fetch(key: str | int) -> str | int:
    return key


assert_type(fetch("a"), str)
assert_type(fetch(1), int)
fetch(1.0)  # type: ignore[call-overload]


class Pool(Generic[T]):
    def __init__(self, connect: Callable[[], T]) -> None:
        self.connect = connect


def connect_anywhere() -> Connection:
    return connect("db")


assert_type(Pool(retry_on_refused(connect_anywhere)), Pool[Connection])
assert_type(Pool(connect=retry_on_refused(policy=Policy.request())(connect_anywhere)), Pool[Connection])


# What is not a callable or not a setting.

retry_on_refused(Policy())  # type: ignore[call-overload]
retry_on_refused("db:5432")  # type: ignore[call-overload]
retry_on_refused(connect, connect)  # type: ignore[call-overload]
retry_on_refused(policy="attempts=3")  # type: ignore[call-overload]
retry_on_refused(target=5432)  # type: ignore[call-overload]
retry_on_refused(tries=3)  # type: ignore[call-overload]
retry_on_refused(policy=None)  # type: ignore[call-overload]
retry_on_refused()(5)  # type: ignore[call-overload]


# Targets.


def target_of(host: str, port: int) -> str:
    return f"{host}:{port}"


retry_on_refused(target=target_of)
retry_on_refused(target=lambda: Endpoint(host="db", port=5432))
retry_on_refused(target=Endpoint.parse("db:5432"))
assert_type(Endpoint.parse("db:5432").host, str | None)
assert_type(Endpoint.parse("db:5432").port, int | None)
Endpoint.parse(5432)  # type: ignore[arg-type]


# The block form.


def use_block() -> None:
    for attempt in attempts(policy=Policy.request(), target="db:5432", cancel=Cancellation()):
        assert_type(attempt, Attempt)
        with attempt as entered:
            assert_type(entered, Attempt)
            assert_type(attempt.number, int)
            assert_type(attempt.elapsed, float)
            assert_type(attempt.remaining, float | None)
            connect("db", timeout=attempt.remaining)
            continue
    attempts(Policy())  # type: ignore[call-arg]
    attempts(tries=3)  # type: ignore[call-arg]


async def use_async_block() -> None:
    async for attempt in attempts():
        assert_type(attempt, Attempt)
        with attempt:
            await open_connection("db")
        async with attempt:  # type: ignore
            pass


# Policies.


def observe(event: Event) -> None:
    assert_type(event.attempt, int)
    if isinstance(event, RetryScheduled):
        assert_type(event.delay, float)
        assert_type(event.kind, str | None)
    if isinstance(event, RetriesExhausted):
        assert_type(event.reason, str)
    if isinstance(event, CallRecovered):
        assert_type(event.target, Endpoint | None)
    if isinstance(event, CallParked):
        assert_type(event.parked, int)
        assert_type(event.heartbeat, bool)
    if isinstance(event, CallRejected):
        assert_type(event.retry_after, float | None)
    if isinstance(event, CircuitChanged):
        assert_type(event.epoch, int)
        assert_type(event.cooldown, float)
    event.attempt = 3  # type: ignore[misc]


async def observe_later(event: Event) -> None: ...


def observe_nothing() -> None: ...


observer: Observer = observe
observer = log_events
Policy(attempts=3, deadline=1.5, name="db", observers=(observe, log_events))
Policy(attempts=None, deadline=timedelta(seconds=30), observers=[observe])
Policy(backoff=Backoff(initial=timedelta(milliseconds=50), maximum=5, factor=1.5, jitter="full"))
Policy(backoff=tenacity.wait_fixed(1) + Backoff(), stop=tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(60))
Policy(backoff=Backoff() + tenacity.wait_random(0, 1))
Policy(backoff=lambda state: state.attempt_number / 2, stop=lambda state: state.attempt_number > 3)
Policy(retry=retry_if_refused() | retry_if_not_ready(exhausted=True))
Policy(retry=retry_if_refused() | tenacity.retry_if_exception_type(KeyError))
Policy(retry=tenacity.retry_if_exception_type(KeyError) | retry_if_refused())
Policy(retry=tenacity.retry_if_exception(is_refused))
Policy(retry=lambda state: state.attempt_number < 3)
Policy(3)  # type: ignore[call-arg]
Policy(attempts="3")  # type: ignore[arg-type]
Policy(attempts=1.5)  # type: ignore[arg-type]
Policy(deadline="30s")  # type: ignore[arg-type]
Policy(tries=3)  # type: ignore[call-arg]
Policy(retry=is_refused)  # type: ignore[arg-type]
Policy(retry=retry_if_refused)  # type: ignore[arg-type]
Policy(retry=ConnectionRefusedError)  # type: ignore[arg-type]
Policy(backoff=1.0)  # type: ignore[arg-type]
Policy(observers=observe)  # type: ignore[arg-type]
Policy(observers=(observe_later,))  # type: ignore[arg-type]
Policy(observers=(observe_nothing,))  # type: ignore[arg-type]
Policy().attempts = 3  # type: ignore[misc]
Backoff(0.1)  # type: ignore[call-arg]
Backoff(jitter="some")  # type: ignore[arg-type]
Backoff(factor=timedelta(seconds=2))  # type: ignore[arg-type]
retry_if_refused(True)  # type: ignore[call-arg]

policy = Policy.parse("attempts=3").replace(name="db")
assert_type(policy, Policy)
assert_type(Policy.from_env("DB", default=Policy.background()), Policy)
assert_type(policy.attempts, int | None)
assert_type(policy.deadline, float | None)
assert_type(policy.observers, tuple[Observer, ...])
assert_type(policy.schedule(3, seed=1), list[float])
assert_type(policy.retrying(), tenacity.Retrying)
assert_type(Backoff().maximum, float)
assert_type(Backoff().jitter, Literal["none", "full", "equal", "decorrelated"])
assert_type(Backoff().high(3), float)


# Circuit breakers.

breaker = CircuitBreaker("db")
breakers = CircuitBreakers()
CircuitBreaker(
    "db",
    trip_after=3,
    cooldown=Backoff(initial=0.05, maximum=0.25),
    probe_timeout=timedelta(seconds=5),
    counts=is_refused,
    close_after=2,
    observers=[observe, log_events],
)
CircuitBreaker("db", counts=ConnectionRefusedError)
CircuitBreaker("db", counts=(ConnectionRefusedError, ConnectionResetError))
CircuitBreakers(max_breakers=10, idle_timeout=None, trip_after=3)
CircuitBreakers(max_breakers=10, idle_timeout=timedelta(minutes=5))
CircuitBreaker()  # type: ignore[call-arg]
CircuitBreaker("db", 3)  # type: ignore[call-arg]
CircuitBreaker("db", trip_after="3")  # type: ignore[arg-type]
CircuitBreaker("db", cooldown=1.0)  # type: ignore[arg-type]
CircuitBreaker("db", counts="refused")  # type: ignore[arg-type]
CircuitBreaker("db", observers=observe)  # type: ignore[arg-type]
CircuitBreaker("db", tries=3)  # type: ignore[call-arg]
CircuitBreakers(max_breakers="10")  # type: ignore[arg-type]

assert_type(breakers["db:5432"], CircuitBreaker)
assert_type(breakers[Endpoint.parse("db:5432")], CircuitBreaker)
assert_type(len(breakers), int)
assert_type("db:5432" in breakers, bool)
breakers[5432]  # type: ignore[index]


@retry_on_refused(policy=Policy.request(), breaker=breaker)
def connect_shared(host: str, port: int = 5432, *, timeout: float | None = None) -> Connection:
    return Connection()


@retry_on_refused(breaker=breakers, target=target_of)
async def open_each(host: str, port: int) -> Connection:
    return Connection()


exact = connect_shared
assert_type(connect_shared("db"), Connection)
connect_shared(5432)  # type: ignore[arg-type]
assert_type(retry_on_refused(connect, breaker=breaker)("db"), Connection)
retry_on_refused(breaker="db")  # type: ignore[call-overload]
retry_on_refused(connect, breaker=CircuitBreaker)  # type: ignore[call-overload]


async def use_open_each() -> None:
    assert_type(await open_each("db", 5432), Connection)
    await open_each("db")  # type: ignore[call-arg]


def use_block_behind_a_breaker() -> None:
    for attempt in attempts(breaker=breaker):
        with attempt:
            connect("db")
    for attempt in attempts(breaker=breakers, target="db:5432"):
        assert_type(attempt, Attempt)
        with attempt:
            connect("db")
    attempts(breaker="db")  # type: ignore[arg-type]


# A breaker as a decorator keeps the signature as well, of functions, coroutine functions and methods, on either side.


@breaker
def ask(key: str, limit: int = 10, *, fresh: bool = False) -> list[str]:
    return [key]


@breaker
async def ask_later(key: str, limit: int = 10) -> list[str]:
    return [key]


@retry_on_refused
@breaker
def ask_again(key: str, limit: int = 10) -> list[str]:
    return [key]


class Protected:
    @breaker
    def ask(self, key: str) -> str:
        return key

    @breaker
    async def ask_later(self, key: str) -> str:
        return key

    @classmethod
    @breaker
    def make(cls, host: str) -> Protected:
        return cls()

    @staticmethod
    @breaker
    def probe(host: str) -> bool:
        return True

    @breaker
    @classmethod
    def make_outside(cls, host: str) -> Protected:
        return cls()

    @breaker
    @staticmethod
    def probe_outside(host: str) -> bool:
        return True


class Asks(Protocol):
    def __call__(self, key: str, limit: int = ..., *, fresh: bool = ...) -> list[str]: ...


asks: Asks = ask
assert_type(ask("a", limit=3), list[str])
assert_type(ask_again("a", 3), list[str])
assert_type(Protected().ask("a"), str)
assert_type(Protected.make("db"), Protected)
assert_type(Protected.probe("db"), bool)
assert_type(Protected().make_outside("db"), Protected)
assert_type(Protected().probe_outside("db"), bool)
assert_type(breaker(first)([1]), int)
assert_type(breaker(Client)("db", port=1), Client)
assert_type(breaker(Connector())("db"), Connection)
ask(3)  # type: ignore[arg-type]
ask()  # type: ignore[call-arg]
ask("a", limt=3)  # type: ignore[call-arg]
ask_again(3)  # type: ignore[arg-type]
Protected().ask(3)  # type: ignore[arg-type]
Protected.probe(3)  # type: ignore[arg-type]
Protected.make_outside(3)  # type: ignore[arg-type]
Protected.probe_outside(3)  # type: ignore[arg-type]
breaker(3)  # type: ignore[arg-type]


async def use_protected() -> None:
    assert_type(await ask_later("a", limit=3), list[str])
    assert_type(await Protected().ask_later("a"), str)
    pending: Coroutine[Any, Any, list[str]] = ask_later("a")
    assert_type(await pending, list[str])
    await ask_later(3)  # type: ignore[arg-type]
    await ask_later()  # type: ignore[call-arg]


# Round a call, round a block, in two steps.

assert_type(breaker.call(connect, "db", timeout=1.0), Connection)
assert_type(breaker.call(first, [1]), int)
breaker.call(connect, 5432)  # type: ignore[arg-type]
breaker.call(connect)  # type: ignore[call-arg]
breaker.call("connect")  # type: ignore[arg-type]

with breaker as entered_breaker:
    assert_type(entered_breaker, CircuitBreaker)


async def use_breaker() -> None:
    assert_type(await breaker.acall(open_connection, "db", port=1), Connection)
    await breaker.acall(open_connection, 5432)  # type: ignore[arg-type]
    await breaker.acall(connect, "db")  # type: ignore[arg-type]
    async with breaker as entered:
        assert_type(entered, CircuitBreaker)


permit = breaker.admit()
assert_type(permit, Permit)
assert_type(permit.epoch, int)
assert_type(permit.probe, bool)
assert_type(permit.lease, int)
assert_type(breaker.settle(permit, "success"), bool)
breaker.settle(permit, "neutral")
breaker.settle(permit, ConnectionRefusedError())
breaker.settle(permit, "fine")  # type: ignore[arg-type]
breaker.settle("permit", "success")  # type: ignore[arg-type]
breaker.settle(permit)  # type: ignore[call-arg]

snapshot = breaker.snapshot()
assert_type(snapshot, CircuitSnapshot)
assert_type(snapshot.failures, int)
assert_type(snapshot.retry_after, float | None)
assert_type(snapshot.last_error, str | None)
state: Literal["closed", "open", "half-open", "isolated"] = breaker.state
state = snapshot.state
breaker.state = "open"  # type: ignore[misc]
snapshot.failures = 3  # type: ignore[misc]


def handle(error: CircuitOpenError) -> None:
    refused: ConnectionRefusedError = error
    assert_type(error.breaker, str)
    assert_type(error.retry_after, float | None)
    assert_type(error.last_error, str | None)
    raise refused


# Judging.


def judge(error: BaseException) -> None:
    assert_type(is_refused(error), bool)
    refusal = find_refusal(error)
    if refusal is not None:
        assert_type(refusal.kind, Literal["refused", "not_ready"])
        assert_type(refusal.evidence, BaseException)
        assert_type(refusal.endpoint, Endpoint | None)
    print(find_refusal(error).kind)  # type: ignore[union-attr]
    is_refused("Connection refused")  # type: ignore[arg-type]


# Ours in plain tenacity.

tenacity.Retrying(retry=retry_if_refused(), wait=Backoff(), before_sleep=log_before_sleep(logging.getLogger("db")))
tenacity.AsyncRetrying(
    retry=retry_if_refused(), wait=Backoff() + tenacity.wait_fixed(1), before_sleep=log_before_sleep()
)


# The testing kit.


def use_kit() -> Iterator[None]:
    with fake_clock() as clock, recorded_events() as events, no_retries():
        assert_type(clock.sleeps, list[float])
        assert_type(events.of(RetryScheduled), list[RetryScheduled])
        assert_type(events[0], Event)
        yield
    with refused_port() as port, late_server(after=0.1) as server:
        assert_type(port, int)
        assert_type(server.target, str)
        yield


assert_type(resilient.__version__, str)


# Several endpoints: the function takes one first, and its callers do not give it.


@retry_on_refused(targets=("db-a:5432", "db-b:5432"))
def connect_to(endpoint: Endpoint, database: str, *, timeout: float | None = None) -> Connection:
    return Connection()


@retry_on_refused(targets=Targets("db-a:5432", "db-b:5432"), policy=Policy.startup(), breaker=CircuitBreakers())
async def open_to(endpoint: Endpoint, database: str) -> Connection:
    return Connection()


class Failing:
    @retry_on_refused(targets="a:1,b:2", order="in_order")
    def connect(self, endpoint: Endpoint, database: str) -> Connection:
        return Connection()

    @retry_on_refused(targets="a:1,b:2")
    async def open(self, endpoint: Endpoint, database: str) -> Connection:
        return Connection()

    @classmethod
    @retry_on_refused(targets="a:1,b:2")
    def make(cls, endpoint: Endpoint, database: str) -> Connection:
        return Connection()

    @retry_on_refused(targets="a:1,b:2")
    @staticmethod
    def probe(endpoint: Endpoint, database: str) -> Connection:
        return Connection()


assert_type(connect_to("app"), Connection)
assert_type(connect_to(database="app", timeout=1.0), Connection)
assert_type(Failing().connect("app"), Connection)
assert_type(Failing.make("app"), Connection)
assert_type(Failing.probe("app"), Connection)
assert_type(retry_on_refused(lambda endpoint: Connection(), targets="a:1,b:2")(), Connection)
connect_to(5432)  # type: ignore[arg-type]
connect_to(Endpoint.parse("db:5432"), "app")  # type: ignore[call-arg, arg-type]
Failing().connect(5432)  # type: ignore[arg-type]
retry_on_refused(targets="a:1,b:2", order="random")  # type: ignore[call-overload]
retry_on_refused(targets="a:1,b:2", target="a:1")  # type: ignore[call-overload]
retry_on_refused(targets="a:1,b:2", breaker=CircuitBreaker("db"))  # type: ignore[call-overload]


async def use_several() -> None:
    assert_type(await open_to("app"), Connection)
    assert_type(await Failing().open("app"), Connection)
    async for attempt in attempts(targets="a:1,b:2", order="shuffled"):
        with attempt:
            assert_type(attempt.endpoint, "Endpoint | None")
