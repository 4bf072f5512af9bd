"""`guard(targets=...)`: clients that take a host and a port go to an endpoint that serves."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiomysql
import asyncmy
import asyncpg
import pika
import psycopg
import psycopg2
import psycopg_pool
import pymemcache
import pymysql
import pytest
import redis
import redis.asyncio
import redis.sentinel
import requests
import sqlalchemy
import valkey
import valkey.asyncio
from conftest import ready_to_start
from machine_servers import MachineServer, mariadb
from sqlalchemy.ext.asyncio import create_async_engine

from resilient import Backoff, CircuitBreaker, CircuitBreakers, Policy, Targets, guard, wait_for, wait_for_async
from resilient.cli._servers import PostgresServer, ValkeyServer
from resilient.testing import late_server, refused_port

__all__ = ["mariadb"]

QUICK = Policy(backoff=Backoff(initial=0.05, maximum=0.2), deadline=20.0, observers=())
NOWHERE = "192.0.2.1"  # of the documentation's addresses (RFC 5737): what is redirected never goes there


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path is short
        os.chmod(folder, 0o777)  # the server may run as another user
        with ready_to_start(lambda: PostgresServer(settings={"unix_socket_directories": folder})) as server:
            server.restart()
            yield server


def user(**others: Any) -> dict[str, Any]:
    return {"host": NOWHERE, "port": 9, "user": "postgres", "dbname": "postgres", **others}


def of_psycopg(targets: Targets) -> int:
    with guard(psycopg.connect, policy=QUICK, targets=targets)(**user()) as connection:
        return connection.info.port


def of_psycopg_dsn(targets: Targets) -> int:
    """A connection string says other hosts, and an address that libpq would take before any host."""
    dsn = f"host={NOWHERE} hostaddr={NOWHERE} port=9 user=postgres dbname=postgres"
    with guard(psycopg.connect, policy=QUICK, targets=targets)(dsn) as connection:
        return connection.info.port


def of_psycopg_class(targets: Targets) -> int:
    with guard(psycopg.Connection, policy=QUICK, targets=targets).connect(**user()) as connection:
        return connection.info.port


async def of_psycopg_async(targets: Targets) -> int:
    cls = guard(psycopg.AsyncConnection, policy=QUICK, targets=targets)
    async with await cls.connect(**user()) as connection:
        return connection.info.port


def of_psycopg_pool(targets: Targets) -> int:
    cls = guard(psycopg.Connection, policy=QUICK, targets=targets)
    with psycopg_pool.ConnectionPool(kwargs=user(), connection_class=cls, min_size=1) as pool, pool.connection() as it:
        return it.info.port


def of_psycopg2(targets: Targets) -> int:
    connection = guard(psycopg2.connect, policy=QUICK, targets=targets)(**user())
    try:
        return connection.info.port
    finally:
        connection.close()


LOGIN: dict[str, Any] = {"host": NOWHERE, "port": 9, "user": "postgres", "database": "postgres"}


async def of_asyncpg(*where: str, targets: Targets, **settings: Any) -> int:
    connection: Any = await guard(asyncpg.connect, policy=QUICK, targets=targets)(*where, **settings)
    try:
        port: int = await connection.fetchval("select inet_server_port()")
        return port
    finally:
        await connection.close()


async def of_asyncpg_pool(targets: Targets) -> int:
    make = guard(asyncpg.create_pool, policy=QUICK, targets=targets)
    async with make(**LOGIN, min_size=1) as pool:
        return await pool.fetchval("select inet_server_port()")


def engine(driver: str) -> str:
    return f"postgresql+{driver}://postgres@{NOWHERE}:9/postgres"


def of_sqlalchemy(driver: str, targets: Targets) -> int:
    made = guard(sqlalchemy.create_engine(engine(driver)), policy=QUICK, targets=targets)
    with made.connect() as connection:
        port: Any = connection.scalar(sqlalchemy.text("select inet_server_port()"))
    made.dispose()
    return port


async def of_sqlalchemy_async(driver: str, targets: Targets) -> int:
    made = guard(create_async_engine(engine(driver)), policy=QUICK, targets=targets)
    async with made.connect() as connection:
        port = await connection.scalar(sqlalchemy.text("select inet_server_port()"))
    await made.dispose()
    return port


POSTGRES: tuple[tuple[str, Callable[[Targets], Any]], ...] = (
    ("psycopg", of_psycopg),
    ("psycopg dsn", of_psycopg_dsn),
    ("psycopg class", of_psycopg_class),
    ("psycopg async", of_psycopg_async),
    ("psycopg_pool", of_psycopg_pool),
    ("psycopg2", of_psycopg2),
    (
        "asyncpg",
        lambda targets: of_asyncpg(targets=targets, host=NOWHERE, port=9, user="postgres", database="postgres"),
    ),
    ("asyncpg dsn", lambda targets: of_asyncpg(f"postgresql://postgres@{NOWHERE}:9/postgres", targets=targets)),
    ("asyncpg pool", of_asyncpg_pool),
    ("sqlalchemy psycopg", functools.partial(of_sqlalchemy, "psycopg")),
    ("sqlalchemy psycopg2", functools.partial(of_sqlalchemy, "psycopg2")),
    ("sqlalchemy asyncpg", functools.partial(of_sqlalchemy_async, "asyncpg")),
    ("sqlalchemy psycopg async", functools.partial(of_sqlalchemy_async, "psycopg")),
)


def went_to(connect: Callable[[Targets], Any], targets: Targets) -> Any:
    port = connect(targets)
    return asyncio.run(port) if asyncio.iscoroutine(port) else port


@pytest.mark.parametrize(("name", "connect"), POSTGRES, ids=[name for name, _ in POSTGRES])
def test_a_client_of_postgresql_goes_where_it_is_served(
    name: str, connect: Callable[[Targets], Any], postgres: PostgresServer, refused_port: int
) -> None:
    """Past the endpoint that refuses, whatever its own arguments say."""
    targets = Targets(f"127.0.0.1:{refused_port}", f"{postgres.host}:{postgres.port}")
    assert went_to(connect, targets) == postgres.port
    assert targets.current.port == postgres.port


@pytest.mark.parametrize("name", ["psycopg", "psycopg2", "asyncpg"])
def test_a_unix_socket_is_an_endpoint_as_well(name: str, postgres: PostgresServer, tmp_path: Path) -> None:
    """One that nobody listens on is passed over."""
    with psycopg.connect(host=postgres.host, port=postgres.port, user="postgres", dbname="postgres") as connection:
        row = connection.execute("show unix_socket_directories").fetchone()
    assert row is not None
    dead = tmp_path / f".s.PGSQL.{postgres.port}"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(dead))
    targets = Targets(f"unix://{dead}", f"unix://{row[0]}/.s.PGSQL.{postgres.port}")
    went_to(dict(POSTGRES)[name], targets)
    assert targets.current.path == f"{row[0]}/.s.PGSQL.{postgres.port}"


# MySQL.


def login(**others: Any) -> dict[str, Any]:
    return {"host": NOWHERE, "port": 9, "user": "root", **others}


def of_pymysql(targets: Targets) -> int:
    with guard(pymysql.connect, policy=QUICK, targets=targets)(**login()) as connection, connection.cursor() as cursor:
        cursor.execute("select @@port")
        return cursor.fetchone()[0]


async def of_mysql_async(library: Any, targets: Targets) -> int:
    connection = await guard(library.connect, policy=QUICK, targets=targets)(**login())
    try:
        async with connection.cursor() as cursor:
            await cursor.execute("select @@port")
            return (await cursor.fetchone())[0]
    finally:
        connection.close()


async def of_mysql_pool(library: Any, targets: Targets) -> int:
    make = guard(library.create_pool, policy=QUICK, targets=targets)
    async with make(**login(), minsize=1) as pool, pool.acquire() as connection, connection.cursor() as cursor:
        await cursor.execute("select @@port")
        return (await cursor.fetchone())[0]


def of_sqlalchemy_mysql(targets: Targets) -> int:
    made = guard(sqlalchemy.create_engine(f"mysql+pymysql://root@{NOWHERE}:9"), policy=QUICK, targets=targets)
    with made.connect() as connection:
        port: Any = connection.scalar(sqlalchemy.text("select @@port"))
    made.dispose()
    return port


MYSQL: tuple[tuple[str, Callable[[Targets], Any]], ...] = (
    ("pymysql", of_pymysql),
    ("aiomysql", functools.partial(of_mysql_async, aiomysql)),
    ("asyncmy", functools.partial(of_mysql_async, asyncmy)),
    ("aiomysql pool", functools.partial(of_mysql_pool, aiomysql)),
    ("asyncmy pool", functools.partial(of_mysql_pool, asyncmy)),
    ("sqlalchemy", of_sqlalchemy_mysql),
)


@pytest.mark.parametrize(("name", "connect"), MYSQL, ids=[name for name, _ in MYSQL])
def test_a_client_of_mariadb_goes_where_it_is_served(
    name: str, connect: Callable[[Targets], Any], mariadb: MachineServer, refused_port: int
) -> None:
    mariadb.restart()
    targets = Targets(f"127.0.0.1:{refused_port}", f"{mariadb.host}:{mariadb.port}")
    assert went_to(connect, targets) == mariadb.port
    assert targets.current.port == mariadb.port


# Redis and Valkey.


@pytest.fixture(scope="module")
def valkey_server() -> Iterator[ValkeyServer]:
    with ready_to_start(ValkeyServer) as server:
        server.restart()
        yield server


def of_redis(library: Any, targets: Targets) -> int:
    with guard(library.Redis if library is redis else library.Valkey, policy=QUICK, targets=targets)(NOWHERE, 9) as it:
        return it.config_get("port")["port"]


def of_redis_url(library: Any, targets: Targets) -> int:
    with guard(library.from_url, policy=QUICK, targets=targets)(f"redis://{NOWHERE}:9") as client:
        return client.config_get("port")["port"]


async def of_redis_async(library: Any, targets: Targets) -> int:
    make = library.asyncio.Redis if library is redis else library.asyncio.Valkey
    async with guard(make(host=NOWHERE, port=9), policy=QUICK, targets=targets) as client:
        return (await client.config_get("port"))["port"]


REDIS = (of_redis, of_redis_url, of_redis_async)


@pytest.mark.parametrize("library", [redis, valkey], ids=lambda it: it.__name__)
@pytest.mark.parametrize("connect", REDIS, ids=lambda it: it.__name__)
def test_a_client_of_redis_goes_where_it_is_served(
    library: Any, connect: Any, valkey_server: ValkeyServer, refused_port: int
) -> None:
    targets = Targets(f"127.0.0.1:{refused_port}", f"{valkey_server.host}:{valkey_server.port}")
    assert int(went_to(functools.partial(connect, library), targets)) == valkey_server.port
    assert targets.current.port == valkey_server.port


def test_what_goes_to_no_host_of_its_own_is_refused_at_once() -> None:
    """A unix socket, a master that Sentinel is to name, and a cluster, which knows its nodes."""
    sentinel = redis.sentinel.Sentinel([("a", 1)])
    for thing in (redis.Redis(unix_socket_path="/run/x.sock"), sentinel.master_for("db"), redis.RedisCluster):
        with pytest.raises(TypeError, match=r"cannot tell .* to which of targets="):
            guard(thing, targets=("a:1", "b:1"))


# Others.


def test_pymemcache_goes_where_it_is_served(refused_port: int) -> None:
    """It keeps its connection, and goes back to nobody."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        targets = Targets(f"127.0.0.1:{refused_port}", f"127.0.0.1:{server.getsockname()[1]}")
        client: Any = guard(pymemcache.Client((NOWHERE, 9)), policy=QUICK, targets=targets)
        client._connect()
        peer, _ = server.accept()
        with peer:
            assert client.sock.getpeername() == server.getsockname()
        client.close()


