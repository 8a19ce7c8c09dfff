"""The chat: names, rooms and sessions, and who is told what in which order. Runs in the router.

A deterministic state machine: inputs are the events of the workers, the operator's wishes and the passing of time, each
with its moment; the output is the operations of `broker.messages` for each worker. The same inputs give the same bytes
in every process, so nothing in here looks at a clock, draws a random number or iterates over a set, and all state is
plain data. It refuses to know sockets, frames, and how a line is read or an occasion written (`broker.protocols`).

Two kinds of methods: the router's inputs, and the actions which a protocol takes on behalf of a session. An expected
refusal (a name in use) is an action's result; an exception is a bug of ours.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Final

from broker.errors import ConfigError, LocalProtocolError
from broker.messages import (
    ADD,
    ADOPT,
    ARRIVED,
    ATTACHED,
    CLOSE,
    DETACH,
    ENDED,
    LINES,
    OVERLONG,
    PUBLISH,
    REMOVE,
    SEND,
    Event,
    Operation,
)
from broker.names import Name, NameFault, parse_name, parse_room_name
from broker.occasions import (
    Closing,
    FellBehind,
    Joined,
    Kicked,
    Left,
    NameTimedOut,
    Occasion,
    Renamed,
    RoomOccasion,
)
from broker.phrases import LANGUAGES
from broker.protocols import PROTOCOLS
from broker.rooms import Room
from broker.sessions import Session, WireFormat
from broker.text import clean


@dataclass(frozen=True)
class ChatConfig:
    """What the chat has to be told; ConfigError if it makes no sense.

    `language` is the one that a session begins with, `listener_protocols` the name of the protocol of each listener.
    `max_line_bytes` is without the line's end, `max_name_length` in code points.
    """

    language: str = "zh"
    listener_protocols: tuple[str, ...] = ("chat",)
    name_timeout_seconds: float = 60.0
    max_line_bytes: int = 4096
    max_name_length: int = 32
    default_room: str = "lobby"

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise ConfigError(f"there is no language {self.language!r}; choose one of {', '.join(LANGUAGES)}")
        for protocol in self.listener_protocols:
            if protocol not in PROTOCOLS:
                raise ConfigError(f"there is no chat protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
        if not self.listener_protocols:
            raise ConfigError("the chat needs the protocol of at least one listener")
        if not isinstance(parse_room_name(self.default_room, self.max_name_length), Name):
            raise ConfigError(f"{self.default_room!r} cannot be the name of a room; see docs/chat-protocol.md")


class Chat:
    """Everything that the router knows. `now`, in seconds, never goes back from one input to the next."""

    def __init__(self, config: ChatConfig) -> None:
        self.config = config
        self.messages_in = 0
        """Lines applied."""
        self.messages_out = 0
        """Deliveries ordered: one for each session that is to get something."""
        self._sessions: dict[int, Session] = {}
        self._people: dict[str, Session] = {}  # by key
        self._rooms: dict[str, Room] = {}  # by key
        # In order of time, as the timeout is the same for all; unlike a dict it finds its first in constant time.
        self._name_deadlines: OrderedDict[int, float] = OrderedDict()
        self._last_group = 0
        self._operations: defaultdict[int, list[Operation]] = defaultdict(list)  # by worker
        self.ordered_bytes = 0
        """Bytes in the operations that nobody has taken yet."""
        self._closing = False
        default_room = parse_room_name(config.default_room, config.max_name_length)
        assert isinstance(default_room, Name)  # ChatConfig made sure
        self._rooms[default_room.key] = self.default_room = Room(default_room)

    # Inputs.

    def apply(self, now: float, worker: int, events: Iterable[Event]) -> None:
        """Apply the events of one frame; LocalProtocolError if the worker broke the rules of `broker.messages`."""
        for event in events:
            handler = _EVENT_HANDLERS.get(event[0])
            if handler is None:
                raise LocalProtocolError(f"worker {worker} sent an event of unknown kind {event[0]!r}")
            handler(self, now, worker, event)

    def expel(self, now: float, number: int) -> None:
        """End a session, if there is one, whose input could not be handled because of a bug of ours."""
        session = self._sessions.get(number)
        if session is not None:
            self.end(session)

    def move_session(self, session: Session, worker: int) -> None:
        """The session's socket goes to another worker; from here on that one is told what is for it."""
        room = session.room
        if room is not None:
            self._leave_group(session, room)
        self._operations[session.worker].append((DETACH, session.number, worker))
        session.worker = worker
        session.awaited = True
        self._operations[worker].append((ADOPT, session.number))
        if room is not None:
            self._join_group(session, room)

    def sessions_of(self, worker: int) -> list[Session]:
        """The sessions of one worker, oldest first."""
        return [session for session in self._sessions.values() if session.worker == worker]

    def memberships(self, worker: int) -> Iterator[tuple[int, int]]:
        """(group, session) for each membership that a worker has to know."""
        for session in self.sessions_of(worker):
            if session.room is not None:
                yield session.room.groups[session.format].number, session.number

    def shutdown(self, now: float) -> None:
        """Say goodbye to everybody and close all sessions; so with those who still come."""
        self._closing = True
        self._end_all(list(self._sessions.values()), Closing())

    def kick(self, now: float, name: str, reason: str) -> str | None:
        """End somebody's session; return the name as spelled by its owner, None if there is nobody of that name."""
        session = self.find_person(name)
        if session is None:
            return None
        self.end(session, self._rendered(session, Kicked(clean(reason).strip())))
        return session.name

    def tick(self, now: float) -> None:
        """Close the sessions that have not got a name in time."""
        while self._name_deadlines:
            number, deadline = next(iter(self._name_deadlines.items()))
            if deadline > now:
                return
            session = self._sessions[number]
            self.end(session, self._rendered(session, NameTimedOut(ceil(self.config.name_timeout_seconds))))

    def next_deadline(self) -> float | None:
        """When `tick` will next have something to do; None if nobody is without a name."""
        return next(iter(self._name_deadlines.values()), None)

    # Output.

    def take_operations(self) -> dict[int, list[Operation]]:
        """The operations ordered since the last call, by worker, for those that have any."""
        taken = dict(self._operations)
        self._operations.clear()
        self.ordered_bytes = 0
        return taken

    @property
    def session_count(self) -> int:
        """Sessions, with or without a name."""
        return len(self._sessions)

    @property
    def room_count(self) -> int:
        """Rooms, the default one included."""
        return len(self._rooms)

    # Actions of a session, for its protocol.

    def set_name(self, session: Session, text: str) -> NameFault | None:
        """Give the session its name, or another one (its room is told); the reason if that cannot be."""
        name = parse_name(text, self.config.max_name_length)
        if isinstance(name, NameFault):
            return name
        if self._people.get(name.key, session) is not session:
            return NameFault.IN_USE
        self._people.pop(session.key, None)
        self._people[name.key] = session
        old = session.name
        session.step("named")
        session.name, session.key = name
        self._name_deadlines.pop(session.number, None)
        if old != session.name and session.room is not None:
            self.tell_others(session, Renamed(old, session.name))
        return None

    def enter(self, session: Session, name: Name) -> Room:
        """Leave the present room and enter another one, which is made if there is none; both rooms are told."""
        self.leave(session)
        room = self._rooms.get(name.key)
        if room is None:
            room = self._rooms[name.key] = Room(name)
        session.room = room
        room.members[session.number] = session
        self._join_group(session, room)
        self.tell_others(session, Joined(session.name))
        return room

    def leave(self, session: Session) -> Room | None:
        """Leave the present room, which is told, and return it; None if the session is in none."""
        room = self._withdraw(session)
        if room is not None:
            self._publish(room, Left(session.name))
        return room

    def tell_others(self, session: Session, occasion: RoomOccasion) -> None:
        """Tell everybody else in the session's room, where it must be in one."""
        if session.room is None:
            raise LocalProtocolError(f"session {session.number} is in no room")
        self._publish(session.room, occasion, session.number)

    def tell(self, session: Session, occasion: Occasion) -> None:
        """Tell one person."""
        self.send(session, self._rendered(session, occasion))

    def send(self, session: Session, data: bytes) -> None:
        """Bytes for one session."""
        self._operations[session.worker].append((SEND, session.number, data))
        self.ordered_bytes += len(data)
        self.messages_out += 1

    def set_language(self, session: Session, language: str) -> None:
        """From here on the session gets `language`."""
        room = session.room
        if room is not None:
            self._leave_group(session, room)
        session.format = WireFormat(session.format.protocol, language)
        if room is not None:
            self._join_group(session, room)

    def end(self, session: Session, farewell: bytes = b"") -> None:
        """End the session after the bytes of `farewell`; its room sees it leave, its name is free."""
        room = self._forget(session, farewell)
        if room is not None:
            self._publish(room, Left(session.name))

    def find_person(self, name: str) -> Session | None:
        """Who has that name, however it is spelled; None if nobody has."""
        parsed = parse_name(name, self.config.max_name_length)
        return self._people.get(parsed.key) if isinstance(parsed, Name) else None

    def find_room(self, name: Name) -> Room | None:
        """The room of that name, None if there is none."""
        return self._rooms.get(name.key)

    def first_rooms(self, limit: int) -> list[Room]:
        """The `limit` oldest rooms, the default one first."""
        return list(islice(self._rooms.values(), limit))

    # Within.

    def _attached(self, now: float, worker: int, event: Event) -> None:
        _, number, listener, _peer = event
        if number in self._sessions:
            raise LocalProtocolError(f"worker {worker} attached session {number}, which is there already")
        protocols = self.config.listener_protocols
        protocol = protocols[listener] if 0 <= listener < len(protocols) else protocols[0]
        session = Session(number, worker, WireFormat(protocol, self.config.language))
        self._sessions[number] = session
        if self._closing:  # it was on its way when the others were told
            self.end(session, self._rendered(session, Closing()))
            return
        self._name_deadlines[number] = now + self.config.name_timeout_seconds
        PROTOCOLS[protocol].opened(self, session)

    def _lines(self, now: float, worker: int, event: Event) -> None:
        _, number, offset, data = event
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
        protocol = PROTOCOLS[session.format.protocol]
        limit = self.config.max_line_bytes
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

    def _overlong(self, now: float, worker: int, event: Event) -> None:
        _, number, offset, length = event
        session = self._sessions.get(number)
        if session is None:
            return
        if session.consume(offset, length) < length and not session.skipping:
            session.skipping = True
            PROTOCOLS[session.format.protocol].overlong(self, session)

    def _ended(self, now: float, worker: int, event: Event) -> None:
        _, number, cause = event
        session = self._sessions.get(number)
        if session is not None:  # only one who is too slow, rather than away, has a use for last words
            self.end(session, self._rendered(session, FellBehind()) if cause == "slow" else b"")

    def _arrived(self, now: float, worker: int, event: Event) -> None:
        session = self._sessions.get(event[1])
        # A worker that has replaced another one may say so again, of a session that is on its way elsewhere by now.
        if session is not None and session.worker == worker:
            session.awaited = False

    def _end_all(self, sessions: list[Session], farewell: Occasion | None = None) -> None:
        """End many at once: none of them hears of the others."""
        left = []
        for session in sessions:
            room = self._forget(session, b"" if farewell is None else self._rendered(session, farewell))
            if room is not None:
                left.append((room, session.name))
        for room, name in left:
            self._publish(room, Left(name))

    def _forget(self, session: Session, farewell: bytes) -> Room | None:
        """Take the session out of everything and close it; return the room that has to be told."""
        session.step("ended")
        room = self._withdraw(session)
        del self._sessions[session.number]
        if session.key:
            del self._people[session.key]
        self._name_deadlines.pop(session.number, None)
        if farewell:
            self.send(session, farewell)
        self._operations[session.worker].append((CLOSE, session.number))
        return room

    def _withdraw(self, session: Session) -> Room | None:
        """Take the session out of its room and return that, without a word."""
        room = session.room
        if room is None:
            return None
        self._leave_group(session, room)
        session.room = None
        del room.members[session.number]
        if not room.members and room is not self.default_room:
            del self._rooms[room.name.key]
        return room

    def _join_group(self, session: Session, room: Room) -> None:
        group = room.count_in(session, self._last_group + 1)
        self._last_group = max(self._last_group, group.number)
        self._operations[session.worker].append((ADD, group.number, session.number))

    def _leave_group(self, session: Session, room: Room) -> None:
        group = room.count_out(session)
        self._operations[session.worker].append((REMOVE, group.number, session.number))

    def _publish(self, room: Room, occasion: RoomOccasion, except_session: int = 0) -> None:
        """Render once for each wire format in the room, and give the bytes to each worker that has members of it."""
        receivers = len(room.members) - (except_session in room.members)
        if not receivers:
            return
        self.messages_out += receivers
        operations = self._operations
        for (protocol, language), group in room.groups.items():
            operation = (PUBLISH, group.number, PROTOCOLS[protocol].render(occasion, language), except_session)
            for worker in group.members_of_worker:
                operations[worker].append(operation)
                self.ordered_bytes += len(operation[2])

    def _rendered(self, session: Session, occasion: Occasion) -> bytes:
        return PROTOCOLS[session.format.protocol].render(occasion, session.format.language)


_EVENT_HANDLERS: Final[dict[int, Callable[[Chat, float, int, Event], None]]] = {
    ATTACHED: Chat._attached,
    LINES: Chat._lines,
    OVERLONG: Chat._overlong,
    ENDED: Chat._ended,
    ARRIVED: Chat._arrived,
}
