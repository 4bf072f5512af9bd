"""Private servers for benchmarks, each started by the first who asks: out of wheels, the machine's own, or small ones.

What runs on this machine's standard ports is left alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, Final

from resilient.cli._servers import PostgresServer, ServerError, ValkeyServer

from ._answering import HOST, answering

_TESTS: Final = Path(__file__).parent.parent / "tests"
_MACHINES: Final = {"mariadb": "MariaServer", "nats": "NatsServer", "rabbitmq": "RabbitServer"}


class Missing(Exception):
    """This machine has no such server, and the text says which."""


class Servers(contextlib.ExitStack):
    """The servers of one run; leaving the context ends them all.

    Where the system can be told, this thread has a processor of its own, and the servers have the others: a server's
    process that once shares the client's, and once not, makes more of a difference than what is measured.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ports: dict[str, int | Missing] = {}
        self._processors: list[int] = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if len(self._processors) > 1:
            self.callback(os.sched_setaffinity, 0, self._processors)

    def port(self, name: str) -> int:
        """Return the port of a server that serves.

        Raises:
            Missing: it cannot be run here.
        """
        if name not in self._ports:
            try:
                self._move(self._processors[1:])  # which the server inherits
                self._ports[name] = self._start(name)
            except Missing as missing:
                self._ports[name] = missing
            finally:
                self._move(self._processors[:1])
        found = self._ports[name]
        if isinstance(found, Missing):
            raise found
        return found

    def _move(self, processors: list[int]) -> None:
        if len(self._processors) > 1:
            os.sched_setaffinity(0, processors)

    def _start(self, name: str) -> int:
        if name in ("http", "memcached", "grpc"):
            return self.enter_context(answering(name))
        try:
            server: Any = self.enter_context(_make(name))
            server.start()
            server.wait_ready(120)
        except ServerError as error:
            raise Missing(str(error).splitlines()[0]) from error
        return int(server.port)


def _make(name: str) -> Any:
    if name == "valkey":
        return ValkeyServer()
    if name == "postgresql":
        return PostgresServer()
    sys.path.append(str(_TESTS))
    try:
        import conftest  # noqa: F401  # the tests', for which their servers are written; it goes first
        import machine_servers
        import pytest
    except ImportError as error:
        raise Missing(f"{name}: {error}") from error
    finally:
        sys.path.remove(str(_TESTS))
    try:
        return getattr(machine_servers, _MACHINES[name])()
    except pytest.skip.Exception as skipped:
        raise Missing(str(skipped)) from skipped


__all__ = ["HOST", "Missing", "Servers"]
