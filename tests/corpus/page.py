"""The manual's table of clients, and the figures below it."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from resilient.signatures import TABLE, Signature

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "clients.md"
PLACES = ("127.0.0.1", "::1", "localhost")

HEAD = """\
# Clients

What is made of a client's own errors, found by letting each entry point meet a port that refuses on 127.0.0.1, on ::1
and on a `localhost` that is both, and then servers that do anything but refuse.
`make corpus` installs the clients, runs them and writes this page; `make corpus ARGS="--details"` shows their words.

- **refused**: "yes": recognised by what the error carries, in all three places;
  "target": the error says nothing in one of them at least, and is recognised if `target=` is given,
  by [asking the port](../how-to/clients-that-hide.md);
  "no": nothing tells.
- **read from**: the class of the exception that it was read from.
  If that is the client's own, its text or code said it.
- **not ready**, **hopeless**: what its servers said that is recognised as such.

Most clients need no rule of their own.
[Judging errors](judging.md) tells the rules,
and [Teach it your client](../how-to/teach-it-your-client.md) how to add one.
"""


KINDS = ("refused", "not_ready", "unresolved", "unreachable", "hopeless", "hidden", "other")


def signatures() -> list[str]:
    """Return the lines of the table of signatures, of which each row is a row of `TABLE`."""
    lines = ["| package | what its own words or codes are known to say |", "|---|---|"]
    for package, file in sorted(TABLE.items()):
        found: Signature = importlib.import_module(f"resilient.signatures.{file}").SIGNATURE
        kinds = {rule.kind for rule in found.rules}
        said = [kind for kind in KINDS if kind in kinds]
        if found.vouches:
            said.append("that it means what it hides behind `from None`")
        lines.append(f"| `{package}` | {', '.join(said) or 'nothing; what it carries counts'} |")
    return lines


def verdict(client: Any, results: dict[str, dict[str, Any]]) -> str:
    """Return what an entry point's refusals come to: "yes", "target" or "no". Places it cannot dial do not count."""
    places = [place for place in PLACES if place in results]
    told = [results[place] for place in places if place not in client.but] or [results[place] for place in places]
    if all(one["kind"] == "refused" for one in told):
        return "yes"
    return "target" if all(one["kind"] == "refused" or one.get("asked") for one in told) else "no"


def _caption(file: str) -> str:
    text = importlib.import_module(f"corpus.{file}").__doc__ or file
    return text.partition("\n")[0].rstrip(".")


def _said(library: Any, results: dict[str, dict[str, Any]], kind: str) -> str:
    answers = [answer.name for answer in library.book.answers]
    return ", ".join(name for name in answers if results.get(name, {}).get("kind") == kind) or "-"


def _evidence(results: dict[str, dict[str, Any]]) -> str:
    found = dict.fromkeys(
        f"`{results[place]['how']}`" for place in PLACES if results.get(place, {}).get("kind") == "refused"
    )
    return ", ".join(found) or "-"


def _rows(library: Any) -> Iterable[str]:
    for client in library.clients:
        results = library.results.get(client.name)
        if results:
            cells = (
                client.name,
                verdict(client, results),
                _evidence(results),
                _said(library, results, "not_ready"),
                _said(library, results, "hopeless"),
            )
            yield f"| {' | '.join(cells)} |"


def figures(libraries: Sequence[Any], held_out: bool, false_alarms: int) -> dict[str, int]:
    """Count what the corpus found, of the libraries that were held out or of the others."""
    counts: Counter[str] = Counter()
    for library in libraries:
        if library.book.held_out is held_out:
            for client in library.clients:
                results = library.results.get(client.name)
                if not results:
                    continue
                counts["entry points"] += 1
                counts[verdict(client, results)] += 1
                counts["negative cases"] += len(results) - sum(place in results for place in PLACES)
                counts["hung"] += sum(told["kind"] == "hung" for told in results.values())
    return {
        "entry points": counts["entry points"],
        "recognised by what the error carries": counts["yes"],
        "recognised with `target=`": counts["target"],
        "not recognised": counts["no"],
        "negative cases": counts["negative cases"],
        "false alarms": false_alarms,
        "cases in which the client never came back": counts["hung"],
    }


def render(libraries: Sequence[Any], false_alarms: dict[bool, int]) -> str:
    """Return the page."""
    parts = [HEAD]
    for file in dict.fromkeys(library.file for library in libraries):
        chosen = [library for library in libraries if library.file == file and library.results]
        if not chosen:
            continue
        parts.append(f"## {_caption(file)}\n")
        parts.append("| entry point | refused | read from | not ready | hopeless |\n|---|---|---|---|---|")
        parts += [row for library in chosen for row in _rows(library)]
        parts.append("")
    parts += ["## Signatures\n", *signatures(), ""]
    parts.append("## Figures\n")
    parts.append("| | clients with rules written for them, or for their like | held out |\n|---|---|---|")
    told, held_out = (figures(libraries, which, false_alarms[which]) for which in (False, True))
    parts += [f"| {name} | {number} | {held_out[name]} |" for name, number in told.items()]
    parts.append("")
    parts.append('"Held out" are clients at which nobody looked while the rules were written.\n')
    versions = {library.name: library.version for library in libraries if library.version not in (None, "-")}
    parts.append("## Versions\n")
    parts.append(", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + ".\n")
    return "\n".join(parts)
