"""Why a target does not serve: each fault is made for real where it can be, and named by its code."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import logging
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import programs
import pytest
from conftest import requires
from fake_servers import Handler, hang_up, mysql, postgres, redis_server, reset, says, serve, silence
from test_handshakes_talking import certificate, inside_tls, trusted  # noqa: F401  # the first and last are fixtures
from test_real_servers import begin_recovery, promote, wait_until_it_answers

from resilient import Endpoint, Policy, PolicyError, RetriesExhausted, TargetError, retry_on_refused
from resilient._handshakes import Answer, AnswerKind
from resilient.cli._servers import PostgresServer, ValkeyServer
from resilient.diagnosis import CODES, Diagnosis, _diagnosing, _dialling, _explaining, _machine, diagnose, explain
from resilient.diagnosis._elsewhere import PROGRAMS
from resilient.diagnosis._helping import help_for
from resilient.diagnosis._judging import judge
from resilient.diagnosis._seen import Listener, Machine, Owner, Proxy, Reply, ReplyKind, Seen
from resilient.testing import refused_port

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
SECRET = "pa55%2Fw0rd!x"
PLAIN = "pa55/w0rd!x"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine is, it is no container here, and it has no proxy."""
    monkeypatch.setattr(_machine, "container", lambda: "")
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer(arguments=("--requirepass", PLAIN)) as server:
        server.restart()
        yield server


@pytest.fixture(scope="module")
def pg() -> Iterator[PostgresServer]:
    with PostgresServer(password="right-one") as server:
        server.restart()
        yield server


def bounded(target: str | Endpoint, timeout: float = 2.0) -> Diagnosis:
    """Diagnose, in time; what comes out is one whole value without a secret.

    What hangs here hangs for 30 seconds; a loaded machine may be late by some.
    """
    since = time.monotonic()
    found = diagnose(target, timeout=timeout)
    assert time.monotonic() - since < timeout + 10.0
    assert_whole(found)
    return found


def serves_in_the_end(target: str) -> bool:
    """Whether it comes to serve within a while."""
    ends = time.monotonic() + 30
    while not (serves := bounded(target).serves) and time.monotonic() < ends:
        time.sleep(0.1)
    return serves


def assert_whole(found: Diagnosis) -> None:
    assert found.code in CODES
    assert found.evidence
    assert found.help
    assert "\n" not in found.help
    assert pickle.loads(pickle.dumps(found)) == found
    assert json.loads(json.dumps(found.as_dict()))["code"] == found.code
    everything = f"{found}{found!r}{found.as_dict()}"
    assert PLAIN not in everything
    assert SECRET not in everything
    assert "w0rd" not in everything


# Faults that every machine can have. Each gives a target.

Fault = Callable[[], "contextlib.AbstractContextManager[str]"]
FAULTS: list[tuple[str, str, Fault]] = []


def fault(code: str, scheme: str = "") -> Callable[[Callable[[], Iterator[str]]], None]:
    def enter(function: Callable[[], Iterator[str]]) -> None:
        FAULTS.append((function.__name__, code, contextlib.contextmanager(function)))

    return enter


def answering(code: str, name: str, scheme: str, handler: Handler, credentials: str = "") -> None:
    def target() -> Iterator[str]:
        with serve(handler) as port:
            yield f"{scheme}://{credentials}127.0.0.1:{port}"

    target.__name__ = name
    FAULTS.append((name, code, contextlib.contextmanager(target)))


@fault("nothing_listens")
def bound_and_not_listening() -> Iterator[str]:
    with refused_port() as port:
        yield f"127.0.0.1:{port}"


@fault("nothing_listens")
def killed() -> Iterator[str]:
    with ValkeyServer() as server:
        server.restart()
        server.kill()
        yield f"127.0.0.1:{server.port}"


@fault("serves")
def accepts() -> Iterator[str]:
    with serve(silence) as port:
        yield f"localhost:{port}"


@contextlib.contextmanager
def listening_elsewhere(listens: str, asked: str) -> Iterator[str]:
    family = socket.AF_INET6 if ":" in listens else socket.AF_INET
    try:
        with socket.socket(family) as server:
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.bind((listens, 0))
            server.listen()
            host = f"[{asked}]" if ":" in asked else asked
            yield f"{host}:{server.getsockname()[1]}"
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        requires(f"{listens} on the loopback")


