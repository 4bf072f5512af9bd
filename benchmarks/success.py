"""The call that succeeds: what everybody pays, always."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

from resilient import retry_on_refused

from . import peers
from .report import Row
from .sampling import Timer, drive, ratio, side_by_side, spread

TITLE: Final = "The call that succeeds, over a bare try/except wrapper"

SYNC_BOUND: Final = 1.6
ASYNC_BOUND: Final = 1.25
ROUNDS: Final = 300
ROUNDS_OF_PEERS: Final = 25


def connect(host: str, port: int) -> str:
    """Stand for a connect that works at once: the cheapest there is, so that what is put round it shows."""
    return host


async def connect_async(host: str, port: int) -> str:
    """The same as a coroutine that never suspends."""
    return host


async def connect_suspending(host: str, port: int) -> str:
    """The same as a coroutine that suspends once, as every real connect does."""
    await asyncio.sleep(0)
    return host


def measure() -> Iterator[Row]:
    """Measure functions, methods and coroutines."""
    yield _row("function, positional arguments", connect, "subject('db', 5432)")
    yield _row("function, keyword arguments", connect, "subject(host='db', port=5432)")
    yield _method_row()
    yield _row("coroutine, awaited, no event loop", connect_async, "await subject('db', 5432)", run=drive)
    loop = asyncio.new_event_loop()
    try:
        yield _row(
            "coroutine that suspends, in asyncio",
            connect_suspending,
            "await subject('db', 5432)",
            run=loop.run_until_complete,
        )
    finally:
        loop.close()


def _row(what: str, function: Callable[..., Any], call: str, *, run: Callable[[Any], float] | None = None) -> Row:
    def timer(subject: Callable[..., Any]) -> Timer:
        return Timer(subject, call, run=run)

    bare, clocked = (peers.bare, peers.clocked) if run is None else (peers.bare_async, peers.clocked_async)
    base = timer(bare(function))
    measured = side_by_side(
        (base, timer(retry_on_refused(function)), timer(clocked(function)), timer(function)), ROUNDS
    )
    bare_ns, ours_ns, _, naked_ns = (spread(column).median * 1e9 for column in zip(*measured, strict=True))
    return Row(
        what=what,
        bound=SYNC_BOUND if run is None else ASYNC_BOUND,
        measured=spread(taken[1] / taken[0] for taken in measured),
        peers={
            "bare with a clock": spread(taken[2] / taken[0] for taken in measured),
            **{
                name: ratio(base, timer(protect(function)), ROUNDS_OF_PEERS) for name, protect in peers.others().items()
            },
        },
        note=f"ours {ours_ns:.0f} ns, bare wrapper {bare_ns:.0f} ns, undecorated {naked_ns:.0f} ns",
    )


def _method_row() -> Row:
    def pool(protect: Callable[[Any], Any]) -> Callable[..., Any]:
        class Pool:
            @protect
            def connect(self, host: str, port: int) -> str:
                return host

        return Pool()  # type: ignore[return-value]  # its method is what is called

    call = "subject.connect('db', 5432)"
    base = Timer(pool(peers.bare), call)
    return Row(
        what="method",
        bound=SYNC_BOUND,
        measured=ratio(base, Timer(pool(retry_on_refused), call), ROUNDS),
        peers={
            name: ratio(base, Timer(pool(protect), call), ROUNDS_OF_PEERS) for name, protect in peers.others().items()
        },
    )
