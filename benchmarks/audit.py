"""Is every byte there, once, whole and in order, at every client? Checked at memcmp's price. Pure.

Theory of operation. Everybody in a room gets the same lines in the same order, so the streams of all listeners are the
same bytes. A `RoomAudit` has that stream once for all clients of the room in this process: whichever listener is ahead
appends what it got, everybody else's bytes are compared with what stands there. Nothing is parsed in doing so.

Now and then the stream itself is checked, line by line: each must be whole, by one of the room's authors, and the next
of his. That costs once per message, not once per delivery. What authors get is the stream without their own
lines, and is compared with that. At the end each stream must have all that was said in the room, everybody must have
got to its end, and the digests of the streams must be the same in all processes.

A client whose bytes differ is *astray*: what it gets from there on is kept, and compared line by line at the end, to
say what is wrong with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

from benchmarks import texts

_CHECK_BYTES: Final = 16 * 1024
"""A stream that has grown by so much is checked, and forgotten as far as all have got: a tenth of a millisecond."""
_FAR: Final = 1_000_000
"""A number so far ahead was not said: it is garbage, not a gap."""
_SHOWN_BYTES: Final = 100


class Author:
    """Whose lines the stream has: `head` is what stands before the tail of each, `next_number` what comes next."""

    __slots__ = ("head", "missing", "name", "next_number", "tag")

    def __init__(self, number: int, name: str, head: bytes) -> None:
        self.name = name
        self.head = head
        self.tag = texts.tag(number)
        self.next_number = texts.START + 1
        self.missing: set[int] = set()  # numbers that were skipped


class Listener:
    """A client that says nothing: its stream is the room's."""

    __slots__ = ("_audit", "_stream", "astray", "name", "offset")

    def __init__(self, audit: RoomAudit, name: str) -> None:
        self.name = name
        self.offset = 0  # how far it is in `audit.stream`, or where it went astray
        self.astray: bytearray | None = None
        self._audit = audit
        self._stream: bytes | bytearray = audit.stream

    def take(self, data: bytes) -> None:
        """These bytes came."""
        if self._stream.startswith(data, self.offset):
            self.offset += len(data)
        else:
            self._take_new(data)

    def _take_new(self, data: bytes) -> None:
        """It is ahead of all others, or astray."""
        if self.astray is not None:
            self.astray += data
            return
        stream = self._audit.stream
        known = len(stream) - self.offset
        if known < len(data) and stream.endswith(data[:known]):
            self._audit.grow(data[known:])
            self.offset = len(stream)
        else:
            self.astray = bytearray(data)
            self._stream = b""  # nothing is found there: all that comes ends up here

    def count_latest(self, mark: bytes, data_bytes: int) -> int:
        """How many of these marks were completed by the `data_bytes` that it took last; 0 if it is astray."""
        return self._stream.count(mark, max(0, self.offset - data_bytes - len(mark) + 1), self.offset)


class Talker:
    """A client that is an author: its stream is the room's without its own lines, which the audit puts in `due`."""

    __slots__ = ("astray", "due", "name", "received")

    def __init__(self, name: str) -> None:
        self.name = name
        self.due = bytearray()
        self.received = bytearray()
        self.astray = False

    def take(self, data: bytes) -> None:
        """These bytes came."""
        self.received += data

    def compare(self) -> None:
        """Compare, and forget, what is in both."""
        common = min(len(self.due), len(self.received))
        if not self.astray and self.due[:common] == self.received[:common]:
            del self.due[:common], self.received[:common]
        else:
            self.astray = True


