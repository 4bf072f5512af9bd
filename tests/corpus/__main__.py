"""Run the corpus: `python -m corpus [FILE…] [--only REGEX] [--write] [--details]`.

On Linux it runs in namespaces of its own, where `localhost` is ::1 and 127.0.0.1, and where nothing leaves the machine.
It fails if a refusal was missed, or if anything else was called one.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from fake_servers import serve

from .entry import FILES, Book, Client, books
from .page import PAGE, figures, render
from .servers import Case, cases

INSIDE = "RESILIENT_CORPUS_WORLD"
PATIENCE = 40.0
"""Seconds without a word after which a process is ended."""


@dataclass(slots=True)
class Library:
    """One library of one file, what it is to meet, and what came of it."""

    file: str
    number: int
    name: str
    book: Book
    clients: list[Client]
    cases: list[Case]
    results: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    version: str | None = None
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> str | None:
        """Why nothing of it was tried, or None."""
        return next(iter(self.absent.values()), None) if not self.results else None

    def run(self) -> None:
        """Run its process, and another one after each that hung or died."""
        order = [(client.name, case.name) for client in self.clients for case in self.cases]
        text = json.dumps([dataclasses.asdict(case) for case in self.cases])
        done = 0
        while done <= len(order):
            before = done
            ended, done, last = self._one_process(text, done)
            if ended:
                return
            if done < len(order):
                entry, case = order[done]
                self.results.setdefault(entry, {})[case] = {"kind": "hung", "type": "-", "text": last}
                done += 1
            elif done == before:
                return

    def _one_process(self, cases: str, skip: int) -> tuple[bool, int, str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "corpus.run", self.file, str(self.number), self.name, cases, str(skip)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        spoken: list[str] = []
        threading.Thread(target=lambda: spoken.extend(process.stderr or ()), daemon=True).start()
        done, ended = skip, False
        while True:
            timer = threading.Timer(PATIENCE, process.kill)
            timer.start()
            line = process.stdout.readline()
            timer.cancel()
            if not line:
                break
            told = json.loads(line)
            if "version" in told:
                self.version, ended = told["version"], True
            elif "missing" in told:
                self.absent[told["entry"]] = told["missing"]
                done += 1
            else:
                self.results.setdefault(told.pop("entry"), {})[told.pop("case")] = told
                done += 1
        process.wait()
        return ended, done, "".join(spoken[-3:])[-300:]


@dataclass(frozen=True, slots=True)
class Problem:
    """One verdict that is not as it must be."""

    entry: str
    case: str
    expected: str
    told: dict[str, Any]

    def __str__(self) -> str:
        told = self.told
        kind = told["kind"] or ("refused, when asked" if told.get("asked") else "nothing")
        return f"{self.entry} | {self.case}: {kind}, not {self.expected}: {told.get('type')}: {told.get('text')!r}"


def problems(library: Library) -> Iterator[Problem]:
    """Yield what is wrong."""
    answers = {answer.name: answer for answer in library.book.answers}
    for client in library.clients:
        for case in library.cases:
            told = library.results.get(client.name, {}).get(case.name)
            if told is None:
                continue
            kind, asked = told["kind"], told.get("asked", False)
            answer = answers.get(case.name.removeprefix("replica: "))
            expected = case.kind if answer is None else answer.expected(client)
            expected = client.but.get(case.name, expected)
            if expected == "skip":
                continue
            if expected != "refused" and (kind == "refused" or (asked and case.host != "localhost")):
                yield Problem(client.name, case.name, f"{expected}: A FALSE ALARM", told)
            elif expected == "refused":
                if kind != "refused" and not asked and not library.book.held_out:
                    yield Problem(client.name, case.name, expected, told)
            elif expected == "any":
                if kind == "not_ready":
                    yield Problem(client.name, case.name, "nothing like that", told)
            elif kind != expected and kind != "hung":
                yield Problem(client.name, case.name, str(expected), told)


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m corpus", description="Let every client meet every case.")
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"one of {', '.join(FILES)}; default: all")
    parser.add_argument("--only", metavar="REGEX", help="only libraries whose name this matches")
    parser.add_argument("--cases", metavar="REGEX", help="only cases whose name this matches")
    parser.add_argument("--write", action="store_true", help=f"write the table to {PAGE.name}")
    parser.add_argument("--details", action="store_true", help="print every verdict, with the client's words")
    parser.add_argument("--workers", type=int, default=6, help="libraries at a time (default: 6)")
    read = parser.parse_args(words)
    for file in read.files:
        if file not in FILES:
            parser.error(f"{file} is none of {', '.join(FILES)}")
    if read.write and (read.files or read.only or read.cases):
        parser.error("--write is for a run of all of it")
    return read


def into_a_world_of_its_own() -> None:
    """Start anew in namespaces, with a hosts file and a loopback that nobody else uses."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".hosts", delete=False) as hosts:
        hosts.write("127.0.0.1 localhost\n::1 localhost\n")
    script = f'mount --bind "{hosts.name}" /etc/hosts && rm -f "{hosts.name}" && exec "$@"'
    for spaces in ("-rmn", "-mn"):
        behind = ["unshare", spaces, "sh", "-c", script, "sh"]
        if subprocess.run([*behind[:5], "sh", "true"], capture_output=True, check=False).returncode == 0:
            with open(hosts.name, "w") as again:
                again.write("127.0.0.1 localhost\n::1 localhost\n")
            os.environ[INSIDE] = "1"
            os.execvp("unshare", [*behind, sys.executable, "-m", "corpus", *sys.argv[1:]])


