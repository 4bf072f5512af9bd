"""What all tests share: a skip for want of something is loud, and can be made a failure."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from resilient.cli._servers import ServerError

STRICT = "RESILIENT_REQUIRE_SERVERS"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets what it starts in the background ignore Ctrl-C, and so would every program that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGQUIT"):
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def requires(what: str) -> NoReturn:
    """End this test because the machine lacks `what` ("::1 on the loopback", "leave to unshare a namespace").

    The end of the run lists what did not run and why; with RESILIENT_REQUIRE_SERVERS=1 it is a failure.
    """
    if os.environ.get(STRICT, "0") not in ("", "0"):
        pytest.fail(f"{STRICT} is set, and this test requires {what}", pytrace=False)
    pytest.skip(f"requires {what}")


@contextlib.contextmanager
def ready_to_start(make: Callable[[], Any]) -> Iterator[Any]:
    """Give a server of `resilient.cli._servers`, not started yet; end the test where its wheel is not there."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(make())
        except ServerError as error:
            requires(str(error).splitlines()[0])
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what did not run, also where nobody asked for it with `-rs`."""
    missed: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        missed.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    if missed:
        terminalreporter.section("NOT TESTED HERE", yellow=True)
    for reason, tests in missed.items():
        more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
        terminalreporter.write_line(f"{reason}: {tests[0]}{more}", yellow=True)


# At the end: that file imports this one.
from machine_servers import mariadb, mosquitto, nats, rabbitmq  # noqa: E402, F401


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of each real connect that is made by `socket.create_connection`."""
    real, made = socket.create_connection, list[dict[str, Any]]()

    def counted(address: tuple[str, int], **settings: Any) -> socket.socket:
        made.append(settings)
        return real(address, **settings)

    monkeypatch.setattr(socket, "create_connection", counted)
    return made
