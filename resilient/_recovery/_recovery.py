"""The failing call itself."""

from __future__ import annotations

import inspect
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final, NoReturn

import tenacity

from .. import clock, events, logs
from .._circuit import Outcome, Permit
from .._parking import Waiter
from .._scrub import describe, scrub, type_name
from .._traces import is_inside, mark, marks, raise_again, release_frames, set_note
from ..breaker import CircuitBreaker
from ..clock import Signal
from ..endpoint import Endpoint
from ..errors import CircuitOpenError, PolicyError
from ..events import CallParked, CallRecovered, RetriesExhausted, RetryScheduled
from ..refusal import hides_refusal, judge, known_refused, turned_away
from ..signatures import Kind
from ._engine import Failure
from ._plan import Plan

LATE: Final = 0.25
"""Seconds past the deadline up to which an attempt that was scheduled in time may still start."""

HEADROOM: Final = 40
"""Frames that a decision, its log line and the next attempt may take at most beyond what the last attempt took."""

HEARTBEAT: Final = 10.0
"""Seconds between two retries of one call that a quiet log shows."""

_CIRCUIT_OPEN: Final = f"{CircuitOpenError.__module__}.{CircuitOpenError.__qualname__}"

_latest_end = float("-inf")
"""When a call last gave up, anywhere in the process: most failing attempts need not look for a mark at all."""


