"""The input half of a worker: which session is read when, what is forwarded, and when it is consumed.

The way of input: an edge of epoll marks a session readable; a peek finds whole lines; one frame a wake-up carries all
of them to the router; its acknowledgement lets them be consumed from the kernel, and the session is looked at again.
Pacing, fairness and the bound on unacknowledged input are all *not reading*, so nothing is ever dropped and a flooding
sender waits in its own `send`. Those who have just come, and those who are gone, cost the router much and are in no
hurry: they have a queue of their own, so that thousands who come at once do not keep the others from talking. Knows
nothing of the output, and of the router only the numbers of the frames.
"""

from __future__ import annotations

import math
import select
import socket
from collections.abc import Callable
from typing import Final

from broker import faults
from broker.messages import ARRIVED, ATTACHED, ENDED, LINES, OVERLONG, EndCause, Event
from broker.pacing import TokenBucket
from broker.settings import Settings
from workers.session import Session

_HANGUP: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_UNUSUAL: Final = _HANGUP | select.EPOLLPRI
_PEEK_BYTES: Final = 16 * 1024
_LINES_PER_TURN: Final = 128
"""No session forwards more lines than this before every other readable one had its turn."""
_IN_FLIGHT_LIMIT_BYTES: Final = 1024 * 1024
"""Unacknowledged input of all sessions; past it nothing is read until the router has caught up."""
_NEWCOMER_SECONDS: Final = 1.0
"""For so long somebody is a newcomer."""
_LATE_EVENTS: Final = 64
"""Of newcomers and of those who are gone, the router gets so many at a time where nobody talks."""
_LATE_EVENTS_BESIDE_TALK: Final = 4
"""And so many where somebody does, who might have to wait for all of them: each is about 0.1 ms of its work."""
_LATE_SHARE: Final = 1024
"""And one more for so many of them that wait, or a busy router would keep thousands waiting for minutes."""
_TALK_SECONDS: Final = 1.0
"""For so long after somebody has said something, people are taken to be talking."""
_SHORTEST_PAUSE_SECONDS: Final = 0.02
"""Waking up for every single line of a flood would cost more than it paces."""


