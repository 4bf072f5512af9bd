"""What one call tells, by itself: whose words an event has where there are several, and what is not told to nobody."""

from __future__ import annotations

from typing import Any

import pytest
from drivers import QUIET, refusal
from test_failover_hostile import A, B, C, tripped

from resilient import CallParked, Event, FailedOver, Targets, clock
from resilient._recovery import Plan
from resilient._recovery._telling import Telling
from resilient.testing import FakeClock, RecordedEvents


def telling(told: list[Event] | None = None, **settings: Any) -> Telling:
    policy = QUIET if told is None else QUIET.replace(observers=(told.append,))
    return Telling(Plan(policy, "connect", settings.pop("target", None), None, **settings), clock.now())


def test_what_each_endpoint_said_last_is_kept_and_the_latest_stands_last(fake_clock: FakeClock) -> None:
    its = telling()
    its.tried = {}
    for endpoint, text in ((A, "one"), (B, "two"), (C, "three"), (A, "four")):
        its.endpoint = endpoint
        its.remember(refusal(text))
    assert [(it.target, it.error_text) for it in its._failures()] == [
        (B, str(refusal("two"))),
        (C, str(refusal("three"))),
        (A, str(refusal("four"))),
    ]


def test_a_call_that_goes_on_tells_what_the_endpoint_before_has_said(fake_clock: FakeClock) -> None:
    told: list[Event] = []
    its = telling(told, targets=Targets(A, B, C))
    its.tried = {}
    for endpoint, text in ((A, "one"), (B, "two")):
        its.endpoint = endpoint
        its.remember(refusal(text))
    its.endpoint = C
    its.failed_over(1, 2.5)
    (event,) = told
    assert isinstance(event, FailedOver)
    assert (event.target, event.next_target, event.error_text) == (B, C, str(refusal("two")))
    assert (event.attempt, event.elapsed, event.heartbeat) == (1, 2.5, True)


def test_what_nobody_was_told_is_not_missing_where_somebody_listens(
    fake_clock: FakeClock, request: pytest.FixtureRequest
) -> None:
    """A quiet log shows one line in ten seconds; nobody has seen the first."""
    its = telling(targets=Targets(A, B))
    its.tried = {}
    its.endpoint = A
    its.remember(refusal())
    its.endpoint = B
    its.failed_over(1, 0)
    recorded: RecordedEvents = request.getfixturevalue("recorded_events")
    its.failed_over(1, 1)
    assert [event.heartbeat for event in recorded.of(FailedOver)] == [True]


def test_a_call_that_waits_for_several_circuits_tells_of_the_first(fake_clock: FakeClock) -> None:
    """Where it has no error and no endpoint of its own."""
    circuits, told = tripped(A), list[Event]()
    circuits[B].settle(circuits[B].admit(), refusal("the second"))
    telling(told).parked([circuits[A], circuits[B]], None, 0, 0, True)
    (event,) = told
    assert isinstance(event, CallParked)
    assert (event.target, event.error_text) == (A, str(refusal("the first")))
    assert event.breaker == f"{A}, {B}"
