"""The worker process: reads clients' sockets, forwards whole lines to the router, fans the router's bytes out.

Owns its sessions' sockets, and nothing that may not be lost: whoever replaces it finds the sockets in the supervisor's
custody, the input in the kernel, the output with the router, and how far it got in the ledger. Knows sessions, groups
and bytes; knows no chat and decides nothing: which session is in which group, what anybody gets and when a session ends
are the router's operations. What it does decide is when to read (`workers.reader`) and who is too far behind
(`workers.writer`).
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from functools import partial
from typing import Any, Final

from broker import faults
from broker.channel import Channel, ChannelClosed, watch
from broker.custody import Held
from broker.errors import LocalProtocolError
from broker.framing import decode, encode
from broker.loop import READ, WRITE
from broker.messages import ATTACH, CLOSED, DETACHED, HELLO, LINK, REPORT_RECOVERED, WELCOME, Operation
from broker.settings import Settings
from broker.stream_position import pack_output, unpack_output
from workers.harness import Birth, ChildProcess
from workers.reader import Reader
from workers.session import Session
from workers.takeover import Batch, Takeover, standing_of, take_over
from workers.writer import Writer

_CLIENT_EVENTS: Final = select.EPOLLIN | select.EPOLLPRI | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_READS_TO_DISCARD: Final = 16
"""Of unread input when a session is closed, 64 KiB each: more than a receive buffer holds."""
_SCRATCH: Final = bytearray(64 * 1024)
_UNTOLD_BATCHES: Final = 64
_UNTOLD_BYTES: Final = 256 * 1024
"""An acknowledgement goes with the next frame, or in one of its own when so much has been delivered since the last."""


class WorkerProcess(ChildProcess):
    """`worker-N`."""

    def __init__(self, birth: Birth) -> None:
        super().__init__(birth)
        self.ledger = birth.ledger
        self.sessions: dict[int, Session] = {}
        longest = birth.longest_line_bytes or self.settings.max_line_bytes
        self.reader = Reader(self.settings, longest, self.loop.call_later, self.platform.monotonic)
        self.writer = Writer(
            self.settings,
            self.ledger,
            self._adopt,
            self.reader.end,
            self.reader.look,
            self.log,
            self.platform.monotonic,
        )
        self.link: Channel | None = None
        self._run = b""  # of the chat that is served; b"" before the first WELCOME
        self._welcome = False  # the router has said where it is: frames may go
        self._takeover: Takeover | None = None
        self._inherited: dict[int, Session] = {}
        self._received = 0  # the last batch that has come
        self._frame_number = 0
        self._frames: deque[tuple[int, bytes]] = deque()  # that the router has not acknowledged
        self._told = 0  # the last batch that has been acknowledged
        self._told_at = 0  # the last one that had come then: a client that does not read keeps back many of them
        self._untold_bytes = 0
        self._closed: list[int] = []
        self._sweeping = False
        self._has_beaten = False
        for held in birth.held:
            self._inherited[held.session] = session = Session(held.session, self.ledger)
            session.take(held, self.platform.client(held.fd))

    def counters(self) -> dict[str, int]:
        return {
            "sessions": len(self.sessions) + len(self._inherited),
            "messages_in": self.reader.messages_in,
            "messages_out": self.writer.messages_out,
            "talking": self.reader.talking(self.platform.monotonic(), max(1.0, self.settings.heartbeat_seconds)),
        }

    @classmethod
    def descriptors(cls, settings: Settings) -> int:
        return super().descriptors(settings) + settings.max_connections

    def on_message(self, message: tuple[Any, ...]) -> None:
        if message[0] == ATTACH:
            _, held, moved = message
            self._attach(Held(*held), moved, self.control.take_descriptor())
        elif message[0] == LINK:
            self._new_link(self.control.take_descriptor())
        else:
            raise LocalProtocolError(f"a worker does not know the message {message[0]!r}")

    def after_wake_up(self) -> None:
        if self._welcome and self._takeover is None:
            self.reader.read()
        if self.writer.detaching:
            self._give_away(self.writer.detached())
        if self.writer.finished:
            for session in self.writer.finished:
                self._close(session)
            self.writer.finished.clear()
        if self._closed:
            if faults.ENABLED:
                faults.point("worker.closed")
            self.tell_supervisor((CLOSED, self._closed))
            if faults.ENABLED:
                faults.point("worker.close-told")
            self._closed = []
        self._send_frame(always=self._has_beaten and self._told < self.writer.acknowledged())
        self._has_beaten = False
        if self.writer.behind and not self._sweeping:
            self._sweeping = True
            self.loop.call_later(1.0, self._sweep)

    def beat(self) -> None:
        """A quiet moment is a moment to acknowledge what has been delivered: at the end of this turn, when the sessions
        that a batch has closed are closed. One that nobody knew any more would seem new to the next worker.
        """
        self._has_beaten = True

    def finish(self) -> None:
        """If nobody comes after it, nobody else would acknowledge what it has delivered."""
        if self._told < self.writer.acknowledged():
            self._send_frame(always=True)

    # Sessions come and go.

    def _attach(self, held: Held, moved: bool, fd: int) -> None:
        sock = self.platform.client(fd)
        session = self._session(held.session)
        session.take(held, sock)
        if faults.ENABLED and not moved:
            faults.point("worker.attaching")
        if moved:
            self._receive_moved(session)
        else:
            self.reader.announce(session)
        self._watch(session)
        if faults.ENABLED and not moved:
            faults.point("worker.attached")

    def _session(self, number: int) -> Session:
        if self.writer.fanout.has(number):
            return self.writer.fanout.target(number)
        session = Session(number, self.ledger)
        self.writer.fanout.add_session(number, session)
        return session

    def _adopt(self, number: int) -> Session:
        """A session is to come from another worker: what is for it waits until it is here."""
        return Session(number, self.ledger)

    def _may_come(self, number: int) -> bool:
        """Whether a session that was not here from birth can still come: it was elsewhere then, or nowhere yet."""
        return number in self.birth.elsewhere or number > self.birth.last_session

    def _receive_moved(self, session: Session) -> None:
        """The other worker has written all that was due to it, and consumed all that it said."""
        if faults.ENABLED:
            faults.point("worker.receiving")
        standing = standing_of(session, self.ledger, self.platform.position_of_tcp)
        session.consumed = standing.consumed
        word = unpack_output(self.ledger.output[session.slot])
        self.reader.arrived(session)
        if word.muted:  # the other worker has found it too slow, and may not have lived to say so
            self.writer.take_muted(session)
            self.reader.end(session, "slow")
        else:
            session.due += word.due
            self.ledger.output[session.slot] = pack_output(self.writer.batch, session.due)
        if session.closing_since is not None and not session.pending:
            self.writer.finished.append(session)
        elif session.pending:
            self.writer.flush(session)
        if faults.ENABLED:
            faults.point("worker.received")

    def _watch(self, session: Session) -> None:
        assert session.socket is not None
        self.sessions[session.number] = session
        self.loop.register(session.socket.fileno(), _CLIENT_EVENTS, partial(self._on_client, session))

    def _on_client(self, session: Session, events: int) -> None:
        if events & select.EPOLLOUT and session.pending:
            self.writer.flush(session)
        if events & ~select.EPOLLOUT:
            self.reader.on_events(session, events)

    def _forget(self, session: Session) -> socket.socket:
        """Let go of a session; returns its socket, no longer watched."""
        sock = session.let_go()
        assert sock is not None
        self.sessions.pop(session.number, None)
        self.reader.forget(session)
        self.writer.forget(session)
        with contextlib.suppress(KeyError):  # it is closed before it has ever been watched
            self.loop.unregister(sock.fileno())
        return sock

    def _close(self, session: Session) -> None:
        """Shut the connection down, close it and tell the custodian, in this order: others hold duplicates."""
        if session.socket is None:
            return
        if faults.ENABLED:
            faults.point("worker.closing")
        sock = self._forget(session)
        with contextlib.suppress(OSError):
            # Unread input would turn the close into a reset, and the peer might lose our last words.
            for _ in range(_READS_TO_DISCARD):
                if sock.recv_into(_SCRATCH, 0, socket.MSG_TRUNC) < len(_SCRATCH):
                    break
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        if faults.ENABLED:
            faults.point("worker.shut-down")
        sock.close()
        self._closed.append(session.number)

    def _give_away(self, sessions: list[tuple[Session, int]]) -> None:
        """To other workers, once the supervisor has been told: until then they are this one's, or its replacement's."""
        if sessions:
            if faults.ENABLED:
                faults.point("worker.detaching")
            for session, _ in sessions:
                self._forget(session).close()
            if faults.ENABLED:
                faults.point("worker.given-away")
            self.tell_supervisor((DETACHED, [(session.number, worker) for session, worker in sessions]))
            if faults.ENABLED:
                faults.point("worker.detached")

    # The link to the router.

    def _new_link(self, fd: int) -> None:
        self._drop_link()
        self.link = self.platform.pipe(fd)
        self.loop.register(fd, READ, self._on_link)
        try:
            self.link.send((HELLO, self._run, self._received))
        except ChannelClosed:
            self._drop_link()
        else:
            watch(self.loop, self.link)
            if faults.ENABLED:
                faults.point("worker.greeting")

    def _drop_link(self) -> None:
        """The router is gone; its replacement will come with a new link."""
        if self.link is None:
            return
        self.loop.unregister(self.link.fileno())
        self.link.close()
        self.link = None
        self._welcome = False

    def _on_link(self, events: int) -> None:
        assert self.link is not None
        try:
            if events & WRITE:
                self.link.flush()
                watch(self.loop, self.link)
            bodies = self.link.receive_bodies()
        except ChannelClosed:
            self._drop_link()
            return
        if not self._welcome and bodies:
            self._on_welcome(decode(bodies.pop(0)))
        if bodies:
            self._on_batches(bodies)

    def _on_welcome(self, message: tuple[Any, ...]) -> None:
        code, run, frame, resume = message
        if code != WELCOME:
            raise LocalProtocolError(f"the router's first frame is of kind {code!r}")
        self._welcome = True
        if faults.ENABLED:
            faults.point("worker.welcomed")
        if resume is not None:
            if self._run:
                self._abandon()
            self._run = run
            self._frame_number = frame
            self._takeover = Takeover(self.platform.monotonic(), *resume)
            self._received = self.writer.batch = self._told = self._takeover.acknowledged
            if self._takeover.complete:
                self._take_over()
        while self._frames and self._frames[0][0] <= frame:
            self._frames.popleft()
        assert self.link is not None
        try:
            for _, encoded in self._frames:
                self.link.send_frame(encoded)
        except ChannelClosed:
            self._drop_link()
        else:
            if faults.ENABLED and self._frames:
                faults.point("worker.frames-resent")
            watch(self.loop, self.link)

    def _on_batches(self, bodies: list[bytes]) -> None:
        operations: list[Operation] = []
        acknowledged = size = 0
        if faults.ENABLED:
            faults.point("worker.batch-received")
        for body in bodies:
            number, acknowledged, batch = decode(body)
            if number != self._received + 1:
                raise LocalProtocolError(f"batch {number} came after batch {self._received}")
            self._received = number
            if self._takeover is not None:
                self._takeover.batches.append(Batch(number, batch, len(body)))
                if self._takeover.complete:
                    self._take_over()
                continue
            operations += batch
            size += len(body)
        while self._frames and self._frames[0][0] <= acknowledged:
            self._frames.popleft()
        if self._takeover is None and self._received > self.writer.batch:
            self.writer.deliver(operations, self._received, size)
            self._untold_bytes += size
        self.reader.consume(acknowledged)  # after the deliveries: people wait for those

    def _take_over(self) -> None:
        takeover, self._takeover = self._takeover, None
        assert takeover is not None
        inherited, self._inherited = self._inherited, {}
        replayed = take_over(
            takeover, inherited, self.reader, self.writer, self.ledger, self.platform.position_of_tcp, self._may_come
        )
        for session in inherited.values():
            if session.socket is not None:
                self._watch(session)
        if faults.ENABLED and inherited:
            faults.point("worker.taken-over")
        if inherited:
            seconds = self.platform.monotonic() - takeover.started
            self.report(
                REPORT_RECOVERED,
                sessions=len(inherited),
                batches=len(takeover.batches),
                bytes=replayed,
                seconds=seconds,
            )

    def _abandon(self) -> None:
        """The router has lost all that it knew of these sessions (`broker.journal`): end them."""
        self.reader.abandon()
        self._frames.clear()
        for session in [*self.sessions.values(), *self._inherited.values()]:
            self._close(session)
        self._inherited.clear()

    def _send_frame(self, always: bool = False) -> None:
        if self.link is None or not self._welcome or self._takeover is not None:
            return
        if not (
            self.reader.events
            or always
            or self.writer.batch - self._told_at >= _UNTOLD_BATCHES
            or self._untold_bytes >= _UNTOLD_BYTES
        ):
            return
        if not self.control.wants_write:  # or the supervisor might never hear of sessions that were closed
            self._told = self.writer.acknowledged()
        self._told_at = self.writer.batch
        self._untold_bytes = 0
        self._frame_number += 1
        frame = encode((self._frame_number, self._told, self.reader.take_frame(self._frame_number)))
        self._frames.append((self._frame_number, frame))
        if faults.ENABLED:
            faults.point("worker.frame-sending")
        try:
            self.link.send_frame(frame)
        except ChannelClosed:
            self._drop_link()
            return
        if faults.ENABLED:
            faults.point("worker.frame-sent")
        watch(self.loop, self.link)

    def _sweep(self) -> None:
        self._sweeping = False
        if self.writer.behind:
            self.writer.check_behind()
