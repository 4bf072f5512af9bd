"""What a signature is: rules over one client's own classes, codes and texts.

Pure: data, and the few lines that read it. Named tuples, because every program that imports this library makes them:
a dataclass takes eight times as long to build (measured, CPython 3.11).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from .._causes import package
from .._values import NamedTuple

Kind: TypeAlias = Literal["refused", "not_ready", "unresolved", "unreachable", "hopeless", "other"]
"""What an error says of its endpoint. "other" is a signature's own word that it is none of the rest."""

WAITING_MAY_HELP: Final[tuple[Kind, ...]] = ("refused", "not_ready", "unresolved", "unreachable")
"""From the most to the least certain that nothing was sent."""

LONGEST_TEXT: Final = 10_000
"""Characters of an error's text that are looked at."""

_ENGLISH: Final = {
    errno.ECONNREFUSED: "Connection refused",
    errno.EHOSTUNREACH: "No route to host",
    errno.ENETUNREACH: "Network is unreachable",
    errno.ETIMEDOUT: "Connection timed out",
    errno.EADDRNOTAVAIL: "Cannot assign requested address",
    errno.EAFNOSUPPORT: "Address family not supported by protocol",
}


class Rule(NamedTuple):
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

    def holds(self, own: set[str], code: object, text: str) -> bool:
        """Whether this rule holds for an error of the classes `own` with this code and text."""
        return (
            (not self.classes or not self.classes.isdisjoint(own))
            and (not self.codes or code in self.codes)
            and (self.text is None or re.search(self._pattern(), text) is not None)
        )

    def _pattern(self) -> str:
        assert self.text is not None
        return self.text.replace("WORDS", _words(self.errnos)) if self.errnos else self.text


class Signature(NamedTuple):
    """How one client library shows a refusal, a server that is not ready, and what waiting cannot mend.

    Attributes:
        package: the top-level package its classes live in.
        rules: tried in order; the first that holds decides.
        code: attribute that holds the code, "args" for the first argument; None where the client has none.
        clauses: regular expressions that match the start of what one text says of each of several addresses; the first
            that matches splits the text, each clause is judged by itself, and the error is what all come to together.
        address: a regular expression with the groups `host` and `port`, to name the endpoint in logs.
        vouches: the client hides its cause behind `from None`, or drops its traceback, and is known to mean it.
    """

    package: str
    rules: tuple[Rule, ...] = ()
    code: str | None = None
    clauses: tuple[str, ...] = ()
    address: str | None = None
    vouches: bool = False

    def read(self, exc: BaseException) -> Kind | None:
        """Return what the error itself shows, or None. May raise whatever a hostile class raises."""
        if not self.rules:
            return None
        own = {base.__name__ for base in type(exc).__mro__ if package(base) == self.package}
        code = self._code_of(exc)
        text = str(exc)[:LONGEST_TEXT]
        return together(
            next((rule.kind for rule in self.rules if rule.holds(own, code, clause)), None)
            for clause in self._split(text)
        )

    def _code_of(self, exc: BaseException) -> object:
        if self.code is None:
            return None
        code = getattr(exc, self.code, None)
        if self.code == "args":
            code = code[0] if code else None
        return code if type(code) in (int, str) else None

    def _split(self, text: str) -> list[str]:
        for start in self.clauses:
            starts = [match.start() for match in re.finditer(start, text)]
            if starts:
                # What stands before the first clause counts as well: a server's answer may go on with lines that look
                # like the client library's own.
                starts = [*([0] if text[: starts[0]].strip() else []), *starts]
                return [text[begin:end] for begin, end in zip(starts, [*starts[1:], len(text)], strict=True)]
        return [text]


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
    """Return an alternative of the system's words for some errno. Asked anew each time: `setlocale` changes them."""
    words = {os.strerror(number) for number in numbers} | {_ENGLISH[number] for number in numbers if number in _ENGLISH}
    return f"(?:{'|'.join(map(re.escape, sorted(words)))})"
