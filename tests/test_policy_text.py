"""A policy as text: what can be said, what cannot, and that nothing is lost or let slip."""

from __future__ import annotations

from typing import Any

import pytest
import tenacity
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient import (
    Backoff,
    Policy,
    PolicyError,
    log_events,
    retry_if_not_ready,
    retry_if_refused,
    retry_if_unreachable,
    retry_if_unresolved,
)

PROFILE = settings(deadline=None, max_examples=60, database=None)
SECRET = "hunter2"

seconds = st.floats(5e-324, 1e308) | st.integers(1, 10**6).map(float) | st.integers(1, 1000).map(lambda n: n / 1000)
kinds = st.sampled_from([retry_if_refused, retry_if_not_ready, retry_if_unresolved, retry_if_unreachable])
retries = st.lists(st.tuples(kinds, st.booleans()), min_size=1, max_size=4)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Everything that has no foreign part."""
    initial, maximum = sorted((draw(seconds), draw(seconds)))
    chosen = [kind(exhausted=exhausted) for kind, exhausted in draw(retries)]
    retry = chosen[0]
    for other in chosen[1:]:
        retry = retry & other if draw(st.booleans()) else retry | other
    return Policy(
        attempts=draw(st.none() | st.integers(1, 100) | st.integers(1)),
        deadline=draw(st.none() | seconds),
        backoff=draw(st.just(Backoff(initial=0, maximum=0)))
        if draw(st.integers(0, 9)) == 0
        else Backoff(
            initial=initial,
            maximum=maximum,
            factor=draw(st.sampled_from([1.0, 1.5, 2.0, 1 + 2**-52]) | st.floats(1, 1e308)),
            jitter=draw(st.sampled_from(["none", "full", "equal", "decorrelated"])),
        ),
        retry=retry,
        name=draw(
            st.none() | st.text(min_size=1) | st.sampled_from(["db", "a b", "it's", 'say "x"', "a=b", "#1", "\\"])
        ),
    )


@PROFILE
@given(policies())
@example(Policy())
@example(Policy.startup())
@example(Policy.request())
@example(Policy.background())
def test_what_a_text_can_say_comes_back_as_it_was(policy: Policy) -> None:
    """`parse` and `str` are inverse."""
    assert Policy.parse(str(policy)) == policy


@pytest.mark.parametrize(
    "policy",
    [
        Policy(name="<db>"),
        Policy(attempts=10**18),
        Policy(attempts=10**30),
        Policy(backoff=Backoff(initial=0, maximum=-0.0)),
        Policy(name="line\nbreak"),
        Policy(retry=retry_if_refused() & retry_if_unresolved()),
        Policy(backoff=Backoff(initial=5e-324, maximum=1e308, factor=1 + 2**-52)),
    ],
    ids=["angle brackets", "many attempts", "more attempts", "minus zero", "line break", "never", "extremes"],
)
def test_odd_policies_come_back_as_well(policy: Policy) -> None:
    assert Policy.parse(str(policy)) == policy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Policy()),
        ("   \n\t", Policy()),
        (
            "attempts=8 deadline=30s backoff=50ms..5s jitter=full",
            Policy(attempts=8, deadline=30, backoff=Backoff(initial=0.05, maximum=5, jitter="full")),
        ),
        ("deadline=5m", Policy(deadline=300)),
        ("deadline=2h", Policy(deadline=7200)),
        ("deadline=1.5", Policy(deadline=1.5)),
        ("deadline=1e2s", Policy(deadline=100)),
        ("deadline=250ms", Policy(deadline=0.25)),
        ("deadline=none attempts=none", Policy(deadline=None)),
        ("backoff=0..0", Policy(backoff=Backoff(initial=0, maximum=0))),
        ("jitter=none", Policy(backoff=Backoff(jitter="none"))),
        ("factor=1.5", Policy(backoff=Backoff(factor=1.5))),
        ("retry=not_ready,unresolved", Policy(retry=retry_if_not_ready() | retry_if_unresolved())),
        ("retry=refused,exhausted", Policy(retry=retry_if_refused(exhausted=True))),
        ("retry=exhausted,unreachable", Policy(retry=retry_if_unreachable(exhausted=True))),
        ("name='two words'", Policy(name="two words")),
        ("name=none", Policy(name="none")),
    ],
)
def test_a_text_is_read(text: str, expected: Policy) -> None:
    assert Policy.parse(text) == expected


WRONG = [
    ("tries=3", "tries"),
    ("attempts", "attempts"),
    ("attempts=3 attempts=3", "twice"),
    ("attempts=3 deadline=1s attempts=4", "twice"),
    ("attempts=0", "attempts"),
    ("attempts=-1", "attempts"),
    ("attempts=1.5", "attempts"),
    ("attempts=True", "attempts"),
    ("attempts=", "attempts"),
    ("attempts=٣", "attempts"),
    ("deadline=0", "deadline"),
    ("deadline=-1s", "deadline"),
    ("deadline=nan", "deadline"),
    ("deadline=inf", "deadline"),
    ("deadline=1e999", "deadline"),
    ("deadline=1e308h", "deadline"),
    ("deadline=1d", "deadline"),
    ("deadline=1 s", "s"),
    ("deadline=1_000", "deadline"),
    ("deadline=0x10", "deadline"),
    ("deadline=.5s", "deadline"),
    ("deadline=None", "deadline"),
    ("backoff=5s", "backoff"),
    ("backoff=5s..", "backoff"),
    ("backoff=none", "backoff"),
    ("backoff=none..1s", "backoff"),
    ("backoff=2s..1s", "initial"),
    ("backoff=0..1s", "initial"),
    ("backoff=1..2..3", "backoff"),
    ("factor=0.5", "factor"),
    ("factor=2s", "factor"),
    ("factor=-2", "factor"),
    ("jitter=some", "jitter"),
    ("jitter=", "jitter"),
    ("retry=", "retry"),
    ("retry=exhausted", "retry"),
    ("retry=refused,", "retry"),
    ("retry=hopeless", "hopeless"),
    ("retry=never,refused", "never"),
    ("name=", "name"),
    ("name='open", "quote"),
    ("=3", "keys"),
    ("stop=3", "stop"),
    ("observers=log_events", "observers"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_text_that_cannot_be_read_is_refused_with_a_reason(text: str, said: str) -> None:
    """The message names what is wrong."""
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["{}", "deadline={}", "attempts={}", "backoff={}", "backoff=1..{}", "factor={}", "jitter={}", "retry={}", "{}=3"],
)
def test_a_url_that_was_given_by_mistake_is_repeated_without_its_password(text: str) -> None:
    """Somebody has read the wrong variable; a traceback goes to a log."""
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text.format("postgresql://app:s3cret@db/app"))
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("text", [None, 3, b"attempts=3", ["attempts=3"], Policy()])
def test_only_text_is_read(text: Any) -> None:
    with pytest.raises(PolicyError):
        Policy.parse(text)


settings_texts = st.lists(
    st.tuples(
        st.sampled_from(["attempts", "deadline", "backoff", "factor", "jitter", "retry", "name"]),
        st.text("0123456789.enmsh-+_'", max_size=8),
    ),
    max_size=4,
).map(lambda words: " ".join(f"{key}={value}" for key, value in words))


@PROFILE
@given(st.text() | settings_texts)
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    """Nothing else comes out."""
    try:
        policy = Policy.parse(text)
    except PolicyError:
        return
    assert Policy.parse(str(policy)) == policy


class Pause:
    """A strategy of the application's own."""

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        return 1.0


