"""The other databases' clients: Oracle, SQL Server, ClickHouse, Cassandra, Neo4j, Trino, Vertica, Tarantool and more.

Each book's answers are the fewest bytes of its protocol that bring a client to the error.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from fake_servers import Handler, postgres, says

from .entry import ONLY_WORDS, Answer, Book, Place
from .servers import LIE


def _take(connection: socket.socket, size: int) -> bytes:
    taken = b""
    while len(taken) < size:
        part = connection.recv(size - len(taken))
        if not part:
            raise ConnectionAbortedError("the client has gone")
        taken += part
    return taken


def _finish(connection: socket.socket, words: bytes) -> None:
    """Say the last words, and listen until the client has gone."""
    connection.sendall(words)
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65_536):
        pass


def http(status: str, body: bytes | str, *headers: str) -> Handler:
    """Answer the first request."""
    words = body.encode() if isinstance(body, str) else body
    kind = "application/json" if words.startswith(b"{") else "text/plain"
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(words)}",
        "Connection: close",
        *headers,
    ]
    return says("\r\n".join(head).encode() + b"\r\n\r\n" + words)


# Oracle.


def listener(code: int) -> Handler:
    """A listener that turns the connection away: a REFUSE packet."""
    reason = f"(DESCRIPTION=(TMP=)(VSNNUM=352321536)(ERR={code})(ERROR_STACK=(ERROR=(CODE={code})(EMFI=4))))".encode()
    body = b"\x22\x00" + struct.pack("!H", len(reason)) + reason
    return says(struct.pack("!HHBBH", len(body) + 8, 0, 4, 0, 0) + body)


oracle = Book(
    "oracle",
    answers=[
        Answer("no such service (yet)", listener(12514), None),
        Answer("no such SID", listener(12505), None),
        Answer("no handler", listener(12519), None),
        Answer("restricted", listener(12526), None),
        Answer("blocking new connections", listener(12528), "not_ready"),
    ],
)


def _oracle(place: Place) -> dict[str, Any]:
    address = f"(ADDRESS=(PROTOCOL=TCP)(HOST={place.host})(PORT={place.port}))"
    limits = f"(TRANSPORT_CONNECT_TIMEOUT={place.seconds})(RETRY_COUNT=0)"
    dsn = f"(DESCRIPTION={limits}{address}(CONNECT_DATA=(SERVICE_NAME={place.database})))"
    return {"user": place.user, "password": place.password, "dsn": dsn}


@oracle.entry("oracledb connect")
def oracledb_connect(place: Place) -> None:
    import oracledb

    oracledb.connect(**_oracle(place)).close()


@oracle.entry("oracledb host and port")
def oracledb_host(place: Place) -> None:
    import oracledb

    where = {"host": place.host, "port": place.port, "service_name": place.database}
    limits = {"tcp_connect_timeout": place.timeout, "retry_count": 0}
    oracledb.connect(user=place.user, password=place.password, **where, **limits).close()


@oracle.entry("oracledb connect_async")
async def oracledb_async(place: Place) -> None:
    import oracledb

    async with oracledb.connect_async(**_oracle(place)):
        pass


@oracle.entry("oracledb create_pool")
def oracledb_pool(place: Place) -> None:
    import oracledb

    pool = oracledb.create_pool(
        **_oracle(place), min=1, max=2, getmode=oracledb.POOL_GETMODE_TIMEDWAIT, wait_timeout=3000
    )
    try:
        pool.acquire().close()
    finally:
        pool.close(force=True)


@oracle.entry("oracledb create_pool_async")
async def oracledb_pool_async(place: Place) -> None:
    import oracledb

    pool = oracledb.create_pool_async(
        **_oracle(place), min=1, max=2, getmode=oracledb.POOL_GETMODE_TIMEDWAIT, wait_timeout=3000
    )
    try:
        async with pool.acquire():
            pass
    finally:
        await pool.close(force=True)


@oracle.entry("sqlalchemy oracledb")
def sqlalchemy_oracledb(place: Place) -> None:
    import sqlalchemy

    with sqlalchemy.create_engine("oracle+oracledb://", connect_args=_oracle(place)).connect():
        pass


@oracle.entry("Django Oracle")
def django_oracle(place: Place) -> None:
    from django.conf import settings
    from django.db import ConnectionHandler

    if not settings.configured:
        settings.configure()
    words = _oracle(place)
    names = {
        "ENGINE": "django.db.backends.oracle",
        "NAME": words["dsn"],
        "USER": place.user,
        "PASSWORD": place.password,
    }
    connection = ConnectionHandler({"default": names})["default"]
    connection.ensure_connection()
    connection.close()


# SQL Server.


def sql_server(number: int, text: str) -> Handler:
    """Answer the login with this error, in plain text."""

    def packet(body: bytes) -> bytes:
        return struct.pack("!BBHHBB", 4, 1, len(body) + 8, 0, 1, 0) + body

    said, name = text.encode("utf-16-le"), "db".encode("utf-16-le")
    error = struct.pack("<iBBH", number, 1, 14, len(text)) + said + b"\x02" + name + b"\0" + struct.pack("<I", 1)
    last = b"\xaa" + struct.pack("<H", len(error)) + error + b"\xfd" + struct.pack("<HHQ", 2, 0, 0)
    prelogin = struct.pack("!BHHBHHB", 0, 11, 6, 1, 17, 1, 0xFF) + b"\x10\0\x10\0\0\0" + b"\x02"

    def handler(connection: socket.socket) -> None:
        while True:
            head = _take(connection, 8)
            _take(connection, struct.unpack("!H", head[2:4])[0] - 8)
            if head[0] != 0x12:
                break
            connection.sendall(packet(prelogin))
        while not head[1] & 1:
            head = _take(connection, 8)
            _take(connection, struct.unpack("!H", head[2:4])[0] - 8)
        _finish(connection, packet(last))

    return handler


STALE = dict.fromkeys(("pymssql", "sqlalchemy pymssql"))
"""pymssql 2.4.6 drops the text and keeps the number of the first error in a process, until a login succeeds."""

TLS = "python-tds connect, TLS"
"""Its server speaks no TLS: what it would say to the login is not heard."""

mssql = Book(
    "sqlserver",
    answers=[
        Answer(
            "wrong password",
            sql_server(18456, "Login failed for user 'someone'."),
            "hopeless",
            but=dict.fromkeys(STALE, "any"),
        ),
        Answer(
            "no such database",
            sql_server(4060, 'Cannot open database "things" requested by the login. The login failed.'),
            "hopeless",
            but=STALE,
        ),
        Answer(
            "script upgrade",
            sql_server(18401, "Login failed for user 'someone'. Reason: Server is in script upgrade mode."),
            "not_ready",
            but=STALE | {TLS: "hopeless"},
        ),
        Answer(
            "shutting down",
            sql_server(6005, "SHUTDOWN is in progress."),
            "not_ready",
            but=STALE | {TLS: "hopeless"},
        ),
        Answer(
            "a quoted refusal",
            sql_server(7303, "OLE DB: [Errno 111] Connection refused (111)"),
            None,
            but={"python-tds connect": "any", TLS: "hopeless"},
        ),
    ],
)


@mssql.entry("pymssql connect")
def pymssql_connect(place: Place) -> None:
    import pymssql

    where = {"server": f"{place.host}:{place.port}"}
    who = {"user": place.user, "password": place.password, "database": place.database}
    pymssql.connect(**where, **who, login_timeout=place.seconds, timeout=place.seconds).close()


@mssql.entry("sqlalchemy pymssql")
def sqlalchemy_pymssql(place: Place) -> None:
    import sqlalchemy

    url = f"mssql+pymssql://{place.user}:{place.password}@{place.netloc}/{place.database}"
    limits = {"login_timeout": place.seconds, "timeout": place.seconds}
    with sqlalchemy.create_engine(url, connect_args=limits).connect():
        pass


@mssql.entry("python-tds connect")
def pytds_connect(place: Place) -> None:
    import pytds

    pytds.connect(**_pytds(place)).close()


@mssql.entry(TLS)
def pytds_tls(place: Place) -> None:
    import certifi
    import pytds

    pytds.connect(**_pytds(place), cafile=certifi.where()).close()


def _pytds(place: Place) -> dict[str, Any]:
    where = {"dsn": place.host, "port": place.port, "user": place.user, "password": place.password}
    limits = {"login_timeout": place.timeout, "timeout": place.timeout, "disable_connect_retry": True}
    return where | {"database": place.database} | limits


def _odbc(place: Place, driver: str, **more: str) -> str:
    words = {"DRIVER": f"{{{driver}}}", "SERVER": place.host, "PORT": str(place.port), "DATABASE": place.database}
    words |= {"UID": place.user, "PWD": place.password} | more
    return ";".join(f"{key}={value}" for key, value in words.items())


@mssql.entry("pyodbc FreeTDS")
def pyodbc_freetds(place: Place) -> None:
    import pyodbc

    pyodbc.connect(_odbc(place, "FreeTDS", TDS_Version="7.4"), timeout=place.seconds).close()


@mssql.entry("aioodbc FreeTDS")
async def aioodbc_freetds(place: Place) -> None:
    import aioodbc

    words = _odbc(place, "FreeTDS", TDS_Version="7.4")
    connection = await aioodbc.connect(dsn=words, timeout=place.seconds)
    await connection.close()


# ClickHouse.


def clickhouse(code: int, text: str) -> Handler:
    """Answer the hello with an exception, on the native port."""

    def word(text: str) -> bytes:
        return bytes([len(text) & 0x7F | 0x80, len(text) >> 7]) + text.encode()

    return says(b"\x02" + struct.pack("<i", code) + word("DB::Exception") + word(text) + word("") + b"\0")


clickhouse_native = Book(
    "clickhouse",
    answers=[
        Answer("wrong password", clickhouse(516, "someone: Authentication failed"), "hopeless"),
        Answer("no such database", clickhouse(81, "Database things does not exist"), "hopeless"),
        Answer("a quoted refusal", clickhouse(279, "All connection tries failed: Connection refused (db:9000)"), None),
    ],
)


@clickhouse_native.entry("clickhouse-driver Client")
def clickhouse_driver_client(place: Place) -> None:
    from clickhouse_driver import Client

    client = Client(place.host, port=place.port, user=place.user, password=place.password, **_clickhouse(place))
    client.execute("SELECT 1")
    client.disconnect()


@clickhouse_native.entry("clickhouse-driver Client.from_url")
def clickhouse_driver_url(place: Place) -> None:
    from clickhouse_driver import Client

    tail = f"connect_timeout={place.timeout}&send_receive_timeout={place.timeout}&sync_request_timeout={place.timeout}"
    Client.from_url(f"clickhouse://{place.user}:{place.password}@{place.netloc}/{place.database}?{tail}").execute(
        "SELECT 1"
    )


@clickhouse_native.entry("clickhouse-driver dbapi")
def clickhouse_driver_dbapi(place: Place) -> None:
    from clickhouse_driver import dbapi

    where = {"host": place.host, "port": place.port, "user": place.user, "password": place.password}
    connection = dbapi.connect(**where, **_clickhouse(place))
    connection.cursor().execute("SELECT 1")
    connection.close()


def _clickhouse(place: Place) -> dict[str, Any]:
    limits = ("connect_timeout", "send_receive_timeout", "sync_request_timeout")
    return {"database": place.database} | dict.fromkeys(limits, place.timeout)


@clickhouse_native.entry("asynch connect")
async def asynch_connect(place: Place) -> None:
    from asynch import Connection

    tail = f"connect_timeout={place.seconds}&send_receive_timeout={place.seconds}&sync_request_timeout={place.seconds}"
    where = f"clickhouse://{place.user}:{place.password}@{place.netloc}/{place.database}?{tail}"
    async with Connection(where) as connection, connection.cursor() as cursor:
        await cursor.execute("SELECT 1")


def clickhouse_web(code: int, text: str, status: str) -> Handler:
    """Answer a request with an exception, on the HTTP port."""
    return http(status, f"Code: {code}. DB::Exception: {text}\n", f"X-ClickHouse-Exception-Code: {code}")


clickhouse_http = Book(
    "clickhouse",
    answers=[
        Answer("wrong password", clickhouse_web(516, "Authentication failed", "403 Forbidden"), "hopeless"),
        Answer("no such database", clickhouse_web(81, "Database things does not exist", "404 Not Found"), "hopeless"),
        Answer("HTTP 503", http("503 Service Unavailable", "no backend"), "not_ready"),
        Answer("HTTP 401", http("401 Unauthorized", "who are you"), "hopeless"),
        Answer(
            "a quoted refusal",
            clickhouse_web(279, "All connection tries failed: Connection refused", "500 Internal Server Error"),
            None,
        ),
    ],
)


def _clickhouse_connect(place: Place) -> dict[str, Any]:
    where = {"host": f"[{place.host}]" if ":" in place.host else place.host, "port": place.port}
    who = {"username": place.user, "password": place.password, "database": place.database}
    return where | who | {"connect_timeout": place.seconds, "send_receive_timeout": place.seconds, "query_retries": 0}


@clickhouse_http.entry("clickhouse-connect get_client")
def clickhouse_connect_client(place: Place) -> None:
    import clickhouse_connect

    clickhouse_connect.get_client(**_clickhouse_connect(place)).close()


@clickhouse_http.entry("clickhouse-connect get_async_client")
async def clickhouse_connect_async(place: Place) -> None:
    import clickhouse_connect

    client = await clickhouse_connect.get_async_client(**_clickhouse_connect(place))
    await client.close()


@clickhouse_http.entry("clickhouse-connect dbapi")
def clickhouse_connect_dbapi(place: Place) -> None:
    from clickhouse_connect import dbapi

    dbapi.connect(**_clickhouse_connect(place)).close()


# Cassandra.


def cassandra(code: int, text: str, *, to: int = 0x01) -> Handler:
    """Answer STARTUP with this error, or, `to` another request, only that."""

    def frame(head: bytes, opcode: int, body: bytes) -> bytes:
        return bytes([head[0] | 0x80, 0]) + head[2:4] + bytes([opcode]) + struct.pack("!I", len(body)) + body

    def text_of(words: str) -> bytes:
        return struct.pack("!H", len(words)) + words.encode()

    error = struct.pack("!i", code) + text_of(text)
    supported = struct.pack("!H", 2) + text_of("CQL_VERSION") + struct.pack("!H", 1) + text_of("3.4.5")
    supported += text_of("COMPRESSION") + struct.pack("!H", 0)

    def handler(connection: socket.socket) -> None:
        while True:
            head = _take(connection, 9)
            _take(connection, struct.unpack("!I", head[5:])[0])
            if head[4] == to:
                _finish(connection, frame(head, 0, error))
                return
            challenge = text_of("org.apache.cassandra.auth.PasswordAuthenticator")
            connection.sendall(frame(head, 6, supported) if head[4] == 5 else frame(head, 3, challenge))

    return handler


cassandra_book = Book(
    "cassandra",
    answers=[
        Answer(
            "wrong password", cassandra(0x0100, "Provided username and/or password are incorrect", to=0x0F), "hopeless"
        ),
        Answer("bootstrapping", cassandra(0x1002, "Cannot read from a bootstrapping node"), "not_ready"),
        Answer("overloaded", cassandra(0x1001, "Request is overloaded"), "not_ready"),
        Answer("a quoted refusal", cassandra(0x0000, "[Errno 111] Connection refused"), None),
    ],
)


def _cassandra(place: Place, **more: Any) -> None:
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import Cluster

    who = PlainTextAuthProvider(place.user, place.password)
    limits = {"connect_timeout": place.timeout, "control_connection_timeout": place.timeout}
    cluster = Cluster([place.host], port=place.port, auth_provider=who, protocol_version=4, **limits, **more)
    try:
        cluster.connect()
    finally:
        cluster.shutdown()


@cassandra_book.entry("cassandra-driver Cluster")
def cassandra_cluster(place: Place) -> None:
    _cassandra(place)


@cassandra_book.entry("cassandra-driver Cluster, asyncio")
def cassandra_asyncio(place: Place) -> None:
    from cassandra.io.asyncioreactor import AsyncioConnection

    _cassandra(place, connection_class=AsyncioConnection)


# Neo4j.


def neo4j(code: str, text: str) -> Handler:
    """Agree on Bolt 4.4, and answer HELLO with this failure."""

    def word(text: str) -> bytes:
        return b"\xd0" + bytes([len(text)]) + text.encode()

    failure = b"\xb1\x7f\xa2" + word("code") + word(code) + word("message") + word(text)

    def handler(connection: socket.socket) -> None:
        _take(connection, 20)
        connection.sendall(b"\0\0\x04\x04")
        _take(connection, struct.unpack("!H", _take(connection, 2))[0] + 2)
        _finish(connection, struct.pack("!H", len(failure)) + failure + b"\0\0")

    return handler


neo4j_book = Book(
    "neo4j",
    answers=[
        Answer(
            "wrong password", neo4j("Neo.ClientError.Security.Unauthorized", "The client is unauthorized"), "hopeless"
        ),
        Answer("no such database", neo4j("Neo.ClientError.Database.DatabaseNotFound", "No such database"), "hopeless"),
        Answer("unavailable", neo4j("Neo.TransientError.General.DatabaseUnavailable", "not available"), "not_ready"),
        Answer(
            "a quoted refusal", neo4j("Neo.DatabaseError.General.UnknownError", "[Errno 111] Connection refused"), None
        ),
    ],
)


def _neo4j(place: Place, scheme: str) -> dict[str, Any]:
    limits = {"connection_timeout": place.timeout, "connection_acquisition_timeout": 3, "max_transaction_retry_time": 0}
    return {"uri": f"{scheme}://{place.netloc}", "auth": (place.user, place.password)} | limits


@neo4j_book.entry("neo4j bolt")
def neo4j_bolt(place: Place) -> None:
    import neo4j

    with neo4j.GraphDatabase.driver(**_neo4j(place, "bolt")) as driver:
        driver.verify_connectivity()


@neo4j_book.entry("neo4j routing")
def neo4j_routing(place: Place) -> None:
    import neo4j

    with neo4j.GraphDatabase.driver(**_neo4j(place, "neo4j")) as driver:
        driver.verify_connectivity()


@neo4j_book.entry("neo4j execute_query")
def neo4j_query(place: Place) -> None:
    import neo4j

    with neo4j.GraphDatabase.driver(**_neo4j(place, "bolt")) as driver:
        driver.execute_query("RETURN 1", database_=place.database)


@neo4j_book.entry("neo4j AsyncGraphDatabase, bolt")
async def neo4j_async(place: Place) -> None:
    import neo4j

    async with neo4j.AsyncGraphDatabase.driver(**_neo4j(place, "bolt")) as driver:
        await driver.verify_connectivity()


@neo4j_book.entry("neo4j AsyncGraphDatabase, routing")
async def neo4j_async_routing(place: Place) -> None:
    import neo4j

    async with neo4j.AsyncGraphDatabase.driver(**_neo4j(place, "neo4j")) as driver:
        await driver.verify_connectivity()


# Trino.


def trino(name: str, text: str) -> Handler:
    """Answer a statement with this error."""
    error = {"message": text, "errorCode": 65543, "errorName": name, "errorType": "INTERNAL_ERROR", "failureInfo": {}}
    stats = {"state": "FAILED"}
    return http("200 OK", json.dumps({"id": "1", "infoUri": "http://db/", "stats": stats, "error": error}))


trino_book = Book(
    "trino",
    answers=[
        Answer("starting up", trino("SERVER_STARTING_UP", "Trino server is still initializing"), "not_ready"),
        Answer("shutting down", trino("SERVER_SHUTTING_DOWN", "Server is shutting down"), "not_ready"),
        Answer("HTTP 503", http("503 Service Unavailable", "no coordinator"), "not_ready"),
        Answer("wrong password", http("401 Unauthorized", "Access Denied: Invalid credentials"), "hopeless"),
        Answer("no such catalog", trino("CATALOG_NOT_FOUND", "Catalog 'things' not found"), None),
        Answer("a quoted refusal", trino("REMOTE_HOST_GONE", LIE.decode()), None),
    ],
)


@trino_book.entry("trino dbapi")
def trino_dbapi(place: Place) -> None:
    import trino

    where = {"host": f"[{place.host}]" if ":" in place.host else place.host, "port": place.port}
    limits = {"max_attempts": 1, "request_timeout": place.timeout}
    with trino.dbapi.connect(**where, user=place.user, catalog=place.database, **limits) as connection:
        connection.cursor().execute("SELECT 1")


@trino_book.entry("sqlalchemy trino")
def sqlalchemy_trino(place: Place) -> None:
    import sqlalchemy
    import trino.sqlalchemy

    where = trino.sqlalchemy.URL("trino", int(place.port), user=place.user, catalog=place.database)
    limits = {"max_attempts": 1, "request_timeout": place.timeout}
    limits |= {"host": f"[{place.host}]" if ":" in place.host else place.host}
    with sqlalchemy.create_engine(where, connect_args=limits).connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))


# Vertica, which speaks an old form of PostgreSQL's protocol.

vertica_book = Book(
    "vertica",
    answers=[
        Answer("wrong password", postgres("28000", "Invalid username or password"), "hopeless"),
        Answer("no such database", postgres("3D000", 'Database "things" does not exist'), "hopeless"),
        Answer("starting up", postgres("57V03", "The database system is starting up"), "not_ready"),
        Answer("a quoted refusal", postgres("XX000", "[Errno 111] Connection refused"), None),
    ],
)


@vertica_book.entry("vertica-python connect")
def vertica_connect(place: Place) -> None:
    import vertica_python

    where = {"host": place.host, "port": place.port, "user": place.user, "password": place.password}
    vertica_python.connect(**where, database=place.database, connection_timeout=place.timeout).close()


@vertica_book.entry("vertica-python DSN")
def vertica_dsn(place: Place) -> None:
    import vertica_python

    where = f"vertica://{place.user}:{place.password}@{place.netloc}/{place.database}"
    vertica_python.connect(dsn=f"{where}?connection_timeout={place.timeout}").close()


# Tarantool.


def tarantool(code: int, text: str) -> Handler:
    """Greet, and answer the first request with this error."""
    greeting = b"Tarantool 2.11.0 (Binary) 7170b4c6-2e1a-4a3f-9d4e-000000000000".ljust(63) + b"\n"
    greeting += b"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".ljust(63) + b"\n"
    said = text.encode()
    head = b"\x83\x00\xce" + struct.pack("!I", 0x8000 | code) + b"\x01\xcf" + struct.pack("!Q", 0) + b"\x05\x01"
    body = b"\x81\x31\xd9" + bytes([len(said)]) + said

    def handler(connection: socket.socket) -> None:
        connection.sendall(greeting)
        connection.recv(65_536)
        _finish(connection, b"\xce" + struct.pack("!I", len(head + body)) + head + body)

    return handler


POOL = {"tarantool ConnectionPool": None}
"""Drops what its servers said."""

tarantool_book = Book(
    "tarantool",
    answers=[
        Answer(
            "wrong password", tarantool(47, "User not found or supplied credentials are invalid"), "hopeless", but=POOL
        ),
        Answer("no such user", tarantool(45, "User 'someone' is not found"), "hopeless", but=POOL),
        Answer("loading", tarantool(116, "Instance bootstrap hasn't finished yet"), "not_ready", but=POOL),
        Answer("a quoted refusal", tarantool(77, "[Errno 111] Connection refused"), None),
    ],
)


def _tarantool(place: Place) -> dict[str, Any]:
    who = {"user": place.user, "password": place.password}
    limits = {"socket_timeout": place.timeout, "connection_timeout": place.timeout}
    return who | limits | {"reconnect_max_attempts": 0, "reconnect_delay": 0}


@tarantool_book.entry("tarantool Connection")
def tarantool_connection(place: Place) -> None:
    import tarantool

    tarantool.Connection(place.host, place.port, **_tarantool(place)).close()


@tarantool_book.entry("tarantool MeshConnection")
def tarantool_mesh(place: Place) -> None:
    import tarantool

    tarantool.MeshConnection(place.host, place.port, **_tarantool(place)).close()


@tarantool_book.entry("tarantool ConnectionPool")
def tarantool_pool(place: Place) -> None:
    import tarantool

    settings = _tarantool(place)
    who = {key: settings.pop(key) for key in ("user", "password")}
    pool = tarantool.ConnectionPool([{"host": place.host, "port": place.port, **who}], **settings)
    try:
        pool.call("box.info", mode=tarantool.Mode.ANY)
    finally:
        pool.close()


# Over HTTP.

JWT = {"python-arango jwt": None}
"""Drops what its servers said."""

web_book = Book(
    "http",
    answers=[
        Answer("HTTP 503", http("503 Service Unavailable", '{"error": true, "errorNum": 503}'), "not_ready", but=JWT),
        Answer("wrong password", http("401 Unauthorized", '{"error": true, "errorNum": 401}'), "hopeless"),
        Answer("a quoted refusal", http("500 Internal Server Error", LIE), None),
    ],
)


@web_book.entry("python-arango db")
def arango_db(place: Place) -> None:
    from arango import ArangoClient
    from arango.http import DefaultHTTPClient

    patience = DefaultHTTPClient(request_timeout=place.timeout, retry_attempts=0)
    client = ArangoClient(hosts=f"http://{place.netloc}", http_client=patience)
    try:
        client.db(place.database, place.user, place.password, verify=True)
    finally:
        client.close()


@web_book.entry("python-arango jwt", **ONLY_WORDS)
def arango_jwt(place: Place) -> None:
    from arango import ArangoClient
    from arango.http import DefaultHTTPClient

    patience = DefaultHTTPClient(request_timeout=place.timeout, retry_attempts=0)
    client = ArangoClient(hosts=f"http://{place.netloc}", http_client=patience)
    try:
        client.db(place.database, place.user, place.password, auth_method="jwt").version()
    finally:
        client.close()


def _influx(place: Place) -> dict[str, Any]:
    return {
        "url": f"http://{place.netloc}",
        "token": place.password,
        "org": "us",
        "timeout": round(place.timeout * 1000),
    }


@web_book.entry("influxdb-client query")
def influx_query(place: Place) -> None:
    from influxdb_client import InfluxDBClient

    with InfluxDBClient(**_influx(place)) as client:
        client.query_api().query("buckets()")


@web_book.entry("influxdb-client write")
def influx_write(place: Place) -> None:
    from influxdb_client import InfluxDBClient
    from influxdb_client.client.write_api import SYNCHRONOUS

    with InfluxDBClient(**_influx(place)) as client:
        client.write_api(write_options=SYNCHRONOUS).write("things", record="a b=1")


@web_book.entry("influxdb-client async")
async def influx_async(place: Place) -> None:
    from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync

    async with InfluxDBClientAsync(**_influx(place)) as client:
        await client.query_api().query("buckets()")


# ODBC and MonetDB.

monetdb_book = Book(
    "monetdb",
    answers=[Answer("no such database", says(b"\x2f\x00!no such database 'things'"), "any")],
)


@monetdb_book.entry("pymonetdb connect")
def pymonetdb_connect(place: Place) -> None:
    import pymonetdb

    where = {"hostname": place.host, "port": place.port, "username": place.user, "password": place.password}
    pymonetdb.connect(place.database, **where, connect_timeout=place.timeout).close()


BOOKS = (
    oracle,
    mssql,
    clickhouse_native,
    clickhouse_http,
    cassandra_book,
    neo4j_book,
    trino_book,
    vertica_book,
    tarantool_book,
    web_book,
    monetdb_book,
)
