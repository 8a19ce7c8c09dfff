"""The people of one load process and their rooms: what they do when it is their turn, and how far they have got.

Runs in a load process, which has the sockets' epoll and the clock: this module sends through `Client` and waits for
nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from broker.chaos.cast import Load, Names, Role
from broker.chaos.client import Client
from broker.chaos.dialect import Dialect
from broker.chaos.ledger import Ledger
from broker.chaos.room_log import RoomLog
from broker.chaos.script import MIX, Person, Texts
from broker.urls import ListenerURL

_STALL_SECONDS: Final = 3.0
"""When a witness holds a line back that long, and nobody hears what should come before it, nobody will."""
_KINDS: Final = list(MIX)
_WEIGHTS: Final = list(MIX.values())


@dataclass(frozen=True, slots=True)
class Errand:
    """What one load process is to do; `rooms` are its own, by number. `unix_url` is None if nobody comes that way."""

    process: int
    load: Load
    rooms: dict[int, tuple[Role, ...]]
    names: Names
    url: ListenerURL
    unix_url: ListenerURL | None
    seed: int
    dialect: Dialect


class Company:
    """`room_numbers` has, for each of `people`, the room in which it begins."""

    def __init__(self, errand: Errand, make_client: Callable[[Person, bool], Client]) -> None:
        self.errand = errand
        self.ledger = Ledger()
        self.dialect = errand.dialect
        self.lots = random.Random(f"{errand.seed}-{errand.process}")
        self.texts = Texts(self.lots, errand.process, self.dialect.long_text_bytes)
        self.rooms = {number: RoomLog(errand.names.room(number), self.dialect) for number in errand.rooms}
        self.room_list = list(self.rooms.values())
        self.people: list[Client] = []
        self.room_numbers: list[int] = []
        self.talkers: list[Client] = []
        self.steady: list[Client] = []  # people who can be whispered to
        self.waiting: dict[Client, None] = {}  # have lines that were put off
        self._growth = dict.fromkeys(self.room_list, (0, 0.0))  # how long each log was, and since when
        self._times: dict[Person, int] = {}  # how many names each has had
        for number, roles in errand.rooms.items():
            for role in roles:
                self._seat(number, role, make_client)

    def _seat(self, room: int, role: Role, make_client: Callable[[Person, bool], Client]) -> None:
        ledger = self.ledger
        counts = ledger.unix if role.unix else ledger.tcp
        counts.clients += 1
        person = Person(self.dialect, ledger, counts, role.number, self.errand.names.person(role.number), role.variant,
                        talks=role.talks, steady=role.steady, witness=role.witness, unix=role.unix)  # fmt: skip
        client = make_client(person, role.slow)
        self.people.append(client)
        self.room_numbers.append(room)
        if role.talks:
            self.talkers.append(client)
            if role.steady and not role.unix:
                self.steady.append(client)

    def act(self, client: Client, stamp_ns: int) -> None:
        """It is this one's turn, which was due then."""
        person = client.person
        kind = self.lots.choices(_KINDS, _WEIGHTS)[0]
        if not client.is_connected or person.is_leaving:
            return  # it is away
        text = self.texts.text(stamp_ns)
        if person.room is None:
            if not person.is_changing:
                client.send(person.join(self.lots.choice(self.room_list)))
            return
        if person.unix or (kind not in ("say", "act", "whisper", "variant") and (person.steady or person.is_changing)):
            kind = "say"
        if kind == "act":
            client.send(person.act(text))
        elif kind == "whisper" and self.steady:
            recipient = self.lots.choice(self.steady).person
            alone = recipient is person or recipient.follower.disconnected
            client.send(person.say(text) if alone else person.whisper(recipient, text))
        elif kind == "variant" and not person.is_changing and self.dialect.variants > 1:
            client.send(person.change_variant((person.variant + 1) % self.dialect.variants))
        elif kind == "rename":
            client.send(person.rename(self._next_name(person)))
        elif kind == "move" and len(self.room_list) > 1:
            others = [room for room in self.room_list if room is not person.room]
            # The line after it is for the new room, whether or not it is there yet.
            client.send(person.join(self.lots.choice(others)) + person.say(text))
        elif kind == "step out":
            client.send(person.part())
        elif kind == "leave":
            self._leave(client)
        else:
            client.send(person.say(text))

    def _next_name(self, person: Person) -> str:
        self._times[person] = self._times.get(person, 0) + 1
        return self.errand.names.person(person.number, self._times[person])

    def _leave(self, client: Client) -> None:
        if self.lots.random() < 0.5:
            client.send(client.person.quit())
        else:
            client.person.end()
            client.shut()

    def sweep(self, now: float) -> None:
        """Go on with what was put off, for the logs have grown; declare lost what holds it up; forget what is past."""
        for client in [*self.waiting, *self.talkers]:
            if client.person.follower.pending or client.person.follower.waits:
                client.person.follower.advance()
            if not client.person.follower.waits:
                self.waiting.pop(client, None)
            self.say_what_is_owed(client)
        for room in self.room_list:
            end, since = self._growth[room]
            if room.end != end:
                self._growth[room] = (room.end, now)
                if room.is_long:
                    self._trim(room)
            elif now - since > _STALL_SECONDS:
                self._give_up(room)

    def say_what_is_owed(self, client: Client) -> None:
        """What the protocol has a client say to what it has heard."""
        owed = client.person.follower.owed
        if owed and client.is_connected:
            client.send(bytes(owed))
            owed.clear()

    def _give_up(self, room: RoomLog) -> None:
        for client in self.waiting:
            follower = client.person.follower
            line = follower.first_waiting
            if line is not None and follower.room is room and follower.witness and follower.cursor == room.end:
                lost = room.give_up_on(line)
                self.ledger.tcp.lost += lost
                if lost:
                    self.ledger.fault(f"{room.name}: nobody heard what should come before", line)
                follower.advance()
                return

    def _trim(self, room: RoomLog) -> None:
        here = [client.person.follower for client in self.people if client.person.follower.room is room]
        readers = [follower for follower in here if not follower.ended]
        sizes = room.trim(min((follower.cursor for follower in readers), default=room.end))
        if sizes:
            for follower in here:
                follower.trimmed(sizes)

    def is_settled(self, unix: bool) -> bool:
        """Whether everybody has got all that is due and is still there; without `unix`, everybody on TCP."""
        return all(
            client.person.follower.disconnected
            or client.person.follower.is_up_to_date
            or (client.person.unix and not unix)
            for client in self.people
        )

    # The end, step by step: whoever has the sockets waits after each for what is due.

    def come_home(self, here: Iterable[Client]) -> None:
        """Those who are in no room go to one, so that there is something to hear for them."""
        for client in here:
            if client.person.room is None and not client.person.is_leaving:
                client.send(client.person.join(self.room_list[0]))

    def say_a_last_word(self, stamp_ns: int) -> None:
        """One in each room: whoever missed what was last finds out by this."""
        for room in self.room_list:
            for client in [client for client in self.steady if client.person.room is room][:1]:
                client.send(client.person.say(self.texts.text(stamp_ns)))

    def call_names(self, here: Iterable[Client]) -> None:
        """Everybody asks for their own name."""
        for client in here:
            client.send(client.person.call_name())

    def call_rooms(self, here: Iterable[Client]) -> None:
        """One in each room asks who is there."""
        callers = {client.person.room: client for client in here if client.person.witness}
        for room, client in callers.items():
            if room is not None:
                client.send(client.person.call_room())

    def conclude(self) -> None:
        """Nothing more will come: complete the ledger."""
        for client in self.people:
            if not client.person.follower.is_up_to_date:
                client.person.follower.settle()
        cut_off = {client.person.owner for client in self.people if client.person.follower.disconnected}
        for room in self.room_list:
            for owner in room.missed:
                if owner not in cut_off:
                    owner.counts.names_lost += 1
                    self.ledger.fault(f"{owner.name} was said to have left {room.name}, and had not")
        unix = [client.person.follower.gaps for client in self.people if client.person.unix]
        self.ledger.unix.most_gaps = max(unix, default=0)
