"""`localhost` that is ::1 *and* 127.0.0.1, as on most machines and in few images: every client tries both.

Runs the clients in a process of their own, with a hosts file and, where IPv6 is off, a network of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import socket
import struct
import warnings
from pathlib import Path
from typing import Any

import programs
import pytest
from clients import CLIENTS, Client, Place, kind_of
from conftest import requires
from corpus.servers import refused_pair
from fake_servers import Handler, hang_up, mysql, postgres, redis_server

from resilient import Backoff, Policy, retry_on_refused
from resilient.testing import refused_port

STARTING: dict[str, Handler] = {
    "postgresql": postgres("57P03", "the database system is starting up"),
    "redis": redis_server("-LOADING Redis is loading the dataset in memory"),
    "mysql": mysql(1053, "Server shutdown in progress", greets=False),
}
GUARDED: dict[str, Handler] = {
    "postgresql": postgres("28P01", 'password authentication failed for user "someone"'),
    "redis": redis_server("-WRONGPASS invalid username-password pair or user is disabled."),
    "mysql": mysql(1045, "Access denied for user 'someone'@'localhost'", state="28000"),
}

Verdicts = dict[str, dict[str, Any]]

on_every_client = pytest.mark.parametrize("client", CLIENTS, ids=str)
on_every_server_client = pytest.mark.parametrize("client", [c for c in CLIENTS if c.protocol != "tcp"], ids=str)


# In the process of its own.


def attempts(policy: Policy, client: Client, place: Place) -> int:
    """Return how many of at most two attempts a call makes under this policy."""
    count = 0

    @retry_on_refused(policy=policy.replace(attempts=2, backoff=Backoff(initial=0, maximum=0), observers=()))
    def connect() -> None:
        nonlocal count
        count += 1
        result = client.connect(place)
        if client.is_async:
            asyncio.run(result)

    with contextlib.suppress(Exception):
        connect()
    return count


def judge(client: Client, port: int) -> dict[str, Any]:
    place = Place(host="localhost", port=port)
    error = client.error(place)
    tried = [attempts(policy, client, place) for policy in (Policy(), Policy.startup())]
    return {"kind": kind_of(error), "tried": tried, "text": f"{type(error).__name__}: {error}"}


def judge_all(world: str) -> dict[str, Any]:
    """Judge what each client raises, in the world that this process was born into."""
    warnings.simplefilter("ignore", ResourceWarning)  # PyMySQL leaves sockets to the garbage collector
    if world == "both" and not has_ipv6():
        return {"lacks": "::1 on the loopback"}
    verdicts: dict[str, Verdicts] = {}
    if world == "without IPv6":
        turn_ipv6_off()
        with refused_port() as port:
            verdicts["refused"] = {client.name: judge(client, port) for client in CLIENTS}
    else:
        with refused_pair() as port:
            verdicts["refused"] = {client.name: judge(client, port) for client in CLIENTS}
        for situation, servers in (("starting", STARTING), ("guarded", GUARDED), ("hangs up", {})):
            verdicts[situation] = {}
            for client in CLIENTS:
                if client.protocol != "tcp":
                    with refused_pair(servers.get(client.protocol, hang_up)) as port:
                        verdicts[situation][client.name] = judge(client, port)
    addresses = [info[4][0] for info in socket.getaddrinfo("localhost", 1, type=socket.SOCK_STREAM)]
    return {"addresses": addresses, "verdicts": verdicts}


def has_ipv6() -> bool:
    try:
        with refused_port("::1"):
            return True
    except OSError:
        return False


def turn_ipv6_off() -> None:
    """Bring up the loopback of a new network, with no address but 127.0.0.1."""
    switch = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    if switch.exists():
        switch.write_text("1")
    set_flags, is_up = 0x8914, 1  # SIOCSIFFLAGS, IFF_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH14x", b"lo", is_up))


# In pytest's.


def run_in(world: str, hosts: Path) -> dict[str, Any]:
    """Run `judge_all` behind a hosts file of ours; end the test where this machine gives no leave to."""
    hosts.write_text("127.0.0.1 localhost\n::1 localhost\n", encoding="utf-8")
    answer = programs.run(
        "import json, sys, test_two_addresses as t; print(json.dumps(t.judge_all(sys.argv[1])))",
        world,
        behind=programs.mounted(hosts, "/etc/hosts", own_network=world == "without IPv6"),
    )
    if "Read-only file system: '/proc/sys/" in answer.stderr:
        requires("leave to turn IPv6 off in a network of one's own")
    assert answer.returncode == 0, answer.stderr
    result: dict[str, Any] = json.loads(answer.stdout)
    if "lacks" in result:
        requires(result["lacks"])
    if set(result["addresses"]) != {"127.0.0.1", "::1"}:
        requires("a resolver that reads /etc/hosts")
    return result


@pytest.fixture(scope="module")
def two_addresses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_in("both", tmp_path_factory.mktemp("both") / "hosts")


@pytest.fixture(scope="module")
def without_ipv6(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_in("without IPv6", tmp_path_factory.mktemp("one") / "hosts")


def verdict(world: dict[str, Any], situation: str, client: Client) -> tuple[str | None, list[int]]:
    found = world["verdicts"][situation][client.name]
    return found["kind"], found["tried"]


@on_every_client
def test_refused_on_both_addresses_is_refused(two_addresses: dict[str, Any], client: Client) -> None:
    """Also where asyncio says it in one text only."""
    assert verdict(two_addresses, "refused", client) == ("refused", [2, 2])


@on_every_server_client
def test_refused_on_one_and_starting_on_the_other_is_not_ready(two_addresses: dict[str, Any], client: Client) -> None:
    assert verdict(two_addresses, "starting", client) == ("not_ready", [1, 2])


@on_every_server_client
def test_refused_on_one_and_a_wrong_password_on_the_other_is_final(
    two_addresses: dict[str, Any], client: Client
) -> None:
    """libpq shows both, so that it is not all hopeless; it is never retried."""
    assert verdict(two_addresses, "guarded", client) == (None if client.libpq else "hopeless", [1, 1])


@on_every_server_client
def test_refused_on_one_and_hung_up_by_the_other_is_nothing_known(
    two_addresses: dict[str, Any], client: Client
) -> None:
    assert verdict(two_addresses, "hangs up", client) == (None, [1, 1])


@on_every_client
def test_refused_where_ipv6_is_off_is_waited_for_at_a_start(without_ipv6: dict[str, Any], client: Client) -> None:
    """::1 cannot be reached, 127.0.0.1 refuses: not all refused, and `Policy.startup()` waits for it all the same.

    Blocking clients show the last address only, and an address that cannot be used comes last (RFC 6724, rule 1).
    """
    shows_last_only = client.name in ("socket", "redis", "valkey", "pymysql", "sqlalchemy-pymysql")
    if shows_last_only and without_ipv6["addresses"][-1] == "127.0.0.1":
        assert verdict(without_ipv6, "refused", client) == ("refused", [2, 2])
    else:
        assert verdict(without_ipv6, "refused", client) == ("unreachable", [1, 2])
