"""The circuit breaker as pure functions: may this caller go, and what does its result change?

Pure: no clock, no lock, no I/O. A circuit, the rules and the time go in, a circuit comes out; nothing is changed in
place. `TRANSITIONS` is the whole state machine: no function here moves a circuit but by this table, and the manual's
diagram is held against it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from ._values import NamedTuple

CircuitState: TypeAlias = Literal["closed", "open", "half-open", "isolated"]
Outcome: TypeAlias = Literal["success", "failure", "inconclusive", "neutral"]
"""What a call says of its endpoint: it answered; it refused or is not ready; something in between, which is no vote
while the circuit is closed and a failure at half-open; nothing at all."""

OUTCOMES: Final[tuple[Outcome, ...]] = ("success", "failure", "inconclusive", "neutral")

TRANSITIONS: Final[dict[tuple[CircuitState, str], CircuitState]] = {
    ("closed", "tripped"): "open",
    ("open", "cooled down"): "half-open",
    ("half-open", "probe succeeded"): "closed",
    ("half-open", "probe failed"): "open",
    ("closed", "isolated"): "isolated",
    ("open", "isolated"): "isolated",
    ("half-open", "isolated"): "isolated",
    ("isolated", "released"): "half-open",
    ("open", "reset"): "closed",
    ("half-open", "reset"): "closed",
    ("isolated", "reset"): "closed",
}
"""(state, what happened) → state. What is not listed changes nothing."""


class Rules:
    """What a breaker was set up with.

    Attributes:
        trip_after: consecutive failures that open a closed circuit.
        close_after: consecutive successful probes that close a half-open one.
        probe_timeout: seconds until a probe that has not reported may be replaced.
        cooldown: (openings since the circuit was last closed, the cooldown before) → seconds to stay open.
    """

    __slots__ = ("close_after", "cooldown", "probe_timeout", "trip_after")

    def __init__(
        self, *, trip_after: int, close_after: int, probe_timeout: float, cooldown: Callable[[int, float], float]
    ) -> None:
        self.trip_after = trip_after
        self.close_after = close_after
        self.probe_timeout = probe_timeout
        self.cooldown = cooldown


class Circuit(NamedTuple):
    """A circuit at one moment.

    Attributes:
        state: closed, open, half-open, isolated.
        epoch: grows by one with each change of `state`, and with each reset.
        reason: what happened last, a word of `TRANSITIONS`; "" for a new circuit.
        failures: consecutive failures while closed.
        successes: consecutive successful probes at half-open.
        openings: how often it opened since it was last closed.
        cooldown: seconds of the latest opening.
        until: when an open circuit lets a probe through.
        lease: number of the probe that was let through last; it never repeats.
        lease_until: when the probe that is under way may be replaced; None if none is.
        since: when it left "closed".
    """

    state: CircuitState = "closed"
    epoch: int = 0
    reason: str = ""
    failures: int = 0
    successes: int = 0
    openings: int = 0
    cooldown: float = 0.0
    until: float = 0.0
    lease: int = 0
    lease_until: float | None = None
    since: float = 0.0


class Permit:
    """Leave for one call, to be settled once.

    Attributes:
        epoch: the circuit's epoch at admission; a result from an older epoch changes nothing.
        probe: whether this call is the one probe of a half-open circuit.
        lease: number of the probe; 0 for a call through a closed circuit.
    """

    __slots__ = ("_breaker", "_settled", "epoch", "lease", "probe")

    epoch: int
    probe: bool
    lease: int

    def __init__(self, epoch: int, probe: bool = False, lease: int = 0) -> None:
        self.epoch = epoch
        self.probe = probe
        self.lease = lease
        self._settled = False
        self._breaker: object = None  # whose it is, where the caller settles it

    def __repr__(self) -> str:
        return f"Permit(epoch={self.epoch}, probe={self.probe}, lease={self.lease})"


def admit(circuit: Circuit, rules: Rules, now: float) -> tuple[Circuit, Permit | None]:
    """Return the circuit after a caller asked to go, and its permit; None: it may not."""
    if circuit.state == "closed":
        return circuit, Permit(circuit.epoch)
    if circuit.state == "open" and now >= circuit.until:
        circuit = _move(circuit, "cooled down", successes=0, lease_until=None)
    if circuit.state == "half-open" and (circuit.lease_until is None or now >= circuit.lease_until):
        circuit = circuit._replace(lease=circuit.lease + 1, lease_until=now + rules.probe_timeout)
        return circuit, Permit(circuit.epoch, probe=True, lease=circuit.lease)
    return circuit, None


def settle(circuit: Circuit, rules: Rules, permit: Permit, outcome: Outcome, now: float) -> Circuit:
    """Return the circuit after a call ended.

    A permit of an older epoch changes nothing, nor does that of a probe that was replaced or has reported.
    A probe whose lease has run out still counts until another has taken its place.
    """
    if permit.epoch != circuit.epoch:
        return circuit
    if circuit.state == "closed":
        return _settle_closed(circuit, rules, outcome, now)
    if circuit.state != "half-open" or permit.lease != circuit.lease or circuit.lease_until is None:
        return circuit
    if outcome == "neutral":
        return circuit._replace(lease_until=None)
    if outcome != "success":
        return _open(circuit, rules, "probe failed", now)
    if circuit.successes + 1 < rules.close_after:
        return circuit._replace(successes=circuit.successes + 1, lease_until=None)
    return _close(circuit, "probe succeeded")


def _settle_closed(circuit: Circuit, rules: Rules, outcome: Outcome, now: float) -> Circuit:
    if outcome == "success":
        return circuit._replace(failures=0) if circuit.failures else circuit
    if outcome != "failure":
        return circuit
    if circuit.failures + 1 < rules.trip_after:
        return circuit._replace(failures=circuit.failures + 1)
    return _open(circuit._replace(since=now), rules, "tripped", now)


def isolate(circuit: Circuit, now: float) -> Circuit:
    """Return the circuit held open by hand."""
    if circuit.state == "isolated":
        return circuit
    since = now if circuit.state == "closed" else circuit.since
    return _move(circuit, "isolated", failures=0, successes=0, lease_until=None, since=since)


def release(circuit: Circuit) -> Circuit:
    """Return the circuit no longer held by hand: half-open, so that one caller finds out how things stand."""
    return _move(circuit, "released") if circuit.state == "isolated" else circuit


def reset(circuit: Circuit) -> Circuit:
    """Return the circuit closed, whatever it was. Results of calls that are under way change nothing any more."""
    if circuit.state == "closed":
        return circuit._replace(epoch=circuit.epoch + 1, failures=0)
    return _close(circuit, "reset")


def drop_probe(circuit: Circuit) -> Circuit:
    """Return the circuit without the probe that is under way: after a fork it is another process's."""
    return circuit._replace(lease_until=None) if circuit.lease_until is not None else circuit


def next_probe(circuit: Circuit) -> float | None:
    """Return when the next probe may go: never (None) while isolated; a closed circuit needs none (minus infinity)."""
    if circuit.state == "isolated":
        return None
    if circuit.state == "open":
        return circuit.until
    if circuit.state == "half-open" and circuit.lease_until is not None:
        return circuit.lease_until
    return float("-inf")


def _open(circuit: Circuit, rules: Rules, reason: str, now: float) -> Circuit:
    openings = circuit.openings + 1
    cooldown = rules.cooldown(openings, circuit.cooldown)
    return _move(
        circuit,
        reason,
        failures=0,
        successes=0,
        openings=openings,
        cooldown=cooldown,
        until=now + cooldown,
        lease_until=None,
    )


def _close(circuit: Circuit, reason: str) -> Circuit:
    return _move(circuit, reason, failures=0, successes=0, openings=0, cooldown=0.0, lease_until=None)


def _move(circuit: Circuit, reason: str, **changes: Any) -> Circuit:
    state = TRANSITIONS[circuit.state, reason]
    return circuit._replace(state=state, epoch=circuit.epoch + 1, reason=reason, **changes)
