"""aiohttp: the connector of a session, where its sockets are opened.

What is refused there has seen nothing of the request, so that a body that can be read once only is not touched.
Read and run: aiohttp 3.14; read: 3.9.
"""

from __future__ import annotations

import functools
import os
import warnings
from typing import Any, Final

from ..endpoint import Endpoint
from ._shield import GUARDED, Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "serves"]

SCHEMES: Final = ("http", "https")


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a `ClientSession` or a connector, ready or as a class; None for what does not connect."""
    import aiohttp

    if isinstance(thing, type) and issubclass(thing, (aiohttp.ClientSession, aiohttp.BaseConnector)):
        return _class(thing, shield)
    if isinstance(thing, aiohttp.ClientSession):
        if thing.connector is not None:  # closed
            _guard_connector(thing.connector, shield)
        return thing
    if isinstance(thing, aiohttp.BaseConnector):
        _guard_connector(thing, shield)
        return thing
    return None


def _class(cls: Any, shield: Shield) -> Any:
    """Return a subclass whose objects are guarded, and that looks like its base."""
    bare = unguarded(cls)

    @functools.wraps(bare.__init__)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes a method
        bare.__init__(self, *args, **kwargs)
        guard(self, shield)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # aiohttp would rather not have its session inherited from
        return lookalike(bare, __init__=__init__)


class _OpenedError(Exception):
    """The circuit is open; aiohttp's own error is made where the request is known."""


def _guard_connector(connector: Any, shield: Shield) -> None:
    import aiohttp

    current = connector._create_connection
    create = getattr(current, GUARDED, current)

    # A function, so that it is known as a coroutine function, and named as what it stands for.
    async def attempt(request: Any, *args: Any, **kwargs: Any) -> Any:
        return await create(request, *args, **kwargs)

    functools.update_wrapper(attempt, create)
    del attempt.__wrapped__  # type: ignore[attr-defined]

    def target(request: Any, *_: Any, **__: Any) -> Endpoint:
        path = getattr(connector, "path", None)
        if isinstance(path, str):
            return Endpoint(scheme="unix", path=os.path.abspath(path))
        url = getattr(request, "proxy", None) or request.url
        return Endpoint(scheme=url.scheme, host=url.host, port=url.port)

    dial: Any = shield.protect(attempt, target=target, unavailable=_OpenedError)

    async def _create_connection(request: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await dial(request, *args, **kwargs)
        except _OpenedError as opened:
            # Its number is none of a refusal's: what is outside must see that a circuit said it.
            error = aiohttp.ClientConnectorError(request.connection_key, OSError(0, str(opened)))
            raise error from opened.__cause__

    setattr(_create_connection, GUARDED, create)
    connector._create_connection = _create_connection


# Saying hello.


def ping(thing: Any) -> Any:
    """Return a coroutine that GETs a session's base URL once, on a connection of its own.

    Any answer but a 503 is an answer; no redirect is followed.

    Raises:
        TypeError: it is no session, or has no base URL.
    """
    url = getattr(thing, "_base_url", None)
    if url is None:
        raise TypeError(f"{type(thing).__name__} connects to whatever its requests name: give a URL, not the client")
    return _get(str(url), thing.timeout)


async def _get(url: str, timeout: Any) -> None:
    import aiohttp

    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        if response.status == 503:
            response.raise_for_status()


def serves(url: str, timeout: float) -> None:
    """GET a URL once, in about `timeout` seconds; any answer but a 503 is an answer, and no redirect is followed.

    Runs an event loop of its own: not for a thread that has one running.

    Raises:
        aiohttp.ClientResponseError: it is 503: not ready yet.
    """
    import asyncio

    import aiohttp

    asyncio.run(_get(url, aiohttp.ClientTimeout(total=timeout)))
