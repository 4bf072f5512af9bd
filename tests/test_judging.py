"""What an exception says of its endpoint: the order of evidence, rule by rule, with real and constructed errors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from resilient import find_refusal, is_hopeless, is_not_ready, is_refused, is_unreachable, is_unresolved
from resilient.errors import CircuitOpenError
from resilient.testing import late_server

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup


class LibrarysTlsError(ssl.SSLError):
    """A library may have a class of its own."""


def having_reason(error: Any, reason: str) -> Exception:
    error.reason = reason
    return error  # type: ignore[no-any-return]


def tls_error(cls: type[ssl.SSLError], reason: str) -> Exception:
    """Return what OpenSSL's reason looks like in Python."""
    return having_reason(cls(1, f"[SSL: {reason}] (_ssl.c:1006)"), reason)


PREDICATES = {
    "refused": is_refused,
    "not_ready": is_not_ready,
    "unresolved": is_unresolved,
    "unreachable": is_unreachable,
    "hopeless": is_hopeless,
}


def said_of(error: BaseException) -> str | None:
    """The one thing that the predicates say together; they must not contradict each other."""
    true = [name for name, predicate in PREDICATES.items() if predicate(error)]
    if "refused" in true:
        true.remove("not_ready")  # who waits for "ready" waits for both
    assert len(true) <= 1
    found = find_refusal(error)
    assert (None if found is None else found.kind) == (
        true[0] if true and true[0] in ("refused", "not_ready") else None
    )
    return true[0] if true else None


class LibraryError(Exception):
    """An error of a library that nobody knows."""


class LibraryOSError(OSError):
    """One that is an `OSError`."""


def refused() -> ConnectionRefusedError:
    return ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


def unreachable() -> OSError:
    return OSError(errno.EHOSTUNREACH, "No route to host")


