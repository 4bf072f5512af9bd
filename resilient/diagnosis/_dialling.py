"""Resolve, dial each address, exchange a first word: what a target does when it is asked.

Only the target is dialled, and nothing but a handshake is sent; with one exception, which `ask_driver` describes.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from time import monotonic
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from .._handshakes import PATIENCE, Answer, shake
from .._scrub import describe, scrub
from ..clients import driver_for
from ..endpoint import Endpoint
from ..refusal import kind_of
from . import _turned_back
from ._bounded import Look
from ._helping import SIBLINGS
from ._machine import is_ours, kind_of_path
from ._seen import Icmp, Reply, ReplyKind

MOST_ADDRESSES: Final = 16
"""Addresses of one name that are dialled."""

_CREDENTIALS: Final = r"(?i)(?:^|[?&\s])(?:user|username|password|passwd)\s*="
_LEAST: Final = 0.05

Place: TypeAlias = "tuple[int, Any]"

_KINDS: Final[dict[int, ReplyKind]] = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "no_answer",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.EADDRNOTAVAIL: "unreachable",
    errno.EAFNOSUPPORT: "unreachable",
    errno.EINVAL: "unreachable",  # Linux, for a route of type "blackhole"
    errno.EACCES: "prohibited",  # a route of type "prohibit", or a firewall on the way out
    errno.EPERM: "prohibited",
}
_KINDS_OF_PATHS: Final[dict[int, ReplyKind]] = {
    errno.EACCES: "no_permission",
    errno.EAGAIN: "full",  # Linux: a connect that may not block
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.ENOTSOCK: "not_a_socket",  # macOS
    errno.EPERM: "no_permission",
    errno.EPROTOTYPE: "not_a_socket",
    errno.ETIMEDOUT: "full",
}


def resolve(endpoint: Endpoint) -> list[Place]:
    """Return all addresses of a name, each once.

    Raises:
        socket.gaierror: it does not resolve.
    """
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    places: list[Place] = [(family, place) for family, _, _, _, place in found]
    return list(dict.fromkeys(places))[:MOST_ADDRESSES]


def ask(endpoint: Endpoint, place: Place, connected_by: float, told_by: float, again_by: float) -> Reply:
    """Dial one address; the last three are the moments until which to connect, to talk, and to talk again."""
    family, address = place
    reply = Reply(address[0], "failed", ours=is_ours(family, address[0]))
    try:
        connection = _connect(family, address, connected_by)
    except OSError as error:
        return _failed(reply, error)
    with connection:
        try:
            if connection.getsockname() == connection.getpeername():
                return reply._replace(kind="itself")
        except OSError:  # it is gone already, which the talk will show
            pass
        try:
            left = max(_LEAST, told_by - monotonic())
            answer = shake(endpoint, timeout=left, connect=lambda *_: connection, patience=PATIENCE)
        except OSError as error:
            return _failed(reply, error)
    reply = reply._replace(kind="answered", answer=answer)
    sibling = SIBLINGS.get(endpoint.scheme)
    if answer.kind in ("closed", "silent") and sibling is not None and again_by - monotonic() > _LEAST:
        # Making ready for TLS reads every certificate that this machine trusts, and no deadline holds for that.
        other: Look[Answer | None] = Look(_ask_otherwise, endpoint, sibling, place, again_by)
        reply = reply._replace(other=other.wait_or(again_by, None))
    return reply


def ask_path(endpoint: Endpoint, told_by: float) -> Reply:
    """Dial a unix socket."""
    path = str(endpoint.path)
    reply = Reply(path, "failed", ours=True)
    try:
        answer = shake(endpoint, timeout=max(_LEAST, told_by - monotonic()), patience=PATIENCE)
        return reply._replace(kind="answered", answer=answer)
    except OSError as error:
        reply = _failed(reply, error)
        number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
    kind = _KINDS_OF_PATHS.get(number or 0, reply.kind)
    if kind == "refused" and kind_of_path(path) == "other":
        kind = "not_a_socket"
    return reply._replace(kind=kind)


def accepts(endpoint: Endpoint, by: float) -> bool:
    """Whether a proxy accepts a connection; nothing is said to it."""
    try:
        with socket.create_connection((str(endpoint.host), endpoint.port or 0), max(_LEAST, by - monotonic())):
            return True
    except OSError:
        return False


def _ask_otherwise(endpoint: Endpoint, scheme: str, place: Place, by: float) -> Answer | None:
    otherwise = Endpoint(scheme=scheme, host=endpoint.host, port=endpoint.port)
    try:
        with _connect(*place, by) as connection:
            return shake(otherwise, timeout=max(_LEAST, by - monotonic()), connect=lambda *_: connection)
    except OSError:
        return None


class TurnedBackError(OSError):
    """Somebody on the way, or the machine's firewall, turned a connect back; the system's own error is the cause."""

    def __init__(self, icmp: Icmp) -> None:
        super().__init__(str(icmp))
        self.icmp = icmp


def _connect(family: int, address: Any, by: float) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        _turned_back.listen(connection)
        connection.settimeout(max(_LEAST, by - monotonic()))
        connection.connect(address)
        _turned_back.forget(connection)
    except BaseException as error:
        icmp = _turned_back.heard(connection) if isinstance(error, OSError) else None
        connection.close()
        if icmp is not None:
            raise TurnedBackError(icmp) from error
        raise
    return connection


def _failed(reply: Reply, error: OSError) -> Reply:
    if isinstance(error, TurnedBackError) and isinstance(error.__cause__, OSError):
        reply, error = reply._replace(icmp=error.icmp), error.__cause__
    if isinstance(error, (ConnectionResetError, ConnectionAbortedError)):
        answer = Answer("closed", "it accepted, and hung up without a word")
        return reply._replace(kind="answered", answer=answer)
    kind = kind_of(error)  # it knows Windows' numbers
    if isinstance(error, TimeoutError):
        found: ReplyKind = "no_answer"
    elif kind == "refused":
        found = "refused"
    else:
        found = _KINDS.get(error.errno or 0, "unreachable" if kind == "unreachable" else "failed")
    return reply._replace(kind=found, text=scrub(error.strerror or type(error).__name__))


# The driver.


def has_credentials(text: str) -> bool:
    """Whether a target says who calls."""
    _, _, rest = text.partition("://")
    return "@" in re.split(r"[/?#]", rest, maxsplit=1)[0] or re.search(_CREDENTIALS, text) is not None


def why_not_driver(text: str, endpoint: Endpoint) -> str:
    """Return why the credentials in a target cannot be tried, or ""."""
    if "://" not in text or endpoint.path is not None:
        return "only a URL with a host is handed to a driver"
    if driver_for(endpoint.scheme) is None:
        return f"no driver for {endpoint.scheme} is installed"
    return ""


def ask_driver(text: str, endpoint: Endpoint, timeout: float) -> tuple[str, str]:
    """Log in through the installed driver, with the credentials of the target: nothing else can say if they are right.

    Returns "serves", or the kind of its error, "tls" or "other"; and its words.
    """
    driver = driver_for(endpoint.scheme)
    if driver is None:
        return "", ""
    try:
        driver.serves(text, max(_LEAST, timeout))
    except Exception as error:  # noqa: BLE001  # any driver's own
        words = hide(f"{type(error).__name__}: {describe(error)}", text)
        kind = kind_of(error) or "other"
        return ("tls" if kind == "hopeless" and _is_of_tls(error) else kind), words
    return "serves", ""


def _is_of_tls(error: BaseException | None) -> bool:
    for _ in range(5):
        if error is None:
            return False
        if any(base.__module__ == "ssl" for base in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False


def hide(words: str, text: str) -> str:
    """Hide what may be secret in a target, wherever it turns up; `scrub` hides only what looks like a secret."""
    found: set[str] = set(re.findall(r"(?i)[\w-]*(?:pass|pwd|secret|token|key)[\w-]*\s*=\s*'?([^&\s;'#]+)", text))
    user, at, _ = text.partition("://")[2].rpartition("@")
    if at:
        name, colon, password = user.partition(":")
        found.add(password if colon else name)
    for secret in sorted({*found, *map(unquote, found)}, key=len, reverse=True):
        if len(secret) > 3:
            words = words.replace(secret, "***")
    return scrub(words)


def hidden(reply: Reply, text: str) -> Reply:
    """Hide the same in what a server said of its own accord: it may know a secret from another client."""
    if reply.answer is None or not has_credentials(text):
        return reply
    other = reply.other and reply.other._replace(text=hide(reply.other.text, text))
    return reply._replace(answer=reply.answer._replace(text=hide(reply.answer.text, text)), other=other)


def whole_text(target: str | Endpoint) -> str:
    """Return a target with what an `Endpoint` does not keep."""
    text = str(target)
    return os.environ.get(text[4:], "") if text[:4].lower() == "env:" and not text[4:].isdecimal() else text
