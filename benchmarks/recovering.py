"""`wait_for` and a PostgreSQL that was killed and recovers: how soon does it return, and never too soon?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final

from resilient.cli._servers import PostgresServer, ServerError

from ._waiting import waiter
from .report import Row
from .sampling import spread

TITLE: Final = "wait_for on a PostgreSQL that recovers: from its first answer to the return"

BOUND: Final = 0.5
RUNS: Final = 20
ROWS_TO_RECOVER: Final = 1_500_000
"""Written after the last checkpoint, about 100 MB of log: a second or two of recovery."""

_WAYS: Final = {
    "driver": "a URL, by psycopg",
    "often": "a URL, by psycopg, Backoff(maximum=0.4)",
    "handshake": "a URL, where no driver is installed",
    "engine": "a guarded engine of SQLAlchemy",
}
_SETTINGS: Final = {"checkpoint_timeout": "1h", "max_wal_size": "8GB"}


def measure() -> Iterator[Row]:
    """Kill and restart one server again and again; all wait for it side by side, each in a process of its own."""
    late: dict[str, list[float]] = {kind: [] for kind in _WAYS}
    early = dict.fromkeys(_WAYS, 0)
    closed: list[float] = []
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(PostgresServer(settings=_SETTINGS))
        except ServerError as error:
            yield Row(what="all", bound=BOUND, measured=None, note=f"NOT MEASURED: {str(error).splitlines()[0]}")
            return
        server.restart()
        prober = stack.enter_context(waiter("prober", server.port))
        waiters = {kind: stack.enter_context(waiter(kind, server.port)) for kind in _WAYS}
        for _ in range(RUNS):
            _write(server)
            server.kill()
            for its in (prober, *waiters.values()):
                its.begin()
            started = time.monotonic()
            server.start()
            answered, in_vain = prober.end()
            closed.append(answered - started)
            for kind, its in waiters.items():
                (returned,) = its.end()
                late[kind].append(returned - answered)
                # The server turned the prober away at a time when the wait was over already.
                early[kind] += returned < in_vain
            server.wait_ready(60)
    took = spread(closed)
    for kind, what in _WAYS.items():
        values = late[kind]
        yield Row(
            what=f"{what}, mean",
            bound=BOUND,
            unit="ms",
            measured=spread([sum(values) / len(values)]),
            note=f"{len(values)} runs; the server recovered for {min(closed):.1f} to {max(closed):.1f} s, "
            f"median {took.median:.1f} s",
        )
        yield Row(what=f"{what}, longest", bound=BOUND, unit="ms", measured=spread([max(values)]))
        yield Row(what=f"{what}, returned while it was starting up", bound=0, unit="", measured=spread([early[kind]]))


def _write(server: Any) -> None:
    """Let the server have something to recover."""
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (number bigint)")
        connection.execute("TRUNCATE numbers")
        connection.execute("INSERT INTO numbers SELECT generate_series(1, %s)", [ROWS_TO_RECOVER])
