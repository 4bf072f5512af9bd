"""elasticsearch, plain and asynchronous: the transport, which chooses a node for each attempt.

The transport's own retries are off: they would multiply the connects, and send again what may have been executed. What
is tried again is a request whose connect was refused, and it goes to the next node that is not known to be dead.
Read and run: elasticsearch 9.5 on elastic-transport 9.4; read: 8.0.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from ..endpoint import Endpoint
from ._shield import GUARDED, Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping", "serves"]

SCHEMES: Final = ("elasticsearch", "elasticsearchs")


def guard(thing: Any, shield: Shield) -> Any:
    """Protect an `Elasticsearch`, `AsyncElasticsearch` or `Transport`, ready or as a class."""
    import elastic_transport

    transports = (elastic_transport.Transport, elastic_transport.AsyncTransport)
    if isinstance(thing, type):
        if issubclass(thing, transports) or hasattr(thing, "perform_request"):
            return _class(thing, shield)
        return None
    if isinstance(thing, transports):
        _guard_transport(thing, shield)
        return thing
    transport = getattr(thing, "transport", None)
    if not isinstance(transport, transports):
        return None
    _guard_transport(transport, shield)
    return thing


def _class(cls: Any, shield: Shield) -> Any:
    """Return a subclass whose objects are guarded, and that looks like its base."""
    bare = unguarded(cls)

    @functools.wraps(bare.__init__)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes a method
        bare.__init__(self, *args, **kwargs)
        transport = getattr(self, "transport", self)
        if not hasattr(transport.perform_request, GUARDED):  # `options()` hands on the transport that it has
            _guard_transport(transport, shield)

    return lookalike(bare, __init__=__init__)


def _guard_transport(transport: Any, shield: Shield) -> None:
    import elastic_transport

    current = transport.perform_request
    perform = getattr(current, GUARDED, current)
    attempt: Any

    # The client hands on its own `max_retries` with each request, as does `options(max_retries=...)`.
    if isinstance(transport, elastic_transport.AsyncTransport):

        @functools.wraps(perform)
        async def attempt_async(*args: Any, **kwargs: Any) -> Any:
            return await perform(*args, **{**kwargs, "max_retries": 0})

        attempt = attempt_async
    else:

        @functools.wraps(perform)
        def attempt_sync(*args: Any, **kwargs: Any) -> Any:
            return perform(*args, **{**kwargs, "max_retries": 0})

        attempt = attempt_sync

    def target(*_: Any, **__: Any) -> Endpoint:
        node = transport.node_pool.all()[0]
        scheme = "https" if node.scheme == "https" else "elasticsearch"
        return Endpoint(scheme=scheme, host=node.host, port=node.port)

    if transport.max_retries:
        shield.changed(
            "elasticsearch: the transport's own %d retries are off: a refused connect is tried again as the policy "
            "says, a request that was sent is not sent again",
            transport.max_retries,
        )
    protected: Any = shield.protect(attempt, target=target, unavailable=elastic_transport.ConnectionError)
    setattr(protected, GUARDED, perform)
    transport.perform_request = protected


# Saying hello.


def ping(thing: Any) -> Any:
    """Ask a node who it is, once; of an asynchronous client a coroutine comes back.

    Raises:
        TypeError: it is no client.
    """
    transport = getattr(thing, "transport", thing)
    perform = getattr(transport, "perform_request", None)
    if perform is None or not hasattr(transport, "node_pool"):
        raise TypeError(f"{type(thing).__name__} is no client of elasticsearch")
    headers = {**(getattr(thing, "_headers", None) or {}), "accept": "application/json"}
    return _checked(getattr(perform, GUARDED, perform)("GET", "/", headers=headers, max_retries=0))


def _checked(answer: Any) -> Any:
    import inspect

    if inspect.isawaitable(answer):
        return _checked_async(answer)
    _check(answer)
    return None


async def _checked_async(answer: Any) -> None:
    _check(await answer)


def _check(answer: Any) -> None:
    import elastic_transport
    import elasticsearch

    meta = answer.meta
    if meta.status in (401, 403, 503):
        error = elasticsearch.exceptions.HTTP_EXCEPTIONS.get(meta.status, elasticsearch.ApiError)
        raise error(f"status {meta.status}", meta=meta, body=None)
    if not 200 <= meta.status < 300:
        raise elastic_transport.TransportError(f"status {meta.status}")


def serves(url: str, timeout: float) -> None:
    """Ask who is there at an `elasticsearch://` URL, once, in about `timeout` seconds."""
    import elasticsearch

    scheme, colon, rest = url.partition(":")
    scheme = {"elasticsearch": "http", "elasticsearchs": "https"}.get(scheme.lower(), scheme)
    endpoint = Endpoint.parse(url)
    authority = rest.removeprefix("//").partition("/")[0]
    if not authority.rpartition("@")[2].endswith(f":{endpoint.port}"):
        authority += f":{endpoint.port}"
    with elasticsearch.Elasticsearch(f"{scheme}{colon}//{authority}", request_timeout=timeout, max_retries=0) as client:
        ping(client)
