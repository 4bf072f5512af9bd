"""psycopg_pool under `guard()`: pools and null pools, plain and asynchronous, and their classes."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import guarding
import psycopg
import pytest
from conftest import ready_to_start
from guarding import Guarded
from psycopg_pool import (
    AsyncConnectionPool,
    AsyncNullConnectionPool,
    ConnectionPool,
    NullConnectionPool,
    PoolTimeout,
    TooManyRequests,
)
from under_load import Load

from resilient import Backoff, CircuitBreaker, CircuitBreakers, Policy, is_hopeless, is_refused
from resilient.cli._servers import PostgresServer
from resilient.clients import guard
from resilient.clients.psycopg_pool import ping
from resilient.testing import recorded_events, refused_port


def settings(port: int, user: str = "postgres") -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, "user": user, "dbname": "postgres", "connect_timeout": 5}


def sizes(cls: Any) -> dict[str, int]:
    return {"min_size": 0, "max_size": 1} if "Null" in cls.__name__ else {"min_size": 1, "max_size": 1}


def make(cls: Any, port: int, **more: Any) -> Any:
    """Make a pool that finds dead connections; the caller opens it."""
    its = {"timeout": 25.0, "check": cls.check_connection, **sizes(cls), **more}
    return cls(kwargs=settings(port), open=False, **its)


def an_object(cls: Any, _: str, port: int, **shield: Any) -> Any:
    return guard(make(cls, port), **shield)


def a_class(cls: Any, _: str, port: int, **shield: Any) -> Any:
    return make(guard(cls, **shield), port)


def a_partial(cls: Any, _: str, port: int, **shield: Any) -> Any:
    return guard(functools.partial(cls, kwargs=settings(port), open=False, timeout=25.0, **sizes(cls)), **shield)()


def guarded_twice(cls: Any, _: str, port: int, **shield: Any) -> Any:
    """What is guarded anew takes the newer settings."""
    return guard(make(guard(cls, policy=Policy(attempts=7, observers=())), port), **shield)


def ask(pool: Any) -> Any:
    pool.open()
    with pool.connection() as connection:
        return connection.execute("select 42").fetchone()[0]


async def ask_async(pool: Any) -> Any:
    await pool.open()
    async with pool.connection() as connection:
        return (await (await connection.execute("select 42")).fetchone())[0]


async def opened(how: Any, cls: Any, host: str, port: int, **shield: Any) -> Any:
    """An asynchronous pool is made in its loop."""
    return how(cls, host, port, **shield)


async def close_async(pool: Any) -> None:
    await pool.close()


def of(name: str, how: Any, cls: Any) -> Guarded:
    error = psycopg.OperationalError if "Null" in cls.__name__ else PoolTimeout
    if "Async" in cls.__name__:
        return Guarded(name, functools.partial(opened, how, cls), ask_async, error, close_async)
    return Guarded(name, functools.partial(how, cls), ask, error, lambda pool: pool.close())


POOLS = (ConnectionPool, AsyncConnectionPool)
NULL_POOLS = (NullConnectionPool, AsyncNullConnectionPool)
GUARDED = (
    *(of(f"a {cls.__name__}", an_object, cls) for cls in POOLS + NULL_POOLS),
    *(of(cls.__name__, a_class, cls) for cls in POOLS + NULL_POOLS),
    of("alias", a_class, ConnectionPool[psycopg.Connection[Any]]),
    of("partial", a_partial, ConnectionPool),
    of("guarded twice", guarded_twice, ConnectionPool),
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with ready_to_start(PostgresServer) as found:
        found.start()
        found.wait_ready(30)
        yield found


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The pool says at WARNING what it cannot do; that is not looked at here."""
    logger = logging.getLogger("psycopg.pool")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@on_each
def test_it_waits_for_its_server(guarded: Guarded, server: PostgresServer) -> None:
    guarding.starts_before_its_server(guarded, server)