def renamed() -> Any:
    """A function with a name that reads like several words."""

    def strategy(retry_state: tenacity.RetryCallState) -> bool:
        return False

    strategy.__qualname__ = "it's a 'name"
    return strategy


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backoff", tenacity.wait_fixed(1)),
        ("backoff", Backoff() + tenacity.wait_fixed(1)),
        ("backoff", Pause()),
        ("retry", tenacity.retry_if_exception_type(OSError)),
        ("retry", lambda state: True),
        ("retry", renamed()),
        ("stop", tenacity.stop_after_attempt(3)),
        ("stop", renamed()),
        ("observers", ()),
        ("observers", (log_events, print)),
    ],
    ids=lambda value: type(value).__name__ if callable(value) else repr(value)[:30],
)
def test_the_text_of_a_policy_with_foreign_parts_is_refused_with_a_reason(field: str, value: Any) -> None:
    """A text cannot build a Python object, and must not pretend that it did."""
    text = str(Policy(**{field: value}))
    assert f"{field}=<" in text
    with pytest.raises(PolicyError, match=r"text|object|code"):
        Policy.parse(text)


def test_the_text_of_a_foreign_part_does_not_show_what_it_holds() -> None:
    """A strategy's `repr` may show anything, a password among it."""

    class Secretive(Pause):
        def __repr__(self) -> str:
            return SECRET

    assert SECRET not in str(Policy(backoff=Secretive()))


# From the environment.


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_variable_that_says_nothing_gives_the_default(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset, empty and blank alike."""
    monkeypatch.delenv("DB_RETRY", raising=False)
    if value is not None:
        monkeypatch.setenv("DB_RETRY", value)
    assert Policy.from_env("DB") == Policy()
    assert Policy.from_env("DB", default=Policy.request()) == Policy.request()


def test_a_variable_is_read_as_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_RETRY", "attempts=8 deadline=30s")
    assert Policy.from_env("DB", default=Policy.request()) == Policy(attempts=8, deadline=30)


@pytest.mark.parametrize(
    "text", [f"password={SECRET}", SECRET, f"attempts={SECRET}", f"name='{SECRET}", f"retry={SECRET}"]
)
def test_a_wrong_variable_is_named_and_its_value_is_not(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the message nor in anything the error drags along: the wrong variable may well hold a DSN."""
    monkeypatch.setenv("DB_RETRY", text)
    with pytest.raises(PolicyError, match="DB_RETRY") as caught:
        Policy.from_env("DB")
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert SECRET not in repr(caught.value)
    assert SECRET not in repr(vars(caught.value))


@pytest.mark.parametrize("prefix", ["", "1DB", "DB-X", "DB=", "A B", "DB\n", None, 3, b"DB"])
def test_a_prefix_is_the_start_of_a_variables_name(prefix: Any) -> None:
    with pytest.raises(PolicyError, match="prefix"):
        Policy.from_env(prefix)