if sys.platform == "linux":
    for name, listens, asked in (
        ("listens_on_ipv6_only", "::1", "127.0.0.1"),
        ("listens_on_every_ipv6_only", "::", "127.0.0.1"),
        ("listens_on_ipv4_only", "127.0.0.1", "::1"),
        ("listens_on_another_interface", "127.0.0.2", "127.0.0.1"),
    ):
        FAULTS.append(
            (name, "listens_on_other_address", lambda listens=listens, asked=asked: listening_elsewhere(listens, asked))
        )

    @fault("listens_on_other_port")
    def listens_on_another_port() -> Iterator[str]:
        with ValkeyServer() as server, refused_port() as port:
            server.restart()
            yield f"redis://127.0.0.1:{port}"

    @fault("backlog_full")
    def full_queue() -> Iterator[str]:
        with socket.socket() as server, contextlib.ExitStack() as waiting:
            server.bind(("127.0.0.1", 0))
            server.listen(0)
            for _ in range(8):
                client = waiting.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(server.getsockname())
            time.sleep(0.05)
            yield f"127.0.0.1:{server.getsockname()[1]}"

    @fault("backlog_full")
    def full_queue_of_a_path() -> Iterator[str]:
        with unix_folder() as folder, socket.socket(socket.AF_UNIX) as server, contextlib.ExitStack() as waiting:
            server.bind(f"{folder}/x.sock")
            server.listen(0)
            for _ in range(8):
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect_ex(f"{folder}/x.sock")
            yield f"unix://{folder}/x.sock"

    @fault("process_stopped")
    def stopped() -> Iterator[str]:
        with ValkeyServer() as server:
            server.restart()
            os.kill(server.pid or 0, signal.SIGSTOP)
            try:
                yield f"redis://127.0.0.1:{server.port}"
            finally:
                os.kill(server.pid or 0, signal.SIGCONT)

    @fault("connected_to_itself")
    def a_client_has_connected_to_itself() -> Iterator[str]:
        with socket.socket() as client:
            client.bind(("127.0.0.1", 0))
            client.connect(client.getsockname())
            yield f"127.0.0.1:{client.getsockname()[1]}"

    @fault("wrong_protocol")
    def a_known_process_that_hangs_up() -> Iterator[str]:
        with ValkeyServer() as server:
            server.restart()
            yield f"postgresql://127.0.0.1:{server.port}"

    @fault("wrong_protocol")
    def a_known_process_that_says_nothing() -> Iterator[str]:
        with ValkeyServer() as server:
            server.restart()
            yield f"mysql://127.0.0.1:{server.port}"

    @fault("listens_on_other_path")
    def another_folder() -> Iterator[str]:
        with unix_folder() as folder, unix_folder() as other, socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{other}/.s.PGSQL.65432")
            server.listen()
            yield f"postgresql:///app?host={folder}&port=65432"


@contextlib.contextmanager
def unix_folder() -> Iterator[str]:
    """A folder with a short path."""
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="resilient-", dir="/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@fault("missing_unix_socket")
def missing_path() -> Iterator[str]:
    with unix_folder() as folder:
        yield f"unix://{folder}/x.sock"


@fault("missing_unix_socket")
def missing_folder() -> Iterator[str]:
    with unix_folder() as folder:
        yield f"unix://{folder}/run/x.sock"


@fault("stale_unix_socket")
def stale_path() -> Iterator[str]:
    with unix_folder() as folder:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{folder}/x.sock")
            server.listen()
        yield f"unix://{folder}/x.sock"


@fault("not_a_socket")
def regular_file() -> Iterator[str]:
    with unix_folder() as folder:
        Path(folder, "x.sock").touch()
        yield f"unix://{folder}/x.sock"


@fault("not_a_socket")
def datagram_socket() -> Iterator[str]:
    with unix_folder() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"{folder}/x.sock")
        yield f"unix://{folder}/x.sock"


LOADING = redis_server("-LOADING Redis is loading the dataset in memory")
answering("starting_up", "postgresql_starts", "postgresql", postgres("57P03", "the database system is starting up"))
answering("starting_up", "postgresql_stops", "postgresql", postgres("57P03", "the database system is shutting down"))
answering("starting_up", "redis_loads", "redis", LOADING)
answering("starting_up", "redis_loads_for_its_driver", "redis", LOADING, f":{SECRET}@")
answering("starting_up", "mysql_stops", "mysql", mysql(1053, "Server shutdown in progress", greets=False))
answering("turned_away", "redis_is_protected", "redis", redis_server("-DENIED Redis is running in protected mode"))
answering("turned_away", "mysql_blocks_the_host", "mysql", mysql(1130, "Host is not allowed", greets=False))
answering("wrong_protocol", "redis_asked_by_http", "http", says(b"-ERR wrong number of arguments\r\n"))
answering("wrong_protocol", "ssh_asked_by_redis", "redis", lambda its: (its.sendall(b"SSH-2.0-x\r\n"), silence(its)))
answering("closes_at_once", "hangs_up", "redis", hang_up)
answering("closes_at_once", "resets", "redis", reset)
answering("closes_at_once", "hangs_up_on_anybody", "tcp", hang_up)
answering("silent", "says_nothing", "redis", silence)
answering("silent", "says_nothing_to_mysql", "mysql", silence)
answering(
    "wrong_credentials",
    "mysql_password",
    "mysql",
    mysql(1045, f"Access denied for user 'me' ({PLAIN})", state="28000"),
    f"me:{SECRET}@",
)
answering(
    "wrong_credentials",
    "postgresql_password",
    "postgresql",
    postgres("28P01", f'password authentication failed for user "me" {PLAIN}'),
    f"me:{SECRET}@",
)
answering("driver_failed", "odd_server", "postgresql", postgres("XX000", f"internal: {PLAIN}"), f"me:{SECRET}@")


@pytest.mark.parametrize(("code", "make"), [each[1:] for each in FAULTS], ids=[each[0] for each in FAULTS])
def test_a_fault_has_its_code(code: str, make: Fault) -> None:
    """The table: what is wrong, for real, and what is said."""
    with make() as target:
        found = bounded(target)
    assert found.code == code, str(found)


@linux
def test_who_listens_elsewhere_is_named_with_its_process() -> None:
    with ValkeyServer(bind=("127.0.0.2",)) as server:
        server.restart()
        found = bounded(f"redis://127.0.0.1:{server.port}")
        assert found.code == "listens_on_other_address"
        assert found.help.startswith(f"redis://127.0.0.2:{server.port} ")
        assert any(f"valkey-server, process {server.pid}" in sentence for sentence in found.evidence)


