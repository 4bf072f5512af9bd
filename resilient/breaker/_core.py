"""Lock and clock round a circuit: who may go, what a result changes, who waits, and who hears of it.

No user code, observer, log line or wake-up runs under the lock. What a signal handler or a finaliser asks for in the
middle of an operation of its own thread is done after that operation.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .. import _circuit, clock, events, logs
from .._circuit import Circuit, Outcome, Permit, Rules
from .._parking import Lot, Waiter
from .._scrub import describe
from ..endpoint import Endpoint
from ..errors import CircuitOpenError
from ..events import CircuitChanged, Observer
from ..refusal import judge
from . import _context

HEARTBEAT: Final = 10.0
"""Seconds between two log lines that say that calls are parked."""

NO_VOTE: Final = -1
"""The epoch of a permit whose result changes nothing."""

_MOST_CHANGES: Final = 1_000
"""How many changes wait for an observer that blocks; older ones are dropped."""

_forked = threading.Lock()
"""Held while a child process puts a breaker in order; its parent never takes it for long enough to fork meanwhile."""

_NOTHING_MORE: Final[list[Waiter]] = []


class Core:
    """The part of a breaker that callers do not see."""

    __slots__ = (
        "__weakref__",
        "_changes",
        "_circuit",
        "_deferred",
        "_last_error",
        "_lock",
        "_lot",
        "_pid",
        "_rules",
        "_telling",
        "kept",
        "name",
        "observers",
        "sound",
        "target",
        "used_at",
    )

    name: str
    observers: tuple[Observer, ...]
    target: Endpoint | None
    sound: Permit | None
    """The permit of all calls while the circuit is closed and healthy; else None."""

    used_at: float
    kept: bool
    """Whether somebody holds on to this breaker of an endpoint, who would not find another one made in its place."""

    _rules: Rules

    def _begin(self, circuit: Circuit) -> None:
        self._lock = threading.RLock()
        self._deferred: deque[tuple[Callable[..., list[Waiter]], tuple[Any, ...]]] | None = None
        self._lot = Lot()
        self._changes: deque[CircuitChanged] | None = None
        self._telling = False
        self._last_error: str | None = None
        self._pid = os.getpid()
        self._set(circuit)

    # What the drivers of a retried call use.

    def try_admit(self, *, retries: bool = False) -> Permit | None:
        """Return a permit, or None where the call may not go now.

        With `retries`, for a retried call: inside of its own breaker's probe it is a part of that probe. For other
        calls that is so only if the probe is a retried call's; else a test that probes by hand would find two.
        """
        circuit, now = self._circuit, clock.now()
        if circuit.state == "isolated" or (circuit.state == "open" and now < circuit.until):
            return None  # the usual rejection takes no lock
        if circuit.lease_until is not None and _context.makes_probe(self, circuit.lease, passing=not retries):
            return Permit(NO_VOTE)  # a part of the probe, which has the vote
        found: list[Permit] = []
        try:
            if not self._locked(self._admit_locked, found, now):
                return None  # in the middle of another operation of this thread
            return found[0] if found else None
        except BaseException:  # an interrupt, in an observer: the probe is given back
            for permit in found:
                self.vote(permit, "neutral")
            raise

    def begin_probe(self, permit: Permit, *, passes: bool) -> None:
        """Remember that this thread or task makes the probe, until its result is in."""
        if permit.probe:
            _context.begin_probe(self, permit.lease, passes=passes)

    def vote(self, permit: Permit, outcome: Outcome, error: BaseException | None = None) -> None:
        """Count the result of an admitted call."""
        if permit.epoch == NO_VOTE or (permit is self.sound and outcome != "failure"):
            return  # nothing to change
        if permit.probe:
            _context.end_probe(self)
        text = None
        if error is not None and outcome != "success" and permit.epoch == self._circuit.epoch:
            text = describe(judge(error)[1])
        self._locked(self._vote_locked, permit, outcome, text)

    def makes_probe(self) -> bool:
        """Whether the caller is inside of the probe that is under way."""
        circuit = self._circuit
        return circuit.lease_until is not None and _context.makes_probe(self, circuit.lease)

    def blocks(self) -> bool:
        """Whether a call that has just failed should park, and not try again by itself."""
        return self._circuit.state != "closed" or len(self._lot) > 0

    def admits(self, now: float) -> bool:
        """Whether a call would get leave now; to be asked for it takes nothing."""
        probe_at = _circuit.next_probe(self._circuit)
        return probe_at is not None and probe_at <= now

    @property
    def probe_at(self) -> float | None:
        """When the next probe may go; minus infinity if none is needed, None while the circuit is isolated."""
        return _circuit.next_probe(self._circuit)

    def reachable_before(self, moment: float) -> bool:
        """Whether the circuit may let a probe through before this moment."""
        circuit = self._circuit
        return circuit.state != "isolated" and not (circuit.state == "open" and circuit.until > moment)

    @property
    def state(self) -> _circuit.CircuitState:
        """ "closed", "open", "half-open" or "isolated"."""
        return self._circuit.state

    @property
    def epoch(self) -> int:
        """Number of the state; it grows by one with each change."""
        return self._circuit.epoch

    @property
    def last_error(self) -> str | None:
        """Text of the failure that opened it last, scrubbed, or None."""
        return self._last_error

    @property
    def parked(self) -> int:
        """How many calls wait here."""
        return len(self._lot)

    def park(self, waiter: Waiter) -> bool | None:
        """Let a call wait here; return whether the log should say so, or None: it cannot wait here and now."""
        heartbeat: list[bool] = []
        if not self._locked(self._park_locked, waiter, heartbeat):
            return None
        return heartbeat[0]

    def ask(self, waiter: Waiter) -> float | None:
        """Return how many seconds a parked call has to wait, infinity until it is woken; None: it may try now."""
        answer: list[float] = []
        self._locked(self._ask_locked, waiter, answer)
        return answer[0] if answer else None

    def leave(self, waiter: Waiter) -> None:
        """Take a call out of the line; its turn passes on."""
        self._locked(self._lot.leave, waiter)

    def settled(self, waiter: Waiter, outcome: Outcome) -> None:
        """Say how the attempt of a call ended that was parked here."""
        if waiter.batch:
            self._locked(self._settled_locked, waiter, outcome in ("failure", "inconclusive"))

    def rejection(self) -> CircuitOpenError:
        """Return the error for a call that may not go."""
        error = CircuitOpenError(self.name, retry_after(self._circuit, clock.now()), self._last_error)
        error._source = self
        return error

    # Under the lock.

    def _locked(self, operation: Callable[..., list[Waiter]], *args: Any) -> bool:
        """Do something under the lock, then what it calls for; False: it is done later, after what goes on now."""
        self._check_process()
        lock: Any = self._lock
        if (
            lock._is_owned()
        ):  # by an operation of this thread, in the middle of which a signal handler or finaliser runs
            if self._deferred is None:
                self._deferred = deque()
            self._deferred.append((operation, args))
            return False
        with lock:
            woken = self._deferred_locked() if self._deferred else _NOTHING_MORE  # what came first is counted first
            woken = woken + operation(*args)
            if self._deferred:
                woken = woken + self._deferred_locked()
        if woken or self._changes:
            self._after(woken)
        if self._deferred:
            self._locked(list)
        return True

    def _deferred_locked(self) -> list[Waiter]:
        woken: list[Waiter] = []
        while self._deferred:
            operation, args = self._deferred.popleft()
            woken += operation(*args)
        return woken

    def _admit_locked(self, found: list[Permit], now: float) -> list[Waiter]:
        circuit, permit = _circuit.admit(self._circuit, self._rules, now)
        if permit is not None:
            found.append(permit)
        if self.sound is None and circuit is self._circuit and circuit.state == "closed" and not circuit.failures:
            self._set(circuit)  # an interrupt has come between
        return self._change_locked(circuit, None)

    def _vote_locked(self, permit: Permit, outcome: Outcome, text: str | None) -> list[Waiter]:
        return self._change_locked(_circuit.settle(self._circuit, self._rules, permit, outcome, clock.now()), text)

    def _turn_locked(self, change: Callable[[Circuit], Circuit]) -> list[Waiter]:
        return self._change_locked(change(self._circuit), None)

    def _park_locked(self, waiter: Waiter, heartbeat: list[bool]) -> list[Waiter]:
        lot, circuit, now = self._lot, self._circuit, clock.now()
        # The first of an outage, and then one in ten seconds.
        said = circuit.state != "closed" and (lot.announced != circuit.since or now - lot.announced_at >= HEARTBEAT)
        if said:
            lot.announced, lot.announced_at = circuit.since, now
        heartbeat.append(said)
        return lot.enter(waiter)

    def _ask_locked(self, waiter: Waiter, answer: list[float]) -> list[Waiter]:
        now, lot, circuit = clock.now(), self._lot, self._circuit
        waiter.heard = False
        if waiter.batch:
            return _NOTHING_MORE
        if circuit.state == "isolated":
            answer.append(float("inf"))
            return _NOTHING_MORE
        woken = lot.enter(waiter) if waiter not in lot else _NOTHING_MORE  # a child process has a new lot
        closed = circuit.state == "closed"
        due = lot.due(waiter, None if closed else _circuit.next_probe(circuit))
        if due is None or due > now:
            answer.append(float("inf") if due is None else due - now)
            return woken
        return woken + (lot.release(now, waiter) if closed else lot.take_turn(waiter, now))

    def _settled_locked(self, waiter: Waiter, refused: bool) -> list[Waiter]:
        woken = self._lot.settled(waiter, refused, clock.now(), lambda: self._rules.cooldown(1, 0.0))
        waiter.batch = 0
        return woken

    def _gone_locked(self, waiter: Waiter, waiting: deque[Waiter]) -> list[Waiter]:
        waiting.extend(self._lot.leave(waiter) + self._settled_locked(waiter, refused=False))
        return _NOTHING_MORE  # a list in a list would be a call in a call, once for each that is gone

    def _set(self, circuit: Circuit) -> None:
        self.sound = None  # first, so that an interrupt in between leaves nobody a permit of another state
        self._circuit = circuit
        if circuit.state == "closed" and not circuit.failures:
            self.sound = Permit(circuit.epoch)  # the one for all calls, until something changes: no lock is needed

    def _change_locked(self, circuit: Circuit, text: str | None) -> list[Waiter]:
        """Put a new circuit in the place of the old one; return whom to wake."""
        before, now = self._circuit, clock.now()
        if circuit is before:
            return _NOTHING_MORE
        self._set(circuit)
        if circuit.epoch == before.epoch:
            # A probe that was given back, or the first of several: the next one may go.
            free = circuit.lease_until is None and before.lease_until is not None
            return self._lot.opened(now) if free else _NOTHING_MORE
        if circuit.state == "open":
            self._last_error = text
        if circuit.state != before.state and (self.observers or events.taps):
            if self._changes is None:
                self._changes = deque(maxlen=_MOST_CHANGES)
            self._changes.append(self._changed(before, circuit, now))
        if circuit.state == "closed":
            return self._lot.closed(now)
        if circuit.state == "isolated":
            return self._lot.everybody()
        if circuit.lease_until is not None:
            return _NOTHING_MORE  # the one who makes it half-open probes
        return self._lot.opened(now)

    def _changed(self, before: Circuit, circuit: Circuit, now: float) -> CircuitChanged:
        is_open = circuit.state == "open"
        return CircuitChanged(
            call=self.name,
            policy=None,
            target=self.target,
            attempt=0,
            elapsed=max(0.0, now - circuit.since),
            breaker=self.name,
            state=circuit.state,
            previous=before.state,
            epoch=circuit.epoch,
            reason=circuit.reason,
            cooldown=circuit.cooldown if is_open else 0.0,
            openings=circuit.openings,
            error_text=(self._last_error or "") if is_open else "",
        )

    # Without the lock.

    def _after(self, woken: list[Waiter]) -> None:
        """Wake who has to hear, and tell the observers what changed."""
        waiting = deque(woken)
        while waiting:
            waiter = waiting.popleft()
            if not waiter.wake():  # its event loop is closed: its turn passes on
                self._locked(self._gone_locked, waiter, waiting)
        while self._changes:
            # One thread tells, so that the changes are told in their order; an observer that blocks or calls back
            # keeps nobody else from going on.
            mine = False
            try:
                with self._lock:
                    if self._telling or not self._changes:
                        return
                    mine = True
                    self._telling = True
                while self._changes:
                    logs.tell(self.observers, self._changes.popleft())
            finally:
                if mine:
                    self._telling = False

    def _check_process(self) -> None:
        """Put the breaker in order after a fork: nobody of the parent's waits or probes in the child."""
        if self._pid != os.getpid():
            with _forked:
                if self._pid != os.getpid():
                    text = self._last_error
                    self._begin(_circuit.drop_probe(self._circuit))
                    self._last_error = text


def retry_after(circuit: Circuit, now: float) -> float | None:
    """Return the seconds until a probe may go; None where that is not known."""
    if circuit.state == "open":
        return max(0.0, circuit.until - now)
    if circuit.state == "isolated" or circuit.lease_until is not None:
        return None
    return 0.0
