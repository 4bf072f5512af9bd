"""One failing call, where the drivers' tests do not look: its parts by themselves."""

from __future__ import annotations

import concurrent.futures
import copy
import errno
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import tenacity
from drivers import AT_ONCE, QUIET, Client, Driver, notes_of, refusal

from resilient import (
    Backoff,
    CircuitBreaker,
    CircuitBreakers,
    Endpoint,
    Policy,
    retry_if_refused,
    retry_on_refused,
    signatures,
)
from resilient import _recovery as room
from resilient._recovery import Plan, Recovery
from resilient._recovery._engine import Engine, Failure, engine_of
from resilient._recovery._recovery import HEADROOM
from resilient.testing import FakeClock


def test_what_the_room_names_is_there() -> None:
    assert all(hasattr(room, name) for name in room.__all__)


# The failure that strategies see.


def test_a_failure_is_a_future_that_has_failed() -> None:
    error = refusal()
    failure = Failure(3, error)
    assert failure.attempt_number == 3
    assert failure.failed is True
    assert failure.exception() is error
    assert failure.exception(0) is error
    with pytest.raises(ConnectionRefusedError) as caught:
        failure.result()
    assert caught.value is error
    assert isinstance(failure, tenacity.Future)


def test_a_failure_becomes_a_whole_future_for_whoever_asks_for_more() -> None:
    """It is one for `concurrent.futures`, too."""
    error, called = refusal(), []
    failure = Failure(3, error)
    assert "_condition" not in vars(failure)
    assert failure.done() is True
    assert failure.running() is False
    assert failure.cancelled() is False
    failure.add_done_callback(called.append)
    assert called == [failure]
    assert concurrent.futures.wait([failure]).done == {failure}
    assert (failure.attempt_number, failure.exception()) == (3, error)


@pytest.mark.parametrize("name", ["unheard_of", "__wrapped__", "__deepcopy__"])
def test_a_failure_has_no_attributes_of_its_own_making(name: str) -> None:
    failure = Failure(1, refusal())
    with pytest.raises(AttributeError, match=name):
        getattr(failure, name)
    assert ("_condition" in vars(failure)) is not name.startswith("__")
    with pytest.raises(AttributeError, match=name):
        getattr(failure, name)


def test_a_failure_that_is_not_made_yet_has_no_attributes() -> None:
    """As `copy` and `pickle` meet one."""
    with pytest.raises(AttributeError, match="done_at"):
        _ = Failure.__new__(Failure).done_at
    error = refusal()
    assert copy.copy(Failure(2, error)).exception() is error


# tenacity's engine.


def test_an_engine_decides_as_the_policy_says() -> None:
    engine = engine_of(Policy(attempts=2, backoff=Backoff(initial=0.5, maximum=0.5, jitter="none"), observers=()))
    state = tenacity.RetryCallState(engine, None, (), {})
    engine.begin()
    state.outcome = Failure(1, refusal())
    state.outcome_timestamp = state.start_time
    assert engine.iter(state) == 0.5
    state.outcome = Failure(2, refusal())
    state.attempt_number = 2
    engine.iter_state.reset()
    assert engine.iter(state) is None


def test_engines_of_one_policy_share_nothing_that_a_call_changes() -> None:
    first = engine_of(QUIET)
    second = first.copy()
    assert isinstance(second, Engine)
    first.begin()
    second.begin()
    assert first.iter_state is not second.iter_state
    assert first.statistics is not second.statistics
    assert first.statistics["attempt_number"] == 1
    first.statistics["attempt_number"] = 5
    first.begin()
    assert first.statistics["attempt_number"] == 1


# What is known before the call.


def plan_of(policy: Policy = QUIET, **settings: Any) -> Plan:
    return Plan(
        policy,
        settings.get("call", "connect"),
        settings.get("target"),
        settings.get("cancellation"),
        settings.get("breaker"),
    )


@pytest.fixture
def breaker() -> Iterator[CircuitBreaker]:
    return CircuitBreaker("db", observers=())


