"""pymemcache under `guard()`: single, pooled, hashed and retrying clients."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import guarding
import pytest
from guarding import Guarded
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.client.retrying import RetryingClient
from under_load import Load

from resilient import CircuitBreaker, CircuitBreakers, Endpoint
from resilient.clients import guard
from resilient.clients.pymemcache import ping, serves
from resilient.testing import LateServer, refused_port


class Memcached(LateServer):
    """Speaks so much of memcached's text protocol: version, get, set and incr. It counts the commands."""

    def __init__(self) -> None:
        super().__init__(self.serve)
        self.values = {b"answer": b"42"}
        self.written: list[bytes] = []
        self.writing = threading.Lock()
        self.kill, self.start = self.down, self.up

    def wait_ready(self, timeout: float) -> None:
        """It is ready as soon as it is up."""

    def serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for line in lines:
                command, *words = line.split()
                if command == b"set":
                    with self.writing:
                        self.written.append(words[0])
                        self.values[words[0]] = lines.read(int(words[3]) + 2)[:-2]
                    connection.sendall(b"STORED\r\n")
                elif command == b"get":
                    value = self.values.get(words[0])
                    found = b"" if value is None else b"VALUE %s 0 %d\r\n%s\r\n" % (words[0], len(value), value)
                    connection.sendall(found + b"END\r\n")
                else:
                    connection.sendall(b"VERSION 1.6\r\n")


def over(make: Any) -> Any:
    """What is guarded is a client."""
    return lambda host, port, **shield: guard(make((host, port)), **shield)


def ask(client: Any) -> int:
    return int(client.get("answer"))


def hashed(where: Any, **settings: Any) -> Any:
    return HashClient([where], **settings)


GUARDED = tuple(
    Guarded(name, open_it, ask, ConnectionRefusedError, lambda client: client.close())
    for name, open_it in {
        "Client": over(Client),
        "PooledClient": over(PooledClient),
        "HashClient": over(hashed),
        "HashClient with pools": over(lambda where: hashed(where, use_pooling=True)),
        "RetryingClient": over(lambda where: RetryingClient(Client(where), attempts=3)),
        "Client class": lambda host, port, **shield: guard(Client, **shield)((host, port)),
        "PooledClient class": lambda host, port, **shield: guard(PooledClient, **shield)((host, port)),
        "HashClient class": lambda host, port, **shield: guard(HashClient, **shield)([(host, port)]),
        "HashClient class with pools": lambda host, port, **shield: guard(HashClient, **shield)(
            [(host, port)], use_pooling=True
        ),
    }.items()
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


@pytest.fixture
def server() -> Iterator[Memcached]:
    with contextlib.closing(Memcached()) as found:
        found.up()
        yield found


@on_each
def test_it_waits_for_its_server(guarded: Guarded, server: Memcached) -> None:
    guarding.starts_before_its_server(guarded, server)


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them."""
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    assert guarding.connects_on_the_wire("test_guard_pymemcache") == {guarded.name: 3 for guarded in GUARDED}


@pytest.mark.parametrize("make", [PooledClient, lambda where, **its: HashClient([where], use_pooling=True, **its)])
def test_no_command_is_executed_twice_under_a_restart(make: Any, server: Memcached) -> None:
    """Every answered command was executed once; none failed but those that were on their way.

    memcached itself comes in no wheel, and would forget what it has executed: the server is a small one of its kind.
    """
    load = Load(server)
    client = guard(make((server.host, server.port), default_noreply=False), policy=load.policy)
    load.run(lambda its: client.set(its, "x"))
    client.close()
    load.check([name.decode() for name in server.written])


def test_what_comes_back_is_what_went_in() -> None:
    for cls in (Client, PooledClient, HashClient):
        guarded = guard(cls)
        assert issubclass(guarded, cls)
        assert (guarded.__name__, guarded.__doc__) == (cls.__name__, cls.__doc__)
        assert guard(guarded).__mro__[1] is cls
    client = Client(("localhost", 1))
    assert guard(client) is client


def test_guarding_again_puts_the_new_policy_in_place_of_the_old() -> None:
    breaker = CircuitBreaker("tried", trip_after=2, observers=())
    with refused_port() as port:
        for client in (Client(("127.0.0.1", port)), guard(Client)(("127.0.0.1", port))):
            breaker.reset()
            guard(client, policy=guarding.THREE)
            guard(client, policy=guarding.THREE.replace(attempts=2), breaker=breaker)
            with pytest.raises(ConnectionRefusedError):
                client.get("answer")
            assert breaker.state == "open"


def test_a_connected_client_goes_on_and_its_next_connect_is_protected(server: Memcached) -> None:
    for client in (Client((server.host, server.port)), PooledClient((server.host, server.port))):
        assert client.get("answer") == b"42"
        before = server.connections
        guard(client, policy=guarding.PATIENT)
        assert client.get("answer") == b"42"
        assert server.connections == before
        client.close()
        server.down()
        server.up_after(0.2)
        assert client.get("answer") == b"42"
        client.close()


def test_the_target_is_the_clients_own(tmp_path: Any) -> None:
    """Each circuit has its endpoint for its key."""
    breakers = CircuitBreakers(observers=())
    path = str(tmp_path / "memcached.sock")
    with refused_port() as port, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        for server, key in (
            (("127.0.0.1", port), Endpoint(scheme="memcached", host="127.0.0.1", port=port)),
            (path, Endpoint(scheme="unix", path=path)),
        ):
            with pytest.raises(ConnectionRefusedError):
                guard(Client(server), policy=guarding.THREE, breaker=breakers).get("answer")
            assert breakers[key].snapshot().failures == 3


def test_what_was_switched_off_is_said_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "resilient"):
        guard(RetryingClient(Client(("127.0.0.1", 1)), attempts=3))
    assert "RetryingClient's own attempts are off for refused connects" in caplog.text


def test_hello_is_said(server: Memcached) -> None:
    where = (server.host, server.port)
    for client in (Client(where), PooledClient(where), HashClient([where]), RetryingClient(guard(Client(where)))):
        ping(client)
    serves(f"memcached://{server.target}", 5.0)
    server.down()
    with pytest.raises(ConnectionRefusedError):
        ping(guard(Client(where)))
    with pytest.raises(ConnectionRefusedError):
        serves(f"memcached://{server.target}", 5.0)
    with pytest.raises(TypeError, match="no client of pymemcache"):
        ping(object())
