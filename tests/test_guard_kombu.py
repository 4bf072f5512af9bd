"""kombu and Celery under `guard()`: connections, their pools, and what an application publishes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import guarding
import kombu
import pytest
from celery import Celery
from conftest import ready_to_start
from guarding import Guarded
from kombu.exceptions import OperationalError

from resilient import Backoff, CircuitOpenError, Endpoint, Policy
from resilient.cli._servers import ValkeyServer
from resilient.clients import guard
from resilient.clients.kombu import _where, numbers, ping, serves
from resilient.testing import refused_port

PATIENT = Policy.startup().replace(deadline=100.0, observers=())
"""RabbitMQ takes half a minute."""


def amqp(host: str, port: int) -> str:
    return f"amqp://guest:guest@{host}:{port}//"


def over_object(host: str, port: int, **shield: Any) -> Any:
    return guard(kombu.Connection(amqp(host, port)), **shield)


def over_class(host: str, port: int, **shield: Any) -> Any:
    return guard(kombu.Connection, **shield)(amqp(host, port), transport_options={"max_retries": 7})


def over_pool(host: str, port: int, **shield: Any) -> Any:
    return guard(kombu.Connection(amqp(host, port)).Pool(2), **shield)


def over_pool_of_guarded(host: str, port: int, **shield: Any) -> Any:
    return guard(kombu.Connection(amqp(host, port)), **shield).Pool(2)


def over_application(host: str, port: int, **shield: Any) -> Any:
    app = Celery("test", broker=amqp(host, port), set_as_current=False)
    app.conf.task_ignore_result = True
    return guard(app, **shield)


def ask(connection: Any) -> int:
    """Publish to a queue of its own, and get it."""
    with connection.channel() if connection.connected else connection.default_channel as channel:
        return _through(channel)


def _through(channel: Any) -> int:
    queue = channel.queue_declare("", exclusive=True).queue
    channel.basic_publish(channel.prepare_message(b"42"), exchange="", routing_key=queue)
    message = None
    while message is None:
        message = channel.basic_get(queue, no_ack=True)
    return int(message.body)


def ask_pool(pool: Any) -> int:
    with pool.acquire(block=True) as connection:
        return ask(connection)


def connect(connection: Any) -> int:
    connection.ensure_connection()
    return ask(connection)


def send(app: Any) -> int:
    app.send_task("test.nothing")
    return 42


GUARDED = (
    Guarded("Connection()", over_object, connect, OperationalError, close=lambda it: it.release()),
    Guarded("Connection", over_class, ask, OperationalError, close=lambda it: it.release()),
    Guarded("Pool()", over_pool, ask_pool, OperationalError, close=lambda it: it.force_close_all()),
    Guarded("Connection.Pool", over_pool_of_guarded, ask_pool, OperationalError, close=lambda it: it.force_close_all()),
    Guarded("Celery()", over_application, send, OperationalError, close=lambda it: it.close()),
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ready_to_start(ValkeyServer) as found:
        yield found


def test_it_waits_for_its_server(rabbitmq: Any) -> None:
    """Each of them, while RabbitMQ is down and then starts for half a minute."""
    rabbitmq.kill()
    timer = threading.Timer(0.6, rabbitmq.start)
    timer.start()
    answers: dict[str, Any] = {}

    def once(guarded: Guarded) -> None:
        answers[guarded.name] = guarded.once(rabbitmq.port, policy=PATIENT)

    threads = [threading.Thread(target=once, args=(guarded,)) for guarded in GUARDED]
    for thread in threads:
        thread.start()
    for thread in [*threads, timer]:
        thread.join()
    rabbitmq.wait_ready()
    assert answers == {guarded.name: 42 for guarded in GUARDED}


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    """Publishing included, whose own retries stand round it."""
    assert guarding.connects_on_the_wire("test_guard_kombu") == {guarded.name: 3 for guarded in GUARDED}


@pytest.mark.parametrize("use", [lambda it: it.connect(), lambda it: it.connection, lambda it: it.default_channel])
def test_every_way_to_connect_is_protected(use: Any, valkey: ValkeyServer) -> None:
    """With Redis as the broker, which comes up meanwhile."""
    valkey.kill()
    timer = threading.Timer(0.4, valkey.start)
    timer.start()
    connection = guard(kombu.Connection(valkey.url), policy=guarding.PATIENT)
    try:
        assert use(connection) is not None
        assert connection.connected
    finally:
        connection.release()
        timer.join()
        valkey.wait_ready()


def test_connecting_at_once_raises_what_it_raised() -> None:
    """`connect()` lets the socket's own error through, and so an open circuit."""
    with refused_port() as port, pytest.raises(ConnectionRefusedError):
        guard(kombu.Connection(amqp("127.0.0.1", port)), policy=guarding.THREE).connect()


