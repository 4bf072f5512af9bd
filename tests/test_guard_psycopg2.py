"""psycopg2 under `guard()`: its connect function, and the pools of `psycopg2.pool`."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import Any

import guarding
import psycopg2
import pytest
from conftest import ready_to_start
from guarding import Guarded
from psycopg2.extensions import parse_dsn
from psycopg2.pool import PoolError, SimpleConnectionPool, ThreadedConnectionPool
from under_load import Load

from resilient import CircuitBreakers, Endpoint, Policy, is_hopeless, is_refused
from resilient.cli._servers import PostgresServer
from resilient.clients import guard
from resilient.clients.psycopg2 import ping, serves, target
from resilient.testing import refused_port


def settings(host: str, port: int) -> dict[str, Any]:
    return {"host": host, "port": port, "user": "postgres", "dbname": "postgres", "connect_timeout": 5}


def answer_of(connection: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("select 42")
        return cursor.fetchone()[0]


def ask(connect: Any) -> Any:
    connection = connect()
    try:
        return answer_of(connection)
    finally:
        connection.close()


def ask_pool(pool: Any) -> Any:
    connection = pool.getconn()
    try:
        return answer_of(connection)
    finally:
        pool.putconn(connection, close=True)


def close(pool: Any) -> None:
    pool.closeall()


def over_connect(host: str, port: int, **shield: Any) -> Any:
    return functools.partial(guard(psycopg2.connect, **shield), **settings(host, port))


def over_pool(cls: Any) -> Any:
    return lambda host, port, **shield: guard(cls(0, 2, **settings(host, port)), **shield)


def over_twice(host: str, port: int, **shield: Any) -> Any:
    """What is guarded anew takes the newer settings."""
    pool = guard(SimpleConnectionPool, policy=Policy(attempts=7, observers=()))(0, 2, **settings(host, port))
    return guard(pool, **shield)


def over_class(host: str, port: int, **shield: Any) -> Any:
    """Such a pool connects when it is made."""
    return lambda: guard(ThreadedConnectionPool, **shield)(1, 2, **settings(host, port)).getconn()


GUARDED = (
    Guarded("connect", over_connect, ask, psycopg2.OperationalError),
    Guarded("a SimpleConnectionPool", over_pool(SimpleConnectionPool), ask_pool, psycopg2.OperationalError, close),
    Guarded("a ThreadedConnectionPool", over_pool(ThreadedConnectionPool), ask_pool, psycopg2.OperationalError, close),
    Guarded("ThreadedConnectionPool", over_class, ask, psycopg2.OperationalError),
    Guarded("guarded twice", over_twice, ask_pool, psycopg2.OperationalError, close),
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
    """The pools here keep no idle connection: they would hand out a dead one, and have no setting against it."""
    guarding.outlives_a_restart(guarded, server)


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them."""
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    assert guarding.connects_on_the_wire("test_guard_psycopg2") == {guarded.name: 3 for guarded in GUARDED}


def test_no_command_is_executed_twice_under_a_restart(server: PostgresServer) -> None:
    """Every answered command was executed once; none failed but those that were on their way."""
    load = Load(server)
    connect = functools.partial(guard(psycopg2.connect, policy=load.policy), **settings("127.0.0.1", server.port))

    def execute(command: str, *args: Any) -> Any:
        connection = connect()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(command, args)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    execute("create table if not exists by_psycopg2 (id text)")
    load.run(lambda its: execute("insert into by_psycopg2 values (%s)", its))
    load.check([row[0] for row in execute("select id from by_psycopg2")])


def test_what_comes_back_is_what_went_in() -> None:
    connect = guard(psycopg2.connect)
    assert (connect.__name__, connect.__doc__) == ("connect", psycopg2.connect.__doc__)
    pool = SimpleConnectionPool(0, 1)
    assert guard(pool) is pool
    assert isinstance(pool, SimpleConnectionPool)
    guarded = guard(ThreadedConnectionPool)
    assert issubclass(guarded, ThreadedConnectionPool)
    assert (guarded.__name__, guard(guarded).__mro__[1]) == ("ThreadedConnectionPool", ThreadedConnectionPool)


