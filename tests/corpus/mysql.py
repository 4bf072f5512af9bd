"""MySQL's and MariaDB's other clients, pools, and what is built over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fake_servers import mysql

from .entry import Answer, Book, Place

FAILOVER = "mysql-connector-python failover"
"""Drops what its servers said."""

DROPPED: dict[str, str | None] = {FAILOVER: None, "tortoise-orm MySQL": "any"}
"""Tortoise shows it by an implicit context, and that is lost while another error is being handled (Cython's doing)."""

TLS = "pymysql TLS required"
"""Its server speaks no TLS: what it would say to the login is not heard."""

book = Book(
    "mysql",
    answers=[
        Answer(
            "too many connections", mysql(1040, "Too many connections", greets=False), "not_ready", but={FAILOVER: None}
        ),
        Answer(
            "shutting down", mysql(1053, "Server shutdown in progress", greets=False), "not_ready", but={FAILOVER: None}
        ),
        Answer(
            "wrong password",
            mysql(1045, "Access denied for user 'someone'", state="28000"),
            "hopeless",
            but=DROPPED,
        ),
        Answer(
            "no such database",
            mysql(1049, "Unknown database 'things'", state="42000"),
            "hopeless",
            but=DROPPED,
        ),
        Answer(
            "host not allowed",
            mysql(1130, "Host '10.0.0.7' is not allowed", greets=False),
            "hopeless",
            but=DROPPED,
        ),
        Answer(
            "a quoted refusal",
            mysql(1105, "Can't connect to MySQL server on 'db' (111 Connection refused)", state="HY000"),
            None,
            but={TLS: "hopeless"},
        ),
    ],
)


def _keywords(place: Place, *, name: str = "database") -> dict[str, Any]:
    where = {"host": place.host, "port": place.port, "user": place.user, "password": place.password}
    return where | {name: place.database}


def _url(place: Place, scheme: str, tail: str = "") -> str:
    return f"{scheme}://{place.user}:{place.password}@{place.netloc}/{place.database}{tail}"


# mysqlclient. It waits for an answer as long as `read_timeout` says.
# To the C libraries `localhost` is a Unix socket, but only in small letters.


def _over_tcp(place: Place, *, name: str = "database") -> dict[str, Any]:
    return _keywords(place, name=name) | {"host": place.host.replace("localhost", "Localhost")}


def _c_manners(place: Place) -> dict[str, Any]:
    return {"connect_timeout": place.seconds, "read_timeout": place.seconds, "write_timeout": place.seconds}


@book.entry("mysqlclient connect")
def mysqlclient_connect(place: Place) -> None:
    import MySQLdb

    MySQLdb.connect(**_over_tcp(place), **_c_manners(place)).close()


@book.entry("mysqlclient _mysql")
def mysqlclient_bare(place: Place) -> None:
    from MySQLdb import _mysql

    _mysql.connect(**_over_tcp(place), **_c_manners(place)).close()


@book.entry("sqlalchemy mysqlclient")
def sqlalchemy_mysqlclient(place: Place) -> None:
    _sqlalchemy(place, "mysql+mysqldb", **_c_manners(place))


def _sqlalchemy(place: Place, scheme: str, **settings: Any) -> None:
    import sqlalchemy

    url = _url(place, scheme).replace("localhost", "Localhost")
    with sqlalchemy.create_engine(url, connect_args=settings).connect():
        pass


async def _sqlalchemy_async(place: Place, scheme: str, **settings: Any) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async with create_async_engine(_url(place, scheme), connect_args=settings, poolclass=NullPool).connect():
        pass


# Oracle's connector.


@book.entry("mysql-connector-python pure")
def connector_pure(place: Place) -> None:
    import mysql.connector

    mysql.connector.connect(**_keywords(place), use_pure=True, connection_timeout=place.seconds).close()


@book.entry("mysql-connector-python C extension")
def connector_c(place: Place) -> None:
    import mysql.connector

    mysql.connector.connect(
        **_over_tcp(place),
        use_pure=False,
        connection_timeout=place.seconds,
        read_timeout=place.seconds,
        ssl_disabled=True,
    ).close()


@book.entry("mysql-connector-python aio")
async def connector_aio(place: Place) -> None:
    import mysql.connector.aio

    connection = await mysql.connector.aio.connect(**_keywords(place), connection_timeout=place.seconds)
    await connection.close()


@book.entry("mysql-connector-python pool, pure")
def connector_pool_pure(place: Place) -> None:
    from mysql.connector.pooling import MySQLConnectionPool

    settings = _keywords(place) | {"use_pure": True, "connection_timeout": place.seconds}
    MySQLConnectionPool(pool_name=f"of_{place.port}", pool_size=1, **settings).get_connection().close()


@book.entry("mysql-connector-python pool, C extension")
def connector_pool_c(place: Place) -> None:
    from mysql.connector.pooling import MySQLConnectionPool

    settings = _over_tcp(place) | {
        "use_pure": False,
        "connection_timeout": place.seconds,
        "read_timeout": place.seconds,
    }
    MySQLConnectionPool(pool_name=f"of_{place.port}", pool_size=1, **settings).get_connection().close()


@book.entry(FAILOVER)
def connector_failover(place: Place) -> None:
    import mysql.connector

    settings = _keywords(place) | {"use_pure": True, "connection_timeout": place.seconds}
    where = {"host": settings.pop("host"), "port": settings.pop("port")}
    mysql.connector.connect(**settings, failover=[where, where]).close()


@book.entry("sqlalchemy mysql-connector-python, pure")
def sqlalchemy_connector_pure(place: Place) -> None:
    _sqlalchemy(place, "mysql+mysqlconnector", use_pure=True, connection_timeout=place.seconds)


@book.entry("sqlalchemy mysql-connector-python, C extension")
def sqlalchemy_connector_c(place: Place) -> None:
    settings = {"connection_timeout": place.seconds, "read_timeout": place.seconds}
    _sqlalchemy(place, "mysql+mysqlconnector", use_pure=False, **settings)


# aiomysql and asyncmy.


@book.entry("aiomysql connect")
async def aiomysql_connect(place: Place) -> None:
    import aiomysql

    (await aiomysql.connect(**_keywords(place, name="db"), connect_timeout=place.timeout)).close()


@book.entry("aiomysql create_pool")
async def aiomysql_pool(place: Place) -> None:
    import aiomysql

    settings = _keywords(place, name="db")
    async with aiomysql.create_pool(**settings, connect_timeout=place.timeout, minsize=1) as pool, pool.acquire():
        pass


@book.entry("sqlalchemy aiomysql")
async def sqlalchemy_aiomysql(place: Place) -> None:
    await _sqlalchemy_async(place, "mysql+aiomysql", connect_timeout=place.timeout)


@book.entry("asyncmy connect")
async def asyncmy_connect(place: Place) -> None:
    import asyncmy

    connection = await asyncmy.connect(**_keywords(place), connect_timeout=place.seconds, read_timeout=place.seconds)
    connection.close()


@book.entry("asyncmy create_pool")
async def asyncmy_pool(place: Place) -> None:
    import asyncmy

    settings = _keywords(place) | {"connect_timeout": place.seconds, "read_timeout": place.seconds}
    async with asyncmy.create_pool(**settings, minsize=1) as pool, pool.acquire():
        pass


@book.entry("sqlalchemy asyncmy")
async def sqlalchemy_asyncmy(place: Place) -> None:
    await _sqlalchemy_async(place, "mysql+asyncmy", connect_timeout=place.seconds, read_timeout=place.seconds)


# PyMySQL by other doors.


@book.entry("pymysql Connection, deferred")
def pymysql_deferred(place: Place) -> None:
    import pymysql

    settings = {"connect_timeout": place.timeout, "read_timeout": place.timeout}
    connection = pymysql.Connection(**_keywords(place), **settings, defer_connect=True)
    connection.connect()
    connection.close()


@book.entry("pymysql ping")
def pymysql_ping(place: Place) -> None:
    import pymysql

    settings = {"connect_timeout": place.timeout, "read_timeout": place.timeout}
    connection = pymysql.Connection(**_keywords(place), **settings, defer_connect=True)
    connection.ping(reconnect=True)
    connection.close()


@book.entry(TLS)
def pymysql_tls(place: Place) -> None:
    import pymysql

    settings = {"connect_timeout": place.timeout, "read_timeout": place.timeout}
    pymysql.connect(**_keywords(place), **settings, ssl={"verify_mode": "none"}).close()


# MariaDB's connector, over its C library.


@book.entry("mariadb connect")
def mariadb_connect(place: Place) -> None:
    import mariadb

    mariadb.connect(**_over_tcp(place), **_c_manners(place)).close()


@book.entry("mariadb ConnectionPool")
def mariadb_pool(place: Place) -> None:
    import mariadb

    settings = _over_tcp(place) | _c_manners(place)
    pool = mariadb.ConnectionPool(pool_name=f"of_{place.port}_{id(settings)}", pool_size=1, **settings)
    pool.get_connection().close()


@book.entry("sqlalchemy mariadb")
def sqlalchemy_mariadb(place: Place) -> None:
    _sqlalchemy(place, "mariadb+mariadbconnector", **_c_manners(place))


# Frameworks.


@book.entry("Django MySQL")
def django_mysql(place: Place) -> None:
    from django.conf import settings
    from django.db import ConnectionHandler

    if not settings.configured:
        settings.configure()
    words = {key.upper(): value for key, value in _over_tcp(place, name="name").items()}
    words |= {"ENGINE": "django.db.backends.mysql", "OPTIONS": _c_manners(place)}
    connection = ConnectionHandler({"default": words})["default"]
    connection.ensure_connection()
    connection.close()


@book.entry("peewee MySQLDatabase")
def peewee_mysql(place: Place) -> None:
    import peewee

    words = _keywords(place)
    settings = {"connect_timeout": place.timeout, "read_timeout": place.timeout}
    database = peewee.MySQLDatabase(words.pop("database"), **words, **settings)
    database.connect()
    database.close()


@book.entry("peewee MySQLConnectorDatabase")
def peewee_connector(place: Place) -> None:
    from playhouse.mysql_ext import MySQLConnectorDatabase

    words = _keywords(place)
    database = MySQLConnectorDatabase(words.pop("database"), **words, use_pure=True, connection_timeout=place.seconds)
    database.connect()
    database.close()


@book.entry("peewee MariaDBConnectorDatabase")
def peewee_mariadb(place: Place) -> None:
    from playhouse.mysql_ext import MariaDBConnectorDatabase

    words = _over_tcp(place)
    database = MariaDBConnectorDatabase(words.pop("database"), **words, **_c_manners(place))
    database.connect()
    database.close()


@book.entry("pony MySQL")
def pony_mysql(place: Place) -> None:
    from pony.orm import Database

    Database().bind(provider="mysql", **_over_tcp(place, name="db"), **_c_manners(place))


def _databases(scheme: str) -> Callable[[Place], Any]:
    async def connect(place: Place) -> None:
        import databases

        database = databases.Database(_url(place, scheme), min_size=1, connect_timeout=place.seconds)
        await database.connect()
        await database.disconnect()

    return connect


book.entry("databases aiomysql")(_databases("mysql+aiomysql"))
book.entry("databases asyncmy")(_databases("mysql+asyncmy"))


@book.entry("tortoise-orm MySQL")
async def tortoise_mysql(place: Place) -> None:
    from tortoise import Tortoise

    where = _url(place, "mysql", f"?connect_timeout={place.seconds}")
    try:
        await Tortoise.init(db_url=where, modules={"models": ["corpus"]})
        await Tortoise.get_connection("default").execute_query("SELECT 1")
    finally:
        await Tortoise.close_connections()


@book.entry("pyodbc MariaDB")
def pyodbc_mariadb(place: Place) -> None:
    import pyodbc

    words = {"DRIVER": "{MariaDB Unicode}", "DATABASE": place.database, "UID": place.user, "PWD": place.password}
    words |= {"SERVER": place.host.replace("localhost", "Localhost"), "PORT": place.port}
    words |= {"CONN_TIMEOUT": place.seconds, "READ_TIMEOUT": place.seconds}
    pyodbc.connect(";".join(f"{key}={value}" for key, value in words.items()), timeout=place.seconds).close()
