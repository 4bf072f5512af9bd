"""`resilient wait` as a program: whom it waits for, what it says, how it ends, and who takes its place."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from command_line import RESILIENT, Terminal, environment, line_with, reference, run, screen_of, started, written
from conftest import ready_to_start, requires
from machine_servers import MachineServer, MariaServer, MosquittoServer, NatsServer
from test_handshakes_talking import certificate, inside_tls  # noqa: F401

from resilient.cli._servers import LocalServer, PostgresServer, ServerError, ValkeyServer
from resilient.cli._wait import _lines
from resilient.cli._wait._books import Row, verdict
from resilient.cli._wait._lines import Live
from resilient.cli._wait._options import MOST_TARGETS, read
from resilient.cli._wait._parser import make_parser
from resilient.cli._wait._secrets import Mask
from resilient.testing import LateServer, late_server, refused_port

pytestmark = pytest.mark.skipif(os.name != "posix", reason="terminals, signals and exec are of POSIX")

LONG = 60.0
"""Seconds that no test waits for."""

SHOW = "import os, sys; print('ran', os.getpid(), sys.argv[1:])"


def says(text: bytes) -> Callable[[socket.socket], None]:
    """A server that reads a request and answers it with these bytes."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(text)

    return serve


def page(status: str, body: str = "") -> Callable[[socket.socket], None]:
    return says(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# Exit statuses


def test_a_target_that_serves_is_0() -> None:
    with late_server(after=0) as server:
        done = run("wait", server.target)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{server.target} accepts connections" in done.stderr


def test_a_late_server_is_waited_for() -> None:
    with late_server() as server, started("wait", server.target) as process:
        line_with(process, "Connection refused")
        server.up()
        assert re.search(r"accepts connections, after \d+\.\d s, \d+ connects", line_with(process, "accepts"))
        assert process.wait(LONG) == 0


def test_a_passed_deadline_is_124_and_the_command_is_not_run() -> None:
    with refused_port() as port:
        began = time.monotonic()
        done = run("wait", f"127.0.0.1:{port}", "-t", "800ms", "--", sys.executable, "-c", SHOW)
        took = time.monotonic() - began
    assert (done.returncode, done.stdout) == (124, "")
    last = r"did not serve within \d\.\d s; last: \[Errno 111\] Connection refused"
    assert re.search(f"127.0.0.1:{port} {last}", done.stderr), done.stderr
    assert "the command is not run" in done.stderr
    assert 0.8 <= took < 30, "and not the minute that it takes by default"


def test_what_waiting_cannot_help_is_1_at_once() -> None:
    with late_server(says(b"SSH-2.0-x\r\n"), after=0) as server:
        done = run("wait", f"http://{server.target}", "-t", "5m")
    assert done.returncode == 1
    assert "waiting cannot help: it is not http: SSH answers there: SSH-2.0-x" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--", "true"],
        ["db:1", "--"],
        ["db:1", "--any", "--all"],
        ["db:1", "-q", "-v"],
        ["db:1", "-t", "0"],
        ["db:1", "-t", "-3"],
        ["db:1", "-t=-3"],
        ["db:1", "--timeout=-1s"],
        ["db:1", "-t", "nan"],
        ["db:1", "-t", "5 attempts=3"],
        ["db:1", "--stable-for", "none"],
        ["db:1", "--stable-for", "60"],
        ["db:1", "--policy", "backof=1s..2s"],
        ["db:1", "--status", "200"],
        ["http://db:1", "--status", "20"],
        ["http://db:1", "--status", "200-2000"],
        ["http://db:1", "--status", "299-200"],
        ["db"],
        ["db:1", "python"],
        ["env:NO_SUCH_VARIABLE_HERE"],
        ["db:1", "--timeo", "3"],
        ["db:1"] * (MOST_TARGETS + 1),
    ],
)
def test_a_wrong_command_line_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read(arguments)
    assert ended.value.code == 2
    assert "resilient wait: error: " in capsys.readouterr().err


