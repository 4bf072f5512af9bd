"""redis-py and valkey-py, plain and asynchronous: the connection class, where sockets are opened and hands are shaken.

The pool gets a subclass of its connection class, so that whatever takes its connections from there is protected: the
client, pipelines, `client()`, pub/sub, locks, Sentinel's masters. The client's own retry would wrap each command and
connect again each time; it goes on only where the user chose it, only for commands that were sent, and never after a
connect that has given up. Read and run: redis-py 8.1, valkey-py 6.2; read: redis-py 5.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import os
import select
import socket
import time
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from .._causes import package
from ..endpoint import Endpoint
from ..refusal import is_refused
from ._shield import GUARDED, Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "serves"]

SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys")

_PACKAGES: Final = ("redis", "valkey")


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a client, pool, Sentinel or cluster, one of their classes, a connection class, or a `from_url`.

    None for what does not connect.
    """
    library = _Library.of(thing)
    if library is None:
        return None
    if inspect.ismethod(thing) and isinstance(thing.__self__, type) and thing.__name__ == "from_url":
        cls = _class(thing.__self__, library, shield)
        return None if cls is None else getattr(cls, thing.__name__)
    if inspect.isfunction(thing) and thing.__name__ == "from_url":
        return _factory(thing, library, shield)
    if isinstance(thing, type):
        return _class(thing, library, shield)
    return _object(thing, library, shield)


class _Library:
    """One of the two packages, in one of its two kinds."""

    def __init__(self, name: str, *, is_async: bool) -> None:
        inner = f"{name}.asyncio" if is_async else name
        self.name = name
        self.is_async = is_async
        self.face = importlib.import_module(inner)
        self.connection = importlib.import_module(f"{inner}.connection")
        self.sentinel = importlib.import_module(f"{inner}.sentinel")
        self.cluster = importlib.import_module(f"{inner}.cluster")
        self.retry: Any = importlib.import_module(f"{inner}.retry").Retry
        self.no_backoff: Any = importlib.import_module(f"{name}.backoff").NoBackoff
        self.error: Any = importlib.import_module(f"{name}.exceptions").ConnectionError
        self.answer: Any = importlib.import_module(f"{name}.exceptions").ResponseError
        self.client: Any = getattr(self.face, name.capitalize())
        self.cluster_client: Any = getattr(self.cluster, f"{name.capitalize()}Cluster")
        self.pubsub: Any = importlib.import_module(f"{inner}.client").PubSub
        default = inspect.signature(self.client.__init__).parameters["retry"].default
        self.default: Any = default if isinstance(default, self.retry) else None

    @staticmethod
    def of(thing: Any) -> _Library | None:
        """Return the library of a thing: the first module of its classes, or of the function, that is of one."""
        owner = thing.__self__ if inspect.ismethod(thing) else thing
        if inspect.isroutine(owner):
            modules = [owner.__module__ or ""]
        else:
            cls = owner if isinstance(owner, type) else type(owner)
            modules = [base.__module__ for base in cls.__mro__ if GUARDED not in vars(base)]
        for module in modules:
            name = module.partition(".")[0]
            if name in _PACKAGES:
                # A class of this package may have a plain one among its bases, and never the other way round.
                return library(name, any(it.startswith(f"{name}.asyncio") for it in modules))
        return None

    def no_retry(self) -> Any:
        return self.retry(self.no_backoff(), 0)

    def is_default(self, retry: Any) -> bool:
        """Whether a retry is the one that the client takes where the user names none."""
        default = self.default
        return default is not None and (
            type(retry) is type(default)
            and type(retry._backoff) is type(default._backoff)
            and (retry._retries, set(retry._supported_errors)) == (default._retries, set(default._supported_errors))
        )


@functools.lru_cache(maxsize=4)
def library(name: str, is_async: bool) -> _Library:
    """Return what is known of "redis" or "valkey"."""
    return _Library(name, is_async=is_async)


_LAST_ERROR: Final = "_resilient_error"


