"""What we rely on in tenacity, oldest and newest alike: a release that changes it fails here and nowhere odd.

Source: `BaseRetrying.iter` and `RetryCallState` of tenacity 9.0.0 and 9.2.1.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import time
from typing import Any

import pytest
import tenacity
import tenacity.asyncio
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base


class Protocol:
    """Strategies and hooks that write down when they are asked, and what they see."""

    def __init__(self, *, retry: bool = True, stop_at: int = 3) -> None:
        self.asked: list[str] = []
        self.seen: list[float] = []
        self.answer = retry
        self.stop_at = stop_at

    def before(self, state: tenacity.RetryCallState) -> None:
        self.asked.append("before")

    def retry(self, state: tenacity.RetryCallState) -> bool:
        self.asked.append("retry")
        return self.answer

    def after(self, state: tenacity.RetryCallState) -> None:
        self.asked.append("after")

    def wait(self, state: tenacity.RetryCallState) -> float:
        self.asked.append("wait")
        self.seen.append(state.upcoming_sleep)
        return 0.5 * state.attempt_number

    def stop(self, state: tenacity.RetryCallState) -> bool:
        self.asked.append("stop")
        self.seen.append(state.upcoming_sleep)
        return state.attempt_number >= self.stop_at

    def before_sleep(self, state: tenacity.RetryCallState) -> None:
        self.asked.append("before_sleep")

    def over(self, state: tenacity.RetryCallState) -> str:
        self.asked.append("over")
        return "over"

    def retrying(self, **settings: Any) -> tenacity.Retrying:
        return tenacity.Retrying(
            before=self.before,
            retry=self.retry,
            after=self.after,
            wait=self.wait,
            stop=self.stop,
            before_sleep=self.before_sleep,
            sleep=lambda seconds: self.asked.append("sleep"),
            **settings,
        )


def state_of(retrying: tenacity.Retrying, error: Exception | None = None) -> tenacity.RetryCallState:
    state = tenacity.RetryCallState(retrying, None, (), {})
    state.outcome = tenacity.Future(state.attempt_number)
    state.outcome.set_exception(ConnectionRefusedError() if error is None else error)
    state.outcome_timestamp = state.start_time
    return state


def refuse() -> None:
    raise ConnectionRefusedError


def test_wait_is_asked_before_stop_and_sleep_comes_last() -> None:
    """On the last attempt as well, so that a strategy that stops before a delay knows the delay."""
    protocol = Protocol(stop_at=2)
    with pytest.raises(ConnectionRefusedError):
        protocol.retrying(reraise=True)(refuse)
    first = ["before", "retry", "after", "wait", "stop", "before_sleep", "sleep"]
    assert protocol.asked == [*first, "before", "retry", "after", "wait", "stop"]


def test_the_last_delay_is_kept_until_a_new_one_is_known() -> None:
    """Wait sees what was slept last; stop sees what would be slept next."""
    protocol = Protocol(stop_at=3)
    with pytest.raises(tenacity.RetryError):
        protocol.retrying()(refuse)
    assert protocol.seen == [0.0, 0.5, 0.5, 1.0, 1.0, 1.5]


def test_one_decision_is_one_call_of_iter() -> None:
    """With an outcome set, `iter` answers with the pause, a float, and does not pause."""
    protocol = Protocol()
    retrying = protocol.retrying()
    retrying.begin()
    answer = retrying.iter(state_of(retrying))
    assert isinstance(answer, tenacity.DoSleep)
    assert float(answer) == 0.5
    assert protocol.asked == ["retry", "after", "wait", "stop", "before_sleep"]


def test_without_an_outcome_iter_says_attempt() -> None:
    retrying = Protocol().retrying()
    retrying.begin()
    state = tenacity.RetryCallState(retrying, None, (), {})
    assert isinstance(retrying.iter(state), tenacity.DoAttempt)
    assert not isinstance(tenacity.DoAttempt(), tenacity.DoSleep)


@pytest.mark.parametrize("reraise", [False, True])
def test_the_callback_makes_over_a_plain_answer(reraise: bool) -> None:
    """It beats `reraise`, and nothing is raised."""
    protocol = Protocol(stop_at=1)
    retrying = protocol.retrying(retry_error_callback=protocol.over, reraise=reraise)
    retrying.begin()
    assert retrying.iter(state_of(retrying)) == "over"


def test_an_error_that_is_not_retried_is_raised_by_iter() -> None:
    """Which is why we ask `policy.retry` ourselves, and give the engine `retry_always`."""
    protocol = Protocol(retry=False)
    retrying = protocol.retrying(retry_error_callback=protocol.over)
    retrying.begin()
    error = ConnectionRefusedError()
    with pytest.raises(ConnectionRefusedError) as caught:
        retrying.iter(state_of(retrying, error))
    assert caught.value is error


def test_try_again_is_retried_without_being_asked_about() -> None:
    """Another reason to ask `policy.retry` first."""
    protocol = Protocol(retry=False)
    retrying = protocol.retrying()
    retrying.begin()
    assert isinstance(retrying.iter(state_of(retrying, tenacity.TryAgain())), tenacity.DoSleep)
    assert "retry" not in protocol.asked


def test_retry_always_retries() -> None:
    assert tenacity.retry_always(state_of(tenacity.Retrying())) is True


def test_a_copy_has_the_same_parts_and_a_state_of_its_own() -> None:
    protocol = Protocol()
    retrying = protocol.retrying(retry_error_callback=protocol.over)
    twin = retrying.copy()
    assert type(twin) is tenacity.Retrying
    for part in ("stop", "wait", "retry", "retry_error_callback", "before_sleep"):
        assert getattr(twin, part) == getattr(retrying, part)
    twin.begin()
    assert twin.statistics is not retrying.statistics
    assert twin.iter_state is not retrying.iter_state
    assert "attempt_number" not in retrying.statistics


def test_a_reset_lets_go_of_the_actions() -> None:
    """They are bound methods of the engine, a circle that only the garbage collector would end."""
    retrying = Protocol().retrying()
    retrying.begin()
    retrying.iter(state_of(retrying))
    assert retrying.iter_state.actions
    retrying.iter_state.reset()
    assert not retrying.iter_state.actions


def test_the_clock_of_a_state_can_be_set() -> None:
    """Elapsed time is the difference of two attributes, and nobody else looks at a clock."""
    retrying = tenacity.Retrying(stop=tenacity.stop_after_delay(10))
    state = state_of(retrying)
    state.start_time, state.outcome_timestamp = 1000.0, 1009.0
    assert state.seconds_since_start == 9.0
    assert retrying.stop(state) is False  # type: ignore[operator,unused-ignore]
    state.outcome_timestamp = 1010.0
    assert retrying.stop(state) is True  # type: ignore[operator,unused-ignore]


def test_the_outcome_and_the_number_of_a_state_can_be_set() -> None:
    """The outcome to None as well, so that no frame and no socket is held."""
    state = state_of(tenacity.Retrying())
    assert state.attempt_number == 1
    assert state.upcoming_sleep == 0.0
    state.attempt_number += 1
    state.outcome = None
    assert state.attempt_number == 2
    assert state.outcome is None


def test_the_engine_counts_on_the_number_in_the_state() -> None:
    """Not on one of its own: two calls of `iter` for attempt 1 give the delay of attempt 1 twice."""
    protocol = Protocol()
    retrying = protocol.retrying()
    retrying.begin()
    state = state_of(retrying)
    assert [retrying.iter(state) for _ in range(2)] == [0.5, 0.5]


def test_time_is_taken_from_the_monotonic_clock_by_default() -> None:
    before = time.monotonic()
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    assert before <= state.start_time <= time.monotonic()


BASES = {"retry": retry_base, "stop": stop_base, "wait": wait_base}
NAMES = {
    "retry": (
        "retry_always retry_never retry_any retry_all retry_if_exception retry_if_exception_type "
        "retry_if_not_exception_type retry_if_result retry_if_not_result retry_unless_exception_type "
        "retry_if_exception_message retry_if_not_exception_message retry_if_exception_cause_type"
    ),
    "stop": "stop_never stop_any stop_all stop_after_attempt stop_after_delay stop_before_delay",
    "wait": "wait_none wait_fixed wait_random wait_combine wait_chain wait_exponential wait_random_exponential",
}


@pytest.mark.parametrize("name", [name for names in NAMES.values() for name in names.split()])
def test_a_name_that_is_documented_exists(name: str) -> None:
    """In the table of what a policy takes and refuses."""
    strategy = getattr(tenacity, name)
    kind = strategy if isinstance(strategy, type) else type(strategy)
    assert issubclass(kind, BASES[name.partition("_")[0]])


@pytest.mark.parametrize(
    ("strategy", "attribute"),
    [
        (tenacity.retry_any(refuse), "retries"),  # type: ignore[arg-type]
        (tenacity.retry_all(refuse), "retries"),  # type: ignore[arg-type]
        (tenacity.retry_if_exception(refuse), "predicate"),  # type: ignore[arg-type]
        (tenacity.stop_any(refuse), "stops"),  # type: ignore[arg-type]
        (tenacity.stop_all(refuse), "stops"),  # type: ignore[arg-type]
        (tenacity.wait_combine(refuse), "wait_funcs"),  # type: ignore[arg-type]
        (tenacity.wait_chain(refuse), "strategies"),  # type: ignore[arg-type]
        (functools.partial(refuse), "func"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_strategy_holds_its_parts_where_we_look_for_them(strategy: Any, attribute: str) -> None:
    """Or a coroutine function inside would not be found."""
    held = getattr(strategy, attribute)
    assert refuse in (held if isinstance(held, (list, tuple)) else [held])


def strategies_that_hold_others() -> list[type]:
    """Every class of tenacity's that takes strategies."""
    modules = [importlib.import_module(f"tenacity.{kind}") for kind in BASES]  # `tenacity.retry` is a function as well
    bases = tuple(BASES.values())
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, bases)
        and not inspect.isabstract(value)
        and any(
            parameter.kind is parameter.VAR_POSITIONAL for parameter in inspect.signature(value).parameters.values()
        )
    ]


