"""What a firewall or router does to a connect, for real, on a wire that a program answers; and what is said of it."""

from __future__ import annotations

import json
from typing import Any

import programs
import pytest
import wire

PROGRAM = """
import json, socket, sys
import wire
from resilient import is_refused, is_unreachable
from resilient.diagnosis import _machine, diagnose

_machine.container = lambda: ""
has_ipv6 = wire.start()
found = {}
for host in json.loads(sys.argv[1]):
    if ":" in host and not has_ipv6:
        continue
    its = diagnose(f"[{host}]:5432" if ":" in host else f"{host}:5432", timeout=1.0)
    kind = "silent"
    try:
        socket.create_connection((host, 5432), timeout=0.2)
    except TimeoutError:
        pass
    except OSError as error:
        kind = "refused" if is_refused(error) else "unreachable" if is_unreachable(error) else type(error).__name__
    found[host] = {**its.as_dict(), "kind": kind}
print(json.dumps(found))
"""

FAULTS = {
    # What a client sees, what it is, who turned it back, and in which words. iptables' names in the comments.
    "10.9.0.201": ("refused", "nothing_listens", "", ""),  # tcp-reset, or nobody listens: nobody can tell
    "10.9.0.3": ("refused", "rejected", "10.9.0.3", "port unreachable (ICMP 3/3)"),  # REJECT's default
    "10.9.0.103": ("refused", "rejected", "10.9.0.254", "port unreachable (ICMP 3/3)"),
    "10.9.0.2": ("OSError", "rejected", "10.9.0.2", "protocol unreachable (ICMP 3/2)"),  # icmp-proto-unreachable
    "10.9.0.9": ("unreachable", "rejected", "10.9.0.9", "network administratively prohibited"),  # icmp-net-prohibited
    "10.9.0.10": ("unreachable", "rejected", "10.9.0.10", "host administratively prohibited"),  # icmp-host-prohibited
    "10.9.0.113": ("unreachable", "rejected", "10.9.0.254", "communication administratively prohibited"),
    "10.9.0.100": ("unreachable", "unreachable", "10.9.0.254", "network unreachable (ICMP 3/0)"),
    "10.9.0.101": ("unreachable", "unreachable", "10.9.0.254", "host unreachable (ICMP 3/1)"),
    "10.9.0.7": ("unreachable", "unreachable", "10.9.0.7", "ICMP 3/7"),
    "10.9.0.200": ("silent", "dropped", "", ""),  # DROP
    "fd09::c9": ("refused", "nothing_listens", "", ""),
    "fd09::4": ("refused", "rejected", "fd09::4", "port unreachable (ICMPv6 1/4)"),
    "fd09::65": ("PermissionError", "rejected", "fd09::fe", "administratively prohibited (ICMPv6 1/1)"),
    "fd09::6a": ("PermissionError", "rejected", "fd09::fe", "a route that rejects (ICMPv6 1/6)"),
    "fd09::64": ("unreachable", "unreachable", "fd09::fe", "no route (ICMPv6 1/0)"),
    "fd09::3": ("unreachable", "unreachable", "fd09::3", "address unreachable (ICMPv6 1/3)"),
    "fd09::c8": ("silent", "dropped", "", ""),
}


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    """What is said of every address, in a network of its own."""
    done = programs.run(PROGRAM, json.dumps(list(FAULTS)), behind=wire.behind())
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("host", FAULTS)
def test_what_a_firewall_does_has_its_code(said: dict[str, Any], host: str) -> None:
    """Also who did it, where that came back; and every client sees what it is made for."""
    if host not in said:
        wire.requires("IPv6")
    kind, code, by, words = FAULTS[host]
    found = said[host]
    assert (found["kind"], found["code"]) == (kind, code), found
    turned_back = [sentence for sentence in found["evidence"] if " turned it back: " in sentence]
    if not by:
        assert not turned_back
    else:
        [sentence] = turned_back
        assert sentence.startswith(f"{by} turned it back: ")
        assert words in sentence


def test_the_firewall_on_the_way_is_named_in_the_help(said: dict[str, Any]) -> None:
    assert "ask whoever keeps the firewall 10.9.0.254" in said["10.9.0.113"]["help"]
    assert said["10.9.0.113"]["help"].startswith("sudo traceroute -T -p 5432 10.9.0.113 ")


def test_a_reset_says_that_the_machine_is_up(said: dict[str, Any]) -> None:
    """And an ICMP message, which anybody on the way may send, does not."""
    is_up = "answers at once, so that machine is up"
    assert is_up in " ".join(said["10.9.0.201"]["evidence"])
    assert is_up not in " ".join(said["10.9.0.103"]["evidence"])
