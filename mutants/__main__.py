"""`python -m mutants [MODULE…]`: change one place at a time, run the module's tests, and see who survives."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .places import Mutant, mutants_of
from .reach import LATE, Reach
from .server import TIMED_OUT
from .survivors import LIST, Key, block, explained, wrong

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "resilient"
COPIED = (PACKAGE, "tests", "mutants", "pyproject.toml")
WORKERS = 2

# The module, and the test files that are there for it; those that kill most and fastest stand first.
TESTS: dict[str, tuple[str, ...]] = {
    "_circuit": ("test_circuit.py", "test_circuit_model.py"),
    "backoff": ("test_backoff.py", "test_backoff_*.py"),
    "_causes": ("test_causes.py", "test_judging*.py"),
    "_recovery": (
        "test_retry.py",
        "test_call_circuits.py",
        "test_call_telling.py",
        "test_parking.py",
        "test_recovery_corners.py",
        "test_parking_corners.py",
        "test_attempts.py",
        "test_retry_deadline.py",
        "test_untouched.py",
        "test_nested.py",
        "test_events.py",
        "test_log.py",
        "test_cancellation.py",
        "test_policy_strategies.py",
        "test_decorating*.py",
        "test_leaks.py",
        "test_interruption.py",
        "test_deadlines.py",
        "test_asking.py",
        "test_failover.py",
        "test_failover_corners.py",
        "test_failover_preference.py",
    ),
    "failover": ("test_targets.py", "test_failover.py", "test_failover_corners.py"),
    "_asking": ("test_asking.py",),
}

Fate = Literal["killed", "timed out", "survived"]


@dataclass(frozen=True)
class Workshop:
    """A copy of the project in a folder of its own, where one mutant at a time lives."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Workshop:
        """Copy what the tests need."""
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        return cls(folder)

    def files(self, module: str) -> list[Path]:
        """The module's file, or the files of its folder, within the package."""
        package = self.folder / PACKAGE
        paths = sorted((package / module).glob("*.py")) or [package / f"{module}.py"]
        return [path.relative_to(package) for path in paths]

    def mutants(self, module: str) -> list[Mutant]:
        """Every mutant of the module's files."""
        return [
            mutant
            for file in self.files(module)
            for mutant in mutants_of(file.as_posix(), (self.folder / PACKAGE / file).read_text(encoding="utf-8"))
        ]

    def tests(self, module: str) -> list[str]:
        """The module's test files, in their order, each once."""
        found = [path for pattern in TESTS[module] for path in sorted((self.folder / "tests").glob(pattern))]
        return [str(path.relative_to(self.folder)) for path in dict.fromkeys(found)]

    def front(self, module: str, chosen: Sequence[str]) -> list[str]:
        """Return the first three files that have any of these tests: to import the others takes its time, too."""
        needed = set(map(file_of, chosen))
        return [file for file in self.tests(module) if file in needed][:3]

    def run(
        self,
        module: str,
        reach: Reach | None = None,
        selected: Sequence[str] = (),
        *,
        keep_bytecode: bool = False,
        record: Path | None = None,
    ) -> tuple[Fate, str]:
        """Run those tests of the module that are selected, until one fails; with `record` all, whatever fails."""
        output = self.folder / "output.txt"
        names = {os.path.realpath(self.folder / PACKAGE / file): file.as_posix() for file in self.files(module)}
        files = self.tests(module)
        if reach is not None:
            needed = set(map(file_of, selected))
            files = [file for file in files if file in needed]
        job = {
            "files": files,
            "selected": list(selected),
            "seconds": {test: reach.seconds[test] for test in selected} if reach else {},
            "timeout": reach.timeout(selected) if reach else 900.0,
            "keep_bytecode": keep_bytecode,
            "output": str(output),
            "module": names,
            "record": str(record) if record else None,
        }
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        code = int(self.server.stdout.readline())
        if code == TIMED_OUT:
            return "timed out", ""
        said = output.read_text(encoding="utf-8", errors="replace")
        if code and LATE in said:
            return "timed out", said
        if code == 5:
            sys.exit(f"mutants: no tests for {module}\n{said}")
        return "killed" if code else "survived", said

    @functools.cached_property
    def server(self) -> subprocess.Popen[str]:
        """The process that runs the tests; it ends with this one."""
        environment = os.environ | {"PYTHONPATH": str(self.folder)}
        for disturbing in ("PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS"):
            environment.pop(disturbing, None)
        return subprocess.Popen(
            [sys.executable, "-m", "mutants.server"],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def close(self) -> None:
        """End the process that runs the tests."""
        with self.server as server:
            assert server.stdin is not None
            server.stdin.close()

    def prove(self, module: str, reach: Reach) -> str:
        """Return what is wrong: the tests fail as things are, or pass for a broken module; "" if all is well."""
        self.run(module, reach, reach.everything, keep_bytecode=True)
        for file in self.files(module):
            for stale in (self.folder / PACKAGE / file).parent.glob(f"__pycache__/{file.stem}.*"):
                stale.unlink()
        fate, output = self.run(module, reach, reach.everything)
        if fate != "survived":
            return f"the tests of {module} fail without any mutant\n{output}"
        broken = Mutant(self.files(module)[-1].as_posix(), "-", "", "", "raise ImportError('broken on purpose')\n")
        if self.fate(module, broken, reach) != "killed":
            return f"the tests of {module} do not look at the copy in {self.folder}"
        return ""

    def fate(self, module: str, mutant: Mutant, reach: Reach, is_explained: bool = False) -> Fate:
        """What the module's tests do to this mutant: first those that run its lines, and all if these let it live."""
        path = self.folder / PACKAGE / mutant.file
        original = path.read_bytes()
        chosen = reach.of(mutant.file, *mutant.lines)
        try:
            path.write_text(mutant.source, encoding="utf-8")
            fate: Fate = "survived"
            files = self.front(module, chosen)
            front = [test for test in chosen if file_of(test) in files]
            for part in (front, [test for test in chosen if test not in set(front)]):
                if part and fate == "survived":
                    fate = self.run(module, reach, part)[0]
            if fate == "survived" and not (chosen and is_explained):
                others = [test for test in reach.everything if test not in set(chosen)]
                fate = self.run(module, reach, others)[0] if others else fate
            return fate
        finally:
            path.write_bytes(original)


def file_of(test: str) -> str:
    """Return the file of a test, by its name."""
    return test.partition("::")[0]


def prepare(workshops: list[Workshop], module: str, lenient: bool = False) -> Reach:
    """Find out which test runs which lines, and see that the tests pass as things are and fail for a broken module.

    Without the last, tests that import another copy of the package would let everybody survive, and without the one
    before they would kill everybody.
    """
    first = workshops[0]
    record = first.folder / "reach.json"
    _, output = first.run(module, record=record)
    if not record.exists():
        sys.exit(f"mutants: the tests of {module} do not run\n{output}")
    reach = Reach.read(record, lenient)
    record.unlink()
    if not reach.everything:
        sys.exit(f"mutants: the tests of {module} do not run\n{output}")
    if lenient and reach.failed:
        print(f"{module}: without {len(reach.failed)} tests that fail, {reach.failed[0]} for one", flush=True)
    with ThreadPoolExecutor(len(workshops)) as pool:
        for problem in pool.map(lambda workshop: workshop.prove(module, reach), workshops):
            if problem:
                sys.exit(f"mutants: {problem}")
    return reach


def examine(
    module: str, mutants: list[Mutant], workshops: list[Workshop], known: Collection[Key], lenient: bool, quick: bool
) -> tuple[dict[Mutant, Fate], float]:
    """Run the module's tests on each of these mutants, as many at a time as there are workshops."""
    begun = time.monotonic()
    reach = prepare(workshops, module, lenient)
    free: queue.SimpleQueue[Workshop] = queue.SimpleQueue()
    for workshop in workshops:
        free.put(workshop)
    done, lock = 0, threading.Lock()

    def one(mutant: Mutant) -> Fate:
        nonlocal done
        workshop = free.get()
        try:
            fate = workshop.fate(module, mutant, reach, quick or mutant.key in known)
        finally:
            free.put(workshop)
        with lock:
            done += 1
            if sys.stderr.isatty():
                print(f"\r{module}: {done} of {len(mutants)} ", end="", file=sys.stderr, flush=True)
            if fate == "survived" and mutant.key not in known:
                print(f"\nsurvived, unexplained:\n{block(mutant.key)}", flush=True)
        return fate

    with ThreadPoolExecutor(len(workshops)) as pool:
        try:
            fates = dict(zip(mutants, pool.map(one, mutants), strict=True))
        except BaseException:  # Ctrl-C: not all the others first
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    return fates, time.monotonic() - begun


def arguments(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="mutants", description="Do the tests notice a changed place?")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"one of {', '.join(TESTS)}; default: all")
    parser.add_argument("--only", metavar="REGEX", help="only mutants in whose 'file function' this is found")
    parser.add_argument("--sample", type=int, metavar="N", help="no more than N mutants of each module, drawn by lot")
    parser.add_argument("--seed", type=int, default=1, help="of the lot (default: 1)")
    parser.add_argument("--workers", type=int, default=WORKERS, help=f"mutants at a time (default: {WORKERS})")
    parser.add_argument("--lenient", action="store_true", help="leave out tests that fail without any mutant")
    parser.add_argument("--quick", action="store_true", help="try no more tests than those that run the mutant's lines")
    read = parser.parse_args(words)
    for module in read.modules:
        if module not in TESTS:
            parser.error(f"{module} is none of {', '.join(TESTS)}")
    return read


