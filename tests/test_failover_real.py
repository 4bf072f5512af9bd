"""Failover between real servers: killed under load, killed and restarted, both dead, a standby that recovers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import psycopg
import psycopg2
import pytest
from clients import kind_of
from conftest import ready_to_start
from test_real_servers import (
    PASSWORD,
    ask_asyncpg,
    ask_psycopg,
    ask_redis,
    begin_recovery,
    connect_asyncpg,
    connect_psycopg,
    connect_redis,
    promote,
    wait_until_it_answers,
)

from resilient import (
    Backoff,
    CircuitBreakers,
    Endpoint,
    Event,
    FailedOver,
    Policy,
    Targets,
    is_refused,
    retry_on_refused,
)
from resilient.cli._servers import LocalServer, PostgresServer, ValkeyServer

COOLDOWN = Backoff(initial=0.1, maximum=0.4, jitter="none")
POLICY = Policy.startup().replace(backoff=Backoff(initial=0.02, maximum=0.1), deadline=20.0, observers=())
TRIP_AFTER = 2
THREADS, TASKS = 4, 8
ENOUGH = 30
"""Connections that everybody together makes before, between and after what happens to the servers."""

pytestmark = pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning")  # of clients that were torn off


@pytest.fixture(scope="module")
def postgres() -> Iterator[list[PostgresServer]]:
    """Two of them."""
    with contextlib.ExitStack() as stack:
        settings = {"hot_standby": "off"}  # of no effect but in a server that recovers
        yield [
            stack.enter_context(ready_to_start(lambda: PostgresServer(password=PASSWORD, settings=settings)))
            for _ in range(2)
        ]


@pytest.fixture(scope="module")
def valkeys() -> Iterator[list[ValkeyServer]]:
    """Three of them."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(ready_to_start(lambda: ValkeyServer(arguments=("--requirepass", PASSWORD))))
            for _ in range(3)
        ]


def serving(servers: list[Any]) -> list[Any]:
    for server in servers:
        server.start()
    for server in servers:
        server.wait_ready()
    return servers


