"""What `guard()` makes of gRPC's plain channels: the same object, also with interceptors of others before it."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import grpc
import guarding
import pytest
from test_guard_grpc import Server

from resilient import CircuitBreaker, CircuitBreakers, Endpoint
from resilient.clients import guard
from resilient.testing import refused_port


class Stamp(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Somebody's interceptor; it counts."""

    def __init__(self) -> None:
        self.seen = 0

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        self.seen += 1
        return continuation(details, request)


@pytest.fixture
def server() -> Iterator[Server]:
    with contextlib.closing(Server()) as found:
        found.start()
        yield found


def test_a_channel_is_guarded_in_place(server: Server) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        cls = type(channel)
        assert guard(channel, policy=guarding.PATIENT) is channel
        assert isinstance(channel, cls)
        assert (type(channel).__name__, type(channel).__module__) == (cls.__name__, cls.__module__)
        call = channel.unary_unary("/a/b")
        assert isinstance(call, grpc.UnaryUnaryMultiCallable)
        assert call(b"", timeout=10) == b"42"


def test_a_call_that_also_gives_its_status_is_protected() -> None:
    breaker = CircuitBreaker("tried", trip_after=3, observers=())
    with refused_port() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        guard(channel, policy=guarding.THREE, breaker=breaker)
        with pytest.raises(grpc.RpcError):
            channel.unary_unary("/a/b").with_call(b"")
    assert breaker.state == "open"


def test_it_gives_what_grpc_gives(server: Server) -> None:
    """Answer and status of a call."""
    with guard(grpc.insecure_channel)(f"127.0.0.1:{server.port}") as channel:
        answer, call = channel.unary_unary("/a/b").with_call(b"")
    assert answer == b"42"
    assert call.code() is grpc.StatusCode.OK


def test_a_channel_behind_an_interceptor_is_guarded_as_well() -> None:
    """Each attempt passes through the interceptor, and the target is that of the channel behind it."""
    stamp, breakers = Stamp(), CircuitBreakers(observers=())
    with refused_port() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as bare:
        channel = guard(grpc.intercept_channel(bare, stamp), policy=guarding.THREE, breaker=breakers)
        with pytest.raises(grpc.RpcError):
            channel.unary_unary("/a/b")(b"")
        assert breakers[Endpoint(host="127.0.0.1", port=port)].snapshot().failures == 3
    assert stamp.seen == 3


def test_an_interceptor_may_be_put_before_a_guarded_channel() -> None:
    """It sees one call, and behind it are the attempts."""
    stamp, breaker = Stamp(), CircuitBreaker("tried", trip_after=3, observers=())
    with refused_port() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as bare:
        guard(bare, policy=guarding.THREE, breaker=breaker)
        with pytest.raises(grpc.RpcError):
            grpc.intercept_channel(bare, stamp).unary_unary("/a/b")(b"")
    assert stamp.seen == 1
    assert breaker.state == "open"


def test_a_guarded_channel_goes_with_its_last_reference() -> None:
    """Nothing that guards it holds it: its threads end at once."""
    channel = guard(grpc.insecure_channel("127.0.0.1:1"))
    channel.unary_unary("/a/b")
    here = weakref.ref(channel)
    gc.disable()
    try:
        del channel
        assert here() is None
    finally:
        gc.enable()
