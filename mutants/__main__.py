"""`python -m mutants [MODULE…]`: change one place at a time, run the module's tests, and see who survives."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .places import Mutant, mutants_of
from .survivors import LIST, block, explained, wrong

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "resilient"
COPIED = (PACKAGE, "tests", "mutants", "pyproject.toml")
WORKERS = 2

# The module, and the test files that are there for it; those that kill most and fastest stand first.
TESTS: dict[str, tuple[str, ...]] = {
    "_circuit": ("test_circuit.py", "test_circuit_model.py"),
    "backoff": ("test_backoff.py", "test_backoff_*.py"),
    "_causes": ("test_judging*.py",),
    "_recovery": (
        "test_retry*.py",
        "test_attempts.py",
        "test_untouched.py",
        "test_nested.py",
        "test_deadlines.py",
        "test_events.py",
        "test_log.py",
        "test_cancellation.py",
    ),
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

    def run(self, module: str, timeout: float | None = None, keep_bytecode: bool = False) -> tuple[Fate, str]:
        """Run the module's tests once."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "mutants.small", "-p", "no:cacheprovider"]
        environment = os.environ | {"PYTHONPATH": str(self.folder)}
        for disturbing in ("PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS"):
            environment.pop(disturbing, None)
        # A file that was changed twice within a second would else be taken for its first version.
        if not keep_bytecode:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        process = subprocess.Popen(
            [*command, *self.tests(module)],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return "timed out", ""
        if process.returncode == 5:
            sys.exit(f"mutants: no tests for {module}")
        return "killed" if process.returncode else "survived", output

    def fate(self, module: str, mutant: Mutant, timeout: float) -> Fate:
        """What the module's tests do to this mutant."""
        path = self.folder / PACKAGE / mutant.file
        original = path.read_bytes()
        try:
            path.write_text(mutant.source, encoding="utf-8")
            return self.run(module, timeout)[0]
        finally:
            path.write_bytes(original)


def prepare(workshop: Workshop, module: str) -> float:
    """See that the tests pass as things are and fail for a module that is broken; return their seconds.

    Without the second, tests that import another copy of the package would let everybody survive, and without the
    first they would kill everybody.
    """
    workshop.run(module, keep_bytecode=True)
    for file in workshop.files(module):
        for stale in (workshop.folder / PACKAGE / file).parent.glob(f"__pycache__/{file.stem}.*"):
            stale.unlink()
    begun = time.monotonic()
    fate, output = workshop.run(module)
    seconds = time.monotonic() - begun
    if fate != "survived":
        sys.exit(f"mutants: the tests of {module} fail without any mutant\n{output}")
    first = workshop.files(module)[0].as_posix()
    broken = Mutant(first, "-", "", "", "raise ImportError('broken on purpose')\n")
    if workshop.fate(module, broken, 60 + 10 * seconds) != "killed":
        sys.exit(f"mutants: the tests of {module} do not look at the copy in {workshop.folder}")
    return seconds


def examine(module: str, workshops: list[Workshop]) -> tuple[dict[Mutant, Fate], float]:
    """Run the module's tests on each of its mutants, as many at a time as there are workshops."""
    begun = time.monotonic()
    seconds = max(prepare(workshop, module) for workshop in workshops)
    free: queue.SimpleQueue[Workshop] = queue.SimpleQueue()
    for workshop in workshops:
        free.put(workshop)
    mutants = workshops[0].mutants(module)
    done, lock = 0, threading.Lock()

    def one(mutant: Mutant) -> Fate:
        nonlocal done
        workshop = free.get()
        try:
            fate = workshop.fate(module, mutant, timeout=10 + 10 * seconds)
        finally:
            free.put(workshop)
        with lock:
            done += 1
            if sys.stderr.isatty():
                print(f"\r{module}: {done} of {len(mutants)} ", end="", file=sys.stderr, flush=True)
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


def main(modules: list[str]) -> int:
    """Examine these modules (all, if none is named); 0 if every survivor is explained and every explanation holds."""
    unknown = [module for module in modules if module not in TESTS]
    if unknown:
        print(f"mutants: {unknown[0]} is none of {', '.join(TESTS)}", file=sys.stderr)
        return 2
    reasons = explained(LIST.read_text(encoding="utf-8"))
    failed = False
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        workshops = [Workshop.make(Path(folder, str(number))) for number in range(WORKERS)]
        for module in modules or TESTS:
            fates, seconds = examine(module, workshops)
            survivors = [mutant.key for mutant, fate in fates.items() if fate == "survived"]
            files = {file.as_posix() for file in workshops[0].files(module)}
            unexplained, stale = wrong(survivors, reasons, files)
            late = list(fates.values()).count("timed out")
            print(
                f"{module}: {len(fates)} mutants, {len(fates) - len(survivors)} killed ({late} by their time), "
                f"{len(survivors)} survived, {len(survivors) - len(unexplained)} of them explained; {seconds:.0f} s"
            )
            for title, keys in (("survived, unexplained", unexplained), ("explained, but no survivor", stale)):
                for key in keys:
                    print(f"\n{title}:\n{block(key)}")
            failed = failed or bool(unexplained or stale)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
