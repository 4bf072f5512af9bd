"""redis-py and valkey-py under `guard()`: clients, pools, factories, Sentinel and cluster, plain and asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import importlib
import inspect
import logging
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import guarding
import pytest
import redis
import valkey
from conftest import ready_to_start
from fake_servers import serve
from guarding import Guarded, lasting_valkey

from resilient import Backoff, CircuitBreaker, CircuitBreakers, Endpoint, Policy
from resilient.cli._servers import ValkeyServer
from resilient.clients import guard
from resilient.clients.redis import ping, serves
from resilient.testing import late_server, refused_port

__all__ = ["lasting_valkey"]

TLS_HANDSHAKE = b"\x16\x03"
"""How a client hello begins (RFC 8446, 5.1)."""

LIBRARIES = {"redis": "Redis", "valkey": "Valkey"}


def ask(client: Any) -> Any:
    return int(client.echo("42"))


async def ask_async(client: Any) -> Any:
    return int(await client.echo("42"))


def close_sync(client: Any) -> None:
    client.close()
    client.connection_pool.disconnect()


async def close_async(client: Any) -> None:
    await client.aclose()
    await client.connection_pool.disconnect()


def things(name: str) -> Iterator[Guarded]:
    """Every kind of thing of one of the two libraries."""
    face, aio = importlib.import_module(name), importlib.import_module(f"{name}.asyncio")
    cls, error = LIBRARIES[name], face.exceptions.ConnectionError

    def url(host: str, port: int) -> str:
        return f"{name}://{host}:{port}/0"

    for where, client, use, close in (
        (name, getattr(face, cls), ask, close_sync),
        (f"{name}.asyncio", getattr(aio, cls), ask_async, close_async),
    ):
        lib = importlib.import_module(where)

        def over_pool(pool: Any, client: Any = client) -> Any:
            return lambda host, port, **shield: client(connection_pool=guard(pool(host=host, port=port), **shield))

        opens = {
            "client": lambda host, port, client=client, **shield: guard(client(host=host, port=port), **shield),
            "class": lambda host, port, client=client, **shield: guard(client, **shield)(host=host, port=port),
            "single connection": lambda host, port, client=client, **shield: guard(
                client(host=host, port=port), **shield
            ).client(),
            "from_url": lambda host, port, lib=lib, **shield: guard(lib.from_url, **shield)(url(host, port)),
            "Client.from_url": lambda host, port, client=client, **shield: guard(client.from_url, **shield)(
                url(host, port)
            ),
            "pool": over_pool(lib.ConnectionPool),
            "blocking pool": over_pool(lib.BlockingConnectionPool),
            "pool class": lambda host, port, lib=lib, client=client, **shield: client(
                connection_pool=guard(lib.ConnectionPool, **shield)(host=host, port=port)
            ),
            "pool.from_url": lambda host, port, lib=lib, client=client, **shield: client(
                connection_pool=guard(lib.ConnectionPool.from_url, **shield)(url(host, port))
            ),
            "connection class": lambda host, port, lib=lib, client=client, **shield: client(
                connection_pool=lib.ConnectionPool(
                    connection_class=guard(lib.Connection, **shield), host=host, port=port
                )
            ),
        }
        if "asyncio" in where:
            opens["single connection"] = lambda host, port, client=client, **shield: guard(client, **shield)(
                host=host, port=port, single_connection_client=True
            )
        for kind, open_it in opens.items():
            yield Guarded(f"{where} {kind}", open_it, use, error, close)


GUARDED = tuple(thing for name in LIBRARIES for thing in things(name))
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)
on_each_library = pytest.mark.parametrize("library", [redis, valkey], ids=lambda library: library.__name__)


def client_of(library: Any) -> Any:
    return getattr(library, LIBRARIES[library.__name__.partition(".")[0]])


@on_each
def test_it_waits_for_its_server(guarded: Guarded, server: ValkeyServer) -> None:
    guarding.starts_before_its_server(guarded, server)


@on_each
def test_it_outlives_a_restart(guarded: Guarded, server: ValkeyServer) -> None:
    """Its connections are gone, and the next command makes a new one."""
    guarding.outlives_a_restart(guarded, server)


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them, and its loop goes on."""
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    """The client alone would make eleven."""
    assert guarding.connects_on_the_wire("test_guard_redis") == {guarded.name: 3 for guarded in GUARDED}


# No command twice.


