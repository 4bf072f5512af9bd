"""`resilient doctor` as a program: what it prints, piped and in a terminal, how it ends, and how long it takes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Terminal, reference, run, started, written
from fake_servers import postgres, redis_server, serve, silence

from resilient.cli import COMMANDS, doctor
from resilient.diagnosis import CODES
from resilient.testing import LateServer, refused_port

pytestmark = pytest.mark.skipif(os.name != "posix", reason="terminals are of POSIX")
SECRET = "s3cr3t%2Fw0rd"
HERE = {"nothing_listens", "localhost_in_container"}
"""What a refused port of the loopback is called, by where the tests run."""


@pytest.fixture
def up() -> Iterator[int]:
    with serve(silence) as port:
        yield port


def test_a_target_that_serves_is_0(up: int) -> None:
    done = run("doctor", f"127.0.0.1:{up}")
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first == f"127.0.0.1:{up}: it serves (serves)"
    assert all(line.startswith("  - ") for line in rest[:-1])
    assert rest[-1] == "  help: nothing to do"


def test_a_target_that_does_not_is_1() -> None:
    with refused_port() as port:
        done = run("doctor", f"127.0.0.1:{port}")
    assert (done.returncode, done.stderr) == (1, "")
    assert re.match(rf"127\.0\.0\.1:{port}: .+ \(({'|'.join(HERE)})\)\n", done.stdout)
    assert "  - 127.0.0.1 refused the connection at once" in done.stdout
    assert f"on this machine nothing listens on port {port}" in done.stdout
    assert "\033" not in done.stdout


def test_each_host_of_a_text_that_names_several_is_looked_at(late_server: LateServer, refused_port: int) -> None:
    """And no password of theirs is shown."""
    late_server.up()
    text = f"redis://:{SECRET}@127.0.0.1:{refused_port},127.0.0.1:{late_server.port}/0"
    for target in (text, "env:CACHE_URLS"):
        done = run("doctor", "--json", "-t", "1", target, f"127.0.0.1:{late_server.port}", CACHE_URLS=text)
        found = [json.loads(line)["target"] for line in done.stdout.splitlines()]
        assert found == [
            f"redis://127.0.0.1:{refused_port}",
            f"redis://127.0.0.1:{late_server.port}",
            f"127.0.0.1:{late_server.port}",
        ]
        assert done.returncode == 1
        assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["--timeout", "0", "127.0.0.1:1"],
        ["--timeout", "nan", "127.0.0.1:1"],
        ["--timeout", f"redis://:{SECRET}@x"],
        ["--timeout", "1e9", "127.0.0.1:1"],
        ["--timeout", "11m", "127.0.0.1:1"],
        ["--timeout", "none", "127.0.0.1:1"],
        ["--frobnicate", "127.0.0.1:1"],
        ["env:RESILIENT_NOT_SET"],
        [f"postgresql://me:{SECRET}@"],
        ["127.0.0.1:1", f"redis://:{SECRET}@[/0"],
    ],
    ids=lambda words: " ".join(words).replace(SECRET, "SECRET") or "nothing",
)
def test_what_cannot_be_read_is_2(arguments: list[str]) -> None:
    """Before anything is looked at, and without repeating a secret."""
    done = run("doctor", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "resilient doctor" in done.stderr
    assert "w0rd" not in done.stderr


def test_several_targets_are_told_in_their_order(up: int) -> None:
    with refused_port() as port, serve(redis_server("-LOADING it loads")) as loading:
        targets = [f"redis://127.0.0.1:{loading}", f"127.0.0.1:{up}", f"127.0.0.1:{port}", f"127.0.0.1:{up}"]
        done = run("doctor", *targets, "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [each["target"] for each in found] == targets[:3], "each once"
    assert [each["code"] for each in found][:2] == ["starting_up", "serves"]
    assert found[2]["code"] in HERE


def test_json_is_one_object_a_line(up: int) -> None:
    done = run("doctor", f"127.0.0.1:{up}", "--json")
    found = json.loads(done.stdout)
    assert set(found) == {"target", "serves", "code", "meaning", "evidence", "help"}
    assert found["serves"] is True
    assert found["meaning"] == CODES["serves"]
    assert all(isinstance(sentence, str) for sentence in found["evidence"])


def test_options_may_stand_anywhere(up: int) -> None:
    for arguments in (["--json", f"127.0.0.1:{up}"], [f"127.0.0.1:{up}", "-t", "1s", "--json", "127.0.0.1:1"]):
        done = run("doctor", *arguments)
        assert json.loads(done.stdout.splitlines()[0])["serves"] is True


def test_fifty_targets_take_no_longer_than_a_few() -> None:
    """Each of them accepts and says nothing, so that each takes its whole time."""
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(serve(silence)) for _ in range(50)]
        since = time.monotonic()
        done = run("doctor", "--json", *(f"mysql://127.0.0.1:{port}" for port in ports))
        took = time.monotonic() - since
    codes = [json.loads(line)["code"] for line in done.stdout.splitlines()]
    assert len(codes) == 50
    assert set(codes) <= {"silent", "not_known"}, "the second where a loaded machine left it no time"
    assert "silent" in codes
    assert took < 50, "one after the other they would take more than a minute"


def test_the_time_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """By default a silent server takes 1.4 s and more; a loaded machine has three tries to be quicker."""
    took: list[float] = []
    with serve(silence) as port:
        while len(took) < 3 and min(took, default=2.0) > 1.2:
            since = time.monotonic()
            assert doctor.run(["-t", "0.3", f"mysql://127.0.0.1:{port}"]) == 1
            took.append(time.monotonic() - since)
    assert capsys.readouterr().out.startswith(f"mysql://127.0.0.1:{port}: ")
    assert min(took) <= 1.2


def test_a_look_that_hangs_does_not_keep_the_program() -> None:
    """The resolver's thread is left behind."""
    program = "import socket, sys, threading; socket.getaddrinfo = lambda *_, **__: threading.Event().wait()\n"
    program += "from resilient.cli import main; sys.exit(main(['doctor', '-t', '0.5', 'db.example:5432']))"
    import programs

    since = time.monotonic()
    done = programs.run(program)
    assert (done.returncode, done.stderr) == (1, "")
    assert "(resolver_silent)" in done.stdout
    assert time.monotonic() - since < 30


