"""The clients that the tests connect with, each brought down to one form: connect to a place, say hello, and leave.

Their own retries are switched off. Needs no pytest: a test may run this in a process of its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import asyncpg
import psycopg
import psycopg2
import pymysql
import redis
import redis.asyncio
import sqlalchemy
import valkey
import valkey.asyncio
from corpus.entry import Client, Place, kind_of
from redis.asyncio.retry import Retry as AsyncRedisRetry
from redis.backoff import NoBackoff as NoRedisBackoff
from redis.retry import Retry as RedisRetry
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from valkey.asyncio.retry import Retry as AsyncValkeyRetry
from valkey.backoff import NoBackoff as NoValkeyBackoff
from valkey.retry import Retry as ValkeyRetry

__all__ = ["CLIENTS", "Client", "Place", "kind_of"]


def _connect_socket(place: Place) -> None:
    if place.path is None:
        with socket.create_connection((place.host, int(place.port)), timeout=place.timeout) as connection:
            _hear_sync(connection)
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(place.timeout)
        connection.connect(place.path)
        _hear_sync(connection)


def _hear_sync(connection: socket.socket) -> None:
    connection.sendall(b"hello\n")
    if not connection.recv(1):
        raise EOFError("the server hung up")


async def _connect_streams(place: Place) -> None:
    opening = (
        asyncio.open_connection(place.host, int(place.port))
        if place.path is None
        else asyncio.open_unix_connection(place.path)
    )
    reader, writer = await asyncio.wait_for(opening, place.timeout)
    try:
        writer.write(b"hello\n")
        await writer.drain()
        await asyncio.wait_for(reader.readexactly(1), place.timeout)
    finally:
        writer.transport.abort()


def _libpq(place: Place) -> dict[str, Any]:
    settings: dict[str, Any] = {"host": place.folder or place.host, "port": place.port}
    settings |= {"user": place.user, "password": place.password, "dbname": place.database}
    settings |= {"connect_timeout": max(2, int(place.timeout))}
    return settings | ({} if place.sslmode is None else {"sslmode": place.sslmode})


def _connect_psycopg(place: Place) -> None:
    psycopg.connect(**_libpq(place)).close()


async def _connect_psycopg_async(place: Place) -> None:
    await (await psycopg.AsyncConnection.connect(**_libpq(place))).close()


def _connect_psycopg2(place: Place) -> None:
    psycopg2.connect(**_libpq(place)).close()


async def _connect_asyncpg(place: Place) -> None:
    ports = [int(port) for port in str(place.port).split(",")]
    connection = await asyncpg.connect(
        host=place.folder or place.host.split(","),
        port=ports if len(ports) > 1 else ports[0],
        user=place.user,
        password=place.password,
        database=place.database,
        timeout=place.timeout,
        ssl=place.sslmode,
    )
    await connection.close()


def _url(dialect: str, place: Place) -> sqlalchemy.URL:
    query: dict[str, Any] = {}
    host: str | None = place.host
    port: int | None = int(place.port) if isinstance(place.port, int) else None
    if dialect.startswith("mysql") and place.path is not None:
        host, port, query = None, None, {"unix_socket": place.path}
    elif place.folder is not None:
        host, port, query = None, None, {"host": place.folder, "port": str(place.port)}
    elif port is None:
        addresses = zip(place.host.split(","), str(place.port).split(","), strict=True)
        host, query = None, {"host": [":".join(address) for address in addresses]}
    return sqlalchemy.URL.create(dialect, place.user, place.password, host, port, place.database, query)


def _over(dialect: str) -> Callable[[Place], None]:
    def connect(place: Place) -> None:
        settings: dict[str, Any] = {"connect_timeout": max(2, int(place.timeout))}
        if dialect.startswith("mysql"):
            settings = _pymysql_manners(place)
        elif place.sslmode is not None:
            settings |= {"sslmode": place.sslmode}
        engine = sqlalchemy.create_engine(_url(dialect, place), connect_args=settings, poolclass=NullPool)
        engine.connect().close()

    return connect


def _over_async(dialect: str) -> Callable[[Place], Any]:
    async def connect(place: Place) -> None:
        settings: dict[str, Any] = {"connect_timeout": max(2, int(place.timeout))}
        if "asyncpg" in dialect:
            settings = {"timeout": place.timeout, "ssl": place.sslmode}
        elif place.sslmode is not None:
            settings |= {"sslmode": place.sslmode}
        engine = create_async_engine(_url(dialect, place), connect_args=settings, poolclass=NullPool)
        async with engine.connect():
            pass

    return connect


def _redis(place: Place) -> dict[str, Any]:
    settings: dict[str, Any] = {"socket_timeout": place.timeout, "socket_connect_timeout": place.timeout}
    settings |= {"db": place.number} | ({} if place.password == "pass" else {"password": place.password})
    if place.path is None:
        return settings | {"host": place.host, "port": int(place.port)}
    return settings | {"unix_socket_path": place.path}


def _connect_redis(place: Place) -> None:
    with redis.Redis(**_redis(place), retry=RedisRetry(NoRedisBackoff(), 0)) as client:
        client.ping()


async def _connect_redis_async(place: Place) -> None:
    async with redis.asyncio.Redis(**_redis(place), retry=AsyncRedisRetry(NoRedisBackoff(), 0)) as client:
        await client.ping()


def _connect_valkey(place: Place) -> None:
    with valkey.Valkey(**_redis(place), retry=ValkeyRetry(NoValkeyBackoff(), 0)) as client:
        client.ping()


async def _connect_valkey_async(place: Place) -> None:
    async with valkey.asyncio.Valkey(**_redis(place), retry=AsyncValkeyRetry(NoValkeyBackoff(), 0)) as client:
        await client.ping()


def _pymysql_manners(place: Place) -> dict[str, Any]:
    # TLS only because making a context takes PyMySQL a tenth of a second.
    return {"connect_timeout": place.timeout, "read_timeout": place.timeout, "ssl_disabled": True}


def _connect_pymysql(place: Place) -> None:
    where = {"host": place.host, "port": place.port} if place.path is None else {"unix_socket": place.path}
    pymysql.connect(
        **where,
        user=place.user,
        password=place.password,
        database=place.database,
        **_pymysql_manners(place),
    ).close()


CLIENTS = (
    Client("socket", "tcp", _connect_socket),
    Client("asyncio", "tcp", _connect_streams),
    Client("psycopg", "postgresql", _connect_psycopg),
    Client("psycopg-async", "postgresql", _connect_psycopg_async),
    Client("psycopg2", "postgresql", _connect_psycopg2),
    Client("asyncpg", "postgresql", _connect_asyncpg),
    Client("sqlalchemy-psycopg", "postgresql", _over("postgresql+psycopg")),
    Client("sqlalchemy-psycopg-async", "postgresql", _over_async("postgresql+psycopg")),
    Client("sqlalchemy-psycopg2", "postgresql", _over("postgresql+psycopg2")),
    Client("sqlalchemy-asyncpg", "postgresql", _over_async("postgresql+asyncpg")),
    Client("redis", "redis", _connect_redis),
    Client("redis-async", "redis", _connect_redis_async),
    Client("valkey", "redis", _connect_valkey),
    Client("valkey-async", "redis", _connect_valkey_async),
    Client("pymysql", "mysql", _connect_pymysql),
    Client("sqlalchemy-pymysql", "mysql", _over("mysql+pymysql")),
)
