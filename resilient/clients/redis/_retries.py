"""What is left of a client's own retry, for one connection: it is for commands that were sent, and makes no connect.

The two `call_with_retry` are twins, edited together.
"""

from __future__ import annotations

import copy
import functools
import select
import socket
import time
import weakref
from time import monotonic
from typing import Any, Final

from ._library import Library


class _Kept:
    """What is left of a client's own retry, for one connection. Mixed into the client's class."""

    _given: Any
    _backoff: Any
    _retries: int
    _supported_errors: tuple[type[Exception], ...]

    def __init__(self, library: Library, given: Any, connection: Any) -> None:
        if library.is_default(given):
            given = library.no_retry()
        elif isinstance(given, _Kept):
            given = given._given
        super().__init__(given._backoff, given._retries, given._supported_errors)  # type: ignore[call-arg]
        self._given = given
        self._connection = weakref.ref(connection)  # which holds this
        self._lost = library.error

    def __deepcopy__(self, memo: Any) -> Any:
        return copy.deepcopy(self._given, memo)

    def _listens_on(self, error: Exception, failures: int) -> bool:
        """Whether a subscriber lost its connection: reading on loses nothing that was not lost already."""
        connection: Any = self._connection()
        if connection._resilient_dials:
            return False
        return connection._resilient_listens and failures == 1 and isinstance(error, self._lost)

    def _is_over(self, failures: int) -> bool:
        connection: Any = self._connection()
        return connection._resilient_dials or connection._resilient_gave_up or 0 <= self._retries < failures


@functools.lru_cache(maxsize=4)
def kept(retry: Any) -> Any:
    def call_with_retry(
        self: Any, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False
    ) -> Any:
        connection, failures, lost = self._connection(), 0, None
        if monotonic() > connection._resilient_seen + _FRESH and not connection._resilient_dials:
            lost = _lost(connection, self._lost)
        while True:
            try:
                if lost is not None:
                    raise lost
                result = do()
            except self._supported_errors as error:
                if is_retryable and not is_retryable(error):
                    raise
                failures += 1
                if failures == 1:
                    self._backoff.reset()
                if connection._resilient_listens and connection._resilient_gave_up:
                    raise  # its handler would only connect once more
                if self._listens_on(error, failures):
                    connection.disconnect()
                    connection.connect()
                    lost = None
                    continue
                if lost is not None:  # nothing was sent: its handler resets what it must, and then once more
                    try:
                        _told(fail, error, failures, with_failure_count)
                    except self._lost as raised:
                        if raised is not lost:
                            raise
                    connection.disconnect()
                    lost, failures = None, 0
                    continue
                _told(fail, error, failures, with_failure_count)
                if self._is_over(failures):
                    raise
                pause = self._backoff.compute(failures)
            else:
                connection._resilient_seen = monotonic()
                return result
            if pause > 0:
                time.sleep(pause)

    return type(retry)("Retry", (_Kept, retry), {"__module__": retry.__module__, "call_with_retry": call_with_retry})


@functools.lru_cache(maxsize=4)
def kept_async(retry: Any) -> Any:
    import asyncio

    async def call_with_retry(
        self: Any, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False
    ) -> Any:
        connection, failures, lost = self._connection(), 0, None
        if monotonic() > connection._resilient_seen + _FRESH and not connection._resilient_dials:
            lost = _lost_async(connection, self._lost)
        while True:
            try:
                if lost is not None:
                    raise lost
                result = await do()
            except self._supported_errors as error:
                if is_retryable and not is_retryable(error):
                    raise
                failures += 1
                if failures == 1:
                    self._backoff.reset()
                if connection._resilient_listens and connection._resilient_gave_up:
                    raise  # its handler would only connect once more
                if self._listens_on(error, failures):
                    await connection.disconnect()
                    await connection.connect()
                    lost = None
                    continue
                if lost is not None:  # nothing was sent: its handler resets what it must, and then once more
                    try:
                        await _told(fail, error, failures, with_failure_count)
                    except self._lost as raised:
                        if raised is not lost:
                            raise
                    await connection.disconnect()
                    lost, failures = None, 0
                    continue
                await _told(fail, error, failures, with_failure_count)
                if self._is_over(failures):
                    raise
                pause = self._backoff.compute(failures)
            else:
                connection._resilient_seen = monotonic()
                return result
            if pause > 0:
                await asyncio.sleep(pause)

    return type(retry)("Retry", (_Kept, retry), {"__module__": retry.__module__, "call_with_retry": call_with_retry})


_FRESH: Final = 0.0003
"""Seconds after a command, or a look of the pool's, in which a connection is not looked at: that costs a tenth of a
command."""


def _lost(connection: Any, error: Any) -> Exception | None:
    """Return an error if the server hung up while the connection was idle: newer pools do not look, but try."""
    sock = connection._sock
    if sock is None or not _is_readable(sock):
        return None
    try:
        # The socket's own `recv`: that of TLS does not peek.
        if socket.socket.recv(sock, 1, socket.MSG_PEEK):
            return None
    except OSError:
        pass
    found: Exception = error("Connection closed by server.")
    return found


def _lost_async(connection: Any, error: Any) -> Exception | None:
    reader = connection._reader
    if reader is None or not reader.at_eof():
        return None
    found: Exception = error("Connection closed by server.")
    return found


_POLLS: Final = hasattr(select, "poll")
"""Not on Windows."""


def _is_readable(sock: Any) -> bool:
    if not _POLLS:
        return bool(select.select((sock,), (), (), 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _told(fail: Any, error: Exception, failures: int, with_failure_count: bool) -> Any:
    return fail(error, failures) if with_failure_count else fail(error)
