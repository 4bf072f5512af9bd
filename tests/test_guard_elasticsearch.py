"""elasticsearch under `guard()`: clients and transports, plain and asynchronous, against a small server of its kind."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import elastic_transport
import guarding
import pytest
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch
from guarding import Guarded

from resilient import CircuitBreaker, CircuitBreakers, Endpoint
from resilient.clients import guard
from resilient.clients.elasticsearch import ping, serves
from resilient.testing import LateServer, refused_port


class Node(http.server.BaseHTTPRequestHandler):
    """Knows how many documents there are, and takes one, and then hangs up if it is called "lost"."""

    protocol_version = "HTTP/1.1"
    written: list[str] = []  # noqa: RUF012  # one for the module
    status = 200

    def do_GET(self) -> None:
        body = json.dumps({"count": 42, "version": {"number": "9.0.0"}}).encode()
        self.send_response(type(self).status)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/vnd.elasticsearch+json;compatible-with=9")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_PUT(self) -> None:
        self.written.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        if "lost" in self.path:
            self.close_connection = True
            return
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


class NodeServer(LateServer):
    """Goes down and up on one port, as the checks want it."""

    def __init__(self) -> None:
        super().__init__(lambda connection: Node(connection, ("", 0), None))  # type: ignore[arg-type]
        self.kill, self.start = self.down, self.up

    def wait_ready(self, timeout: float) -> None:
        """It is ready as soon as it is up."""


def url(host: str, port: int) -> str:
    return f"http://{host}:{port}"


def ask(client: Any) -> int:
    return int(client.count()["count"])


async def ask_async(client: Any) -> int:
    return int((await client.count())["count"])


async def close_async(client: Any) -> None:
    await client.close()


def made(make: Any) -> Any:
    return lambda host, port, **shield: make(url(host, port), **shield)


async def async_client(host: str, port: int, **shield: Any) -> Any:
    return guard(AsyncElasticsearch(url(host, port)), **shield)


async def async_class(host: str, port: int, **shield: Any) -> Any:
    return guard(AsyncElasticsearch, **shield)(url(host, port))


def over_transport(where: str, **shield: Any) -> Any:
    client = Elasticsearch(where)
    guard(client.transport, **shield)
    return client


ERROR = elastic_transport.ConnectionError
GUARDED = (
    Guarded(
        "Elasticsearch", made(lambda where, **s: guard(Elasticsearch(where), **s)), ask, ERROR, Elasticsearch.close
    ),
    Guarded("class", made(lambda where, **s: guard(Elasticsearch, **s)(where)), ask, ERROR, Elasticsearch.close),
    Guarded(
        "options()",
        made(lambda where, **s: guard(Elasticsearch, **s)(where).options(max_retries=9)),
        ask,
        ERROR,
        Elasticsearch.close,
    ),
    Guarded("transport", made(over_transport), ask, ERROR, Elasticsearch.close),
    Guarded("AsyncElasticsearch", async_client, ask_async, ERROR, close_async),
    Guarded("async class", async_class, ask_async, ERROR, close_async),
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


@pytest.fixture
def server() -> Iterator[NodeServer]:
    with contextlib.closing(NodeServer()) as found:
        found.up()
        yield found


@on_each
def test_it_waits_for_its_server(guarded: Guarded, server: NodeServer) -> None:
    guarding.starts_before_its_server(guarded, server)


@on_each
def test_it_outlives_a_restart(guarded: Guarded, server: NodeServer) -> None:
    guarding.outlives_a_restart(guarded, server)


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them, and its loop goes on."""
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    """The client alone would make four, and with a policy round it twelve."""
    assert guarding.connects_on_the_wire("test_guard_elasticsearch") == {guarded.name: 3 for guarded in GUARDED}


def test_a_request_that_was_sent_is_not_sent_again(server: NodeServer) -> None:
    """The node takes it and hangs up; the client alone would send it three times more."""
    with guard(Elasticsearch(url(server.host, server.port)), policy=guarding.PATIENT) as client:
        with pytest.raises(ERROR):
            client.index(index="books", id="lost", document={})
        client.index(index="books", id="kept", document={})
    assert [path for path in Node.written if "lost" in path] == ["/books/_doc/lost"]


def test_a_refused_node_leads_to_the_next(server: NodeServer) -> None:
    with refused_port() as port:
        nodes = [url("127.0.0.1", port), url(server.host, server.port)]
        with guard(Elasticsearch(nodes, randomize_nodes_in_pool=False), policy=guarding.THREE) as client:
            assert {ask(client) for _ in range(4)} == {42}


def test_what_comes_back_is_what_went_in() -> None:
    guarded = guard(Elasticsearch)
    assert issubclass(guarded, Elasticsearch)
    assert (guarded.__name__, guarded.__doc__) == ("Elasticsearch", Elasticsearch.__doc__)
    assert guard(guarded).__mro__[1] is Elasticsearch
    with Elasticsearch("http://localhost:1") as client:
        assert guard(client) is client


def test_guarding_again_puts_the_new_policy_in_place_of_the_old() -> None:
    breaker = CircuitBreaker("tried", trip_after=2, observers=())
    with refused_port() as port, Elasticsearch(url("127.0.0.1", port)) as client:
        guard(client, policy=guarding.THREE)
        guard(client, policy=guarding.THREE.replace(attempts=2), breaker=breaker)
        with pytest.raises(ERROR):
            client.count()
    assert breaker.state == "open"


def test_the_target_is_the_first_node() -> None:
    breakers = CircuitBreakers(observers=())
    with refused_port() as port, Elasticsearch(f"http://user:secret@127.0.0.1:{port}") as client:
        with pytest.raises(ERROR) as raised:
            guard(client, policy=guarding.THREE, breaker=breakers).count()
        assert "secret" not in "".join([str(raised.value), *getattr(raised.value, "__notes__", [])])
        key = Endpoint(scheme="elasticsearch", host="127.0.0.1", port=port)
        assert breakers[key].snapshot().failures == 3


def test_what_was_switched_off_is_said_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "resilient"), Elasticsearch("http://localhost:1") as client:
        guard(client)
    assert "elasticsearch: the transport's own 3 retries are off" in caplog.text


def test_hello_is_said(server: NodeServer) -> None:
    where = url(server.host, server.port)

    async def main() -> None:
        async with AsyncElasticsearch(where) as client:
            await ping(guard(client))

    with Elasticsearch(where) as client:
        ping(client)
        ping(guard(client))
        asyncio.run(main())
        serves(f"elasticsearch://user:secret@{server.target}", 5.0)
        for Node.status in (401, 503):
            with pytest.raises(ApiError) as raised:
                serves(f"elasticsearch://user:secret@{server.target}", 5.0)
            assert "secret" not in str(raised.value)
        Node.status = 200
        server.down()
        with pytest.raises(ERROR):
            ping(client)
    with pytest.raises(TypeError, match="no client of elasticsearch"):
        ping(threading.Lock())