@pytest.mark.parametrize("guarded", [its for its in GUARDED if its.name.startswith("a ")], ids=str)
def test_it_outlives_a_restart(guarded: Guarded, server: PostgresServer) -> None:
    """With `check=`: a connection that has died meanwhile is the pool's to find."""
    guarding.outlives_a_restart(guarded, server)


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them, and its loop goes on."""
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    """For each connection that the pool is making: here it is one."""
    assert guarding.connects_on_the_wire("test_guard_psycopg_pool") == {guarded.name: 3 for guarded in GUARDED}


@pytest.mark.parametrize("cls", [ConnectionPool, NullConnectionPool])
def test_no_command_is_executed_twice_under_a_restart(cls: Any, server: PostgresServer) -> None:
    """Every answered command was executed once; none failed but those that were on their way."""
    load = Load(server)
    with guard(make(cls, server.port, max_size=3), policy=load.policy) as pool:
        with pool.connection() as connection:
            connection.execute("drop table if exists by_pool")
            connection.execute("create table by_pool (id text)")

        def insert(its: str) -> None:
            with pool.connection() as connection:
                connection.execute("insert into by_pool values (%s)", (its,))

        load.run(insert)
        with pool.connection() as connection:
            load.check([row[0] for row in connection.execute("select id from by_pool")])


def test_what_comes_back_is_what_went_in() -> None:
    pool = make(ConnectionPool, 1)
    assert guard(pool) is pool
    assert isinstance(pool, ConnectionPool)
    assert type(pool).__name__ == "ConnectionPool"
    guarded = guard(AsyncConnectionPool)
    assert issubclass(guarded, AsyncConnectionPool)
    assert (guarded.__name__, guarded.__module__) == ("AsyncConnectionPool", AsyncConnectionPool.__module__)
    assert guard(guarded).__mro__[1] is AsyncConnectionPool


def test_a_pool_timeout_says_why(server: PostgresServer) -> None:
    """From the last error of a connect; and the pool is left as it was: it serves as soon as it can."""
    server.kill()
    with guard(ConnectionPool)(kwargs=settings(server.port), open=False, min_size=1, timeout=0.3) as pool:
        with pytest.raises(PoolTimeout, match=r"after 0\.30 sec") as raised:
            pool.getconn()
        assert isinstance(raised.value.__cause__, psycopg.OperationalError)
        assert is_refused(raised.value)
        server.start()
        server.wait_ready(30)
        with pool.connection(timeout=20) as connection:
            assert connection.execute("select 42").fetchone() == (42,)
        with pool.connection(), pytest.raises(PoolTimeout) as busy:
            pool.getconn(timeout=0.05)
        assert busy.value.__cause__ is None  # all are in use: no connect has failed


def test_a_wait_for_the_pool_says_why() -> None:
    with refused_port() as port:
        pool = guard(ConnectionPool)(kwargs=settings(port), open=False, min_size=1)
        with pytest.raises(PoolTimeout) as raised:
            pool.open(wait=True, timeout=0.2)
    assert is_refused(raised.value)


def test_a_hopeless_connect_is_told_at_once(server: PostgresServer) -> None:
    """Nobody waits for a pool that cannot come to have a connection: here there is no such database."""
    its = {**settings(server.port), "dbname": "nosuch"}
    with guard(ConnectionPool)(kwargs=its, open=False, min_size=1, timeout=20) as pool:
        began = time.monotonic()
        with pytest.raises(PoolTimeout, match="gave up connecting") as raised:
            pool.getconn()
    assert time.monotonic() - began < 5
    assert is_hopeless(raised.value.__cause__)


def test_a_pool_that_gave_up_begins_anew_when_it_is_asked(server: PostgresServer) -> None:
    server.kill()
    with guard(ConnectionPool, policy=guarding.THREE)(kwargs=settings(server.port), open=False, min_size=1) as pool:
        with pytest.raises(PoolTimeout):
            pool.getconn()
        server.start()
        server.wait_ready(30)
        with pool.connection() as connection:
            assert connection.execute("select 42").fetchone() == (42,)


def test_its_backoff_is_the_policys() -> None:
    """Not a second, doubled: the first attempts come within it."""
    policy = Policy(attempts=6, backoff=Backoff(initial=0.01, maximum=0.02), observers=())
    began = time.monotonic()
    with (
        refused_port() as port,
        recorded_events() as events,
        guard(ConnectionPool, policy=policy)(kwargs=settings(port), open=False, min_size=1) as pool,
        pytest.raises(PoolTimeout),
    ):
        pool.getconn()
    assert time.monotonic() - began < 5
    assert [event.attempt for event in events] == [1, 2, 3, 4, 5, 6]


def test_what_of_the_pool_was_changed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="resilient"):
        pool = guard(make(ConnectionPool, 1), policy=Policy(deadline=7.0))
    assert "backoff" in caplog.text
    assert pool.reconnect_timeout == 7.0


def test_an_open_circuit_makes_no_connect_and_closes_again(server: PostgresServer) -> None:
    """The pool's workers come back when it may let one through."""
    server.kill()
    breaker = CircuitBreaker("db", trip_after=1, cooldown=Backoff(initial=0.05, maximum=0.1), observers=())
    with guard(make(ConnectionPool, server.port), policy=guarding.PATIENT, breaker=breaker) as pool:
        with pytest.raises(PoolTimeout):
            pool.getconn(timeout=0.5)
        assert breaker.state != "closed"
        server.start()
        with pool.connection(timeout=20) as connection:
            assert connection.execute("select 42").fetchone() == (42,)
    assert breaker.state == "closed"


