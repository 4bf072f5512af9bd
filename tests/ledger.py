"""A program that is a server and keeps a ledger: it writes the id of each command down, and then answers.

`python ledger.py web PORT` is uvicorn with a small application, which speaks as much of Elasticsearch and of SQS as one
command takes; `python ledger.py grpc PORT` is gRPC's own server. The file "ledger" lies in the current folder and
outlives the process. Over the command "last" the process dies, when it has written it down and before it answers; the
next process answers. Each answer takes a moment, so that a death mostly finds commands that are executed and not
answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
import time
from typing import Any

MOMENT = 0.003


def execute(its: str) -> None:
    """Write an id down. What is written is in the system's hands, and stays there if this process dies."""
    ledger = os.open("ledger", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    is_new = its == "last" and b"last\n" not in os.read(ledger, 1_000_000)
    os.write(ledger, f"{its}\n".encode())
    os.close(ledger)
    if is_new:
        stop_listening()
        os.kill(os.getpid(), signal.SIGKILL)


def stop_listening() -> None:
    """Close every listening socket, so that nobody connects to a process that is just dying."""
    for number in range(3, 256):
        with contextlib.suppress(OSError):  # no such descriptor, or no socket
            its = socket.socket(fileno=number)
            listens = its.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            its.detach()
            if listens:
                os.close(number)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """POST or PUT an id to /; or write an Elasticsearch document whose title is the id, or send such an SQS message."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body", False)
    headers = dict(scope["headers"])
    answer: dict[str, Any] = {}
    if b"x-amz-target" in headers:
        its = json.loads(body)["MessageBody"]
        answer = {"MessageId": its, "MD5OfMessageBody": hashlib.md5(its.encode()).hexdigest()}
    elif scope["path"].endswith("/_doc"):
        its = json.loads(body)["title"]
        answer = {"_id": its, "result": "created"}
    else:
        its = body.decode()
    execute(its)
    await asyncio.sleep(MOMENT)
    kind = headers.get(b"accept", b"*/*").replace(b"*/*", b"application/json")
    what = [(b"content-type", kind), (b"x-elastic-product", b"Elasticsearch")]
    await send({"type": "http.response.start", "status": 200, "headers": what})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def serve_web(port: int) -> None:
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=port, lifespan="off", access_log=False)


def serve_grpc(port: int) -> None:
    from concurrent import futures

    import grpc

    def answer(request: bytes, _: Any) -> bytes:
        execute(request.decode())
        time.sleep(MOMENT)
        return b"42"

    class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, _: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Service(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("running on", port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    {"web": serve_web, "grpc": serve_grpc}[sys.argv[1]](int(sys.argv[2]))