class Cluster:
    """Servers, what connects to them, and what was seen on the wire.

    Attributes:
        targets: the servers, in order.
        served: of each place, how many connections were made and used.
        refused: of each place, when connects were refused.
        errors: what came out of protected calls, though it was their part to try again.
        torn: what else came out.
        failovers: from where to where.
    """

    def __init__(self, servers: list[Any], order: Any = "sticky") -> None:
        self.servers = servers
        self.targets = Targets(*(f"127.0.0.1:{server.port}" for server in servers), order=order)
        self.breakers = CircuitBreakers(trip_after=TRIP_AFTER, cooldown=COOLDOWN, observers=())
        self.served: Counter[int] = Counter()
        self.refused: dict[int, list[float]] = {place: [] for place in range(len(servers))}
        self.errors: list[BaseException] = []
        self.torn: list[BaseException] = []
        self.failovers: list[tuple[Endpoint | None, Endpoint]] = []
        self.over = False
        self._changed = threading.Condition()
        self._under_way: Counter[Endpoint] = Counter()
        self._most = 0
        self.settings: dict[str, Any] = {
            "targets": self.targets,
            "breaker": self.breakers,
            "policy": POLICY.replace(observers=(self._observe,)),
        }

    def _observe(self, event: Event) -> None:
        if isinstance(event, FailedOver):
            self.failovers.append((event.target, event.next_target))

    def server(self, endpoint: Endpoint) -> LocalServer:
        server: LocalServer = self.servers[self.targets.endpoints.index(endpoint)]
        return server

    @contextlib.contextmanager
    def on_the_wire(self, endpoint: Endpoint) -> Iterator[None]:
        """Round every connect: who is there, and who is refused."""
        place = self.targets.endpoints.index(endpoint)
        with self._changed:
            self._under_way[endpoint] += 1
            self._most = max(self._most, self._under_way[endpoint])
        try:
            yield
        except Exception as error:
            if is_refused(error):
                self.refused[place].append(time.monotonic())
            raise
        finally:
            with self._changed:
                self._under_way[endpoint] -= 1

    def came_out(self, error: Exception) -> None:
        """What a kill tears off in the middle comes through: something may have been sent. Nothing else does."""
        (self.errors if kind_of(error) is not None else self.torn).append(error)

    def was_served(self, endpoint: Endpoint) -> None:
        with self._changed:
            self.served[self.targets.endpoints.index(endpoint)] += 1
            self._changed.notify_all()

    def wait_for_more(self, *places: int) -> None:
        """Wait until enough connections more are made and used; with `places`, to each of these."""
        before, patience = self.served.copy(), 30

        def enough() -> bool:
            if self.errors:
                return True
            if places:
                return all(self.served[place] - before[place] >= ENOUGH for place in places)
            return self.served.total() - before.total() >= ENOUGH

        with self._changed:
            assert self._changed.wait_for(enough, timeout=patience), (before, self.served, self.refused)
        assert self.errors == []

    def wait_until_parked(self, callers: int) -> None:
        """Wait until so many callers wait in the line of every endpoint."""
        until = time.monotonic() + 20
        while min(self.breakers[endpoint].parked for endpoint in self.targets.endpoints) < callers:
            assert time.monotonic() < until
            assert self.errors == []
            time.sleep(0.005)

    def most_at_a_time(self, seconds: float) -> int:
        """Return how many connects to one endpoint were under way, at most, in these seconds to come."""
        time.sleep(0.3)  # who was on the way when everybody parked has come back
        with self._changed:
            self._most = max(self._under_way.values())
        time.sleep(seconds)
        return self._most

    @contextlib.contextmanager
    def load(self, *callers: Callable[[], object]) -> Iterator[None]:
        """Let callers call and use what they are given, again and again; nobody may ever see an error."""
        with ThreadPoolExecutor(len(callers)) as threads:
            running = [threads.submit(caller) for caller in callers]
            try:
                yield
            finally:
                self.over = True
                for each in running:
                    each.result(60)
        assert self.errors == []
        assert len(self.torn) <= 3 * (THREADS + TASKS)  # one of each caller at each kill

    def again_and_again(self, connect: Callable[[], Any], use: Callable[[Any], object]) -> Callable[[], None]:
        """A thread."""

        def loop() -> None:
            while not self.over:
                try:
                    endpoint, connection = connect()
                except Exception as error:
                    self.came_out(error)
                    continue
                with contextlib.suppress(Exception):  # the server may be gone again
                    use(connection)
                    self.was_served(endpoint)

        return loop

    def tasks(self, number: int, connect: Callable[[], Any], use: Callable[[Any], Any]) -> Callable[[], None]:
        """As many tasks, in one loop in a thread of its own."""

        async def loop() -> None:
            while not self.over:
                try:
                    endpoint, connection = await connect()
                except Exception as error:
                    self.came_out(error)
                    continue
                with contextlib.suppress(Exception):
                    await use(connection)
                    self.was_served(endpoint)

        async def main() -> None:
            await asyncio.gather(*(loop() for _ in range(number)))

        return lambda: asyncio.run(main())

    def probes_at_most(self, place: int, since: float, until: float, callers: int) -> None:
        """Where the circuit is open, one connect in a cooldown is refused; before, some of each caller."""
        refused = [at for at in self.refused[place] if since <= at <= until]
        assert len(refused) <= callers * TRIP_AFTER + (until - since) / COOLDOWN.maximum + 4


