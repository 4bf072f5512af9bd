"""Clients of RabbitMQ: AMQP 0-9-1, and what is built on it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any

from fake_servers import Handler, silence

from .entry import Answer, Book, Place

book = Book("amqp")


def _url(place: Place, query: str = "") -> str:
    return f"amqp://{place.user}:{place.password}@{place.netloc}/{place.database}{query}"


# pika.


def _pika(place: Place) -> dict[str, Any]:
    import pika

    return {
        "host": place.host,
        "port": int(place.port),
        "virtual_host": place.database,
        "credentials": pika.PlainCredentials(place.user, place.password),
        "connection_attempts": 1,
        "socket_timeout": place.timeout,
        "stack_timeout": place.timeout,
        "blocked_connection_timeout": place.timeout,
    }


@book.entry("pika BlockingConnection")
def pika_blocking(place: Place) -> None:
    import pika

    pika.BlockingConnection(pika.ConnectionParameters(**_pika(place))).close()


@book.entry("pika URLParameters")
def pika_url(place: Place) -> None:
    import pika

    query = f"?connection_attempts=1&socket_timeout={place.timeout}&stack_timeout={place.timeout}"
    pika.BlockingConnection(pika.URLParameters(_url(place, query))).close()


@book.entry("pika BlockingConnection over TLS")
def pika_tls(place: Place) -> None:
    import ssl

    import pika

    tls = pika.SSLOptions(ssl.create_default_context(), place.host)
    pika.BlockingConnection(pika.ConnectionParameters(**_pika(place), ssl_options=tls)).close()


@book.entry("pika SelectConnection")
def pika_select(place: Place) -> None:
    import pika

    told: list[Any] = []

    def leave(connection: Any, error: Any = None) -> None:
        told.append(error)
        connection.ioloop.stop()

    connection = pika.SelectConnection(
        pika.ConnectionParameters(**_pika(place)),
        on_open_callback=leave,
        on_open_error_callback=leave,
        on_close_callback=leave,
    )
    connection.ioloop.start()
    if told[0] is not None:
        raise told[0]


@book.entry("pika AsyncioConnection")
async def pika_asyncio(place: Place) -> None:
    import pika
    from pika.adapters.asyncio_connection import AsyncioConnection

    opened = asyncio.get_running_loop().create_future()
    connection = AsyncioConnection(
        pika.ConnectionParameters(**_pika(place)),
        on_open_callback=lambda _: opened.set_result(None),
        on_open_error_callback=lambda _, error: opened.set_exception(error),
    )
    await opened
    connection.close()


@book.entry("pika TornadoConnection")
async def pika_tornado(place: Place) -> None:
    import pika
    from pika.adapters.tornado_connection import TornadoConnection
    from tornado.ioloop import IOLoop

    opened = asyncio.get_running_loop().create_future()
    connection = TornadoConnection(
        pika.ConnectionParameters(**_pika(place)),
        on_open_callback=lambda _: opened.set_result(None),
        on_open_error_callback=lambda _, error: opened.set_exception(error),
        custom_ioloop=IOLoop.current(),
    )
    await opened
    connection.close()


# aiormq and aio-pika.


@book.entry("aiormq connect")
async def aiormq_connect(place: Place) -> None:
    import aiormq

    connection = await asyncio.wait_for(aiormq.connect(_url(place)), place.timeout)
    await connection.close()


@book.entry("aio-pika connect")
async def aio_pika_connect(place: Place) -> None:
    import aio_pika

    connection = await aio_pika.connect(_url(place), timeout=place.timeout)
    await connection.close()


@book.entry("aio-pika connect over TLS")
async def aio_pika_tls(place: Place) -> None:
    import aio_pika

    connection = await aio_pika.connect(_url(place).replace("amqp", "amqps", 1), timeout=place.timeout)
    await connection.close()


@book.entry("aio-pika connect_robust")
async def aio_pika_robust(place: Place) -> None:
    import aio_pika

    connection = await aio_pika.connect_robust(_url(place), timeout=place.timeout, fail_fast=True)
    await connection.close()


@book.entry("aio-pika Pool")
async def aio_pika_pool(place: Place) -> None:
    import aio_pika
    from aio_pika.pool import Pool

    async def connect() -> Any:
        return await aio_pika.connect(_url(place), timeout=place.timeout)

    pool: Any = Pool(connect, max_size=1)
    async with pool, pool.acquire():
        pass


# py-amqp, kombu and celery.


@book.entry("amqp Connection")
def amqp_connect(place: Place) -> None:
    import amqp

    connection = amqp.Connection(
        host=place.netloc,
        userid=place.user,
        password=place.password,
        virtual_host=place.database,
        connect_timeout=place.timeout,
        read_timeout=place.timeout,
        write_timeout=place.timeout,
    )
    connection.connect()
    connection.close()


@book.entry("amqp Connection over TLS")
def amqp_tls(place: Place) -> None:
    import amqp

    patience = {"connect_timeout": place.timeout, "read_timeout": place.timeout, "write_timeout": place.timeout}
    connection = amqp.Connection(host=place.netloc, userid=place.user, password=place.password, ssl=True, **patience)
    connection.connect()
    connection.close()


def _kombu(place: Place) -> dict[str, Any]:
    return {
        "connect_timeout": place.timeout,
        "transport_options": {
            "max_retries": 0,
            "connect_retries_timeout": 0.1,
            "read_timeout": place.timeout,
            "write_timeout": place.timeout,
        },
    }


@book.entry("kombu Connection.connect")
def kombu_connect(place: Place) -> None:
    import kombu

    with kombu.Connection(_url(place), **_kombu(place)) as connection:
        connection.connect()


@book.entry("kombu Connection.ensure_connection")
def kombu_ensure(place: Place) -> None:
    import kombu

    with kombu.Connection(_url(place), **_kombu(place)) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=place.timeout)


@book.entry("kombu Connection.channel")
def kombu_channel(place: Place) -> None:
    import kombu

    with kombu.Connection(_url(place), **_kombu(place)) as connection:
        connection.channel()


@book.entry("kombu Producer.publish")
def kombu_publish(place: Place) -> None:
    import kombu

    with kombu.Connection(_url(place), **_kombu(place)) as connection, kombu.Producer(connection) as producer:
        producer.publish({}, routing_key="things", retry=False)


@book.entry("kombu pool")
def kombu_pool(place: Place) -> None:
    import kombu

    connection = kombu.Connection(_url(place), **_kombu(place))
    with connection.Pool(1).acquire(block=True) as pooled:
        pooled.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=place.timeout)


@book.entry("kombu SimpleQueue")
def kombu_simple_queue(place: Place) -> None:
    import kombu

    with kombu.Connection(_url(place), **_kombu(place)) as connection:
        connection.SimpleQueue("things").close()


@contextlib.contextmanager
def _celery(place: Place) -> Iterator[Any]:
    import celery

    app = celery.Celery("things", broker=_url(place), set_as_current=False)
    app.conf.update(
        broker_connection_timeout=place.timeout,
        broker_transport_options=_kombu(place)["transport_options"],
        broker_connection_retry=False,
        broker_connection_retry_on_startup=False,
        broker_connection_max_retries=0,
        task_publish_retry=False,
    )
    try:
        yield app
    finally:
        app.close()


@book.entry("celery send_task")
def celery_send_task(place: Place) -> None:
    with _celery(place) as app:
        app.send_task("work", retry=False)


@book.entry("celery delay")
def celery_delay(place: Place) -> None:
    with _celery(place) as app:

        @app.task
        def work() -> None: ...

        work.delay()


@book.entry("celery inspect")
def celery_inspect(place: Place) -> None:
    with _celery(place) as app:
        app.control.inspect(timeout=place.timeout).ping()


@book.entry("celery connection_for_read")
def celery_worker_start(place: Place) -> None:
    with _celery(place) as app, app.connection_for_read(heartbeat=0) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=place.timeout)


# dramatiq.


@book.entry("dramatiq RabbitmqBroker.enqueue")
def dramatiq_enqueue(place: Place) -> None:
    import dramatiq
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    broker = RabbitmqBroker(parameters=[_pika(place)], middleware=[])

    @dramatiq.actor(broker=broker)
    def work() -> None: ...

    try:
        work.send()
    finally:
        broker.close()


# What a broker may say.


def _method(number: int, body: bytes = b"") -> bytes:
    """Return a method frame of the class `connection`."""
    payload = struct.pack(">HH", 10, number) + body
    return b"\x01" + struct.pack(">HI", 0, len(payload)) + payload + b"\xce"


def _long(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


_CAPABILITIES = b"\x1cauthentication_failure_closet\x01"
_PROPERTIES = b"\x0ccapabilitiesF" + _long(_CAPABILITIES) + b"\x07productS" + _long(b"RabbitMQ")
_START = _method(10, b"\x00\x09" + _long(_PROPERTIES) + _long(b"PLAIN AMQPLAIN") + _long(b"en_US"))
_TUNE = _method(30, struct.pack(">HIH", 2047, 131_072, 0))


def _close(code: int, text: str) -> bytes:
    said = text.encode()
    return _method(50, struct.pack(">HB", code, len(said)) + said + struct.pack(">HH", 10, 40))


def _broker(code: int, text: str, *, at_login: bool = False) -> Handler:
    """Close the connection with this code and text, at the login or once a virtual host is asked for."""

    def handler(connection: socket.socket) -> None:
        with connection.makefile("rb") as frames:

            def hear(number: int) -> None:
                while head := frames.read(7):
                    body = frames.read(int.from_bytes(head[3:], "big") + 1)
                    if body[:4] == struct.pack(">HH", 10, number):
                        return

            frames.read(8)
            connection.sendall(_START)
            hear(11)
            if not at_login:
                connection.sendall(_TUNE)
                hear(40)
            connection.sendall(_close(code, text))
            hear(51)

    return handler


def _not_amqp(connection: socket.socket) -> None:
    """Answer with the header of another version of the protocol, as a broker does that speaks that one only."""
    connection.recv(8)
    connection.sendall(b"AMQP\x00\x01\x00\x00")
    connection.shutdown(socket.SHUT_WR)
    silence(connection)


def _leaves_after_login(connection: socket.socket) -> None:
    """Hang up when the client has said who it is: an old broker's way to say no, and anybody's who is being stopped."""
    connection.recv(8)
    connection.sendall(_START)
    connection.recv(65_536)


_NO_LOGIN = (
    "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
)
_DOWN = "INTERNAL_ERROR - access to vhost 'things' refused for user 'someone': vhost 'things' is down"
_FULL = "NOT_ALLOWED - access to vhost 'things' refused for user 'someone': connection limit (1) is reached"
_NO_ACCESS = "NOT_ALLOWED - access to vhost 'things' refused for user 'someone'"
_LIE = "INTERNAL_ERROR - [Errno 111] Connection refused"

_AIO: dict[str, str | None] = {"aiormq": None, "aio-pika": None}
"""They drop what the broker says of a virtual host."""

_TLS: dict[str, str | None] = {client.name: "any" for client in book.entries if "TLS" in client.name}
"""They hear no TLS: that is all they make of it."""
_AIO |= _TLS

book.answers += [
    Answer("wrong password", _broker(403, _NO_LOGIN, at_login=True), "hopeless", _TLS),
    Answer("no such vhost", _broker(530, "NOT_ALLOWED - vhost things not found"), "hopeless", _AIO),
    Answer("no access to the vhost", _broker(530, _NO_ACCESS), "hopeless", _AIO),
    Answer("the vhost is down", _broker(541, _DOWN), "not_ready", _AIO),
    Answer("too many connections", _broker(530, _FULL), "not_ready", _AIO),
    Answer("a quoted refusal", _broker(541, _LIE), None, _TLS),
    Answer("hangs up after the login", _leaves_after_login, None, _TLS),
    Answer("another version", _not_amqp, None, _TLS),
]
