"""How long to wait: every bound that `Backoff` promises, for every legal field."""

from __future__ import annotations

import copy
import math
import pickle
import random
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
import tenacity
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient import Backoff, PolicyError, retry_if_refused

JITTERS = ("none", "full", "equal", "decorrelated")
TINY, HUGE = 5e-324, 1e308
NEXT_ABOVE_ONE = 1 + 2**-52
ALMOST_ONE = 1 - 2**-53
FAR = 10**9

PROFILE = settings(deadline=None, max_examples=60, database=None)

positive = st.floats(TINY, HUGE) | st.sampled_from([TINY, 2.2250738585072014e-308, 0.05, 1.0, HUGE])
factors = st.floats(1.0, HUGE) | st.sampled_from([1.0, NEXT_ABOVE_ONE, 2.0, HUGE])
retries = st.integers(1, 40) | st.integers(1, FAR) | st.sampled_from([1, 2, 1023, 1024, 1025, 1075, FAR])
chances = st.floats(0, ALMOST_ONE) | st.sampled_from([0.0, 0.5, ALMOST_ONE])

jitters = st.sampled_from(JITTERS)


@st.composite
def backoffs(draw: st.DrawFn, jitter: st.SearchStrategy[str] = jitters) -> Backoff:
    initial, maximum = sorted((draw(positive), draw(positive)))
    if draw(st.integers(0, 19)) == 0:
        initial = maximum = 0.0
    return Backoff(initial=initial, maximum=maximum, factor=draw(factors), jitter=draw(jitter))  # type: ignore[arg-type]


def always(chance: float) -> Callable[[], float]:
    return lambda: chance


def exact_high(backoff: Backoff, retry: int) -> Fraction:
    """The formula of the design, without rounding and without overflow."""
    grown = Fraction(backoff.initial) * Fraction(backoff.factor) ** (retry - 1)
    return min(Fraction(backoff.maximum), grown)


def close(value: float, exact: Fraction) -> bool:
    """Equal but for the rounding of a power, or for the last bits of the smallest numbers there are."""
    return abs(Fraction(value) - exact) <= max(exact / 10**9, 4 * Fraction(TINY))


@PROFILE
@given(backoffs(), retries, positive | st.just(0.0), chances)
@example(Backoff(initial=TINY, maximum=HUGE, factor=HUGE), FAR, HUGE, ALMOST_ONE)
@example(Backoff(initial=HUGE, maximum=HUGE, factor=HUGE, jitter="decorrelated"), FAR, HUGE, ALMOST_ONE)
@example(Backoff(initial=1.0, maximum=HUGE, factor=NEXT_ABOVE_ONE, jitter="none"), FAR, 0.0, 0.0)
@example(Backoff(initial=TINY, maximum=TINY, factor=1.0, jitter="equal"), 1, 0.0, ALMOST_ONE)
@example(Backoff(initial=0, maximum=0, factor=HUGE, jitter="decorrelated"), FAR, 0.0, ALMOST_ONE)
def test_a_delay_is_a_number_between_zero_and_the_maximum(
    backoff: Backoff, retry: int, previous: float, chance: float
) -> None:
    """Whatever the fields, the retry and the luck."""
    delay = backoff.delay(retry, min(previous, backoff.maximum), always(chance))
    assert isinstance(delay, float)
    assert 0 <= delay <= backoff.maximum


@PROFILE
@given(backoffs(), retries, retries)
def test_high_never_decreases(backoff: Backoff, one: int, other: int) -> None:
    """A later retry never has a lower bound that an earlier one had not."""
    early, late = sorted((one, other))
    assert 0 <= backoff.high(early) <= backoff.high(late) <= backoff.maximum


@PROFILE
@given(backoffs(), st.integers(1, 60))
@example(Backoff(initial=TINY, maximum=HUGE, factor=HUGE), 3)
@example(Backoff(initial=1e-300, maximum=1e300), 1026)
def test_high_is_the_formula(backoff: Backoff, retry: int) -> None:
    """min(maximum, initial * factor ** (n - 1)), also where the power alone is beyond any float."""
    assert close(backoff.high(retry), exact_high(backoff, retry))


