"""redis-py and valkey-py under `guard()` while their server is killed and comes back: nothing is done twice."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import pytest
import redis
import valkey
from guarding import lasting_valkey
from under_load import Load

from resilient.cli._servers import ValkeyServer
from resilient.clients import guard

__all__ = ["lasting_valkey"]

on_each_library = pytest.mark.parametrize(
    "make", [redis.Redis, valkey.Valkey], ids=lambda make: make.__module__.partition(".")[0]
)


def asynchronous(make: Any) -> Any:
    return getattr(importlib.import_module(f"{make.__module__.partition('.')[0]}.asyncio"), make.__name__)


@on_each_library
def test_no_command_is_executed_twice_under_a_restart(make: Any, server: ValkeyServer) -> None:
    """Every answered command was executed once; none failed but those that were on their way."""
    load = Load(server)
    with guard(make(port=server.port, decode_responses=True), policy=load.policy) as client:
        client.delete("done")
        load.run(lambda its: client.rpush("done", its))
        load.check(client.lrange("done", 0, -1))


@on_each_library
def test_no_command_of_an_asynchronous_client_is_executed_twice_under_a_restart(
    make: Any, server: ValkeyServer
) -> None:
    """The same in tasks of one loop."""
    load = Load(server)

    async def main() -> Any:
        async with guard(asynchronous(make)(port=server.port, decode_responses=True), policy=load.policy) as client:
            await client.delete("done")
            await load.run_async(lambda its: client.rpush("done", its))
            return await client.lrange("done", 0, -1)

    load.check(asyncio.run(main()))