def postgres_callers(cluster: Cluster) -> list[Callable[[], None]]:
    """psycopg in threads, asyncpg in tasks."""

    @retry_on_refused(**cluster.settings)
    def connect(endpoint: Endpoint) -> Any:
        with cluster.on_the_wire(endpoint):
            return endpoint, connect_psycopg(cluster.server(endpoint), PASSWORD)

    @retry_on_refused(**cluster.settings)
    async def connect_async(endpoint: Endpoint) -> Any:
        with cluster.on_the_wire(endpoint):
            return endpoint, await connect_asyncpg(cluster.server(endpoint), PASSWORD)

    threads = [cluster.again_and_again(connect, ask_psycopg) for _ in range(THREADS)]
    return [*threads, cluster.tasks(TASKS, connect_async, ask_asyncpg)]


def test_postgresql_is_killed_under_load_and_comes_back(postgres: list[PostgresServer]) -> None:
    """Nobody's connect fails. Who was led to the standby stays there until told otherwise."""
    cluster = Cluster(serving(postgres))
    primary, standby = cluster.targets.endpoints
    with cluster.load(*postgres_callers(cluster)):
        cluster.wait_for_more()
        assert cluster.served[1] == 0
        postgres[0].kill()
        killed = time.monotonic()
        cluster.wait_for_more(1)
        assert cluster.targets.current == standby
        restarted = time.monotonic()
        postgres[0].restart()
        before = cluster.served[0]
        cluster.wait_for_more(1)
        assert cluster.served[0] == before
        assert cluster.targets.current == standby
        cluster.targets.prefer(primary)
        cluster.wait_for_more(0)
        assert cluster.targets.current == primary
    cluster.probes_at_most(0, killed, restarted, THREADS + TASKS)
    assert set(cluster.failovers) == {(primary, standby)}
    assert cluster.refused[1] == []


def test_both_postgresqls_are_killed_and_one_comes_back(postgres: list[PostgresServer]) -> None:
    """The callers wait for both, with one probe at a time at each, and none fails."""
    cluster = Cluster(serving(postgres))
    with cluster.load(*postgres_callers(cluster)):
        cluster.wait_for_more()
        for server in postgres:
            server.kill()
        killed = time.monotonic()
        cluster.wait_until_parked(THREADS + TASKS - 2)
        assert cluster.most_at_a_time(1.0) == 1
        restarted = time.monotonic()
        postgres[1].restart()
        cluster.wait_for_more(1)
    for place in (0, 1):
        cluster.probes_at_most(place, killed, restarted, THREADS + TASKS)
    assert cluster.targets.current == cluster.targets.endpoints[1]


def test_a_standby_that_recovers_is_waited_for_while_the_primary_is_dead(postgres: list[PostgresServer]) -> None:
    """It accepts connections, says that it is starting up, and serves in the end; nobody sees any of that."""
    serving(postgres)
    begin_recovery(postgres[1])
    wait_until_it_answers(postgres[1])
    cluster = Cluster(postgres)
    with cluster.load(*postgres_callers(cluster)):
        cluster.wait_for_more()
        postgres[0].kill()
        cluster.wait_until_parked(THREADS + TASKS - 2)
        assert cluster.served[1] == 0
        promote(postgres[1])
        cluster.wait_for_more(1)


READ_WRITE = {"target_session_attrs": "read-write"}


def psycopg2_read_write(host: str | None, port: int | None) -> Any:
    return psycopg2.connect(host=host, port=port, user="postgres", password=PASSWORD, **READ_WRITE)


def psycopg_read_write(host: str | None, port: int | None) -> Any:
    return psycopg.connect(host=host, port=port, user="postgres", password=PASSWORD, **READ_WRITE)


async def asyncpg_read_write(host: str | None, port: int | None) -> Any:
    return await asyncpg.connect(
        host=host, port=port, user="postgres", password=PASSWORD, database="postgres", **READ_WRITE
    )


@contextlib.contextmanager
def read_only(server: PostgresServer) -> Iterator[None]:
    """A server that takes reading sessions only."""

    def say(statement: str) -> None:
        with connect_psycopg(server, PASSWORD) as connection:
            connection.autocommit = True
            connection.execute("set default_transaction_read_only = off")
            connection.execute(statement)
            connection.execute("select pg_reload_conf()")

    say("alter system set default_transaction_read_only = on")
    try:
        yield
    finally:
        say("alter system reset default_transaction_read_only")