def main(words: list[str]) -> int:
    """Examine what the command line names; 0 if every survivor is explained and every explanation holds."""
    options = arguments(words)
    reasons = explained(LIST.read_text(encoding="utf-8"))
    failed = False
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, contextlib.ExitStack() as stack:
        workshops = [Workshop.make(Path(folder, str(number))) for number in range(options.workers)]
        for workshop in workshops:
            stack.callback(workshop.close)
        for module in options.modules or TESTS:
            every = mutants = workshops[0].mutants(module)
            if options.only is not None:
                mutants = [mutant for mutant in mutants if re.search(options.only, f"{mutant.file} {mutant.function}")]
            if options.sample is not None and options.sample < len(mutants):
                drawn = set(random.Random(options.seed).sample(range(len(mutants)), options.sample))
                mutants = [mutant for number, mutant in enumerate(mutants) if number in drawn]
            fates, seconds = examine(module, mutants, workshops, reasons, options.lenient, options.quick)
            survivors = [mutant.key for mutant, fate in fates.items() if fate == "survived"]
            files = {file.as_posix() for file in workshops[0].files(module)}
            unexplained, stale = wrong(survivors, reasons, files)
            # A machine that had other work may have run out of time: that says nothing of an entry.
            unsure = {mutant.key for mutant, fate in fates.items() if fate == "timed out"}
            if len(mutants) < len(every):  # what was not run may be what they are for
                unsure |= reasons.keys() - {mutant.key for mutant in mutants}
            stale = [key for key in stale if key not in unsure]
            late = list(fates.values()).count("timed out")
            part = "" if mutants is every else f" of {len(every)}"
            print(
                f"\n{module}: {len(fates)} mutants{part}: {len(fates) - len(survivors)} killed ({late} by their time), "
                f"{len(survivors)} survived, {len(survivors) - len(unexplained)} of them explained; {seconds:.0f} s",
                flush=True,
            )
            for key in stale:
                print(f"\nexplained, but no survivor:\n{block(key)}")
            failed = failed or bool(unexplained or stale)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
