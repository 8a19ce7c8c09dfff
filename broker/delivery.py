"""Delivery: who gets which bytes, as operations for the workers. Runs in the router; pure.

Owns the operations that were ordered and not yet taken, the sessions and the rooms, as the places that bytes go to.
What happens, and who may make it happen, is the chat's (`broker.chat`); how it is written, the protocols'. An occasion
is rendered once per (room, wire format), never per receiver.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from broker.flows import Flow
from broker.messages import ADD, ADOPT, CLOSE, DETACH, PUBLISH, REMOVE, SEND, Operation
from broker.occasions import Message, Monologue, Occasion, SharedOccasion, Stamp
from broker.past import Past
from broker.protocols import PROTOCOLS
from broker.rooms import Group, Room
from broker.sessions import Session, WireFormat


class Delivery:
    """The part of the chat that orders bytes. `now` is the time of the input that is being applied."""

    def __init__(self) -> None:
        self.now = 0.0
        self.messages_out = 0
        """Deliveries ordered: one for each session that is to get something."""
        self.ordered_bytes = 0
        """Bytes in the operations that nobody has taken yet."""
        self.past = Past()
        self._sessions: dict[int, Session] = {}
        self._rooms: dict[str, Room] = {}  # by key
        self._last_group = 0
        self._last_id = 0
        self._moment = Stamp(0.0)  # of the input that is being applied
        self._operations: defaultdict[int, list[Operation]] = defaultdict(list)  # by worker
        self._flows: dict[int, Flow] = {}  # by session; true until an input comes that is not talk

    def take_operations(self) -> dict[int, list[Operation]]:
        """The operations ordered since the last call, by worker, for those that have any."""
        taken = dict(self._operations)
        self._operations.clear()
        self.ordered_bytes = 0
        return taken

    # To one.

    def send(self, session: Session, data: bytes) -> None:
        """Bytes for one session."""
        self._operations[session.worker].append((SEND, session.number, data))
        self.ordered_bytes += len(data)
        self.messages_out += 1

    def tell(self, session: Session, occasion: Occasion) -> None:
        """Tell one person, unless their protocol has no words for it."""
        data = self.rendered(session, occasion)
        if data:
            self.send(session, data)

    def tell_each(self, sessions: Iterable[Session], occasion: Occasion) -> None:
        """Tell several people, who get the same bytes if their formats are the same."""
        rendered: dict[WireFormat, bytes] = {}
        for session in sessions:
            data = rendered.get(session.format)
            if data is None:
                data = rendered[session.format] = self.rendered(session, occasion)
            if data:
                self.send(session, data)

    def rendered(self, session: Session, occasion: Occasion) -> bytes:
        """What tells this person of it."""
        return PROTOCOLS[session.format.protocol].render(occasion, session.format)

    # To many.

    def publish(self, room: Room, occasion: SharedOccasion, except_session: int = 0, messages: int = 1) -> None:
        """Tell everybody in the room but one of what counts as so many messages."""
        excepted = None
        if except_session in room.members:
            if len(room.members) == 1:
                return
            excepted = self._sessions[except_session].format
        if len(room.groups) == 1:  # the usual case, and the one that is to be quick
            ((format, group),) = room.groups.items()
            data = PROTOCOLS[format.protocol].render(occasion, format)
            self._publish_in(group, data, except_session, excepted is not None, messages)
            return
        rendered: dict[tuple[str, str, int], bytes] = {}
        for format, group in room.groups.items():
            protocol = PROTOCOLS[format.protocol]
            # Several formats may have the same words for this occasion.
            shape = (format.protocol, format.language, protocol.relevant(occasion, format.capabilities))
            shared = rendered.get(shape)
            if shared is None:
                shared = rendered[shape] = protocol.render(occasion, format)
            self._publish_in(group, shared, except_session, format == excepted, messages)

    def _publish_in(self, group: Group, data: bytes, except_session: int, excepted: bool, messages: int) -> None:
        """Bytes for a group, but for one session, which is in this very group if it is `excepted`."""
        if not data:
            return
        operation = (PUBLISH, group.number, data, except_session)
        receivers = 0
        for worker, members in group.members_of_worker.items():
            self._operations[worker].append(operation)
            receivers += members
        self.ordered_bytes += len(data) * len(group.members_of_worker)
        self.messages_out += (receivers - excepted) * messages

    def publish_message(self, room: Room, session: Session, message: Message) -> None:
        """Tell everybody else in the room what the session says; remember whose it is, if anybody could ask."""
        if message.stamp.id:
            self.past.wrote(message.stamp.id, session.number, room.name.key)
        self.publish(room, message, session.number)

    def publish_monologue(self, room: Room, session: Session, texts: list[bytes]) -> None:
        """The same for each of several texts."""
        messages = len(texts)
        ids = self.ids_in(room, messages)
        for id in ids:
            self.past.wrote(id, session.number, room.name.key)
        monologue = Monologue(session.source, f"#{room.name.display}", texts, self.moment(), ids)
        self.publish(room, monologue, session.number, messages)

    def keep_flow(self, room: Room, session: Session, head: bytes, longest_bytes: int) -> None:
        """The session, a member, may say something in the room by lines like these (`broker.flows`): so it is until
        the next input that is not talk.
        """
        if len(room.groups) == 1 and len(room.members) > 1:
            ((format, group),) = room.groups.items()
            start = PROTOCOLS[format.protocol].start_of_speech(session.source, f"#{room.name.display}", format)
            if start:
                self._flows[session.number] = Flow(session, group, head, start, longest_bytes)

    def forget_flows(self) -> None:
        """Whatever is said next is looked at as if it were the first."""
        self._flows.clear()

    def tell_neighbours(self, session: Session, occasion: SharedOccasion) -> None:
        """Tell everybody else who shares a room with the session, each of them once."""
        rooms = [self._rooms[key] for key in session.rooms]
        if not rooms:
            return
        largest = max(rooms, key=lambda room: len(room.members))
        self.publish(largest, occasion, session.number)
        if len(rooms) > 1:
            self.tell_each(self._others_in(rooms, largest, session), occasion)

    def _others_in(self, rooms: list[Room], besides: Room, session: Session) -> Iterator[Session]:
        seen = {session.number}
        for room in rooms:
            if room is not besides:
                for number in room.members:
                    if number not in besides.members and number not in seen:
                        seen.add(number)
                        yield self._sessions[number]

    # Who is where.

    def members_of(self, room: Room) -> Iterator[Session]:
        """The sessions in a room, first come first."""
        return (self._sessions[number] for number in room.members)

    def rooms_of(self, session: Session) -> list[Room]:
        """The rooms that a session is in, first entered first."""
        return [self._rooms[key] for key in session.rooms]

    def set_format(self, session: Session, format: WireFormat) -> None:
        """From here on the session gets what it gets in another format."""
        if format == session.format:
            return
        rooms = self.rooms_of(session)
        for room in rooms:
            self._leave_group(session, room)
        session.format = format
        for room in rooms:
            self._join_group(session, room)

    # Between workers.

    def sessions_of(self, worker: int) -> list[Session]:
        """The sessions of one worker, oldest first."""
        return [session for session in self._sessions.values() if session.worker == worker]

    def memberships(self, worker: int) -> Iterator[tuple[int, int]]:
        """(group, session) for each membership that a worker has to know."""
        for session in self.sessions_of(worker):
            for room in self.rooms_of(session):
                yield room.groups[session.format].number, session.number

    def move_session(self, session: Session, worker: int) -> None:
        """The session's socket goes to another worker; from here on that one is told what is for it."""
        self.forget_flows()
        rooms = self.rooms_of(session)
        for room in rooms:
            self._leave_group(session, room)
        self._operations[session.worker].append((DETACH, session.number, worker))
        session.worker = worker
        session.awaited = True
        self._operations[worker].append((ADOPT, session.number))
        for room in rooms:
            self._join_group(session, room)

    # What happened when.

    def moment(self) -> Stamp:
        """When something happens that needs no name."""
        if self._moment.time != self.now:
            self._moment = Stamp(self.now)
        return self._moment

    def stamp_in(self, room: Room) -> Stamp:
        """The moment of a message in a room, and its name if anybody there could ever be told of it."""
        return self.next_stamp() if _shows_ids(room) else self.moment()

    def ids_in(self, room: Room, count: int) -> tuple[str, ...]:
        """The names of so many messages in a room; none if nobody there could ever be told of them."""
        if not _shows_ids(room):
            return ()
        first = self._last_id + 1
        self._last_id += count
        return tuple(map(self._message_id, range(first, first + count)))

    def next_stamp(self) -> Stamp:
        """The moment and the name of a message; names of one broker's run differ from those of all others."""
        self._last_id += 1
        return Stamp(self.now, self._message_id(self._last_id))

    def _message_id(self, number: int) -> str:
        raise NotImplementedError

    def _join_group(self, session: Session, room: Room) -> None:
        group = room.count_in(session, self._last_group + 1)
        self._last_group = max(self._last_group, group.number)
        self._operations[session.worker].append((ADD, group.number, session.number))

    def _leave_group(self, session: Session, room: Room) -> None:
        group = room.count_out(session)
        self._operations[session.worker].append((REMOVE, group.number, session.number))

    def _close(self, session: Session) -> None:
        self._operations[session.worker].append((CLOSE, session.number))


def _shows_ids(room: Room) -> bool:
    """Whether anybody in the room learns the names that messages have."""
    for format in room.groups:  # noqa: SIM110 - a generator would cost as much as all else here, with every message
        if PROTOCOLS[format.protocol].shows_ids(format.capabilities):
            return True
    return False
