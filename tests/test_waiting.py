"""Waiting until a target serves: by its driver, by a few bytes, by a client that is there; and when to stop."""

from __future__ import annotations

import asyncio
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import redis
import redis.asyncio
import sqlalchemy
import trio
from conftest import ready_to_start
from fake_servers import Handler, hang_up, postgres, redis_server, says, serve, silence
from sqlalchemy.ext.asyncio import create_async_engine

from resilient import (
    Backoff,
    NotServingError,
    Policy,
    PolicyError,
    RetriesExhausted,
    TargetError,
    WaitTimeoutError,
    clients,
    wait_for,
    wait_for_async,
    waiting,
)
from resilient.cli._servers import PostgresServer, ValkeyServer
from resilient.testing import fake_clock, late_server, recorded_events

QUIET = Policy.startup().replace(backoff=Backoff(initial=0.01, maximum=0.05), observers=())


def wait_sync(target: object, *, policy: Policy = QUIET, **settings: Any) -> None:
    wait_for(target, policy=policy, **settings)


def wait_asyncio(target: object, *, policy: Policy = QUIET, **settings: Any) -> None:
    asyncio.run(wait_for_async(target, policy=policy, **settings))


def wait_trio(target: object, *, policy: Policy = QUIET, **settings: Any) -> None:
    async def main() -> None:
        await wait_for_async(target, policy=policy, **settings)

    trio.run(main)


Wait = Callable[..., None]
in_every_world = pytest.mark.parametrize("wait", [wait_sync, wait_asyncio, wait_trio], ids=lambda f: f.__name__)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ready_to_start(ValkeyServer) as found:
        found.start()
        found.wait_ready()
        yield found


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    with ready_to_start(lambda: PostgresServer(password="s3cret")) as found:
        found.start()
        found.wait_ready()
        yield found


# It serves.


@in_every_world
def test_a_server_that_serves_is_waited_for_by_its_driver(wait: Wait, database: PostgresServer) -> None:
    wait(database.url, timeout=10)


@in_every_world
def test_a_server_that_comes_late_is_met_when_it_serves(wait: Wait, valkey: ValkeyServer) -> None:
    valkey.kill()
    timer = threading.Timer(0.5, valkey.start)
    timer.start()
    try:
        wait(valkey.url, timeout=20)
        with redis.Redis(port=valkey.port) as client:
            assert client.ping()
    finally:
        timer.join()
        valkey.wait_ready()


@in_every_world
@pytest.mark.parametrize("port", [True, False], ids=["host:port", "unknown scheme"])
def test_without_a_protocol_a_port_that_accepts_and_stays_counts(wait: Wait, port: bool) -> None:
    with serve(silence) as number:
        wait(f"127.0.0.1:{number}" if port else f"kafka://127.0.0.1:{number}", timeout=5)


def test_what_is_only_a_connect_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with serve(silence) as port:
        wait_for(f"zookeeper://127.0.0.1:{port}", timeout=5, policy=QUIET)
    assert "no driver for it is installed" in caplog.text


@in_every_world
def test_a_function_that_connects_is_called_and_its_connection_closed(wait: Wait, database: PostgresServer) -> None:
    made: list[psycopg.Connection[Any]] = []

    def connect() -> psycopg.Connection[Any]:
        made.append(psycopg.connect(database.url))
        return made[-1]

    wait(connect, timeout=10)
    assert [connection.closed for connection in made] == [True]


def test_a_coroutine_function_that_connects_is_awaited(database: PostgresServer) -> None:
    made: list[psycopg.AsyncConnection[Any]] = []

    async def connect() -> psycopg.AsyncConnection[Any]:
        made.append(await psycopg.AsyncConnection.connect(database.url))
        return made[-1]

    wait_asyncio(connect, timeout=10)
    assert [connection.closed for connection in made] == [True]
    with pytest.raises(TypeError, match="wait_for_async"):
        wait_sync(connect, timeout=10)


@in_every_world
def test_clients_and_engines_that_are_there_are_asked(
    wait: Wait, database: PostgresServer, valkey: ValkeyServer
) -> None:
    url = sqlalchemy.make_url(database.url).set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(url)
    with redis.Redis(port=valkey.port) as client:
        wait(client, timeout=10)
        wait(engine, timeout=10)
    engine.dispose()


