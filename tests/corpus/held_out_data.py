"""Clients of databases, and layers over them, that nobody looked at while the rules were written."""

from __future__ import annotations

from typing import Any

from .entry import Book, Place
from .held_out import host_in_url, in_the_reactor, in_time, ipv4

_data = Book("databases", held_out=True)
_redis = Book("redis", held_out=True)
_mongo = Book("mongodb", held_out=True)

BOOKS = (_data, _redis, _mongo)


@_redis.entry("txredisapi Connection")
def _txredisapi(place: Place) -> None:
    import txredisapi

    def connect() -> Any:
        return txredisapi.Connection(
            place.host, int(place.port), reconnect=False, connectTimeout=place.seconds, replyTimeout=place.seconds
        )

    in_the_reactor(in_the_reactor(connect).ping)


@_data.entry("pymilvus MilvusClient")
def _milvus(place: Place) -> None:
    from pymilvus import MilvusClient

    MilvusClient(uri=f"http://{ipv4(place)}:{place.port}", timeout=place.timeout).close()


@_data.entry("pymilvus AsyncMilvusClient")
async def _milvus_async(place: Place) -> None:
    from pymilvus import AsyncMilvusClient

    client = AsyncMilvusClient(uri=f"http://{ipv4(place)}:{place.port}", timeout=place.timeout)
    await client.list_collections(timeout=place.timeout)


@_data.entry("hazelcast-python-client HazelcastClient")
def _hazelcast(place: Place) -> None:
    import hazelcast

    options = {"cluster_connect_timeout": place.timeout, "connection_timeout": place.timeout}
    in_time(place, lambda: hazelcast.HazelcastClient(cluster_members=[place.netloc], **options).shutdown())


@_data.entry("aerospike client")
def _aerospike(place: Place) -> None:
    import aerospike

    aerospike.client(
        {"hosts": [(place.host, int(place.port))], "policies": {"login_timeout_ms": 1000}, "connect_timeout": 1000}
    ).connect().close()


@_data.entry("rethinkdb connect")
def _rethinkdb(place: Place) -> None:
    from rethinkdb import RethinkDB

    RethinkDB().connect(place.host, int(place.port), timeout=place.seconds).close()


@_data.entry("PyHive connect")
def _pyhive(place: Place) -> None:
    from pyhive import hive
    from thrift.transport import TSocket, TTransport

    socket = TSocket.TSocket(place.host, int(place.port))
    socket.setTimeout(place.timeout * 1000)
    hive.connect(thrift_transport=TTransport.TBufferedTransport(socket)).close()


@_data.entry("impyla connect")
def _impyla(place: Place) -> None:
    from impala.dbapi import connect

    connect(place.host, int(place.port), timeout=place.timeout, auth_mechanism="NOSASL", retries=1).cursor()


@_data.entry("pydgraph DgraphClient")
def _dgraph(place: Place) -> None:
    import pydgraph

    stub = pydgraph.DgraphClientStub(place.netloc)
    try:
        pydgraph.DgraphClient(stub).txn(read_only=True).query("{ q(func: uid(1)) { uid } }", timeout=place.timeout)
    finally:
        stub.close()


@_data.entry("ydb Driver")
def _ydb(place: Place) -> None:
    import ydb

    with ydb.Driver(endpoint=f"grpc://{place.netloc}", database="/things") as driver:
        driver.wait(timeout=place.timeout, fail_fast=True)


@_data.entry("happybase Connection")
def _happybase(place: Place) -> None:
    import happybase

    happybase.Connection(ipv4(place), int(place.port), timeout=int(place.timeout * 1000)).close()


@_data.entry("snowflake-connector-python connect")
def _snowflake(place: Place) -> None:
    import snowflake.connector

    snowflake.connector.connect(
        account="things",
        host=host_in_url(place),
        port=int(place.port),
        protocol="http",
        user=place.user,
        password=place.password,
        login_timeout=place.seconds,
        network_timeout=place.seconds,
    ).close()


@_data.entry("redshift-connector connect")
def _redshift(place: Place) -> None:
    import redshift_connector

    redshift_connector.connect(
        host=ipv4(place),
        port=int(place.port),
        user=place.user,
        password=place.password,
        database=place.database,
        timeout=place.seconds,
        ssl=False,
    ).close()


@_data.entry("piccolo PostgresEngine")
async def _piccolo(place: Place) -> None:
    from piccolo.engine.postgres import PostgresEngine

    engine = PostgresEngine(
        {
            "host": place.host,
            "port": place.port,
            "user": place.user,
            "password": place.password,
            "database": place.database,
            "timeout": place.timeout,
        }
    )
    await engine._run_in_new_connection("SELECT 1")


