"""Ask a port whether it refuses: one short connect, for the clients that hide what happened.

Loaded when the first such error meets a target. The answer is about now, and not about the moment of the error.
Names are resolved and addresses dialled on a thread of its own, never on the caller's; an answer that does not come
within `BOUND` is "no". One answer serves every caller of an endpoint for `SHARED` seconds.
There is no lock, which a forked child or a signal handler could meet: the questions about one endpoint are a chain, and
behind each only one can be hung.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from time import monotonic  # real time, also in a test with a fake clock: the port is real
from typing import Any, Final

from . import clock
from .endpoint import Endpoint

BOUND: Final = 0.25
"""Seconds for the name and for the connects to all its addresses together."""

SHARED: Final = 0.1
"""Seconds from an answer during which nobody asks anew."""

MOST_KEPT: Final = 256
"""Endpoints whose last answer is kept, but for those that are asked just now."""

_NOT_FROM_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""This machine has no address of that family: no connect of the client's can have got there either."""

_latest: Final[dict[tuple[int, Endpoint], Question]] = {}


def ask(endpoint: Endpoint) -> bool:
    """Whether every address of this endpoint refuses now. Blocks for `BOUND` seconds at most."""
    question = put(endpoint)
    if not question.cancelled:
        clock.nap(question.left, question)
    return question.refused


async def ask_async(endpoint: Endpoint) -> bool:
    """Whether every address of this endpoint refuses now; the event loop goes on meanwhile."""
    question = put(endpoint)
    if not question.cancelled:
        await clock.nap_async(question.left, question)
    return question.refused


class Question(clock.Cancellation):
    """One question about one endpoint, for any number of callers; the answer ends the pauses of all of them.

    Attributes:
        refused: whether the answer is "refused".
    """

    __slots__ = ("_answered", "_following", "_until", "refused")

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self._until = monotonic() + BOUND
        self._answered: float | None = None
        self._following: dict[str, Question] = {}

    @property
    def left(self) -> float:
        """Seconds for which it is worth waiting, 0 or more."""
        return max(0.0, self._until - monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return self._cancelled or self.left == 0

    @property
    def old(self) -> bool:
        """Whether to ask anew. Not while a resolver hangs: no second thread shall hang beside the first."""
        return self._answered is not None and monotonic() - self._answered >= SHARED

    def before(self, other: Question) -> Question:
        """Return the question that follows this one: whichever was hung here first."""
        return self._following.setdefault("", other)

    def answer(self, refused: bool) -> None:
        """Tell everybody; the first answer counts, and one that comes too late is "no"."""
        if self._answered is None:
            self.refused = refused and self.left > 0
            self._answered = monotonic()
            self.cancel()


def put(endpoint: Endpoint) -> Question:
    """Return the question whether this endpoint refuses: one that is being asked or was a moment ago, or a new one."""
    key = os.getpid(), endpoint  # a forked child has none of its parent's threads
    new = Question()
    question = _latest.setdefault(key, new)
    while question.old:
        question = question.before(new)
    _latest[key] = question
    if question is new:
        _start(new, endpoint)
        if len(_latest) > MOST_KEPT:
            _forget()
    return question


def _start(question: Question, endpoint: Endpoint) -> None:
    try:
        threading.Thread(target=_find_out, args=(question, endpoint), daemon=True, name="resilient-asking").start()
    except RuntimeError:  # no more threads, or Python is shutting down
        question.answer(False)
    except BaseException:
        question.answer(False)
        raise


def _find_out(question: Question, endpoint: Endpoint) -> None:
    refused = False
    try:
        refused = _refuses(endpoint, question)
    except Exception:  # noqa: BLE001  # a name that does not resolve, or no descriptor left: it is not known to refuse
        pass
    finally:
        question.answer(refused)


def _refuses(endpoint: Endpoint, question: Question) -> bool:
    answers = [_dial(family, address, question.left) for family, address in _addresses(endpoint)]
    known = [answer for answer in answers if answer is not None]
    return bool(known) and all(known)


def _addresses(endpoint: Endpoint) -> list[tuple[int, Any]]:
    if endpoint.path is not None:
        return [(socket.AF_UNIX, endpoint.path)]
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _dial(family: int, address: Any, seconds: float) -> bool | None:
    """Whether this address refuses; None: nobody on this machine can reach it."""
    if seconds <= 0:
        return False
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(address)
        except OSError as error:
            return None if error.errno in _NOT_FROM_HERE else error.errno == errno.ECONNREFUSED
        # On loopback a connect to a free port of the ephemeral range may meet itself.
        return bool(connection.getsockname() == connection.getpeername()) and family != getattr(socket, "AF_UNIX", None)


def _forget() -> None:
    for key, question in list(_latest.items()):
        if question.old:
            _latest.pop(key, None)