@linux
def test_a_full_queue_is_counted() -> None:
    with {name: make for name, _, make in FAULTS}["full_queue"]() as target:
        found = bounded(target)
    assert "that it has not accepted yet" in str(found)


# Real servers.


def test_real_servers_serve_and_ask_for_a_password(valkey: ValkeyServer, pg: PostgresServer) -> None:
    for target in (f"redis://127.0.0.1:{valkey.port}", f"postgresql://127.0.0.1:{pg.port}"):
        found = bounded(target)
        assert found.serves, str(found)
        assert "asks for a password" in str(found)


@pytest.mark.parametrize("user", ["", "nobody-here"])
def test_a_wrong_password_of_a_real_server(valkey: ValkeyServer, user: str) -> None:
    found = bounded(f"redis://{user}:wrong-{SECRET}@127.0.0.1:{valkey.port}")
    assert found.code == "wrong_credentials", str(found)


def test_the_right_password_of_a_real_server(valkey: ValkeyServer, pg: PostgresServer) -> None:
    for target in (f"redis://:{SECRET}@127.0.0.1:{valkey.port}", pg.url):
        found = bounded(target)
        assert found.serves, str(found)
        assert "the driver logged in" in found.evidence


@pytest.mark.parametrize("login", [f"postgres:{SECRET}", f"nobody-here:{SECRET}", f"a%40b:{SECRET}"])
def test_wrong_credentials_of_a_real_database(pg: PostgresServer, login: str) -> None:
    found = bounded(f"postgresql://{login}@127.0.0.1:{pg.port}/postgres")
    assert found.code == "wrong_credentials", str(found)


def test_a_database_that_is_not_there(pg: PostgresServer) -> None:
    found = bounded(pg.url.replace("/postgres", "/no-such") if "/no-such" in pg.url else pg.url + "x")
    assert found.code == "wrong_credentials", str(found)
    assert "does not exist" in str(found)


def test_a_real_database_that_is_starting_up() -> None:
    """It is open, recovers as long as nobody promotes it, and says so; with credentials its driver says the same."""
    with PostgresServer(password=PLAIN, settings={"hot_standby": "off"}) as server:
        server.start()
        server.wait_ready()
        begin_recovery(server)
        wait_until_it_answers(server)
        for login in ("", f"postgres:{SECRET}@"):
            found = bounded(f"postgresql://{login}127.0.0.1:{server.port}")
            assert found.code == "starting_up", str(found)
            assert "57P03" in str(found)
        promote(server)
        assert serves_in_the_end(f"postgresql://127.0.0.1:{server.port}")


def test_without_a_driver_it_is_said_that_credentials_are_not_tried(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_dialling, "driver_for", lambda _: None)
    found = bounded(f"redis://:wrong-{SECRET}@127.0.0.1:{valkey.port}")
    assert found.serves
    assert "no driver for redis is installed" in str(found)


def test_no_credentials_no_driver(valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but a first word is sent, whatever is installed."""
    asked: list[Any] = []
    monkeypatch.setattr(_dialling, "ask_driver", lambda *given: asked.append(given))
    assert bounded(f"redis://127.0.0.1:{valkey.port}").serves
    assert bounded(Endpoint.parse(f"redis://:{SECRET}@127.0.0.1:{valkey.port}")).serves
    assert not asked


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "amqp", "nats", "memcached", "http", "mqtt"])
def test_another_protocol_at_a_real_cache(valkey: ValkeyServer, scheme: str) -> None:
    found = bounded(f"{scheme}://127.0.0.1:{valkey.port}")
    assert found.code == "wrong_protocol", str(found)


@pytest.mark.parametrize("scheme", ["redis", "mysql", "amqp", "nats", "memcached", "http", "mqtt"])
def test_another_protocol_at_a_real_database(pg: PostgresServer, scheme: str) -> None:
    found = bounded(f"{scheme}://127.0.0.1:{pg.port}")
    assert found.code == "wrong_protocol", str(found)


def test_a_hung_driver_is_not_waited_for(valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(_dialling, "ask_driver", lambda *_: over.wait(30))
    try:
        found = bounded(f"redis://:{SECRET}@127.0.0.1:{valkey.port}", timeout=0.5)
    finally:
        over.set()
    assert found.code == "driver_failed"
    assert "did not end in time" in str(found)


# TLS.


def test_tls_is_expected_by_a_server_that_says_so(certificate: Path) -> None:  # noqa: F811
    with serve(inside_tls(certificate, lambda inner: inner.recv(1))) as port:
        found = bounded(f"redis://127.0.0.1:{port}")
    assert found.code == "tls_expected", str(found)
    assert found.help.startswith(f"rediss://127.0.0.1:{port} ")


def test_tls_is_expected_by_a_server_that_only_waits(certificate: Path) -> None:  # noqa: F811
    """It takes the first bytes for the length of a record, and waits for the rest; asked again with TLS, it answers."""

    def handler(connection: socket.socket) -> None:
        if connection.recv(1, socket.MSG_PEEK) == b"\x16":
            inside_tls(certificate, lambda inner: inner.recv(1))(connection)
        silence(connection)

    with serve(handler) as port:
        found = bounded(f"redis://127.0.0.1:{port}", timeout=6.0)
    assert found.code == "tls_expected", str(found)


def test_no_tls_at_a_real_server(valkey: ValkeyServer) -> None:
    found = bounded(f"rediss://127.0.0.1:{valkey.port}")
    assert found.code == "no_tls", str(found)
    assert found.help.startswith(f"redis://127.0.0.1:{valkey.port} ")


def test_a_certificate_that_nobody_trusts(certificate: Path) -> None:  # noqa: F811
    with serve(inside_tls(certificate, lambda inner: inner.recv(1))) as port:
        found = bounded(f"https://127.0.0.1:{port}")
    assert found.code == "tls_failed", str(found)


def test_no_tls_at_another_server_is_another_server(pg: PostgresServer) -> None:
    assert bounded(f"https://127.0.0.1:{pg.port}").code in ("wrong_protocol", "closes_at_once")


# What the table cannot hold.


def test_a_connect_that_meets_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a free port of the range that clients get, after thousands of tries; here it is helped."""

    def connect(family: int, address: Any, by: float) -> socket.socket:
        client = socket.socket(family)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(address[:2])
        client.connect(address)
        return client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(_dialling, "_connect", connect)
    assert bounded(f"127.0.0.1:{port}").code == "connected_to_itself"


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(30))
    try:
        found = bounded("db.example:5432", timeout=0.4)
    finally:
        over.set()
    assert found.code == "resolver_silent"


