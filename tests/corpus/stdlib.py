"""The standard library's own ways to connect, and those of what stands in for its asyncio and its sockets."""

from __future__ import annotations

import sys
from typing import Any

from clients import CLIENTS
from fake_servers import Handler, says

from .entry import NO_IPV6, Answer, Book, Client, Place
from .http import _response, _show_certificate


def _greets(*lines: bytes) -> Handler:
    """Say one line at once, and another one to each line that comes; the last one again and again."""

    def handler(connection: Any) -> None:
        told = list(lines)
        connection.sendall(told.pop(0))
        with connection.makefile("rb") as heard:
            for _ in heard:
                connection.sendall(told.pop(0) if len(told) > 1 else told[0] if told else lines[-1])

    return handler


def _imap(told: bytes) -> Handler:
    """Let nobody log in."""

    def handler(connection: Any) -> None:
        connection.sendall(b"* OK hello\r\n")
        with connection.makefile("rb") as heard:
            for line in heard:
                tag, command, *_ = [*line.split(), b""]
                words = told if command == b"LOGIN" else b"OK done"
                connection.sendall(b"* CAPABILITY IMAP4rev1\r\n" + tag + b" " + words + b"\r\n")

    return handler


def _turn_away(connection: Any) -> None:
    """Take the digest of no key, as multiprocessing does."""
    for words in (b"#CHALLENGE#" + bytes(20), b"#FAILURE#"):
        connection.sendall(len(words).to_bytes(4, "big") + words)
        connection.recv(65_536)


LIE = b"[Errno 111] Connection refused\r\n"

# It leaves the status to the caller.
PLAIN: dict[str, str | None] = {"python http.client HTTPConnection": None}

tcp = Book("tcp", entries=[Client(f"python {client.name}", "tcp", client.connect) for client in CLIENTS[:2]])
tls = Book(
    "tls",
    answers=[
        Answer("no TLS here", says(_response("400 Bad Request")), "hopeless"),
        Answer("a certificate of nobody known", _show_certificate, "hopeless"),
        Answer("an old TLS", says(b"\x15\x03\x01\0\x02\x02\x46"), "hopeless"),
        Answer("an internal error", says(b"\x15\x03\x03\0\x02\x02\x50"), None),
    ],
)
http = Book(
    "http",
    answers=[
        Answer("unavailable", says(_response("503 Service Unavailable")), "not_ready", PLAIN),
        Answer("who are you?", says(_response("401 Unauthorized")), "hopeless", PLAIN),
        Answer("a quoted refusal", says(_response("500 Connection refused", LIE)), None),
    ],
)
smtp = Book(
    "smtp",
    answers=[
        Answer("not available", _greets(b"421 things.example Service not available\r\n"), "not_ready"),
        Answer(
            "wrong password",
            _greets(b"220 hello\r\n", b"250-hello\r\n250 AUTH PLAIN\r\n", b"535 5.7.8 Credentials invalid\r\n"),
            "hopeless",
        ),
        Answer("a quoted refusal", _greets(b"554 " + LIE), None),
    ],
)
ftp = Book(
    "ftp",
    answers=[
        Answer("not available", _greets(b"421 Service not available, closing control connection\r\n"), "not_ready"),
        Answer(
            "wrong password", _greets(b"220 hello\r\n", b"331 password?\r\n", b"530 Login incorrect\r\n"), "hopeless"
        ),
        Answer("a quoted refusal", _greets(b"220 hello\r\n", b"425 " + LIE), None),
    ],
)
imap = Book(
    "imap",
    answers=[
        Answer("not available", _imap(b"NO [UNAVAILABLE] later"), "not_ready"),
        Answer("wrong password", _imap(b"NO [AUTHENTICATIONFAILED] no"), "hopeless"),
        Answer("a quoted refusal", _imap(b"NO " + LIE.strip()), None),
        Answer("good bye", says(b"* BYE " + LIE), None),
    ],
)
pop = Book(
    "pop3",
    answers=[
        Answer("not available", _greets(b"+OK hello\r\n", b"+OK\r\n", b"-ERR [SYS/TEMP] later\r\n"), "not_ready"),
        Answer("wrong password", _greets(b"+OK hello\r\n", b"+OK\r\n", b"-ERR [AUTH] no\r\n"), "hopeless"),
        Answer("a quoted refusal", _greets(b"-ERR " + LIE), None),
    ],
)
pipe = Book("multiprocessing", answers=[Answer("wrong key", _turn_away, "hopeless")])

