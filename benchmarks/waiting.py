"""`resilient wait` as a program: what its start costs, how soon it notices a server, and how often it asks."""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from resilient.cli._servers import PostgresServer, ServerError

from ._polling import (
    CROWD,
    SECONDS,
    WAIT,
    arrivals_of,
    late,
    loops_for_a_while,
    loops_of_a_second,
    ours_for_a_while,
    programs_in_bash,
    programs_of_ours,
    serving,
)
from .report import Row
from .sampling import Spread, spread
from .serving import HOST

TITLE: Final = (
    "resilient wait: the whole process, over `python -c 'import argparse, socket, tenacity'`; and its polling"
)

START_BOUND: Final = 1.4
NOTICED_BOUND: Final = 0.4
PER_MINUTE_BOUND: Final = 90

ROUNDS: Final = 30
RUNS: Final = 5
SETTLED: Final = 10.0
"""Seconds after which the crowd is no longer in its first, quick attempts, which it makes together."""
WINDOW: Final = 0.1

_BASE: Final = [sys.executable, "-c", "import argparse, socket, tenacity"]


def measure() -> Iterator[Row]:
    """Measure all of it; about four minutes."""
    yield from _starts()
    for kind in ("silent", "greeting"):
        yield from _noticing(kind)
    yield from _crowds()


# The start.


def _starts() -> Iterator[Row]:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with serving(None) as silent, serving(lambda its: its.sendall(b"220 hello\r\n")) as greeting:
        yield _start("start, a port that says nothing", f"{HOST}:{silent}", START_BOUND)
        yield _start("start, a port that greets", f"{HOST}:{greeting}", START_BOUND)
    with serving(lambda its: its.sendall(page if its.recv(4096) else b"")) as web:
        yield _start("start, http://", f"http://{HOST}:{web}")
    try:
        with PostgresServer() as server:
            server.restart()
            yield _start("start, a PostgreSQL as host:port", f"{HOST}:{server.port}", START_BOUND)
            yield _start("start, a PostgreSQL through its driver", server.url)
    except ServerError as problem:
        yield Row(what="start, a PostgreSQL", measured=None, note=str(problem).splitlines()[0])


def _start(what: str, target: str, bound: float | None = None) -> Row:
    times: dict[str, list[float]] = {"ours": [], "base": []}
    commands = {"ours": [*WAIT, target, "-q"], "base": _BASE}
    for number in range(ROUNDS + 1):
        for name in random.sample(list(commands), 2):
            started = time.perf_counter()
            subprocess.run(commands[name], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if number:  # the first writes bytecode
                times[name].append(time.perf_counter() - started)
    ours, base = (statistics.median(times[name]) * 1e3 for name in ("ours", "base"))
    ratios = spread(its / bare for its, bare in zip(times["ours"], times["base"], strict=True))
    return Row(what=what, bound=bound, measured=ratios, note=f"ours {ours:.0f} ms, the imports {base:.0f} ms")


# From "the port opens" to "the program says so".


def _noticing(kind: str) -> Iterator[Row]:
    ours = [seconds for _ in range(RUNS) for seconds in late(kind, programs_of_ours)]
    peers: dict[str, Spread | str] = {"a loop of 1 s": _mean(late(kind, loops_of_a_second))}
    if shutil.which("bash"):
        peers["wait-for-it's loop"] = _mean(late(kind, programs_in_bash))
    error = statistics.stdev(ours) / len(ours) ** 0.5
    longest = statistics.quantiles(ours, n=100, method="inclusive")[98]
    yield Row(
        what=f"noticed, mean, a port that is {kind}",
        unit="ms",
        bound=NOTICED_BOUND,
        measured=_mean(ours),
        peers=peers,
        note=f"{len(ours)} servers that come at random; ± {error * 1e3:.0f} ms; p99 {longest * 1e3:.0f} ms",
    )


def _mean(seconds: Sequence[float]) -> Spread:
    return spread([statistics.fmean(seconds)])


# How often, and all at once?


def _crowds() -> Iterator[Row]:
    """Fifty start at the same moment, and wait for a port that accepts and hangs up at once."""
    ours, fixed = arrivals_of(ours_for_a_while), arrivals_of(loops_for_a_while)
    for what, bound, figure in (
        ("connects of one client in its first minute", PER_MINUTE_BOUND, lambda them: len(them) / CROWD),
        ("connects a minute, later", PER_MINUTE_BOUND, _per_minute),
        (f"most connects of {CROWD} clients in {WINDOW * 1e3:.0f} ms, later", None, _peak),
    ):
        peers: dict[str, Spread | str] = {"a loop of 1 s": spread([figure(fixed)])}
        yield Row(what=what, unit="", bound=bound, measured=spread([figure(ours)]), peers=peers)


def _per_minute(arrivals: Sequence[float]) -> float:
    return sum(at >= SETTLED for at in arrivals) / CROWD * 60 / (SECONDS - SETTLED)


def _peak(arrivals: Sequence[float]) -> float:
    late = [at for at in arrivals if at >= SETTLED]
    return max(sum(at <= other < at + WINDOW for other in late[number:]) for number, at in enumerate(late))