@_data.entry("ormar asyncpg")
async def _ormar(place: Place) -> None:
    import ormar

    database = ormar.DatabaseConnection(
        f"postgresql+asyncpg://{place.user}:{place.password}@{place.netloc}/things",
        connect_args={"timeout": place.timeout, "ssl": False},
    )
    await database.connect()
    async with database.engine.connect():
        pass


@_data.entry("peewee-async PostgresqlDatabase")
async def _peewee_async(place: Place) -> None:
    import peewee_async

    database = peewee_async.PostgresqlDatabase(
        place.database,
        host=place.host,
        port=int(place.port),
        user=place.user,
        password=place.password,
        pool_params={"timeout": place.timeout},
    )
    await database.aio_connect()


@_data.entry("dataset connect")
def _dataset(place: Place) -> None:
    import dataset

    url = f"mysql+pymysql://{place.user}:{place.password}@{place.netloc}/things"
    dataset.connect(
        url, engine_kwargs={"connect_args": {"connect_timeout": place.timeout, "read_timeout": place.timeout}}
    ).executable.execute("SELECT 1")


@_data.entry("taos-ws-py connect")
def _taos(place: Place) -> None:
    import taosws

    address = f"taosws://{place.user}:{place.password}@{place.netloc}"
    in_time(place, lambda: taosws.connect(address).close())


@_data.entry("pyignite Client")
def _ignite(place: Place) -> None:
    from pyignite import Client

    client = Client(timeout=place.timeout)
    with client.connect(place.host, int(place.port)):
        pass


@_data.entry("pyignite AioClient")
async def _ignite_aio(place: Place) -> None:
    from pyignite import AioClient

    async with AioClient().connect(place.host, int(place.port)):
        pass


@_data.entry("apache-iotdb Session")
def _iotdb(place: Place) -> None:
    from iotdb.Session import Session

    session = Session(place.host, str(place.port), place.user, place.password)
    in_time(place, lambda: session.open(enable_rpc_compression=False))
    session.close()


@_redis.entry("asyncio-redis Connection")
async def _asyncio_redis(place: Place) -> None:
    import asyncio_redis

    await asyncio_redis.Connection.create(host=place.host, port=int(place.port), auto_reconnect=False)


@_redis.entry("walrus Database")
def _walrus(place: Place) -> None:
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    from walrus import Database

    Database(host=place.host, port=int(place.port), socket_timeout=place.timeout, retry=Retry(NoBackoff(), 0)).Hash(
        "things"
    ).keys()


@_redis.entry("pottery Redlock")
def _pottery(place: Place) -> None:
    from pottery import Redlock
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    master = Redis(host=place.host, port=int(place.port), socket_timeout=place.timeout, retry=Retry(NoBackoff(), 0))
    lock = Redlock(key="things", masters={master}, raise_on_redis_errors=True)
    lock.acquire(timeout=place.timeout)


@_redis.entry("pottery RedisDict")
def _pottery_dict(place: Place) -> None:
    from pottery import RedisDict
    from redis import Redis

    RedisDict({"a": 1}, key="things", redis=Redis.from_url(f"redis://{place.netloc}", socket_timeout=place.timeout))


@_redis.entry("redis-om HashModel")
def _redis_om(place: Place) -> None:
    from redis_om import Field, HashModel, get_redis_connection

    class Thing(HashModel):  # type: ignore[misc]
        name: str = Field(default="a")

        class Meta:
            database = get_redis_connection(url=f"redis://{place.netloc}?socket_timeout={place.timeout}")

    Thing(pk="a", name="b").save()


@_mongo.entry("beanie init_beanie")
async def _beanie(place: Place) -> None:
    import beanie
    from pymongo import AsyncMongoClient

    class Thing(beanie.Document):
        name: str = "a"

    async with AsyncMongoClient(f"mongodb://{place.netloc}", serverSelectionTimeoutMS=1000) as client:
        await beanie.init_beanie(database=client["things"], document_models=[Thing])


@_mongo.entry("odmantic SyncEngine")
def _odmantic(place: Place) -> None:
    from odmantic import Model, SyncEngine
    from pymongo import MongoClient

    class Thing(Model):
        name: str = "a"

    with MongoClient(f"mongodb://{place.netloc}", serverSelectionTimeoutMS=1000) as client:
        SyncEngine(client=client, database="things").save(Thing())