def test_a_command_without_dashes_is_hinted_at(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read(["db:1", "python", "manage.py"])
    assert 'A command stands after "--"' in capsys.readouterr().err


def test_a_command_line_that_is_wrong_is_2_for_the_shell_too() -> None:
    assert run("wait").returncode == 2


def test_help_is_0_on_stdout_and_shows_examples() -> None:
    done = run("wait", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "examples:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_command_that_is_not_found_is_127() -> None:
    with late_server(after=0) as server:
        done = run("wait", server.target, "--", "no-such-command-here")
    assert done.returncode == 127
    assert "no-such-command-here: command not found" in done.stderr


def test_a_command_that_cannot_be_run_is_126(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    with late_server(after=0) as server:
        assert run("wait", server.target, "--", str(script)).returncode == 126
        assert run("wait", server.target, "--", str(tmp_path)).returncode == 126


# The command


def test_the_command_has_our_pid_our_streams_and_its_own_exit_status() -> None:
    with late_server(after=0) as server:
        command = f"{SHOW}; sys.stdout.write(sys.stdin.read()); print('its own', file=sys.stderr); sys.exit(7)"
        with started("wait", server.target, "-q", "--", sys.executable, "-c", command, "--", "-q") as process:
            out, err = process.communicate(timeout=LONG)
    assert process.returncode == 7
    assert out == f"ran {process.pid} ['--', '-q']\n"
    assert err == "its own\n"


def test_options_may_stand_between_targets_and_the_command_keeps_its_own() -> None:
    options = read(["a:1", "-t", "5m", "b:2", "--any", "--", "c:3", "--all", "--", "-q"])
    assert [target.name for target in options.targets] == ["a:1", "b:2"]
    assert (options.policy.deadline, options.any_serves, options.volume) == (300.0, True, 0)
    assert options.command == ("c:3", "--all", "--", "-q")


def test_sigterm_reaches_the_command() -> None:
    command = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(42));"
        "print('up', file=sys.stderr, flush=True); time.sleep(30)"
    )
    with late_server(after=0) as server, started("wait", server.target, "--", sys.executable, "-c", command) as process:
        line_with(process, "up")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG) == 42


def test_the_command_finds_every_signal_as_a_shell_would_leave_it() -> None:
    # Python ignores SIGPIPE and SIGXFSZ itself, so a shell looks.
    look = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
    if not Path("/proc/self/status").exists():
        requires("/proc")
    with late_server(after=0) as server:
        done = run("wait", server.target, "--", "sh", "-c", look)
    masks = [int(line.split()[1], 16) for line in done.stdout.splitlines()]
    ours = sum(1 << number - 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ))
    assert len(masks) == 2
    assert all(mask & ours == 0 for mask in masks)


def test_no_socket_of_ours_is_left_to_the_command() -> None:
    if not Path("/proc/self/fd").exists():
        requires("/proc")
    with late_server(after=0) as server, refused_port() as port:
        done = run("wait", server.target, f"127.0.0.1:{port}", "--any", "--", "sh", "-c", "ls -l /proc/$$/fd")
    assert "socket:" not in done.stdout


# Signals


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_waiting_ends_it(number: int, status: int) -> None:
    with refused_port() as port, started("wait", f"127.0.0.1:{port}", "--", sys.executable, "-c", SHOW) as process:
        line_with(process, "trying for")
        process.send_signal(number)
        out, err = process.communicate(timeout=LONG)
    assert (process.returncode, out) == (status, "")
    assert f"stopped by {signal.Signals(number).name}" in err
    assert "Traceback" not in err


def test_a_signal_at_any_moment_ends_it_or_the_command() -> None:
    """Before it listens, while it waits, and in the middle of handing over."""
    command = [sys.executable, "-c", "import time; time.sleep(30)"]
    ended: set[int] = set()
    with late_server(after=0) as server:
        for delay in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.6):
            with started("wait", server.target, "--", *command) as process:
                time.sleep(delay)
                process.send_signal(signal.SIGTERM)
                ended.add(process.wait(LONG))
    assert ended <= {143, -signal.SIGTERM}


def test_a_look_up_that_hangs_holds_up_neither_the_deadline_nor_the_end() -> None:
    """The interpreter would wait for the threads of an executor, for ever here."""
    program = """
        import concurrent.futures, sys, threading, time
        from resilient.cli import main
        pool = concurrent.futures.ThreadPoolExecutor()
        import socket
        socket.getaddrinfo = lambda *a, **k: pool.submit(time.sleep, 600).result()
        main()
    """
    began = time.monotonic()
    command = [sys.executable, "-c", textwrap.dedent(program), "wait", "db.example:1", "-t", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=30, check=False)
    assert done.returncode == 124, done.stderr
    assert "gave no answer at all" in done.stderr
    assert time.monotonic() - began < 25, "and not the ten minutes that the look-up takes"


def test_a_server_that_says_nothing_does_not_hold_up_the_deadline() -> None:
    over = threading.Event()
    with late_server(lambda connection: over.wait(LONG), after=0) as server:
        urls = [f"{scheme}://u:pw@{server.target}" for scheme in ("postgresql", "mysql", "redis", "nats", "http")]
        began = time.monotonic()
        done = run("wait", *urls, "-t", "1")
        took = time.monotonic() - began
        over.set()
    assert done.returncode == 124
    assert took < 40


