"""What the clients of MySQL and MariaDB share: where they connect to, a URL as settings, and the asynchronous pools."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from .._wrapping import name_of
from ..endpoint import Endpoint
from ..errors import TargetError
from ._shield import Shield, lookalike, unguarded

SCHEMES: Final = ("mariadb", "mysql", "mysql2")
"""The schemes of URLs that people write for such a server."""

_CANNOT_CONNECT: Final = 2003  # CR_CONN_HOST_ERROR


def target(host: Any = None, *_: Any, port: Any = None, unix_socket: Any = None, **settings: Any) -> Endpoint:
    """Return where a client that is called with these arguments connects to.

    Raises:
        TargetError: that stands in an option file.
    """
    if unix_socket:
        return Endpoint(scheme="unix", path=str(unix_socket))
    if not host and (settings.get("read_default_file") or settings.get("read_default_group")):
        raise TargetError("the target stands in an option file, which only the client reads; give guard() a target")
    return Endpoint(scheme="mysql", host=str(host or "localhost"), port=int(port or 3306))


def redirect(
    endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a connect that go to this endpoint: by place, host is first and port fifth."""
    kwargs = {key: value for key, value in kwargs.items() if key not in ("host", "port", "unix_socket")}
    if endpoint.path is not None:
        kwargs["unix_socket"] = endpoint.path
    given: dict[int, tuple[str, object]] = {0: ("host", endpoint.host or "localhost"), 4: ("port", endpoint.port or 0)}
    places = list(args)
    for place, (name, value) in given.items():
        if place < len(places):
            places[place] = value
        else:
            kwargs[name] = value
    return tuple(places), kwargs


