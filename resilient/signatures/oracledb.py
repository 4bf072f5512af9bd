"""oracledb: a refusal has the socket's error as cause; what listener and server answer is text, by number.

"Listener refused connection" is an answer, and not a refusal. ORA-12514 (the service is not known to the listener) is a
database that is starting as often as a typing error, and of no kind.
"""

from __future__ import annotations

from typing import Final

from ._signature import Rule, Signature

_ERRORS: Final = frozenset({"Error"})
_FIRST: Final = r"^(?:DPY-6005: [^\n]*\n)?"

SIGNATURE: Final = Signature(
    package="oracledb",
    rules=(
        # No password, wrong password, no right to log in, account locked, password expired.
        Rule(kind="hopeless", classes=_ERRORS, text=rf"{_FIRST}ORA-(?:01005|01017|01045|28000|28001): "),
        # Starting or stopping, not available, stopping (two), and a listener whose instances are being mounted.
        Rule(
            kind="not_ready",
            classes=_ERRORS,
            text=rf"{_FIRST}(?:ORA-(?:01033|01034|01089|01090|12528): "
            r"|DPY-6000: Listener refused connection\. \(Similar to ORA-12528\))",
        ),
    ),
)
