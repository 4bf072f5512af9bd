"""Look at something on a thread of its own, for a limited time: a resolver or a driver may hang for minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class LateError(Exception):
    """There was no answer in time; the thread goes on alone, and nobody waits for it."""


class PatientThread(threading.Thread):
    """A daemon thread that may hang, because nobody needs its end."""


class Look(Generic[T]):
    """One thing that is being looked at; on this thread, where that is a patient one and no other can be started."""

    def __init__(self, function: Callable[..., T], *arguments: Any) -> None:
        self._over = threading.Event()
        self._found: list[T] = []
        self._error: Exception | None = None
        try:
            threading.Thread(
                target=self._look, args=(function, arguments), name="resilient-diagnosis", daemon=True
            ).start()
        except RuntimeError as error:  # no more threads; Python 3.12.0 and 3.12.1 start none in an atexit function
            if isinstance(threading.current_thread(), PatientThread):
                self._look(function, arguments)
                return
            self._error = error
            self._over.set()

    def _look(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> None:
        try:
            self._found.append(function(*arguments))
        except Exception as error:  # noqa: BLE001  # it is raised where somebody waits
            self._error = error
        finally:
            self._over.set()

    def is_over(self, until: float) -> bool:
        """Whether it came to its end, until that moment of `time.monotonic`."""
        return self._over.wait(max(0.0, until - monotonic()))

    def wait(self, until: float) -> T:
        """Return what was found, or raise what was raised.

        Raises:
            LateError: nothing was, until that moment of `time.monotonic`.
        """
        if not self.is_over(until):
            raise LateError
        if self._error is not None:
            raise self._error
        if not self._found:
            raise LateError
        return self._found[0]

    def wait_or(self, until: float, otherwise: T) -> T:
        """Return what was found, or `otherwise`: too late, or it cannot be looked at."""
        try:
            return self.wait(until)
        except Exception:  # noqa: BLE001  # whatever a look raises, it has shown nothing
            return otherwise
