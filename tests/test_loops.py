"""The loops of `from-a-hand-written-loop`, beside the decorator: same attempts, same pauses, same end.

Both sides are taken from the page itself and run against a port that refuses.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pages import names_of

from resilient import retry_on_refused
from resilient.testing import FakeClock, LateServer

PAGE = "docs/how-to/from-a-hand-written-loop.md"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Run:
    """What a caller of a connect function sees, and the server."""

    connects: int
    pauses: list[float]
    end: type[BaseException] | object


@pytest.fixture
def page() -> dict[str, Any]:
    """The functions of the page."""
    return names_of(PAGE)


def by_hand(function: Callable[..., Any], port: int, connects: list[Any], monkeypatch: pytest.MonkeyPatch) -> Run:
    pauses: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", pauses.append)
        end = outcome(function, port)
    return Run(len(connects), pauses, end)


def decorated(function: Callable[..., Any], port: int, connects: list[Any], clock: FakeClock) -> Run:
    before = len(connects)
    end = outcome(function, port)
    return Run(len(connects) - before, clock.sleeps[:], end)


def outcome(function: Callable[..., Any], port: int) -> type[BaseException] | object:
    try:
        return function(HOST, port)
    except Exception as error:
        return type(error)


@pytest.mark.parametrize(
    ("hand", "ours", "pauses"),
    [
        ("five_tries_by_hand", "five_tries", [2, 2, 2, 2]),
        ("doubling_by_hand", "doubling", [1, 2, 4, 8]),
    ],
)
def test_a_loop_and_its_decorator_have_the_same_schedule_and_the_same_end(
    hand: str,
    ours: str,
    pauses: list[float],
    page: dict[str, Any],
    refused_port: int,
    fake_clock: FakeClock,
    connects: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = by_hand(page[hand], refused_port, connects, monkeypatch)
    second = decorated(page[ours], refused_port, connects, fake_clock)

    assert first == second == Run(connects=5, pauses=pauses, end=ConnectionRefusedError)
    assert fake_clock.now() == sum(pauses)
    assert connects == [{"timeout": 5}] * 10


def test_a_print_is_one_attempt_without_a_pause_but_another_end(
    page: dict[str, Any],
    refused_port: int,
    fake_clock: FakeClock,
    connects: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = by_hand(page["once_by_hand"], refused_port, connects, monkeypatch)
    assert "is the server running?" in capsys.readouterr().out
    assert first == Run(connects=1, pauses=[], end=None)
    assert decorated(page["once"], refused_port, connects, fake_clock) == Run(1, [], ConnectionRefusedError)
    assert decorated(page["once_or_none"], refused_port, connects, fake_clock) == Run(1, [], None)


def test_eight_seconds_are_the_same_five_attempts(
    page: dict[str, Any], refused_port: int, fake_clock: FakeClock, connects: list[dict[str, Any]]
) -> None:
    assert page["for_eight_seconds"].attempts is None

    @retry_on_refused(policy=page["for_eight_seconds"])
    def connect(host: str, port: int) -> socket.socket:
        return socket.create_connection((host, port), timeout=5)

    assert decorated(connect, refused_port, connects, fake_clock) == Run(5, [2, 2, 2, 2], ConnectionRefusedError)


@pytest.mark.parametrize("name", ["five_tries", "doubling"])
def test_a_server_that_comes_up_meanwhile_is_reached_at_the_same_attempt(
    name: str,
    page: dict[str, Any],
    late_server: LateServer,
    fake_clock: FakeClock,
    connects: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server comes up in the third pause; after that both sides connect once and are done."""
    counts = []
    for function in (page[f"{name}_by_hand"], page[name]):
        late_server.down()
        before, pauses = len(connects), []

        def pause(seconds: float, pauses: list[float] = pauses) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                late_server.up()

        def watch(event: Any, pause: Callable[[float], None] = pause) -> None:
            if hasattr(event, "delay"):
                pause(event.delay)

        if function is page[name]:
            policy = page["every_two_seconds" if name == "five_tries" else "doubling_pauses"]
            function = retry_on_refused(policy=policy.replace(observers=(watch,)))(function.__wrapped__)
            function(HOST, late_server.port).close()
        else:
            with monkeypatch.context() as patch:
                patch.setattr(time, "sleep", pause)
                connection = function(HOST, late_server.port)
            connection.close()
        counts.append((len(connects) - before, pauses))

    assert counts[0] == counts[1]
    assert counts[0][0] == 4


def test_the_careless_copy_pauses_once_more_and_returns_none(
    refused_port: int, connects: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the page says of copies that sleep after the fifth try."""

    def careless(host: str, port: int) -> socket.socket | None:
        for _ in range(5):
            try:
                return socket.create_connection((host, port), timeout=5)
            except ConnectionRefusedError:
                time.sleep(2)
        return None

    assert by_hand(careless, refused_port, connects, monkeypatch) == Run(5, [2, 2, 2, 2, 2], None)


@pytest.mark.parametrize("name", ["five_tries", "doubling", "once"])
def test_a_timeout_passes_both_at_once(name: str, page: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def times_out(*_: Any, **__: Any) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", times_out)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("paused"))
    for function in (page[f"{name}_by_hand"], page[name]):
        assert outcome(function, 1) is TimeoutError
