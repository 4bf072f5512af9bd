"""A database under load is killed and comes back: what its clients saw, and what it has executed."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import guarding

from resilient import Policy
from resilient.events import Event, RetryScheduled

WORKERS = 4
ENOUGH = 40
"""Commands before the server is killed, and after it is back."""


class Load:
    """Commands, each with an id of its own, before and after a restart.

    Attributes:
        policy: for the client: it notes when a connect was refused and will be tried again.
        done: ids of the commands that were answered; `failed`: those that raised, with what.
    """

    def __init__(self, server: Any) -> None:
        self.done: list[str] = []
        self.failed: list[tuple[str, Exception]] = []
        self._server = server
        self._over = False
        self._refused = threading.Event()
        self._changed = threading.Condition()
        self.policy: Policy = guarding.PATIENT.replace(observers=(self._observe,))

    def run(self, insert: Callable[[str], object]) -> None:
        """With `insert`, which executes the command with this id, in threads."""
        workers = [threading.Thread(target=self._work, args=(number, insert)) for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        try:
            self._restart()
        finally:
            self._over = True
            for worker in workers:
                worker.join()

    async def run_async(self, insert: Callable[[str], Coroutine[Any, Any, object]]) -> None:
        """The same in tasks of one loop."""
        workers = [asyncio.create_task(self._work_async(number, insert)) for number in range(WORKERS)]
        try:
            await asyncio.to_thread(self._restart)
        finally:
            self._over = True
            await asyncio.gather(*workers)

    def check(self, stored: list[str]) -> None:
        """Compare with the ids that the server has: an answered command was executed once, no command twice.

        No command failed but those that were on their way when the server was killed: one of each worker.
        """
        counts = Counter(stored)
        assert len(self.done) >= 2 * ENOUGH
        assert {its: counts[its] for its in self.done if counts[its] != 1} == {}
        assert {its for its, count in counts.items() if count > 1} == set()
        assert len(self.failed) <= WORKERS, self.failed

    def _observe(self, event: Event) -> None:
        if isinstance(event, RetryScheduled):
            self._refused.set()

    def _restart(self) -> None:
        self._wait_for(ENOUGH)
        self._server.kill()
        try:
            assert self._refused.wait(30), "no connect was refused"
        finally:
            self._server.start()
            self._server.wait_ready(30)
        self._wait_for(len(self.done) + ENOUGH)

    def _wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.done) >= count, timeout=60), self.failed[:WORKERS]

    def _note(self, its: str, error: Exception | None) -> None:
        with self._changed:
            if error is None:
                self.done.append(its)
            else:
                self.failed.append((its, error))
            self._changed.notify_all()

    def _work(self, number: int, insert: Callable[[str], object]) -> None:
        count = 0
        while not self._over:
            its = f"{number}-{count}"
            count += 1
            try:
                insert(its)
            except Exception as error:
                self._note(its, error)
            else:
                self._note(its, None)

    async def _work_async(self, number: int, insert: Callable[[str], Coroutine[Any, Any, object]]) -> None:
        count = 0
        while not self._over:
            its = f"{number}-{count}"
            count += 1
            try:
                await insert(its)
            except Exception as error:
                self._note(its, error)
            else:
                self._note(its, None)
