"""Small servers in a process of their own: `python -m benchmarks._answering http|memcached|grpc`.

For clients whose real server is rarely at hand. Each says its port on standard output, answers at once and keeps its
connections, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

HOST: Final = "127.0.0.1"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_BODY: Final = b'{"answer": 42}'
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Elastic-Product: Elasticsearch\r\n"
_ANSWER: Final = b"%sContent-Length: %d\r\n\r\n%s" % (_HEAD, len(_BODY), _BODY)


@contextlib.contextmanager
def answering(kind: str) -> Iterator[int]:
    """Start one; give its port."""
    command = [sys.executable, "-m", "benchmarks._answering", kind]
    root = Path(__file__).parent.parent
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each GET, whatever it asks for."""
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(_ANSWER)


async def _memcached(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Have every key."""
    while line := await reader.readline():
        command, *words = line.split()
        if command == b"get":
            writer.write(b"VALUE %s 0 2\r\n42\r\nEND\r\n" % words[0])
        else:
            writer.write(b"VERSION 1.6\r\n")


async def _serve(talk: Talk) -> None:
    async def until_it_leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            await talk(reader, writer)

    server = await asyncio.start_server(until_it_leaves, HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


def _serve_grpc() -> None:
    from concurrent import futures

    import grpc

    class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"42")

    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Service(),))
    print(server.add_insecure_port(f"{HOST}:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None)


def _main() -> None:
    kind = sys.argv[1]
    if kind == "grpc":
        _serve_grpc()
    else:
        asyncio.run(_serve({"http": _http, "memcached": _memcached}[kind]))


if __name__ == "__main__":
    _main()
