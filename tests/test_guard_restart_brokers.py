"""Brokers under `guard()`, killed and started again while messages are published: none is doubled, none is lost.

Each publisher waits for the broker's confirmation. Where the broker dies before it confirms, nobody knows whether it
has the message: that is an error, and the message is there once or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import kombu
import nats as nats_client
import pika
import pytest
from celery import Celery
from machine_servers import NatsServer
from nats.js.api import StorageType
from under_load import Load, Restart

from resilient.clients import guard

PATIENCE = 100.0
"""RabbitMQ takes half a minute to start."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    names = ("aio_pika", "aiormq", "amqp", "celery", "kombu", "pika", "nats")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def queue(server: Any, name: str) -> Iterator[Any]:
    """Make a queue that outlives the broker; give a function that empties it."""
    parameters = pika.URLParameters(server.url)

    def opened() -> Any:
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        channel.queue_declare(name, durable=True)
        return connection, channel

    opened()[0].close()

    def empty() -> list[Any]:
        connection, channel = opened()
        found = []
        while (message := channel.basic_get(name, auto_ack=True))[0] is not None:
            found.append(message)
        channel.queue_delete(name)
        connection.close()
        return found

    yield empty


def publish_with_aio_pika(load: Load, url: str) -> None:
    """By a robust connection: its own loop reconnects, at the policy's pace."""

    async def main() -> None:
        connect = guard(aio_pika.connect_robust, policy=load.policy)
        async with await connect(url) as connection:
            connection.close_callbacks.add(lambda *_: load.notice())
            channel = await connection.channel()

            async def publish(its: str) -> None:
                await channel.ready()
                message = aio_pika.Message(its.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await channel.default_exchange.publish(message, "by_aio_pika")

            await load.run_async(publish)

    asyncio.run(main())


def publish_with_kombu(load: Load, url: str) -> None:
    """By the connections of a pool."""
    pool = guard(kombu.Connection(url, transport_options={"confirm_publish": True}), policy=load.policy).Pool(4)

    def publish(its: str) -> None:
        with pool.acquire(block=True) as connection:
            connection.Producer().publish(its, routing_key="by_kombu", delivery_mode=2)

    load.run(publish)
    pool.force_close_all()


def publish_with_celery(load: Load, url: str) -> None:
    """By an application whose own publish retry is off."""
    app = Celery("test", broker=url, set_as_current=False)
    app.conf.update(task_ignore_result=True, broker_transport_options={"confirm_publish": True})
    guard(app, policy=load.policy)
    app.conf.task_publish_retry = False
    load.run(lambda its: app.send_task("test.nothing", task_id=its, queue="by_celery"))
    app.close()


def test_no_message_is_doubled_and_none_that_was_confirmed_is_lost(rabbitmq: Any) -> None:
    """aio-pika, kombu and Celery, over one restart of RabbitMQ."""
    ways = {"by_aio_pika": publish_with_aio_pika, "by_kombu": publish_with_kombu, "by_celery": publish_with_celery}
    restart = Restart(rabbitmq, parties=len(ways), patience=PATIENCE)
    loads = {name: Load(rabbitmq, restart=restart) for name in ways}
    errors: list[BaseException] = []

    def run(name: str) -> None:
        try:
            ways[name](loads[name], rabbitmq.url)
        except BaseException as error:
            errors.append(error)

    with contextlib.ExitStack() as stack:
        emptied = {name: stack.enter_context(queue(rabbitmq, name)) for name in ways}
        threads = [threading.Thread(target=run, args=(name,)) for name in ways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        for name, load in loads.items():
            messages = emptied[name]()
            ids = [
                properties.headers["id"] if name == "by_celery" else body.decode() for _, properties, body in messages
            ]
            load.check(ids)


class JetStreamServer(NatsServer):
    """A NATS server that keeps messages on disk."""

    def _command(self, folder: Path) -> list[str]:
        return [*super()._command(folder), "-js", "-sd", str(folder / "jetstream")]


def test_no_message_to_a_stream_of_nats_is_doubled_and_none_that_was_confirmed_is_lost() -> None:
    """Over the client's own reconnects."""
    with JetStreamServer() as server:
        server.start()
        server.wait_ready(30)
        load = Load(server)

        async def notice() -> None:
            load.notice()

        async def no_news(_: Exception) -> None:
            """Errors of the background are of no interest here."""

        async def main() -> list[str]:
            connect = guard(nats_client.connect, policy=load.policy)
            client = await connect(server.url, disconnected_cb=notice, error_cb=no_news, reconnect_time_wait=0.05)
            stream = client.jetstream(timeout=2.0)
            await stream.add_stream(name="load", subjects=["load.*"], storage=StorageType.FILE)
            await load.run_async(lambda its: stream.publish(f"load.{its}", its.encode()))
            count = (await stream.stream_info("load")).state.messages
            stored = [await stream.get_msg("load", seq=number) for number in range(1, count + 1)]
            await client.close()
            return [(message.data or b"").decode() for message in stored]

        load.check(asyncio.run(main()))
