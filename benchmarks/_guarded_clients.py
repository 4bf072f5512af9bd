"""Clients and one command of each on a healthy connection: what `guarded` measures.

Each is a context manager that gives the command, as a function or a coroutine function without arguments. It connects
to a port of `HOST`, and lets `protect` have the client: `guard`, or nothing.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ._answering import HOST

Protect = Callable[[Any], Any]

PIPELINED: Final = 100
"""Commands in one pipeline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client and its command.

    Attributes:
        what: as in "redis-py, GET".
        server: as `Servers` names it.
        packages: what must be installed.
        command: (port, protect) → a context manager that gives the command.
        is_async: whether both are asynchronous.
        floor: a name, and what does as little as can be done where `guard` does its work; None where that is nothing.
    """

    what: str
    server: str
    packages: tuple[str, ...]
    command: Callable[[int, Protect], Any]
    is_async: bool = False
    floor: tuple[str, Protect] | None = None


CLIENTS: Final[list[Client]] = []


def _client(what: str, server: str, *packages: str, is_async: bool = False, floor: Any = None) -> Callable[[Any], Any]:
    def register(command: Any) -> Any:
        manager: Any = contextlib.asynccontextmanager if is_async else contextlib.contextmanager
        CLIENTS.append(
            Client(
                what=what, server=server, packages=packages, command=manager(command), is_async=is_async, floor=floor
            )
        )
        return command

    return register


# Redis and Valkey.


def _redis(name: str, client: str) -> None:
    @_client(f"{name}-py, GET", "valkey", name)
    def get(port: int, protect: Protect) -> Iterator[Any]:
        with protect(getattr(importlib.import_module(name), client)(host=HOST, port=port)) as cache:
            yield lambda: cache.get("answer")

    @_client(f"{name}-py, {PIPELINED} GETs pipelined", "valkey", name)
    def pipelined(port: int, protect: Protect) -> Iterator[Any]:
        with protect(getattr(importlib.import_module(name), client)(host=HOST, port=port)) as cache:

            def command() -> None:
                with cache.pipeline(transaction=False) as pipeline:
                    for _ in range(PIPELINED):
                        pipeline.get("answer")
                    pipeline.execute()

            yield command

    @_client(f"{name}-py asyncio, GET", "valkey", name, is_async=True)
    async def get_async(port: int, protect: Protect) -> AsyncIterator[Any]:
        async with protect(getattr(importlib.import_module(f"{name}.asyncio"), client)(host=HOST, port=port)) as cache:
            yield lambda: cache.get("answer")

    @_client(f"{name}-py asyncio, {PIPELINED} GETs pipelined", "valkey", name, is_async=True)
    async def pipelined_async(port: int, protect: Protect) -> AsyncIterator[Any]:
        async with protect(getattr(importlib.import_module(f"{name}.asyncio"), client)(host=HOST, port=port)) as cache:

            async def command() -> None:
                async with cache.pipeline(transaction=False) as pipeline:
                    for _ in range(PIPELINED):
                        pipeline.get("answer")
                    await pipeline.execute()

            yield command


_redis("redis", "Redis")
_redis("valkey", "Valkey")


# PostgreSQL.


@_client("SQLAlchemy, psycopg, SELECT 1 from the pool", "postgresql", "sqlalchemy", "psycopg")
def _sqlalchemy(port: int, protect: Protect) -> Iterator[Any]:
    import sqlalchemy

    engine = protect(sqlalchemy.create_engine(f"postgresql+psycopg://postgres@{HOST}:{port}/postgres"))
    statement = sqlalchemy.text("SELECT 1")

    def command() -> None:
        with engine.connect() as connection:
            connection.execute(statement).scalar()

    yield command
    engine.dispose()


@_client("SQLAlchemy, asyncpg, SELECT 1 from the pool", "postgresql", "sqlalchemy", "asyncpg", is_async=True)
async def _sqlalchemy_async(port: int, protect: Protect) -> AsyncIterator[Any]:
    import sqlalchemy
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = protect(create_async_engine(f"postgresql+asyncpg://postgres@{HOST}:{port}/postgres"))
    statement = sqlalchemy.text("SELECT 1")

    async def command() -> None:
        async with engine.connect() as connection:
            (await connection.execute(statement)).scalar()

    yield command
    await engine.dispose()


_CONNINFO: Final = "host={} port={} user=postgres dbname=postgres"


@_client("psycopg_pool, SELECT 1", "postgresql", "psycopg_pool", "psycopg")
def _psycopg_pool(port: int, protect: Protect) -> Iterator[Any]:
    import psycopg_pool

    with protect(psycopg_pool.ConnectionPool(_CONNINFO.format(HOST, port), min_size=1, open=False)) as pool:

        def command() -> None:
            with pool.connection() as connection:
                connection.execute("SELECT 1").fetchone()

        yield command


@_client("psycopg_pool asyncio, SELECT 1", "postgresql", "psycopg_pool", "psycopg", is_async=True)
async def _psycopg_pool_async(port: int, protect: Protect) -> AsyncIterator[Any]:
    import psycopg_pool

    pool = psycopg_pool.AsyncConnectionPool(_CONNINFO.format(HOST, port), min_size=1, open=False)
    async with protect(pool):

        async def command() -> None:
            async with pool.connection() as connection:
                await (await connection.execute("SELECT 1")).fetchone()

        yield command


@_client("psycopg2 pool, SELECT 1", "postgresql", "psycopg2")
def _psycopg2_pool(port: int, protect: Protect) -> Iterator[Any]:
    import psycopg2.pool

    pool = protect(psycopg2.pool.ThreadedConnectionPool(1, 2, _CONNINFO.format(HOST, port)))

    def command() -> None:
        connection = pool.getconn()
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                cursor.fetchone()
        finally:
            pool.putconn(connection)

    yield command
    pool.closeall()


@_client("asyncpg pool, SELECT 1", "postgresql", "asyncpg", is_async=True)
async def _asyncpg_pool(port: int, protect: Protect) -> AsyncIterator[Any]:
    import asyncpg

    async with protect(asyncpg.create_pool(host=HOST, port=port, user="postgres", min_size=1, max_size=2)) as pool:
        yield lambda: pool.fetchval("SELECT 1")


# MySQL.


@_client("PyMySQL, SELECT 1", "mariadb", "pymysql")
def _pymysql(port: int, protect: Protect) -> Iterator[Any]:
    import pymysql

    with protect(pymysql.connect)(host=HOST, port=port, user="root") as connection:

        def command() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                cursor.fetchone()

        yield command


def _mysql_async(name: str) -> None:
    @_client(f"{name} pool, SELECT 1", "mariadb", name, is_async=True)
    async def pool(port: int, protect: Protect) -> AsyncIterator[Any]:
        create_pool = protect(importlib.import_module(name).create_pool)
        pool = await create_pool(host=HOST, port=port, user="root", minsize=1, maxsize=2)

        async def command() -> None:
            async with pool.acquire() as connection, connection.cursor() as cursor:
                await cursor.execute("SELECT 1")
                await cursor.fetchone()

        yield command
        pool.close()
        await pool.wait_closed()


_mysql_async("aiomysql")
_mysql_async("asyncmy")


# Calls over HTTP.


@_client("grpc, unary call", "grpc", "grpc")
def _grpc(port: int, protect: Protect) -> Iterator[Any]:
    import grpc

    with protect(grpc.insecure_channel)(f"{HOST}:{port}") as channel:
        method = channel.unary_unary("/a/b")
        yield lambda: method(b"")


def _with_an_empty_interceptor(make: Any) -> Any:
    import grpc.aio

    base: Any = grpc.aio.UnaryUnaryClientInterceptor

    class Nothing(base):  # type: ignore[misc]
        async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            return await continuation(details, request)

    return functools.partial(make, interceptors=[Nothing()])


@_client(
    "grpc asyncio, unary call",
    "grpc",
    "grpc",
    is_async=True,
    floor=("an empty interceptor", _with_an_empty_interceptor),
)
async def _grpc_async(port: int, protect: Protect) -> AsyncIterator[Any]:
    import grpc.aio

    async with protect(grpc.aio.insecure_channel)(f"{HOST}:{port}") as channel:
        method = channel.unary_unary("/a/b")

        async def command() -> None:
            await method(b"")

        yield command


@_client("requests, GET", "http", "requests")
def _requests(port: int, protect: Protect) -> Iterator[Any]:
    import requests

    url = f"http://{HOST}:{port}/"
    with protect(requests.Session()) as session:
        session.trust_env = False
        yield lambda: session.get(url)


@_client("httpx, GET", "http", "httpx")
def _httpx(port: int, protect: Protect) -> Iterator[Any]:
    import httpx

    url = f"http://{HOST}:{port}/"
    with protect(httpx.Client(trust_env=False)) as session:
        yield lambda: session.get(url)


@_client("httpx asyncio, GET", "http", "httpx", is_async=True)
async def _httpx_async(port: int, protect: Protect) -> AsyncIterator[Any]:
    import httpx

    url = f"http://{HOST}:{port}/"
    async with protect(httpx.AsyncClient(trust_env=False)) as session:
        yield lambda: session.get(url)


@_client("aiohttp, GET", "http", "aiohttp", is_async=True)
async def _aiohttp(port: int, protect: Protect) -> AsyncIterator[Any]:
    import aiohttp

    url = f"http://{HOST}:{port}/"
    async with protect(aiohttp.ClientSession()) as session:

        async def command() -> None:
            async with session.get(url) as response:
                await response.read()

        yield command


@_client("boto3, S3 GetObject", "http", "boto3")
def _boto3(port: int, protect: Protect) -> Iterator[Any]:
    import boto3

    client = protect(
        boto3.client(
            "s3",
            endpoint_url=f"http://{HOST}:{port}",
            region_name="eu-west-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
    )
    yield lambda: client.get_object(Bucket="bucket", Key="key")["Body"].read()
    client.close()


@_client("elasticsearch, GET", "http", "elasticsearch")
def _elasticsearch(port: int, protect: Protect) -> Iterator[Any]:
    import elasticsearch

    with protect(elasticsearch.Elasticsearch(f"http://{HOST}:{port}")) as client:
        yield client.info


# Brokers and caches.


@_client("kombu, channel opened and closed", "rabbitmq", "kombu")
def _kombu(port: int, protect: Protect) -> Iterator[Any]:
    import kombu

    with protect(kombu.Connection(f"amqp://guest:guest@{HOST}:{port}//")) as connection:
        connection.connect()
        yield lambda: connection.channel().close()


@_client("kombu, publish", "rabbitmq", "kombu")
def _kombu_publish(port: int, protect: Protect) -> Iterator[Any]:
    import kombu

    with protect(kombu.Connection(f"amqp://guest:guest@{HOST}:{port}//")) as connection:
        producer = connection.Producer()
        yield lambda: producer.publish(b"42", routing_key="nobody")


@_client("kombu pool, publish", "rabbitmq", "kombu")
def _kombu_pool(port: int, protect: Protect) -> Iterator[Any]:
    import kombu

    connections = protect(kombu.Connection(f"amqp://guest:guest@{HOST}:{port}//")).Pool(2)

    def command() -> None:
        with connections.acquire(block=True) as connection:
            connection.default_channel.basic_publish(message, exchange="", routing_key="nobody")

    with connections.acquire(block=True) as connection:
        message = connection.default_channel.prepare_message(b"42")
    yield command
    connections.force_close_all()


@_client("pika, publish", "rabbitmq", "pika")
def _pika(port: int, protect: Protect) -> Iterator[Any]:
    import pika

    connection = protect(pika.BlockingConnection)(pika.ConnectionParameters(host=HOST, port=port))
    channel = connection.channel()
    yield lambda: channel.basic_publish("", "nobody", b"42")
    connection.close()


@_client("aio-pika, publish", "rabbitmq", "aio_pika", is_async=True)
async def _aio_pika(port: int, protect: Protect) -> AsyncIterator[Any]:
    import aio_pika

    connection = await protect(aio_pika.connect_robust)(f"amqp://guest:guest@{HOST}:{port}/")
    async with connection:
        exchange = (await connection.channel()).default_exchange
        yield lambda: exchange.publish(aio_pika.Message(b"42"), "nobody", mandatory=False)


@_client("nats-py, publish and flush", "nats", "nats", is_async=True)
async def _nats(port: int, protect: Protect) -> AsyncIterator[Any]:
    import nats

    connection = await protect(nats.connect)(f"nats://{HOST}:{port}")

    async def command() -> None:
        await connection.publish("nobody", b"42")
        await connection.flush()

    yield command
    await connection.close()


@_client("pymemcache, GET", "memcached", "pymemcache")
def _pymemcache(port: int, protect: Protect) -> Iterator[Any]:
    from pymemcache.client.base import Client as Memcached

    client = protect(Memcached((HOST, port)))
    yield lambda: client.get("answer")
    client.close()


@_client("pymemcache pool, GET", "memcached", "pymemcache")
def _pymemcache_pool(port: int, protect: Protect) -> Iterator[Any]:
    from pymemcache.client.base import PooledClient

    client = protect(PooledClient((HOST, port)))
    yield lambda: client.get("answer")
    client.close()
