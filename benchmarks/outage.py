"""Many callers of one endpoint that refuses for a while: how many connects that costs, and how soon all are back."""

from __future__ import annotations

import asyncio
import importlib
import random
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tenacity

from resilient import Backoff, CircuitBreaker, Policy, retry_on_refused

from . import peers
from .report import Row
from .sampling import Spread, spread
from .serving import DONE, HOST, late

TITLE: Final = "An outage, and the callers that wait for its end"

CALLERS: Final = 1000
THREADS: Final = 200
SECONDS: Final = 10.0
PROBES_PER_SECOND: Final = 3
P99_BOUND: Final = 1.3
MEAN_BOUND: Final = 0.6
PARKED_BOUND: Final = 0.02
"""Seconds of processor time in a second of waiting."""

FAST: Final = Backoff(initial=0.05, maximum=0.25)
FAST_REFUSED_BOUND: Final = 1070
FAST_P99_BOUND: Final = 0.55

SHORT_RUNS: Final = 30
SHORT_CALLERS: Final = 200
SHORT_SECONDS: Final = (1.0, 3.0)

SLOTS: Final = 100
HOLD: Final = 0.05
CROWDED_RUNS: Final = 3
BACKLOG: Final = 16

Make = Callable[[], peers.Decorator]


@dataclass(slots=True)
class Outage:
    """What the callers of one run have seen, in seconds of the monotonic clock."""

    opened: float = 0.0
    refused: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    resets: int = 0
    parked: float = 0.0
    dropped: int | None = None

    @property
    def latencies(self) -> list[float]:
        """Seconds from the port's opening until each caller was connected, or served."""
        return sorted(at - self.opened for at in self.done)

    @property
    def mean(self) -> float:
        """Mean of the latencies."""
        return statistics.fmean(self.latencies)

    @property
    def p99(self) -> float:
        """What 99 of 100 callers did not exceed."""
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[98]

    @property
    def refused_after(self) -> int:
        """How many connects were refused after the port had opened."""
        return sum(at > self.opened for at in self.refused)

    def __str__(self) -> str:
        latencies = self.latencies
        return (
            f"{len(latencies)} callers; first {latencies[0] * 1e3:.0f} ms, mean {self.mean * 1e3:.0f} ms, "
            f"p99 {self.p99 * 1e3:.0f} ms, last {latencies[-1] * 1e3:.0f} ms; "
            f"failed {len(self.failed)}, dropped by a full backlog {'?' if self.dropped is None else self.dropped}"
        )


def ours(**settings: Any) -> peers.Decorator:
    """Return our retry with a breaker of its own, both silent."""
    policy = Policy(deadline=60, observers=())
    return retry_on_refused(policy=policy, breaker=CircuitBreaker("service", observers=(), **settings))


def ours_fast() -> peers.Decorator:
    """Return the same with a short cooldown."""
    return ours(cooldown=FAST)


def others() -> dict[str, Make]:
    """Return what the peers have for it: tenacity and stamina as elsewhere, and interlock inside tenacity."""
    found: dict[str, Make] = {}
    for name, decorator in peers.others().items():
        if name == "stamina":  # it logs each retry, if nobody says otherwise
            importlib.import_module("stamina.instrumentation").set_on_retry_hooks([])
        if name in ("tenacity", "stamina"):
            found[name] = lambda decorator=decorator: decorator  # type: ignore[misc]
    try:
        interlock = importlib.import_module("interlock")
    except ImportError:
        return found
    config = interlock.Config(
        window_size=5,
        minimum_number_of_calls=5,
        failure_rate_threshold=1.0,
        permitted_calls_in_half_open=1,
        wait_duration_in_open=0.1,
        wait_duration_backoff_multiplier=2.0,
        wait_duration_in_open_max=1.0,
    )
    retry = tenacity.retry(
        retry=tenacity.retry_if_exception_type((ConnectionRefusedError, interlock.CircuitOpenError)),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=1.0),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    )

    def both() -> peers.Decorator:
        breaker = interlock.CircuitBreaker(name="service", config=config)
        return lambda function: retry(breaker(function))

    found["interlock in tenacity"] = both
    return found


