"""aio-pika under `guard()`: `connect`, and the first connect of `connect_robust`."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import aio_pika
import guarding
import pytest
from aio_pika.exceptions import AMQPConnectionError
from guarding import Guarded

from resilient import Backoff, Endpoint, Policy
from resilient.clients import guard
from resilient.clients.aio_pika import _where, ping, serves
from resilient.testing import refused_port

PATIENT = Policy.startup().replace(deadline=100.0, observers=())
"""RabbitMQ takes half a minute."""


@pytest.fixture(autouse=True)
def quiet() -> Any:
    for name in ("aio_pika", "aiormq"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    yield
    for name in ("aio_pika", "aiormq"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def over(connect: Any) -> Any:
    async def opened(host: str, port: int, **shield: Any) -> Any:
        return await guard(connect, **shield)(f"amqp://guest:guest@{host}:{port}/", timeout=5)

    return opened


async def over_class(host: str, port: int, **shield: Any) -> Any:
    from yarl import URL

    connection = guard(aio_pika.Connection, **shield)(URL(f"amqp://guest:guest@{host}:{port}/"))
    await connection.connect(timeout=5)
    return connection


async def ask(connection: Any) -> int:
    channel = await connection.channel()
    queue = await channel.declare_queue("", exclusive=True)
    await channel.default_exchange.publish(aio_pika.Message(b"42"), queue.name)
    message = await queue.get(no_ack=True)
    await channel.close()
    return int(message.body)


async def close(connection: Any) -> None:
    await connection.close()


GUARDED = (
    Guarded("connect", over(aio_pika.connect), ask, AMQPConnectionError, close=close),
    Guarded("connect_robust", over(aio_pika.connect_robust), ask, AMQPConnectionError, close=close),
    Guarded("Connection", over_class, ask, AMQPConnectionError, close=close),
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


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
    assert guarding.connects_on_the_wire("test_guard_aio_pika") == {guarded.name: 3 for guarded in GUARDED}


def test_the_interval_of_a_robust_connection_is_the_policys(rabbitmq: Any) -> None:
    """Where the user gives none; a robust connection that is there takes it as well."""
    policy = Policy(backoff=Backoff(initial=0.1, maximum=0.7))
    connect = guard(aio_pika.connect_robust, policy=policy)

    in_url = f"{rabbitmq.url}?reconnect_interval=4"

    async def main() -> list[float]:
        bare = await aio_pika.connect_robust(in_url)
        found = [bare.reconnect_interval]
        await bare.close()
        for url, settings in (
            (rabbitmq.url, {}),
            (rabbitmq.url, {"reconnect_interval": 3}),
            (in_url, {}),
        ):
            connection = await connect(url, **settings)
            found.append(connection.reconnect_interval)
            assert type(connection) is aio_pika.RobustConnection
            await connection.close()
        connection = await aio_pika.connect_robust(rabbitmq.url)
        assert guard(connection, policy=policy) is connection
        found.append(connection.reconnect_interval)
        await connection.close()
        return found

    in_url_of_bare, *others = asyncio.run(main())
    assert others == [0.7, 3, in_url_of_bare, 0.7]


@pytest.mark.parametrize(("query", "settings"), [("?fail_fast=0", {}), ("", {"fail_fast": False})])
def test_a_robust_connection_that_may_not_fail_fast_fails_all_the_same(query: str, settings: dict[str, Any]) -> None:
    """By itself it would try for ever."""

    async def main(port: int) -> None:
        connect = guard(aio_pika.connect_robust, policy=guarding.THREE)
        await asyncio.wait_for(connect(f"amqp://127.0.0.1:{port}/{query}", **settings), 10)

    with refused_port() as port, pytest.raises(AMQPConnectionError):
        asyncio.run(main(port))


def test_the_class_of_robust_connections_is_refused() -> None:
    with pytest.raises(TypeError, match="connect_robust"):
        guard(aio_pika.RobustConnection)


def test_the_functions_that_come_back_are_ones() -> None:
    for function in (aio_pika.connect, aio_pika.connect_robust):
        guarded = guard(guard(function))
        assert (guarded.__name__, guarded.__doc__) == (function.__name__, function.__doc__)
        assert asyncio.iscoroutinefunction(guarded)


def test_the_target_is_found_from_the_arguments() -> None:
    assert _where("amqp://u:secret@mq/") == Endpoint.parse("amqp://mq:5672")
    assert _where("amqps://mq/") == Endpoint.parse("amqps://mq:5671")
    assert _where() == Endpoint.parse("amqp://localhost:5672")
    assert _where(host="mq", port=5, ssl=True, login="me") == Endpoint.parse("amqps://mq:5")


def test_it_can_be_asked_whether_it_serves(rabbitmq: Any) -> None:
    """By a URL, and by a connection that is there."""
    serves(rabbitmq.url, 5.0)

    async def main() -> None:
        connection = await aio_pika.connect(rabbitmq.url)
        await ping(connection)
        await connection.close()

    asyncio.run(main())
    with pytest.raises(AMQPConnectionError) as caught:
        serves(rabbitmq.url.replace("guest@", "guessed@"), 5.0)
    assert "guessed" not in repr(caught.value)
