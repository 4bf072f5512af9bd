"""One test on every driver: functions and blocks, plain and asynchronous, on asyncio and on trio.

A test writes what the client does as a plain function; each driver wraps that as its world needs it and protects it.
"""

from __future__ import annotations

import asyncio
import errno
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import trio

from resilient import Backoff, Cancellation, Policy, attempts, retry_on_refused
from resilient.testing import FakeClock

AT_ONCE = Backoff(initial=0, maximum=0)
QUIET = Policy(backoff=AT_ONCE, observers=())
"""No wait between attempts and no log line: where a test looks at neither."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A way to call a protected function.

    Attributes:
        world: what runs it.
        form: a decorated `def` or `async def`; the block form; a plain function that returns a coroutine object.
    """

    world: Literal["sync", "asyncio", "trio"]
    form: Literal["function", "block", "adopted"]

    def __str__(self) -> str:
        return f"{self.world}-{self.form}"

    @property
    def is_async(self) -> bool:
        return self.world != "sync"

    def protect(self, function: Callable[[], Any], **settings: Any) -> Callable[[], Any]:
        """Return `function` protected, as a function of this world without arguments."""
        if not self.is_async:
            return self._protect_sync(function, settings)

        async def connect() -> Any:
            return function()

        if self.form == "function":
            return retry_on_refused(**settings)(connect)
        if self.form == "adopted":
            return retry_on_refused(**settings)(lambda: connect())

        async def block() -> Any:
            async for attempt in attempts(**settings):
                with attempt:
                    return await connect()
            raise AssertionError("the loop ended without an answer")

        return block

    def _protect_sync(self, function: Callable[[], Any], settings: dict[str, Any]) -> Callable[[], Any]:
        if self.form == "function":

            def connect() -> Any:
                return function()

            return retry_on_refused(**settings)(connect)

        def block() -> Any:
            for attempt in attempts(**settings):
                with attempt:
                    return function()
            raise AssertionError("the loop ended without an answer")

        return block

    def protect_at(self, function: Callable[[Any], Any], **settings: Any) -> Callable[[], Any]:
        """As `protect`, with `targets=`: the function is given the endpoint of the attempt."""
        if not self.is_async:
            if self.form == "function":

                def connect_at(endpoint: Any) -> Any:
                    return function(endpoint)

                return retry_on_refused(**settings)(connect_at)

            def block_at() -> Any:
                for attempt in attempts(**settings):
                    with attempt:
                        return function(attempt.endpoint)
                raise AssertionError("the loop ended without an answer")

            return block_at

        async def connect_at_async(endpoint: Any) -> Any:
            return function(endpoint)

        if self.form == "function":
            return retry_on_refused(**settings)(connect_at_async)
        if self.form == "adopted":
            return retry_on_refused(**settings)(lambda endpoint: connect_at_async(endpoint))

        async def block_at_async() -> Any:
            async for attempt in attempts(**settings):
                with attempt:
                    return await connect_at_async(attempt.endpoint)
            raise AssertionError("the loop ended without an answer")

        return block_at_async

    def run(self, main: Callable[[], Any]) -> Any:
        """Run a function of this world without arguments to its end."""
        if self.world == "sync":
            return main()
        return asyncio.run(main()) if self.world == "asyncio" else trio.run(main)

    def call(self, function: Callable[[], Any], **settings: Any) -> Any:
        """Call `function` protected once; return what it returns, raise what it raises."""
        return self.run(self.protect(function, **settings))

    def fail(
        self, function: Callable[[], Any], *, handling: BaseException | None = None, **settings: Any
    ) -> BaseException:
        """Call `function` protected once and return the error that comes out, as its caller meets it.

        With `handling`, the caller is itself inside an `except` that handles that error.
        """
        protected = self.protect(function, **settings)

        def main() -> BaseException:
            try:
                if handling is None:
                    protected()
                else:
                    try:
                        raise handling
                    except type(handling):
                        protected()
            except BaseException as error:
                return error
            raise AssertionError("it succeeded")

        async def main_async() -> BaseException:
            try:
                if handling is None:
                    await protected()
                else:
                    try:
                        raise handling
                    except type(handling):
                        await protected()
            except BaseException as error:
                return error
            raise AssertionError("it succeeded")

        # Not kept in a variable: the error's frames lead back to this one, in a circle.
        return self.run(main_async if self.is_async else main)  # type: ignore[no-any-return]

    def fail_often(self, times: int, function: Callable[[], Any], **settings: Any) -> None:
        """Call `function` protected so many times in one run, and drop each error at once."""
        protected = self.protect(function, **settings)

        def main() -> None:
            for _ in range(times):
                try:
                    protected()
                except Exception:
                    continue
                raise AssertionError("it succeeded")

        async def main_async() -> None:
            for _ in range(times):
                try:
                    await protected()
                except Exception:
                    continue
                raise AssertionError("it succeeded")

        self.run(main_async if self.is_async else main)


DRIVERS = (
    Driver("sync", "function"),
    Driver("sync", "block"),
    Driver("asyncio", "function"),
    Driver("asyncio", "block"),
    Driver("asyncio", "adopted"),
    Driver("trio", "function"),
    Driver("trio", "block"),
)

on_every_driver = pytest.mark.parametrize("driver", DRIVERS, ids=str)
on_both_twins = pytest.mark.parametrize("driver", DRIVERS[:4], ids=str)
"""For tests with many cases of what the drivers share: asyncio stands for trio there."""


def refusal(text: str = "Connection refused") -> ConnectionRefusedError:
    """Return a refused connect as the operating system reports it."""
    return ConnectionRefusedError(errno.ECONNREFUSED, text)


class Client:
    """A client that raises these errors in turn and then answers; with `forever`, it raises that one ever after.

    Attributes:
        calls: how many times it was called.
        raised: the error it raised last.
    """

    def __init__(self, *errors: BaseException, forever: Callable[[], BaseException] | None = None) -> None:
        self._errors = list(errors)
        self._forever = forever
        self.calls = 0
        self.raised: BaseException | None = None

    def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            self.raised = self._errors.pop(0)
        elif self._forever is not None:
            self.raised = self._forever()
        else:
            return "connected"
        raise self.raised  # the client's own line


def down() -> Client:
    """Return a client whose server never comes back; every error is a new one."""
    return Client(forever=refusal)


def notes_of(error: BaseException) -> list[str]:
    """Return the notes of an error. What took less than a second counts as no time: a busy machine takes its own."""
    return [re.sub(r"\bin 0\.\d s\b", "in 0.0 s", note) for note in getattr(error, "__notes__", [])]


def noted(*texts: str) -> list[str]:
    """Return what `notes_of` gives for these notes: none before Python 3.11, which has no notes."""
    return list(texts) if sys.version_info >= (3, 11) else []


def oversleep(clock: FakeClock, seconds: float) -> None:
    """Let everybody who waits on `clock` wake so much too late, as in a stopped process or on a busy loop."""
    sleep, sleep_async = clock.sleep, clock.sleep_async

    def sleep_on(delay: float, cancellation: Cancellation | None, caller: Any) -> None:
        sleep(delay, cancellation, caller)
        clock.advance(seconds)

    async def sleep_on_async(delay: float, cancellation: Cancellation | None, caller: Any) -> None:
        await sleep_async(delay, cancellation, caller)
        clock.advance(seconds)

    clock.sleep, clock.sleep_async = sleep_on, sleep_on_async  # type: ignore[method-assign]
