"""MongoDB's clients."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

from fake_servers import Handler

from .entry import Answer, Book, Place
from .servers import LIE

WELCOME = {"ok": 1.0, "ismaster": True, "isWritablePrimary": True, "minWireVersion": 0, "maxWireVersion": 21}
WELCOME |= {"maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000}


def bson(document: dict[str, Any]) -> bytes:
    """Write the few types that an answer needs."""
    body = b""
    for key, value in document.items():
        name = key.encode() + b"\0"
        if isinstance(value, bool):
            body += b"\x08" + name + bytes([value])
        elif isinstance(value, int):
            body += b"\x10" + name + struct.pack("<i", value)
        elif isinstance(value, float):
            body += b"\x01" + name + struct.pack("<d", value)
        elif isinstance(value, str):
            body += b"\x02" + name + struct.pack("<i", len(value) + 1) + value.encode() + b"\0"
        else:
            body += b"\x04" + name + bson({str(number): item for number, item in enumerate(value)})
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def mongo(code: int, name: str, text: str, *, to_hello: bool = False) -> Handler:
    """Welcome every client, also as a replica set, and answer all but that with this error."""
    error = {"ok": 0.0, "code": code, "codeName": name, "errmsg": text}

    def handler(connection: socket.socket) -> None:
        with connection.makefile("rb") as words, contextlib.suppress(ConnectionResetError, struct.error):
            while head := words.read(16):
                size, request, _, opcode = struct.unpack("<iiii", head)
                told = words.read(size - 16)
                greets = b"hello\0" in told or b"ismaster\0" in told.lower()
                where = "{}:{}".format(*connection.getsockname())
                of_a_set = {"setName": "rs", "hosts": [where], "me": where, "primary": where, "setVersion": 1}
                answer = WELCOME | of_a_set
                body = bson(answer if greets and not to_hello else error)
                head = struct.pack("<iqii", 8, 0, 0, 1) if opcode == 2004 else struct.pack("<iB", 0, 0)
                body = head + body
                connection.sendall(
                    struct.pack("<iiii", len(body) + 16, 1, request, 1 if opcode == 2004 else 2013) + body
                )

    return handler


book = Book(
    "mongodb",
    answers=[
        Answer("wrong password", mongo(18, "AuthenticationFailed", "Authentication failed."), "hopeless"),
        Answer("not primary", mongo(10107, "NotWritablePrimary", "not primary"), "not_ready"),
        Answer("not primary, no secondary", mongo(13435, "NotPrimaryNoSecondaryOk", "not primary"), "not_ready"),
        Answer("shutting down", mongo(91, "ShutdownInProgress", "The server is in quiesce mode"), "not_ready"),
        Answer("interrupted", mongo(11600, "InterruptedAtShutdown", "interrupted at shutdown"), "not_ready"),
        Answer("a quoted refusal", mongo(6, "HostUnreachable", LIE.decode()), None),
        Answer(
            "a quoted refusal, to the greeting",
            mongo(6, "HostUnreachable", "db:27017: [Errno 111] Connection refused", to_hello=True),
            None,
        ),
    ],
)


def _limits(place: Place) -> dict[str, Any]:
    limits = dict.fromkeys(("connectTimeoutMS", "socketTimeoutMS"), round(place.timeout * 1000))
    return limits | {"serverSelectionTimeoutMS": 1500, "retryReads": False, "retryWrites": False}


def _url(place: Place, tail: str = "", *, who: bool = True) -> str:
    user = f"{place.user}:{place.password}@" if who else ""
    return f"mongodb://{user}{place.netloc}/{tail}"


def _ping(place: Place, where: str, **more: Any) -> None:
    import pymongo

    with pymongo.MongoClient(where, **_limits(place), **more) as client:
        client.admin.command("ping")


async def _ping_async(place: Place, where: str) -> None:
    import pymongo

    async with pymongo.AsyncMongoClient(where, **_limits(place)) as client:
        await client.admin.command("ping")


@book.entry("pymongo MongoClient")
def pymongo_client(place: Place) -> None:
    import pymongo

    who = {"username": place.user, "password": place.password}
    host = f"[{place.host}]" if ":" in place.host else place.host
    with pymongo.MongoClient(host, int(place.port), **who, **_limits(place)) as client:
        client.admin.command("ping")


@book.entry("pymongo MongoClient, URL")
def pymongo_url(place: Place) -> None:
    _ping(place, _url(place, place.database + "?authSource=admin"))


@book.entry("pymongo MongoClient, no password")
def pymongo_no_password(place: Place) -> None:
    _ping(place, _url(place, who=False))


@book.entry("pymongo MongoClient, direct")
def pymongo_direct(place: Place) -> None:
    _ping(place, _url(place, "?directConnection=true"))


@book.entry("pymongo MongoClient, replica set")
def pymongo_replica_set(place: Place) -> None:
    _ping(place, _url(place, "?replicaSet=rs"))


@book.entry("pymongo MongoClient, two seeds")
def pymongo_two_seeds(place: Place) -> None:
    import pymongo

    seeds = [place.netloc, f"127.0.0.2:{place.port}"]  # the servers listen on 127.0.0.1 only
    with pymongo.MongoClient(seeds, replicaSet="rs", **_limits(place)) as client:
        client.admin.command("ping")


@book.entry("pymongo find_one")
def pymongo_find(place: Place) -> None:
    import pymongo

    with pymongo.MongoClient(_url(place, who=False), **_limits(place)) as client:
        client[place.database].things.find_one()


@book.entry("pymongo insert_one")
def pymongo_insert(place: Place) -> None:
    import pymongo

    with pymongo.MongoClient(_url(place, who=False), **_limits(place)) as client:
        client[place.database].things.insert_one({"a": 1})


@book.entry("pymongo AsyncMongoClient")
async def pymongo_async(place: Place) -> None:
    await _ping_async(place, _url(place))


@book.entry("pymongo AsyncMongoClient, direct")
async def pymongo_async_direct(place: Place) -> None:
    await _ping_async(place, _url(place, "?directConnection=true"))


@book.entry("pymongo AsyncMongoClient, replica set")
async def pymongo_async_replica_set(place: Place) -> None:
    await _ping_async(place, _url(place, "?replicaSet=rs"))


@book.entry("motor AsyncIOMotorClient")
async def motor_client(place: Place) -> None:
    from motor.motor_asyncio import AsyncIOMotorClient

    client = AsyncIOMotorClient(_url(place), **_limits(place))
    try:
        await client.admin.command("ping")
    finally:
        client.close()


@book.entry("motor AsyncIOMotorClient, replica set")
async def motor_replica_set(place: Place) -> None:
    from motor.motor_asyncio import AsyncIOMotorClient

    client = AsyncIOMotorClient(_url(place, "?replicaSet=rs"), **_limits(place))
    try:
        await client.admin.command("ping")
    finally:
        client.close()


@book.entry("mongoengine connect")
def mongoengine_connect(place: Place) -> None:
    import mongoengine

    client = mongoengine.connect(host=_url(place, place.database), alias="default", **_limits(place))
    try:
        client.admin.command("ping")
    finally:
        mongoengine.disconnect("default")
