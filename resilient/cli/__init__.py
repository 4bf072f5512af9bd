"""The command line: `resilient COMMAND …`, argv in, exit code out.

One file a subcommand, imported only when it is called, so that `resilient --help` stays quick.
Such a file offers `run(argv) -> int`, with the arguments after its own name, and is listed in `COMMANDS`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from .. import __version__
from ._parsing import Parser

COMMANDS = {
    "wait": "wait until a database, broker, cache or web server serves, then run a command",
    "doctor": "say of each target whether it serves, and if not, why not, and what to do",
    "plan": "show how often a policy tries, when it gives up, and how soon it notices that a service is back",
    "demo": "see it work: real servers are late, die and come back, no call fails, and twelve callers share a probe",
}
"""Subcommand → what `resilient --help` says about it. The file has the same name."""

_ENDS_AT_ONCE = frozenset({"doctor", "wait"})
"""Commands whose threads may still hang in a driver or a look-up. Nothing is left to do; the interpreter would join
some of them, and takes a seventh of a short run to take itself apart (measured, CPython 3.11)."""

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells have it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; `argv` is `sys.argv[1:]` unless given.

    Raises:
        SystemExit: by argparse, with 0 after `--help` and `--version`, with 2 after a usage error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in COMMANDS:
            status = int(import_module(f".{arguments[0]}", __name__).run(arguments[1:]))
            return _end(status) if argv is None and arguments[0] in _ENDS_AT_ONCE else status
        parser = _parser()
        parser.parse_args(arguments)
        parser.error("a command is needed")
    except KeyboardInterrupt:
        print("\nresilient: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `resilient demo | head`: nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _end(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="resilient", description="What a Python program does when a connection is refused.")
    parser.add_argument("--version", action="version", version=f"resilient-connect {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    return parser
