"""requests, and urllib3 under it: the connection class of the adapters' pools, where the socket is opened.

What is refused there has seen nothing of the request, so that a body that can be read once only is not touched.
Read and run: requests 2.34 on urllib3 2.8; read: requests 2.28 on urllib3 1.26.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from ..endpoint import Endpoint
from ._shield import GUARDED, Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "guard_pool", "guard_pools", "ping", "serves"]

SCHEMES: Final = ("http", "https")


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a `Session` or an `HTTPAdapter`, ready or as a class, or the function `requests.session`.

    None for what does not connect, and for `requests.get` and its like: `guard()` decorates them.
    """
    import requests
    import requests.adapters

    if isinstance(thing, requests.Session):
        for adapter in thing.adapters.values():
            _guard_adapter(adapter, shield)
        return thing
    if isinstance(thing, requests.adapters.HTTPAdapter):
        _guard_adapter(thing, shield)
        return thing
    if isinstance(thing, type) and issubclass(thing, requests.Session):
        return _session_class(thing, shield)
    if isinstance(thing, type) and issubclass(thing, requests.adapters.HTTPAdapter):
        return _adapter_class(thing, shield)
    if thing is requests.session:

        @functools.wraps(requests.session)
        def session() -> Any:
            return guard(requests.session(), shield)

        return session
    return None


def _pickled(self: Any, _protocol: Any) -> Any:
    """Pickle an object of such a class as one of the class that it protects: no process finds the other by its name."""
    return _revived, (unguarded(type(self)),), self.__getstate__()


def _revived(cls: Any) -> Any:
    return cls.__new__(cls)


def _session_class(cls: Any, shield: Shield) -> Any:
    cls = unguarded(cls)

    # Every adapter comes by `mount`, those of `__init__` as well.
    def mount(self: Any, prefix: str, adapter: Any) -> None:
        _guard_adapter(adapter, shield)
        cls.mount(self, prefix, adapter)

    return lookalike(cls, mount=functools.wraps(cls.mount)(mount), __reduce_ex__=_pickled)


def _adapter_class(cls: Any, shield: Shield) -> Any:
    cls = unguarded(cls)

    @functools.wraps(cls.__init__)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes a method
        cls.__init__(self, *args, **kwargs)
        _guard_adapter(self, shield)

    return lookalike(cls, __init__=__init__, __reduce_ex__=_pickled)


def _guard_adapter(adapter: Any, shield: Shield) -> None:
    """Protect the pools that an adapter has and will have, those of its proxies as well."""
    manager = getattr(adapter, "poolmanager", None)
    if not hasattr(manager, "pool_classes_by_scheme"):  # an adapter of somebody's own
        return
    retry = adapter.max_retries
    if retry.connect != 0 and (retry.connect or retry.total):
        shield.changed("requests: urllib3's own retry of connects is off: they are made as the policy says")
        adapter.max_retries = retry.new(connect=0)
    guard_pools(manager, shield)
    for proxy in adapter.proxy_manager.values():
        guard_pools(proxy, shield)
    bare = getattr(adapter.proxy_manager_for, GUARDED, adapter.proxy_manager_for)

    def proxy_manager_for(*args: Any, **kwargs: Any) -> Any:
        found = bare(*args, **kwargs)
        guard_pools(found, shield)
        return found

    functools.update_wrapper(proxy_manager_for, bare)
    setattr(proxy_manager_for, GUARDED, bare)
    adapter.proxy_manager_for = proxy_manager_for


def guard_pools(manager: Any, shield: Shield) -> None:
    """Protect the pools that a urllib3 `PoolManager` has and will have."""
    if getattr(manager, "_resilient_shield", None) is shield:
        return
    manager._resilient_shield = shield
    manager.pool_classes_by_scheme = {
        scheme: lookalike(unguarded(cls), ConnectionCls=_connection_class(cls.ConnectionCls, shield))
        for scheme, cls in manager.pool_classes_by_scheme.items()
    }
    for key in manager.pools.keys():  # noqa: SIM118  # it cannot be iterated
        pool = manager.pools.get(key)
        if pool is not None:
            guard_pool(pool, shield)


def guard_pool(pool: Any, shield: Shield) -> None:
    """Protect the connections that a urllib3 pool makes, and those that it has should they be lost."""
    cls = pool.ConnectionCls = _connection_class(pool.ConnectionCls, shield)
    idle = getattr(pool.pool, "queue", None) or ()
    for connection in list(idle):
        if isinstance(connection, unguarded(cls)) and type(connection).connect is not cls.connect:
            connection.__class__ = cls


def _connection_class(cls: Any, shield: Shield) -> Any:
    from urllib3.exceptions import NewConnectionError

    cls = unguarded(cls)
    inner = cls.connect

    def attempt(self: Any) -> Any:
        try:
            return inner(self)
        except Exception:
            sock, self.sock = self.sock, None
            if sock is not None:  # TCP it was, and TLS it did not become
                sock.close()
            raise

    attempt.__name__, attempt.__qualname__ = "connect", f"{cls.__qualname__}.connect"

    def unavailable(text: str) -> Exception:
        return NewConnectionError("resilient", text)  # type: ignore[arg-type]  # where it says which connection

    dial: Any = shield.protect(attempt, target=_where, unavailable=unavailable)

    @functools.wraps(inner)
    def connect(self: Any) -> Any:
        return dial(self)

    return lookalike(cls, connect=connect)


def _where(connection: Any) -> Endpoint:
    scheme = "https" if connection.default_port == 443 else "http"
    return Endpoint(
        scheme=scheme, host=connection.host.strip("[]"), port=int(connection.port or connection.default_port)
    )


# Saying hello.


def ping(thing: Any) -> None:
    """A session is of no one server: there is nothing to be pinged.

    Raises:
        TypeError: always.
    """
    raise TypeError(f"{type(thing).__name__} connects to whatever its requests name: give a URL, not the client")


def serves(url: str, timeout: float) -> None:
    """GET a URL once, in about `timeout` seconds; any answer but a 503 is an answer, and no redirect is followed.

    Raises:
        requests.HTTPError: it is 503: not ready yet.
    """
    import requests

    with requests.Session() as session:
        session.trust_env = False
        with session.get(url, timeout=timeout, allow_redirects=False, stream=True) as response:
            if response.status_code == 503:
                raise requests.HTTPError("503 Service Unavailable", response=response)
