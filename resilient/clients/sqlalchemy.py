"""SQLAlchemy: engines, plain and asynchronous, their pools, and the functions that make them.

An engine connects when it is first used, and again whenever its pool needs a connection: that is what is protected, by
the public event `do_connect`. Where that event does not see the connect (`creator=`, `pool=`) or other listeners were
there before, it is the pool's creator, so that each attempt asks those again, for a fresh token, say.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any, Final

from .._wrapping import name_of
from ..endpoint import Endpoint
from ..errors import TargetError
from ._shield import Shield

__all__ = ["SCHEMES", "guard", "ping", "serves", "target"]

_FACTORIES: Final = frozenset(
    {
        "async_engine_from_config",
        "create_async_engine",
        "create_async_pool_from_url",
        "create_engine",
        "create_pool_from_url",
        "engine_from_config",
    }
)

_DRIVERS: Final = {
    "aiomysql": "_mysql",
    "asyncmy": "_mysql",
    "asyncpg": "asyncpg",
    "mysqldb": "_mysql",
    "psycopg": "psycopg",
    "psycopg2": "psycopg2",
    "pymysql": "_mysql",
}
"""The name of a driver, as SQLAlchemy calls it, and the file here that reads the arguments of its connect."""

_TIMEOUTS: Final = {
    "aiomysql": "connect_timeout",
    "asyncmy": "connect_timeout",
    "asyncpg": "timeout",
    "mysqlconnector": "connection_timeout",
    "mysqldb": "connect_timeout",
    "oracledb": "tcp_connect_timeout",
    "pg8000": "timeout",
    "psycopg": "connect_timeout",
    "psycopg2": "connect_timeout",
    "pymssql": "login_timeout",
    "pymysql": "connect_timeout",
    "pyodbc": "timeout",
}
"""What each driver calls the seconds that a connect may take."""

SCHEMES: Final = ("mssql", "oracle")
"""The schemes whose drivers have no file of their own here; "+driver" may follow."""


def guard(thing: Any, shield: Shield) -> Any:
    """Protect the connects of an engine or pool, in place, or of those that a function makes."""
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import Pool

    if isinstance(thing, Engine):
        _protect_engine(thing, shield)
        return thing
    if isinstance(thing, Pool):
        _protect_creator(thing, shield, None, _unavailable(getattr(thing, "_dialect", None)))
        return thing
    engine = getattr(thing, "sync_engine", None)
    if not isinstance(thing, type) and isinstance(engine, Engine):  # an AsyncEngine
        _protect_engine(engine, shield)
        return thing
    if callable(thing) and name_of(thing).rpartition(".")[2] in _FACTORIES:
        return _factory(thing, shield)
    return None


def _factory(make: Any, shield: Shield) -> Any:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return guard(make(*args, **kwargs), shield)

    return functools.update_wrapper(guarded, make)


def _protect_engine(engine: Any, shield: Shield) -> None:
    from sqlalchemy import event

    dialect, pool = engine.dialect, engine.pool
    for listener in list(_listeners(dialect)):
        if _is_ours(listener):
            event.remove(dialect, "do_connect", listener)
    pool._creator = creator = _without_ours(pool._creator)
    its, unavailable = _endpoint(engine.url), _unavailable(dialect)
    if any(_listeners(dialect)) or getattr(creator, "__module__", None) != "sqlalchemy.engine.create":
        _protect_creator(pool, shield, its, unavailable)
        return

    # What the driver is called with says best where it connects to.
    find = target if its is not None or dialect.driver in _DRIVERS else None

    def connect(dialect: Any, record: Any, arguments: Any, settings: Any) -> Any:
        arguments, settings = list(arguments), dict(settings)
        for listener in _after_ours(dialect):
            connection = listener(dialect, record, arguments, settings)
            if connection is not None:
                return connection
        return dialect.connect(*arguments, **settings)

    connect.__qualname__ = "sqlalchemy.Engine.connect"  # what logs and events call it
    protected = shield.protect(
        connect,
        target=None
        if find is None
        else lambda dialect, _, arguments, settings: find(dialect, arguments, settings, its),
        unavailable=unavailable,
        redirect=_redirect if dialect.driver in _DRIVERS else None,
    )

    # By the names of the event's own arguments, or SQLAlchemy takes it for a listener of an old form.
    def do_connect(dialect: Any, conn_rec: Any, cargs: Any, cparams: Any) -> Any:
        return (connect if _PINGS.get() else protected)(dialect, conn_rec, cargs, cparams)

    _sign(do_connect)
    event.listen(dialect, "do_connect", do_connect)


def _protect_creator(pool: Any, shield: Shield, its: Endpoint | None, unavailable: Any) -> None:
    creator = _without_ours(pool._creator)
    pool._creator = creator
    # A creator may or may not take the pool's record of the connection; the pool itself knows how to call it.
    invoke = pool._invoke_creator

    def connect(record: Any) -> Any:
        return invoke(record)

    connect.__qualname__ = "sqlalchemy.Pool.connect"
    protected = shield.protect(connect, target=its, unavailable=unavailable)

    def create(connection_record: Any = None) -> Any:
        return (connect if _PINGS.get() else protected)(connection_record)

    create.__wrapped__ = creator  # type: ignore[attr-defined]
    pool._creator = _sign(create)


def _without_ours(creator: Any) -> Any:
    return creator.__wrapped__ if _is_ours(creator) else creator


def _sign(function: Any) -> Any:
    function._guards_connects = True
    return function


def _is_ours(function: Any) -> bool:
    return getattr(function, "_guards_connects", None) is True


def _listeners(dialect: Any) -> Iterator[Any]:
    return iter(dialect.dispatch.do_connect) if dialect._has_events else iter(())


def _after_ours(dialect: Any) -> Iterator[Any]:
    """The listeners that SQLAlchemy would have asked after ours, which is where the connection is made now."""
    found = False
    for listener in list(dialect.dispatch.do_connect):
        if found:
            yield listener
        found = found or _is_ours(listener)


def _unavailable(dialect: Any) -> Callable[[str], Exception] | None:
    """Return what makes the driver's own error, which SQLAlchemy turns into its `OperationalError`, out of a text.

    None for asyncpg: its refusals come out of SQLAlchemy as `ConnectionRefusedError`, and so does an open circuit.
    """
    driver = getattr(dialect, "dbapi", None)
    if getattr(dialect, "driver", None) == "asyncpg":
        return None
    error: Callable[[str], Exception] | None = getattr(driver, "OperationalError", None)
    return error


def target(dialect: Any, arguments: Any, settings: Any, its: Endpoint | None) -> Endpoint:
    """Return where a driver that is called with these arguments connects to, or else what the engine's URL says.

    Raises:
        TargetError: neither is known.
    """
    file = _DRIVERS.get(dialect.driver)
    if file is not None:
        settings = {key: value for key, value in settings.items() if key != "async_creator_fn"}
        found: Endpoint = importlib.import_module(f"{__package__}.{file}").target(*arguments, **settings)
        return found
    if its is None:
        raise TargetError("the target is not known: the engine's URL names none")
    return its


def _redirect(
    endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of the event with those of the driver's connect changed, so that it goes there."""
    dialect, record, arguments, settings = args
    file: Any = importlib.import_module(f"{__package__}.{_DRIVERS[dialect.driver]}")
    arguments, settings = file.redirect(endpoint, tuple(arguments), settings)
    return (dialect, record, list(arguments), settings), kwargs


