"""What an operator reads: one line an event, at a level that fits, and never a secret."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tenacity
from drivers import AT_ONCE, DRIVERS, Client, Driver, down, on_both_twins, refusal

import resilient
from resilient import Event, Policy, RetriesExhausted, RetryScheduled, log_events, retry_on_refused
from resilient.testing import FakeClock

LOGGER = logging.getLogger("resilient")
EVERY_THREE = Policy(deadline=24, backoff=tenacity.wait_fixed(3), name="mine")
AT_ONCE_TWICE = Policy(attempts=2, backoff=AT_ONCE)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    """Give the levels and lines that an operator sees who looks at everything."""
    caplog.set_level(logging.DEBUG, "resilient")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


@on_both_twins
def test_levels_fit_what_happens(
    driver: Driver, log: Callable[[], list[tuple[str, str]]], fake_clock: FakeClock
) -> None:
    """A WARNING first and then every ten seconds, DEBUG in between, an ERROR in the end."""
    driver.fail(down(), policy=EVERY_THREE)
    assert [level for level, _ in log()] == ["WARNING", *["DEBUG"] * 3, "WARNING", *["DEBUG"] * 3, "ERROR"]


@on_both_twins
def test_recovery_is_an_info(driver: Driver, log: Callable[[], list[tuple[str, str]]], fake_clock: FakeClock) -> None:
    """Nobody needs to do anything."""
    driver.call(Client(refusal(), refusal()), policy=EVERY_THREE, target="db:5432")
    level, line = log()[-1]
    assert level == "INFO"
    assert line.endswith(": connected to db:5432 at attempt 3 after 6.00 s")


@on_both_twins
def test_the_first_retry_says_what_where_and_how_long(
    driver: Driver, log: Callable[[], list[tuple[str, str]]], fake_clock: FakeClock
) -> None:
    """It may be the only line that is read."""
    driver.fail(down(), policy=EVERY_THREE, target="db:5432")
    line = log()[0][1]
    assert "db:5432 refused the connection" in line
    assert "ConnectionRefusedError: [Errno 111] Connection refused" in line
    assert "attempt 1 failed, trying again in 3 s" in line
    assert "24 s" in line


@on_both_twins
def test_giving_up_says_how_often_how_long_why_and_on_what(
    driver: Driver, log: Callable[[], list[tuple[str, str]]], fake_clock: FakeClock
) -> None:
    """And ends with the error itself."""
    driver.fail(down(), policy=EVERY_THREE, target="db:5432")
    assert "gave up after 9 attempts in 24.0 s (deadline 24 s) on db:5432" in log()[-1][1]
    assert log()[-1][1].endswith("ConnectionRefusedError: [Errno 111] Connection refused")


@on_both_twins
def test_the_fields_of_an_event_are_on_its_record(
    driver: Driver, caplog: pytest.LogCaptureFixture, fake_clock: FakeClock
) -> None:
    """Each with a prefix, so that none can meet one of logging's own, and the target as a text."""
    driver.fail(down(), policy=EVERY_THREE, target="db:5432")
    plain = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
    first, last = ({**vars(record)} for record in (caplog.records[0], caplog.records[-1]))
    assert all(name.startswith("resilient_") for name in set(first) - plain)
    assert {name: first[f"resilient_{name}"] for name in ("event", "attempt", "delay", "policy", "target", "kind")} == {
        "event": "RetryScheduled",
        "attempt": 1,
        "delay": 3.0,
        "policy": "mine",
        "target": "db:5432",
        "kind": "refused",
    }
    assert (last["resilient_event"], last["resilient_reason"]) == ("RetriesExhausted", "deadline 24 s")