def measure() -> Iterator[Row]:
    """Run one outage after the other; about five minutes."""
    rivals = others()
    yield from _outage(
        f"{CALLERS} coroutines, {SECONDS:.0f} s",
        _in_coroutines(ours, CALLERS, SECONDS),
        {name: _in_coroutines(make, CALLERS, SECONDS) for name, make in rivals.items()},
        refused=round(CALLERS + PROBES_PER_SECOND * SECONDS),
        p99=P99_BOUND,
    )
    yield from _outage(
        f"{CALLERS} coroutines, {SECONDS:.0f} s, cooldown up to {FAST.maximum} s",
        _in_coroutines(ours_fast, CALLERS, SECONDS),
        {},
        refused=FAST_REFUSED_BOUND,
        p99=FAST_P99_BOUND,
    )
    yield from _outage(
        f"{THREADS} threads, {SECONDS:.0f} s",
        _in_threads(ours, THREADS, SECONDS),
        {name: _in_threads(make, THREADS, SECONDS) for name, make in rivals.items()},
        refused=round(THREADS + PROBES_PER_SECOND * SECONDS),
        p99=P99_BOUND,
    )
    yield _mean_of_short_ones(rivals)
    yield from _crowded(rivals)


def _outage(what: str, its: Outage, rivals: dict[str, Outage], *, refused: int, p99: float) -> Iterator[Row]:
    yield Row(
        what=f"{what}: refused connects",
        bound=refused,
        unit="",
        measured=spread([len(its.refused)]),
        peers={name: spread([len(theirs.refused)]) for name, theirs in rivals.items()},
    )
    yield Row(
        what=f"{what}: p99 from open to connected",
        bound=p99,
        unit="ms",
        measured=spread([its.p99]),
        peers={
            name: f"mean {theirs.mean * 1e3:.0f} ms, p99 {theirs.p99 * 1e3:.0f} ms, failed {len(theirs.failed)}"
            for name, theirs in rivals.items()
        },
        note=str(its),
    )
    yield Row(what=f"{what}: callers that failed", bound=0, unit="", measured=spread([len(its.failed)]))
    yield Row(
        what=f"{what}: processor time per second of waiting",
        bound=PARKED_BOUND,
        unit="ms",
        measured=spread([its.parked]),
        peers={name: spread([theirs.parked]) for name, theirs in rivals.items()},
    )


def _mean_of_short_ones(rivals: dict[str, Make]) -> Row:
    def runs(make: Make, number: int) -> list[Outage]:
        return [_in_coroutines(make, SHORT_CALLERS, random.uniform(*SHORT_SECONDS)) for _ in range(number)]

    its = runs(ours, SHORT_RUNS)
    means = [outage.mean for outage in its]
    middle = spread(means)
    p99 = statistics.median(outage.p99 for outage in its)
    worst = max(outage.p99 for outage in its)
    low, high = SHORT_SECONDS
    return Row(
        what=f"{SHORT_CALLERS} coroutines, {low:.0f}-{high:.0f} s: mean from open to connected, mean of the runs",
        bound=MEAN_BOUND,
        unit="ms",
        measured=Spread(median=statistics.fmean(means), low=middle.low, high=middle.high, rounds=middle.rounds),
        peers={
            name: spread([statistics.fmean(outage.mean for outage in runs(make, 5))]) for name, make in rivals.items()
        },
        note=f"p99 of a run: median {p99 * 1e3:.0f} ms, worst {worst * 1e3:.0f} ms; "
        f"failed {sum(len(outage.failed) for outage in its)}; "
        f"dropped by a full backlog {sum(outage.dropped or 0 for outage in its)}",
    )


