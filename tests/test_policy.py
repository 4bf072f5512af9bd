"""What a policy takes, refuses, promises and is worth; and that its `schedule` is what a call does."""

from __future__ import annotations

import base64
import contextlib
import copy
import dataclasses
import math
import pickle
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
import tenacity
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient import (
    Backoff,
    Event,
    Policy,
    PolicyError,
    log_events,
    retry_if_not_ready,
    retry_if_refused,
    retry_if_unreachable,
    retry_if_unresolved,
    retry_on_refused,
)
from resilient.testing import fake_clock

PROFILE = settings(deadline=None, max_examples=60, database=None)


def ignore(event: Event) -> None:
    """An observer."""


async def observe_later(event: Event) -> None:
    """No observer: nobody would await it."""


class Later:
    async def __call__(self, event: Event) -> None:
        """No observer either."""


WRONG: list[tuple[str, Any]] = [
    *[("attempts", value) for value in (0, -1, True, False, 1.0, 3.5, "3", math.nan, math.inf, timedelta(1), [3])],
    *[("deadline", value) for value in (0, 0.0, -1, -0.0, True, "30s", math.nan, math.inf, -math.inf, 10**400, [1])],
    ("deadline", timedelta(0)),
    ("deadline", timedelta(seconds=-1)),
    *[("backoff", value) for value in (None, 1.0, "50ms..5s", timedelta(1), (0.1, 1.0), Backoff, tenacity.wait_none)],
    *[("retry", value) for value in (None, True, "refused", (OSError,), OSError, tenacity.retry_if_exception_type)],
    *[("stop", value) for value in (3, "3", True, tenacity.stop_after_attempt, timedelta(1))],
    *[("observers", value) for value in (None, 1, "log", b"log", ignore, (None,), ("log_events",), (ignore, 3))],
    *[("observers", (value,)) for value in (observe_later, Later())],
    *[("name", value) for value in ("", 1, True, b"db", ["db"])],
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda value: repr(value)[:40])
def test_a_wrong_field_is_refused_by_name(field: str, value: object) -> None:
    """At once, where it is given, and not at the first failure."""
    with pytest.raises(PolicyError, match=rf"Policy\.{field}\b"):
        Policy(**{field: value})  # type: ignore[arg-type]


SIMPLE = [pair for pair in WRONG if type(pair[1]) in (int, float, str) and pair[0] != "observers"]


@pytest.mark.parametrize(("field", "value"), [pair for pair in SIMPLE if pair[1] != 10**400])
def test_a_wrong_value_is_shown(field: str, value: Any) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(**{field: value})
    shown = str(caught.value)
    assert repr(value) in shown or repr(float(value)) in shown


def test_fields_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        Policy(3)  # type: ignore[call-arg]


def test_a_timedelta_is_seconds() -> None:
    policy = Policy(deadline=timedelta(minutes=1))
    assert policy == Policy(deadline=60)
    assert type(policy.deadline) is float


def test_observers_may_come_as_any_iterable() -> None:
    assert Policy(observers=iter([ignore])).observers == (ignore,)


def test_the_defaults_are_a_minute_of_refused_connects() -> None:
    policy = Policy()
    assert (policy.attempts, policy.deadline, policy.stop, policy.name) == (None, 60.0, None, None)
    assert policy.backoff == Backoff(initial=0.05, maximum=1.0, factor=2.0, jitter="equal")
    assert policy.retry == retry_if_refused()
    assert policy.observers == (log_events,)


def test_the_preset_for_startup() -> None:
    """A minute, a cap of one second, and everything that time may mend."""
    policy = Policy.startup()
    assert (policy.attempts, policy.deadline, policy.backoff) == (None, 60.0, Backoff(maximum=1.0))
    assert policy.retry == retry_if_not_ready() | retry_if_unresolved() | retry_if_unreachable()


def test_the_preset_for_a_request() -> None:
    policy = Policy.request()
    assert (policy.attempts, policy.deadline, policy.retry) == (3, 1.0, retry_if_refused())


def test_the_preset_for_background_work_has_no_limit_and_says_so() -> None:
    policy = Policy.background()
    assert (policy.attempts, policy.deadline, policy.stop) == (None, None, None)
    assert policy.backoff == Backoff(maximum=30.0)
    assert "no limit" in repr(policy)


