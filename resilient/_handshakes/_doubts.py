"""When a driver fails and its error does not say why: does something else answer there? A first word can tell."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic  # real time, also in a test with a fake clock: the server is real
from typing import Final

from ..endpoint import Endpoint
from ..errors import NotServingError
from ..refusal import kind_of
from . import HANDSHAKES, shake

LONGEST_LOOK: Final = 1.0
SHORTEST_LOOK: Final = 0.25
"""Seconds: what the driver has left of its time, within these. Who speaks another protocol mostly says so at once."""

_CLEAR: Final = frozenset({"refused", "not_ready", "unresolved", "hopeless"})


class Doubted:
    """A hello through a driver, called with seconds. Where something else answers, it says what, and that is final.

    Drivers call that "connection closed", "invalid response" or a timeout, after which one would wait to the end.
    The look is taken at the 1st, 2nd, 4th, 8th ... error that says nothing clear: few connects more, and none in vain
    where a port is first a proxy's.
    """

    def __init__(self, hello: Callable[[float], object], endpoint: Endpoint) -> None:
        self._hello = hello
        self._endpoint = endpoint
        self._unclear = 0

    def __call__(self, timeout: float) -> object:
        """Say hello.

        Raises:
            NotServingError: something else answers there; the driver's error is the cause.
            Exception: the driver's own.
        """
        began = monotonic()
        try:
            return self._hello(timeout)
        except Exception as error:
            if kind_of(error) in _CLEAR:
                raise
            self._unclear += 1
            if self._unclear & (self._unclear - 1):  # no power of two
                raise
            left = timeout - (monotonic() - began)
            stranger = _who_else(self._endpoint, min(LONGEST_LOOK, max(SHORTEST_LOOK, left)))
            if not stranger:
                raise
            text = f"{self._endpoint}: it is not {self._endpoint.scheme}: {stranger}"
            raise NotServingError(text, "wrong_protocol") from error


def _who_else(endpoint: Endpoint, timeout: float) -> str:
    """Return who answers there in another protocol, in words, or ""."""
    try:
        answer = shake(endpoint, timeout=timeout)
    except OSError:
        return ""
    if endpoint.scheme not in HANDSHAKES:  # no first word of it is known: only who speaks first shows itself
        return answer.text if answer.kind == "serves" and " answers there" in answer.text else ""
    # A driver may know of its TLS by other settings than the scheme's.
    return answer.text if answer.kind == "wrong_protocol" and "TLS is expected" not in answer.text else ""
