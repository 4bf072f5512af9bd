"""One entry point of a client: a place to connect to, and how.

Needs no pytest: it runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_servers import Handler

from resilient import find_refusal, is_hopeless, is_not_ready, is_refused, is_unreachable, is_unresolved

FILES = (
    "stdlib",
    "known",
    "amqp",
    "postgresql",
    "mysql",
    "databases",
    "mongo",
    "redis",
    "memcached",
    "search",
    "http",
    "kafka",
    "held_out_http",
    "held_out_web",
    "held_out_data",
    "held_out_other",
    "held_out_wrapped",
    "messaging",
    "rpc",
    "cloud",
    "remote",
)
"""The files of the corpus, in the order of the manual's table."""


NO_IPV6: dict[str, str | None] = {"::1": "any"}
"""It cannot dial such an address."""

ONE_ADDRESS: dict[str, str | None] = {"half refused": "refused"}
"""It dials the first address of a name only, and that one refuses; or it says so although the other answered."""

ONLY_WORDS: dict[str, str | None] = {"127.0.0.1": "any", "::1": "any", "localhost": "any"}
"""What is left of the refusal are words in an error of no class of its own; or nothing, and nothing marks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to connect to, and as whom.

    Attributes:
        host, port: of TCP. PostgreSQL's clients take several, parted by commas.
        folder: of a Unix socket, instead of `host`; its name is the one PostgreSQL gives it.
        timeout: seconds, of the connect and of each answer. libpq takes whole ones, from 2.
    """

    host: str = "127.0.0.1"
    port: int | str = 0
    folder: str | None = None
    user: str = "someone"
    password: str = "pass"
    database: str = "things"
    number: int = 0
    timeout: float = 2.0
    sslmode: str | None = None

    @property
    def path(self) -> str | None:
        return None if self.folder is None else str(Path(self.folder) / f".s.PGSQL.{self.port}")

    @property
    def netloc(self) -> str:
        """Host and port as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def seconds(self) -> int:
        """The timeout, for a client that counts whole seconds."""
        return max(1, round(self.timeout))


@dataclass(frozen=True, slots=True)
class Client:
    """A client: `connect` is a function or a coroutine function of a `Place`.

    Attributes:
        but: cases in which its error must be of another kind than everybody's: "any" where the client cannot do it,
            or says nothing that could be read.
    """

    name: str
    protocol: str
    connect: Callable[[Place], Any]
    but: dict[str, str | None] = field(default_factory=dict, hash=False, compare=False)

    def __str__(self) -> str:
        return self.name

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.connect)

    @property
    def libpq(self) -> bool:
        """Whether it passes on the text of PostgreSQL's C library."""
        return self.protocol == "postgresql" and "asyncpg" not in self.name

    @property
    def library(self) -> str:
        """The distribution that it comes from: the first word of its name."""
        return self.name.split()[0]

    def error(self, place: Place) -> Exception:
        """Connect and return the error that comes of it."""
        try:
            result = self.connect(place)
            if self.is_async:
                asyncio.run(result)
        except Exception as error:
            return error
        raise AssertionError(f"{self} succeeded")


@dataclass(frozen=True, slots=True)
class Answer:
    """A server that says one thing, and what that comes to.

    Attributes:
        name: as in "wrong password".
        handler: of one connection.
        kind: what the error must be; None: of no kind.
        but: where it is another for some clients: by entry point or library; "any" where nothing can be promised but
            that it is not refused; "skip" where that client cannot meet it.
    """

    name: str
    handler: Handler
    kind: str | None
    but: dict[str, str | None] = field(default_factory=dict)

    def expected(self, client: Client) -> str | None:
        """What this client's error must be."""
        return self.but.get(client.name, self.but.get(client.library, self.kind))


@dataclass(slots=True)
class Book:
    """The entry points of one field, and what its servers may say.

    Attributes:
        protocol: which servers they speak to.
        held_out: the rules were written without a look at these.
    """

    protocol: str
    held_out: bool = False
    entries: list[Client] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def entry(self, name: str, **but: str | None) -> Callable[[Callable[[Place], Any]], Callable[[Place], Any]]:
        """Enter a function under a name that begins with its library's: `@book.entry("pika BlockingConnection")`.

        `but` are cases, as in `**{"::1": "any"}`.
        """

        def enter(function: Callable[[Place], Any]) -> Callable[[Place], Any]:
            self.entries.append(Client(name, self.protocol, function, but))
            return function

        return enter

    def libraries(self) -> dict[str, list[Client]]:
        """The entry points by library."""
        found: dict[str, list[Client]] = {}
        for client in self.entries:
            found.setdefault(client.library, []).append(client)
        return found


def books(file: str) -> list[Book]:
    """The books of one file: its `BOOKS`, or its one `book`."""
    module = importlib.import_module(f"corpus.{file}")
    return list(getattr(module, "BOOKS", None) or [module.book])


def kind_of(error: BaseException) -> str | None:
    """Return the one kind that the public predicates give this error, or None; fails where they disagree."""
    refusal = find_refusal(error)
    held = {
        "refused": is_refused(error),
        "not_ready": is_not_ready(error) and not is_refused(error),
        "unresolved": is_unresolved(error),
        "unreachable": is_unreachable(error),
        "hopeless": is_hopeless(error),
    }
    kinds = [kind for kind, holds in held.items() if holds]
    assert len(kinds) <= 1, f"{kinds} at once: {error!r}"
    assert not is_refused(error) or is_not_ready(error), f"refused, and yet ready: {error!r}"
    kind = kinds[0] if kinds else None
    assert (refusal.kind if refusal else None) == (kind if is_not_ready(error) else None), repr(error)
    return kind
