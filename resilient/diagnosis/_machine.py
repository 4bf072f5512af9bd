"""What this machine shows of itself without privileges: who listens, whose it is, whether this is a container.

Linux shows it in /proc; elsewhere less can be known, and `None` says so.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from time import monotonic
from typing import Final

from .._scrub import scrub
from ._seen import Listener, Machine, Owner

PROC: str = "/proc"
HOSTS: str = "/etc/hosts"
MARKS: tuple[str, ...] = ("/.dockerenv", "/run/.containerenv")
"""Files that Docker and Podman put into each container."""

_GROUPS: Final = ("docker", "kubepods", "containerd", "libpod", "lxc", "machine.slice/crio")
LONGEST_SEARCH: Final = 0.3
"""Seconds for which owners of sockets are looked for."""

_LISTENS, _ESTABLISHED = "0A", "01"  # Linux, include/net/tcp_states.h
_ACCEPTS: Final = 0x10000  # include/uapi/linux/net.h, __SO_ACCEPTCON


def look() -> Machine:
    """Return what can be seen."""
    rows = _rows()
    if rows is None:
        return Machine(paths=_paths(), container=container())
    listening = [row for row in rows if row[4] == _LISTENS]
    looping = [row for row in rows if row[4] == _ESTABLISHED and row[:2] == row[2:4]]
    owners = _owners({row[6] for row in (*listening, *looping)})
    return Machine(
        listeners=tuple(
            Listener(address, port, waiting, owners.get(inode)) for address, port, _, _, _, waiting, inode in listening
        ),
        looping=tuple((row[1], owners.get(row[6])) for row in looping),
        paths=_paths(),
        container=container(),
    )


def container() -> str:
    """Return what shows that this is a container, or ""."""
    for mark in MARKS:
        if os.path.exists(mark):
            return f"{mark} is there"
    with contextlib.suppress(OSError, ValueError), open(f"{PROC}/1/cgroup", encoding="utf-8") as file:
        text = file.read(65_536)
        for group in _GROUPS:
            if group in text:
                return f"{PROC}/1/cgroup names {group}"
    return "KUBERNETES_SERVICE_HOST is set" if "KUBERNETES_SERVICE_HOST" in os.environ else ""


def is_ours(family: int, address: str) -> bool:
    """Whether it is an address of this machine: only to such a one can a socket be bound."""
    try:
        if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            return True
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(socket.getaddrinfo(address, 0, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)[0][4])
    except (OSError, ValueError):
        return False
    return True


def is_own_name(host: str) -> bool:
    """Whether it is what this machine calls itself."""
    own = socket.gethostname().lower()
    return host in ("localhost", own, own.partition(".")[0])


def hosts_line(host: str) -> str:
    """Return the line of the hosts file that names this host, or ""."""
    with contextlib.suppress(OSError), open(HOSTS, encoding="utf-8", errors="replace") as file:
        for line in file.read(262_144).splitlines():
            words = line.partition("#")[0].split()
            if host in (word.lower() for word in words[1:]):
                return scrub(f"{words[0]} {host}")
    return ""


_Row = tuple[str, int, str, int, str, int, str]
"""Own address and port, the other's, state, connections that wait, inode."""


def _rows() -> list[_Row] | None:
    """Read the tables of TCP sockets (Linux, Documentation/networking/proc_net_tcp.rst)."""
    rows: list[_Row] = []
    read = 0
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"{PROC}/net/{name}", encoding="ascii", errors="replace") as file:
            next(file, None)
            read += 1
            for line in file:
                with contextlib.suppress(ValueError, IndexError):
                    rows.append(_row(line.split()))
    return rows if read else None


def _row(words: list[str]) -> _Row:
    waiting = int(words[4].partition(":")[2], 16)
    return (*_place(words[1]), *_place(words[2]), words[3], waiting, words[9])


def _place(text: str) -> tuple[str, int]:
    digits, _, port = text.partition(":")
    raw = b"".join(int(digits[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(digits), 8))
    address = ipaddress.ip_address(raw)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # a socket of IPv6 that was bound to an address of IPv4, as Java's are
    return str(address), int(port, 16)


def _paths() -> tuple[str, ...] | None:
    try:
        with open(f"{PROC}/net/unix", encoding="utf-8", errors="replace") as file:
            words = [line.rstrip("\n").split(maxsplit=7) for line in file]
    except OSError:
        return None
    found = (word[7] for word in words[1:] if len(word) == 8 and int(word[3], 16) & _ACCEPTS)
    return tuple(dict.fromkeys(path for path in found if path.startswith("/")))


def _owners(inodes: set[str]) -> dict[str, Owner]:
    """Find whose these sockets are, as far as this user may look, and for a while only."""
    ends = monotonic() + LONGEST_SEARCH
    owners: dict[str, Owner] = {}
    for pid in _processes():
        if monotonic() > ends or len(owners) == len(inodes):
            break
        with contextlib.suppress(OSError):  # another user's, or it has ended
            for number in os.listdir(f"{PROC}/{pid}/fd"):
                with contextlib.suppress(OSError):
                    link = os.readlink(f"{PROC}/{pid}/fd/{number}")
                    inode = link[8:-1]
                    if link.startswith("socket:[") and inode in inodes and inode not in owners:
                        owners[inode] = _owner(pid)
    return owners


def _processes() -> Iterator[int]:
    """Yield all process ids: parents first, as children inherit their sockets."""
    with contextlib.suppress(OSError):
        yield from sorted(int(name) for name in os.listdir(PROC) if name.isdecimal())


def _owner(pid: int) -> Owner:
    """Read a process's short name, never its arguments: these may hold secrets."""
    with open(f"{PROC}/{pid}/stat", encoding="utf-8", errors="replace") as file:
        stat = file.read()
    start, end = stat.index("("), stat.rindex(")")
    return Owner(pid, scrub(stat[start + 1 : end], 40), stat[end + 2 : end + 3] in ("T", "t"))


def kind_of_path(path: str) -> str:
    """Return "socket", "missing", "other", or "unknown" where it may not be looked at."""
    import stat

    try:
        return "socket" if stat.S_ISSOCK(os.stat(path).st_mode) else "other"
    except OSError as error:
        return "missing" if error.errno in (errno.ENOENT, errno.ENOTDIR) else "unknown"
