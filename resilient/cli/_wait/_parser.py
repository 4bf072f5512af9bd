"""The parser of `resilient wait`: what its options are called, and what their values may be."""

from __future__ import annotations

import argparse
from typing import Final

from ...errors import PolicyError
from ...policy import Policy
from .._parsing import Formatter, Parser, deadline

_EPILOG: Final = """\
examples:
  resilient wait db:5432 && python manage.py migrate
  resilient wait env:DATABASE_URL redis://cache:6379 -t 2m -- gunicorn app:app
  resilient wait http://api:8000/healthz --status 200,204
  resilient wait db-a:5432 db-b:5432 --any --stable-for 3 -q

targets:
  db:5432, [::1]:5432, unix:///run/x.sock, http(s)://host/path, or a URL as its
  clients write it: postgresql, mysql, redis, valkey, amqp, nats, mqtt, mongodb,
  kafka, memcached ... A URL without a port means the usual one.
  Of a text that names several hosts, postgresql://a,b/app, one that serves is
  enough; they are asked in their order.
  env:NAME reads the target from a variable, and keeps its password out of `ps`.

  It counts as up when it serves: its installed driver gets in, or else a short
  handshake is answered. Where neither is possible an open port has to do, and
  the output says so.

exit status:
  0    it serves; with a COMMAND, the command's own exit status
  1    waiting cannot help: a wrong password, an unknown database ...
  2    the command line is wrong
  124  it did not serve in time; COMMAND is not run
  126  COMMAND cannot be run
  127  COMMAND is not found
  130  interrupted (Ctrl-C)
  143  told to stop (SIGTERM)

COMMAND takes the place of this process: PID, signals, stdin and stdout are its
own. Everything that is printed here goes to stderr.
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of what stands before `--`."""
    parser = Parser(
        prog="resilient wait",
        usage="resilient wait TARGET [TARGET ...] [options] [-- COMMAND ...]",
        description="Wait until every target serves, then run COMMAND in the place of this process.",
        epilog=_EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="what to wait for; several are asked side by side")
    parser.add_argument(
        "-t",
        "--timeout",
        metavar="TIME",
        type=_timeout,
        help="give up after this long: 60, 90s, 5m, or none (default: 60 s)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="wait until every target serves (default)")
    which.add_argument("--any", action="store_true", help="one target that serves is enough")
    parser.add_argument(
        "--stable-for",
        metavar="TIME",
        type=_stable_for,
        default=0.0,
        help="it has to go on serving for this long: some images start a server, stop it, and start it again "
        "(default: 0)",
    )
    parser.add_argument(
        "--policy",
        metavar="TEXT",
        type=_policy,
        help='how often to try, as a policy\'s text: "backoff=50ms..950ms jitter=equal" (default: that)',
    )
    parser.add_argument(
        "--status",
        metavar="LIST",
        type=_statuses,
        help="http(s): the statuses that count, such as 200,204 or 200-299 (default: 200-399 where the URL has a "
        "path, else any but 502, 503 and 504)",
    )
    parser.add_argument("--body", metavar="TEXT", help="http(s): what the answer has to contain")
    parser.add_argument("--json", action="store_true", help="print events to stderr as JSON, one a line")
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("-q", "--quiet", action="store_true", help="print nothing but why it failed")
    volume.add_argument("-v", "--verbose", action="store_true", help="print every attempt, and how targets are asked")
    return parser


def _timeout(text: str) -> Policy:
    """Read a timeout, as the deadline of a policy: there None is a value."""
    try:
        return deadline(text)
    except PolicyError:
        raise argparse.ArgumentTypeError(f"must be above 0, such as 60, 90s, 5m, or none, not {text!r}") from None


def _stable_for(text: str) -> float:
    if text.strip("0") in ("", "."):
        return 0.0
    try:
        found = deadline(text).deadline
    except PolicyError:
        found = None
    if found is None:
        raise argparse.ArgumentTypeError(f"must be a duration such as 3, 500ms or 1m, not {text!r}")
    return found


def _policy(text: str) -> Policy:
    try:
        return Policy.parse(text)
    except PolicyError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _statuses(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        numbers = [low, high if dash else low]
        if not all(number.isascii() and number.isdigit() and len(number) == 3 for number in numbers):
            raise argparse.ArgumentTypeError(f"must be statuses such as 200,204 or 200-299, not {text!r}")
        found.update(range(int(numbers[0]), int(numbers[1]) + 1))
    if not found or min(found) < 100 or max(found) > 599:
        raise argparse.ArgumentTypeError(f"must be statuses from 100 to 599, not {text!r}")
    return frozenset(found)
