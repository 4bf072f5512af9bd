"""How each client library shows a refusal, as data: one file a library, one row in the table.

No client is imported here: an exception of a client proves that the client is imported already, and the top-level
package of its class is the key. Text is matched in this folder only.
A signature is loaded when a function is decorated in a program that has imported its client, or else at the first
error that needs it; whoever does neither pays for none.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from typing import Any, Final

from .._causes import BUILTINS, package
from ._signature import LONGEST_TEXT, Kind, Reader, Rule, Signature, check, together

__all__ = [
    "LONGEST_TEXT",
    "TABLE",
    "Kind",
    "Reader",
    "Rule",
    "Signature",
    "address",
    "find",
    "forget",
    "prepare",
    "teach",
    "together",
]

TABLE: Final = {
    "MySQLdb": "mysqlclient",
    "_pulsar": "pulsar",
    "adbc_driver_manager": "adbc_driver_manager",
    "aiohttp": "aiohttp",
    "aiokafka": "aiokafka",
    "aiomcache": "aiomcache",
    "aiomqtt": "aiomqtt",
    "aiormq": "aiormq",
    "amqp": "amqp",
    "arango": "arango",
    "asynch": "asynch",
    "asyncmy": "asyncmy",
    "asyncpg": "asyncpg",
    "asyncssh": "asyncssh",
    "azure": "azure",
    "botocore": "botocore",
    "cassandra": "cassandra",
    "cimpl": "confluent_kafka",
    "clickhouse_connect": "clickhouse_connect",
    "clickhouse_driver": "clickhouse_driver",
    "consul": "consul",
    "coredis": "coredis",
    "curl_cffi": "curl_cffi",
    "docker": "docker",
    "elastic_transport": "elastic_transport",
    "emcache": "emcache",
    "etcd3": "etcd3",
    "ftplib": "ftplib",
    "glide_shared": "glide_shared",
    "google": "google",
    "grpc": "grpc",
    "httpx": "httpx",
    "hvac": "hvac",
    "imaplib": "imaplib",
    "influxdb_client": "influxdb_client",
    "kafka": "kafka",
    "kubernetes": "kubernetes",
    "kubernetes_asyncio": "kubernetes_asyncio",
    "ldap": "ldap",
    "ldap3": "ldap3",
    "mariadb": "mariadb",
    "minio": "minio",
    "multiprocessing": "multiprocessing",
    "mysql": "mysql_connector",
    "nats": "nats",
    "ncclient": "ncclient",
    "neo4j": "neo4j",
    "opensearchpy": "opensearchpy",
    "oracledb": "oracledb",
    "paho": "paho",
    "paramiko": "paramiko",
    "pg8000": "pg8000",
    "pika": "pika",
    "poplib": "poplib",
    "psqlpy": "psqlpy",
    "psycopg": "psycopg",
    "psycopg2": "psycopg2",
    "psycopg_pool": "psycopg_pool",
    "pycurl": "pycurl",
    "pylibmc": "pylibmc",
    "pymemcache": "pymemcache",
    "pymongo": "pymongo",
    "pymssql": "pymssql",
    "pymysql": "pymysql",
    "pyodbc": "pyodbc",
    "pytds": "pytds",
    "redis": "redis",
    "requests": "requests",
    "resilient": "resilient",
    "smtplib": "smtplib",
    "sqlalchemy": "sqlalchemy",
    "stomp": "stomp",
    "tarantool": "tarantool",
    "tornado": "tornado",
    "trino": "trino",
    "urllib": "urllib",
    "urllib3": "urllib3",
    "valkey": "valkey",
    "vertica_python": "vertica_python",
    "websocket": "websocket",
    "websockets": "websockets",
    "xmlrpc": "xmlrpc",
}
"""The table: the top-level package of each client that is known, and the file here that knows it."""

MOST_CLASSES: Final = 1_024
"""Exception classes of which it is kept whose they are."""

_loaded: Final[dict[str, Reader]] = {}
_taught: Final[dict[str, Reader]] = {}
_found: Final[dict[type, Reader | None]] = {}
_NOT_FOUND: Final = object()


def prepare() -> None:
    """Load the signatures of the clients that are imported, so that no failure has to open a file."""
    for name in TABLE:
        if name in sys.modules and name not in _loaded:
            with contextlib.suppress(ImportError, OSError):  # no descriptor left, or Python is shutting down
                _load(name)


def find(cls: type) -> Reader | None:
    """Return what reads the signature of the client that an exception class belongs to, nearest base first.

    May raise what an import raises, where no descriptor is left.
    """
    found: Any = _found.get(cls, _NOT_FOUND)
    if found is _NOT_FOUND:
        found = _find(cls)
        if len(_found) >= MOST_CLASSES:
            _found.clear()
        _found[cls] = found
    return found  # type: ignore[no-any-return]


def teach(signature: Signature) -> None:
    """Make the signature of a client known to this process, in place of the one that was known.

    Do it where the client is imported, before anything is judged. To teach a package again replaces what was taught.

    Args:
        signature: its `package` is the top-level package of the client's exception classes.

    Raises:
        TypeError: it is not a `Signature`, or a field has the wrong type.
        ValueError: a field has a value that cannot work; the message names the rule and the field.
    """
    check(signature)
    _taught[signature.package] = Reader(signature)
    _found.clear()


def forget(package: str) -> None:
    """Take back what was taught about a package; what this library itself knows of it counts again.

    Raises:
        KeyError: nothing was taught about it.
    """
    del _taught[package]
    _found.clear()


def _find(cls: type) -> Reader | None:
    for base in cls.__mro__:
        if base in BUILTINS:
            continue
        name = package(base)
        if name in _taught:
            return _taught[name]
        if name in TABLE:
            return _loaded.get(name) or _load(name)
    return None


def _load(name: str) -> Reader:
    module = importlib.import_module(f"{__name__}.{TABLE[name]}")
    signature: Signature | None = getattr(module, "SIGNATURE", None)
    if signature is None:  # a signal handler has come in the middle of its import
        raise ImportError(f"the signature of {name} is just being loaded")
    return _loaded.setdefault(name, Reader(signature))


def address(exc: BaseException) -> tuple[str, int] | None:
    """Return the host and port that a client's text names, if its signature knows how. May raise."""
    reader = find(type(exc))
    if reader is None or reader.signature.address is None:
        return None
    match = re.search(reader.signature.address, str(exc)[:LONGEST_TEXT])
    return None if match is None else (match["host"], int(match["port"]))
