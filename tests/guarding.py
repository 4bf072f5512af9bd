"""What every guarded client must do, whatever its library: one `Guarded` for each thing that `guard()` takes.

A test file of a library makes a tuple of them and hands each to the checks here.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import programs
import pytest
from conftest import ready_to_start, requires

from resilient import Backoff, CircuitBreaker, CircuitOpenError, Policy
from resilient.cli._servers import ValkeyServer
from resilient.testing import refused_port

PATIENT = Policy.startup().replace(deadline=20.0, observers=())
"""Enough for any server here to come up."""

THREE = Policy(attempts=3, backoff=Backoff(initial=0.01, maximum=0.01), observers=())


@dataclass(frozen=True)
class Guarded:
    """One thing of a client, and how it is used.

    Attributes:
        name: as in "redis client".
        open: makes the client for (host, port), guards it with the settings it is given, and returns the thing.
        use: does one command that gives `answer`; for a connect function it connects, commands and closes.
            A function or a coroutine function.
        error: what the client's own `except` catches where it cannot connect.
        close: ends what `open` made.
        answer: what `use` gives.
        wire: connects on the wire for each attempt of the policy.
    """

    name: str
    open: Callable[..., Any]
    use: Callable[[Any], Any]
    error: type[Exception]
    close: Callable[[Any], Any] = lambda _: None
    answer: Any = 42
    wire: int = 1

    def __str__(self) -> str:
        return self.name

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.use) or inspect.iscoroutinefunction(self.open)

    def once(self, port: int, *, times: int = 1, between: Callable[[], object] = lambda: None, **settings: Any) -> Any:
        """Open, use so many times, close; return the last answer."""
        if self.is_async:
            return asyncio.run(self._once_async(port, times, between, settings))
        thing = self.open("127.0.0.1", port, **settings)
        try:
            for number in range(times):
                if number:
                    between()
                answer = self.use(thing)
            return answer
        finally:
            self.close(thing)

    async def _once_async(self, port: int, times: int, between: Callable[[], object], settings: dict[str, Any]) -> Any:
        thing = await _awaited(self.open("127.0.0.1", port, **settings))
        try:
            for number in range(times):
                if number:
                    await asyncio.to_thread(between)
                answer = await _awaited(self.use(thing))
            return answer
        finally:
            await _awaited(self.close(thing))


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def starts_before_its_server(guarded: Guarded, server: Any) -> None:
    """The server is down when the client is made and used, and comes up later: the first command succeeds."""
    server.kill()
    timer = threading.Timer(0.6, server.start)
    timer.start()
    try:
        assert guarded.once(server.port, policy=PATIENT) == guarded.answer
    finally:
        timer.join()
        server.wait_ready(30)


def outlives_a_restart(guarded: Guarded, server: Any) -> None:
    """A client that is connected and idle meets a server that was killed and is on its way back."""
    timers = []

    def restart() -> None:
        server.kill()
        timers.append(threading.Timer(0.6, server.start))
        timers[-1].start()

    try:
        assert guarded.once(server.port, times=2, between=restart, policy=PATIENT) == guarded.answer
    finally:
        for timer in timers:
            timer.join()
        server.wait_ready(30)


def error_of(guarded: Guarded, port: int, **settings: Any) -> Exception:
    """Return what comes out where nobody listens."""
    try:
        answer = guarded.once(port, **settings)
    except Exception as error:
        return error
    raise AssertionError(f"{guarded} answered {answer!r}")


def gives_up_with_its_own_error(guarded: Guarded) -> None:
    """After the attempts of the policy, and none of its own."""
    with refused_port() as port:
        error = error_of(guarded, port, policy=THREE)
    assert isinstance(error, guarded.error), repr(error)


def an_open_circuit_is_its_own_error(guarded: Guarded) -> None:
    """The client's own `except` catches it, and behind it stands what happened; nobody dials."""
    breaker = CircuitBreaker("test", observers=())
    breaker.isolate()
    with refused_port() as port:
        error = error_of(guarded, port, policy=THREE, breaker=breaker)
    assert isinstance(error, guarded.error), repr(error)
    link: BaseException | None = error
    while link is not None and not isinstance(link, CircuitOpenError):
        link = link.__cause__ or link.__context__
    assert link is not None, repr(error)


def its_failures_open_the_circuit(guarded: Guarded) -> None:
    """The breaker counts each attempt, and no more."""
    breaker = CircuitBreaker("test", trip_after=3, observers=())
    with refused_port() as port:
        error_of(guarded, port, policy=THREE, breaker=breaker)
    assert breaker.state == "open"
    breaker = CircuitBreaker("test", trip_after=4, observers=())
    with refused_port() as port:
        error_of(guarded, port, policy=THREE, breaker=breaker)
    assert breaker.state == "closed"


def the_loop_goes_on(guarded: Guarded) -> None:
    """While an asynchronous client waits, other tasks run."""
    policy = Policy(attempts=2, backoff=Backoff(initial=0.3, maximum=0.3, jitter="none"), observers=())
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def main(port: int) -> None:
        task = asyncio.create_task(tick())
        with contextlib.suppress(guarded.error):
            await guarded._once_async(port, 1, lambda: None, {"policy": policy})
        task.cancel()

    with refused_port() as port:
        asyncio.run(main(port))
    assert ticks >= 12


def every_check_without_a_server(guarded: Guarded) -> None:
    """What needs no server of its own."""
    gives_up_with_its_own_error(guarded)
    an_open_circuit_is_its_own_error(guarded)
    its_failures_open_the_circuit(guarded)
    if guarded.is_async:
        the_loop_goes_on(guarded)


# On the wire.

_COUNT = """
import fcntl, importlib, json, socket, struct, sys, warnings
from pathlib import Path
import guarding

warnings.simplefilter("ignore")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
counts = {}
for guarded in importlib.import_module(sys.argv[1]).GUARDED:
    before = guarding.refused_connects()
    guarding.gives_up_with_its_own_error(guarded)
    counts[guarded.name] = guarding.refused_connects() - before
print(json.dumps(counts))
"""


def refused_connects() -> int:
    """How many connects were refused in this network namespace, as its kernel counts them."""
    lines = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines() if line.startswith("Tcp:")]
    return int(dict(zip(*lines, strict=True))["AttemptFails"])


def connects_on_the_wire(module: str) -> dict[str, int]:
    """Return how many connects each of a module's `GUARDED` made, in three attempts each, as the kernel counts them.

    In a process and a network of its own.
    """
    import json

    answer = programs.run(_COUNT, module, behind=_own_network())
    assert answer.returncode == 0, answer.stderr[-3000:]
    found: dict[str, int] = json.loads(answer.stdout.splitlines()[-1])
    return found


def _own_network() -> list[str]:
    import shutil
    import subprocess

    if shutil.which("unshare") is None:
        requires("unshare, of Linux")
    for spaces in ("-rn", "-n"):
        if subprocess.run(["unshare", spaces, "true"], capture_output=True, check=False).returncode == 0:
            return ["unshare", spaces]
    return requires("leave to unshare a network")


@pytest.fixture(scope="module", name="server")
def lasting_valkey() -> Iterator[ValkeyServer]:
    """A Valkey that forgets nothing when it is killed: what it was told is on its disk before it answers."""
    with ready_to_start(lambda: ValkeyServer(arguments=["--appendonly", "yes", "--appendfsync", "always"])) as found:
        found.start()
        found.wait_ready(30)
        yield found