def test_process_1_of_a_container_is_stopped_and_so_is_its_command() -> None:
    """To a process with that number the system delivers only what it has asked for."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rpf", "true"], check=False).returncode != 0:
        requires("leave to unshare a namespace of process numbers")
    answer = "trap 'exit 9' TERM; echo $$ serving >&2; while :; do sleep 0.1; done"
    with refused_port() as port, late_server(after=0) as server:
        for target, seen, status in ((f"127.0.0.1:{port}", "trying for", 143), (server.target, "1 serving", 9)):
            command = ["unshare", "-rpf", *RESILIENT, "wait", target, "--", "sh", "-c", answer]
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
                line_with(process, seen)
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
                os.kill(int(children[0]), signal.SIGTERM)
                assert process.wait(LONG) == status


def test_ctrl_c_in_a_terminal_is_130() -> None:
    with refused_port() as port:
        terminal = Terminal("wait", f"127.0.0.1:{port}")
        terminal.read("waiting")
        terminal.press(b"\x03")
        assert terminal.finish() == 130
    assert "stopped by SIGINT" in terminal.text


def test_an_ignored_signal_stays_ignored() -> None:
    with refused_port() as port:
        script = "trap '' TERM; exec \"$@\""
        command = ["sh", "-c", script, "sh", *RESILIENT, "wait", f"127.0.0.1:{port}", "-t", "2"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
            line_with(process, "trying for")
            process.send_signal(signal.SIGTERM)
            assert process.wait(LONG) == 124


# Several targets


def test_all_waits_for_every_target() -> None:
    with late_server() as first, late_server() as second, started("wait", first.target, second.target) as process:
        first.up()
        line_with(process, f"{first.target} accepts connections")
        assert process.poll() is None
        second.up()
        line_with(process, f"{second.target} accepts connections")
        assert process.wait(LONG) == 0


def test_any_returns_with_the_first() -> None:
    with late_server(after=0.3) as server, refused_port() as port:
        done = run("wait", f"127.0.0.1:{port}", server.target, "--any")
    assert done.returncode == 0
    assert f"{server.target} accepts connections" in done.stderr


def test_fifty_targets_are_waited_for_side_by_side() -> None:
    """None of them is up before all have been asked."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(late_server()) for _ in range(50)]
        process = stack.enter_context(started("wait", *(server.target for server in servers)))
        for _ in servers:
            line_with(process, "Connection refused")
        for server in servers:
            server.up()
        for _ in servers:
            line_with(process, " accepts connections, after")
        assert process.wait(LONG) == 0
        assert max(server.connections for server in servers) == 1


def state(name: str) -> Row:
    row = Row("x")
    row.state = name
    return row


@pytest.mark.parametrize(
    ("states", "all_of_them", "any_of_them"),
    [
        ("waiting waiting", None, None),
        ("serves waiting", None, 0),
        ("serves serves", 0, 0),
        ("serves answers", None, 0),
        ("hopeless waiting", 1, None),
        ("hopeless serves", 1, 0),
        ("hopeless hopeless", 1, 1),
        ("timed out|waiting", None, None),
        ("timed out|serves", 124, 0),
        ("timed out|timed out", 124, 124),
        ("timed out|hopeless", 1, 124),
    ],
)
def test_what_several_states_come_to(states: str, all_of_them: int | None, any_of_them: int | None) -> None:
    rows = [state(name) for name in (states.split("|") if "|" in states else states.split())]
    assert verdict(rows, any_serves=False) == all_of_them
    assert verdict(rows, any_serves=True) == any_of_them


# What is asked


@pytest.mark.parametrize(
    ("path", "answer", "options", "status"),
    [
        ("", page("200 OK"), [], 0),
        ("", page("404 Not Found"), [], 0),
        ("", page("500 Oops"), [], 0),
        ("", page("503 Service Unavailable"), [], 124),
        ("/healthz", page("204 No Content"), [], 0),
        ("/healthz", page("302 Found"), [], 0),
        ("/healthz", page("404 Not Found"), [], 124),
        ("/healthz", page("404 Not Found"), ["--status", "200,404"], 0),
        ("/healthz", page("204 No Content"), ["--status", "200"], 124),
        ("/healthz", page("226 IM Used"), ["--status", "100-150,200-299"], 0),
        ("/healthz", page("200 OK", '{"ready": true}'), ["--body", '"ready": true'], 0),
        ("/healthz", page("200 OK", '{"ready": false}'), ["--body", '"ready": true'], 124),
        ("", says(b"SSH-2.0-OpenSSH\r\n"), [], 1),
    ],
)
def test_a_page_counts_by_its_status_and_its_body(
    path: str, answer: Callable[[socket.socket], None], options: list[str], status: int
) -> None:
    with late_server(answer, after=0) as server:
        done = run("wait", f"http://{server.target}{path}", "-t", "0.7" if status == 124 else "40", *options)
    assert done.returncode == status, done.stderr


