"""tenacity's `before_sleep`, for those who drive our strategies by tenacity itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import logs
from .._scrub import describe, type_name
from ..events import RetryScheduled
from ..refusal import judge

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from ._policy import Policy


def log_before_sleep(logger: logging.Logger = logs.logger) -> Callable[[RetryCallState], None]:
    """Return a `before_sleep` hook for plain tenacity that logs the sentence and fields of `log_events`.

    The first retry of a call is a WARNING and further ones are DEBUG: tenacity's hooks have no place for a heartbeat.

    Args:
        logger: where to; default the logger `resilient`.
    """

    def hook(retry_state: RetryCallState) -> None:
        logs.log(logger, event_of(retry_state))

    return hook


def event_of(
    retry_state: RetryCallState,
    *,
    policy: str | None = None,
    attempts: int | None = None,
    deadline: float | None = None,
) -> RetryScheduled:
    """Return the event that plain tenacity's state stands for, just before it sleeps."""
    outcome = retry_state.outcome
    error = outcome.exception() if outcome is not None else None
    kind, evidence = (None, None) if error is None else judge(error)
    return RetryScheduled(
        call="attempts" if retry_state.fn is None else logs.name_of(retry_state.fn),
        policy=policy,
        target=None,
        attempt=retry_state.attempt_number,
        elapsed=retry_state.seconds_since_start or 0.0,
        delay=retry_state.upcoming_sleep,
        kind=kind,
        error_type="" if error is None else type_name(error),
        error_text="" if evidence is None else describe(evidence),
        attempts=attempts,
        deadline=deadline,
        heartbeat=retry_state.attempt_number == 1,
    )


def tell_before_sleep(policy: Policy, retry_state: RetryCallState) -> None:
    """Tell a policy's observers, before plain tenacity sleeps, that another attempt follows."""
    event = event_of(retry_state, policy=policy.name, attempts=policy.attempts, deadline=policy.deadline)
    logs.tell(policy.observers, event)
