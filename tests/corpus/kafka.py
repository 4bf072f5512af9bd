"""Clients of Kafka."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

from fake_servers import Handler

from .entry import Answer, Book, Place

book = Book("kafka")

_SASL = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}


# kafka-python.


def _kafka_python(place: Place, **more: Any) -> dict[str, Any]:
    milliseconds = int(place.timeout * 1000)
    return {
        "bootstrap_servers": [place.netloc],
        "bootstrap_timeout_ms": milliseconds,
        "request_timeout_ms": milliseconds,
        **more,
    }


def _sasl(place: Place) -> dict[str, Any]:
    return {**_SASL, "sasl_plain_username": place.user, "sasl_plain_password": place.password}


@book.entry("kafka-python KafkaProducer")
def kafka_python_producer(place: Place) -> None:
    import kafka

    milliseconds = int(place.timeout * 1000)
    producer = kafka.KafkaProducer(
        **_kafka_python(place, max_block_ms=milliseconds, delivery_timeout_ms=2 * milliseconds)
    )
    try:
        producer.send("things", b"value").get(timeout=place.timeout)
    finally:
        producer.close(timeout=0)


@book.entry("kafka-python KafkaProducer with a login")
def kafka_python_login(place: Place) -> None:
    import kafka

    producer = kafka.KafkaProducer(**_kafka_python(place, max_block_ms=int(place.timeout * 1000), **_sasl(place)))
    try:
        producer.partitions_for("things")
    finally:
        producer.close(timeout=0)


@book.entry("kafka-python KafkaConsumer")
def kafka_python_consumer(place: Place) -> None:
    import kafka

    milliseconds = int(place.timeout * 1000)
    settings = {"session_timeout_ms": milliseconds - 100, "heartbeat_interval_ms": 100}
    consumer = kafka.KafkaConsumer(**_kafka_python(place, **settings))
    try:
        consumer.topics()
    finally:
        consumer.close(autocommit=False)


@book.entry("kafka-python KafkaAdminClient")
def kafka_python_admin(place: Place) -> None:
    import kafka

    admin = kafka.KafkaAdminClient(**_kafka_python(place))
    try:
        admin.describe_groups(["people"])
    finally:
        admin.close()


# aiokafka.


def _aiokafka(place: Place) -> dict[str, Any]:
    return {"bootstrap_servers": place.netloc, "request_timeout_ms": int(place.timeout * 1000)}


@book.entry("aiokafka AIOKafkaProducer")
async def aiokafka_producer(place: Place) -> None:
    import aiokafka

    producer = aiokafka.AIOKafkaProducer(**_aiokafka(place))
    try:
        await producer.start()
        await producer.send_and_wait("things", b"value")
    finally:
        with contextlib.suppress(Exception):
            await producer.stop()


@book.entry("aiokafka AIOKafkaProducer with a login")
async def aiokafka_login(place: Place) -> None:
    import aiokafka

    producer = aiokafka.AIOKafkaProducer(**_aiokafka(place), **_sasl(place))
    try:
        await producer.start()
    finally:
        await producer.stop()


@book.entry("aiokafka AIOKafkaProducer over TLS")
async def aiokafka_tls(place: Place) -> None:
    import ssl

    import aiokafka

    tls = {"security_protocol": "SSL", "ssl_context": ssl.create_default_context()}
    producer = aiokafka.AIOKafkaProducer(**_aiokafka(place), **tls)
    try:
        await producer.start()
    finally:
        await producer.stop()


@book.entry("aiokafka AIOKafkaConsumer")
async def aiokafka_consumer(place: Place) -> None:
    import aiokafka

    consumer = aiokafka.AIOKafkaConsumer("things", **_aiokafka(place))
    try:
        await consumer.start()
    finally:
        await consumer.stop()


@book.entry("aiokafka AIOKafkaAdminClient")
async def aiokafka_admin(place: Place) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(**_aiokafka(place))
    try:
        await admin.start()
        await admin.describe_consumer_groups(["people"])
    finally:
        await admin.close()


# confluent-kafka.


def _confluent(place: Place) -> dict[str, Any]:
    return {"bootstrap.servers": place.netloc, "socket.timeout.ms": int(place.timeout * 1000), "log_level": 0}


def _confluent_sasl(place: Place) -> dict[str, Any]:
    login = {"sasl.username": place.user, "sasl.password": place.password}
    return {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", **login}


@book.entry("confluent-kafka Producer.list_topics")
def confluent_producer(place: Place) -> None:
    import confluent_kafka

    confluent_kafka.Producer(_confluent(place)).list_topics(timeout=place.timeout)


@book.entry("confluent-kafka Producer with an error_cb")
def confluent_told(place: Place) -> None:
    """What its manual advises: the callback keeps the error, the program raises it."""
    import confluent_kafka

    told: list[Any] = []
    producer = confluent_kafka.Producer({**_confluent(place), "error_cb": told.append})
    producer.produce("things", b"value")
    left = producer.flush(place.timeout)
    if told:
        raise confluent_kafka.KafkaException(told[0])
    if left:
        raise TimeoutError("nothing was said")


@book.entry("confluent-kafka Producer with a login and an error_cb")
def confluent_login(place: Place) -> None:
    import confluent_kafka

    told: list[Any] = []
    producer = confluent_kafka.Producer({**_confluent(place), **_confluent_sasl(place), "error_cb": told.append})
    producer.produce("things", b"value")
    left = producer.flush(place.timeout)
    if told:
        raise confluent_kafka.KafkaException(told[0])
    if left:
        raise TimeoutError("nothing was said")


@book.entry("confluent-kafka Producer over TLS with an error_cb")
def confluent_tls(place: Place) -> None:
    import confluent_kafka

    told: list[Any] = []
    producer = confluent_kafka.Producer({**_confluent(place), "security.protocol": "SSL", "error_cb": told.append})
    producer.produce("things", b"value")
    left = producer.flush(place.timeout)
    if told:
        raise confluent_kafka.KafkaException(told[0])
    if left:
        raise TimeoutError("nothing was said")


@book.entry("confluent-kafka Consumer.list_topics")
def confluent_consumer(place: Place) -> None:
    import confluent_kafka

    consumer = confluent_kafka.Consumer({**_confluent(place), "group.id": "people"})
    try:
        consumer.list_topics(timeout=place.timeout)
    finally:
        consumer.close()


@book.entry("confluent-kafka AdminClient.list_topics")
def confluent_admin(place: Place) -> None:
    from confluent_kafka.admin import AdminClient

    AdminClient(_confluent(place)).list_topics(timeout=place.timeout)


@book.entry("confluent-kafka AdminClient.create_topics")
def confluent_create(place: Place) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient(_confluent(place))
    made = admin.create_topics([NewTopic("things", 1, 1)], request_timeout=place.timeout)
    made["things"].result()


# What a broker may say.

_METADATA, _FIND_COORDINATOR, _DESCRIBE, _HANDSHAKE, _VERSIONS, _AUTHENTICATE = 3, 10, 15, 17, 18, 36
_SPOKEN = {0: 3, 1: 4, 2: 1, 3: 1, 10: 0, 11: 2, 12: 1, 15: 0, 16: 0, 17: 1, 18: 0, 19: 1, 22: 0, 36: 0}
"""The requests that the broker knows, and up to which version: those of about 1.0."""


def _text(words: str) -> bytes:
    return struct.pack(">h", len(words)) + words.encode()


def _kafka(*, login: int = 0, topic: int = 0, group: int = 0, says: str = "") -> Handler:
    """Be a broker of Kafka that answers logins, topics or groups with these codes."""

    def answer(connection: socket.socket, key: int, version: int) -> bytes:
        host, port = connection.getsockname()[:2]
        broker = struct.pack(">i", 1) + _text(host) + struct.pack(">i", port)
        if key == _VERSIONS:
            known = b"".join(struct.pack(">hhh", number, 0, highest) for number, highest in _SPOKEN.items())
            return struct.pack(">hi", 35 if version else 0, len(_SPOKEN)) + known
        if key == _METADATA:
            one = struct.pack(">h", topic) + _text("things") + (b"\0" if version else b"")
            one += struct.pack(">ihiiiiii", 1, topic, 0, -1 if topic else 1, 1, 1, 1, 1)
            brokers = struct.pack(">i", 1) + broker + (_text("") + struct.pack(">i", 1) if version else b"")
            return brokers + struct.pack(">i", 1) + one
        if key == _FIND_COORDINATOR:
            return struct.pack(">h", group) + broker
        if key == _DESCRIBE:
            return struct.pack(">ih", 1, group) + _text("people") + _text("") * 3 + struct.pack(">i", 0)
        if key == _HANDSHAKE:
            return struct.pack(">hi", 0, 1) + _text("PLAIN")
        if key != _AUTHENTICATE:
            return b""
        return struct.pack(">h", login) + _text(says) + struct.pack(">i", 0)

    def handler(connection: socket.socket) -> None:
        with connection.makefile("rb") as requests:
            while head := requests.read(4):
                body = requests.read(*struct.unpack(">i", head))
                key, version, correlation = struct.unpack(">hhi", body[:8])
                told = answer(connection, key, version)
                if not told:
                    return
                connection.sendall(struct.pack(">ii", len(told) + 4, correlation) + told)

    return handler


_WITHOUT_LOGIN: dict[str, str | None] = {
    client.name: "skip" for client in book.entries if "with a login" not in client.name
}
_PYTHON: dict[str, str | None] = {"kafka-python": None, "aiokafka": None}
"""They retry a wrong password until their time is over, and do not say so then."""

_WRONG, _LIE = "Authentication failed: Invalid username or password", "LDAP: [Errno 111] Connection refused"
_GROUPS = ("kafka-python KafkaAdminClient", "aiokafka AIOKafkaAdminClient")
_ANY: dict[str, str | None] = {client.name: "any" for client in book.entries}

book.answers += [
    Answer("wrong password", _kafka(login=58, says=_WRONG), "hopeless", {**_PYTHON, **_WITHOUT_LOGIN}),
    Answer("a login that lies", _kafka(login=58, says=_LIE), "hopeless", {**_PYTHON, **_WITHOUT_LOGIN}),
    Answer("no leader yet", _kafka(topic=5), None, _ANY | {"kafka-python KafkaConsumer": "not_ready"}),
    Answer("the coordinator is loading", _kafka(group=14), None, _ANY | dict.fromkeys(_GROUPS, "not_ready")),
    Answer("no coordinator yet", _kafka(group=15), None, _ANY | dict.fromkeys(_GROUPS, "not_ready")),
]