@pytest.mark.parametrize("connect", [psycopg_read_write, psycopg2_read_write, asyncpg_read_write])
def test_a_server_that_reads_only_is_passed_over_by_who_asks_for_one_that_writes(
    connect: Callable[..., Any], postgres: list[PostgresServer]
) -> None:
    """The client asks, by `target_session_attrs`, and its answer counts as "not ready"."""
    first, second = serving(postgres)
    targets, told = Targets(*(f"{it.host}:{it.port}" for it in (first, second))), list[Event]()
    policy = POLICY.replace(observers=(told.append,))

    @retry_on_refused(targets=targets, policy=policy)
    def open_one(endpoint: Endpoint) -> Any:
        answer = connect(endpoint.host, endpoint.port)
        return asyncio.run(close(answer)) if asyncio.iscoroutine(answer) else answer.close()

    with read_only(first):
        wait_until_read_only(first)
        open_one()
    assert targets.current == targets.endpoints[1]
    (event,) = told[:1]
    assert isinstance(event, FailedOver)
    assert event.kind == "not_ready"


async def close(coroutine: Any) -> None:
    await (await coroutine).close()


def wait_until_read_only(server: PostgresServer) -> None:
    """A server reads its settings anew when it comes to that."""
    while True:
        with connect_psycopg(server, PASSWORD) as connection:
            if connection.execute("show default_transaction_read_only").fetchone() == ("on",):
                return
        time.sleep(0.01)


@pytest.mark.parametrize("order", ["in_order", "shuffled"])
def test_of_three_valkeys_one_after_the_other_is_killed_and_comes_back(valkeys: list[ValkeyServer], order: str) -> None:
    """At least one serves at any time, and nobody's command fails for want of a connection."""
    cluster = Cluster(serving(valkeys), order)

    @retry_on_refused(**cluster.settings)
    def connect(endpoint: Endpoint) -> Any:
        with cluster.on_the_wire(endpoint):
            return endpoint, connect_redis(cluster.server(endpoint), PASSWORD)

    with cluster.load(*(cluster.again_and_again(connect, ask_redis) for _ in range(2 * THREADS))):
        for dead in (0, 1, 2):
            valkeys[dead].kill()
            killed = time.monotonic()
            others = [place for place in range(3) if place != dead]
            cluster.wait_for_more(*(others if order == "shuffled" else others[:1]))
            restarted = time.monotonic()
            valkeys[dead].restart()
            if order == "shuffled":
                cluster.wait_for_more(0, 1, 2)
            else:
                cluster.wait_for_more(0)  # it goes back by itself
            cluster.probes_at_most(dead, killed, restarted, 2 * THREADS)


def test_three_valkeys_are_killed_and_the_last_comes_back(valkeys: list[ValkeyServer]) -> None:
    """Everybody waits for all of them; sticky calls stay with the one that came back."""
    cluster = Cluster(serving(valkeys))

    @retry_on_refused(**cluster.settings)
    def connect(endpoint: Endpoint) -> Any:
        with cluster.on_the_wire(endpoint):
            return endpoint, connect_redis(cluster.server(endpoint), PASSWORD)

    with cluster.load(*(cluster.again_and_again(connect, ask_redis) for _ in range(2 * THREADS))):
        cluster.wait_for_more()
        for server in valkeys:
            server.kill()
        killed = time.monotonic()
        cluster.wait_until_parked(2 * THREADS - 3)
        assert cluster.most_at_a_time(1.0) == 1
        restarted = time.monotonic()
        valkeys[2].restart()
        cluster.wait_for_more(2)
        valkeys[0].restart()
        before = cluster.served[0]
        cluster.wait_for_more(2)
        assert cluster.served[0] == before
    for place in range(3):
        cluster.probes_at_most(place, killed, restarted, 2 * THREADS)
