"""asyncpg under `guard()`: its connect function, and pools."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from typing import Any

import asyncpg
import guarding
import pytest
from asyncpg.pool import Pool
from conftest import ready_to_start
from guarding import Guarded
from under_load import Load

from resilient import CircuitBreakers, Endpoint, Policy, is_hopeless, is_refused
from resilient.cli._servers import PostgresServer
from resilient.clients import guard
from resilient.clients.asyncpg import ping, serves, target
from resilient.testing import refused_port


def settings(host: str, port: int) -> dict[str, Any]:
    return {"host": host, "port": port, "user": "postgres", "database": "postgres", "timeout": 5}


async def ask(connect: Any) -> Any:
    connection = await connect()
    try:
        return await connection.fetchval("select 42")
    finally:
        await connection.close()


USED: list[Any] = []


async def ask_pool(pool: Any) -> Any:
    """Open it, for what is guarded has not connected yet; the second time its server was killed meanwhile.

    asyncpg drops the dead connection as soon as its loop has heard of it; until then it would be given out.
    """
    await pool
    while any(pool is used for used in USED) and pool.get_size():
        await asyncio.sleep(0.005)
    USED.append(pool)
    return await pool.fetchval("select 42")


async def end(pool: Any) -> None:
    pool.terminate()


def over_connect(host: str, port: int, **shield: Any) -> Any:
    return functools.partial(guard(asyncpg.connect, **shield), **settings(host, port))


def over_factory(host: str, port: int, **shield: Any) -> Any:
    return guard(asyncpg.create_pool, **shield)(**settings(host, port), min_size=1)


def over_class(host: str, port: int, **shield: Any) -> Any:
    made = guard(asyncpg.create_pool)(**settings(host, port), min_size=1)
    sizes = {"min_size": 1, "max_size": 2, "max_queries": 9, "max_inactive_connection_lifetime": 9.0}
    hooks = {"setup": None, "init": None, "loop": asyncio.get_running_loop()}
    its = {"connection_class": asyncpg.Connection, "record_class": asyncpg.Record, **settings(host, port)}
    if hasattr(made, "_init_size"):
        sizes["init_size"] = 1
    return guard(Pool, **shield)(**sizes, **hooks, **its)


def over_pool(host: str, port: int, **shield: Any) -> Any:
    return guard(asyncpg.create_pool(**settings(host, port), min_size=1), **shield)


def over_twice(host: str, port: int, **shield: Any) -> Any:
    """What is guarded anew takes the newer settings."""
    pool = guard(asyncpg.create_pool, policy=Policy(attempts=7, observers=()))(**settings(host, port), min_size=1)
    return guard(pool, **shield)


async def opened(make: Any, host: str, port: int, **shield: Any) -> Any:
    return make(host, port, **shield)


def pool(name: str, make: Any) -> Guarded:
    return Guarded(name, functools.partial(opened, make), ask_pool, ConnectionRefusedError, end)


GUARDED = (
    Guarded("connect", over_connect, ask, ConnectionRefusedError),
    pool("create_pool", over_factory),
    pool("Pool", over_class),
    pool("a pool", over_pool),
    pool("guarded twice", over_twice),
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with ready_to_start(PostgresServer) as found:
        found.start()
        found.wait_ready(30)
        yield found


@on_each
def test_it_waits_for_its_server(guarded: Guarded, server: PostgresServer) -> None:
    guarding.starts_before_its_server(guarded, server)


@on_each
def test_it_outlives_a_restart(guarded: Guarded, server: PostgresServer) -> None:
    guarding.outlives_a_restart(guarded, server)


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them, and its loop goes on."""
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    assert guarding.connects_on_the_wire("test_guard_asyncpg") == {guarded.name: 3 for guarded in GUARDED}


def test_no_command_is_executed_twice_under_a_restart(server: PostgresServer) -> None:
    """Every answered command was executed once; none failed but those that were on their way."""
    load = Load(server)

    async def main() -> list[str]:
        its = settings("127.0.0.1", server.port)
        async with guard(asyncpg.create_pool, policy=load.policy)(**its, min_size=1, max_size=3) as pool:
            await pool.execute("create table if not exists by_asyncpg (id text)")
            await load.run_async(lambda its: pool.execute("insert into by_asyncpg values ($1)", its))
            return [row["id"] for row in await pool.fetch("select id from by_asyncpg")]

    load.check(asyncio.run(main()))


