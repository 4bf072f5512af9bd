"""Why a target did not serve in time: what `resilient doctor` would say of it, in short, when the wait has given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ._books import Row

if TYPE_CHECKING:
    from ...diagnosis import Diagnosis
    from ._options import Target

LONGEST: Final = 2.0
"""Seconds that it may take: the deadline has passed, and somebody waits for the exit status."""


def why(targets: Sequence[Target], rows: Sequence[Row]) -> tuple[Row, Diagnosis] | None:
    """Look at the first target that was not in time, without its credentials; None: all others ended otherwise."""
    for target, row in zip(targets, rows, strict=True):
        if row.state == "timed out":
            from ...diagnosis import diagnose

            return row, diagnose(target.endpoint, timeout=LONGEST)
    return None
