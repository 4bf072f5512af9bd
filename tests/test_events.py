"""What observers are told, on every driver: frozen values, in order, with nothing in them that is secret."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import socket

import pytest
import tenacity
from drivers import AT_ONCE, QUIET, Client, Driver, down, on_both_twins, on_every_driver, refusal

import resilient
from resilient import (
    CallRecovered,
    Endpoint,
    Event,
    Policy,
    RetriesExhausted,
    RetryScheduled,
    attempts,
    retry_if_not_ready,
    retry_if_unreachable,
    retry_if_unresolved,
    retry_on_refused,
)
from resilient.testing import FakeClock, RecordedEvents, recorded_events

EVERY_TEN = Policy(deadline=25, backoff=tenacity.wait_fixed(10), observers=(), name="mine")
EVENTS = (RetryScheduled, CallRecovered, RetriesExhausted)


def name_of(driver: Driver) -> str:
    """Return what a call of this driver is called."""
    if driver.form == "block":
        return "attempts"
    inner = "<lambda>" if driver.form == "adopted" else "connect"
    return f"Driver.{'protect' if driver.is_async else '_protect_sync'}.<locals>.{inner}"


@on_every_driver
def test_a_retry_is_told_with_all_that_is_known(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Field by field."""

    def connect() -> None:
        fake_clock.advance(1)
        raise refusal("Connection refused")

    driver.fail(connect, policy=EVERY_TEN, target="db:5432")
    assert recorded_events[0] == RetryScheduled(
        call=name_of(driver),
        policy="mine",
        target=Endpoint(scheme="tcp", host="db", port=5432),
        attempt=1,
        elapsed=1.0,
        delay=10.0,
        kind="refused",
        error_type="ConnectionRefusedError",
        error_text="[Errno 111] Connection refused",
        attempts=None,
        deadline=25.0,
        heartbeat=True,
    )


@on_every_driver
def test_recovery_is_told_with_the_attempt_that_succeeded(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """And the time it took."""
    driver.call(Client(refusal(), refusal()), policy=EVERY_TEN, target="db:5432")
    assert recorded_events[-1] == CallRecovered(
        call=name_of(driver), policy="mine", target=Endpoint(host="db", port=5432), attempt=3, elapsed=20.0
    )


@on_every_driver
def test_giving_up_is_told_with_its_reason(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Field by field."""
    driver.fail(down(), policy=EVERY_TEN, target="db:5432")
    assert recorded_events[-1] == RetriesExhausted(
        call=name_of(driver),
        policy="mine",
        target=Endpoint(host="db", port=5432),
        attempt=4,
        elapsed=25.0,
        kind="refused",
        error_type="ConnectionRefusedError",
        error_text="[Errno 111] Connection refused",
        reason="deadline 25 s",
    )


@on_every_driver
def test_events_come_in_order_and_each_once(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """Call after call."""
    driver.fail(down(), policy=EVERY_TEN)
    driver.call(Client(refusal()), policy=EVERY_TEN)
    assert [(type(event), event.attempt, event.elapsed) for event in recorded_events] == [
        (RetryScheduled, 1, 0),
        (RetryScheduled, 2, 10),
        (RetryScheduled, 3, 20),
        (RetriesExhausted, 4, 25),
        (RetryScheduled, 1, 0),
        (CallRecovered, 2, 10),
    ]


@on_every_driver
def test_a_call_that_ends_with_an_error_of_another_kind_is_not_said_to_have_given_up(
    driver: Driver, recorded_events: RecordedEvents
) -> None:
    """The endpoint answered; what it said is the caller's business."""
    driver.fail(Client(refusal(), ValueError("wrong password")), policy=QUIET)
    assert [type(event) for event in recorded_events] == [RetryScheduled]


@on_every_driver
def test_the_heartbeat_beats_first_and_then_every_ten_seconds(
    driver: Driver, fake_clock: FakeClock, recorded_events: RecordedEvents
) -> None:
    """And anew in each call."""
    policy = Policy(deadline=24, backoff=tenacity.wait_fixed(3), observers=())
    for _ in range(2):
        driver.fail(down(), policy=policy)
    beats = [event.elapsed for event in recorded_events.of(RetryScheduled) if event.heartbeat]
    assert beats == [0, 12, 0, 12]


@on_both_twins
@pytest.mark.parametrize(
    ("error", "retry", "kind"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), retry_if_unresolved(), "unresolved"),
        (TimeoutError("timed out"), retry_if_unreachable(), "unreachable"),
        (refusal(), retry_if_not_ready(), "refused"),
        (KeyError("a"), tenacity.retry_if_exception_type(KeyError), None),
    ],
    ids=["unresolved", "unreachable", "refused", "none"],
)
def test_the_kind_is_what_the_error_says_of_its_endpoint(
    driver: Driver, error: Exception, retry: tenacity.retry_base, kind: str | None, recorded_events: RecordedEvents
) -> None:
    """None where only the policy knows why it is retried."""
    driver.fail(Client(error, error), policy=QUIET.replace(retry=retry, attempts=2))
    assert [event.kind for event in (*recorded_events.of(RetryScheduled), *recorded_events.of(RetriesExhausted))] == [
        kind,
        kind,
    ]


