"""Clusters: the search for the nodes. A node that is lost is the cluster's own affair: it asks another one."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from ...endpoint import Endpoint
from .._shield import Shield, lookalike, unguarded
from ._library import Library


def cluster_class(cls: Any, library: Library, shield: Shield) -> Any:
    if library.is_async:  # it connects at its first command

        @functools.wraps(cls.__init__)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes a method
            cls.__init__(self, *args, **kwargs)
            guard_cluster(self, library, shield)

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
        guard_cluster(self, library, shield)

    return lookalike(cls, __init__=connected)


def guard_cluster(cluster: Any, library: Library, shield: Shield) -> None:
    """Protect the search for the nodes. A node that is lost is the cluster's own affair: it asks another one."""
    manager = cluster.nodes_manager
    bare = unguarded(type(manager))

    def target(manager: Any, *_: Any, **__: Any) -> Endpoint:
        node = next(iter(manager.startup_nodes.values()))
        return Endpoint(scheme=library.name, host=node.host, port=int(node.port))

    initialize: Any = shield.protect(bare.initialize, target=target, unavailable=library.error)
    manager.__class__ = lookalike(bare, initialize=initialize, __slots__=())  # its attributes may be read-only