def test_localhost_in_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_machine, "container", lambda: "/.dockerenv is there")
    with refused_port() as port:
        for host in ("127.0.0.1", "localhost"):
            found = bounded(f"amqp://{host}:{port}" if host == "x" else f"{host}:{port}")
            assert found.code == "localhost_in_container", str(found)
            assert "/.dockerenv is there" in str(found)
            assert found.help.startswith(f"SERVICE:{port} ")


def test_what_shows_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(_machine, "MARKS", (str(tmp_path / ".dockerenv"), str(tmp_path / ".containerenv")))
    monkeypatch.setattr(_machine, "PROC", str(tmp_path))
    assert _machine.container() == ""
    (tmp_path / "1").mkdir()
    (tmp_path / "1/cgroup").write_text("0::/\n")
    assert _machine.container() == ""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "KUBERNETES" in _machine.container()
    (tmp_path / "1/cgroup").write_text("4:memory:/kubepods/besteffort/pod1\n")
    assert "kubepods" in _machine.container()
    (tmp_path / ".containerenv").touch()
    assert ".containerenv" in _machine.container()


def test_without_proc_it_says_that_it_cannot_know(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on macOS and Windows."""
    monkeypatch.setattr(_machine, "PROC", str(tmp_path / "nothing"))
    with refused_port() as port:
        found = bounded(f"127.0.0.1:{port}")
        assert found.code == "nothing_listens"
        assert "could not be read" in str(found)
    with unix_folder() as folder:
        assert "could not be read" in str(bounded(f"unix://{folder}/x.sock"))


@linux
def test_without_leave_to_look_the_process_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_machine, "_owners", lambda _: {})
    with {name: make for name, _, make in FAULTS}["listens_on_another_interface"]() as target:
        assert "whose process cannot be read" in str(bounded(target))


def test_a_socket_of_somebody_else_may_not_be_opened() -> None:
    if os.name != "posix" or os.geteuid() != 0:
        requires("root, who can become somebody else")
    with unix_folder() as folder, socket.socket(socket.AF_UNIX) as server:
        os.chmod(folder, 0o755)
        server.bind(f"{folder}/x.sock")
        server.listen()
        os.chmod(f"{folder}/x.sock", 0o600)
        done = programs.run(AS_NOBODY, f"unix://{folder}/x.sock")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["code"] == "no_permission", found
    assert found["help"].startswith(f"ls -ld {folder} ")


AS_NOBODY = """
import json, os, sys
from resilient.diagnosis import diagnose
diagnose("127.0.0.1:1")  # imports what it needs, where nobody may not read it
os.setgid(65534)
os.setuid(65534)
print(json.dumps(diagnose(sys.argv[1]).as_dict()))
"""


# Proxies and the other distribution.

WEB: Handler = lambda its: (its.recv(9_999), its.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))  # noqa: E731


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_dead_proxy_is_in_the_way(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    with refused_port() as proxy, serve(WEB) as port:
        monkeypatch.setenv(variable, f"http://me:{SECRET}@127.0.0.1:{proxy}")
        found = bounded(f"http://127.0.0.1:{port}")
        assert found.code == "proxy_in_the_way", str(found)
        assert f"{variable} sends clients through http://127.0.0.1:{proxy}" in str(found)
        assert 'NO_PROXY="127.0.0.1,' in found.help


def test_a_proxy_does_not_know_our_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(silence) as proxy, serve(WEB) as port:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy}")
        assert bounded(f"http://127.0.0.1:{port}").code == "proxy_in_the_way"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert bounded(f"http://127.0.0.1:{port}").serves
        assert bounded(f"redis://127.0.0.1:{port}").code == "wrong_protocol"


def test_the_other_distribution_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It imports as `resilient`, too, and whichever is installed last wins."""
    folder = tmp_path / "resilient-1.2.3.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: resilient\nVersion: 1.2.3\n")
    (folder / "RECORD").write_text("resilient/__init__.py,,\n")
    (tmp_path / "resilient").mkdir()
    (tmp_path / "resilient/__init__.py").touch()  # from 3.12 on, files that are not there do not count
    monkeypatch.syspath_prepend(str(tmp_path))
    with serve(silence) as port:
        found = bounded(f"127.0.0.1:{port}")
        assert found.code == "name_clash", str(found)
        assert "resilient 1.2.3" in str(found)
        (folder / "RECORD").write_text("another/__init__.py,,\n")
        assert bounded(f"127.0.0.1:{port}").serves
    (folder / "RECORD").unlink()
    with refused_port() as port:
        found = bounded(f"127.0.0.1:{port}")
        assert found.code == "nothing_listens"
        assert "resilient 1.2.3" in str(found)


