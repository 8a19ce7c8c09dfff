"""The one order of a room, as its witnesses hear it: what everybody else's bytes are compared with. Pure.

Theory of operation. Everybody in a room gets the same lines in the same order, less their own. A `RoomLog` has these
lines once, in each variant of the wire format: the witness who is ahead of all others appends, everybody else compares.

Nothing is appended that is not due. What is due is known, since the load itself said it: each input that has an effect
on a room leaves an `Effect` there before it is sent, and effects of one owner must be logged in their order. So a
witness who hears a line twice, too early or in pieces cannot spoil the log for the others: the line is refused, and
the fault is the witness's own. A line that comes before an earlier one of its owner is put off until another witness
has heard that earlier one; `give_up_on` declares it lost for everybody.

That somebody leaves may come unasked (a connection can break), so it is logged whenever it is heard, and the owner is
`missed`.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from typing import Final, Literal

from broker.chaos.dialect import Dialect, Present, Variants
from broker.chaos.ledger import Counts

EffectKind = Literal["said", "acted", "renamed", "joined", "left"]

_KEPT_LINES: Final = 4096
"""So many lines behind the last reader are kept to tell a doubled line from a strange one."""


class Owner:
    """Whose effects these are; `name` is that which the log has for it."""

    __slots__ = ("counts", "name")

    def __init__(self, name: str, counts: Counts) -> None:
        self.name = name
        self.counts = counts


class Effect:
    """What an input does in one room; `index` is where the log has it, None as long as nobody has heard it.

    `is_lost`: nobody will. `present` is set with the index of a "joined": who was there already. `name` is the owner's
    from here on.
    """

    __slots__ = ("index", "is_lost", "kind", "lines", "name", "owner", "present", "room")

    def __init__(self, room: RoomLog, owner: Owner, kind: EffectKind, lines: Variants, name: str) -> None:
        self.room = room
        self.owner = owner
        self.kind = kind
        self.lines = lines
        self.name = name
        self.index: int | None = None
        self.is_lost = False
        self.present = Present(())


class Offer(Enum):
    """What became of a line that a witness offered."""

    LOGGED = "logged"
    PUT_OFF = "put off"
    REFUSED = "refused"


class RoomLog:
    """One room. Indexes count its lines from the beginning; those before `first` are forgotten."""

    def __init__(self, name: str, dialect: Dialect) -> None:
        self.name = name
        self.first = 0
        self.end = 0
        self.lines: list[list[bytes]] = [[] for _ in range(dialect.variants)]
        self.streams: list[bytearray] = [bytearray() for _ in range(dialect.variants)]
        self.members: dict[Owner, str] = {}
        self.missed: dict[Owner, None] = {}
        """Who left without having asked to."""
        self._dialect = dialect
        self._due: dict[bytes, Effect] = {}
        self._queues: dict[Owner, deque[Effect]] = {}
        self._known: dict[bytes, int] = {}  # line: the last index that has it
        self._leave_lines: dict[bytes, tuple[Owner, Variants]] = {}
        self._founder: Owner | None = None
        self._receivers: Counter[int] = Counter()  # by id of their counts
        self._counts: dict[int, Counts] = {}

    # What is due.

    def found(self, effect: Effect) -> None:
        """The owner is the first here, so that nobody hears of it."""
        effect.index = self.end - 1
        effect.present = Present((), effect.name)
        self._founder = effect.owner
        self._add_member(effect.owner, effect.name)

    def expect(self, effect: Effect) -> None:
        """This will be heard."""
        self._queues.setdefault(effect.owner, deque()).append(effect)
        for line in effect.lines:
            self._due[line] = effect

    def is_possible(self, line: bytes) -> bool:
        """Whether this line may come: it is due, or tells that a member leaves."""
        return line in self._due or line in self._leave_lines

    def undone(self) -> list[Effect]:
        """What was not heard yet."""
        return [effect for queue in self._queues.values() for effect in queue]

    def forget(self, owner: Owner) -> int:
        """Nothing more of what is due of this owner will come; returns how much that was."""
        queue = self._queues.pop(owner, deque())
        for effect in queue:
            self._strike(effect)
        return len(queue)

    def present(self) -> Present:
        """Who is there, by what is logged."""
        return Present(list(self.members.values()), self.members.get(self._founder, "") if self._founder else "")

    # What is heard.

    def offer(self, line: bytes) -> Offer:
        """A witness who is at the end of the log has heard this next."""
        effect = self._due.get(line)
        if effect is not None:
            if self._queues[effect.owner][0] is not effect:
                return Offer.PUT_OFF
            if effect.kind in ("left", "renamed") and effect.owner not in self.members:
                return Offer.REFUSED  # a departure was heard before that never was: from there on nothing fits
            self._log_effect(effect)
            return Offer.LOGGED
        if line not in self._leave_lines:
            return Offer.REFUSED
        owner, lines = self._leave_lines[line]
        self.missed[owner] = None
        self.forget(owner)
        self._log_leave(owner, lines)
        return Offer.LOGGED

    def give_up_on(self, line: bytes) -> int:
        """Whatever must come before this line will not; returns how many deliveries that loses."""
        effect = self._due.get(line)
        if effect is None:
            return 0
        queue = self._queues[effect.owner]
        lost = 0
        while queue[0] is not effect:
            missing = queue.popleft()
            self._strike(missing)
            missing.is_lost = True
            self._announce(missing.owner)  # they were due all the same
            lost += len(self.members) - (missing.owner in self.members)
        return lost

    def line(self, variant: int, index: int) -> bytes:
        """The line at an index that is not forgotten; b"" if it is."""
        return self.lines[variant][index - self.first] if index >= self.first else b""

    def find(self, line: bytes) -> int | None:
        """The last index that has this line, of those that are kept."""
        index = self._known.get(line)
        return index if index is not None and index >= self.first else None

    def offset(self, variant: int, index: int) -> int:
        """Where in the stream of that variant the line at an index begins."""
        return len(self.streams[variant]) - sum(len(line) + 1 for line in self.lines[variant][index - self.first :])

    @property
    def is_long(self) -> bool:
        """Whether it is worth while to trim it."""
        return self.end - self.first > 3 * _KEPT_LINES

    def trim(self, needed: int) -> list[int]:
        """Forget what is far before the index `needed`; returns how many bytes that was in each stream."""
        count = needed - _KEPT_LINES - self.first
        if count < _KEPT_LINES:
            return []
        sizes = []
        for lines, stream in zip(self.lines, self.streams, strict=True):
            size = sum(len(line) + 1 for line in lines[:count])
            sizes.append(size)
            del lines[:count], stream[:size]
        self.first += count
        self._known = {line: index for line, index in self._known.items() if index >= self.first}
        return sizes

    # Within.

    def _log_effect(self, effect: Effect) -> None:
        self._queues[effect.owner].popleft()
        self._strike(effect)
        effect.index = self.end
        owner = effect.owner
        if effect.kind == "joined":
            effect.present = self.present()
            self._add_member(owner, effect.name)
        elif effect.kind == "left":
            self._log_leave(owner, effect.lines)
            return
        elif effect.kind == "renamed":
            self._rename(owner, effect.name)
        self._append(effect.lines, owner)

    def _log_leave(self, owner: Owner, lines: Variants) -> None:
        self._forget_leave_lines(self.members.pop(owner))
        self._receivers[id(owner.counts)] -= 1
        self._append(lines, owner)

    def _append(self, lines: Variants, owner: Owner) -> None:
        for line, kept, stream in zip(lines, self.lines, self.streams, strict=True):
            kept.append(line)
            stream += line
            stream += b"\n"
            self._known[line] = self.end
        self.end += 1
        self._announce(owner)

    def _announce(self, author: Owner) -> None:
        """A line of this author is due to all other members."""
        for key, number in self._receivers.items():
            self._counts[key].expected += number
        if author in self.members:
            author.counts.expected -= 1

    def _strike(self, effect: Effect) -> None:
        for line in effect.lines:
            if self._due.get(line) is effect:
                del self._due[line]

    def _add_member(self, owner: Owner, name: str) -> None:
        self.members[owner] = name
        self._counts[id(owner.counts)] = owner.counts
        self._receivers[id(owner.counts)] += 1
        self._know_leave_lines(owner, name)

    def _rename(self, owner: Owner, name: str) -> None:
        self._forget_leave_lines(self.members[owner])
        self.members[owner] = name
        self._know_leave_lines(owner, name)

    def _know_leave_lines(self, owner: Owner, name: str) -> None:
        for lines in self._dialect.departures(name):
            for line in lines:
                self._leave_lines[line] = (owner, lines)

    def _forget_leave_lines(self, name: str) -> None:
        for lines in self._dialect.departures(name):
            for line in lines:
                self._leave_lines.pop(line, None)
