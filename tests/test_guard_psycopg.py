"""psycopg 3 under `guard()`: its connect functions and connection classes."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections.abc import Iterator
from typing import Any

import guarding
import psycopg
import pytest
from conftest import ready_to_start
from guarding import Guarded
from under_load import Load

from resilient import Endpoint, Policy, TargetError, is_hopeless, is_refused
from resilient.cli._servers import PostgresServer
from resilient.clients import guard
from resilient.clients.psycopg import ping, serves, target
from resilient.testing import late_server, recorded_events, refused_port


def settings(host: str, port: int) -> dict[str, Any]:
    return {"host": host, "port": port, "user": "postgres", "dbname": "postgres", "connect_timeout": 5}


def ask(connect: Any) -> Any:
    with connect() as connection:
        return connection.execute("select 42").fetchone()[0]


async def ask_async(connect: Any) -> Any:
    async with await connect() as connection:
        return (await (await connection.execute("select 42")).fetchone())[0]


def over(connect: Any) -> Any:
    """Guard a connect function; what is used is a function without arguments."""
    return lambda host, port, **shield: lambda: guard(connect, **shield)(**settings(host, port))


def over_class(cls: Any) -> Any:
    return lambda host, port, **shield: lambda: guard(cls, **shield).connect(**settings(host, port))


def over_partial(host: str, port: int, **shield: Any) -> Any:
    return guard(functools.partial(psycopg.connect, **settings(host, port)), **shield)


def over_twice(host: str, port: int, **shield: Any) -> Any:
    """A class that is guarded anew takes the newer settings."""
    cls = guard(guard(psycopg.Connection, policy=Policy(attempts=7, observers=())), **shield)
    return lambda: cls.connect(**settings(host, port))


class Mine(psycopg.Connection[Any]):
    """A class of the user's own, with a connect of its own."""

    @classmethod
    def connect(cls, conninfo: str = "", **settings: Any) -> Any:
        return super().connect(conninfo, application_name="mine", **settings)


