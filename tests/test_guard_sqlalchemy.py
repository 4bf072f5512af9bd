"""SQLAlchemy under `guard()`: engines, plain and asynchronous, the functions that make them, pools, and the plugin."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import guarding
import psycopg
import pytest
import sqlalchemy
from conftest import ready_to_start
from guarding import Guarded
from sqlalchemy import create_engine, engine_from_config, event, text
from sqlalchemy.dialects import plugins
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, Pool, QueuePool
from under_load import Load

from resilient import CircuitBreaker, CircuitBreakers, Policy, PolicyError, is_refused
from resilient.cli._servers import PostgresServer
from resilient.clients import guard
from resilient.clients.sqlalchemy import ping, serves
from resilient.testing import recorded_events, refused_port

plugins.register("resilient", "resilient.clients.sqlalchemy_plugin", "ResilientPlugin")


def url(driver: str, port: int, more: str = "") -> str:
    dialect, user = ("postgresql", "postgres") if driver in _POSTGRES else ("mysql", "root")
    return f"{dialect}+{driver}://{user}@127.0.0.1:{port}/{'postgres' if user == 'postgres' else ''}{more}"


_POSTGRES = ("psycopg", "psycopg2", "asyncpg")


def engine_of(driver: str, **settings: Any) -> Any:
    return lambda _, port, **shield: guard(create_engine(url(driver, port), pool_pre_ping=True, **settings), **shield)


def async_engine_of(driver: str) -> Any:
    return lambda _, port, **shield: guard(create_async_engine(url(driver, port), pool_pre_ping=True), **shield)


def by_factory(_: str, port: int, **shield: Any) -> Any:
    return guard(create_engine, **shield)(url("psycopg", port), pool_pre_ping=True)


def by_config(_: str, port: int, **shield: Any) -> Any:
    settings = {"sqlalchemy.url": url("psycopg", port), "sqlalchemy.pool_pre_ping": "true"}
    return guard(engine_from_config, **shield)(settings)


def by_async_factory(_: str, port: int, **shield: Any) -> Any:
    return guard(create_async_engine, **shield)(url("psycopg", port), pool_pre_ping=True)


def by_plugin(_: str, port: int, *, policy: Policy, breaker: Any = None) -> Any:
    return create_engine(
        url("psycopg", port, "?plugin=resilient"),
        pool_pre_ping=True,
        resilient_policy=policy,
        resilient_breaker=breaker,
    )


def with_creator(_: str, port: int, **shield: Any) -> Any:
    def connect() -> Any:
        return psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres")

    return guard(create_engine("postgresql+psycopg://", creator=connect, pool_pre_ping=True), **shield)


def with_listeners(_: str, port: int, **shield: Any) -> Any:
    """One was there before, and changes the arguments; one came later, and does as well."""
    engine = create_engine("postgresql+psycopg://postgres@127.0.0.1/postgres", pool_pre_ping=True)
    event.listen(engine, "do_connect", lambda _, __, ___, settings: settings.update(port=port))
    guard(engine, **shield)
    event.listen(engine, "do_connect", lambda _, __, ___, settings: settings.update(application_name="it"))
    return engine


def copied(_: str, port: int, **shield: Any) -> Any:
    engine = guard(create_engine(url("psycopg", port), pool_pre_ping=True), **shield)
    engine.dispose()
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def guarded_twice(_: str, port: int, **shield: Any) -> Any:
    """The newer settings count, also where it is a copy that is guarded anew."""
    engine = guard(create_engine(url("psycopg", port), pool_pre_ping=True), policy=Policy(attempts=7, observers=()))
    guard(engine.execution_options(isolation_level="AUTOCOMMIT"), policy=Policy(attempts=5, observers=()))
    return guard(engine, **shield)


def pool_of(_: str, port: int, **shield: Any) -> Any:
    return guard(create_engine(url("psycopg", port)).pool, **shield)


def ask(engine: Any) -> Any:
    with engine.connect() as connection:
        return connection.scalar(text("select 42"))


async def ask_async(engine: AsyncEngine) -> Any:
    async with engine.connect() as connection:
        return await connection.scalar(text("select 42"))


def ask_pool(pool: Pool) -> Any:
    connection = pool.connect()
    try:
        cursor = connection.cursor()
        cursor.execute("select 42")
        return cursor.fetchone()[0]
    finally:
        connection.close()


def close(engine: Any) -> None:
    engine.dispose()


async def close_async(engine: AsyncEngine) -> None:
    await engine.dispose()


def of_engine(name: str, make: Any) -> Guarded:
    return Guarded(name, make, ask, OperationalError, close)


def of_async_engine(name: str, make: Any, error: type[Exception] = OperationalError) -> Guarded:
    return Guarded(name, make, ask_async, error, close_async)


ON_POSTGRES = (
    of_engine("psycopg", engine_of("psycopg")),
    of_engine("psycopg2", engine_of("psycopg2")),
    of_engine("psycopg, no pool", engine_of("psycopg", poolclass=NullPool)),
    of_async_engine("psycopg, async", async_engine_of("psycopg")),
    of_async_engine("asyncpg", async_engine_of("asyncpg"), ConnectionRefusedError),
    of_engine("create_engine", by_factory),
    of_engine("engine_from_config", by_config),
    of_async_engine("create_async_engine", by_async_factory),
    of_engine("plugin", by_plugin),
    of_engine("creator=", with_creator),
    of_engine("other listeners", with_listeners),
    of_engine("disposed and copied", copied),
    of_engine("guarded twice", guarded_twice),
)
POOLS = (Guarded("pool", pool_of, ask_pool, psycopg.OperationalError, close),)
HAS_MYSQLCLIENT = importlib.util.find_spec("MySQLdb") is not None
"""It has no wheels."""

ON_MARIADB = (
    of_engine("pymysql", engine_of("pymysql")),
    *([of_engine("mysqldb", engine_of("mysqldb"))] if HAS_MYSQLCLIENT else []),
    of_async_engine("aiomysql", async_engine_of("aiomysql")),
    of_async_engine("asyncmy", async_engine_of("asyncmy")),
)
GUARDED = ON_POSTGRES + POOLS + ON_MARIADB
OUTLIVING = ("psycopg", "psycopg, no pool", "asyncpg", "plugin", "creator=", "disposed and copied")
on_mariadb = pytest.mark.parametrize("guarded", ON_MARIADB, ids=str)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with ready_to_start(PostgresServer) as found:
        found.start()
        found.wait_ready(30)
        yield found


@pytest.mark.parametrize("guarded", ON_POSTGRES + POOLS, ids=str)
def test_it_waits_for_its_server(guarded: Guarded, server: PostgresServer) -> None:
    guarding.starts_before_its_server(guarded, server)


@pytest.mark.parametrize("guarded", [its for its in ON_POSTGRES if its.name in OUTLIVING], ids=str)
def test_it_outlives_a_restart(guarded: Guarded, server: PostgresServer) -> None:
    """With `pool_pre_ping`: a connection that has died meanwhile is SQLAlchemy's to find."""
    guarding.outlives_a_restart(guarded, server)


