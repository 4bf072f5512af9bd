"""What the user chose, in tenacity's words.

Frozen values, checked when they are built. Nothing here sleeps, calls the user's function or looks at a clock.
"""

from ._limits import StopStrategy, WaitStrategy
from ._policy import Policy
from ._retry_if import (
    RetryIf,
    RetryStrategy,
    retry_if_not_ready,
    retry_if_refused,
    retry_if_unreachable,
    retry_if_unresolved,
)

__all__ = [
    "Policy",
    "RetryIf",
    "RetryStrategy",
    "StopStrategy",
    "WaitStrategy",
    "retry_if_not_ready",
    "retry_if_refused",
    "retry_if_unreachable",
    "retry_if_unresolved",
]