def test_asynchronous_clients_are_asked_on_their_loop(database: PostgresServer, valkey: ValkeyServer) -> None:
    async def main() -> None:
        engine = create_async_engine(sqlalchemy.make_url(database.url).set(drivername="postgresql+asyncpg"))
        async with redis.asyncio.Redis(port=valkey.port) as client:
            await wait_for_async(client, timeout=10, policy=QUIET)
        await wait_for_async(engine, timeout=10, policy=QUIET)
        with pytest.raises(TypeError, match="wait_for_async"):
            wait_for(engine, timeout=10, policy=QUIET)
        await engine.dispose()

    asyncio.run(main())


# It does not.


@in_every_world
def test_a_port_that_refuses_is_a_timeout_that_says_what_came_last(wait: Wait, refused_port: int) -> None:
    started = time.monotonic()
    with pytest.raises(WaitTimeoutError) as caught:
        wait(f"127.0.0.1:{refused_port}", timeout=0.3)
    error = caught.value
    assert isinstance(error.last_error, ConnectionRefusedError)
    assert error.__cause__ is error.last_error
    assert 0.25 <= error.elapsed <= time.monotonic() - started
    assert f"127.0.0.1:{refused_port} did not serve within" in str(error)
    assert isinstance(error, TimeoutError)


def starting(times: int) -> tuple[Handler, list[int]]:
    """A PostgreSQL that says so many times that it is starting up, and then asks for a password."""
    left = [times]

    def handler(connection: socket.socket) -> None:
        left[0] -= 1
        if left[0] >= 0:
            postgres("57P03", "the database system is starting up")(connection)
        else:
            says(b"R\0\0\0\x08\0\0\0\x03")(connection)

    return handler, left


@in_every_world
def test_a_server_that_is_starting_up_does_not_serve_yet(wait: Wait) -> None:
    handler, left = starting(3)
    with serve(handler) as port, pytest.raises((WaitTimeoutError, psycopg.OperationalError)):
        wait(f"postgresql://u:p@127.0.0.1:{port}/x?sslmode=disable", timeout=1.5)
    assert left[0] < 2


@in_every_world
@pytest.mark.parametrize("handler", [hang_up, redis_server("-LOADING Redis is loading the dataset in memory")])
def test_an_open_port_with_nothing_behind_it_does_not_serve(wait: Wait, handler: Handler) -> None:
    """A published port of a container accepts, and hangs up."""
    with serve(handler) as port, pytest.raises(WaitTimeoutError):
        wait(f"redis://127.0.0.1:{port}", timeout=0.4)


@in_every_world
def test_a_wrong_password_fails_at_once_with_the_clients_own_error(wait: Wait, database: PostgresServer) -> None:
    url = database.url.replace("s3cret", "wr0ng")
    started = time.monotonic()
    with pytest.raises(psycopg.OperationalError) as caught:
        wait(url, timeout=30)
    assert time.monotonic() - started < 25
    assert "wr0ng" not in str(caught.value)


