"""Real servers under decorated calls: late, killed, restarted, guarded, recovering."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import asyncpg
import psycopg
import psycopg2
import pytest
import redis
import redis.asyncio
import sqlalchemy
import valkey
import valkey.asyncio
from clients import CLIENTS, Place, kind_of
from conftest import ready_to_start
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.pool import NullPool

from resilient import Backoff, CallRecovered, Event, Policy, RetryScheduled, is_hopeless, is_not_ready, retry_on_refused
from resilient.cli._servers import LocalServer, PostgresServer, ValkeyServer
from resilient.testing import RecordedEvents

PASSWORD = "s3cret"
SOON = Backoff(initial=0.02, maximum=0.1)
START = Policy.startup().replace(backoff=SOON, deadline=20.0, observers=())
"""PostgreSQL accepts connections before it serves them, and says so: the default policy takes that for an answer."""


@pytest.fixture(scope="module")
def valkey_server() -> Iterator[ValkeyServer]:
    with ready_to_start(lambda: ValkeyServer(arguments=("--requirepass", PASSWORD))) as server:
        yield server


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    without_standby_queries = {"hot_standby": "off"}  # of no effect but in a standby
    with ready_to_start(lambda: PostgresServer(password=PASSWORD, settings=without_standby_queries)) as server:
        yield server


# Each way to connect gives a live connection; `ask` proves that it lives, and ends it.


@dataclass(frozen=True)
class Way:
    """A client of a real server: `connect` and `ask` are functions, or both are coroutine functions."""

    name: str
    server: Literal["valkey", "postgres"]
    connect: Callable[[LocalServer, str], Any]
    ask: Callable[[Any], Any]

    def __str__(self) -> str:
        return self.name

    def find_server(self, request: pytest.FixtureRequest) -> LocalServer:
        server: LocalServer = request.getfixturevalue(f"{self.server}_server")
        return server


def connect_redis(server: LocalServer, password: str) -> redis.Redis:
    client = redis.Redis(port=server.port, password=password, retry=Retry(NoBackoff(), 0))
    client.ping()  # without it nothing connects here
    return client


def ask_redis(client: Any) -> None:
    with client:
        assert client.incr("asked") > 0


def connect_valkey(server: LocalServer, password: str) -> valkey.Valkey:
    client = valkey.Valkey(port=server.port, password=password)
    client.ping()
    return client


async def connect_redis_async(server: LocalServer, password: str) -> redis.asyncio.Redis:
    client = redis.asyncio.Redis(port=server.port, password=password, retry=AsyncRetry(NoBackoff(), 0))
    try:
        await client.ping()
    except BaseException:
        await client.aclose()
        raise
    return client


async def ask_redis_async(client: Any) -> None:
    async with client:
        assert await client.incr("asked") > 0


async def connect_valkey_async(server: LocalServer, password: str) -> valkey.asyncio.Valkey:
    client = valkey.asyncio.Valkey(port=server.port, password=password)
    try:
        await client.ping()
    except BaseException:
        await client.aclose()
        raise
    return client


def postgres_settings(server: LocalServer, password: str) -> dict[str, Any]:
    return {"host": server.host, "port": server.port, "user": "postgres", "password": password}


def connect_psycopg(server: LocalServer, password: str) -> psycopg.Connection[Any]:
    return psycopg.connect(**postgres_settings(server, password), dbname="postgres", connect_timeout=5)


def ask_psycopg(connection: psycopg.Connection[Any]) -> None:
    with connection:
        assert connection.execute("select 42").fetchone() == (42,)


async def connect_psycopg_async(server: LocalServer, password: str) -> psycopg.AsyncConnection[Any]:
    settings = postgres_settings(server, password)
    return await psycopg.AsyncConnection.connect(**settings, dbname="postgres", connect_timeout=5)


async def ask_psycopg_async(connection: psycopg.AsyncConnection[Any]) -> None:
    async with connection:
        assert await (await connection.execute("select 42")).fetchone() == (42,)


def connect_psycopg2(server: LocalServer, password: str) -> Any:
    return psycopg2.connect(**postgres_settings(server, password), dbname="postgres", connect_timeout=5)


def ask_psycopg2(connection: Any) -> None:
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("select 42")
        assert cursor.fetchone() == (42,)


async def connect_asyncpg(server: LocalServer, password: str) -> asyncpg.Connection:
    return await asyncpg.connect(**postgres_settings(server, password), database="postgres", timeout=5)


async def ask_asyncpg(connection: asyncpg.Connection) -> None:
    assert await connection.fetchval("select 42") == 42
    await connection.close()


def connect_sqlalchemy(server: LocalServer, password: str) -> sqlalchemy.Connection:
    url = sqlalchemy.URL.create("postgresql+psycopg", "postgres", password, server.host, server.port, "postgres")
    return sqlalchemy.create_engine(url, connect_args={"connect_timeout": 5}, poolclass=NullPool).connect()


def ask_sqlalchemy(connection: sqlalchemy.Connection) -> None:
    with connection:
        assert connection.scalar(sqlalchemy.text("select 42")) == 42


REDIS = Way("redis", "valkey", connect_redis, ask_redis)
REDIS_ASYNC = Way("redis-async", "valkey", connect_redis_async, ask_redis_async)
PSYCOPG = Way("psycopg", "postgres", connect_psycopg, ask_psycopg)
ASYNCPG = Way("asyncpg", "postgres", connect_asyncpg, ask_asyncpg)
SYNC = (
    REDIS,
    Way("valkey", "valkey", connect_valkey, ask_redis),
    PSYCOPG,
    Way("psycopg2", "postgres", connect_psycopg2, ask_psycopg2),
    Way("sqlalchemy-psycopg", "postgres", connect_sqlalchemy, ask_sqlalchemy),
)
ASYNC = (
    REDIS_ASYNC,
    Way("valkey-async", "valkey", connect_valkey_async, ask_redis_async),
    Way("psycopg-async", "postgres", connect_psycopg_async, ask_psycopg_async),
    ASYNCPG,
)


def protect(way: Way, server: LocalServer, *, policy: Policy = START, password: str = PASSWORD) -> Callable[[], Any]:
    """Return the connect of this client, decorated, with no arguments; it counts its attempts in `.attempts`."""
    started: list[float] = []
    if asyncio.iscoroutinefunction(way.connect):

        @retry_on_refused(policy=policy)
        async def connect_async() -> Any:
            started.append(time.monotonic())
            return await way.connect(server, password)

        connect_async.attempts = started  # type: ignore[attr-defined]
        return connect_async

    @retry_on_refused(policy=policy)
    def connect() -> Any:
        started.append(time.monotonic())
        return way.connect(server, password)

    connect.attempts = started  # type: ignore[attr-defined]
    return connect


# Late.


@contextlib.contextmanager
def started_once_refused(server: LocalServer, callers: int = 1) -> Iterator[Policy]:
    """Let nothing listen now, and the server start as soon as so many callers under this policy were refused."""
    server.kill()
    refused = threading.Semaphore(0)

    def observe(event: Event) -> None:
        if isinstance(event, RetryScheduled) and event.attempt == 1:
            refused.release()

    def start() -> None:
        if all(refused.acquire(timeout=20) for _ in range(callers)):
            server.start()

    starter = threading.Thread(target=start)
    starter.start()
    try:
        yield START.replace(observers=(observe,))
    finally:
        starter.join()


def check_late(connect: Callable[[], Any], events: RecordedEvents) -> None:
    attempts: list[float] = connect.attempts  # type: ignore[attr-defined]
    (recovered,) = events.of(CallRecovered)
    scheduled = events.of(RetryScheduled)
    assert recovered.attempt == len(attempts) == len(scheduled) + 1
    assert scheduled[0].kind == "refused"
    assert {event.kind for event in scheduled} <= {"refused", "not_ready"}


@pytest.mark.parametrize("way", SYNC, ids=str)
def test_a_call_waits_for_a_server_that_is_late(
    way: Way, request: pytest.FixtureRequest, recorded_events: RecordedEvents
) -> None:
    """What comes back is a live connection, and every attempt is told."""
    server = way.find_server(request)
    with started_once_refused(server) as policy:
        connect = protect(way, server, policy=policy)
        way.ask(connect())
    check_late(connect, recorded_events)


@pytest.mark.parametrize("way", ASYNC, ids=str)
def test_a_coroutine_waits_for_a_server_that_is_late(
    way: Way, request: pytest.FixtureRequest, recorded_events: RecordedEvents
) -> None:
    server = way.find_server(request)

    async def main() -> None:
        await way.ask(await connect())

    with started_once_refused(server) as policy:
        connect = protect(way, server, policy=policy)
        asyncio.run(main())
    check_late(connect, recorded_events)


# Killed and restarted.

ROUNDS = 2


@pytest.mark.parametrize("way", [REDIS, PSYCOPG], ids=str)
def test_threads_outlive_the_restarts_of_their_server(way: Way, request: pytest.FixtureRequest) -> None:
    """Four threads call in a loop; between two calls the server is killed, and comes back once all were refused."""
    server = way.find_server(request)
    with ThreadPoolExecutor(4) as threads:
        for _ in range(ROUNDS):
            with started_once_refused(server, 4) as policy:
                connect = protect(way, server, policy=policy)
                calls = [threads.submit(lambda call: way.ask(call()), connect) for _ in range(4)]
                assert [call.result(30) for call in calls] == [None] * 4


@pytest.mark.parametrize("way", [REDIS_ASYNC, ASYNCPG], ids=str)
def test_tasks_outlive_the_restarts_of_their_server(way: Way, request: pytest.FixtureRequest) -> None:
    """The same with twenty tasks of one loop."""
    server = way.find_server(request)

    async def call(connect: Callable[[], Any]) -> None:
        await way.ask(await connect())

    async def main() -> None:
        for _ in range(ROUNDS):
            with started_once_refused(server, 20) as policy:
                connect = protect(way, server, policy=policy)
                assert await asyncio.gather(*(call(connect) for _ in range(20))) == [None] * 20

    asyncio.run(main())


class Callers:
    """Callers that never pause, and what became of their calls."""

    def __init__(self, count: int) -> None:
        self.over = False
        self.served = [0] * count
        self.errors: list[Exception] = []

    def restart_often(self, server: LocalServer) -> None:
        """Kill and start the server under them, and wait each time until every one of them is served again."""
        try:
            for _ in range(ROUNDS):
                server.kill()
                time.sleep(0.1)
                server.start()
                server.wait_ready()
                before = list(self.served)
                deadline = time.monotonic() + 20
                while any(now <= then for now, then in zip(self.served, before, strict=True)):
                    assert time.monotonic() < deadline, (before, self.served)
                    time.sleep(0.01)
        finally:
            self.over = True

    def check_let_through(self) -> None:
        """What a kill tears off in the middle comes through: something may have been sent. Nothing else does."""
        gc.collect()  # here, where a client that was torn off may warn of its socket
        assert [error for error in self.errors if kind_of(error) is not None] == []


@pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning")  # of clients that were torn off
@pytest.mark.parametrize("way", [REDIS, PSYCOPG], ids=str)
def test_no_refusal_comes_through_to_threads_that_never_pause(way: Way, request: pytest.FixtureRequest) -> None:
    """Four of them, and kills that hit whatever they are doing."""
    server = way.find_server(request)
    server.restart()
    connect, callers = protect(way, server), Callers(4)

    def loop(number: int) -> None:
        while not callers.over:
            try:
                connection = connect()
            except Exception as error:
                callers.errors.append(error)
            else:
                callers.served[number] += 1
                connection.close()

    with ThreadPoolExecutor(4) as threads:
        loops = [threads.submit(loop, number) for number in range(4)]
        callers.restart_often(server)
        for each in loops:
            each.result(30)
    callers.check_let_through()


@pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning")
@pytest.mark.parametrize("way", [REDIS_ASYNC, ASYNCPG], ids=str)
def test_no_refusal_comes_through_to_tasks_that_never_pause(way: Way, request: pytest.FixtureRequest) -> None:
    """Twenty of them."""
    server = way.find_server(request)
    server.restart()
    connect, callers = protect(way, server), Callers(20)

    async def loop(number: int) -> None:
        while not callers.over:
            try:
                connection = await connect()
            except Exception as error:
                callers.errors.append(error)
            else:
                callers.served[number] += 1
                with contextlib.suppress(Exception):  # the server may be gone again
                    await (connection.aclose() if way is REDIS_ASYNC else connection.close(timeout=1))

    async def main() -> None:
        await asyncio.gather(asyncio.to_thread(callers.restart_often, server), *(loop(number) for number in range(20)))

    asyncio.run(main())
    callers.check_let_through()


# An answer, and not the one that was hoped for.


def fail(connect: Callable[[], Any]) -> Exception:
    try:
        result = connect()
        if asyncio.iscoroutine(result):
            asyncio.run(result)
    except Exception as error:
        return error
    raise AssertionError("it succeeded")


@pytest.mark.parametrize("way", [*SYNC, *ASYNC], ids=str)
def test_a_wrong_password_fails_at_once(way: Way, request: pytest.FixtureRequest) -> None:
    """One attempt, with the client's own error and no note of ours, under a policy that waits for a minute."""
    server = way.find_server(request)
    server.start()
    server.wait_ready()
    connect = protect(way, server, policy=Policy.startup(), password="guess")
    started = time.monotonic()
    error = fail(connect)
    assert time.monotonic() - started < 1
    assert len(connect.attempts) == 1  # type: ignore[attr-defined]
    assert is_hopeless(error)
    assert type(error).__module__.partition(".")[0] == way.name.partition("-")[0]
    assert not hasattr(error, "__notes__")


