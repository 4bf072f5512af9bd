"""What a diagnosis is, and the codes that it can have."""

from __future__ import annotations

from typing import Any, Final

from .._values import Value
from ..endpoint import Endpoint

CODES: Final[dict[str, str]] = {
    "serves": "it serves",
    "nothing_listens": "nothing listens on that port",
    "listens_on_other_address": "something listens on that port, but on another address",
    "listens_on_other_port": "the server listens, but on another port",
    "listens_on_other_path": "a server listens on a unix socket of that name, but in another folder",
    "localhost_in_container": "in a container, localhost is the container itself, and nothing listens there",
    "name_unresolved": "the name does not resolve",
    "resolver_silent": "the name's look-up does not end",
    "name_resolves_elsewhere": "the name resolves to an address that it hardly means",
    "rejected": "a firewall rejects the connect",
    "prohibited": "this machine's own rules forbid the connect",
    "dropped": "no answer at all: a firewall drops the connect, or the machine is down",
    "unreachable": "there is no way to that address",
    "backlog_full": "the server accepts no more connections: its queue is full",
    "connected_to_itself": "a client is connected to itself on that port, and keeps the server from it",
    "missing_unix_socket": "there is no such unix socket",
    "stale_unix_socket": "the unix socket is there, and nobody listens on it",
    "not_a_socket": "the path is no stream socket",
    "no_permission": "the unix socket may not be opened by this user",
    "starting_up": "the server says that it is not ready yet",
    "wrong_protocol": "another protocol is spoken there",
    "tls_expected": "TLS is expected there",
    "no_tls": "no TLS is spoken there",
    "tls_failed": "TLS is spoken there, and was not agreed upon",
    "wrong_credentials": "the server turned away these credentials, or this database",
    "turned_away": "the server turned this client away",
    "driver_failed": "the server answers a first word, and the driver fails",
    "closes_at_once": "it accepts, and hangs up at once",
    "silent": "it accepts, and says nothing",
    "process_stopped": "it accepts, and its process is stopped",
    "proxy_in_the_way": "a proxy of the environment stands before the target",
    "name_clash": "another distribution, which imports as `resilient` too, is installed over this one",
    "not_known": "what was seen does not say why",
}
"""Every code, and what it means. A code stays what it is; new ones may come."""


class Diagnosis(Value):
    """Why a target does not serve, or that it does.

    Compares by value, pickles, holds no secret.

    Attributes:
        code: one of the words that the manual lists.
        endpoint: what was looked at.
        evidence: what was looked at and seen, a sentence each.
        help: one line that can be pasted: a command or a better target, and after "#" what it is for.
    """

    code: str
    endpoint: Endpoint
    evidence: tuple[str, ...]
    help: str

    @property
    def serves(self) -> bool:
        """Whether there is nothing to do."""
        return self.code == "serves"

    @property
    def meaning(self) -> str:
        """The code in words."""
        return CODES.get(self.code, self.code)

    def as_dict(self) -> dict[str, Any]:
        """Return it as what JSON can say."""
        return {
            "target": str(self.endpoint),
            "serves": self.serves,
            "code": self.code,
            "meaning": self.meaning,
            "evidence": list(self.evidence),
            "help": self.help,
        }

    def __str__(self) -> str:
        lines = [f"{self.endpoint}: {self.meaning} ({self.code})"]
        lines += [f"  - {sentence}" for sentence in self.evidence]
        return "\n".join([*lines, f"  help: {self.help}"])