def test_a_plan_has_the_endpoint_or_whom_to_ask() -> None:
    endpoint = Endpoint.parse("db:5432")
    for target in ("db:5432", endpoint):
        plan = plan_of(target=target)
        assert (plan.endpoint, plan.find_target) == (endpoint, None)
        assert plan.ask_for_target((), {}) == endpoint

    def ask(host: str, *, port: int) -> str:
        return f"{host}:{port}"

    plan = plan_of(target=ask)
    assert (plan.endpoint, plan.find_target) == (None, ask)
    assert plan.ask_for_target(("db",), {"port": 5432}) == endpoint
    assert plan_of().ask_for_target((), {}) is None


def test_a_plan_has_nothing_that_was_not_given() -> None:
    plan = Plan(QUIET, "connect", None, None)
    assert (plan.endpoint, plan.find_target, plan.cancellation, plan.breaker, plan.breakers) == (None,) * 5
    assert (plan.policy, plan.call, plan.multiplies, plan.warned, plan.gives_coroutines) == (
        (QUIET, "connect") + (False,) * 3
    )


def test_a_plan_loads_what_a_failure_would_have_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has no descriptor left can open no file: the signatures of its clients, and IPv6 addresses."""
    monkeypatch.setitem(sys.modules, "redis", ModuleType("redis"))
    monkeypatch.delitem(signatures._loaded, "redis", raising=False)
    monkeypatch.delitem(sys.modules, "ipaddress", raising=False)
    plan_of(target="db:5432")
    assert "ipaddress" not in sys.modules
    plan_of(target=lambda: "[::1]:5432")
    assert "ipaddress" in sys.modules
    assert "redis" in signatures._loaded


def test_a_plan_is_made_without_a_descriptor_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(text: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Endpoint, "parse", parse)
    assert plan_of(target=lambda: "db:5432").find_target is not None


def test_a_plan_knows_its_call_by_a_name_without_control_characters() -> None:
    assert plan_of(call="connect\nERROR forged").call == "connect\\nERROR forged"


def test_a_plan_has_one_breaker_or_one_for_each_endpoint(breaker: CircuitBreaker) -> None:
    breakers = CircuitBreakers(observers=())
    assert (plan_of().breaker, plan_of().breakers, plan_of().breaker_for((), {})) == (None, None, None)
    one = plan_of(breaker=breaker)
    assert (one.breaker, one.breakers, one.breaker_for((), {})) == (breaker, None, breaker)
    many = plan_of(breaker=breakers, target=lambda host: host)
    assert (many.breaker, many.breakers) == (None, breakers)
    assert many.breaker_for(("db:5432",), {}) is breakers[Endpoint.parse("db:5432")]


def test_a_plan_shows_that_calls_go_elsewhere_once_in_ten_seconds() -> None:
    """And not ten seconds after the last that was kept quiet."""
    plan = plan_of(target="db:5432")
    assert [now for now in (0.0, 5.0, 9.9, 10.0, 15.0, 20.0, 29.0, 30.5, 40.0, 40.5) if plan.beats(now)] == [
        0.0,
        10.0,
        20.0,
        30.5,
        40.5,
    ]


def test_a_target_that_cannot_be_found_has_no_breaker(caplog: pytest.LogCaptureFixture) -> None:

    def where() -> str:
        return {}["host"]  # type: ignore[no-any-return]

    plan = plan_of(breaker=CircuitBreakers(observers=()), target=where)
    assert plan.breaker_for((), {}) is None
    assert [record.getMessage().partition(" (")[0].partition("<locals>.")[2] for record in caplog.records] == [
        "where failed on target= and is ignored"
    ]
    assert "KeyError" in caplog.text


def test_the_plan_of_a_method_asks_without_the_object(breaker: CircuitBreaker) -> None:
    breakers = CircuitBreakers(observers=())
    for given in (None, breaker, breakers):
        plan = plan_of(target=lambda host, *, port: f"{host}:{port}", breaker=given, call="Client.connect")
        bound = plan.without_self()
        assert bound.ask_for_target((object(), "db"), {"port": 5432}) == Endpoint.parse("db:5432")
        assert (bound.call, bound.policy) == ("Client.connect", QUIET)
        assert (bound.breaker, bound.breakers) == (plan.breaker, plan.breakers)
    fixed = plan_of(target="db:5432")
    assert fixed.without_self() is fixed


class OwnStrategy(tenacity.retry_base):
    """Somebody's own, with a field of that name."""

    retries = 3

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return True