def test_a_function_of_no_known_library_is_given_the_endpoint(refused_port: int) -> None:
    with late_server() as server:
        server.up()
        targets = Targets(f"127.0.0.1:{refused_port}", f"127.0.0.1:{server.port}")

        def connect(endpoint: Any) -> socket.socket:
            return socket.create_connection((endpoint.host, endpoint.port))

        with guard(connect, policy=QUICK, targets=targets)() as connection:  # type: ignore[call-arg]
            assert connection.getpeername()[1] == server.port


def test_a_client_that_takes_no_host_is_refused_at_once() -> None:
    """It would go where it went before, and nobody would see it."""
    with pytest.raises(
        TypeError, match=r"cannot make Session go to one of targets=.*retry_on_refused\(targets=\.\.\.\)"
    ):
        guard(requests.Session(), targets=("a:1", "b:1"))
    with pytest.raises(TypeError, match=r"cannot tell .* to which of targets="):
        guard(sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: None), targets=("a:1", "b:1"))
    with pytest.raises(TypeError, match="connects in callbacks, and cannot go to one of targets="):
        guard(pika.SelectConnection, targets=("a:1", "b:1"))


def test_one_circuit_for_several_endpoints_is_refused() -> None:
    with pytest.raises(TypeError, match="guard: one CircuitBreaker cannot tell"):
        guard(psycopg.connect, targets=("a:1", "b:1"), breaker=CircuitBreaker("db"))


