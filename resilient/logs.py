"""One event → one record.

Stateless but for the list of observers that failed already. Nothing here may raise into a call: a log line or an
observer that fails changes nothing.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from typing import Any, Final

from . import events as _events
from ._scrub import describe, scrub, type_name
from .errors import PolicyError
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

# No NullHandler: a newcomer who configured nothing sees the first retry on stderr instead of a silent minute.
logger: Final = logging.getLogger("resilient")

_MOST_COMPLAINTS: Final = 100
_complaints: set[tuple[str, str, str]] = set()


def check_observers(field: str, observers: Iterable[Observer]) -> tuple[Observer, ...]:
    """Return the observers of a setting as a tuple.

    Raises:
        PolicyError: they are not callables that can be told something at once.
    """
    if callable(observers) or isinstance(observers, (str, bytes)):
        raise PolicyError(f"{field} must be a tuple of callables: write (observer,)")
    try:
        checked = tuple(observers)
    except TypeError:
        raise PolicyError(f"{field} must be a tuple of callables, not {observers!r}") from None
    for observer in checked:
        if not callable(observer):
            raise PolicyError(f"{field} must hold callables, not {observer!r}")
        for function in (observer, type(observer).__call__):
            if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
                raise PolicyError(
                    f"{field} must be plain functions: {name_of(observer)} would only be started, "
                    "as a coroutine or a generator is, and never run"
                )
    return checked


def tell(observers: tuple[Observer, ...], event: Event) -> None:
    """Tell every observer; one that raises is logged once per kind of event and error, and changes nothing."""
    for observer in observers + _events.taps:
        try:
            observer(event)
        except Exception as error:  # noqa: BLE001  # an observer must not change what happens to a call
            complain(name_of(observer), type(event).__name__, error)


def complain(who: str, about: str, error: BaseException) -> None:
    """Log once that a piece of the application's own code failed: `who` did, when asked about `about`."""
    key = (who, about, type_name(error))
    if key in _complaints or len(_complaints) >= _MOST_COMPLAINTS:
        return
    _complaints.add(key)
    say(
        logging.ERROR,
        "%s failed on %s and is ignored (%s: %s); this is said once",
        who,
        about,
        type_name(error),
        describe(error),
    )


def say(level: int, message: str, *args: object) -> None:
    """Log a line of this library's own; a logging set-up that raises changes nothing."""
    try:
        logger.log(level, message, *args)
    except Exception:  # noqa: BLE001  # a filter or handler of the application's: there is nowhere left to say it
        return


def name_of(thing: object) -> str:
    """Return a name for a callable that is fit for a log line: never its `repr`, which may show anything."""
    name = getattr(thing, "__qualname__", None)
    return scrub(name if isinstance(name, str) else type(thing).__qualname__)


def log_events(event: Event) -> None:
    """Log an event on the logger `resilient`: a sentence, and the event's fields as `resilient_…` attributes.

    This is the default observer. The first retry of a call is a WARNING, further ones are DEBUG with a WARNING at most
    every ten seconds, recovery is INFO, giving up is ERROR. A circuit that opens is an ERROR; its other changes are
    WARNING, or DEBUG where they repeat in one outage; a call that it turns away is DEBUG. Of the calls that park on a
    circuit the first is logged, and then at most one every ten seconds. Call arguments never appear, texts of clients
    are scrubbed.
    """
    log(logger, event)


def logs_rejections() -> bool:
    """Whether `log_events` would log a call that a circuit turned away: most programs do not look at DEBUG."""
    return logger.isEnabledFor(logging.DEBUG)


def log(logger: logging.Logger, event: Event) -> None:
    """Log an event on any logger."""
    level = _level(event)
    if level is None or not logger.isEnabledFor(level):
        return
    extra: dict[str, Any] = {f"resilient_{name}": getattr(event, name) for name in event._fields}
    extra["resilient_target"] = None if event.target is None else str(event.target)
    if "resilient_tried" in extra:
        extra["resilient_tried"] = _said(event.tried) if event.tried else None  # type: ignore[attr-defined]
    if isinstance(event, FailedOver):
        extra["resilient_next_target"] = str(event.next_target)
    extra["resilient_event"] = type(event).__name__
    logger.log(level, "%s", _sentence(event), extra=extra)