BOOKS = (tcp, tls, http, smtp, ftp, imap, pop, pipe)


@tcp.entry("python socket connect")
def _(place: Place) -> None:
    import socket

    with socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET) as connection:
        connection.settimeout(place.timeout)
        connection.connect((place.host, place.port))
        connection.sendall(b"hello\n")
        if not connection.recv(1):
            raise EOFError("the server hung up")


@tcp.entry("python socket create_connection all_errors")
def _(place: Place) -> None:
    import socket

    more: dict[str, Any] = {"all_errors": True} if sys.version_info >= (3, 11) else {}
    with socket.create_connection((place.host, int(place.port)), place.timeout, **more) as connection:
        connection.sendall(b"hello\n")
        if not connection.recv(1):
            raise EOFError("the server hung up")


async def _open(place: Place, **settings: Any) -> None:
    import asyncio

    reader, writer = await asyncio.wait_for(
        asyncio.open_connection(place.host, int(place.port), **settings), place.timeout
    )
    try:
        writer.write(b"hello\n")
        await writer.drain()
        await asyncio.wait_for(reader.readexactly(1), place.timeout)
    finally:
        writer.transport.abort()


@tcp.entry("python asyncio happy_eyeballs_delay")
async def _(place: Place) -> None:
    await _open(place, happy_eyeballs_delay=0.1)


@tcp.entry("python asyncio all_errors")
async def _(place: Place) -> None:
    await _open(place, **({"all_errors": True} if sys.version_info >= (3, 12) else {}))


@tcp.entry("python asyncio sock_connect")
async def _(place: Place) -> None:
    import asyncio
    import socket

    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET) as connection:
        connection.setblocking(False)
        await asyncio.wait_for(loop.sock_connect(connection, (place.host, place.port)), place.timeout)
        await loop.sock_sendall(connection, b"hello\n")
        if not await asyncio.wait_for(loop.sock_recv(connection, 1), place.timeout):
            raise EOFError("the server hung up")


@tls.entry("python ssl wrap_socket")
def _(place: Place) -> None:
    import socket
    import ssl

    context = ssl.create_default_context()
    with (
        socket.create_connection((place.host, int(place.port)), place.timeout) as plain,
        context.wrap_socket(plain, server_hostname="localhost"),
    ):
        pass


@tls.entry("python asyncio ssl")
async def _(place: Place) -> None:
    await _open(place, ssl=True, server_hostname="localhost", ssl_handshake_timeout=place.timeout)


@tls.entry("python http.client HTTPSConnection")
def _(place: Place) -> None:
    from http.client import HTTPSConnection

    connection = HTTPSConnection(place.host, int(place.port), timeout=place.timeout)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    finally:
        connection.close()


@tls.entry("python urllib.request https")
def _(place: Place) -> None:
    from urllib.request import urlopen

    urlopen(f"https://{place.netloc}/", timeout=place.timeout).close()


@tls.entry("python smtplib SMTP_SSL")
def _(place: Place) -> None:
    import ssl
    from smtplib import SMTP_SSL

    SMTP_SSL(place.host, int(place.port), timeout=place.timeout, context=ssl.create_default_context()).close()


@http.entry("python urllib.request")
def _(place: Place) -> None:
    from urllib.request import urlopen

    urlopen(f"http://{place.netloc}/", timeout=place.timeout).close()


@http.entry("python urllib.request proxy")
def _(place: Place) -> None:
    from urllib.request import ProxyHandler, build_opener

    opener = build_opener(ProxyHandler({"http": f"http://{place.netloc}"}))
    opener.open("http://things.invalid/", timeout=place.timeout).close()


@http.entry("python xmlrpc.client")
def _(place: Place) -> None:
    from xmlrpc.client import ServerProxy, Transport

    class Timely(Transport):
        def make_connection(self, host: Any) -> Any:
            connection = super().make_connection(host)
            connection.timeout = place.timeout
            return connection

    with ServerProxy(f"http://{place.netloc}/", transport=Timely()) as server:
        server.system.listMethods()


@http.entry("python http.client HTTPConnection")
def _(place: Place) -> None:
    from http.client import HTTPConnection

    connection = HTTPConnection(place.host, int(place.port), timeout=place.timeout)
    try:
        connection.request("POST", "/", b"words")
        found = connection.getresponse()
    finally:
        connection.close()
    raise ValueError(f"status {found.status}")


@smtp.entry("python smtplib SMTP")
def _(place: Place) -> None:
    from smtplib import SMTP

    mail = SMTP(place.host, int(place.port), "here.example", place.timeout)
    try:
        mail.login("someone", "pass")
    finally:
        mail.close()


