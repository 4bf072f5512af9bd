"""What a signature is: rules over one client's own classes, codes and texts; and what reads it.

Pure: data, and the lines that read it. Named tuples, because every program that imports this library makes them:
a dataclass takes eight times as long to build (measured, CPython 3.11).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, TypeAlias, get_args

from .._causes import package
from .._values import Value

Kind: TypeAlias = Literal["refused", "not_ready", "unresolved", "unreachable", "hopeless", "hidden", "other"]
"""What an error says of its endpoint.

"hidden" and "other" are signatures' own words, and nobody else hears them: "hidden" is an error that a refused connect
raises as well as others do, and that does not say which: only asking the port can tell. "other" is none of all these.
"""

WAITING_MAY_HELP: Final[tuple[Kind, ...]] = ("refused", "not_ready", "unresolved", "unreachable")
"""From the most to the least certain that nothing was sent."""

LONGEST_TEXT: Final = 10_000
"""Characters of an error's text that are looked at."""

MOST_CLASSES: Final = 256
"""Classes of one client, the application's own subclasses among them, of which it is kept which rules may hold."""

_Compiled: TypeAlias = "tuple[Kind, frozenset[object], re.Pattern[str] | None]"

_ENGLISH: Final = {
    errno.ECONNREFUSED: "Connection refused",
    errno.EHOSTUNREACH: "No route to host",
    errno.ENETUNREACH: "Network is unreachable",
    errno.ETIMEDOUT: "Connection timed out",
    errno.EADDRNOTAVAIL: "Cannot assign requested address",
    errno.EAFNOSUPPORT: "Address family not supported by protocol",
}


class Rule(Value):
    """One way in which a client shows something; every condition that is given must hold.

    Attributes:
        kind: what it shows.
        classes: names of the client's own classes; empty for all of them. Subclasses count.
        codes: values of the code that the client puts beside its text.
        errnos: `WORDS` in `text` stands for the system's words for one of these errno, in English or in the language
            of the process.
        text: a regular expression, searched for in the text.
    """

    kind: Kind
    classes: frozenset[str] = frozenset()
    codes: frozenset[object] = frozenset()
    errnos: frozenset[int] = frozenset()
    text: str | None = None


class Signature(Value):
    """How one client library shows a refusal, a server that is not ready, and what waiting cannot mend.

    Attributes:
        package: the top-level package its classes live in.
        rules: tried in order; the first that holds decides.
        code: attribute that holds the code, "args" for the first argument, or a function of the error that returns it;
            None where the client has none.
        text: a function of the error that returns the text to look at, where it is not `str(error)`.
        clauses: regular expressions for the line with which begins what one text says of one of several addresses; the
            first that matches any line splits the text, each clause is judged by itself, and the error is what all
            come to together.
        address: a regular expression with the groups `host` and `port`, to name the endpoint in logs.
        carriers: attributes in which this client carries an inner error, beside those in which many do.
        vouches: the client hides its cause behind `from None`, or drops its traceback, and is known to mean it.
    """

    package: str
    rules: tuple[Rule, ...] = ()
    code: str | Callable[[Any], object] | None = None
    text: Callable[[Any], object] = str
    clauses: tuple[str, ...] = ()
    address: str | None = None
    carriers: tuple[str, ...] = ()
    vouches: bool = False


def check(signature: Signature) -> None:
    """Refuse a signature that cannot work.

    Raises:
        TypeError: it is not a `Signature`, or a field has the wrong type.
        ValueError: a field has a value that cannot work.
    """
    if not isinstance(signature, Signature):
        raise TypeError(f"a Signature is needed, not {type(signature).__name__}")
    package = signature.package
    if not isinstance(package, str) or not package.isidentifier():
        raise ValueError(f"package must be a top-level package, as in 'redis', not {package!r}")
    if not isinstance(signature.rules, tuple) or not all(isinstance(rule, Rule) for rule in signature.rules):
        raise TypeError(f"rules of {package!r} must be a tuple of Rule: write rules=(Rule(...),), with the comma")
    if signature.code is not None and not isinstance(signature.code, str) and not callable(signature.code):
        raise TypeError(f"code of {package!r} must be the name of an attribute or a function, not {signature.code!r}")
    if isinstance(signature.carriers, str) or not all(isinstance(name, str) for name in signature.carriers):
        raise TypeError(f"carriers of {package!r} must be a tuple of names of attributes, not {signature.carriers!r}")
    if not callable(signature.text):
        raise TypeError(f"text of {package!r} must be a function of the error, not {signature.text!r}")
    for clause in signature.clauses:
        _check_pattern(f"clauses of {package!r}", clause)
    if signature.address is not None:
        _check_pattern(f"address of {package!r}", signature.address)
        if not {"host", "port"} <= re.compile(signature.address).groupindex.keys():
            raise ValueError(f"address of {package!r} must have the groups host and port: (?P<host>…), (?P<port>…)")
    for number, rule in enumerate(signature.rules, 1):
        where = f"rule {number} of {package!r}"
        if rule.kind not in get_args(Kind):
            raise ValueError(f"{where}: kind must be one of {', '.join(get_args(Kind))}, not {rule.kind!r}")
        for field in ("classes", "codes", "errnos"):
            if not isinstance(getattr(rule, field), (frozenset, set)):
                raise TypeError(f"{where}: {field} must be a frozenset, not {type(getattr(rule, field)).__name__}")
        if rule.codes and signature.code is None:
            raise ValueError(f"{where} has codes, so the signature must say where the code is: code=...")
        if rule.text is not None:
            _check_pattern(f"{where}: text", rule.text)
        if rule.errnos and (rule.text is None or "WORDS" not in rule.text):
            raise ValueError(f"{where} has errnos, so its text must have WORDS in the place of the system's words")
        if not (rule.classes or rule.codes or rule.text is not None):
            raise ValueError(f"{where} holds for every error of that client: give classes, codes or a text")


