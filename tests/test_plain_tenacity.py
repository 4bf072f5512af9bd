"""Our strategies in plain tenacity, and what `policy.retrying()` hands out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import tenacity
import tenacity.asyncio
from hypothesis import example, given, settings
from hypothesis import strategies as st

import resilient
from resilient import (
    Backoff,
    Policy,
    log_before_sleep,
    retry_if_refused,
    retry_if_unreachable,
    retry_on_refused,
)
from resilient.testing import fake_clock

State = tenacity.RetryCallState
OURS = retry_if_refused()


def plain(retry_state: State) -> bool:
    return True


async def judged_later(error: BaseException) -> bool:
    return True


ERRORS: list[Callable[[], Exception]] = [
    lambda: ConnectionRefusedError(111, "Connection refused"),
    lambda: OSError(113, "No route to host"),
    lambda: KeyError("x"),
]
KEY = tenacity.retry_if_exception_type(KeyError)
OS = tenacity.retry_if_exception_type(OSError)
JOINED: dict[str, tuple[Any, list[bool]]] = {
    "ours": (OURS, [True, False, False]),
    "ours | theirs": (OURS | KEY, [True, False, True]),
    "theirs | ours": (KEY | OURS, [True, False, True]),
    "ours & theirs": (OURS & OS, [True, False, False]),
    "theirs & ours": (OS & OURS, [True, False, False]),
    "(theirs | ours) & theirs": ((KEY | OURS) & KEY, [False, False, True]),
    "ours | (theirs & ours)": (OURS | (OS & retry_if_unreachable()), [True, True, False]),
    "function | ours": (plain | OURS, [True, True, True]),
    "ours | function": (lambda: OURS | plain, [True, True, True]),  # built in the test: tenacity 9.0 cannot
    "ours & function": (lambda: OURS & plain, [True, False, False]),
}


def state_after(error: Exception) -> State:
    state = State(tenacity.Retrying(), None, (), {})
    state.set_exception((type(error), error, None))
    return state


@pytest.mark.parametrize("name", JOINED)
def test_ours_join_with_tenacitys(name: str) -> None:
    """By | and &, in both orders."""
    strategy, expected = JOINED[name]
    if "function" in name and name.startswith("ours"):
        strategy = strategy()
    assert [bool(strategy(state_after(error()))) for error in ERRORS] == expected


@pytest.mark.parametrize("name", [name for name in JOINED if "function" not in name])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["Retrying", "AsyncRetrying"])
def test_ours_joined_work_in_plain_tenacity(name: str, asynchronous: bool) -> None:
    """Three attempts where the strategy says so, one where not."""
    strategy, expected = JOINED[name]
    for error, retried in zip(ERRORS, expected, strict=True):
        calls = 0

        def connect(error: Callable[[], Exception] = error) -> None:
            nonlocal calls
            calls += 1
            raise error()

        async def connect_async(connect: Callable[[], None] = connect) -> None:
            connect()

        limits: dict[str, Any] = {
            "retry": strategy,
            "stop": tenacity.stop_after_attempt(3),
            "wait": Backoff(initial=0, maximum=0),
            "reraise": True,
        }
        with pytest.raises(type(error())):
            if asynchronous:
                asyncio.run(tenacity.AsyncRetrying(**limits)(connect_async))
            else:
                tenacity.Retrying(**limits)(connect)
        assert calls == (3 if retried else 1)


def test_ours_joined_with_a_coroutine_strategy_work_in_plain_tenacity() -> None:
    """Only our own drivers need a decision that does not wait."""

    async def connect() -> None:
        raise KeyError

    strategy = retry_if_refused() | tenacity.asyncio.retry_if_exception(judged_later)
    retrying = tenacity.AsyncRetrying(retry=strategy, stop=tenacity.stop_after_attempt(3), reraise=True)
    with pytest.raises(KeyError):
        asyncio.run(retrying(connect))
    assert retrying.statistics["attempt_number"] == 3


def test_a_result_is_success_for_ours() -> None:
    state = State(tenacity.Retrying(), None, (), {})
    state.set_result(ConnectionRefusedError())
    assert not retry_if_refused()(state)
    assert not retry_if_refused()(State(tenacity.Retrying(), None, (), {}))


def test_the_log_hook_works_in_plain_tenacity(caplog: pytest.LogCaptureFixture) -> None:
    """One record a pause, on the logger it was given."""
    logger = logging.getLogger("application")
    with caplog.at_level(logging.DEBUG, "application"), pytest.raises(ConnectionRefusedError):
        tenacity.Retrying(
            retry=retry_if_refused(),
            stop=tenacity.stop_after_attempt(3),
            before_sleep=log_before_sleep(logger),
            reraise=True,
        )(lambda: (_ for _ in ()).throw(ConnectionRefusedError(111, "Connection refused")))
    assert [record.name for record in caplog.records] == ["application", "application"]
    assert "Connection refused" in caplog.messages[0]


# `policy.retrying()`.


class Time(SimpleNamespace):
    """Time for tenacity, which asks `time.monotonic()` by that name."""

    now: float = 0.0
    naps: list[float]

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(float(seconds))
        self.now += seconds


def refuse() -> None:
    raise ConnectionRefusedError(111, "Connection refused")


def naps_of_tenacity(policy: Policy) -> list[float]:
    time = Time(naps=[])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tenacity, "time", time)
        with pytest.raises(ConnectionRefusedError):
            policy.retrying().copy(sleep=time.sleep)(refuse)
    return time.naps


@settings(deadline=None, max_examples=30, database=None)
@given(
    st.integers(1, 12),
    st.none() | st.floats(0.01, 20),
    st.floats(0.001, 10),
    st.floats(1, 4),
    st.sampled_from([None, tenacity.stop_after_attempt(3), tenacity.stop_after_delay(2), plain]),
)
# 1.4 + (14.7 - 1.4) is less than 14.7 here, by one bit: no reason for one more attempt.
@example(attempts=5, deadline=14.690053630331791, initial=1.3954423932542213, factor=3.1484375, stop=None)
def test_a_retrying_takes_the_same_pauses_as_our_driver(
    attempts: int, deadline: float | None, initial: float, factor: float, stop: Any
) -> None:
    """And so makes as many attempts."""
    backoff = Backoff(initial=initial, maximum=10, factor=factor, jitter="none")
    policy = Policy(attempts=attempts, deadline=deadline, backoff=backoff, stop=stop, observers=())
    with fake_clock() as clock, contextlib.suppress(ConnectionRefusedError):
        retry_on_refused(policy=policy)(refuse)()
    assert naps_of_tenacity(policy) == clock.sleeps


@pytest.mark.parametrize(
    "strategy",
    [
        retry_if_refused(),
        tenacity.retry_if_exception_type(OSError),
        plain,
        tenacity.retry_any(plain),
        lambda state: True,
    ],
    ids=["ours", "theirs", "function", "any of functions", "lambda"],
)
def test_a_retrying_takes_every_strategy_that_a_policy_takes(strategy: Any) -> None:
    """Also a plain function, which cannot be joined by `&` in tenacity 9.0."""
    assert len(naps_of_tenacity(Policy(attempts=3, retry=strategy, observers=()))) == 2


def test_a_retrying_raises_the_clients_own_error() -> None:
    error = ConnectionRefusedError(111, "Connection refused")

    def connect() -> None:
        raise error

    retrying = Policy(attempts=2, backoff=tenacity.wait_none(), observers=()).retrying()
    with pytest.raises(ConnectionRefusedError) as caught:
        retrying(connect)
    assert caught.value is error
    assert retrying.statistics["attempt_number"] == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit, ValueError])
@pytest.mark.parametrize("strategy", [tenacity.retry_always, plain, tenacity.retry_if_exception_type(BaseException)])
def test_a_retrying_never_retries_an_interrupt(error: type[BaseException], strategy: Any) -> None:
    """Whatever the strategy says; an ordinary error it does retry."""
    calls = 0

    def connect() -> None:
        nonlocal calls
        calls += 1
        raise error

    with pytest.raises(error):
        Policy(attempts=3, retry=strategy, backoff=tenacity.wait_none(), observers=()).retrying()(connect)
    assert calls == (3 if error is ValueError else 1)


def test_a_retrying_tells_the_observers() -> None:
    events: list[resilient.Event] = []
    policy = Policy(attempts=3, backoff=tenacity.wait_none(), observers=(events.append,), name="db")
    with pytest.raises(ConnectionRefusedError):
        policy.retrying()(refuse)
    assert [(type(event).__name__, event.attempt, event.policy) for event in events] == [
        ("RetryScheduled", 1, "db"),
        ("RetryScheduled", 2, "db"),
    ]


def test_a_retrying_survives_an_observer_that_raises() -> None:
    def fail(event: resilient.Event) -> None:
        raise RuntimeError

    with pytest.raises(ConnectionRefusedError):
        Policy(attempts=3, backoff=tenacity.wait_none(), observers=(fail,)).retrying()(refuse)
