"""Errors that are not quite their client's own: subclassed, pretended, pickled, out of another interpreter."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
import redis
import sqlalchemy.exc
from clients import CLIENTS, Client, Place, kind_of
from conftest import requires

from resilient import find_refusal, is_hopeless, is_refused

LIBPQ = 'connection to server at "127.0.0.1", port 5432 failed: Connection refused\n\tIs the server running?\n'
HERE = Path(__file__).resolve().parent


class OurDatabaseError(psycopg.OperationalError):
    """An application's own, with a word of its own before the client's."""


class OurCacheError(redis.exceptions.ConnectionError):
    """An application's own, raised by hand."""


def test_an_applications_subclass_is_judged_by_the_clients_rules() -> None:
    assert is_refused(OurDatabaseError(LIBPQ))
    assert is_hopeless(type("Mine", (pymysql.err.OperationalError,), {})(1045, "Access denied"))


def test_an_application_that_wraps_a_refusal_is_a_library_like_any_other() -> None:
    """Its own code caught the refusal, and raised an error of its own for it."""
    with pytest.raises(OurCacheError) as caught:
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError:
            raise OurCacheError("the cache is down")  # noqa: B904
    assert kind_of(caught.value) == "refused"


@pytest.mark.parametrize("module", ["psycopgx", "my.psycopg", "psycopg_", "", "Psycopg", None, 5])
def test_a_class_that_is_not_of_that_package_is_not_judged_by_its_rules(module: Any) -> None:
    stranger = type("OperationalError", (Exception,), {"__module__": module})
    assert kind_of(stranger(LIBPQ)) is None


def test_a_class_that_pretends_is_held_to_the_clients_words() -> None:
    """Nobody can tell it from the client's own: it is a refusal in just those words, and in no others."""
    pretender = type("OperationalError", (Exception,), {"__module__": "psycopg.fake"})
    assert is_refused(pretender(LIBPQ))
    assert kind_of(pretender(f"it was like this: {LIBPQ}")) is None
    assert kind_of(type("SomeError", (Exception,), {"__module__": "psycopg.fake"})(LIBPQ)) is None


@pytest.mark.parametrize("client", [c for c in CLIENTS if not c.name.startswith("sqlalchemy")], ids=str)
def test_a_refusal_that_comes_from_another_process_is_never_more_than_it_was(client: Client, refused_port: int) -> None:
    """Pickle drops causes, contexts and tracebacks; what is left in type, number and text still counts."""
    error = client.error(Place(port=refused_port))
    try:
        there = pickle.loads(pickle.dumps(error))
    except Exception as problem:
        pytest.skip(f"{type(error).__name__} does not pickle: {type(problem).__name__}")
    assert kind_of(there) in ("refused", None)
    if client.name in ("socket", "asyncio", "psycopg", "psycopg-async", "psycopg2", "asyncpg", "redis", "valkey"):
        assert kind_of(there) == "refused"


def test_an_error_out_of_a_pool_of_processes_carries_its_traceback_as_text(refused_port: int) -> None:
    """`concurrent.futures` hangs a `_RemoteTraceback` on it as its cause: text, and no evidence."""
    program = (
        "import concurrent.futures, multiprocessing, socket, sys\n"
        "from resilient import is_refused\n"
        "def dial(port): socket.create_connection(('127.0.0.1', port))\n"
        "def lie(_): raise KeyError('ConnectionRefusedError: [Errno 111] Connection refused')\n"
        "if __name__ == '__main__':\n"
        "    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('fork')) as pool:\n"
        "        for work in (dial, lie):\n"
        "            error = pool.submit(work, int(sys.argv[1])).exception()\n"
        "            print(is_refused(error), type(error.__cause__).__name__)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(refused_port)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=HERE.parent,
    )
    assert answer.stdout.split() == ["True", "_RemoteTraceback", "False", "_RemoteTraceback"]


def test_an_error_out_of_another_interpreter_is_text_and_no_evidence() -> None:
    """What a sub-interpreter raised arrives as a sentence about it."""
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        try:
            import _interpreters as interpreters  # type: ignore[no-redef,import-not-found,unused-ignore]
        except ImportError:
            requires("a CPython that shows its sub-interpreters")
    interpreter = interpreters.create()
    code = "raise ConnectionRefusedError(111, 'Connection refused')"
    run = getattr(interpreters, "run_string", None) or interpreters.exec
    raised: Exception | None = None
    try:
        run(interpreter, code)  # from 3.13 on, it tells of the error instead of raising one
    except Exception as error:
        raised = error
    finally:
        interpreters.destroy(interpreter)
    assert raised is None or kind_of(raised) is None


def test_sqlalchemys_wrapping_survives_a_pickle() -> None:
    """Its driver's error is an argument of its constructor."""
    error = sqlalchemy.exc.OperationalError("select 1", {}, psycopg.OperationalError(LIBPQ))
    assert is_refused(pickle.loads(pickle.dumps(error)))
    assert find_refusal(error) is not None
