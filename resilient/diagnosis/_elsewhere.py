"""Where else on this machine a server is, if not where the target says.

Pure.
"""

from __future__ import annotations

from typing import Final

from ..endpoint import DEFAULT_PORTS, Endpoint
from ._seen import Listener, Owner, Reply, Seen

PROGRAMS: Final[dict[str, tuple[str, ...]]] = {
    "amqp": ("beam.smp",),
    "memcached": ("memcached",),
    "mongodb": ("mongod", "mongos"),
    "mqtt": ("mosquitto",),
    "mysql": ("mariadbd", "mysqld"),
    "nats": ("nats-server",),
    "postgresql": ("postgres",),
    "redis": ("redis-server", "valkey-server", "keydb-server", "dragonfly"),
}
"""Service → names of the processes that serve it, as the system cuts them (15 characters)."""

_SERVICES: Final = {
    **{scheme: scheme for scheme in PROGRAMS},
    "amqps": "amqp",
    "mariadb": "mysql",
    "mqtts": "mqtt",
    **dict.fromkeys(("rediss", "valkey", "valkeys"), "redis"),
}

LONGEST_PATH: Final = 100
_ALL: Final = frozenset({"0.0.0.0", "::"})


def same_name(seen: Seen) -> str | None:
    """Return a unix socket with a listener whose name is the one meant, in another folder: PostgreSQL has two usual."""
    own = str(seen.endpoint.path)
    name = own.rpartition("/")[2]
    same = (path for path in seen.machine.paths or () if path.rpartition("/")[2] == name and path != own)
    return next(filter(_is_plain, same), None)


def _is_plain(path: str) -> bool:
    """Whether it can be a target: no white space, nothing that is not seen."""
    return path.isprintable() and path.split() == [path] and len(path) <= LONGEST_PATH


def listener_of(seen: Seen, reply: Reply) -> Listener | None:
    """Return who listens on exactly this address. Where IPv4 refused, "::" is for IPv6 only."""
    if not reply.ours:
        return None
    own = reply.place.partition("%")[0]
    places = (own, "::") if ":" in own else (own, "0.0.0.0") if reply.kind == "refused" else (own, "0.0.0.0", "::")
    fitting = [each for each in seen.machine.listeners or () if each.port == seen.endpoint.port]
    return min(
        (each for each in fitting if each.address in places), key=lambda each: places.index(each.address), default=None
    )


def same_service(seen: Seen) -> Listener | None:
    """Return a listener that is, by its process or by its usual port, the service that the target means."""
    endpoint = seen.endpoint
    service = _SERVICES.get(endpoint.scheme)
    if endpoint.scheme == "tcp":
        service = next((name for name in PROGRAMS if DEFAULT_PORTS[name] == endpoint.port), None)
    usual = DEFAULT_PORTS.get(endpoint.scheme)
    for listener in seen.machine.listeners or ():
        name = "" if listener.owner is None else listener.owner.name
        if service is not None and name in PROGRAMS[service] and listener.port != endpoint.port:
            return listener
    for listener in seen.machine.listeners or ():
        if listener.port == usual != endpoint.port:
            return listener
    return None


def is_another_service(endpoint: Endpoint, owner: Owner | None) -> bool:
    """Whether a process is known to serve something else than what the target names."""
    if owner is None or endpoint.scheme in ("tcp", "unix"):
        return False
    serves = next((service for service, names in PROGRAMS.items() if owner.name in names), None)
    return serves is not None and serves != _SERVICES.get(endpoint.scheme, endpoint.scheme)


def is_loopback(place: str) -> bool:
    """Whether an IP address means this machine itself, whatever machine that is."""
    return place == "::1" or place.startswith("127.")


def means_loopback(endpoint: Endpoint) -> bool:
    """Whether the target says so itself, and not only what its name resolves to."""
    host = str(endpoint.host).rstrip(".")
    return host == "localhost" or host.endswith(".localhost") or is_loopback(host) or host in _ALL
