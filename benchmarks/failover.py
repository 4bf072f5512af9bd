"""Several endpoints: what they cost where nothing fails, and how soon a call is served by the next one."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from resilient import Backoff, CircuitBreakers, Endpoint, Policy, retry_on_refused
from resilient.testing import refused_port

from . import peers
from ._answering import HOST
from ._servers import Missing, Servers
from .report import Row
from .sampling import Timer, collector_off, drive, side_by_side, spread

TITLE: Final = "Failover: two endpoints, over a bare wrapper and over one direct connect"

SUCCESS_BOUND: Final = 2.0
FIRST_BOUND: Final = 1.5
OPEN_BOUND: Final = 1.05
ROUNDS: Final = 300
CONNECTS: Final = 300

BOTH: Final = ("db-a:5432", "db-b:5432")
HOURS: Final = Backoff(initial=3600, maximum=3600)


def connect_at(endpoint: Endpoint, database: str) -> str:
    """Stand for a connect that works at once."""
    return database


async def connect_at_async(endpoint: Endpoint, database: str) -> str:
    """The same as a coroutine that never suspends."""
    return database


class Client:
    """Its connect is a method."""

    def connect(self, endpoint: Endpoint, database: str) -> str:
        """Stand for a connect that works at once."""
        return database

    protected = retry_on_refused(targets=BOTH)(connect)
    bare = peers.bare(connect)


def connect_only(endpoint: Endpoint) -> Endpoint:
    """Stand for a connect that has no argument of its own."""
    return endpoint


def measure() -> Iterator[Row]:
    """Measure calls that succeed, and then those whose first endpoint refuses."""
    its = Endpoint.parse(BOTH[0])
    for order in ("sticky", "in_order", "shuffled"):
        protected = retry_on_refused(connect_at, targets=BOTH, order=order)  # type: ignore[arg-type]
        yield _success(f"success, {order}", Timer(protected, "subject('app')"), _bare(peers.bare(connect_at), its))
    yield _success(
        "success, no argument of its own",
        Timer(retry_on_refused(connect_only, targets=BOTH)),
        Timer(peers.bare(connect_only), "subject(its)", its=its),
    )
    client = Client()
    yield _success(
        "success, method",
        Timer(client.protected, "subject('app')"),  # type: ignore[arg-type]
        _bare(client.bare, its),
    )
    yield _success(
        "success, coroutine, no event loop",
        Timer(retry_on_refused(connect_at_async, targets=BOTH), "await subject('app')", run=drive),
        Timer(peers.bare_async(connect_at_async), "await subject(its, 'app')", run=drive, its=its),
    )
    with Servers() as servers, refused_port() as refuses, _silent():
        for name, server, connect in (
            ("psycopg", "postgresql", _psycopg),
            ("redis", "valkey", _redis),
            ("socket", "valkey", _socket),
        ):
            try:
                port = servers.port(server)
            except Missing as missing:
                yield Row(what=name, measured=None, note=str(missing))
                continue
            targets = (f"{HOST}:{refuses}", f"{HOST}:{port}")
            yield _first(name, targets, connect)
            yield _open(name, targets, connect)


def _bare(subject: Callable[..., Any], its: Endpoint) -> Timer:
    return Timer(subject, "subject(its, 'app')", its=its)


def _success(what: str, ours: Timer, bare: Timer) -> Row:
    measured = side_by_side((bare, ours), ROUNDS)
    bare_ns, ours_ns = (spread(column).median * 1e9 for column in zip(*measured, strict=True))
    return Row(
        what=what,
        bound=SUCCESS_BOUND,
        measured=spread(ours / bare for bare, ours in measured),
        note=f"ours {ours_ns:.0f} ns, bare wrapper {bare_ns:.0f} ns",
    )


def _psycopg(endpoint: Endpoint) -> Any:
    import psycopg

    return psycopg.connect(host=endpoint.host, port=endpoint.port, user="postgres", dbname="postgres")


def _redis(endpoint: Endpoint) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis(host=endpoint.host or "", port=endpoint.port or 0, retry=Retry(NoBackoff(), 0))
    client.ping()
    return client


def _socket(endpoint: Endpoint) -> socket.socket:
    return socket.create_connection((endpoint.host, endpoint.port))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Let each line be made, and not be shown."""
    logger, handler = logging.getLogger("resilient"), logging.NullHandler()
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def _first(name: str, targets: tuple[str, str], connect: Callable[[Endpoint], Any]) -> Row:
    """From "primary refuses" to "connected to the standby", each time with a function that knows nothing yet."""
    since = 0.0
    standby = Endpoint.parse(targets[1])

    def function(endpoint: Endpoint) -> Any:
        nonlocal since
        try:
            return connect(endpoint)
        except Exception:
            since = time.perf_counter()
            raise

    def failed_over() -> float:
        protected = retry_on_refused(function, targets=targets)
        connection = protected()
        seconds = time.perf_counter() - since
        connection.close()
        return seconds

    return _row(
        f"{name}: first call, from refused to connected", FIRST_BOUND, failed_over, lambda: _direct(connect, standby)
    )


def _open(name: str, targets: tuple[str, str], connect: Callable[[Endpoint], Any]) -> Row:
    """A whole call, the circuit of whose first endpoint is open."""
    breakers = CircuitBreakers(trip_after=1, cooldown=HOURS, observers=())
    protected = retry_on_refused(
        connect, targets=targets, order="in_order", breaker=breakers, policy=Policy(observers=())
    )
    protected().close()
    assert breakers[targets[0]].state == "open"
    standby = Endpoint.parse(targets[1])

    def passed_over() -> float:
        started = time.perf_counter()
        connection = protected()
        seconds = time.perf_counter() - started
        connection.close()
        return seconds

    return _row(f"{name}: circuit open, whole call", OPEN_BOUND, passed_over, lambda: _direct(connect, standby))


def _direct(connect: Callable[[Endpoint], Any], endpoint: Endpoint) -> float:
    started = time.perf_counter()
    connection = connect(endpoint)
    seconds = time.perf_counter() - started
    connection.close()
    return seconds


def _row(what: str, bound: float, ours: Callable[[], float], direct: Callable[[], float]) -> Row:
    """Both in turn, in random order, in rounds of ten of each whose medians are compared."""
    ratios: list[float] = []
    all_ours: list[float] = []
    all_direct: list[float] = []
    with collector_off():
        for _ in range(CONNECTS // 10):
            taken: dict[Callable[[], float], list[float]] = {ours: [], direct: []}
            for _ in range(10):
                for subject in random.sample((ours, direct), 2):
                    taken[subject].append(subject())
            middles = {subject: spread(times).median for subject, times in taken.items()}
            ratios.append(middles[ours] / middles[direct])
            all_ours += taken[ours]
            all_direct += taken[direct]
    return Row(
        what=what,
        bound=bound,
        measured=spread(ratios),
        note=f"ours {spread(all_ours).median * 1e6:.0f} µs, direct connect {spread(all_direct).median * 1e6:.0f} µs",
    )
