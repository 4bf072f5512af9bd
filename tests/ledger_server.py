"""`ledger.py` as a server of the tests: it is killed, comes back on its port, and shows what it has executed."""

from __future__ import annotations

import sys
from pathlib import Path

from resilient.cli._servers import LocalServer

PROGRAM = Path(__file__).with_name("ledger.py")


class LedgerServer(LocalServer):
    """A process of `ledger.py`.

    Args:
        kind: "web" or "grpc".
    """

    name = "ledger"
    _ready_line = b"running on"

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    @property
    def url(self) -> str:
        return f"http://{self._address}"

    def _command(self, folder: Path) -> list[str]:
        return [sys.executable, str(PROGRAM), self._kind, str(self.port)]

    def executed(self) -> list[str]:
        """Return the ids of what was executed, in all its lives since the last `forget`."""
        return self._ledger.read_text().split()

    def forget(self) -> None:
        """Begin a new ledger."""
        self._ledger.unlink(missing_ok=True)

    @property
    def _ledger(self) -> Path:
        assert self._folder is not None
        return self._folder / "ledger"
