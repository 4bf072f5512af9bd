"""`resilient plan`: what a policy does, before anything depends on it. Nothing is connected."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import Final

from ..errors import PolicyError
from ..policy import Policy
from ._chart import Sheet
from ._expected import expect
from ._parsing import Formatter, Parser

PRESETS: Final = {"startup": Policy.startup, "request": Policy.request, "background": Policy.background}
"""Policies that have a name, as they are in code: Policy.startup()."""

_ROWS: Final = 12

_EPILOG: Final = """\
examples:
  resilient plan
  resilient plan startup --clients 50
  resilient plan "attempts=8 deadline=30s backoff=50ms..5s jitter=full"
  resilient plan --env DB                 what DB_RETRY says
  resilient plan env:DB_RETRY --json

POLICY is a text as Policy.parse() reads it, the name of a preset (startup, request,
background), or env:NAME for a variable that holds a text. Nothing: Policy().

exit status: 0, or 2 where the policy cannot be read
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = Parser(
        prog="resilient plan",
        usage="resilient plan [POLICY] [options]",
        description="Show how often a policy tries, when it gives up, and how soon it notices that a service is back.",
        epilog=_EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("policy", nargs="*", metavar="POLICY", help="a policy's text, a preset, or env:NAME")
    parser.add_argument("--env", metavar="PREFIX", help="read the policy from the variable PREFIX_RETRY")
    parser.add_argument(
        "--clients", metavar="N", type=_count, default=1, help="so many that start together (default: 1)"
    )
    parser.add_argument("--seed", metavar="N", type=int, help="draw the jitter from this seed, to see the same again")
    parser.add_argument(
        "--rows", metavar="N", type=_count, default=_ROWS, help=f"delays to show, in all (default: {_ROWS})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead, with every delay")
    return parser


def run(argv: Sequence[str]) -> int:
    """Print what a policy does. Returns 0."""
    parser = make_parser()
    said = parser.parse_intermixed_args(list(argv))
    try:
        policy = _policy(" ".join(said.policy), said.env)
    except PolicyError as problem:
        parser.error(str(problem))
    sheet = Sheet(policy, expect(policy), clients=said.clients, seed=said.seed)
    print(sheet.json() if said.json else sheet.text(said.rows))
    return 0


def _policy(text: str, prefix: str | None) -> Policy:
    if prefix is not None:
        if text:
            raise PolicyError("give a POLICY or --env, not both")
        policy = Policy.from_env(prefix)
        if not os.environ.get(f"{prefix}_RETRY", "").strip():
            raise PolicyError(f"environment variable {prefix}_RETRY is not set")
        return policy
    if text in PRESETS:
        return PRESETS[text]()
    if not text.startswith("env:"):
        return _parsed(text)
    name = text[len("env:") :]
    value = os.environ.get(name, "")
    if not value.strip():
        raise PolicyError(f"environment variable {name} is not set")
    try:
        return _parsed(value)
    except PolicyError:
        pass
    raise PolicyError(
        f'environment variable {name} is not a policy; it reads like "attempts=8 deadline=30s backoff=50ms..5s"'
    )


def _parsed(text: str) -> Policy:
    try:
        return Policy.parse(text)
    except PolicyError as problem:
        if re.fullmatch(r"\w+", text):
            raise PolicyError(f"{problem}; the presets are {', '.join(PRESETS)}") from None
        raise


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return int(text)
