"""The load of `broker chaos` without a socket: its people on a `tests.chat_stage`, whose bytes can be tampered with.

What is checked here is the checker: a stage without faults must be found exact, and a fault must be found.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from broker.chaos.cast import Load, Names, cast
from broker.chaos.company import Company, Errand
from broker.chaos.dialect import Dialect, PlainDialect
from broker.chaos.ledger import Ledger
from broker.chaos.script import Person
from broker.urls import parse_listener_url
from tests.chat_stage import Person as Visitor
from tests.chat_stage import Stage

Tampering = Callable[[bytes], bytes]
"""What a client gets instead of these bytes, which are whole lines."""


class Actor:
    """A client of the load whose connection is a person on the stage."""

    def __init__(self, stage: Stage, person: Person, slow: bool, listener: int) -> None:
        self.listener = listener
        self.stage = stage
        self.person = person
        self.slow = slow
        self.visitor: Visitor
        self.is_connected = False
        self.heard = b""  # from the stage, but not told to the follower yet
        self._unfinished = b""
        self._ended = False

    def connect(self) -> None:
        self.visitor = self.stage.connect(worker=self.person.number % 2, listener=self.listener)
        self.is_connected = True
        self._ended = False

    def send(self, data: bytes) -> None:
        whole, end, self._unfinished = (self._unfinished + data).rpartition(b"\n")
        if end:
            self.stage.send(self.visitor, whole + end)

    def shut(self) -> None:
        if self._unfinished:
            self.send(b"\n")
        self.stage.hang_up(self.visitor)

    def hear(self, tampering: Tampering, lots: random.Random) -> None:
        """Tell the follower what came, in pieces of any length."""
        if not self.is_connected:
            return
        self.heard += self.stage.read(self.visitor).encode()
        end = self.heard.rfind(b"\n") + 1
        data, self.heard = tampering(self.heard[:end]), self.heard[end:]
        if self.visitor.closed:
            data, self.heard = data + self.heard, b""
        follower = self.person.follower
        while data:
            size = lots.randint(1, len(data))
            piece, data = data[:size], data[size:]
            follower.take(piece, piece.count(b"\n"))
        if self.visitor.closed:
            self.is_connected = False
            follower.end()


class Rehearsal:
    """`tamperings` by the number of the person; everything else is drawn from the seed."""

    def __init__(self, seed: int, load: Load, tamperings: Mapping[int, Tampering] | None = None, *,
                 stage: Stage | None = None, dialect: Dialect | None = None, listener: int = 0) -> None:  # fmt: skip
        self.stage = stage or Stage()
        self.listener = listener
        dialect = dialect or PlainDialect()
        self.lots = random.Random(seed)
        self.tamperings = dict(tamperings or {})
        rooms = dict(enumerate(cast(load, dialect.variants)))
        url = parse_listener_url("chat://127.0.0.1:1")
        errand = Errand(0, load, rooms, Names("abc"), url, None, seed, dialect)
        self.company = Company(errand, lambda person, slow: Actor(self.stage, person, slow, listener))  # type: ignore[arg-type, return-value]
        self.actors: list[Actor] = self.company.people  # type: ignore[assignment]
        self.now = 0.0
        self._enter()

    def _enter(self) -> None:
        founded = set()
        for number, actor in zip(self.company.room_numbers, self.actors, strict=True):
            if number not in founded:
                self._come(actor, number, founds=True)
                founded.add(number)
        self.hear(everybody=True)
        for number, actor in zip(self.company.room_numbers, self.actors, strict=True):
            if not actor.is_connected:
                self._come(actor, number)
        self.hear(everybody=True)

    def _come(self, actor: Actor, room: int, founds: bool = False) -> None:
        actor.connect()
        actor.send(actor.person.enter(self.company.rooms[room], founds))

    def talk(self, turns: int) -> None:
        """So many turns; who hears when is a matter of luck."""
        for _ in range(turns):
            self.company.act(self.lots.choice(self.company.talkers), 1)
            self.hear()
            for actor in self.actors:
                if not actor.is_connected and actor.person.follower.finished:
                    actor.person.begin_again(actor.person.name)
                    self._come(actor, self.lots.choice(list(self.company.rooms)))

    def hear(self, everybody: bool = False) -> None:
        """Some, or all, get what came for them; the logs grow."""
        for actor in self.lots.sample(self.actors, len(self.actors)):
            if everybody or self.lots.random() < 0.3:
                actor.hear(self.tamperings.get(actor.person.number, bytes), self.lots)
                if actor.person.follower.waits:
                    self.company.waiting[actor] = None  # type: ignore[index]
        self.now += 0.1
        self.company.sweep(self.now)

    def conclude(self) -> Ledger:
        """As a load process does at the end."""
        company = self.company
        steps: list[Callable[[], None]] = [
            lambda: company.come_home(self._here()),
            lambda: company.say_a_last_word(1),
            lambda: company.call_names(self._here()),
            lambda: company.call_rooms(self._here()),
        ]
        for step in steps:
            self.settle()
            step()
        self.settle()
        company.conclude()
        return company.ledger

    def settle(self) -> None:
        """Everybody gets everything that comes for them, and long enough for the sweeps to give up on what does not."""
        for _ in range(3):
            self.hear(everybody=True)
        self.now += 10
        for _ in range(20):
            if self.company.is_settled(unix=True):
                break
            self.hear(everybody=True)
            self.now += 10

    def _here(self) -> list:
        return [actor for actor in self.actors if actor.is_connected and not actor.person.follower.ended]
