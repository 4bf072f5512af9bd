"""One event → one record.

Stateless but for the list of observers that failed already. Nothing here may raise into a call: a log line or an
observer that fails changes nothing.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from . import events as _events
from ._scrub import describe, scrub, type_name
from .events import CallRecovered, Event, Observer, RetriesExhausted, RetryScheduled

# No NullHandler: a newcomer who configured nothing sees the first retry on stderr instead of a silent minute.
logger: Final = logging.getLogger("resilient")

_MOST_COMPLAINTS: Final = 100
_complaints: set[tuple[str, str, str]] = set()


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
    every ten seconds, recovery is INFO, giving up is ERROR. Call arguments never appear, texts of clients are scrubbed.
    """
    log(logger, event)


def log(logger: logging.Logger, event: Event) -> None:
    """Log an event on any logger."""
    level = _level(event)
    if not logger.isEnabledFor(level):
        return
    extra: dict[str, Any] = {f"resilient_{name}": getattr(event, name) for name in event._fields}
    extra["resilient_target"] = None if event.target is None else str(event.target)
    extra["resilient_event"] = type(event).__name__
    logger.log(level, "%s", _sentence(event), extra=extra)


def _level(event: Event) -> int:
    if isinstance(event, RetryScheduled):
        return logging.WARNING if event.heartbeat else logging.DEBUG
    if isinstance(event, RetriesExhausted):
        return logging.ERROR
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
        return (
            f"{event.call}: {what} ({_error(event)}); attempt {event.attempt} failed, "
            f"trying again in {event.delay:.2g} s{limit}"
        )
    if isinstance(event, RetriesExhausted):
        return f"{event.call}: {gave_up(event)}: {_error(event)}"
    if isinstance(event, CallRecovered):
        where = "" if event.target is None else f" to {event.target}"
        return f"{event.call}: connected{where} at attempt {event.attempt} after {event.elapsed:.2f} s"
    return f"{event.call}: {type(event).__name__}"


def gave_up(event: RetriesExhausted) -> str:
    """Return how a call gave up, in words, for the log and for the note on the error."""
    attempts = f"{event.attempt} attempt" + ("" if event.attempt == 1 else "s")
    where = "" if event.target is None else f" on {event.target}"
    return f"gave up after {attempts} in {event.elapsed:.1f} s ({event.reason}){where}"


def _error(event: RetryScheduled | RetriesExhausted) -> str:
    return f"{event.error_type}: {event.error_text}" if event.error_text else event.error_type
