"""grpc under `guard()`: channels, plain and asynchronous, and what makes them, against gRPC's own server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import grpc.aio
import guarding
import pytest
from guarding import Guarded

from resilient import CircuitBreaker, CircuitBreakers, Endpoint, is_refused
from resilient.clients import guard
from resilient.clients.grpc import _core, ping
from resilient.testing import LateServer, refused_port

READY = grpc.ChannelConnectivity.READY.value[0]


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Says 42; at "/relay" it says what a relay says that met a refusal behind it; at "/late" it takes its time."""

    asked = 0
    is_late = threading.Event()
    over = threading.Event()

    def service(self, details: Any) -> Any:
        methods = {"/a/relay": self.relay, "/a/late": self.late}
        return grpc.unary_unary_rpc_method_handler(methods.get(details.method, self.answer))

    def late(self, request: bytes, context: Any) -> bytes:
        Service.asked += 1
        Service.is_late.set()
        Service.over.wait(30)
        return b"42"

    def answer(self, request: bytes, context: Any) -> bytes:
        return b"42"

    def relay(self, request: bytes, context: Any) -> bytes:
        Service.asked += 1
        context.abort(
            grpc.StatusCode.UNAVAILABLE,
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:1: "
            "Failed to connect to remote host: Connection refused",
        )
        raise AssertionError


class Server:
    """gRPC's own, that goes down and up on a port which is held meanwhile."""

    def __init__(self) -> None:
        self.held = LateServer()
        self.port = self.held.port
        self.server: Any = None
        self.client: Any = None  # a channel that has to notice, when it is killed

    def start(self) -> None:
        self.server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((Service(),))
        self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        self.server.start()

    def kill(self) -> None:
        if self.server is not None:
            self.server.stop(None).wait()
            self.server = None
            self._wait_until_noticed()

    def _wait_until_noticed(self) -> None:
        """What a channel sends that takes itself for connected is lost, and no guard sends it again."""
        core, ends = None if self.client is None else _core(self.client), time.monotonic() + 20
        while core is not None and core.check_connectivity_state(False) == READY:
            assert time.monotonic() < ends
            time.sleep(0.005)

    def wait_ready(self, timeout: float) -> None:
        """It is ready as soon as it is started."""

    def close(self) -> None:
        self.kill()
        self.held.close()


def ask(channel: Any) -> int:
    return int(channel.unary_unary("/a/b")(b""))


async def ask_async(channel: Any) -> int:
    return int(await channel.unary_unary("/a/b")(b""))


async def close_async(channel: Any) -> None:
    await channel.close()


def made(host: str, port: int, **shield: Any) -> Any:
    return guard(grpc.insecure_channel, **shield)(f"{host}:{port}")


def ready(host: str, port: int, **shield: Any) -> Any:
    return guard(grpc.insecure_channel(f"{host}:{port}"), **shield)


async def made_async(host: str, port: int, **shield: Any) -> Any:
    return guard(grpc.aio.insecure_channel, **shield)(f"{host}:{port}")


async def ready_async(host: str, port: int, **shield: Any) -> Any:
    return guard(grpc.aio.insecure_channel(f"{host}:{port}"), **shield)


