"""Servers of the machine's own programs, each a private instance: MariaDB, RabbitMQ, NATS, Mosquitto.

They live as the servers out of wheels do: start, die, and come back on a port that stays theirs, in a temporary folder.
Whatever runs on this machine's standard ports is left alone. Programs that refuse to be root run as `nobody`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import conftest  # which imports this file at its end
import pytest

from resilient.cli._servers import LOOPBACK, LocalServer, ServerError
from resilient.cli._servers._local import ENVIRONMENT, Account
from resilient.cli._servers._port import HeldPort

NOBODY = "nobody"
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ESTABLISHED = "01"


def program(*names: str) -> str:
    """Return the path of the first of these programs that is installed, or end this test."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), SYSTEM_FOLDERS))
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    return conftest.requires(f"the program {names[0]}") if found is None else found


class MachineServer(LocalServer):
    """One instance of a program that is installed on this machine, in a folder of its own below /tmp."""

    drops_root = True

    def __init__(self, *, bind: Sequence[str] = LOOPBACK) -> None:
        super().__init__(bind=bind)
        if self.drops_root and os.geteuid() == 0:
            self._account = _account_of_nobody()

    def stop(self) -> None:
        """Ask the server to shut down and wait for it; SIGINT means nothing to some of these."""
        self._end(signal.SIGTERM)

    def connections(self) -> int:
        """Return how many connections to the port stand now, as the system counts them."""
        table = Path("/proc/net/tcp")
        if not table.exists():
            conftest.requires("/proc/net/tcp")
        rows = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
        return sum(row[1].endswith(f":{self.port:04X}") and row[3] == ESTABLISHED for row in rows)

    def _make_folder(self) -> Path:
        if not self._account:
            return super()._make_folder()
        # Not below pytest's folder, which is root's alone; and a socket's path must be short.
        folder = Path(tempfile.mkdtemp(prefix=f"resilient-{self.name.lower()}-", dir="/tmp"))
        os.chown(folder, self._account["user"], self._account["group"])
        return folder

    def _run(self, command: Sequence[str], folder: Path) -> None:
        """Run a program that prepares the folder.

        Raises:
            ServerError: it failed. Carries its last lines.
        """
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**ENVIRONMENT, "PATH": SYSTEM_FOLDERS},
            timeout=60,
            check=False,
            text=True,
            **self._account,
        )
        if done.returncode != 0:
            raise ServerError(f"{Path(command[0]).name} failed:\n{done.stdout[-2000:]}")


def _account_of_nobody() -> Account:
    import pwd

    entry = pwd.getpwnam(NOBODY)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


_SMALL = ("--innodb-buffer-pool-size=8M", "--innodb-log-file-size=8M", "--key-buffer-size=1M")


class MariaServer(MachineServer):
    """A MariaDB server with the account `root`.

    Args:
        password: of root; None lets everyone in without one.
        arguments: more arguments to `mariadbd`, for instance `("--max-connections=10",)`.
    """

    name = "MariaDB"
    _ready_line = b"ready for connections"

    def __init__(self, *, password: str | None = None, arguments: Sequence[str] = ()) -> None:
        self._binary = program("mariadbd", "mysqld")
        self._installer = program("mariadb-install-db", "mysql_install_db")
        self._password = password
        self._arguments = tuple(arguments)
        super().__init__()

    @property
    def url(self) -> str:
        password = "" if self._password is None else f":{self._password}"
        return f"mysql://root{password}@{self._address}/mysql"

    def _command(self, folder: Path) -> list[str]:
        where = [f"--port={self.port}", f"--bind-address={','.join(self.bind)}", f"--datadir={folder}/data"]
        where += [f"--socket={folder}/sock", f"--pid-file={folder}/pid", f"--init-file={folder}/first.sql"]
        quick = ["--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"]
        return [self._binary, "--no-defaults", *where, *quick, *_SMALL, *self._arguments]

    def _fill_folder(self, folder: Path) -> None:
        command = [
            self._installer,
            "--no-defaults",
            f"--datadir={folder}/data",
            "--auth-root-authentication-method=normal",
        ]
        command += ["--skip-name-resolve", "--skip-test-db", *_SMALL]
        self._run(command, folder)
        first = folder / "first.sql"
        lines = (
            f"GRANT ALL ON *.* TO 'root'@'%' IDENTIFIED BY '{self._password or ''}' WITH GRANT OPTION",
            # The installer's own accounts are more exact than '%', and need no password.
            "DELETE FROM mysql.global_priv WHERE User = 'root' AND Host NOT IN ('%', 'localhost')",
            "FLUSH PRIVILEGES",
        )
        first.write_text("".join(f"{line};\n" for line in lines), encoding="utf-8")
        first.chmod(0o644)