def _class(cls: type, library: _Library, shield: Shield) -> Any:
    bare = unguarded(cls)
    if issubclass(bare, library.client):
        _say_default(library, shield)
        return _client_class(bare, library, shield)
    if issubclass(bare, library.connection.ConnectionPool):
        return _pool_class(bare, library, shield)
    if issubclass(bare, library.connection.AbstractConnection):
        return _connection_class(bare, library, shield)
    if issubclass(bare, library.sentinel.Sentinel):
        _say_default(library, shield)
        return _sentinel_class(bare, library, shield)
    if issubclass(bare, library.cluster_client):
        return _cluster_class(bare, library, shield)
    return None


def _object(thing: Any, library: _Library, shield: Shield) -> Any:
    if isinstance(thing, library.connection.ConnectionPool):
        _guard_pool(thing, library, shield)
    elif isinstance(thing, library.client):
        _guard_pool(thing.connection_pool, library, shield)
    elif isinstance(thing, library.connection.AbstractConnection):
        _adopt(thing, _connection_class(unguarded(type(thing)), library, shield))
    elif isinstance(thing, library.sentinel.Sentinel):
        thing.__class__ = _sentinel_class(unguarded(type(thing)), library, shield)
        _quieten_sentinels(thing, library)
    elif isinstance(thing, library.cluster_client):
        _guard_cluster(thing, library, shield)
    else:
        return None
    return thing


def _factory(function: Any, library: _Library, shield: Shield) -> Any:
    """`redis.from_url`: what it returns is guarded."""

    @functools.wraps(function)
    def from_url(*args: Any, **kwargs: Any) -> Any:
        return _object(function(*args, **kwargs), library, shield)

    return from_url


# Clients and pools.


def _client_class(cls: Any, library: _Library, shield: Shield) -> Any:
    # The pool is protected as soon as the client has it: with `single_connection_client` its `__init__` connects.
    def protected(pool: Any) -> Any:
        if pool is not None and not hasattr(pool.connection_class, GUARDED):
            _guard_pool(pool, library, shield)
        return pool

    return lookalike(cls, connection_pool=_seen_when_set("connection_pool", protected))


def _pool_class(cls: Any, library: _Library, shield: Shield) -> Any:
    def protected(connection_class: Any) -> Any:
        known = hasattr(connection_class, GUARDED)
        return connection_class if known else _connection_class(connection_class, library, shield)

    return lookalike(cls, connection_class=_seen_when_set("connection_class", protected))


def _seen_when_set(name: str, protected: Callable[[Any], Any]) -> property:
    """Return what takes the place of a plain attribute, and keeps what `protected` makes of each value."""

    def put(self: Any, value: Any) -> None:
        self.__dict__[name] = protected(value)

    def get(self: Any) -> Any:
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None

    return property(get, put)


def _guard_pool(pool: Any, library: _Library, shield: Shield) -> None:
    """Give a pool the protected connection class, and the connections that it has as well."""
    _say(pool.connection_kwargs.get("retry"), library, shield)
    cls = pool.connection_class = _connection_class(unguarded(pool.connection_class), library, shield)
    known = [connection for name in _POOLED for connection in list(getattr(pool, name, None) or ())]
    for connection in known:
        # With client-side caching a proxy stands before the connection.
        connection = getattr(connection, "_conn", connection)
        if isinstance(connection, library.connection.AbstractConnection):
            _adopt(connection, cls)


_POOLED: Final = ("_available_connections", "_in_use_connections", "_connections")


def _adopt(connection: Any, cls: type) -> None:
    retry = connection.retry
    connection.__class__ = cls
    connection.retry = retry


def _say_default(library: _Library, shield: Shield) -> None:
    _say(library.default, library, shield)


def _say(retry: Any, library: _Library, shield: Shield) -> None:
    if retry is None or retry._retries == 0:
        return
    if library.is_default(retry):
        what = "%s: the client's own %d retries are off: it connects as the policy says, and no command is sent twice"
    else:
        what = "%s: the client's own %d retries are kept for commands that were sent; it connects as the policy says"
    shield.changed(what, library.name, retry._retries)


