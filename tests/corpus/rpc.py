"""Remote procedure calls: gRPC, Thrift, RPyC and Pyro."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

from fake_servers import Handler, silence

from .entry import NO_IPV6, ONE_ADDRESS, ONLY_WORDS, Answer, Book, Place

# gRPC.

grpc = Book("grpc")

_METHOD = "/things.Things/Get"


def _bytes(message: bytes) -> bytes:
    return message


_CODING = {"request_serializer": _bytes, "response_deserializer": _bytes}


@contextlib.contextmanager
def _channel(place: Place) -> Iterator[Any]:
    import grpc

    with grpc.insecure_channel(place.netloc, options=[("grpc.enable_retries", 0)]) as channel:
        yield channel


@grpc.entry("grpcio unary_unary")
def grpc_unary(place: Place) -> None:
    with _channel(place) as channel:
        channel.unary_unary(_METHOD, **_CODING)(b"", timeout=place.timeout)


@grpc.entry("grpcio unary_unary with wait_for_ready", **ONLY_WORDS)
def grpc_waiting(place: Place) -> None:
    with _channel(place) as channel:
        channel.unary_unary(_METHOD, **_CODING)(b"", timeout=place.timeout, wait_for_ready=True)


@grpc.entry("grpcio unary_unary.future")
def grpc_future(place: Place) -> None:
    with _channel(place) as channel:
        channel.unary_unary(_METHOD, **_CODING).future(b"", timeout=place.timeout).result()


@grpc.entry("grpcio unary_stream")
def grpc_stream(place: Place) -> None:
    with _channel(place) as channel:
        list(channel.unary_stream(_METHOD, **_CODING)(b"", timeout=place.timeout))


@grpc.entry("grpcio stream_unary")
def grpc_streamed(place: Place) -> None:
    with _channel(place) as channel:
        channel.stream_unary(_METHOD, **_CODING)(iter([b"", b""]), timeout=place.timeout)


@grpc.entry("grpcio stream_stream")
def grpc_streams(place: Place) -> None:
    with _channel(place) as channel:
        list(channel.stream_stream(_METHOD, **_CODING)(iter([b"", b""]), timeout=place.timeout))


@grpc.entry("grpcio channel_ready_future")
def grpc_ready(place: Place) -> None:
    import grpc

    with _channel(place) as channel:
        grpc.channel_ready_future(channel).result(timeout=place.timeout)


@grpc.entry("grpcio secure_channel")
def grpc_secure(place: Place) -> None:
    import grpc

    with grpc.secure_channel(place.netloc, grpc.ssl_channel_credentials()) as channel:
        channel.unary_unary(_METHOD, **_CODING)(b"", timeout=place.timeout)


@grpc.entry("grpcio interceptor")
def grpc_intercepted(place: Place) -> None:
    import grpc

    class Pass(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        def intercept_unary_unary(self, go_on: Any, details: Any, request: Any) -> Any:
            return go_on(details, request)

    with _channel(place) as channel:
        grpc.intercept_channel(channel, Pass()).unary_unary(_METHOD, **_CODING)(b"", timeout=place.timeout)


@grpc.entry("grpcio aio unary_unary")
async def grpc_aio(place: Place) -> None:
    import grpc.aio

    async with grpc.aio.insecure_channel(place.netloc) as channel:
        await channel.unary_unary(_METHOD, **_CODING)(b"", timeout=place.timeout)


@grpc.entry("grpcio aio unary_unary with wait_for_ready", **ONLY_WORDS)
async def grpc_aio_waiting(place: Place) -> None:
    import grpc.aio

    async with grpc.aio.insecure_channel(place.netloc) as channel:
        await channel.unary_unary(_METHOD, **_CODING)(b"", timeout=place.timeout, wait_for_ready=True)


@grpc.entry("grpcio aio unary_stream")
async def grpc_aio_stream(place: Place) -> None:
    import grpc.aio

    async with grpc.aio.insecure_channel(place.netloc) as channel:
        async for _ in channel.unary_stream(_METHOD, **_CODING)(b"", timeout=place.timeout):
            pass


@grpc.entry("etcd3 get")
def grpc_etcd(place: Place) -> None:
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")  # its generated code is that old
    import etcd3

    etcd3.client(f"[{place.host}]" if ":" in place.host else place.host, int(place.port), timeout=place.timeout).get(
        "thing"
    )


def _field(name: str, value: str) -> bytes:
    """Return a header that no table knows, as HPACK writes it."""
    return b"\0" + b"".join(_hpack_length(len(text)) + text.encode() for text in (name, value))


def _hpack_length(size: int) -> bytes:
    if size < 127:
        return bytes([size])
    low, high = (size - 127) % 128, (size - 127) // 128
    return bytes([127, low | 128, high]) if high else bytes([127, low])


def _frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + body


def _status(code: int, message: str) -> Handler:
    """Answer every call with this status and message."""
    ok = b"\x88" + _field("content-type", "application/grpc")
    told = ok + _field("grpc-status", str(code)) + _field("grpc-message", message)

    def handler(connection: socket.socket) -> None:
        with connection.makefile("rb") as frames:
            frames.read(24)
            connection.sendall(_frame(4, 0, 0))
            while head := frames.read(9):
                frames.read(int.from_bytes(head[:3], "big"))
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                if kind == 4 and not flags & 1:
                    connection.sendall(_frame(4, 1, 0))
                if kind == 1:
                    connection.sendall(_frame(1, 5, stream, told))

    return handler


_HOP = "last error: UNKNOWN: ipv4:10.0.0.1:80: Failed to connect to remote host: connect: Connection refused (111)"
_SECURE: dict[str, str | None] = {"grpcio secure_channel": "any", "grpcio channel_ready_future": "skip"}

grpc.answers += [
    Answer("unauthenticated", _status(16, "no token"), "hopeless", _SECURE),
    Answer("the next hop is refused", _status(14, f"failed to connect to all addresses; {_HOP}"), None, _SECURE),
    Answer(
        "a proxy lies", _status(14, "upstream connect error, reset reason: Connection refused (111)"), None, _SECURE
    ),
    Answer("a deadline of its own", _status(4, "Deadline Exceeded"), None, _SECURE),
]

# Thrift.

thrift = Book("thrift")


@thrift.entry("thrift TSocket")
def thrift_socket(place: Place) -> None:
    from thrift.protocol.TBinaryProtocol import TBinaryProtocol
    from thrift.transport.TSocket import TSocket
    from thrift.transport.TTransport import TBufferedTransport

    transport = TSocket(place.host, int(place.port))
    transport.setTimeout(place.timeout * 1000)
    transport.open()
    try:
        transport.write(struct.pack(">IIII", 12, 0x80010001, 0, 1))
        TBinaryProtocol(TBufferedTransport(transport)).readMessageBegin()
        raise RuntimeError("it answered")
    finally:
        transport.close()


@thrift.entry("thrift THttpClient")
def thrift_http(place: Place) -> None:
    from thrift.transport.THttpClient import THttpClient

    transport = THttpClient(f"http://{place.netloc}/")
    transport.setTimeout(place.timeout * 1000)
    try:
        transport.write(b"hello")
        transport.flush()
        if transport.code != 200:
            raise RuntimeError(transport.message)
    finally:
        transport.close()


_IDL = "service Things { string get(1: string name) }"


@thrift.entry("thriftpy2 make_client", **NO_IPV6)
def thriftpy2_client(place: Place) -> None:
    from thriftpy2.parser import load_fp
    from thriftpy2.rpc import make_client

    things = load_fp(io.StringIO(_IDL), "things_thrift")
    client = make_client(things.Things, place.host, int(place.port), timeout=place.timeout * 1000)
    try:
        client.get("thing")
    finally:
        client.close()


@thrift.entry("thriftpy2 TSocket")
def thriftpy2_socket(place: Place) -> None:
    """The only one of them that goes to IPv6."""
    from thriftpy2.transport import TSocket

    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    milliseconds = place.timeout * 1000
    transport = TSocket(
        place.host,
        int(place.port),
        socket_family=family,
        connect_timeout=milliseconds,
        socket_timeout=milliseconds,
    )
    transport.open()
    try:
        transport.write(b"hello")
        transport.read(1)
        raise RuntimeError("it answered")
    finally:
        transport.close()


@thrift.entry("thriftpy2 client_context", **NO_IPV6)
def thriftpy2_context(place: Place) -> None:
    from thriftpy2.parser import load_fp
    from thriftpy2.rpc import client_context

    things = load_fp(io.StringIO(_IDL), "things_thrift")
    with client_context(things.Things, place.host, int(place.port), timeout=place.timeout * 1000) as client:
        client.get("thing")


@thrift.entry("thriftpy2 aio make_client", **NO_IPV6)
async def thriftpy2_aio(place: Place) -> None:
    from thriftpy2.contrib.aio.rpc import make_client
    from thriftpy2.parser import load_fp

    things = load_fp(io.StringIO(_IDL), "things_thrift")
    client = await make_client(things.Things, place.host, int(place.port), timeout=place.timeout * 1000)
    try:
        await client.get("thing")
    finally:
        client.close()


def _thrift_error(text: str) -> Handler:
    """Answer a call with TApplicationException."""

    def handler(connection: socket.socket) -> None:
        call = connection.recv(65_536)
        name = b"get"
        head = struct.pack(">II", 0x80010003, len(name)) + name + call[-4:]
        message = text.encode()
        body = b"\x0b" + struct.pack(">HI", 1, len(message)) + message + b"\x08" + struct.pack(">HI", 2, 6) + b"\0"
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
        silence(connection)

    return handler


thrift.answers.append(Answer("a quoted refusal", _thrift_error("Could not connect to any of [('10.0.0.1', 80)]"), None))

# RPyC.

rpyc = Book("rpyc")


def _rpyc(place: Place) -> dict[str, Any]:
    return {"config": {"sync_request_timeout": place.timeout}, "ipv6": ":" in place.host}


@rpyc.entry("rpyc connect")
def rpyc_connect(place: Place) -> None:
    import rpyc

    with rpyc.connect(place.host, int(place.port), **_rpyc(place)) as connection:
        connection.ping(timeout=place.timeout)


@rpyc.entry("rpyc connect_stream")
def rpyc_stream(place: Place) -> None:
    import rpyc

    once = {"timeout": place.timeout, "attempts": 1, "ipv6": ":" in place.host}
    stream = rpyc.SocketStream.connect(place.host, int(place.port), **once)
    with rpyc.connect_stream(stream, config=_rpyc(place)["config"]) as connection:
        connection.ping(timeout=place.timeout)


@rpyc.entry("rpyc ssl_connect")
def rpyc_ssl(place: Place) -> None:
    import rpyc

    rpyc.ssl_connect(place.host, int(place.port), **_rpyc(place)).close()


# Pyro.

pyro = Book("pyro")


@contextlib.contextmanager
def _pyro(place: Place) -> Iterator[Any]:
    import Pyro5.api

    Pyro5.api.config.COMMTIMEOUT = place.timeout
    Pyro5.api.config.MAX_RETRIES = 0
    yield Pyro5.api


@pyro.entry("Pyro5 Proxy", **ONE_ADDRESS)
def pyro_proxy(place: Place) -> None:
    with _pyro(place) as api, api.Proxy(f"PYRO:things@{place.netloc}") as proxy:
        proxy._pyroBind()


@pyro.entry("Pyro5 Proxy call", **ONE_ADDRESS)
def pyro_call(place: Place) -> None:
    with _pyro(place) as api, api.Proxy(f"PYRO:things@{place.netloc}") as proxy:
        proxy.get("thing")


@pyro.entry("Pyro5 locate_ns", **ONE_ADDRESS)
def pyro_name_server(place: Place) -> None:
    with _pyro(place) as api:
        api.locate_ns(place.host, int(place.port))


BOOKS = (grpc, thrift, rpyc, pyro)