class NatsServer(MachineServer):
    """A NATS server.

    Args:
        arguments: more arguments to `nats-server`, for instance `("--user", "me", "--pass", "secret")`.
    """

    name = "NATS"
    drops_root = False
    _ready_line = b"Server is ready"

    def __init__(self, *, arguments: Sequence[str] = ()) -> None:
        self._binary = program("nats-server")
        self._arguments = tuple(arguments)
        super().__init__()

    @property
    def url(self) -> str:
        return f"nats://{self._address}"

    def _command(self, folder: Path) -> list[str]:
        return [self._binary, "-a", self.host, "-p", str(self.port), *self._arguments]


class MosquittoServer(MachineServer):
    """A Mosquitto server, keeping nothing on disk.

    Args:
        lines: more lines of its configuration, for instance `("allow_anonymous false",)`.
    """

    name = "Mosquitto"
    _ready_line = b" running"

    def __init__(self, *, lines: Sequence[str] = ()) -> None:
        self._binary = program("mosquitto")
        self._lines_of_configuration = tuple(lines)
        super().__init__()

    @property
    def url(self) -> str:
        return f"mqtt://{self._address}"

    def _command(self, folder: Path) -> list[str]:
        return [self._binary, "-v", "-c", str(folder / "mosquitto.conf")]

    def _fill_folder(self, folder: Path) -> None:
        lines = [f"listener {self.port} {self.host}", *self._lines_of_configuration]
        if not any(line.startswith("allow_anonymous") for line in lines):
            lines.append("allow_anonymous true")
        configuration = folder / "mosquitto.conf"
        configuration.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        configuration.chmod(0o644)


class _PortMapper(MachineServer):
    """Erlang's register of nodes. Without one of its own, RabbitMQ would use the machine's, or leave one behind."""

    name = "epmd"
    _ready_line = b"epmd running"

    def __init__(self) -> None:
        self._binary = program("epmd")
        super().__init__()

    @property
    def url(self) -> str:
        return f"epmd://{self._address}"

    def _command(self, folder: Path) -> list[str]:
        return [self._binary, "-d", "-address", self.host, "-port", str(self.port)]


class RabbitServer(MachineServer):
    """A RabbitMQ server without plugins: user `guest`, password `guest`. It takes its time to start."""

    name = "RabbitMQ"
    _ready_line = b"Server startup complete"

    def __init__(self) -> None:
        self._script = _rabbit_script()
        super().__init__()
        self._between_nodes = HeldPort(self.bind)
        self._mapper = _PortMapper()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self._address}/"

    def start(self) -> None:
        """Start the process and return at once. Its register of nodes runs until the end."""
        self._mapper.start()
        self._mapper.wait_ready()
        super().start()

    def wait_ready(self, timeout: float = 120.0) -> float:
        """Wait until the server says that it is ready; half a minute is usual."""
        return super().wait_ready(timeout)

    def close(self) -> None:
        """End everything, remove the folders, give the ports back."""
        super().close()
        self._mapper.close()
        self._between_nodes.release()

    def _command(self, folder: Path) -> list[str]:
        flags = "-noinput +S 1:1 +A 8 -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"
        settings = {
            "ERL_EPMD_ADDRESS": self.host,
            "ERL_EPMD_PORT": self._mapper.port,
            "HOME": folder,  # where its cookie lies
            "PATH": SYSTEM_FOLDERS,
            "RABBITMQ_ALLOW_INPUT": 1,  # the script becomes the server, instead of staying its parent
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": folder / "rabbitmq",
            "RABBITMQ_DIST_PORT": self._between_nodes.number,
            "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "plugins",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_MNESIA_BASE": folder,
            "RABBITMQ_NODENAME": f"resilient-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": flags,
        }
        return ["/usr/bin/env", *(f"{name}={value}" for name, value in settings.items()), str(self._script)]

    def _fill_folder(self, folder: Path) -> None:
        (folder / "plugins").write_text("[].\n", encoding="ascii")


def _rabbit_script() -> Path:
    """Return the server's own script: the one on the path may change the user first, and fail for want of a login."""
    found = Path(program("rabbitmq-server"))
    scripts = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return scripts[-1] if scripts else found


# The rest is for tests: one instance of each for the whole run, started by the first test that asks.


def _serving(server: MachineServer) -> Iterator[MachineServer]:
    with server:
        server.start()
        server.wait_ready(120)
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MachineServer]:
    yield from _serving(MariaServer())


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[MachineServer]:
    yield from _serving(RabbitServer())


@pytest.fixture(scope="session")
def nats() -> Iterator[MachineServer]:
    yield from _serving(NatsServer())


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[MachineServer]:
    yield from _serving(MosquittoServer())
