"""Web applications in a process of their own, and real requests to them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what a program runs with: this repository, and nothing that redirects PostgreSQL's clients."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    path = os.pathsep.join(filter(None, (known.get("PYTHONPATH"), str(HERE.parent))))
    return {**known, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default", **variables}


@dataclass(frozen=True)
class Response:
    """What a server answered, and after how many seconds."""

    status: int
    text: str
    headers: Mapping[str, str]
    elapsed: float


class Application:
    """A server process that says `port N` when it accepts."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self.port = 0
        self.process = process
        self._told = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            for line in pipe:
                self.lines.append(line.rstrip())
                if line.startswith("port "):
                    self.port = int(line.split()[1])
                    self._told.set()
        self._told.set()

    def wait_ready(self, timeout: float = 60.0) -> None:
        assert self._told.wait(timeout), self.lines
        assert self.port, "\n".join(self.lines)

    def get(self, path: str) -> Response:
        """Ask, and return the answer whatever its status."""
        started = time.monotonic()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                text, status, headers = answer.read().decode(), answer.status, dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                text, status, headers = error.read().decode(), error.code, dict(error.headers)
        return Response(status, text, headers, time.monotonic() - started)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self._reader.join(10)


@contextlib.contextmanager
def running(command: Sequence[str], folder: Path, **variables: str) -> Iterator[Application]:
    """Run a Python program in a folder, and end it."""
    application = Application(
        subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    )
    try:
        yield application
    finally:
        application.end()
