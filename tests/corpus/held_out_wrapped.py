"""Errors that a program, a retry or a pool made of a client's before anybody judged them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import multiprocessing.pool
import socket
from collections.abc import Callable
from typing import Any

from resilient.testing import refused_port

from .entry import Book, Place
from .held_out import in_the_reactor

book = Book("wrapped", held_out=True)


class StoreError(Exception):
    """An application's own error."""


class StoreDownError(StoreError):
    """Another one, that keeps the inner error in an attribute of its own."""

    def __init__(self, text: str, inner: Exception) -> None:
        super().__init__(text)
        self.inner = inner


def _redis(place: Place) -> None:
    import redis

    redis.Redis.from_url(
        f"redis://{place.netloc}", socket_timeout=place.timeout, socket_connect_timeout=place.timeout
    ).ping()


async def _redis_async(place: Place) -> None:
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(f"redis://{place.netloc}", socket_timeout=place.timeout)
    try:
        await client.ping()
    finally:
        await client.aclose()


def _requests(place: Place) -> None:
    import requests

    requests.get(f"http://{place.netloc}", timeout=place.timeout).raise_for_status()


async def _httpx(place: Place) -> None:
    import httpx

    async with httpx.AsyncClient(timeout=place.timeout, trust_env=False) as client:
        (await client.get(f"http://{place.netloc}")).raise_for_status()


async def _aiohttp(place: Place) -> None:
    import aiohttp

    timeout = aiohttp.ClientTimeout(place.timeout)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        session.get(f"http://{place.netloc}"),
    ):
        pass


def _psycopg(place: Place) -> None:
    import psycopg

    psycopg.connect(host=place.host, port=place.port, connect_timeout=2, sslmode="disable", gssencmode="disable")


def _pymysql(place: Place) -> None:
    import pymysql

    pymysql.connect(host=place.host, port=int(place.port), connect_timeout=place.timeout, read_timeout=place.timeout)


def _socket(place: Place) -> None:
    with socket.create_connection((place.host, int(place.port)), place.timeout) as connection:
        connection.sendall(b"hello\n")
        if not connection.recv(1):
            raise EOFError("the server hung up")


async def _streams(place: Place) -> None:
    opening = asyncio.open_connection(place.host, int(place.port))
    reader, writer = await asyncio.wait_for(opening, place.timeout)
    try:
        writer.write(b"hello\n")
        if not await asyncio.wait_for(reader.read(1), place.timeout):
            raise EOFError("the server hung up")
    finally:
        writer.close()


@book.entry("redis in an error raised from it")
def _from_it(place: Place) -> None:
    try:
        _redis(place)
    except Exception as error:
        raise StoreError("the store is not there") from error


@book.entry("psycopg in two errors raised from it")
def _from_it_twice(place: Place) -> None:
    try:
        try:
            _psycopg(place)
        except Exception as error:
            raise StoreError("the store is not there") from error
    except StoreError as error:
        raise RuntimeError("no page without a store") from error


@book.entry("pymysql in a builtin error raised from it")
def _from_it_builtin(place: Place) -> None:
    try:
        _pymysql(place)
    except Exception as error:
        raise ValueError("no such store") from error


@book.entry("requests in an error raised while it was handled")
def _in_passing(place: Place) -> None:
    try:
        _requests(place)
    except Exception:
        raise StoreError("the store is not there")  # noqa: B904


@book.entry("httpx in an attribute and from None")
async def _in_an_attribute(place: Place) -> None:
    try:
        await _httpx(place)
    except Exception as error:
        raise StoreDownError("the store is not there", error) from None


@book.entry("redis in an argument")
def _in_an_argument(place: Place) -> None:
    try:
        _redis(place)
    except Exception as error:
        raise StoreError("the store is not there", error) from None


@book.entry("python in its own text only")
def _in_its_text(place: Place) -> None:
    try:
        _socket(place)
    except Exception as error:
        raise StoreError(str(error)) from None


@book.entry("requests in a note")
def _with_a_note(place: Place) -> None:
    try:
        _requests(place)
    except Exception as error:
        error.add_note("while the page was made")
        raise


