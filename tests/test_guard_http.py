"""requests, httpx and aiohttp under `guard()`: sessions, clients, transports, adapters and connectors."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.server
import logging
import pickle
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import guarding
import httpx
import pytest
import requests
from guarding import Guarded

from resilient import CircuitBreaker, CircuitBreakers, Endpoint
from resilient.clients import aiohttp as our_aiohttp
from resilient.clients import guard
from resilient.clients import httpx as our_httpx
from resilient.clients import requests as our_requests
from resilient.testing import LateServer, refused_port


class Answer(http.server.BaseHTTPRequestHandler):
    """Says 42, or the body that was posted; keeps the connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(b"42", 503 if self.path == "/starting" else 302 if self.path == "/elsewhere" else 200)

    def do_POST(self) -> None:
        if "Content-Length" in self.headers:
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))
            return
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.answer(body)

    def answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class WebServer(LateServer):
    """A server of the standard library that goes down and up on one port, as the checks want it."""

    def __init__(self) -> None:
        super().__init__(lambda connection: Answer(connection, ("", 0), None))  # type: ignore[arg-type]
        self.kill, self.start = self.down, self.up

    def wait_ready(self, timeout: float) -> None:
        """It is ready as soon as it is up."""


def url(host: str, port: int) -> str:
    return f"http://{host}:{port}/"


def direct(session: requests.Session) -> requests.Session:
    session.trust_env = False
    return session


def mounted(adapter: requests.adapters.HTTPAdapter) -> requests.Session:
    session = direct(requests.Session())
    session.mount("http://", adapter)
    return session


def ask(opened: tuple[Any, str]) -> int:
    client, where = opened
    return int(client.get(where).text)


async def ask_httpx(opened: tuple[Any, str]) -> int:
    client, where = opened
    return int((await client.get(where)).text)


async def ask_aiohttp(opened: tuple[Any, str]) -> int:
    client, where = opened
    async with client.get(where) as response:
        return int(await response.text())


def close(opened: tuple[Any, str]) -> None:
    opened[0].close()


async def close_httpx(opened: tuple[Any, str]) -> None:
    await opened[0].aclose()


async def close_aiohttp(opened: tuple[Any, str]) -> None:
    await opened[0].close()


def at(make: Any) -> Any:
    """What is used is a client, and the URL it asks."""
    return lambda host, port, **shield: (make(**shield), url(host, port))


def at_once(make: Any) -> Any:
    """The same, made on the event loop."""

    async def open_it(host: str, port: int, **shield: Any) -> tuple[Any, str]:
        return make(**shield), url(host, port)

    return open_it


def of_requests(name: str, make: Any) -> Guarded:
    return Guarded(f"requests {name}", at(make), ask, requests.ConnectionError, close)


def of_httpx(name: str, make: Any) -> Guarded:
    return Guarded(f"httpx {name}", at(make), ask, httpx.ConnectError, close)


def of_async_httpx(name: str, make: Any) -> Guarded:
    return Guarded(f"httpx {name}", at(make), ask_httpx, httpx.ConnectError, close_httpx)


def of_aiohttp(name: str, make: Any) -> Guarded:
    return Guarded(f"aiohttp {name}", at_once(make), ask_aiohttp, aiohttp.ClientConnectorError, close_aiohttp)