ANY_TEXT = tenacity.retry_if_exception_message(match=".*")


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (retry_if_refused(), False),
        (retry_if_refused(exhausted=True), True),
        (retry_if_refused() | retry_if_refused(exhausted=True), True),
        (retry_if_refused() & retry_if_refused(exhausted=True), False),
        (ANY_TEXT & (ANY_TEXT | (ANY_TEXT & retry_if_refused(exhausted=True))), True),
        (ANY_TEXT & (ANY_TEXT | (ANY_TEXT & retry_if_refused())), False),
        (retry_if_refused() | retry_if_refused(), False),
        (tenacity.retry_if_exception_type(OSError), False),
        (OwnStrategy(), False),
        (tenacity.retry_if_exception_type(OSError) | retry_if_refused(exhausted=True), True),
    ],
)
def test_a_plan_knows_who_opted_in_to_multiplied_retries(retry: Any, expected: bool) -> None:
    assert plan_of(Policy(retry=retry)).multiplies is expected


# One failing call.


def recovery_of(policy: Policy, clock: FakeClock, **settings: Any) -> Recovery:
    return Recovery(plan_of(policy, **settings), clock.now(), settings.get("args", ()), {})


def failed(recovery: Recovery, error: Exception) -> float | None:
    try:
        raise error
    except Exception:
        return recovery.failed(error)


def test_strategies_see_the_arguments_of_the_call_and_no_function(fake_clock: FakeClock) -> None:
    """What a strategy could call is not in its hands."""
    seen: list[Any] = []

    def look(state: tenacity.RetryCallState) -> bool:
        seen.append((state.fn, state.args, state.kwargs, state.attempt_number))
        return False

    assert failed(recovery_of(QUIET.replace(retry=look), fake_clock, args=("db",)), refusal()) is None
    assert seen == [(None, ("db",), {}, 1)]


def test_strategies_see_the_statistics_of_one_call(fake_clock: FakeClock) -> None:
    """As tenacity keeps them, from its first failure to its last."""
    seen: list[Any] = []

    def look(state: tenacity.RetryCallState) -> float:
        statistics = state.retry_object.statistics
        seen.append((statistics["attempt_number"], statistics["idle_for"], state.idle_for))
        return 1.5

    for _ in range(2):
        recovery = recovery_of(QUIET.replace(backoff=look), fake_clock)
        for _ in range(3):
            assert failed(recovery, refusal()) == 1.5
            assert recovery.woken() is None
    assert seen == [(1, 0, 0), (2, 1.5, 1.5), (3, 3, 3)] * 2


def test_a_stop_strategy_sees_the_last_error_on_waking_as_well(fake_clock: FakeClock) -> None:
    seen: list[Any] = []
    recovery = recovery_of(QUIET.replace(stop=lambda state: seen.append(state.outcome.exception())), fake_clock)  # type: ignore[arg-type, return-value, union-attr]
    error = refusal()
    assert failed(recovery, error) == 0
    assert recovery.woken() is None
    assert seen == [error, error]


def test_every_ten_seconds_a_quiet_log_shows_that_the_call_still_waits(fake_clock: FakeClock) -> None:
    """The first retry, and then the first one after ten seconds or more."""
    told: list[Any] = []
    policy = Policy(attempts=7, backoff=Backoff(initial=5, maximum=5, jitter="none"), observers=(told.append,))
    recovery = recovery_of(policy, fake_clock)
    for _ in range(6):
        assert failed(recovery, refusal()) == 5
        fake_clock.advance(5)
        assert recovery.woken() is None
    assert [event.heartbeat for event in told] == [True, False, True, False, True, False]


