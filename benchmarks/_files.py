"""How many files this process has open, and how many it may."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

_ENOUGH: Final = 100_000


def open_files() -> int:
    """Count the open files of this process: by the list of them where there is one, else by asking for each."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return len(os.listdir(folder))
    count = 0
    for number in range(8192):
        with contextlib.suppress(OSError):
            os.fstat(number)
            count += 1
    return count


@contextlib.contextmanager
def most_files() -> Iterator[int]:
    """Allow as many open files as the system does, for whoever leaves them open."""
    try:
        import resource
    except ImportError:  # Windows: no such limit on sockets
        yield _ENOUGH
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        yield resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
