"""Does a server serve, as far as a first word can tell? The smallest handshake of each protocol, by hand.

What a reply means is decided without I/O, by one function a protocol; `shake` dials and talks. Nothing but an opening
is sent: no user's name, no password, no command that changes anything. A server that asks for a password serves.
Loaded when somebody waits or asks for a diagnosis, and not before.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from time import monotonic  # real time, also in a test with a fake clock: the server is real
from typing import Final, TypeAlias

from .._values import NamedTuple
from ..endpoint import DEFAULT_PORTS, Endpoint
from ._answer import LONGEST_REPLY, Answer, AnswerKind, recognise
from ._judges import amqp, anything, http, memcached, mqtt, mysql, nats, postgresql, redis
from ._wire import Connect, SecureWire, ToldError, Wire, dial, open_connection, round_trip

__all__ = [
    "HANDSHAKES",
    "LONGEST_REPLY",
    "PATIENCE",
    "Answer",
    "AnswerKind",
    "Handshake",
    "dial",
    "protocol_of",
    "recognise",
    "shake",
]

HOST: Final = b"{host}"

Judge: TypeAlias = Callable[[bytes, bool], Answer | None]
"""A reply so far, and whether that was all of it; None: it takes more to tell."""


class Handshake(NamedTuple):
    """How to ask a server of one protocol.

    Attributes:
        opening: what is sent first; `HOST` in it stands for host and port. Empty where the server speaks first.
        judge: what the reply means.
        farewell: what is sent at the end, to a server that let us in and would else log a broken connection.
        tls: it is spoken inside TLS.
        linger: seconds for which a server that has greeted may still say that it has no room; the judge waits for it.
        may_be_silent: a server that accepts and does not hang up serves, whether it speaks or not.
    """

    opening: bytes
    judge: Judge
    farewell: bytes = b""
    tls: bool = False
    linger: float | None = None
    may_be_silent: bool = False


_PG: Final = Handshake(b"\0\0\0\x18\0\3\0\0user\0resilient\0\0", postgresql)
_MY: Final = Handshake(b"", mysql)
_RE: Final = Handshake(b"*1\r\n$4\r\nPING\r\n", redis)
_AM: Final = Handshake(b"AMQP\0\0\x09\1", amqp)
_MQ: Final = Handshake(b"\x10\x0c\0\4MQTT\4\2\0\x3c\0\0", mqtt, farewell=b"\xe0\0")  # no client id, a clean session
_WEB: Final = Handshake(
    b"GET / HTTP/1.1\r\nHost: " + HOST + b"\r\nUser-Agent: resilient\r\nAccept: */*\r\nConnection: close\r\n\r\n", http
)

HANDSHAKES: Final[dict[str, Handshake]] = {
    **dict.fromkeys(("postgresql", "cockroachdb", "redshift"), _PG),
    **dict.fromkeys(("mysql", "mariadb"), _MY),
    **dict.fromkeys(("redis", "valkey"), _RE),
    **dict.fromkeys(("rediss", "valkeys"), _RE._replace(tls=True)),
    "amqp": _AM,
    "amqps": _AM._replace(tls=True),
    "nats": Handshake(b"", nats, linger=0.05),
    "memcached": Handshake(b"version\r\n", memcached),
    "mqtt": _MQ,
    "mqtts": _MQ._replace(tls=True),
    **dict.fromkeys(("http", "ws"), _WEB),
    **dict.fromkeys(("https", "wss"), _WEB._replace(tls=True)),
    "tcp": Handshake(b"", anything, may_be_silent=True),
}
"""By an endpoint's scheme; a scheme that is missing here is asked like "tcp"."""

PATIENCE: Final = 0.25
"""Seconds of silence at most after which a server that may be silent is taken to serve.

A proxy with nothing behind it, such as a published port of a container, accepts and hangs up. One on this machine did
so within 10 ms (99 of 100; in Go 3 ms), and within 50 ms where four others wanted each processor. See `_patience`.
"""

_QUICK: Final = 0.01
_ROUND_TRIPS: Final = 20
_UNKNOWN: Final = 0.005
"""Seconds of a round trip, where nobody says."""