# Connections.


def _where(connection: Any, *_: Any) -> Endpoint:
    """Return what a connection connects to; for a master that Sentinel is to name, the first sentinel."""
    scheme = (package(unguarded(type(connection))) or "redis") if not isinstance(connection, type) else "redis"
    path = getattr(connection, "path", None)
    if isinstance(path, str) and path:
        return Endpoint(scheme="unix", path=os.path.abspath(path))
    manager = getattr(getattr(connection, "connection_pool", None), "sentinel_manager", None)
    if manager is not None:
        known = manager.sentinels[0].connection_pool.connection_kwargs
        return Endpoint(scheme=scheme, host=known["host"], port=int(known["port"]))
    return Endpoint(scheme=scheme, host=connection.host, port=int(connection.port))


def _connection_class(cls: Any, library: _Library, shield: Shield) -> Any:
    """Return a connection class whose connects, with the handshake, are made as the policy says."""
    # Newer ones connect in `connect_check_health`, which sending calls by itself where the connection was lost.
    # Sentinel's `connect` asks for the master first, so that the outermost of the two is the attempt.
    names = [name for name in ("connect", "connect_check_health") if hasattr(cls, name)]
    retry_class = (_async_retry if library.is_async else _retry)(library.retry)
    make = _async_connect if library.is_async else _connect
    methods = {name: make(cls, name, library, shield) for name in names}

    def set_retry(self: Any, retry: Any) -> None:
        self._resilient_retry = retry_class(library, retry, self)

    def get_retry(self: Any) -> Any:
        return self._resilient_retry

    register, deregister = cls.register_connect_callback, getattr(cls, "deregister_connect_callback", None)

    # Pub/sub tells a connection how to subscribe again; nothing else that registers there is a `PubSub`.
    @functools.wraps(register)
    def register_connect_callback(self: Any, callback: Any) -> Any:
        if isinstance(getattr(callback, "__self__", None), library.pubsub):
            self._resilient_listens = True
        return register(self, callback)

    methods["register_connect_callback"] = register_connect_callback
    if deregister is not None:

        @functools.wraps(deregister)
        def deregister_connect_callback(self: Any, callback: Any) -> Any:
            if isinstance(getattr(callback, "__self__", None), library.pubsub):
                self._resilient_listens = False
            return deregister(self, callback)

        methods["deregister_connect_callback"] = deregister_connect_callback
    return lookalike(
        cls,
        retry=property(get_retry, set_retry),
        _resilient_dials=False,
        _resilient_gave_up=False,
        _resilient_listens=False,
        _resilient_used=0.0,
        **methods,
    )


def _connect(cls: Any, name: str, library: _Library, shield: Shield) -> Any:
    inner = getattr(cls, name)
    own = package(inner) == library.name  # which does nothing where it is connected

    def attempt(self: Any, args: Any, kwargs: Any) -> Any:
        self._resilient_dials = True
        try:
            result = inner(self, *args, **kwargs)
            if not self._resilient_listens:
                _expect_service(self, library)
        except library.error as error:
            _explain(error, self)
            raise
        else:
            return result
        finally:
            self._resilient_dials = False

    attempt.__name__, attempt.__qualname__ = name, f"{cls.__qualname__}.{name}"
    dial: Any = shield.protect(attempt, target=_where, unavailable=library.error)

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


def _async_connect(cls: Any, name: str, library: _Library, shield: Shield) -> Any:
    inner = getattr(cls, name)
    own = package(inner) == library.name  # which does nothing where it is connected

    async def attempt(self: Any, args: Any, kwargs: Any) -> Any:
        self._resilient_dials = True
        try:
            result = await inner(self, *args, **kwargs)
            if not self._resilient_listens:
                await _expect_service_async(self, library)
        except library.error as error:
            _explain(error, self)
            raise
        else:
            return result
        finally:
            self._resilient_dials = False

    attempt.__name__, attempt.__qualname__ = name, f"{cls.__qualname__}.{name}"
    dial: Any = shield.protect(attempt, target=_where, unavailable=library.error)

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