def test_open_circuits_are_the_clients_own_error() -> None:
    breakers = CircuitBreakers(observers=())
    for target in ("a:1", "b:1"):
        breakers[target].isolate()
    connect = guard(psycopg.connect, policy=QUICK, targets=("a:1", "b:1"), breaker=breakers)
    with pytest.raises(psycopg.OperationalError, match="circuit 'a:1' is open"):
        connect(**user())


# Waiting.


def test_one_of_several_that_serves_is_enough(postgres: PostgresServer, refused_port: int) -> None:
    """The text is read as its client does, with the password for each."""
    wait_for(f"postgresql://postgres@127.0.0.1:{refused_port},{postgres.host}:{postgres.port}/postgres", timeout=10)
    targets = Targets(f"127.0.0.1:{refused_port}", f"{postgres.host}:{postgres.port}")
    asyncio.run(wait_for_async(targets, timeout=10))
    assert targets.current.port == postgres.port


def test_none_of_several_is_not_enough(caplog: pytest.LogCaptureFixture) -> None:
    """The error and the log name all of them, and no password."""
    caplog.set_level(logging.DEBUG)
    with refused_port() as one, refused_port() as other, pytest.raises(TimeoutError) as caught:
        wait_for(f"postgresql://me:sesame@127.0.0.1:{one},127.0.0.1:{other}/app", timeout=0.5)
    assert f"127.0.0.1:{one}, postgresql://127.0.0.1:{other} did not serve within" in str(caught.value)
    assert f"127.0.0.1:{other} refused the connection" in caplog.text
    assert "sesame" not in caplog.text + str(caught.value)
