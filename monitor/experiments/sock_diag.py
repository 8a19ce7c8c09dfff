"""Asks the kernel for one TCP socket by its addresses: its inode, by which processes that hold it can be told.

Runs in the processes that choose clients. sock_diag(7); unlike `/proc/net/tcp` the answer does not take longer with
each socket that the machine has.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_ALL_STATES: Final = 0xFFFFFFFF
_NO_COOKIE: Final = (0xFFFFFFFF, 0xFFFFFFFF)
_HEADER: Final = struct.Struct("=IHHII")
_ANSWER: Final = struct.Struct("=xB66xI")
"""State and inode of an `inet_diag_msg`: 4 single bytes, the addresses (48 bytes), 4 numbers, the inode."""
_LISTEN: Final = 10
_TIMEOUT_SECONDS: Final = 2.0


def inode_of(own: tuple[str, int], peer: tuple[str, int]) -> int | None:
    """The inode of the TCP socket with these addresses; None if there is none, or this kernel does not tell."""
    family = socket.AF_INET6 if ":" in own[0] else socket.AF_INET
    try:
        addresses = [socket.inet_pton(family, host).ljust(16, b"\0") for host, _ in (own, peer)]
        identity = struct.pack("!HH16s16s", own[1], peer[1], *addresses) + struct.pack("=III", 0, *_NO_COOKIE)
        request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + identity
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as diag:
            diag.settimeout(_TIMEOUT_SECONDS)
            diag.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0) + request)
            answer = diag.recv(4096)
    except (OSError, OverflowError):
        return None
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:  # an error: ENOENT
        return None
    state, inode = _ANSWER.unpack_from(answer, _HEADER.size)
    return None if state == _LISTEN else int(inode)  # who listens there is found if nobody is connected