class Reader:
    """Reads the sessions it is told of. `call_later(delay_seconds, callback)` is the loop's."""

    def __init__(
        self,
        settings: Settings,
        longest_line_bytes: int,
        call_later: Callable[[float, Callable[[], None]], object],
        monotonic: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._call_later = call_later
        self._monotonic = monotonic
        self.events: list[Event] = []  # for the next frame
        self.messages_in = 0
        self._talked_at = -math.inf  # when somebody last said something who is no newcomer
        self._forwarded: list[tuple[Session, int]] = []  # who forwarded how much, in the next frame
        self._frames: dict[int, list[tuple[Session, int]]] = {}  # the same by frame number
        self._in_flight_bytes = 0
        self._readable: dict[int, Session] = {}  # in the order in which they get their turn
        self._late: dict[int, Session] = {}  # the same of newcomers and of those who are gone
        self._late_unsent = False  # there are events of theirs for the next frame
        self._late_frame = 0  # the frame with their last events, if it is not acknowledged
        self._addresses: dict[str, tuple[TokenBucket, set[int]]] = {}
        # A peek of this many bytes without an LF is a line that is too long (1 for the CR of CRLF).
        self._longest_line = longest_line_bytes + 1
        self._peek_bytes = max(_PEEK_BYTES, self._longest_line + 1)

    # Sessions come and go.

    def announce(self, session: Session) -> None:
        """Tell the router, in its turn, of a session that it does not know."""
        session.announced = False
        session.newcomer_until = self._monotonic() + _NEWCOMER_SECONDS
        self._late[session.number] = session

    def arrived(self, session: Session) -> None:
        """Tell the router that a session's socket has come from another worker."""
        self.events.append((ARRIVED, session.number))

    def end(self, session: Session, cause: EndCause) -> None:
        """Nothing more comes from this session: say so once, and wait for the router to close it."""
        if not session.ended:
            self._introduce(session)
            session.ended = True
            self.stop_reading(session)
            self.events.append((ENDED, session.number, cause))

    def missing(self, number: int) -> None:
        """The router knows a session whose socket is nowhere."""
        self.events.append((ENDED, number, "reset"))

    def stop_reading(self, session: Session) -> None:
        """It is not to be read any more."""
        self._readable.pop(session.number, None)
        self._late.pop(session.number, None)

    def forget(self, session: Session) -> None:
        """The session is no longer this worker's."""
        self.stop_reading(session)
        entry = self._addresses.get(session.address)
        if entry is not None:
            entry[1].discard(session.number)
            if not entry[1]:
                del self._addresses[session.address]

    def abandon(self) -> None:
        """All that was forwarded is of no interest to anybody."""
        self.events.clear()
        self._forwarded.clear()
        self._frames.clear()
        self._readable.clear()
        self._late.clear()
        self._late_unsent = False
        self._late_frame = 0
        self._in_flight_bytes = 0

    # Reading.

    def on_events(self, session: Session, events: int) -> None:
        """What epoll says of the session's input."""
        if session.ended or session.detaching:
            return
        session.readable = True
        if events & _UNUSUAL:
            if events & select.EPOLLPRI:
                # A peek stops in front of the urgent mark for as long as there is something unread before it.
                session.urgent = True
            if events & _HANGUP:
                session.hangup = True
                if events & select.EPOLLERR:
                    session.reset = True
                    if session.paced:  # its owner is gone, and the name is not to be kept for what is still unread
                        self.end(session, "reset")
                        return
        if not (session.in_flight or session.paced):
            if session.hangup or session.newcomer_until:
                self._queue(session)
            else:
                self._readable[session.number] = session

    def look(self, session: Session) -> None:
        """The session may have something to read: it gets its turn."""
        if not (session.in_flight or session.paced or session.ended or session.detaching):
            self._queue(session)

    def read(self) -> None:
        """Give every readable session its turn, within the bound on what is in flight."""
        readable = self._readable
        if not (readable or self._late):
            return
        now = self._monotonic()
        before = len(self.events)
        while readable and self._in_flight_bytes < _IN_FLIGHT_LIMIT_BYTES:
            self._peek(readable.pop(next(iter(readable))), now)
        if len(self.events) > before:
            self._talked_at = now
        if self._late and not self._late_unsent and not self._late_frame:
            self._read_late(now)

    def talking(self, now: float, for_seconds: float = _TALK_SECONDS) -> bool:
        """Whether anybody but newcomers has said something in the last so many seconds, if it was only a PONG."""
        return now - self._talked_at <= for_seconds

    def _queue(self, session: Session) -> None:
        """Give it a turn, and one only: whoever is peeked twice is consumed twice."""
        if session.number in self._late:
            return
        if session.newcomer_until and self._monotonic() >= session.newcomer_until:
            session.newcomer_until = 0.0
        if (session.newcomer_until or session.hangup) and session.number not in self._readable:
            self._late[session.number] = session
        else:
            self._readable[session.number] = session

    def _read_late(self, now: float) -> None:
        """Give some of those their turn who have just come, or are gone."""
        # Whatever is in flight: or people who talk without a pause would keep everybody else out.
        before = len(self.events)
        limit = before + (_LATE_EVENTS_BESIDE_TALK if self.talking(now) else _LATE_EVENTS)
        limit += len(self._late) // _LATE_SHARE
        while self._late and len(self.events) < limit:
            session = self._late.pop(next(iter(self._late)))
            self._introduce(session)
            self._peek(session, now)
        self._late_unsent = len(self.events) > before

    def _introduce(self, session: Session) -> None:
        if not session.announced:
            session.announced = True
            self.events.append((ATTACHED, session.number, session.listener, session.peer))

    def take_frame(self, number: int) -> list[Event]:
        """The events for the frame of that number."""
        events, self.events = self.events, []
        if self._late_unsent:
            self._late_unsent = False
            self._late_frame = number
        if self._forwarded:
            self._frames[number] = self._forwarded
            self._forwarded = []
        return events

    def consume(self, acknowledged: int) -> list[Session]:
        """The router has these frames: take their lines out of the kernel, and look for more.

        Returns the sessions that wait to be detached and have nothing in flight any more.
        """
        settled = []
        if self._late_frame <= acknowledged:
            self._late_frame = 0
        while self._frames and (number := next(iter(self._frames))) <= acknowledged:
            for session, length in self._frames.pop(number):
                session.in_flight = 0
                self._in_flight_bytes -= length
                if session.socket is None:  # closed meanwhile
                    continue
                if faults.ENABLED:
                    faults.point("worker.consuming")
                try:
                    session.consume(length)
                except OSError:
                    self.end(session, "reset")
                if faults.ENABLED:
                    faults.point("worker.consumed")
                if session.detaching:
                    settled.append(session)
                elif session.readable or session.hangup:
                    self.look(session)
        return settled

    def _peek(self, session: Session, now: float) -> None:
        session.readable = False
        assert session.socket is not None
        if faults.ENABLED:
            faults.point("worker.peeking")
        try:
            data = session.socket.recv(self._peek_bytes, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            self.end(session, "reset")
            return
        if faults.ENABLED:
            faults.point("worker.peeked")
        if not data:
            self.end(session, "eof")
            return
        if len(data) == self._peek_bytes:
            session.readable = True  # there may be more than one peek shows
        end = data.rfind(b"\n") + 1
        if end:
            lines = data.count(b"\n")
            buckets = session.buckets
            if lines > _LINES_PER_TURN or len(buckets) != 1 or not buckets[0].take_all(lines, now):
                lines, end = self._grant(session, data, lines, end, now)
            if lines:
                self.messages_in += lines
                self._forward(session, (LINES, session.number, session.consumed, data[:end]), end)
        elif len(data) > self._longest_line or session.urgent:
            session.urgent = False
            self._forward(session, (OVERLONG, session.number, session.consumed, len(data)), len(data))
        elif session.hangup:
            # The end of the stream ends its last line.
            self.messages_in += 1
            self._forward(session, (LINES, session.number, session.consumed, data + b"\n"), len(data))

    def _forward(self, session: Session, event: Event, consumes: int) -> None:
        self.events.append(event)
        self._forwarded.append((session, consumes))
        session.in_flight = consumes
        self._in_flight_bytes += consumes

    # Pacing.

    def _grant(self, session: Session, data: bytes, lines: int, end: int, now: float) -> tuple[int, int]:
        """How many of the lines in `data`, which are in its first `end` bytes, may be read now, and where they end."""
        if not session.has_buckets:
            self._give_buckets(session, now)
        buckets = session.buckets
        granted = min(lines, _LINES_PER_TURN, *[bucket.available(now) for bucket in buckets])
        if granted < lines:
            session.readable = True
            if granted <= 0:
                if session.reset:
                    self.end(session, "reset")
                else:
                    self._pace(session)
                return 0, 0
            end = 0
            for _ in range(granted):
                end = data.index(b"\n", end) + 1
        for bucket in buckets:
            bucket.spend(granted)
        return granted, end

    def _give_buckets(self, session: Session, now: float) -> None:
        settings = self._settings
        session.has_buckets = True
        rate, burst = settings.rate_of(session.listener)
        if not settings.is_exempt(session.address):
            if rate:
                session.buckets += (TokenBucket(rate, burst, now),)
            if settings.address_rate_lines_per_second:
                session.buckets += (self._address_bucket(session.address, session.number, now),)

    def _address_bucket(self, address: str, number: int, now: float) -> TokenBucket:
        entry = self._addresses.get(address)
        if entry is None:
            settings = self._settings
            # An address's sessions are spread over the workers: each grants its share.
            share = settings.workers
            bucket = TokenBucket(
                settings.address_rate_lines_per_second / share, settings.address_rate_burst_lines / share, now
            )
            entry = self._addresses[address] = (bucket, set())
        entry[1].add(number)
        return entry[0]

    def _pace(self, session: Session) -> None:
        """Read this session again when a line may be read: until then its input stays in the kernel."""
        session.paced = True
        wait = max(bucket.wait_seconds() for bucket in session.buckets)

        def read_on() -> None:
            session.paced = False
            if session.socket is not None:
                self.look(session)

        self._call_later(max(wait, _SHORTEST_PAUSE_SECONDS), read_on)