def test_a_page_is_asked_for_by_its_whole_path_and_with_its_account() -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with late_server(serve, after=0) as server:
        assert run("wait", f"http://me:p%40ss@{server.target}/a/b?c=d").returncode == 0
    head = asked[0].decode().splitlines()
    assert head[0] == "GET /a/b?c=d HTTP/1.1"
    assert f"Host: {server.target}" in head
    assert "Authorization: Basic bWU6cEBzcw==" in head


def test_a_page_inside_tls_counts_where_its_certificate_does(certificate: Path) -> None:  # noqa: F811
    with late_server(inside_tls(certificate, page("200 OK", "fine")), after=0) as server:
        url = f"https://{server.target}/healthz"
        trusted = run("wait", url, "--body", "fine", "-t", "40", SSL_CERT_FILE=str(certificate))
        distrusted = run("wait", url, "-t", "5m")
    assert trusted.returncode == 0, trusted.stderr
    assert distrusted.returncode == 1
    assert "certificate" in distrusted.stderr


def test_a_unix_socket_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listener = socket.socket(socket.AF_UNIX)

    def serve() -> None:
        time.sleep(0.5)
        listener.bind(str(path))
        listener.listen()

    thread = threading.Thread(target=serve)
    with listener:
        thread.start()
        done = run("wait", f"unix://{path}", "-t", "40")
        thread.join()
    assert done.returncode == 0, done.stderr


def test_an_ipv6_address_is_waited_for() -> None:
    try:
        server = LateServer(host="::1")
    except OSError:
        requires("::1 on the loopback")
    with contextlib.closing(server):
        server.up()
        assert run("wait", server.target).returncode == 0


def test_a_variable_names_the_target() -> None:
    with late_server(after=0) as server:
        done = run("wait", "env:CACHE_URL", CACHE_URL=f"tcp://{server.target}")
    assert done.returncode == 0, done.stderr
    assert server.target in done.stderr


def test_where_an_open_port_has_to_do_it_says_so() -> None:
    with late_server(after=0) as server:
        done = run("wait", f"kafka://{server.target}")
    assert done.returncode == 0
    assert "so a port that accepts counts" in done.stderr


