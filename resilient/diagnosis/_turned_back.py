"""Who turned a connect back, where somebody did: a firewall or router says so in ICMP, and Linux keeps what it said.

To who connects, "connection refused" is one error, whether the machine had nobody listening (it sends a reset) or a
firewall rejected the connect (it sends an ICMP message, unless it was told to forge a reset).
Any process may read the messages that answered its own socket. Sources: ip(7), IP_RECVERR; RFC 792; RFC 4443, 3.1.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from typing import Final

from ._machine import is_ours
from ._seen import Icmp

# include/uapi/linux/in.h, in6.h and errqueue.h; `socket` does not name them in every Python.
_OPTIONS: Final = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (getattr(socket, "IPPROTO_IPV6", 41), 25)}
_ERROR_QUEUE: Final = 0x2000
_ERROR: Final = struct.Struct("=IBBBBII")
_ORIGINS: Final = {2: 4, 3: 6}
"""SO_EE_ORIGIN_ICMP and SO_EE_ORIGIN_ICMP6 → version of IP."""


def listen(connection: socket.socket) -> None:
    """Ask the system, before the connect, to keep what comes back in ICMP. Where it cannot, nothing is kept."""
    option = _OPTIONS.get(connection.family)
    if option is not None and sys.platform == "linux":
        with contextlib.suppress(OSError):
            connection.setsockopt(option[0], option[1], 1)


def forget(connection: socket.socket) -> None:
    """Undo `listen`: on a connection that stands, such a message is no reason to end it."""
    option = _OPTIONS.get(connection.family)
    if option is not None and sys.platform == "linux":
        with contextlib.suppress(OSError):
            connection.setsockopt(option[0], option[1], 0)


def heard(connection: socket.socket) -> Icmp | None:
    """Return the message that ended the connect, or None: none did, or nobody can tell."""
    option = _OPTIONS.get(connection.family)
    if option is None or sys.platform != "linux":
        return None
    try:
        connection.settimeout(0)
        _, kept, _, _ = connection.recvmsg(0, 512, _ERROR_QUEUE)
    except OSError:  # the queue is empty
        return None
    for level, kind, data in kept:
        if (level, kind) == option and len(data) >= _ERROR.size:
            _, origin, number, code, _, _, _ = _ERROR.unpack_from(data)
            if origin in _ORIGINS:
                by = _address(data[_ERROR.size :])
                return Icmp(_ORIGINS[origin], number, code, by, is_ours(connection.family, by))
    return None


def _address(place: bytes) -> str:
    """Return whose address a `sockaddr` holds."""
    family = int.from_bytes(place[:2], sys.byteorder)
    if family == socket.AF_INET and len(place) >= 8:
        return socket.inet_ntop(socket.AF_INET, place[4:8])
    if family == socket.AF_INET6 and len(place) >= 24:
        return socket.inet_ntop(socket.AF_INET6, place[8:24])
    return ""