# In namespaces of their own.

NETWORK = r"""
import json, os, socket, subprocess, sys, threading
from resilient.diagnosis import _machine, diagnose
_machine.container = lambda: ""

def ip(words):
    return subprocess.run(["ip", *words.split()], capture_output=True, text=True).returncode == 0

ready = {"lo": ip("link set lo up")}
ready["veth"] = ip("link add va type veth peer name vb") and ip("addr add 10.8.8.1/24 dev va") and all(
    [ip("link set va up"), ip("link set vb up")]
)
ready["neighbour"] = ip("neigh add 10.8.8.9 lladdr 02:00:00:00:00:09 dev va")
ready |= {kind: ip(f"route add {kind} 10.{net}.0.0/24")
          for kind, net in (("prohibit", 77), ("unreachable", 78), ("blackhole", 79))}
targets = {
    "no route": "10.99.0.1:5432",
    "unreachable": "10.78.0.1:5432",
    "prohibit": "10.77.0.1:5432",
    "blackhole": "10.79.0.1:5432",
    "dropped": "10.8.8.9:5432",
    "refused here": "10.8.8.1:5432",
    "no resolver": "nosuch.invalid:5432",
    "hosts, refused": "db:5432",
    "hosts, unreachable": "gone:5432",
    "hosts, both": "both:5432",
}
found = {name: diagnose(target).as_dict() for name, target in targets.items()}
only = socket.socket()
only.bind(("10.8.8.1", 5433) if ready["veth"] else ("127.0.0.1", 5433))
only.listen()
found["other interface"] = diagnose("db:5433").as_dict()
found["no listener there"] = diagnose("both:5433").as_dict()
answers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    answers.bind(("127.0.0.1", 53))
    found["silent resolver"] = diagnose("nosuch.invalid:5432").as_dict()
except OSError:
    pass
print(json.dumps({"ready": ready, "found": found}))
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is said in a network of its own, with routes and a hosts file of its own, and no name server."""
    hosts = tmp_path_factory.mktemp("network") / "hosts"
    hosts.write_text("127.0.0.1 localhost\n127.0.0.1 db\n10.78.0.1 gone\n127.0.0.1 both\n::1 both\n")
    behind = programs.mounted(hosts, "/etc/hosts", own_network=True)
    resolver = hosts.parent / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:3 attempts:2\n")
    behind += ["sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(resolver)]
    done = programs.run(NETWORK, behind=behind)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


IN_A_NETWORK = [
    ("no route", "unreachable", "lo"),
    ("unreachable", "unreachable", "unreachable"),
    ("prohibit", "prohibited", "prohibit"),
    ("blackhole", "unreachable", "blackhole"),
    ("dropped", "dropped", "veth"),
    ("refused here", "nothing_listens", "veth"),
    ("no resolver", "name_unresolved", "lo"),
    ("silent resolver", "resolver_silent", "lo"),
    ("hosts, refused", "name_resolves_elsewhere", "lo"),
    ("hosts, unreachable", "name_resolves_elsewhere", "unreachable"),
    ("other interface", "listens_on_other_address", "veth"),
]


@pytest.mark.parametrize(("name", "code", "needs"), IN_A_NETWORK, ids=[each[0] for each in IN_A_NETWORK])
def test_a_fault_of_the_network_has_its_code(network: dict[str, Any], name: str, code: str, needs: str) -> None:
    if not network["ready"][needs] or name not in network["found"]:
        requires(f"a network namespace that can do {name!r}")
    assert network["found"][name]["code"] == code, network["found"][name]


def test_the_hosts_file_is_named(network: dict[str, Any]) -> None:
    assert "the hosts file says so: 127.0.0.1 db" in network["found"]["hosts, refused"]["evidence"]


# Faults that need a firewall, or another system: the judge alone.

HERE = Reply("127.0.0.1", "refused", "Connection refused", ours=True)


def test_a_listener_at_exactly_this_address_was_rejected() -> None:
    for address in ("127.0.0.1", "0.0.0.0"):
        seen = Seen(Endpoint.parse("127.0.0.1:5432"), replies=(HERE,))
        found = judge(seen._replace(machine=Machine(listeners=(Listener(address, 5432, 0),))))
        assert found.code == "rejected"
        assert_whole(found)


def test_a_wildcard_of_ipv6_does_not_prove_that_ipv4_was_rejected() -> None:
    seen = Seen(
        Endpoint.parse("127.0.0.1:5432"), replies=(HERE,), machine=Machine(listeners=(Listener("::", 5432, 0),))
    )
    assert judge(seen).code == "listens_on_other_address"
    assert judge(seen).help.startswith("'[::1]:5432' ")


def test_of_several_addresses_one_that_serves_is_enough() -> None:
    serves = Reply("127.0.0.1", "answered", ours=True, answer=Answer("serves", "PONG"))
    seen = Seen(Endpoint.parse("redis://localhost"), replies=(Reply("::1", "refused", ours=True), serves))
    assert judge(seen).serves
    assert "::1 refused the connection at once" in str(judge(seen))


def test_another_port_is_known_by_its_process_or_by_custom() -> None:
    mine = Listener("127.0.0.1", 16379, 0, Owner(7, "valkey-server", False))
    for listener in (mine, Listener("0.0.0.0", 6379, 0)):
        seen = Seen(Endpoint.parse("redis://localhost:7000"), replies=(HERE,), machine=Machine(listeners=(listener,)))
        assert judge(seen).code == "listens_on_other_port"
        assert judge(seen).help.startswith(f"redis://127.0.0.1:{listener.port} ")
    seen = Seen(Endpoint.parse("localhost:6379"), replies=(HERE,), machine=Machine(listeners=(mine,)))
    assert judge(seen).code == "listens_on_other_port", "a bare port that is a service's own names that service"
    seen = Seen(Endpoint.parse("localhost:7000"), replies=(HERE,), machine=Machine(listeners=(mine,)))
    assert judge(seen).code == "nothing_listens"
    assert "but on 127.0.0.1:16379 (valkey-server, process 7)" in str(judge(seen))


def test_a_refusal_by_another_machine_says_that_it_is_up() -> None:
    seen = Seen(Endpoint.parse("db:5432"), replies=(Reply("10.0.0.7", "refused"),), machine=Machine(container="x"))
    assert judge(seen).code == "nothing_listens"
    assert "that machine is up" in str(judge(seen))
    assert judge(seen).help.startswith("ssh db ")


def test_a_proxy_that_works_may_know_what_we_cannot_reach() -> None:
    far = Reply("10.0.0.7", "no_answer")
    proxy = Proxy("http_proxy", Endpoint.parse("http://proxy:3128"), accepts=True)
    seen = Seen(Endpoint.parse("http://shop"), replies=(far,), proxy=proxy)
    assert judge(seen).code == "dropped"
    assert "http_proxy sends clients through http://proxy:3128, which accepts connections" in str(judge(seen))
    assert judge(seen._replace(proxy=proxy._replace(accepts=False))).code == "proxy_in_the_way"


def test_this_machine_s_name_at_another_machine_is_elsewhere() -> None:
    seen = Seen(Endpoint.parse("myself:80"), own_name=True, replies=(Reply("10.0.0.7", "no_answer"),))
    assert judge(seen).code == "name_resolves_elsewhere"
    assert "this machine's own name" in str(judge(seen))


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_line_of_help(code: str) -> None:
    for text in ("redis://db", "unix:///run/x.sock", "[::1]:80"):
        for reply in (None, Reply("10.0.0.7", "refused"), HERE):
            for found in (None, Listener("0.0.0.0", 1, 0, Owner(7, "x", True)), "/run/other.sock"):
                line = help_for(code, Endpoint.parse(text), reply, found)
                assert line
                assert "\n" not in line
                assert "{" not in line


def test_whatever_is_seen_can_be_judged() -> None:
    """Every combination, also those that no machine shows: one whole value comes out."""
    kinds = get_args(ReplyKind)
    answers = [None, *(Answer(kind, "text") for kind in get_args(AnswerKind))]
    owner = Owner(7, "postgres", True)
    machines = [Machine(), Machine((Listener("::", 6379, 1, owner), Listener("127.0.0.1", 1, 0)), ((1, None),), ())]
    targets = ["redis://127.0.0.1:1", "https://shop:1", "127.0.0.1:6379", "kafka://[::1]:1", "unix:///run/x.sock"]
    proxy = Proxy("http_proxy", None, accepts=False)
    for target, kind, answer, machine, ours in itertools.product(targets, kinds, answers, machines, (True, False)):
        endpoint = Endpoint.parse(target)
        place = endpoint.path or "127.0.0.1"
        reply = Reply(place, kind, "words", ours, answer, answer)
        far = Reply("10.0.0.7", "unreachable")
        for replies in ((reply,), (reply, far)):
            seen = Seen(endpoint, replies=replies, machine=machine)
            for each in (seen, seen._replace(driver="other", driver_text="x", clash="x"), seen._replace(proxy=proxy)):
                assert judge(each).code in CODES
                assert judge(each).help
    for name in ("unresolved", "silent", "found"):
        assert_whole(judge(Seen(Endpoint.parse("db:1"), name=name, name_text="words")))


def test_every_code_is_shown_by_some_fault() -> None:
    """A code without a test would be a promise that nobody checks."""
    alone = {"rejected", "not_known", "localhost_in_container", "no_permission", "proxy_in_the_way", "name_clash"}
    tls = {"tls_expected", "no_tls", "tls_failed"}
    shown = {code for _, code, _ in FAULTS} | {code for _, code, _ in IN_A_NETWORK} | alone | tls
    if sys.platform == "linux":
        assert shown == set(CODES)


def test_the_manual_lists_every_code() -> None:
    page = Path(__file__).resolve().parent.parent / "docs/how-to/find-out-why.md"
    assert dict(re.findall(r"(?m)^\| `(\w+)` \| (.+) \|$", page.read_text(encoding="utf-8"))) == CODES


def test_an_address_of_ipv4_in_a_socket_of_ipv6_is_read_as_ipv4() -> None:
    """As Java's servers have it."""
    words = "0000000000000000FFFF00000100007F" if sys.byteorder == "little" else "00000000000000000000FFFF7F000001"
    assert _machine._place(f"{words}:1538") == ("127.0.0.1", 5432)


def test_names_of_processes_are_as_the_system_cuts_them() -> None:
    assert max(len(name) for names in PROGRAMS.values() for name in names) <= 15


# At the door.


@pytest.mark.parametrize("target", [f"postgresql://me:{SECRET}@/x", "nonsense", "", "env:RESILIENT_NOT_SET"])
def test_an_unreadable_target_is_an_error_at_once(target: str) -> None:
    with pytest.raises(TargetError) as caught:
        diagnose(target)
    assert "w0rd" not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "2"])