@PROFILE
@given(backoffs(), st.integers(1, 40), st.fractions(0, 1), chances)
def test_a_delay_is_the_formula_of_its_jitter(backoff: Backoff, retry: int, portion: Fraction, chance: float) -> None:
    """Each of the four formulas, against exact arithmetic."""
    high, luck = Fraction(backoff.high(retry)), Fraction(chance)
    low, maximum = Fraction(backoff.initial), Fraction(backoff.maximum)
    previous = float(low + portion * (maximum - low))
    top = min(maximum, 3 * Fraction(previous))
    expected = {
        "none": high,
        "full": high * luck,
        "equal": high / 2 + high / 2 * luck,
        "decorrelated": low + (max(low, top) - low) * luck,
    }
    assert close(backoff.delay(retry, previous, always(chance)), expected[backoff.jitter])


@PROFILE
@given(backoffs(st.just("decorrelated")), st.lists(chances, min_size=1, max_size=30))
def test_decorrelated_delays_stay_between_initial_and_three_times_the_previous(
    backoff: Backoff, luck: list[float]
) -> None:
    """A walk: each delay is handed to the next, the first of them counts from `initial`."""
    previous = 0.0
    for retry, chance in enumerate(luck, start=1):
        delay = backoff.delay(retry, previous, always(chance))
        assert backoff.initial <= delay <= min(backoff.maximum, 3 * max(previous, backoff.initial))
        previous = delay


@pytest.mark.parametrize(
    ("jitter", "low"), [("full", 0.0), ("equal", 0.5), ("decorrelated", 0.05)], ids=["full", "equal", "decorrelated"]
)
def test_at_the_maximum_delays_use_their_whole_range(jitter: Any, low: float) -> None:
    """A thousand clients after many failures do not all come back at the same moment."""
    backoff = Backoff(initial=0.05, maximum=1.0, jitter=jitter)
    delays = [backoff.delay(FAR, 1.0) for _ in range(2000)]
    tenths = {int((delay - low) / (1.0 - low) * 10) for delay in delays}
    assert tenths == set(range(10))
    assert len(set(delays)) > 1900


@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated"])
def test_seeding_the_random_module_does_not_put_clients_in_step(jitter: Any) -> None:
    """Workers that fork after `random.seed(0)` wait differently all the same."""
    backoff = Backoff(jitter=jitter)

    def walk() -> list[float]:
        random.seed(0)
        return [backoff.delay(retry, 0.5) for retry in range(3, 10)]

    assert walk() != walk()


def test_no_jitter_needs_no_luck() -> None:
    def forbidden() -> float:
        raise AssertionError

    assert Backoff(jitter="none").delay(3, 0.0, forbidden) == 0.2


