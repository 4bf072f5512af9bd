"""One server process with a life of its own: it starts, says that it is ready, dies, and comes back on its port.

What a kind of server says about itself (its command, its ready line, its folder) stands in a room of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, TypedDict

from ._port import HeldPort
from ._sweeper import Sweeper
from ._wheel import ServerError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

LOOPBACK = ("127.0.0.1",)

ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"}
"""English messages, and nothing that redirects a server: no PGDATA, no PGPORT."""


class Account(TypedDict, total=False):
    """Whom a process runs as, in the words of `subprocess`; empty: as ourselves."""

    user: int
    group: int
    extra_groups: list[int]


class LocalServer(ABC):
    """One server process on a free port of the loopback.

    Entering the context prepares everything and starts nothing: until `start()` the port refuses.
    The port is chosen once and held while the server is down.
    Leaving the context ends the server and removes its folder.

    Attributes:
        name: the server's name, for messages.
        bind: the loopback addresses it listens on.
        host: the first of them.
        port: the TCP port, the same on every address and after every restart.
        ready_at: `time.monotonic()` at which the server itself said that it is ready to accept connections,
            None until it does and while it is down. It is read from the server's output, so no connect is spent.
    """

    name: ClassVar[str]
    _ready_line: ClassVar[bytes]

    def __init__(self, *, bind: Sequence[str] = LOOPBACK) -> None:
        try:
            self._held = HeldPort(bind)
        except OSError as error:
            raise ServerError(f"no port is free on all of {', '.join(bind)}: {error}") from error
        self.bind: tuple[str, ...] = tuple(bind)
        self.host: str = self.bind[0]
        self.port: int = self._held.number
        self.ready_at: float | None = None
        self._account: Account = {}
        self._sweeper: Sweeper | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._told = threading.Event()
        self._lines: deque[str] = deque(maxlen=8)

    def __enter__(self) -> Self:
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    @abstractmethod
    def url(self) -> str:
        """The server as a URL, as its clients read it."""

    @property
    def _address(self) -> str:
        """Host and port as URLs have them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process and return at once; `wait_ready` waits until it serves. A running server is left alone.

        Raises:
            ServerError: this machine cannot run it.
        """
        if self.pid is not None:
            return
        sweeper = self._prepare()
        self.kill()  # collects a process that has ended by itself
        if not self._held.shares:
            self._held.release()
        self._told = threading.Event()
        try:
            self._process = subprocess.Popen(
                self._command(sweeper.folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=sweeper.folder,
                env=ENVIRONMENT,
                start_new_session=True,
                **self._account,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerError(f"{self.name} cannot be started: {error}") from error
        sweeper.watch(self._process.pid)
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout, self._told), daemon=True)
        self._reader.start()

    def wait_ready(self, timeout: float = 10.0) -> float:
        """Wait until the server says that it is ready, and return when it said so (see `ready_at`).

        Raises:
            ServerError: it ended, was not started, or `timeout` seconds passed. Carries its last lines.
        """
        if self._process is None:
            raise ServerError(f"{self.name} is not started")
        self._told.wait(timeout)
        if self.ready_at is not None:
            return self.ready_at
        ended = f"ended with exit status {self._process.wait(5)}" if self._told.is_set() else None
        last = "\n  ".join(self._lines)
        raise ServerError(f"{self.name} {ended or f'was not ready within {timeout:g} s'}; it said:\n  {last}")

    def kill(self) -> None:
        """End the server as a power cut would (SIGKILL). On return its port refuses, and the port is still ours."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the server to shut down and wait for it; kill it after ten seconds."""
        self._end(signal.SIGINT)  # to PostgreSQL a "fast shutdown", which does not wait for clients

    def restart(self) -> float:
        """Stop if it runs, start on the same port, wait until it serves. Returns `ready_at`."""
        self.stop()
        self.start()
        return self.wait_ready()

    def close(self) -> None:
        """End everything, remove the folder, give the port back. May be called twice."""
        self.stop()
        self._held.release()
        if self._sweeper is not None:
            self._sweeper.sweep()
            self._sweeper = None

    # What a kind of server says about itself.

    @abstractmethod
    def _command(self, folder: Path) -> list[str]: ...

    def _make_folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"resilient-{self.name.lower()}-"))

    def _fill_folder(self, folder: Path) -> None:
        """Put into the folder what the first start needs."""
        return

    # Process and output.

    @property
    def _folder(self) -> Path | None:
        return None if self._sweeper is None else self._sweeper.folder

    def _prepare(self) -> Sweeper:
        """Make the folder and what must lie in it. Done once; nothing listens yet."""
        if self._sweeper is None:
            self._sweeper = Sweeper(self._make_folder())
            self._fill_folder(self._sweeper.folder)
        return self._sweeper

    def _read(self, pipe: IO[bytes], told: threading.Event) -> None:
        """Runs in a thread of its own until every process that holds the pipe is gone."""
        with pipe:
            for line in pipe:
                now = time.monotonic()
                self._lines.append(line.decode(errors="replace").rstrip())
                if self._ready_line in line and not told.is_set():
                    self.ready_at = now
                    told.set()
        told.set()

    def _end(self, how: signal.Signals) -> None:
        """End the process, and wait for its children: they hold the pipe."""
        if self._process is not None:
            self._process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
            self._process.wait(5)
        if self._reader is not None:
            self._reader.join(5)
        self._process = self._reader = self.ready_at = None
        if self._sweeper is not None:
            self._sweeper.watch(None)
            self._held.hold()
