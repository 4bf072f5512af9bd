"""What we leave on a client's error, and what we let go of in its frames.

Nothing here raises, whatever the error's class does, except `raise_again`, whose purpose it is.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn

from ._causes import chain

_MARK: Final = "_resilient_gave_up"
_NOTE: Final = "resilient: gave up after "
_SUSPENDABLE: Final = (
    inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
)

# Read and written past whatever a class puts in their place.
_set_context: Any = BaseException.__dict__["__context__"].__set__
_context: Any = BaseException.__dict__["__context__"].__get__
_cause: Any = BaseException.__dict__["__cause__"].__get__
_traceback: Any = BaseException.__dict__["__traceback__"].__get__


def raise_again(error: BaseException) -> NoReturn:
    """Raise an error outside its handler as it was: a plain `raise` would replace its context."""
    context = _context(error)
    try:
        raise error
    finally:
        _set_context(error, context)
        del error, context  # the error's traceback holds this frame


class Mark:
    """That a call gave up on an error: plain data of it, so that the client's exception still pickles."""

    __slots__ = ("frame", "plan", "policy", "started", "thread")

    def __init__(self, started: float, plan: int, policy: str, frame: int, thread: int) -> None:
        self.started = started
        self.plan = plan
        self.policy = policy
        self.frame = frame
        self.thread = thread


def mark(error: BaseException, started: float, plan: object, policy: str, frame: FrameType) -> None:
    """Say on an error that a call gave up on it.

    Args:
        error: the client's.
        started: when the call began.
        plan: whose call it was.
        policy: its name.
        frame: the frame that the error leaves the call by.
    """
    try:
        object.__setattr__(error, _MARK, (started, id(plan), policy, id(frame), threading.get_ident()))
    except Exception:  # noqa: BLE001  # an exception that cannot be written to
        return


def marks(error: BaseException) -> Iterator[tuple[Mark, FrameType | None]]:
    """Yield the marks on an error and on everything in its chain, each with the frame that it names.

    A mark whose frame the error did not come through this time is none: an error that many callers share keeps the
    mark of each of them, and its own path to this one.
    """
    for link in chain(error):
        try:
            found = object.__getattribute__(link, "__dict__").get(_MARK)
        except Exception:  # noqa: BLE001  # a hostile class: it carries no mark of ours
            continue
        if type(found) is tuple and len(found) == len(Mark.__slots__):
            its = Mark(*found)
            if _traceback(link) is None:  # some libraries strip what they carry
                yield its, None
            for frame in frames(link):
                if id(frame) == its.frame:
                    yield its, frame
                    break


def frames(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames that an error came through, the outermost first."""
    traceback: TracebackType | None = _traceback(error)
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def is_inside(frame: FrameType | None, outer: FrameType | None) -> bool | None:
    """Whether a frame was called, however indirectly, by another; None where that cannot be told."""
    while frame is not None and outer is not None:
        if frame is outer:
            return True
        if frame.f_code.co_flags & _SUSPENDABLE:
            return None  # who resumed a coroutine is forgotten when it ends
        frame = frame.f_back
        if frame is None:
            return False
    return None


def set_note(error: BaseException, note: str) -> None:
    """Add a note (PEP 678, Python 3.11 and on), in place of an earlier one of ours."""
    try:
        notes = getattr(error, "__notes__", None)
        if isinstance(notes, list):
            notes[:] = [old for old in notes if not (isinstance(old, str) and old.startswith(_NOTE))]
        BaseException.add_note(error, note)  # type: ignore[attr-defined,unused-ignore]
    except Exception:  # noqa: BLE001  # Python 3.10, or an exception that cannot be written to
        return


def release_frames(error: BaseException, handled: BaseException | None) -> None:
    """Clear what the frames of an error hold, sockets and arguments, while its call waits; their lines stay.

    `handled` is what the caller itself is handling: it may stand at the end of the chain, and is not ours.
    Frames of coroutines and generators are left alone: clearing one that is suspended closes it (before Python 3.13),
    and an error that many tasks share carries the frames of all of them.
    """
    if error is handled:
        return
    link: BaseException | None = error
    traceback: TracebackType | None = _traceback(error)
    if traceback is not None:
        traceback = traceback.tb_next  # the first frame is the one that caught it, and runs
    for _ in range(20):
        while traceback is not None:
            frame = traceback.tb_frame
            if not frame.f_code.co_flags & _SUSPENDABLE:
                try:  # noqa: SIM105  # a third of the time of `contextlib.suppress`
                    frame.clear()
                except RuntimeError:  # it is running
                    pass
            traceback = traceback.tb_next
        cause = _cause(link)
        link = _context(link) if cause is None else cause
        if link is None or link is handled:
            return
        traceback = _traceback(link)
