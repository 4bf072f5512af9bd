"""Which errors are tried again: tenacity retry strategies over the judge's verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from tenacity.retry import retry_all, retry_any, retry_base

from .. import refusal
from ..errors import PolicyError
from ..signatures import Kind

if TYPE_CHECKING:
    from tenacity import RetryCallState

RetryStrategy: TypeAlias = "retry_base | Callable[[RetryCallState], bool]"


@final
class RetryIf(retry_base):
    """Retry errors of some kinds: a tenacity retry strategy, built by the `retry_if_…` functions, joined by `|`, `&`.

    Attributes:
        kinds: what an error must say of its endpoint.
        exhausted: also where a decorated call inside has just given up on it.
    """

    __slots__ = ("exhausted", "kinds")

    kinds: frozenset[Kind]
    exhausted: bool

    def __init__(self, kinds: frozenset[Kind], exhausted: bool = False) -> None:
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "exhausted", exhausted)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a retry strategy is frozen: cannot set {name!r}")

    def __reduce__(self) -> tuple[type[RetryIf], tuple[frozenset[Kind], bool]]:
        return RetryIf, (self.kinds, self.exhausted)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RetryIf):
            return NotImplemented
        return (self.kinds, self.exhausted) == (other.kinds, other.exhausted)

    def __hash__(self) -> int:
        return hash((self.kinds, self.exhausted))

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Answer tenacity: is the outcome an error of these kinds?"""
        outcome = retry_state.outcome
        if outcome is None:
            return False
        error = outcome.exception()
        return error is not None and refusal.kind_of(error) in self.kinds

    def __or__(self, other: Any) -> Any:
        if isinstance(other, RetryIf):  # a value again, which compares and prints as one
            return RetryIf(self.kinds | other.kinds, self.exhausted or other.exhausted)
        if isinstance(other, retry_base):
            return super().__or__(other)
        return retry_any(self, other)  # also where `other` is a plain function, which tenacity 9.0 cannot join

    def __and__(self, other: Any) -> Any:
        if isinstance(other, RetryIf):
            return RetryIf(self.kinds & other.kinds, self.exhausted and other.exhausted)
        if isinstance(other, retry_base):
            return super().__and__(other)
        return retry_all(self, other)

    def __repr__(self) -> str:
        inside = "exhausted=True" if self.exhausted else ""
        words = words_of(self.kinds)
        said = " | ".join(f"retry_if_{word}({inside})" for word in words)
        return said or f"retry_if_refused({inside}) & retry_if_unresolved({inside})"


def retry_if_refused(*, exhausted: bool = False) -> RetryIf:
    """Retry if a connection was refused.

    Args:
        exhausted: retry also where a decorated call inside has just given up. Attempts are multiplied then.
    """
    return _retry_if(("refused",), exhausted)


def retry_if_not_ready(*, exhausted: bool = False) -> RetryIf:
    """Retry if a connection was refused, or the server said that it is starting up, loading or shutting down."""
    return _retry_if(("refused", "not_ready"), exhausted)


def retry_if_unresolved(*, exhausted: bool = False) -> RetryIf:
    """Retry if the host's name did not resolve."""
    return _retry_if(("unresolved",), exhausted)


def retry_if_unreachable(*, exhausted: bool = False) -> RetryIf:
    """Retry if host or network could not be reached, or the connect timed out."""
    return _retry_if(("unreachable",), exhausted)


def _retry_if(kinds: tuple[Kind, ...], exhausted: object) -> RetryIf:
    if not isinstance(exhausted, bool):
        raise PolicyError(f"exhausted must be True or False, not {exhausted!r}")
    return RetryIf(frozenset(kinds), exhausted)


WORDS: Final[dict[str, frozenset[Kind]]] = {
    "refused": frozenset({"refused"}),
    "not_ready": frozenset({"refused", "not_ready"}),
    "unresolved": frozenset({"unresolved"}),
    "unreachable": frozenset({"unreachable"}),
}
"""The words of `retry=` in a policy's text, as in `retry_if_…`."""


def words_of(kinds: frozenset[Kind]) -> list[str]:
    """Return the fewest words that say these kinds."""
    return [word for word, its in WORDS.items() if its <= kinds and not (word == "refused" and "not_ready" in kinds)]
