"""What 1000 failing calls leave behind while nobody collects garbage: open sockets and live frames.

Each attempt opens a real socket to a port that refuses and lets it fly with its frame, as clients do that do not close
it themselves. A value in the same frame is watched by a weak reference.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import warnings
import weakref
from collections.abc import Iterator
from typing import Any, Final

import tenacity

from resilient import Backoff, Policy, log_events, retry_on_refused
from resilient.testing import refused_port

from . import peers
from ._files import most_files, open_files
from .failure import cheap_handler
from .report import Row
from .sampling import collector_off, spread

TITLE: Final = "Left behind by 1000 failing calls, garbage collector off"

CALLS: Final = 1000
ATTEMPTS: Final = 2


class _Payload:
    """Stands for what a frame holds; dies with it."""


class _Connect:
    """A connect that is refused, and what its attempts have left so far."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.payloads: list[weakref.ref[_Payload]] = []

    def __call__(self) -> None:
        payload = _Payload()
        self.payloads.append(weakref.ref(payload))
        connection = socket.socket()
        connection.connect(("127.0.0.1", self._port))


def measure() -> Iterator[Row]:
    """Count for plain functions and for coroutines."""
    with warnings.catch_warnings(), refused_port() as port, most_files() as most, cheap_handler():
        warnings.simplefilter("ignore", ResourceWarning)  # that sockets are left open is what is counted
        calls = min(CALLS, (most - 100) // ATTEMPTS)
        note = "" if calls == CALLS else f"only {calls} calls: the system allows {most} open files"
        for what, run in (("a function", _run), ("a coroutine", _run_async)):
            counted = {name: run(protect, _Connect(port), calls) for name, protect in _decorators().items()}
            ours = counted.pop("ours")
            for index, left in enumerate(("open sockets", "live frames")):
                yield Row(
                    what=f"{left}, {what}",
                    unit="",
                    bound=0,
                    measured=spread([ours[index]]),
                    peers={name: str(counts[index]) for name, counts in counted.items()},
                    note=note,
                )


def _run(protect: peers.Decorator, connect: _Connect, calls: int) -> tuple[int, int]:
    @protect
    def protected() -> None:
        connect()

    with collector_off():
        before = open_files()
        for _ in range(calls):
            with contextlib.suppress(Exception):
                protected()
        return _counts(connect, before, calls)


def _run_async(protect: peers.Decorator, connect: _Connect, calls: int) -> tuple[int, int]:
    @protect
    async def protected() -> None:
        connect()

    async def main() -> tuple[int, int]:
        before = open_files()
        for _ in range(calls):
            with contextlib.suppress(Exception):
                await protected()
        return _counts(connect, before, calls)

    with collector_off():
        return asyncio.run(main())


def _counts(connect: _Connect, before: int, calls: int) -> tuple[int, int]:
    made = len(connect.payloads)
    if made != calls * ATTEMPTS:
        raise RuntimeError(f"{made} attempts in {calls} calls: the figures would not compare")
    return open_files() - before, sum(payload() is not None for payload in connect.payloads)


def _decorators() -> dict[str, peers.Decorator]:
    policy = Policy(attempts=ATTEMPTS, backoff=Backoff(initial=0.0, maximum=0.0), observers=(log_events,))
    refused = tenacity.retry_if_exception_type(ConnectionRefusedError)
    stop = tenacity.stop_after_attempt(ATTEMPTS)
    found: dict[str, Any] = {
        "ours": retry_on_refused(policy=policy),
        "tenacity": tenacity.retry(retry=refused, stop=stop),
        "tenacity reraise=True": tenacity.retry(retry=refused, stop=stop, reraise=True),
    }
    with contextlib.suppress(ImportError):
        import stamina

        stamina.instrumentation.set_on_retry_hooks([])
        found["stamina"] = stamina.retry(
            on=ConnectionRefusedError, attempts=ATTEMPTS, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0
        )
    with contextlib.suppress(ImportError):
        import backoff

        found["backoff"] = backoff.on_exception(
            backoff.constant, ConnectionRefusedError, interval=0, jitter=None, max_tries=ATTEMPTS, logger=None
        )
    return found