def test_a_port_that_hangs_up_does_not_serve() -> None:
    """A published port of a container behaves so, while nothing is behind it. On a loaded machine it may take a while:
    not to find that out too late, the first look is as patient here as those that follow a hang-up."""
    program = "from resilient import _handshakes, cli; _handshakes._QUICK = _handshakes.PATIENCE; cli.main()"
    with late_server(lambda connection: None, after=0) as server:
        command = [sys.executable, "-c", program, "wait", server.target, "-t", "0.6"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 124, done.stderr
    assert "it accepted, and hung up without a word" in done.stderr


def test_a_policy_says_how_often() -> None:
    with refused_port() as port:
        done = run("wait", f"127.0.0.1:{port}", "-t", "2", "--policy", "backoff=100ms..100ms jitter=none", "--json")
    failed = [event for event in events(done.stderr) if event["event"] == "failed"]
    assert {event["next_in"] for event in failed[:-1]} == {0.1}


def test_attempts_of_a_policy_end_it_early() -> None:
    with refused_port() as port:
        done = run("wait", f"127.0.0.1:{port}", "-t", "5m", "--policy", "attempts=3")
    assert done.returncode == 124


def test_a_deadline_of_a_policy_holds_where_no_timeout_is_given() -> None:
    assert read(["db:1", "--policy", "deadline=5s"]).policy.deadline == 5
    assert read(["db:1", "--policy", "deadline=5s", "-t", "7"]).policy.deadline == 7
    assert read(["db:1", "-t", "none"]).policy.deadline is None
    assert read(["db:1"]).policy.deadline == 60


def test_what_help_calls_the_usual_policy_is_the_usual_policy() -> None:
    policies = re.findall(r'"(backoff=[^"]*)" \(default: that\)', " ".join(make_parser().format_help().split()))
    assert [read(["db:1", "--policy", text]).policy.backoff for text in policies] == [read(["db:1"]).policy.backoff]


# Real servers


@contextlib.contextmanager
def made(server: LocalServer) -> Iterator[LocalServer]:
    try:
        with server:
            yield server
    except ServerError as error:
        requires(f"{server.name}: {error}")


@pytest.mark.parametrize(
    "kind",
    [
        lambda: PostgresServer(password="correct-horse"),
        lambda: ValkeyServer(arguments=("--requirepass", "correct-horse")),
        lambda: MariaServer(password="correct-horse"),
        NatsServer,
        MosquittoServer,
    ],
    ids=["postgresql", "valkey", "mariadb", "nats", "mosquitto"],
)
def test_a_late_server_of_each_kind_is_waited_for(kind: Callable[[], LocalServer]) -> None:
    with made(kind()) as server:
        url = server.url.replace("redis://", "redis://:correct-horse@")
        with started("wait", url, "-v", "-t", "2m") as process:
            told = line_with(process, "; attempt 1, ")
            server.start()
            told += line_with(process, " serves, after")
            assert process.wait(LONG) == 0
    assert "correct-horse" not in told


def test_a_slow_broker_is_waited_for(rabbitmq: MachineServer) -> None:
    done = run("wait", rabbitmq.url, "-t", "60")
    assert done.returncode == 0, done.stderr


def test_a_wrong_password_is_not_waited_for() -> None:
    with made(PostgresServer(password="correct-horse")) as server:
        server.start()
        server.wait_ready()
        done = run("wait", server.url.replace("correct-horse", "battery-staple"), "-t", "5m")
    assert done.returncode == 1, done.stderr
    assert "waiting cannot help" in done.stderr
    assert "battery-staple" not in done.stderr


@pytest.mark.parametrize(("scheme", "called"), [("mysql", "mysql"), ("redis", "redis"), ("memcached", "memcached")])
def test_another_protocol_is_named_though_the_driver_is_there(scheme: str, called: str) -> None:
    """The driver itself calls it a closed connection, an odd packet or an unknown error."""
    with made(NatsServer()) as server:
        server.restart()
        done = run("wait", f"{scheme}://{server.host}:{server.port}", "-t", "5m")
    assert done.returncode == 1, done.stderr
    assert f"waiting cannot help: it is not {called}: NATS answers there" in done.stderr


def test_what_only_the_doctor_can_tell_is_told_when_it_gives_up() -> None:
    """A Valkey says nothing to the first words of AMQP; but whose port it is can be seen."""
    with made(ValkeyServer()) as server:
        server.restart()
        target = f"amqp://{server.host}:{server.port}"
        done = run("wait", target, "-t", "1")
    assert done.returncode == 124
    if sys.platform == "linux":
        assert f"{target}: another protocol is spoken there (wrong_protocol)" in done.stderr
    assert "resilient wait: help: " in done.stderr
    assert f"to see more: resilient doctor {target}" in done.stderr


def test_a_postgresql_that_flaps_as_its_image_does_is_waited_out(tmp_path: Path) -> None:
    """The image starts a server on its socket alone, sets it up, stops it, and starts the real one."""
    with made(PostgresServer()) as server:
        assert isinstance(server, PostgresServer)
        folder = server._folder
        assert folder is not None
        path = f"{folder}/.s.PGSQL.{server.port}"
        assert len(path) < 100
        url = f"postgresql://postgres@/postgres?host={quote(str(folder), safe='')}&port={server.port}"
        usual = {"unix_socket_directories": str(folder)}
        with started("wait", url, "--stable-for", "2", "-v", "-t", "2m") as process:
            line_with(process, "; attempt 1, ")
            server._settings = {**usual, "listen_addresses": ""}
            server.start()
            line_with(process, "waiting until it has done so")
            server.stop()
            line_with(process, "; attempt ")
            server._settings = usual
            server.start()
            line_with(process, "waiting until it has done so")
            since = time.monotonic()
            line_with(process, " serves, after")
            assert time.monotonic() - since > 1.5, "two seconds, less what a line takes to come here"
            assert process.wait(LONG) == 0


# What is shown


def test_a_terminal_has_one_live_line_a_target() -> None:
    with late_server() as server, refused_port() as port:
        terminal = Terminal("wait", server.target, f"127.0.0.1:{port}", "-t", "2.5")
        terminal.read("waiting")
        server.up()
        assert terminal.finish() == 124
    seen = screen_of(terminal.text)
    assert re.match(rf"{server.target} +serves +\d\.\d s  accepts connections", seen[0])
    assert re.match(rf"127.0.0.1:{port} +timed out +\d\.\d s", seen[1])
    assert seen[2].startswith(f"resilient wait: 127.0.0.1:{port} did not serve within ")
    assert len([line for line in seen if not line.startswith("resilient wait: ")]) == 2
    assert "\x1b[32mserves" in terminal.text


def test_attempts_are_told_above_the_live_lines() -> None:
    with refused_port() as port:
        terminal = Terminal("wait", f"127.0.0.1:{port}", "-v")
        terminal.read("; attempt 4, ")
        terminal.press(b"\x03")
        assert terminal.finish() == 130
    seen = [line for line in screen_of(terminal.text) if not line.startswith("resilient wait: ")]
    assert len(seen) == 1
    assert all(f"; attempt {number}, " in terminal.text for number in (1, 2, 3, 4))


class Torn(Live):
    """A screen on which a signal comes out of the writing: of the picture, or of its erasing."""

    def __init__(self, *, picture: bool) -> None:
        super().__init__(read(["127.0.0.1:1", "-v"]))
        self.rows = [Row("127.0.0.1:1")]
        self.text = ""
        self.tears = False
        self._picture = picture

    def write(self, text: str) -> None:
        self.text += text
        if self.tears and self._picture == ("waiting" in text):
            self.tears = False
            raise KeyboardInterrupt


@pytest.mark.parametrize("picture", [True, False])
def test_what_a_signal_interrupts_is_drawn_over(picture: bool) -> None:
    """And neither left there nor taken for lines of a log above it."""
    screen = Torn(picture=picture)
    screen.line("above")
    screen.tears = True
    with pytest.raises(KeyboardInterrupt):
        screen.tick(0.1)
        screen.failed(screen.rows[0], 0.1, 0.1, news=True)
    screen.stopped(signal.SIGINT)
    first, second, third = screen_of(screen.text.replace("\n", "\r\n"))  # as a terminal does
    assert (first, third) == ("resilient wait: above", "resilient wait: stopped by SIGINT")
    assert second.startswith("127.0.0.1:1  ")


def test_more_targets_than_lines_are_summed_up() -> None:
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(refused_port()) for _ in range(30)]
        terminal = Terminal("wait", *(f"127.0.0.1:{port}" for port in ports), lines=10)
        text = terminal.read("more; 0 of 30 serve")
        terminal.press(b"\x03")
        assert terminal.finish() == 130
    assert len(screen_of(text)) <= 9


