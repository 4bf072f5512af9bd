"""One failing call from its first error to its last, on tenacity's engine.

Decides, and never pauses or calls the user's function: that is the drivers' part. A driver asks one question inside its
`except`: `step = recovery.failed(error)`, and gets seconds to pause, or None to let the error fly by a bare `raise`.
Nothing here may replace the client's error: what fails in here is logged, and the error flies.
"""

from ._limits import LATE
from ._plan import Plan, Target
from ._recovery import Recovery

__all__ = ["LATE", "Plan", "Recovery", "Target"]
