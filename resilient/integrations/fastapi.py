"""FastAPI, Starlette and other ASGI frameworks: a start that waits, and 503 while a circuit is open.

No framework is imported: a lifespan is a function, and a middleware is what ASGI says it is.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Final, TypeAlias

from .. import clock
from .._causes import MOST_NODES, behind
from ..backoff import seconds
from ..errors import CircuitOpenError
from ..policy import Policy
from ..refusal import turned_away
from ..waiting import wait_for_async

__all__ = ["Lifespan", "OpenCircuitMiddleware", "lifespan"]

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]
"""What frameworks take as `lifespan=`: the application in, an asynchronous context manager out."""

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_Application: TypeAlias = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_BODY: Final = json.dumps({"detail": "Service Unavailable"}).encode()


def lifespan(
    *targets: object,
    timeout: float | timedelta | None = 60.0,
    policy: Policy | None = None,
    stable_for: float | timedelta = 0.0,
    then: Lifespan | None = None,
) -> Lifespan:
    """Return a lifespan that waits until all targets serve; until then the server does not open its port.

        app = FastAPI(lifespan=lifespan("postgresql://app:secret@db/app", cache))

    Args:
        targets: each as for `wait_for_async`: URLs, and clients, engines and pools that `guard` knows.
        timeout: seconds for all of them together. None: no limit.
        policy: how often to try and who is told; default `Policy.startup()`.
        stable_for: seconds for which each must go on serving before it counts.
        then: a lifespan of your own, entered when all of them serve; its state is passed on.

    Raises:
        WaitTimeoutError: at the start; the server ends with it.
        Exception: at the start, the client's own, at once, where waiting cannot help.
    """

    @contextlib.asynccontextmanager
    async def wait_first(app: Any) -> AsyncIterator[Any]:
        ends = None if timeout is None else clock.now() + seconds("timeout", timeout)
        for target in targets:
            left = None if ends is None else max(ends - clock.now(), 0.001)
            await wait_for_async(target, timeout=left, policy=policy, stable_for=stable_for)
        if then is None:
            yield None
            return
        async with then(app) as state:
            yield state

    return wait_first


class OpenCircuitMiddleware:
    """Answers 503 with `Retry-After` where a request ended in an open circuit.

        app.add_middleware(OpenCircuitMiddleware)

    It looks for a `CircuitOpenError` that leaves the application by itself or as the cause of a client's own exception.
    What the application handles itself does not come here. An answer that has begun is not touched.

    Args:
        app: the application.
        status: of the answer.
        body: of the answer, in JSON; default: what FastAPI says at a status of 503. Names neither server nor circuit.
        also: a predicate of other errors that are to be answered so, without `Retry-After`: `resilient.is_not_ready`,
            say, for calls that have given up themselves.
    """

    def __init__(
        self,
        app: _Application,
        *,
        status: int = 503,
        body: bytes = _BODY,
        also: Callable[[BaseException], object] | None = None,
    ) -> None:
        self.app = app
        self.status = status
        self.body = body
        self.also = also

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = False

        async def watch(message: _Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as error:
            opened = None if began else _open_circuit_behind(error)
            if opened is None and (began or self.also is None or not self.also(error)):
                raise
            await self._answer(None if opened is None else opened.retry_after, send)

    async def _answer(self, retry_after: float | None, send: _Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body))]
        if retry_after is not None:  # an isolated circuit does not know
            headers.append((b"retry-after", b"%d" % max(1, math.ceil(retry_after))))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def _open_circuit_behind(error: BaseException) -> CircuitOpenError | None:
    """Return the open circuit that an error came from; not one that the application handled before it failed."""
    waiting, seen = deque([error]), {id(error)}
    while waiting:
        link = waiting.popleft()
        opened = turned_away(link)
        if opened is not None:
            return opened
        for reason in behind(link):
            new = [inner for inner in reason if id(inner) not in seen and len(seen) < MOST_NODES]
            seen.update(map(id, new))
            waiting.extend(new)
    return None
