"""The client's own error comes out, on every driver: the same object, as the client left it, and one note at most."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pytest
import tenacity
from drivers import (
    AT_ONCE,
    QUIET,
    Client,
    Driver,
    down,
    noted,
    notes_of,
    on_both_twins,
    on_every_driver,
    oversleep,
    refusal,
)

from resilient import Cancellation, Event, Policy, RetryScheduled
from resilient.testing import FakeClock

ENDINGS = ("attempts", "cancelled before", "cancelled in the pause", "woken late", "stopped on waking", "policy failed")


def ending(how: str, clock: FakeClock) -> dict[str, Any]:
    """Return settings under which a call to a server that is down gives up in this way."""
    cancel = Cancellation()

    def on_scheduled(event: Event) -> None:
        if isinstance(event, RetryScheduled):
            cancel.cancel()

    if how == "attempts":
        return {"policy": QUIET.replace(attempts=3)}
    if how == "cancelled before":
        cancel.cancel()
        return {"policy": QUIET, "cancel": cancel}
    if how == "cancelled in the pause":
        return {"policy": QUIET.replace(observers=(on_scheduled,)), "cancel": cancel}
    if how == "woken late":
        oversleep(clock, 10)
        return {"policy": QUIET.replace(backoff=tenacity.wait_fixed(1), deadline=5)}
    if how == "stopped on waking":
        # tenacity shows the delay to come: on waking there is none.
        return {
            "policy": QUIET.replace(
                backoff=tenacity.wait_fixed(1), stop=lambda state: state.attempt_number > 1 and not state.upcoming_sleep
            )
        }
    assert how == "policy failed"

    def fail(state: tenacity.RetryCallState) -> float:
        raise LookupError("a fault in the application's own backoff")

    return {"policy": QUIET.replace(backoff=fail)}


@pytest.fixture(params=ENDINGS)
def settings(request: pytest.FixtureRequest, fake_clock: FakeClock) -> dict[str, Any]:
    return ending(request.param, fake_clock)


def lines_of(error: BaseException) -> list[str]:
    return [str(frame.line) for frame in traceback.extract_tb(error.__traceback__)]


def frames_of(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


@on_both_twins
def test_giving_up_raises_the_clients_last_error_itself(driver: Driver, settings: dict[str, Any]) -> None:
    """The same object: no wrapper, no RetryError."""
    client = down()
    assert driver.fail(client, **settings) is client.raised


@on_both_twins
def test_giving_up_leaves_no_context_where_the_client_left_none(driver: Driver, settings: dict[str, Any]) -> None:
    """Nor a cause, nor a suppressed context."""
    error = driver.fail(down(), **settings)
    assert (error.__context__, error.__cause__, error.__suppress_context__) == (None, None, False)


@on_both_twins
def test_giving_up_keeps_the_context_that_the_client_left(driver: Driver, settings: dict[str, Any]) -> None:
    """Suppressed, as the client had it."""
    inner = OSError("a first address did not answer")

    def connect() -> None:
        try:
            raise inner
        except OSError:
            raise refusal() from None

    error = driver.fail(connect, **settings)
    assert (error.__context__, error.__cause__, error.__suppress_context__) == (inner, None, True)


@on_both_twins
def test_giving_up_keeps_the_cause_that_the_client_gave(driver: Driver, settings: dict[str, Any]) -> None:
    """On a wrapper that is no refusal by itself."""
    cause = refusal("behind")

    def connect() -> None:
        raise RuntimeError("no connection") from cause

    error = driver.fail(connect, **settings)
    assert isinstance(error, RuntimeError)
    assert (error.__context__, error.__cause__, error.__suppress_context__) == (None, cause, True)


@on_both_twins
def test_giving_up_inside_an_except_keeps_that_error_as_the_context(driver: Driver, settings: dict[str, Any]) -> None:
    """As without this library: Python sets it where the client raises."""
    handling = KeyError("what the caller is busy with")
    error = driver.fail(down(), handling=handling, **settings)
    assert error.__context__ is handling
    assert handling.__context__ is None


@on_both_twins
def test_giving_up_inside_an_except_keeps_the_clients_own_context(driver: Driver, settings: dict[str, Any]) -> None:
    """And the error that the caller is handling stays behind that one."""
    inner, handling = OSError("a first address"), KeyError("what the caller is busy with")

    def connect() -> None:
        try:
            raise inner
        except OSError:
            raise refusal()  # noqa: B904

    error = driver.fail(connect, handling=handling, **settings)
    assert error.__context__ is inner
    assert inner.__context__ is handling


@on_both_twins
def test_giving_up_shows_the_clients_own_line(driver: Driver, settings: dict[str, Any]) -> None:
    """Last in the traceback, and the caller's line is there as well."""
    lines = lines_of(driver.fail(down(), **settings))
    assert lines[-1] == "raise self.raised  # the client's own line"
    assert any("protected()" in line for line in lines)


