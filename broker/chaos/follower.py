"""Holds every byte that one client gets against what is due to it, and names what is wrong. Pure.

Theory of operation. What a client gets is the lines of its room from the point at which it entered, less its own, and
between them the answers to its own inputs, and whispers. All of it is known: the room's lines from the `RoomLog`, the
answers from the inputs that it has sent, whispers from who whispered. Where an answer must stand among the room's lines
is known too: after the effects of all earlier inputs of this client and before those of later ones, and exactly at its
own effect if it has one (the answer to a /join stands where the others are told of it).

A client that has nothing pending, as all those who only listen, is on the *fast path*: its bytes are compared with the
stream of its room, all at once, at memcmp's price. Any surprise is looked at line by line.

A line is put off when the log does not have yet what must come before it; `advance` goes on when the log has grown.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from broker.chaos.dialect import Dialect
from broker.chaos.inputs import Input, Met, Whisper
from broker.chaos.ledger import Counts, Ledger
from broker.chaos.room_log import Offer, Owner, RoomLog

_PERSONAL_KEPT: Final = 64


class Follower:
    """One connection. `witness`: it may extend the log. `may_miss`: on a local socket, where a lost line is a gap."""

    __slots__ = (
        "_dialect", "_fast", "_ledger", "_lines", "_missing", "_personal", "_rest", "_stream", "antechamber", "cursor",
        "disconnected", "ended", "finished", "gaps", "last_heard", "may_miss", "name", "offset", "owed", "owner",
        "pending", "room", "variant", "whispers", "witness",
    )  # fmt: skip

    def __init__(self, dialect: Dialect, ledger: Ledger, owner: Owner, variant: int, witness: bool, may_miss: bool):
        self._dialect = dialect
        self._ledger = ledger
        self.owner = owner
        self.name = owner.name  # as of what it has got
        self.variant = variant  # too
        self.room: RoomLog | None = None  # too
        self.cursor = 0  # in the room: the index of its next line
        self.offset = 0  # on the fast path: where in the stream that line begins, or goes on
        self.witness = witness
        self.may_miss = may_miss
        self.gaps = 0
        self.last_heard = b""  # before it was in a room
        self.pending: deque[Input] = deque()
        self.whispers: dict[bytes, Whisper] = {}
        self.antechamber = False
        self.ended = False  # no more bytes will come
        self.finished = False  # and that was asked for
        self.disconnected = False  # or was not
        self.owed = bytearray()  # what the protocol has it say to what it has got
        self._fast = False
        self._stream = bytearray()
        self._rest = b""
        self._lines: deque[bytes] = deque()
        self._missing: Counter[bytes] = Counter()
        self._personal: deque[bytes] = deque(maxlen=_PERSONAL_KEPT)

    @property
    def counts(self) -> Counts:
        """Where this client is counted."""
        return self.owner.counts

    @property
    def waits(self) -> bool:
        """Whether it has lines that were put off."""
        return bool(self._lines)

    @property
    def first_waiting(self) -> bytes | None:
        """The first of them."""
        return self._lines[0] if self._lines else None

    @property
    def is_up_to_date(self) -> bool:
        """Whether all that is due so far has come, and nothing else."""
        return (
            not self._lines
            and not self.pending
            and not self.whispers
            and (self._fast or not self._rest)
            and (self.ended if self.finished else self.room is not None and self.cursor == self.room.end)
        )

    def expect(self, given: Input) -> None:
        """This is about to be sent."""
        self._leave_fast_path()
        self.pending.append(given)
        self.counts.sent += given.counted
        self.counts.expected += given.reply is not None

    def expect_whisper(self, whisper: Whisper) -> None:
        """Somebody is about to send this."""
        for line in whisper.lines:
            self.whispers[line] = whisper
        self.counts.expected += 1

    # Bytes come.

    def take(self, data: bytes, line_ends: int) -> None:
        """These bytes came, with so many LFs in them."""
        if self._fast and self._stream.startswith(data, self.offset):
            self.offset += len(data)
            self.cursor += line_ends
            self.owner.counts.delivered += line_ends
            return
        self._leave_fast_path()
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(lines)
        self.advance()

    def end(self) -> None:
        """The other side has ended the connection."""
        self._leave_fast_path()
        self.ended = True
        self.advance()
        goodbye = self._dialect.goodbye(self.variant)
        last = self.pending[-1].kind if self.pending else ""
        if not (self.finished or last == "end" or (last == "quit" and goodbye in self._lines)):
            self.disconnected = True
            self.counts.disconnected += 1
            self._fault("disconnected", b"")
        if self._rest:
            self._torn(self._rest)
            self._rest = b""

    def advance(self) -> None:
        """Go on with what was put off."""
        lines = self._lines
        if lines and self.room is None:
            self.last_heard = lines[-1]
        while lines:
            self._pass_own()
            if not self._dialect.gather(lines, self.name):
                return
            line, room = lines[0], self.room
            # Where one's own doing comes back, it is an answer.
            own = self._dialect.is_personal(line, self.name)
            if not own and room is not None and self.cursor < room.end and line == room.line(self.variant, self.cursor):
                self.cursor += 1
                self.counts.delivered += 1
            else:
                met = self._meet(line)
                if met is Met.STRANGE:
                    met = self._classify(line)
                if met is Met.WAITS:
                    return
            lines.popleft()
        self._pass_own()
        if self.ended and self.pending and self.pending[0].kind == "end":
            self._finish_at_end()
        elif not self.pending and self.room is not None and not self.ended:
            self._enter_fast_path(self.room)

    def settle(self) -> None:
        """Nothing more will come: whatever is still due is lost, whatever was put off has no place."""
        self._leave_fast_path()
        self.advance()
        self._leave_fast_path()
        while self._lines:
            self._torn(self._lines.popleft())
        if self._rest:
            self._torn(self._rest)
        if self.disconnected:
            return
        if self.room is not None and not self.finished:
            self._skip_to(self.room.end)
        answers = [given.data for given in self.pending if given.reply is not None]
        whispers = len(set(map(id, self.whispers.values())))
        if answers or whispers:
            self.counts.lost += len(answers) + whispers
            first = [*answers, *self.whispers][0]
            self._fault(f"{len(answers)} answers and {whispers} whispers did not come, the first", first)
        elif self.pending:
            self._fault("an input was not applied", self.pending[0].data)

    # The two paths.

    def _enter_fast_path(self, room: RoomLog) -> None:
        self._stream = room.streams[self.variant]
        self.offset = room.offset(self.variant, self.cursor)
        if not self._rest or self._stream.startswith(self._rest, self.offset):
            self.offset += len(self._rest)
            self._rest = b""
            self._fast = True

    def _leave_fast_path(self) -> None:
        if self._fast:
            self._fast = False
            start = self._stream.rfind(b"\n", 0, self.offset) + 1
            self._rest = bytes(self._stream[start : self.offset])

    def trimmed(self, sizes: list[int]) -> None:
        """Its room has forgotten so many bytes of each stream."""
        self.offset -= sizes[self.variant]

    # What has a place.

    def _pass_own(self) -> None:
        """Own lines stand in the log and do not come back."""
        while self.pending:
            given = self.pending[0]
            if given.reply is not None or not given.effects or given.kind == "end":
                return
            if given.effects[0].index != self.cursor:
                return
            self.cursor += 1
            self._applied(given)

    def _meet(self, line: bytes) -> Met:
        """Is it an answer, a whisper, or something to be answered?"""
        if owed := self._dialect.automatic(line):
            self.owed += owed
            return Met.TAKEN
        whisper = self.whispers.get(line)
        if whisper is not None:
            return self._meet_whisper(whisper, line)
        answered = [given for given in self.pending if given.reply is not None]
        if not answered or not (self._dialect.is_personal(line, self.name) or answered[0].kind in ("hello", "name")):
            return Met.TAKEN if self.antechamber else Met.STRANGE
        if answered[0].kind in ("hello", "name", "antechamber"):
            del answered[1:]  # whoever does not get in has no use for what comes after it
        for given in answered:
            if any(effect.index is None for effect in given.effects):
                return Met.WAITS
            assert given.reply is not None
            if given.reply(line, self.variant):
                return self._meet_answer(given, line)
        return Met.STRANGE

    def _meet_answer(self, given: Input, line: bytes) -> Met:
        while self.pending[0] is not given:
            earlier = self.pending[0]
            if earlier.reply is not None:
                self._drop(earlier)
            elif not self._pass_by_force(earlier):
                return Met.WAITS
        self._follow(given)
        self._applied(given)
        self.counts.delivered += 1
        self._personal.append(line)
        return Met.TAKEN

    def _meet_whisper(self, whisper: Whisper, line: bytes) -> Met:
        queue = whisper.queue
        while queue[0] is not whisper:
            self.counts.lost += 1
            self._fault("a whisper did not come", queue[0].lines[0])
            self._forget_whisper(queue[0])
        self._forget_whisper(whisper)
        self._personal.append(line)
        self.counts.delivered += 1
        return Met.TAKEN

    def _forget_whisper(self, whisper: Whisper) -> None:
        whisper.queue.popleft()
        for line in whisper.lines:
            self.whispers.pop(line, None)

    def _pass_by_force(self, given: Input) -> bool:
        """The answer to a later input has come: the room's lines before the effect of this one are lost."""
        if given.kind == "end":
            return False
        if given.effects[0].index is None:
            if given.effects[0].is_lost:
                self.pending.popleft()
            return given.effects[0].is_lost
        self._skip_to(given.effects[0].index)
        self.cursor += 1
        self._applied(given)
        return True

    def _follow(self, given: Input) -> None:
        """What an answered input makes of this client: the answer stands at the effect."""
        if self.room is not None and given.effects:
            self._skip_to(given.effects[0].index or 0)
        for effect in given.effects:
            if effect.kind == "left":
                self.room = None
            else:
                assert effect.index is not None
                self.room, self.cursor = effect.room, effect.index + 1
                self.name = effect.name
                self.antechamber = False
        if given.variant is not None:
            self.variant = given.variant
        self.antechamber |= given.kind == "antechamber"
        self.finished |= given.kind == "quit"

    def _finish_at_end(self) -> None:
        index = self.pending[0].effects[0].index
        if index is not None:
            self._skip_to(index)
            self.room = None
            self.finished = True
            self._applied(self.pending[0])

    def _drop_overdue(self) -> bool:
        """Whether the next line is one's own, so that answers to earlier inputs should have come: they are lost."""
        for place, given in enumerate(self.pending):
            effect = given.effects[0] if given.effects else None
            if effect is not None and (effect.room, effect.index) == (self.room, self.cursor) and effect.kind != "left":
                for _ in range(place + (given.reply is not None)):
                    self._drop(self.pending[0])
                return True
        return False

    def _drop(self, given: Input) -> None:
        """Its answer did not come, or it was never applied."""
        if given.reply is not None:
            self.counts.lost += 1
            self._fault("no answer", given.data)
        if any(effect.index is None for effect in given.effects):
            self.pending.popleft()
        else:
            self._follow(given)
            self._applied(given)

    def _applied(self, given: Input) -> None:
        assert self.pending[0] is given
        self.pending.popleft()
        self.counts.applied += given.counted

    def _skip_to(self, index: int) -> None:
        """Lines before this index did not come, but for one's own."""
        room = self.room
        assert room is not None
        gap = False
        while self.cursor < index:
            before = self.cursor
            self._pass_own()
            if self.cursor > before or self._drop_overdue():
                continue
            line = room.line(self.variant, self.cursor)
            self.cursor += 1
            self._missing[line] += 1
            self.counts.lost += 1
            if not gap:
                gap = True
                self.counts.gaps += 1
                self.gaps += 1
                if not self.may_miss:
                    self._fault("lost", line)

    # What has none.

    def _classify(self, line: bytes) -> Met:
        """Lost, doubled, reordered or torn; or it is ahead of the log, which a witness extends."""
        room = self.room
        counts = self.counts
        if room is not None:
            index = room.find(line)
            if index is not None and index >= self.cursor:
                self._skip_to(index)
                self.cursor += 1
                counts.delivered += 1
                return Met.TAKEN
            if room.is_possible(line):
                return self._go_ahead(room, line)
            if self._missing[line]:
                self._missing[line] -= 1
                counts.lost -= 1
                counts.delivered += 1
                counts.reordered += 1
                self._fault("reordered", line)
                return Met.TAKEN
            if index is not None:
                counts.doubled += 1
                self._fault("doubled", line)
                return Met.TAKEN
        if line in self._personal:
            counts.doubled += 1
            self._fault("doubled", line)
        elif line == self._dialect.refused(self.owner.name, self.variant):
            counts.names_lost += 1
            self._fault("refused a name that is free", line)
        else:
            self._torn(line)
        return Met.TAKEN

    def _go_ahead(self, room: RoomLog, line: bytes) -> Met:
        if not self.witness or self.cursor < room.end or room.offer(line) is not Offer.LOGGED:
            return Met.WAITS
        self.cursor += 1
        self.counts.delivered += 1
        return Met.TAKEN

    def _torn(self, line: bytes) -> None:
        self.counts.torn += 1
        self._fault("torn", line)

    def _fault(self, what: str, line: bytes) -> None:
        place = f" in {self.room.name}" if self.room is not None else ""
        self._ledger.fault(f"{self.owner.name}{place}: {what}", line)
