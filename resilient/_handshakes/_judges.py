"""What a server's reply to the first word means: one function a protocol.

Pure: the reply so far, and whether that was all of it, make an `Answer`, or None: it takes more to tell.
Sources are named in each; the texts of errors were read in the servers' own sources.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ..signatures._libpq import NOT_READY_STATES
from ..signatures.pymysql import HOPELESS
from ._answer import LONGEST_REPLY, Answer, line_of, show, stranger, unreadable


def postgresql(said: bytes, ended: bool) -> Answer | None:
    """PostgreSQL manual, 54.2.1 "Start-up" and 54.8 "Error and Notice Message Fields".

    The user in the opening is made up, so what the server says of it, or of a database of that name, is no bad news.
    """
    size = int.from_bytes(said[1:5], "big")
    if said.startswith(b"Ecould not fork"):  # postmaster.c, without a length, where the machine has no room left
        return Answer("not_ready", show(said[1:].partition(b"\0")[0])) if ended or b"\0" in said else None
    if said[:1] not in (b"R", b"E") or (len(said) >= 5 and not 8 <= size <= 30_000):  # libpq's own bounds
        return stranger(said, ended)
    if len(said) < 5 or len(said) <= size:
        return None
    if said[:1] == b"R":
        method = int.from_bytes(said[5:9], "big")
        if method == 0:
            return _let_in(said[1 + size :], ended)
        return Answer("serves", _PG_METHODS.get(method, f"asks who calls, by method {method}"), True)
    fields = {field[:1]: field[1:] for field in said[5 : 1 + size].split(b"\0") if field}
    state = fields.get(b"C", b"").decode("ascii", "replace")
    text = show(b"%b: %b (%b)" % tuple(fields.get(key, b"?") for key in (b"S", b"M", b"C")))
    if state in _PG_NOT_READY or state.startswith("53"):  # 53: insufficient resources, such as too many connections
        return Answer("not_ready", text)
    return Answer("hopeless" if state == "0A000" else "serves", text, state == "28P01")


def _let_in(after: bytes, ended: bool) -> Answer | None:
    """Whether there is room for one more client, PostgreSQL says only after it has asked for no password."""
    found = postgresql(after, ended) if after[:1] == b"E" else None
    if found is None and not ended and after[:1] in (b"", b"E"):
        return None
    return found if found is not None and found.kind == "not_ready" else Answer("serves", "asks for no password")


_PG_NOT_READY: Final = NOT_READY_STATES | {"57P01", "57P02"}  # shut down by its administrator, after a crash
_PG_METHODS: Final = {3: "asks for a password", 5: "asks for a password (MD5)", 10: "asks for a password (SASL)"}


def mysql(said: bytes, ended: bool) -> Answer | None:
    """MySQL Internals, "Protocol::Handshake" and "ERR_Packet".

    Hanging up after the greeting counts as one aborted connect; after `max_connect_errors` (100) of them, without a
    login in between, a server that looks names up blocks the host. An error instead of the greeting does not count.
    """
    if len(said) < 5:
        return stranger(said, ended) if ended else None
    size = int.from_bytes(said[:3], "little")
    if said[3] != 0 or said[4] not in (9, 10, 255) or not 3 <= size <= 4_096:
        return stranger(said, ended)
    if len(said) < 4 + size:
        return None
    body = said[5 : 4 + size]
    if said[4] != 255:
        version = body.partition(b"\0")[0]
        # MariaDB puts a version before its own that old replicas can read.
        return Answer("serves", show(version[6:] if version.startswith(b"5.5.5-") else version))
    number = int.from_bytes(body[:2], "little")
    text = body[8:] if body[2:3] == b"#" else body[2:]
    hopeless = number in HOPELESS or number == _HOST_IS_BLOCKED
    return Answer("hopeless" if hopeless else "not_ready", show(b"%d: %b" % (number, text)))


_HOST_IS_BLOCKED: Final = 1129


def redis(said: bytes, ended: bool) -> Answer | None:
    """Redis serialization protocol specification, "Simple strings", "Simple errors"; server.c of Redis and Valkey."""
    if said[:1] not in (b"+", b"-"):
        return stranger(said, ended)
    line = line_of(said)
    if line is None:
        return None
    if line == b"+PONG":
        return Answer("serves", "PONG")
    found = re.match(rb"-([A-Z]+)(?: |$)", line)
    if found is None or line.startswith(b"-ERR '"):
        return stranger(said, True)
    text = show(line[1:])
    if found[1] == b"NOAUTH" or line.startswith(b"-ERR operation not permitted"):  # the second before version 2.8
        return Answer("serves", text, True)
    if found[1] in _REDIS_NOT_READY or line.startswith(b"-ERR max number of clients"):
        return Answer("not_ready", text)
    return Answer("hopeless" if found[1] == b"DENIED" else "serves", text)  # protected mode; else no word about PING


_REDIS_NOT_READY: Final = frozenset({b"LOADING", b"MASTERDOWN", b"BUSY", b"MISCONF", b"CLUSTERDOWN", b"TRYAGAIN"})


def amqp(said: bytes, ended: bool) -> Answer | None:
    """AMQP 0-9-1 specification, 2.2.4 "Protocol negotiation", 2.3.5 "Frames", 1.4.2.1 "connection.start"."""
    if b"AMQP".startswith(said[:4]):
        if len(said) < 8:
            return None
        version = ".".join(str(number) for number in said[5:8])  # the one that it would speak instead
        return Answer("serves", f"speaks AMQP {version}", said[4] == 3)  # 3: AMQP 1.0, 5.3, its SASL layer
    if not b"\1\0\0".startswith(said[:3]):
        return stranger(said, ended)
    end = 7 + int.from_bytes(said[3:7], "big")
    if len(said) >= 11 and (not 14 <= end < LONGEST_REPLY or said[7:11] not in (_START, _CLOSE)):
        return unreadable(said[:11])
    if len(said) < 11 or len(said) <= end:
        return None
    if said[7:11] == _START:
        at = 17 + int.from_bytes(said[13:17], "big")  # past the version and the server's properties
        mechanisms = said[at + 4 : at + 4 + int.from_bytes(said[at : at + 4], "big")].split()
        return Answer("serves", f"AMQP {said[11]}-{said[12]}", b"ANONYMOUS" not in mechanisms)
    number = int.from_bytes(said[11:13], "big")
    text = show(b"%d: %b" % (number, said[14 : 14 + said[13]]))
    return Answer("not_ready" if number in _AMQP_NOT_READY else "hopeless", text)


_START: Final = b"\0\x0a\0\x0a"
_CLOSE: Final = b"\0\x0a\0\x32"
_AMQP_NOT_READY: Final = frozenset({320, 506, 541})  # connection forced, resource error, internal error


def nats(said: bytes, ended: bool) -> Answer | None:
    """NATS client protocol, "INFO" and "-ERR"; the server speaks first."""
    if not b"INFO ".startswith(said[:5]) and not b"-ERR '".startswith(said[:6]):
        return stranger(said, ended)
    line = line_of(said)
    if line is None:
        return None
    if line[:1] == b"-":
        return Answer("not_ready", show(line))  # before the client's first word: no room for it
    from json import loads

    try:
        information: Any = loads(line[5:])
    except (ValueError, RecursionError):
        information = None
    if not isinstance(information, dict):
        return unreadable(line)
    text = show(f"NATS {information.get('version', '?')}".encode("utf-8", "replace"))
    if information.get("ldm") is True:
        return Answer("not_ready", f"{text}, which is about to shut down (lame duck mode)")
    after = said.partition(b"\n")[2]
    if after[:1] == b"-" and (line_of(after) or ended):  # it greets even those for whom it has no room
        return Answer("not_ready", show(after))
    if not ended and after[:1] in (b"", b"-"):
        return None
    return Answer("serves", text, information.get("auth_required") is True)


def memcached(said: bytes, ended: bool) -> Answer | None:
    """memcached's doc/protocol.txt, "Error strings" and "version"; memcached.c for "Too many open connections"."""
    if not any(word.startswith(said[: len(word)]) for word in _MEMCACHED_WORDS):
        return stranger(said, ended)
    line = line_of(said)
    if line is None:
        return None
    if b"unauthenticated" in line:
        return Answer("serves", show(line), True)
    return Answer("not_ready" if line.startswith((b"ERROR ", b"SERVER_ERROR")) else "serves", show(line))