@on_both_twins
def test_giving_up_adds_one_note(driver: Driver, settings: dict[str, Any]) -> None:
    """In the same words, however it ended."""
    notes = notes_of(driver.fail(down(), **settings))
    assert len(notes) == len(noted("one"))
    assert all(note.startswith("resilient: gave up after ") for note in notes)


@on_every_driver
@pytest.mark.parametrize(
    ("how", "note"),
    [
        ("attempts", "resilient: gave up after 3 attempts in 0.0 s (limit 3 attempts) on db:5432"),
        ("cancelled before", "resilient: gave up after 1 attempt in 0.0 s (cancelled) on db:5432"),
        ("cancelled in the pause", "resilient: gave up after 1 attempt in 0.0 s (cancelled) on db:5432"),
        ("woken late", "resilient: gave up after 1 attempt in 11.0 s (deadline 5 s, woken 6.00 s late) on db:5432"),
    ],
)
def test_the_note_says_how_often_how_long_why_and_where(
    driver: Driver, how: str, note: str, fake_clock: FakeClock
) -> None:
    """To the letter, for people search for it."""
    assert notes_of(driver.fail(down(), target="db:5432", **ending(how, fake_clock))) == noted(note)


@on_every_driver
def test_the_note_names_no_secret_of_the_target(driver: Driver) -> None:
    """Scheme, host and port, and nothing else of a DSN."""
    error = driver.fail(
        down(), policy=QUIET.replace(attempts=1), target="postgresql://me:hunter2@db/app?password=hunter2"
    )
    assert notes_of(error) == noted(
        "resilient: gave up after 1 attempt in 0.0 s (limit 1 attempt) on postgresql://db:5432"
    )


@on_both_twins
def test_the_notes_that_the_client_left_stay_before_ours(driver: Driver, settings: dict[str, Any]) -> None:
    """Ours comes last."""

    def connect() -> None:
        error = refusal()
        for note in noted("the client's"):
            error.add_note(note)  # type: ignore[attr-defined,unused-ignore]
        raise error

    assert notes_of(driver.fail(connect, **settings))[:1] == noted("the client's")


@on_every_driver
def test_a_cached_error_has_its_note_replaced(driver: Driver) -> None:
    """Also by that of another call, and the client's own notes stay where they were."""
    cached = refusal()
    for note in noted("the client's"):
        cached.add_note(note)  # type: ignore[attr-defined,unused-ignore]
    for attempts in (2, 3):
        client = Client(forever=lambda: cached)
        assert driver.fail(client, policy=QUIET.replace(attempts=attempts)) is cached
        assert client.calls == attempts
    assert notes_of(cached) == noted("the client's", "resilient: gave up after 3 attempts in 0.0 s (limit 3 attempts)")


