"""What must not be shown: the secrets in the targets themselves, hidden wherever they turn up.

`_scrub` hides what looks like a secret; here is known which texts are.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import Final

from ..._scrub import scrub

_SHORTEST: Final = 4
"""Characters of a secret that is hidden by its own text: hiding every "a" would only tell that it is "a"."""

_IN_QUERY: Final = (
    r"(?i)(?:^|[?&\s;])[\w-]*(?:pass|pwd|secret|token|key|cred|auth)[\w-]*\s*=\s*('(?:[^'\\]|\\.)*'|[^&\s;#]+)"
)


class Mask:
    """Makes texts fit to show."""

    def __init__(self, targets: Iterable[str]) -> None:
        found = {secret for target in targets for secret in _secrets_of(target) if len(secret) >= _SHORTEST}
        self._secrets = sorted(found, key=len, reverse=True)  # a longer one may contain a shorter one

    def __call__(self, text: str) -> str:
        """Return a text without secrets, on one line, at most 200 characters."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return scrub(text)


def _secrets_of(target: str) -> set[str]:
    if "@" not in target and "=" not in target:
        return set()
    found = {match.strip("'") for match in re.findall(_IN_QUERY, target)}
    _, slashes, rest = target.partition("://")
    if slashes and "@" in rest:
        user, colon, password = rest.rpartition("@")[0].partition(":")
        found.add(password if colon else user)  # redis://token@cache
    from urllib.parse import quote, quote_plus, unquote

    plain = found | {unquote(secret) for secret in found} | {secret.replace("\\", "") for secret in found}
    return plain | {quote(secret, safe="") for secret in plain} | {quote_plus(secret) for secret in plain}


def hide_from_process_table(shown: Iterable[tuple[str, str]]) -> None:
    """Overwrite targets on this process's own command line, as `ps` shows it, with their names. Linux only.

    Args:
        shown: targets as they were given, and what may be seen of them.
    """
    words = [(os.fsencode(text), os.fsencode(name)) for text, name in shown if text != name and re.search("[@=]", text)]
    if not words or sys.platform != "linux":
        return
    try:
        with open("/proc/self/stat", "rb") as stat:  # proc(5): fields 48 and 49, counted after the command's name
            start, end = map(int, stat.read().rpartition(b")")[2].split()[45:47])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            line = memory.read(end - start)
            for text, name in words:
                place = line.find(b"\0" + text + b"\0")
                while place >= 0:
                    memory.seek(start + place + 1)
                    memory.write(name.ljust(len(text)) if len(name) <= len(text) else b"*" * len(text))
                    place = line.find(b"\0" + text + b"\0", place + 1)
    except (OSError, ValueError, OverflowError):  # no /proc, or hardened: then `env:NAME` is the only way
        return
