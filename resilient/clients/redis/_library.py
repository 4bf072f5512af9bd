"""What is different in each of the two packages and their two kinds, looked up once."""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import Any, Final

from .._shield import GUARDED

PACKAGES: Final = ("redis", "valkey")


class Library:
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
    def of(thing: Any) -> Library | None:
        """Return the library of a thing: the first module of its classes, or of the function, that is of one."""
        owner = thing.__self__ if inspect.ismethod(thing) else thing
        if inspect.isroutine(owner):
            modules = [owner.__module__ or ""]
        else:
            cls = owner if isinstance(owner, type) else type(owner)
            modules = [base.__module__ for base in cls.__mro__ if GUARDED not in vars(base)]
        for module in modules:
            name = module.partition(".")[0]
            if name in PACKAGES:
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
def library(name: str, is_async: bool) -> Library:
    """Return what is known of "redis" or "valkey"."""
    return Library(name, is_async=is_async)
