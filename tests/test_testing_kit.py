"""The testing kit does what it promises to whoever tests a program with it: ports, servers, events, no retries."""

from __future__ import annotations

import ast
import errno
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import requires
from drivers import QUIET, Client, Driver, down, notes_of, on_every_driver, refusal

import resilient
from resilient import Backoff, Policy, RetryScheduled, retry_on_refused, testing
from resilient.testing import LateServer, RecordedEvents, late_server, no_retries, recorded_events, refused_port


@pytest.fixture(params=["127.0.0.1", "::1"])
def host(request: pytest.FixtureRequest) -> str:
    address: str = request.param
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.bind((address, 0))
    except OSError:
        requires(f"{address} on the loopback")
    return address


def errno_of(host: str, port: int) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
        client.settimeout(2)
        return client.connect_ex((host, port))


def echo(host: str, port: int, data: bytes = b"ping") -> bytes:
    with socket.create_connection((host, port), timeout=5) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").read()


def test_a_refused_port_refuses_every_time(host: str) -> None:
    """It is bound, and nobody listens."""
    with refused_port(host) as port:
        assert {errno_of(host, port) for _ in range(100)} == {errno.ECONNREFUSED}


@pytest.mark.parametrize("reuse", [False, True], ids=["plainly", "with SO_REUSEADDR"])
def test_nobody_can_take_a_refused_port(host: str, reuse: bool) -> None:
    """A server that started in between would turn a test of refusal into one of luck."""
    with refused_port(host) as port, socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as thief:
        if reuse:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError) as caught:
            thief.bind((host, port))
        assert caught.value.errno == errno.EADDRINUSE


def test_a_refused_port_is_given_back() -> None:
    """For the next test."""
    with refused_port() as port:
        pass
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", port))


def test_the_fixture_is_a_refused_port(refused_port: int) -> None:
    """On 127.0.0.1."""
    assert errno_of("127.0.0.1", refused_port) == errno.ECONNREFUSED


def test_a_late_server_refuses_serves_refuses_and_serves_on_one_port(host: str) -> None:
    """It never loses the port, however often it goes down."""
    with late_server(host=host) as server:
        for round_ in range(1, 4):
            assert errno_of(host, server.port) == errno.ECONNREFUSED
            server.up()
            assert echo(host, server.port) == b"ping"
            assert server.connections == round_
            server.down()
        assert errno_of(host, server.port) == errno.ECONNREFUSED


def test_nobody_gets_a_late_servers_port_while_it_is_down(late_server: LateServer) -> None:
    """A plain bind fails, and the kernel does not draw it, with SO_REUSEADDR or without."""
    late_server.up()
    late_server.down()
    with socket.socket() as thief, pytest.raises(OSError) as caught:
        thief.bind((late_server.host, late_server.port))
    assert caught.value.errno == errno.EADDRINUSE
    drawn: set[int] = set()
    for _ in range(300):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((late_server.host, 0))
            drawn.add(client.getsockname()[1])
    assert late_server.port not in drawn


def test_going_down_drops_every_connection(late_server: LateServer) -> None:
    """As a server that dies does."""
    late_server.up()
    with socket.create_connection((late_server.host, late_server.port), timeout=5) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        late_server.down()
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:  # which of the two is a race
            return


def test_up_and_down_may_be_said_twice(late_server: LateServer) -> None:
    """The second time changes nothing."""
    for _ in range(2):
        late_server.up()
    assert echo(late_server.host, late_server.port) == b"ping"
    for _ in range(2):
        late_server.down()
    assert errno_of(late_server.host, late_server.port) == errno.ECONNREFUSED


def test_a_late_servers_target_is_one(host: str) -> None:
    """It can be given to `target=` as it is."""
    with late_server(host=host) as server:
        endpoint = resilient.Endpoint.parse(server.target)
        assert (endpoint.host, endpoint.port) == (host, server.port)


def test_a_late_server_serves_after_so_many_seconds() -> None:
    """And is met by a call with the default policy."""
    start = time.monotonic()
    with late_server(after=0.05) as server:
        answer = retry_on_refused(echo, policy=Policy(observers=()))(server.host, server.port)
    assert answer == b"ping"
    assert time.monotonic() - start >= 0.05


def test_a_late_server_that_is_closed_early_does_not_come_up() -> None:
    """Its timer goes with it."""
    with late_server(after=0.02) as server:
        pass
    time.sleep(0.04)
    assert errno_of(server.host, server.port) == errno.ECONNREFUSED


def test_a_handler_serves_each_connection() -> None:
    """In a thread of its own, and what it raises when the client has gone is nobody's business."""

    def shout(connection: socket.socket) -> None:
        connection.sendall(connection.recv(100).upper())

    with late_server(shout) as server:
        server.up()
        with socket.create_connection((server.host, server.port)):
            assert echo(server.host, server.port) == b"PING"


def test_a_late_server_leaves_no_thread() -> None:
    """Also where a client never hung up."""
    before = set(threading.enumerate())
    with late_server() as server:
        server.up()
        echo(server.host, server.port)
        client = socket.create_connection((server.host, server.port))
    client.close()
    deadline = time.monotonic() + 2
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert set(threading.enumerate()) <= before


