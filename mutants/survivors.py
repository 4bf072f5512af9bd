"""The list of mutants that may survive, each with the reason. One block of lines each:

_circuit.py admit
- the line as it is
+ the line as it was changed
Why no test can or need notice.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Key = tuple[str, str, str, str]
LIST = Path(__file__).with_name("survivors.txt")


def explained(text: str) -> dict[Key, str]:
    """Read the list: file, function, before, after → reason.

    Raises:
        ValueError: a block is not whole, or stands there twice.
    """
    found: dict[Key, str] = {}
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if not lines:
            continue
        if len(lines) < 4 or lines[1][:2] != "- " or lines[2][:1] != "+" or " " not in lines[0]:
            raise ValueError(f"survivors.txt: not 'file function', '- before', '+ after', reason:\n{block}")
        file, function = lines[0].split(" ", 1)
        key = file, function, lines[1][2:], lines[2][2:]
        if key in found:
            raise ValueError(f"survivors.txt: twice:\n{block}")
        found[key] = " ".join(lines[3:])
    return found


def block(key: Key) -> str:
    """The lines of one survivor, but for its reason."""
    file, function, before, after = key
    return f"{file} {function}\n- {before}\n+ {after}".rstrip()


def wrong(survivors: Iterable[Key], reasons: dict[Key, str], files: set[str]) -> tuple[list[Key], list[Key]]:
    """Survivors without a reason, and reasons, for files that were looked at, without a survivor."""
    alive = set(survivors)
    return sorted(alive - reasons.keys()), sorted(key for key in reasons.keys() - alive if key[0] in files)
