"""The connection that a handshake goes over, plain or inside TLS, with one deadline for everything on it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable
from time import monotonic  # real time, also in a test with a fake clock: the server is real
from typing import Final, TypeAlias, TypeVar

from ..endpoint import Endpoint
from ..refusal import is_hopeless
from ._answer import ENOUGH, LONGEST_REPLY, Answer, recognise, show

T = TypeVar("T")

Connect: TypeAlias = "Callable[[tuple[str, int], float], socket.socket]"

_LONGEST_WAIT = 86_400.0
"""Seconds of one operating-system wait; system calls overflow."""


def dial(address: tuple[str, int], timeout: float) -> socket.socket:
    """Connect as `socket.create_connection` does, but within `timeout` seconds for all addresses together.

    Raises:
        OSError: the error of the last address.
    """
    deadline = monotonic() + timeout
    host, port = address
    # Of a text Python makes a name in IDNA first, and imports three modules for it: a thirtieth of a short program.
    name = host.encode("ascii") if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    last: OSError | None = None
    try:
        for number, (family, kind, protocol, _, place) in enumerate(found):
            try:
                connection = socket.socket(family, kind, protocol)
            except OSError as error:
                last = error
                continue
            try:
                # One address that swallows everything must not take the others' time.
                _limit(connection, monotonic() + (deadline - monotonic()) / (len(found) - number))
                connection.connect(place)
            except OSError as error:
                connection.close()
                last = error
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise last or OSError(errno.EADDRNOTAVAIL, "the name has no address")
    finally:
        last = None  # its traceback holds this frame


def open_connection(endpoint: Endpoint, timeout: float, connect: Connect) -> socket.socket:
    """Connect to a port or a unix socket.

    Raises:
        OSError: the connect failed.
    """
    if endpoint.path is not None:
        if not hasattr(socket, "AF_UNIX"):
            raise OSError(errno.EAFNOSUPPORT, "this system has no unix sockets")
        connection = socket.socket(socket.AF_UNIX)
        try:
            _limit(connection, monotonic() + timeout)
            connection.connect(endpoint.path)
        except BaseException:
            connection.close()
            raise
        return connection
    connection = connect((str(endpoint.host), endpoint.port or 0), timeout)
    try:
        itself = connection.getsockname() == connection.getpeername()
    except OSError:  # it is gone already, which the talk will show
        itself = False
    if itself:  # nobody listens there, and the port was just the one that the system chose for us
        connection.close()
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return connection


def round_trip(connection: socket.socket) -> float | None:
    """Return the seconds that a first packet and its answer took on this connection, None where nobody says.

    Linux, tcp(7), TCP_INFO: `tcpi_rtt`, in microseconds.
    """
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return 0.0  # a unix socket: the other side is on this machine
    option = getattr(socket, "TCP_INFO", None)
    if sys.platform != "linux" or option is None:
        return None
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, option, _RTT + 4)
    except OSError:
        return None
    microseconds = int.from_bytes(told[_RTT : _RTT + 4], sys.byteorder)
    return microseconds / 1e6 if microseconds else None


_RTT: Final = 68
"""Where it stands in `struct tcp_info` (include/uapi/linux/tcp.h)."""


def _limit(connection: socket.socket, deadline: float) -> None:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError(errno.ETIMEDOUT, "timed out")
    connection.settimeout(min(left, _LONGEST_WAIT))


class ToldError(Exception):
    """TLS itself has told enough."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class Wire:
    """A connection with a deadline for everything on it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self.deadline = deadline

    def send(self, words: bytes) -> None:
        """Send all of it."""
        if words:
            _limit(self._connection, self.deadline)
            self._connection.sendall(words)

    def receive(self, most: int) -> bytes:
        """Return some bytes, none at the end."""
        _limit(self._connection, self.deadline)
        return self._connection.recv(most)

    def part(self, farewell: bytes) -> None:
        """Say the last word; whether it arrives does not matter any more."""
        with contextlib.suppress(OSError, ToldError):
            self.send(farewell)


class SecureWire(Wire):
    """The same inside TLS. Over buffers, so that the deadline holds, and a server's first bytes can be looked at."""

    def __init__(self, connection: socket.socket, deadline: float, host: str) -> None:
        super().__init__(connection, deadline)
        import ssl

        self._inward, self._outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        self._tls = context.wrap_bio(self._inward, self._outward, server_hostname=host)
        self._first = b""
        try:
            self._turn(self._tls.do_handshake)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as error:
            raise ToldError(_tls_answer(error, self._first)) from None

    def send(self, words: bytes) -> None:
        """Send all of it."""
        if words:
            self._turn(lambda: self._tls.write(words))

    def receive(self, most: int) -> bytes:
        """Return some bytes, none at the end."""
        import ssl

        try:
            return self._turn(lambda: self._tls.read(most))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def part(self, farewell: bytes) -> None:
        """Say the last word, and that it was the last."""
        super().part(farewell)
        with contextlib.suppress(OSError):  # also: the other side has not said goodbye yet, and need not
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            self._flush()

    def _turn(self, act: Callable[[], T]) -> T:
        import ssl

        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                self._flush()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                raise
            except ssl.SSLError as error:
                raise ToldError(_tls_answer(error, self._first)) from None
            else:
                self._flush()
                return done
            part = super().receive(LONGEST_REPLY)
            if part:
                self._inward.write(part)
                self._first = (self._first + part)[:ENOUGH]
            else:
                self._inward.write_eof()

    def _flush(self) -> None:
        super().send(self._outward.read())


def _tls_answer(error: OSError, first: bytes) -> Answer:
    """Judge what OpenSSL found, by that and by the first bytes that came."""
    if first and recognise(first) != "TLS":
        name = recognise(first) or "an unknown protocol"
        return Answer("wrong_protocol", f"no TLS there: {name} answers")
    if not first:
        return Answer("closed", "it accepted, and hung up without a word of TLS")
    text = show(str(error).encode())
    if getattr(error, "reason", None) == "TLSV13_ALERT_CERTIFICATE_REQUIRED":
        return Answer("serves", f"asks for a certificate: {text}", True)
    return Answer("hopeless" if is_hopeless(error) else "not_ready", text)
