"""Handshakes over the wire: no silence, drip or flood keeps anybody longer than it may, and nothing else is sent."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import requires
from fake_servers import Handler, hang_up, reset, says, serve, silence
from test_handshakes import GO, GREETING, REPLIES, SCHEMES, http, pg_auth

from resilient import NotServingError, _handshakes
from resilient._handshakes import HANDSHAKES, LONGEST_REPLY, PATIENCE, Answer, dial, shake
from resilient._handshakes._doubts import Doubted
from resilient._handshakes._wire import round_trip
from resilient.endpoint import DEFAULT_PORTS, Endpoint
from resilient.waiting import hello_to

LONG = 20.0
"""Seconds that no test waits for: an answer that is there comes at once."""

SERVING = {scheme: said for scheme, said, kind, *_ in reversed(REPLIES) if kind == "serves"}
"""Of each protocol the first reply that serves."""


def ask(scheme: str, handler: Handler, timeout: float = LONG, patience: float | None = LONG) -> Answer:
    """Ask a server. One that may be silent has long enough to hang up or to speak, unless that is the question."""
    with serve(handler) as port:
        endpoint = Endpoint(scheme=scheme, host="127.0.0.1", port=port)
        return shake(endpoint, timeout=timeout, patience=patience)


def drips(words: bytes, pause: float = 0.0) -> Handler:
    """Say one byte at a time."""

    def handler(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in words:
            connection.sendall(bytes([byte]))
            time.sleep(pause)
        silence(connection)

    return handler


def floods(first: bytes) -> Handler:
    """Say a thing without an end."""

    def handler(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(b"x" * 65_536)

    return handler


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_that_serves_is_heard_however_it_is_delivered(scheme: str) -> None:
    expected = HANDSHAKES[scheme].judge(SERVING[scheme], True)
    assert ask(scheme, says(SERVING[scheme])) == expected
    assert ask(scheme, drips(SERVING[scheme])) == expected


@pytest.mark.parametrize("scheme", [*SCHEMES, "https", "rediss"])
def test_silence_ends_in_time(scheme: str) -> None:
    began = time.monotonic()
    answer = ask(scheme, silence, timeout=0.1)
    assert answer.kind == "silent"
    assert 0.1 <= time.monotonic() - began < 5


@pytest.mark.parametrize("scheme", [*SCHEMES, "https", "tcp"])
@pytest.mark.parametrize("leave", [hang_up, reset])
def test_a_server_that_hangs_up_is_closed(scheme: str, leave: Handler) -> None:
    assert ask(scheme, leave).kind == "closed"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_half_an_answer_is_none(scheme: str) -> None:
    half = SERVING[scheme][:6] if scheme != "mqtt" else SERVING[scheme][:3]
    closed = ask(scheme, says(half))
    assert (closed.kind, closed.text) == ("closed", "it hung up in the middle of its answer")
    silent = ask(scheme, drips(half), timeout=0.2)
    assert (silent.kind, silent.text) == ("silent", "it fell silent in the middle of its answer")


@pytest.mark.parametrize("first", [b"INFO ", b"junk", b"HTTP/1.1 200 ", b"-ERR "])
@pytest.mark.parametrize("scheme", ["nats", "redis", "http", "memcached"])
def test_a_flood_is_not_drunk(scheme: str, first: bytes) -> None:
    began = time.monotonic()
    assert ask(scheme, floods(first)).kind == "wrong_protocol"
    assert time.monotonic() - began < 5


def test_no_more_is_read_than_the_longest_reply() -> None:
    taken: list[int] = []

    class Counting(socket.socket):
        def recv(self, *arguments: Any) -> bytes:
            part = super().recv(*arguments)
            taken.append(len(part))
            return part

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        client = Counting()
        client.connect(address)
        return client

    with serve(floods(b"INFO ")) as port:
        answer = shake(Endpoint(scheme="nats", host="127.0.0.1", port=port), timeout=LONG, connect=connect)
    assert sum(taken) == LONGEST_REPLY
    assert "no end of an answer" in answer.text


@pytest.mark.parametrize("scheme", ["nats", "https"])
def test_a_server_that_drips_keeps_nobody_beyond_the_timeout(scheme: str) -> None:
    """Each byte comes in time, and all of them do not."""
    words = b"INFO {" if scheme == "nats" else b"\x16\x03\x03\x40\0"
    began = time.monotonic()
    assert ask(scheme, drips(words + b" " * 1_000, pause=0.02), timeout=0.3).kind == "silent"
    assert time.monotonic() - began < 3


def test_nothing_but_the_handshake_is_sent() -> None:
    """And a farewell where a server would else log a broken connection."""
    for scheme in SCHEMES:
        heard = bytearray()
        gone = threading.Event()

        def handler(
            connection: socket.socket, scheme: str = scheme, heard: bytearray = heard, gone: threading.Event = gone
        ) -> None:
            opening = HANDSHAKES[scheme].opening
            if opening:
                heard += connection.recv(65_536)
            connection.sendall(SERVING[scheme])
            while part := connection.recv(65_536):
                heard += part
            gone.set()

        with serve(handler) as port:
            shake(Endpoint(scheme=scheme, host="127.0.0.1", port=port), timeout=LONG)
            assert gone.wait(5)
        opening = HANDSHAKES[scheme].opening.replace(b"{host}", f"127.0.0.1:{port}".encode())
        assert bytes(heard) == opening + HANDSHAKES[scheme].farewell


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://example.com:8080", b"example.com:8080"),
        ("http://example.com", b"example.com"),
        ("http://[fe80::1%25eth0]:81", b"[fe80::1]:81"),
        ("http://bücher.example", b"xn--bcher-kva.example"),
    ],
)
def test_a_web_server_is_asked_for_by_its_name(target: str, host: bytes) -> None:
    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout)

    heard: list[bytes] = []
    with serve(lambda connection: (heard.append(connection.recv(65_536)), connection.sendall(http("200 OK")))) as port:
        assert shake(Endpoint.parse(target), timeout=LONG, connect=connect).kind == "serves"
    assert b"\r\nHost: " + host + b"\r\n" in heard[0]


# A plain connect.


def test_whoever_accepts_and_stays_serves_a_plain_connect() -> None:
    began = time.monotonic()
    assert ask("tcp", silence, patience=None) == Answer("serves", "accepts connections")
    assert time.monotonic() - began < LONG / 2
    assert ask("tcp", says(b"SSH-2.0-x\r\n")) == Answer("serves", "SSH answers there: SSH-2.0-x")
    assert ask("tcp", says(b"hello")).kind == "serves"


def test_a_scheme_without_a_handshake_is_a_plain_connect() -> None:
    assert ask("beanstalk", silence, patience=None) == Answer("serves", "accepts connections")


@pytest.mark.parametrize(
    ("round_trip", "patience"), [(0.0, 0.01), (0.00005, 0.011), (0.001, 0.03), (1.0, PATIENCE), (None, 0.11)]
)
def test_silence_is_listened_to_for_as_long_as_the_way_is(
    round_trip: float | None, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packet's way there and back, twenty times, and what a process takes to wake up; where nobody says, 5 ms."""
    monkeypatch.setattr(_handshakes, "round_trip", lambda _: round_trip)
    with socket.socket() as any_socket:
        assert _handshakes._patience(any_socket) == pytest.approx(patience)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_system_says_how_long_the_way_is(host: str) -> None:
    """Linux does; here it is short."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        try:
            listener.bind((host, 0))
        except OSError:
            requires(f"{host} on the loopback")
        listener.listen()
        with socket.create_connection(listener.getsockname()[:2], timeout=LONG) as connection:
            took = round_trip(connection)
    assert (took is not None and 0 < took < 1) if sys.platform == "linux" else took is None


def test_a_port_that_has_hung_up_once_has_to_hold_out_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a proxy's, whose server is not there yet; one that hangs up late would pass in the end otherwise."""
    monkeypatch.setattr(_handshakes, "PATIENCE", 3.0)
    hangs_up_late = threading.Event()

    def handler(connection: socket.socket) -> None:
        if hangs_up_late.is_set():
            time.sleep(0.3)

    with serve(handler) as port:
        endpoint = Endpoint(scheme="tcp", host="127.0.0.1", port=port)
        hello = hello_to(str(endpoint), endpoint)
        with monkeypatch.context() as patient, pytest.raises(NotServingError) as caught:
            patient.setattr(_handshakes, "_QUICK", 3.0)
            hello(LONG)
        assert caught.value.kind == "closed"
        hangs_up_late.set()
        with pytest.raises(NotServingError) as caught:
            hello(LONG)
        assert caught.value.kind == "closed"