@pytest.mark.parametrize(
    "policy", [Policy(), Policy(deadline=None, attempts=3), Policy(deadline=None, stop=tenacity.stop_after_delay(1))]
)
def test_a_limited_policy_does_not_say_that_it_has_no_limit(policy: Policy) -> None:
    assert "no limit" not in repr(policy)


def test_replace_changes_what_it_is_told_and_checks_it_anew() -> None:
    policy = Policy(name="db", attempts=3)
    assert policy.replace(attempts=5) == Policy(name="db", attempts=5)
    assert policy.attempts == 3
    with pytest.raises(PolicyError, match=r"Policy\.attempts"):
        policy.replace(attempts=0)
    with pytest.raises(PolicyError, match="tries"):
        policy.replace(tries=5)


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Policy().attempts = 3  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):  # TypeError: CPython's own, on a frozen class with slots
        Policy().extra = 3  # type: ignore[attr-defined]


VARIANTS: dict[str, Any] = {
    "attempts": 3,
    "deadline": 5.0,
    "backoff": Backoff(jitter="full"),
    "retry": retry_if_not_ready(exhausted=True),
    "stop": tenacity.stop_after_attempt(7),
    "observers": (ignore, log_events),
    "name": "db",
}


def test_every_field_has_a_variant_here() -> None:
    """So that the tests below miss none."""
    assert list(VARIANTS) == [field.name for field in dataclasses.fields(Policy)]


@pytest.mark.parametrize("field", VARIANTS)
def test_it_compares_and_hashes_by_every_field(field: str) -> None:
    """Equal values are one key of a dict, another value in any one field is another key."""
    one, twin, other = Policy(**VARIANTS), Policy(**VARIANTS), Policy(**VARIANTS).replace(**{field: vars_of()[field]})
    assert one == twin
    assert hash(one) == hash(twin)
    assert one != other
    assert len({one, twin, other}) == 2


def vars_of() -> dict[str, Any]:
    """The defaults, by name."""
    return {field.name: getattr(Policy(), field.name) for field in dataclasses.fields(Policy)}


def test_foreign_parts_compare_by_identity() -> None:
    """tenacity's strategies have no value of their own."""
    stop = tenacity.stop_after_attempt(3)
    assert Policy(stop=stop) == Policy(stop=stop)
    assert Policy(stop=stop) != Policy(stop=tenacity.stop_after_attempt(3))


def test_foreign_parts_that_cannot_be_hashed_hash_by_identity() -> None:
    """A dataclass of the application's own, say, which compares by value and therefore has no hash."""

    @dataclasses.dataclass
    class Pause:
        length: float

        def __call__(self, retry_state: tenacity.RetryCallState) -> float:
            return self.length

    policy = Policy(backoff=Pause(1.0))
    assert hash(policy) == hash(policy)
    assert policy != Policy(backoff=Pause(1.0))


def test_it_can_be_copied() -> None:
    policy = Policy(attempts=3, retry=retry_if_not_ready(), observers=(ignore,))
    assert copy.copy(policy) == policy
    assert copy.deepcopy(policy) == policy
    assert dataclasses.replace(policy, attempts=3) == policy


READER = """
import base64, pickle, sys
policy = pickle.loads(base64.b64decode(sys.stdin.read()))
print(policy.attempts, policy.deadline, policy.backoff, policy.retry, policy.stop.max_attempt_number)
print([observer.__name__ for observer in policy.observers], policy.name, hash(policy) == hash(policy.replace()))
"""


def test_a_pickled_policy_is_the_same_in_another_process() -> None:
    """All fields, a foreign part among them."""
    policy = Policy(**{**VARIANTS, "observers": (log_events,)})
    text = base64.b64encode(pickle.dumps(policy)).decode()
    read = subprocess.run(
        [sys.executable, "-c", READER], input=text, capture_output=True, text=True, check=True, timeout=60
    )
    assert read.stdout.splitlines() == [
        f"3 5.0 {policy.backoff} {policy.retry} 7",
        "['log_events'] db True",
    ]


def test_a_pickled_policy_of_our_own_parts_is_equal() -> None:
    for policy in (Policy(), Policy.startup(), Policy.request(), Policy.background()):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            twin = pickle.loads(pickle.dumps(policy, protocol))
            assert twin == policy
            assert hash(twin) == hash(policy)


