"""PyMySQL, mysqlclient, aiomysql and asyncmy under `guard()`: connects, connection classes, pools."""

from __future__ import annotations

import asyncio
import functools
import importlib
from typing import Any

import aiomysql
import asyncmy
import guarding
import pymysql
import pytest
from guarding import Guarded
from under_load import Load

from resilient import CircuitBreakers, Endpoint, Policy, TargetError, is_hopeless, is_refused
from resilient.clients import _mysql, guard
from resilient.testing import refused_port

try:
    import MySQLdb
except ImportError:  # it needs a C library
    MySQLdb = None

ASYNCHRONOUS = (aiomysql, asyncmy)
SYNCHRONOUS = (pymysql,) if MySQLdb is None else (pymysql, MySQLdb)


def settings(host: str, port: int) -> dict[str, Any]:
    return {"host": host, "port": port, "user": "root"}


def ask(connect: Any) -> Any:
    connection = connect()
    try:
        cursor = connection.cursor()
        cursor.execute("select 42")
        return cursor.fetchone()[0]
    finally:
        connection.close()


def over_connect(library: Any, name: str = "connect") -> Any:
    return lambda host, port, **shield: functools.partial(
        guard(getattr(library, name), **shield), **settings(host, port)
    )


def over_partial(host: str, port: int, **shield: Any) -> Any:
    return guard(functools.partial(pymysql.connect, **settings(host, port)), **shield)


def over_connection(host: str, port: int, **shield: Any) -> Any:
    """A connection that is there already: its reconnects."""
    connection = guard(pymysql.Connection(**settings(host, port), defer_connect=True), **shield)

    def connected() -> Any:
        connection.connect()
        return connection

    return connected


def over_twice(host: str, port: int, **shield: Any) -> Any:
    """What is guarded anew takes the newer settings."""
    cls = guard(guard(pymysql.connect, policy=Policy(attempts=7, observers=())), **shield)
    return functools.partial(cls, **settings(host, port))


async def first_of(connection: Any) -> Any:
    async with connection.cursor() as cursor:
        await cursor.execute("select 42")
        return (await cursor.fetchone())[0]


async def ask_async(connect: Any) -> Any:
    async with connect() as connection:
        return await first_of(connection)


async def ask_pool(pool: Any) -> Any:
    async with pool.acquire() as connection:
        return await first_of(connection)


async def ask_factory(make: Any) -> Any:
    async with make() as pool:
        return await ask_pool(pool)


async def ask_connection(make: Any) -> Any:
    connection = make()
    await (connection._connect() if hasattr(connection, "_connect") else connection.connect())
    try:
        return await first_of(connection)
    finally:
        connection.close()


def a_pool(library: Any) -> Any:
    async def make(host: str, port: int, **shield: Any) -> Any:
        return guard(await library.create_pool(minsize=0, maxsize=2, **settings(host, port)), **shield)

    return make


async def end_pool(pool: Any) -> None:
    pool.terminate()
    await pool.wait_closed()


def a_connection_class(library: Any) -> Any:
    connections = importlib.import_module(f"{library.__name__}.connection")

    async def make(host: str, port: int, **shield: Any) -> Any:
        return functools.partial(guard(connections.Connection, **shield), **settings(host, port))

    return make


def a_factory(library: Any) -> Any:
    return lambda host, port, **shield: functools.partial(
        guard(library.create_pool, **shield), minsize=1, maxsize=2, **settings(host, port)
    )


def error_of(library: Any) -> Any:
    return getattr(library, "OperationalError", None) or importlib.import_module("asyncmy.errors").OperationalError