def test_a_factory_of_the_users_own_stays(server: PostgresServer) -> None:
    class Mine(psycopg2.extensions.connection):
        pass

    connection = guard(psycopg2.connect)(**settings("127.0.0.1", server.port), connection_factory=Mine)
    assert type(connection) is Mine
    connection.close()


def test_a_live_pool_goes_on_and_keeps_its_bounds(server: PostgresServer) -> None:
    pool = SimpleConnectionPool(1, 1, **settings("127.0.0.1", server.port))
    before = pool.getconn()
    pool.putconn(before)
    guard(pool)
    assert pool.getconn() is before
    with pytest.raises(PoolError, match="exhausted"):
        pool.getconn()
    pool.closeall()


def test_nobody_is_locked_out_while_another_waits(server: PostgresServer) -> None:
    """A pool for threads is locked while it connects, but not between two attempts: what is in use can be put back."""
    pool = ThreadedConnectionPool(1, 2, **settings("127.0.0.1", server.port))
    held = pool.getconn()
    server.kill()
    refused = threading.Event()
    guard(pool, policy=guarding.PATIENT.replace(observers=(lambda _: refused.set(),)))
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(pool.getconn()))
    waiting.start()
    assert refused.wait(10)
    back = threading.Thread(target=lambda: pool.putconn(held, close=True))
    back.start()
    back.join(5)
    assert not back.is_alive()
    server.start()
    waiting.join()
    assert answer_of(got[0]) == 42
    pool.closeall()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("host=db port=5433 password=secret",), "postgresql://db:5433"),
        (("postgresql://u:secret@db/app",), "postgresql://db:5432"),
        (("postgresql://u:secret@a:1,b:2/app",), "postgresql://a:1"),
        ((), "unix:///var/run/postgresql/.s.PGSQL.5432"),
    ],
)
def test_the_target_is_where_libpq_would_connect_to(
    arguments: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT"):
        monkeypatch.delenv(name, raising=False)
    assert target(*arguments) == Endpoint.parse(expected)
    assert target(*arguments, host="other", port=1) == Endpoint.parse("postgresql://other:1")


def test_each_endpoint_has_its_circuit() -> None:
    breakers = CircuitBreakers(observers=())
    with refused_port() as port:
        with pytest.raises(psycopg2.OperationalError):
            over_pool(SimpleConnectionPool)("127.0.0.1", port, policy=guarding.THREE, breaker=breakers).getconn()
        assert f"postgresql://127.0.0.1:{port}" in breakers


def test_ping_and_serves_answer_for_what_serves(server: PostgresServer) -> None:
    its = settings("127.0.0.1", server.port)
    ping(functools.partial(psycopg2.connect, **its))
    pool = ThreadedConnectionPool(2, 2, **its)
    server.restart()
    server.wait_ready(30)
    ping(pool)
    pool.closeall()
    serves(f"postgresql+psycopg2://postgres@127.0.0.1:{server.port}/postgres?plugin=resilient", 5.0)
    with pytest.raises(psycopg2.OperationalError) as hopeless:
        serves(f"postgresql://postgres:secret@127.0.0.1:{server.port}/nosuch", 5.0)
    assert is_hopeless(hopeless.value)
    with refused_port() as port, pytest.raises(psycopg2.OperationalError) as refused:
        serves(f"postgresql://u@127.0.0.1:{port}/app", 5.0)
    assert is_refused(refused.value)


def test_libpq_knows_the_settings_that_a_url_may_have() -> None:
    from resilient.clients.psycopg2 import _KNOWN

    for name in _KNOWN - {"sslcompression"}:
        parse_dsn(f"postgresql://u@db/app?{name}=1")