@on_every_driver
def test_no_retries_holds_in_every_thread_and_ends_with_its_block(driver: Driver) -> None:
    """It is a switch of the process."""
    client = down()
    with no_retries():
        driver.fail(client)
        thread = threading.Thread(target=lambda: driver.fail(client))
        thread.start()
        thread.join()
        assert client.calls == 2
    driver.fail(client, policy=QUIET.replace(attempts=2))
    assert client.calls == 4


def test_no_retries_may_be_nested() -> None:
    """The inner end is not the end."""
    client = down()
    with no_retries():
        with no_retries():
            pass
        with pytest.raises(ConnectionRefusedError) as caught:
            retry_on_refused(client)()
    assert client.calls == 1
    assert notes_of(caught.value) == []


def test_no_retries_asks_no_strategy_and_no_target() -> None:
    """The first error is the answer."""

    def ask(*args: object) -> bool:
        raise AssertionError("nobody should ask")

    with no_retries(), pytest.raises(ConnectionRefusedError):
        retry_on_refused(down(), policy=QUIET.replace(retry=ask, stop=ask), target=ask)()


def test_a_recorder_hears_every_thread(recorded_events: RecordedEvents) -> None:
    """And misses nothing."""
    policy = QUIET.replace(backoff=Backoff(initial=0.001, maximum=0.001))
    threads = [
        threading.Thread(target=retry_on_refused(Client(refusal(), refusal()), policy=policy)) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(recorded_events.of(RetryScheduled)) == 20


def test_a_recorder_that_ends_early_records_no_more() -> None:
    """Also where the block was left by an error."""
    with pytest.raises(KeyError), recorded_events() as recorded:
        raise KeyError
    retry_on_refused(Client(refusal()), policy=QUIET)()
    assert recorded == []


PLUGIN = ast.parse(Path(resilient.__file__).with_name("pytest_plugin.py").read_text(encoding="utf-8"))


def test_each_fixture_is_a_context_manager_of_the_same_name() -> None:
    """With a sentence for `pytest --fixtures`."""
    fixtures = {node.name: ast.get_docstring(node) for node in PLUGIN.body if isinstance(node, ast.FunctionDef)}
    assert set(fixtures) == {"fake_clock", "late_server", "no_retries", "recorded_events", "refused_port"}
    assert set(fixtures) <= set(testing.__all__)
    assert all(fixtures.values())


def test_the_plugin_imports_nothing_but_pytest_at_its_top() -> None:
    """It is loaded into every test run of an environment, also where another distribution overwrote our face."""
    imported = {
        name
        for node in PLUGIN.body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [f"{'.' * node.level}{node.module}"]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported == {"__future__", "collections.abc", "typing", "pytest"}


def run(code: str, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(resilient.__file__).parent.parent)}
    environment.pop("PYTEST_ADDOPTS", None)
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=30,
        check=False,
    )


def test_the_plugin_loads_no_testing_kit_until_a_fixture_is_used() -> None:
    """Nor asyncio or trio, in a test run that has none of them."""
    ran = run(
        """
        import sys
        before = {name for name in ("asyncio", "trio", "ssl") if name in sys.modules}
        import pytest
        with_pytest = {name for name in ("asyncio", "trio", "ssl") if name in sys.modules}
        import tenacity
        with_tenacity = {name for name in ("asyncio", "trio", "ssl") if name in sys.modules}
        import resilient.pytest_plugin
        after = {name for name in ("asyncio", "trio", "ssl", "resilient.testing") if name in sys.modules}
        print(sorted(after - with_tenacity))
        """
    )
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_the_fixtures_work_in_somebody_elses_tests(tmp_path: Path) -> None:
    """All of them in one test, in a run of its own."""
    (tmp_path / "test_theirs.py").write_text(
        textwrap.dedent(
            """
            import socket
            import pytest
            from resilient import retry_on_refused

            def test_all(refused_port, late_server, fake_clock, recorded_events):
                connect = retry_on_refused(socket.create_connection)
                with pytest.raises(ConnectionRefusedError):
                    connect(("127.0.0.1", refused_port))
                assert fake_clock.now() == 60
                late_server.up()
                connect((late_server.host, late_server.port)).close()
                assert recorded_events

            def test_none(no_retries, refused_port):
                with pytest.raises(ConnectionRefusedError):
                    retry_on_refused(socket.create_connection)(("127.0.0.1", refused_port))
            """
        ),
        encoding="utf-8",
    )
    arguments = ("-q", "-p", "resilient.pytest_plugin", "-p", "no:cacheprovider", "-W", "error", "test_theirs.py")
    ran = run("import pytest, sys; sys.exit(pytest.main(sys.argv[1:]))", *arguments, folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout


def late(function: Callable[[], object]) -> float:
    start = time.monotonic()
    function()
    return time.monotonic() - start


def test_a_test_of_an_hour_takes_no_time() -> None:
    """Which is what the fake clock is for."""
    policy = Policy(deadline=3600, backoff=Backoff(maximum=30), observers=())

    def an_hour() -> None:
        with testing.fake_clock() as clock:
            Driver("sync", "function").fail(down(), policy=policy)
            assert clock.now() == 3600

    assert late(an_hour) < 2
