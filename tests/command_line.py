"""The command line as programs of their own: piped, or in a terminal; and its reference, made from the parsers."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "command-line.md"
RESILIENT = [sys.executable, "-m", "resilient"]


def environment(**variables: str) -> dict[str, str]:
    """What a child sees: nothing that redirects a client, colours or a terminal, and what a test adds."""
    forgotten = ("PG", "MYSQL", "REDIS", "NO_COLOR", "TERM", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(forgotten)}
    here = Path(__file__).resolve().parent
    return {**kept, "PYTHONPATH": os.pathsep.join([str(here.parent), *filter(None, sys.path)]), **variables}


def run(*arguments: str, timeout: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `resilient …` with its output piped."""
    return subprocess.run(
        [*RESILIENT, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(**variables),
        check=False,
        timeout=timeout,
    )


@contextlib.contextmanager
def started(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start `resilient …` with its output piped, and end it afterwards."""
    process = subprocess.Popen(
        [*RESILIENT, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """Read stderr up to a line with this text, and return it."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}")


class Terminal:
    """`resilient …` in a pseudo-terminal of 80 columns; everything it writes there is read."""

    def __init__(self, *arguments: str, lines: int = 24, **variables: str) -> None:
        pty = pytest.importorskip("pty")
        import fcntl
        import struct
        import termios

        variables = {"TERM": "xterm", **variables}
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 80, 0, 0))
        self.process = subprocess.Popen(
            [*RESILIENT, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(**variables),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.text = ""

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._ours, keys)

    def read(self, until: str | None = None, timeout: float = 90) -> str:
        """Read until a text was shown, or to the end; returns all there was so far."""
        end = time.monotonic() + timeout
        while (until is None or until not in self.text) and time.monotonic() < end:
            if not select.select([self._ours], [], [], max(0.0, end - time.monotonic()))[0]:
                break
            try:
                part = os.read(self._ours, 65_536)
            except OSError:  # Linux: the other side is closed
                break
            if not part:
                break
            self.text += part.decode()
        return self.text

    def finish(self) -> int:
        """Read to the end, and return the exit status."""
        self.read()
        try:
            return self.process.wait(60)
        finally:
            self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
        with contextlib.suppress(OSError):
            os.close(self._ours)


def screen_of(text: str, columns: int = 80) -> list[str]:
    """Play what was written to a terminal, and return the lines that stand there in the end."""
    rows: list[str] = [""]
    row = column = 0
    for piece in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", text):
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row += 1
            rows.extend([""] * (row + 1 - len(rows)))
        elif piece.startswith("\x1b["):
            number = int(piece[2:-1].partition(";")[0] or (1 if piece[-1] in "ABCD" else 0))
            if piece[-1] == "A":
                row = max(0, row - number)
            elif piece[-1] == "K":
                rows[row] = rows[row][:column]
            elif piece[-1] == "J":
                rows[row] = rows[row][:column]
                rows[row + 1 :] = []
            elif piece[-1] != "m":
                raise AssertionError(f"{piece!r} is no sequence that this terminal knows")
        else:
            rows[row] = rows[row][:column].ljust(column) + piece + rows[row][column + len(piece) :]
            column += len(piece)
            last = rows[row].startswith("resilient")  # what is written under the picture may wrap
            assert last or column <= columns, f"a line that wraps cannot be drawn over: {rows[row]!r}"
    return [line.rstrip() for line in rows if line.strip()]


# The reference


def options_of(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """What each option is called, and what it does, as the reference page has it."""
    rows: list[tuple[str, str]] = []
    for action in parser._actions:  # argparse offers no other way
        if isinstance(action, argparse._HelpAction):
            continue
        names = action.option_strings or [""]
        value = f" {action.metavar}" if action.nargs != 0 and action.metavar else ""
        called = ", ".join(f"`{name}{value}`".replace("` ", "`") for name in names)
        rows.append((called, (action.help or "").replace("|", "\\|")))
    return rows


def reference(command: str) -> str:
    """Return the table of a command's options."""
    parser: Any = import_module(f"resilient.cli.{command}").make_parser()
    rows = [f"| {called} | {what} |" for called, what in options_of(parser)]
    return "\n".join(["| option | what it does |", "|---|---|", *rows])


def written(command: str) -> str:
    """Return the table that stands on the page."""
    marked = re.search(rf"### Options of {command}\n\n(.*?)\n\n", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert marked is not None, f"{PAGE.name} has no options of {command}"
    return marked[1]


if __name__ == "__main__":  # write the tables anew
    page = PAGE.read_text(encoding="utf-8")
    for name in ("wait", "doctor", "plan"):
        page = page.replace(written(name), reference(name))
    PAGE.write_text(page, encoding="utf-8")