def _check_pattern(where: str, pattern: object) -> None:
    if not isinstance(pattern, str):
        raise TypeError(f"{where} must be a regular expression as text, not {type(pattern).__name__}")
    try:
        re.compile(pattern)
    except re.error as problem:
        raise ValueError(f"{where} is no regular expression: {problem}") from None


MOST_RECENT: Final = 32
"""Texts of which it is kept, for each client, what they say."""

LONGEST_RECENT: Final = 1_024
"""Characters of such a text."""

_UNREAD: Final = object()


class Reader:
    """What reads one signature: made once, so that an error costs microseconds; which rules may hold is kept by class.

    Attributes:
        signature: what it reads.
    """

    __slots__ = ("_clauses", "_for_class", "_recent", "_words", "signature")

    def __init__(self, signature: Signature) -> None:
        self.signature: Signature = signature
        self._clauses = tuple(map(re.compile, signature.clauses))
        self._for_class: dict[type, tuple[_Compiled, ...]] = {}
        self._recent: dict[tuple[type, object, str], Kind | None] = {}
        self._words = ""

    def read(self, exc: BaseException) -> Kind | None:
        """Return what the error itself shows, or None. May raise whatever a hostile class raises."""
        cls = type(exc)
        rules = self._for_class.get(cls)
        if rules is None or self._words != os.strerror(errno.ECONNREFUSED):  # `setlocale` changes them
            rules = self._compile(cls)
        if not rules:
            return None
        code = None if self.signature.code is None else self._code_of(exc)
        for kind, codes, pattern in rules:
            if not codes or code in codes:
                if pattern is None:
                    return kind
                break
        else:
            return None
        text = str.__str__(str(self.signature.text(exc)))  # no subclass takes part in what follows
        if len(text) > LONGEST_TEXT:
            text = text[:LONGEST_TEXT]
        key = (cls, code, text)
        known = self._recent.get(key, _UNREAD)  # an outage says the same at every attempt, each judged several times
        if known is not _UNREAD:
            return known  # type: ignore[return-value]  # what `_kind_of` returned
        found = self._kind_of(rules, code, text)
        if len(self._recent) >= MOST_RECENT:
            self._recent.clear()
        if len(text) <= LONGEST_RECENT:
            self._recent[key] = found
        return found

    def _kind_of(self, rules: tuple[_Compiled, ...], code: object, text: str) -> Kind | None:
        if not self._clauses:
            return _first(rules, code, text)
        clauses = self._split(text)
        if len(clauses) == 1:
            return _first(rules, code, clauses[0])
        return together([_first(rules, code, clause) for clause in clauses])

    def _compile(self, cls: type) -> tuple[_Compiled, ...]:
        words = os.strerror(errno.ECONNREFUSED)
        if words != self._words or len(self._for_class) >= MOST_CLASSES:
            self._words, self._for_class = words, {}
            self._recent.clear()
        own = {base.__name__ for base in cls.__mro__ if package(base) == self.signature.package}
        fit = [rule for rule in self.signature.rules if not rule.classes or not rule.classes.isdisjoint(own)]
        compiled: list[_Compiled] = [(rule.kind, rule.codes, _pattern(rule)) for rule in fit]
        rules = self._for_class[cls] = tuple(compiled)
        return rules

    def _code_of(self, exc: BaseException) -> object:
        name = self.signature.code
        if name is None:
            return None
        if callable(name):
            code = name(exc)
        else:
            code = getattr(exc, name, None)
            if name == "args":
                code = code[0] if code else None
        return code if type(code) in (int, str) else None

    def _split(self, text: str) -> list[str]:
        lines, end = [0], text.find("\n")
        while end >= 0:
            if not text[end + 1 : end + 2].isspace():  # what is indented goes on with the line above
                lines.append(end + 1)
            end = text.find("\n", end + 1)
        if len(lines) == 1:
            return [text]
        for start in self._clauses:
            starts = [place for place in lines if start.match(text, place)]
            if starts:
                # What stands before the first clause counts as well: a server's answer may go on with lines that look
                # like the client library's own.
                starts = [*([0] if text[: starts[0]].strip() else []), *starts]
                return [text[begin:end] for begin, end in zip(starts, [*starts[1:], len(text)], strict=True)]
        return [text]


def _first(rules: tuple[_Compiled, ...], code: object, text: str) -> Kind | None:
    for kind, codes, pattern in rules:
        if (not codes or code in codes) and (pattern is None or pattern.search(text) is not None):
            return kind
    return None


def _pattern(rule: Rule) -> re.Pattern[str] | None:
    if rule.text is None:
        return None
    return re.compile(rule.text.replace("WORDS", _words(rule.errnos)) if rule.errnos else rule.text)


def together(kinds: Iterable[Kind | None]) -> Kind | None:
    """Return what the answers of several addresses come to.

    Refused only if all were; otherwise the least certain of them; and None as soon as waiting may not help with one.
    """
    seen: set[Kind] = set()
    for kind in kinds:
        if kind is None:
            return None
        seen.add(kind)
    if len(seen) == 1:
        return seen.pop()
    if not seen or not seen.issubset(WAITING_MAY_HELP):
        return None
    return max(seen, key=WAITING_MAY_HELP.index)


def _words(numbers: frozenset[int]) -> str:
    """Return an alternative of the system's words for some errno, in English and in the language of the process."""
    words = {os.strerror(number) for number in numbers} | {_ENGLISH[number] for number in numbers if number in _ENGLISH}
    return f"(?:{'|'.join(map(re.escape, sorted(words)))})"
