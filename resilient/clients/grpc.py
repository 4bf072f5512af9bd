"""grpc, plain and asynchronous: unary calls of a channel.

A channel connects by itself, at its own pace, and a call on a channel without a connection fails at once with
UNAVAILABLE. It is tried again as the policy says, where the channel itself has no connection: the same words can also
come from a relay that met a refusal further on, and then the channel is connected. The channel's pace (first after a
second, later after up to two minutes) can be set only where it is made: guard the function that makes it. So an attempt
is a call and not a connect. Not protected: streams, whose requests may be read before there is a connection, and
`future()`, which must return at once.
Read and run: grpcio 1.85; read: 1.60.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Callable
from errno import ECONNREFUSED
from typing import Any, Final

from ..backoff import Backoff
from ..endpoint import Endpoint
from ..errors import TargetError
from ..refusal import hides_refusal
from ._shield import Shield, lookalike, unguarded

__all__ = ["SCHEMES", "guard", "ping"]

SCHEMES: Final = ()

_READY: Final = 2
"""GRPC_CHANNEL_READY."""

_LEAST_PACE: Final = 100
"""Milliseconds; gRPC takes no less."""


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a channel in place, or a function that makes one; None for what does not connect."""
    grpc = _grpc()

    if isinstance(thing, grpc.aio.Channel):
        _guard_async(thing, shield)
        return thing
    if isinstance(thing, grpc.Channel):
        thing.__class__ = _channel_class(thing, shield)
        return thing
    if inspect.isfunction(thing) and thing.__name__ in ("insecure_channel", "secure_channel"):
        return _factory(thing, shield)
    return None


def _grpc() -> Any:
    importlib.import_module("grpc.aio")
    return importlib.import_module("grpc")


