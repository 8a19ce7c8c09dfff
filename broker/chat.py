"""The chat: names, rooms and sessions, and who is told what in which order. Runs in the router.

A deterministic state machine: inputs are the events of the workers, the operator's wishes, the answers to what it asked
for and the passing of time, each with its moment; the output is the operations of `broker.messages` for each worker,
and requests. The same inputs give the same bytes in every process, so nothing in here looks at a clock, draws a random
number or iterates over a set, and all state is plain data. It refuses to know sockets, frames, and how a line is read
or an occasion written (`broker.protocols`).

Two kinds of methods: the router's inputs, and the actions which a protocol takes on behalf of a session. An expected
refusal (a name in use) is an action's result; an exception is a bug of ours. Delivery and rooms are in the base
classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from math import ceil
from typing import Any, Final

from broker.chat_config import ChatConfig
from broker.errors import LocalProtocolError
from broker.membership import Membership
from broker.messages import ARRIVED, ATTACHED, ENDED, LINES, OVERLONG, Event
from broker.names import Name, NameFault, parse_name, parse_room_name
from broker.occasions import Closing, FellBehind, Kicked, NameTimedOut, Occasion, Quit, Renamed
from broker.protocols import PROTOCOLS
from broker.sessions import Session, WireFormat
from broker.text import clean, shared

__all__ = ["Chat", "ChatConfig"]

_END_REASONS: Final = {"eof": "Connection closed", "reset": "Connection reset", "slow": "Too slow"}


class Chat(Membership):
    """Everything that the router knows. `now`, Unix time in seconds, never goes back from one input to the next."""

    def __init__(self, config: ChatConfig) -> None:
        default_room = parse_room_name(config.default_room, config.max_name_length)
        assert isinstance(default_room, Name)  # ChatConfig made sure
        super().__init__(default_room)
        self.config = config
        self.messages_in = 0
        """Lines applied."""
        self.most_people = 0
        """The largest number of sessions with a name that there have been at once."""
        self.began_at = 0.0
        """When the first session came."""
        self.invisible: dict[int, None] = {}
        """Sessions with the user mode `i`, by number: everybody who comes is told how many they are (IRC's LUSERS)."""
        self.operators: dict[int, None] = {}
        """The same of operators of the server."""
        self._people: dict[str, Session] = {}  # by key
        self._watchers: dict[str, dict[int, None]] = {}  # session numbers by the key of a name
        # In order of time, as the timeout is the same for all; unlike a dict it finds its first in constant time.
        self._name_deadlines: OrderedDict[int, float] = OrderedDict()
        self._check_deadlines: OrderedDict[int, float] = OrderedDict()
        self._requests: list[tuple[Any, ...]] = []
        self._asked: dict[int, tuple[int, tuple[Any, ...]]] = {}  # session and purpose by request number
        self._last_request = 0
        self._closing = False
        self.offered: list[str] = []
        """The options of protocols that clients have been told of (IRC's capabilities)."""
        for protocol in PROTOCOLS.values():
            protocol.reconfigured(self)

    # Inputs.

    def apply(self, now: float, worker: int, event: Event) -> None:
        """Apply an event of a worker; LocalProtocolError if that broke the rules of `broker.messages`."""
        if event[0] == LINES:  # nearly all are
            self.now = now
            self._lines(worker, event)
            return
        self._begin(now)
        handler = _EVENT_HANDLERS.get(event[0])
        if handler is None:
            raise LocalProtocolError(f"worker {worker} sent an event of unknown kind {event[0]!r}")
        handler(self, worker, event)

    def expel(self, now: float, number: int) -> None:
        """End a session, if there is one, whose input could not be handled because of a bug of ours."""
        self._begin(now)
        session = self._sessions.get(number)
        if session is not None:
            self.end(session, reason="An error of the server")

    def shutdown(self, now: float) -> None:
        """Say goodbye to everybody and close all sessions; so with those who still come."""
        self._begin(now)
        self._closing = True
        self._end_all(list(self._sessions.values()), Closing(), "The chat is closing")

    def kick(self, now: float, name: str, reason: str) -> str | None:
        """End somebody's session; return the name as spelled by its owner, None if there is nobody of that name."""
        self._begin(now)
        session = self.find_person(name)
        if session is None:
            return None
        reason = clean(reason).strip()
        self.end(session, self.rendered(session, Kicked(reason)), f"Removed: {reason}" if reason else "Removed")
        return session.name

    def tick(self, now: float) -> None:
        """Close the sessions that have not got a name in time, and see to those that are due to be looked at."""
        self.now = now  # flows go on: they are forgotten when somebody is ended, and time alone changes nothing else
        while self._name_deadlines:
            number, deadline = next(iter(self._name_deadlines.items()))
            if deadline > now:
                break
            session = self._sessions[number]
            timed_out = NameTimedOut(ceil(self.config.name_timeout_seconds))
            self.end(session, self.rendered(session, timed_out), "Registration timed out")
        while self._check_deadlines:
            number, deadline = next(iter(self._check_deadlines.items()))
            if deadline > now:
                break
            session = self._sessions[number]
            del self._check_deadlines[number]
            PROTOCOLS[session.format.protocol].check(self, session)

    def next_deadline(self) -> float | None:
        """When `tick` will next have something to do; None if there is nothing to wait for."""
        name = next(iter(self._name_deadlines.values()), None)
        check = next(iter(self._check_deadlines.values()), None)
        if name is None or check is None:
            return check if name is None else name
        return min(name, check)

    def verified(self, now: float, request: int, ok: bool) -> None:
        """The answer to the request `verify`: whether the password is the one of the hash."""
        self._answered(now, request, ok)

    def processes(self, now: float, request: int, lines: list[str]) -> None:
        """The answer to the request `processes`: the table of processes, line by line."""
        self._answered(now, request, lines)

    def rehashed(self, now: float, request: int, message: str) -> None:
        """The answer to the request `rehash`: how it went, in words."""
        self._answered(now, request, message)

    def configured(self, now: float) -> None:
        """`config` is another one than before: tell those who have to know."""
        self._begin(now)
        for protocol in PROTOCOLS.values():
            protocol.reconfigured(self)

    # Output.

    def take_requests(self) -> list[tuple[Any, ...]]:
        """What somebody else is to do: since the last call, each once, and each with its number.

        ("verify", request, password_hash, password), answered by `verified`; ("processes", request), by `processes`;
        ("rehash", request, by), by `rehashed`. What is asked of somebody who is gone by then is answered into nothing.
        """
        requests, self._requests = self._requests, []
        return requests

    @property
    def session_count(self) -> int:
        """Sessions, with or without a name."""
        return len(self._sessions)

    # Actions of a session, for its protocol.

    def set_name(self, session: Session, text: str) -> NameFault | Renamed | None:
        """Give the session its name, or another one (everybody who shares a room is told).

        Return the reason if that cannot be, what happened if it has another name now, and None if it has its first one,
        or the same as before.
        """
        name = parse_name(text, self.config.max_name_length)
        if isinstance(name, NameFault):
            return name
        if self._people.get(name.key, session) is not session:
            return NameFault.IN_USE
        renamed = Renamed(session.source, name.display, self.moment()) if session.phase == "present" else None
        old_name, old_key = session.name, session.key
        self._people.pop(session.key, None)
        self._people[name.key] = session
        session.step("named")
        session.name, session.key = name
        session.identify()
        self._name_deadlines.pop(session.number, None)
        if renamed is None:
            self.most_people = max(self.most_people, len(self._people))
            self.tell_watchers(session, True)
            return None
        if old_name == session.name:
            return None
        self.tell_neighbours(session, renamed)
        if old_key != session.key:
            self.past.add(old_key, renamed.source, session.realname, self.now)
            self.forget_silence(session)
            self._tell_watchers_of(old_key, renamed.source, False)
            self.tell_watchers(session, True)
        return renamed

    def end(self, session: Session, farewell: bytes = b"", reason: str = "Client quit") -> None:
        """End the session after the bytes of `farewell`; its rooms see it leave, its name is free."""
        self._end_all([session], farewell, reason)

    def find_person(self, name: str) -> Session | None:
        """Who has that name, however it is spelled; None if nobody has."""
        parsed = parse_name(name, self.config.max_name_length)
        return self._people.get(parsed.key) if isinstance(parsed, Name) else None

    def people(self) -> Iterator[Session]:
        """Everybody who has a name."""
        return iter(self._people.values())

    @property
    def occupied_room_count(self) -> int:
        """Rooms that somebody is in: the default one is there without anybody, too."""
        return len(self._rooms) - (not self.default_room.members)

    @property
    def people_count(self) -> int:
        """Sessions with a name."""
        return len(self._people)

    def note_modes(self, session: Session) -> None:
        """The session's user modes, or whether it is an operator, may have changed."""
        for kept, holds in ((self.invisible, "i" in session.modes), (self.operators, bool(session.operator))):
            if holds:
                kept[session.number] = None
            else:
                kept.pop(session.number, None)

    def check_later(self, session: Session) -> None:
        """Have the protocol look at the session in `ping_seconds`, instead of whenever that was to be."""
        self._check_deadlines.pop(session.number, None)
        self._check_deadlines[session.number] = self.now + self.config.ping_seconds

    def ask(self, session: Session, purpose: tuple[Any, ...], kind: str, *arguments: object) -> None:
        """Request something (see `take_requests`); the protocol gets the answer, and the purpose with it."""
        self._last_request += 1
        self._asked[self._last_request] = (session.number, purpose)
        self._requests.append((kind, self._last_request, *arguments))

    def watch(self, session: Session, name: Name) -> None:
        """Tell the session from here on when somebody of that name comes or goes."""
        session.watched[name.key] = name.display
        self._watchers.setdefault(name.key, {})[session.number] = None

    def unwatch(self, session: Session, key: str) -> None:
        """And from here on not."""
        if session.watched.pop(key, None) is not None:
            del self._watchers[key][session.number]
            if not self._watchers[key]:
                del self._watchers[key]

    def watchers_of(self, key: str) -> list[Session]:
        """Who watches that name."""
        return [self._sessions[number] for number in self._watchers.get(key, ())]

    def tell_watchers(self, session: Session, present: bool) -> None:
        """Tell those who watch the session's name that it has come, or gone."""
        self._tell_watchers_of(session.key, session.source, present)

    # Within.

    def _begin(self, now: float) -> None:
        """An input that may be anything but talk."""
        self.now = now
        self.forget_flows()

    def _message_id(self, number: int) -> str:
        return f"{self.config.run}-{number}"

    def _tell_watchers_of(self, key: str, source: Any, present: bool) -> None:
        for watcher in self.watchers_of(key):
            PROTOCOLS[watcher.format.protocol].watched(self, watcher, source, present)

    def _answered(self, now: float, request: int, answer: object) -> None:
        self._begin(now)
        number, purpose = self._asked.pop(request, (0, ()))
        session = self._sessions.get(number)
        if session is not None:
            PROTOCOLS[session.format.protocol].answered(self, session, purpose, answer)

    def _attached(self, worker: int, event: Event) -> None:
        _, number, listener, peer = event
        if number in self._sessions:
            raise LocalProtocolError(f"worker {worker} attached session {number}, which is there already")
        protocols = self.config.listener_protocols
        protocol = protocols[listener] if 0 <= listener < len(protocols) else protocols[0]
        session = Session(number, worker, WireFormat(protocol, self.config.language), _host_of(peer))
        session.began_at = session.heard_at = session.spoke_at = self.now
        if not self.began_at:
            self.began_at = self.default_room.made_at = self.now
        self._sessions[number] = session
        if self._closing:  # it was on its way when the others were told
            self.end(session, self.rendered(session, Closing()))
            return
        self._name_deadlines[number] = self.now + self.config.name_timeout_seconds
        PROTOCOLS[protocol].opened(self, session)

    def _lines(self, worker: int, event: Event) -> None:
        _, number, offset, data = event
        flow = self._flows.get(number)
        if flow is not None and flow.session.consumed == offset and data.endswith(b"\n"):
            heard, messages = PROTOCOLS[flow.session.format.protocol].heard_of(flow, data)
            if messages:
                talker = flow.session
                talker.consumed += len(data)
                talker.heard_at = talker.spoke_at = self.now
                self.messages_in += messages
                self._publish_in(flow.group, heard, number, True, messages)
                return
        # Of any worker: the one that had it before may still have lines of it under way.
        session = self._sessions.get(number)
        if session is None:
            return
        if not data.endswith(b"\n"):
            raise LocalProtocolError(f"worker {worker} sent an unfinished line of session {number}")
        old = session.consume(offset, len(data))
        if old:
            data = data[old:]
        if session.skipping and data:
            data = data[data.index(b"\n") + 1 :]
            session.skipping = False
        if not data:
            return
        session.heard_at = self.now
        protocol = PROTOCOLS[session.format.protocol]
        if session.phase == "present":
            said = protocol.monologue(self, session, data)
            if said:
                self.messages_in += said
                return
        self.forget_flows()
        limit = protocol.longest_line_bytes(self.config.max_line_bytes)
        lines = data.split(b"\n")
        lines.pop()
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]
            if len(line) <= limit:
                self.messages_in += 1
                protocol.line(self, session, line)
            else:
                protocol.overlong(self, session)
            if session.phase == "gone":
                return

    def _overlong(self, worker: int, event: Event) -> None:
        _, number, offset, length = event
        session = self._sessions.get(number)
        if session is None:
            return
        if session.consume(offset, length) < length and not session.skipping:
            session.skipping = True
            PROTOCOLS[session.format.protocol].overlong(self, session)

    def _ended(self, worker: int, event: Event) -> None:
        _, number, cause = event
        session = self._sessions.get(number)
        if session is not None:  # only one who is too slow, rather than away, has a use for last words
            farewell = self.rendered(session, FellBehind()) if cause == "slow" else b""
            self.end(session, farewell, _END_REASONS.get(cause, "Connection closed"))

    def _arrived(self, worker: int, event: Event) -> None:
        session = self._sessions.get(event[1])
        # A worker that has replaced another one may say so again, of a session that is on its way elsewhere by now.
        if session is not None and session.worker == worker:
            session.awaited = False

    def _end_all(self, sessions: list[Session], farewell: bytes | Occasion = b"", reason: str = "") -> None:
        """End many at once: none of them hears of the others.

        Each is taken out of everything and closed first; then those who remain are told.
        """
        self.forget_flows()
        for session in sessions:
            session.step("ended")
            for room in self.rooms_of(session):
                self._leave_group(session, room)
                room.members.pop(session.number)
                room.silenced.pop(session.number, None)
            del self._sessions[session.number]
            self.invisible.pop(session.number, None)
            self.operators.pop(session.number, None)
            if session.key:
                del self._people[session.key]
                self.past.add(session.key, session.source, session.realname, self.now)
            for key in list(session.watched):
                self.unwatch(session, key)
            self._name_deadlines.pop(session.number, None)
            self._check_deadlines.pop(session.number, None)
            data = farewell if isinstance(farewell, bytes) else self.rendered(session, farewell)
            if data:
                self.send(session, data)
            self._close(session)
        for session in sessions:
            self.tell_neighbours(session, Quit(session.source, reason, self.moment()))
            if session.key:
                self.tell_watchers(session, False)
        for key in {key: None for session in sessions for key in session.rooms}:
            if not self._rooms[key].members and key != self.default_room_key:
                del self._rooms[key]


def _host_of(peer: str) -> str:
    """What stands for the connection in a prefix: the address without its port, or this machine for a local socket.

    A parameter of IRC cannot begin with a colon, so an IPv6 address that does gets a zero before it.
    """
    host, colon, port = peer.rpartition(":")
    if not colon or not port.isdigit():
        return "localhost"
    host = host.strip("[]")
    return shared(f"0{host}" if host.startswith(":") else host or "localhost")


_EVENT_HANDLERS: Final[dict[int, Callable[[Chat, int, Event], None]]] = {
    ATTACHED: Chat._attached,
    OVERLONG: Chat._overlong,
    ENDED: Chat._ended,
    ARRIVED: Chat._arrived,
}
