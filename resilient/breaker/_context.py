"""What a thread or task is in the middle of: open `with breaker:` blocks, and the probe that it makes.

Both are stacks in a context variable: each thread has its own, each task begins with a copy of its maker's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._circuit import Permit

_blocks: Any = None  # (breaker, permit, what is below)
_probes: Any = None  # (breaker, lease, whether what is inside passes, what is below)


def prepare() -> None:
    """Make the two variables, when the first breaker is made: what a failure needs must not be loaded by it."""
    global _blocks, _probes
    if _probes is None:
        from contextvars import ContextVar

        _blocks = ContextVar("resilient.breaker.blocks", default=None)
        _probes = ContextVar("resilient.breaker.probes", default=None)


def enter_block(breaker: object, permit: Permit) -> None:
    """Remember the permit of a block that begins."""
    _blocks.set((breaker, permit, _blocks.get()))


def leave_block(breaker: object) -> Permit | None:
    """Return the permit of the innermost block of a breaker, which ends; None: it began in another context."""
    block = _blocks.get()
    above: list[Any] = []
    while block is not None and block[0] is not breaker:  # generators may leave their blocks in any order
        above.append(block)
        block = block[2]
    if block is None:
        return None
    rest = block[2]
    for other, permit, _ in reversed(above):
        rest = (other, permit, rest)
    _blocks.set(rest)
    found: Permit = block[1]
    return found


def begin_probe(breaker: object, lease: int, *, passes: bool) -> None:
    """Remember that a probe is made from here on; `passes`: what it calls through the same breaker is a part of it."""
    _probes.set((breaker, lease, passes, _without(breaker, _probes.get())))


def end_probe(breaker: object) -> None:
    """Forget it."""
    probe = _probes.get()
    if probe is not None:
        _probes.set(_without(breaker, probe))


def makes_probe(breaker: object, lease: int, *, passing: bool = False) -> bool:
    """Whether this code runs inside the probe of that lease; with `passing`, inside one that lets it pass."""
    probe = _probes.get()
    while probe is not None:
        if probe[0] is breaker:
            return bool(probe[1] == lease and (probe[2] or not passing))
        probe = probe[3]
    return False


def _without(breaker: object, probe: Any) -> Any:
    if probe is None:
        return None
    rest = _without(breaker, probe[3])
    return rest if probe[0] is breaker else (*probe[:3], rest)