@in_every_world
def test_another_protocol_fails_at_once(wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said by a few bytes of its own, where no driver is installed."""
    monkeypatch.setattr(clients, "DRIVERS", {})
    with serve(says(b"SSH-2.0-OpenSSH_9.2\r\n")) as port, pytest.raises(NotServingError) as caught:
        wait(f"memcached://127.0.0.1:{port}", timeout=30)
    assert caught.value.kind == "wrong_protocol"


@in_every_world
def test_another_protocol_fails_at_once_also_through_a_driver(wait: Wait) -> None:
    """The driver's own error says only that something is odd."""
    with serve(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port, pytest.raises(NotServingError) as caught:
        wait(f"redis://127.0.0.1:{port}", timeout=120)
    assert caught.value.kind == "wrong_protocol"
    assert isinstance(caught.value.__cause__, redis.RedisError)
    assert "it is not redis: HTTP answers there: HTTP/1.1 400 Bad Request" in str(caught.value)


@in_every_world
def test_a_mistake_in_the_function_is_no_reason_to_wait(wait: Wait) -> None:
    def connect() -> None:
        raise AttributeError("a typing error")

    with pytest.raises(AttributeError):
        wait(connect, timeout=30)


# For a while.


@in_every_world
def test_a_server_that_flaps_is_waited_for_until_it_is_stable(wait: Wait) -> None:
    """It is up, goes down again before it counts, and comes back for good."""
    failed = threading.Event()
    policy = QUIET.replace(observers=(lambda _: failed.set(),))
    with late_server(silence) as server:
        server.up()
        times: list[float] = []

        def flap() -> None:
            ends = time.monotonic() + 60
            while not server.connections and time.monotonic() < ends:
                time.sleep(0.01)
            server.down()
            failed.wait(60)
            times.append(time.monotonic())
            server.up()

        thread = threading.Thread(target=flap)
        thread.start()
        wait(f"127.0.0.1:{server.port}", timeout=120, stable_for=0.8, policy=policy)
        thread.join()
        assert time.monotonic() - times[0] >= 0.8


@in_every_world
def test_a_server_that_is_not_stable_in_time_is_a_timeout(wait: Wait) -> None:
    with serve(silence) as port, pytest.raises(WaitTimeoutError, match="has served for") as caught:
        wait(f"127.0.0.1:{port}", timeout=0.5, stable_for=5)
    assert caught.value.last_error is None


# What it is given.


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"timeout": 0}, PolicyError),
        ({"timeout": float("nan")}, PolicyError),
        ({"timeout": "60"}, PolicyError),
        ({"stable_for": -1}, PolicyError),
        ({"stable_for": True}, PolicyError),
        ({"policy": "attempts=3"}, TypeError),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        wait_for("127.0.0.1:1", **settings)
    with pytest.raises(error):
        asyncio.run(wait_for_async("127.0.0.1:1", **settings))


def test_targets_that_make_no_sense_are_refused() -> None:
    with pytest.raises(TargetError):
        wait_for("no target")
    with pytest.raises(TypeError, match="does not know how to ask int"):
        wait_for(5)


def test_a_target_in_the_environment_keeps_its_password(
    monkeypatch: pytest.MonkeyPatch, database: PostgresServer
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.url)
    wait_for("env:DATABASE_URL", timeout=10, policy=QUIET)


def test_the_timeout_wins_over_the_policys_deadline_and_attempts_are_the_policys(refused_port: int) -> None:
    policy = QUIET.replace(deadline=1000, attempts=3)
    with recorded_events() as events, pytest.raises(WaitTimeoutError):
        wait_for(f"127.0.0.1:{refused_port}", policy=policy, timeout=30)
    (end,) = events.of(RetriesExhausted)
    assert (end.attempt, end.call) == (3, "wait_for")


def test_its_error_survives_a_pickle(refused_port: int) -> None:
    with pytest.raises(WaitTimeoutError) as caught:
        wait_for(f"127.0.0.1:{refused_port}", policy=QUIET, timeout=0.05)
    there = pickle.loads(pickle.dumps(caught.value))
    assert (str(there), there.elapsed) == (str(caught.value), caught.value.elapsed)
    assert isinstance(there.last_error, ConnectionRefusedError)


def test_an_interrupt_ends_the_wait(refused_port: int) -> None:
    with fake_clock():

        def connect() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            wait_for(connect, policy=QUIET)


def test_a_cancelled_wait_ends_at_once(refused_port: int) -> None:
    async def main() -> None:
        task = asyncio.create_task(wait_for_async(f"127.0.0.1:{refused_port}", policy=QUIET, timeout=60))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_what_is_worth_waiting_for() -> None:
    """What no kind was found for: errors of sockets and of clients, and none of Python's own."""
    assert waiting.worth_waiting(ConnectionResetError())
    assert waiting.worth_waiting(EOFError())
    assert waiting.worth_waiting(FileNotFoundError())
    assert waiting.worth_waiting(psycopg.OperationalError("anything"))
    assert not waiting.worth_waiting(NotServingError("no", "hopeless"))
    assert not waiting.worth_waiting(ValueError())
    assert not waiting.worth_waiting(KeyboardInterrupt())
