"""An implicit context counts only where the library itself wrapped it: judged on packages that lie on a disk.

`lib` is a library, `other` another one that is built on it, `app` an application. Each case is a function of `app` or
of a library that raises; the verdict depends on whose frame caught the inner error and whose class the outer one is.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from resilient import find_refusal, is_hopeless, is_refused, is_unreachable, signatures

LIB = '''
import asyncio
import contextlib

def refuse():
    raise ConnectionRefusedError(111, "Connection refused")

class LibError(Exception):
    """The library's own error."""

class LoginError(LibError):
    """Wrong password: connected, and turned away."""

class LibOSError(OSError):
    """Its own, and an OSError without errno."""

class LibCancelled(asyncio.CancelledError):
    """Its own interrupt."""

def connect():
    try:
        refuse()
    except OSError:
        raise LibError("cannot connect")

def connect_as_os():
    try:
        refuse()
    except OSError:
        raise LibOSError("cannot connect")

def connect_quietly():
    try:
        refuse()
    except OSError:
        raise LibError("cannot connect") from None

def connect_from():
    try:
        refuse()
    except OSError as error:
        raise LibError("cannot connect") from error

async def connect_async():
    try:
        await asyncio.sleep(0)
        refuse()
    except OSError:
        raise LibError("cannot connect")

@contextlib.contextmanager
def translated():
    try:
        yield
    except OSError:
        raise LibError("cannot connect")

def connect_translated():
    with translated():
        refuse()

class Translated:
    """The same as a class, for both kinds of `with`."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        raise LibError("cannot connect")

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, traceback):
        raise LibError("cannot connect")

def connect_within():
    with Translated():
        refuse()

async def connect_within_async():
    async with Translated():
        refuse()

def connect_with_its_traceback():
    try:
        refuse()
    except OSError as error:
        raise LibError("cannot connect").with_traceback(error.__traceback__)

def failed():
    try:
        refuse()
    except OSError:
        try:
            raise LibError("cannot connect")
        except LibError as error:
            return error.with_traceback(None)

def connect_and_tell_later():
    raise failed()

def connect_in_steps():
    try:
        connect()
    except LibError:
        raise LibError("after all")

def connect_builtin():
    try:
        refuse()
    except OSError:
        raise RuntimeError("cannot connect")

def connect_cancelled():
    try:
        refuse()
    except OSError:
        raise LibCancelled

def login():
    raise LoginError("wrong password")

def time_out():
    try:
        raise TimeoutError("timed out")
    except OSError:
        raise LibError("too slow")

def fail_inside():
    try:
        login()
    except LibError:
        raise LibError("cannot connect")

def call_back(function):
    try:
        refuse()
    except OSError:
        function()
'''

PART = """
from lib import refuse
from lib import LibError

def connect():
    try:
        refuse()
    except OSError:
        raise LibError("cannot connect")
"""

OTHER = '''
import lib

class OtherError(Exception):
    """Another library's own error."""

class OtherLibError(lib.LibError):
    """Another library's own, built on the first one's."""

def connect():
    try:
        lib.connect()
    except lib.LibError:
        raise OtherError("cannot connect")

def connect_raw():
    try:
        lib.refuse()
    except OSError:
        raise lib.LibError("cannot connect")

def connect_as_subclass():
    try:
        lib.refuse()
    except OSError:
        raise OtherLibError("cannot connect")
'''

APP = '''
import lib
import other

class AppError(Exception):
    """The application's own error."""

class AppLibError(lib.LibError):
    """The application's own, built on the library's."""

def fall_back(replica):
    try:
        lib.refuse()
    except OSError:
        replica()

def wrong_password_on_the_replica():
    fall_back(lib.login)

def wrong_password_inside_the_replica():
    fall_back(lib.fail_inside)

def refused_by_the_replica_as_well():
    fall_back(lib.connect)

def timed_out_on_the_replica():
    fall_back(lib.time_out)

def fall_back_from_the_library():
    try:
        lib.connect()
    except lib.LibError:
        lib.login()

def handle():
    try:
        lib.connect()
    except lib.LibError:
        {}["x"]

def handle_with_a_builtin():
    try:
        lib.refuse()
    except OSError:
        raise OSError("cannot connect")

def wrap():
    try:
        lib.connect()
    except lib.LibError:
        raise AppError("no database")