def _expect_service(connection: Any, library: _Library) -> None:
    try:
        connection.send_command("PING", check_health=False)
        connection.read_response()
    except library.answer:  # it serves, and this user may not say PING
        return
    except BaseException:
        connection.disconnect()
        raise


async def _expect_service_async(connection: Any, library: _Library) -> None:
    try:
        await connection.send_command("PING", check_health=False)
        await connection.read_response()
    except library.answer:  # it serves, and this user may not say PING
        return
    except BaseException:
        await connection.disconnect(nowait=True)
        raise


class _Kept:
    """What is left of a client's own retry, for one connection. Mixed into the client's class."""

    _given: Any
    _backoff: Any
    _retries: int
    _supported_errors: tuple[type[Exception], ...]

    def __init__(self, library: _Library, given: Any, connection: Any) -> None:
        if library.is_default(given):
            given = library.no_retry()
        elif isinstance(given, _Kept):
            given = given._given
        super().__init__(given._backoff, given._retries, given._supported_errors)  # type: ignore[call-arg]
        self._given = given
        self._connection = weakref.ref(connection)  # which holds this
        self._lost = library.error

    def __deepcopy__(self, memo: Any) -> Any:
        return copy.deepcopy(self._given, memo)

    def _listens_on(self, error: Exception, failures: int) -> bool:
        """Whether a subscriber lost its connection: reading on loses nothing that was not lost already."""
        connection: Any = self._connection()
        if connection._resilient_dials:
            return False
        return connection._resilient_listens and failures == 1 and isinstance(error, self._lost)

    def _is_over(self, failures: int) -> bool:
        connection: Any = self._connection()
        return connection._resilient_dials or connection._resilient_gave_up or 0 <= self._retries < failures


@functools.lru_cache(maxsize=4)
def _retry(retry: Any) -> Any:
    def call_with_retry(
        self: Any, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False
    ) -> Any:
        self._backoff.reset()
        connection, failures = self._connection(), 0
        lost = None
        if not connection._resilient_dials and monotonic() > connection._resilient_used + _FRESH:
            lost = _lost(connection, self._lost)
        while True:
            try:
                if lost is not None:
                    raise lost
                result = do()
            except self._supported_errors as error:
                if is_retryable and not is_retryable(error):
                    raise
                failures += 1
                if connection._resilient_listens and connection._resilient_gave_up:
                    raise  # its handler would only connect once more
                if self._listens_on(error, failures):
                    connection.disconnect()
                    connection.connect()
                    lost = None
                    continue
                if lost is not None:  # nothing was sent: its handler resets what it must, and then once more
                    try:
                        _told(fail, error, failures, with_failure_count)
                    except self._lost as raised:
                        if raised is not lost:
                            raise
                    connection.disconnect()
                    lost, failures = None, 0
                    continue
                _told(fail, error, failures, with_failure_count)
                if self._is_over(failures):
                    raise
                pause = self._backoff.compute(failures)
            else:
                connection._resilient_used = monotonic()
                return result
            if pause > 0:
                time.sleep(pause)

    return type(retry)("Retry", (_Kept, retry), {"__module__": retry.__module__, "call_with_retry": call_with_retry})


@functools.lru_cache(maxsize=4)
def _async_retry(retry: Any) -> Any:
    import asyncio

    async def call_with_retry(
        self: Any, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False
    ) -> Any:
        self._backoff.reset()
        connection, failures = self._connection(), 0
        lost = None
        if not connection._resilient_dials and monotonic() > connection._resilient_used + _FRESH:
            lost = _lost_async(connection, self._lost)
        while True:
            try:
                if lost is not None:
                    raise lost
                result = await do()
            except self._supported_errors as error:
                if is_retryable and not is_retryable(error):
                    raise
                failures += 1
                if connection._resilient_listens and connection._resilient_gave_up:
                    raise  # its handler would only connect once more
                if self._listens_on(error, failures):
                    await connection.disconnect()
                    await connection.connect()
                    lost = None
                    continue
                if lost is not None:  # nothing was sent: its handler resets what it must, and then once more
                    try:
                        await _told(fail, error, failures, with_failure_count)
                    except self._lost as raised:
                        if raised is not lost:
                            raise
                    await connection.disconnect()
                    lost, failures = None, 0
                    continue
                await _told(fail, error, failures, with_failure_count)
                if self._is_over(failures):
                    raise
                pause = self._backoff.compute(failures)
            else:
                connection._resilient_used = monotonic()
                return result
            if pause > 0:
                await asyncio.sleep(pause)

    return type(retry)("Retry", (_Kept, retry), {"__module__": retry.__module__, "call_with_retry": call_with_retry})


