"""Several endpoints that serve the same: which they are, and in which order they are tried.

Dials nobody and knows no circuit. Reads one text that names several hosts, as database and broker clients do.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Container, Iterable
from typing import Any, Final, Literal, NoReturn, TypeAlias, get_args

from .endpoint import WEB, Endpoint, read_words, variable
from .errors import TargetError

Order: TypeAlias = Literal["sticky", "in_order", "shuffled"]
"""Which endpoint a call tries first: the one that worked last; the first that was given; any, drawn at each call."""

_ORDERS: Final = get_args(Order)

_URL: Final = r"(?s)\s*([A-Za-z][A-Za-z0-9.+-]*://)([^/?#]*)(.*)"
_NEXT_URL: Final = r"[,;]\s*(?=[A-Za-z][A-Za-z0-9.+-]{0,31}://)"
_WORDS: Final = ("host", "hostaddr", "port")


class Targets:
    """Several endpoints that serve the same, and the order in which a call tries them.

        targets = Targets("db-a:5432", "db-b:5432")

        @retry_on_refused(targets=targets)
        def connect(endpoint): ...

    Functions that are given the same object stay with the same endpoint.

    Args:
        texts: endpoints, each "db-a:5432", a URL or an `Endpoint`; or texts that name several: "a:9092,b:9092",
            "postgresql://user:password@a:5432,b:5432/app", "mongodb://a,b", "host=a,b port=5432",
            "nats://a:4222,nats://b:4222"; or `env:NAME`, for an environment variable that holds one of these.
        order: where a call begins. "sticky": with the endpoint that worked last, the first one at the beginning.
            "in_order": with the first one. "shuffled": with any, drawn at each call. From there the others follow in
            the order in which they were given, or shuffled.

    Raises:
        TargetError: a text cannot be read; none is given; one is given twice; their schemes differ.
        TypeError: something is neither a text nor an `Endpoint`.
        ValueError: there is no such order.
    """

    __slots__ = ("current_place", "endpoints", "order", "preference")

    def __init__(self, *texts: str | Endpoint, order: Order = "sticky") -> None:
        if order not in _ORDERS:
            raise ValueError(f"order must be one of {', '.join(map(repr, _ORDERS))}, not {order!r}")
        self.order: Order = order
        self.endpoints: tuple[Endpoint, ...] = together([it for text in texts for it in read_several(text)])
        self.current_place: int = 0
        self.preference: tuple[int] | None = None  # where calls were told to begin; another object each time

    @classmethod
    def of(cls, given: object, order: Order | None = None) -> Targets:
        """Return what a `targets=` was given as `Targets`, which are returned as they are.

        Raises:
            TargetError, TypeError, ValueError: as for `Targets`.
        """
        if isinstance(given, Targets):
            if order is not None:
                raise TypeError("order= is a setting of Targets, and they are given: write Targets(..., order=...)")
            return given
        if isinstance(given, (str, Endpoint)):
            given = (given,)
        if callable(given) or not isinstance(given, Iterable):
            raise TypeError(f"targets must be endpoints, as in targets=('a:5432', 'b:5432'), not {_type_of(given)}")
        return cls(*given, order="sticky" if order is None else order)

    @property
    def current(self) -> Endpoint:
        """The endpoint that worked last, and where a "sticky" call begins; else the first one."""
        return self.endpoints[self.current_place]

    def prefer(self, target: str | Endpoint) -> None:
        """Let the calls that follow begin with this endpoint: after a failover, back to the primary.

        Raises:
            TargetError: it is none of these endpoints, or cannot be read.
            ValueError: the order is not "sticky", so that nothing would change.
        """
        if self.order != "sticky":
            raise ValueError(f'the order is "{self.order}", and only "sticky" calls begin where they are told to')
        endpoint = Endpoint.parse(target)
        if endpoint not in self.endpoints:
            raise TargetError("the target is none of these Targets; name one of those that they were made with")
        self.preference = preference = (self.endpoints.index(endpoint),)
        (self.current_place,) = preference

    def places(self) -> list[int]:
        """Return the places of all endpoints, in the order in which a round tries them."""
        places = list(range(len(self.endpoints)))
        if self.order == "shuffled":
            random.shuffle(places)
        else:
            places.insert(0, places.pop(self.current_place))
        return places

    def worked(self, endpoint: Endpoint, preference: tuple[int] | None, refused: Container[Endpoint]) -> None:
        """Stay with this endpoint, if the order is "sticky" and nobody has said otherwise.

        Args:
            endpoint: the one that worked, for a call that had come past the current one.
            preference: the one that the call found when it began.
            refused: endpoints that have failed during the call. One that is preferred is not left before it has failed:
                its circuit turns others away while one call finds out whether it is back.
        """
        if self.order != "sticky" or self.preference is not preference:
            return
        if preference == (self.current_place,) and self.current not in refused:
            return
        self.current_place = self.endpoints.index(endpoint)
        if self.preference is not None and self.preference is not preference:  # said in this moment, by another thread
            (self.current_place,) = self.preference

    def __repr__(self) -> str:
        return f"Targets({', '.join(repr(str(it)) for it in self.endpoints)}, order={self.order!r})"

    def __str__(self) -> str:
        return ", ".join(map(str, self.endpoints))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _again, (self.endpoints, self.order)


def _again(endpoints: tuple[Endpoint, ...], order: Order) -> Targets:
    return Targets(*endpoints, order=order)


def read_several(text: str | Endpoint) -> list[Endpoint]:
    """Read a text that names one endpoint or several.

    Raises:
        TargetError: it cannot be read; says why, and repeats nothing but the scheme and a variable's name.
        TypeError: it is not a text at all.
    """
    return [endpoint for endpoint, _ in split(text)]


def split(text: str | Endpoint) -> list[tuple[Endpoint, str]]:
    """Read a text that names one endpoint or several; return each with a text of its own, its password included.

    Raises:
        TargetError: it cannot be read; says why, and repeats nothing but the scheme and a variable's name.
        TypeError: it is not a text at all.
    """
    if isinstance(text, Endpoint):
        return [(text, str(text))]
    if not isinstance(text, str):
        raise TypeError(f"a target must be a str or an Endpoint, not {_type_of(text)}")
    name, value = variable(text)
    try:
        texts = _split(value)
        if name is not None and any(variable(each)[0] is not None for each in texts):
            _refuse('names another environment variable; "env:" is followed once')
        return [(Endpoint.parse(each), each) for each in texts]
    except TargetError as error:
        if name is None:
            raise
        problem = str(error)
    raise TargetError(f"environment variable {name}: {problem}") from None


def _split(text: str) -> list[str]:
    if not any(mark in text for mark in (",", ";", "%2C", "%2c")):
        return [text]  # without a regular expression, because most texts name one
    if re.match(_URL, text) is not None:
        return [each for url in re.split(_NEXT_URL, text) for each in _split_url(url)]
    if "=" in text:
        return _split_words(text)
    parts = _parts(text)
    return [part.strip(" ") for part in parts] if len(parts) > 1 else [text]


def _split_url(url: str) -> list[str]:
    """Read "scheme://user:password@a:1,b:2/path?query"."""
    found = re.match(_URL, url)
    assert found is not None  # its beginning was looked for
    scheme, authority, tail = found.groups()
    user, at, named = authority.rpartition("@")
    hosts = _parts(named)
    path, mark, query = tail.partition("?")
    if len(hosts) > 1:
        return [f"{scheme}{user}{at}{host}{tail}" for host in hosts]
    if scheme[:-3].lower() in WEB:
        return [url]  # what its query says is said to the server
    fields = [part.partition("=") for part in query.split("&") if part]
    several = {key: _parts(value.replace("%2C", ",").replace("%2c", ",")) for key, _, value in fields if key in _WORDS}
    count = max(map(len, several.values()), default=1)
    if count == 1:
        return [url]
    others = [f"{key}={value}" for key, _, value in fields if key not in _WORDS]
    return [
        f"{scheme}{authority}{path}{mark}{'&'.join([*others, *(f'{key}={value}' for key, value in each.items())])}"
        for each in _each(several, count)
    ]


def _split_words(text: str) -> list[str]:
    """Read "host=a,b port=1,2": a port that is given once is that of all hosts (PostgreSQL manual, 32.1.1.3)."""
    words = read_words(text)
    several = {key: _parts(words[key]) for key in _WORDS if words.get(key)}
    count = max(map(len, several.values()), default=1)
    if count == 1:
        return [text]
    return [
        " ".join(f"{key}='{_quoted(value)}'" for key, value in (words | each).items()) for each in _each(several, count)
    ]


def _each(several: dict[str, list[str]], count: int) -> list[dict[str, str]]:
    """Give each host its own port, and every one the port that is given once."""
    for key, values in several.items():
        if len(values) not in (1, count) or (len(values) == 1 and key != "port"):
            _refuse(f'names {count} hosts, and "{key}" has {len(values)}; give one for each host')
    return [{key: values[place % len(values)] for key, values in several.items()} for place in range(count)]


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if len(parts) > 1 and not all(part.strip() for part in parts):
        _refuse("names several hosts, and one of them is empty; remove the comma, or name the host")
    return parts


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def together(endpoints: list[Endpoint]) -> tuple[Endpoint, ...]:
    """Return endpoints that serve the same.

    Raises:
        TargetError: there is none; one is given twice; their schemes differ.
    """
    if not endpoints:
        raise TargetError("targets are empty; name at least one endpoint, and better two")
    places: dict[Endpoint, int] = {}
    for place, endpoint in enumerate(endpoints, 1):
        if endpoint in places:
            raise TargetError(
                f"targets {places[endpoint]} and {place} are the same endpoint; each is given once (a name that "
                "resolves to several addresses is one endpoint: its client dials them)"
            )
        places[endpoint] = place
    schemes = sorted({endpoint.scheme for endpoint in endpoints})
    if len(schemes) > 1:
        raise TargetError(
            f"targets have different schemes ({', '.join(schemes)}); endpoints that serve the same have one: "
            "write all of them alike"
        )
    return tuple(endpoints)


def _refuse(problem: str) -> NoReturn:
    raise TargetError(f"the target {problem}")


def _type_of(value: object) -> str:
    return type(value).__name__