def test_no_color_keeps_the_line_and_drops_the_colour() -> None:
    with late_server(after=0) as server:
        terminal = Terminal("wait", server.target, NO_COLOR="1")
        assert terminal.finish() == 0
    assert "\x1b[3" not in terminal.text
    assert "\x1b[K" in terminal.text


def test_a_dumb_terminal_gets_lines() -> None:
    with late_server(after=0) as server:
        terminal = Terminal("wait", server.target, TERM="dumb")
        assert terminal.finish() == 0
    assert "\x1b" not in terminal.text
    assert "accepts connections, after" in terminal.text


def test_a_pipe_gets_changes_and_no_more() -> None:
    with refused_port() as port:
        done = run("wait", f"127.0.0.1:{port}", "-t", "2")
    first, last, meaning, advice, more = done.stderr.splitlines()
    assert "trying for" in first
    assert "did not serve within" in last
    assert re.search(r"\((nothing_listens|localhost_in_container|listens_on_other_port)\)$", meaning)
    assert advice.startswith("resilient wait: help: ")
    assert more == f"resilient wait: to see more: resilient doctor 127.0.0.1:{port}"
    assert "\x1b" not in done.stderr


def test_silence_is_broken_every_ten_seconds() -> None:
    """Here every half second."""
    assert _lines.HEARTBEAT == 10
    program = (
        "from resilient.cli import main, _wait; from resilient.cli._wait import _lines; _lines.HEARTBEAT = 0.5; main()"
    )
    with refused_port() as port:
        command = [sys.executable, "-c", program, "wait", f"127.0.0.1:{port}", "-t", "3"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    beats = [line for line in done.stderr.splitlines() if "still waiting after" in line]
    assert 2 <= len(beats) <= 6


def test_quiet_says_only_why_it_failed() -> None:
    with late_server(after=0.3) as server, refused_port() as port:
        assert run("wait", server.target, "-q").stderr == ""
        failed = run("wait", server.target, f"127.0.0.1:{port}", "-q", "-t", "0.5").stderr
    [line] = failed.splitlines()
    last = r"did not serve within \d\.\d s; last: \[Errno 111\] Connection refused"
    assert re.fullmatch(f"resilient wait: 127.0.0.1:{port} {last}", line)


def test_json_is_one_object_a_line_on_stderr() -> None:
    with late_server(after=0.5) as server, refused_port() as port:
        done = run("wait", server.target, f"127.0.0.1:{port}", "--any", "--json", "--", sys.executable, "-c", SHOW)
    told = events(done.stderr)
    assert done.stdout.startswith("ran ")
    assert [event["event"] for event in told[:2]] == ["waiting", "waiting"]
    assert [event["event"] for event in told[-3:]] == ["serves", "done", "command"]
    assert told[-2]["status"] == 0
    assert told[-2]["serving"] == [server.target]
    failed = next(event for event in told if event["event"] == "failed")
    assert (failed["kind"], failed["error_type"]) == ("refused", "ConnectionRefusedError")


def test_json_says_how_it_ended() -> None:
    with refused_port() as port:
        timed_out = events(run("wait", f"127.0.0.1:{port}", "--json", "-q", "-t", "0.3").stderr)
        told = events(run("wait", f"127.0.0.1:{port}", "--json", "-t", "0.3").stderr)
        with started("wait", f"127.0.0.1:{port}", "--json") as process:
            line_with(process, "failed")
            process.send_signal(signal.SIGTERM)
            stopped = events(process.communicate(timeout=LONG)[1])
    assert [event["event"] for event in timed_out] == ["timed_out", "done"]
    assert timed_out[-1]["status"] == 124
    assert [event["event"] for event in told[-3:]] == ["timed_out", "why", "done"]
    assert set(told[-2]) == {"event", "target", "code", "meaning", "help"}
    assert stopped[-1] == {"event": "stopped", "signal": "SIGTERM", "status": 143}


def test_a_reader_that_has_gone_does_not_end_the_wait() -> None:
    with late_server(after=1.0) as server:
        command = [*RESILIENT, "wait", server.target, "-v", "--", sys.executable, "-c", SHOW]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, env=environment(), **pipes) as process:
            assert process.stderr is not None
            assert process.stdout is not None
            process.stderr.readline()
            process.stderr.close()
            assert process.stdout.read().startswith("ran ")
            assert process.wait(LONG) == 0