@on_both_twins
def test_the_text_is_that_of_the_refusal_and_the_type_that_of_the_error(
    driver: Driver, recorded_events: RecordedEvents
) -> None:
    """A wrapper often says little; what refused is what people look for."""

    def connect() -> None:
        raise RuntimeError("database trouble") from refusal("Connection refused by 10.0.0.7")

    driver.fail(connect, policy=QUIET.replace(attempts=2))
    for event in (recorded_events.of(RetryScheduled)[0], recorded_events.of(RetriesExhausted)[0]):
        assert event.error_type == "RuntimeError"
        assert event.error_text == "[Errno 111] Connection refused by 10.0.0.7"


@on_both_twins
def test_texts_are_scrubbed_escaped_and_cut(driver: Driver, recorded_events: RecordedEvents) -> None:
    """What a server answers is not to be trusted."""
    text = (
        "postgresql://me:hunter2@db refused\r\n2026-01-01 CRITICAL forged \x1b[31m\u2028\u202e password=hunter2 "
        + "x" * 999
    )
    driver.fail(Client(forever=lambda: refusal(text)), policy=QUIET.replace(attempts=2), target="redis://:hunter2@c/0")
    for event in recorded_events:
        shown = repr(event) + str(event)
        assert "hunter2" not in shown
        assert len(event.error_text) <= 200  # type: ignore[attr-defined]
        assert event.error_text.isprintable()  # type: ignore[attr-defined]
        assert str(event.target) == "redis://c:6379"


@on_both_twins
def test_a_class_name_that_forges_a_line_does_not(driver: Driver, recorded_events: RecordedEvents) -> None:
    """Some libraries make their classes of what a server answers."""
    forged = type("Refused\nERROR forged", (ConnectionRefusedError,), {})
    driver.fail(Client(forever=forged), policy=QUIET.replace(attempts=2))
    for event in recorded_events:
        assert event.error_type.isprintable()  # type: ignore[attr-defined]


def test_no_argument_of_a_call_is_in_an_event(recorded_events: RecordedEvents) -> None:
    """Connect functions are given passwords."""

    @retry_on_refused(policy=QUIET.replace(attempts=2), target=lambda host, *, password: f"{host}:5432")
    def connect(host: str, *, password: str) -> None:
        raise refusal()

    with pytest.raises(ConnectionRefusedError):
        connect("db", password="hunter2")
    assert len(recorded_events) == 2
    assert "hunter2" not in repr(list(recorded_events))
    assert b"hunter2" not in pickle.dumps(list(recorded_events))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_events_are_frozen_values_with_names_for_everything(event: type[Event]) -> None:
    """Nothing is given by position, so that fields can be added."""
    assert issubclass(event, Event)
    assert resilient.__all__.count(event.__name__) == 1
    parameters = inspect.signature(event).parameters.values()
    assert all(parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD) for parameter in parameters)
    fields = dict.fromkeys(event._fields)
    made = event(**fields)  # type: ignore[arg-type]
    assert made == event(**fields)  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(made)) == made
    for name in fields:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, 1)


@on_every_driver
def test_a_policy_without_observers_tells_nobody(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """Not even the log."""
    driver.fail(down(), policy=QUIET.replace(attempts=2))
    assert caplog.records == []


@on_both_twins
def test_observers_are_told_in_order(driver: Driver) -> None:
    """One event after the other."""
    told: list[str] = []
    observers = (lambda event: told.append("one"), lambda event: told.append("other"))
    driver.fail(down(), policy=Policy(attempts=2, backoff=AT_ONCE, observers=observers))
    assert told == ["one", "other"] * 2


def test_recorders_may_be_nested_and_end_one_by_one() -> None:
    """Also where two hold the same events."""
    with recorded_events() as outer:
        retry_on_refused(Client(refusal()), policy=QUIET)()
        with recorded_events() as inner:
            retry_on_refused(Client(refusal()), policy=QUIET)()
        retry_on_refused(Client(refusal()), policy=QUIET)()
    retry_on_refused(Client(refusal()), policy=QUIET)()
    assert [len(outer), len(inner)] == [6, 2]
    assert inner == outer[2:4]


def test_a_recorder_gives_the_events_of_one_class(recorded_events: RecordedEvents) -> None:
    """In order, and of a base class all."""
    for attempt in attempts(policy=QUIET):
        with attempt:
            if attempt.number < 3:
                raise refusal()
    assert [event.attempt for event in recorded_events.of(RetryScheduled)] == [1, 2]
    assert [event.attempt for event in recorded_events.of(CallRecovered)] == [3]
    assert recorded_events.of(RetriesExhausted) == []
    assert recorded_events.of(Event) == recorded_events
