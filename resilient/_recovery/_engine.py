"""tenacity's engine, fitted to one failing call: its stop and wait strategies decide, and it holds nothing for long."""

from __future__ import annotations

from typing import Any, NoReturn

import tenacity

from ..policy import Policy


def engine_of(policy: Policy) -> Engine:
    """Return the engine that decides as `policy` says; each failing call takes a copy."""
    return Engine(
        retry=tenacity.retry_always,  # the policy's own retry strategy has been asked before
        stop=policy.stop_strategy(),
        wait=policy.wait_strategy(),
        retry_error_callback=_over,
    )


def _over(retry_state: tenacity.RetryCallState) -> None:
    """Answer for tenacity, instead of raising, when its stop strategy says that it is over."""


class Failure(tenacity.Future):
    """A future that has failed already, made at every failed attempt: without the lock that an open one needs."""

    def __init__(self, attempt_number: int, error: BaseException) -> None:
        self.attempt_number = attempt_number
        self._error = error

    @property
    def failed(self) -> bool:
        """True."""
        return True

    def exception(self, timeout: float | None = None) -> BaseException:
        """Return the error."""
        return self._error

    def result(self, timeout: float | None = None) -> NoReturn:
        """Raise the error."""
        raise self._error

    def __getattr__(self, name: str) -> Any:
        """Become a whole future as soon as a strategy asks for anything else."""
        if name.startswith("__") or "_error" not in self.__dict__ or "_condition" in self.__dict__:
            raise AttributeError(name)
        super().__init__(self.attempt_number)
        self.set_exception(self._error)
        return getattr(self, name)


class Engine(tenacity.Retrying):
    """tenacity's engine, a copy of which serves one call: so it keeps in itself what it else keeps by thread.

    That is half the cost of a failed attempt, and the attempts of one block may be made in different threads.
    """

    iter_state: Any = None
    statistics: Any = None

    def begin(self) -> None:
        """Start anew."""
        self.iter_state = tenacity.IterState()
        self.statistics = {}
        super().begin()