_MEMCACHED_WORDS: Final = (b"VERSION ", b"ERROR\r", b"ERROR ", b"CLIENT_ERROR", b"SERVER_ERROR")


def mqtt(said: bytes, ended: bool) -> Answer | None:
    """MQTT 3.1.1, 3.2 "CONNACK"; and MQTT 5, 3.2.2.2, with which a server may answer that knows no other."""
    if said[0] != 0x20 or (len(said) > 1 and not 2 <= said[1] < 0x80) or (len(said) > 2 and said[2] > 1):
        return stranger(said, ended)
    if len(said) < 4 or len(said) < 2 + said[1]:
        return None
    code = said[3]
    if code in (0x03, 0x88, 0x89, 0x97, 0x9F):
        return Answer("not_ready", f"is unavailable (CONNACK {code})")
    if code in (0x04, 0x05, 0x86, 0x87, 0x8C):
        return Answer("serves", f"asks who calls (CONNACK {code})", True)
    # Neither another version of the protocol nor another client's name is a reason to wait.
    return Answer("serves", "accepts the client" if code == 0 else f"answers (CONNACK {code})")


def http(said: bytes, ended: bool) -> Answer | None:
    """RFC 9112, 4 "Status Line"; RFC 9110, 15. Of a gateway, 502 to 504 say that what is behind it does not serve."""
    while True:
        if not b"HTTP/".startswith(said[:5]):
            return stranger(said, ended)
        found = re.match(rb"HTTP/\d(?:\.\d)? (\d{3})(?:[ \r][^\n]*)?\n", said)
        if found is None:
            line = line_of(said)
            return None if line is None else unreadable(line)
        status = int(found[1])
        if status >= 200:
            break
        said = said.partition(b"\r\n\r\n")[2]  # an interim answer; the real one follows
        if not said:
            return None
    text = show(found[0])
    if status == 400:
        body, is_whole = _body(said)
        if re.search(_TLS_WANTED, body):
            return Answer("wrong_protocol", f"TLS is expected there: {text}")
        if not ended and not is_whole:
            return None
    if status in (502, 503, 504):
        return Answer("not_ready", text)
    return Answer("serves", text, status in (401, 407))


_TLS_WANTED: Final = rb"HTTP request (?:was sent )?to (?:an )?HTTPS |speaking plain HTTP to an SSL-enabled server"
"""nginx and Go, then Apache, in the body of an answer 400."""

_LONGEST_BODY: Final = 4_096
"""Bytes in which these words are looked for."""


def _body(said: bytes) -> tuple[bytes, bool]:
    """Return as much of a body as is looked at, and whether all of that has come."""
    head, end, body = said.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\ncontent-length:[ \t]*(\d{1,9})", head)
    most = _LONGEST_BODY if length is None else min(int(length[1]), _LONGEST_BODY)
    last = said.find(b"\r\n0\r\n\r\n", len(head) + 2) - len(head) - 4  # the last chunk (RFC 9112, 7.1)
    if last >= -2:
        most = min(most, max(last, 0))
    return body[:most], bool(end) and len(body) >= most


def anything(said: bytes, ended: bool) -> Answer | None:
    """A plain connect: whoever accepts, and does not hang up at once, serves."""
    found = stranger(said, ended)
    return None if found is None else Answer("serves", found.text)
