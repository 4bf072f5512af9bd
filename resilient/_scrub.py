"""Text from a client, made fit to show: no secret, no character that forges a line, never too long.

Pure, bounded and quick: what a hostile server put into an error costs no more than a few milliseconds.
Where a text is in doubt, too much is hidden rather than too little. Every rule marks what it hides in the text as it
came, and the marks are replaced together, so that no rule undoes another's work.
"""

from __future__ import annotations

import re
from typing import Final

_MASK: Final = "***"
_ELLIPSIS: Final = "…"
_ROOM: Final = 2_048
"""How much of a text is looked at, beyond four times what may be shown: secrets take room and are then hidden."""

_Span = tuple[int, int]

# White space is ASCII here: a password may well have a no-break space.
_CHUNK: Final = re.compile(r"[^ \t-\r]+")
_BLANK: Final = " \t\n\v\f\r"

_TRIGGERS: Final = ("pass", "pw", "secret", "token", "cred", "key", "auth", "cookie", "ident", "bearer", "basic")
_WORD: Final = re.compile(
    r"""(?:
        (?P<strong>pass(?:w(?:or)?d|phrase|code|key) | pwd | secret | token | credential | signature
            | (?:api|access|account|private|shared|encryption|secret)[_-]?key )
      | (?P<header>authorization | cookie)
      | (?P<weak>pass(?![a-z]) | (?<![a-z])(?:auth(?:entication_string)?|pw|key)(?![a-z]) | identified\ by)
    )(?P<rest>[\w-]{0,40})""",
    re.IGNORECASE | re.VERBOSE,
)
"""Words that a secret follows. `pass`, `auth`, `key` are words of ordinary sentences as well, so they need a "="."""

_SEPARATOR: Final = re.compile(
    r"""(?P<close>\\{0,3}["'`]?\]?)[ \t]{0,8}(?P<sign>=>|:=|==?|:(?!:)|%(?:25){0,3}3[DdAa])[ \t]{0,8}"""
)
_NEXT_ITEM: Final = re.compile(r"""["'`]?[ \t]{0,8},?[ \t]{1,8}|["'`],""")  # ('password', 'x'), --password x
_OPENING: Final = re.compile(r"""[bBrRuUfF]{0,2}(\\{0,3}["'`])""")
_REST_OF_QUOTED: Final = {
    quote: re.compile(rf"(?:[^{quote}\\]|\\.|{quote}{quote})*", re.DOTALL) for quote in ("'", '"', "`")
}
_BARE: Final = re.compile(r"(?:[^ \t-\r\\]|\\.?)*", re.DOTALL)
_NO_SECRET: Final = re.compile(r"(?:YES|NO|None|NULL|null)(?![^\s,;)\]}])")
