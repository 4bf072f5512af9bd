"""A circuit breaker in front of real servers: killed, restarted, and open before they serve."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from conftest import ready_to_start
from test_real_servers import (
    ASYNCPG,
    PASSWORD,
    PSYCOPG,
    START,
    Way,
    begin_recovery,
    connect_redis,
    connect_redis_async,
    promote,
    wait_until_it_answers,
)

from resilient import Backoff, CircuitBreaker, retry_on_refused
from resilient.cli._servers import PostgresServer, ValkeyServer

CALLERS = 12
COOLDOWN = Backoff(initial=0.1, maximum=0.4, jitter="none")


class Wire:
    """Counts the connects under way: when each began, and how many there were at a time."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.began.append(time.monotonic())
            self._now += 1
            self.most = max(self.most, self._now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._now -= 1

    def restart(self) -> None:
        """Count anew."""
        with self._lock:
            self.began.clear()
            self.most = self._now


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    with ready_to_start(lambda: PostgresServer(password=PASSWORD, settings={"hot_standby": "off"})) as server:
        yield server


@pytest.fixture(scope="module")
def valkey_server() -> Iterator[ValkeyServer]:
    with ready_to_start(lambda: ValkeyServer(arguments=("--requirepass", PASSWORD))) as server:
        yield server


def protect(connect: Callable[[], Any], breaker: CircuitBreaker, wire: Wire) -> Callable[[], Any]:
    """Return the connect behind the breaker, as a function or a coroutine function without arguments."""
    if asyncio.iscoroutinefunction(connect):

        @retry_on_refused(policy=START, breaker=breaker)
        async def connect_async() -> Any:
            with wire:
                return await connect()

        return connect_async

    @retry_on_refused(policy=START, breaker=breaker)
    def connect_now() -> Any:
        with wire:
            return connect()

    return connect_now


def until(true: Callable[[], bool]) -> None:
    """Wait until it is."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("way", [PSYCOPG, ASYNCPG], ids=str)
def test_a_server_that_is_starting_up_is_probed_at_the_pace_of_the_cooldown(
    way: Way, postgres_server: PostgresServer
) -> None:
    """It is open for two seconds before it serves: one connect at a time, and never back to back."""
    begin_recovery(postgres_server)
    wait_until_it_answers(postgres_server)
    breaker, wire = CircuitBreaker("database", cooldown=COOLDOWN, observers=()), Wire()
    server, asks = postgres_server, asyncio.iscoroutinefunction(way.connect)

    if asks:

        async def once() -> Any:
            return await way.connect(server, PASSWORD)

    else:

        def once() -> Any:
            return way.connect(server, PASSWORD)

    protected = protect(once, breaker, wire)

    async def connect_and_ask() -> None:
        connection = await protected()
        await way.ask(connection)

    def call() -> None:
        if asks:
            asyncio.run(connect_and_ask())
        else:
            way.ask(protected())

    with ThreadPoolExecutor(CALLERS) as threads:
        calls = [threads.submit(call) for _ in range(CALLERS)]
        until(lambda: breaker.snapshot().parked >= CALLERS - 1)
        wire.restart()
        time.sleep(2)
        probes, most = wire.began[:], wire.most
        promote(postgres_server)
        for done in calls:
            done.result(20)
    assert 4 <= len(probes) <= 2 / 0.4 + 5  # 0.1, 0.2, then every 0.4 seconds
    assert min(after - before for before, after in pairwise(probes[1:])) > 0.09
    assert most == 1
    assert breaker.state == "closed"


def test_threads_and_tasks_outlive_a_restart_on_one_breaker(valkey_server: ValkeyServer) -> None:
    """Nobody's call fails, and while nothing listens, one connect at a time is on the wire."""
    valkey_server.start()
    valkey_server.kill()
    breaker, wire = CircuitBreaker("cache", cooldown=COOLDOWN, observers=()), Wire()
    plain = protect(lambda: connect_redis(valkey_server, PASSWORD), breaker, wire)

    async def once() -> Any:
        return await connect_redis_async(valkey_server, PASSWORD)

    in_tasks = protect(once, breaker, wire)

    def call() -> None:
        client = plain()
        assert client.ping()
        client.close()

    async def call_async() -> None:
        client = await in_tasks()
        assert await client.ping()
        await client.aclose()

    async def tasks() -> None:
        await asyncio.gather(*(call_async() for _ in range(CALLERS)))

    with ThreadPoolExecutor(CALLERS + 1) as threads:
        calls = [threads.submit(call) for _ in range(CALLERS)] + [threads.submit(asyncio.run, tasks())]
        until(lambda: breaker.snapshot().parked >= 2 * CALLERS - 1)
        wire.restart()
        time.sleep(0.5)
        assert wire.most == 1
        valkey_server.start()
        for done in calls:
            done.result(20)
    assert breaker.snapshot().parked == 0
    assert breaker.state == "closed"