def test_an_attempt_for_the_deadline_is_the_last_also_where_its_pause_ends_a_little_early(
    fake_clock: FakeClock,
) -> None:
    """As timers do whose clock is another one."""
    told: list[Any] = []
    policy = Policy(deadline=5, backoff=Backoff(initial=10, maximum=10, jitter="none"), observers=(told.append,))
    recovery = recovery_of(policy, fake_clock)
    fake_clock.advance(2)
    assert failed(recovery, refusal()) == 3
    fake_clock.advance(2.999)
    assert recovery.woken() is None
    assert failed(recovery, refusal()) is None
    assert (told[-1].attempt, told[-1].reason) == (2, "deadline 5 s")


def test_a_target_that_was_the_key_of_a_breaker_is_asked_once() -> None:
    """For all the attempts of a call."""
    asked: list[str] = []
    told: list[Any] = []

    def ask(host: str) -> str:
        asked.append(host)
        return host

    def connect(host: str) -> None:
        raise refusal()

    policy = QUIET.replace(attempts=3, observers=(told.append,))
    protected = retry_on_refused(policy=policy, target=ask, breaker=CircuitBreakers(observers=()))(connect)
    with pytest.raises(ConnectionRefusedError):
        protected("db:5432")
    assert asked == ["db:5432"]
    assert [event.target for event in told] == [Endpoint.parse("db:5432")] * 3


def test_a_call_whose_breaker_cannot_be_found_is_retried_without_one() -> None:
    client = Client(refusal(), refusal())

    def ask() -> str:
        raise LookupError

    protected = retry_on_refused(policy=QUIET, target=ask, breaker=CircuitBreakers(observers=()))(lambda: client())
    assert protected() == "connected"
    assert client.calls == 3


