"""Clients of NATS, STOMP, MQTT, Pulsar and Temporal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from datetime import timedelta
from typing import Any, Literal

from fake_servers import Handler, says, silence

from .entry import NO_IPV6, ONLY_WORDS, Answer, Book, Place

# NATS.

nats = Book("nats")


def _nats(place: Place, scheme: str = "nats") -> dict[str, Any]:
    return {
        "servers": [f"{scheme}://{place.user}:{place.password}@{place.netloc}"],
        "connect_timeout": place.timeout,
        "reconnect_time_wait": 0,
    }


@nats.entry("nats-py connect")
async def nats_connect(place: Place) -> None:
    import nats

    await (await nats.connect(**_nats(place), allow_reconnect=False)).close()


@nats.entry("nats-py connect with reconnects")
async def nats_reconnects(place: Place) -> None:
    import nats

    await (await nats.connect(**_nats(place), max_reconnect_attempts=1)).close()


@nats.entry("nats-py connect with an error_cb")
async def nats_told(place: Place) -> None:
    """The callback keeps the error, the program raises it."""
    import nats

    told: list[Exception] = []

    async def tell(error: Exception) -> None:
        told.append(error)

    try:
        connection = await nats.connect(**_nats(place), max_reconnect_attempts=1, error_cb=tell)
    except nats.errors.NoServersError:
        raise told[-1] from None
    await connection.close()


@nats.entry("nats-py connect over websockets")
async def nats_websockets(place: Place) -> None:
    import nats

    connecting = nats.connect(**_nats(place, "ws"), allow_reconnect=False)
    await (await asyncio.wait_for(connecting, 2 * place.timeout)).close()


@nats.entry("nats-py connect over TLS")
async def nats_tls(place: Place) -> None:
    import ssl

    import nats

    settings = _nats(place, "tls") | {"tls": ssl.create_default_context(), "tls_handshake_first": True}
    await (await nats.connect(**settings, allow_reconnect=False)).close()


def _nats_says(error: str) -> Handler:
    """Greet, and answer the first ping with this error."""
    info = {"server_id": "X", "version": "2.10", "proto": 1, "max_payload": 1024, "auth_required": True}

    def handler(connection: socket.socket) -> None:
        connection.sendall(f"INFO {json.dumps(info)}\r\n".encode())
        with connection.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"PING"):
                    break
            connection.sendall(f"-ERR '{error}'\r\n".encode())
            connection.shutdown(socket.SHUT_WR)
            silence(connection)

    return handler


_RECONNECTS: dict[str, str | None] = {"nats-py connect with reconnects": None}
_WEBSOCKETS: dict[str, str | None] = {
    "nats-py connect over websockets": "any",
    "nats-py connect over TLS": "any",
}

nats.answers += [
    Answer("wrong password", _nats_says("Authorization Violation"), "hopeless", _WEBSOCKETS | _RECONNECTS),
    Answer("too many connections", _nats_says("maximum connections exceeded"), "not_ready", _WEBSOCKETS | _RECONNECTS),
    Answer("a quoted refusal", _nats_says("[Errno 111] Connection refused"), None, _WEBSOCKETS),
]

# STOMP.

stomp = Book("stomp")


def _stomp(place: Place) -> dict[str, Any]:
    return {
        "host_and_ports": [(place.host, int(place.port))],
        "try_loopback_connect": False,
        "prefer_localhost": False,
        "reconnect_attempts_max": 1,
        "reconnect_sleep_initial": 0,
        "timeout": place.timeout,
    }


def _stomp_connect(connection: Any, place: Place) -> None:
    """Log in. By itself it would wait for ever where nobody answers."""
    patience = threading.Timer(2 * place.timeout, connection.transport.disconnect_socket)
    patience.start()
    try:
        connection.connect(place.user, place.password, wait=True)
    finally:
        patience.cancel()
        with contextlib.suppress(Exception):
            connection.disconnect()


@stomp.entry("stomp.py Connection")
def stomp_connection(place: Place) -> None:
    import stomp

    _stomp_connect(stomp.Connection(**_stomp(place)), place)


@stomp.entry("stomp.py Connection11")
def stomp_connection11(place: Place) -> None:
    import stomp

    _stomp_connect(stomp.Connection11(**_stomp(place)), place)


@stomp.entry("stomp.py Connection12")
def stomp_connection12(place: Place) -> None:
    import stomp

    _stomp_connect(stomp.Connection12(**_stomp(place)), place)


_NO_LOGIN = b"ERROR\nmessage:Bad CONNECT\ncontent-type:text/plain\n\nAccess refused for user 'someone'\n\0"

# stomp.py tells it to its listeners, and raises without a word.
stomp.answers.append(Answer("wrong password", says(_NO_LOGIN), None))

# MQTT.

mqtt = Book("mqtt")


def _paho(place: Place, transport: Literal["tcp", "websockets"] = "tcp") -> Any:
    from paho.mqtt import client as paho

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, transport=transport, reconnect_on_failure=False)
    client.username_pw_set(place.user, place.password)
    client.connect_timeout = place.timeout
    return client


@mqtt.entry("paho-mqtt Client.connect")
def paho_connect(place: Place) -> None:
    """Its manual's loop; the callback raises as `paho.mqtt.publish.single` does."""
    from paho.mqtt import MQTTException
    from paho.mqtt import client as paho

    client = _paho(place)
    told: list[Any] = []
    client.on_connect = lambda _client, _data, _flags, reason, _properties: told.append(reason)
    client.connect(place.host, int(place.port))
    try:
        for _ in range(3):
            result = client.loop(place.timeout / 2)
            if told and told[0] != 0:
                raise MQTTException(paho.connack_string(told[0]))
            if result != 0:
                raise MQTTException(paho.error_string(result))
        raise TimeoutError("no answer")
    finally:
        client.disconnect()