@ftp.entry("python ftplib FTP")
def _(place: Place) -> None:
    from ftplib import FTP

    with FTP(timeout=place.timeout) as files:
        files.connect(place.host, int(place.port))
        files.login("someone", "pass")


@ftp.entry("python urllib.request ftp", **NO_IPV6)
def _(place: Place) -> None:
    from urllib.request import urlopen

    urlopen(f"ftp://someone:pass@{place.netloc}/", timeout=place.timeout).close()


@imap.entry("python imaplib IMAP4")
def _(place: Place) -> None:
    from imaplib import IMAP4

    mail = IMAP4(place.host, int(place.port), place.timeout)
    try:
        mail.login("someone", "pass")
    finally:
        mail.shutdown()


@pop.entry("python poplib POP3")
def _(place: Place) -> None:
    from poplib import POP3

    mail = POP3(place.host, int(place.port), timeout=place.timeout)
    try:
        mail.user("someone")
        mail.pass_("pass")
    finally:
        mail.close()


@tcp.entry("python telnetlib Telnet")
def _(place: Place) -> None:
    from telnetlib import Telnet  # until 3.12

    with Telnet(place.host, int(place.port), place.timeout) as connection:
        connection.write(b"hello\n")
        if not connection.read_until(b"\n", place.timeout):
            raise EOFError("the server hung up")


@tcp.entry("python nntplib NNTP")
def _(place: Place) -> None:
    from nntplib import NNTP  # until 3.12

    NNTP(place.host, int(place.port), timeout=place.timeout).quit()


@tcp.entry("python logging SysLogHandler")
def _(place: Place) -> None:
    import socket
    from logging.handlers import SysLogHandler

    socket.setdefaulttimeout(place.timeout)
    try:
        SysLogHandler((place.host, int(place.port)), socktype=socket.SOCK_STREAM).close()
    finally:
        socket.setdefaulttimeout(None)


@pipe.entry("python multiprocessing.connection Client", **NO_IPV6)
def _(place: Place) -> None:
    import socket
    from multiprocessing.connection import Client

    socket.setdefaulttimeout(place.timeout)
    try:
        Client((place.host, int(place.port)), "AF_INET", authkey=b"pass").close()
    finally:
        socket.setdefaulttimeout(None)


# What stands in for asyncio, or for the socket.


@tcp.entry("uvloop open_connection")
def _(place: Place) -> None:
    import uvloop

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(_open(place))
    finally:
        loop.close()


@tls.entry("uvloop open_connection ssl")
def _(place: Place) -> None:
    import uvloop

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(
            _open(place, ssl=True, server_hostname="localhost", ssl_handshake_timeout=place.timeout)
        )
    finally:
        loop.close()


@tcp.entry("gevent socket create_connection")
def _(place: Place) -> None:
    import gevent.socket

    with gevent.socket.create_connection((place.host, place.port), timeout=place.timeout) as connection:
        connection.sendall(b"hello\n")
        if not connection.recv(1):
            raise EOFError("the server hung up")


async def _anyio(place: Place, **settings: Any) -> None:
    import anyio

    with anyio.fail_after(place.timeout):
        async with await anyio.connect_tcp(place.host, int(place.port), **settings) as stream:
            await stream.send(b"hello\n")
            await stream.receive(1)


@tcp.entry("anyio connect_tcp")
async def _(place: Place) -> None:
    await _anyio(place)


@tcp.entry("anyio connect_tcp trio")
def _(place: Place) -> None:
    import anyio

    anyio.run(_anyio, place, backend="trio")


@tls.entry("anyio connect_tcp tls")
async def _(place: Place) -> None:
    await _anyio(place, tls=True, tls_hostname="localhost")


@tcp.entry("trio open_tcp_stream")
def _(place: Place) -> None:
    import trio

    async def connect() -> None:
        with trio.fail_after(place.timeout):
            async with await trio.open_tcp_stream(place.host, int(place.port)) as stream:
                await stream.send_all(b"hello\n")
                if not await stream.receive_some(1):
                    raise EOFError("the server hung up")

    trio.run(connect)


@tls.entry("trio open_ssl_over_tcp_stream")
def _(place: Place) -> None:
    import trio

    async def connect() -> None:
        with trio.fail_after(place.timeout):
            async with await trio.open_ssl_over_tcp_stream(place.host, int(place.port)) as stream:
                await stream.send_all(b"hello\n")

    trio.run(connect)
