"""What must be so on the stage of the demo, or it would prove nothing."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from ._servers import LocalServer

if TYPE_CHECKING:
    import psycopg


class PromiseError(Exception):
    """The demo found its stage other than it should be: what it would show would prove nothing."""


def must_refuse(server: LocalServer) -> None:
    """Make sure that nothing listens."""
    with socket.socket() as client:
        client.settimeout(2)
        answer = client.connect_ex((server.host, server.port))
    if answer != errno.ECONNREFUSED:
        said = os.strerror(answer) if answer else "it is open"
        raise PromiseError(f"the port of {server.name} should refuse: {said}")


def must_be_broken(connection: psycopg.Connection[Any]) -> str:
    """Make sure that the server has died under this connection; return what the client says."""
    import psycopg

    try:
        connection.execute("select 1")
    except psycopg.OperationalError as error:
        return type(error).__name__
    finally:
        connection.close()
    raise PromiseError("an open connection survived the death of its server")