def test_a_senseless_timeout_is_an_error_at_once(timeout: Any) -> None:
    with pytest.raises(PolicyError, match="timeout"):
        diagnose("127.0.0.1:1", timeout=timeout)


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://me:{}@127.0.0.1:{}/app",
        "postgresql://127.0.0.1:{1}/app?user=me&password={0}",
        "host=127.0.0.1 port={1} user=me password='{0}'",
        "redis://:{}@127.0.0.1:{}/0",
        "redis://127.0.0.1:{1}/0?password={0}",
        "mysql+pymysql://me:{}@127.0.0.1:{}/app",
        "amqp://me:{}@127.0.0.1:{}/%2F",
        "nats://{}@127.0.0.1:{}",
        "mongodb://me:{}@127.0.0.1:{}/app",
        "http://me:{0}@127.0.0.1:{1}/?token={0}",
        "kafka://me:{}@127.0.0.1:{}",
    ],
)
@pytest.mark.parametrize("answer", [b"", b"-ERR wrong pass %s\r\n", b"E\0\0\0\x30SFATAL\0C28P01\0Mno %s\0\0"])
def test_no_secret_of_any_form_is_shown(
    form: str, answer: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even one that the server repeats."""
    secret = "s3cr3tw0rd"

    def handler(connection: socket.socket) -> None:
        connection.settimeout(0.3)
        with contextlib.suppress(OSError):
            connection.recv(9_999)
            connection.sendall(answer.replace(b"%s", secret.encode()))

    with serve(handler) as port:
        text = form.format(secret, port)
        monkeypatch.setenv("RESILIENT_TARGET", text)
        for target in (text, "env:RESILIENT_TARGET"):
            found = diagnose(target, timeout=0.6)
            assert secret not in f"{found}{found!r}{found.as_dict()}"
    assert not [
        record for record in caplog.records if record.name.startswith("resilient") and secret in str(vars(record))
    ]


def test_it_never_raises_what_it_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread, no descriptor, no leave to look: that is an answer as well."""

    def fails(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    with refused_port() as port:
        for room, name in (
            (_dialling, "_connect"),
            (_machine, "look"),
            (_machine, "is_own_name"),
            (_diagnosing, "_clash"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(room, name, fails)
                bounded(f"127.0.0.1:{port}", timeout=0.5)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("can't start")))
            assert bounded(f"127.0.0.1:{port}", timeout=0.5).code == "not_known"


def test_many_at_once_take_no_longer_than_one() -> None:
    with serve(silence) as port, ThreadPoolExecutor(64) as pool:
        since = time.monotonic()
        found = list(pool.map(lambda _: diagnose(f"mysql://127.0.0.1:{port}"), range(64)))
        took = time.monotonic() - since
    assert not any(each.serves for each in found)
    assert took < 64, "one after the other they would take a minute and a half and more"


def test_no_thread_and_no_descriptor_is_left() -> None:
    with refused_port() as port, serve(hang_up) as open_port:
        for _ in range(2):  # the first one imports
            before = threading.active_count(), _descriptors()
            for target in (f"127.0.0.1:{port}", f"redis://127.0.0.1:{open_port}"):
                diagnose(target)
            ends = time.monotonic() + 3
            while (threading.active_count(), _descriptors()) > before and time.monotonic() < ends:
                time.sleep(0.02)
        assert (threading.active_count(), _descriptors()) <= before


def _descriptors() -> int:
    return len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0


# The observer.


def gives_up(target: str | Endpoint | None, **changes: Any) -> RetriesExhausted:
    endpoint = None if target is None else Endpoint.parse(target)
    fields: dict[str, Any] = {
        "call": "connect",
        "policy": None,
        "target": endpoint,
        "attempt": 3,
        "elapsed": 1.0,
        "kind": "refused",
        "error_type": "ConnectionRefusedError",
        "error_text": "",
        "reason": "limit 3 attempts",
    }
    return RetriesExhausted(**{**fields, **changes})


@pytest.fixture(autouse=True)
def nothing_explained_yet() -> Iterator[None]:
    _explaining._claims.clear()
    yield
    _end_of_explaining()


def _end_of_explaining() -> None:
    for thread in [*_explaining._threads.values()]:
        thread.join(5)


def explanations(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    _end_of_explaining()
    return [record for record in caplog.records if getattr(record, "resilient_event", "") == "Diagnosis"]


def test_a_call_that_gives_up_is_explained_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with refused_port() as port:

        @retry_on_refused(policy=Policy(attempts=2, observers=(explain,)), target=f"127.0.0.1:{port}")
        def connect() -> None:
            socket.create_connection(("127.0.0.1", port), timeout=5)

        with pytest.raises(ConnectionRefusedError):
            connect()
        [record] = explanations(caplog)
    assert record.levelno == logging.WARNING
    assert vars(record)["resilient_code"] == "nothing_listens"
    assert vars(record)["resilient_target"] == f"127.0.0.1:{port}"
    assert f"why 127.0.0.1:{port} does not serve: nothing listens" in record.getMessage()
    assert "; help: ss -ltnp" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert record.threadName != threading.main_thread().name


def test_a_target_is_explained_once_a_minute(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [59.0]
    monkeypatch.setattr(_explaining, "monotonic", lambda: now[0] + 0.0)
    monkeypatch.setattr(_explaining, "_explain", lambda endpoint: seen.append((now[0], endpoint.port)))
    seen: list[tuple[float, int | None]] = []
    for moment in (59.0, 61.0, 118.9, 119.0, 121.0, 178.0, 300.0):
        now[0] = moment
        for port in (1, 2):
            explain(gives_up(f"127.0.0.1:{port}"))
            _end_of_explaining_of(seen)
    assert [moment for moment, port in seen if port == 1] == [59.0, 119.0, 300.0]
    assert [moment for moment, port in seen if port == 2] == [59.0, 119.0, 300.0]


def _end_of_explaining_of(seen: list[Any]) -> None:
    _end_of_explaining()
    _explaining._threads.clear()


def test_hundred_callers_that_give_up_at_once_are_one_explanation(caplog: pytest.LogCaptureFixture) -> None:
    with refused_port() as port, ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: explain(gives_up(f"127.0.0.1:{port}")), range(100)))
        assert len(explanations(caplog)) == 1


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_explaining, "_explain", lambda _: None)
    for port in range(1, 2_000):
        explain(gives_up(f"127.0.0.1:{port}"))
        _explaining._threads.clear()
    assert len(_explaining._claims) <= _explaining.MOST_KEPT


def test_few_are_looked_at_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    started: list[Endpoint] = []
    monkeypatch.setattr(_explaining, "_explain", lambda endpoint: (started.append(endpoint), over.wait(10)))
    for port in range(1, 50):
        explain(gives_up(f"127.0.0.1:{port}"))
    over.set()
    _end_of_explaining()
    _explaining._threads.clear()
    assert len(started) == _explaining.MOST_AT_ONCE


def test_nothing_is_explained_without_a_target_or_of_other_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_explaining, "_start", lambda _: pytest.fail("it was"))
    explain(gives_up(None))
    explain(gives_up("127.0.0.1:1", reason="cancelled"))
    event: Any = object()
    explain(event)


