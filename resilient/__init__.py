"""What a Python program does when a connection is refused: wait well, stop in time, tell why."""

from ._attempt import Attempt
from ._circuit import Permit
from .backoff import Backoff
from .breaker import CircuitBreaker, CircuitBreakers, CircuitSnapshot
from .clock import Cancellation
from .decorators import attempts, retry_on_refused
from .endpoint import Endpoint
from .errors import CircuitOpenError, PolicyError, TargetError
from .events import (
    CallParked,
    CallRecovered,
    CallRejected,
    CircuitChanged,
    Event,
    Observer,
    RetriesExhausted,
    RetryScheduled,
)
from .logs import log_events
from .policy import (
    Policy,
    log_before_sleep,
    retry_if_not_ready,
    retry_if_refused,
    retry_if_unreachable,
    retry_if_unresolved,
)
from .refusal import Refusal, find_refusal, is_hopeless, is_not_ready, is_refused, is_unreachable, is_unresolved

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "Backoff",
    "CallParked",
    "CallRecovered",
    "CallRejected",
    "Cancellation",
    "CircuitBreaker",
    "CircuitBreakers",
    "CircuitChanged",
    "CircuitOpenError",
    "CircuitSnapshot",
    "Endpoint",
    "Event",
    "Observer",
    "Permit",
    "Policy",
    "PolicyError",
    "Refusal",
    "RetriesExhausted",
    "RetryScheduled",
    "TargetError",
    "__version__",
    "attempts",
    "find_refusal",
    "is_hopeless",
    "is_not_ready",
    "is_refused",
    "is_unreachable",
    "is_unresolved",
    "log_before_sleep",
    "log_events",
    "retry_if_not_ready",
    "retry_if_refused",
    "retry_if_unreachable",
    "retry_if_unresolved",
    "retry_on_refused",
]