def _crowded(rivals: dict[str, Make]) -> Iterator[Row]:
    def runs(make: Make, number: int) -> list[Outage]:
        return [_in_coroutines(make, CALLERS, random.uniform(1.0, 2.0), crowded=True) for _ in range(number)]

    def text(outages: list[Outage]) -> str:
        return (
            f"not served {sum(CALLERS - len(it.done) for it in outages)}, "
            f"resets {statistics.fmean(it.resets for it in outages):.1f} a run, "
            f"mean {statistics.fmean(it.mean for it in outages) * 1e3:.0f} ms, "
            f"last {statistics.fmean(it.latencies[-1] for it in outages) * 1e3:.0f} ms"
        )

    its = runs(ours, CROWDED_RUNS)
    theirs = {name: runs(make, 1) for name, make in rivals.items()}
    what = f"{CALLERS} coroutines, a server with {SLOTS} slots that stops listening while full"
    yield Row(
        what=f"{what}: not served",
        bound=0,
        unit="",
        measured=spread([sum(CALLERS - len(it.done) for it in its)]),
        peers={name: text(outages) for name, outages in theirs.items()},
        note=f"ours in {CROWDED_RUNS} runs: {text(its)}",
    )
    yield Row(
        what=f"{what}: refused after it opened",
        bound=CALLERS // 10,
        unit="",
        measured=spread(it.refused_after for it in its),
        peers={name: spread(it.refused_after for it in outages) for name, outages in theirs.items()},
    )


def _in_coroutines(make: Make, callers: int, seconds: float, *, crowded: bool = False) -> Outage:
    outage = Outage()
    server = late("crowded", BACKLOG, SLOTS, HOLD) if crowded else late("accepting", BACKLOG)
    with server as it:
        address = (HOST, it.port)

        async def connect() -> socket.socket:
            connection = socket.socket()
            connection.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(connection, address)
            except BaseException as error:
                if isinstance(error, ConnectionRefusedError):
                    outage.refused.append(time.monotonic())
                connection.close()
                raise
            return connection

        protected = make()(connect)

        async def call() -> None:
            connection = await protected()
            with connection:
                if crowded and await asyncio.get_running_loop().sock_recv(connection, 1) != DONE:
                    raise EOFError("not served")
                outage.done.append(time.monotonic())

        async def caller() -> None:
            while True:
                try:
                    return await call()
                except ConnectionResetError:  # it was in the backlog when the server stopped listening
                    outage.resets += 1
                except Exception as error:
                    outage.failed.append(repr(error))
                    return None

        async def main() -> None:
            it.open_after(seconds)
            if seconds == SECONDS:
                watch = asyncio.create_task(_watch(outage))
            await asyncio.gather(*(caller() for _ in range(callers)))
            if seconds == SECONDS:
                await watch

        before = _overflows()
        asyncio.run(main())
        _end(outage, it.report(), before)
    return outage


async def _watch(outage: Outage) -> None:
    await asyncio.sleep(0.2 * SECONDS)
    before = time.process_time()
    await asyncio.sleep(0.7 * SECONDS)
    outage.parked = (time.process_time() - before) / (0.7 * SECONDS)


def _in_threads(make: Make, callers: int, seconds: float) -> Outage:
    outage = Outage()
    with late("accepting", BACKLOG) as it:
        address = (HOST, it.port)

        def connect() -> socket.socket:
            connection = socket.socket()
            try:
                connection.connect(address)
            except BaseException as error:
                if isinstance(error, ConnectionRefusedError):
                    outage.refused.append(time.monotonic())
                connection.close()
                raise
            return connection

        protected = make()(connect)

        def caller() -> None:
            try:
                with protected():
                    outage.done.append(time.monotonic())
            except Exception as error:
                outage.failed.append(repr(error))

        together = threading.Barrier(callers + 1)

        def start() -> None:
            together.wait()
            caller()

        threads = [threading.Thread(target=start) for _ in range(callers)]
        for thread in threads:
            thread.start()
        before = _overflows()
        it.open_after(seconds)
        together.wait()
        time.sleep(0.2 * seconds)
        used = time.process_time()
        time.sleep(0.7 * seconds)
        outage.parked = (time.process_time() - used) / (0.7 * seconds)
        for thread in threads:
            thread.join()
        _end(outage, it.report(), before)
    return outage


def _end(outage: Outage, opened: float, before: int | None) -> None:
    outage.opened = opened
    after = _overflows()
    if before is not None and after is not None:
        outage.dropped = after - before


def _overflows() -> int | None:
    """Return how many connects the system has dropped for a full backlog; None where it does not tell (Linux does).

    A client whose connect was dropped asks again after a second.
    """
    try:
        lines = Path("/proc/net/netstat").read_text().splitlines()
    except OSError:
        return None
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(dict(zip(names, values, strict=True)).get("ListenOverflows", 0))
