"""boto3 under `guard()`: clients and resources, and what makes them, against a small server of AWS's kind."""

from __future__ import annotations

import contextlib
import http.server
import logging
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.exceptions
import guarding
import pytest
from botocore.config import Config
from guarding import Guarded

from resilient import CircuitBreaker, CircuitBreakers, Endpoint
from resilient.clients import guard
from resilient.clients.boto3 import ping
from resilient.testing import LateServer, refused_port


class Service(http.server.BaseHTTPRequestHandler):
    """Knows who is there; busy at first where it is told to be."""

    protocol_version = "HTTP/1.1"
    busy = 0
    asked = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        Service.asked += 1
        Service.busy -= 1
        body = b"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>42</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"  # noqa: E501
        self.send_response(503 if Service.busy >= 0 else 200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class ServiceServer(LateServer):
    """Goes down and up on one port, as the checks want it."""

    def __init__(self) -> None:
        super().__init__(lambda connection: Service(connection, ("", 0), None))  # type: ignore[arg-type]
        self.kill, self.start = self.down, self.up

    def wait_ready(self, timeout: float) -> None:
        """It is ready as soon as it is up."""


SETTINGS: dict[str, Any] = {
    "region_name": "eu-west-1",
    "aws_access_key_id": "key",
    "aws_secret_access_key": "secret",
    "config": Config(proxies={}),
}
SESSION = boto3.Session()


def ask(client: Any) -> int:
    return int(client.get_caller_identity()["Account"])


def at(make: Any) -> Any:
    return lambda host, port, **shield: make({**SETTINGS, "endpoint_url": f"http://{host}:{port}"}, shield)


def close(client: Any) -> None:
    client.close()


ERROR = botocore.exceptions.EndpointConnectionError
GUARDED = (
    Guarded("client", at(lambda to, shield: guard(SESSION.client("sts", **to), **shield)), ask, ERROR, close),
    Guarded("boto3.client", at(lambda to, shield: guard(boto3.client, **shield)("sts", **to)), ask, ERROR, close),
    Guarded("session.client", at(lambda to, shield: guard(SESSION.client, **shield)("sts", **to)), ask, ERROR, close),
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


@pytest.fixture
def server() -> Iterator[ServiceServer]:
    with contextlib.closing(ServiceServer()) as found:
        found.up()
        yield found


@on_each
def test_it_waits_for_its_server(guarded: Guarded, server: ServiceServer) -> None:
    guarding.starts_before_its_server(guarded, server)


@on_each
def test_it_outlives_a_restart(guarded: Guarded, server: ServiceServer) -> None:
    guarding.outlives_a_restart(guarded, server)


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    """By its own exceptions, after the attempts of the policy; its circuit counts them."""
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    """botocore alone would make three, and with a policy round it nine."""
    assert guarding.connects_on_the_wire("test_guard_boto3") == {guarded.name: 3 for guarded in GUARDED}


def test_a_resources_client_is_guarded() -> None:
    with refused_port() as port:
        to = {**SETTINGS, "endpoint_url": f"http://127.0.0.1:{port}"}
        for make in (
            lambda **shield: guard(boto3.resource, **shield)("s3", **to),
            lambda **shield: guard(boto3.resource("s3", **to), **shield),
        ):
            breaker = CircuitBreaker("tried", trip_after=3, observers=())
            client = make(policy=guarding.THREE, breaker=breaker).meta.client
            with contextlib.closing(client), pytest.raises(ERROR):
                client.list_buckets()
            assert breaker.state == "open"


def test_botocores_retries_of_answers_go_on(server: ServiceServer) -> None:
    """A service that says 503 is asked again as the user's `Config` says."""
    config = Config(retries={"total_max_attempts": 3, "mode": "standard"}, proxies={})
    to = {**SETTINGS, "endpoint_url": f"http://{server.target}", "config": config}
    with contextlib.closing(guard(SESSION.client("sts", **to), policy=guarding.THREE)) as client:
        Service.busy, Service.asked = 2, 0
        assert ask(client) == 42
    assert Service.asked == 3


def test_guarding_again_puts_the_new_policy_in_place_of_the_old() -> None:
    breaker = CircuitBreaker("tried", trip_after=2, observers=())
    with refused_port() as port:
        client = SESSION.client("sts", **SETTINGS, endpoint_url=f"http://127.0.0.1:{port}")
        assert guard(client, policy=guarding.THREE) is client
        guard(client, policy=guarding.THREE.replace(attempts=2), breaker=breaker)
        with contextlib.closing(client), pytest.raises(ERROR):
            client.get_caller_identity()
    assert breaker.state == "open"


def test_the_target_is_the_endpoint() -> None:
    breakers = CircuitBreakers(observers=())
    with refused_port() as port:
        client = SESSION.client("sts", **SETTINGS, endpoint_url=f"http://127.0.0.1:{port}")
        guard(client, policy=guarding.THREE, breaker=breakers)
        with contextlib.closing(client), pytest.raises(ERROR):
            client.get_caller_identity()
        assert breakers[Endpoint(scheme="http", host="127.0.0.1", port=port)].snapshot().failures == 3


def test_what_was_switched_off_is_said_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "resilient"):
        guard(SESSION.client("sts", **SETTINGS)).close()
    assert "boto3: botocore's own retries of refused connects are off" in caplog.text


def test_there_is_nothing_to_be_pinged() -> None:
    with pytest.raises(TypeError, match="give its endpoint's URL"):
        ping(object())