@book.entry("redis with_traceback")
def _with_traceback(place: Place) -> None:
    kept = None
    try:
        _redis(place)
    except Exception as error:
        kept = error
    if kept is not None:
        raise kept.with_traceback(None)


@book.entry("httpx raised later")
async def _raised_later(place: Place) -> None:
    results = await asyncio.gather(_httpx(place), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _tenacious() -> dict[str, Any]:
    import tenacity

    return {"stop": tenacity.stop_after_attempt(2), "wait": tenacity.wait_none()}


@book.entry("tenacity RetryError")
def _tenacity(place: Place) -> None:
    import tenacity

    tenacity.retry(**_tenacious())(_requests)(place)


@book.entry("tenacity reraise")
def _tenacity_reraise(place: Place) -> None:
    import tenacity

    tenacity.retry(**_tenacious(), reraise=True)(_redis)(place)


@book.entry("tenacity async RetryError")
async def _tenacity_async(place: Place) -> None:
    import tenacity

    await tenacity.retry(**_tenacious())(_httpx)(place)


@book.entry("tenacity RetryError from None")
def _tenacity_from_none(place: Place) -> None:
    import tenacity

    try:
        tenacity.retry(**_tenacious())(_requests)(place)
    except tenacity.RetryError as error:
        raise tenacity.RetryError(error.last_attempt) from None


@book.entry("stamina retry")
def _stamina(place: Place) -> None:
    import stamina

    stamina.retry(on=Exception, attempts=2, wait_initial=0, wait_max=0, wait_jitter=0)(_requests)(place)


@book.entry("backoff on_exception")
def _backoff(place: Place) -> None:
    import backoff

    backoff.on_exception(backoff.constant, Exception, max_tries=2, interval=0, jitter=None)(_requests)(place)


@book.entry("backoff on_exception of a coroutine")
async def _backoff_async(place: Place) -> None:
    import backoff

    await backoff.on_exception(backoff.constant, Exception, max_tries=2, interval=0, jitter=None)(_aiohttp)(place)


def _pooled(pool: concurrent.futures.Executor, function: Callable[[Place], None], place: Place) -> None:
    with pool:
        pool.submit(function, place).result()


@book.entry("python ThreadPoolExecutor")
def _threads(place: Place) -> None:
    _pooled(concurrent.futures.ThreadPoolExecutor(1), _requests, place)


@book.entry("python ThreadPoolExecutor.map")
def _threads_map(place: Place) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(_redis, [place, place]))


@book.entry("python ProcessPoolExecutor, socket")
def _processes(place: Place) -> None:
    _pooled(concurrent.futures.ProcessPoolExecutor(1), _socket, place)


@book.entry("python ProcessPoolExecutor, redis")
def _processes_redis(place: Place) -> None:
    _pooled(concurrent.futures.ProcessPoolExecutor(1), _redis, place)


@book.entry("python ProcessPoolExecutor, requests")
def _processes_requests(place: Place) -> None:
    _pooled(concurrent.futures.ProcessPoolExecutor(1), _requests, place)


@book.entry("python multiprocessing.Pool, socket")
def _multiprocessing(place: Place) -> None:
    with multiprocessing.pool.Pool(1) as pool:
        pool.apply(_socket, (place,))


@book.entry("python TaskGroup of one")
async def _task_group(place: Place) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_httpx(place))


@book.entry("python TaskGroup of three")
async def _task_group_of_three(place: Place) -> None:
    async with asyncio.TaskGroup() as group:
        for connect in (_httpx, _streams, _aiohttp):
            group.create_task(connect(place))


@book.entry("python TaskGroup in an error raised from it")
async def _task_group_wrapped(place: Place) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_httpx(place))
    except Exception as error:
        raise StoreError("not all stores are there") from error


@book.entry("exceptiongroup catch")
async def _except_star(place: Place) -> None:
    from exceptiongroup import catch

    def fail(group: Exception) -> None:
        raise StoreError("not all stores are there") from group

    with catch({Exception: fail}):
        async with asyncio.TaskGroup() as group:
            group.create_task(_aiohttp(place))


@book.entry("python gather")
async def _gather(place: Place) -> None:
    await asyncio.gather(_httpx(place), _aiohttp(place))


