"""What became of a handshake, and who it is that answers: read from the first bytes of a reply.

Pure: bytes in, a value out.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

from .._scrub import scrub
from .._values import NamedTuple

LONGEST_REPLY: Final = 65_536
"""Bytes of a reply that are read. NATS's greeting, the longest of all, names every server of a cluster."""

_LONGEST_LINE: Final = 512
ENOUGH: Final = 64
"""Bytes after which a reply that nobody knows is not waited for any more."""

AnswerKind: TypeAlias = Literal["serves", "not_ready", "hopeless", "wrong_protocol", "closed", "silent"]


class Answer(NamedTuple):
    """What became of a handshake.

    Attributes:
        kind: "serves"; "not_ready": it says so, and waiting may help; "hopeless": it says what waiting cannot mend;
            "wrong_protocol": something else answers there; "closed": it hung up before there was an answer;
            "silent": it accepted, and gave no whole answer in time.
        text: what the server said, or what was found, fit to show.
        needs_password: it says that it wants to know who calls. False where it does not say.
    """

    kind: AnswerKind
    text: str
    needs_password: bool = False


def show(said: bytes) -> str:
    """Return what was said as text, without secrets, on one line, 200 characters at most."""
    return scrub(said[:_LONGEST_LINE].decode("utf-8", "replace").strip())


def line_of(said: bytes) -> bytes | None:
    """Return the first line, None while it is not complete."""
    line, end, _ = said.partition(b"\n")
    return line.rstrip(b"\r") if end else None


def unreadable(said: bytes) -> Answer:
    """Judge a reply that begins as the protocol's own and goes on otherwise."""
    return Answer("wrong_protocol", f"an unreadable answer: {show(said)}")


# Who else it may be.

_NAMED: Final = (
    (b"H<", rb"HTTP/\d|(?i:<!doctype html|<html)", "HTTP"),  # without a status line, to a request that names no version
    (b"S", rb"SSH-\d", "SSH"),
    (b"\x15\x16", rb".\x03[\x00-\x04]..", "TLS"),  # RFC 8446, 5.1: an alert or a handshake, and its legacy version
    (b"A", rb"AMQP[\0-\x09]", "AMQP"),
    (b"\1", rb".\0\0....\0\x0a\0\x0a", "AMQP"),
    (b"", rb"...\0(?:[\x09\x0a][\x20-\x7e]|\xff..)", "MySQL"),
    (b"RE", rb"R\0\0\0.\0\0\0|E\0\0..S[A-Z]", "PostgreSQL"),
    (b"I-", rb"INFO \{|-ERR '", "NATS"),
    (b" ", rb".[\x02-\x7f][\0\x01].", "MQTT"),
    (b"+-", rb"\+PONG\r|-(?:ERR|NOAUTH|LOADING|DENIED|MASTERDOWN|BUSY|NOPERM|MISCONF) ", "Redis"),
    (b"VCSE", rb"VERSION \d|(?:CLIENT_|SERVER_)?ERROR[ \r]", "memcached"),
    (b"E", rb"ERROR\n", "STOMP"),
    (b"245", rb"(?:220|421|554)[ -]", "SMTP or FTP"),
    (b"*", rb"\* (?:OK|PREAUTH|BYE) ", "IMAP"),
    (b"+", rb"\+OK ", "POP3"),
    (b"R", rb"RFB \d", "VNC"),
    (b"\0", rb"\0\0.\x04\0\0\0\0\0", "HTTP/2"),  # RFC 9113, 3.4: a server begins with SETTINGS
)
"""First bytes that it may begin with (none: any), pattern, name. A pattern that no byte calls for is never compiled."""
_WORDS: Final = frozenset({"HTTP", "SSH", "Redis", "memcached", "SMTP or FTP", "IMAP", "POP3", "VNC"})


def recognise(said: bytes) -> str | None:
    """Return the name of the protocol that these first bytes belong to, or None."""
    first = said[:1]
    fitting = ((pattern, name) for firsts, pattern, name in _NAMED if not firsts or first in firsts)
    return next((name for pattern, name in fitting if re.match(pattern, said, re.DOTALL)), None)


def stranger(said: bytes, ended: bool) -> Answer | None:
    """Judge a reply that is not the protocol's own."""
    name = recognise(said)
    if name is None:
        if len(said) < ENOUGH and not ended:
            return None
        return Answer("wrong_protocol", f"an unknown protocol answers there: {show(said[:ENOUGH])}")
    if name == "TLS":
        return Answer("wrong_protocol", "TLS is expected there")
    if name not in _WORDS:
        return Answer("wrong_protocol", f"{name} answers there")
    if b"\n" not in said and not ended and len(said) < _LONGEST_LINE:
        return None
    first = show(said.partition(b"\n")[0])
    return Answer("wrong_protocol", f"{name} answers there: {first}")
