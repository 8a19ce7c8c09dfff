"""Where a byte stream stands, read from the kernel and from the ledger: arithmetic only. Pure.

The kernel counts what a TCP connection has received and what its peer has acknowledged, and goes on counting when the
process that used the socket is gone. With what waits in its queues that gives two positions (`TCPPosition`):

    consumed = tcpi_bytes_received - SIOCINQ, less 1 once a FIN has arrived, which is counted like a byte
    written  = tcpi_bytes_acked + SIOCOUTQ

The ledger has words of 64 bits, each written by one atomic store. An *output word* says up to which batch a session's
operations are counted, and how many bytes they come to in all, modulo 2**32:

    bits 63..33  number of the last batch whose bytes are counted, modulo 2**31 - 1, and 1 more; 0: of no batch, since
                 the session is new, or was given away by a worker whose numbers mean nothing to any other
    bit  32      the session was found too slow, and what it had not taken was dropped: nobody can tell what is due
    bits 31..0   bytes ever due to it

It is stored before the `send()`. So whatever the kernel has beyond or short of it tells exactly what is still to be
sent. AF_UNIX has no TCP_INFO: there a *progress word* is stored before and after each operation instead, with the
position before it (40 bits) and the length of the one that is under way (24 bits; 0: none).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

TCP_INFO_BYTES: Final = 136
"""As much of `struct tcp_info` (linux/tcp.h) as holds what is read here."""

_CLOSE: Final = 7  # TCP_CLOSE of net/tcp_states.h: a reset has ended it
_FIN_RECEIVED: Final = frozenset((6, 8, 9, 11))  # TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING
_SHUT_DOWN_HERE: Final = frozenset((4, 5, 6, 7, 9, 11))  # FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, LAST_ACK, CLOSING
_COUNTERS: Final = struct.Struct("=QQ")  # tcpi_bytes_acked, tcpi_bytes_received
_COUNTERS_AT: Final = 120

BATCH_MODULUS: Final = (1 << 31) - 1
NO_BATCH: Final = -1
DUE_MODULUS: Final = 1 << 32
_MUTED: Final = 1 << 32

PROGRESS_MODULUS: Final = 1 << 40
UNDER_WAY_LIMIT: Final = (1 << 24) - 1
"""The longest single operation that a progress word can tell of, in bytes."""


class TCPCounters(NamedTuple):
    """What TCP_INFO tells of a connection."""

    state: int
    acknowledged: int
    received: int


class TCPPosition(NamedTuple):
    """How many bytes a process has read from and written to a connection in all, by the kernel's account.

    `ended` is true when a reset ended the connection: whether a FIN had come before cannot be known then, so
    `consumed` may be one too many. `shut_down` is true when this side has sent its FIN, or there was a reset.
    """

    consumed: int
    written: int
    ended: bool
    shut_down: bool


def parse_tcp_info(data: bytes) -> TCPCounters:
    """The counters in the first TCP_INFO_BYTES bytes of `struct tcp_info`; struct.error if there are fewer."""
    acknowledged, received = _COUNTERS.unpack_from(data, _COUNTERS_AT)
    return TCPCounters(data[0], acknowledged, received)


def tcp_position(counters: TCPCounters, waiting_in: int, waiting_out: int) -> TCPPosition:
    """The position, from the counters and the bytes that wait in the receive queue and in the send queue."""
    fin = counters.state in _FIN_RECEIVED
    return TCPPosition(
        consumed=counters.received - waiting_in - fin,
        written=counters.acknowledged + waiting_out,
        ended=counters.state == _CLOSE,
        shut_down=counters.state in _SHUT_DOWN_HERE,
    )


class OutputWord(NamedTuple):
    """What an output word says: `due` bytes up to and including batch `batch`; both modulo their modulus.

    `batch` is NO_BATCH if none is counted.
    """

    batch: int
    due: int
    muted: bool


def pack_output(batch: int, due: int, muted: bool = False) -> int:
    """The word for any batch number, or NO_BATCH, and any number of bytes."""
    return (batch % BATCH_MODULUS + 1 if batch >= 0 else 0) << 33 | (_MUTED if muted else 0) | due % DUE_MODULUS


def unpack_output(word: int) -> OutputWord:
    """What `pack_output` put in."""
    return OutputWord((word >> 33) - 1, word % DUE_MODULUS, bool(word & _MUTED))


def latest_batch(low_bits: int, last: int) -> int:
    """The largest number up to `last` that is `low_bits` modulo BATCH_MODULUS; negative if there is none."""
    return last - (last - low_bits) % BATCH_MODULUS


def unsent(due: int, written: int) -> int:
    """How many bytes up to `due` are not yet written; both may be modulo DUE_MODULUS, and less than that apart."""
    return (due - written) % DUE_MODULUS


def pack_progress(position: int, under_way: int = 0) -> int:
    """A progress word; `under_way` at most UNDER_WAY_LIMIT."""
    return under_way << 40 | position % PROGRESS_MODULUS


def unpack_progress(word: int) -> tuple[int, int]:
    """Position, modulo PROGRESS_MODULUS, and the length of the operation under way."""
    return word % PROGRESS_MODULUS, word >> 40