def having(error: BaseException, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def carrying(name: str) -> Any:
    """A library's error that keeps a refusal under this name."""
    return having(LibraryError(), **{name: refused()})


def raised_from(error: BaseException, cause: BaseException | None) -> Any:
    """`error` as it is after `raise error from cause`."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def raised_while_handling(error: BaseException, handled: BaseException, *, suppressed: bool = False) -> Any:
    """`error` as it is when this module raises it while it handles another."""
    try:
        try:
            raise handled
        except BaseException:
            if suppressed:
                raise error from None
            raise error  # noqa: B904
    except BaseException as caught:
        return caught


def refusing_connect() -> Any:
    with socket.socket() as guard, socket.socket() as client:
        guard.bind(("127.0.0.1", 0))
        try:
            client.connect(guard.getsockname())
        except OSError as error:
            return error
    raise AssertionError


def unresolved_name() -> Any:
    try:  # AI_NUMERICHOST: a real answer of the resolver, without a question to the network
        socket.getaddrinfo("nosuch.invalid", 5432, flags=socket.AI_NUMERICHOST)
    except OSError as error:
        return error
    raise AssertionError


Case = Callable[[], BaseException]

BY_TYPE_OR_ERRNO: dict[str, tuple[Case, str | None]] = {
    "a real one": (refusing_connect, "refused"),
    "type, errno and text": (refused, "refused"),
    "type without errno": (lambda: ConnectionRefusedError(), "refused"),
    "type with text only": (lambda: ConnectionRefusedError("no"), "refused"),
    "type with errno None": (lambda: having(refused(), errno=None), "refused"),
    "type with another errno": (lambda: having(ConnectionRefusedError(), errno=errno.EACCES), "refused"),
    "Windows asyncio": (lambda: having(ConnectionRefusedError(22, "no"), winerror=1225), "refused"),
    "errno alone": (lambda: LibraryOSError(errno.ECONNREFUSED, "no"), "refused"),
    "errno set later": (lambda: having(OSError("no"), errno=errno.ECONNREFUSED), "refused"),
    "winerror 10061": (lambda: having(OSError(22, "no"), winerror=10061), "refused"),
    "winerror 1225": (lambda: having(OSError("no"), winerror=1225), "refused"),
    "subclass": (lambda: type("Mine", (ConnectionRefusedError,), {})(), "refused"),
    "errno of another platform": (lambda: OSError({111: 61}.get(errno.ECONNREFUSED, 111), "no"), None),
    "errno on no OSError": (lambda: having(LibraryError(), errno=errno.ECONNREFUSED), None),
    "winerror on no OSError": (lambda: having(LibraryError(), winerror=10061), None),
    "errno in args": (lambda: LibraryError(errno.ECONNREFUSED, "Connection refused"), None),
    "errno as text": (lambda: having(LibraryOSError(), errno=str(errno.ECONNREFUSED)), None),
    "text alone": (lambda: OSError("Connection refused"), None),
    "host unreachable": (unreachable, "unreachable"),
    "net unreachable": (lambda: OSError(errno.ENETUNREACH, "no"), "unreachable"),
    "timed out": (lambda: OSError(errno.ETIMEDOUT, "no"), "unreachable"),
    "timeout": (lambda: TimeoutError(), "unreachable"),
    "timeout of a socket": (lambda: getattr(socket, "timeout")("timed out"), "unreachable"),  # noqa: B009
    "timeout of asyncio": (lambda: asyncio.TimeoutError(), "unreachable"),
    "timeout of a future": (lambda: concurrent.futures.TimeoutError(), "unreachable"),
    "winerror 10060": (lambda: having(OSError(22, "no"), winerror=10060), "unreachable"),
    "a TimeoutError of somebody else's": (lambda: type("TimeoutError", (Exception,), {})(), None),
    "no permission": (lambda: OSError(errno.EACCES, "no"), None),
    "a real name": (unresolved_name, "unresolved"),
    "no such name": (lambda: socket.gaierror(socket.EAI_NONAME, "no"), "unresolved"),
    "no answer now": (lambda: socket.gaierror(socket.EAI_AGAIN, "no"), "unresolved"),
    "no answer ever": (lambda: socket.gaierror(socket.EAI_FAIL, "no"), "unresolved"),
    "a wrong service": (lambda: socket.gaierror(socket.EAI_SERVICE, "no"), None),
    "a timeout from a refusal": (lambda: raised_from(TimeoutError(), refused()), "refused"),
    "a timeout from a timeout": (lambda: raised_from(TimeoutError(), TimeoutError()), "unreachable"),
    "a timeout from anything": (lambda: raised_from(TimeoutError(), KeyError()), "unreachable"),
    "another certificate": (lambda: tls_error(ssl.SSLCertVerificationError, "CERTIFICATE_VERIFY_FAILED"), "hopeless"),
    "no TLS there": (lambda: tls_error(ssl.SSLError, "WRONG_VERSION_NUMBER"), "hopeless"),
    "no common cipher": (lambda: tls_error(ssl.SSLError, "SSLV3_ALERT_HANDSHAKE_FAILURE"), "hopeless"),
    "TLS of a library's own class": (lambda: tls_error(LibrarysTlsError, "CERTIFICATE_VERIFY_FAILED"), "hopeless"),
    "the end in a handshake": (lambda: tls_error(ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"), None),
    "an internal error of the other side": (lambda: tls_error(ssl.SSLError, "TLSV1_ALERT_INTERNAL_ERROR"), None),
    "a TLS error without a reason": (lambda: ssl.SSLError(1, "no"), None),
    "the reason on another error": (lambda: having_reason(OSError(1, "no"), "CERTIFICATE_VERIFY_FAILED"), None),
    "a gaierror without code": (lambda: socket.gaierror("Name or service not known"), None),
    "a gaierror with errno of a refusal": (lambda: socket.gaierror(errno.ECONNREFUSED, "no"), None),
    "an interrupt": (lambda: KeyboardInterrupt(), None),
}

BY_CAUSE: dict[str, tuple[Case, str | None]] = {
    "cause": (lambda: raised_from(LibraryError(), refused()), "refused"),
    "cause of a builtin": (lambda: raised_from(ValueError(), refused()), "refused"),
    "cause of a cause": (lambda: raised_from(LibraryError(), raised_from(LibraryError(), refused())), "refused"),
    "cause that is unreachable": (lambda: raised_from(LibraryError(), unreachable()), "unreachable"),
    "cause that is something else": (lambda: raised_from(LibraryError(), KeyError()), None),
    "its own word before its cause": (lambda: raised_from(unreachable(), refused()), "unreachable"),
    "no cause, and the context suppressed": (
        lambda: raised_while_handling(LibraryError(), refused(), suppressed=True),
        None,
    ),
    "cause of an interrupt": (lambda: raised_from(KeyboardInterrupt(), refused()), None),
    "cause that is an interrupt with a cause": (
        lambda: raised_from(LibraryError(), raised_from(KeyboardInterrupt(), refused())),
        None,
    ),
}

CARRIERS = (
    "reason orig os_error original_exception original_error inner_exception real_error exception errors exceptions"
)
CARRIED: dict[str, tuple[Case, str | None]] = {
    **{name: (partial(carrying, name), "refused") for name in CARRIERS.split()},
    "several errors": (lambda: having(LibraryError(), errors=[refused(), refused()]), "refused"),
    "several exceptions": (lambda: having(LibraryError(), exceptions=(refused(), refused())), "refused"),
    "errors by host": (lambda: having(LibraryError(), errors={"a": refused(), "b": refused()}), "refused"),
    "errors of which one is another": (lambda: having(LibraryError(), errors=[refused(), KeyError()]), None),
    "errors by host of which one is another": (
        lambda: having(LibraryError(), errors={"a": refused(), "b": KeyError()}),
        None,
    ),
    "errors of which one is unreachable": (
        lambda: having(LibraryError(), errors=[refused(), unreachable()]),
        "unreachable",
    ),
    "argument": (lambda: LibraryError("no", refused()), "refused"),
    "argument of a builtin": (lambda: ValueError(refused()), "refused"),
    "list as an argument": (lambda: LibraryError([refused(), refused()]), "refused"),
    "arguments of which one is another error": (lambda: LibraryError(refused(), KeyError()), None),
    "argument that carries": (lambda: LibraryError(having(LibraryError(), exception=refused())), "refused"),
    "reason that is a text": (lambda: having(LibraryError(), reason="Connection refused"), None),
    "reason that is a class": (lambda: having(LibraryError(), reason=ConnectionRefusedError), None),
    "real urllib": (lambda: urllib.error.URLError(refusing_connect()), "refused"),
    **{f"history in {name}": (partial(carrying, name), None) for name in ("previous", "last_error", "history")},
    "attribute of a builtin": (lambda: having(ValueError(), reason=refused()), None),
    "cause before attributes": (
        lambda: raised_from(having(LibraryError(), reason=refused()), unreachable()),
        "unreachable",
    ),
    "attributes after a cause that says nothing": (
        lambda: raised_from(having(LibraryError(), reason=refused()), KeyError()),
        "refused",
    ),
}

GROUPS: dict[str, tuple[Case, str | None]] = {
    "all": (lambda: ExceptionGroup("", [refused(), refused()]), "refused"),
    "one of one": (lambda: ExceptionGroup("", [refused()]), "refused"),
    "some": (lambda: ExceptionGroup("", [refused(), KeyError()]), None),
    "some, first another": (lambda: ExceptionGroup("", [KeyError(), refused()]), None),
    "nested": (lambda: ExceptionGroup("", [refused(), ExceptionGroup("", [refused()])]), "refused"),
    "nested some": (lambda: ExceptionGroup("", [refused(), ExceptionGroup("", [refused(), KeyError()])]), None),
    "wrapped members": (lambda: ExceptionGroup("", [raised_from(LibraryError(), refused())]), "refused"),
    "with an interrupt": (lambda: BaseExceptionGroup("", [refused(), KeyboardInterrupt()]), None),
    "of a base group, all errors": (lambda: BaseExceptionGroup("", [refused()]), "refused"),
    "some, with a refused cause": (lambda: raised_from(ExceptionGroup("", [KeyError()]), refused()), None),
    "some, with a refused argument": (lambda: ExceptionGroup("refused", [refused(), KeyError()]), None),
    "as a cause": (lambda: raised_from(OSError("no"), ExceptionGroup("", [refused(), refused()])), "refused"),
    "mixed as a cause": (lambda: raised_from(OSError("no"), ExceptionGroup("", [refused(), KeyError()])), None),
    "refused and unreachable": (lambda: ExceptionGroup("", [refused(), unreachable()]), "unreachable"),
    "refused and unresolved": (lambda: ExceptionGroup("", [refused(), unresolved_name()]), "unresolved"),
    "unresolved and unreachable": (lambda: ExceptionGroup("", [unresolved_name(), unreachable()]), "unreachable"),
    "unreachable and another": (lambda: ExceptionGroup("", [unreachable(), KeyError()]), None),
    "open circuit": (lambda: ExceptionGroup("", [refused(), CircuitOpenError("db")]), None),
}


def text(*parts: str) -> OSError:
    return OSError("Multiple exceptions: " + ", ".join(parts))


V6 = f"[Errno {errno.ECONNREFUSED}] Connect call failed ('::1', 5432, 0, 0)"
V4 = f"[Errno {errno.ECONNREFUSED}] Connect call failed ('127.0.0.1', 5432)"
NO_ROUTE = f"[Errno {errno.EHOSTUNREACH}] Connect call failed ('10.0.0.1', 5432)"
DENIED = f"[Errno {errno.EACCES}] Connect call failed ('10.0.0.1', 5432)"

COMBINED: dict[str, tuple[Case, str | None]] = {
    "both": (lambda: text(V6, V4), "refused"),
    "Windows": (lambda: text("[WinError 1225] no", "[WinError 10061] no"), "refused"),
    "one unreachable": (lambda: text(V6, NO_ROUTE), "unreachable"),
    "one denied": (lambda: text(V6, DENIED), None),
    "one denied, first": (lambda: text(DENIED, V4), None),
    "none that can be read": (lambda: text("no", "no"), None),
    "with an errno": (lambda: OSError(errno.EINVAL, str(text(V6, V4))), None),
    "another class": (lambda: LibraryOSError(str(text(V6, V4))), None),
    "not asyncio's words": (lambda: OSError(f"{V6}, {V4}"), None),
    "a quotation": (lambda: OSError(f"proxy said: {text(V6, V4)}"), None),
    "one without a number": (lambda: text("no matching local address with family=AF_INET6 found", V4), None),
    "one far behind": (lambda: text(*[V6] * 300, DENIED), None),
}

MUST_NOT: dict[str, tuple[Case, str | None]] = {
    "reset": (lambda: ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), None),
    "aborted": (lambda: ConnectionAbortedError(errno.ECONNABORTED, "aborted"), None),
    "broken pipe": (lambda: BrokenPipeError(errno.EPIPE, "Broken pipe"), None),
    "end of file": (lambda: EOFError("server closed the connection"), None),
    "no such socket": (lambda: FileNotFoundError(errno.ENOENT, "No such file"), None),
    "AMQP login": (
        lambda: LibraryError("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"),
        None,
    ),
    "AMQP vhost": (lambda: LibraryError("NOT_ALLOWED - access to vhost '/' refused for user 'guest'"), None),
    "DNS": (lambda: LibraryError("The DNS operation failed: answered REFUSED"), None),
    "Oracle": (lambda: LibraryError("DPY-6000: Listener refused connection. (Similar to ORA-12541)"), None),
    "SOCKS": (lambda: LibraryError("0x05: Connection refused"), None),
    "HTTP body": (lambda: LibraryError("502 Bad Gateway: connect() failed (111: Connection refused)"), None),
    "policy": (lambda: ValueError("Connection refused by policy"), None),
    "a KeyError while a refusal is handled": (lambda: raised_while_handling(KeyError("x"), refused()), None),
    "a refusal that was handled by this module": (lambda: raised_while_handling(LookupError(), refused()), None),
    "a refusal that the application hid": (
        lambda: raised_while_handling(LibraryError(), refused(), suppressed=True),
        None,
    ),
    "a name, while a refusal is handled": (lambda: raised_while_handling(unresolved_name(), refused()), "unresolved"),
    "a cancellation": (lambda: raised_while_handling(asyncio.CancelledError(), refused()), None),
    "an open circuit": (lambda: CircuitOpenError("db", 1.0, "refused"), None),
    "caused by an open circuit": (lambda: raised_from(LibraryError(), CircuitOpenError("db")), None),
    "an open circuit that was caused by a refusal": (lambda: raised_from(CircuitOpenError("db"), refused()), None),
    "an open circuit inside": (lambda: LibraryError(CircuitOpenError("db")), None),
    "a subclass of an open circuit": (lambda: type("Mine", (CircuitOpenError,), {})("db"), None),
    "an open circuit in several errors": (
        lambda: having(LibraryError(), errors=[refused(), CircuitOpenError("db")]),
        None,
    ),
}

TABLES = {
    "type": BY_TYPE_OR_ERRNO,
    "cause": BY_CAUSE,
    "carried": CARRIED,
    "group": GROUPS,
    "combined": COMBINED,
    "must not": MUST_NOT,
}


@pytest.mark.parametrize(
    ("case", "expected"),
    [pytest.param(*row, id=f"{table}: {name}") for table, rows in TABLES.items() for name, row in rows.items()],
)
def test_the_verdict_on(case: Case, expected: str | None) -> None:
    """One row of the tables above; the predicates agree with each other and with `find_refusal`."""
    assert said_of(case()) == expected


def test_a_real_urlopen_is_recognised(refused_port: int) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.URLError) as caught:
        opener.open(f"http://127.0.0.1:{refused_port}", timeout=5)
    assert said_of(caught.value) == "refused"


async def connect_to(*ports: int, **options: Any) -> None:
    """Let asyncio connect to a name that stands for several addresses."""
    loop = asyncio.get_running_loop()

    async def addresses(*args: Any, **kwargs: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

    loop.getaddrinfo = addresses  # type: ignore[method-assign]
    await loop.create_connection(asyncio.Protocol, "several.invalid", 5432, **options)


def test_asyncios_text_of_several_addresses_is_read(refused_port: int) -> None:
    """A plain `OSError` without errno, cause and context."""
    with socket.socket() as guard:
        guard.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="Multiple exceptions") as caught:
            asyncio.run(connect_to(refused_port, guard.getsockname()[1]))
    assert caught.value.errno is None
    assert said_of(caught.value) == "refused"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="all_errors= came with Python 3.12")
def test_asyncios_group_of_several_addresses_is_read(refused_port: int) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(connect_to(refused_port, refused_port, all_errors=True))
    assert said_of(caught.value) == "refused"


def test_the_evidence_is_the_exception_it_was_read_from() -> None:
    inner = refused()
    for error in (inner, raised_from(LibraryError(), inner), LibraryError(LibraryError(inner))):
        found = find_refusal(error)
        assert found is not None
        assert found.kind == "refused"
        assert found.evidence is inner


def test_the_evidence_of_a_group_is_a_member_that_says_so() -> None:
    members = [refused(), refused()]
    found = find_refusal(ExceptionGroup("", members))
    assert found is not None
    assert found.evidence in members


def test_the_endpoint_is_read_from_asyncios_text_for_people_to_see() -> None:
    found = find_refusal(raised_from(LibraryError(), ConnectionRefusedError(errno.ECONNREFUSED, V4.partition("] ")[2])))
    assert found is not None
    assert str(found.endpoint) == "127.0.0.1:5432"
    bare = find_refusal(refused())
    assert bare is not None
    assert bare.endpoint is None


def test_an_exception_is_not_changed_by_being_judged() -> None:
    error = raised_from(having(LibraryError("no", refused()), reason=refused()), KeyError())
    before = (vars(error).copy(), error.args, error.__cause__, error.__context__, error.__traceback__)
    said_of(error)
    assert before == (vars(error), error.args, error.__cause__, error.__context__, error.__traceback__)


def test_a_server_that_speaks_no_tls_is_hopeless() -> None:
    """By a real handshake: the reason is OpenSSL's own."""

    def speak(connection: socket.socket) -> None:
        connection.recv(1_000)
        connection.sendall(b"220 mail.example ESMTP\r\n")
        connection.recv(1_000)

    with late_server(speak) as server, socket.socket() as plain:
        server.up()
        plain.connect(("127.0.0.1", server.port))
        with pytest.raises(ssl.SSLError) as caught:
            ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")
    assert said_of(caught.value) == "hopeless"
