"""Handshakes against the servers themselves: starting, serving, full, and each asked in the others' protocols."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from machine_servers import MariaServer, MosquittoServer, NatsServer

from resilient._handshakes import HANDSHAKES, Answer, shake
from resilient.cli._servers import LocalServer, PostgresServer, ValkeyServer
from resilient.endpoint import Endpoint

LONG = 20.0
"""Seconds that no test waits for: an answer that is there comes at once."""

SHORT = 0.3
"""Seconds for those that may stay silent."""

OWN = {
    "mariadb": "mysql",
    "mosquitto": "mqtt",
    "nats": "nats",
    "postgres": "postgresql",
    "rabbitmq": "amqp",
    "valkey": "redis",
    "web": "http",
}
"""Every server and the scheme that is its own."""

SERVING = {
    "mariadb": (False, "MariaDB"),
    "mosquitto": (False, "accepts the client"),
    "nats": (False, "NATS "),
    "postgres": (False, "asks for no password"),
    "rabbitmq": (True, "AMQP 0-9"),
    "valkey": (False, "PONG"),
    "web": (False, "200 OK"),
}

SPEAKS_UP = {
    ("mariadb", "MySQL"): ("postgresql", "redis", "amqp", "nats", "memcached", "mqtt", "http", "https"),
    ("nats", "NATS"): ("postgresql", "mysql", "redis", "amqp", "memcached", "mqtt", "http", "https"),
    ("rabbitmq", "AMQP"): ("postgresql", "redis", "memcached", "mqtt", "http", "https"),
    ("valkey", "Redis"): ("memcached",),
    ("web", "HTTP"): ("redis", "memcached"),
}
"""Who tells a stranger what it is, and in which protocols. All others stay silent, or hang up."""


def ask(server: LocalServer | int, scheme: str, timeout: float = LONG) -> Answer:
    port = server if isinstance(server, int) else server.port
    return shake(Endpoint(scheme=scheme, host="127.0.0.1", port=port), timeout=timeout)


def heard_until(client: socket.socket, end: bytes) -> bytes:
    """Read until the server has said `end`, and return all that it said."""
    heard = b""
    while end not in heard:
        part = client.recv(4_096)
        assert part, heard
        heard += part
    return heard


def as_soon_as_there_is_room(url: str) -> psycopg.Connection:
    """Connect. A client that was turned away may still hold its place for a moment after it has heard so."""
    deadline = time.monotonic() + LONG
    while True:
        try:
            return psycopg.connect(url)
        except psycopg.OperationalError as error:
            if "too many clients" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@pytest.fixture(scope="module")
def valkey() -> Iterator[LocalServer]:
    with ValkeyServer() as server:
        server.restart()
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[LocalServer]:
    with PostgresServer() as server:
        server.restart()
        yield server


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Python's own web server; gives its port."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    folder = tmp_path_factory.mktemp("web")
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline().split(" port ")[1].split()[0])
        process.kill()


@pytest.mark.parametrize("name", OWN)
def test_a_server_serves_in_its_own_protocol(name: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(name)
    needs_password, text = SERVING[name]
    answer = ask(server, OWN[name])
    assert (answer.kind, answer.needs_password) == ("serves", needs_password)
    assert text in answer.text
    assert ask(server, "tcp").kind == "serves"


@pytest.mark.parametrize("name", OWN)
def test_a_server_serves_in_no_other_protocol(name: str, request: pytest.FixtureRequest) -> None:
    """It is named where it says who it is; where it hangs up or stays silent, that is all there is to know."""
    server = request.getfixturevalue(name)
    telling = {
        scheme: called for (teller, called), schemes in SPEAKS_UP.items() for scheme in schemes if teller == name
    }
    for scheme in [*OWN.values(), "memcached", "https", "rediss"]:
        if scheme == OWN[name]:
            continue
        answer = ask(server, scheme, LONG if scheme in telling else SHORT)
        assert answer.kind in ("wrong_protocol", "closed", "silent"), (scheme, answer)
        if scheme in telling:
            assert (answer.kind, telling[scheme] in answer.text) == ("wrong_protocol", True), (scheme, answer)


def test_a_server_still_serves_after_many_handshakes(mariadb: LocalServer) -> None:
    """Each counts as an aborted connect, and MariaDB blocks a host that it knows by name after a hundred of them."""
    assert {ask(mariadb, "mysql").kind for _ in range(150)} == {"serves"}


def test_postgres_is_not_ready_while_it_starts_and_then_serves() -> None:
    with PostgresServer(password="s3cret") as server:
        server.start()
        heard: list[Answer] = []
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not any(answer.kind == "serves" for answer in heard):
            with contextlib.suppress(ConnectionRefusedError):
                heard.append(ask(server, "postgresql"))
    assert {answer.kind for answer in heard} <= {"not_ready", "serves"}
    assert all("the database system is starting up (57P03)" in answer.text for answer in heard[:-1])
    assert heard[-1] == Answer("serves", "asks for a password (SASL)", True)


def test_postgres_without_room_is_not_ready() -> None:
    """It says so before it asks for a password, or, of its last places, after."""
    settings = {"max_connections": "2", "superuser_reserved_connections": "1", "reserved_connections": "0"}
    with PostgresServer(settings={**settings, "max_wal_senders": "0"}) as server:
        server.restart()
        with psycopg.connect(server.url, autocommit=True) as first:
            first.execute("create role resilient login")
            first.execute("create database resilient")
            answers = [ask(server, "postgresql")]
            with as_soon_as_there_is_room(server.url):
                answers.append(ask(server, "postgresql"))
    assert [answer.kind for answer in answers] == ["not_ready", "not_ready"]
    assert all("(53300)" in answer.text for answer in answers)


def test_a_valkey_with_a_password_serves() -> None:
    with ValkeyServer(arguments=("--requirepass", "s3cret")) as server:
        server.restart()
        answer = ask(server, "redis")
    assert (answer.kind, answer.needs_password) == ("serves", True)


def test_a_valkey_without_room_is_not_ready() -> None:
    with ValkeyServer(arguments=("--maxclients", "1")) as server:
        server.restart()
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(100) == b"+PONG\r\n"
            answer = ask(server, "redis")
    assert (answer.kind, answer.text) == ("not_ready", "ERR max number of clients reached")


def test_a_replica_that_lost_its_master_is_not_ready(refused_port: int) -> None:
    master = ("--replicaof", "127.0.0.1", str(refused_port), "--replica-serve-stale-data", "no")
    with ValkeyServer(arguments=master) as server:
        server.restart()
        answer = ask(server, "redis")
    assert answer.kind == "not_ready"
    assert answer.text.startswith("MASTERDOWN ")


def test_a_mariadb_without_room_is_not_ready() -> None:
    """It keeps one place more for its administrators."""
    with MariaServer(arguments=("--max-connections=10",)) as server:
        server.start()
        server.wait_ready(60)
        with contextlib.ExitStack() as clients:
            for _ in range(12):
                clients.enter_context(socket.create_connection((server.host, server.port))).recv(100)
            answer = ask(server, "mysql")
    assert (answer.kind, answer.text) == ("not_ready", "1040: Too many connections")


def test_a_nats_with_a_password_serves() -> None:
    with NatsServer(arguments=("--user", "me", "--pass", "s3cret")) as server:
        server.restart()
        answer = ask(server, "nats")
    assert (answer.kind, answer.needs_password) == ("serves", True)


def test_a_nats_without_room_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It greets all the same, and says so a moment later; a busy machine has more than a moment here.

    A client that was greeted has no place yet, and the next one may be quicker; one that got an answer has it.
    """
    monkeypatch.setitem(HANDSHAKES, "nats", HANDSHAKES["nats"]._replace(linger=3.0))
    configuration = tmp_path / "nats.conf"
    configuration.write_text("max_connections: 1\n", encoding="ascii")
    with NatsServer(arguments=("-c", str(configuration))) as server:
        server.restart()
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(b"CONNECT {}\r\nPING\r\n")
            assert heard_until(client, b"PONG\r\n").startswith(b"INFO ")
            answer = ask(server, "nats")
    assert (answer.kind, answer.text) == ("not_ready", "-ERR 'maximum connections exceeded'")


def test_a_mosquitto_with_accounts_serves() -> None:
    with MosquittoServer(lines=("allow_anonymous false",)) as server:
        server.restart()
        answer = ask(server, "mqtt")
    assert (answer.kind, answer.needs_password) == ("serves", True)


@pytest.mark.parametrize("name", ["mariadb", "mosquitto", "nats", "valkey"])
def test_a_server_that_was_killed_refuses(name: str, request: pytest.FixtureRequest) -> None:
    server: LocalServer = request.getfixturevalue(name)
    server.kill()
    with pytest.raises(ConnectionRefusedError):
        ask(server, OWN[name])
    server.start()
    server.wait_ready()
    assert ask(server, OWN[name]).kind == "serves"
