"""Which lines of a module each test runs, and a run of only some tests: two pytest plugins, and what they tell."""

from __future__ import annotations

import faulthandler
import json
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

LATE = "Timeout (0:"
"""What faulthandler says first."""


class Noted:
    """Notes each line of one frame. A function that returns itself would leave a circle with every frame.

    And tests that count what is left behind would fail, for being watched.
    """

    __slots__ = ("_lines", "_name")

    def __init__(self, name: str, lines: set[tuple[str, int]]) -> None:
        self._name = name
        self._lines = lines

    def __call__(self, frame: FrameType, event: str, arg: object) -> Noted:
        """Note the line; the same notes the next."""
        self._lines.add((self._name, frame.f_lineno))
        return self


class Recorder:
    """Writes down, as JSON, the lines of some files that each test runs, and its seconds."""

    def __init__(self, module: dict[str, str], path: str) -> None:
        self.names = module  # a file's whole path → its name
        self.path = path
        self.lines: set[tuple[str, int]] = set()
        self.imported: list[tuple[str, int]] = []
        self.tests: list[tuple[str, float, list[tuple[str, int]]]] = []
        self.failed: set[str] = set()

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        """Note each line of the files."""
        name = self.names.get(frame.f_code.co_filename)
        return None if name is None else Noted(name, self.lines)(frame, event, arg)

    def recorded(self) -> Generator[None, Any, Any]:
        """Note the lines that run meanwhile, in threads too."""
        self.lines = set()
        threading.settrace(self.trace)
        sys.settrace(self.trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, Any, Any]:
        """Note what runs while the module is imported."""
        result = yield from self.recorded()
        self.imported = sorted(self.lines)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Note what one test runs."""
        begun = time.monotonic()
        result = yield from self.recorded()
        self.tests.append((item.nodeid, time.monotonic() - begun, sorted(self.lines)))
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note who failed."""
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write it all down."""
        # What a test ran that does not stand being watched is not known: only the run of all tests has it.
        tests = [(name, seconds, [] if name in self.failed else lines) for name, seconds, lines in self.tests]
        Path(self.path).write_text(
            json.dumps({"tests": tests, "imported": self.imported, "failed": sorted(self.failed)}), encoding="utf-8"
        )


class Selection:
    """Runs these tests in this order, and no others; a test that takes much longer than its seconds ends the process.

    Said in `output`, where it begins with `LATE`.
    """

    def __init__(self, names: Sequence[str], seconds: Mapping[str, float], output: str) -> None:
        self.names = names
        self.seconds = seconds
        self.output = open(output, "a", encoding="utf-8")  # noqa: SIM115  # until the process ends

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave those that were chosen."""
        found = {item.nodeid: item for item in items}
        items[:] = [found.pop(name) for name in self.names if name in found]
        config.hook.pytest_deselected(items=list(found.values()))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Let no test run on for ever."""
        limit = 5.0 + 10.0 * self.seconds.get(item.nodeid, 0.0)
        faulthandler.dump_traceback_later(limit, exit=True, file=self.output)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()


@dataclass(frozen=True)
class Reach:
    """What a `Recorder` wrote down.

    Attributes:
        everything: all tests, the quickest first.
        seconds: test → its seconds.
        tests: (file, line) → the tests that run it, the quickest first.
        imported: the lines that run when the module is imported.
        failed: the tests that failed.
    """

    everything: list[str]
    seconds: dict[str, float]
    tests: dict[tuple[str, int], list[str]]
    imported: frozenset[tuple[str, int]]
    failed: list[str]

    @classmethod
    def read(cls, path: Path, lenient: bool = False) -> Reach:
        """Read what a `Recorder` wrote; if lenient, without the tests that failed."""
        said = json.loads(path.read_text(encoding="utf-8"))
        failed = set(said["failed"]) if lenient else set()
        ordered = sorted((test for test in said["tests"] if test[0] not in failed), key=lambda test: float(test[1]))
        tests: dict[tuple[str, int], list[str]] = {}
        for name, _, lines in ordered:
            for file, line in lines:
                tests.setdefault((file, line), []).append(name)
        imported = frozenset((file, line) for file, line in said["imported"])
        seconds = {name: seconds for name, seconds, _ in ordered}
        return cls([name for name, _, _ in ordered], seconds, tests, imported, said["failed"])

    def of(self, file: str, first: int, last: int) -> list[str]:
        """Return the tests that run one of these lines, the quickest first; none, if nothing is known of them."""
        reached = [(file, line) for line in range(first, last + 1) if (file, line) in self.tests]
        if not reached and not any((file, line) in self.imported for line in range(first, last + 1)):
            # The later lines of a statement may have no event of their own.
            reached = [(file, line) for line in range(first, 0, -1) if (file, line) in self.tests][:1]
        found = {name for place in reached for name in self.tests[place]}
        return [name for name in self.everything if name in found]

    def timeout(self, tests: Sequence[str]) -> float:
        """Return the seconds after which these tests are taken not to end, if each for itself does."""
        return 30.0 + 10.0 * sum(self.seconds[test] for test in tests)