GUARDED = (
    of_requests("Session", lambda **shield: guard(direct(requests.Session()), **shield)),
    of_requests("Session class", lambda **shield: direct(guard(requests.Session, **shield)())),
    of_requests("session()", lambda **shield: direct(guard(requests.session, **shield)())),
    of_requests("HTTPAdapter", lambda **shield: mounted(guard(requests.adapters.HTTPAdapter(max_retries=4), **shield))),
    of_requests("HTTPAdapter class", lambda **shield: mounted(guard(requests.adapters.HTTPAdapter, **shield)())),
    of_httpx("Client", lambda **shield: guard(httpx.Client(trust_env=False), **shield)),
    of_httpx("Client class", lambda **shield: guard(httpx.Client, **shield)(trust_env=False)),
    of_httpx("transport", lambda **shield: httpx.Client(transport=guard(httpx.HTTPTransport(retries=2), **shield))),
    of_httpx("transport class", lambda **shield: httpx.Client(transport=guard(httpx.HTTPTransport, **shield)())),
    of_async_httpx("AsyncClient", lambda **shield: guard(httpx.AsyncClient(trust_env=False), **shield)),
    of_async_httpx("AsyncClient class", lambda **shield: guard(httpx.AsyncClient, **shield)(trust_env=False)),
    of_async_httpx(
        "async transport", lambda **shield: httpx.AsyncClient(transport=guard(httpx.AsyncHTTPTransport(), **shield))
    ),
    of_aiohttp("ClientSession", lambda **shield: guard(aiohttp.ClientSession(), **shield)),
    of_aiohttp("ClientSession class", lambda **shield: guard(aiohttp.ClientSession, **shield)()),
    of_aiohttp("connector", lambda **shield: aiohttp.ClientSession(connector=guard(aiohttp.TCPConnector(), **shield))),
    of_aiohttp(
        "connector class", lambda **shield: aiohttp.ClientSession(connector=guard(aiohttp.TCPConnector, **shield)())
    ),
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with contextlib.closing(WebServer()) as found:
        found.up()
        yield found


@on_each
def test_it_waits_for_its_server(guarded: Guarded, server: WebServer) -> None:
    guarding.starts_before_its_server(guarded, server)


@on_each
def test_it_outlives_a_restart(guarded: Guarded, server: WebServer) -> None:
    """Its idle connection is gone, and the next request makes a new one."""
    guarding.outlives_a_restart(guarded, server)


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them, and its loop goes on."""
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    assert guarding.connects_on_the_wire("test_guard_http") == {guarded.name: 3 for guarded in GUARDED}


@on_each
def test_its_target_is_what_it_connects_to(guarded: Guarded) -> None:
    """Each circuit has its endpoint for its key."""
    breakers = CircuitBreakers(observers=())
    with refused_port() as port:
        guarding.error_of(guarded, port, policy=guarding.THREE, breaker=breakers)
        scheme = "tcp" if guarded.name.startswith("httpx") else "http"
        key = Endpoint(scheme=scheme, host="127.0.0.1", port=port)
    assert breakers[key].snapshot().failures == 3


# A body that can be read once.


def once() -> Iterator[bytes]:
    yield b"read "
    yield b"once"


async def once_async() -> AsyncIterator[bytes]:
    for part in once():
        yield part


def test_a_body_that_can_be_read_once_is_sent_whole_by_requests(server: WebServer) -> None:
    """It is refused before the body is touched."""
    server.down()
    server.up_after(0.3)
    with guard(direct(requests.Session()), policy=guarding.PATIENT) as session:
        assert session.post(url(server.host, server.port), data=once()).text == "read once"


def test_a_body_that_can_be_read_once_is_sent_whole_by_httpx(server: WebServer) -> None:
    server.down()
    server.up_after(0.3)
    with guard(httpx.Client(trust_env=False), policy=guarding.PATIENT) as client:
        assert client.post(url(server.host, server.port), content=once()).text == "read once"


def test_a_body_that_can_be_read_once_is_sent_whole_by_asynchronous_clients(server: WebServer) -> None:
    async def main() -> None:
        where = url(server.host, server.port)
        server.down()
        server.up_after(0.3)
        async with guard(httpx.AsyncClient(trust_env=False), policy=guarding.PATIENT) as client:
            assert (await client.post(where, content=once_async())).text == "read once"
        server.down()
        server.up_after(0.3)
        async with (
            guard(aiohttp.ClientSession(), policy=guarding.PATIENT) as session,
            session.post(where, data=once_async()) as response,
        ):
            assert await response.text() == "read once"

    asyncio.run(main())


# A request that was sent.


@pytest.mark.parametrize("client", ["requests", "httpx", "httpx async", "aiohttp"])
def test_a_request_that_was_sent_is_not_sent_again(client: str) -> None:
    """The server reads it, hangs up and is gone: nothing says that it did not do it."""
    heard: list[bytes] = []

    def hang_up(connection: socket.socket) -> None:
        heard.append(connection.recv(65_536))

    with contextlib.closing(LateServer(hang_up)) as server:
        server.up()
        where = url(server.host, server.port)

        async def over_httpx() -> None:
            async with guard(httpx.AsyncClient(trust_env=False), policy=guarding.PATIENT) as session:
                await session.post(where, content=b"pay")

        async def over_aiohttp() -> None:
            async with guard(aiohttp.ClientSession(), policy=guarding.PATIENT) as session:
                await session.post(where, data=b"pay")

        with pytest.raises((requests.ConnectionError, httpx.TransportError, aiohttp.ClientError)):
            if client == "requests":
                with guard(direct(requests.Session()), policy=guarding.PATIENT) as session:
                    session.post(where, data=b"pay")
            elif client == "httpx":
                with guard(httpx.Client(trust_env=False), policy=guarding.PATIENT) as session:
                    session.post(where, content=b"pay")
            else:
                asyncio.run(over_aiohttp() if client == "aiohttp" else over_httpx())
    assert len(heard) == 1


# What comes back.


def test_what_comes_back_is_what_went_in() -> None:
    for cls in (requests.Session, httpx.Client, httpx.AsyncClient, aiohttp.ClientSession, aiohttp.TCPConnector):
        guarded = guard(cls)
        assert issubclass(guarded, cls)
        assert (guarded.__name__, guarded.__doc__) == (cls.__name__, cls.__doc__)
        assert guard(guarded).__mro__[1] is cls
    for thing in (requests.Session(), httpx.Client(), requests.adapters.HTTPAdapter()):
        assert guard(thing) is thing
        thing.close()


def test_a_guarded_session_still_pickles() -> None:
    """What comes out of a pickle is a session as it was before it was guarded."""
    for session in (guard(requests.Session()), guard(requests.Session)()):
        assert type(pickle.loads(pickle.dumps(session))) is requests.Session
    adapter = guard(requests.adapters.HTTPAdapter)()
    assert type(pickle.loads(pickle.dumps(adapter))) is requests.adapters.HTTPAdapter


@pytest.mark.parametrize("make", [lambda: direct(requests.Session()), lambda: httpx.Client(trust_env=False)])
def test_guarding_again_puts_the_new_policy_in_place_of_the_old(make: Any) -> None:
    breaker = CircuitBreaker("tried", trip_after=2, observers=())
    with refused_port() as port, make() as client:
        guard(client, policy=guarding.THREE)
        guard(client, policy=guarding.THREE)
        guard(client, policy=guarding.THREE.replace(attempts=2), breaker=breaker)
        with pytest.raises((requests.ConnectionError, httpx.ConnectError)):
            client.get(url("127.0.0.1", port))
    assert breaker.state == "open"


def test_a_session_that_was_used_before_is_protected_from_then_on(server: WebServer) -> None:
    """Its pool and its idle connection were there before."""
    where = url(server.host, server.port)
    for make in (lambda: direct(requests.Session()), lambda: httpx.Client(trust_env=False)):
        with make() as client:
            assert client.get(where).text == "42"
            guard(client, policy=guarding.PATIENT)
            assert client.get(where).text == "42"
            server.down()
            server.up_after(0.3)
            assert client.get(where).text == "42"


def test_an_adapters_own_retry_of_connects_is_off_and_the_rest_of_it_kept(caplog: pytest.LogCaptureFixture) -> None:
    from urllib3 import Retry

    adapter = requests.adapters.HTTPAdapter(max_retries=Retry(total=4, status_forcelist=[502]))
    with caplog.at_level(logging.DEBUG, "resilient"):
        guard(adapter)
        guard(httpx.HTTPTransport(retries=3))
    assert (adapter.max_retries.total, adapter.max_retries.connect) == (4, 0)
    assert "requests: urllib3's own retry of connects is off" in caplog.text
    assert "httpx: the transport's own 3 retries are off" in caplog.text


def test_a_proxy_is_what_is_connected_to() -> None:
    with refused_port() as port, direct(requests.Session()) as session:
        breakers = CircuitBreakers(observers=())
        guard(session, policy=guarding.THREE, breaker=breakers)
        with pytest.raises(requests.ConnectionError):
            session.get("http://elsewhere.invalid/", proxies={"http": url("127.0.0.1", port)})
        assert breakers[Endpoint(scheme="http", host="127.0.0.1", port=port)].snapshot().failures == 3


# httpcore leaves a unix socket open that was refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_unix_sockets_are_targets(tmp_path: Any) -> None:
    path = str(tmp_path / "web.sock")

    async def main() -> None:
        session = aiohttp.ClientSession(connector=guard(aiohttp.UnixConnector(path), policy=guarding.THREE))
        with pytest.raises(aiohttp.ClientConnectorError) as raised:
            async with session:
                await session.get("http://localhost/")
        assert f"unix://{path}" in "".join(getattr(raised.value, "__notes__", [f"unix://{path}"]))

    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        asyncio.run(main())
        transport = guard(httpx.HTTPTransport(uds=path), policy=guarding.THREE)
        with httpx.Client(transport=transport) as client, pytest.raises(httpx.ConnectError):
            client.get("http://localhost/")
        del transport, client
        gc.collect()  # here, where the warning is expected


def test_under_trio_as_well(server: WebServer) -> None:
    import trio

    async def main() -> str:
        async with guard(httpx.AsyncClient(trust_env=False), policy=guarding.PATIENT) as client:
            return (await client.get(url(server.host, server.port))).text

    server.down()
    server.up_after(0.3)
    assert trio.run(main) == "42"


# Saying hello.


@pytest.mark.parametrize("ours", [our_requests, our_httpx, our_aiohttp])
def test_a_url_serves_when_it_answers_anything_but_503(ours: Any, server: WebServer) -> None:
    where = f"http://user:secret@127.0.0.1:{server.port}"
    ours.serves(f"{where}/", 5.0)
    ours.serves(f"{where}/elsewhere", 5.0)
    with pytest.raises((requests.HTTPError, httpx.HTTPStatusError, aiohttp.ClientResponseError)) as raised:
        ours.serves(f"{where}/starting", 5.0)
    assert "secret" not in str(raised.value)
    server.down()
    with pytest.raises((requests.ConnectionError, httpx.ConnectError, aiohttp.ClientConnectorError)):
        ours.serves(f"{where}/", 5.0)


def test_a_client_with_a_base_url_can_be_pinged(server: WebServer) -> None:
    where = url(server.host, server.port)
    with httpx.Client(base_url=where) as client:
        our_httpx.ping(client)

    async def main() -> None:
        async with httpx.AsyncClient(base_url=where) as client, aiohttp.ClientSession(where) as session:
            await our_httpx.ping(client)
            await our_aiohttp.ping(session)

    asyncio.run(main())
    for ours, thing in ((our_httpx, httpx.Client()), (our_requests, requests.Session())):
        with thing, pytest.raises(TypeError, match="give a URL"):
            ours.ping(thing)