def begin_recovery(server: PostgresServer) -> None:
    """Start a PostgreSQL that recovers, and accepts no query, until it is promoted."""
    server.stop()
    (data_folder(server) / "standby.signal").touch()
    server.start()


def promote(server: PostgresServer) -> None:
    (data_folder(server) / "promote").touch()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGUSR1)


def data_folder(server: PostgresServer) -> Path:
    assert server._folder is not None
    return server._folder / "data"


@pytest.mark.parametrize("way", [PSYCOPG, ASYNCPG], ids=str)
def test_a_server_that_is_starting_up_is_waited_for_at_a_start(
    way: Way, postgres_server: PostgresServer, recorded_events: RecordedEvents
) -> None:
    """The default policy gives its answer back; `Policy.startup()` waits until the server serves."""
    begin_recovery(postgres_server)
    wait_until_it_answers(postgres_server)
    impatient = protect(way, postgres_server, policy=Policy(observers=()))
    error = fail(impatient)
    assert len(impatient.attempts) == 1  # type: ignore[attr-defined]
    assert is_not_ready(error)

    recorded_events.clear()
    patient = protect(way, postgres_server)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(lambda: asyncio.run(ask_late(way, patient)))
        while len(patient.attempts) < 3:  # type: ignore[attr-defined]
            time.sleep(0.01)
        promote(postgres_server)
        call.result(30)
    assert {event.kind for event in recorded_events.of(RetryScheduled)} == {"not_ready"}


