"""Clients that poll ports: ours, wait-for-it's loop, and a loop of one second; and the ports that they wait for."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from .serving import HOST

CROWD: Final = 50
"""Targets of one program, or clients that start together."""
LATE: Final = (2.0, 6.0)
"""Seconds after the first refusal, between which each port opens at random."""
SECONDS: Final = 60.0

WAIT: Final = [sys.executable, "-c", "import sys; from resilient.cli import main; sys.exit(main())", "wait"]
_LOOP: Final = "until (echo -n > /dev/tcp/$0/$1) 2>/dev/null; do sleep 1; done; echo"
"""What wait-for-it does, in bash."""

Handler = Callable[[socket.socket], object]
Noticing = Callable[[Sequence[int], dict[int, float], threading.Event], None]
"""Waits for these ports, enters when each was noticed, and sets the event as soon as all were refused once."""


def late(kind: str, wait: Noticing) -> list[float]:
    """Let a crowd of ports open at random moments, and return how late each was noticed."""
    opened: dict[int, float] = {}
    noticed: dict[int, float] = {}
    refused = threading.Event()
    with contextlib.ExitStack() as stack:
        guards = [stack.enter_context(_bound(0)) for _ in range(CROWD)]
        ports = [guard.getsockname()[1] for guard in guards]
        waiting = threading.Thread(target=wait, args=(ports, noticed, refused))
        waiting.start()
        refused.wait(60)
        began = time.monotonic()
        for after, port in sorted((random.uniform(*LATE), port) for port in ports):
            time.sleep(max(0.0, began + after - time.monotonic()))
            listener = stack.enter_context(_bound(port))
            listener.listen(16)
            opened[port] = time.monotonic()
            if kind == "greeting":
                threading.Thread(target=_greet, args=(listener,), daemon=True).start()
        waiting.join()
    return [noticed[port] - opened[port] for port in ports]


def _greet(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        client, _ = listener.accept()
        client.sendall(b"220 hello\r\n")
        client.close()


def programs_of_ours(ports: Sequence[int], noticed: dict[int, float], refused: threading.Event) -> None:
    """One `resilient wait` for all of them; noticed is what its events say."""
    command = [*WAIT, *(f"{HOST}:{port}" for port in ports), "--json"]
    seen: set[str] = set()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        for line in program.stderr:
            now = time.monotonic()
            event = json.loads(line)
            if event["event"] == "serves":
                noticed[int(event["target"].rpartition(":")[2])] = now
            elif event["event"] == "failed":
                seen.add(event["target"])
                if len(seen) == len(ports):
                    refused.set()


def programs_in_bash(ports: Sequence[int], noticed: dict[int, float], refused: threading.Event) -> None:
    """One loop of bash for each, as wait-for-it has it."""
    with contextlib.ExitStack() as stack:
        programs: list[subprocess.Popen[bytes]] = []
        for port in ports:
            command = ["bash", "-c", _LOOP, HOST, str(port)]
            program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            programs.append(stack.enter_context(program))

        def read(program: subprocess.Popen[bytes], port: int) -> None:
            assert program.stdout is not None
            program.stdout.readline()
            noticed[port] = time.monotonic()

        readers = [threading.Thread(target=read, args=each) for each in zip(programs, ports, strict=True)]
        for reader in readers:
            reader.start()
        refused.set()
        for reader in readers:
            reader.join()


def loops_of_a_second(ports: Sequence[int], noticed: dict[int, float], refused: threading.Event) -> None:
    """One loop for each that connects and sleeps for a second."""

    def loop(port: int) -> None:
        while True:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 5):
                noticed[port] = time.monotonic()
                return
            time.sleep(1)

    loops = [threading.Thread(target=loop, args=(port,)) for port in ports]
    for each in loops:
        each.start()
    refused.set()
    for each in loops:
        each.join()


def arrivals_of(wait: Callable[[int], None]) -> list[float]:
    """Return when clients connected, in seconds after the first one, for a minute."""
    arrivals: list[float] = []
    with serving(lambda _: arrivals.append(time.monotonic())) as port:
        wait(port)
    return sorted(at - min(arrivals) for at in arrivals if at - min(arrivals) < SECONDS)


def ours_for_a_while(port: int) -> None:
    """Let a crowd of ours wait for one port, for a minute."""
    # One program, so that they really start together: fifty would be spread by the start of fifty interpreters.
    command = [*WAIT, *[f"{HOST}:{port}"] * CROWD, "-q", "-t", f"{SECONDS + 1:g}"]
    subprocess.run(command, stderr=subprocess.DEVNULL, check=False)


def loops_for_a_while(port: int) -> None:
    """Let a crowd of loops of one second do the same."""
    together = threading.Barrier(CROWD)

    def loop() -> None:
        together.wait()
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 5) as connection:
                connection.recv(1)
            time.sleep(1)

    loops = [threading.Thread(target=loop) for _ in range(CROWD)]
    for each in loops:
        each.start()
    for each in loops:
        each.join()


def _bound(port: int) -> socket.socket:
    it = socket.socket()
    it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that a second one may listen on the guard's port
    it.bind((HOST, port))
    return it


@contextlib.contextmanager
def serving(handler: Handler | None) -> Iterator[int]:
    """Serve one client after the other; without a handler nobody accepts, and the kernel connects all the same."""
    with _bound(0) as listener:
        listener.listen(4 * CROWD)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client, contextlib.suppress(OSError):
                        handler(client)  # type: ignore[misc]  # there is one, or this does not run

        if handler is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
