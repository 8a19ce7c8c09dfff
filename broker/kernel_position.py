"""Asks the kernel where a client's stream stands: TCP_INFO and the two queue lengths, or a local socket's peek offset.

Used by the worker that takes a session over, on any duplicate of its socket. Knows no sessions and no ledger.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Final

from broker.errors import LocalProtocolError
from broker.stream_position import TCP_INFO_BYTES, TCPPosition, parse_tcp_info, tcp_position

_SIOCINQ: Final = 0x541B  # tcp(7); asm-generic/ioctls.h
_SIOCOUTQ: Final = 0x5411
_SO_PEEK_OFF: Final = 42  # socket(7)
_INT: Final = struct.Struct("i")
_ATTEMPTS: Final = 10_000
"""While the peer is sending or acknowledging, two looks may differ; each attempt takes some microseconds."""


def position_of_tcp(sock: socket.socket) -> TCPPosition:
    """Where the connection stands; LocalProtocolError if it does not hold still for one look."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    for _ in range(_ATTEMPTS):
        before = parse_tcp_info(info)
        waiting_in, waiting_out = _queue(sock, _SIOCINQ), _queue(sock, _SIOCOUTQ)
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        if parse_tcp_info(info) == before:
            return tcp_position(before, waiting_in, waiting_out)
    raise LocalProtocolError("the position of a connection could not be read")


def peek_offset(sock: socket.socket) -> int:
    """SO_PEEK_OFF of a local socket: -1 when a peek begins at the front of the queue and leaves no trace."""
    return sock.getsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF)


def set_peek_offset(sock: socket.socket, offset: int) -> None:
    """Set SO_PEEK_OFF; the kernel lowers it by what is consumed, never below 0."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, offset)


def _queue(sock: socket.socket, request: int) -> int:
    length: int = _INT.unpack(fcntl.ioctl(sock.fileno(), request, bytes(_INT.size)))[0]
    return length