GUARDED = (
    Guarded("psycopg.connect", over(psycopg.connect), ask, psycopg.OperationalError),
    Guarded("Connection.connect", over(psycopg.Connection.connect), ask, psycopg.OperationalError),
    Guarded("AsyncConnection.connect", over(psycopg.AsyncConnection.connect), ask_async, psycopg.OperationalError),
    Guarded("Connection", over_class(psycopg.Connection), ask, psycopg.OperationalError),
    Guarded("AsyncConnection", over_class(psycopg.AsyncConnection), ask_async, psycopg.OperationalError),
    Guarded("a subclass", over_class(Mine), ask, psycopg.OperationalError),
    Guarded("guarded twice", over_twice, ask, psycopg.OperationalError),
    Guarded("partial", over_partial, ask, psycopg.OperationalError),
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
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them, and its loop goes on."""
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    assert guarding.connects_on_the_wire("test_guard_psycopg") == {guarded.name: 3 for guarded in GUARDED}


def test_no_command_is_executed_twice_under_a_restart(server: PostgresServer) -> None:
    """A connection for each command: every answered one was executed once, and none failed but those on their way."""
    load = Load(server)
    connect = functools.partial(guard(psycopg.connect, policy=load.policy), **settings("127.0.0.1", server.port))

    def insert(its: str) -> None:
        with connect() as connection:
            connection.execute("insert into by_psycopg values (%s)", (its,))

    with connect() as connection:
        connection.execute("create table if not exists by_psycopg (id text)")
    load.run(insert)
    with connect() as connection:
        load.check([row[0] for row in connection.execute("select id from by_psycopg").fetchall()])


def test_the_function_that_comes_back_is_one() -> None:
    """Name, documentation and signature are the client's."""
    guarded = guard(psycopg.connect)
    assert (guarded.__name__, guarded.__doc__) == ("connect", psycopg.connect.__doc__)
    assert inspect.signature(guarded) == inspect.signature(psycopg.connect)


def test_the_class_that_comes_back_is_one() -> None:
    guarded = guard(psycopg.Connection)
    assert issubclass(guarded, psycopg.Connection)
    assert (guarded.__name__, guarded.__module__) == ("Connection", psycopg.Connection.__module__)
    assert guard(guarded).__mro__[1] is psycopg.Connection


def test_a_connection_is_of_the_guarded_class(server: PostgresServer) -> None:
    guarded = guard(Mine)
    with guarded.connect(**settings("127.0.0.1", server.port)) as connection:
        assert isinstance(connection, Mine)
        assert connection.info.get_parameters()["application_name"] == "mine"


def test_a_later_host_is_tried_in_the_same_attempt(server: PostgresServer) -> None:
    """Several hosts are libpq's to try: only where all of them refuse is the attempt refused."""
    connect = guard(psycopg.connect, policy=guarding.THREE)
    with refused_port() as port, refused_port() as other:
        several = {"user": "postgres", "dbname": "postgres", "host": "127.0.0.1,127.0.0.1"}
        with connect(port=f"{port},{server.port}", **several) as connection:
            assert connection.info.port == server.port
        with recorded_events() as events, pytest.raises(psycopg.OperationalError) as raised:
            connect(port=f"{port},{other}", **several)
    assert is_refused(raised.value)
    assert events[-1].attempt == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("host=db port=5433 password=secret",), "postgresql://db:5433"),
        (("postgresql://u:secret@db/app",), "postgresql://db:5432"),
        (("postgresql://u:secret@a:1,b:2/app",), "postgresql://a:1"),
        ((), "unix:///var/run/postgresql/.s.PGSQL.5432"),
        (("host=/run/pg port=1",), "unix:///run/pg/.s.PGSQL.1"),
    ],
)
def test_the_target_is_where_libpq_would_connect_to(
    arguments: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT"):
        monkeypatch.delenv(name, raising=False)
    assert target(*arguments) == Endpoint.parse(expected)


def test_the_target_follows_libpqs_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.internal")
    monkeypatch.setenv("PGPORT", "6000")
    assert target() == Endpoint.parse("postgresql://db.internal:6000")
    assert target(host="db", port=None) == Endpoint.parse("postgresql://db:6000")


def test_a_service_file_is_libpqs_to_read() -> None:
    with pytest.raises(TargetError, match="service"):
        target("service=app")


# Asked whether it serves.


def test_ping_asks_once(server: PostgresServer) -> None:
    its = settings("127.0.0.1", server.port)
    ping(functools.partial(psycopg.connect, **its))
    answer = ping(functools.partial(psycopg.AsyncConnection.connect, **its))
    assert answer is not None
    asyncio.run(answer)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgis"])
def test_serves_takes_urls_as_people_write_them(scheme: str, server: PostgresServer) -> None:
    """With the query of other layers, which libpq does not know."""
    serves(f"{scheme}://postgres@127.0.0.1:{server.port}/postgres?plugin=resilient&application_name=a%20b", 5.0)


def test_serves_raises_the_clients_own(server: PostgresServer) -> None:
    with refused_port() as port, pytest.raises(psycopg.OperationalError) as refused:
        serves(f"postgresql://u:secret@127.0.0.1:{port}/app", 5.0)
    assert is_refused(refused.value)
    with pytest.raises(psycopg.OperationalError) as hopeless:
        serves(f"postgresql://postgres:secret@127.0.0.1:{server.port}/nosuch", 5.0)
    assert is_hopeless(hopeless.value)
    assert "secret" not in str(refused.value) + str(hopeless.value)


def test_serves_ends_in_time() -> None:
    """Where something accepts and never answers."""
    over = threading.Event()
    with late_server(lambda _: over.wait(10)) as silent:
        silent.up()
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            serves(f"postgresql://u@127.0.0.1:{silent.port}/app", 1.0)
        assert time.monotonic() - began < 5
        over.set()
