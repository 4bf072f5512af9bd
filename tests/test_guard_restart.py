"""HTTP, gRPC, Elasticsearch and AWS under `guard()`, and a server process that is killed: nothing is done twice.

The server is a process of its own (see `ledger.py`) that writes each command down. Elasticsearch and AWS come in no
wheel: uvicorn with a small application says as much of theirs as one command takes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import boto3
import botocore.exceptions
import elastic_transport
import grpc
import grpc.aio
import guarding
import httpx
import pytest
import requests
from botocore.config import Config
from conftest import ready_to_start
from elasticsearch import AsyncElasticsearch, Elasticsearch
from ledger_server import LedgerServer
from under_load import Load

from resilient import Policy, is_refused
from resilient.clients import guard
from resilient.events import Event, RetryScheduled

SETTINGS: dict[str, Any] = {
    "region_name": "eu-west-1",
    "aws_access_key_id": "key",
    "aws_secret_access_key": "secret",
}


@contextlib.contextmanager
def of_requests(url: str, policy: Policy) -> Iterator[Any]:
    with requests.Session() as session:
        session.trust_env = False
        guard(session, policy=policy)
        yield lambda its: session.post(url, data=its).raise_for_status()


@contextlib.contextmanager
def of_httpx(url: str, policy: Policy) -> Iterator[Any]:
    with guard(httpx.Client(base_url=url, trust_env=False), policy=policy) as client:
        yield lambda its: client.post("/", content=its).raise_for_status()


@contextlib.asynccontextmanager
async def of_async_httpx(url: str, policy: Policy) -> AsyncIterator[Any]:
    async with guard(httpx.AsyncClient(base_url=url, trust_env=False), policy=policy) as client:

        async def post(its: str) -> None:
            (await client.post("/", content=its)).raise_for_status()

        yield post


def of_aiohttp(method: str) -> Any:
    @contextlib.asynccontextmanager
    async def opened(url: str, policy: Policy) -> AsyncIterator[Any]:
        async with guard(aiohttp.ClientSession(url), policy=policy) as session:

            async def request(its: str) -> None:
                async with session.request(method, "/", data=its) as response:
                    response.raise_for_status()
                    await response.read()

            yield request

    return opened


@contextlib.contextmanager
def of_elasticsearch(url: str, policy: Policy) -> Iterator[Any]:
    with guard(Elasticsearch(url), policy=policy) as client:
        yield lambda its: client.index(index="books", document={"title": its})


@contextlib.asynccontextmanager
async def of_async_elasticsearch(url: str, policy: Policy) -> AsyncIterator[Any]:
    async with guard(AsyncElasticsearch(url), policy=policy) as client:

        async def write(its: str) -> None:
            await client.index(index="books", document={"title": its})

        yield write


def of_boto3(attempts: int) -> Any:
    @contextlib.contextmanager
    def opened(url: str, policy: Policy) -> Iterator[Any]:
        config = Config(proxies={}, retries={"total_max_attempts": attempts, "mode": "standard"})
        client = boto3.Session().client("sqs", endpoint_url=url, config=config, **SETTINGS)
        with contextlib.closing(guard(client, policy=policy)):
            yield lambda its: client.send_message(QueueUrl=f"{url}/1/orders", MessageBody=its)

    return opened


@contextlib.contextmanager
def of_grpc(url: str, policy: Policy) -> Iterator[Any]:
    with guard(grpc.insecure_channel, policy=policy)(url.removeprefix("http://")) as channel:
        call = channel.unary_unary("/ledger/do")
        yield lambda its: call(its.encode())


@contextlib.asynccontextmanager
async def of_async_grpc(url: str, policy: Policy) -> AsyncIterator[Any]:
    async with guard(grpc.aio.insecure_channel, policy=policy)(url.removeprefix("http://")) as channel:
        call = channel.unary_unary("/ledger/do")

        async def do(its: str) -> None:
            await call(its.encode())

        yield do


ERROR_OF_AWS = botocore.exceptions.HTTPClientError


@dataclass(frozen=True)
class Client:
    """A guarded client.

    Attributes:
        open: for a server's URL and a policy, gives what has the server execute the command of an id.
        error: what comes out when the server dies over a command.
        kind: of the server.
    """

    name: str
    open: Callable[[str, Policy], Any]
    error: type[Exception]
    kind: str = "web"

    def __str__(self) -> str:
        return self.name

    def load(self, server: LedgerServer) -> Load:
        """Let commands be executed over a restart."""
        load = Load(server)
        opened = self.open(server.url, load.policy)
        if hasattr(opened, "__aenter__"):

            async def main() -> None:
                async with opened as execute:
                    await load.run_async(execute)

            asyncio.run(main())
        else:
            with opened as execute:
                load.run(execute)
        return load

    def execute(self, server: LedgerServer, *commands: str, policy: Policy = guarding.THREE) -> None:
        """Let these be executed, over one client, one after the other."""
        opened = self.open(server.url, policy)
        if hasattr(opened, "__aenter__"):

            async def main() -> None:
                async with opened as execute:
                    for its in commands:
                        await execute(its)

            asyncio.run(main())
        else:
            with opened as execute:
                for its in commands:
                    execute(its)


CLIENTS = (
    Client("requests", of_requests, requests.ConnectionError),
    Client("httpx", of_httpx, httpx.TransportError),
    Client("httpx async", of_async_httpx, httpx.TransportError),
    Client("aiohttp", of_aiohttp("POST"), aiohttp.ClientError),
    Client("elasticsearch", of_elasticsearch, elastic_transport.ConnectionError),
    Client("elasticsearch async", of_async_elasticsearch, elastic_transport.ConnectionError),
    Client("boto3", of_boto3(1), ERROR_OF_AWS),
    Client("grpc", of_grpc, grpc.RpcError, "grpc"),
    Client("grpc aio", of_async_grpc, grpc.RpcError, "grpc"),
)
UNSENT = "failed to connect to all addresses"
"""gRPC's words. Its channel connects by itself, also to a server that is just dying, and then fails all calls with that
answer, which is no refusal, until it connects again."""

on_each = pytest.mark.parametrize("client", CLIENTS, ids=str)


def serving(kind: str) -> Iterator[LedgerServer]:
    with ready_to_start(lambda: LedgerServer(kind)) as found:
        yield found


@pytest.fixture(scope="module")
def web() -> Iterator[LedgerServer]:
    yield from serving("web")


@pytest.fixture(scope="module")
def remote() -> Iterator[LedgerServer]:
    yield from serving("grpc")


@pytest.fixture
def server(client: Client, request: pytest.FixtureRequest) -> LedgerServer:
    """The server for a client: it serves, and its ledger is empty."""
    found: LedgerServer = request.getfixturevalue("remote" if client.kind == "grpc" else "web")
    found.start()
    found.wait_ready(30)
    found.forget()
    return found


@on_each
def test_no_command_is_executed_twice_under_a_restart(client: Client, server: LedgerServer) -> None:
    """Every answered command was executed once; none failed but those that were on their way."""
    load = client.load(server)
    load.check(server.executed(), unsent=UNSENT)


@on_each
def test_a_command_whose_server_dies_over_it_is_an_error_and_not_sent_again(
    client: Client, server: LedgerServer
) -> None:
    """It was executed, the answer never came, and now the port refuses: the caller must hear of it, and no refusal."""
    with pytest.raises(client.error) as raised:
        client.execute(server, "first", "last")
    assert not is_refused(raised.value)
    bring_back(server)
    server.wait_ready(30)
    client.execute(server, "next")
    assert server.executed() == ["first", "last", "next"]


RESENDING = (
    Client("boto3", of_boto3(3), ERROR_OF_AWS),
    Client("aiohttp, PUT", of_aiohttp("PUT"), aiohttp.ClientError),
)


@pytest.mark.parametrize("client", RESENDING, ids=str)
def test_what_a_client_sends_again_by_itself_goes_on(client: Client, server: LedgerServer) -> None:
    """With a guard as without one, but that its next connect waits for the server.

    botocore sends what was lost up to `total_max_attempts` times; aiohttp sends what HTTP calls idempotent once more,
    where a connection that it had kept was lost.
    """

    def observe(event: Event) -> None:
        if isinstance(event, RetryScheduled) and event.attempt == 1:
            bring_back(server)

    client.execute(server, "first", "last", policy=guarding.PATIENT.replace(observers=(observe,)))
    assert server.executed() == ["first", "last", "last"]


def bring_back(server: LedgerServer) -> None:
    """Start a server that has ended by itself, and may not be buried yet."""
    server.kill()
    server.start()
