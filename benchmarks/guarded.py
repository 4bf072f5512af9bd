"""The command of a guarded client on a healthy connection: what is paid for what never happens there."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any, Final

from resilient import Policy
from resilient.clients import guard

from ._guarded_clients import CLIENTS, Client, Protect
from ._servers import Missing, Servers
from .report import Row
from .sampling import Both, Spread, in_turn, spread

TITLE: Final = "A command of a guarded client on a healthy connection, over the bare client's, by the clock on the wall"

BOUND: Final = 1.05
FRESH: Final = 10
"""Times that all clients of a row are made anew: two that are alike may differ by where they lie in memory."""

ROUNDS: Final = 5
"""Rounds with each of them."""

TURNS: Final = 20
"""Calls of each client in a round."""


def measure() -> Iterator[Row]:
    """Measure each client whose library and server are here; a line says which are not."""
    with Servers() as servers:
        for client in CLIENTS:
            absent = [name for name in client.packages if not _is_installed(name)]
            try:
                if absent:
                    raise Missing(f"{', '.join(absent)} is not installed")
                port = servers.port(client.server)
            except Missing as missing:
                yield Row(what=client.what, bound=BOUND, measured=None, note=f"NOT MEASURED: {missing}")
            else:
                yield _row(client, port)


def _is_installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _row(client: Client, port: int) -> Row:
    guarded = functools.partial(guard, policy=Policy(observers=()))
    rounds = _measured(client, port, guarded)
    bare, ours = _times(rounds, "wall", 0, 2), _times(rounds, "wall", 1, 3)
    bare_busy, ours_busy = _times(rounds, "processor", 0, 2), _times(rounds, "processor", 1, 3)
    microseconds = [spread(column).median * 1e6 for column in (ours, bare, ours_busy, bare_busy)]
    peers = {
        "bare, another": _ratio(_times(rounds, "wall", 2), _times(rounds, "wall", 0)),
        "processor": _ratio(ours_busy, bare_busy),
    }
    if client.floor is not None:
        name, floor = client.floor
        rounds = _measured(client, port, floor)
        peers[name] = _ratio(_times(rounds, "wall", 1, 3), _times(rounds, "wall", 0, 2))
    return Row(
        what=client.what,
        bound=BOUND,
        measured=_ratio(ours, bare),
        peers=peers,
        note="{:.1f} µs, bare {:.1f} µs; of this thread's processor {:.1f} µs, bare {:.1f} µs".format(*microseconds),
    )


def _times(rounds: list[tuple[Both, ...]], clock: str, *numbers: int) -> list[float]:
    return [sum(getattr(taken[number], clock) for number in numbers) / len(numbers) for taken in rounds]


def _ratio(subject: list[float], base: list[float]) -> Spread:
    return spread(its / bare for its, bare in zip(subject, base, strict=True))


def _measured(client: Client, port: int, protect: Protect) -> list[tuple[Both, ...]]:
    """Measure four of a client by turns: bare, protected, bare, protected."""
    rounds: list[tuple[Both, ...]] = []
    for _ in range(FRESH):
        commands = [client.command(port, its) for its in (_bare, protect) * 2]
        rounds += (_rounds_async if client.is_async else _rounds)(commands)
    return rounds


def _bare(client: Any) -> Any:
    return client


def _rounds(managers: list[Any]) -> list[tuple[Both, ...]]:
    with contextlib.ExitStack() as stack:
        return in_turn([stack.enter_context(manager) for manager in managers], ROUNDS, TURNS)


def _rounds_async(managers: list[Any]) -> list[tuple[Both, ...]]:
    loop = asyncio.new_event_loop()
    stack = contextlib.AsyncExitStack()

    async def enter() -> list[Any]:
        return [await stack.enter_async_context(manager) for manager in managers]

    try:
        try:
            return in_turn(loop.run_until_complete(enter()), ROUNDS, TURNS, run=loop.run_until_complete)
        finally:
            loop.run_until_complete(stack.aclose())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