def test_the_event_loop_does_not_wait(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Not even where the look-up of the name hangs."""
    over = threading.Event()

    def hangs(*_: Any, **__: Any) -> Any:
        over.wait(10)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    late: list[float] = []

    async def main() -> None:
        async def tick() -> None:
            while True:
                since = time.monotonic()
                await asyncio.sleep(0.01)
                late.append(time.monotonic() - since)

        ticking = asyncio.create_task(tick())

        @retry_on_refused(policy=Policy(attempts=2, observers=(explain,)), target="db.example:5432")
        async def connect() -> None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

        for _ in range(5):
            with pytest.raises(ConnectionRefusedError):
                await connect()
        await asyncio.sleep(0.3)
        ticking.cancel()

    asyncio.run(main())
    over.set()
    assert max(late) < 0.7
    assert vars(explanations(caplog)[0])["resilient_code"] in ("resolver_silent", "name_unresolved")


def test_a_log_handler_that_raises_changes_nothing() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("broken")

    logger = logging.getLogger("resilient")
    broken = Broken()
    logger.addHandler(broken)
    try:
        with refused_port() as port:
            explain(gives_up(f"127.0.0.1:{port}"))
            _end_of_explaining()
    finally:
        logger.removeHandler(broken)


def test_the_observer_pickles_with_its_policy() -> None:
    policy = Policy(observers=(explain,))
    assert pickle.loads(pickle.dumps(policy)) == policy


PROGRAM = """
import socket, sys, threading
from resilient import Policy, retry_on_refused
from resilient.diagnosis import explain

@retry_on_refused(policy=Policy(attempts=2, observers=(explain,)), target=sys.argv[1])
def connect():
    raise ConnectionRefusedError(111, "refused")
"""


def test_a_program_that_ends_on_giving_up_still_says_why() -> None:
    """It leaves half a second for it; the traceback comes first."""
    with refused_port() as port:
        done = programs.run(PROGRAM + "\nconnect()", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"why 127.0.0.1:{port} does not serve" in done.stderr
    assert done.stderr.count("Traceback") == 1


def test_a_program_that_ends_is_not_held_up_by_a_look_that_hangs() -> None:
    """And nothing is said of it: no traceback of a thread, no complaint."""
    program = PROGRAM + "\nsocket.getaddrinfo = lambda *_, **__: threading.Event().wait()\n"
    program += "import time\nsince = time.monotonic()\ntry:\n    connect()\nexcept ConnectionRefusedError:\n    pass\n"
    since = time.monotonic()
    done = programs.run(program, "db.example:5432")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - since < 10


def test_giving_up_while_python_shuts_down_is_quiet() -> None:
    program = "import atexit\n" + PROGRAM + "\n@atexit.register\ndef last():\n    try:\n        connect()\n"
    program += "    except ConnectionRefusedError:\n        print('refused')\n"
    program += "class Late:\n    def __del__(self):\n        try:\n            connect()\n"
    program += "        except ConnectionRefusedError:\n            print('refused again')\nsys.late = Late()\n"
    with refused_port() as port:
        done = programs.run(program, f"127.0.0.1:{port}")
    assert done.returncode == 0
    assert "refused" in done.stdout
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_explains_for_itself() -> None:
    program = PROGRAM + (
        "\nimport os, time\n"
        "def once():\n    try:\n        connect()\n    except ConnectionRefusedError:\n        pass\n"
        "once()\ntime.sleep(0.5)\n"
        "child = os.fork()\nonce()\n"
        "if child:\n    os.waitpid(child, 0)\n"
    )
    with refused_port() as port:
        done = programs.run(program, f"127.0.0.1:{port}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("does not serve") == 2, "once in the parent, once in the child"
    assert "Traceback" not in done.stderr


def test_importing_the_observer_looks_at_nothing() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, resilient.diagnosis; print({'ssl', 'asyncio', 'psycopg'} & {*sys.modules})",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "set()"
