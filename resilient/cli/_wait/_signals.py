"""Signals while we wait, and how a command takes our place.

Only the main thread hears signals. SIGTERM ends the wait as Ctrl-C does; a process with PID 1 would not even notice it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

NOT_RUNNABLE: Final = 126  # 126 and 127 as POSIX has them: XCU 2.8.2 "Exit Status for Commands"
NOT_FOUND: Final = 127
_STOPPING: Final = (int(signal.SIGINT), int(signal.SIGTERM))


class Stopped(BaseException):  # no error, as KeyboardInterrupt is none
    """A signal ended the wait.

    Attributes:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Raise `Stopped` in the main thread for SIGINT and SIGTERM, unless they came ignored."""
    before: dict[int, object] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)  # type: ignore[arg-type]  # what it was


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Let threads that are started in here inherit that no signal is delivered to them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def become(command: tuple[str, ...]) -> int:
    """Run a command in the place of this process; returns an exit status only where that fails.

    On Windows, which cannot do that, it runs as a child, and its exit status comes back.

    Raises:
        OSError: it cannot be run.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # it is closed, or nobody reads it: the command runs all the same
            stream.flush()
    if os.name == "nt":
        import subprocess

        return subprocess.call(list(command))
    with unheard():  # a signal that comes now is either ours still, or ends the process as it would the command
        for number in _STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        for name in ("SIGPIPE", "SIGXFSZ"):  # ignored by Python, and what is ignored is inherited
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
    return os.execvp(command[0], command)  # which does not return
