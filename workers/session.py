"""One client's socket as a worker knows it: what was read and not yet consumed, what was written and not yet taken.

Input is peeked, forwarded and only then consumed, so until the router has acknowledged a line it is still in the
kernel; nothing is buffered here. Output that the kernel does not take waits as references to bytes that all members
of a group share. Knows sockets and bytes; knows nothing of chat.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable

from broker.pacing import TokenBucket


class Session:
    """One client of this worker. The worker's loop owns every field."""

    __slots__ = (
        "address", "bucket", "closing_since", "consumed", "ended", "hangup", "in_flight", "number", "paced",
        "pending", "pending_bytes", "readable", "reset", "send", "shared_bucket", "socket",
        "urgent",
    )  # fmt: skip

    def __init__(self, number: int, sock: socket.socket, address: str) -> None:
        self.number = number
        self.socket = sock
        self.send: Callable[[bytes | memoryview], int] = sock.send
        self.address = address
        self.consumed = 0  # bytes of input that the router has acknowledged
        self.in_flight = 0  # bytes forwarded, not yet acknowledged: still in the kernel
        self.readable = False  # there may be input that no peek has seen
        self.hangup = False  # the peer will send no more: what is there is all there is
        self.urgent = (
            False  # there is an urgent mark: an unfinished line before it is given up, as RFC 854's Synch asks
        )
        self.reset = False  # the peer is gone: nobody reads what is sent
        self.ended = False  # ENDED has been reported; no more reading
        self.paced = False  # a timer will read on
        self.bucket: TokenBucket | None = None  # made with the first line
        self.shared_bucket: TokenBucket | None = None  # of everybody at this address
        self.pending: deque[tuple[float, memoryview]] = deque()  # (when it was due, what is left of it)
        self.pending_bytes = 0
        self.closing_since: float | None = None  # told to close; open only until `pending` is out

    def queue(self, data: bytes, sent: int, now: float) -> None:
        """Keep what the kernel did not take: everything after the first `sent` bytes."""
        self.pending.append((now, memoryview(data)[sent:]))
        self.pending_bytes += len(data) - sent

    def flush(self) -> bool:
        """Write what is pending; True once nothing is left. Raises OSError when the peer is gone."""
        while self.pending:
            due, data = self.pending[0]
            try:
                sent = self.send(data)
            except BlockingIOError:
                return False
            self.pending_bytes -= sent
            if sent < len(data):
                self.pending[0] = (due, data[sent:])
                return False
            self.pending.popleft()
        return True

    def keep_half_sent_line(self) -> None:
        """Drop what is pending, but for the rest of a line that the peer has seen the beginning of."""
        due, data = self.pending[0]
        rest = bytes(data).partition(b"\n")
        whole_line = data.obj is not None and len(data) == len(data.obj)  # type: ignore[arg-type]
        self.pending.clear()
        self.pending_bytes = 0
        if not whole_line and rest[1]:
            kept = rest[0] + rest[1]
            self.pending.append((due, memoryview(kept)))
            self.pending_bytes = len(kept)
