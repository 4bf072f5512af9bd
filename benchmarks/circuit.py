"""The circuit breaker: what it costs while all is well, what while it is open, and whether it keeps its promises."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, Final

from resilient import Backoff, CircuitBreaker, CircuitBreakers, retry_on_refused

from . import peers
from .report import Row
from .sampling import Timer, drive, ratio, side_by_side, spread

TITLE: Final = "The circuit breaker"

CLOSED_BOUND: Final = 1.8
REJECTING_BOUND: Final = 0.15
BYTES_BOUND: Final = 2048
GROWTH_BOUND: Final = 2048
"""Bytes: nothing that grows with the number of rejections."""

ROUNDS: Final = 300
ROUNDS_OF_PEERS: Final = 25
CALLERS: Final = 32
LONG: Final = 60.0
"""Seconds: a circuit that is to stay open while it is measured."""

COOLDOWN: Final = 0.05
PROBE: Final = 0.3
"""Seconds a probe takes: all the others have asked meanwhile."""

REJECTIONS: Final = 100_000
ENDPOINTS: Final = 100_000


def connect(host: str, port: int) -> str:
    """Stand for a connect that works at once."""
    return host


async def connect_async(host: str, port: int) -> str:
    """The same as a coroutine."""
    return host


def ours(failures: int, seconds: float) -> CircuitBreaker:
    """Return our breaker, silent, as the peers' are."""
    cooldown = Backoff(initial=seconds, maximum=seconds, jitter="none")
    return CircuitBreaker("service", trip_after=failures, cooldown=cooldown, observers=())


def measure() -> Iterator[Row]:
    """Measure the ratios first, then what is counted."""
    yield _closed_with_retry()
    yield _closed_with_retry_async()
    yield _closed_alone()
    yield _closed_alone_async()
    yield from _rejecting()
    yield _probes_of_threads()
    yield _probes_of_tasks()
    yield _side_by_side_calls()
    yield _bytes()
    yield _kept()
    yield _growth()


def _closed_with_retry() -> Row:
    call = "subject('db', 5432)"
    base = Timer(peers.bare(connect), call)
    retrying = Timer(retry_on_refused(connect), call)
    protected = Timer(retry_on_refused(breaker=CircuitBreaker("b"))(connect), call)
    measured = side_by_side((base, protected, retrying), ROUNDS)
    tenacity = peers.others()["tenacity"]
    return Row(
        what="closed, with retry, function",
        bound=CLOSED_BOUND,
        measured=spread(taken[1] / taken[0] for taken in measured),
        peers={
            "our retry alone": spread(taken[2] / taken[0] for taken in measured),
            **{
                f"tenacity over {name}": ratio(base, Timer(tenacity(make(5, LONG)(connect)), call), ROUNDS_OF_PEERS)
                for name, make in peers.breakers().items()
            },
        },
        note="over the bare try/except wrapper: "
        + ", ".join(
            f"{name} {spread(column).median * 1e9:.0f} ns"
            for name, column in zip(("bare", "ours", "our retry alone"), zip(*measured, strict=True), strict=True)
        ),
    )


def _closed_with_retry_async() -> Row:
    call = "await subject('db', 5432)"
    base = Timer(peers.bare_async(connect_async), call, run=drive)
    tenacity = peers.others()["tenacity"]
    return Row(
        what="closed, with retry, coroutine",
        measured=ratio(
            base, Timer(retry_on_refused(breaker=CircuitBreaker("b"))(connect_async), call, run=drive), ROUNDS
        ),
        peers={
            f"tenacity over {name}": ratio(
                base, Timer(tenacity(make(5, LONG)(connect_async)), call, run=drive), ROUNDS_OF_PEERS
            )
            for name, make in peers.breakers(asynchronous=True).items()
        },
    )


def _closed_alone() -> Row:
    call = "subject('db', 5432)"
    base = Timer(peers.bare(connect), call)
    return Row(
        what="closed, breaker alone, function",
        measured=ratio(base, Timer(ours(5, LONG)(connect), call), ROUNDS),
        peers={
            name: ratio(base, Timer(make(5, LONG)(connect), call), ROUNDS_OF_PEERS)
            for name, make in peers.breakers().items()
        },
    )


def _closed_alone_async() -> Row:
    call = "await subject('db', 5432)"
    base = Timer(peers.bare_async(connect_async), call, run=drive)
    return Row(
        what="closed, breaker alone, coroutine",
        measured=ratio(base, Timer(ours(5, LONG)(connect_async), call, run=drive), ROUNDS),
        peers={
            name: ratio(base, Timer(make(5, LONG)(connect_async), call, run=drive), ROUNDS_OF_PEERS)
            for name, make in peers.breakers(asynchronous=True).items()
        },
    )


class _Endpoint:
    """Stands for an endpoint that refuses until it is told to serve; counts who came in before the first was done."""

    def __init__(self) -> None:
        self.serves = False
        self.together = 0
        self._first_done = False

    def connecting(self) -> Callable[..., None]:
        """Return a function, as some decorators take no method."""

        def connect(seconds: float = 0.0) -> None:
            self._enter()
            time.sleep(seconds)
            self._first_done = True

        return connect

    def connecting_async(self) -> Callable[..., Any]:
        """Return a coroutine function."""

        async def connect(seconds: float = 0.0) -> None:
            self._enter()
            await asyncio.sleep(seconds)
            self._first_done = True

        return connect

    def _enter(self) -> None:
        if not self.serves:
            raise ConnectionRefusedError(111, "Connection refused")
        if not self._first_done:
            self.together += 1


