"""What was seen, in sentences: the evidence of a diagnosis.

Pure.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from .._handshakes import HANDSHAKES
from .._scrub import scrub
from ._elsewhere import is_loopback, means_loopback, same_name, same_service
from ._seen import Listener, Reply, Seen

MOST_SHOWN: Final = 5
"""Other listeners that evidence names."""

WITH_TLS: Final = frozenset({"amqps", "https", "mqtts", "rediss", "valkeys", "wss"})


def evidence_of(seen: Seen, code: str, reply: Reply | None) -> Iterator[str]:
    """Yield everything that was seen and may matter."""
    yield from _of_name(seen, code)
    for each in seen.replies:
        yield from _of_reply(seen, each)
    yield from _of_driver(seen)
    yield from _of_machine(seen, code, reply)
    if seen.proxy is not None:
        where = seen.proxy.endpoint or "an address that cannot be read"
        state = "accepts connections" if seen.proxy.accepts else "does not accept connections"
        yield f"{seen.proxy.variable} sends clients through {where}, which {state}"
    if seen.clash:
        yield seen.clash


def _of_name(seen: Seen, code: str) -> Iterator[str]:
    host = seen.endpoint.host
    if not seen.replies and seen.name == "found":
        yield f"nothing could be looked at ({seen.name_text or 'the name has no address'})"
    if host is None:
        return
    if seen.name == "silent":
        yield f"the resolver did not answer for {host} in time"
        return
    if seen.name == "unresolved":
        yield f"the resolver says of {host}: {seen.name_text}"
        return
    places = list(dict.fromkeys(reply.place for reply in seen.replies))
    if places and places != [host]:
        yield f"{host} is {', '.join(places)}"
    if seen.hosts and code != "serves" and not means_loopback(seen.endpoint):
        yield f"the hosts file says so: {seen.hosts}"
    if seen.own_name and places and not any(reply.ours for reply in seen.replies):
        yield f"{host} is this machine's own name, and the address is not this machine's"


def _of_reply(seen: Seen, reply: Reply) -> Iterator[str]:
    place = reply.place
    if reply.kind == "answered" and reply.answer is not None:
        answer = reply.answer
        yield f"{place} accepts connections"
        scheme = seen.endpoint.scheme
        if answer.kind == "serves" and scheme in ("tcp", "unix") and answer.text == "accepts connections":
            yield f"{place} was not asked more: the target names no protocol"
        elif answer.kind == "serves" and scheme not in HANDSHAKES and scheme != "unix":
            yield f"{place} was not asked more: no first word of {scheme} is known here ({answer.text})"
        else:
            asks = "; it asks for a password" if answer.needs_password else ""
            yield f"{place} to a first word: {answer.text}{asks}"
        if reply.other is not None:
            other = "without TLS" if seen.endpoint.scheme in WITH_TLS else "with TLS"
            yield f"{place} to a first word {other}: {reply.other.text}"
        return
    yield f"{place} {_TEXTS.get(reply.kind, 'was dialled')}" + (f" ({reply.text})" if reply.text else "")
    if reply.icmp is not None:
        who = "this machine itself" if reply.icmp.ours else reply.icmp.by or "somebody"
        yield f"{who} turned it back: {reply.icmp}"
    elif reply.kind == "refused" and not reply.ours and seen.endpoint.path is None:
        yield f"{place} answers at once, so that machine is up; what listens there can be seen only there"


_TEXTS: Final = {
    "refused": "refused the connection at once",
    "itself": "was reached by nobody but this connect itself: nothing listens there",
    "no_answer": "did not answer in time",
    "unreachable": "cannot be reached",
    "prohibited": "may not be connected to from here",
    "full": "takes no more connections",
    "missing": "does not exist",
    "no_permission": "may not be opened",
    "not_a_socket": "is no stream socket",
    "failed": "could not be dialled",
}


def _of_driver(seen: Seen) -> Iterator[str]:
    if seen.untried:
        yield f"whether the credentials are right was not tried: {seen.untried}"
    if seen.driver == "serves":
        yield "the driver logged in"
    elif seen.driver == "late":
        yield "the driver did not end in time"
    elif seen.driver:
        yield f"the driver says: {seen.driver_text}"


def _of_machine(seen: Seen, code: str, reply: Reply | None) -> Iterator[str]:
    if code == "serves" or reply is None or not reply.ours:
        return
    machine, endpoint = seen.machine, seen.endpoint
    if endpoint.path is not None:
        yield from _of_paths(seen, code)
        return
    if machine.listeners is None:
        yield "who listens on this machine could not be read: this system does not show it here"
    else:
        yield from _of_listeners(seen, machine.listeners)
    for port, owner in machine.looping:
        if port == endpoint.port:
            yield f"a connection on port {port} leads to itself ({owner or 'whose process cannot be read'})"
    if machine.container and reply.kind == "refused" and is_loopback(reply.place):
        yield f"this is a container: {machine.container}"


def _of_paths(seen: Seen, code: str) -> Iterator[str]:
    if seen.machine.paths is None:
        yield "which unix sockets are listened on could not be read: this system does not show it"
    elif code == "listens_on_other_path":
        yield f"something listens on {scrub(shlex.quote(str(same_name(seen))))}"
    elif str(seen.endpoint.path) not in seen.machine.paths:
        yield "nothing on this machine listens on that path"


def _of_listeners(seen: Seen, listeners: tuple[Listener, ...]) -> Iterator[str]:
    port = seen.endpoint.port
    on_port = [each for each in listeners if each.port == port]
    for each in on_port[:MOST_SHOWN]:
        waiting = f", with {each.waiting} connections that it has not accepted yet" if each.waiting else ""
        stopped = ", which is stopped" if each.owner is not None and each.owner.stopped else ""
        yield f"on this machine {each} listens{waiting}{stopped}"
    if on_port:
        return
    best = same_service(seen)
    others = list(dict.fromkeys([*([best] if best is not None else []), *listeners]))
    shown = ", ".join(str(each) for each in others[:MOST_SHOWN])
    more = f" and {len(others) - MOST_SHOWN} more" if len(others) > MOST_SHOWN else ""
    yield f"on this machine nothing listens on port {port}" + (f", but on {shown}{more}" if others else "")
