"""Who waits for a PostgreSQL, in a process of its own: `python -m benchmarks._waiting KIND PORT`.

"prober" asks as fast as it can, and is told by nobody how to wait; the others call `wait_for`. For each line of
standard input one wait; its answer on standard output are seconds on the monotonic clock, which all processes share.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from resilient import Backoff, Policy, clients, wait_for
from resilient.clients import guard

from ._answering import HOST

PAUSE: Final = 0.005
"""Seconds between two questions of the prober."""

LONGEST: Final = 60.0


@dataclass(slots=True)
class Waiter:
    """The other side of one of these processes."""

    _process: subprocess.Popen[str]

    def begin(self) -> None:
        """Let it wait."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> list[float]:
        """Return its answer: when it returned; of the prober also when its last question in vain began."""
        assert self._process.stdout is not None
        return [float(word) for word in self._process.stdout.readline().split()]


@contextlib.contextmanager
def waiter(kind: str, port: int) -> Iterator[Waiter]:
    """Start one; it has imported what it needs."""
    command = [sys.executable, "-m", "benchmarks._waiting", kind, str(port)]
    root = Path(__file__).parent.parent
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield Waiter(process)
    finally:
        process.kill()
        process.communicate()


def _probe(url: str) -> Callable[[], list[float]]:
    import psycopg

    def ask() -> list[float]:
        in_vain = 0.0
        while True:
            began = time.monotonic()
            try:
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute("SELECT 1")
                    return [time.monotonic(), in_vain]
            except psycopg.OperationalError:
                in_vain = began
            time.sleep(PAUSE)

    return ask


def _by_driver(url: str) -> Callable[[], list[float]]:
    def wait() -> list[float]:
        wait_for(url, timeout=LONGEST)
        return [time.monotonic()]

    import psycopg  # noqa: F401  # it would be loaded at the first wait

    return wait


def _by_driver_often(url: str) -> Callable[[], list[float]]:
    policy = Policy.startup().replace(backoff=Backoff(maximum=0.4))

    def wait() -> list[float]:
        wait_for(url, timeout=LONGEST, policy=policy)
        return [time.monotonic()]

    import psycopg  # noqa: F401  # as above

    return wait


def _by_hand(url: str) -> Callable[[], list[float]]:
    clients.DRIVERS["postgresql"] = ()  # as where none is installed
    return _by_driver(url)


def _by_engine(url: str) -> Callable[[], list[float]]:
    import sqlalchemy

    def wait() -> list[float]:
        engine = guard(sqlalchemy.create_engine(url.replace("://", "+psycopg://")), policy=Policy.startup())
        wait_for(engine, timeout=LONGEST)
        returned = time.monotonic()
        engine.dispose()
        return [returned]

    return wait


KINDS: Final = {
    "prober": _probe,
    "driver": _by_driver,
    "often": _by_driver_often,
    "handshake": _by_hand,
    "engine": _by_engine,
}


def _main() -> None:
    kind, port = sys.argv[1:]
    logging.getLogger("resilient").setLevel(logging.CRITICAL)
    ask = KINDS[kind](f"postgresql://postgres@{HOST}:{port}/postgres")
    print("ready", flush=True)
    for _ in sys.stdin:
        print(*ask(), flush=True)


if __name__ == "__main__":
    _main()
