"""httpx, plain and asynchronous: the network backend of its transports' pools, where the socket is opened.

What is refused there has seen nothing of the request, so that a body that can be read once only is not touched.
Read and run: httpx 0.28 on httpcore 1.0; read: httpx 0.25 on httpcore 0.18.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from ..endpoint import Endpoint
from ._shield import GUARDED, Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "serves"]

SCHEMES: Final = ("http", "https")


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a `Client`, `AsyncClient`, `HTTPTransport` or `AsyncHTTPTransport`, ready or as a class.

    None for what does not connect, and for `httpx.get` and its like: `guard()` decorates them.
    """
    import httpx

    clients = (httpx.Client, httpx.AsyncClient)
    transports = (httpx.HTTPTransport, httpx.AsyncHTTPTransport)
    if isinstance(thing, type) and issubclass(thing, clients + transports):
        return _class(thing, shield)
    if isinstance(thing, clients):
        for transport in (thing._transport, *thing._mounts.values()):
            if isinstance(transport, transports):  # others connect to nothing, or it is not known how
                _guard_transport(transport, shield)
        return thing
    if isinstance(thing, transports):
        _guard_transport(thing, shield)
        return thing
    return None


def _class(cls: Any, shield: Shield) -> Any:
    """Return a subclass whose objects are guarded, and that looks like its base."""
    bare = unguarded(cls)

    @functools.wraps(bare.__init__)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes a method
        bare.__init__(self, *args, **kwargs)
        guard(self, shield)

    return lookalike(bare, __init__=__init__)


def _guard_transport(transport: Any, shield: Shield) -> None:
    """Put a protected backend in the place of the pool's; the connections that it has go on.

    Raises:
        TypeError: this version of httpx keeps it elsewhere.
    """
    pool = getattr(transport, "_pool", None)
    backend = getattr(pool, "_network_backend", None)
    if pool is None or backend is None:
        raise TypeError("guard does not know where this version of httpx connects; it knows 0.25 to 0.28")
    if getattr(pool, "_retries", 0):
        shield.changed("httpx: the transport's own %d retries are off: it connects as the policy says", pool._retries)
        pool._retries = 0
    pool._network_backend = _backend(getattr(backend, GUARDED, backend), shield)


def _backend(backend: Any, shield: Shield) -> Any:
    import httpcore

    protected = {
        name: shield.protect(getattr(backend, name), target=target, unavailable=httpcore.ConnectError)
        for name, target in (("connect_tcp", _where), ("connect_unix_socket", _where_unix))
    }
    base = (
        httpcore.AsyncNetworkBackend if isinstance(backend, httpcore.AsyncNetworkBackend) else httpcore.NetworkBackend
    )

    class Backend(base):  # type: ignore[misc, valid-type]
        """The pool's own, but for its connects."""

        def __init__(self) -> None:
            self.__dict__.update(protected, sleep=backend.sleep, **{GUARDED: backend})

        def __getattr__(self, name: str) -> Any:
            return getattr(backend, name)

    return Backend()


def _where(host: Any, port: int, *_: Any, **__: Any) -> Endpoint:
    return Endpoint(scheme="tcp", host=host.decode("ascii") if isinstance(host, bytes) else host, port=port)


def _where_unix(path: str, *_: Any, **__: Any) -> Endpoint:
    import os

    return Endpoint(scheme="unix", path=os.path.abspath(path))


# Saying hello.


def ping(thing: Any) -> Any:
    """GET a client's `base_url` once, on a connection of its own; of an asynchronous client a coroutine comes back.

    Any answer but a 503 is an answer; no redirect is followed.

    Raises:
        TypeError: it is no client, or has no `base_url`.
    """
    import httpx

    if not isinstance(thing, (httpx.Client, httpx.AsyncClient)) or not thing.base_url.host:
        raise TypeError(f"{type(thing).__name__} connects to whatever its requests name: give a URL, not the client")
    settings: dict[str, Any] = {"timeout": thing.timeout, "trust_env": False}
    if isinstance(thing, httpx.AsyncClient):
        return _ping_async(str(thing.base_url), settings)
    with httpx.Client(**settings) as client:
        _check(client.get(thing.base_url))
    return None


async def _ping_async(url: str, settings: dict[str, Any]) -> None:
    import httpx

    async with httpx.AsyncClient(**settings) as client:
        _check(await client.get(url))


def serves(url: str, timeout: float) -> None:
    """GET a URL once, in about `timeout` seconds; any answer but a 503 is an answer, and no redirect is followed.

    Raises:
        httpx.HTTPStatusError: it is 503: not ready yet.
    """
    import httpx

    with httpx.Client(timeout=timeout, trust_env=False) as client:
        _check(client.get(url))


def _check(response: Any) -> None:
    import httpx

    if response.status_code == 503:
        raise httpx.HTTPStatusError("503 Service Unavailable", request=response.request, response=response)
