"""A network that is a program: who connects to 10.9.0.x or fd09::x is answered as a firewall or router would.

In a network namespace of its own, on a TUN device: the kernel hands out IP packets and takes what comes back, so that
resets, ICMP messages and silence are real to every client. `main()` runs a program's text beside it, and needs Linux,
`ip`, /dev/net/tun and leave to unshare namespaces.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import threading
from pathlib import Path

from conftest import requires

DEVICE = Path("/dev/net/tun")
ROUTER = "10.9.0.254"
ROUTER_6 = "fd09::fe"

SILENT, RESETS = 200, 201
"""Last parts of addresses that swallow a connect, or reset it. Others: the code of an ICMP message of type 3,
or 1 of IPv6: from the address itself, or, from 100 on, from the router, with the code less 100."""

_SET_DEVICE = 0x400454CA  # TUNSETIFF, include/uapi/linux/if_tun.h
_PLAIN_TUN = 0x1001  # IFF_TUN | IFF_NO_PI
_TCP, _ICMP, _ICMP6 = 6, 1, 58


def behind() -> list[str]:
    """Return what to run a program behind, so that it may make such a network; end the test where it may not."""
    if not DEVICE.exists():
        requires(f"{DEVICE}, of Linux")
    for spaces in ("-rn", "-n"):
        command = ["unshare", spaces]
        try:
            done = subprocess.run([*command, "sh", "-c", ": <> /dev/net/tun"], capture_output=True, check=False)
        except OSError:
            break
        if done.returncode == 0:
            return command
    return requires("leave to unshare a network and to open /dev/net/tun")


def start() -> bool:
    """Make the network, in this namespace, and answer from a thread. Returns whether it has IPv6."""
    device = os.open(DEVICE, os.O_RDWR)
    fcntl.ioctl(device, _SET_DEVICE, struct.pack("16sH22x", b"wire", _PLAIN_TUN))
    for words in ("link set lo up", "addr add 10.9.0.1/24 dev wire", "link set wire up"):
        subprocess.run(["ip", *words.split()], check=True, capture_output=True)
    words = "-6 addr add fd09::1/64 dev wire nodad"
    has_ipv6 = subprocess.run(["ip", *words.split()], check=False, capture_output=True).returncode == 0
    threading.Thread(target=_answer_all, args=(device,), daemon=True).start()
    return has_ipv6


def _answer_all(device: int) -> None:
    while True:
        answer = answer_to(os.read(device, 65_536))
        if answer:
            os.write(device, answer)


def answer_to(packet: bytes) -> bytes:
    """Return what comes back for a packet; nothing where it is no connect, or is swallowed."""
    if packet[0] >> 4 == 4 and packet[9] == _TCP:
        last, head = packet[19], 4 * (packet[0] & 15)
    elif packet[0] >> 4 == 6 and packet[6] == _TCP:
        last, head = packet[39], 40
    else:
        return b""
    if last == SILENT or len(packet) < head + 20:
        return b""
    if last == RESETS:
        return _reset(packet, head)
    by_router, code = divmod(last, 100)
    return _icmp_6(packet, code, by_router) if head == 40 else _icmp(packet, code, by_router)


def _reset(packet: bytes, head: int) -> bytes:
    """RFC 9293, 3.10.7.1: with an acknowledgement, as the connect had none."""
    source, target, number = struct.unpack_from("!HHI", packet, head)
    words = struct.pack("!HHIIBBHHH", target, source, 0, number + 1 & 0xFFFFFFFF, 5 << 4, 0x14, 0, 0, 0)
    if head == 40:
        return _ip_6(packet[24:40], packet[8:24], _TCP, words, 16)
    return _ip(packet[16:20], packet[12:16], _TCP, _summed(words, 16, _pseudo(packet[16:20], packet[12:16], words)))


def _icmp(packet: bytes, code: int, by_router: int) -> bytes:
    words = _summed(struct.pack("!BBHI", 3, code, 0, 0) + packet[:28], 2)
    return _ip(bytes(map(int, ROUTER.split("."))) if by_router else packet[16:20], packet[12:16], _ICMP, words)


def _icmp_6(packet: bytes, code: int, by_router: int) -> bytes:
    words = struct.pack("!BBHI", 1, code, 0, 0) + packet[:1_200]
    router = packet[24:39] + b"\xfe"
    return _ip_6(router if by_router else packet[24:40], packet[8:24], _ICMP6, words, 2)


def _ip(source: bytes, target: bytes, protocol: int, words: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(words), 0, 0, 64, protocol, 0, source, target)
    return _summed(head, 10) + words


def _ip_6(source: bytes, target: bytes, protocol: int, words: bytes, at: int) -> bytes:
    pseudo = source + target + struct.pack("!II", len(words), protocol)
    return struct.pack("!IHBB", 6 << 28, len(words), protocol, 64) + source + target + _summed(words, at, pseudo)


def _pseudo(source: bytes, target: bytes, words: bytes) -> bytes:
    return source + target + struct.pack("!BBH", 0, _TCP, len(words))


def _summed(words: bytes, at: int, pseudo: bytes = b"") -> bytes:
    """Put the checksum of RFC 1071 where it belongs."""
    whole = pseudo + words + b"\0" * (len(words) % 2)
    total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return words[:at] + struct.pack("!H", ~total & 0xFFFF) + words[at + 2 :]