@book.entry("python to_thread")
async def _to_thread(place: Place) -> None:
    await asyncio.to_thread(_requests, place)


@book.entry("python wait_for")
async def _wait_for(place: Place) -> None:
    await asyncio.wait_for(_redis_async(place), 3)


@book.entry("anyio task group")
async def _anyio_group(place: Place) -> None:
    import anyio

    async with anyio.create_task_group() as group:
        group.start_soon(_httpx, place)


@book.entry("trio nursery over httpx")
def _trio_nursery(place: Place) -> None:
    import trio

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_httpx, place)

    trio.run(main)


@book.entry("asgiref sync_to_async")
async def _asgiref(place: Place) -> None:
    from asgiref.sync import sync_to_async

    await sync_to_async(_psycopg)(place)


@book.entry("gevent spawn")
def _gevent(place: Place) -> None:
    import gevent

    gevent.spawn(_requests, place).get()


@book.entry("Twisted deferToThread")
def _defer_to_thread(place: Place) -> None:
    from twisted.internet import threads

    in_the_reactor(threads.deferToThread, _redis, place)


@book.entry("pandas read_sql")
def _read_sql(place: Place) -> None:
    import pandas
    import sqlalchemy

    engine = sqlalchemy.create_engine(
        f"mysql+pymysql://someone:pass@{place.netloc}/things",
        connect_args={"connect_timeout": place.timeout, "read_timeout": place.timeout},
    )
    pandas.read_sql("SELECT 1", engine)


@book.entry("Django cache")
def _django_cache(place: Place) -> None:
    from django.core.cache.backends.redis import RedisCache

    RedisCache(f"redis://{place.netloc}?socket_timeout={place.timeout}", {}).get("a")


@book.entry("Jinja2 global")
def _jinja(place: Place) -> None:
    import jinja2

    jinja2.Template("{{ connect(place) }}").render(connect=_requests, place=place)


@book.entry("click command")
def _click(place: Place) -> None:
    import click

    click.command()(lambda: _redis(place)).main([], standalone_mode=False)


@book.entry("Flask test client")
def _flask(place: Place) -> None:
    import flask

    app = flask.Flask("things")
    app.testing = True
    app.add_url_rule("/", view_func=lambda: str(_requests(place)))
    app.test_client().get("/")


@book.entry("pydantic validator")
def _pydantic(place: Place) -> None:
    from typing import Annotated

    import pydantic

    def reachable(value: str) -> str:
        _socket(place)
        return value

    pydantic.TypeAdapter(Annotated[str, pydantic.AfterValidator(reachable)]).validate_python("a")


def _own_protocol(place: Place) -> None:
    with socket.create_connection((place.host, int(place.port)), place.timeout) as connection:
        try:
            connection.sendall(b"hello\n")
            answer = connection.recv(100)
        except OSError:
            answer = b""
        if answer != b"welcome\n":
            raise StoreError("this is no store")


def _own_error(place: Place) -> None:
    try:
        _redis(place)
    except Exception as error:
        raise StoreError("the store is not there") from error


def _replica(connect: Callable[[Place], Any]) -> Callable[[Place], Any]:
    """Connect while the refusal of another place is being handled."""

    def sync(place: Place) -> None:
        with refused_port() as port:
            try:
                connect(Place(host="127.0.0.1", port=port, timeout=place.timeout))
            except Exception:
                connect(place)

    async def asynchronous(place: Place) -> None:
        with refused_port() as port:
            try:
                await connect(Place(host="127.0.0.1", port=port, timeout=place.timeout))
            except Exception:
                await connect(place)

    return asynchronous if inspect.iscoroutinefunction(connect) else sync


for _name, _connect in {
    "python own protocol": _own_protocol,
    "redis own error": _own_error,
    "redis Redis": _redis,
    "redis asyncio": _redis_async,
    "requests get": _requests,
    "httpx AsyncClient": _httpx,
    "aiohttp get": _aiohttp,
    "psycopg connect": _psycopg,
    "pymysql connect": _pymysql,
    "python create_connection": _socket,
    "python open_connection": _streams,
}.items():
    book.entry(f"{_name}, after a refused primary")(_replica(_connect))