@on_each_library
def test_no_command_is_executed_twice(library: Any, server: ValkeyServer) -> None:
    """Threads write while the server is killed and started: what was answered stands there once, the rest at most once.

    Only commands may fail that met the server while it died, or were on their way to it.
    """
    client = guard(client_of(library)(host="127.0.0.1", port=server.port), policy=guarding.PATIENT)
    answered: list[str] = []
    failed: list[tuple[str, bool]] = []
    dead, over, warm = threading.Event(), threading.Event(), threading.Barrier(9)

    def write() -> None:
        client.ping()
        warm.wait(30)
        while not over.is_set():
            name = uuid.uuid4().hex
            try:
                client.rpush("written", name)
            except library.exceptions.ConnectionError:
                failed.append((name, dead.is_set()))
            else:
                answered.append(name)

    client.delete("written")
    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    warm.wait(30)
    try:
        for _ in range(2):
            before = len(answered)
            while len(answered) < before + 200:
                over.wait(0.01)
            dead.clear()
            server.kill()
            dead.set()
            over.wait(0.2)
            server.start()
            server.wait_ready(30)
        before = len(answered)
        while len(answered) < before + 200:
            over.wait(0.01)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    written = [name.decode() for name in client.lrange("written", 0, -1)]
    client.close()
    assert len(written) == len(set(written))
    assert set(answered) <= set(written) <= {*answered, *(name for name, _ in failed)}
    assert sum(late for _, late in failed) <= 2 * len(threads)


