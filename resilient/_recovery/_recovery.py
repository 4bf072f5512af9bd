"""The failing call itself."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import tenacity

from .. import clock, logs
from .._circuit import Permit
from .._scrub import type_name
from .._traces import raise_again, release_frames
from ..breaker import CircuitBreaker
from ..endpoint import Endpoint
from ..errors import CircuitOpenError, PolicyError
from ..refusal import hides_refusal, known_refused, turned_away
from ._circuits import Circuits
from ._engine import Failure
from ._limits import Limits
from ._nesting import gave_up_inside, give_up, say_no_effect
from ._plan import Plan
from ._telling import Telling

if TYPE_CHECKING:
    from ..clock import Signal

HEADROOM: Final = 40
"""Frames that a decision, its log line and the next attempt may take at most beyond what the last attempt took."""


class Recovery:
    """One failing call. Made at its first error, gone at its end."""

    __slots__ = (
        "__weakref__",
        "_attempt_started",
        "_circuits",
        "_ended",
        "_ending",
        "_engine",
        "_frame",
        "_held",
        "_host",
        "_limits",
        "_made",
        "_plan",
        "_preference",
        "_rejection",
        "_seen",
        "_started",
        "_state",
        "_telling",
        "_to_ask",
        "_to_begin",
        "_to_go_on",
        "_to_park",
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
        self._telling = Telling(plan, started)
        self._limits = Limits(plan, started)
        self._frame: FrameType | None = None
        self._held: BaseException | None = None  # the last error of the call's own
        self._made = 0  # attempts that have ended; one that a circuit turned away is none
        self._circuits: Circuits | None = None
        self._preference = None if plan.targets is None else plan.targets.preference
        if breaker is not None:
            own = plan.ways or (breaker,)
            self._circuits = Circuits(own, breaker, permit, plan.cancellation, host)
            if plan.breakers is not None:
                self._telling.endpoint = breaker.target  # asked already, for the key
            if plan.ways:
                self._telling.tried = {}
                self._circuits.left = [it for it in self._round() if it is not breaker]
        self._host = host
        self._rejection: BaseException | None = None  # what a circuit said last, for a call that has not run
        self._ending: str | None = None
        self._ended = False  # with the last error of its own, to be raised outside of this one's handler
        self._seen: int | None = None  # epoch of a closed circuit that turned this call away all the same
        self._to_begin = breaker is not None and permit is None
        self._to_go_on = False
        self._to_park: tuple[CircuitBreaker, ...] = ()
        self._to_ask: Endpoint | None = None
        self.over: bool = False

    @property
    def attempt(self) -> int:
        """The number of the attempt that is being made, or that failed last."""
        return self._state.attempt_number

    @property
    def endpoint(self) -> Endpoint | None:
        """What the attempt that is being made connects to, where that is known."""
        return self._telling.endpoint

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The positional arguments of the next attempt: the call's own, behind its endpoint if there are several."""
        args: tuple[Any, ...] = self._state.args
        return args if self._plan.targets is None else (self._telling.endpoint, *args)

    @property
    def signal(self) -> Signal | None:
        """What may cut a pause short."""
        circuits = self._circuits
        return circuits.signal if circuits is not None and circuits.waiting else self._plan.cancellation

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
            self._telling.refused = error
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
        if self._ended:
            self.over = True
            return None
        if self._to_begin:
            self._to_begin = False
            return self._ask_for_leave()
        if self._to_go_on:
            if self._go_on():
                return None
            step = self._nowhere_to_go()
        breakers, self._to_park = self._to_park, ()
        if not breakers:
            return step
        answer = self._park(breakers, clock.now())
        if isinstance(answer, str):
            self._ending, answer = answer, 0.0
        return answer

    def _ask_for_leave(self) -> float | None:
        circuits = self._circuits
        assert circuits is not None
        _need_headroom(HEADROOM)  # before a probe is taken: to give it back takes room as well
        circuits.begin_round(self._round())
        if circuits.admit():
            self._chosen()
            return None
        answer = self._park(circuits.own, clock.now())
        if not isinstance(answer, str):
            return answer
        error = self._open_error()
        if clock.patience:
            self._frame = sys._getframe(1)
            self._give_up(error, answer)
            self._frame = None
        self.over = True
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def _go_on(self) -> bool:
        """Go to the next endpoint of this round, outside the `except`; False: its circuit has changed its mind."""
        circuits, before = self._circuits, self._telling.endpoint
        assert circuits is not None
        if not circuits.admit():
            return False
        self._chosen()
        self._attempt_started = now = clock.now()
        self._telling.failed_over(self.attempt, now)
        if self._limits.late(clock.now()):  # an observer took its time
            circuits.settle("neutral")
            self._telling.endpoint = before
            return False
        return True

    def _nowhere_to_go(self) -> float | None:
        """Decide what follows a round that has ended without a further attempt."""
        error = self._held
        if error is None:  # every endpoint was turned away by a circuit of the function's own
            return 0.0
        assert isinstance(error, Exception)
        self._frame = sys._getframe(2)  # the driver's, which the error will leave by
        now = clock.now()
        try:
            self._show(error, now)
            delay = self._end_round(error, now)
        except Exception as problem:  # noqa: BLE001  # nothing may replace the client's error
            logs.complain(f"policy {self._plan.title}", type_name(error), problem)
            self._give_up(error, f"the policy failed with {type_name(problem)}")
            delay = None
        finally:
            self._state.outcome = self._frame = None
        self.over = delay is None
        return delay

    def _chosen(self) -> None:
        if self._plan.targets is not None:
            assert self._circuits is not None
            assert self._circuits.breaker is not None
            self._telling.endpoint = self._circuits.breaker.target

    def leave(self) -> None:
        """Give back, at any time, what the call holds: its place in a line, its turn, a permit that is not settled."""
        self.over = True
        if self._circuits is not None:
            if self._circuits.waiting:
                self._circuits.leave_lines()
            self._circuits.settle("neutral")
        self._drop_errors()

    def failed(self, error: Exception, frame: FrameType | None = None) -> float | None:
        """Decide, inside the `except`, what follows this error: seconds to pause, or None: let it fly.

        `frame` is where the error would leave the call: the caller's own, if not given.
        """
        _need_headroom(HEADROOM)
        self._telling.refused = None
        if (self._telling.endpoint is not None or self._plan.find_target is not None) and hides_refusal(error):
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
            circuits = self._circuits
            if circuits is not None:
                circuits.settle(circuits.outcome_of(error), error)
            opened = turned_away(error)
            if opened is None:
                self._made = self._state.attempt_number
                delay = self._decide(error)
            else:
                delay = self._meet_open_circuit(error, opened)
        except Exception as problem:  # noqa: BLE001  # nothing may replace the client's error
            logs.complain(f"policy {self._plan.title}", type_name(error), problem)
            self._give_up(error, f"the policy failed with {type_name(problem)}")
            delay = None
        finally:
            self._state.outcome = self._frame = None  # they hold the error, its frames and their sockets
        if delay is None:
            self.over = True
            self._drop_errors()
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
            logs.complain(f"policy {self._plan.title}", type_name(self._held or problem), problem)
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
        assert error is not None
        self._drop_errors()
        try:
            raise_again(error)
        finally:
            del error  # its traceback holds this frame

    def succeeded(self) -> None:
        """Tell that an attempt after the first one succeeded."""
        circuits, telling, targets = self._circuits, self._telling, self._plan.targets
        if circuits is not None:
            circuits.settle("success")
            if targets is not None and circuits.came_past(targets.current_place):
                assert telling.endpoint is not None
                targets.worked(telling.endpoint, self._preference, telling.tried or ())
        self.over = True
        self._drop_errors()
        if self._made or (circuits is not None and circuits.has_waited):
            telling.recovered(self.attempt)

    def _drop_errors(self) -> None:
        """Hold no error any longer."""
        self._held = self._rejection = self._telling.refused = None

    def _whom_to_ask(self) -> Endpoint | None:
        """Return the endpoint whose port can tell, or None where nobody would try again for its answer."""
        plan = self._plan
        if not clock.patience or self._limits.cancelled:
            return None
        telling = self._telling
        if telling.endpoint is None:
            telling.endpoint = plan.ask_for_target(self._state.args, self._state.kwargs)
        return telling.endpoint

    def _decide(self, error: Exception) -> float | None:
        if not clock.patience:
            return None
        plan, state, now = self._plan, self._state, clock.now()
        self._show(error, now)
        verdict = plan.policy.retry(state)
        if not verdict:
            return None
        if verdict is not True and inspect.isawaitable(verdict):
            raise PolicyError("the retry strategy gave an awaitable, and a decision never waits")
        if self._gave_up_inside(error):
            return None
        if plan.find_target is not None and self._telling.endpoint is None:
            self._telling.endpoint = plan.ask_for_target(state.args, state.kwargs)
        if self._limits.cancelled:
            self._give_up(error, "cancelled")
            return None
        if plan.targets is not None:
            self._telling.remember(error)
            if self._may_go_on(now):
                return 0.0
        return self._end_round(error, now)

    def _show(self, error: BaseException, now: float) -> None:
        """Show tenacity's strategies how the attempt has ended."""
        self._state.outcome_timestamp = now
        self._state.outcome = Failure(self._state.attempt_number, error)

    def _may_go_on(self, now: float) -> bool:
        """Decide whether the next endpoint of this round is tried at once; `enter()` goes there."""
        assert self._circuits is not None
        self._to_go_on = not self._limits.late(now) and self._circuits.may_go_on(now)
        return self._to_go_on

    def _end_round(self, error: Exception, now: float) -> float | None:
        """Decide what follows a failed attempt: over several endpoints, one at each that would let it go.

        The strategies have been shown the error.
        """
        plan, state = self._plan, self._state
        if self._engine is None:
            self._engine = state.retry_object = plan.engine.copy()
            self._engine.begin()
        try:
            step = None if self._limits.final else self._engine.iter(state)
        finally:
            self._engine.iter_state.reset()  # its actions are the engine's own methods: a circle only gc would end
        if not isinstance(step, tenacity.DoSleep):  # `_over` answered
            self._give_up(error, self._limits.reached(self.attempt, now))
            return None
        circuits = self._circuits
        if circuits is not None and circuits.block():
            reason = self._limits.without_hope(circuits.own, now)
            if reason is not None:
                self._give_up(error, reason)
                return None
            self._to_park = circuits.own
            return 0.0
        delay = self._limits.pause(float(step), now)
        if self._telling.wanted:
            self._telling.scheduled(error, self.attempt, now, delay)
            return max(0.0, delay - (clock.now() - now))  # a slow observer's time is taken from the pause
        return delay

    def _after_pause(self, now: float) -> float | str | None:
        """Return seconds to wait on, the reason for giving up, or None: go."""
        reason = self._ending or self._limits.ended(now)
        if reason is not None:
            return reason
        circuits = self._circuits
        if circuits is not None and circuits.waiting:
            answer = self._ask(now)
            if answer is not None:
                return answer
        if self._stopped(now):
            return self._limits.stopped()
        if circuits is not None and circuits.own:
            circuits.begin_round(self._round())
            if not circuits.admit():
                return self._park(circuits.own, now)
            reason = self._limits.ended(clock.now())  # observers have heard of a probe, and took their time
            if reason is not None:
                circuits.settle("neutral")
                return reason
            self._chosen()
        self._state.attempt_number = self._made + 1
        self._attempt_started = now
        return None

    def _stopped(self, now: float) -> bool:
        plan, state = self._plan, self._state
        stop = plan.policy.stop
        if stop is None:
            return False
        self._show(self._held or self._rejection or self._open_error(), now)
        taken, state.upcoming_sleep = state.upcoming_sleep, 0.0
        if stop(state):
            return True
        state.upcoming_sleep = taken  # "decorrelated" jitter builds on it
        return False

    # The circuit.

    def _meet_open_circuit(self, error: Exception, opened: CircuitOpenError) -> float | None:
        """Decide what follows a circuit's turning away of the function, or of something that it called."""
        breaker = getattr(opened, "_source", None)
        if not isinstance(breaker, CircuitBreaker) or not clock.patience:
            return None
        if self._gave_up_inside(error):
            return None
        now = clock.now()
        circuits = self._circuits
        if self._plan.targets is not None:
            assert circuits is not None
            self._telling.remember(error)
            circuits.inside.append(breaker)
            if self._may_go_on(now):
                return 0.0
            if self._made == self._state.attempt_number:  # others failed in this round
                assert isinstance(self._held, Exception)
                self._show(self._held, now)
                delay = self._end_round(self._held, now)
                self._ended = delay is None
                return delay or 0.0
        if breaker.state == "closed" and not breaker.blocks():
            # It has closed meanwhile. But if it is still as it was the last time, the error is an old one, kept.
            if self._seen == breaker.epoch:
                return None
            self._seen = breaker.epoch
            return 0.0
        breakers = (breaker,) if circuits is None else circuits.turning_away(breaker)
        reason = self._limits.without_hope(breakers, now)
        if reason is None:
            self._to_park = breakers
        elif self._held is None:
            self._give_up(error, reason)
            return None
        else:
            self._ending = reason  # it has an error of its own, which is raised outside this handler
        return 0.0

    def _park(self, breakers: tuple[CircuitBreaker, ...], now: float) -> float | str:
        """Wait for circuits: return for how many seconds at most, or the reason why not."""
        if not clock.patience:
            return "no retries"
        if self._limits.cancelled:
            return "cancelled"
        reason = self._limits.without_hope(breakers, now)
        if reason is not None:
            return reason
        circuits = self._circuits
        if circuits is None:
            circuits = self._circuits = Circuits((), None, None, self._plan.cancellation, self._host)
        heartbeat = circuits.park(breakers)
        if heartbeat is None:
            return f"circuit {_names(breakers)} is being changed by the code that was interrupted for this call"
        self._telling.parked(breakers, self._held, self._made, now, heartbeat)
        answer = self._ask(clock.now())
        return 0.0 if answer is None else answer

    def _ask(self, now: float) -> float | str | None:
        """Return seconds to stay parked, the reason for giving up, or None: its time has come."""
        circuits = self._circuits
        assert circuits is not None
        seconds = circuits.ask()
        if seconds is None:
            return None
        reason = self._limits.without_hope(circuits.lines, now)
        if reason is not None:
            circuits.leave_lines()
            return reason
        return self._limits.remaining(seconds, now)

    def _open_error(self) -> CircuitOpenError:
        assert self._circuits is not None
        breaker = self._circuits.waited_for()
        assert breaker is not None
        return breaker.rejection()

    # Several endpoints.

    def _round(self) -> list[CircuitBreaker]:
        """Return the circuits of a new round, in the order in which they are to be tried."""
        plan, circuits = self._plan, self._circuits
        assert circuits is not None
        return list(circuits.own) if plan.targets is None else [circuits.own[place] for place in plan.targets.places()]

    # Giving up.

    def _give_up(self, error: BaseException, reason: str) -> None:
        now = clock.now()
        assert self._frame is not None  # whoever comes here has set it
        give_up(error, self._plan, self._started, now, self._frame)
        self._telling.exhausted(error, self._made, now, reason)

    def _gave_up_inside(self, error: BaseException) -> bool:
        """Whether a decorated call inside of this one has given up on the error, so that it is not tried again."""
        if self._plan.multiplies:
            return False
        inside = gave_up_inside(error, self._plan, self._attempt_started, self._frame)
        if inside is not None:
            say_no_effect(self._plan, inside)
        return inside is not None


def _names(breakers: Iterable[CircuitBreaker]) -> str:
    return ", ".join(breaker.name for breaker in breakers)


def _need_headroom(frames: int) -> None:
    """Raise RecursionError where the stack has no room for so many frames: the drivers let the error fly then."""
    if frames:
        _need_headroom(frames - 1)