_FRESH: Final = 0.0003
"""Seconds after a command during which its connection is not looked at: a look costs 3 µs, and a command 30."""


def _lost(connection: Any, error: Any) -> Exception | None:
    """Return an error if the server hung up while the connection was idle: newer pools do not look, but try."""
    sock = connection._sock
    if sock is None or not _is_readable(sock):
        return None
    try:
        # The socket's own `recv`: that of TLS does not peek.
        if socket.socket.recv(sock, 1, socket.MSG_PEEK):
            return None
    except OSError:
        pass
    found: Exception = error("Connection closed by server.")
    return found


def _lost_async(connection: Any, error: Any) -> Exception | None:
    reader = connection._reader
    if reader is None or not reader.at_eof():
        return None
    found: Exception = error("Connection closed by server.")
    return found


def _is_readable(sock: Any) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select((sock,), (), (), 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _told(fail: Any, error: Exception, failures: int, with_failure_count: bool) -> Any:
    return fail(error, failures) if with_failure_count else fail(error)


# Sentinel.


def _sentinel_class(cls: Any, library: _Library, shield: Shield) -> Any:
    """Return a Sentinel whose masters and replicas are guarded; each of their attempts asks every sentinel once."""

    @functools.wraps(cls.__init__)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes a method
        cls.__init__(self, *args, **kwargs)
        _quieten_sentinels(self, library)

    def finder(name: str) -> Any:
        find = getattr(cls, name)

        @functools.wraps(find)
        def client_for(self: Any, *args: Any, **kwargs: Any) -> Any:
            return _object(find(self, *args, **kwargs), library, shield)

        return client_for

    finders = {name: finder(name) for name in ("master_for", "slave_for", "replica_for") if hasattr(cls, name)}
    return lookalike(cls, __init__=__init__, **finders)


def _quieten_sentinels(sentinel: Any, library: _Library) -> None:
    """Let each sentinel be asked once, and remember why it did not answer: what is raised in the end has lost that."""
    for client in sentinel.sentinels:
        client.set_retry(library.no_retry())
        if _LAST_ERROR not in vars(client):
            setattr(client, _LAST_ERROR, None)
            client.execute_command = (_remembers_async if library.is_async else _remembers)(client)


def _remembers(client: Any) -> Any:
    execute = client.execute_command

    @functools.wraps(execute)
    def execute_command(*args: Any, **kwargs: Any) -> Any:
        try:
            return execute(*args, **kwargs)
        except Exception as error:
            setattr(client, _LAST_ERROR, error)
            raise

    return execute_command


def _remembers_async(client: Any) -> Any:
    execute = client.execute_command

    @functools.wraps(execute)
    async def execute_command(*args: Any, **kwargs: Any) -> Any:
        try:
            return await execute(*args, **kwargs)
        except Exception as error:
            setattr(client, _LAST_ERROR, error)
            raise

    return execute_command


def _explain(error: Exception, connection: Any) -> None:
    """Give Sentinel's error a cause: of the sentinels' errors one that is no refusal, if there is one."""
    manager = getattr(getattr(connection, "connection_pool", None), "sentinel_manager", None)
    if manager is None:
        return
    behind = [found for client in manager.sentinels if (found := vars(client).get(_LAST_ERROR)) is not None]
    for client in manager.sentinels:
        setattr(client, _LAST_ERROR, None)
    no_master = type(error).__name__ in ("MasterNotFoundError", "SlaveNotFoundError")
    if no_master and error.__cause__ is None and behind and len(behind) == len(manager.sentinels):
        error.__cause__ = next((found for found in behind if not is_refused(found)), behind[-1])


# Cluster.


def _cluster_class(cls: Any, library: _Library, shield: Shield) -> Any:
    if library.is_async:  # it connects at its first command

        @functools.wraps(cls.__init__)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes a method
            cls.__init__(self, *args, **kwargs)
            _guard_cluster(self, library, shield)

        return lookalike(cls, __init__=__init__)

    def target(self: Any, *args: Any, **kwargs: Any) -> Endpoint:
        known = inspect.signature(cls.__init__).bind(self, *args, **kwargs).arguments
        if known.get("url"):
            return Endpoint.parse(known["url"])
        nodes = known.get("startup_nodes")
        host, port = (nodes[0].host, nodes[0].port) if nodes else (known["host"], known.get("port", 6379))
        return Endpoint(scheme=library.name, host=host, port=int(port))

    start: Any = shield.protect(cls.__init__, target=target, unavailable=library.error)

    @functools.wraps(cls.__init__)
    def connected(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        _guard_cluster(self, library, shield)

    return lookalike(cls, __init__=connected)


def _guard_cluster(cluster: Any, library: _Library, shield: Shield) -> None:
    """Protect the search for the nodes. A node that is lost is the cluster's own affair: it asks another one."""
    manager = cluster.nodes_manager
    bare = unguarded(type(manager))

    def target(manager: Any, *_: Any, **__: Any) -> Endpoint:
        node = next(iter(manager.startup_nodes.values()))
        return Endpoint(scheme=library.name, host=node.host, port=int(node.port))

    initialize: Any = shield.protect(bare.initialize, target=target, unavailable=library.error)
    manager.__class__ = lookalike(bare, initialize=initialize, __slots__=())  # its attributes may be read-only


# Saying hello.


def ping(thing: Any) -> Any:
    """Connect anew as a client or pool would, send PING, and leave; of an asynchronous one a coroutine comes back.

    Neither policy nor the client's own retry makes it try again.

    Raises:
        TypeError: it is neither client nor pool.
    """
    library = _Library.of(thing)
    pool = getattr(thing, "connection_pool", thing)
    if library is None or not isinstance(pool, library.connection.ConnectionPool):
        if library is not None and isinstance(thing, library.cluster_client):
            return thing.ping(target_nodes="random")
        raise TypeError(f"{type(thing).__name__} is neither client nor pool of redis-py or valkey-py")
    settings = {**pool.connection_kwargs, "retry": library.no_retry(), "retry_on_error": []}
    connection = unguarded(pool.connection_class)(**settings)
    return _say_hello_async(connection) if library.is_async else _say_hello(connection)


def _say_hello(connection: Any) -> None:
    try:
        connection.connect()
        connection.send_command("PING", check_health=False)
        connection.read_response()
    finally:
        connection.disconnect()


async def _say_hello_async(connection: Any) -> None:
    try:
        await connection.connect()
        await connection.send_command("PING", check_health=False)
        await connection.read_response()
    finally:
        await connection.disconnect(nowait=True)


def serves(url: str, timeout: float) -> None:
    """Connect to a `redis://` or `valkey://` URL, log in and PING once, in about `timeout` seconds.

    Raises:
        ImportError: neither redis-py nor valkey-py is installed.
    """
    name = _installed()
    known = library(name, False)
    scheme, colon, rest = url.partition(":")
    if name == "redis":
        scheme = {"valkey": "redis", "valkeys": "rediss"}.get(scheme.lower(), scheme.lower())
    limits = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": known.no_retry()}
    pool = known.connection.ConnectionPool.from_url(f"{scheme}{colon}{rest}", **limits)
    _say_hello(pool.make_connection())


def _installed() -> str:
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        return name
    raise ImportError("neither redis nor valkey is installed: pip install redis")
