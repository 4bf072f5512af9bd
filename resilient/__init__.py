"""What a Python program does when a connection is refused: wait well, stop in time, tell why."""

import importlib
import typing

from ._attempt import Attempt
from ._circuit import Permit
from .backoff import Backoff
from .breaker import CircuitBreaker, CircuitBreakers, CircuitSnapshot
from .clock import Cancellation
from .decorators import attempts, retry_on_refused
from .endpoint import Endpoint
from .errors import CircuitOpenError, NotServingError, PolicyError, TargetError, WaitTimeoutError
from .events import (
    CallParked,
    CallRecovered,
    CallRejected,
    CircuitChanged,
    EndpointFailure,
    Event,
    FailedOver,
    Observer,
    RetriesExhausted,
    RetryScheduled,
)
from .logs import log_events
from .policy import (
    Policy,
    retry_if_not_ready,
    retry_if_refused,
    retry_if_unreachable,
    retry_if_unresolved,
)
from .refusal import Refusal, find_refusal, is_hopeless, is_not_ready, is_refused, is_unreachable, is_unresolved

if typing.TYPE_CHECKING:
    from .clients import guard
    from .diagnosis import Diagnosis, diagnose, explain
    from .failover import Targets
    from .policy._hooks import log_before_sleep
    from .waiting import wait_for, wait_for_async

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
    "Diagnosis",
    "Endpoint",
    "EndpointFailure",
    "Event",
    "FailedOver",
    "NotServingError",
    "Observer",
    "Permit",
    "Policy",
    "PolicyError",
    "Refusal",
    "RetriesExhausted",
    "RetryScheduled",
    "TargetError",
    "Targets",
    "WaitTimeoutError",
    "__version__",
    "attempts",
    "diagnose",
    "explain",
    "find_refusal",
    "guard",
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
    "wait_for",
    "wait_for_async",
]

_LATER = {
    "Diagnosis": "diagnosis",
    "Targets": "failover",
    "diagnose": "diagnosis",
    "explain": "diagnosis",
    "guard": "clients",
    "log_before_sleep": "policy._hooks",
    "wait_for": "waiting",
    "wait_for_async": "waiting",
}
"""What is loaded when it is first asked for: most programs decorate, and import nothing else."""


def __getattr__(name: str) -> typing.Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
