"""The circuits of one call: through which may it go, who gave it leave, and where does it wait?

A call has one circuit, or one for each of its endpoints, or none of its own and meets one that its function asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .. import clock
from .._circuit import Outcome, Permit
from .._parking import Waiter
from ..breaker import CircuitBreaker
from ..clock import Cancellation

if TYPE_CHECKING:
    from ..clock import Signal


class Circuits:
    """The circuits of one failing call.

    Attributes:
        own: those that it may go through, in the order in which its endpoints were given.
        breaker: the one whose leave the attempt has, or had last.
        permit: leave for one attempt, until it is settled.
        left: those of this round that have not been tried.
        inside: circuits of the function's own that have turned it away in this round, where it has several endpoints.
        waiting: whether the call is parked.
    """

    __slots__ = (
        "_cancellation",
        "_host",
        "_let_go",
        "_places",
        "breaker",
        "inside",
        "left",
        "own",
        "permit",
        "waiting",
    )

    def __init__(
        self,
        own: tuple[CircuitBreaker, ...],
        breaker: CircuitBreaker | None,
        permit: Permit | None,
        cancellation: Cancellation | None,
        host: Callable[[], object] | None,
    ) -> None:
        self.own = own
        self.breaker = breaker
        self.permit = permit
        self.left: list[CircuitBreaker] = []
        self.inside: list[CircuitBreaker] = []
        self.waiting = False
        self._cancellation = cancellation
        self._host = host
        self._places: list[tuple[CircuitBreaker, Waiter]] = []  # one in the line of each circuit that it waits for
        self._let_go: tuple[CircuitBreaker, Waiter] | None = None  # the place that it left last, in its turn

    # Going.

    def begin_round(self, order: Iterable[CircuitBreaker]) -> None:
        """Begin with all endpoints anew. Who was let go by a circuit that closed probes no other before."""
        self.left, self.inside = list(order), []
        if self._let_go is not None and self._let_go[1].batch and self._let_go[0] in self.left:
            place, now = self.left.index(self._let_go[0]), clock.now()
            before = self.left[:place]
            if all(breaker.state != "closed" for breaker in before):
                after = [breaker for breaker in before if breaker.admits(now)]
                self.left = [self._let_go[0], *after, *self.left[place + 1 :]]

    def came_past(self, place: int) -> bool:
        """Whether this round has tried this endpoint of the call's own, or has come past it."""
        return self.own[place] not in self.left

    def may_go_on(self, now: float) -> bool:
        """Whether a circuit of this round that was not tried yet would give leave."""
        return any(breaker.admits(now) for breaker in self.left)

    def admit(self) -> bool:
        """Take leave from the next circuit of this round that gives it; False: none does."""
        while self.left:
            self.breaker = self.left.pop(0)
            self.permit = self.breaker.try_admit(retries=True)
            if self.permit is not None:
                self.breaker.begin_probe(self.permit, passes=True)
                if self._let_go is not None and self._let_go[0] is not self.breaker and self._let_go[0] in self.own:
                    self._let_go[0].settled(self._let_go[1], "neutral")  # it goes elsewhere
                return True
        return False

    def turning_away(self, last: CircuitBreaker) -> tuple[CircuitBreaker, ...]:
        """Return the circuits that keep a call from all of its endpoints; `last` is the one that it met last."""
        if not self.inside:
            return (last,)
        own = [breaker for breaker in self.own if breaker.state != "closed"]
        inside = [breaker for breaker in self.inside if breaker.blocks()]  # one that has closed would let it go at once
        return tuple(dict.fromkeys((*own, *inside, last)))

    def outcome_of(self, error: Exception) -> Outcome:
        """Return what an error says of the endpoint of this attempt."""
        breaker = self.breaker or (self._let_go and self._let_go[0])
        return "neutral" if breaker is None else breaker.outcome_of(error)

    def settle(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """Count the result of an attempt."""
        if self._let_go is not None and self._let_go[1].batch:
            self._let_go[0].settled(self._let_go[1], outcome)
        permit = self.permit
        if permit is not None and self.breaker is not None:
            self.breaker.vote(permit, outcome, error)
            self.permit = None

    def block(self) -> bool:
        """Whether a call that has just failed everywhere should park, and not try again by itself."""
        return bool(self.own) and all(breaker.blocks() for breaker in self.own)

    # Waiting.

    @property
    def has_waited(self) -> bool:
        """Whether the call was ever parked."""
        return bool(self._places)

    @property
    def signal(self) -> Signal:
        """What ends the pause of a parked call."""
        return self._places[0][1] if len(self._places) == 1 else _Several([waiter for _, waiter in self._places])

    def park(self, breakers: Iterable[CircuitBreaker]) -> bool | None:
        """Take a place in the line of each; return whether the log should say so, or None: not here and now."""
        host = None if self._host is None else self._host()
        self._places, self.waiting, said = [], True, False
        for breaker in breakers:
            waiter = Waiter(None if self._places else self._cancellation, host)
            self._places.append((breaker, waiter))
            heartbeat = breaker.park(waiter)
            if heartbeat is None:
                return None
            said = said or heartbeat
        return said

    def ask(self) -> float | None:
        """Return how many seconds a parked call has to wait, infinity until it is woken; None: it may try now."""
        seconds = float("inf")
        for place in sorted(self._places, key=lambda it: not it[1].batch):  # a circuit that has closed comes first
            answer = place[0].ask(place[1])
            if answer is None:
                self._let_go = place
                self.leave_lines()
                return None
            seconds = min(seconds, answer)
        return seconds

    def leave_lines(self) -> None:
        """Leave every line; the turns pass on."""
        for breaker, waiter in self._places:
            if self._let_go is None or self._let_go[1] is not waiter:
                breaker.leave(waiter)
                breaker.settled(waiter, "neutral")  # where it was let go there as well
        self.waiting = False

    @property
    def lines(self) -> list[CircuitBreaker]:
        """The circuits that the call waits for, or waited for last."""
        return [breaker for breaker, _ in self._places]

    def waited_for(self) -> CircuitBreaker | None:
        """Return the circuit that may let a probe through first, of those that the call waits for or may go through."""
        breakers = self.lines or list(self.own)
        never = float("inf")
        return min(breakers, key=lambda it: never if it.probe_at is None else it.probe_at, default=None)


class _Several:
    """News for a call that waits in several lines: the first that calls it ends its pause."""

    __slots__ = ("_waiters",)

    def __init__(self, waiters: list[Waiter]) -> None:
        self._waiters = waiters

    @property
    def cancelled(self) -> bool:
        """Whether there is news: the pause is over."""
        return any(waiter.cancelled for waiter in self._waiters)

    def _watch(self, wake: Callable[[], object]) -> object:
        return [waiter._watch(wake) for waiter in self._waiters]

    def _unwatch(self, key: object) -> None:
        assert isinstance(key, list)
        for waiter, its in zip(self._waiters, key, strict=True):
            waiter._unwatch(its)