def redirect_connection(
    endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Let a connection object, the first argument of its own connect, go to this endpoint."""
    values = {"host": endpoint.host or "localhost", "port": endpoint.port or 0, "unix_socket": endpoint.path}
    for name, value in values.items():
        setattr(args[0], f"_{name}" if hasattr(args[0], f"_{name}") else name, value)
    return args, kwargs


def _redirect_pool(
    endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args[0].endpoint = endpoint
    return args, kwargs


def refusal(error: Callable[..., Exception]) -> Callable[[str], Exception]:
    """Return what makes a client's own error out of a text, numbered as "cannot connect" is."""
    return functools.partial(error, _CANNOT_CONNECT)


def settings(url: str) -> dict[str, Any]:
    """Return a URL as the settings that all these clients know, those of its query left out but for `unix_socket`."""
    parts = urlsplit(f"mysql://{url.partition('://')[2]}")
    found: dict[str, Any] = {
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "host": unquote(parts.hostname or ""),
        "port": parts.port,
        "unix_socket": parse_qs(parts.query).get("unix_socket", [""])[-1],
    }
    return {key: value for key, value in found.items() if value}


def database(url: str) -> str | None:
    """Return the database that a URL names, or None."""
    return unquote(urlsplit(f"mysql://{url.partition('://')[2]}").path.lstrip("/")) or None


# aiomysql and asyncmy: one is the other's child.


def guard_asynchronous(thing: Any, shield: Shield, library: Any, connects: str) -> Any:
    """Protect `connect`, `create_pool`, the classes `Connection` and `Pool`, or objects of these in place.

    Args:
        library: `aiomysql` or `asyncmy`.
        connects: the method of its connections that connects.
    """
    from importlib import import_module

    pools = import_module(f"{library.__name__}.pool").Pool
    connections = import_module(f"{library.__name__}.connection").Connection
    unavailable = refusal(_error_of(library))
    if isinstance(thing, pools):
        return _guard_pool(thing, shield, unavailable)
    if isinstance(thing, connections):
        thing.__class__ = _connection_class(connects, type(thing), shield, unavailable)
        return thing
    for kind, subclass in ((pools, _pool_class), (connections, functools.partial(_connection_class, connects))):
        if isinstance(thing, type) and issubclass(thing, kind):
            return subclass(thing, shield, unavailable)
    name = name_of(thing).rpartition(".")[2] if callable(thing) else ""
    if name == "connect":
        return _connect(thing, shield, unavailable)
    if name == "create_pool":
        return _create_pool(thing, pools, functools.partial(_guard_pool, shield=shield, unavailable=unavailable))
    return None


def _error_of(library: Any) -> Any:
    from importlib import import_module

    return getattr(library, "OperationalError", None) or import_module(f"{library.__name__}.errors").OperationalError


def _connect(connect: Any, shield: Shield, unavailable: Any) -> Any:
    """What comes back gives what `connect` gives: a coroutine that is a context manager as well."""

    async def dial(*args: Any, **kwargs: Any) -> Any:
        return await connect(*args, **kwargs)

    _name(dial, connect)
    protected = shield.protect(dial, target=target, unavailable=unavailable, redirect=redirect)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        manager = connect(*args, **kwargs)  # checks the arguments, and has not begun
        manager.close()
        return type(manager)(protected(*args, **kwargs))

    return functools.update_wrapper(guarded, connect)


def _create_pool(create_pool: Any, pools: Any, protect: Callable[[Any], Any]) -> Any:
    signature = inspect.signature(create_pool)

    async def create(*args: Any, **kwargs: Any) -> Any:
        import asyncio

        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named = dict(bound.arguments)
        others = named.pop("kwargs", {})
        if "loop" in named and named["loop"] is None:
            named["loop"] = asyncio.get_running_loop()
        pool = protect(pools(**named, **others))
        if named["minsize"] > 0:
            async with pool._cond:
                await getattr(pool, _fill_name(pools))(False)
        return pool

    def guarded(*args: Any, **kwargs: Any) -> Any:
        manager = create_pool(*args, **kwargs)  # as above
        manager.close()
        return type(manager)(create(*args, **kwargs))

    return functools.update_wrapper(guarded, create_pool)


def _pool_class(cls: Any, shield: Shield, unavailable: Any) -> Any:
    return lookalike(unguarded(cls), **{_fill_name(cls): _filling(unguarded(cls), shield, unavailable)})


def _guard_pool(pool: Any, shield: Shield, unavailable: Any) -> Any:
    """Protect a pool in place, without another class: asyncmy 0.2.18 is quick only with pools of exactly its own."""
    cls = pool.__class__ = unguarded(type(pool))
    fill, here = _filling(cls, shield, unavailable), weakref.ref(pool)

    def its_fill(override_min: bool = False) -> Any:
        return fill(here(), override_min)

    setattr(pool, _fill_name(cls), functools.update_wrapper(its_fill, fill))
    return pool


def _fill_name(cls: Any) -> str:
    return "_fill_free_pool" if hasattr(cls, "_fill_free_pool") else "fill_free_pool"


def _filling(cls: Any, shield: Shield, unavailable: Any) -> Any:
    """Protect the filling of a pool, which is locked then, but must not be between two attempts."""
    original = getattr(cls, _fill_name(cls))

    async def fill_once(turn: _Turn, override_min: bool) -> None:
        if not turn.held:
            await turn.begin()
        if turn.endpoint is not None:
            turn.pool._conn_kwargs = redirect(turn.endpoint, (), turn.pool._conn_kwargs)[1]
        try:
            await original(turn.pool, override_min)
        except Exception:
            turn.end()
            raise

    _name(fill_once, original)
    protected = shield.protect(
        fill_once,
        target=lambda turn, _: target(**turn.pool._conn_kwargs),
        unavailable=unavailable,
        redirect=_redirect_pool,
    )

    async def fill(self: Any, override_min: bool = False) -> None:
        turn = _Turn(self)
        try:
            await protected(turn, override_min)
        finally:
            if not turn.held:
                await turn.begin()

    _name(fill, original)
    return fill


class _Turn:
    """Whether a call holds the lock of its pool: it does when it comes, and must when it goes."""

    __slots__ = ("endpoint", "held", "pool")

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.held = True
        self.endpoint: Endpoint | None = None  # where its next connection is to go, if its own settings do not say

    async def begin(self) -> None:
        """Take the lock, whatever happens meanwhile; a cancellation is raised when it is taken."""
        import asyncio

        cancelled: BaseException | None = None
        while not self.held:
            try:
                await self.pool._cond.acquire()
            except asyncio.CancelledError as error:
                cancelled = error
            else:
                self.held = True
        if cancelled is not None:
            raise cancelled

    def end(self) -> None:
        """Let the others have the lock."""
        self.pool._cond.release()
        self.held = False


def _connection_class(connects: str, cls: Any, shield: Shield, unavailable: Any) -> Any:
    cls = unguarded(cls)
    original = getattr(cls, connects)

    async def connect(self: Any) -> Any:
        return await original(self)

    _name(connect, original)
    protected = shield.protect(connect, target=of_connection, unavailable=unavailable, redirect=redirect_connection)
    return lookalike(cls, **{connects: protected})


def of_connection(connection: Any, *_: Any) -> Endpoint:
    """Return where a connection object connects to, by what it read from its arguments and option files."""
    read = functools.partial(_attribute, connection)
    return target(read("host"), port=read("port"), unix_socket=read("unix_socket"))


def _attribute(connection: Any, name: str) -> Any:
    return getattr(connection, f"_{name}", None) or getattr(connection, name, None)


def _name(function: Any, like: Any) -> None:
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(function, name, getattr(like, name, None))


async def ping_asynchronous(thing: Any, pools: Any) -> None:
    """Ask `SELECT 1` over a connection of a pool, or over one of a connect function, and give it back."""
    if isinstance(thing, pools):
        async with thing.acquire() as connection:
            await _ask(connection)
        return
    connection = await thing()
    try:
        await _ask(connection)
    finally:
        connection.close()


async def _ask(connection: Any) -> None:
    async with connection.cursor() as cursor:
        await cursor.execute("select 1")
        await cursor.fetchone()
