"""How the demo is shown: callers in threads of their own, what they report as it happens, and the table at the end.

A caller's thread only reports what happened and when; the main thread keeps the books and prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import queue
import re
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .. import CallRecovered, Policy, RetryScheduled
from ._servers import LocalServer

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"
PATIENCE = 20.0  # seconds an act may last before the demo calls itself failed


class Player(Protocol):
    """Who reports in an act: one caller, or a crowd of them."""

    @property
    def name(self) -> str:
        """What its lines begin with."""
        ...

    @property
    def done(self) -> bool:
        """Whether there is nothing more to wait for."""
        ...

    def enter(self, at: float, what: object) -> tuple[str, ...]:
        """Enter a report into the books; return what there is to tell, with its colours, or nothing."""
        ...


Report = tuple[float, Player, object]
"""When (`time.monotonic()`), who, and an event of the library, a connection, an answer or an error."""


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

    def source(self, function: Callable[..., Any]) -> None:
        """Show the source of a decorated function."""
        with contextlib.suppress(OSError):  # no source on disk: nothing to show
            text = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
            first, *more = re.sub(" *# pyright: .*", "", text).splitlines()
            self.print("\n".join(f"    {line}" for line in (self.paint(first, BOLD), *more)) + "\n")

    def happened(self, seconds: float, who: str, what: str, *codes: str) -> None:
        """Print one line of the live report."""
        clock = self.paint(f"{max(0.0, seconds):6.2f} s", DIM)
        self.print(f" {clock}  {self.paint(f'{who:<10}', BOLD)} {self.paint(what, *codes)}")


@dataclass(frozen=True, slots=True)
class Connected:
    """A decorated function returned, and what it returned."""

    connection: Any


@dataclass(slots=True, eq=False, kw_only=True)
class Caller:
    """One call in a thread of its own, and what is known of it.

    Attributes:
        retries: the retries that the library reported.
        recovered: the recovery that it reported.
        connection: what the decorated function returned.
        gap: seconds from "server serves" to "caller connected"; a server may serve a moment before it says so.
        answer: what the server said, in words.
        error: what went wrong instead.
    """

    name: str
    client: str
    server: LocalServer
    reports: queue.SimpleQueue[Report]
    retries: list[RetryScheduled] = field(default_factory=list[RetryScheduled])
    recovered: CallRecovered | None = None
    connection: Any = None
    gap: float | None = None
    answer: str | None = None
    error: Exception | None = None

    def policy(self) -> Policy:
        """The policy of the demo, reporting to this caller."""
        return Policy.startup().replace(observers=(self.report,))

    def call(self, connect: Callable[[], Any], use: Callable[[Any], str]) -> None:
        """Connect and ask one question."""
        self._run(lambda: use(self._connected(connect())))

    def call_async(self, connect: Callable[[], Awaitable[Any]], use: Callable[[Any], Awaitable[str]]) -> None:
        """Do the same in an event loop."""

        async def both() -> str:
            return await use(self._connected(await connect()))

        self._run(lambda: asyncio.run(both()))

    def report(self, what: object) -> None:
        """Hand over what happened."""
        self.reports.put((time.monotonic(), self, what))

    def _connected(self, connection: Any) -> Any:
        self.report(Connected(connection))
        return connection

    def _run(self, conversation: Callable[[], str]) -> None:
        def body() -> None:
            try:
                self.report(conversation())
            except Exception as error:  # noqa: BLE001  # whatever went wrong is the demo's finding
                self.report(error)

        threading.Thread(target=body, name=self.name, daemon=True).start()

    def enter(self, at: float, what: object) -> tuple[str, ...]:
        """Enter a report into the books; return what there is to tell, with its colours, or nothing."""
        match what:
            case RetryScheduled(attempt=attempt, kind=kind, delay=delay):
                self.retries.append(what)
                how = (kind or "failed").replace("_", " ")
                return f"attempt {attempt:>2}  {how:<9}  next in {delay:.2f} s", YELLOW
            case CallRecovered():
                self.recovered = what
            case Connected(connection):
                self.connection = connection
                self.gap = max(0.0, at - self.server.wait_ready())
                return f"attempt {len(self.retries) + 1:>2}  connected", GREEN, BOLD
            case str():
                self.answer = what
                return what, GREEN
            case Exception():
                self.error = what
                return f"{type(what).__name__}: {' '.join(str(what).split())}"[:60], RED
        return ()

    @property
    def done(self) -> bool:
        """Has it been answered, or failed?"""
        return self.answer is not None or self.error is not None

    @property
    def refused(self) -> int:
        """How many attempts met a closed port."""
        return sum(retry.kind == "refused" for retry in self.retries)

    def failings(self) -> list[str]:
        """What was promised of this call and did not happen, in words."""
        found: list[str] = []
        if self.error is not None:
            found.append(f"it failed with {type(self.error).__name__}: {' '.join(str(self.error).split())}")
        elif self.answer is None:
            found.append(f"it was not answered within {PATIENCE:g} s")
        elif self.recovered is None:
            found.append("its recovery was not reported")
        elif self.recovered.attempt != len(self.retries) + 1:
            found.append(f"it recovered on attempt {self.recovered.attempt}, but reported {len(self.retries)} retries")
        if self.refused == 0:
            found.append("not one of its connects was refused")
        return [f"{self.name} ({self.client}): {one}" for one in found]


class Act:
    """What happens between calls and their answers, printed while it happens."""

    def __init__(self, screen: Screen) -> None:
        self.began: float = time.monotonic()
        self.reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._screen = screen

    def caller(self, name: str, client: str, server: LocalServer) -> Caller:
        """Make a caller that reports to this act."""
        return Caller(name=name, client=client, server=server, reports=self.reports)

    def tell(self, who: str, what: str, *codes: str) -> None:
        """Print a line about this moment."""
        self._screen.happened(time.monotonic() - self.began, who, what, *codes)

    def play(self, players: Sequence[Player], late: Sequence[tuple[float, LocalServer]]) -> None:
        """Start each server so many seconds late, and tell what happens until every player is done.

        Raises:
            ServerError: a server did not come up.
        """
        waiting, starting = list(late), list[LocalServer]()
        while not all(player.done for player in players) and time.monotonic() - self.began < PATIENCE:
            if waiting and time.monotonic() - self.began >= waiting[0][0]:
                _, server = waiting.pop(0)
                self.tell(server.name, "is started", CYAN)
                server.start()
                starting.append(server)
            lines = [(at, player.name, player.enter(at, what)) for at, player, what in self._reported()]
            for server in starting[:]:
                if server.ready_at is not None or server.pid is None:
                    lines.append((server.wait_ready(), server.name, ("serves", CYAN)))
                    starting.remove(server)
            for at, who, line in sorted(lines):
                if line:
                    self._screen.happened(at - self.began, who, *line)

    def _reported(self) -> Iterator[Report]:
        """Wait up to 20 ms for a report, then yield all there are."""
        with contextlib.suppress(queue.Empty):
            yield self.reports.get(timeout=0.02)
            while True:
                yield self.reports.get_nowait()


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