def _open(make: peers.Breaker, seconds: float) -> tuple[_Endpoint, Callable[..., Any]]:
    """Return an endpoint, and its connect behind a circuit that has just opened."""
    endpoint = _Endpoint()
    protected = make(1, seconds)(endpoint.connecting())
    with contextlib.suppress(Exception):  # aiobreaker and pybreaker raise their own error
        protected()
    return endpoint, protected


def _caught(protected: Callable[..., Any]) -> Callable[[], None]:
    def attempt() -> None:
        try:
            protected()
        except Exception:
            return
        raise AssertionError("the circuit is not open")

    return attempt


def _rejecting() -> Iterator[Row]:
    # tenacity's call cannot be shorter than this one, and its function returns at once.
    base = Timer(peers.others()["tenacity"](connect), "subject('db', 5432)")
    refusing = {name: Timer(_caught(_open(make, LONG)[1])) for name, make in peers.breakers().items()}
    measured = side_by_side((base, Timer(_caught(_open(ours, LONG)[1]))), ROUNDS)
    yield Row(
        what="open, rejecting, decorated, over tenacity's success",
        bound=REJECTING_BOUND,
        measured=spread(taken[1] / taken[0] for taken in measured),
        peers={name: ratio(base, timer, ROUNDS_OF_PEERS) for name, timer in refusing.items()},
        note="tenacity {:.0f} ns, ours {:.0f} ns".format(
            *(spread(column).median * 1e9 for column in zip(*measured, strict=True))
        ),
    )
    breaker = ours(1, LONG)
    with contextlib.suppress(ConnectionRefusedError):
        breaker.call(_Endpoint().connecting())
    yield Row(
        what="open, rejecting, breaker.call, over tenacity's success",
        bound=REJECTING_BOUND,
        measured=ratio(base, Timer(_caught(lambda: breaker.call(connect, "db", 5432))), ROUNDS),
    )


def _probes_of_threads() -> Row:
    def count(make: peers.Breaker) -> int:
        endpoint, protected = _open(make, COOLDOWN)
        time.sleep(COOLDOWN * 3)
        endpoint.serves = True
        together = threading.Barrier(CALLERS)

        def caller() -> None:
            together.wait()
            with contextlib.suppress(Exception):
                protected(PROBE)

        _in_threads(CALLERS, caller)
        return endpoint.together

    return Row(
        what=f"half-open, {CALLERS} threads at once: admitted",
        bound=1,
        unit="",
        measured=spread([count(ours)]),
        peers={name: spread([count(make)]) for name, make in peers.breakers().items()},
    )


def _probes_of_tasks() -> Row:
    async def count(make: peers.Breaker) -> int:
        endpoint = _Endpoint()
        protected = make(1, COOLDOWN)(endpoint.connecting_async())
        with contextlib.suppress(Exception):
            await protected()
        await asyncio.sleep(COOLDOWN * 3)
        endpoint.serves = True
        await asyncio.gather(*(protected(PROBE) for _ in range(CALLERS)), return_exceptions=True)
        return endpoint.together

    return Row(
        what=f"half-open, {CALLERS} tasks at once: admitted",
        bound=1,
        unit="",
        measured=spread([asyncio.run(count(ours))]),
        peers={name: spread([asyncio.run(count(make))]) for name, make in peers.breakers(asynchronous=True).items()},
    )


def _side_by_side_calls() -> Row:
    def wall(make: peers.Breaker) -> float:
        endpoint = _Endpoint()
        endpoint.serves = True
        protected = make(5, LONG)(endpoint.connecting())
        started = time.perf_counter()
        _in_threads(8, lambda: protected(0.2))
        return time.perf_counter() - started

    return Row(
        what="closed, 8 threads with a call of 200 ms each: all done after",
        bound=0.3,
        unit="ms",
        measured=spread([wall(ours)]),
        peers={name: spread([wall(make)]) for name, make in peers.breakers().items()},
    )


def _in_threads(number: int, function: Callable[[], object]) -> None:
    threads = [threading.Thread(target=function) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _bytes() -> Row:
    def size(make: peers.Breaker) -> float:
        for _ in range(10):
            make(5, LONG)
        return _grown(lambda: [make(5, LONG) for _ in range(1000)]) / 1000

    # The settings that all have in common belong to none.
    cooldown = Backoff(initial=LONG, maximum=LONG, jitter="none")
    return Row(
        what="bytes of one breaker",
        bound=BYTES_BOUND,
        unit="",
        measured=spread([size(lambda failures, _: CircuitBreaker("service", trip_after=failures, cooldown=cooldown))]),
        peers={name: spread([size(make)]) for name, make in peers.breakers().items()},
    )


def _kept() -> Row:
    breakers = CircuitBreakers(observers=())
    grown = _grown(lambda: [breakers[f"db-{number}:5432"].state for number in range(ENDPOINTS)][:0])
    return Row(
        what=f"{ENDPOINTS} endpoints in CircuitBreakers: kept",
        bound=1024,
        unit="",
        measured=spread([len(breakers)]),
        note=f"{grown / 1024 / 1024:.1f} MiB",
    )


def _growth() -> Row:
    def growth(make: peers.Breaker) -> int:
        attempt = _caught(_open(make, LONG)[1])
        for _ in range(1000):
            attempt()

        def reject() -> None:
            for _ in range(REJECTIONS):
                attempt()

        return _grown(reject)

    return Row(
        what=f"bytes that {REJECTIONS} rejections leave behind",
        bound=GROWTH_BOUND,
        unit="",
        measured=spread([growth(ours)]),
        peers={name: spread([growth(make)]) for name, make in peers.breakers().items()},
    )


def _grown(work: Callable[[], object]) -> int:
    """Return by how many bytes what `work` did, and what it returned, has grown the process's objects."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = work()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return after - before
