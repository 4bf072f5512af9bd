"""Several endpoints for one call: which is tried when, what is said of each, and what is refused at once."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
from drivers import QUIET, Driver, on_every_driver, refusal

from resilient import (
    Backoff,
    CallParked,
    CallRecovered,
    CircuitBreaker,
    CircuitBreakers,
    CircuitOpenError,
    Endpoint,
    EndpointFailure,
    FailedOver,
    Policy,
    RetriesExhausted,
    RetryScheduled,
    TargetError,
    Targets,
    attempts,
    retry_on_refused,
)
from resilient.testing import FakeClock, RecordedEvents

A, B, C = (Endpoint.parse(f"db-{letter}:5432") for letter in "abc")
BOTH = ("db-a:5432", "db-b:5432")
ALL = (*BOTH, "db-c:5432")
SECOND = Backoff(initial=1, maximum=1, jitter="none")
STEADY = Policy(backoff=SECOND, deadline=10.0)


class Servers:
    """What stands behind the endpoints: which of them refuse, and who was asked when."""

    def __init__(self, *down: Endpoint, clock: FakeClock | None = None) -> None:
        self.down = set(down)
        self.asked: list[Endpoint] = []
        self.times: list[float] = []
        self._clock = clock

    def __call__(self, endpoint: Endpoint) -> Endpoint:
        self.asked.append(endpoint)
        if self._clock is not None:
            self.times.append(round(self._clock.now(), 6))
        if endpoint in self.down:
            raise refusal()
        return endpoint


def unbroken() -> CircuitBreakers:
    """Circuits that stay closed."""
    return CircuitBreakers(trip_after=10_000, observers=())


# A round.


@on_every_driver
def test_the_next_endpoint_is_tried_at_once(driver: Driver, fake_clock: FakeClock) -> None:
    """It is the same attempt: no time passes, and one event says where it goes on."""
    servers, since = Servers(A, clock=fake_clock), fake_clock.now()
    events: list[Any] = []
    connect = driver.protect_at(servers, targets=BOTH, policy=STEADY.replace(observers=(events.append,)))
    assert driver.run(connect) == B
    assert servers.asked == [A, B]
    assert fake_clock.now() == since
    over, recovered = events
    assert isinstance(over, FailedOver)
    assert (over.target, over.next_target, over.attempt, over.kind, over.heartbeat) == (A, B, 1, "refused", True)
    assert isinstance(recovered, CallRecovered)
    assert (recovered.target, recovered.attempt) == (B, 1)


@on_every_driver
def test_the_backoff_is_taken_once_a_round(driver: Driver, fake_clock: FakeClock) -> None:
    """A round is one attempt, however many endpoints are in it."""
    servers, since = Servers(A, B, C, clock=fake_clock), fake_clock.now()
    policy = QUIET.replace(attempts=3, backoff=SECOND)
    connect = driver.protect_at(servers, targets=ALL, policy=policy, breaker=unbroken())
    with pytest.raises(ConnectionRefusedError):
        driver.run(connect)
    assert servers.asked == [A, B, C] * 3
    assert [at - since for at in servers.times] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@on_every_driver
def test_an_error_that_is_not_retried_passes_at_once(driver: Driver) -> None:
    """Whoever answered "wrong password" is up; nobody else is asked for a kinder answer."""
    asked: list[Endpoint] = []

    def function(endpoint: Endpoint) -> None:
        asked.append(endpoint)
        raise PermissionError("wrong password")

    with pytest.raises(PermissionError):
        driver.run(driver.protect_at(function, targets=BOTH, policy=QUIET))
    assert asked == [A]


@on_every_driver
def test_the_last_error_is_the_clients_own(driver: Driver) -> None:
    """That of the endpoint that was tried last, with nothing of the others in its context."""
    raised: list[Exception] = []

    def function(endpoint: Endpoint) -> None:
        raised.append(refusal(f"by {endpoint.host}"))
        raise raised[-1]

    connect = driver.protect_at(function, targets=BOTH, policy=QUIET.replace(attempts=2))
    with pytest.raises(ConnectionRefusedError) as caught:
        driver.run(connect)
    assert caught.value is raised[-1]
    assert "db-b" in str(caught.value)
    assert caught.value.__context__ is None
    assert len(raised) == 4


@pytest.mark.skipif(sys.version_info < (3, 11), reason="an error has notes since Python 3.11")
def test_the_note_names_every_endpoint_and_what_it_said() -> None:
    def connect(endpoint: Endpoint) -> None:
        raise refusal("no" if endpoint == A else "never; password=sesame")

    decorated = retry_on_refused(connect, targets=BOTH, policy=QUIET.replace(attempts=1))
    with pytest.raises(ConnectionRefusedError) as caught:
        decorated()
    [note] = caught.value.__notes__
    assert note.startswith("resilient: gave up after 1 attempt in 0.0 s (limit 1 attempt): ")
    assert "db-a:5432 refused the connection (ConnectionRefusedError: [Errno 111] no)" in note
    assert "db-b:5432 refused the connection (ConnectionRefusedError: [Errno 111] never; password=" in note
    assert "sesame" not in note


def test_the_events_say_what_each_endpoint_said(fake_clock: FakeClock) -> None:
    """In the order in which they said it; in what is said before the next round, and of the end."""
    events: list[Any] = []
    policy = Policy(attempts=2, backoff=SECOND, observers=(events.append,))
    connect = retry_on_refused(Servers(A, B).__call__, targets=BOTH, policy=policy, breaker=unbroken())
    with pytest.raises(ConnectionRefusedError):
        connect()
    first, scheduled, again, exhausted = events
    said = {"kind": "refused", "error_type": "ConnectionRefusedError", "error_text": "[Errno 111] Connection refused"}
    failures = (EndpointFailure(target=A, **said), EndpointFailure(target=B, **said))
    assert isinstance(first, FailedOver)
    assert isinstance(scheduled, RetryScheduled)
    assert (scheduled.tried, scheduled.target, scheduled.attempt, scheduled.delay) == (failures, B, 1, 1)
    assert isinstance(again, FailedOver)
    assert not again.heartbeat
    assert isinstance(exhausted, RetriesExhausted)
    assert (exhausted.tried, exhausted.target, exhausted.attempt) == (failures, B, 2)


def test_one_endpoint_has_nothing_tried_beside_it(recorded_events: RecordedEvents) -> None:
    with pytest.raises(ConnectionRefusedError):
        retry_on_refused(lambda: Servers(A)(A), target="db-a:5432", policy=Policy(attempts=1))()
    assert recorded_events[-1].tried == ()  # type: ignore[attr-defined]


def test_a_quiet_log_says_once_where_the_calls_go(caplog: pytest.LogCaptureFixture) -> None:
    """The first failover is a WARNING, and then one in ten seconds: a call for each would fill the log."""
    caplog.set_level(logging.DEBUG, "resilient")
    connect = retry_on_refused(Servers(A).__call__, targets=BOTH, order="in_order", breaker=unbroken())
    connect()
    connect()
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if "going on" in record.getMessage()]
    assert [level for level, _ in lines] == ["WARNING", "DEBUG"]
    assert lines[0][1].endswith(
        "db-a:5432 refused the connection (ConnectionRefusedError: [Errno 111] Connection refused); "
        "going on with db-b:5432 at once"
    )


@on_every_driver
def test_no_endpoint_is_tried_long_after_the_deadline(driver: Driver, fake_clock: FakeClock) -> None:
    """A slow refusal takes the time of those that follow it."""
    asked: list[Endpoint] = []

    def slow(endpoint: Endpoint) -> None:
        asked.append(endpoint)
        fake_clock.advance(6)
        raise refusal()

    connect = driver.protect_at(slow, targets=ALL, policy=QUIET.replace(deadline=10.0))
    with pytest.raises(ConnectionRefusedError):
        driver.run(connect)
    assert asked == [A, B]


# The order.


def test_a_sticky_call_begins_with_the_endpoint_that_worked_last() -> None:
    """Also when the first one is back, until it is told to return to it."""
    servers, targets = Servers(A), Targets(*BOTH)
    connect = retry_on_refused(servers.__call__, targets=targets, policy=QUIET)
    assert (targets.current, connect(), targets.current) == (A, B, B)
    servers.down.clear()
    assert [connect(), connect()] == [B, B]
    assert servers.asked == [A, B, B, B]
    targets.prefer("db-a:5432")
    assert (targets.current, connect()) == (A, A)


def test_a_sticky_call_tries_the_others_in_the_order_in_which_they_were_given() -> None:
    servers, targets = Servers(A, B, C), Targets(*ALL)
    targets.prefer(C)
    connect = retry_on_refused(servers.__call__, targets=targets, policy=QUIET.replace(attempts=2))
    with pytest.raises(ConnectionRefusedError):
        connect()
    assert servers.asked == [C, A, B] * 2


def test_functions_with_the_same_targets_stay_together() -> None:
    servers, targets = Servers(A), Targets(*BOTH)
    read = retry_on_refused(servers.__call__, targets=targets, policy=QUIET)
    write = retry_on_refused(servers.__call__, targets=targets, policy=QUIET)
    read()
    assert write() == B
    assert servers.asked == [A, B, B]


def test_a_call_in_order_returns_to_the_first_endpoint() -> None:
    servers = Servers(A)
    connect = retry_on_refused(servers.__call__, targets=BOTH, order="in_order", policy=QUIET)
    assert connect() == B
    servers.down.clear()
    assert connect() == A


def test_shuffled_calls_begin_anywhere() -> None:
    """Each endpoint is the first of some of 200 calls: one of three is missed by chance once in 10**35."""
    servers = Servers()
    connect = retry_on_refused(servers.__call__, targets=ALL, order="shuffled", policy=QUIET)
    assert {connect() for _ in range(200)} == {A, B, C}


def test_a_shuffled_round_tries_every_endpoint_once() -> None:
    servers = Servers(A, B, C)
    connect = retry_on_refused(
        servers.__call__, targets=ALL, order="shuffled", policy=QUIET.replace(attempts=4), breaker=unbroken()
    )
    with pytest.raises(ConnectionRefusedError):
        connect()
    rounds = [servers.asked[start : start + 3] for start in range(0, 12, 3)]
    assert len(servers.asked) == 12
    assert all(set(its) == {A, B, C} for its in rounds)


# Circuits.


@on_every_driver
def test_an_open_circuit_is_passed_over(driver: Driver, fake_clock: FakeClock) -> None:
    breakers = CircuitBreakers(trip_after=2, cooldown=SECOND, observers=())
    servers = Servers(A)
    connect = driver.protect_at(servers, targets=BOTH, order="in_order", policy=QUIET, breaker=breakers)
    for _ in range(5):
        driver.run(connect)
    assert servers.asked == [A, B, A, B, B, B, B]
    assert [snapshot.state for snapshot in breakers.snapshot()].count("open") == 1


def test_one_call_probes_the_first_endpoint_when_its_circuit_has_cooled_down(fake_clock: FakeClock) -> None:
    """It is served in any case: by the first, or at once by the next."""
    breakers = CircuitBreakers(trip_after=1, cooldown=SECOND, observers=())
    servers = Servers(A)
    connect = retry_on_refused(servers.__call__, targets=BOTH, order="in_order", policy=QUIET, breaker=breakers)
    connect()
    fake_clock.advance(1)
    assert connect() == B
    servers.down.clear()
    fake_clock.advance(1)
    assert [connect(), connect()] == [A, A]
    assert servers.asked == [A, B, A, B, A, A]


def test_a_sticky_call_leaves_the_other_endpoints_alone(fake_clock: FakeClock) -> None:
    """Nobody dials an endpoint that nobody needs."""
    servers = Servers(A)
    connect = retry_on_refused(
        servers.__call__, targets=BOTH, policy=QUIET, breaker=CircuitBreakers(trip_after=1, observers=())
    )
    connect()
    for _ in range(5):
        fake_clock.advance(10)
        connect()
    assert servers.asked.count(A) == 1


@on_every_driver
def test_with_every_circuit_open_a_call_waits_for_the_first_that_may_be_probed(
    driver: Driver, fake_clock: FakeClock
) -> None:
    """It makes no attempt meanwhile, takes no backoff, and goes where a probe succeeds."""
    breakers = CircuitBreakers(trip_after=1, cooldown=SECOND, observers=())
    servers, since, events = Servers(A, B, clock=fake_clock), fake_clock.now(), list[Any]()

    def mend(event: Any) -> None:
        events.append(event)
        if isinstance(event, CallParked) and len(servers.asked) > 3:
            servers.down.discard(B)

    policy = Policy(backoff=Backoff(initial=30, maximum=30, jitter="none"), observers=(mend,))
    assert driver.run(driver.protect_at(servers, targets=BOTH, policy=policy, breaker=breakers)) == B
    assert servers.asked[:2] == [A, B]
    assert all(at - since == round(at - since) for at in servers.times)  # by the circuits' second, never the backoff
    assert servers.times[-1] - since <= 3
    parked = next(event for event in events if isinstance(event, CallParked))
    assert parked.breaker == "db-a:5432, db-b:5432"
    assert [failure.target for failure in parked.tried] == [A, B]


def test_a_call_that_no_circuit_lets_run_says_so(fake_clock: FakeClock) -> None:
    breakers = CircuitBreakers(observers=())
    for endpoint in BOTH:
        breakers[endpoint].isolate()
    servers = Servers()
    connect = retry_on_refused(servers.__call__, targets=BOTH, policy=QUIET, breaker=breakers)
    with pytest.raises(CircuitOpenError):
        connect()
    assert servers.asked == []


def test_an_endpoint_that_is_isolated_is_left_alone() -> None:
    """The hand on a breaker moves the calls elsewhere, and they stay there when it lets go."""
    breakers, servers = CircuitBreakers(observers=()), Servers()
    connect = retry_on_refused(servers.__call__, targets=BOTH, policy=QUIET, breaker=breakers)
    assert connect() == A
    breakers["db-a:5432"].isolate()
    assert [connect(), connect()] == [B, B]
    breakers["db-a:5432"].release()
    assert connect() == B


def test_without_circuits_given_it_has_its_own() -> None:
    """A dead endpoint is not dialled by every call, whoever forgot to ask for it."""
    servers = Servers(A)
    connect = retry_on_refused(servers.__call__, targets=BOTH, order="in_order", policy=QUIET)
    for _ in range(20):
        connect()
    assert servers.asked.count(A) == 5  # trip_after


def test_the_circuit_of_an_endpoint_is_kept(fake_clock: FakeClock) -> None:
    """Others are dropped before it: the function would not find a new one."""
    breakers = CircuitBreakers(max_breakers=3, idle_timeout=10, observers=())
    retry_on_refused(Servers().__call__, targets=BOTH, breaker=breakers)
    kept = breakers["db-a:5432"]
    fake_clock.advance(60)
    for number in range(5):
        assert breakers[f"other-{number}:1"]
    assert breakers["db-a:5432"] is kept
    assert len(breakers) == 3


@on_every_driver
def test_an_endpoint_whose_own_circuit_is_open_is_passed_over(driver: Driver) -> None:
    """That of a client inside of the function, say: it has dialled nobody."""
    inner = CircuitBreaker("inner", observers=())
    inner.isolate()

    def function(endpoint: Endpoint) -> Endpoint:
        return inner.call(lambda: endpoint) if endpoint == A else endpoint

    assert driver.run(driver.protect_at(function, targets=BOTH, policy=QUIET)) == B


# What may be decorated.


class Client:
    """Connects with its methods, each of which has an argument of its own as well."""

    targets = Targets(*BOTH)

    @retry_on_refused(targets=targets, policy=QUIET)
    def connect(self, endpoint: Endpoint, name: str = "app") -> tuple[str, Endpoint, str]:
        """Connect."""
        return type(self).__name__, endpoint, name

    @retry_on_refused(targets=targets, policy=QUIET)
    async def connect_async(self, endpoint: Endpoint, name: str) -> tuple[str, Endpoint, str]:
        return type(self).__name__, endpoint, name

    @classmethod
    @retry_on_refused(targets=targets, policy=QUIET)
    def inside(cls, endpoint: Endpoint, name: str) -> tuple[str, Endpoint, str]:
        return cls.__name__, endpoint, name

    @retry_on_refused(targets=targets, policy=QUIET)
    @classmethod
    def outside(cls, endpoint: Endpoint, name: str) -> tuple[str, Endpoint, str]:
        return cls.__name__, endpoint, name

    @staticmethod
    @retry_on_refused(targets=targets, policy=QUIET)
    def static_inside(endpoint: Endpoint, name: str) -> tuple[str, Endpoint, str]:
        return "", endpoint, name

    @retry_on_refused(targets=targets, policy=QUIET)
    @staticmethod
    def static_outside(endpoint: Endpoint, name: str) -> tuple[str, Endpoint, str]:
        return "", endpoint, name

    @retry_on_refused(targets=targets, policy=QUIET)
    def unusual(this, where: Endpoint, name: str) -> tuple[str, Endpoint, str]:
        return type(this).__name__, where, name

    def bare(self, endpoint: Endpoint, name: str) -> tuple[str, Endpoint, str]:
        return type(self).__name__, endpoint, name

    def __call__(self, endpoint: Endpoint, name: str) -> tuple[str, Endpoint, str]:
        return "called", endpoint, name


@pytest.mark.parametrize("name", ["connect", "inside", "outside", "unusual"])
def test_the_endpoint_comes_behind_the_object(name: str) -> None:
    assert getattr(Client(), name)("x") == ("Client", A, "x")
    assert getattr(Client(), name)(name="x") == ("Client", A, "x")


@pytest.mark.parametrize("name", ["static_inside", "static_outside"])
def test_the_endpoint_comes_first_where_there_is_no_object(name: str) -> None:
    assert getattr(Client, name)("x") == getattr(Client(), name)(name="x") == ("", A, "x")


def test_coroutine_methods_get_it_as_well() -> None:
    assert asyncio.run(Client().connect_async("x")) == ("Client", A, "x")


def at_both(thing: Any) -> Callable[..., Any]:
    return retry_on_refused(thing, targets=BOTH, policy=QUIET)


def test_other_things_get_the_endpoint_first() -> None:
    """Bound methods, callable objects, classes and partials, of bound methods included."""

    class Connection:
        def __init__(self, endpoint: Endpoint, name: str) -> None:
            self.what = (endpoint, name)

    assert at_both(Client().bare)("x") == ("Client", A, "x")
    assert at_both(Client())("x") == ("called", A, "x")
    assert at_both(Connection)("x").what == (A, "x")
    assert at_both(functools.partial(Client().bare, name="x"))() == ("Client", A, "x")
    assert at_both(functools.partial(lambda first, endpoint, last: (first, endpoint, last), 1))(2) == (1, A, 2)
    assert at_both(lambda *args: args)(1) == (A, 1)


def test_what_callers_give_is_what_the_signature_says() -> None:
    """Frameworks that look at a function to call it do not look for somebody to give an endpoint."""
    assert str(inspect.signature(Client.connect)) == "(self, name: 'str' = 'app') -> 'tuple[str, Endpoint, str]'"
    assert [*inspect.signature(at_both(lambda endpoint, x: x)).parameters] == ["x"]
    assert Client.connect.__doc__ == "Connect."


@on_every_driver
def test_a_block_says_which_endpoint_it_is_to_connect_to(driver: Driver) -> None:
    """And with one target, that one; with none, nothing."""
    for attempt in attempts(target="db-a:5432"):
        with attempt:
            assert attempt.endpoint == A
    for attempt in attempts():
        with attempt:
            assert attempt.endpoint is None


def test_the_attempts_of_a_round_have_its_number(fake_clock: FakeClock) -> None:
    seen = []
    with pytest.raises(ConnectionRefusedError):
        for attempt in attempts(targets=BOTH, policy=QUIET.replace(attempts=2), breaker=unbroken()):
            with attempt:
                seen.append((attempt.number, attempt.endpoint))
                raise refusal()
    assert seen == [(1, A), (1, B), (2, A), (2, B)]


# Reading.


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("a:1,b:2", ["a:1", "b:2"]),
        ("a:1, [::1]:2", ["a:1", "[::1]:2"]),
        ("db-a:5432", ["db-a:5432"]),
        ("postgresql://me:s3c,ret@a:1,b:2/app?sslmode=require", ["postgresql://a:1", "postgresql://b:2"]),
        ("postgres://a,[::1],c:7/app", ["postgresql://a:5432", "postgresql://[::1]:5432", "postgresql://c:7"]),
        ("postgresql:///app?host=a,b&port=1,2", ["postgresql://a:1", "postgresql://b:2"]),
        ("postgresql:///app?host=a%2Cb&port=7", ["postgresql://a:7", "postgresql://b:7"]),
        ("postgresql:///app?host=a%2cb", ["postgresql://a:5432", "postgresql://b:5432"]),
        ("postgresql://a/app", ["postgresql://a:5432"]),
        ("postgresql://me:1,b:2@c/app", ["postgresql://c:5432"]),
        ("host=a,b port=1,2 password='a, b'", ["postgresql://a:1", "postgresql://b:2"]),
        ("host=a,b port=7", ["postgresql://a:7", "postgresql://b:7"]),
        ("host=a,b", ["postgresql://a:5432", "postgresql://b:5432"]),
        (
            "host=/run/a,/run/b",
            ["unix:///run/a/.s.PGSQL.5432", "unix:///run/b/.s.PGSQL.5432"],
        ),
        ("mongodb://me:s3cret@a,b:2/app?replicaSet=r", ["mongodb://a:27017", "mongodb://b:2"]),
        ("nats://a,nats://b:2", ["nats://a:4222", "nats://b:2"]),
        ("amqp://me:s3cret@a//;amqp://me:s3cret@b//", ["amqp://a:5672", "amqp://b:5672"]),
        ("unix:///run/a.sock", ["unix:///run/a.sock"]),
    ],
)
def test_a_text_may_name_several_endpoints(text: str, endpoints: list[str]) -> None:
    """As the clients write it; nothing of it but scheme, host and port is kept."""
    targets = Targets(text)
    assert list(targets.endpoints) == [Endpoint.parse(each) for each in endpoints]
    assert "s3c" not in f"{targets} {targets!r} {pickle.dumps(targets)!r}"


def test_an_environment_variable_may_name_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_URLS", "postgresql://me:s3cret@a:1,b:2/app")
    assert [*map(str, Targets("env:DB_URLS").endpoints)] == ["postgresql://a:1", "postgresql://b:2"]
    assert retry_on_refused(lambda endpoint: endpoint.host, targets="env:DB_URLS")() == "a"


def test_targets_are_pickled_with_their_order() -> None:
    """What worked last is a fact of this process."""
    targets = Targets(*BOTH, order="shuffled")
    twin = pickle.loads(pickle.dumps(targets))
    assert (twin.endpoints, twin.order) == (targets.endpoints, "shuffled")
    assert repr(twin) == "Targets('db-a:5432', 'db-b:5432', order='shuffled')"


# Bad input: each is refused when it is given, and says what to do.


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"targets": ()}, TargetError, "^targets are empty; name at least one"),
        ({"targets": ""}, TargetError, "empty"),
        ({"targets": ("a:1", "a:1")}, TargetError, "targets 1 and 2 are the same endpoint"),
        ({"targets": ("a:1", "b:1", "A:1")}, TargetError, "targets 1 and 3 are the same endpoint"),
        ({"targets": "a:1,b:1,a:1"}, TargetError, "targets 1 and 3 are the same endpoint"),
        ({"targets": ("redis://a", "valkey://b")}, TargetError, r"different schemes \(redis, valkey\)"),
        ({"targets": ("a:1", "redis://b")}, TargetError, r"different schemes \(redis, tcp\)"),
        ({"targets": "a:1,,b:2"}, TargetError, "one of them is empty"),
        ({"targets": "a:1,"}, TargetError, "one of them is empty"),
        ({"targets": "host=a port=1,2"}, TargetError, 'names 2 hosts, and "host" has 1'),
        ({"targets": "host=a,b,c port=1,2"}, TargetError, 'names 3 hosts, and "port" has 2'),
        ({"targets": "postgresql://a/app?host=b,c"}, TargetError, "says two things"),
        ({"targets": "mongodb+srv://cluster"}, TargetError, "DNS SRV"),
        ({"targets": "env:NOT_SET_ANYWHERE"}, TargetError, "NOT_SET_ANYWHERE, which is not set"),
        ({"targets": ("a:1", 7)}, TypeError, "a str or an Endpoint, not int"),
        ({"targets": 7}, TypeError, "targets must be endpoints"),
        ({"targets": lambda: "a:1"}, TypeError, "targets must be endpoints"),
        ({"targets": BOTH, "target": "a:1"}, TypeError, "target= is one endpoint and targets= are several"),
        ({"targets": BOTH, "target": lambda: "a:1"}, TypeError, "target= is one endpoint and targets= are several"),
        ({"targets": BOTH, "breaker": CircuitBreaker("db")}, TypeError, r"give breaker=CircuitBreakers\(...\)"),
        ({"targets": BOTH, "order": "random"}, ValueError, "order must be one of 'sticky', 'in_order', 'shuffled'"),
        ({"targets": Targets(*BOTH), "order": "sticky"}, TypeError, r"Targets\(..., order=...\)"),
        ({"order": "sticky"}, TypeError, "give targets= as well"),
    ],
)
@pytest.mark.parametrize("protect", [retry_on_refused, attempts])
def test_wrong_targets_are_refused_at_once(
    protect: Any, settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        protect(**settings)


def test_a_second_variable_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRST_URLS", "env:SECOND_URLS")
    monkeypatch.setenv("SECOND_URLS", "a:1,b:2")
    with pytest.raises(TargetError, match="FIRST_URLS: the target names another environment variable"):
        Targets("env:FIRST_URLS")


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (lambda: None, "takes no argument for the Endpoint: .*as in `def connect\\(endpoint\\)"),
        (Client().bare.__func__, None),  # type: ignore[attr-defined]
        (functools.partial(lambda endpoint: endpoint, A), "has been given an Endpoint already, by functools.partial"),
        (functools.partial(lambda endpoint: endpoint, endpoint=A), "has been given an Endpoint already"),
        (lambda endpoint=A: endpoint, "keeps an Endpoint, as the default of endpoint"),
    ],
)
def test_a_function_that_cannot_be_given_an_endpoint_is_refused(thing: Any, says: str | None) -> None:
    """What keeps one that it was given before would always go there."""
    if says is None:
        assert at_both(thing)(Client(), "x") == ("Client", A, "x")
        return
    with pytest.raises(TypeError, match=says):
        at_both(thing)


def test_a_method_whose_endpoint_cannot_be_told_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Odd\.connect stands in a class, .*call the first one self, or annotate"):

        class Odd:
            @retry_on_refused(targets=BOTH)
            def connect(this, where):  # type: ignore[no-untyped-def]
                return where


def test_a_method_without_room_for_an_endpoint_is_refused() -> None:
    with pytest.raises(TypeError, match=r"behind the object: .*`def connect\(self, endpoint\): ...`"):

        class Bare:
            @retry_on_refused(targets=BOTH)
            def connect(self) -> None: ...


def test_only_one_of_its_own_endpoints_can_be_preferred() -> None:
    targets = Targets(*BOTH)
    with pytest.raises(TargetError, match="none of these Targets"):
        targets.prefer("db-c:5432")
    with pytest.raises(ValueError, match='only "sticky" calls begin where they are told to'):
        Targets(*BOTH, order="in_order").prefer("db-a:5432")


def test_a_policy_says_what_moves_on() -> None:
    """Not-ready endpoints are passed over by a policy that retries them, and by no other."""

    def function(endpoint: Endpoint) -> Endpoint:
        if endpoint == A:
            raise TimeoutError("timed out")
        return endpoint

    with pytest.raises(TimeoutError):
        at_both(function)()
    startup = Policy.startup().replace(observers=())
    assert retry_on_refused(function, targets=BOTH, policy=startup)() == B
