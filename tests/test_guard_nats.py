"""nats-py under `guard()`: the first connect of a client."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from typing import Any

import guarding
import nats as client
import pytest
from guarding import Guarded
from machine_servers import NatsServer
from nats.aio.client import Client

from resilient import Endpoint, is_refused
from resilient.clients import guard
from resilient.clients.nats import _where, ping, serves
from resilient.testing import refused_port


async def no_news(_: Exception) -> None:
    """Takes errors of the background, which are of no interest here."""


async def over_function(host: str, port: int, **shield: Any) -> Any:
    return await guard(client.connect, **shield)(f"nats://{host}:{port}", error_cb=no_news, reconnect_time_wait=0.05)


async def over_class(host: str, port: int, **shield: Any) -> Any:
    made = guard(Client, **shield)()
    await made.connect(f"nats://{host}:{port}", error_cb=no_news, reconnect_time_wait=0.05)
    return made


async def over_object(host: str, port: int, **shield: Any) -> Any:
    made = guard(Client(), **shield)
    await made.connect([f"nats://{host}:{port}"], error_cb=no_news, reconnect_time_wait=0.05)
    return made


async def ask(made: Any) -> int:
    """Ask somebody, who is on the same connection."""

    async def answer(message: Any) -> None:
        await message.respond(b"42")

    for _ in range(200):  # reconnecting goes on in the background
        if made.is_connected:
            break
        await asyncio.sleep(0.05)
    subscription = await made.subscribe("question", cb=answer)
    reply = await made.request("question", b"", timeout=5)
    await subscription.unsubscribe()
    return int(reply.data)


async def close(made: Any) -> None:
    await made.close()


NO_SERVERS = client.errors.NoServersError
GUARDED = (
    Guarded("nats.connect", over_function, ask, NO_SERVERS, close=close),
    Guarded("NATS", over_class, ask, NO_SERVERS, close=close),
    Guarded("NATS()", over_object, ask, NO_SERVERS, close=close),
)
on_each = pytest.mark.parametrize("guarded", GUARDED, ids=str)


@on_each
def test_it_waits_for_its_server(guarded: Guarded, nats: Any) -> None:
    guarding.starts_before_its_server(guarded, nats)


@on_each
def test_it_outlives_a_restart(guarded: Guarded, nats: Any) -> None:
    """By the client's own reconnects."""
    guarding.outlives_a_restart(guarded, nats)


@on_each
def test_it_gives_up_as_the_client_does(guarded: Guarded) -> None:
    guarding.every_check_without_a_server(guarded)


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    """Bare, each would have tried sixty times."""
    assert guarding.connects_on_the_wire("test_guard_nats") == {guarded.name: 3 for guarded in GUARDED}


def test_the_cause_stands_behind_the_clients_own_error() -> None:
    with refused_port() as port:
        error = guarding.error_of(GUARDED[0], port, policy=guarding.THREE)
    assert is_refused(error)
    assert isinstance(error.__cause__, OSError)


def test_what_comes_back_is_what_went_in(nats: Any) -> None:
    """The function keeps its name; the client is a `NATS`."""
    guarded = guard(client.connect)
    assert inspect.iscoroutinefunction(guarded)
    assert (guarded.__name__, guarded.__doc__) == ("connect", client.connect.__doc__)

    async def type_of_client() -> type:
        made = await guarded(nats.url)
        await made.close()
        return type(made)

    assert asyncio.run(type_of_client()) is Client
    made = Client()
    assert guard(guard(made)) is made
    assert type(made).__mro__[1] is Client  # and not guarded twice over
    assert guard(guard(Client)).__mro__[1] is Client


def test_each_server_is_tried_once_in_an_attempt(nats: Any) -> None:
    """The second one answers, without a pause; the user's own handler hears of the first."""
    heard: list[Exception] = []

    async def hear(error: Exception) -> None:
        heard.append(error)

    async def main(port: int) -> Any:
        connect = guard(client.connect, policy=guarding.THREE)
        made = await connect([f"nats://127.0.0.1:{port}", nats.url], error_cb=hear, dont_randomize=True)
        url = made.connected_url
        await made.close()
        return url

    with refused_port() as port:
        assert asyncio.run(main(port)).port == nats.port
    assert [type(error) for error in heard] == [ConnectionRefusedError]


def test_a_wrong_password_is_said_at_once() -> None:
    """The bare client tries it for ever; here the server's own word comes out, and no connection is left open."""
    with NatsServer(arguments=("--user", "me", "--pass", "secret")) as server:
        server.start()
        server.wait_ready(30)
        url = f"nats://me:guessed@127.0.0.1:{server.port}"
        with pytest.raises(client.errors.Error, match="Authorization Violation"):
            asyncio.run(guard(client.connect, policy=guarding.PATIENT)(url))
        with pytest.raises(client.errors.Error, match="Authorization Violation") as caught:
            serves(url, 2.0)
        assert "guessed" not in str(caught.value)
        for _ in range(100):
            if server.connections() == 0:
                break
            threading.Event().wait(0.02)
        assert server.connections() == 0


def test_what_was_changed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "resilient"):
        guard(client.connect)
    assert "nats: the first connect is made as the policy says" in caplog.text


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        ("nats://u:secret@mq:5000", "nats://mq:5000"),
        ("mq", "nats://mq:4222"),
        (["nats://a:1", "nats://b:2"], "nats://a:1"),
        ("tls://mq", "nats://mq:4222"),
    ],
)
def test_the_target_is_the_first_server(servers: Any, expected: str) -> None:
    assert _where(servers) == Endpoint.parse(expected)


def test_it_can_be_asked_whether_it_serves(nats: Any) -> None:
    """By a URL, and by a client that is there."""
    serves(nats.url, 2.0)

    async def main() -> None:
        made = await client.connect(nats.url)
        await ping(made)
        await made.close()

    asyncio.run(main())
    with refused_port() as port, pytest.raises(NO_SERVERS):
        serves(f"nats://127.0.0.1:{port}", 1.0)


def test_a_cancelled_connect_leaves_nothing_behind() -> None:
    """A task that is cancelled in a pause ends at once."""

    async def main(port: int) -> None:
        task = asyncio.create_task(guard(client.connect, policy=guarding.PATIENT)(f"nats://127.0.0.1:{port}"))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with refused_port() as port:
        asyncio.run(asyncio.wait_for(main(port), 5))