def shake(endpoint: Endpoint, *, timeout: float, connect: Connect = dial, patience: float | None = None) -> Answer:
    """Connect, exchange a first word, hang up.

    Args:
        endpoint: whom to ask; its scheme says how. Of unix sockets only PostgreSQL's shows by its name what it is.
        timeout: seconds for all of it, without the look-up of the name, which nothing can bound.
        connect: called with (host, port) and a number of seconds, as `socket.create_connection` is.
        patience: seconds of silence after which a server that may be silent is taken to serve. None: 10 ms and twenty
            times what a packet takes to it and back, `PATIENCE` at most, so that a wait ends soon after the port opens.

    Raises:
        OSError: the connect failed; the system's own error, as it came.
        ValueError: `timeout` is not above 0.
    """
    if not timeout > 0:
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout!r}")
    deadline = monotonic() + timeout
    handshake = HANDSHAKES.get(protocol_of(endpoint), HANDSHAKES["tcp"])
    try:
        connection = open_connection(endpoint, timeout, connect)
    except (ConnectionResetError, ConnectionAbortedError):  # accepted, and gone before the connect was through
        return Answer("closed", _HUNG_UP)
    with connection:
        try:
            if handshake.tls:
                wire: Wire = SecureWire(connection, deadline, _name_of(endpoint))
            elif handshake.may_be_silent:
                silence = _patience(connection) if patience is None else patience
                wire = Wire(connection, min(deadline, monotonic() + silence))
            else:
                wire = Wire(connection, deadline)
            return _talk(wire, handshake, handshake.opening.replace(HOST, _host_of(endpoint)))
        except ToldError as told:
            return told.answer
        except TimeoutError:  # in the middle of TLS's own handshake, or of the opening
            return Answer("silent", _SILENT)
        except ConnectionError:
            return Answer("closed", _HUNG_UP)


def _patience(connection: socket.socket) -> float:
    took = round_trip(connection)
    return min(PATIENCE, _QUICK + _ROUND_TRIPS * (_UNKNOWN if took is None else took))


def _talk(wire: Wire, handshake: Handshake, opening: bytes) -> Answer:
    with contextlib.suppress(ConnectionError):  # it may have said why
        wire.send(opening)
    said = b""
    kind: AnswerKind = "closed"
    while len(said) < LONGEST_REPLY:
        try:
            part = wire.receive(LONGEST_REPLY - len(said))
        except TimeoutError:
            kind = "silent"
            break
        except ConnectionError:
            break
        if not part:
            break
        said += part
        answer = handshake.judge(said, False)
        if answer is not None:
            let_in = answer.kind == "serves" and not answer.needs_password
            wire.part(handshake.farewell if let_in else b"")
            return answer
        if handshake.linger is not None and b"\n" in said:
            wire.deadline = min(wire.deadline, monotonic() + handshake.linger)
    answer = handshake.judge(said, True) if said else None
    if answer is not None:
        return answer
    if len(said) >= LONGEST_REPLY:
        return Answer("wrong_protocol", f"it said {LONGEST_REPLY} bytes, and no end of an answer")
    if kind == "silent" and handshake.may_be_silent:
        return Answer("serves", "accepts connections")
    if said:
        return Answer(kind, f"it {'hung up' if kind == 'closed' else 'fell silent'} in the middle of its answer")
    return Answer(kind, _HUNG_UP if kind == "closed" else _SILENT)


_HUNG_UP: Final = "it accepted, and hung up without a word"
_SILENT: Final = "it accepted, and said nothing in time"


def protocol_of(endpoint: Endpoint) -> str:
    """Return the scheme whose handshake an endpoint is asked by; of PostgreSQL's unix sockets the name shows it."""
    if endpoint.path is not None and endpoint.path.rpartition("/")[2].startswith(".s.PGSQL."):
        return "postgresql"
    return endpoint.scheme


def _name_of(endpoint: Endpoint) -> str:
    """Return the host as a certificate has it, which is without an IPv6 address's zone."""
    return (endpoint.host or "localhost").partition("%")[0]


def _host_of(endpoint: Endpoint) -> bytes:
    """Return the value of a header "Host" (RFC 9110, 7.2)."""
    host = _name_of(endpoint)
    text = host.encode("ascii" if host.isascii() else "idna")
    text = b"[%b]" % text if b":" in text else text
    port = endpoint.port
    return text if port is None or DEFAULT_PORTS.get(endpoint.scheme) == port else b"%b:%d" % (text, port)
