"""First words: what each protocol's reply means, whole and byte by byte, and who else it may be that answers."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from fake_servers import pg_error
from hypothesis import given
from hypothesis import strategies as st

from resilient._handshakes import HANDSHAKES, Answer, _answer, _judges, recognise

SCHEMES = ("postgresql", "mysql", "redis", "amqp", "nats", "memcached", "mqtt", "http")


def pg_auth(method: int, more: bytes = b"") -> bytes:
    return b"R" + struct.pack("!ii", 8 + len(more), method) + more


def packet(body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + b"\0" + body


def my_error(number: int, text: str, state: str = "") -> bytes:
    return packet(b"\xff" + struct.pack("<H", number) + (f"#{state}" if state else "").encode() + text.encode())


def frame(body: bytes) -> bytes:
    return b"\1\0\0" + struct.pack("!I", len(body)) + body + b"\xce"


def start(mechanisms: bytes) -> bytes:
    table = b"\x07productS\0\0\0\x08RabbitMQ"
    longs = [struct.pack("!I", len(text)) + text for text in (table, mechanisms, b"en_US")]
    return frame(b"\0\x0a\0\x0a\0\x09" + b"".join(longs))


def amqp_close(number: int, text: bytes) -> bytes:
    return frame(b"\0\x0a\0\x32" + struct.pack("!HB", number, len(text)) + text + b"\0\0\0\0")


def info(**fields: Any) -> bytes:
    return b"INFO " + json.dumps({"server_id": "N", "version": "2.10.1", **fields}).encode() + b" \r\n"


def http(status: str, body: str = "", *, length: bool = True) -> bytes:
    head = f"HTTP/1.1 {status}\r\nServer: x\r\n" + (f"Content-Length: {len(body)}\r\n" if length else "")
    return f"{head}\r\n{body}".encode()


GREETING = packet(b"\x0a8.0.40\0" + b"\7\0\0\0abcdefgh\0" + b"\xff" * 31)
NGINX = "<html><center>The plain HTTP request was sent to HTTPS port</center></html>"
GO = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"

# Scheme, reply, kind, whether it wants a password, part of the text.
REPLIES: tuple[tuple[str, bytes, str, bool, str], ...] = (
    ("postgresql", pg_auth(0) + b"S\0\0\0\x0aa\0b\0\0", "serves", False, "asks for no password"),
    ("postgresql", pg_auth(0) + pg_error("28000", 'role "resilient" does not exist'), "serves", False, "no password"),
    ("postgresql", pg_auth(0) + pg_error("53300", "remaining slots are reserved"), "not_ready", False, "(53300)"),
    ("postgresql", pg_auth(3), "serves", True, "asks for a password"),
    ("postgresql", pg_auth(5, b"salt"), "serves", True, "MD5"),
    ("postgresql", pg_auth(10, b"SCRAM-SHA-256\0\0"), "serves", True, "SASL"),
    ("postgresql", pg_auth(7), "serves", True, "method 7"),
    (
        "postgresql",
        pg_error("57P03", "the database system is starting up"),
        "not_ready",
        False,
        "is starting up (57P03)",
    ),
    ("postgresql", pg_error("57P01", "terminating connection"), "not_ready", False, "57P01"),
    ("postgresql", pg_error("53300", "sorry, too many clients already"), "not_ready", False, "sorry"),
    ("postgresql", pg_error("28P01", "password authentication failed"), "serves", True, "28P01"),
    ("postgresql", pg_error("28000", "no pg_hba.conf entry for host"), "serves", False, "FATAL: no pg_hba.conf"),
    ("postgresql", pg_error("3D000", 'database "resilient" does not exist'), "serves", False, "3D000"),
    ("postgresql", pg_error("0A000", "unsupported frontend protocol"), "hopeless", False, "unsupported"),
    ("postgresql", b"Ecould not fork new process: no memory\n\0", "not_ready", False, "could not fork"),
    ("postgresql", b"E\0\0\0\x09S\0\0\0\0", "serves", False, "?"),
    ("mysql", GREETING, "serves", False, "8.0.40"),
    ("mysql", packet(b"\x0a5.5.5-10.11.6-MariaDB\0" + b"\0" * 40), "serves", False, "10.11.6-MariaDB"),
    ("mysql", my_error(1040, "Too many connections", "08004"), "not_ready", False, "1040: Too many connections"),
    ("mysql", my_error(1053, "Server shutdown in progress"), "not_ready", False, "1053"),
    ("mysql", my_error(1130, "Host 'x' is not allowed to connect"), "hopeless", False, "1130: Host"),
    ("mysql", my_error(1129, "Host 'x' is blocked"), "hopeless", False, "blocked"),
    ("redis", b"+PONG\r\n", "serves", False, "PONG"),
    ("redis", b"-NOAUTH Authentication required.\r\n", "serves", True, "NOAUTH"),
    ("redis", b"-ERR operation not permitted\r\n", "serves", True, "not permitted"),
    ("redis", b"-NOPERM this user has no permissions\r\n", "serves", False, "NOPERM"),
    ("redis", b"-LOADING Redis is loading the dataset in memory\r\n", "not_ready", False, "LOADING"),
    ("redis", b"-MASTERDOWN Link with MASTER is down\r\n", "not_ready", False, "MASTERDOWN"),
    ("redis", b"-BUSY Redis is busy running a script.\r\n", "not_ready", False, "BUSY"),
    ("redis", b"-ERR max number of clients reached\r\n", "not_ready", False, "max number"),
    ("redis", b"-DENIED Redis is running in protected mode\r\n", "hopeless", False, "DENIED"),
    ("amqp", start(b"PLAIN AMQPLAIN"), "serves", True, "AMQP 0-9"),
    ("amqp", start(b"PLAIN ANONYMOUS"), "serves", False, "AMQP 0-9"),
    ("amqp", b"AMQP\x03\x01\0\0", "serves", True, "AMQP 1.0.0"),
    ("amqp", amqp_close(320, b"CONNECTION_FORCED"), "not_ready", False, "320: CONNECTION_FORCED"),
    ("amqp", amqp_close(530, b"NOT_ALLOWED"), "hopeless", False, "530"),
    ("nats", info(), "serves", False, "NATS 2.10.1"),
    ("nats", info(auth_required=True), "serves", True, "NATS 2.10.1"),
    ("nats", info(ldm=True), "not_ready", False, "lame duck"),
    ("nats", b"-ERR 'maximum connections exceeded'\r\n", "not_ready", False, "maximum connections"),
    ("nats", info() + b"-ERR 'maximum connections exceeded'\r\n", "not_ready", False, "maximum connections"),
    ("nats", info() + b"PING\r\n", "serves", False, "NATS 2.10.1"),
    ("nats", b"INFO {nonsense\r\n", "wrong_protocol", False, "unreadable"),
    ("nats", b"INFO " + b"[" * 50_000 + b"\r\n", "wrong_protocol", False, "unreadable"),
    ("memcached", b"VERSION 1.6.18\r\n", "serves", False, "VERSION 1.6.18"),
    ("memcached", b"ERROR\r\n", "serves", False, "ERROR"),
    ("memcached", b"CLIENT_ERROR unauthenticated\r\n", "serves", True, "unauthenticated"),
    ("memcached", b"ERROR Too many open connections\r\n", "not_ready", False, "Too many"),
    ("memcached", b"SERVER_ERROR out of memory\r\n", "not_ready", False, "out of memory"),
    ("mqtt", b"\x20\x02\0\0", "serves", False, "accepts"),
    ("mqtt", b"\x20\x02\0\1", "serves", False, "CONNACK 1"),
    ("mqtt", b"\x20\x02\0\3", "not_ready", False, "unavailable"),
    ("mqtt", b"\x20\x02\0\4", "serves", True, "CONNACK 4"),
    ("mqtt", b"\x20\x02\0\5", "serves", True, "CONNACK 5"),
    ("mqtt", b"\x20\x03\0\x84\0", "serves", False, "CONNACK 132"),
    ("mqtt", b"\x20\x03\0\x89\0", "not_ready", False, "CONNACK 137"),
    ("http", http("200 OK"), "serves", False, "HTTP/1.1 200 OK"),
    ("http", b"HTTP/1.1 204\r\n\r\n", "serves", False, "204"),
    ("http", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + http("200 OK"), "serves", False, "200 OK"),
    ("http", http("404 Not Found"), "serves", False, "404"),
    ("http", http("500 Internal Server Error"), "serves", False, "500"),
    ("http", http("401 Unauthorized"), "serves", True, "401"),
    ("http", http("407 Proxy Authentication Required"), "serves", True, "407"),
    ("http", http("502 Bad Gateway"), "not_ready", False, "502"),
    ("http", http("503 Service Unavailable"), "not_ready", False, "503"),
    ("http", http("400 Bad Request", "no"), "serves", False, "400"),
    ("http", http("400 Bad Request", NGINX), "wrong_protocol", False, "TLS is expected there"),
    (
        "http",
        http("400 Bad Request", f"{len(NGINX):x}\r\n{NGINX}\r\n0\r\n\r\n", length=False),
        "wrong_protocol",
        False,
        "TLS",
    ),
    ("http", GO, "wrong_protocol", False, "TLS is expected there"),
    ("http", b"HTTP/1.1 nonsense\r\n\r\n", "wrong_protocol", False, "unreadable"),
)

STRANGERS: tuple[tuple[str, bytes], ...] = (
    ("HTTP", http("400 Bad Request")),
    ("HTTP", b"<!DOCTYPE HTML>\n<html lang=en>\n"),
    ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("TLS", b"\x15\x03\x03\0\x02\x02\x28"),
    ("AMQP", b"AMQP\0\0\x09\1"),
    ("AMQP", start(b"PLAIN")),
    ("MySQL", GREETING),
    ("MySQL", my_error(1040, "Too many connections")),
    ("PostgreSQL", pg_error("08P01", "invalid length")),
    ("NATS", info()),
    ("MQTT", b"\x20\x02\0\1"),
    ("Redis", b"-ERR unknown command 'version', with args beginning with: \r\n"),
    ("memcached", b"ERROR\r\n"),
    ("SMTP or FTP", b"220 mail ESMTP\r\n"),
    ("IMAP", b"* OK ready\r\n"),
    ("POP3", b"+OK ready\r\n"),
    ("STOMP", b"ERROR\nmessage:x\n\n\0"),
    ("VNC", b"RFB 003.008\n"),
    ("HTTP/2", b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x64\0\4\0\x10\0\0\0\6\0\0\x40\0"),
)


def judge_in_pieces(scheme: str, said: bytes) -> Answer | None:
    """The answer of the shortest beginning that makes one, as of a reply that comes byte by byte."""
    judge = HANDSHAKES[scheme].judge
    answers = (judge(said[:end], False) for end in range(1, len(said) + 1))
    return next((answer for answer in answers if answer is not None), None) or judge(said, True)


# What a reply means.


def test_the_judges_have_nothing_to_do_it_with() -> None:
    for room in (_answer, _judges):
        assert not {"socket", "ssl", "time", "monotonic", "threading", "logging"} & vars(room).keys()


@pytest.mark.parametrize(("scheme", "said", "kind", "needs_password", "text"), REPLIES)
def test_a_reply_means_what_its_protocol_says(
    scheme: str, said: bytes, kind: str, needs_password: bool, text: str
) -> None:
    answer = HANDSHAKES[scheme].judge(said, True)
    assert answer is not None
    assert (answer.kind, answer.needs_password) == (kind, needs_password)
    assert text in answer.text


@pytest.mark.parametrize(("scheme", "said"), [reply[:2] for reply in REPLIES if len(reply[1]) < 5_000])
def test_a_reply_means_the_same_byte_by_byte(scheme: str, said: bytes) -> None:
    assert judge_in_pieces(scheme, said) == HANDSHAKES[scheme].judge(said, True)


@pytest.mark.parametrize(
    ("scheme", "said", "kind"),
    [
        *((scheme, b"hm", "wrong_protocol") for scheme in SCHEMES),
        ("tcp", b"hm", "serves"),
        *((scheme, b"SSH-2.0-unfinished", "wrong_protocol") for scheme in SCHEMES),
        ("tcp", b"SSH-2.0-unfinished", "serves"),
        ("postgresql", b"Ecould not fork", "not_ready"),
        ("postgresql", pg_auth(0), "serves"),
        ("postgresql", pg_auth(0) + b"E\0\0", "serves"),
        ("postgresql", pg_auth(0)[:8], None),
        ("postgresql", pg_error("57P03", "starting")[:-1], None),
        ("mysql", GREETING[:-1], None),
        ("redis", b"+PONG\r", None),
        ("amqp", b"AMQP\0\0\x09", None),
        ("amqp", start(b"PLAIN")[:-1], None),
        ("amqp", start(b"PLAIN")[:10], None),
        ("nats", info()[:-1], None),
        ("nats", info(), "serves"),
        ("nats", info() + b"-ERR 'maximum", "not_ready"),
        ("memcached", b"VERSION 1.6", None),
        ("mqtt", b"\x20\x02\0", None),
        ("mqtt", b"\x20\x05\0\0\0\0", None),
        ("http", b"HTTP/1.1 200 OK\r", None),
        ("http", b"HTTP/1.1 103 Early Hints\r\n\r\n", None),
        ("http", http("400 Bad Request", "x" * 9)[:-1], "serves"),
        ("http", http("400 Bad Request", length=False), "serves"),
    ],
)
def test_what_is_not_finished_is_judged_when_it_ends(scheme: str, said: bytes, kind: str | None) -> None:
    """And not before. None: it is half of an answer, and so there is none."""
    judge = HANDSHAKES[scheme].judge
    assert judge(said, False) is None
    answer = judge(said, True)
    assert (answer and answer.kind) == kind


@pytest.mark.parametrize(
    ("scheme", "said", "kind"),
    [
        ("postgresql", b"E\0\0\0\x07" + b"h" * 70, "wrong_protocol"),
        ("postgresql", b"E\0\0\0\x08" + b"h" * 70, "serves"),
        ("postgresql", b"R\0\0\0\x07" + b"h" * 70, "wrong_protocol"),
        ("postgresql", b"E\0\0\x75\x30" + b"h" * 70, None),
        ("postgresql", b"E\0\0\x75\x31" + b"h" * 70, "wrong_protocol"),
        ("mysql", b"\x02\0\0\0\xff" + b"h" * 70, "wrong_protocol"),
        ("mysql", b"\x03\0\0\0\xff" + b"h" * 70, "not_ready"),
        ("mysql", b"\0\x10\0\0\x0a" + b"h" * 70, None),
        ("mysql", b"\x01\x10\0\0\x0a" + b"h" * 70, "wrong_protocol"),
        ("redis", b"-ERR 'Unknown Protocol Operation'\r\n", "wrong_protocol"),
        ("redis", b"+OK\r\n", "wrong_protocol"),
        ("redis", b"-nonsense\r\n", "wrong_protocol"),
        ("amqp", b"\1\0\0\0\0\xff\xf8\0\x0a\0\x0a", None),
        ("amqp", b"\1\0\0\0\0\xff\xf9\0\x0a\0\x0a", "wrong_protocol"),
        ("amqp", b"\1\0\0\0\0\0\x10\0\x0a\0\x0b", "wrong_protocol"),
        ("amqp", b"\1\0\0\0\0\0\6\0\x0a\0\x0a" + b"h" * 70, "wrong_protocol"),
        ("amqp", b"\1\0\0\0\0\0\7\0\x0a\0\x0a" + b"h" * 4, "serves"),
        ("amqp", b"\1\0\0\0\0\0\7\0\x0a\0\x32" + b"h" * 4, "hopeless"),
        ("nats", b"INFO\r\n", None),
        ("nats", b"INFO \r\n", "wrong_protocol"),
        ("nats", b"-ERR \r\n", "wrong_protocol"),
        ("nats", b"INFO []\r\n", "wrong_protocol"),
        ("mqtt", b"\x20\x01\0\0" + b"h" * 70, "wrong_protocol"),
        ("mqtt", b"\x20\x7f\0\0" + b"h" * 70, None),
        ("mqtt", b"\x20\x80\0\0" + b"h" * 70, "wrong_protocol"),
        ("mqtt", b"\x20\x02\1\0", "serves"),
        ("mqtt", b"\x20\x02\2\0" + b"h" * 70, "wrong_protocol"),
        ("http", b"HTTP/2 200\n", "serves"),
        ("http", b"HTTP/1.1 2000 OK\n", "wrong_protocol"),
    ],
)
def test_a_reply_keeps_within_its_protocols_bounds(scheme: str, said: bytes, kind: str | None) -> None:
    answer = HANDSHAKES[scheme].judge(said, False)
    assert (answer and answer.kind) == kind


@pytest.mark.parametrize(
    ("said", "enough"),
    [
        (http("400 Bad Request", "x" * 9), True),
        (http("400 Bad Request", "x" * 4_096, length=False), True),
        (http("400 Bad Request", "x" * 4_095, length=False), False),
        (http("400 Bad Request", "x" * 9_999)[:5_000], True),
        (http("400 Bad Request", "0\r\n\r\n", length=False), True),
        (http("400 Bad Request", "1\r\nx\r\n0\r\n\r\n", length=False), True),
    ],
)
def test_the_reason_of_a_bad_request_is_waited_for(said: bytes, enough: bool) -> None:
    assert (HANDSHAKES["http"].judge(said, False) is not None) == enough


def test_a_stranger_that_nobody_knows_is_not_waited_for_long() -> None:
    for scheme in SCHEMES:
        judge = HANDSHAKES[scheme].judge
        assert judge(b"h" * 63, False) is None
        answer = judge(b"h" * 64, False)
        assert answer is not None
        assert (answer.kind, answer.text) == ("wrong_protocol", f"an unknown protocol answers there: {'h' * 64}")
        assert judge(b"SSH-2." + b"0" * 505, False) is None
        assert judge(b"SSH-2." + b"0" * 506, False) is not None


@pytest.mark.parametrize(("name", "said"), STRANGERS)
def test_a_protocol_is_recognised_by_its_first_bytes(name: str, said: bytes) -> None:
    assert recognise(said) == name


@pytest.mark.parametrize(
    ("scheme", "name", "said"),
    [(scheme, name, said) for scheme in SCHEMES for name, said in STRANGERS if name.lower() != scheme],
)
def test_a_server_of_another_protocol_is_named(scheme: str, name: str, said: bytes) -> None:
    answer = judge_in_pieces(scheme, said)
    assert answer is not None
    assert (answer.kind, answer.needs_password) == ("wrong_protocol", False)
    assert name in answer.text


@given(st.sampled_from(SCHEMES), st.binary(min_size=1, max_size=200))
def test_junk_is_judged_without_an_error_and_alike_in_pieces(scheme: str, junk: bytes) -> None:
    whole = HANDSHAKES[scheme].judge(junk, True)
    pieces = judge_in_pieces(scheme, junk)
    assert (whole and whole.kind) == (pieces and pieces.kind)
    if whole is not None:
        assert whole.text.isprintable()
        assert len(whole.text) < 300


@given(st.sampled_from([reply[:2] for reply in REPLIES if len(reply[1]) < 5_000]), st.data())
def test_a_spoilt_reply_is_judged_without_an_error_and_alike_in_pieces(
    reply: tuple[str, bytes], data: st.DataObject
) -> None:
    scheme, said = reply
    place = data.draw(st.integers(0, len(said) - 1))
    spoilt = said[:place] + data.draw(st.binary(max_size=6)) + said[place + data.draw(st.integers(0, 4)) :]
    whole = HANDSHAKES[scheme].judge(spoilt, True) if spoilt else None
    pieces = judge_in_pieces(scheme, spoilt) if spoilt else None
    assert (whole and whole.kind) == (pieces and pieces.kind)


def test_what_a_server_says_is_shown_without_secrets_and_on_one_line() -> None:
    answer = HANDSHAKES["postgresql"].judge(pg_error("57P03", "see postgresql://me:s3cret@db\nforged"), True)
    assert answer is not None
    assert "s3cret" not in answer.text
    assert "\n" not in answer.text
    for scheme, said in (("redis", b"-ERR password=s3cret\r\n"), ("nats", info(version="token=s3cret"))):
        answer = HANDSHAKES[scheme].judge(said, True)
        assert answer is not None
        assert "s3cret" not in answer.text