def test_a_clone_is_guarded_as_well() -> None:
    connection = guard(guard(kombu.Connection("amqp://")), policy=guarding.THREE)
    assert type(connection).__mro__[1] is kombu.Connection
    clone = connection.clone()
    assert type(clone) is type(connection)


def test_whoever_brings_numbers_of_his_own_gets_what_he_asks_for() -> None:
    """kombu's loop, his numbers, and the policy's delays in the place of kombu's two seconds and more."""
    heard: list[float] = []
    connection = guard(
        kombu.Connection("amqp://"), policy=Policy(backoff=Backoff(initial=0.01, maximum=0.02), observers=())
    )
    with refused_port() as port:
        connection.hostname, connection.port = "127.0.0.1", port
        with pytest.raises(OperationalError):
            connection.ensure_connection(errback=lambda _, interval: heard.append(interval), max_retries=4)
    assert len(heard) == 4
    assert max(heard) <= 0.02 + 0.01  # older versions of kombu overshoot by their first delay


def test_whoever_asks_for_no_limit_has_none() -> None:
    """As a worker does, whose setting says so; the delays are the policy's all the same."""

    class StopError(Exception):
        """Ends it."""

    heard: list[Exception] = []

    def hear(error: Exception, _: float) -> None:
        heard.append(error)
        if len(heard) == 8:
            raise StopError

    with refused_port() as port:
        connection = guard(kombu.Connection(amqp("127.0.0.1", port)), policy=guarding.THREE.replace(deadline=0.05))
        with pytest.raises(StopError):
            connection.ensure_connection(hear, None, callback=lambda: None)
        heard.clear()
        with pytest.raises(OperationalError):
            connection.ensure_connection(hear)
    assert len(heard) == 2


def test_alternates_take_their_turns(valkey: ValkeyServer) -> None:
    """The second host answers, and no attempt is wasted on the first twice."""
    valkey.start()
    valkey.wait_ready()
    with refused_port() as port:
        hosts = f"redis://127.0.0.1:{port};{valkey.url}"
        with guard(kombu.Connection(hosts), policy=guarding.THREE) as connection:
            connection.ensure_connection()
            assert connection.port == valkey.port
        ping(kombu.Connection(hosts))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(attempts=4), (3, 0.05, 1.0)),
        (Policy(attempts=1), (0, 0.05, 1.0)),
        (Policy.background(), (None, 0.05, 30.0)),
        (Policy(deadline=10.0), (15, 0.05, 1.0)),
    ],
)
def test_a_policy_in_kombus_words(policy: Policy, expected: tuple[Any, ...]) -> None:
    found = numbers(policy)
    assert (found["max_retries"], found["interval_start"], found["interval_max"]) == expected
    assert 0 < found["interval_step"] <= found["interval_max"]


def test_the_target_is_the_host_whose_turn_it_is() -> None:
    assert _where(kombu.Connection("amqp://u:secret@mq//")) == Endpoint.parse("amqp://mq:5672")
    assert _where(kombu.Connection("redis://cache/1")) == Endpoint.parse("redis://cache:6379")


def test_an_applications_settings_are_the_policys(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "resilient"):
        app = over_application("mq", 1, policy=Policy(attempts=4, deadline=2.0))
    assert app.conf.broker_connection_retry_on_startup is True
    assert app.conf.broker_connection_max_retries == 3
    assert app.conf.broker_connection_timeout == 2.0
    assert app.conf.task_publish_retry_policy["interval_max"] == 1.0
    assert "task_publish_retry_policy" in caplog.text
    assert "secret" not in caplog.text
    app.close()


def test_an_open_circuit_leaves_publishing_at_once(valkey: ValkeyServer) -> None:
    """The caller's `except OperationalError` has what stands behind it."""
    from resilient import CircuitBreaker

    breaker = CircuitBreaker("mq", observers=())
    breaker.isolate()
    app = over_application("127.0.0.1", 1, policy=guarding.THREE, breaker=breaker)
    with pytest.raises(OperationalError) as caught:
        send(app)
    assert isinstance(caught.value.__cause__, CircuitOpenError)
    app.close()


def test_it_can_be_asked_whether_it_serves(rabbitmq: Any) -> None:
    serves(rabbitmq.url, 5.0)
    with pytest.raises(Exception, match="ACCESS_REFUSED") as caught:
        serves(rabbitmq.url.replace("guest@", "guessed@"), 5.0)
    assert "guessed" not in str(caught.value)
    with refused_port() as port, pytest.raises(ConnectionRefusedError):
        serves(amqp("127.0.0.1", port), 2.0)