@pytest.mark.parametrize(("name", "shown"), [(None, "of"), ("outer", "outer of"), ("a\nb", "a\\nb of")])
def test_a_policy_is_named_with_its_call(
    name: str | None, shown: str, fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it has no effect, and where it fails."""

    @retry_on_refused(policy=QUIET.replace(attempts=1, name="inner"))
    def inner() -> None:
        fake_clock.advance(1)
        raise refusal()

    @retry_on_refused(policy=QUIET.replace(name=name))
    def outer() -> None:
        fake_clock.advance(1)
        inner()

    @retry_on_refused(policy=QUIET.replace(name=name, retry=lambda state: 1 // 0))  # type: ignore[arg-type, return-value]
    def broken() -> None:
        raise refusal()

    for function in (outer, broken):
        with pytest.raises(ConnectionRefusedError):
            function()
    place = test_a_policy_is_named_with_its_call.__qualname__ + ".<locals>."
    said = [record.getMessage().replace(place, "") for record in caplog.records]
    assert said[0] == f"policy {shown} outer has no effect: policy inner of inner retries inside"
    assert said[1].startswith(
        f"policy {shown} broken failed on ConnectionRefusedError and is ignored (ZeroDivisionError"
    )


class Awaitable:
    """True, as every awaitable is."""

    def __await__(self) -> Iterator[None]:
        yield


def test_a_strategy_that_gives_an_awaitable_retries_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A plain function that returns one is not found out before."""
    client = Client(refusal())
    protected = retry_on_refused(policy=QUIET.replace(retry=lambda state: Awaitable()))(lambda: client())  # type: ignore[arg-type, return-value]
    with pytest.raises(ConnectionRefusedError):
        protected()
    assert client.calls == 1
    assert "PolicyError: the retry strategy gave an awaitable, and a decision never waits" in caplog.text


def test_a_strategy_may_answer_with_whatever_is_true() -> None:
    """As functions do that return what they found."""
    client = Client(refusal())
    assert retry_on_refused(client, policy=QUIET.replace(retry=lambda state: "found"))() == "connected"  # type: ignore[arg-type, return-value]
    assert client.calls == 2


def test_a_call_that_has_left_is_over(fake_clock: FakeClock) -> None:
    recovery = recovery_of(QUIET, fake_clock)
    assert failed(recovery, refusal()) == 0
    assert not recovery.over
    recovery.leave()
    assert recovery.over is True


def test_a_stop_strategy_that_fails_on_waking_ends_the_call_and_is_named(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resilient.logs._complaints", set())
    told: list[Any] = []
    asked: list[float] = []

    def stop(state: tenacity.RetryCallState) -> bool:
        asked.append(state.upcoming_sleep)
        return len(asked) > 1 and bool(1 // 0)

    recovery = recovery_of(QUIET.replace(stop=stop, observers=(told.append,)), fake_clock)
    error = refusal()
    assert failed(recovery, error) == 0
    assert recovery.woken() is None
    assert recovery.over
    assert told[-1].reason == "the policy failed with ZeroDivisionError"
    (said,) = caplog.messages
    assert said.startswith("policy of connect failed on ConnectionRefusedError and is ignored (ZeroDivisionError")
    with pytest.raises(ConnectionRefusedError) as caught:
        recovery.reraise()
    assert caught.value is error


def test_a_call_whose_error_flies_is_over(fake_clock: FakeClock) -> None:
    """Whoever drives it; and so is one that succeeded."""
    recovery = recovery_of(QUIET, fake_clock)
    assert failed(recovery, ValueError()) is None
    assert recovery.over is True
    recovery = recovery_of(QUIET, fake_clock)
    recovery.succeeded()
    assert recovery.over is True


def test_a_stop_strategy_that_ends_a_call_without_a_deadline_is_named(fake_clock: FakeClock) -> None:
    told: list[Any] = []
    policy = QUIET.replace(deadline=None, stop=tenacity.stop_after_delay(5), observers=(told.append,))
    recovery = recovery_of(policy, fake_clock)
    fake_clock.advance(5)
    assert failed(recovery, refusal()) is None
    assert [event.reason for event in told] == ["stop strategy stop_after_delay"]


@pytest.mark.parametrize(
    ("settings", "seconds", "reason"),
    [
        ({"attempts": 5, "deadline": 1}, 1, "deadline 1 s"),
        ({"attempts": 1, "deadline": 1}, 1, "limit 1 attempt"),
        ({"attempts": 5, "deadline": 1, "stop": tenacity.stop_after_attempt(1)}, 0, "stop strategy stop_after_attempt"),
    ],
)
def test_of_several_limits_the_one_that_was_reached_is_named(
    settings: dict[str, Any], seconds: float, reason: str, fake_clock: FakeClock
) -> None:
    told: list[Any] = []
    recovery = recovery_of(QUIET.replace(observers=(told.append,), **settings), fake_clock)
    fake_clock.advance(seconds)
    assert failed(recovery, refusal()) is None
    assert [event.reason for event in told] == [reason]


def test_a_strategy_that_fails_ends_the_call_and_is_named(fake_clock: FakeClock) -> None:
    told: list[Any] = []
    policy = QUIET.replace(stop=lambda state: bool(1 // 0), observers=(told.append,))
    assert failed(recovery_of(policy, fake_clock), refusal()) is None
    assert [event.reason for event in told] == ["the policy failed with ZeroDivisionError"]


def nearly_full(left: int, call: Callable[[], Any]) -> Any:
    """Call something where the stack has room for so many frames more, or a few less."""
    depth, frame = 0, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back

    def dive(frames: int) -> Any:
        return dive(frames - 1) if frames else call()

    return dive(sys.getrecursionlimit() - depth - left)


@pytest.mark.parametrize("driver", [Driver("sync", "function"), Driver("sync", "block")], ids=str)
def test_where_the_stack_is_nearly_full_a_call_is_retried_or_its_error_flies_as_it_is(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no half of a decision: no complaint, no note, no attempt that cannot end. Room is kept for all of it."""
    ends: set[Any] = set()
    retried: list[int] = []
    for left in range(150):
        client = Client(refusal())
        protected = driver.protect(client, policy=Policy(backoff=AT_ONCE))
        try:
            ends.add(nearly_full(left, protected))
            retried.append(left)
        except ConnectionRefusedError as error:
            ends.add(("refused", error is client.raised, client.calls, len(notes_of(error))))
        except RecursionError:
            ends.add(("not called", client.raised is None))
    assert ends == {"connected", ("refused", True, 1, 0), ("not called", True)}
    assert min(retried) >= HEADROOM
    assert [record.getMessage() for record in caplog.records if "ignored" in record.getMessage()] == []
