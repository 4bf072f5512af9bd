"""The circuit breaker: lock, clock and observers round `_circuit`, and one breaker per endpoint.

No lock is held while the user's code, an observer, a log line or a wake-up runs.
A closed and healthy circuit takes none at all.
"""

from ._breaker import CircuitBreaker, CircuitSnapshot
from ._breakers import CircuitBreakers

__all__ = ["CircuitBreaker", "CircuitBreakers", "CircuitSnapshot"]
