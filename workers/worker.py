"""The worker process: reads clients' sockets, forwards whole lines to the router, fans the router's bytes out.

Owns its sessions' sockets. Knows sessions, groups and bytes; knows no chat and decides nothing: which session is in
which group, what anybody gets and when a session ends are the router's operations. What it does decide is when to read:
pacing, fairness and the bound on unacknowledged input are all *not reading*, so nothing is ever dropped and a flooding
sender waits in its own `send`.

The way of input: an edge of epoll marks a session readable; a peek finds whole lines; one frame a wake-up carries all
of them to the router; its acknowledgement lets them be consumed from the kernel, and the session is looked at again.
The way of output: all batches that have arrived are merged (`broker.fanout`), and each member gets one `send()`.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Any, Final

from broker.channel import Channel, ChannelClosed, watch
from broker.errors import LocalProtocolError
from broker.fanout import Fanout
from broker.loop import READ, WRITE
from broker.messages import ATTACH, ATTACHED, CLOSED, ENDED, LINES, LINK, OVERLONG, EndCause, Event, Operation
from broker.pacing import TokenBucket
from workers.harness import Birth, ChildProcess
from workers.session import Session

_CLIENT_EVENTS: Final = select.EPOLLIN | select.EPOLLPRI | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_HANGUP: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_PEEK_BYTES: Final = 16 * 1024
_LINES_PER_TURN: Final = 128
"""No session forwards more lines than this before every other readable one had its turn."""
_IN_FLIGHT_LIMIT_BYTES: Final = 1024 * 1024
"""Unacknowledged input of all sessions; past it nothing is read until the router has caught up."""
_READS_TO_DISCARD: Final = 16
"""Of unread input when a session is closed, 64 KiB each: more than a receive buffer holds."""
_LAST_WORDS_SECONDS: Final = 5.0
"""How long a session that is to be closed may take to read what it still has to get."""


class WorkerProcess(ChildProcess):
    """`worker-N`."""

    def __init__(self, birth: Birth) -> None:
        super().__init__(birth)
        self.link: Channel | None = None
        self.sessions: dict[int, Session] = {}
        self.fanout: Fanout[Session] = Fanout()
        self.addresses: dict[str, tuple[TokenBucket, set[int]]] = {}
        self._events: list[Event] = []
        self._frames: dict[int, list[tuple[Session, int]]] = {}  # by frame number: who forwarded how much
        self._forwarded: list[tuple[Session, int]] = []
        self._frame_number = 0
        self._batch_number = 0
        self._in_flight_bytes = 0
        self._readable: dict[int, Session] = {}  # in the order in which they get their turn
        self._behind: dict[int, Session] = {}  # have pending output
        self._muted: set[int] = set()  # too slow: wait for their end, get nothing but what is for them alone
        self._finished: list[Session] = []
        self._closed: list[int] = []
        self._messages_in = 0
        self._messages_out = 0
        self._scratch = bytearray(64 * 1024)
        # A peek of this many bytes without an LF is a line that is too long (1 for the CR of CRLF).
        self._longest_line = self.settings.max_line_bytes + 1
        self._peek_bytes = max(_PEEK_BYTES, self._longest_line + 1)
        self._sweeping = False

    def counters(self) -> dict[str, int]:
        return {
            "sessions": len(self.sessions),
            "messages_in": self._messages_in,
            "messages_out": self._messages_out,
        }

    def on_message(self, message: tuple[Any, ...]) -> None:
        if message[0] == ATTACH:
            _, session, listener, peer, address = message
            self._attach(session, listener, peer, address, self.control.take_descriptor())
        elif message[0] == LINK:
            self._new_link(self.control.take_descriptor())
        else:
            raise LocalProtocolError(f"a worker does not know the message {message[0]!r}")

    def after_wake_up(self) -> None:
        self._read_sessions()
        self._send_frame()
        for session in self._finished:
            self._close(session)
        self._finished.clear()
        if self._closed:
            self.tell_supervisor((CLOSED, self._closed))
            self._closed = []

    # Sessions come and go.

    def _attach(self, number: int, listener: int, peer: str, address: str, fd: int) -> None:
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        session = Session(number, sock, address)
        if self.settings.address_rate_lines_per_second:
            session.shared_bucket = self._address_bucket(address, number)
        self.sessions[number] = session
        self.fanout.add_session(number, session)
        self._events.append((ATTACHED, number, listener, peer))
        self.loop.register(fd, _CLIENT_EVENTS, lambda events: self._on_client(session, events))

    def _address_bucket(self, address: str, number: int) -> TokenBucket:
        entry = self.addresses.get(address)
        if entry is None:
            settings = self.settings
            # An address's sessions are spread over the workers: each grants its share.
            share = settings.workers
            bucket = TokenBucket(
                settings.address_rate_lines_per_second / share,
                settings.address_rate_burst_lines / share,
                time.monotonic(),
            )
            entry = self.addresses[address] = (bucket, set())
        entry[1].add(number)
        return entry[0]

    def _end(self, session: Session, cause: EndCause) -> None:
        """Nothing more comes from this session: say so once, and wait for the router to close it."""
        if not session.ended:
            session.ended = True
            self._readable.pop(session.number, None)
            self._events.append((ENDED, session.number, cause))

    def _close(self, session: Session) -> None:
        """Shut the connection down, close it and tell the custodian, in this order: others hold duplicates."""
        if self.sessions.pop(session.number, None) is None:
            return
        self.fanout.remove_session(session.number)
        for table in (self._readable, self._behind):
            table.pop(session.number, None)
        self._muted.discard(session.number)
        if session.shared_bucket is not None:
            self.addresses[session.address][1].discard(session.number)
            if not self.addresses[session.address][1]:
                del self.addresses[session.address]
        self.loop.unregister(session.socket.fileno())
        with contextlib.suppress(OSError):
            # Unread input would turn the close into a reset, and the peer might lose our last words.
            for _ in range(_READS_TO_DISCARD):
                if session.socket.recv_into(self._scratch, 0, socket.MSG_TRUNC) < len(self._scratch):
                    break
        with contextlib.suppress(OSError):
            session.socket.shutdown(socket.SHUT_RDWR)
        session.socket.close()
        self._closed.append(session.number)

    # Input.

    def _on_client(self, session: Session, events: int) -> None:
        if events & select.EPOLLOUT and session.pending:
            self._flush(session)
        if events & ~select.EPOLLOUT and not session.ended:
            session.readable = True
            if events & select.EPOLLPRI:
                # A peek stops in front of the urgent mark for as long as there is something unread before it.
                session.urgent = True
            if events & _HANGUP:
                session.hangup = True
                if events & select.EPOLLERR:
                    session.reset = True
                    if session.paced:  # its owner is gone, and the name is not to be kept for what is still unread
                        self._end(session, "reset")
                        return
            if not session.in_flight and not session.paced:
                self._readable[session.number] = session

    def _read_sessions(self) -> None:
        if not self._readable or self.link is None:
            return
        now = time.monotonic()
        while self._readable and self._in_flight_bytes < _IN_FLIGHT_LIMIT_BYTES:
            number = next(iter(self._readable))
            self._peek(self._readable.pop(number), now)

    def _peek(self, session: Session, now: float) -> None:
        session.readable = False
        try:
            data = session.socket.recv(self._peek_bytes, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            self._end(session, "reset")
            return
        if not data:
            self._end(session, "eof")
            return
        if len(data) == self._peek_bytes:
            session.readable = True  # there may be more than one peek shows
        end = data.rfind(b"\n") + 1
        if end:
            self._forward_lines(session, data, end, now)
        elif len(data) > self._longest_line or session.urgent:
            session.urgent = False
            self._forward(session, (OVERLONG, session.number, session.consumed, len(data)), len(data))
        elif session.hangup:
            # The end of the stream ends its last line.
            self._messages_in += 1
            self._forward(session, (LINES, session.number, session.consumed, data + b"\n"), len(data))

    def _forward_lines(self, session: Session, data: bytes, end: int, now: float) -> None:
        lines = data.count(b"\n", 0, end)
        granted = min(lines, _LINES_PER_TURN, self._granted(session, now))
        if granted < lines:
            session.readable = True
            if granted <= 0:
                if session.reset:
                    self._end(session, "reset")
                else:
                    self._pace(session)
                return
            end = 0
            for _ in range(granted):
                end = data.index(b"\n", end) + 1
        if session.bucket is not None:
            session.bucket.spend(granted)
        if session.shared_bucket is not None:
            session.shared_bucket.spend(granted)
        self._messages_in += granted
        self._forward(session, (LINES, session.number, session.consumed, data[:end]), end)

    def _forward(self, session: Session, event: Event, consumes: int) -> None:
        self._events.append(event)
        self._forwarded.append((session, consumes))
        session.in_flight = consumes
        self._in_flight_bytes += consumes

    def _granted(self, session: Session, now: float) -> int:
        settings = self.settings
        if session.bucket is None and settings.rate_lines_per_second:
            session.bucket = TokenBucket(settings.rate_lines_per_second, settings.rate_burst_lines, now)
        granted = _LINES_PER_TURN if session.bucket is None else session.bucket.available(now)
        if session.shared_bucket is not None:
            granted = min(granted, session.shared_bucket.available(now))
        return granted

    def _pace(self, session: Session) -> None:
        """Read this session again when a line may be read: until then its input stays in the kernel."""
        session.paced = True
        buckets = [bucket for bucket in (session.bucket, session.shared_bucket) if bucket is not None]
        wait = max(bucket.wait_seconds() for bucket in buckets)

        def read_on() -> None:
            session.paced = False
            if session.number in self.sessions and not session.ended:
                self._readable[session.number] = session

        # Waking up for every single line of a flood would cost more than it paces.
        self.loop.call_later(max(wait, 0.02), read_on)

    def _send_frame(self) -> None:
        if not self._events or self.link is None:
            return
        self._frame_number += 1
        self._frames[self._frame_number] = self._forwarded
        frame = (self._frame_number, self._events)
        self._events, self._forwarded = [], []
        try:
            self.link.send(frame)
        except ChannelClosed:
            self._lose_link()
            return
        watch(self.loop, self.link)

    def _consume(self, acknowledged: int) -> None:
        """The router has these frames: take their lines out of the kernel, and look for more."""
        for number in [number for number in self._frames if number <= acknowledged]:
            for session, length in self._frames.pop(number):
                session.in_flight = 0
                session.consumed += length
                self._in_flight_bytes -= length
                if session.number not in self.sessions or session.ended:
                    continue
                left = length
                try:
                    while left > 0:
                        left -= session.socket.recv_into(self._scratch, min(left, len(self._scratch)), socket.MSG_TRUNC)
                except OSError:
                    self._end(session, "reset")
                    continue
                if (session.readable or session.hangup) and not session.paced:
                    self._readable[session.number] = session

    # Output.

    def _on_link(self, events: int) -> None:
        assert self.link is not None
        try:
            if events & WRITE:
                self.link.flush()
                watch(self.loop, self.link)
            batches = self.link.receive()
        except ChannelClosed:
            self._lose_link()
            return
        if not batches:
            return
        operations: list[Operation] = []
        for number, _acknowledged, batch in batches:
            if number != self._batch_number + 1:
                raise LocalProtocolError(f"batch {number} came after batch {self._batch_number}")
            self._batch_number = number
            operations += batch
        self._consume(batches[-1][1])
        if operations:
            self._deliver(operations)

    def _deliver(self, operations: list[Operation]) -> None:
        merged = self.fanout.merge(operations, self._muted)
        broken: list[Session] = []
        now = time.monotonic()
        for targets, data in merged.deliveries:
            size = len(data)
            delivered = 0
            for session in targets:
                if session.pending:
                    session.queue(data, 0, now)
                else:
                    try:
                        sent = session.send(data)
                    except BlockingIOError:
                        sent = 0
                    except OSError:
                        broken.append(session)
                        continue
                    if sent < size:
                        session.queue(data, sent, now)
                        self._behind[session.number] = session
                delivered += 1
            self._messages_out += delivered * data.count(b"\n")
        for session in broken:
            self._lose_output(session)
        for number in merged.closes:
            self._finish(self.sessions[number], now)
        if self._behind:
            self._check_behind(now)

    def _finish(self, session: Session, now: float) -> None:
        """Close it, at once or when its last bytes are out."""
        session.ended = True
        session.closing_since = now
        self._readable.pop(session.number, None)
        if not session.pending:
            self._finished.append(session)

    def _flush(self, session: Session) -> None:
        try:
            done = session.flush()
        except OSError:
            self._lose_output(session)
            done = True
        if done:
            self._behind.pop(session.number, None)
            if session.closing_since is not None:
                self._finished.append(session)

    def _lose_output(self, session: Session) -> None:
        """Nobody reads there any more. What they said before they went is read to its end all the same."""
        session.send = len  # whatever is sent is gone, whole
        session.pending.clear()
        session.pending_bytes = 0
        self._behind.pop(session.number, None)
        session.hangup = session.reset = True
        if not (session.ended or session.in_flight or session.paced):
            self._readable[session.number] = session

    def _check_behind(self, now: float) -> None:
        """End whoever is too far behind, in bytes or in seconds; nobody else ever waits for them."""
        settings = self.settings
        for session in list(self._behind.values()):
            if session.closing_since is not None:
                if now - session.closing_since > _LAST_WORDS_SECONDS:
                    self._finished.append(session)
            elif session.number not in self._muted and (
                session.pending_bytes > settings.max_behind_bytes
                or now - session.pending[0][0] > settings.max_behind_seconds
            ):
                self._muted.add(session.number)
                self.log(
                    "info",
                    f"session {session.number} ({session.address}) does not read: {session.pending_bytes} bytes and "
                    f"{now - session.pending[0][0]:.0f} s behind; closing it",
                )
                session.keep_half_sent_line()
                self._end(session, "slow")
        if self._behind and not self._sweeping:
            self._sweeping = True
            self.loop.call_later(1.0, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        if self._behind:
            self._check_behind(time.monotonic())

    # The link to the router.

    def _new_link(self, fd: int) -> None:
        if self.link is not None:
            self._lose_link()
        self.link = Channel(fd)
        self._frame_number = self._batch_number = 0
        self.loop.register(fd, READ, self._on_link)

    def _lose_link(self) -> None:
        """The router is gone, and with it all that it knew of these sessions: end them."""
        if self.link is None:
            return
        self.loop.unregister(self.link.fileno())
        self.link.close()
        self.link = None
        self._frames.clear()
        self._forwarded.clear()
        self._events.clear()
        self._in_flight_bytes = 0
        self._finished.extend(self.sessions.values())