def _endpoint(url: Any) -> Endpoint | None:
    try:
        return Endpoint.parse(url.set(username=None, password=None).render_as_string(hide_password=False))
    except TargetError:
        return None


_PINGS: Final[ContextVar[bool]] = ContextVar("resilient_pings", default=False)
"""Whether a ping is under way here. It connects once, or a policy that waits would hold up who asks."""


@contextlib.contextmanager
def _pinging() -> Iterator[None]:
    before = _PINGS.set(True)
    try:
        yield
    finally:
        _PINGS.reset(before)


def ping(thing: Any) -> Coroutine[Any, Any, None] | None:
    """Ask `SELECT 1` over a connection of an engine or pool, and give it back; a coroutine for an `AsyncEngine`.

    A connection of the pool that turns out to be dead is not the answer: the next one is, a new one at last. No policy
    makes it connect again, and no open circuit keeps it from asking.
    """
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import Pool

    if not isinstance(thing, (Engine, Pool)):
        return _ping_async(thing)
    with _pinging():
        _ping_sync(thing)
    return None


def _ping_sync(thing: Any) -> None:
    from sqlalchemy.pool import Pool

    if isinstance(thing, Pool):
        connection = thing.connect()
        connection.close()
        return
    from sqlalchemy import select
    from sqlalchemy.exc import DBAPIError

    try:
        with thing.connect() as opened:
            opened.execute(select(1))
    except DBAPIError as error:
        if not error.connection_invalidated:  # one that is dead takes all of the pool with it
            raise
    else:
        return
    with thing.connect() as opened:
        opened.execute(select(1))


async def _ping_async(engine: Any) -> None:
    from sqlalchemy import select
    from sqlalchemy.exc import DBAPIError

    with _pinging():
        try:
            async with engine.connect() as opened:
                await opened.execute(select(1))
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        else:
            return
        async with engine.connect() as opened:
            await opened.execute(select(1))


def serves(url: str, timeout: float) -> None:
    """Connect to a URL of SQLAlchemy with the driver that it names, ask `SELECT 1` and leave.

    `timeout` bounds the connect, for the drivers that have a setting for it, in whole seconds.
    """
    import asyncio
    import math

    from sqlalchemy import create_engine, make_url
    from sqlalchemy.pool import NullPool

    settings = make_url(url).difference_update_query(("plugin", "resilient_env", "resilient_policy"))
    dialect = settings.get_dialect()
    name = _TIMEOUTS.get(dialect.driver)
    arguments = {} if name is None else {name: max(1, math.ceil(timeout))}
    if not dialect.is_async:
        engine = create_engine(settings, poolclass=NullPool, connect_args=arguments)
        ping(engine)
        return
    from sqlalchemy.ext.asyncio import create_async_engine

    asyncio.run(_ping_async(create_async_engine(settings, poolclass=NullPool, connect_args=arguments)))
