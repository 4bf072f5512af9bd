"""Coroutine objects are awaited and retried; every other awaitable comes back whole, for it is awaitable and more."""

from __future__ import annotations

import asyncio
import collections.abc
import inspect
import types
from collections.abc import Callable, Generator
from typing import Any

import asyncpg
import pytest
import redis.asyncio
from drivers import QUIET, Client, refusal

from resilient import retry_on_refused

quickly = retry_on_refused(policy=QUIET)


class Connecting:
    """Like `websockets.connect`: may be awaited, entered, or iterated over."""

    def __init__(self) -> None:
        self.awaited = 0

    def __await__(self) -> Generator[Any, None, str]:
        self.awaited += 1
        yield from asyncio.sleep(0).__await__()
        return "connection"

    async def __aenter__(self) -> str:
        return await self

    async def __aexit__(self, *args: object) -> None:
        return None


class Requesting(collections.abc.Coroutine):  # type: ignore[type-arg]
    """Like aiohttp's request: a coroutine by its methods, an asynchronous context manager as well."""

    def send(self, value: Any) -> Any:
        raise StopIteration("response")

    def throw(self, *args: Any) -> Any:
        raise AssertionError

    def close(self) -> None:
        return None

    def __await__(self) -> Generator[Any, None, str]:
        return "response"
        yield


@types.coroutine
def old_style() -> Generator[None, None, str]:
    yield
    return "old"


@pytest.mark.parametrize("make", [Connecting, Requesting, old_style], ids=lambda make: make.__name__)
def test_an_awaitable_that_is_no_coroutine_object_comes_back_whole(make: Callable[[], Any]) -> None:
    """Unawaited, and after retries as well."""
    made: list[Any] = []
    client = Client(refusal())

    def connect() -> Any:
        client()
        made.append(make())
        return made[-1]

    assert quickly(connect)() is made[0]
    assert getattr(made[0], "awaited", 0) == 0


def test_what_a_protected_coroutine_function_returns_comes_back_whole() -> None:
    """An awaitable client that a coroutine gives is not awaited on top."""
    connecting = Connecting()
    client = Client(refusal())

    @quickly
    async def connect() -> Connecting:
        client()
        return connecting

    assert asyncio.run(connect()) is connecting
    assert connecting.awaited == 0


def test_a_websocket_like_object_is_still_entered_and_awaited_by_its_user() -> None:
    """Both of its ways work."""

    async def main() -> tuple[str, str]:
        connect = quickly(Connecting)
        async with connect() as entered:
            return entered, await connect()

    assert asyncio.run(main()) == ("connection", "connection")


def test_an_asyncpg_pool_comes_back_whole(refused_port: int) -> None:
    """It would connect when awaited; entering it does so as well."""

    async def main() -> None:
        pool = quickly(asyncpg.create_pool)(f"postgresql://me@127.0.0.1:{refused_port}/app")
        assert isinstance(pool, asyncpg.Pool)
        assert pool.get_size() == 0

    asyncio.run(main())


def test_a_redis_client_comes_back_whole(refused_port: int) -> None:
    """It is awaitable, and connects at its first command."""

    async def main() -> None:
        client = quickly(redis.asyncio.Redis)(port=refused_port)
        assert type(client) is redis.asyncio.Redis
        await client.aclose()

    asyncio.run(main())


def test_a_future_comes_back_whole() -> None:
    """Somebody else will set it."""

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        assert quickly(lambda: future)() is future

    asyncio.run(main())


def test_a_coroutine_object_is_awaited_at_the_second_attempt_too() -> None:
    """Where the function itself was refused before it could return one."""
    client, dialled = Client(refusal(), refusal()), []

    async def connection() -> str:
        await asyncio.sleep(0)
        return "connection"

    def connect() -> Any:
        dialled.append(client())
        return connection()

    async def main() -> Any:
        return await quickly(connect)()

    assert asyncio.run(main()) == "connection"
    assert client.calls == 3


def test_attempts_before_and_in_the_coroutine_are_counted_together() -> None:
    """A function that is refused twice, and then gives a coroutine that is refused, has made three attempts."""
    calls: list[str] = []

    def connect() -> Any:
        calls.append("call")
        if len(calls) < 3:
            raise refusal()

        async def connection() -> None:
            raise refusal()

        return connection()

    async def main() -> None:
        await quickly_thrice(connect)()

    quickly_thrice = retry_on_refused(policy=QUIET.replace(attempts=3))
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(main())
    assert len(calls) == 3


class Compiled:
    """Like a coroutine function that Cython compiled: known by its flags, its coroutines are of a type of their own."""

    __code__ = asyncio.sleep.__code__
    __name__ = __qualname__ = "compiled"
    __defaults__ = __kwdefaults__ = None
    __annotations__: dict[str, Any] = {}

    def __init__(self, client: Client) -> None:
        self.client = client

    def __call__(self) -> Any:
        client = self.client

        class Coroutine:
            def __await__(self) -> Generator[Any, None, str]:
                yield from asyncio.sleep(0).__await__()
                return client()

        return Coroutine()


def test_a_coroutine_function_whose_coroutines_are_of_another_type_is_awaited_at_every_attempt() -> None:
    """At the second one, too."""
    client = Client(refusal(), refusal())
    assert inspect.iscoroutinefunction(Compiled(client))
    assert asyncio.run(quickly(Compiled(client))()) == "connected"
    assert client.calls == 3


def test_a_coroutine_that_nobody_awaits_is_said_once_for_what_it_is() -> None:
    """Python warns of it once, by the name of the user's own."""

    async def connection() -> None: ...

    protected = quickly(lambda: connection())
    with pytest.warns(RuntimeWarning, match=r"connection' was never awaited") as warned:
        protected()
    assert len(warned) == 1
