"""The connection class, where sockets are opened and hands are shaken: a subclass that connects as the policy says."""

from __future__ import annotations

import functools
import operator
import os
from time import monotonic
from typing import Any

from ..._causes import package
from ...endpoint import Endpoint
from ...errors import TargetError
from .._shield import Shield, lookalike, unguarded
from ._library import Library
from ._retries import kept, kept_async
from ._sentinels import explain


def _where(connection: Any, *_: Any) -> Endpoint:
    """Return what a connection connects to; for a master that Sentinel is to name, the first sentinel."""
    scheme = package(unguarded(type(connection))) or "redis"
    path = getattr(connection, "path", None)
    if isinstance(path, str) and path:
        return Endpoint(scheme="unix", path=os.path.abspath(path))
    manager = getattr(getattr(connection, "connection_pool", None), "sentinel_manager", None)
    if manager is not None:
        known = manager.sentinels[0].connection_pool.connection_kwargs
        return Endpoint(scheme=scheme, host=known["host"], port=int(known["port"]))
    return Endpoint(scheme=scheme, host=connection.host, port=int(connection.port))


def _takes_host(cls: type, library: Library) -> bool:
    """Whether a class of connections connects to a host and port, and not to a socket or a master yet to be named."""
    others = (library.connection.UnixDomainSocketConnection, library.sentinel.SentinelManagedConnection)
    return not issubclass(cls, others)


def _redirect(
    endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Let a connection, the first argument of its own connect, go to this endpoint."""
    if endpoint.path is not None:
        raise TargetError("the target is a unix socket, and this client's connections go to a host and port")
    args[0].host, args[0].port = endpoint.host, endpoint.port
    return args, kwargs


def connection_class(cls: Any, library: Library, shield: Shield) -> Any:
    """Return a connection class whose connects, with the handshake, are made as the policy says."""
    # Newer ones connect in `connect_check_health`, which sending calls by itself where the connection was lost.
    # Sentinel's `connect` asks for the master first, so that the outermost of the two is the attempt.
    names = [name for name in ("connect", "connect_check_health") if hasattr(cls, name)]
    retry_class = (kept_async if library.is_async else kept)(library.retry)
    make = _async_connect if library.is_async else _connect
    methods = {name: make(cls, name, library, shield) for name in names}

    def set_retry(self: Any, retry: Any) -> None:
        self._resilient_retry = retry_class(library, retry, self)

    return lookalike(
        cls,
        retry=property(operator.attrgetter("_resilient_retry"), set_retry),  # no frame of Python's for each command
        _resilient_dials=False,
        _resilient_gave_up=False,
        _resilient_listens=False,
        _resilient_seen=0.0,
        **methods,
        **_listening(cls, library),
        **({} if library.is_async else {"can_read": _can_read(cls)}),
    )


def _listening(cls: Any, library: Library) -> dict[str, Any]:
    """Return what notices that a subscriber listens: it tells its connection how to subscribe again, and none else."""

    def told(name: str, listens: bool) -> Any:
        tell = getattr(cls, name)

        @functools.wraps(tell)
        def method(self: Any, callback: Any) -> Any:
            if isinstance(getattr(callback, "__self__", None), library.pubsub):
                self._resilient_listens = listens
            return tell(self, callback)

        return method

    names = {"register_connect_callback": True, "deregister_connect_callback": False}
    return {name: told(name, listens) for name, listens in names.items() if hasattr(cls, name)}


def _can_read(cls: Any) -> Any:
    """Return what also notes that a connection stands: pools look before each command, and once is enough."""
    inner = cls.can_read

    @functools.wraps(inner)
    def can_read(self: Any, timeout: Any = 0) -> Any:
        if found := inner(self, timeout):
            return found
        self._resilient_seen = monotonic()
        return found

    return can_read


def _connect(cls: Any, name: str, library: Library, shield: Shield) -> Any:
    inner = getattr(cls, name)
    own = package(inner) == library.name  # which does nothing where it is connected

    def attempt(self: Any, args: Any, kwargs: Any) -> Any:
        self._resilient_dials = True
        try:
            result = inner(self, *args, **kwargs)
            if not self._resilient_listens:
                _expect_service(self, library)
        except library.error as error:
            explain(error, self)
            raise
        else:
            return result
        finally:
            self._resilient_dials = False

    attempt.__name__, attempt.__qualname__ = name, f"{cls.__qualname__}.{name}"
    redirect = _redirect if _takes_host(cls, library) else None
    dial: Any = shield.protect(attempt, target=_where, unavailable=library.error, redirect=redirect)

    @functools.wraps(inner)
    def connect(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._resilient_dials:
            return inner(self, *args, **kwargs)
        if self._sock is not None:
            return None if own else inner(self, *args, **kwargs)
        try:
            result = dial(self, args, kwargs)
        except Exception:
            self._resilient_gave_up = True
            raise
        self._resilient_gave_up = False
        return result

    return connect


def _async_connect(cls: Any, name: str, library: Library, shield: Shield) -> Any:
    inner = getattr(cls, name)
    own = package(inner) == library.name  # which does nothing where it is connected

    async def attempt(self: Any, args: Any, kwargs: Any) -> Any:
        self._resilient_dials = True
        try:
            result = await inner(self, *args, **kwargs)
            if not self._resilient_listens:
                await _expect_service_async(self, library)
        except library.error as error:
            explain(error, self)
            raise
        else:
            return result
        finally:
            self._resilient_dials = False

    attempt.__name__, attempt.__qualname__ = name, f"{cls.__qualname__}.{name}"
    redirect = _redirect if _takes_host(cls, library) else None
    dial: Any = shield.protect(attempt, target=_where, unavailable=library.error, redirect=redirect)

    @functools.wraps(inner)
    async def connect(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._resilient_dials:
            return await inner(self, *args, **kwargs)
        if self.is_connected:
            return None if own else await inner(self, *args, **kwargs)
        try:
            result = await dial(self, args, kwargs)
        except Exception:
            self._resilient_gave_up = True
            raise
        self._resilient_gave_up = False
        return result

    return connect


# A server that loads its data takes connections and turns every command away. A command of the user's can then not tell
# what became of those that came with it in a pipeline, so a PING asks first, once for each new connection.


def _expect_service(connection: Any, library: Library) -> None:
    try:
        connection.send_command("PING", check_health=False)
        connection.read_response()
    except library.answer:  # it serves, and this user may not say PING
        return
    except BaseException:
        connection.disconnect()
        raise


async def _expect_service_async(connection: Any, library: Library) -> None:
    try:
        await connection.send_command("PING", check_health=False)
        await connection.read_response()
    except library.answer:  # it serves, and this user may not say PING
        return
    except BaseException:
        await connection.disconnect(nowait=True)
        raise


def adopt(connection: Any, cls: type) -> None:
    """Let a connection that is there be of this class."""
    retry = connection.retry
    connection.__class__ = cls
    connection.retry = retry
