"""The errors this library raises of its own accord.

Ground floor: imports nothing of the house. Evidence is kept in attributes, and everything pickles.

    ValueError
    ├── PolicyError          a field of a Policy or Backoff is wrong
    └── TargetError          a target cannot be read
    ConnectionRefusedError
    └── CircuitOpenError     a circuit breaker refused the call before it reached the wire
    TimeoutError
    └── WaitTimeoutError     a target did not serve in time
    ConnectionError
    └── NotServingError      a server answered, and does not serve
"""

from __future__ import annotations

import errno


class PolicyError(ValueError):
    """A field of a `Policy`, a `Backoff` or another setting is wrong.

    The message names the field, the value and what would be right.
    It is raised where the value is given, never later.
    """


class TargetError(ValueError):
    """A target cannot be read.

    The message says what is wrong with it and echoes nothing of it beyond the scheme:
    targets carry passwords.
    """


class CircuitOpenError(ConnectionRefusedError):
    """A circuit is open, so the call was refused without touching the wire.

    It is a `ConnectionRefusedError`, so that existing handlers and fallbacks work.
    The judge never takes it for a refusal by the endpoint itself.

    Attributes:
        breaker: name of the breaker.
        retry_after: seconds until the circuit may let a probe through, or None where that is not known.
        last_error: text of the last failure the breaker counted, or None.
    """

    __slots__ = ("_source", "breaker", "last_error", "retry_after")

    _source: object
    """The breaker itself, for who would park on it; it stays behind when the error is pickled."""

    breaker: str
    retry_after: float | None
    last_error: str | None

    def __new__(cls, breaker: str, retry_after: float | None = None, last_error: str | None = None) -> CircuitOpenError:
        """Make the error; its text is made when somebody reads it, because most rejections are not read."""
        return super().__new__(cls, errno.ECONNREFUSED, "circuit is open")

    def __init__(self, breaker: str, retry_after: float | None = None, last_error: str | None = None) -> None:
        self.breaker = breaker
        self.retry_after = retry_after
        self.last_error = last_error

    @property
    def strerror(self) -> str:  # type: ignore[override]  # an attribute of every OSError
        """What happened, in words."""
        message = f"circuit {self.breaker!r} is open"
        if self.retry_after is not None:
            message += f", retry after {self.retry_after:.3g} s"
        if self.last_error is not None:
            message += f"; last error: {self.last_error}"
        return message

    def __str__(self) -> str:
        return f"[Errno {errno.ECONNREFUSED}] {self.strerror}"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.breaker, self.retry_after, self.last_error), self.__dict__


class WaitTimeoutError(TimeoutError):
    """A target did not serve in the time that `wait_for` was given.

    Attributes:
        last_error: what came last, which is the cause as well; None where it served, but not for long enough.
        elapsed: seconds.
    """

    def __init__(self, message: str, *, elapsed: float, last_error: Exception | None = None) -> None:
        super().__init__(message)
        self.elapsed: float = elapsed
        self.last_error: Exception | None = last_error

    def __reduce__(self) -> tuple[object, ...]:
        return _wait_timeout, (str(self), self.elapsed, self.last_error)


def _wait_timeout(message: str, elapsed: float, last_error: Exception | None) -> WaitTimeoutError:
    return WaitTimeoutError(message, elapsed=elapsed, last_error=last_error)


class NotServingError(ConnectionError):
    """A server was asked by hand, for want of a driver, and answered that it does not serve; or did not answer.

    Attributes:
        kind: "not_ready", "hopeless", "wrong_protocol", "closed" or "silent".
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind: str = kind

    def __reduce__(self) -> tuple[object, ...]:
        return NotServingError, (str(self), self.kind)
