"""What a test of a program that retries needs: ports that refuse, servers that come late, a clock that jumps.

Each is a context manager, and a pytest fixture of the same name. Real sockets on loopback, no mocks.
"""

from __future__ import annotations

import contextlib
import math
import socket
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, TypeVar, cast

from . import clock, events
from .events import Event

if TYPE_CHECKING:
    from .clock import Caller, Signal

__all__ = [
    "FakeClock",
    "LateServer",
    "RecordedEvents",
    "fake_clock",
    "late_server",
    "no_retries",
    "recorded_events",
    "refused_port",
]

E = TypeVar("E", bound=Event)

_QUIET = 0.002
"""Real seconds without anybody touching the clock after which all who will wait are taken to be waiting."""

_POLL = 0.0005
_STUCK = 1.0
"""Real seconds after which a caller that was woken and does not come back no longer holds up the others."""


class FakeClock:
    """A clock that stands still until everybody who waits is waiting, and then jumps to the first who is due.

    It starts at 0. Threads, asyncio tasks and trio tasks may wait on it side by side. A single thread that waits alone
    jumps at once; otherwise the clock jumps after two quiet milliseconds.

    Attributes:
        sleeps: the pauses that were asked for, in seconds, in order.
    """

    def __init__(self) -> None:
        self.sleeps: list[float] = []
        self._time = 0.0
        self._lock = threading.Lock()
        self._sleepers: dict[object, float] = {}
        self._signals: dict[object, Signal] = {}
        self._awake: dict[weakref.ref[Caller], float] = {}
        self._touched = time.monotonic()
        self._held = 0
        self._ended = False

    def now(self) -> float:
        """Seconds since the test began, on this clock."""
        self._touched = time.monotonic()
        return self._time

    @property
    def waiting(self) -> int:
        """How many callers wait on this clock."""
        return len(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, as if the code under test had taken them."""
        if not seconds >= 0:
            raise ValueError(f"a clock only goes forward: {seconds!r}")
        with self._lock:
            self._time += seconds
            self._touched = time.monotonic()

    @contextlib.contextmanager
    def hold(self) -> Generator[None, None, None]:
        """Keep the clock from jumping, for instance until all threads of a test have started."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def sleep(self, seconds: float, cancellation: Signal | None, caller: Caller) -> None:
        """Pause this thread on this clock. The drivers call it."""
        key = self._enter(seconds, cancellation, caller)
        try:
            while not self._due(key, cancellation):
                self._jump_if_all_wait(quiet=0.0 if threading.active_count() == 1 else _QUIET)
                if not self._due(key, cancellation):
                    time.sleep(_POLL)
        except BaseException:
            self._leave(key, None)  # it will not come back
            raise
        self._leave(key, caller)

    async def sleep_async(self, seconds: float, cancellation: Signal | None, caller: Caller) -> None:
        """Pause this task on this clock, on asyncio or trio. The drivers call it."""
        nap = _real_nap()
        key = self._enter(seconds, cancellation, caller)
        try:
            while True:
                await nap(_POLL)
                if self._due(key, cancellation):
                    break
                self._jump_if_all_wait(quiet=_QUIET)
        except BaseException:
            self._leave(key, None)  # it will not come back
            raise
        self._leave(key, caller)

    def end(self) -> None:
        """Let go of everybody who still waits."""
        self._ended = True

    def _enter(self, seconds: float, signal: Signal | None, caller: Caller) -> object:
        key = object()
        with self._lock:
            self.sleeps.append(seconds)
            self._awake.pop(weakref.ref(caller), None)
            self._sleepers[key] = self._time + seconds
            if signal is not None:
                self._signals[key] = signal
            self._touched = time.monotonic()
        return key

    def _leave(self, key: object, caller: Caller | None) -> None:
        with self._lock:
            self._sleepers.pop(key, None)
            self._signals.pop(key, None)
            self._touched = time.monotonic()
            if caller is not None:
                self._awake[weakref.ref(caller)] = self._touched

    def _due(self, key: object, cancellation: Signal | None) -> bool:
        if self._ended or (cancellation is not None and cancellation.cancelled):
            return True
        return self._sleepers[key] <= self._time

    def _jump_if_all_wait(self, quiet: float) -> None:
        real = time.monotonic()
        with self._lock:
            if self._held or real - self._touched < quiet:
                return
            for reference, since in list(self._awake.items()):
                caller = reference()
                if caller is None or caller.over or real - since > _STUCK:
                    del self._awake[reference]
                elif quiet:
                    return
            for key in [key for key, signal in self._signals.items() if signal.cancelled]:
                if real - self._touched > _STUCK:
                    del self._signals[key]
                elif quiet:
                    return  # it has been woken, and has not come to it yet
            first = min(self._sleepers.values(), default=self._time)
            if self._time < first < math.inf:
                self._time = first
                self._touched = real


def _real_nap() -> Callable[[float], Awaitable[None]]:
    trio = sys.modules.get("trio")
    if trio is not None:
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            pass
        else:
            return cast("Callable[[float], Awaitable[None]]", trio.sleep)
    return cast("Callable[[float], Awaitable[None]]", sys.modules["asyncio"].sleep)


@contextlib.contextmanager
def fake_clock() -> Generator[FakeClock, None, None]:
    """Let a `FakeClock` stand in for time in everything this library does, in all threads."""
    if clock.stand_in is not None:
        raise RuntimeError("there is a stand-in for the clock already: one fake_clock at a time")
    fake = FakeClock()
    clock.put(fake)
    try:
        yield fake
    finally:
        clock.put(None)
        fake.end()


class RecordedEvents(list[Event]):
    """The events of a test, in order."""

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one class."""
        return [event for event in self if isinstance(event, kind)]


@contextlib.contextmanager
def recorded_events() -> Generator[RecordedEvents, None, None]:
    """Record every event of every call in the process, whatever observers its policy has."""
    recorded = RecordedEvents()
    tap = recorded.append
    events.taps = (*events.taps, tap)
    try:
        yield recorded
    finally:
        events.taps = tuple(other for other in events.taps if other is not tap)


@contextlib.contextmanager
def no_retries() -> Generator[None, None, None]:
    """Let every call fail at its first error, without a pause, an event or a note."""
    before, clock.patience = clock.patience, False
    try:
        yield
    finally:
        clock.patience = before


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


@contextlib.contextmanager
def refused_port(host: str = "127.0.0.1") -> Generator[int, None, None]:
    """Give a port that refuses every connection and that nobody else can take: bound, and not listening."""
    with _bound(host, 0, shared=False) as guard:
        yield guard.getsockname()[1]


class LateServer:
    """A server that refuses until it is told to be up, on a port it never loses.

    Attributes:
        host: its address.
        port: its port.
        connections: how many connections it has accepted.
    """

    def __init__(
        self, handler: Callable[[socket.socket], object] | None = None, *, host: str = "127.0.0.1", backlog: int = 128
    ) -> None:
        self._handler = _echo if handler is None else handler
        self._backlog = backlog
        # Bound with SO_REUSEADDR and not listening: it keeps the port, connects to it are refused,
        # and a second such socket may bind the same port and listen.
        self._guard = _bound(host, 0, shared=True)
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._timers: list[threading.Timer] = []
        self.host: str = host
        self.port: int = self._guard.getsockname()[1]
        self.connections: int = 0

    @property
    def target(self) -> str:
        """The address as a target: "127.0.0.1:12345"."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def up(self) -> None:
        """Serve, from now on."""
        with self._lock:
            if self._listener is not None:
                return
            listener = self._listener = _bound(self.host, self.port, shared=True)
            listener.listen(self._backlog)
        threading.Thread(target=self._accept, args=(listener,), name="late_server", daemon=True).start()

    def up_after(self, seconds: float) -> None:
        """Serve after so many real seconds."""
        timer = threading.Timer(seconds, self.up)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def down(self) -> None:
        """Refuse, from now on, and drop every connection."""
        with self._lock:
            listener, self._listener = self._listener, None
            connections, self._open = self._open, set()
        if listener is not None:
            _end(listener)
        for connection in connections:
            _end(connection)

    def close(self) -> None:
        """Be down for good, and give the port back."""
        for timer in self._timers:
            timer.cancel()
            timer.join()
        self.down()
        self._guard.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # down
                return
            with self._lock:
                if self._listener is not listener:
                    _end(connection)
                    return
                self.connections += 1
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="late_server", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._handler(connection)
        except OSError:  # the client has gone, or the server is down
            return
        finally:
            with self._lock:
                self._open.discard(connection)
            _end(connection)


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(65_536):
        connection.sendall(data)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # not connected, or closed already
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextlib.contextmanager
def late_server(
    handler: Callable[[socket.socket], object] | None = None,
    *,
    after: float | None = None,
    host: str = "127.0.0.1",
    backlog: int = 128,
) -> Generator[LateServer, None, None]:
    """Give a server that refuses until `up()` is called, or for `after` real seconds.

    Args:
        handler: serves one connection, in a thread of its own; default: an echo.
        after: real seconds until it serves; None: until `up()`.
        host: loopback address.
        backlog: of the listening socket.
    """
    server = LateServer(handler, host=host, backlog=backlog)
    try:
        if after is not None:
            server.up_after(after)
        yield server
    finally:
        server.close()
