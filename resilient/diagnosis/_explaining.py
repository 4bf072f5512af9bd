"""`explain`: an observer that says in the log why a target does not serve, when a call on it gives up."""

from __future__ import annotations

import atexit
import os
import threading
from time import monotonic
from typing import Final

from .. import logs
from ..endpoint import Endpoint
from ..events import Event, RetriesExhausted
from ._bounded import PatientThread

PAUSE: Final = 60.0
"""Seconds from one explanation of a target to the next."""

MOST_AT_ONCE: Final = 4
"""Targets that are looked at at the same time; calls that give up on others meanwhile are not explained."""

MOST_KEPT: Final = 256
LAST_WORDS: Final = 0.5
"""Seconds that a program which ends right after giving up leaves for what is being found out."""

# No lock, which a forked child or a signal handler could meet: a claim is one `setdefault`, and the first one has it.
_claims: Final[dict[tuple[int, Endpoint, int], float]] = {}
_threads: Final[dict[int, threading.Thread]] = {}


def explain(event: Event) -> None:
    """Log why a target does not serve, when a call on it gives up: `observers=(log_events, explain)`.

    Only where `target=` is given, for it is that which is looked at; once a minute for each target; as a WARNING, on
    a thread of its own, for some two seconds. The caller does not wait. A call that was cancelled is not explained.
    """
    if type(event) is RetriesExhausted and event.target is not None and event.reason != "cancelled":
        _start(event.target)


def _start(endpoint: Endpoint) -> None:
    now, pid = monotonic(), os.getpid()
    turn = int(now // PAUSE)
    before = _claims.get((pid, endpoint, turn - 1))
    if before is not None and now - before < PAUSE:
        return
    if sum(thread.is_alive() for thread in [*_threads.values()]) >= MOST_AT_ONCE:
        return
    if _claims.setdefault((pid, endpoint, turn), now) is not now:  # an object of this call's own
        return
    if len(_claims) > MOST_KEPT:
        old = [key for key in [*_claims] if key[0] != pid or key[2] < turn - 1]
        for key in old or [*_claims][: MOST_KEPT // 2]:
            _claims.pop(key, None)
    thread = PatientThread(target=_explain, args=(endpoint,), name="resilient-explaining", daemon=True)
    _threads[id(thread)] = thread
    try:
        thread.start()
    except RuntimeError:  # no more threads, or Python is shutting down
        _threads.pop(id(thread), None)


def _explain(endpoint: Endpoint) -> None:
    try:
        from ._diagnosing import diagnose

        found = diagnose(endpoint)
        if found.code == "not_known":
            return
        text = f"why {endpoint} does not serve: {found.meaning}" if not found.serves else f"{endpoint} serves now"
        sentences = "; ".join(found.evidence)
        logs.logger.warning(
            "%s (%s): %s; help: %s",
            text,
            found.code,
            sentences,
            found.help,
            extra={
                "resilient_event": "Diagnosis",
                "resilient_target": str(endpoint),
                "resilient_code": found.code,
                "resilient_evidence": found.evidence,
                "resilient_help": found.help,
            },
        )
    except Exception:  # noqa: BLE001  # Python is shutting down, or a log handler fails: there is nothing more to say
        return
    finally:
        _threads.pop(id(threading.current_thread()), None)


def _wait_for_last_words() -> None:
    ends = monotonic() + LAST_WORDS
    for thread in [*_threads.values()]:
        thread.join(max(0.0, ends - monotonic()))


atexit.register(_wait_for_last_words)
