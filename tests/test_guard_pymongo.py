"""PyMongo under `guard()`: clients, plain and asynchronous, against a small server that speaks its protocol."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import bson
import guarding
import pymongo
import pytest
from guarding import Guarded
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError
from under_load import Load

from resilient import CircuitBreaker, CircuitBreakers, Endpoint
from resilient.clients import guard
from resilient.clients.pymongo import ping, serves
from resilient.testing import LateServer, refused_port

HELLO = {
    "ok": 1,
    "ismaster": True,
    "isWritablePrimary": True,
    "helloOk": True,
    "maxWireVersion": 21,
    "minWireVersion": 0,
    "maxBsonObjectSize": 16_777_216,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "logicalSessionTimeoutMinutes": 30,
}


class Mongo(LateServer):
    """Says hello as one that stands alone, finds 42, and takes documents; the "lost" ones with a hang-up."""

    def __init__(self) -> None:
        super().__init__(self.serve)
        self.written: list[str] = []
        self.kill, self.start = self.down, self.up

    def wait_ready(self, timeout: float) -> None:
        """It is ready as soon as it is up."""

    def serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while head := stream.read(16):
                length, number, _, code = struct.unpack("<iiii", head)
                body = stream.read(length - 16)
                asked = body[5:] if code == 2013 else body[4:].split(b"\0", 1)[1][8:]
                command = bson.decode(asked[: struct.unpack_from("<i", asked)[0]])
                document = bson.encode(self.answer(command, body))
                if code == 2013:  # OP_MSG
                    reply = b"\0\0\0\0\0" + document
                    connection.sendall(struct.pack("<iiii", 16 + len(reply), 1, number, 2013) + reply)
                else:  # OP_QUERY, of a first hello
                    reply = struct.pack("<iqii", 8, 0, 0, 1) + document
                    connection.sendall(struct.pack("<iiii", 16 + len(reply), 1, number, 1) + reply)

    def answer(self, command: dict[str, Any], body: bytes) -> dict[str, Any]:
        name = next(iter(command)).lower()
        if name in ("hello", "ismaster"):
            return HELLO
        if name == "insert":
            title = re.findall(rb"title is ([\w-]+)", body)[0].decode()
            self.written.append(title)
            if title == "lost":
                raise OSError("hang up")
        if name == "find":
            return {"ok": 1, "cursor": {"firstBatch": [{"n": 42}], "id": bson.Int64(0), "ns": "books.books"}}
        return {"ok": 1, "n": 42}


def ask(client: Any) -> int:
    return int(client.books.books.find_one()["n"])


async def ask_async(client: Any) -> int:
    return int((await client.books.books.find_one())["n"])


async def close_async(client: Any) -> None:
    await client.close()


def sync_client(host: str, port: int, **shield: Any) -> Any:
    return guard(pymongo.MongoClient(host, port), **shield)


def sync_class(host: str, port: int, **shield: Any) -> Any:
    return guard(pymongo.MongoClient, **shield)(f"mongodb://{host}:{port}/")


async def async_client(host: str, port: int, **shield: Any) -> Any:
    return guard(pymongo.AsyncMongoClient(host, port), **shield)


async def async_class(host: str, port: int, **shield: Any) -> Any:
    return guard(pymongo.AsyncMongoClient, **shield)(host, port)


ERROR = ServerSelectionTimeoutError
GUARDED = (
    Guarded("MongoClient", sync_client, ask, ERROR, lambda client: client.close()),
    Guarded("MongoClient class", sync_class, ask, ERROR, lambda client: client.close()),
    Guarded("AsyncMongoClient", async_client, ask_async, ERROR, close_async),
    Guarded("AsyncMongoClient class", async_class, ask_async, ERROR, close_async),
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


# PyMongo's asynchronous client leaves a socket open now and then, when it is closed while a monitor connects.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def server() -> Iterator[Mongo]:
    with contextlib.closing(Mongo()) as found:
        found.up()
        yield found


@on_each
def test_it_waits_for_its_server(guarded: Guarded, server: Mongo) -> None:
    guarding.starts_before_its_server(guarded, server)


@on_each
def test_it_outlives_a_restart(guarded: Guarded, server: Mongo) -> None:
    guarding.outlives_a_restart(guarded, server)


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them, and its loop goes on."""
    guarding.every_check_without_a_server(guarded)


def test_giving_up_takes_the_policys_time_and_not_thirty_seconds() -> None:
    started = time.monotonic()
    with refused_port() as port, pymongo.MongoClient("127.0.0.1", port) as client, pytest.raises(ERROR):
        guard(client, policy=guarding.THREE).admin.command("ping")
    assert time.monotonic() - started < 6.0


