"""What was seen, as values: the looking rooms make them, the judge reads them.

Pure.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from .._handshakes import Answer
from .._values import NamedTuple
from ..endpoint import Endpoint

ReplyKind: TypeAlias = Literal[
    "answered", "refused", "itself", "no_answer", "unreachable", "prohibited", "full", "missing", "no_permission",
    "not_a_socket", "failed",
]  # fmt: skip


class Reply(NamedTuple):
    """What one address did.

    Attributes:
        place: the IP address, or the path.
        kind: what became of the connect.
        text: the system's own words about it.
        ours: whether it is an address of this machine.
        answer: what became of the handshake, where there was one.
        other: what became of a second one, with TLS where the first had none, or without.
    """

    place: str
    kind: ReplyKind
    text: str = ""
    ours: bool = False
    answer: Answer | None = None
    other: Answer | None = None


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
