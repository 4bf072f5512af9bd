"""Guard a client: the place where it connects becomes resilient, and nothing else of it changes. One file a library.

No client is imported here: what is given proves that its client is imported already, and its top-level package is the
key. Each file has `guard(thing, shield)`, which returns the thing with its connects protected, or None where it is not
a thing that connects; and `ping(thing)`, which connects once, says hello and leaves.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
from types import ModuleType
from typing import Any, Final, TypeVar, get_origin

from .._causes import package
from .._wrapping import name_of, refuse_unfit
from ..breaker import CircuitBreaker, CircuitBreakers
from ..decorators import Several, check, check_targets, retry_on_refused
from ..failover import Order
from ..policy import Policy
from ._shield import Shield, Target

__all__ = ["DRIVERS", "TABLE", "client_of", "driver_for", "guard"]

T = TypeVar("T")

TABLE: Final = {
    "MySQLdb": "mysqldb",
    "aio_pika": "aio_pika",
    "aiohttp": "aiohttp",
    "aiomysql": "aiomysql",
    "asyncmy": "asyncmy",
    "asyncpg": "asyncpg",
    "boto3": "boto3",
    "botocore": "boto3",
    "celery": "celery",
    "elastic_transport": "elasticsearch",
    "elasticsearch": "elasticsearch",
    "grpc": "grpc",
    "httpx": "httpx",
    "kombu": "kombu",
    "nats": "nats",
    "pika": "pika",
    "psycopg": "psycopg",
    "psycopg2": "psycopg2",
    "psycopg_pool": "psycopg_pool",
    "pymemcache": "pymemcache",
    "pymongo": "pymongo",
    "pymysql": "pymysql",
    "redis": "redis",
    "requests": "requests",
    "sqlalchemy": "sqlalchemy",
    "valkey": "redis",
}
"""The table: the top-level package of each client that can be guarded, and the file here that does it."""

DRIVERS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "amqp": (("pika", "pika"), ("aio_pika", "aio_pika"), ("kombu", "kombu")),
    "amqps": (("pika", "pika"), ("aio_pika", "aio_pika"), ("kombu", "kombu")),
    "elasticsearch": (("elasticsearch", "elasticsearch"),),
    "http": (("httpx", "httpx"), ("requests", "requests"), ("aiohttp", "aiohttp")),
    "https": (("httpx", "httpx"), ("requests", "requests"), ("aiohttp", "aiohttp")),
    "mariadb": (("pymysql", "pymysql"), ("MySQLdb", "mysqldb"), ("asyncmy", "asyncmy"), ("aiomysql", "aiomysql")),
    "memcached": (("pymemcache", "pymemcache"),),
    "mongodb": (("pymongo", "pymongo"),),
    "mysql": (("pymysql", "pymysql"), ("MySQLdb", "mysqldb"), ("asyncmy", "asyncmy"), ("aiomysql", "aiomysql")),
    "nats": (("nats", "nats"),),
    "postgresql": (("psycopg", "psycopg"), ("psycopg2", "psycopg2"), ("asyncpg", "asyncpg")),
    "redis": (("redis", "redis"), ("valkey", "redis")),
    "rediss": (("redis", "redis"), ("valkey", "redis")),
    "valkey": (("valkey", "redis"), ("redis", "redis")),
    "valkeys": (("valkey", "redis"), ("redis", "redis")),
}
"""By scheme: the packages that can connect to such a URL, the best first, and the files here that have `serves`."""


REDIRECTED: Final = frozenset(
    {
        "aiomysql",
        "asyncmy",
        "asyncpg",
        "mysqldb",
        "pika",
        "psycopg",
        "psycopg2",
        "pymemcache",
        "pymysql",
        "redis",
        "sqlalchemy",
    }
)
"""The files whose clients take a host and a port, and can be made to go to one of `targets=`."""


def guard(
    thing: T,
    *,
    policy: Policy | None = None,
    breaker: CircuitBreaker | CircuitBreakers | None = None,
    target: Target | None = None,
    targets: Several | None = None,
    order: Order | None = None,
) -> T:
    """Make the connects of a client resilient: refused ones are tried again as the policy says.

    Give it a connect function, a client class or factory, or a client, engine or pool that is there already; the same
    kind of thing comes back. Lazy clients are protected where they really connect. The client's own retries of a
    connect are switched off, so that they do not multiply; what was changed is logged at DEBUG. An object is changed in
    place and returned. A function of no known library is decorated with `retry_on_refused`.

    Args:
        policy: when to try again and when to give up; default `Policy()`.
        breaker: while its circuit is open no connect is made; a call that has to give up raises the client's own
            exception, from `CircuitOpenError`.
        target: what is connected to, as for `retry_on_refused`; default: what the client's own settings say.
        targets, order: several endpoints that serve the same, as for `retry_on_refused`: each connect goes to one of
            them, whatever host and port the client's own settings say. For clients that take a host and a port: the
            drivers of PostgreSQL and MySQL, SQLAlchemy, redis-py, valkey-py, pymemcache and pika. A function of no
            known library is given an `Endpoint` first.

    Raises:
        TypeError: it is not a thing that connects, a setting has the wrong type, or it cannot go to `targets`.
        TargetError: `target` cannot be read.
    """
    policy = Policy() if policy is None else policy
    check("guard", policy, target, breaker, None, finds_target=True)
    several = check_targets("guard", target, targets, order, breaker)
    shield = Shield(policy, breaker, target, several)
    client = client_of(thing)
    if several is not None and client is not None and client.__name__.rpartition(".")[2] not in REDIRECTED:
        raise TypeError(
            f"guard cannot make {name_of(thing)} go to one of targets=, because it takes no host and port when it "
            "connects: give it target=, or write a function that takes the endpoint, and decorate it with "
            "retry_on_refused(targets=...)"
        )
    guarded: Any = None if client is None else _guard_inside(thing, client, shield)
    if guarded is not None:
        return guarded  # type: ignore[no-any-return]
    if not callable(thing):
        raise TypeError(
            f"guard does not know how {type(thing).__name__} connects: give it a connect function, or a client, pool "
            "or engine of a library that the manual's page on guard() lists"
        )
    refuse_unfit("guard", thing, "retried: give guard the function that connects")
    settings: dict[str, Any] = {"policy": policy, "breaker": breaker, "target": target, "targets": several}
    decorated: Any = retry_on_refused(thing, **settings)
    return decorated  # type: ignore[no-any-return]


def _guard_inside(thing: Any, client: ModuleType, shield: Shield) -> Any:
    """Guard what a `functools.partial` calls, or the class of an alias such as `ConnectionPool[Mine]`."""
    if type(thing) is functools.partial:
        inner = _guard_inside(thing.func, client, shield)
        return None if inner is None else functools.partial(inner, *thing.args, **thing.keywords)
    return client.guard(get_origin(thing) or thing, shield)  # an alias's arguments are for type checkers


def client_of(thing: object) -> ModuleType | None:
    """Return the file that knows the library of a thing, or None."""
    for name in _packages(thing):
        if name in TABLE:
            return importlib.import_module(f"{__name__}.{TABLE[name]}")
    return None


def driver_for(scheme: str) -> ModuleType | None:
    """Return the file of the first installed driver that connects to URLs of this scheme, or None."""
    for driver, file in DRIVERS.get(scheme, ()):
        if _is_installed(driver):
            return importlib.import_module(f"{__name__}.{file}")
    return None


def _is_installed(driver: str) -> bool:
    if driver in sys.modules:  # kombu puts an object without a spec there, and `find_spec` would stumble over it
        return sys.modules[driver] is not None
    return importlib.util.find_spec(driver) is not None


def _packages(thing: Any) -> list[str]:
    while isinstance(thing, functools.partial):
        thing = thing.func
    thing = get_origin(thing) or thing
    owner = getattr(thing, "__self__", None)
    if inspect.ismethod(thing) and owner is not None:
        thing = owner
    if inspect.isroutine(thing):
        module = getattr(inspect.unwrap(thing), "__module__", None)
        return [module.partition(".")[0]] if isinstance(module, str) else []
    cls = thing if isinstance(thing, type) else type(thing)
    return [name for base in cls.__mro__ if (name := package(base)) is not None]