def test_a_server_that_says_nothing_is_waited_for_as_the_user_said() -> None:
    """It takes the connection and is slow: that is no refusal, and its timeout stays the user's."""
    with contextlib.closing(LateServer(lambda connection: connection.recv(1) and time.sleep(1))) as server:
        server.up()
        started = time.monotonic()
        client = pymongo.MongoClient(server.host, server.port, serverSelectionTimeoutMS=1500)
        with client, pytest.raises(ERROR):
            guard(client, policy=guarding.THREE).admin.command("ping")
        assert 1.3 < time.monotonic() - started < 4.0


def test_a_write_that_was_sent_is_not_sent_again(server: Mongo) -> None:
    """The server takes it and hangs up: nothing says that it did not write it."""
    with guard(pymongo.MongoClient(server.host, server.port, retryWrites=False), policy=guarding.PATIENT) as client:
        with pytest.raises(AutoReconnect):
            client.books.books.insert_one({"title": "title is lost"})
        client.books.books.insert_one({"title": "title is kept"})
    assert server.written == ["lost", "kept"]


def test_no_command_is_executed_twice_under_a_restart(server: Mongo) -> None:
    """Every answered command was executed once; none failed but those that were on their way.

    MongoDB itself comes in no wheel: the server is a small one of its kind, which stands alone.
    """
    load = Load(server)
    with guard(pymongo.MongoClient(server.host, server.port), policy=load.policy) as client:
        load.run(lambda its: client.books.books.insert_one({"title": f"title is {its}"}))
    load.check(server.written)


def test_no_command_of_an_asynchronous_client_is_executed_twice_under_a_restart(server: Mongo) -> None:
    """The same in tasks of one loop."""
    load = Load(server)

    async def main() -> None:
        async with guard(pymongo.AsyncMongoClient(server.host, server.port), policy=load.policy) as client:
            await load.run_async(lambda its: client.books.books.insert_one({"title": f"title is {its}"}))

    asyncio.run(main())
    load.check(server.written)


def test_what_comes_back_is_what_went_in() -> None:
    for cls in (pymongo.MongoClient, pymongo.AsyncMongoClient):
        guarded = guard(cls)
        assert issubclass(guarded, cls)
        assert (guarded.__name__, guarded.__doc__) == (cls.__name__, cls.__doc__)
        assert guard(guarded).__mro__[1] is cls
    with pymongo.MongoClient("localhost", 1, connect=False) as client:
        assert guard(client) is client


def test_guarding_again_puts_the_new_policy_in_place_of_the_old() -> None:
    breaker = CircuitBreaker("tried", trip_after=1, observers=())
    with refused_port() as port, pymongo.MongoClient("127.0.0.1", port) as client:
        guard(client, policy=guarding.THREE.replace(attempts=1))
        with pytest.raises(ERROR):
            client.admin.command("ping")
        guard(client, policy=guarding.THREE.replace(attempts=1), breaker=breaker)
        with pytest.raises(ERROR):
            client.admin.command("ping")
    assert breaker.state == "open"


def test_a_connected_client_goes_on_and_its_next_selection_is_protected(server: Mongo) -> None:
    with pymongo.MongoClient(server.host, server.port) as client:
        assert ask(client) == 42
        guard(client, policy=guarding.PATIENT)
        assert ask(client) == 42


def test_the_target_is_a_server_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    breakers = CircuitBreakers(observers=())
    policy = guarding.THREE.replace(attempts=1)
    with refused_port() as port, pymongo.MongoClient(f"mongodb://127.0.0.1:{port}/") as client:
        with caplog.at_level(logging.DEBUG, "resilient"), pytest.raises(ERROR):
            guard(client, policy=policy, breaker=breakers).admin.command("ping")
        assert breakers[Endpoint(scheme="mongodb", host="127.0.0.1", port=port)].snapshot().failures == 1
    assert "pymongo: a server selection that every server refuses ends after 0.4 s" in caplog.text


def test_hello_is_said(server: Mongo) -> None:
    async def main() -> None:
        async with pymongo.AsyncMongoClient(server.host, server.port) as client:
            await ping(client)

    with pymongo.MongoClient(server.host, server.port) as client:
        ping(client)
    asyncio.run(main())
    serves(f"mongodb://{server.target}/", 5.0)
    server.down()
    with pytest.raises(ERROR):
        serves(f"mongodb://{server.target}/", 0.5)
    with pytest.raises(TypeError, match="no client of pymongo"):
        ping(object())