def wrap_as_the_librarys():
    try:
        lib.refuse()
    except OSError:
        raise AppLibError("no database")

def raise_the_librarys():
    try:
        lib.refuse()
    except OSError:
        raise lib.LibError("no database")

def hide():
    try:
        lib.connect()
    except lib.LibError:
        raise AppError("no database") from None

def fail():
    raise AppError("something else")

def called_back():
    lib.call_back(fail)

def used_within():
    with lib.Translated():
        lib.refuse()

def cleaned_up():
    try:
        lib.refuse()
    finally:
        lib.login()

def fall_back_with_an_error_of_its_own():
    try:
        lib.connect()
    except Exception:
        replica()

def replica():
    raise AppError("this is no store")

def forgotten():
    try:
        lib.connect()
    except lib.LibError as error:
        error.__context__.__traceback__ = None
        raise
'''


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """The packages, imported, and gone afterwards."""
    folder = tmp_path_factory.mktemp("site")
    names = ("lib", "lib.part", "other", "app")
    for name, source in zip(names, (LIB, PART, OTHER, APP), strict=True):
        path = Path(folder, *name.split("."))
        (path if name != "lib.part" else path.parent).mkdir(exist_ok=True)
        (path.with_suffix(".py") if name == "lib.part" else path / "__init__.py").write_text(source, encoding="utf-8")
    assert not sys.modules.keys() & set(names)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield {name: importlib.import_module(name) for name in names}
    for name in names:
        del sys.modules[name]


def error_of(function: Any) -> BaseException:
    try:
        result = function()
        if inspect.iscoroutine(result):
            asyncio.run(result)
    except BaseException as error:
        return error
    raise AssertionError


REFUSED = {
    "lib": [
        "connect",
        "connect_as_os",
        "connect_from",
        "connect_async",
        "connect_translated",
        "connect_within",
        "connect_within_async",
        "connect_with_its_traceback",
        "connect_and_tell_later",
        "connect_in_steps",
    ],
    "lib.part": ["connect"],
    "other": ["connect", "connect_as_subclass"],
    "app": ["refused_by_the_replica_as_well", "wrap", "wrap_as_the_librarys"],
}
NOT_REFUSED = {
    "lib": ["connect_quietly", "connect_builtin", "connect_cancelled"],
    "other": ["connect_raw"],
    "app": [
        "wrong_password_on_the_replica",
        "wrong_password_inside_the_replica",
        "timed_out_on_the_replica",
        "fall_back_from_the_library",
        "fall_back_with_an_error_of_its_own",
        "handle",
        "handle_with_a_builtin",
        "raise_the_librarys",
        "hide",
        "called_back",
        "used_within",
        "cleaned_up",
        "forgotten",
    ],
}
CASES = [
    pytest.param(module, name, expected, id=f"{module}.{name}")
    for cases, expected in ((REFUSED, True), (NOT_REFUSED, False))
    for module, names in cases.items()
    for name in names
]


@pytest.mark.parametrize(("module", "name", "expected"), CASES)
def test_a_context_counts_where_the_library_wrapped_it(
    packages: dict[str, ModuleType], module: str, name: str, expected: bool
) -> None:
    """The frame that caught the inner error belongs to the package of a class of the outer one, or it does not."""
    assert is_refused(error_of(getattr(packages[module], name))) is expected


def test_every_case_is_in_one_of_the_lists(packages: dict[str, ModuleType]) -> None:
    """A function that raises and is not judged would be a hole."""
    helpers = {
        *("refuse", "replica", "translated", "login", "time_out", "fail_inside", "call_back", "fall_back"),
        *("fail", "failed"),
    }
    for module, namespace in packages.items():
        functions = {
            name
            for name, value in vars(namespace).items()
            if inspect.isfunction(value) and inspect.unwrap(value).__module__ == module
        }
        assert functions - helpers == {*REFUSED.get(module, ()), *NOT_REFUSED.get(module, ())}


def test_the_replicas_own_trouble_is_what_counts(packages: dict[str, ModuleType]) -> None:
    """The primary refused, the replica timed out: what the caller gets is a timeout."""
    assert is_unreachable(error_of(packages["app"].timed_out_on_the_replica))


# Clients whose signature speaks, by classes and frames that claim to be theirs.


def in_module(name: str, source: str) -> dict[str, Any]:
    """Run `source` as if it stood in the module `name`."""
    namespace: dict[str, Any] = {"__name__": name}
    exec(source, namespace)
    return namespace


REDIS = """
class ConnectionError(Exception): pass
class AuthenticationError(ConnectionError): pass
class BusyLoadingError(ConnectionError): pass

def connect(kind, *arguments):
    try:
        raise ConnectionRefusedError(111, "Connection refused")
    except OSError:
        raise kind(*arguments)

def connect_from(kind, *arguments):
    try:
        raise ConnectionRefusedError(111, "Connection refused")
    except OSError as error:
        raise kind(*arguments) from error
"""


@pytest.mark.parametrize("function", ["connect", "connect_from"])
def test_a_wrong_password_vetoes_whatever_lies_behind_it(function: str) -> None:
    """Waiting cannot mend it, also where the first of two connects was refused."""
    redis = in_module("redis.exceptions", REDIS)
    plain = error_of(lambda: redis[function](redis["ConnectionError"], "Error 111 connecting"))
    assert is_refused(plain)
    vetoed = error_of(lambda: redis[function](redis["AuthenticationError"], "invalid password"))
    assert not is_refused(vetoed)
    assert is_hopeless(vetoed)


def test_a_wrong_password_inside_vetoes_as_well() -> None:
    redis = in_module("redis.exceptions", REDIS)
    login = error_of(lambda: redis["connect"](redis["AuthenticationError"], "invalid password"))
    wrapped = error_of(lambda: (_ for _ in ()).throw(in_module("lib", LIB)["LibError"](login)))
    assert is_hopeless(wrapped)
    assert not is_refused(wrapped)


LIBPQ = 'connection to server at "127.0.0.1", port 5432 failed: Connection refused\n\tIs the server running?'
SQL = "class OperationalError(Exception): pass\nclass DataError(Exception): pass"


def test_a_clients_text_counts_only_out_of_its_own_classes() -> None:
    """The same words in somebody else's error, or in another of the client's own, are only words."""
    psycopg = in_module("psycopg.errors", SQL)
    assert is_refused(psycopg["OperationalError"](LIBPQ))
    assert not is_refused(psycopg["DataError"](LIBPQ))
    assert not is_refused(in_module("app.errors", SQL)["OperationalError"](LIBPQ))
    assert not is_refused(in_module("psycopg_like", SQL)["OperationalError"](LIBPQ))
    assert not is_refused(RuntimeError(LIBPQ))


def test_the_words_of_a_second_client_are_not_read_from_the_refusal_of_a_first() -> None:
    """Both were refused, and what is told is what the error itself says, that of the replica."""
    psycopg = in_module("psycopg.errors", SQL)

    def primary_or_replica() -> None:
        try:
            raise ConnectionRefusedError(111, "the primary")
        except ConnectionRefusedError:
            raise psycopg["OperationalError"](LIBPQ)  # noqa: B904  # the application's own handler

    error = error_of(primary_or_replica)
    found = find_refusal(error)
    assert found is not None
    assert found.evidence is error


def test_a_text_that_is_no_plain_text_is_not_kept_for_others() -> None:
    """One that claims to be equal to every other would answer for them."""

    class Chameleon(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash("the database system is starting up")

        def __str__(self) -> str:
            return self

    class Sly(in_module("psycopg.errors", SQL)["OperationalError"]):  # type: ignore[misc]
        def __str__(self) -> str:
            return self.args[0]

    Sly.__module__ = "psycopg.errors"
    assert is_refused(Sly(Chameleon(LIBPQ)))
    assert not is_refused(Sly("the database system is starting up"))


def test_what_another_thread_has_just_forgotten_is_read_anew() -> None:
    """What is known of a text is thrown away when there is too much of it."""

    class Vanishing(dict[Any, Any]):
        def __contains__(self, key: object) -> bool:
            found = super().__contains__(key)
            self.clear()
            return found

    error = in_module("psycopg.errors", SQL)["OperationalError"](LIBPQ)
    assert is_refused(error)
    reader = signatures.find(type(error))
    assert reader is not None
    reader._recent = Vanishing(reader._recent)
    try:
        assert [is_refused(error) for _ in range(3)] == [True] * 3
    finally:
        reader._recent = {}