# Secrets

PASSWORD = "s3cr3t-Tr0ub4dor"
ODD = "Tr0ub/4d@r&3#x y"


def targets_with(password: str, port: int) -> list[str]:
    where, coded = f"127.0.0.1:{port}", quote(password, safe="")
    urls = [
        f"{scheme}://user:{coded}@{where}/name"
        for scheme in ("postgresql", "mysql", "mariadb", "redis", "valkey", "amqp", "mongodb", "nats", "mqtt", "http")
    ]
    return [
        *urls,
        f"redis://:{coded}@{where}/0",
        f"redis://{coded}@{where}",
        f"nats://{coded}@{where}",
        f"postgresql+psycopg://user:{coded}@{where}/name?sslmode=disable",
        f"postgresql://{where}/name?user=user&password={coded}",
        f"mysql://{where}/name?user=user&passwd={coded}",
        f"host=127.0.0.1 port={port} user=user password='{password}'",
        f"http://{where}/health?token={coded}",
    ]


def test_one_of_several_hosts_in_a_text_is_enough() -> None:
    """Of a client's own text; each host has the password, and no output has it."""
    with (
        ready_to_start(lambda: ValkeyServer(arguments=("--requirepass", PASSWORD))) as server,
        refused_port() as refuses,
    ):
        server.restart()
        url = f"redis://:{PASSWORD}@127.0.0.1:{refuses},{server.host}:{server.port}"
        done = run("wait", url, "-v", "-t", "30")
    assert done.returncode == 0
    assert f"redis://127.0.0.1:{refuses}, redis://{server.host}:{server.port} serves" in done.stderr
    assert PASSWORD not in done.stderr


def test_a_host_that_is_named_twice_is_refused() -> None:
    done = run("wait", f"redis://:{PASSWORD}@db:1,db:1")
    assert done.returncode == 2
    assert "targets 1 and 2 are the same endpoint" in done.stderr
    assert PASSWORD not in done.stderr


def test_hosts_of_which_none_serves_are_not_in_time() -> None:
    with refused_port() as one, refused_port() as other:
        done = run("wait", f"127.0.0.1:{one},127.0.0.1:{other}", "-t", "0.3")
    assert done.returncode == 124
    assert f"127.0.0.1:{one}, 127.0.0.1:{other}" in done.stderr
    assert f"to see more: resilient doctor 127.0.0.1:{one} 127.0.0.1:{other}\n" in done.stderr