GUARDED = (
    Guarded("insecure_channel", made, ask, grpc.RpcError, lambda channel: channel.close()),
    Guarded("channel", ready, ask, grpc.RpcError, lambda channel: channel.close()),
    Guarded("aio.insecure_channel", made_async, ask_async, grpc.aio.AioRpcError, close_async),
    Guarded("aio channel", ready_async, ask_async, grpc.aio.AioRpcError, close_async),
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


@pytest.fixture
def server() -> Iterator[Server]:
    with contextlib.closing(Server()) as found:
        found.start()
        yield found


@on_each
def test_it_waits_for_its_server(guarded: Guarded, server: Server) -> None:
    guarding.starts_before_its_server(guarded, server)


@on_each
def test_it_outlives_a_restart(guarded: Guarded, server: Server) -> None:
    def use(channel: Any) -> Any:
        server.client = channel
        return guarded.use(channel)

    async def use_async(channel: Any) -> Any:
        server.client = channel
        return await guarded.use(channel)

    noticed = dataclasses.replace(guarded, use=use_async if guarded.is_async else use)
    guarding.outlives_a_restart(noticed, server)
    server.client = None


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them, and its loop goes on."""
    guarding.every_check_without_a_server(guarded)


@pytest.mark.parametrize("make", [ready, ready_async], ids=["plain", "asynchronous"])
def test_what_a_relay_met_behind_it_is_no_refusal(make: Any, server: Server) -> None:
    """The channel is connected, and so the words are not its own."""
    Service.asked = 0

    async def main() -> None:
        channel = await ready_async("127.0.0.1", server.port, policy=guarding.PATIENT)
        try:
            await channel.unary_unary("/a/relay")(b"")
        finally:
            await channel.close()

    with pytest.raises(grpc.RpcError) as raised:
        if make is ready_async:
            asyncio.run(main())
        else:
            with ready("127.0.0.1", server.port, policy=guarding.PATIENT) as channel:
                channel.unary_unary("/a/relay")(b"")
    assert not is_refused(raised.value)
    assert Service.asked == 1


@pytest.mark.parametrize(
    "make",
    [
        ready,
        ready_async,
    ],
    ids=["plain", "asynchronous"],
)
def test_a_call_that_was_sent_and_is_late_is_not_sent_again(make: Any, server: Server) -> None:
    """The server shuts down and lets it finish, so that the channel has no connection, and the port refuses."""
    Service.asked = 0
    Service.is_late.clear()
    Service.over.clear()

    def shut_down() -> None:
        Service.is_late.wait(30)
        server.server.stop(30)

    async def main() -> None:
        channel = await ready_async("127.0.0.1", server.port, policy=guarding.THREE)
        try:
            await channel.unary_unary("/a/late")(b"", timeout=2.0)
        finally:
            await channel.close()

    thread = threading.Thread(target=shut_down)
    thread.start()
    try:
        with pytest.raises(grpc.RpcError) as raised:
            if make is ready_async:
                asyncio.run(main())
            else:
                with ready("127.0.0.1", server.port, policy=guarding.THREE) as channel:
                    channel.unary_unary("/a/late")(b"", timeout=2.0)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert not is_refused(raised.value)
    finally:
        Service.over.set()
        thread.join()
    assert Service.asked == 1


def test_an_open_circuit_has_a_status() -> None:
    breaker = CircuitBreaker("test", observers=())
    breaker.isolate()
    channel = ready("127.0.0.1", 1, policy=guarding.THREE, breaker=breaker)
    with channel, pytest.raises(grpc.RpcError) as raised:
        ask(channel)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "circuit 'test'" in raised.value.details()


def test_a_future_comes_back_at_once() -> None:
    """It is not protected, and says what gRPC says."""
    with refused_port() as port, ready("127.0.0.1", port, policy=guarding.PATIENT) as channel:
        future = channel.unary_unary("/a/b").future(b"")
        assert isinstance(future.exception(timeout=10), grpc.RpcError)


def test_guarding_again_puts_the_new_policy_in_place_of_the_old() -> None:
    breaker = CircuitBreaker("tried", trip_after=2, observers=())
    two = guarding.THREE.replace(attempts=2)
    with refused_port() as port:
        channel = guard(ready("127.0.0.1", port, policy=guarding.THREE), policy=two, breaker=breaker)
        with channel, pytest.raises(grpc.RpcError):
            ask(channel)
    assert breaker.state == "open"


@pytest.mark.parametrize("text", ["127.0.0.1:{}", "dns:///127.0.0.1:{}", "ipv4:127.0.0.1:{}"])
def test_the_target_is_the_channels_own(text: str) -> None:
    breakers = CircuitBreakers(observers=())
    with refused_port() as port:
        channel = guard(grpc.insecure_channel(text.format(port)), policy=guarding.THREE, breaker=breakers)
        with channel, pytest.raises(grpc.RpcError):
            ask(channel)
        assert breakers[Endpoint(host="127.0.0.1", port=port)].snapshot().failures == 3


def test_the_pace_of_the_channel_is_the_policys(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "resilient"):
        guard(grpc.insecure_channel)("127.0.0.1:1").close()
    assert "grpc: a channel without a connection connects every 100 to 1000 ms" in caplog.text


def test_hello_is_said(server: Server) -> None:
    with ready("127.0.0.1", server.port) as channel:
        ping(channel)

    async def main() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            await ping(channel)

    asyncio.run(main())
    with pytest.raises(TypeError, match="no channel of grpc"):
        ping(object())
