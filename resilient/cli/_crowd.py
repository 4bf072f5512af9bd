"""Many callers of one server: what each of their connects meets on the wire, told in a few lines, and counted.

As on the rest of the stage, the callers' threads only report; the main thread keeps the books.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import CallParked, CallRecovered, CircuitBreaker, CircuitChanged, Event, Policy, RetryScheduled
from ._servers import LocalServer
from ._stage import BOLD, GREEN, PATIENCE, RED, YELLOW, Act, Screen
from ._wire import Wire

CALLERS = 12
TOLD_EVERY = 1.0  # seconds between two lines about callers without a breaker


@dataclass(frozen=True, slots=True)
class Told:
    """A circuit changed, and how many callers were parked then."""

    event: CircuitChanged
    parked: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """One caller got its connection."""

    connection: Any


@dataclass(slots=True, eq=False, kw_only=True)
class Crowd:
    """Twelve callers in threads of their own, and what is known of them.

    Attributes:
        recovered: the recoveries that the library reported.
        gaps: seconds from "server serves" to "caller connected", one for each caller that is.
        errors: what went wrong instead.
        circuit: the states that the circuit went through, in their order.
    """

    name: str
    server: LocalServer
    act: Act
    guarded: bool
    breaker: CircuitBreaker | None = field(init=False, default=None)
    wire: Wire = field(init=False)
    recovered: list[CallRecovered] = field(default_factory=list[CallRecovered])
    gaps: list[float] = field(default_factory=list[float])
    errors: list[Exception] = field(default_factory=list[Exception])
    circuit: list[str] = field(default_factory=list[str])
    _tell_at: float = field(init=False, default=TOLD_EVERY)

    def __post_init__(self) -> None:
        if self.guarded:
            self.breaker = CircuitBreaker(self.server.name, observers=(self.hear_circuit,))
        self.wire = Wire(self.breaker, self.server)

    def policy(self) -> Policy:
        """The policy of the demo, reporting to this crowd."""
        return Policy.startup().replace(observers=(self.hear,))

    def hear(self, event: Event) -> None:
        """Hear of one call: the observer of the policy, called in the caller's thread."""
        if isinstance(event, (CallParked, RetryScheduled)):
            self.wire.waited()
        self.report(event)

    def hear_circuit(self, event: Event) -> None:
        """Hear of the circuit: the observer of the breaker."""
        if isinstance(event, CircuitChanged) and self.breaker is not None:
            self.report(Told(event, self.breaker.snapshot().parked))

    def report(self, what: object) -> None:
        """Hand over what happened."""
        self.act.reports.put((time.monotonic(), self, what))

    def call(self, connect: Callable[[], Any]) -> None:
        """Let all of them connect at once."""
        together = threading.Barrier(CALLERS)

        def body() -> None:
            together.wait()
            try:
                connection = connect()
                self.report(Arrived(connection))
            except Exception as error:  # noqa: BLE001  # whatever went wrong is the demo's finding
                self.report(error)

        for number in range(CALLERS):
            threading.Thread(target=body, name=f"{self.name} {number + 1}", daemon=True).start()

    def enter(self, at: float, what: object) -> tuple[str, ...]:
        """Enter a report into the books; return what there is to tell, with its colours, or nothing."""
        match what:
            case Told(event, parked):
                self.circuit.append(event.state)
                return self._changed(event, parked)
            case RetryScheduled() if self.breaker is None:
                if at - self.act.began >= self._tell_at:
                    self._tell_at += TOLD_EVERY
                    return f"{self.wire.refused} connects refused so far", YELLOW
            case CallRecovered():
                self.recovered.append(what)
            case Arrived(connection):
                self.gaps.append(max(0.0, at - self.server.wait_ready()))
                connection.close()
                if len(self.gaps) == CALLERS:
                    batches = ", ".join(str(batch) for batch in self.batches())
                    return f"all {CALLERS} connected" + (f": the probe, then {batches}" if batches else ""), GREEN, BOLD
            case Exception():
                self.errors.append(what)
                return f"{type(what).__name__}: {' '.join(str(what).split())}"[:60], RED
            case _:
                pass
        return ()

    def _changed(self, event: CircuitChanged, parked: int) -> tuple[str, ...]:
        probe = self.circuit.count("half-open")
        match event.reason:
            case "tripped":
                return f"circuit opens, callers park     probe in {event.cooldown:.2f} s", RED
            case "probe failed":
                return f"probe {probe:>2}  failed     {parked:>2} parked  next in {event.cooldown:.2f} s", YELLOW
            case "probe succeeded":
                return f"probe {probe:>2}  connected  circuit closes, the parked wake", GREEN
            case _:
                return ()

    def batches(self) -> list[int]:
        """In what batches the parked callers were let out, as the first of each batch saw it."""
        left = sorted(self.wire.parked, reverse=True)
        return [before - after for before, after in itertools.pairwise(left)]

    @property
    def done(self) -> bool:
        """Has every caller its connection, or failed?"""
        return len(self.gaps) + len(self.errors) == CALLERS

    def failings(self) -> list[str]:
        """What was promised of these calls and did not happen, in words."""
        found = [f"a call failed with {type(error).__name__}: {' '.join(str(error).split())}" for error in self.errors]
        if not self.done:
            found.append(f"{CALLERS - len(self.gaps) - len(self.errors)} calls did not end within {PATIENCE:g} s")
        if len(self.recovered) != len(self.gaps):
            found.append(f"{len(self.gaps)} calls recovered, and {len(self.recovered)} recoveries were reported")
        attempts = sum(event.attempt for event in self.recovered)
        if len(self.recovered) == CALLERS and attempts != self.wire.dials:
            found.append(f"{attempts} attempts were reported, and {self.wire.dials} connects made")
        if self.breaker is not None:
            found += self._broken_promises(self.breaker)
        return [f"{self.name}: {one}" for one in found]

    def _broken_promises(self, breaker: CircuitBreaker) -> list[str]:
        found: list[str] = []
        if "open" not in self.circuit:
            found.append("its circuit did not open")
        if breaker.state != "closed":
            found.append(f"its circuit is {breaker.state} in the end")
        if self.wire.most != 1:
            found.append(f"while its circuit was not closed, {self.wire.most} connects were made at one time, not 1")
        if len(self.batches()) < 2:
            found.append("its parked callers were let out all at once, or not at all")
        return found


def crowd_table(screen: Screen, crowds: Sequence[Crowd]) -> None:
    """What the outage cost, side by side."""
    row = "  {:<22} {:>8} {:>11} {:>15} {:>14}"
    above = "  {:<22} {:>8} {:>11} {:>30}"
    screen.print(screen.paint(above.format("", "refused", "retries at", "'server serves' to 'connected'"), BOLD))
    screen.print(screen.paint(row.format("", "connects", "one time", "mean", "last"), BOLD))
    for crowd in crowds:
        mean = f"{sum(crowd.gaps) / len(crowd.gaps):.2f} s" if crowd.gaps else "-"
        last = f"{max(crowd.gaps):.2f} s" if crowd.gaps else "-"
        screen.print(row.format(f"{CALLERS} callers, {crowd.name}", crowd.wire.refused, crowd.wire.most, mean, last))
    screen.print()
    screen.prose(
        "With the breaker, all wait for the one probe, which goes at most a second after the last, and then follow it. "
        "Without, each waits for itself."
    )
    screen.print()