def test_the_delays_of_a_minute_without_jitter() -> None:
    """The defaults double from 50 ms to a second."""
    backoff = Backoff(jitter="none")
    assert [backoff.delay(retry) for retry in range(1, 8)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_no_wait_at_all_is_legal() -> None:
    for jitter in JITTERS:
        backoff = Backoff(initial=0, maximum=0, jitter=jitter)  # type: ignore[arg-type]
        assert [backoff.delay(retry) for retry in (1, 2, FAR)] == [0, 0, 0]


def test_a_timedelta_is_seconds() -> None:
    given_as_timedelta = Backoff(initial=timedelta(milliseconds=50), maximum=timedelta(seconds=5))
    assert given_as_timedelta == Backoff(initial=0.05, maximum=5)
    assert type(given_as_timedelta.maximum) is float


NOT_FINITE = [math.nan, math.inf, -math.inf, 10**400]
NOT_NUMBERS = [True, False, "3", None, 1j, [1], b"1"]
WRONG: list[tuple[dict[str, Any], str, Any]] = [
    *[({field: value}, field, value) for field in ("initial", "maximum", "factor") for value in NOT_FINITE],
    *[({field: value}, field, value) for field in ("initial", "maximum", "factor") for value in NOT_NUMBERS],
    *[({field: -1}, field, -1.0) for field in ("initial", "maximum", "factor")],
    ({"initial": 0}, "initial", 0.0),
    ({"factor": 0}, "factor", 0.0),
    ({"factor": 1 - 2**-53}, "factor", 1 - 2**-53),
    ({"factor": timedelta(seconds=2)}, "factor", timedelta(seconds=2)),
    ({"initial": timedelta(seconds=-1)}, "initial", -1.0),
    ({"maximum": timedelta(seconds=-1)}, "maximum", -1.0),
    ({"initial": 1e308}, "initial", 1e308),
    ({"maximum": 0}, "maximum", 0.0),
    ({"initial": 2, "maximum": 1}, "maximum", 2.0),
    *[({"jitter": value}, "jitter", value) for value in ("EQUAL", "", "gauss", None, True, 1, ["equal"], b"equal")],
]


@pytest.mark.parametrize(("fields", "named", "value"), WRONG, ids=lambda value: repr(value)[:40])
def test_a_wrong_field_is_refused_by_name_and_value(fields: dict[str, Any], named: str, value: object) -> None:
    """At once, where it is given."""
    with pytest.raises(PolicyError) as caught:
        Backoff(**fields)
    assert named in str(caught.value)
    assert value == 10**400 or repr(value) in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("fields", [{"maximum": 1e308}, {"factor": 1e308}, {"initial": 1e308, "maximum": 1e308}])
def test_the_largest_numbers_are_legal(fields: dict[str, Any]) -> None:
    assert Backoff(**fields).high(FAR) == fields.get("maximum", 1.0)


def test_a_wrong_factor_is_not_said_to_be_a_duration() -> None:
    """Who follows the message must not meet the next error."""
    with pytest.raises(PolicyError) as caught:
        Backoff(factor="3")  # type: ignore[arg-type]
    assert "timedelta" not in str(caught.value)


def test_fields_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        Backoff(0.1)  # type: ignore[call-arg]


@PROFILE
@given(backoffs(), backoffs())
def test_it_compares_and_hashes_by_value(one: Backoff, other: Backoff) -> None:
    fields = [(it.initial, it.maximum, it.factor, it.jitter) for it in (one, other)]
    assert (one == other) == (fields[0] == fields[1])
    assert one == copy.replace(one) if hasattr(copy, "replace") else True
    for twin in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert twin == one
        assert hash(twin) == hash(one)


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Backoff().maximum = 2.0  # type: ignore[misc]


def refuse() -> None:
    raise ConnectionRefusedError(111, "Connection refused")


def naps(wait: Any, attempts: int = 5) -> list[float]:
    """The pauses that plain tenacity takes with this wait strategy."""
    taken: list[float] = []
    retrying = tenacity.Retrying(
        wait=wait,
        stop=tenacity.stop_after_attempt(attempts),
        retry=retry_if_refused() | tenacity.retry_if_exception_type(KeyError),
        sleep=lambda seconds: taken.append(float(seconds)),
        reraise=True,
    )
    with pytest.raises(ConnectionRefusedError):
        retrying(refuse)
    return taken


PLAIN = Backoff(jitter="none")
ADDED = pytest.approx([1.05, 1.1, 1.2, 1.4])


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (PLAIN, [0.05, 0.1, 0.2, 0.4]),
        (PLAIN + tenacity.wait_fixed(1), ADDED),
        (tenacity.wait_fixed(1) + PLAIN, ADDED),
        (sum([PLAIN, tenacity.wait_fixed(0.5), tenacity.wait_fixed(0.5)]), ADDED),
        (tenacity.wait_combine(PLAIN, tenacity.wait_fixed(1)), ADDED),
        (tenacity.wait_chain(PLAIN, tenacity.wait_fixed(3)), [0.05, 3, 3, 3]),
        (tenacity.wait_chain(tenacity.wait_fixed(3), PLAIN), [3, 0.1, 0.2, 0.4]),
    ],
    ids=["alone", "backoff + wait", "wait + backoff", "sum", "combine", "chain first", "chain last"],
)
def test_it_is_a_tenacity_wait_strategy(wait: Any, expected: Any) -> None:
    """In plain tenacity, alone and joined with tenacity's own."""
    assert naps(wait) == expected


def test_decorrelated_jitter_builds_on_the_delay_that_plain_tenacity_took() -> None:
    """Each pause is at most three times the one before."""
    taken = naps(Backoff(initial=0.01, maximum=1e9, jitter="decorrelated"), attempts=40)
    assert len(taken) == 39
    for previous, delay in zip([0.01, *taken[:-1]], taken, strict=True):
        assert 0.01 <= delay <= 3 * previous
