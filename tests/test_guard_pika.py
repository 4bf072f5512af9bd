"""pika under `guard()`: `BlockingConnection`, and connections with callbacks."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import guarding
import pika
import pytest
from guarding import Guarded
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPConnectionError

from resilient import CircuitBreaker, Endpoint, Policy, Targets
from resilient.clients import guard
from resilient.clients.pika import _where, ping, serves
from resilient.testing import refused_port

PATIENT = Policy.startup().replace(deadline=100.0, observers=())
"""RabbitMQ takes half a minute."""


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """pika logs each failure at ERROR, with tracebacks."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("pika").setLevel(logging.NOTSET)


def parameters(host: str, port: int, **more: Any) -> pika.ConnectionParameters:
    return pika.ConnectionParameters(host, port, connection_attempts=5, retry_delay=0, socket_timeout=5, **more)


def over(host: str, port: int, **shield: Any) -> Any:
    return lambda: guard(pika.BlockingConnection, **shield)(parameters(host, port))


def ask(connect: Any) -> int:
    """Publish a message to a queue of its own, and get it."""
    connection = connect()
    try:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.confirm_delivery()
        channel.basic_publish("", queue, b"42")
        return int(channel.basic_get(queue, auto_ack=True)[2])
    finally:
        connection.close()


BLOCKING = Guarded("BlockingConnection", over, ask, AMQPConnectionError)
GUARDED = (BLOCKING,)


def test_it_waits_for_its_server(rabbitmq: Any) -> None:
    """Down when the program starts, then starting for half a minute."""
    rabbitmq.kill()
    timer = threading.Timer(0.6, rabbitmq.start)
    timer.start()
    try:
        assert BLOCKING.once(rabbitmq.port, policy=PATIENT) == 42
    finally:
        timer.join()
        rabbitmq.wait_ready()


def test_it_goes_to_the_endpoint_that_serves(rabbitmq: Any) -> None:
    """Past the one that refuses, and whatever its parameters say."""
    with refused_port() as refuses:
        targets = Targets(f"127.0.0.1:{refuses}", f"{rabbitmq.host}:{rabbitmq.port}")
        connect = guard(pika.BlockingConnection, policy=PATIENT, targets=targets)
        with connect(pika.ConnectionParameters("192.0.2.1")) as connection:
            assert connection.is_open
    assert targets.current.port == rabbitmq.port


def test_under_load_no_message_is_doubled(rabbitmq: Any) -> None:
    """The server dies while messages are published, and comes back: each one that was confirmed is there once."""
    connect = over(rabbitmq.host, rabbitmq.port, policy=PATIENT)
    persistent = pika.BasicProperties(delivery_mode=2)
    confirmed, begun = set(), 0

    def open_channel() -> Any:
        channel = connect().channel()
        channel.queue_declare("load", durable=True)
        channel.confirm_delivery()
        return channel

    def restart() -> None:
        rabbitmq.kill()
        rabbitmq.start()

    channel, failed = open_channel(), 0
    timer = threading.Timer(0.5, restart)
    timer.start()
    while len(confirmed) < 1000 or not failed:
        begun += 1
        try:
            channel.basic_publish("", "load", str(begun).encode(), persistent)
            confirmed.add(begun)
        except AMQPConnectionError:
            failed += 1
            channel = open_channel()
    timer.join()
    arrived = []
    while (message := channel.basic_get("load", auto_ack=True))[0] is not None:
        arrived.append(int(message[2]))
    channel.queue_delete("load")
    channel.connection.close()
    assert failed == 1
    assert len(arrived) == len(set(arrived))
    assert confirmed <= set(arrived)


def test_it_gives_up_as_the_client_does() -> None:
    guarding.every_check_without_a_server(BLOCKING)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    """Whatever `connection_attempts` says."""
    assert guarding.connects_on_the_wire("test_guard_pika") == {"BlockingConnection": 3}