@mqtt.entry("paho-mqtt connect_async and loop_forever")
def paho_loop_forever(place: Place) -> None:
    from paho.mqtt import MQTTException
    from paho.mqtt import client as paho

    client = _paho(place)
    told: list[Any] = []

    client.on_connect = lambda _client, _data, _flags, reason, _properties: told.append(reason)
    client.connect_async(place.host, int(place.port), keepalive=1)
    client.loop_forever(timeout=place.timeout / 2, retry_first_connection=False)
    raise MQTTException(paho.connack_string(told[0]) if told else "disconnected")


@mqtt.entry("paho-mqtt Client.connect over websockets")
def paho_websockets(place: Place) -> None:
    client = _paho(place, "websockets")
    client.connect(place.host, int(place.port))
    client.disconnect()


@mqtt.entry("paho-mqtt Client.connect over TLS")
def paho_tls(place: Place) -> None:
    client = _paho(place)
    client.tls_set()
    client.connect(place.host, int(place.port))
    client.disconnect()


@mqtt.entry("aiomqtt Client")
async def aiomqtt_client(place: Place) -> None:
    import aiomqtt

    login = {"username": place.user, "password": place.password}
    async with aiomqtt.Client(place.host, int(place.port), **login, timeout=place.timeout):
        pass


@mqtt.entry("aiomqtt Client of MQTT 5")
async def aiomqtt_client5(place: Place) -> None:
    import aiomqtt

    login = {"username": place.user, "password": place.password, "protocol": aiomqtt.ProtocolVersion.V5}
    async with aiomqtt.Client(place.host, int(place.port), **login, timeout=place.timeout):
        pass


@mqtt.entry("aiomqtt Client over TLS")
async def aiomqtt_tls(place: Place) -> None:
    import ssl

    import aiomqtt

    tls = ssl.create_default_context()
    async with aiomqtt.Client(place.host, int(place.port), tls_context=tls, timeout=place.timeout):
        pass


def _connack(code: int, code5: int) -> Handler:
    """Answer a login with this code, in the protocol that the client speaks."""

    def handler(connection: socket.socket) -> None:
        is_5 = connection.recv(65_536)[8:9] == b"\x05"
        connection.sendall(bytes([0x20, 3, 0, code5, 0] if is_5 else [0x20, 2, 0, code]))
        connection.shutdown(socket.SHUT_WR)
        silence(connection)

    return handler


_LATE: dict[str, str | None] = {
    "paho-mqtt Client.connect over websockets": "skip",
    "paho-mqtt Client.connect over TLS": "any",
    "aiomqtt Client over TLS": "any",
}

mqtt.answers += [
    Answer("wrong password", _connack(4, 134), "hopeless", _LATE),
    Answer("not authorised", _connack(5, 135), "hopeless", _LATE),
    Answer("unavailable", _connack(3, 136), "not_ready", _LATE),
    Answer("the name is refused", _connack(2, 133), None, _LATE),
]

# Pulsar.

pulsar = Book("pulsar")


@contextlib.contextmanager
def _pulsar(place: Place) -> Any:
    import pulsar

    client = pulsar.Client(
        f"pulsar://{place.netloc}",
        authentication=pulsar.AuthenticationToken("token"),
        operation_timeout_seconds=place.seconds,
        connection_timeout_ms=int(place.timeout * 1000),
        logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"),
    )
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            client.close()


@pulsar.entry("pulsar-client Client.create_producer", **NO_IPV6)
def pulsar_producer(place: Place) -> None:
    with _pulsar(place) as client:
        client.create_producer("things", send_timeout_millis=int(place.timeout * 1000))


@pulsar.entry("pulsar-client Client.subscribe", **NO_IPV6)
def pulsar_subscribe(place: Place) -> None:
    with _pulsar(place) as client:
        client.subscribe("things", "people")


@pulsar.entry("pulsar-client Client.create_reader", **NO_IPV6)
def pulsar_reader(place: Place) -> None:
    import pulsar

    with _pulsar(place) as client:
        client.create_reader("things", pulsar.MessageId.earliest)


def _pulsar_says(code: int, text: bytes) -> Handler:
    """Answer the connect command with an error."""
    error = b"\x08" + b"\xff" * 9 + b"\x01" + b"\x10" + bytes([code]) + b"\x1a" + bytes([len(text)]) + text
    command = b"\x08\x0e" + b"\x72" + bytes([len(error)]) + error
    return says(struct.pack(">II", len(command) + 4, len(command)) + command)


# It hangs up on each of them and tries again.
pulsar.answers += [
    Answer("wrong password", _pulsar_says(3, b"Failed to authenticate"), None),
    Answer("not ready", _pulsar_says(6, b"Namespace is being unloaded"), None),
    Answer("a quoted refusal", _pulsar_says(0, b"[Errno 111] Connection refused"), None),
]

# Temporal.

temporal = Book("temporal")


@temporal.entry("temporalio Client.connect", **ONLY_WORDS)
async def temporal_connect(place: Place) -> None:
    from temporalio.client import Client

    connecting = Client.connect(place.netloc, connect_timeout=timedelta(seconds=place.timeout))
    await asyncio.wait_for(connecting, 10 * place.timeout)


@temporal.entry("temporalio lazy Client", **ONLY_WORDS)
async def temporal_lazy(place: Place) -> None:
    from temporalio.client import Client

    client = await Client.connect(place.netloc, lazy=True, connect_timeout=timedelta(seconds=place.timeout))
    await client.service_client.check_health(timeout=timedelta(seconds=place.timeout))


BOOKS = (nats, stomp, mqtt, pulsar, temporal)