def test_no_other_class_holds_strategies() -> None:
    """A new one in a new tenacity must be looked into, too."""
    assert {kind.__name__ for kind in strategies_that_hold_others()} == {
        "retry_any",
        "retry_all",
        "stop_any",
        "stop_all",
        "wait_combine",
        "wait_chain",
    }


def retry_classes() -> list[type]:
    module = importlib.import_module("tenacity.retry")
    return [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, retry_base)]


def test_the_classes_that_look_at_results_are_the_ones_we_refuse() -> None:
    """Found by their answer to a success: one that would retry it, or asks a predicate about it."""
    asked: list[object] = []

    def predicate(value: object) -> bool:
        asked.append(value)
        return True

    arguments: dict[str, tuple[Any, ...]] = {
        "retry_if_result": (predicate,),
        "retry_if_not_result": (predicate,),
        "retry_if_exception": (predicate,),
        "retry_if_exception_message": ("no",),
        "retry_if_not_exception_message": ("no",),
    }
    look: set[str] = set()
    for kind in retry_classes():
        if inspect.isabstract(kind) or kind.__name__ == "_retry_always":
            continue
        strategy = kind(*arguments.get(kind.__name__, ()))
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.set_result("result")
        asked.clear()
        retried = strategy(state) is True and kind is not tenacity.retry_all  # all of nothing is true
        if retried or asked:
            look.add(kind.__name__)
    assert look == {
        "retry_if_result",
        "retry_if_not_result",
        "retry_unless_exception_type",
        "retry_if_not_exception_message",
    }


