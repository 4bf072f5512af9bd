"""One line of help for each code: a command or a better target, and after "#" what it is for.

Pure.
"""

from __future__ import annotations

import shlex
from typing import Final

from ..endpoint import Endpoint
from ._seen import Listener, Reply

_SECURE: Final = {
    "amqp": "amqps",
    "http": "https",
    "mqtt": "mqtts",
    "redis": "rediss",
    "valkey": "valkeys",
    "ws": "wss",
}
SIBLINGS: Final = {**_SECURE, **{secure: plain for plain, secure in _SECURE.items()}}
"""The same protocol with TLS where this is without, or without where this is with."""

_LINES: Final = {
    "serves": "nothing to do",
    "nothing_listens": "{see}  # start the server that belongs on port {port}, or correct the port",
    "listens_on_other_address": "{found}  # connect there, or let the server listen on {place}, too",
    "listens_on_other_port": "{found}  # connect there, or correct the server's port",
    "listens_on_other_path": "{found}  # connect there",
    "localhost_in_container": "{service}  # name the service; a server of the host: host.docker.internal",
    "name_unresolved": "getent hosts {host}  # correct the name, or wait: in Compose and Kubernetes names appear late",
    "resolver_silent": "cat /etc/resolv.conf  # are these name servers reachable?",
    "name_resolves_elsewhere": "getent ahosts {host}  # correct the hosts file or the name server",
    "rejected": "sudo nft list ruleset  # find the rule that rejects port {port}; sudo iptables -S shows older ones",
    "prohibited": "ip route get {place}  # a route or a firewall rule of this machine forbids it",
    "dropped": "ip route get {place}  # is it up? is port {port} allowed by every firewall on the way?",
    "unreachable": "ip route get {place}  # no route, no network, or the wrong address",
    "backlog_full": "ss -ltn 'sport = :{port}'  # Recv-Q is what waits: why does the server not accept?",
    "connected_to_itself": "ss -tnp 'sport = :{port}'  # end that client; keep the port out of"
    " net.ipv4.ip_local_port_range",
    "missing_unix_socket": "ls -la {folder}  # start the server, or correct the path",
    "stale_unix_socket": "ls -l {path}  # its server has gone: start it, and it makes the socket anew",
    "not_a_socket": "ls -l {path}  # correct the path",
    "no_permission": "ls -ld {folder} {path}; id  # join the group that may write to the socket",
    "starting_up": "resilient wait {target}  # it is on its way",
    "wrong_protocol": "{see}  # correct the port or the scheme",
    "tls_expected": "{sibling}  # ask with TLS",
    "no_tls": "{sibling}  # ask without TLS, or switch it on in the server",
    "tls_failed": "openssl s_client -connect {address} -servername {host}  # look at the certificate",
    "wrong_credentials": "resilient doctor env:NAME  # correct user, password and database in that variable",
    "turned_away": "resilient doctor {target}  # ask again when the server's own settings let this client in",
    "driver_failed": "resilient wait -v {target}  # the driver's own words are above",
    "closes_at_once": "{see}  # read the server's log: a proxy with nothing behind it, or too many clients",
    "silent": "{see}  # read the server's log: it hangs, or it speaks another protocol",
    "process_stopped": "kill -CONT {pid}  # let it go on",
    "proxy_in_the_way": 'export NO_PROXY="{host},$NO_PROXY" no_proxy="{host},$no_proxy"  # go straight to it',
    "name_clash": "pip uninstall -y resilient resilient-connect && pip install resilient-connect  # one of them only",
    "not_known": "resilient wait -v {target}  # what the client itself says",
}

_REJECTED_ELSEWHERE: Final = (
    "sudo traceroute -T -p {port} {place}  # ask whoever keeps the firewall {by} to let it through"
)


def help_for(code: str, endpoint: Endpoint, reply: Reply | None, found: Listener | str | None) -> str:
    """Return the line for a code."""
    path = shlex.quote(str(endpoint.path))
    host = str(endpoint.host or "")
    ours = reply is None or reply.ours
    see = f"ss -ltnp 'sport = :{endpoint.port}'"
    owner = found.owner if isinstance(found, Listener) else None
    words = {
        "target": shlex.quote(str(endpoint)),
        "host": shlex.quote(host),
        "port": str(endpoint.port),
        "address": shlex.quote(_address(host, endpoint.port)),
        "place": shlex.quote(reply.place) if reply is not None else "",
        "path": path,
        "folder": shlex.quote(str(endpoint.path).rpartition("/")[0] or "/"),
        "see": see if ours else f"ssh {shlex.quote(host)} {shlex.quote(see)}",
        "service": str(endpoint).replace(_address(host, endpoint.port), f"SERVICE:{endpoint.port}"),
        "found": _found(endpoint, found),
        "sibling": _sibling(endpoint),
        "pid": str(owner.pid) if owner is not None else "PID",
    }
    if endpoint.path is not None and code in ("wrong_protocol", "closes_at_once", "silent", "backlog_full"):
        return f"ss -lxp src {path}  # whose socket is it? read its log"
    if code == "wrong_protocol" and found is not None:
        code = "listens_on_other_port"
    if code == "rejected" and reply is not None and reply.icmp is not None and not reply.icmp.ours:
        return _REJECTED_ELSEWHERE.format(by=reply.icmp.by, **words)
    return _LINES[code].format_map(words)


def _address(host: str, port: int | None) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _found(endpoint: Endpoint, found: Listener | str | None) -> str:
    if isinstance(found, str):
        return shlex.quote(str(Endpoint(scheme="unix", path=found)))
    if found is None:
        return ""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(found.address, found.address).removeprefix("::ffff:")
    return shlex.quote(str(Endpoint(scheme=_scheme(endpoint), host=host, port=found.port)))


def _scheme(endpoint: Endpoint) -> str:
    return "tcp" if endpoint.scheme == "unix" else endpoint.scheme


def _sibling(endpoint: Endpoint) -> str:
    scheme = SIBLINGS.get(endpoint.scheme, endpoint.scheme)
    if endpoint.path is not None or scheme == endpoint.scheme:
        return shlex.quote(str(endpoint))
    return shlex.quote(str(Endpoint(scheme=scheme, host=endpoint.host, port=endpoint.port)))
