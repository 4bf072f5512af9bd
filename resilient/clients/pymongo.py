"""PyMongo, plain and asynchronous: where an operation selects its server, before anything of it is sent.

PyMongo has no place for a connect: its monitors dial in the background, twice a second while somebody waits, and an
operation waits for them up to `serverSelectionTimeoutMS`, 30 s. Under guard it stops waiting as soon as they say that
every server refuses, and then the policy decides whether to wait on. So an attempt is a selection and not a connect:
the monitors' pace on the wire is PyMongo's own. Where servers say nothing yet, or something else, the user's timeout
counts as before. Not protected: a connection that is lost in the middle of an operation (`retryWrites` and
`retryReads`, which know what may be sent again, see to that; their second selection is protected like the first).
Read and run: PyMongo 4.20; read: 4.4.
"""

from __future__ import annotations

import functools
import inspect
import time
from typing import Any, Final

from ..endpoint import Endpoint
from ..refusal import is_not_ready, is_unreachable, is_unresolved
from ._shield import GUARDED, Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "serves"]

SCHEMES: Final = ("mongodb", "mongodb+srv")

GLANCE: Final = 0.4
"""Seconds that a selection waits before it looks at what the monitors say: less than the half second of their pace."""


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a `MongoClient` or `AsyncMongoClient`, ready or as a class; None for what does not connect."""
    if isinstance(thing, type):
        return _class(thing, shield) if hasattr(thing, "_get_topology") else None
    if not hasattr(type(thing), "_get_topology"):
        return None
    _guard_client(thing, shield)
    return thing


def _class(cls: Any, shield: Shield) -> Any:
    """Return a subclass whose objects are guarded, and that looks like its base."""
    bare = unguarded(cls)

    @functools.wraps(bare.__init__)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes a method
        bare.__init__(self, *args, **kwargs)
        _guard_client(self, shield)

    return lookalike(bare, __init__=__init__)


def _guard_client(client: Any, shield: Shield) -> None:
    # A client makes another topology after a fork, so that it is protected where it is handed out.
    bare = type(client)._get_topology
    is_async = inspect.iscoroutinefunction(bare)
    known: Any = None

    def protect(topology: Any) -> Any:
        nonlocal known
        if topology is not known:
            _guard_topology(topology, shield, is_async)
            known = topology
        return topology

    if is_async:

        @functools.wraps(bare)
        async def get_async(*args: Any, **kwargs: Any) -> Any:
            return protect(await bare(client, *args, **kwargs))

        client.__dict__["_get_topology"] = get_async
        return

    @functools.wraps(bare)
    def get(*args: Any, **kwargs: Any) -> Any:
        return protect(bare(client, *args, **kwargs))

    client.__dict__["_get_topology"] = get


def _guard_topology(topology: Any, shield: Shield, is_async: bool) -> None:
    from pymongo.errors import ServerSelectionTimeoutError

    current = topology.select_servers
    bare = getattr(current, GUARDED, current)
    names = list(inspect.signature(bare).parameters)
    place = names.index("server_selection_timeout")

    def first(args: Any, kwargs: Any) -> tuple[list[Any], Any, float]:
        """The arguments of a selection, the timeout among them by its place, and when the user's timeout ends."""
        given = list(args)
        if len(given) <= place:
            given += [kwargs.pop(name) for name in names[len(given) : place]]
            given.append(kwargs.pop("server_selection_timeout", None))
        timeout = given[place]
        if timeout is None:
            timeout = topology.get_server_selection_timeout()
        return given, kwargs, time.monotonic() + timeout

    def glance(given: list[Any], end: float) -> None:
        given[place] = max(0.0, min(GLANCE, end - time.monotonic()))

    def is_told(error: Exception, end: float) -> bool:
        nobody_there = is_not_ready(error) or is_unresolved(error) or is_unreachable(error)
        return nobody_there or time.monotonic() >= end

    attempt: Any

    if is_async:

        async def select_async(*args: Any, **kwargs: Any) -> Any:
            given, others, end = first(args, kwargs)
            while True:
                glance(given, end)
                try:
                    return await bare(*given, **others)
                except ServerSelectionTimeoutError as error:
                    if is_told(error, end):
                        raise

        attempt = select_async
    else:

        def select(*args: Any, **kwargs: Any) -> Any:
            given, others, end = first(args, kwargs)
            while True:
                glance(given, end)
                try:
                    return bare(*given, **others)
                except ServerSelectionTimeoutError as error:
                    if is_told(error, end):
                        raise

        attempt = select
    functools.update_wrapper(attempt, bare)
    del attempt.__wrapped__
    target = functools.partial(_where, topology)
    protected: Any = shield.protect(attempt, target=target, unavailable=ServerSelectionTimeoutError)
    setattr(protected, GUARDED, bare)
    topology.select_servers = protected
    shield.changed(
        "pymongo: a server selection that every server refuses ends after %g s, and the policy decides; "
        "serverSelectionTimeoutMS counts for all else",
        GLANCE,
    )


def _where(topology: Any, *_: Any, **__: Any) -> Endpoint:
    host, port = min(topology.description.server_descriptions())
    if port is None:
        return Endpoint(scheme="unix", path=host)
    return Endpoint(scheme="mongodb", host=host, port=int(port))


# Saying hello.


def ping(thing: Any) -> Any:
    """Ask a server of this client to `ping`; of an asynchronous client a coroutine comes back.

    A guarded one tries again as its policy says.

    Raises:
        TypeError: it is no client.
    """
    if not hasattr(type(thing), "_get_topology"):
        raise TypeError(f"{type(thing).__name__} is no client of pymongo")
    return thing.admin.command("ping")


def serves(url: str, timeout: float) -> None:
    """Connect to a `mongodb://` URL, log in and ping once, in about `timeout` seconds."""
    import pymongo

    milliseconds = max(1, int(timeout * 1000))
    names = ("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS")
    limits: dict[str, Any] = {**dict.fromkeys(names, milliseconds), "retryReads": False}
    with pymongo.MongoClient[Any](url, **limits) as client:
        client.admin.command("ping")
