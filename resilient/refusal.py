"""Is this a refused connection?

Pure: an exception in, a verdict out. Nothing is raised, imported, logged, dialled or changed.
Every verdict comes from one function that gives an exception exactly one kind, so that "refused", "not ready" and
"hopeless" cannot overlap.
"""

from __future__ import annotations

import errno
import re
import sys
from typing import Any, Final, Literal

from . import signatures
from ._causes import BUILTINS, DEEPEST, MOST_NODES, anatomy, behind, chain, is_exception, wrapped_context
from ._values import Value
from .endpoint import Endpoint
from .errors import CircuitOpenError
from .signatures import LONGEST_TEXT, Kind, together

_REFUSED_WINERRORS: Final = frozenset({10061, 1225})
"""WSAECONNREFUSED, and ERROR_CONNECTION_REFUSED as asyncio's proactor loop reports it."""

_UNREACHABLE: Final = frozenset(
    {
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ETIMEDOUT,
        errno.EADDRNOTAVAIL,  # the machine has no address of this family: ::1 in a container without IPv6
        errno.EAFNOSUPPORT,
    }
    | {getattr(errno, "EHOSTDOWN", errno.EHOSTUNREACH)}
)
_UNREACHABLE_WINERRORS: Final = frozenset({10049, 10050, 10051, 10060, 10064, 10065, 1231, 1232})

_NUMBERED: Final[dict[tuple[str, int], Kind]] = {
    **{("Errno", number): "unreachable" for number in _UNREACHABLE},
    **{("WinError", number): "unreachable" for number in _UNREACHABLE_WINERRORS},
    ("Errno", errno.ECONNREFUSED): "refused",
    **{("WinError", number): "refused" for number in _REFUSED_WINERRORS},
}

_TIMEOUTS: Final = frozenset({"asyncio.exceptions", "concurrent.futures._base"})
"""Where a `TimeoutError` that is no `OSError` lives on Python 3.10."""

