"""What `resilient wait` was asked to do: argv in, a checked value out.

Nothing is connected here. argv is split by hand at the first `--`: argparse swallows options before it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Final

from ..._values import NamedTuple
from ...backoff import Backoff
from ...endpoint import Endpoint
from ...errors import TargetError
from ...failover import split, together
from ...policy import Policy
from ._parser import make_parser

MOST_TARGETS: Final = 256
"""Each target has a thread of its own."""

OFTEN: Final = Backoff(maximum=0.95)
"""How often a target is asked: 84 connects a minute, 89 in the first; 0.37 s from "it serves" to the next, on average.
With the cap of `Policy.startup()`, 1 s, these would be 0.39 s, and no time would be left for the hello itself."""

_WEB: Final = ("http://", "https://", "http+unix://")


class Target(NamedTuple):
    """One target that is waited for.

    Attributes:
        text: as its driver reads it, secrets included; never shown.
        endpoint: where that is; of several hosts, the first.
        name: what is shown.
        hosts: each endpoint that the text names, and a text for it alone. One that serves is enough.
    """

    text: str
    endpoint: Endpoint
    name: str
    hosts: tuple[tuple[Endpoint, str], ...]

    @property
    def is_web(self) -> bool:
        """Whether it is asked over HTTP."""
        return self.text.lower().startswith(_WEB)


class Options(NamedTuple):
    """What to do.

    Attributes:
        targets: what is waited for.
        any_serves: one target that serves is enough.
        policy: how often to try; its deadline is the timeout, None without a limit.
        stable_for: seconds for which a target has to go on serving.
        statuses: HTTP statuses that count, or None.
        body: what an HTTP answer has to contain, or None.
        style: "text" or "json".
        volume: -1 quiet, 0, or 1 verbose.
        command: what is run at the end; empty: nothing.
    """

    targets: tuple[Target, ...]
    any_serves: bool
    policy: Policy
    stable_for: float
    statuses: frozenset[int] | None
    body: str | None
    style: str
    volume: int
    command: tuple[str, ...]


def read(argv: Sequence[str]) -> Options:
    """Read a command line.

    Raises:
        SystemExit: by argparse: 0 after `--help`, 2 where something is wrong.
    """
    parser = make_parser()
    words, command = list(argv), list[str]()
    if "--" in words:
        cut = words.index("--")
        words, command = words[:cut], words[cut + 1 :]
        if not command:
            parser.error('there is no COMMAND after "--"')
    said = parser.parse_intermixed_args(words)
    targets = _targets(parser, said.targets, has_command=bool(command))
    web = any(target.is_web for target in targets)
    for option, value in (("--status", said.status), ("--body", said.body)):
        if value is not None and not web:
            parser.error(f"{option} is for http:// and https:// targets, and there is none")
    policy = Policy.startup().replace(backoff=OFTEN) if said.policy is None else said.policy
    if said.timeout is not None:
        policy = policy.replace(deadline=said.timeout.deadline)
    if policy.deadline is not None and said.stable_for >= policy.deadline:
        parser.error(f"--stable-for {said.stable_for:g} s has no room in a timeout of {policy.deadline:g} s")
    return Options(
        targets=targets,
        any_serves=said.any,
        policy=policy,
        stable_for=said.stable_for,
        statuses=said.status,
        body=said.body,
        style="json" if said.json else "text",
        volume=said.verbose - said.quiet,
        command=tuple(command),
    )


def _targets(parser: argparse.ArgumentParser, texts: Sequence[str], *, has_command: bool) -> tuple[Target, ...]:
    if len(texts) > MOST_TARGETS:
        parser.error(f"{len(texts)} targets are too many: {MOST_TARGETS} at most")
    targets: list[Target] = []
    names: dict[str, int] = {}
    for number, text in enumerate(texts, 1):
        try:
            hosts = tuple(split(text))
            together([endpoint for endpoint, _ in hosts])
        except TargetError as problem:
            which = f"target {number}" if len(texts) > 1 else "TARGET"
            hint = (
                "" if has_command or number == 1 else '\nA command stands after "--": resilient wait TARGET -- COMMAND'
            )
            parser.error(f"{which}: {problem}{hint}")
        name = ", ".join(str(endpoint) for endpoint, _ in hosts)
        names[name] = names.get(name, 0) + 1
        if names[name] > 1:
            name = f"{name} ({names[name]})"
        targets.append(Target(_resolved(text), hosts[0][0], name, hosts))
    return tuple(targets)


def _resolved(text: str) -> str:
    """Return what a driver is given; who is asked and who is shown may differ by a variable."""
    return os.environ[text[len("env:") :]] if text.startswith("env:") else text