GUARDED = (
    *(Guarded(f"{its.__name__}.connect", over_connect(its), ask, error_of(its)) for its in SYNCHRONOUS),
    Guarded("pymysql partial", over_partial, ask, pymysql.OperationalError),
    Guarded("a pymysql Connection", over_connection, ask, pymysql.OperationalError),
    Guarded("pymysql, guarded twice", over_twice, ask, pymysql.OperationalError),
    *(
        Guarded(f"{its.__name__} {name}", make(its), use, error_of(its), close)
        for its in ASYNCHRONOUS
        for name, make, use, close in (
            ("connect", over_connect, ask_async, lambda _: None),
            ("create_pool", a_factory, ask_factory, lambda _: None),
            ("pool", a_pool, ask_pool, end_pool),
            ("Connection", a_connection_class, ask_connection, lambda _: None),
        )
    ),
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


@on_each
def test_it_waits_for_its_server(guarded: Guarded, mariadb: Any) -> None:
    guarding.starts_before_its_server(guarded, mariadb)


@on_each
def test_it_outlives_a_restart(guarded: Guarded, mariadb: Any) -> None:
    guarding.outlives_a_restart(guarded, mariadb)


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them, and its loop goes on."""
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    """And one more for mysqlclient, whose error does not say that it was refused: the port itself is asked, once."""
    expected = {guarded.name: 4 if guarded.name.startswith("MySQLdb") else 3 for guarded in GUARDED}
    assert guarding.connects_on_the_wire("test_guard_mysql") == expected


def prepare(server: Any, table: str) -> Any:
    """Make a table, and let what is committed outlive the death of the server's process."""

    def execute(command: str) -> Any:
        with pymysql.connect(**settings("127.0.0.1", server.port)) as connection, connection.cursor() as cursor:
            cursor.execute(command)
            return cursor.fetchall()

    execute("set global innodb_flush_log_at_trx_commit = 2")
    execute("create database if not exists load_")
    execute(f"create or replace table load_.{table} (id varchar(40)) engine = innodb")
    return execute


@pytest.mark.parametrize("library", SYNCHRONOUS, ids=lambda library: library.__name__)
def test_no_command_is_executed_twice_under_a_restart(library: Any, mariadb: Any) -> None:
    """Every answered command was executed once; none failed but those that were on their way."""
    execute, load = prepare(mariadb, "by_threads"), Load(mariadb)
    connect = guard(library.connect, policy=load.policy)

    def insert(its: str) -> None:
        its_settings = settings("127.0.0.1", mariadb.port)
        connection = connect(**its_settings, autocommit=True)
        try:
            connection.cursor().execute("insert into load_.by_threads values (%s)", (its,))
        finally:
            connection.close()

    load.run(insert)
    load.check([row[0] for row in execute("select id from load_.by_threads")])


@pytest.mark.parametrize("library", ASYNCHRONOUS, ids=lambda library: library.__name__)
def test_no_command_of_a_pool_is_executed_twice_under_a_restart(library: Any, mariadb: Any) -> None:
    execute, load = prepare(mariadb, "by_tasks"), Load(mariadb)

    async def main() -> None:
        its = settings("127.0.0.1", mariadb.port)
        make = guard(library.create_pool, policy=load.policy)
        async with make(minsize=1, maxsize=3, autocommit=True, **its) as pool:

            async def insert(its: str) -> None:
                async with pool.acquire() as connection, connection.cursor() as cursor:
                    await cursor.execute("insert into load_.by_tasks values (%s)", (its,))

            await load.run_async(insert)

    asyncio.run(main())
    load.check([row[0] for row in execute("select id from load_.by_tasks")])


def test_what_comes_back_is_what_went_in() -> None:
    guarded = guard(pymysql.connect)
    assert issubclass(guarded, pymysql.Connection)
    assert (guarded.__name__, guard(guarded).__mro__[1]) == ("Connection", pymysql.Connection)
    connection = pymysql.Connection(defer_connect=True)
    assert guard(connection) is connection
    if MySQLdb is not None:
        assert guard(MySQLdb.connect).__name__ == MySQLdb.connect.__name__


@pytest.mark.parametrize("library", ASYNCHRONOUS, ids=lambda library: library.__name__)
def test_what_comes_back_is_what_went_in_of_asynchronous_clients(library: Any, mariadb: Any) -> None:
    """Also what these functions give: awaitable, and a context manager."""

    async def main() -> None:
        its = settings("127.0.0.1", mariadb.port)
        for name in ("connect", "create_pool"):
            made, bare = guard(getattr(library, name))(**its), getattr(library, name)(**its)
            assert type(made) is type(bare)
            made.close()
            bare.close()
        connection = await guard(library.connect)(**its)
        assert await first_of(connection) == 42
        connection.close()
        pool = await library.create_pool(minsize=1, maxsize=1, **its)
        assert guard(pool) is pool
        assert isinstance(pool, library.Pool)
        assert pool.freesize == 1  # its connection goes on
        assert await ask_pool(pool) == 42
        await end_pool(pool)
        pool = await guard(library.create_pool)(2, 3, **its)
        assert (pool.minsize, pool.maxsize, pool.freesize) == (2, 3, 2)
        await end_pool(pool)
        with pytest.raises(ValueError, match="maxsize"):
            await guard(library.create_pool)(3, 2, **its)

    asyncio.run(main())


@pytest.mark.parametrize("library", ASYNCHRONOUS, ids=lambda library: library.__name__)
def test_nobody_is_locked_out_while_another_waits(library: Any, mariadb: Any) -> None:
    """A pool is locked while it connects, but not between two attempts: what is in use can be put back and taken."""

    async def main() -> None:
        refused = asyncio.Event()
        policy = guarding.PATIENT.replace(observers=(lambda _: refused.set(),))
        pool = await library.create_pool(minsize=1, maxsize=2, **settings("127.0.0.1", mariadb.port))
        guard(pool, policy=policy)
        held = await pool.acquire()
        await asyncio.to_thread(mariadb.kill)
        waiting = asyncio.create_task(ask_pool(pool))
        await asyncio.wait_for(refused.wait(), 10)
        await asyncio.wait_for(pool.release(held), 5)
        await asyncio.to_thread(mariadb.start)
        assert await waiting == 42
        await end_pool(pool)

    try:
        asyncio.run(main())
    finally:
        mariadb.wait_ready(30)


@pytest.mark.parametrize("library", ASYNCHRONOUS, ids=lambda library: library.__name__)
def test_a_cancelled_connect_ends_at_once(library: Any) -> None:
    async def main(port: int) -> None:
        make = guard(library.create_pool, policy=Policy(observers=()))
        task = asyncio.ensure_future(ask_factory(functools.partial(make, **settings("127.0.0.1", port))))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with refused_port() as port:
        asyncio.run(asyncio.wait_for(main(port), 10))


def test_the_target_is_where_the_client_connects_to() -> None:
    assert _mysql.target("db", port=3307) == Endpoint.parse("mysql://db:3307")
    assert _mysql.target() == Endpoint.parse("mysql://localhost:3306")
    assert _mysql.target(host="db", unix_socket="/run/m.sock") == Endpoint.parse("unix:///run/m.sock")
    with pytest.raises(TargetError, match="option file"):
        _mysql.target(read_default_file="~/.my.cnf")


@pytest.mark.parametrize("name", ["aiomysql", "asyncmy", "pymysql"])
def test_each_endpoint_has_its_circuit(name: str) -> None:
    breakers = CircuitBreakers(observers=())
    library = importlib.import_module(name)

    async def connect(**its: Any) -> None:
        connection = guard(library.connect, policy=guarding.THREE, breaker=breakers)(**its)
        await connection

    with refused_port() as port:
        with pytest.raises(error_of(library)):
            asyncio.run(connect(**settings("127.0.0.1", port)))
        assert f"mysql://127.0.0.1:{port}" in breakers


@pytest.mark.parametrize("name", ["aiomysql", "asyncmy", "mysqldb", "pymysql"])
def test_serves_answers_for_what_serves(name: str, mariadb: Any) -> None:
    if name == "mysqldb" and MySQLdb is None:
        pytest.skip("mysqlclient is not installed")
    serves = importlib.import_module(f"resilient.clients.{name}").serves
    errors = error_of(importlib.import_module({"mysqldb": "MySQLdb"}.get(name, name)))
    serves(f"mysql+{name}://root@127.0.0.1:{mariadb.port}/mysql", 5.0)
    serves(f"mariadb://root@127.0.0.1:{mariadb.port}", 5.0)
    with pytest.raises(errors) as hopeless:
        serves(f"mysql://root:secret@127.0.0.1:{mariadb.port}/nosuch", 5.0)
    assert is_hopeless(hopeless.value), hopeless.value
    assert "secret" not in str(hopeless.value)
    with refused_port() as port, pytest.raises(errors) as refused:
        serves(f"mysql://u:secret@127.0.0.1:{port}/app", 5.0)
    if name != "mysqldb":  # its error hides it
        assert is_refused(refused.value)


def test_ping_answers_for_what_serves(mariadb: Any) -> None:
    its = settings("127.0.0.1", mariadb.port)
    for name in ("pymysql",) if MySQLdb is None else ("pymysql", "MySQLdb"):
        ping = importlib.import_module(f"resilient.clients.{name.lower()}").ping
        ping(functools.partial(importlib.import_module(name).connect, **its))

    async def main() -> None:
        for library in ASYNCHRONOUS:
            ping = importlib.import_module(f"resilient.clients.{library.__name__}").ping
            await ping(functools.partial(library.connect, **its))
            pool = await library.create_pool(minsize=0, **its)
            await ping(pool)
            await end_pool(pool)

    asyncio.run(main())