def test_a_circuit_is_found_by_the_pools_own_settings() -> None:
    breakers = CircuitBreakers(observers=())
    with refused_port() as port:
        pool = guard(make(ConnectionPool, port), policy=guarding.THREE, breaker=breakers)
        with pool, pytest.raises(PoolTimeout):
            pool.getconn()
        assert f"postgresql://127.0.0.1:{port}" in breakers


def test_a_null_pool_keeps_its_own_timeout() -> None:
    """It ends what the policy would still try."""
    began = time.monotonic()
    with refused_port() as port:
        pool = guard(NullConnectionPool)(kwargs=settings(port), open=False, max_size=1, timeout=0.3)
        with pool, pytest.raises(psycopg.OperationalError):
            pool.getconn()
    assert time.monotonic() - began < 5


def test_other_errors_of_a_pool_stay(server: PostgresServer) -> None:
    with guard(make(ConnectionPool, server.port, max_waiting=1)) as pool, pool.connection():
        waiting = threading.Thread(target=lambda: pool.putconn(pool.getconn()))
        waiting.start()
        while not pool.get_stats()["requests_waiting"]:
            time.sleep(0.001)
        with pytest.raises(TooManyRequests):
            pool.getconn()
    waiting.join()


def test_a_live_pool_goes_on(server: PostgresServer) -> None:
    with make(ConnectionPool, server.port) as pool:
        pool.wait()
        before = pool.get_stats()["connections_num"]
        guard(pool)
        assert ask(pool) == 42
        assert pool.get_stats()["connections_num"] == before


def test_a_pool_is_let_go_as_before() -> None:
    """No circle holds it: who forgets it ends its workers."""
    pool = guard(make(ConnectionPool, 1))
    its = weakref.ref(pool)
    gc.disable()
    try:
        del pool
        assert its() is None
    finally:
        gc.enable()


def test_ping_answers_for_what_serves(server: PostgresServer) -> None:
    """Also where the connections of the pool have died meanwhile."""
    with ConnectionPool(kwargs=settings(server.port), open=False, min_size=2, max_size=2) as pool:
        pool.wait()
        server.restart()
        server.wait_ready(30)
        ping(pool)

    async def main() -> None:
        async with AsyncConnectionPool(kwargs=settings(server.port), open=False, min_size=1) as pool:
            answer = ping(pool)
            assert answer is not None
            await answer

    asyncio.run(main())
