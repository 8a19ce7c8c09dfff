"""What the load's people do: who says what when, drawn from a seed, and all that must come of it. Pure.

A `Person` is somebody with a name who sends; what it has sent decides where it will be, so a line can be sent before
the answer to an earlier one has come. What others do can make no difference to it: names and rooms are the load's own,
and whispers go to people who keep their names and stay.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Final

from broker.chaos.dialect import Dialect
from broker.chaos.follower import Follower
from broker.chaos.inputs import Input, InputKind, Whisper, is_line
from broker.chaos.ledger import Counts, Ledger
from broker.chaos.room_log import Effect, EffectKind, Owner, RoomLog

STAMP_DIGITS: Final = 16
TAIL_BYTES: Final = STAMP_DIGITS + 8
"""A text ends with when it was due, in nanoseconds, and a number: whoever finds an end of line finds the stamp."""

_LONG_SHARE: Final = 1 / 64
_SHORT_BYTES: Final = (8, 72)
_PADDING: Final = ("lorem ipsum dolor sit amet consectetur " * 70).encode()

MIX: Final[dict[str, float]] = {
    "say": 0.80, "act": 0.06, "whisper": 0.06, "rename": 0.02, "variant": 0.02, "move": 0.02, "step out": 0.01,
    "leave": 0.01,
}  # fmt: skip
"""How often a person who does everything does what; `broker.chaos.cast` says who does what."""


class Person:
    """One client of the load, as of what it has sent. `steady` people keep name, room and connection."""

    __slots__ = ("_dialect", "_ledger", "_queues", "changing", "follower", "name", "number", "owner", "room", "steady",
                 "talks", "unix", "variant", "witness")  # fmt: skip

    def __init__(self, dialect: Dialect, ledger: Ledger, counts: Counts, number: int, name: str, variant: int,
                 *, talks: bool = False, steady: bool = True, witness: bool = False, unix: bool = False):  # fmt: skip
        self._dialect = dialect
        self._ledger = ledger
        self.number = number
        self.name = name
        self.variant = variant
        self.talks = talks
        self.steady = steady
        self.witness = witness
        self.unix = unix
        self.room: RoomLog | None = None
        self.changing: Input | None = None  # the last input that changes where or who it is, until it is applied
        self._queues: dict[Person, deque[Whisper]] = {}
        self.owner = Owner(name, counts)
        self.follower = Follower(dialect, ledger, self.owner, variant, witness, unix)

    @property
    def is_changing(self) -> bool:
        """Whether it has sent something of the kind that must be waited for before the next."""
        return self.changing is not None and self.changing in self.follower.pending

    @property
    def is_leaving(self) -> bool:
        """Whether the last that it has sent is its farewell."""
        return self.changing is not None and self.changing.kind in ("quit", "end")

    def begin_again(self, name: str) -> None:
        """It connects anew."""
        self.name = name
        self.room = None
        self.changing = None
        self._queues = {}
        self.owner = Owner(name, self.owner.counts)
        self.follower = Follower(self._dialect, self._ledger, self.owner, self.variant, self.witness, self.unix)

    # What it sends: each returns the bytes, and has told everybody what will come of them.

    def enter(self, room: RoomLog, founds: bool = False) -> bytes:
        """All that comes after connecting; `founds`: nobody is in that room, or comes before the answer."""
        dialect, variant, name = self._dialect, self.variant, self.name
        greetings = dialect.greeting(variant)
        opening = dialect.opening(name, variant)
        if greetings:
            self._expect(Input("hello", opening, reply=lambda line, _: line in greetings, counted=False))
        self._expect(Input("name", opening, reply=lambda line, _: dialect.is_welcome(line, name, variant)))
        if dialect.has_antechamber:
            self._expect(Input("antechamber", opening, counted=False,
                               reply=lambda line, _: dialect.is_antechamber(line, variant)))  # fmt: skip
        return opening + self.join(room, founds)

    def say(self, text: bytes) -> bytes:
        """To its room."""
        assert self.room is not None
        room = self.room.name
        return self._in_room("say", "said", self._dialect.say(room, text), self._dialect.said(self.name, room, text))

    def act(self, text: bytes) -> bytes:
        """The same, as an action."""
        assert self.room is not None
        room = self.room.name
        return self._in_room("act", "acted", self._dialect.act(room, text), self._dialect.acted(self.name, room, text))

    def whisper(self, recipient: Person, text: bytes) -> bytes:
        """To one person, who must be steady."""
        dialect = self._dialect
        queue = self._queues.setdefault(recipient, deque())
        recipient.follower.expect_whisper(Whisper(dialect.whispered(self.name, recipient.name, text), queue))
        reply = is_line(dialect.whisper_sent(recipient.name, text, self.variant))
        return self._expect(Input("whisper", dialect.whisper(recipient.name, text), reply=reply))

    def rename(self, name: str) -> bytes:
        """Take another name."""
        dialect, old = self._dialect, self.name
        effects = self._effects("renamed", dialect.renamed(old, name), name)
        self.name = name
        reply = is_line(dialect.rename_done(old, name, self.variant))
        return self._change(Input("rename", dialect.rename(name), effects, reply))

    def change_variant(self, variant: int) -> bytes:
        """Have the broker speak another language."""
        self.variant = variant
        reply = is_line(self._dialect.variant_changed(variant))
        return self._change(Input("variant", self._dialect.change_variant(variant), (), reply, variant))

    def join(self, room: RoomLog, founds: bool = False) -> bytes:
        """Go to another room."""
        dialect, variant, name = self._dialect, self.variant, self.name
        leaving = b""
        if self.room is not None and dialect.leaves_to_join:
            leaving = self.part()
        entering = Effect(room, self.owner, "joined", dialect.joined(name, room.name), name)
        effects = (*self._leaving(), entering)
        if founds:
            room.found(entering)
        else:
            room.expect(entering)
        self.room = room

        def reply(line: bytes, _: int) -> bool:
            return line == dialect.entered(room.name, entering.present, name, variant)

        return leaving + self._change(Input("join", dialect.join(room.name), effects, reply))

    def part(self) -> bytes:
        """Be in no room."""
        assert self.room is not None
        room = self.room.name
        reply = is_line(self._dialect.parted(room, self.name, self.variant))
        effects = self._leaving()
        self.room = None
        return self._change(Input("part", self._dialect.part(room), effects, reply))

    def quit(self) -> bytes:
        """Go, with a word."""
        effects = self._effects("left", self._dialect.has_quit(self.name), self.name)
        self.room = None
        return self._change(Input("quit", self._dialect.quit(), effects, is_line(self._dialect.goodbye(self.variant))))

    def end(self) -> None:
        """Go by ending the stream of what is sent; nothing is sent for it."""
        effects = self._effects("left", self._dialect.has_ended(self.name), self.name)
        self.room = None
        self._change(Input("end", b"", effects))

    def call_name(self) -> bytes:
        """Ask for the name that it has: the answer tells that it still has it."""
        reply = is_line(self._dialect.name_called(self.name, self.variant))
        return self._expect(Input("call", self._dialect.call_name(self.name), reply=reply))

    def call_room(self) -> bytes:
        """Ask who is in its room, which must be quiet: the answer tells who is."""
        dialect, room, variant = self._dialect, self.room, self.variant
        assert room is not None
        people = dialect.people(room.name, room.present(), self.name, variant)
        return self._expect(Input("call", dialect.who(room.name), reply=is_line(people)))

    # Within.

    def _in_room(self, kind: InputKind, effect: EffectKind, data: bytes, lines: tuple[bytes, ...]) -> bytes:
        return self._expect(Input(kind, data, self._effects(effect, lines, self.name)))

    def _leaving(self) -> tuple[Effect, ...]:
        lines = self._dialect.left(self.name, self.room.name) if self.room is not None else ()
        return self._effects("left", lines, self.name)

    def _effects(self, kind: EffectKind, lines: tuple[bytes, ...], name: str) -> tuple[Effect, ...]:
        if self.room is None:
            return ()
        effect = Effect(self.room, self.owner, kind, lines, name)
        self.room.expect(effect)
        return (effect,)

    def _change(self, given: Input) -> bytes:
        self.changing = given
        return self._expect(given)

    def _expect(self, given: Input) -> bytes:
        self.follower.expect(given)
        return given.data


class Texts:
    """What people say: every text once. Mostly short, now and then long enough to be taken by the kernel in parts."""

    def __init__(self, lots: random.Random, process: int, long_bytes: tuple[int, int]) -> None:
        self._lots = lots
        self._long_bytes = long_bytes
        self._number = process << 26

    def text(self, stamp_ns: int) -> bytes:
        """The next one."""
        self._number += 1
        low, high = self._long_bytes if self._lots.random() < _LONG_SHARE else _SHORT_BYTES
        return b"%b.%016x%08x" % (_PADDING[: self._lots.randint(low, high)], stamp_ns, self._number)


def stamp_of(line: bytes) -> int | None:
    """When the text at the end of a line was due, in nanoseconds; None if it ends in none."""
    line = line.rstrip(b"\r\x01")  # IRC's end of a line, and of an action
    digits = line[-TAIL_BYTES:-8]
    if len(line) <= TAIL_BYTES or line[-TAIL_BYTES - 1 : -TAIL_BYTES] != b".":
        return None
    try:
        return int(digits, 16)
    except ValueError:
        return None


def oldest_stamp(data: bytes, now_ns: int, patience_ns: int) -> int:
    """When the text in these bytes was due that was due first; `now_ns` if there is none in them.

    Texts that are heard in time are many, and come in the order in which they were due: only if the first is older than
    `patience_ns` are the others looked at, which may have overtaken each other in a queue.
    """
    oldest = now_ns
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        stamp = stamp_of(data[start:end])
        if stamp is not None:
            oldest = min(oldest, stamp)
            if now_ns - stamp <= patience_ns:
                break
        start = end + 1
    return oldest
