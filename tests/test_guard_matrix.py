"""The table of what is shown for each client that `guard()` knows, and by which test; a missing line is a failure."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import guarding
import pytest

from resilient.clients import TABLE

WAITS = "test_it_waits_for_its_server"
OWN_ERROR = "test_it_gives_up_as_the_client_does"
TWICE = "test_no_command_is_executed_twice_under_a_restart"
RESTART = f"test_guard_restart::{TWICE}"
BROKERS = "test_guard_restart_brokers::test_no_message_is_doubled_and_none_that_was_confirmed_is_lost"


class Row(NamedTuple):
    """What is shown for one client, each by a test, or why it cannot be.

    A test is written "file::function", and "file::function[thing]" where only those of its things count whose names
    begin so; a star in a file stands for the files that a test may have been moved to.

    Attributes:
        starts: it is used before its server is there, and its first command succeeds.
        restart: its server is killed under load and comes back: no error but where a command was lost, none done twice.
        circuit: the breaker is open, and its own `except` catches that.
        loop: the event loop goes on while it waits.
    """

    starts: str
    restart: str
    circuit: str
    loop: str


def row(file: str, restart: str | None = None, *, things: str = "", loop: str = "") -> Row:
    """The row of a client whose tests of `GUARDED` are as everybody's.

    Args:
        file: of its tests.
        restart: the test for it.
        things: how the names of its things begin.
        loop: how the names of its asynchronous things begin, if not so; or why it has none: "not: ...".
    """
    which = f"[{things}]" if things else ""
    its_loop = loop if loop.startswith("not: ") else f"{file}::{OWN_ERROR}[{loop or things}]"
    return Row(
        starts=f"{file}::{WAITS}{which}",
        restart=f"{file}::{TWICE}" if restart is None else restart,
        circuit=f"{file}::{OWN_ERROR}{which}",
        loop=its_loop,
    )


SYNCHRONOUS = "not: it has no asynchronous side"
POOLS = "test_guard_mysql::test_no_command_of_a_pool_is_executed_twice_under_a_restart"
JETSTREAM = (
    "test_guard_restart_brokers::test_no_message_to_a_stream_of_nats_is_doubled_and_none_that_was_confirmed_is_lost"
)

MATRIX = {
    "MySQLdb": row("test_guard_mysql", f"test_guard_mysql::{TWICE}[MySQLdb]", things="MySQLdb", loop=SYNCHRONOUS),
    "aio_pika": row("test_guard_aio_pika", BROKERS),
    "aiohttp": row("test_guard_http", f"{RESTART}[aiohttp]", things="aiohttp "),
    "aiomysql": row("test_guard_mysql", f"{POOLS}[aiomysql]", things="aiomysql "),
    "asyncmy": row("test_guard_mysql", f"{POOLS}[asyncmy]", things="asyncmy "),
    "asyncpg": row("test_guard_asyncpg"),
    "boto3": row("test_guard_boto3", f"{RESTART}[boto3]", loop=SYNCHRONOUS),
    "botocore": row("test_guard_boto3", f"{RESTART}[boto3]", loop=SYNCHRONOUS),
    "celery": row("test_guard_kombu", BROKERS, things="Celery()", loop=SYNCHRONOUS),
    "elastic_transport": row("test_guard_elasticsearch", f"{RESTART}[elasticsearch]", loop="async class"),
    "elasticsearch": row("test_guard_elasticsearch", f"{RESTART}[elasticsearch]", loop="AsyncElasticsearch"),
    "grpc": row("test_guard_grpc", f"{RESTART}[grpc]", loop="aio"),
    "httpx": row("test_guard_http", f"{RESTART}[httpx]", things="httpx ", loop="httpx AsyncClient"),
    "kombu": row("test_guard_kombu", BROKERS, things="Connection", loop=SYNCHRONOUS),
    "nats": row("test_guard_nats", JETSTREAM),
    "pika": row(
        "test_guard_pika",
        "test_guard_pika::test_under_load_no_message_is_doubled",
        loop="not: connections with callbacks are paced by pika's own loop",
    ),
    "psycopg": row("test_guard_psycopg", loop="AsyncConnection"),
    "psycopg2": row("test_guard_psycopg2", loop=SYNCHRONOUS),
    "psycopg_pool": row("test_guard_psycopg_pool", loop="AsyncConnectionPool"),
    "pymemcache": row("test_guard_pymemcache", loop=SYNCHRONOUS),
    "pymongo": row("test_guard_pymongo", loop="AsyncMongoClient"),
    "pymysql": row("test_guard_mysql", f"test_guard_mysql::{TWICE}[pymysql]", things="pymysql", loop=SYNCHRONOUS),
    "redis": row(
        "test_guard_redis*", f"test_guard_redis_restart::{TWICE}[redis]", things="redis", loop="redis.asyncio "
    ),
    "requests": row("test_guard_http", f"{RESTART}[requests]", things="requests ", loop=SYNCHRONOUS),
    "sqlalchemy": row("test_guard_sqlalchemy", loop="asyncpg"),
    "valkey": row(
        "test_guard_redis*", f"test_guard_redis_restart::{TWICE}[valkey]", things="valkey", loop="valkey.asyncio "
    ),
}


def test_every_client_of_the_table_has_its_row() -> None:
    assert sorted(MATRIX) == sorted(TABLE)


@pytest.mark.parametrize("shown", Row._fields)
@pytest.mark.parametrize("client", MATRIX)
def test_what_is_shown_is_shown_by_a_test(client: str, shown: str) -> None:
    cell = getattr(MATRIX[client], shown)
    if cell.startswith("not: "):
        assert len(cell) > len("not: ")
        assert shown == "loop", "there is no reason why a client could not show this"
        return
    file, _, name = cell.partition("::")
    name, _, thing = name.partition("[")
    found = list(_tests(file, name))
    assert found, f"{client}, {shown}: there is no {cell}"
    if not _is_installed(client):
        pytest.skip(f"{client} is not installed, and its tests do not run here")
    things = [its for module, test in found for its in _things(module, test)]
    counting = [its for its in things if str(its).startswith(thing.rstrip("]"))]
    if things:
        assert counting, f"{client}, {shown}: no thing of {name} begins with {thing}"
    else:
        assert not thing, f"{client}, {shown}: {name} has no things"
    if shown == "loop":
        assert any(its.is_async for its in counting), f"{client}: none of {cell} is asynchronous"


def _is_installed(client: str) -> bool:
    return client in sys.modules or importlib.util.find_spec(client) is not None


def _tests(file: str, name: str) -> Iterator[tuple[ModuleType, Any]]:
    for path in sorted(Path(__file__).parent.glob(f"{file}.py")):
        module = importlib.import_module(path.stem)
        if hasattr(module, name):
            yield module, getattr(module, name)


def _things(module: ModuleType, test: Any) -> list[Any]:
    """What a test is parametrised with, each as it is called there; or what is guarded in its file."""
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize" and mark.args[0] in ("guarded", "client", "library", "make"):
            ids = mark.kwargs.get("ids", str)
            return [its if ids is str else ids(its) for its in mark.args[1]]
    return list(getattr(module, "GUARDED", ()))


def test_the_checks_for_all_clients_have_the_open_circuit_and_the_loop_in_them() -> None:
    """So that a test of that name shows both."""
    names = guarding.every_check_without_a_server.__code__.co_names
    assert {"an_open_circuit_is_its_own_error", "the_loop_goes_on"} <= set(names)
