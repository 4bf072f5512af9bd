"""Servers that say one thing: just enough of three protocols to bring a client to the answer that a test is about.

`serve(handler)` listens on loopback; every other function here makes a handler of one connection.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator

from resilient.testing import late_server

Handler = Callable[[socket.socket], object]

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104


@contextlib.contextmanager
def serve(handler: Handler, host: str = "127.0.0.1") -> Iterator[int]:
    """Let `handler` serve every connection, in threads; gives the port."""
    with late_server(handler, host=host) as server:
        server.up()
        yield server.port


def hang_up(connection: socket.socket) -> None:
    """Accept, and close in good order."""


def reset(connection: socket.socket) -> None:
    """Accept, and close by RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def listen_and_reset(connection: socket.socket) -> None:
    """Take the first words, and close by RST."""
    _hear(connection)
    reset(connection)


def silence(connection: socket.socket) -> None:
    """Take everything and never answer, until the client or the test goes away."""
    while connection.recv(65_536):
        pass


def says(words: bytes) -> Handler:
    """Answer the first words with these bytes, and close in good order."""

    return lambda connection: (_hear(connection), _finish(connection, words))


def _hear(connection: socket.socket) -> None:
    """Take the first words. A client that waits for the server's own gets its turn after a moment."""
    connection.settimeout(0.05)
    with contextlib.suppress(TimeoutError):
        connection.recv(65_536)
    connection.settimeout(None)


def _finish(connection: socket.socket, words: bytes) -> None:
    """Say the last words, and listen until the client has gone, so that no RST overtakes them."""
    connection.sendall(words)
    connection.shutdown(socket.SHUT_WR)
    silence(connection)


def _take(connection: socket.socket, size: int) -> bytes:
    taken = b""
    while len(taken) < size:
        part = connection.recv(size - len(taken))
        if not part:
            raise ConnectionAbortedError("the client has gone")
        taken += part
    return taken


# PostgreSQL.


def pg_error(state: str, text: str, *, severity: str = "FATAL") -> bytes:
    """Return an ErrorResponse, as a server sends it."""
    fields = {"S": severity, "V": "FATAL", "C": state, "M": text, "F": "postmaster.c", "L": "2345"}
    body = b"".join(key.encode() + value.encode() + b"\0" for key, value in fields.items()) + b"\0"
    return b"E" + struct.pack("!i", len(body) + 4) + body


def postgres(state: str, text: str, *, severity: str = "FATAL") -> Handler:
    """Refuse TLS and answer the startup message with this error."""

    def handler(connection: socket.socket) -> None:
        while True:
            (size,) = struct.unpack("!i", _take(connection, 4))
            (code,) = struct.unpack("!i", _take(connection, size - 4)[:4])
            if code not in (SSL_REQUEST, GSS_REQUEST):
                break
            connection.sendall(b"N")
        _finish(connection, pg_error(state, text, severity=severity))

    return handler


# Redis.

HELLO = b"%7\r\n+server\r\n+redis\r\n+version\r\n+8.0.0\r\n+proto\r\n:3\r\n+id\r\n:1\r\n+mode\r\n+standalone\r\n"
HELLO += b"+role\r\n+master\r\n+modules\r\n*0\r\n"


def redis_server(answer: str, *, to: str | None = None) -> Handler:
    """Give `answer` ("-LOADING ...") to every command, or, with `to`, to that one, and welcome all others."""

    def handler(connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            while head := lines.readline():
                words = [lines.read(int(lines.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))]
                command = words[0].decode().upper()
                told = to is None or command == to
                connection.sendall(f"{answer}\r\n".encode() if told else HELLO if command == "HELLO" else b"+OK\r\n")

    return handler


# MySQL.


def mysql(number: int, text: str, *, state: str | None = None, greets: bool = True) -> Handler:
    """Answer the login, or, without `greets`, the connection itself, with this error."""
    error = b"\xff" + struct.pack("<H", number) + (f"#{state}" if state else "").encode() + text.encode()

    def handler(connection: socket.socket) -> None:
        sequence = 0
        if greets:
            flags, salt = 0x0008A209, (b"abcdefgh", b"ijklmnopqrst")
            greeting = b"\x0a8.0.40\0" + struct.pack("<I", 7) + salt[0] + b"\0" + struct.pack("<H", flags & 0xFFFF)
            greeting += b"\x2d\x02\0" + struct.pack("<H", flags >> 16) + b"\x15" + b"\0" * 10 + salt[1]
            connection.sendall(_mysql_packet(0, greeting + b"\0mysql_native_password\0"))
            head = _take(connection, 4)
            _take(connection, int.from_bytes(head[:3], "little"))
            sequence = head[3] + 1
        _finish(connection, _mysql_packet(sequence, error))

    return handler


def _mysql_packet(sequence: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes([sequence]) + body