@on_mariadb
def test_it_waits_for_mariadb(guarded: Guarded, mariadb: Any) -> None:
    guarding.starts_before_its_server(guarded, mariadb)


@on_mariadb
def test_it_outlives_a_restart_of_mariadb(guarded: Guarded, mariadb: Any) -> None:
    guarding.outlives_a_restart(guarded, mariadb)


@pytest.mark.skipif(HAS_MYSQLCLIENT, reason="it is installed, and tried with the others")
def test_mysqlclient_is_not_tried_here() -> None:
    """Said aloud at the end of a run."""
    pytest.skip("mysqlclient is not installed, and it has no wheels: SQLAlchemy and Django over it were not tried")


@pytest.mark.parametrize("guarded", GUARDED, ids=str)
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them, and its loop goes on."""
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    """And one more for mysqlclient, whose error does not say that it was refused: the port itself is asked, once."""
    expected = {guarded.name: 4 if guarded.name == "mysqldb" else 3 for guarded in GUARDED}
    assert guarding.connects_on_the_wire("test_guard_sqlalchemy") == expected


def test_no_command_is_executed_twice_under_a_restart(server: PostgresServer) -> None:
    """Every answered command was executed once; none failed but those that were on their way."""
    load = Load(server)
    engine = guard(create_engine(url("psycopg", server.port), pool_pre_ping=True, pool_size=2), policy=load.policy)
    with engine.begin() as connection:
        connection.execute(text("create table if not exists by_engine (id text)"))

    def insert(its: str) -> None:
        with engine.begin() as connection:
            connection.execute(text("insert into by_engine values (:id)"), {"id": its})

    load.run(insert)
    with engine.connect() as connection:
        load.check(list(connection.scalars(text("select id from by_engine"))))
    engine.dispose()


def test_no_command_of_an_asynchronous_engine_is_executed_twice_under_a_restart(server: PostgresServer) -> None:
    """The same in tasks of one loop, over asyncpg."""
    load = Load(server)

    async def main() -> list[str]:
        bare = create_async_engine(url("asyncpg", server.port), pool_pre_ping=True, pool_size=2)
        engine = guard(bare, policy=load.policy)
        async with engine.begin() as connection:
            await connection.execute(text("create table if not exists by_async_engine (id text)"))

        async def insert(its: str) -> None:
            async with engine.begin() as connection:
                await connection.execute(text("insert into by_async_engine values (:id)"), {"id": its})

        await load.run_async(insert)
        async with engine.connect() as connection:
            stored = list(await connection.scalars(text("select id from by_async_engine")))
        await engine.dispose()
        return stored

    load.check(asyncio.run(main()))


def test_what_comes_back_is_what_went_in() -> None:
    engine = create_engine("postgresql+psycopg://u@db/app")
    asynchronous = create_async_engine("postgresql+asyncpg://u@db/app")
    assert guard(engine) is engine
    assert guard(asynchronous) is asynchronous
    assert guard(engine.pool) is engine.pool
    made = guard(create_engine)
    assert (made.__name__, made.__doc__) == ("create_engine", create_engine.__doc__)
    assert type(made("postgresql+psycopg://u@db/app")) is type(engine)
    assert type(engine.pool) is QueuePool


def test_guarding_connects_nowhere() -> None:
    """Neither the engine, nor the creator of another one, nor a listener is asked."""

    def never(*_: object) -> None:
        raise AssertionError

    engine = create_engine("postgresql+psycopg://", creator=never)
    guard(engine)
    listened = create_engine("postgresql+psycopg://")
    event.listen(listened, "do_connect", never)
    guard(listened)


def test_a_live_connection_goes_on(server: PostgresServer) -> None:
    engine = create_engine(url("psycopg", server.port))
    with engine.connect() as connection:
        before = connection.scalar(text("select pg_backend_pid()"))
        guard(engine)
        assert connection.scalar(text("select pg_backend_pid()")) == before
    with engine.connect() as connection:
        assert connection.scalar(text("select pg_backend_pid()")) == before
    engine.dispose()


@pytest.mark.parametrize(
    ("its_url", "arguments", "expected"),
    [
        ("postgresql+psycopg://u:secret@db/app", {}, "postgresql://db:5432"),
        ("postgresql+psycopg://u:secret@db:5433/app", {"port": 6000}, "postgresql://db:6000"),
        ("postgresql+psycopg2:///app?host=/run/pg", {}, "unix:///run/pg/.s.PGSQL.5432"),
        ("postgresql+psycopg://u@/app?host=a:1&host=b:2", {}, "postgresql://a:1"),
        ("postgresql+asyncpg://u@db/app", {"host": "other"}, "postgresql://other:5432"),
        ("mysql+pymysql://u@db/app", {}, "mysql://db:3306"),
        ("mysql+pymysql://u@/app?unix_socket=/run/m.sock", {}, "unix:///run/m.sock"),
    ],
)
def test_the_target_is_what_the_driver_is_called_with(its_url: str, arguments: dict[str, Any], expected: str) -> None:
    """The URL, and `connect_args` over it: each has a circuit of its own."""
    breakers = CircuitBreakers(observers=())
    make: Any = create_async_engine if "asyncpg" in its_url else create_engine
    engine = guard(make(its_url, connect_args=arguments), breaker=breakers, policy=guarding.THREE)
    breakers[expected].isolate()

    async def connect() -> None:
        async with engine.connect():
            pass

    with pytest.raises((OperationalError, ConnectionRefusedError), match="is open"):
        if make is create_async_engine:
            asyncio.run(connect())
        else:
            engine.connect()
    assert len(breakers) == 1


def test_an_earlier_listener_is_asked_for_each_attempt() -> None:
    """So that a token that it puts into the arguments is a fresh one; and what it puts there stays its own."""
    asked: list[dict[str, Any]] = []

    def put_token(_: Any, __: Any, ___: Any, settings: dict[str, Any]) -> None:
        asked.append(dict(settings))
        settings["password"] = f"token {len(asked)}"

    for first in (True, False):
        asked.clear()
        with refused_port() as port:
            engine = create_engine(url("psycopg", port))
            if first:
                event.listen(engine, "do_connect", put_token)
            guard(engine, policy=guarding.THREE)
            if not first:
                event.listen(engine, "do_connect", put_token)
            with pytest.raises(OperationalError):
                engine.connect()
        assert len(asked) == 3
        # SQLAlchemy 2.0 itself hands the same arguments to an earlier listener each time.
        assert first or not any("password" in settings for settings in asked)


def test_a_later_listener_may_connect_itself(server: PostgresServer) -> None:
    engine = guard(create_engine("postgresql+psycopg://u@127.0.0.1:1/app"))
    event.listen(
        engine,
        "do_connect",
        lambda *_: psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", dbname="postgres"),
    )
    assert ask(engine) == 42
    engine.dispose()


def test_a_wrong_password_is_not_tried_again() -> None:
    """An error that the policy does not retry comes out at once, as SQLAlchemy raises it."""

    def refuse() -> None:
        raise psycopg.OperationalError("password authentication failed")

    with recorded_events() as events, pytest.raises(OperationalError, match="password"):
        guard(create_engine("postgresql+psycopg://", creator=refuse)).connect()
    assert events == []


def test_threads_wait_side_by_side(server: PostgresServer) -> None:
    """None holds a lock of the pool while it waits: all are served as soon as the server is there."""
    server.kill()
    engine = guard(create_engine(url("psycopg", server.port), pool_size=4), policy=guarding.PATIENT)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(engine))) for _ in range(4)]
    for thread in threads:
        thread.start()
    server.start()
    for thread in threads:
        thread.join()
    assert answers == [42] * 4
    engine.dispose()


def test_a_waiting_task_can_be_cancelled() -> None:
    async def main(port: int) -> None:
        engine = guard(create_async_engine(url("asyncpg", port)), policy=Policy(observers=()))
        task = asyncio.create_task(ask_async(engine))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.sync_engine.pool.checkedout() == 0
        await engine.dispose()

    with refused_port() as port:
        asyncio.run(asyncio.wait_for(main(port), 10))


# The plugin.


def test_the_plugin_reads_its_policy_from_the_url() -> None:
    with refused_port() as port, recorded_events() as events:
        engine = create_engine(
            url("psycopg", port, "?plugin=resilient&resilient_policy=attempts%3D2+backoff%3D1ms..1ms")
        )
        with pytest.raises(OperationalError):
            engine.connect()
    assert events[-1].attempt == 2
    assert engine.url.query == {}


def test_the_plugin_reads_its_policy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which comes before the URL's; and the URL's comes where it is not set."""
    its = "?resilient_env=DB&resilient_policy=attempts%3D2+backoff%3D1ms..1ms"
    for text_, attempts in (("attempts=4 backoff=1ms..1ms", 4), ("", 2)):
        monkeypatch.setenv("DB_RETRY", text_)
        with refused_port() as port, recorded_events() as events, pytest.raises(OperationalError):
            create_engine(url("psycopg", port, its), plugins=["resilient"]).connect()
        assert events[-1].attempt == attempts