# The schedule.


@st.composite
def policies(draw: st.DrawFn, jitters: tuple[str, ...] = ("none", "full", "equal", "decorrelated")) -> Policy:
    """Policies of our own parts whose calls end after at most a few hundred attempts."""
    initial, maximum = sorted((draw(st.floats(0.001, 100)), draw(st.floats(0.001, 100))))
    attempts, deadline = draw(st.none() | st.integers(1, 12)), draw(st.none() | st.floats(0.01, 20))
    return Policy(
        attempts=12 if attempts is None and (deadline is None or initial < deadline / 100) else attempts,
        deadline=deadline,
        backoff=Backoff(
            initial=initial,
            maximum=maximum,
            factor=draw(st.floats(1, 10)),
            jitter=draw(st.sampled_from(jitters)),
        ),
        observers=(),
    )


def pauses_of_a_call(policy: Policy) -> list[float]:
    """What a call that is always refused really sleeps."""

    @retry_on_refused(policy=policy)
    def connect() -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    with fake_clock() as clock, contextlib.suppress(ConnectionRefusedError):
        connect()
    return clock.sleeps


@PROFILE
@given(policies(jitters=("none",)))
def test_the_schedule_is_what_a_call_takes(policy: Policy) -> None:
    """Without jitter, to the last bit."""
    assert policy.schedule(1000) == pauses_of_a_call(policy)


@PROFILE
@given(policies(), st.integers(0, 1000))
def test_a_schedule_ends_at_the_limits(policy: Policy, seed: int) -> None:
    """It never passes the deadline, and ends there exactly where the attempts do not end it first."""
    delays = policy.schedule(10_000, seed=seed)
    attempts = len(delays) + 1
    assert policy.attempts is None or attempts <= policy.attempts
    if policy.deadline is not None:
        assert math.fsum(delays) <= policy.deadline * (1 + 1e-12)
        if policy.attempts is None or attempts < policy.attempts:
            assert math.fsum(delays) == pytest.approx(policy.deadline)
    else:
        assert attempts == policy.attempts


@PROFILE
@given(policies(), st.integers(0, 30), st.integers(0, 1000))
def test_a_seed_makes_the_schedule_repeatable(policy: Policy, n: int, seed: int) -> None:
    delays = policy.schedule(n, seed=seed)
    assert delays == policy.schedule(n, seed=seed)
    assert delays == policy.schedule(10_000, seed=seed)[:n]
    assert len(delays) <= n


def test_without_a_seed_two_schedules_differ() -> None:
    assert Policy().schedule(20) != Policy().schedule(20)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(attempts=1), []),
        (Policy(attempts=3, backoff=Backoff(jitter="none")), [0.05, 0.1]),
        (Policy(deadline=1, backoff=tenacity.wait_fixed(0.25)), [0.25, 0.25, 0.25, 0.25]),
        (Policy(deadline=1, backoff=tenacity.wait_fixed(0.375)), [0.375, 0.375, 0.25]),
        (Policy(deadline=1, backoff=lambda state: timedelta(seconds=0.5)), [0.5, 0.5]),  # type: ignore[arg-type,return-value]
        (Policy(stop=tenacity.stop_after_attempt(2), backoff=tenacity.wait_fixed(1)), [1]),
        (Policy(stop=tenacity.stop_after_delay(2), backoff=tenacity.wait_fixed(1)), [1, 1]),
        (Policy(stop=tenacity.stop_before_delay(2), backoff=tenacity.wait_fixed(1)), [1]),
        (Policy(deadline=None, attempts=4, backoff=tenacity.wait_none()), [0, 0, 0]),
    ],
    ids=["once", "attempts", "to the deadline", "shortened", "timedelta", "stop", "stop after", "stop before", "none"],
)
def test_the_schedule_of(policy: Policy, expected: list[float]) -> None:
    """And a call takes the same."""
    assert policy.schedule(100) == expected
    assert pauses_of_a_call(policy.replace(observers=())) == expected


@pytest.mark.parametrize("n", [-1, True, 1.0, "3", None])
def test_a_schedule_has_a_whole_number_of_delays(n: Any) -> None:
    with pytest.raises(PolicyError):
        Policy().schedule(n)


def test_a_schedule_of_nothing_is_empty() -> None:
    assert Policy().schedule(0) == []