def test_the_class_that_comes_back_is_one() -> None:
    """A subclass of the same name, also of one's own class, whose `__init__` runs once."""
    runs = []

    class Mine(pika.BlockingConnection):
        def __init__(self, *args: Any) -> None:
            runs.append(args)
            super().__init__(*args)

    for cls in (pika.BlockingConnection, Mine):
        guarded = guard(guard(cls))
        assert issubclass(guarded, cls)
        assert guarded.__name__ == cls.__name__
        assert guarded.__mro__[1] is cls
    with refused_port() as port, pytest.raises(AMQPConnectionError):
        guard(Mine, policy=guarding.THREE)(parameters("127.0.0.1", port))
    assert len(runs) == 1


def test_the_parameters_of_the_user_stay_as_they_are() -> None:
    mine = parameters("127.0.0.1", 1)
    with refused_port() as port, pytest.raises(AMQPConnectionError):
        mine.port = port
        guard(pika.BlockingConnection, policy=guarding.THREE)([mine, mine])
    assert mine.connection_attempts == 5


def test_a_connection_that_is_there_is_none_that_connects(rabbitmq: Any) -> None:
    connection = pika.BlockingConnection(parameters(rabbitmq.host, rabbitmq.port))
    try:
        with pytest.raises(TypeError, match="does not know how BlockingConnection connects"):
            guard(connection)
        ping(connection)
    finally:
        connection.close()
    with pytest.raises(AMQPConnectionError):
        ping(connection)


def test_the_target_is_what_the_parameters_say() -> None:
    import ssl

    assert _where(None) == Endpoint.parse("amqp://localhost:5672")
    assert _where(parameters("mq", 1)) == Endpoint.parse("amqp://mq:1")
    assert _where([parameters("a", 1), parameters("b", 2)]) == Endpoint.parse("amqp://a:1")
    secure = parameters("mq", 5671, ssl_options=pika.SSLOptions(ssl.create_default_context()))
    assert _where(secure) == Endpoint.parse("amqps://mq:5671")


# With callbacks


def connect_with_callbacks(cls: Any, port: int) -> tuple[Any, float]:
    """Run a `SelectConnection` until it is open or has failed; return that, and how long it took."""
    import time

    result: list[Any] = []

    def end(connection: Any, error: Any = None) -> None:
        result.append(connection if error is None else error)
        if error is None:
            connection.close()
        else:
            connection.ioloop.stop()

    made = cls(
        parameters("127.0.0.1", port),
        on_open_callback=end,
        on_open_error_callback=end,
        on_close_callback=lambda connection, _: connection.ioloop.call_later(0.05, connection.ioloop.stop),
    )
    started = time.monotonic()
    made.ioloop.start()
    elapsed = time.monotonic() - started
    made.ioloop.close()
    return result[0], elapsed


def test_a_connection_with_callbacks_is_given_the_policys_numbers(rabbitmq: Any) -> None:
    """By pika's own loop: three attempts, with the longest delay of the policy between two."""
    guarded = guard(pika.SelectConnection, policy=guarding.THREE.replace(backoff=_backoff(0.2)))
    with refused_port() as port:
        error, elapsed = connect_with_callbacks(guarded, port)
    assert isinstance(error, AMQPConnectionError)
    assert 0.35 < elapsed < 3.0
    opened, _ = connect_with_callbacks(guarded, rabbitmq.port)
    assert isinstance(opened, pika.SelectConnection)


def _backoff(seconds: float) -> Any:
    from resilient import Backoff

    return Backoff(initial=seconds, maximum=seconds)


def test_a_connection_with_callbacks_takes_no_breaker() -> None:
    with pytest.raises(TypeError, match="a circuit breaker has no place"):
        guard(pika.SelectConnection, breaker=CircuitBreaker("mq", observers=()))


# Asking


def test_it_can_be_asked_whether_it_serves(rabbitmq: Any) -> None:
    """By a URL; a wrong password is said, and not repeated."""
    serves(rabbitmq.url, 5.0)
    with pytest.raises(AMQPConnectionError) as caught:
        serves(rabbitmq.url.replace("guest@", "guessed@"), 5.0)
    assert "guessed" not in repr(caught.value)
    with refused_port() as port, pytest.raises(AMQPConnectionError):
        serves(f"amqp://guest:guest@127.0.0.1:{port}/", 2.0)


def test_asking_takes_no_longer_than_it_may() -> None:
    """A port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(AMQPConnectorException):
        serves(f"amqp://127.0.0.1:{silent.getsockname()[1]}/", 0.5)