class Recovery:
    """One failing call. Made at its first error, gone at its end."""

    __slots__ = (
        "__weakref__",
        "_attempt_started",
        "_breaker",
        "_ending",
        "_endpoint",
        "_engine",
        "_final",
        "_frame",
        "_heard",
        "_held",
        "_host",
        "_made",
        "_parked_on",
        "_permit",
        "_plan",
        "_refused",
        "_rejection",
        "_seen",
        "_started",
        "_state",
        "_to_ask",
        "_to_begin",
        "_to_park",
        "_waiter",
        "_waiting",
        "over",
    )

    def __init__(
        self,
        plan: Plan,
        started: float,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        breaker: CircuitBreaker | None = None,
        permit: Permit | None = None,
        host: Callable[[], object] | None = None,
    ) -> None:
        self._plan = plan
        self._started = started
        self._attempt_started = started
        self._engine: tenacity.Retrying | None = None
        self._state = tenacity.RetryCallState(plan.engine, None, args, kwargs)
        self._state.start_time = started
        self._endpoint: Endpoint | None = plan.endpoint
        self._final = False
        self._frame: FrameType | None = None
        self._heard: float | None = None
        self._held: BaseException | None = None  # the last error of the call's own
        self._made = 0  # attempts that have ended; one that a circuit turned away is none
        self._breaker = breaker
        if plan.breakers is not None and breaker is not None:
            self._endpoint = breaker.target  # asked already, for the key
        self._permit = permit
        self._parked_on: CircuitBreaker | None = None
        self._waiter: Waiter | None = None
        self._waiting = False
        self._rejection: BaseException | None = None  # what a circuit said last, for a call that has not run
        self._ending: str | None = None
        self._seen: int | None = None  # epoch of a closed circuit that turned this call away all the same
        self._to_begin = breaker is not None and permit is None
        self._to_park: CircuitBreaker | None = None
        self._to_ask: Endpoint | None = None
        self._refused: BaseException | None = None  # what hides a refusal, where the port, asked, refused
        self._host = host
        self.over: bool = False

    @property
    def attempt(self) -> int:
        """The number of the attempt that is being made, or that failed last."""
        return self._state.attempt_number

    @property
    def signal(self) -> Signal | None:
        """What may cut a pause short."""
        return self._waiter if self._waiting else self._plan.cancellation

    @property
    def question(self) -> Endpoint | None:
        """The endpoint to ask, outside the `except` and before anything else; `answered()` takes the answer."""
        return self._to_ask

    def answered(self, refused: bool) -> float | None:
        """Decide, after the port was asked, what follows the error that hides it: as `failed()`, or it is `over`.

        The error is then to be raised by `reraise()`: its handler has ended.
        """
        error, self._to_ask = self._held, None
        assert isinstance(error, Exception)
        if refused:
            self._refused = error
            with known_refused(error):
                step = self._failed(error, sys._getframe(1))
        else:
            step = self._failed(error, sys._getframe(1))
        if step is None:
            self._held = error
        return step

    def enter(self, step: float | None) -> float | None:
        """Begin to wait: return the first pause, or None: go.

        `step` is what `failed()` said, or None before the first attempt. Here, where an interrupt finds `leave()`, a
        call asks its breaker for leave and takes its place among the parked.

        Raises:
            CircuitOpenError: it has not run and may not go, and there is no sense in waiting.
        """
        if self._to_begin:
            self._to_begin = False
            return self._ask_for_leave()
        breaker, self._to_park = self._to_park, None
        if breaker is None:
            return step
        answer = self._park(breaker, clock.now())
        if isinstance(answer, str):
            self._ending, answer = answer, 0.0
        return answer

    def _ask_for_leave(self) -> float | None:
        breaker = self._breaker
        if breaker is None:
            return None
        self._permit = breaker.try_admit(retries=True)
        if self._permit is not None:
            breaker.begin_probe(self._permit, passes=True)
            return None
        answer = self._park(breaker, clock.now())
        if not isinstance(answer, str):
            return answer
        error = breaker.rejection()
        if clock.patience:
            self._frame = sys._getframe(1)
            self._give_up(error, answer)
            self._frame = None
        self.over = True
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def leave(self) -> None:
        """Give back, at any time, what the call holds: its place in a line, its turn, a permit that is not settled."""
        self.over = True
        waiter = self._waiter
        if self._waiting and waiter is not None and self._parked_on is not None:
            self._parked_on.leave(waiter)
            self._waiting = False
        self._settle("neutral", None)
        self._held = self._rejection = self._refused = None

    def failed(self, error: Exception, frame: FrameType | None = None) -> float | None:
        """Decide, inside the `except`, what follows this error: seconds to pause, or None: let it fly.

        `frame` is where the error would leave the call: the caller's own, if not given.
        """
        _need_headroom(HEADROOM)
        self._refused = None
        if (self._endpoint is not None or self._plan.find_target is not None) and hides_refusal(error):
            # A call that a circuit turned away has dialled nobody, and this error is not the last of its own.
            self._to_ask = self._whom_to_ask() if turned_away(error) is None else None
            if self._to_ask is not None:
                self._held = error
                return 0.0
        return self._failed(error, frame or sys._getframe(1))

    def _failed(self, error: Exception, frame: FrameType) -> float | None:
        self._frame = frame
        opened: CircuitOpenError | None = None
        try:
            if self._permit is not None or self._waiter is not None:
                self._settle(self._outcome_of(error), error)
            opened = turned_away(error)
            if opened is None:
                self._made = self._state.attempt_number
                delay = self._decide(error)
            else:
                delay = self._meet_open_circuit(error, opened)
        except Exception as problem:  # noqa: BLE001  # nothing may replace the client's error
            logs.complain(f"policy {self._policy_name()}", type_name(error), problem)
            self._give_up(error, f"the policy failed with {type_name(problem)}")
            delay = None
        finally:
            self._state.outcome = self._frame = None  # they hold the error, its frames and their sockets
        if delay is None:
            self.over = True
            self._held = self._rejection = self._refused = None
        elif opened is None:
            self._held = error
        else:
            self._rejection = error
        return delay

    def release(self) -> None:
        """Let go, outside the `except` and before a pause, of what the last error's frames hold."""
        for error in (self._held, self._rejection):
            if error is not None:
                release_frames(error, handled=sys.exc_info()[1])

    def woken(self) -> float | None:
        """Decide, after a pause: seconds to wait on; None: go, or, if it is `over` now, `reraise()`."""
        now = clock.now()
        self._frame = sys._getframe(1)
        answer: float | str | None
        try:
            answer = self._after_pause(now)
        except Exception as problem:  # noqa: BLE001  # nothing may replace the client's error
            logs.complain(f"policy {self._policy_name()}", type_name(self._held or problem), problem)
            answer = f"the policy failed with {type_name(problem)}"
        finally:
            self._state.outcome = None
        if isinstance(answer, str):
            if self._held is None:
                self._held = self._rejection or self._open_error()
            self._give_up(self._held, answer)
            self.over = True
            answer = None
        self._frame = None
        return answer

    def reraise(self) -> NoReturn:
        """Raise the last error after a pause that no attempt follows, as it was."""
        error = self._held
        self._held = self._rejection = self._refused = None
        assert error is not None
        try:
            raise_again(error)
        finally:
            del error  # its traceback holds this frame

    def succeeded(self) -> None:
        """Tell that an attempt after the first one succeeded."""
        self._settle("success", None)
        self.over = True
        self._held = self._rejection = self._refused = None
        if (self._made or self._waiter is not None) and (self._plan.policy.observers or events.taps):
            logs.tell(
                self._plan.policy.observers,
                CallRecovered(
                    call=self._plan.call,
                    policy=self._plan.policy.name,
                    target=self._endpoint,
                    attempt=self.attempt,
                    elapsed=clock.now() - self._started,
                ),
            )

    def _whom_to_ask(self) -> Endpoint | None:
        """Return the endpoint whose port can tell, or None where nobody would try again for its answer."""
        plan = self._plan
        if not clock.patience or (plan.cancellation is not None and plan.cancellation.cancelled):
            return None
        if self._endpoint is None:
            self._endpoint = plan.ask_for_target(self._state.args, self._state.kwargs)
        return self._endpoint

    def _judge(self, error: BaseException) -> tuple[Kind | None, BaseException]:
        return ("refused", error) if error is self._refused else judge(error)

    def _decide(self, error: Exception) -> float | None:
        if not clock.patience:
            return None
        plan, state = self._plan, self._state
        policy = plan.policy
        now = clock.now()
        state.outcome_timestamp = now
        state.outcome = Failure(state.attempt_number, error)
        verdict = policy.retry(state)
        if not verdict:
            return None
        if verdict is not True and inspect.isawaitable(verdict):
            raise PolicyError("the retry strategy gave an awaitable, and a decision never waits")
        if not plan.multiplies and (inside := self._gave_up_inside(error)) is not None:
            self._say_no_effect(inside)
            return None
        if plan.find_target is not None and self._endpoint is None:
            self._endpoint = plan.ask_for_target(state.args, state.kwargs)
        if plan.cancellation is not None and plan.cancellation.cancelled:
            self._give_up(error, "cancelled")
            return None
        if self._engine is None:
            self._engine = state.retry_object = plan.engine.copy()
            self._engine.begin()
        try:
            step = None if self._final else self._engine.iter(state)
        finally:
            self._engine.iter_state.reset()  # its actions are the engine's own methods: a circle only gc would end
        if not isinstance(step, tenacity.DoSleep):  # `_over` answered
            self._give_up(error, self._limit())
            return None
        delay = float(step)
        elapsed = now - self._started
        if self._breaker is not None and self._breaker.blocks():
            reason = self._without_hope(self._breaker, now)
            if reason is not None:
                self._give_up(error, reason)
                return None
            self._to_park = self._breaker
            return 0.0
        if policy.deadline is not None and delay >= policy.deadline - elapsed:
            self._final = True  # this delay ends at the deadline: one last attempt
        if policy.observers or events.taps:
            self._tell_scheduled(error, now, elapsed, delay)
            spent = clock.now() - now  # by a slow observer: its time is taken from the pause
            if spent > 0:
                return max(0.0, delay - spent)
        return delay

    def _after_pause(self, now: float) -> float | str | None:
        """Return seconds to wait on, the reason for giving up, or None: go."""
        reason = self._ending or self._ended_while_waiting(now)
        if reason is not None:
            return reason
        if self._waiting:
            answer = self._ask(now)
            if answer is not None:
                return answer
        if self._stopped(now):
            return f"stop strategy {logs.name_of(self._plan.policy.stop)}"
        if self._breaker is not None and self._permit is None:
            self._permit = self._breaker.try_admit(retries=True)
            if self._permit is None:
                return self._park(self._breaker, now)
            self._breaker.begin_probe(self._permit, passes=True)
        self._state.attempt_number = self._made + 1
        self._attempt_started = now
        return None

    def _ended_while_waiting(self, now: float) -> str | None:
        plan = self._plan
        if plan.cancellation is not None and plan.cancellation.cancelled:
            return "cancelled"
        elapsed, deadline = now - self._started, plan.policy.deadline
        if deadline is not None and elapsed > deadline + LATE:
            return f"deadline {deadline:g} s, woken {elapsed - deadline:.2f} s late"
        if deadline is not None and elapsed >= deadline:
            self._final = True
        return None

    def _stopped(self, now: float) -> bool:
        plan, state = self._plan, self._state
        stop = plan.policy.stop
        if stop is None:
            return False
        state.outcome_timestamp = now
        state.outcome = Failure(state.attempt_number, self._held or self._rejection or self._open_error())
        taken, state.upcoming_sleep = state.upcoming_sleep, 0.0
        if stop(state):
            return True
        state.upcoming_sleep = taken  # "decorrelated" jitter builds on it
        return False

    # The circuit.

    def _outcome_of(self, error: Exception) -> Outcome:
        breaker = self._breaker or self._parked_on
        return "neutral" if breaker is None else breaker.outcome_of(error)

    def _settle(self, outcome: Outcome, error: BaseException | None) -> None:
        waiter, permit = self._waiter, self._permit
        if waiter is not None and waiter.batch and self._parked_on is not None:
            self._parked_on.settled(waiter, outcome)
        if permit is not None and self._breaker is not None:
            self._breaker.vote(permit, outcome, error)
            self._permit = None

    def _meet_open_circuit(self, error: Exception, opened: CircuitOpenError) -> float | None:
        """Decide what follows a circuit's turning away of the function, or of something that it called."""
        breaker = getattr(opened, "_source", None)
        if not isinstance(breaker, CircuitBreaker) or not clock.patience:
            return None
        if not self._plan.multiplies and (inside := self._gave_up_inside(error)) is not None:
            self._say_no_effect(inside)
            return None
        if breaker.state == "closed" and not breaker.blocks():
            # It has closed meanwhile. But if it is still as it was the last time, the error is an old one, kept.
            if self._seen == breaker.epoch:
                return None
            self._seen = breaker.epoch
            return 0.0
        reason = self._without_hope(breaker, clock.now())
        if reason is None:
            self._to_park = breaker
        elif self._held is None:
            self._give_up(error, reason)
            return None
        else:
            self._ending = reason  # it has an error of its own, which is raised outside this handler
        return 0.0

    def _park(self, breaker: CircuitBreaker, now: float) -> float | str:
        """Wait for a circuit: return for how many seconds at most, or the reason why not."""
        plan = self._plan
        if not clock.patience:
            return "no retries"
        if plan.cancellation is not None and plan.cancellation.cancelled:
            return "cancelled"
        reason = self._without_hope(breaker, now)
        if reason is not None:
            return reason
        host = None if self._host is None else self._host()
        self._waiter, self._parked_on, self._waiting = Waiter(plan.cancellation, host), breaker, True
        heartbeat = breaker.park(self._waiter)
        if heartbeat is None:
            return f"circuit {breaker.name} is being changed by the code that was interrupted for this call"
        if plan.policy.observers or events.taps:
            self._tell_parked(breaker, now, heartbeat)
        answer = self._ask(clock.now())
        return 0.0 if answer is None else answer

    def _ask(self, now: float) -> float | str | None:
        """Return seconds to stay parked, the reason for giving up, or None: its time has come."""
        breaker, waiter = self._parked_on, self._waiter
        assert breaker is not None
        assert waiter is not None
        seconds = breaker.ask(waiter)
        if seconds is None:
            self._waiting = False
            return None
        answer: float | str = seconds
        deadline = self._plan.policy.deadline
        reason = self._without_hope(breaker, now)
        if reason is not None:
            answer = reason
        elif deadline is not None:
            answer = min(seconds, self._started + deadline - now)
        if isinstance(answer, str):
            breaker.leave(waiter)
            self._waiting = False
        return answer

    def _without_hope(self, breaker: CircuitBreaker, now: float) -> str | None:
        """Say why there is no sense in waiting for this circuit, or None."""
        if breaker.state == "isolated":
            return f"circuit {breaker.name} is isolated"
        if breaker.makes_probe():
            return f"circuit {breaker.name} waits for the very call that this one is a part of"
        deadline = self._plan.policy.deadline
        if deadline is None:
            return None
        if now - self._started >= deadline * (1 - 1e-12):
            return f"deadline {deadline:g} s"
        if not breaker.reachable_before(self._started + deadline):
            return f"deadline {deadline:g} s, and circuit {breaker.name} is open for longer"
        return None

    def _open_error(self) -> CircuitOpenError:
        breaker = self._parked_on or self._breaker
        assert breaker is not None
        return breaker.rejection()

    def _tell_parked(self, breaker: CircuitBreaker, now: float, heartbeat: bool) -> None:
        plan, error = self._plan, self._held
        kind, text, name = None, breaker.last_error or "", _CIRCUIT_OPEN
        if error is not None:
            kind, evidence = self._judge(error)
            text, name = describe(evidence), type_name(error)
        logs.tell(
            plan.policy.observers,
            CallParked(
                call=plan.call,
                policy=plan.policy.name,
                target=self._endpoint or breaker.target,
                attempt=self._made,
                elapsed=now - self._started,
                breaker=breaker.name,
                parked=breaker.parked,
                kind=kind,
                error_type=name,
                error_text=text,
                deadline=plan.policy.deadline,
                heartbeat=heartbeat,
            ),
        )

    def _limit(self) -> str:
        """Say which limit has just ended the call."""
        policy, attempts = self._plan.policy, self._plan.policy.attempts
        if attempts is not None and self.attempt >= attempts:
            return f"limit {attempts} attempt" + ("" if attempts == 1 else "s")
        elapsed = (self._state.outcome_timestamp or 0.0) - self._started
        if policy.deadline is not None and (self._final or elapsed >= policy.deadline):
            return f"deadline {policy.deadline:g} s"
        return f"stop strategy {logs.name_of(policy.stop)}"

    def _give_up(self, error: BaseException, reason: str) -> None:
        global _latest_end
        plan, now = self._plan, clock.now()
        _latest_end = now
        kind, evidence = self._judge(error)
        event = RetriesExhausted(
            call=plan.call,
            policy=plan.policy.name,
            target=self._endpoint,
            attempt=self._made,
            elapsed=now - self._started,
            kind=kind,
            error_type=type_name(error),
            error_text=describe(evidence),
            reason=reason,
        )
        if self._frame is not None:
            mark(error, self._started, plan, self._policy_name(), self._frame)
        set_note(error, f"resilient: {logs.gave_up(event)}")
        logs.tell(plan.policy.observers, event)

    def _tell_scheduled(self, error: Exception, now: float, elapsed: float, delay: float) -> None:
        plan = self._plan
        kind, evidence = self._judge(error)
        heartbeat = self._heard is None or now - self._heard >= HEARTBEAT
        if heartbeat:
            self._heard = now
        logs.tell(
            plan.policy.observers,
            RetryScheduled(
                call=plan.call,
                policy=plan.policy.name,
                target=self._endpoint,
                attempt=self.attempt,
                elapsed=elapsed,
                delay=delay,
                kind=kind,
                error_type=type_name(error),
                error_text=describe(evidence),
                attempts=plan.policy.attempts,
                deadline=plan.policy.deadline,
                heartbeat=heartbeat,
            ),
        )

    def _gave_up_inside(self, error: BaseException) -> str | None:
        """Return the name of the policy of a decorated call that gave up on this error during this attempt."""
        if _latest_end < self._attempt_started:
            return None
        for its, frame in marks(error):
            if its.started > self._attempt_started:
                return its.policy  # that call began and ended within this attempt
            if its.started == self._attempt_started:
                # The clock is too coarse to tell, or stands still, and an exception object that is raised again and
                # again carries the frames of earlier calls as well.
                # Another thread's frames lead to that thread's beginning, and not to who waits for it.
                inside = is_inside(frame, self._frame) if its.thread == threading.get_ident() else None
                if inside or (inside is None and its.plan != id(self._plan)):
                    return its.policy
        return None

    def _say_no_effect(self, inside: str) -> None:
        if not self._plan.warned:
            self._plan.warned = True
            logs.say(logging.WARNING, "policy %s has no effect: policy %s retries inside", self._policy_name(), inside)

    def _policy_name(self) -> str:
        name = self._plan.policy.name
        return f"of {self._plan.call}" if name is None else f"{scrub(name)} of {self._plan.call}"


def _need_headroom(frames: int) -> None:
    """Raise RecursionError where the stack has no room for so many frames: the drivers let the error fly then."""
    if frames:
        _need_headroom(frames - 1)
