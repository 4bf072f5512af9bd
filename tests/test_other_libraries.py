"""What `from-another-library` says of stamina, backoff, pybreaker and circuitbreaker, and of what takes their place.

Both sides are taken from the page itself and run against a port that refuses. What the page says beside its examples
is tried with functions of the same kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import inspect
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NoReturn

import backoff
import circuitbreaker
import psycopg
import pybreaker
import pytest
import redis
import stamina
import stamina.instrumentation
import tenacity
import trio
from conftest import ready_to_start
from drivers import refusal
from pages import Table, code, names_of, section

import resilient
from resilient import Backoff, CallRecovered, CircuitBreaker, CircuitOpenError, Policy, retry_on_refused
from resilient.cli._servers import PostgresServer, ValkeyServer
from resilient.testing import FakeClock, LateServer, RecordedEvents

PAGE = "docs/how-to/from-another-library.md"
HOST = "127.0.0.1"


class Time:
    """What another library takes for the time: it stands still, and a pause moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def date(self, *_: Any) -> datetime.datetime:
        return datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=self.now)


@pytest.fixture
def page() -> dict[str, Any]:
    """The names of the page, new ones for each test: circuits are closed."""
    return names_of(PAGE)


@contextlib.contextmanager
def their_time() -> Iterator[Time]:
    """Time as the four libraries ask for it."""
    passed = Time()
    dates = SimpleNamespace(now=passed.date)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", passed.sleep)
        patch.setattr(time, "monotonic", lambda: passed.now)
        patch.setattr("backoff._sync.datetime", SimpleNamespace(datetime=dates))
        patch.setattr(pybreaker, "datetime", dates)
        patch.setattr(circuitbreaker, "monotonic", lambda: passed.now)
        yield passed


@pytest.fixture(autouse=True)
def plain_stamina() -> Iterator[None]:
    """As it is where neither structlog nor prometheus_client is installed."""
    stamina.instrumentation.set_on_retry_hooks([stamina.instrumentation.LoggingOnRetryHook])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


def end_of(call: Callable[..., Any], *args: Any) -> Any:
    """What a call gives: its result, or the class of what it raises."""
    try:
        return call(*args)
    except BaseException as error:  # Ctrl-C as well: what becomes of it differs
        return type(error)


def both_are_refused(theirs: Callable[..., Any], ours: Callable[..., Any], port: int, connects: list[Any]) -> Time:
    """Both make ten attempts, which end in the client's own error; returns their time."""
    with their_time() as passed:
        assert end_of(theirs, HOST, port) is ConnectionRefusedError
    assert len(connects) == 10
    assert end_of(ours, HOST, port) is ConnectionRefusedError
    assert len(connects) == 20
    return passed


def refuse() -> NoReturn:
    raise refusal()


def is_refusal(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ECONNREFUSED


def at_top(low: float, high: float) -> float:
    return high


def at_bottom(low: float, high: float) -> float:
    return low


# What the page is about


@pytest.mark.parametrize("name", ["connect_with_stamina", "connect_with_backoff", "connect", "connect_within_a_minute"])
def test_a_timeout_passes_all_of_them_at_once(name: str, page: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def times_out(*_: Any, **__: Any) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", times_out)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("paused"))
    assert end_of(page[name], HOST, 1) is TimeoutError


# stamina


def test_the_limits_on_the_page_are_staminas_defaults() -> None:
    for function in (stamina.retry, stamina.retry_context):
        defaults = {name: setting.default for name, setting in inspect.signature(function).parameters.items()}
        assert (defaults["attempts"], defaults["timeout"]) == (10, 45)
        assert (defaults["wait_initial"], defaults["wait_max"], defaults["wait_jitter"]) == (0.1, 5, 1)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("connect_with_stamina", "connect"), ("open_with_stamina", "open_connection")]
)
def test_stamina_and_ours_make_the_same_attempts_with_the_same_pauses_before_jitter(
    theirs: str,
    ours: str,
    page: dict[str, Any],
    refused_port: int,
    fake_clock: FakeClock,
    connects: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.uniform", at_bottom)
    passed = both_are_refused(page[theirs], page[ours], refused_port, connects)
    high = [page["ten_attempts"].backoff.high(retry) for retry in range(1, 10)]
    assert passed.pauses == pytest.approx(high)
    assert high == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])
    assert all(most / 2 <= pause <= most for pause, most in zip(fake_clock.sleeps, high, strict=True))