_TLS_MISMATCH: Final = frozenset(
    {
        *("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "WRONG_SSL_VERSION", "HTTP_REQUEST"),
        *("HTTPS_PROXY_REQUEST", "UNSUPPORTED_PROTOCOL", "UNKNOWN_PROTOCOL", "VERSION_TOO_LOW"),
        *("NO_PROTOCOLS_AVAILABLE", "NO_SHARED_CIPHER", "NO_CIPHERS_AVAILABLE", "DH_KEY_TOO_SMALL"),
        *("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "SSLV3_ALERT_HANDSHAKE_FAILURE", "SSLV3_ALERT_BAD_CERTIFICATE"),
        *("SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_REVOKED"),
        *("SSLV3_ALERT_CERTIFICATE_UNKNOWN", "TLSV1_ALERT_PROTOCOL_VERSION", "TLSV1_ALERT_UNKNOWN_CA"),
        *("TLSV1_ALERT_ACCESS_DENIED", "TLSV1_ALERT_INSUFFICIENT_SECURITY", "TLSV1_UNRECOGNIZED_NAME"),
        *("TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV13_ALERT_MISSING_EXTENSION"),
    }
)
"""What OpenSSL finds, by the names of the module `ssl`, where one side would have to be configured anew.

Not in it: an end or a reset in the handshake, and an internal error, as of a proxy that is starting up.
"""

_NAME_CODES: Final = ("EAI_AGAIN", "EAI_FAIL", "EAI_NODATA", "EAI_NONAME")

_CONNECT_CALLS_FAILED: Final = "Multiple exceptions: "
"""asyncio's own words, CPython 3.10 to 3.13: the errors of several addresses survive in one text only."""

_CLAUSE: Final = r"\[(Errno|WinError) (\d{1,6})\] (?:Connect call failed \([^()]*\)|[^,()\[\]]*)"
"""What that text says of one address."""

_PLAIN: Final = frozenset(
    cls
    for cls in BUILTINS
    if not issubclass(cls, OSError) and not any(base.__name__ == "BaseExceptionGroup" for base in cls.__mro__)
)
"""Builtin classes that can show nothing by themselves and carry an inner error only as cause or argument."""

_NONE: Final = signatures.Signature(package="none")

_MOST_CAUSES: Final = 10
"""How far a circuit's own word is looked for: a client wraps it once or twice."""

_known_refused: Final[dict[object, BaseException]] = {}
"""Errors that are being decided upon, each by its own caller: not a context variable, of which tenacity loads none."""

_cause: Any = BaseException.__dict__["__cause__"].__get__
_context: Any = BaseException.__dict__["__context__"].__get__
_args: Any = BaseException.__dict__["args"].__get__


class Refusal(Value):
    """What was found in an exception.

    Attributes:
        kind: "refused", or "not_ready": the server answered that it is starting up, loading or shutting down.
        evidence: the exception it was read from: `exc` itself or one behind it.
        endpoint: where the connect went, if the texts say so. It is for people to read and is never dialled.
    """

    kind: Literal["refused", "not_ready"]
    evidence: BaseException
    endpoint: Endpoint | None


def is_refused(exc: BaseException) -> bool:
    """Whether a connection was refused: nothing was sent, so trying again is safe."""
    return kind_of(exc) == "refused"


def is_not_ready(exc: BaseException) -> bool:
    """Whether a connection was refused, or the server said that it is starting up, loading or shutting down."""
    return kind_of(exc) in ("refused", "not_ready")


def is_unresolved(exc: BaseException) -> bool:
    """Whether the host's name did not resolve. In Compose and Kubernetes names appear late."""
    return kind_of(exc) == "unresolved"


def is_unreachable(exc: BaseException) -> bool:
    """Whether host or network could not be reached, or the connect timed out.

    Also where some addresses were unreachable and all others refused.
    A bare `TimeoutError` counts: it does not say what it timed out on, so decorate what connects and nothing else.
    """
    return kind_of(exc) == "unreachable"


def is_hopeless(exc: BaseException) -> bool:
    """Whether waiting cannot help: wrong password, no such database or role, a TLS mismatch."""
    return kind_of(exc) == "hopeless"


def find_refusal(exc: BaseException) -> Refusal | None:
    """Return what makes `exc` a refusal or a server that is not ready, or None. Never raises."""
    found = _judge(exc)
    if found is None:
        return None
    kind, evidence = found
    if kind == "refused" or kind == "not_ready":  # two comparisons, which narrow the type
        return Refusal(kind=kind, evidence=evidence, endpoint=_endpoint(exc))
    return None


def kind_of(exc: BaseException) -> Kind | None:
    """Return the one thing that `exc` says of its endpoint, or None. Never raises."""
    found = _judge(exc)
    return None if found is None or found[0] == "hidden" else found[0]


def judge(exc: BaseException) -> tuple[Kind | None, BaseException]:
    """Return what `exc` says of its endpoint and the exception that this was read from. Never raises."""
    found = _judge(exc)
    return (None, exc) if found is None or found[0] == "hidden" else found


def hides_refusal(exc: BaseException) -> bool:
    """Whether `exc` is of those that a refused connect raises as well as others, and does not say which. Never raises.

    Only asking the port can tell: `_asking`.
    """
    found = _judge(exc)
    return found is not None and found[0] == "hidden"


class known_refused:  # noqa: N801  # it reads as a sentence: `with known_refused(error):`
    """While this is entered, an error that hides what happened is judged as refused: its port was asked."""

    __slots__ = ("_error", "_key")

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self._key = object()

    def __enter__(self) -> None:
        _known_refused[self._key] = self._error

    def __exit__(self, *_: object) -> None:
        del _known_refused[self._key]


def turned_away(exc: BaseException) -> CircuitOpenError | None:
    """Return the `CircuitOpenError` that `exc` is or was raised from: that call has not reached its endpoint."""
    link: BaseException | None = exc
    for _ in range(_MOST_CAUSES):
        if link is None or issubclass(type(link), CircuitOpenError):
            return link  # type: ignore[return-value]  # by its class, whatever it claims to be
        link = _cause(link)
    return None


def _judge(exc: BaseException) -> tuple[Kind, BaseException] | None:
    try:
        if type(exc) is ConnectionRefusedError:  # the most frequent by far, and nothing behind it could change that
            return "refused", exc
        if type(exc) in _PLAIN and _cause(exc) is None:
            for argument in _args(exc):
                if type(argument) is not str:
                    break
            else:
                return None
        found = _Walk().judge(exc, 0)
    except Exception:  # noqa: BLE001  # a judge that raises would replace the error it judges
        return None
    if found is not None and found[0] == "hidden" and any(known is exc for known in [*_known_refused.values()]):
        return "refused", exc
    return found


class _Walk:
    """One judgement: a budget, and what was found so far."""

    __slots__ = ("left", "verdicts")

    def __init__(self) -> None:
        self.left = MOST_NODES
        self.verdicts: dict[int, tuple[Kind, BaseException] | None] = {}

    def judge(self, exc: BaseException, depth: int) -> tuple[Kind, BaseException] | None:
        if type(exc) is ConnectionRefusedError and depth <= DEEPEST:
            return "refused", exc
        key = id(exc)
        if key in self.verdicts:  # also a cycle: an exception adds nothing to itself
            return self.verdicts[key]
        if self.left <= 0 or depth > DEEPEST or not is_exception(exc):
            return None
        self.left -= 1
        self.verdicts[key] = None
        try:
            found = self._look(exc, depth)
        except Exception:  # noqa: BLE001  # a hostile class: no evidence there
            found = None
        if found is not None and found[0] == "other":
            found = None
        self.verdicts[key] = found
        return found

    def _look(self, exc: BaseException, depth: int) -> tuple[Kind, BaseException] | None:
        cls = type(exc)
        if not issubclass(cls, Exception) or issubclass(cls, CircuitOpenError):
            return None  # an interrupt is no refusal; a circuit's own word is no evidence of the endpoint's
        reader = signatures.find(cls)
        said: Kind | None = None
        if reader is not None:
            said = reader.read(exc)
            if said in ("hopeless", "not_ready", "other"):  # the client's own word vetoes whatever lies behind
                return said, exc
            if said == "refused" and _cause(exc) is None:
                context = _context(exc)
                if context is None:  # most texts stand alone
                    return said, exc
                if type(context) is ConnectionRefusedError:  # or stand on the system's own word
                    wrapped = wrapped_context(exc, cls, vouched=reader.signature.vouches)
                    return said, exc if wrapped is None else wrapped
        cause = _cause(exc)
        own = _own_kind(exc, cls) if issubclass(cls, OSError) or cls.__name__ == "TimeoutError" else None
        if own is not None:
            timed_out = own == "unreachable" and issubclass(cls, TimeoutError)
            told = self.judge(cause, depth + 1) if timed_out and cause is not None else None
            return told or (own, exc)  # why the time ran out, if it says so
        if cause is not None and not anatomy(cls).group:
            found = self.judge(cause, depth + 1)
            if found is not None:
                return found
        beyond = _NONE if reader is None else reader.signature
        for reason in behind(exc, vouched=beyond.vouches, carriers=beyond.carriers, cause=False):
            found = self._all(reason, depth + 1)
            if found is not None:
                return found
        return None if said is None else (said, exc)

    def _all(self, reason: list[BaseException], depth: int) -> tuple[Kind, BaseException] | None:
        if len(reason) == 1:
            return self.judge(reason[0], depth)
        if len(reason) > self.left:
            return None
        found: list[tuple[Kind, BaseException]] = []
        for member in reason:
            verdict = self.judge(member, depth)
            if verdict is None:
                return None
            found.append(verdict)
        kind = together(verdict[0] for verdict in found)
        return None if kind is None else (kind, next(evidence for its, evidence in found if its == kind))


def _own_kind(exc: BaseException, cls: type) -> Kind | None:
    """Judge by type and errno, both: either may be missing."""
    if issubclass(cls, ConnectionRefusedError):
        return "refused"
    if not issubclass(cls, OSError):
        # Before 3.11 these two were classes of their own.
        return "unreachable" if cls.__name__ == "TimeoutError" and cls.__module__ in _TIMEOUTS else None
    if cls.__name__ == "gaierror" and cls.__module__ == "socket":
        return "unresolved" if _is_name_error(exc) else None
    number = exc.errno  # type: ignore[attr-defined]  # an OSError, by its own class
    winerror = getattr(exc, "winerror", None)
    if number == errno.ECONNREFUSED or winerror in _REFUSED_WINERRORS:
        return "refused"
    if number in _UNREACHABLE or winerror in _UNREACHABLE_WINERRORS or issubclass(cls, TimeoutError):
        return "unreachable"
    if cls is OSError and number is None:
        return _combined_kind(str(exc))
    if any(base.__module__ == "ssl" for base in cls.__mro__):
        return "hopeless" if getattr(exc, "reason", None) in _TLS_MISMATCH else None
    return None


def _is_name_error(exc: BaseException) -> bool:
    socket = sys.modules.get("socket")  # a gaierror proves that it is loaded
    number = getattr(exc, "errno", None)
    return number is not None and any(number == getattr(socket, code, None) for code in _NAME_CODES)


def _combined_kind(text: str) -> Kind | None:
    """Judge asyncio's combined text: the number of every address in it must say the same."""
    if not text.startswith(_CONNECT_CALLS_FAILED) or len(text) > LONGEST_TEXT:
        return None
    clauses = text[len(_CONNECT_CALLS_FAILED) :]
    if re.fullmatch(rf"{_CLAUSE}(?:, {_CLAUSE})*", clauses) is None:  # an address without a number is not refused
        return None
    return together(_NUMBERED.get((form, int(number))) for form, number in re.findall(_CLAUSE, clauses))


def _endpoint(exc: BaseException) -> Endpoint | None:
    for link in chain(exc):
        try:
            found = signatures.address(link)
            if found is None and isinstance(link, OSError):
                match = re.search(r"Connect call failed \('([^']+)', (\d+)", str(link)[:LONGEST_TEXT])
                found = None if match is None else (match[1], int(match[2]))
            if found is not None:
                return Endpoint(scheme="tcp", host=found[0], port=found[1], path=None)
        except Exception:  # noqa: BLE001  # only for people to read: nothing depends on it
            continue
    return None