def test_the_strategies_for_coroutines_are_coroutine_functions() -> None:
    """Told by their `__call__`, since their class may not be loaded."""
    for name in ("retry_if_exception", "retry_if_result", "retry_any", "retry_all"):
        kind = getattr(tenacity.asyncio.retry, name)
        assert inspect.iscoroutinefunction(kind.__call__)


def test_strategies_join_by_their_operators() -> None:
    """In the classes in which we look for parts."""
    retry, stop, wait = tenacity.retry_never, tenacity.stop_never, tenacity.wait_none()
    assert isinstance(retry | retry, tenacity.retry_any)
    assert isinstance(retry & retry, tenacity.retry_all)
    assert isinstance(stop | stop, tenacity.stop_any)
    assert isinstance(stop & stop, tenacity.stop_all)
    assert isinstance(wait + wait, tenacity.wait_combine)
    assert sum([wait]) is wait


@pytest.mark.parametrize("join", ["combine", "chain"])
def test_a_joined_wait_strategy_may_be_asked_by_keyword(join: str) -> None:
    """tenacity 9.0 calls `x(retry_state=...)`, so ours call their argument that as well."""
    from resilient import Backoff, Policy

    for ours in (Backoff(initial=0, maximum=0), Policy(backoff=Backoff(initial=0, maximum=0)).wait_strategy()):
        kind = tenacity.wait_combine if join == "combine" else tenacity.wait_chain
        assert kind(ours)(state_of(tenacity.Retrying())) == 0  # type: ignore[arg-type]
        assert list(inspect.signature(type(ours).__call__).parameters)[1] == "retry_state"
