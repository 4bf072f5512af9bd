"""What was seen, as values: the looking rooms make them, the judge reads them.

Pure.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from .._handshakes import Answer
from .._values import NamedTuple
from ..endpoint import Endpoint

ReplyKind: TypeAlias = Literal[
    "answered", "refused", "itself", "no_answer", "unreachable", "prohibited", "full", "missing", "no_permission",
    "not_a_socket", "failed",
]  # fmt: skip


class Icmp(NamedTuple):
    """A message of ICMP that came back instead of an answer.

    Attributes:
        version: of IP: 4 or 6.
        type: as RFC 792 and RFC 4443 have it.
        code: the same.
        by: the address of who sent it.
        ours: whether that is an address of this machine.
    """

    version: int
    type: int
    code: int
    by: str
    ours: bool = False

    @property
    def is_a_rule(self) -> bool:
        """Whether it says that somebody forbids it. To a closed port a machine answers by a reset (RFC 9293, 3.10.7.1):
        "port unreachable" to a connect is a firewall's word."""
        return (self.type, self.code) in (_RULES if self.version == 4 else _RULES_6)

    def __str__(self) -> str:
        known = _WORDS if self.version == 4 else _WORDS_6
        name = f"ICMP{'v6' if self.version == 6 else ''} {self.type}/{self.code}"
        words = known.get((self.type, self.code))
        return f"{words} ({name})" if words else name


_WORDS: Final = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    (3, 9): "network administratively prohibited",
    (3, 10): "host administratively prohibited",
    (3, 13): "communication administratively prohibited",
    (11, 0): "it went in circles",
}
_RULES: Final = frozenset({(3, 2), (3, 3), (3, 9), (3, 10), (3, 13)})
_WORDS_6: Final = {
    (1, 0): "no route",
    (1, 1): "administratively prohibited",
    (1, 3): "address unreachable",
    (1, 4): "port unreachable",
    (1, 5): "the sender's address failed a policy",
    (1, 6): "a route that rejects",
    (3, 0): "it went in circles",
}
_RULES_6: Final = frozenset({(1, 1), (1, 4), (1, 5), (1, 6)})


class Reply(NamedTuple):
    """What one address did.

    Attributes:
        place: the IP address, or the path.
        kind: what became of the connect.
        text: the system's own words about it.
        ours: whether it is an address of this machine.
        answer: what became of the handshake, where there was one.
        other: what became of a second one, with TLS where the first had none, or without.
        icmp: the message that turned the connect back, where there was one and this system shows it.
    """

    place: str
    kind: ReplyKind
    text: str = ""
    ours: bool = False
    answer: Answer | None = None
    other: Answer | None = None
    icmp: Icmp | None = None


class Owner(NamedTuple):
    """A process; `stopped`: by a signal or a debugger."""

    pid: int
    name: str
    stopped: bool

    def __str__(self) -> str:
        return f"{self.name}, process {self.pid}"


class Listener(NamedTuple):
    """A TCP port of this machine on which something listens.

    Attributes:
        address: "0.0.0.0" and "::" stand for all.
        port: its number.
        waiting: connections that are made and not accepted yet.
        owner: whose it is; None where that cannot be read.
    """

    address: str
    port: int
    waiting: int
    owner: Owner | None = None

    def __str__(self) -> str:
        where = f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
        return f"{where} ({self.owner or 'whose process cannot be read'})"


class Machine(NamedTuple):
    """What this machine shows of itself.

    Attributes:
        listeners: None where they cannot be read.
        looping: ports with a connection to itself, and whose it is.
        paths: unix sockets on which something listens; None where they cannot be read.
        container: what shows that this is a container, or "".
    """

    listeners: tuple[Listener, ...] | None = None
    looping: tuple[tuple[int, Owner | None], ...] = ()
    paths: tuple[str, ...] | None = None
    container: str = ""


class Proxy(NamedTuple):
    """A proxy that clients take from the environment.

    Attributes:
        variable: which says so.
        endpoint: where it is; None where that cannot be read.
        accepts: whether it accepts connections.
    """

    variable: str
    endpoint: Endpoint | None
    accepts: bool


class Seen(NamedTuple):
    """Everything that was seen.

    Attributes:
        endpoint: what was looked at.
        name: "found"; "unresolved"; "silent": the look-up did not end.
        name_text: the resolver's own words.
        hosts: the line of the hosts file that names the host, or "".
        own_name: whether the host is this machine's own name.
        replies: what each address did.
        machine: what this machine shows of itself.
        proxy: what stands before it, if anything does.
        driver: what the driver said: "" it was not asked, "serves", or the kind of its error ("other" for none).
        driver_text: its own words.
        untried: why the credentials in the target were not tried, or "".
        clash: what says that another distribution is installed over this one, or "".
    """

    endpoint: Endpoint
    name: Literal["found", "unresolved", "silent"] = "found"
    name_text: str = ""
    hosts: str = ""
    own_name: bool = False
    replies: tuple[Reply, ...] = ()
    machine: Machine = Machine()
    proxy: Proxy | None = None
    driver: str = ""
    driver_text: str = ""
    untried: str = ""
    clash: str = ""
