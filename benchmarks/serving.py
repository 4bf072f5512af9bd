"""A server that comes late, in a process of its own: `python -m benchmarks.serving KIND BACKLOG SLOTS HOLD`.

Its port refuses until a line with a number of seconds comes on standard input, and those seconds are over. It says on
standard output first the port, and at the end of its input when it opened, on the monotonic clock, which all processes
of a system share. The port is bound all the time, so nobody else can take it.

"accepting" accepts at once and closes. "crowded" keeps each client for a while, serves only so many at a time, and
closes its listening socket while it is full: the next client is refused by the kernel.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
DONE: Final = b"."


@dataclass(slots=True)
class Late:
    """The client's side of a server that comes late."""

    port: int
    _process: subprocess.Popen[str]

    def open_after(self, seconds: float) -> None:
        """Let the port open after so many seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()

    def report(self) -> float:
        """End the server; return when it opened."""
        out, _ = self._process.communicate(timeout=30)
        return float(out)


@contextlib.contextmanager
def late(kind: str = "accepting", backlog: int = 16, slots: int = 0, hold: float = 0.0) -> Iterator[Late]:
    """Start a server; its port refuses until `open_after`."""
    command = [sys.executable, "-m", "benchmarks.serving", kind, str(backlog), str(slots), str(hold)]
    root = Path(__file__).parent.parent
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    try:
        yield Late(int(process.stdout.readline()), process)
    finally:
        process.kill()
        process.communicate()


class _Server:
    def __init__(self, backlog: int, slots: int, hold: float) -> None:
        self._backlog, self._slots, self._hold = backlog, slots, hold
        self._guard = self._bound(0)
        self.port: int = self._guard.getsockname()[1]
        self._waits = selectors.DefaultSelector()
        self._waits.register(sys.stdin, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        self._clients: list[tuple[float, int, socket.socket]] = []
        self._accepted = 0

    def _bound(self, port: int) -> socket.socket:
        it = socket.socket()
        it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that a second one may listen on the guard's port
        it.bind((HOST, port))
        return it

    def listen(self) -> None:
        self._listener = self._bound(self.port)
        self._listener.setblocking(False)
        self._listener.listen(self._backlog)
        self._waits.register(self._listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the input ends."""
        while True:
            timeout = max(0.0, self._clients[0][0] - time.monotonic()) if self._clients else None
            for key, _ in self._waits.select(timeout):
                if key.fileobj is sys.stdin:
                    return
                self._accept_all()
            now = time.monotonic()
            while self._clients and self._clients[0][0] <= now:
                self._end(heapq.heappop(self._clients)[2])
            if self._slots:
                self._open_or_close()

    def _accept_all(self) -> None:
        assert self._listener is not None
        until = time.monotonic() + self._hold
        while True:  # all there are: one that is left behind when the socket closes would be reset, and not refused
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            self._accepted += 1
            if self._slots:
                heapq.heappush(self._clients, (until, self._accepted, client))
            else:
                client.close()

    def _open_or_close(self) -> None:
        is_full = len(self._clients) >= self._slots
        if is_full and self._listener is not None:
            self._waits.unregister(self._listener)
            self._accept_all()
            self._listener.close()
            self._listener = None
        elif not is_full and self._listener is None:
            self.listen()

    def _end(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            client.send(DONE)
        client.close()


def _take_precedence() -> None:
    """Go before the callers where the system allows it.

    Otherwise what is measured is whether the system lets the server accept before its backlog is full.
    """
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def _main() -> None:
    kind, backlog, slots, seconds = sys.argv[1:]
    _take_precedence()
    server = _Server(int(backlog), int(slots) if kind == "crowded" else 0, float(seconds))
    print(server.port, flush=True)
    time.sleep(float(sys.stdin.readline()))
    server.listen()
    opened = time.monotonic()
    server.serve()
    print(opened, flush=True)


if __name__ == "__main__":
    _main()