def raise_loopback() -> bool:
    """Bring the loopback up; whether `localhost` is two addresses then."""
    set_flags, is_up = 0x8914, 1  # SIOCSIFFLAGS, IFF_UP
    if os.environ.get(INSIDE):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, set_flags, struct.pack("16sH14x", b"lo", is_up))
    with contextlib.suppress(OSError):
        return {info[4][0] for info in socket.getaddrinfo("localhost", 1)} == {"127.0.0.1", "::1"}
    return False


def main(words: Sequence[str]) -> int:
    """Run what the command line names; 0 if every verdict is as it must be."""
    options = arguments(words)
    if not os.environ.get(INSIDE):
        into_a_world_of_its_own()
    two = raise_loopback()
    if not two:
        print("NOT TRIED: `localhost` with two addresses: this machine gives no leave to mount a hosts file")
    with contextlib.ExitStack() as stack:
        shared = stack.enter_context(cases(two_addresses=two))
        pair = shared[0].port
        met = [case for case in shared if not options.cases or re.search(options.cases, case.name)]
        libraries = []
        for file in options.files or FILES:
            for number, book in enumerate(books(file)):
                own = [
                    Case(answer.name, "127.0.0.1", stack.enter_context(serve(answer.handler)), answer.kind)
                    for answer in book.answers
                    if not options.cases or re.search(options.cases, answer.name)
                ]
                own += [
                    Case(f"replica: {case.name}", "127.0.0.1", pair, "any", case.port)
                    for case in own
                    if case.kind == "hopeless"
                ]
                libraries += [
                    Library(file, number, name, book, clients, [*met, *own])
                    for name, clients in book.libraries().items()
                    if not options.only or re.search(options.only, name)
                ]
        with ThreadPoolExecutor(options.workers) as pool:
            for library, _ in zip(libraries, pool.map(Library.run, libraries), strict=True):
                tell(library, options.details)
    wrong = [problem for library in libraries for problem in problems(library)]
    alarms = summary(libraries, wrong)
    if options.write:
        PAGE.write_text(render(libraries, alarms), encoding="utf-8")
    return 1 if wrong else 0


def tell(library: Library, details: bool) -> None:
    """Print one line for a library, or one a verdict."""
    if library.missing:
        print(f"{library.name}: NOT TRIED: {library.missing}", flush=True)
        return
    print(f"{library.name} {library.version}: {len(library.results)} entry points", flush=True)
    for entry, why in library.absent.items():
        print(f"    NOT TRIED: {entry}: {why}", flush=True)
    if details:
        for entry, results in library.results.items():
            for case, told in results.items():
                asked = ", asked" if told.get("asked") else ""
                print(f"    {entry} | {case}: {told['kind']}{asked} ({told.get('seconds', 0):.1f} s)")
                print(f"        {told.get('type')}: {told.get('text')!r}")


def summary(libraries: Sequence[Library], wrong: Sequence[Problem]) -> dict[bool, int]:
    """Print what was found, and the figures; return how many false alarms there were, held out or not."""
    for problem in wrong:
        print(problem)
    alarms = {False: 0, True: 0}
    for held_out in alarms:
        names = {
            client.name for library in libraries if library.book.held_out is held_out for client in library.clients
        }
        alarms[held_out] = sum("FALSE ALARM" in problem.expected and problem.entry in names for problem in wrong)
        found = figures(libraries, held_out, alarms[held_out])
        if found["entry points"]:
            print(
                "held out: " if held_out else "",
                ", ".join(f"{number} {name}" for name, number in found.items()),
                sep="",
            )
    absent = [library.name for library in libraries if library.missing]
    if absent:
        print(f"NOT TRIED, not installed here: {', '.join(absent)}")
    return alarms


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
