"""A policy as a text, for the environment and the command line: "attempts=8 deadline=30s backoff=50ms..5s"."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, Final

from .. import logs
from .._scrub import scrub
from ..backoff import Backoff
from ..errors import PolicyError
from ..logs import log_events
from ..signatures import Kind
from ._retry_if import WORDS, RetryIf, words_of

if TYPE_CHECKING:
    from ._policy import Policy

_UNITS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_OBJECTS: Final = ("backoff", "retry", "stop", "observers")
_KEYS: Final = ("attempts", "deadline", "backoff", "factor", "jitter", "retry", "name")
_LONGEST_PROBLEM: Final = 1_000
_NUMBER: Final = r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"


def read(text: str) -> dict[str, Any]:
    """Return the fields that a policy's text says.

    Raises:
        PolicyError: an unknown or repeated key, or a value that cannot be read. A URL that was given by mistake is
            repeated without its password.
    """
    try:
        return _read(text)
    except PolicyError as problem:
        said = scrub(str(problem), _LONGEST_PROBLEM)
    raise PolicyError(said)  # out here, where the first one is no context of it


def _read(text: str) -> dict[str, Any]:
    if not isinstance(text, str):
        raise PolicyError(f"a policy's text must be a str, not {type(text).__name__}")
    try:
        words = shlex.split(text)
    except ValueError as problem:
        raise PolicyError(f"a policy's text has an open quote: {problem}") from None
    said: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise PolicyError(f"a policy's text is key=value, not {word!r}; the keys are {', '.join(_KEYS)}")
        if key in _OBJECTS and value.startswith("<") and value.endswith(">"):
            raise PolicyError(f"{key}={value} stands for a Python object, which a text cannot build: set {key} in code")
        if key not in _KEYS:
            raise PolicyError(f"a policy has no {key!r}; the keys are {', '.join(_KEYS)}")
        if key in said:
            raise PolicyError(f"{key} is given twice: {said[key]!r} and {value!r}")
        said[key] = value
    changes: dict[str, Any] = {}
    if "attempts" in said:
        changes["attempts"] = _read_count(said["attempts"])
    if "deadline" in said:
        changes["deadline"] = _read_duration("deadline", said["deadline"])
    backoff: dict[str, Any] = {}
    if "backoff" in said:
        initial, dots, maximum = said["backoff"].partition("..")
        if not dots:
            raise PolicyError(f"backoff must be initial..maximum, such as 50ms..5s, not {said['backoff']!r}")
        backoff["initial"] = _read_number("backoff", initial)
        backoff["maximum"] = _read_number("backoff", maximum)
    if "factor" in said:
        if not re.fullmatch(_NUMBER, said["factor"]):
            raise PolicyError(f"factor must be a number, not {said['factor']!r}")
        backoff["factor"] = float(said["factor"])
    if "jitter" in said:
        backoff["jitter"] = said["jitter"]
    if backoff:
        changes["backoff"] = Backoff(**backoff)
    if "retry" in said:
        changes["retry"] = _read_retry(said["retry"])
    if "name" in said:
        changes["name"] = said["name"]
    return changes


def write(policy: Policy) -> str:
    """Return the text that `read` reads; parts that no text can say stand in angle brackets."""
    parts = [f"attempts={_count_text(policy.attempts)}", f"deadline={_duration_text(policy.deadline)}"]
    if isinstance(policy.backoff, Backoff):
        backoff = policy.backoff
        parts += [
            f"backoff={_duration_text(backoff.initial)}..{_duration_text(backoff.maximum)}",
            f"factor={backoff.factor:.17g}"
            if backoff.factor != float(f"{backoff.factor:g}")
            else f"factor={backoff.factor:g}",
            f"jitter={backoff.jitter}",
        ]
    else:
        parts.append(f"backoff=<{logs.name_of(policy.backoff)}>")
    if isinstance(policy.retry, RetryIf):
        words = words_of(policy.retry.kinds) or ["never"]
        parts.append(f"retry={','.join([*words, 'exhausted'] if policy.retry.exhausted else words)}")
    else:
        parts.append(f"retry=<{logs.name_of(policy.retry)}>")
    if policy.stop is not None:
        parts.append(f"stop=<{logs.name_of(policy.stop)}>")
    if policy.observers != (log_events,):
        parts.append(f"observers=<{','.join(map(logs.name_of, policy.observers))}>")
    if policy.name is not None:
        parts.append(f"name={shlex.quote(policy.name)}")
    return " ".join(parts)


def _read_count(text: str) -> int | None:
    if text == "none":
        return None
    if not re.fullmatch(r"[0-9]{1,4000}", text):
        raise PolicyError(f"attempts must be a whole number or none, not {text!r}")
    return int(text)


def _read_duration(key: str, text: str) -> float | None:
    return None if text == "none" else _read_number(key, text)


def _read_number(key: str, text: str) -> float:
    match = re.fullmatch(rf"({_NUMBER})(ms|s|m|h|)", text)
    if match is None:
        raise PolicyError(f"{key} must be a duration such as 50ms, 30s, 5m or 2h, not {text!r}")
    unit = match[match.lastindex or 0]
    number = float(match[1])
    return number / 1000 if unit == "ms" else number * _UNITS[unit]


def _read_retry(text: str) -> RetryIf:
    words = text.split(",")
    exhausted = "exhausted" in words
    words = [word for word in words if word != "exhausted"]
    if words == ["never"]:
        return RetryIf(frozenset(), exhausted)
    kinds: frozenset[Kind] = frozenset()
    for word in words:
        if word not in WORDS:
            raise PolicyError(f"retry has no {word!r}; the words are {', '.join(WORDS)}, exhausted and never")
        kinds |= WORDS[word]
    if not kinds:
        raise PolicyError(f"retry must name what is retried, not only {text!r}")
    return RetryIf(kinds, exhausted)


def _count_text(count: int | None) -> str:
    return "none" if count is None else str(count)


def _duration_text(duration: float | None) -> str:
    if duration is None:
        return "none"
    if 0 < duration < 1:
        milliseconds = f"{duration * 1000:g}"
        if re.fullmatch(_NUMBER, milliseconds) and float(milliseconds) / 1000 == duration:
            return f"{milliseconds}ms"
    short = f"{duration:g}"
    return f"{short}s" if float(short) == duration else f"{duration!r}s"