@pytest.mark.parametrize("password", [PASSWORD, ODD])
@pytest.mark.parametrize("style", [["-v"], ["--json"], ["-q"]])
def test_no_password_is_shown_of_a_server_that_refuses(password: str, style: list[str]) -> None:
    with refused_port() as port:
        targets = targets_with(password, port)
        done = run("wait", *targets, *style, "-t", "0.8", timeout=60)
    assert done.returncode in (1, 124), done.stderr
    for secret in {password, quote(password, safe=""), quote(password)}:
        assert secret not in done.stderr
        assert secret not in done.stdout


def test_no_password_is_shown_of_a_server_that_answers_with_it() -> None:
    with late_server(says(f"-ERR what is {PASSWORD} of you\r\n".encode()), after=0) as server:
        done = run("wait", *targets_with(PASSWORD, server.port), "-v", "-t", "2", timeout=60)
    assert done.returncode in (1, 124)
    assert PASSWORD not in done.stderr


def test_no_password_is_shown_of_a_target_that_cannot_be_read() -> None:
    for target in (f"postgresql://u:{ODD}@db/x", f"postgresql://u:{PASSWORD}@db:99999/x", f"u:{PASSWORD}@db"):
        done = run("wait", target)
        assert done.returncode == 2
        assert ODD not in done.stderr
        assert PASSWORD not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the process table is overwritten on Linux only")
def test_no_password_is_shown_in_the_process_table() -> None:
    with refused_port() as port:
        targets = targets_with(PASSWORD, port)
        with started("wait", *targets, "-t", "20") as process:
            line_with(process, "trying for")
            line = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
            assert PASSWORD not in line
            assert f"postgresql://127.0.0.1:{port}" in line
            assert line.split("\0")[-3:-1] == ["-t", "20"]


def test_a_command_keeps_its_arguments() -> None:
    """What is overwritten in the process table is ours; the command gets everything as it was written."""
    with late_server(after=0) as server:
        url = f"tcp://user:{PASSWORD}@{server.target}"
        done = run("wait", url, "-q", "--", sys.executable, "-c", "import sys; print(sys.argv[1:])", url)
    assert done.stdout == f"{[url]}\n"


@pytest.mark.parametrize(
    ("target", "text", "shown"),
    [
        ("redis://:hunter2@h:1", "no hunter2 here", "no *** here"),
        ("redis://:a%2Fbcd@h:1", "a/bcd and a%2Fbcd", "*** and ***"),
        ("redis://:abc@h:1", "the abc of it", "the abc of it"),  # hiding each would only tell
        ("host=h port=1 password='it\\'s me'", "for it's me", "for ***"),
        ("db:5432", "plain", "plain"),
    ],
)
def test_a_secret_is_hidden_by_its_own_text(target: str, text: str, shown: str) -> None:
    assert Mask([target])(text) == shown


# Start-up and pages


def test_a_plain_target_loads_neither_asyncio_nor_tls_nor_a_client() -> None:
    program = (
        "import argparse, socket, tenacity, sys; before = set(sys.modules); from resilient.cli import main;"
        "main(['wait', '-q', sys.argv[1]]); print(sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    with late_server(after=0) as server:
        done = subprocess.run(
            [sys.executable, "-c", program, server.target], capture_output=True, text=True, check=True
        )
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    assert not loaded & {"asyncio", "ssl", "json", "http", "urllib", "shutil", "psycopg", "redis", "subprocess"}


def test_the_reference_has_the_options_of_the_parser() -> None:
    assert written("wait") == reference("wait"), "write it anew: python tests/command_line.py"


def test_names_that_would_be_alike_are_told_apart() -> None:
    names = [target.name for target in read(["postgresql://h/a", "postgresql://h/b", "h:1"]).targets]
    assert names == ["postgresql://h:5432", "postgresql://h:5432 (2)", "h:1"]
    assert len(set(itertools.chain(names))) == 3


RECIPES = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "container-entrypoint.md"


def commands_on(text: str) -> list[list[str]]:
    """Every `resilient wait` in the recipes: lists as images and compose files have them, and lines of a shell."""
    lists = [json.loads(found) for found in re.findall(r'\["resilient", "wait".*\]', text)]
    lines = [shlex.split(found) for found in re.findall(r"^resilient wait .*$", text, re.MULTILINE)]
    return [*lists, *lines]


def test_every_command_in_the_recipes_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://app:pw@db/app")
    commands = commands_on(RECIPES.read_text(encoding="utf-8"))
    assert len(commands) >= 7
    for _, command, *arguments in commands:
        assert command == "wait"
        arguments = [word.replace("$POSTGRES_SERVER:$POSTGRES_PORT", "db:5432") for word in arguments]
        assert read([*arguments, "gunicorn"] if arguments[-1] == "--" else arguments).targets