def doubted(scheme: str, port: int, error: Exception) -> Doubted:
    """A hello through a driver that always fails."""

    def hello(timeout: float) -> None:
        raise error

    return Doubted(hello, Endpoint(scheme=scheme, host="127.0.0.1", port=port))


@pytest.mark.parametrize(
    ("scheme", "handler", "told"),
    [
        (
            "redis",
            says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "it is not redis: HTTP answers there: HTTP/1.1 400 Bad Request",
        ),
        ("redis", says(b"-LOADING it loads\r\n"), ""),
        ("redis", says(b"+PONG\r\n"), ""),
        ("redis", says(b"\x15\x03\x01\0\x02\x02\x0a"), ""),  # TLS, of which the driver may know
        ("redis", hang_up, ""),
        ("mongodb", says(b"SSH-2.0-x\r\n"), ""),  # too late to be its own first word
        (
            "mongodb",
            lambda its: (its.sendall(b"SSH-2.0-x\r\n"), silence(its)),
            "it is not mongodb: SSH answers there: SSH-2.0-x",
        ),
        ("mongodb", hang_up, ""),
    ],
)
def test_who_else_answers_is_said_where_a_driver_does_not_say_why(
    scheme: str, handler: Handler, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = OSError("it ended")
    if told:
        monkeypatch.setattr(_handshakes, "_QUICK", PATIENCE)
    with serve(handler) as port, pytest.raises(OSError, match="it") as caught:
        doubted(scheme, port, error)(LONG)
    if told:
        assert isinstance(caught.value, NotServingError)
        assert (caught.value.kind, caught.value.__cause__) == ("wrong_protocol", error)
        assert str(caught.value) == f"{scheme}://127.0.0.1:{port}: {told}"
    else:
        assert caught.value is error


def test_a_clear_error_of_a_driver_is_not_doubted_and_others_ever_less() -> None:
    """Each look is a connect more: at the first such error, the second, the fourth, the eighth."""
    looks: list[socket.socket] = []
    with serve(looks.append) as port:
        refused = doubted("redis", port, ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
        unclear = doubted("redis", port, OSError("it ended"))
        for hello in (refused, unclear):
            for _ in range(10):
                with pytest.raises(OSError, match=r"refused|ended"):
                    hello(LONG)
            if hello is refused:
                assert not looks
    assert len(looks) == 4


def test_every_handshake_is_of_a_known_scheme() -> None:
    assert set(HANDSHAKES) <= {*DEFAULT_PORTS, "tcp"}


# Connecting.


def test_a_refused_connect_is_the_systems_own_error(refused_port: int) -> None:
    for scheme in ("postgresql", "https", "tcp"):
        with pytest.raises(ConnectionRefusedError):
            shake(Endpoint(scheme=scheme, host="127.0.0.1", port=refused_port), timeout=LONG)


def test_an_error_of_the_connect_comes_as_it_was() -> None:
    error = OSError(113, "No route to host")

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        raise error

    with pytest.raises(OSError) as caught:
        shake(Endpoint.parse("redis://example.com"), timeout=1, connect=connect)
    assert caught.value is error


def test_a_server_that_hangs_up_during_the_connect_is_closed() -> None:
    """It depends on who is quicker whether the connect itself tells of a reset."""

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        raise ConnectionResetError(104, "Connection reset by peer")

    assert shake(Endpoint.parse("redis://example.com"), timeout=1, connect=connect).kind == "closed"


def test_a_connection_to_itself_is_a_refusal() -> None:
    """Nobody listens there: the system chose for the client the port that it was dialling."""

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        client = socket.socket()
        client.bind(("127.0.0.1", 0))
        client.connect(client.getsockname())
        return client

    with pytest.raises(ConnectionRefusedError):
        shake(Endpoint.parse("redis://127.0.0.1"), timeout=1, connect=connect)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_is_above_zero(timeout: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        shake(Endpoint.parse("redis://127.0.0.1"), timeout=timeout)


def test_a_timeout_may_be_endless() -> None:
    assert ask("redis", says(b"+PONG\r\n"), timeout=float("inf")).kind == "serves"


@pytest.fixture
def full_port() -> Iterator[tuple[str, int]]:
    """Listens, and has no room left: a connect gets no answer at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        time.sleep(0.1)
        yield listener.getsockname()
        for client in waiting:
            client.close()


def test_an_address_that_swallows_everything_leaves_time_for_the_next(
    full_port: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(says(b"+PONG\r\n")) as port:
        places = [full_port, ("127.0.0.1", port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert shake(Endpoint.parse("redis://example.com"), timeout=1).kind == "serves"
        began = time.monotonic()
        found.pop()
        with pytest.raises(TimeoutError):
            dial(("example.com", 1), 0.2)
        assert time.monotonic() - began < 3


def test_a_unix_socket_is_asked_too(tmp_path: Path) -> None:
    """PostgreSQL's says by its name what it is; any other one is a plain connect."""
    for name, expected in ((".s.PGSQL.5432", "asks for a password"), ("x.sock", "PostgreSQL answers there")):
        path = str(tmp_path / name)
        endpoint = Endpoint(scheme="unix", path=path)
        with pytest.raises(FileNotFoundError):
            shake(endpoint, timeout=1)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            with pytest.raises(ConnectionRefusedError):
                shake(endpoint, timeout=1)
            listener.listen(1)
            thread = threading.Thread(target=_serve_once, args=(listener, pg_auth(3)))
            thread.start()
            answer = shake(endpoint, timeout=LONG, patience=LONG)
            thread.join(5)
        assert (answer.kind, answer.text) == ("serves", expected)
        os.unlink(path)


def _serve_once(listener: socket.socket, words: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        says(words)(connection)


# Inside TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, and its key, in one file."""
    openssl = shutil.which("openssl") or requires("the program openssl")
    folder = tmp_path_factory.mktemp("tls")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command += ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    both = folder / "both"
    both.write_bytes((folder / "certificate").read_bytes() + (folder / "key").read_bytes())
    return both


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, and this machine trusts it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


def inside_tls(
    certificate: Path, handler: Handler, configure: Callable[[ssl.SSLContext], object] | None = None
) -> Handler:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if configure is not None:
        configure(context)

    def secured(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            handler(inner)
            silence(inner)

    return secured


@pytest.mark.parametrize(
    ("scheme", "said", "text"),
    [("https", http("200 OK"), "200 OK"), ("rediss", b"+PONG\r\n", "PONG"), ("mqtts", b"\x20\x02\0\0", "accepts")],
)
def test_a_server_inside_tls_serves(trusted: Path, scheme: str, said: bytes, text: str) -> None:
    answer = ask(scheme, inside_tls(trusted, lambda inner: (inner.recv(65_536), inner.sendall(said))))
    assert answer.kind == "serves"
    assert text in answer.text


def test_a_server_inside_tls_is_left_politely(trusted: Path) -> None:
    """With TLS's own goodbye: an end without one is an error at the other side."""
    heard: list[bytes] = []
    gone = threading.Event()

    def handler(inner: socket.socket) -> None:
        heard.append(inner.recv(65_536))
        inner.sendall(b"\x20\x02\0\0")
        heard.append(inner.recv(65_536))
        heard.append(inner.recv(65_536))
        gone.set()

    def strict(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(trusted)
        with context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as inner:
            handler(inner)

    with serve(strict) as port:
        assert shake(Endpoint(scheme="mqtts", host="127.0.0.1", port=port), timeout=LONG).kind == "serves"
        assert gone.wait(5)
    assert heard == [HANDSHAKES["mqtt"].opening, HANDSHAKES["mqtt"].farewell, b""]


def test_a_certificate_that_nobody_signed_is_hopeless(certificate: Path) -> None:
    answer = ask("https", inside_tls(certificate, says(b"")))
    assert answer.kind == "hopeless"
    assert "CERTIFICATE_VERIFY_FAILED" in answer.text


def test_a_certificate_of_another_name_is_hopeless(trusted: Path) -> None:
    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout)

    with serve(inside_tls(trusted, says(b""))) as port:
        answer = shake(Endpoint.parse("rediss://db.example.com"), timeout=LONG, connect=connect)
    assert answer.kind == "hopeless"
    assert "db.example.com" in answer.text


def test_a_server_that_asks_for_a_certificate_serves(trusted: Path) -> None:
    def configure(context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(trusted)

    answer = ask("rediss", inside_tls(trusted, silence, configure))
    assert (answer.kind, answer.needs_password) == ("serves", True)
    assert "certificate" in answer.text


def test_a_server_that_speaks_no_version_of_ours_is_hopeless(trusted: Path) -> None:
    alert = b"\x15\x03\x03\0\x02\x02\x46"  # protocol_version
    assert ask("https", says(alert)).kind == "hopeless"


def test_a_server_with_an_internal_error_is_not_ready() -> None:
    assert ask("https", says(b"\x15\x03\x03\0\x02\x02\x50")).kind == "not_ready"


@pytest.mark.parametrize(
    ("words", "name"),
    [(GO, "HTTP"), (GREETING, "MySQL"), (b"SSH-2.0-x\r\n", "SSH"), (b"nonsense" * 9, "unknown"), (b"hm", "unknown")],
)
def test_a_server_without_tls_is_named(words: bytes, name: str) -> None:
    answer = ask("https", says(words))
    assert answer.kind == "wrong_protocol"
    assert answer.text.startswith("no TLS there: ")
    assert name in answer.text


def test_another_protocol_inside_tls_is_named(trusted: Path) -> None:
    answer = ask("rediss", inside_tls(trusted, lambda inner: (inner.recv(65_536), inner.sendall(GO))))
    assert (answer.kind, answer.text[:18]) == ("wrong_protocol", "HTTP answers there")


def test_a_server_that_hangs_up_inside_tls_is_closed(trusted: Path) -> None:
    """With a goodbye, and without."""
    assert ask("rediss", inside_tls(trusted, lambda inner: inner.unwrap())).kind == "closed"  # type: ignore[attr-defined]
    assert ask("rediss", inside_tls(trusted, hang_up_inside)).kind == "closed"


def hang_up_inside(inner: socket.socket) -> None:
    inner.recv(65_536)
    inner.shutdown(socket.SHUT_RDWR)


def test_silence_inside_tls_ends_in_time(trusted: Path) -> None:
    answer = ask("rediss", inside_tls(trusted, silence), timeout=0.5)
    assert answer.kind == "silent"