class RoomAudit:
    """The clients of one room in one process; `authors` are all of the room, by number."""

    def __init__(self, name: str, line_end: bytes, authors: Mapping[int, Author], turn: float = 1.0) -> None:
        """`turn`, from 0 to 1, is when within its interval the stream is checked: rooms grow in step, and should not be
        checked all at once."""
        self.name = name
        self.stream = bytearray()  # less what was checked and is behind everybody
        self.listeners: list[Listener] = []
        self.talkers: dict[int, Talker] = {}
        self._line_end = line_end
        self._authors = dict(authors)
        self._by_tag = {author.tag: author for author in authors.values()}
        self._checked = 0  # so much of `stream` was checked
        self._check_at = int(_CHECK_BYTES * turn)
        self._digest = blake2b(digest_size=16)
        self._faults: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add_listener(self, name: str) -> Listener:
        """A client that says nothing."""
        listener = Listener(self, name)
        self.listeners.append(listener)
        return listener

    def add_talker(self, number: int, name: str) -> Talker:
        """A client that is the author of that number."""
        talker = self.talkers[number] = Talker(name)
        return talker

    def grow(self, data: bytes) -> None:
        """The listener that is ahead of all others got these bytes."""
        if len(self.stream) >= self._check_at:
            self._check()
            self._trim()
            self._check_at = len(self.stream) + _CHECK_BYTES
        self.stream += data

    def is_complete(self, said: Mapping[int, int]) -> bool:
        """Everybody has got everything, and nothing is wrong; `said` is how many messages each author of the room sent.

        False may mean not yet.
        """
        self._check()
        end = len(self.stream)
        return (
            not self._faults
            and all(author.next_number == said[number] + 1 for number, author in self._authors.items())
            and self._checked == end
            and all(listener.offset == end and listener.astray is None for listener in self.listeners)
            and not any(talker.astray or talker.due or talker.received for talker in self.talkers.values())
        )

    def digest(self) -> str:
        """Of the whole stream as far as it was checked: the same in all processes that have clients of the room."""
        return self._digest.hexdigest()

    def conclude(self, said: Mapping[int, int]) -> list[str]:
        """What is wrong, now that nothing more will come: a line for a person each, [] if all is well."""
        self._check()
        faults = [
            f"room {self.name}: {kind}, {count} times; {self._examples[kind]}" for kind, count in self._faults.items()
        ]
        faults += self._missing_at_all(said)
        if len(self.stream) > self._checked:
            faults.append(f"room {self.name}: ends in half a line, {_shown(bytes(self.stream[self._checked :]))}")
        for listener in self.listeners:
            end = bytes(self.stream[listener.offset :])
            if listener.astray is not None or end:
                faults.append(self._difference(listener.name, end, bytes(listener.astray or b"")))
        for talker in self.talkers.values():
            if talker.due or talker.received:
                faults.append(self._difference(talker.name, bytes(talker.due), bytes(talker.received)))
        return faults

    def _missing_at_all(self, said: Mapping[int, int]) -> list[str]:
        faults = []
        for number, author in self._authors.items():
            lost = said[number] + 1 - author.next_number + len(author.missing)
            if lost > 0:
                faults.append(f"room {self.name}: lost, {lost} of {said[number]} messages of {author.name}")
            elif lost < 0:
                faults.append(f"room {self.name}: {-lost} messages more of {author.name} than the {said[number]} said")
        return faults

    def _check(self) -> None:
        """Check the whole lines of the stream that were not checked yet."""
        end = self.stream.rfind(self._line_end, self._checked)
        if end >= 0:
            end += len(self._line_end)
            data = bytes(self.stream[self._checked : end])
            self._checked = end
            self._digest.update(data)
            self._check_lines(data)
        for talker in self.talkers.values():
            talker.compare()

    def _check_lines(self, data: bytes) -> None:
        lines = self._lines(data)
        authors: list[Author | None] = []
        expected = self._expected()
        for line in lines:
            author = expected.pop(line[texts.KEY], None)
            if author is None:
                author = self._check_unexpected(line)
                expected = self._expected()
            else:
                if line[texts.HEAD] != author.head:
                    self._fault("damaged", line)
                author.next_number += 1
                expected[texts.key(author.next_number, author.tag)] = author
            authors.append(author)
        for number, talker in self.talkers.items():
            own = self._authors[number]
            others = [line for line, author in zip(lines, authors, strict=True) if author is not own]
            talker.due += self._line_end.join([*others, b""])

    def _expected(self) -> dict[bytes, Author]:
        """Each author by the key of his next line."""
        return {texts.key(author.next_number, author.tag): author for author in self._authors.values()}

    def _check_unexpected(self, line: bytes) -> Author | None:
        """What is wrong with a line that is not the next of any author, and whose it is."""
        author = self._by_tag.get(line[texts.TAG])
        if author is None:
            self._fault("a line that nobody said", line)
            return None
        number = texts.number_of(line)
        if line[texts.HEAD] != author.head or number is None or number > author.next_number + _FAR:
            self._fault("damaged", line)
        elif number > author.next_number:
            author.missing.update(range(author.next_number, number))
            author.next_number = number + 1
            self._fault("a gap", line)
        elif number in author.missing:
            author.missing.remove(number)
            self._fault("out of order", line)
        else:
            self._fault("doubled", line)
        return author

    def _fault(self, kind: str, line: bytes) -> None:
        self._faults[kind] += 1
        self._examples.setdefault(kind, f"the first is {_shown(line)}")

    def _trim(self) -> None:
        """Forget what was checked and is behind everybody: whole lines, so that a mark is forgotten whole."""
        passed = min([self._checked, *(listener.offset for listener in self.listeners)])
        passed = self.stream.rfind(self._line_end, 0, passed) + len(self._line_end)
        if passed < len(self._line_end):
            return
        del self.stream[:passed]
        self._checked -= passed
        for listener in self.listeners:
            listener.offset -= passed

    def _difference(self, name: str, due: bytes, received: bytes) -> str:
        """In words, how what a client got differs from what was due to it."""
        expected, found = Counter(self._lines(due)), Counter(self._lines(received))
        lost, extra = (expected - found).total(), (found - expected).total()
        what = f"{lost} lines lost, {extra} too many" if lost or extra else "all lines, in another order"
        return f"room {self.name}, client {name}: {what}, compared with the first who got them"

    def _lines(self, data: bytes) -> Sequence[bytes]:
        lines = data.split(self._line_end)
        if not lines[-1]:
            lines.pop()
        return lines


def _shown(line: bytes) -> str:
    return repr(line[:_SHOWN_BYTES] + (b"..." if len(line) > _SHOWN_BYTES else b""))