def test_the_plugin_guards_asynchronous_engines() -> None:
    async def main(port: int) -> None:
        engine = create_async_engine(url("asyncpg", port), plugins=["resilient"], resilient_policy=guarding.THREE)
        await ask_async(engine)

    with refused_port() as port, recorded_events() as events, pytest.raises(ConnectionRefusedError):
        asyncio.run(main(port))
    assert events[-1].attempt == 3


def test_the_plugin_refuses_what_it_cannot_read() -> None:
    with pytest.raises(PolicyError, match="attempts"):
        create_engine("postgresql+psycopg://db/app?plugin=resilient&resilient_policy=attempts%3Dmany")


def test_flask_sqlalchemy_takes_the_plugin() -> None:
    import flask
    import flask_sqlalchemy as extension

    with refused_port() as port, recorded_events() as events:
        app = flask.Flask("app")
        app.config["SQLALCHEMY_DATABASE_URI"] = url("psycopg", port)
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"plugins": ["resilient"], "resilient_policy": guarding.THREE}
        database = extension.SQLAlchemy(app)
        with app.app_context(), pytest.raises(OperationalError):
            database.session.execute(text("select 1"))
    assert events[-1].attempt == 3


# Asked whether it serves.


def test_ping_answers_for_what_serves(server: PostgresServer) -> None:
    """Also where the connections of the pool have died meanwhile."""
    engine = create_engine(url("psycopg", server.port), pool_size=2)
    ping(engine)
    ping(engine.pool)
    server.restart()
    server.wait_ready(30)
    ping(engine)
    engine.dispose()

    async def main() -> None:
        asynchronous = create_async_engine(url("asyncpg", server.port))
        answer = ping(asynchronous)
        assert answer is not None
        await answer
        await asynchronous.dispose()

    asyncio.run(main())


