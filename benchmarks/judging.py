"""Judging an exception: absolute times, so the machine's own measure, an empty call, stands beside them."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import errno
import importlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from resilient import find_refusal, is_refused
from resilient.testing import refused_port

from .report import Row
from .sampling import Timer, side_by_side, spread

TITLE: Final = "Judging an exception"

PLAIN_BOUND: Final = 1e-6
CLIENT_BOUND: Final = 5e-6
HOSTILE_BOUND: Final = 5e-3
LINKS: Final = 10_000
WIDTH: Final = 10
ROUNDS: Final = 90


def measure() -> Iterator[Row]:
    """Measure ordinary errors, those of clients, and hostile ones."""
    yield _row("the machine's measure: an empty function", None, _nothing, "subject(None)")
    yield _row("is_refused(ValueError())", PLAIN_BOUND, is_refused, "subject(error)", ValueError())
    yield _row("is_refused(ValueError('…')), raised", PLAIN_BOUND, is_refused, "subject(error)", _raised())
    with refused_port() as port:
        for name, found in _of_clients(port):
            if found is None:
                yield Row(what=f"{name}, refused", bound=CLIENT_BOUND, unit="us", measured=None, note="not installed")
                continue
            note = "" if is_refused(found) else f"NOT RECOGNISED: {type(found).__module__}.{type(found).__qualname__}"
            yield _row(f"{name}, refused", CLIENT_BOUND, is_refused, "subject(error)", found, note=note)
    for what, make in (
        (f"a chain of {LINKS} causes", _causes),
        (f"a chain of {LINKS} contexts", _contexts),
        (f"a group of {LINKS} refusals", _group),
        (f"{LINKS} refusals in args", _in_args),
        (f"a tree of {LINKS} exceptions, {WIDTH} wide", _tree),
    ):
        for judge in (is_refused, find_refusal):
            error = make()
            if error is None:
                yield Row(
                    what=f"{judge.__name__}: {what}",
                    bound=HOSTILE_BOUND,
                    unit="ms",
                    measured=None,
                    note="needs Python 3.11 or the backport exceptiongroup",
                )
            else:
                yield _row(f"{judge.__name__}: {what}", HOSTILE_BOUND, judge, "subject(error)", error, unit="ms")


def _row(
    what: str,
    bound: float | None,
    judge: Callable[..., Any],
    call: str,
    error: BaseException | None = None,
    *,
    unit: str = "us",
    note: str = "",
) -> Row:
    timer = Timer(judge, call, unroll=1 if unit == "ms" else 20, error=error)
    measured = spread(taken for (taken,) in side_by_side((timer,), ROUNDS if unit == "us" else ROUNDS // 3))
    return Row(what=what, bound=bound, unit=unit, measured=measured, note=note)


def _nothing(_: object) -> None:
    """Do nothing."""


def _raised() -> Exception:
    try:
        int("five")
    except ValueError as error:
        return error
    raise AssertionError


def _of_clients(port: int) -> Iterator[tuple[str, Exception | None]]:
    """Yield what real clients raise at a port that refuses, and None for one that is not installed."""
    at: dict[str, Any] = {"host": "127.0.0.1", "port": port}
    connects: dict[str, Callable[[Any], object]] = {
        "socket": lambda socket: socket.create_connection(("127.0.0.1", port), 5),
        "asyncio": lambda asyncio: asyncio.run(asyncio.open_connection(**at)),
        "psycopg": lambda psycopg: psycopg.connect(**at, user="u", dbname="d", connect_timeout=5),
        "psycopg2": lambda psycopg2: psycopg2.connect(**at, user="u", dbname="d", connect_timeout=5),
        "asyncpg": lambda asyncpg: asyncio.run(asyncpg.connect(**at, user="u", database="d", timeout=5)),
        "redis": lambda redis: redis.Redis(**at).ping(),
        "pymysql": lambda pymysql: pymysql.connect(**at, user="u", connect_timeout=5),
        "sqlalchemy": lambda sqlalchemy: sqlalchemy.create_engine(
            f"postgresql+psycopg://u@127.0.0.1:{port}/d"
        ).connect(),
    }
    for name, connect in connects.items():
        try:
            connect(importlib.import_module(name))
        except ImportError:
            yield name, None
        except Exception as error:
            yield name, error
        else:
            raise RuntimeError(f"{name} connected to a port that refuses")


def _refusals() -> list[Exception]:
    return [ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused") for _ in range(LINKS)]


def _causes() -> BaseException:
    error: BaseException = _refusals()[0]
    for number in range(LINKS):
        outer = RuntimeError(number)
        outer.__cause__ = error
        error = outer
    return error


class _Wrapper(Exception):
    """An error of a library that wraps what it catches, as its own frame shows: the judge follows such a context."""


def _contexts() -> BaseException:
    error: Exception = _refusals()[0]
    for number in range(LINKS):
        try:
            try:
                raise error
            except Exception:
                raise _Wrapper(number)  # noqa: B904  # without `from`: the context is what is wanted
        except _Wrapper as outer:
            error = outer
    return error


def _in_args() -> BaseException:
    return RuntimeError(_refusals())


def _tree() -> BaseException:
    level: list[Exception] = _refusals()
    while len(level) > 1:
        level = [RuntimeError(level[at : at + WIDTH]) for at in range(0, len(level), WIDTH)]
    return level[0]


def _group() -> BaseException | None:
    group: Any = getattr(builtins, "ExceptionGroup", None)
    if group is None:
        with contextlib.suppress(ImportError):
            group = importlib.import_module("exceptiongroup").ExceptionGroup
    return None if group is None else group("all", _refusals())
