"""Say why a target does not serve: `diagnose` for who asks, `explain` for the log of a call that gives up.

What is looked at and what it means are two rooms: `_diagnosing` has the one done, `_judging` decides the other.
"""

from __future__ import annotations

from ._diagnosing import diagnose
from ._explaining import explain
from ._value import CODES, Diagnosis

__all__ = ["CODES", "Diagnosis", "diagnose", "explain"]