@on_each_library
@pytest.mark.parametrize("kind", ["", ".asyncio"])
def test_a_command_that_was_sent_is_not_sent_again(library: Any, kind: str) -> None:
    """The server takes it and hangs up; redis-py alone would send it ten times more."""
    heard: list[bytes] = []

    def hang_up(connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            if b"INCR" in data:
                heard.append(data)
                return
            connection.sendall(b"+OK\r\n" * data.count(b"\n*") + b"+OK\r\n")

    lib = importlib.import_module(library.__name__ + kind)
    with late_server(hang_up, after=0) as server:
        while not server.connections:
            with contextlib.suppress(OSError):
                socket.create_connection((server.host, server.port)).close()
        settings = {"host": server.host, "port": server.port, "protocol": 2}
        client = guard(client_of(lib)(**settings), policy=guarding.THREE)
        with pytest.raises(library.exceptions.ConnectionError):
            if kind:
                asyncio.run(_once(client.incr("x"), client))
            else:
                client.incr("x")
        if not kind:
            client.close()
    assert len(heard) == 1


async def _once(command: Any, client: Any) -> Any:
    try:
        return await command
    finally:
        await client.aclose()


@on_each_library
def test_a_retry_that_the_user_chose_is_kept_for_commands_and_makes_no_connect_more(library: Any) -> None:
    """After a command was lost it is sent again, as the user wants it; a connect that gave up is not begun anew."""
    retry = importlib.import_module(f"{library.__name__}.retry").Retry
    backoff = importlib.import_module(f"{library.__name__}.backoff").NoBackoff()
    lost: list[int] = []

    def serve(connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            if b"INCR" in data and len(lost) < 2:
                lost.append(1)
                return
            connection.sendall(b":7\r\n" if b"INCR" in data else b"+OK\r\n" * max(1, data.count(b"SETINFO")))

    errors = [library.exceptions.ConnectionError]
    with late_server(serve, after=0.2) as server:
        settings = {"host": server.host, "port": server.port, "protocol": 2}
        client = client_of(library)(retry=retry(backoff, 5), retry_on_error=errors, **settings)
        assert guard(client, policy=guarding.PATIENT).incr("x") == 7
        assert len(lost) == 2
        server.down()
        tried = CircuitBreaker("tried", trip_after=4, observers=())
        guard(client, policy=guarding.THREE, breaker=tried)
        with pytest.raises(library.exceptions.ConnectionError):
            client.incr("x")
        client.close()
    assert tried.state == "closed"


@on_each_library
def test_a_retry_that_is_set_afterwards_makes_no_connect_more(library: Any) -> None:
    retry = importlib.import_module(f"{library.__name__}.retry").Retry
    backoff = importlib.import_module(f"{library.__name__}.backoff").NoBackoff()
    breaker = CircuitBreaker("tried", trip_after=4, observers=())
    with refused_port() as port:
        client = guard(client_of(library)(port=port), policy=guarding.THREE, breaker=breaker)
        client.set_retry(retry(backoff, 5))
        for _ in range(2):  # the second one has a connection that was there when it was set
            breaker.reset()
            with pytest.raises(library.exceptions.ConnectionError):
                client.ping()
            assert breaker.state == "closed"
            client.set_retry(retry(backoff, 5))


@on_each_library
def test_a_command_that_is_cancelled_gives_its_connection_back(library: Any) -> None:
    """While it waits for the server, and the client can be used afterwards."""
    aio = importlib.import_module(f"{library.__name__}.asyncio")

    async def main(port: int) -> None:
        client = guard(client_of(aio)(host="127.0.0.1", port=port), policy=guarding.PATIENT)
        command = asyncio.create_task(client.ping())
        await asyncio.sleep(0.05)
        command.cancel()
        with pytest.raises(asyncio.CancelledError):
            await command
        assert not client.connection_pool._in_use_connections
        guard(client, policy=guarding.THREE)
        with pytest.raises(library.exceptions.ConnectionError):
            await client.ping()
        await client.aclose()

    with refused_port() as port:
        asyncio.run(main(port))


# Pub/sub.


@on_each_library
def test_a_subscriber_outlives_a_restart(library: Any, server: ValkeyServer) -> None:
    """It connects again, subscribes again, and no error reaches it."""
    client = guard(client_of(library)(host="127.0.0.1", port=server.port), policy=guarding.PATIENT)
    subscriber = client.pubsub()
    subscriber.subscribe("news")
    listening = subscriber.listen()
    assert next(listening)["type"] == "subscribe"
    server.kill()
    timer = threading.Timer(0.4, server.start)
    timer.start()
    assert next(listening)["type"] == "subscribe"
    client.publish("news", "late")
    assert next(listening)["data"] == b"late"
    timer.join()
    subscriber.close()
    client.close()


@on_each_library
def test_an_asynchronous_subscriber_outlives_a_restart(library: Any, server: ValkeyServer) -> None:
    aio = importlib.import_module(f"{library.__name__}.asyncio")

    async def main() -> None:
        client = guard(client_of(aio)(host="127.0.0.1", port=server.port), policy=guarding.PATIENT)
        subscriber = client.pubsub()
        await subscriber.subscribe("news")
        listening = subscriber.listen()
        assert (await listening.__anext__())["type"] == "subscribe"
        await asyncio.to_thread(server.kill)
        timer = threading.Timer(0.4, server.start)
        timer.start()
        assert (await listening.__anext__())["type"] == "subscribe"
        await client.publish("news", "late")
        assert (await listening.__anext__())["data"] == b"late"
        await asyncio.to_thread(timer.join)
        await listening.aclose()
        await subscriber.aclose()
        await client.aclose()

    asyncio.run(main())


@on_each_library
def test_a_subscriber_gives_up_once(library: Any) -> None:
    """Its own reconnect does not double the attempts."""
    breaker = CircuitBreaker("tried", trip_after=4, observers=())
    with refused_port() as port:
        client = guard(client_of(library)(port=port), policy=guarding.THREE, breaker=breaker)
        with pytest.raises(library.exceptions.ConnectionError), client.pubsub() as subscriber:
            subscriber.subscribe("news")
    assert breaker.state == "closed"


# What comes back.


@on_each_library
def test_what_comes_back_is_what_went_in(library: Any) -> None:
    cls = client_of(library)
    guarded = guard(cls)
    assert issubclass(guarded, cls)
    assert (guarded.__name__, guarded.__module__, guarded.__doc__) == (cls.__name__, cls.__module__, cls.__doc__)
    client = cls(port=1)
    assert guard(client) is client
    assert type(client) is cls
    pool = library.ConnectionPool(port=1)
    shown = repr(pool)
    assert guard(pool) is pool
    assert repr(pool) == shown
    assert type(guard(library.from_url)(f"{library.__name__}://localhost")) is cls
    assert isinstance(guard(cls.from_url)(f"{library.__name__}://localhost"), cls)


@on_each_library
def test_guarding_again_puts_the_new_policy_in_place_of_the_old(library: Any) -> None:
    with refused_port() as port:
        client = client_of(library)(port=port)
        for _ in range(3):
            guard(client, policy=guarding.THREE)
        breaker = CircuitBreaker("tried", trip_after=2, observers=())
        guard(client, policy=guarding.THREE.replace(attempts=2), breaker=breaker)
        with pytest.raises(library.exceptions.ConnectionError):
            client.ping()
    assert breaker.snapshot().state == "open"
    assert len([cls for cls in client.connection_pool.connection_class.__mro__ if "_resilient" in vars(cls)]) == 1


@on_each_library
def test_a_connected_client_goes_on_and_its_next_connect_is_protected(library: Any, server: ValkeyServer) -> None:
    client = client_of(library)(host="127.0.0.1", port=server.port)
    before = client.client_id()
    guard(client, policy=guarding.PATIENT)
    assert client.client_id() == before
    server.kill()
    timer = threading.Timer(0.3, server.start)
    timer.start()
    assert client.ping()
    timer.join()
    client.close()


@on_each_library
def test_copies_are_guarded_as_well(library: Any, server: ValkeyServer) -> None:
    """A copy, `client()`, a pipeline and a lock take their connections from the same pool."""
    client = guard(client_of(library)(host="127.0.0.1", port=server.port), policy=guarding.PATIENT)
    server.kill()
    timer = threading.Timer(0.3, server.start)
    timer.start()
    with client.client() as single:
        assert single.ping()
    timer.join()
    server.kill()
    timer = threading.Timer(0.3, server.start)
    timer.start()
    assert copy.copy(client).pipeline().ping().execute() == [True]
    timer.join()
    client.close()


@on_each_library
def test_what_was_switched_off_is_said_at_debug(library: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The user's own retry is kept, and its default is not."""
    retry = importlib.import_module(f"{library.__name__}.retry").Retry
    backoff = importlib.import_module(f"{library.__name__}.backoff").NoBackoff()
    with caplog.at_level(logging.DEBUG, "resilient"):
        guard(client_of(library)(port=1, retry=retry(backoff, 3)))
    assert f"{library.__name__}: the client's own 3 retries are kept for commands" in caplog.text
    default = inspect.signature(client_of(library)).parameters["retry"].default
    if default is not None:  # redis-py since 6
        with caplog.at_level(logging.DEBUG, "resilient"):
            guard(client_of(library)(port=1))
        assert f"{library.__name__}: the client's own {default.get_retries()} retries are off" in caplog.text


# The target.


@pytest.mark.parametrize("kind", ["", ".asyncio"])
@on_each_library
def test_the_target_is_the_clients_own(library: Any, kind: str) -> None:
    """Each circuit has its endpoint for its key."""
    lib = importlib.import_module(library.__name__ + kind)
    name = library.__name__
    breakers = CircuitBreakers(observers=())
    with refused_port() as port:
        client = guard(
            lib.from_url(f"{name}://user:secret@127.0.0.1:{port}/3"), policy=guarding.THREE, breaker=breakers
        )
        with pytest.raises(library.exceptions.ConnectionError) as raised:
            if kind:
                asyncio.run(_once(client.ping(), client))
            else:
                client.ping()
    assert f"{name}://127.0.0.1:{port}" in "".join(getattr(raised.value, "__notes__", [f"{name}://127.0.0.1:{port}"]))
    assert breakers[Endpoint(scheme=name, host="127.0.0.1", port=port)].snapshot().failures == 3


def test_a_unix_socket_is_a_target(tmp_path: Any) -> None:
    path = str(tmp_path / "valkey.sock")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        client = guard(redis.Redis(unix_socket_path=path), policy=guarding.THREE)
        with pytest.raises(redis.ConnectionError) as raised:
            client.ping()
    assert f"unix://{path}" in "".join(getattr(raised.value, "__notes__", [f"unix://{path}"]))


# Sentinel and cluster.


@on_each_library
def test_sentinels_masters_wait_for_their_sentinels(library: Any) -> None:
    """Each attempt asks every sentinel once."""
    sentinel = importlib.import_module(f"{library.__name__}.sentinel").Sentinel
    with refused_port() as one, refused_port() as two:
        nodes = [("127.0.0.1", one), ("127.0.0.1", two)]
        for ready in (False, True):
            breaker = CircuitBreaker("tried", trip_after=3, observers=())
            shield: dict[str, Any] = {"policy": guarding.THREE, "breaker": breaker}
            watched = guard(sentinel(nodes), **shield) if ready else guard(sentinel, **shield)(nodes)
            with pytest.raises(library.exceptions.ConnectionError):
                watched.master_for("main").ping()
            assert breaker.state == "open"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyServer]:
    with ready_to_start(lambda: ValkeyServer(arguments=["--cluster-enabled", "yes"])) as found:
        found.start()
        found.wait_ready(30)
        with valkey.Valkey(host="127.0.0.1", port=found.port) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while "ok" not in str(client.execute_command("CLUSTER", "INFO")).partition("cluster_state")[2][:8]:
                threading.Event().wait(0.05)
        yield found


@on_each_library
def test_a_cluster_client_waits_for_its_first_node(library: Any, cluster: ValkeyServer) -> None:
    """And at the next outage for the first node that comes back."""
    cls = getattr(library, LIBRARIES[library.__name__] + "Cluster")
    for make in (guard(cls, policy=guarding.PATIENT), guard(cls.from_url, policy=guarding.PATIENT)):
        cluster.kill()
        timer = threading.Timer(0.4, cluster.start)
        timer.start()
        where = (f"{library.__name__}://127.0.0.1:{cluster.port}",) if make.__name__ == "from_url" else ()
        client = make(*where, **({} if where else {"host": "127.0.0.1", "port": cluster.port}))
        timer.join()
        cluster.wait_ready(30)
        assert client.ping(target_nodes="random")
        client.close()


@on_each_library
def test_an_asynchronous_cluster_client_waits_for_its_first_node(library: Any, cluster: ValkeyServer) -> None:
    """It connects at its first command."""
    cls = getattr(importlib.import_module(f"{library.__name__}.asyncio"), LIBRARIES[library.__name__] + "Cluster")

    async def main() -> None:
        where = {"host": "127.0.0.1", "port": cluster.port}
        for client in (guard(cls, policy=guarding.PATIENT)(**where), guard(cls(**where), policy=guarding.PATIENT)):
            await asyncio.to_thread(cluster.kill)
            timer = threading.Timer(0.4, cluster.start)
            timer.start()
            async with client:
                assert await client.ping(target_nodes=client.RANDOM)
            await asyncio.to_thread(timer.join)

    asyncio.run(main())


def test_a_cluster_client_makes_an_attempt_of_the_policys_each_time() -> None:
    with refused_port() as port:
        for library in (redis, valkey):
            breaker = CircuitBreaker("tried", trip_after=3, observers=())
            cls = guard(
                getattr(library, LIBRARIES[library.__name__] + "Cluster"), policy=guarding.THREE, breaker=breaker
            )
            error = getattr(library.exceptions, LIBRARIES[library.__name__] + "ClusterException")
            with pytest.raises(error):
                cls(host="127.0.0.1", port=port)
            assert breaker.state == "open"


# Saying hello.


@on_each_library
def test_ping_says_hello_on_a_connection_of_its_own(library: Any, server: ValkeyServer) -> None:
    client = client_of(library)(host="127.0.0.1", port=server.port)
    ping(client)
    ping(guard(client).connection_pool)
    client.close()
    aio = importlib.import_module(f"{library.__name__}.asyncio")

    async def main() -> None:
        async with client_of(aio)(host="127.0.0.1", port=server.port) as client:
            await ping(client)
            await ping(guard(client))

    asyncio.run(main())


@on_each_library
def test_ping_tries_once(library: Any) -> None:
    """Also where the client is guarded, or would try again by itself."""
    with late_server() as server:
        client = client_of(library)(host=server.host, port=server.port)
        patient = Policy(attempts=50, backoff=Backoff(initial=5.0, maximum=5.0), observers=())
        for thing in (client, guard(client, policy=patient)):
            with pytest.raises(library.exceptions.ConnectionError):
                ping(thing)


def test_a_thing_that_does_not_connect_cannot_be_pinged() -> None:
    with pytest.raises(TypeError, match="neither client nor pool"):
        ping(redis.ConnectionError())


def test_a_url_serves(server: ValkeyServer) -> None:
    serves(f"redis://127.0.0.1:{server.port}/1", 5.0)
    serves(f"valkey://127.0.0.1:{server.port}", 5.0)
    with pytest.raises(redis.ConnectionError) as raised:
        serves(f"redis://u:secret@127.0.0.1:{server.port}", 5.0)
    assert "secret" not in str(raised.value)
    with refused_port() as port, pytest.raises(redis.ConnectionError):
        serves(f"redis://127.0.0.1:{port}", 5.0)


@on_each_library
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_url_that_asks_for_tls_never_sends_its_password_in_clear(library: Any, asynchronous: bool) -> None:
    """A handshake, and nothing else, is what a server hears."""
    heard: list[bytes] = []

    def hear(connection: socket.socket) -> None:
        heard.append(connection.recv(65_536))

    with serve(hear) as port:
        url = f"{library.__name__}s://:s3cret@127.0.0.1:{port}/0"
        if asynchronous:

            async def main() -> None:
                client = guard(importlib.import_module(f"{library.__name__}.asyncio").from_url(url))
                with pytest.raises(library.exceptions.ConnectionError):
                    await ask_async(client)
                await close_async(client)

            asyncio.run(main())
        else:
            client = guard(library.from_url(url))
            with pytest.raises(library.exceptions.ConnectionError):
                ask(client)
            close_sync(client)
    assert heard
    assert all(words.startswith(TLS_HANDSHAKE) and b"s3cret" not in words for words in heard)