def _factory(make: Any, shield: Shield) -> Any:
    signature = inspect.signature(make)

    @functools.wraps(make)
    def channel(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        options: list[Any] = list(given.arguments.get("options") or ())
        known = {name for name, _ in options}
        backoff = shield.policy.backoff
        longest = backoff.maximum if isinstance(backoff, Backoff) else 1.0
        pace = max(_LEAST_PACE, int(longest * 1000))
        first = max(_LEAST_PACE, int((backoff.initial if isinstance(backoff, Backoff) else 0.0) * 1000))
        paces = {"grpc.initial_reconnect_backoff_ms": first, "grpc.max_reconnect_backoff_ms": pace}
        given.arguments["options"] = [*options, *((name, ms) for name, ms in paces.items() if name not in known)]
        shield.changed(
            "grpc: a channel without a connection connects every %d to %d ms, as the policy says", first, pace
        )
        return guard(make(*given.args, **given.kwargs), shield)

    return channel


def _channel_class(channel: Any, shield: Shield) -> Any:
    """Return a channel's class with protected unary calls. Not by an interceptor: gRPC's own cost a third of a call."""
    cls, core = unguarded(type(channel)), _core(channel)

    @functools.lru_cache(maxsize=4)
    def calls(callable_class: Any) -> Any:
        members = {name: _call(callable_class, name, core, shield) for name in ("__call__", "with_call")}
        return lookalike(callable_class, **members)

    @functools.wraps(cls.unary_unary)
    def unary_unary(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = cls.unary_unary(self, *args, **kwargs)
        found.__class__ = calls(unguarded(type(found)))
        return found

    return lookalike(cls, unary_unary=unary_unary)


def _call(callable_class: Any, name: str, core: Any, shield: Shield) -> Any:
    error_class = _grpc().RpcError
    call = getattr(callable_class, name)

    @functools.wraps(call)
    def attempt(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return call(self, *args, **kwargs)
        except error_class as error:
            _explain(error, lambda: _READY if core is None else core.check_connectivity_state(False))
            raise

    return shield.protect(attempt, target=functools.partial(_where, core), unavailable=_unavailable)


def _core(channel: Any) -> Any:
    """Return gRPC's own channel behind one of Python's, and behind the interceptors before it; None of a stranger."""
    grpc = _grpc()

    while isinstance(channel, (grpc.Channel, grpc.aio.Channel)):
        channel = getattr(channel, "_channel", None)
    return channel


class _Marked:
    """An interceptor made here."""


def _guard_async(channel: Any, shield: Shield) -> None:
    """Put an interceptor first, in the place of an earlier one of ours.

    Raises:
        TypeError: this version of grpcio keeps them elsewhere.
    """
    grpc = _grpc()

    interceptors = getattr(channel, "_unary_unary_interceptors", None)
    if not isinstance(interceptors, list):
        raise TypeError(
            "guard does not know where this version of grpcio keeps its interceptors; it knows 1.60 to 1.85"
        )

    async def attempt(self: Any, continuation: Any, details: Any, request: Any) -> Any:
        call = await continuation(details, request)
        try:
            await call
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                return call
            _explain(error, lambda: _READY if channel.get_state() is grpc.ChannelConnectivity.READY else 0)
            raise
        return call

    target = functools.partial(_where, _core(channel))
    dial: Any = shield.protect(attempt, target=target, unavailable=_unavailable_async)

    base: Any = grpc.aio.UnaryUnaryClientInterceptor

    class Interceptor(base, _Marked):  # type: ignore[misc]
        intercept_unary_unary = dial

    interceptors[:] = [Interceptor(), *(found for found in interceptors if not isinstance(found, _Marked))]


def _explain(error: Any, state: Callable[[], int]) -> None:
    """Give gRPC's error a cause, where the channel has no connection: only then are the words its own."""
    if error.__cause__ is None and hides_refusal(error) and state() != _READY:
        error.__cause__ = ConnectionRefusedError(ECONNREFUSED, os.strerror(ECONNREFUSED))


def _unavailable(text: str) -> Exception:
    grpc = _grpc()

    error: Any = grpc.RpcError
    call: Any = grpc.Call

    class Unavailable(error, call):  # type: ignore[misc]
        """As gRPC's own: a status that can be asked for."""

        def code(self) -> Any:
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            return text

        def debug_error_string(self) -> str:
            return text

        def initial_metadata(self) -> Any:
            return ()

        def trailing_metadata(self) -> Any:
            return ()

        def is_active(self) -> bool:
            return False

        def time_remaining(self) -> None:
            return None

        def cancel(self) -> bool:
            return False

        def add_callback(self, callback: Any) -> bool:
            return False

    return Unavailable(text)


def _unavailable_async(text: str) -> Exception:
    grpc = _grpc()

    none = grpc.aio.Metadata()
    error: Exception = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, none, none, details=text)
    return error


def _where(core: Any, *_: Any, **__: Any) -> Endpoint:
    """Return what gRPC's own channel connects to; of several addresses the first.

    Raises:
        TargetError: that is not known.
    """
    if core is None:
        raise TargetError("the target of this channel is not known; give guard() a target")
    text = core.target()
    text = text.decode() if isinstance(text, bytes) else text
    scheme, colon, rest = text.partition(":")
    if colon and scheme in ("unix", "unix-abstract"):
        return Endpoint(scheme="unix", path=os.path.abspath("/" + rest.lstrip("/") if rest.startswith("//") else rest))
    if colon and scheme in ("dns", "ipv4", "ipv6"):
        text = rest.rpartition("/")[2].split(",")[0]
    if (text.startswith("[") and text.endswith("]")) or ":" not in text:
        text += ":443"
    return Endpoint.parse(text)


# Saying hello.


def ping(thing: Any) -> Any:
    """Wait up to five seconds until a channel is connected; of an asynchronous one a coroutine comes back.

    Raises:
        TypeError: it is no channel.
        grpc.FutureTimeoutError: it was not; of an asynchronous one `TimeoutError`.
    """
    grpc = _grpc()

    if isinstance(thing, grpc.aio.Channel):
        return _ready(thing)
    if not isinstance(thing, grpc.Channel):
        raise TypeError(f"{type(thing).__name__} is no channel of grpc")
    ready = grpc.channel_ready_future(thing)
    try:
        ready.result(timeout=5.0)
    finally:
        ready.cancel()
    return None


async def _ready(channel: Any) -> None:
    import asyncio

    await asyncio.wait_for(channel.channel_ready(), 5.0)
