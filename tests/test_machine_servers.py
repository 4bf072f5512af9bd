"""The machine's own programs as tests need them: each starts, answers, dies, refuses, and comes back on its port."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pymysql
import pytest
from conftest import requires
from machine_servers import MachineServer, MariaServer, MosquittoServer, NatsServer, RabbitServer, program

CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"
CONNACK = b"\x20\x02\x00\x00"


def connect_errno(server: MachineServer) -> int:
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex((server.host, server.port))


def exchange(server: MachineServer, words: bytes) -> bytes:
    with socket.create_connection((server.host, server.port), timeout=5) as client:
        client.sendall(words)
        return client.recv(65_536)


def query(server: MachineServer, *, password: str = "") -> object:
    address = {"host": server.host, "port": server.port}
    with pymysql.connect(**address, user="root", password=password) as connection, connection.cursor() as cursor:
        cursor.execute("select 42")
        return cursor.fetchone()


def open_channel(server: MachineServer) -> bool:
    connection = pika.BlockingConnection(pika.URLParameters(server.url))
    opened: bool = connection.channel().is_open
    connection.close()
    return opened


ANSWERS: dict[str, Callable[[MachineServer], bool]] = {
    "mariadb": lambda server: query(server) == (42,),
    "rabbitmq": open_channel,
    "nats": lambda server: exchange(server, b"").startswith(b"INFO {"),
    "mosquitto": lambda server: exchange(server, CONNECT) == CONNACK,
}


@pytest.fixture(params=sorted(ANSWERS))
def server(request: pytest.FixtureRequest) -> Iterator[MachineServer]:
    """Each of them, serving before the test and after it."""
    found: MachineServer = request.getfixturevalue(request.param)
    yield found
    found.start()
    found.wait_ready(120)


def test_a_server_answers_dies_and_comes_back_on_its_port(
    server: MachineServer, request: pytest.FixtureRequest
) -> None:
    """One life: answer, be killed, refuse, restart, answer, stop, refuse."""
    answers = ANSWERS[request.node.callspec.params["server"]]
    first, port = server.pid, server.port
    assert answers(server)

    server.kill()
    assert server.pid is None
    assert connect_errno(server) == errno.ECONNREFUSED

    killed = time.monotonic()
    server.start()
    assert server.wait_ready(120) > killed
    assert answers(server)
    assert (server.port, server.pid == first) == (port, False)

    server.stop()
    assert connect_errno(server) == errno.ECONNREFUSED
    with socket.socket() as thief, pytest.raises(OSError) as caught:
        thief.bind((server.host, server.port))
    assert caught.value.errno == errno.EADDRINUSE


def test_a_server_keeps_off_the_standard_ports(server: MachineServer) -> None:
    assert server.port not in (1883, 3306, 4222, 4369, 5672, 25672)


def test_connections_are_counted_by_the_system(nats: MachineServer) -> None:
    before = nats.connections()
    with socket.create_connection((nats.host, nats.port)), socket.create_connection((nats.host, nats.port)):
        assert nats.connections() == before + 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs a server as somebody else")
def test_a_server_is_not_root(mariadb: MachineServer, mosquitto: MachineServer) -> None:
    for server in (mariadb, mosquitto):
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0


@pytest.mark.parametrize("make", [MariaServer, MosquittoServer, NatsServer, RabbitServer])
def test_leaving_the_context_leaves_nothing_behind(make: Callable[[], MachineServer]) -> None:
    """No folder, and no port; the life of a process is the other tests' matter."""
    with make() as server:
        folder = server._folder
        assert folder is not None
        assert connect_errno(server) == errno.ECONNREFUSED
    assert not folder.exists()
    with socket.socket() as anybody:
        anybody.bind((server.host, server.port))


def test_rabbitmq_takes_its_register_of_nodes_along() -> None:
    """Before the server itself is up: its register is, and ends."""
    with RabbitServer() as server:
        mapper = server._mapper
        server.start()
        assert connect_errno(mapper) == 0
        pid = mapper.pid or 0
        assert pid
    assert connect_errno(mapper) == errno.ECONNREFUSED or mapper.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_password_of_mariadb_is_asked_from_everybody() -> None:
    with MariaServer(password="s3cret") as server:
        server.start()
        server.wait_ready(60)
        assert query(server, password="s3cret") == (42,)
        for guess in ("", "guess"):
            with pytest.raises(pymysql.OperationalError, match="1045"):
                query(server, password=guess)


def test_a_program_that_is_not_installed_is_skipped_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESILIENT_REQUIRE_SERVERS", "0")
    with pytest.raises(pytest.skip.Exception, match="requires the program no-such-server"):
        program("no-such-server", "nor-this-one")
    monkeypatch.setenv("RESILIENT_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="requires the program no-such-server"):
        program("no-such-server")


def test_a_program_of_the_administrators_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their folders are not on everybody's path."""
    monkeypatch.setenv("PATH", os.devnull)
    try:
        assert Path(program("mariadbd", "sh")).is_absolute()
    except pytest.skip.Exception:
        requires("a shell")
