"""What every client of the corpus is brought to: places that refuse, and servers that do anything but refuse."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from fake_servers import Handler, hang_up, listen_and_reset, reset, says, serve, silence

from resilient.testing import refused_port

LIE = b"ConnectionRefusedError: [Errno 111] Connection refused\r\n"
JUNK = random.Random(4711).randbytes(400)


def _http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


SERVERS: dict[str, Handler] = {
    "reset": reset,
    "hang up": hang_up,
    "hear, then reset": listen_and_reset,
    "silence": silence,
    "junk": says(JUNK),
    "a text that lies": says(LIE),
    "a proxy that lies": says(_http("502 Bad Gateway", b"upstream: " + LIE)),
    "an HTTP error": says(_http("400 Bad Request", b"this is HTTP")),
}
"""They accept: whatever a client makes of them, it is never a refusal, with or without asking the port."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that may happen to a client.

    Attributes:
        name: as in "hang up".
        host, port: where.
        kind: what the error must be; "any": nothing but refused or not ready.
        then: a second place, which is met while the error of the first is being handled.
    """

    name: str
    host: str
    port: int
    kind: str | None
    then: int | None = None


@contextlib.contextmanager
def refused_pair(handler: Handler | None = None) -> Iterator[int]:
    """Give a port that refuses on ::1, and on 127.0.0.1 refuses or is served by `handler`."""
    for _ in range(50):
        with contextlib.ExitStack() as stack:
            port = stack.enter_context(refused_port() if handler is None else serve(handler))
            guard = stack.enter_context(socket.socket(socket.AF_INET6))
            guard.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                guard.bind(("::1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                yield port
                return
    raise RuntimeError("no port is free on both addresses")


@contextlib.contextmanager
def full_port() -> Iterator[int]:
    """Give a port whose queue is full: a connect gets no answer, as from a firewall that drops."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@contextlib.contextmanager
def cases(*, two_addresses: bool) -> Iterator[tuple[Case, ...]]:
    """Give the cases that every client meets, with all that listens or refuses for them.

    Args:
        two_addresses: `localhost` is ::1 and 127.0.0.1 here.
    """
    with contextlib.ExitStack() as stack:
        pair = stack.enter_context(refused_pair())
        found = [Case("127.0.0.1", "127.0.0.1", pair, "refused"), Case("::1", "::1", pair, "refused")]
        if two_addresses:
            half = stack.enter_context(refused_pair(hang_up))
            found += [Case("localhost", "localhost", pair, "refused"), Case("half refused", "localhost", half, "any")]
        found += [
            Case(name, "127.0.0.1", stack.enter_context(serve(handler)), "any") for name, handler in SERVERS.items()
        ]
        found.append(Case("no answer", "127.0.0.1", stack.enter_context(full_port()), "any"))
        found.append(Case("no such name", "nowhere.invalid", 5999, "any"))
        yield tuple(found)
