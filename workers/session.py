"""One client's socket as a worker knows it: what was read and not yet consumed, what was written and not yet taken.

Input is peeked, forwarded and only then consumed, so until the router has acknowledged a line it is still in the
kernel; nothing is buffered here. Output that the kernel does not take waits as references to bytes that all members
of a group share. Before each operation that moves the stream, the ledger is told of it (`broker.stream_position`), so
that a replacement of this process knows how far it went. Knows sockets and bytes; knows nothing of chat.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Final, NoReturn

from broker import faults
from broker.custody import Held
from broker.kernel_position import set_peek_offset
from broker.ledger import Ledger
from broker.pacing import TokenBucket
from broker.stream_position import UNDER_WAY_LIMIT, pack_output, pack_progress
from broker.text import shared
from workers.stepwise import stepwise

_SCRATCH: Final = bytearray(64 * 1024)
_NOTHING: Final[deque[tuple[float, int, memoryview]]] = deque()
"""Of everybody for whom nothing waits, which is nearly everybody: an empty deque has 680 bytes. Never appended to."""


class Session:
    """One client of this worker. The worker's loop owns every field."""

    __slots__ = (
        "address", "announced", "buckets", "closing_since", "consumed", "detaching", "due", "ended",
        "hangup", "has_buckets", "in_flight", "ledger", "listener", "local", "muted", "newcomer_until",
        "number", "own_bytes", "paced", "peer", "pending", "pending_bytes", "readable", "reset", "send",
        "slot", "socket", "urgent", "word_slot", "written",
    )  # fmt: skip

    def __init__(self, number: int, ledger: Ledger) -> None:
        self.number = number
        self.ledger = ledger
        self.socket: socket.socket | None = None  # None: it is still on its way from another worker
        self.slot = self.word_slot = ledger.scratch  # word_slot: where the output word is stored, if it may be
        self.send: Callable[[bytes | memoryview], int] = _not_yet
        self.listener = 0
        self.peer = self.address = ""
        self.local = False  # AF_UNIX: the kernel keeps no account of its stream
        self.consumed = 0  # bytes of input that the router has acknowledged
        self.announced = True  # the router knows it, or soon will
        self.newcomer_until = 0.0  # 0.0: it is none any more
        self.in_flight = 0  # bytes forwarded, not yet acknowledged: still in the kernel
        self.readable = False  # there may be input that no peek has seen
        self.hangup = False  # the peer will send no more: what is there is all there is
        # There is an urgent mark: an unfinished line before it is given up, as RFC 854's Synch asks.
        self.urgent = False
        self.reset = False  # the peer is gone: nobody reads what is sent
        self.ended = False  # ENDED has been reported; no more reading
        self.paced = False  # a timer will read on
        self.detaching = False  # it goes to another worker
        self.has_buckets = False  # those below are made with the first line, where there are limits
        self.buckets: tuple[TokenBucket, ...] = ()  # its own, and that of everybody at this address
        self.due = 0  # bytes ever due to it, those that wait in `pending` included
        self.written = 0  # of a local socket: bytes that the kernel has taken
        # (when it was due, the last batch before the one that it is of, what is left of it)
        self.pending = _NOTHING
        self.pending_bytes = 0
        self.own_bytes = 0  # at most as many of them are shared with nobody
        self.muted = False  # too slow: waits for its end, gets nothing but what is for it alone
        self.closing_since: float | None = None  # told to close; open only until `pending` is out

    def take(self, held: Held, sock: socket.socket) -> None:
        """The socket is here."""
        sock.setblocking(False)
        self.socket = sock
        self.slot = self.word_slot = held.slot
        self.listener, self.peer, self.address, self.local = held.listener, held.peer, shared(held.address), held.local
        self.send = self._send_local if held.local else stepwise(sock.send) if faults.ENABLED else sock.send

    def let_go(self) -> socket.socket | None:
        """The socket is somebody else's; from here on this refers to nothing that refers to it."""
        sock, self.socket = self.socket, None
        self.send = _not_yet
        self.pending = _NOTHING
        return sock

    def queue(self, data: bytes | memoryview, now: float, batch_before: int) -> None:
        """Keep what the kernel did not take."""
        if self.pending is _NOTHING:
            self.pending = deque()
        self.pending.append((now, batch_before, memoryview(data)))
        self.pending_bytes += len(data)

    def flush(self) -> bool:
        """Write what is pending; True once nothing is left. Raises OSError when the peer is gone."""
        while self.pending:
            due, batch_before, data = self.pending[0]
            try:
                sent = self.send(data)
            except BlockingIOError:
                return False
            self.pending_bytes -= sent
            if sent < len(data):
                self.pending[0] = (due, batch_before, data[sent:])
                return False
            self.pending.popleft()
        self.pending = _NOTHING
        return True

    def consume(self, length: int) -> None:
        """Take so many bytes of acknowledged input out of the kernel; OSError if the connection is broken."""
        self.consumed += length
        assert self.socket is not None
        if self.local:
            words = self.ledger.consumed
            words[self.slot] = pack_progress(self.consumed - length, length)
            if faults.ENABLED:
                faults.point("worker.local-consuming")
            set_peek_offset(self.socket, length)
            if faults.ENABLED:
                faults.point("worker.local-offset-set")
        left = length
        try:
            while left > 0:
                taken = self.socket.recv_into(_SCRATCH, min(left, len(_SCRATCH)), socket.MSG_TRUNC)
                if not taken:
                    break
                left -= taken
        except BlockingIOError:
            pass  # the LF that ends the last line was not the peer's
        if self.local:
            if faults.ENABLED:
                faults.point("worker.local-consumed")
            words[self.slot] = pack_progress(self.consumed)
            if faults.ENABLED:
                faults.point("worker.local-counted")
            set_peek_offset(self.socket, -1)

    def mute(self, batch: int) -> None:
        """Drop what is pending, but for the rest of a line that the peer has seen the beginning of.

        From here on the ledger cannot tell what is due, and says so.
        """
        due, batch_before, data = self.pending[0]
        rest = bytes(data).partition(b"\n")
        whole_line = data.obj is not None and len(data) == len(data.obj)  # type: ignore[arg-type]
        self.pending = _NOTHING
        self.pending_bytes = 0
        if not whole_line and rest[1]:
            self.queue(rest[0] + rest[1], due, batch_before)
        self.muted = True
        self.ledger.output[self.word_slot] = pack_output(batch, self.due, muted=True)
        self.word_slot = self.ledger.scratch

    def lose_output(self) -> None:
        """Nobody reads there any more: whatever is sent is gone, whole."""
        self.send = len
        if self.local:
            self.send = self._send_nowhere
            self._send_nowhere(b"")
        self.pending = _NOTHING
        self.pending_bytes = 0
        self.hangup = self.reset = True

    def _send_local(self, data: bytes | memoryview) -> int:
        """`send` on a local socket, which only the ledger keeps an account of."""
        assert self.socket is not None
        words = self.ledger.sent
        data = data[:UNDER_WAY_LIMIT]
        words[self.slot] = pack_progress(self.written, len(data))
        if faults.ENABLED:
            faults.point("worker.local-sending")
        try:
            sent = self.socket.send(data)
        except OSError:
            words[self.slot] = pack_progress(self.written)
            raise
        self.written += sent
        if faults.ENABLED:
            faults.point("worker.local-sent")
        words[self.slot] = pack_progress(self.written)
        return sent

    def _send_nowhere(self, data: bytes | memoryview) -> int:
        """All that is due counts as written, so that a replacement gets as far as finding that nobody reads."""
        self.written = self.due
        self.ledger.sent[self.slot] = pack_progress(self.written)
        return len(data)


def _not_yet(_data: bytes | memoryview) -> NoReturn:
    raise BlockingIOError
