"""FastAPI and Starlette: a real server process, real requests, and servers that are killed and come back."""

from __future__ import annotations

import asyncio
import errno
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import web
from conftest import ready_to_start

from resilient import Backoff, CircuitBreaker, CircuitOpenError, WaitTimeoutError, is_not_ready
from resilient.cli._servers import PostgresServer, ValkeyServer
from resilient.integrations.fastapi import OpenCircuitMiddleware, lifespan
from resilient.testing import late_server, refused_port

FILES = {
    "application.py": """
        import contextlib, os

        import redis.asyncio
        from fastapi import FastAPI, Request
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import create_async_engine

        from resilient import Backoff, CircuitBreaker, Policy, guard
        from resilient.integrations.fastapi import OpenCircuitMiddleware, lifespan

        policy = Policy(deadline=0.3)
        circuits = [
            CircuitBreaker(name, trip_after=1, cooldown=Backoff(initial=0.5, maximum=0.5)) for name in ("db", "cache")
        ]
        engine = create_async_engine(
            os.environ["DATABASE"].replace("postgresql:", "postgresql+asyncpg:"), pool_pre_ping=True
        )
        guard(engine, policy=policy, breaker=circuits[0])
        cache = guard(redis.asyncio.Redis.from_url(os.environ["CACHE"]), policy=policy, breaker=circuits[1])

        @contextlib.asynccontextmanager
        async def mine(app):
            yield {"greeting": "hello"}
            await cache.aclose()
            await engine.dispose()

        targets = (os.environ["DATABASE"], engine, cache)
        app = FastAPI(lifespan=lifespan(*targets, timeout=float(os.environ["TIMEOUT"]), then=mine))
        app.add_middleware(OpenCircuitMiddleware)

        @app.get("/ask")
        async def ask(request: Request):
            async with engine.connect() as connection:
                answer = (await connection.execute(text("select 42"))).scalar()
            return {"answer": answer, "greeting": request.state.greeting}

        @app.get("/count")
        async def count():
            return await cache.incr("count")

        @app.get("/slip")
        async def slip():
            return 1 // 0
    """,
    "serve.py": """
        import uvicorn

        class Server(uvicorn.Server):
            async def startup(self, sockets=None):
                await super().startup(sockets)
                if self.started:
                    print("port", self.servers[0].sockets[0].getsockname()[1])

        Server(uvicorn.Config("application:app", host="127.0.0.1", port=0, lifespan="on")).run()
    """,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("application")
    for name, text in FILES.items():
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with ready_to_start(lambda: PostgresServer(password="hidden")) as found:
        yield found


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ready_to_start(ValkeyServer) as found:
        yield found


def test_an_application_starts_before_its_servers_and_says_503_while_they_are_away(
    project: Path, postgres: PostgresServer, valkey: ValkeyServer
) -> None:
    """Its port opens when both serve; with an open circuit it answers at once; soon after they are back it serves."""
    variables = {"DATABASE": postgres.url, "CACHE": valkey.url, "TIMEOUT": "40"}
    with web.running(["serve.py"], project, **variables) as application:
        servers = (postgres, valkey)
        timers = [threading.Timer(delay, server.start) for delay, server in zip((1.0, 2.5), servers, strict=True)]
        for timer in timers:
            timer.start()
        application.wait_ready()
        for timer in timers:
            timer.join()
        assert valkey.ready_at is not None
        assert time.monotonic() - valkey.ready_at < 2.0
        assert application.get("/ask").text == '{"answer":42,"greeting":"hello"}'
        assert application.get("/count").text == "1"
        for server, path in ((postgres, "/ask"), (valkey, "/count")):
            server.kill()
            assert _first(application, path, 503, within=3.0).elapsed < 2.0
            # One in half a second is the probe, and ends with the client's own refusal.
            answer = _first(application, path, 503, within=3.0)
            assert (answer.status, answer.text) == (503, '{"detail":"Service Unavailable"}'.replace(":", ": "))
            assert answer.headers["retry-after"] == "1"
            assert answer.elapsed < 1.0
            server.start()
            server.wait_ready(30)
            _first(application, path, 200, within=3.0)
        assert application.get("/slip").status == 500
        assert "hidden" not in "\n".join(application.lines)


def _first(application: web.Application, path: str, status: int, *, within: float) -> web.Response:
    ends = time.monotonic() + within
    while True:
        answer = application.get(path)
        if answer.status == status:
            return answer
        assert time.monotonic() < ends, (answer, application.lines[-30:])
        threading.Event().wait(0.05)


def test_a_server_whose_targets_do_not_come_ends(project: Path) -> None:
    """With what it waited for and what came last in its log, and no port opened."""
    with refused_port() as port:
        variables = {"DATABASE": f"postgresql://u:hidden@127.0.0.1:{port}/x", "CACHE": "redis://x", "TIMEOUT": "1"}
        with web.running(["serve.py"], project, **variables) as application:
            assert application.process.wait(30) != 0
            application._reader.join(10)
    log = "\n".join(application.lines)
    assert "WaitTimeoutError: postgresql://127.0.0.1:" in log
    assert "hidden" not in log
    assert application.port == 0


# Without a server


async def _started(start: Any) -> Any:
    async with start("the application") as state:
        return state


def test_all_targets_have_one_time_limit_together() -> None:
    started = time.monotonic()
    with refused_port() as port, late_server() as server:
        server.up()
        with pytest.raises(WaitTimeoutError) as caught:
            asyncio.run(_started(lifespan(f"tcp://127.0.0.1:{server.port}", f"tcp://127.0.0.1:{port}", timeout=0.6)))
    assert time.monotonic() - started < 3.0
    assert str(port) in str(caught.value)


def test_without_targets_nothing_is_waited_for() -> None:
    """And a lifespan of one's own is entered with the application."""
    assert asyncio.run(_started(lifespan())) is None
    seen = []

    class Mine:
        def __init__(self, app: object) -> None:
            seen.append(app)

        async def __aenter__(self) -> dict[str, int]:
            return {"answer": 42}

        async def __aexit__(self, *_: object) -> None:
            seen.append("left")

    assert asyncio.run(_started(lifespan(then=Mine))) == {"answer": 42}
    assert seen == ["the application", "left"]


def asked(application: Any, kind: str = "http", **settings: Any) -> list[dict[str, Any]]:
    """Send one request by hand; return what was answered."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody asks for the body")

    asyncio.run(OpenCircuitMiddleware(application, **settings)({"type": kind}, receive, send))
    return sent


def an_open_circuit(retry_after: float | None = 0.2) -> CircuitOpenError:
    return CircuitOpenError("db", retry_after, "it refused")


class ClientError(Exception):
    """A client's own."""


def test_an_open_circuit_behind_a_clients_own_error_is_found() -> None:
    async def application(*_: Any) -> None:
        try:
            try:
                raise an_open_circuit()
            except CircuitOpenError as opened:
                raise ClientError("cannot connect") from opened
        except ClientError as inner:
            raise RuntimeError("the page failed") from inner

    start, body = asked(application)
    assert start["status"] == 503
    assert dict(start["headers"])[b"retry-after"] == b"1"
    assert b"db" not in body["body"]


@pytest.mark.parametrize(("seconds", "header"), [(0.0, b"1"), (1.2, b"2"), (None, None)])
def test_retry_after_is_in_whole_seconds(seconds: float | None, header: bytes | None) -> None:
    """Rounded up, and left out where the circuit is held open by hand."""

    async def application(*_: Any) -> None:
        raise an_open_circuit(seconds)

    start, _ = asked(application)
    assert dict(start["headers"]).get(b"retry-after") == header


def test_a_mistake_made_while_an_open_circuit_was_handled_is_a_mistake() -> None:
    """It is the page's own, and stays one."""

    async def application(*_: Any) -> None:
        try:
            raise an_open_circuit()
        except CircuitOpenError:
            {}["the fallback"]

    with pytest.raises(KeyError):
        asked(application)


def test_other_errors_can_be_answered_in_the_same_way() -> None:
    """Those that a predicate knows; no others."""

    async def refused(*_: Any) -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    async def slip(*_: Any) -> None:
        raise KeyError("slip")

    start, body = asked(refused, also=is_not_ready, status=502, body=b"{}")
    assert (start["status"], body["body"]) == (502, b"{}")
    assert b"retry-after" not in dict(start["headers"])
    with pytest.raises(ConnectionRefusedError):
        asked(refused)
    with pytest.raises(KeyError):
        asked(slip, also=is_not_ready)


def test_an_answer_that_has_begun_is_not_touched() -> None:
    async def application(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise an_open_circuit()

    with pytest.raises(CircuitOpenError):
        asked(application)


def test_other_kinds_of_connections_are_left_alone() -> None:
    async def application(*_: Any) -> None:
        raise an_open_circuit()

    with pytest.raises(CircuitOpenError):
        asked(application, "websocket")


def test_an_isolated_breaker_in_starlette() -> None:
    """In a plain Starlette application, through its own stack of middleware; a breaker as a decorator."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    breaker = CircuitBreaker("db", cooldown=Backoff(initial=3.0, maximum=3.0), observers=())

    @breaker
    async def page(_: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", page)], middleware=[Middleware(OpenCircuitMiddleware)])
    scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": [], "query_string": b""}

    def status() -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        asyncio.run(app({**scope, "app": app}, receive, send))
        return int(sent[0]["status"])

    assert status() == 200
    breaker.isolate()
    assert status() == 503