def test_ping_raises_the_clients_own() -> None:
    with refused_port() as port, pytest.raises(OperationalError) as raised:
        ping(create_engine(url("psycopg", port)))
    assert is_refused(raised.value)


@pytest.mark.parametrize("driver", _POSTGRES)
def test_serves_with_the_driver_that_a_url_names(driver: str, server: PostgresServer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        serves(url(driver, server.port, "?plugin=resilient"), 5.0)
    with refused_port() as port, pytest.raises((OperationalError, ConnectionRefusedError)):
        serves(url(driver, port), 5.0)


def test_an_older_sqlalchemy_has_what_is_used() -> None:
    """The parts that are not public, by name: a version that lacks one shows here first."""
    engine = create_engine("postgresql+psycopg://")
    assert engine.pool._creator.__module__ == "sqlalchemy.engine.create"
    assert callable(engine.pool._invoke_creator)
    assert engine.dialect._has_events is False
    assert isinstance(sqlalchemy.__version__, str)


def test_the_log_names_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    with refused_port() as port, caplog.at_level(logging.WARNING), pytest.raises(OperationalError):
        guard(create_engine(url("psycopg", port)), policy=Policy(attempts=2), breaker=CircuitBreaker("db")).connect()
    assert caplog.messages[0].startswith(f"sqlalchemy.Engine.connect: postgresql://127.0.0.1:{port} refused")