def test_what_comes_back_is_what_went_in() -> None:
    async def main() -> None:
        pool = asyncpg.create_pool()
        assert guard(pool) is pool
        assert type(pool) is type(guard(asyncpg.create_pool)())
        assert issubclass(guard(Pool), Pool)
        assert (guard(Pool).__name__, guard(asyncpg.create_pool).__name__) == ("Pool", "create_pool")

    asyncio.run(main())
    assert asyncio.iscoroutinefunction(guard(asyncpg.connect))


def test_a_connect_of_the_users_own_stays(server: PostgresServer) -> None:
    """`connect=` of a pool is called, and what it raises is tried again."""
    called = 0

    async def connect(*args: Any, **kwargs: Any) -> Any:
        nonlocal called
        called += 1
        if called < 3:
            raise ConnectionRefusedError
        return await asyncpg.connect(*args, **kwargs)

    async def main() -> None:
        its = settings("127.0.0.1", server.port)
        async with guard(asyncpg.create_pool, policy=guarding.THREE)(**its, min_size=1, connect=connect) as pool:
            assert await pool.fetchval("select 42") == 42

    asyncio.run(main())
    assert called == 3


def test_a_live_pool_goes_on(server: PostgresServer) -> None:
    async def main() -> None:
        its = settings("127.0.0.1", server.port)
        async with asyncpg.create_pool(**its, min_size=1, max_size=1) as pool:
            before = await pool.fetchval("select pg_backend_pid()")
            guard(pool)
            assert await pool.fetchval("select pg_backend_pid()") == before

    asyncio.run(main())


def test_a_cancelled_connect_ends_at_once() -> None:
    async def main(port: int) -> None:
        task = asyncio.create_task(guard(asyncpg.connect, policy=Policy(observers=()))(**settings("127.0.0.1", port)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with refused_port() as port:
        asyncio.run(asyncio.wait_for(main(port), 10))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"dsn": "postgresql://u:p%40ss@db/app"}, "postgresql://db:5432"),
        ({"dsn": "postgres://u:secret@db:5433/app?sslmode=prefer"}, "postgresql://db:5433"),
        ({"dsn": "postgres://u@[::1]:5433/app"}, "postgresql://[::1]:5433"),
        ({"dsn": "postgres://u@a:1,b:2/app"}, "postgresql://a:1"),
        ({"dsn": "postgres://u@/app?host=/run/pg"}, "unix:///run/pg/.s.PGSQL.5432"),
        ({"dsn": "postgres://u@db/app", "host": "other", "port": 1}, "postgresql://other:1"),
        ({"host": ["a", "b"], "port": [1, 2]}, "postgresql://a:1"),
        ({"host": "/run/pg"}, "unix:///run/pg/.s.PGSQL.5432"),
        ({}, "postgresql://localhost:5432"),
    ],
)
def test_the_target_is_where_asyncpg_would_connect_to(
    arguments: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGPORT"):
        monkeypatch.delenv(name, raising=False)
    assert target(**arguments) == Endpoint.parse(expected)


def test_each_endpoint_has_its_circuit() -> None:
    breakers = CircuitBreakers(observers=())

    async def main(port: int) -> None:
        with pytest.raises(ConnectionRefusedError):
            await guard(asyncpg.connect, policy=guarding.THREE, breaker=breakers)(**settings("127.0.0.1", port))
        assert f"postgresql://127.0.0.1:{port}" in breakers

    with refused_port() as port:
        asyncio.run(main(port))


def test_ping_and_serves_answer_for_what_serves(server: PostgresServer) -> None:
    its = settings("127.0.0.1", server.port)

    async def main() -> None:
        await ping(functools.partial(asyncpg.connect, **its))
        pool = asyncpg.create_pool(**its, min_size=1)
        await ping(pool)
        await pool.close()

    asyncio.run(main())
    serves(f"postgresql+asyncpg://postgres@127.0.0.1:{server.port}/postgres?plugin=resilient&sslmode=prefer", 5.0)
    with pytest.raises(asyncpg.PostgresError) as hopeless:
        serves(f"postgresql://postgres:secret@127.0.0.1:{server.port}/nosuch", 5.0)
    assert is_hopeless(hopeless.value)
    with refused_port() as port, pytest.raises(OSError) as refused:
        serves(f"postgresql://u@127.0.0.1:{port}/app", 5.0)
    assert is_refused(refused.value)