# A terminal.


def test_in_a_terminal_the_first_line_is_coloured(up: int) -> None:
    with refused_port() as port:
        terminal = Terminal("doctor", f"127.0.0.1:{up}", f"127.0.0.1:{port}")
        assert terminal.finish() == 1
    assert f"\033[1;32m127.0.0.1:{up}: it serves (serves)\033[0m\r\n  - " in terminal.text
    assert f"\033[1;31m127.0.0.1:{port}: " in terminal.text


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_switched_off(up: int, variables: dict[str, str]) -> None:
    terminal = Terminal("doctor", f"127.0.0.1:{up}", **variables)
    assert terminal.finish() == 0
    assert "\033" not in terminal.text


def test_json_in_a_terminal_has_no_colours(up: int) -> None:
    terminal = Terminal("doctor", "--json", f"127.0.0.1:{up}")
    assert terminal.finish() == 0
    assert json.loads(terminal.text)["serves"] is True


def test_ctrl_c_ends_it() -> None:
    asked = threading.Event()
    with serve(lambda connection: (asked.set(), silence(connection))) as port:
        terminal = Terminal("doctor", "-t", "600", f"mysql://127.0.0.1:{port}")
        assert asked.wait(60)
        terminal.press(b"\x03")
        assert terminal.finish() == 130
    assert "Traceback" not in terminal.text


# Secrets.


@pytest.mark.parametrize(
    "form", ["postgresql://me:{}@127.0.0.1:{}/app", "redis://:{}@127.0.0.1:{}", "http://me:{}@127.0.0.1:{}"]
)
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_no_secret_is_printed(form: str, flags: list[str]) -> None:
    """Not even one that the server repeats."""
    plain = SECRET.replace("%2F", "/")
    with serve(postgres("28P01", f"no {plain} or {SECRET}")) as port:
        target = form.format(SECRET, port)
        for given in (target, "env:RESILIENT_TARGET"):
            done = run("doctor", "-t", "1", *flags, given, RESILIENT_TARGET=target)
            assert done.returncode == 1
            assert "w0rd" not in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_no_secret_is_in_the_process_table() -> None:
    with serve(silence) as port, started("doctor", "-t", "20", f"mysql://me:{SECRET}@127.0.0.1:{port}/app") as process:
        line = Path(f"/proc/{process.pid}/cmdline")
        ends = time.monotonic() + 20
        while b"mysql://127.0.0.1:" not in line.read_bytes() and time.monotonic() < ends:
            time.sleep(0.02)
        assert b"w0rd" not in line.read_bytes()
        assert b"mysql://127.0.0.1:" in line.read_bytes()


# The door.


def test_it_is_a_command_with_help() -> None:
    assert "doctor" in COMMANDS
    done = run("doctor", "--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert "exit status:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "doctor" in run("--help").stdout


def test_help_lines_can_be_pasted() -> None:
    """A shell reads each of them, and runs no part of a target."""
    with refused_port() as port:
        for target in (
            f"127.0.0.1:{port}",
            f"http://[::1]:{port}",
            "unix:///run/$(id)/x.sock",
            "unix:///run/`id`.sock",
        ):
            line = json.loads(run("doctor", "--json", target).stdout)["help"]
            done = subprocess.run(["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True)
            assert "uid=" not in done.stdout
            assert "#" not in done.stdout


def test_the_reference_has_the_options_of_the_parser() -> None:
    assert written("doctor") == reference("doctor"), "write it anew: python tests/command_line.py"
