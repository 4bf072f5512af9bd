"""Waiting for a PostgreSQL that recovers: its port is open, it says that it is starting up, and does not serve yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import sqlalchemy
from conftest import ready_to_start
from sqlalchemy.ext.asyncio import create_async_engine
from test_real_servers import begin_recovery, promote, wait_until_it_answers

from resilient import Backoff, Event, Policy, WaitTimeoutError, clients, guard, wait_for, wait_for_async
from resilient.cli._servers import PostgresServer
from resilient.testing import refused_port

TURNED_AWAY = 4
"""Hellos that the server has to turn away before it is promoted."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with ready_to_start(lambda: PostgresServer(settings={"hot_standby": "off"})) as found:
        yield found


def url_of(server: PostgresServer, driver: str) -> sqlalchemy.URL:
    return sqlalchemy.make_url(server.url).set(drivername=f"postgresql+{driver}")


def guarded_engine(server: PostgresServer) -> Any:
    return guard(sqlalchemy.create_engine(url_of(server, "psycopg")), policy=Policy.startup().replace(observers=()))


def guarded_async_engine(server: PostgresServer) -> Any:
    return guard(create_async_engine(url_of(server, "asyncpg")), policy=Policy.startup().replace(observers=()))


TARGETS: dict[str, Callable[[PostgresServer], Any]] = {
    "a URL by its driver": lambda server: server.url,
    "a URL without a driver": lambda server: server.url,
    "a guarded engine": guarded_engine,
    "a guarded asynchronous engine": guarded_async_engine,
}


@pytest.mark.parametrize("name", TARGETS)
def test_nobody_returns_while_the_server_is_starting_up(
    name: str, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It recovers until it is promoted, so whoever returns before that has not waited until it serves."""
    if name == "a URL without a driver":
        monkeypatch.setitem(clients.DRIVERS, "postgresql", ())
    heard: list[Event] = []
    policy = Policy.startup().replace(backoff=Backoff(initial=0.02, maximum=0.05), observers=(heard.append,))

    def turned_away() -> int:
        return sum(getattr(event, "kind", None) == "not_ready" for event in heard)

    def wait() -> float:
        target = TARGETS[name](server)
        if "asynchronous" in name:
            asyncio.run(wait_and_dispose(target, policy))
        else:
            wait_for(target, timeout=60, policy=policy)
        returned = time.monotonic()
        if isinstance(target, sqlalchemy.Engine):
            target.dispose()
        return returned

    begin_recovery(server)
    wait_until_it_answers(server)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait)
        while turned_away() < TURNED_AWAY and not waiting.done():
            time.sleep(0.01)
        promoted = time.monotonic()
        promote(server)
        returned = waiting.result(60)
    assert returned > promoted
    assert turned_away() >= TURNED_AWAY
    with psycopg.connect(server.url) as connection:
        assert connection.execute("select 42").fetchone() == (42,)


async def wait_and_dispose(engine: Any, policy: Policy) -> None:
    await wait_for_async(engine, timeout=60, policy=policy)
    await engine.dispose()


@pytest.mark.parametrize("kind", ["engine", "pool", "asynchronous engine"])
def test_the_policy_of_a_guarded_engine_does_not_hold_up_who_waits_for_it(kind: str) -> None:
    """It would try again for twenty seconds inside of one hello."""
    policy = Policy(deadline=20.0, observers=())
    quiet = Policy.startup().replace(observers=())
    with refused_port() as port, pytest.raises(WaitTimeoutError) as raised:
        if kind == "asynchronous engine":
            url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
            asyncio.run(wait_for_async(guard(create_async_engine(url), policy=policy), timeout=0.3, policy=quiet))
        else:
            engine = sqlalchemy.create_engine(f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres")
            guard(engine if kind == "engine" else engine.pool, policy=policy)
            wait_for(engine if kind == "engine" else engine.pool, timeout=0.3, policy=quiet)
    assert raised.value.elapsed < 15


def test_a_guarded_engine_that_was_waited_for_is_guarded_as_before() -> None:
    """Its next connect is made as its policy says."""
    attempts: list[Event] = []
    policy = Policy(attempts=3, backoff=Backoff(initial=0.01, maximum=0.01), observers=(attempts.append,))
    with refused_port() as port:
        engine = guard(
            sqlalchemy.create_engine(f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"), policy=policy
        )
        with pytest.raises(WaitTimeoutError):
            wait_for(engine, timeout=0.1, policy=Policy.startup().replace(observers=()))
        assert attempts == []
        with pytest.raises(sqlalchemy.exc.OperationalError):
            engine.connect()
    assert [type(event).__name__ for event in attempts] == ["RetryScheduled", "RetryScheduled", "RetriesExhausted"]
