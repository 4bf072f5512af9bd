"""Calls inside of calls: an outer one does not try again what an inner one has given up on.

Who gives up leaves a mark on the error; who meets it looks whether the mark is of a call that was made meanwhile.
"""

from __future__ import annotations

import logging
import threading
from types import FrameType

from .. import logs
from .._traces import is_inside, mark, marks
from ._plan import Plan

_latest_end = float("-inf")
"""When a call last gave up, anywhere in the process: most failing attempts need not look for a mark at all."""


def give_up(error: BaseException, plan: Plan, started: float, now: float, frame: FrameType) -> None:
    """Leave a mark; `frame` is where the error leaves the call."""
    global _latest_end
    _latest_end = now
    mark(error, started, plan, plan.title, frame)


def gave_up_inside(error: BaseException, plan: Plan, attempt_started: float, frame: FrameType | None) -> str | None:
    """Return the title of the policy of a decorated call that gave up on this error during this attempt."""
    if _latest_end < attempt_started:
        return None
    for its, where in marks(error):
        if its.started > attempt_started:
            return its.policy  # that call began and ended within this attempt
        if its.started == attempt_started:
            # The clock is too coarse to tell, or stands still, and an exception object that is raised again and
            # again carries the frames of earlier calls as well.
            # Another thread's frames lead to that thread's beginning, and not to who waits for it.
            inside = is_inside(where, frame) if its.thread == threading.get_ident() else None
            if inside or (inside is None and its.plan != id(plan)):
                return its.policy
    return None


def say_no_effect(plan: Plan, inside: str) -> None:
    """Say once that the retries of a plan have no effect, because those of a policy inside of it have ended."""
    if not plan.warned:
        plan.warned = True
        logs.say(logging.WARNING, "policy %s has no effect: policy %s retries inside", plan.title, inside)