def _level(event: Event) -> int | None:
    """Return the level of an event, or None where nothing is logged."""
    if isinstance(event, (RetryScheduled, FailedOver)):
        return logging.WARNING if event.heartbeat else logging.DEBUG
    if isinstance(event, RetriesExhausted):
        return logging.ERROR
    if isinstance(event, CallParked):
        return logging.WARNING if event.heartbeat else None
    if isinstance(event, CallRejected):
        return logging.DEBUG
    if isinstance(event, CircuitChanged):
        if event.reason == "tripped":
            return logging.ERROR
        # In a long outage the circuit goes to half-open and back at every probe: after the first time that is no news.
        again = event.reason == "probe failed" or (event.reason == "cooled down" and event.openings > 1)
        return logging.DEBUG if again else logging.WARNING
    return logging.INFO


_KINDS: Final = {
    "refused": "{} refused the connection",
    "not_ready": "{} is not ready",
    "unresolved": "{} has a name that does not resolve",
    "unreachable": "{} cannot be reached",
    "hopeless": "{} turned the caller away",
    None: "{} failed",
}


def _sentence(event: Event) -> str:
    target = "the server" if event.target is None else str(event.target)
    if isinstance(event, RetryScheduled):
        what = _KINDS[event.kind].format(target)
        limits = [
            *([] if event.attempts is None else [f"after attempt {event.attempts}"]),
            *([] if event.deadline is None else [f"{event.deadline:g} s after the first attempt"]),
        ]
        limit = f", giving up {' or '.join(limits)}" if limits else ""
        what = _said(event.tried) if len(event.tried) > 1 else f"{what} ({_error(event)})"
        return f"{event.call}: {what}; attempt {event.attempt} failed, trying again in {event.delay:.2g} s{limit}"
    if isinstance(event, FailedOver):
        what = _KINDS[event.kind].format(target)
        return f"{event.call}: {what} ({_error(event)}); going on with {event.next_target} at once"
    if isinstance(event, RetriesExhausted):
        return f"{event.call}: {gave_up(event)}" + ("" if event.tried else f": {_error(event)}")
    if isinstance(event, CallRecovered):
        where = "" if event.target is None else f" to {event.target}"
        return f"{event.call}: connected{where} at attempt {event.attempt} after {event.elapsed:.2f} s"
    if isinstance(event, CallParked):
        alone = event.parked == 1
        calls = "this call waits" if alone else f"{event.parked} calls wait"
        limit = "" if event.deadline is None else f",{'' if alone else ' this one'} at most {event.deadline:g} s in all"
        if len(event.tried) > 1:
            return f"{event.call}: all circuits are open ({_said(event.tried)}); {calls} for their next probe{limit}"
        return f"{event.call}: circuit {event.breaker} is open ({_error(event)}); {calls} for its next probe{limit}"
    if isinstance(event, CallRejected):
        after = "" if event.retry_after is None else f", retry after {event.retry_after:.2g} s"
        return f"{event.call}: turned away, circuit {event.breaker} is {event.state}{after}"
    if isinstance(event, CircuitChanged):
        return f"circuit {event.breaker}: {_changed(event)}"
    return f"{event.call}: {type(event).__name__}"


def _changed(event: CircuitChanged) -> str:
    why = f" ({event.error_text})" if event.error_text else ""
    if event.state == "open":
        again = "" if event.openings == 1 else " again"
        return f"{event.reason}{why}, open{again}; one call probes in {event.cooldown:.2g} s"
    if event.state == "half-open":
        return f"{event.reason}, half-open: one call probes"
    if event.state == "closed":
        return f"{event.reason}, closed after {event.elapsed:.2f} s"
    return "isolated by hand: every call is turned away until it is released"


def gave_up(event: RetriesExhausted) -> str:
    """Return how a call gave up, in words, for the log and for the note on the error."""
    attempts = f"{event.attempt} attempt" + ("" if event.attempt == 1 else "s")
    where = "" if event.target is None else f" on {event.target}"
    if event.tried:
        where = f": {_said(event.tried)}"
    return f"gave up after {attempts} in {event.elapsed:.1f} s ({event.reason}){where}"


def _said(tried: tuple[EndpointFailure, ...]) -> str:
    return ", ".join(f"{_KINDS[it.kind].format(it.target)} ({_error(it)})" for it in tried)


def _error(event: RetryScheduled | FailedOver | RetriesExhausted | CallParked | EndpointFailure) -> str:
    return f"{event.error_type}: {event.error_text}" if event.error_text else event.error_type