async def ask_late(way: Way, connect: Callable[[], Any]) -> None:
    result = connect()
    if asyncio.iscoroutine(result):
        await way.ask(await result)
    else:
        way.ask(result)


def wait_until_it_answers(server: LocalServer) -> None:
    """Wait until the port opens; what is said there may be anything."""
    retry_on_refused(policy=START)(socket.create_connection)((server.host, server.port), timeout=5).close()


# No answer.


@pytest.mark.parametrize("client", CLIENTS, ids=str)
def test_the_deadline_holds_at_a_dead_port(client: Any, valkey_server: ValkeyServer) -> None:
    """The last attempt is made at the deadline itself."""
    valkey_server.kill()
    place = Place(port=valkey_server.port)
    client.error(place)  # imports, once
    policy = Policy(deadline=0.25, observers=())
    connect = retry_on_refused(policy=policy)(client.connect)
    started = time.monotonic()
    error = fail(lambda: connect(place))
    assert 0.25 <= time.monotonic() - started <= 0.25 + 0.5
    assert kind_of(error) == "refused"


# Why the how-to says: switch the client's own retries off.


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every connect of a plain socket, counted; the pauses of redis-py's own retries take no time."""
    addresses: list[Any] = []
    connect = socket.socket.connect

    def counted(self: socket.socket, address: Any) -> None:
        addresses.append(address)
        connect(self, address)

    async def no_pause(_: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(socket.socket, "connect", counted)
    monkeypatch.setattr("redis.retry.sleep", lambda _: None)
    monkeypatch.setattr("redis.asyncio.retry.sleep", no_pause)
    return addresses


@pytest.mark.skipif(redis.VERSION < (8,), reason="redis-py 8 is where the default became ten retries")
def test_the_default_retries_of_redis_multiply_ours(connects: list[Any], valkey_server: ValkeyServer) -> None:
    """Eleven connects an attempt, over seconds that no deadline of ours cuts short; one with its retries off."""
    valkey_server.kill()
    policy = Policy(attempts=2, backoff=Backoff(initial=0, maximum=0), observers=())
    for settings, expected in (({}, 2 * 11), ({"retry": Retry(NoBackoff(), 0)}, 2)):
        with redis.Redis(port=valkey_server.port, **settings) as client, pytest.raises(redis.ConnectionError) as caught:
            retry_on_refused(policy=policy)(client.ping)()
        assert kind_of(caught.value) == "refused"
        assert len(connects) == expected
        connects.clear()


@pytest.mark.skipif(redis.VERSION < (8,), reason="redis-py 8 is where the default became ten retries")
def test_the_default_retries_of_redis_asyncio_multiply_ours(connects: list[Any], valkey_server: ValkeyServer) -> None:
    valkey_server.kill()
    policy = Policy(attempts=2, backoff=Backoff(initial=0, maximum=0), observers=())

    async def main(settings: dict[str, Any]) -> None:
        async with redis.asyncio.Redis(port=valkey_server.port, **settings) as client:
            with pytest.raises(redis.ConnectionError):
                await retry_on_refused(policy=policy)(client.ping)()

    for settings, expected in (({}, 2 * 11), ({"retry": AsyncRetry(NoBackoff(), 0)}, 2)):
        asyncio.run(main(settings))
        assert len(connects) == expected
        connects.clear()
