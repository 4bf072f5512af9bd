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
from .._scrub import describe, scrub, type_name
from .._traces import is_inside, mark, marks, raise_again, release_frames, set_note
from ..clock import Cancellation
from ..endpoint import Endpoint
from ..errors import PolicyError
from ..events import CallRecovered, RetriesExhausted, RetryScheduled
from ..refusal import judge
from ._engine import Failure
from ._plan import Plan

LATE: Final = 0.25
"""Seconds past the deadline up to which an attempt that was scheduled in time may still start."""

HEADROOM: Final = 40
"""Frames that a decision, its log line and the next attempt may take at most beyond what the last attempt took."""

HEARTBEAT: Final = 10.0
"""Seconds between two retries of one call that a quiet log shows."""

_latest_end = float("-inf")
"""When a call last gave up, anywhere in the process: most failing attempts need not look for a mark at all."""


class Recovery:
    """One failing call. Made at its first error, gone at its end."""

    __slots__ = (
        "__weakref__",
        "_attempt_started",
        "_endpoint",
        "_engine",
        "_final",
        "_frame",
        "_heard",
        "_held",
        "_plan",
        "_started",
        "_state",
        "over",
    )

    def __init__(self, plan: Plan, started: float, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
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
        self._held: BaseException | None = None
        self.over: bool = False

    @property
    def attempt(self) -> int:
        """The number of the attempt that is being made, or that failed last."""
        return self._state.attempt_number

    @property
    def cancellation(self) -> Cancellation | None:
        """What may cut a pause short."""
        return self._plan.cancellation

    def failed(self, error: Exception, frame: FrameType | None = None) -> float | None:
        """Decide, inside the `except`, what follows this error: seconds to pause, or None: let it fly.

        `frame` is where the error would leave the call: the caller's own, if not given.
        """
        _need_headroom(HEADROOM)
        self._frame = frame or sys._getframe(1)
        try:
            delay = self._decide(error)
        except Exception as problem:  # noqa: BLE001  # nothing may replace the client's error
            logs.complain(f"policy {self._policy_name()}", type_name(error), problem)
            self._give_up(error, f"the policy failed with {type_name(problem)}")
            delay = None
        finally:
            self._state.outcome = self._frame = None  # they hold the error, its frames and their sockets
        if delay is None:
            self.over = True
        else:
            self._held = error
        return delay

    def release(self) -> None:
        """Let go, outside the `except` and before a pause, of what the last error's frames hold."""
        if self._held is not None:
            release_frames(self._held, handled=sys.exc_info()[1])

    def woken(self) -> bool:
        """Decide, after a pause, whether there is another attempt; if not, `reraise()` follows."""
        error, now = self._held, clock.now()
        assert error is not None
        self._frame = sys._getframe(1)
        try:
            reason = self._ended_while_waiting(error, now)
        except Exception as problem:  # noqa: BLE001
            logs.complain(f"policy {self._policy_name()}", type_name(error), problem)
            reason = f"the policy failed with {type_name(problem)}"
        finally:
            self._state.outcome = None
        if reason is not None:
            self._give_up(error, reason)
            self.over = True
        self._frame = None
        if reason is not None:
            return False
        self._held = None
        self._state.attempt_number += 1
        self._attempt_started = now
        return True

    def reraise(self) -> NoReturn:
        """Raise the last error after a pause that no attempt follows, as it was."""
        error, self._held = self._held, None
        assert error is not None
        try:
            raise_again(error)
        finally:
            del error  # its traceback holds this frame

    def succeeded(self) -> None:
        """Tell that an attempt after the first one succeeded."""
        self.over = True
        if self._plan.policy.observers or events.taps:
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
            self._endpoint = self._ask_for_target(plan.find_target)
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
        if policy.deadline is not None and delay >= policy.deadline - elapsed:
            self._final = True  # this delay ends at the deadline: one last attempt
        if policy.observers or events.taps:
            self._tell_scheduled(error, now, elapsed, delay)
            spent = clock.now() - now  # by a slow observer: its time is taken from the pause
            if spent > 0:
                return max(0.0, delay - spent)
        return delay

    def _ended_while_waiting(self, error: BaseException, now: float) -> str | None:
        plan, state = self._plan, self._state
        if plan.cancellation is not None and plan.cancellation.cancelled:
            return "cancelled"
        elapsed = now - self._started
        deadline = plan.policy.deadline
        if deadline is not None and elapsed > deadline + LATE:
            return f"deadline {deadline:g} s, woken {elapsed - deadline:.2f} s late"
        if deadline is not None and elapsed >= deadline:
            self._final = True
        stop = plan.policy.stop
        if stop is not None:
            state.outcome_timestamp = now
            state.outcome = Failure(state.attempt_number, error)
            taken, state.upcoming_sleep = state.upcoming_sleep, 0.0
            if stop(state):
                return f"stop strategy {logs.name_of(stop)}"
            state.upcoming_sleep = taken  # "decorrelated" jitter builds on it
        return None

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
        kind, evidence = judge(error)
        event = RetriesExhausted(
            call=plan.call,
            policy=plan.policy.name,
            target=self._endpoint,
            attempt=self.attempt,
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
        kind, evidence = judge(error)
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

    def _ask_for_target(self, find_target: Callable[..., str | Endpoint]) -> Endpoint | None:
        try:
            return Endpoint.parse(find_target(*self._state.args, **self._state.kwargs))
        except Exception as problem:  # noqa: BLE001  # isolated like an observer
            logs.complain(logs.name_of(find_target), "target=", problem)
            return None

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
