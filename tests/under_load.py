"""A server under load is killed and comes back: what its clients saw, and what it has executed."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import guarding

from resilient import Policy
from resilient.events import Event, RetryScheduled

WORKERS = 4
ENOUGH = 40
"""Commands before the server is killed, and after it is back."""


class Restart:
    """One death of a server and its return, in which several loads may take part.

    Args:
        server: one that is serving.
        parties: how many loads.
        patience: seconds for each of its steps.

    Attributes:
        dead: whether the server's death is over: whoever connects now is refused, or meets its next life.
    """

    def __init__(self, server: Any, *, parties: int = 1, patience: float = 30.0) -> None:
        self.dead: bool = False
        self.patience: float = patience
        self._server = server
        self._barrier = threading.Barrier(parties, timeout=2 * patience)

    def meet(self, load: Load) -> None:
        """Kill the server when every load has done enough; start it when each knows."""
        try:
            load.wait_for_more()
            if self._barrier.wait() == 0:
                self._server.kill()
                self.dead = True
            load.wait_for_notice(self.patience)
            if self._barrier.wait() == 0:
                self._start()
            self._barrier.wait()
        except BaseException:
            self._barrier.abort()
            self._start()
            raise
        load.wait_for_more()

    def _start(self) -> None:
        self._server.start()
        self._server.wait_ready(self.patience)


class Load:
    """Commands, each with an id of its own, before and after a restart.

    Attributes:
        policy: for the client: it notes when a connect was refused and will be tried again.
        done: ids of the commands that were answered.
        failed: those that raised, with what, and whether they began when the server was dead.
    """

    def __init__(self, server: Any, *, restart: Restart | None = None) -> None:
        self.done: list[str] = []
        self.failed: list[tuple[str, Exception, bool]] = []
        self._restart = Restart(server) if restart is None else restart
        self._over = False
        self._noticed = threading.Event()
        self._changed = threading.Condition()
        self.policy: Policy = guarding.PATIENT.replace(deadline=4 * self._restart.patience, observers=(self._observe,))

    def run(self, insert: Callable[[str], object]) -> None:
        """With `insert`, which executes the command with this id, in threads."""
        workers = [threading.Thread(target=self._work, args=(number, insert)) for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        try:
            self._restart.meet(self)
        finally:
            self._over = True
            for worker in workers:
                worker.join()

    async def run_async(self, insert: Callable[[str], Coroutine[Any, Any, object]]) -> None:
        """The same in tasks of one loop."""
        workers = [asyncio.create_task(self._work_async(number, insert)) for number in range(WORKERS)]
        try:
            await asyncio.to_thread(self._restart.meet, self)
        finally:
            self._over = True
            await asyncio.gather(*workers)

    def check(self, stored: list[str], *, unsent: str = "") -> None:
        """Compare with the ids that the server has: an answered command was executed once, no command twice.

        No command failed but those that had begun before the server was dead, and later those for which a worker was
        given a connection that was dead already, one of each worker at most.

        Args:
            stored: ids.
            unsent: what stands in an error by which a client says that it sent nothing: these may be any number.
        """
        counts = Counter(stored)
        assert len(self.done) >= 2 * ENOUGH
        wrong = {its: counts[its] for its in self.done if counts[its] != 1}
        assert not wrong, f"answered, and not executed once: {wrong}"
        twice = {its: count for its, count in counts.items() if count > 1}
        assert not twice, f"failed, and executed more than once: {twice}"
        late = {its: str(error) for its, error, began_late in self.failed if began_late}
        never_sent = {its for its, error in late.items() if unsent and unsent in error}
        assert not never_sent & set(counts), f"executed, and said to be never sent: {never_sent & set(counts)}"
        assert len(late) - len(never_sent) <= WORKERS, late

    def notice(self) -> None:
        """Say that the client knows of the death, in another way than by a refused connect that its policy repeats."""
        self._noticed.set()

    def wait_for_notice(self, timeout: float) -> None:
        """Wait until the client knows that the server is dead."""
        assert self._noticed.wait(timeout), "no connect was refused"

    def wait_for_more(self) -> None:
        """Wait until enough commands more are answered."""
        count = len(self.done) + ENOUGH
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.done) >= count, timeout=60), self.failed[:WORKERS]

    def _observe(self, event: Event) -> None:
        if isinstance(event, RetryScheduled):
            self._noticed.set()

    def _note(self, its: str, error: Exception | None, late: bool) -> None:
        with self._changed:
            if error is None:
                self.done.append(its)
            else:
                self.failed.append((its, error, late))
            self._changed.notify_all()

    def _commands(self, number: int) -> Iterator[tuple[str, bool]]:
        """Yield a name for each command of one worker, and whether the server was dead before it began."""
        for count in itertools.count():
            if self._over:
                return
            yield f"{number}-{count}", self._restart.dead

    def _work(self, number: int, insert: Callable[[str], object]) -> None:
        for its, late in self._commands(number):
            try:
                insert(its)
            except Exception as error:
                self._note(its, error, late)
            else:
                self._note(its, None, late)

    async def _work_async(self, number: int, insert: Callable[[str], Coroutine[Any, Any, object]]) -> None:
        for its, late in self._commands(number):
            try:
                await insert(its)
            except Exception as error:
                self._note(its, error, late)
                await asyncio.sleep(0)  # an error that comes at once must not keep the loop from mending it
            else:
                self._note(its, None, late)
