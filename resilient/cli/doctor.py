"""`resilient doctor`: say of each target whether it serves, and if not, why, and what to do.

The report goes to stdout; nothing is changed, and no more than a handshake is sent.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Final

from ..diagnosis import Diagnosis, diagnose
from ..diagnosis._bounded import Look
from ..endpoint import Endpoint
from ..errors import PolicyError, TargetError
from ..failover import split
from ._parsing import Formatter, Parser, deadline
from ._wait._secrets import hide_from_process_table

MOST_AT_ONCE: Final = 64
LONGEST_TIMEOUT: Final = 600.0

_EPILOG: Final = """\
examples:
  resilient doctor db:5432
  resilient doctor postgresql://db redis://cache https://shop.example
  resilient doctor env:DATABASE_URL       keeps the password out of the process table
  resilient doctor localhost:5432 --json

TARGET is host:port, a URL, unix:///path or env:NAME, as for "resilient wait". Of a text
that names several hosts, each is looked at. Of a URL with user and password these are
tried as well, where its driver is installed.

exit status: 0 all serve, 1 one does not, 2 usage
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = Parser(
        prog="resilient doctor",
        usage="resilient doctor TARGET... [options]",
        description="Say whether each target serves, and if not, why not, and what to do.",
        epilog=_EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="host:port, a URL, unix:///path or env:NAME")
    parser.add_argument(
        "-t", "--timeout", metavar="TIME", type=_timeout, default=2.0, help="for each target: 2, 500ms, 1m (default: 2)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead")
    return parser


def run(argv: Sequence[str]) -> int:
    """Print a diagnosis of each target, in the order given. Returns 0 if all of them serve, else 1."""
    parser = make_parser()
    said = parser.parse_intermixed_args(list(argv))
    hosts: dict[str, list[tuple[Endpoint, str]]] = {}
    try:
        for text in said.targets:
            hosts[text] = split(text)
    except TargetError as problem:
        parser.error(str(problem))
    hide_from_process_table([(text, ", ".join(str(it) for it, _ in its)) for text, its in hosts.items()])
    each = [[text] if len(its) == 1 else [own for _, own in its] for text, its in hosts.items()]
    targets = list(dict.fromkeys(target for its in each for target in its))
    mute = logging.NullHandler()  # or else drivers' own warnings would stand between the lines, and secrets in them
    logging.getLogger().addHandler(mute)
    serves = True
    try:
        for found in _diagnoses(targets, said.timeout):
            serves = serves and found.serves
            print(json.dumps(found.as_dict()) if said.json else _text(found), flush=True)
    finally:
        logging.getLogger().removeHandler(mute)
    return 0 if serves else 1


def _diagnoses(targets: Sequence[str], timeout: float) -> Iterator[Diagnosis]:
    """Yield a diagnosis of each; on threads that nobody waits for after Ctrl-C."""
    ask: Callable[[str], Diagnosis | None] = functools.partial(diagnose, timeout=timeout)
    for first in range(0, len(targets), MOST_AT_ONCE):
        some = targets[first : first + MOST_AT_ONCE]
        looks: list[tuple[str, Look[Diagnosis | None]]] = [(target, Look(ask, target)) for target in some]
        for target, look in looks:
            yield look.wait_or(monotonic() + 2 * timeout + 60.0, None) or diagnose(target, timeout=timeout)


def _text(found: Diagnosis) -> str:
    text = str(found)
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    first, _, rest = text.partition("\n")
    return f"\033[1;{32 if found.serves else 31}m{first}\033[0m\n{rest}"


def _timeout(text: str) -> float:
    try:
        found = deadline(text).deadline
    except PolicyError:
        found = None
    if found is None or found > LONGEST_TIMEOUT:
        raise argparse.ArgumentTypeError(f"must be above 0 s and at most {LONGEST_TIMEOUT:g} s, such as 2, 500ms or 1m")
    return found
