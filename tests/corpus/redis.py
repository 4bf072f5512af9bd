"""Redis and Valkey: what the tests of redis-py do not know already, other clients, and what stands on them."""

from __future__ import annotations

from typing import Any

from fake_servers import redis_server

from .entry import Answer, Book, Place

# Nobody can say what came of the commands before the one that failed.
PIPELINES: dict[str, str | None] = {"redis pipeline": "skip", "redis asyncio pipeline": "skip", "valkey pipeline": None}

# What sentinels answer is lost, or stands in one text; and none of them ever loads a data set.
SENTINELS: dict[str, str | None] = dict.fromkeys(
    (
        "redis Sentinel",
        "redis Sentinel master_for",
        "redis Sentinel slave_for",
        "redis asyncio Sentinel",
        "redis asyncio Sentinel master_for",
        "valkey Sentinel",
        "valkey asyncio Sentinel",
        "coredis Sentinel",
    )
)
LOST: dict[str, str | None] = {"redis Sentinel slave_for": None}

book = Book(
    "redis",
    answers=[
        Answer("loading", redis_server("-LOADING Redis is loading the dataset in memory"), "not_ready", SENTINELS),
        Answer("too many clients", redis_server("-ERR max number of clients reached"), "not_ready", SENTINELS),
        Answer("the cluster is down", redis_server("-CLUSTERDOWN The cluster is down"), "not_ready", PIPELINES),
        Answer(
            "the master is down",
            redis_server("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
            "not_ready",
            PIPELINES,
        ),
        Answer(
            "wrong password",
            redis_server("-WRONGPASS invalid username-password pair or user is disabled."),
            "hopeless",
            LOST,
        ),
        Answer("no password", redis_server("-NOAUTH Authentication required."), "hopeless", LOST),
        Answer("a quoted refusal", redis_server("-ERR Error 111 connecting to db:6379. Connection refused."), None),
    ],
)


def _url(place: Place, scheme: str = "redis") -> str:
    return f"{scheme}://{place.netloc}/0"


def _sentinels(place: Place) -> dict[str, Any]:
    return {"sentinels": [(place.host, place.port)], "sentinel_kwargs": _manners(place), **_manners(place)}


def _manners(place: Place) -> dict[str, Any]:
    return {"socket_timeout": place.timeout, "socket_connect_timeout": place.timeout}


# redis-py. `from_url` and `connection_pool=` mean no retry in versions 5 to 8.


@book.entry("redis from_url")
def _(place: Place) -> None:
    import redis

    with redis.Redis.from_url(_url(place), **_manners(place)) as client:
        client.ping()


@book.entry("redis from_url protocol 3")
def _(place: Place) -> None:
    import redis

    with redis.Redis.from_url(_url(place), protocol=3, **_manners(place)) as client:
        client.ping()


@book.entry("redis ConnectionPool")
def _(place: Place) -> None:
    import redis

    pool = redis.ConnectionPool(host=place.host, port=place.port, **_manners(place))
    try:
        redis.Redis(connection_pool=pool).get("key")
    finally:
        pool.disconnect()


@book.entry("redis BlockingConnectionPool")
def _(place: Place) -> None:
    import redis

    pool = redis.BlockingConnectionPool(host=place.host, port=place.port, timeout=place.timeout, **_manners(place))
    try:
        redis.Redis(connection_pool=pool).get("key")
    finally:
        pool.disconnect()


@book.entry("redis pipeline")
def _(place: Place) -> None:
    import redis

    with redis.Redis.from_url(_url(place), **_manners(place)) as client, client.pipeline(transaction=False) as batch:
        batch.get("key")
        batch.execute()


@book.entry("redis pubsub")
def _(place: Place) -> None:
    import redis

    with redis.Redis.from_url(_url(place), **_manners(place)) as client, client.pubsub() as subscriber:
        subscriber.subscribe("news")
        if subscriber.get_message(timeout=place.timeout) is None:
            raise TimeoutError("no message")


@book.entry("redis RedisCluster")
def _(place: Place) -> None:
    import redis

    redis.RedisCluster(host=place.host, port=place.port, cluster_error_retry_attempts=0, **_manners(place)).close()


@book.entry("redis Sentinel")
def _(place: Place) -> None:
    from redis.sentinel import Sentinel

    Sentinel(**_sentinels(place)).discover_master("things")


@book.entry("redis Sentinel master_for")
def _(place: Place) -> None:
    from redis.sentinel import Sentinel

    Sentinel(**_sentinels(place)).master_for("things").ping()


@book.entry("redis Sentinel slave_for")
def _(place: Place) -> None:
    from redis.sentinel import Sentinel

    Sentinel(**_sentinels(place)).slave_for("things").ping()


@book.entry("redis asyncio from_url")
async def _(place: Place) -> None:
    import redis.asyncio

    async with redis.asyncio.from_url(_url(place), **_manners(place)) as client:
        await client.ping()


@book.entry("redis asyncio BlockingConnectionPool")
async def _(place: Place) -> None:
    import redis.asyncio

    pool = redis.asyncio.BlockingConnectionPool(
        host=place.host, port=place.port, timeout=place.timeout, **_manners(place)
    )
    try:
        await redis.asyncio.Redis(connection_pool=pool).get("key")
    finally:
        await pool.disconnect()


@book.entry("redis asyncio pipeline")
async def _(place: Place) -> None:
    import redis.asyncio

    async with redis.asyncio.from_url(_url(place), **_manners(place)) as client, client.pipeline(False) as batch:
        batch.get("key")
        await batch.execute()


@book.entry("redis asyncio pubsub")
async def _(place: Place) -> None:
    import redis.asyncio

    async with redis.asyncio.from_url(_url(place), **_manners(place)) as client, client.pubsub() as subscriber:
        await subscriber.subscribe("news")
        if await subscriber.get_message(timeout=place.timeout) is None:
            raise TimeoutError("no message")


@book.entry("redis asyncio RedisCluster")
async def _(place: Place) -> None:
    from redis.asyncio import RedisCluster
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    cluster = RedisCluster(
        host=place.host,
        port=place.port,
        cluster_error_retry_attempts=0,
        retry=Retry(NoBackoff(), 0),
        **_manners(place),
    )
    async with cluster:
        pass


@book.entry("redis asyncio Sentinel")
async def _(place: Place) -> None:
    from redis.asyncio.sentinel import Sentinel

    await Sentinel(**_sentinels(place)).discover_master("things")


@book.entry("redis asyncio Sentinel master_for")
async def _(place: Place) -> None:
    from redis.asyncio.sentinel import Sentinel

    async with Sentinel(**_sentinels(place)).master_for("things") as client:
        await client.ping()


# valkey-py, its fork.


@book.entry("valkey from_url")
def _(place: Place) -> None:
    import valkey

    with valkey.Valkey.from_url(_url(place, "valkey"), **_manners(place)) as client:
        client.ping()


@book.entry("valkey BlockingConnectionPool")
def _(place: Place) -> None:
    import valkey

    pool = valkey.BlockingConnectionPool(host=place.host, port=place.port, timeout=place.timeout, **_manners(place))
    try:
        valkey.Valkey(connection_pool=pool).get("key")
    finally:
        pool.disconnect()


@book.entry("valkey pipeline")
def _(place: Place) -> None:
    import valkey

    with valkey.Valkey.from_url(_url(place, "valkey"), **_manners(place)) as client, client.pipeline(False) as batch:
        batch.get("key")
        batch.execute()


@book.entry("valkey ValkeyCluster")
def _(place: Place) -> None:
    import valkey

    valkey.ValkeyCluster(host=place.host, port=place.port, cluster_error_retry_attempts=0, **_manners(place)).close()


@book.entry("valkey Sentinel")
def _(place: Place) -> None:
    from valkey.sentinel import Sentinel

    Sentinel(**_sentinels(place)).discover_master("things")


@book.entry("valkey asyncio from_url")
async def _(place: Place) -> None:
    import valkey.asyncio

    async with valkey.asyncio.from_url(_url(place, "valkey"), **_manners(place)) as client:
        await client.ping()


@book.entry("valkey asyncio ValkeyCluster")
async def _(place: Place) -> None:
    from valkey.asyncio import ValkeyCluster

    async with ValkeyCluster(
        host=place.host,
        port=place.port,
        cluster_error_retry_attempts=0,
        connection_error_retry_attempts=0,
        **_manners(place),
    ):
        pass


@book.entry("valkey asyncio Sentinel")
async def _(place: Place) -> None:
    from valkey.asyncio.sentinel import Sentinel

    await Sentinel(**_sentinels(place)).discover_master("things")


# coredis, on anyio.


def _coredis(place: Place) -> dict[str, Any]:
    from coredis.retry import NoRetryPolicy

    return {
        "host": place.host,
        "port": place.port,
        "connect_timeout": place.timeout,
        "stream_timeout": place.timeout,
        "retry_policy": NoRetryPolicy(),
    }


async def _coredis_client(place: Place) -> None:
    import coredis

    async with coredis.Redis(**_coredis(place)) as client:
        await client.ping()


async def _coredis_cluster(place: Place) -> None:
    import coredis

    async with coredis.RedisCluster(**_coredis(place)) as client:
        await client.ping()


async def _coredis_sentinel(place: Place) -> None:
    from coredis.sentinel import Sentinel

    manners = {"connect_timeout": place.timeout, "stream_timeout": place.timeout}
    async with Sentinel(sentinels=[(place.host, place.port)], sentinel_kwargs=manners, **manners) as sentinel:
        await sentinel.discover_primary("things")


@book.entry("coredis Redis")
async def _(place: Place) -> None:
    await _coredis_client(place)


@book.entry("coredis Redis trio")
def _(place: Place) -> None:
    import trio

    trio.run(_coredis_client, place)


@book.entry("coredis RedisCluster")
async def _(place: Place) -> None:
    await _coredis_cluster(place)


@book.entry("coredis Sentinel")
async def _(place: Place) -> None:
    await _coredis_sentinel(place)


# GLIDE, whose core is of Rust.


def _glide(place: Place) -> dict[str, Any]:
    from glide import AdvancedGlideClientConfiguration, BackoffStrategy, Logger, LogLevel, NodeAddress

    Logger.set_logger_config(LogLevel.OFF)  # it writes to the standard output
    return {
        "addresses": [NodeAddress(place.host, int(place.port))],
        "request_timeout": int(place.timeout * 1000),
        "reconnect_strategy": BackoffStrategy(num_of_retries=0, factor=1, exponent_base=1),
        "advanced_config": AdvancedGlideClientConfiguration(connection_timeout=int(place.timeout * 1000)),
    }


@book.entry("valkey-glide GlideClient")
async def _(place: Place) -> None:
    from glide import GlideClient, GlideClientConfiguration

    client = await GlideClient.create(GlideClientConfiguration(**_glide(place)))
    try:
        await client.ping()
    finally:
        await client.close()


@book.entry("valkey-glide GlideClusterClient")
async def _(place: Place) -> None:
    from glide import AdvancedGlideClusterClientConfiguration, GlideClusterClient, GlideClusterClientConfiguration

    settings = _glide(place)
    settings["advanced_config"] = AdvancedGlideClusterClientConfiguration(connection_timeout=int(place.timeout * 1000))
    client = await GlideClusterClient.create(GlideClusterClientConfiguration(**settings))
    try:
        await client.ping()
    finally:
        await client.close()


@book.entry("valkey-glide-sync GlideClient")
def _(place: Place) -> None:
    from glide_sync import (
        AdvancedGlideClientConfiguration,
        BackoffStrategy,
        GlideClient,
        GlideClientConfiguration,
        Logger,
        LogLevel,
        NodeAddress,
    )

    Logger.set_logger_config(LogLevel.OFF)
    client = GlideClient.create(
        GlideClientConfiguration(
            [NodeAddress(place.host, int(place.port))],
            request_timeout=int(place.timeout * 1000),
            reconnect_strategy=BackoffStrategy(num_of_retries=0, factor=1, exponent_base=1),
            advanced_config=AdvancedGlideClientConfiguration(connection_timeout=int(place.timeout * 1000)),
        )
    )
    try:
        client.ping()
    finally:
        client.close()


# What stands on redis-py.


def _django_cache(backend: str, place: Place, options: dict[str, Any]) -> Any:
    from django.conf import settings

    if not settings.configured:
        settings.configure()
    from django.utils.module_loading import import_string

    return import_string(backend)(_url(place), {"OPTIONS": options})


@book.entry("Django RedisCache")
def _(place: Place) -> None:
    cache = _django_cache("django.core.cache.backends.redis.RedisCache", place, _manners(place))
    cache.get("key")


@book.entry("django-redis RedisCache")
def _(place: Place) -> None:
    options = {"SOCKET_CONNECT_TIMEOUT": place.timeout, "SOCKET_TIMEOUT": place.timeout}
    cache = _django_cache("django_redis.cache.RedisCache", place, options)
    cache.get("key")


@book.entry("arq create_pool")
async def _(place: Place) -> None:
    from arq.connections import RedisSettings, create_pool

    settings = RedisSettings(host=place.host, port=int(place.port), conn_timeout=1, conn_retries=0)
    pool = await create_pool(settings)
    await pool.aclose()


@book.entry("rq Queue")
def _(place: Place) -> None:
    import redis
    import rq

    with redis.Redis.from_url(_url(place), **_manners(place)) as client:
        rq.Queue(connection=client).enqueue("print", "hello")


@book.entry("huey RedisHuey")
def _(place: Place) -> None:
    from huey import RedisHuey

    huey = RedisHuey("things", host=place.host, port=place.port, read_timeout=1, **_manners(place))
    huey.storage.queue_size()


@book.entry("dramatiq RedisBroker")
def _(place: Place) -> None:
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(host=place.host, port=place.port, **_manners(place))
    broker.declare_queue("default")
    try:
        broker.enqueue(
            dramatiq.Message(
                queue_name="default", actor_name="print", args=(), kwargs={}, options={"redis_message_id": "1"}
            )
        )
    finally:
        broker.close()
