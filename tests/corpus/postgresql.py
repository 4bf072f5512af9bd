"""PostgreSQL's other clients, pools, and what is built over them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from fake_servers import postgres

from .entry import Answer, Book, Place

TLS = "pg8000 dbapi, TLS required"
"""Its server never speaks TLS: whatever else it would say is not heard."""

POOLS = dict.fromkeys(
    (
        "psycopg-pool ConnectionPool",
        "psycopg-pool ConnectionPool.wait",
        "psycopg-pool AsyncConnectionPool",
        "Django PostgreSQL, pool",
        "tortoise-orm psycopg",
    )
)
"""They drop what the server said."""

book = Book(
    "postgresql",
    answers=[
        Answer(
            "starting up",
            postgres("57P03", "the database system is starting up"),
            "not_ready",
            but=POOLS | {TLS: "hopeless"},
        ),
        Answer(
            "shutting down",
            postgres("57P03", "the database system is shutting down"),
            "not_ready",
            but=POOLS | {TLS: "hopeless"},
        ),
        Answer(
            "wrong password",
            postgres("28P01", 'password authentication failed for user "someone"'),
            "hopeless",
            but=POOLS,
        ),
        Answer("no such database", postgres("3D000", 'database "things" does not exist'), "hopeless", but=POOLS),
        Answer("no such role", postgres("28000", 'role "someone" does not exist'), "hopeless", but=POOLS),
        Answer(
            "a quoted refusal",
            postgres("XX000", 'connection to server at "db" (10.0.0.7), port 5432 failed: Connection refused'),
            None,
            but={TLS: "hopeless"},
        ),
    ],
)


def _keywords(place: Place, *, name: str = "database") -> dict[str, Any]:
    where = {"host": place.host, "port": place.port, "user": place.user, "password": place.password}
    return where | {name: place.database}


def _dsn(place: Place) -> str:
    words = f"host={place.host} port={place.port} user={place.user} password={place.password} dbname={place.database}"
    return f"{words} connect_timeout={max(2, place.seconds)}"


def _url(place: Place, scheme: str = "postgresql", tail: str = "") -> str:
    return f"{scheme}://{place.user}:{place.password}@{place.netloc}/{place.database}{tail}"


# pg8000.


@book.entry("pg8000 dbapi")
def pg8000_dbapi(place: Place) -> None:
    import pg8000.dbapi

    pg8000.dbapi.connect(**_keywords(place), timeout=place.timeout).close()


@book.entry("pg8000 native")
def pg8000_native(place: Place) -> None:
    import pg8000.native

    pg8000.native.Connection(**_keywords(place), timeout=place.timeout).close()


@book.entry(TLS)
def pg8000_tls(place: Place) -> None:
    import pg8000.dbapi

    pg8000.dbapi.connect(**_keywords(place), timeout=place.timeout, ssl_context=True).close()


@book.entry("sqlalchemy pg8000")
def sqlalchemy_pg8000(place: Place) -> None:
    import sqlalchemy

    settings = {"timeout": place.timeout}
    with sqlalchemy.create_engine(_url(place, "postgresql+pg8000"), connect_args=settings).connect():
        pass


# psycopg.


@book.entry("psycopg URL")
def psycopg_url(place: Place) -> None:
    import psycopg

    psycopg.connect(_url(place, tail=f"?connect_timeout={max(2, place.seconds)}")).close()


@book.entry("psycopg DSN")
def psycopg_dsn(place: Place) -> None:
    import psycopg

    psycopg.connect(_dsn(place)).close()


@book.entry("psycopg several hosts")
def psycopg_several_hosts(place: Place) -> None:
    import psycopg

    where = {"host": f"{place.host},{place.host}", "port": f"{place.port},{place.port}"}
    psycopg.connect(**_keywords(place, name="dbname") | where, connect_timeout=max(2, place.seconds)).close()


@book.entry("psycopg-pool ConnectionPool")
def psycopg_pool_sync(place: Place) -> None:
    import psycopg_pool

    with (
        psycopg_pool.ConnectionPool(_dsn(place), min_size=1, timeout=2, reconnect_timeout=0) as pool,
        pool.connection(),
    ):
        pass


@book.entry("psycopg-pool ConnectionPool.wait")
def psycopg_pool_wait(place: Place) -> None:
    import psycopg_pool

    with psycopg_pool.ConnectionPool(_dsn(place), min_size=1, reconnect_timeout=0) as pool:
        pool.wait(timeout=2)


@book.entry("psycopg-pool AsyncConnectionPool")
async def psycopg_pool_async(place: Place) -> None:
    import psycopg_pool

    async with (
        psycopg_pool.AsyncConnectionPool(_dsn(place), min_size=1, timeout=2, reconnect_timeout=0) as pool,
        pool.connection(),
    ):
        pass


@book.entry("psycopg-pool NullConnectionPool")
def psycopg_pool_null(place: Place) -> None:
    import psycopg_pool

    with psycopg_pool.NullConnectionPool(_dsn(place), timeout=2, reconnect_timeout=0) as pool, pool.connection():
        pass


@book.entry("psycopg-pool AsyncNullConnectionPool")
async def psycopg_pool_async_null(place: Place) -> None:
    import psycopg_pool

    async with (
        psycopg_pool.AsyncNullConnectionPool(_dsn(place), timeout=2, reconnect_timeout=0) as pool,
        pool.connection(),
    ):
        pass


# psycopg2.


@book.entry("psycopg2 URL")
def psycopg2_url(place: Place) -> None:
    import psycopg2

    psycopg2.connect(_url(place, tail=f"?connect_timeout={max(2, place.seconds)}")).close()


@book.entry("psycopg2 ThreadedConnectionPool")
def psycopg2_pool(place: Place) -> None:
    import psycopg2.pool

    psycopg2.pool.ThreadedConnectionPool(1, 2, _dsn(place)).closeall()


@book.entry("psycopg2 several hosts")
def psycopg2_several_hosts(place: Place) -> None:
    import psycopg2

    where = {"host": f"{place.host},{place.host}", "port": f"{place.port},{place.port}"}
    psycopg2.connect(**_keywords(place, name="dbname") | where, connect_timeout=max(2, place.seconds)).close()


@book.entry("aiopg connect")
async def aiopg_connect(place: Place) -> None:
    import aiopg

    connection = await aiopg.connect(_dsn(place), timeout=place.timeout)
    connection.close()


@book.entry("aiopg create_pool")
async def aiopg_pool(place: Place) -> None:
    import aiopg

    async with aiopg.create_pool(_dsn(place), minsize=1, timeout=place.timeout):
        pass


# asyncpg.


@book.entry("asyncpg URL")
async def asyncpg_url(place: Place) -> None:
    import asyncpg

    connection = await asyncpg.connect(_url(place), timeout=place.timeout)
    await connection.close()


@book.entry("asyncpg create_pool")
async def asyncpg_pool(place: Place) -> None:
    import asyncpg

    async with asyncpg.create_pool(_url(place), min_size=1, max_size=2, timeout=place.timeout):
        pass


@book.entry("asyncpg several hosts")
async def asyncpg_several_hosts(place: Place) -> None:
    import asyncpg

    where = {"host": [place.host, place.host], "port": [place.port, place.port]}
    connection = await asyncpg.connect(**_keywords(place) | where, timeout=place.timeout)
    await connection.close()


# Frameworks.


def _django(place: Place, **options: Any) -> None:
    from django.conf import settings
    from django.db import ConnectionHandler

    if not settings.configured:
        settings.configure()
    words = {key.upper(): value for key, value in _keywords(place, name="name").items()}
    options |= {"connect_timeout": max(2, place.seconds)}
    handler = ConnectionHandler({"default": words | {"ENGINE": "django.db.backends.postgresql", "OPTIONS": options}})
    connection = handler["default"]
    try:
        connection.ensure_connection()
    finally:
        if "pool" in options:
            connection.close_pool()
        connection.close()


@book.entry("Django PostgreSQL")
def django_postgresql(place: Place) -> None:
    _django(place)


@book.entry("Django PostgreSQL, pool")
def django_postgresql_pool(place: Place) -> None:
    _django(place, pool={"min_size": 1, "timeout": 2, "reconnect_timeout": 0})


def _databases(scheme: str) -> Callable[[Place], Any]:
    async def connect(place: Place) -> None:
        import databases

        database = databases.Database(_url(place, scheme), min_size=1, timeout=place.timeout)
        await database.connect()
        await database.disconnect()

    return connect


book.entry("databases asyncpg")(_databases("postgresql+asyncpg"))
book.entry("databases aiopg")(_databases("postgresql+aiopg"))


def _tortoise(scheme: str) -> Callable[[Place], Any]:
    async def connect(place: Place) -> None:
        from tortoise import Tortoise

        tail = f"?timeout={max(2, place.seconds)}" if scheme == "psycopg" else f"?timeout={place.seconds}"
        try:
            await Tortoise.init(db_url=_url(place, scheme, tail), modules={"models": ["corpus"]})
            await Tortoise.get_connection("default").execute_query("SELECT 1")
        finally:
            await Tortoise.close_connections()

    return connect


book.entry("tortoise-orm asyncpg")(_tortoise("asyncpg"))
book.entry("tortoise-orm psycopg")(_tortoise("psycopg"))


@book.entry("peewee PostgresqlDatabase")
def peewee_postgresql(place: Place) -> None:
    import peewee

    words = _keywords(place)
    database = peewee.PostgresqlDatabase(words.pop("database"), **words, connect_timeout=max(2, place.seconds))
    database.connect()
    database.close()


@book.entry("peewee PooledPostgresqlDatabase")
def peewee_pool(place: Place) -> None:
    from playhouse.pool import PooledPostgresqlDatabase

    words = _keywords(place)
    database = PooledPostgresqlDatabase(words.pop("database"), **words, connect_timeout=max(2, place.seconds))
    database.connect()
    database.close()


@book.entry("peewee db_url")
def peewee_url(place: Place) -> None:
    from playhouse.db_url import connect

    database = connect(_url(place, tail=f"?connect_timeout={max(2, place.seconds)}"))
    database.connect()
    database.close()


@book.entry("pony PostgreSQL")
def pony_postgresql(place: Place) -> None:
    from pony.orm import Database

    Database().bind(provider="postgres", **_keywords(place), connect_timeout=max(2, place.seconds))


@book.entry("sqlmodel psycopg")
def sqlmodel_psycopg(place: Place) -> None:
    import sqlmodel

    settings = {"connect_timeout": max(2, place.seconds)}
    engine = sqlmodel.create_engine(_url(place, "postgresql+psycopg"), connect_args=settings)
    with sqlmodel.Session(engine) as session:
        session.connection()


# Drivers that share nothing with the others.


@book.entry("psqlpy connect")
async def psqlpy_connect(place: Place) -> None:
    import psqlpy

    (await psqlpy.connect(**_psqlpy(place))).close()


@book.entry("psqlpy ConnectionPool")
async def psqlpy_pool(place: Place) -> None:
    import psqlpy

    with contextlib.closing(psqlpy.ConnectionPool(**_psqlpy(place), max_db_pool_size=2)) as pool:
        await pool.connection()


def _psqlpy(place: Place) -> dict[str, Any]:
    words = _keywords(place, name="db_name")
    return words | {"username": words.pop("user"), "connect_timeout_sec": place.seconds}


@book.entry("adbc-driver-postgresql dbapi")
def adbc_postgresql(place: Place) -> None:
    from adbc_driver_postgresql import dbapi

    dbapi.connect(_url(place, tail=f"?connect_timeout={max(2, place.seconds)}")).close()


@book.entry("pyodbc PostgreSQL")
def pyodbc_postgresql(place: Place) -> None:
    import pyodbc

    words = {"DRIVER": "{PostgreSQL Unicode}", "SERVER": place.host, "PORT": place.port, "DATABASE": place.database}
    words |= {"UID": place.user, "PWD": place.password}
    pyodbc.connect(";".join(f"{key}={value}" for key, value in words.items()), timeout=place.seconds).close()