@pytest.mark.parametrize("name", ["connect_with_stamina", "connect", "open_with_stamina", "open_connection"])
def test_a_server_that_comes_up_meanwhile_is_reached(
    name: str, page: dict[str, Any], late_server: LateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", at_bottom)
    late_server.up_after(0.02)
    with page[name](HOST, late_server.port) as connection:
        assert connection.getpeername()[1] == late_server.port


def test_staminas_pauses_are_the_maximum_from_the_seventh_on_and_ours_are_spread(
    page: dict[str, Any], refused_port: int, fake_clock: FakeClock
) -> None:
    with their_time() as passed:
        end_of(page["connect_with_stamina"], HOST, refused_port)
    assert passed.pauses[6:] == [5, 5, 5]
    assert all(pause < 5 for pause in passed.pauses[:5])

    end_of(page["connect"], HOST, refused_port)
    assert len(set(fake_clock.sleeps[6:])) == 3


def test_staminas_jitter_adds_up_to_a_second() -> None:
    with their_time() as passed, pytest.MonkeyPatch.context() as patch:
        patch.setattr("random.uniform", at_top)
        assert end_of(stamina.retry(on=ConnectionRefusedError)(refuse)) is ConnectionRefusedError
    assert passed.pauses == pytest.approx([1.1, 1.2, 1.4, 1.8, 2.6, 4.2, 5, 5, 5])


def test_staminas_last_attempt_is_up_to_a_pause_after_its_timeout_and_ours_at_the_deadline(
    fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", at_bottom)
    with their_time() as passed:
        assert end_of(stamina.retry(on=ConnectionRefusedError, attempts=None, timeout=45)(refuse))
    assert passed.now == pytest.approx(46.3)  # 6.3, and then eight pauses of 5

    policy = Policy(deadline=45, backoff=Backoff(initial=0.1, maximum=5, jitter="none"))
    assert end_of(retry_on_refused(policy=policy)(refuse)) is ConnectionRefusedError
    assert fake_clock.now() == pytest.approx(45)


@pytest.mark.parametrize("other", ["stamina", "backoff"])
def test_psycopgs_refusal_passes_the_others_at_once_and_is_retried_here(
    other: str, refused_port: int, fake_clock: FakeClock
) -> None:
    counted: Counter[str] = Counter()

    def connect(side: str) -> psycopg.Connection[Any]:
        counted[side] += 1
        return psycopg.connect(host=HOST, port=refused_port, user="me", dbname="mine", connect_timeout=5)

    theirs = {
        "stamina": stamina.retry(on=ConnectionRefusedError, attempts=3),
        "backoff": backoff.on_exception(backoff.expo, ConnectionRefusedError, max_tries=3),
    }[other]
    with their_time():
        assert end_of(theirs(connect), other) is psycopg.OperationalError
    assert end_of(retry_on_refused(policy=Policy(attempts=3))(connect), "ours") is psycopg.OperationalError

    assert counted == {other: 1, "ours": 3}


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with ready_to_start(lambda: PostgresServer(password="s3cret")) as server:
        server.start()
        server.wait_ready()
        yield server


def test_a_wrong_password_is_retried_by_the_class_and_not_here(postgres: PostgresServer, fake_clock: FakeClock) -> None:
    counted: Counter[str] = Counter()

    def connect(side: str) -> psycopg.Connection[Any]:
        counted[side] += 1
        return psycopg.connect(postgres.url.replace("s3cret", "wrong"), connect_timeout=5)

    with their_time():
        assert end_of(stamina.retry(on=psycopg.OperationalError, attempts=3)(connect), "stamina")
    assert end_of(retry_on_refused(policy=Policy(attempts=3))(connect), "ours") is psycopg.OperationalError

    assert counted == {"stamina": 3, "ours": 1}


@pytest.mark.parametrize("name", ["connect_with_stamina", "connect_with_backoff", "connect", "connect_within_a_minute"])
def test_the_error_that_comes_out_is_the_last_one_itself(
    name: str, page: dict[str, Any], fake_clock: FakeClock
) -> None:
    raised: list[Exception] = []

    def fails(*_: Any, **__: Any) -> None:
        raised.append(refusal(f"number {len(raised)}"))
        raise raised[-1]

    with pytest.MonkeyPatch.context() as patch, their_time():
        patch.setattr(socket, "create_connection", fails)
        with pytest.raises(ConnectionRefusedError) as caught:
            page[name](HOST, 1)
    assert len(raised) > 3
    assert caught.value is raised[-1]


def test_staminas_log_has_each_retry_with_the_arguments_and_ours_has_no_arguments(
    refused_port: int, fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def connect(host: str, password: str) -> socket.socket:
        return socket.create_connection((host, refused_port), timeout=5)

    with caplog.at_level(logging.INFO), their_time():
        end_of(lambda: stamina.retry(on=ConnectionRefusedError)(connect)(HOST, password="s3cret"))
    theirs = caplog.records[:]
    assert [(record.name, record.levelname) for record in theirs] == [("stamina", "WARNING")] * 9
    for record in theirs:
        assert vars(record)["stamina.args"] == (f"'{HOST}'",)
        assert vars(record)["stamina.kwargs"] == {"password": "s3cret"}

    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="resilient"):
        end_of(lambda: retry_on_refused(policy=Policy(attempts=10))(connect)(HOST, password="s3cret"))
    assert [record.levelname for record in caplog.records if record.levelno > logging.DEBUG] == ["WARNING", "ERROR"]
    assert not any("s3cret" in str(vars(record)) for record in caplog.records)


def test_stamina_logs_nothing_when_a_call_comes_through(caplog: pytest.LogCaptureFixture) -> None:
    ends = iter([ConnectionRefusedError(), None])

    @stamina.retry(on=ConnectionRefusedError)
    def connect() -> None:
        if (error := next(ends)) is not None:
            raise error

    with caplog.at_level(logging.DEBUG), their_time():
        connect()
    assert [record.getMessage() for record in caplog.records] == ["stamina.retry_scheduled"]


@pytest.mark.parametrize("run", [lambda call, *args: asyncio.run(call(*args)), trio.run], ids=["asyncio", "trio"])
def test_stamina_and_ours_run_coroutines_on_asyncio_and_trio(run: Callable[..., Any]) -> None:
    async def connect(made: list[None]) -> str:
        made.append(None)
        if len(made) < 3:
            refuse()
        return "connected"

    quick = Policy(backoff=Backoff(initial=0.001, maximum=0.001))
    for decorate in (
        stamina.retry(on=ConnectionRefusedError, wait_initial=0.001, wait_jitter=0),
        retry_on_refused(policy=quick),
    ):
        made: list[None] = []
        assert run(decorate(connect), made) == "connected"
        assert len(made) == 3


def test_the_number_of_an_attempt_counts_from_one_on_both_sides() -> None:
    theirs = next(iter(stamina.retry_context(on=ConnectionRefusedError)))
    ours = next(iter(resilient.attempts()))
    assert theirs.num == ours.number == 1
    assert theirs.next_wait == 0.1
    assert not hasattr(ours, "next_wait")


def test_no_retries_stands_for_set_active(
    page: dict[str, Any], refused_port: int, connects: list[dict[str, Any]]
) -> None:
    stamina.set_active(False)
    try:
        assert end_of(page["connect_with_stamina"], HOST, refused_port) is ConnectionRefusedError
    finally:
        stamina.set_active(True)
    assert len(connects) == 1
    with resilient.testing.no_retries():
        assert end_of(page["connect"], HOST, refused_port) is ConnectionRefusedError
    assert len(connects) == 2


def test_set_testing_replaces_the_attempts_and_the_fake_clock_keeps_the_policy(
    page: dict[str, Any], refused_port: int, fake_clock: FakeClock, connects: list[dict[str, Any]]
) -> None:
    with stamina.set_testing(True, attempts=3), their_time() as passed:
        assert end_of(page["connect_with_stamina"], HOST, refused_port) is ConnectionRefusedError
    assert len(connects) == 3
    assert not any(passed.pauses)

    assert end_of(page["connect"], HOST, refused_port) is ConnectionRefusedError
    assert len(connects) == 3 + 10
    assert len(fake_clock.sleeps) == 9
    assert all(fake_clock.sleeps)


def test_staminas_hooks_are_for_the_whole_process_and_our_observers_for_a_policy(fake_clock: FakeClock) -> None:
    told: list[Any] = []
    assert stamina.instrumentation.PrometheusOnRetryHook
    assert stamina.instrumentation.StructlogOnRetryHook
    stamina.instrumentation.set_on_retry_hooks([told.append])
    with their_time():
        for _ in range(2):
            end_of(stamina.retry(on=ConnectionRefusedError, attempts=2)(refuse))
    assert len(told) == 2

    heard: list[Any] = []
    for observers in ((heard.append,), ()):
        end_of(retry_on_refused(policy=Policy(attempts=2, observers=observers))(refuse))
    assert len(heard) == 2  # a retry and the end, both of the first call


def test_staminas_on_may_give_the_pause() -> None:
    with their_time() as passed:
        assert end_of(stamina.retry(on=lambda _: 2.5, attempts=3)(refuse)) is ConnectionRefusedError
    assert passed.pauses == [2.5, 2.5]


def test_stamina_retries_a_generator_function_and_here_it_is_a_type_error() -> None:
    runs = []

    def numbers() -> Iterator[int]:
        runs.append(None)
        if len(runs) < 3:
            refuse()
        yield 1

    with their_time():
        assert list(stamina.retry(on=ConnectionRefusedError)(numbers)()) == [1]
    assert len(runs) == 3
    with pytest.raises(TypeError):
        retry_on_refused(numbers)


# backoff


def test_backoff_and_ours_make_the_same_attempts_in_the_same_time_where_the_draws_are_the_same(
    page: dict[str, Any],
    refused_port: int,
    fake_clock: FakeClock,
    connects: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the upper end of each range: without jitter, that is."""
    monkeypatch.setattr("random.uniform", at_top)
    policy = page["one_minute"]
    top = Backoff(initial=policy.backoff.initial, maximum=policy.backoff.maximum, jitter="none")
    ours = retry_on_refused(policy=policy.replace(backoff=top))(page["connect_within_a_minute"].__wrapped__)
    passed = both_are_refused(page["connect_with_backoff"], ours, refused_port, connects)
    assert passed.pauses == pytest.approx(fake_clock.sleeps)
    assert passed.pauses == pytest.approx([1, 2, 4, 8, 10, 10, 10, 10, 5])
    assert passed.now == pytest.approx(fake_clock.now()) == 60


@pytest.mark.parametrize("drawn", [0.0, 0.25, 0.75])
def test_backoff_and_ours_draw_from_the_same_ranges(
    drawn: float, page: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: low + (high - low) * drawn)
    waits = backoff.expo(max_value=10)
    next(waits)
    for retry in range(1, 10):
        ours = page["one_minute"].backoff.delay(retry, uniform=lambda: drawn)
        assert backoff.full_jitter(next(waits)) == pytest.approx(ours)


def test_the_page_s_own_function_stays_within_the_minute(
    page: dict[str, Any], refused_port: int, fake_clock: FakeClock
) -> None:
    assert end_of(page["connect_within_a_minute"], HOST, refused_port) is ConnectionRefusedError
    assert fake_clock.now() == pytest.approx(60)
    assert max(fake_clock.sleeps) <= 10


def test_backoff_without_limits_goes_on_with_pauses_that_double_and_ours_ends_after_a_minute(
    fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", at_top)
    tries = []

    def connect() -> str:
        tries.append(None)
        return "connected" if len(tries) > 30 else refuse()

    with their_time() as passed:
        assert backoff.on_exception(backoff.expo, ConnectionRefusedError)(connect)() == "connected"
    assert passed.pauses == [2**number for number in range(30)]

    assert end_of(retry_on_refused(refuse)) is ConnectionRefusedError
    assert fake_clock.now() == pytest.approx(60)
    assert max(fake_clock.sleeps) <= 1


def test_backoffs_last_attempt_is_late_by_the_attempt_before_it_and_ours_is_not(
    fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", at_top)
    with their_time() as passed:
        began: list[float] = []

        def slow() -> None:
            began.append(passed.now)
            passed.now += 3
            refuse()

        end_of(backoff.on_exception(backoff.expo, ConnectionRefusedError, max_value=20, max_time=60)(slow))
    assert began[-1] == pytest.approx(63)

    began.clear()

    @retry_on_refused(policy=Policy(deadline=60, backoff=Backoff(initial=1, maximum=20, jitter="none")))
    def slow_here() -> None:
        began.append(fake_clock.now())
        fake_clock.advance(3)
        refuse()

    end_of(slow_here)
    assert began[-1] == pytest.approx(60)


def test_giveup_ends_and_our_retry_goes_on(fake_clock: FakeClock) -> None:
    tries: Counter[str] = Counter()

    def connect(side: str) -> None:
        tries[side] += 1
        refuse()

    with their_time():
        decorate = backoff.on_exception(backoff.expo, OSError, max_tries=3, giveup=is_refusal)
        assert end_of(decorate(connect), "backoff") is ConnectionRefusedError
    retry = tenacity.retry_if_exception(is_refusal)
    assert end_of(retry_on_refused(policy=Policy(attempts=3, retry=retry))(connect), "ours") is ConnectionRefusedError
    assert tries == {"backoff": 1, "ours": 3}


def test_backoff_gives_none_without_raise_on_giveup() -> None:
    with their_time():
        decorate = backoff.on_exception(backoff.expo, OSError, max_tries=2, raise_on_giveup=False)
        assert end_of(decorate(refuse)) is None


def test_backoffs_log_has_each_retry_and_the_end_without_arguments(
    refused_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    @backoff.on_exception(backoff.expo, ConnectionRefusedError, max_tries=4)
    def connect(host: str, password: str) -> socket.socket:
        return socket.create_connection((host, refused_port), timeout=5)

    with caplog.at_level(logging.DEBUG), their_time():
        end_of(lambda: connect(HOST, password="s3cret"))
    assert [(record.name, record.levelname) for record in caplog.records] == [
        *[("backoff", "INFO")] * 3,
        ("backoff", "ERROR"),
    ]
    assert not any("s3cret" in str(vars(record)) for record in caplog.records)


def test_backoff_runs_coroutines_on_asyncio_and_fails_at_the_first_pause_on_trio() -> None:
    made = []

    @backoff.on_exception(backoff.expo, ConnectionRefusedError, factor=0.001)
    async def connect() -> str:
        made.append(None)
        return "connected" if len(made) % 3 == 0 else refuse()

    assert asyncio.run(connect()) == "connected"
    assert len(made) == 3
    with pytest.raises(RuntimeError, match="no running event loop"):
        trio.run(connect)
    assert len(made) == 4


def test_backoff_retries_by_the_result_and_here_results_are_not_looked_at() -> None:
    results = iter([None, None, "connected", None])
    with their_time():
        assert backoff.on_predicate(backoff.expo)(lambda: next(results))() == "connected"
    assert retry_on_refused(lambda: next(results))() is None


def test_backoffs_runtime_takes_the_pause_from_error_or_result() -> None:
    with their_time() as passed:
        of_error = backoff.on_exception(backoff.runtime, OSError, value=lambda e: e.errno, max_tries=2, jitter=None)
        end_of(of_error(refuse))
        of_result = backoff.on_predicate(
            backoff.runtime, lambda result: True, value=lambda result: result, max_tries=2, jitter=None
        )
        of_result(lambda: 7)()
    assert passed.pauses == [111, 7]


def test_backoffs_fibo_can_be_had_as_a_tenacity_strategy(fake_clock: FakeClock) -> None:
    with their_time() as passed:
        end_of(backoff.on_exception(backoff.fibo, OSError, max_tries=6, jitter=None)(refuse))
    assert passed.pauses == [1, 1, 2, 3, 5]

    chain = tenacity.wait_chain(*map(tenacity.wait_fixed, (1, 1, 2, 3, 5)))
    end_of(retry_on_refused(policy=Policy(attempts=6, backoff=chain))(refuse))
    assert fake_clock.sleeps == pytest.approx(passed.pauses)


def test_backoffs_limits_may_be_functions_that_are_asked_at_each_call() -> None:
    asked = []

    def limit() -> int:
        asked.append(None)
        return 2

    function = backoff.on_exception(backoff.expo, OSError, max_tries=limit)(refuse)
    with their_time():
        for _ in range(3):
            end_of(function)
    assert len(asked) == 3


def test_backoff_tells_of_every_success_and_ours_of_those_after_a_failure(recorded_events: RecordedEvents) -> None:
    told: list[Any] = []
    backoff.on_exception(backoff.expo, OSError, on_success=told.append)(lambda: None)()
    assert len(told) == 1
    retry_on_refused(lambda: None)()
    assert not recorded_events.of(CallRecovered)


# pybreaker and circuitbreaker


OTHERS = ("connect_with_pybreaker", "connect_with_circuitbreaker")


def make_breakers(failures: int = 1, seconds: float = 30) -> dict[str, Any]:
    """A breaker of each kind, with the same thresholds."""
    return {
        "pybreaker": pybreaker.CircuitBreaker(fail_max=failures, reset_timeout=seconds),
        "circuitbreaker": circuitbreaker.CircuitBreaker(failure_threshold=failures, recovery_timeout=seconds),
        "ours": CircuitBreaker(
            "db",
            trip_after=failures,
            cooldown=Backoff(initial=seconds, maximum=seconds, jitter="none"),
            observers=(),
        ),
    }


def state_of(breaker: Any) -> str:
    """In our words."""
    return str(getattr(breaker, "current_state", None) or breaker.state).replace("_", "-")


def reach_half_open(breaker: Any) -> None:
    """Let it trip, and let its time pass: a hundredth of a second."""
    end_of(breaker(refuse))
    time.sleep(0.02)


TITLE = "From pybreaker or circuitbreaker"


def settings() -> Table:
    return next(table for table in section(TITLE, page=PAGE).tables if table.header[0] == "pybreaker")


@pytest.mark.parametrize("kind", ["pybreaker", "circuitbreaker", "here"])
def test_the_settings_have_the_defaults_of_the_table(kind: str) -> None:
    parameters = {
        "pybreaker": inspect.signature(pybreaker.CircuitBreaker).parameters,
        "circuitbreaker": inspect.signature(circuitbreaker.circuit).parameters,
        "here": inspect.signature(CircuitBreaker).parameters,
    }[kind]
    shown = [cell for cell in settings().column(kind) if "`" in cell]
    assert len(shown) == {"pybreaker": 5, "circuitbreaker": 3, "here": 5}[kind]
    for cell in shown:
        name, _, text = code(cell).partition("=")
        assert name in parameters
        default = parameters[name].default
        if kind == "circuitbreaker":
            assert default is None
            default = getattr(circuitbreaker.CircuitBreaker, name.upper())
        assert default == eval(text, vars(resilient) | {"Exception": Exception})


@pytest.mark.parametrize(
    ("name", "fifth", "later"),
    [
        ("connect_with_pybreaker", pybreaker.CircuitBreakerError, pybreaker.CircuitBreakerError),
        ("connect_with_circuitbreaker", ConnectionRefusedError, circuitbreaker.CircuitBreakerError),
        ("connect_or_fail", ConnectionRefusedError, CircuitOpenError),
    ],
)
def test_all_three_open_at_the_fifth_failure_and_try_once_after_thirty_seconds(
    name: str,
    fifth: type[Exception],
    later: type[Exception],
    page: dict[str, Any],
    refused_port: int,
    fake_clock: FakeClock,
    connects: list[dict[str, Any]],
) -> None:
    """How each call ends, and how many connects it makes."""
    with their_time() as passed:
        seen = []

        def call() -> None:
            before = len(connects)
            end = end_of(page[name], HOST, refused_port)
            seen.append((end, len(connects) - before))

        def wait(seconds: float) -> None:
            passed.now += seconds
            fake_clock.advance(seconds)

        for _ in range(6):
            call()
        assert seen == [(ConnectionRefusedError, 1)] * 4 + [(fifth, 1), (later, 0)]
        seen.clear()
        wait(29.5)
        call()
        wait(1)
        call()
        call()
        wait(30.5)
        call()
        assert seen == [(later, 0), (fifth, 1), (later, 0), (fifth, 1)]


@pytest.mark.parametrize("name", [*OTHERS, "connect_or_fail"])
def test_all_three_close_when_the_server_is_back(
    name: str, page: dict[str, Any], late_server: LateServer, fake_clock: FakeClock
) -> None:
    with their_time() as passed:
        for _ in range(5):
            end_of(page[name], HOST, late_server.port)
        late_server.up()
        passed.now += 31
        fake_clock.advance(31)
        for _ in range(2):
            page[name](HOST, late_server.port).close()


def test_pybreaker_lets_the_error_itself_out_if_told_so() -> None:
    breaker = pybreaker.CircuitBreaker(fail_max=1, throw_new_error_on_trip=False)
    assert end_of(breaker(refuse)) is ConnectionRefusedError
    assert state_of(breaker) == "open"


def test_our_error_of_an_open_circuit_is_a_refusal_and_theirs_are_not() -> None:
    assert issubclass(CircuitOpenError, ConnectionRefusedError)
    for theirs in (pybreaker.CircuitBreakerError, circuitbreaker.CircuitBreakerError):
        assert theirs.__bases__ == (Exception,)


ENDS_OF_PSYCOPG = {
    "pybreaker": pybreaker.CircuitBreakerError,
    "circuitbreaker": psycopg.OperationalError,
    "ours": psycopg.OperationalError,
}
"""What comes out of a call that psycopg's error ends: pybreaker's circuit opens, and says so instead."""


def test_a_wrong_password_is_a_failure_for_the_others_and_for_ours_an_answer(postgres: PostgresServer) -> None:
    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(postgres.url.replace("s3cret", "wrong"), connect_timeout=5)

    breakers = make_breakers()
    ends = {name: end_of(breaker(connect)) for name, breaker in breakers.items()}
    assert ends == ENDS_OF_PSYCOPG
    states = {name: state_of(breaker) for name, breaker in breakers.items()}
    assert states == {"pybreaker": "open", "circuitbreaker": "open", "ours": "closed"}


@pytest.mark.parametrize(
    "breaker",
    [
        pybreaker.CircuitBreaker(fail_max=1, exclude=[PermissionError]),
        circuitbreaker.CircuitBreaker(failure_threshold=1, expected_exception=ConnectionRefusedError),
    ],
    ids=["pybreaker", "circuitbreaker"],
)
def test_the_others_can_be_told_that_it_is_none(breaker: Any) -> None:
    def connect() -> None:
        raise PermissionError("wrong password")

    assert end_of(breaker(connect)) is PermissionError
    assert state_of(breaker) == "closed"


def test_psycopgs_refusal_opens_pybreaker_and_ours_and_not_a_circuitbreaker_for_the_class(
    refused_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(host=HOST, port=refused_port, user="me", dbname="mine", connect_timeout=5)

    breakers = make_breakers() | {
        "circuitbreaker": circuitbreaker.CircuitBreaker(1, expected_exception=ConnectionRefusedError)
    }
    ends = {name: end_of(breaker(connect)) for name, breaker in breakers.items()}
    assert ends == ENDS_OF_PSYCOPG
    states = {name: state_of(breaker) for name, breaker in breakers.items()}
    assert states == {"pybreaker": "open", "circuitbreaker": "closed", "ours": "open"}


def test_the_others_log_nothing(caplog: pytest.LogCaptureFixture) -> None:
    breakers = make_breakers()
    del breakers["ours"]
    with caplog.at_level(logging.DEBUG):
        for breaker in breakers.values():
            for _ in range(2):
                end_of(breaker(refuse))
            assert state_of(breaker) == "open"
    assert not caplog.records


def test_ours_logs_that_it_tripped(page: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        end_of(page["database"].call, refuse)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


THREADS = 32


def in_threads(call: Callable[[], Any]) -> Counter[Any]:
    """Call from 32 threads at once, and count how it ended."""
    together = threading.Barrier(THREADS)
    ends: list[Any] = []

    def run() -> None:
        together.wait(10)
        ends.append(end_of(call))

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(ends)


def test_at_half_open_all_threads_connect_with_circuitbreaker() -> None:
    breaker = make_breakers(seconds=0.01)["circuitbreaker"]
    reach_half_open(breaker)
    inside = threading.Barrier(THREADS)  # broken, unless all are in at once

    assert in_threads(breaker(lambda: bool(inside.wait(10) + 1))) == {True: THREADS}


class Door:
    """Counts who is inside at once; the first one takes its time."""

    def __init__(self, *, serves: bool = True) -> None:
        self.serves, self.entered, self.inside, self.most = serves, 0, 0, 0
        self._lock = threading.Lock()

    def connect(self) -> str:
        with self._lock:
            self.entered += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
            first = self.entered == 1
        if first:
            time.sleep(0.1)
        with self._lock:
            self.inside -= 1
        return "connected" if self.serves else refuse()


def test_at_half_open_one_thread_connects_with_pybreaker_and_then_the_others_one_by_one() -> None:
    breaker = make_breakers(seconds=0.01)["pybreaker"]
    reach_half_open(breaker)
    door = Door()

    assert in_threads(breaker(door.connect)) == {"connected": THREADS}
    assert (door.entered, door.most) == (THREADS, 1)


def test_at_half_open_one_thread_connects_with_pybreaker_and_where_it_fails_the_others_do_not() -> None:
    breaker = make_breakers(seconds=5)["pybreaker"]
    end_of(breaker(refuse))
    breaker.half_open()
    door = Door(serves=False)

    assert in_threads(breaker(door.connect)) == {pybreaker.CircuitBreakerError: THREADS}
    assert door.entered == 1


def test_at_half_open_one_thread_connects_here_and_the_others_are_turned_away() -> None:
    breaker = make_breakers(seconds=0.01)["ours"]
    reach_half_open(breaker)
    turned_away = threading.Semaphore(0)

    @breaker
    def connect() -> bool:
        return all(turned_away.acquire(timeout=10) for _ in range(THREADS - 1))

    def call() -> bool:
        try:
            return bool(connect())
        except CircuitOpenError:
            turned_away.release()
            raise

    assert in_threads(call) == {True: 1, CircuitOpenError: THREADS - 1}


def test_two_calls_side_by_side_stand_in_line_with_pybreaker_only() -> None:
    met = {}
    for name, breaker in make_breakers(failures=5).items():
        together = threading.Barrier(2)

        def connect(
            together: threading.Barrier = together, seconds: float = 0.1 if name == "pybreaker" else 10
        ) -> None:
            together.wait(seconds)

        call = breaker(connect)
        other = threading.Thread(target=end_of, args=(call,))
        other.start()
        met[name] = end_of(call) is None
        other.join()
    assert met == {"pybreaker": False, "circuitbreaker": True, "ours": True}


def interrupt() -> None:
    raise KeyboardInterrupt


def test_ctrl_c_is_a_failure_for_pybreaker_and_comes_out_as_its_own_error_where_it_opens_the_circuit() -> None:
    breaker = make_breakers(failures=2)["pybreaker"]
    assert end_of(breaker(interrupt)) is KeyboardInterrupt
    assert breaker.fail_counter == 1
    assert end_of(breaker(interrupt)) is pybreaker.CircuitBreakerError
    assert state_of(breaker) == "open"


def test_ctrl_c_is_a_success_for_circuitbreaker() -> None:
    breaker = make_breakers(failures=2)["circuitbreaker"]
    end_of(breaker(refuse))
    assert end_of(breaker(interrupt)) is KeyboardInterrupt
    assert breaker.failure_count == 0


def test_ctrl_c_closes_a_half_open_circuitbreaker() -> None:
    breaker = make_breakers(seconds=0.01)["circuitbreaker"]
    reach_half_open(breaker)
    assert end_of(breaker(interrupt)) is KeyboardInterrupt
    assert state_of(breaker) == "closed"


def test_ctrl_c_has_no_vote_here_and_a_probe_is_given_back() -> None:
    breaker: Any = make_breakers(failures=2, seconds=0.01)["ours"]
    end_of(breaker(refuse))
    assert end_of(breaker(interrupt)) is KeyboardInterrupt
    assert breaker.snapshot().failures == 1

    reach_half_open(breaker)
    assert end_of(breaker(interrupt)) is KeyboardInterrupt
    assert (state_of(breaker), breaker.snapshot().probing) == ("half-open", False)
    assert breaker.call(lambda: "connected") == "connected"
    assert state_of(breaker) == "closed"


def test_a_coroutine_that_is_refused_opens_circuitbreaker_and_ours_and_not_pybreaker() -> None:
    async def connect() -> None:
        refuse()

    states = {}
    for name, breaker in make_breakers().items():
        assert end_of(lambda call: asyncio.run(call()), breaker(connect)) is ConnectionRefusedError
        states[name] = state_of(breaker)
    assert states == {"pybreaker": "closed", "circuitbreaker": "open", "ours": "open"}


def test_pybreakers_own_way_with_coroutines_is_tornados(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pybreaker, "HAS_TORNADO_SUPPORT", False)
    with pytest.raises(ImportError, match="tornado"):
        pybreaker.CircuitBreaker()(__pybreaker_call_async=True)


def test_a_cancelled_task_is_a_success_for_circuitbreaker_and_no_vote_here() -> None:
    async def cancelled(call: Callable[[], Any]) -> None:
        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def hangs() -> None:
        await asyncio.sleep(60)

    breakers: dict[str, Any] = make_breakers(failures=2)
    for name in ("circuitbreaker", "ours"):
        end_of(breakers[name](refuse))
        asyncio.run(cancelled(breakers[name](hangs)))
    assert breakers["circuitbreaker"].failure_count == 0
    assert breakers["ours"].snapshot().failures == 1


@pytest.mark.parametrize("name", OTHERS)
def test_while_the_circuit_is_open_the_others_turn_a_call_away(
    name: str, page: dict[str, Any], late_server: LateServer
) -> None:
    for _ in range(5):
        end_of(page[name], HOST, late_server.port)
    late_server.up()
    assert end_of(page[name], HOST, late_server.port).__name__ == "CircuitBreakerError"


def test_while_the_circuit_is_open_a_call_can_wait_here_for_the_probe(
    page: dict[str, Any], late_server: LateServer, fake_clock: FakeClock
) -> None:
    for _ in range(5):
        end_of(page["connect_or_fail"], HOST, late_server.port)
    late_server.up()
    assert end_of(page["connect_or_fail"], HOST, late_server.port) is CircuitOpenError

    page["connect_or_wait"](HOST, late_server.port).close()
    assert fake_clock.now() == pytest.approx(30)


def test_pybreakers_redis_storage_shares_a_circuit() -> None:
    with ready_to_start(ValkeyServer) as server, redis.Redis.from_url(server.url) as client:
        server.start()
        server.wait_ready()
        first, second = (
            pybreaker.CircuitBreaker(fail_max=1, state_storage=pybreaker.CircuitRedisStorage("closed", client))
            for _ in range(2)
        )
        end_of(first(refuse))
        assert end_of(second(lambda: "connected")) is pybreaker.CircuitBreakerError


def test_circuitbreakers_fallback_gets_the_arguments_while_the_circuit_is_open() -> None:
    @circuitbreaker.circuit(failure_threshold=1, fallback_function=lambda *args: ("fallback", *args))
    def connect(host: str, port: int) -> None:
        refuse()

    assert end_of(connect, HOST, 1) is ConnectionRefusedError
    assert end_of(connect, HOST, 1) == ("fallback", HOST, 1)


def test_our_except_stands_for_a_fallback(page: dict[str, Any], refused_port: int) -> None:
    def connect_or_none() -> Any:
        try:
            return page["connect_or_fail"](HOST, refused_port)
        except CircuitOpenError:
            return None

    assert [end_of(connect_or_none) for _ in range(6)] == [ConnectionRefusedError] * 5 + [None]


def test_circuitbreaker_lists_its_circuits(page: dict[str, Any]) -> None:
    names = [breaker.name for breaker in circuitbreaker.CircuitBreakerMonitor.get_circuits()]
    assert "connect_with_circuitbreaker" in names


def test_the_others_take_generator_functions_and_here_they_are_a_type_error() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        refuse()

    for name, breaker in make_breakers().items():
        if name == "ours":
            with pytest.raises(TypeError):
                breaker(numbers)
            continue
        assert end_of(list, breaker(numbers)()) in (ConnectionRefusedError, pybreaker.CircuitBreakerError)
        assert state_of(breaker) == "open"
