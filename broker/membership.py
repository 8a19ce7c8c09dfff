"""Membership: how people come into rooms and go, and what they change there. Runs in the router; pure.

The actions of protocols on rooms, each of which tells everybody concerned but the one who acts: the answer to that one
is the protocol's. What is asked for has been checked by then: the rules are in `broker.room_policy`, which decides and
does not act; here it is done.
"""

from __future__ import annotations

from itertools import islice
from typing import Final, TypeVar

from broker.delivery import Delivery
from broker.errors import LocalProtocolError
from broker.names import Name
from broker.occasions import (
    AwayChanged,
    Invited,
    Joined,
    ModesChanged,
    Parted,
    PutOut,
    RealnameChanged,
    Removed,
    RoomRenamed,
    Source,
    TopicSet,
)
from broker.room_policy import with_status
from broker.rooms import ListedMask, Room, Topic
from broker.sessions import Session

_Key = TypeVar("_Key", int, str)

INVITATIONS_KEPT: Final = 100
"""Of a room, and of a person: the oldest is forgotten first."""


class Membership(Delivery):
    """The part of the chat that is about rooms. `default_room_key` names the one that is always there."""

    def __init__(self, default_room: Name) -> None:
        super().__init__()
        self.default_room_key = default_room.key
        self._rooms[default_room.key] = Room(default_room)

    @property
    def default_room(self) -> Room:
        """Where people of the plain protocol begin: it belongs to nobody, and is never gone."""
        return self._rooms[self.default_room_key]

    @property
    def room_count(self) -> int:
        """Rooms, the default one included."""
        return len(self._rooms)

    def find_room(self, name: Name) -> Room | None:
        """The room of that name, None if there is none."""
        return self._rooms.get(name.key)

    def first_rooms(self, limit: int) -> list[Room]:
        """The `limit` oldest rooms, the default one first."""
        return list(islice(self._rooms.values(), limit))

    def first_room_of(self, session: Session) -> Room | None:
        """The room that a session entered first, which is the only one in the plain protocol; None if it is in none."""
        for key in session.rooms:
            return self._rooms[key]
        return None

    def enter(self, session: Session, name: Name) -> Room:
        """Enter a room, which is made if there is none, and told; whoever makes one is its operator."""
        room = self._rooms.get(name.key)
        if room is None:
            room = self._rooms[name.key] = Room(name, self.now)
        if session.number in room.members:
            raise LocalProtocolError(f"session {session.number} is in {name.display} already")
        # The default room has operators only if a server operator makes some: it belongs to nobody.
        room.members[session.number] = "" if room.members or room.name.key == self.default_room_key else "o"
        room.invited.pop(session.number, None)
        session.rooms[name.key] = None
        self._join_group(session, room)
        self.publish(room, Joined(session.source, room.name.display, session.realname, self.moment()), session.number)
        if session.away:
            self.publish(room, AwayChanged(session.source, session.away, self.moment()), session.number)
        return room

    def leave(self, session: Session, room: Room, reason: str = "") -> None:
        """Leave a room, which is told."""
        self._withdraw(session, room)
        self.publish(room, Parted(session.source, room.name.display, reason, self.moment()))

    def remove(self, room: Room, source: Source, session: Session, reason: str, except_session: int = 0) -> Removed:
        """Put somebody out of a room; they and the room are told, but for `except_session`."""
        occasion = Removed(source, room.name.display, session.name, reason, self.moment())
        self._withdraw(session, room)
        self.publish(room, occasion, except_session)
        if session.number != except_session:
            self.tell(session, PutOut(*occasion))
        return occasion

    def invite(self, room: Room, source: Source, session: Session) -> Invited:
        """Let somebody in, whatever the room's modes say, once; they are told."""
        _keep(room.invited, session.number)
        _keep(session.invitations, room.name.key)
        occasion = Invited(source, session.name, room.name.display, self.moment())
        self.tell(session, occasion)
        return occasion

    def invitations_of(self, session: Session) -> list[Room]:
        """The rooms that the session was invited to and has not entered since."""
        rooms = [self._rooms[key] for key in session.invitations if key in self._rooms]
        return [room for room in rooms if session.number in room.invited]

    def set_topic(self, room: Room, source: Source, text: str, except_session: int = 0) -> TopicSet:
        """Give the room another topic, or none; the room is told."""
        by = f"{source.name}!{source.user}@{source.host}" if source.host else source.name
        room.topic = Topic(text, by, self.now) if text else Topic()
        occasion = TopicSet(source, room.name.display, text, self.moment())
        self.publish(room, occasion, except_session)
        return occasion

    def set_status(self, room: Room, number: int, letter: str, given: bool) -> bool:
        """Give or take a member's status; whether that changed anything. The room is told by `announce_modes`."""
        old = room.members[number]
        room.members[number] = with_status(old, letter, given)
        return room.members[number] != old

    def set_mask(self, room: Room, letter: str, key: str, entry: ListedMask | None) -> bool:
        """Put a mask on one of the room's lists, or take it off with None; whether that changed anything."""
        masks = room.lists.setdefault(letter, {})
        changed = (key in masks) != (entry is not None)
        if entry is None:
            masks.pop(key, None)
        else:
            masks.setdefault(key, entry)
        if not masks:
            del room.lists[letter]
        room.silenced.clear()
        return changed

    def announce_modes(
        self, room: Room, source: Source, changes: str, arguments: tuple[str, ...], except_session: int = 0
    ) -> ModesChanged:
        """Tell the room what has changed in it."""
        occasion = ModesChanged(source, room.name.display, changes, arguments, self.moment())
        self.publish(room, occasion, except_session)
        return occasion

    def rename_room(self, room: Room, source: Source, name: Name, reason: str, except_session: int) -> RoomRenamed:
        """Give the room another name, which is free; the room is told."""
        occasion = RoomRenamed(source, room.name.display, name.display, reason, room.topic.text, self.moment())
        del self._rooms[room.name.key]
        for session in map(self._sessions.__getitem__, room.members):
            session.rooms = {name.key if key == room.name.key else key: None for key in session.rooms}
        room.name = name
        self._rooms[name.key] = room
        self.publish(room, occasion, except_session)
        return occasion

    def set_away(self, session: Session, message: str) -> AwayChanged:
        """Be away, or back with an empty message; everybody who shares a room, or watches, hears of it."""
        session.away = message
        occasion = AwayChanged(session.source, message, self.moment())
        self.tell_neighbours(session, occasion)
        return occasion

    def set_realname(self, session: Session, realname: str) -> RealnameChanged:
        """Take another real name; everybody who shares a room hears of it."""
        session.realname = realname
        self.forget_silence(session)
        occasion = RealnameChanged(session.source, realname, self.moment())
        self.tell_neighbours(session, occasion)
        return occasion

    def forget_silence(self, session: Session) -> None:
        """Whether a mask keeps the session from talking has to be looked at anew."""
        for room in self.rooms_of(session):
            room.silenced.pop(session.number, None)

    def _withdraw(self, session: Session, room: Room) -> None:
        """Take the session out of a room, without a word."""
        self._leave_group(session, room)
        del session.rooms[room.name.key]
        del room.members[session.number]
        room.silenced.pop(session.number, None)
        if not room.members and room.name.key != self.default_room_key:
            del self._rooms[room.name.key]


def _keep(kept: dict[_Key, None], entry: _Key) -> None:
    kept.pop(entry, None)
    kept[entry] = None
    if len(kept) > INVITATIONS_KEPT:
        del kept[next(iter(kept))]