@on_every_driver
@pytest.mark.parametrize("refused_before", [0, 2])
@pytest.mark.parametrize("handled", [False, True])
def test_an_error_that_is_not_retried_passes_untouched(driver: Driver, refused_before: int, handled: bool) -> None:
    """At once, and after some retries; wherever the caller stands."""
    context, cause = OSError("the client's context"), LookupError("the client's cause")
    mine = ValueError("not a refusal")
    for note in noted("the client's"):
        mine.add_note(note)  # type: ignore[attr-defined,unused-ignore]
    refused = Client(*(refusal() for _ in range(refused_before)))

    def connect() -> None:
        refused()
        try:
            raise context
        except OSError:
            raise mine from cause

    error = driver.fail(connect, policy=QUIET, handling=KeyError("busy") if handled else None)
    assert error is mine
    assert (error.__context__, error.__cause__, error.__suppress_context__) == (context, cause, True)
    assert notes_of(error) == noted("the client's")
    assert set(vars(error)) <= {"__notes__"}
    assert refused.calls == refused_before + 1


@on_every_driver
@pytest.mark.parametrize("refused_before", [0, 2])
@pytest.mark.parametrize("handled", [False, True])
def test_an_error_that_is_not_retried_has_no_other_context_than_the_callers(
    driver: Driver, refused_before: int, handled: bool
) -> None:
    """Least of all an earlier attempt's error."""
    handling = KeyError("busy") if handled else None
    client = Client(*(refusal() for _ in range(refused_before)), ValueError("not a refusal"))
    error = driver.fail(client, policy=QUIET, handling=handling)
    assert isinstance(error, ValueError)
    assert error.__context__ is handling
    assert error.__cause__ is None
    assert lines_of(error)[-1] == "raise self.raised  # the client's own line"


@on_every_driver
def test_an_error_that_the_caller_is_handling_keeps_its_frames(driver: Driver) -> None:
    """It is not ours: a debugger or an error tracker will want the locals of what failed before."""

    def primary() -> None:
        evidence = "which row it was"
        raise KeyError(evidence)

    with pytest.raises(KeyError) as caught:
        primary()
    client = Client(refusal(), ValueError("not a refusal"))
    driver.fail(client, policy=QUIET, handling=caught.value)
    kept = [each.tb_frame.f_locals for each in frames_of(caught.value.__traceback__)]
    assert any(locals_.get("evidence") == "which row it was" for locals_ in kept)


class Slotted(ConnectionRefusedError):
    """Refuses every attribute."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Deaf(ConnectionRefusedError):
    """Answers nothing but its class."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Deaf
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__


class Odd(ConnectionRefusedError):
    """Compares to nothing, is false, and cannot be hashed."""

    __notes__ = 5  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise RuntimeError("bool")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")


@on_every_driver
@pytest.mark.parametrize("make", [Slotted, Deaf, Odd])
def test_a_hostile_error_is_retried_and_raised_like_any_other(
    driver: Driver, make: Callable[[], ConnectionRefusedError]
) -> None:
    """Whatever its class does when it is looked at."""
    client = Client(forever=make)
    assert driver.fail(client, policy=Policy(attempts=3, backoff=AT_ONCE)) is client.raised
    assert client.calls == 3


@on_both_twins
@pytest.mark.parametrize("make", [Slotted, Deaf, Odd])
@pytest.mark.parametrize("link", ["cause", "context"])
def test_a_hostile_error_behind_a_refusal_is_no_trouble(
    driver: Driver, make: Callable[[], ConnectionRefusedError], link: str
) -> None:
    """Nothing that is asked of it may replace the error in front of it."""
    client = down()

    def connect() -> None:
        try:
            raise make()
        except ConnectionRefusedError as behind:
            if link == "context":
                client()
            client.calls += 1
            raise refusal() from behind

    error = driver.fail(connect, policy=Policy(attempts=3, backoff=AT_ONCE))
    assert type(error) is ConnectionRefusedError
    assert client.calls == 3
