"""What `Backoff` says and where it is exact: its messages in full, its text, its fields as they are kept."""

from __future__ import annotations

import inspect
import math
from dataclasses import fields
from typing import Any

import pytest

from resilient import Backoff, PolicyError

JITTERS = "none, full, equal, decorrelated"


class EqualToAll:
    """No text, but equal to any."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "anything"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"initial": "1"}, "Backoff.initial must be a number of seconds or a timedelta, not '1'"),
        ({"maximum": True}, "Backoff.maximum must be a number of seconds or a timedelta, not True"),
        ({"initial": math.nan}, "Backoff.initial must be a finite number of seconds, not nan"),
        ({"factor": math.inf}, "Backoff.factor must be a finite number of seconds, not inf"),
        ({"maximum": 10**400}, "Backoff.maximum must be a finite number of seconds, not an integer beyond any float"),
        ({"factor": True}, "Backoff.factor must be a number of at least 1, not True"),
        ({"factor": 0.5}, "Backoff.factor must be at least 1, not 0.5"),
        ({"maximum": -0.5}, "Backoff.maximum must be at least 0, not -0.5"),
        ({"initial": 0}, "Backoff.initial must be greater than 0, not 0.0 (no wait at all: maximum=0 as well)"),
        ({"initial": 3, "maximum": 2}, "Backoff.initial must not exceed maximum: 3.0 > 2.0"),
        (
            {"initial": 3},
            "Backoff.initial must not exceed maximum: 3.0 > 1.0; maximum is 1 second unless it is given",
        ),
        ({"jitter": "gauss"}, f"Backoff.jitter must be one of {JITTERS}, not 'gauss'"),
        ({"jitter": EqualToAll()}, f"Backoff.jitter must be one of {JITTERS}, not anything"),
    ],
    ids=str,
)
def test_a_wrong_field_is_refused_in_these_words(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Backoff(**fields)
    assert str(caught.value) == message


def test_its_text_makes_it_again() -> None:
    backoff = Backoff(initial=0.1, maximum=5, factor=3, jitter="full")
    assert repr(backoff) == "Backoff(initial=0.1, maximum=5.0, factor=3.0, jitter='full')"
    assert eval(repr(backoff), {"Backoff": Backoff}) == backoff


def test_whole_numbers_are_kept_as_floats() -> None:
    backoff = Backoff(initial=1, maximum=2, factor=3)
    assert [type(value) for value in (backoff.initial, backoff.maximum, backoff.factor)] == [float] * 3


def test_a_minus_zero_is_zero() -> None:
    backoff = Backoff(initial=-0.0, maximum=-0.0)
    assert [math.copysign(1, value) for value in (backoff.initial, backoff.maximum)] == [1, 1]


def test_a_factor_of_one_does_not_grow_however_often() -> None:
    """Also for a number of retries that no float can hold."""
    assert Backoff(initial=0.1, factor=1).high(10**400) == 0.1


def test_the_first_decorrelated_delay_counts_from_initial() -> None:
    """Without a previous delay: at most three times `initial`."""
    backoff = Backoff(initial=0.125, maximum=8, jitter="decorrelated")
    assert backoff.delay(1, uniform=lambda: 0.5) == 0.25


def test_the_defaults_that_its_fields_show_are_those_that_it_takes() -> None:
    """They are written twice."""
    taken = {name: parameter.default for name, parameter in inspect.signature(Backoff).parameters.items()}
    assert {field.name: field.default for field in fields(Backoff)} == taken