@on_both_twins
def test_no_line_carries_a_traceback(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """It would carry the client's locals to whoever formats it, and keep its frames alive."""
    caplog.set_level(logging.DEBUG, "resilient")
    driver.fail(down(), policy=AT_ONCE_TWICE)
    assert len(caplog.records) == 2
    assert all(record.exc_info is None and record.exc_text is None for record in caplog.records)
    assert not any(isinstance(value, BaseException) for record in caplog.records for value in vars(record).values())


def test_no_argument_of_a_call_is_in_a_record(caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the line nor in a field."""
    caplog.set_level(logging.DEBUG, "resilient")

    @retry_on_refused(policy=AT_ONCE_TWICE, target="postgresql://me:hunter2@db/app")
    def connect(dsn: str, *, password: str) -> None:
        raise refusal()

    with pytest.raises(ConnectionRefusedError):
        connect("host=db password=hunter2", password="hunter2")
    assert len(caplog.records) == 2
    assert not any("hunter2" in f"{record.getMessage()} {vars(record)}" for record in caplog.records)


@pytest.mark.parametrize(
    "text",
    [
        "could not connect to postgresql://me:hunter2@db/app",
        "redis://:hunter2@cache:6379/0 refused",
        'connection failed: host=db password=hunter2 user="me"',
        "https://api/v1?token=hunter2&x=1 refused",
        "Authorization: Bearer hunter2",
    ],
)
def test_no_secret_in_an_errors_text_is_logged(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Clients like to repeat what they were given."""
    caplog.set_level(logging.DEBUG, "resilient")
    DRIVERS[0].fail(Client(forever=lambda: refusal(text)), policy=AT_ONCE_TWICE)
    assert len(caplog.records) == 2
    assert not any("hunter2" in f"{record.getMessage()} {vars(record)}" for record in caplog.records)


@pytest.mark.parametrize("forged", ["\n", "\r\n", "\x1b[2J", "\x00", "\x85", "\u2028", "\u202e", "\ufeff"], ids=ascii)
def test_no_text_forges_a_line(forged: str, log: Callable[[], list[tuple[str, str]]], fake_clock: FakeClock) -> None:
    """Not that of an error, nor the name of its class."""
    name = f"Refused{forged}ERROR:root:all is lost".replace("\0", "")  # Python has no such class
    make = type(name, (ConnectionRefusedError,), {"__str__": lambda self: f"refused{forged}ERROR:root:all is lost"})
    DRIVERS[0].fail(Client(forever=make), policy=EVERY_THREE)
    assert all(line.isprintable() for _, line in log())


def test_the_name_of_a_function_forges_no_line(log: Callable[[], list[tuple[str, str]]]) -> None:
    """It may have been made of anything."""
    client = down()

    def connect() -> None:
        client()

    connect.__qualname__ = "connect\nERROR:root:password=hunter2"
    with pytest.raises(ConnectionRefusedError):
        retry_on_refused(connect, policy=AT_ONCE_TWICE)()
    assert all(line.isprintable() and "hunter2" not in line for _, line in log())


def test_a_target_that_fails_is_named_without_its_arguments(
    log: Callable[[], list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own error is said once, scrubbed and on one line."""
    monkeypatch.setattr("resilient.logs._complaints", set())

    def find_target(password: str) -> str:
        raise LookupError(f"no such\nhost for password={password}")

    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            retry_on_refused(lambda password: down()(), policy=AT_ONCE_TWICE, target=find_target)("hunter2")
    said = [line for _, line in log() if "find_target" in line and "LookupError" in line]
    assert len(said) == 1
    assert said[0].isprintable()
    assert "hunter2" not in said[0]


class Faulty(logging.Handler):
    """A handler that raises, as one with a broken format or a dead socket does."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("the log host is down")


@pytest.fixture(params=["handler", "filter", "filter that is a function"])
def _broken_logging(request: pytest.FixtureRequest) -> Iterator[None]:
    handler = Faulty()
    broken = logging.Filter()
    broken.filter = lambda record: 1 / 0  # type: ignore[assignment,method-assign,return-value]
    if request.param == "handler":
        LOGGER.addHandler(handler)
    else:
        LOGGER.addFilter(broken if request.param == "filter" else broken.filter)
    yield
    LOGGER.removeHandler(handler)
    LOGGER.filters.clear()


@pytest.mark.usefixtures("_broken_logging")
@on_both_twins
def test_logging_that_raises_changes_nothing(driver: Driver) -> None:
    """Neither what is tried, nor what comes out, nor what other observers are told."""
    told: list[type[Event]] = []
    observers = (log_events, lambda event: told.append(type(event)))
    client = down()
    error = driver.fail(client, policy=AT_ONCE_TWICE.replace(attempts=3, observers=observers))
    assert error is client.raised
    assert error.__context__ is None
    assert client.calls == 3
    assert told == [RetryScheduled, RetryScheduled, RetriesExhausted]
    assert driver.call(Client(refusal()), policy=AT_ONCE_TWICE) == "connected"


def test_the_logger_has_no_handler_of_ours() -> None:
    """A NullHandler would hide the first retry from whoever configured nothing."""
    assert LOGGER.handlers == []
    assert LOGGER.level == logging.NOTSET
    assert LOGGER.propagate


def program(body: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(resilient.__file__).parent.parent)}
    head = """
    from resilient import Backoff, Policy, retry_on_refused

    policy = Policy(attempts=3, backoff=Backoff(initial=0.001, maximum=0.001, jitter="none"))
    calls = []

    @retry_on_refused(policy=policy, target="db:5432")
    def connect(succeed=True):
        calls.append(1)
        if len(calls) < 3 or not succeed:
            raise ConnectionRefusedError(111, "Connection refused")
    """
    code = textwrap.dedent(head) + textwrap.dedent(body)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=20, check=False
    )


def test_a_newcomer_who_configured_nothing_sees_the_first_retry() -> None:
    """On stderr, one line, and no more until something is wrong."""
    ran = program("connect()")
    assert (ran.returncode, ran.stdout) == (0, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("connect: db:5432 refused the connection (ConnectionRefusedError: ")
    assert "attempt 1 failed, trying again in 0.001 s" in line


def test_a_newcomer_sees_why_the_program_ended() -> None:
    """The log line, and the traceback with the client's own line; on Python 3.11 and on, the note below it."""
    ran = program("connect(succeed=False)")
    assert ran.returncode == 1
    gave_up = r"gave up after 3 attempts in \d\.\d s \(limit 3 attempts\) on db:5432"
    assert re.search(rf"connect: {gave_up}: Connection", ran.stderr)
    traceback = ran.stderr[ran.stderr.index("Traceback") :]
    assert traceback.count("Traceback") == 1
    assert "ConnectionRefusedError: [Errno 111] Connection refused\n" in traceback
    if sys.version_info >= (3, 11):
        assert re.fullmatch(f"resilient: {gave_up}", traceback.splitlines()[-1])
